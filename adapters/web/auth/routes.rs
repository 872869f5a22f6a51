//! Tickets and sessions over HTTP.

use super::browser::Refused;
use super::{COOKIE, Principal, cookie, redeem};
use crate::app::{App, wall};
use crate::openapi::Operation;
use crate::problem::{Kind, Problem};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// `/v1/tickets` and `/v1/session`.
pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/v1/tickets", issue)
            .about("issueTicket", "A ticket for one connection from a browser, instead of a token in an address")
            .answer(201, "Ticket", "The ticket"),
        Operation::get("/v1/session", whose).about("session", "Who asks").answer(200, "Session", "The caller"),
        Operation::post("/v1/session", begin)
            .about("signIn", "Exchange credentials for the cookie of a session")
            .answer(200, "Session", "There is a session, or nobody needs one")
            .answer(201, "Session", "The cookie comes with it")
            .with(201, "Set-Cookie", "The session"),
        Operation::delete("/v1/session", end).about("signOut", "End the session").bare(204, "It has ended"),
    ]
}

const NO_STORE: (header::HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// What takes a browser's cookie away.
const OVER: HeaderValue =
    HeaderValue::from_static("lamplighter_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");

/// A ticket for who asks.
async fn issue(State(app): State<Arc<App>>, Extension(principal): Extension<Principal>) -> Result<Response, Problem> {
    let ticket = app.auth.tickets.issue(&principal).map_err(refused)?;
    let ticket = json!({ "ticket": ticket, "expires_s": app.auth.tickets.life().as_secs() });
    Ok((StatusCode::CREATED, [NO_STORE], Json(ticket)).into_response())
}

/// A session for who asks: the cookie comes with the answer. Who has one keeps it.
async fn begin(State(app): State<Arc<App>>, Extension(principal): Extension<Principal>) -> Result<Response, Problem> {
    if app.auth.anybody.is_some() || principal.has_session() {
        return Ok(([NO_STORE], Json(members(&principal))).into_response());
    }
    let (cookie, principal) = session(&app, &principal)?;
    let headers = [(header::SET_COOKIE, cookie), NO_STORE];
    Ok((StatusCode::CREATED, headers, Json(members(&principal))).into_response())
}

/// Who asks.
async fn whose(Extension(principal): Extension<Principal>) -> Response {
    ([NO_STORE], Json(members(&principal))).into_response()
}

/// Signs out: the session ends, and with it what was made from it.
async fn end(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Some(id) = cookie(&headers) {
        app.auth.sessions.end(id);
        app.expel();
    }
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, OVER), NO_STORE]).into_response()
}

fn members(principal: &Principal) -> Value {
    json!({ "principal": principal.name(), "expires": principal.expires(), "admin": principal.is_admin() })
}

/// Begins a session; returns its cookie.
fn session(app: &App, principal: &Principal) -> Result<(HeaderValue, Principal), Problem> {
    let now = wall().as_millis() as u64;
    let (id, principal) = app.auth.sessions.begin(principal, now).map_err(refused)?;
    let seconds = principal.expires().unwrap_or(now).saturating_sub(now) / 1000;
    let secure = if app.auth.secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    let cookie = cookie.parse().map_err(|_| Problem::new(Kind::Internal, "the cookie cannot be written"))?;
    Ok((cookie, principal))
}

/// Answers a page that was opened with a ticket in its address: the ticket becomes a session, and leaves the address,
/// where it would be seen and kept. A ticket that does not work leaves it as well; the page then finds out that it is
/// not signed in. `None`: there is no ticket, or nobody needs one.
pub(crate) fn exchange(app: &App, uri: &Uri, peer: IpAddr) -> Option<Response> {
    let (ticket, rest) = take_ticket(uri.query().filter(|_| uri.path() == "/panel/")?)?;
    let place = if rest.is_empty() { uri.path().to_owned() } else { format!("{}?{rest}", uri.path()) };
    let place = HeaderValue::try_from(place).ok()?;
    let mut answer = (StatusCode::SEE_OTHER, [(header::LOCATION, place), NO_STORE]).into_response();
    if app.auth.anybody.is_none() {
        let cookie = redeem(app, ticket, peer).and_then(|principal| session(app, &principal));
        if let Ok((cookie, _)) = cookie {
            answer.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
    Some(answer)
}

/// The ticket in a query, and the query without it.
fn take_ticket(query: &str) -> Option<(&str, String)> {
    let ticket = query.split('&').find_map(|part| part.strip_prefix("ticket="))?;
    let rest: Vec<_> = query.split('&').filter(|part| !part.starts_with("ticket=")).collect();
    Some((ticket, rest.join("&")))
}

fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::Full(wait) => {
            let problem = Problem::new(Kind::RateLimited, "too many tickets wait to be used");
            problem.later(wait.as_millis() as u64 + 1)
        }
        Refused::NoChance => Problem::new(Kind::Internal, "the system has no random numbers"),
    }
}
