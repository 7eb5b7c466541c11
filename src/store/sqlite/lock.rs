//! One runtime per file: where the file is, and the lock beside it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::store::{StoreError, StoreResult};

/// How long a lock that somebody has is waited for, and looked at how often.
///
/// Between the fork and the exec of any child of this process, the child has the lock as well; and the threads of a runtime
/// that was dropped need a moment to end.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// The place of a database file that this process alone may open.
///
/// The kernel frees the lock when the process dies. The lock file itself stays: whoever removed it could remove one that
/// another process has just locked.
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Finds the file, makes it when there is none, and locks it.
    pub(super) fn take(path: &Path) -> StoreResult<Self> {
        let path = locate(path)?;
        let mut beside = path.clone().into_os_string();
        beside.push(".lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&beside)
            .map_err(|error| wrong(&path, format_args!("cannot be locked: {error}")))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { path, _file: file }),
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(path.display().to_string())),
                Err(TryLockError::Error(error)) => {
                    return Err(wrong(&path, format_args!("cannot be locked: {error}")));
                }
            }
        }
    }

    /// The file, by the one name that all names of it lead to.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Resolves links, so that two names of one file meet at one lock.
///
/// Only a path that is absolute is no name to SQLite for something else, as `:memory:` and `file:…` are.
fn locate(path: &Path) -> StoreResult<PathBuf> {
    let path = std::path::absolute(path).map_err(|error| wrong(path, format_args!("is no path: {error}")))?;
    // A file that is there must not be opened and closed again: that would end SQLite's own locks on it in this process
    // (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(wrong(&path, format_args!("cannot be made: {error}")));
        }
        Ok(_) | Err(_) => {}
    }
    let unusable = |error| wrong(&path, format_args!("cannot be used: {error}"));
    let path = path.canonicalize().map_err(unusable)?;
    let metadata = path.metadata().map_err(unusable)?;
    if !metadata.is_file() {
        return Err(wrong(&path, format_args!("is not a file")));
    }
    if metadata.permissions().readonly() {
        return Err(wrong(&path, format_args!("is read-only")));
    }
    Ok(path)
}

/// The error of a `path` that cannot be a store.
pub(super) fn wrong(path: &Path, problem: impl std::fmt::Display) -> StoreError {
    StoreError::Option { option: "path", problem: format!("`{}` {problem}", path.display()) }
}
