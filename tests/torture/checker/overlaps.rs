//! G3, outside of the database: an attempt has stopped when the next one starts.
//!
//! What is promised is not that two are never at work at the same time: a process that stands still as a whole, or gets no
//! processor, cannot stop in time. It stops when it notices, and until then it writes nothing.

use super::{Case, Execution, Findings, Guarantee, TIME_TO_NOTICE, cases};
use crate::clock::Micros;
use crate::history::History;

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    for (earlier, later) in pairs(case) {
        let over = earlier.is_over_by();
        findings.check(over <= should_be_over_by(earlier, later), Guarantee::G3, || {
            format!(
                "attempt {} in {} went on for {} ms beside attempt {} in {}",
                earlier.attempt,
                earlier.process.name,
                (over - later.start) / 1000,
                later.attempt,
                later.process.name
            )
        });
    }
}

/// Each execution with each later one.
fn pairs<'a, 'b>(case: &'b Case<'a>) -> impl Iterator<Item = (&'b Execution<'a>, &'b Execution<'a>)> {
    let executions = &case.executions;
    let later =
        move |at: usize| executions[at + 1..].iter().filter(move |later| later.attempt > executions[at].attempt);
    (0..executions.len()).flat_map(move |at| later(at).map(move |later| (&executions[at], later)))
}

pub(super) fn should_be_over_by(earlier: &Execution<'_>, later: &Execution<'_>) -> Micros {
    let woken = earlier.process.frozen.iter().filter(|(from, _)| *from <= later.start).map(|(_, to)| *to).max();
    woken.unwrap_or_default().max(later.start) + TIME_TO_NOTICE
}

/// How long an attempt at most went on beside a later one, in processes that did not stand still meanwhile.
pub(crate) fn longest_overlap(history: &History) -> Micros {
    let cases = cases(history);
    let overlap = |(earlier, later): (&Execution<'_>, &Execution<'_>)| {
        let awake = earlier.process.frozen.iter().all(|(_, to)| *to < earlier.start);
        if awake { earlier.is_over_by().saturating_sub(later.start) } else { 0 }
    };
    cases.iter().flat_map(|case| pairs(case).map(overlap).max()).max().unwrap_or_default()
}
