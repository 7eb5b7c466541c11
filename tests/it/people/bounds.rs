//! What requirements may be, and what 10,000 paused runs cost.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use greenroom::{
    Agent, AgentError, Decision, FailureKind, InputKind, NewRun, Question, RunContext, RunStatus, Runtime, Store,
};
use serde_json::Value;

use super::{id, paused};
use crate::support::{settled, start, text};

#[tokio::test]
async fn what_cannot_be_asked_fails_the_run_and_says_why() {
    let agent = Agent::builder("asks").code(|cx: RunContext| async move {
        match cx.input_as::<String>()?.as_str() {
            "name" => drop(cx.confirm("", 1).await?),
            "large" => drop(cx.confirm("a", "x".repeat(100_001)).await?),
            "twice" => {
                let form = Question::new("?").field("a", InputKind::Text).field("a", InputKind::Json);
                drop(cx.ask::<Value>("a", form).await?);
            }
            _ => return Err(AgentError::new("what?")),
        }
        Ok(())
    });
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).max_output(100_000).agent(agent);
    let runtime = builder.start().await.unwrap();
    for (what, words) in
        [("name", "the name of a step"), ("large", "must be at most"), ("twice", "the field `a` twice")]
    {
        let run = runtime.submit(NewRun::new("asks", what)).await.unwrap();
        let error = settled(&run).await.error.unwrap();
        assert_eq!(error.kind, FailureKind::InvalidStep, "{error}");
        assert!(error.message.contains(words), "{error}");
    }
}

#[tokio::test]
async fn no_more_is_asked_at_the_same_time_than_people_can_see() {
    let agent = Agent::builder("asks").code(|cx: RunContext| async move {
        let mut asked: FuturesUnordered<_> = (0..101).map(|place| cx.confirm("a", place)).collect();
        let first = asked.next().await.expect("one fails at once");
        Ok(first.unwrap_err().to_string())
    });
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    let run = runtime.submit(NewRun::new("asks", 1)).await.unwrap();
    let said = settled(&run).await;
    assert!(text(&said).contains("at most 100 requirements"), "{said:?}");
}

#[tokio::test]
async fn a_requirement_that_is_given_up_is_asked_of_nobody() {
    let agent = Agent::builder("hurried").code(|cx: RunContext| async move {
        {
            let first = cx.confirm("first", ());
            tokio::pin!(first);
            assert!(futures_util::poll!(&mut first).is_pending());
        }
        Ok(cx.confirm("second", ()).await?.confirmed)
    });
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    let run = runtime.submit(NewRun::new("hurried", 1)).await.unwrap();
    let output = paused(&run).await;
    let names: Vec<&str> = output.requirements.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["second"]);
    run.continue_run([Decision::confirm(id(&output))]).await.unwrap();
    assert_eq!(settled(&run).await.status, RunStatus::Completed);
}

/// The resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "a measurement is there to be read")]
async fn ten_thousand_paused_runs() {
    const RUNS: usize = 10_000;
    let Some(server) = crate::postgres::Server::start().await else { return };
    let agent = || {
        Agent::builder("asks").code(|cx: RunContext| async move {
            Ok(if cx.confirm("go", 1).await?.confirmed { "went" } else { "stayed" })
        })
    };
    let begin = async || Runtime::builder().store(Store::postgres(server.url())).agent(agent()).start().await.unwrap();
    let count = async |runtime: &Runtime, status| runtime.counts().await.unwrap().of(status);
    let runtime = begin().await;
    let all_are = async |runtime: &Runtime, status, runs| {
        while count(runtime, status).await < runs {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // The first ones warm everything up.
    let submit = async |runtime: &Runtime, runs: usize| {
        let mut run_ids = Vec::new();
        for _ in 0..runs / 500 {
            let some = join_all((0..500).map(|_| runtime.submit(NewRun::new("asks", 1)))).await;
            run_ids.extend(some.into_iter().map(|run| run.unwrap().run_id()));
            all_are(runtime, RunStatus::Paused, run_ids.len()).await;
        }
        run_ids
    };
    let warm = submit(&runtime, 1000).await;
    for run_id in warm {
        runtime.cancel(run_id).await.unwrap();
    }
    let before = resident();
    let run_ids = submit(&runtime, RUNS).await;
    let after = resident();
    println!("resident: {before} KiB with none, {after} KiB with {RUNS} paused runs");

    let other = begin().await;
    let begun = std::time::Instant::now();
    for some in run_ids.chunks(500) {
        let decide = async |run_id| {
            let needed = id(&other.get(run_id).await.unwrap().unwrap().output);
            other.continue_run(run_id, [Decision::confirm(needed)]).await.unwrap();
        };
        join_all(some.iter().map(|&run_id| decide(run_id))).await;
    }
    for &run_id in &run_ids {
        assert_eq!(text(&other.wait(run_id, Duration::from_secs(60)).await.unwrap()), "went");
    }
    println!("continued from another process and completed: {:.1} s", begun.elapsed().as_secs_f64());
}
