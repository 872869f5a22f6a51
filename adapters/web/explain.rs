//! `explain` as JSON: what the owner shard knows, and who reads along in the feed.

use crate::app::App;
use lamplighter_model::Time;
use lamplighter_model::explain::{
    Explanation, HistoryEntry, PackageExplanation, SourceExplanation, WatcherExplanation, WatcherRow,
};
use lamplighter_port::Busy;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

/// Asks the owner of this canonical address. A shard that does not answer is named in `unanswered`.
pub(crate) async fn explain(app: &App, resource: &str) -> Value {
    let shard = app.port.owner(resource);
    let mut value = write(app.port.explain(resource).await, resource, shard);
    value["feed"] = feed(app, resource);
    value
}

fn write(answer: Result<Explanation, Busy>, resource: &str, shard: usize) -> Value {
    let (packages, unanswered) = match answer {
        Ok(explanation) => (explanation.packages.iter().map(package).collect(), vec![]),
        Err(busy) => (vec![], vec![format!("shard {shard}: {busy}")]),
    };
    json!({ "resource": resource, "packages": packages, "unanswered": unanswered })
}

fn package(PackageExplanation { kind, state, rule, sources, watchers, history }: &PackageExplanation) -> Value {
    json!({
        "kind": kind, "state": state, "rule": rule,
        "sources": sources.iter().map(source).collect::<Vec<_>>(),
        "watchers": watchers.iter().map(watcher).collect::<Vec<_>>(),
        "history": history.iter().map(entry).collect::<Vec<_>>(),
    })
}

fn source(SourceExplanation { source, from, at, until, says }: &SourceExplanation) -> Value {
    json!({ "source": source, "from": from, "at": time(*at), "until": time(*until), "says": says })
}

fn watcher(one: &WatcherExplanation) -> Value {
    let WatcherExplanation { watcher, state, flow, until, notified, version, answer } = one;
    json!({
        "watcher": watcher, "state": state, "flow": flow, "until": time(*until),
        "notified": notified.map(time), "version": version, "answer": answer,
    })
}

/// A subscription in a list of all.
pub(crate) fn row(WatcherRow { resource, kind, watcher: one }: &WatcherRow) -> Value {
    let mut value = watcher(one);
    value["r"] = (&**resource).into();
    value["kind"] = kind.as_str().into();
    value
}

fn entry(HistoryEntry { at, what, who }: &HistoryEntry) -> Value {
    json!({ "at": time(*at), "what": what, "who": &**who })
}

/// Milliseconds; `null`: never.
fn time(time: Time) -> Value {
    if time == Time::NEVER { Value::Null } else { time.as_millis().into() }
}

/// The feed connections that watch this address, and how far each has come.
fn feed(app: &App, resource: &str) -> Value {
    let packages = app.port.packages();
    let newest = app.port.of(resource);
    let line = |reader: &Arc<crate::app::Reader>| {
        let lane = reader.lane.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let ids = || packages.ids().filter(|id| lane.scope.includes(resource, *id));
        let kinds: Vec<_> = ids().map(|id| packages.get(id).kind()).collect();
        if kinds.is_empty() {
            return None;
        }
        let rev = reader.rev.load(Relaxed);
        let waiting = newest.iter().filter(|item| item.rev > rev && ids().any(|id| id == item.package)).count();
        Some(json!({
            "session": format!("s-{}", reader.number),
            "client": *reader.client.lock().unwrap_or_else(PoisonError::into_inner),
            "from": reader.peer.to_string(), "since": reader.since,
            "kinds": kinds, "rev": rev, "waiting": waiting,
        }))
    };
    app.readers().iter().filter_map(line).collect()
}
