//! A good history passes, and each forged one is found out.

mod features;
mod good;

use std::collections::BTreeSet;

use greenroom::{FailureKind, RunStatus};
use serde_json::json;

use self::good::{
    CAREFUL, ENDED, FROZEN, KILLED, PARKED, RESCUED, UNBORN, WANDERING, call, cancelled, completed, history, id, note,
    started, submit, text,
};
use super::Guarantee::{self, G1, G2, G3, G4, G5, G6, G7, G8, G9, G11, G12};
use super::{acknowledged, check, longest_overlap};
use crate::history::{Call, History, StoredRun};
use crate::kind::Kind;
use crate::wire::{Answer, Ask, Submit, What};

#[test]
fn a_good_history_passes() {
    assert_eq!(check(&history()), []);
    assert_eq!(acknowledged(&history()), 5);
    assert_eq!(longest_overlap(&history()), 0);
}

/// Forges the good history, and asserts that this breaks exactly this guarantee.
#[track_caller]
fn forged(breaks: Guarantee, forge: impl FnOnce(&mut History)) {
    let mut history = history();
    forge(&mut history);
    let violations = check(&history);
    let broken: BTreeSet<Guarantee> = violations.iter().map(|violation| violation.of).collect();
    assert_eq!(broken, BTreeSet::from([breaks]), "{violations:#?}");
}

fn run(history: &mut History, run: u128) -> &mut StoredRun {
    history.runs.get_mut(&id(run)).unwrap()
}

/// The calls about a run.
fn calls(history: &mut History, run: u128) -> impl Iterator<Item = &mut Call> {
    history.calls.iter_mut().filter(move |call| call.ask.run_id() == Some(id(run)))
}

fn add_call(history: &mut History, began: u64, ask: Ask, answer: Answer) {
    history.calls.push(call(began, began + 1, ask, answer));
}

/// Lets the log and its length go together, as far as that is not what is forged.
fn edit_log(run: &mut StoredRun, edit: impl FnOnce(&mut Vec<greenroom::RunEvent>)) {
    edit(&mut run.events);
    for (seq, event) in (0..).zip(&mut run.events) {
        event.seq = seq;
    }
    run.next_seq = run.events.len() as u64;
}

#[test]
fn g1_a_lost_run_is_found() {
    forged(G1, |history| drop(history.runs.remove(&id(UNBORN))));
}

#[test]
fn g1_a_run_that_does_not_settle_is_found() {
    forged(G1, |history| {
        let careful = run(history, CAREFUL);
        (careful.status, careful.error) = (RunStatus::Running, None);
        edit_log(careful, |log| drop(log.pop()));
    });
}

#[test]
fn g1_a_run_that_was_refused_and_is_there_is_found() {
    forged(G1, |history| {
        let refused = Answer::Refused { nothing_stored: true, problem: String::new() };
        calls(history, CAREFUL).for_each(|call| call.answer = Some(refused.clone()));
    });
}

#[test]
fn g2_another_end_than_was_seen_is_found() {
    forged(G2, |history| {
        let get = Ask::Get { run_id: id(CAREFUL) };
        add_call(history, 9_000_000, get, Answer::Output { status: RunStatus::Completed, content: None });
    });
}

#[test]
fn g2_another_content_than_was_seen_is_found() {
    forged(G2, |history| {
        let get = Ask::Get { run_id: id(RESCUED) };
        let content = Some(json!({ "attempt": 2, "said": 2, "seen": [] }));
        add_call(history, 9_000_000, get, Answer::Output { status: RunStatus::Completed, content });
    });
}

#[test]
fn g2_a_run_that_runs_again_after_its_end_is_found() {
    forged(G2, |history| {
        let get = Ask::Get { run_id: id(RESCUED) };
        add_call(history, 9_000_000, get, Answer::Output { status: RunStatus::Running, content: None });
    });
}

#[test]
fn g3_a_word_of_a_fenced_attempt_is_found() {
    forged(G3, |history| {
        edit_log(run(history, WANDERING), |log| log.insert(4, text(WANDERING, 20_000_000, 4, "2:1;")));
    });
}

