//! Runs that have parents: who may have children, and what a cancel of a parent leaves to be done.

use std::collections::BTreeSet;
use std::time::Duration;

use super::samples::*;
use crate::run::RunId;
use crate::run::RunStatus::{Cancelled, Completed, Error, Running};
use crate::store::protocol::{
    CancelWritten, Change, InsertRun, Inserted, Refusal, Takeover, Write, Written, take_over,
};
use crate::store::{History, RunQuery, RunStore};

fn taken_up(child: InsertRun) -> InsertRun {
    InsertRun { node: owned().node, ..child }
}

async fn uncancelled(store: &dyn RunStore, parents: Option<Vec<RunId>>) -> BTreeSet<RunId> {
    store.uncancelled_children(parents, 100).await.unwrap().into_iter().collect()
}

pub(super) async fn a_child_is_stored_with_its_parent_and_listed_by_it(store: &dyn RunStore) {
    let parent = Attempt::start(store, owned()).await;
    let (one, two) = (child_of(&parent), child_of(&parent));
    let stored = submit(store, &one).await;
    submit(store, &two).await;
    submit(store, &unowned()).await;

    assert_eq!((stored.output.parent_run_id, stored.depth), (Some(parent.run_id), 1));
    let read = get(store, id(&one)).await;
    assert_eq!((read.output.parent_run_id, read.depth), (Some(parent.run_id), 1));
    let children = store.list(RunQuery::new().parent_run_id(parent.run_id)).await.unwrap();
    assert_eq!(ids(&children), [id(&two), id(&one)]);
    assert!(store.list(RunQuery::new().parent_run_id(id(&one))).await.unwrap().is_empty());
    assert_eq!(get(store, parent.run_id).await.output.parent_run_id, None);
}

pub(super) async fn only_the_attempt_that_is_at_work_has_children(store: &dyn RunStore) {
    // Nobody is there, or it has not begun, or it is over.
    let nobody = Attempt { store, run_id: RunId::new(), attempt: 1, next_seq: 0 };
    assert!(matches!(insert(store, &child_of(&nobody)).await, Inserted::ParentOver));
    let mut parent = Attempt::submit(store, owned()).await;
    assert!(matches!(insert(store, &child_of(&parent)).await, Inserted::ParentOver));
    parent.write(Change::Start).await;
    let early = child_of(&parent);
    submit(store, &early).await;

    parent.write(Change::HandBack).await;
    assert!(matches!(insert(store, &child_of(&parent)).await, Inserted::ParentOver));
    let mut next = Attempt::claimed(store, parent.run_id).await;
    next.write(Change::Start).await;
    assert!(matches!(insert(store, &child_of(&parent)).await, Inserted::ParentOver));
    submit(store, &child_of(&next)).await;
    // What was submitted in time is found again, by whichever attempt, and whatever has become of the parent.
    next.write(settle(Completed)).await;
    for attempt in [parent.attempt, next.attempt] {
        let again = InsertRun { parent_attempt: Some(attempt), ..early.clone() };
        assert!(matches!(insert(store, &again).await, Inserted::Existing { .. }));
    }
    assert!(matches!(insert(store, &child_of(&next)).await, Inserted::ParentOver));
}

pub(super) async fn children_of_a_cancelled_run_are_found_until_somebody_has_asked(store: &dyn RunStore) {
    let mut parent = Attempt::start(store, owned()).await;
    let mut other = Attempt::start(store, owned()).await;
    let waiting = id(&child_of(&parent));
    submit(store, &with(child_of(&parent), |run| run.output.run_id = waiting)).await;
    let live = taken_up(child_of(&parent));
    let (node, running) = (live.node.unwrap(), Attempt::start(store, live).await.run_id);
    settled(store, taken_up(child_of(&parent)), Completed).await;
    let of_other = taken_up(child_of(&other));
    let of_other = Attempt::start(store, of_other).await.run_id;
    assert_eq!(uncancelled(store, None).await, BTreeSet::new());

    parent.write(settle(Cancelled)).await;
    let left = BTreeSet::from([waiting, running]);
    assert_eq!(uncancelled(store, None).await, left);
    assert_eq!(uncancelled(store, Some(vec![other.run_id, parent.run_id])).await, left);
    assert_eq!(uncancelled(store, Some(vec![other.run_id])).await, BTreeSet::new());
    assert_eq!(store.uncancelled_children(None, 1).await.unwrap().len(), 1);

    assert_eq!(cancel(store, waiting).await, CancelWritten::Cancelled);
    assert_eq!(uncancelled(store, None).await, BTreeSet::from([running]));
    assert_eq!(cancel(store, running).await, CancelWritten::Requested(node));
    assert_eq!(uncancelled(store, Some(vec![parent.run_id])).await, BTreeSet::new());
    assert_eq!(store.cancel_requests(node).await.unwrap(), [running]);
    // Other ends of a parent leave its children alone.
    other.write(settle(Error)).await;
    assert_eq!(uncancelled(store, None).await, BTreeSet::new());
    assert!(!facts(store, of_other).await.cancel_wanted);
}

