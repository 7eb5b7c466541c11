//! How many events a second are made durable, and how long one takes to its readers.

use serde_json::Value;

use crate::support::bare;
use crate::support::child::Process;
use crate::support::host::{Host, connect};
use crate::support::report::{Figure, median, share};
use crate::support::size::Size;

mod batches;
pub(crate) mod worker;

/// What is measured of durable events: how many runs speak at the same time.
const SPEAKERS: [(usize, &str); 2] = [(1, "events of 1 run"), (100, "events of 100 runs")];

/// What is measured of readers: what the worker is asked for, how many read, and how that is called.
const READERS: [(&str, usize, &str); 3] = [
    ("here", 1, "to a reader in the process"),
    ("here", 1000, "to the last of 1,000 readers in the process"),
    ("elsewhere", 1, "to a reader in another process"),
];

pub(crate) async fn measure(size: Size) -> Option<Vec<Figure>> {
    let host = Host::start().await?;
    let (mut bare_rates, mut insert) = (Vec::new(), [Vec::new(), Vec::new()]);
    let mut rates: Vec<Vec<f64>> = SPEAKERS.iter().map(|_| Vec::new()).collect();
    let mut readers: Vec<[Vec<f64>; 2]> = READERS.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    for _ in 0..size.rounds {
        bare_rates.push(batches::events(&host, size.round).await);
        let client = connect(&host.fresh().await).await;
        bare::create(&client).await;
        add(&mut insert, &bare::insert_one_by_one(&client, size.round / 4).await);
        for (rates, (runs, _)) in rates.iter_mut().zip(SPEAKERS) {
            let spoken = play(&host, &["speaks", &runs.to_string()], size).await;
            rates.push(spoken.as_f64().unwrap());
        }
        for (rounds, (place, count, _)) in readers.iter_mut().zip(READERS) {
            let told = play(&host, &["tells", place, &size.pick(count, count.min(50)).to_string()], size).await;
            let told: Vec<f64> = told.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
            add(rounds, &told);
        }
    }
    let mut figures = vec![
        Figure::new("bare batch loop of events, 4 connections, 1,000 rows", "events/s", bare_rates.clone()),
        Figure::new("one durable single-row insert, p50", "ms", insert[0].clone()),
    ];
    for (rates, (_, name)) in rates.into_iter().zip(SPEAKERS) {
        figures.push(Figure::new(name, "events/s", rates).against("bare batch loop", &bare_rates));
    }
    for (rounds, (.., name)) in readers.into_iter().zip(READERS) {
        let [p50, p99] = rounds;
        figures.push(Figure::new(format!("an event {name}, p50"), "ms", p50).against("insert", &insert[0]));
        figures.push(Figure::new(format!("an event {name}, p99"), "ms", p99).against("insert", &insert[1]));
    }
    Some(figures)
}

/// Adds the p50 and the p99 of a round, in milliseconds.
fn add(rounds: &mut [Vec<f64>; 2], seconds: &[f64]) {
    rounds[0].push(median(seconds) * 1e3);
    rounds[1].push(share(seconds, 0.99) * 1e3);
}

async fn play(host: &Host, what: &[&str], size: Size) -> Value {
    let url = host.fresh().await;
    let round = size.round.as_millis().to_string();
    let role: Vec<&str> = [&what[..1], &[&url, &round], &what[1..]].concat();
    serde_json::from_str(&Process::start(&role).line()).unwrap()
}
