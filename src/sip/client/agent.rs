//! A user agent: the subscriptions and publications that it keeps, their transactions, and the servers that it knows.

use super::compose::{Body, Origin};
use super::dialog::Dialog;
use super::event::{Cause, Event, Input, Output, PublicationId, Row, SubscriptionId, Totals, Usage};
use super::hop::{Admission, Hosts, Lookup, MOST_TARGETS, RESOLVE_PATIENCE, Servers, Targets};
use super::notification;
use super::publisher::Publication;
use super::settings::{Record, Settings, Target, Watch};
use super::standing::Standing;
use super::subscriber::{Subscription, Verdict};
use super::table::{Place, Table};
use super::transaction::{self, Branch, Transaction};
use crate::identifier::hex;
use crate::wire::{self, Essentials, Index, Limits, Message, Name, NameAddr, Start, Via, write};
use bytes::Bytes;
use lamplighter_model::config;
use lamplighter_model::hash::Map;
use lamplighter_model::wheel::{Timer, Wheel};
use lamplighter_model::{Flow, Seed, Time, Transport};
use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

/// The first pause after a failed PUBLISH; doubled each time.
const PAUSE: Duration = Duration::from_secs(4);
/// The longest pause between attempts to publish, unless the server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// The longest pause that a server can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// What can be done at any time is done at multiples of this, so that the requests of a moment leave together, and their
/// answers come together. Short enough that a peer gets no more at once than it can hold.
const TOGETHER: Duration = Duration::from_millis(20);
/// What we understand (RFC 3261 section 20.5).
const ALLOW: &[u8] = b"NOTIFY, OPTIONS";
/// The most dialogs that one subscription has beside its own.
const MOST_FORKS: usize = 8;
/// Last NOTIFYs of dialogs are remembered, so that a retransmission meets the same answer. At most this many; beyond,
/// the oldest is forgotten, and its retransmission would get 481.
const MOST_LATE: usize = 256;
/// So many who wait for a server are told at a time that they need not.
const MOST_WOKEN: usize = 64;
/// When the next of them are.
const NAP: Duration = Duration::from_millis(10);

/// Names a subscription or publication inside the agent.
pub type Key = Place;

/// Numbers that nobody can guess, the same for the same seed.
#[derive(Debug)]
struct Random {
    seed: Seed,
    count: u64,
}

impl Random {
    fn number(&mut self) -> u64 {
        self.count += 1;
        self.seed.check(self.count, 0, 0)
    }
}

/// What a subscription or publication may use while it is told something.
pub struct Turn<'a> {
    /// The time.
    pub now: Time,
    /// Who we are.
    pub settings: &'a Settings,
    random: &'a mut Random,
    out: &'a mut Vec<Output>,
    asks: bool,
    saves: bool,
}

impl Turn<'_> {
    /// A new request is to be composed and sent; the one that is out, if any, counts no more.
    pub fn ask(&mut self) {
        self.asks = true;
    }

    /// What a restart needs has changed.
    pub fn save(&mut self) {
        self.saves = true;
    }

    /// Tells the user.
    pub fn report(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    /// A number that nobody can guess.
    pub fn number(&mut self) -> u64 {
        self.random.number()
    }

    /// An evenly drawn part of a time.
    pub fn part_of(&mut self, whole: Duration) -> Duration {
        let micros = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(((u128::from(self.number()) * u128::from(micros)) >> 64) as u64)
    }

    /// When something is done that is to be done after so long, and may be done a little later.
    pub fn soon_after(&self, pause: Duration) -> Time {
        let unit = TOGETHER.as_micros() as u64;
        Time::from_micros((self.now + pause).as_micros().div_ceil(unit).saturating_mul(unit))
    }

    /// When a lease of this length, which begins now, is to be renewed.
    pub fn renewal(&self, lease: Duration) -> Time {
        self.soon_after(self.settings.pace.renew_after(lease))
    }

    /// When a failed subscription is tried again: after the configured time, an eighth more or less, so that those who
    /// failed together do not come back together. The server may ask for more patience, and gets up to a quarter more.
    pub fn retry_at(&mut self, retry_after: Option<Duration>) -> Time {
        let retry = self.settings.pace.retry;
        let usual = retry - retry / 8 + self.part_of(retry / 4);
        match retry_after.map(|pause| pause.min(LONGEST_RETRY_AFTER)).filter(|pause| *pause > usual) {
            Some(pause) => self.now + pause + self.part_of(pause / 4),
            None => self.now + usual,
        }
    }

    /// When to publish again after `failures` failures before this one.
    pub fn back_off_until(&mut self, failures: u32, retry_after: Option<Duration>) -> Time {
        let pause = (PAUSE * 2_u32.pow(failures.min(10))).min(LONGEST_PAUSE);
        let pause = pause.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER));
        self.now + pause + self.part_of(pause / 4)
    }

    /// How long to wait for something that should have come: 64 times T1 (timers F and N).
    pub fn patience(&self) -> Duration {
        self.settings.timers.t1 * 64
    }
}

/// A subscription or a publication.
#[derive(Debug)]
enum It {
    Subscription(Subscription),
    Publication(Publication),
}

/// How far the request is that somebody wants to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// There is none.
    Idle,
    /// The next hop's address is being looked up.
    Resolving,
    /// The server owes us too many answers.
    Queued,
    /// It is out, in this transaction.
    Out(Place),
}

