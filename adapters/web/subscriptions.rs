//! Internal subscriptions: whoever may speak for an address watches others as that address, at whatever server they
//! are. What the gateway fetches under its own name is shown to administrators.

use crate::http::{self, Body, Caller, Object, Parameters, Segments, json, wrong};
use crate::openapi::Operation;
use crate::problem::{Kind, Problem};
use crate::publications::{busy, refused};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lamplighter_model::remote::{RemoteDocument, RemoteInstance, RemoteList, RemoteMember, RemoteRow};
use lamplighter_model::{PackageId, PublishError, RemoteAnswer, RemoteCommand, RemoteWish};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest wish, bytes.
const WISH: usize = 32 * 1024;
/// Subscriptions and publications of a page.
pub(crate) const PAGE: usize = 500;

pub(crate) fn operations() -> Vec<Operation> {
    let refuses = [Kind::NotFound, Kind::InvalidField, Kind::NotSupported, Kind::UpstreamUnavailable];
    let one = |operation: Operation| operation.segment("number", "Number", "The subscription").refuses(&refuses);
    let pages = |operation: Operation| {
        let page = json!({ "$ref": "#/components/schemas/Page" });
        operation.query("page", page, "The page after the one that gave this").refuses(&refuses)
    };
    vec![
        Operation::post("/v1/subscriptions", create)
            .about("subscribe", "Watch an address, wherever it is, as one of ours")
            .body(WISH, true, &["application/json"], "Wish")
            .answer(201, "Subscription", "It stands, pending until its server has answered")
            .with(201, "Location", "The subscription")
            .refuses(&refuses)
            .refuses(&[Kind::BadJson, Kind::TooManySubscriptions]),
        pages(Operation::get("/v1/subscriptions", list))
            .about("subscriptions", "Internal subscriptions that the caller may see")
            .answer(200, "Subscriptions", "A page of them, oldest first, without their documents"),
        one(Operation::get("/v1/subscriptions/{number}", get))
            .about("subscription", "How a subscription stands, and what it has learned")
            .answer(200, "Subscription", "All of it"),
        one(Operation::post("/v1/subscriptions/{number}/retry", retry))
            .about("retrySubscription", "Try once more now, even where there was a refusal for good")
            .answer(200, "Subscription", "It is being tried, or refreshed if it stands"),
        one(Operation::patch("/v1/subscriptions/{number}", renew))
            .about("renewSubscription", "Ask for another lease from now on, and renew at once")
            .body(WISH, true, &["application/json"], "Renewal")
            .answer(200, "Subscription", "It is being renewed, with everybody who shares its dialog")
            .refuses(&[Kind::BadJson]),
        one(Operation::delete("/v1/subscriptions/{number}", remove))
            .about("unsubscribe", "End a subscription; its dialog ends with its last one")
            .bare(204, "It has ended")
            .refuses(&[Kind::Conflict]),
    ]
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    resource: String,
    package: String,
    subscriber: Option<String>,
    event_id: Option<Box<str>>,
    target: Option<Box<str>>,
    contact: Option<Box<str>>,
    outbound_proxy: Option<Box<str>>,
    #[serde(default)]
    headers: BTreeMap<Box<str>, Box<str>>,
    expires: Option<u32>,
    #[serde(default)]
    accept: Vec<Box<str>>,
    #[serde(default)]
    list: bool,
}

/// What changes of a subscription.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Renewal {
    expires: u32,
}

impl Caller {
    pub(crate) async fn remote(&self, command: RemoteCommand) -> Result<RemoteAnswer, Problem> {
        let publishes = matches!(
            command,
            RemoteCommand::Publish(_)
                | RemoteCommand::Publication(_)
                | RemoteCommand::Modify { .. }
                | RemoteCommand::Withdraw(_)
        );
        match self.app.port.remote(command).await {
            None => Err(silent()),
            Some(Err(error)) => Err(busy(error)),
            Some(Ok(answer)) => answered(answer, publishes),
        }
    }

