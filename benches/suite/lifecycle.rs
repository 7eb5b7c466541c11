//! How many whole lives of runs a second: submit, `PENDING` durable, `RUNNING`, `COMPLETED` with 1 KiB, its events stored.

use std::time::Duration;

use serde_json::Value;

use crate::support::child::Process;
use crate::support::host::{Host, connect};
use crate::support::report::Figure;
use crate::support::size::Size;

mod batches;
mod pgbench;
pub(crate) mod worker;

/// What is measured of Greenroom: a name, what the agent is, runs in flight in each process, and how many processes.
const CASES: [(&str, &str, usize, usize); 8] = [
    ("1 in flight", "code", 1, 1),
    ("100 in flight", "code", 100, 1),
    ("1,000 in flight", "code", 1000, 1),
    ("10,000 in flight", "code", 10_000, 1),
    ("1,000 in flight, 2 processes", "code", 500, 2),
    ("1,000 in flight, 4 processes", "code", 250, 4),
    ("1,000 in flight, each waited for by its caller", "waited", 1000, 1),
    ("1,000 in flight, of an instant model", "model", 1000, 1),
];

pub(crate) async fn measure(size: Size) -> Option<Vec<Figure>> {
    let host = Host::start().await?;
    let clients = pgbench::best_clients(&host, size).await;
    let shape = batches::best_shape(&host, size).await;
    let (mut single, mut bare, mut same) = (Vec::new(), Vec::new(), Vec::new());
    let mut cases: Vec<Case> = CASES.iter().map(|_| Case::default()).collect();
    for _ in 0..size.rounds {
        if let Some(clients) = clients {
            single.push(pgbench::lifecycles(&host, clients, size.round).await);
        }
        bare.push(batches::lifecycles(&host, batches::Tables::Bare, shape, size.round).await);
        same.push(batches::lifecycles(&host, batches::Tables::Greenroom, shape, size.round).await);
        for (case, &(_, agent, in_flight, processes)) in cases.iter_mut().zip(&CASES) {
            case.add(&round(&host, agent, in_flight, processes, size).await);
        }
    }
    let batches::Shape { connections, rows } = shape;
    let bare_name = format!("bare batch loop, {connections} connections, {rows} rows");
    let mut figures = Vec::new();
    if let Some(clients) = clients {
        figures.push(Figure::new(format!("pgbench, three transactions, {clients} clients"), "runs/s", single.clone()));
    }
    figures.push(Figure::new(bare_name, "runs/s", bare.clone()));
    figures.push(Figure::new("batch loop on Greenroom's tables", "runs/s", same).against("bare batch loop", &bare));
    for (case, (name, ..)) in cases.into_iter().zip(CASES) {
        if clients.is_some() {
            let figure = Figure::new(name, "runs/s", case.rates.clone()).against("pgbench", &single);
            figures.push(figure.aim(if name == "1,000 in flight" { "≥ 5 ×" } else { "" }));
        }
        let figure = Figure::new(name, "runs/s", case.rates).against("bare batch loop", &bare);
        figures.push(figure.aim(if name == "1,000 in flight" { "≥ 0.50 ×" } else { "" }));
        figures.push(Figure::new(format!("{name}: submit p99"), "ms", case.acks).against("a batch", &case.batches));
        figures.push(Figure::new(format!("{name}: writes in a batch"), "", case.sizes));
    }
    Some(figures)
}

/// What was measured of one case, round by round.
#[derive(Default)]
struct Case {
    rates: Vec<f64>,
    /// The p99 of a submit's answer, and the median time of a batch, in milliseconds.
    acks: Vec<f64>,
    batches: Vec<f64>,
    sizes: Vec<f64>,
}

impl Case {
    fn add(&mut self, workers: &[Value]) {
        let number = |worker: &Value, name: &str| worker[name].as_f64().unwrap_or(f64::NAN);
        let mean = |name| workers.iter().map(|worker| number(worker, name)).sum::<f64>() / workers.len() as f64;
        self.rates.push(workers.iter().map(|worker| number(worker, "rate")).sum());
        self.acks.push(mean("ack_p99_ms"));
        self.batches.push(mean("batch_ms"));
        self.sizes.push(mean("batch_size"));
    }
}

/// Measures in so many processes at the same time, on a database of their own.
async fn round(host: &Host, agent: &str, in_flight: usize, processes: usize, size: Size) -> Vec<Value> {
    let url = host.fresh().await;
    let mut workers = start(&url, agent, in_flight, processes, size);
    let measured = results(&mut workers);
    check(&url).await;
    measured
}

/// Starts so many processes, each of which is to keep so many runs in flight.
pub(crate) fn start(url: &str, agent: &str, in_flight: usize, processes: usize, size: Size) -> Vec<Process> {
    let in_flight = size.pick(in_flight, in_flight.min(200)).to_string();
    let [warm_up, round] = [size.warm_up, size.round].map(|time| time.as_millis().to_string());
    let start = |_| Process::start(&["lifecycles", url, agent, &in_flight, &warm_up, &round]);
    let mut workers: Vec<Process> = (0..processes).map(start).collect();
    for worker in &mut workers {
        assert_eq!(worker.line(), "ready");
    }
    workers
}

/// Lets them measure at the same time: what each has measured.
pub(crate) fn results(workers: &mut [Process]) -> Vec<Value> {
    workers.iter_mut().for_each(Process::go);
    workers.iter_mut().map(|worker| serde_json::from_str(&worker.line()).unwrap()).collect()
}

/// A run leaves what it has to leave; a slow machine has not come as far in a short round.
async fn check(url: &str) {
    let sql = "SELECT EXISTS (SELECT FROM greenroom.runs r JOIN greenroom.run_outputs o USING (run_id) \
         WHERE r.status = 'COMPLETED' AND length(o.content::text) >= 1024 \
           AND (SELECT count(*) FROM greenroom.run_events e WHERE e.run_id = r.run_id) = r.next_seq)";
    let client = connect(url).await;
    let completed = async {
        while !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), completed).await.expect("a run is completed");
}
