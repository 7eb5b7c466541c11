//! What is to be told, until it is due.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::store::hints::{Hint, Hints};

/// The least time between two messages; what comes meanwhile goes together.
const PAUSE: Duration = Duration::from_millis(25);

/// The same where somebody waits for a cancel.
const URGENT_PAUSE: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    hints: Hints,
    /// A message is due even when there is nothing to tell.
    speak_up: bool,
    closed: bool,
}

impl Outbox {
    fn change(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, hint: Hint) {
        self.change().hints.add(hint);
        self.changed.notify_one();
    }

    pub(super) fn put_all(&self, hints: Hints) {
        self.change().hints.merge(hints);
        self.changed.notify_one();
    }

    /// Asks for a message that says no more than that this process is there.
    pub(super) fn speak_up(&self) {
        self.change().speak_up = true;
        self.changed.notify_one();
    }

    /// From now on, what is left is due at once.
    pub(super) fn close(&self) {
        self.change().closed = true;
        self.changed.notify_one();
    }

    /// Whatever there is to tell, due or not.
    pub(super) fn take(&self) -> Hints {
        let mut state = self.change();
        state.speak_up = false;
        std::mem::take(&mut state.hints)
    }

    /// What is due next, when the last message was sent at `last`; `None` when the outbox is closed and empty.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time.
    pub(super) async fn next(&self, last: Instant) -> Option<Hints> {
        loop {
            let (anything, urgent, closed) = {
                let state = self.change();
                (state.speak_up || !state.hints.is_empty(), !state.hints.cancels.is_empty(), state.closed)
            };
            let due = last + if urgent { URGENT_PAUSE } else { PAUSE };
            match (anything, closed) {
                (false, true) => return None,
                (false, false) => self.changed.notified().await,
                (true, closed) if closed || due <= Instant::now() => return Some(self.take()),
                (true, _) => {
                    // Either is reason enough to look again.
                    tokio::time::timeout_at(due, self.changed.notified()).await.ok();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::{Outbox, PAUSE, URGENT_PAUSE};
    use crate::run::RunId;
    use crate::store::NodeId;
    use crate::store::hints::{Hint, Hints, Named};

    #[tokio::test(start_paused = true)]
    async fn the_first_hint_goes_at_once_and_what_follows_goes_together() {
        let outbox = Outbox::default();
        sleep(PAUSE).await;
        let (begun, run_ids) = (Instant::now(), [RunId::new(), RunId::new()]);
        outbox.put(Hint::News(run_ids[0]));
        assert_eq!(outbox.next(begun - PAUSE).await.unwrap().news, Named::These([run_ids[0]].into()));
        assert_eq!(begun.elapsed(), Duration::ZERO);

        let (told, ()) = tokio::join!(outbox.next(begun), async {
            for run_id in run_ids.repeat(10) {
                outbox.put(Hint::News(run_id));
                sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(begun.elapsed(), PAUSE);
        assert_eq!(told.unwrap().news, Named::These(run_ids.into()));
        assert!(outbox.take().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_second_of_many_hints_there_are_few_messages_and_nothing_is_left_out() {
        let outbox = Arc::new(Outbox::default());
        let run_ids: Vec<RunId> = (0..1000).map(|_| RunId::new()).collect();
        let teller = tokio::spawn({
            let (outbox, run_ids) = (Arc::clone(&outbox), run_ids.clone());
            async move {
                for run_id in run_ids {
                    outbox.put(Hint::News(run_id));
                    sleep(Duration::from_millis(1)).await;
                }
                outbox.close();
            }
        });
        let (mut messages, mut told, mut last) = (0, Vec::new(), Instant::now());
        while let Some(hints) = outbox.next(last).await {
            last = Instant::now();
            messages += 1;
            let Named::These(these) = hints.news else { panic!("too many") };
            told.extend(these);
        }
        teller.await.unwrap();
        told.sort_unstable();
        let mut run_ids = run_ids;
        run_ids.sort_unstable();
        assert_eq!(told, run_ids);
        assert!(messages <= 41, "{messages} messages in a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancel_does_not_wait_for_the_others() {
        let outbox = Outbox::default();
        let begun = Instant::now();
        outbox.put(Hint::News(RunId::new()));
        let (told, ()) = tokio::join!(outbox.next(begun), async {
            sleep(Duration::from_millis(2)).await;
            outbox.put(Hint::Cancel(NodeId::new()));
        });
        assert_eq!(begun.elapsed(), URGENT_PAUSE);
        let told = told.unwrap();
        assert!(!told.cancels.is_empty() && !told.news.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_asked_to_speak_up_says_nothing_once() {
        let outbox = Outbox::default();
        outbox.speak_up();
        outbox.speak_up();
        assert_eq!(outbox.next(Instant::now()).await, Some(Hints::default()));
        outbox.close();
        assert_eq!(outbox.next(Instant::now()).await, None);
    }
}
