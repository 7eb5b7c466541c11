//! What very many settled runs change: nothing, it is hoped.

use std::env;

use serde_json::Value;
use tokio_postgres::Client;

use crate::lifecycle;
use crate::support::child::Process;
use crate::support::host::{Host, connect};
use crate::support::report::Figure;
use crate::support::size::Size;

pub(crate) mod fill;
mod wear;
pub(crate) mod worker;

/// What is measured beside so many settled runs, and what it may become of what it is beside none.
const MEASURED: [(&str, &str, &str); 8] = [
    ("rate", "1,000 in flight", "runs/s"),
    ("poll", "poll, p50", "ms"),
    ("newest", "list of the newest 50, p50", "ms"),
    ("session", "list of a session, p50", "ms"),
    ("old_session", "a lone run in a session of 10,000 runs, p50", "ms"),
    ("new_session", "a lone run in a new session, p50", "ms"),
    ("claim", "claim statement, mean", "ms"),
    ("sweep", "sweep statements, mean", "ms"),
];

/// How many settled runs there are, step by step. `GREENROOM_BENCH_ROWS` adds one more step; 10,000,000 takes some minutes and
/// about 20 GB.
fn steps(size: Size) -> Vec<u64> {
    let mut steps = vec![0, size.pick(1_000_000, 20_000)];
    steps.extend(env::var("GREENROOM_BENCH_ROWS").ok().and_then(|rows| rows.parse::<u64>().ok()));
    steps
}

pub(crate) async fn measure(size: Size) -> Option<Vec<Figure>> {
    let host = Host::start_with(&["shared_preload_libraries=pg_stat_statements"]).await?;
    let url = host.fresh().await;
    // Starting makes the tables.
    drop(lifecycle::start(&url, "code", 1, 1, size));
    let client = connect(&url).await;
    client.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    let steps = steps(size);
    let mut measured: Vec<Vec<Vec<f64>>> = Vec::new();
    let mut rows = 0;
    for step in &steps {
        fill::settled(&client, rows, *step).await;
        rows = *step;
        let mut step = vec![Vec::new(); MEASURED.len()];
        for _ in 0..size.rounds {
            let round = round(&url, &client, size).await;
            for (rounds, (key, ..)) in step.iter_mut().zip(MEASURED) {
                rounds.push(round[key].as_f64().unwrap_or(f64::NAN));
            }
        }
        measured.push(step);
    }
    let mut figures = Vec::new();
    for (at, (key, name, unit)) in MEASURED.into_iter().enumerate() {
        for (step, rows) in measured.iter().zip(&steps) {
            let figure = Figure::new(format!("{name}, beside {rows} settled runs"), unit, step[at].clone());
            let aim = if key == "rate" && *rows > 1_000_000 { "≥ 0.90 ×" } else { "" };
            figures.push(figure.against("beside none", &measured[0][at]).aim(aim));
        }
    }
    figures.extend(wear::measure(&host, size).await);
    Some(figures)
}

async fn round(url: &str, client: &Client, size: Size) -> Value {
    let mut workers = lifecycle::start(url, "code", 1000, 1, size);
    let rate = lifecycle::results(&mut workers)[0]["rate"].clone();
    drop(workers);
    client.batch_execute("SELECT pg_stat_statements_reset()").await.unwrap();
    let calls = size.pick("300", "5");
    let mut worker = Process::start(&["reads", url, calls]);
    let mut round: Value = serde_json::from_str(&worker.line()).unwrap();
    round["rate"] = rate;
    round["claim"] = mean_of(client, &["WITH lease AS MATERIALIZED%"]).await;
    round["sweep"] = mean_of(client, &["WITH expired AS MATERIALIZED%", "WITH RECURSIVE owners%"]).await;
    round
}

/// The mean time of one execution of such statements, in milliseconds.
async fn mean_of(client: &Client, like: &[&str]) -> Value {
    let sql = "SELECT sum(total_exec_time) / sum(calls) FROM pg_stat_statements WHERE query LIKE ANY ($1)";
    client.query_one(sql, &[&like]).await.unwrap().get::<_, Option<f64>>(0).into()
}
