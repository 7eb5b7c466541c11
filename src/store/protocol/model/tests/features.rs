//! Retries, steps and sessions.

use super::*;

/// A run that fails so often, and time for its pauses.
fn failing(fail: u8, may: May) -> World {
    World { horizon: 2, ..world(&[(0, submit(0, true))], May { fail, ..may }) }
}

#[test]
fn an_attempt_that_fails_may_be_followed_by_another() {
    let reachable = &["a failed attempt is followed by another", "failures use up the attempts"];
    holds("failures", World { reachable, ..failing(2, NOTHING) });
    let reachable = &["a failed attempt is followed by another", "an unheard write is known again"];
    holds("failures and lost answers", World { reachable, ..failing(1, May { lose: 1, ..NOTHING }) });
    let reachable = &["a failed attempt is followed by another", "a request is honoured", "a cancel comes first"];
    let asks = [(0, submit(0, true)), (1, CANCEL)];
    holds("a failure and a cancel", World { asks: asks.to_vec(), reachable, horizon: 1, ..failing(1, NOTHING) });
}

#[test]
fn a_start_that_fails_and_does_not_count_is_found() {
    is_found(Broken::RetryUncounted, properties::BOUNDED, failing(2, NOTHING));
}

#[test]
fn a_failed_run_that_is_taken_up_at_once_is_found() {
    is_found(Broken::RetryTakenAtOnce, properties::NOT_TOO_EARLY, failing(1, NOTHING));
}

/// A run of so many steps that resumes.
fn stepping(steps: usize, may: May) -> World {
    World { steps, on_crash: CrashPolicy::Resume, ..world(&[(0, submit(0, true))], may) }
}

#[test]
fn steps_may_be_followed_by_the_death_of_their_process() {
    let reachable = &["an attempt goes on from steps of another", "a rescued run completes"];
    holds("steps and a death", World { reachable, ..stepping(2, May { die: 1, ..NOTHING }) });
    let reachable = &["a fenced write arrives", "a process wakes too late"];
    holds("a step and a pause", World { reachable, ..stepping(1, May { pause: 1, ..NOTHING }) });
    let reachable = &["an attempt goes on from steps of another"];
    holds("steps and a drain", World { reachable, horizon: 0, ..stepping(2, May { drain: 1, lose: 1, ..NOTHING }) });
}

#[test]
fn a_result_that_is_used_before_it_is_durable_is_found() {
    is_found(Broken::StepUsedEarly, properties::ONE_RESULT, stepping(1, May { die: 1, ..NOTHING }));
}

#[test]
fn an_attempt_that_forgets_what_is_remembered_is_found() {
    is_found(Broken::StepsForgotten, properties::NOT_AGAIN, stepping(1, May { die: 1, ..NOTHING }));
}

/// Two runs of a session.
fn session(sessions: SessionPolicy, owned: bool, may: May) -> World {
    let second = Ask::Submit(Submit { run: 1, content: 0, keyed: false, owned });
    let asks = [(0, submit(0, owned)), (1, second)];
    World { runs: 2, sessions, horizon: 0, ..world(&asks, may) }
}

#[test]
fn runs_of_a_session_may_come_and_go_in_any_order() {
    let reachable = &["a run follows another in its session"];
    holds("a session in order", World { reachable, ..session(SessionPolicy::InOrder, false, NOTHING) });
    let reachable = &["a run follows another in its session", "a session is busy"];
    holds("a session that refuses", World { reachable, ..session(SessionPolicy::Refuse, true, NOTHING) });
}

#[test]
fn two_claims_of_a_session_that_do_not_mind_each_other_are_found() {
    let world = session(SessionPolicy::InOrder, false, NOTHING);
    is_found(Broken::TurnWithoutIndex, properties::ITS_SESSION, world);
}

#[test]
fn two_submits_to_a_session_that_do_not_mind_each_other_are_found() {
    let world = session(SessionPolicy::Refuse, true, NOTHING);
    is_found(Broken::HolderBeforeInsert, properties::ITS_SESSION, world);
}
