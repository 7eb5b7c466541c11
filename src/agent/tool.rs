//! Tools: Rust functions that a model may call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio_util::task::AbortOnDropHandle;

pub use self::context::ToolContext;
use self::people::Needed;
use super::misread::{Misread, read};
use super::schema::{LONGEST_NAME, ModelSchema, is_of_names, is_of_objects, schema_of};
use super::{AgentError, RetryPolicy, ToolSpec};
use crate::run::{Content, check_timeout};
use crate::telemetry::carried;

mod children;
mod context;
pub(crate) mod people;
mod session_state;

/// A function that a model may call; given to an agent by [`AgentBuilder::tool`](crate::AgentBuilder::tool).
///
/// Its arguments are any type that [`serde`] reads and that [`schemars`](crate::schemars) knows the form of, which has to be a
/// struct with named fields, or an empty one. The model is told that form, the doc comments of the fields included. When the
/// form allows it, the provider is asked to hold the model to it; for that, what may be left out is to be an `Option`, and
/// maps, tuples and bounds on the length of a text are to be avoided. (What derives `JsonSchema` looks for
/// [`schemars`](crate::schemars) where it is derived, hence the `self` below.) The output is anything that serde writes: a
/// text goes to the model as it is, everything else as JSON.
///
/// ```
/// use greenroom::schemars::{self, JsonSchema};
/// use greenroom::{Tool, ToolContext};
/// use serde::Deserialize;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Add {
///     /// One number.
///     a: i64,
///     /// The number to add to it.
///     b: i64,
/// }
///
/// let add = Tool::new("add", "Adds two numbers.", |_: ToolContext, args: Add| async move {
///     Ok(args.a.checked_add(args.b).ok_or_else(|| greenroom::AgentError::new("the sum is too large"))?)
/// });
/// # drop(add);
/// ```
#[derive(Clone)]
#[must_use = "a tool does nothing until it is given to an agent"]
pub struct Tool {
    name: Arc<str>,
    description: String,
    schema: Arc<ModelSchema>,
    call: Arc<Call>,
    reads: Arc<Reads>,
    timeout: Option<Duration>,
    retries: Option<(u32, RetryPolicy)>,
    /// What its calls need from people: one thing at most, when it is a tool that can be.
    needed: Vec<Needed>,
}

/// What a call does, once its arguments are read; the one place where the types of a tool are erased.
type Call = dyn Fn(ToolContext, &str) -> Result<Execution, Misread> + Send + Sync;

/// Whether arguments can be read.
type Reads = dyn Fn(&str) -> Result<(), Misread> + Send + Sync;

/// A call under way.
pub(crate) type Execution = BoxFuture<'static, Result<Content, AgentError>>;

