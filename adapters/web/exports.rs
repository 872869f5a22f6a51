//! What is published to other servers: what rules of the configuration select, shown to administrators, and what
//! programs hand in, for whoever may speak for its publisher (RFC 3903 on their behalf).

use crate::http::{self, Body, Caller, Object, Parameters, Segments, json, wrong};
use crate::openapi::Operation;
use crate::problem::{Kind, Problem};
use crate::subscriptions::{PAGE, page, paged, uri};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lamplighter_model::remote::RemotePublication;
use lamplighter_model::{PackageId, RemoteAnswer, RemoteCommand, RemoteContent, RemoteRecord};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest request, bytes.
const RECORD: usize = 128 * 1024;

pub(crate) fn operations() -> Vec<Operation> {
    let refuses = [Kind::NotFound, Kind::InvalidField, Kind::NotSupported, Kind::UpstreamUnavailable];
    let one = |operation: Operation| operation.segment("number", "Number", "The publication").refuses(&refuses);
    let says = [Kind::BadJson, Kind::BadBody, Kind::TooManyPublications];
    let page = json!({ "$ref": "#/components/schemas/Page" });
    vec![
        Operation::post("/v1/exports", create)
            .about("export", "Publish a document at another server, and keep it published")
            .body(RECORD, true, &["application/json"], "Publishing")
            .answer(201, "Export", "It is being published, pending until the server has answered")
            .with(201, "Location", "The publication")
            .answer(200, "Export", "It takes the place of what the caller published under this id")
            .refuses(&refuses)
            .refuses(&says),
        Operation::get("/v1/exports", list)
            .about("exports", "What is published to other servers, and their answers")
            .query("page", page, "The page after the one that gave this")
            .answer(200, "Exports", "A page of what the caller may see")
            .refuses(&refuses),
        one(Operation::get("/v1/exports/{number}", get))
            .about("exported", "How a publication at another server stands")
            .answer(200, "Export", "Its last answer; for a minute after its removal that of the removal"),
        one(Operation::patch("/v1/exports/{number}", modify))
            .about("modifyExport", "Say something new, or ask for another lease")
            .body(RECORD, true, &["application/json"], "Saying")
            .answer(200, "Export", "It is being said")
            .refuses(&says),
        one(Operation::post("/v1/exports/{number}/refresh", refresh))
            .about("refreshExport", "Renew the lease now; try again now after a failure")
            .answer(200, "Export", "It is being refreshed"),
        one(Operation::delete("/v1/exports/{number}", remove))
            .about("withdrawExport", "Remove a publication at another server")
            .answer(202, "Export", "It is being removed"),
    ]
}

/// What is to be published.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publishing {
    resource: String,
    package: String,
    publisher: Option<String>,
    id: Option<Box<str>>,
    target: Option<Box<str>>,
    outbound_proxy: Option<Box<str>>,
    #[serde(default)]
    headers: BTreeMap<Box<str>, Box<str>>,
    expires: Option<u32>,
    content_type: Option<Box<str>>,
    body: Option<String>,
    base64: Option<String>,
    state: Option<Map<String, Value>>,
}

/// What is to be said of it now.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saying {
    expires: Option<u32>,
    content_type: Option<Box<str>>,
    body: Option<String>,
    base64: Option<String>,
    state: Option<Map<String, Value>>,
}

impl Saying {
    fn lease(&self) -> Result<Option<Duration>, Problem> {
        match self.expires {
            Some(0) => Err(wrong("expires", "more than 0 seconds")),
            other => Ok(other.map(|seconds| Duration::from_secs(seconds.into()))),
        }
    }

    fn content(self, caller: &Caller, package: PackageId) -> Result<Option<RemoteContent>, Problem> {
        let Self { content_type, body, base64, state, .. } = self;
        let body = match (body, base64) {
            (Some(_), Some(_)) => return Err(wrong("base64", "either body or base64")),
            (Some(body), None) => Some(body.into_bytes()),
            (None, Some(text)) => {
                Some(BASE64_STANDARD.decode(text).map_err(|_| wrong("base64", "base64 with padding"))?)
            }
            (None, None) => None,
        };
        match (state, body) {
            (Some(_), Some(_)) => Err(wrong("state", "either a state or a body")),
            (Some(_), None) if content_type.is_some() => Err(wrong("content_type", "not beside a state")),
            (Some(state), None) => Ok(Some(RemoteContent::State(Value::Object(state).to_string().into()))),
            (None, Some(body)) => {
                let usual =
                    || caller.app.port.packages().get(package).formats().first().map(|it| it.content_type.clone());
                let content_type = content_type.or_else(usual).unwrap_or_default();
                Ok(Some(RemoteContent::Document { content_type, body: body.into() }))
            }
            (None, None) if content_type.is_some() => Err(wrong("body", "the document")),
            (None, None) => Ok(None),
        }
    }
}

