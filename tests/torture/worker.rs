//! A worker process: a runtime with its agents, driven by lines of JSON over standard input and output.
//!
//! It ends when its standard input does, so it never outlives its driver.

use std::env;
use std::io::{BufRead, Write};
use std::time::Duration;

use greenroom::{Error, PostgresOptions, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::kind::Kind;
use crate::wire::{Command, Config, Drained, Line};

mod agents;
mod notes;
mod serve;

use self::notes::Notes;

/// How long a worker that is asked to end lets its runs finish.
const DRAIN: Duration = Duration::from_millis(700);

/// The main function of a worker process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the other tests as a process of its own"]
async fn main_of_a_worker() {
    let Ok(config) = env::var(Config::VARIABLE) else { return };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "greenroom=warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let config: Config = serde_json::from_str(&config).unwrap();
    let mut commands = commands();
    let mut term = signal(SignalKind::terminate()).unwrap();
    let mut early = Vec::new();
    let starting = start_patiently(&config);
    tokio::pin!(starting);
    let runtime = loop {
        tokio::select! {
            runtime = &mut starting => break runtime,
            _ = term.recv() => return,
            command = commands.recv() => match command {
                Some(command) => early.push(command),
                None => return,
            },
        }
    };
    for command in early {
        tokio::spawn(serve::serve(runtime.clone(), command));
    }
    let ending = async {
        term.recv().await;
        let drained = runtime.shutdown(DRAIN).await;
        Drained { settled: drained.settled, handed_back: drained.handed_back, lost: drained.lost }
    };
    tokio::pin!(ending);
    loop {
        tokio::select! {
            drained = &mut ending => return say(&Line::Drained(drained)),
            command = commands.recv() => match command {
                Some(command) => drop(tokio::spawn(serve::serve(runtime.clone(), command))),
                None => return,
            },
        }
    }
}

/// The lines of standard input, read by a thread that no end of this process waits for.
fn commands() -> mpsc::UnboundedReceiver<Command> {
    let (sender, commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(command) = serde_json::from_str(&line) else { return };
            if sender.send(command).is_err() {
                return;
            }
        }
    });
    commands
}

/// Writes a line for the driver; when the driver is gone, standard input says so.
fn say(line: &Line) {
    let mut text = serde_json::to_string(line).unwrap();
    text.push('\n');
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).unwrap_or_default();
}

/// Starts the runtime, however long Postgres is away.
async fn start_patiently(config: &Config) -> Runtime {
    loop {
        match start(config).await {
            Ok(runtime) => return runtime,
            Err(error) => tracing::warn!(%error, "not started yet"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn start(config: &Config) -> Result<Runtime, Error> {
    let notes = Notes::open(&config.notes);
    let mut store = PostgresOptions::new(&config.url)
        .connect_timeout(Duration::from_secs(1))
        .statement_timeout(Duration::from_secs(2))
        .lock_timeout(Duration::from_secs(1));
    if config.poll_only {
        store = store.poll_only();
    }
    let mut builder = Runtime::builder()
        .store(store)
        .lease_ttl(Duration::from_millis(config.lease_millis))
        .poll_interval(Duration::from_millis(100))
        .call_timeout(Duration::from_secs(3))
        .cancel_grace(Duration::from_secs(1))
        .max_running(config.max_running)
        .agent_threads(2);
    for kind in Kind::ALL {
        builder = builder.agent(agents::agent(kind, &notes));
    }
    builder.start().await
}
