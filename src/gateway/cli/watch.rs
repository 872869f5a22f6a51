//! `lamplighter watch`: states as they change, by a client of the WebSocket feed that comes back after every loss.

use super::Failure;
use super::client::{Gateway, problem};
use super::get::line;
use super::output::Output;
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Write as _;
use std::time::Duration;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// No frame is longer, bytes.
const MOST_BYTES: usize = 4 << 20;
/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pauses between attempts: they double from the first to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Which addresses: 1001@office.example, sip:*@office.example or * for all
    #[arg(required = true)]
    selectors: Vec<String>,
    /// One kind only, such as dialog, presence or mwi; may be given several times
    #[arg(long)]
    kind: Vec<String>,
    /// One JSON object a line, as the feed has it
    #[arg(long)]
    json: bool,
    /// Every state, not only the newest when several come at once
    #[arg(long)]
    every: bool,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(options: &Options, out: &mut Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(options, out))
}

async fn watch(options: &Options, out: &mut Output) -> Result<(), Failure> {
    let url = options.gateway.feed()?;
    let mut feed = Feed::default();
    let mut stream = connect(&url).await?;
    loop {
        let before = feed.cursor.clone();
        let end = session(&mut stream, options, &mut feed, out).await?;
        // Whoever has learnt something since the last loss begins with the shortest pause again.
        let mut pause = if feed.cursor == before { PAUSES[0] * 2 } else { PAUSES[0] };
        let mut floor = end.pause;
        writeln!(std::io::stderr(), "lamplighter: the gateway is gone; trying again")?;
        stream = loop {
            // Full jitter, so that clients of a gateway that comes back do not come back together.
            let chance = std::hash::RandomState::new().build_hasher().finish();
            tokio::time::sleep(floor + pause.mul_f64(chance as f64 / u64::MAX as f64)).await;
            match connect(&url).await {
                Ok(stream) => break stream,
                Err(Failure::Unavailable(_)) => (pause, floor) = ((pause * 2).min(PAUSES[1]), Duration::ZERO),
                Err(failure) => return Err(failure),
            }
        };
    }
}

type Stream = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(url: &str) -> Result<Stream, Failure> {
    let unavailable = |error: &dyn std::fmt::Display| Failure::Unavailable(format!("{url}: {error}"));
    let mut request = url.into_client_request().map_err(|error| Failure::Usage(format!("{url}: {error}")))?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("presence.v1"));
    let config = WebSocketConfig::default().max_message_size(Some(MOST_BYTES)).max_frame_size(Some(MOST_BYTES));
    match tokio::time::timeout(PATIENCE, connect_async_with_config(request, Some(config), true)).await {
        Err(_) => Err(unavailable(&"no answer")),
        Ok(Ok((stream, _))) => Ok(stream),
        Ok(Err(tungstenite::Error::Http(answer))) if answer.status().is_client_error() => {
            Err(Failure::Failed(format!("{url}: {}", answer.status())))
        }
        Ok(Err(error)) => Err(unavailable(&error)),
    }
}

/// How a session ended, when it is worth coming back.
#[derive(Debug, Default, Eq, PartialEq)]
struct End {
    /// Not before this.
    pause: Duration,
}

async fn session(stream: &mut Stream, options: &Options, feed: &mut Feed, out: &mut Output) -> Result<End, Failure> {
    for frame in feed.begin(&options.selectors, &options.kind, options.every, options.gateway.token()) {
        if stream.send(Message::text(frame.to_string())).await.is_err() {
            return Ok(End::default());
        }
    }
    let mut end = End::default();
    loop {
        let Ok(Some(Ok(message))) = tokio::time::timeout(feed.silence, stream.next()).await else { return Ok(end) };
        let text = match message {
            Message::Text(text) => text,
            Message::Close(frame) => return refused(frame).map_or(Ok(end), Err),
            _ => continue,
        };
        for event in feed.read(&text) {
            match event {
                Event::Show(item) if options.json => writeln!(out, "{item}")?,
                Event::Show(item) => {
                    let line = line(out, &item);
                    writeln!(out, "{line}")?;
                }
                Event::Refused(why) => return Err(Failure::Failed(why)),
                Event::Leaving(pause) => end.pause = pause,
            }
        }
        out.flush()?;
    }
}

/// Close codes after which it is no use to come back.
fn refused(frame: Option<CloseFrame>) -> Option<Failure> {
    let frame = frame?;
    let code = u16::from(frame.code);
    let why = format!("the gateway closed the feed: {code} {}", super::output::clean(&frame.reason));
    matches!(code, 4400 | 4401 | 4403 | 4404 | 4409).then_some(Failure::Failed(why))
}

