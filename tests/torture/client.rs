//! The clients: each does one thing after the other, at whichever worker, until the storm is over.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use greenroom::RunId;
use serde_json::json;
use tokio::sync::watch;

use crate::crew::Crew;
use crate::kind::Kind;
use crate::wire::{Answer, Ask, Submit};

mod people;

/// How many of the latest submits clients meddle with.
const KNOWN: usize = 300;

/// How many times a submit is tried that nobody has confirmed.
const TRIES: usize = 10;

/// What all clients know: the latest submits, of whichever client.
#[derive(Default)]
pub(crate) struct Known(Mutex<VecDeque<Submit>>);

impl Known {
    fn add(&self, submit: &Submit) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_back(submit.clone());
        if known.len() > KNOWN {
            known.pop_front();
        }
    }

    fn any(&self, rng: &mut Rng) -> Option<Submit> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!known.is_empty()).then(|| known[rng.usize(..known.len())].clone())
    }
}

/// How many users there are.
const USERS: usize = 3;

fn user(number: usize) -> String {
    format!("user{number}")
}

pub(crate) struct Client {
    pub(crate) crew: Arc<Crew>,
    pub(crate) known: Arc<Known>,
    pub(crate) rng: Rng,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Client {
    /// A new thing to do has its place here.
    pub(crate) async fn work(mut self) {
        while !self.is_over() {
            match self.rng.u32(..100) {
                0..52 => self.submit_and_follow().await,
                52..58 => self.cancel_before_submit().await,
                58..64 => self.cancel_beside_submit().await,
                64..71 => self.submit_again().await,
                71..79 => self.submit_by_key().await,
                79..84 => self.meddle_as_a_stranger().await,
                84..92 => self.cancel_something().await,
                _ => self.follow_something().await,
            }
        }
    }

    fn is_over(&self) -> bool {
        *self.stop.borrow()
    }

    fn new_submit(&mut self) -> Submit {
        let kind = match self.rng.u32(..100) {
            0..40 => Kind::Instant,
            40..50 => Kind::Streaming,
            50..57 => Kind::Careful,
            57..61 => Kind::Failing,
            61..65 => Kind::Long,
            65..70 => Kind::Parked,
            70..75 => Kind::Remembering,
            75..80 => Kind::Steps,
            80..83 => Kind::Tools,
            83..86 => Kind::Asking,
            86..88 => Kind::Expiring,
            88..90 => Kind::Model,
            90..94 => Kind::Ordered,
            94..97 => Kind::Refusing,
            _ => Kind::Retrying,
        };
        let user = user(self.rng.usize(..USERS));
        Submit {
            run_id: self.new_id(),
            key: None,
            agent: kind.name().to_owned(),
            session: format!("session{}", self.rng.u32(..20)),
            input: json!({ "user": user, "tag": self.rng.u32(..) }),
            user,
        }
    }

    /// The same key at several workers, with the same and with another content, and by another user.
    async fn submit_by_key(&mut self) {
        let mut submit = self.new_submit();
        submit.key = Some(format!("key {}", self.new_id()));
        let crew = Arc::clone(&self.crew);
        let (one, other) = (crew.any(&mut self.rng), crew.any(&mut self.rng));
        let again = Ask::Submit(submit.clone());
        let (_, answer) = tokio::join!(one.ask(again.clone()), other.ask(again.clone()));
        match self.rng.u32(..3) {
            0 => drop(self.ask(again).await),
            1 => {
                submit.input["tag"] = json!(self.rng.u32(..));
                self.ask(Ask::Submit(submit)).await;
            }
            _ => {
                submit.user = self.stranger_to(&submit);
                submit.input["user"] = json!(submit.user);
                self.ask(Ask::Submit(submit)).await;
            }
        }
        if let Some(Answer::Accepted { run_id, .. }) = answer {
            self.follow(run_id).await;
        }
    }

    fn stranger_to(&mut self, submit: &Submit) -> String {
        let whoever_else = (0..USERS).map(user).filter(|user| *user != submit.user);
        let others: Vec<String> = whoever_else.collect();
        others[self.rng.usize(..others.len())].clone()
    }

    /// One user looks for, and cancels, what is another's: before it comes and while it is there.
    async fn meddle_as_a_stranger(&mut self) {
        let known = self.known.any(&mut self.rng).filter(|_| self.rng.bool());
        let submit = known.unwrap_or_else(|| self.new_submit());
        let (run_id, stranger) = (submit.run_id, self.stranger_to(&submit));
        self.ask(Ask::CancelFor { run_id, user: stranger.clone() }).await;
        if self.submit(&submit).await {
            self.ask(Ask::GetFor { run_id, user: stranger.clone() }).await;
            self.ask(Ask::CancelFor { run_id, user: stranger.clone() }).await;
            self.wait(run_id).await;
        }
        self.ask(Ask::ListFor { user: stranger }).await;
        if self.rng.bool() {
            self.ask(Ask::GetFor { run_id, user: submit.user.clone() }).await;
            self.ask(Ask::CancelFor { run_id, user: submit.user }).await;
        }
    }

    /// An id that follows from the seed.
    fn new_id(&mut self) -> RunId {
        uuid::Builder::from_random_bytes(self.rng.u128(..).to_be_bytes()).into_uuid().into()
    }

    async fn ask(&mut self, ask: Ask) -> Option<Answer> {
        let crew = Arc::clone(&self.crew);
        let answer = crew.any(&mut self.rng).ask(ask).await;
        if matches!(answer, None | Some(Answer::Refused { .. })) {
            self.pause(100).await;
        }
        answer
    }

    async fn pause(&mut self, most_millis: u64) {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(..most_millis))).await;
    }

    /// Submits until somebody says what became of it.
    async fn submit(&mut self, submit: &Submit) -> bool {
        self.known.add(submit);
        for _ in 0..TRIES {
            match self.ask(Ask::Submit(submit.clone())).await {
                None | Some(Answer::Refused { .. }) if !self.is_over() => {}
                answer => return matches!(answer, Some(Answer::Accepted { .. })),
            }
        }
        false
    }

    async fn submit_and_follow(&mut self) {
        let submit = self.new_submit();
        if !self.submit(&submit).await {
            return;
        }
        let run_id = submit.run_id;
        let parked = submit.agent == Kind::Parked.name();
        let asks = Kind::named(&submit.agent).is_some_and(|kind| kind.questions() > 0);
        match self.rng.u32(..100) {
            _ if asks && self.rng.u32(..100) < 90 => self.attend(&submit).await,
            _ if parked && self.rng.u32(..100) < 80 => {
                self.pause(600).await;
                self.cancel(run_id).await;
            }
            0..25 => self.wait(run_id).await,
            25..50 => self.follow(run_id).await,
            50..60 => {
                self.pause(300).await;
                self.cancel(run_id).await;
            }
            60..70 => drop(self.ask(Ask::Get { run_id }).await),
            // Nobody looks after it.
            _ => {}
        }
    }

    async fn wait(&mut self, run_id: RunId) {
        let millis = self.rng.u64(100..2500);
        self.ask(Ask::Wait { run_id, millis }).await;
    }

    async fn cancel(&mut self, run_id: RunId) {
        for _ in 0..TRIES {
            match self.ask(Ask::Cancel { run_id }).await {
                None | Some(Answer::Refused { .. }) if !self.is_over() => {}
                _ => return,
            }
        }
    }

    async fn cancel_before_submit(&mut self) {
        let submit = self.new_submit();
        self.ask(Ask::Cancel { run_id: submit.run_id }).await;
        if self.submit(&submit).await {
            self.wait(submit.run_id).await;
        }
    }

    async fn cancel_beside_submit(&mut self) {
        let submit = self.new_submit();
        self.known.add(&submit);
        let crew = Arc::clone(&self.crew);
        let (one, other) = (crew.any(&mut self.rng), crew.any(&mut self.rng));
        // The cancel comes a little later, or a little earlier; where its way is slow, the submit comes in the middle of it.
        let (cancel_later, submit_later) =
            if self.rng.bool() { (self.rng.u64(..20_000), 0) } else { (0, self.rng.u64(..400_000)) };
        let cancel = async {
            tokio::time::sleep(Duration::from_micros(cancel_later)).await;
            other.ask(Ask::Cancel { run_id: submit.run_id }).await
        };
        let first = async {
            tokio::time::sleep(Duration::from_micros(submit_later)).await;
            one.ask(Ask::Submit(submit.clone())).await
        };
        tokio::join!(first, cancel);
        if self.submit(&submit).await {
            self.wait(submit.run_id).await;
        }
    }

    /// The same again, and then something else with the same id.
    async fn submit_again(&mut self) {
        let Some(mut submit) = self.known.any(&mut self.rng) else { return };
        self.ask(Ask::Submit(submit.clone())).await;
        submit.input["tag"] = json!(format!("another {}", self.rng.u32(..)));
        self.ask(Ask::Submit(submit)).await;
    }

    async fn cancel_something(&mut self) {
        if let Some(submit) = self.known.any(&mut self.rng) {
            self.cancel(submit.run_id).await;
            self.ask(Ask::Get { run_id: submit.run_id }).await;
        }
    }

    async fn follow_something(&mut self) {
        if let Some(submit) = self.known.any(&mut self.rng) {
            self.follow(submit.run_id).await;
        }
    }

    /// Watches a run, at one worker after the other, each time from where the last one came to.
    async fn follow(&mut self, run_id: RunId) {
        let crew = Arc::clone(&self.crew);
        let mut after = None;
        for _ in 0..6 {
            let millis = self.rng.u64(20..900);
            let watch = Ask::Watch { run_id, after, millis };
            let (answer, told) = crew.any(&mut self.rng).ask_for_events(watch).await;
            after = told.last().map(|event| event.seq).or(after);
            match answer {
                Some(Answer::Watched { by_itself: true } | Answer::Missing) => return,
                _ if self.is_over() => return,
                Some(Answer::Watched { .. }) => {}
                _ => self.pause(100).await,
            }
        }
    }
}
