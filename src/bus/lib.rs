//! The bus: who published what, what is therefore true of each presentity, and what has changed.
//!
//! The unit of truth is the publication: (presentity, package, source) with a fact, an entity-tag and a lease. The
//! composed state is a pure function of the live publications (and of the residues of ended ones), so it does not
//! depend on the order in which they came. No state exists without a source and a lease.
//!
//! The bus knows no package by name and no protocol. It calls nobody back: changes are collected and taken away with
//! [`Bus::take_changes`].

mod resource;
mod restart;

use ipnet::IpNet;
use lamplighter_model::counters::Gauge;
use lamplighter_model::explain::{HistoryEntry, PackageExplanation, Trace};
use lamplighter_model::hash::Map;

use lamplighter_model::package::{
    AnyFact, AnyPackage, AnyState, PackageId, Reading, Rendered, Rendering, Sourced, Stamp,
};
use lamplighter_model::wheel::{Timer, Wheel};
use lamplighter_model::{
    Change, Config, Content, Counter, Counters, EntityTag, ProfileId, Publish, PublishAction, PublishError, Published,
    Record, ResourceId, Seed, Time,
};
use resource::{Publication, Residue, Resource};
pub use restart::NotRestored;
use restart::{MOST_AHEAD, names};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long a presentity without publications and watchers is remembered, so that `explain` can say what happened.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The longest name in the history, bytes: peers choose some of them.
const MOST_WHO: usize = 256;

/// The bus of one shard.
pub struct Bus {
    config: Arc<Config>,
    counters: Arc<Counters>,
    seed: Seed,
    resources: Vec<Option<Resource>>,
    free: Vec<u32>,
    index: Map<Arc<str>, SmallVec<[(PackageId, u32); 2]>>,
    wheel: Wheel<u32>,
    /// Counts accepted publications: stamps and entity-tags.
    accepted: u64,
    publications: usize,
    changes: Vec<Changed>,
    records: Vec<Record>,
    /// Resources whose record must be saved with what is in `records`.
    ended: Vec<u32>,
    /// Resources whose record is behind, and when it is to be saved, in order.
    behind: VecDeque<(Time, u32)>,
    /// The names of packages, shared by records.
    names: Vec<Arc<str>>,
    /// Canonical addresses that somebody follows; whoever asks for it bounds their number.
    traced: Vec<Arc<str>>,
    traces: Vec<Trace>,
    /// State comes back from the store: that is no happening.
    resuming: bool,
    /// Resources of which the mirror has not been told since they came back, by number, and when it is told more.
    untold: Option<(Range<u32>, Time)>,
}

/// One change, as the shard takes it away.
#[derive(Debug)]
pub struct Changed {
    /// Whose state.
    pub resource: ResourceId,
    /// Whether watchers must be told; otherwise only readers of the mirror are (a terminated call has left).
    pub notify: bool,
    /// The new state.
    pub change: Change,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("resources", &self.index.len()).field("publications", &self.publications).finish()
    }
}

impl Bus {
    /// An empty bus. `seed` keys its maps and entity-tags.
    pub fn new(config: Arc<Config>, seed: Seed, now: Time, counters: Arc<Counters>) -> Self {
        Self {
            names: names(&config),
            config,
            counters,
            seed,
            resources: Vec::new(),
            free: Vec::new(),
            index: Map::with_hasher(seed),
            wheel: Wheel::new(now),
            accepted: 0,
            publications: 0,
            changes: Vec::new(),
            records: Vec::new(),
            ended: Vec::new(),
            behind: VecDeque::new(),
            traced: Vec::new(),
            traces: Vec::new(),
            resuming: false,
            untold: None,
        }
    }

