//! The HTTP side: which operation answers what, and what all of them share.

use crate::app::App;
use crate::auth::Principal;
use crate::openapi::{Operation, document};
use crate::problem::{self, Kind, Problem};
use crate::serve::Connection;
use crate::{admin, auth, directory, explain, exports, feed, guard, panel, publications, state, subscriptions};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Router, middleware};
use lamplighter_model::{NotLocal, PackageId, View};
use lamplighter_port::{BadSelector, Item, Selector};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde_json::{Map, Value};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a request's body may take to arrive.
const BODY: Duration = Duration::from_secs(30);

/// All operations, as router and documentation have them.
pub(crate) fn operations() -> Vec<Operation> {
    let mut all = state::operations();
    all.extend(publications::operations());
    all.extend(directory::operations());
    all.extend(admin::operations());
    all.extend(subscriptions::operations());
    all.extend(exports::operations());
    all.extend(feed::operations());
    all.extend(auth::operations());
    all.extend([
        Operation::get("/v1/explain/{resource}", explanation)
            .about("explain", "Why a lamp is lit: who vouches for what, by which rule, and what each watcher was told")
            .segment("resource", "Resource", "Whose lamp")
            .answer(200, "Explanation", "What is known")
            .refuses(&[Kind::NotFound, Kind::InvalidField]),
        Operation::get("/v1/openapi.json", openapi).about("openapi", "This document").answer(
            200,
            "Document",
            "OpenAPI 3.1",
        ),
        Operation::get("/problems/{slug}", problem::page)
            .about("problem", "What a problem means and what to do about it")
            .segment("slug", "Name", "The name of the problem")
            .typed(200, "text/plain", "Text", "The explanation")
            .refuses(&[Kind::NotFound]),
    ]);
    all
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/", get(|| async { Redirect::temporary("/panel/") }))
        .route("/panel", get(|| async { Redirect::permanent("/panel/") }))
        .route("/panel/", get(panel::file))
        .route("/panel/{file}", get(panel::file));
    for operation in operations() {
        router = router.route(operation.path, operation.serve);
    }
    router
        .fallback(|| async { Problem::new(Kind::NotFound, "there is no such page") })
        .method_not_allowed_fallback(|| async { Problem::new(Kind::MethodNotAllowed, "see the header Allow") })
        .layer(DefaultBodyLimit::max(1024))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
}

async fn openapi() -> Response {
    json(document(&operations()))
}

async fn explanation(caller: Caller, Segments(resource): Segments<String>) -> Result<Response, Problem> {
    caller.admin()?;
    let resource = caller.address(&resource)?;
    Ok(json(explain::explain(&caller.app, &resource).await.to_string()))
}

/// Who asks, and whom.
pub(crate) struct Caller {
    pub app: Arc<App>,
    pub principal: Principal,
    pub peer: SocketAddr,
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Principal>().cloned();
        let peer = parts.extensions.get::<Connection>().map(|connection| connection.peer);
        match (principal, peer) {
            (Some(principal), Some(peer)) => Ok(Self { app: Arc::clone(app), principal, peer }),
            _ => Err(Problem::new(Kind::Unauthenticated, "nobody has signed in")),
        }
    }
}

impl Caller {
    /// Refuses whoever does not run the gateway.
    pub(crate) fn admin(&self) -> Result<(), Problem> {
        let problem = || Problem::new(Kind::Forbidden, "this is for administrators");
        if self.principal.is_admin() { Ok(()) } else { Err(problem()) }
    }

    /// The canonical form of an address.
    pub(crate) fn address(&self, text: &str) -> Result<String, Problem> {
        if text.len() > 512 {
            return Err(Problem::new(Kind::InvalidField, BadSelector::TooLong.to_string()));
        }
        self.app.port.addresses().parse(text).map_err(not_local)
    }

    /// The package of a kind.
    pub(crate) fn package(&self, kind: &str) -> Result<PackageId, Problem> {
        let id = self.app.port.packages().find_kind(kind);
        id.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such kind of state here"))
    }

    /// In which view an item may be seen.
    pub(crate) fn view(&self, item: &Item) -> Option<View> {
        let package = self.app.port.packages().get(item.package);
        self.principal.view(&item.resource, package.kind())
    }

