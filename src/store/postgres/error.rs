//! What an error of diesel means to the store.

use diesel::result::{DatabaseErrorKind, Error};

use crate::store::StoreError;

/// What `error` means. The server's own words are passed on, but not their details, which quote data.
pub(super) fn from_diesel(error: &Error) -> StoreError {
    match error {
        Error::DatabaseError(kind, information) => {
            let message = information.message().to_owned();
            match kind {
                DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::NotNullViolation
                | DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::ExclusionViolation
                | DatabaseErrorKind::RestrictViolation => StoreError::Data(message),
                _ => StoreError::Unavailable(message),
            }
        }
        Error::DeserializationError(inner) => StoreError::Corrupt(inner.to_string()),
        Error::SerializationError(inner) => StoreError::Data(inner.to_string()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// Whether the server itself answered with `error`, and the diesel kind does not say what about.
pub(super) const fn is_unclear(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(DatabaseErrorKind::Unknown, _))
}
