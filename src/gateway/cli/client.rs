//! How commands reach a running gateway: plain HTTP, answers of bounded size.

use super::Failure;
use clap::Args;
use serde_json::{Map, Value};
use std::time::Duration;

/// No answer is longer, bytes.
const MOST_BYTES: u64 = 64 << 20;
/// An answer takes no longer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which gateway.
#[derive(Args, Clone, Debug)]
pub(super) struct Gateway {
    /// Where the gateway's web side listens
    #[arg(long, value_name = "URL", env = "LAMPLIGHTER_URL", default_value = "http://127.0.0.1:8088")]
    url: String,
    /// A token or API key, where the gateway wants to know who asks; better given as LAMPLIGHTER_TOKEN, which no list of
    /// processes shows
    #[arg(long, value_name = "TOKEN", env = "LAMPLIGHTER_TOKEN", hide_env_values = true)]
    token: Option<Token>,
}

/// What to ask about one address, and where.
#[derive(Args, Debug)]
pub(super) struct About {
    /// The address: sip:1001@office.example, 1001@office.example or 1001
    pub(super) resource: String,
    /// As JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) gateway: Gateway,
}

impl Gateway {
    /// The address after the scheme, without a slash at its end.
    fn authority(&self) -> Result<&str, Failure> {
        let rest = self.url.strip_prefix("http://").filter(|rest| !rest.is_empty());
        let rest =
            rest.ok_or_else(|| Failure::Usage(format!("`{}` is no URL such as http://127.0.0.1:8088", self.url)))?;
        Ok(rest.trim_end_matches('/'))
    }

    /// The URL of the WebSocket feed.
    pub(super) fn feed(&self) -> Result<String, Failure> {
        Ok(format!("ws://{}/v1/feed", self.authority()?))
    }

    /// What to show at the door, if anything.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|Token(token)| token.as_str())
    }

    /// Asks for a JSON document. `path` starts with a slash.
    pub(super) fn json(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Sent { method: "GET", path, headers: vec![], body: vec![] })
    }

    /// Gives every row of a listing that comes in pages. `path` may have a query.
    pub(super) fn rows(
        &self,
        path: &str,
        name: &str,
        mut row: impl FnMut(&Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let more = if path.contains('?') { '&' } else { '?' };
        let mut next = path.to_owned();
        loop {
            let answer = self.json(&next)?;
            answer[name].as_array().into_iter().flatten().try_for_each(&mut row)?;
            let Some(page) = answer["page"].as_str() else { return Ok(()) };
            next = format!("{path}{more}page={}", segment(page));
        }
    }

    /// Sends JSON, or nothing; the answer is JSON.
    pub(super) fn order(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let headers = body.map(|_| ("Content-Type", "application/json")).into_iter().collect();
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.ask(Sent { method, path, headers, body })
    }

    /// Sends a request; the answer is a JSON document.
    pub(super) fn ask(&self, sent: Sent<'_>) -> Result<Value, Failure> {
        let mut answer = self.send(sent, Some(PATIENCE))?;
        self.read(&mut answer)
    }

    /// Reads an answer that does not end, as it comes.
    pub(super) fn follow(&self, path: &str) -> Result<impl std::io::Read + use<>, Failure> {
        let mut answer = self.send(Sent { method: "GET", path, headers: vec![], body: vec![] }, None)?;
        if !answer.status().is_success() {
            self.read(&mut answer)?;
        }
        Ok(answer.into_body().into_reader())
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::Unavailable(format!("{}: {error}", self.url))
    }

    fn send(&self, sent: Sent<'_>, patience: Option<Duration>) -> Result<ureq::http::Response<ureq::Body>, Failure> {
        let Sent { method, path, headers, body } = sent;
        let url = format!("http://{}{path}", self.authority()?);
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_connect(Some(PATIENCE));
        let agent: ureq::Agent = config.timeout_global(patience).build().into();
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if let Some(token) = self.token() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let wrong = |error| Failure::Usage(format!("{}: {error}", self.url));
        let answer = match body.is_empty() {
            true => agent.run(request.body(()).map_err(wrong)?),
            false => agent.run(request.body(body).map_err(wrong)?),
        };
        answer.map_err(|error| match error {
            ureq::Error::Io(error) => self.unreachable(&format!("{error}; is the gateway running? `--url` says where")),
            error => self.unreachable(&error),
        })
    }

    fn read(&self, answer: &mut ureq::http::Response<ureq::Body>) -> Result<Value, Failure> {
        let text = answer.body_mut().with_config().limit(MOST_BYTES).read_to_vec();
        let text = text.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        if status.as_u16() == 204 {
            return Ok(Value::Null);
        }
        let value = serde_json::from_slice(&text);
        if status.is_success() {
            return value.map_err(|error| self.unreachable(&format!("the answer is not JSON: {error}")));
        }
        let problem = value.map_or_else(|_| status.to_string(), |value| problem(&value));
        match status.as_u16() {
            502..=504 => Err(Failure::Unavailable(problem)),
            _ => Err(Failure::Failed(problem)),
        }
    }
}

