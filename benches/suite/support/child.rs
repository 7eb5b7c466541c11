//! Another process of the suite, which plays a role and ends when its input is closed.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a process with this role, and these arguments after it.
    pub(crate) fn start(role: &[&str]) -> Self {
        let mut command = Command::new(env::current_exe().expect("a bench knows its own file"));
        let command = command.arg("role").args(role).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a bench can start itself");
        let said = BufReader::new(child.stdout.take().expect("its output was asked for"));
        Self { orders: child.stdin.take(), child, said }
    }

    /// Tells it to go on.
    pub(crate) fn go(&mut self) {
        let orders = self.orders.as_mut().expect("its input is open until the drop");
        writeln!(orders, "go").expect("the other process reads");
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("its output is text");
        assert!(!line.is_empty(), "the other process has ended");
        line.trim_end().to_owned()
    }

    /// How much memory it has, in bytes.
    pub(crate) fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it is there, on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("the kernel counts in kB");
        kib * 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.orders.take());
        // It has nothing to put in order.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// Waits until whoever has started this process wants it to go on; `false` when nobody is left who could.
pub(crate) async fn was_told_to_go() -> bool {
    let told = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    told.await.expect("reading does not panic").is_ok_and(|read| read > 0)
}

/// Waits until whoever has started this process is gone, or wants it to end.
pub(crate) fn until_not_needed() {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map(drop).unwrap_or_default();
}

/// Lets this process, and those that it starts, have as many files as may be.
pub(crate) fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap_or_default();
}
