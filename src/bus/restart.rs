//! What the bus tells the store, and how it comes back after a restart.
//!
//! A publication is recorded when it says something new, or when its lease outgrows the recorded one. What outlives
//! publications (residues, the short history) has a record of its own: saved at once when something has ended, since
//! that must stay ended, and otherwise half a minute late.

use crate::resource::{Publication, Residue, Resource};
use crate::{Bus, Changed};
use bytes::Bytes;
use lamplighter_model::package::{AnyFact, AnyPackage};
use lamplighter_model::record::{PublicationRecord, ResidueRecord, ResourceRecord};
use lamplighter_model::{Change, Config, PackageId, Record, ResourceId, Time};
use std::sync::Arc;
use std::time::Duration;

/// How far beyond a refreshed lease the store is told at most, so that the next refresh need not tell it again. After a
/// kill, what nobody refreshes any more may stay so much longer.
pub(crate) const MOST_AHEAD: Duration = Duration::from_secs(64);

/// After a restart so many resources that came back are looked at so often, to tell the mirror of them: all at once
/// would take as much memory as the resources themselves, and hold up what comes in.
const TELL: (Duration, usize) = (Duration::from_millis(1), 512);

/// How late the history is saved.
const LATE: Duration = Duration::from_secs(30);

/// The largest count that is believed; no bus counts that far.
const MOST_COUNTED: u64 = u64::MAX >> 1;

/// Why a record was not taken back; it stays in the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotRestored {
    /// The configuration has no such package.
    #[error("there is no such package")]
    NoSuchPackage,
    /// It was written by something else, or is damaged.
    #[error("its package cannot read it")]
    Unreadable,
}

/// The names of packages by number.
pub(crate) fn names(config: &Config) -> Vec<Arc<str>> {
    config.packages.ids().map(|id| config.packages.get(id).name().into()).collect()
}

fn pack(package: &dyn AnyPackage, fact: &AnyFact) -> Bytes {
    let mut packed = Vec::with_capacity(256);
    package.pack(fact, &mut packed);
    packed.into()
}

impl Bus {
    fn package_name(&self, package: PackageId) -> Arc<str> {
        self.names[usize::from(package.0)].clone()
    }

    /// Tells the store what a publication says now.
    pub(crate) fn record(&mut self, id: ResourceId, place: usize) {
        if self.config.store.is_none() {
            return;
        }
        let resource = self.at(id);
        let one = &resource.publications[place];
        let record = PublicationRecord {
            resource: resource.address.clone(),
            package: self.package_name(resource.package),
            source: one.source.clone(),
            entity_tag: one.tag,
            stamp: one.stamp,
            until: one.stored,
            fact: pack(self.config.packages.get(resource.package), &one.fact),
            from: one.from,
        };
        self.records.push(Record::Publication(Box::new(record)));
    }

    pub(crate) fn record_gone(&mut self, id: ResourceId, source: &Arc<str>) {
        if self.config.store.is_some() {
            let resource = self.at(id);
            let (address, package) = (resource.address.clone(), self.package_name(resource.package));
            self.records.push(Record::PublicationGone { resource: address, package, source: source.clone() });
        }
    }

    /// The record of a resource is not what it should be; it is saved soon.
    pub(crate) fn is_behind(&mut self, now: Time, id: ResourceId) {
        if self.config.store.is_none() {
            return;
        }
        let resource = self.at_mut(id);
        if !std::mem::replace(&mut resource.behind, true) {
            self.behind.push_back((now + LATE, id.0));
        }
    }

    /// Saves the records that have been behind for long enough.
    pub(crate) fn record_behind(&mut self, now: Time) {
        while let Some(&(due, number)) = self.behind.front()
            && due <= now
        {
            self.behind.pop_front();
            self.record_resource(number);
        }
    }

    /// Saves the records of resources where something has ended.
    pub(crate) fn record_ended(&mut self) {
        if self.ended.is_empty() {
            return;
        }
        let mut ended = std::mem::take(&mut self.ended);
        if self.config.store.is_some() {
            ended.sort_unstable();
            ended.dedup();
            for &number in &ended {
                if let Some(resource) = &mut self.resources[number as usize] {
                    resource.behind = true;
                }
                self.record_resource(number);
            }
        }
        ended.clear();
        self.ended = ended;
    }

    fn record_resource(&mut self, number: u32) {
        // The number may have been given to another resource since.
        let Some(resource) = self.resources[number as usize].as_mut().filter(|one| one.behind) else { return };
        (resource.behind, resource.recorded) = (false, true);
        let resource = self.at(ResourceId(number));
        let package = self.config.packages.get(resource.package);
        let residue = |one: &Residue| ResidueRecord {
            source: one.source.clone(),
            stamp: one.stamp,
            until: one.until,
            fact: pack(package, &one.fact),
        };
        let record = ResourceRecord {
            resource: resource.address.clone(),
            package: self.package_name(resource.package),
            seq: resource.seq,
            residues: resource.residues.iter().map(residue).collect(),
            history: resource.history.iter().cloned().collect(),
        };
        self.records.push(Record::Resource(Box::new(record)));
    }

    pub(crate) fn record_forgotten(&mut self, resource: &Resource) {
        if resource.recorded && self.config.store.is_some() {
            let package = self.package_name(resource.package);
            self.records.push(Record::ResourceGone { resource: resource.address.clone(), package });
        }
    }

    /// The gateway is about to stop: tells the store what it has not been told yet, so that leases end after the
    /// restart when they should.
    pub fn record_all(&mut self) {
        if self.config.store.is_none() {
            return;
        }
        for number in 0..self.resources.len() {
            let id = ResourceId(number as u32);
            let Some(resource) = &self.resources[number] else { continue };
            for place in 0..resource.publications.len() {
                let one = &mut self.at_mut(id).publications[place];
                if one.stored > one.until && !one.derived {
                    one.stored = one.until;
                    self.record(id, place);
                }
            }
            self.record_resource(id.0);
        }
        self.behind.clear();
    }

