//! A connection of the store: what a transaction on it begins with.
//!
//! Behind a pooler in transaction mode, each transaction may meet another session of the server, and what was set or prepared
//! outside of it may be gone, or be somebody else's. There, every statement is put into a transaction that begins with the
//! settings.

use std::sync::Arc;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment, QueryId};
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{AsyncConnectionCore, AsyncPgConnection, SimpleAsyncConnection};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};

#[cfg(test)]
mod tests;

pub(super) struct Connection {
    inner: AsyncPgConnection,
    /// What opens a transaction.
    begin: Arc<str>,
    /// The session has no settings of its own: they come with each transaction.
    is_bare: bool,
    in_transaction: bool,
}

impl Connection {
    /// A connection whose session has all its settings.
    pub(super) fn with_settings(inner: AsyncPgConnection) -> Self {
        Self { inner, begin: "BEGIN".into(), is_bare: false, in_transaction: false }
    }

    /// A connection whose session may be another one in each transaction; `begin` opens one and sets what is needed.
    pub(super) fn without_settings(inner: AsyncPgConnection, begin: String) -> Self {
        Self { inner, begin: begin.into(), is_bare: true, in_transaction: false }
    }

    pub(super) async fn begin(&mut self) -> QueryResult<()> {
        self.in_transaction = true;
        self.inner.batch_execute(&self.begin).await
    }

    pub(super) async fn commit(&mut self) -> QueryResult<()> {
        self.inner.batch_execute("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    pub(super) async fn roll_back(&mut self) -> QueryResult<()> {
        self.inner.batch_execute("ROLLBACK").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Whether it is certainly of no use any more.
    pub(super) fn is_broken(&mut self) -> bool {
        self.in_transaction || PoolableConnection::is_broken(&mut self.inner)
    }

    /// Whether a statement has to be put into a transaction of its own.
    const fn wraps(&self) -> bool {
        self.is_bare && !self.in_transaction
    }
}

/// Does `work` in a transaction of its own.
async fn in_own_transaction<T>(
    mut conn: &AsyncPgConnection,
    begin: &str,
    work: impl Future<Output = QueryResult<T>>,
) -> QueryResult<T> {
    let worked = async {
        conn.batch_execute(begin).await?;
        work.await
    };
    match worked.await {
        Ok(done) => conn.batch_execute("COMMIT").await.map(|()| done),
        Err(error) => {
            // Where the connection is gone this fails as well, which says more than that a statement failed.
            conn.batch_execute("ROLLBACK").await?;
            Err(error)
        }
    }
}

/// Transactions are opened and closed by these words alone.
impl SimpleAsyncConnection for Connection {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        match query {
            "BEGIN" => self.begin().await,
            "COMMIT" => self.commit().await,
            "ROLLBACK" => self.roll_back().await,
            query if self.wraps() => {
                let conn = &self.inner;
                in_own_transaction(conn, &self.begin, SimpleAsyncConnection::batch_execute(&mut &*conn, query)).await
            }
            query => self.inner.batch_execute(query).await,
        }
    }
}

impl AsyncConnectionCore for Connection {
    type LoadFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<Self::Stream<'conn, 'query>>>;
    type ExecuteFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<usize>>;
    type Stream<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::Stream<'conn, 'query>;
    type Row<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::Row<'conn, 'query>;
    type Backend = Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Pg> + QueryId + 'query,
    {
        if !self.wraps() {
            return self.inner.load(source);
        }
        let (conn, begin) = (&self.inner, &*self.begin);
        let load = AsyncConnectionCore::load(&mut &*conn, source);
        Box::pin(async move {
            // The rows are read before the commit: with them goes the statement that was prepared for this transaction.
            let rows = async { load.await?.try_collect::<Vec<_>>().await };
            let rows = in_own_transaction(conn, begin, rows).await?;
            Ok(stream::iter(rows).map(Ok).boxed())
        })
    }

    fn execute_returning_count<'conn, 'query, T>(&'conn mut self, source: T) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Pg> + QueryId + 'query,
    {
        if !self.wraps() {
            return self.inner.execute_returning_count(source);
        }
        let conn = &self.inner;
        let execute = AsyncConnectionCore::execute_returning_count(&mut &*conn, source);
        Box::pin(in_own_transaction(conn, &self.begin, execute))
    }
}
