//! A model that takes another one's place.

use futures_util::StreamExt;
use greenroom::model::{Model, ModelError, ModelErrorKind, ModelEvent};
use greenroom::{
    Agent, FallbackModel, NewRun, OpenAIChat, OpenAIResponses, RunEventKind, RunStatus, ScriptedModel, ScriptedTurn,
    Store,
};

use super::responses::{next, thoughtful};
use super::{Client, error_of, hear, question, replying, soon, sum, turn_of};
use crate::scripted_openai::{Reply, ScriptedOpenAi};
use crate::support::{log, settled, start};

fn failing(kind: ModelErrorKind, said: &str) -> ScriptedModel {
    ScriptedModel::new([ScriptedTurn::text(said).then_fail(ModelError::new(kind, format!("{kind:?}")))])
}

fn saying(text: &str) -> ScriptedModel {
    ScriptedModel::new([ScriptedTurn::text(text)])
}

#[tokio::test]
async fn the_next_model_is_asked_the_same_when_a_turn_failed_before_it_said_anything() {
    let (first, second, third) =
        (failing(ModelErrorKind::Auth, ""), failing(ModelErrorKind::Server, ""), saying("Three."));
    let model = FallbackModel::new(first.clone()).or(second.clone()).or(third.clone());

    assert_eq!(turn_of(&model, question()).await.text, "Three.");

    assert_eq!([first.requests(), second.requests(), third.requests()], [[question()], [question()], [question()]]);
    assert_eq!([first.open_turns(), second.open_turns(), third.open_turns()], [0, 0, 0]);
}

#[tokio::test]
async fn a_turn_that_has_said_something_fails_for_good() {
    let second = saying("Four.");
    let model = FallbackModel::new(failing(ModelErrorKind::Cut, "Three ")).or(second.clone());

    let (said, end) = hear(&model, question()).await;

    assert_eq!((said.concat().as_str(), end.unwrap_err().kind()), ("Three ", ModelErrorKind::Cut));
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn the_last_models_error_is_that_of_the_turn() {
    let model = FallbackModel::new(failing(ModelErrorKind::Server, "")).or(failing(ModelErrorKind::Auth, ""));

    assert_eq!(error_of(&model, question()).await.0, ModelErrorKind::Auth);
    let cut = FallbackModel::new(ScriptedModel::new([ScriptedTurn::text("").then_cut()])).or(saying("Three."));
    assert_eq!(turn_of(&cut, question()).await.text, "Three.");
}

#[tokio::test]
async fn dropping_a_turn_drops_that_of_the_model_that_is_asked() {
    let stalled = ScriptedModel::new([ScriptedTurn::text("Three").then_stall()]);
    let model = FallbackModel::new(failing(ModelErrorKind::Server, "")).or(stalled.clone());
    let mut turn = model.respond(question());
    assert!(matches!(soon(turn.next()).await, Some(Ok(ModelEvent::Instead { .. }))));
    assert!(matches!(soon(turn.next()).await, Some(Ok(ModelEvent::Text(_)))));
    assert_eq!(stalled.open_turns(), 1);

    drop(turn);

    assert_eq!(stalled.open_turns(), 0);
}

#[tokio::test]
async fn events_name_each_model_that_is_asked_and_the_one_that_answered() {
    let down = replying(Reply::status(503, "busy", "down")).await;
    let up = replying(Reply::text(["Three."])).await;
    let spare = OpenAIChat::at(&up).provided_by("elsewhere");
    let model = FallbackModel::new(OpenAIResponses::at(&down).max_retries(0)).or(spare);
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("adder").model(model)).await;
    let run = runtime.submit(NewRun::new("adder", "1 + 2")).await.unwrap();

    let names = |kind: &RunEventKind| match kind {
        RunEventKind::ModelRequestStarted { model_provider, .. } => Some(("started", model_provider.clone())),
        RunEventKind::ModelRequestCompleted { model_provider, .. } => Some(("completed", model_provider.clone())),
        _ => None,
    };
    let named: Vec<_> = log(&runtime, run.run_id()).await.iter().filter_map(|event| names(&event.kind)).collect();
    let expected = [("started", "OpenAI"), ("started", "elsewhere"), ("completed", "elsewhere")];
    assert_eq!(named, expected.map(|(what, who)| (what, who.to_owned())));
    assert_eq!(settled(&run).await.status, RunStatus::Completed);
}

#[tokio::test]
async fn what_a_model_wants_to_see_again_is_shown_to_no_other_of_the_same_sort() {
    let down =
        |n, _: &serde_json::Value| if n == 1 { Reply::status(400, "bad", "no") } else { thoughtful(Some("opaque")) };
    let (first, second) = (ScriptedOpenAi::start(down).await, replying(thoughtful(Some("sealed"))).await);
    let model = FallbackModel::new(OpenAIResponses::at(&first).chaining(true)).or(OpenAIResponses::at(&second));

    let of_first = turn_of(&model, sum()).await;
    let of_second = turn_of(&model, next(&of_first)).await;
    let mut both = next(&of_first);
    both.messages.extend(next(&of_second).messages.split_off(2));
    turn_of(&model, both).await;

    let asked = &second.requests()[0].body;
    assert!(
        asked.get("previous_response_id").is_none() && !asked["input"].to_string().contains("reasoning"),
        "{asked}"
    );
    let again = &first.requests()[2].body;
    let input = again["input"].as_array().unwrap();
    let reasoned: Vec<_> = input.iter().filter(|item| item["type"] == "reasoning").collect();
    assert!(again.get("previous_response_id").is_none() && reasoned.len() == 1, "{again}");
    assert_eq!(reasoned[0]["encrypted_content"], "opaque");
}
