//! Makes connections: what the URL says, TLS, and the settings of each session.

use std::time::Duration;

use diesel_async::AsyncPgConnection;
use secrecy::ExposeSecret;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresOptions;
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
}

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
        })
    }

    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    /// The longest that a healthy server can take for one statement; past it the connection is taken for dead.
    pub(super) fn patience(&self) -> Duration {
        self.statement_timeout + Duration::from_secs(2)
    }

    /// Makes a connection; it is driven by the runtime on which this is called.
    pub(super) async fn connect(&self, purpose: Purpose) -> StoreResult<AsyncPgConnection> {
        let mut config = self.config.clone();
        let asked = config.get_options().unwrap_or_default().to_owned();
        config.options(format!("{asked} {}", self.settings(purpose)));
        let connecting = async {
            let (client, connection) = config.connect(self.tls.clone()).await.map_err(|error| unreachable(&error))?;
            AsyncPgConnection::try_from_client_and_connection(client, connection)
                .await
                .map_err(|error| unreachable(&error))
        };
        tokio::time::timeout(self.connect_timeout, connecting).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!("no connection within {:?}", self.connect_timeout)))
        })
    }

    /// The session's settings, as the `options` of the start-up message: no further round trip.
    /// Source: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS>.
    fn settings(&self, purpose: Purpose) -> String {
        let schema = escape(&format!("\"{}\"", self.schema.replace('"', "\"\"")));
        let statement_timeout = self.statement_timeout.as_millis();
        let lock_timeout = self.lock_timeout.as_millis();
        let common = format!("-c search_path={schema}");
        let timeouts = format!(
            "-c statement_timeout={statement_timeout} -c lock_timeout={lock_timeout} \
             -c idle_in_transaction_session_timeout={statement_timeout}"
        );
        match purpose {
            Purpose::Read => format!("{common} {timeouts}"),
            Purpose::Write => format!(
                "{common} {timeouts} -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off"
            ),
            Purpose::Migrate => format!("{common} -c statement_timeout=0 -c lock_timeout=0"),
        }
    }
}

/// Escapes a value for the `options` of a start-up message, which are split at blanks.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(' ', "\\ ")
}

/// An error without a server that answers; its message names causes, never the URL.
fn unreachable(error: &dyn std::error::Error) -> StoreError {
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
        let settings = Connector::new(&options).unwrap().settings(Purpose::Migrate);
        assert!(settings.contains(r#"search_path="my\ ""odd\\schema""#), "{settings}");
    }
}
