//! What a cancel of a run does that is not live in this process.

use std::collections::BTreeSet;

use super::samples::*;
use crate::run::RunStatus::{Cancelled, Completed, Error, Pending, Running};
use crate::run::{Metrics, RunEventKind, RunId};
use crate::store::protocol::{CANCELLED_BY_CALLER, Cancel, CancelWritten, Change, Write, Written};
use crate::store::{NodeId, RunStore};

pub(super) async fn a_run_that_nobody_has_is_cancelled_at_once(store: &dyn RunStore) {
    let run_id = id(&unowned());
    let asked = with(unowned(), |run| run.output.run_id = run_id);
    submit(store, &asked).await;
    assert_eq!(cancel(store, run_id).await, CancelWritten::Cancelled);

    let output = get(store, run_id).await.output;
    assert_eq!((output.status, output.content, output.error, output.started_at), (Cancelled, None, None, None));
    assert_eq!(output.metrics, Metrics::default());
    assert!(output.settled_at.unwrap() >= output.created_at);
    let log = events(store, run_id).await;
    assert_eq!((log.len(), log[0].seq, facts(store, run_id).await.next_seq), (1, 0, 1));
    assert_eq!(log[0].kind, RunEventKind::RunCancelled { reason: CANCELLED_BY_CALLER.to_owned() });
    assert!(claim(store, NodeId::new(), 10).await.is_empty());
    assert_eq!(cancel(store, run_id).await, CancelWritten::Settled(Cancelled));
    assert_eq!(events(store, run_id).await, log);
}

pub(super) async fn a_run_that_was_handed_back_is_cancelled_with_its_log_intact(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, owned()).await;
    attempt.write(Change::HandBack).await;
    let before = events(store, attempt.run_id).await;
    assert_eq!(cancel(store, attempt.run_id).await, CancelWritten::Cancelled);
    let after = events(store, attempt.run_id).await;
    assert_eq!(&after[..2], &before[..]);
    assert_eq!((after.len(), after[2].seq, after[2].is_terminal()), (3, 2, true));
}

pub(super) async fn a_cancel_of_a_run_that_a_node_has_is_left_for_the_node(store: &dyn RunStore) {
    let asked = owned();
    let node = asked.node.unwrap();
    let mut attempt = Attempt::start(store, asked).await;
    assert!(store.cancel_requests(node).await.unwrap().is_empty());
    for _ in 0..2 {
        assert_eq!(cancel(store, attempt.run_id).await, CancelWritten::Requested(node));
        assert_eq!(store.cancel_requests(node).await.unwrap(), [attempt.run_id]);
    }
    let now = facts(store, attempt.run_id).await;
    assert_eq!((now.status, now.next_seq, now.cancel_wanted), (Running, 1, true));

    // The node may be too late for it: what comes first is what holds.
    attempt.write(Change::Append).await;
    attempt.write(settle(Completed)).await;
    assert_eq!(cancel(store, attempt.run_id).await, CancelWritten::Settled(Completed));
    assert!(store.cancel_requests(node).await.unwrap().is_empty());
}

pub(super) async fn several_cancels_of_a_run_in_a_batch_are_each_answered(store: &dyn RunStore) {
    let asked = owned();
    let node = asked.node.unwrap();
    let run_id = Attempt::start(store, asked).await.run_id;
    let unknown = RunId::new();
    let batch = [run_id, unknown, run_id, unknown].map(|run_id| Write::Cancel(run_id.into()));
    let written = store.write(0, batch.into()).await.unwrap();
    let answers = written.into_iter().map(|written| match written {
        Written::Cancel(cancelled) => cancelled,
        Written::Insert(_) | Written::Advance(_) | Written::Continue(_) => panic!("a cancel is answered as a cancel"),
    });
    let (requested, stored) = (CancelWritten::Requested(node), CancelWritten::IntentStored);
    assert_eq!(answers.collect::<Vec<_>>(), [requested, stored, requested, stored]);
}

