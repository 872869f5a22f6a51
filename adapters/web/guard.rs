//! Which pages may talk to us, who asks, and the headers that every answer has.
//!
//! A browser sends any page's requests to us, so a page of another origin is refused unless configured; and a page
//! whose name was made to point here (DNS rebinding) gives itself away by the Host header.

use crate::app::App;
use crate::auth;
use crate::problem::{Kind, Problem};
use crate::serve::Connection;
use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::Instrument;

/// Checks Host and Origin, counts the request, and adds headers.
pub(crate) async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    let peer = unwrap(&app, &mut request);
    let span =
        tracing::debug_span!("request", method = %request.method(), route, peer = peer.map(tracing::field::display));
    let answer = async {
        match allow(request.headers(), &app.config.hosts, &app.config.origins) {
            Ok(Some(foreign)) if request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) => {
                (preflight(), Some(foreign))
            }
            Ok(foreign) => match identify(&app, &mut request, peer).await {
                Ok(None) => (next.run(request).await, foreign),
                Ok(Some(response)) => (response, foreign),
                Err(problem) => (problem.into_response(), foreign),
            },
            Err(problem) => (problem.into_response(), None),
        }
    };
    let (mut response, foreign) = answer.instrument(span).await;
    app.metrics.request(&route, response.status().as_u16(), start.elapsed());
    let refused = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    if refused {
        // RFC 6750 section 3.
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lamplighter\""));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("Origin, Authorization, Cookie"));
    // What one may see is not for the next who asks a cache.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
    if let Some(origin) = foreign {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    response
}

/// Sees a request through the reverse proxies: from here on its peer is who asked them.
fn unwrap(app: &App, request: &mut Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<Connection>()?.peer.ip();
    let source = app.auth.source(request.headers(), peer);
    if let Some(connection) = request.extensions_mut().get_mut::<Connection>() {
        connection.peer.set_ip(source);
    }
    Some(source)
}

/// Gives the request its [`Principal`](auth::Principal), or answers it. Only the feed may come without: it can sign in
/// by its first frame.
async fn identify(app: &App, request: &mut Request, peer: Option<IpAddr>) -> Result<Option<Response>, Problem> {
    let peer = peer.ok_or_else(|| Problem::new(Kind::Internal, "from nowhere"))?;
    let (path, headers) = (request.uri().path(), request.headers());
    if is_public(path) {
        let is_get = request.method() == Method::GET;
        return Ok(is_get.then(|| auth::exchange(app, request.uri(), peer)).flatten());
    }
    let is_metrics = path == "/metrics";
    if is_metrics && app.auth.has_open_metrics(peer) {
        return Ok(None);
    }
    // Elsewhere a ticket would be seen, and kept, by more than those who need it.
    let takes_ticket = matches!(path, "/v1/feed" | "/v1/events" | "/v1/session");
    let query = request.uri().query().filter(|_| takes_ticket).unwrap_or_default();
    let ticket = query.split('&').find_map(|part| part.strip_prefix("ticket="));
    // Whether a feed may be opened decides about all that it may change.
    let is_feed = path == "/v1/feed";
    let changes = !request.method().is_safe() || is_feed;
    match auth::authenticate(app, headers, ticket, peer, changes).await? {
        Some(principal) if is_metrics && !principal.is_admin() => {
            return Err(Problem::new(Kind::Forbidden, "metrics are for principals with `admin`; see web.auth.metrics"));
        }
        Some(principal) => _ = request.extensions_mut().insert(principal),
        None if is_feed => {}
        None => {
            app.metrics.auth.count("missing");
            return Err(Problem::new(Kind::Unauthenticated, "a token, API key, ticket or session is needed"));
        }
    }
    Ok(None)
}

/// What everybody may see, who can reach us: nothing that anybody does.
fn is_public(path: &str) -> bool {
    matches!(path, "/" | "/panel" | "/healthz" | "/readyz" | "/version")
        || path.starts_with("/panel/")
        || path.starts_with("/problems/")
}

/// The answer to a browser that asks what an allowed page of another origin may do.
fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, PATCH, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Headers of requests and answers that pages of other origins may use.
const ALLOWED: &str =
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Requested-With";
const EXPOSED: HeaderValue = HeaderValue::from_static("ETag, Location, Presence-Cursor, Retry-After");

/// The origin, if it is another one and allowed.
fn allow(headers: &HeaderMap, hosts: &[String], origins: &[String]) -> Result<Option<HeaderValue>, Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.ok_or_else(|| Problem::new(Kind::InvalidField, "a request needs a Host header"))?;
    if !is_ours(host, hosts) {
        return Err(Problem::new(Kind::Forbidden, "this server has no such name; see web.hosts"));
    }
    let Some(value) = headers.get(header::ORIGIN) else { return Ok(None) };
    let origin = value.to_str().unwrap_or_default();
    if origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)) {
        return Ok(None);
    }
    match origins.iter().any(|one| one.eq_ignore_ascii_case(origin)) {
        true => Ok(Some(value.clone())),
        false => Err(Problem::new(Kind::Forbidden, "pages of this origin may not connect; see web.origins")),
    }
}

/// Addresses are: rebinding takes a name.
fn is_ours(host: &str, hosts: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok()
        || bare.is_some_and(|name| name.parse::<Ipv6Addr>().is_ok())
        || hosts.iter().any(|one| one.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let (hosts, origins) = (["gw.example.com".to_owned()], ["https://crm.example.com".to_owned()]);
        assert_eq!(allow(&headers, &hosts, &origins).is_ok(), expected, "{host} {origin:?}");
    }

    #[test]
    fn pages_of_other_origins_and_rebound_names_are_refused() {
        check("127.0.0.1:8088", None, true);
        check("[::1]:8088", None, true);
        check("localhost:8088", Some("http://localhost:8088"), true);
        check("localhost:8088", Some("http://localhost:9000"), false);
        check("localhost:8088", Some("http://evil.example.org"), false);
        check("localhost:8088", Some("null"), false);
        check("GW.example.com", Some("https://gw.example.com"), true);
        check("gw.example.com", Some("https://crm.example.com"), true);
        check("rebound.example.org:8088", Some("http://rebound.example.org:8088"), false);
        check("127.0.0.1.example.org", None, false);
        check("a b", None, false);
        assert!(allow(&HeaderMap::new(), &[], &[]).is_err());
    }
}
