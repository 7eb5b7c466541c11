//! What else is read: single runs, their logs, and the history of a session.

use std::sync::Arc;

use super::samples::*;
use crate::run::RunStatus::{Cancelled, Completed, Error};
use crate::run::{Exchange, RunEvent, RunId, RunStatus};
use crate::store::protocol::{Advance, Change, Settlement, Write};
use crate::store::{Claim, CountQuery, History, Mark, NodeId, RunQuery, RunStore, StoreError};

pub(super) async fn what_does_not_exist_is_not_found(store: &dyn RunStore) {
    let run_id = RunId::new();
    assert!(store.get(run_id).await.unwrap().is_none());
    assert!(store.facts(run_id).await.unwrap().is_none());
    assert!(store.events(run_id, 0, 10).await.unwrap().is_empty());
    assert!(store.list(RunQuery::new()).await.unwrap().is_empty());
    assert!(history(store, run_id, None, 10).await.is_empty());
}

pub(super) async fn events_are_read_from_any_seq(store: &dyn RunStore) {
    let other = Attempt::start(store, owned()).await;
    let mut attempt = Attempt::start(store, owned()).await;
    let said: Vec<RunEvent> =
        (1..25).map(|seq| step(attempt.run_id, 1, seq, Change::Append).events.remove(0)).collect();
    advance(store, &Advance { events: said.clone(), ..attempt.next(Change::Append) }).await.unwrap();
    attempt.next_seq = 25;
    attempt.write(settle(Completed)).await;

    let log = events(store, attempt.run_id).await;
    assert_eq!((log.len(), &log[1..25]), (26, &said[..]));
    assert!(log.iter().all(|event| event.run_id == attempt.run_id));
    for from in 0..=27 {
        for limit in [0, 1, 5, 100] {
            let rest: Vec<_> = log.iter().skip(from).take(limit).cloned().collect();
            assert_eq!(store.events(attempt.run_id, from as u64, limit).await.unwrap(), rest, "{from} {limit}");
        }
    }
    assert!(store.events(attempt.run_id, u64::MAX, 10).await.unwrap().is_empty());
    assert_eq!(events(store, other.run_id).await.len(), 1);
}

pub(super) async fn the_marks_of_runs_are_read_together(store: &dyn RunStore) {
    let waiting = unowned();
    submit(store, &waiting).await;
    let mut running = Attempt::start(store, owned()).await;
    running.write(Change::Append).await;
    let ended = settled(store, owned(), Completed).await;
    let asked = vec![id(&waiting), RunId::new(), running.run_id, ended];

    let mut marks = store.marks(asked).await.unwrap();

    marks.sort_unstable_by_key(|(run_id, _)| *run_id);
    let mark = |next_seq, settled| Mark { next_seq, settled };
    let mut expected = [(id(&waiting), mark(0, false)), (running.run_id, mark(2, false)), (ended, mark(2, true))];
    expected.sort_unstable_by_key(|(run_id, _)| *run_id);
    assert_eq!(marks, expected);
    assert!(store.marks(Vec::new()).await.unwrap().is_empty());
    let many: Vec<RunId> = (0..2000).map(|_| RunId::new()).chain([ended]).collect();
    assert_eq!(store.marks(many).await.unwrap(), [(ended, mark(2, true))]);
}

pub(super) async fn the_tails_of_logs_are_read_together(store: &dyn RunStore) {
    let mut logs = Vec::new();
    for length in [1, 5, 12] {
        let mut attempt = Attempt::start(store, owned()).await;
        for _ in 1..length {
            attempt.write(Change::Append).await;
        }
        logs.push(events(store, attempt.run_id).await);
    }
    for (from, limit) in [([0, 0, 0], 100), ([1, 4, 11], 100), ([0, 2, 3], 3), ([7, u64::MAX, 0], 1)] {
        let asked: Vec<(RunId, u64)> = logs.iter().map(|log| log[0].run_id).zip(from).collect();
        let read = store.tails(asked.clone(), limit).await.unwrap();
        for ((run_id, from), log) in asked.iter().zip(&logs) {
            let from = usize::try_from(*from).unwrap_or(usize::MAX);
            let expected: Vec<&RunEvent> = log.iter().skip(from).take(limit).collect();
            let one: Vec<&RunEvent> = read.iter().filter(|event| event.run_id == *run_id).collect();
            assert_eq!(one, expected, "from {from}, {limit} at most");
        }
        let runs = read.chunk_by(|one, next| one.run_id == next.run_id).count();
        assert!(runs <= logs.len(), "run by run");
    }
    assert!(store.tails(Vec::new(), 10).await.unwrap().is_empty());
}

