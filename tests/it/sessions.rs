//! Runs that belong together.

use futures_util::future::join_all;
use greenroom::model::Role;
use greenroom::{
    Agent, AgentError, Error, NewRun, RunContext, RunId, RunQuery, RunStatus, Runtime, ScriptedModel, ScriptedTurn,
    Store,
};
use serde_json::json;

use crate::support::{Gate, gated, on_each_store, settled, start, submit_all, text};

on_each_store!(
    a_model_is_told_the_latest_completed_runs_of_its_session,
    nobody_is_told_what_others_have_said,
    what_did_not_complete_is_no_history,
    an_output_is_read_by_run_and_session,
    runs_are_listed_by_what_they_are,
    runs_of_one_session_at_the_same_time_leave_each_other_alone,
);

/// What the model was told in its last request, by whom.
fn told(model: &ScriptedModel) -> Vec<(Role, String)> {
    let request = model.requests().pop().unwrap();
    request.messages.into_iter().map(|message| (message.role, message.content.to_string())).collect()
}

fn owned(expected: &[(Role, &str)]) -> Vec<(Role, String)> {
    expected.iter().map(|&(role, text)| (role, text.to_owned())).collect()
}

async fn a_model_is_told_the_latest_completed_runs_of_its_session(store: Store) {
    use Role::{Assistant, System, User};
    let model = ScriptedModel::new(["one", "two", "three", "four"].map(ScriptedTurn::text));
    let agent = Agent::builder("chat").model(model.clone()).description("A chat").instruction("Be brief").history(2);
    let runtime = start(store, agent).await;

    for question in [json!("1?"), json!({"question": 2}), json!("3?"), json!("4?")] {
        let run = runtime.submit(NewRun::new("chat", question).session_id("s")).await.unwrap();
        settled(&run).await;
    }

    let expected = [
        (System, "A chat\nBe brief"),
        (User, "{\"question\":2}"),
        (Assistant, "two"),
        (User, "3?"),
        (Assistant, "three"),
        (User, "4?"),
    ];
    assert_eq!(told(&model), owned(&expected));
    settled(&runtime.submit(NewRun::new("chat", "5?").session_id("t")).await.unwrap()).await;
    assert_eq!(told(&model), owned(&[(System, "A chat\nBe brief"), (User, "5?")]));
}

#[tokio::test]
async fn an_agent_that_asks_for_no_history_is_told_none() {
    let model = ScriptedModel::echo();
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("chat").model(model.clone())).await;
    for question in ["1?", "2?"] {
        settled(&runtime.submit(NewRun::new("chat", question).session_id("s")).await.unwrap()).await;
    }
    assert_eq!(told(&model), owned(&[(Role::User, "2?")]));
}

#[tokio::test]
async fn a_history_has_no_more_than_its_tokens() {
    let model = ScriptedModel::echo();
    // An exchange of this session is 10 bytes, which are 3 tokens.
    let agent = Agent::builder("chat").model(model.clone()).history(100).history_tokens(6);
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    for question in ["one..", "two..", "three", "four."] {
        settled(&runtime.submit(NewRun::new("chat", question).session_id("s")).await.unwrap()).await;
    }
    let said: Vec<String> = told(&model).into_iter().map(|(_, text)| text).collect();
    assert_eq!(said, ["two..", "two..", "three", "three", "four."]);
}

async fn nobody_is_told_what_others_have_said(store: Store) {
    let agent = Agent::builder("list").history(100).code(|cx: RunContext| async move {
        Ok(cx.history().iter().map(|earlier| earlier.input.to_string()).collect::<Vec<_>>().join(" "))
    });
    let runtime = start(store, agent).await;
    let ask = async |input: &str, user: Option<&str>| {
        let new = NewRun::new("list", input).session_id("s");
        let new = if let Some(user) = user { new.user_id(user) } else { new };
        let output = settled(&runtime.submit(new).await.unwrap()).await;
        text(&output).to_owned()
    };

    assert_eq!(ask("a1", Some("ada")).await, "");
    assert_eq!(ask("b1", Some("bob")).await, "");
    assert_eq!(ask("n1", None).await, "");
    assert_eq!(ask("a2", Some("ada")).await, "a1");
    assert_eq!(ask("b2", Some("bob")).await, "b1");
    assert_eq!(ask("n2", None).await, "n1");
    assert_eq!(ask("a3", Some("ada")).await, "a1 a2");
}

async fn what_did_not_complete_is_no_history(store: Store) {
    let gate = Gate::new();
    let agent = Agent::builder("list").history(100).code({
        let gate = gate.clone();
        move |cx: RunContext| {
            let gate = gate.clone();
            async move {
                match cx.input().as_text() {
                    Some("fail") => return Err(AgentError::new("failed")),
                    Some("stall") => gate.pass().await,
                    _ => {}
                }
                Ok(cx.history().iter().map(|earlier| earlier.input.to_string()).collect::<Vec<_>>().join(" "))
            }
        }
    });
    let runtime = start(store, agent).await;
    let submit = async |input: &str| runtime.submit(NewRun::new("list", input).session_id("s")).await.unwrap();
    settled(&submit("good").await).await;
    settled(&submit("fail").await).await;
    let cancelled = submit("stall").await;
    gate.arrivals(1).await;
    cancelled.cancel().await.unwrap();
    let unsettled = submit("stall").await;
    gate.arrivals(1).await;

    let output = settled(&submit("last").await).await;

    assert_eq!(text(&output), "good");
    assert_eq!(unsettled.output().await.unwrap().status, RunStatus::Running);
    gate.open(1);
    assert_eq!(text(&settled(&unsettled).await), "good", "what came after a run is not its history");
}

