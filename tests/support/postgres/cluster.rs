//! One server with a data directory of its own, kept by a small shell script that no end of this process escapes.

use std::env;
use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{binaries, packages};

const SETTINGS: [&str; 3] = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"];
const START_LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Cluster {
    supervisor: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    directory: PathBuf,
    port: u16,
}

impl Cluster {
    /// Makes a data directory and starts a server on it, with these settings beside the usual ones.
    pub(super) fn start(settings: &[&str]) -> Result<Self, String> {
        let mut cluster = Self::initialise(settings)?;
        let mut problem = String::new();
        // Another process can take a port between our look at it and the server's.
        for _ in 0..5 {
            cluster.port = free_port();
            match cluster.start_server() {
                Ok(()) => return Ok(cluster),
                Err(reason) => problem = reason,
            }
        }
        Err(problem)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts the server that was stopped, on its port.
    pub(super) fn start_server(&mut self) -> Result<(), String> {
        let process = self.ask(&format!("start {}", self.port))?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let lock = fs::read_to_string(self.directory.join("data/postmaster.pid"));
            let lines: Vec<&str> = lock.as_deref().unwrap_or_default().lines().map(str::trim).collect();
            if lines.first() == Some(&process.as_str()) && lines.get(7) == Some(&"ready") {
                return Ok(());
            }
            let gave_up = lock.is_err() && self.log().contains("FATAL");
            if gave_up || Instant::now() > deadline {
                self.stop_server("QUIT")?;
                return Err(format!("the test server did not start: {}", self.log()));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Signals the server, and returns when it is gone. Harmless when it is not running.
    pub(super) fn stop_server(&mut self, signal: &str) -> Result<(), String> {
        self.ask(&format!("stop {signal}")).map(drop)
    }

    fn initialise(settings: &[&str]) -> Result<Self, String> {
        let binaries = binaries::find_or_install()?;
        let account = if packages::is_root() { Some(unprivileged_account()?) } else { None };
        let directory = temporary_root(account).join(format!("greenroom-tests-{:016x}", random()));
        let explain = |error: std::io::Error| format!("{}: {error}", directory.display());
        DirBuilder::new().mode(0o700).create(&directory).map_err(explain)?;

        let mut command = Command::new("/bin/sh");
        command.args(["-c", include_str!("supervisor.sh"), "greenroom-tests-postgres"]);
        command.arg(&directory).arg(binaries);
        command.args(SETTINGS.iter().chain(settings).flat_map(|setting| ["-c", setting]));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir(&directory);
        // Ctrl-C goes to a terminal's whole process group; the supervisor has to outlive this process.
        command.process_group(0);
        command.env("LC_ALL", "C");
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        if let Some((user, group)) = account {
            // Postgres refuses to run as root.
            chown(&directory, Some(user), Some(group)).map_err(explain)?;
            command.uid(user).gid(group);
        }
        let mut supervisor = command.spawn().map_err(|error| format!("/bin/sh in {}: {error}", directory.display()))?;
        let commands = supervisor.stdin.take();
        let answers = BufReader::new(supervisor.stdout.take().expect("standard output is a pipe"));

        let mut cluster = Self { supervisor, commands, answers, directory, port: 0 };
        match cluster.answer()?.as_str() {
            "ready" => Ok(cluster),
            _ => Err(format!("initdb failed: {}", cluster.log())),
        }
    }

    fn ask(&mut self, command: &str) -> Result<String, String> {
        let commands = self.commands.as_mut().expect("the pipe is open until the drop");
        writeln!(commands, "{command}").map_err(|error| format!("the test server's supervisor is gone: {error}"))?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(read) if read > 0 => Ok(line.trim().to_owned()),
            Ok(_) => Err("the test server's supervisor is gone".to_owned()),
            Err(error) => Err(format!("the test server's supervisor does not answer: {error}")),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.commands = None;
        self.supervisor.wait().map(drop).unwrap_or_default();
    }
}

pub(super) fn unprivileged_account() -> Result<(u32, u32), String> {
    let accounts = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    let account = |wanted: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut numbers = line.split(':').skip(2).map(|field| field.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    account("postgres").or_else(|| account("nobody")).ok_or_else(|| {
        "Postgres does not run as root, and there is neither a user postgres nor a user nobody: run the tests as a plain \
         user or set TEST_DATABASE_URL"
            .to_owned()
    })
}

/// The usual place, unless it is closed to the account that the server runs under.
pub(super) fn temporary_root(account: Option<(u32, u32)>) -> PathBuf {
    let usual = env::temp_dir();
    let mode = |path: &Path| fs::metadata(path).map_or(0, |found| found.mode());
    let open = mode(&usual) & 0o002 != 0 && usual.ancestors().all(|path| mode(path) & 0o001 != 0);
    if account.is_none() || open { usual } else { PathBuf::from("/tmp") }
}

/// Below the ports that systems lend to outgoing connections: there a client that keeps trying while the server is down
/// can be lent the very port, and ends up connected to itself.
pub(super) fn free_port() -> u16 {
    let candidate = || 15_000 + u16::try_from(random() % 17_000).expect("below 17,000");
    std::iter::repeat_with(candidate)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("the iterator has no end")
}

pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
