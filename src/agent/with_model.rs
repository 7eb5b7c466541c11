//! What an agent is given beside its model: instructions, tools, the form of the answer, limits.

use std::collections::HashSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::model_work::{Form, Limits, ModelWork, Parts, Tools, system_text};
use super::{AgentBuilder, InvalidAgent, Model, Tool};
use crate::run::InvalidRun;

/// How many tool calls of a turn are under way at the same time, unless the agent says otherwise.
const PARALLEL: usize = 8;

#[derive(Default)]
pub(super) struct WithModel {
    instructions: Vec<String>,
    tools: Vec<Tool>,
    parallel: Option<usize>,
    form: Option<Form>,
    repair: bool,
    limits: Limits,
}

impl AgentBuilder {
    /// Tells the model one more thing to heed, after the description.
    pub fn instruction(mut self, instruction: impl Into<String>) -> Self {
        self.with_model.instructions.push(instruction.into());
        self
    }

    /// Gives the model one more tool that it may call.
    ///
    /// A run then is turn after turn of the model. After a turn that wants tools called, they are, and the model is told their
    /// outputs in the order of the calls; a turn that wants none is the answer, and its text the content of the run. What the
    /// model says before it calls tools is followed as `RunContent` like the rest, and is part of the partial content of a run
    /// that is cancelled or fails.
    ///
    /// ```
    /// use greenroom::schemars::{self, JsonSchema};
    /// use greenroom::{Agent, NewRun, Runtime, ScriptedModel, ScriptedTurn, Store, Tool, ToolContext};
    /// use serde::Deserialize;
    /// use serde_json::json;
    ///
    /// #[derive(Deserialize, JsonSchema)]
    /// struct City {
    ///     /// The name of the city, in English.
    ///     name: String,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let weather = Tool::new("weather", "Says what the weather is like in a city.", |_: ToolContext, city: City| async move {
    ///     Ok(json!({ "city": city.name, "weather": "sunny", "degrees": 24 }))
    /// });
    /// // It plays the part of a model that calls the tool once, and then answers.
    /// let model = ScriptedModel::new([
    ///     ScriptedTurn::text("Let me look. ").then_call("weather", json!({ "name": "Paris" })),
    ///     ScriptedTurn::text("It is sunny in Paris, at 24 degrees."),
    /// ]);
    /// let agent = Agent::builder("concierge").model(model.clone()).tool(weather);
    /// # let store = Store::sqlite_in_memory();
    /// let runtime = Runtime::builder().store(store).agent(agent).start().await?;
    /// let run = runtime.submit(NewRun::new("concierge", "What is the weather like in Paris?")).await?;
    /// let output = run.wait(std::time::Duration::from_secs(30)).await?;
    /// assert_eq!(output.content.unwrap().as_text(), Some("It is sunny in Paris, at 24 degrees."));
    ///
    /// // What the model was told: the question, its own call, and the output of that.
    /// let asked = model.requests();
    /// assert_eq!(asked[1].messages[2].content.as_json()["degrees"], 24);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// **What is promised.** A turn that wants tools called is in the database before any of them begins, and the output of
    /// each call before the model is asked again. So a rescued run asks for no turn again that was finished, and makes no call
    /// again whose output is remembered; it goes on with the calls that are missing. A call that was under way when its process
    /// died is made again, so its *effect* happens at least once: give the outside world
    /// [`ToolContext::idempotency_key`](crate::ToolContext::idempotency_key), which is the same in every attempt. (An agent whose
    /// [crash policy](Self::on_crash) is `Restart` begins anew, and makes all calls again.) Turns and calls are steps:
    /// [`RunContext::step`](crate::RunContext::step) says how many a run may have, and how large they may be.
    ///
    /// **What fails.** A tool that does not exist, arguments that cannot be read, an error and a time-out are told to the model
    /// as the output of the call, in a sentence that begins with `unknown tool`, `bad arguments for` or `tool … failed`, and the
    /// run goes on: models often mend what they are told of. An output that is larger than the runtime's
    /// [`max_output`](crate::RuntimeBuilder::max_output) is such a failure too. A panic in a tool settles the run as `ERROR` with
    /// [`FailureKind::Panic`](crate::FailureKind::Panic), and harms no other run; the other calls of its turn end as they do by a
    /// cancel.
    ///
    /// **Deploys.** A call is the step `tool NAME`, in the order in which the turns want them; what people say about it is the step
    /// `NAME` before that. So tools that need nobody may be added, changed and taken away while runs are under way: calls that a
    /// run remembers keep their outputs, others are made by the tools that there are by then, and one whose tool is gone is told to
    /// the model as `unknown tool`. A tool that [needs people](crate::Tool::requires_confirmation) has to stay, and to need the
    /// same, and one that needs nobody must not begin to: else runs that have called it fail as
    /// [`StepsChanged`](crate::FailureKind::StepsChanged).
    ///
    /// **When the run is cancelled**, times out, or is handed back at a shutdown, the futures of its tools are dropped at their
    /// next `await`, no other call begins, and the model is not asked again. A tool that has asked for
    /// [`ToolContext::cancelled`](crate::ToolContext::cancelled) is given the runtime's cancel grace to clean up.
    pub fn tool(mut self, tool: Tool) -> Self {
        self.with_model.tools.push(tool);
        self
    }

    /// Gives the model several more tools, for instance those of a server; see [`tool`](Self::tool).
    pub fn tools(mut self, tools: impl IntoIterator<Item = Tool>) -> Self {
        self.with_model.tools.extend(tools);
        self
    }

    /// How many tool calls of one turn are under way at the same time, at least 1; 8 when left out. They begin in the order in
    /// which the model wants them.
    pub const fn parallel_tool_calls(mut self, calls: usize) -> Self {
        self.with_model.parallel = Some(calls);
        self
    }

