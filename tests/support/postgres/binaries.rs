//! Where the server's programs are, and how to get them where there are none.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::packages;

pub(super) const HELP: &str = "the tests need Postgres: `apt-get install postgresql`, `brew install postgresql`, or set \
     PG_BIN to the directory of initdb and postgres, or TEST_DATABASE_URL to a server where databases may be created";

/// Folders with a version in their names: what comes before the version, and what after.
const VERSIONED: [(&str, &str, &str); 7] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// The directory that holds `initdb` and `postgres`, if this machine has them.
pub(super) fn find() -> Result<Option<PathBuf>, String> {
    if let Some(named) = env::var_os("PG_BIN") {
        let named = PathBuf::from(named);
        return complete(&named)
            .map(Some)
            .ok_or_else(|| format!("PG_BIN={} lacks initdb or postgres", named.display()));
    }
    Ok(installed_with_version().or_else(from_pg_config).or_else(from_path))
}

/// As [`find`], after installing the distribution's package where that is possible without asking anybody.
pub(super) fn find_or_install() -> Result<PathBuf, String> {
    if let Some(found) = find()? {
        return Ok(found);
    }
    if !packages::can_install() {
        return Err(HELP.to_owned());
    }
    packages::install(&["postgresql"], || Ok(find()?.is_some()))
        .map_err(|problem| format!("{HELP} (apt-get did not do it: {problem})"))?;
    find()?.ok_or_else(|| HELP.to_owned())
}

/// PgBouncer, after installing it where that is possible without asking anybody.
pub(super) fn find_or_install_pgbouncer() -> Result<PathBuf, String> {
    let find = || {
        let path = env::var_os("PATH").unwrap_or_default();
        let directories = env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
        directories.map(|directory| directory.join("pgbouncer")).find(|program| program.is_file())
    };
    if find().is_none() && packages::can_install() {
        packages::install(&["pgbouncer"], || Ok(find().is_some()))?;
    }
    find().ok_or_else(|| "there is no pgbouncer; `apt-get install pgbouncer`".to_owned())
}

fn installed_with_version() -> Option<PathBuf> {
    VERSIONED.iter().find_map(|(parent, prefix, suffix)| {
        let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
            .ok()?
            .flatten()
            .filter_map(|entry| {
                let version = entry.file_name().to_str()?.strip_prefix(prefix)?.split('.').next()?.parse().ok()?;
                Some((version, complete(&entry.path().join(suffix))?))
            })
            .collect();
        found.sort();
        found.pop().map(|(_, directory)| directory)
    })
}

fn from_pg_config() -> Option<PathBuf> {
    let answer = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output().ok()?;
    complete(Path::new(String::from_utf8(answer.stdout).ok()?.trim()))
}

fn from_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // A link in a directory of links: the other programs are where it leads.
    let resolved = |directory: PathBuf| Some(fs::canonicalize(directory.join("postgres")).ok()?.parent()?.to_owned());
    env::split_paths(&path).filter_map(resolved).find_map(|directory| complete(&directory))
}

fn complete(directory: &Path) -> Option<PathBuf> {
    (directory.join("initdb").is_file() && directory.join("postgres").is_file()).then(|| directory.to_owned())
}
