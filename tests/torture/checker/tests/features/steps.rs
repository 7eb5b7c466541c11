//! Steps, turns and tool calls that were done twice, or too early.

use super::super::super::Guarantee::Steps;
use super::super::good::KILLED;
use super::*;
use crate::history::StoredStep;

/// Its process was killed in the second of two steps, which the next attempt did again.
fn with_steps() -> History {
    let mut history = history();
    let events = vec![started(ONE, S, 0, 1), started(ONE, 5 * S, 1, 2), completed(ONE, 6 * S, 2)];
    let step = |position: u32, by: u32| StoredStep { position, result: json!(by), at: 0 };
    let run = StoredRun {
        content: content(2, 0, &[1, 2]),
        steps: vec![step(0, 1), step(1, 2)],
        ..stored(ONE, Kind::Steps, 2, 2, RunStatus::Completed, events)
    };
    add_run(&mut history, run, submit(ONE, Kind::Steps), S / 2);
    let (first, then) = (What::Work { step: 0 }, What::Work { step: 1 });
    history.processes[KILLED].notes.extend([
        note(S, ONE, 1, What::Start),
        note(S + 1, ONE, 1, first),
        note(S + 2, ONE, 1, What::Got { step: 0, by: 1 }),
        note(S + 3, ONE, 1, then),
    ]);
    history.processes[3].notes.extend([
        note(5 * S, ONE, 2, What::Start),
        note(5 * S + 1, ONE, 2, What::Got { step: 0, by: 1 }),
        note(5 * S + 2, ONE, 2, then),
        note(5 * S + 3, ONE, 2, What::Got { step: 1, by: 2 }),
        note(6 * S, ONE, 2, What::End),
    ]);
    history
}

#[test]
fn a_step_that_is_done_again_though_it_is_remembered_is_found() {
    found(with_steps(), Steps, |history| {
        history.processes[3].notes.push(note(5 * S + 1, ONE, 2, What::Work { step: 0 }));
    });
}

#[test]
fn a_step_that_is_done_twice_by_one_attempt_is_found() {
    found(with_steps(), Steps, |history| {
        history.processes[3].notes.push(note(5 * S + 2, ONE, 2, What::Work { step: 1 }));
    });
}

#[test]
fn a_result_that_is_not_the_remembered_one_is_found() {
    found(with_steps(), Steps, |history| {
        history.processes[KILLED].notes.push(note(S + 4, ONE, 1, What::Got { step: 1, by: 1 }));
    });
}

#[test]
fn code_that_went_on_before_its_step_was_durable_is_found() {
    found(with_steps(), Steps, |history| {
        let run = stored_run(history, ONE);
        run.steps.remove(0);
        run.content = content(2, 0, &[2]);
    });
}

#[test]
fn results_that_are_not_those_of_the_steps_are_found() {
    found(with_steps(), Steps, |history| stored_run(history, ONE).content = content(2, 0, &[1, 1]));
}

#[test]
fn a_turn_of_a_model_that_is_remembered_and_asked_for_again_is_found() {
    let mut history = history();
    let asked = |at, seq| event(ONE, at, seq, "ModelRequestStarted", &json!({ "model": "m", "model_provider": "p" }));
    let mut events = vec![started(ONE, S, 0, 1), asked(S + 1, 1), text(ONE, S + 2, 2, "whatever ")];
    events.extend([started(ONE, 5 * S, 3, 2), completed(ONE, 6 * S, 4)]);
    let mut run = stored(ONE, Kind::Model, 2, 2, RunStatus::Completed, events);
    run.content = Some(json!(run.input.to_string()));
    run.steps = vec![StoredStep { position: 0, result: json!({}), at: 2_000_000 }];
    add_run(&mut history, run, submit(ONE, Kind::Model), S / 2);
    found(history, Steps, |history| {
        let run = stored_run(history, ONE);
        run.events.insert(4, asked(5 * S + 1, 4));
        run.events[5].seq = 5;
        run.next_seq = 6;
    });
}

/// Its process was killed in the first of two calls of a turn, when the second had been finished.
fn with_tools() -> History {
    let mut history = history();
    let asked = |at, seq| event(ONE, at, seq, "ModelRequestStarted", &json!({ "model": "m", "model_provider": "p" }));
    let events = vec![
        started(ONE, S, 0, 1),
        asked(S + 1, 1),
        started(ONE, 5 * S, 2, 2),
        asked(5 * S + 5, 3),
        asked(5 * S + 9, 4),
        completed(ONE, 6 * S, 5),
    ];
    let step =
        |position: u32, at: Micros, result: Value| StoredStep { position, result, at: i64::try_from(at).unwrap() };
    let run = StoredRun {
        content: Some(json!("[2,1,2]")),
        steps: vec![
            step(0, S + 2, json!({})),
            step(1, 5 * S + 4, json!({ "output": 2 })),
            step(2, S + 6, json!({ "output": 1 })),
            step(3, 5 * S + 6, json!({})),
            step(4, 5 * S + 8, json!({ "output": 2 })),
        ],
        ..stored(ONE, Kind::Tools, 2, 2, RunStatus::Completed, events)
    };
    add_run(&mut history, run, submit(ONE, Kind::Tools), S / 2);
    let work = |step| What::Work { step };
    history.processes[KILLED].notes.extend([note(S + 3, ONE, 1, work(1)), note(S + 4, ONE, 1, work(2))]);
    history.processes[3].notes.extend([note(5 * S + 1, ONE, 2, work(1)), note(5 * S + 7, ONE, 2, work(4))]);
    history
}

#[test]
fn a_call_that_is_made_again_though_it_is_remembered_is_found() {
    found(with_tools(), Steps, |history| {
        history.processes[3].notes.push(note(5 * S + 2, ONE, 2, What::Work { step: 2 }));
    });
}

#[test]
fn a_call_that_is_made_before_its_turn_is_durable_is_found() {
    found(with_tools(), Steps, |history| {
        stored_run(history, ONE).steps.retain(|step| step.position != 3);
    });
}

#[test]
fn outputs_that_are_not_those_of_the_calls_are_found() {
    found(with_tools(), Steps, |history| stored_run(history, ONE).content = Some(json!("[1,1,2]")));
}

#[test]
fn a_turn_among_several_that_is_remembered_and_asked_for_again_is_found() {
    found(with_tools(), Steps, |history| {
        let more = json!({ "model": "m", "model_provider": "p" });
        let run = stored_run(history, ONE);
        run.events.insert(3, event(ONE, 5 * S + 1, 3, "ModelRequestStarted", &more));
        for (seq, event) in (0..).zip(&mut run.events) {
            event.seq = seq;
        }
        run.next_seq = 7;
    });
}
