//! How much a run of a model may do.

use crate::agent::{AgentError, ModelTurn};
use crate::run::{FailureKind, InvalidRun, Usage};

/// How many turns a run may have, unless the agent says otherwise.
const TURNS: u32 = 50;

/// The bounds of an agent's runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) turns: Option<u32>,
    pub(crate) tool_calls: Option<u32>,
    pub(crate) tokens: Option<u64>,
}

impl Limits {
    pub(crate) fn check(&self) -> Result<(), InvalidRun> {
        let least_one = |field| InvalidRun { field, problem: "must be at least 1".to_owned() };
        if self.turns == Some(0) {
            return Err(least_one("max_turns"));
        }
        if self.tokens == Some(0) {
            return Err(least_one("max_tokens"));
        }
        Ok(())
    }
}

/// What a run has done so far, what it remembers of earlier attempts included.
#[derive(Default)]
pub(super) struct Spent {
    turns: u32,
    tool_calls: usize,
    tokens: u64,
}

impl Spent {
    pub(super) fn note(&mut self, turn: &ModelTurn) {
        self.turns += 1;
        self.tool_calls += turn.tool_calls.len();
        self.tokens = self.tokens.saturating_add(tokens(turn.usage));
    }

    pub(super) const fn turns(&self) -> u32 {
        self.turns
    }

    /// Whether the run may go on after a turn that was not an answer.
    pub(super) fn allows_more(&self, limits: &Limits) -> Result<(), AgentError> {
        let over = |kind, message: String| Err(AgentError::of_kind(kind, message));
        if self.turns >= limits.turns.unwrap_or(TURNS) {
            return over(FailureKind::TurnLimit, format!("the model has no answer after {} turns", self.turns));
        }
        if let Some(most) = limits.tokens.filter(|most| self.tokens >= *most) {
            let message = format!("the model has no answer after {} tokens, of {most} at most", self.tokens);
            return over(FailureKind::TokenLimit, message);
        }
        if let Some(most) = limits.tool_calls.filter(|most| self.tool_calls > *most as usize) {
            let message = format!("the model wants {} tool calls, of {most} at most", self.tool_calls);
            return over(FailureKind::ToolCallLimit, message);
        }
        Ok(())
    }
}

/// Not every provider says what both are together.
fn tokens(usage: Usage) -> u64 {
    usage.total_tokens.max(usage.input_tokens.saturating_add(usage.output_tokens))
}
