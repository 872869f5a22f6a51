//! One feed connection: protocol `presence.v1`.

use crate::app::{App, Enlisted, stopped, wall};
use crate::auth::{self, Principal};
use crate::bucket::Bucket;
use crate::command::{Command, Hello, Publish, Reading, Refused, read};
use crate::desk::{Desk, Order};
use crate::http::Caller;
use crate::metrics::DELAYS;
use crate::pace::Pace;
use crate::problem::{Kind, Problem};
use crate::publications::{busy, refused};
use crate::watch::Watch;
use crate::ws::{self, Bad, Message, Socket, Text};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use lamplighter_model::{PublishCommand, PublishError, PublishedLease};
use lamplighter_port::Busy;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout, timeout_at};

/// The subprotocol.
pub(crate) const PROTOCOL: &str = "presence.v1";
/// How long a client may take to answer a close frame; one that is slow gets longer to see why.
const GOODBYE: Duration = Duration::from_secs(2);
const SLOW_GOODBYE: Duration = Duration::from_secs(5);
/// The same when the gateway stops, which does not wait for those who do not listen.
const LAST_GOODBYE: Duration = Duration::from_millis(250);
/// Commands refused in a row for their rate before the connection is closed.
const PATIENCE: u32 = 100;
/// Frames that are to be sent at once go together in one write up to this many bytes.
const TOGETHER: usize = 16 * 1024;
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

/// What a session wakes for.
enum Event {
    Heard(Result<Message, Bad>),
    /// Something that is watched, or not.
    Changed,
    /// The time that was set has come.
    Due,
    Published(Box<(Todo, Answer)>),
    /// A frame about what the client has at other servers.
    Told(String),
    /// Somebody has ended it.
    Ended(u16, &'static str),
    /// The gateway stops.
    Stopping,
}

struct Session {
    app: Arc<App>,
    me: Enlisted,
    socket: Socket,
    /// The newest revision.
    head: Receiver<u64>,
    /// None before `hello` is answered.
    watch: Option<Box<Watch>>,
    lease: Option<Lease>,
    /// The cursor of the first subscription, if that brings none.
    resume: Option<String>,
    flush_every: Duration,
    bucket: Bucket,
    publications: Publications,
    /// What it has at other servers, if it wants something there.
    desk: Option<Desk>,
    /// When the next heartbeat is due.
    beat: Instant,
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
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Todo, Answer)> {
        let Some(publishing) = &mut self.under_way else { return Poll::Pending };
        let answer = ready!(publishing.as_mut().poll(context));
        self.under_way = None;
        Poll::Ready(answer)
    }
}

