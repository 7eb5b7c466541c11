//! Answers that go on without their client: `OpenAI`'s
//! [background mode](https://platform.openai.com/docs/guides/background).

use std::time::Duration;

use reqwest::{Request, Url};
use serde_json::{Value, json};

use crate::agent::ModelError;
use crate::agent::http::{Rest, Settings, may_pass, waits};

/// How long the provider may take to answer that it gives up an answer.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// How many times the provider is told again.
const REPEATS: u32 = 2;

/// What is known of an answer that goes on without its client.
pub(super) struct Background {
    /// Where answers are asked for.
    url: Url,
    every: Duration,
    /// The id that was noted.
    noted: Option<String>,
    /// The number of the latest event.
    heard: Option<u64>,
}

impl Background {
    /// An answer of which this was noted, if anything was.
    pub(super) fn new(url: Url, every: Duration, note: Option<&Value>) -> Self {
        Self { url, every, noted: note.and_then(id_of).map(str::to_owned), heard: None }
    }

    /// The note that has to be made of the answer with this id.
    pub(super) fn note(&mut self, id: &str) -> Option<Value> {
        if self.noted.as_deref() == Some(id) {
            return None;
        }
        self.noted = Some(id.to_owned());
        self.heard = None;
        Some(json!({"openai_response": id}))
    }

    /// Whether the event of this number was heard before.
    pub(super) fn was_heard(&mut self, number: Option<u64>) -> bool {
        let Some(number) = number else { return false };
        let before = self.heard.is_some_and(|heard| number <= heard);
        self.heard = self.heard.max(Some(number));
        before
    }

    /// Where the rest of the answer can be had.
    pub(super) fn rest(&self) -> Option<Rest> {
        let polled = answer_url(&self.url, self.noted.as_deref()?, &[])?;
        let mut streamed = polled.clone();
        streamed.query_pairs_mut().append_pair("stream", "true");
        if let Some(heard) = self.heard {
            streamed.query_pairs_mut().append_pair("starting_after", &heard.to_string());
        }
        Some(Rest { streamed, polled, every: self.every })
    }
}

/// The id in a note of this client.
fn id_of(note: &Value) -> Option<&str> {
    note.get("openai_response")?.as_str()
}

fn answer_url(url: &Url, id: &str, path: &[&str]) -> Option<Url> {
    let mut url = url.clone();
    url.path_segments_mut().ok()?.push(id).extend(path);
    Some(url)
}

/// Has the provider give up the answer of which this was noted. That may be in vain: nobody is left who could do more.
pub(super) async fn cancel(settings: Settings, template: Result<Request, ModelError>, note: Value) {
    let sent = async {
        let template = template.ok()?;
        let url = answer_url(template.url(), id_of(&note)?, &["cancel"])?;
        let client = settings.client().ok()?;
        let mut waits = waits(REPEATS);
        loop {
            let mut request = template.try_clone()?;
            *request.url_mut() = url.clone();
            let told = tokio::time::timeout(CANCEL_TIMEOUT, client.execute(request)).await;
            // What it refuses for good is over, or not known to it.
            if told.is_ok_and(|told| told.is_ok_and(|answer| !may_pass(answer.status()))) {
                return Some(());
            }
            tokio::time::sleep(waits.next()?).await;
        }
    };
    if sent.await.is_none() {
        tracing::debug!("the provider was not told to give up an answer in the background");
    }
}
