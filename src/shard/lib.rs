//! A shard: everything that concerns its presentities, in one place and in order.
//!
//! It is a plain value without threads, sockets or a clock. What happens goes into [`Shard::handle`], what must be
//! done comes out in an [`Outbox`]. The gateway runs one shard a core; a test runs one, or several, in simulated time.

mod host;

use host::BusHost;
use lamplighter_bus::{Bus, Changed};
use lamplighter_model::config::Limits;
use lamplighter_model::explain::{Explanation, WatcherExplanation, WatcherRow};
use lamplighter_model::{
    Answer, Command, Config, Counter, Counters, Durability, Expires, Flow, Input, Outbox, Output, OwnState,
    OwnedAction, PackageId, Publish, PublishAction, PublishCommand, PublishError, Published, PublishedLease, Record,
    RemoteAnswer, Renewal, ResourceId, Seed, Time,
};
use lamplighter_sip::Engine;
use lamplighter_sip::route::{Routed, route};
use lamplighter_sip::wire::{Index, keep_alive};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One shard.
#[derive(Debug)]
pub struct Shard {
    config: Arc<Config>,
    number: u8,
    counters: Arc<Counters>,
    bus: Bus,
    engine: Engine,
    /// Scratch: where the headers of the message at hand stand.
    index: Index,
    /// Scratch: the canonical address that it is for.
    address: String,
    /// Scratch: what has changed.
    changes: Vec<Changed>,
    /// What the engine wants to be saved.
    records: Vec<Record>,
    /// How many records have been handed to the store.
    saves: u64,
    /// Answers to commands that wait for the store.
    answers: VecDeque<HeldAnswer>,
    /// The store does not work.
    failing: bool,
}

/// How long the store may take over what a command publishes.
const PATIENCE: Duration = Duration::from_secs(4);

/// An answer to a command that waits for the store.
#[derive(Debug)]
struct HeldAnswer {
    number: u64,
    until: Time,
    durability: Durability,
    ticket: u64,
    command: Box<PublishCommand>,
    lease: PublishedLease,
}

/// Why a record was not taken back.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotRestored {
    /// What it tells of has ended meanwhile; the store is told.
    #[error("it has ended meanwhile")]
    Lapsed,
    /// The configuration has no such package; the record stays in the store.
    #[error("there is no such package")]
    NoSuchPackage,
    /// It makes no sense to whoever wrote it; the record stays in the store.
    #[error("it cannot be read")]
    Unreadable,
}

impl From<lamplighter_bus::NotRestored> for NotRestored {
    fn from(error: lamplighter_bus::NotRestored) -> Self {
        match error {
            lamplighter_bus::NotRestored::NoSuchPackage => Self::NoSuchPackage,
            lamplighter_bus::NotRestored::Unreadable => Self::Unreadable,
        }
    }
}

impl Shard {
    /// Shard `number` of `config.shards`. `seed` keys maps and fingerprints; it is the same for all shards of a store
    /// and after each restart. `secret` makes tags unguessable and is another each time. Equal arguments and equal
    /// inputs make equal outputs.
    pub fn new(
        config: Arc<Config>,
        number: u8,
        seed: Seed,
        secret: [u8; 32],
        now: Time,
        counters: Arc<Counters>,
    ) -> Self {
        let mut secret = secret;
        secret[0] ^= number; // shards of one gateway must not make equal tags
        let config = Arc::new(Config::clone(&config)); // a copy of its own, so that counting clones is nobody else's
        Self {
            bus: Bus::new(config.clone(), seed, now, counters.clone()),
            engine: Engine::new(config.clone(), seed, secret, now, counters.clone()),
            config,
            number,
            counters,
            index: Index::default(),
            address: String::new(),
            changes: Vec::new(),
            records: Vec::new(),
            saves: 0,
            answers: VecDeque::new(),
            failing: false,
        }
    }

