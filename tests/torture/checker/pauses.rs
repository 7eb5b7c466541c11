//! Runs that wait for people: nothing of a paused run is at work, nothing but a decision, a cancel or its timeout ends a pause,
//! and of several who decide the same question one is heard.

use std::collections::BTreeSet;
use std::time::Duration;

use greenroom::{FailureKind, RunEvent, RunEventKind, RunStatus, StepKey};

use super::{CLOCK_SLACK, Case, Findings, Guarantee, settled, starts};
use crate::clock::Micros;
use crate::history::{Call, StoredRun};
use crate::kind::Kind;
use crate::wire::{Answer, Ask, Continue};

/// A pause of a run.
pub(super) struct Pause<'a> {
    /// The attempt that can do nothing but wait.
    pub(super) attempt: u32,
    need: Option<StepKey>,
    began: &'a RunEvent,
    /// What ended it.
    end: Option<&'a RunEvent>,
}

/// The pauses of a run, in order.
pub(super) fn pauses(stored: &StoredRun) -> Vec<Pause<'_>> {
    let mut attempt = 0;
    let mut pauses = Vec::new();
    for (place, event) in stored.events.iter().enumerate() {
        match &event.kind {
            RunEventKind::RunStarted { attempt: started } => attempt = *started,
            RunEventKind::RunPaused { requirements } => pauses.push(Pause {
                attempt,
                need: requirements.first().map(|one| one.requirement_id),
                began: event,
                end: stored.events.get(place + 1),
            }),
            _ => {}
        }
    }
    pauses
}

/// The attempts that have ended in a pause: they do not count.
pub(super) fn attempts(stored: &StoredRun) -> BTreeSet<u32> {
    pauses(stored).iter().map(|pause| pause.attempt).collect()
}

impl Pause<'_> {
    fn was_continued(&self) -> bool {
        self.end.is_some_and(|end| matches!(end.kind, RunEventKind::RunContinued {}))
    }
}

impl Case<'_> {
    /// When the pause ended at the earliest: the transaction that ended it had begun, and everybody saw the pause until it was
    /// committed.
    fn end_of(&self, pause: &Pause<'_>) -> Micros {
        pause.end.map_or(Micros::MAX, |end| self.time_of(end))
    }

    /// When the pause had ended at the latest: somebody had seen that, who started the run again, decided, or saw it settled.
    fn has_ended_by(&self, pause: &Pause<'_>) -> Micros {
        if pause.end.is_none() {
            return Micros::MAX;
        }
        let mut starts = self.stored.into_iter().flat_map(starts);
        let started = starts.find(|(attempt, _)| *attempt > pause.attempt).map(|(_, event)| self.time_of(event));
        let continues = |call: &&&Call| asked(call).is_some_and(|asked| Some(asked.need) == pause.need);
        let continued = self.calls.iter().filter(continues).filter(|call| call.answer == Some(Answer::Continued));
        let continued = continued.map(|call| call.ended).min();
        [started, continued, settled::seen_settled(self)].into_iter().flatten().min().unwrap_or(Micros::MAX)
    }
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let (Some(stored), Some(kind)) = (case.stored, case.kind()) else { return };
    order(stored, findings);
    let pauses = pauses(stored);
    for pause in &pauses {
        nobody_is_at_work(case, pause, findings);
        timeout(case, kind, pause, findings);
    }
    let needs: BTreeSet<_> = pauses.iter().map(|pause| pause.need).collect();
    findings
        .check(needs.len() == pauses.len(), Guarantee::Pauses, || "was paused twice for the same question".to_owned());
    decisions(case, stored, &pauses, findings);
    for call in &case.calls {
        answers(case, stored, &pauses, call, findings);
    }
}

/// Where a run is on its way from one pause to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    AtWork,
    Paused,
    Continued,
}

/// A pause follows on work, and is followed by what may end one. Who has been continued is started.
fn order(stored: &StoredRun, findings: &mut Findings<'_>) {
    use RunEventKind::{RunCancelled, RunContinued, RunError, RunPaused, RunStarted};
    let mut stage = Stage::Waiting;
    for event in &stored.events {
        let next = match (stage, &event.kind) {
            (Stage::AtWork, RunPaused { .. }) => Some(Stage::Paused),
            (Stage::Paused, RunContinued {}) => Some(Stage::Continued),
            (Stage::Waiting | Stage::AtWork | Stage::Continued, RunStarted { .. }) => Some(Stage::AtWork),
            (_, RunPaused { .. } | RunContinued {} | RunStarted { .. }) => None,
            (Stage::Paused | Stage::Continued, RunCancelled { .. }) => Some(stage),
            (Stage::Paused, RunError { error_type: FailureKind::PauseTimeout, .. }) => Some(stage),
            (Stage::Paused | Stage::Continued, _) => None,
            (Stage::Waiting | Stage::AtWork, _) => Some(stage),
        };
        findings.check(next.is_some(), Guarantee::Pauses, || {
            format!("was {stage:?} when event {} came: {:?}", event.seq, event.kind)
        });
        stage = next.unwrap_or(stage);
    }
}

