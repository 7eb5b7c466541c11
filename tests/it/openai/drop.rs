//! A turn that is dropped is given up at once.

use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use greenroom::model::{Model, ModelEvent};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::{model_at, question, soon};
use crate::scripted_openai::{Reply, ScriptedOpenAi};

#[tokio::test]
async fn dropping_a_turn_that_awaits_its_answer_closes_the_connection() {
    let server = ScriptedOpenAi::start(|_, _| Reply::stall()).await;
    let mut turn = model_at(&server.base_url()).respond(question());
    let waiting = async {
        tokio::select! { _ = turn.next() => panic!("no answer was sent"), () = server.wait_for_requests(1) => {} }
    };
    soon(waiting).await;

    let dropped = Instant::now();
    drop(turn);

    assert!(soon(server.closed(0)).await - dropped < Duration::from_secs(1));
}

#[tokio::test]
async fn dropping_a_turn_whose_answer_stalls_closes_the_connection() {
    let server = ScriptedOpenAi::start(|_, _| Reply::text(["Par"]).then_stall()).await;
    let mut turn = model_at(&server.base_url()).respond(question());
    assert_eq!(soon(turn.next()).await, Some(Ok(ModelEvent::Text("Par".to_owned()))));
    assert!(turn.next().now_or_never().is_none());

    let dropped = Instant::now();
    drop(turn);

    assert!(soon(server.closed(0)).await - dropped < Duration::from_secs(1));
}

#[tokio::test]
async fn dropping_a_turn_that_waits_to_ask_again_ends_it() {
    let script = |_: usize, _: &Value| Reply::status(503, "busy", "later").header("retry-after-ms", "150");
    let server = ScriptedOpenAi::start(script).await;
    let mut turn = model_at(&server.base_url()).respond(question());
    let waiting = async {
        tokio::select! { _ = turn.next() => panic!("no answer was sent"), () = server.wait_for_requests(2) => {} }
    };
    // The second request shows that there would be a third; by then its refusal is on the way, and soon waited upon.
    soon(waiting).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), turn.next()).await.is_err());

    drop(turn);

    let third = tokio::time::timeout(Duration::from_millis(450), server.wait_for_requests(3)).await;
    assert!(third.is_err(), "nobody is left to ask again");
}

#[tokio::test]
async fn dropping_a_turn_that_is_connecting_closes_the_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://{}/v1", listener.local_addr().unwrap());
    let mut turn = model_at(&base_url).respond(question());
    let mut hello = [0; 1];
    // The client has sent the first byte of its TLS greeting, and gets no answer.
    let connecting = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut hello).await.unwrap();
        stream
    };
    let mut stream =
        tokio::select! { _ = turn.next() => panic!("nobody answered"), stream = soon(connecting) => stream };

    drop(turn);

    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.ok();
}
