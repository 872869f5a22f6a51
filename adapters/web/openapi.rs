//! The operations of the HTTP API, each said once: the router and the OpenAPI document are made from the same list, so
//! that neither can know what the other does not.

use crate::app::App;
use crate::problem::Kind;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One method of one path.
pub(crate) struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub serve: MethodRouter<Arc<App>>,
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    problems: Vec<Kind>,
}

/// What any operation may answer.
const ALWAYS: [Kind; 6] = [
    Kind::BadRequest,
    Kind::Unauthenticated,
    Kind::TokenExpired,
    Kind::TokenInvalid,
    Kind::Forbidden,
    Kind::RateLimited,
];

impl Operation {
    fn new<H, T>(method: &'static str, filter: MethodFilter, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let serve = on(filter, handler);
        let (parameters, problems) = (Vec::new(), ALWAYS.to_vec());
        Self { method, path, serve, id: "", summary: "", parameters, body: None, answers: BTreeMap::new(), problems }
    }

    pub(crate) fn get<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new("get", MethodFilter::GET, path, handler)
    }

    pub(crate) fn put<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new("put", MethodFilter::PUT, path, handler)
    }

    pub(crate) fn post<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new("post", MethodFilter::POST, path, handler)
    }

    pub(crate) fn delete<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new("delete", MethodFilter::DELETE, path, handler)
    }

    pub(crate) fn patch<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new("patch", MethodFilter::PATCH, path, handler)
    }

    /// Its name for generated clients, and what it does.
    pub(crate) fn about(mut self, id: &'static str, summary: &'static str) -> Self {
        (self.id, self.summary) = (id, summary);
        self
    }

    fn parameter(mut self, place: &str, name: &str, required: bool, schema: Value, about: &str) -> Self {
        self.parameters
            .push(json!({ "name": name, "in": place, "required": required, "schema": schema, "description": about }));
        self
    }

    /// A part of the path; `schema` names one of [`schemas`].
    pub(crate) fn segment(self, name: &str, schema: &str, about: &str) -> Self {
        self.parameter("path", name, true, reference(schema), about)
    }

    /// A parameter that may be left out.
    pub(crate) fn query(self, name: &str, schema: Value, about: &str) -> Self {
        self.parameter("query", name, false, schema, about)
    }

    /// A parameter that may be given several times, or left out.
    pub(crate) fn queries(self, name: &str, schema: &str, about: &str) -> Self {
        let schema = json!({ "type": "array", "items": reference(schema), "maxItems": 1000 });
        self.parameter("query", name, false, schema, about)
    }

    /// A request header.
    pub(crate) fn header(self, name: &str, required: bool, about: &str) -> Self {
        self.parameter("header", name, required, json!({ "type": "string" }), about)
    }

    /// A request body of at most `most` bytes; `schema` names one of [`schemas`].
    pub(crate) fn body(mut self, most: usize, required: bool, kinds: &[&str], schema: &str) -> Self {
        let kinds = kinds.iter().map(|kind| {
            let schema = if kind.ends_with("json") { reference(schema) } else { json!({ "type": "string" }) };
            ((*kind).to_owned(), json!({ "schema": schema }))
        });
        self.body = Some(json!({ "required": required, "content": kinds.collect::<Map<_, _>>() }));
        self.serve = self.serve.layer(DefaultBodyLimit::max(most));
        self.problems.push(Kind::PayloadTooLarge);
        self
    }

    /// An answer without a body.
    pub(crate) fn bare(mut self, status: u16, about: &str) -> Self {
        self.answers.insert(status, json!({ "description": about }));
        self
    }

    /// An answer with a body of this type; `schema` names one of [`schemas`].
    pub(crate) fn typed(mut self, status: u16, kind: &str, schema: &str, about: &str) -> Self {
        let content = json!({ kind: { "schema": reference(schema) } });
        self.answers.insert(status, json!({ "description": about, "content": content }));
        self
    }

    /// An answer in JSON; `schema` names one of [`schemas`].
    pub(crate) fn answer(self, status: u16, schema: &str, about: &str) -> Self {
        self.typed(status, "application/json", schema, about)
    }

    /// A header of the answer with this status.
    pub(crate) fn with(mut self, status: u16, name: &str, about: &str) -> Self {
        if let Some(answer) = self.answers.get_mut(&status) {
            answer["headers"][name] = json!({ "description": about, "schema": { "type": "string" } });
        }
        self
    }

    /// How it may refuse, beside what any operation may.
    pub(crate) fn refuses(mut self, kinds: &[Kind]) -> Self {
        self.problems.extend(kinds);
        self
    }

    fn document(&self) -> Value {
        let mut answers = self.answers.clone();
        let mut slugs: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for kind in &self.problems {
            slugs.entry(kind.status()).or_default().push(kind.slug());
        }
        for (status, mut slugs) in slugs {
            slugs.dedup();
            let content = json!({ "application/problem+json": { "schema": reference("Problem") } });
            let answer = json!({ "description": slugs.join(", "), "content": content });
            answers.entry(status).or_insert(answer);
        }
        answers.insert(431, json!({ "description": "The address and headers are longer than 16 KiB together" }));
        let answers: Map<String, Value> =
            answers.into_iter().map(|(status, answer)| (status.to_string(), answer)).collect();
        let mut document = json!({ "operationId": self.id, "summary": self.summary, "responses": answers });
        if !self.parameters.is_empty() {
            document["parameters"] = json!(self.parameters);
        }
        if let Some(body) = &self.body {
            document["requestBody"] = body.clone();
        }
        document
    }
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// The OpenAPI 3.1 document of these operations.
pub(crate) fn document(operations: &[Operation]) -> String {
    let mut paths = Map::new();
    for operation in operations {
        paths.entry(operation.path).or_insert_with(|| json!({}))[operation.method] = operation.document();
    }
    let about = "States of addresses, publications as resources, and what explains them. Errors are RFC 9457 problems; \
                 see /problems/{name}. Times are milliseconds since the epoch, leases are seconds. Members that are \
                 absent are unknown; new members and values may come.";
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Lamplighter", "version": env!("CARGO_PKG_VERSION"), "summary": "The HTTP API", "description": about },
        "paths": paths,
        "security": [{ "bearer": [] }, {}],
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "An API key or a JSON Web Token." },
            },
            "schemas": schemas(),
        },
    })
    .to_string()
}

