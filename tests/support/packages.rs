//! Programs that the tests need and a machine may lack: whether they are there, and how to get them from the distribution.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::{self, Command, Stdio};
use std::sync::LazyLock;

/// Whether a package can be installed without asking anybody.
pub(crate) fn can_install() -> bool {
    is_root() && on_path("apt-get")
}

/// Installs packages of the distribution, unless another process does it first.
pub(crate) fn install(packages: &[&str], is_there: impl Fn() -> Result<bool, String>) -> Result<(), String> {
    let lock = File::create(env::temp_dir().join("greenroom-tests-apt.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    // Another test process may have done it while this one waited.
    if is_there()? {
        return Ok(());
    }
    let names = packages.join(" and ");
    say(&format!("no {names} found: installing by apt-get, as this is root"));
    apt_get(&["update"])?;
    apt_get(&[&["install", "-y", "--no-install-recommends"], packages].concat())
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let stderr = || io::stderr().as_fd().try_clone_to_owned().map_err(|error| error.to_string());
    let status = Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(stderr()?)
        .stderr(stderr()?)
        .status()
        .map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("`apt-get {}` ended with {status}", arguments.join(" "))) }
}

/// Past the capture of test output, which would keep this from everybody while the test passes.
pub(crate) fn say(line: &str) {
    writeln!(io::stderr(), "greenroom tests: {line}").unwrap_or_default();
}

/// The standard library does not say who we are; `/proc` and a shell do, but a file of our own is the same everywhere.
pub(crate) fn is_root() -> bool {
    static ROOT: LazyLock<bool> = LazyLock::new(|| {
        let probe = env::temp_dir().join(format!("greenroom-tests-root-{}", process::id()));
        let owner = fs::write(&probe, "").and_then(|()| fs::metadata(&probe)).map(|file| file.uid());
        fs::remove_file(&probe).unwrap_or_default();
        owner.is_ok_and(|user| user == 0)
    });
    *ROOT
}

/// Whether a program would be found by its name.
fn on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}
