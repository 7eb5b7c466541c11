//! The suite's own Postgres: one throw-away server for each test process, one database for each test.
//!
//! Included by path from the integration tests and from the library's unit tests. The server is found in this order:
//! `TEST_DATABASE_URL` (a server where databases may be created), the installed binaries (`PG_BIN`, the usual places,
//! `PATH`), and for root on a machine with apt-get the distribution's package. Otherwise the tests fail and say what to do:
//! a suite that skips its database proves nothing.

#![allow(dead_code, reason = "each crate that includes this file uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests include this file")]

#[path = "postgres/binaries.rs"]
mod binaries;
#[path = "postgres/cluster.rs"]
mod cluster;
#[path = "packages.rs"]
pub(crate) mod packages;
#[path = "postgres/pooler.rs"]
mod pooler;

use std::env;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::runtime::Builder;
use tokio_postgres::NoTls;

use self::cluster::Cluster;

/// Nothing on the shared server has to survive a loss of power.
const SHARED_SETTINGS: [&str; 3] = ["fsync=off", "full_page_writes=off", "synchronous_commit=off"];

/// A database that no other test sees.
#[derive(Debug)]
pub(crate) struct Database {
    url: String,
    /// Where to drop it: only on a server that outlives this process.
    dropped_through: Option<String>,
}

impl Database {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(server) = self.dropped_through.take() {
            let name = self.url.rsplit('/').next().unwrap_or_default().split('?').next().unwrap_or_default();
            let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            // A thread of its own, because a runtime may be at work on this one.
            std::thread::spawn(move || execute(&server, &sql)).join().map(drop).unwrap_or_default();
        }
    }
}

/// A new, empty database on the server of this test process, which the first call starts.
pub(crate) async fn fresh_database() -> Database {
    // Off the caller's runtime: its clock may be paused, and its only thread may have other things to do.
    aside(|| {
        let shared = shared_server().unwrap_or_else(|problem| panic!("{problem}"));
        let name = format!("greenroom_test_{:016x}", cluster::random());
        execute(&shared.url, &format!("CREATE DATABASE {name} TEMPLATE template0"))
            .unwrap_or_else(|problem| panic!("no test database on {}: {problem}", without_password(&shared.url)));
        let dropped_through = shared.outlives_us.then(|| shared.url.clone());
        Database { url: with_database(&shared.url, &name), dropped_through }
    })
    .await
}

/// The same database by way of a PgBouncer in transaction mode that has one connection to it, shared by all who come. None,
/// after saying so, where there is no PgBouncer, or where the tests were given a server that it would need a password for.
pub(crate) async fn pooled(database: &Database) -> Option<String> {
    through(&pooler::STRICT, database).await
}

/// The same, through a pooler that passes over what it does not let through instead of refusing it.
pub(crate) async fn pooled_with_indulgence(database: &Database) -> Option<String> {
    through(&pooler::INDULGENT, database).await
}

async fn through(pooler: &'static pooler::Shared, database: &Database) -> Option<String> {
    let url = database.url.clone();
    aside(move || match pooler.start(&url) {
        Ok(pooler) => Some(with_database(&pooler, url.rsplit('/').next().unwrap_or_default())),
        Err(problem) => {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            packages::say(&format!("SKIPPED the pooler in {test}: {problem}"));
            None
        }
    })
    .await
}

/// A server of a test's own, to stop and to start: with the durability that Postgres has by default.
pub(crate) struct Server {
    cluster: Arc<Mutex<Cluster>>,
    url: String,
    directory: PathBuf,
}

impl Server {
    /// None, after saying so, where the tests were given a server by `TEST_DATABASE_URL` and have no binaries.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// With these settings beside the usual ones.
    pub(crate) async fn start_with(settings: &'static [&'static str]) -> Option<Self> {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        aside(move || {
            let missing = binaries::find().unwrap_or_else(|problem| panic!("{problem}")).is_none();
            if missing && given_server().is_some() {
                packages::say(&format!("SKIPPED {test}: it stops and starts a server of its own; {}", binaries::HELP));
                return None;
            }
            let cluster = Cluster::start(settings).unwrap_or_else(|problem| panic!("{problem}"));
            let (url, directory) = (url_of(&cluster), cluster.directory().to_owned());
            Some(Self { cluster: Arc::new(Mutex::new(cluster)), url, directory })
        })
        .await
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Gone when the server is dropped.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Like a crash: connections are cut, nothing is written, the next start has to recover.
    pub(crate) async fn stop_immediately(&self) {
        self.with_cluster(|cluster| cluster.stop_server("QUIT")).await;
    }

    /// As an administrator does it: transactions are rolled back, connections closed, everything written.
    pub(crate) async fn stop_fast(&self) {
        self.with_cluster(|cluster| cluster.stop_server("INT")).await;
    }

    /// On the same port and data; returns when the server takes connections.
    pub(crate) async fn start_again(&self) {
        self.with_cluster(Cluster::start_server).await;
    }

    async fn with_cluster(&self, work: impl FnOnce(&mut Cluster) -> Result<(), String> + Send + 'static) {
        let cluster = Arc::clone(&self.cluster);
        aside(move || {
            let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut cluster).unwrap_or_else(|problem| panic!("{problem}"));
        })
        .await;
    }
}

/// Where the programs of Postgres are, if this machine has them.
pub(crate) fn programs() -> Option<PathBuf> {
    binaries::find().ok().flatten()
}

struct Shared {
    url: String,
    outlives_us: bool,
    /// Never dropped, as a static; the end of the process is what stops it.
    _cluster: Option<Mutex<Cluster>>,
}

fn shared_server() -> Result<&'static Shared, &'static String> {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    // A failure is kept as well: a hundred tests should not try in vain to install the same package.
    SHARED
        .get_or_init(|| match given_server() {
            Some(url) => Ok(Shared { url, outlives_us: true, _cluster: None }),
            None => Cluster::start(&SHARED_SETTINGS).map(|cluster| Shared {
                url: url_of(&cluster),
                outlives_us: false,
                _cluster: Some(Mutex::new(cluster)),
            }),
        })
        .as_ref()
}

fn given_server() -> Option<String> {
    env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty())
}

fn url_of(cluster: &Cluster) -> String {
    format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port())
}

fn with_database(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("TEST_DATABASE_URL has the form postgres://user@host:port/name");
    let (place, options) =
        rest.split_once('?').map_or((rest, String::new()), |(place, tail)| (place, format!("?{tail}")));
    let server = place.split('/').next().unwrap_or_default();
    format!("{scheme}://{server}/{name}{options}")
}

fn without_password(url: &str) -> &str {
    url.rsplit('@').next().unwrap_or_default()
}

fn execute(url: &str, sql: &str) -> Result<(), String> {
    let explain = |error: tokio_postgres::Error| {
        format!("{error}: {}", std::error::Error::source(&error).map_or_else(String::new, ToString::to_string))
    };
    Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(explain)?;
        let connection = tokio::spawn(connection);
        let outcome = client.batch_execute(sql).await.map_err(explain);
        // Until the server has seen the goodbye, it may count this session against the database.
        drop(client);
        connection.await.map(drop).unwrap_or_default();
        outcome
    })
}

async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => resume_unwind(failed.into_panic()),
    }
}
