//! Nothing crosses owners.

use std::sync::Arc;

use super::*;

async fn submit(runtime: &Runtime, user_id: Option<&str>, run_id: RunId) -> Arc<Run> {
    let mut run = NewRun::new("endless", "bob's secret").run_id(run_id).session_id(run_id.to_string());
    if let Some(user_id) = user_id {
        run = run.user_id(user_id);
    }
    runtime.accept(run).await.unwrap()
}

/// The answer with the ids that were asked about blotted out.
fn blotted(mut answer: Answer, run_id: RunId) -> Answer {
    answer.body = serde_json::from_str(&answer.body.to_string().replace(&run_id.to_string(), "ID")).unwrap();
    answer
}

async fn running(runtime: &Runtime, run_id: RunId) -> Run {
    loop {
        let run = runtime.get(run_id).await.unwrap().unwrap();
        if run.output.status == RunStatus::Running {
            return run;
        }
        tokio::task::yield_now().await;
    }
}

/// A door with a user hook has none: they are of all users.
const METRICS: &str = "/metrics";

#[tokio::test]
async fn at_every_route_the_run_of_another_is_as_good_as_none() {
    let runtime = runtime().await;
    let door = Door::new(runtime.clone()).user(user_of);
    for owner in [Some("bob"), None] {
        for (method, path) in each(GUARDED).filter(|(_, path)| *path != METRICS) {
            let (theirs, nobodys) = (RunId::new(), RunId::new());
            submit(&runtime, owner, theirs).await;
            let before = running(&runtime, theirs).await;
            let as_user = |user: &str, run_id| {
                Answer::to(&door, request(&method, path, run_id).insert_header(("x-user", user.to_owned())))
            };

            let answer = as_user("ann", theirs).await;
            let said = answer.body.to_string();
            assert!(!said.contains("bob") && !said.contains("secret"), "{method} {path}: {said}");
            if path == "/agents/{agent}/runs" {
                assert_eq!((answer.status, answer.kind()), (404, "unknown-run"), "the id of a run of {owner:?}");
            } else {
                let other = as_user("ann", nobodys).await;
                assert_eq!(blotted(answer, theirs), blotted(other, nobodys), "{method} {path} of {owner:?}");
            }
            assert_eq!(runtime.get(theirs).await.unwrap().unwrap(), before, "{method} {path} of {owner:?}");

            // What ann was refused, bob gets: the requests are right.
            if owner == Some("bob") {
                let own = as_user("bob", theirs).await;
                assert!(matches!(own.status, 200 | 409), "{method} {path}: {own:?}");
            }
            runtime.cancel(theirs).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_caller_who_is_nobody_is_refused_at_every_route() {
    let door = Door::new(runtime().await).user(user_of);
    for (method, path) in each(GUARDED).filter(|(_, path)| *path != METRICS) {
        let answer = Answer::to(&door, request(&method, path, RunId::new())).await;
        assert_eq!((answer.status, answer.kind()), (401, "unauthorized"), "{method} {path}");
        let broken = request(&method, path, RunId::new()).insert_header(("x-user", "broken"));
        assert_eq!(Answer::to(&door, broken).await.status, 502, "the hook's own answer, at {method} {path}");
    }
    for (method, path) in each(OPEN) {
        assert_eq!(Answer::to(&door, request(&method, path, RunId::new())).await.status, 200, "{method} {path}");
    }
}

#[tokio::test]
async fn an_empty_user_id_is_nobody_and_not_everybody() {
    let runtime = runtime().await;
    let door = Door::new(runtime.clone()).user(user_of);
    let run_id = RunId::new();
    submit(&runtime, None, run_id).await;
    for (method, path) in each(GUARDED) {
        let asked = request(&method, path, run_id).insert_header(("x-user", ""));
        let answer = Answer::to(&door, asked).await;
        assert!(!answer.body.to_string().contains("secret"), "{method} {path}: {answer:?}");
        assert!(
            path.starts_with("/agents") && method != Method::POST || matches!(answer.status, 404 | 422),
            "{answer:?}"
        );
    }
    assert!(!runtime.get(run_id).await.unwrap().unwrap().output.status.is_terminal());
}

#[tokio::test]
async fn a_caller_submits_and_lists_as_nobody_else() {
    let runtime = runtime().await;
    let door = Door::new(runtime.clone()).user(user_of);
    let as_ann = |request: TestRequest| Answer::to(&door, request.insert_header(("x-user", "ann")));
    let submit = |body: Value| as_ann(TestRequest::post().uri("/api/agents/endless/runs").set_json(body));

    let own = submit(json!({"input": "hi"})).await;
    let named = submit(json!({"input": "hi", "user_id": "ann"})).await;
    let other = submit(json!({"input": "hi", "user_id": "bob"})).await;
    let listed = as_ann(TestRequest::get().uri("/api/runs?user_id=bob")).await;

    assert_eq!((own.status, &own.body["user_id"]), (202, &json!("ann")));
    assert_eq!((named.status, &named.body["user_id"]), (202, &json!("ann")));
    for refused in [other, listed] {
        assert_eq!((refused.status, refused.kind()), (422, "invalid-field"));
        assert_eq!(refused.body["field"], "user_id");
    }
}

#[tokio::test]
async fn an_intent_of_one_user_does_not_cancel_the_run_of_another() {
    let runtime = runtime().await;
    let door = Door::new(runtime.clone()).user(user_of);
    let (bobs, anns) = (RunId::new(), RunId::new());
    for run_id in [bobs, anns] {
        let cancel = TestRequest::post().uri(&format!("/api/runs/{run_id}/cancel")).insert_header(("x-user", "ann"));
        assert_eq!(Answer::to(&door, cancel).await.body, json!({"run_id": run_id, "outcome": "intent_stored"}));
    }

    submit(&runtime, Some("bob"), bobs).await;
    submit(&runtime, Some("ann"), anns).await;

    assert_eq!(running(&runtime, bobs).await.output.status, RunStatus::Running);
    let output = runtime.wait(anns, std::time::Duration::from_secs(30)).await.unwrap();
    assert_eq!((output.status, output.started_at), (RunStatus::Cancelled, None));
}