async fn an_output_is_read_by_run_and_session(store: Store) {
    let runtime = start(store, Agent::builder("echo").model(ScriptedModel::echo())).await;
    let run = runtime.submit(NewRun::new("echo", "hi").session_id("s")).await.unwrap();
    let other = runtime.submit(NewRun::new("echo", "hi")).await.unwrap();
    let output = settled(&run).await;

    let read = async |run_id, session_id: &str| runtime.get_run_output(run_id, session_id).await.unwrap();

    assert_eq!(read(run.run_id(), "s").await, Some(output));
    assert_eq!(read(run.run_id(), other.session_id().as_str()).await, None);
    assert_eq!(read(run.run_id(), "").await, None);
    assert_eq!(read(RunId::new(), "s").await, None);
    assert!(read(other.run_id(), other.session_id().as_str()).await.is_some());
}

async fn runs_are_listed_by_what_they_are(store: Store) {
    let failing = Agent::builder("failing").code(|_| async { Err::<(), _>(AgentError::new("failed")) });
    let echo = Agent::builder("echo").model(ScriptedModel::echo());
    let runtime = Runtime::builder().store(store).agent(echo).agent(failing).start().await.unwrap();
    let mut times = Vec::new();
    for (agent, session, user) in [
        ("echo", "s", "ada"),
        ("echo", "t", "bob"),
        ("failing", "s", "ada"),
        ("echo", "s", "bob"),
        ("echo", "s", "ada"),
    ] {
        let new = NewRun::new(agent, times.len()).session_id(session).user_id(user);
        times.push(settled(&runtime.submit(new).await.unwrap()).await.created_at);
    }
    let list = async |query: RunQuery| {
        let page = runtime.list(query).await.unwrap();
        assert!(page.next.is_none());
        page.runs.iter().map(|run| run.input.as_json().as_u64().unwrap()).collect::<Vec<_>>()
    };
    let query = RunQuery::new;

    assert_eq!(list(query()).await, [4, 3, 2, 1, 0]);
    assert_eq!(list(query().session_id("s")).await, [4, 3, 2, 0]);
    assert_eq!(list(query().user_id("ada")).await, [4, 2, 0]);
    assert_eq!(list(query().agent("failing")).await, [2]);
    assert_eq!(list(query().status(RunStatus::Error)).await, [2]);
    assert_eq!(list(query().status(RunStatus::Completed).session_id("s").user_id("ada")).await, [4, 0]);
    assert_eq!(list(query().created_from(times[1]).created_until(times[4])).await, [3, 2, 1]);
    assert_eq!(list(query().session_id("nobody's")).await, Vec::<u64>::new());
    assert_eq!(list(query().agent("nobody")).await, Vec::<u64>::new());

    let mut pages = Vec::new();
    let mut place = None;
    loop {
        let query = query().limit(2);
        let page = runtime.list(if let Some(place) = place { query.after(place) } else { query }).await.unwrap();
        pages.push(page.runs.iter().map(|run| run.input.as_json().as_u64().unwrap()).collect::<Vec<_>>());
        // As it comes back from a client.
        place = page.next.map(|next| next.to_string().parse().unwrap());
        if place.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec![4, 3], vec![2, 1], vec![0]]);
}

#[tokio::test]
async fn an_impossible_query_is_refused_by_its_field() {
    let runtime = start(Store::sqlite_in_memory(), gated(&Gate::new())).await;
    let query = RunQuery::new;
    for (field, query) in [
        ("limit", query().limit(0)),
        ("limit", query().limit(1001)),
        ("session_id", query().session_id("")),
        ("user_id", query().user_id("a\0b")),
        ("agent", query().agent("a".repeat(256))),
    ] {
        let refusal = runtime.list(query).await.unwrap_err();
        assert!(matches!(&refusal, Error::Invalid(wrong) if wrong.field() == field), "{field}: {refusal:?}");
    }
}

async fn runs_of_one_session_at_the_same_time_leave_each_other_alone(store: Store) {
    let (gate, leave) = (Gate::new(), Gate::new());
    let agent = Agent::builder("talking").code({
        let (gate, leave) = (gate.clone(), leave.clone());
        move |cx: RunContext| {
            let (gate, leave) = (gate.clone(), leave.clone());
            async move {
                let number: u64 = cx.input_as()?;
                for step in 0..10 {
                    cx.emit_text(format!("{number}.{step} ")).await;
                }
                gate.pass().await;
                match number % 3 {
                    0 => Ok(number),
                    1 => Err(AgentError::new(number.to_string())),
                    _ => {
                        leave.pass().await;
                        Ok(number)
                    }
                }
            }
        }
    });
    let runtime = start(store, agent).await;
    let runs = submit_all(&runtime, (0..60).map(|number| NewRun::new("talking", number).session_id("s"))).await;
    gate.arrivals(60).await;

    gate.open(60);
    leave.arrivals(20).await;
    join_all(runs.iter().skip(2).step_by(3).map(greenroom::RunHandle::cancel)).await;

    for (number, run) in runs.iter().enumerate() {
        let output = settled(run).await;
        let said: String = (0..10).map(|step| format!("{number}.{step} ")).collect();
        match number % 3 {
            0 => assert_eq!((output.status, output.content), (RunStatus::Completed, Some(number.into()))),
            1 => {
                assert_eq!((output.status, text(&output)), (RunStatus::Error, &*said));
                assert_eq!(output.error.unwrap().message, number.to_string());
            }
            _ => assert_eq!((output.status, text(&output)), (RunStatus::Cancelled, &*said)),
        }
    }
    let query = |status| runtime.list(RunQuery::new().session_id("s").status(status));
    for status in [RunStatus::Completed, RunStatus::Error, RunStatus::Cancelled] {
        assert_eq!(query(status).await.unwrap().runs.len(), 20, "{status}");
    }
}
