//! How a server of chat completions says things.

use serde_json::{Value, json};

use super::dialect::{Frame, Said};
use super::reply::End;

fn chunk(asked: &Value, choices: &Value, usage: &Value) -> Value {
    json!({
        "id": "chatcmpl_1", "object": "chat.completion.chunk", "created": 1_795_336_562, "model": asked["model"],
        "choices": choices, "usage": usage,
    })
}

fn usage() -> Value {
    json!({
        "prompt_tokens": 12, "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 19,
    })
}

fn finish_reason(said: &Said, end: &End) -> &'static str {
    if matches!(end, End::Incomplete(_)) {
        return "length";
    }
    if said.calls.is_empty() { "stop" } else { "tool_calls" }
}

fn error(code: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": "error", "param": null, "code": code}})
}

/// All chunks. Calls come in pieces, those of several calls in turn, as servers may send them.
pub(super) fn frames(asked: &Value, said: &Said, end: &End) -> Vec<Frame> {
    let choice = |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
    let say = |delta: Value| Frame::new(None, chunk(asked, &choice(delta, Value::Null), &Value::Null), false);
    let mut frames = vec![say(json!({"role": "assistant", "content": ""}))];
    for piece in &said.pieces {
        let data = chunk(asked, &choice(json!({"content": piece}), Value::Null), &Value::Null);
        frames.push(Frame::new(None, data, true));
    }
    for (index, [id, name, _]) in said.calls.iter().enumerate() {
        let function = json!({"name": name, "arguments": ""});
        frames.push(say(json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})));
    }
    for half in [0, 1] {
        for (index, [_, _, arguments]) in said.calls.iter().enumerate() {
            let (first, second) = arguments.split_at(arguments.len() / 2);
            let piece = if half == 0 { first } else { second };
            frames.push(say(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})));
        }
    }
    match end {
        End::Completed | End::Incomplete(_) => {
            let last = chunk(asked, &choice(json!({}), finish_reason(said, end).into()), &Value::Null);
            frames.push(Frame::new(None, last, false));
            frames.push(Frame::new(None, chunk(asked, &json!([]), &usage()), false));
            frames.push(Frame::new(None, "[DONE]".into(), false));
        }
        End::Failed { code, message } | End::Error { code, message } => {
            frames.push(Frame::new(None, error(code, message), false));
        }
        End::Cancelled | End::Ended | End::Cut | End::Stalled => {}
    }
    frames
}

pub(super) fn whole(asked: &Value, said: &Said, end: &End) -> Value {
    if let End::Failed { code, message } | End::Error { code, message } = end {
        return error(code, message);
    }
    let calls: Vec<_> = said
        .calls
        .iter()
        .map(|[id, name, arguments]| {
            json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
        })
        .collect();
    let calls = if calls.is_empty() { Value::Null } else { calls.into() };
    let message = json!({"role": "assistant", "content": said.pieces.concat(), "refusal": null, "tool_calls": calls});
    json!({
        "id": "chatcmpl_1", "object": "chat.completion", "created": 1_795_336_562, "model": asked["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(said, end)}], "usage": usage(),
    })
}
