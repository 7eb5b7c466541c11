//! Many writes at once.

use super::samples::*;
use crate::run::RunId;
use crate::run::RunStatus::{Cancelled, Completed, Error, Pending, Running};
use crate::store::protocol::{CancelWritten, Change, InsertRun, Inserted, Refusal, Write, Written};
use crate::store::{RunStore, StoreError};

pub(super) async fn an_empty_batch_does_nothing(store: &dyn RunStore) {
    assert!(write_all(store, []).await.is_empty());
}

fn advancing(run_id: RunId, first_seq: u64, change: Change) -> Write {
    Write::Advance(Box::new(step(run_id, 1, first_seq, change)))
}

fn inserting(run: &InsertRun) -> Write {
    Write::Insert(Box::new(run.clone()))
}

/// What became of a write, in a word that a table can hold.
fn word(written: &Written) -> String {
    match written {
        Written::Insert(Inserted::New { run, .. }) => format!("new in attempt {}", run.attempt),
        Written::Insert(Inserted::Existing { run, .. }) => format!("existing {}", run.output.status),
        Written::Insert(
            Inserted::Conflict
            | Inserted::KeyConflict(_)
            | Inserted::SessionBusy(_)
            | Inserted::NotFailed(..)
            | Inserted::ParentOver,
        ) => "conflict".to_owned(),
        Written::Advance(outcome) => format!("{outcome:?}"),
        Written::Cancel(CancelWritten::Requested(_)) => "requested".to_owned(),
        Written::Cancel(outcome) => format!("{outcome:?}"),
        Written::Continue(outcome) => format!("{outcome:?}"),
    }
}

/// Twenty writes of all kinds, each on a run of its own: the write, and what becomes of it at first and when repeated.
async fn mixed(store: &dyn RunStore) -> Vec<(Write, &'static str, &'static str)> {
    let taken_up: Vec<RunId> = many(store, owned, &[]).await;
    let running: Vec<RunId> = many(store, owned, &[Change::Start]).await;
    let done: Vec<RunId> = many(store, owned, &[Change::Start, settle(Completed)]).await;
    let waiting: Vec<RunId> = many(store, unowned, &[]).await;
    let same = with(owned(), |_| {});
    submit(store, &same).await;
    let conflict = InsertRun { fingerprint: [1; 32], ..with(owned(), |run| run.output.run_id = waiting[0]) };
    vec![
        (inserting(&unowned()), "new in attempt 0", "existing PENDING"),
        (advancing(taken_up[0], 0, Change::Start), "Ok(())", "Ok(())"),
        (inserting(&same), "existing PENDING", "existing PENDING"),
        (advancing(running[0], 1, Change::Append), "Ok(())", "Ok(())"),
        (Write::Cancel(waiting[1].into()), "Cancelled", "Settled(Cancelled)"),
        (advancing(running[1], 1, settle(Completed)), "Ok(())", "Ok(())"),
        (advancing(RunId::new(), 0, Change::Start), "Err(Missing)", "Err(Missing)"),
        (advancing(running[2], 1, Change::HandBack), "Ok(())", "Ok(())"),
        (inserting(&conflict), "conflict", "conflict"),
        (advancing(done[0], 2, Change::Append), "Err(Settled(Completed))", "Err(Settled(Completed))"),
        (Write::Cancel(done[1].into()), "Settled(Completed)", "Settled(Completed)"),
        (advancing(waiting[2], 0, Change::Append), "Err(Fenced)", "Err(Fenced)"),
        (advancing(running[3], 5, settle(Error)), "Err(OutOfStep)", "Err(OutOfStep)"),
        (advancing(taken_up[1], 0, settle(Cancelled)), "Ok(())", "Ok(())"),
        (Write::Cancel(running[4].into()), "requested", "requested"),
        (inserting(&owned()), "new in attempt 1", "existing PENDING"),
        (advancing(taken_up[2], 0, Change::HandBack), "Ok(())", "Ok(())"),
        (advancing(taken_up[3], 0, settle(Error)), "Ok(())", "Ok(())"),
        (advancing(taken_up[4], 0, settle(Completed)), "Err(OutOfStep)", "Err(OutOfStep)"),
        (advancing(done[2], 1, settle(Completed)), "Ok(())", "Ok(())"),
    ]
}

