//! A Postgres of a group's own, and a fresh database on it for each measurement.

use std::cell::{Cell, RefCell};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use tokio_postgres::{Client, NoTls};

use crate::postgres::Server;

pub(crate) struct Host {
    server: Server,
    /// Replaced when the server was restarted.
    admin: RefCell<Rc<Client>>,
    /// The names of the databases that were made so far.
    made: RefCell<Vec<String>>,
    /// From where on the log is read.
    unread: Cell<usize>,
}

impl Host {
    /// None where there is no Postgres to start.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// With these settings beside the usual ones.
    pub(crate) async fn start_with(settings: &'static [&'static str]) -> Option<Self> {
        let server = Server::start_with(settings).await?;
        let admin = RefCell::new(Rc::new(connect(server.url()).await));
        Some(Self { server, admin, made: RefCell::default(), unread: Cell::default() })
    }

    /// Stops the server as a crash does it.
    pub(crate) async fn stop_immediately(&self) {
        self.server.stop_immediately().await;
    }

    /// Starts the server that was stopped; returns when it takes connections.
    pub(crate) async fn start_again(&self) {
        self.server.start_again().await;
        let admin = connect(self.server.url()).await;
        self.admin.replace(Rc::new(admin));
    }

    /// What the server has logged since [`forget_log`](Self::forget_log).
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.server.directory().join("log")).unwrap();
        String::from_utf8_lossy(&log[self.unread.get().min(log.len())..]).into_owned()
    }

    /// Passes over what is in the log by now.
    pub(crate) fn forget_log(&self) {
        let log = fs::metadata(self.server.directory().join("log")).unwrap();
        self.unread.set(usize::try_from(log.len()).unwrap());
    }

    /// The URL of an empty database; those before it are dropped.
    pub(crate) async fn fresh(&self) -> String {
        let (admin, before) = (self.admin.borrow().clone(), self.made.borrow().clone());
        if let Some(name) = before.last() {
            admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
        }
        let name = format!("bench_{}", before.len());
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        // What the last one left to be written is not this one's to pay.
        admin.batch_execute("CHECKPOINT").await.unwrap();
        self.made.borrow_mut().push(name.clone());
        let (server, _) = self.server.url().rsplit_once('/').unwrap();
        format!("{server}/{name}")
    }
}

/// A connection that a task of its own drives.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A program that comes with Postgres; none where only a part of it is installed.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let beside = crate::postgres::programs().map(|directory| directory.join(name)).filter(|path| path.is_file());
    let on_path = || {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
    };
    beside.or_else(on_path)
}
