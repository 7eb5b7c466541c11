//! Runs to try a store with, and the short words of the cases.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::run::fingerprint::Fingerprint;
use crate::run::{
    Content, CrashPolicy, Decision, FailureKind, Metadata, Metrics, OpenRequirement, Requirement, RequirementKind, Run,
    RunEvent, RunEventKind, RunFailure, RunId, RunOutput, RunStatus, SessionId, SessionPolicy, StepKey, ToolExecution,
    Usage,
};
use crate::store::protocol::pause::{Continue, ContinueRefusal};
use crate::store::protocol::{
    Advance, CANCELLED_BY_CALLER, Cancel, CancelWritten, Change, InsertRun, Inserted, Pause, Refusal, RowFacts,
    Settlement, Write, Written,
};
use crate::store::{Claim, NodeId, RunStore, TakenRun};

pub(in crate::store) const AGENT: &str = "agent";

/// A run that nobody has yet.
pub(crate) fn unowned() -> InsertRun {
    let run_id = RunId::new();
    let output = RunOutput {
        run_id,
        session_id: SessionId::random(),
        agent: AGENT.to_owned(),
        user_id: None,
        parent_run_id: None,
        status: RunStatus::Pending,
        content: None,
        error: None,
        tools: Vec::new(),
        requirements: Vec::new(),
        metrics: Metrics::default(),
        created_at: DateTime::UNIX_EPOCH,
        started_at: None,
        paused_at: None,
        settled_at: None,
    };
    let run = Run {
        output,
        input: "What is the capital of France?".into(),
        metadata: Metadata::new(),
        origin: None,
        traceparent: None,
        idempotency_key: None,
        depth: 0,
        priority: 0,
        run_at: DateTime::UNIX_EPOCH,
        timeout: None,
        start_by: None,
        max_attempts: 3,
        starts: 0,
        attempt: 0,
    };
    InsertRun {
        run,
        delayed: false,
        fingerprint: print(run_id),
        parent_attempt: None,
        id_is_given: false,
        node: None,
        on_crash: CrashPolicy::Restart,
        sessions: SessionPolicy::Concurrent,
        queue_timeout: None,
        webhook: None,
        resumes: None,
    }
}

/// A run that a node has taken up with its submit.
pub(crate) fn owned() -> InsertRun {
    InsertRun { node: Some(NodeId::new()), ..unowned() }
}

/// A run that asks for something of its own.
pub(in crate::store) fn with(base: InsertRun, change: impl FnOnce(&mut Run)) -> InsertRun {
    let mut insert = base;
    change(&mut insert.run);
    insert
}

/// A child of `parent`, which nobody has yet.
pub(in crate::store) fn child_of(parent: &Attempt<'_>) -> InsertRun {
    let child = with(unowned(), |run| {
        run.output.parent_run_id = Some(parent.run_id);
        run.depth = 1;
    });
    InsertRun { parent_attempt: Some(parent.attempt), ..child }
}

/// A run that is to resume `failed`.
pub(in crate::store) fn heir_of(failed: RunId) -> InsertRun {
    InsertRun { resumes: Some(failed), ..with(unowned(), |run| run.origin = Some(failed)) }
}

/// A run that should have been started as soon as it was there.
pub(in crate::store) fn late(base: InsertRun) -> InsertRun {
    InsertRun { queue_timeout: Some(Duration::ZERO), ..base }
}

pub(in crate::store) fn print(run_id: RunId) -> Fingerprint {
    let mut print = [7; 32];
    print[..16].copy_from_slice(run_id.as_uuid().as_bytes());
    print
}

pub(crate) fn id(insert: &InsertRun) -> RunId {
    insert.run.output.run_id
}

pub(crate) fn settlement(status: RunStatus) -> Settlement {
    let error = (status == RunStatus::Error).then(|| RunFailure::new(FailureKind::AgentError, "it broke"));
    Settlement { status, content: Some("Paris".into()), error, metrics: Metrics::default(), tools: vec![looked()] }
}

pub(crate) fn settle(status: RunStatus) -> Change {
    Change::Settle(settlement(status))
}

/// A confirmation that is needed.
pub(crate) fn needed(position: u32, first_attempt: u32) -> OpenRequirement {
    let name = format!("step {position}");
    let requirement = Requirement {
        requirement_id: StepKey::new(RunId::from(uuid::Uuid::nil()), &name, 1),
        name,
        kind: RequirementKind::Confirmation,
        details: "delete it".into(),
        fields: Vec::new(),
    };
    OpenRequirement { position, first_attempt, requirement }
}