impl Tool {
    /// A tool that the model knows by `name`, 1 to 64 letters, digits, `_` and `-`, and by `description`, which says what it does
    /// and when to use it.
    ///
    /// The future is driven by the threads that the runtime keeps for user code, together with the other calls of its run. A
    /// function that blocks its thread, or computes for long, is better a [`blocking`](Self::blocking) tool.
    pub fn new<A, F, Fut, T>(name: impl Into<String>, description: impl Into<String>, call: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(ToolContext, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, AgentError>> + Send + 'static,
        T: Serialize,
    {
        Self::erased::<A>(name.into(), description.into(), move |cx, arguments| {
            let work = call(cx, read::<A>(arguments)?);
            Ok(Box::pin(async move { content(work.await?) }))
        })
    }

    /// The same as [`new`](Self::new), of a function that is not async.
    ///
    /// It has a thread to itself, which no run waits for. A thread cannot be stopped: when the run is cancelled, or the tool's
    /// [time](Self::timeout) is over, its result is dropped, and the function goes on until it returns. A long one looks at
    /// [`ToolContext::is_cancelled`] from time to time. A function that has not begun by then never does.
    pub fn blocking<A, F, T>(name: impl Into<String>, description: impl Into<String>, call: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(ToolContext, A) -> Result<T, AgentError> + Send + Sync + 'static,
        T: Serialize,
    {
        let call = Arc::new(call);
        Self::erased::<A>(name.into(), description.into(), move |cx, arguments| {
            let (call, arguments) = (Arc::clone(&call), read::<A>(arguments)?);
            Ok(Box::pin(async move {
                let span = tracing::Span::current();
                let work = carried(move || span.in_scope(|| content(call(cx, arguments)?)));
                let work = tokio::task::spawn_blocking(work);
                match AbortOnDropHandle::new(work).await {
                    Ok(returned) => returned,
                    Err(error) => match error.try_into_panic() {
                        // It ends the run, as the panic of any other tool does.
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(error) => Err(AgentError::new(format!("the tool was torn down: {error}"))),
                    },
                }
            }))
        })
    }

    /// The same as [`new`](Self::new), of a function whose arguments are known only when the process runs: any JSON object, of
    /// which the model is told the JSON schema `schema`. The provider is not asked to hold the model to it, and nor are the
    /// arguments checked against it.
    ///
    /// ```
    /// use greenroom::{Tool, ToolContext};
    /// use serde_json::{Value, json};
    ///
    /// let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    /// let weather = Tool::with_schema("weather", "Says what the weather is like.", schema, |_: ToolContext, arguments| async move {
    ///     Ok(json!({"city": arguments.get("city"), "weather": "sunny"}))
    /// });
    /// # drop(weather);
    /// ```
    pub fn with_schema<F, Fut, T>(
        name: impl Into<String>,
        description: impl Into<String>,
        schema: Value,
        call: F,
    ) -> Self
    where
        F: Fn(ToolContext, Map<String, Value>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, AgentError>> + Send + 'static,
        T: Serialize,
    {
        let schema = ModelSchema { schema, strict: false };
        Self::of::<Map<String, Value>>(name.into(), description.into(), schema, move |cx, arguments| {
            let work = call(cx, read(arguments)?);
            Ok(Box::pin(async move { content(work.await?) }))
        })
    }

    fn erased<A: DeserializeOwned + JsonSchema>(
        name: String,
        description: String,
        call: impl Fn(ToolContext, &str) -> Result<Execution, Misread> + Send + Sync + 'static,
    ) -> Self {
        Self::of::<A>(name, description, schema_of::<A>(), call)
    }

    fn of<A: DeserializeOwned>(
        name: String,
        description: String,
        schema: ModelSchema,
        call: impl Fn(ToolContext, &str) -> Result<Execution, Misread> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            description,
            schema: Arc::new(schema),
            call: Arc::new(call),
            reads: Arc::new(|arguments| read::<A>(arguments).map(drop)),
            timeout: None,
            retries: None,
            needed: Vec::new(),
        }
    }

    /// How long one try of a call may take; then its future is dropped, and the call has failed. No limit when left out.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many times more a call is tried that returns an error or takes too long, and with which pauses; never when left out.
    ///
    /// An error that was made [permanent](AgentError::permanent) is not tried again, nor are arguments that cannot be read. The
    /// tries are part of one call: they have the same [key](ToolContext::idempotency_key), and the model learns of the last
    /// one only.
    pub const fn retries(mut self, retries: u32, policy: RetryPolicy) -> Self {
        self.retries = Some((retries, policy));
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn spec(&self) -> ToolSpec {
        ToolSpec {
            strict: self.schema.strict,
            ..ToolSpec::new(&*self.name, self.description.as_str(), self.parameters())
        }
    }

    /// What is wrong with the tool, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let name = self.name();
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_of_names) {
            return Some(format!("the name must be 1 to {LONGEST_NAME} letters, digits, `_` and `-`"));
        }
        if self.description.trim().is_empty() {
            return Some("the description must not be empty".to_owned());
        }
        if !is_of_objects(&self.schema.schema) {
            return Some("the arguments must be a struct with named fields, or an empty one".to_owned());
        }
        if let Some(problem) = self.problem_with_people() {
            return Some(problem);
        }
        let limits = check_timeout("timeout", self.timeout);
        limits.and_then(|()| self.retries.map_or(Ok(()), |(_, policy)| policy.check())).err().map(|e| e.to_string())
    }

    /// Begins a call. The error says why the arguments cannot be read, and nothing of what people have said.
    pub(crate) fn begin(&self, cx: ToolContext, arguments: &str) -> Result<Execution, String> {
        let is_filled_in = matches!(self.needed(), Some(Needed::Input(_)));
        (self.call)(cx, arguments).map_err(|bad| if is_filled_in { bad.without_values() } else { bad.to_string() })
    }

    pub(crate) const fn time_of_a_try(&self) -> Option<Duration> {
        self.timeout
    }

    /// How long to wait before the call is tried once more, after so many tries that failed.
    pub(crate) fn pause_after(&self, failed: u32) -> Option<Duration> {
        self.retries.filter(|(retries, _)| failed <= *retries).map(|(_, policy)| policy.delay(failed))
    }
}

fn content(output: impl Serialize) -> Result<Content, AgentError> {
    Ok(Content::from(serde_json::to_value(output)?).storable())
}

/// Shows neither the schema nor the function.
impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool")
            .field("name", &self.name)
            .field("strict", &self.schema.strict)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
