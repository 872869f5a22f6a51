//! The engine of one shard: the gate that every message passes, in the order of RFC 3261 section 8.2.

use crate::held::HeldBack;
use crate::host::Host;
use crate::identifier::Branch;
use crate::notifier::Notifier;
use crate::reply::{Detail, Reply, write_reply};
use crate::route::{Anyone, Routed};
use crate::server::{Key, Seen, Transactions};
use crate::wire::{Essentials, Message, Name, Reject, Start};
use lamplighter_model::counters::Gauge;
use lamplighter_model::explain::WatcherExplanation;
use lamplighter_model::{
    Config, Counter, Counters, Flow, NotLocal, Outbox, Output, PackageId, ResourceId, Seed, Time, Transport,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The SIP side of one shard.
pub struct Engine {
    pub(crate) config: Arc<Config>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) seed: Seed,
    pub(crate) notifier: Notifier,
    /// Questions for the resolver that no output has carried yet.
    pub(crate) lookups: Vec<Output>,
    /// Scratch: timers that have fired.
    pub(crate) due: Vec<u32>,
    pub(crate) held: HeldBack,
    pub(crate) transactions: Transactions,
    /// Since when messages come late, and when the last such came.
    late: Option<(Time, Time)>,
    stopping: bool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("subscriptions", &self.notifier.len()).finish()
    }
}

/// A request that has passed the gate.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub now: Time,
    pub flow: Flow,
    pub message: Message<'a>,
    pub essentials: &'a Essentials<'a>,
    pub uri: &'a [u8],
}

impl Engine {
    /// An engine without subscriptions. `secret` makes tags and branches unguessable, `seed` keys its maps.
    pub fn new(config: Arc<Config>, seed: Seed, secret: [u8; 32], now: Time, counters: Arc<Counters>) -> Self {
        Self {
            notifier: Notifier::new(seed, secret, now),
            held: HeldBack::default(),
            transactions: Transactions::new(seed),
            config,
            counters,
            seed,
            lookups: Vec::new(),
            due: Vec::new(),
            late: None,
            stopping: false,
        }
    }

    /// Answers what could not even be read, if its protocol has an answer for it.
    pub fn rejected(&mut self, flow: Flow, reject: &Reject<'_>, out: &mut Outbox) {
        self.counters.count(Counter::Received);
        match (reject.status, reject.message) {
            (Some(status), Some(request)) => self.answer(flow, request, &Reply::status(status), out),
            _ => self.counters.count(Counter::Dropped),
        }
    }

    /// Handles one message that belongs to this shard. `address` is what [`crate::route::route`] made of it.
    #[expect(clippy::too_many_arguments, reason = "a message and where it stands; a struct would only rename them")]
    pub fn message<H: Host>(
        &mut self,
        now: Time,
        flow: Flow,
        age: Duration,
        message: Message<'_>,
        routed: &Routed,
        address: &str,
        host: &mut H,
        out: &mut Outbox,
    ) {
        self.counters.count(Counter::Received);
        let behind = self.is_behind(now, age);
        let (method, uri) = match message.start() {
            Start::Response { status } => {
                match routed {
                    Routed::Response(branch) if message.count(Name::Via) == 1 => {
                        self.response(now, status, *branch, message, host);
                    }
                    _ => self.counters.count(Counter::StrayResponse),
                }
                return;
            }
            Start::Request { method, uri } => (method, uri),
        };
        if method == b"ACK" {
            return; // of a refusal to an INVITE: nothing waits for it
        }
        let essentials = match message.essentials() {
            Ok(essentials) => essentials,
            Err(reject) => return self.refuse_unread(flow, &reject, out),
        };
        let request = Request { now, flow, message, essentials: &essentials, uri };
        if let Some(reply) = self.gate(&request, method, routed) {
            return self.answer(flow, message, &reply, out);
        }
        let key = match self.transactions.look_up(message, &essentials) {
            Seen::New(key) => key,
            Seen::Again(reply) => {
                self.counters.count(Counter::Absorbed);
                return self.answer(flow, message, &reply, out);
            }
            Seen::Early => return self.counters.count(Counter::Absorbed),
            Seen::Merged => return self.answer(flow, message, &Reply::status(482), out),
        };
        // What belongs to a dialog goes on, within bounds.
        let refused = match routed.is_in_dialog() {
            true => self.transactions.len() >= self.config.limits.transactions.saturating_mul(2),
            false => behind || self.is_overloaded() || self.held.failing,
        } || self.held.len() >= self.config.limits.held;
        if refused {
            self.counters.count(Counter::Overload);
            let pause = self.config.overload.retry_after.as_secs() as u32;
            // Stateless, so that the same request may succeed later.
            return self.answer(flow, message, &Reply::with(503, Detail::RetryAfter(pause)), out);
        }
        self.remember_stream(&request);
        let before = out.outputs.len();
        let traced = match routed {
            _ if !host.tracing() => None,
            Routed::InDialog(tag) => self.notifier.resource(*tag).map(|resource| host.address(resource)),
            _ => Some(Arc::from(address)),
        };
        match (method, routed) {
            (b"SUBSCRIBE", Routed::InDialog(tag)) => self.resubscribe(&request, key, *tag, host, out),
            (b"SUBSCRIBE", _) => self.subscribe(&request, key, address, host, out),
            (b"PUBLISH", _) => self.publish(&request, key, address, host, out),
            _ => self.unsolicited(&request, key, address, host, out),
        }
        if let Some(address) = traced {
            let answer = out.outputs[before..].iter().find_map(|output| match output {
                Output::Send { at, .. } => out.slice(at).strip_prefix(b"SIP/2.0 "),
                _ => None,
            });
            let answer = answer.and_then(|text| text.split(|byte| *byte == b'\r').next());
            let answer = answer.map_or("waits for the store".into(), String::from_utf8_lossy);
            let event = String::from_utf8_lossy(message.first(Name::Event).unwrap_or(b"")).into_owned();
            let method = String::from_utf8_lossy(method);
            let detail = format!("{method} ({event}) from {} {}: {answer}", flow.transport.via(), flow.remote);
            host.trace(now, &address, "request", detail);
        }
    }

