//! What an earlier run of a session leaves for later ones.

use super::Content;

/// An earlier run of a session: what was asked, and what was answered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exchange {
    /// What was asked.
    pub input: Content,
    /// What was answered.
    pub content: Content,
}

/// How many bytes of text are taken for a token.
const BYTES_OF_A_TOKEN: u64 = 4;

impl Exchange {
    /// About how many tokens the exchange has for a model.
    fn tokens(&self) -> u64 {
        let bytes = self.input.size().saturating_add(self.content.size()) as u64;
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

    #[test]
    fn a_history_is_cut_before_the_first_exchange_that_does_not_fit_any_more() {
        let exchange = |bytes: usize| Exchange { input: "x".repeat(bytes).into(), content: "".into() };
        let history = || [4, 100, 9, 8].map(exchange).to_vec();
        for (tokens, kept) in [(0, 0), (1, 0), (2, 1), (4, 1), (5, 2), (29, 2), (30, 3), (31, 4), (u64::MAX, 4)] {
            let left = latest_within(tokens, history());
            assert_eq!(left, history()[4 - kept..], "{tokens}");
        }
    }
}
