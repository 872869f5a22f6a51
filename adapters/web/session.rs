//! One feed connection: protocol `presence.v1`.

use crate::app::{App, Enlisted, stopped, wall};
use crate::auth::{self, Principal};
use crate::bucket::Bucket;
use crate::command::{Command, Hello, Publish, Reading, Refused, read};
use crate::metrics::DELAYS;
use crate::pace::Pace;
use crate::problem::{Kind, Problem};
use crate::publications::{busy, refused};
use crate::watch::Watch;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, poll_immediate};
use lamplighter_model::{PublishCommand, PublishError, PublishedLease};
use lamplighter_port::Busy;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// The subprotocol.
pub(crate) const PROTOCOL: &str = "presence.v1";
/// How long a client may take to answer a close frame; one that is slow gets longer to see why.
const GOODBYE: Duration = Duration::from_secs(2);
const SLOW_GOODBYE: Duration = Duration::from_secs(5);
/// The same when the gateway stops, which does not wait for those who do not listen.
const LAST_GOODBYE: Duration = Duration::from_millis(250);
/// Commands refused in a row for their rate before the connection is closed.
const PATIENCE: u32 = 100;
/// How long before its token ends a client is told.
const WARNING: Duration = Duration::from_secs(60);

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client is gone.
    Gone,
    /// We close it.
    Close(u16, &'static str),
}

const SLOW: End = End::Close(4408, "slow consumer");
const EXPIRED: End = End::Close(4401, "the token has expired");

struct Session {
    app: Arc<App>,
    me: Enlisted,
    socket: WebSocket,
    /// None before `hello` is answered.
    watch: Option<Box<Watch>>,
    lease: Option<Lease>,
    /// The cursor of the first subscription, if that brings none.
    resume: Option<String>,
    flush_every: Duration,
    bucket: Bucket,
    publications: Publications,
    /// Nothing was sent since the last heartbeat.
    quiet: bool,
    /// Pings since something was received.
    unanswered: u32,
}

/// How long the principal's token holds.
struct Lease {
    ends: Instant,
    warned: bool,
}

impl Lease {
    fn of(principal: &Principal) -> Option<Self> {
        let left = Duration::from_millis(principal.expires()?).saturating_sub(wall());
        Some(Self { ends: Instant::now() + left.min(Duration::from_secs(1 << 30)), warned: false })
    }

    /// When there is something to do about it.
    fn due(&self) -> Instant {
        if self.warned { self.ends } else { self.ends.checked_sub(WARNING).unwrap_or(self.ends) }
    }
}

/// What the client publishes: one at a time, so that its order is kept.
#[derive(Default)]
struct Publications {
    under_way: Option<BoxFuture<'static, (Todo, Answer)>>,
    waiting: VecDeque<(Todo, PublishCommand)>,
}

type Answer = Result<Result<PublishedLease, PublishError>, Busy>;

/// The command that is to be answered.
struct Todo {
    id: u64,
    kind: String,
    resource: Arc<str>,
}

impl Publications {
    fn start(&mut self, app: &Arc<App>) {
        if self.under_way.is_none()
            && let Some((todo, command)) = self.waiting.pop_front()
        {
            let app = Arc::clone(app);
            self.under_way = Some(Box::pin(async move { (todo, app.port.publish(command).await) }));
        }
    }

    /// The next answer; never, if nothing is under way.
    async fn next(&mut self) -> (Todo, Answer) {
        match &mut self.under_way {
            Some(publishing) => {
                let answer = publishing.await;
                self.under_way = None;
                answer
            }
            None => std::future::pending().await,
        }
    }
}

