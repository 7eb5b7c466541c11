//! What becomes of the throughput when the database is in trouble, and how soon all is well again.

use std::time::{Duration, Instant};

use crate::lifecycle;
use crate::support::child::Process;
use crate::support::host::{Host, connect};
use crate::support::report::Figure;
use crate::support::runtime::aside;
use crate::support::size::Size;

pub(crate) mod worker;

pub(crate) async fn measure(size: Size) -> Option<Vec<Figure>> {
    let host = Host::start().await?;
    // Long enough that what cannot be vacuumed is felt.
    let long = Size { round: size.round * size.pick(4, 1), ..size };
    let (mut calm, mut held, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    let (mut waits, mut bare_waits) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        calm.push(lifecycles(&host.fresh().await, long, false).await.0);
        let (rate, share) = lifecycles(&host.fresh().await, long, true).await;
        held.push(rate);
        dead.push(share);
        let [wait, bare_wait] = restart(&host, size).await;
        waits.push(wait);
        bare_waits.push(bare_wait);
    }
    Some(vec![
        Figure::new("1,000 in flight", "runs/s", calm.clone()),
        Figure::new("1,000 in flight, while a transaction holds an old snapshot", "runs/s", held)
            .against("without it", &calm),
        Figure::new("dead rows that it leaves, for each live one", "", dead),
        Figure::new(
            "from a restart of Postgres to the next connection that asks again and again",
            "ms",
            bare_waits.clone(),
        ),
        Figure::new("from a restart of Postgres to the next run that settles", "ms", waits)
            .against("the next connection", &bare_waits),
    ])
}

/// Lifecycles a second, and dead rows for each live one afterwards.
async fn lifecycles(url: &str, size: Size, with_snapshot: bool) -> (f64, f64) {
    let mut workers = lifecycle::start(url, "code", 1000, 1, size);
    let holder = connect(url).await;
    if with_snapshot {
        holder
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM greenroom.runs")
            .await
            .unwrap();
    }
    let measured = lifecycle::results(&mut workers);
    drop(workers);
    let sql = "SELECT pg_stat_force_next_flush(), n_dead_tup::float8 / greatest(n_live_tup, 1) \
         FROM pg_stat_user_tables WHERE schemaname = 'greenroom' AND relname = 'runs'";
    let dead = holder.query_one(sql, &[]).await.map_or(f64::NAN, |row| row.get(1));
    (measured[0]["rate"].as_f64().unwrap(), dead)
}

/// Restarts Postgres under load as a crash does it: milliseconds from when it takes connections again until a run settles
/// that was submitted after that, and until a client that does nothing but ask for a connection has one.
async fn restart(host: &Host, size: Size) -> [f64; 2] {
    let url = host.fresh().await;
    let mut process = Process::start(&["goes-on", &url]);
    assert_eq!(process.line(), "ready");
    process.go();
    tokio::time::sleep(size.round / 2).await;
    host.stop_immediately().await;
    tokio::time::sleep(size.pick(Duration::from_millis(500), Duration::ZERO)).await;
    let asking = tokio::spawn(async move {
        while tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Instant::now()
    });
    host.start_again().await;
    let up = Instant::now();
    process.go();
    let settled = aside(move || {
        assert_eq!(process.line(), "settled");
        Instant::now()
    })
    .await;
    let connected = asking.await.unwrap();
    [settled, connected].map(|at| at.saturating_duration_since(up).as_secs_f64() * 1e3)
}