/// The attempt that can do nothing but wait does nothing any more; and no later one does, as long as the pause lasts.
fn nobody_is_at_work(case: &Case<'_>, pause: &Pause<'_>, findings: &mut Findings<'_>) {
    let (from, to) = (case.time_of(pause.began) + CLOCK_SLACK, case.end_of(pause));
    let until = if pause.was_continued() { to.saturating_sub(CLOCK_SLACK) } else { Micros::MAX };
    for note in case.notes.iter().filter(|note| note.at > from) {
        let is_left = note.attempt == pause.attempt || note.attempt > pause.attempt && note.at < until;
        findings.check(!is_left, Guarantee::Pauses, || {
            let late = (note.at - from) / 1000;
            format!("attempt {} did {:?} {late} ms after attempt {} was paused", note.attempt, note.what, pause.attempt)
        });
    }
}

/// What is not decided in time fails, where there is a time, and not before.
fn timeout(case: &Case<'_>, kind: Kind, pause: &Pause<'_>, findings: &mut Findings<'_>) {
    let Some(end) = pause.end.filter(|end| matches!(end.kind, RunEventKind::RunError { .. })) else { return };
    let waited = Duration::from_micros((case.time_of(end) + CLOCK_SLACK).saturating_sub(case.time_of(pause.began)));
    findings.check(kind.pause_timeout().is_some_and(|timeout| waited >= timeout), Guarantee::Pauses, || {
        format!("was given up after {waited:?}, of {:?}", kind.pause_timeout())
    });
}

/// Each question that was decided has the answer of somebody who might decide, and who was not told otherwise.
fn decisions(case: &Case<'_>, stored: &StoredRun, pauses: &[Pause<'_>], findings: &mut Findings<'_>) {
    for (question, pause) in (0..).zip(pauses) {
        let answer = answer_to(stored, question);
        findings.check(answer.is_some() == pause.was_continued(), Guarantee::Pauses, || {
            format!("question {question} has the answer {answer:?}, and its pause was ended by {:?}", pause.end)
        });
        let Some(answer) = answer else { continue };
        let might = |call: &&Call| {
            asked(call).is_some_and(|asked| {
                let is_it = (Some(asked.need), u64::from(asked.answer)) == (pause.need, answer);
                is_it && may_decide(asked, stored) && !was_refused(call)
            })
        };
        findings.check(case.calls.iter().any(might), Guarantee::Pauses, || {
            format!("question {question} has the answer {answer}, which nobody gave who was not refused")
        });
    }
}

/// Questions are every other step.
fn answer_to(stored: &StoredRun, question: u32) -> Option<u64> {
    let step = stored.steps.iter().find(|step| step.position == 2 * question + 1)?;
    step.result.as_u64()
}

fn asked(call: &Call) -> Option<&Continue> {
    match &call.ask {
        Ask::Continue(asked) => Some(asked),
        _ => None,
    }
}

fn may_decide(asked: &Continue, stored: &StoredRun) -> bool {
    asked.user.as_ref().is_none_or(|user| *user == stored.user)
}

/// The answer says that this decision was not heard.
fn was_refused(call: &Call) -> bool {
    matches!(
        call.answer,
        Some(Answer::NotPaused(_) | Answer::Unfit | Answer::Missing | Answer::Refused { nothing_stored: true, .. })
    )
}

/// What was answered is true.
fn answers(case: &Case<'_>, stored: &StoredRun, pauses: &[Pause<'_>], call: &Call, findings: &mut Findings<'_>) {
    let lasts_into = |pause: &Pause<'_>| case.has_ended_by(pause).saturating_add(CLOCK_SLACK) >= call.began;
    if let Some(Answer::Paused { needs }) = &call.answer {
        let is_it = |pause: &Pause<'_>| {
            let has_begun = case.time_of(pause.began) <= call.ended + CLOCK_SLACK;
            has_begun && lasts_into(pause) && pause.need.as_slice() == needs.as_slice()
        };
        findings.check(pauses.iter().any(is_it), Guarantee::Pauses, || {
            format!("was seen to wait for {needs:?}, and did not then")
        });
    }
    let Some(asked) = asked(call).filter(|asked| may_decide(asked, stored)) else { return };
    let decided = (0..).zip(pauses).find(|(_, pause)| pause.need == Some(asked.need));
    match call.answer {
        Some(Answer::Continued) => {
            let heard = decided.is_some_and(|(question, pause)| {
                let in_time = lasts_into(pause) && case.end_of(pause) <= call.ended + CLOCK_SLACK;
                pause.was_continued() && in_time && answer_to(stored, question) == Some(u64::from(asked.answer))
            });
            findings.check(heard, Guarantee::Pauses, || {
                format!("was acknowledged as continued with {}, and did not go on with that then", asked.answer)
            });
        }
        Some(Answer::NotPaused(_) | Answer::Unfit | Answer::Missing) => {
            let seen = case.calls.iter().any(|other| other.ended <= call.began && has_seen(other, asked.need));
            let lasts = decided.is_some_and(|(_, pause)| case.end_of(pause) > call.ended + CLOCK_SLACK);
            let says_paused = call.answer == Some(Answer::NotPaused(RunStatus::Paused));
            findings.check(!(seen && lasts || says_paused), Guarantee::Pauses, || {
                format!("waited for somebody to decide, and {} was refused: {:?}", asked.answer, call.answer)
            });
        }
        _ => {}
    }
}

fn has_seen(call: &Call, need: StepKey) -> bool {
    matches!(&call.answer, Some(Answer::Paused { needs }) if needs.contains(&need))
}
