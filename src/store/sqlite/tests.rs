use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tempfile::TempDir;

use super::connection::transact;
use super::{Sqlite, lock, write};
use crate::run::RunId;
use crate::run::RunStatus::{Cancelled, Completed, Running};
use crate::store::conformance::samples::{
    Attempt, cancel, claim, events, get, id, in_an_hour, owned, settle, settled, submit, taken_ids, unowned, with,
};
use crate::store::protocol::{CancelWritten, Change, InsertRun, Write};
use crate::store::{NodeId, RunStore, StoreError, StoreLimits, StoreResult};

mod takeover;

const LIMITS: StoreLimits = StoreLimits { intent_ttl: Duration::from_secs(3600), max_intents: 100 };

/// A folder that is gone at the end, and a file in it that does not exist yet.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.db");
    (folder, path)
}

async fn try_open(path: impl AsRef<Path>) -> StoreResult<Sqlite> {
    Sqlite::open(Some(path.as_ref().to_owned()), LIMITS).await
}

async fn open(path: impl AsRef<Path>) -> Sqlite {
    try_open(path).await.unwrap()
}

async fn is_in_use(path: impl AsRef<Path>) -> bool {
    matches!(try_open(path).await, Err(StoreError::InUse(_)))
}

#[tokio::test]
async fn a_second_open_is_refused_until_the_first_is_closed() {
    let (_folder, path) = place();
    let first = open(&path).await;
    assert!(is_in_use(&path).await);
    first.close().await;
    open(&path).await;
}

#[tokio::test]
async fn a_store_that_is_dropped_frees_its_lock() {
    let (_folder, path) = place();
    let store = open(&path).await;
    let ends = [store.writer.ended.clone(), store.reader.ended.clone()];
    drop(store);
    for mut end in ends {
        assert!(end.changed().await.is_err());
    }
    open(&path).await;
}

#[tokio::test]
async fn other_names_of_the_file_meet_the_same_lock() {
    let (folder, path) = place();
    let link = folder.path().join("link.db");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&path, &link).unwrap();
    #[cfg(not(unix))]
    let link = path.clone();
    let store = open(&path).await;
    assert!(is_in_use(&link).await);
    assert!(is_in_use(folder.path().join(".").join("runs.db")).await);
    store.close().await;
    let store = open(&link).await;
    assert!(is_in_use(&path).await);
    store.close().await;
}

#[tokio::test]
async fn the_lock_of_another_process_is_respected() {
    let (_folder, path) = place();
    // Each open file is an owner of its own to the kernel, as another process is.
    let elsewhere = lock::Lock::take(&path).unwrap();
    assert!(is_in_use(&path).await);
    drop(elsewhere);
    open(&path).await;
}

#[tokio::test]
async fn a_file_of_any_name_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in [":memory:", "file:x?mode=memory", "sqlite:", "a b%20c#d?e=f", "naïve 漢字.db"] {
        let path = folder.path().join(name);
        let store = open(&path).await;
        let run_id = submit(&store, &unowned()).await.output.run_id;
        store.close().await;
        assert!(path.metadata().unwrap().len() > 0, "{name}");
        let store = open(&path).await;
        assert_eq!(get(&store, run_id).await.output.run_id, run_id, "{name}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_place_that_can_be_no_store_is_refused_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "no database, but long enough to be looked at as if it were one".repeat(100)).unwrap();
    let read_only = folder.path().join("read-only.db");
    std::fs::write(&read_only, "").unwrap();
    let mut permissions = read_only.metadata().unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&read_only, permissions).unwrap();
    let cases = [
        (folder.path().join("missing/runs.db"), "cannot be made"),
        (folder.path().to_owned(), "is not a file"),
        (text, "is no SQLite database"),
        (read_only, "is read-only"),
        (PathBuf::new(), "is no path"),
        (folder.path().join("a\0b"), "cannot be made"),
    ];
    for (path, expected) in cases {
        match try_open(&path).await.map(|_| ()) {
            Err(StoreError::Option { option: "path", problem }) => {
                assert!(problem.contains(expected), "{problem}");
                assert!(problem.contains(&path.display().to_string()), "{problem}");
            }
            other => panic!("{}: {other:?}", path.display()),
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_path_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(std::ffi::OsStr::from_bytes(b"runs-\xff.db"));
    let error = try_open(&path).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("is not UTF-8"), "{error}");
}

#[tokio::test]
async fn tables_that_are_not_greenrooms_are_left_alone() {
    let (_folder, path) = place();
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    conn.batch_execute("CREATE TABLE runs (mine TEXT)").unwrap();
    let error = try_open(&path).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Migration(_)), "{error:?}");
    conn.batch_execute("INSERT INTO runs (mine) VALUES ('still here')").unwrap();
}

#[tokio::test]
async fn everything_survives_a_reopen() {
    let (folder, path) = place();
    let store = open(&path).await;
    let asked = with(unowned(), |run| run.input = serde_json::json!({"deep": [1, "two"]}).into());
    let later = InsertRun {
        delayed: true,
        ..with(asked.clone(), |run| {
            run.output.run_id = RunId::new();
            run.run_at = in_an_hour();
        })
    };
    let waiting = submit(&store, &asked).await;
    let later = submit(&store, &later).await;
    let done = settled(&store, owned(), Completed).await;
    let (done_before, log) = (get(&store, done).await, events(&store, done).await);
    let awaited = owned();
    assert_eq!(cancel(&store, id(&awaited)).await, CancelWritten::IntentStored);
    store.close().await;
    let files: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name.to_string_lossy().ends_with("-wal")), "{files:?}");

    let store = open(&path).await;
    assert_eq!(get(&store, id(&asked)).await, waiting);
    assert_eq!(get(&store, later.output.run_id).await, later);
    assert_eq!((get(&store, done).await, events(&store, done).await), (done_before, log));
    assert_eq!(taken_ids(&claim(&store, NodeId::new(), 10).await), [id(&asked)]);
    assert_eq!(cancel(&store, RunId::new()).await, CancelWritten::IntentStored);
    let written = store.write(0, Arc::new([Write::Insert(Box::new(awaited.clone()))])).await.unwrap();
    assert!(format!("{written:?}").contains("cancel_wanted: true"), "{written:?}");
}

