//! How the page looks by night and on a narrow screen, in a real browser.

use greenroom::{Agent, AgentError, NewRun, RunContext, Runtime, Store};
use serde_json::json;

use super::super::{Service, submitted};
use super::browser::Browser;
use crate::support::{Gate, gated, settled};

/// For each text that can be seen, the contrast with what is behind it; the least of them, and its text.
const LEAST_CONTRAST: &str = r"(() => {
    const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
    const linear = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const ground = (element) => {
        for (; element; element = element.parentElement) {
            const colour = parts(getComputedStyle(element).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour;
        }
        throw new Error('nothing is behind it');
    };
    let least = [99, ''];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest('noscript')) continue;
        const [one, other] = [light(parts(getComputedStyle(element).color)), light(ground(element))];
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (contrast < least[0]) least = [contrast, texts.currentNode.data];
    }
    return least;
})()";

async fn service() -> (Service, String) {
    let failing = Agent::builder("summariser").code(|cx: RunContext| async move {
        cx.emit_text("The report begins well, and then ").await;
        Err::<(), _>(AgentError::new("the source could not be read"))
    });
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(failing).agent(gated(&Gate::new()));
    let runtime = builder.start().await.unwrap();
    for number in 0..3 {
        submitted(&runtime, NewRun::new("gated", number).session_id(format!("customer-{number}"))).await;
    }
    let cancelled = submitted(&runtime, NewRun::new("gated", "hi")).await;
    runtime.cancel(cancelled.run_id()).await.unwrap();
    let session = "a-session-with-a-name-that-is-much-longer-than-any-narrow-screen-is-wide".repeat(2);
    let run = submitted(&runtime, NewRun::new("summariser", "Sum it up.").session_id(session)).await;
    settled(&run).await;
    let service = Service::of(&runtime);
    let address = service.url(&format!("/api/#/runs/{}", run.run_id()));
    (service, address)
}

#[tokio::test]
async fn it_can_be_read_by_day_and_by_night_on_screens_wide_and_narrow() {
    let Some(browser) = Browser::open().await else { return };
    let (service, run) = service().await;
    let views = [
        ("runs", service.url("/api/#/runs"), "document.querySelectorAll('.runs li').length === 5"),
        ("run", run, "document.querySelector('.failure h2') && document.querySelector('.timeline .RunError')"),
        ("new", service.url("/api/#/new"), "document.querySelectorAll('select[name=agent] option').length === 2"),
    ];
    for scheme in ["light", "dark"] {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        browser.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await;
        for (width, height) in [(1120, 900), (320, 900)] {
            let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
            browser.devtools("Emulation.setDeviceMetricsOverride", size).await;
            for (name, address, drawn) in &views {
                browser.goto(address).await;
                browser.until(drawn).await;

                let overflow = browser.eval("document.documentElement.scrollWidth - window.innerWidth").await;
                assert!(overflow.as_i64().unwrap() <= 0, "{name} at {width}: {overflow} too wide");
                let least = browser.eval(LEAST_CONTRAST).await;
                assert!(least[0].as_f64().unwrap() >= 4.5, "{name}, {scheme}: {least}");
                browser.picture(&format!("{name}-{scheme}-{width}")).await;
            }
        }
    }
    browser.assert_content(&[]).await;
    browser.close().await;
}
