//! Runs that wait for people, and what becomes of them when these have decided.

use std::time::Duration;

use super::samples::*;
use crate::run::RunStatus::{Cancelled, Completed, Error, Paused, Pending};
use crate::run::{Decision, FailureKind, Metrics, RunEventKind, RunFailure, SessionPolicy, StepRecord};
use crate::store::protocol::pause::{Continue, ContinueRefusal};
use crate::store::protocol::{Advance, CancelWritten, Change, InsertRun, Refusal};
use crate::store::{NodeId, RunStore};

fn finished(position: u32) -> StepRecord {
    StepRecord { position, first_attempt: 1, name: format!("step {position}"), result: "1".to_owned() }
}

async fn paused(store: &dyn RunStore, insert: InsertRun, timeout: Option<Duration>) -> Attempt<'_> {
    let mut attempt = Attempt::start(store, insert).await;
    attempt.write(pause(timeout)).await;
    attempt
}

pub(super) async fn a_paused_run_is_nobodys_and_says_what_it_waits_for(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, owned()).await;
    let step = Advance { steps: vec![finished(0)], ..attempt.next(pause(None)) };
    advance(store, &step).await.unwrap();
    attempt.next_seq += 1;

    let run = get(store, attempt.run_id).await;
    let facts = facts(store, attempt.run_id).await;
    assert_eq!((facts.status, facts.node, facts.starts, facts.attempt), (Paused, None, 0, 1));
    assert_eq!((run.output.requirements, run.output.tools), (vec![needed(2, 1).requirement], vec![looked()]));
    assert_eq!((run.output.content, run.output.metrics.usage.total_tokens), (Some("Par".into()), 7));
    assert!(run.output.paused_at.unwrap() >= run.output.started_at.unwrap());
    assert_eq!((run.output.settled_at, run.start_by), (None, None));
    assert_eq!(store.steps(attempt.run_id).await.unwrap(), [finished(0)]);
    assert!(claim(store, NodeId::new(), 100).await.is_empty());
    assert_eq!(store.count_waiting(100).await.unwrap(), 0);
    assert_eq!(advance(store, &step).await, Ok(()), "the same again");
    for change in [Change::Start, Change::Append, Change::HandBack, settle(Completed)] {
        assert_eq!(attempt.try_write(change).await, Err(Refusal::Fenced));
    }
    let of_status = store.list(crate::store::RunQuery::new().status(Paused)).await.unwrap();
    assert_eq!(ids(&of_status), [attempt.run_id]);
}

