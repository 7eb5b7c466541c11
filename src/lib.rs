//! Greenroom.

#![forbid(unsafe_code)]

mod actors;
mod agent;
mod error;
mod run;
mod runtime;
mod store;
#[cfg(all(test, feature = "postgres"))]
#[allow(clippy::unwrap_used, clippy::expect_used, dead_code, reason = "shared with the integration tests")]
#[path = "../tests/support/postgres.rs"]
mod test_postgres;

pub use agent::*;
pub use error::Error;
pub use run::*;
pub use runtime::*;
pub use store::*;
