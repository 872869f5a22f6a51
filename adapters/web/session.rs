//! One feed connection: protocol `presence.v1`.

use crate::app::{App, Enlisted, stopped, wall};
use crate::command::{Command, Reading, Refused, Sub, Wanted, read};
use crate::lane::{self, Lane, push_items};
use crate::problem::{Kind, Problem};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::StreamExt;
use lamplighter_port::{Item, Scope, Selector, push_json_string};
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout, timeout_at};

/// The subprotocol.
pub(crate) const PROTOCOL: &str = "presence.v1";
/// How long a client may take to answer a close frame; one that is slow gets longer to see why.
const GOODBYE: Duration = Duration::from_secs(2);
const SLOW_GOODBYE: Duration = Duration::from_secs(5);
/// The same when the gateway stops, which does not wait for those who do not listen.
const LAST_GOODBYE: Duration = Duration::from_millis(250);
/// Frames of one flush before the client's own frames get their turn.
const BURST: usize = 32;
/// Commands refused in a row for their rate before the connection is closed.
const PATIENCE: u32 = 100;

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client is gone.
    Gone,
    /// We close it.
    Close(u16, &'static str),
}

const SLOW: End = End::Close(4408, "slow consumer");

struct Session {
    app: Arc<App>,
    me: Enlisted,
    socket: WebSocket,
    subs: Vec<Subscription>,
    /// Everything in scope of all subscriptions up to here has been sent.
    rev: u64,
    /// The newest cursor that the client has been told.
    told: u64,
    lane: Option<Arc<Lane>>,
    flush_every: Duration,
    bucket: Bucket,
    /// Nothing was sent since the last heartbeat.
    quiet: bool,
    /// Pings since something was received.
    unanswered: u32,
}

struct Subscription {
    name: String,
    scope: Scope,
    matched: usize,
}