    /// What must be refused without looking at any state, statelessly.
    fn gate(&self, request: &Request<'_>, method: &[u8], routed: &Routed) -> Option<Reply> {
        let known = matches!(method, b"SUBSCRIBE" | b"PUBLISH" | b"NOTIFY" | b"OPTIONS");
        match method {
            b"CANCEL" => return Some(Reply::status(481)), // nothing here takes long enough to be cancelled
            b"BYE" | b"UPDATE" | b"PRACK" | b"INFO" | b"REFER" if request.essentials.to.tag().is_some() => {
                return Some(Reply::status(481));
            }
            _ if !known => return Some(Reply::with(405, Detail::Allow)),
            _ => {}
        }
        if let Routed::Anyone(why) = routed {
            // OPTIONS asks about us, not about a user: any Request-URI that leads here will do.
            let options = method == b"OPTIONS";
            match why {
                Anyone::BadUri => return Some(Reply::status(400)),
                Anyone::UnknownScheme => return Some(Reply::status(416)),
                Anyone::ForeignDialog => return Some(Reply::status(481)),
                Anyone::NotLocal(NotLocal::Foreign) if request.essentials.max_forwards == Some(0) && !options => {
                    return Some(Reply::status(483));
                }
                Anyone::NotLocal(NotLocal::BadUser) => return Some(Reply::status(400)),
                Anyone::NotLocal(_) if !options => return Some(Reply::status(404)),
                Anyone::NotLocal(_) | Anyone::StrayResponse => {}
            }
        }
        if request.message.list(Name::Require).next().is_some() {
            return Some(Reply::with(420, Detail::Unsupported));
        }
        if method == b"OPTIONS" {
            return Some(Reply::with(200, Detail::Capabilities));
        }
        if let Routed::InDialog(_) = routed
            && method != b"SUBSCRIBE"
        {
            return Some(Reply::status(481)); // our dialogs are subscriptions: nobody publishes or notifies in them
        }
        if self.stopping && !routed.is_in_dialog() {
            return Some(Reply::with(503, Detail::RetryAfter(self.config.overload.retry_after.as_secs() as u32)));
        }
        None
    }

    /// Whether a message of this age comes late, and others have done so for as long again. Who stalls once and then
    /// catches up is not overloaded.
    fn is_behind(&mut self, now: Time, age: Duration) -> bool {
        let most = self.config.overload.age;
        if age <= most {
            return false;
        }
        let since = self.late.filter(|(_, last)| now.since(*last) <= most).map_or(now, |(since, _)| since);
        self.late = Some((since, now));
        now.since(since) > most
    }

    fn is_overloaded(&self) -> bool {
        self.notifier.backlog() > self.config.overload.backlog
            || self.transactions.len() >= self.config.limits.transactions
    }

