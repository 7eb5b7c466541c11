//! What a step in a run's life does, and who may take it.

use super::samples::*;
use crate::run::RunStatus::{Cancelled, Completed, Error, Pending, Running};
use crate::run::{Metrics, Usage};
use crate::store::protocol::{Advance, CancelWritten, Change, InsertRun, Inserted, Refusal, Settlement, Write};
use crate::store::{NodeId, RunStore, StoreError};

pub(super) async fn a_life_is_written_step_by_step(store: &dyn RunStore) {
    let mut attempt = Attempt::submit(store, owned()).await;
    let run_id = attempt.run_id;

    attempt.write(Change::Start).await;
    let run = get(store, run_id).await;
    assert_eq!(run.output.status, Running);
    assert!(run.output.started_at.unwrap() >= run.output.created_at);
    assert_eq!(run.output.settled_at, None);
    let now = facts(store, run_id).await;
    assert_eq!((now.status, now.attempt, now.starts, now.next_seq), (Running, 1, 1, 1));

    let many = (1..=50).map(|seq| step(run_id, 1, seq, Change::Append).events.remove(0)).collect();
    let many = Advance { events: many, ..attempt.next(Change::Append) };
    advance(store, &many).await.unwrap();
    attempt.next_seq = 51;
    advance(store, &Advance { events: Vec::new(), ..attempt.next(Change::Append) }).await.unwrap();

    let usage = Usage { input_tokens: 3, output_tokens: u64::from(u32::MAX) + 1, total_tokens: 7, ..Usage::default() };
    let metrics = Metrics { usage, time_to_first_token: Some(0.25), duration: Some(1.5) };
    attempt.write(Change::Settle(Settlement { metrics, ..settlement(Completed) })).await;
    let settled = get(store, run_id).await.output;
    assert_eq!((settled.status, settled.content, settled.error), (Completed, Some("Paris".into()), None));
    assert_eq!((settled.metrics, settled.started_at), (metrics, run.output.started_at));
    assert_eq!(settled.tools, [looked()]);
    assert!(settled.settled_at.unwrap() >= settled.started_at.unwrap());

    let seqs: Vec<u64> = events(store, run_id).await.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (0..52).collect::<Vec<_>>());
    assert_eq!(facts(store, run_id).await.next_seq, 52);
}

pub(super) async fn the_same_step_again_changes_nothing(store: &dyn RunStore) {
    let ends = [Change::HandBack, settle(Completed), settle(Cancelled), settle(Error)];
    for end in ends {
        let mut attempt = Attempt::submit(store, owned()).await;
        for change in [Change::Start, Change::Append, end] {
            let step = attempt.next(change.clone());
            attempt.write(change).await;
            let before = (facts(store, attempt.run_id).await, get(store, attempt.run_id).await);
            assert_eq!(advance(store, &step).await, Ok(()), "{step:?}");
            assert_eq!((facts(store, attempt.run_id).await, get(store, attempt.run_id).await), before, "{step:?}");
        }
        assert_eq!(events(store, attempt.run_id).await.len(), 3);
    }
}

pub(super) async fn only_the_latest_attempt_writes(store: &dyn RunStore) {
    let mut first = Attempt::start(store, owned()).await;
    first.write(Change::HandBack).await;
    let fenced = [Change::Start, Change::Append, settle(Completed), settle(Cancelled), settle(Error)];
    for change in &fenced {
        assert_eq!(first.try_write(change.clone()).await, Err(Refusal::Fenced), "{change:?} of a run that nobody has");
    }

    let mut second = Attempt::claimed(store, first.run_id).await;
    assert_eq!((second.attempt, second.next_seq), (2, 2));
    second.write(Change::Start).await;
    first.next_seq = second.next_seq;
    let before = facts(store, first.run_id).await;
    for change in fenced.into_iter().chain([Change::HandBack]) {
        assert_eq!(first.try_write(change.clone()).await, Err(Refusal::Fenced), "{change:?} by the first attempt");
        let mut third = Attempt { store, attempt: 3, ..first };
        assert_eq!(third.try_write(change.clone()).await, Err(Refusal::Fenced), "{change:?} by one that never was");
    }
    assert_eq!(facts(store, first.run_id).await, before);
    assert_eq!(events(store, first.run_id).await.len(), 3);
    second.write(settle(Completed)).await;
}

pub(super) async fn a_step_that_does_not_follow_on_the_log_is_refused(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, owned()).await;
    attempt.write(Change::Append).await;
    for first_seq in [0, 1, 3, 4] {
        let step = step(attempt.run_id, 1, first_seq, settle(Completed));
        assert_eq!(advance(store, &step).await, Err(Refusal::OutOfStep), "{first_seq}");
    }
    assert_eq!(facts(store, attempt.run_id).await.status, Running);
    assert_eq!(events(store, attempt.run_id).await.len(), 2);
}