    /// Takes a new configuration: rendered bodies are forgotten because profiles may have changed, and what packages
    /// derive from each other is derived anew. The packages must be the same ones in the same order.
    pub fn configure(&mut self, now: Time, config: Arc<Config>) {
        self.config = config;
        let packages = self.config.packages.clone();
        for number in 0..self.resources.len() {
            let Some(resource) = &mut self.resources[number] else { continue };
            resource.rendered.clear();
            let (id, package) = (ResourceId(number as u32), resource.package);
            let derives = packages.get(package).derives();
            let stale = |one: &Publication| {
                one.derived && one.source.strip_prefix("derived:").is_none_or(|origin| !derives.contains(&origin))
            };
            while let Some(place) = self.at(id).publications.iter().position(stale) {
                let source = self.end(now, id, place);
                self.compose(now, id, "derived", &source);
                self.schedule(now, id);
            }
            let Some(resource) = &self.resources[number] else { continue };
            let (address, state) = (resource.address.clone(), resource.state.clone());
            if let Some(state) = state.filter(|_| !packages.derived_from(package).is_empty()) {
                self.derive(now, &address, package, &state);
            }
        }
    }

    /// The resource of a canonical address and package, made if there is room for it.
    pub fn resource(&mut self, address: &str, package: PackageId) -> Result<ResourceId, PublishError> {
        if let Some(id) = self.find(address, package) {
            return Ok(id);
        }
        if self.resources.len() - self.free.len() >= self.config.limits.resources {
            return Err(PublishError::TooMany("presentities"));
        }
        let shared = match self.index.get_key_value(address) {
            Some((shared, _)) => shared.clone(),
            None => Arc::from(address),
        };
        Ok(self.make(&shared, package))
    }

    /// The same, whether there is room or not.
    fn make(&mut self, address: &Arc<str>, package: PackageId) -> ResourceId {
        if let Some(id) = self.find(address, package) {
            return id;
        }
        let resource = Resource::new(address.clone(), package);
        let number = match self.free.pop() {
            Some(number) => {
                self.resources[number as usize] = Some(resource);
                number
            }
            None => {
                self.resources.push(Some(resource));
                (self.resources.len() - 1) as u32
            }
        };
        self.index.entry(address.clone()).or_default().push((package, number));
        ResourceId(number)
    }

    /// The resource of a canonical address and package, if anybody publishes or watches it.
    pub fn find(&self, address: &str, package: PackageId) -> Option<ResourceId> {
        let entries = self.index.get(address)?;
        entries.iter().find(|(one, _)| *one == package).map(|&(_, number)| ResourceId(number))
    }

    /// The canonical address and the package of a resource.
    pub fn name(&self, id: ResourceId) -> (&Arc<str>, PackageId) {
        let resource = self.at(id);
        (&resource.address, resource.package)
    }

    /// Keeps a resource while somebody watches it.
    pub fn pin(&mut self, id: ResourceId) {
        self.at_mut(id).pins += 1;
    }

    /// The opposite of [`Self::pin`].
    pub fn unpin(&mut self, now: Time, id: ResourceId) {
        let resource = self.at_mut(id);
        resource.pins -= 1;
        if resource.pins == 0 {
            self.schedule(now, id);
        }
    }

    fn at(&self, id: ResourceId) -> &Resource {
        self.resources[id.0 as usize].as_ref().expect("ids are held only by whoever pins the resource")
    }

    fn at_mut(&mut self, id: ResourceId) -> &mut Resource {
        self.resources[id.0 as usize].as_mut().expect("ids are held only by whoever pins the resource")
    }

    /// Publishes. The answer is given before anybody is told: see [`Self::take_changes`].
    pub fn publish(&mut self, now: Time, publish: Publish<'_>) -> Result<Published, PublishError> {
        let result = self.try_publish(now, publish);
        if let Err(error) = &result
            && let Some(id) = self.find(publish.resource, publish.package)
        {
            let what = match error {
                PublishError::NoSuchTag => "refused: no such entity-tag",
                PublishError::BadBody(_) => "refused: bad body",
                PublishError::TooMany(_) => "refused: too many publications",
                PublishError::IntervalTooBrief { .. } => "refused: interval too brief",
                PublishError::NotStored => "refused: the store does not work",
            };
            self.note(now, id, what, publish.from.ip().to_string());
            self.schedule(now, id);
        }
        result
    }

