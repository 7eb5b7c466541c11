//! What can be done with the page, in a real browser.

use greenroom::web::Door;
use greenroom::{Agent, AgentBuilder, AgentError, NewRun, RunContext, RunStatus, Runtime, Store};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use super::super::{Service, submitted};
use super::browser::Browser;
use crate::support::{Gate, gated, settled, start};

const PIECES: [&str; 3] = ["The first piece. ", "Then a second one, ", "and at last the third."];

/// Says a piece each time it is let pass.
fn writer(gate: &Gate) -> AgentBuilder {
    let gate = gate.clone();
    Agent::builder("writer").description("Writes what it is let.").code(move |cx: RunContext| {
        let gate = gate.clone();
        async move {
            for piece in PIECES {
                gate.pass().await;
                cx.emit_text(piece).await;
            }
            gate.pass().await;
            Ok(PIECES.concat())
        }
    })
}

async fn service(gate: &Gate) -> (Runtime, Service) {
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(gated(gate)).agent(writer(gate));
    let runtime = builder.start().await.unwrap();
    let service = Service::of(&runtime);
    (runtime, service)
}

#[tokio::test]
async fn a_run_is_submitted_by_the_form_and_its_output_grows() {
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    let (_runtime, service) = service(&gate).await;
    browser.goto(&service.url("/api")).await;
    browser.until("document.querySelector('.empty').innerText.includes('no run yet')").await;

    browser.click("header nav a[href='#/new']").await;
    browser.click("select[name=agent] option[value=writer]").await;
    browser.enter("textarea[name=input]", "Write three pieces.").await;
    browser.enter("input[name=session_id]", "a trip").await;
    browser.click("form.new button[type=submit]").await;
    browser.until("document.querySelector('.title .status').innerText === 'RUNNING'").await;

    for shown in 1..=PIECES.len() {
        gate.open(1);
        let said = json!(PIECES[..shown].concat().trim_end());
        browser.until(&format!("document.querySelector('.output').innerText.trim() === {said}")).await;
        assert_eq!(browser.text(".title .status").await, "RUNNING");
        browser.picture(&format!("output-{shown}")).await;
    }
    gate.open(1);
    browser.until("document.querySelector('.title .status').innerText === 'COMPLETED'").await;
    browser.until("document.querySelector('.timeline .RunCompleted')").await;
    assert_eq!(browser.text(".output").await, PIECES.concat());
    assert!(browser.text(".facts").await.contains("a trip"));
    assert!(browser.text(".timeline").await.contains("3 pieces"));
    browser.click("details summary").await;
    assert_eq!(browser.text("details pre").await, "Write three pieces.");
    browser.picture("completed").await;
    browser.eval("history.back()").await;
    browser.until("location.hash === '#/new'").await;
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[tokio::test]
async fn a_cancel_shows_what_became_of_it() {
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    let (runtime, service) = service(&gate).await;
    let run = submitted(&runtime, NewRun::new("writer", "hi")).await;
    gate.open(1);
    browser.goto(&service.url(&format!("/api/#/runs/{}", run.run_id()))).await;
    browser.until("document.querySelector('.output').innerText.includes('first')").await;

    browser.click("button.danger").await;

    browser.until("document.querySelector('.title .status').innerText === 'CANCELLED'").await;
    browser.until("document.querySelector('.said').innerText.startsWith('cancelled: ')").await;
    browser.until("document.querySelector('button.danger').hidden").await;
    assert_eq!(browser.text(".output").await, PIECES[0], "what it had said is kept");
    assert_eq!(settled(&run).await.status, RunStatus::Cancelled);
    browser.picture("cancelled").await;
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[tokio::test]
async fn what_a_run_waits_for_goes_with_its_time() {
    let Some(browser) = Browser::open().await else { return };
    let asks = Agent::builder("asks").code(|cx: RunContext| async move {
        let first = cx.confirm("first", 1).await?.confirmed;
        Ok(json!([first, cx.confirm("second", 2).await?.confirmed]))
    });
    let runtime = start(Store::sqlite_in_memory(), asks).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("asks", "hi")).await;
    browser.goto(&service.url(&format!("/api/#/runs/{}", run.run_id()))).await;
    browser.until("document.querySelector('.needs legend')?.innerText.includes('first')").await;
    browser.click(".needs input[value=yes]").await;
    browser.click(".needs button").await;
    browser.until("document.querySelector('.needs legend')?.innerText.includes('second')").await;

    runtime.cancel(run.run_id()).await.unwrap();
    browser.until("document.querySelector('.needs').hidden").await;
    assert_eq!(browser.text(".title .status").await, "CANCELLED");
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[tokio::test]
async fn runs_are_counted_and_filtered_while_they_change() {
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    let (runtime, service) = service(&gate).await;
    let first = submitted(&runtime, NewRun::new("gated", "1").session_id("one")).await;
    submitted(&runtime, NewRun::new("gated", "2").session_id("two")).await;
    submitted(&runtime, NewRun::new("writer", "3").session_id("two")).await;
    let rows = |count: usize| format!("document.querySelectorAll('.runs li').length === {count}");
    let counted = |status: &str, count: usize| {
        format!("document.querySelector('.counts a:has(.{status}) strong').innerText === '{count}'")
    };
    browser.goto(&service.url("/api/")).await;
    browser.until(&rows(3)).await;
    browser.until(&counted("running", 3)).await;

    runtime.cancel(first.run_id()).await.unwrap();
    browser.until(&counted("cancelled", 1)).await;
    browser.until(&counted("running", 2)).await;
    browser.click(".counts a:has(.cancelled)").await;
    browser.until(&rows(1)).await;
    assert!(browser.text(".runs").await.contains("one"));
    browser.click(".counts a[aria-current]").await;
    browser.until(&rows(3)).await;
    browser.click("select[name=agent] option[value=writer]").await;
    browser.until(&rows(1)).await;
    browser.eval("history.back()").await;
    browser.until(&rows(3)).await;
    browser.enter("input[name=session]", "two\u{E007}").await;
    browser.until(&rows(2)).await;
    assert_eq!(browser.eval("location.hash").await, "#/runs?session=two");
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[tokio::test]
async fn older_runs_are_a_page_away() {
    let Some(browser) = Browser::open().await else { return };
    let (runtime, service) = service(&Gate::new()).await;
    for number in 0..60 {
        submitted(&runtime, NewRun::new("gated", number).session_id(format!("s{number}"))).await;
    }
    let first = "document.querySelector('.runs .session')?.innerText";
    browser.goto(&service.url("/api/")).await;
    browser.until(&format!("{first} === 's59'")).await;

    browser.click(".pages a:last-child").await;
    browser.until(&format!("{first} === 's9'")).await;
    assert_eq!(browser.eval("document.querySelectorAll('.runs li').length").await, 10);
    browser.click(".pages a:first-child").await;
    browser.until(&format!("{first} === 's59'")).await;
    browser.assert_content(&[]).await;
    browser.close().await;
}

/// Passes everything on to the service, and says how to cut all connections.
async fn relay(service: &Service) -> (String, broadcast::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (cut, _) = broadcast::channel(1);
    let (to, cuts) = (service.address, cut.clone());
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut cut = cuts.subscribe();
            let Ok(mut to) = TcpStream::connect(to).await else { return };
            tokio::spawn(async move {
                tokio::select! { _ = copy_bidirectional(&mut from, &mut to) => {}, _ = cut.recv() => {} }
            });
        }
    });
    (address, cut)
}

