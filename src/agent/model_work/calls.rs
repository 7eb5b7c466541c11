//! The tool calls of a turn, each of which is a step.

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::FutureExt;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::people::{self, Asked, Verdict};
use crate::agent::context::Report;
use crate::agent::memory::{CalledStep, StepError};
use crate::agent::needs::UnderWay;
use crate::agent::schema::{LONGEST_NAME, is_of_names};
use crate::agent::step::{over, unless_over};
use crate::agent::{AgentError, Message, RunContext, Tool, ToolCall, ToolContext, ToolSpec, panic_message};
use crate::run::{Content, RunEventKind, StepKey, StepRecord, ToolExecution};
use crate::telemetry::names;

/// The tools of an agent.
pub(crate) struct Tools {
    tools: Vec<Tool>,
    /// How many calls of a turn are under way at the same time.
    parallel: usize,
}

/// How a call ended, as it is remembered.
#[derive(Serialize, Deserialize)]
pub(super) struct Outcome {
    /// What the model is told.
    output: Content,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    failed: bool,
    /// How long it took, if anything was executed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

/// A call that has its place among the steps of the run.
pub(super) struct Placed<'a> {
    pub(super) call: &'a ToolCall,
    turn: u32,
    pub(super) asked: Option<Asked<'a>>,
    step: CalledStep,
    /// Unless it waits for people.
    pub(super) under_way: Option<UnderWay>,
}

/// Why a try of a call failed.
struct Failure {
    message: String,
    may_pass: bool,
}

impl Tools {
    pub(crate) fn new(tools: Vec<Tool>, parallel: usize) -> Self {
        Self { tools, parallel }
    }

    pub(super) fn find(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name() == name)
    }

    pub(super) fn specs(&self) -> Vec<ToolSpec> {
        self.tools.iter().map(Tool::spec).collect()
    }

    /// Makes the calls of a turn, and returns their outputs in the order of the calls. All of them are durable then.
    pub(super) async fn call_all(
        &self,
        calls: &[ToolCall],
        turn: u32,
        cx: &RunContext,
    ) -> Result<Vec<Message>, AgentError> {
        // Each has its place among the steps before the first one begins, whichever ends first. And each is under way, so
        // that the run is not paused before all that need nobody have ended.
        let placed = calls.iter().map(|call| self.place(call, turn, cx)).collect::<Result<Vec<_>, _>>()?;
        let room = Semaphore::new(self.parallel);
        let outputs = placed.into_iter().map(async |placed| {
            let call_id = placed.call.id.as_str();
            let output = AssertUnwindSafe(self.call(placed, &room, cx)).catch_unwind().await;
            let output = output.inspect_err(|panic| cx.note_panic(panic_message(&**panic)));
            output.map(|output| Ok(Message::tool_output(call_id, output?)))
        });
        // Also when the run is to end, be it by a panic: tools that clean up are waited for.
        let outputs = join_all(outputs).await.into_iter();
        let outputs: Vec<_> = outputs.map(|output| output.unwrap_or_else(|panic| resume_unwind(panic))).collect();
        outputs.into_iter().collect()
    }

    fn place<'a>(&'a self, call: &'a ToolCall, turn: u32, cx: &RunContext) -> Result<Placed<'a>, StepError> {
        let asked = Asked::about(self.find(&call.name), cx)?;
        let step = cx.steps().call(&step_name(&call.name))?;
        Ok(Placed { call, turn, asked, step, under_way: Some(cx.begin_step()) })
    }

    /// The output of a call: the one that an earlier attempt has had, or a new one.
    async fn call(&self, mut placed: Placed<'_>, room: &Semaphore, cx: &RunContext) -> Result<Content, AgentError> {
        let call = placed.call;
        let tool = ToolExecution::begun(&call.id, &call.name, &call.arguments, placed.turn);
        let tool = match &placed.asked {
            Some(asked) => asked.noted(tool, cx)?,
            None => tool,
        };
        if let Some(outcome) = cx.steps().recall::<Outcome>(&placed.step)? {
            cx.report(Report::Called(outcome.noted(tool))).await;
            return Ok(outcome.output);
        }
        let verdict = people::verdict(&mut placed, cx).await?;
        let _room = unless_over(cx, room.acquire()).await??;
        cx.say(RunEventKind::ToolCallStarted { tool: tool.clone() }).await;
        let outcome = match verdict {
            Verdict::Execute(arguments) => {
                let started = Instant::now();
                let outcome = self.traced(call, &arguments, cx.key_of(&placed.step), cx).await?;
                Outcome { seconds: Some(started.elapsed().as_secs_f64()), ..outcome }
            }
            Verdict::Ended(outcome) => outcome,
        };
        let (record, outcome) = finish(call, &placed.step, &outcome, cx)?;
        cx.remember(record, Some(outcome.event(tool))).await?;
        Ok(outcome.output)
    }

    /// Executes a call in a span of its own.
    async fn traced(
        &self,
        call: &ToolCall,
        arguments: &str,
        key: StepKey,
        cx: &RunContext,
    ) -> Result<Outcome, AgentError> {
        let span = cx.span().tool(self.find(&call.name).map(Tool::name), &call.id);
        span.content(names::TOOL_ARGUMENTS, || arguments.into());
        let outcome = span.around(self.execute(call, arguments, key, cx)).await?;
        span.content(names::TOOL_RESULT, || outcome.output.as_json().clone());
        if outcome.failed {
            span.fail("tool_error");
        } else {
            span.succeed();
        }
        Ok(outcome)
    }

    /// Executes a call, and tries it again where the tool wants that. An error means that the run is to end.
    async fn execute(
        &self,
        call: &ToolCall,
        arguments: &str,
        key: StepKey,
        cx: &RunContext,
    ) -> Result<Outcome, AgentError> {
        let Some(tool) = self.find(&call.name) else {
            return Ok(Outcome::failed(self.unknown(&call.name)));
        };
        let mut failed = 0;
        loop {
            let tool_cx = ToolContext::new(cx.clone(), &call.id, key);
            let failure = match execute_once(tool, arguments, tool_cx, cx).await? {
                Ok(output) => return Ok(Outcome::returned(output)),
                Err(failure) => failure,
            };
            failed += 1;
            match tool.pause_after(failed).filter(|_| failure.may_pass) {
                Some(pause) => unless_over(cx, tokio::time::sleep(pause)).await?,
                None => return Ok(Outcome::failed(failure.message)),
            }
        }
    }

    fn unknown(&self, name: &str) -> String {
        let known = self.tools.iter().map(|tool| format!("`{}`", tool.name())).collect::<Vec<_>>();
        let known =
            if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) };
        format!("unknown tool `{name}`: {known}")
    }
}

