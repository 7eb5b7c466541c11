//! Postgres by itself.