pub(super) async fn a_child_of_a_cancelled_run_is_never_started(store: &dyn RunStore) {
    let mut parent = Attempt::start(store, owned()).await;
    let mut child = Attempt::submit(store, taken_up(child_of(&parent))).await;
    let mut tried = Attempt::start(store, taken_up(child_of(&parent))).await;
    let mut asks = Attempt::start(store, taken_up(child_of(&parent))).await;
    assert!(!facts(store, child.run_id).await.cancel_wanted);
    parent.write(settle(Cancelled)).await;

    // Though nobody has told it yet.
    assert!(facts(store, child.run_id).await.cancel_wanted);
    assert_eq!(child.try_write(Change::Start).await, Err(Refusal::CancelWanted));
    assert_eq!(tried.try_write(Change::Retry { after: Duration::ZERO }).await, Err(Refusal::CancelWanted));
    assert_eq!(asks.try_write(pause(None)).await, Err(Refusal::CancelWanted));
    let row = facts(store, tried.run_id).await;
    assert_eq!((row.status, take_over(&row, crate::run::CrashPolicy::Resume)), (Running, Takeover::Cancel));
    // What it comes to in spite of that, it comes to.
    tried.write(settle(Completed)).await;
}

pub(super) async fn a_cancel_is_handed_down_one_after_the_other(store: &dyn RunStore) {
    let mut parent = Attempt::start(store, owned()).await;
    let mut child = Attempt::start(store, taken_up(child_of(&parent))).await;
    let grandchild = child_of(&child);
    submit(store, &grandchild).await;
    parent.write(settle(Cancelled)).await;
    assert_eq!(uncancelled(store, None).await, BTreeSet::from([child.run_id]));
    child.write(settle(Cancelled)).await;
    assert_eq!(uncancelled(store, None).await, BTreeSet::from([id(&grandchild)]));
    assert_eq!(cancel(store, id(&grandchild)).await, CancelWritten::Cancelled);
    assert_eq!(uncancelled(store, None).await, BTreeSet::new());
}

pub(super) async fn a_cancel_is_handed_down_past_runs_that_have_settled(store: &dyn RunStore) {
    let mut top = Attempt::start(store, owned()).await;
    let mut middle = Attempt::start(store, taken_up(child_of(&top))).await;
    let mut low = Attempt::start(store, taken_up(child_of(&middle))).await;
    let waiting = child_of(&middle);
    submit(store, &waiting).await;
    let lowest = taken_up(child_of(&low));
    let node = lowest.node.unwrap();
    let mut lowest = Attempt::submit(store, lowest).await;
    middle.write(settle(Completed)).await;
    low.write(settle(Error)).await;
    assert_eq!(uncancelled(store, None).await, BTreeSet::new());
    assert!(!facts(store, lowest.run_id).await.cancel_wanted);

    top.write(settle(Cancelled)).await;
    let left = BTreeSet::from([id(&waiting), lowest.run_id]);
    assert_eq!(uncancelled(store, None).await, left);
    assert_eq!(uncancelled(store, Some(vec![top.run_id])).await, left);
    assert_eq!(uncancelled(store, Some(vec![middle.run_id, low.run_id])).await, BTreeSet::new());
    assert_eq!(store.uncancelled_children(Some(vec![top.run_id]), 1).await.unwrap().len(), 1);
    assert!(facts(store, lowest.run_id).await.cancel_wanted);
    assert_eq!(lowest.try_write(Change::Start).await, Err(Refusal::CancelWanted));

    assert_eq!(cancel(store, id(&waiting)).await, CancelWritten::Cancelled);
    assert_eq!(cancel(store, lowest.run_id).await, CancelWritten::Requested(node));
    assert_eq!(uncancelled(store, None).await, BTreeSet::new());
    assert_eq!(uncancelled(store, Some(vec![top.run_id])).await, BTreeSet::new());
}

