//! One way to send a request: bounded answers, retries, errors that name the URL.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use klusterkite_tls::{Agents, Trust};
use klusterkite_wire::Problem;
use serde::de::DeserializeOwned;
use ureq::config::ConfigBuilder;
use ureq::http::header::{CONTENT_TYPE, RETRY_AFTER};
use ureq::http::{HeaderMap, Method, Request, Response};
use ureq::typestate::AgentScope;
use ureq::{Agent, AsSendBody, Body, SendBody, Timeout};

use crate::Error;

/// How long a TCP connection may take to open: a host that is there answers within a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the first byte of an answer may take: a check of a large configuration reads the whole feed.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// How long a connection may stand still while a body travels.
const STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// Largest answer that is read into memory, in bytes: the facts of a package with 50,000 files take 10 MB.
pub(crate) const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// Largest error answer that is read, in bytes; the rest of it is of no use.
const PROBLEM_BYTES_MAX: u64 = 1 << 20;

/// How many redirects a read follows: a feed may keep its files elsewhere.
const REDIRECTS_MAX: u32 = 5;

/// Longest pause that a server may ask for between two tries.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// Longest piece of a URL or a foreign text in a message, in characters.
const SHOWN_CHARS_MAX: usize = 300;

/// Says how often a call that is safe to repeat is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Number of tries, at least one is made.
    pub tries: u32,
    /// Pause before the second try; each further pause is twice as long.
    pub pause: Duration,
}

impl Retry {
    /// Three tries within a second: enough for a server that is just being restarted behind a balancer.
    pub const STANDARD: Self = Self {
        tries: 3,
        pause: Duration::from_millis(250),
    };

    /// One try, for callers that have a loop of their own.
    pub const NONE: Self = Self {
        tries: 1,
        pause: Duration::ZERO,
    };
}

/// Sends requests.
#[derive(Clone)]
pub(crate) struct Http {
    agents: Agents,
    retry: Retry,
}

/// A request; its headers may hold secrets, so it does not print.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<(&'static str, &'a [u8])>,
    /// Doing it twice is the same as doing it once.
    pub(crate) is_idempotent: bool,
    /// How long one try may take with the whole answer; `None`: as long as bytes move.
    pub(crate) time: Option<Duration>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(url: &'a str) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: None,
            is_idempotent: true,
            time: None,
        }
    }
}

/// An answer that is no error.
pub(crate) struct Answer {
    url: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self, expected: &'static str) -> Result<T, Error> {
        // "No content" reads as `null`, which is what `()` and `Option` understand.
        let body: &[u8] = if self.body.is_empty() {
            b"null"
        } else {
            &self.body
        };
        serde_json::from_slice(body).map_err(|source| Error::Answer {
            url: self.url.clone(),
            expected,
            source,
        })
    }
}

impl Http {
    pub(crate) fn new(retry: Retry) -> Self {
        Self {
            agents: Agents::new(Trust::System, settings),
            retry,
        }
    }

    /// Says whose certificates are accepted.
    pub(crate) fn with_trust(mut self, trust: Trust) -> Self {
        self.agents = Agents::new(trust, settings);
        self
    }

    /// Sends a call, repeats it if that is safe and helps, and reads the answer.
    pub(crate) fn send(&self, call: &Call<'_>) -> Result<Answer, Error> {
        self.repeat(call.is_idempotent, || self.send_once(call))
    }

    /// Runs `once` until it succeeds, fails for good or the tries are used up.
    pub(crate) fn repeat<T>(
        &self,
        is_idempotent: bool,
        mut once: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let mut pause = self.retry.pause;
        for _ in 1..self.retry.tries {
            match once() {
                Ok(value) => return Ok(value),
                // Whoever was silent for so long is so again.
                Err(failure) if matches!(failure.error, Error::Silent { .. }) => {
                    return Err(failure.error);
                }
                Err(failure) if is_idempotent && failure.error.kind() == crate::Kind::Away => {
                    thread::sleep(failure.retry_after.unwrap_or(pause).min(RETRY_AFTER_MAX));
                    pause = pause.saturating_mul(2);
                }
                Err(failure) => return Err(failure.error),
            }
        }
        once().map_err(|failure| failure.error)
    }

    fn send_once(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let mut response = match call.body {
            Some((media_type, body)) => {
                let extra = [(CONTENT_TYPE.as_str(), media_type.to_owned())];
                let headers = call.headers.iter().chain(&extra);
                self.run_within(call.time, &call.method, call.url, headers, body)?
            }
            None => self.run_within(
                call.time,
                &call.method,
                call.url,
                &call.headers,
                SendBody::none(),
            )?,
        };
        let body = read_bounded(response.body_mut(), call.url, ANSWER_BYTES_MAX)?;
        Ok(Answer {
            url: shown_url(call.url),
            body,
        })
    }

    /// Sends one request; every status but those of success becomes an error.
    pub(crate) fn run<'h>(
        &self,
        method: &Method,
        url: &str,
        headers: impl IntoIterator<Item = &'h (&'static str, String)>,
        body: impl AsSendBody,
    ) -> Result<Response<Body>, Failure> {
        self.run_within(None, method, url, headers, body)
    }

    fn run_within<'h>(
        &self,
        time: Option<Duration>,
        method: &Method,
        url: &str,
        headers: impl IntoIterator<Item = &'h (&'static str, String)>,
        body: impl AsSendBody,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method).uri(checked_url(url)?);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let failed = |source: ureq::Error| {
            let url = shown_url(url);
            if matches!(
                source,
                ureq::Error::Timeout(Timeout::Global | Timeout::RecvResponse | Timeout::RecvBody)
            ) {
                let time = time.unwrap_or(ANSWER_TIMEOUT);
                return Error::Silent { url, time };
            }
            match self.agents.explain(&url, &source) {
                Some(error) => Error::Tls(error),
                None => Error::Unreachable {
                    url,
                    source: Box::new(source),
                },
            }
        };
        let request = request
            .body(body)
            .map_err(|error| failed(ureq::Error::Http(error)))?;
        // A change is not carried on to wherever a redirect points, and neither is its key.
        let redirects = if *method == Method::GET {
            REDIRECTS_MAX
        } else {
            0
        };
        let agent = self.agents.get(url).map_err(Error::Tls)?;
        let request = agent
            .configure_request(request)
            .max_redirects(redirects)
            .timeout_global(time)
            .build();
        let response = agent.run(request).map_err(failed)?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(url, response))
    }
}

