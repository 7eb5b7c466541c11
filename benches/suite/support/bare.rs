//! What Greenroom is compared with: a table with a key and nothing else, and the three statements of a lifecycle on it.

use tokio_postgres::Client;
use uuid::Uuid;

/// What a run ends with.
pub(crate) const CONTENT_BYTES: usize = 1024;

pub(crate) fn content() -> String {
    "So it goes. ".chars().cycle().take(CONTENT_BYTES).collect()
}

pub(crate) async fn create(client: &Client) {
    let table = "CREATE TABLE bare_runs (run_id uuid PRIMARY KEY, status text NOT NULL, attempt integer NOT NULL, \
         input json NOT NULL, output json, created_at timestamptz NOT NULL, started_at timestamptz, \
         settled_at timestamptz) WITH (fillfactor = 50)";
    client.batch_execute(table).await.unwrap();
}

/// One durable insert after the other over one connection, for `time`: how long each took, in seconds.
pub(crate) async fn insert_one_by_one(client: &Client, time: std::time::Duration) -> Vec<f64> {
    let sql =
        "INSERT INTO bare_runs (run_id, status, attempt, input, created_at) VALUES ($1, 'PENDING', 1, '\"go\"', now())";
    let insert = client.prepare(sql).await.unwrap();
    let (begun, mut times) = (std::time::Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let asked = std::time::Instant::now();
        client.execute(&insert, &[&Uuid::now_v7()]).await.unwrap();
        times.push(asked.elapsed().as_secs_f64());
    }
    times
}
