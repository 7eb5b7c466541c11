//! What can go wrong between Greenroom and its database.

/// An error of the store. Messages hold neither passwords nor what a run was asked or answered.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database could not be reached, or did not answer in time. Asking again later is right.
    #[error("database is unavailable: {0}")]
    Unavailable(String),
    /// The database refuses this very data, and always will.
    #[error("database refuses the data: {0}")]
    Data(String),
    /// Another process, or another runtime of this one, has the SQLite file open.
    #[error("sqlite file `{0}` is in use by another greenroom runtime; share a database between processes by Postgres")]
    InUse(String),
    /// An option of the store is wrong.
    #[error("store option `{option}` {problem}")]
    Option {
        /// The name of the option.
        option: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The tables could not be brought up to date.
    #[error("database migration failed: {0}")]
    Migration(String),
    /// A row holds what this version cannot read.
    #[error("stored run cannot be read: {0}")]
    Corrupt(String),
    /// The store was closed.
    #[error("store is closed")]
    Closed,
}

impl StoreError {
    /// JSON in a column that cannot be read. Of serde's messages only the place is told: the rest may quote the text.
    pub(super) fn misread(column: &str, error: &serde_json::Error) -> Self {
        Self::Corrupt(format!("column `{column}`: line {} column {}", error.line(), error.column()))
    }

    /// Whether asking again later may succeed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