/// Serves one client until it leaves, misbehaves, or the gateway stops. `known`: it speaks a version that we speak.
/// `principal`: the upgrade brought credentials.
pub(crate) async fn session(
    app: Arc<App>,
    socket: WebSocket,
    peer: SocketAddr,
    known: bool,
    principal: Option<Principal>,
) {
    let me = app.enlist(peer);
    let mut session = Session {
        bucket: Bucket::new(app.config.limits.commands_per_second, app.config.limits.command_burst),
        flush_every: app.config.flush_every,
        me,
        socket,
        watch: None,
        lease: None,
        resume: None,
        publications: Publications::default(),
        quiet: true,
        unanswered: 0,
        app,
    };
    let end = session.run(known, principal).await;
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
    async fn run(&mut self, known: bool, principal: Option<Principal>) -> End {
        let end = Box::pin(self.hello(known, principal)).await;
        let counted = if end.is_ok() { &self.app.metrics.connect_ok } else { &self.app.metrics.connect_refused };
        counted.fetch_add(1, Relaxed);
        match end {
            Ok(()) => self.serve().await.err().unwrap_or(End::Gone),
            Err(end) => end,
        }
    }

    /// The first frame must be `hello`.
    async fn hello(&mut self, known: bool, principal: Option<Principal>) -> Result<(), End> {
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
            let Some(text) = self.heard(message)? else { continue };
            let (id, hello) = match self.read(&text) {
                Ok((id, Command::Hello(hello))) => (id, hello),
                Ok((id, _)) => {
                    let problem = Problem::new(Kind::Unauthenticated, "the first frame is hello");
                    self.send(problem.frame(Some(id)).into()).await?;
                    return Err(End::Close(4401, "no hello"));
                }
                Err(refused) => {
                    self.refuse(&refused).await?;
                    return Err(End::Close(4400, "bad frame"));
                }
            };
            let signed = match &hello.token {
                Some(token) => {
                    let signing = auth::token(&self.app, token, self.me.reader.peer.ip());
                    let late = |_| Problem::new(Kind::UpstreamUnavailable, "the token could not be checked in time");
                    timeout_at(deadline, signing).await.map_err(late).flatten()
                }
                None => principal.ok_or_else(|| Problem::new(Kind::Unauthenticated, "hello needs a token")),
            };
            return match signed {
                Ok(principal) => self.welcome(id, hello, principal).await,
                Err(problem) => {
                    self.send(problem.frame(Some(id)).into()).await?;
                    Err(End::Close(4401, "not signed in"))
                }
            };
        }
    }

    async fn welcome(&mut self, id: u64, hello: Hello, principal: Principal) -> Result<(), End> {
        *self.me.reader.client.lock().unwrap_or_else(PoisonError::into_inner) = hello.client;
        self.flush_every = hello.flush.unwrap_or_default().max(self.app.config.flush_every);
        self.resume = hello.resume;
        self.lease = Lease::of(&principal);
        self.app.admit(&principal, &self.me.reader);
        let (config, limits) = (&self.app.config, &self.app.config.limits);
        let mut ok = json!({
            "t": "ok", "id": id, "proto": 1,
            "server": concat!("Lamplighter/", env!("CARGO_PKG_VERSION")),
            "session": format!("s-{}", self.me.reader.number),
            "epoch": self.app.port.epoch(),
            "heartbeat_s": config.ping_every.as_secs().max(1),
            "flush_ms": self.flush_every.as_millis() as u64,
            "principal": principal.name(),
            "features": ["all", "fields", "group", "pub", "sse"],
            "limits": {
                "subs": limits.subscriptions, "list": limits.list, "resources": limits.resources,
                "frame": limits.frame, "cmds_per_s": limits.commands_per_second,
            },
        });
        if let Some(expires) = principal.expires() {
            ok["expires"] = expires.into();
        }
        self.watch = Some(Box::new(Watch::new(Arc::clone(&self.app), Arc::clone(&self.me.reader), principal)));
        self.send(ok.to_string().into()).await
    }

    async fn serve(&mut self) -> Result<(), End> {
        let mut head = self.app.port.head();
        let mut stop = self.app.stop.clone();
        let reader = Arc::clone(&self.me.reader);
        let (mut stopping, mut ended) = (pin!(stopped(&mut stop)), pin!(reader.ended()));
        let mut pace = Pace::new(self.app.start, self.flush_every);
        let mut tick = pin!(sleep_until(self.app.start));
        let mut beat = Instant::now() + self.app.config.ping_every;
        let mut alarm = pin!(sleep_until(self.lease.as_ref().map_or(beat, |lease| beat.min(lease.due()))));
        loop {
            let watching = self.watch.as_ref().is_some_and(|watch| watch.is_watching());
            tokio::select! {
                message = self.socket.next() => {
                    if let Some(text) = self.heard(message)? {
                        Box::pin(self.command(&text)).await?;
                        if self.is_behind(*head.borrow()) {
                            tick.as_mut().reset(pace.hurry(Instant::now()));
                        }
                        let due = self.lease.as_ref().map_or(beat, |lease| beat.min(lease.due()));
                        alarm.as_mut().reset(due);
                    }
                }
                changed = head.changed(), if watching && !pace.is_holding() => {
                    if changed.is_err() {
                        return Err(End::Close(1011, "the hub has ended"));
                    }
                    match pace.changed(Instant::now()) {
                        Some(due) => tick.as_mut().reset(due),
                        None => {
                            self.flush().await?;
                            // There may be more than one flush takes.
                            if self.is_behind(*head.borrow()) {
                                tick.as_mut().reset(pace.hold());
                            }
                        }
                    }
                }
                () = &mut tick, if pace.is_holding() => {
                    let is_behind = watching && self.is_behind(*head.borrow_and_update());
                    if let Some(due) = pace.ticked(Instant::now(), is_behind) {
                        tick.as_mut().reset(due);
                        self.flush().await?;
                    }
                }
                answer = self.publications.next(), if self.publications.under_way.is_some() => {
                    self.published(answer).await?;
                }
                () = &mut alarm => {
                    let now = Instant::now();
                    if self.lease.as_ref().is_some_and(|lease| lease.due() <= now) {
                        self.expiring(now).await?;
                    }
                    if beat <= now {
                        beat = now + self.app.config.ping_every;
                        self.beat().await?;
                    }
                    let due = self.lease.as_ref().map_or(beat, |lease| beat.min(lease.due()));
                    alarm.as_mut().reset(due);
                }
                (code, reason) = &mut ended => return Err(End::Close(code, reason)),
                () = &mut stopping => return self.bye().await,
            }
        }
    }

    /// Whether something may have changed that the client has not been told.
    fn is_behind(&self, head: u64) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_watching() && watch.rev() < head)
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
            Some(Err(error)) => Err(broken(&error)),
        }
    }

    fn read(&self, text: &str) -> Result<(u64, Command), Refused> {
        let addresses = self.app.port.addresses();
        let (packages, limits) = (self.app.port.packages(), &self.app.config.limits);
        let principal = self.watch.as_ref().map_or("", |watch| watch.principal().name());
        read(text, &Reading { addresses: &addresses, packages, limits, principal })
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
        let Some(watch) = &mut self.watch else { return Err(End::Close(1011, "nobody is signed in")) };
        let mut about = None;
        let done = match command {
            Command::Hello(_) => Err(Problem::at(Kind::InvalidField, "/t", "hello comes once")),
            Command::Ping => {
                let pong = json!({ "t": "pong", "id": id, "time": wall().as_millis() as u64 });
                return self.send(pong.to_string().into()).await;
            }
            Command::Sub(mut sub) => {
                about = Some(sub.sub.clone());
                sub.cursor = sub.cursor.take().or(self.resume.take());
                watch.sub(Some(id), *sub)
            }
            Command::Add { sub, picks } => {
                let done = watch.add(id, &sub, picks);
                about = Some(sub);
                done
            }
            Command::Del { sub, picks } => {
                let done = watch.del(id, &sub, &picks);
                about = Some(sub);
                done
            }
            Command::Unsub { sub } => watch.unsub(id, &sub),
            Command::Get { picks, wanted } => watch.get(id, &picks, wanted),
            Command::Publish(publish) => self.publish(id, *publish),
            Command::Auth { token } => return self.authorize(id, &token).await,
        };
        match done {
            Ok(()) => self.pump().await,
            Err(problem) => {
                let mut members = problem.members();
                members.extend([("t".into(), "error".into()), ("id".into(), id.into())]);
                members.extend(about.map(|sub| ("sub".into(), sub.into())));
                self.send(Value::Object(members).to_string().into()).await
            }
        }
    }

    async fn refuse(&mut self, Refused { id, problem }: &Refused) -> Result<(), End> {
        self.send(problem.frame(*id).into()).await
    }

    /// Queues a publication; it is answered when a shard has.
    fn publish(&mut self, id: u64, publish: Publish) -> Result<(), Problem> {
        let Publish { resource, package, action, expires } = publish;
        let kind = self.app.port.packages().get(package).kind().to_owned();
        if !self.watch.as_ref().is_some_and(|watch| watch.principal().may_write(&resource, &kind)) {
            return Err(Problem::new(Kind::Forbidden, format!("no right to publish `{kind}` of {resource}")));
        }
        let most = self.app.config.limits.command_burst as usize;
        if self.publications.waiting.len() >= most {
            return Err(Problem::new(Kind::RateLimited, format!("{most} publications wait already")).later(1000));
        }
        let from = self.me.reader.peer;
        let command = PublishCommand { resource: Arc::clone(&resource), package, action, expires, from };
        self.publications.waiting.push_back((Todo { id, kind, resource }, command));
        self.publications.start(&self.app);
        Ok(())
    }

    async fn published(&mut self, (Todo { id, kind, resource }, answer): (Todo, Answer)) -> Result<(), End> {
        self.publications.start(&self.app);
        let text = match answer {
            Ok(Ok(PublishedLease { tag, created, expires })) => {
                let ok = json!({
                    "t": "ok", "id": id, "r": &*resource, "kind": kind, "etag": tag.to_string(),
                    "expires": expires.as_secs(), "created": created,
                });
                ok.to_string()
            }
            Ok(Err(error)) => {
                let mut problem = refused(&error, "/state");
                if error == PublishError::NoSuchTag {
                    problem.pointer = Some("/etag".into());
                }
                problem.frame(Some(id))
            }
            Err(error) => busy(error).frame(Some(id)),
        };
        self.send(text.into()).await
    }

    /// A new token in place of the one before, of the same principal.
    async fn authorize(&mut self, id: u64, token: &str) -> Result<(), End> {
        let signing = auth::token(&self.app, token, self.me.reader.peer.ip());
        let late = |_| Problem::new(Kind::UpstreamUnavailable, "the token could not be checked in time");
        let signed = timeout(self.app.config.hello_timeout, signing).await.map_err(late).flatten();
        let Some(watch) = &mut self.watch else { return Err(End::Close(1011, "nobody is signed in")) };
        let principal = match signed {
            Ok(principal) if principal.name() == watch.principal().name() => principal,
            Ok(_) => {
                let detail = "the token is of another principal: it takes a connection of its own";
                return self.send(Problem::new(Kind::Forbidden, detail).frame(Some(id)).into()).await;
            }
            // The one before still holds.
            Err(problem) => return self.send(problem.frame(Some(id)).into()).await,
        };
        self.lease = Lease::of(&principal);
        let mut ok = json!({ "t": "ok", "id": id, "principal": principal.name() });
        if let Some(expires) = principal.expires() {
            ok["expires"] = expires.into();
        }
        self.me.reader.belongs_to(&principal);
        watch.authorize(principal);
        self.send(ok.to_string().into()).await?;
        self.pump().await
    }

    /// The token ends soon, or has ended.
    async fn expiring(&mut self, now: Instant) -> Result<(), End> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        if lease.ends <= now {
            let problem = Problem::new(Kind::TokenExpired, "send `auth` with a new token before it ends");
            self.send(problem.frame(None).into()).await?;
            return Err(EXPIRED);
        }
        lease.warned = true;
        let left = (lease.ends - now).as_millis().div_ceil(1000) as u64;
        self.send(json!({ "t": "note", "code": "token_expiring", "in_s": left }).to_string().into()).await
    }

    /// Sends what has changed since the cursor.
    async fn flush(&mut self) -> Result<(), End> {
        if let Some(watch) = &mut self.watch {
            watch.flush();
        }
        let start = Instant::now();
        self.pump().await?;
        self.app.metrics.flush.observe(start.elapsed().as_micros() as u64, &DELAYS);
        Ok(())
    }

    /// Sends what the client is owed.
    async fn pump(&mut self) -> Result<(), End> {
        while let Some(out) = self.watch.as_mut().and_then(|watch| watch.next()) {
            self.quiet = false;
            self.deliver(Message::Text(out.text.clone())).await?;
            out.observe(&self.app);
        }
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
        if let Some(watch) = &mut self.watch {
            watch.regroup();
        }
        self.pump().await?;
        if std::mem::replace(&mut self.quiet, true) {
            let cursor = self.watch.as_mut().and_then(|watch| watch.cursor());
            self.send(cursor.map_or_else(|| Utf8Bytes::from_static("{\"t\":\"ping\"}"), |out| out.text)).await?;
            self.quiet = true;
        }
        Ok(())
    }

    async fn bye(&mut self) -> Result<(), End> {
        // Spread, so that all do not come back at once.
        let spread = self.app.config.drain.as_millis() as u64 + 1;
        let retry_ms = 500 + self.me.reader.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % spread;
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
        let mut sending = pin!(self.socket.send(message));
        // Most often the socket takes it at once, and nothing has to be timed.
        let sent = match poll_immediate(sending.as_mut()).await {
            Some(sent) => sent,
            None => tokio::select! {
                sent = timeout(self.app.config.stall, sending) => sent.map_err(|_| SLOW)?,
                () = given_up(&self.app) => return Err(End::Gone),
            },
        };
        sent.map_err(|_| End::Gone)
    }
}

/// Returns when the gateway has been stopping for as long as it waits for a client.
async fn given_up(app: &App) {
    stopped(&mut app.stop.clone()).await;
    sleep(LAST_GOODBYE).await;
}

/// Bytes that are no WebSocket, or a frame beyond the hard limit.
fn broken(error: &axum::Error) -> End {
    let text = error.to_string();
    if text.contains("too long") || text.contains("too big") {
        End::Close(4413, "frame too large")
    } else if text.contains("UTF-8") || text.contains("utf-8") {
        End::Close(4400, "not UTF-8")
    } else {
        End::Gone
    }
}
