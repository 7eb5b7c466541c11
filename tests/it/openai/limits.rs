//! How long a provider is waited for.

use std::time::Duration;

use greenroom::OpenAIResponses;
use greenroom::model::ModelErrorKind;

use super::{error_of, hear_with, soon};
use crate::scripted_openai::Reply;

#[tokio::test]
async fn a_provider_that_does_not_begin_is_asked_again_and_then_given_up() {
    let set_up = |model: OpenAIResponses| model.first_byte_timeout(Duration::from_secs(2)).max_retries(1);
    let (heard, server) = hear_with(|_, _| Reply::stall(), set_up).await;

    let (kind, message) = error_of(heard);
    assert_eq!(kind, ModelErrorKind::Timeout);
    assert_eq!(message, "the provider did not answer within 2s");
    assert_eq!(server.request_count(), 2);
    soon(server.closed(0)).await;
    soon(server.closed(1)).await;
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_given_up() {
    for streaming in [true, false] {
        let set_up = |model: OpenAIResponses| model.idle_timeout(Duration::from_secs(1)).streaming(streaming);
        let (heard, server) = hear_with(|_, _| Reply::text(["Par"]).then_stall(), set_up).await;

        assert_eq!(error_of(heard).0, ModelErrorKind::Timeout);
        assert_eq!(server.request_count(), 1);
        soon(server.closed(0)).await;
    }
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_given_up_in_any_phase() {
    let trickle = || Reply::text(vec!["x"; 10_000]).delay(Duration::from_millis(5));
    let busy = || Reply::status(503, "busy", "later").header("retry-after", "30");
    for reply in [trickle(), busy(), Reply::stall()] {
        let set_up = |model: OpenAIResponses| model.timeout(Duration::from_secs(2));
        let (heard, server) = hear_with(move |_, _| reply.clone(), set_up).await;

        assert_eq!(error_of(heard).0, ModelErrorKind::Timeout);
        assert_eq!(server.request_count(), 1);
    }
}

#[tokio::test]
async fn limits_beyond_all_time_are_none() {
    let for_ever = |model: OpenAIResponses| {
        let most = Duration::MAX;
        model.timeout(most).first_byte_timeout(most).idle_timeout(most).connect_timeout(most)
    };
    let (heard, _server) = hear_with(|_, _| Reply::text(["Paris."]), for_ever).await;

    assert!(heard.1.is_ok());
}
