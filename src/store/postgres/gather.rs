//! Reads of single runs: those that come while others are under way are joined into one statement.
//!
//! As with writes, there is no timer: a lone read is made at once, and very many cost little more than one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diesel_async::RunQueryDsl;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Inner;
use super::error::from_diesel;
use super::read::GetRuns;
use super::row::RunRow;
use crate::run::{Run, RunId};
use crate::store::StoreResult;

/// The most statements at the same time; other reads need connections too.
const STATEMENTS: usize = 2;

/// The most runs of one statement: each may come with a large content.
const RUNS: usize = 100;

type Answer = oneshot::Sender<StoreResult<Option<Run>>>;

/// Who waits for which run.
#[derive(Default)]
pub(super) struct Gathered(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<(RunId, Answer)>,
    statements: usize,
}

/// Makes statements until nobody waits any more. Dropped before that, it leaves nobody waiting for ever.
pub(super) struct Reader {
    gathered: Arc<Gathered>,
    done: bool,
}

impl Gathered {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in that a run is asked for; with a reader when one more may be at work.
    pub(super) fn ask(
        self: &Arc<Self>,
        run_id: RunId,
    ) -> (oneshot::Receiver<StoreResult<Option<Run>>>, Option<Reader>) {
        let (to, answer) = oneshot::channel();
        let mut state = self.state();
        state.waiting.push((run_id, to));
        let more = state.statements < STATEMENTS;
        state.statements += usize::from(more);
        (answer, more.then(|| Reader { gathered: Arc::clone(self), done: false }))
    }
}

impl Reader {
    pub(super) async fn read(mut self, inner: Arc<Inner>) {
        while let Some(asked) = self.next() {
            let run_ids = asked.iter().map(|(run_id, _)| run_id.as_uuid()).collect();
            let mut found = inner.runs(run_ids).await;
            for (run_id, to) in asked {
                let answer = match &mut found {
                    Ok(found) => found.get(&run_id.as_uuid()).cloned().map(RunRow::into_run).transpose(),
                    Err(error) => Err(error.clone()),
                };
                // Whoever asked may have gone.
                to.send(answer).ok();
            }
        }
    }

    /// Those for whom the next statement is; `None` when nobody waits and this reader is at its end.
    fn next(&mut self) -> Option<Vec<(RunId, Answer)>> {
        let mut state = self.gathered.state();
        state.waiting.retain(|(_, to)| !to.is_closed());
        if state.waiting.is_empty() {
            state.statements -= 1;
            self.done = true;
            return None;
        }
        let most = state.waiting.len().min(RUNS);
        Some(state.waiting.drain(..most).collect())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.gathered.state();
            state.statements -= 1;
            // Their senders with them: they hear that nobody answers.
            state.waiting.clear();
        }
    }
}

impl Inner {
    async fn runs(&self, run_ids: Vec<Uuid>) -> StoreResult<HashMap<Uuid, RunRow>> {
        let rows = self.read(|conn| {
            let statement = GetRuns { run_ids: run_ids.clone() };
            Box::pin(async move { statement.get_results(conn).await.map_err(|error| from_diesel(&error)) })
        });
        let rows: Vec<RunRow> = rows.await?;
        Ok(rows.into_iter().map(|row| (row.run_id, row)).collect())
    }
}
