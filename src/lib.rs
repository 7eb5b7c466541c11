//! Greenroom.

pub mod run;
pub use run::*;
