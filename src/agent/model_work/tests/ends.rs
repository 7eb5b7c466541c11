//! How conversations end: by an answer, a limit, or a cancel.

use super::*;
use crate::run::{FailureKind, Usage};

fn costing(tokens: u64) -> Usage {
    Usage { input_tokens: tokens, output_tokens: 0, total_tokens: 0, ..Usage::default() }
}

#[tokio::test]
async fn each_limit_ends_the_run_in_its_own_words_before_another_call_is_made() {
    let forever = || ScriptedModel::new([ScriptedTurn::default().then_call("slow", number(0)).usage(costing(10))]);
    type Limit = fn(AgentBuilder) -> AgentBuilder;
    let cases: [(Limit, _, _, &str); 4] = [
        (|agent| agent.max_turns(3), FailureKind::TurnLimit, 2, "the model has no answer after 3 turns"),
        (|agent| agent.max_tool_calls(3), FailureKind::ToolCallLimit, 3, "the model wants 4 tool calls, of 3 at most"),
        (
            |agent| agent.max_tokens(25),
            FailureKind::TokenLimit,
            2,
            "the model has no answer after 30 tokens, of 25 at most",
        ),
        (|agent| agent, FailureKind::TurnLimit, 49, "the model has no answer after 50 turns"),
    ];
    for (limit, kind, called, message) in cases {
        let (scene, model) = (Scene::new(), forever());
        let error = scene.run(limit(agent(&model, slow()))).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, message));
        assert!(!error.is_retryable());
        let begun = scene.calls().iter().filter(|call| call.starts_with("started")).count();
        assert_eq!(begun, called, "{message}");
    }
}

#[tokio::test]
async fn an_answer_within_the_limits_is_taken_whatever_it_has_cost() {
    let model = ScriptedModel::new([
        ScriptedTurn::default().then_call("slow", number(0)).usage(costing(1)),
        ScriptedTurn::text("done").usage(costing(1000)),
    ]);
    let limited = agent(&model, slow()).max_turns(2).max_tool_calls(1).max_tokens(2);
    assert_eq!(Scene::new().run(limited).await.unwrap().as_text(), Some("done"));
}

#[tokio::test]
async fn an_answer_of_the_wrong_form_is_mended_once_when_the_agent_wants_that() {
    let model = ScriptedModel::new([ScriptedTurn::text("five"), ScriptedTurn::text(r#"{"number": 5}"#)]);
    let agent = || Agent::builder("a").model(model.clone()).output::<Number>();
    assert_eq!(Scene::new().run(agent()).await.unwrap_err().kind(), FailureKind::InvalidOutput);

    let model = ScriptedModel::new([ScriptedTurn::text("five"), ScriptedTurn::text(r#"{"number": 5}"#)]);
    let agent = Agent::builder("a").model(model.clone()).output::<Number>().repair_output(true);
    assert_eq!(Scene::new().run(agent).await.unwrap(), Content::from(json!({"number": 5})));
    let requests = model.requests();
    let form = requests[0].output.as_ref().unwrap();
    assert!(form.strict && form.name == "Number");
    let told = requests[1].messages.last().unwrap().content.to_string();
    assert!(told.contains("required form: expected ident at line 1 column 2."), "{told}");

    let model = ScriptedModel::new([ScriptedTurn::text("five")]);
    let agent = Agent::builder("a").model(model.clone()).output::<Number>().repair_output(true);
    assert_eq!(Scene::new().run(agent).await.unwrap_err().kind(), FailureKind::InvalidOutput);
    assert_eq!(model.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_drops_what_does_not_heed_it_and_waits_for_what_does() {
    let scene = Scene::new();
    let (ended, cancel) = (Arc::new(Mutex::new(Vec::new())), scene.cancel.clone());
    let noted = Arc::clone(&ended);
    let tool = Tool::new("work", "Works.", move |cx: ToolContext, args: Number| {
        let (ended, cancel) = (Arc::clone(&noted), cancel.clone());
        async move {
            match args.number {
                1 => cx.cancelled().await,
                2 => std::future::pending().await,
                _ => cancel.send(),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            ended.lock().unwrap().push(args.number);
            Ok(args.number)
        }
    });
    // The fourth one waits for room when the cancel comes.
    let model = wants("work", &[1, 2, 3, 4]);
    let returned = scene.run(agent(&model, tool).parallel_tool_calls(3)).await;
    assert!(returned.is_err());
    assert_eq!(*ended.lock().unwrap(), [1]);
    assert_eq!(model.requests().len(), 1, "the model is not asked again");
    assert_eq!(scene.calls()[3..], ["completed call_1_1"]);
    let remembered: Vec<u32> = scene.steps().iter().map(|step| step.position).collect();
    assert_eq!(remembered, [0, 1], "what was finished all the same");
}

#[tokio::test(start_paused = true)]
async fn no_tool_begins_before_its_turn_is_durable_and_no_turn_before_the_outputs_are() {
    let scene = Arc::new(Scene::new());
    scene.durable.forget_permits(1000);
    let model = wants("slow", &[1, 2]);
    let agent = agent(&model, slow());
    let run = tokio::spawn({
        let scene = Arc::clone(&scene);
        async move { scene.run(agent).await }
    });
    let mut seen = Vec::new();
    for _ in 0..4 {
        // By paused time, everything has come to a stop then.
        tokio::time::sleep(Duration::from_secs(60)).await;
        seen.push((scene.steps().len(), scene.calls().len(), model.requests().len()));
        scene.durable.add_permits(1);
    }
    // Steps that are durable, events of calls, requests. The scene takes one report after the other, so that the event of
    // the second call is not told before the first one is durable.
    assert_eq!(seen, [(0, 0, 1), (1, 2, 1), (2, 3, 1), (4, 4, 2)]);
    assert_eq!(run.await.unwrap().unwrap().as_text(), Some("done"));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_stalls_is_left_at_once_though_a_tool_has_heeded_a_cancel_before() {
    let tool = Tool::new("asks", "Asks.", |cx: ToolContext, _: Number| async move { Ok(cx.is_cancelled()) });
    let call = ScriptedTurn::default().then_call("asks", number(1));
    let model = ScriptedModel::new([call, ScriptedTurn::text("well").then_stall()]);
    let scene = Scene::new();
    let cancelled = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((model.requests().len(), model.open_turns()), (2, 1));
        scene.cancel.send();
    };
    let run = tokio::time::timeout(Duration::from_secs(60), scene.run(agent(&model, tool)));
    let (returned, ()) = tokio::join!(run, cancelled);
    assert!(returned.expect("the run has ended").is_err() && scene.cancel.is_heeded());
    assert_eq!(model.open_turns(), 0);
}

#[tokio::test]
async fn a_tool_that_heeds_a_cancel_and_returns_an_error_is_not_remembered() {
    let scene = Scene::new();
    let cancel = scene.cancel.clone();
    let tool = Tool::new("work", "Works.", move |cx: ToolContext, _: Number| {
        let cancel = cancel.clone();
        async move {
            assert!(!cx.is_cancelled());
            cancel.send();
            cx.cancelled().await;
            tokio::task::yield_now().await;
            Err::<(), _>(AgentError::new("given up"))
        }
    });
    let tool = tool.retries(3, RetryPolicy::new(Duration::ZERO));
    assert!(scene.run(agent(&wants("work", &[1]), tool)).await.is_err());
    assert_eq!((scene.steps().len(), scene.calls()), (1, vec!["started call_1_1".to_owned()]));
}