impl Caller {
    /// Whether it may see and end a publication: it speaks for the publisher.
    fn publishes_for(&self, package: PackageId, publisher: &str) -> bool {
        if self.principal.is_admin() {
            return true;
        }
        let kind = self.app.port.packages().get(package).kind();
        let publisher = self.app.port.addresses().parse(publisher).ok();
        publisher.is_some_and(|publisher| self.principal.may_write(&publisher, kind))
    }

    pub(crate) fn sees_export(&self, row: &RemotePublication) -> bool {
        match row.number {
            Some(_) => self.publishes_for(row.package, row.publisher.as_deref().unwrap_or(&row.resource)),
            None => self.principal.is_admin(),
        }
    }

    /// A publication that it may see.
    pub(crate) async fn exported(&self, number: u64) -> Result<RemotePublication, Problem> {
        match self.remote(RemoteCommand::Publication(number)).await? {
            RemoteAnswer::Publication(row, _) if self.sees_export(&row) => Ok(*row),
            _ => Err(unknown()),
        }
    }

    /// Does something to a publication.
    async fn on_export(&self, command: RemoteCommand) -> Result<(RemotePublication, bool), Problem> {
        match self.remote(command).await? {
            RemoteAnswer::Publication(row, new) => Ok((*row, new)),
            _ => Err(Problem::new(Kind::Internal, "the answer is another one's")),
        }
    }
}

fn unknown() -> Problem {
    Problem::new(Kind::NotFound, "there is no such publication")
}

fn read(number: &str) -> Result<u64, Problem> {
    number.parse().map_err(|_| unknown())
}

async fn create(caller: Caller, Body(body): Body) -> Result<Response, Problem> {
    let Object(publishing) = http::read(&body)?;
    let (row, new) = caller.on_export(RemoteCommand::Publish(Box::new(record(&caller, publishing)?))).await?;
    let answer = json(show(&caller, &row).to_string());
    if !new {
        return Ok(answer);
    }
    let location = [(header::LOCATION, format!("/v1/exports/{}", row.number.unwrap_or_default()))];
    Ok((StatusCode::CREATED, location, answer).into_response())
}

/// What a caller wants to have published, if it may.
pub(crate) fn record(caller: &Caller, publishing: Publishing) -> Result<RemoteRecord, Problem> {
    let Publishing { resource, package, publisher, id, target, outbound_proxy, headers, .. } = publishing;
    let Publishing { expires, content_type, body, base64, state, .. } = publishing;
    let package = caller.any_package(&package)?;
    let resource = uri(caller, &resource);
    let publisher = match &publisher {
        Some(publisher) => Some(caller.address(publisher)?.into_boxed_str()),
        None => None,
    };
    let who = publisher.as_deref().unwrap_or(&resource);
    if !caller.publishes_for(package, who) {
        return Err(Problem::new(Kind::Forbidden, format!("no right to speak for {who}")));
    }
    let saying = Saying { expires, content_type, body, base64, state };
    let expires = saying.lease()?;
    let content = saying.content(caller, package)?;
    let content = content.ok_or_else(|| wrong("body", "a body with its content_type, or a state"))?;
    let owner = caller.principal.name().into();
    let headers = headers.into_iter().collect();
    Ok(RemoteRecord { resource, publisher, package, id, content, target, outbound_proxy, headers, expires, owner })
}

async fn list(caller: Caller, parameters: Parameters) -> Result<Response, Problem> {
    let mut from = page(&parameters)?;
    let (mut rows, mut next) = (Vec::new(), None);
    // Those of others are passed over, so that a page is not empty while there is more.
    for _ in 0..8 {
        let command = RemoteCommand::Publications { from, most: PAGE };
        let RemoteAnswer::Publications(some, more) = caller.remote(command).await? else { break };
        rows.extend(some.iter().filter(|row| caller.sees_export(row)).map(|row| show(&caller, row)));
        next = more;
        match more {
            Some(more) if rows.is_empty() => from = more,
            _ => break,
        }
    }
    Ok(json(paged(json!({ "exports": rows }), next)))
}

