//! The outbox of webhooks: what settling writes, and who delivers it.

use std::collections::HashSet;
use std::time::Duration;

use super::samples::*;
use crate::run::{CrashPolicy, RunId, RunStatus, WebhookUrl};
use crate::store::delivery::{Collect, Delivery, Outcome};
use crate::store::protocol::{Advance, CancelWritten, Change, InsertRun};
use crate::store::{NodeId, RunStore};

const HOUR: Duration = Duration::from_secs(3600);

fn to(url: &str, run: InsertRun) -> InsertRun {
    InsertRun { webhook: Some(WebhookUrl::parse(url).unwrap()), ..run }
}

fn told(run: InsertRun) -> InsertRun {
    to("https://example.org/hook", run)
}

async fn collect(store: &dyn RunStore, limit: usize, hold: Duration) -> Vec<Delivery> {
    store.outbox().collect(Collect { busy: Vec::new(), limit, hold }).await.unwrap()
}

/// Those of all deliveries that nobody has.
async fn all(store: &dyn RunStore) -> Vec<Delivery> {
    collect(store, 1000, HOUR).await
}

fn runs(deliveries: &[Delivery]) -> Vec<RunId> {
    deliveries.iter().map(|delivery| delivery.run_id).collect()
}

pub(super) async fn each_way_of_settling_writes_one_delivery(store: &dyn RunStore) {
    let mut expected = HashSet::new();
    for status in [RunStatus::Completed, RunStatus::Cancelled, RunStatus::Error] {
        expected.insert(settled(store, told(owned()), status).await);
    }
    let unowned_one = told(unowned());
    submit(store, &unowned_one).await;
    assert_eq!(cancel(store, id(&unowned_one)).await, CancelWritten::Cancelled);
    expected.insert(id(&unowned_one));
    let never_started = Attempt::submit(store, told(owned())).await;
    advance(store, &never_started.next(settle(RunStatus::Cancelled))).await.unwrap();
    expected.insert(never_started.run_id);
    let overdue = told(late(unowned()));
    submit(store, &overdue).await;
    assert_eq!(store.settle_overdue(100).await.unwrap(), [(id(&overdue), RunStatus::Pending)]);
    expected.insert(id(&overdue));

    let deliveries = all(store).await;
    assert_eq!((deliveries.len(), runs(&deliveries).into_iter().collect()), (expected.len(), expected));
    let events: HashSet<_> = deliveries.iter().map(|delivery| delivery.event_id).collect();
    assert_eq!(events.len(), deliveries.len());
    for delivery in &deliveries {
        assert_eq!((delivery.url.as_str(), delivery.attempt, delivery.gone), ("https://example.org/hook", 1, false));
        assert_eq!(get(store, delivery.run_id).await.output.settled_at, Some(delivery.created_at));
        assert!(delivery.taken_at >= delivery.created_at);
    }
}

pub(super) async fn a_run_without_a_webhook_or_that_has_not_settled_writes_none(store: &dyn RunStore) {
    settled(store, owned(), RunStatus::Completed).await;
    submit(store, &told(unowned())).await;
    let mut running = Attempt::start(store, told(owned())).await;
    running.write(Change::Append).await;
    running.write(Change::Retry { after: Duration::ZERO }).await;
    assert_eq!(all(store).await, []);
}

pub(super) async fn a_settlement_that_is_written_again_or_refused_writes_no_second_delivery(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, told(owned())).await;
    let last: Advance = attempt.next(settle(RunStatus::Completed));
    attempt.write(settle(RunStatus::Completed)).await;
    let first = all(store).await;
    assert_eq!(runs(&first), [attempt.run_id]);
    store.outbox().note_outcome(first[0].clone(), Outcome::Over).await.unwrap();

    advance(store, &last).await.unwrap();
    advance(store, &attempt.next(settle(RunStatus::Error))).await.unwrap_err();
    assert_eq!(cancel(store, attempt.run_id).await, CancelWritten::Settled(RunStatus::Completed));
    assert_eq!(all(store).await, []);
}

pub(super) async fn a_pause_writes_a_delivery_and_what_follows_takes_its_place(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, told(owned())).await;
    attempt.write(pause(None)).await;
    let paused = all(store).await;
    assert_eq!(runs(&paused), [attempt.run_id]);
    assert_eq!(get(store, attempt.run_id).await.output.paused_at, Some(paused[0].created_at));
    resume(store, &confirmed(attempt.run_id)).await.unwrap();
    assert_eq!(all(store).await, [], "to go on is nothing to be told");

    assert_eq!(cancel(store, attempt.run_id).await, CancelWritten::Cancelled);
    let settled = all(store).await;
    assert_eq!(runs(&settled), [attempt.run_id]);
    assert_eq!(settled[0].attempt, 1, "whoever has the other delivery does not hold this one");
    assert_ne!(settled[0].event_id, paused[0].event_id);
    store.outbox().note_outcome(paused[0].clone(), Outcome::Over).await.unwrap();
    store.outbox().note_outcome(settled[0].clone(), Outcome::Again(Duration::ZERO)).await.unwrap();
    assert_eq!(runs(&all(store).await), [attempt.run_id], "the end of one is not that of the other");
}