#[tokio::test]
async fn reads_go_on_while_a_batch_is_being_written() {
    let (_folder, path) = place();
    let store = open(&path).await;
    let mut attempt = Attempt::start(&store, owned()).await;
    let run_id = attempt.run_id;
    let batch = [Write::Advance(Box::new(attempt.next(settle(Completed))))];
    let (held, is_held) = tokio::sync::oneshot::channel();
    let (release, released) = mpsc::channel::<()>();
    let writer = store.writer.clone();
    let writing = tokio::spawn(async move {
        let job = move |conn: &mut SqliteConnection| {
            transact(conn, |conn| {
                conn.batch_execute("UPDATE runs SET priority = 9").map_err(StoreError::from)?;
                held.send(()).unwrap();
                released.recv().unwrap();
                Ok(())
            })?;
            write::write(conn, &batch, LIMITS)
        };
        writer.run(job).await
    });
    is_held.await.unwrap();

    let run = get(&store, run_id).await;
    assert_eq!((run.output.status, run.priority), (Running, 0));
    assert_eq!(events(&store, run_id).await.len(), 1);

    release.send(()).unwrap();
    writing.await.unwrap().unwrap();
    let run = get(&store, run_id).await;
    assert_eq!((run.output.status, run.priority), (Completed, 9));
    attempt.next_seq = 2;
    assert!(attempt.try_write(Change::Append).await.is_err());
}

#[tokio::test]
async fn a_write_whose_caller_has_gone_is_done_all_the_same() {
    let store = Sqlite::open(None, LIMITS).await.unwrap();
    let (release, released) = mpsc::channel::<()>();
    let run = owned();
    let (holding, inserting) = {
        let writer = store.writer.clone();
        let holding = tokio::spawn(async move { writer.run(move |_| Ok(released.recv().is_ok())).await });
        let mut inserting = store.write(0, Arc::new([Write::Insert(Box::new(run.clone()))]));
        tokio::task::yield_now().await;
        assert!(futures_util::poll!(&mut inserting).is_pending());
        (holding, inserting)
    };
    drop(inserting);
    release.send(()).unwrap();
    assert!(holding.await.unwrap().unwrap());
    assert_eq!(get(&store, id(&run)).await.output.run_id, id(&run));
}

#[tokio::test]
async fn a_panic_harms_no_later_job_and_leaves_nothing_behind() {
    for path in [None, Some(place())] {
        let store = Sqlite::open(path.as_ref().map(|(_, path)| path.clone()), LIMITS).await.unwrap();
        let run_id = submit(&store, &unowned()).await.output.run_id;
        let panicking = |conn: &mut SqliteConnection| -> StoreResult<()> {
            transact(conn, |conn| {
                conn.batch_execute("DELETE FROM runs").map_err(StoreError::from)?;
                panic!("on purpose");
            })
        };
        let error = store.writer.run(panicking).await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        assert_eq!(get(&store, run_id).await.output.run_id, run_id);
        assert_eq!(cancel(&store, run_id).await, CancelWritten::Cancelled);
        assert_eq!(get(&store, run_id).await.output.status, Cancelled);
        store.close().await;
    }
}

#[tokio::test]
async fn a_full_disk_is_an_outage_and_not_a_fault_of_the_data() {
    let (_folder, path) = place();
    let store = open(&path).await;
    let small = |conn: &mut SqliteConnection| {
        conn.batch_execute("PRAGMA max_page_count = 40; VACUUM").map_err(StoreError::from)
    };
    store.writer.run(small).await.unwrap();
    let large = with(unowned(), |run| run.input = "x".repeat(1 << 20).into());
    let batch: Arc<[Write]> = Arc::new([Write::Insert(Box::new(large.clone()))]);
    let error = store.write(0, Arc::clone(&batch)).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("full"), "{error:?}");
    assert!(store.get(id(&large)).await.unwrap().is_none());

    let freed =
        |conn: &mut SqliteConnection| conn.batch_execute("PRAGMA max_page_count = 100000").map_err(StoreError::from);
    store.writer.run(freed).await.unwrap();
    store.write(0, batch).await.unwrap();
    assert_eq!(get(&store, id(&large)).await.input, large.run.input);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_told_by_its_column_and_not_by_its_content() {
    let store = Sqlite::open(None, LIMITS).await.unwrap();
    let run_id = submit(&store, &unowned()).await.output.run_id;
    let spoil = |conn: &mut SqliteConnection| {
        conn.batch_execute("UPDATE run_inputs SET input = '{my secret'").map_err(StoreError::from)
    };
    store.writer.run(spoil).await.unwrap();
    let error = store.get(run_id).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert!(error.to_string().contains("`input`") && !error.to_string().contains("secret"), "{error}");
}

#[test]
fn the_migration_can_be_undone() {
    use diesel_migrations::{FileBasedMigrations, MigrationHarness};
    let migrations = || FileBasedMigrations::from_path("migrations/sqlite").unwrap();
    let mut conn = SqliteConnection::establish(":memory:").unwrap();
    for _ in 0..2 {
        conn.run_pending_migrations(migrations()).unwrap();
        conn.revert_all_migrations(migrations()).unwrap();
    }
}