    fn try_publish(&mut self, now: Time, publish: Publish<'_>) -> Result<Published, PublishError> {
        let packages = self.config.packages.clone();
        let package = packages.get(publish.package);
        match publish.action {
            PublishAction::Initial { content } => self.create(now, &publish, package, content, None),
            PublishAction::Put { source, content } => {
                let existing = self.find(publish.resource, publish.package).and_then(|id| {
                    let mut all = self.at(id).publications.iter();
                    all.position(|one| *one.source == *source).map(|place| (id, place))
                });
                match existing {
                    Some((id, place)) if publish.expires.is_zero() => Ok(self.withdraw(now, id, place, "withdrawn")),
                    Some((id, place)) => self.modify(now, &publish, package, id, place, content),
                    None => self.create(now, &publish, package, content, Some(source)),
                }
            }
            PublishAction::Modify { tag, content } => {
                let (id, place) = self.tagged(&publish, tag)?;
                if publish.expires.is_zero() {
                    return Ok(self.withdraw(now, id, place, "withdrawn"));
                }
                self.modify(now, &publish, package, id, place, content)
            }
            PublishAction::Refresh { tag } => {
                let (id, place) = self.tagged(&publish, tag)?;
                if publish.expires.is_zero() {
                    return Ok(self.withdraw(now, id, place, "withdrawn"));
                }
                let publication = &mut self.at_mut(id).publications[place];
                let tag = publication.tag.next();
                (publication.tag, publication.until, publication.from) = (tag, now + publish.expires, publish.from);
                publication.restored = false;
                if publication.until > publication.stored {
                    publication.stored = publication.until + publish.expires.min(MOST_AHEAD);
                    self.record(id, place);
                }
                self.counters.count(Counter::Unchanged);
                self.schedule(now, id);
                Ok(Published { tag, created: false })
            }
        }
    }

    fn tagged(&self, publish: &Publish<'_>, tag: EntityTag) -> Result<(ResourceId, usize), PublishError> {
        let id = self.find(publish.resource, publish.package).ok_or(PublishError::NoSuchTag)?;
        let mut all = self.at(id).publications.iter();
        let fits = |one: &Publication| {
            !one.derived && (one.tag == tag || one.restored && one.tag.publication() == tag.publication())
        };
        let place = all.position(fits).ok_or(PublishError::NoSuchTag)?;
        Ok((id, place))
    }

    fn next_stamp(&mut self, now: Time) -> Stamp {
        self.accepted += 1;
        Stamp { at: now, counter: self.accepted, node: 0 }
    }

    /// The first entity-tag of a publication with this stamp.
    fn first_tag(&self, stamp: Stamp) -> EntityTag {
        EntityTag(self.seed.check(stamp.at.as_micros(), stamp.counter, 0x7461_6773) & !0xffff)
    }

    fn create(
        &mut self,
        now: Time,
        publish: &Publish<'_>,
        package: &dyn AnyPackage,
        content: Content<'_>,
        source: Option<&str>,
    ) -> Result<Published, PublishError> {
        let reading = Reading { presentity: publish.resource, now, modifies: false };
        let fact = package.read(content, reading)?;
        if publish.expires.is_zero() {
            let stamp = self.next_stamp(now); // a publication that has ended before anybody saw it
            return Ok(Published { tag: self.first_tag(stamp), created: false });
        }
        let limits = self.config.limits;
        let id = self.resource(publish.resource, publish.package)?;
        let live = self.at(id).publications.iter().filter(|one| !one.derived);
        let from_here = live.clone().filter(|one| one.from.ip() == publish.from.ip()).count();
        if live.count() >= limits.publications || (!publish.trusted && from_here >= limits.publications_per_source) {
            return Err(PublishError::TooMany("publications"));
        }
        let stamp = self.next_stamp(now);
        let tag = self.first_tag(stamp);
        let source: Arc<str> = match source {
            Some(source) => source.into(),
            None => format!("pub:{:08x}", tag.0 >> 32).into(),
        };
        let resource = self.at_mut(id);
        resource.publications.push(Publication {
            source: source.clone(),
            tag,
            fact,
            stamp,
            until: now + publish.expires,
            from: publish.from,
            stored: now + publish.expires,
            restored: false,
            derived: false,
        });
        let place = resource.publications.len() - 1;
        self.publications += 1;
        self.record(id, place);
        self.compose(now, id, "published", &source);
        self.schedule(now, id);
        Ok(Published { tag, created: true })
    }

