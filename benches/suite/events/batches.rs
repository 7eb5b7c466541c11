//! The practical limit: events in batches, in a loop that does nothing else.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::host::{Host, connect};

const CONNECTIONS: usize = 4;

const ROWS: usize = 1000;

const TABLE: &str = "CREATE TABLE bare_events (run_id uuid NOT NULL, seq bigint NOT NULL, created_at timestamptz NOT NULL, \
     event json NOT NULL, PRIMARY KEY (run_id, seq))";

const INSERT: &str = "INSERT INTO bare_events SELECT $1, unnest($2::bigint[]), now(), unnest($3::text[])::json";

/// Events a second.
pub(super) async fn events(host: &Host, time: Duration) -> f64 {
    let url = host.fresh().await;
    connect(&url).await.batch_execute(TABLE).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(connect(&url).await);
    }
    let begun = Instant::now();
    let written = join_all(clients.iter().map(|client| insert(client, begun, time))).await;
    written.into_iter().sum::<usize>() as f64 / begun.elapsed().as_secs_f64()
}

async fn insert(client: &Client, begun: Instant, time: Duration) -> usize {
    let statement = client.prepare(INSERT).await.unwrap();
    let (run_id, event) = (Uuid::now_v7(), super::worker::as_stored().to_string());
    let events = vec![event.as_str(); ROWS];
    let mut written = 0;
    while begun.elapsed() < time {
        let seqs: Vec<i64> = (written..written + ROWS).map(|seq| i64::try_from(seq).unwrap()).collect();
        client.execute(&statement, &[&run_id, &seqs, &events]).await.unwrap();
        written += ROWS;
    }
    written
}
