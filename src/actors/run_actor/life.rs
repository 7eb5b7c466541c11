//! The whole life of a run that was taken up: start, user code, end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::ending::{Ending, ending_of, exhausted, late};
use super::journal::Journal;
use super::past::Past;
use super::work::{Finish, Work, finish_of};
use super::{Stop, StopSignal};
use crate::actors::hub::Hub;
use crate::actors::persister::{Retry, Writer};
use crate::actors::session_state::SessionOf;
use crate::agent::{
    Agent, CancelSignal, Needs, Offspring, RunContext, RunContextParts, StepMemory, panic_message, reports,
    work_until_it_waits,
};
use crate::run::{Run, RunEventKind, RunId, RunStatus};
use crate::store::protocol::{Change, Refusal};
use crate::store::{RunStore, StoreResult, TakenRun};
use crate::telemetry::{Running, Span};

mod ends;

/// What all runs of a runtime share.
pub(crate) struct Surroundings {
    pub(crate) writer: Writer,
    pub(crate) store: Arc<dyn RunStore>,
    pub(crate) hub: Arc<Hub>,
    /// The threads for user code.
    pub(crate) user_code: Handle,
    /// How long user code that heeds a cancel may take to return.
    pub(crate) cancel_grace: Duration,
    /// The largest content, in bytes.
    pub(crate) max_output: usize,
    /// How long reads are tried again while the database is away.
    pub(crate) retry: Retry,
    /// Set before the threads are stopped: what ends from then on has not failed, it was cut off.
    pub(crate) cut_off: Arc<AtomicBool>,
}

pub(crate) struct Life {
    run: Arc<Run>,
    /// Somebody has continued the run before.
    was_continued: bool,
    agent: Arc<Agent>,
    around: Arc<Surroundings>,
    children: Arc<dyn Offspring>,
    stop: StopSignal,
    journal: Journal,
    /// The span of this attempt.
    span: Arc<Span>,
    /// Knows whether user code has really ended.
    code: TaskTracker,
}

impl Life {
    pub(crate) fn new(
        taken: TakenRun,
        agent: Arc<Agent>,
        around: Arc<Surroundings>,
        children: Arc<dyn Offspring>,
        stop: StopSignal,
    ) -> Self {
        let TakenRun { run, next_seq, was_continued } = taken;
        let journal = Journal::new(&run, next_seq, around.writer.clone(), Arc::clone(&around.hub), around.max_output);
        let span = Arc::new(Span::attempt(&run, agent.description(), agent.traces_contents));
        let code = TaskTracker::new();
        Self { run, was_continued, agent, around, children, stop, journal, span, code }
    }

    pub(crate) fn run_id(&self) -> RunId {
        self.run.output.run_id
    }

    /// The whole life.
    pub(crate) async fn live(self: Box<Self>) -> Ending {
        let span = Arc::clone(&self.span);
        let ending = span.around(self.live_in_span()).await;
        span.end(ending.word());
        ending
    }