    fn modify(
        &mut self,
        now: Time,
        publish: &Publish<'_>,
        package: &dyn AnyPackage,
        id: ResourceId,
        place: usize,
        content: Content<'_>,
    ) -> Result<Published, PublishError> {
        let old = self.at(id).publications[place].fact.clone();
        let reading = Reading { presentity: publish.resource, now, modifies: true };
        let fact = package.read_over(content, &old, reading)?;
        let stamp = self.next_stamp(now);
        let residue = package.residue(&old, Some(&fact));
        let resource = self.at_mut(id);
        let publication = &mut resource.publications[place];
        let (old_stamp, source) = (publication.stamp, publication.source.clone());
        let tag = publication.tag.next();
        (publication.fact, publication.tag, publication.stamp) = (fact, tag, stamp);
        (publication.until, publication.from) = (now + publish.expires, publish.from);
        (publication.stored, publication.restored) = (publication.until, false);
        self.keep_residue(now, id, &source, old_stamp, residue, package);
        self.record(id, place);
        self.compose(now, id, "published", &source);
        self.schedule(now, id);
        Ok(Published { tag, created: false })
    }

    fn withdraw(&mut self, now: Time, id: ResourceId, place: usize, reason: &'static str) -> Published {
        let tag = self.at(id).publications[place].tag.next();
        let source = self.end(now, id, place);
        self.compose(now, id, reason, &source);
        self.schedule(now, id);
        Published { tag, created: false }
    }

    /// Takes a publication out, and keeps what must outlive it.
    fn end(&mut self, now: Time, id: ResourceId, place: usize) -> Arc<str> {
        let packages = self.config.packages.clone();
        let resource = self.at_mut(id);
        let gone = resource.publications.remove(place);
        let package = packages.get(resource.package);
        if !gone.derived {
            self.publications -= 1;
            self.record_gone(id, &gone.source);
        }
        let residue = package.residue(&gone.fact, None);
        self.keep_residue(now, id, &gone.source, gone.stamp, residue, package);
        gone.source
    }

    fn keep_residue(
        &mut self,
        now: Time,
        id: ResourceId,
        source: &Arc<str>,
        stamp: Stamp,
        residue: Option<AnyFact>,
        package: &dyn AnyPackage,
    ) {
        let Some(fact) = residue else { return };
        let most = self.config.limits.publications;
        let residues = &mut self.at_mut(id).residues;
        if residues.len() >= most {
            residues.remove(0); // the oldest: it would have left first
        }
        residues.push(Residue { source: source.clone(), stamp, fact, until: now + package.linger() });
        self.ended.push(id.0);
    }

    /// Composes anew what is true, and collects the change if there is one.
    fn compose(&mut self, now: Time, id: ResourceId, reason: &'static str, source: &Arc<str>) {
        let packages = self.config.packages.clone();
        let resource = self.resources[id.0 as usize].as_mut().expect("the caller has just used it");
        let package = packages.get(resource.package);
        let (state, again) = resource.composed(now, package);
        resource.again = again.unwrap_or(Time::NEVER);
        let said = !resource.publications.is_empty() || !resource.residues.is_empty();
        let notify = match &resource.state {
            Some(old) => package.is_change(old, &state),
            None => true,
        };
        // Watchers see the same document whether an idle phone says so or nobody says anything; the mirror tells them apart.
        let silent = !notify && resource.said != said;
        resource.state = Some(state.clone());
        resource.said = said;
        resource.rendered.clear();
        if !notify && !silent {
            self.counters.count(Counter::Unchanged);
            return;
        }
        resource.seq += 1;
        resource.untold = self.resuming && said;
        let (address, origin) = (resource.address.clone(), resource.package);
        self.counters.count(Counter::Changed);
        if !self.resuming {
            let change = Change {
                resource: address.clone(),
                package: origin,
                seq: resource.seq,
                at: now,
                source: source.clone(),
                reason,
                state: said.then(|| state.clone()),
            };
            self.note(now, id, reason, source.clone());
            self.changes.push(Changed { resource: id, notify, change });
        }
        if notify && !packages.derived_from(origin).is_empty() {
            self.derive(now, &address, origin, &state);
        }
    }

