//! A turn that is ready to be asked for, as often as need be.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Request, StatusCode, Url};
use secrecy::SecretString;
use serde::Serialize;

use super::failure::{ProviderError, Secrets, invalid};
use super::settings::{Limits, Settings};
use crate::agent::{ModelError, ModelRequest};

pub(in crate::agent) struct Call {
    pub(super) client: Client,
    pub(super) limits: Limits,
    pub(super) streaming: bool,
    pub(super) max_retries: u32,
    pub(super) secrets: Secrets,
    /// Whether the model was given tools.
    pub(super) offers_tools: bool,
    /// The question; `None` once nobody will ask it again.
    template: Option<Box<Request>>,
    /// What is asked when the provider refuses the question for a certain reason.
    instead: Vec<Instead>,
    /// The first question, when what is asked is an answer that was begun before.
    anew: Option<Box<Request>>,
}

struct Instead {
    reason: fn(StatusCode, &ProviderError) -> bool,
    template: Box<Request>,
}

/// Where the rest of an answer can be had.
pub(in crate::agent) struct Rest {
    /// As a stream of events.
    pub(in crate::agent) streamed: Url,
    /// As the answer is at the time.
    pub(in crate::agent) polled: Url,
    /// How long to wait between two looks at it.
    pub(in crate::agent) every: Duration,
}

impl Call {
    /// Sends `body` to `url`. `key` is what the client has found out, if it was not [set](Settings::api_key).
    pub(in crate::agent) fn new(
        settings: &Settings,
        key: Option<SecretString>,
        (url, headers): (Url, HeaderMap),
        body: &impl Serialize,
        request: ModelRequest,
    ) -> Result<Self, ModelError> {
        let client = settings.client()?.clone();
        let template = client
            .post(url)
            .headers(headers)
            .body(json(body)?)
            .build()
            .map_err(|error| invalid(format!("the request cannot be made: {}", error.without_url())))?;
        Ok(Self {
            client,
            limits: settings.limits,
            streaming: settings.streaming,
            max_retries: settings.max_retries,
            offers_tools: !request.tools.is_empty(),
            secrets: Secrets::new(settings.hidden().cloned().chain(key).collect(), request),
            template: Some(Box::new(template)),
            instead: Vec::new(),
            anew: None,
        })
    }

    /// Sends `body` instead when the provider refuses the first one for this `reason`.
    pub(in crate::agent) fn or_instead(
        mut self,
        body: &impl Serialize,
        reason: fn(StatusCode, &ProviderError) -> bool,
    ) -> Result<Self, ModelError> {
        let mut template = self.request()?;
        *template.body_mut() = Some(json(body)?.into());
        self.instead.push(Instead { reason, template });
        Ok(self)
    }

    /// Looks first at an answer that an earlier attempt has asked for, and asks for a new one when the provider does not know
    /// it any more.
    pub(in crate::agent) fn picking_up(mut self, rest: Rest) -> Result<Self, ModelError> {
        self.anew = Some(self.request()?);
        self.template = Some(self.get(rest.polled, "application/json")?);
        Ok(self)
    }

    /// Whether an earlier attempt has asked the question, and it is not yet known what has come of it.
    pub(super) const fn is_picking_up(&self) -> bool {
        self.anew.is_some()
    }

    /// Forgets about the answer that was begun before; says whether there was one.
    pub(super) fn ask_anew(&mut self) -> bool {
        let Some(anew) = self.anew.take() else { return false };
        self.template = Some(anew);
        true
    }

    /// Forgets the question: its answer is being heard, and there is no other way to have it.
    pub(super) fn forget_question(&mut self) {
        self.template = None;
        self.instead = Vec::new();
    }

    /// Asks for the rest of an answer from now on: as a stream, unless it cannot be had as one.
    pub(super) fn go_on(&mut self, rest: Rest, streamed: bool) -> Result<(), ModelError> {
        self.anew = None;
        let polled = self.get(rest.polled, "application/json")?;
        if streamed {
            self.template = Some(self.get(rest.streamed, "text/event-stream")?);
            self.instead = vec![Instead { reason: |status, _| status == StatusCode::BAD_REQUEST, template: polled }];
        } else {
            self.template = Some(polled);
            self.instead.clear();
        }
        Ok(())
    }

    fn get(&self, url: Url, accepted: &'static str) -> Result<Box<Request>, ModelError> {
        let mut request = self.request()?;
        *request.method_mut() = Method::GET;
        *request.url_mut() = url;
        *request.body_mut() = None;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accepted));
        request.headers_mut().remove(CONTENT_TYPE);
        Ok(request)
    }

    /// The request once more; its body is shared, not copied.
    pub(super) fn request(&self) -> Result<Box<Request>, ModelError> {
        let again = self.template.as_ref().and_then(|template| template.try_clone());
        again.map(Box::new).ok_or_else(|| invalid("the request cannot be sent twice"))
    }

    /// Whether there is something else to ask after this refusal, which is what is asked from now on.
    pub(super) fn ask_instead(&mut self, status: StatusCode, refusal: &ProviderError) -> bool {
        if status == StatusCode::NOT_FOUND && self.ask_anew() {
            return true;
        }
        let Some(at) = self.instead.iter().position(|instead| (instead.reason)(status, refusal)) else { return false };
        self.template = Some(self.instead.swap_remove(at).template);
        true
    }
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, ModelError> {
    serde_json::to_vec(body).map_err(|error| invalid(format!("the request cannot be written as JSON: {error}")))
}
