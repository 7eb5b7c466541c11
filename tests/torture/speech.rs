//! What agents say: numbered words that name their attempt, so that a log shows who wrote what, and whether all of it.

use greenroom::{AgentError, RunContext, RunEvent, RunEventKind};
use serde::{Deserialize, Serialize};

/// A word: the `n`th of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Word {
    pub(crate) attempt: u32,
    pub(crate) n: u32,
}

impl Word {
    fn text(self) -> String {
        format!("{}:{};", self.attempt, self.n)
    }
}

/// An attempt that speaks.
pub(crate) struct Speaker {
    cx: RunContext,
    next: u32,
}

impl Speaker {
    pub(crate) const fn new(cx: RunContext) -> Self {
        Self { cx, next: 0 }
    }

    /// Says the next word: every other one as text, which the runtime may join, and the others as events of their own.
    pub(crate) async fn say(&mut self) -> Result<(), AgentError> {
        let word = Word { attempt: self.cx.attempt(), n: self.next };
        self.next += 1;
        if word.n.is_multiple_of(2) {
            self.cx.emit_text(word.text()).await;
        } else {
            self.cx.emit("word", word).await?;
        }
        Ok(())
    }

    pub(crate) const fn said(&self) -> u32 {
        self.next
    }
}

/// The text of an event, where it has one.
pub(crate) fn text(event: &RunEvent) -> &str {
    match &event.kind {
        RunEventKind::RunContent { content } => content.as_text().unwrap_or_default(),
        _ => "",
    }
}

/// The words in an event; an `Err` is what no agent says.
pub(crate) fn words(event: &RunEvent) -> Result<Vec<Word>, String> {
    match &event.kind {
        RunEventKind::RunContent { content } => {
            let text = content.as_text().unwrap_or_default();
            let word = |piece: &str| {
                let (attempt, n) = piece.split_once(':')?;
                Some(Word { attempt: attempt.parse().ok()?, n: n.parse().ok()? })
            };
            let words: Option<Vec<Word>> = text.split_terminator(';').map(word).collect();
            words.filter(|_| text.ends_with(';')).ok_or_else(|| format!("the text `{text}`"))
        }
        RunEventKind::CustomEvent { data, .. } => {
            Word::deserialize(data.as_json()).map(|word| vec![word]).map_err(|error| error.to_string())
        }
        _ => Ok(Vec::new()),
    }
}
