//! Publications as resources: created, modified, refreshed and withdrawn by their entity-tags, as PUBLISH does it
//! (RFC 3903 section 4). The HTTP entity-tag is the SIP entity-tag in quotes.
//!
//! An answer comes behind the change that it caused: whoever reads a state after it sees what was published.

use crate::app::App;
use crate::http::{Body, Caller, Object, Parameters, Segments, misfit, wrong};
use crate::openapi::Operation;
use crate::problem::{Kind, Problem};
use crate::replies::{Reply, fingerprint};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::join_all;
use lamplighter_model::{
    EntityTag, OwnedAction, OwnedContent, PackageId, PublishCommand, PublishError, PublishedLease,
};
use lamplighter_port::Busy;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// The longest document, bytes.
const DOCUMENT: usize = 256 * 1024;
/// The longest bulk request, bytes, and the most publications in one.
const BULK: usize = 4 * 1024 * 1024;
const MOST: usize = 1000;
/// Publications of a bulk request that are under way at once. So few are first polled, and thus sent, in order.
const AT_ONCE: usize = 16;
/// The most entity-tags in If-Match that are tried.
const TAGS: usize = 8;
/// The media types of lines of JSON.
const LINES: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

pub(crate) fn operations() -> Vec<Operation> {
    let refuses = [
        Kind::NotFound,
        Kind::Conflict,
        Kind::PreconditionFailed,
        Kind::UnsupportedMediaType,
        Kind::InvalidField,
        Kind::BadBody,
        Kind::IntervalTooBrief,
        Kind::TooManyPublications,
        Kind::UpstreamUnavailable,
    ];
    let any = |operation: Operation| {
        operation
            .header(
                "Idempotency-Key",
                false,
                "The same request with the same key within 10 minutes is answered, not done again",
            )
            .refuses(&refuses)
    };
    let lease = |operation: Operation| {
        operation.query("expires", json!({ "$ref": "#/components/schemas/Seconds" }), "How long it holds")
    };
    let state = |operation: Operation| {
        let place = operation.segment("resource", "Resource", "The address").segment("kind", "Kind", "The kind");
        any(lease(place)).refuses(&[Kind::PreconditionRequired])
    };
    let one = |operation: Operation| {
        let place = operation.segment("id", "PublicationId", "The publication");
        any(place.header("If-Match", false, "The entity-tag of its newest version; without it 428"))
            .refuses(&[Kind::PreconditionRequired])
    };
    let document = |operation: Operation| operation.body(DOCUMENT, false, &["application/json", "*/*"], "State");
    let done = |operation: Operation, status| {
        let operation = operation.answer(status, "Published", "It is published, and every reader sees it");
        let operation = operation.with(status, "ETag", "The SIP entity-tag, quoted");
        operation.with(status, "Location", "The publication")
    };
    vec![
        done(document(state(Operation::post("/v1/state/{resource}/{kind}/publications", create))), 201)
            .about("createPublication", "Publish a state beside what others say"),
        done(done(document(state(Operation::put("/v1/state/{resource}/{kind}", put))), 200), 201)
            .query("source", json!({ "$ref": "#/components/schemas/Source" }), "Which of the caller's own publications")
            .header("If-Match", false, "Modify this publication instead; without a body refresh it")
            .about("putPublication", "Create or replace the caller's own publication"),
        done(document(lease(one(Operation::put("/v1/publications/{id}", modify)))), 200)
            .about("modifyPublication", "Give a publication a new body; without one refresh it"),
        done(lease(one(Operation::post("/v1/publications/{id}/refresh", refresh))), 200)
            .about("refreshPublication", "Give a publication a new lease"),
        one(Operation::delete("/v1/publications/{id}", withdraw))
            .bare(204, "It is withdrawn")
            .about("withdrawPublication", "Withdraw a publication"),
        any(Operation::post("/v1/publish", bulk))
            .body(BULK, true, &["application/json", "application/x-ndjson"], "Commands")
            .answer(200, "Results", "What became of each, in order")
            .refuses(&[Kind::BadJson])
            .about("publish", "Publish many states: a list, or an object a line"),
    ]
}

/// A publication for its whole life: the part of its entity-tag that stays, and where it is.
struct Id {
    publication: u64,
    package: PackageId,
    resource: Arc<str>,
}

impl Id {
    fn write(tag: EntityTag, kind: &str, resource: &str) -> String {
        format!("{:012x}:{kind}:{resource}", tag.publication())
    }

