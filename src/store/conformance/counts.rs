//! How many runs there are of each status.

use super::samples::*;
use crate::run::RunStatus::{Cancelled, Completed, Error, Paused, Pending, Running};
use crate::run::{RunStatus, UserId};
use crate::store::protocol::InsertRun;
use crate::store::{CountQuery, RunStore};

async fn counted(store: &dyn RunStore, user: Option<&str>, limit: usize) -> Vec<(RunStatus, usize)> {
    let counts = store.count(CountQuery { user_id: user.map(UserId::from), limit }).await.unwrap();
    RunStatus::ALL.map(|status| (status, counts.of(status))).into_iter().filter(|(_, count)| *count > 0).collect()
}

fn of(user: Option<&str>) -> InsertRun {
    with(owned(), |run| run.output.user_id = user.map(Into::into))
}

pub(super) async fn runs_are_counted_by_status_and_by_user(store: &dyn RunStore) {
    assert_eq!(counted(store, None, 10).await, []);
    for user in [None, Some("ada"), Some("bob")] {
        submit(store, &of(user)).await;
        submit(store, &of(user)).await;
        Attempt::start(store, of(user)).await;
        for status in [Completed, Cancelled, Error] {
            settled(store, of(user), status).await;
        }
    }
    submit(store, &with(unowned(), |run| run.output.user_id = Some("bob".into()))).await;
    settled(store, of(Some("bob")), Error).await;

    let each = [(Pending, 2), (Running, 1), (Completed, 1), (Cancelled, 1), (Error, 1)];
    assert_eq!(counted(store, Some("ada"), 100).await, each);
    assert_eq!(counted(store, Some("bob"), 100).await, [(Pending, 3), each[1], each[2], each[3], (Error, 2)]);
    assert_eq!(
        counted(store, None, 100).await,
        [(Pending, 7), (Running, 3), (Completed, 3), (Cancelled, 3), (Error, 4)]
    );
    assert_eq!(counted(store, Some("Ada"), 100).await, []);
    assert!(!counted(store, None, 100).await.iter().any(|(status, _)| *status == Paused));
}

pub(super) async fn unsettled_runs_are_counted_however_old_and_settled_ones_while_they_are_new(store: &dyn RunStore) {
    for user in [Some("ada"), Some("bob")] {
        Attempt::start(store, of(user)).await;
        settled(store, of(user), Completed).await;
    }
    for _ in 0..3 {
        settled(store, of(Some("ada")), Cancelled).await;
    }

    assert_eq!(counted(store, None, 3).await, [(Running, 2), (Cancelled, 3)]);
    assert_eq!(counted(store, None, 4).await, [(Running, 2), (Completed, 1), (Cancelled, 3)]);
    assert_eq!(counted(store, Some("ada"), 3).await, [(Running, 1), (Cancelled, 3)]);
    assert_eq!(counted(store, Some("bob"), 2).await, [(Running, 1), (Completed, 1)]);
}

pub(super) async fn no_more_are_counted_than_the_limit(store: &dyn RunStore) {
    for _ in 0..3 {
        submit(store, &of(None)).await;
        submit(store, &unowned()).await;
    }
    for (limit, count) in [(1, 1), (5, 5), (6, 6), (7, 6)] {
        assert_eq!(counted(store, None, limit).await, [(Pending, count)]);
    }
}

#[cfg(feature = "metrics")]
pub(super) async fn what_may_start_and_waits_is_counted_by_agent(store: &dyn RunStore) {
    let of = |agent: &str| with(unowned(), |run| run.output.agent = agent.to_owned());
    for agent in ["ada", "ada", "bob"] {
        submit(store, &of(agent)).await;
    }
    // None of these waits for room.
    let later = chrono::Utc::now() + chrono::TimeDelta::days(1);
    submit(store, &InsertRun { delayed: true, ..with(of("ada"), |run| run.run_at = later) }).await;
    submit(store, &with(owned(), |run| run.output.agent = "bob".to_owned())).await;
    settled(store, with(owned(), |run| run.output.agent = "ada".to_owned()), Completed).await;

    let agents = || ["ada", "bob", "eve"].map(str::to_owned).to_vec();
    let counted = |backlogs: Vec<crate::store::Backlog>| -> Vec<(String, usize)> {
        assert!(backlogs.iter().all(|one| one.waiting > 0 || one.oldest.is_zero()), "{backlogs:?}");
        let mut counted: Vec<_> = backlogs.into_iter().map(|one| (one.agent, one.waiting)).collect();
        counted.sort();
        counted
    };
    let expected = |ada| [("ada".to_owned(), ada), ("bob".to_owned(), 1), ("eve".to_owned(), 0)];
    assert_eq!(counted(store.backlogs(agents(), 10).await.unwrap()), expected(2));
    assert_eq!(counted(store.backlogs(agents(), 1).await.unwrap()), expected(1));
    assert_eq!(store.backlogs(Vec::new(), 10).await.unwrap(), []);
    loop {
        let backlogs = store.backlogs(agents(), 10).await.unwrap();
        if backlogs.iter().all(|one| one.waiting == 0 || !one.oldest.is_zero()) {
            break;
        }
    }
}
