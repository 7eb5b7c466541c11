//! As much of Postgres' protocol as it takes to see where something is committed.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use std::collections::HashMap;

/// What a client has sent so far.
#[derive(Default)]
pub(super) struct Frames {
    /// The beginning of a message whose end has not come yet.
    rest: Vec<u8>,
    started: bool,
    in_transaction: bool,
    /// What each prepared statement does.
    statements: HashMap<Vec<u8>, Effect>,
    /// What the statements do that are to be executed next.
    next: Effect,
    /// What those do that were sent since this was asked for.
    sent: Effect,
}

/// What a statement does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    #[default]
    Reads,
    Writes,
    /// It is a write by the attempts of runs.
    Advances,
}

/// The codes of messages that come before the one that starts a session: for TLS and for GSSAPI.
const BEFORE_START: [u32; 2] = [80_877_103, 80_877_104];

impl Frames {
    /// Takes in what comes next. Says where in `bytes` the first message ends that makes the server commit.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let held = self.rest.len();
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        let mut commit = None;
        while let Some(length) = self.message_length(at) {
            let message = self.rest[at..at + length].to_vec();
            at += length;
            if self.take(&message) && commit.is_none() {
                commit = Some(at - held);
            }
        }
        self.rest.drain(..at);
        commit
    }

    /// The most that any statement does which was sent since this was asked last, those in transactions not counted: a
    /// session that is held up in the middle of one is ended by the server.
    pub(super) fn take_sent(&mut self) -> Effect {
        std::mem::take(&mut self.sent)
    }

    /// How long the message is that begins at `at`, if all of it is there.
    fn message_length(&self, at: usize) -> Option<usize> {
        let tag = usize::from(self.started);
        let rest = &self.rest[at..];
        let length = rest.get(tag..tag + 4)?.try_into().ok().map(u32::from_be_bytes)?;
        let length = usize::try_from(length).ok()?.max(4) + tag;
        (rest.len() >= length).then_some(length)
    }

    /// Whether this message makes the server commit.
    fn take(&mut self, message: &[u8]) -> bool {
        if !self.started {
            let code = message.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
            self.started = code.is_none_or(|code| !BEFORE_START.contains(&code));
            return false;
        }
        let mut texts = message[5..].split(|byte| *byte == 0);
        let mut text = || texts.next().unwrap_or_default();
        match message[0] {
            b'Q' => self.take_query(text()),
            b'P' => {
                let name = text().to_vec();
                let effect = effect(text());
                self.statements.insert(name, effect);
                false
            }
            b'B' => {
                let _portal = text();
                self.next = self.statements.get(text()).copied().unwrap_or_default();
                false
            }
            b'S' => {
                let done = std::mem::take(&mut self.next);
                if !self.in_transaction {
                    self.sent = self.sent.max(done);
                }
                done != Effect::Reads && !self.in_transaction
            }
            _ => false,
        }
    }

    fn take_query(&mut self, text: &[u8]) -> bool {
        match text.trim_ascii() {
            b"BEGIN" => {
                self.in_transaction = true;
                false
            }
            b"COMMIT" => std::mem::take(&mut self.in_transaction),
            b"ROLLBACK" => {
                self.in_transaction = false;
                false
            }
            other => {
                // Where it has no settings of its own, a session is given them as it begins.
                self.in_transaction |= other.starts_with(b"BEGIN;");
                if !self.in_transaction {
                    self.sent = self.sent.max(effect(other));
                }
                !self.in_transaction && effect(other) != Effect::Reads
            }
        }
    }
}

fn effect(sql: &[u8]) -> Effect {
    let sql = String::from_utf8_lossy(sql);
    if sql.contains("first_seq") && sql.contains("INSERT INTO run_events") {
        Effect::Advances
    } else if ["INSERT", "UPDATE", "DELETE"].iter().any(|word| sql.contains(word)) {
        Effect::Writes
    } else {
        Effect::Reads
    }
}

