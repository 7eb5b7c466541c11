//! The example `service`, asked as the README asks it.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use futures_util::StreamExt;
use greenroom::RunId;
use reqwest::Client;
use serde_json::{Value, json};

use crate::support::soon;

/// Where `cargo test` has put the example: beside the folder of this test.
fn built() -> Option<PathBuf> {
    let name = format!("service{}", env::consts::EXE_SUFFIX);
    let path = env::current_exe().ok()?.parent()?.parent()?.join("examples").join(name);
    path.exists().then_some(path)
}

/// A process that does not outlive its test: it would keep the output of the tests open.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn the_example_answers_what_the_readme_asks_and_ends_in_good_order() {
    let Some(path) = built() else {
        return println!("SKIPPED: the example `service` is not built, `cargo test` without `--test` builds it");
    };
    let folder = tempfile::tempdir().unwrap();
    let process = Command::new(path)
        .env("GREENROOM_LISTEN", "127.0.0.1:0")
        // Its file goes with the test.
        .env("TMPDIR", folder.path())
        .env_remove("DATABASE_URL")
        .env_remove("OPENAI_API_KEY")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Ends(process);
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let read = tokio::task::spawn_blocking(move || {
        let address = lines.find_map(|line| Some(line.strip_prefix("Listening on ")?.to_owned()));
        (lines, address.expect("it says where it listens"))
    });
    let (mut lines, address) = soon(read).await.unwrap();
    let client = Client::new();
    let url = |path: &str| format!("{address}{path}");
    let read = async |request: reqwest::RequestBuilder| {
        let response = soon(request.send()).await.unwrap();
        let status = response.status().as_u16();
        (status, soon(response.json::<Value>()).await.unwrap())
    };

    let question = json!({"input": "What is the capital of France?"});
    let (status, run) = read(client.post(url("/agents/assistant/runs")).json(&question)).await;
    assert_eq!(status, 202, "{run}");
    let (_, run) = read(client.get(url(&format!("/runs/{}?wait=30", run["run_id"].as_str().unwrap())))).await;
    assert_eq!((&run["status"], &run["content"]), (&json!("COMPLETED"), &json!("The capital of France is Paris.")));
    let counts = client.post(url("/agents/countdown/runs")).header("prefer", "wait=30").json(&json!({"input": 1}));
    let (status, run) = read(counts).await;
    assert_eq!((status, &run["content"]), (200, &json!("lift-off")));
    let run_id = RunId::new();
    let long = client.post(url("/agents/countdown/runs")).json(&json!({"input": 60, "run_id": run_id}));
    assert_eq!(read(long).await.0, 202);
    let mut events = soon(client.get(url(&format!("/runs/{run_id}/events"))).send()).await.unwrap().bytes_stream();
    let mut seen = String::new();
    while !seen.contains("RunContent") {
        seen.push_str(std::str::from_utf8(&soon(events.next()).await.unwrap().unwrap()).unwrap());
    }
    let (status, cancelled) = read(client.post(url(&format!("/runs/{run_id}/cancel")))).await;
    assert_eq!((status, &cancelled["outcome"]), (200, &json!("cancelled")));
    let (_, list) = read(client.get(url("/runs?status=CANCELLED&include=content"))).await;
    assert_eq!(list["runs"][0]["run_id"], json!(run_id));
    drop(events);

    let ended = tokio::task::spawn_blocking(move || {
        assert!(Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status().unwrap().success());
        let stopped = lines.find(|line| line.starts_with("Stopped"));
        (process.0.wait().unwrap(), stopped)
    });
    let (status, stopped) = soon(ended).await.unwrap();
    assert!(status.success() && stopped.is_some(), "{status} {stopped:?}");
}
