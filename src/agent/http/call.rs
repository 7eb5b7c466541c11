//! A turn that is ready to be asked for, as often as need be.

use reqwest::header::HeaderMap;
use reqwest::{Client, Request, Url};
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
    template: Request,
    instead: Option<Instead>,
}

/// What is asked when the provider refuses the first question for a certain reason.
struct Instead {
    reason: fn(&ProviderError) -> bool,
    template: Request,
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
            template,
            instead: None,
        })
    }

    /// Sends `body` instead when the provider refuses the first one for this `reason`.
    pub(in crate::agent) fn or_instead(
        mut self,
        body: &impl Serialize,
        reason: fn(&ProviderError) -> bool,
    ) -> Result<Self, ModelError> {
        let mut template = self.request()?;
        *template.body_mut() = Some(json(body)?.into());
        self.instead = Some(Instead { reason, template });
        Ok(self)
    }

    /// The request once more; its body is shared, not copied.
    pub(super) fn request(&self) -> Result<Request, ModelError> {
        self.template.try_clone().ok_or_else(|| invalid("the request cannot be sent twice"))
    }

    /// Whether there is something else to ask after this refusal, which is what is asked from now on.
    pub(super) fn ask_instead(&mut self, refusal: &ProviderError) -> bool {
        match self.instead.take() {
            Some(instead) if (instead.reason)(refusal) => {
                self.template = instead.template;
                true
            }
            other => {
                self.instead = other;
                false
            }
        }
    }
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, ModelError> {
    serde_json::to_vec(body).map_err(|error| invalid(format!("the request cannot be written as JSON: {error}")))
}
