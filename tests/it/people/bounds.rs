//! What requirements may be.

use futures_util::StreamExt;
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
