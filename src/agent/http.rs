//! What the clients of models have in common: their settings, and one turn that is asked for over HTTP.
//!
//! A client says what is sent, and a [`Listener`] of its own understands what comes back. One subject per file below: what can
//! be set ([`settings`], [`setters`]), what is sent ([`call`]), how it is asked and asked again ([`turn`], [`retry`]), how bytes are read
//! ([`body`]), and how all of this fails ([`failure`]).
#![cfg_attr(
    not(feature = "openai"),
    allow(
        dead_code,
        unused_imports,
        reason = "only `OpenAI` has answers that go on in the background, and keeps conversations"
    )
)]

pub(super) use self::body::{LARGEST, too_large};
pub(super) use self::call::{Call, Rest};
pub(super) use self::failure::{ProviderError, Secrets, cut, invalid, protocol, unreadable};
pub(super) use self::retry::{may_pass, waits};
pub(super) use self::setters::client_settings;
pub(super) use self::settings::{Address, Key, Settings, sensitive};
pub(super) use self::turn::{Listener, Read, events};

mod body;
mod call;
mod failure;
mod retry;
mod setters;
mod settings;
mod turn;
