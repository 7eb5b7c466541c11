use serde_json::{Value, json};

use super::{MAX_RESULTS, MAX_STEPS, StepError, StepMemory};
use crate::run::{FailureKind, RunId, StepRecord};

fn fresh() -> StepMemory {
    StepMemory::new(1, Vec::new(), 100)
}

fn record(position: u32, name: &str, result: &str) -> StepRecord {
    StepRecord { position, first_attempt: 2, name: name.to_owned(), result: result.to_owned() }
}

/// What the third attempt has in mind when the second one began with nothing and finished these.
fn later(records: impl IntoIterator<Item = StepRecord>) -> StepMemory {
    StepMemory::new(3, records.into_iter().collect(), 100)
}

#[test]
fn steps_have_their_places_in_the_order_of_their_calls() {
    let memory = fresh();
    let called = ["a", "b", "a", "a"].map(|name| memory.call(name).unwrap());
    // In which order they end does not matter.
    let mut finished: Vec<_> = called.iter().rev().map(|step| memory.finish(step, &step.number).unwrap().0).collect();
    finished.reverse();
    let found: Vec<_> = finished.iter().map(|step| (step.position, &*step.name, &*step.result)).collect();
    assert_eq!(found, [(0, "a", "1"), (1, "b", "1"), (2, "a", "2"), (3, "a", "3")]);
    assert!(finished.iter().all(|step| step.first_attempt == 1));
}

#[test]
fn what_was_finished_is_recalled_and_what_was_not_keeps_its_place() {
    let memory = later([record(0, "a", "7"), record(2, "a", "\"x\"")]);
    let first = memory.call("a").unwrap();
    assert_eq!(memory.recall::<u32>(&first), Ok(Some(7)));
    let failed = memory.call("b").unwrap();
    assert_eq!(memory.recall::<u32>(&failed), Ok(None));
    let second = memory.call("a").unwrap();
    assert_eq!(memory.recall::<String>(&second), Ok(Some("x".to_owned())));
    let new = memory.call("c").unwrap();
    assert_eq!(memory.recall::<u32>(&new), Ok(None));
    // It goes on with what began in the second attempt.
    assert_eq!(memory.finish(&new, &0).unwrap().0, record(3, "c", "0"));
}

#[test]
fn keys_are_the_same_in_each_attempt() {
    let run_id = RunId::new();
    let keys = |memory: &StepMemory| ["a", "b", "a"].map(|name| memory.call(name).unwrap().key(run_id));
    assert_eq!(keys(&fresh()), keys(&later([record(0, "a", "1"), record(1, "b", "1")])));
}

#[test]
fn another_order_is_an_error_that_names_both_steps_and_stays() {
    let memory = later([record(0, "a", "1"), record(1, "b", "2")]);
    assert!(memory.call("a").is_ok());
    let error = memory.call("c").err().unwrap();
    assert_eq!(error.kind(), FailureKind::StepsChanged);
    let message = error.to_string();
    assert!(["position 1", "`b`", "`c`"].iter().all(|part| message.contains(part)), "{message}");
    // Nothing is done on an order that is not known any more.
    assert_eq!(memory.call("d").err(), Some(error.clone()));
    assert_eq!(memory.changed(), Some(error));
}

#[test]
fn a_result_of_another_form_is_an_error_that_names_the_step_and_not_the_result() {
    let memory = later([record(0, "a", "{\"key\": \"my secret\"}")]);
    let step = memory.call("a").unwrap();
    let error = memory.recall::<u32>(&step).unwrap_err();
    assert_eq!(error.kind(), FailureKind::StepsChanged);
    assert!(error.to_string().contains("`a`") && !error.to_string().contains("secret"), "{error}");
    assert_eq!(memory.changed(), Some(error));
}

#[test]
fn bounds_hold_by_name_by_number_and_by_size() {
    let memory = fresh();
    for name in ["", "a\0b", &"x".repeat(256)] {
        assert!(matches!(memory.call(name), Err(StepError::Name(_))), "{name}");
    }
    let step = memory.call("a").unwrap();
    assert_eq!(step.position, 0, "what has no name takes no place");
    assert!(memory.finish(&step, &"x".repeat(98)).is_ok());
    let size = memory.finish(&step, &"x".repeat(99));
    assert_eq!(size, Err(StepError::TooLarge { name: "a".to_owned(), size: 101, most: 100 }));
    for _ in 1..MAX_STEPS {
        memory.call("a").unwrap();
    }
    assert_eq!(memory.call("a").err(), Some(StepError::TooMany));
    assert_eq!(memory.changed(), None, "such code may go on without the step");
}

#[test]
fn the_results_of_all_attempts_together_have_a_bound() {
    let most = MAX_RESULTS;
    let memory = StepMemory::new(3, vec![record(0, "a", &"1".repeat(most - 10))], most);
    memory.call("a").unwrap();
    let step = memory.call("b").unwrap();
    assert_eq!(memory.finish(&step, &"x".repeat(9)), Err(StepError::TooMuch { name: "b".to_owned() }));
    assert!(memory.finish(&step, &"x".repeat(8)).is_ok());
}

#[test]
fn a_result_is_seen_as_it_will_be_seen_later_or_not_at_all() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Partly {
        kept: u64,
        #[serde(skip)]
        lost: u64,
    }
    let memory = fresh();
    let step = memory.call("a").unwrap();
    assert_eq!(memory.finish(&step, &Partly { kept: 1, lost: 2 }).unwrap().1, Partly { kept: 1, lost: 0 });
    // JSON has no such number.
    assert!(matches!(memory.finish(&step, &f64::NAN), Err(StepError::OneWay { .. })));
    let keys = std::collections::HashMap::from([((1, 2), 3)]);
    assert!(matches!(memory.finish(&step, &keys), Err(StepError::NotJson { .. })));
    for exact in [json!("a\0b"), json!(u64::MAX), json!(0.1), json!(null)] {
        let (record, seen) = memory.finish::<Value>(&step, &exact).unwrap();
        assert_eq!(seen, exact);
        let memory = later([record]);
        assert_eq!(memory.recall(&memory.call("a").unwrap()), Ok(Some(exact)));
    }
}
