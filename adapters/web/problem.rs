//! What can go wrong, in the members of RFC 9457, the same over HTTP and in the feed.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

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

            const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

kinds! {
    BadJson "bad-json" 400 "Not a JSON object",
    UnknownType "unknown-type" 400 "Unknown frame type",
    InvalidField "invalid-field" 422 "A member is missing or wrong",
    UnsupportedVersion "unsupported-version" 400 "Protocol version not spoken here",
    Unauthenticated "unauthenticated" 401 "Say hello first",
    Forbidden "forbidden" 403 "Not allowed",
    NotFound "not-found" 404 "Not found",
    Conflict "conflict" 409 "In conflict with what is there",
    TooManySubscriptions "too-many-subscriptions" 429 "Too many subscriptions",
    TooManyResources "too-many-resources" 429 "Too many resources",
    RateLimited "rate-limited" 429 "Too many commands",
    PayloadTooLarge "payload-too-large" 413 "Too large",
    NotSupported "not-supported" 501 "Not supported",
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

    pub(crate) fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("type".into(), format!("/problems/{}", self.kind.slug()).into());
        members.insert("title".into(), self.kind.title().into());
        members.insert("status".into(), self.kind.status().into());
        members.insert("detail".into(), self.detail.as_str().into());
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
        (status, [(header::CONTENT_TYPE, kind)], Value::Object(self.members()).to_string()).into_response()
    }
}
