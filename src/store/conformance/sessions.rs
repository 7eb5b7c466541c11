//! The states of sessions: no change is lost, and none is made twice or by who may not.

use std::time::Duration;

use uuid::Uuid;

use super::samples::*;
use crate::run::RunStatus::{Completed, Error};
use crate::run::{RunId, SessionId};
use crate::store::RunStore;
use crate::store::protocol::{Change, InsertRun};
use crate::store::session::{SessionKey, StateWritten, StoredState, UpdateId, WriteState};

fn session(name: &str, user_id: Option<&str>) -> SessionKey {
    SessionKey { session_id: name.into(), user_id: user_id.map(Into::into) }
}

fn change(attempt: &Attempt<'_>, session: &SessionKey, version: u64, state: &str) -> WriteState {
    WriteState {
        id: UpdateId { run_id: attempt.run_id, update: Uuid::now_v7() },
        attempt: attempt.attempt,
        session: session.clone(),
        version,
        state: state.to_owned(),
        result: format!("[{state}]"),
    }
}

async fn read(store: &dyn RunStore, session: &SessionKey) -> Option<(String, u64)> {
    let stored = store.session_state(session.clone(), None).await.unwrap();
    assert_eq!(stored.result, None);
    stored.state.map(|(state, version, _)| (state, version))
}

async fn write(store: &dyn RunStore, change: &WriteState) -> StateWritten {
    store.write_session_state(change.clone()).await.unwrap()
}

pub(super) async fn a_state_changes_from_the_version_that_was_read(store: &dyn RunStore) {
    let run = Attempt::start(store, owned()).await;
    let key = session("s", None);
    assert_eq!(read(store, &key).await, None);
    assert_eq!(write(store, &change(&run, &key, 1, "9")).await, StateWritten::Stale);
    assert_eq!(write(store, &change(&run, &key, 0, "{\"b\": 1, \"a\":2}")).await, StateWritten::Done);
    assert_eq!(read(store, &key).await, Some(("{\"b\": 1, \"a\":2}".to_owned(), 1)));
    for stale in [0, 2] {
        assert_eq!(write(store, &change(&run, &key, stale, "9")).await, StateWritten::Stale, "{stale}");
    }
    assert_eq!(write(store, &change(&run, &key, 1, "2")).await, StateWritten::Done);
    assert_eq!(read(store, &key).await, Some(("2".to_owned(), 2)));
}

pub(super) async fn a_change_is_made_once_and_its_result_kept(store: &dyn RunStore) {
    let run = Attempt::start(store, owned()).await;
    let key = session("s", None);
    let one = change(&run, &key, 0, "1");
    let asked = async || store.session_state(key.clone(), Some(one.id)).await.unwrap().result;
    assert_eq!(asked().await, None);
    assert_eq!(write(store, &one).await, StateWritten::Done);
    assert_eq!(asked().await.as_deref(), Some("[1]"));
    // Its answer got lost, and it is written again.
    assert_eq!(write(store, &one).await, StateWritten::Stale);
    assert_eq!(read(store, &key).await, Some(("1".to_owned(), 1)));
    let of_others = UpdateId { run_id: RunId::new(), ..one.id };
    let nothing = store.session_state(key.clone(), Some(of_others)).await.unwrap().result;
    assert_eq!(nothing, None);
}

pub(super) async fn only_the_attempt_that_is_at_work_changes_a_state(store: &dyn RunStore) {
    let key = session("s", None);
    let nobody = Attempt { store, run_id: RunId::new(), attempt: 1, next_seq: 0 };
    assert_eq!(write(store, &change(&nobody, &key, 0, "1")).await, StateWritten::Fenced);
    let mut first = Attempt::submit(store, owned()).await;
    assert_eq!(write(store, &change(&first, &key, 0, "1")).await, StateWritten::Fenced);
    first.write(Change::Start).await;
    first.write(Change::HandBack).await;
    assert_eq!(write(store, &change(&first, &key, 0, "1")).await, StateWritten::Fenced);
    let mut second = Attempt::claimed(store, first.run_id).await;
    second.write(Change::Start).await;
    assert_eq!(write(store, &change(&first, &key, 0, "1")).await, StateWritten::Fenced);
    assert_eq!(read(store, &key).await, None);
    assert_eq!(write(store, &change(&second, &key, 0, "2")).await, StateWritten::Done);
    second.write(settle(Completed)).await;
    assert_eq!(write(store, &change(&second, &key, 1, "3")).await, StateWritten::Fenced);
    assert_eq!(read(store, &key).await, Some(("2".to_owned(), 1)));
}

