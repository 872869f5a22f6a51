//! Who asks, and what it may do.
//!
//! Without an authority in `[web.auth]` everybody who reaches the listener may do everything. With one, every request
//! under `/v1` needs credentials: an API key or a JSON Web Token as bearer, a single-use ticket, or the cookie of a
//! session that a ticket was exchanged for. Secrets are neither logged nor repeated in answers.

mod browser;
mod config;
mod der;
mod failures;
mod jwks;
mod jwt;
mod keys;
mod principal;
mod routes;

pub use config::{Algorithm, Audience, Auth, Grant, Jwt, Key, Session, View};
pub(crate) use failures::Reasons;
pub use keys::new_key;
pub(crate) use principal::{Groups, Principal, Reads};
pub(crate) use routes::{exchange, operations};

use crate::app::{App, wall};
use crate::problem::{Kind, Problem};
use axum::http::{HeaderMap, HeaderValue, header};
use browser::{Sessions, Tickets};
use failures::Failures;
use jwt::Fault;
use keys::Keys;
use principal::Claim;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Nothing that is issued here lasts longer.
const MOST_LIFE: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// The name of the session's cookie.
const COOKIE: &str = "lamplighter_session";

/// Who is known, and what they have been given.
pub(crate) struct Authority {
    /// Where nobody has to sign in, who everybody is.
    anybody: Option<Principal>,
    keys: Keys,
    jwt: Option<jwt::Jwt>,
    tickets: Tickets,
    sessions: Sessions,
    failures: Failures,
    proxies: Vec<IpAddr>,
    metrics: Audience,
    secure: bool,
}

impl Authority {
    /// Reads the files that are named. The error names the setting below `[web]`.
    pub(crate) fn new(config: &Auth) -> Result<Self, String> {
        config.check()?;
        Ok(Self {
            anybody: (!config.is_configured()).then(Principal::anybody),
            keys: Keys::new(config)?,
            jwt: if config.jwt.sources() > 0 { Some(jwt::Jwt::new(&config.jwt)?) } else { None },
            tickets: Tickets::new(config.ticket_life),
            sessions: Sessions::new(config.session),
            failures: Failures::new(config.failures_per_minute),
            proxies: config.proxies.clone(),
            metrics: config.metrics,
            secure: config.session.secure,
        })
    }

    /// Reads the files with API keys and with keys for tokens again. The error names the setting below `[web]`; then
    /// nothing changes of what it names.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let tokens = self.jwt.as_ref().map_or(Ok(()), jwt::Jwt::reload);
        self.keys.reload().and(tokens)
    }

    /// Where a request comes from, seen through the reverse proxies.
    pub(crate) fn source(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.proxies.contains(&peer) {
            return peer;
        }
        let forwarded = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
        let last = forwarded.and_then(|value| value.rsplit(',').next());
        last.and_then(|last| last.trim().parse().ok()).unwrap_or(peer)
    }

    /// Whether this peer may read the metrics without credentials.
    pub(crate) fn has_open_metrics(&self, peer: IpAddr) -> bool {
        match self.metrics {
            _ if self.anybody.is_some() => true,
            Audience::Admin => false,
            Audience::Loopback => peer.to_canonical().is_loopback(),
            Audience::Open => true,
        }
    }
}

/// Whether this can be used, files included; else what to change, naming the key below `[web]`.
pub(crate) fn check(config: &Auth) -> Result<(), String> {
    Authority::new(config).map(drop)
}

/// The principal of a request, from its headers or the ticket in its query. `None`: it has no credentials, or those of
/// a session that has ended. `changes`: it may change something, which pages of others must not make a browser do.
pub(crate) async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    ticket: Option<&str>,
    peer: IpAddr,
    changes: bool,
) -> Result<Option<Principal>, Problem> {
    let authority = &app.auth;
    if let Some(anybody) = &authority.anybody {
        return Ok(Some(anybody.clone()));
    }
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        return match bearer(value) {
            Some(credential) => token(app, credential, peer).await.map(Some),
            None => {
                may_try(app, peer)?;
                let detail = "Authorization: write Bearer and a token or API key";
                Err(failed(app, peer, "malformed", Problem::new(Kind::TokenInvalid, detail)))
            }
        };
    }
    if let Some(ticket) = ticket {
        return redeem(app, ticket, peer).map(Some);
    }
    let Some(id) = cookie(headers) else { return Ok(None) };
    let told = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    // The guard has let the origin pass. A browser names it whenever a page does more than read.
    let foreign = told("sec-fetch-site").is_some_and(|site| !matches!(site, b"same-origin" | b"same-site" | b"none"));
    if foreign || (changes && told("origin").is_none()) {
        app.metrics.auth.count("origin");
        return Ok(None);
    }
    let found = authority.sessions.find(id);
    if found.is_none() {
        app.metrics.auth.count("session");
    }
    Ok(found)
}