/// How many rows the last statement had whose answer `bytes` end with; `None` where it failed.
pub(super) fn rows(bytes: &[u8]) -> Option<u64> {
    let tag = bytes.get(..bytes.len().checked_sub(7)?)?;
    let number = tag.rsplit(|byte| *byte == b' ').next()?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Whether what the server has sent ends with its being ready for more.
pub(super) fn ends_ready(bytes: &[u8]) -> bool {
    bytes.len().checked_sub(6).is_some_and(|at| bytes[at..at + 5] == *b"Z\0\0\0\x05")
}

#[cfg(test)]
mod tests {
    use super::{Effect, Frames, ends_ready, rows};

    fn message(tag: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + 4).unwrap().to_be_bytes();
        [&[tag][..], &length, payload].concat()
    }

    fn started() -> Frames {
        let mut frames = Frames::default();
        let start = message(0, &[0, 3, 0, 0, b'u', 0, 0])[1..].to_vec();
        assert_eq!(frames.feed(&[0, 0, 0, 8, 4, 210, 22, 47]), None);
        assert_eq!(frames.feed(&start), None);
        frames
    }

    #[test]
    fn a_commit_is_seen_wherever_its_message_is_split() {
        let all = [message(b'Q', b"BEGIN\0"), message(b'Q', b"COMMIT\0"), message(b'X', b"")].concat();
        let end = all.len() - 5;
        for split in 0..all.len() {
            let mut frames = started();
            let (first, second) = all.split_at(split);
            let seen = frames.feed(first).or_else(|| frames.feed(second).map(|at| at + split));
            assert_eq!(seen, Some(end), "split at {split}");
        }
    }

    #[test]
    fn a_prepared_write_commits_at_its_sync_unless_a_transaction_is_open() {
        let prepare = message(b'P', b"s1\0UPDATE runs SET x = 1\0\0\0");
        let execute = [message(b'B', b"\0s1\0\0\0\0\0\0\0"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat();
        let mut frames = started();
        assert_eq!(frames.feed(&[prepare, message(b'S', b"")].concat()), None);
        assert_eq!(frames.feed(&execute), Some(execute.len()));
        assert_eq!(frames.feed(&message(b'Q', b"BEGIN\0")), None);
        assert_eq!(frames.feed(&execute), None);
        assert_eq!(frames.feed(&message(b'Q', b"COMMIT\0")), Some(12));
        assert_eq!(frames.feed(&execute), Some(execute.len()));
    }

    #[test]
    fn a_read_commits_nothing() {
        let mut frames = started();
        let read =
            [message(b'P', b"\0SELECT 1\0\0\0"), message(b'B', b"\0\0\0\0\0\0\0\0"), message(b'S', b"")].concat();
        assert_eq!(frames.feed(&read), None);
        assert_eq!(frames.feed(&message(b'Q', b"COMMIT\0")), None, "of nothing");
    }

    #[test]
    fn a_write_is_seen_when_it_is_sent_and_not_before() {
        let advance = b"s1\0WITH a (first_seq) UPDATE runs; INSERT INTO run_events\0\0\0";
        let (mut frames, bind) = (started(), message(b'B', b"\0s1\0\0\0\0\0\0\0"));
        frames.feed(&message(b'Q', b"BEGIN; SET LOCAL x = 1\0"));
        frames.feed(&[message(b'P', advance), message(b'S', b""), bind.clone(), message(b'S', b"")].concat());
        assert_eq!(frames.take_sent(), Effect::Reads, "it is in a transaction");
        frames.feed(&[message(b'Q', b"COMMIT\0"), bind].concat());
        assert_eq!(frames.take_sent(), Effect::Reads);
        frames.feed(&message(b'S', b""));
        assert_eq!((frames.take_sent(), frames.take_sent()), (Effect::Advances, Effect::Reads));
    }

    #[test]
    fn an_answer_tells_its_rows_unless_it_is_an_error() {
        assert_eq!(rows(b"C\0\0\0\x0dSELECT 12\0Z\0\0\0\x05I"), Some(12));
        assert_eq!(rows(b"E\0\0\0\x0dSERROR no \0\0Z\0\0\0\x05I"), None);
    }

    #[test]
    fn a_server_is_ready_when_its_last_message_says_so() {
        assert!(ends_ready(b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I"));
        assert!(!ends_ready(b"C\0\0\0\x0bCOMMIT\0"));
        assert!(!ends_ready(b"Z"));
    }
}
