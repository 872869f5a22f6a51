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
    Answer, Command, Config, Counters, Expires, Flow, Input, Outbox, Output, OwnedAction, PackageId, Publish,
    PublishAction, PublishCommand, PublishError, Published, PublishedLease, Record, ResourceId, Seed, Time,
};
use lamplighter_sip::Engine;
use lamplighter_sip::route::{Routed, route};
use lamplighter_sip::wire::{Index, keep_alive};
use std::sync::Arc;
use std::time::Duration;

/// One shard.
#[derive(Debug)]
pub struct Shard {
    config: Arc<Config>,
    number: u8,
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
}

impl Shard {
    /// Shard `number` of `config.shards`. `secret` keys its maps and makes its tags unguessable; equal secrets and
    /// equal inputs make equal outputs.
    pub fn new(config: Arc<Config>, number: u8, secret: [u8; 32], now: Time, counters: Arc<Counters>) -> Self {
        let mut secret = secret;
        secret[0] ^= number; // shards of one gateway must not make equal tags
        let half = |from: usize| u64::from_le_bytes(std::array::from_fn(|at| secret[from + at]));
        let seed = Seed(half(0), half(8));
        let config = Arc::new(Config::clone(&config)); // a copy of its own, so that counting clones is nobody else's
        Self {
            bus: Bus::new(config.clone(), seed, now, counters.clone()),
            engine: Engine::new(config.clone(), seed, secret, now, counters.clone()),
            config,
            number,
            index: Index::default(),
            address: String::new(),
            changes: Vec::new(),
            records: Vec::new(),
            saves: 0,
        }
    }

    /// Applies one input; what must be done about it lands in `out`.
    pub fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outbox) {
        self.bus.advance(now);
        self.settle();
        match input {
            Input::Datagram { flow, bytes, age } => self.datagram(now, flow, bytes, age, out),
            Input::Closed(flow) => {
                let mut host = BusHost { bus: &mut self.bus, records: &mut self.records };
                self.engine.closed(now, flow, &mut host);
            }
            Input::Resolved { query, targets } => {
                let mut host = BusHost { bus: &mut self.bus, records: &mut self.records };
                self.engine.resolved(now, query, targets, &mut host);
            }
            Input::Command { ticket, command } => {
                let answer = self.command(now, command);
                out.outputs.push(Output::Answer { ticket, answer });
            }
            Input::Config(config) => self.configure(now, &config),
            Input::Stop => self.engine.stop(now),
            Input::Saved { .. } | Input::StoreFailing(_) | Input::Tick => {}
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
        out.outputs.extend(self.changes.drain(..).map(|changed| Output::Change(changed.change)));
    }

    /// When [`Self::handle`] wants an [`Input::Tick`] although nothing has happened.
    pub fn deadline(&self) -> Option<Time> {
        match (self.bus.deadline(), self.engine.deadline()) {
            (Some(bus), Some(engine)) => Some(bus.min(engine)),
            (bus, engine) => bus.or(engine),
        }
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

    fn command(&mut self, now: Time, command: Command) -> Answer {
        match command {
            Command::Explain { resource } => {
                let packages = self.bus.explain(now, &resource).into_iter().map(|(id, mut explanation)| {
                    explanation.watchers = self.engine.explain(id);
                    explanation
                });
                let packages = packages.collect();
                Answer::Explain(Box::new(Explanation { resource: resource.to_string(), packages }))
            }
            Command::Publish(command) => Answer::Published(self.publish(now, &command)),
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
            Command::Trace { .. } => Answer::Traced,
        }
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
        if !asked.is_zero() && asked < least {
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

    fn configure(&mut self, now: Time, config: &Arc<Config>) {
        let config = Arc::new(Config::clone(config));
        self.config = config.clone();
        self.bus.configure(now, config.clone());
        let mut host = BusHost { bus: &mut self.bus, records: &mut self.records };
        self.engine.configure(now, config, &mut host);
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
