//! The feed's addresses: WebSocket, server-sent events, and what describes their frames.

use crate::app::App;
use crate::auth::Principal;
use crate::problem::{Kind, Problem};
use crate::serve::Connection;
use crate::{schema, session, sse};
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use tokio::time::Instant;

/// A frame beyond this many times the limit is not even read.
const HARD: usize = 4;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/feed", get(upgrade))
        .route("/v1/events", get(sse::events))
        .route("/v1/asyncapi.json", get(schema::asyncapi))
        .route("/v1/schemas/{file}", get(schema::schema))
}

/// Whether this address may open another connection now.
pub(crate) fn admit(app: &App, from: IpAddr) -> Result<(), Problem> {
    let mut handshakes = app.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(wait) = handshakes.take(from, &app.config.limits, Instant::now()) else { return Ok(()) };
    app.metrics.limited.fetch_add(1, Relaxed);
    let problem = Problem::new(Kind::RateLimited, "too many connections from this address");
    Err(problem.later(wait.as_millis() as u64 + 1))
}

async fn upgrade(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    principal: Option<Extension<Principal>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(problem) = admit(&app, connection.peer.ip()) {
        return problem.into_response();
    }
    let offered = upgrade.requested_protocols().count();
    let upgrade = upgrade
        .protocols([session::PROTOCOL])
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_message_size(app.config.limits.frame.saturating_mul(HARD))
        .max_frame_size(app.config.limits.frame.saturating_mul(HARD));
    let known = offered == 0 || upgrade.selected_protocol().is_some();
    upgrade.on_upgrade(move |socket| async move {
        let principal = principal.map(|Extension(principal)| principal);
        session::session(app, socket, connection.peer, known, principal).await;
        // The place in the number of connections is free only now.
        drop(connection);
    })
}