    #[tracing::instrument(
        name = "run",
        skip_all,
        fields(run.id = %self.run_id(), run.agent = self.agent.name(), run.attempt = self.run.attempt)
    )]
    async fn live_in_span(mut self: Box<Self>) -> Ending {
        let stop = self.stop.clone();
        let lived = tokio::select! {
            biased;
            () = stop.abandoned() => None,
            lived = self.live_or_lose() => Some(lived),
        };
        let Some(lived) = lived else {
            // Whatever was under way has been dropped, user code and unsent writes included.
            self.let_code_end().await;
            tracing::warn!("the run is abandoned: it is not this node's any more");
            return Ending::Fenced;
        };
        match lived {
            Ok(ending) => {
                match &ending {
                    Ending::Settled(status) => tracing::info!(run.status = %status, "run settled"),
                    Ending::Paused => tracing::info!(run.status = %RunStatus::Paused, "run waits for people"),
                    Ending::HandedBack => tracing::info!(run.status = %RunStatus::Pending, "run handed back"),
                    Ending::Retrying(after) => {
                        tracing::info!(run.status = %RunStatus::Pending, ?after, "run will be tried again");
                    }
                    Ending::Fenced | Ending::Unstored(_) => {}
                }
                ending
            }
            Err(error) => {
                tracing::error!(%error, "the outcome of the run could not be stored");
                Ending::Unstored(error)
            }
        }
    }

    async fn live_or_lose(&mut self) -> StoreResult<Ending> {
        let past = Past::of(&self.run, self.was_continued, &self.agent, &self.around).await?;
        if let Some(stop) = self.stop.told() {
            return self.end_unstarted(stop).await;
        }
        let started = RunEventKind::RunStarted { attempt: self.run.attempt };
        match self.journal.commit(Change::Start, Some(started)).await? {
            Ok(()) => {}
            Err(Refusal::CancelWanted) => return self.end_unstarted(Stop::Cancel).await,
            Err(Refusal::Exhausted) => return self.settle(RunStatus::Error, None, Some(exhausted())).await,
            Err(Refusal::Late) => return self.settle(RunStatus::Error, None, Some(late())).await,
            Err(refusal) => return Ok(ending_of(refusal)),
        }
        // Whoever asked while the start was being written need not wait for user code to be started and stopped again.
        if let Some(stop) = self.stop.told() {
            return self.end_unstarted(stop).await;
        }
        tracing::info!(run.status = %RunStatus::Running, "run started");
        self.journal.start_clock();
        let running = Running::begin(&self.agent.name, &self.run);
        let work = self.set_to_work(past);
        let ended = self.run_code(work).await;
        running.end(ended.as_ref().map_or("unstored", Ending::word));
        ended
    }

    /// Runs user code, to whichever end.
    async fn run_code(&mut self, mut work: Work) -> StoreResult<Ending> {
        let finish = match self.follow(&mut work).await? {
            Ok(finish) => finish,
            Err(refusal) => return Ok(ending_of(refusal)),
        };
        // On the heap: while user code is at work, it needs no room.
        match Box::pin(self.wind_up(&mut work, finish)).await? {
            Ok(finish) => {
                if self.fails_by_its_answer(&finish) {
                    self.journal.note_last(self.agent.work.voiding(&work.cx));
                }
                self.end(finish).await
            }
            Err(refusal) => Ok(ending_of(refusal)),
        }
    }

    /// Waits until user code that was dropped is gone. Code that blocks its thread is not waited for for ever.
    async fn let_code_end(&self) {
        self.code.close();
        if tokio::time::timeout(self.around.cancel_grace, self.code.wait()).await.is_err() {
            tracing::warn!("user code blocks its thread and cannot be stopped");
        }
    }

    /// Starts user code on the threads that are kept for it. A panic in it is caught there.
    fn set_to_work(&self, past: Past) -> Work {
        let (reporter, reports) = reports();
        let cancel = CancelSignal::default();
        let parts = RunContextParts {
            run: Arc::clone(&self.run),
            history: past.history,
            reports: reporter,
            cancel: cancel.clone(),
            steps: StepMemory::new(self.run.attempt, past.steps, self.around.max_output),
            needs: Needs::new(self.around.max_output),
            children: Arc::clone(&self.children),
            session: Arc::new(SessionOf::new(&self.run, Arc::clone(&self.around))),
            max_event: self.around.max_output,
            span: Arc::clone(&self.span),
        };
        let (work, cx) = (Arc::clone(&self.agent.work), RunContext::new(parts));
        let seen = cx.clone();
        // The call itself is user code too: it may panic before it has made a future.
        let code = AssertUnwindSafe(async move { work_until_it_waits(&*work, cx).await });
        let caught = async move { code.catch_unwind().await.map_err(|panic| panic_message(&*panic)) };
        let caught = tracing::Instrument::in_current_span(self.span.around(caught));
        let task = self.code.spawn_on(caught, &self.around.user_code);
        Work { task, reports, cancel, cx: seen }
    }

    /// Follows user code until it ends, or must end.
    async fn follow(&mut self, work: &mut Work) -> StoreResult<Result<Finish, Refusal>> {
        let timeout = self.run.timeout;
        let timed_out = async {
            match timeout {
                // On the heap: most runs may take as long as they like.
                Some(timeout) => Box::pin(tokio::time::sleep(timeout)).await,
                None => std::future::pending().await,
            }
            timeout.unwrap_or_default()
        };
        let cancel = work.cancel.clone();
        let panicked = cancel.panicked();
        tokio::pin!(timed_out, panicked);
        loop {
            let (has_room, looks_soon) = (self.journal.has_room(), self.journal.is_due_soon());
            tokio::select! {
                biased;
                stop = self.stop.stopped() => return Ok(Ok(Finish::Stopped(stop))),
                panic = &mut panicked => return Ok(Ok(Finish::Panicked(panic))),
                kept = self.journal.keep(&work.reports) => {
                    if let Err(refusal) = kept? {
                        return Ok(Err(refusal));
                    }
                }
                after = &mut timed_out => return Ok(Ok(Finish::TimedOut(after))),
                () = work.reports.come(looks_soon), if has_room => self.note(work),
                done = &mut work.task => return Ok(Ok(finish_of(done))),
            }
            if self.journal.has_overflowed() {
                return Ok(Ok(Finish::TooLarge));
            }
        }
    }

    /// Takes in what user code has said.
    fn note(&mut self, work: &Work) {
        work.reports.take().for_each(|report| self.journal.note(report));
    }

    /// Stops user code that has to stop, and takes in what it said last.
    async fn wind_up(&mut self, work: &mut Work, finish: Finish) -> StoreResult<Result<Finish, Refusal>> {
        let ended_itself = match finish {
            Finish::Returned(_) | Finish::Waits(_) => true,
            // A part of it may have, and the rest be at work.
            Finish::Panicked(_) => work.task.is_finished(),
            Finish::Stopped(_) | Finish::TimedOut(_) | Finish::TooLarge => false,
        };
        if !ended_itself && !self.goes_on_after(&finish) {
            work.cancel.no_other_follows();
        }
        if !ended_itself && let Err(refusal) = self.stop_code(work).await? {
            return Ok(Err(refusal));
        }
        // No more than user code was ahead: a task of its own may go on talking.
        self.note(work);
        let too_large = self.journal.has_overflowed() && matches!(finish, Finish::Returned(_) | Finish::Waits(_));
        Ok(Ok(if too_large { Finish::TooLarge } else { finish }))
    }

    /// Whether another attempt may follow upon such an end.
    fn goes_on_after(&self, finish: &Finish) -> bool {
        match finish {
            Finish::Stopped(Stop::HandBack) => self.agent.crash_policy.starts_again(),
            Finish::Stopped(Stop::Abandon) => true,
            Finish::Waits(_) => true,
            Finish::Returned(_) | Finish::Panicked(_) | Finish::TimedOut(_) | Finish::TooLarge => false,
            Finish::Stopped(Stop::Cancel) => false,
        }
    }

    /// Ends user code: by dropping its future, or, when it wants to know, by telling it and waiting for its return.
    async fn stop_code(&mut self, work: &mut Work) -> StoreResult<Result<(), Refusal>> {
        work.cancel.send();
        if !work.cancel.is_heeded() {
            work.task.abort();
        }
        let grace = tokio::time::sleep(self.around.cancel_grace);
        tokio::pin!(grace);
        loop {
            let (has_room, looks_soon) = (self.journal.has_room(), self.journal.is_due_soon());
            tokio::select! {
                biased;
                _ = &mut work.task => return Ok(Ok(())),
                () = &mut grace => {
                    tracing::warn!("user code did not stop in time and is abandoned");
                    work.task.abort();
                    return Ok(Ok(()));
                }
                kept = self.journal.keep(&work.reports) => {
                    if let Err(refusal) = kept? {
                        return Ok(Err(refusal));
                    }
                }
                // Otherwise code that wants to say something before it returns would wait for ever.
                () = work.reports.come(looks_soon), if has_room => self.note(work),
            }
        }
    }
}