/// Where a request may go, and where it has been.
#[derive(Debug)]
struct Attempt {
    targets: Targets,
    next: usize,
    /// A stream ended under the request, and it has been sent again over another.
    reconnected: bool,
}

/// Something that is kept.
#[derive(Debug)]
struct Kept {
    it: It,
    users: u32,
    identity: u128,
    armed: Option<(Time, Timer)>,
    stage: Stage,
    attempt: Option<Attempt>,
    forks: Vec<Key>,
    fork_count: u32,
    saved: bool,
}

impl Kept {
    /// Whether the request that is due has yet to be sent.
    fn is_unsent(&self) -> bool {
        matches!(self.stage, Stage::Resolving | Stage::Queued)
    }
}

/// A request that is out.
#[derive(Debug)]
struct Sent {
    transaction: Transaction,
    key: u64,
    owner: Key,
    target: Target,
    method: &'static str,
    timer: Option<Timer>,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Usage(Key),
    Transaction(Place),
    Query(u64),
    Server(Target),
}

/// A user agent. It has no socket and no clock.
///
/// ```text
/// loop {
///     agent.handle(now, Input::Message { .. } or Input::Tick, &mut out);   // Tick at agent.deadline()
///     for output in out.drain(..) { send it, look a name up, store it, or look at the event }
/// }
/// ```
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    random: Random,
    index: Index,
    limits: Limits,
    wheel: Wheel<Due>,
    fired: Vec<Due>,
    kept: Table<Kept>,
    by_identity: Map<u128, Key>,
    sent: Table<Sent>,
    hosts: Hosts,
    servers: Servers,
    /// Servers that somebody waits for and that have room.
    roomy: Vec<Target>,
    late: VecDeque<(Time, u128)>,
    totals: Totals,
    buffer: Vec<u8>,
    /// No new request leaves.
    holds: bool,
}

impl Agent {
    /// An agent that keeps nothing yet. All that it makes up (tags, branches, Call-IDs, pauses) follows from `seed`,
    /// which must be a secret and its own.
    pub fn new(now: Time, settings: Settings, seed: Seed) -> Self {
        Self {
            random: Random { seed, count: 0 },
            index: Index::default(),
            limits: Limits::from(&config::Limits::default()),
            wheel: Wheel::new(now),
            fired: Vec::new(),
            kept: Table::default(),
            by_identity: Map::with_hasher(seed),
            sent: Table::default(),
            hosts: Hosts::new(seed),
            servers: Servers::new(seed),
            roomy: Vec::new(),
            late: VecDeque::new(),
            totals: Totals::default(),
            buffer: Vec::new(),
            holds: false,
            settings,
        }
    }

    /// New settings, for everything that is sent from now on.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Subscribes, and stays subscribed. Whoever wants what is subscribed to already shares it, and gets the same id;
    /// the last to leave ends it. `None`: there is no room for more.
    pub fn subscribe(&mut self, now: Time, watch: Watch, out: &mut Vec<Output>) -> Option<SubscriptionId> {
        let identity = self.watch_identity(&watch);
        if let Some(&place) = self.by_identity.get(&identity)
            && let Some(Kept { it: It::Subscription(it), users, .. }) = self.kept.get_mut(place)
            && it.is_wanted()
        {
            *users += 1;
            if *users == 1 {
                it.claim(watch);
                self.rearm(place);
            }
            return Some(SubscriptionId(place));
        }
        let place = self.room()?;
        let begin = |turn: &mut Turn<'_>| It::Subscription(Subscription::new(SubscriptionId(place), watch, turn));
        self.begin(now, place.index, identity, 1, out, begin);
        Some(SubscriptionId(place))
    }

    /// One user less; with the last one it ends, and [`Event::Unsubscribed`] follows.
    pub fn unsubscribe(&mut self, now: Time, id: SubscriptionId, out: &mut Vec<Output>) {
        let Some(kept) = self.kept.get_mut(id.0) else { return };
        kept.users = kept.users.saturating_sub(1);
        if kept.users == 0 {
            let unsent = kept.is_unsent();
            self.subscription_acts(now, id.0, out, |it, turn| it.leave(unsent, turn));
            self.finish(now, out);
        }
    }

    /// Tries once more now, even where there was a refusal for good; refreshes what stands, so that the notifier says
    /// everything again.
    pub fn retry(&mut self, now: Time, id: SubscriptionId, out: &mut Vec<Output>) {
        let unsent = self.kept.get(id.0).is_some_and(Kept::is_unsent);
        self.subscription_acts(now, id.0, out, |it, turn| it.retry(unsent, turn));
        self.finish(now, out);
    }

    /// The server of a subscription or publication is to be tried even though it was silent or not there. What it asked
    /// for itself by Retry-After holds.
    pub fn forgive(&mut self, now: Time, usage: Usage) {
        let (Usage::Subscription(SubscriptionId(place)) | Usage::Publication(PublicationId(place))) = usage;
        let hop = self.kept.get(place).and_then(|kept| kept.it.hop(&self.settings));
        for target in hop.map(|hop| self.hosts.known(now, &hop)).unwrap_or_default() {
            self.servers.forgive(target);
        }
    }

    /// Asks for another lease from now on, and tries or refreshes at once. All users share it.
    pub fn renew(&mut self, now: Time, id: SubscriptionId, lease: Duration, out: &mut Vec<Output>) {
        let unsent = self.kept.get(id.0).is_some_and(Kept::is_unsent);
        self.subscription_acts(now, id.0, out, |it, turn| {
            it.ask_for(lease, turn);
            it.retry(unsent, turn);
        });
        self.finish(now, out);
    }

