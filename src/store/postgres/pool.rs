//! The pool of connections for reads.

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};

use super::PostgresOptions;
use super::connect::{Connector, Purpose};
use crate::store::{StoreError, StoreResult};

pub(super) fn pool(connector: &Connector, options: &PostgresOptions) -> StoreResult<Pool<AsyncPgConnection>> {
    let mut config = ManagerConfig::default();
    let connector = connector.clone();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |_| {
        let connector = connector.clone();
        Box::pin(async move {
            connector
                .connect(Purpose::Read)
                .await
                .map_err(|error| diesel::ConnectionError::BadConnection(error.to_string()))
        })
    });
    // The connector knows the URL; the pool only hands this text on.
    let manager = AsyncDieselConnectionManager::new_with_config("", config);
    Pool::builder(manager)
        .max_size(options.read_connections)
        .build()
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}
