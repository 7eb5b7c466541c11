//! Greenroom.

#![forbid(unsafe_code)]

mod agent;
mod run;
mod store;

pub use agent::*;
pub use run::*;
pub use store::*;
