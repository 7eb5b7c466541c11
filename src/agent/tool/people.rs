//! Tools whose calls people have a say in.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Tool;
use crate::agent::misread::{Misread, read};
use crate::agent::schema::may_be_null;
use crate::run::Question;

/// What each call of a tool needs from people.
#[derive(Clone, Debug)]
pub(crate) enum Needed {
    Confirmation,
    /// What people add to the arguments.
    Input(Question),
    Execution,
}

impl Tool {
    /// Each call has to be confirmed by people before it is executed.
    ///
    /// ```
    /// # use greenroom::schemars::{self, JsonSchema};
    /// use greenroom::{Tool, ToolContext};
    /// # #[derive(serde::Deserialize, JsonSchema)]
    /// # struct Path { path: String }
    ///
    /// let delete = Tool::new("delete_file", "Deletes a file.", |_: ToolContext, args: Path| async move {
    ///     std::fs::remove_file(args.path).map_err(Into::into)
    /// })
    /// .requires_confirmation();
    /// # drop(delete);
    /// ```
    ///
    /// **What happens.** When the model calls the tool, the run becomes `PAUSED`, with a
    /// [requirement](crate::RunOutput::requirements) that is named after the tool; its details are an object with the
    /// `tool_call_id`, the `tool_name` and the `tool_args`. After [`Runtime::continue_run`](crate::Runtime::continue_run) with
    /// [`Decision::confirm`](crate::Decision::confirm) the call is executed, once, as any other. After
    /// [`Decision::reject`](crate::Decision::reject) it is not: the model is told that it was rejected, and the note. All that is
    /// said of [`RunContext::confirm`](crate::RunContext::confirm) holds here, too.
    ///
    /// Of the calls of one turn, those that need nobody are made before the run is paused, and not again after it; those that
    /// need people are decided together. Nobody is asked about a call whose arguments cannot be read: the model is told so at
    /// once, as it is when it wants more decided than people can be asked at a time.
    ///
    /// A tool is confirmed, filled in or executed elsewhere, not two of them. And what a tool does cannot ask: the calls of a turn
    /// go on beside each other, so what is asked within them would have no certain place among the steps of the run.
    pub fn requires_confirmation(self) -> Self {
        self.requires(Needed::Confirmation)
    }

    /// People add to the arguments of each call before it is executed: all that the question has
    /// [fields](crate::Question::field) for.
    ///
    /// The fields are arguments of the tool, and the model is not told of them: what people say goes to the tool alone. (It is in
    /// the [`user_input`](crate::ToolExecution::user_input) of the call, for those who may see the run.) When it does not have the
    /// form that the tool reads, the model is told of which argument, and what was expected, but nothing of what was said.
    ///
    /// What happens is said at [`requires_confirmation`](Self::requires_confirmation); the details have a `question`, too, and each
    /// call is decided by [`Decision::answer`](crate::Decision::answer). What the model has written is checked before anybody is
    /// asked, as far as it can be without what people add.
    ///
    /// ```
    /// # use greenroom::schemars::{self, JsonSchema};
    /// use greenroom::{InputKind, Question, Tool, ToolContext};
    ///
    /// #[derive(serde::Deserialize, JsonSchema)]
    /// struct Payment {
    ///     /// What is paid for.
    ///     purpose: String,
    ///     account: String,
    /// }
    ///
    /// let pay = Tool::new("pay", "Pays.", |_: ToolContext, args: Payment| async move {
    ///     Ok(format!("paid for {}", args.purpose))
    /// })
    /// .requires_input(Question::new("From which account?").field("account", InputKind::Text));
    /// # drop(pay);
    /// ```
    pub fn requires_input(self, question: Question) -> Self {
        self.requires(Needed::Input(question))
    }

