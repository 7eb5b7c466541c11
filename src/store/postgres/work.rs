//! Work with a connection: within what time, and what becomes of the connection when it fails.

use deadpool::managed::Object;
use futures_util::future::BoxFuture;

use super::connect::Purpose;
use super::connection::Connection;
use super::pool::Readers;
use super::{Inner, Kept};
use crate::store::{StoreError, StoreResult, within};

impl Inner {
    pub(super) async fn read_once<T, F>(&self, read: &F) -> StoreResult<T>
    where
        F: for<'c> Fn(&'c mut Connection) -> BoxFuture<'c, StoreResult<T>>,
    {
        let mut conn = within(self.connect_timeout, async {
            self.reads.get().await.map_err(|error| StoreError::Unavailable(error.to_string()))
        })
        .await?;
        within(self.connector.patience(), read(&mut conn)).await.inspect_err(|error| {
            if error.is_retryable() {
                // The pool would hand it out again: it only knows of connections that closed in good order.
                self.forget(conn);
            }
        })
    }

    fn forget(&self, conn: Object<Readers>) {
        drop(Object::take(conn));
    }

    /// Works with a connection that is kept for this purpose; any error of the connection replaces it.
    pub(super) async fn with_kept<T>(
        &self,
        kept: &Kept,
        work: impl for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, StoreResult<T>>,
    ) -> StoreResult<T> {
        let mut kept = kept.lock().await;
        // Taken out: whatever ends this early, a half-used connection is not used again.
        let mut conn = match kept.take() {
            Some(conn) => conn,
            None => self.connector.connect(Purpose::Write).await?,
        };
        let worked = within(self.connector.patience(), work(&mut conn)).await;
        if !matches!(worked, Err(StoreError::Unavailable(_))) {
            *kept = Some(conn);
        }
        worked
    }
}