    /// Lets the packages that derive something from `origin` say so. What is derived has no lease of its own: it
    /// lives and ends with its origin.
    fn derive(&mut self, now: Time, address: &str, origin: PackageId, state: &AnyState) {
        let packages = self.config.packages.clone();
        for &target in packages.derived_from(origin) {
            let package = packages.get(target);
            let name = packages.get(origin).name();
            let fact = package.derive(name, state, now);
            let existing = self.find(address, target).and_then(|id| {
                let derived = |one: &Publication| one.derived && one.source.strip_prefix("derived:") == Some(name);
                self.at(id).publications.iter().position(derived).map(|place| (id, place))
            });
            let (id, source) = match (existing, fact) {
                (None, None) => continue,
                (Some((id, place)), Some(fact)) => {
                    if package.same_fact(&self.at(id).publications[place].fact, &fact) {
                        continue;
                    }
                    let stamp = self.next_stamp(now);
                    let publication = &mut self.at_mut(id).publications[place];
                    (publication.fact, publication.stamp) = (fact, stamp);
                    (id, publication.source.clone())
                }
                (Some((id, place)), None) => (id, self.end(now, id, place)),
                (None, Some(fact)) => {
                    let Ok(id) = self.resource(address, target) else { continue };
                    let stamp = self.next_stamp(now);
                    let source: Arc<str> = format!("derived:{name}").into();
                    self.at_mut(id).publications.push(Publication {
                        source: source.clone(),
                        tag: EntityTag::default(),
                        fact,
                        stamp,
                        until: Time::NEVER,
                        from: ([0, 0, 0, 0], 0).into(),
                        stored: Time::NEVER,
                        restored: false,
                        derived: true,
                    });
                    (id, source)
                }
            };
            self.compose(now, id, "derived", &source);
            self.schedule(now, id);
        }
    }

    /// Arms the resource's timer for whatever it wants next, and lets it go when nobody needs it.
    fn schedule(&mut self, now: Time, id: ResourceId) {
        let resource = self.resources[id.0 as usize].as_mut().expect("the caller has just used it");
        let unused = resource.pins == 0 && resource.publications.is_empty() && resource.residues.is_empty();
        let mut due = resource.deadline();
        if unused {
            if resource.seq == 0 {
                return self.forget(id);
            }
            due = now + REMEMBERED;
        }
        // An early timer is looked at when it fires; only a late one must be moved.
        match resource.timer {
            Some((at, _)) if at <= due => return,
            Some((_, timer)) => self.wheel.cancel(timer),
            None => {}
        }
        let resource = self.resources[id.0 as usize].as_mut().expect("the caller has just used it");
        resource.timer = (due != Time::NEVER).then(|| (due, self.wheel.arm(due, id.0)));
    }

    fn forget(&mut self, id: ResourceId) {
        let Some(resource) = self.resources[id.0 as usize].take() else { return };
        self.record_forgotten(&resource);
        if let Some((_, timer)) = resource.timer {
            self.wheel.cancel(timer);
        }
        if let Some(entries) = self.index.get_mut(&resource.address) {
            entries.retain(|(_, number)| *number != id.0);
            if entries.is_empty() {
                self.index.remove(&resource.address);
            }
        }
        self.free.push(id.0);
    }

    /// Ends what is due at `now`.
    pub fn advance(&mut self, now: Time) {
        let mut due: SmallVec<[u32; 16]> = SmallVec::new();
        self.wheel.advance(now, |number| due.push(number));
        for &number in &due {
            if let Some(resource) = self.resources[number as usize].as_mut() {
                resource.timer = None;
            }
        }
        for number in due {
            self.due(now, ResourceId(number));
        }
        self.record_behind(now);
        self.tell_restored(now);
    }

