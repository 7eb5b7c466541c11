//! The three statements of a lifecycle, each a transaction of its own, by `pgbench`.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::support::bare::{self, content};
use crate::support::host::{Host, connect, program};
use crate::support::size::Size;

/// A lifecycle. Its ids are in the order of time, as ours are.
const SCRIPT: &str = "\
\\set n :n + 1
\\set id :client_id * 1000000000 + :n
INSERT INTO bare_runs (run_id, status, attempt, input, created_at) VALUES (lpad(to_hex(:id::bigint), 32, '0')::uuid, 'PENDING', 1, '\"go\"', now());
UPDATE bare_runs SET status = 'RUNNING', started_at = now() WHERE run_id = lpad(to_hex(:id::bigint), 32, '0')::uuid AND attempt = 1 AND status = 'PENDING';
UPDATE bare_runs SET status = 'COMPLETED', settled_at = now(), output = to_json(:content::text) WHERE run_id = lpad(to_hex(:id::bigint), 32, '0')::uuid AND attempt = 1 AND status = 'RUNNING';
";

/// How many clients get most done; none, after saying so, where there is no `pgbench`.
pub(super) async fn best_clients(host: &Host, size: Size) -> Option<usize> {
    if program("pgbench").is_none() {
        eprintln!("SKIPPED the comparison with pgbench: it is not installed");
        return None;
    }
    let mut best = (0.0, 0);
    for clients in size.pick(&[8, 16, 32, 64, 128][..], &[8]) {
        let rate = lifecycles(host, *clients, size.round / 2).await;
        if rate > best.0 {
            best = (rate, *clients);
        }
    }
    Some(best.1)
}

/// Lifecycles a second.
pub(super) async fn lifecycles(host: &Host, clients: usize, time: Duration) -> f64 {
    let url = host.fresh().await;
    bare::create(&connect(&url).await).await;
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(script.path(), SCRIPT).unwrap();
    let seconds = time.as_secs().max(1).to_string();
    let output = Command::new(program("pgbench").unwrap())
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--time", &seconds])
        .args(["--client", &clients.to_string(), "--define", "n=0", "--define", &format!("content={}", content())])
        .arg("--file")
        .arg(script.path())
        .arg(&url)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.unwrap_or_else(|| panic!("pgbench said {said} {}", String::from_utf8_lossy(&output.stderr)))
}
