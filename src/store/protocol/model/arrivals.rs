//! New runs, and what they meet in the database.

use std::sync::LazyLock;

use uuid::Uuid;

use super::callers::Submit;
use super::row::{Inserted, Met, Row};
use super::tables::{Flaw, Tables};
use super::{Broken, World};
use crate::run::{RunId, RunStatus, SessionPolicy};
use crate::store::conformance::samples::unowned;
use crate::store::protocol::insert::{self, Encounter, encounter};
use crate::store::protocol::{Fingerprint, InsertRun};

fn run_id(run: u8) -> RunId {
    RunId::from(Uuid::from_u128(u128::from(run)))
}

fn print_of(content: u8) -> Fingerprint {
    [content; 32]
}

/// The insert as the protocol knows it.
fn insert_of(submit: Submit, sessions: SessionPolicy) -> InsertRun {
    static ANY: LazyLock<InsertRun> = LazyLock::new(unowned);
    let fingerprint = print_of(submit.content);
    let mut insert = InsertRun { fingerprint, id_is_given: !submit.keyed, sessions, ..ANY.clone() };
    insert.run.output.run_id = run_id(submit.run);
    insert
}

impl Tables {
    /// What an insert meets here.
    pub(super) fn met(&self, submit: Submit) -> Met {
        let keyed = (0..)
            .zip(&self.runs)
            .find_map(|(run, row)| row.as_ref().filter(|row| row.keyed).map(|row| (run, row.content)));
        let keeps = |row: &Option<Row>| row.as_ref().is_some_and(Row::keeps_session);
        let holder = (0..).zip(&self.runs).find_map(|(run, row)| keeps(row).then_some(run));
        Met { intent: self.intents[usize::from(submit.run)], by_key: keyed.filter(|_| submit.keyed), holder }
    }

    /// `InsertRuns`, and `GetRuns` for what was there: what it comes to is for [`encounter`] to say.
    pub(super) fn insert(&mut self, world: &World, submit: Submit, met: Met, node: Option<u8>) -> Inserted {
        let by_id = self.row(submit.run).map(|row| print_of(row.content));
        let by_key = met.by_key.map(|(run, content)| (run_id(run), print_of(content)));
        let found = insert::Met {
            by_id: by_id.as_ref().map(|print| &print[..]),
            by_key: by_key.as_ref().map(|(run, print)| (*run, &print[..])),
            holder: met.holder.map(run_id),
            resumed: None,
            parent_is_over: false,
        };
        match encounter(&insert_of(submit, world.sessions), &found) {
            Encounter::Same(_) | Encounter::IdTaken if world.broken == Some(Broken::InsertOverwrites) => {
                self.flaw(Flaw::InsertedTwice);
            }
            Encounter::Same(same) => {
                let run = met.by_key.map_or(submit.run, |(run, _)| run);
                debug_assert_eq!(same, run_id(run), "it is found by its id or by its key");
                let row = self.row_mut(run);
                let fresh = row.status == RunStatus::Pending && row.attempt == 1;
                return Inserted::Existing { run, node: row.node, fresh };
            }
            Encounter::IdTaken => return Inserted::Conflict,
            Encounter::KeyTaken(_) => return Inserted::KeyTaken,
            Encounter::SessionBusy(_) => return Inserted::SessionBusy,
            Encounter::New | Encounter::NotFailed(_) | Encounter::ParentOver => {}
        }
        self.runs[usize::from(submit.run)] = Some(Row::new(world, submit, node));
        Inserted::New
    }
}
