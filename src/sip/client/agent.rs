//! A user agent: subscriptions and publications that it keeps, over one flow to its server.

use super::answered::Answered;
use super::compose::{Request, method_name};
use super::publisher::{Publication, Record};
use super::subscriber::{Notification, Subscription, Watch};
use super::transaction::{Branch, Expired, Transactions};
use crate::wire::{self, Essentials, Index, Limits, Message, Name, NameAddr, Start, Via, write};
use bytes::Bytes;
use lamplighter_model::config::{self, Timers};
use lamplighter_model::{Flow, Seed, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Leases are renewed this long before they end (enough for two whole transactions to fail), or at half their length.
const LEAD: Duration = Duration::from_secs(64);
/// The first pause after a failure; doubled each time.
const PAUSE: Duration = Duration::from_secs(4);
/// The longest pause between attempts, unless the server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// The longest pause that a server can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// What we understand (RFC 3261 section 20.5).
const ALLOW: &[u8] = b"NOTIFY, OPTIONS";

/// Who a user agent is and whom it talks to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its address of record: `sip:101@office.example`, the URI of From.
    pub address: Box<str>,
    /// Its display name; empty for none.
    pub display: Box<str>,
    /// The URI at which it can be reached: `sip:101@127.0.0.1:40001`.
    pub contact: Box<str>,
    /// Host and port for Via: `127.0.0.1:40001`. IPv6 hosts have brackets.
    pub sent_by: Box<str>,
    /// The value of User-Agent.
    pub user_agent: Box<str>,
    /// Where everything is sent: the outbound proxy.
    pub server: Flow,
    /// Timers of RFC 3261 section 17.
    pub timers: Timers,
}

/// Names a subscription of an [`Agent`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SubscriptionId(pub(super) u32);

/// Names a publication of an [`Agent`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicationId(pub(super) u32);

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A datagram, or one framed message of a stream.
    Message {
        /// Where it came from.
        flow: Flow,
        /// All of it.
        bytes: &'a [u8],
    },
    /// Time has passed.
    Tick,
}

/// What must be done, and what was learned, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send these bytes.
    Send {
        /// Where to.
        flow: Flow,
        /// What.
        bytes: Bytes,
    },
    /// Something that the user wants to know.
    Event(Event),
}

/// What a user agent has learned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A subscription was granted or renewed.
    Subscribed {
        /// Which.
        id: SubscriptionId,
        /// For how long.
        lease: Duration,
    },
    /// A NOTIFY of a subscription was accepted.
    Notified {
        /// Which.
        id: SubscriptionId,
        /// What it said.
        notification: Notification,
    },
    /// A subscription, or its refresh, was refused or has ended against our will; it will be tried again.
    SubscriptionLost {
        /// Which.
        id: SubscriptionId,
        /// Why.
        cause: Cause,
        /// When it will be tried again.
        again: Time,
    },
    /// A subscription has ended as its user wished. Its id means nothing any more.
    Unsubscribed {
        /// Which.
        id: SubscriptionId,
    },
    /// A PUBLISH was accepted.
    Published {
        /// Which.
        id: PublicationId,
        /// For how long.
        lease: Duration,
    },
    /// A PUBLISH was refused; the newest state will be published again.
    PublicationLost {
        /// Which.
        id: PublicationId,
        /// Why.
        cause: Cause,
        /// When it will be tried again.
        again: Time,
    },
    /// A publication has been removed, or had not got to the server. Its id means nothing any more.
    Withdrawn {
        /// Which.
        id: PublicationId,
    },
    /// A NOTIFY was refused.
    Refused {
        /// With 400, 481, 489 or 500.
        status: u16,
    },
}

/// Why something ended or was not granted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The server answered with this status.
    Status(u16),
    /// The server did not answer.
    Timeout,
    /// The server accepted but never sent a NOTIFY.
    NoNotify,
    /// The server accepted a PUBLISH without giving an entity-tag.
    NoEntityTag,
    /// The lease ran out.
    Expired,
    /// A NOTIFY said so, with this reason (empty: none).
    Terminated(Box<str>),
}

/// A subscription or a publication.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Usage {
    /// A subscription.
    Subscription(SubscriptionId),
    /// A publication.
    Publication(PublicationId),
}

/// On whose behalf a request was sent, and its number there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owner {
    /// Whose.
    pub usage: Usage,
    /// Which of its requests.
    pub request: u32,
}