#[tokio::test]
async fn a_page_that_is_cut_off_goes_on_where_it_was() {
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    let (runtime, service) = service(&gate).await;
    let (address, cut) = relay(&service).await;
    let run = submitted(&runtime, NewRun::new("writer", "hi")).await;
    browser.goto(&format!("{address}/api/#/runs/{}", run.run_id())).await;
    for shown in 1..=PIECES.len() {
        gate.open(1);
        let said = json!(PIECES[..shown].concat().trim_end());
        browser.until(&format!("document.querySelector('.output').innerText.trim() === {said}")).await;
        cut.send(()).unwrap();
    }
    gate.open(1);

    browser.until("document.querySelector('.timeline .RunCompleted')").await;

    assert!(browser.text(".timeline").await.contains("3 pieces"));
    assert_eq!(browser.eval("document.querySelectorAll('.timeline li').length").await, 3);
    browser.assert_content(&["net::ERR"]).await;
    browser.close().await;
}

#[tokio::test]
async fn whatever_a_run_says_stays_text() {
    const EVIL: &str =
        "<img src=x onerror=\"document.title='broken into'\"><script>document.title='broken into'</script>";
    let Some(browser) = Browser::open().await else { return };
    let agent = Agent::builder(EVIL).description(EVIL).code(|cx: RunContext| async move {
        cx.emit_text(EVIL).await;
        cx.emit(EVIL, EVIL).await?;
        Err::<(), _>(AgentError::new(EVIL))
    });
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    let service = Service::of(&runtime);
    let metadata = json!({EVIL: EVIL}).as_object().unwrap().clone();
    let run = submitted(&runtime, NewRun::new(EVIL, EVIL).session_id(EVIL).metadata(metadata)).await;
    settled(&run).await;
    let clean = "document.querySelectorAll('main img, main script').length === 0 && !document.title.includes('broken')";

    browser.goto(&service.url("/api/")).await;
    browser.until(&format!("document.querySelector('.runs .agent')?.innerText === {}", json!(EVIL))).await;
    browser.until(clean).await;
    browser.click(".runs a").await;
    browser.until(&format!("document.querySelector('.output')?.innerText === {}", json!(EVIL))).await;
    browser.until("document.querySelector('.timeline .RunError')").await;
    for shown in [".facts", ".failure", ".timeline", ".timeline .CustomEvent .name"] {
        browser.until(&format!("document.querySelector({}).innerText.includes({})", json!(shown), json!(EVIL))).await;
    }
    browser.until(clean).await;
    browser.click(".actions a.button").await;
    browser.until(&format!("document.querySelector('select[name=agent]').value === {}", json!(EVIL))).await;
    browser.until(clean).await;
    browser.goto(&service.url("/api/#/runs/%3Cimg%20src=x%3E")).await;
    browser.until(clean).await;
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[tokio::test]
async fn a_token_is_asked_for_and_kept_in_memory() {
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), writer(&gate)).await;
    let service = Service::behind(Door::new(runtime.clone()).bearer_token("right".to_owned()));
    let run = submitted(&runtime, NewRun::new("writer", "hi")).await;
    browser.goto(&service.url("/api/")).await;

    browser.enter("#token", "wrong\u{E007}").await;
    browser.until("document.querySelector('#ask-token-why').innerText.includes('did not open')").await;
    browser.picture("token").await;
    for unsendable in ["“right”", "right\u{200b}"] {
        browser.enter("#token", &format!("{unsendable}\u{E007}")).await;
        assert_eq!(browser.eval("document.querySelector('#ask-token').open").await, true);
        let said = browser.eval("document.querySelector('#token').validationMessage").await;
        assert!(said.as_str().unwrap().contains("no token has"), "{said}");
        browser.find("#token").await.clear().await.unwrap();
    }
    browser.enter("#token", "right\u{E007}").await;
    browser.click(".runs a").await;
    browser.until(&format!("location.hash === '#/runs/{}'", run.run_id())).await;
    gate.open(1);
    browser.until("document.querySelector('.output').innerText.includes('first')").await;

    assert_eq!(browser.eval("localStorage.length + sessionStorage.length + document.cookie.length").await, 0);
    browser.client.refresh().await.unwrap();
    browser.until("document.querySelector('#ask-token').open").await;
    browser.click("#token-later").await;
    browser.until("document.querySelector('#notice').innerText.includes('token')").await;
    assert_eq!(browser.eval("document.querySelector('#ask-token').open").await, false, "it does not insist");
    browser.assert_content(&["401"]).await;
    browser.close().await;
}
