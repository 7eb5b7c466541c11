//! The setters of what can be set of every client.

/// The setters that every client has, documented with its own words.
macro_rules! client_settings {
    ($client:ident, key: $key:literal, base_url: $base_url:literal) => {
        impl $client {
            #[doc = $key]
            pub fn api_key(mut self, key: impl Into<String>) -> Self {
                self.settings.api_key = Some(key.into().into());
                self
            }

            #[doc = $base_url]
            ///
            /// It has to be `http` or `https` and must not contain a user or a password. A query is kept.
            pub fn base_url(mut self, url: impl Into<String>) -> Self {
                self.settings.base_url = Some(url.into());
                self
            }

            /// Sends one more header with each request; none when left out. A header that the client sends itself is replaced.
            pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
                self.settings.headers.push((name.into(), value.into().into()));
                self
            }

            /// Whether the answer comes piece by piece, which is so when left out, or as one JSON text at the end.
            pub const fn streaming(mut self, streaming: bool) -> Self {
                self.settings.streaming = streaming;
                self
            }

            /// Which tools the model may call in the first turn of a run; it chooses itself when left out.
            ///
            /// As soon as a tool has answered, the model chooses itself: who has to call a tool in every turn never answers.
            pub fn tool_choice(mut self, choice: $crate::agent::ToolChoice) -> Self {
                self.settings.tool_choice = Some(choice);
                self
            }

            /// Whether the model may call several tools in one turn; the provider's default, which is that it may, when left out.
            pub const fn parallel_tool_calls(mut self, parallel: bool) -> Self {
                self.settings.parallel_tool_calls = Some(parallel);
                self
            }

            /// Whether the provider is asked to hold the model to the schemas of tools and answers that are
            /// [strict](crate::model::ToolSpec::strict), which is so when left out.
            ///
            /// For servers that refuse to, or that do not know `strict` at all. Arguments and answers are read all the same, and
            /// the model is told of arguments that do not fit.
            pub const fn strict_schemas(mut self, strict: bool) -> Self {
                self.settings.strict_schemas = strict;
                self
            }

            /// How long making a connection may take, TLS included; 10 seconds when left out.
            ///
            /// Has no effect on a client that is [handed over](Self::http_client).
            pub fn connect_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.settings.connect_timeout = timeout;
                self.settings.own_client = std::sync::Arc::default();
                self
            }

            /// How long the provider may take, from the request on, until a streamed answer's first byte; 120 seconds when left
            /// out.
            ///
            /// An answer that is not [streamed](Self::streaming) begins only when it is complete: it has
            /// [`timeout`](Self::timeout) alone.
            pub const fn first_byte_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.settings.limits.first_byte = timeout;
                self
            }

            /// How long the provider may be silent between two pieces of an answer; 300 seconds when left out.
            pub const fn idle_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.settings.limits.idle = timeout;
                self
            }

            /// How long a whole turn may take, retries and the waits before them included; 30 minutes when left out.
            pub const fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.settings.limits.whole = timeout;
                self
            }

            /// How many times a request is asked again; 2 when left out.
            ///
            /// That happens when no connection could be made or it was lost, upon status 408, 409, 429 and 5xx, and after a
            /// [`first_byte_timeout`](Self::first_byte_timeout), but never once an event of the answer was received. The wait
            /// before it is what the provider asks for in `Retry-After` or `retry-after-ms`, or else grows from half a second
            /// to 8, with jitter on top. Nobody is waited for longer than 60 seconds: the turn fails instead.
            pub const fn max_retries(mut self, retries: u32) -> Self {
                self.settings.max_retries = retries;
                self
            }

            /// Uses this HTTP client instead of making one, for instance for a proxy or for further roots of trust.
            ///
            /// Its own timeouts and its policy for redirects apply.
            pub fn http_client(mut self, client: reqwest::Client) -> Self {
                self.settings.ready_client = Some(client);
                self
            }
        }
    };
}
pub(in crate::agent) use client_settings;
