//! The OpenAI Responses API.
/// Placeholder until the client is there.
#[derive(Clone, Debug)]
pub struct OpenAIResponses;
