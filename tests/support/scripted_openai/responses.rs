//! How `OpenAI`'s Responses API says things.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::dialect::{Frame, Said};
use super::reply::End;

/// All events, from `response.created` to the end that the answer has.
pub(super) fn frames(asked: &Value, said: &Said, end: &End) -> Vec<Frame> {
    let text = said.pieces.concat();
    let started = response(asked, None, &json!({}));
    let at = |event: Value| {
        let mut event = event;
        event["item_id"] = "msg_1".into();
        event["output_index"] = 0.into();
        event["content_index"] = 0.into();
        event
    };
    let mut events = vec![
        json!({"type": "response.created", "response": started}),
        json!({"type": "response.in_progress", "response": started}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("in_progress", None)}),
        at(json!({"type": "response.content_part.added", "part": part("")})),
    ];
    let delta = |piece| at(json!({"type": "response.output_text.delta", "delta": piece, "logprobs": []}));
    events.extend(said.pieces.iter().map(delta));
    match end {
        End::Completed => {
            events.extend([
                at(json!({"type": "response.output_text.done", "text": text, "logprobs": []})),
                at(json!({"type": "response.content_part.done", "part": part(&text)})),
                json!({"type": "response.output_item.done", "output_index": 0, "item": item("completed", Some(&text))}),
            ]);
            for (index, each) in said.calls.iter().enumerate() {
                let here = |kind: &str, fields: Value| {
                    let mut event = fields;
                    event["type"] = kind.into();
                    event["output_index"] = (index + 1).into();
                    event["item_id"] = format!("fc_{index}").into();
                    event
                };
                let [id, name, arguments] = each;
                let mut begun = call(index, &[id.clone(), name.clone(), String::new()]);
                begun["status"] = "in_progress".into();
                let (first, second) = arguments.split_at(arguments.len() / 2);
                events.push(here("response.output_item.added", json!({"item": begun})));
                for piece in [first, second] {
                    events.push(here("response.function_call_arguments.delta", json!({"delta": piece})));
                }
                let done = json!({"arguments": arguments, "name": name});
                events.push(here("response.function_call_arguments.done", done));
                events.push(here("response.output_item.done", json!({"item": call(index, each)})));
            }
            events.push(json!({"type": "response.completed", "response": whole(asked, said, end)}));
        }
        End::Failed { .. } | End::Cancelled => {
            events.push(json!({"type": "response.failed", "response": whole(asked, said, end)}));
        }
        End::Incomplete(_) => {
            events.push(json!({"type": "response.incomplete", "response": whole(asked, said, end)}));
        }
        End::Error { code, message } => {
            events.push(json!({"type": "error", "code": code, "message": message, "param": null}));
        }
        End::Ended | End::Cut | End::Stalled => {}
    }
    events.into_iter().map(Frame::named_by_type).collect()
}

pub(super) fn whole(asked: &Value, said: &Said, end: &End) -> Value {
    let text = said.pieces.concat();
    let message = (!text.is_empty() || said.calls.is_empty()).then(|| item("completed", Some(&text)));
    let calls = said.calls.iter().enumerate().map(|(index, each)| call(index, each));
    let output: Vec<_> = message.into_iter().chain(calls).collect();
    let fields = match end {
        End::Failed { code, message } => json!({"status": "failed", "error": {"code": code, "message": message}}),
        End::Incomplete(reason) => json!({"status": "incomplete", "incomplete_details": {"reason": reason}}),
        End::Cancelled => json!({"status": "cancelled"}),
        End::Completed | End::Error { .. } | End::Ended | End::Cut | End::Stalled => json!({"output": output}),
    };
    response(asked, Some(&text), &fields)
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn item(status: &str, text: Option<&str>) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "status": status,
        "content": text.map(part).into_iter().collect::<Vec<_>>(),
    })
}

fn call(index: usize, [id, name, arguments]: &[String; 3]) -> Value {
    json!({
        "id": format!("fc_{index}"), "type": "function_call", "call_id": id, "name": name, "arguments": arguments,
        "status": "completed",
    })
}

/// A response object: completed when there is a text, in progress when not, with `fields` instead of its own.
pub fn response(asked: &Value, text: Option<&str>, fields: &Value) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let usage = json!({
        "input_tokens": 12, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 19,
    });
    let mut response = json!({
        "id": "resp_1", "object": "response", "created_at": now, "model": asked["model"],
        "status": if text.is_some() { "completed" } else { "in_progress" },
        "error": null, "incomplete_details": null, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
        "output": text.map(|text| item("completed", Some(text))).into_iter().collect::<Vec<_>>(),
        "usage": if text.is_some() { usage } else { Value::Null },
    });
    for (name, value) in fields.as_object().into_iter().flatten() {
        response[name] = value.clone();
    }
    response
}
