//! Server-sent events: the frames of the feed for those who only listen, such as `EventSource` in a browser.

use crate::app::{App, Enlisted, stopped, wall};
use crate::auth::Principal;
use crate::command::{Sub, Wanted, pick, unselected};
use crate::feed::admit;
use crate::http::Parameters;
use crate::problem::{Kind, Problem};
use crate::serve::Connection;
use crate::watch::{Out, Watch};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};

/// A comment goes out when nothing else has for this long.
const COMMENT: Duration = Duration::from_secs(15);
/// A stream ends by itself after this long, between two events; its client comes back with the last id.
const LIFE: Duration = Duration::from_secs(240);
/// The subscription's name in `snap` and `reset`.
const NAME: &str = "events";

/// `GET /v1/events?r=..&r=..&kind=..&cursor=..`: snapshot and changes; without `r` everything that may be read.
/// `Last-Event-ID` goes before `cursor`.
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    admit(&app, connection.peer.ip())?;
    let mut sub = read(&app, parameters.only(&["r", "kind", "cursor"])?)?;
    if let Some(id) = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty()) {
        sub.cursor = Some(id.to_owned());
    }
    let me = app.enlist(connection.peer);
    "sse".clone_into(&mut me.reader.client.lock().unwrap_or_else(PoisonError::into_inner));
    let ends = principal.expires().map(|ends| Duration::from_millis(ends).saturating_sub(wall()));
    app.admit(&principal, &me.reader);
    let mut watch = Watch::new(Arc::clone(&app), Arc::clone(&me.reader), principal);
    watch.sub(None, sub)?;
    app.metrics.events.fetch_add(1, Relaxed);
    let now = Instant::now();
    // Clients do not come back all at once.
    let retry = 1000 + me.reader.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (app.config.drain.as_millis() as u64 + 1);
    let stream = Stream {
        head: app.port.head(),
        stop: app.stop.clone(),
        begun: false,
        retry,
        tick: now,
        until: now + ends.map_or(LIFE, |ends| ends.min(LIFE)),
        watch,
        me,
        _place: connection,
    };
    let body = stream::unfold(stream, |mut stream| async move {
        let bytes = stream.next().await?;
        Some((Ok::<_, Infallible>(bytes), stream))
    });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn read(app: &App, query: &[(String, String)]) -> Result<Sub, Problem> {
    let (packages, limits, addresses) = (app.port.packages(), &app.config.limits, app.port.addresses());
    let mut sub = Sub { sub: NAME.into(), snapshot: true, wanted: Wanted::default(), ..Sub::default() };
    for (name, value) in query {
        let pointer = format!("/{name}");
        match &**name {
            "r" if sub.picks.len() == limits.list => {
                return Err(Problem::at(Kind::TooManyResources, pointer, format!("at most {} of them", limits.list)));
            }
            "r" => sub.picks.push(pick(value, &addresses).map_err(|bad| unselected(&pointer, bad))?),
            "kind" => {
                sub.wanted.named = true;
                match packages.find_kind(value) {
                    Some(id) => sub.wanted.ids.push(id),
                    None if sub.wanted.unknown.len() < limits.list => sub.wanted.unknown.push(value.clone()),
                    None => return Err(Problem::at(Kind::InvalidField, pointer, "too many kinds")),
                }
            }
            "cursor" => sub.cursor = Some(value.clone()),
            _ => {}
        }
    }
    if sub.picks.is_empty() {
        sub.picks.extend(pick("*", &addresses).ok());
    }
    if !sub.wanted.named {
        sub.wanted.ids = packages.ids().collect();
    }
    sub.wanted.ids.sort_unstable();
    sub.wanted.ids.dedup();
    Ok(sub)
}

struct Stream {
    watch: Watch,
    me: Enlisted,
    head: Receiver<u64>,
    stop: Receiver<bool>,
    begun: bool,
    /// Milliseconds after which the client comes back.
    retry: u64,
    /// Not before this is anything looked for.
    tick: Instant,
    until: Instant,
    _place: Connection,
}

impl Stream {
    /// What goes out next; `None`: it ends.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some(format!("retry: {}\n\n", self.retry).into());
        }
        let comment = Instant::now() + COMMENT;
        let reader = Arc::clone(&self.me.reader);
        loop {
            if let Some(out) = self.watch.next() {
                out.observe(&self.me.app);
                return Some(self.event(&out));
            }
            let now = Instant::now();
            let is_behind = *self.head.borrow_and_update() > self.watch.rev();
            if is_behind && now >= self.tick {
                self.tick = now + self.me.app.config.flush_every;
                self.watch.flush(now);
                continue;
            }
            let wake = if is_behind { self.tick.min(comment) } else { comment };
            tokio::select! {
                changed = self.head.changed(), if !is_behind => changed.ok()?,
                () = sleep_until(wake) => if Instant::now() >= comment {
                    self.watch.regroup();
                    // The cursor does not age.
                    return Some(self.watch.cursor().map_or_else(|| Bytes::from_static(b":\n\n"), |out| self.event(&out)));
                },
                () = sleep_until(self.until) => return None,
                _ = reader.ended() => return None,
                () = stopped(&mut self.stop) => return None,
            }
        }
    }

    fn event(&self, out: &Out) -> Bytes {
        let mut text = String::with_capacity(64);
        let _ = writeln!(text, "event: {}", out.event);
        if let Some(rev) = out.cursor {
            let _ = writeln!(text, "id: {}.{rev}", self.me.app.port.epoch());
        }
        text.push_str("data: ");
        [text.as_bytes(), out.text.as_bytes(), b"\n\n"].concat().into()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.me.app.metrics.events.fetch_sub(1, Relaxed);
    }
}
