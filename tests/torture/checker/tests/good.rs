//! A history in which nothing is wrong: five runs on three processes, with a crash, a freeze and a shutdown.

use greenroom::{FailureKind, RunEvent, RunId, RunStatus};
use serde_json::{Value, json};

use crate::clock::Micros;
use crate::history::{Call, History, Process, StoredRun};
use crate::kind::Kind;
use crate::wire::{Answer, Ask, Drained, Note, Submit, What};

/// Taken up twice: its first process was killed.
pub(super) const RESCUED: u128 = 1;
/// Cancelled while it ran, by a request at another worker.
pub(super) const PARKED: u128 = 2;
/// Cancelled before it came.
pub(super) const UNBORN: u128 = 3;
/// Not to be run again, when its process was killed.
pub(super) const CAREFUL: u128 = 4;
/// Handed back by a shutdown, and then taken over from a process that stood still.
pub(super) const WANDERING: u128 = 5;

/// The processes, by their places.
pub(super) const KILLED: usize = 0;
pub(super) const ENDED: usize = 1;
pub(super) const FROZEN: usize = 2;

const SECOND: Micros = 1_000_000;

pub(super) fn id(run: u128) -> RunId {
    uuid::Uuid::from_u128(run).into()
}

/// An event, by what it is called and what it says.
pub(super) fn event(run: u128, at: Micros, seq: u64, name: &str, more: &Value) -> RunEvent {
    let created_at = chrono::DateTime::from_timestamp_micros(i64::try_from(at).unwrap()).unwrap();
    let mut event = json!({ "run_id": id(run), "seq": seq, "created_at": created_at, "event": name });
    event.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    serde_json::from_value(event).unwrap()
}

pub(super) fn started(run: u128, at: Micros, seq: u64, attempt: u32) -> RunEvent {
    event(run, at, seq, "RunStarted", &json!({ "attempt": attempt }))
}

pub(super) fn text(run: u128, at: Micros, seq: u64, text: &str) -> RunEvent {
    event(run, at, seq, "RunContent", &json!({ "content": text }))
}

fn word(run: u128, at: Micros, seq: u64, attempt: u32, n: u32) -> RunEvent {
    event(run, at, seq, "CustomEvent", &json!({ "name": "word", "data": { "attempt": attempt, "n": n } }))
}

pub(super) fn cancelled(run: u128, at: Micros, seq: u64) -> RunEvent {
    event(run, at, seq, "RunCancelled", &json!({ "reason": "cancelled by the caller" }))
}

pub(super) fn completed(run: u128, at: Micros, seq: u64) -> RunEvent {
    event(run, at, seq, "RunCompleted", &json!({ "metrics": {} }))
}

pub(super) fn submit(run: u128, kind: Kind) -> Submit {
    let input = json!({ "user": "user", "tag": run.to_string() });
    let (agent, session, user) = (kind.name().to_owned(), "session".to_owned(), "user".to_owned());
    Submit { run_id: id(run), key: None, agent, session, user, input }
}

pub(super) fn call(began: Micros, ended: Micros, ask: Ask, answer: Answer) -> Call {
    Call { worker: 0, began, ended, ask, answer: Some(answer), told: Vec::new() }
}

fn accepted(at: Micros, run: u128, kind: Kind) -> Call {
    call(at, at + 10, Ask::Submit(submit(run, kind)), Answer::Accepted { run_id: id(run), status: RunStatus::Pending })
}

pub(super) fn note(at: Micros, run: u128, attempt: u32, what: What) -> Note {
    Note { at, run_id: id(run), attempt, what }
}

pub(super) fn stored(
    run: u128,
    kind: Kind,
    attempt: u32,
    starts: u32,
    status: RunStatus,
    events: Vec<RunEvent>,
) -> StoredRun {
    let Submit { run_id, key, agent, session, user, input } = submit(run, kind);
    StoredRun {
        run_id,
        agent,
        session,
        user,
        key,
        status,
        attempt,
        starts,
        max_attempts: kind.max_attempts(),
        next_seq: events.len() as u64,
        input,
        content: None,
        error: None,
        events,
        steps: Vec::new(),
    }
}

pub(super) fn history() -> History {
    let runs = runs();
    let calls = calls(&runs);
    History {
        calls,
        processes: processes(),
        runs: runs.into_iter().map(|run| (run.run_id, run)).collect(),
        since_1970: 0,
    }
}

