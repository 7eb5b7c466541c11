//! The page beside a service that is slow: what comes late does no harm.

use greenroom::{Agent, AgentError, NewRun, RunContext, RunQuery, Store};
use serde_json::json;

use super::super::{Service, submitted};
use super::browser::Browser;
use crate::support::{Gate, gated, settled, start};

/// Keeps the first answer from now on for which `wanted` holds of `path` and `options` until `late.release()`. Counts in
/// `late.more` what else is asked for like it meanwhile.
async fn hold(browser: &Browser, wanted: &str) {
    let script = r"(() => {
        const fetched = window.fetch;
        const late = window.late = { kept: false, more: 0, delivered: false };
        window.fetch = async (path, options = {}) => {
            const wanted = WANTED;
            if (wanted && late.kept && !late.delivered) late.more += 1;
            if (!wanted || late.kept) return fetched(path, options);
            late.kept = true;
            const body = await (await fetched(path, options)).json();
            await new Promise((release) => { late.release = release; });
            // A task of its own comes after all that is made of the answer at once.
            const json = async () => { setTimeout(() => { late.delivered = true; }); return body; };
            return { ok: true, status: 200, json };
        };
    })()";
    browser.eval(&script.replace("WANTED", wanted)).await;
}

async fn release(browser: &Browser) {
    browser.eval("late.release()").await;
    browser.until("late.delivered").await;
}

#[tokio::test]
async fn no_answer_about_a_run_is_drawn_over_a_newer_one() {
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    let passed = gate.clone();
    let asks = Agent::builder("asks").code(move |cx: RunContext| {
        let gate = passed.clone();
        async move {
            gate.pass().await;
            Ok(cx.confirm("delete", 1).await?.confirmed)
        }
    });
    let runtime = start(Store::sqlite_in_memory(), asks).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("asks", "hi")).await;
    browser.goto(&service.url(&format!("/api/#/runs/{}", run.run_id()))).await;
    browser.until("document.querySelector('.title .status').innerText === 'RUNNING'").await;

    hold(&browser, &format!("path === 'runs/{}'", run.run_id())).await;
    gate.open(1);
    browser.until("late.release").await;
    browser.click("button.danger").await;
    browser.until("document.querySelector('.said').innerText.startsWith('cancelled: ')").await;
    browser.until("document.querySelector('.timeline .RunCancelled')").await;
    assert_eq!(browser.eval("late.more").await, 0, "one at a time, so that they come in order");
    release(&browser).await;

    browser.until("document.querySelector('.title .status').innerText === 'CANCELLED'").await;
    browser.until("document.querySelector('button.danger').hidden && document.querySelector('.needs').hidden").await;
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[tokio::test]
async fn a_run_is_not_asked_for_again_for_all_that_it_says() {
    const SAID: usize = 10;
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    let passed = gate.clone();
    let talks = Agent::builder("talks").code(move |cx: RunContext| {
        let gate = passed.clone();
        async move {
            for number in 0..SAID {
                gate.pass().await;
                cx.emit_text("a word ").await;
                cx.emit("number", number).await?;
            }
            gate.pass().await;
            Ok("done")
        }
    });
    let runtime = start(Store::sqlite_in_memory(), talks).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("talks", "hi")).await;
    browser.goto(&service.url(&format!("/api/#/runs/{}", run.run_id()))).await;

    for number in 1..=SAID {
        gate.open(1);
        browser.until(&format!("document.querySelectorAll('.timeline .CustomEvent').length === {number}")).await;
        // Time for a question, if the page had one.
        browser.eval("new Promise((over) => setTimeout(over, 100))").await;
    }
    gate.open(1);
    browser.until("document.querySelector('.title .status').innerText === 'COMPLETED'").await;

    let asked = format!(
        "performance.getEntriesByType('resource').filter(({{ name }}) => name.endsWith('{}')).length",
        run.run_id()
    );
    let asked = browser.eval(&asked).await;
    assert!(asked.as_u64().unwrap() < SAID as u64, "{asked} times");
    assert_eq!(settled(&run).await.content.unwrap().into_json(), json!("done"));
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[tokio::test]
async fn what_an_earlier_filter_found_is_not_shown() {
    let Some(browser) = Browser::open().await else { return };
    let runtime = start(Store::sqlite_in_memory(), gated(&Gate::new())).await;
    let service = Service::of(&runtime);
    for session in ["one", "two", "two"] {
        submitted(&runtime, NewRun::new("gated", "hi").session_id(session)).await;
    }
    browser.goto(&service.url("/api/#/new")).await;
    browser.find("form.new").await;

    hold(&browser, "path.startsWith('runs?')").await;
    browser.eval("location.hash = '#/runs'").await;
    browser.until("late.release").await;
    browser.eval("location.hash = '#/runs?session=one'").await;
    browser.until("document.querySelector('input[name=session]').value === 'one'").await;
    let watch = "new MutationObserver(() => { late.most = Math.max(late.most ?? 0, document.querySelectorAll('.runs li').length); })
        .observe(document.querySelector('.runs'), { childList: true })";
    browser.eval(watch).await;
    release(&browser).await;

    browser.until("document.querySelector('.runs .session')?.innerText === 'one'").await;
    assert_eq!(browser.eval("late.most").await, 1);
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[tokio::test]
async fn whoever_has_gone_elsewhere_stays_there_when_an_answer_comes() {
    let Some(browser) = Browser::open().await else { return };
    let failing = Agent::builder("failing").code(|_: RunContext| async { Err::<(), _>(AgentError::new("no")) });
    let runtime = start(Store::sqlite_in_memory(), failing).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("failing", "hi")).await;
    settled(&run).await;
    let elsewhere = "document.querySelectorAll('.runs li').length > 0";

    browser.goto(&service.url("/api/#/new")).await;
    browser.until("document.querySelector('select[name=agent]').value === 'failing'").await;
    browser.enter("textarea[name=input]", "hi").await;
    hold(&browser, "options.method === 'POST'").await;
    browser.click("form.new button[type=submit]").await;
    browser.until("late.release").await;
    browser.click("header nav a[href='#/runs']").await;
    browser.until(elsewhere).await;
    release(&browser).await;
    assert_eq!(browser.eval("location.hash").await, "#/runs");

    browser.eval(&format!("location.hash = '#/runs/{}'", run.run_id())).await;
    browser.until("document.querySelector('.title .status')?.innerText === 'ERROR'").await;
    hold(&browser, "options.method === 'POST'").await;
    browser.click(".run .actions button:not([hidden])").await;
    browser.until("late.release").await;
    browser.click("header nav a[href='#/runs']").await;
    browser.until(elsewhere).await;
    release(&browser).await;
    assert_eq!(browser.eval("location.hash").await, "#/runs");

    assert_eq!(runtime.list(RunQuery::new()).await.unwrap().runs.len(), 3, "both were done all the same");
    browser.assert_content(&[]).await;
    browser.close().await;
}
