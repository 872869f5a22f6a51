//! The feed's addresses: WebSocket, server-sent events, and what describes their frames.

use crate::app::App;
use crate::auth::Principal;
use crate::openapi::Operation;
use crate::problem::{Kind, Problem};
use crate::serve::Connection;
use crate::{schema, session, sse};
use axum::Extension;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use tokio::time::Instant;
use tracing::Instrument;

/// A frame beyond this many times the limit is not even read.
const HARD: usize = 4;

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

async fn upgrade(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    principal: Option<Extension<Principal>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(bad) => return Problem::new(Kind::BadRequest, bad.body_text()).into_response(),
    };
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
        let span = tracing::debug_span!("feed", peer = %connection.peer);
        session::session(app, socket, connection.peer, known, principal).instrument(span).await;
        // The place in the number of connections is free only now.
        drop(connection);
    })
}