/// Numbers that nobody can guess, the same for the same seed.
#[derive(Debug)]
struct Random {
    seed: Seed,
    count: u64,
}

/// What a subscription or publication may use while it is told something.
pub struct Turn<'a> {
    /// The time.
    pub now: Time,
    /// Who we are.
    pub settings: &'a Settings,
    random: &'a mut Random,
    transactions: &'a mut Transactions<Owner>,
    out: &'a mut Vec<Output>,
}

impl Turn<'_> {
    /// Sends a request in a transaction of its own.
    pub fn send(&mut self, owner: Owner, request: &Request) {
        let branch = Branch(self.number());
        let flow = self.settings.server;
        let bytes = request.write(flow.transport, &self.settings.sent_by, branch);
        self.transactions.start(self.now, branch, method_name(request.method), flow, bytes.clone(), owner);
        self.out.push(Output::Send { flow, bytes });
    }

    /// Tells the user.
    pub fn report(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    /// A number that nobody can guess.
    pub fn number(&mut self) -> u64 {
        self.random.count += 1;
        self.random.seed.check(self.random.count, 0, 0)
    }

    /// When to renew a lease that runs until `until`; never sooner than in a second, whatever a server says.
    pub fn refresh_at(&self, until: Time) -> Time {
        let lease = until.since(self.now);
        self.now + (lease - LEAD.min(lease / 2)).max(Duration::from_secs(1))
    }

    /// When to try again after `failures` failures before this one. The server may ask for more patience.
    pub fn try_again_at(&mut self, failures: u32, retry_after: Option<Duration>) -> Time {
        let pause = (PAUSE * 2_u32.pow(failures.min(10))).min(LONGEST_PAUSE);
        let pause = pause.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER));
        // Up to a quarter more, so that those who failed together do not come back together.
        self.now + pause + pause * (self.number() % 256) as u32 / 1024
    }

    /// How long to wait for something that should have come: 64 times T1 (timers F and N).
    pub fn patience(&self) -> Duration {
        self.settings.timers.t1 * 64
    }
}

/// Something that is kept, and when it wants to be told of the time.
#[derive(Debug)]
struct Kept<T> {
    it: T,
    armed: Option<Time>,
}

/// A user agent. It has no socket and no clock.
///
/// ```text
/// loop {
///     agent.handle(now, Input::Message { .. } or Input::Tick, &mut out);   // Tick at agent.deadline()
///     for output in out.drain(..) { send it, or look at the event }
/// }
/// ```
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    random: Random,
    index: Index,
    limits: Limits,
    transactions: Transactions<Owner>,
    answered: Answered,
    subscriptions: BTreeMap<SubscriptionId, Kept<Subscription>>,
    publications: BTreeMap<PublicationId, Kept<Publication>>,
    due: BTreeSet<(Time, Usage)>,
    last_id: u32,
}

impl Agent {
    /// An agent that keeps nothing yet. All that it makes up (tags, branches, Call-IDs) follows from `seed`, which
    /// must be a secret and its own.
    pub fn new(settings: Settings, seed: Seed) -> Self {
        Self {
            random: Random { seed, count: 0 },
            index: Index::default(),
            limits: Limits::from(&config::Limits::default()),
            transactions: Transactions::new(settings.timers),
            answered: Answered::default(),
            subscriptions: BTreeMap::new(),
            publications: BTreeMap::new(),
            due: BTreeSet::new(),
            last_id: 0,
            settings,
        }
    }

    /// Subscribes, and stays subscribed.
    pub fn subscribe(&mut self, now: Time, watch: Watch, out: &mut Vec<Output>) -> SubscriptionId {
        self.last_id += 1;
        let id = SubscriptionId(self.last_id);
        let Self { settings, random, transactions, .. } = self;
        let mut turn = Turn { now, settings, random, transactions, out };
        let it = Subscription::new(id, watch, &mut turn);
        self.subscriptions.insert(id, Kept { it, armed: None });
        id
    }

    /// Ends a subscription; [`Event::Unsubscribed`] follows.
    pub fn unsubscribe(&mut self, now: Time, id: SubscriptionId, out: &mut Vec<Output>) {
        self.with_subscription(now, id, out, Subscription::leave);
    }