    /// Asks for an answer of this form: the model is told the JSON schema of `T`, and the answer has to be one that serde can
    /// read as a `T`, a struct with named fields. The content of the run is the answer as JSON.
    ///
    /// An answer of another form settles the run as `ERROR` with
    /// [`FailureKind::InvalidOutput`](crate::FailureKind::InvalidOutput), and its text is kept as the run's partial content; see
    /// [`repair_output`](Self::repair_output).
    ///
    /// ```
    /// use greenroom::schemars::{self, JsonSchema};
    /// use greenroom::{Agent, ScriptedModel};
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize, JsonSchema)]
    /// struct Verdict {
    ///     /// Whether the text is friendly.
    ///     friendly: bool,
    ///     reason: Option<String>,
    /// }
    ///
    /// let agent = Agent::builder("judge").model(ScriptedModel::echo()).output::<Verdict>().repair_output(true);
    /// # agent.build().unwrap();
    /// ```
    pub fn output<T: JsonSchema + DeserializeOwned>(mut self) -> Self {
        self.with_model.form = Some(Form::of::<T>());
        self
    }

    /// Whether a model whose answer does not have the [form](Self::output) is told once what is wrong with it, and asked again;
    /// not when left out. What both answers say is followed as `RunContent`, one after the other.
    pub const fn repair_output(mut self, repair: bool) -> Self {
        self.with_model.repair = repair;
        self
    }

    /// How many turns of the model a run may have, at least 1; 50 when left out. Turns that are remembered of earlier attempts
    /// count.
    ///
    /// A run whose last turn is no answer settles as `ERROR` with [`FailureKind::TurnLimit`](crate::FailureKind::TurnLimit);
    /// the tools that it wanted are not called.
    pub const fn max_turns(mut self, turns: u32) -> Self {
        self.with_model.limits.turns = Some(turns);
        self
    }

    /// How many tool calls a run may make, further tries of a call not counted; no limit when left out.
    ///
    /// A run whose model wants more settles as `ERROR` with [`FailureKind::ToolCallLimit`](crate::FailureKind::ToolCallLimit);
    /// of the turn that passes the limit, no tool is called.
    pub const fn max_tool_calls(mut self, calls: u32) -> Self {
        self.with_model.limits.tool_calls = Some(calls);
        self
    }

    /// How many tokens the turns of a run may cost together, those that went in and those that came out, at least 1; no limit when
    /// left out.
    ///
    /// It is looked at after each turn, since nobody knows before what one will cost. A run that has reached it and has no
    /// answer settles as `ERROR` with [`FailureKind::TokenLimit`](crate::FailureKind::TokenLimit), and calls no more tools. An
    /// answer is taken, whatever it has cost.
    pub const fn max_tokens(mut self, tokens: u64) -> Self {
        self.with_model.limits.tokens = Some(tokens);
        self
    }
}

impl WithModel {
    /// What an agent with this model does.
    pub(super) fn work(
        self,
        agent: &str,
        model: Arc<dyn Model>,
        description: Option<&str>,
    ) -> Result<ModelWork, InvalidAgent> {
        self.check().map_err(|invalid| InvalidAgent::Field { agent: agent.to_owned(), invalid })?;
        if self.repair && self.form.is_none() {
            return Err(InvalidAgent::RepairWithoutOutput(agent.to_owned()));
        }
        check_tools(agent, &self.tools)?;
        Ok(ModelWork::new(Parts {
            model,
            system: system_text(description, &self.instructions),
            tools: Tools::new(self.tools, self.parallel.unwrap_or(PARALLEL)),
            form: self.form,
            repair: self.repair,
            limits: self.limits,
        }))
    }

    fn check(&self) -> Result<(), InvalidRun> {
        self.limits.check()?;
        if self.parallel == Some(0) {
            return Err(InvalidRun { field: "parallel_tool_calls", problem: "must be at least 1".to_owned() });
        }
        match self.form.as_ref().and_then(Form::problem) {
            Some(problem) => Err(InvalidRun { field: "output", problem: problem.to_owned() }),
            None => Ok(()),
        }
    }

    /// Checks that nothing was given that only a model can use.
    pub(super) fn check_unused(&self, agent: &str) -> Result<(), InvalidAgent> {
        if !self.instructions.is_empty() {
            return Err(InvalidAgent::InstructionsWithoutModel(agent.to_owned()));
        }
        if !self.tools.is_empty() {
            return Err(InvalidAgent::ToolsWithoutModel(agent.to_owned()));
        }
        if self.form.is_some() {
            return Err(InvalidAgent::OutputWithoutModel(agent.to_owned()));
        }
        let settings = [
            ("max_turns", self.limits.turns.is_some()),
            ("max_tool_calls", self.limits.tool_calls.is_some()),
            ("max_tokens", self.limits.tokens.is_some()),
            ("parallel_tool_calls", self.parallel.is_some()),
            ("repair_output", self.repair),
        ];
        match settings.into_iter().find(|(_, is_set)| *is_set) {
            Some((setting, _)) => Err(InvalidAgent::SettingWithoutModel { agent: agent.to_owned(), setting }),
            None => Ok(()),
        }
    }
}

fn check_tools(agent: &str, tools: &[Tool]) -> Result<(), InvalidAgent> {
    let mut names = HashSet::new();
    for tool in tools {
        let twice = || (!names.insert(tool.name())).then(|| "there is another tool of that name".to_owned());
        if let Some(problem) = tool.problem().or_else(twice) {
            return Err(InvalidAgent::Tool { agent: agent.to_owned(), tool: tool.name().to_owned(), problem });
        }
    }
    Ok(())
}
