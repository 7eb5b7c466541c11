//! The practical limit: the same writes in batches, in a loop that does nothing else.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use greenroom::{Runtime, Store};
use serde_json::json;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use crate::support::bare::{self, content};
use crate::support::host::{Host, connect};
use crate::support::size::Size;

/// Which tables are written.
#[derive(Clone, Copy)]
pub(super) enum Tables {
    /// One with a key and nothing else.
    Bare,
    /// Greenroom's own, with their indexes, inputs, outputs and events, but without its guards.
    Greenroom,
}

/// How many connections, and how many runs in a batch.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) connections: usize,
    pub(super) rows: usize,
}

const BARE: [&str; 3] = [
    "INSERT INTO bare_runs (run_id, status, attempt, input, created_at) \
     SELECT unnest($1::uuid[]), 'PENDING', 1, unnest($2::text[])::json, now()",
    "UPDATE bare_runs r SET status = 'RUNNING', started_at = now() FROM unnest($1::uuid[], $2::text[]) AS a (run_id, event) \
     WHERE r.run_id = a.run_id AND r.attempt = 1 AND r.status = 'PENDING'",
    "UPDATE bare_runs r SET status = 'COMPLETED', settled_at = now(), output = a.content::json \
     FROM unnest($1::uuid[], $2::text[]) AS a (run_id, content) \
     WHERE r.run_id = a.run_id AND r.attempt = 1 AND r.status = 'RUNNING'",
];

const GREENROOM: [&str; 3] = [
    "WITH asked AS (SELECT * FROM unnest($1::uuid[], $2::text[]) AS a (run_id, input)), new AS ( \
        INSERT INTO greenroom.runs (run_id, session_id, agent, status, attempt, max_attempts, node_id, on_crash, priority, run_at, \
                                    created_at, has_webhook) \
        SELECT run_id, run_id::text, 'instant', 'PENDING', 1, 3, '00000000-0000-0000-0000-000000000001', 'restart', 0, now(), now(), \
               false \
        FROM asked) \
     INSERT INTO greenroom.run_inputs (run_id, session_id, agent, created_at, input, metadata, fingerprint) \
     SELECT run_id, run_id::text, 'instant', now(), input::json, '{}', sha256('asked') FROM asked",
    "WITH asked AS (SELECT * FROM unnest($1::uuid[], $2::text[]) AS a (run_id, event)), done AS ( \
        UPDATE greenroom.runs r SET status = 'RUNNING', starts = 1, next_seq = 1, started_at = now() FROM asked a \
        WHERE r.run_id = a.run_id AND r.attempt = 1 AND r.next_seq = 0 RETURNING r.run_id) \
     INSERT INTO greenroom.run_events (run_id, seq, created_at, event) \
     SELECT run_id, 0, now(), '{\"event\": \"RunStarted\", \"attempt\": 1}'::json FROM done",
    "WITH asked AS (SELECT * FROM unnest($1::uuid[], $2::text[]) AS a (run_id, content)), done AS ( \
        UPDATE greenroom.runs r SET status = 'COMPLETED', next_seq = 2, settled_at = now() FROM asked a \
        WHERE r.run_id = a.run_id AND r.attempt = 1 AND r.next_seq = 1 RETURNING r.run_id, a.content), \
     events AS ( \
        INSERT INTO greenroom.run_events (run_id, seq, created_at, event) \
        SELECT run_id, 1, now(), '{\"event\": \"RunCompleted\", \"metrics\": {\"duration\": 0.001}}'::json FROM done) \
     INSERT INTO greenroom.run_outputs (run_id, content, metrics) \
     SELECT run_id, content::json, '{\"duration\": 0.001}'::json FROM done",
];

/// The shape that gets most done.
pub(super) async fn best_shape(host: &Host, size: Size) -> Shape {
    let shapes = [(2, 500), (2, 1000), (4, 500), (4, 1000)].map(|(connections, rows)| Shape { connections, rows });
    let mut best = (0.0, shapes[0]);
    for shape in size.pick(&shapes[..], &shapes[..1]) {
        let rate = lifecycles(host, Tables::Bare, *shape, size.round / 2).await;
        if rate > best.0 {
            best = (rate, *shape);
        }
    }
    best.1
}

/// Lifecycles a second.
pub(super) async fn lifecycles(host: &Host, tables: Tables, shape: Shape, time: Duration) -> f64 {
    let url = host.fresh().await;
    let (settings, statements) = match tables {
        Tables::Bare => {
            bare::create(&connect(&url).await).await;
            // With the lengths of the arrays at hand: a plan for any length is one for ten rows.
            ("SET plan_cache_mode = force_custom_plan", BARE)
        }
        Tables::Greenroom => {
            // Starting makes the tables.
            let runtime = Runtime::builder().store(Store::postgres(url.as_str())).start().await.unwrap();
            runtime.shutdown(Duration::from_secs(10)).await;
            // As the store has it: by index only, since tables that have just been made are taken for small.
            let settings = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
                            SET enable_mergejoin = off";
            (settings, GREENROOM)
        }
    };
    let mut lanes = Vec::new();
    for _ in 0..shape.connections {
        lanes.push(Lane::new(connect(&url).await, settings, statements).await);
    }
    let begun = Instant::now();
    let lives: Vec<usize> = join_all(lanes.iter().map(|lane| lane.work(shape.rows, begun, time))).await;
    lives.into_iter().sum::<usize>() as f64 / begun.elapsed().as_secs_f64()
}

/// A connection with its statements.
struct Lane {
    client: Client,
    statements: Vec<Statement>,
}

impl Lane {
    async fn new(client: Client, settings: &str, statements: [&str; 3]) -> Self {
        client.batch_execute(settings).await.unwrap();
        let mut prepared = Vec::new();
        for statement in statements {
            prepared.push(client.prepare(statement).await.unwrap());
        }
        Self { client, statements: prepared }
    }

    /// Takes batches through their lives, and says how many runs there were.
    async fn work(&self, rows: usize, begun: Instant, time: Duration) -> usize {
        let (input, content) = (json!("go").to_string(), json!(content()).to_string());
        let mut lives = 0;
        while begun.elapsed() < time {
            let run_ids: Vec<Uuid> = (0..rows).map(|_| Uuid::now_v7()).collect();
            for (statement, text) in self.statements.iter().zip([&input, &input, &content]) {
                let texts = vec![text.as_str(); rows];
                let parameters: [&(dyn ToSql + Sync); 2] = [&run_ids, &texts];
                let written = self.client.execute(statement, &parameters).await.unwrap();
                assert_eq!(written, rows as u64, "each row is written");
            }
            lives += rows;
        }
        lives
    }
}
