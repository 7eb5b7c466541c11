//! A turn that is dropped is given up at once, also before there is a connection; the suite of all clients has the rest.

use futures_util::StreamExt;
use greenroom::model::Model;
use tokio::io::AsyncReadExt;

use super::{model_at, question, soon};

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
