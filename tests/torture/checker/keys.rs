//! G9, by keys: of an agent and a user, one run has a key.

use std::collections::BTreeMap;

use greenroom::RunId;

use super::{Guarantee, Violation};
use crate::history::History;

/// Which run has a key of a user and an agent.
pub(super) type Owners<'a> = BTreeMap<(&'a str, &'a str, &'a str), RunId>;

pub(super) fn owners(history: &History) -> Owners<'_> {
    let mut owners = Owners::new();
    for stored in history.runs.values() {
        if let Some(key) = &stored.key {
            owners.entry((&stored.user, &stored.agent, key)).or_insert(stored.run_id);
        }
    }
    owners
}

pub(super) fn check(history: &History, violations: &mut Vec<Violation>) {
    let owners = owners(history);
    for stored in history.runs.values() {
        let Some(key) = &stored.key else { continue };
        let owner = owners[&(stored.user.as_str(), stored.agent.as_str(), key.as_str())];
        if owner != stored.run_id {
            let what = format!("has the key of run {owner}");
            violations.push(Violation { of: Guarantee::G9, run_id: Some(stored.run_id), what });
        }
    }
}
