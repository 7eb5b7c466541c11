//! Where somebody is told that a run has settled, or waits for people.

use std::fmt;

/// The longest URL, in bytes, as it is stored: one that fits into an index.
#[cfg(feature = "webhooks")]
const MAX_URL: usize = 2048;

/// A URL that can be told something: `http` or `https`, without a user or a password, in the one way to write it.
///
/// Paths of such URLs are often secrets: `Debug` shows only the host.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WebhookUrl(String);

impl WebhookUrl {
    /// The URL that `text` says, or what is wrong with it. The problem does not repeat the text.
    #[cfg(feature = "webhooks")]
    pub(crate) fn parse(text: &str) -> Result<Self, super::InvalidRun> {
        let wrong = |problem: &str| Err(super::InvalidRun { field: "webhook", problem: problem.to_owned() });
        let Ok(mut url) = url::Url::parse(text) else {
            return wrong("must be a URL such as `https://example.org/runs`");
        };
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return wrong("must be an http or https URL");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("must not contain a user or a password");
        }
        // It is for the receiver's own pages, and never sent.
        url.set_fragment(None);
        if url.as_str().len() > MAX_URL {
            return wrong(&format!("must be at most {MAX_URL} bytes long, found {}", url.as_str().len()));
        }
        Ok(Self(url.into()))
    }

    /// A URL that was [parsed](Self::parse) before it was stored.
    #[cfg(feature = "webhooks")]
    pub(crate) const fn stored(url: String) -> Self {
        Self(url)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Scheme, host and port, with the `/` that follows. The stores tell the same by SQL.
    pub(crate) fn origin(&self) -> &str {
        // The host begins at the eighth byte or the ninth, and has one byte at least.
        let end = self.0.get(8..).and_then(|rest| rest.find('/')).map_or(self.0.len(), |slash| 8 + slash + 1);
        self.0.get(..end).unwrap_or_default()
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({}…)", self.origin())
    }
}

#[cfg(all(test, feature = "webhooks"))]
mod tests {
    use super::WebhookUrl;

    #[test]
    fn a_url_that_cannot_be_told_anything_is_refused_without_repeating_it() {
        let long = format!("https://secret.example/{}", "x".repeat(2048));
        let wide = format!("https://secret.example/{}", "é".repeat(400));
        for text in [
            "",
            "secret",
            "/secret",
            "ftp://secret.example/",
            "file:///secret",
            "mailto:secret@example.org",
            "http://",
            "https://secret@example.org/",
            "https://user:secret@example.org/",
            "http://:secret@example.org/",
            &long,
            &wide,
        ] {
            let error = WebhookUrl::parse(text).unwrap_err();
            assert_eq!(error.field(), "webhook", "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_url_has_one_way_to_be_written_and_its_origin_is_before_its_path() {
        for (text, url, origin) in [
            ("HTTPS://Example.org:443/a#b", "https://example.org/a", "https://example.org/"),
            ("http://a", "http://a/", "http://a/"),
            ("https://a/", "https://a/", "https://a/"),
            ("http://[::1]:8080/x?y=/z", "http://[::1]:8080/x?y=/z", "http://[::1]:8080/"),
            ("http://2130706433/", "http://127.0.0.1/", "http://127.0.0.1/"),
            ("http:\\\\bücher.example\\é", "http://xn--bcher-kva.example/%C3%A9", "http://xn--bcher-kva.example/"),
        ] {
            let parsed = WebhookUrl::parse(text).unwrap();
            assert_eq!((parsed.as_str(), parsed.origin()), (url, origin));
        }
    }

    #[test]
    fn debug_shows_only_the_host() {
        let url = WebhookUrl::parse("https://hooks.example.org/T0/my-secret?key=my-secret").unwrap();
        assert_eq!(format!("{url:?}"), "WebhookUrl(https://hooks.example.org/…)");
    }
}