    fn due(&mut self, now: Time, id: ResourceId) {
        let Some(resource) = self.resources[id.0 as usize].as_mut() else { return };
        let unused = resource.pins == 0 && resource.publications.is_empty() && resource.residues.is_empty();
        if unused {
            return self.forget(id);
        }
        let mut reason = None;
        while let Some(place) = self.at(id).publications.iter().position(|one| one.until <= now) {
            reason = Some(("expired", self.end(now, id, place)));
            self.counters.count(Counter::Expired);
        }
        let packages = self.config.packages.clone();
        let resource = self.at_mut(id);
        let residues = resource.residues.len();
        let prolonged = resource.end_residues(now, packages.get(resource.package));
        if prolonged || resource.residues.len() < residues {
            self.is_behind(now, id);
        }
        let resource = self.at(id);
        if reason.is_none() && (resource.residues.len() < residues || resource.again <= now) {
            reason = Some(("lingered", "time".into()));
        }
        if let Some((reason, source)) = reason {
            self.compose(now, id, reason, &source);
        }
        self.schedule(now, id);
    }

    /// When [`Self::advance`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        let behind = self.behind.front().map(|&(due, _)| due);
        let untold = self.untold.as_ref().map(|&(_, due)| due);
        [self.wheel.deadline(), behind, untold].into_iter().flatten().min()
    }

    /// What has changed since the last call, in order.
    pub fn take_changes(&mut self, into: &mut Vec<Changed>) {
        into.append(&mut self.changes);
    }

    /// Whether [`Self::take_changes`] has anything.
    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Records for the store since the last call, in order.
    pub fn take_records(&mut self) -> std::vec::Drain<'_, Record> {
        self.record_ended();
        self.records.drain(..)
    }

    /// How many records [`Self::take_records`] has at least.
    pub fn unsaved(&self) -> usize {
        self.records.len()
    }

    /// A publication could not be saved, and its publisher is told so. A new one ends; of an older one the publisher
    /// does not know the newest tag, so that any of its tags will do next time.
    pub fn undo(&mut self, now: Time, address: &str, package: PackageId, tag: EntityTag, created: bool) {
        let Some(id) = self.find(address, package) else { return };
        // It may have been modified since, which then was not promised either.
        let fits = |one: &Publication| one.tag.publication() == tag.publication() && !one.derived;
        let Some(place) = self.at(id).publications.iter().position(fits) else { return };
        if created {
            self.withdraw(now, id, place, "undone: not stored");
        } else {
            self.at_mut(id).publications[place].restored = true;
        }
    }

    /// The body for watchers of one rendering, made once for all of them.
    pub fn body(&mut self, now: Time, id: ResourceId, how: Rendering) -> Arc<Rendered> {
        let config = &self.config;
        let resource = self.resources[id.0 as usize].as_mut().expect("ids are held only by whoever pins the resource");
        if let Some((_, rendered)) = resource.rendered.iter().find(|(one, _)| *one == how) {
            return rendered.clone();
        }
        let package = config.packages.get(resource.package);
        if resource.state.is_none() {
            let (state, again) = resource.composed(now, package);
            resource.again = again.unwrap_or(Time::NEVER);
            resource.state = Some(state);
        }
        let state = resource.state.as_ref().expect("composed above");
        let mut bytes = Vec::with_capacity(512);
        let profile = config.profiles.get(ProfileId(how.profile));
        let cuts = package.write(&resource.address, state, how, profile, &mut bytes);
        let rendered = Arc::new(Rendered { bytes: bytes.into(), cuts });
        if resource.rendered.len() >= 16 {
            resource.rendered.remove(0);
        }
        resource.rendered.push((how, rendered.clone()));
        rendered
    }

    /// Begins or ends following a canonical address.
    pub fn follow(&mut self, address: Arc<str>, on: bool) {
        self.traced.retain(|one| *one != address);
        if on {
            self.traced.push(address);
        }
    }

    /// Whether anybody follows anything.
    pub fn tracing(&self) -> bool {
        !self.traced.is_empty()
    }

    /// Tells whoever follows this canonical address what has happened.
    pub fn trace(&mut self, now: Time, address: &str, what: &'static str, detail: String) {
        if let Some(resource) = self.traced.iter().find(|one| ***one == *address) {
            self.traces.push(Trace { resource: resource.clone(), at: now, what: Cow::Borrowed(what), detail });
        }
    }

    /// What there is to tell since the last call.
    pub fn take_traces(&mut self) -> std::vec::Drain<'_, Trace> {
        self.traces.drain(..)
    }

    /// Writes a happening into the resource's short history.
    pub fn note(&mut self, now: Time, id: ResourceId, what: &'static str, who: impl Into<Arc<str>>) {
        let who: Arc<str> = who.into();
        if self.tracing() {
            let (address, package) = self.name(id);
            let (address, kind) = (address.clone(), self.config.packages.get(package).kind());
            let state = self.at(id).state.as_ref().map(|state| self.config.packages.get(package).describe(state));
            let detail = format!("{kind} by {who}; now {}", state.as_deref().unwrap_or("unknown"));
            self.trace(now, &address, what, detail);
        }
        let most = self.config.limits.history;
        let history = &mut self.at_mut(id).history;
        if history.len() >= most {
            history.pop_front();
        }
        if most > 0 {
            let mut who = who;
            if who.len() > MOST_WHO {
                let end = (0..=MOST_WHO).rev().find(|at| who.is_char_boundary(*at)).unwrap_or(0);
                who = who[..end].into();
            }
            history.push_back(HistoryEntry { at: now, what: Cow::Borrowed(what), who });
            self.is_behind(now, id);
        }
    }

    /// What the bus knows about an address: one entry a package, watchers left to the protocols.
    pub fn explain(&self, now: Time, address: &str) -> Vec<(ResourceId, PackageExplanation)> {
        let entries = self.index.get(address).map_or(&[][..], |entries| entries);
        let mut entries: Vec<_> = entries.to_vec();
        entries.sort_unstable();
        let explain = |&(package, number): &(PackageId, u32)| {
            let id = ResourceId(number);
            (id, self.at(id).explain(now, self.config.packages.get(package)))
        };
        entries.iter().map(explain).collect()
    }

    /// What is true by our own sources alone: without what `remote:` sources say, or whoever publishes from one of these
    /// networks, or what is derived from that. `None`: they say nothing. What has ended keeps nobody from saying so
    /// any more once its last source is gone.
    pub fn own(&self, now: Time, address: &str, package: PackageId, except: &[IpNet]) -> Option<AnyState> {
        let resource = self.at(self.find(address, package)?);
        let packages = &self.config.packages;
        let learned = |source: &str| source.starts_with("remote:");
        let excepted = |from: IpAddr| except.iter().any(|net| net.contains(&from.to_canonical()));
        let mut facts: SmallVec<[(&Arc<str>, Stamp, AnyFact); 4]> = SmallVec::new();
        for one in &resource.publications {
            let fact = match one.source.strip_prefix("derived:").filter(|_| one.derived) {
                Some(name) => packages.find(name.as_bytes()).and_then(|origin| {
                    let state = self.own(now, address, origin, except)?;
                    packages.get(package).derive(name, &state, now)
                }),
                None => (!learned(&one.source) && !excepted(one.from.ip())).then(|| one.fact.clone()),
            };
            facts.extend(fact.map(|fact| (&one.source, one.stamp, fact)));
        }
        if facts.is_empty() {
            return None;
        }
        let live = facts.iter().map(|(source, stamp, fact)| Sourced { source, stamp: *stamp, live: true, fact });
        let ended = resource.residues.iter().filter(|one| !learned(&one.source)).map(|one| Sourced {
            source: &one.source,
            stamp: one.stamp,
            live: false,
            fact: &one.fact,
        });
        let sources: SmallVec<[Sourced<'_, AnyFact>; 4]> = live.chain(ended).collect();
        Some(packages.get(package).compose(now, &resource.address, &sources).state)
    }

    /// All live publications (not derived ones) as (address, package, source), for leak checks.
    pub fn publications(&self) -> impl Iterator<Item = (&Arc<str>, PackageId, &Arc<str>)> {
        self.resources.iter().flatten().flat_map(|resource| {
            let live = resource.publications.iter().filter(|one| !one.derived);
            live.map(move |one| (&resource.address, resource.package, &one.source))
        })
    }

    /// Sets the gauges.
    pub fn measure(&self) {
        self.counters.set(Gauge::Publications, self.publications);
        self.counters.set(Gauge::Resources, self.resources.len() - self.free.len());
    }
}

/// The armed timer of a resource.
type Armed = Option<(Time, Timer)>;
