//! What can go wrong, in the members of RFC 9457, the same over HTTP and in the feed.

use crate::replies::fingerprint;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! kinds {
    ($($variant:ident $slug:literal $status:literal $title:literal,)*) => {
        /// The catalogue; slugs never change.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Kind { $($variant,)* }

        impl Kind {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            pub(crate) const fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug,)* }
            }

            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            pub(crate) const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

kinds! {
    BadJson "bad-json" 400 "Not a JSON object",
    BadRequest "bad-request" 400 "Not a request that can be read",
    UnknownType "unknown-type" 400 "Unknown frame type",
    UnsupportedVersion "unsupported-version" 400 "Protocol version not spoken here",
    Unauthenticated "unauthenticated" 401 "Sign in first",
    TokenExpired "token-expired" 401 "The token has expired",
    TokenInvalid "token-invalid" 401 "The token is not accepted",
    Forbidden "forbidden" 403 "Not allowed",
    NotFound "not-found" 404 "Not found",
    MethodNotAllowed "method-not-allowed" 405 "Not a method of this resource",
    Conflict "conflict" 409 "In conflict with what is there",
    Gone "gone" 410 "No longer there",
    PreconditionFailed "precondition-failed" 412 "No such version any more",
    PayloadTooLarge "payload-too-large" 413 "Too large",
    UnsupportedMediaType "unsupported-media-type" 415 "Not a format of this kind of state",
    InvalidField "invalid-field" 422 "A member is missing or wrong",
    BadBody "bad-body" 422 "The body does not say a state",
    IntervalTooBrief "interval-too-brief" 422 "The lease is too short",
    PreconditionRequired "precondition-required" 428 "Say which version is meant",
    TooManySubscriptions "too-many-subscriptions" 429 "Too many subscriptions",
    TooManyResources "too-many-resources" 429 "Too many resources",
    TooManyPublications "too-many-publications" 429 "Too many publications",
    RateLimited "rate-limited" 429 "Too many commands",
    Internal "internal" 500 "The gateway has made a mistake",
    NotSupported "not-supported" 501 "Not supported",
    UpstreamUnavailable "upstream-unavailable" 503 "Not to be had at the moment",
}

/// One refusal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    pub kind: Kind,
    pub detail: String,
    /// The JSON pointer of the member that is wrong.
    pub pointer: Option<String>,
    pub retry_ms: Option<u64>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), pointer: None, retry_ms: None }
    }

    /// About one member, named by its JSON pointer.
    pub(crate) fn at(kind: Kind, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), ..Self::new(kind, detail) }
    }

    /// To be tried again after so long.
    #[must_use]
    pub(crate) fn later(mut self, milliseconds: u64) -> Self {
        self.retry_ms = Some(milliseconds);
        self
    }

    /// The members of an answer, which is logged by its `instance`: a number that nobody can guess, for whoever asks
    /// what went wrong. The log's span says who was refused.
    pub(crate) fn members(&self) -> Map<String, Value> {
        static ANSWERS: AtomicU64 = AtomicU64::new(0);
        let answer = ANSWERS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let instance = format!("/problems/{}#{:016x}", self.kind.slug(), fingerprint([&answer[..]].into_iter()));
        tracing::debug!(instance, pointer = self.pointer, "refused");
        let mut members = Map::new();
        members.insert("type".into(), format!("/problems/{}", self.kind.slug()).into());
        members.insert("title".into(), self.kind.title().into());
        members.insert("status".into(), self.kind.status().into());
        members.insert("detail".into(), self.detail.as_str().into());
        members.insert("instance".into(), instance.into());
        if let Some(pointer) = &self.pointer {
            members.insert("errors".into(), json!([{ "pointer": pointer, "detail": self.detail }]));
        }
        if let Some(retry_ms) = self.retry_ms {
            members.insert("retry_ms".into(), retry_ms.into());
        }
        members
    }

    /// As an `error` frame that answers command `id`.
    pub(crate) fn frame(&self, id: Option<u64>) -> String {
        let mut members = self.members();
        members.insert("t".into(), "error".into());
        if let Some(id) = id {
            members.insert("id".into(), id.into());
        }
        Value::Object(members).to_string()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = HeaderValue::from_static("application/problem+json");
        let body = Value::Object(self.members()).to_string();
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if let Some(retry_ms) = self.retry_ms {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_ms.div_ceil(1000)));
        }
        if self.kind == Kind::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The explanations, which are a page of the documentation as well.
const PAGES: &str = include_str!("../../docs/problems.md");

impl Kind {
    /// What `docs/problems.md` says about it, in lines of plain text.
    fn page(self) -> Option<&'static str> {
        let (_, rest) = PAGES.split_once(&format!("\n## {}\n", self.slug()))?;
        Some(rest.split_once("\n## ").map_or(rest, |(page, _)| page).trim())
    }
}

/// `/problems/{slug}`: what it means and what to do, for people. HTML if they have a browser, else text.
pub(crate) async fn page(Path(slug): Path<String>, headers: HeaderMap) -> Response {
    let Some(kind) = Kind::ALL.iter().find(|kind| kind.slug() == slug) else {
        return Problem::new(Kind::NotFound, "there is no such problem").into_response();
    };
    let (title, status, page) = (kind.title(), kind.status(), kind.page().unwrap_or_default());
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/html") {
        let text = format!("{title} ({status})\n\n{page}\n");
        return ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response();
    }
    let mut html = format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{slug}</title>");
    html.push_str(&format!("<h1>{title}</h1><p><code>{slug}</code>, status {status}</p>"));
    for paragraph in page.split("\n\n") {
        let plain = paragraph.replace('&', "&amp;").replace('<', "&lt;");
        html.push_str(&format!("<p>{plain}</p>"));
    }
    let policy = (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), policy], html + "</html>\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code and documentation know the same problems, in the same order, and each is explained.
    #[test]
    fn every_problem_has_a_page_and_every_page_a_problem() {
        let documented: Vec<_> = PAGES.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(documented, known);
        for kind in Kind::ALL {
            let page = kind.page().unwrap();
            assert!(page.contains("What to do: "), "{} says what to do", kind.slug());
            let heading = format!("{} ({}).", kind.title(), kind.status());
            assert!(page.starts_with(&heading), "{} begins with `{heading}`", kind.slug());
        }
    }

    #[test]
    fn each_answer_has_its_own_instance() {
        let problem = Problem::new(Kind::NotFound, "nobody says anything");
        let instance = || problem.members()["instance"].as_str().unwrap().to_owned();
        let (one, other) = (instance(), instance());
        assert_ne!(one, other);
        assert!(one.starts_with("/problems/not-found#") && one.len() == other.len(), "{one} {other}");
    }

    #[test]
    fn a_problem_that_passes_says_when() {
        let response = Problem::new(Kind::RateLimited, "slowly").later(1001).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
