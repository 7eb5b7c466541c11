//! Tools of MCP servers: how a server is reached ([`connection`]), and what a call of one of its tools comes to ([`result`]).

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

use self::connection::{Connection, Target};
use super::schema::{LONGEST_NAME, is_of_names};
use super::{Tool, ToolContext};

mod connection;
mod result;

/// How long making a connection, and listing the tools, may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A server of the [Model Context Protocol](https://modelcontextprotocol.io), whose tools an agent may call.
///
/// ```no_run
/// use greenroom::{Agent, McpServer, ScriptedModel};
///
/// # async fn agent() -> Result<Agent, Box<dyn std::error::Error>> {
/// let files = McpServer::stdio("mcp-server-filesystem").arg("/srv/documents").only(["read_file", "list_directory"]);
/// let search = McpServer::http("https://search.example.org/mcp").bearer_token("secret").prefix("web_");
/// let agent = Agent::builder("librarian")
///     .model(ScriptedModel::echo())
///     .tools(files.tools().await?)
///     .tools(search.tools().await?)
///     .build()?;
/// # Ok(agent)
/// # }
/// ```
///
/// All tools of one [`tools`](Self::tools) share one connection, which lives as long as one of them does: with the agent. A
/// connection that was lost, because the server died or was restarted, is made again by the next call. A server that is a
/// process of its own is ended, with its connection: its input is closed, and when it does not go by itself within some seconds,
/// it is told to (`SIGTERM`), and then killed.
///
/// What the server says of its tools goes to the model as it is: give an agent only servers that you trust, and of them only the
/// tools that it needs ([`only`](Self::only)).
#[derive(Clone)]
#[must_use = "a server does nothing until it is asked for its tools"]
pub struct McpServer {
    target: Target,
    prefix: String,
    only: Option<HashSet<String>>,
    connect_timeout: Duration,
    timeout: Duration,
}

impl McpServer {
    /// A server that is a process of its own, started with this program, and spoken to over its standard input and output. What
    /// it writes to its standard error goes to that of this process.
    ///
    /// Of the environment of this process, which may have keys that are none of the server's business, it gets `HOME`, `LOGNAME`,
    /// `PATH`, `SHELL`, `TERM` and `USER`, or on Windows `APPDATA`, `HOMEDRIVE`, `HOMEPATH`, `LOCALAPPDATA`, `PATH`, `PROGRAMFILES`,
    /// `PROCESSOR_ARCHITECTURE`, `SYSTEMDRIVE`, `SYSTEMROOT`, `TEMP`, `USERNAME` and `USERPROFILE`; more by [`env`](Self::env), and
    /// all of it by [`inherit_env`](Self::inherit_env).
    pub fn stdio(program: impl Into<String>) -> Self {
        Self::new(Target::stdio(program.into()))
    }

    /// A server that is reached at this URL, over streamable HTTP. Redirects are not followed.
    pub fn http(url: impl Into<String>) -> Self {
        Self::new(Target::Http { url: url.into().into(), headers: Vec::new() })
    }

    fn new(target: Target) -> Self {
        let (connect_timeout, timeout) = (CONNECT_TIMEOUT, CALL_TIMEOUT);
        Self { target, prefix: String::new(), only: None, connect_timeout, timeout }
    }

