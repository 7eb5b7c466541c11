//! The call of a tool, as those who follow a run see it.

use serde::{Deserialize, Serialize};

use super::Content;

/// A call of a tool. The field names are those of the Python framework [agno](https://docs.agno.com).
///
/// `Debug` shows neither the arguments nor the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct ToolExecution {
    /// What the model calls the call.
    pub tool_call_id: String,
    /// The name of the tool.
    pub tool_name: String,
    /// Which turn of the model wants the call, from 1.
    pub turn: u32,
    /// The arguments; the text that the model has written when that is no JSON.
    pub tool_args: Content,
    /// Whether the call has failed.
    pub tool_call_error: bool,
    /// What the tool returned, or what the model is told of a call that has failed, unless that is larger than 64 KiB; set when the
    /// call has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Content>,
    /// How long it took; set when the call has been executed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<ToolMetrics>,
    /// Whether people have confirmed the call; set when they were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<bool>,
    /// What they had to say about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation_note: Option<String>,
    /// What people have added to the arguments; the model does not get to see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_input: Option<Content>,
    /// Whether the call was executed elsewhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub external_execution: bool,
}

/// What a call cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct ToolMetrics {
    /// Seconds from the start of the call to its end, all tries and the pauses between them included.
    pub duration: f64,
}

/// A result that is larger than this stays out of the event log, in bytes.
const LARGEST_RESULT: usize = 64 * 1024;

impl ToolExecution {
    /// A call that has begun.
    pub(crate) fn begun(call_id: &str, name: &str, arguments: &str, turn: u32) -> Self {
        let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| serde_json::Value::from(arguments));
        let clean = |text: &str| text.replace('\0', "\u{fffd}");
        Self {
            tool_call_id: clean(call_id),
            tool_name: clean(name),
            turn,
            tool_args: Content::from(arguments).storable(),
            tool_call_error: false,
            result: None,
            metrics: None,
            confirmed: None,
            confirmation_note: None,
            user_input: None,
            external_execution: false,
        }
    }

    /// The call, at its end.
    pub(crate) fn ended(self, seconds: f64) -> Self {
        Self { metrics: Some(ToolMetrics { duration: seconds }), ..self }
    }

    /// The call, with what the tool returned.
    pub(crate) fn with_result(self, result: &Content) -> Self {
        let result = (result.size() <= LARGEST_RESULT).then(|| result.clone());
        Self { result, ..self }
    }

    /// About how many bytes the call brings along.
    pub(crate) fn weight(&self) -> usize {
        let said = self.confirmation_note.as_ref().map_or(0, String::len);
        let contents = [self.result.as_ref(), self.user_input.as_ref(), Some(&self.tool_args)];
        let contents: usize = contents.into_iter().flatten().map(Content::size).sum();
        self.tool_call_id.len() + self.tool_name.len() + said + contents
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{LARGEST_RESULT, ToolExecution};
    use crate::run::Content;

    #[test]
    fn arguments_are_json_where_they_can_be_and_nothing_is_shown() {
        let call = ToolExecution::begun("c\0", "add", r#"{"a": "my secret\u0000"}"#, 1);
        assert_eq!(call.tool_args, Content::from(json!({"a": "my secret\u{fffd}"})));
        assert_eq!(call.tool_call_id, "c\u{fffd}");
        let ended = call.ended(0.5).with_result(&Content::from("another secret"));
        assert!(!format!("{ended:?}").contains("secret"), "{ended:?}");
        let broken = ToolExecution::begun("c", "add", "{\"a\": ", 1);
        assert_eq!(broken.tool_args, Content::from("{\"a\": "));
    }

    #[test]
    fn a_large_result_stays_out_of_the_log() {
        let call = ToolExecution::begun("c", "read", "{}", 1);
        let largest = Content::from("x".repeat(LARGEST_RESULT));
        assert_eq!(call.clone().with_result(&largest).result, Some(largest));
        assert_eq!(call.with_result(&Content::from("x".repeat(LARGEST_RESULT + 1))).result, None);
    }
}
