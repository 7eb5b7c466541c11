//! What Greenroom promises, each promise by a test that can fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]
#![allow(clippy::wildcard_enum_match_arm, reason = "what a test does not expect, it need not tell apart")]

mod cancel;
mod children;
mod crash;
mod elsewhere;
mod embedding;
mod events;
mod guarantees;
mod harness;
mod layering;
mod limits;
mod mcp;
mod models;
mod openai;
mod otel;
mod outage;
mod outcome;
mod people;
mod pooler;
#[path = "../support/postgres.rs"]
mod postgres;
mod rescue;
mod resumptions;
mod retries;
#[path = "../support/scripted_openai.rs"]
mod scripted_openai;
mod secrets;
mod session_state;
mod sessions;
mod steps;
mod submit;
mod support;
mod tools;
mod turns;
mod web;
mod webhooks;
