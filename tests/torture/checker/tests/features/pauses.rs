//! Runs that wait for people.

use greenroom::{RunEvent, StepKey};

use super::super::super::Guarantee::{G2, G11, Pauses, Steps};
use super::super::good::KILLED;
use super::*;
use crate::history::{Call, StoredStep};
use crate::wire::Continue;

fn need(question: u128) -> StepKey {
    uuid::Uuid::from_u128(1000 + question).to_string().parse().unwrap()
}

fn paused(at: Micros, seq: u64, question: u128) -> RunEvent {
    let requirement = json!({
        "requirement_id": need(question), "name": "question", "kind": "user_input", "details": "Which number?"
    });
    event(ONE, at, seq, "RunPaused", &json!({ "requirements": [requirement] }))
}

fn continued(at: Micros, seq: u64) -> RunEvent {
    event(ONE, at, seq, "RunContinued", &json!({}))
}

fn decide(at: Micros, question: u128, number: u32, answer: Answer) -> Call {
    let asked = Continue { run_id: id(ONE), user: None, need: need(question), answer: number };
    call(at, at + 10_000, Ask::Continue(asked), answer)
}

/// Waits for people twice. Of two who decide the first question at the same time one is heard; the process that has it then
/// dies.
fn with_pauses() -> History {
    let mut history = history();
    let events = vec![
        started(ONE, S, 0, 1),
        paused(S + 10_000, 1, 0),
        continued(3 * S, 2),
        started(ONE, 4 * S, 3, 2),
        started(ONE, 5 * S, 4, 3),
        paused(6 * S, 5, 1),
        continued(8 * S, 6),
        started(ONE, 9 * S, 7, 4),
        completed(ONE, 10 * S, 8),
    ];
    let step = |position: u32, result: u32| StoredStep { position, result: json!(result), at: 0 };
    let run = StoredRun {
        content: content(4, 0, &[1, 70, 3, 81, 4]),
        steps: vec![step(0, 1), step(1, 70), step(2, 3), step(3, 81), step(4, 4)],
        ..stored(ONE, Kind::Asking, 4, 2, RunStatus::Completed, events)
    };
    add_run(&mut history, run, submit(ONE, Kind::Asking), S / 2);
    history.calls.extend([
        call(S, 2 * S, Ask::AwaitPause { run_id: id(ONE), millis: 1 }, Answer::Paused { needs: vec![need(0)] }),
        decide(3 * S - 5_000, 0, 70, Answer::Continued),
        decide(3 * S - 5_000, 0, 71, Answer::NotPaused(RunStatus::Pending)),
        call(6 * S, 7 * S, Ask::AwaitPause { run_id: id(ONE), millis: 1 }, Answer::Paused { needs: vec![need(1)] }),
        decide(7 * S, 0, 72, Answer::Unfit),
        Call { answer: None, ..decide(8 * S - 5_000, 1, 81, Answer::Continued) },
        // Nobody was told yet that it is over, so that its end may have been on its way to the disk.
        call(
            8 * S + 500_000,
            9 * S,
            Ask::AwaitPause { run_id: id(ONE), millis: 1 },
            Answer::Paused { needs: vec![need(1)] },
        ),
    ]);
    let got = |step, by| What::Got { step, by };
    let work = |step| What::Work { step };
    history.processes[KILLED].notes.extend([note(4 * S, ONE, 2, What::Start), note(4 * S, ONE, 2, got(1, 70))]);
    history.processes[3].notes.extend([
        note(S + 1, ONE, 1, What::Start),
        note(S + 2, ONE, 1, work(0)),
        note(S + 9_999, ONE, 1, What::End),
        note(5 * S + 1, ONE, 3, What::Start),
        note(5 * S + 2, ONE, 3, got(1, 70)),
        note(5 * S + 3, ONE, 3, work(2)),
        note(6 * S - 1, ONE, 3, What::End),
        note(9 * S, ONE, 4, What::Start),
        note(9 * S + 1, ONE, 4, got(3, 81)),
        note(9 * S + 2, ONE, 4, work(4)),
        note(10 * S, ONE, 4, What::End),
    ]);
    history
}

