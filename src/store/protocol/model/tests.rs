//! What is tried: worlds in which everything holds, and broken protocols, each of which is found out.

use std::collections::BTreeSet;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use super::callers::{Ask, Submit};
use super::properties;
use super::{Broken, May, World};
use crate::run::{CrashPolicy, SessionPolicy};

const NOTHING: May =
    May { pause: 0, die: 0, boot: 0, lose: 0, drain: 0, say: 0, need: 0, fail: 0, skip: 0, stale: 0, slow: 0 };

const fn submit(content: u8, owned: bool) -> Ask {
    Ask::Submit(Submit { run: 0, content, keyed: false, owned })
}

/// Each submit by the key makes up an id of its own.
const fn by_key(run: u8, content: u8, owned: bool) -> Ask {
    Ask::Submit(Submit { run, content, keyed: true, owned })
}

const CANCEL: Ask = Ask::Cancel { run: 0 };
const CONTINUE: Ask = Ask::Continue { run: 0 };

mod features;

/// One run, submitted to the first of two processes, and time for one lease to expire.
fn world(asks: &[(u8, Ask)], may: May) -> World {
    World {
        processes: 2,
        asks: asks.to_vec(),
        runs: 1,
        max_attempts: 2,
        on_crash: CrashPolicy::Restart,
        sessions: SessionPolicy::Concurrent,
        steps: 0,
        may,
        horizon: 5,
        clocks_stop: false,
        broken: None,
        reachable: &[],
    }
}

/// Looks at all of `world`: every guarantee holds, and what has to be reachable is.
fn holds(name: &str, world: World) {
    let begun = Instant::now();
    let checker = world.checker().threads(2).spawn_bfs().join();
    let (states, unique, depth) = (checker.state_count(), checker.unique_state_count(), checker.max_depth());
    println!("{name}: {unique} states ({states} steps), {depth} deep, {:.1?}", begun.elapsed());
    let properties = checker.model().properties();
    let discoveries = checker.discoveries();
    for property in properties {
        match (property.expectation, discoveries.get(property.name)) {
            (Expectation::Sometimes, None) => panic!("not reachable: {}", property.name),
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                panic!("{}: {:#?}\n{:#?}", property.name, path.last_state(), path.clone().into_actions());
            }
            (Expectation::Sometimes, Some(_)) | (Expectation::Always | Expectation::Eventually, None) => {}
        }
    }
}

/// Finds a way in which this mistake breaks this guarantee, which holds without it.
fn is_found(broken: Broken, guarantee: &'static str, world: World) {
    holds(&format!("without {broken:?}"), world.clone());
    let begun = Instant::now();
    let world = World { broken: Some(broken), ..world };
    let found = HasDiscoveries::AnyOf(BTreeSet::from([guarantee]));
    let checker = world.checker().finish_when(found).spawn_bfs().join();
    let unique = checker.unique_state_count();
    let path = checker.discovery(guarantee).unwrap_or_else(|| panic!("{broken:?} goes unnoticed: {unique} states"));
    println!("with {broken:?}: {unique} states, {:.1?}: no {guarantee}: {:?}", begun.elapsed(), path.into_actions());
}

#[test]
fn a_process_may_die_and_answers_may_get_lost() {
    let may = May { die: 1, lose: 1, say: 1, ..NOTHING };
    let reachable = &["a rescued run completes", "a fenced write arrives", "an unheard write is known again"];
    holds("deaths", World { reachable, ..world(&[(0, submit(0, true))], may) });
}

#[test]
fn a_process_may_stand_still_for_longer_than_its_lease() {
    let may = May { pause: 1, skip: 1, say: 1, ..NOTHING };
    let reachable = &["a process wakes too late", "a fenced write arrives", "a rescued run completes"];
    holds("pauses", World { reachable, ..world(&[(0, submit(0, true))], may) });
}

#[test]
fn renewals_may_be_slow_and_get_lost() {
    let asks = [(0, submit(0, true))];
    let reachable = &["a process stops for want of a lease", "a lease is renewed", "a rescued run completes"];
    let world = World { reachable, horizon: 7, ..world(&asks, NOTHING) };
    holds("slow renewals", World { may: May { slow: 2, ..NOTHING }, ..world.clone() });
    holds("a new lease", World { may: May { slow: 1, boot: 1, ..NOTHING }, horizon: 6, ..world });
}

/// What a process looked up may be old when it hears of it.
#[test]
fn a_look_for_missed_runs_may_be_stale() {
    let reachable = &["an unheard write is known again", "a request is honoured"];
    let asks = [(0, submit(0, true)), (1, CANCEL)];
    holds("stale looks", World { reachable, horizon: 0, ..world(&asks, May { stale: 1, lose: 1, ..NOTHING }) });
    let reachable = &["a process wakes too late"];
    let asks = [(0, submit(0, true))];
    holds("stale looks and pauses", World { reachable, ..world(&asks, May { stale: 1, pause: 1, ..NOTHING }) });
}

