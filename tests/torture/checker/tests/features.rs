//! Keys, sessions, retries and users, and in files of their own steps and pauses: each a run of its own beside the good
//! history, and its forgeries.

mod pauses;
mod steps;

use std::collections::BTreeSet;

use greenroom::{FailureKind, RunStatus};
use serde_json::{Value, json};

use super::super::Guarantee::{self, G1, G4, G5, G6, G9, G12, Sessions};
use super::super::check;
use super::good::{call, cancelled, completed, event, history, id, note, started, stored, submit, text};
use crate::clock::Micros;
use crate::history::{History, StoredRun};
use crate::kind::Kind;
use crate::wire::{Answer, Ask, Submit, What};

/// The new runs; 21 and 22 are of one session.
const ONE: u128 = 21;
const OTHER: u128 = 22;
const S: Micros = 1_000_000;

#[track_caller]
fn found(mut history: History, breaks: Guarantee, forge: impl FnOnce(&mut History)) {
    assert_eq!(check(&history), [], "nothing is wrong before");
    forge(&mut history);
    let violations = check(&history);
    let broken: BTreeSet<Guarantee> = violations.iter().map(|violation| violation.of).collect();
    assert_eq!(broken, BTreeSet::from([breaks]), "{violations:#?}");
}

fn add_run(history: &mut History, run: StoredRun, submit: Submit, began: Micros) {
    let accepted = Answer::Accepted { run_id: run.run_id, status: RunStatus::Pending };
    history.calls.push(call(began, began + 10, Ask::Submit(submit), accepted));
    history.runs.insert(run.run_id, run);
}

fn content(attempt: u32, said: u32, steps: &[u32]) -> Option<Value> {
    Some(json!({ "attempt": attempt, "said": said, "seen": [], "steps": steps }))
}

/// A run of this agent that is in its only attempt from `from` to `to`.
fn with_one(mut history: History, run: u128, kind: Kind, from: Micros, to: Micros) -> History {
    let events = vec![started(run, from, 0, 1), completed(run, to, 1)];
    let done = StoredRun { content: content(1, 0, &[]), ..stored(run, kind, 1, 1, RunStatus::Completed, events) };
    let notes = &mut history.processes[3].notes;
    notes.extend([note(from, run, 1, What::Start), note(to, run, 1, What::End)]);
    add_run(&mut history, done, submit(run, kind), from - 100);
    history
}

fn stored_run(history: &mut History, run: u128) -> &mut StoredRun {
    history.runs.get_mut(&id(run)).unwrap()
}

/// A run with a key, which was submitted again at another worker, and with another content.
fn with_key() -> History {
    let mut history = with_one(history(), ONE, Kind::Instant, S, S + 10);
    history.calls.pop();
    let keyed = Submit { key: Some("key".to_owned()), run_id: id(99), ..submit(ONE, Kind::Instant) };
    stored_run(&mut history, ONE).key.clone_from(&keyed.key);
    let accepted = Answer::Accepted { run_id: id(ONE), status: RunStatus::Pending };
    for at in [S / 2, S / 2 + 5] {
        history.calls.push(call(at, at + 10, Ask::Submit(keyed.clone()), accepted.clone()));
    }
    let other = Submit { input: json!("other"), ..keyed };
    history.calls.push(call(S, S + 1, Ask::Submit(other), Answer::KeyConflict { run_id: id(ONE) }));
    history
}

#[test]
fn g1_a_run_with_a_key_that_is_lost_is_found() {
    found(with_key(), G1, |history| {
        history.runs.remove(&id(ONE));
        history.processes[3].notes.retain(|note| note.run_id != id(ONE));
    });
}

#[test]
fn g9_two_runs_with_one_key_are_found() {
    found(with_one(with_key(), OTHER, Kind::Instant, 2 * S, 3 * S), G9, |history| {
        stored_run(history, OTHER).key = Some("key".to_owned());
        let Ask::Submit(submit) = &mut history.calls.last_mut().unwrap().ask else { unreachable!() };
        submit.key = Some("key".to_owned());
    });
}

#[test]
fn g9_a_key_that_another_content_is_accepted_with_is_found() {
    found(with_key(), G9, |history| {
        history.calls.last_mut().unwrap().answer =
            Some(Answer::Accepted { run_id: id(ONE), status: RunStatus::Running });
    });
}

