//! Greenroom.

#![forbid(unsafe_code)]

mod actors;
mod agent;
mod error;
mod run;
mod runtime;
mod store;

pub use agent::*;
pub use error::Error;
pub use run::*;
pub use runtime::*;
pub use store::*;
