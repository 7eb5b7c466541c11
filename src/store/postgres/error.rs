//! What an error of diesel means to the store.

use diesel::result::{DatabaseErrorKind, Error};

use crate::store::StoreError;

/// What `error` means. The server's own words are passed on, but not their details, which quote data.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "all that is neither about data nor about rows is about the connection"
)]
pub(super) fn from_diesel(error: &Error) -> StoreError {
    match error {
        Error::DatabaseError(kind, information) => {
            let message = information.message().to_owned();
            if is_violation(kind) { StoreError::Data(message) } else { StoreError::Unavailable(message) }
        }
        Error::DeserializationError(inner) => StoreError::Corrupt(inner.to_string()),
        Error::SerializationError(inner) => StoreError::Data(inner.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Whether the data breaks a constraint, which it always will.
const fn is_violation(kind: &DatabaseErrorKind) -> bool {
    matches!(
        kind,
        DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::ExclusionViolation
            | DatabaseErrorKind::RestrictViolation
    )
}

/// Whether the server itself answered with `error`, and the diesel kind does not say what about.
pub(super) const fn is_unclear(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(DatabaseErrorKind::Unknown, _))
}
