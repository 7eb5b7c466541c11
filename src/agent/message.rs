//! What a model is asked: a conversation, and what the model may call.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::run::Content;

/// What a model is asked. `Debug` does not show the texts.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ModelRequest {
    /// The conversation so far, oldest first; the last message is the one to answer.
    pub messages: Vec<Message>,
    /// The tools that the model may call.
    pub tools: Vec<ToolSpec>,
    /// The form that the answer's text must have; any text when there is none.
    pub output: Option<OutputSpec>,
    /// What the model has [noted](super::ModelEvent::Note) of this very turn in an earlier attempt of the run.
    pub note: Option<Value>,
}

/// A message of a conversation. `Debug` does not show the text.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said. A user can also show something: a JSON array of nothing but parts, of these three forms, is sent as images
    /// and files; any other JSON is written out.
    ///
    /// ```
    /// # use greenroom::model::{Message, Role};
    /// let question = Message::new(Role::User, serde_json::json!([
    ///     {"type": "text", "text": "What differs?"},
    ///     {"type": "image", "url": "https://example.org/before.png"},
    ///     {"type": "file", "url": "https://example.org/report.pdf"},
    /// ]));
    /// # assert!(question.content.as_text().is_none());
    /// ```
    pub content: Content,
    /// The tools that the model wanted called; none unless the [assistant](Role::Assistant) speaks.
    pub tool_calls: Vec<ToolCall>,
    /// The [id of the call](ToolCall::id) that this is the output of, when a [tool](Role::Tool) speaks.
    pub tool_call_id: Option<String>,
    /// What the model's client wants to see again with what the [assistant](Role::Assistant) said, see
    /// [`ModelTurn::provider_data`](super::ModelTurn::provider_data).
    pub provider_data: Option<Value>,
}

impl Message {
    /// A message of `role`.
    #[must_use]
    pub fn new(role: Role, content: impl Into<Content>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None, provider_data: None }
    }

    /// A message of the model that has said `text` and wants tools called.
    #[must_use]
    pub fn calls(text: impl Into<String>, tool_calls: Vec<ToolCall>) -> Self {
        Self { tool_calls, ..Self::new(Role::Assistant, text.into()) }
    }

    /// The output of a call.
    #[must_use]
    pub fn tool_output(tool_call_id: impl Into<String>, output: impl Into<Content>) -> Self {
        Self { tool_call_id: Some(tool_call_id.into()), ..Self::new(Role::Tool, output) }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("role", &self.role)
            .field("content", &self.content)
            .field("tool_calls", &self.tool_calls)
            .field("tool_call_id", &self.tool_call_id)
            .finish_non_exhaustive()
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// The maker of the agent: its description and instructions.
    System,
    /// Whoever submitted the run.
    User,
    /// The model.
    Assistant,
    /// A tool that the model has called.
    Tool,
}

/// A call that a model wants made. `Debug` does not show the arguments.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// What the model calls the call; its output is given back under this id.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// The arguments as the model has written them: JSON, if it has made no mistake.
    pub arguments: String,
}

impl ToolCall {
    /// A call of the tool `name`.
    #[must_use]
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into(), arguments: arguments.into() }
    }
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCall").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Which tools a model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolChoice {
    /// The model chooses.
    Auto,
    /// None.
    None,
    /// At least one, whichever it likes.
    Required,
    /// The tool of this name.
    Tool(String),
}

/// What a model is told about a tool.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ToolSpec {
    /// The name by which the model calls it.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON schema of its arguments, an object.
    pub parameters: Value,
    /// Whether the schema keeps to the subset that providers can hold a model to (`"strict": true` at OpenAI).
    pub strict: bool,
}

impl ToolSpec {
    /// A tool with arguments of the schema `parameters`.
    #[must_use]
    pub fn new(name: impl Into<String>, description: impl Into<String>, parameters: Value) -> Self {
        Self { name: name.into(), description: description.into(), parameters, strict: false }
    }
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OutputSpec {
    /// What the form is called: 1 to 64 letters, digits, `_` and `-`.
    pub name: String,
    /// Its JSON schema.
    pub schema: Value,
    /// Whether the schema keeps to the subset that providers can hold a model to.
    pub strict: bool,
}

impl OutputSpec {
    /// An answer of the form `schema`.
    #[must_use]
    pub fn new(name: impl Into<String>, schema: Value) -> Self {
        Self { name: name.into(), schema, strict: false }
    }
}
