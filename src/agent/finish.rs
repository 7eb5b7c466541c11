//! What it means why a model has stopped, in the words of whichever provider.

use super::{ModelError, ModelErrorKind};

/// The answer is whole, or a call of a tool is.
const WHOLE: [&str; 12] = [
    "stop",
    "tool_calls",
    "tool_call",
    "function_call",
    "end_turn",
    "tool_use",
    "stop_sequence",
    "eos",
    "eos_token",
    "complete",
    "completed",
    "normal",
];

/// The answer is cut off by a limit or a filter, or goes on only when it is asked for.
const INCOMPLETE: [&str; 19] = [
    "length",
    "max_tokens",
    "max_output_tokens",
    "max_length",
    "model_length",
    "token_limit",
    "model_context_window_exceeded",
    "incomplete",
    "pause_turn",
    "refusal",
    "content_filter",
    "content_filtered",
    "guardrail_intervened",
    "sensitive",
    "safety",
    "recitation",
    "blocklist",
    "prohibited_content",
    "spii",
];

/// The provider had no room, or lost its way to the model.
const PASSING: [&str; 2] = ["insufficient_system_resource", "network_error"];

/// The longest reason that is passed on, in bytes.
const LONGEST: usize = 64;

/// Whether an answer that has ended for this reason is one. Nobody knows what one ends with that is not known: it is none. What is
/// told of that reason is `cleaned` first.
pub(super) fn check(reason: &str, cleaned: impl FnOnce(&str) -> String) -> Result<(), ModelError> {
    let known = reason.trim().to_ascii_lowercase();
    let is_one_of = |reasons: &[&str]| reasons.contains(&known.as_str());
    if is_one_of(&WHOLE) {
        return Ok(());
    }
    if is_one_of(&INCOMPLETE) {
        let message = format!("the provider says that the answer is incomplete: {reason}");
        return Err(ModelError::new(ModelErrorKind::Incomplete, message));
    }
    let kind = if is_one_of(&PASSING) { ModelErrorKind::Server } else { ModelErrorKind::Failed };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b' ');
    let is_plain = (1..=LONGEST).contains(&reason.len()) && reason.bytes().all(plain);
    let named = if is_plain { format!(": it ended with {}", cleaned(reason)) } else { String::new() };
    Err(ModelError::new(kind, format!("the provider says that the answer failed{named}")))
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, check};
    use crate::agent::ModelErrorKind;

    fn checked(reason: &str) -> Result<(), (ModelErrorKind, String)> {
        check(reason, str::to_owned).map_err(|error| (error.kind(), error.to_string()))
    }

    #[test]
    fn only_what_is_known_to_be_whole_is_an_answer() {
        for whole in ["stop", "STOP", "COMPLETE", "tool_calls", "TOOL_CALL", "end_turn", "eos_token", "STOP_SEQUENCE"] {
            assert_eq!(checked(whole), Ok(()), "{whole}");
        }
        for cut in ["length", "MAX_TOKENS", "model_length", "content_filter", "SAFETY", "refusal"] {
            let message = format!("the provider says that the answer is incomplete: {cut}");
            assert_eq!(checked(cut), Err((ModelErrorKind::Incomplete, message)));
        }
        for failed in ["error", "abort", "MALFORMED_FUNCTION_CALL", "function_call_filter: MALFORMED_FUNCTION_CALL"] {
            let message = format!("the provider says that the answer failed: it ended with {failed}");
            assert_eq!(checked(failed), Err((ModelErrorKind::Failed, message)));
        }
        assert!(checked("insufficient_system_resource").is_err_and(|(kind, _)| kind == ModelErrorKind::Server));
    }

    #[test]
    fn a_reason_that_is_no_word_is_not_passed_on() {
        for reason in ["", "a\nb", "{\"key\"}", "ü", &"x".repeat(LONGEST + 1)] {
            let message = "the provider says that the answer failed".to_owned();
            assert_eq!(checked(reason), Err((ModelErrorKind::Failed, message)));
        }
    }
}
