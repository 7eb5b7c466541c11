//! Who does what: the actors, and the messages between them.
//!
//! ```text
//!   Runtime ──SubmitRun, CancelRun, Drain──▶ RunManager ──StopRun──▶ RunActor, one for each run
//!                                             │      ▲                  │     │
//!                                             │      └────RunEnded──────┘     │ spawns
//!                                             │                         │     ▼
//!                                             └──WriteRun──▶ Persister ◀┘   user code, on threads of its own
//! ```
//!
//! Beside them, on a thread of its own, the keeper of the node's lease ([`lease`]) tells the manager when the lease is lost, and
//! what it has taken over from dead nodes. What other processes hint at comes to the manager as a message as well, and the
//! [`watch`] looks at the runs that are followed here and live elsewhere. Where there are webhooks, a courier tells their
//! receivers what is in the store's outbox.
//!
//! Addresses point down, facts go up. The manager knows which runs are live here and never waits; the persister writes
//! batches and answers after the commit; a run actor is one `async fn`, [`live`](run_actor::life::Life::live), and a mailbox
//! through which it is stopped. The first two share a thread, on which nobody else has much to do: an actor that is flooded with
//! messages starves whatever shares its thread, and what floods them is bounded, by the calls that the runtime admits and by
//! the runs that are live. All decisions are plain functions elsewhere; the actors carry messages.

mod arbiters;
mod children;
#[cfg(feature = "webhooks")]
pub(crate) mod courier;
pub(crate) mod crew;
mod housekeeper;
pub(crate) mod hub;
pub(crate) mod insert;
pub(crate) mod lease;
pub(crate) mod manager;
#[cfg(feature = "metrics")]
mod meter;
pub(crate) mod persister;
pub(crate) mod run_actor;
mod session_state;
#[cfg(test)]
mod testing;
mod watch;