/// Five runs that have gone through `life`.
async fn many(store: &dyn RunStore, sample: fn() -> InsertRun, life: &[Change]) -> Vec<RunId> {
    let runs: Vec<_> = (0..5).map(|_| sample()).collect();
    write_all(store, runs.iter().map(inserting).collect::<Vec<_>>()).await;
    for (seq, change) in life.iter().enumerate() {
        let step = |run| advancing(id(run), seq as u64, change.clone());
        write_all(store, runs.iter().map(step).collect::<Vec<_>>()).await;
    }
    runs.iter().map(id).collect()
}

pub(super) async fn five_hundred_writes_are_each_answered(store: &dyn RunStore) {
    let mut all = Vec::new();
    for _ in 0..25 {
        all.extend(mixed(store).await);
    }
    let batch: Vec<Write> = all.iter().map(|(write, ..)| write.clone()).collect();
    let written = write_all(store, batch).await;
    assert_eq!(written.len(), 500);
    for ((write, expected, _), written) in all.iter().zip(&written) {
        assert_eq!(word(written), *expected, "{write:?}");
        if let Written::Insert(Inserted::New { run, .. } | Inserted::Existing { run, .. }) = written {
            assert_eq!(run.output.run_id, write.run_id());
        }
    }
}

pub(super) async fn the_same_batch_again_gets_the_same_answers(store: &dyn RunStore) {
    let all = mixed(store).await;
    let batch: Vec<Write> = all.iter().map(|(write, ..)| write.clone()).collect();
    write_all(store, batch.clone()).await;
    let mut before = Vec::new();
    for write in &batch {
        before.push((store.get(write.run_id()).await.unwrap(), events(store, write.run_id()).await));
    }
    for _ in 0..2 {
        let again = write_all(store, batch.clone()).await;
        for ((write, _, expected), written) in all.iter().zip(&again) {
            assert_eq!(word(written), *expected, "{write:?}");
        }
    }
    for (write, before) in batch.iter().zip(before) {
        let after = (store.get(write.run_id()).await.unwrap(), events(store, write.run_id()).await);
        assert_eq!(after, before, "{write:?}");
    }
}

pub(super) async fn one_impossible_write_keeps_all_others_out(store: &dyn RunStore) {
    let new = owned();
    let running = many(store, owned, &[Change::Start]).await;
    let waiting = many(store, unowned, &[]).await;
    let impossible = with(owned(), |run| run.max_attempts = u32::MAX);
    let possible = [inserting(&new), advancing(running[0], 1, settle(Completed)), Write::Cancel(waiting[0].into())];
    for place in 0..=possible.len() {
        let mut batch = possible.to_vec();
        batch.insert(place, inserting(&impossible));
        let error = store.write(0, batch.into()).await.unwrap_err();
        assert!(matches!(error, StoreError::Data(_)) && !error.is_retryable(), "{error:?}");
        assert!(store.get(id(&new)).await.unwrap().is_none());
        assert!(store.get(id(&impossible)).await.unwrap().is_none());
        assert_eq!(get(store, running[0]).await.output.status, Running);
        assert_eq!(get(store, waiting[0]).await.output.status, Pending);
        assert_eq!(events(store, running[0]).await.len(), 1);
    }
    let words: Vec<_> = write_all(store, possible).await.iter().map(word).collect();
    assert_eq!(words, ["new in attempt 1", "Ok(())", "Cancelled"]);
    let gone = advance(store, &step(waiting[0], 0, 1, Change::Start)).await;
    assert_eq!(gone, Err(Refusal::Settled(Cancelled)));
}
