//! Reads the tables when all is over.

use std::collections::BTreeMap;

use greenroom::{RunEvent, RunId};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls, Row};

use crate::history::{StoredRun, StoredStep};

/// A connection of the driver's own, past every proxy.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) async fn unsettled(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM greenroom.runs WHERE settled_at IS NULL", &[]).await.unwrap().get(0)
}

pub(crate) async fn stored_runs(client: &Client) -> BTreeMap<RunId, StoredRun> {
    let runs = "SELECT run_id::text, r.agent, r.user_id, status, attempt, starts, max_attempts, next_seq, \
                       i.input::text, o.content::text, o.error_kind, r.session_id, idempotency_key \
                FROM greenroom.runs r JOIN greenroom.run_inputs i USING (run_id) LEFT JOIN greenroom.run_outputs o USING (run_id)";
    let rows = client.query(runs, &[]).await.unwrap();
    let differ = "SELECT count(*) FROM greenroom.runs r JOIN greenroom.run_inputs i USING (run_id) \
                  WHERE (r.session_id, r.agent, r.user_id, r.created_at) \
                        IS DISTINCT FROM (i.session_id, i.agent, i.user_id, i.created_at)";
    assert_eq!(client.query_one(differ, &[]).await.unwrap().get::<_, i64>(0), 0, "both tables say the same of a run");
    let mut runs: BTreeMap<RunId, StoredRun> = rows.iter().map(stored_run).map(|run| (run.run_id, run)).collect();
    let events = "SELECT run_id::text, seq, (extract(epoch FROM created_at) * 1000000)::bigint, event::text \
                  FROM greenroom.run_events ORDER BY run_id, seq";
    for row in client.query(events, &[]).await.unwrap() {
        let event = event(&row);
        runs.get_mut(&event.run_id).expect("an event has a run").events.push(event);
    }
    let steps = "SELECT run_id::text, position, result::text, (extract(epoch FROM created_at) * 1000000)::bigint \
                 FROM greenroom.run_steps ORDER BY run_id, position";
    for row in client.query(steps, &[]).await.unwrap() {
        let run_id: RunId = row.get::<_, &str>(0).parse().unwrap();
        let step = StoredStep {
            position: u32::try_from(row.get::<_, i32>(1)).unwrap(),
            result: serde_json::from_str(row.get(2)).unwrap(),
            at: row.get(3),
        };
        runs.get_mut(&run_id).expect("a step has a run").steps.push(step);
    }
    runs
}

fn stored_run(row: &Row) -> StoredRun {
    let unsigned = |column: usize| u32::try_from(row.get::<_, i32>(column)).unwrap();
    let json = |column: usize| row.get::<_, Option<&str>>(column).map(|text| serde_json::from_str(text).unwrap());
    let word =
        |column: usize| row.get::<_, Option<&str>>(column).map(|word| serde_json::from_value(json!(word)).unwrap());
    StoredRun {
        run_id: row.get::<_, &str>(0).parse().unwrap(),
        agent: row.get(1),
        session: row.get(11),
        key: row.get(12),
        user: row.get::<_, Option<String>>(2).unwrap_or_default(),
        status: row.get::<_, &str>(3).parse().unwrap(),
        attempt: unsigned(4),
        starts: unsigned(5),
        max_attempts: unsigned(6),
        next_seq: u64::try_from(row.get::<_, i64>(7)).unwrap(),
        input: json(8).unwrap_or(Value::Null),
        content: json(9),
        error: word(10),
        events: Vec::new(),
        steps: Vec::new(),
    }
}

fn event(row: &Row) -> RunEvent {
    let mut event: Value = serde_json::from_str(row.get(3)).unwrap();
    event["run_id"] = json!(row.get::<_, &str>(0));
    event["seq"] = json!(row.get::<_, i64>(1));
    event["created_at"] = json!(chrono::DateTime::from_timestamp_micros(row.get(2)).unwrap());
    serde_json::from_value(event).unwrap()
}
