//! What a receiver is told.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::run::{Content, FailureKind, Requirement, RunId, RunOutput, RunStatus, SessionId, UserId};

#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'static str,
    /// When it happened, not when it is told.
    timestamp: DateTime<Utc>,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    run_id: RunId,
    session_id: &'a SessionId,
    agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a UserId>,
    status: RunStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a Content>,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    requirements: &'a [Requirement],
}

#[derive(Serialize)]
struct Failure<'a> {
    kind: FailureKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// The body that tells what has happened to a run at this time: the same bytes each time, since such a run does not change
/// without something else happening to it.
///
/// `None` when something else has happened since, which is told by itself.
pub(super) fn body(run: &RunOutput, happened_at: DateTime<Utc>, include_content: bool) -> Option<String> {
    let (r#type, at) = match run.status {
        RunStatus::Completed => ("run.completed", run.settled_at),
        RunStatus::Cancelled => ("run.cancelled", run.settled_at),
        RunStatus::Error => ("run.error", run.settled_at),
        RunStatus::Paused => ("run.paused", run.paused_at),
        RunStatus::Pending | RunStatus::Running => return None,
    };
    if at != Some(happened_at) {
        return None;
    }
    let error = run
        .error
        .as_ref()
        .map(|error| Failure { kind: error.kind, message: include_content.then_some(error.message.as_str()) });
    let data = Data {
        run_id: run.run_id,
        session_id: &run.session_id,
        agent: &run.agent,
        user_id: run.user_id.as_ref(),
        status: run.status,
        error,
        content: run.content.as_ref().filter(|_| include_content),
        created_at: run.created_at,
        started_at: run.started_at,
        paused_at: run.paused_at,
        settled_at: run.settled_at,
        requirements: if include_content { &run.requirements } else { &[] },
    };
    serde_json::to_string(&Payload { r#type, timestamp: happened_at, data }).ok()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::{Value, json};

    use super::body;
    use crate::run::{FailureKind, RunFailure, RunOutput, RunStatus};
    use crate::store::conformance::samples::{needed, unowned};

    fn settled(status: RunStatus) -> RunOutput {
        let mut output = unowned().run.output;
        output.status = status;
        output.settled_at = Some(DateTime::UNIX_EPOCH);
        output.content = Some("Par".into());
        output.error = (status == RunStatus::Error).then(|| RunFailure::new(FailureKind::AgentError, "it broke"));
        output
    }

    fn told(run: &RunOutput, include_content: bool) -> Value {
        serde_json::from_str(&body(run, DateTime::UNIX_EPOCH, include_content).unwrap()).unwrap()
    }

    #[test]
    fn the_body_tells_what_has_happened_and_nothing_that_was_said() {
        for (status, r#type) in [
            (RunStatus::Completed, "run.completed"),
            (RunStatus::Cancelled, "run.cancelled"),
            (RunStatus::Error, "run.error"),
        ] {
            let run = settled(status);
            let told = told(&run, false);
            assert_eq!((&told["type"], &told["timestamp"]), (&json!(r#type), &json!("1970-01-01T00:00:00Z")));
            assert_eq!(told["data"]["run_id"], json!(run.run_id));
            assert_eq!(told["data"]["status"], json!(status));
            assert!(!told.to_string().contains("Par") && !told.to_string().contains("it broke"), "{told}");
        }
    }

    #[test]
    fn content_is_told_when_it_is_wanted() {
        let told = told(&settled(RunStatus::Error), true);
        assert_eq!(told["data"]["content"], json!("Par"));
        assert_eq!(told["data"]["error"], json!({"kind": "agent_error", "message": "it broke"}));
    }

    #[test]
    fn a_pause_is_told_and_what_is_asked_only_when_content_is() {
        let mut run = unowned().run.output;
        (run.status, run.paused_at) = (RunStatus::Paused, Some(DateTime::UNIX_EPOCH));
        run.requirements = vec![needed(1, 1).requirement];
        let silent = told(&run, false);
        assert_eq!(
            (&silent["type"], &silent["data"]["paused_at"]),
            (&json!("run.paused"), &json!("1970-01-01T00:00:00Z"))
        );
        assert!(silent["data"].get("settled_at").is_none() && !silent.to_string().contains("delete it"), "{silent}");
        assert_eq!(told(&run, true)["data"]["requirements"], json!(run.requirements));
    }

    #[test]
    fn nothing_is_told_of_a_run_to_which_something_else_has_happened_since() {
        assert_eq!(body(&unowned().run.output, DateTime::UNIX_EPOCH, false), None);
        let settled = settled(RunStatus::Completed);
        assert_eq!(body(&settled, DateTime::UNIX_EPOCH - chrono::TimeDelta::microseconds(1), false), None);
    }
}
