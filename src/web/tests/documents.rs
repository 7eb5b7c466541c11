//! The document tells of the routes that there are.

use std::collections::BTreeSet;

use super::*;

async fn document(door: &Door, mounted_at: &str) -> Value {
    let app = init_service(App::new().service(door.scope(mounted_at))).await;
    let request = TestRequest::get().uri(&format!("{mounted_at}/openapi.json"));
    read(call_service(&app, request.to_request()).await).await.body
}

#[tokio::test]
async fn the_document_has_the_routes_that_there_are_and_no_others() {
    let document = document(&Door::new(runtime().await), "/api").await;
    assert_eq!(document["openapi"], "3.1.0");

    // What answers GET answers HEAD as well, which goes without saying.
    let there = each(GUARDED).chain(each(OPEN)).filter(|(method, _)| *method != Method::HEAD);
    let there: BTreeSet<String> = there.map(|(method, path)| format!("{method} {path}")).collect();
    let mut told = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            told.insert(format!("{} {path}", method.to_uppercase()));
            let open = OPEN.iter().any(|endpoint| endpoint.path == path);
            assert_eq!(operation["security"] == json!([]), open, "{method} {path}");
        }
    }

    assert_eq!(told, there);
}

#[tokio::test]
async fn the_document_says_where_the_scope_is_mounted_and_whether_it_wants_a_token() {
    let door = Door::new(runtime().await);
    let guarded = door.clone().bearer_token("token 4711".to_owned());
    for (door, mounted_at, servers, security) in [
        (&door, "", Value::Null, Value::Null),
        (&door, "/api", json!([{"url": "/api"}]), Value::Null),
        (&guarded, "/deep/below", json!([{"url": "/deep/below"}]), json!([{"bearer_token": []}])),
    ] {
        let document = document(door, mounted_at).await;
        assert_eq!((&document["servers"], &document["security"]), (&servers, &security), "{mounted_at}");
        assert!(!document.to_string().contains("token 4711"));
    }
}
