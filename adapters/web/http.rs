//! The HTTP side: states, explanations, health, metrics.

use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::serve::Connection;
use crate::{explain, guard, panel, session};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Json, Router, middleware};
use futures_util::future::join_all;
use lamplighter_model::{Command, NotLocal, PackageId, View};
use lamplighter_port::{BadSelector, Item, Kinds, Scope, Selector, push_json_string};
use serde_json::json;
use std::fmt::Write;
use std::sync::Arc;

/// Items of a list unless asked otherwise, and at most.
const LIST: usize = 1000;
const MOST: usize = 10_000;
/// A frame beyond this many times the limit is not even read.
const HARD: usize = 4;

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/panel/") }))
        .route("/panel", get(|| async { Redirect::permanent("/panel/") }))
        .route("/panel/", get(panel::file))
        .route("/panel/{file}", get(panel::file))
        .route("/v1/feed", get(feed))
        .route("/v1/state", get(list))
        .route("/v1/state/{resource}", get(states))
        .route("/v1/state/{resource}/{kind}", get(state))
        .route("/v1/explain/{resource}", get(explanation))
        .route("/problems/{slug}", get(problem))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .fallback(|| async { Problem::new(Kind::NotFound, "there is no such page") })
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
}

async fn feed(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let offered = upgrade.requested_protocols().count();
    let upgrade = upgrade
        .protocols([session::PROTOCOL])
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_message_size(app.config.limits.frame.saturating_mul(HARD))
        .max_frame_size(app.config.limits.frame.saturating_mul(HARD));
    let known = offered == 0 || upgrade.selected_protocol().is_some();
    upgrade.on_upgrade(move |socket| async move {
        session::session(app, socket, connection.peer, known).await;
        // The place in the number of connections is free only now.
        drop(connection);
    })
}

fn address(app: &App, text: &str) -> Result<String, Problem> {
    app.port.addresses().parse(text).map_err(|bad| match bad {
        NotLocal::Foreign => Problem::new(Kind::NotFound, bad.to_string()),
        _ => Problem::new(Kind::InvalidField, bad.to_string()),
    })
}

fn package(app: &App, kind: &str) -> Result<PackageId, Problem> {
    let id = app.port.packages().find_kind(kind);
    id.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such kind of state here"))
}

async fn states(
    State(app): State<Arc<App>>,
    Path(resource): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let resource = address(&app, &resource)?;
    let items = app.port.of(&resource);
    let rev = items.iter().map(|item| item.rev).max().unwrap_or(0);
    if items.iter().all(|item| item.state.is_none()) {
        return Err(Problem::new(Kind::NotFound, "nobody says anything about it"));
    }
    let mut text = String::from("{\"r\":");
    push_json_string(&mut text, &resource);
    text.push_str(",\"items\":");
    push_list(&mut text, &app, items.iter().filter(|item| item.state.is_some()));
    text.push('}');
    Ok(tagged(&headers, format!("\"{}.{rev}\"", app.port.epoch()), text))
}