fn settings() -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .timeout_per_read(Some(STALL_TIMEOUT))
        .timeout_per_write(Some(STALL_TIMEOUT))
        .user_agent(concat!("klusterkite/", env!("CARGO_PKG_VERSION")))
        .proxy(None)
}

/// An error of one try, and when to try again.
pub(crate) struct Failure {
    error: Error,
    retry_after: Option<Duration>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            retry_after: None,
        }
    }
}

fn refusal(url: &str, mut response: Response<Body>) -> Failure {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let body = read_bounded(response.body_mut(), url, PROBLEM_BYTES_MAX).unwrap_or_default();
    let mut problem = serde_json::from_slice::<Problem>(&body)
        .unwrap_or_else(|_| Problem::new(status.as_u16(), "", foreign_text(&body)));
    // The status line counts: that is what proxies on the way understood.
    problem.status = status.as_u16();
    if problem.title.is_empty() || problem.title == "Error" {
        status
            .canonical_reason()
            .unwrap_or("Error")
            .clone_into(&mut problem.title);
    }
    Failure {
        error: Error::Refused {
            url: shown_url(url),
            problem: Box::new(problem),
        },
        retry_after,
    }
}

/// Returns a server's text as far as it is fit for a message: no markup, no control characters.
fn foreign_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.starts_with('<') {
        return String::new();
    }
    text.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN_CHARS_MAX)
        .collect()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// Reads a body of at most `limit` bytes.
pub(crate) fn read_bounded(body: &mut Body, url: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut reader = body.as_reader().take(limit + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|source| Error::BrokenOff {
            url: shown_url(url),
            source,
        })?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge {
            url: shown_url(url),
            limit,
        });
    }
    Ok(bytes)
}

/// Copies a body of at most `limit` bytes into a writer.
pub(crate) fn copy_bounded(
    body: &mut Body,
    url: &str,
    limit: u64,
    out: &mut impl io::Write,
) -> Result<u64, Error> {
    let mut reader = body.as_reader().take(limit + 1);
    let size = io::copy(&mut reader, out).map_err(|source| Error::BrokenOff {
        url: shown_url(url),
        source,
    })?;
    if size > limit {
        return Err(Error::TooLarge {
            url: shown_url(url),
            limit,
        });
    }
    Ok(size)
}

/// Accepts what can be called: `http` and `https`.
pub(crate) fn checked_url(url: &str) -> Result<&str, Error> {
    let refused = |reason| {
        Err(Error::Url {
            url: shown_url(url),
            reason,
        })
    };
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(url),
        _ => refused("it has to start with `http://` or `https://` and a host"),
    }
}

/// Returns a URL for messages: without user and password, not too long.
pub(crate) fn shown_url(url: &str) -> String {
    let shown = match url.split_once("://") {
        Some((scheme, rest)) => {
            let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let host_start = rest[..authority_end].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[host_start..])
        }
        None => url.to_owned(),
    };
    shown
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN_CHARS_MAX)
        .collect()
}

/// Encodes a text as one segment of a path or one value of a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            result.push(char::from(byte));
        } else {
            result.push('%');
            for digit in [byte >> 4, byte & 15] {
                result.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_in_a_message_has_no_password() {
        let cases = [
            ("http://user:pw@host/path@x?q", "http://host/path@x?q"),
            ("http://host:8080/v3", "http://host:8080/v3"),
            ("http://a:b@c@host", "http://host"),
            ("no url", "no url"),
        ];
        for (url, expected) in cases {
            assert_eq!(shown_url(url), expected);
        }
    }

    #[test]
    fn a_server_that_accepts_and_never_answers_is_asked_once_and_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let http = Http::new(Retry::STANDARD);
        let call = Call {
            time: Some(Duration::from_millis(200)),
            ..Call::get(&url)
        };
        let error = http.send(&call).err().unwrap();
        assert!(matches!(error, Error::Silent { .. }), "{error:?}");
        assert_eq!(error.kind(), crate::Kind::Away);
        assert!(
            error.to_string().contains("gave no whole answer"),
            "{error}"
        );
        listener.accept().unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "it was asked once");
    }

    #[test]
    fn urls_that_cannot_be_called_say_why() {
        for url in ["ftp://x", "https://", "http://", "http:///x", "feed", ""] {
            assert!(checked_url(url).is_err(), "{url}");
        }
        for url in ["http://feed:8081/v3/index.json", "https://feed"] {
            assert!(checked_url(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn values_are_encoded_byte_by_byte() {
        assert_eq!(encoded("a b/ü%0"), "a%20b%2F%C3%BC%250");
        assert_eq!(encoded("-._~Az9"), "-._~Az9");
    }

    #[test]
    fn a_page_of_markup_is_no_message() {
        assert_eq!(foreign_text(b"<html>502</html>"), "");
        assert_eq!(foreign_text(b" busy\n\x07 "), "busy");
    }
}
