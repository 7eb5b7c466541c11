//! How Anthropic's Messages API says things.

use serde_json::{Value, json};

use super::dialect::{Frame, Said};
use super::reply::End;

fn stop_reason(said: &Said, end: &End) -> &'static str {
    if matches!(end, End::Incomplete(_)) {
        return "max_tokens";
    }
    if said.calls.is_empty() { "end_turn" } else { "tool_use" }
}

fn message(asked: &Value, content: &Value, stop_reason: &Value, output_tokens: u64) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"], "content": content,
        "stop_reason": stop_reason, "stop_sequence": null,
        "usage": {
            "input_tokens": 12, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
        },
    })
}

fn error(code: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": code, "message": message}})
}

pub(super) fn frames(asked: &Value, said: &Said, end: &End) -> Vec<Frame> {
    let event = |data: Value| {
        let is_text = data["delta"]["type"] == "text_delta";
        let name = data["type"].as_str().unwrap_or_default().to_owned();
        Frame::new(Some(&name), data, is_text)
    };
    let mut frames = vec![
        event(json!({"type": "message_start", "message": message(asked, &json!([]), &Value::Null, 1)})),
        event(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
        event(json!({"type": "ping"})),
    ];
    for piece in &said.pieces {
        let delta = json!({"type": "text_delta", "text": piece});
        frames.push(event(json!({"type": "content_block_delta", "index": 0, "delta": delta})));
    }
    if matches!(end, End::Ended | End::Cut | End::Stalled | End::Cancelled) {
        return frames;
    }
    if let End::Failed { code, message } | End::Error { code, message } = end {
        frames.push(event(error(code, message)));
        return frames;
    }
    frames.push(event(json!({"type": "content_block_stop", "index": 0})));
    for (index, [id, name, arguments]) in said.calls.iter().enumerate() {
        let index = index + 1;
        let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        frames.push(event(json!({"type": "content_block_start", "index": index, "content_block": block})));
        let (first, second) = arguments.split_at(arguments.len() / 2);
        for piece in ["", first, second] {
            let delta = json!({"type": "input_json_delta", "partial_json": piece});
            frames.push(event(json!({"type": "content_block_delta", "index": index, "delta": delta})));
        }
        frames.push(event(json!({"type": "content_block_stop", "index": index})));
    }
    let delta = json!({"stop_reason": stop_reason(said, end), "stop_sequence": null});
    frames.push(event(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}})));
    frames.push(event(json!({"type": "message_stop"})));
    frames
}

pub(super) fn whole(asked: &Value, said: &Said, end: &End) -> Value {
    if let End::Failed { code, message } | End::Error { code, message } = end {
        return error(code, message);
    }
    let text = said.pieces.concat();
    let text = (!text.is_empty()).then(|| json!({"type": "text", "text": text}));
    let calls = said.calls.iter().map(|[id, name, arguments]| {
        let input: Value = serde_json::from_str(arguments).unwrap_or_default();
        json!({"type": "tool_use", "id": id, "name": name, "input": input})
    });
    let content: Vec<_> = text.into_iter().chain(calls).collect();
    message(asked, &content.into(), &stop_reason(said, end).into(), 7)
}