pub(super) async fn a_state_is_that_of_a_session_and_a_user(store: &dyn RunStore) {
    let run = Attempt::start(store, owned()).await;
    let keys = [session("s", None), session("s", Some("ann")), session("s", Some("bob")), session("S", Some("ann"))];
    for (place, key) in keys.iter().enumerate() {
        assert_eq!(write(store, &change(&run, key, 0, &place.to_string())).await, StateWritten::Done);
    }
    for (place, key) in keys.iter().enumerate() {
        assert_eq!(read(store, key).await, Some((place.to_string(), 1)));
    }
    assert_eq!(read(store, &session("s", Some("eve"))).await, None);
}

pub(super) async fn of_changes_at_the_same_time_none_is_lost(store: &dyn RunStore) {
    let key = session("s", None);
    let writers = (0..8).map(async |_| {
        let run = Attempt::start(store, owned()).await;
        for _ in 0..10 {
            loop {
                let (state, version) = read(store, &key).await.unwrap_or(("0".to_owned(), 0));
                let next = (state.parse::<u64>().unwrap() + 1).to_string();
                match write(store, &change(&run, &key, version, &next)).await {
                    StateWritten::Done => break,
                    StateWritten::Stale => {}
                    StateWritten::Fenced => panic!("nobody else has the run"),
                }
            }
        }
    });
    futures_util::future::join_all(writers).await;
    assert_eq!(read(store, &key).await, Some(("80".to_owned(), 80)));
}

pub(super) async fn a_state_is_kept_as_long_as_its_session_has_runs(store: &dyn RunStore) {
    let asked = with(owned(), |run| run.output.session_id = SessionId::from("s"));
    let mut run = Attempt::start(store, asked).await;
    let (own, other) = (session("s", None), session("s", Some("ann")));
    let noted = change(&run, &own, 0, "1");
    assert_eq!(write(store, &noted).await, StateWritten::Done);
    assert_eq!(write(store, &change(&run, &other, 0, "1")).await, StateWritten::Done);
    let prune = async || {
        tokio::time::sleep(Duration::from_millis(3)).await;
        store.prune(Duration::from_millis(1), 10).await.unwrap();
    };
    prune().await;
    assert_eq!((read(store, &own).await, read(store, &other).await), (Some(("1".to_owned(), 1)), None));
    run.write(settle(Completed)).await;
    prune().await;
    prune().await;
    let gone = store.session_state(own, Some(noted.id)).await.unwrap();
    assert_eq!(gone, StoredState::default());
}

pub(super) async fn a_run_that_resumes_a_failed_one_knows_the_changes_that_it_has_made(store: &dyn RunStore) {
    let key = session("s", None);
    let mut failed = Attempt::start(store, owned()).await;
    let (one, two) = (change(&failed, &key, 0, "1"), change(&failed, &key, 1, "2"));
    assert_eq!(write(store, &one).await, StateWritten::Done);
    assert_eq!(write(store, &two).await, StateWritten::Done);
    failed.write(settle(Error)).await;
    let asked = async |run_id, of: &WriteState| {
        let asked = UpdateId { run_id, ..of.id };
        store.session_state(key.clone(), Some(asked)).await.unwrap().result
    };
    let mut second = Attempt::start(store, InsertRun { node: owned().node, ..heir_of(failed.run_id) }).await;
    assert_eq!(asked(second.run_id, &one).await.as_deref(), Some("[1]"));
    let three = change(&second, &key, 2, "3");
    assert_eq!(write(store, &three).await, StateWritten::Done);
    second.write(settle(Error)).await;
    let third = submit(store, &heir_of(second.run_id)).await.output.run_id;
    for (made, result) in [(&one, "[1]"), (&two, "[2]"), (&three, "[3]")] {
        assert_eq!(asked(third, made).await.as_deref(), Some(result));
    }
    assert_eq!(asked(failed.run_id, &three).await, None, "what was resumed stays as it was");
}
