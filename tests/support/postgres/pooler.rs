//! A PgBouncer of each kind in transaction mode for each test process, in front of its server.

use std::fs::{self, DirBuilder};
use std::net::TcpStream;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::{binaries, cluster, given_server, packages};

/// Runs until the pipe to it is closed, which the kernel does however this process ends; then nothing is left of it.
const SUPERVISOR: &str = "trap '' HUP INT TERM PIPE
    \"$1\" \"$2/pgbouncer.ini\" </dev/null >\"$2/log\" 2>&1 &
    read -r _
    kill -s KILL $! 2>/dev/null
    wait
    cd / && rm -rf \"$2\"";

struct Pooler {
    url: String,
    /// Never dropped, as a part of a static; the end of the process is what stops it.
    _supervisor: Mutex<Child>,
}

/// A pooler that is started by the first test that needs it.
pub(super) struct Shared {
    pooler: OnceLock<Result<Pooler, String>>,
    /// What it is told beside what all are told.
    settings: &'static str,
}

/// As strict as it can be: the session forgets everything after each transaction (`DISCARD ALL`), and whatever a start-up message
/// asks for is refused beyond what every driver asks for.
pub(super) static STRICT: Shared = Shared { pooler: OnceLock::new(), settings: "server_reset_query_always = 1\n" };

/// It passes over the settings that a start-up message asks for, and the session keeps what was prepared in it.
pub(super) static INDULGENT: Shared =
    Shared { pooler: OnceLock::new(), settings: "ignore_startup_parameters = options\n" };

impl Shared {
    /// The pooler's URL; any database of the server of `url` can be reached through it.
    pub(super) fn start(&self, url: &str) -> Result<String, String> {
        if given_server().is_some() {
            return Err("TEST_DATABASE_URL names a server that it may need a password for".to_owned());
        }
        let pooler = self.pooler.get_or_init(|| start(url, self.settings));
        pooler.as_ref().map(|pooler| pooler.url.clone()).map_err(Clone::clone)
    }
}

fn start(url: &str, more: &str) -> Result<Pooler, String> {
    let program = binaries::find_or_install_pgbouncer()?;
    let account = if packages::is_root() { Some(cluster::unprivileged_account()?) } else { None };
    let server_port = url.rsplit(':').next().and_then(|tail| tail.split('/').next()).unwrap_or_default();
    let directory = cluster::temporary_root(account).join(format!("greenroom-tests-{:016x}", cluster::random()));
    let explain = |error: std::io::Error| format!("{}: {error}", directory.display());
    DirBuilder::new().mode(0o700).create(&directory).map_err(explain)?;
    let port = cluster::free_port();
    fs::write(directory.join("pgbouncer.ini"), settings(server_port, port) + more).map_err(explain)?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SUPERVISOR, "greenroom-tests-pooler"]).arg(program).arg(&directory);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    if let Some((user, group)) = account {
        // PgBouncer refuses to run as root.
        chown(&directory, Some(user), Some(group)).map_err(explain)?;
        chown(directory.join("pgbouncer.ini"), Some(user), Some(group)).map_err(explain)?;
        command.uid(user).gid(group);
    }
    let supervisor = command.spawn().map_err(|error| format!("/bin/sh: {error}"))?;
    wait_until_it_takes_connections(port, &directory)?;
    Ok(Pooler { url: format!("postgres://postgres@127.0.0.1:{port}/postgres"), _supervisor: Mutex::new(supervisor) })
}

/// One session of the server for everybody.
fn settings(server_port: &str, port: u16) -> String {
    format!(
        "[databases]\n* = host=127.0.0.1 port={server_port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 1\n\
         max_client_conn = 2000\nmax_db_connections = 1\n"
    )
}

fn wait_until_it_takes_connections(port: u16, directory: &Path) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
            return Err(format!("pgbouncer did not start: {log}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
