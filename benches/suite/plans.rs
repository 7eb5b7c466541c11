//! What each statement costs the server, and by which plan: `EXPLAIN (ANALYZE, BUFFERS)` of everything that Greenroom asks of
//! it in a life like any other, by `auto_explain`.
//!
//! ```text
//! cargo bench --all-features -- plans | grep -v "^{" > docs/plans.md
//! ```

use self::log::Executed;
use crate::growth;
use crate::lifecycle;
use crate::support::child::Process;
use crate::support::host::{Host, connect};
use crate::support::report::Figure;
use crate::support::size::Size;

mod log;

/// What has to be logged, with times and buffers.
const SETTINGS: [&str; 5] = [
    "shared_preload_libraries=auto_explain",
    "auto_explain.log_min_duration=0",
    "auto_explain.log_analyze=on",
    "auto_explain.log_buffers=on",
    // Only our own plans, not those of the triggers within.
    "auto_explain.log_nested_statements=off",
];

/// By what is in its text: what a statement does. The first that fits is it.
const NAMES: [(&str, &str); 29] = [
    ("UNION ALL SELECT run_id, NULL", "Insert new runs and advance others"),
    ("INSERT INTO runs", "Insert new runs"),
    ("SET status = COALESCE(a.status, r.status)", "Advance runs: start, append to the log, end"),
    ("continued_by = a.continued_by", "Let paused runs go on"),
    ("ON CONFLICT (run_id) DO UPDATE SET error_kind", "Settle runs that no live process has"),
    ("WITH lease AS MATERIALIZED", "Claim runs that wait"),
    ("cancel_requested_at = ", "Request cancels"),
    ("cancel_requested_at IS NOT NULL AND settled_at IS NULL AND node_id", "Look for cancel requests"),
    ("DELETE FROM cancel_intents", "Forget cancel intents"),
    ("INSERT INTO cancel_intents", "Note cancel intents"),
    ("WITH expired AS MATERIALIZED", "Fence a node whose lease is over"),
    ("WITH RECURSIVE owners", "Look for runs whose node is gone"),
    ("FOR UPDATE OF r SKIP LOCKED", "Lock the runs of a dead node"),
    ("SET lease_until = clock_timestamp()", "Renew a lease"),
    ("SELECT status, count(*)", "Count runs by status"),
    ("SELECT count(*) FROM (", "Count the runs that wait"),
    ("SELECT a.name, counted.waiting", "Tell how many wait of each agent"),
    ("start_by <= now()", "Look for runs that waited for too long"),
    ("AS t (run_id, seq), LATERAL", "Read the latest events of several runs"),
    ("FROM run_events WHERE run_id", "Read the events of a run"),
    ("SELECT run_id, next_seq, settled_at", "Look how far runs have come"),
    ("FROM run_steps WHERE run_id", "Read the steps of a run"),
    ("SELECT input, content, tools FROM (", "Read the history of a session"),
    ("ORDER BY i.created_at DESC", "List runs"),
    ("LEFT JOIN run_outputs o USING (run_id) WHERE run_id = ANY", "Read runs"),
    ("WITH RECURSIVE settled", "Look for what is below cancelled runs"),
    ("FROM runs r WHERE r.parent_run_id IS NOT NULL", "Look for any run below a cancelled one"),
    ("INSERT INTO nodes", "Begin a lease"),
    ("DELETE FROM nodes", "End a lease"),
];

/// Prints the plans, and gives the times that the server took.
pub(crate) async fn measure(size: Size) -> Option<Vec<Figure>> {
    let host = Host::start_with(&SETTINGS).await?;
    let url = host.fresh().await;
    drop(lifecycle::start(&url, "code", 1, 1, size));
    let settled = size.pick(200_000, 2000);
    growth::fill::settled(&connect(&url).await, 0, settled).await;
    host.forget_log();

    let mut workers = lifecycle::start(&url, "model", 100, 1, size);
    lifecycle::results(&mut workers);
    // Killed with all that it has, for others to take over.
    drop(workers);
    let calls = size.pick("100", "5");
    Process::start(&["reads", &url, calls]).line();
    Process::start(&["tells", &url, "1000", "elsewhere", "1"]).line();
    for place in ["in the process of the run", "in another process"] {
        Process::start(&["cancels", &url, "stalled", place, "5"]).line();
    }

    let mut statements = log::statements(&host.log());
    statements.retain(|executed| !executed[0].query.contains("bench"));
    statements.sort_by_key(|executed| place(&executed[0]));
    println!("# Plans\n");
    println!(
        "What the server does for each statement of Greenroom, as `cargo bench --all-features -- plans` has printed it: beside \
         {settled} settled runs, the execution of median duration of each. The plans are those of Postgres' \
         `auto_explain`, with `ANALYZE` and `BUFFERS`.\n"
    );
    for executed in &statements {
        let typical = log::typical(executed);
        println!("## {}\n\n```sql\n{}\n```\n\n```text\n{}\n```\n", name(typical), typical.query, typical.plan);
    }
    let figure = |executed: &Vec<Executed>| {
        let times: Vec<f64> = executed.iter().map(|one| one.milliseconds).collect();
        Figure::new(format!("{} ({} times)", name(&executed[0]), times.len()), "ms", times)
    };
    Some(statements.iter().map(figure).collect())
}

/// Its place among the statements that are known by name.
fn place(executed: &Executed) -> usize {
    NAMES.iter().position(|(needle, _)| executed.query.contains(needle)).unwrap_or(NAMES.len())
}

fn name(executed: &Executed) -> String {
    let beginning = || format!("`{}…`", executed.query.chars().take(60).collect::<String>());
    NAMES.get(place(executed)).map_or_else(beginning, |(_, name)| (*name).to_owned())
}
