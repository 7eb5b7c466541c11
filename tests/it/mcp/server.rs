//! A server of the Model Context Protocol, over HTTP in this process, or as a process of its own.

use std::env;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::sync::Arc;

use greenroom::McpServer;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, ServiceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::support::Gate;

#[derive(Clone)]
struct Calculator {
    /// Calls that hang, and those of them that nobody waits for any more.
    hanging: Gate,
    given_up: Gate,
}

impl ServerHandler for Calculator {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let number = json!({"type": "integer"});
        let sum = json!({"type": "object", "properties": {"a": number, "b": number}, "required": ["a", "b"]});
        let tool = |name: &str, schema: &Value| json!({"name": name, "description": "Is tried", "inputSchema": schema});
        let none = json!({"type": "object"});
        let mut tools = vec![tool("add", &sum)];
        tools.extend(["say.twice", "fail", "refuse", "hang", "die", "whoami", "key"].map(|name| tool(name, &none)));
        Ok(serde_json::from_value(json!({"tools": tools})).unwrap())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let given = Value::Object(request.arguments.unwrap_or_default());
        let text = |text: String| CallToolResult::success(vec![ContentBlock::text(text)]);
        let result = match &*request.name {
            "add" => {
                let number = |name: &str| given[name].as_i64().unwrap();
                CallToolResult::structured(json!({"sum": number("a") + number("b")}))
            }
            "say.twice" => CallToolResult::success(vec![ContentBlock::text("again"), ContentBlock::text("again")]),
            "fail" => CallToolResult::error(vec![ContentBlock::text("no such city")]),
            "hang" => {
                self.hanging.arrive();
                context.ct.cancelled().await;
                self.given_up.arrive();
                return Err(ErrorData::internal_error("given up", None));
            }
            "key" => text(context.meta["greenroom/idempotency-key"].as_str().unwrap().to_owned()),
            "die" => std::process::exit(1),
            "whoami" => {
                let parts = context.extensions.get::<http::request::Parts>();
                let token = parts.map(|parts| parts.headers["authorization"].to_str().unwrap().to_owned());
                text(format!("{} {}", std::process::id(), token.or(env::var("MCP_TOKEN").ok()).unwrap_or_default()))
            }
            _ => return Err(ErrorData::invalid_params("not like that", None)),
        };
        Ok(CallToolResponse::Complete(result))
    }
}

/// A server over HTTP. It ends when it is dropped.
pub(super) struct OverHttp {
    address: SocketAddr,
    pub(super) hanging: Gate,
    pub(super) given_up: Gate,
    serving: JoinHandle<()>,
}

impl OverHttp {
    pub(super) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// Ends, with its connections and its sessions, and starts again in the same place.
    pub(super) async fn restart(&mut self) {
        self.serving.abort();
        (&mut self.serving).await.unwrap_err();
        *self = Self::start_at(self.address).await;
    }

    async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let calculator = Calculator { hanging: Gate::new(), given_up: Gate::new() };
        let (hanging, given_up) = (calculator.hanging.clone(), calculator.given_up.clone());
        let config = StreamableHttpServerConfig::default();
        let service: StreamableHttpService<Calculator, LocalSessionManager> =
            StreamableHttpService::new(move || Ok(calculator.clone()), Arc::default(), config);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(service.clone());
                connections.spawn(async move {
                    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Self { address, hanging, given_up, serving }
    }

    pub(super) fn server(&self) -> McpServer {
        McpServer::http(format!("http://{}/mcp", self.address)).bearer_token("hunter2-over-http")
    }
}

impl Drop for OverHttp {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A server that is this very program, which then does nothing else. What the test harness prints is not what it says.
pub(super) fn as_a_process() -> McpServer {
    let run = "exec \"$0\" --exact mcp::server::a_process_that_serves --ignored --nocapture 3>&1 >/dev/null 2>&1";
    let program = env::current_exe().unwrap();
    McpServer::stdio("sh")
        .arg("-c")
        .arg(run)
        .arg(program.to_str().unwrap())
        .env("MCP_TOKEN", "hunter2-in-the-environment")
}

#[tokio::test]
#[ignore = "started by the tests of servers that are processes"]
async fn a_process_that_serves() {
    if env::var_os("MCP_TOKEN").is_none() {
        return;
    }
    let output = OpenOptions::new().write(true).open("/dev/fd/3").unwrap();
    let calculator = Calculator { hanging: Gate::new(), given_up: Gate::new() };
    let service = calculator.serve((tokio::io::stdin(), tokio::fs::File::from_std(output))).await.unwrap();
    service.waiting().await.unwrap();
}
