//! What is told to OpenTelemetry. Its providers are those of the process, and so of all tests in it: each looks only at the trace
//! of its own run.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::stream::BoxStream;
use greenroom::model::{Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest};
use greenroom::schemars::JsonSchema;
use greenroom::{
    Agent, AgentBuilder, AgentError, FallbackModel, NewRun, RetryPolicy, RunContext, RunHandle, RunId, RunStatus,
    Runtime, ScriptedModel, ScriptedTurn, Store, Tool, ToolContext, TraceParent, Usage,
};
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceContextExt, TraceId, Tracer};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{LONG, on_each_store, settled, soon, start};
use crate::web::Service;

mod reach;

struct Told {
    spans: InMemorySpanExporter,
    metrics: InMemoryMetricExporter,
    meters: SdkMeterProvider,
}

fn told() -> &'static Told {
    static TOLD: OnceLock<Told> = OnceLock::new();
    TOLD.get_or_init(|| {
        let (spans, metrics) = (InMemorySpanExporter::default(), InMemoryMetricExporter::default());
        global::set_tracer_provider(SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build());
        let meters = SdkMeterProvider::builder().with_periodic_exporter(metrics.clone()).build();
        global::set_meter_provider(meters.clone());
        Told { spans, metrics, meters }
    })
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    span.attributes.iter().find(|pair| pair.key.as_str() == name).map(|pair| pair.value.to_string())
}

