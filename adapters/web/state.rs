//! Reading states: lists by page, and one address with an entity-tag or a long wait.
//!
//! Everything comes from the mirror. A list's cursor is the revision at which its first page was made: whoever goes on
//! from there in the feed misses nothing that happened while the pages were read.

use crate::app::stopped;
use crate::http::{self, Body, Caller, Object, Parameters, Segments, json, tagged, wrong};
use crate::openapi::Operation;
use crate::problem::{Kind, Problem};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lamplighter_model::PackageId;
use lamplighter_port::{Item, Kinds, Scope, Selector, push_json_string};
use serde::Deserialize;
use serde_json::json;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Items of a page unless asked otherwise, and at most.
const LIST: usize = 1000;
const MOST: usize = 10_000;
/// Looks into the mirror for one page, each of bounded length; then the page ends, though it may be empty.
const LOOKS: usize = 64;
/// The longest wait.
const LONGEST: u64 = 60;
/// The most bytes of a list's question.
const QUESTION: usize = 256 * 1024;

pub(crate) fn operations() -> Vec<Operation> {
    let list = |operation: Operation| {
        operation
            .answer(200, "List", "A page of states, those that changed longest ago first")
            .with(200, "Presence-Cursor", "Where a feed or event stream goes on without a hole")
            .refuses(&[Kind::NotFound, Kind::Gone, Kind::InvalidField, Kind::TooManyResources])
    };
    let one = |operation: Operation| {
        operation
            .segment("resource", "Resource", "The address")
            .query(
                "wait",
                json!({ "type": "integer", "minimum": 0, "maximum": LONGEST }),
                "Seconds to wait for a change",
            )
            .query("cursor", json!({ "type": "string", "maxLength": 128 }), "Wait for what is newer than this")
            .header("If-None-Match", false, "Entity-tags that the client has")
            .with(200, "ETag", "The version")
            .bare(304, "Nothing newer")
            .refuses(&[Kind::NotFound, Kind::InvalidField])
    };
    vec![
        list(Operation::get("/v1/state", list_by_query))
            .about("list", "States of many addresses")
            .queries("r", "Selector", "Which addresses; without it all")
            .queries("kind", "Kind", "Which kinds; without it all")
            .queries("domain", "Selector", "Addresses of these domains only")
            .query("q", json!({ "$ref": "#/components/schemas/Words" }), "Addresses and people that this is part of")
            .query("limit", json!({ "$ref": "#/components/schemas/Limit" }), "Items in a page")
            .query("page", json!({ "$ref": "#/components/schemas/Page" }), "The page after the one that gave this"),
        list(Operation::post("/v1/state:query", list_by_body))
            .about("query", "States of many addresses, with a longer question")
            .body(QUESTION, true, &["application/json"], "Selection")
            .refuses(&[Kind::BadJson]),
        one(Operation::get("/v1/state/{resource}", all_of_one).answer(200, "Items", "Its states"))
            .about("states", "All states of one address"),
        one(Operation::get("/v1/state/{resource}/{kind}", one_of_one).answer(200, "Item", "The state"))
            .segment("kind", "Kind", "The kind")
            .about("state", "One state of one address"),
    ]
}

/// What a list is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Question {
    r: Vec<String>,
    kinds: Vec<String>,
    domains: Vec<String>,
    q: String,
    limit: Option<usize>,
    page: Option<String>,
}

async fn list_by_query(caller: Caller, parameters: Parameters) -> Result<Response, Problem> {
    let mut question = Question::default();
    for (name, value) in parameters.only(&["r", "kind", "domain", "q", "limit", "page"])? {
        let value = value.clone();
        match &**name {
            "r" => question.r.push(value),
            "kind" => question.kinds.push(value),
            "domain" => question.domains.push(value),
            "q" => question.q = value,
            "limit" => question.limit = Some(value.parse().map_err(|_| wrong("limit", "a whole number"))?),
            "page" => question.page = Some(value),
            _ => {}
        }
    }
    list(&caller, &question).await
}

