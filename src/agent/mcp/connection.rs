//! A connection to a server, which is made again when it was lost.

use std::borrow::Cow;
use std::collections::HashMap;
use std::env;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult, JsonObject, Tool};
use rmcp::service::{ClientInitializeError, RunningService, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{Peer, RoleClient, ServiceExt};
use secrecy::{ExposeSecret, SecretString};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::McpError;
use crate::run::StepKey;

/// Where the `_meta` of a call has its key. The form of the name:
/// <https://modelcontextprotocol.io/specification/2025-06-18/basic#meta>.
const KEY: &str = "greenroom/idempotency-key";

/// What of the environment of this process goes to a server that is a process: what the SDKs of the protocol pass on.
const INHERITED: &[&str] = if cfg!(windows) {
    &[
        "APPDATA",
        "HOMEDRIVE",
        "HOMEPATH",
        "LOCALAPPDATA",
        "PATH",
        "PROGRAMFILES",
        "PROCESSOR_ARCHITECTURE",
        "SYSTEMDRIVE",
        "SYSTEMROOT",
        "TEMP",
        "USERNAME",
        "USERPROFILE",
    ]
} else {
    &["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"]
};

/// How a server is reached.
#[derive(Clone)]
pub(super) enum Target {
    Stdio {
        program: String,
        arguments: Vec<SecretString>,
        environment: Vec<(String, SecretString)>,
        /// Whether it gets all of this process's environment.
        inherits: bool,
    },
    Http {
        url: SecretString,
        headers: Vec<(String, SecretString)>,
    },
}

pub(super) struct Connection {
    target: Target,
    timeout: Duration,
    /// The latest connection. Dropping it closes it, and ends a server that is a process of its own.
    service: Mutex<Option<RunningService<RoleClient, ()>>>,
}

impl Connection {
    pub(super) fn new(target: Target, timeout: Duration) -> Self {
        Self { target, timeout, service: Mutex::new(None) }
    }

    /// The tools that the server has.
    pub(super) async fn list(&self) -> Result<Vec<Tool>, McpError> {
        let listing = async { self.peer().await?.list_all_tools().await.map_err(|error| problem(&error)) };
        tokio::time::timeout(self.timeout, listing).await.map_err(|_| late(self.timeout))?
    }

    /// Calls a tool, and says by which key the server knows the call if it comes again. When the future is dropped, the server is
    /// told that nobody waits for the result any more.
    pub(super) async fn call(
        &self,
        tool: Cow<'static, str>,
        arguments: JsonObject,
        key: StepKey,
    ) -> Result<CallToolResult, McpError> {
        let peer = self.peer().await?;
        let mut params = CallToolRequestParams::new(tool).with_arguments(arguments);
        params.meta = Some(JsonObject::from_iter([(KEY.to_owned(), key.to_string().into())]).into());
        let answer = peer.call_tool_once(params).await.map_err(|error| problem(&error))?;
        if let CallToolResponse::Complete(result) = answer {
            return Ok(result);
        }
        Err(McpError::new("the MCP server does not answer, but wants to ask back or to be asked later"))
    }

    /// The other end of the connection, which is made when there is none that is alive.
    async fn peer(&self) -> Result<Peer<RoleClient>, McpError> {
        let mut service = self.service.lock().await;
        if let Some(alive) = service.as_ref().filter(|service| !service.is_closed() && !service.is_transport_closed()) {
            return Ok(alive.peer().clone());
        }
        *service = None;
        let connecting = tokio::time::timeout(self.timeout, self.target.connect()).await;
        let connected = connecting.map_err(|_| late(self.timeout))??;
        let peer = connected.peer().clone();
        *service = Some(connected);
        Ok(peer)
    }
}

impl Target {
    pub(super) const fn stdio(program: String) -> Self {
        Self::Stdio { program, arguments: Vec::new(), environment: Vec::new(), inherits: false }
    }

    async fn connect(&self) -> Result<RunningService<RoleClient, ()>, McpError> {
        let connected = match self {
            Self::Stdio { program, arguments, environment, inherits } => {
                let mut command = Command::new(program);
                command.args(arguments.iter().map(ExposeSecret::expose_secret)).kill_on_drop(true);
                if !inherits {
                    command.env_clear().envs(INHERITED.iter().filter_map(|name| Some((name, env::var_os(name)?))));
                }
                command.envs(environment.iter().map(|(name, value)| (name, value.expose_secret())));
                let process = TokioChildProcess::new(command)
                    .map_err(|error| McpError::new(format!("the MCP server `{program}` cannot be started: {error}")))?;
                ().serve(process).await
            }
            Self::Http { url, headers } => {
                let client = reqwest::Client::builder()
                    .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
                    .redirect(reqwest::redirect::Policy::none())
                    .build()
                    .map_err(|_| McpError::new("the HTTP client cannot be made"))?;
                let config = StreamableHttpClientTransportConfig::with_uri(url.expose_secret());
                let config = config.custom_headers(sensitive(headers)?);
                ().serve(StreamableHttpClientTransport::with_client(client, config)).await
            }
        };
        connected.map_err(|error| {
            // Its own words may quote the URL.
            if let ClientInitializeError::JsonRpcError(error) = error {
                return McpError::new(refusal(&error.message));
            }
            McpError::new("the MCP server cannot be reached, or does not speak the protocol")
        })
    }
}

fn sensitive(headers: &[(String, SecretString)]) -> Result<HashMap<HeaderName, HeaderValue>, McpError> {
    let wrong = |name: &str| McpError::new(format!("header {name:?} contains impossible characters"));
    let pair = |(name, value): &(String, SecretString)| {
        let mut value = HeaderValue::try_from(value.expose_secret()).map_err(|_| wrong(name))?;
        value.set_sensitive(true);
        Ok((HeaderName::try_from(name.as_str()).map_err(|_| wrong(name))?, value))
    };
    headers.iter().map(pair).collect()
}

fn late(limit: Duration) -> McpError {
    McpError::new(format!("the MCP server did not answer within {limit:?}"))
}

fn refusal(said: &str) -> String {
    format!("the MCP server refuses: {said}")
}

/// What went wrong, in words that do not quote the URL.
fn problem(error: &ServiceError) -> McpError {
    if let ServiceError::McpError(error) = error {
        return McpError::new(refusal(&error.message));
    }
    McpError::new(if matches!(error, ServiceError::TransportSend(_)) {
        "the MCP server cannot be reached"
    } else if matches!(error, ServiceError::TransportClosed | ServiceError::Cancelled { .. }) {
        "the connection to the MCP server was lost, and nobody knows what has become of the request"
    } else {
        "the MCP server gave an answer that this client does not understand"
    })
}
