//! The feed's addresses: WebSocket, server-sent events, and what describes their frames.

use crate::app::App;
use crate::auth::Principal;
use crate::openapi::Operation;
use crate::problem::{Kind, Problem};
use crate::serve::Connection;
use crate::ws::{self, Socket};
use crate::{schema, session, sse};
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::Instrument;

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/feed", upgrade)
            .about("feed", "The feed over WebSocket, subprotocol presence.v1; see /v1/asyncapi.json")
            .bare(101, "The feed begins"),
        Operation::get("/v1/events", sse::events)
            .about("events", "The frames of the feed as server-sent events")
            .queries("r", "Selector", "Which addresses; without it all")
            .queries("kind", "Kind", "Which kinds; without it all")
            .query("cursor", json!({ "type": "string", "maxLength": 128 }), "Go on from here")
            .header("Last-Event-ID", false, "The same, and goes before `cursor`")
            .typed(200, "text/event-stream", "Text", "Events `snap`, `upd`, `reset`; each id is a cursor")
            .refuses(&[Kind::NotFound, Kind::InvalidField, Kind::TooManyResources]),
        Operation::get("/v1/asyncapi.json", schema::asyncapi)
            .about("asyncapi", "What the feed's frames are, as an AsyncAPI document")
            .answer(200, "Document", "AsyncAPI 3"),
        Operation::get("/v1/schemas/{file}", schema::schema)
            .about("schema", "The JSON Schema of a frame or of a kind of state")
            .segment("file", "Name", "A name and .json, such as item.json or state-dialog.json")
            .typed(200, "application/schema+json", "Document", "JSON Schema 2020-12")
            .refuses(&[Kind::NotFound]),
    ]
}

/// Whether this address may open another connection now.
pub(crate) fn admit(app: &App, from: IpAddr) -> Result<(), Problem> {
    let mut handshakes = app.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(wait) = handshakes.take(from, &app.config.limits, Instant::now()) else { return Ok(()) };
    app.metrics.limited.fetch_add(1, Relaxed);
    let problem = Problem::new(Kind::RateLimited, "too many connections from this address");
    Err(problem.later(wait.as_millis() as u64 + 1))
}

/// What a client asks for that wants to talk WebSocket (RFC 6455 section 4.2.1).
struct Handshake {
    /// The answer to its key.
    accept: String,
    /// It offers no subprotocol, or ours; and which of the two.
    known: bool,
    named: bool,
}

impl Handshake {
    fn read(request: &Request) -> Result<Self, &'static str> {
        let headers = request.headers();
        let all = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let tokens = |name| all(name).flat_map(|value| value.split(',')).map(str::trim);
        if request.method() != Method::GET {
            return Err("a WebSocket begins with GET");
        }
        if !tokens(header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
            return Err("the header Connection does not say `upgrade`");
        }
        if !tokens(header::UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket")) {
            return Err("the header Upgrade does not say `websocket`");
        }
        if !all(header::SEC_WEBSOCKET_VERSION).eq(["13"]) {
            return Err("the header Sec-WebSocket-Version is not `13`");
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or("there is no header Sec-WebSocket-Key")?;
        let mut offered = tokens(header::SEC_WEBSOCKET_PROTOCOL).peekable();
        let none = offered.peek().is_none();
        let named = offered.any(|protocol| protocol == session::PROTOCOL);
        Ok(Self { accept: ws::accept(key.as_bytes()), known: none || named, named })
    }
}

async fn upgrade(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    principal: Option<Extension<Principal>>,
    mut request: Request,
) -> Response {
    let Handshake { accept, known, named } = match Handshake::read(&request) {
        Ok(handshake) => handshake,
        Err(bad) => return Problem::new(Kind::BadRequest, bad).into_response(),
    };
    if let Err(problem) = admit(&app, connection.peer.ip()) {
        return problem.into_response();
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Some(socket) = upgraded(upgrade, app.config.limits.frame).await else { return };
        let principal = principal.map(|Extension(principal)| principal);
        let span = tracing::debug_span!("feed", peer = %connection.peer);
        session::session(app, socket, connection.peer, known, principal).instrument(span).await;
        // The place in the number of connections is free only now.
        drop(connection);
    });
    let fixed = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
    ];
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, fixed).into_response();
    let headers = response.headers_mut();
    headers.extend(HeaderValue::try_from(accept).ok().map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));
    if named {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(session::PROTOCOL));
    }
    response
}

/// The connection once HTTP has let go of it; `None`: it has ended before.
async fn upgraded(upgrade: OnUpgrade, most: usize) -> Option<Socket> {
    let parts = upgrade.await.ok()?.downcast::<TokioIo<TcpStream>>().ok()?;
    Some(Socket::new(parts.io.into_inner(), &parts.read_buf, most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn check(without: &str, extra: &[(&str, &str)], expected: Result<(bool, bool), &str>) {
        let mut request = Request::new(Body::empty());
        let plain = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for (name, value) in plain.iter().filter(|(name, _)| *name != without).chain(extra) {
            let name = header::HeaderName::try_from(*name).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let read = Handshake::read(&request);
        let found = read.as_ref().map(|read| (read.known, read.named)).map_err(|bad| *bad);
        assert_eq!(found, expected);
    }

    #[test]
    fn handshakes_are_read_as_rfc_6455_says() {
        check("", &[], Ok((true, false)));
        check("", &[("sec-websocket-protocol", "chat, presence.v1")], Ok((true, true)));
        check("", &[("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", "presence.v1")], Ok((true, true)));
        check("", &[("sec-websocket-protocol", "presence.v9")], Ok((false, false)));
        check("connection", &[], Err("the header Connection does not say `upgrade`"));
        check("connection", &[("connection", "close")], Err("the header Connection does not say `upgrade`"));
        check("upgrade", &[("upgrade", "h2c")], Err("the header Upgrade does not say `websocket`"));
        let old = [("sec-websocket-version", "8")];
        check("sec-websocket-version", &old, Err("the header Sec-WebSocket-Version is not `13`"));
        check("", &old, Err("the header Sec-WebSocket-Version is not `13`"));
        check("sec-websocket-key", &[], Err("there is no header Sec-WebSocket-Key"));
    }
}
