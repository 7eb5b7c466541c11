//! What a run is compared with: an actor that does nothing, and a stream that the HTTP client has open.

use std::time::Duration;

use actix::prelude::*;
use futures_util::StreamExt;

use crate::scripted_openai::{Reply, ScriptedOpenAi};
use crate::support::child::{until_not_needed, was_told_to_go};
use crate::support::runtime;

/// What is there before it counts, so that it does not pay for what all share.
const WARM_UP: usize = 200;

/// How many begin at the same time: what the allocator keeps of that counts as well.
pub(crate) const TOGETHER: usize = 64;

/// Plays `bare WHAT COUNT MODEL`: holds so many, and says so.
pub(crate) fn play(arguments: &[&str]) {
    let [what, count, model] = arguments else { unreachable!("three arguments") };
    let count = count.parse().unwrap();
    match *what {
        "actors" => System::new().block_on(actors(count)),
        "streams" => runtime::on_one_thread(streams(count, model)),
        what => unreachable!("nobody asks for {what}"),
    }
}

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;
}

async fn actors(count: usize) {
    let start = |count| (0..count).map(|_| Idle.start()).collect::<Vec<_>>();
    let warm_up = start(WARM_UP);
    let actors = started(count, async || start(count)).await;
    until_not_needed();
    drop((warm_up, actors));
}

async fn streams(count: usize, model: &str) {
    let client = reqwest::Client::new();
    let open = async |count| {
        let one = |_| async {
            let body = serde_json::json!({"model": "none", "input": "An essay.", "stream": true}).to_string();
            let asked = client.post(format!("{model}/responses")).header("content-type", "application/json").body(body);
            let mut stream = Box::pin(asked.send().await.unwrap().bytes_stream());
            stream.next().await.unwrap().unwrap();
            stream
        };
        futures_util::stream::iter(0..count).map(one).buffer_unordered(TOGETHER).collect::<Vec<_>>().await
    };
    let warm_up = open(WARM_UP).await;
    let streams = started(count, async || open(count).await).await;
    until_not_needed();
    drop((warm_up, streams));
}

async fn started<T>(count: usize, start: impl AsyncFnOnce() -> T) -> T {
    println!("ready");
    assert!(was_told_to_go().await, "nobody is left");
    let held = start().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    println!("{count}");
    held
}

/// Plays `silent-model`: says where it is, and falls silent in the middle of each answer.
pub(crate) fn fall_silent() {
    runtime::for_callers().block_on(async {
        let model = ScriptedOpenAi::start(|_, _| Reply::text(["Once", " upon"]).then_stall()).await;
        println!("{}", model.base_url());
        until_not_needed();
    });
}
