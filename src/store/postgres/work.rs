//! Work with a connection: on which threads, within what time, and what becomes of the connection when it fails.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use deadpool::managed::Object;
use diesel::QueryResult;
use futures_util::future::BoxFuture;

use super::connect::Purpose;
use super::connection::Connection;
use super::error::from_diesel;
use super::pool::Readers;
use super::{Inner, Kept, Postgres};
use crate::store::{StoreError, StoreResult, within};
use crate::telemetry;

impl Postgres {
    /// Runs `work` on the store's own threads. Dropping the future does not stop the work.
    pub(super) fn run<T, F, Fut>(&self, work: F) -> BoxFuture<'_, StoreResult<T>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Inner>) -> Fut,
        Fut: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let task = {
            let io = self.io.lock().unwrap_or_else(PoisonError::into_inner);
            io.as_ref().map(|io| io.spawn(work(Arc::clone(&self.inner))))
        };
        Box::pin(async move {
            match task {
                None => Err(StoreError::Closed),
                Some(task) => task.await.unwrap_or_else(|error| {
                    if error.is_panic() {
                        tracing::error!("the store's own code panicked: {error}");
                    }
                    Err(StoreError::Closed)
                }),
            }
        })
    }

    /// Works with the connection of the lease, on the caller's own runtime: the store's threads may be busy.
    pub(super) fn with_lease<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, QueryResult<T>> + Send + 'static,
    ) -> BoxFuture<'_, StoreResult<T>> {
        let closed = self.io.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        Box::pin(async move {
            if closed {
                return Err(StoreError::Closed);
            }
            let worked = self.inner.with_kept(&self.inner.lease, |conn| {
                Box::pin(async move { work(conn).await.map_err(|error| from_diesel(&error)) })
            });
            worked.await
        })
    }

    /// Reads with a pooled connection, as [`Inner::read`] does.
    pub(super) fn read<T, F>(&self, read: F) -> BoxFuture<'_, StoreResult<T>>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Connection) -> BoxFuture<'c, StoreResult<T>> + Send + Sync + 'static,
    {
        self.run(move |inner| async move { inner.read(read).await })
    }
}

impl Inner {
    /// Reads with a pooled connection, once more when the first one turns out to be dead.
    pub(super) async fn read<T, F>(&self, read: F) -> StoreResult<T>
    where
        F: for<'c> Fn(&'c mut Connection) -> BoxFuture<'c, StoreResult<T>>,
    {
        match self.read_once(&read).await {
            Err(StoreError::Unavailable(_)) => self.read_once(&read).await,
            other => other,
        }
    }

    pub(super) async fn read_once<T, F>(&self, read: &F) -> StoreResult<T>
    where
        F: for<'c> Fn(&'c mut Connection) -> BoxFuture<'c, StoreResult<T>>,
    {
        let asked = Instant::now();
        let given = within(self.connect_timeout, async {
            self.reads.get().await.map_err(|error| StoreError::Unavailable(error.to_string()))
        });
        let mut conn = given.await.inspect(|_| telemetry::pool_waited(asked.elapsed()))?;
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