/// A run of session `s` that asked `asked`, and ended.
async fn ran(store: &dyn RunStore, asked: &str, user: Option<&str>, status: RunStatus, answer: Option<&str>) -> RunId {
    let asked = with(owned(), |run| {
        run.output.session_id = "s".into();
        run.output.user_id = user.map(Into::into);
        run.input = asked.into();
    });
    let mut attempt = Attempt::start(store, asked).await;
    let settlement = Settlement { content: answer.map(Into::into), ..settlement(status) };
    attempt.write(Change::Settle(settlement)).await;
    attempt.run_id
}

async fn history(store: &dyn RunStore, before: RunId, user: Option<&str>, limit: usize) -> Vec<(String, String)> {
    let asked = History { before, session_id: "s".into(), user_id: user.map(Into::into), limit };
    let text = |Exchange { input, content, tools }| {
        assert_eq!(tools, [looked()]);
        (input.to_string(), content.to_string())
    };
    store.history(asked).await.unwrap().into_iter().map(text).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(input, content)| (input.to_string(), content.to_string())).collect()
}

pub(super) async fn history_is_what_completed_before_in_the_session(store: &dyn RunStore) {
    let first = ran(store, "one", None, Completed, Some("1")).await;
    ran(store, "broke", None, Error, Some("partial")).await;
    ran(store, "stopped", None, Cancelled, Some("partial")).await;
    ran(store, "silent", None, Completed, None).await;
    Attempt::start(store, with(owned(), |run| run.output.session_id = "s".into())).await;
    settled(store, owned(), Completed).await;
    ran(store, "two", None, Completed, Some("2")).await;
    let asking = with(owned(), |run| run.output.session_id = "s".into());
    submit(store, &asking).await;
    ran(store, "later", None, Completed, Some("3")).await;

    assert_eq!(history(store, id(&asking), None, 10).await, pairs(&[("one", "1"), ("two", "2")]));
    assert_eq!(history(store, first, None, 10).await, []);
    assert_eq!(history(store, RunId::new(), None, 10).await, []);
}

pub(super) async fn history_of_a_session_shows_nothing_of_other_users(store: &dyn RunStore) {
    ran(store, "of ada", Some("ada"), Completed, Some("1")).await;
    ran(store, "of bob", Some("bob"), Completed, Some("2")).await;
    ran(store, "of nobody", None, Completed, Some("3")).await;
    let asking = with(owned(), |run| run.output.session_id = "s".into());
    submit(store, &asking).await;
    for (user, expected) in [
        (Some("ada"), vec![("of ada", "1")]),
        (Some("bob"), vec![("of bob", "2")]),
        (None, vec![("of nobody", "3")]),
        (Some("ADA"), vec![]),
        (Some(""), vec![]),
    ] {
        assert_eq!(history(store, id(&asking), user, 10).await, pairs(&expected), "{user:?}");
    }
}

pub(super) async fn history_is_the_latest_runs_oldest_first(store: &dyn RunStore) {
    for n in 0..6 {
        ran(store, &n.to_string(), None, Completed, Some("yes")).await;
    }
    let asking = with(owned(), |run| run.output.session_id = "s".into());
    submit(store, &asking).await;
    let all = ["0", "1", "2", "3", "4", "5"].map(|n| (n, "yes"));
    for limit in 0..=6 {
        assert_eq!(history(store, id(&asking), None, limit).await, pairs(&all[6 - limit..]), "{limit}");
    }
}

pub(super) async fn a_closed_store_refuses_everything(store: &dyn RunStore) {
    fn refused<T>(answer: Result<T, StoreError>) {
        let error = answer.map(|_| ()).unwrap_err();
        assert!(matches!(error, StoreError::Closed), "{error:?}");
    }

    let run_id = submit(store, &unowned()).await.output.run_id;
    store.close().await;
    store.close().await;
    let node = NodeId::new();
    refused(store.write(0, Arc::new([Write::Cancel(run_id.into())])).await);
    refused(store.claim(Claim { node, agents: vec![AGENT.to_owned()], limited: Vec::new(), limit: 1 }).await);
    refused(store.count_waiting(1).await);
    refused(store.cancel_requests(node).await);
    refused(store.facts(run_id).await);
    refused(store.get(run_id).await);
    refused(store.list(RunQuery::new()).await);
    refused(store.count(CountQuery { user_id: None, limit: 1 }).await);
    refused(store.events(run_id, 0, 1).await);
    refused(store.history(History { before: run_id, session_id: "s".into(), user_id: None, limit: 1 }).await);
    refused(store.forget_expired_intents().await);
}