    /// Whether it may see and end a subscription: it speaks for its subscriber.
    pub(crate) fn speaks_for(&self, wish: &RemoteWish) -> bool {
        if self.principal.is_admin() {
            return true;
        }
        let kind = self.app.port.packages().get(wish.package).kind();
        let subscriber = wish.subscriber.as_deref().and_then(|one| self.app.port.addresses().parse(one).ok());
        subscriber.is_some_and(|subscriber| self.principal.may_write(&subscriber, kind))
    }

    /// The package of a kind, or of an event type.
    pub(crate) fn any_package(&self, name: &str) -> Result<PackageId, Problem> {
        let packages = self.app.port.packages();
        let id = packages.find_kind(name).or_else(|| packages.find(name.as_bytes()));
        id.ok_or_else(|| Problem::at(Kind::NotFound, "/package", "there is no such package here"))
    }

    /// A subscription that it may see.
    pub(crate) async fn subscription(&self, number: u64) -> Result<RemoteRow, Problem> {
        match self.remote(RemoteCommand::Get(number)).await? {
            RemoteAnswer::Subscription(row) if self.speaks_for(&row.wish) => Ok(*row),
            _ => Err(unknown()),
        }
    }
}

fn unknown() -> Problem {
    Problem::new(Kind::NotFound, "there is no such subscription")
}

fn read(number: &str) -> Result<u64, Problem> {
    number.parse().map_err(|_| unknown())
}

/// There is nobody to ask.
pub(crate) fn silent() -> Problem {
    Problem::new(Kind::NotSupported, "this gateway talks to no other servers: remote.enabled is false")
}

/// An answer that is none of the refusals.
pub(crate) fn answered(answer: RemoteAnswer, publishes: bool) -> Result<RemoteAnswer, Problem> {
    Err(match answer {
        RemoteAnswer::Off => silent(),
        RemoteAnswer::Unknown if publishes => Problem::new(Kind::NotFound, "there is no such publication"),
        RemoteAnswer::Unknown => Problem::new(Kind::NotFound, "there is no such subscription"),
        RemoteAnswer::BadBody(bad) => refused(&PublishError::BadBody(bad), "/state"),
        RemoteAnswer::Full if publishes => {
            Problem::new(Kind::TooManyPublications, "there are as many as can be").later(5000)
        }
        RemoteAnswer::Full => Problem::new(Kind::TooManySubscriptions, "there are as many as can be").later(5000),
        RemoteAnswer::Invalid("accept") => wrong("accept", "content types of the package"),
        RemoteAnswer::Invalid(what) => {
            wrong(what, "a SIP URI, a token, a body of bearable length, or headers that are not the gateway's to write")
        }
        RemoteAnswer::Configured => Problem::new(Kind::Conflict, "it stands in the configuration, and ends there"),
        answer => return Ok(answer),
    })
}

/// An address of ours in canonical form, else what it is at another server.
pub(crate) fn uri(caller: &Caller, text: &str) -> Box<str> {
    let full = if text.contains(':') { text.to_owned() } else { format!("sip:{text}") };
    caller.app.port.addresses().parse(text).unwrap_or(full).into()
}

async fn create(caller: Caller, Body(body): Body) -> Result<Response, Problem> {
    let Object(asked) = http::read(&body)?;
    let wish = wish(&caller, asked)?;
    let RemoteAnswer::Subscription(row) = caller.remote(RemoteCommand::Subscribe(Box::new(wish))).await? else {
        return Err(Problem::new(Kind::Internal, "the answer is another one's"));
    };
    let location = [(header::LOCATION, format!("/v1/subscriptions/{}", row.id))];
    Ok((StatusCode::CREATED, location, json(show(&caller, &row, true).to_string())).into_response())
}