    /// What a selector selects; a group, its members.
    pub(crate) fn select(&self, text: &str, pointer: &str, into: &mut Vec<Selector>) -> Result<(), Problem> {
        if let Some(name) = text.strip_prefix("group:") {
            let members = self.app.group(name);
            let members = members.ok_or_else(|| Problem::at(Kind::NotFound, pointer, "there is no such group"))?;
            into.extend(members.iter().map(|member| Selector::Exact(member.as_str().into())));
            return Ok(());
        }
        let selector = Selector::parse(text, &self.app.port.addresses()).map_err(|bad| match bad {
            BadSelector::NotLocal(NotLocal::Foreign) => Problem::at(Kind::NotFound, pointer, bad.to_string()),
            _ => Problem::at(Kind::InvalidField, pointer, bad.to_string()),
        })?;
        into.push(selector);
        Ok(())
    }
}

fn not_local(bad: NotLocal) -> Problem {
    match bad {
        NotLocal::Foreign => Problem::new(Kind::NotFound, bad.to_string()),
        _ => Problem::new(Kind::InvalidField, bad.to_string()),
    }
}

/// The parts of the path.
pub(crate) struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, app).await;
        path.map(|Path(segments)| Self(segments)).map_err(|bad| Problem::new(Kind::BadRequest, bad.body_text()))
    }
}

/// The parameters behind the question mark, in order.
pub(crate) struct Parameters(Vec<(String, String)>);

impl FromRequestParts<Arc<App>> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, app).await;
        query.map(|Query(pairs)| Self(pairs)).map_err(|bad| Problem::new(Kind::BadRequest, bad.body_text()))
    }
}

impl Parameters {
    /// All of them, if there are no others than these, and a ticket.
    pub(crate) fn only(&self, known: &[&str]) -> Result<&[(String, String)], Problem> {
        let odd = self.0.iter().find(|(name, _)| !known.contains(&&**name) && name != "ticket");
        match odd {
            Some((name, _)) => Err(wrong(name, "no such parameter")),
            None => Ok(&self.0),
        }
    }

    /// The last value of this one.
    pub(crate) fn last(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(one, _)| one == name).map(|(_, value)| &**value)
    }
}

/// The numbers that say where a page begins, if `text` is written as the page before wrote them.
pub(crate) fn place<T: FromStr + ToString, const N: usize>(text: &str) -> Result<[T; N], Problem> {
    let read = |part: &str| part.parse().ok().filter(|number: &T| number.to_string() == part);
    let numbers = text.split('.').map(read).collect::<Option<Vec<T>>>();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| wrong("page", "what the page before gave"))
}

/// A parameter or member has a wrong value.
pub(crate) fn wrong(name: &str, expected: &str) -> Problem {
    let escaped = name.replace('~', "~0").replace('/', "~1");
    Problem::at(Kind::InvalidField, format!("/{escaped}"), format!("{name}: {expected}"))
}

/// The request's body, whole, as long as the operation allows.
pub(crate) struct Body(pub Bytes);

impl FromRequest<Arc<App>> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        match timeout(BODY, Bytes::from_request(request, app)).await {
            Err(_) => Err(Problem::new(Kind::BadRequest, "the body did not arrive in 30 s")),
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(bad)) if bad.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::new(Kind::PayloadTooLarge, "the body is longer than this operation takes"))
            }
            Ok(Err(bad)) => Err(Problem::new(Kind::BadRequest, bad.body_text())),
        }
    }
}

/// A value in JSON from a body.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|bad| match bad.classify() {
        serde_json::error::Category::Data => misfit(&bad),
        _ => Problem::new(Kind::BadJson, bad.to_string()),
    })
}

/// What is wrong with JSON that does not fit its schema.
pub(crate) fn misfit(bad: &serde_json::Error) -> Problem {
    Problem::at(Kind::InvalidField, "", bad.to_string())
}

/// A struct from an object alone: serde would also take a list, for the members in their order.
#[derive(Debug)]
pub(crate) struct Object<T>(pub T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let members = Map::deserialize(from)?;
        T::deserialize(Value::Object(members)).map(Self).map_err(D::Error::custom)
    }
}

/// Several such.
pub(crate) fn objects<'de, T: DeserializeOwned, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Vec::<Object<T>>::deserialize(from)?.into_iter().map(|Object(one)| one).collect())
}

/// An answer in JSON.
pub(crate) fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// JSON with an entity-tag, or 304 if the client has it. Nobody between may keep it: views differ by who asks.
pub(crate) fn tagged(headers: &HeaderMap, tag: String, text: String) -> Response {
    let fixed = [(header::ETAG, tag), (header::CACHE_CONTROL, "private, no-cache".into())];
    if matches(headers, &fixed[0].1) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    (fixed, json(text)).into_response()
}

/// Whether If-None-Match names this entity-tag (RFC 9110 section 13.1.2, weak comparison).
pub(crate) fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let fits = |one: &str| one.trim() == "*" || one.trim().trim_start_matches("W/") == tag;
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(fits)
}
