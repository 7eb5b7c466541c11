//! How to reach and use a Postgres.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use crate::store::{StoreError, StoreResult};

/// How to reach and use a Postgres; becomes a [`Store`](crate::Store) by `into()`.
///
/// ```
/// use std::time::Duration;
/// use greenroom::{PostgresOptions, Store};
///
/// let store: Store = PostgresOptions::new("postgres://localhost/app")
///     .schema("agents")
///     .statement_timeout(Duration::from_secs(5))
///     .into();
/// ```
///
/// # Connections
///
/// Each process makes them when it needs them, and holds up to [`write_lanes`](Self::write_lanes) +
/// [`read_connections`](Self::read_connections) + 3 of them, 9 by default: one is for claims and for the runs of dead processes,
/// one for the lease, and one to listen, which there is not with [`poll_only`](Self::poll_only). One more is made while the
/// tables are brought up to date, and while [retention](crate::RuntimeBuilder::retention) deletes runs.
///
/// # When the database does not answer
///
/// A read waits for a connection for the [`connect_timeout`](Self::connect_timeout), and for its answer for the
/// [`statement_timeout`](Self::statement_timeout) and 2 s; then it is tried once more. So it fails after 34 s at the latest by
/// default, and at once where connections are refused. Runs that are read at the same time are read together: one that is asked
/// for while others are may wait for that statement first, for as long again. Submits, continues and cancels have the
/// [`call_timeout`](crate::RuntimeBuilder::call_timeout) of the runtime, whatever these options say.
///
/// `Debug` does not show the URL.
#[derive(Clone)]
#[must_use = "options do nothing until they are given to a runtime"]
pub struct PostgresOptions {
    pub(super) url: SecretString,
    pub(super) schema: String,
    pub(super) migrate: bool,
    pub(super) read_connections: usize,
    pub(super) write_lanes: usize,
    pub(super) connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
    pub(super) lock_timeout: Duration,
    pub(super) poll_only: bool,
}