    /// Kinds are tokens and hold no colon.
    fn read(caller: &Caller, text: &str) -> Result<Self, Problem> {
        let unknown = || Problem::new(Kind::NotFound, "there is no such publication");
        let mut parts = text.splitn(3, ':');
        let (Some(publication), Some(kind), Some(resource)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unknown());
        };
        let tag = EntityTag::read(format!("{publication}0000").as_bytes()).ok_or_else(unknown)?;
        let package = caller.package(kind).map_err(|_| unknown())?;
        let resource: Arc<str> = caller.address(resource).map_err(|_| unknown())?.into();
        caller.may_write(&resource, kind)?;
        Ok(Self { publication: tag.publication(), package, resource })
    }

    /// The entity-tags of If-Match that may be versions of it.
    fn versions(&self, headers: &HeaderMap) -> Result<Vec<EntityTag>, Problem> {
        let tags = if_match(headers)?;
        let tags = tags.ok_or_else(|| Problem::new(Kind::PreconditionRequired, "If-Match names the version"))?;
        Ok(tags.into_iter().filter(|tag| tag.publication() == self.publication).collect())
    }
}

impl Caller {
    fn may_write(&self, resource: &str, kind: &str) -> Result<(), Problem> {
        match self.principal.may_write(resource, kind) {
            true => Ok(()),
            false => Err(Problem::new(Kind::Forbidden, format!("no right to publish `{kind}` of {resource}"))),
        }
    }
}

/// The entity-tags that If-Match names (RFC 9110 section 13.1.1); those that we never gave are left out. `None`: there
/// is no such header. `*` names none: which version is meant must be said.
fn if_match(headers: &HeaderMap) -> Result<Option<Vec<EntityTag>>, Problem> {
    let mut tags = None;
    for value in headers.get_all(header::IF_MATCH) {
        let tags: &mut Vec<EntityTag> = tags.get_or_insert_default();
        let text = value.to_str().map_err(|_| Problem::new(Kind::BadRequest, "If-Match is not in plain ASCII"))?;
        for one in text.split(',').map(str::trim) {
            if one == "*" {
                return Err(Problem::new(Kind::PreconditionRequired, "If-Match names an entity-tag, not `*`"));
            }
            let bare = one.strip_prefix('"').and_then(|one| one.strip_suffix('"')).unwrap_or(one);
            tags.extend(EntityTag::read(bare.as_bytes()).filter(|_| tags.len() < TAGS));
        }
    }
    Ok(tags)
}

/// `?expires=`.
fn expires(parameters: &Parameters) -> Result<Option<Duration>, Problem> {
    let Some(text) = parameters.last("expires") else { return Ok(None) };
    let seconds: u32 = text.parse().map_err(|_| wrong("expires", "whole seconds"))?;
    Ok(Some(Duration::from_secs(seconds.into())))
}

/// Letters, digits, dots, underscores, hyphens.
fn source(caller: &Caller, name: Option<&str>) -> Result<Arc<str>, Problem> {
    let name = name.unwrap_or("default");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err(wrong("source", "1 to 64 letters, digits, dots, underscores and hyphens"));
    }
    Ok(format!("api:{}/{name}", caller.principal.name()).into())
}

/// A body of this type, as the package may read it.
fn content(app: &App, package: PackageId, kind: Option<&str>, body: Bytes) -> Result<OwnedContent, Problem> {
    let formats = app.port.packages().get(package).formats();
    let bare = kind.map(|kind| kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase()).unwrap_or_default();
    if let Some(format) = formats.iter().position(|format| *format.content_type == *bare) {
        return Ok(OwnedContent::Document { format: format as u8, body });
    }
    if bare == "application/json" {
        return Ok(OwnedContent::Json(body));
    }
    let mut known = String::from("Content-Type is application/json");
    for format in formats {
        let _ = write!(known, " or {}", format.content_type);
    }
    Err(Problem::new(Kind::UnsupportedMediaType, known))
}

/// The body of a request; `None`: there is none.
fn request_content(
    caller: &Caller,
    package: PackageId,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Option<OwnedContent>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Problem::new(Kind::UnsupportedMediaType, "bodies are taken without Content-Encoding"));
    }
    content(&caller.app, package, text(header::CONTENT_TYPE), body).map(Some)
}