#[test]
fn g3_an_attempt_that_starts_after_a_later_one_is_found() {
    forged(G3, |history| {
        let wandering = run(history, WANDERING);
        wandering.starts = 3;
        edit_log(wandering, |log| log.insert(3, started(WANDERING, 20_000_000, 3, 1)));
    });
}

#[test]
fn g3_a_settlement_by_a_fenced_attempt_is_found() {
    forged(G3, |history| {
        run(history, WANDERING).content = Some(json!({ "attempt": 2, "said": 1, "seen": [] }));
    });
}

#[test]
fn g3_user_code_without_a_durable_start_is_found() {
    forged(G3, |history| {
        history.processes[FROZEN].notes.push(note(25_000_000, WANDERING, 4, What::Start));
        history.processes[FROZEN].notes.push(note(25_000_001, WANDERING, 4, What::End));
    });
}

#[test]
fn g3_an_attempt_that_is_executed_twice_is_found() {
    forged(G3, |history| history.processes[ENDED].notes.push(note(6_500_000, RESCUED, 1, What::Start)));
}

#[test]
fn g3_user_code_that_goes_on_beside_a_later_attempt_is_found() {
    forged(G3, |history| history.processes[FROZEN].frozen.clear());
}

#[test]
fn g3_user_code_that_does_not_notice_that_it_stood_still_is_found() {
    forged(G3, |history| history.processes[FROZEN].notes[1].at += 10_000_000);
}

#[test]
fn g4_more_starts_than_allowed_are_found() {
    forged(G4, |history| {
        let parked = run(history, PARKED);
        parked.starts = 101;
        edit_log(parked, |log| {
            log.splice(0..1, (1..=101).map(|attempt| started(PARKED, 1_000_000, 0, attempt)));
            log.splice(101..104, [text(PARKED, 6_000_000, 0, "101:0;")]);
        });
        (parked.attempt, parked.content) = (101, Some(json!("101:0;")));
    });
}

#[test]
fn g4_a_run_that_must_not_run_twice_and_does_is_found() {
    forged(G4, |history| {
        let careful = run(history, CAREFUL);
        (careful.attempt, careful.starts) = (2, 2);
        edit_log(careful, |log| log.insert(1, started(CAREFUL, 4_500_000, 1, 2)));
        history.processes[ENDED].notes.push(note(4_500_000, CAREFUL, 2, What::Start));
    });
}

#[test]
fn g4_an_end_that_does_not_befit_the_agent_is_found() {
    forged(G4, |history| run(history, CAREFUL).error = Some(FailureKind::Internal));
}

#[test]
fn g4_starts_that_are_forgotten_are_found() {
    forged(G4, |history| {
        run(history, RESCUED).starts = 1;
        history.processes[ENDED].asked_to_end = None;
        history.processes[ENDED].drained = None;
        history.runs.remove(&id(WANDERING));
        history.calls.retain(|call| call.ask.run_id() != Some(id(WANDERING)));
        history.processes.iter_mut().for_each(|process| process.notes.retain(|note| note.run_id != id(WANDERING)));
    });
}

#[test]
fn g5_a_cancel_that_was_acknowledged_and_forgotten_is_found() {
    forged(G5, |history| {
        let mut cancel = call(2, 3, Ask::Cancel { run_id: id(CAREFUL) }, Answer::Cancelled);
        (cancel.began, cancel.ended) = (1_500_000, 8_000_000);
        history.calls.push(cancel);
        // Nobody saw it settled otherwise: else it would be that, too.
        let careful = run(history, CAREFUL);
        careful.error = None;
        careful.status = RunStatus::Cancelled;
        edit_log(careful, |log| log[1] = cancelled(CAREFUL, 5_000_000, 1));
        edit_log(careful, |log| log.insert(1, started(CAREFUL, 9_000_000, 1, 2)));
        (careful.attempt, careful.starts) = (2, 2);
    });
}

#[test]
fn g5_a_parked_run_that_ends_otherwise_is_found() {
    forged(G5, |history| {
        history.calls.retain(|call| call.ask.run_id() != Some(id(PARKED)) || matches!(call.ask, Ask::Submit(_)));
    });
}

