//! What an earlier run of a session leaves for later ones.

use super::{Content, ToolExecution};

/// An earlier run of a session: what was asked, and what was answered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exchange {
    /// What was asked.
    pub input: Content,
    /// What was answered.
    pub content: Content,
    /// The tool calls that were made in between.
    pub tools: Vec<ToolExecution>,
}

/// How many bytes of text are taken for a token.
const BYTES_OF_A_TOKEN: u64 = 4;

impl Exchange {
    /// About how many tokens the exchange has for a model.
    fn tokens(&self) -> u64 {
        let tools = self.tools.iter().map(ToolExecution::weight).sum::<usize>();
        let bytes = self.input.size().saturating_add(self.content.size()).saturating_add(tools) as u64;
        bytes.div_ceil(BYTES_OF_A_TOKEN)
    }
}

/// The latest exchanges of a history, oldest first, that have no more than so many tokens together; each is kept as a whole.
pub(crate) fn latest_within(tokens: u64, mut history: Vec<Exchange>) -> Vec<Exchange> {
    let mut room = tokens;
    let fits = |exchange: &&Exchange| match room.checked_sub(exchange.tokens()) {
        Some(rest) => {
            room = rest;
            true
        }
        None => false,
    };
    let kept = history.iter().rev().take_while(fits).count();
    history.drain(..history.len() - kept);
    history
}

#[cfg(test)]
mod tests {
    use super::{Exchange, latest_within};
    use crate::run::ToolExecution;

    #[test]
    fn a_history_is_cut_before_the_first_exchange_that_does_not_fit_any_more() {
        let exchange =
            |bytes: usize| Exchange { input: "x".repeat(bytes).into(), content: "".into(), tools: Vec::new() };
        let history = || [4, 100, 9, 8].map(exchange).to_vec();
        for (tokens, kept) in [(0, 0), (1, 0), (2, 1), (4, 1), (5, 2), (29, 2), (30, 3), (31, 4), (u64::MAX, 4)] {
            let left = latest_within(tokens, history());
            assert_eq!(left, history()[4 - kept..], "{tokens}");
        }
    }

    #[test]
    fn tool_calls_count_and_are_kept_or_left_out_with_their_exchange() {
        let call = ToolExecution::begun("1", "t", "{}", 1).with_result(&"x".repeat(16).into());
        let history = vec![Exchange { input: "".into(), content: "".into(), tools: vec![call] }];
        assert_eq!(latest_within(4, history.clone()), []);
        assert_eq!(latest_within(5, history.clone()), history);
    }
}
