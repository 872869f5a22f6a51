//! Who watches an address: the watcher information of a package, event `presence.winfo` or `dialog.winfo`.
//!
//! - RFC 3857 defines the template, RFC 3858 the document.
//! - It is read at other servers, which know who watches there; asking us for it comes with a policy of our own.
//! - Of a document with several lists the one of the address and the package counts, else the first.
//! - Who has stopped watching (`terminated`) is no watcher any more and is not shown. A partial document is merged into
//!   what was known, watcher by watcher.
//! - When a subscription ends is not shown: that it was refreshed is not told.

mod pack;
mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::ids::unique;
use lamplighter_model::config::Profile;
use lamplighter_model::hash::Seed;
use lamplighter_model::package::{BadBody, Composed, Cuts, Expires, Format, Reading, Rendering, Sourced, View};
use lamplighter_model::time::Time;
use std::sync::Arc;

const NAMESPACE: &str = "urn:ietf:params:xml:ns:watcherinfo";

/// The most watchers of one publication; a document with more is refused.
const WATCHERS: usize = 1024;

/// The package of one watched package.
#[derive(Clone, Debug)]
pub struct Package {
    name: &'static str,
    kind: &'static str,
    /// Which package the watchers watch.
    of: &'static str,
    formats: [Format; 1],
}

impl Package {
    /// Event `presence.winfo`.
    pub fn of_presence() -> Self {
        Self::new("presence.winfo", "winfo", "presence")
    }

    /// Event `dialog.winfo`.
    pub fn of_dialogs() -> Self {
        Self::new("dialog.winfo", "dialog-winfo", "dialog")
    }

    fn new(name: &'static str, kind: &'static str, of: &'static str) -> Self {
        Self { name, kind, of, formats: [Format::new("application/watcherinfo+xml")] }
    }
}

/// How a watcher's subscription stands (RFC 3857 section 4.7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// It is told the state.
    Active,
    /// Somebody has yet to decide.
    Pending,
    /// Nobody decided in time; it may come back.
    Waiting,
    /// It has ended.
    Terminated,
}

impl Status {
    const ALL: [Self; 4] = [Self::Active, Self::Pending, Self::Waiting, Self::Terminated];

    /// As RFC 3858 writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Terminated => "terminated",
        }
    }

    fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == text)
    }
}

/// What brought a subscription where it is (RFC 3858 section 4.3).
const EVENTS: [&str; 8] =
    ["subscribe", "approved", "deactivated", "probation", "rejected", "timeout", "giveup", "noresource"];

/// One watcher.
#[derive(Clone, Debug, PartialEq)]
pub struct Watcher {
    /// As the notifier has it; the same for as long as the subscription lasts.
    id: Box<str>,
    uri: Box<str>,
    name: Option<Box<str>>,
    status: Status,
    /// One of [`EVENTS`].
    event: &'static str,
    /// When it began, or was first told of.
    since: Time,
}

impl Watcher {
    fn looks_like(&self, other: &Self) -> bool {
        self.id == other.id
            && self.uri == other.uri
            && self.name == other.name
            && self.status == other.status
            && self.event == other.event
    }
}

/// What one publication says.
#[derive(Clone, Debug, PartialEq)]
pub struct Watchers {
    /// False for a partial document that has yet to be merged.
    full: bool,
    all: Vec<Arc<Watcher>>,
}

/// All watchers of an address, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct State {
    at: Time,
    all: Vec<Arc<Watcher>>,
}

impl State {
    fn count(&self, status: Status) -> usize {
        self.all.iter().filter(|watcher| watcher.status == status).count()
    }
}

impl lamplighter_model::package::Package for Package {
    type Fact = Watchers;
    type State = State;

    fn name(&self) -> &str {
        self.name
    }

    fn kind(&self) -> &str {
        self.kind
    }

    fn formats(&self) -> &[Format] {
        &self.formats
    }

    fn served(&self) -> bool {
        false
    }

    fn expires(&self) -> Expires {
        crate::EXPIRES // RFC 3857 section 4.4: an hour
    }

    fn read(&self, _: u8, body: &[u8], reading: Reading<'_>) -> Result<Watchers, BadBody> {
        read::read(body, reading, self.of)
    }

    fn pack(&self, fact: &Watchers, out: &mut Vec<u8>) {
        pack::pack(fact, out);
    }

    fn unpack(&self, packed: &[u8]) -> Option<Watchers> {
        pack::unpack(packed)
    }

    fn merge(&self, old: &Watchers, mut new: Watchers) -> Watchers {
        for watcher in &mut new.all {
            if let Some(known) = old.all.iter().find(|known| known.id == watcher.id) {
                let since = watcher.since.min(known.since);
                Arc::make_mut(watcher).since = since;
            }
        }
        let mut all = Vec::new();
        if !new.full {
            all.extend(old.all.iter().filter(|known| !new.all.iter().any(|newer| newer.id == known.id)).cloned());
        }
        all.extend(new.all.into_iter().filter(|watcher| watcher.status != Status::Terminated));
        // The oldest make room.
        all.drain(..all.len().saturating_sub(WATCHERS));
        Watchers { full: true, all }
    }

    fn compose(&self, now: Time, _: &str, sources: &[Sourced<'_, Watchers>]) -> Composed<State> {
        let mut said: Vec<(&Arc<Watcher>, &str)> = Vec::new();
        for one in sources.iter().filter(|one| one.live) {
            let here = one.fact.all.iter().filter(|watcher| watcher.status != Status::Terminated);
            said.extend(here.map(|watcher| (watcher, one.source)));
        }
        said.sort_by(|(a, source_a), (b, source_b)| (a.since, source_a, &a.id).cmp(&(b.since, source_b, &b.id)));
        let ids: Vec<&str> = said.iter().map(|(watcher, _)| &*watcher.id).collect();
        let ids = unique(&ids, |index| {
            let (watcher, source) = said[index];
            Seed(0, 0).fingerprint(&[source.as_bytes(), watcher.uri.as_bytes()]) as u32
        });
        let one = |((watcher, _), id): (&(&Arc<Watcher>, &str), Option<Box<str>>)| match id {
            Some(id) => Arc::new(Watcher { id, ..Watcher::clone(watcher) }),
            None => Arc::clone(watcher),
        };
        Composed { state: State { at: now, all: said.iter().zip(ids).map(one).collect() }, again: None }
    }

    fn is_change(&self, old: &State, new: &State) -> bool {
        old.all.len() != new.all.len() || !old.all.iter().zip(&new.all).all(|(old, new)| old.looks_like(new))
    }

    fn write(&self, presentity: &str, state: &State, how: Rendering, _: &Profile, out: &mut Vec<u8>) -> Cuts {
        write::xml(presentity, self.of, state, how.view, out)
    }

    /// `{"package","n","pending","waiting","watchers":[..]}`. [`View::Masked`] hides who watches, [`View::Busy`] shows
    /// how many do.
    fn json(&self, state: &State, view: View, out: &mut Vec<u8>) {
        write::json(self.of, state, view, out);
    }

    fn schema(&self) -> &'static str {
        include_str!("../schema/winfo.json")
    }

    fn describe(&self, state: &State) -> String {
        let pending = state.count(Status::Pending) + state.count(Status::Waiting);
        match (state.count(Status::Active), pending) {
            (active, 0) => format!("{active} watchers"),
            (active, pending) => format!("{active} watchers, {pending} to be decided"),
        }
    }

    fn rule(&self) -> &'static str {
        "the watchers of all publications add up"
    }
}
