//! The page for those who use the keyboard alone.

use greenroom::{Agent, InputKind, NewRun, Question, RunContext, RunStatus, Runtime, Store};
use serde_json::json;

use super::super::{Service, submitted};
use super::browser::{ARROW_DOWN, ARROW_LEFT, Browser, ENTER, TAB};
use super::runtime;
use crate::support::{Gate, gated, settled, start};

/// Whether the focus is on what says how the run stands.
const ON_STATUS: &str = "document.activeElement.matches('.title [role=status]')";

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
    browser.until("document.querySelector('button.danger').hidden").await;
    assert_eq!(browser.eval(ON_STATUS).await, true, "as the button is gone");
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
    assert_eq!(browser.eval(ON_STATUS).await, true, "as the form is gone");
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

#[tokio::test]
async fn from_run_to_run_the_focus_comes_along() {
    let Some(browser) = Browser::open().await else { return };
    let parent = Agent::builder("parent")
        .code(|cx: RunContext| async move { cx.sub_run("child", NewRun::new("gated", "hi")).await });
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(parent).agent(gated(&Gate::new()));
    let runtime = builder.start().await.unwrap();
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("parent", "")).await;
    browser.goto(&service.url("/api/#/runs?agent=gated")).await;
    browser.click(".runs a").await;
    let parent = format!("document.querySelector(\".facts a[href='#/runs/{}']\")", run.run_id());
    browser.until(&parent).await;

    browser.eval(&format!("{parent}.focus()")).await;
    browser.press(ENTER).await;

    browser.until(&format!("location.hash === '#/runs/{}'", run.run_id())).await;
    browser.until("document.activeElement.id === 'main'").await;
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[tokio::test]
async fn the_runs_are_filtered_by_the_keyboard_without_losing_the_place() {
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    let mut builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(gated(&gate));
    for name in ["ant", "bee", "cow"] {
        builder = builder.agent(Agent::builder(name).code(|_: RunContext| async { Ok(()) }));
    }
    let runtime = builder.start().await.unwrap();
    let service = Service::of(&runtime);
    submitted(&runtime, NewRun::new("gated", "hi").session_id("two")).await;
    browser.goto(&service.url("/api/")).await;
    browser.until("document.querySelectorAll('select[name=agent] option').length === 5").await;
    let focused = |css: &str| format!("document.activeElement.matches('{css}')");
    // The address alone says what is to be shown.
    let shown = |filter: &str| format!("document.querySelector('.counts a').hash.endsWith('&{filter}')");

    tab_to(&browser, "select[name=agent]").await;
    for agent in ["ant", "bee", "cow", "gated"] {
        browser.press(ARROW_DOWN).await;
        browser.until(&shown(&format!("agent={agent}"))).await;
        assert_eq!(browser.eval(&focused("select[name=agent]")).await, true, "{agent}");
    }
    browser.until("document.querySelectorAll('.runs li').length === 1").await;

    tab_to(&browser, "input[name=session]").await;
    for key in ['t', 'w', 'o', ARROW_LEFT, ENTER] {
        browser.press(key).await;
    }
    browser.until(&shown("agent=gated&session=two")).await;
    browser.press('x').await;
    assert_eq!(browser.eval("document.querySelector('input[name=session]').value").await, "twxo");

    browser.eval("document.querySelector('.counts a:has(.running)').focus()").await;
    browser.press(ENTER).await;
    browser.until("document.querySelector('.counts a[aria-current=true] .running')").await;
    assert_eq!(browser.eval(&focused(".counts a:has(.running)")).await, true);
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[tokio::test]
async fn the_pages_of_runs_are_turned_by_the_keyboard() {
    let Some(browser) = Browser::open().await else { return };
    let runtime = runtime().await;
    let service = Service::of(&runtime);
    for number in 0..102 {
        submitted(&runtime, NewRun::new("gated", number).session_id(format!("s{number}"))).await;
    }
    let first = "document.querySelector('.runs .session')?.innerText";
    browser.goto(&service.url("/api/")).await;
    browser.until(&format!("{first} === 's101'")).await;

    browser.eval("document.querySelector('.pages a:last-child').focus()").await;
    browser.press(ENTER).await;
    browser.until(&format!("{first} === 's51'")).await;
    assert_eq!(browser.eval("scrollY").await, 0, "a page begins where it begins");
    assert_eq!(browser.eval("document.activeElement.innerText").await, "Older →");
    browser.press(ENTER).await;
    browser.until(&format!("{first} === 's1'")).await;
    assert_eq!(browser.eval("document.activeElement.matches('.runs')").await, true, "there is nothing older");
    browser.assert_content(&[]).await;
    browser.close().await;
}
