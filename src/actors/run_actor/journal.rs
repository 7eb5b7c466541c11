//! The event log of a live run: what has happened and is not durable yet, and the one write that is under way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::calls::Calls;
use self::said::Said;
use crate::actors::hub::Hub;
use crate::actors::persister::Writer;
use crate::agent::{Report, Reports};
use crate::run::{Content, Metrics, PIECE, Run, RunEvent, RunEventKind, RunId, RunStatus, StepRecord, ToolExecution};
use crate::store::StoreResult;
use crate::store::protocol::{Advance, Change, Refusal};

mod calls;
mod said;

/// Pieces of text that come within this time are joined into one event.
const JOIN_WITHIN: Duration = Duration::from_millis(40);

/// So much may wait to be written before user code has to wait, in bytes and in events and steps.
const ROOM_BYTES: usize = 1024 * 1024;
const ROOM: usize = 512;

pub(crate) struct Journal {
    run_id: RunId,
    attempt: u32,
    /// The seq of the first event in `waiting`.
    durable_from: u64,
    waiting: Vec<RunEvent>,
    steps: Vec<StepRecord>,
    /// Steps that nobody waits for, and that are worth nothing once the run has settled.
    along: Vec<StepRecord>,
    /// Who is to be told when what waits is durable.
    durable: Vec<oneshot::Sender<()>>,
    waiting_bytes: usize,
    /// When what waits is to be written; `None` when there is nothing to write.
    due: Option<Instant>,
    under_way: Option<UnderWay>,
    writer: Writer,
    hub: Arc<Hub>,
    said: Said,
    calls: Calls,
}

/// A write that is not answered yet.
struct UnderWay {
    events: Vec<RunEvent>,
    durable: Vec<oneshot::Sender<()>>,
    answer: BoxFuture<'static, StoreResult<Result<(), Refusal>>>,
}

impl Journal {
    /// A journal of `run` that goes on at `next_seq`, and takes at most `max_text` bytes of content.
    pub(crate) fn new(run: &Run, next_seq: u64, writer: Writer, hub: Arc<Hub>, max_text: usize) -> Self {
        Self {
            run_id: run.output.run_id,
            attempt: run.attempt,
            durable_from: next_seq,
            waiting: Vec::new(),
            steps: Vec::new(),
            along: Vec::new(),
            durable: Vec::new(),
            waiting_bytes: 0,
            due: None,
            under_way: None,
            writer,
            hub,
            said: Said::new(max_text),
            calls: Calls::new(max_text),
        }
    }

    /// The clock of the metrics starts now.
    pub(crate) fn start_clock(&mut self) {
        self.said.started = Some(Instant::now());
    }

    /// Notes what user code reports.
    pub(crate) fn note(&mut self, report: Report) {
        match report {
            Report::Event(kind) => self.note_event(kind),
            Report::Step { step, event, durable } => {
                if let Some(event) = event {
                    self.note_event(event);
                }
                self.note_step(step, durable);
            }
            Report::Called(call) => self.calls.end(call),
            Report::Recalled { text, usage } => {
                self.said.usage += usage;
                self.said.add(Content::from(text));
            }
        }
    }

    fn note_step(&mut self, step: StepRecord, durable: Option<oneshot::Sender<()>>) {
        self.waiting_bytes += step.weight();
        if durable.is_some() {
            self.steps.push(step);
        } else {
            self.along.push(step);
        }
        self.be_due(if durable.is_some() { Duration::ZERO } else { JOIN_WITHIN });
        self.durable.extend(durable);
    }

    /// Notes a step that is written together with how the run ends.
    pub(crate) fn note_last(&mut self, step: Option<StepRecord>) {
        self.steps.extend(step);
    }

    fn note_event(&mut self, kind: RunEventKind) {
        match kind {
            RunEventKind::RunContent { content } => self.note_piece(content),
            RunEventKind::ReasoningContentDelta { reasoning_content } => {
                let reasoning_content = self.said.add_reasoning(reasoning_content);
                self.push_piece(RunEventKind::ReasoningContentDelta { reasoning_content });
            }
            RunEventKind::CustomEvent { name, data } => {
                let (name, data) = (name.replace('\0', "\u{fffd}"), data.storable());
                let bytes = name.len() + data.size();
                self.push(RunEventKind::CustomEvent { name, data }, bytes, Duration::ZERO);
            }
            RunEventKind::ModelRequestCompleted { usage, .. } => {
                self.said.usage += usage;
                self.push(kind, 0, Duration::ZERO);
            }
            RunEventKind::ModelRequestStarted { .. }
            | RunEventKind::ToolCallStarted { .. }
            | RunEventKind::ToolCallCompleted { .. }
            | RunEventKind::ToolCallError { .. } => {
                self.note_call(&kind);
                let bytes = kind.weight();
                self.push(kind, bytes, Duration::ZERO);
            }
            // The runtime's own to tell, not user code's.
            RunEventKind::RunStarted { .. }
            | RunEventKind::RunRetrying { .. }
            | RunEventKind::RunPaused { .. }
            | RunEventKind::RunContinued {}
            | RunEventKind::RunCompleted { .. }
            | RunEventKind::RunCancelled { .. }
            | RunEventKind::RunError { .. } => {}
        }
    }

    fn note_call(&mut self, kind: &RunEventKind) {
        if let RunEventKind::ToolCallStarted { tool } = kind {
            self.calls.begin(tool.clone());
        } else if let RunEventKind::ToolCallCompleted { tool } | RunEventKind::ToolCallError { tool, .. } = kind {
            self.calls.end(tool.clone());
        }
    }

