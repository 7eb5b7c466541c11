//! Greenroom under fire: real worker processes on a real Postgres, faults by a seeded plan, and a checker that reads
//! every log afterwards and decides whether a guarantee was broken.
//!
//! `GREENROOM_TORTURE_SECONDS`, `GREENROOM_TORTURE_WORKERS`, `GREENROOM_TORTURE_CLIENTS` and `GREENROOM_TORTURE_SEED` make the storm longer, larger, and
//! the same again: the seed decides which faults come when, and what the clients ask for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]
#![allow(clippy::wildcard_enum_match_arm, reason = "what a test does not expect, it need not tell apart")]

mod book;
mod checker;
mod client;
mod clock;
mod crew;
mod fault;
mod history;
mod kind;
mod plan;
#[path = "../support/postgres.rs"]
mod postgres;
mod process;
mod proxy;
mod scenes;
mod speech;
mod storm;
mod tables;
mod wire;
mod worker;