    /// Publishes, and keeps it published.
    pub fn publish(&mut self, now: Time, record: Record, out: &mut Vec<Output>) -> PublicationId {
        self.last_id += 1;
        let id = PublicationId(self.last_id);
        let Self { settings, random, transactions, .. } = self;
        let mut turn = Turn { now, settings, random, transactions, out };
        let it = Publication::new(id, record, &mut turn);
        self.publications.insert(id, Kept { it, armed: None });
        id
    }

    /// Replaces what is published. The same body again is no change.
    pub fn update(&mut self, now: Time, id: PublicationId, body: Bytes, out: &mut Vec<Output>) {
        self.with_publication(now, id, out, |it, turn| it.update(body, turn));
    }

    /// Removes a publication; [`Event::Withdrawn`] follows.
    pub fn withdraw(&mut self, now: Time, id: PublicationId, out: &mut Vec<Output>) {
        self.with_publication(now, id, out, Publication::withdraw);
    }

    /// Whether nothing is kept any more.
    pub fn is_idle(&self) -> bool {
        self.subscriptions.is_empty() && self.publications.is_empty()
    }

    /// Handles one input; what must be done about it lands in `out`.
    pub fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Message { flow, bytes } => {
                // The index is taken out so that the message, which borrows from it, can meet `self`.
                let mut index = std::mem::take(&mut self.index);
                self.receive(now, flow, bytes, &mut index, out);
                self.index = index;
            }
            Input::Tick => self.handle_timeout(now, out),
        }
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Time> {
        let due = self.due.first().map(|&(at, _)| at);
        due.into_iter().chain(self.transactions.deadline()).min()
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Vec<Output>) {
        let mut expired = Vec::new();
        self.transactions.handle_timeout(now, &mut expired);
        for one in expired {
            match one {
                Expired::Resend(flow, bytes) => out.push(Output::Send { flow, bytes }),
                Expired::TimedOut(Owner { usage: Usage::Subscription(id), request }) => {
                    self.with_subscription(now, id, out, |it, turn| it.timed_out(request, turn));
                }
                Expired::TimedOut(Owner { usage: Usage::Publication(id), request }) => {
                    self.with_publication(now, id, out, |it, turn| it.timed_out(request, turn));
                }
            }
        }
        let due: Vec<Usage> = self.due.iter().take_while(|(at, _)| *at <= now).map(|&(_, usage)| usage).collect();
        for usage in due {
            match usage {
                Usage::Subscription(id) => self.with_subscription(now, id, out, Subscription::handle_timeout),
                Usage::Publication(id) => self.with_publication(now, id, out, Publication::handle_timeout),
            }
        }
    }

    fn receive(&mut self, now: Time, flow: Flow, bytes: &[u8], index: &mut Index, out: &mut Vec<Output>) {
        if wire::keep_alive(bytes) {
            return;
        }
        let read = index.read(bytes, flow.transport.is_stream(), &self.limits);
        let message = match read.and_then(|message| message.essentials().map(|known| (message, known))) {
            Ok(good) => good,
            Err(reject) => {
                // Nothing to remember: a retransmission is refused again.
                if let (Some(status), Some(message)) = (reject.status, reject.message) {
                    out.extend(self.answer(flow, message, status).map(|bytes| Output::Send { flow, bytes }));
                }
                return;
            }
        };
        let (message, known) = message;
        match message.start() {
            Start::Response { status } => self.response(now, status, message, &known, out),
            Start::Request { method: b"ACK", .. } => {}
            Start::Request { method, .. } => self.request(now, flow, method, message, &known, out),
        }
    }

    fn response(
        &mut self,
        now: Time,
        status: u16,
        message: Message<'_>,
        known: &Essentials<'_>,
        out: &mut Vec<Output>,
    ) {
        let Some(branch) = known.via.branch() else { return };
        let owner = self.transactions.handle_response(now, branch, known.cseq_method, status);
        let Some(Owner { usage, request }) = owner else { return };
        match usage {
            Usage::Subscription(id) => {
                self.with_subscription(now, id, out, |it, turn| it.answered(request, status, message, turn));
            }
            Usage::Publication(id) => {
                self.with_publication(now, id, out, |it, turn| it.answered(request, status, message, turn));
            }
        }
    }

    fn request(
        &mut self,
        now: Time,
        flow: Flow,
        method: &[u8],
        message: Message<'_>,
        known: &Essentials<'_>,
        out: &mut Vec<Output>,
    ) {
        let Essentials { via, call_id, cseq, .. } = known;
        let number = cseq.to_be_bytes();
        let from = known.from.tag().unwrap_or_default();
        let print = self.random.seed.fingerprint(&[via.raw, call_id, from, &number, method]);
        if let Some((flow, bytes)) = self.answered.find(now, print) {
            out.push(Output::Send { flow, bytes });
            return;
        }
        let id = known.to.tag().and_then(Subscription::id_in_tag).filter(|id| self.subscriptions.contains_key(id));
        let verdict = match (method, id) {
            (b"NOTIFY", Some(id)) => {
                let kept = self.subscriptions.get_mut(&id);
                let verdict = kept.map_or(Err(481), |kept| kept.it.notify(message, known));
                verdict.map(|notification| Some((id, notification)))
            }
            (b"NOTIFY", None) => Err(481),
            (b"OPTIONS", _) => Ok(None),
            _ => Err(405),
        };
        let status = verdict.as_ref().map_or_else(|status| *status, |_| 200);
        if let Some(bytes) = self.answer(flow, message, status) {
            if !flow.transport.is_stream() {
                self.answered.keep(now + self.settings.timers.t1 * 64, print, flow, bytes.clone());
            }
            out.push(Output::Send { flow, bytes });
        }
        match verdict {
            Ok(Some((id, notification))) => {
                self.with_subscription(now, id, out, |it, turn| it.heard(notification, message, turn));
            }
            Err(status) if method == b"NOTIFY" => out.push(Output::Event(Event::Refused { status })),
            Ok(None) | Err(_) => {}
        }
    }

    /// The answer to a request, which goes back to where the request came from.
    fn answer(&self, flow: Flow, request: Message<'_>, status: u16) -> Option<Bytes> {
        let mut out = Vec::with_capacity(400);
        write::status_line(&mut out, status);
        let mut vias = request.list(Name::Via);
        let top = Via::read(vias.next()?)?;
        out.extend_from_slice(b"Via: ");
        write::value(&mut out, top.raw);
        if top.params.get(b"received").is_none() {
            out.extend_from_slice(format!(";received={}", flow.remote.ip().to_canonical()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        for via in vias {
            write::header(&mut out, "Via", via);
        }
        write::header(&mut out, "From", request.first(Name::From)?);
        let to = request.first(Name::To)?;
        out.extend_from_slice(b"To: ");
        write::value(&mut out, to);
        if NameAddr::read(to).is_none_or(|to| to.tag().is_none()) {
            let parts = [request.first(Name::CallId)?, request.first(Name::CSeq)?];
            let tag = self.random.seed.fingerprint(&parts) as u64;
            out.extend_from_slice(format!(";tag={tag:016x}").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        write::header(&mut out, "Call-ID", request.first(Name::CallId)?);
        write::header(&mut out, "CSeq", request.first(Name::CSeq)?);
        if matches!(status, 200 | 405) {
            write::header(&mut out, "Allow", ALLOW);
        }
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        Some(out.into())
    }

    fn with_subscription(
        &mut self,
        now: Time,
        id: SubscriptionId,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Subscription, &mut Turn<'_>),
    ) {
        let Self { settings, random, transactions, subscriptions, due, .. } = self;
        let Some(kept) = subscriptions.get_mut(&id) else { return };
        act(&mut kept.it, &mut Turn { now, settings, random, transactions, out });
        rearm(due, Usage::Subscription(id), &mut kept.armed, kept.it.deadline());
        if kept.it.is_over() {
            subscriptions.remove(&id);
        }
    }

    fn with_publication(
        &mut self,
        now: Time,
        id: PublicationId,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Publication, &mut Turn<'_>),
    ) {
        let Self { settings, random, transactions, publications, due, .. } = self;
        let Some(kept) = publications.get_mut(&id) else { return };
        act(&mut kept.it, &mut Turn { now, settings, random, transactions, out });
        rearm(due, Usage::Publication(id), &mut kept.armed, kept.it.deadline());
        if kept.it.is_over() {
            publications.remove(&id);
        }
    }
}

fn rearm(due: &mut BTreeSet<(Time, Usage)>, usage: Usage, armed: &mut Option<Time>, deadline: Option<Time>) {
    if *armed != deadline {
        if let Some(at) = armed.take() {
            due.remove(&(at, usage));
        }
        due.extend(deadline.map(|at| (at, usage)));
        *armed = deadline;
    }
}

#[cfg(test)]
mod tests;
