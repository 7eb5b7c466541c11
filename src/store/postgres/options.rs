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
        }
    }

    /// The schema that holds all of Greenroom's tables; `greenroom` when left out. Two Greenrooms with two schemas share a
    /// database without knowing of each other.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Whether the runtime makes the schema and brings its tables up to date when it starts; yes when left out. Safe when
    /// several processes start at once.
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

    /// How long making a connection, or waiting for a free one, may take; 5 s when left out.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a statement may take (`statement_timeout` of Postgres); 10 s when left out.
    pub const fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// How long a statement may wait for a lock (`lock_timeout` of Postgres); 5 s when left out.
    pub const fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
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
            .finish_non_exhaustive()
    }
}
