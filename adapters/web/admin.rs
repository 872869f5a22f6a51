//! For whoever runs the gateway: connections, watchers, live traces, the last hour, health and metrics.

use crate::app::{App, stopped};
use crate::http::{self, Caller, Parameters, Segments, json, wrong};
use crate::openapi::Operation;
use crate::problem::{Kind, Problem};
use crate::publications::busy;
use crate::{explain, rates};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use futures_util::stream;
use lamplighter_model::Command;
use lamplighter_model::explain::Trace;
use lamplighter_port::Traced;
use serde_json::json;
use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Watchers of a page.
const WATCHERS: usize = 1000;
/// How often a quiet trace says that it is alive.
const ALIVE: Duration = Duration::from_secs(15);
/// A trace ends by itself after this long; whoever follows it comes back.
const LIFE: Duration = Duration::from_secs(240);

pub(crate) fn operations() -> Vec<Operation> {
    let whose = |operation: Operation| {
        operation.query("r", json!({ "$ref": "#/components/schemas/Resource" }), "Which address")
    };
    vec![
        Operation::get("/v1/connections", connections).about("connections", "Who is connected to the feed").answer(
            200,
            "Connections",
            "Oldest first",
        ),
        Operation::delete("/v1/connections/{number}", disconnect)
            .about("disconnect", "Close a connection to the feed; its client may come back")
            .segment("number", "Number", "The connection")
            .bare(204, "It is being closed")
            .refuses(&[Kind::NotFound]),
        whose(Operation::get("/v1/watchers", watchers))
            .about("watchers", "SIP subscriptions, to one address or to all")
            .query("page", json!({ "$ref": "#/components/schemas/Page" }), "The page after the one that gave this")
            .answer(200, "Watchers", "A page of them, in no promised order")
            .refuses(&[Kind::NotFound, Kind::InvalidField, Kind::UpstreamUnavailable]),
        whose(Operation::post("/v1/watchers:refresh", refresh))
            .about("refreshWatchers", "Send every SIP watcher of an address a NOTIFY with the whole state")
            .answer(200, "Refreshed", "They are owed one")
            .refuses(&[Kind::NotFound, Kind::InvalidField, Kind::UpstreamUnavailable]),
        whose(Operation::get("/v1/trace", trace))
            .about("trace", "What happens to an address, live: requests, decisions, NOTIFYs and their answers")
            .typed(200, "text/event-stream", "Text", "Events `trace`, and `missed` with a count after a jam")
            .refuses(&[Kind::NotFound, Kind::InvalidField, Kind::TooManyResources, Kind::UpstreamUnavailable]),
        Operation::get("/v1/rates", samples).about("rates", "Chosen metrics of the last hour").answer(
            200,
            "Rates",
            "Samples, oldest first; null: not yet known",
        ),
        Operation::get("/healthz", || async { "ok\n" }).about("health", "Whether the process lives").typed(
            200,
            "text/plain",
            "Text",
            "It does",
        ),
        Operation::get("/readyz", ready)
            .about("ready", "Whether all parts of the gateway are at work")
            .answer(200, "Ready", "They are")
            .answer(503, "Ready", "Some are not"),
        Operation::get("/metrics", metrics)
            .about("metrics", "Counters and gauges in the text format of Prometheus")
            .typed(200, "text/plain", "Text", "All of them"),
        Operation::get("/version", version).about("version", "What runs here").answer(200, "Version", "The version"),
    ]
}

async fn connections(caller: Caller) -> Result<Response, Problem> {
    caller.admin()?;
    let head = *caller.app.port.head().borrow();
    let readers = caller.app.readers();
    let rows = readers.iter().map(|reader| {
        let rev = reader.rev.load(Relaxed);
        let watches = reader.lane.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        json!({
            "id": reader.number, "principal": reader.principal(),
            "client": *reader.client.lock().unwrap_or_else(PoisonError::into_inner),
            "peer": reader.peer.to_string(), "since": reader.since, "subscriptions": reader.subscriptions.load(Relaxed),
            "rev": rev, "lag": if watches { head.saturating_sub(rev) } else { 0 },
            "conflated": reader.conflated.load(Relaxed),
        })
    });
    Ok(json(json!({ "connections": rows.collect::<Vec<_>>() }).to_string()))
}

