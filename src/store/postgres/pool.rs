//! The pool of connections for reads.

use deadpool::managed::{Manager, Metrics, Pool, RecycleError, RecycleResult};

use super::PostgresOptions;
use super::connect::{Connector, Purpose};
use super::connection::Connection;
use crate::store::{StoreError, StoreResult};

pub(super) type ReadPool = Pool<Readers>;

/// Makes the connections of the pool.
pub(super) struct Readers(Connector);

pub(super) fn pool(connector: &Connector, options: &PostgresOptions) -> StoreResult<ReadPool> {
    Pool::builder(Readers(connector.clone()))
        .max_size(options.read_connections)
        .build()
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}

impl Manager for Readers {
    type Type = Connection;
    type Error = StoreError;

    async fn create(&self) -> StoreResult<Connection> {
        self.0.connect(Purpose::Read).await
    }

    async fn recycle(&self, conn: &mut Connection, _: &Metrics) -> RecycleResult<StoreError> {
        if conn.is_broken() { Err(RecycleError::message("the connection is closed")) } else { Ok(()) }
    }
}
