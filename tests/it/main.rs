//! What Greenroom promises, each promise by a test that can fail.

mod harness;
mod layering;
#[path = "../support/postgres.rs"]
mod postgres;