#[test]
fn g9_a_key_that_conflicts_with_the_same_content_is_found() {
    found(with_key(), G9, |history| {
        let place = history.calls.len() - 2;
        history.calls[place].answer = Some(Answer::KeyConflict { run_id: id(ONE) });
    });
}

fn two_in_a_session(kind: Kind) -> History {
    with_one(with_one(history(), ONE, kind, S, 2 * S), OTHER, kind, 4 * S, 5 * S)
}

fn move_start(history: &mut History, run: u128, to: Micros) {
    let run = stored_run(history, run);
    run.events[0].created_at = chrono::DateTime::from_timestamp_micros(i64::try_from(to).unwrap()).unwrap();
}

#[test]
fn two_runs_of_a_session_beside_each_other_are_found() {
    found(two_in_a_session(Kind::Ordered), Sessions, |history| move_start(history, OTHER, 2 * S - 1));
}

#[test]
fn a_run_that_starts_before_one_that_had_come_earlier_is_found() {
    found(two_in_a_session(Kind::Ordered), Sessions, |history| {
        let run = stored_run(history, ONE);
        (run.events[0].created_at, run.events[1].created_at) = {
            let at = |micros: i64| chrono::DateTime::from_timestamp_micros(micros).unwrap();
            (at(6_000_000), at(7_000_000))
        };
        history.processes[3].notes.retain(|note| note.run_id != id(ONE) || note.attempt > 1);
        history.processes[3].notes.push(note(6 * S, ONE, 1, What::Start));
        history.processes[3].notes.push(note(7 * S, ONE, 1, What::End));
    });
}

#[test]
fn user_code_that_goes_on_beside_the_next_of_its_session_is_found() {
    found(two_in_a_session(Kind::Ordered), Sessions, |history| {
        let end = |note: &&mut crate::wire::Note| note.run_id == id(ONE) && note.what == What::End;
        history.processes[3].notes.iter_mut().find(end).unwrap().at = 9 * S;
    });
}

#[test]
fn two_runs_of_a_session_that_should_have_been_refused_are_found() {
    found(two_in_a_session(Kind::Refusing), Sessions, |history| {
        history.calls.last_mut().unwrap().ended = S + S / 2;
    });
}

/// A run that was refused for the first one of its session.
fn with_refusal() -> History {
    let mut history = with_one(history(), ONE, Kind::Refusing, S, 2 * S);
    let refused = Ask::Submit(submit(OTHER, Kind::Refusing));
    history.calls.push(call(S, S + 1, refused, Answer::Busy { run_id: id(ONE) }));
    history
}

#[test]
fn a_refusal_for_a_run_of_another_session_is_found() {
    found(with_refusal(), Sessions, |history| stored_run(history, ONE).session = "another".to_owned());
}

#[test]
fn a_refusal_for_a_run_that_has_settled_is_found() {
    found(with_refusal(), Sessions, |history| {
        let get = Ask::Get { run_id: id(ONE) };
        let output = Answer::Output { status: RunStatus::Completed, content: content(1, 0, &[]) };
        history.calls.push(call(2 * S, 2 * S + 1, get, output));
        let refusal = history.calls.len() - 2;
        (history.calls[refusal].began, history.calls[refusal].ended) = (3 * S, 3 * S + 1);
    });
}

fn retrying(at: Micros, seq: u64, attempt: u32) -> greenroom::RunEvent {
    let more = json!({ "attempt": attempt, "error_type": "agent_error", "content": "no", "delay": 0.1 });
    event(ONE, at, seq, "RunRetrying", &more)
}

/// Fails once and then completes.
fn with_a_retry() -> History {
    let mut history = history();
    let events = vec![
        started(ONE, S, 0, 1),
        text(ONE, S + 1, 1, "1:0;"),
        retrying(S + 2, 2, 1),
        started(ONE, 2 * S, 3, 2),
        text(ONE, 2 * S + 1, 4, "2:0;"),
        completed(ONE, 2 * S + 2, 5),
    ];
    let mut run = stored(ONE, Kind::Retrying, 2, 2, RunStatus::Completed, events);
    (run.content, run.input) = (content(2, 1, &[]), json!({ "user": "user", "tag": 1 }));
    let submit = Submit { input: run.input.clone(), ..submit(ONE, Kind::Retrying) };
    add_run(&mut history, run, submit, S / 2);
    for (attempt, from) in [(1, S), (2, 2 * S)] {
        history.processes[3].notes.push(note(from, ONE, attempt, What::Start));
        history.processes[3].notes.push(note(from + 2, ONE, attempt, What::End));
    }
    history
}

