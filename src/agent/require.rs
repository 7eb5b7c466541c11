//! Requirements as user code calls them: steps whose results people give.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::memory::{CalledStep, StepError};
use super::{AgentError, RunContext};
use crate::run::{Confirmation, Content, InputField, OpenRequirement, Question, Requirement, RequirementKind};

impl RunContext {
    /// Asks people to confirm something before the code goes on.
    ///
    /// ```
    /// use greenroom::{Agent, CrashPolicy, RunContext};
    ///
    /// let agent = Agent::builder("janitor").on_crash(CrashPolicy::Resume).code(|cx: RunContext| async move {
    ///     let old: Vec<String> = cx.step("look", || async { Ok(vec!["a.log".to_owned()]) }).await?;
    ///     let said = cx.confirm("delete", &old).await?;
    ///     if !said.confirmed {
    ///         return Ok(format!("kept: {}", said.note.unwrap_or_default()));
    ///     }
    ///     cx.step("delete", || async { Ok(()) }).await?;
    ///     Ok("deleted".to_owned())
    /// });
    /// # agent.build().unwrap();
    /// ```
    ///
    /// **What happens.** A requirement is a [step](Self::step) whose result somebody else gives. Where it has been given, the
    /// code goes on with it at once. Else, as soon as the code can do nothing but wait for such results, the run becomes
    /// `PAUSED`, with what it needs in its [requirements](crate::RunOutput::requirements): it then holds no thread, no memory
    /// and no place in any process, for as long as it takes. [`Runtime::continue_run`](crate::Runtime::continue_run) brings the
    /// decisions from any process, and the run is taken up again, with all of its steps remembered. Pausing uses up none of
    /// the run's attempts.
    ///
    /// **What waits together.** Requirements that are awaited together, with `join!` for example, are decided together. Steps
    /// that are under way beside them are finished first. Whatever else the code does at that time, outside of any step, is
    /// dropped, like all of the code's future, at its last `await`: the next attempt runs the code from its beginning and is
    /// given what was remembered. Code that waits for [`cancelled`](Self::cancelled) is not told of a pause.
    ///
    /// **Order.** A requirement takes its place among the steps when this is called, and what is said of the
    /// [order of steps](Self::step) holds for it. The results of steps and requirements are remembered across a pause
    /// whatever the agent's [`CrashPolicy`](crate::CrashPolicy): being continued is no crash. What was under way when a process
    /// died is another matter, so that agents which ask people are best given [`Resume`](crate::CrashPolicy::Resume). From its first pause on, a run
    /// with [`CrashPolicy::Restart`](crate::CrashPolicy::Restart) remembers its steps after a crash as well, so that nobody is
    /// asked twice.
    ///
    /// A name is that of a step; `details`, as JSON, are what people get to see. At most 100 requirements of a run are open
    /// at the same time, and together they are at most as large as the runtime's
    /// [`max_output`](crate::RuntimeBuilder::max_output).
    ///
    /// # Errors
    ///
    /// [`AgentError::kind`] is [`FailureKind::InvalidStep`](crate::FailureKind::InvalidStep) when a bound is passed or
    /// `details` are no JSON, and [`FailureKind::StepsChanged`](crate::FailureKind::StepsChanged) as for a step.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, nobody is asked any more, and the step keeps its place.
    pub fn confirm<D: Serialize>(
        &self,
        name: &str,
        details: D,
    ) -> impl Future<Output = Result<Confirmation, AgentError>> + Send + use<D> {
        self.require(name, RequirementKind::Confirmation, &details, Vec::new())
    }

    /// Asks people a question. All that is said of [`confirm`](Self::confirm) holds for it.
    ///
    /// ```
    /// use greenroom::{Agent, CrashPolicy, InputKind, Question, RunContext};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Address {
    ///     street: String,
    ///     city: String,
    /// }
    ///
    /// let agent = Agent::builder("shop").on_crash(CrashPolicy::Resume).code(|cx: RunContext| async move {
    ///     let form = Question::new("Where to?").field("street", InputKind::Text).field("city", InputKind::Text);
    ///     let address: Address = cx.ask("address", form).await?;
    ///     Ok(address.city)
    /// });
    /// # agent.build().unwrap();
    /// ```
    ///
    /// An answer that does not fit the question's fields is refused when it is given. One that fits them and cannot be read as
    /// a `T` all the same ends the run as [`FailureKind::StepsChanged`](crate::FailureKind::StepsChanged): where a question has
    /// no fields, a `T` that takes any JSON is the right one.
    ///
    /// # Errors
    ///
    /// As [`confirm`](Self::confirm).
    ///
    /// # Cancel safety
    ///
    /// As [`confirm`](Self::confirm).
    pub fn ask<T: DeserializeOwned + Send>(
        &self,
        name: &str,
        question: Question,
    ) -> impl Future<Output = Result<T, AgentError>> + Send + use<T> {
        let problem = question.problem();
        let asked = self.require(name, RequirementKind::UserInput, &question.text, question.fields);
        let name = name.to_owned();
        async move {
            match problem {
                Some(problem) => Err(StepError::BadQuestion { name, problem }.into()),
                None => asked.await,
            }
        }
    }

    /// Has something executed elsewhere: by a person, or by a program that this one cannot reach. All that is said of
    /// [`confirm`](Self::confirm) holds for it. `arguments` are what they get to see, and what they bring is the result, read
    /// as a `T`.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    ///
    /// # Cancel safety
    ///
    /// As [`confirm`](Self::confirm).
    pub fn execute_elsewhere<T, A>(
        &self,
        name: &str,
        arguments: A,
    ) -> impl Future<Output = Result<T, AgentError>> + Send + use<T, A>
    where
        T: DeserializeOwned + Send,
        A: Serialize,
    {
        self.require(name, RequirementKind::ExternalExecution, &arguments, Vec::new())
    }

    fn require<T: DeserializeOwned + Send, D: Serialize>(
        &self,
        name: &str,
        kind: RequirementKind,
        details: &D,
        fields: Vec<InputField>,
    ) -> impl Future<Output = Result<T, AgentError>> + Send + use<T, D> {
        let cx = self.clone();
        let called = cx.steps().call(name);
        let details = serde_json::to_value(details)
            .map_err(|error| StepError::NotJson { name: name.to_owned(), problem: error.to_string() });
        async move {
            let step = called?;
            if let Some(result) = cx.steps().recall(&step)? {
                return Ok(result);
            }
            Err(cx.wait_for(cx.requirement_of(&step, kind, details?, fields)).await)
        }
    }

    /// The requirement that `step` is.
    pub(super) fn requirement_of(
        &self,
        step: &CalledStep,
        kind: RequirementKind,
        details: Value,
        fields: Vec<InputField>,
    ) -> OpenRequirement {
        let requirement = Requirement {
            requirement_id: self.key_of(step),
            name: step.name().to_owned(),
            kind,
            details: Content::from(details).storable(),
            fields,
        };
        let (position, first_attempt) = self.steps().place(step);
        OpenRequirement { position, first_attempt, requirement }
    }
}
