//! How long it takes from the call of a cancel until the model's connection is closed, and until `CANCELLED` is known.

use serde_json::Value;

use crate::support::bare;
use crate::support::child::Process;
use crate::support::host::{Host, connect};
use crate::support::report::{Figure, median, share};
use crate::support::size::Size;

pub(crate) mod worker;

/// What the model is doing.
const STATES: [&str; 3] = ["streaming", "stalled", "in back-off"];

/// Where the cancel is asked for.
const PLACES: [&str; 2] = ["in the process of the run", "in another process"];

/// The p50 and the p99 of each round, in milliseconds.
#[derive(Default)]
struct Rounds([Vec<f64>; 2]);

impl Rounds {
    fn add(&mut self, seconds: &[f64]) {
        for (rounds, at) in self.0.iter_mut().zip([0.5, 0.99]) {
            rounds.push(share(seconds, at) * 1e3);
        }
    }

    fn figures(&self, name: &str, against: (&str, &Self), aim: &'static str) -> [Figure; 2] {
        [(0, "p50", ""), (1, "p99", aim)].map(|(at, share, aim)| {
            let figure = Figure::new(format!("{name}, {share}"), "ms", self.0[at].clone());
            figure.against(against.0, &against.1.0[at]).aim(aim)
        })
    }
}

pub(crate) async fn measure(size: Size) -> Option<Vec<Figure>> {
    let host = Host::start().await?;
    let cases: Vec<(&str, &str)> = PLACES.iter().flat_map(|place| STATES.map(|state| (*place, state))).collect();
    let (mut dropped, mut insert) = (Rounds::default(), Rounds::default());
    let mut closed: Vec<Rounds> = cases.iter().map(|_| Rounds::default()).collect();
    let mut known: Vec<Rounds> = cases.iter().map(|_| Rounds::default()).collect();
    for _ in 0..size.rounds {
        let client = connect(&host.fresh().await).await;
        bare::create(&client).await;
        insert.add(&bare::insert_one_by_one(&client, size.round / 4).await);
        dropped.add(&seconds(&round("", "dropped", "", size), "closed"));
        for (case, (place, state)) in cases.iter().enumerate() {
            let measured = round(&host.fresh().await, state, place, size);
            closed[case].add(&seconds(&measured, "closed"));
            known[case].add(&seconds(&measured, "known"));
        }
    }
    let mut figures = vec![
        Figure::new("a connection that its client drops, to closed, p50", "ms", dropped.0[0].clone()),
        Figure::new("one durable single-row insert, p50", "ms", insert.0[0].clone()),
    ];
    for (case, (place, state)) in cases.iter().enumerate() {
        // In a back-off there is no connection to close.
        if *state != "in back-off" {
            let aim = if *place == PLACES[0] { "≤ 5 ms" } else { "" };
            let name = format!("{state}, {place}: to closed");
            figures.extend(closed[case].figures(&name, ("a dropped connection", &dropped), aim));
        }
        figures.extend(known[case].figures(&format!("{state}, {place}: to CANCELLED"), ("insert", &insert), ""));
    }
    Some(figures)
}

fn round(url: &str, state: &str, place: &str, size: Size) -> Value {
    let cancels = size.pick("200", "3");
    serde_json::from_str(&Process::start(&["cancels", url, state, place, cancels]).line()).unwrap()
}

fn seconds(measured: &Value, name: &str) -> Vec<f64> {
    let seconds: Vec<f64> = measured[name].as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
    assert!(seconds.is_empty() || median(&seconds) >= 0.0);
    seconds
}
