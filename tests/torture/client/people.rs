//! What clients do as the people whom runs wait for.

use std::sync::Arc;

use greenroom::{RunId, StepKey};

use super::{Client, TRIES};
use crate::kind::Kind;
use crate::wire::{Answer, Ask, Continue, Submit};

/// How long a client waits for a run to be paused, in milliseconds.
const PATIENCE: u64 = 2500;

impl Client {
    /// Looks after a run that asks people: question after question, and one of them once more in the end.
    pub(super) async fn attend(&mut self, submit: &Submit) {
        let run_id = submit.run_id;
        let mut needs = Vec::new();
        for _ in 0..Kind::named(&submit.agent).map_or(0, Kind::questions) {
            let Some(need) = self.need_of(run_id).await else { break };
            needs.push(need);
            match self.rng.u32(..100) {
                0..40 => self.decide(run_id, need).await,
                40..65 => self.decide_twice(run_id, need).await,
                65..78 => self.decide_beside_cancel(run_id, need).await,
                78..85 => {
                    self.cancel(run_id).await;
                    self.go_on(run_id, need, None).await;
                }
                85..92 => {
                    let stranger = self.stranger_to(submit);
                    self.go_on(run_id, need, Some(stranger)).await;
                    self.go_on(run_id, need, Some(submit.user.clone())).await;
                }
                // Nobody decides: it expires, or waits until the storm is over.
                _ => break,
            }
            if self.is_over() {
                return;
            }
        }
        if let Some(&first) = needs.first()
            && self.rng.u32(..100) < 30
        {
            self.go_on(run_id, first, None).await;
        }
    }

    /// What the run waits for, when that is soon.
    async fn need_of(&mut self, run_id: RunId) -> Option<StepKey> {
        for _ in 0..TRIES {
            match self.ask(Ask::AwaitPause { run_id, millis: PATIENCE }).await {
                Some(Answer::Paused { needs }) => return needs.first().copied(),
                None | Some(Answer::Refused { .. }) if !self.is_over() => {}
                _ => return None,
            }
        }
        None
    }

    /// A decision like no other.
    fn decision(&mut self, run_id: RunId, need: StepKey, user: Option<String>) -> Ask {
        Ask::Continue(Continue { run_id, user, need, answer: self.rng.u32(..) })
    }

    async fn go_on(&mut self, run_id: RunId, need: StepKey, user: Option<String>) -> Option<Answer> {
        let decision = self.decision(run_id, need, user);
        self.ask(decision).await
    }

    /// Decides until somebody says what became of it.
    async fn decide(&mut self, run_id: RunId, need: StepKey) {
        for _ in 0..TRIES {
            match self.go_on(run_id, need, None).await {
                None | Some(Answer::Refused { .. }) if !self.is_over() => {}
                _ => return,
            }
        }
    }

    /// Two people decide at the same time, and not the same.
    async fn decide_twice(&mut self, run_id: RunId, need: StepKey) {
        let crew = Arc::clone(&self.crew);
        let (one, other) = (crew.any(&mut self.rng), crew.any(&mut self.rng));
        let (first, second) = (self.decision(run_id, need, None), self.decision(run_id, need, None));
        let answers = tokio::join!(one.ask(first), other.ask(second));
        let heard = |answer: &Option<Answer>| matches!(answer, Some(Answer::Continued | Answer::NotPaused(_)));
        if !heard(&answers.0) && !heard(&answers.1) {
            self.decide(run_id, need).await;
        }
    }

    async fn decide_beside_cancel(&mut self, run_id: RunId, need: StepKey) {
        let crew = Arc::clone(&self.crew);
        let (one, other) = (crew.any(&mut self.rng), crew.any(&mut self.rng));
        let decision = self.decision(run_id, need, None);
        tokio::join!(one.ask(decision), other.ask(Ask::Cancel { run_id }));
        self.go_on(run_id, need, None).await;
    }
}
