//! The names of things: runs, sessions, users.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a run: a UUID. Version 7 when Greenroom makes it, any version when the caller brings one.
///
/// A version 7 UUID shows when it was made ([RFC 9562 §5.7](https://www.rfc-editor.org/rfc/rfc9562#section-5.7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunId(Uuid);

impl RunId {
    /// Makes a new id.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "each call makes another id, which nobody expects of a default")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id as a UUID.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }

    #[cfg(feature = "postgres")]
    pub(crate) const fn as_uuid_ref(&self) -> &Uuid {
        &self.0
    }
}

impl From<Uuid> for RunId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl RunId {
    /// The id of the run that resumes this one: one for each, so that it is resumed once whoever asks.
    pub(crate) fn of_resumption(self) -> Self {
        Self(Uuid::new_v5(&self.0, b"resumed"))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no run id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("run id is not a UUID: {0}")]
pub struct InvalidRunId(String);

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self).map_err(|error| InvalidRunId(error.to_string()))
    }
}

/// A text that names something; the doors check its length and characters.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text_id! {
    /// The id of a session, a conversation of runs: any text of 1 to 255 bytes without control characters.
    SessionId
}

text_id! {
    /// The id of the user that a run belongs to: any text of 1 to 255 bytes without control characters.
    UserId
}

impl SessionId {
    /// Makes up a new session id, a UUID of version 7.
    #[must_use]
    pub fn random() -> Self {
        // Ordered by time: in an index, what comes together lies together.
        Self(Uuid::now_v7().to_string())
    }
}