async fn list_by_body(caller: Caller, Body(body): Body) -> Result<Response, Problem> {
    let Object(question) = http::read(&body)?;
    list(&caller, &question).await
}

/// The place in a list: the revision of the first page's beginning, and how far it has come since.
struct Page {
    first: u64,
    at: u64,
}

impl Page {
    fn read(text: &str, epoch: &str) -> Result<Self, Problem> {
        let parts = text.rsplit_once('.').and_then(|(rest, at)| {
            let (epoch, first) = rest.rsplit_once('.')?;
            Some((epoch, first.parse().ok()?, at.parse().ok()?))
        });
        let Some((of, first, at)) = parts else { return Err(wrong("page", "what the page before gave")) };
        if of != epoch {
            return Err(Problem::new(Kind::Gone, "the gateway has started anew; begin with the first page"));
        }
        Ok(Self { first, at })
    }
}

async fn list(caller: &Caller, question: &Question) -> Result<Response, Problem> {
    let (app, port) = (&caller.app, &caller.app.port);
    let Scoped { scope, words } = scope(caller, question)?;
    let limit = question.limit.unwrap_or(LIST);
    if !(1..=MOST).contains(&limit) {
        return Err(wrong("limit", "1 to 10000"));
    }
    let head = *port.head().borrow();
    let mut page = match &question.page {
        Some(text) => Page::read(text, port.epoch())?,
        None => Page { first: head, at: 0 },
    };
    let directory = app.directory();
    let (mut found, mut text, mut count, mut more) = (Vec::new(), String::from("{\"items\":["), 0, true);
    for _ in 0..LOOKS {
        let cursor = port.since(page.at, &scope, limit - count, &mut found);
        for item in found.drain(..).filter(|item| item.state.is_some()) {
            let Some(view) = caller.view(&item) else { continue };
            if !words.is_empty() && !directory.mentions(&item.resource, &words) {
                continue;
            }
            text.push_str(if count > 0 { "," } else { "" });
            text.push_str(item.json(port.packages(), view));
            count += 1;
        }
        (page.at, more) = (cursor.rev, cursor.more);
        if !more || count == limit {
            break;
        }
        tokio::task::yield_now().await;
    }
    let cursor = format!("{}.{}", port.epoch(), page.first);
    let _ = write!(text, "],\"more\":{more},");
    if more {
        let _ = write!(text, "\"page\":\"{cursor}.{}\",", page.at);
    }
    let _ = write!(text, "\"cursor\":\"{cursor}\"}}");
    let fixed = [(HeaderName::from_static("presence-cursor"), cursor), (header::CACHE_CONTROL, "no-store".into())];
    Ok((fixed, json(text)).into_response())
}

struct Scoped {
    scope: Scope,
    /// In lower case.
    words: String,
}

fn scope(caller: &Caller, question: &Question) -> Result<Scoped, Problem> {
    let most = caller.app.config.limits.list;
    let Question { r, kinds, domains, q, .. } = question;
    if r.len().max(kinds.len()).max(domains.len()) > most {
        return Err(Problem::new(Kind::TooManyResources, format!("at most {most} of each")));
    }
    if q.len() > 128 {
        return Err(wrong("q", "at most 128 bytes"));
    }
    let mut ids = Vec::new();
    for kind in kinds {
        ids.push(caller.package(kind)?);
    }
    let mut selectors = Vec::new();
    for (index, text) in r.iter().enumerate() {
        caller.select(text, &format!("/r/{index}"), &mut selectors)?;
    }
    let mut homes = Vec::new();
    for (index, domain) in domains.iter().enumerate() {
        let bare = domain.trim().trim_start_matches("*@");
        caller.select(&format!("*@{bare}"), &format!("/domains/{index}"), &mut homes)?;
    }
    // Both given: addresses that are in one of `r` and in one of `domains`.
    if selectors.is_empty() || selectors.contains(&Selector::All) {
        selectors = if homes.is_empty() { vec![Selector::All] } else { homes };
    } else if !homes.is_empty() {
        selectors.retain(|one| {
            let domain = match one {
                Selector::Exact(address) => address.rsplit_once('@').map_or("", |(_, domain)| domain),
                Selector::Domain { domain, .. } => domain,
                Selector::All => "",
            };
            homes.iter().any(|home| matches!(home, Selector::Domain { domain: of, .. } if **of == *domain))
        });
    }
    let kinds = if kinds.is_empty() { Kinds::ALL } else { Kinds::of(ids) };
    Ok(Scoped { scope: Scope::new(selectors, kinds), words: q.to_lowercase() })
}

