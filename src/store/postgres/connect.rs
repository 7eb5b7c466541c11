//! Makes connections: what the URL says, TLS, and the settings of each session.

use std::time::Duration;

use diesel::connection::CacheSize;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use secrecy::ExposeSecret;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresOptions;
use super::connection::Connection;
use super::tls::{self, Verify};
use crate::run::error_chain;
use crate::store::{StoreError, StoreResult};

/// Makes connections to one database with one set of options.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    schema: String,
    connect_timeout: Duration,
    statement_timeout: Duration,
    lock_timeout: Duration,
    poll_only: bool,
}

/// What drives a connection: it must be polled for anything to be sent or received.
pub(super) type Transport = tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// What a connection is for, which decides the settings of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Plans as the planner likes.
    Read,
    /// Batches go by index only: a generic plan made while a table was empty would scan it for ever after.
    Write,
    /// Migrations wait for each other, and take as long as they take.
    Migrate,
}

impl Connector {
    pub(super) fn new(options: &PostgresOptions) -> StoreResult<Self> {
        options.check()?;
        let (url, verify) = tls::split_url(options.url.expose_secret());
        let mut config: Config = url.parse().map_err(|_| StoreError::Option {
            option: "url",
            problem: "must be of the form postgres://user:password@host:port/database".to_owned(),
        })?;
        if verify != Verify::Nothing {
            config.ssl_mode(SslMode::Require);
        }
        if config.get_application_name().is_none() {
            config.application_name("greenroom");
        }
        config.connect_timeout(options.connect_timeout);
        config.keepalives_idle(Duration::from_secs(30));
        Ok(Self {
            config,
            tls: MakeRustlsConnect::new(tls::client_config(&verify)?),
            schema: options.schema.clone(),
            connect_timeout: options.connect_timeout,
            statement_timeout: options.statement_timeout,
            lock_timeout: options.lock_timeout,
            poll_only: options.poll_only,
        })
    }

    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    /// The schema's name as the setting of that name has it.
    pub(super) fn search_path(&self) -> String {
        format!("\"{}\"", self.schema.replace('"', "\"\""))
    }

    /// The longest that a healthy server can take for one statement; past it the connection is taken for dead.
    pub(super) fn patience(&self) -> Duration {
        self.statement_timeout + Duration::from_secs(2)
    }

    /// Makes a connection; it is driven by the runtime on which this is called.
    pub(super) async fn connect(&self, purpose: Purpose) -> StoreResult<Connection> {
        let inner = self.connect_unwrapped(purpose).await?;
        Ok(if self.poll_only {
            Connection::without_settings(inner, self.begin(purpose))
        } else {
            Connection::with_settings(inner)
        })
    }

    /// Makes a connection for those who begin each transaction with [`begin`](Self::begin) themselves.
    pub(super) async fn connect_unwrapped(&self, purpose: Purpose) -> StoreResult<AsyncPgConnection> {
        let setting_up = async {
            let (client, transport) = self.dial(purpose).await?;
            if self.poll_only {
                set_up_in_transaction(client, transport).await
            } else {
                let made = AsyncPgConnection::try_from_client_and_connection(client, transport);
                made.await.map_err(|error| unreachable(&error))
            }
        };
        // On the heap: making a connection takes long anyway, and this would be a part of all that may need one.
        self.in_time(Box::pin(setting_up)).await
    }

    /// Makes a connection to listen on, which the caller drives.
    pub(super) async fn listen(&self) -> StoreResult<(Client, Transport)> {
        self.in_time(Box::pin(self.dial(Purpose::Read))).await
    }

    async fn dial(&self, purpose: Purpose) -> StoreResult<(Client, Transport)> {
        let mut config = self.config.clone();
        // A pooler refuses such options, or has set up its session already.
        if !self.poll_only {
            let asked = config.get_options().unwrap_or_default().to_owned();
            config.options(format!("{asked} {}", self.session_options(purpose)));
        }
        config.connect(self.tls.clone()).await.map_err(|error| unreachable(&error))
    }