    fn refuse_unread(&mut self, flow: Flow, reject: &Reject<'_>, out: &mut Outbox) {
        match (reject.status, reject.message) {
            (Some(status), Some(request)) => self.answer(flow, request, &Reply::status(status), out),
            _ => self.counters.count(Counter::Dropped),
        }
    }

    /// Answers and remembers the answer for retransmissions.
    pub(crate) fn conclude(&mut self, request: &Request<'_>, key: Key, reply: Reply, out: &mut Outbox) {
        if request.flow.transport == Transport::Udp {
            self.transactions.answered(request.now, self.config.timers.t1 * 64, key, reply);
        }
        self.answer(request.flow, request.message, &reply, out);
    }

    /// Answers statelessly.
    pub(crate) fn answer(&self, flow: Flow, request: Message<'_>, reply: &Reply, out: &mut Outbox) {
        if reply.status >= 400 {
            self.counters.count(Counter::Refused);
        }
        let from = out.bytes.len();
        match write_reply(&self.config, self.seed, flow, request, reply, &mut out.bytes) {
            Some(flow) => out.send(flow, from),
            None => {
                out.bytes.truncate(from);
                self.counters.count(Counter::Dropped);
            }
        }
    }

    fn response<H: Host>(&mut self, now: Time, status: u16, branch: Branch, message: Message<'_>, host: &mut H) {
        let retry_after = message.first(Name::RetryAfter).and_then(crate::wire::seconds);
        self.answered(now, status, retry_after, branch, host);
    }

    /// Sends what has become due: retransmissions, last NOTIFYs, and up to one burst of those that wait.
    pub fn work<H: Host>(&mut self, now: Time, host: &mut H, out: &mut Outbox) {
        self.transactions.advance(now);
        self.advance_held(now, host, out);
        self.advance(now, host, out);
        self.deliver_ready(now, host, out);
        self.counters.set(Gauge::Subscriptions, self.notifier.len());
        self.counters.set(Gauge::Transactions, self.transactions.len());
    }

    /// When [`Self::work`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        let all = [self.notifier.deadline(), self.transactions.deadline(), self.held.deadline()];
        all.into_iter().flatten().min()
    }

    /// The state of a resource has changed: its watchers are told by [`Self::work`].
    pub fn changed(&mut self, resource: ResourceId) {
        let merged = self.notifier.changed(resource);
        self.counters.add(Counter::NotifyCoalesced, merged);
    }

    /// Takes a new configuration and asks policy again about every subscription.
    pub fn configure<H: Host>(&mut self, now: Time, config: Arc<Config>, host: &mut H) {
        self.notifier.rename_profiles(&self.config.profiles, &config.profiles);
        self.config = config;
        self.authorize_again(now, host);
    }

    /// Refuses what is new from now on, and without a store tells all watchers to look elsewhere: with one, they will
    /// not notice.
    pub fn stop(&mut self, now: Time) {
        self.stopping = true;
        if self.config.store.is_none() {
            self.notifier.stop(now);
        }
    }

    /// Whether nothing is left to be said after [`Self::stop`].
    pub fn is_through(&self) -> bool {
        self.stopping && self.held.len() == 0 && (self.config.store.is_some() || self.notifier.len() == 0)
    }

    /// A host has been looked up.
    pub fn resolved<H: Host>(&mut self, now: Time, query: u64, targets: &[(Transport, SocketAddr)], host: &mut H) {
        self.found(now, query, targets, host);
    }

    /// A stream has ended or could not be opened.
    pub fn closed<H: Host>(&mut self, now: Time, flow: Flow, host: &mut H) {
        self.flow_closed(now, flow, host);
    }

    /// What the watchers of a resource were told.
    pub fn explain(&self, resource: ResourceId) -> Vec<WatcherExplanation> {
        self.notifier.explain(&self.config, resource)
    }

    /// Up to `most` subscriptions from place `from` on, and the place to go on from.
    pub fn list(&self, from: u32, most: usize) -> (Vec<(ResourceId, PackageId, WatcherExplanation)>, Option<u32>) {
        self.notifier.list(&self.config, from, most)
    }

    /// Owes every watcher of a resource a NOTIFY with the whole state; how many they are.
    pub fn refresh(&mut self, resource: ResourceId) -> usize {
        self.notifier.refresh(resource)
    }

    /// Asks policy again about subscriptions that came back: it may have changed while we were away.
    pub fn authorize<H: Host>(&mut self, now: Time, host: &mut H) {
        self.authorize_again(now, host);
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.notifier.len()
    }
}