/// A tool call that has ended.
pub(crate) fn looked() -> ToolExecution {
    ToolExecution::begun("call_1", "look", r#"{"at": "it"}"#, 1).with_result(&"nothing".into())
}

/// Pauses a run that has said something, for a confirmation.
pub(in crate::store) fn pause(timeout: Option<Duration>) -> Change {
    let usage = Usage { input_tokens: 3, output_tokens: 4, total_tokens: 7, ..Usage::default() };
    let metrics = Metrics { usage, ..Metrics::default() };
    Change::Pause(Pause {
        requirements: vec![needed(2, 1)],
        timeout,
        content: Some("Par".into()),
        metrics,
        tools: vec![looked()],
    })
}

/// Confirms what [`pause`] needs.
pub(in crate::store) fn confirmed(run_id: RunId) -> Continue {
    let decisions = vec![Decision::confirm(needed(2, 1).requirement.requirement_id)];
    Continue { id: uuid::Uuid::now_v7(), run_id, user_id: None, decisions }
}

/// What is said when a run changes: one event, the terminal one when the run settles.
fn kind_of(change: &Change, attempt: u32) -> RunEventKind {
    match change {
        Change::Start => RunEventKind::RunStarted { attempt },
        Change::Append | Change::HandBack | Change::Retry { .. } => {
            RunEventKind::RunContent { content: Content::from("Par") }
        }
        Change::Pause(pause) => RunEventKind::RunPaused {
            requirements: pause.requirements.iter().map(|open| open.requirement.clone()).collect(),
        },
        Change::Settle(Settlement { status: RunStatus::Cancelled, .. }) => {
            RunEventKind::RunCancelled { reason: CANCELLED_BY_CALLER.to_owned() }
        }
        Change::Settle(Settlement { error: Some(error), .. }) => {
            RunEventKind::RunError { error_type: error.kind, content: error.message.clone() }
        }
        Change::Settle(Settlement { metrics, .. }) => RunEventKind::RunCompleted { metrics: *metrics },
    }
}

/// A step with one event that tells of it.
pub(crate) fn step(run_id: RunId, attempt: u32, first_seq: u64, change: Change) -> Advance {
    let events = vec![RunEvent::new(run_id, first_seq, kind_of(&change, attempt))];
    Advance { run_id, attempt, first_seq, events, steps: Vec::new(), change }
}

pub(in crate::store) async fn write_all(store: &dyn RunStore, batch: impl Into<Arc<[Write]>>) -> Vec<Written> {
    let batch = batch.into();
    let written = store.write(0, Arc::clone(&batch)).await.unwrap();
    assert_eq!(written.len(), batch.len());
    written
}

async fn write(store: &dyn RunStore, write: Write) -> Written {
    write_all(store, [write]).await.remove(0)
}

pub(in crate::store) async fn insert(store: &dyn RunStore, insert: &InsertRun) -> Inserted {
    let written = write(store, Write::Insert(Box::new(insert.clone()))).await;
    let Written::Insert(inserted) = written else { panic!("an insert was answered by {written:?}") };
    inserted
}

/// Inserts a run that is new, and returns it as it was stored.
pub(in crate::store) async fn submit(store: &dyn RunStore, run: &InsertRun) -> Run {
    let inserted = insert(store, run).await;
    let Inserted::New { run, cancel_wanted: false } = inserted else {
        panic!("a new run was answered by {inserted:?}")
    };
    Arc::unwrap_or_clone(run)
}

pub(crate) async fn advance(store: &dyn RunStore, advance: &Advance) -> Result<(), Refusal> {
    let written = write(store, Write::Advance(Box::new(advance.clone()))).await;
    let Written::Advance(outcome) = written else { panic!("an advance was answered by {written:?}") };
    outcome
}

pub(in crate::store) async fn cancel(store: &dyn RunStore, cancel: impl Into<Cancel>) -> CancelWritten {
    let written = write(store, Write::Cancel(cancel.into())).await;
    let Written::Cancel(outcome) = written else { panic!("a cancel was answered by {written:?}") };
    outcome
}

pub(in crate::store) async fn resume(store: &dyn RunStore, asked: &Continue) -> Result<(), ContinueRefusal> {
    let written = write(store, Write::Continue(asked.clone())).await;
    let Written::Continue(outcome) = written else { panic!("a continue was answered by {written:?}") };
    outcome
}

/// Long enough for any test.
const LEASE: Duration = Duration::from_secs(3600);

/// A node with a lease.
pub(in crate::store) async fn node(store: &dyn RunStore) -> NodeId {
    let node = NodeId::new();
    store.begin_lease(node, LEASE).await.unwrap();
    node
}

/// Takes up runs for a node that is new.
pub(in crate::store) async fn claim(store: &dyn RunStore, node: NodeId, limit: usize) -> Vec<TakenRun> {
    store.begin_lease(node, LEASE).await.unwrap();
    claim_again(store, node, limit).await
}

/// Takes up runs for a node that has a lease.
pub(in crate::store) async fn claim_again(store: &dyn RunStore, node: NodeId, limit: usize) -> Vec<TakenRun> {
    store.claim(Claim { node, agents: vec![AGENT.to_owned()], limited: Vec::new(), limit }).await.unwrap()
}

pub(crate) async fn get(store: &dyn RunStore, run_id: RunId) -> Run {
    store.get(run_id).await.unwrap().unwrap()
}

pub(crate) async fn facts(store: &dyn RunStore, run_id: RunId) -> RowFacts {
    store.facts(run_id).await.unwrap().unwrap()
}

pub(crate) async fn events(store: &dyn RunStore, run_id: RunId) -> Vec<RunEvent> {
    store.events(run_id, 0, 10_000).await.unwrap()
}

pub(crate) fn ids<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Vec<RunId> {
    runs.into_iter().map(|run| run.output.run_id).collect()
}

pub(in crate::store) fn taken_ids(taken: &[TakenRun]) -> Vec<RunId> {
    ids(taken.iter().map(|taken| &*taken.run))
}

pub(in crate::store) fn in_an_hour() -> DateTime<Utc> {
    Utc::now() + chrono::Duration::hours(1)
}

/// An attempt that writes one step after the other.
pub(in crate::store) struct Attempt<'a> {
    pub(in crate::store) store: &'a dyn RunStore,
    pub(in crate::store) run_id: RunId,
    pub(in crate::store) attempt: u32,
    pub(in crate::store) next_seq: u64,
}

