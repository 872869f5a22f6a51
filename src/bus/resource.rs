//! One (presentity, package): its publications, what they compose, and what was rendered of it.

use crate::Armed;
use lamplighter_model::explain::{HistoryEntry, PackageExplanation, SourceExplanation};
use lamplighter_model::package::{AnyFact, AnyPackage, AnyState, PackageId, Rendered, Rendering, Sourced, Stamp};
use lamplighter_model::{EntityTag, Time};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) struct Resource {
    pub address: Arc<str>,
    pub package: PackageId,
    pub publications: SmallVec<[Publication; 1]>,
    pub residues: Vec<Residue>,
    /// `None` until something is published or asked for.
    pub state: Option<AnyState>,
    /// Whether the mirror shows a state.
    pub said: bool,
    /// When the state changes by itself, because something lingering leaves.
    pub again: Time,
    pub seq: u64,
    pub history: VecDeque<HistoryEntry>,
    /// The store has a record of it (residues, history).
    pub recorded: bool,
    /// That record is behind, and is in the queue of those that are.
    pub behind: bool,
    /// It came back from the store, and the mirror has not been told since.
    pub untold: bool,
    pub rendered: SmallVec<[(Rendering, Arc<Rendered>); 1]>,
    /// How many watch.
    pub pins: u32,
    pub timer: Armed,
}

/// What one source says, for as long as its lease lasts.
pub(crate) struct Publication {
    pub source: Arc<str>,
    pub tag: EntityTag,
    pub fact: AnyFact,
    pub stamp: Stamp,
    pub until: Time,
    pub from: SocketAddr,
    /// How far the lease reaches in the store: never less than `until`.
    pub stored: Time,
    /// It comes from the store and its publisher has not been heard since: which tag it was given last, nobody knows.
    pub restored: bool,
    /// Made from another package's state of the same presentity.
    pub derived: bool,
}

/// What must outlive a publication: it keeps others from claiming that what has ended goes on.
pub(crate) struct Residue {
    pub source: Arc<str>,
    pub stamp: Stamp,
    pub fact: AnyFact,
    pub until: Time,
}

impl Resource {
    pub fn new(address: Arc<str>, package: PackageId) -> Self {
        Self {
            address,
            package,
            publications: SmallVec::new(),
            residues: Vec::new(),
            state: None,
            said: false,
            again: Time::NEVER,
            seq: 0,
            history: VecDeque::new(),
            recorded: false,
            behind: false,
            untold: false,
            rendered: SmallVec::new(),
            pins: 0,
            timer: None,
        }
    }

    /// What is true at `now`, and when that changes by itself.
    pub fn composed(&self, now: Time, package: &dyn AnyPackage) -> (AnyState, Option<Time>) {
        let live = self.publications.iter().map(|one| Sourced {
            source: &one.source,
            stamp: one.stamp,
            live: true,
            fact: &one.fact,
        });
        let ended = self.residues.iter().map(|one| Sourced {
            source: &one.source,
            stamp: one.stamp,
            live: false,
            fact: &one.fact,
        });
        let sources: SmallVec<[Sourced<'_, AnyFact>; 4]> = live.chain(ended).collect();
        let composed = package.compose(now, &self.address, &sources);
        (composed.state, composed.again)
    }

    /// Drops the residues that are no longer needed. Whether any is kept on, since an older publication still says what
    /// has ended.
    pub fn end_residues(&mut self, now: Time, package: &dyn AnyPackage) -> bool {
        let Self { publications, residues, .. } = self;
        let mut prolonged = false;
        residues.retain_mut(|residue| {
            let older = |one: &Publication| one.stamp < residue.stamp && package.contradicts(&residue.fact, &one.fact);
            if residue.until <= now && publications.iter().any(older) {
                residue.until = now + package.linger();
                prolonged = true;
            }
            residue.until > now
        });
        prolonged
    }

    /// When something must be done about it, whoever watches.
    pub fn deadline(&self) -> Time {
        let leases = self.publications.iter().map(|one| one.until);
        let residues = self.residues.iter().map(|one| one.until);
        leases.chain(residues).chain([self.again]).min().unwrap_or(Time::NEVER)
    }

    pub fn explain(&self, now: Time, package: &dyn AnyPackage) -> PackageExplanation {
        let says = |fact: &AnyFact, source: &str, stamp| {
            let alone = [Sourced { source, stamp, live: true, fact }];
            package.describe(&package.compose(now, &self.address, &alone).state)
        };
        let sources = self.publications.iter().map(|one| SourceExplanation {
            source: one.source.to_string(),
            from: if one.derived { String::new() } else { one.from.to_string() },
            at: one.stamp.at,
            until: one.until,
            says: says(&one.fact, &one.source, one.stamp),
        });
        let nobody = || String::from("nobody has said anything");
        PackageExplanation {
            kind: package.kind().to_owned(),
            state: self.state.as_ref().map_or_else(nobody, |state| package.describe(state)),
            rule: package.rule(),
            sources: sources.collect(),
            watchers: Vec::new(),
            history: self.history.iter().cloned().collect(),
        }
    }
}
