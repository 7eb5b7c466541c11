//! Runs that must be alone in their session.

use chrono::{DateTime, Utc};

use super::samples::*;
use crate::run::{RunId, RunStatus, SessionPolicy};
use crate::store::protocol::{Change, InsertRun, Inserted, Write, Written};
use crate::store::{NodeId, RunStore};

fn in_session(session: &str, sessions: SessionPolicy) -> InsertRun {
    InsertRun { sessions, ..with(unowned(), |run| run.output.session_id = session.into()) }
}

fn in_order() -> InsertRun {
    in_session("s", SessionPolicy::InOrder)
}

fn refusing() -> InsertRun {
    in_session("s", SessionPolicy::Refuse)
}

fn due(insert: InsertRun, run_at: DateTime<Utc>) -> InsertRun {
    InsertRun { delayed: true, ..with(insert, |run| run.run_at = run_at) }
}

async fn put(store: &dyn RunStore, insert: InsertRun) -> RunId {
    submit(store, &insert).await.output.run_id
}

async fn claimed(store: &dyn RunStore) -> Vec<RunId> {
    taken_ids(&claim(store, NodeId::new(), 100).await)
}

/// The latest attempt of a run that was taken up.
async fn attempt(store: &dyn RunStore, run_id: RunId) -> Attempt<'_> {
    let row = facts(store, run_id).await;
    Attempt { store, run_id, attempt: row.attempt, next_seq: row.next_seq }
}

pub(super) async fn runs_of_a_session_are_taken_up_one_after_the_other(store: &dyn RunStore) {
    let mut runs = Vec::new();
    for priority in [0, 9, -9, 5] {
        runs.push(put(store, with(in_order(), |run| run.priority = priority)).await);
    }
    for run_id in runs {
        assert_eq!(claimed(store).await, [run_id], "by age, whatever the priority");
        assert!(claimed(store).await.is_empty(), "it was taken up");
        let mut attempt = attempt(store, run_id).await;
        attempt.write(Change::Start).await;
        assert!(claimed(store).await.is_empty(), "it runs");
        attempt.write(settle(RunStatus::Error)).await;
    }
    assert!(claimed(store).await.is_empty());
}

pub(super) async fn a_session_is_that_of_an_agent_and_a_user_and_of_runs_that_ask_for_it(store: &dyn RunStore) {
    put(store, in_order()).await;
    put(store, in_order()).await;
    let mut beside = vec![
        put(store, in_session("t", SessionPolicy::InOrder)).await,
        put(store, with(in_order(), |run| run.output.user_id = Some("ada".into()))).await,
        put(store, with(in_order(), |run| run.output.user_id = Some("bob".into()))).await,
        put(store, in_session("s", SessionPolicy::Concurrent)).await,
        put(store, in_session("s", SessionPolicy::Concurrent)).await,
    ];
    put(store, with(in_order(), |run| run.output.agent = "other".to_owned())).await;

    let mut taken = claimed(store).await;

    assert_eq!(taken.len(), 6);
    taken.remove(0);
    beside.sort_unstable();
    taken.sort_unstable();
    assert_eq!(taken, beside);
}

pub(super) async fn a_run_that_was_taken_up_has_its_session_until_it_settles(store: &dyn RunStore) {
    let first = put(store, in_order()).await;
    let second = put(store, in_order()).await;
    for started in [false, true, false, true] {
        assert_eq!(claimed(store).await, [first]);
        let mut attempt = attempt(store, first).await;
        if started {
            attempt.write(Change::Start).await;
        }
        attempt.write(Change::HandBack).await;
        // Whoever comes now, and is to go before it, comes too late.
        put(store, due(in_order(), Utc::now() - chrono::Duration::hours(1))).await;
    }
    assert_eq!(cancel(store, first).await, crate::store::protocol::CancelWritten::Cancelled);
    let next = claimed(store).await;
    assert!(next.len() == 1 && next != [second], "the one that was due first is the next");
}

pub(super) async fn a_run_for_later_is_in_nobodys_way_before_its_time(store: &dyn RunStore) {
    put(store, due(in_order(), in_an_hour())).await;
    let now = put(store, in_order()).await;
    let due_before = put(store, due(in_order(), Utc::now() - chrono::Duration::hours(1))).await;
    for run_id in [due_before, now] {
        assert_eq!(claimed(store).await, [run_id]);
        attempt(store, run_id).await.write(settle(RunStatus::Cancelled)).await;
    }
    assert!(claimed(store).await.is_empty());
}

fn id_of(run: &crate::run::Run) -> RunId {
    run.output.run_id
}

fn busy(inserted: &Inserted) -> RunId {
    let Inserted::SessionBusy(run_id) = inserted else { panic!("{inserted:?}") };
    *run_id
}

pub(super) async fn a_second_run_of_a_session_is_refused_until_the_first_has_settled(store: &dyn RunStore) {
    let first = InsertRun { node: Some(NodeId::new()), ..refusing() };
    let mut life = Attempt::submit(store, first.clone()).await;
    let refused = refusing();
    for change in [Change::Start, Change::Append, Change::HandBack] {
        assert_eq!(busy(&insert(store, &refused).await), id(&first));
        assert!(matches!(insert(store, &first).await, Inserted::Existing { .. }), "it is the same run");
        life.write(change).await;
    }
    let other = with(refusing(), |run| run.output.run_id = id(&first));
    assert!(matches!(insert(store, &InsertRun { fingerprint: [9; 32], ..other }).await, Inserted::Conflict));
    assert!(store.get(id(&refused)).await.unwrap().is_none(), "nothing is stored");
    put(store, with(refusing(), |run| run.output.user_id = Some("ada".into()))).await;

    assert_eq!(cancel(store, id(&first)).await, crate::store::protocol::CancelWritten::Cancelled);
    assert_eq!(put(store, refused.clone()).await, id(&refused));
    assert!(claimed(store).await.contains(&id(&refused)));
    assert_eq!(busy(&insert(store, &refusing()).await), id(&refused));
}

pub(super) async fn of_several_in_one_batch_one_is_accepted(store: &dyn RunStore) {
    let runs: Vec<InsertRun> = (0..10).map(|_| refusing()).collect();
    let batch: Vec<Write> = runs.iter().map(|run| Write::Insert(Box::new(run.clone()))).collect();
    let written = write_all(store, batch.clone()).await;
    let new: Vec<RunId> = written
        .iter()
        .filter_map(|one| if let Written::Insert(Inserted::New { run, .. }) = one { Some(id_of(run)) } else { None })
        .collect();
    assert_eq!(new.len(), 1);
    for one in &written {
        let Written::Insert(inserted) = one else { panic!("{one:?}") };
        assert!(matches!(inserted, Inserted::New { .. }) || busy(inserted) == new[0]);
    }
}

pub(super) async fn policies_that_differ_leave_a_session_to_one_run_all_the_same(store: &dyn RunStore) {
    let first = put(store, in_order()).await;
    let second = put(store, in_order()).await;
    assert_eq!(claimed(store).await, [first]);
    assert_eq!(busy(&insert(store, &refusing()).await), first);
    attempt(store, first).await.write(settle(RunStatus::Cancelled)).await;

    let third = put(store, refusing()).await;
    assert_eq!(claimed(store).await, [third], "it has the session, and the second one waits");
    attempt(store, third).await.write(settle(RunStatus::Cancelled)).await;
    assert_eq!(claimed(store).await, [second]);
}
