//! What goes on inside as spans, and what models cost as metrics, for the providers of OpenTelemetry that the process has.
//!
//! A submit is a span in the trace of its caller, and its context is kept with the run. Each attempt is a child of it, in
//! whichever process and however much later, so that all attempts of a run are in one trace also when one of them died before
//! its own span could be told.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::OnceLock;
use std::time::Instant;

use opentelemetry::context::FutureExt;
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, SpanRef, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, global};
use serde_json::Value;

use super::names;
use crate::run::{Run, TraceParent, Usage};

/// What went on under this name is the work of this library.
const LIBRARY: &str = "greenroom";

/// A span, which ends with this, and which has failed by then unless it was said to have succeeded.
#[derive(Default)]
pub(crate) struct Span {
    cx: Context,
    /// Whether there is a span of its own in the context. Where nobody records, there is at most that of somebody else.
    is_own: bool,
    /// Whether contents may be told.
    contents: bool,
    /// The name of the agent, for the spans below.
    agent: Option<Box<str>>,
    chat: Option<Chat>,
    /// Why it failed, if it did.
    end: OnceLock<Option<Cow<'static, str>>>,
}

/// What the metrics of a request to a model are told of.
struct Chat {
    model: Box<str>,
    provider: Box<str>,
    begun: Instant,
}

impl Chat {
    fn labels(&self) -> [KeyValue; 3] {
        [
            KeyValue::new(names::OPERATION, names::CHAT),
            KeyValue::new(names::PROVIDER, self.provider.to_string()),
            KeyValue::new(names::REQUEST_MODEL, self.model.to_string()),
        ]
    }
}

impl Span {
    /// A run is being submitted: in the trace that it says, or in that of the current context. From now on it is in this one.
    pub(crate) fn submit(run: &mut Run) -> Self {
        Self::submit_within(run, Context::current())
    }

    /// A child of `parent` is being submitted, which user code may have anybody do: when there is no current context, in the
    /// trace of its parent.
    pub(crate) fn submit_child(run: &mut Run, parent: &Run) -> Self {
        let current = Context::current();
        let of_parent = || parent.traceparent.as_ref().map_or_else(Context::new, remote);
        let within = if current.span().span_context().is_valid() { current } else { of_parent() };
        Self::submit_within(run, within)
    }

    fn submit_within(run: &mut Run, within: Context) -> Self {
        let parent = run.traceparent.as_ref().map_or(within, remote);
        let name = format!("{} {}", names::SUBMIT, run.output.agent);
        let span = Self::begin(name, SpanKind::Producer, &parent, vec![agent_name(&run.output.agent)], || of_run(run));
        let begun = span.cx.span().span_context().clone();
        if begun.is_valid() {
            let (trace, span, flags) = (begun.trace_id(), begun.span_id(), begun.trace_flags().to_u8());
            run.traceparent = TraceParent::parse(&format!("00-{trace}-{span}-{flags:02x}"));
        }
        span
    }

    /// An attempt of a run, which tells `contents` or not.
    pub(crate) fn attempt(run: &Run, description: Option<&str>, contents: bool) -> Self {
        let parent = run.traceparent.as_ref().map_or_else(Context::new, remote);
        let name = format!("{} {}", names::INVOKE_AGENT, run.output.agent);
        let known = vec![KeyValue::new(names::OPERATION, names::INVOKE_AGENT), agent_name(&run.output.agent)];
        let more = || {
            let mut more = of_run(run);
            more.push(KeyValue::new(names::RUN_ATTEMPT, i64::from(run.attempt)));
            // It is told to the model before anything else.
            more.extend(
                description.filter(|_| contents).map(|said| KeyValue::new(names::AGENT_DESCRIPTION, said.to_owned())),
            );
            more
        };
        let mut span = Self::begin(name, SpanKind::Internal, &parent, known, more);
        span.contents = contents;
        span.agent = span.is_own.then(|| run.output.agent.as_str().into());
        span
    }

    /// A request to a model, in this attempt.
    pub(crate) fn chat(&self, model: &str, provider: &str) -> Self {
        // The values that are agreed upon are in lower case.
        let provider = provider.to_ascii_lowercase().into();
        let chat = Chat { model: model.into(), provider, begun: Instant::now() };
        let name = format!("{} {model}", names::CHAT);
        let mut span = Self::begin(name, SpanKind::Client, &self.cx, chat.labels().into(), || self.agent_name());
        span.contents = self.contents;
        span.chat = Some(chat);
        span
    }

    /// A call of a tool, in this attempt. One without a name is a call of a tool that there is not.
    pub(crate) fn tool(&self, name: Option<&str>, call_id: &str) -> Self {
        let mut known = vec![KeyValue::new(names::OPERATION, names::EXECUTE_TOOL)];
        known.extend(name.map(|name| KeyValue::new(names::TOOL_NAME, name.to_owned())));
        let more = || {
            let mut more = self.agent_name();
            more.push(KeyValue::new(names::TOOL_TYPE, "function"));
            more.push(KeyValue::new(names::TOOL_CALL, call_id.to_owned()));
            more
        };
        let name =
            name.map_or_else(|| names::EXECUTE_TOOL.to_owned(), |name| format!("{} {name}", names::EXECUTE_TOOL));
        let mut span = Self::begin(name, SpanKind::Internal, &self.cx, known, more);
        span.contents = self.contents;
        span
    }

