//! What the present attempt has said, as far as it may.

use std::time::Duration;

use tokio::time::Instant;

use crate::run::{Content, Usage};

/// What the present attempt has said so far.
pub(super) struct Said {
    pub(super) text: String,
    /// How many bytes it has said about its reasoning.
    reasoning: usize,
    /// How long either may be, in bytes.
    max_text: usize,
    /// It wanted to say more than that.
    pub(super) overflowed: bool,
    pub(super) usage: Usage,
    /// When user code was started; `None` before that.
    pub(super) started: Option<Instant>,
    pub(super) first_piece: Option<Duration>,
}

impl Said {
    pub(super) fn new(max_text: usize) -> Self {
        Self {
            text: String::new(),
            reasoning: 0,
            max_text,
            overflowed: false,
            usage: Usage::default(),
            started: None,
            first_piece: None,
        }
    }

    /// Adds a piece of text, as far as it may be said, and gives that.
    pub(super) fn add(&mut self, piece: Content) -> Content {
        let mut piece = piece.storable();
        let room = self.max_text - self.text.len();
        if piece.size() > room {
            self.overflowed = true;
            piece = Content::from(head(piece.as_text().unwrap_or_default(), room));
        }
        self.text.push_str(piece.as_text().unwrap_or_default());
        piece
    }

    /// Counts a piece of reasoning, as far as it may be said, and gives that. The rest is left out: it is not what the run is for.
    pub(super) fn add_reasoning(&mut self, piece: Content) -> Content {
        let piece = piece.storable();
        let piece = Content::from(head(piece.as_text().unwrap_or_default(), self.max_text - self.reasoning));
        self.reasoning += piece.size();
        piece
    }
}

/// As much of the beginning of `text` as fits into `bytes` without cutting a character.
fn head(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::Said;

    #[test]
    fn what_is_said_about_reasoning_is_bounded_and_takes_nothing_from_the_text() {
        let mut said = Said::new(8);
        assert_eq!(said.add_reasoning("so\0 ".into()).as_text(), Some("so\u{fffd} "));
        assert_eq!(said.add_reasoning("then".into()).as_text(), Some("th"));
        assert_eq!(said.add_reasoning("more".into()).as_text(), Some(""));
        assert!(said.text.is_empty() && !said.overflowed);
        assert_eq!(said.add("answered".into()).as_text(), Some("answered"));
        assert!(!said.overflowed);
    }
}
