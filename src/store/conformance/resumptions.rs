//! New runs that go on from the steps of failed ones.

use super::samples::*;
use crate::run::RunStatus::{Cancelled, Completed, Error, Paused, Pending, Running};
use crate::run::{RunId, RunStatus, StepRecord};
use crate::store::protocol::{Advance, Change, INHERITED, Inserted, Write, Written};
use crate::store::{NodeId, RunStore};

fn finished(position: u32, first_attempt: u32) -> StepRecord {
    StepRecord { position, first_attempt, name: format!("step {position}"), result: format!("[{first_attempt}]") }
}

async fn remember(attempt: &mut Attempt<'_>, steps: Vec<StepRecord>) {
    let said = Advance { steps, ..attempt.next(Change::Append) };
    advance(attempt.store, &said).await.unwrap();
    attempt.next_seq += 1;
}

pub(super) async fn a_run_that_resumes_a_failed_one_begins_with_its_steps(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, owned()).await;
    remember(&mut attempt, vec![finished(0, 1), finished(1, 1), finished(2, 1)]).await;
    // Those that began last are the ones that count.
    remember(&mut attempt, vec![finished(0, 2), finished(1, 2)]).await;
    // What was finished and not yet written comes with the end.
    let end = Advance { steps: vec![finished(4, 2)], ..attempt.next(settle(Error)) };
    advance(store, &end).await.unwrap();
    let failed = get(store, attempt.run_id).await;

    let heir = heir_of(attempt.run_id);
    let run = submit(store, &heir).await;
    let own = Attempt::start(store, owned()).await.run_id;

    assert_eq!((run.origin, run.output.status, run.attempt), (Some(attempt.run_id), Pending, 0));
    assert_eq!(get(store, id(&heir)).await, run);
    let inherited = [0, 1, 4].map(|position| StepRecord { first_attempt: INHERITED, ..finished(position, 2) });
    assert_eq!(store.steps(id(&heir)).await.unwrap(), inherited);
    assert_eq!(get(store, attempt.run_id).await, failed);
    assert_eq!(store.steps(attempt.run_id).await.unwrap(), [0, 1, 4].map(|position| finished(position, 2)));
    assert_eq!((get(store, own).await.origin, store.steps(own).await.unwrap()), (None, vec![]));

    let taken = claim(store, NodeId::new(), 10).await;
    assert_eq!((taken[0].run.origin, taken[0].was_continued), (Some(attempt.run_id), false));
    // It has them for itself, and they stay when the other one is forgotten.
    let mut again = Attempt { store, run_id: id(&heir), attempt: 1, next_seq: 0 };
    again.write(Change::Start).await;
    remember(&mut again, vec![StepRecord { first_attempt: INHERITED, ..finished(5, 2) }]).await;
    assert_eq!(store.prune(std::time::Duration::ZERO, 10).await.unwrap(), 1);
    assert_eq!(store.steps(id(&heir)).await.unwrap().len(), 4);
}

pub(super) async fn only_a_failed_run_is_resumed(store: &dyn RunStore) {
    let waiting = unowned();
    submit(store, &waiting).await;
    let running = Attempt::start(store, owned()).await.run_id;
    let mut pausing = Attempt::start(store, owned()).await;
    pausing.write(pause(None)).await;
    let completed = settled(store, owned(), Completed).await;
    let cancelled = settled(store, owned(), Cancelled).await;
    let cases: [(RunId, Option<RunStatus>); 6] = [
        (id(&waiting), Some(Pending)),
        (running, Some(Running)),
        (pausing.run_id, Some(Paused)),
        (completed, Some(Completed)),
        (cancelled, Some(Cancelled)),
        (RunId::new(), None),
    ];
    for (run_id, status) in cases {
        let heir = heir_of(run_id);
        let inserted = insert(store, &heir).await;
        assert!(matches!(inserted, Inserted::NotFailed(of, found) if (of, found) == (run_id, status)), "{inserted:?}");
        assert!(store.get(id(&heir)).await.unwrap().is_none());
    }
    // In one batch with others, each is answered for itself.
    let failed = settled(store, owned(), Error).await;
    let writes = [heir_of(completed), unowned(), heir_of(failed), heir_of(RunId::new())];
    let writes: Vec<Write> = writes.into_iter().map(|insert| Write::Insert(Box::new(insert))).collect();
    let written = write_all(store, writes).await;
    let is_new = |written: &Written| matches!(written, Written::Insert(Inserted::New { .. }));
    assert_eq!(written.iter().map(is_new).collect::<Vec<_>>(), [false, true, true, false], "{written:?}");
}

pub(super) async fn a_failed_run_that_is_resumed_again_is_resumed_by_the_same_run(store: &dyn RunStore) {
    let failed = settled(store, owned(), Error).await;
    let heir = heir_of(failed);
    submit(store, &heir).await;
    let again = insert(store, &heir).await;
    assert!(matches!(&again, Inserted::Existing { run, .. } if run.output.run_id == id(&heir)), "{again:?}");
    // Whatever has become of both.
    assert_eq!(cancel(store, id(&heir)).await, crate::store::protocol::CancelWritten::Cancelled);
    let again = insert(store, &heir).await;
    assert!(matches!(&again, Inserted::Existing { run, .. } if run.output.status == Cancelled), "{again:?}");
}