    fn agent_name(&self) -> Vec<KeyValue> {
        self.agent.iter().map(|name| agent_name(name)).collect()
    }

    /// Begins a span of which a sampler gets to know what is `known`; `more` is told when it is recorded.
    fn begin(
        name: String,
        kind: SpanKind,
        parent: &Context,
        known: Vec<KeyValue>,
        more: impl FnOnce() -> Vec<KeyValue>,
    ) -> Self {
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_attributes(known);
        let mut span = global::tracer(LIBRARY).build_with_context(builder, parent);
        if span.is_recording() {
            span.set_attributes(more());
        } else if span.span_context() == parent.span().span_context() {
            // There is no provider: whoever is told of the trace is told of the same span as without this one.
            return Self::new(parent.clone(), false);
        }
        Self::new(parent.with_span(span), true)
    }

    const fn new(cx: Context, is_own: bool) -> Self {
        Self { cx, is_own, contents: false, agent: None, chat: None, end: OnceLock::new() }
    }

    /// Has `work` see this as the current context.
    pub(crate) fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        work.with_context(self.cx.clone())
    }

    /// Tells a content, if the agent wants it told.
    pub(crate) fn content(&self, name: &'static str, content: impl FnOnce() -> Value) {
        if let Some(span) = self.own().filter(|span| self.contents && span.is_recording()) {
            let content = content();
            let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
            span.set_attribute(KeyValue::new(name, text));
        }
    }

    fn own(&self) -> Option<SpanRef<'_>> {
        self.is_own.then(|| self.cx.span())
    }

    fn set(&self, attribute: KeyValue) {
        if let Some(span) = self.own() {
            span.set_attribute(attribute);
        }
    }

    /// What a request to a model has cost; it is over.
    pub(crate) fn answered(self, usage: &Usage, response_id: Option<&str>) {
        let count = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        let tokens =
            [("input", names::INPUT_TOKENS, usage.input_tokens), ("output", names::OUTPUT_TOKENS, usage.output_tokens)];
        for (kind, name, tokens) in tokens {
            self.set(KeyValue::new(name, count(tokens)));
            if let Some(chat) = &self.chat {
                let labels: Vec<_> =
                    chat.labels().into_iter().chain([KeyValue::new(names::TOKEN_TYPE, kind)]).collect();
                tokens_used().record(tokens, &labels);
            }
        }
        if let Some(id) = response_id {
            self.set(KeyValue::new(names::RESPONSE_ID, id.to_owned()));
        }
        self.succeed();
    }

    pub(crate) fn succeed(&self) {
        self.end.get_or_init(|| None);
    }

    pub(crate) fn fail(&self, kind: impl Display) {
        self.end.get_or_init(|| Some(kind.to_string().into()));
    }

    /// Ends an attempt, which somebody may still hold.
    pub(crate) fn end(&self, outcome: &'static str) {
        self.set(KeyValue::new(names::RUN_OUTCOME, outcome));
        self.succeed();
        self.close();
    }

    fn close(&self) {
        let error = self.end.get_or_init(|| Some(Cow::Borrowed("cancelled")));
        let error = error.clone().map(|error| KeyValue::new(names::ERROR_TYPE, error));
        if let Some(span) = self.own() {
            if let Some(error) = &error {
                span.set_attribute(error.clone());
                span.set_status(Status::error(""));
            }
            span.end();
        }
        if let Some(chat) = &self.chat {
            let labels: Vec<_> = chat.labels().into_iter().chain(error).collect();
            durations().record(chat.begun.elapsed().as_secs_f64(), &labels);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.close();
    }
}

/// Has `work` see the context that is current here, on whichever thread it is done.
pub(crate) fn carried<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let cx = Context::current();
    move || {
        let _current = cx.attach();
        work()
    }
}

// Instruments are asked for when they are needed, and not kept: the provider may be set later than the first of them is used, and
// has them at hand. Next to a turn of a model it costs nothing.

fn tokens_used() -> Histogram<u64> {
    let meter = global::meter(LIBRARY);
    let made = meter.u64_histogram(names::TOKEN_USAGE).with_unit("{token}");
    made.with_description("Number of input and output tokens used.")
        .with_boundaries(names::TOKEN_BOUNDS.to_vec())
        .build()
}

fn durations() -> Histogram<f64> {
    let meter = global::meter(LIBRARY);
    let made = meter.f64_histogram(names::OPERATION_DURATION).with_unit("s");
    made.with_description("GenAI operation duration.").with_boundaries(names::DURATION_BOUNDS.to_vec()).build()
}

fn agent_name(name: &str) -> KeyValue {
    KeyValue::new(names::AGENT_NAME, name.to_owned())
}

fn of_run(run: &Run) -> Vec<KeyValue> {
    vec![
        KeyValue::new(names::CONVERSATION, run.output.session_id.to_string()),
        KeyValue::new(names::RUN_ID, run.output.run_id.to_string()),
    ]
}

/// The context of a span that is in another process, or was.
fn remote(parent: &TraceParent) -> Context {
    let trace_id = TraceId::from_hex(parent.trace_id()).unwrap_or(TraceId::INVALID);
    let span_id = SpanId::from_hex(parent.span_id()).unwrap_or(SpanId::INVALID);
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    Context::new().with_remote_span_context(SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE))
}
