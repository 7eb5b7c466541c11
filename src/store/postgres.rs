//! The production store: Postgres 14 or newer, through diesel-async.

mod options;

pub use self::options::PostgresOptions;
