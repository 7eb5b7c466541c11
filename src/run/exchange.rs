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