#[test]
fn a_process_may_begin_anew() {
    let may = May { pause: 1, boot: 1, ..NOTHING };
    let reachable = &["a process wakes too late", "a process stops for want of a lease", "a rescued run completes"];
    holds("new leases", World { reachable, ..world(&[(0, submit(0, true))], may) });
}

/// Where the clock of a process stops with it, its user code may run for too long, and still it can write nothing.
#[test]
fn clocks_may_stop() {
    let may = May { pause: 1, ..NOTHING };
    let reachable = &["a fenced write arrives", "a rescued run completes"];
    holds("clocks that stop", World { clocks_stop: true, reachable, ..world(&[(0, submit(0, true))], may) });
}

#[test]
fn submits_and_cancels_of_one_id_may_meet_at_any_point() {
    let may = May { lose: 1, ..NOTHING };
    let reachable = &[
        "an intent is honoured",
        "a request is honoured",
        "a cancel comes first",
        "a completion comes first",
        "two submits are one run",
    ];
    let asks = [(0, submit(0, true)), (1, submit(0, true)), (1, CANCEL)];
    holds("submits and a cancel", World { reachable, horizon: 0, ..world(&asks, may) });
    let reachable = &["an id is taken", "an intent is honoured", "a cancel comes first"];
    let asks = [(0, submit(0, false)), (1, submit(1, true)), (0, CANCEL)];
    holds("submits of two contents", World { reachable, horizon: 0, ..world(&asks, NOTHING) });
}

#[test]
fn submits_by_one_key_may_meet_at_any_point() {
    let may = May { lose: 1, ..NOTHING };
    let reachable = &["two submits by one key are one run"];
    let asks = [(0, by_key(0, 0, true)), (1, by_key(1, 0, true))];
    holds("submits by one key", World { runs: 2, reachable, horizon: 0, ..world(&asks, may) });
    let reachable = &["a key is taken"];
    let asks = [(0, by_key(0, 0, true)), (1, by_key(1, 1, false)), (0, CANCEL)];
    holds("one key for two contents", World { runs: 2, reachable, horizon: 0, ..world(&asks, NOTHING) });
}

#[test]
fn two_cancels_may_meet_a_submit_and_a_death() {
    let may = May { die: 1, ..NOTHING };
    let reachable = &["an intent is honoured", "a request is honoured", "a cancel comes first"];
    let asks = [(0, submit(0, true)), (1, CANCEL)];
    holds("a cancel and a death", World { reachable, ..world(&asks, may) });
    let asks = [(0, submit(0, true)), (0, CANCEL), (1, CANCEL)];
    holds("two cancels", World { horizon: 0, ..world(&asks, NOTHING) });
}

#[test]
fn a_process_may_be_shut_down() {
    let may = May { drain: 1, die: 1, say: 1, ..NOTHING };
    let reachable = &["a drained run waits for others", "a rescued run completes"];
    holds("a drain", World { reachable, ..world(&[(0, submit(0, true))], may) });
}

#[test]
fn continues_and_cancels_of_a_paused_run_may_meet_at_any_point() {
    let reachable = &["a continued run completes", "a second continue is refused"];
    let asks = [(0, submit(0, true)), (0, CONTINUE), (1, CONTINUE)];
    let may = May { need: 1, ..NOTHING };
    holds("two continues", World { reachable, horizon: 0, ..world(&asks, may) });
    let reachable = &["a continued run completes", "a paused run is cancelled"];
    let asks = [(0, submit(0, true)), (0, CONTINUE), (1, CANCEL)];
    holds("a continue and a cancel", World { reachable, horizon: 0, ..world(&asks, may) });
    let reachable = &["a continued run completes", "an unheard write is known again"];
    let asks = [(0, submit(0, true)), (1, CONTINUE)];
    holds("a continue that is repeated", World { reachable, horizon: 0, ..world(&asks, May { lose: 1, ..may }) });
    let reachable = &["a continued run completes", "a rescued run completes"];
    holds("a continue and a death", World { reachable, ..world(&asks, May { die: 1, ..may }) });
}

#[test]
fn a_continue_of_what_is_not_paused_is_found() {
    let asks = [(0, submit(0, true)), (0, CONTINUE), (1, CONTINUE)];
    let world = World { horizon: 0, ..world(&asks, May { need: 1, ..NOTHING }) };
    is_found(Broken::ContinueUnguarded, properties::ONE_DECISION, world);
}

#[test]
fn a_pause_that_minds_no_request_is_found() {
    let asks = [(0, submit(0, true)), (1, CANCEL), (1, CONTINUE)];
    let world = World { horizon: 0, ..world(&asks, May { need: 1, ..NOTHING }) };
    is_found(Broken::PauseIgnoresRequest, properties::WAITS_NOT, world);
}