/// `null` is as good as absent.
fn or_null(schema: &str) -> Value {
    json!({ "anyOf": [reference(schema), { "type": "null" }] })
}

/// An object with these members, of which `required` are always there.
fn object(members: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": members, "required": required })
}

fn list(schema: &str) -> Value {
    json!({ "type": "array", "items": reference(schema) })
}

fn schemas() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let number = |about: &str| json!({ "type": "integer", "minimum": 0, "description": about });
    let moment = json!({ "type": "integer", "minimum": 0, "description": "Milliseconds since the epoch." });
    let perhaps = json!({ "type": ["integer", "null"], "minimum": 0, "description": "Milliseconds since the epoch." });
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let flag = json!({ "type": "boolean" });
    let short = |most: u32| json!({ "type": "string", "maxLength": most });
    let selectors = json!({ "type": "array", "items": reference("Selector"), "maxItems": 1000 });
    let selection = object(
        json!({
            "r": selectors, "kinds": { "type": "array", "items": reference("Kind"), "maxItems": 255 },
            "domains": { "type": "array", "items": { "type": "string" }, "maxItems": 1000 },
            "q": reference("Words"), "limit": or_null("Limit"), "page": or_null("Page"),
        }),
        &[],
    );
    let mut selection = selection;
    selection["additionalProperties"] = json!(false);
    let command = object(
        json!({
            "r": reference("Resource"), "kind": reference("Kind"), "event": reference("Kind"),
            "state": { "type": "object" }, "content_type": text("The body's."), "body": text("A document."),
            "entity_tag": reference("EntityTag"), "expires": reference("Seconds"), "source": reference("Source"),
        }),
        &["r"],
    );
    let plain = json!({
        "Resource": { "type": "string", "minLength": 1, "maxLength": 512, "examples": ["sip:1001@example.com", "1001"],
            "description": "An address: sip:1001@example.com, 1001@example.com or 1001." },
        "Selector": { "type": "string", "minLength": 1, "maxLength": 512, "examples": ["sip:*@example.com"],
            "description": "An address, sip:*@domain, *@domain, group:NAME or *." },
        "Kind": { "type": "string", "minLength": 1, "maxLength": 128, "examples": ["dialog", "presence", "mwi"],
            "description": "A kind of state." },
        "Words": { "type": "string", "maxLength": 128, "description": "Part of an address or of what the directory says about it." },
        "Limit": { "type": "integer", "minimum": 1, "maximum": 10000, "description": "Items in a page at most." },
        "Page": { "type": "string", "minLength": 1, "maxLength": 256, "description": "What the page before gave; opaque." },
        "Seconds": { "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32, "description": "How long it shall hold; 0 withdraws." },
        "Source": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$", "description": "Tells publications of one caller apart." },
        "EntityTag": { "type": "string", "pattern": "^[0-9a-f]{16}$", "description": "One version of a publication, as SIP-ETag names it (RFC 3903)." },
        "PublicationId": { "type": "string", "minLength": 1, "maxLength": 768, "examples": ["7f3a00112233:dialog:sip:1001@example.com"],
            "description": "What Location named; the same for all versions." },
        "Name": { "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[^/]+$" },
        "Number": { "type": "integer", "minimum": 1 },
        "Text": { "type": "string" },
        "Document": { "type": "object" },
        "State": { "type": "object", "description": "The state of a kind; see docs/http-api.md." },
    });
    let answers = json!({
        "Problem": object(json!({
            "type": { "type": "string", "pattern": "^/problems/[a-z-]+$" }, "title": text("What is wrong."),
            "status": { "type": "integer" }, "detail": text("What is wrong with this request."),
            "instance": { "type": "string", "pattern": "^/problems/[a-z-]+#[0-9a-f]{16}$", "description": "This one refusal; the gateway's log names it at level debug." },
            "errors": { "type": "array", "items": object(json!({ "pointer": text("A JSON pointer."), "detail": text("What is wrong there.") }), &["pointer", "detail"]) },
            "retry_ms": number("When to try again."),
        }), &["type", "title", "status", "detail", "instance"]),
        "Item": object(json!({
            "r": reference("Resource"), "k": reference("Kind"), "seq": number("Counts the changes of this state."),
            "rev": number("The gateway's revision."), "ts": moment, "src": text("Whose word changed it."),
            "state": reference("State"), "gone": flag, "reason": text("Why it is gone."),
        }), &["r", "k", "seq", "rev", "ts"]),
        "Items": object(json!({ "r": reference("Resource"), "items": list("Item") }), &["r", "items"]),
        "List": object(json!({
            "items": list("Item"), "more": flag, "page": reference("Page"),
            "cursor": text("Where a feed goes on without a hole."),
        }), &["items", "more", "cursor"]),
        "Selection": selection,
        "Command": command,
        "Commands": { "type": "array", "items": reference("Command"), "maxItems": 1000 },
        "Published": object(json!({
            "r": reference("Resource"), "kind": reference("Kind"), "id": reference("PublicationId"),
            "entity_tag": reference("EntityTag"), "expires": number("How long it holds, seconds; 0: it has ended."),
            "created": flag,
        }), &["r", "kind", "id", "entity_tag", "expires", "created"]),
        "Results": object(json!({ "results": { "type": "array", "items": object(json!({
            "status": { "type": "integer" }, "published": reference("Published"), "problem": reference("Problem"),
        }), &["status"]) } }), &["results"]),
    });
    let people = json!({
        "Person": object(json!({
            "resource": reference("Resource"), "name": short(256), "extension": short(64), "department": short(256),
            "picture": short(2048), "note": short(1024),
        }), &["resource"]),
        "Directory": object(json!({
            "people": { "type": "array", "items": reference("Person"), "maxItems": 50_000 },
            "groups": { "type": "object", "additionalProperties": reference("Members"), "maxProperties": 1000 },
        }), &[]),
        "Members": { "type": "array", "items": reference("Resource"), "maxItems": 10_000 },
        "Group": object(json!({ "name": reference("Name"), "members": reference("Members") }), &["name", "members"]),
        "Names": object(json!({ "groups": texts }), &["groups"]),
    });
    let watching = json!({
        "Watcher": object(json!({
            "r": reference("Resource"), "kind": reference("Kind"), "watcher": text("The watcher's address."),
            "state": text("active, pending or dormant"), "flow": text("Where NOTIFYs go."), "until": perhaps,
            "notified": perhaps, "version": { "type": ["integer", "null"] }, "answer": text("To the last NOTIFY."),
        }), &["watcher", "state", "flow"]),
        "Watchers": object(json!({ "watchers": list("Watcher"), "page": reference("Page") }), &["watchers"]),
        "Refreshed": object(json!({ "r": reference("Resource"), "watchers": number("How many are told.") }), &["r", "watchers"]),
        "Connection": object(json!({
            "id": reference("Number"), "principal": text("Who."), "client": text("What it calls itself."),
            "peer": text("Its network address."), "since": moment, "subscriptions": number("Its subscriptions."),
            "rev": number("How far it has come."), "lag": number("Revisions that it is behind."),
            "conflated": number("States that it was spared because a newer one came."),
        }), &["id", "principal", "peer", "since", "subscriptions", "rev", "lag", "conflated"]),
        "Connections": object(json!({ "connections": list("Connection") }), &["connections"]),
        "Explanation": object(json!({
            "resource": reference("Resource"), "packages": { "type": "array", "items": { "type": "object" } },
            "unanswered": texts, "feed": { "type": "array", "items": { "type": "object" } },
        }), &["resource", "packages", "unanswered", "feed"]),
        "Rates": object(json!({
            "every_s": number("Seconds between samples."), "at": moment,
            "series": { "type": "object", "additionalProperties": { "type": "array", "items": { "type": ["number", "null"] } } },
        }), &["every_s", "at", "series"]),
        "Ticket": object(json!({ "ticket": text("To be used once, as `ticket` in a query."), "expires_s": number("For so long.") }), &["ticket", "expires_s"]),
        "Session": object(json!({ "principal": text("Who."), "expires": perhaps, "admin": flag }), &["principal", "admin"]),
        "Ready": object(json!({ "ready": flag, "reasons": texts }), &["ready"]),
        "Version": object(json!({ "name": text("Lamplighter"), "version": text("The version."), "feed": number("The feed's protocol.") }), &["name", "version"]),
    });
    let wish = json!({
        "resource": text("Whose state: a SIP URI, or an address of ours."), "package": reference("Kind"),
        "subscriber": { "anyOf": [reference("Resource"), { "type": "null" }], "description": "Who watches, an address of ours; absent: the gateway, and what it learns is for everyone." },
        "event_id": { "type": ["string", "null"] }, "target": { "type": ["string", "null"], "description": "The Request-URI." },
        "contact": { "type": ["string", "null"] },
        "outbound_proxy": { "type": ["string", "null"], "description": "Where requests go first." },
    });
    let mut wanted = object(wish.clone(), &["resource", "package"]);
    wanted["additionalProperties"] = json!(false);
    wanted["properties"]["headers"] = json!({ "type": "object", "additionalProperties": { "type": "string", "maxLength": 512 }, "maxProperties": 16 });
    wanted["properties"]["expires"] =
        json!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 4_294_967_295_u32 }, { "type": "null" }] });
    wanted["properties"]["accept"] = json!({ "type": "array", "items": { "type": "string" }, "description": "Content types to ask for, of those that the package has; absent: all of them." });
    wanted["properties"]["list"] = json!({ "type": "boolean", "description": "The resource may be a list (RFC 4662), whose members are told apart." });
    let lease = wanted["properties"]["expires"].clone();
    let saying = json!({
        "content_type": { "type": ["string", "null"], "maxLength": 512, "description": "Of the body; absent: the package's own." },
        "body": { "type": ["string", "null"], "description": "The document, at most 60 KiB." },
        "base64": { "type": ["string", "null"], "description": "The document, if it is no text." },
        "state": { "type": ["object", "null"], "description": "The state in JSON, in place of a document." },
        "expires": lease,
    });
    let mut publishing = object(
        json!({
            "resource": text("Whose state: a SIP URI, or an address of ours."), "package": reference("Kind"),
            "publisher": { "anyOf": [reference("Resource"), { "type": "null" }], "description": "Who publishes, an address of ours; absent: the resource itself." },
            "id": { "type": ["string", "null"], "maxLength": 512, "description": "The caller's own name for it: the same again is the same publication." },
            "target": wish["target"], "outbound_proxy": wish["outbound_proxy"], "headers": wanted["properties"]["headers"],
        }),
        &["resource", "package"],
    );
    if let (Some(all), Some(some)) = (publishing["properties"].as_object_mut(), saying.as_object()) {
        all.extend(some.clone());
    }
    publishing["additionalProperties"] = json!(false);
    let mut saying = object(saying, &[]);
    saying["additionalProperties"] = json!(false);
    let mut renewal =
        object(json!({ "expires": { "type": "integer", "minimum": 1, "maximum": 4_294_967_295_u32 } }), &["expires"]);
    renewal["additionalProperties"] = json!(false);
    let instance = object(
        json!({
            "id": text("As the server calls it."), "state": text("active, pending or terminated"),
            "reason": { "type": ["string", "null"] },
            "document": { "anyOf": [object(json!({
                "at": moment, "content_type": text("The document's."), "state": or_null("State"),
                "problem": { "type": ["string", "null"] },
            }), &["at", "content_type"]), { "type": "null" }] },
        }),
        &["id", "state", "document"],
    );
    let member = object(
        json!({
            "uri": text("Whose state."), "name": { "type": ["string", "null"] },
            "local": { "type": ["string", "null"], "description": "The address of ours under which everyone sees it." },
            "instances": { "type": "array", "items": instance },
        }),
        &["uri", "instances"],
    );
    let roll = object(
        json!({
            "uri": text("As its server calls it."), "name": { "type": ["string", "null"] },
            "version": { "type": ["integer", "null"] }, "at": moment,
            "problem": { "type": ["string", "null"], "description": "Why the newest NOTIFY was not taken." },
            "members": { "type": "array", "items": member },
        }),
        &["uri", "at", "members"],
    );
    let learned = object(
        json!({
            "fork": number("Which notifier."), "at": moment, "content_type": text("The document's."),
            "body": text("The document."), "base64": text("The document, if it is no text."),
            "state": or_null("State"), "problem": { "type": ["string", "null"] },
        }),
        &["fork", "at", "content_type"],
    );
    let beyond = json!({
        "Wish": wanted, "Renewal": renewal, "Publishing": publishing, "Saying": saying,
        "Subscription": object(json!({
            "id": reference("Number"), "resource": text("Whose state."), "subscriber": { "type": ["string", "null"] },
            "package": reference("Kind"), "event_id": { "type": ["string", "null"] }, "target": { "type": ["string", "null"] },
            "outbound_proxy": { "type": ["string", "null"] }, "owner": text("Who asked for it."), "configured": flag,
            "internal": { "type": "boolean", "description": "It is served from here, without SIP." },
            "local": { "type": ["string", "null"], "description": "The address of ours under which everyone sees it." },
            "state": text("pending, active, retrying, rejected or terminated"),
            "reason": { "type": ["string", "null"] }, "status": number("The last final status; 0 before the first."),
            "until": perhaps, "next": perhaps, "notified": number("NOTIFYs accepted."),
            "requests": number("Requests sent."), "shared": number("How many share its dialog."),
            "call_id": text("Of its dialog."), "item": reference("Item"), "accept": texts,
            "list": { "anyOf": [roll, { "type": "null" }] },
            "documents": { "type": "array", "items": learned },
        }), &["id", "resource", "package", "state", "status"]),
        "Subscriptions": object(json!({ "subscriptions": list("Subscription"), "page": reference("Page") }), &["subscriptions"]),
        "Export": object(json!({
            "r": reference("Resource"), "kind": reference("Kind"), "server": text("Where to."),
            "number": number("Of what a program has asked for."), "owner": text("Who asked for it."),
            "id": { "type": ["string", "null"], "description": "The owner's own name for it." },
            "publisher": { "type": ["string", "null"], "description": "Who publishes; null: the resource itself." },
            "content_type": text("Of what is said."),
            "entity_tag": { "type": ["string", "null"], "description": "The other server's." },
            "state": text("pending, active, retrying or terminated"), "reason": { "type": ["string", "null"] },
            "status": number("The last final status; 0 before the first."), "until": perhaps, "next": perhaps,
            "requests": number("Requests sent."),
        }), &["r", "kind", "server", "state", "status"]),
        "Exports": object(json!({ "exports": list("Export"), "page": reference("Page") }), &["exports"]),
    });
    let all = [plain, answers, people, watching, beyond].into_iter().filter_map(|some| match some {
        Value::Object(some) => Some(some),
        _ => None,
    });
    all.flatten().collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use crate::http::operations;
    use serde_json::Value;
    use std::collections::HashSet;

    /// Each operation is there once, has an id of its own, says what it answers, names all parts of its path, and
    /// refers to schemas that exist; each schema is used.
    #[test]
    fn the_document_is_whole() {
        let operations = operations();
        let document: Value = serde_json::from_str(&super::document(&operations)).unwrap();
        let mut ids = HashSet::new();
        for operation in &operations {
            let (path, method) = (operation.path, operation.method);
            let said = &document["paths"][path][method];
            let id = said["operationId"].as_str().unwrap();
            assert!(!id.is_empty() && ids.insert(id.to_owned()), "{method} {path} has an id of its own");
            assert!(!said["summary"].as_str().unwrap().is_empty(), "{method} {path} says what it does");
            let answers = said["responses"].as_object().unwrap();
            assert!(answers.keys().any(|status| status.as_str() < "400"), "{method} {path} may succeed");
            let parameters = said["parameters"].as_array().cloned().unwrap_or_default();
            let named: HashSet<_> =
                parameters.iter().filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap()).collect();
            let parts: HashSet<_> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            assert_eq!(named, parts, "{method} {path}");
        }
        let count: usize =
            document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(count, operations.len(), "no operation hides another");
        let mut used = HashSet::new();
        references(&document, &mut used);
        let known: HashSet<_> = document["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
        let missing: Vec<_> = used.difference(&known).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let idle: Vec<_> = known.difference(&used).collect();
        assert!(idle.is_empty(), "{idle:?}");
    }

    fn references(value: &Value, into: &mut HashSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    into.insert(to.strip_prefix("#/components/schemas/").unwrap().to_owned());
                }
                members.values().for_each(|value| references(value, into));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }
}