    /// Takes a record back from the store, before anything else is handled. Afterwards comes [`Self::resume`].
    pub fn restore(&mut self, now: Time, record: Record) -> Result<(), NotRestored> {
        match record {
            Record::Publication(record) => {
                let gone = || Record::PublicationGone {
                    resource: record.resource.clone(),
                    package: record.package.clone(),
                    source: record.source.clone(),
                };
                // One whose package is there ends at `resume`, and is told.
                if record.until <= now && self.config.packages.find(record.package.as_bytes()).is_none() {
                    self.records.push(gone());
                    return Err(NotRestored::Lapsed);
                }
                self.counters.count(Counter::PublicationRestored);
                Ok(self.bus.restore_publication(*record)?)
            }
            Record::Resource(record) => Ok(self.bus.restore_resource(*record)?),
            Record::Subscription(record) => {
                if record.until <= now {
                    self.records.push(Record::SubscriptionGone { local_tag: record.local_tag.clone() });
                    return Err(NotRestored::Lapsed);
                }
                let package = self.config.packages.find(record.package.as_bytes());
                let package = package.ok_or(NotRestored::NoSuchPackage)?;
                let resource = self.bus.restored(&record.resource, package);
                self.engine.restore(resource, package, &record).map_err(|_| NotRestored::Unreadable)?;
                self.bus.pin(resource);
                self.counters.count(Counter::SubscriptionRestored);
                Ok(())
            }
            Record::PublicationGone { .. }
            | Record::ResourceGone { .. }
            | Record::SubscriptionGone { .. }
            | Record::Standing { .. }
            | Record::StandingGone { .. } => Ok(()),
        }
    }

    /// Everything is back: what has lapsed meanwhile ends. What follows from it comes out of the next
    /// [`Self::handle`].
    pub fn resume(&mut self, now: Time) {
        let mut lapsed = Vec::new();
        self.bus.resume(now, &mut lapsed);
        let (bus, engine) = (&self.bus, &mut self.engine);
        engine.resume(now, |resource| match lapsed.binary_search(&resource) {
            Ok(_) => 0,
            Err(_) if bus.is_said(resource) => 1,
            Err(_) => 2,
        });
        let mut host = BusHost { bus: &mut self.bus, records: &mut self.records };
        self.engine.authorize(now, &mut host);
    }