pub(super) async fn a_settled_run_never_changes_again(store: &dyn RunStore) {
    for status in [Completed, Cancelled, Error] {
        let asked = owned();
        let run_id = settled(store, asked.clone(), status).await;
        let before = (get(store, run_id).await, events(store, run_id).await, facts(store, run_id).await);

        let others = [Completed, Cancelled, Error].into_iter().filter(|other| *other != status).map(settle);
        for change in others.chain([Change::Start, Change::Append, Change::HandBack]) {
            for (attempt, first_seq) in [(1, 2), (1, 1), (2, 2), (0, 0)] {
                let step = step(run_id, attempt, first_seq, change.clone());
                assert_eq!(advance(store, &step).await, Err(Refusal::Settled(status)), "{step:?}");
            }
        }
        assert_eq!(cancel(store, run_id).await, CancelWritten::Settled(status));
        assert!(matches!(insert(store, &asked).await, Inserted::Existing { .. }));
        assert!(!taken_ids(&claim(store, NodeId::new(), 100).await).contains(&run_id));
        let after = (get(store, run_id).await, events(store, run_id).await, facts(store, run_id).await);
        assert_eq!(after, before);
    }
}

pub(super) async fn a_settlement_and_its_last_event_come_together(store: &dyn RunStore) {
    for status in [Completed, Cancelled, Error] {
        let mut attempt = Attempt::start(store, owned()).await;
        let impossible = with(unowned(), |run| run.max_attempts = u32::MAX);
        let batch = [Write::Advance(Box::new(attempt.next(settle(status)))), Write::Insert(Box::new(impossible))];
        assert!(matches!(store.write(0, batch.into()).await, Err(StoreError::Data(_))));
        let open = get(store, attempt.run_id).await.output;
        assert_eq!((open.status, open.settled_at, open.content), (Running, None, None));
        assert!(!events(store, attempt.run_id).await.iter().any(crate::run::RunEvent::is_terminal));

        attempt.write(settle(status)).await;
        let output = get(store, attempt.run_id).await.output;
        assert_eq!((output.status, output.settled_at.is_some()), (status, true));
        let events = events(store, attempt.run_id).await;
        assert_eq!(events.last().unwrap().kind.settles_as(), Some(status));
    }
}

pub(super) async fn a_run_that_is_handed_back_has_all_its_starts(store: &dyn RunStore) {
    let mut attempt = Attempt::submit(store, with(owned(), |run| run.max_attempts = 1)).await;
    for taken in 1..5 {
        assert_eq!(attempt.attempt, taken);
        if taken % 2 == 1 {
            attempt.write(Change::Start).await;
            assert_eq!(facts(store, attempt.run_id).await.starts, 1);
        }
        attempt.write(Change::HandBack).await;
        let facts = facts(store, attempt.run_id).await;
        assert_eq!((facts.status, facts.node, facts.starts, facts.attempt), (Pending, None, 0, taken));
        assert_eq!(get(store, attempt.run_id).await.output.started_at, None);
        attempt = Attempt::claimed(store, attempt.run_id).await;
    }
}

pub(super) async fn user_code_starts_no_more_often_than_the_run_allows(store: &dyn RunStore) {
    let mut attempt = Attempt::submit(store, with(owned(), |run| run.max_attempts = 0)).await;
    assert_eq!(attempt.try_write(Change::Start).await, Err(Refusal::Exhausted));
    let facts = facts(store, attempt.run_id).await;
    assert_eq!((facts.status, facts.starts, facts.next_seq), (Pending, 0, 0));
    attempt.write(settle(Error)).await;
    assert_eq!(get(store, attempt.run_id).await.output.status, Error);
}

pub(super) async fn a_run_that_somebody_wants_cancelled_does_not_start(store: &dyn RunStore) {
    let asked: InsertRun = owned();
    let mut attempt = Attempt::submit(store, asked.clone()).await;
    assert_eq!(cancel(store, attempt.run_id).await, CancelWritten::Requested(asked.node.unwrap()));
    assert!(facts(store, attempt.run_id).await.cancel_wanted);
    assert_eq!(attempt.try_write(Change::Start).await, Err(Refusal::CancelWanted));
    attempt.write(settle(Cancelled)).await;
    let run = get(store, attempt.run_id).await.output;
    assert_eq!((run.status, run.started_at), (Cancelled, None));
}