    async fn in_time<T>(&self, connecting: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        tokio::time::timeout(self.connect_timeout, connecting).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!("no connection within {:?}", self.connect_timeout)))
        })
    }

    /// The session's settings, as the `options` of the start-up message: no further round trip.
    /// Source: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS>.
    fn session_options(&self, purpose: Purpose) -> String {
        let options = self.settings(purpose).into_iter().map(|(name, value)| format!("-c {name}={}", escape(&value)));
        options.collect::<Vec<_>>().join(" ")
    }

    /// What opens a transaction: with the settings, where the session has none. One round trip.
    pub(super) fn begin(&self, purpose: Purpose) -> String {
        let mut begin = "BEGIN".to_owned();
        if self.poll_only {
            begin.extend(
                self.settings(purpose).into_iter().map(|(name, value)| format!("; SET LOCAL {name} = {value}")),
            );
        }
        begin
    }

    fn settings(&self, purpose: Purpose) -> Vec<(&'static str, String)> {
        let milliseconds = |time: Duration| time.as_millis().to_string();
        let (statement, lock) = match purpose {
            Purpose::Read | Purpose::Write => (self.statement_timeout, self.lock_timeout),
            Purpose::Migrate => (Duration::ZERO, Duration::ZERO),
        };
        let mut settings = vec![
            ("search_path", self.search_path()),
            ("statement_timeout", milliseconds(statement)),
            ("lock_timeout", milliseconds(lock)),
        ];
        if purpose != Purpose::Migrate {
            settings.push(("idle_in_transaction_session_timeout", milliseconds(statement)));
        }
        // A read whose plan is not kept gains nothing by settings that are made anew for each.
        if purpose == Purpose::Write || purpose == Purpose::Read && !self.poll_only {
            let off = ["enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"];
            settings.extend(off.map(|name| (name, "off".to_owned())));
            // Whatever the values are, the plan is the same: making it anew costs a tenth of the throughput of writes, and is nine
            // tenths of what a poll takes.
            settings.push(("plan_cache_mode", "force_generic_plan".to_owned()));
        }
        settings
    }
}

/// Diesel sets the time zone and the encoding of each new session, by statements that it prepares: they need a transaction
/// that keeps them on one session, and so does whatever is prepared later, which is why nothing is kept prepared.
async fn set_up_in_transaction(client: Client, transport: Transport) -> StoreResult<AsyncPgConnection> {
    // It ends when the client is dropped; its errors are those of the client as well.
    tokio::spawn(transport);
    client.batch_execute("BEGIN").await.map_err(|error| unreachable(&error))?;
    let mut conn = AsyncPgConnection::try_from(client).await.map_err(|error| unreachable(&error))?;
    conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    conn.batch_execute("COMMIT").await.map_err(|error| unreachable(&error))?;
    Ok(conn)
}

/// Escapes a value for the `options` of a start-up message, which are split at blanks.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(' ', "\\ ")
}

/// An error without a server that answers; its message names causes, never the URL.
pub(super) fn unreachable(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable(error_chain(error))
}

#[cfg(test)]
mod tests {
    use super::{Connector, Purpose};
    use crate::store::PostgresOptions;

    #[test]
    fn an_impossible_url_is_refused_without_being_repeated() {
        let options = PostgresOptions::new("postgres://me:hunter2@host:notaport/db");
        let error = Connector::new(&options).err().unwrap().to_string();
        assert!(error.contains("`url`") && !error.contains("hunter2"), "{error}");
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn a_schema_may_have_any_name() {
        let options = PostgresOptions::new("postgres://host/db").schema("my \"odd\\schema");
        let settings = Connector::new(&options).unwrap().session_options(Purpose::Migrate);
        assert!(settings.contains(r#"search_path="my\ ""odd\\schema""#), "{settings}");
    }
}