    /// Gives the program one more argument. Without effect over HTTP.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        if let Target::Stdio { arguments, .. } = &mut self.target {
            arguments.push(argument.into().into());
        }
        self
    }

    /// Sets a variable in the environment of the program, beside [what it gets](Self::stdio) of this process. Without effect over
    /// HTTP.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Target::Stdio { environment, .. } = &mut self.target {
            environment.push((name.into(), value.into().into()));
        }
        self
    }

    /// Gives the program the whole environment of this process, keys and passwords included; not when left out. Without effect over
    /// HTTP.
    pub fn inherit_env(mut self) -> Self {
        if let Target::Stdio { inherits, .. } = &mut self.target {
            *inherits = true;
        }
        self
    }

    /// Sends one more header with each request. Without effect on a process.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Target::Http { headers, .. } = &mut self.target {
            headers.push((name.into(), value.into().into()));
        }
        self
    }

    /// Presents this token with each request. Without effect on a process.
    pub fn bearer_token(self, token: impl Into<String>) -> Self {
        self.header("authorization", format!("Bearer {}", token.into()))
    }

    /// What the name of each tool is to begin with, so that tools of different servers are told apart; nothing when left out.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Takes only the tools that the server knows by these names; all of them when left out.
    pub fn only<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.only = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// How long making a connection may take, the list of the tools included; 30 seconds when left out.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take, a connection that has to be made again included; 60 seconds when left out. The server is told
    /// of a call that took too long, as it is of one whose run was cancelled, and the model that it failed.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Connects to the server, and gives the tools that it has now, for [`AgentBuilder::tools`](crate::AgentBuilder::tools).
    ///
    /// In names, what providers do not take (all but letters, digits, `_` and `-`) becomes `_`. A call whose result says that it
    /// failed, and one that the server refuses, is told to the model in the server's words. A result is its structured content,
    /// when it has one, or else its text; images and the like are passed on as JSON, as the protocol has them.
    ///
    /// The `_meta` of each call has `greenroom/idempotency-key`: the call's [key](ToolContext::idempotency_key), by which a server
    /// can tell that it has done the call before, for an attempt whose process died.
    ///
    /// The connection is driven by the tokio runtime that this is called in, and by those of the calls that make it again.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or does not speak the protocol, when it does not have a tool that was
    /// [asked for](Self::only), or one with a name that no tool can have.
    ///
    /// # Panics
    ///
    /// When it is not called in a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, so is the connection.
    pub async fn tools(self) -> Result<Vec<Tool>, McpError> {
        let Self { target, prefix, only, connect_timeout, timeout } = self;
        let connection = Arc::new(Connection::new(target, connect_timeout));
        let listed = connection.list().await?;
        if let Some(missing) = only.iter().flatten().find(|name| !listed.iter().any(|tool| tool.name == **name)) {
            return Err(McpError::new(format!("the MCP server has no tool `{missing}`")));
        }
        let wanted = listed.into_iter().filter(|tool| only.as_ref().is_none_or(|only| only.contains(&*tool.name)));
        wanted.map(|tool| made(tool, &prefix, &connection, timeout)).collect()
    }
}

/// The tool that calls a tool of the server.
fn made(
    listed: rmcp::model::Tool,
    prefix: &str,
    connection: &Arc<Connection>,
    timeout: Duration,
) -> Result<Tool, McpError> {
    let name = format!("{prefix}{}", listed.name);
    let name: String = name.chars().map(|letter| if is_of_names(letter) { letter } else { '_' }).collect();
    if name.is_empty() || name.len() > LONGEST_NAME {
        let problem =
            format!("the MCP server has a tool `{name}`, and names must be 1 to {LONGEST_NAME} characters long");
        return Err(McpError::new(problem));
    }
    let described = listed.description.as_deref().filter(|text| !text.trim().is_empty());
    let description = described.or(listed.title.as_deref()).unwrap_or(&listed.name).to_owned();
    let mut schema = listed.input_schema.as_ref().clone();
    // All arguments are objects; not every server says so.
    schema.entry("type").or_insert_with(|| "object".into());
    let schema = Value::Object(schema);
    let (connection, called) = (Arc::clone(connection), listed.name);
    let call = move |cx: ToolContext, arguments| {
        let (connection, called) = (Arc::clone(&connection), called.clone());
        async move { result::content(connection.call(called, arguments, cx.idempotency_key()).await?) }
    };
    Ok(Tool::with_schema(name, description, schema, call).timeout(timeout))
}

/// An MCP server that cannot be used. The message holds neither its URL nor anything of its environment and headers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct McpError {
    message: String,
}

impl McpError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// Shows neither the URL nor the arguments, and of headers and of the environment only the names.
impl fmt::Debug for McpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn names(pairs: &[(String, SecretString)]) -> Vec<&str> {
            pairs.iter().map(|(name, _)| name.as_str()).collect()
        }

        let mut shown = f.debug_struct("McpServer");
        match &self.target {
            Target::Stdio { program, environment, inherits, .. } => {
                shown.field("program", program).field("environment", &names(environment)).field("inherits", inherits)
            }
            Target::Http { headers, .. } => shown.field("headers", &names(headers)),
        };
        shown.field("prefix", &self.prefix).field("only", &self.only).finish_non_exhaustive()
    }
}