/// Serves one client until it leaves, misbehaves, or the gateway stops. `known`: it speaks a version that we speak.
pub(crate) async fn session(app: Arc<App>, socket: WebSocket, peer: SocketAddr, known: bool) {
    let me = app.enlist(peer);
    let mut session = Session {
        bucket: Bucket::new(app.config.limits.commands_per_second, app.config.limits.command_burst),
        flush_every: app.config.flush_every,
        me,
        socket,
        subs: Vec::new(),
        rev: 0,
        told: 0,
        lane: None,
        quiet: true,
        unanswered: 0,
        app,
    };
    let end = session.run(known).await;
    session.app.metrics.subscriptions.fetch_sub(session.subs.len() as u64, Relaxed);
    tracing::debug!(session = session.me.reader.number, ?end, "feed connection ended");
    if let End::Close(code, reason) = end {
        if code == 4408 {
            session.app.metrics.slow.fetch_add(1, Relaxed);
        }
        let patience = if code == 4408 { SLOW_GOODBYE } else { GOODBYE };
        let Session { mut socket, app, .. } = session;
        let farewell = async {
            let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
            if socket.send(Message::Close(Some(frame))).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        // A client that does not answer is dropped.
        tokio::select! {
            _ = timeout(patience, farewell) => {}
            () = given_up(&app) => {}
        }
    }
}

impl Session {
    async fn run(&mut self, known: bool) -> End {
        let end = self.hello(known).await;
        let counted = if end.is_ok() { &self.app.metrics.connect_ok } else { &self.app.metrics.connect_refused };
        counted.fetch_add(1, Relaxed);
        match end {
            Ok(()) => self.serve().await.err().unwrap_or(End::Gone),
            Err(end) => end,
        }
    }

    /// The first frame must be `hello`.
    async fn hello(&mut self, known: bool) -> Result<(), End> {
        if !known {
            let problem = Problem::new(Kind::UnsupportedVersion, format!("only {PROTOCOL} is spoken here"));
            self.send(problem.frame(None).into()).await?;
            return Err(End::Close(4404, "unknown protocol version"));
        }
        let deadline = Instant::now() + self.app.config.hello_timeout;
        let mut stop = self.app.stop.clone();
        loop {
            let message = tokio::select! {
                message = timeout_at(deadline, self.socket.next()) => message,
                () = stopped(&mut stop) => return self.bye().await,
            };
            let message = message.map_err(|_| End::Close(4401, "no hello"))?;
            match self.heard(message)? {
                None => {}
                Some(text) => match self.read(&text) {
                    Ok((id, Command::Hello { client, flush })) => return self.welcome(id, client, flush).await,
                    Ok((id, _)) => {
                        let problem = Problem::new(Kind::Unauthenticated, "the first frame is hello");
                        self.send(problem.frame(Some(id)).into()).await?;
                        return Err(End::Close(4401, "no hello"));
                    }
                    Err(refused) => {
                        self.refuse(&refused).await?;
                        return Err(End::Close(4400, "bad frame"));
                    }
                },
            }
        }
    }

    async fn welcome(&mut self, id: u64, client: String, flush: Option<Duration>) -> Result<(), End> {
        *self.me.reader.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
        self.flush_every = flush.unwrap_or_default().max(self.app.config.flush_every);
        let (config, limits) = (&self.app.config, &self.app.config.limits);
        let ok = json!({
            "t": "ok", "id": id, "proto": 1,
            "server": concat!("Lamplighter/", env!("CARGO_PKG_VERSION")),
            "session": format!("s-{}", self.me.reader.number),
            "epoch": self.app.port.epoch(),
            "heartbeat_s": config.ping_every.as_secs().max(1),
            "flush_ms": self.flush_every.as_millis() as u64,
            "principal": "anonymous",
            "features": [],
            "limits": {
                "subs": limits.subscriptions, "list": limits.list, "resources": limits.resources,
                "frame": limits.frame, "cmds_per_s": limits.commands_per_second,
            },
        });
        self.send(ok.to_string().into()).await
    }

    async fn serve(&mut self) -> Result<(), End> {
        let mut head = self.app.port.head();
        let mut stop = self.app.stop.clone();
        let ping_every = self.app.config.ping_every;
        let mut heartbeat = interval_at(Instant::now() + ping_every, ping_every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // While holding, a change waits for the next tick and this connection is not woken for it.
        let (mut holding, mut tick) = (false, Instant::now());
        loop {
            let watching = self.lane.is_some();
            tokio::select! {
                message = self.socket.next() => {
                    if let Some(text) = self.heard(message)? {
                        self.command(&text).await?;
                        if self.lane.is_some() && *head.borrow() > self.rev {
                            (holding, tick) = (true, Instant::now());
                        }
                    }
                }
                changed = head.changed(), if watching && !holding => {
                    if changed.is_err() {
                        return Err(End::Close(1011, "the hub has ended"));
                    }
                    (holding, tick) = (true, self.next_tick());
                    self.flush().await?;
                }
                () = sleep_until(tick), if holding => {
                    holding = *head.borrow_and_update() > self.rev && watching;
                    if holding {
                        tick = self.next_tick();
                        self.flush().await?;
                    }
                }
                _ = heartbeat.tick() => self.beat().await?,
                () = stopped(&mut stop) => return self.bye().await,
            }
        }
    }

    /// The tick of all connections that is nearest to one flush interval from now.
    fn next_tick(&self) -> Instant {
        let every = self.flush_every.max(Duration::from_millis(1));
        let passed = self.app.start.elapsed() + every / 2;
        let ticks = passed.as_micros() / every.as_micros() + 1;
        self.app.start + every * u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// A frame's text, if it is one that matters.
    fn heard(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<Option<Utf8Bytes>, End> {
        self.unanswered = 0;
        match message {
            Some(Ok(Message::Text(text))) if text.len() > self.app.config.limits.frame => {
                Err(End::Close(4413, "frame too large"))
            }
            Some(Ok(Message::Text(text))) => Ok(Some(text)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
            Some(Ok(Message::Binary(_))) => Err(End::Close(4400, "binary frame")),
            Some(Ok(Message::Close(_))) | None => Err(End::Gone),
            Some(Err(error)) => Err(ended(&error)),
        }
    }

    fn read(&self, text: &str) -> Result<(u64, Command), Refused> {
        let addresses = self.app.port.addresses();
        let (packages, limits) = (self.app.port.packages(), &self.app.config.limits);
        read(text, &Reading { addresses: &addresses, packages, limits })
    }

    async fn command(&mut self, text: &str) -> Result<(), End> {
        if let Some(wait) = self.bucket.take(Instant::now()) {
            if self.bucket.refused > PATIENCE {
                return Err(End::Close(4429, "too many commands"));
            }
            let id = self.read(text).map_or_else(|refused| refused.id, |(id, _)| Some(id));
            let limit = self.app.config.limits.commands_per_second;
            let mut problem = Problem::new(Kind::RateLimited, format!("at most {limit} commands a second"));
            problem.retry_ms = Some(wait.as_millis() as u64 + 1);
            return self.send(problem.frame(id).into()).await;
        }
        let (id, command) = match self.read(text) {
            Ok(command) => command,
            Err(refused) => {
                self.refuse(&refused).await?;
                return match refused.problem.kind {
                    Kind::BadJson => Err(End::Close(4400, "bad frame")),
                    _ => Ok(()),
                };
            }
        };
        let done = match command {
            Command::Hello { .. } => Err(Problem::at(Kind::InvalidField, "/t", "hello comes once")),
            Command::Ping => {
                let pong = json!({ "t": "pong", "id": id, "time": wall().as_millis() as u64 });
                return self.send(pong.to_string().into()).await;
            }
            Command::Sub(sub) => return self.sub(id, sub).await,
            Command::Unsub { sub } => self.unsub(&sub).map(|()| json!({ "t": "ok", "id": id, "sub": sub }).to_string()),
            Command::Get { selectors, wanted } => self.get(id, selectors, &wanted),
        };
        let text = done.unwrap_or_else(|problem| problem.frame(Some(id)));
        self.send(text.into()).await
    }

    async fn refuse(&mut self, Refused { id, problem }: &Refused) -> Result<(), End> {
        self.send(problem.frame(*id).into()).await
    }

    async fn sub(&mut self, id: u64, sub: Sub) -> Result<(), End> {
        let names: Vec<Arc<str>> = match sub.absent {
            true => sub.selectors.iter().filter_map(exact).collect(),
            false => Vec::new(),
        };
        let scope = Scope::new(sub.selectors.iter().cloned(), sub.wanted.kinds());
        let prepared = match self.prepare(&sub, &scope) {
            Ok(prepared) => prepared,
            Err(problem) => {
                let mut members = problem.members();
                members.extend([
                    ("t".into(), "error".into()),
                    ("id".into(), id.into()),
                    ("sub".into(), sub.sub.into()),
                ]);
                return self.send(Value::Object(members).to_string().into()).await;
            }
        };
        let Prepared { items, rev, matched, resumed } = prepared;
        if sub.cursor.is_some() {
            let metrics = &self.app.metrics;
            if resumed { &metrics.resumed } else { &metrics.resume_refused }.fetch_add(1, Relaxed);
        }
        // What the other subscriptions have missed up to here goes first: one cursor is then true for all.
        self.catch_up(rev).await?;
        let mut ok = json!({ "t": "ok", "id": id, "sub": sub.sub, "matched": matched, "resumed": resumed });
        if !sub.wanted.unknown.is_empty() {
            ok["unknown_kinds"] = sub.wanted.unknown.clone().into();
        }
        if !sub.snapshot {
            ok["cursor"] = self.cursor_text(rev).into();
        }
        self.send(ok.to_string().into()).await?;
        self.rev = rev;
        if sub.snapshot {
            let absent = self.absent(&names, &sub.wanted);
            self.snap(&sub.sub, &items, absent, rev).await?;
        }
        self.subs.push(Subscription { name: sub.sub, scope, matched });
        self.app.metrics.subscriptions.fetch_add(1, Relaxed);
        self.watch();
        // What has changed since the snapshot would else wait for the next change.
        self.flush().await
    }

    /// Whether it may be, and what the client has to be told.
    fn prepare(&self, sub: &Sub, scope: &Scope) -> Result<Prepared, Problem> {
        let limits = &self.app.config.limits;
        if self.subs.iter().any(|one| one.name == sub.sub) {
            return Err(Problem::at(Kind::Conflict, "/sub", "there is a subscription of that name"));
        }
        if self.subs.len() >= limits.subscriptions {
            let most = format!("at most {} subscriptions in one connection", limits.subscriptions);
            return Err(Problem::new(Kind::TooManySubscriptions, most));
        }
        let taken: usize = self.subs.iter().map(|sub| sub.matched.max(sub.scope.named())).sum();
        let room = limits.resources.saturating_sub(taken).min(sub.limit.unwrap_or(usize::MAX));
        let full = || Problem::new(Kind::TooManyResources, format!("more than {room} states or addresses match"));
        if scope.named() > room {
            return Err(full());
        }
        let port = &self.app.port;
        let mut items = Vec::new();
        if let Some(from) = sub.cursor.as_deref().and_then(|cursor| self.resumable(cursor)) {
            let matched = port.count(scope, room + 1);
            let mut rev = from;
            loop {
                let cursor = port.since(rev, scope, 1024, &mut items);
                rev = cursor.rev;
                if !cursor.more {
                    break;
                }
            }
            if matched > room {
                return Err(full());
            }
            // Unless tombstones were forgotten meanwhile.
            if port.can_resume(port.epoch(), from) {
                return Ok(Prepared { items, rev, matched, resumed: true });
            }
            items.clear();
        }
        let cursor = port.snapshot(scope, room, &mut items);
        if cursor.more {
            return Err(full());
        }
        Ok(Prepared { matched: items.len(), items, rev: cursor.rev, resumed: false })
    }

    /// The revision of a cursor from which one can go on.
    fn resumable(&self, cursor: &str) -> Option<u64> {
        let (epoch, rev) = cursor.rsplit_once('.')?;
        let rev = rev.parse().ok()?;
        self.app.port.can_resume(epoch, rev).then_some(rev)
    }

    fn cursor_text(&self, rev: u64) -> String {
        format!("{}.{rev}", self.app.port.epoch())
    }

    /// Words for addresses that were asked for by name and have no state.
    fn absent(&self, names: &[Arc<str>], wanted: &Wanted) -> Vec<String> {
        let mut absent = Vec::new();
        for name in names {
            for &package in &wanted.ids {
                if self.app.port.get(name, package).is_none() {
                    let mut text = String::from("{\"r\":");
                    push_json_string(&mut text, name);
                    text.push_str(",\"k\":");
                    push_json_string(&mut text, self.app.port.packages().get(package).kind());
                    text.push_str(",\"absent\":true}");
                    absent.push(text);
                }
            }
        }
        absent
    }

    /// Sends `snap` frames; the last one has the cursor.
    async fn snap(&mut self, sub: &str, items: &[Arc<Item>], absent: Vec<String>, rev: u64) -> Result<(), End> {
        let mut rest = items;
        let mut absent = absent.into_iter().peekable();
        loop {
            let mut text = String::from("{\"t\":\"snap\",\"sub\":");
            push_json_string(&mut text, sub);
            text.push_str(",\"items\":[");
            let taken = push_items(&mut text, &self.app.port, rest);
            let mut comma = taken > 0;
            rest = &rest[taken..];
            if rest.is_empty() {
                while text.len() < 16 * 1024
                    && let Some(one) = absent.next()
                {
                    text.push_str(if comma { "," } else { "" });
                    text.push_str(&one);
                    comma = true;
                }
            }
            self.app.metrics.items.fetch_add(taken as u64, Relaxed);
            if !rest.is_empty() || absent.peek().is_some() {
                text.push_str("],\"more\":true}");
                self.send(text.into()).await?;
                continue;
            }
            let _ = write!(text, "],\"more\":false,\"cursor\":\"{}\"}}", self.cursor_text(rev));
            self.told = self.told.max(rev);
            return self.send(text.into()).await;
        }
    }

    fn unsub(&mut self, name: &str) -> Result<(), Problem> {
        let at = self.subs.iter().position(|sub| sub.name == name);
        let at = at.ok_or_else(|| Problem::at(Kind::NotFound, "/sub", "there is no subscription of that name"))?;
        self.subs.remove(at);
        self.app.metrics.subscriptions.fetch_sub(1, Relaxed);
        self.watch();
        Ok(())
    }

    fn get(&self, id: u64, selectors: Vec<Selector>, wanted: &Wanted) -> Result<String, Problem> {
        let names: Option<Vec<Arc<str>>> = selectors.iter().map(exact).collect();
        let most = 100;
        let names = names.filter(|names| names.len() <= most).ok_or_else(|| {
            Problem::at(Kind::InvalidField, "/r", format!("at most {most} addresses; patterns are for sub"))
        })?;
        let mut text = format!("{{\"t\":\"ok\",\"id\":{id},\"items\":[");
        let mut comma = false;
        for name in &names {
            for &package in &wanted.ids {
                if let Some(item) = self.app.port.get(name, package) {
                    text.push_str(if comma { "," } else { "" });
                    text.push_str(item.json(self.app.port.packages(), lamplighter_model::View::Full));
                    comma = true;
                }
            }
        }
        text.push_str("]}");
        Ok(text)
    }

    /// Watches what all subscriptions together include.
    fn watch(&mut self) {
        let scopes = self.subs.iter().map(|sub| &sub.scope);
        self.lane = (!self.subs.is_empty()).then(|| self.app.lane(Scope::union(scopes)));
        self.me.reader.rev.store(self.rev, Relaxed);
        *self.me.reader.lane.lock().unwrap_or_else(PoisonError::into_inner) = self.lane.clone();
    }

    /// Sends what has changed since the cursor.
    async fn flush(&mut self) -> Result<(), End> {
        for _ in 0..BURST {
            let Some(lane) = &self.lane else { return Ok(()) };
            let Some(frame) = lane.since(&self.app.port, self.rev, &self.app.metrics) else {
                return self.reset().await;
            };
            self.update(&frame).await?;
            if !frame.more {
                break;
            }
        }
        Ok(())
    }

    /// Sends what has changed up to `rev`, no further.
    async fn catch_up(&mut self, rev: u64) -> Result<(), End> {
        while let Some(lane) = self.lane.clone()
            && self.rev < rev
        {
            let Some(frame) = lane::encode(&self.app.port, &lane.scope, self.rev, rev) else {
                return self.reset().await;
            };
            self.update(&frame).await?;
        }
        Ok(())
    }

    async fn update(&mut self, frame: &lane::Frame) -> Result<(), End> {
        self.rev = frame.to;
        self.me.reader.rev.store(frame.to, Relaxed);
        if frame.items == 0 {
            return Ok(());
        }
        self.told = frame.to;
        self.send(frame.text.clone()).await?;
        self.app.metrics.items.fetch_add(frame.items as u64, Relaxed);
        lane::observe(frame, &self.app.metrics);
        Ok(())
    }

    /// So far behind that tombstones have been forgotten: the client gets everything afresh.
    async fn reset(&mut self) -> Result<(), End> {
        let subs: Vec<(String, Scope)> = self.subs.iter().map(|sub| (sub.name.clone(), sub.scope.clone())).collect();
        let mut first = None;
        for (name, scope) in subs {
            let mut items = Vec::new();
            let cursor = self.app.port.snapshot(&scope, usize::MAX, &mut items);
            // Later subscriptions may have come further; what they saw twice has the same revision.
            let rev = *first.get_or_insert(cursor.rev);
            self.app.metrics.resets.fetch_add(1, Relaxed);
            let reset = json!({ "t": "reset", "sub": name, "reason": "behind" });
            self.send(reset.to_string().into()).await?;
            self.snap(&name, &items, Vec::new(), rev).await?;
        }
        self.rev = first.unwrap_or(self.rev);
        self.me.reader.rev.store(self.rev, Relaxed);
        Ok(())
    }

    /// A ping that the client's WebSocket answers; and one in JSON if nothing else was sent, for browsers, which do
    /// not see the other kind. A cursor that has moved on without changes in scope is told, so that it does not age.
    async fn beat(&mut self) -> Result<(), End> {
        if self.unanswered >= 2 {
            return Err(End::Close(4408, "no answer to pings"));
        }
        self.unanswered += 1;
        self.deliver(Message::Ping(bytes::Bytes::new())).await?;
        if std::mem::replace(&mut self.quiet, true) {
            let text = if self.lane.is_some() && self.rev > self.told {
                self.told = self.rev;
                format!("{{\"t\":\"upd\",\"items\":[],\"cursor\":\"{}\"}}", self.cursor_text(self.rev))
            } else {
                "{\"t\":\"ping\"}".to_owned()
            };
            self.send(text.into()).await?;
            self.quiet = true;
        }
        Ok(())
    }

    async fn bye(&mut self) -> Result<(), End> {
        // Spread over two seconds, so that all do not come back at once.
        let retry_ms = 500 + self.me.reader.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 2000;
        let bye = json!({ "t": "bye", "code": "server_shutdown", "retry_ms": retry_ms });
        self.send(bye.to_string().into()).await?;
        Err(End::Close(1001, "going away"))
    }

    async fn send(&mut self, text: Utf8Bytes) -> Result<(), End> {
        self.quiet = false;
        let length = text.len() as u64;
        self.deliver(Message::Text(text)).await?;
        self.app.metrics.frames.fetch_add(1, Relaxed);
        self.app.metrics.bytes.fetch_add(length, Relaxed);
        Ok(())
    }

    async fn deliver(&mut self, message: Message) -> Result<(), End> {
        tokio::select! {
            biased;
            sent = timeout(self.app.config.stall, self.socket.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(End::Gone),
                Err(_) => Err(SLOW),
            },
            () = given_up(&self.app) => Err(End::Gone),
        }
    }
}

/// Returns when the gateway has been stopping for as long as it waits for a client.
async fn given_up(app: &App) {
    stopped(&mut app.stop.clone()).await;
    sleep(LAST_GOODBYE).await;
}

struct Prepared {
    items: Vec<Arc<Item>>,
    rev: u64,
    matched: usize,
    resumed: bool,
}

fn exact(selector: &Selector) -> Option<Arc<str>> {
    match selector {
        Selector::Exact(name) => Some(Arc::clone(name)),
        _ => None,
    }
}

/// Bytes that are no WebSocket, or a frame beyond the hard limit.
fn ended(error: &axum::Error) -> End {
    let text = error.to_string();
    if text.contains("too long") || text.contains("too big") {
        End::Close(4413, "frame too large")
    } else if text.contains("UTF-8") || text.contains("utf-8") {
        End::Close(4400, "not UTF-8")
    } else {
        End::Gone
    }
}

/// Lets `rate` commands a second pass, `burst` at once.
struct Bucket {
    every: Duration,
    burst: u32,
    /// When all that was taken will have been given back.
    level: Option<Instant>,
    refused: u32,
}

impl Bucket {
    fn new(rate: u32, burst: u32) -> Self {
        Self { every: Duration::from_secs(1) / rate.max(1), burst: burst.max(1), level: None, refused: 0 }
    }

    /// Takes one; else says how long to wait.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        let level = self.level.map_or(now, |level| level.max(now)) + self.every;
        let over = (level - now).saturating_sub(self.every * self.burst);
        if over.is_zero() {
            self.level = Some(level);
            self.refused = 0;
            return None;
        }
        self.refused += 1;
        Some(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_lets_a_burst_through_and_then_the_rate() {
        let (mut bucket, start) = (Bucket::new(10, 3), Instant::now());
        for _ in 0..3 {
            assert_eq!(bucket.take(start), None);
        }
        assert_eq!(bucket.take(start), Some(Duration::from_millis(100)));
        assert_eq!(bucket.take(start + Duration::from_millis(99)), Some(Duration::from_millis(1)));
        assert_eq!(bucket.refused, 2);
        assert_eq!(bucket.take(start + Duration::from_millis(100)), None);
        assert_eq!(bucket.refused, 0);
        assert!(bucket.take(start + Duration::from_millis(100)).is_some());
    }
}
