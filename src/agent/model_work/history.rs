//! Earlier runs of the session, as a model is told of them.

use crate::agent::{Message, Role, ToolCall};
use crate::run::{Content, Exchange, ToolExecution};

/// Stands for an output that was too large to be kept.
const LEFT_OUT: &str = "(this output was too large to be kept)";

/// What was asked, what was called and what came of it, and what was answered. Calls of tools that are not `known` any more are
/// left out together with their outputs: a model may be told of no other tools than it has.
pub(super) fn messages(earlier: &Exchange, known: impl Fn(&str) -> bool) -> Vec<Message> {
    let mut messages = vec![Message::new(Role::User, earlier.input.clone())];
    let calls: Vec<&ToolExecution> = earlier.tools.iter().filter(|call| known(&call.tool_name)).collect();
    for round in calls.chunk_by(|one, next| one.turn == next.turn) {
        messages.push(Message::calls("", round.iter().map(|call| as_called(call)).collect()));
        messages.extend(round.iter().map(|call| output_of(call)));
    }
    messages.push(Message::new(Role::Assistant, earlier.content.to_string()));
    messages
}

fn as_called(call: &ToolExecution) -> ToolCall {
    let arguments = if call.tool_args.as_json().is_null() { "{}".to_owned() } else { call.tool_args.to_string() };
    ToolCall::new(&*call.tool_call_id, &*call.tool_name, arguments)
}

fn output_of(call: &ToolExecution) -> Message {
    let output = call.result.clone().unwrap_or_else(|| Content::from(LEFT_OUT));
    Message::tool_output(&*call.tool_call_id, output)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{LEFT_OUT, messages};
    use crate::agent::{Message, Role, ToolCall};
    use crate::run::{Exchange, ToolExecution};

    #[test]
    fn each_call_is_told_with_its_output_in_the_round_that_it_belongs_to() {
        let call = |id: &str, name: &str, turn| ToolExecution::begun(id, name, r#"{"n":1}"#, turn);
        let tools = vec![
            call("a", "look", 1).with_result(&json!([1]).into()),
            call("b", "gone", 1).with_result(&"2".into()),
            call("c", "look", 1),
            call("d", "gone", 2).with_result(&"4".into()),
            ToolExecution { tool_args: ().into(), ..call("e", "look", 3).with_result(&"5".into()) },
        ];
        let earlier = Exchange { input: "asked".into(), content: "answered".into(), tools };
        let called = |id: &str| ToolCall::new(id, "look", r#"{"n":1}"#);
        let expected = [
            Message::new(Role::User, "asked"),
            Message::calls("", vec![called("a"), called("c")]),
            Message::tool_output("a", json!([1])),
            Message::tool_output("c", LEFT_OUT),
            Message::calls("", vec![ToolCall::new("e", "look", "{}")]),
            Message::tool_output("e", "5"),
            Message::new(Role::Assistant, "answered"),
        ];
        assert_eq!(messages(&earlier, |name| name == "look"), expected);
        assert_eq!(messages(&earlier, |_| false).len(), 2);
    }

    #[test]
    fn what_was_shown_is_shown_again() {
        let shown = json!([{"type": "image", "url": "https://example.org/before.png"}]);
        let earlier = Exchange { input: shown.clone().into(), content: json!({"n": 1}).into(), tools: Vec::new() };
        let expected = [Message::new(Role::User, shown), Message::new(Role::Assistant, r#"{"n":1}"#)];
        assert_eq!(messages(&earlier, |_| false), expected);
    }
}