pub(super) async fn a_cancel_of_a_settled_run_tells_how_it_settled(store: &dyn RunStore) {
    for status in [Completed, Cancelled, Error] {
        let run_id = settled(store, owned(), status).await;
        assert_eq!(cancel(store, run_id).await, CancelWritten::Settled(status));
        assert!(!facts(store, run_id).await.cancel_wanted);
    }
}

pub(super) async fn cancel_requests_are_those_of_unsettled_runs_of_the_node(store: &dyn RunStore) {
    let node = NodeId::new();
    let mut wanted = BTreeSet::new();
    for n in 0..5 {
        let mut asked = owned();
        asked.node = Some(node);
        let attempt = Attempt::submit(store, asked).await;
        if n % 2 == 0 {
            cancel(store, attempt.run_id).await;
            wanted.insert(attempt.run_id);
        }
    }
    let elsewhere = Attempt::submit(store, owned()).await;
    cancel(store, elsewhere.run_id).await;
    let mut handed_back = owned();
    handed_back.node = Some(node);
    let mut handed_back = Attempt::submit(store, handed_back).await;
    cancel(store, handed_back.run_id).await;
    handed_back.write(Change::HandBack).await;

    let requests: BTreeSet<_> = store.cancel_requests(node).await.unwrap().into_iter().collect();
    assert_eq!(requests, wanted);
    assert!(store.cancel_requests(NodeId::new()).await.unwrap().is_empty());
}

pub(super) async fn a_cancel_on_behalf_of_a_user_hits_runs_of_that_user_only(store: &dyn RunStore) {
    let anns = |insert| with(insert, |run| run.output.user_id = Some("ann".into()));
    let by = |user_id: &str, run_id| Cancel { run_id, user_id: Some(user_id.into()) };
    let (waiting, taken, nobodys) = (anns(unowned()), anns(owned()), unowned());
    for run in [&waiting, &taken, &nobodys] {
        submit(store, run).await;
    }
    let done = settled(store, anns(owned()), Completed).await;

    // One batch, in which each run is cancelled by whom it does not concern and by whom it does.
    let (waits, runs) = (id(&waiting), id(&taken));
    let cancels = [by("bob", waits), by("ann", waits), by("ann", runs), by("bob", runs), by("ann", done)];
    let written = write_all(store, cancels.map(Write::Cancel)).await;
    let answers = written.into_iter().map(|written| match written {
        Written::Cancel(cancelled) => cancelled,
        Written::Insert(_) | Written::Advance(_) | Written::Continue(_) => panic!("a cancel is answered as a cancel"),
    });
    let expected = [
        CancelWritten::IntentStored,
        CancelWritten::Cancelled,
        CancelWritten::Requested(taken.node.unwrap()),
        CancelWritten::IntentStored,
        CancelWritten::Settled(Completed),
    ];
    assert_eq!(answers.collect::<Vec<_>>(), expected);
    assert_eq!(cancel(store, by("ann", id(&nobodys))).await, CancelWritten::IntentStored);
    assert_eq!(cancel(store, by("bob", done)).await, CancelWritten::TooManyIntents, "as if there were no such run");
    assert_eq!(get(store, id(&nobodys)).await.output.status, Pending);
    assert!(!facts(store, id(&nobodys)).await.cancel_wanted);
    assert_eq!(events(store, waits).await.len(), 1);
}

pub(super) async fn a_cancel_by_a_stranger_leaves_no_trace_on_a_run(store: &dyn RunStore) {
    let run = with(owned(), |run| run.output.user_id = Some("ann".into()));
    let node = run.node.unwrap();
    let mut attempt = Attempt::submit(store, run).await;
    let before = get(store, attempt.run_id).await;
    for _ in 0..2 {
        let cancelled = cancel(store, Cancel { run_id: attempt.run_id, user_id: Some("bob".into()) }).await;
        assert_eq!(cancelled, CancelWritten::IntentStored);
    }
    assert_eq!(get(store, attempt.run_id).await, before);
    assert!(store.cancel_requests(node).await.unwrap().is_empty());
    attempt.write(Change::Start).await;
    attempt.write(settle(Completed)).await;
}