#[test]
fn g5_partial_output_that_is_lost_is_found() {
    forged(G5, |history| run(history, PARKED).content = Some(json!("1:0;")));
}

#[test]
fn g5_a_cancel_that_does_not_find_a_run_that_is_there_is_found() {
    forged(G5, |history| {
        add_call(history, 3_000_000, Ask::Cancel { run_id: id(UNBORN) }, Answer::IntentStored);
    });
}

#[test]
fn g6_user_code_that_starts_after_a_cancel_is_found() {
    forged(G6, |history| {
        let unborn = run(history, UNBORN);
        unborn.starts = 1;
        edit_log(unborn, |log| log.insert(0, started(UNBORN, 900_000, 0, 1)));
        history.processes[KILLED].notes.push(note(2_000_000, UNBORN, 1, What::Start));
    });
}

#[test]
fn g7_a_gap_is_found() {
    forged(G7, |history| {
        let careful = run(history, CAREFUL);
        careful.events[1].seq = 2;
        careful.next_seq = 3;
    });
}

#[test]
fn g7_two_ends_are_found() {
    forged(G7, |history| {
        edit_log(run(history, UNBORN), |log| log.push(cancelled(UNBORN, 2_000_001, 1)));
    });
}

#[test]
fn g7_an_end_that_is_not_the_last_is_found() {
    forged(G7, |history| edit_log(run(history, PARKED), |log| log.swap(3, 4)));
}

#[test]
fn g7_an_end_that_says_something_else_than_the_status_is_found() {
    forged(G7, |history| {
        edit_log(run(history, PARKED), |log| log[4] = completed(PARKED, 6_000_001, 4));
    });
}

#[test]
fn g7_a_word_that_was_said_and_is_not_in_the_log_is_found() {
    forged(G7, |history| {
        let content = Some(json!({ "attempt": 3, "said": 2, "seen": [] }));
        run(history, WANDERING).content = content;
    });
}

/// The watch of the good history that goes on where the other stopped.
fn second_watch(history: &mut History) -> &mut Call {
    let second = |call: &&mut Call| matches!(call.ask, Ask::Watch { after: Some(_), .. });
    history.calls.iter_mut().find(second).unwrap()
}

#[test]
fn g8_an_event_that_a_reader_misses_is_found() {
    forged(G8, |history| drop(second_watch(history).told.remove(1)));
}

#[test]
fn g8_an_event_that_a_reader_is_told_twice_is_found() {
    forged(G8, |history| {
        let watch = second_watch(history);
        watch.told.insert(1, watch.told[0].clone());
    });
}

#[test]
fn g8_an_event_that_was_never_durable_is_found() {
    forged(G8, |history| second_watch(history).told[0] = text(RESCUED, 5_000_001, 4, "2:0;2:1;"));
}

#[test]
fn g8_a_reader_that_is_dismissed_too_early_is_found() {
    forged(G8, |history| drop(second_watch(history).told.pop()));
}

#[test]
fn g9_two_runs_with_one_id_are_found() {
    forged(G9, |history| {
        let other = Submit { input: json!("other"), ..submit(CAREFUL, Kind::Careful) };
        add_call(
            history,
            2_000_000,
            Ask::Submit(other),
            Answer::Accepted { run_id: id(CAREFUL), status: RunStatus::Running },
        );
    });
}

#[test]
fn g9_a_conflict_with_itself_is_found() {
    forged(G9, |history| {
        add_call(history, 2_000_000, Ask::Submit(submit(CAREFUL, Kind::Careful)), Answer::Conflict);
    });
}

#[test]
fn g11_a_shutdown_that_uses_up_an_attempt_is_found() {
    forged(G11, |history| run(history, WANDERING).starts = 3);
}

#[test]
fn g11_a_process_that_does_not_end_is_found() {
    forged(G11, |history| history.processes.last_mut().unwrap().gone = None);
}

#[test]
fn g12_a_run_that_sees_what_is_not_its_users_is_found() {
    forged(G12, |history| {
        run(history, WANDERING).content = Some(json!({ "attempt": 3, "said": 1, "seen": ["user", "stranger"] }));
    });
}
