//! One process that keeps submitting, whatever happens.

use std::time::Duration;

use greenroom::{Agent, NewRun, RunContext, RunStatus, Runtime, Store};

use crate::support::child::{until_not_needed, was_told_to_go};
use crate::support::runtime;

/// How many callers there are.
const CALLERS: usize = 64;

/// Longer than anything takes that is not broken.
const LONG: Duration = Duration::from_secs(60);

/// Plays `goes-on URL`: a load from the first order on, and at the second one a run of its own that is waited for.
pub(crate) fn play(arguments: &[&str]) {
    let [url] = arguments else { unreachable!("one argument") };
    runtime::for_callers().block_on(async {
        let agent = Agent::builder("instant").code(|_: RunContext| async { Ok("done") });
        let runtime = Runtime::builder().store(Store::postgres(*url)).agent(agent).start().await.unwrap();
        println!("ready");
        assert!(was_told_to_go().await, "nobody is left");
        for _ in 0..CALLERS {
            tokio::spawn(go_on(runtime.clone()));
        }
        assert!(was_told_to_go().await, "nobody is left");
        while !settles(&runtime).await {}
        println!("settled");
        until_not_needed();
    });
}

async fn go_on(runtime: Runtime) {
    loop {
        if !settles(&runtime).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Whether a run was accepted, and then completed.
async fn settles(runtime: &Runtime) -> bool {
    let Ok(run) = runtime.submit(NewRun::new("instant", "go")).await else { return false };
    run.wait(LONG).await.is_ok_and(|output| output.status == RunStatus::Completed)
}