    /// A tool that is executed elsewhere: by people, or by a program that this one cannot reach.
    ///
    /// What happens is said at [`requires_confirmation`](Self::requires_confirmation); each call is decided by
    /// [`Decision::answer`](crate::Decision::answer), and what that brings is the output of the call.
    ///
    /// ```
    /// # use greenroom::schemars::{self, JsonSchema};
    /// use greenroom::Tool;
    ///
    /// #[derive(serde::Deserialize, JsonSchema)]
    /// struct Letter {
    ///     to: String,
    ///     text: String,
    /// }
    ///
    /// let send = Tool::executed_elsewhere::<Letter>("send_letter", "Sends a letter, and says when it was posted.");
    /// # drop(send);
    /// ```
    pub fn executed_elsewhere<A>(name: impl Into<String>, description: impl Into<String>) -> Self
    where
        A: DeserializeOwned + JsonSchema,
    {
        let nothing = |_, _: &str| Err(Misread::new("it is executed elsewhere"));
        Self::erased::<A>(name.into(), description.into(), nothing).requires(Needed::Execution)
    }

    fn requires(mut self, needed: Needed) -> Self {
        self.needed.push(needed);
        self
    }

    /// What each call needs from people, if anything.
    pub(crate) fn needed(&self) -> Option<&Needed> {
        self.needed.first()
    }

    /// What is wrong with that.
    pub(super) fn problem_with_people(&self) -> Option<String> {
        if self.needed.len() > 1 {
            return Some("it can be confirmed, filled in or executed elsewhere, and not two of them".to_owned());
        }
        let Some(Needed::Input(question)) = self.needed() else { return None };
        if question.fields.is_empty() {
            return Some("the question must have a field".to_owned());
        }
        if let Some(problem) = question.problem() {
            return Some(format!("the question {problem}"));
        }
        let arguments = self.schema.schema.get("properties").and_then(Value::as_object);
        let known = |name: &str| arguments.is_some_and(|arguments| arguments.contains_key(name));
        let unknown = question.fields.iter().find(|field| !known(&field.name))?;
        Some(format!("the question has a field `{}`, which is no argument", unknown.name))
    }

    /// The schema of what the model writes, without what people add.
    pub(super) fn parameters(&self) -> Value {
        let mut parameters = self.schema.schema.clone();
        let Some(Needed::Input(question)) = self.needed() else { return parameters };
        for field in &question.fields {
            if let Some(properties) = parameters.get_mut("properties").and_then(Value::as_object_mut) {
                properties.remove(&field.name);
            }
            if let Some(required) = parameters.get_mut("required").and_then(Value::as_array_mut) {
                required.retain(|name| name.as_str() != Some(&field.name));
            }
        }
        parameters
    }

    /// Whether people can be asked about a call with these arguments. The error says what is wrong with them.
    pub(crate) fn check(&self, arguments: &str) -> Result<(), String> {
        let checked = match self.needed() {
            Some(Needed::Input(question)) => self.check_rest(arguments, question),
            Some(Needed::Confirmation | Needed::Execution) | None => (self.reads)(arguments),
        };
        checked.map_err(|bad| bad.to_string())
    }

    /// Whether the arguments may be right once people have added theirs, as far as that can be told without them.
    fn check_rest(&self, arguments: &str, question: &Question) -> Result<(), Misread> {
        let mut rest = read::<Map<String, Value>>(arguments)?;
        rest.retain(|name, _| !question.has(name));
        let Err(bad) = (self.reads)(&Value::from(rest.clone()).to_string()) else { return Ok(()) };
        match bad.argument() {
            Some(argument) if !question.has(argument) => Err(bad),
            // Only the first that is missing is told, which is one that people add.
            Some(_) => self.missing(&rest).map_or(Ok(()), |name| Err(Misread::missing(&name))),
            None => Ok(()),
        }
    }

    /// An argument that the model has left out, and may not.
    fn missing(&self, arguments: &Map<String, Value>) -> Option<String> {
        let parameters = self.parameters();
        let may_be_left_out =
            |name: &str| parameters.get("properties").and_then(|all| all.get(name)).is_some_and(may_be_null);
        let required = parameters.get("required")?.as_array()?.iter().filter_map(Value::as_str);
        let missing = required.into_iter().find(|name| !arguments.contains_key(*name) && !may_be_left_out(name));
        missing.map(str::to_owned)
    }
}

/// The arguments that the model has written, with what people have added.
pub(crate) fn filled_in(arguments: &str, added: Map<String, Value>) -> Result<String, String> {
    let mut all = read::<Map<String, Value>>(arguments).map_err(|bad| bad.to_string())?;
    all.extend(added);
    Ok(Value::Object(all).to_string())
}