fn runs() -> Vec<StoredRun> {
    let s = SECOND;
    let rescued = vec![
        started(RESCUED, s, 0, 1),
        text(RESCUED, s + 1, 1, "1:0;"),
        word(RESCUED, s + 2, 2, 1, 1),
        started(RESCUED, 5 * s, 3, 2),
        text(RESCUED, 5 * s + 1, 4, "2:0;"),
        word(RESCUED, 5 * s + 2, 5, 2, 1),
        text(RESCUED, 5 * s + 3, 6, "2:2;"),
        completed(RESCUED, 5 * s + 4, 7),
    ];
    let parked = vec![
        started(PARKED, s, 0, 1),
        text(PARKED, s + 1, 1, "1:0;"),
        word(PARKED, s + 2, 2, 1, 1),
        text(PARKED, 6 * s, 3, "1:2;"),
        cancelled(PARKED, 6 * s + 1, 4),
    ];
    let careful = vec![
        started(CAREFUL, s, 0, 1),
        event(CAREFUL, 5 * s, 1, "RunError", &json!({ "error_type": "process_died", "content": "died" })),
    ];
    let wandering = vec![
        started(WANDERING, s, 0, 1),
        started(WANDERING, 9 * s, 1, 2),
        text(WANDERING, 9 * s + 1, 2, "2:0;"),
        started(WANDERING, 13 * s, 3, 3),
        text(WANDERING, 13 * s + 1, 4, "3:0;"),
        completed(WANDERING, 13 * s + 2, 5),
    ];
    let content = |attempt: u32, said: u32| Some(json!({ "attempt": attempt, "said": said, "seen": ["user"] }));
    let done = RunStatus::Completed;
    vec![
        StoredRun { content: content(2, 3), ..stored(RESCUED, Kind::Streaming, 2, 2, done, rescued) },
        StoredRun {
            content: Some(json!("1:0;1:2;")),
            ..stored(PARKED, Kind::Parked, 1, 1, RunStatus::Cancelled, parked)
        },
        stored(UNBORN, Kind::Instant, 1, 0, RunStatus::Cancelled, vec![cancelled(UNBORN, 2 * s, 0)]),
        StoredRun {
            error: Some(FailureKind::ProcessDied),
            ..stored(CAREFUL, Kind::Careful, 1, 1, RunStatus::Error, careful)
        },
        StoredRun { content: content(3, 1), ..stored(WANDERING, Kind::Remembering, 3, 2, done, wandering) },
    ]
}

fn calls(runs: &[StoredRun]) -> Vec<Call> {
    let s = SECOND;
    let rescued = &runs[0];
    let watch = |after: Option<u64>, events: std::ops::Range<usize>, by_itself: bool| Call {
        told: rescued.events[events].to_vec(),
        ..call(2 * s, 6 * s, Ask::Watch { run_id: id(RESCUED), after, millis: 1000 }, Answer::Watched { by_itself })
    };
    let cancel = |run: u128| Ask::Cancel { run_id: id(run) };
    let output = Answer::Output { status: RunStatus::Completed, content: rescued.content.clone() };
    vec![
        accepted(s / 2, RESCUED, Kind::Streaming),
        accepted(s / 2, PARKED, Kind::Parked),
        accepted(s / 2, CAREFUL, Kind::Careful),
        accepted(s / 2, WANDERING, Kind::Remembering),
        watch(None, 0..4, false),
        watch(Some(3), 4..8, true),
        call(2 * s, 6 * s, Ask::Wait { run_id: id(RESCUED), millis: 1000 }, output),
        call(
            2 * s,
            2 * s + 1,
            Ask::Submit(submit(RESCUED, Kind::Streaming)),
            Answer::Accepted { run_id: id(RESCUED), status: RunStatus::Running },
        ),
        call(
            2 * s,
            2 * s + 1,
            Ask::Submit(Submit { input: json!("other"), ..submit(RESCUED, Kind::Streaming) }),
            Answer::Conflict,
        ),
        call(5 * s, 5 * s + 9, cancel(PARKED), Answer::CancelRequested),
        call(7 * s, 7 * s + 9, cancel(PARKED), Answer::AlreadySettled(RunStatus::Cancelled)),
        call(s, s + 9, cancel(UNBORN), Answer::IntentStored),
        accepted(2 * s - 20, UNBORN, Kind::Instant),
        Call { answer: None, ..accepted(s, 77, Kind::Instant) },
    ]
}

fn processes() -> Vec<Process> {
    use What::{End, Start};
    let s = SECOND;
    let killed = Process {
        name: "killed".to_owned(),
        notes: vec![note(s, RESCUED, 1, Start), note(s, CAREFUL, 1, Start)],
        gone: Some(3 * s),
        ..Process::default()
    };
    let ended = Process {
        name: "ended".to_owned(),
        notes: vec![
            note(s, PARKED, 1, Start),
            note(s, WANDERING, 1, Start),
            note(5 * s, RESCUED, 2, Start),
            note(5 * s + 4, RESCUED, 2, End),
            note(6 * s, PARKED, 1, End),
            note(8 * s, WANDERING, 1, End),
        ],
        asked_to_end: Some(7 * s),
        drained: Some(Drained { settled: 0, handed_back: 1, lost: 0 }),
        gone: Some(8 * s + 1),
        ..Process::default()
    };
    let frozen = Process {
        name: "frozen".to_owned(),
        notes: vec![
            note(9 * s, WANDERING, 2, Start),
            // It wakes up, and notices.
            note(20 * s + 1, WANDERING, 2, End),
        ],
        frozen: vec![(10 * s, 20 * s)],
        gone: Some(30 * s),
        ..Process::default()
    };
    let last = Process {
        name: "last".to_owned(),
        notes: vec![note(13 * s, WANDERING, 3, Start), note(13 * s + 2, WANDERING, 3, End)],
        asked_to_end: Some(40 * s),
        drained: Some(Drained { settled: 0, handed_back: 0, lost: 0 }),
        gone: Some(41 * s),
        ..Process::default()
    };
    vec![killed, ended, frozen, last]
}