async fn get(caller: Caller, Segments(number): Segments<String>) -> Result<Response, Problem> {
    let row = caller.exported(read(&number)?).await?;
    Ok(json(show(&caller, &row).to_string()))
}

async fn modify(caller: Caller, Segments(number): Segments<String>, Body(body): Body) -> Result<Response, Problem> {
    let Object::<Saying>(saying) = http::read(&body)?;
    let row = caller.exported(read(&number)?).await?;
    let expires = saying.lease()?;
    let content = saying.content(&caller, row.package)?;
    let number = row.number.unwrap_or_default();
    let (row, _) = caller.on_export(RemoteCommand::Modify { number, content, expires }).await?;
    Ok(json(show(&caller, &row).to_string()))
}

async fn refresh(caller: Caller, Segments(number): Segments<String>) -> Result<Response, Problem> {
    let number = caller.exported(read(&number)?).await?.number.unwrap_or_default();
    let (row, _) = caller.on_export(RemoteCommand::Modify { number, content: None, expires: None }).await?;
    Ok(json(show(&caller, &row).to_string()))
}

async fn remove(caller: Caller, Segments(number): Segments<String>) -> Result<Response, Problem> {
    let number = caller.exported(read(&number)?).await?.number.unwrap_or_default();
    let (row, _) = caller.on_export(RemoteCommand::Withdraw(number)).await?;
    Ok((StatusCode::ACCEPTED, json(show(&caller, &row).to_string())).into_response())
}

/// The members of what is to be published and of what is to be said of it; a feed's frame may have others.
const MEMBERS: [&str; 12] = [
    "resource",
    "package",
    "publisher",
    "id",
    "target",
    "outbound_proxy",
    "headers",
    "expires",
    "content_type",
    "body",
    "base64",
    "state",
];

/// What a frame of the feed wants to have published. Its `id` is the command's: the publication's is `name`.
pub(crate) fn from_frame(mut members: Map<String, Value>) -> Result<Publishing, Problem> {
    members.remove("id");
    if let Some(name) = members.remove("name") {
        members.insert("id".into(), name);
    }
    members.retain(|name, _| MEMBERS.contains(&&**name));
    serde_json::from_value(Value::Object(members)).map_err(|bad| http::misfit(&bad))
}

/// What a frame of the feed changes of a publication; `None`: nothing, it only follows it.
pub(crate) fn change(
    caller: &Caller,
    row: &RemotePublication,
    mut members: Map<String, Value>,
) -> Result<Option<RemoteCommand>, Problem> {
    let refresh = members.get("refresh").and_then(Value::as_bool).unwrap_or(false);
    members.retain(|name, _| MEMBERS[7..].contains(&&**name));
    if members.is_empty() && !refresh {
        return Ok(None);
    }
    let saying: Saying = serde_json::from_value(Value::Object(members)).map_err(|bad| http::misfit(&bad))?;
    let expires = saying.lease()?;
    let content = saying.content(caller, row.package)?;
    let number = row.number.unwrap_or_default();
    Ok(Some(RemoteCommand::Modify { number, content, expires }))
}

/// What a client of the feed is told of a publication.
pub(crate) fn news(caller: &Caller, row: &RemotePublication) -> Value {
    let mut out = show(caller, row);
    out["t"] = "remote_pub".into();
    if let Some(members) = out.as_object_mut() {
        members.remove("id");
    }
    out["name"] = json!(row.id);
    out
}

fn show(caller: &Caller, row: &RemotePublication) -> Value {
    let RemotePublication { number, owner, id, resource, publisher, package, server, content_type, .. } = row;
    let RemotePublication { entity_tag, state, reason, status, until, next, sent, .. } = row;
    let mut out = json!({
        "r": &**resource, "kind": caller.app.port.packages().get(*package).kind(), "server": server, "state": state,
        "reason": reason, "status": status, "until": until.map(|time| time.as_millis()),
        "next": next.map(|time| time.as_millis()), "requests": sent, "publisher": publisher,
        "entity_tag": entity_tag.as_deref().map(String::from_utf8_lossy),
    });
    if let Some(number) = number {
        out["number"] = (*number).into();
        out["owner"] = (&**owner).into();
        out["id"] = json!(id);
        out["content_type"] = (&**content_type).into();
    }
    out
}
