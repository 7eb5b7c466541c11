//! The headers that say how a request is meant.

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;

use super::problem::Problem;
use crate::run::TraceParent;

/// The longest idempotency key, in bytes.
const LONGEST_KEY: usize = 255;

/// How many seconds the caller prefers to wait, by `Prefer: wait=N` of [RFC 7240](https://www.rfc-editor.org/rfc/rfc7240).
/// Preferences that are not understood are no errors there.
pub(super) fn preferred_wait(headers: &HeaderMap) -> Option<u32> {
    let said = headers.get_all("prefer").filter_map(|value| value.to_str().ok());
    said.flat_map(|value| value.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("wait") { value.trim().trim_matches('"').parse().ok() } else { None }
    })
}

/// The seq after which a reader goes on. Whoever has none leaves the header out, as
/// [the standard](https://html.spec.whatwg.org/multipage/server-sent-events.html#the-last-event-id-header) says.
pub(super) fn last_event_id(request: &HttpRequest) -> Result<Option<u64>, Problem> {
    let wrong = || Problem::parameter("Last-Event-ID", "must be the id of an event of this run");
    match request.headers().get("last-event-id") {
        Some(value) => Ok(Some(value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)?)),
        None => Ok(None),
    }
}

/// The key by which a submit is known again, by `Idempotency-Key` of
/// [draft-ietf-httpapi-idempotency-key-header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/):
/// a structured-field string, in quotes. Many clients leave them out, so a bare token will do.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let wrong = |problem: &str| Problem::parameter("Idempotency-Key", problem);
    let mut said = headers.get_all("idempotency-key");
    let Some(value) = said.next() else { return Ok(None) };
    if said.next().is_some() {
        return Err(wrong("must be there once"));
    }
    let text = value.to_str().unwrap_or_default().trim();
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted),
        None => text.bytes().all(is_token_char).then(|| text.to_owned()),
    };
    match key {
        Some(key) if (1..=LONGEST_KEY).contains(&key.len()) => Ok(Some(key)),
        Some(_) => Err(wrong("must be 1 to 255 characters long")),
        None => Err(wrong("must be a text in double quotes, or a bare token")),
    }
}

/// The trace that the request is part of. As the specification wants it, what is none is not there.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut said = headers.get_all("traceparent");
    let parent = TraceParent::parse(said.next()?.to_str().ok()?);
    parent.filter(|_| said.next().is_none())
}

/// The text of a structured-field string, its opening quote gone
/// ([RFC 9651 §4.2.5](https://www.rfc-editor.org/rfc/rfc9651#section-4.2.5)).
fn unquoted(quoted: &str) -> Option<String> {
    let mut text = String::with_capacity(quoted.len());
    let mut signs = quoted.chars();
    loop {
        match signs.next()? {
            // Parameters are allowed to follow, and mean nothing here.
            '"' => return (signs.as_str().is_empty() || signs.as_str().starts_with(';')).then_some(text),
            '\\' => text.push(signs.next().filter(|sign| matches!(sign, '"' | '\\'))?),
            sign @ ' '..='~' => text.push(sign),
            _ => return None,
        }
    }
}

/// The characters of a token, and of the UUIDs and base64 texts that clients send bare.
const fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'!' | b'#'..=b'\'' | b'*'..=b':' | b'=' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderMap;
    use actix_web::test::TestRequest;

    use super::{idempotency_key, last_event_id, preferred_wait};

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let request =
            values.iter().fold(TestRequest::default(), |request, value| request.append_header((name, *value)));
        request.to_http_request().headers().clone()
    }

    #[test]
    fn a_preferred_wait_is_found_among_other_preferences() {
        for (values, wait) in [
            (&["wait=10"][..], Some(10)),
            (&["respond-async, wait=5"], Some(5)),
            (&["respond-async", "Wait = 7; x=y"], Some(7)),
            (&["wait=\"3\""], Some(3)),
            (&["wait=soon"], None),
            (&["wait=-1"], None),
            (&["wait"], None),
            (&["waiter=1"], None),
            (&[], None),
        ] {
            assert_eq!(preferred_wait(&headers("prefer", values)), wait, "{values:?}");
        }
    }

    #[test]
    fn an_idempotency_key_is_a_quoted_text_or_a_token() {
        for (value, key) in [
            ("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("\"a \\\"quoted\\\" \\\\ one\"", "a \"quoted\" \\ one"),
            ("\"with\";parameters=1", "with"),
            ("aGVsbG8=", "aGVsbG8="),
        ] {
            assert_eq!(idempotency_key(&headers("idempotency-key", &[value])).unwrap().unwrap(), key);
        }
        assert!(idempotency_key(&headers("other", &["x"])).unwrap().is_none());
    }

    #[test]
    fn an_impossible_idempotency_key_is_refused() {
        let long: &str = Box::leak("x".repeat(256).into_boxed_str());
        for values in [
            &[""][..],
            &["\"\""],
            &["\"open"],
            &["\"a\"b"],
            &["two words"],
            &["\"bad \\escape\""],
            &[long],
            &["a", "b"],
        ] {
            let refusal = idempotency_key(&headers("idempotency-key", values)).unwrap_err();
            assert!(refusal.to_string().starts_with("`Idempotency-Key` must be"), "{values:?}: {refusal}");
        }
    }

    #[test]
    fn a_last_event_id_is_a_seq() {
        let read = |value: &'static str| {
            last_event_id(&TestRequest::default().insert_header(("last-event-id", value)).to_http_request())
        };
        assert_eq!(read("7").unwrap(), Some(7));
        for value in ["", "-1", "x", "1.5", "99999999999999999999999"] {
            assert!(read(value).is_err(), "{value}");
        }
    }
}