pub(super) async fn a_run_that_is_continued_waits_for_anybody_with_what_was_decided(store: &dyn RunStore) {
    let attempt = paused(store, with(owned(), |run| run.max_attempts = 1), None).await;
    let asked = confirmed(attempt.run_id);
    assert_eq!(resume(store, &asked).await, Ok(()));

    let run = get(store, attempt.run_id).await;
    assert_eq!((run.output.status, run.output.started_at, run.output.paused_at), (Pending, None, None));
    assert_eq!((run.output.requirements, run.output.tools), (vec![], vec![]));
    assert_eq!((run.output.content, run.output.metrics), (None, Metrics::default()));
    let decided = StepRecord { result: r#"{"confirmed":true}"#.to_owned(), ..finished(2) };
    assert_eq!(store.steps(attempt.run_id).await.unwrap(), [decided]);
    let log = events(store, attempt.run_id).await;
    assert_eq!((log.len(), log[2].seq, &log[2].kind), (3, 2, &RunEventKind::RunContinued {}));

    // Whatever became of it since, the same again is known.
    assert_eq!(resume(store, &asked).await, Ok(()));
    let taken = claim(store, NodeId::new(), 100).await;
    assert!(taken[0].was_continued && taken[0].run.attempt == 2);
    let mut next = Attempt { store, run_id: attempt.run_id, attempt: 2, next_seq: taken[0].next_seq };
    assert_eq!(resume(store, &asked).await, Ok(()));
    next.write(Change::Start).await;
    next.write(settle(Completed)).await;
    assert_eq!(resume(store, &asked).await, Ok(()));
    assert_eq!(events(store, attempt.run_id).await.len(), 5);
    let output = get(store, attempt.run_id).await.output;
    assert_eq!((output.status, output.requirements), (Completed, vec![]));
}

pub(super) async fn a_run_is_continued_once(store: &dyn RunStore) {
    let attempt = paused(store, owned(), None).await;
    resume(store, &confirmed(attempt.run_id)).await.unwrap();
    let not_paused = |status| Err(ContinueRefusal::NotPaused(status));
    assert_eq!(resume(store, &confirmed(attempt.run_id)).await, not_paused(Pending));
    let mut next = Attempt::claimed(store, attempt.run_id).await;
    next.write(Change::Start).await;
    next.write(settle(Completed)).await;
    assert_eq!(resume(store, &confirmed(attempt.run_id)).await, not_paused(Completed));
    assert_eq!(resume(store, &confirmed(crate::run::RunId::new())).await, Err(ContinueRefusal::Missing));
}

pub(super) async fn decisions_that_do_not_fit_change_nothing(store: &dyn RunStore) {
    let attempt = paused(store, with(owned(), |run| run.output.user_id = Some("ann".into())), None).await;
    let before = (facts(store, attempt.run_id).await, get(store, attempt.run_id).await);
    let good = confirmed(attempt.run_id);
    let id = good.decisions[0].requirement_id();
    for decisions in [vec![], vec![good.decisions[0].clone(); 2], vec![Decision::answer(id, 1)]] {
        let outcome = resume(store, &Continue { decisions, ..good.clone() }).await;
        assert!(matches!(outcome, Err(ContinueRefusal::Invalid(_))), "{outcome:?}");
    }
    let stranger = Continue { user_id: Some("bob".into()), ..good.clone() };
    assert_eq!(resume(store, &stranger).await, Err(ContinueRefusal::Missing));
    assert_eq!((facts(store, attempt.run_id).await, get(store, attempt.run_id).await), before);
    assert_eq!(resume(store, &Continue { user_id: Some("ann".into()), ..good }).await, Ok(()));
}

pub(super) async fn a_paused_run_is_cancelled_at_once_and_keeps_what_it_said(store: &dyn RunStore) {
    let attempt = paused(store, owned(), None).await;
    assert_eq!(cancel(store, attempt.run_id).await, CancelWritten::CancelledPaused);
    let output = get(store, attempt.run_id).await.output;
    assert_eq!((output.status, output.paused_at, output.requirements), (Cancelled, None, vec![]));
    assert_eq!((output.content, output.metrics.usage.total_tokens), (Some("Par".into()), 7));
    assert_eq!(output.tools, [looked()]);
    assert_eq!(events(store, attempt.run_id).await.last().unwrap().kind.settles_as(), Some(Cancelled));
    let refused = resume(store, &confirmed(attempt.run_id)).await;
    assert_eq!(refused, Err(ContinueRefusal::NotPaused(Cancelled)));
}

pub(super) async fn a_run_that_somebody_wants_cancelled_does_not_pause(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, owned()).await;
    assert!(matches!(cancel(store, attempt.run_id).await, CancelWritten::Requested(_)));
    assert_eq!(attempt.try_write(pause(None)).await, Err(Refusal::CancelWanted));
    attempt.write(settle(Cancelled)).await;
}

