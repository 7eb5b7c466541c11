//! From what somebody asks for to the run that is to be stored.

use crate::agent::Agent;
#[cfg(feature = "webhooks")]
use crate::run::InvalidRun;
use crate::run::{Metrics, NewRun, Run, RunId, RunOutput, RunStatus, SessionId, WebhookUrl, fingerprint};
use crate::store::protocol::InsertRun;

/// The run as it is to be stored, with everything made up that was left out.
pub(crate) fn insert_of(new: NewRun, agent: &Agent, webhook: Option<WebhookUrl>) -> InsertRun {
    let fingerprint = fingerprint::of(&new);
    let id_is_given = new.run_id.is_some();
    let now = chrono::Utc::now();
    let output = RunOutput {
        run_id: new.run_id.unwrap_or_else(RunId::new),
        session_id: new.session_id.unwrap_or_else(SessionId::random),
        agent: new.agent,
        user_id: new.user_id,
        parent_run_id: None,
        status: RunStatus::Pending,
        content: None,
        error: None,
        tools: Vec::new(),
        requirements: Vec::new(),
        metrics: Metrics::default(),
        created_at: now,
        started_at: None,
        paused_at: None,
        settled_at: None,
    };
    let run = Run {
        output,
        input: new.input,
        metadata: new.metadata,
        origin: None,
        traceparent: new.traceparent,
        idempotency_key: new.idempotency_key,
        depth: 0,
        priority: new.priority,
        run_at: new.run_at.unwrap_or(now),
        timeout: new.timeout.or(agent.timeout),
        start_by: None,
        max_attempts: new.max_attempts.unwrap_or(agent.max_attempts),
        starts: 0,
        attempt: 0,
    };
    InsertRun {
        run,
        // What may start by now need not wait for a claim; the database's clock is asked about everything else.
        delayed: new.run_at.is_some_and(|run_at| run_at > now),
        fingerprint,
        parent_attempt: None,
        id_is_given,
        node: None,
        on_crash: agent.crash_policy,
        sessions: agent.sessions,
        queue_timeout: new.queue_timeout.or(agent.queue_timeout),
        webhook,
        resumes: None,
    }
}

/// Who is told when the run settles: whom the caller says, else whom the agent does. Nobody can be where this process does not
/// tell webhooks.
#[cfg(feature = "webhooks")]
pub(crate) fn webhook_of(run: &NewRun, agent: &Agent, tells_webhooks: bool) -> Result<Option<WebhookUrl>, InvalidRun> {
    let webhook = run.webhook_url()?.or_else(|| agent.webhook.clone());
    if webhook.is_some() && !tells_webhooks {
        let problem = "needs a runtime with the option `webhooks`, which says how it is signed".to_owned();
        return Err(InvalidRun { field: "webhook", problem });
    }
    Ok(webhook)
}