/// Why a shard refuses. `state` is the JSON pointer of what was to be published.
pub(crate) fn refused(error: &PublishError, state: &str) -> Problem {
    match error {
        PublishError::NoSuchTag => Problem::new(Kind::PreconditionFailed, error.to_string()),
        PublishError::BadBody(bad) if bad.place.starts_with('/') => {
            Problem::at(Kind::BadBody, format!("{state}{}", bad.place), bad.problem)
        }
        PublishError::BadBody(bad) => Problem::at(Kind::BadBody, state, bad.to_string()),
        PublishError::TooMany(_) => Problem::new(Kind::TooManyPublications, error.to_string()).later(5000),
        PublishError::IntervalTooBrief { least } => {
            let detail = format!("expires must be at least {} seconds", least.as_secs());
            Problem::at(Kind::IntervalTooBrief, "/expires", detail)
        }
        PublishError::NotStored => Problem::new(Kind::UpstreamUnavailable, error.to_string()).later(5000),
    }
}

/// A shard does not answer.
pub(crate) fn busy(busy: Busy) -> Problem {
    Problem::new(Kind::UpstreamUnavailable, busy.to_string()).later(1000)
}

/// One publication to make, checked.
struct Wish {
    resource: Arc<str>,
    package: PackageId,
    expires: Option<Duration>,
    /// Tried in order until one names a publication.
    actions: Vec<OwnedAction>,
}

impl Wish {
    /// With entity-tags: modifies; without content refreshes, and withdraws when `expires` is zero. Else `put`.
    fn new(
        resource: Arc<str>,
        package: PackageId,
        expires: Option<Duration>,
        content: Option<OwnedContent>,
        tags: Option<Vec<EntityTag>>,
        put: impl FnOnce(OwnedContent) -> OwnedAction,
    ) -> Result<Self, Problem> {
        let withdraws = expires.is_some_and(|expires| expires.is_zero());
        let act = |tag, content: &Option<OwnedContent>| match content {
            _ if withdraws => OwnedAction::Withdraw(tag),
            None => OwnedAction::Refresh(tag),
            Some(content) => OwnedAction::Modify(tag, content.clone()),
        };
        let actions = match (tags, content) {
            (Some(tags), content) => tags.into_iter().map(|tag| act(tag, &content)).collect(),
            (None, None) => return Err(Problem::at(Kind::BadBody, "", "a body is needed")),
            (None, Some(_)) if withdraws => return Err(wrong("expires", "0 withdraws what If-Match names")),
            (None, Some(content)) => vec![put(content)],
        };
        Ok(Self { resource, package, expires, actions })
    }

    async fn grant(self, caller: &Caller) -> Result<Published, Problem> {
        let Self { resource, package, expires, actions } = self;
        for action in actions {
            let command =
                PublishCommand { resource: Arc::clone(&resource), package, action, expires, from: caller.peer };
            match caller.app.port.publish(command).await.map_err(busy)? {
                Ok(lease) => {
                    let kind = caller.app.port.packages().get(package).kind().to_owned();
                    return Ok(Published { resource, kind, lease });
                }
                Err(PublishError::NoSuchTag) => {}
                Err(error) => return Err(refused(&error, "")),
            }
        }
        Err(refused(&PublishError::NoSuchTag, ""))
    }
}

/// What was done.
struct Published {
    resource: Arc<str>,
    kind: String,
    lease: PublishedLease,
}

impl Published {
    fn status(&self) -> u16 {
        if self.lease.created { 201 } else { 200 }
    }

    fn id(&self) -> String {
        Id::write(self.lease.tag, &self.kind, &self.resource)
    }

    fn json(&self) -> Value {
        let PublishedLease { tag, created, expires } = self.lease;
        json!({
            "r": &*self.resource, "kind": self.kind, "id": self.id(), "entity_tag": tag.to_string(),
            "expires": expires.as_secs(), "created": created,
        })
    }

    fn reply(self) -> Reply {
        let location = format!("/v1/publications/{}", segment(&self.id()));
        let tag = Some(format!("\"{}\"", self.lease.tag));
        Reply { status: self.status(), tag, location: Some(location), ..Reply::json(self.json().to_string()) }
    }
}

/// A path segment: everything but unreserved characters (RFC 3986 section 2.3), `:` and `@` is escaped.
fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b':' | b'@' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}

/// The parts of a request that make it the same as another with its Idempotency-Key.
fn print(operation: &str, place: &str, parameters: &Parameters, headers: &HeaderMap, body: &[u8]) -> u64 {
    let header = |name| headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    let expires = parameters.last("expires").unwrap_or("-");
    let source = parameters.last("source").unwrap_or("-");
    let parts = [operation, place, expires, source].map(str::as_bytes);
    fingerprint(parts.into_iter().chain([header(header::IF_MATCH), header(header::CONTENT_TYPE), body]))
}