/// What a caller asks for, if it may.
pub(crate) fn wish(caller: &Caller, wish: Wish) -> Result<RemoteWish, Problem> {
    let Wish { resource, package, subscriber, event_id, target, contact, outbound_proxy, headers, expires, .. } = wish;
    let id = caller.any_package(&package)?;
    if expires == Some(0) {
        return Err(wrong("expires", "more than 0 seconds"));
    }
    let subscriber = match &subscriber {
        Some(subscriber) => Some(caller.address(subscriber)?.into()),
        None => None,
    };
    let wish = RemoteWish {
        resource: uri(caller, &resource),
        subscriber,
        package: id,
        event_id,
        target,
        contact,
        outbound_proxy,
        headers: headers.into_iter().collect(),
        expires: expires.map(|seconds| Duration::from_secs(seconds.into())),
        accept: wish.accept.iter().map(|one| one.to_ascii_lowercase().into()).collect(),
        list: wish.list,
        owner: caller.principal.name().into(),
    };
    if !caller.speaks_for(&wish) {
        let who = wish.subscriber.as_deref().unwrap_or("the gateway");
        return Err(Problem::new(Kind::Forbidden, format!("no right to speak for {who}")));
    }
    Ok(wish)
}

async fn get(caller: Caller, Segments(number): Segments<String>) -> Result<Response, Problem> {
    let row = caller.subscription(read(&number)?).await?;
    Ok(json(show(&caller, &row, true).to_string()))
}

async fn retry(caller: Caller, Segments(number): Segments<String>) -> Result<Response, Problem> {
    let row = caller.subscription(read(&number)?).await?;
    match caller.remote(RemoteCommand::Retry(row.id)).await? {
        RemoteAnswer::Subscription(row) => Ok(json(show(&caller, &row, true).to_string())),
        _ => Err(Problem::new(Kind::NotFound, "there is no such subscription")),
    }
}

async fn renew(caller: Caller, Segments(number): Segments<String>, Body(body): Body) -> Result<Response, Problem> {
    let Object(Renewal { expires }) = http::read(&body)?;
    if expires == 0 {
        return Err(wrong("expires", "more than 0 seconds"));
    }
    let id = caller.subscription(read(&number)?).await?.id;
    let expires = Duration::from_secs(expires.into());
    match caller.remote(RemoteCommand::Renew { id, expires }).await? {
        RemoteAnswer::Subscription(row) => Ok(json(show(&caller, &row, true).to_string())),
        _ => Err(Problem::new(Kind::NotFound, "there is no such subscription")),
    }
}