/// The spans of a run's trace, oldest first, once its attempts have all ended.
async fn trace(run_id: RunId, attempts: usize) -> Vec<SpanData> {
    soon(async {
        loop {
            let all = told().spans.get_finished_spans().unwrap();
            let of_run = |span: &&SpanData| attribute(span, "greenroom.run.id") == Some(run_id.to_string());
            let mine: Vec<_> = all.iter().filter(of_run).collect();
            if mine.iter().filter(|span| span.name.starts_with("invoke_agent")).count() == attempts {
                let trace_id = mine[0].span_context.trace_id();
                let mut trace: Vec<_> =
                    all.iter().filter(|span| span.span_context.trace_id() == trace_id).cloned().collect();
                trace.sort_by_key(|span| span.start_time);
                return trace;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

fn named<'a>(trace: &'a [SpanData], name: &str) -> Vec<&'a SpanData> {
    trace.iter().filter(|span| span.name == name).collect()
}

#[derive(Deserialize, JsonSchema)]
struct City {
    name: String,
}

fn current_trace() -> TraceId {
    Context::current().span().span_context().trace_id()
}

/// Its model calls a tool, and is told what is secret.
fn concierge() -> AgentBuilder {
    let usage = Usage { input_tokens: 11, output_tokens: 7, total_tokens: 18, ..Usage::default() };
    let look = ScriptedTurn::text("secret-thought").then_call("weather", json!({"name": "secret-city"})).usage(usage);
    let model = ScriptedModel::new([look, ScriptedTurn::text("secret-answer").usage(usage)]);
    let weather = Tool::new("weather", "Says what the weather is like.", |_: ToolContext, city: City| async move {
        Ok(json!({"secret-weather": city.name, "trace": current_trace().to_string()}))
    });
    Agent::builder("concierge")
        .description("secret-description")
        .instruction("secret-instruction")
        .model(model)
        .tool(weather)
}

async fn one_run(agent: AgentBuilder) -> (RunHandle, Vec<SpanData>) {
    told();
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    let run = runtime.submit(NewRun::new("concierge", "secret-question")).await.unwrap();
    assert_eq!(settled(&run).await.status, RunStatus::Completed);
    let trace = trace(run.run_id(), 1).await;
    runtime.shutdown(LONG).await;
    (run, trace)
}

#[tokio::test]
async fn a_run_is_one_trace_of_its_submit_its_attempt_its_turns_and_its_calls() {
    told();
    let runtime = start(Store::sqlite_in_memory(), concierge()).await;
    let caller = Context::new().with_span(global::tracer("test").start("caller"));
    let submit = runtime.submit(NewRun::new("concierge", "secret-question").session_id("trip"));

    let run = submit.with_context(caller.clone()).await.unwrap();
    settled(&run).await;
    let trace = trace(run.run_id(), 1).await;

    let names: Vec<_> = trace.iter().map(|span| &*span.name).collect();
    let expected =
        ["submit concierge", "invoke_agent concierge", "chat scripted", "execute_tool weather", "chat scripted"];
    assert_eq!(names, expected);
    let [submit, attempt, first, call, second] = &trace[..] else { panic!("{names:?}") };
    let caller = caller.span().span_context().clone();
    assert_eq!((submit.span_context.trace_id(), submit.parent_span_id), (caller.trace_id(), caller.span_id()));
    assert_eq!((attempt.parent_span_id, attempt.parent_span_is_remote), (submit.span_context.span_id(), true));
    for inner in [first, call, second] {
        assert_eq!(inner.parent_span_id, attempt.span_context.span_id());
    }
    let kinds = [submit, attempt, first, call].map(|span| span.span_kind.clone());
    assert_eq!(kinds, [SpanKind::Producer, SpanKind::Internal, SpanKind::Client, SpanKind::Internal]);
    for (span, name, value) in [
        (attempt, "gen_ai.operation.name", "invoke_agent"),
        (attempt, "gen_ai.agent.name", "concierge"),
        (attempt, "gen_ai.conversation.id", "trip"),
        (attempt, "greenroom.run.attempt", "1"),
        (attempt, "greenroom.run.outcome", "completed"),
        (first, "gen_ai.operation.name", "chat"),
        (first, "gen_ai.provider.name", "greenroom"),
        (first, "gen_ai.request.model", "scripted"),
        (first, "gen_ai.usage.input_tokens", "11"),
        (second, "gen_ai.usage.output_tokens", "7"),
        (call, "gen_ai.operation.name", "execute_tool"),
        (call, "gen_ai.tool.name", "weather"),
        (call, "gen_ai.tool.call.id", "call_1_1"),
    ] {
        assert_eq!(attribute(span, name).as_deref(), Some(value), "{name}");
    }
    assert!(trace.iter().all(|span| span.status == Status::Unset && attribute(span, "error.type").is_none()));
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn contents_are_told_of_agents_that_want_it_and_of_no_others() {
    let (_, silent) = one_run(concierge()).await;
    let (_, open) = one_run(concierge().trace_contents(true)).await;

    assert!(!format!("{silent:?}").contains("secret"), "{silent:?}");
    let described = attribute(named(&open, "invoke_agent concierge")[0], "gen_ai.agent.description");
    assert_eq!(described.as_deref(), Some("secret-description"));
    let read =
        |span: &SpanData, name: &str| -> Value { serde_json::from_str(&attribute(span, name).unwrap()).unwrap() };
    let [first, second] = named(&open, "chat scripted")[..] else { panic!("{open:?}") };
    assert!(attribute(first, "gen_ai.system_instructions").unwrap().contains("secret-instruction"));
    let question = json!({"role": "user", "parts": [{"type": "text", "content": "secret-question"}]});
    assert_eq!(read(first, "gen_ai.input.messages"), json!([question]));
    let asked = read(second, "gen_ai.input.messages");
    let call = json!({"type": "tool_call", "id": "call_1_1", "name": "weather", "arguments": {"name": "secret-city"}});
    assert_eq!(asked[1]["parts"], json!([{"type": "text", "content": "secret-thought"}, call]));
    assert_eq!((&asked[2]["role"], &asked[2]["parts"][0]["id"]), (&json!("tool"), &json!("call_1_1")));
    let answer =
        json!({"role": "assistant", "parts": [{"type": "text", "content": "secret-answer"}], "finish_reason": "stop"});
    assert_eq!(read(second, "gen_ai.output.messages"), json!([answer]));
    let tool = named(&open, "execute_tool weather")[0];
    assert_eq!(read(tool, "gen_ai.tool.call.arguments"), json!({"name": "secret-city"}));
    let result = read(tool, "gen_ai.tool.call.result");
    // What the tool does is part of the trace as well.
    assert_eq!(result, json!({"secret-weather": "secret-city", "trace": tool.span_context.trace_id().to_string()}));
}

on_each_store!(
    an_attempt_that_follows_another_is_in_the_trace_of_the_first,
    a_run_says_itself_which_trace_it_is_part_of
);

async fn an_attempt_that_follows_another_is_in_the_trace_of_the_first(store: Store) {
    told();
    let agent = Agent::builder("persistent").retry(RetryPolicy::new(Duration::from_millis(1)));
    let code = |cx: RunContext| async move {
        if cx.attempt() < 2 { Err(AgentError::new("secret-reason")) } else { Ok(current_trace().to_string()) }
    };
    let runtime = start(store, agent.code(code)).await;

    let run = runtime.submit(NewRun::new("persistent", "go")).await.unwrap();
    let content = settled(&run).await.content.unwrap();
    let trace = trace(run.run_id(), 2).await;

    let [first, second] = named(&trace, "invoke_agent persistent")[..] else { panic!("{trace:?}") };
    let submit = named(&trace, "submit persistent")[0].span_context.span_id();
    assert_eq!([first.parent_span_id, second.parent_span_id], [submit, submit]);
    let shown = |span: &SpanData| ["greenroom.run.outcome", "error.type"].map(|name| attribute(span, name));
    assert_eq!(shown(first), [Some("retrying".to_owned()), Some("agent_error".to_owned())]);
    assert_eq!(shown(second), [Some("completed".to_owned()), None]);
    assert_eq!((first.status.clone(), second.status.clone()), (Status::error(""), Status::Unset));
    assert_eq!(content.as_text(), Some(first.span_context.trace_id().to_string().as_str()));
    assert!(!format!("{trace:?}").contains("secret"));
    runtime.shutdown(LONG).await;
}

async fn a_run_says_itself_which_trace_it_is_part_of(store: Store) {
    told();
    let runtime = start(store, Agent::builder("echo").model(ScriptedModel::echo())).await;
    let parent = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();

    let run = runtime.submit(NewRun::new("echo", "hi").traceparent(parent)).await.unwrap();
    settled(&run).await;
    let stored = runtime.get(run.run_id()).await.unwrap().unwrap().traceparent.unwrap();
    let trace = trace(run.run_id(), 1).await;

    assert_eq!(stored.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    let submit =
        trace.iter().find(|span| attribute(span, "greenroom.run.id") == Some(run.run_id().to_string())).unwrap();
    assert_eq!(submit.parent_span_id, SpanId::from_hex("00f067aa0ba902b7").unwrap());
    assert_eq!(stored.span_id(), submit.span_context.span_id().to_string());
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn a_request_brings_its_trace_along() {
    told();
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("echo").model(ScriptedModel::echo())).await;
    let service = Service::of(&runtime);
    let submit = async |headers: &[&str]| {
        let mut request = service.ask(Method::POST, "/agents/echo/runs").json(&json!({"input": "hi"}));
        for header in headers {
            request = request.header("traceparent", *header);
        }
        let accepted: Value = soon(request.send()).await.unwrap().json().await.unwrap();
        let run_id: RunId = accepted["run_id"].as_str().unwrap().parse().unwrap();
        runtime.get(run_id).await.unwrap().unwrap().traceparent.unwrap()
    };
    let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    assert_eq!(submit(&[header]).await.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    for headers in [&[][..], &["nonsense"], &[header, header]] {
        assert_ne!(submit(headers).await.trace_id(), "0af7651916cd43dd8448eb211c80319c", "{headers:?}");
    }
    runtime.shutdown(LONG).await;
}

/// A scripted model under a name of its own.
struct Named(&'static str, ScriptedModel);

impl Model for Named {
    fn id(&self) -> &str {
        self.0
    }

    fn provider(&self) -> &'static str {
        "OpenAI"
    }

    fn respond(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        self.1.respond(request)
    }
}

fn failing() -> ScriptedModel {
    ScriptedModel::new([ScriptedTurn::text("").then_fail(ModelError::new(ModelErrorKind::Server, "down"))])
}

#[tokio::test]
async fn a_turn_that_fails_says_of_which_kind_its_error_is() {
    told();
    let spare = ScriptedModel::new([ScriptedTurn::text("secret").then_stall()]);
    let model = FallbackModel::new(Named("broken", failing())).or(Named("spare", spare));
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("careful").model(model)).await;
    let run = runtime.submit(NewRun::new("careful", "hi")).await.unwrap();
    crate::support::has_spoken(&run).await;
    run.cancel().await.unwrap();

    let trace = trace(run.run_id(), 1).await;

    let kind = |name: &str| attribute(named(&trace, name)[0], "error.type");
    assert_eq!(kind("chat broken").as_deref(), Some("fallback"));
    assert_eq!(kind("chat spare").as_deref(), Some("cancelled"));
    let attempt = named(&trace, "invoke_agent careful")[0];
    assert_eq!(attribute(attempt, "greenroom.run.outcome").as_deref(), Some("cancelled"));
    assert_eq!(named(&trace, "chat broken")[0].span_context.trace_id(), attempt.span_context.trace_id());
    runtime.shutdown(LONG).await;
}

/// Points of a histogram: labels, count and sum.
type Points = Vec<(Vec<KeyValue>, u64, f64)>;

fn points(name: &str) -> Points {
    told().meters.force_flush().unwrap();
    let all = told().metrics.get_finished_metrics().unwrap();
    let latest = all.last().unwrap();
    let found = latest.scope_metrics().flat_map(|scope| scope.metrics()).find(|metric| metric.name() == name).unwrap();
    match found.data() {
        AggregatedMetrics::U64(MetricData::Histogram(histogram)) => histogram
            .data_points()
            .map(|point| (point.attributes().cloned().collect(), point.count(), point.sum() as f64))
            .collect(),
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram
            .data_points()
            .map(|point| (point.attributes().cloned().collect(), point.count(), point.sum()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn of<'a>(points: &'a Points, labels: &[(&'static str, &'static str)]) -> Vec<&'a (Vec<KeyValue>, u64, f64)> {
    let has = |point: &[KeyValue], (name, value): &(&'static str, &'static str)| {
        point.contains(&KeyValue::new(*name, *value))
    };
    points.iter().filter(|(point, ..)| labels.iter().all(|label| has(point, label))).collect()
}

#[tokio::test]
async fn the_cost_and_the_time_of_turns_are_metrics() {
    told();
    let usage = Usage { input_tokens: 11, output_tokens: 7, total_tokens: 18, ..Usage::default() };
    let good = Named("otel-metered", ScriptedModel::new([ScriptedTurn::text("Paris.").usage(usage)]));
    let builder = Runtime::builder().store(Store::sqlite_in_memory());
    let bad = Agent::builder("bad").model(Named("otel-failing", failing()));
    let runtime = builder.agent(Agent::builder("good").model(good)).agent(bad).start().await.unwrap();
    for agent in ["good", "good", "bad"] {
        settled(&runtime.submit(NewRun::new(agent, "hi")).await.unwrap()).await;
    }

    let tokens = points("gen_ai.client.token.usage");
    for (kind, sum) in [("input", 22.0), ("output", 14.0)] {
        let labels = [
            ("gen_ai.request.model", "otel-metered"),
            ("gen_ai.token.type", kind),
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
        ];
        let [(all, 2, found)] = of(&tokens, &labels)[..] else { panic!("{tokens:?}") };
        assert_eq!((all.len(), *found), (4, sum));
    }
    let durations = points("gen_ai.client.operation.duration");
    let [(all, 2, _)] = of(&durations, &[("gen_ai.request.model", "otel-metered")])[..] else {
        panic!("{durations:?}")
    };
    assert_eq!(all.len(), 3);
    let failed = [("gen_ai.request.model", "otel-failing"), ("error.type", "Server")];
    assert_eq!(of(&durations, &failed).len(), 1, "{durations:?}");
    runtime.shutdown(LONG).await;
}
