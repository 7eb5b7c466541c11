//! What Greenroom promises, each promise by a test that can fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]

mod crash;
mod harness;
mod layering;
mod measure;
mod openai;
mod outage;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/scripted_openai.rs"]
mod scripted_openai;