/// What a frame means.
#[derive(Debug, PartialEq)]
enum Event {
    /// A state that was not known before.
    Show(Value),
    /// The gateway says no.
    Refused(String),
    /// The gateway is about to go; come back, but not before this.
    Leaving(Duration),
}

/// (resource, kind).
type Key = (String, String);

/// What has been learnt from the feed, across connections.
#[derive(Debug)]
struct Feed {
    /// Up to where everything has been learnt.
    cursor: Option<String>,
    known: HashMap<Key, Value>,
    /// While a whole snapshot arrives: what it has had so far. What is known and not in it is gone.
    snapshot: Option<HashSet<Key>>,
    /// A gateway that says nothing for this long is gone.
    silence: Duration,
}

impl Default for Feed {
    fn default() -> Self {
        Self { cursor: None, known: HashMap::new(), snapshot: None, silence: Duration::from_secs(60) }
    }
}

impl Feed {
    /// The frames that a connection begins with.
    fn begin(&mut self, selectors: &[String], kinds: &[String], every: bool, token: Option<&str>) -> [Value; 2] {
        self.snapshot = None;
        let client = concat!("lamplighter/", env!("CARGO_PKG_VERSION"));
        let mut hello = json!({"t": "hello", "id": 1, "client": client});
        if let Some(token) = token {
            hello["token"] = json!(token);
        }
        let mut sub = json!({"t": "sub", "id": 2, "sub": "watch", "r": selectors});
        if !kinds.is_empty() {
            sub["kinds"] = json!(kinds);
        }
        if every {
            sub["mode"] = json!("all");
        }
        if let Some(cursor) = &self.cursor {
            sub["cursor"] = json!(cursor);
        }
        [hello, sub]
    }

    /// Reads a frame. Frames that are not known are for later versions.
    fn read(&mut self, text: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let Ok(mut frame) = serde_json::from_str::<Value>(text) else { return events };
        let items = match frame["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        match frame["t"].as_str() {
            Some("ok") => {
                if let Some(seconds) = frame["heartbeat_s"].as_u64() {
                    self.silence = Duration::from_secs(seconds.clamp(1, 3600) * 2 + 5);
                }
                if frame["sub"].is_string() && frame["resumed"] != true {
                    self.snapshot = Some(HashSet::new());
                }
            }
            Some("snap") => {
                items.into_iter().for_each(|item| self.learn(item, &mut events));
                if frame["more"] != true {
                    self.forget(&mut events);
                    self.advance(&frame);
                }
            }
            Some("upd") => {
                items.into_iter().for_each(|item| self.learn(item, &mut events));
                self.advance(&frame);
            }
            Some("reset") if frame["reason"] == "forbidden" => {
                events.push(Event::Refused("the token no longer allows to watch this".to_owned()));
            }
            Some("reset") => self.snapshot = Some(HashSet::new()),
            Some("error") => events.push(Event::Refused(problem(&frame))),
            Some("bye") => {
                let pause = frame["retry_ms"].as_u64().unwrap_or(0).min(600_000);
                events.push(Event::Leaving(Duration::from_millis(pause)));
            }
            _ => {}
        }
        events
    }

    fn advance(&mut self, frame: &Value) {
        if let Some(cursor) = frame["cursor"].as_str() {
            self.cursor = Some(cursor.to_owned());
        }
    }

    fn learn(&mut self, item: Value, events: &mut Vec<Event>) {
        let (Some(resource), Some(kind)) = (item["r"].as_str(), item["k"].as_str()) else { return };
        let key: Key = (resource.to_owned(), kind.to_owned());
        let is_news = match item.get("state").filter(|state| !state.is_null()) {
            Some(state) => {
                if let Some(snapshot) = &mut self.snapshot {
                    snapshot.insert(key.clone());
                }
                self.known.insert(key, state.clone()).as_ref() != Some(state)
            }
            None => self.known.remove(&key).is_some(),
        };
        if is_news {
            events.push(Event::Show(item));
        }
    }