    /// Applies one input; what must be done about it lands in `out`.
    pub fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outbox) {
        self.bus.advance(now);
        self.settle();
        let mut held = None;
        match input {
            Input::Datagram { flow, bytes, age } => self.datagram(now, flow, bytes, age, out),
            Input::Closed(flow) => {
                let mut host = BusHost { bus: &mut self.bus, records: &mut self.records };
                self.engine.closed(now, flow, &mut host);
            }
            Input::Resolved { query, targets, .. } => {
                let mut host = BusHost { bus: &mut self.bus, records: &mut self.records };
                self.engine.resolved(now, query, targets, &mut host);
            }
            Input::Command { ticket, command } => match self.command(now, ticket, command) {
                Ok(answer) => out.outputs.push(Output::Answer { ticket, answer }),
                Err(waits) => held = Some(waits),
            },
            Input::Config(config) => self.configure(now, &config),
            Input::Stop => {
                self.engine.stop(now);
                self.bus.record_all();
            }
            Input::Saved { written, committed } => {
                let mut host = BusHost { bus: &mut self.bus, records: &mut self.records };
                self.engine.saved(now, written, committed, &mut host, out);
                self.saved(written, committed, out);
            }
            Input::StoreFailing(failing) => {
                self.failing = failing;
                let mut host = BusHost { bus: &mut self.bus, records: &mut self.records };
                self.engine.store_failing(now, failing, &mut host, out);
                if failing {
                    self.fail_answers(now, Time::NEVER, out);
                }
            }
            Input::Asked { .. } | Input::Heard(_) | Input::Tick => {}
        }
        if self.answers.front().is_some_and(|front| front.until <= now) {
            self.fail_answers(now, now, out);
        }
        self.settle();
        let mut host = BusHost { bus: &mut self.bus, records: &mut self.records };
        self.engine.work(now, &mut host, out);
        self.bus.measure();
        // Records before changes: what is told to others has been handed to the store.
        for record in self.bus.take_records().chain(self.records.drain(..)) {
            self.saves += 1;
            out.outputs.push(Output::Save { number: self.saves, record });
        }
        out.outputs.extend(self.bus.take_traces().map(Output::Trace));
        self.engine.seal(self.saves);
        self.answers.extend(held.map(|held| HeldAnswer { number: self.saves, ..held }));
        out.outputs.extend(self.changes.drain(..).map(|changed| Output::Change(changed.change)));
    }

    /// When [`Self::handle`] wants an [`Input::Tick`] although nothing has happened.
    pub fn deadline(&self) -> Option<Time> {
        let held = self.answers.front().map(|held| held.until);
        [self.bus.deadline(), self.engine.deadline(), held].into_iter().flatten().min()
    }

    /// Tells the engine what has changed on the bus.
    fn settle(&mut self) {
        let from = self.changes.len();
        self.bus.take_changes(&mut self.changes);
        for changed in &self.changes[from..] {
            if changed.notify {
                self.engine.changed(changed.resource);
            }
        }
    }

    fn datagram(&mut self, now: Time, flow: Flow, bytes: &[u8], age: Duration, out: &mut Outbox) {
        if keep_alive(bytes) {
            return;
        }
        let limits = wire_limits(&self.config.limits);
        let message = match self.index.read(bytes, flow.transport.is_stream(), &limits) {
            Ok(message) => message,
            Err(reject) => return self.engine.rejected(flow, &reject, out),
        };
        let routed = route(message, &self.config.addresses, &mut self.address);
        if let Some(owner) = routed.slot().map(|slot| slot.shard(self.config.shards))
            && owner != self.number
        {
            out.outputs.push(Output::Forward { shard: owner, in_dialog: routed.is_in_dialog() });
            return;
        }
        let mut host = BusHost { bus: &mut self.bus, records: &mut self.records };
        self.engine.message(now, flow, age, message, &routed, &self.address, &mut host, out);
    }

    /// Publishes for an adapter; `Err`: the answer must wait for the store.
    fn publish_held(
        &mut self,
        now: Time,
        ticket: u64,
        command: Box<PublishCommand>,
    ) -> Result<Result<PublishedLease, PublishError>, HeldAnswer> {
        let durability = self.config.store.map_or(Durability::Memory, |store| store.publications);
        if self.failing || self.answers.len() >= self.config.limits.held {
            return Ok(Err(PublishError::NotStored));
        }
        let before = self.bus.unsaved();
        match self.publish(now, &command) {
            Ok(lease) if durability != Durability::Memory && self.bus.unsaved() > before => {
                Err(HeldAnswer { number: 0, until: now + PATIENCE, durability, ticket, command, lease })
            }
            published => Ok(published),
        }
    }

    /// Records up to these numbers are safe.
    fn saved(&mut self, written: u64, committed: u64, out: &mut Outbox) {
        let safe =
            |held: &HeldAnswer| held.number <= if held.durability == Durability::Commit { committed } else { written };
        while self.answers.front().is_some_and(safe) {
            let Some(HeldAnswer { ticket, lease, .. }) = self.answers.pop_front() else { return };
            out.outputs.push(Output::Answer { ticket, answer: Answer::Published(Ok(lease)) });
        }
    }

    /// The store does not keep what was published: publishers are told so.
    fn fail_answers(&mut self, now: Time, due: Time, out: &mut Outbox) {
        while self.answers.front().is_some_and(|held| held.until <= due) {
            let Some(HeldAnswer { ticket, lease, command, .. }) = self.answers.pop_front() else { return };
            self.bus.undo(now, &command.resource, command.package, lease.tag, lease.created);
            let answer = Answer::Published(Err(PublishError::NotStored));
            out.outputs.push(Output::Answer { ticket, answer });
        }
    }

    /// Answers a command; `Err`: the answer must wait for the store.
    fn command(&mut self, now: Time, ticket: u64, command: Command) -> Result<Answer, HeldAnswer> {
        Ok(match command {
            Command::Publish(command) => Answer::Published(self.publish_held(now, ticket, command)?),
            Command::Renew(all) => Answer::Renewed(all.into_iter().map(|one| self.renew(now, one)).collect()),
            Command::Explain { resource } => {
                let packages = self.bus.explain(now, &resource).into_iter().map(|(id, mut explanation)| {
                    explanation.watchers = self.engine.explain(id);
                    explanation
                });
                let packages = packages.collect();
                Answer::Explain(Box::new(Explanation { resource: resource.to_string(), packages }))
            }
            Command::Watchers { resource: None, from, most } => {
                let (rows, next) = self.engine.list(from, most);
                let row = |(resource, package, watcher)| self.row(resource, package, watcher);
                Answer::Watchers { rows: rows.into_iter().map(row).collect(), next }
            }
            Command::Watchers { resource: Some(address), most, .. } => {
                let watchers = self.resources(&address).into_iter().flat_map(|(package, resource)| {
                    let watchers = self.engine.explain(resource).into_iter();
                    watchers.map(move |watcher| (resource, package, watcher))
                });
                let rows = watchers.take(most).map(|(resource, package, watcher)| self.row(resource, package, watcher));
                Answer::Watchers { rows: rows.collect(), next: None }
            }
            Command::Refresh { resource } => {
                let resources = self.resources(&resource);
                Answer::Refreshed(resources.into_iter().map(|(_, id)| self.engine.refresh(id)).sum())
            }
            Command::Own { resource, package, except } => {
                Answer::Own(OwnState(self.bus.own(now, &resource, package, &except)))
            }
            Command::Restored => Answer::Restored(self.bus.has_told_restored()),
            // It is for the machine beside the shards.
            Command::Remote(_) => Answer::Remote(RemoteAnswer::Unknown),
            Command::Trace { resource, on } => {
                self.bus.follow(resource, on);
                Answer::Traced
            }
        })
    }

    fn resources(&self, address: &str) -> Vec<(PackageId, ResourceId)> {
        let ids = self.config.packages.ids();
        ids.filter_map(|package| self.bus.find(address, package).map(|id| (package, id))).collect()
    }

    fn row(&self, resource: ResourceId, package: PackageId, watcher: WatcherExplanation) -> WatcherRow {
        let kind = self.config.packages.get(package).kind().to_owned();
        WatcherRow { resource: self.bus.name(resource).0.clone(), kind, watcher }
    }

    fn publish(&mut self, now: Time, command: &PublishCommand) -> Result<PublishedLease, PublishError> {
        let PublishCommand { resource, package, action, expires, from } = command;
        let Expires { default, least, most } = self.config.packages.expires(*package);
        let withdraws = matches!(action, OwnedAction::Withdraw(_));
        let asked = if withdraws { Duration::ZERO } else { expires.unwrap_or(default) };
        let news = matches!(action, OwnedAction::Modify(..));
        if !asked.is_zero() && asked < least && !news {
            return Err(PublishError::IntervalTooBrief { least });
        }
        let expires = asked.min(most);
        let action = match action {
            OwnedAction::Initial(content) => PublishAction::Initial { content: content.borrow() },
            OwnedAction::Modify(tag, content) => PublishAction::Modify { tag: *tag, content: content.borrow() },
            OwnedAction::Refresh(tag) | OwnedAction::Withdraw(tag) => PublishAction::Refresh { tag: *tag },
            OwnedAction::Put(source, content) => PublishAction::Put { source, content: content.borrow() },
        };
        // Whoever may use the API has been told apart there; caps on network addresses would meet all of them at once.
        let publish = Publish { resource, package: *package, action, expires, from: *from, trusted: true };
        let Published { tag, created } = self.bus.publish(now, publish)?;
        Ok(PublishedLease { tag, created, expires })
    }

    fn renew(&mut self, now: Time, renewal: Renewal) -> Result<PublishedLease, PublishError> {
        let Renewal { resource, package, tag, expires } = renewal;
        let (action, from) = (OwnedAction::Refresh(tag), SocketAddr::from(([0, 0, 0, 0], 0)));
        self.publish(now, &PublishCommand { resource, package, action, expires: Some(expires), from })
    }

    fn configure(&mut self, now: Time, config: &Arc<Config>) {
        let config = Arc::new(Config::clone(config));
        self.config = config.clone();
        self.bus.configure(now, config.clone());
        let mut host = BusHost { bus: &mut self.bus, records: &mut self.records };
        self.engine.configure(now, config, &mut host);
    }

    /// Whether nothing is left to be done after [`Input::Stop`].
    pub fn is_through(&self) -> bool {
        self.engine.is_through() && self.answers.is_empty()
    }

    /// How many subscriptions and live publications there are, for leak checks.
    pub fn load(&self) -> (usize, usize) {
        (self.engine.subscriptions(), self.bus.publications().count())
    }
}

/// Whose is this message, for readers that have no shard: the number of the owner, or `None` if any will do.
pub fn owner(bytes: &[u8], stream: bool, config: &Config) -> Option<u8> {
    let mut index = Index::default();
    let message = index.read(bytes, stream, &wire_limits(&config.limits)).ok()?;
    let routed: Routed = route(message, &config.addresses, &mut String::new());
    routed.slot().map(|slot| slot.shard(config.shards))
}

fn wire_limits(limits: &Limits) -> lamplighter_sip::wire::Limits {
    lamplighter_sip::wire::Limits { head: limits.head, headers: limits.headers, body: limits.body }
}