async fn remove(caller: Caller, Segments(number): Segments<String>) -> Result<StatusCode, Problem> {
    let row = caller.subscription(read(&number)?).await?;
    caller.remote(RemoteCommand::Remove(row.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) fn page(parameters: &Parameters) -> Result<u64, Problem> {
    parameters.only(&["page"])?;
    match parameters.last("page") {
        Some(page) => http::place(page).map(|[from]| from),
        None => Ok(0),
    }
}

async fn list(caller: Caller, parameters: Parameters) -> Result<Response, Problem> {
    let mut from = page(&parameters)?;
    let (mut rows, mut next) = (Vec::new(), None);
    // Those of others are passed over, so that a page is not empty while there is more.
    for _ in 0..8 {
        let command = RemoteCommand::List { from, most: PAGE };
        let RemoteAnswer::Subscriptions(some, more) = caller.remote(command).await? else { break };
        rows.extend(some.iter().filter(|row| caller.speaks_for(&row.wish)).map(|row| show(&caller, row, false)));
        next = more;
        match more {
            Some(more) if rows.is_empty() => from = more,
            _ => break,
        }
    }
    Ok(json(paged(json!({ "subscriptions": rows }), next)))
}

pub(crate) fn paged(mut answer: Value, next: Option<u64>) -> String {
    if let Some(next) = next {
        answer["page"] = next.to_string().into();
    }
    answer.to_string()
}

/// The members of a wish; a feed's frame may have others.
const MEMBERS: [&str; 11] = [
    "resource",
    "package",
    "subscriber",
    "event_id",
    "target",
    "contact",
    "outbound_proxy",
    "headers",
    "expires",
    "accept",
    "list",
];

/// What a frame of the feed asks for.
pub(crate) fn from_frame(mut members: Map<String, Value>) -> Result<Wish, Problem> {
    members.retain(|name, _| MEMBERS.contains(&&**name));
    serde_json::from_value(Value::Object(members)).map_err(|bad| http::misfit(&bad))
}

/// The lease that a frame asks for.
pub(crate) fn renewal(members: &Map<String, Value>) -> Result<Option<Duration>, Problem> {
    match members.get("expires") {
        None | Some(Value::Null) => Ok(None),
        Some(expires) => match expires.as_u64().and_then(|seconds| u32::try_from(seconds).ok()) {
            Some(0) | None => Err(wrong("expires", "more than 0 seconds")),
            Some(seconds) => Ok(Some(Duration::from_secs(seconds.into()))),
        },
    }
}

/// What a client of the feed is told of a subscription; `fresh`: with its documents.
pub(crate) fn news(caller: &Caller, row: &RemoteRow, fresh: bool) -> Value {
    let mut out = json!({
        "t": "remote_sub", "number": row.id, "r": row.wish.resource, "state": row.state, "reason": row.reason,
        "kind": caller.app.port.packages().get(row.wish.package).kind(), "status": row.status,
        "until": row.until.map(|time| time.as_millis()), "next": row.next.map(|time| time.as_millis()),
        "notified": row.notified, "requests": row.sent, "shared": row.shared,
    });
    if fresh {
        out["documents"] = row.documents.iter().map(document).collect();
        if let Some(list) = &row.list {
            out["list"] = list_of(list);
        }
    }
    out
}

fn show(caller: &Caller, row: &RemoteRow, whole: bool) -> Value {
    let kind = caller.app.port.packages().get(row.wish.package).kind();
    let wish = &row.wish;
    let mut out = json!({
        "id": row.id, "resource": wish.resource, "subscriber": wish.subscriber, "package": kind,
        "event_id": wish.event_id, "target": wish.target, "outbound_proxy": wish.outbound_proxy, "owner": wish.owner,
        "configured": row.configured, "internal": row.internal, "local": row.local.as_deref(), "state": row.state,
        "reason": row.reason, "status": row.status, "until": row.until.map(|time| time.as_millis()),
        "next": row.next.map(|time| time.as_millis()), "notified": row.notified, "requests": row.sent,
        "shared": row.shared, "call_id": row.call_id, "accept": wish.accept,
    });
    if whole {
        out["documents"] = row.documents.iter().map(document).collect();
        out["list"] = row.list.as_ref().map(list_of).unwrap_or_default();
        // What is on the bus is shown as whoever asks may see it there.
        let item = row.local.as_ref().and_then(|local| caller.app.port.get(local, wish.package));
        if let Some((item, view)) = item.and_then(|item| caller.view(&item).map(|view| (item, view))) {
            let text = item.json(caller.app.port.packages(), view);
            out["item"] = serde_json::from_str(text).unwrap_or_default();
        }
    }
    out
}

fn list_of(list: &RemoteList) -> Value {
    let RemoteList { uri, name, version, at, problem, members } = list;
    let members: Vec<_> = members.iter().map(member).collect();
    json!({
        "uri": uri, "name": name, "version": version, "at": at.as_millis(), "problem": problem, "members": members,
    })
}

fn member(one: &RemoteMember) -> Value {
    let RemoteMember { uri, name, local, instances } = one;
    let instances: Vec<_> = instances.iter().map(instance).collect();
    json!({ "uri": uri, "name": name, "local": local.as_deref(), "instances": instances })
}

fn instance(one: &RemoteInstance) -> Value {
    let RemoteInstance { id, standing, reason, at, content_type, state, problem } = one;
    let mut out = json!({ "id": id, "state": standing, "reason": reason, "document": null });
    if let Some(at) = at {
        let state: Value = state.as_ref().and_then(|state| serde_json::from_slice(state).ok()).unwrap_or_default();
        out["document"] =
            json!({ "at": at.as_millis(), "content_type": content_type, "state": state, "problem": problem });
    }
    out
}

fn document(one: &RemoteDocument) -> Value {
    let RemoteDocument { fork, at, content_type, body, state, problem } = one;
    let mut out = json!({ "fork": fork, "at": at.as_millis(), "content_type": content_type, "problem": problem });
    match std::str::from_utf8(body) {
        Ok(text) => out["body"] = text.into(),
        Err(_) => out["base64"] = BASE64_STANDARD.encode(body).into(),
    }
    out["state"] = state.as_ref().and_then(|state| serde_json::from_slice(state).ok()).unwrap_or_default();
    out
}
