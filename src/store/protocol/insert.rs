//! What becomes of a new run that meets others.

use super::{InsertRun, RowFacts};
use crate::run::{RunId, RunStatus, SessionPolicy};

/// What an insert meets that makes it no new run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Met<'a> {
    /// The fingerprint of the run that has this id.
    pub(crate) by_id: Option<&'a [u8]>,
    /// The run that has this idempotency key, of the same agent and user, and its fingerprint.
    pub(crate) by_key: Option<(RunId, &'a [u8])>,
    /// The unsettled run that has the session to itself.
    pub(crate) holder: Option<RunId>,
    /// The status of the run that is to be resumed.
    pub(crate) resumed: Option<RunStatus>,
    /// The run is the child of one that may have no more children by this insert.
    pub(crate) parent_is_over: bool,
}

/// What an insert comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encounter {
    /// It meets nobody.
    New,
    /// It is this run, again.
    Same(RunId),
    /// Another run has its id.
    IdTaken,
    /// This run has its idempotency key.
    KeyTaken(RunId),
    /// This run has its session to itself.
    SessionBusy(RunId),
    /// This run was to be resumed and has not failed.
    NotFailed(RunId),
    /// Its parent is not at work any more.
    ParentOver,
}

/// Whether a run of which the store knows `row` may have a child by this attempt. A cancel that comes at the same time is
/// seen when the child is to start, at the latest.
pub(crate) fn may_have_children(row: Option<&RowFacts>, attempt: u32) -> bool {
    row.is_some_and(|row| row.status == RunStatus::Running && row.attempt == attempt)
}

/// Decides what `insert` comes to.
pub(crate) fn encounter(insert: &InsertRun, met: &Met<'_>) -> Encounter {
    let run_id = insert.run.output.run_id;
    let holder = met.holder.filter(|_| insert.sessions == SessionPolicy::Refuse);
    match (met.by_id, met.by_key) {
        (Some(asked), _) if asked == insert.fingerprint => Encounter::Same(run_id),
        (Some(_), _) => Encounter::IdTaken,
        // Whoever brings an id wants the run to have that one.
        (None, Some((other, asked))) if asked == insert.fingerprint && !insert.id_is_given => Encounter::Same(other),
        (None, Some((other, _))) => Encounter::KeyTaken(other),
        (None, None) if met.parent_is_over => Encounter::ParentOver,
        (None, None) => match (insert.resumes, holder) {
            (Some(failed), _) if met.resumed != Some(RunStatus::Error) => Encounter::NotFailed(failed),
            (_, Some(holder)) => Encounter::SessionBusy(holder),
            (_, None) => Encounter::New,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Encounter, Met, encounter, may_have_children};
    use crate::run::{RunId, RunStatus, SessionPolicy};
    use crate::store::conformance::samples::{id, unowned};
    use crate::store::protocol::{InsertRun, RowFacts};

    #[test]
    fn an_insert_is_told_by_its_id_first_and_then_by_its_key() {
        let made_up = unowned();
        let given = InsertRun { id_is_given: true, ..made_up.clone() };
        let (own, same, other) = (id(&made_up), &made_up.fingerprint[..], &[9; 32][..]);
        let key_of = RunId::new();
        let cases = [
            (None, None, Encounter::New, Encounter::New),
            (Some(same), None, Encounter::Same(own), Encounter::Same(own)),
            (Some(other), None, Encounter::IdTaken, Encounter::IdTaken),
            (Some(other), Some((key_of, same)), Encounter::IdTaken, Encounter::IdTaken),
            (Some(same), Some((own, same)), Encounter::Same(own), Encounter::Same(own)),
            (None, Some((key_of, same)), Encounter::Same(key_of), Encounter::KeyTaken(key_of)),
            (None, Some((key_of, other)), Encounter::KeyTaken(key_of), Encounter::KeyTaken(key_of)),
        ];
        for (by_id, by_key, if_made_up, if_given) in cases {
            for holder in [None, Some(RunId::new())] {
                let met = Met { by_id, by_key, holder, ..Met::default() };
                assert_eq!(encounter(&made_up, &met), if_made_up, "{met:?}");
                assert_eq!(encounter(&given, &met), if_given, "{met:?}");
            }
        }
    }

    #[test]
    fn only_a_failed_run_is_resumed_and_by_one_run() {
        let failed = RunId::new();
        let insert = InsertRun { resumes: Some(failed), sessions: SessionPolicy::Refuse, ..unowned() };
        let not_failed = RunStatus::ALL.into_iter().filter(|status| *status != RunStatus::Error);
        for resumed in not_failed.map(Some).chain([None]) {
            let met = Met { resumed, holder: Some(RunId::new()), ..Met::default() };
            assert_eq!(encounter(&insert, &met), Encounter::NotFailed(failed), "{resumed:?}");
            let again = Met { by_id: Some(&insert.fingerprint), ..met };
            assert_eq!(
                encounter(&insert, &again),
                Encounter::Same(id(&insert)),
                "whatever became of the other one since"
            );
        }
        let resumed = Some(RunStatus::Error);
        assert_eq!(encounter(&insert, &Met { resumed, ..Met::default() }), Encounter::New);
        let holder = RunId::new();
        let busy = Met { resumed, holder: Some(holder), ..Met::default() };
        assert_eq!(encounter(&insert, &busy), Encounter::SessionBusy(holder));
    }

    #[test]
    fn a_child_is_new_only_while_the_attempt_that_submits_it_is_at_work() {
        let child = InsertRun { parent_attempt: Some(2), ..unowned() };
        let over = |by_id| Met { by_id, parent_is_over: true, ..Met::default() };
        assert_eq!(encounter(&child, &over(None)), Encounter::ParentOver);
        // What was submitted in time is there all the same.
        assert_eq!(encounter(&child, &over(Some(&child.fingerprint))), Encounter::Same(id(&child)));

        let row = |status, attempt| RowFacts {
            status,
            attempt,
            node: None,
            next_seq: 0,
            starts: 1,
            max_attempts: 3,
            cancel_wanted: false,
            late: false,
        };
        for status in RunStatus::ALL {
            assert_eq!(may_have_children(Some(&row(status, 2)), 2), status == RunStatus::Running, "{status}");
            assert!(!may_have_children(Some(&row(status, 3)), 2));
        }
        assert!(!may_have_children(None, 2));
    }

    #[test]
    fn only_a_new_run_that_wants_to_be_refused_is_refused_for_its_session() {
        let holder = RunId::new();
        for (sessions, expected) in [
            (SessionPolicy::Concurrent, Encounter::New),
            (SessionPolicy::InOrder, Encounter::New),
            (SessionPolicy::Refuse, Encounter::SessionBusy(holder)),
        ] {
            let insert = InsertRun { sessions, ..unowned() };
            let met = |by_id| Met { by_id, holder: Some(holder), ..Met::default() };
            assert_eq!(encounter(&insert, &met(None)), expected, "{sessions:?}");
            assert_eq!(encounter(&insert, &met(Some(&insert.fingerprint))), Encounter::Same(id(&insert)));
        }
    }
}
