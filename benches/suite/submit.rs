//! How long a submit takes until it is accepted for good, and how long it takes from there to the model and to the end.

use serde_json::Value;

use crate::support::bare;
use crate::support::child::Process;
use crate::support::host::{Host, connect};
use crate::support::report::{Figure, median, share};
use crate::support::size::Size;

pub(crate) mod worker;

const CALLERS: [(usize, &str); 3] = [(1, "1 caller"), (100, "100 callers"), (1000, "1,000 callers")];

/// What was measured, round by round, in milliseconds.
#[derive(Default)]
struct Rounds {
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// The median time of a batch.
    batch: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, measured: &Value) {
        let number = |name: &str| measured[name].as_f64().unwrap_or(f64::NAN);
        self.p50.push(number("p50_ms"));
        self.p99.push(number("p99_ms"));
        self.batch.push(number("batch_ms"));
    }
}

pub(crate) async fn measure(size: Size) -> Option<Vec<Figure>> {
    let host = Host::start().await?;
    let mut single = Rounds::default();
    let mut submits: Vec<Rounds> = CALLERS.iter().map(|_| Rounds::default()).collect();
    let [mut pickups, mut wholes] = [(); 2].map(|()| Rounds::default());
    for _ in 0..size.rounds {
        let insert = insert(&host, size).await;
        single.p50.push(median(&insert) * 1e3);
        single.p99.push(share(&insert, 0.99) * 1e3);
        for (rounds, (callers, _)) in submits.iter_mut().zip(CALLERS) {
            rounds.add(&round(&host, "accepted", callers, size).await);
        }
        pickups.add(&round(&host, "picked-up", 1, size).await);
        wholes.add(&round(&host, "whole", 1, size).await);
    }
    let mut figures = vec![
        Figure::new("one durable single-row insert, p50", "ms", single.p50.clone()),
        Figure::new("one durable single-row insert, p99", "ms", single.p99.clone()),
    ];
    for (rounds, (callers, name)) in submits.into_iter().zip(CALLERS) {
        let aim = if callers == 1 { "≤ 1.5 ×" } else { "" };
        figures.push(
            Figure::new(format!("submit, {name}, p50"), "ms", rounds.p50).against("insert", &single.p50).aim(aim),
        );
        let p99 = Figure::new(format!("submit, {name}, p99"), "ms", rounds.p99);
        figures.push(if callers == 1 {
            p99.against("insert", &single.p99)
        } else {
            p99.against("a batch", &rounds.batch).aim(if callers == 1000 { "≤ 4 ×" } else { "" })
        });
    }
    for (rounds, name) in
        [(pickups, "submit to the first call of the model"), (wholes, "submit to the end of a lone run")]
    {
        figures.push(Figure::new(format!("{name}, p50"), "ms", rounds.p50).against("insert", &single.p50));
        figures.push(Figure::new(format!("{name}, p99"), "ms", rounds.p99).against("insert", &single.p99));
    }
    Some(figures)
}

async fn insert(host: &Host, size: Size) -> Vec<f64> {
    let client = connect(&host.fresh().await).await;
    bare::create(&client).await;
    bare::insert_one_by_one(&client, size.warm_up).await;
    bare::insert_one_by_one(&client, size.round).await
}

async fn round(host: &Host, what: &str, callers: usize, size: Size) -> Value {
    let url = host.fresh().await;
    let [warm_up, round] = [size.warm_up, size.round].map(|time| time.as_millis().to_string());
    let mut worker = Process::start(&["submits", &url, what, &callers.to_string(), &warm_up, &round]);
    serde_json::from_str(&worker.line()).unwrap()
}
