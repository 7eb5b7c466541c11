//! One run for each idempotency key of an agent and a user.

use std::sync::Arc;

use super::samples::*;
use crate::run::{Run, RunId, RunStatus};
use crate::store::RunStore;
use crate::store::protocol::{InsertRun, Inserted, Write, Written};

/// A run that is submitted with this key, asks for what `asked` says, and has an id of its own.
fn keyed(key: &str, asked: u8) -> InsertRun {
    let insert = with(owned(), |run| run.idempotency_key = Some(key.to_owned()));
    InsertRun { fingerprint: [asked; 32], ..insert }
}

fn given(insert: InsertRun) -> InsertRun {
    InsertRun { id_is_given: true, ..insert }
}

fn existing(inserted: Inserted) -> Run {
    let Inserted::Existing { run, .. } = inserted else { panic!("a known run was answered by {inserted:?}") };
    Arc::unwrap_or_clone(run)
}

pub(super) async fn the_same_run_with_the_same_key_is_the_one_that_is_there(store: &dyn RunStore) {
    let first = keyed("k", 1);
    let run = submit(store, &first).await;
    assert_eq!(run.idempotency_key.as_deref(), Some("k"));

    for _ in 0..2 {
        let again = existing(insert(store, &keyed("k", 1)).await);
        assert_eq!(again, get(store, id(&first)).await);
    }
    let mut attempt = Attempt { store, run_id: id(&first), attempt: 1, next_seq: 0 };
    attempt.write(crate::store::protocol::Change::Start).await;
    attempt.write(settle(RunStatus::Completed)).await;
    let late = existing(insert(store, &keyed("k", 1)).await);
    assert_eq!((late.output.run_id, late.output.status), (id(&first), RunStatus::Completed));
    assert_eq!(store.list(crate::store::RunQuery::new()).await.unwrap().len(), 1);
}

pub(super) async fn another_run_with_the_same_key_is_a_conflict_that_names_the_run(store: &dyn RunStore) {
    let first = keyed("k", 1);
    submit(store, &first).await;
    let conflict = |inserted: Inserted| {
        let Inserted::KeyConflict(run_id) = inserted else { panic!("{inserted:?}") };
        run_id
    };
    assert_eq!(conflict(insert(store, &keyed("k", 2)).await), id(&first));
    assert_eq!(conflict(insert(store, &given(keyed("k", 1))).await), id(&first), "it is to have another id");
    let same_id = given(with(keyed("k", 1), |run| run.output.run_id = id(&first)));
    assert_eq!(existing(insert(store, &same_id).await).output.run_id, id(&first));
    let other_key = with(keyed("l", 2), |run| run.output.run_id = id(&first));
    assert!(matches!(insert(store, &other_key).await, Inserted::Conflict), "the id is taken");
    assert_eq!(store.list(crate::store::RunQuery::new()).await.unwrap().len(), 1);
}

pub(super) async fn a_key_is_that_of_an_agent_and_a_user(store: &dyn RunStore) {
    let of = |agent: &str, user: Option<&str>| {
        with(keyed("k", 1), |run| {
            run.output.agent = agent.to_owned();
            run.output.user_id = user.map(Into::into);
        })
    };
    let scopes = [("a", None), ("a", Some("ada")), ("a", Some("bob")), ("b", None), ("b", Some("ada"))];
    let mut runs = Vec::new();
    for (agent, user) in scopes {
        runs.push(submit(store, &of(agent, user)).await.output.run_id);
    }
    for ((agent, user), run_id) in scopes.into_iter().zip(runs) {
        assert_eq!(existing(insert(store, &of(agent, user)).await).output.run_id, run_id);
        assert!(store.knows(&of(agent, user).run).await.unwrap());
    }
    assert!(!store.knows(&of("c", Some("ada")).run).await.unwrap());
    assert!(!store.knows(&unowned().run).await.unwrap());
    let of_its_own = unowned();
    submit(store, &of_its_own).await;
    assert!(store.knows(&of_its_own.run).await.unwrap());
}

pub(super) async fn one_key_in_one_batch_is_one_run(store: &dyn RunStore) {
    let runs: Vec<InsertRun> = (0..30).map(|place| keyed(["k", "l", "m"][place % 3], 1)).collect();
    let other = keyed("k", 2);
    let batch = runs.iter().chain([&other]).map(|run| Write::Insert(Box::new(run.clone())));
    let written = write_all(store, batch.collect::<Vec<_>>()).await;

    let winner_of = |written: &Written| -> Option<RunId> {
        if let Written::Insert(Inserted::New { run, .. } | Inserted::Existing { run, .. }) = written {
            return Some(run.output.run_id);
        }
        assert!(matches!(written, Written::Insert(Inserted::KeyConflict(_))), "{written:?}");
        None
    };
    let winners: Vec<Option<RunId>> = written.iter().map(winner_of).collect();
    let new = written.iter().filter(|one| matches!(one, Written::Insert(Inserted::New { .. }))).count();
    assert_eq!(new, 3);
    // Whichever of the two that ask for different things was first, the others of its key are told of it.
    for key in 0..3 {
        let of_key: std::collections::BTreeSet<_> = winners[..30].iter().skip(key).step_by(3).collect();
        assert_eq!(of_key.len(), 1, "{written:?}");
    }
    assert_eq!(store.list(crate::store::RunQuery::new()).await.unwrap().len(), 3);
}