    /// Publishes, and keeps it published; a record that is published already becomes this one. `None`: there is no
    /// room for more.
    pub fn publish(&mut self, now: Time, record: Record, out: &mut Vec<Output>) -> Option<PublicationId> {
        let identity = self.record_identity(&record);
        if let Some(&place) = self.by_identity.get(&identity)
            && let Some(Kept { it: It::Publication(_), users, .. }) = self.kept.get_mut(place)
        {
            *users = 1;
            self.publication_acts(now, place, out, |it, turn| it.update(record, turn));
            self.finish(now, out);
            return Some(PublicationId(place));
        }
        let place = self.room()?;
        let begin = |turn: &mut Turn<'_>| It::Publication(Publication::new(PublicationId(place), record, turn));
        self.begin(now, place.index, identity, 1, out, begin);
        Some(PublicationId(place))
    }

    /// Replaces what is published. The same body again is no change.
    pub fn update(&mut self, now: Time, id: PublicationId, body: Body, out: &mut Vec<Output>) {
        self.publication_acts(now, id.0, out, |it, turn| it.update_body(body, turn));
        self.finish(now, out);
    }

    /// Renews a publication's lease now, with a PUBLISH that has no body.
    pub fn refresh(&mut self, now: Time, id: PublicationId, out: &mut Vec<Output>) {
        self.publication_acts(now, id.0, out, Publication::refresh);
        self.finish(now, out);
    }

    /// Removes a publication; [`Event::Withdrawn`] follows.
    pub fn withdraw(&mut self, now: Time, id: PublicationId, out: &mut Vec<Output>) {
        let unsent = self.kept.get(id.0).is_some_and(Kept::is_unsent);
        self.publication_acts(now, id.0, out, |it, turn| it.withdraw(unsent, turn));
        self.finish(now, out);
    }

    /// Takes up what [`Output::Save`] gave to an earlier process, under the same key. Whoever subscribes or publishes
    /// the same again within [`super::Pace::claim`] gets it; what nobody wants by then is unsubscribed or removed.
    /// `None`, and the key is to be forgotten: the lease is over, or it makes no sense here.
    pub fn restore(&mut self, now: Time, key: u32, standing: Standing, out: &mut Vec<Output>) -> Option<Usage> {
        let (identity, until, fits) = match &standing {
            Standing::Subscription(it) => {
                let fits = Dialog::place_in_tag(it.local_tag.as_bytes()) == Some(key);
                (self.watch_identity(&it.watch), it.until, fits)
            }
            Standing::Publication(it) => (self.record_identity(&it.record), it.until, true),
        };
        let free = self.kept.at(key).is_none() && !self.by_identity.contains_key(&identity);
        if !fits || !free || until <= now || key as usize >= self.settings.most {
            out.push(Output::Save { key, standing: None });
            return None;
        }
        let place = Place { index: key, turn: self.kept.turn(key) };
        let usage = match &standing {
            Standing::Subscription(_) => Usage::Subscription(SubscriptionId(place)),
            Standing::Publication(_) => Usage::Publication(PublicationId(place)),
        };
        self.begin(now, key, identity, 0, out, |turn| match standing {
            Standing::Subscription(it) => It::Subscription(Subscription::restore(SubscriptionId(place), it, turn)),
            Standing::Publication(it) => It::Publication(Publication::restore(PublicationId(place), it, turn)),
        });
        if let Some(kept) = self.kept.get_mut(place) {
            kept.saved = true;
        }
        Some(usage)
    }

    /// No new request leaves from now on, so that [`Self::expects`] comes to its end: what is answered after we have gone
    /// is known to the server only.
    pub fn hold(&mut self) {
        self.holds = true;
    }

    /// Whether a request is out.
    pub fn expects(&self) -> bool {
        self.sent.len() > 0
    }

    /// Whether nothing is kept any more.
    pub fn is_idle(&self) -> bool {
        self.kept.len() == 0
    }

    /// Everything that is kept, from `from` on and at most so many, and where to go on if there may be more.
    pub fn rows(&self, from: u32, most: usize) -> (Vec<Row>, Option<u32>) {
        let mut all = self.kept.from(from);
        let rows = all.by_ref().take(most).map(|(_, kept)| self.row(kept)).collect();
        (rows, all.next().map(|(place, _)| place.index))
    }

    /// How a subscription stands.
    pub fn subscription(&self, id: SubscriptionId) -> Option<Row> {
        self.kept.get(id.0).map(|kept| self.row(kept))
    }

    /// Until when a subscription holds, if it does.
    pub fn lease_end(&self, id: SubscriptionId) -> Option<Time> {
        match &self.kept.get(id.0)?.it {
            It::Subscription(it) => it.lease_end(),
            It::Publication(_) => None,
        }
    }

    /// How a publication stands.
    pub fn publication(&self, id: PublicationId) -> Option<Row> {
        self.kept.get(id.0).map(|kept| self.row(kept))
    }

    /// The subscription whose dialog has this Call-ID and tag of ours.
    pub fn dialog(&self, call_id: &str, local_tag: &str) -> Option<Row> {
        let place = self.kept.at(Dialog::place_in_tag(local_tag.as_bytes())?)?;
        let row = self.row(self.kept.get(place)?);
        (*row.call_id == *call_id && *row.local_tag == *local_tag).then_some(row)
    }

