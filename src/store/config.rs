//! Which store a runtime uses.

use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "postgres")]
use super::PostgresOptions;
use super::{RunStore, StoreLimits, StoreResult};

/// Which store a runtime uses; it is opened when the runtime starts.
#[derive(Clone)]
pub struct Store(Kind);

#[derive(Clone)]
enum Kind {
    #[cfg(feature = "postgres")]
    Postgres(PostgresOptions),
    #[cfg(feature = "sqlite")]
    Sqlite(Option<PathBuf>),
}

impl Store {
    /// Any Postgres 14 or newer, with default [options](PostgresOptions).
    ///
    /// `url` is a `postgres://user:password@host:port/database?sslmode=…` URL.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn postgres(url: impl Into<String>) -> Self {
        PostgresOptions::new(url).into()
    }

    /// SQLite in one durable file, which is made when it does not exist (its folder is not).
    ///
    /// The file belongs to one runtime of one process at a time: a second one is refused. The next start takes over what
    /// a dead process left.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self(Kind::Sqlite(Some(path.into())))
    }

    /// SQLite in memory: nothing to set up, nothing left when the runtime ends.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub const fn sqlite_in_memory() -> Self {
        Self(Kind::Sqlite(None))
    }

    /// Opens the store.
    pub(crate) async fn open(self, limits: StoreLimits) -> StoreResult<Arc<dyn RunStore>> {
        match self.0 {
            #[cfg(feature = "postgres")]
            Kind::Postgres(options) => Ok(Arc::new(super::postgres::Postgres::open(options, limits).await?)),
            #[cfg(feature = "sqlite")]
            Kind::Sqlite(path) => Ok(Arc::new(super::sqlite::Sqlite::open(path, limits).await?)),
        }
    }
}

#[cfg(feature = "postgres")]
impl From<PostgresOptions> for Store {
    fn from(options: PostgresOptions) -> Self {
        Self(Kind::Postgres(options))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            #[cfg(feature = "postgres")]
            Kind::Postgres(options) => options.fmt(f),
            #[cfg(feature = "sqlite")]
            Kind::Sqlite(Some(path)) => write!(f, "Store::sqlite({})", path.display()),
            #[cfg(feature = "sqlite")]
            Kind::Sqlite(None) => f.write_str("Store::sqlite_in_memory()"),
        }
    }
}
