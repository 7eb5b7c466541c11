//! How scripts are played.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::{ScriptedModel, ScriptedTurn};
use crate::agent::{Message, Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, Role};
use crate::run::Usage;

fn ask(text: &str) -> ModelRequest {
    ModelRequest { messages: vec![Message::new(Role::User, text)], ..ModelRequest::default() }
}

async fn play(model: &ScriptedModel, text: &str) -> (String, Option<Result<ModelEvent, ModelError>>) {
    let mut said = String::new();
    let mut answer = model.respond(ask(text));
    while let Some(event) = answer.next().await {
        match event {
            Ok(ModelEvent::Text(piece)) => said.push_str(&piece),
            end => return (said, Some(end)),
        }
    }
    (said, None)
}

fn done(text: &str, usage: Usage) -> Option<Result<ModelEvent, ModelError>> {
    Some(Ok(ModelEvent::Done(crate::agent::ModelTurn::new(text, usage))))
}

#[tokio::test]
async fn turns_are_played_in_order_and_the_last_one_for_ever() {
    let usage = Usage { input_tokens: 1, output_tokens: 2, total_tokens: 3, ..Usage::default() };
    let failure = ModelError::new(ModelErrorKind::Server, "down");
    let model = ScriptedModel::new([
        ScriptedTurn::text("one two").usage(usage),
        ScriptedTurn::text("three ").then_fail(failure.clone()),
        ScriptedTurn::text("four").then_cut(),
    ]);
    let other = model.clone();

    assert_eq!(play(&model, "a").await, ("one two".to_owned(), done("one two", usage)));
    assert_eq!(play(&other, "b").await, ("three ".to_owned(), Some(Err(failure))));
    assert_eq!(play(&model, "c").await, ("four".to_owned(), None));
    assert_eq!(play(&model, "d").await, ("four".to_owned(), None));

    assert_eq!(other.requests(), ["a", "b", "c", "d"].map(ask));
    assert_eq!(model.open_turns(), 0);
}

#[tokio::test]
async fn without_turns_or_messages_nothing_is_said_and_nothing_panics() {
    let model = ScriptedModel::new([]);
    assert_eq!(play(&model, "a").await, (String::new(), done("", Usage::default())));
    let mut answer = ScriptedModel::echo().respond(ModelRequest::default());
    assert!(matches!(answer.next().await, Some(Ok(ModelEvent::Done(turn))) if turn.text.is_empty()));
    assert!(answer.next().await.is_none());
    assert_eq!(play(&ScriptedModel::echo(), "hello you").await.0, "hello you");
}

#[tokio::test(start_paused = true)]
async fn the_delay_is_before_each_piece_by_tokios_clock() {
    let model = ScriptedModel::new([ScriptedTurn::text("a b c").delay(Duration::from_secs(60))]);
    let start = Instant::now();
    play(&model, "go").await;
    assert_eq!(start.elapsed(), Duration::from_secs(180));
}

#[tokio::test]
async fn a_stalled_turn_is_open_until_it_is_dropped() {
    let model = ScriptedModel::new([ScriptedTurn::text("a").then_stall()]);
    let mut answer = model.respond(ask("go"));
    assert_eq!(answer.next().await, Some(Ok(ModelEvent::Text("a".to_owned()))));
    assert!(answer.next().now_or_never().is_none());
    assert_eq!(model.open_turns(), 1);
    drop(answer);
    assert_eq!(model.open_turns(), 0);
    assert!(!format!("{model:?}").contains("go"));
}
