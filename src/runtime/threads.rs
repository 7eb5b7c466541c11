//! What drives user code.

use tokio::runtime::Handle;

use super::RuntimeBuilder;

impl RuntimeBuilder {
    /// How many threads drive user code, 1 to 1,024; the number of processors, but at least 2, when left out.
    ///
    /// All runs of the process share them. Code that blocks a thread, or computes for long, belongs into
    /// [`tokio::task::spawn_blocking`] or a [`Tool::blocking`](crate::Tool::blocking).
    pub const fn agent_threads(mut self, threads: usize) -> Self {
        self.agent_threads = Some(threads);
        self
    }

    /// Has user code driven by this tokio runtime instead of [threads](Self::agent_threads) of its own: agents, their models and
    /// their tools. It has to have timers and I/O, and has to be driven itself until this runtime is shut down.
    ///
    /// It is for tests with paused time above all: on the paused runtime of a test, what agents, models and tools wait for is
    /// over as soon as nobody has anything to do. What Greenroom itself waits for, the database and the times in a
    /// [`NewRun`](crate::NewRun) among it, is real time. Tokio does not know of that, nor of what comes over a network: a time
    /// limit in user code around such things may be over at once.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use greenroom::model::{ModelError, ModelErrorKind};
    /// use greenroom::{Agent, NewRun, Runtime, ScriptedModel, ScriptedTurn, Store, Tool, ToolContext};
    /// use serde_json::json;
    ///
    /// # fn main() { test() }
    /// # /*
    /// #[tokio::test(start_paused = true)]
    /// # */
    /// # #[tokio::main(flavor = "current_thread")]
    /// async fn test() {
    ///     # tokio::time::pause();
    ///     // A model that takes an hour for each word, calls a tool that takes a day, and then fails.
    ///     let hour = Duration::from_secs(3600);
    ///     let model = ScriptedModel::new([
    ///         ScriptedTurn::text("Let me think.").delay(hour).then_call("think", json!({})),
    ///         ScriptedTurn::text("It is").delay(hour).then_fail(ModelError::new(ModelErrorKind::Server, "down")),
    ///     ]);
    ///     let schema = json!({"type": "object"});
    ///     let think = Tool::with_schema("think", "Thinks for a day.", schema, move |_: ToolContext, _| async move {
    ///         tokio::time::sleep(24 * hour).await;
    ///         Ok("42")
    ///     });
    ///     let runtime = Runtime::builder()
    ///         .store(Store::sqlite_in_memory())
    ///         .agent(Agent::builder("thinker").model(model.clone()).tool(think))
    ///         .agent_runtime(tokio::runtime::Handle::current())
    ///         .start()
    ///         .await
    ///         .unwrap();
    ///
    ///     let run = runtime.submit(NewRun::new("thinker", "What is the answer?")).await.unwrap();
    ///     let output = run.wait(Duration::from_secs(30)).await.unwrap();
    ///
    ///     assert_eq!(output.error.unwrap().message, "down");
    ///     // What the model was sent.
    ///     let asked = model.requests();
    ///     assert_eq!(asked[0].tools[0].name, "think");
    ///     assert_eq!(asked[1].messages.last().unwrap().content.as_text(), Some("42"));
    ///     runtime.shutdown(Duration::ZERO).await;
    /// }
    /// ```
    pub fn agent_runtime(mut self, runtime: Handle) -> Self {
        self.agent_runtime = Some(runtime);
        self
    }
}
