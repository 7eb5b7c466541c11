//! An error and all its sources in one line.

use std::error::Error;

/// The message of `error` and of all its sources, from the outside in. A source that the text before it ends with already
/// is not repeated: many errors quote theirs.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let message = inner.to_string();
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::error_chain;

    #[derive(Debug, thiserror::Error)]
    #[error("not read")]
    struct Plain(#[source] std::num::ParseIntError);

    #[derive(Debug, thiserror::Error)]
    #[error("not read: {0}")]
    struct Quoting(#[source] std::num::ParseIntError);

    #[test]
    fn each_source_is_said_once() {
        let cause = || "x".parse::<u8>().unwrap_err();
        let expected = format!("not read: {}", cause());
        assert_eq!(error_chain(&Plain(cause())), expected);
        assert_eq!(error_chain(&Quoting(cause())), expected);
    }
}