    fn note_piece(&mut self, piece: Content) {
        let content = self.said.add(piece);
        if content.as_text().is_some_and(|text| !text.is_empty()) {
            self.said.first_piece = self.said.first_piece.or(self.said.started.map(|started| started.elapsed()));
        }
        self.push_piece(RunEventKind::RunContent { content });
    }

    /// Pushes a piece of a text, or has the one before it go on.
    fn push_piece(&mut self, piece: RunEventKind) {
        let bytes = piece.weight();
        if bytes == 0 {
            return;
        }
        if self.waiting.last_mut().is_some_and(|last| last.kind.go_on_with(&piece)) {
            self.waiting_bytes += bytes;
        } else {
            self.push(piece, bytes, JOIN_WITHIN);
        }
    }

    fn push(&mut self, kind: RunEventKind, bytes: usize, patience: Duration) {
        let seq = self.durable_from + self.under_way_len() + self.waiting.len() as u64;
        self.waiting.push(RunEvent::new(self.run_id, seq, kind));
        self.waiting_bytes += bytes;
        self.be_due(if self.waiting_bytes > PIECE { Duration::ZERO } else { patience });
    }

    fn be_due(&mut self, patience: Duration) {
        let due = Instant::now() + patience;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    fn under_way_len(&self) -> u64 {
        self.under_way.as_ref().map_or(0, |under_way| under_way.events.len() as u64)
    }

    /// Whether user code may say more.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting_bytes < ROOM_BYTES && self.waiting.len() + self.steps.len() + self.along.len() < ROOM
    }

    /// Whether the present attempt wanted to say more than it may.
    pub(crate) const fn has_overflowed(&self) -> bool {
        self.said.overflowed
    }

    /// The text that the present attempt has said so far, as far as it may.
    pub(crate) fn text(&self) -> &str {
        &self.said.text
    }

    /// The tool calls of the present attempt, with those that it remembers.
    pub(crate) fn tools(&self) -> Vec<ToolExecution> {
        self.calls.list()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics {
            usage: self.said.usage,
            time_to_first_token: self.said.first_piece.map(|time| time.as_secs_f64()),
            duration: self.said.started.map(|started| started.elapsed().as_secs_f64()),
        }
    }

    /// Whether what waits will be written by itself before long.
    pub(crate) const fn is_due_soon(&self) -> bool {
        self.due.is_some()
    }

    /// Keeps the log moving: writes what is due, with what has come by then, and publishes it. Ready when that is done, so that
    /// there is room again.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped and called again at any time.
    pub(crate) async fn keep(&mut self, reports: &Reports) -> StoreResult<Result<(), Refusal>> {
        if self.under_way.is_none() {
            match self.due {
                // On the heap: a run that says nothing has no room for it.
                Some(due) => Box::pin(tokio::time::sleep_until(due)).await,
                None => std::future::pending().await,
            }
            reports.take().for_each(|report| self.note(report));
            self.begin(Change::Append);
        }
        self.answered().await
    }

    /// Makes `change` durable together with everything that waits, and publishes it.
    ///
    /// On the heap: lives commit seldom, and would have room for this all the time.
    pub(crate) fn commit(
        &mut self,
        change: Change,
        last: Option<RunEventKind>,
    ) -> BoxFuture<'_, StoreResult<Result<(), Refusal>>> {
        Box::pin(self.commit_in_place(change, last))
    }

    async fn commit_in_place(
        &mut self,
        change: Change,
        last: Option<RunEventKind>,
    ) -> StoreResult<Result<(), Refusal>> {
        if self.under_way.is_some()
            && let Err(refusal) = self.answered().await?
        {
            return Ok(Err(refusal));
        }
        if let Change::Settle(settlement) = &change {
            self.along.clear();
            if settlement.status != RunStatus::Error {
                // Nobody is to come who could remember them: only a failed run is resumed.
                self.steps.clear();
                self.durable.clear();
            }
        }
        let has_last = last.is_some();
        if let Some(last) = last {
            self.push(last, 0, Duration::ZERO);
        }
        self.begin(change);
        let answer = self.answered().await?;
        if answer.is_err() && has_last {
            // What was said before waits for another change; this was not to be.
            self.waiting.pop();
        }
        Ok(answer)
    }

    fn begin(&mut self, change: Change) {
        let events = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        self.due = None;
        let mut steps = std::mem::take(&mut self.steps);
        steps.append(&mut self.along);
        let advance = Advance {
            run_id: self.run_id,
            attempt: self.attempt,
            first_seq: self.durable_from,
            events: events.clone(),
            steps,
            change,
        };
        let answer = Box::pin(self.writer.advance(advance));
        let durable = std::mem::take(&mut self.durable);
        self.under_way = Some(UnderWay { events, durable, answer });
    }

    /// Waits for the write that is under way.
    ///
    /// # Cancel safety
    ///
    /// The write stays under way until its answer has been taken in.
    async fn answered(&mut self) -> StoreResult<Result<(), Refusal>> {
        let Some(under_way) = &mut self.under_way else { return Ok(Ok(())) };
        let answer = (&mut under_way.answer).await;
        let Some(UnderWay { events, durable, .. }) = self.under_way.take() else { return Ok(Ok(())) };
        let answer = answer?;
        if answer.is_ok() {
            for waits in durable {
                // Whoever waited may have been dropped; the step stands all the same.
                waits.send(()).ok();
            }
            self.durable_from += events.len() as u64;
            if !events.is_empty() {
                self.hub.publish(self.run_id, events.into());
            }
        } else {
            self.waiting.splice(..0, events);
        }
        Ok(answer)
    }
}