/// Serves one client until it leaves, misbehaves, or the gateway stops. `known`: it speaks a version that we speak.
/// `principal`: the upgrade brought credentials.
pub(crate) async fn session(
    app: Arc<App>,
    socket: Socket,
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
        head: app.port.head(),
        watch: None,
        lease: None,
        resume: None,
        publications: Publications::default(),
        desk: None,
        beat: app.start,
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
        // A client that does not answer is dropped.
        tokio::select! {
            _ = timeout(patience, socket.close(code, reason)) => {}
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
            self.flushed().await?;
            let message = tokio::select! {
                message = timeout_at(deadline, self.socket.next()) => message,
                () = stopped(&mut stop) => return self.bye().await,
            };
            let message = message.map_err(|_| End::Close(4401, "no hello"))?;
            let Some(text) = self.heard(message).await? else { continue };
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
        let mut features = vec!["all", "fields", "group", "pub", "sse"];
        features.extend(self.app.port.has_remote().then_some("remote"));
        let mut ok = json!({
            "t": "ok", "id": id, "proto": 1,
            "server": concat!("Lamplighter/", env!("CARGO_PKG_VERSION")),
            "session": format!("s-{}", self.me.reader.number),
            "epoch": self.app.port.epoch(),
            "heartbeat_s": config.ping_every.as_secs().max(1),
            "flush_ms": self.flush_every.as_millis() as u64,
            "principal": principal.name(),
            "features": features,
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
        let app = Arc::clone(&self.app);
        let mut bell = pin!(app.changed.notified());
        let mut pace = Pace::new(app.start, self.flush_every);
        let mut tick = app.start;
        self.beat = Instant::now() + app.config.ping_every;
        let mut alarm = pin!(sleep_until(self.due()));
        loop {
            // What several commands are answered, goes together.
            if !self.socket.has_message() {
                self.flushed().await?;
            }
            let holds = pace.is_holding();
            match poll_fn(|context| self.poll(context, &app.changed, bell.as_mut(), alarm.as_mut(), holds)).await {
                Event::Heard(message) => {
                    Box::pin(self.listen(message)).await?;
                    if self.is_behind() {
                        tick = pace.hurry(Instant::now());
                    }
                }
                Event::Changed => {
                    let now = Instant::now();
                    match pace.changed(now) {
                        Some(due) => tick = due,
                        None => {
                            self.flush(now).await?;
                            // There may be more than one flush takes.
                            if self.is_behind() {
                                tick = pace.hold();
                            }
                        }
                    }
                }
                Event::Due => {
                    let now = Instant::now();
                    if holds
                        && tick <= now
                        && let Some(due) = pace.ticked(now, self.is_behind())
                    {
                        tick = due;
                        self.flush(now).await?;
                    }
                    if self.due() <= now {
                        Box::pin(self.chores(now)).await?;
                    }
                    alarm.as_mut().reset(if pace.is_holding() { tick.min(self.due()) } else { self.due() });
                    continue;
                }
                Event::Told(text) => self.send(text.into()).await?,
                Event::Published(answer) => Box::pin(self.published(*answer)).await?,
                Event::Ended(code, reason) => return Err(End::Close(code, reason)),
                Event::Stopping => return Box::pin(self.bye()).await,
            }
            // It may come too early, but never too late.
            let due = if pace.is_holding() { tick.min(self.due()) } else { self.due() };
            if due < alarm.deadline() {
                alarm.as_mut().reset(due);
            }
        }
    }

    /// What happens next. While changes wait for a tick (`holds`), they wake nobody.
    fn poll<'a>(
        &mut self,
        context: &mut Context<'_>,
        changed: &'a Notify,
        mut bell: Pin<&mut Notified<'a>>,
        alarm: Pin<&mut Sleep>,
        holds: bool,
    ) -> Poll<Event> {
        if let Poll::Ready((code, reason)) = self.me.reader.poll_ended(context) {
            return Poll::Ready(Event::Ended(code, reason));
        }
        if self.app.is_stopping() {
            return Poll::Ready(Event::Stopping);
        }
        if !holds && self.watch.as_ref().is_some_and(|watch| watch.is_watching()) {
            // Waited for first and looked at then, so that nothing changes unseen between the two.
            while bell.as_mut().poll(context).is_ready() {
                bell.set(changed.notified());
                if self.is_behind() {
                    return Poll::Ready(Event::Changed);
                }
            }
            if self.is_behind() {
                return Poll::Ready(Event::Changed);
            }
        }
        if alarm.poll(context).is_ready() {
            return Poll::Ready(Event::Due);
        }
        if let Poll::Ready(answer) = self.publications.poll(context) {
            return Poll::Ready(Event::Published(Box::new(answer)));
        }
        if let Some(desk) = &mut self.desk
            && let Poll::Ready(Some(text)) = desk.poll(context)
        {
            return Poll::Ready(Event::Told(text));
        }
        self.socket.poll_next(context).map(Event::Heard)
    }

    /// When there is something to do that nobody asks for.
    fn due(&self) -> Instant {
        self.lease.as_ref().map_or(self.beat, |lease| self.beat.min(lease.due()))
    }

    /// What nobody asks for, and is due.
    async fn chores(&mut self, now: Instant) -> Result<(), End> {
        if self.lease.as_ref().is_some_and(|lease| lease.due() <= now) {
            self.expiring(now).await?;
        }
        if self.beat <= now {
            self.beat = now + self.app.config.ping_every;
            self.beat().await?;
        }
        Ok(())
    }

    /// Whether something may have changed that the client has not been told.
    fn is_behind(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_watching() && watch.rev() < *self.head.borrow())
    }

    async fn listen(&mut self, message: Result<Message, Bad>) -> Result<(), End> {
        match self.heard(message).await? {
            Some(text) => self.command(&text).await,
            None => Ok(()),
        }
    }

    /// A message's text, if it is one that matters.
    async fn heard(&mut self, message: Result<Message, Bad>) -> Result<Option<String>, End> {
        self.unanswered = 0;
        match message {
            Ok(Message::Text(text)) => Ok(Some(text)),
            Ok(Message::Ping(payload)) => self.deliver(&ws::pong(&payload)).await.map(|()| None),
            Ok(Message::Pong) => Ok(None),
            Ok(Message::Binary) => Err(End::Close(4400, "binary frame")),
            Ok(Message::Close(code)) => {
                // An answer in kind; whether it arrives is no concern of ours any more.
                self.socket.push(&ws::close(code.unwrap_or(1000), ""));
                let _ = self.socket.flush();
                Err(End::Gone)
            }
            Err(Bad::Gone) => Err(End::Gone),
            Err(Bad::TooLong) => Err(End::Close(4413, "frame too large")),
            Err(Bad::NotUtf8) => Err(End::Close(4400, "not UTF-8")),
            Err(Bad::Protocol) => Err(End::Close(1002, "not as RFC 6455 says")),
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
            Command::Remote(order) => self.order(id, *order),
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

    /// Has something done at other servers; the answer comes with the news of it.
    fn order(&mut self, id: u64, order: Order) -> Result<(), Problem> {
        let Some(watch) = &self.watch else { return Ok(()) };
        let (app, principal, peer) = (&self.app, watch.principal(), self.me.reader.peer);
        let desk = self.desk.get_or_insert_with(|| {
            let caller = Caller { app: Arc::clone(app), principal: principal.clone(), peer };
            Desk::open(caller, app.config.limits.command_burst as usize)
        });
        desk.order(id, order)
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
        self.flushed().await?;
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
        if let Some(desk) = &self.desk {
            desk.authorize(principal.clone());
        }
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
    async fn flush(&mut self, now: Instant) -> Result<(), End> {
        if let Some(watch) = &mut self.watch {
            watch.flush(now);
        }
        self.pump().await?;
        self.flushed().await?;
        self.app.metrics.flush.observe(now.elapsed().as_micros() as u64, &DELAYS);
        Ok(())
    }

    /// Sends what the client is owed.
    async fn pump(&mut self) -> Result<(), End> {
        while let Some(out) = self.watch.as_mut().and_then(|watch| watch.next()) {
            self.quiet = false;
            self.deliver(out.text.wire()).await?;
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
        self.deliver(&ws::ping()).await?;
        if let Some(watch) = &mut self.watch {
            watch.regroup();
        }
        self.pump().await?;
        if std::mem::replace(&mut self.quiet, true) {
            let cursor = self.watch.as_mut().and_then(|watch| watch.cursor());
            self.send(cursor.map_or_else(|| "{\"t\":\"ping\"}".into(), |out| out.text)).await?;
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

    async fn send(&mut self, text: Text) -> Result<(), End> {
        self.quiet = false;
        self.deliver(text.wire()).await?;
        self.app.metrics.frames.fetch_add(1, Relaxed);
        self.app.metrics.bytes.fetch_add(text.len() as u64, Relaxed);
        Ok(())
    }

    /// Puts a frame to those that are sent next; where they are many, first sends them.
    async fn deliver(&mut self, wire: &Bytes) -> Result<(), End> {
        if self.socket.unsent() > 0 && self.socket.unsent() + wire.len() > TOGETHER {
            self.flushed().await?;
        }
        self.socket.push(wire);
        Ok(())
    }

    /// Returns when all has been sent.
    async fn flushed(&mut self) -> Result<(), End> {
        // Most often the kernel takes it at once, and nothing has to be timed.
        match self.socket.flush().map_err(|_| End::Gone)? {
            true => Ok(()),
            false => Box::pin(self.delivered()).await,
        }
    }

    /// Waits for a client that is slow.
    async fn delivered(&mut self) -> Result<(), End> {
        tokio::select! {
            sent = timeout(self.app.config.stall, self.socket.flushed()) => sent.map_err(|_| SLOW)?.map_err(|_| End::Gone),
            () = given_up(&self.app) => Err(End::Gone),
        }
    }
}

/// Returns when the gateway has been stopping for as long as it waits for a client.
async fn given_up(app: &App) {
    stopped(&mut app.stop.clone()).await;
    sleep(LAST_GOODBYE).await;
}
