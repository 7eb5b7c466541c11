//! Finished steps: written with their advance, and read back by a later attempt.

use super::samples::*;
use crate::run::RunStatus::{Completed, Running};
use crate::run::{RunId, StepRecord};
use crate::store::RunStore;
use crate::store::protocol::{Advance, Change, Refusal};

fn finished(position: u32, first_attempt: u32, result: &str) -> StepRecord {
    StepRecord { position, first_attempt, name: format!("step {position}"), result: result.to_owned() }
}

async fn steps(store: &dyn RunStore, run_id: RunId) -> Vec<StepRecord> {
    store.steps(run_id).await.unwrap()
}

pub(super) async fn finished_steps_are_read_back_in_order(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, owned()).await;
    let other = Attempt::start(store, owned()).await;
    let all: Vec<_> = (0..12).map(|position| finished(position, 1, "{\"n\": 1}")).collect();
    assert_eq!(steps(store, attempt.run_id).await, []);

    let said = Advance { steps: vec![all[11].clone(), all[2].clone()], ..attempt.next(Change::Append) };
    advance(store, &said).await.unwrap();
    attempt.next_seq += 1;
    let rest = all.iter().filter(|step| ![2, 11].contains(&step.position)).cloned().collect();
    let unsaid = Advance { events: Vec::new(), steps: rest, ..attempt.next(Change::Append) };
    advance(store, &unsaid).await.unwrap();
    advance(store, &Advance { steps: vec![finished(0, 1, "0")], ..other.next(Change::Append) }).await.unwrap();

    assert_eq!(steps(store, attempt.run_id).await, all);
    assert_eq!(steps(store, other.run_id).await, [finished(0, 1, "0")]);
    assert_eq!(steps(store, RunId::new()).await, []);
    assert_eq!(facts(store, attempt.run_id).await.next_seq, 2);
    // They stay for as long as the run.
    attempt.write(settle(Completed)).await;
    assert_eq!(steps(store, attempt.run_id).await, all);
}

pub(super) async fn the_same_steps_again_change_nothing(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, owned()).await;
    for (position, change) in [Change::Append, Change::HandBack].into_iter().enumerate() {
        let position = u32::try_from(position).unwrap();
        let with_steps =
            |events| Advance { events, steps: vec![finished(position, 1, "true")], ..attempt.next(change.clone()) };
        for events in [Vec::new(), attempt.next(change.clone()).events] {
            if events.is_empty() && matches!(change, Change::HandBack) {
                continue;
            }
            let step = with_steps(events);
            advance(store, &step).await.unwrap();
            let before = (facts(store, attempt.run_id).await, steps(store, attempt.run_id).await);
            assert_eq!(before.1.len(), position as usize + 1);
            assert_eq!(advance(store, &step).await, Ok(()), "{step:?}");
            assert_eq!((facts(store, attempt.run_id).await, steps(store, attempt.run_id).await), before, "{step:?}");
        }
        attempt.next_seq += 1;
    }
}

pub(super) async fn a_write_that_is_refused_remembers_no_step(store: &dyn RunStore) {
    let mut first = Attempt::start(store, owned()).await;
    let refused = async |writer: &Attempt<'_>, change, refusal| {
        let said = Advance { steps: vec![finished(0, 1, "\"refused\"")], ..writer.next(change) };
        for step in [Advance { events: Vec::new(), ..said.clone() }, said] {
            assert_eq!(advance(store, &step).await, Err(refusal), "{step:?}");
        }
        assert_eq!(steps(store, writer.run_id).await, []);
    };
    refused(&Attempt { next_seq: 7, ..first }, Change::Append, Refusal::OutOfStep).await;
    refused(&Attempt { attempt: 2, ..first }, Change::Append, Refusal::Fenced).await;

    first.write(Change::HandBack).await;
    refused(&first, Change::Append, Refusal::Fenced).await;
    let mut second = Attempt::claimed(store, first.run_id).await;
    refused(&second, Change::Append, Refusal::OutOfStep).await;
    second.write(Change::Start).await;
    first.next_seq = second.next_seq;
    refused(&first, Change::Append, Refusal::Fenced).await;
    refused(&first, Change::HandBack, Refusal::Fenced).await;
    assert_eq!(facts(store, first.run_id).await.status, Running);

    second.write(settle(Completed)).await;
    refused(&second, Change::Append, Refusal::Settled(Completed)).await;
}

pub(super) async fn only_steps_that_began_together_are_read_back(store: &dyn RunStore) {
    let mut first = Attempt::start(store, owned()).await;
    let old = (0..4).map(|position| finished(position, 1, "\"old\"")).collect();
    advance(store, &Advance { steps: old, ..first.next(Change::Append) }).await.unwrap();
    first.next_seq += 1;
    first.write(Change::HandBack).await;
    let mut second = Attempt::claimed(store, first.run_id).await;
    second.write(Change::Start).await;
    assert_eq!(steps(store, first.run_id).await.len(), 4, "a beginning alone forgets nothing");

    let new = vec![finished(2, 2, "\"new\""), finished(0, 2, "\"new\"")];
    advance(store, &Advance { steps: new, ..second.next(Change::Append) }).await.unwrap();

    assert_eq!(steps(store, first.run_id).await, [finished(0, 2, "\"new\""), finished(2, 2, "\"new\"")]);
}

pub(super) async fn any_result_survives_as_it_was(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, owned()).await;
    let large = format!("\"{}\"", "x".repeat(1024 * 1024));
    let results = [
        "null",
        "\"a\\u0000b \\\\u0000 ü 🦀 \\\" it's\"",
        "18446744073709551615",
        "0.1",
        "1e300",
        "{\"b\":1,\"a\":2,\"a\":[]}",
        "  [ 1,\t2 ]",
        &large,
    ];
    let all: Vec<_> = (0..).zip(results).map(|(position, result)| finished(position, 1, result)).collect();
    advance(store, &Advance { steps: all.clone(), ..attempt.next(Change::Append) }).await.unwrap();
    assert!(steps(store, attempt.run_id).await == all, "a result is not the same");
    attempt.next_seq += 1;
    let named = |name: &str| StepRecord { name: name.to_owned(), ..finished(0, 1, "1") };
    for name in ["it's \"a\" \\ step", "ü🦀", &"x".repeat(255)] {
        let again = Advance { steps: vec![named(name)], ..attempt.next(Change::Append) };
        advance(store, &again).await.unwrap();
        attempt.next_seq += 1;
        assert_eq!(steps(store, attempt.run_id).await[0], named(name));
    }
}