pub(super) async fn a_delivery_is_for_one_at_a_time_until_it_is_not_held_any_more(store: &dyn RunStore) {
    settled(store, told(owned()), RunStatus::Completed).await;
    let first = collect(store, 10, Duration::ZERO).await.remove(0);
    let second = collect(store, 10, HOUR).await.remove(0);
    assert_eq!((second.event_id, second.attempt), (first.event_id, 2));
    assert_eq!(all(store).await, []);

    // Whoever had it before has no say in when it is tried again.
    store.outbox().note_outcome(first.clone(), Outcome::Again(Duration::ZERO)).await.unwrap();
    assert_eq!(all(store).await, []);
    store.outbox().note_outcome(second, Outcome::Again(Duration::ZERO)).await.unwrap();
    let third = all(store).await.remove(0);
    assert_eq!((third.event_id, third.attempt), (first.event_id, 3));
    store.outbox().note_outcome(third.clone(), Outcome::Again(HOUR)).await.unwrap();
    assert_eq!(all(store).await, []);

    // Delivered is delivered, by whomever.
    store.outbox().note_outcome(third, Outcome::Again(Duration::ZERO)).await.unwrap();
    store.outbox().note_outcome(first, Outcome::Over).await.unwrap();
    assert_eq!(all(store).await, []);
}

pub(super) async fn deliveries_are_taken_once_by_many_at_a_time(store: &dyn RunStore) {
    let mut expected = HashSet::new();
    for _ in 0..40 {
        expected.insert(settled(store, told(owned()), RunStatus::Completed).await);
    }
    let takers = (0..10).map(|_| collect(store, 5, HOUR));
    let mut taken: Vec<Delivery> = futures_util::future::join_all(takers).await.concat();
    // Those who looked at the same time may have got less than there is.
    taken.extend(all(store).await);
    assert_eq!(taken.len(), expected.len(), "none is taken twice");
    assert_eq!(runs(&taken).into_iter().collect::<HashSet<_>>(), expected);
}

pub(super) async fn what_waits_longest_is_taken_first_and_nothing_for_who_is_busy(store: &dyn RunStore) {
    let mut each = Vec::new();
    for url in ["https://a/1", "https://a/2", "http://a/3", "https://a:8443/4", "https://ab/5"] {
        each.push(settled(store, to(url, owned()), RunStatus::Completed).await);
    }
    assert_eq!(runs(&collect(store, 2, Duration::ZERO).await), each[..2]);
    let busy = vec![WebhookUrl::parse("https://a/9").unwrap().origin().to_owned(), "https://ab/".to_owned()];
    let free = store.outbox().collect(Collect { busy, limit: 10, hold: HOUR }).await.unwrap();
    assert_eq!(runs(&free), each[2..4]);
}

pub(super) async fn a_url_that_is_gone_is_known_to_be(store: &dyn RunStore) {
    for url in ["https://example.org/gone", "https://example.org/gone", "https://example.org/there"] {
        settled(store, to(url, owned()), RunStatus::Completed).await;
    }
    let deliveries = collect(store, 10, Duration::ZERO).await;
    assert!(deliveries.iter().all(|delivery| !delivery.gone));
    let gone = deliveries.iter().find(|delivery| delivery.url.as_str().ends_with("gone")).unwrap();
    for _ in 0..2 {
        store.outbox().note_outcome(gone.clone(), Outcome::Gone).await.unwrap();
    }
    let mut left: Vec<(String, bool)> =
        all(store).await.into_iter().map(|delivery| (delivery.url.as_str().to_owned(), delivery.gone)).collect();
    left.sort();
    let of = |url: &str, gone| (format!("https://example.org/{url}"), gone);
    assert_eq!(left, [of("gone", true), of("there", false)]);
}

pub(super) async fn a_run_that_is_forgotten_takes_its_delivery_along(store: &dyn RunStore) {
    let run = told(owned());
    settled(store, run.clone(), RunStatus::Completed).await;
    assert_eq!(store.prune(Duration::ZERO, 10).await.unwrap(), 1);
    assert_eq!(all(store).await, []);
    // Another life of the same id is another event.
    settled(store, run, RunStatus::Completed).await;
    assert_eq!(all(store).await.len(), 1);
}

pub(super) async fn a_run_whose_node_was_given_up_writes_its_delivery_when_it_settles(store: &dyn RunStore) {
    let run = InsertRun { on_crash: CrashPolicy::Restart, ..told(owned()) };
    let mut first = Attempt::start(store, run).await;
    first.write(Change::HandBack).await;
    let mut second = Attempt::claimed(store, first.run_id).await;
    second.write(Change::Start).await;
    assert_eq!(all(store).await, []);
    advance(store, &first.next(settle(RunStatus::Completed))).await.unwrap_err();
    assert_eq!(all(store).await, [], "what is refused tells nobody anything");
    second.write(settle(RunStatus::Completed)).await;
    assert_eq!(runs(&all(store).await), [first.run_id]);
    assert!(claim(store, NodeId::new(), 10).await.is_empty());
}

pub(super) async fn a_run_that_resumes_a_failed_one_tells_the_same_url(store: &dyn RunStore) {
    let failed = settled(store, told(owned()), RunStatus::Error).await;
    let untold = settled(store, owned(), RunStatus::Error).await;
    assert_eq!(runs(&all(store).await), [failed]);
    let heir_of = |failed, base| InsertRun { resumes: Some(failed), ..base };
    let heir = settled(store, heir_of(failed, to("https://example.org/other", owned())), RunStatus::Completed).await;
    let other = settled(store, heir_of(untold, owned()), RunStatus::Completed).await;
    let deliveries = all(store).await;
    assert_eq!((runs(&deliveries), deliveries[0].url.as_str()), (vec![heir], "https://example.org/hook"), "{other}");
}
