//! Hints as the text of a notification: words of hexadecimal digits and letters, parted by blanks.
//!
//! Words that this version does not know are passed over, so that another version may say more.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::run::RunId;
use crate::store::NodeId;
use crate::store::hints::{Hint, Hints, Named};

/// What one process tells all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) sender: Uuid,
    pub(super) number: u64,
    /// The sender has just begun to listen: whoever hears this should make itself heard.
    pub(super) hello: bool,
    pub(super) hints: Hints,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sender.simple(), self.number)?;
        if self.hello {
            f.write_str(" hello")?;
        }
        if self.hints.work {
            f.write_str(" work")?;
        }
        write_named(f, 'c', &self.hints.cancels, |node| node.as_uuid())?;
        write_named(f, 'n', &self.hints.news, |run_id| run_id.as_uuid())
    }
}

fn write_named<T: Copy>(
    f: &mut fmt::Formatter<'_>,
    letter: char,
    named: &Named<T>,
    uuid: impl Fn(T) -> Uuid,
) -> fmt::Result {
    match named {
        Named::These(these) => these.iter().try_for_each(|&id| write!(f, " {letter}{}", uuid(id).simple())),
        Named::Any => write!(f, " {letter}*"),
    }
}

/// A notification that no Greenroom has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign;

impl FromStr for Message {
    type Err = Foreign;

    fn from_str(payload: &str) -> Result<Self, Foreign> {
        let mut words = payload.split(' ');
        let sender = words.next().and_then(|word| Uuid::try_parse(word).ok()).ok_or(Foreign)?;
        let number = words.next().and_then(|word| word.parse().ok()).ok_or(Foreign)?;
        let mut message = Self { sender, number, hello: false, hints: Hints::default() };
        for word in words {
            match (word, word.split_at_checked(1)) {
                ("hello", _) => message.hello = true,
                ("work", _) => message.hints.work = true,
                ("c*", _) => message.hints.cancels = Named::Any,
                ("n*", _) => message.hints.news = Named::Any,
                (_, Some(("c", id))) => {
                    Uuid::try_parse(id).into_iter().for_each(|id| message.hints.add(Hint::Cancel(NodeId::from(id))));
                }
                (_, Some(("n", id))) => {
                    Uuid::try_parse(id).into_iter().for_each(|id| message.hints.add(Hint::News(RunId::from(id))));
                }
                _ => {}
            }
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{Foreign, Message};
    use crate::store::hints::{Hint, Hints};

    fn message(number: u64, hello: bool, hints: Hints) -> Message {
        Message { sender: Uuid::from_u128(7), number, hello, hints }
    }

    proptest! {
        #[test]
        fn what_is_said_is_what_is_heard(
            number: u64, hello: bool, work: bool,
            cancels in prop::collection::vec(any::<u128>(), 0..120),
            news in prop::collection::vec(any::<u128>(), 0..120),
        ) {
            let mut hints = Hints { work, ..Hints::default() };
            cancels.iter().for_each(|&id| hints.add(Hint::Cancel(Uuid::from_u128(id).into())));
            news.iter().for_each(|&id| hints.add(Hint::News(Uuid::from_u128(id).into())));
            let said = message(number, hello, hints);
            let payload = said.to_string();
            prop_assert!(payload.len() < 8000, "{} bytes", payload.len());
            prop_assert!(payload.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ' || c == '*'));
            prop_assert_eq!(payload.parse(), Ok(said));
        }

        #[test]
        fn whatever_is_heard_harms_nobody(payload in ".*") {
            // Either of them is fine, as long as it is an answer.
            payload.parse::<Message>().map(drop).unwrap_or_default();
            format!("{} 1 {payload}", Uuid::nil()).parse::<Message>().unwrap();
        }
    }

    #[test]
    fn unknown_words_are_passed_over() {
        let plain = message(3, false, Hints { work: true, ..Hints::default() });
        let said = format!("{} 3 novelty cx n12 work é", plain.sender);
        assert_eq!(said.parse(), Ok(plain));
        assert_eq!("work".parse::<Message>(), Err(Foreign));
        assert_eq!("".parse::<Message>(), Err(Foreign));
    }
}