async fn create(
    caller: Caller,
    Segments((resource, kind)): Segments<(String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    parameters.only(&["expires"])?;
    let (resource, package) = (caller.address(&resource)?, caller.package(&kind)?);
    caller.may_write(&resource, &kind)?;
    let print = print("create", &format!("{resource} {kind}"), &parameters, &headers, &body);
    let expires = expires(&parameters)?;
    let content = request_content(&caller, package, &headers, body)?;
    let wish = Wish::new(resource.into(), package, expires, content, None, OwnedAction::Initial)?;
    do_once(caller, &headers, print, wish, Published::reply).await
}

async fn put(
    caller: Caller,
    Segments((resource, kind)): Segments<(String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    parameters.only(&["expires", "source"])?;
    let (resource, package) = (caller.address(&resource)?, caller.package(&kind)?);
    caller.may_write(&resource, &kind)?;
    let print = print("put", &format!("{resource} {kind}"), &parameters, &headers, &body);
    let (expires, source) = (expires(&parameters)?, source(&caller, parameters.last("source"))?);
    let content = request_content(&caller, package, &headers, body)?;
    let put = |content| OwnedAction::Put(source, content);
    let wish = Wish::new(resource.into(), package, expires, content, if_match(&headers)?, put)?;
    do_once(caller, &headers, print, wish, Published::reply).await
}

async fn modify(
    caller: Caller,
    Segments(id): Segments<String>,
    parameters: Parameters,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    parameters.only(&["expires"])?;
    let place = Id::read(&caller, &id)?;
    let print = print("modify", &id, &parameters, &headers, &body);
    let versions = place.versions(&headers)?;
    let content = request_content(&caller, place.package, &headers, body)?;
    let wish =
        Wish::new(place.resource, place.package, expires(&parameters)?, content, Some(versions), OwnedAction::Initial)?;
    do_once(caller, &headers, print, wish, Published::reply).await
}

async fn refresh(
    caller: Caller,
    Segments(id): Segments<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    parameters.only(&["expires"])?;
    let place = Id::read(&caller, &id)?;
    let print = print("refresh", &id, &parameters, &headers, b"");
    let versions = place.versions(&headers)?;
    let Id { resource, package, .. } = place;
    let wish = Wish::new(resource, package, expires(&parameters)?, None, Some(versions), OwnedAction::Initial)?;
    do_once(caller, &headers, print, wish, Published::reply).await
}

async fn withdraw(
    caller: Caller,
    Segments(id): Segments<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    parameters.only(&[])?;
    let place = Id::read(&caller, &id)?;
    let print = print("withdraw", &id, &parameters, &headers, b"");
    let versions = place.versions(&headers)?;
    let Id { resource, package, .. } = place;
    let wish = Wish::new(resource, package, Some(Duration::ZERO), None, Some(versions), OwnedAction::Initial)?;
    do_once(caller, &headers, print, wish, |_| Reply::empty()).await
}

async fn do_once(
    caller: Caller,
    headers: &HeaderMap,
    print: u64,
    wish: Wish,
    told: fn(Published) -> Reply,
) -> Result<Response, Problem> {
    let app = Arc::clone(&caller.app);
    let name = caller.principal.name().to_owned();
    let work = async move { wish.grant(&caller).await.map_or_else(|problem| Reply::from(&problem), told) };
    app.replies.once(&name, headers, print, work).await
}

/// One of many.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    r: String,
    /// The kind, such as `mwi`; or `event`, the package, such as `message-summary`.
    kind: Option<String>,
    event: Option<String>,
    state: Option<Value>,
    content_type: Option<String>,
    body: Option<String>,
    entity_tag: Option<String>,
    expires: Option<u32>,
    source: Option<String>,
}

impl Command {
    fn read(caller: &Caller, value: Value) -> Result<Wish, Problem> {
        let Object(command) = serde_json::from_value(value).map_err(|bad| misfit(&bad))?;
        let Self { r, kind, event, state, content_type, body, entity_tag, expires, source: name } = command;
        let packages = caller.app.port.packages();
        let package = match (&kind, &event) {
            (Some(kind), None) => caller.package(kind)?,
            (None, Some(event)) => packages
                .find(event.as_bytes())
                .ok_or_else(|| Problem::at(Kind::NotFound, "/event", "there is no such package here"))?,
            _ => return Err(wrong("kind", "one of `kind` and `event`")),
        };
        let resource = caller.address(&r)?;
        caller.may_write(&resource, packages.get(package).kind())?;
        let content = match (state, body) {
            (Some(_), Some(_)) => return Err(wrong("body", "one of `state` and `body`")),
            (Some(state), None) => Some(OwnedContent::Json(state.to_string().into())),
            (None, Some(body)) => Some(content(&caller.app, package, content_type.as_deref(), body.into())?),
            (None, None) => None,
        };
        let tags = entity_tag.map(|tag| EntityTag::read(tag.trim_matches('"').as_bytes()).into_iter().collect());
        let source = source(caller, name.as_deref())?;
        let expires = expires.map(|seconds| Duration::from_secs(seconds.into()));
        Wish::new(resource.into(), package, expires, content, tags, |content| OwnedAction::Put(source, content))
    }
}

/// The objects of a bulk request: a list, or an object a line.
fn commands(kind: &str, body: &[u8]) -> Result<Vec<Value>, Problem> {
    let bad = |bad: serde_json::Error| Problem::new(Kind::BadJson, bad.to_string());
    let bare = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let commands = if LINES.contains(&&*bare) {
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        lines.take(MOST + 1).map(|line| serde_json::from_slice(line).map_err(bad)).collect::<Result<Vec<_>, _>>()?
    } else if bare == "application/json" {
        let Value::Array(commands) = serde_json::from_slice(body).map_err(bad)? else {
            return Err(Problem::new(Kind::BadJson, "a list of objects"));
        };
        commands
    } else {
        let detail = format!("Content-Type is application/json (a list) or {} (an object a line)", LINES[0]);
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    };
    if commands.len() > MOST {
        return Err(Problem::new(Kind::PayloadTooLarge, format!("at most {MOST} at once")));
    }
    Ok(commands)
}

async fn bulk(
    caller: Caller,
    parameters: Parameters,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    parameters.only(&[])?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let commands = commands(kind, &body)?;
    let print = print("bulk", "", &parameters, &headers, &body);
    let app = Arc::clone(&caller.app);
    let name = caller.principal.name().to_owned();
    let work = async move {
        let mut text = String::from("{\"results\":[");
        let mut commands = commands.into_iter().peekable();
        let mut first = true;
        while commands.peek().is_some() {
            let some = commands.by_ref().take(AT_ONCE).map(|value| {
                let wish = Command::read(&caller, value);
                let caller = &caller;
                async move { wish?.grant(caller).await }
            });
            for result in join_all(some).await {
                text.push_str(if std::mem::take(&mut first) { "" } else { "," });
                match result {
                    Ok(published) => {
                        let _ =
                            write!(text, "{{\"status\":{},\"published\":{}}}", published.status(), published.json());
                    }
                    Err(problem) => {
                        let (status, members) = (problem.kind.status(), Value::Object(problem.members()));
                        let _ = write!(text, "{{\"status\":{status},\"problem\":{members}}}");
                    }
                }
            }
        }
        text.push_str("]}");
        Reply::json(text)
    };
    app.replies.once(&name, &headers, print, work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_names_versions() {
        let check = |value: &str, expected: Option<&[u64]>| {
            let headers = HeaderMap::from_iter([(header::IF_MATCH, value.parse().unwrap())]);
            let tags = if_match(&headers).ok().flatten();
            let tags = tags.map(|tags| tags.into_iter().map(|tag| tag.0).collect::<Vec<_>>());
            assert_eq!(tags.as_deref(), expected, "{value}");
        };
        check("\"00000000000a0001\"", Some(&[0xa0001]));
        check("00000000000a0001", Some(&[0xa0001]));
        check("\"x\", \"00000000000a0001\"", Some(&[0xa0001]));
        check("W/\"00000000000a0001\"", Some(&[]));
        check("\"00000000000A0001\"", Some(&[]));
        check("*", None);
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn segments_hold_no_slash() {
        assert_eq!(segment("7f:a;b:sip:a/b%20@example.com"), "7f:a%3Bb:sip:a%2Fb%2520@example.com");
    }

    #[test]
    fn many_come_as_a_list_or_as_lines() {
        let count = |kind, body: &str| commands(kind, body.as_bytes()).map(|all| all.len()).map_err(|bad| bad.kind);
        assert_eq!(count("application/json", "[{},{}]"), Ok(2));
        assert_eq!(count("application/x-ndjson; charset=utf-8", "{}\r\n\n{}\n"), Ok(2));
        assert_eq!(count("application/json", "{}"), Err(Kind::BadJson));
        assert_eq!(count("application/x-ndjson", "{}\n{"), Err(Kind::BadJson));
        assert_eq!(count("text/plain", "[]"), Err(Kind::UnsupportedMediaType));
        assert_eq!(count("application/x-ndjson", &"{}\n".repeat(1001)), Err(Kind::PayloadTooLarge));
        assert_eq!(count("application/json", &format!("[{}]", vec!["0"; 1001].join(","))), Err(Kind::PayloadTooLarge));
    }
}
