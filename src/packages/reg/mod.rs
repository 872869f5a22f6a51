//! Registrations: the `reg` event package.
//!
//! - RFC 3680 defines the package, section 5 the document.
//! - Registrars publish, or will be subscribed to, and say which contacts an address is bound to. A contact that several
//!   tell of, by its URI, is shown once, as the newest says.
//! - Of a document with several registrations the one of the address counts, else the first.
//! - A contact whose time is over counts as expired, whether the registrar says so or not. A terminated contact is
//!   shown for [`LINGER`], so that watchers learn why, and then leaves without anyone being told.
//! - That a contact was refreshed is no change; `expires` and `duration-registered` are not written, since a document
//!   is the same for all who are told later.

mod pack;
mod read;
mod read_json;
#[cfg(test)]
mod tests;
mod write;

use crate::ids::unique;
use lamplighter_model::config::Profile;
use lamplighter_model::hash::Seed;
use lamplighter_model::package::{BadBody, Composed, Cuts, Expires, Format, Reading, Rendering, Sourced, View};
use lamplighter_model::time::Time;
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const NAMESPACE: &str = "urn:ietf:params:xml:ns:reginfo";

/// How long a terminated contact is shown.
pub const LINGER: Duration = Duration::from_secs(64);

/// The most contacts of one publication; a document with more is refused.
const CONTACTS: usize = 64;

/// The package itself.
#[derive(Clone, Debug)]
pub struct Package {
    formats: [Format; 1],
}

impl Package {
    /// There is nothing to configure.
    pub fn new() -> Self {
        Self { formats: [Format::new("application/reginfo+xml")] }
    }
}

impl Default for Package {
    fn default() -> Self {
        Self::new()
    }
}

/// What brought a contact where it is (RFC 3680 section 5.2.1), those that keep it active first.
const EVENTS: [&str; 9] = [
    "registered",
    "created",
    "refreshed",
    "shortened",
    "expired",
    "deactivated",
    "probation",
    "unregistered",
    "rejected",
];

/// An address that a registration is bound to. Absent is unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Contact {
    /// As the registrar has it.
    id: Box<str>,
    uri: Box<str>,
    name: Option<Box<str>>,
    /// One of [`EVENTS`].
    event: &'static str,
    /// When its time is over, or when it ended.
    until: Option<Time>,
    /// When it was registered first.
    since: Time,
    /// When it was first known as terminated; `None`: it is active.
    ended: Option<Time>,
    /// In thousandths.
    q: Option<u16>,
    call_id: Option<Box<str>>,
    cseq: Option<u32>,
    /// What the device calls itself, and where it really is, as some registrars tell.
    user_agent: Option<Box<str>>,
    received: Option<Box<str>>,
    /// Other parameters of the contact.
    params: Vec<(Box<str>, Box<str>)>,
    /// Elements of other namespaces, each standing for itself.
    extra: Box<[u8]>,
}

impl Contact {
    /// Whether watchers see the same.
    fn looks_like(&self, other: &Self) -> bool {
        self.uri == other.uri
            && self.name == other.name
            && self.q == other.q
            && self.user_agent == other.user_agent
            && self.received == other.received
            && self.params == other.params
            && self.extra == other.extra
    }

    /// When it ended, if it has by `now`.
    fn ended(&self, now: Time) -> Option<Time> {
        self.ended.or(self.until.filter(|until| *until <= now))
    }
}

/// What one publication says.
#[derive(Clone, Debug, PartialEq)]
pub struct Bindings {
    /// False for a partial document that has yet to be merged.
    full: bool,
    /// When it was read.
    at: Time,
    all: Vec<Arc<Contact>>,
}

/// A contact in a composed state.
#[derive(Clone, Debug)]
struct Shown {
    contact: Arc<Contact>,
    /// In place of the contact's own id, where two publications use the same.
    id: Option<Box<str>>,
}

impl Shown {
    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.contact.id)
    }
}

/// All contacts of an address, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Whether anybody says anything.
    known: bool,
    shown: Vec<Shown>,
}

impl State {
    /// Whether the address is bound to any contact; `None`: nobody says.
    pub fn registered(&self) -> Option<bool> {
        self.known.then(|| self.active().next().is_some())
    }

    fn active(&self) -> impl Iterator<Item = &Shown> {
        self.shown.iter().filter(|shown| shown.contact.ended.is_none())
    }
}

impl lamplighter_model::package::Package for Package {
    type Fact = Bindings;
    type State = State;

    fn name(&self) -> &str {
        "reg"
    }

    fn kind(&self) -> &str {
        "reg"
    }

    fn formats(&self) -> &[Format] {
        &self.formats
    }

    fn expires(&self) -> Expires {
        crate::EXPIRES // RFC 3680 section 4.4 has 161 seconds more.
    }

    fn read(&self, _: u8, body: &[u8], reading: Reading<'_>) -> Result<Bindings, BadBody> {
        read::read(body, reading)
    }

    fn read_json(&self, json: &[u8], reading: Reading<'_>) -> Result<Bindings, BadBody> {
        read_json::read(json, reading)
    }

