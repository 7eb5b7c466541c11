//! A session is left to one run of an agent and a user, where the agent wants that.
//!
//! With `InOrder`: from the first start of a run to its end, whatever dies meanwhile, no other is started; and a run whose submit
//! was acknowledged before another's began has settled before that is started. With `Refuse`: no two are unsettled.

use std::collections::BTreeMap;

use greenroom::SessionPolicy;

use super::overlaps::should_be_over_by;
use super::{Case, Execution, Findings, Guarantee, Violation, accepted};
use crate::clock::Micros;
use crate::wire::Answer;

/// The runs of an agent, a session and a user.
type Lane<'a, 'b> = Vec<&'b Case<'a>>;

pub(super) fn check(cases: &[Case<'_>], violations: &mut Vec<Violation>) {
    let mut lanes: BTreeMap<_, Lane<'_, '_>> = BTreeMap::new();
    for case in cases {
        if let Some(stored) = case.stored {
            lanes.entry((&stored.agent, &stored.session, &stored.user)).or_default().push(case);
        }
    }
    for lane in lanes.values() {
        match lane[0].kind().map_or(SessionPolicy::Concurrent, crate::kind::Kind::sessions) {
            SessionPolicy::InOrder => in_order(lane, violations),
            SessionPolicy::Refuse => one_at_a_time(lane, violations),
            _ => {}
        }
    }
    for case in cases {
        refusals(case, cases, violations);
    }
}

fn add(case: &Case<'_>, violations: &mut Vec<Violation>, holds: bool, what: impl FnOnce() -> String) {
    Findings { run_id: case.run_id, violations }.check(holds, Guarantee::Sessions, what);
}

/// When it was acknowledged first.
fn acknowledged(case: &Case<'_>) -> Option<Micros> {
    case.submits().filter(|(call, _)| accepted::is_accepted(call)).map(|(call, _)| call.ended).min()
}

/// When it was submitted first.
fn submitted(case: &Case<'_>) -> Option<Micros> {
    case.submits().map(|(call, _)| call.began).min()
}

fn in_order(lane: &Lane<'_, '_>, violations: &mut Vec<Violation>) {
    for later in lane {
        let Some(begin) = later.begin() else { continue };
        for earlier in lane.iter().filter(|earlier| earlier.run_id != later.run_id) {
            let was_first = earlier.begin().is_some_and(|first| (first, earlier.run_id) < (begin, later.run_id));
            add(later, violations, !was_first || earlier.end() <= begin, || {
                format!("was started while run {} of its session was under way", earlier.run_id)
            });
            let came_first =
                acknowledged(earlier).zip(submitted(later)).is_some_and(|(earlier, later)| earlier < later);
            add(later, violations, !came_first || earlier.end() <= begin, || {
                format!("was started before run {}, which had come before it", earlier.run_id)
            });
            if was_first {
                user_code(earlier, later, violations);
            }
        }
    }
}

/// User code of a run has ended when that of the next one starts, up to the time that it takes to notice.
fn user_code(earlier: &Case<'_>, later: &Case<'_>, violations: &mut Vec<Violation>) {
    let Some(next) = later.executions.first() else { return };
    let late = |execution: &&Execution<'_>| execution.is_over_by() > should_be_over_by(execution, next);
    add(later, violations, !earlier.executions.iter().any(|execution| late(&execution)), || {
        format!("was at work beside run {} of its session", earlier.run_id)
    });
}

/// Once both have been acknowledged, one of them has settled.
fn one_at_a_time(lane: &Lane<'_, '_>, violations: &mut Vec<Violation>) {
    for (at, one) in lane.iter().enumerate() {
        for other in &lane[at + 1..] {
            let both = acknowledged(one).zip(acknowledged(other)).map(|(one, other)| one.max(other));
            let right = both.is_none_or(|both| both >= one.end().min(other.end()));
            add(one, violations, right, || format!("had not settled, nor had run {} of its session", other.run_id));
        }
    }
}

/// A run is refused for one of its session, which has not settled as far as anybody knows.
fn refusals(case: &Case<'_>, cases: &[Case<'_>], violations: &mut Vec<Violation>) {
    for (call, submit) in case.submits() {
        let Some(Answer::Busy { run_id }) = call.answer else { continue };
        let holder = cases.binary_search_by_key(&run_id, |case| case.run_id).ok().map(|at| &cases[at]);
        let its = holder.and_then(|holder| holder.stored).is_some_and(|stored| {
            (&stored.agent, &stored.session, &stored.user) == (&submit.agent, &submit.session, &submit.user)
        });
        add(case, violations, its, || format!("was refused for run {run_id}, which is not of its session"));
        let settled = holder.and_then(super::settled::seen_settled);
        add(case, violations, settled.is_none_or(|settled| call.began <= settled), || {
            format!("was refused for run {run_id}, which had settled")
        });
    }
}
