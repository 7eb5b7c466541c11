//! From what a caller asks for to what is stored.

use crate::agent::Agent;
use crate::run::{Metrics, NewRun, Run, RunId, RunOutput, RunStatus, SessionId, fingerprint};
use crate::store::protocol::InsertRun;

/// The run as it is to be stored, with everything made up that the caller left out.
pub(super) fn insert_of(new: NewRun, agent: &Agent) -> InsertRun {
    let fingerprint = fingerprint::of(&new);
    let now = chrono::Utc::now();
    let output = RunOutput {
        run_id: new.run_id.unwrap_or_else(RunId::new),
        session_id: new.session_id.unwrap_or_else(SessionId::random),
        agent: new.agent,
        user_id: new.user_id,
        status: RunStatus::Pending,
        content: None,
        error: None,
        metrics: Metrics::default(),
        created_at: now,
        started_at: None,
        settled_at: None,
    };
    let run = Run {
        output,
        input: new.input,
        metadata: new.metadata,
        priority: new.priority,
        run_at: new.run_at.unwrap_or(now),
        timeout: new.timeout.or(agent.timeout),
        max_attempts: new.max_attempts.unwrap_or(agent.max_attempts),
        attempt: 0,
    };
    // What may start by now need not wait for a claim; the database's clock is asked about everything else.
    let delayed = new.run_at.is_some_and(|run_at| run_at > now);
    InsertRun { run, delayed, fingerprint, node: None, on_crash: agent.crash_policy }
}
