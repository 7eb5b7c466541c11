//! Settled runs by the million, written straight into the tables.

use tokio_postgres::Client;

/// How many are written at a time.
const BATCH: u64 = 250_000;

/// The session that all of the first runs belong to, and how many these are.
pub(super) const LONG_SESSION: &str = "long";
const IN_LONG_SESSION: u64 = 10_000;

/// Brings the tables from `from` settled runs to `to`, as if autovacuum had kept up with them.
pub(crate) async fn settled(client: &Client, from: u64, to: u64) {
    let mut next = from;
    while next < to {
        let last = (next + BATCH).min(to);
        client.batch_execute(&statement(next + 1, last)).await.unwrap();
        next = last;
    }
    // Each by itself: several together would be a transaction, in which nothing can be vacuumed.
    for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
        client.batch_execute(statement).await.unwrap();
    }
}

/// What so many runs leave in all tables. Their ids and times are older than those of any run to come, and in order.
fn statement(first: u64, last: u64) -> String {
    let run_id = "lpad(to_hex(i), 32, '0')::uuid";
    let session_id = format!("CASE WHEN i <= {IN_LONG_SESSION} THEN '{LONG_SESSION}' ELSE 'session ' || i / 10 END");
    format!(
        "WITH i AS (SELECT i, {run_id} AS run_id, now() - interval '200 days' + i * interval '1 second' AS at \
                    FROM generate_series({first}, {last}) AS i), \
         inputs AS ( \
            INSERT INTO greenroom.run_inputs (run_id, session_id, agent, created_at, input, metadata, fingerprint) \
            SELECT run_id, {session_id}, 'chatty', at, '\"go\"', '{{}}', sha256(i::text::bytea) FROM i), \
         outputs AS ( \
            INSERT INTO greenroom.run_outputs (run_id, content, metrics) \
            SELECT run_id, to_json(repeat('So it goes. ', 8)), '{{\"duration\": 0.001}}' FROM i), \
         events AS ( \
            INSERT INTO greenroom.run_events (run_id, seq, created_at, event) \
            SELECT run_id, seq, at, CASE seq WHEN 0 THEN '{{\"event\": \"RunStarted\", \"attempt\": 1}}' \
                ELSE '{{\"event\": \"RunCompleted\", \"metrics\": {{\"duration\": 0.001}}}}' END::json \
            FROM i, generate_series(0, 1) AS seq) \
         INSERT INTO greenroom.runs (run_id, session_id, agent, status, attempt, starts, max_attempts, node_id, on_crash, \
                                     priority, run_at, next_seq, has_webhook, created_at, started_at, settled_at) \
         SELECT run_id, {session_id}, 'chatty', \
                'COMPLETED', 1, 1, 3, lpad(to_hex(i / 100000 + 1), 32, '0')::uuid, 'restart', 0, at, 2, false, at, at, at FROM i"
    )
}
