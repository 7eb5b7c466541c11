//! A process of this very binary that is killed when it has come far enough.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use greenroom::RunId;

/// Runs the ignored test of this name in a process of its own until it says `end`, and kills it. Answers the runs whose ids it
/// has said by then, each in a line after `of_a_run`.
pub(crate) fn killed_process(test: &str, variables: &[(&str, &OsStr)], of_a_run: &str, end: &str) -> Vec<RunId> {
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut runs = Vec::new();
    let came_far_enough = lines.by_ref().any(|line| {
        runs.extend(line.split_once(of_a_run).and_then(|(_, run_id)| run_id.trim().parse::<RunId>().ok()));
        line.contains(end)
    });
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(came_far_enough, "the process ended by itself");
    runs
}