#[test]
fn g4_a_failed_attempt_that_is_not_followed_by_another_is_found() {
    found(with_a_retry(), G4, |history| {
        let failed = event(ONE, S + 2, 2, "RunError", &json!({ "error_type": "agent_error", "content": "no" }));
        let run = stored_run(history, ONE);
        run.events.truncate(2);
        run.events.push(failed);
        (run.next_seq, run.attempt, run.starts) = (3, 1, 1);
        (run.status, run.content, run.error) = (RunStatus::Error, None, Some(FailureKind::AgentError));
        history.processes[3].notes.retain(|note| note.run_id != id(ONE) || note.attempt == 1);
    });
}

#[test]
fn g4_a_retry_of_an_agent_that_wants_none_is_found() {
    found(with_a_retry(), G4, |history| {
        let run = stored_run(history, ONE);
        (run.agent, run.max_attempts) = (Kind::Instant.name().to_owned(), 100);
        history.calls.last_mut().unwrap().ask =
            Ask::Submit(Submit { input: run.input.clone(), ..submit(ONE, Kind::Instant) });
    });
}

#[test]
fn g4_a_retry_by_an_attempt_that_is_not_the_latest_is_found() {
    found(with_a_retry(), G4, |history| stored_run(history, ONE).events[2] = retrying(S + 2, 2, 2));
}

#[test]
fn g4_more_starts_than_there_may_be_retries_are_found() {
    found(with_a_retry(), G4, |history| {
        let run = stored_run(history, ONE);
        (run.starts, run.attempt) = (6, 6);
        run.content = content(6, 1, &[]);
        run.events =
            (1..=6).map(|attempt| started(ONE, u64::from(attempt) * S, u64::from(attempt) - 1, attempt)).collect();
        run.events.extend([text(ONE, 7 * S, 6, "6:0;"), completed(ONE, 8 * S, 7)]);
        run.next_seq = 8;
        history.processes[3].notes.retain(|note| note.run_id != id(ONE));
    });
}

/// A run of `user`, and what a stranger and its user were answered.
fn with_a_stranger() -> History {
    let mut history = with_one(history(), ONE, Kind::Instant, S, S + 10);
    let stranger = || "stranger".to_owned();
    let (get, cancel) =
        (Ask::GetFor { run_id: id(ONE), user: stranger() }, Ask::CancelFor { run_id: id(ONE), user: stranger() });
    history.calls.push(call(S / 4, S / 4 + 1, cancel.clone(), Answer::IntentStored));
    history.calls.push(call(2 * S, 2 * S + 1, get, Answer::Missing));
    let list = Ask::ListFor { user: "user".to_owned() };
    history.calls.push(call(2 * S, 2 * S + 1, list, Answer::Listed(vec![(id(ONE), Some("user".to_owned()))])));
    history
}

/// The answer to the stranger's call that comes `nth` from the end.
fn answer(history: &mut History, nth: usize, answer: Answer) {
    let place = history.calls.len() - nth;
    history.calls[place].answer = Some(answer);
}

#[test]
fn g12_a_run_that_a_stranger_sees_is_found() {
    found(with_a_stranger(), G12, |history| {
        answer(history, 2, Answer::Output { status: RunStatus::Completed, content: content(1, 0, &[]) });
    });
}

#[test]
fn g12_a_cancel_by_a_stranger_that_finds_a_run_is_found() {
    found(with_a_stranger(), G12, |history| answer(history, 3, Answer::CancelRequested));
}

#[test]
fn g12_a_run_in_a_strangers_list_is_found() {
    found(with_a_stranger(), G12, |history| {
        history.calls.last_mut().unwrap().ask = Ask::ListFor { user: "stranger".to_owned() };
    });
}

#[test]
fn g5_a_run_that_only_a_stranger_has_cancelled_is_found() {
    found(with_a_stranger(), G5, |history| {
        let run = stored_run(history, ONE);
        (run.status, run.content) = (RunStatus::Cancelled, None);
        run.events[1] = cancelled(ONE, S + 10, 1);
    });
}

#[test]
fn g6_an_intent_of_its_own_user_that_a_run_starts_past_is_found() {
    found(with_a_stranger(), G6, |history| {
        let cancel = Ask::CancelFor { run_id: id(ONE), user: "user".to_owned() };
        history.calls.push(call(S / 4, S / 4 + 1, cancel, Answer::IntentStored));
    });
}
