//! Answers that are kept, so that a request that comes twice is done once.
//!
//! A client that did not see the answer sends the request again with the same Idempotency-Key. Within ten minutes it
//! is given the answer that the first one got. The work goes on when the client is gone, so that the answer is there
//! when it comes back.

use crate::problem::{Kind, Problem};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(600);
/// Answers kept, and their bytes; beyond, the oldest leave.
const MOST: usize = 10_000;
const BYTES: usize = 16 * 1024 * 1024;
/// Bytes in a key.
const KEY: usize = 255;

/// An answer that can be given again.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub tag: Option<String>,
    pub location: Option<String>,
    pub retry_ms: Option<u64>,
    pub kind: &'static str,
    pub body: String,
}

impl Reply {
    pub(crate) fn json(body: String) -> Self {
        Self { status: 200, tag: None, location: None, retry_ms: None, kind: "application/json", body }
    }

    /// Done, and nothing to say.
    pub(crate) fn empty() -> Self {
        Self { status: 204, ..Self::json(String::new()) }
    }

    /// Whether the same request may well have another outcome later.
    fn passes(&self) -> bool {
        self.status >= 500 || self.retry_ms.is_some()
    }
}

impl From<&Problem> for Reply {
    fn from(problem: &Problem) -> Self {
        let body = Value::Object(problem.members()).to_string();
        let kind = "application/problem+json";
        Self { status: problem.kind.status(), retry_ms: problem.retry_ms, kind, ..Self::json(body) }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let Self { tag, location, retry_ms, kind, body, .. } = self;
        let mut response = if body.is_empty() {
            status.into_response()
        } else {
            (status, [(header::CONTENT_TYPE, kind)], body).into_response()
        };
        let retry = retry_ms.map(|retry_ms| retry_ms.div_ceil(1000).to_string());
        for (name, value) in [(header::ETAG, tag), (header::LOCATION, location), (header::RETRY_AFTER, retry)] {
            if let Some(value) = value.and_then(|value| value.parse().ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// The same number for the same parts, in this process.
pub(crate) fn fingerprint<'a>(parts: impl Iterator<Item = &'a [u8]>) -> u64 {
    static HASH: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut hasher = HASH.build_hasher();
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}

/// The answers that are kept.
#[derive(Default)]
pub(crate) struct Replies(Arc<Mutex<Kept>>);

/// Who asked with which key.
type Key = (Arc<str>, Arc<str>);

#[derive(Default)]
struct Kept {
    replies: HashMap<Key, Entry>,
    /// Oldest first; those that have left since are skipped.
    order: VecDeque<(Instant, Key, u64)>,
    bytes: usize,
    next: u64,
}

struct Entry {
    number: u64,
    print: u64,
    /// `None`: still under way.
    reply: Option<Reply>,
}

impl Kept {
    fn remove(&mut self, key: &Key, number: u64) {
        if self.replies.get(key).is_some_and(|entry| entry.number == number)
            && let Some(Entry { reply: Some(reply), .. }) = self.replies.remove(key)
        {
            self.bytes -= reply.body.len();
        }
    }

    /// Forgets what is too old, and the oldest while there is too much.
    fn expire(&mut self, now: Instant) {
        while let Some((made, key, number)) = self.order.front() {
            if now - *made < KEPT && self.order.len() <= MOST && self.bytes <= BYTES {
                return;
            }
            let (key, number) = (key.clone(), *number);
            self.order.pop_front();
            self.remove(&key, number);
        }
    }
}

/// Gives the key free if the work ends without an answer.
struct Place {
    kept: Arc<Mutex<Kept>>,
    key: Key,
    number: u64,
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    fn keep(&self, reply: &Reply) {
        let mut kept = lock(&self.kept);
        if reply.passes() {
            return;
        }
        if let Some(entry) = kept.replies.get_mut(&self.key).filter(|entry| entry.number == self.number) {
            entry.reply = Some(reply.clone());
            kept.bytes += reply.body.len();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut kept = lock(&self.kept);
        let idle = |entry: &Entry| entry.number == self.number && entry.reply.is_none();
        if kept.replies.get(&self.key).is_some_and(idle) {
            kept.replies.remove(&self.key);
        }
    }
}

impl Replies {
    /// Does the work, unless its Idempotency-Key says that this was done. `print` is equal for equal requests.
    pub(crate) async fn once(
        &self,
        principal: &str,
        headers: &HeaderMap,
        print: u64,
        work: impl Future<Output = Reply> + Send + 'static,
    ) -> Result<Response, Problem> {
        let Some(key) = headers.get("idempotency-key") else { return finish(work).await };
        let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= KEY);
        let key = key.ok_or_else(|| Problem::new(Kind::BadRequest, "Idempotency-Key is 1 to 255 ASCII characters"))?;
        let place = match self.begin((principal.into(), key.into()), print, Instant::now())? {
            Ok(place) => place,
            Err(reply) => {
                let mut response = reply.into_response();
                let name = HeaderName::from_static("idempotency-replayed");
                response.headers_mut().insert(name, HeaderValue::from_static("true"));
                return Ok(response);
            }
        };
        finish(async move {
            let reply = work.await;
            place.keep(&reply);
            reply
        })
        .await
    }

    /// A place to keep the answer at, or the answer that is there.
    fn begin(&self, key: Key, print: u64, now: Instant) -> Result<Result<Place, Reply>, Problem> {
        let mut kept = lock(&self.0);
        kept.expire(now);
        match kept.replies.get(&key) {
            Some(entry) if entry.print != print => {
                Err(Problem::new(Kind::InvalidField, "this Idempotency-Key was used for another request"))
            }
            Some(Entry { reply: None, .. }) => {
                Err(Problem::new(Kind::Conflict, "the first request with this Idempotency-Key is under way")
                    .later(1000))
            }
            Some(Entry { reply: Some(reply), .. }) => Ok(Err(reply.clone())),
            None => {
                kept.next += 1;
                let number = kept.next;
                kept.replies.insert(key.clone(), Entry { number, print, reply: None });
                kept.order.push_back((now, key.clone(), number));
                Ok(Ok(Place { kept: Arc::clone(&self.0), key, number }))
            }
        }
    }
}

/// Does the work even if whoever waits for it leaves.
async fn finish(work: impl Future<Output = Reply> + Send + 'static) -> Result<Response, Problem> {
    let reply = tokio::spawn(work.in_current_span()).await;
    reply.map(Reply::into_response).map_err(|_| Problem::new(Kind::Internal, "the request has failed; see the log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(key: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static("idempotency-key"), key.parse().unwrap())])
    }

    async fn ask(replies: &Replies, key: &str, print: u64, body: &str) -> Result<(bool, String), Kind> {
        let reply = Reply::json(body.to_owned());
        let response = replies.once("crm", &headers(key), print, async { reply }).await.map_err(|bad| bad.kind)?;
        let replayed = response.headers().contains_key("idempotency-replayed");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Ok((replayed, String::from_utf8(body.to_vec()).unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_twice_is_done_once_for_ten_minutes() {
        let replies = Replies::default();
        assert_eq!(ask(&replies, "a", 1, "one").await, Ok((false, "one".into())));
        assert_eq!(ask(&replies, "a", 1, "two").await, Ok((true, "one".into())));
        assert_eq!(ask(&replies, "a", 2, "two").await, Err(Kind::InvalidField));
        assert_eq!(ask(&replies, "b", 1, "two").await, Ok((false, "two".into())));
        tokio::time::advance(KEPT).await;
        assert_eq!(ask(&replies, "a", 2, "three").await, Ok((false, "three".into())));
        assert_eq!(lock(&replies.0).bytes, "three".len());
        assert_eq!(ask(&replies, &"k".repeat(256), 1, "").await, Err(Kind::BadRequest));
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_and_what_passes_may_be_tried_again() {
        let replies = Replies::default();
        let place = replies.begin(("crm".into(), "a".into()), 1, Instant::now()).unwrap().ok().unwrap();
        assert_eq!(ask(&replies, "a", 1, "").await, Err(Kind::Conflict));
        place.keep(&Reply::from(&Problem::new(Kind::UpstreamUnavailable, "busy").later(1000)));
        drop(place);
        assert_eq!(ask(&replies, "a", 1, "one").await, Ok((false, "one".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_leave_when_there_are_too_many() {
        let replies = Replies::default();
        for number in 0..MOST + 1 {
            ask(&replies, &number.to_string(), 1, "x").await.unwrap();
        }
        ask(&replies, "last", 1, "x").await.unwrap();
        let kept = lock(&replies.0);
        assert!(kept.order.len() <= MOST + 1 && kept.bytes == kept.replies.len());
        assert!(!kept.replies.contains_key(&("crm".into(), "0".into())));
    }
}