    /// Numbers about everything.
    pub fn totals(&self, now: Time) -> Totals {
        let mut totals = self.totals.clone();
        (totals.in_flight, totals.waiting) = self.servers.load();
        (totals.kept, totals.hosts, totals.servers) = (self.kept.len(), self.hosts.len(), self.servers.len());
        totals.shun(self.servers.shunned(now));
        for (_, kept) in self.kept.from(0) {
            match &kept.it {
                It::Subscription(it) => {
                    totals.dialogs += usize::from(it.has_dialog());
                    totals.subscriptions[it.state() as usize] += usize::from(it.parent().is_none());
                }
                It::Publication(it) => totals.publications[it.state() as usize] += 1,
            }
        }
        totals
    }

    fn row(&self, kept: &Kept) -> Row {
        match &kept.it {
            It::Subscription(it) => it.row(&self.settings, kept.users),
            It::Publication(it) => it.row(&self.settings, kept.users),
        }
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
            Input::Closed(flow) => self.closed(now, flow, out),
            Input::Resolved { query, targets, ttl } => {
                let targets = targets.iter().copied().take(MOST_TARGETS).collect();
                self.resolved(now, query, targets, ttl, out);
            }
            Input::Tick => self.handle_timeout(now, out),
        }
        self.finish(now, out);
    }

    /// When [`Input::Tick`] is due; may be early, never late.
    pub fn deadline(&self) -> Option<Time> {
        self.wheel.deadline()
    }

    fn watch_identity(&self, watch: &Watch) -> u128 {
        let Watch { resource, subscriber, event, accept, target, .. } = watch;
        let subscriber = subscriber.as_deref().unwrap_or(&self.settings.address);
        let parts = ["s", resource, subscriber, event, accept, target.as_deref().unwrap_or_default()];
        self.random.seed.fingerprint(&parts.map(str::as_bytes))
    }

    fn record_identity(&self, record: &Record) -> u128 {
        let Record { key, resource, publisher, event, .. } = record;
        let publisher = publisher.as_deref().unwrap_or(&self.settings.address);
        self.random.seed.fingerprint(&["p", resource, publisher, event, key].map(str::as_bytes))
    }

    fn room(&mut self) -> Option<Place> {
        (self.kept.len() < self.settings.most).then(|| self.kept.vacant())
    }

    fn begin(
        &mut self,
        now: Time,
        index: u32,
        identity: u128,
        users: u32,
        out: &mut Vec<Output>,
        begin: impl FnOnce(&mut Turn<'_>) -> It,
    ) {
        let Self { settings, random, .. } = self;
        let mut turn = Turn { now, settings, random, out, asks: false, saves: false };
        let it = begin(&mut turn);
        let asks = turn.asks;
        match &it {
            It::Subscription(_) => self.totals.subscriptions_begun += 1,
            It::Publication(_) => self.totals.publications_begun += 1,
        }
        let kept = Kept {
            it,
            users,
            identity,
            armed: None,
            stage: Stage::Idle,
            attempt: None,
            forks: Vec::new(),
            fork_count: 0,
            saved: false,
        };
        let Some(place) = self.kept.put_at(index, kept) else { return };
        self.by_identity.insert(identity, place);
        if asks {
            self.dispatch(now, place, out);
        }
        self.rearm(place);
        self.finish(now, out);
    }

    fn subscription_acts(
        &mut self,
        now: Time,
        key: Key,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Subscription, &mut Turn<'_>),
    ) {
        self.acts(now, key, out, |it, turn| {
            if let It::Subscription(it) = it {
                act(it, turn);
            }
        });
    }

    fn publication_acts(
        &mut self,
        now: Time,
        key: Key,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Publication, &mut Turn<'_>),
    ) {
        self.acts(now, key, out, |it, turn| {
            if let It::Publication(it) = it {
                act(it, turn);
            }
        });
    }

    /// Something happens to one that is kept; then its request, its timer and its record follow.
    fn acts(&mut self, now: Time, key: Key, out: &mut Vec<Output>, act: impl FnOnce(&mut It, &mut Turn<'_>)) {
        let Self { settings, random, kept, .. } = self;
        let Some(kept) = kept.get_mut(key) else { return };
        let serial = kept.it.serial();
        let mut turn = Turn { now, settings, random, out, asks: false, saves: false };
        act(&mut kept.it, &mut turn);
        let Turn { asks, saves, .. } = turn;
        if saves && self.settings.store {
            let standing = kept.it.standing();
            if standing.is_some() || kept.saved {
                kept.saved = standing.is_some();
                out.push(Output::Save { key: key.index, standing: standing.map(Box::new) });
            }
        }
        let (over, wanted) = (kept.it.is_over(), kept.it.is_wanted());
        let forks = if kept.forks.is_empty() { Vec::new() } else { kept.forks.clone() };
        let anew = over || kept.it.serial() != serial;
        if asks || over || !kept.it.wants_to_send() {
            self.abandon(key);
        }
        for fork in forks {
            if anew {
                self.subscription_acts(now, fork, out, Subscription::drop_fork);
            } else if !wanted {
                self.subscription_acts(now, fork, out, Subscription::leave_fork);
            }
        }
        if over {
            self.remove(key);
            return;
        }
        if asks {
            self.dispatch(now, key, out);
        }
        self.rearm(key);
    }

    fn remove(&mut self, key: Key) {
        let Some(kept) = self.kept.remove(key) else { return };
        if let Some((_, timer)) = kept.armed {
            self.wheel.cancel(timer);
        }
        if self.by_identity.get(&kept.identity) == Some(&key) {
            self.by_identity.remove(&kept.identity);
        }
        match kept.it {
            It::Subscription(it) => {
                self.totals.subscriptions_ended += 1;
                if let Some(parent) = it.parent().and_then(|parent| self.kept.get_mut(parent.0)) {
                    parent.forks.retain(|fork| *fork != key);
                }
            }
            It::Publication(_) => self.totals.publications_ended += 1,
        }
    }

    fn rearm(&mut self, key: Key) {
        let Some(kept) = self.kept.get_mut(key) else { return };
        let deadline = kept.it.deadline();
        if kept.armed.map(|(at, _)| at) != deadline {
            if let Some((_, timer)) = kept.armed.take() {
                self.wheel.cancel(timer);
            }
            kept.armed = deadline.map(|at| (at, self.wheel.arm(at, Due::Usage(key))));
        }
    }

    /// The request that is out, if any, counts no more; what is yet to go out is composed when it does.
    fn abandon(&mut self, key: Key) {
        let Some(kept) = self.kept.get_mut(key) else { return };
        kept.attempt = None;
        if let Stage::Out(place) = kept.stage {
            kept.stage = Stage::Idle;
            self.close(place);
        }
    }

    /// A transaction has come to its end.
    fn close(&mut self, place: Place) -> Option<Sent> {
        let sent = self.sent.remove(place)?;
        if let Some(timer) = sent.timer {
            self.wheel.cancel(timer);
        }
        if self.servers.done(sent.target) {
            self.roomy.push(sent.target);
        }
        Some(sent)
    }

    /// Brings the request that is due on its way.
    fn dispatch(&mut self, now: Time, key: Key, out: &mut Vec<Output>) {
        if self.holds {
            return;
        }
        let Some(kept) = self.kept.get_mut(key).filter(|kept| kept.stage == Stage::Idle) else { return };
        if kept.attempt.is_none() {
            let found = kept.it.hop(&self.settings).map(|hop| (self.hosts.find(now, &hop, key), hop));
            let targets = match found {
                Some((Lookup::Known(targets), _)) => targets,
                Some((Lookup::Waits, _)) => {
                    kept.stage = Stage::Resolving;
                    return;
                }
                Some((Lookup::Ask(query), hop)) => {
                    kept.stage = Stage::Resolving;
                    self.wheel.arm(now + RESOLVE_PATIENCE, Due::Query(query));
                    let super::hop::Hop { host, port, transport } = hop;
                    out.push(Output::Resolve { query, host, port, transport });
                    return;
                }
                None => Targets::new(),
            };
            kept.attempt = Some(Attempt { targets, next: 0, reconnected: false });
        }
        if let Err((cause, not_before)) = self.transmit(now, key, out) {
            self.acts(now, key, out, |it, turn| it.unanswered(cause, not_before, turn));
        }
    }

    /// Sends to the first server left that can be reached and may be bothered.
    fn transmit(&mut self, now: Time, key: Key, out: &mut Vec<Output>) -> Result<(), (Cause, Option<Time>)> {
        let Some(kept) = self.kept.get_mut(key) else { return Ok(()) };
        let Some(attempt) = &mut kept.attempt else { return Ok(()) };
        let mut failure = (Cause::Unreachable, None);
        while let Some(&target) = attempt.targets.get(attempt.next) {
            let local = self.settings.locals.iter().find(|local| local.reaches(target));
            let Some(local) = local else {
                attempt.next += 1;
                continue;
            };
            match self.servers.admission(now, target, self.settings.pace.in_flight) {
                Admission::Go => {}
                Admission::Busy => {
                    self.servers.wait(target, key);
                    kept.stage = Stage::Queued;
                    return Ok(());
                }
                Admission::Shunned(shunned) => {
                    failure = (Cause::Shunned(shunned.status), Some(shunned.until));
                    attempt.next += 1;
                    continue;
                }
            }
            let branch = Branch { index: self.sent.vacant().index, key: self.random.number() };
            self.buffer.clear();
            let origin = Origin { settings: &self.settings, local, branch };
            let method = match &mut kept.it {
                It::Subscription(it) => {
                    it.compose(origin, &mut self.buffer);
                    "SUBSCRIBE"
                }
                It::Publication(it) => {
                    it.compose(origin, &mut self.buffer);
                    "PUBLISH"
                }
            };
            let bytes = Bytes::copy_from_slice(&self.buffer);
            let (transport, remote) = (target.transport, target.address);
            let flow = Flow { transport, listener: local.listener, connection: 0, remote, local: None };
            let transaction = Transaction::new(now, self.settings.timers, flow, bytes.clone());
            let deadline = transaction.deadline();
            let place = self.sent.put(Sent { transaction, key: branch.key, owner: key, target, method, timer: None });
            let timer = self.wheel.arm(deadline, Due::Transaction(place));
            if let Some(sent) = self.sent.get_mut(place) {
                sent.timer = Some(timer);
            }
            kept.stage = Stage::Out(place);
            self.servers.sent(now, target);
            self.totals.sent += 1;
            self.totals.publishes += u64::from(method == "PUBLISH");
            out.push(Output::Send { flow, bytes });
            return Ok(());
        }
        Err(failure)
    }

    /// After one server failed: the request goes to the next one (RFC 3263 section 4.3). False: there is none.
    fn fail_over(&mut self, now: Time, key: Key, out: &mut Vec<Output>) -> bool {
        let Some(attempt) = self.kept.get_mut(key).and_then(|kept| kept.attempt.as_mut()) else { return false };
        attempt.next += 1;
        let went = attempt.next < attempt.targets.len() && self.transmit(now, key, out).is_ok();
        self.totals.failed_over += u64::from(went);
        went
    }

    /// Somebody need not wait any longer.
    fn resume(&mut self, now: Time, key: Key, out: &mut Vec<Output>) {
        let Some(kept) = self.kept.get_mut(key) else { return };
        if let Stage::Resolving | Stage::Queued = kept.stage {
            kept.stage = Stage::Idle;
            kept.attempt = None;
            if kept.it.wants_to_send() {
                self.dispatch(now, key, out);
            }
        }
    }

    /// Those who wait for servers that have room now get their turn.
    fn finish(&mut self, now: Time, out: &mut Vec<Output>) {
        while let Some(target) = self.roomy.pop() {
            let (mut left, mut more, mut keys) = (MOST_WOKEN, true, Vec::new());
            let most = self.settings.pace.in_flight;
            while left > 0 && more && self.servers.admission(now, target, most) != Admission::Busy {
                left -= 1;
                more = self.servers.next(target, 1, &mut keys);
                for key in keys.drain(..) {
                    self.resume(now, key, out);
                }
            }
            if more
                && self.servers.admission(now, target, most) != Admission::Busy
                && let Some(server) = self.servers.get_mut(target)
                && !std::mem::replace(&mut server.armed, true)
            {
                self.wheel.arm(now + NAP, Due::Server(target));
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Vec<Output>) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.advance(now, |due| fired.push(due));
        // What has fired must not be cancelled by what happens to others below.
        for due in &fired {
            match *due {
                Due::Usage(key) => {
                    if let Some(kept) = self.kept.get_mut(key) {
                        kept.armed = None;
                    }
                }
                Due::Transaction(place) => {
                    if let Some(sent) = self.sent.get_mut(place) {
                        sent.timer = None;
                    }
                }
                Due::Server(target) => {
                    if let Some(server) = self.servers.get_mut(target) {
                        server.armed = false;
                    }
                }
                Due::Query(_) => {}
            }
        }
        for due in fired.drain(..) {
            match due {
                Due::Usage(key) => self.acts(now, key, out, It::handle_timeout),
                Due::Transaction(place) => self.transaction_due(now, place, out),
                Due::Query(query) => self.resolved(now, query, Targets::new(), Duration::ZERO, out),
                Due::Server(target) => self.roomy.push(target),
            }
        }
        self.fired = fired;
    }

    fn transaction_due(&mut self, now: Time, place: Place, out: &mut Vec<Output>) {
        let Some(sent) = self.sent.get_mut(place) else { return };
        match sent.transaction.due(now, self.settings.timers) {
            Some(transaction::Due::TimedOut) => {
                let (started, shun) = (sent.transaction.started, self.settings.pace.shun);
                let Some(Sent { owner, target, .. }) = self.close(place) else { return };
                self.totals.timeouts += 1;
                self.servers.failed(now, target, started, 408, shun);
                self.failed(now, owner, Cause::Timeout, out);
            }
            resend => {
                if resend.is_some() {
                    let (flow, bytes) = (sent.transaction.flow, sent.transaction.bytes.clone());
                    out.push(Output::Send { flow, bytes });
                    self.totals.resent += 1;
                }
                sent.timer = Some(self.wheel.arm(sent.transaction.deadline(), Due::Transaction(place)));
            }
        }
    }

    /// A request was not answered or could not be delivered; its transaction is closed.
    fn failed(&mut self, now: Time, owner: Key, cause: Cause, out: &mut Vec<Output>) {
        let Some(kept) = self.kept.get_mut(owner) else { return };
        kept.stage = Stage::Idle;
        if !self.fail_over(now, owner, out) {
            self.acts(now, owner, out, |it, turn| it.unanswered(cause, None, turn));
        }
    }

    fn resolved(&mut self, now: Time, query: u64, targets: Targets, ttl: Duration, out: &mut Vec<Output>) {
        for key in self.hosts.resolved(now, query, targets, ttl) {
            self.resume(now, key, out);
        }
    }

    fn closed(&mut self, now: Time, flow: Flow, out: &mut Vec<Output>) {
        let target = Target { transport: flow.transport, address: flow.remote };
        let lost: Vec<Place> =
            self.sent.from(0).filter(|(_, sent)| sent.target == target).map(|(place, _)| place).collect();
        if flow.transport == Transport::Udp {
            return self.refused(now, target, &lost, out);
        }
        let mut shunned = false;
        for place in lost {
            let Some(Sent { owner, transaction, .. }) = self.close(place) else { continue };
            let Some(kept) = self.kept.get_mut(owner) else { continue };
            kept.stage = Stage::Idle;
            // The server may have closed an idle stream in the very moment: another one is tried once.
            if flow.connection != 0
                && let Some(attempt) = kept.attempt.as_mut().filter(|attempt| !attempt.reconnected)
            {
                attempt.reconnected = true;
                if self.transmit(now, owner, out).is_ok() {
                    continue;
                }
            } else if !shunned {
                shunned = true;
                self.servers.failed(now, target, transaction.started, 503, self.settings.pace.shun);
            }
            self.failed(now, owner, Cause::Unreachable, out);
        }
    }

    /// Datagrams to there go in vain. Requests with another server to go to do so. The others are sent again until
    /// their time is over, as RFC 3261 section 17.1.2 has it without such a message: a server that restarts is back
    /// before that.
    fn refused(&mut self, now: Time, target: Target, lost: &[Place], out: &mut Vec<Output>) {
        for &place in lost {
            let Some(Sent { owner, transaction, .. }) = self.sent.get_mut(place) else { continue };
            let (owner, started) = (*owner, transaction.started);
            let attempt = self.kept.get(owner).and_then(|kept| kept.attempt.as_ref());
            if attempt.is_some_and(|attempt| attempt.next + 1 < attempt.targets.len()) {
                self.close(place);
                self.servers.failed(now, target, started, 408, self.settings.pace.shun);
                self.failed(now, owner, Cause::Unreachable, out);
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
                self.totals.dropped += 1;
                if let (Some(status), Some(message)) = (reject.status, reject.message) {
                    out.extend(self.answer(flow, message, status).map(|bytes| Output::Send { flow, bytes }));
                }
                return;
            }
        };
        let (message, known) = message;
        self.servers.heard(now, Target { transport: flow.transport, address: flow.remote });
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
        let branch = known.via.branch().and_then(Branch::read);
        let place = branch.and_then(|branch| self.sent.at(branch.index));
        let ours = |sent: &&mut Sent| {
            branch.is_some_and(|branch| branch.key == sent.key) && sent.method.as_bytes() == known.cseq_method
        };
        let Some((place, sent)) = place.and_then(|place| Some((place, self.sent.get_mut(place).filter(ours)?))) else {
            self.totals.dropped += 1;
            return;
        };
        self.servers.heard(now, sent.target);
        if status < 200 {
            sent.transaction.provisional(now, self.settings.timers);
            return;
        }
        let Some(Sent { owner, target, .. }) = self.close(place) else { return };
        if let Some(count) = self.totals.answers.get_mut(usize::from(status / 100).wrapping_sub(2)) {
            *count += 1;
        }
        let Some(kept) = self.kept.get_mut(owner) else { return };
        kept.stage = Stage::Idle;
        if status == 503 {
            let rest = message.first(Name::RetryAfter).and_then(wire::seconds);
            if let Some(rest) = rest {
                self.servers.asked_for_rest(now, target, Duration::from_secs(u64::from(rest)));
            }
            if self.fail_over(now, owner, out) {
                return;
            }
        }
        self.acts(now, owner, out, |it, turn| match it {
            It::Subscription(it) => it.answered(status, message, turn),
            It::Publication(it) => it.answered(status, message, turn),
        });
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
        if method != b"NOTIFY" {
            let status = if method == b"OPTIONS" { 200 } else { 405 };
            out.extend(self.answer(flow, message, status).map(|bytes| Output::Send { flow, bytes }));
            return;
        }
        let from = known.from.tag().unwrap_or_default();
        let print = self.random.seed.fingerprint(&[known.via.raw, known.call_id, from, &known.cseq.to_be_bytes()]);
        let (key, verdict) = self.judge(now, message, known, print, out);
        let refused = match &verdict {
            Verdict::Accept(_) | Verdict::Again => None,
            Verdict::Refuse(status) if !self.is_late(now, print) => Some(*status),
            Verdict::Refuse(_) => None,
            Verdict::Fork => Some(481),
        };
        out.extend(self.answer(flow, message, refused.unwrap_or(200)).map(|bytes| Output::Send { flow, bytes }));
        if let Some(status) = refused {
            self.totals.refused += 1;
            // Few statuses: all of them are ours.
            *self.totals.refused_with.entry(status).or_default() += 1;
            out.push(Output::Event(Event::Refused { status }));
            if let Some(key) = key {
                self.subscription_acts(now, key, out, Subscription::refused);
            }
        } else if let (Verdict::Accept(notification), Some(key)) = (verdict, key) {
            self.totals.notified += 1;
            if notification.standing == notification::Standing::Terminated {
                if self.late.len() == MOST_LATE {
                    self.late.pop_front();
                }
                self.late.push_back((now + self.settings.timers.t1 * 64, print));
            }
            self.subscription_acts(now, key, out, |it, turn| it.heard(notification, message, turn));
        }
    }

    /// Whose NOTIFY it is, and what to do with it.
    fn judge(
        &mut self,
        now: Time,
        message: Message<'_>,
        known: &Essentials<'_>,
        print: u128,
        out: &mut Vec<Output>,
    ) -> (Option<Key>, Verdict) {
        let nobody = (None, Verdict::Refuse(481));
        let index = known.to.tag().and_then(Dialog::place_in_tag);
        let Some(key) = index.and_then(|index| self.kept.at(index)) else { return nobody };
        let Some(Kept { it: It::Subscription(it), forks, .. }) = self.kept.get_mut(key) else { return nobody };
        let verdict = it.notify(message, known, print);
        if !matches!(verdict, Verdict::Fork) {
            return (Some(key), verdict);
        }
        let tag = known.from.tag().unwrap_or_default();
        let forks = forks.clone();
        for &fork in &forks {
            if let Some(Kept { it: It::Subscription(it), .. }) = self.kept.get_mut(fork)
                && it.is_from(tag)
            {
                return (Some(fork), it.notify(message, known, print));
            }
        }
        if forks.len() >= MOST_FORKS {
            return nobody;
        }
        let Some(place) = self.room() else { return nobody };
        let Self { settings, random, kept, .. } = self;
        let Some(parent) = kept.get_mut(key) else { return nobody };
        let It::Subscription(it) = &parent.it else { return nobody };
        let mut turn = Turn { now, settings, random, out, asks: false, saves: false };
        let mut fork = it.forked(SubscriptionId(place), parent.fork_count + 1, &mut turn);
        let verdict = fork.notify(message, known, print);
        if !matches!(verdict, Verdict::Accept(_)) {
            return (None, verdict);
        }
        parent.fork_count += 1;
        parent.forks.push(place);
        // A fork is found through its parent only.
        self.begin(now, place.index, u128::from(place.index) << 32 | u128::from(place.turn), 0, out, |_| {
            It::Subscription(fork)
        });
        (Some(place), verdict)
    }

    /// Whether this NOTIFY was the last of its dialog and has been answered.
    fn is_late(&mut self, now: Time, print: u128) -> bool {
        while self.late.front().is_some_and(|(until, _)| *until <= now) {
            self.late.pop_front();
        }
        self.late.iter().any(|(_, one)| *one == print)
    }

    /// The answer to a request, which goes back to where the request came from. It depends on nothing but the
    /// request, so that a retransmission gets the same.
    fn answer(&mut self, flow: Flow, request: Message<'_>, status: u16) -> Option<Bytes> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let written = self.write_answer(flow, request, status, &mut buffer);
        let bytes = written.map(|()| Bytes::copy_from_slice(&buffer));
        self.buffer = buffer;
        bytes
    }

    fn write_answer(&self, flow: Flow, request: Message<'_>, status: u16, out: &mut Vec<u8>) -> Option<()> {
        write::status_line(out, status);
        let mut vias = request.list(Name::Via);
        let top = Via::read(vias.next()?)?;
        out.extend_from_slice(b"Via: ");
        write::value(out, top.raw);
        if top.params.get(b"received").is_none() {
            // Writing to memory does not fail.
            let _ = write!(out, ";received={}", flow.remote.ip().to_canonical());
        }
        out.extend_from_slice(b"\r\n");
        for via in vias {
            write::header(out, "Via", via);
        }
        write::header(out, "From", request.first(Name::From)?);
        let to = request.first(Name::To)?;
        out.extend_from_slice(b"To: ");
        write::value(out, to);
        if NameAddr::read(to).is_none_or(|to| to.tag().is_none()) {
            let parts = [request.first(Name::CallId)?, request.first(Name::CSeq)?];
            let tag = self.random.seed.fingerprint(&parts) as u64;
            out.extend_from_slice(b";tag=");
            hex(out, tag, 16);
        }
        out.extend_from_slice(b"\r\n");
        write::header(out, "Call-ID", request.first(Name::CallId)?);
        write::header(out, "CSeq", request.first(Name::CSeq)?);
        match status {
            200 | 405 => write::header(out, "Allow", ALLOW),
            415 => write::header(out, "Accept-Encoding", b"identity"),
            _ => {}
        }
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        Some(())
    }
}

impl It {
    fn is_over(&self) -> bool {
        match self {
            Self::Subscription(it) => it.is_over(),
            Self::Publication(it) => it.is_over(),
        }
    }

    fn is_wanted(&self) -> bool {
        match self {
            Self::Subscription(it) => it.is_wanted(),
            Self::Publication(it) => it.is_wanted(),
        }
    }

    /// Whether a request is due or out.
    fn wants_to_send(&self) -> bool {
        match self {
            Self::Subscription(it) => it.wants_to_send(),
            Self::Publication(it) => it.wants_to_send(),
        }
    }

    fn serial(&self) -> u32 {
        match self {
            Self::Subscription(it) => it.serial(),
            Self::Publication(_) => 0,
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Subscription(it) => it.deadline(),
            Self::Publication(it) => it.deadline(),
        }
    }

    fn hop(&self, settings: &Settings) -> Option<super::hop::Hop> {
        match self {
            Self::Subscription(it) => it.hop(settings),
            Self::Publication(it) => it.hop(settings),
        }
    }

    fn standing(&self) -> Option<Standing> {
        match self {
            Self::Subscription(it) => it.standing().map(Standing::Subscription),
            Self::Publication(it) => it.standing().map(Standing::Publication),
        }
    }

    fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        match self {
            Self::Subscription(it) => it.handle_timeout(turn),
            Self::Publication(it) => it.handle_timeout(turn),
        }
    }

    fn unanswered(&mut self, cause: Cause, not_before: Option<Time>, turn: &mut Turn<'_>) {
        match self {
            Self::Subscription(it) => it.unanswered(cause, not_before, turn),
            Self::Publication(it) => it.unanswered(cause, not_before, turn),
        }
    }
}

/// Whether a message belongs to some user agent of this kind: a response to a request of ours, or a request in a
/// dialog of ours. For whoever shares a socket between this side and the server side.
pub fn is_ours(message: Message<'_>) -> bool {
    match message.start() {
        Start::Response { .. } => {
            let via = message.list(Name::Via).next().and_then(Via::read);
            via.and_then(|via| via.branch()).and_then(Branch::read).is_some()
        }
        Start::Request { .. } => {
            let to = message.first(Name::To).and_then(NameAddr::read);
            to.and_then(|to| to.tag()).and_then(Dialog::place_in_tag).is_some()
        }
    }
}

#[cfg(test)]
mod tests;
