//! A real browser: a headless Chromium, driven over WebDriver.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::postgres::packages;
use crate::support::soon;

/// Runs the driver until the pipe to this script is closed, which the kernel does however the tests end. Its browsers end with
/// it, as a group: a driver that is told to end may wait for a browser for ever.
const SUPERVISOR: &str = "trap '' HUP INT TERM PIPE
    TMPDIR=\"$2\" $(command -v setsid) \"$1\" --port=0 2>/dev/null </dev/null &
    read -r _
    kill -s TERM $! 2>/dev/null
    sleep 1
    kill -s KILL -- -$! 2>/dev/null || kill -s KILL $! 2>/dev/null
    wait
    cd / && rm -rf \"$2\"";

pub(super) const TAB: char = '\u{E004}';
pub(super) const ENTER: char = '\u{E007}';
pub(super) const ARROW_LEFT: char = '\u{E012}';
pub(super) const ARROW_DOWN: char = '\u{E015}';

struct Driver {
    url: String,
    /// Never dropped, as a part of a static; the end of the process is what stops it.
    _supervisor: Mutex<Child>,
}

fn programs() -> Option<(PathBuf, PathBuf)> {
    let path = env::var_os("PATH").unwrap_or_default();
    let find = |names: &[&str]| {
        let candidates =
            env::split_paths(&path).flat_map(|directory| names.iter().map(move |name| directory.join(name)));
        candidates.into_iter().find(|program| program.is_file())
    };
    Some((find(&["chromedriver"])?, find(&["chromium", "chromium-browser", "google-chrome", "chrome"])?))
}

fn driver() -> Result<&'static Driver, &'static String> {
    static DRIVER: OnceLock<Result<Driver, String>> = OnceLock::new();
    DRIVER.get_or_init(start_driver).as_ref()
}

fn start_driver() -> Result<Driver, String> {
    if programs().is_none() && packages::can_install() {
        packages::install(&["chromium", "chromium-driver"], || Ok(programs().is_some()))?;
    }
    let missing = || "there is no chromium and chromedriver; `apt-get install chromium chromium-driver`".to_owned();
    let (program, _) = programs().ok_or_else(missing)?;
    let directory = env::temp_dir().join(format!("greenroom-tests-browser-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SUPERVISOR, "greenroom-tests-browser"]).arg(program).arg(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut supervisor = command.spawn().map_err(|error| format!("/bin/sh: {error}"))?;
    let mut said = BufReader::new(supervisor.stdout.take().expect("it is a pipe")).lines().map_while(Result::ok);
    let port = said.find_map(|line| Some(line.split_once("successfully on port ")?.1.trim_end_matches('.').to_owned()));
    // Whatever else it says has to go somewhere.
    std::thread::spawn(move || said.for_each(drop));
    let url = format!("http://127.0.0.1:{}", port.ok_or("chromedriver did not start")?);
    Ok(Driver { url, _supervisor: Mutex::new(supervisor) })
}

/// A window of its own, with nothing in it that another one has left.
pub(super) struct Browser {
    pub(super) client: Client,
    session: String,
}

impl Browser {
    /// None, after saying so, where there is no browser and none can be installed.
    pub(super) async fn open() -> Option<Self> {
        let driver = match tokio::task::spawn_blocking(driver).await.unwrap() {
            Ok(driver) => driver,
            Err(problem) => {
                let test = std::thread::current().name().unwrap_or("a test").to_owned();
                packages::say(&format!("SKIPPED {test}: {problem}"));
                return None;
            }
        };
        let (_, program) = programs().unwrap();
        let mut arguments =
            vec!["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1120,900"];
        if packages::is_root() {
            // Chromium refuses to make its sandbox as root. It meets nothing but this test's own service.
            arguments.push("--no-sandbox");
        }
        let wanted = json!({
            "goog:chromeOptions": {"binary": program, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(wanted.as_object().unwrap().clone());
        let client = soon(builder.connect(&driver.url)).await.unwrap();
        let session = client.session_id().await.unwrap().unwrap();
        Some(Self { client, session: format!("{}/session/{session}", driver.url) })
    }

    pub(super) async fn goto(&self, url: &str) {
        soon(self.client.goto(url)).await.unwrap();
    }

    /// Waits until the element is there, and can be seen.
    pub(super) async fn find(&self, css: &str) -> Element {
        let is_seen = "(element) => element.matches('option') || element.checkVisibility()";
        self.until(&format!("({is_seen})(document.querySelector({}))", json!(css))).await;
        soon(self.client.find(Locator::Css(css))).await.unwrap()
    }

    pub(super) async fn click(&self, css: &str) {
        soon(self.find(css).await.click()).await.unwrap();
    }

    pub(super) async fn enter(&self, css: &str, text: &str) {
        soon(self.find(css).await.send_keys(text)).await.unwrap();
    }

    /// Presses a key, wherever the focus is.
    pub(super) async fn press(&self, key: char) {
        let keyboard = KeyActions::new("keyboard".to_owned());
        let stroke = keyboard.then(KeyAction::Down { value: key }).then(KeyAction::Up { value: key });
        soon(self.client.perform_actions(stroke)).await.unwrap();
    }

    pub(super) async fn eval(&self, expression: &str) -> Value {
        soon(self.client.execute(&format!("return {expression};"), Vec::new())).await.unwrap()
    }

    /// Waits until the expression holds. What it asks of an element that is not there yet does not.
    pub(super) async fn until(&self, expression: &str) {
        let holds = format!(
            "(() => {{ try {{ return Boolean({expression}); }} \
             catch (error) {{ if (error instanceof TypeError) return false; throw error; }} }})()"
        );
        let held = async {
            while self.eval(&holds).await != json!(true) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(crate::support::LONG, held).await.is_err() {
            let page = self.eval("document.body.innerText").await;
            panic!("`{expression}` does not come to hold on\n{}", page.as_str().unwrap_or_default());
        }
    }

    /// The text of the first element, as it can be seen.
    pub(super) async fn text(&self, css: &str) -> String {
        soon(self.find(css).await.text()).await.unwrap()
    }

    /// What the browser is told by its own protocol.
    pub(super) async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({"cmd": command, "params": parameters});
        let request = reqwest::Client::new().post(format!("{}/goog/cdp/execute", self.session)).json(&body);
        let response = soon(request.send()).await.unwrap();
        assert!(response.status().is_success(), "{command}: {}", response.text().await.unwrap());
    }

    /// Checks that the browser has nothing to complain of, but what `expected` says.
    pub(super) async fn assert_content(&self, expected: &[&str]) {
        let request = reqwest::Client::new().post(format!("{}/se/log", self.session)).json(&json!({"type": "browser"}));
        let log: Value = soon(soon(request.send()).await.unwrap().json()).await.unwrap();
        let lines: Vec<&str> =
            log["value"].as_array().unwrap().iter().filter_map(|line| line["message"].as_str()).collect();
        let unexpected: Vec<_> = lines.iter().filter(|line| !expected.iter().any(|word| line.contains(word))).collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
    }

    /// Keeps a picture of the page beside what the tests were built from.
    pub(super) async fn picture(&self, name: &str) {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{name}.png"));
        fs::write(&path, soon(self.client.screenshot()).await.unwrap()).unwrap();
        packages::say(&format!("a picture of the page: {}", path.display()));
    }

    pub(super) async fn close(self) {
        soon(self.client.close()).await.unwrap();
    }
}