    /// Takes a publication back from the store. Nothing is composed until [`Self::resume`].
    pub fn restore_publication(&mut self, record: PublicationRecord) -> Result<(), NotRestored> {
        let id = self.restored_by_name(&record.resource, &record.package)?;
        let package = self.config.packages.get(self.at(id).package);
        let fact = package.unpack(&record.fact).ok_or(NotRestored::Unreadable)?;
        if record.stamp.counter > MOST_COUNTED {
            return Err(NotRestored::Unreadable);
        }
        self.accepted = self.accepted.max(record.stamp.counter);
        self.publications += 1;
        self.at_mut(id).publications.push(Publication {
            source: record.source,
            tag: record.entity_tag,
            fact,
            stamp: record.stamp,
            until: record.until,
            from: record.from,
            stored: record.until,
            restored: true,
            derived: false,
        });
        Ok(())
    }

    /// Takes residues and history back from the store.
    pub fn restore_resource(&mut self, record: ResourceRecord) -> Result<(), NotRestored> {
        if record.seq > MOST_COUNTED {
            return Err(NotRestored::Unreadable);
        }
        let id = self.restored_by_name(&record.resource, &record.package)?;
        let package = self.config.packages.get(self.at(id).package);
        let residue = |one: ResidueRecord| {
            let fact = package.unpack(&one.fact)?;
            Some(Residue { source: one.source, stamp: one.stamp, fact, until: one.until })
        };
        let residues: Vec<_> = record.residues.into_iter().filter_map(residue).collect();
        let resource = self.at_mut(id);
        (resource.seq, resource.recorded) = (record.seq, true);
        resource.residues = residues;
        resource.history = record.history.into();
        Ok(())
    }

    fn restored_by_name(&mut self, address: &Arc<str>, package: &str) -> Result<ResourceId, NotRestored> {
        let package = self.config.packages.find(package.as_bytes()).ok_or(NotRestored::NoSuchPackage)?;
        Ok(self.restored(address, package))
    }

    /// The resource of something that comes back from the store, whether there is room or not.
    pub fn restored(&mut self, address: &Arc<str>, package: PackageId) -> ResourceId {
        self.make(address, package)
    }

    /// Everything is back: what has lapsed meanwhile ends, and what is true is composed. Appends the resources whose
    /// state has ended or changed by that; the watchers of all others know no less than we do.
    pub fn resume(&mut self, now: Time, lapsed: &mut Vec<ResourceId>) {
        self.resuming = true;
        let packages = self.config.packages.clone();
        for number in 0..self.resources.len() {
            let id = ResourceId(number as u32);
            let Some(resource) = &mut self.resources[number] else { continue };
            // Publications of one resource come from the store in no order; theirs is that of their stamps.
            resource.publications.sort_by_key(|one| one.stamp);
            resource.end_residues(now, packages.get(resource.package));
            let known = resource.publications.len();
            while let Some(place) = self.at(id).publications.iter().position(|one| one.until <= now) {
                let source = self.end(now, id, place);
                self.counters.count(lamplighter_model::Counter::Expired);
                self.note(now, id, "expired", source);
            }
            if self.at(id).publications.len() < known {
                lapsed.push(id);
            }
            self.recompose(now, id);
            self.schedule(now, id);
        }
        self.resuming = false;
        self.untold = Some((0..self.resources.len() as u32, now));
    }

    /// Whether the mirror has been told of everything that came back.
    pub fn has_told_restored(&self) -> bool {
        self.untold.is_none()
    }

    /// Tells the mirror of the next resources that came back from the store and have not changed since.
    pub(crate) fn tell_restored(&mut self, now: Time) {
        let Some((numbers, due)) = &mut self.untold else { return };
        if *due > now {
            return;
        }
        *due = now + TELL.0;
        for number in numbers.by_ref().take(TELL.1) {
            let Some(resource) = self.resources[number as usize].as_mut().filter(|one| one.untold) else { continue };
            resource.untold = false;
            let newest = resource.publications.iter().max_by_key(|one| one.stamp);
            let change = Change {
                resource: resource.address.clone(),
                package: resource.package,
                seq: resource.seq,
                at: newest.map_or(now, |one| one.stamp.at.min(now)),
                source: newest.map_or_else(|| Arc::from("store"), |one| one.source.clone()),
                reason: "restored",
                state: resource.state.clone(),
            };
            self.changes.push(Changed { resource: ResourceId(number), notify: false, change });
        }
        if numbers.start == numbers.end {
            self.untold = None;
        }
    }

    /// Composes what was restored; the mirror learns it, watchers are told by other means.
    fn recompose(&mut self, now: Time, id: ResourceId) {
        let packages = self.config.packages.clone();
        let resource = self.at_mut(id);
        let package = packages.get(resource.package);
        let said = !resource.publications.is_empty() || !resource.residues.is_empty();
        if !said {
            return;
        }
        let (state, again) = resource.composed(now, package);
        resource.again = again.unwrap_or(Time::NEVER);
        resource.state = Some(state.clone());
        resource.said = said;
        resource.rendered.clear();
        resource.seq += 1;
        resource.untold = true;
        let (address, origin) = (resource.address.clone(), resource.package);
        if !packages.derived_from(origin).is_empty() {
            self.derive(now, &address, origin, &state);
        }
    }

    /// Whether anybody says anything about a resource.
    pub fn is_said(&self, id: ResourceId) -> bool {
        self.at(id).said
    }
}
