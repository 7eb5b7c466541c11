//! Reads what `auto_explain` has written.

use std::collections::HashMap;

use crate::support::report::median;

/// A statement that was executed.
pub(super) struct Executed {
    pub(super) query: String,
    pub(super) plan: String,
    pub(super) milliseconds: f64,
}

/// How much of a statement tells it from others: those with lists of various lengths are one.
const BEGINNING: usize = 4000;

/// What a log says, statement by statement: of each, every execution.
pub(super) fn statements(log: &str) -> Vec<Vec<Executed>> {
    let mut statements: HashMap<String, Vec<Executed>> = HashMap::new();
    for executed in entries(log).iter().filter_map(|lines| executed(lines)) {
        let beginning = executed.query.chars().take(BEGINNING).collect();
        statements.entry(beginning).or_default().push(executed);
    }
    statements.into_values().collect()
}

/// The lines of each entry; those after its first one are indented by a tab.
fn entries(log: &str) -> Vec<Vec<&str>> {
    let mut entries: Vec<Vec<&str>> = Vec::new();
    for line in log.lines() {
        match line.strip_prefix('\t') {
            Some(rest) => {
                if let Some(entry) = entries.last_mut() {
                    entry.push(rest);
                }
            }
            None => entries.push(vec![line]),
        }
    }
    entries
}

fn executed(lines: &[&str]) -> Option<Executed> {
    let (_, duration) = lines.first()?.split_once("duration: ")?;
    let milliseconds = duration.strip_suffix(" ms  plan:")?.parse().ok()?;
    let query = lines.get(1)?.strip_prefix("Query Text: ")?;
    // Ours are one line each; what people or migrations have written is not.
    let plan = lines.get(2..)?;
    let is_plan = plan.first()?.contains("(cost=");
    let tables = ["runs", "run_", "nodes", "cancel_intents", "webhook_"];
    let ours = tables.iter().any(|table| query.contains(table)) && !query.contains("greenroom.");
    (is_plan && ours).then(|| Executed { query: query.to_owned(), plan: plan.join("\n"), milliseconds })
}

/// The execution of median duration.
pub(super) fn typical(executed: &[Executed]) -> &Executed {
    let times: Vec<f64> = executed.iter().map(|one| one.milliseconds).collect();
    let typical = median(&times);
    executed.iter().find(|one| one.milliseconds == typical).unwrap_or(&executed[0])
}
