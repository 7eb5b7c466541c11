//! One process that looks at runs, takes up those of others, and goes on with an old conversation.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use greenroom::{Agent, AgentBuilder, NewRun, RunContext, RunId, RunQuery, Runtime, Store};
use serde_json::json;

use super::fill::LONG_SESSION;
use crate::support::child::until_not_needed;
use crate::support::report::median;
use crate::support::runtime;

/// Longer than anything takes that is not broken.
const LONG: Duration = Duration::from_secs(60);

/// How many earlier runs of its session a run gets to see.
const HISTORY: usize = 20;

/// Plays `reads URL CALLS`, and prints one line of JSON: the median of each call, in milliseconds.
pub(crate) fn play(arguments: &[&str]) {
    let [url, calls] = arguments else { unreachable!("two arguments") };
    let calls: usize = calls.parse().unwrap();
    runtime::for_callers().block_on(async {
        let runtime = Runtime::builder().store(Store::postgres(*url)).agent(chatty()).start().await.unwrap();
        let ids = some_ids(&runtime, calls).await;
        let mut turn = ids.iter().cycle();
        let poll = time(calls, async || drop(runtime.get(*turn.next().unwrap()).await.unwrap().unwrap())).await;
        let newest = time(calls, async || drop(runtime.list(RunQuery::new().limit(50)).await.unwrap())).await;
        let session = || RunQuery::new().session_id(LONG_SESSION).limit(50);
        let listed = time(calls, async || drop(runtime.list(session()).await.unwrap())).await;
        let old = time(calls, async || lone(&runtime, Some(LONG_SESSION)).await).await;
        let new = time(calls, async || lone(&runtime, None).await).await;
        claim(url, &runtime, calls).await;
        println!(
            "{}",
            json!({"poll": poll, "newest": newest, "session": listed, "old_session": old, "new_session": new})
        );
        until_not_needed();
    });
}

fn chatty() -> AgentBuilder {
    Agent::builder("chatty").code(|cx: RunContext| async move { Ok(cx.history().len()) }).history(HISTORY)
}

/// Runs that are there, and that settled long ago if there are such.
async fn some_ids(runtime: &Runtime, wanted: usize) -> Vec<RunId> {
    let run = runtime.submit(NewRun::new("chatty", "go").session_id(LONG_SESSION)).await.unwrap();
    run.wait(LONG).await.unwrap();
    let page = runtime.list(RunQuery::new().session_id(LONG_SESSION).limit(wanted.min(100))).await.unwrap();
    page.runs.iter().map(|run| run.output.run_id).collect()
}

/// The median time of a call, in milliseconds.
async fn time(calls: usize, mut call: impl AsyncFnMut()) -> f64 {
    let mut times = Vec::new();
    for _ in 0..calls {
        let begun = Instant::now();
        call().await;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    median(&times)
}

async fn lone(runtime: &Runtime, session: Option<&str>) {
    let run = NewRun::new("chatty", "go");
    let run = if let Some(session) = session { run.session_id(session) } else { run };
    let run = runtime.submit(run).await.unwrap();
    assert!(run.wait(LONG).await.unwrap().status.is_terminal());
}

/// Has runs taken up that another runtime has accepted without room for them.
async fn claim(url: &str, runtime: &Runtime, runs: usize) {
    let full = Runtime::builder().store(Store::postgres(url)).max_running(1).agent(chatty());
    let stuck = Agent::builder("stuck").code(|_: RunContext| std::future::pending::<Result<(), _>>());
    let full = full.agent(stuck).start().await.unwrap();
    full.submit(NewRun::new("stuck", "wait")).await.unwrap();
    let submits = futures_util::stream::iter(0..runs).map(|_| full.submit(NewRun::new("chatty", "go")));
    let accepted: Vec<_> = submits.buffer_unordered(64).map(Result::unwrap).collect().await;
    for run in accepted {
        assert!(runtime.wait(run.run_id(), LONG).await.unwrap().status.is_terminal());
    }
}
