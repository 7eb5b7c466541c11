//! The door under requests that a machine makes up from the document.
//!
//! [Schemathesis](https://schemathesis.readthedocs.io) makes them. It is installed once, into the target directory; where
//! there is no Python, or nothing to install it from, the test says so and passes. `GREENROOM_FUZZ_SEED`,
//! `GREENROOM_FUZZ_EXAMPLES` and `GREENROOM_FUZZ_SECONDS` choose another run than the usual one.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::Service as _;

use greenroom::web::Door;
use greenroom::{Agent, AgentError, RunContext, RunQuery, RunStatus, Runtime, ScriptedModel, Store};

use super::Service;

const PACKAGES: [&str; 2] = ["schemathesis==4.32.5", "openapi-spec-validator==0.9.0"];

/// `positive_data_acceptance` is left out: a schema cannot say that `run_at` is near, that a text is at most so many bytes, or
/// that it has no U+0000.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,ignored_auth";

/// The Python that has the packages, or why there is none.
fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", PACKAGES.join("-")));
    let (venv, ready) = (folder.join("venv"), folder.join("ready"));
    let python = venv.join("bin/python");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    if !ready.exists() {
        succeeds("python3", Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        let mut install = Command::new(&python);
        let install =
            install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--timeout", "15"]);
        succeeds("pip", install.args(PACKAGES))?;
        File::create(ready).unwrap();
    }
    Ok(python)
}

fn succeeds(name: &str, command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{name}: {}", said.lines().last().unwrap_or_default())) }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// How often each route has given which status.
#[derive(Clone, Default)]
struct Answered(Arc<Mutex<BTreeMap<String, usize>>>);

impl Answered {
    /// Serves the door and counts.
    fn service(&self, door: Door) -> Service {
        let all = self.clone();
        Service::start(move |app| {
            let all = all.clone();
            app.service(door.scope("/api").wrap_fn(move |request, scope| {
                let all = all.clone();
                let answer = scope.call(request);
                async move {
                    let answer = answer.await?;
                    let (asked, status) = (answer.request(), answer.status().as_u16());
                    let route = format!("{} {} {status}", asked.method(), asked.match_pattern().unwrap_or_default());
                    *all.0.lock().unwrap().entry(route).or_default() += 1;
                    Ok(answer)
                }
            }));
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_made_up_from_the_document_find_neither_a_server_error_nor_an_answer_that_it_does_not_know() {
    let python = match tokio::task::spawn_blocking(python).await.unwrap() {
        Ok(python) => python,
        Err(reason) => return println!("SKIPPED: the door was not fuzzed, there is no schemathesis: {reason}"),
    };
    let echo = Agent::builder("echo").model(ScriptedModel::echo());
    let fails =
        Agent::builder("fails").code(|_: RunContext| async { Err::<(), _>(AgentError::new("broken").permanent()) });
    let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(echo).agent(fails).start().await.unwrap();
    let door = Door::new(runtime.clone()).bearer_token("secret".to_owned()).max_wait(Duration::from_millis(100));
    let answered = Answered::default();
    let service = answered.service(door);
    // The events of a run that is to start next year would not end before the year has.
    let sweeper = tokio::spawn(async move {
        loop {
            let pending = RunQuery::new().status(RunStatus::Pending);
            for run in runtime.list(pending).await.unwrap().runs {
                runtime.cancel(run.output.run_id).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let seed = env::var("GREENROOM_FUZZ_SEED").unwrap_or_else(|_| "20261122".to_owned());
    let examples = env::var("GREENROOM_FUZZ_EXAMPLES").unwrap_or_else(|_| "5".to_owned());
    let seconds = env::var("GREENROOM_FUZZ_SECONDS").unwrap_or_else(|_| "90".to_owned());
    println!("GREENROOM_FUZZ_SEED={seed} GREENROOM_FUZZ_EXAMPLES={examples} GREENROOM_FUZZ_SECONDS={seconds}");
    let document = service.url("/api/openapi.json");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("openapi.json");
    fs::write(&copy, service.get("/openapi.json").await.body.to_string()).unwrap();

    let place = folder.path().to_owned();
    let (valid, fuzzed) = tokio::task::spawn_blocking(move || {
        let valid = Command::new(&python).args(["-m", "openapi_spec_validator"]).arg(copy).output().unwrap();
        let fuzzed = Command::new(&python)
            .current_dir(place)
            .args(["-m", "schemathesis.cli", "run", &document, "--checks", CHECKS, "--no-color"])
            .args(["--header", "Authorization: Bearer secret", "--seed", &seed, "--max-examples", &examples])
            .args(["--request-timeout", "20", "--generation-database", "none", "--suppress-health-check", "all"])
            .args(["--warnings", "off", "--continue-on-failure", "--max-time", &seconds])
            .output()
            .unwrap();
        (valid, fuzzed)
    })
    .await
    .unwrap();

    sweeper.abort();
    assert!(valid.status.success(), "the document is not valid:\n{}", said(&valid));
    println!("{}", said(&fuzzed));
    assert!(fuzzed.status.success(), "{}", said(&fuzzed));
    let answered = answered.0.lock().unwrap();
    println!("{answered:#?}");
    for route in [
        "POST /api/agents/{agent}/runs 202",
        "GET /api/runs/{run_id} 200",
        "GET /api/runs/{run_id}/events 200",
        "POST /api/runs/{run_id}/cancel 200",
    ] {
        assert!(answered.contains_key(route), "never answered: {route}");
    }
}
