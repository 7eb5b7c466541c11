//! SQLite in memory behind a gate: a store that a test holds, breaks and watches.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::soon;
use crate::run::{Exchange, Run, RunEvent, RunId, RunStatus, StepRecord};
#[cfg(feature = "webhooks")]
use crate::store::delivery::Outbox;
use crate::store::hints::Hint;
use crate::store::protocol::{Change, RowFacts, Write, Written};
use crate::store::session::{SessionKey, StateWritten, StoredState, UpdateId, WriteState};
use crate::store::{
    Claim, CountQuery, History, Mark, NodeId, RunCounts, RunQuery, RunStore, Store, StoreError, StoreLimits,
    StoreResult, TakenRun,
};

#[cfg(feature = "webhooks")]
mod outbox;

/// What a batch consisted of: each write's run, and a word for what it was.
pub(crate) type Seen = Vec<(RunId, &'static str)>;

type Which = Arc<dyn Fn(&Write) -> bool + Send + Sync>;

/// SQLite in memory behind a gate.
pub(crate) struct Gated {
    inner: Arc<dyn RunStore>,
    batches: watch::Sender<Vec<Seen>>,
    /// Batches with such a write wait before they are written.
    held: watch::Sender<Option<Which>>,
    claims: watch::Sender<usize>,
    /// Claims wait after they were committed.
    claims_held: watch::Sender<bool>,
    looks: watch::Sender<Looks>,
    hints: Mutex<Vec<Hint>>,
    /// Claims that failed and are still on their way.
    late_claims: Mutex<Vec<Claim>>,
    own_looks: watch::Sender<usize>,
    /// Looks for unstarted runs wait before they are answered.
    own_looks_held: watch::Sender<bool>,
    #[cfg(feature = "webhooks")]
    outbox: outbox::GatedOutbox,
    faults: Mutex<Faults>,
}

/// How often the runs that are followed were looked at together, and their events read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    pub(crate) marks: usize,
    pub(crate) tails: usize,
}

#[derive(Default)]
struct Faults {
    /// So many writes fail without effect.
    writes: usize,
    /// So many writes fail though they were committed.
    answers: usize,
    /// The same for claims.
    claim_answers: usize,
    /// So many claims fail, and arrive later.
    late_claims: usize,
    /// So many reads of facts fail.
    facts: usize,
    /// The same for reads of marks.
    marks: usize,
    poisoned: HashSet<RunId>,
}

impl Gated {
    pub(crate) async fn open() -> Arc<Self> {
        let limits = StoreLimits { intent_ttl: Duration::from_secs(3600), max_intents: 1000 };
        let inner = Store::sqlite_in_memory().open(limits).await.unwrap();
        Arc::new(Self {
            #[cfg(feature = "webhooks")]
            outbox: outbox::GatedOutbox::of(Arc::clone(&inner)),
            inner,
            batches: watch::Sender::default(),
            held: watch::Sender::default(),
            claims: watch::Sender::default(),
            claims_held: watch::Sender::default(),
            looks: watch::Sender::default(),
            hints: Mutex::default(),
            late_claims: Mutex::default(),
            own_looks: watch::Sender::default(),
            own_looks_held: watch::Sender::default(),
            faults: Mutex::default(),
        })
    }

    /// A name look-up of the courier hangs until the other end is dropped; returns when it does.
    #[cfg(feature = "webhooks")]
    pub(crate) async fn hang_a_look_up(&self, at: std::sync::mpsc::Receiver<()>) {
        soon(self.outbox.hang(at)).await;
    }

    /// The store without its gate.
    pub(crate) fn inner(&self) -> &dyn RunStore {
        &*self.inner
    }

    pub(crate) fn hold(&self, which: impl Fn(&Write) -> bool + Send + Sync + 'static) {
        self.held.send_replace(Some(Arc::new(which)));
    }

    pub(crate) fn hold_all(&self) {
        self.hold(|_| true);
    }

    pub(crate) fn let_go(&self) {
        self.held.send_replace(None);
    }

    pub(crate) fn hold_claims(&self, held: bool) {
        self.claims_held.send_replace(held);
    }

    pub(crate) fn fail_writes(&self, n: usize) {
        self.faults.lock().unwrap().writes = n;
    }

    pub(crate) fn lose_answers(&self, n: usize) {
        self.faults.lock().unwrap().answers = n;
    }

    pub(crate) fn lose_claim_answers(&self, n: usize) {
        self.faults.lock().unwrap().claim_answers = n;
    }

    pub(crate) fn fail_marks(&self, n: usize) {
        self.faults.lock().unwrap().marks = n;
    }

