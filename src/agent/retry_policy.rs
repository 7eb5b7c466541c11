//! When a run is tried again whose user code has failed.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::run::InvalidRun;

/// The longest delay.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// When a run is tried again after its agent's code, or its model, has failed in a way that may pass.
///
/// The run waits in the store, as `PENDING` and with nothing of it in memory, until its next attempt is due; then any process
/// takes it up. So it is tried again also when its process is gone by then. How often is for
/// [`max_attempts`](crate::AgentBuilder::max_attempts) to say. An attempt begins from the run's input, what the failed one
/// said is void, and the [steps](crate::RunContext::step) that were finished are not done again, unless the agent's
/// [`CrashPolicy`](crate::CrashPolicy) is `Restart`. Code outside of steps is run again, whatever the policy.
///
/// ```
/// use std::time::Duration;
/// use greenroom::{Agent, RetryPolicy, ScriptedModel};
///
/// let agent = Agent::builder("patient")
///     .model(ScriptedModel::echo())
///     .max_attempts(5)
///     .retry(RetryPolicy::new(Duration::from_secs(2)).factor(3.0).max_delay(Duration::from_secs(60)));
/// # agent.build().unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a policy does nothing until it is given to an agent"]
pub struct RetryPolicy {
    initial: Duration,
    factor: f64,
    max_delay: Duration,
    jitter: f64,
}

impl RetryPolicy {
    /// Tries again after `delay`, at most 366 days, and after twice the time each time, up to 5 min, each less up to a quarter at
    /// random.
    pub const fn new(delay: Duration) -> Self {
        Self { initial: delay, factor: 2.0, max_delay: Duration::from_secs(5 * 60), jitter: 0.25 }
    }

    /// How many times the delay before it each delay is, at least 1; 2 when left out.
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The longest delay; 5 min when left out, at most 366 days.
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Up to which share of a delay is taken off at random, 0 to 1, so that runs that failed together are not tried again
    /// together; a quarter when left out.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidRun> {
        let wrong = |problem: &str| Err(InvalidRun { field: "retry", problem: problem.to_owned() });
        if self.initial > LONGEST || self.max_delay > LONGEST {
            return wrong("must have delays of at most 366 days");
        }
        if !self.factor.is_finite() || self.factor < 1.0 {
            return wrong("must have a factor of at least 1");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return wrong("must have a jitter between 0 and 1");
        }
        Ok(())
    }

    /// How long to wait after the attempt with this number, from 1, has failed.
    pub(crate) fn delay(&self, failed: u32) -> Duration {
        let random = u32::try_from(RandomState::new().hash_one(failed) % 1_000_001).unwrap_or_default();
        self.delay_less(failed, f64::from(random) / 1_000_000.0)
    }

    /// The delay when `random`, from 0 to 1, of its jitter is taken off.
    fn delay_less(&self, failed: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
        let longest = self.max_delay.as_secs_f64();
        // Zero times infinity is no number.
        let growth = self.factor.powi(exponent).min(f64::MAX);
        let delay = (self.initial.as_secs_f64() * growth).min(longest);
        Duration::try_from_secs_f64(delay * (1.0 - self.jitter * random)).unwrap_or(self.max_delay)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::RetryPolicy;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn delays_grow_by_the_factor_up_to_the_longest() {
        let policy = RetryPolicy::new(seconds(2.0)).factor(3.0).max_delay(seconds(60.0));
        let delays: Vec<_> = (1..=6).map(|failed| policy.delay_less(failed, 0.0)).collect();
        assert_eq!(delays, [2.0, 6.0, 18.0, 54.0, 60.0, 60.0].map(seconds));
        assert_eq!(policy.delay_less(u32::MAX, 0.0), seconds(60.0));
        assert_eq!(RetryPolicy::new(Duration::ZERO).delay_less(u32::MAX, 0.0), Duration::ZERO);
    }

    #[test]
    fn jitter_takes_off_no_more_than_its_share() {
        let policy = RetryPolicy::new(seconds(8.0));
        assert_eq!(policy.delay_less(1, 1.0), seconds(6.0));
        assert_eq!(policy.jitter(1.0).delay_less(1, 1.0), Duration::ZERO);
        let delays: Vec<_> = (0..100).map(|_| policy.delay(1)).collect();
        assert!(delays.iter().all(|delay| (seconds(6.0)..=seconds(8.0)).contains(delay)), "{delays:?}");
        assert!(delays.iter().any(|delay| *delay != delays[0]), "{delays:?}");
    }

    #[test]
    fn impossible_policies_are_refused() {
        let policy = RetryPolicy::new(seconds(1.0));
        assert_eq!(policy.check(), Ok(()));
        for wrong in [
            RetryPolicy::new(Duration::MAX),
            policy.max_delay(Duration::MAX),
            policy.factor(0.5),
            policy.factor(f64::NAN),
            policy.factor(f64::INFINITY),
            policy.jitter(-0.1),
            policy.jitter(1.1),
            policy.jitter(f64::NAN),
        ] {
            assert_eq!(wrong.check().unwrap_err().field(), "retry", "{wrong:?}");
        }
    }
}