async fn state(
    State(app): State<Arc<App>>,
    Path((resource, kind)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (resource, package) = (address(&app, &resource)?, package(&app, &kind)?);
    let item = app.port.get(&resource, package);
    let item = item.ok_or_else(|| Problem::new(Kind::NotFound, "nobody says anything about it"))?;
    let text = item.json(app.port.packages(), View::Full).to_owned();
    Ok(tagged(&headers, format!("\"{}.{}\"", app.port.epoch(), item.rev), text))
}

/// `?r=..&r=..&kind=..&limit=..`; without `r` everything. The header `Presence-Cursor` says from where a feed goes on.
async fn list(State(app): State<Arc<App>>, Query(query): Query<Vec<(String, String)>>) -> Result<Response, Problem> {
    let (mut selectors, mut ids, mut limit) = (Vec::new(), Vec::new(), LIST);
    let addresses = app.port.addresses();
    for (name, value) in &query {
        let wrong = |detail: String| Problem::new(Kind::InvalidField, format!("{name}: {detail}"));
        match &**name {
            "r" if selectors.len() == app.config.limits.list => {
                return Err(Problem::new(Kind::TooManyResources, "too many r"));
            }
            "r" => selectors.push(Selector::parse(value, &addresses).map_err(|bad| match bad {
                BadSelector::NotLocal(NotLocal::Foreign) => Problem::new(Kind::NotFound, bad.to_string()),
                _ => wrong(bad.to_string()),
            })?),
            "kind" => ids.push(package(&app, value)?),
            "limit" => {
                limit = value.parse().map_err(|_| wrong("a whole number".into()))?;
                limit = limit.min(MOST);
            }
            _ => return Err(wrong("no such parameter".into())),
        }
    }
    if selectors.is_empty() {
        selectors.push(Selector::All);
    }
    let kinds = if ids.is_empty() { Kinds::ALL } else { Kinds::of(ids) };
    let mut items = Vec::new();
    let cursor = app.port.snapshot(&Scope::new(selectors, kinds), limit, &mut items);
    let mut text = String::from("{\"items\":");
    push_list(&mut text, &app, items.iter());
    let mut response = HeaderMap::new();
    response.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let _ = write!(text, ",\"more\":{}", cursor.more);
    if !cursor.more {
        let cursor = format!("{}.{}", app.port.epoch(), cursor.rev);
        let _ = write!(text, ",\"cursor\":\"{cursor}\"");
        if let Ok(value) = cursor.parse() {
            response.insert(HeaderName::from_static("presence-cursor"), value);
        }
    }
    text.push('}');
    Ok((response, text).into_response())
}

fn push_list<'a>(text: &mut String, app: &App, items: impl Iterator<Item = &'a Arc<Item>>) {
    text.push('[');
    for (index, item) in items.enumerate() {
        text.push_str(if index > 0 { "," } else { "" });
        text.push_str(item.json(app.port.packages(), View::Full));
    }
    text.push(']');
}

/// JSON with an entity-tag, or 304 if the client has it.
fn tagged(headers: &HeaderMap, tag: String, text: String) -> Response {
    if matches(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    ([(header::ETAG, tag), (header::CONTENT_TYPE, "application/json".into())], text).into_response()
}

/// Whether If-None-Match names this entity-tag (RFC 9110 section 13.1.2, weak comparison).
pub(crate) fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let fits = |one: &str| one.trim() == "*" || one.trim().trim_start_matches("W/") == tag;
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(fits)
}

async fn explanation(State(app): State<Arc<App>>, Path(resource): Path<String>) -> Result<Response, Problem> {
    let resource = address(&app, &resource)?;
    Ok(Json(explain::explain(&app, &resource).await).into_response())
}

async fn problem(Path(slug): Path<String>) -> Result<String, Problem> {
    let kind = Kind::ALL.iter().find(|kind| kind.slug() == slug);
    kind.map(|kind| format!("{}\n", kind.title())).ok_or_else(|| Problem::new(Kind::NotFound, "no such problem"))
}

/// Asks every shard something that costs nothing. The answers come through the hub, so it is at work as well.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let ask = |shard| app.port.ask(shard, Command::Explain { resource: Arc::from("") });
    let answers = join_all((0..app.port.shards()).map(ask)).await;
    let silent = answers.iter().enumerate().filter_map(|(shard, answer)| {
        let busy = answer.as_ref().err()?;
        Some(format!("shard {shard}: {busy}"))
    });
    let mut reasons = (app.admin.ready)().err().unwrap_or_default();
    reasons.extend(silent);
    if reasons.is_empty() {
        return Json(json!({ "ready": true })).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reasons": reasons }))).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut text = String::new();
    (app.admin.metrics)(&mut text);
    app.port.metrics(&mut text);
    app.metrics.write(&mut text, app.lag());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn version() -> Json<serde_json::Value> {
    Json(json!({ "name": "Lamplighter", "version": env!("CARGO_PKG_VERSION"), "feed": 1 }))
}