    fn pack(&self, fact: &Bindings, out: &mut Vec<u8>) {
        pack::pack(fact, out);
    }

    fn unpack(&self, packed: &[u8]) -> Option<Bindings> {
        pack::unpack(packed)
    }

    fn merge(&self, old: &Bindings, mut new: Bindings) -> Bindings {
        for contact in &mut new.all {
            let known = old.all.iter().find(|known| known.id == contact.id && known.uri == contact.uri);
            let Some(known) = known else { continue };
            let contact = Arc::make_mut(contact);
            match (known.ended, contact.ended) {
                (None, _) => contact.since = contact.since.min(known.since),
                (Some(ended), Some(_)) => (contact.since, contact.ended) = (known.since, Some(ended)),
                (Some(_), None) => {}
            }
        }
        if new.full {
            return new;
        }
        let kept = old.all.iter().filter(|contact| contact.ended(new.at).is_none_or(|ended| ended + LINGER > new.at));
        let kept = kept.filter(|contact| !new.all.iter().any(|newer| newer.id == contact.id));
        let mut all: Vec<Arc<Contact>> = kept.cloned().collect();
        all.append(&mut new.all);
        // The oldest make room, those that are over before those that are not.
        while all.len() > CONTACTS {
            let over = all.iter().position(|contact| contact.ended.is_some());
            all.remove(over.unwrap_or(0));
        }
        Bindings { full: true, at: new.at, all }
    }

    fn compose(&self, now: Time, _: &str, sources: &[Sourced<'_, Bindings>]) -> Composed<State> {
        compose(now, sources)
    }

    fn is_change(&self, old: &State, new: &State) -> bool {
        let over = |state: &State| -> BTreeSet<(Box<str>, Box<str>)> {
            let over = state.shown.iter().filter(|shown| shown.contact.ended.is_some());
            over.map(|shown| (shown.id().into(), shown.contact.uri.clone())).collect()
        };
        let same = |(one, two): (&Shown, &Shown)| one.id() == two.id() && one.contact.looks_like(&two.contact);
        old.known != new.known
            || old.active().count() != new.active().count()
            || !old.active().zip(new.active()).all(same)
            || !over(new).is_subset(&over(old))
    }

    fn write(&self, presentity: &str, state: &State, how: Rendering, _: &Profile, out: &mut Vec<u8>) -> Cuts {
        write::xml(presentity, state, how.view, out)
    }

    /// `{"registered","contacts":[..]}`, without `registered` when nobody says. [`View::Masked`] hides where contacts
    /// are, [`View::Busy`] all of them.
    fn json(&self, state: &State, view: View, out: &mut Vec<u8>) {
        write::json(state, view, out);
    }

    fn schema(&self) -> &'static str {
        include_str!("../schema/reg.json")
    }

    fn describe(&self, state: &State) -> String {
        match (state.registered(), state.active().count()) {
            (None, _) => "unknown".to_owned(),
            (Some(false), _) => "not registered".to_owned(),
            (Some(true), 1) => "registered".to_owned(),
            (Some(true), contacts) => format!("registered, {contacts} contacts"),
        }
    }

    fn rule(&self) -> &'static str {
        "the contacts of all publications add up, and of one URI the newest counts"
    }
}

fn compose(now: Time, sources: &[Sourced<'_, Bindings>]) -> Composed<State> {
    let mut newest_first: SmallVec<[Sourced<'_, Bindings>; 4]> =
        sources.iter().filter(|one| one.live).copied().collect();
    newest_first.sort_by(|a, b| (b.stamp, b.source).cmp(&(a.stamp, a.source)));
    let mut again: Option<Time> = None;
    let mut seen = BTreeSet::new();
    let mut said: Vec<(Arc<Contact>, &str)> = Vec::new();
    for one in &newest_first {
        // Within one document the last counts.
        for contact in one.fact.all.iter().rev() {
            if !seen.insert(&*contact.uri) {
                continue;
            }
            let mut contact = contact.clone();
            let ended = contact.ended(now);
            if contact.ended != ended {
                let contact = Arc::make_mut(&mut contact);
                (contact.ended, contact.event) = (ended, "expired");
            }
            let next = ended.map_or(contact.until, |ended| Some(ended + LINGER));
            if ended.is_some() && next.is_some_and(|leaves| leaves <= now) {
                continue;
            }
            again = [again, next].into_iter().flatten().min();
            said.push((contact, one.source));
        }
    }
    said.sort_by(|(a, source_a), (b, source_b)| {
        (a.since, source_a, &a.id, &a.uri).cmp(&(b.since, source_b, &b.id, &b.uri))
    });
    let ids: SmallVec<[&str; 4]> = said.iter().map(|(contact, _)| &*contact.id).collect();
    let ids = unique(&ids, |index| {
        let (contact, source) = &said[index];
        Seed(0, 0).fingerprint(&[source.as_bytes(), contact.uri.as_bytes()]) as u32
    });
    let shown = said.iter().zip(ids).map(|((contact, _), id)| Shown { contact: contact.clone(), id }).collect();
    Composed { state: State { known: !newest_first.is_empty(), shown }, again }
}