    /// What other processes were told since this was last asked.
    pub(crate) fn take_hints(&self) -> Vec<Hint> {
        std::mem::take(&mut self.hints.lock().unwrap())
    }

    pub(crate) fn looks(&self) -> Looks {
        *self.looks.borrow()
    }

    pub(crate) fn delay_claims(&self, n: usize) {
        self.faults.lock().unwrap().late_claims = n;
    }

    /// The claims that failed arrive at last; how many runs they have taken up.
    pub(crate) async fn late_claims_arrive(&self) -> usize {
        let late = std::mem::take(&mut *self.late_claims.lock().unwrap());
        let mut taken = 0;
        for claim in late {
            taken += self.inner.claim(claim).await.unwrap().len();
        }
        taken
    }

    /// Waits until somebody has looked once more for unstarted runs, and was answered.
    pub(crate) async fn looked(&self) {
        let mut looks = self.own_looks.subscribe();
        let before = *looks.borrow();
        soon(looks.wait_for(|looks| *looks > before)).await.unwrap();
    }

    pub(crate) fn hold_looks(&self, held: bool) {
        self.own_looks_held.send_replace(held);
    }

    /// How often somebody has looked for unstarted runs.
    pub(crate) fn own_looks(&self) -> usize {
        *self.own_looks.borrow()
    }

    pub(crate) fn fail_facts(&self, n: usize) {
        self.faults.lock().unwrap().facts = n;
    }

    /// Any batch that contains a write of this run is refused for its data.
    pub(crate) fn poison(&self, run_id: RunId) {
        self.faults.lock().unwrap().poisoned.insert(run_id);
    }

    /// The batches so far, those that failed included.
    pub(crate) fn batches(&self) -> Vec<Seen> {
        self.batches.borrow().clone()
    }

    /// Waits until a write of this run, of the kind that `word` says, has come to the store.
    pub(crate) async fn has_come(&self, run_id: RunId, word: &'static str) {
        let has = |batches: &Vec<Seen>| batches.iter().flatten().any(|seen| *seen == (run_id, word));
        soon(self.batches.subscribe().wait_for(has)).await.unwrap();
    }

    pub(crate) async fn batches_have_come(&self, n: usize) {
        self.batches.subscribe().wait_for(|batches| batches.len() >= n).await.unwrap();
    }

    pub(crate) async fn claims_have_come(&self, n: usize) {
        soon(self.claims.subscribe().wait_for(|claims| *claims >= n)).await.unwrap();
    }

    pub(crate) fn claim_count(&self) -> usize {
        *self.claims.borrow()
    }

    fn next_fault(&self, which: impl FnOnce(&mut Faults) -> &mut usize) -> bool {
        let mut faults = self.faults.lock().unwrap();
        let left = which(&mut faults);
        let fails = *left > 0;
        *left = left.saturating_sub(1);
        fails
    }
}

fn word(write: &Write) -> &'static str {
    match write {
        Write::Insert(_) => "insert",
        Write::Cancel(_) => "cancel",
        Write::Continue(_) => "continue",
        Write::Advance(advance) => match advance.change {
            Change::Start => "start",
            Change::Append => "append",
            Change::Settle(_) => "settle",
            Change::Pause(_) => "pause",
            Change::HandBack => "hand back",
            Change::Retry { .. } => "retry",
        },
    }
}

