//! What Greenroom promises, each promise by a test that can fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]

mod harness;
mod layering;
mod openai;
#[path = "../support/postgres.rs"]
mod postgres;
mod rescue;
#[path = "../support/scripted_openai.rs"]
mod scripted_openai;
