//! Which waiting runs a node gets, and in which order.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use super::samples::*;
use crate::run::RunStatus::{Completed, Pending};
use crate::run::{RunEventKind, RunId};
use crate::store::protocol::{Change, InsertRun};
use crate::store::{AgentRoom, Claim, NodeId, RunStore, StoreError};

async fn waiting(store: &dyn RunStore, priority: i16) -> RunId {
    submit(store, &with(unowned(), |run| run.priority = priority)).await.output.run_id
}

/// A run whose time came `minutes` ago.
async fn due(store: &dyn RunStore, priority: i16, minutes: i64) -> RunId {
    let run_at = chrono::Utc::now() - chrono::Duration::minutes(minutes);
    let asked = with(unowned(), |run| {
        run.run_at = run_at;
        run.priority = priority;
    });
    submit(store, &InsertRun { delayed: true, ..asked }).await.output.run_id
}

pub(super) async fn the_most_urgent_and_then_the_oldest_run_comes_first(store: &dyn RunStore) {
    let last = waiting(store, -1).await;
    let third = waiting(store, 0).await;
    let fourth = waiting(store, 0).await;
    let first = waiting(store, i16::MAX).await;
    let second = due(store, 0, 5).await;
    let lowest = due(store, i16::MIN, 60).await;
    let order = [first, second, third, fourth, last, lowest];
    assert_eq!(taken_ids(&claim(store, NodeId::new(), 100).await), order);
}

pub(super) async fn a_claim_takes_no_more_than_its_limit(store: &dyn RunStore) {
    let mut left = Vec::new();
    for _ in 0..7 {
        left.push(waiting(store, 0).await);
    }
    assert!(claim(store, NodeId::new(), 0).await.is_empty());
    for limit in [1, 2, 3, 4] {
        let expected: Vec<_> = left.drain(..limit.min(left.len())).collect();
        assert_eq!(taken_ids(&claim(store, NodeId::new(), limit).await), expected);
    }
}

pub(super) async fn a_claim_takes_only_runs_of_its_agents(store: &dyn RunStore) {
    let mut of = Vec::new();
    for agent in ["a", "b", "c", "a"] {
        of.push(submit(store, &with(unowned(), |run| run.output.agent = agent.to_owned())).await.output.run_id);
    }
    let claim = async |agents: &[&str]| {
        let agents = agents.iter().map(ToString::to_string).collect();
        taken_ids(
            &store.claim(Claim { node: node(store).await, agents, limited: Vec::new(), limit: 10 }).await.unwrap(),
        )
    };
    assert!(claim(&[]).await.is_empty());
    assert!(claim(&["A", "d", "a%"]).await.is_empty());
    assert_eq!(claim(&["a", "c"]).await, [of[0], of[2], of[3]]);
    assert_eq!(claim(&["a", "b", "c"]).await, [of[1]]);
}

pub(super) async fn a_claim_takes_no_more_of_an_agent_than_there_is_room_for(store: &dyn RunStore) {
    let of = async |agent: &str, priority: i16| {
        let asked = with(unowned(), |run| {
            run.output.agent = agent.to_owned();
            run.priority = priority;
        });
        submit(store, &asked).await.output.run_id
    };
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    for place in 0..5 {
        a.push(of("a", 5).await);
        b.push(of("b", if place == 0 { 9 } else { 0 }).await);
        c.push(of("c", 7).await);
    }
    let claim = async |agents: &[&str], rooms: &[(&str, usize)], limit: usize| {
        let agents = agents.iter().map(ToString::to_string).collect();
        let limited =
            rooms.iter().map(|&(agent, runs)| AgentRoom { agent: agent.to_owned(), runs, everywhere: None }).collect();
        taken_ids(&store.claim(Claim { node: node(store).await, agents, limited, limit }).await.unwrap())
    };
    assert!(claim(&[], &[("a", 0), ("d", 3)], 10).await.is_empty());
    // In one order with those that have no limit of their own; a limit of zero stands for nobody's way.
    assert_eq!(claim(&["b"], &[("a", 2), ("c", 0)], 4).await, [b[0], a[0], a[1], b[1]]);
    assert_eq!(claim(&[], &[("a", 100), ("c", 2)], 3).await, [c[0], c[1], a[2]]);
    assert_eq!(claim(&["c"], &[("a", 1), ("b", 1)], 100).await, [c[2], c[3], c[4], a[3], b[2]]);
}