/// The principal of the token in a `hello` or `auth` frame of the feed. `peer` is where failures are counted for.
pub(crate) async fn token(app: &App, token: &str, peer: IpAddr) -> Result<Principal, Problem> {
    let authority = &app.auth;
    if let Some(anybody) = &authority.anybody {
        return Ok(anybody.clone());
    }
    may_try(app, peer)?;
    if token.len() <= jwt::MOST_BYTES && !token.contains('.') {
        return match authority.keys.find(token) {
            Some(known) => {
                let Key { name, read, write, admin, .. } = &known.key;
                Ok(principal(app, name.clone(), None, read, write, *admin).unless(&known.over))
            }
            None => Err(failed(app, peer, "key", Problem::new(Kind::TokenInvalid, "key: there is no such API key"))),
        };
    }
    let refuse = |fault: &Fault| {
        // A token that was good, and keys that are not to be had, are no attempt to guess anything.
        let problem = match fault {
            Fault::Expired => Problem::new(Kind::TokenExpired, fault.detail()),
            Fault::Unavailable => Problem::new(Kind::UpstreamUnavailable, fault.detail()).later(30_000),
            _ => return failed(app, peer, fault.check(), Problem::new(Kind::TokenInvalid, fault.detail())),
        };
        app.metrics.auth.fault(fault);
        problem
    };
    let Some(jwt) = &authority.jwt else {
        let fault = Fault::Malformed("only API keys are accepted here");
        return Err(refuse(&fault));
    };
    let claims = jwt.check(token, wall()).await.map_err(|fault| refuse(&fault))?;
    let claim = Claim::read(&claims.presence).map_err(|what| refuse(&Fault::Claim("presence", what)))?;
    let principal = principal(app, claims.name, Some(claims.expires), &claim.read, &claim.write, claim.admin);
    Ok(principal.unless(&claims.over))
}

/// The principal of a ticket, which is used up.
fn redeem(app: &App, ticket: &str, peer: IpAddr) -> Result<Principal, Problem> {
    may_try(app, peer)?;
    let found = app.auth.tickets.redeem(ticket).filter(|principal| !is_past(principal));
    let problem = || Problem::new(Kind::TokenInvalid, "ticket: it has been used, or is too old");
    found.ok_or_else(|| failed(app, peer, "ticket", problem()))
}

/// Whether its time is over, or somebody has signed out.
fn is_past(principal: &Principal) -> bool {
    principal.is_over() || principal.expires().is_some_and(|expires| expires <= wall().as_millis() as u64)
}

/// Whoever has failed too often has to wait, whatever it offers.
fn may_try(app: &App, peer: IpAddr) -> Result<(), Problem> {
    match app.auth.failures.wait(peer) {
        None => Ok(()),
        Some(wait) => {
            app.metrics.auth.count("rate");
            let problem = Problem::new(Kind::RateLimited, "too many attempts to sign in have failed");
            Err(problem.later(wait.as_millis() as u64 + 1))
        }
    }
}

fn failed(app: &App, peer: IpAddr, reason: &'static str, problem: Problem) -> Problem {
    app.auth.failures.count(peer);
    app.metrics.auth.count(reason);
    tracing::debug!(%peer, reason, "an attempt to sign in has failed");
    problem
}

fn principal(app: &App, name: String, expires: Option<u64>, read: &[Grant], write: &[Grant], admin: bool) -> Principal {
    let addresses = app.port.addresses();
    let groups = || app.groups.get().map_or_else(|| Arc::new(|_: &str| None) as Groups, Arc::clone);
    let (reads, writes) = (Reads::new(read, &addresses, groups()), Reads::new(write, &addresses, groups()));
    Principal::new(name, expires, reads, writes, admin)
}

/// RFC 6750 section 2.1.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The session in the cookies of a request.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, id)| id)
}

/// Signs a token by the secret of this configuration, for development. `presence` are the grants, as in a token's claim
/// of that name; `life` is how long it lasts. The error says what to change, a setting below `[web]` perhaps.
pub fn mint(config: &Auth, name: &str, presence: &serde_json::Value, life: Duration) -> Result<String, String> {
    if !jwt::is_name(name) {
        return Err(format!("`{name}` is no name: 1 to 128 bytes, other than `{}`", principal::ANYBODY));
    }
    if life > MOST_LIFE {
        return Err("no token lasts longer than ten years".into());
    }
    let Claim { read, write, .. } = Claim::read(presence)?;
    if let Some(grant) = read.iter().chain(&write).find(|grant| !principal::is_selector(&grant.r)) {
        return Err(format!("`{}` selects nothing: write an address, sip:*@domain, group:NAME or *", grant.r));
    }
    jwt::mint(&config.jwt, name, presence, wall(), life)
}

#[cfg(test)]
mod tests;