/// Waits for people, and is ended otherwise: by its timeout, or by a cancel.
fn with_an_end(kind: Kind, end: RunEvent, status: RunStatus, error: Option<FailureKind>) -> History {
    let mut history = history();
    let events = vec![started(ONE, S, 0, 1), paused(S + 10_000, 1, 0), end];
    let step = StoredStep { position: 0, result: json!(1), at: 0 };
    let run = StoredRun { error, steps: vec![step], ..stored(ONE, kind, 1, 0, status, events) };
    add_run(&mut history, run, submit(ONE, kind), S / 2);
    history.calls.push(decide(5 * S, 0, 70, Answer::NotPaused(status)));
    history.processes[3].notes.extend([note(S, ONE, 1, What::Start), note(S + 1, ONE, 1, What::End)]);
    history
}

fn with_a_cancel() -> History {
    let mut history = with_an_end(Kind::Asking, cancelled(ONE, 4 * S, 2), RunStatus::Cancelled, None);
    history.calls.push(call(4 * S - 1, 4 * S + 1, Ask::Cancel { run_id: id(ONE) }, Answer::Cancelled));
    history
}

fn with_a_timeout() -> History {
    let more = json!({ "error_type": "pause_timeout", "content": "the run was not continued in time" });
    let end = event(ONE, 4 * S, 2, "RunError", &more);
    with_an_end(Kind::Expiring, end, RunStatus::Error, Some(FailureKind::PauseTimeout))
}

/// Changes the log and lets the places in it follow.
fn edit(history: &mut History, edit: impl FnOnce(&mut Vec<RunEvent>)) {
    let run = stored_run(history, ONE);
    edit(&mut run.events);
    for (seq, event) in (0..).zip(&mut run.events) {
        event.seq = seq;
    }
    run.next_seq = run.events.len() as u64;
}

/// The call of somebody who decides, by the number that was given.
fn decision(history: &mut History, number: u32) -> &mut Call {
    let is_it = |call: &&mut Call| matches!(&call.ask, Ask::Continue(asked) if asked.answer == number);
    history.calls.iter_mut().find(is_it).unwrap()
}

#[test]
fn ends_of_pauses_that_are_none_of_people_are_good_as_well() {
    for history in [with_a_cancel(), with_a_timeout()] {
        assert_eq!(check(&history), []);
    }
}

#[test]
fn a_paused_run_that_is_started_before_anybody_has_decided_is_found() {
    found(with_pauses(), Pauses, |history| {
        edit(history, |log| {
            let continued = log.remove(6);
            log.insert(7, continued);
        });
    });
}

#[test]
fn a_run_that_is_continued_twice_is_found() {
    found(with_pauses(), Pauses, |history| edit(history, |log| log.insert(3, continued(3 * S + 1, 3))));
}

#[test]
fn user_code_at_work_while_its_run_is_paused_is_found() {
    found(with_pauses(), Pauses, |history| {
        history.processes[3].notes.push(note(7 * S, ONE, 4, What::Got { step: 1, by: 70 }));
    });
}

#[test]
fn user_code_that_goes_on_past_its_pause_is_found() {
    found(with_pauses(), Pauses, |history| {
        history.processes[3].notes.push(note(8 * S + 10_000, ONE, 3, What::Got { step: 1, by: 70 }));
    });
}

#[test]
fn two_who_are_both_told_that_they_were_heard_are_found() {
    found(with_pauses(), Pauses, |history| decision(history, 71).answer = Some(Answer::Continued));
}

#[test]
fn a_decision_that_was_refused_and_is_heard_is_found() {
    found(with_pauses(), Pauses, |history| {
        decision(history, 81).answer = Some(Answer::NotPaused(RunStatus::Pending));
    });
}

#[test]
fn a_decision_that_nobody_took_is_found() {
    found(with_pauses(), Pauses, |history| {
        history.calls.retain(|call| !matches!(&call.ask, Ask::Continue(asked) if asked.answer == 81));
    });
}

#[test]
fn a_continued_run_that_does_not_have_the_decision_is_found() {
    found(with_a_cancel(), Pauses, |history| {
        edit(history, |log| log.insert(2, continued(3 * S, 2)));
        history.calls.push(Call { answer: None, ..decide(3 * S - 5_000, 0, 71, Answer::Continued) });
    });
}