pub(super) async fn a_run_that_cannot_be_read_holds_up_no_other(store: &dyn RunStore) {
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let unreadable = submit(store, &with(unowned(), |run| run.input = deep.into())).await.output.run_id;
    let others = [waiting(store, 0).await, waiting(store, 0).await];
    assert!(matches!(store.get(unreadable).await, Err(StoreError::Corrupt(_))));

    let node = NodeId::new();
    assert_eq!(taken_ids(&claim(store, node, 10).await), others);
    let mut unstarted = taken_ids(&store.unstarted(node).await.unwrap());
    unstarted.sort_unstable();
    assert_eq!(unstarted, others);
}

pub(super) async fn a_claim_leaves_what_is_owned_or_settled_or_for_later(store: &dyn RunStore) {
    Attempt::submit(store, owned()).await;
    Attempt::start(store, owned()).await;
    settled(store, owned(), Completed).await;
    let cancelled = waiting(store, 0).await;
    cancel(store, cancelled).await;
    let later = InsertRun { delayed: true, ..with(unowned(), |run| run.run_at = in_an_hour()) };
    submit(store, &later).await;
    assert!(claim(store, NodeId::new(), 100).await.is_empty());
    assert_eq!(store.count_waiting(100).await.unwrap(), 1, "the one for later waits as well");

    let run_id = waiting(store, 0).await;
    assert_eq!(taken_ids(&claim(store, NodeId::new(), 100).await), [run_id]);
}

pub(super) async fn a_node_finds_again_what_it_has_not_started(store: &dyn RunStore) {
    let node = NodeId::new();
    let submitted = Attempt::submit(store, InsertRun { node: Some(node), ..owned() }).await.run_id;
    Attempt::start(store, InsertRun { node: Some(node), ..owned() }).await;
    settled(store, InsertRun { node: Some(node), ..owned() }, Completed).await;
    Attempt::submit(store, owned()).await;
    let claimed = waiting(store, 0).await;
    claim(store, node, 1).await;

    let mut unstarted = taken_ids(&store.unstarted(node).await.unwrap());
    unstarted.sort_unstable();
    assert_eq!(unstarted, [submitted, claimed]);
}

pub(super) async fn a_claim_is_a_new_attempt_that_goes_on_with_the_log(store: &dyn RunStore) {
    let mut attempt = Attempt::submit(store, owned()).await;
    for taken in 2..5 {
        attempt.write(Change::Start).await;
        attempt.write(Change::Append).await;
        attempt.write(Change::HandBack).await;
        let node = NodeId::new();
        let again = claim(store, node, 1).await.remove(0);
        assert_eq!(*again.run, get(store, attempt.run_id).await);
        assert_eq!((again.run.attempt, again.next_seq), (taken, attempt.next_seq));
        let facts = facts(store, attempt.run_id).await;
        assert_eq!((facts.attempt, facts.node, facts.status), (taken, Some(node), Pending));
        attempt.attempt = taken;
    }
    attempt.write(Change::Start).await;
    let last = events(store, attempt.run_id).await.pop().unwrap();
    assert_eq!((last.seq, last.kind), (9, RunEventKind::RunStarted { attempt: 4 }));
}

pub(super) async fn claims_at_the_same_time_take_no_run_twice(store: &dyn RunStore) {
    let mut all = BTreeSet::new();
    for _ in 0..40 {
        all.insert(waiting(store, 0).await);
    }
    let taken: Vec<RunId> =
        join_all((0..8).map(|_| async { taken_ids(&claim(store, NodeId::new(), 5).await) })).await.concat();
    let distinct: BTreeSet<_> = taken.iter().copied().collect();
    assert_eq!(distinct.len(), taken.len());
    assert!(distinct.is_subset(&all));
    let rest = taken_ids(&claim(store, NodeId::new(), 100).await);
    assert_eq!(taken.len() + rest.len(), 40);
}

pub(super) async fn waiting_runs_are_counted_up_to_the_limit(store: &dyn RunStore) {
    assert_eq!(store.count_waiting(10).await.unwrap(), 0);
    for _ in 0..5 {
        waiting(store, 0).await;
    }
    Attempt::submit(store, owned()).await;
    for (limit, count) in [(0, 0), (1, 1), (4, 4), (5, 5), (6, 5), (1000, 5)] {
        assert_eq!(store.count_waiting(limit).await.unwrap(), count, "{limit}");
    }
    claim(store, NodeId::new(), 2).await;
    assert_eq!(store.count_waiting(10).await.unwrap(), 3);
}
