//! What comes back of a call.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::Value;

use crate::agent::AgentError;
use crate::run::Content;

/// What the model is told of a result: the structured content, when there is one, or else the text.
pub(super) fn content(result: CallToolResult) -> Result<Content, AgentError> {
    let failed = result.is_error == Some(true);
    let content = match result.structured_content {
        Some(structured) => Content::from(structured),
        None => told(&result.content)?,
    };
    if failed { Err(AgentError::new(content.to_string())) } else { Ok(content) }
}

/// Texts, one on each line; what is more than text is passed on as it is.
fn told(blocks: &[ContentBlock]) -> Result<Content, AgentError> {
    let texts: Option<Vec<&str>> = blocks.iter().map(|block| Some(block.as_text()?.text.as_str())).collect();
    let content = match texts {
        Some(texts) => Value::from(texts.join("\n")),
        None => serde_json::to_value(blocks)?,
    };
    Ok(Content::from(content))
}

#[cfg(test)]
mod tests {
    use rmcp::model::{CallToolResult, ContentBlock};
    use serde_json::json;

    use super::content;

    fn read(result: serde_json::Value) -> Result<serde_json::Value, String> {
        let result: CallToolResult = serde_json::from_value(result).unwrap();
        content(result).map(|content| content.as_json().clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_form_of_a_result_is_told() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let image = json!({"type": "image", "data": "AA==", "mimeType": "image/png"});
        assert_eq!(read(json!({"content": [text("a"), text("b")]})), Ok(json!("a\nb")));
        assert_eq!(read(json!({"content": []})), Ok(json!("")));
        assert_eq!(read(json!({"content": [text("{\"a\":1}")], "structuredContent": {"a": 1}})), Ok(json!({"a": 1})));
        let mixed = read(json!({"content": [text("a"), image]})).unwrap();
        assert_eq!((&mixed[0]["text"], &mixed[1]["mimeType"]), (&json!("a"), &json!("image/png")));
        assert_eq!(read(json!({"content": [text("no such city")], "isError": true})), Err("no such city".to_owned()));
        assert!(content(CallToolResult::success(vec![ContentBlock::text("a")])).is_ok());
    }
}
