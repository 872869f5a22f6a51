//! What describes the frames: a JSON Schema (2020-12) for each of them and for each kind of state, and an AsyncAPI
//! document that says which goes where.

use crate::app::App;
use crate::http::Segments;
use crate::problem::{Kind, Problem};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use lamplighter_model::Packages;
use serde_json::{Map, Value, json};
use std::sync::{Arc, LazyLock};

/// The definitions by their names; they refer to each other.
static FRAMES: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("schema/frames.json")).unwrap_or_default());

/// `GET /v1/schemas/{name}.json`.
pub(crate) async fn schema(State(app): State<Arc<App>>, Segments(file): Segments<String>) -> Result<Response, Problem> {
    let name = file.strip_suffix(".json").unwrap_or_default();
    let found = document(app.port.packages(), name);
    let found = found.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such schema"))?;
    Ok(([(header::CONTENT_TYPE, "application/schema+json")], found.to_string()).into_response())
}

/// `GET /v1/asyncapi.json`.
pub(crate) async fn asyncapi(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], describe(&app.config.listen.to_string()).to_string()).into_response()
}

/// One schema as a document of its own.
pub(crate) fn document(packages: &Packages, name: &str) -> Option<Value> {
    let mut schema = match name.strip_prefix("state-") {
        Some(kind) => state(packages, kind)?,
        None => FRAMES.get(name)?.clone(),
    };
    if name == "item" {
        let kinds = packages.ids().map(|id| packages.get(id).kind());
        schema["allOf"] = kinds.map(of_kind).collect();
    }
    refer(&mut schema, &|name| format!("{name}.json"));
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["$id"] = format!("/v1/schemas/{name}.json").into();
    Some(schema)
}

/// What an item of this kind holds.
fn of_kind(kind: &str) -> Value {
    json!({
        "if": { "properties": { "k": { "const": kind } } },
        "then": { "properties": { "state": { "$ref": format!("#/$defs/state-{kind}") } } },
    })
}

/// The state of a kind, whole: `fields` and narrower views leave members out.
fn state(packages: &Packages, kind: &str) -> Option<Value> {
    let schema = packages.get(packages.find_kind(kind)?).schema();
    let mut schema = serde_json::from_str(schema).unwrap_or_else(|_| json!({ "type": "object" }));
    if schema.get("title").is_none() {
        schema["title"] = format!("State of kind {kind}").into();
    }
    Some(schema)
}

/// Rewrites references among the definitions.
fn refer(value: &mut Value, to: &dyn Fn(&str) -> String) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "$ref" => {
                        if let Some(name) = text.strip_prefix("#/$defs/") {
                            *text = to(name);
                        }
                    }
                    value => refer(value, to),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|one| refer(one, to)),
        _ => {}
    }
}

/// The AsyncAPI document; `host` is where the gateway listens.
fn describe(host: &str) -> Value {
    let names = |side: &'static str| FRAMES.keys().filter(move |name| name.starts_with(side));
    let own = |name: &String| json!({ "$ref": format!("#/components/messages/{name}") });
    let of_feed = |name: &str| json!({ "$ref": format!("#/channels/feed/messages/{name}") });
    let of_events = |name: &str| json!({ "$ref": format!("#/channels/events/messages/{name}") });
    let mut messages = Map::new();
    let mut operations = Map::new();
    for name in names("client-").chain(names("server-")) {
        let payload = json!({
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": { "$ref": format!("/v1/schemas/{name}.json") },
        });
        let message = json!({ "name": name, "title": FRAMES[name]["title"], "payload": payload });
        messages.insert(name.clone(), message);
    }
    for name in names("client-") {
        let answer = if name == "client-ping" { "server-pong" } else { "server-ok" };
        let operation = json!({
            "action": "receive", "channel": { "$ref": "#/channels/feed" }, "messages": [of_feed(name)],
            "reply": {
                "channel": { "$ref": "#/channels/feed" }, "messages": [of_feed(answer), of_feed("server-error")],
            },
        });
        operations.insert(name.clone(), operation);
    }
    let told = ["snap", "upd", "reset", "remote_sub", "remote_pub", "note", "error", "ping", "bye"]
        .map(|name| format!("server-{name}"));
    operations.insert(
        "tell".into(),
        json!({
            "action": "send", "channel": { "$ref": "#/channels/feed" },
            "messages": told.iter().map(|name| of_feed(name)).collect::<Vec<_>>(),
        }),
    );
    let streamed = ["snap", "upd", "reset"].map(|name| format!("server-{name}"));
    operations.insert(
        "stream".into(),
        json!({
            "action": "send", "channel": { "$ref": "#/channels/events" },
            "messages": streamed.iter().map(|name| of_events(name)).collect::<Vec<_>>(),
        }),
    );
    let all: Map<_, _> = messages.keys().map(|name| (name.clone(), own(name))).collect();
    let some: Map<_, _> = streamed.iter().map(|name| (name.clone(), own(name))).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lamplighter feed", "version": "1",
            "description": "Who is there, who is busy, whose line is ringing: a snapshot, then every change.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "feed": { "host": host, "protocol": "ws", "security": [{ "$ref": "#/components/securitySchemes/token" }] },
            "events": { "host": host, "protocol": "http", "security": [{ "$ref": "#/components/securitySchemes/token" }] },
        },
        "channels": {
            "feed": {
                "address": "/v1/feed", "title": "WebSocket, subprotocol presence.v1", "messages": all,
                "servers": [{ "$ref": "#/servers/feed" }],
                "bindings": { "ws": { "method": "GET", "bindingVersion": "0.1.0" } },
            },
            "events": {
                "address": "/v1/events", "title": "Server-sent events", "messages": some,
                "servers": [{ "$ref": "#/servers/events" }],
            },
        },
        "operations": operations,
        "components": {
            "messages": messages,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages() -> Packages {
        Packages::new(vec![], |_, expires| expires)
    }

    /// Every reference of every schema leads somewhere, and every example keeps to its own.
    #[test]
    fn schemas_refer_to_each_other_and_examples_keep_to_them() {
        assert!(FRAMES.len() > 20);
        for name in FRAMES.keys() {
            let schema = document(&packages(), name).unwrap();
            refer(&mut FRAMES[name].clone(), &|name| {
                assert!(FRAMES.contains_key(name), "{name}");
                String::new()
            });
            if name.starts_with("client-") {
                assert!(schema["examples"].as_array().is_some_and(|examples| !examples.is_empty()), "{name}");
            }
        }
        assert!(document(&packages(), "tea").is_none() && document(&packages(), "state-tea").is_none());
    }

    /// Every reference within the document leads somewhere.
    #[test]
    fn the_asyncapi_document_is_whole() {
        fn walk(value: &Value, root: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(text) = members.get("$ref").and_then(Value::as_str) {
                        match text.strip_prefix('#') {
                            Some(pointer) => assert!(root.pointer(pointer).is_some(), "{text}"),
                            None => {
                                let name = text.strip_prefix("/v1/schemas/").and_then(|it| it.strip_suffix(".json"));
                                assert!(document(&packages(), name.unwrap()).is_some(), "{text}");
                            }
                        }
                    }
                    members.values().for_each(|value| walk(value, root));
                }
                Value::Array(list) => list.iter().for_each(|value| walk(value, root)),
                _ => {}
            }
        }
        let root = describe("127.0.0.1:8088");
        walk(&root, &root);
        assert_eq!(root["channels"]["feed"]["messages"].as_object().unwrap().len(), 26);
        assert_eq!(root["operations"].as_object().unwrap().len(), 17);
    }
}