    /// The end of a snapshot: what was not in it has gone while nobody looked.
    fn forget(&mut self, events: &mut Vec<Event>) {
        let Some(snapshot) = self.snapshot.take() else { return };
        let mut gone: Vec<Key> = self.known.keys().filter(|key| !snapshot.contains(*key)).cloned().collect();
        gone.sort();
        for key in gone {
            self.known.remove(&key);
            let (resource, kind) = key;
            events.push(Event::Show(json!({"r": resource, "k": kind, "gone": true, "reason": "unseen"})));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(resource: &str, lamp: &str) -> Value {
        json!({"r": resource, "k": "dialog", "state": {"lamp": lamp}})
    }

    fn read(feed: &mut Feed, frame: Value) -> Vec<Event> {
        feed.read(&frame.to_string())
    }

    fn subscribed(feed: &mut Feed, resumed: bool) {
        assert_eq!(read(feed, json!({"t": "ok", "id": 2, "sub": "watch", "resumed": resumed})), []);
    }

    #[test]
    fn a_snapshot_and_then_changes() {
        let mut feed = Feed::default();
        assert!(feed.begin(&["*".into()], &[], false, None)[1].get("cursor").is_none());
        subscribed(&mut feed, false);
        let shown = read(&mut feed, json!({"t": "snap", "items": [item("sip:1@b", "idle")], "more": true}));
        assert_eq!(shown, [Event::Show(item("sip:1@b", "idle"))]);
        read(&mut feed, json!({"t": "snap", "items": [item("sip:2@b", "idle")], "more": false, "cursor": "e.5"}));
        assert_eq!(feed.cursor.as_deref(), Some("e.5"));
        let shown = read(&mut feed, json!({"t": "upd", "items": [item("sip:1@b", "busy")], "cursor": "e.6"}));
        assert_eq!(shown, [Event::Show(item("sip:1@b", "busy"))]);
        let begin = feed.begin(&["*".into()], &["dialog".into()], true, Some("secret"));
        assert_eq!((&begin[1]["cursor"], &begin[1]["kinds"]), (&json!("e.6"), &json!(["dialog"])));
        assert_eq!((&begin[0]["token"], &begin[1]["mode"]), (&json!("secret"), &json!("all")));
    }

    #[test]
    fn a_resumed_feed_shows_what_is_new_only() {
        let mut feed = Feed::default();
        subscribed(&mut feed, false);
        let items = [item("sip:1@b", "idle"), item("sip:2@b", "idle")];
        read(&mut feed, json!({"t": "snap", "items": items, "more": false, "cursor": "e.5"}));
        feed.begin(&[], &[], false, None);
        subscribed(&mut feed, true);
        let gone = json!({"r": "sip:2@b", "k": "dialog", "gone": true, "reason": "expired"});
        let shown = read(&mut feed, json!({"t": "snap", "items": [gone.clone()], "more": false, "cursor": "e.7"}));
        assert_eq!(shown, [Event::Show(gone)]);
        assert_eq!(feed.known.len(), 1);
    }

    #[test]
    fn what_a_new_snapshot_lacks_is_gone() {
        let mut feed = Feed::default();
        subscribed(&mut feed, false);
        let items = [item("sip:1@b", "idle"), item("sip:2@b", "idle")];
        read(&mut feed, json!({"t": "snap", "items": items, "more": false, "cursor": "e.5"}));
        feed.begin(&[], &[], false, None);
        subscribed(&mut feed, false);
        let items = [item("sip:1@b", "idle"), item("sip:3@b", "busy")];
        let shown = read(&mut feed, json!({"t": "snap", "items": items, "more": false, "cursor": "f.2"}));
        let gone = json!({"r": "sip:2@b", "k": "dialog", "gone": true, "reason": "unseen"});
        assert_eq!(shown, [Event::Show(item("sip:3@b", "busy")), Event::Show(gone)]);
        assert_eq!(feed.cursor.as_deref(), Some("f.2"));
    }

    #[test]
    fn refusals_and_farewells() {
        let mut feed = Feed::default();
        let error = json!({"t": "error", "id": 2, "title": "Not found", "detail": "the domain is not served here"});
        let why = "Not found: the domain is not served here".to_owned();
        assert_eq!(read(&mut feed, error), [Event::Refused(why)]);
        let leaving = [Event::Leaving(Duration::from_secs(2))];
        assert_eq!(read(&mut feed, json!({"t": "bye", "code": "server_shutdown", "retry_ms": 2000})), leaving);
        let lost = read(&mut feed, json!({"t": "reset", "sub": "watch", "reason": "forbidden"}));
        assert!(matches!(&lost[..], [Event::Refused(_)]) && feed.snapshot.is_none());
        assert_eq!(read(&mut feed, json!({"t": "later", "items": [1]})), []);
        assert_eq!(feed.read("{"), []);
        read(&mut feed, json!({"t": "ok", "id": 1, "heartbeat_s": 25}));
        assert_eq!(feed.silence, Duration::from_secs(55));
    }

    #[test]
    fn some_ends_are_final() {
        let close = |code: u16| refused(Some(CloseFrame { code: code.into(), reason: "why".into() }));
        assert_eq!(close(4401).map(|failure| failure.code()), Some(1));
        assert_eq!(close(4409).map(|failure| failure.code()), Some(1));
        assert!(close(1001).is_none() && close(4408).is_none() && refused(None).is_none());
    }
}
