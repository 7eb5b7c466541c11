//! Greenroom as its users see it; one file for each kind of behaviour.

mod openai;
#[path = "../support/scripted_openai.rs"]
mod scripted_openai;