impl PostgresOptions {
    /// The default options for the database at `url`, `postgres://user:password@host:port/database`.
    ///
    /// `sslmode` in the URL means what it means to libpq: `disable`, `prefer` (the default) and `require` as there, without
    /// a check of the certificate; `verify-full` and `verify-ca` check it, and the host name too, against the roots of the
    /// operating system, or those of the PEM file that `sslrootcert` names.
    /// Source: [libpq's table of modes](https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION).
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            schema: "greenroom".to_owned(),
            migrate: true,
            read_connections: 4,
            write_lanes: 2,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            poll_only: false,
        }
    }

    /// The schema that holds all of Greenroom's tables, 1 to 63 bytes; `greenroom` when left out. Two Greenrooms with two schemas
    /// share a database without knowing of each other.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Whether the runtime makes the schema and brings its tables up to date when it starts; yes when left out. Safe when
    /// several processes start at once.
    ///
    /// A runtime that does not do it refuses to start while something is pending. The SQL is in the crate, in
    /// [`migrations/postgres`](https://docs.rs/crate/greenroom/latest/source/migrations/postgres/), for the
    /// [`diesel`](https://docs.rs/crate/diesel_cli/latest) command, which notes what it has applied in the same schema. The files
    /// name no schema: make it first, and let it be the `search_path` of the session, and nothing else:
    ///
    /// ```sh
    /// psql "$DATABASE_URL" -c 'CREATE SCHEMA IF NOT EXISTS greenroom'
    /// PGOPTIONS='-c search_path=greenroom' diesel migration run --migration-dir migrations/postgres
    /// ```
    ///
    /// A runtime that migrates has to own the tables, and to be allowed to make the schema where there is none. One that does not
    /// needs `USAGE` on the schema, and `SELECT`, `INSERT`, `UPDATE` and `DELETE` on its tables.
    ///
    /// A release works with the tables of the release before it, and that one with the tables of this one. So a deploy migrates
    /// first, by the first process of the new release or by hand, and both releases may be at work meanwhile.
    pub const fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// How many connections reads may use, 1 to 100; 4 when left out. Writes have connections of their own.
    pub const fn read_connections(mut self, connections: usize) -> Self {
        self.read_connections = connections;
        self
    }

    /// How many batches are written at the same time, each over its own connection, 1 to 16; 2 when left out.
    pub const fn write_lanes(mut self, lanes: usize) -> Self {
        self.write_lanes = lanes;
        self
    }

    /// How long making a connection, or waiting for a free one, may take, 1 ms to 24 h; 5 s when left out.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a statement may take (`statement_timeout` of Postgres), 1 ms to 24 h; 10 s when left out.
    pub const fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// How long a statement may wait for a lock (`lock_timeout` of Postgres), 1 ms to 24 h; 5 s when left out.
    pub const fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Goes without anything that outlives a transaction, for a pooler in transaction mode (PgBouncer, pgcat, Supavisor).
    ///
    /// Left out, each process has one connection on which it listens for hints (`LISTEN`): that runs wait, that a run of its
    /// own is to be cancelled, that a run that somebody follows has gone on. In this mode there are no hints. Whatever
    /// another process has done is found by looking, once in each [poll
    /// interval](crate::RuntimeBuilder::poll_interval): a cancel, a waiting run, the events of a run that lives elsewhere. What
    /// happens within one process is as fast as ever, and every guarantee is the same.
    ///
    /// Nothing is set for a session and nothing stays prepared: each statement is prepared anew, in a transaction that
    /// begins by setting the search path and the timeouts. So a statement costs four round trips instead of one.
    ///
    /// What the pooler needs: any pool size works, from 1 on, since a connection of the server is used for a transaction at
    /// a time; but what is not served within [`statement_timeout`](Self::statement_timeout) and 2 s is taken for an outage,
    /// and a renewal of the [lease](crate::RuntimeBuilder::lease_ttl) queues with everything else. A process holds up to
    /// [`write_lanes`](Self::write_lanes) + [`read_connections`](Self::read_connections) + 2 client connections. PgBouncer
    /// needs no option of its own: neither `max_prepared_statements` nor, unless the URL has `options`,
    /// `ignore_startup_parameters`. Tested with PgBouncer 1.18.
    ///
    /// A database can be used directly by some processes, and through a pooler by others.
    pub const fn poll_only(mut self) -> Self {
        self.poll_only = true;
        self
    }

    /// Checks everything but the URL, which the parser of the driver checks.
    pub(super) fn check(&self) -> StoreResult<()> {
        let wrong = |option, problem: String| Err(StoreError::Option { option, problem });
        if self.schema.is_empty() || self.schema.len() > 63 || self.schema.chars().any(char::is_control) {
            return wrong("schema", "must be 1 to 63 bytes long, without control characters".to_owned());
        }
        if self.schema.starts_with("pg_") {
            return wrong("schema", "must not start with `pg_`, which Postgres keeps for itself".to_owned());
        }
        if self.schema == "$user" {
            return wrong("schema", "must not be `$user`, which means another schema for each role".to_owned());
        }
        if !(1..=100).contains(&self.read_connections) {
            return wrong("read_connections", format!("must be between 1 and 100, found {}", self.read_connections));
        }
        if !(1..=16).contains(&self.write_lanes) {
            return wrong("write_lanes", format!("must be between 1 and 16, found {}", self.write_lanes));
        }
        for (option, timeout) in [
            ("connect_timeout", self.connect_timeout),
            ("statement_timeout", self.statement_timeout),
            ("lock_timeout", self.lock_timeout),
        ] {
            if timeout < Duration::from_millis(1) || timeout > Duration::from_secs(24 * 60 * 60) {
                return wrong(option, "must be between 1 ms and 24 h".to_owned());
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("schema", &self.schema)
            .field("migrate", &self.migrate)
            .field("poll_only", &self.poll_only)
            .finish_non_exhaustive()
    }
}