/// Picks the writes of one kind, to be held.
pub(crate) fn only(kind: &'static str) -> impl Fn(&Write) -> bool + Send + Sync + 'static {
    move |write| word(write) == kind
}

fn away() -> StoreError {
    StoreError::Unavailable("a test broke the connection".to_owned())
}

impl RunStore for Gated {
    fn lanes(&self) -> usize {
        self.inner.lanes()
    }

    fn write(&self, lane: usize, batch: Arc<[Write]>) -> BoxFuture<'_, StoreResult<Vec<Written>>> {
        Box::pin(async move {
            let seen = batch.iter().map(|write| (write.run_id(), word(write))).collect();
            self.batches.send_modify(|batches| batches.push(seen));
            let is_free = |held: &Option<Which>| held.as_ref().is_none_or(|held| !batch.iter().any(|one| held(one)));
            self.held.subscribe().wait_for(is_free).await.unwrap();
            if batch.iter().any(|write| self.faults.lock().unwrap().poisoned.contains(&write.run_id())) {
                return Err(StoreError::Data("a test poisoned this write".to_owned()));
            }
            if self.next_fault(|faults| &mut faults.writes) {
                return Err(away());
            }
            let written = self.inner.write(lane, batch).await;
            if self.next_fault(|faults| &mut faults.answers) { Err(away()) } else { written }
        })
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, StoreResult<Vec<TakenRun>>> {
        Box::pin(async move {
            if self.next_fault(|faults| &mut faults.late_claims) {
                self.late_claims.lock().unwrap().push(claim);
                self.claims.send_modify(|claims| *claims += 1);
                return Err(away());
            }
            if !self.late_claims.lock().unwrap().is_empty() {
                // That one has locked what it wants.
                return Ok(Vec::new());
            }
            let claimed = self.inner.claim(claim).await;
            self.claims.send_modify(|claims| *claims += 1);
            self.claims_held.subscribe().wait_for(|held| !held).await.unwrap();
            if self.next_fault(|faults| &mut faults.claim_answers) { Err(away()) } else { claimed }
        })
    }

    fn unstarted(&self, node: NodeId) -> BoxFuture<'_, StoreResult<Vec<TakenRun>>> {
        Box::pin(async move {
            let unstarted = self.inner.unstarted(node).await;
            self.own_looks.send_modify(|looks| *looks += 1);
            self.own_looks_held.subscribe().wait_for(|held| !held).await.unwrap();
            unstarted
        })
    }

    fn count_waiting(&self, limit: usize) -> BoxFuture<'_, StoreResult<usize>> {
        self.inner.count_waiting(limit)
    }

    #[cfg(feature = "metrics")]
    fn backlogs(&self, agents: Vec<String>, limit: usize) -> BoxFuture<'_, StoreResult<Vec<crate::store::Backlog>>> {
        self.inner.backlogs(agents, limit)
    }

    fn cancel_requests(&self, node: NodeId) -> BoxFuture<'_, StoreResult<Vec<RunId>>> {
        self.inner.cancel_requests(node)
    }

    fn uncancelled_children(
        &self,
        parents: Option<Vec<RunId>>,
        limit: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<RunId>>> {
        self.inner.uncancelled_children(parents, limit)
    }

    fn facts(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Option<RowFacts>>> {
        if self.next_fault(|faults| &mut faults.facts) {
            return Box::pin(async { Err(away()) });
        }
        self.inner.facts(run_id)
    }

    fn knows(&self, run: &Run) -> BoxFuture<'_, StoreResult<bool>> {
        self.inner.knows(run)
    }

    fn get(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Option<Run>>> {
        self.inner.get(run_id)
    }

    fn list(&self, query: RunQuery) -> BoxFuture<'_, StoreResult<Vec<Run>>> {
        self.inner.list(query)
    }

    fn count(&self, query: CountQuery) -> BoxFuture<'_, StoreResult<RunCounts>> {
        self.inner.count(query)
    }

    fn events(&self, run_id: RunId, from: u64, limit: usize) -> BoxFuture<'_, StoreResult<Vec<RunEvent>>> {
        self.inner.events(run_id, from, limit)
    }

    fn marks(&self, run_ids: Vec<RunId>) -> BoxFuture<'_, StoreResult<Vec<(RunId, Mark)>>> {
        self.looks.send_modify(|looks| looks.marks += 1);
        if self.next_fault(|faults| &mut faults.marks) {
            return Box::pin(async { Err(away()) });
        }
        self.inner.marks(run_ids)
    }

    fn tails(&self, from: Vec<(RunId, u64)>, limit: usize) -> BoxFuture<'_, StoreResult<Vec<RunEvent>>> {
        self.looks.send_modify(|looks| looks.tails += 1);
        self.inner.tails(from, limit)
    }

    fn history(&self, history: History) -> BoxFuture<'_, StoreResult<Vec<Exchange>>> {
        self.inner.history(history)
    }

    fn steps(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Vec<StepRecord>>> {
        self.inner.steps(run_id)
    }

    fn session_state(&self, session: SessionKey, asked: Option<UpdateId>) -> BoxFuture<'_, StoreResult<StoredState>> {
        self.inner.session_state(session, asked)
    }

    fn write_session_state(&self, write: WriteState) -> BoxFuture<'_, StoreResult<StateWritten>> {
        self.inner.write_session_state(write)
    }

    fn settle_overdue(&self, limit: usize) -> BoxFuture<'_, StoreResult<Vec<(RunId, RunStatus)>>> {
        self.inner.settle_overdue(limit)
    }

    fn forget_expired_intents(&self) -> BoxFuture<'_, StoreResult<()>> {
        self.inner.forget_expired_intents()
    }

    fn prune(&self, age: Duration, limit: usize) -> BoxFuture<'_, StoreResult<usize>> {
        self.inner.prune(age, limit)
    }

    fn hint(&self, hint: Hint) {
        self.hints.lock().unwrap().push(hint);
    }

    #[cfg(feature = "webhooks")]
    fn outbox(&self) -> &dyn Outbox {
        &self.outbox
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
