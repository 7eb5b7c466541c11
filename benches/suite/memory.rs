//! How much memory a run costs that is in flight, and whether very many of them slow calls down.

use serde_json::Value;

use crate::support::child::Process;
use crate::support::host::Host;
use crate::support::report::Figure;
use crate::support::size::Size;

pub(crate) mod bare;
pub(crate) mod worker;

const KIB: f64 = 1024.0;

/// What a process holds: of which kind, how many, how that is called, and what one of them may cost.
struct Case {
    kind: &'static str,
    count: usize,
    name: &'static str,
    aim: &'static str,
}

const CASES: [Case; 7] = [
    Case { kind: "parked", count: 1000, name: "1,000 parked runs", aim: "" },
    Case { kind: "parked", count: 10_000, name: "10,000 parked runs", aim: "" },
    Case { kind: "parked", count: 100_000, name: "100,000 parked runs", aim: "≤ 3 KiB" },
    Case { kind: "streaming", count: 1000, name: "1,000 runs with an open stream", aim: "" },
    Case { kind: "streaming", count: 10_000, name: "10,000 runs with an open stream", aim: "≤ 32 KiB" },
    Case { kind: "paused", count: 1000, name: "1,000 paused runs", aim: "" },
    Case { kind: "paused", count: 10_000, name: "10,000 paused runs", aim: "" },
];

/// What was measured of one case, round by round.
#[derive(Default)]
struct Rounds {
    /// What one costs, and what the whole process has, in bytes.
    each: Vec<f64>,
    whole: Vec<f64>,
    /// The p99 of a submit, a poll and a cancel beside them, in milliseconds.
    calls: [Vec<f64>; 3],
}

pub(crate) async fn measure(size: Size) -> Option<Vec<Figure>> {
    let host = Host::start().await?;
    let mut cases: Vec<Rounds> = CASES.iter().map(|_| Rounds::default()).collect();
    let [mut actors, mut streams] = [Vec::new(), Vec::new()];
    for _ in 0..size.rounds {
        actors.push(hold(&mut Process::start(&["bare", "actors", &count(10_000, size), ""])).0);
        let mut model = Process::start(&["silent-model"]);
        streams.push(hold(&mut Process::start(&["bare", "streams", &count(10_000, size), &model.line()])).0);
        for (case, rounds) in CASES.iter().zip(&mut cases) {
            round(case, &host.fresh().await, size, rounds);
        }
    }
    let mut figures = vec![
        Figure::new("a bare idle actor, of 10,000", "KiB", kib(&actors)),
        Figure::new("a bare stream of the HTTP client, of 10,000", "KiB", kib(&streams)),
    ];
    for (case, rounds) in CASES.iter().zip(&cases) {
        let bare = if case.kind == "streaming" { ("a bare stream", &streams) } else { ("a bare actor", &actors) };
        let each = Figure::new(format!("{}: each", case.name), "KiB", kib(&rounds.each));
        figures.push(each.against(bare.0, &kib(bare.1)).aim(case.aim));
        let whole = rounds.whole.iter().map(|bytes| bytes / KIB / KIB).collect();
        figures.push(Figure::new(format!("{}: the whole process", case.name), "MiB", whole));
    }
    let (few, many) = (&cases[0], &cases[2]);
    for ((call, few), many) in ["submit", "poll", "cancel"].into_iter().zip(&few.calls).zip(&many.calls) {
        let figure = Figure::new(format!("{call} beside 100,000 parked runs, p99"), "ms", many.clone());
        figures.push(figure.against("beside 1,000", few).aim("≤ 2 ×"));
    }
    Some(figures)
}

fn count(full: usize, size: Size) -> String {
    size.pick(full, 200).to_string()
}

fn kib(bytes: &[f64]) -> Vec<f64> {
    bytes.iter().map(|bytes| bytes / KIB).collect()
}

fn round(case: &Case, url: &str, size: Size, rounds: &mut Rounds) {
    let mut model = Process::start(&["silent-model"]);
    let calls = size.pick("300", "5");
    let base_url = model.line();
    let pause = size.pick("1000", "50");
    let mut worker = Process::start(&["holds", case.kind, &count(case.count, size), url, &base_url, pause, calls]);
    let (each, whole) = hold(&mut worker);
    rounds.each.push(each);
    rounds.whole.push(whole);
    worker.go();
    let calls: Value = serde_json::from_str(&worker.line()).unwrap();
    for (rounds, call) in rounds.calls.iter_mut().zip(["submit", "poll", "cancel"]) {
        rounds.push(calls[call].as_f64().unwrap());
    }
}

/// Lets a process take hold of what it is to hold: bytes of each, and of the whole process.
fn hold(worker: &mut Process) -> (f64, f64) {
    assert_eq!(worker.line(), "ready");
    let before = worker.resident();
    worker.go();
    let count: f64 = worker.line().parse().unwrap();
    let after = worker.resident();
    ((after - before) / count, after)
}