/// Headers for requests to other servers, as `--header` takes them.
pub(super) fn headers(given: &[String]) -> Result<Map<String, Value>, Failure> {
    let header = |one: &String| {
        let (name, value) = one.split_once(':').ok_or_else(|| Failure::Usage(format!("--header {one}: no colon")))?;
        Ok((name.trim().to_owned(), value.trim().into()))
    };
    given.iter().map(header).collect()
}

/// A request.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    pub method: &'a str,
    /// Starts with a slash.
    pub path: &'a str,
    pub headers: Vec<(&'a str, &'a str)>,
    pub body: Vec<u8>,
}

/// A secret that is not shown.
#[derive(Clone)]
struct Token(String);

impl std::str::FromStr for Token {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if plain { Ok(Self(text.to_owned())) } else { Err("no token: it holds other characters than a token may") }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// What an RFC 9457 problem says.
pub(super) fn problem(value: &Value) -> String {
    let text = |name: &str| value[name].as_str().map(super::output::clean);
    match (text("title"), text("detail")) {
        (Some(title), Some(detail)) => format!("{title}: {detail}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "the gateway refused without a reason".to_owned(),
    }
}

/// A path segment: everything but unreserved characters (RFC 3986 section 2.3), `:` and `@` is escaped.
pub(super) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    fn gateway(url: String) -> Gateway {
        Gateway { url, token: Some(Token("k.secret".into())) }
    }

    /// A server that answers one request, and gives back the request.
    fn serve(status: &'static str, body: &'static str) -> (Gateway, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"\r\n\r\n") {
                let length = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..length]);
            }
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (gateway(url), thread)
    }

    #[test]
    fn answers_are_read() {
        let (gateway, server) = serve("200 OK", "{\"a\":1}");
        assert_eq!(gateway.json("/v1/state/sip:1@b").unwrap(), serde_json::json!({"a": 1}));
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /v1/state/sip:1@b HTTP/1.1\r\n"), "{request}");
        assert!(request.to_ascii_lowercase().contains("authorization: bearer k.secret\r\n"), "{request}");
        assert!(!format!("{gateway:?}").contains("secret"));
    }

    #[test]
    fn refusals_are_told() {
        let (gateway, server) = serve("404 Not Found", "{\"title\":\"Not found\",\"detail\":\"no such one\"}");
        let failure = gateway.json("/v1/state/sip:1@b").unwrap_err();
        assert_eq!((failure.code(), failure.to_string().as_str()), (1, "Not found: no such one"));
        server.join().unwrap();
    }

    #[test]
    fn a_gateway_that_is_not_there_is_unavailable() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert_eq!(gateway(format!("http://127.0.0.1:{port}")).json("/v1/version").unwrap_err().code(), 69);
    }

    #[test]
    fn urls_are_checked() {
        assert_eq!(gateway("https://example.com".into()).feed().unwrap_err().code(), 2);
        assert_eq!(gateway("http://[::1]:8088/".into()).feed().unwrap(), "ws://[::1]:8088/v1/feed");
    }

    #[test]
    fn segments_hold_no_slash() {
        assert_eq!(segment("sip:a/b?c@example.com"), "sip:a%2Fb%3Fc@example.com");
    }
}
