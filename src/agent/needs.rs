//! What an attempt waits for people for, and when it can do nothing but wait.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::task::AtomicWaker;

use super::memory::StepError;
use super::{AgentError, RunContext, Work};
use crate::run::{Content, OpenRequirement};

/// How many requirements of a run may be open at the same time.
pub(super) const MAX_OPEN: usize = 100;

/// What user code has come to.
pub(crate) enum Outcome {
    Returned(Result<Content, AgentError>),
    /// It waits for these, and for nothing else.
    Waits(Vec<OpenRequirement>),
}

/// The requirements of an attempt that nobody has decided, and the steps that are under way.
pub(crate) struct Needs {
    /// How much the open requirements may weigh together, in bytes.
    most: usize,
    present: Mutex<Present>,
    /// Wakes user code, so that it is looked at again.
    waker: AtomicWaker,
}

#[derive(Default)]
struct Present {
    steps_under_way: usize,
    /// By position.
    open: BTreeMap<u32, OpenRequirement>,
    weight: usize,
}

impl Needs {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, present: Mutex::default(), waker: AtomicWaker::new() }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        // Nothing in here panics half-way.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is needed, when code that was polled just now can do nothing but wait for it.
    fn waits(&self) -> Option<Vec<OpenRequirement>> {
        let present = self.present();
        let waits = present.steps_under_way == 0 && !present.open.is_empty();
        waits.then(|| present.open.values().cloned().collect())
    }

    fn open(&self, needed: OpenRequirement) -> Result<(), StepError> {
        let weight = needed.requirement.weight();
        let mut present = self.present();
        let name = || needed.requirement.name.clone();
        if present.open.len() >= MAX_OPEN {
            return Err(StepError::TooManyOpen { name: name() });
        }
        if present.weight + weight > self.most {
            return Err(StepError::TooMuchOpen { name: name(), most: self.most });
        }
        present.weight += weight;
        present.open.insert(needed.position, needed);
        drop(present);
        self.waker.wake();
        Ok(())
    }

    fn close(&self, position: u32) {
        let mut present = self.present();
        if let Some(closed) = present.open.remove(&position) {
            present.weight -= closed.requirement.weight();
        }
    }
}

/// A step is under way for as long as this lives.
pub(crate) struct UnderWay(RunContext);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let needs = self.0.needs();
        needs.present().steps_under_way -= 1;
        needs.waker.wake();
    }
}

/// A requirement is open for as long as this lives.
struct Open {
    cx: RunContext,
    position: u32,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.cx.needs().close(self.position);
    }
}

impl RunContext {
    /// Notes that a step is under way, so that the run is not paused before it is finished. In between, the code that waits for
    /// people may be looked at any time: what is about to begin is under way as well.
    pub(crate) fn begin_step(&self) -> UnderWay {
        self.needs().present().steps_under_way += 1;
        UnderWay(self.clone())
    }

    /// Waits for a requirement that nobody has decided. What is decided is for a later attempt: this one ends here, unless
    /// user code gives the waiting up.
    pub(crate) async fn wait_for(&self, needed: OpenRequirement) -> AgentError {
        let position = needed.position;
        if let Err(error) = self.needs().open(needed) {
            return error.into();
        }
        let _open = Open { cx: self.clone(), position };
        self.over().await;
        super::step::over()
    }
}

/// Does `work` until it returns, or until it can do nothing but wait for people. Then its future is dropped.
pub(crate) async fn work_until_it_waits(work: &dyn Work, cx: RunContext) -> Outcome {
    let mut code = work.run(cx.clone());
    std::future::poll_fn(move |context| {
        // First, so that what changes from here on is seen.
        cx.needs().waker.register(context.waker());
        if let Poll::Ready(returned) = code.poll_unpin(context) {
            return Poll::Ready(Outcome::Returned(cx.judged(returned)));
        }
        let Some(needed) = cx.needs().waits() else { return Poll::Pending };
        Poll::Ready(match cx.judged(Ok(())) {
            Ok(()) => Outcome::Waits(needed),
            Err(error) => Outcome::Returned(Err(error)),
        })
    })
    .await
}