impl<'a> Attempt<'a> {
    /// The first attempt of a new run that is taken up with its submit.
    pub(in crate::store) async fn submit(store: &'a dyn RunStore, insert: InsertRun) -> Self {
        let insert = InsertRun { node: insert.node.or_else(|| Some(NodeId::new())), ..insert };
        let run = submit(store, &insert).await;
        Self { store, run_id: run.output.run_id, attempt: run.attempt, next_seq: 0 }
    }

    /// The same, and user code was started.
    pub(in crate::store) async fn start(store: &'a dyn RunStore, insert: InsertRun) -> Self {
        let mut attempt = Self::submit(store, insert).await;
        attempt.write(Change::Start).await;
        attempt
    }

    /// The next step, with the event that tells of it.
    pub(in crate::store) fn next(&self, change: Change) -> Advance {
        step(self.run_id, self.attempt, self.next_seq, change)
    }

    pub(in crate::store) async fn try_write(&mut self, change: Change) -> Result<(), Refusal> {
        let step = self.next(change);
        advance(self.store, &step).await?;
        self.next_seq = step.next_seq();
        Ok(())
    }

    pub(in crate::store) async fn write(&mut self, change: Change) {
        self.try_write(change).await.unwrap();
    }

    /// Takes the run up again, as another node.
    pub(in crate::store) async fn claimed(store: &'a dyn RunStore, run_id: RunId) -> Self {
        let taken = claim(store, NodeId::new(), 100).await;
        let taken = taken.iter().find(|taken| taken.run.output.run_id == run_id).unwrap();
        Self { store, run_id, attempt: taken.run.attempt, next_seq: taken.next_seq }
    }
}

/// A run that has lived and settled with `status`.
pub(crate) async fn settled(store: &dyn RunStore, insert: InsertRun, status: RunStatus) -> RunId {
    let mut attempt = Attempt::start(store, insert).await;
    attempt.write(settle(status)).await;
    attempt.run_id
}