#[test]
fn attempts_and_policies_end_runs() {
    let may = May { die: 1, lose: 1, ..NOTHING };
    let one = World { max_attempts: 1, ..world(&[(0, submit(0, true))], may) };
    holds("one attempt", World { reachable: &["the attempts run out"], ..one.clone() });
    let policy = World { on_crash: CrashPolicy::Fail, max_attempts: 2, ..one };
    holds("no restart", World { reachable: &["the death of its process ends a run"], ..policy });
}

/// More of everything than is looked at each time.
#[test]
#[ignore = "takes minutes"]
fn more_of_everything() {
    let asks = [(0, submit(0, true)), (1, CANCEL)];
    let reachable = &["a rescued run completes", "a fenced write arrives"];
    let three = World { processes: 3, reachable, ..world(&asks[..1], May { pause: 1, die: 1, ..NOTHING }) };
    holds("three processes", three);
    let may = May { die: 1, lose: 1, drain: 1, ..NOTHING };
    holds("a cancel and a drain", World { reachable, ..world(&asks, may) });
    let may = May { pause: 1, slow: 1, lose: 1, ..NOTHING };
    holds("a pause among slow renewals", World { reachable, ..world(&asks[..1], may) });
    let both = [(0, submit(0, true)), (1, Ask::Submit(Submit { run: 1, content: 0, keyed: false, owned: false }))];
    holds("two runs", World { runs: 2, reachable, ..world(&both, May { die: 1, ..NOTHING }) });
    holds("two deaths", World { horizon: 9, reachable, ..world(&asks[..1], May { die: 2, boot: 1, ..NOTHING }) });
}

#[test]
fn a_write_that_is_not_fenced_is_found() {
    let may = May { pause: 1, ..NOTHING };
    is_found(Broken::NoFence, properties::FENCED, world(&[(0, submit(0, true))], may));
}

#[test]
fn a_sweep_that_does_not_look_again_is_found() {
    let may = May { slow: 1, ..NOTHING };
    is_found(Broken::SweepWithoutRecheck, properties::NOT_ROBBED, world(&[(0, submit(0, true))], may));
}

#[test]
fn a_sweep_of_settled_runs_is_found() {
    let may = May { die: 1, ..NOTHING };
    is_found(Broken::SweepOfTheSettled, properties::LEGAL, world(&[(0, submit(0, true))], may));
}

#[test]
fn a_last_event_in_a_second_transaction_is_found() {
    is_found(Broken::LastEventLater, properties::GAPLESS, world(&[(0, submit(0, true))], NOTHING));
}

#[test]
fn an_intent_that_is_looked_for_before_the_insert_is_found() {
    let world = World { horizon: 0, ..world(&[(0, submit(0, true)), (1, CANCEL)], NOTHING) };
    is_found(Broken::IntentBeforeInsert, properties::NEVER_STARTS, world);
}

#[test]
fn a_cancel_that_does_not_look_again_is_found() {
    let world = World { horizon: 0, ..world(&[(0, submit(0, true)), (1, CANCEL)], NOTHING) };
    is_found(Broken::CancelLooksOnce, properties::NEVER_STARTS, world);
}

#[test]
fn a_start_that_minds_no_request_is_found() {
    let world = World { horizon: 0, ..world(&[(0, submit(0, true)), (1, CANCEL)], NOTHING) };
    is_found(Broken::StartIgnoresRequest, properties::ACKNOWLEDGED, world);
}

#[test]
fn starts_without_a_bound_are_found() {
    let world = World { max_attempts: 1, ..world(&[(0, submit(0, true))], May { die: 1, ..NOTHING }) };
    is_found(Broken::StartsUnbounded, properties::BOUNDED, world);
}

#[test]
fn a_lease_that_is_trusted_from_its_answer_is_found() {
    let world = World { horizon: 7, ..world(&[(0, submit(0, true))], May { slow: 2, ..NOTHING }) };
    is_found(Broken::TrustFromTheAnswer, properties::ALONE, world);
}

#[test]
fn an_insert_that_writes_over_another_is_found() {
    let world = World { horizon: 0, ..world(&[(0, submit(0, true)), (1, submit(0, true))], NOTHING) };
    is_found(Broken::InsertOverwrites, properties::ONE_RUN, world);
}

#[test]
fn a_key_that_is_looked_for_before_the_insert_is_found() {
    let asks = [(0, by_key(0, 0, true)), (1, by_key(1, 0, true))];
    let world = World { runs: 2, horizon: 0, ..world(&asks, NOTHING) };
    is_found(Broken::KeyBeforeInsert, properties::ONE_KEY, world);
}

#[test]
fn a_node_that_looks_for_what_it_missed_only_once_is_found() {
    let world = World { horizon: 0, ..world(&[(0, submit(0, false))], May { lose: 1, ..NOTHING }) };
    is_found(Broken::LooksOnlyAfterALoss, properties::SETTLES, world);
}
