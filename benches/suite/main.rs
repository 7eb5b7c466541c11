//! What Greenroom costs and how fast it is, each figure beside something that was measured in the same run.
//!
//! ```text
//! cargo bench --all-features                          all groups
//! cargo bench --all-features -- lifecycle submit      some of them
//! cargo test --all-features --bench suite             each for a moment, to see that it still works
//! ```
//!
//! Each group has a Postgres of its own with the durability that it has by default. What is measured runs in processes of
//! their own, which are this program again; all of them and Postgres share the machine. `BENCHMARKS.md` says what the figures
//! do not say.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints what it has measured")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on has nothing to tell")]

use std::env;

use self::support::report::{self, Figure};
use self::support::size::Size;
use self::support::{child, runtime};

mod cancel;
mod events;
mod growth;
mod http;
mod lifecycle;
mod memory;
mod plans;
#[path = "../../tests/support/postgres.rs"]
mod postgres;
#[path = "../../tests/support/scripted_openai.rs"]
mod scripted_openai;
mod submit;
mod support;
mod trouble;

/// Each group, in the order in which they are run.
const GROUPS: [&str; 9] = ["lifecycle", "submit", "cancel", "memory", "growth", "events", "trouble", "http", "plans"];

fn main() {
    child::allow_many_files();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["role", role, rest @ ..] = &arguments[..] {
        return play(role, rest);
    }
    if arguments.contains(&"--list") {
        // Asked by runners of tests, of which there are none here.
        return;
    }
    let wanted: Vec<&str> = arguments.into_iter().filter(|argument| !argument.starts_with("--")).collect();
    let size = Size::asked_for();
    for group in GROUPS {
        if wanted.is_empty() || wanted.contains(&group) {
            match runtime::on_one_thread(measure(group, size)) {
                Some(figures) => report::print(group, &figures),
                None => eprintln!("SKIPPED {group}: it has no Postgres of its own to start"),
            }
        }
    }
}

async fn measure(group: &str, size: Size) -> Option<Vec<Figure>> {
    match group {
        "lifecycle" => lifecycle::measure(size).await,
        "submit" => submit::measure(size).await,
        "cancel" => cancel::measure(size).await,
        "memory" => memory::measure(size).await,
        "growth" => growth::measure(size).await,
        "events" => events::measure(size).await,
        "trouble" => trouble::measure(size).await,
        "plans" => plans::measure(size).await,
        "http" => http::measure(size).await,
        _ => unreachable!("a group without a measurement"),
    }
}

/// What this process is when another one of the suite has started it.
fn play(role: &str, arguments: &[&str]) {
    match (role, arguments) {
        ("lifecycles", arguments) => lifecycle::worker::play(arguments),
        ("submits", arguments) => submit::worker::play(arguments),
        ("cancels", arguments) => cancel::worker::play(arguments),
        ("owner", arguments) => cancel::worker::own(arguments),
        ("holds", arguments) => memory::worker::play(arguments),
        ("bare", arguments) => memory::bare::play(arguments),
        ("silent-model", []) => memory::bare::fall_silent(),
        ("reads", arguments) => growth::worker::play(arguments),
        ("speaks", arguments) => events::worker::speak(arguments),
        ("tells", arguments) => events::worker::tell(arguments),
        ("teller", arguments) => events::worker::be_teller(arguments),
        ("goes-on", arguments) => trouble::worker::play(arguments),
        ("serve", arguments) => http::serve::serve(arguments),
        ("accept", arguments) => http::serve::accept(arguments),
        (role, _) => unreachable!("nobody asks for {role}"),
    }
}
