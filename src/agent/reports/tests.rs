use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::{AHEAD, Reports, reports};
use crate::agent::Report;
use crate::run::{Content, RunEventKind, StepRecord, Usage};

fn text(content: &str) -> Report {
    Report::Event(RunEventKind::RunContent { content: content.into() })
}

fn reasoning(content: &str) -> Report {
    Report::Event(RunEventKind::ReasoningContentDelta { reasoning_content: content.into() })
}

fn other() -> Report {
    Report::Recalled { text: "recalled".to_owned(), usage: Usage::default() }
}

/// What is there, in short.
fn taken(reports: &Reports) -> Vec<String> {
    let short = |report| match report {
        Report::Event(RunEventKind::RunContent { content }) => content.to_string(),
        Report::Event(RunEventKind::ReasoningContentDelta { reasoning_content }) => format!("({reasoning_content})"),
        Report::Recalled { text, .. } => text,
        Report::Event(_) | Report::Step { .. } | Report::Called(_) => unreachable!("nobody sends it here"),
    };
    reports.take().map(short).collect()
}

fn wants_to_be_taken(reports: &Reports, looks_soon: bool) -> bool {
    reports.come(looks_soon).now_or_never().is_some()
}

#[tokio::test]
async fn pieces_of_one_text_are_joined_until_they_are_taken() {
    let (reporter, reports) = reports();
    for report in [text("a"), text("b"), reasoning("c"), reasoning("d"), text("e"), other(), text("f")] {
        reporter.send(report).await;
    }
    assert_eq!(taken(&reports), ["ab", "(cd)", "e", "recalled", "f"]);
    reporter.send(text("g")).await;
    assert_eq!(taken(&reports), ["g"]);
}

#[tokio::test]
async fn a_log_that_looks_soon_is_not_woken_for_a_piece() {
    let (reporter, reports) = reports();
    assert!(!wants_to_be_taken(&reports, true));
    reporter.send(text("a")).await;
    assert!(!wants_to_be_taken(&reports, true));
    assert!(wants_to_be_taken(&reports, false));
    assert!(!wants_to_be_taken(&reports, true));
    reporter.send(other()).await;
    assert!(wants_to_be_taken(&reports, true));
    assert_eq!(taken(&reports), ["a", "recalled"]);
    assert!(!wants_to_be_taken(&reports, false));
}

#[tokio::test]
async fn a_piece_that_is_too_long_to_be_joined_is_taken_soon() {
    let (reporter, reports) = reports();
    reporter.send(text(&"a".repeat(8 * 1024))).await;
    assert!(!wants_to_be_taken(&reports, true));
    reporter.send(text("b")).await;
    assert!(wants_to_be_taken(&reports, true));
    assert_eq!(reports.take().count(), 2);
}

#[tokio::test]
async fn whoever_waits_is_woken_by_what_comes() {
    for looks_soon in [false, true] {
        let (reporter, reports) = reports();
        let mut come = Box::pin(reports.come(looks_soon));
        assert_eq!(come.as_mut().now_or_never(), None);
        reporter.send(text("a")).await;
        assert_eq!(come.as_mut().now_or_never().is_some(), !looks_soon);
        if looks_soon {
            reporter.send(other()).await;
            assert_eq!(come.now_or_never(), Some(()));
        }
    }
}

#[tokio::test]
async fn who_is_too_far_ahead_waits_for_room() {
    let (reporter, reports) = reports();
    for _ in 0..AHEAD {
        reporter.send(other()).now_or_never().unwrap();
    }
    let mut waiting = Box::pin(reporter.send(text("last")));
    assert_eq!(waiting.as_mut().now_or_never(), None);
    assert_eq!(reports.take().count(), AHEAD);
    assert_eq!(waiting.now_or_never(), Some(()));
    assert_eq!(taken(&reports), ["last"]);
}

#[tokio::test]
async fn when_nobody_listens_any_more_all_who_wait_hear_of_it() {
    let (reporter, reports) = reports();
    let (durable, is_durable) = oneshot::channel();
    let step = StepRecord { position: 0, first_attempt: 1, name: "a".to_owned(), result: "1".to_owned() };
    reporter.send(Report::Step { step, event: None, durable: Some(durable) }).await;
    for _ in 1..AHEAD {
        reporter.send(other()).await;
    }
    let (mut waiting, mut closed) = (Box::pin(reporter.send(other())), Box::pin(reporter.closed()));
    assert_eq!((waiting.as_mut().now_or_never(), closed.as_mut().now_or_never()), (None, None));
    drop(reports);
    assert_eq!((waiting.now_or_never(), closed.now_or_never()), (Some(()), Some(())));
    is_durable.await.unwrap_err();
    assert!(reporter.is_closed());
    reporter.send(Report::Event(RunEventKind::RunContent { content: Content::from("late") })).await;
}