#[test]
fn a_refusal_of_what_is_paused_before_and_after_it_is_found() {
    for refusal in [Answer::NotPaused(RunStatus::Running), Answer::Unfit, Answer::Missing] {
        found(with_pauses(), Pauses, |history| history.calls.push(decide(7 * S + 1, 1, 99, refusal)));
    }
}

#[test]
fn a_run_that_was_seen_waiting_and_was_not_is_found() {
    // After it had been started again, and after it had been continued.
    for at in [5 * S, 3 * S + 100_000] {
        found(with_pauses(), Pauses, |history| {
            let seen = Answer::Paused { needs: vec![need(0)] };
            history.calls.push(call(at, at + 1, Ask::AwaitPause { run_id: id(ONE), millis: 1 }, seen));
        });
    }
}

#[test]
fn a_question_that_is_asked_again_is_found() {
    found(with_pauses(), Pauses, |history| {
        history.calls.retain(|call| !matches!(call.ask, Ask::AwaitPause { .. }) || call.began < 2 * S);
        decision(history, 72).answer = None;
        let Ask::Continue(asked) = &mut decision(history, 81).ask else { unreachable!() };
        asked.need = need(0);
        edit(history, |log| log[5] = paused(6 * S, 5, 0));
    });
}

#[test]
fn a_paused_run_that_dies_with_its_process_is_found() {
    found(with_a_timeout(), Pauses, |history| {
        let died = json!({ "error_type": "process_died", "content": "died" });
        edit(history, |log| log[2] = event(ONE, 4 * S, 2, "RunError", &died));
        stored_run(history, ONE).error = Some(FailureKind::ProcessDied);
    });
}

#[test]
fn a_pause_that_is_given_up_too_early_is_found() {
    found(with_a_timeout(), Pauses, |history| {
        let end = stored_run(history, ONE).events[2].created_at - chrono::Duration::milliseconds(1600);
        edit(history, |log| log[2].created_at = end);
    });
}

#[test]
fn a_continue_that_is_acknowledged_after_a_cancel_is_found() {
    found(with_a_cancel(), Pauses, |history| decision(history, 70).answer = Some(Answer::Continued));
}

#[test]
fn user_code_of_a_run_that_was_cancelled_while_it_was_paused_is_found() {
    found(with_a_cancel(), Pauses, |history| {
        history.processes[3].notes.push(note(6 * S, ONE, 1, What::Got { step: 0, by: 1 }));
    });
}

#[test]
fn g1_a_paused_run_that_nobody_ends_is_found() {
    found(with_a_cancel(), G1, |history| {
        edit(history, |log| drop(log.pop()));
        stored_run(history, ONE).status = RunStatus::Paused;
        history.calls.retain(|call| call.ask.run_id() != Some(id(ONE)) || matches!(call.ask, Ask::Submit(_)));
    });
}

#[test]
fn g2_a_run_that_waits_for_people_after_its_end_is_found() {
    found(with_a_cancel(), G2, |history| {
        let seen = Answer::Output { status: RunStatus::Paused, content: None };
        history.calls.push(call(6 * S, 6 * S + 1, Ask::Get { run_id: id(ONE) }, seen));
    });
}

#[test]
fn g11_a_pause_that_uses_up_an_attempt_is_found() {
    found(with_pauses(), G11, |history| stored_run(history, ONE).starts = 3);
}

#[test]
fn g12_a_decision_by_a_stranger_that_finds_a_run_is_found() {
    found(with_pauses(), G12, |history| {
        let asked = Continue { run_id: id(ONE), user: Some("stranger".to_owned()), need: need(1), answer: 98 };
        let unfit = call(2 * S + 1, 2 * S + 2, Ask::Continue(asked), Answer::NotPaused(RunStatus::Running));
        history.calls.push(unfit);
    });
}

#[test]
fn a_step_that_is_done_again_after_a_continue_is_found() {
    found(with_pauses(), Steps, |history| {
        history.processes[3].notes.push(note(5 * S + 2, ONE, 3, What::Work { step: 0 }));
    });
}

#[test]
fn an_answer_that_is_another_one_after_a_rescue_is_found() {
    found(with_pauses(), Steps, |history| {
        history.processes[KILLED].notes.last_mut().unwrap().what = What::Got { step: 1, by: 71 };
    });
}
