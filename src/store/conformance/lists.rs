//! Lists of runs, and their pages.

use chrono::{DateTime, Duration, Utc};

use super::samples::*;
use crate::run::RunStatus::{Cancelled, Completed, Error, Pending, Running};
use crate::run::{Run, RunId, RunStatus};
use crate::store::protocol::Write;
use crate::store::{Page, RunQuery, RunStore};

async fn listed(store: &dyn RunStore, query: RunQuery) -> Vec<RunId> {
    ids(&store.list(query).await.unwrap())
}

/// Everything that `query` finds, page by page, newest first.
async fn paged(store: &dyn RunStore, query: &RunQuery) -> Vec<Run> {
    let mut all = Vec::new();
    let mut query = query.clone();
    loop {
        let found = store.list(query.clone()).await.unwrap();
        assert!(found.len() <= query.page_size() + 1);
        let page = Page::cut(found, query.page_size());
        all.extend(page.runs);
        let Some(next) = page.next else { return all };
        assert_ne!(query.after, Some(next), "the page after a place begins at that place");
        query = query.after(next.to_string().parse().unwrap());
    }
}

async fn submitted(store: &dyn RunStore, session: &str, agent: &str, user: Option<&str>, to: RunStatus) -> RunId {
    let asked = with(owned(), |run| {
        run.output.session_id = session.into();
        run.output.agent = agent.to_owned();
        run.output.user_id = user.map(Into::into);
    });
    match to {
        Pending => Attempt::submit(store, asked).await.run_id,
        Running => Attempt::start(store, asked).await.run_id,
        Completed | Cancelled | Error | RunStatus::Paused => settled(store, asked, to).await,
    }
}

pub(super) async fn each_condition_leaves_out_what_does_not_meet_it(store: &dyn RunStore) {
    let a = submitted(store, "s1", "one", Some("ada"), Pending).await;
    let b = submitted(store, "s1", "two", Some("bob"), Running).await;
    let c = submitted(store, "s2", "one", None, Completed).await;
    let d = submitted(store, "S1", "one", Some("Ada"), Cancelled).await;
    let e = submitted(store, "s2", "two", Some("ada"), Error).await;
    let all = RunQuery::new();
    assert_eq!(listed(store, all.clone()).await, [e, d, c, b, a]);
    assert_eq!(listed(store, all.clone().session_id("s1")).await, [b, a]);
    assert_eq!(listed(store, all.clone().session_id("s")).await, []);
    assert_eq!(listed(store, all.clone().user_id("ada")).await, [e, a]);
    assert_eq!(listed(store, all.clone().agent("one")).await, [d, c, a]);
    for (status, run_id) in [(Pending, a), (Running, b), (Completed, c), (Cancelled, d), (Error, e)] {
        assert_eq!(listed(store, all.clone().status(status)).await, [run_id], "{status}");
    }
    assert_eq!(listed(store, all.status(RunStatus::Paused)).await, []);
}

pub(super) async fn conditions_hold_together(store: &dyn RunStore) {
    let wanted = submitted(store, "s", "one", Some("ada"), Completed).await;
    submitted(store, "t", "one", Some("ada"), Completed).await;
    submitted(store, "s", "two", Some("ada"), Completed).await;
    submitted(store, "s", "one", Some("bob"), Completed).await;
    submitted(store, "s", "one", None, Completed).await;
    submitted(store, "s", "one", Some("ada"), Running).await;
    let created_at = get(store, wanted).await.output.created_at;
    let query = RunQuery::new().session_id("s").agent("one").user_id("ada").status(Completed);
    assert_eq!(listed(store, query.clone()).await, [wanted]);

    let tick = Duration::microseconds(1);
    let between = |from: DateTime<Utc>, until| query.clone().created_from(from).created_until(until);
    assert_eq!(listed(store, between(created_at, created_at + tick)).await, [wanted]);
    assert_eq!(listed(store, between(created_at + tick, created_at + tick * 2)).await, []);
    assert_eq!(listed(store, between(created_at - tick, created_at)).await, []);
}

/// Runs of one batch may share their time, so that only the id orders them.
async fn submit_many(store: &dyn RunStore, count: usize) -> Vec<RunId> {
    let runs: Vec<_> = (0..count).map(|_| with(unowned(), |run| run.output.session_id = "many".into())).collect();
    let batch: Vec<_> = runs.iter().cloned().map(|run| Write::Insert(Box::new(run))).collect();
    write_all(store, batch).await;
    runs.iter().map(id).collect()
}

pub(super) async fn pages_hold_each_run_once(store: &dyn RunStore) {
    let mut expected = submit_many(store, 60).await;
    expected.extend(submit_many(store, 60).await);
    submit(store, &unowned()).await;
    let mut expected: Vec<_> = expected.into_iter().collect();
    expected.sort_unstable();
    for limit in [1, 7, 60, 119, 120, 121, 1000] {
        let query = RunQuery::new().session_id("many").limit(limit);
        let runs = paged(store, &query).await;
        let places: Vec<_> = runs.iter().map(|run| (run.output.created_at, run.output.run_id)).collect();
        assert!(places.is_sorted_by(|newer, older| newer > older), "{limit}");
        let mut found = ids(&runs);
        found.sort_unstable();
        assert_eq!(found, expected, "{limit}");
    }
    assert_eq!(store.list(RunQuery::new()).await.unwrap().len(), 51);
}

pub(super) async fn runs_that_come_while_one_pages_shift_nothing(store: &dyn RunStore) {
    let mut expected = submit_many(store, 20).await;
    expected.reverse();
    let query = RunQuery::new().limit(10);
    let first = Page::cut(store.list(query.clone()).await.unwrap(), 10);
    assert_eq!(ids(&first.runs), expected[..10]);
    submit_many(store, 5).await;
    cancel(store, expected[0]).await;
    let second = Page::cut(store.list(query.after(first.next.unwrap())).await.unwrap(), 10);
    assert_eq!(ids(&second.runs), expected[10..]);
    assert_eq!(second.next, None);
}

pub(super) async fn a_listed_run_is_all_there(store: &dyn RunStore) {
    for status in [Pending, Running, Completed, Cancelled, Error] {
        let run_id = submitted(store, "s", "one", Some("ada"), status).await;
        let listed = store.list(RunQuery::new().limit(1)).await.unwrap();
        assert_eq!(listed[0], get(store, run_id).await);
    }
}
