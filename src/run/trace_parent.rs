//! Where a run comes from, in the words of [W3C Trace Context](https://www.w3.org/TR/trace-context/).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The trace and the span of whoever submitted a run, as a `traceparent` header has them.
///
/// ```
/// use greenroom::TraceParent;
///
/// let parent = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
/// assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(TraceParent::parse("00-00000000000000000000000000000000-00f067aa0ba902b7-01"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent(String);

impl TraceParent {
    /// The length of a header of version 00, which those of later versions begin with.
    const LENGTH: usize = 55;

    /// Reads the value of a `traceparent` header; none when it is not one, which nobody is to be refused for.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        let known = header.get(..Self::LENGTH)?;
        let rest = &header[Self::LENGTH..];
        let parts: Vec<&str> = known.split('-').collect();
        let [version, trace, span, flags] = parts[..] else { return None };
        let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let lengths = [version.len(), trace.len(), span.len(), flags.len()] == [2, 32, 16, 2];
        let ends = if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        let names = [trace, span].iter().all(|id| id.bytes().any(|byte| byte != b'0'));
        let well_formed = lengths && ends && names && version != "ff" && parts.iter().all(|part| is_hex(part));
        // Of a later version, only what the first one says is understood.
        well_formed.then(|| Self(format!("00-{trace}-{span}-{flags}")))
    }

    /// The value of the header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }

    /// The span, 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> &str {
        &self.0[36..52]
    }

    /// Whether the trace is recorded by whoever submitted the run.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.0[53..], 16).is_ok_and(|flags| flags & 1 == 1)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TraceParent {
    type Error = &'static str;

    fn try_from(header: String) -> Result<Self, Self::Error> {
        Self::parse(&header).ok_or("no traceparent of W3C Trace Context")
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.0
    }
}

#[cfg(test)]
mod tests {
    use super::TraceParent;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn what_later_versions_add_is_left_out() {
        let parent = TraceParent::parse(&format!(" cc-{TRACE}-00f067aa0ba902b7-03-what-comes-later ")).unwrap();
        assert_eq!(parent.as_str(), format!("00-{TRACE}-00f067aa0ba902b7-03"));
        assert_eq!((parent.trace_id(), parent.span_id(), parent.is_sampled()), (TRACE, "00f067aa0ba902b7", true));
        assert!(!TraceParent::parse(&format!("00-{TRACE}-00f067aa0ba902b7-02")).unwrap().is_sampled());
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for header in [
            String::new(),
            "ü".repeat(55),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("01-{TRACE}-00f067aa0ba902b7-01more"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}0-0f067aa0ba902b7-01"),
        ] {
            assert_eq!(TraceParent::parse(&header), None, "{header}");
        }
    }
}
