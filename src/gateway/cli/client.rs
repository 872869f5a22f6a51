//! How commands reach a running gateway: plain HTTP, answers of bounded size.

use super::Failure;
use clap::Args;
use serde_json::Value;
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

    /// Asks for a JSON document. `path` starts with a slash.
    pub(super) fn json(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("http://{}{path}", self.authority()?);
        let unreachable = |error: &dyn std::fmt::Display| Failure::Unavailable(format!("{}: {error}", self.url));
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build().into();
        let mut answer = agent.get(&url).call().map_err(|error| match error {
            ureq::Error::Io(error) => unreachable(&format!("{error}; is the gateway running? `--url` says where")),
            error => unreachable(&error),
        })?;
        let text = answer.body_mut().with_config().limit(MOST_BYTES).read_to_vec();
        let text = text.map_err(|error| unreachable(&error))?;
        let status = answer.status();
        let value = serde_json::from_slice(&text);
        if status.is_success() {
            return value.map_err(|error| unreachable(&format!("the answer is not JSON: {error}")));
        }
        let problem = value.map_or_else(|_| status.to_string(), |value| problem(&value));
        match status.as_u16() {
            502..=504 => Err(Failure::Unavailable(problem)),
            _ => Err(Failure::Failed(problem)),
        }
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
        Gateway { url }
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
        assert!(server.join().unwrap().starts_with("GET /v1/state/sip:1@b HTTP/1.1\r\n"));
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