async fn all_of_one(
    caller: Caller,
    Segments(resource): Segments<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    one(&caller, &resource, None, &parameters, &headers).await
}

async fn one_of_one(
    caller: Caller,
    Segments((resource, kind)): Segments<(String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let package = caller.package(&kind)?;
    one(&caller, &resource, Some(package), &parameters, &headers).await
}

/// One address, or one package of it. Answers at once, unless it is asked to wait for something newer.
async fn one(
    caller: &Caller,
    resource: &str,
    package: Option<PackageId>,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    parameters.only(&["wait", "cursor"])?;
    let resource = caller.address(resource)?;
    let port = &caller.app.port;
    let wait = match parameters.last("wait") {
        Some(text) => {
            text.parse().ok().filter(|wait| *wait <= LONGEST).ok_or_else(|| wrong("wait", "0 to 60 seconds"))?
        }
        None => 0,
    };
    // A cursor of another life of the gateway: everything is newer.
    let known = match parameters.last("cursor") {
        Some(text) => match text.rsplit_once('.').and_then(|(epoch, rev)| Some((epoch, rev.parse::<u64>().ok()?))) {
            Some((epoch, rev)) => (epoch == port.epoch()).then_some(rev),
            None => return Err(wrong("cursor", "a cursor")),
        },
        None => None,
    };
    let (mut head, mut stop) = (port.head(), caller.app.stop.clone());
    let deadline = Instant::now() + Duration::from_secs(wait);
    let mut waiting = wait > 0;
    loop {
        head.borrow_and_update();
        let items: Vec<_> = match package {
            Some(package) => port.of(&resource).into_iter().filter(|item| item.package == package).collect(),
            None => port.of(&resource),
        };
        let rev = items.iter().map(|item| item.rev).max().unwrap_or(0);
        let tag = format!("\"{}.{rev}\"", port.epoch());
        let old = known.is_some_and(|known| rev <= known) || http::matches(headers, &tag);
        // Without a word on what is known, waiting means for a first state.
        let nothing = items.iter().all(|item| item.state.is_none() || caller.view(item).is_none());
        let newer = if known.is_some() || headers.contains_key(header::IF_NONE_MATCH) { !old } else { !nothing };
        if waiting && !newer {
            waiting = tokio::select! {
                changed = timeout_at(deadline, head.changed()) => matches!(changed, Ok(Ok(()))),
                () = stopped(&mut stop) => false,
            };
            continue;
        }
        if nothing {
            return Err(Problem::new(Kind::NotFound, "nobody says anything about it"));
        }
        if old {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
        }
        return Ok(tagged(headers, tag, write(caller, &resource, package.is_some(), &items)));
    }
}

fn write(caller: &Caller, resource: &str, single: bool, items: &[Arc<Item>]) -> String {
    let mut text = String::new();
    if !single {
        text.push_str("{\"r\":");
        push_json_string(&mut text, resource);
        text.push_str(",\"items\":[");
    }
    let seen = items.iter().filter(|item| item.state.is_some());
    let seen = seen.filter_map(|item| Some(item.json(caller.app.port.packages(), caller.view(item)?)));
    for (index, item) in seen.enumerate() {
        text.push_str(if index > 0 { "," } else { "" });
        text.push_str(item);
    }
    if !single {
        text.push_str("]}");
    }
    text
}