/// Executes a call once. The outer error means that the run is to end.
async fn execute_once(
    tool: &Tool,
    arguments: &str,
    tool_cx: ToolContext,
    cx: &RunContext,
) -> Result<Result<Content, Failure>, AgentError> {
    let name = tool.name();
    let work = match tool.begin(tool_cx.clone(), arguments) {
        Ok(work) => work,
        Err(problem) => {
            return Ok(Err(Failure { message: bad_arguments(name, &problem), may_pass: false }));
        }
    };
    let work = in_time(tool, work);
    tokio::pin!(work);
    tokio::select! {
        biased;
        () = cx.ends_early() => {}
        done = &mut work => return Ok(done),
    }
    // What was finished in spite of the cancel need not be done again; what was given up is.
    if tool_cx.is_heeded() { Ok(Ok(work.await.map_err(|_| over())?)) } else { Err(over()) }
}

fn bad_arguments(tool: &str, problem: &str) -> String {
    format!("bad arguments for `{tool}`: {problem}")
}

/// Waits for a try of a call, as long as one may take.
async fn in_time(tool: &Tool, work: impl Future<Output = Result<Content, AgentError>>) -> Result<Content, Failure> {
    let name = tool.name();
    let returned = match tool.time_of_a_try() {
        Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| limit),
        None => Ok(work.await),
    };
    let (problem, may_pass) = match returned {
        Ok(Ok(output)) => return Ok(output),
        Ok(Err(error)) => (error.to_string(), error.is_retryable()),
        Err(limit) => (format!("it took longer than {limit:?}"), true),
    };
    Err(Failure { message: format!("tool `{name}` failed: {problem}"), may_pass })
}

/// What is to be remembered of a call. An output that is too large is a failure that the model may find a way around.
fn finish(
    call: &ToolCall,
    step: &CalledStep,
    outcome: &Outcome,
    cx: &RunContext,
) -> Result<(StepRecord, Outcome), AgentError> {
    match cx.steps().finish(step, outcome) {
        Err(StepError::TooLarge { size, most, .. }) => {
            let problem = format!("its output has {size} bytes, of {most} at most");
            let failed = Outcome::failed(format!("tool `{}` failed: {problem}", call.name));
            Ok(cx.steps().finish(step, &Outcome { seconds: outcome.seconds, ..failed })?)
        }
        finished => Ok(finished?),
    }
}

impl Outcome {
    pub(super) const fn returned(output: Content) -> Self {
        Self { output, failed: false, seconds: None }
    }

    pub(super) fn failed(message: String) -> Self {
        Self { output: Content::from(message).storable(), failed: true, seconds: None }
    }

    pub(super) fn bad_arguments(tool: &str, problem: &str) -> Self {
        Self::failed(bad_arguments(tool, problem))
    }

    /// The call as those who follow the run see it at its end.
    fn noted(&self, tool: ToolExecution) -> ToolExecution {
        let tool = ToolExecution { tool_call_error: self.failed, ..tool }.with_result(&self.output);
        match self.seconds {
            Some(seconds) => tool.ended(seconds),
            None => tool,
        }
    }

    /// The event that tells of the call's end.
    fn event(&self, tool: ToolExecution) -> RunEventKind {
        let tool = self.noted(tool);
        if self.failed {
            RunEventKind::ToolCallError { tool, error: self.output.clone() }
        } else {
            RunEventKind::ToolCallCompleted { tool }
        }
    }
}

/// The name of the step that is a call of the tool `name`. A name that no tool can have is the model's invention.
fn step_name(name: &str) -> String {
    let fits = (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_of_names);
    if fits { format!("tool {name}") } else { "tool ?".to_owned() }
}
