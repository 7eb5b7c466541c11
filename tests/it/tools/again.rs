//! What was called and what was asked before a shutdown, or before the process was killed, is not again.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use greenroom::{RunId, StepKey};
use tokio_postgres::NoTls;

use super::*;
use crate::postgres::fresh_database;
use crate::steps::on_each_lasting_store;

on_each_lasting_store!(calls_that_were_finished_are_not_made_again_after_a_shutdown);

/// What was called, in order: the number, and the key.
type Called = Arc<Mutex<Vec<(u64, StepKey)>>>;

async fn calls_that_were_finished_are_not_made_again_after_a_shutdown(store: &dyn Fn() -> Store) {
    let (called, gate, models): (Called, _, Mutex<Vec<ScriptedModel>>) =
        (Arc::default(), Gate::new(), Mutex::default());
    let agent = || {
        let (called, gate) = (Arc::clone(&called), gate.clone());
        let work = Tool::new("work", "Works.", move |cx: ToolContext, args: Number| {
            let (called, gate) = (Arc::clone(&called), gate.clone());
            async move {
                called.lock().unwrap().push((args.number, cx.idempotency_key()));
                if args.number == 2 {
                    gate.pass().await;
                }
                Ok(args.number)
            }
        });
        let model = ScriptedModel::answering(|request| match outputs(request).len() {
            0 => [1, 2, 3].into_iter().fold(ScriptedTurn::default(), |turn, n| turn.then_call("work", number(n))),
            _ => ScriptedTurn::text("done"),
        });
        models.lock().unwrap().push(model.clone());
        Agent::builder("a").model(model).tool(work)
    };
    let runtime = start(store(), agent()).await;
    let run_id = runtime.submit(NewRun::new("a", "go")).await.unwrap().run_id();
    gate.arrivals(1).await;
    let mut events = runtime.subscribe(run_id, None).await.unwrap();
    for _ in 0..2 {
        while let Some(event) = soon(futures_util::StreamExt::next(&mut events)).await {
            if matches!(event.unwrap().kind, RunEventKind::ToolCallCompleted { .. }) {
                break;
            }
        }
    }
    soon(runtime.shutdown(Duration::ZERO)).await;
    gate.open(1);

    let runtime = start(store(), agent()).await;
    let output = runtime.wait(run_id, LONG).await.unwrap();

    assert_eq!((output.status, text(&output)), (RunStatus::Completed, "done"), "{:?}", output.error);
    let called = called.lock().unwrap();
    let numbers: Vec<u64> = called.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 2]);
    assert_eq!(called[1].1, called[3].1, "the outside world can tell that it is the same call");
    assert!(called[0].1 != called[1].1 && called[1].1 != called[2].1);
    let requests = models.lock().unwrap()[1].requests();
    assert_eq!(requests.len(), 1, "the first turn is not asked for again");
    assert_eq!(outputs(&requests[0]), [1, 2, 3]);
}

/// No lease ends here because the machine is slow.
const TTL: Duration = Duration::from_secs(300);

/// What happened, outside of all processes: a line each.
#[derive(Clone)]
struct Notes(PathBuf);