async fn disconnect(caller: Caller, Segments(number): Segments<String>) -> Result<StatusCode, Problem> {
    caller.admin()?;
    let number = number.parse::<u64>().ok();
    let readers = caller.app.readers();
    let reader = readers.iter().find(|reader| Some(reader.number) == number);
    let reader = reader.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such connection"))?;
    reader.end(4403, "closed by an administrator");
    Ok(StatusCode::NO_CONTENT)
}

/// The address that a request is about.
fn about(caller: &Caller, parameters: &Parameters) -> Result<String, Problem> {
    caller.address(parameters.last("r").ok_or_else(|| wrong("r", "an address"))?)
}

async fn watchers(caller: Caller, parameters: Parameters) -> Result<Response, Problem> {
    caller.admin()?;
    parameters.only(&["r", "page"])?;
    let resource = match parameters.last("r") {
        Some(_) => Some(about(&caller, &parameters)?),
        None => None,
    };
    let port = &caller.app.port;
    let (mut shard, mut from) = match parameters.last("page") {
        Some(text) => {
            let [shard, from] = http::place::<u32, 2>(text)?;
            let shard = usize::try_from(shard).ok().filter(|shard| *shard < port.shards());
            (shard.ok_or_else(|| wrong("page", "what the page before gave"))?, from)
        }
        None => (0, 0),
    };
    let (mut rows, mut next) = (Vec::new(), None);
    loop {
        let (some, more) =
            port.watchers(shard, resource.as_deref(), from, WATCHERS - rows.len()).await.map_err(busy)?;
        rows.extend(some);
        match more {
            Some(more) => next = Some((shard, more)),
            None if resource.is_none() && shard + 1 < port.shards() => {
                (shard, from) = (shard + 1, 0);
                if rows.len() < WATCHERS {
                    continue;
                }
                next = Some((shard, 0));
            }
            None => {}
        }
        break;
    }
    let rows: Vec<_> = rows.iter().map(explain::row).collect();
    let mut answer = json!({ "watchers": rows });
    if let Some((shard, from)) = next {
        answer["page"] = format!("{shard}.{from}").into();
    }
    Ok(json(answer.to_string()))
}

async fn refresh(caller: Caller, parameters: Parameters) -> Result<Response, Problem> {
    caller.admin()?;
    parameters.only(&["r"])?;
    let resource = about(&caller, &parameters)?;
    let watchers = caller.app.port.refresh(&resource).await.map_err(busy)?;
    Ok(json(json!({ "r": resource, "watchers": watchers }).to_string()))
}

async fn trace(caller: Caller, parameters: Parameters) -> Result<Response, Problem> {
    caller.admin()?;
    parameters.only(&["r"])?;
    let resource = about(&caller, &parameters)?;
    let tracing = caller.app.port.trace(&resource).await.map_err(busy)?;
    let Some(tracing) = tracing else {
        return Err(Problem::new(Kind::TooManyResources, "as many addresses are traced as can be").later(5000));
    };
    let end = Instant::now() + LIFE;
    let events = stream::unfold((tracing, caller.app.stop.clone()), move |(mut tracing, mut stop)| async move {
        let next = tokio::select! {
            next = tracing.next() => next?,
            () = sleep_until(end) => return None,
            () = stopped(&mut stop) => return None,
        };
        let event = match next {
            Traced::Event(Trace { resource, at, what, detail }) => Event::default().event("trace").data(
                json!({ "resource": &*resource, "at": at.as_millis(), "what": what, "detail": detail }).to_string(),
            ),
            Traced::Missed(count) => Event::default().event("missed").data(json!({ "missed": count }).to_string()),
        };
        Some((Ok::<_, Infallible>(event), (tracing, stop)))
    });
    let alive = KeepAlive::new().interval(ALIVE);
    Ok(([(header::CACHE_CONTROL, "no-store")], Sse::new(events).keep_alive(alive)).into_response())
}

async fn samples(caller: Caller) -> Result<Response, Problem> {
    caller.admin()?;
    Ok(json(caller.app.rates.json().to_string()))
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
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics_text().await).into_response()
}

async fn version() -> Json<serde_json::Value> {
    Json(json!({ "name": "Lamplighter", "version": env!("CARGO_PKG_VERSION"), "feed": 1 }))
}

/// Takes a sample each interval until the gateway stops.
pub(crate) async fn sample(app: Arc<App>) {
    let mut stop = app.stop.clone();
    let mut tick = tokio::time::interval(rates::EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                app.rates.take(&app.metrics_text().await, crate::app::wall().as_millis() as u64);
            }
            () = stopped(&mut stop) => return,
        }
    }
}
