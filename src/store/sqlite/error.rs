//! What an error of SQLite means to a caller.

use std::fmt::Display;

use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error};

use crate::store::StoreError;

/// Diesel hands on SQLite's words, not its error codes, for all but constraints.
const WORDS_OF_DATA: [&str; 2] = ["string or blob too big", "datatype mismatch"];
const WORDS_OF_CORRUPTION: [&str; 2] = ["database disk image is malformed", "file is not a database"];

impl From<Error> for StoreError {
    #[allow(clippy::wildcard_enum_match_arm, reason = "diesel may add variants")]
    fn from(error: Error) -> Self {
        match error {
            Error::DatabaseError(kind, info) => of_database(&kind, info.message()),
            Error::SerializationError(_) | Error::InvalidCString(_) | Error::QueryBuilderError(_) => {
                Self::Data(error.to_string())
            }
            Error::DeserializationError(_) | Error::NotFound => Self::Corrupt(error.to_string()),
            // What is left, and what diesel may add, is about connections and transactions.
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "diesel may add variants")]
fn of_database(kind: &DatabaseErrorKind, message: &str) -> StoreError {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match kind {
        DatabaseErrorKind::UniqueViolation
        | DatabaseErrorKind::ForeignKeyViolation
        | DatabaseErrorKind::NotNullViolation
        | DatabaseErrorKind::CheckViolation => StoreError::Data(message.to_owned()),
        _ if says(&WORDS_OF_DATA) => StoreError::Data(message.to_owned()),
        _ if says(&WORDS_OF_CORRUPTION) => StoreError::Corrupt(message.to_owned()),
        // Busy, locked, full, I/O: a claim that the data is at fault would settle runs that are all right.
        _ => StoreError::Unavailable(message.to_owned()),
    }
}

impl From<ConnectionError> for StoreError {
    fn from(error: ConnectionError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// A number or a text that does not fit the column that it is for.
pub(super) fn misfit(what: &'static str) -> impl Fn(std::num::TryFromIntError) -> StoreError {
    move |_| StoreError::Data(format!("`{what}` is out of range"))
}

/// A column that holds what this version cannot read. The value stays out of the message: it may be what a run was asked.
pub(super) fn unreadable<E: Display>(column: &'static str) -> impl Fn(E) -> StoreError {
    move |error| StoreError::Corrupt(format!("column `{column}`: {error}"))
}