impl Notes {
    fn note(&self, line: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// How often each line was noted that begins with `what`, in the order of the lines.
    fn count(&self, what: &str) -> Vec<(String, usize)> {
        let lines = fs::read_to_string(&self.0).unwrap();
        let mut counts = std::collections::BTreeMap::<_, usize>::new();
        for line in lines.lines().filter(|line| line.starts_with(what)) {
            *counts.entry(line.to_owned()).or_default() += 1;
        }
        counts.into_iter().collect()
    }
}

/// Wants five calls, in turns of their own or all in one, as its input says. The third one never ends in the first attempt.
fn five_tools(notes: &Notes) -> AgentBuilder {
    let asked = notes.clone();
    let model = ScriptedModel::answering(move |request| {
        let (input, done) = (request.messages[0].content.to_string(), outputs(request).len() as u64);
        asked.note(&format!("{input} asked {done}"));
        let call = |turn: ScriptedTurn, n| turn.then_call("work", json!({ "form": input, "number": n }));
        match done {
            5 => ScriptedTurn::text(format!("{:?}", outputs(request))),
            0 if input == "calls" => (1..=5).fold(ScriptedTurn::text("Go. "), call),
            done => call(ScriptedTurn::text("Go. "), done + 1),
        }
    });
    let called = notes.clone();
    let work = Tool::new("work", "Works.", move |cx: ToolContext, args: Work| {
        let notes = called.clone();
        async move {
            notes.note(&format!("{} called {} as {}", args.form, args.number, cx.idempotency_key()));
            if args.number == 3 && cx.attempt() == 1 {
                std::io::stdout().write_all(b"in the third\n").unwrap();
                std::future::pending::<()>().await;
            }
            Ok(args.number * 10)
        }
    });
    Agent::builder("five").model(model).tool(work).parallel_tool_calls(1)
}

#[derive(Deserialize, JsonSchema)]
struct Work {
    form: String,
    number: u64,
}

async fn runtime(place: &str, notes: &Notes) -> Runtime {
    let store = if place.starts_with("postgres") { Store::postgres(place) } else { Store::sqlite(place) };
    let builder = Runtime::builder().store(store).agent(five_tools(notes)).lease_ttl(TTL);
    builder.start().await.unwrap()
}

/// The process that is killed.
#[tokio::test]
#[ignore = "started by the tests of what a killed process leaves behind"]
async fn a_process_in_the_middle_of_tools() {
    let (Ok(place), Ok(notes)) = (env::var("GREENROOM_CALL_ON"), env::var("GREENROOM_NOTE_AT")) else { return };
    let runtime = runtime(&place, &Notes(notes.into())).await;
    for run in submit_all(&runtime, ["turns", "calls"].map(|form| NewRun::new("five", form))).await {
        println!("has submitted {}", run.run_id());
    }
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

/// Runs the process above until both of its runs are in their third call, and kills it.
fn killed_process(place: &str, notes: &Path) -> Vec<RunId> {
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "tools::again::a_process_in_the_middle_of_tools", "--ignored", "--nocapture"])
        .env("GREENROOM_CALL_ON", place)
        .env("GREENROOM_NOTE_AT", notes)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut runs, mut in_the_third) = (Vec::<RunId>::new(), 0);
    for line in BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok) {
        runs.extend(line.split_once("has submitted ").and_then(|(_, run_id)| run_id.trim().parse::<RunId>().ok()));
        in_the_third += line.matches("in the third").count();
        if (runs.len(), in_the_third) == (2, 2) {
            break;
        }
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!((runs.len(), in_the_third), (2, 2), "the process ended by itself");
    runs
}

async fn killed_and_rescued(place: &str) {
    let folder = tempfile::tempdir().unwrap();
    let notes = Notes(folder.path().join("notes"));
    let (at, path) = (place.to_owned(), notes.0.clone());
    let runs = tokio::task::spawn_blocking(move || killed_process(&at, &path)).await.unwrap();
    if place.starts_with("postgres") {
        let (client, connection) = tokio_postgres::connect(place, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("UPDATE greenroom.nodes SET lease_until = now()").await.unwrap();
    }

    let runtime = runtime(place, &notes).await;
    for run_id in runs {
        let output = runtime.wait(run_id, LONG).await.unwrap();
        let expected = [10, 20, 30, 40, 50].map(Value::from);
        assert_eq!((output.status, text(&output)), (RunStatus::Completed, format!("{expected:?}").as_str()));
        let again = names(&log(&runtime, run_id).await).iter().filter(|name| *name == "ToolCallCompleted").count();
        assert_eq!(again, 5, "each call is completed once");
    }
    runtime.shutdown(LONG).await;

    for (form, turns) in [("turns", vec![0, 1, 2, 3, 4, 5]), ("calls", vec![0, 5])] {
        let asked: Vec<_> = turns.iter().map(|done| (format!("{form} asked {done}"), 1)).collect();
        assert_eq!(notes.count(&format!("{form} asked")), asked);
        // The keys tell apart what was called: one line for each key.
        let called = notes.count(&format!("{form} called"));
        let times: Vec<usize> = called.iter().map(|(_, times)| *times).collect();
        assert_eq!(times, [1, 1, 2, 1, 1], "{called:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_the_calls_and_turns_of_a_killed_process_are_not_made_again() {
    let database = fresh_database().await;
    killed_and_rescued(database.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_the_calls_and_turns_of_a_killed_process_are_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    killed_and_rescued(folder.path().join("runs.db").to_str().unwrap()).await;
}
