//! The page for those who use the keyboard alone.

use greenroom::{Agent, InputKind, NewRun, Question, RunContext, RunStatus, Runtime, Store};
use serde_json::json;

use super::super::{Service, submitted};
use super::browser::{ARROW_DOWN, Browser, ENTER, TAB};
use super::runtime;
use crate::support::{Gate, gated, settled, start};

#[tokio::test]
async fn a_run_is_opened_and_cancelled_by_the_keyboard_alone() {
    let Some(browser) = Browser::open().await else { return };
    let runtime = runtime().await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("gated", "hi")).await;
    browser.goto(&service.url("/api/")).await;
    browser.find(".runs a").await;

    tab_to(&browser, ".runs a").await;
    browser.picture("focus").await;
    browser.press(ENTER).await;
    browser.until(&format!("location.hash === '#/runs/{}'", run.run_id())).await;
    browser.until("document.querySelector('.title .status').innerText === 'RUNNING'").await;
    browser.until("document.activeElement.id === 'main'").await;
    tab_to(&browser, "button.danger").await;
    browser.press(ENTER).await;

    browser.until("document.querySelector('.title .status').innerText === 'CANCELLED'").await;
    assert_eq!(settled(&run).await.status, RunStatus::Cancelled);
    browser.close().await;
}

/// Presses the tab key until the focus is there.
async fn tab_to(browser: &Browser, css: &str) {
    for _ in 0..40 {
        if browser.eval(&format!("document.activeElement.matches('{css}')")).await == json!(true) {
            return;
        }
        browser.press(TAB).await;
    }
    panic!("{css} cannot be reached by the tab key");
}

#[tokio::test]
async fn a_paused_run_is_decided_with_the_keyboard_alone() {
    let Some(browser) = Browser::open().await else { return };
    let asks = Agent::builder("asks").code(|cx: RunContext| async move {
        let form = Question::new("How many?").field("number", InputKind::Integer).optional("why", InputKind::Text);
        let (said, answer, result) = tokio::join!(
            cx.confirm("delete", json!({"files": ["<b>a.log</b>"]})),
            cx.ask::<serde_json::Value>("amount", form),
            cx.execute_elsewhere::<String, _>("weigh", "the parcel"),
        );
        let said = said?;
        Ok(json!([said.confirmed, said.note, answer?, result?]))
    });
    let runtime = start(Store::sqlite_in_memory(), asks).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("asks", "hi")).await;
    browser.goto(&service.url(&format!("/api/#/runs/{}", run.run_id()))).await;
    browser.until("document.querySelectorAll('.needs fieldset').length === 3").await;
    assert_eq!(browser.text(".title .status").await, "PAUSED");
    assert!(browser.text(".needs pre").await.contains("<b>a.log</b>"), "as it is, and no markup");
    browser.picture("paused").await;

    // The details can be scrolled, so they can be reached; then the choice, the note, and so on.
    browser.eval("document.querySelector('.needs input[type=radio]').focus()").await;
    browser.press(ARROW_DOWN).await;
    browser.press(TAB).await;
    for key in "no".chars() {
        browser.press(key).await;
    }
    for key in [TAB, TAB, '1', '7', TAB, TAB, TAB, '3', TAB, TAB, ENTER] {
        browser.press(key).await;
    }

    browser.until("document.querySelector('.title .status').innerText === 'COMPLETED'").await;
    browser.until("document.querySelector('.needs').hidden").await;
    browser.until("document.querySelector('.timeline .RunContinued')").await;
    let content = settled(&run).await.content.unwrap().into_json();
    assert_eq!(content, json!([false, "no", {"number": 17}, "3"]));
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[tokio::test]
async fn what_has_the_focus_keeps_it_while_the_run_goes_on() {
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    let parent = Agent::builder("parent").code(|cx: RunContext| async move {
        for step in ["first", "second"] {
            cx.sub_run(step, NewRun::new("gated", step)).await?;
        }
        Ok(())
    });
    let runtime =
        Runtime::builder().store(Store::sqlite_in_memory()).agent(parent).agent(gated(&gate)).start().await.unwrap();
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("parent", "")).await;
    let children = "document.querySelector('.facts a[href*=parent]')";
    browser.goto(&service.url(&format!("/api/#/runs/{}", run.run_id()))).await;
    browser.until(&format!("{children}.innerText === '1'")).await;

    browser.eval(&format!("{children}.focus()")).await;
    gate.open(1);
    browser.until(&format!("{children}.innerText === '2'")).await;
    gate.open(1);
    browser.until("document.querySelector('.title .status').innerText === 'COMPLETED'").await;

    assert_eq!(browser.eval(&format!("document.activeElement === {children}")).await, true);
    browser.assert_content(&[]).await;
    browser.close().await;
}