pub(super) async fn nothing_below_a_cancelled_run_is_started(store: &dyn RunStore) {
    let mut top = Attempt::start(store, owned()).await;
    let middle = Attempt::start(store, taken_up(child_of(&top))).await;
    let low = Attempt::start(store, taken_up(child_of(&middle))).await;
    let mut lowest = Attempt::submit(store, taken_up(child_of(&low))).await;
    top.write(settle(Cancelled)).await;
    // Though those in between are still at work.
    assert_eq!(lowest.try_write(Change::Start).await, Err(Refusal::CancelWanted));
}

pub(super) async fn children_are_no_part_of_the_history_of_a_session(store: &dyn RunStore) {
    let of_session = |insert: InsertRun| with(insert, |run| run.output.session_id = "s".into());
    let parent = Attempt::start(store, of_session(owned())).await;
    settled(store, taken_up(of_session(child_of(&parent))), Completed).await;
    let earlier = settled(store, of_session(owned()), Completed).await;
    let asks = submit(store, &of_session(unowned())).await.output;
    let history = History { before: asks.run_id, session_id: asks.session_id, user_id: None, limit: 10 };
    assert_eq!(store.history(history).await.unwrap().len(), 1, "that of {earlier} alone");
}

pub(super) async fn a_settled_child_is_kept_as_long_as_its_parent_lives(store: &dyn RunStore) {
    let mut parent = Attempt::start(store, owned()).await;
    let child = settled(store, taken_up(child_of(&parent)), Completed).await;
    let prune = async || {
        tokio::time::sleep(Duration::from_millis(2)).await;
        store.prune(Duration::from_millis(1), 10).await.unwrap()
    };
    assert_eq!(prune().await, 0);
    assert!(store.get(child).await.unwrap().is_some());
    parent.write(settle(Completed)).await;
    assert_eq!(prune().await, 2);
}

pub(super) async fn a_run_that_resumes_a_failed_one_takes_over_its_children(store: &dyn RunStore) {
    let mut failed = Attempt::start(store, owned()).await;
    let other = Attempt::start(store, owned()).await;
    let waiting = child_of(&failed);
    submit(store, &waiting).await;
    let mut live = Attempt::start(store, taken_up(child_of(&failed))).await;
    let done = settled(store, taken_up(child_of(&failed)), Completed).await;
    let of_other = Attempt::start(store, taken_up(child_of(&other))).await.run_id;
    failed.write(settle(Error)).await;
    let before = get(store, done).await;

    let heir = InsertRun { node: owned().node, ..heir_of(failed.run_id) };
    let mut second = Attempt::start(store, heir.clone()).await;
    let of_whom = async |run_id| get(store, run_id).await.output.parent_run_id;
    let children = [id(&waiting), live.run_id, done];
    for child in children {
        assert_eq!(of_whom(child).await, Some(second.run_id));
    }
    assert_eq!(of_whom(of_other).await, Some(other.run_id));
    let mut after = get(store, done).await;
    after.output.parent_run_id = Some(failed.run_id);
    assert_eq!(after, before, "nothing else of it has changed");
    assert_eq!(store.list(RunQuery::new().parent_run_id(second.run_id)).await.unwrap().len(), 3);
    assert!(store.list(RunQuery::new().parent_run_id(failed.run_id)).await.unwrap().is_empty());
    // Submitted again, by the same step, it is the one that is there.
    let again = InsertRun { parent_attempt: Some(second.attempt), ..waiting.clone() };
    let again = with(again, |run| run.output.parent_run_id = Some(second.run_id));
    assert!(matches!(insert(store, &again).await, Inserted::Existing { .. }));

    second.write(settle(Error)).await;
    // In one batch with what one of the children says.
    let third = InsertRun { node: owned().node, ..heir_of(second.run_id) };
    let said = live.next(Change::Append);
    live.next_seq = said.next_seq();
    let batch = [Write::Insert(Box::new(third.clone())), Write::Advance(Box::new(said))];
    let written = write_all(store, batch).await;
    let is_done = matches!(written[..], [Written::Insert(Inserted::New { .. }), Written::Advance(Ok(()))]);
    assert!(is_done, "{written:?}");
    let mut third = Attempt { store, run_id: id(&third), attempt: 1, next_seq: 0 };
    // Whoever resumes the first one again takes nothing away.
    assert!(matches!(insert(store, &heir).await, Inserted::Existing { .. }));
    for child in children {
        assert_eq!(of_whom(child).await, Some(third.run_id));
    }
    third.write(settle(Cancelled)).await;
    assert_eq!(uncancelled(store, Some(vec![third.run_id])).await, BTreeSet::from([id(&waiting), live.run_id]));
    assert!(facts(store, id(&waiting)).await.cancel_wanted && !facts(store, of_other).await.cancel_wanted);
    live.write(settle(Cancelled)).await;
}