pub(super) async fn a_paused_run_that_nobody_continues_in_time_settles(store: &dyn RunStore) {
    let swept = paused(store, owned(), Some(Duration::ZERO)).await;
    let patient = paused(store, owned(), Some(Duration::from_secs(3600))).await;
    assert!(get(store, patient.run_id).await.start_by.is_some());
    let message = "the run was not continued in time";
    assert_eq!(store.settle_overdue(100).await.unwrap(), [(swept.run_id, Paused)]);
    let asked = paused(store, owned(), Some(Duration::ZERO)).await;
    assert_eq!(resume(store, &confirmed(asked.run_id)).await, Err(ContinueRefusal::NotPaused(Error)));

    for run_id in [swept.run_id, asked.run_id] {
        let output = get(store, run_id).await.output;
        assert_eq!((output.status, output.paused_at), (Error, None));
        assert_eq!(output.error, Some(RunFailure::new(FailureKind::PauseTimeout, message)));
        assert_eq!((output.content, output.metrics.usage.total_tokens), (Some("Par".into()), 7));
        assert_eq!(output.tools, [looked()]);
        let last = RunEventKind::RunError { error_type: FailureKind::PauseTimeout, content: message.to_owned() };
        assert_eq!(events(store, run_id).await.last().unwrap().kind, last);
    }
    assert!(store.settle_overdue(100).await.unwrap().is_empty());
    assert_eq!(resume(store, &confirmed(patient.run_id)).await, Ok(()));
    assert_eq!(get(store, patient.run_id).await.start_by, None);
}

pub(super) async fn a_run_that_pauses_again_needs_other_decisions(store: &dyn RunStore) {
    let first = paused(store, owned(), None).await;
    let asked = confirmed(first.run_id);
    resume(store, &asked).await.unwrap();
    let mut second = Attempt::claimed(store, first.run_id).await;
    second.write(Change::Start).await;
    let Change::Pause(mut again) = pause(None) else { unreachable!() };
    again.requirements = vec![needed(3, 1), needed(4, 1)];
    second.write(Change::Pause(again)).await;

    assert_eq!(get(store, first.run_id).await.output.requirements.len(), 2);
    assert!(matches!(resume(store, &confirmed(first.run_id)).await, Err(ContinueRefusal::Invalid(_))));
    let decisions = [3, 4].map(|position| Decision::reject(needed(position, 1).requirement.requirement_id, "no"));
    resume(store, &Continue { decisions: decisions.into(), ..confirmed(first.run_id) }).await.unwrap();
    let steps = store.steps(first.run_id).await.unwrap();
    assert_eq!(steps.iter().map(|step| step.position).collect::<Vec<_>>(), [2, 3, 4]);
}

pub(super) async fn a_paused_run_keeps_its_session_and_is_never_pruned(store: &dyn RunStore) {
    let of = |sessions| InsertRun { sessions, ..with(unowned(), |run| run.output.session_id = "s".into()) };
    let first = submit(store, &of(SessionPolicy::InOrder)).await.output.run_id;
    let second = submit(store, &of(SessionPolicy::InOrder)).await.output.run_id;
    let mut attempt = Attempt::claimed(store, first).await;
    attempt.write(Change::Start).await;
    attempt.write(pause(None)).await;
    assert!(claim(store, NodeId::new(), 100).await.is_empty());
    assert_eq!(store.prune(Duration::ZERO, 100).await.unwrap(), 0);
    assert!(store.sweep(100).await.unwrap().is_empty());

    resume(store, &confirmed(first)).await.unwrap();
    assert_eq!(taken_ids(&claim(store, NodeId::new(), 100).await), [first]);
    cancel(store, first).await;
    assert!(!taken_ids(&claim(store, NodeId::new(), 100).await).contains(&second), "the first one has a node");
}

pub(super) async fn many_continues_in_a_batch_are_each_answered(store: &dyn RunStore) {
    let mut batch = Vec::new();
    let mut runs = Vec::new();
    for _ in 0..20 {
        let attempt = paused(store, owned(), None).await;
        batch.push(crate::store::protocol::Write::Continue(confirmed(attempt.run_id)));
        runs.push(attempt.run_id);
    }
    cancel(store, runs[3]).await;
    for _ in 0..2 {
        for (place, written) in write_all(store, batch.clone()).await.into_iter().enumerate() {
            let crate::store::protocol::Written::Continue(outcome) = written else { panic!("{written:?}") };
            let expected = if place == 3 { Err(ContinueRefusal::NotPaused(Cancelled)) } else { Ok(()) };
            assert_eq!(outcome, expected, "{place}");
        }
    }
    assert_eq!(claim(store, NodeId::new(), 100).await.len(), 19);
}
