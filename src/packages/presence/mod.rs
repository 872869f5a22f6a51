//! Presence: the `presence` event package.
//!
//! - RFC 3856 defines the package, RFC 3863 the document (PIDF), RFC 4479 persons and devices in it, RFC 4480 (RPID)
//!   what a person does.
//! - What a publication says in elements that we do not know is carried through, each element standing for itself,
//!   to watchers who may see everything.
//!
//! # Composition
//!
//! | what is published | what is shown |
//! |---|---|
//! | nothing | a document without tuples |
//! | several publications with tuples | all tuples: open ones first, then by priority, then by id |
//! | the same tuple id with the same contact twice | the newest once (a publisher that lost our answer came again) |
//! | tuple ids of two publishers collide | the second gets a suffix that stays the same |
//! | one tuple open, others closed | open |
//! | persons in several publications | one person: activities of the newest that has any, each other element and the notes likewise |
//! | values of the publishers' own (`extra` in JSON) in several publications | of each name the newest |
//! | notes on the presentity in several publications | those of the newest that has any |
//! | a confirmed call (event `dialog`), held or not | the activity `on-the-phone` in addition; nothing else |
//! | such a call, and the person's activity `unknown` or `permanent-absence` | as published: the publication wins |
//! | such a call, and every tuple closed | closed, with the activity `on-the-phone` |
//!
//! # What `show` in the feed means
//!
//! The first that holds: a tuple's own `show` of Jabber (RFC 8048); `dnd` for the activity `busy` or a foreign one
//! named `dnd` or `do-not-disturb`; `xa` for `vacation`, `holiday`, `permanent-absence`, `sleeping` and `travel`;
//! `away` for `away`, `appointment`, `breakfast`, `dinner`, `in-transit`, `lunch`, `meal`, `meeting`, `performance`,
//! `playing`, `presentation`, `shopping`, `spectator`, `steering`, `tv` and `worship`; `on-the-phone`. Otherwise it
//! is absent, as it is when every tuple is closed.

mod compose;
mod pack;
mod read;
mod read_json;
#[cfg(test)]
mod tests;
mod write;

use lamplighter_model::config::Profile;
use lamplighter_model::package::{
    AnyState, BadBody, Composed, Cuts, Expires, Format, Reading, Rendering, Sourced, View,
};
use lamplighter_model::time::Time;
use std::sync::Arc;

const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// Names and values that were published as JSON, for watchers who read PIDF.
const VALUES: &str = "urn:x-lamplighter:values";
const CIPID: &str = "urn:ietf:params:xml:ns:pidf:cipid";

/// The `[packages.presence]` options.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    /// Whether a confirmed call shows as the activity `on-the-phone` (PR-02).
    pub from_dialogs: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { from_dialogs: true }
    }
}

/// The package itself.
#[derive(Clone, Debug)]
pub struct Package {
    config: Config,
    formats: [Format; 1],
}

impl Package {
    /// As configured.
    pub fn new(config: Config) -> Self {
        Self { config, formats: [Format::new("application/pidf+xml")] }
    }
}

/// Text for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// The language, as `xml:lang` has it.
    pub lang: Option<Box<str>>,
    /// As published, white space included.
    pub text: Box<str>,
}

/// Availability as Jabber has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Show {
    /// Free for chat.
    Chat,
    /// Away.
    Away,
    /// Away for long.
    Xa,
    /// Do not disturb.
    Dnd,
    /// In a call.
    OnThePhone,
}

impl Show {
    /// As the feed has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Away => "away",
            Self::Xa => "xa",
            Self::Dnd => "dnd",
            Self::OnThePhone => "on-the-phone",
        }
    }

    /// The activity by which phones understand it.
    const fn activity(self) -> Option<Activities> {
        match self {
            Self::Chat => None,
            Self::Away | Self::Xa => Some(Activities::AWAY),
            Self::Dnd => Some(Activities::BUSY),
            Self::OnThePhone => Some(Activities::ON_THE_PHONE),
        }
    }
}

/// A means of communication (RFC 3863 section 4.1.2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tuple {
    id: Box<str>,
    open: Option<bool>,
    show: Option<Show>,
    /// The person's name (RFC 4482 section 3.1).
    name: Option<Box<str>>,
    contact: Option<Box<str>>,
    /// In thousandths.
    priority: Option<u16>,
    notes: Vec<Note>,
    timestamp: Option<Box<str>>,
    /// Foreign elements of the status, and of the tuple.
    status_extra: Box<[u8]>,
    extra: Box<[u8]>,
}

impl Tuple {
    /// Whether watchers see the same. A timestamp alone does not count: phones write a new one each time.
    fn looks_like(&self, other: &Self) -> bool {
        self.id == other.id
            && self.open == other.open
            && self.show == other.show
            && self.name == other.name
            && self.contact == other.contact
            && self.priority == other.priority
            && self.notes == other.notes
            && self.status_extra == other.status_extra
            && self.extra == other.extra
    }
}

/// A set of activities: bits in the order of [`ACTIVITIES`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Activities(u32);

/// RFC 4480 section 3.2; `other` has text and is carried through as a foreign element is. The store keeps the bits:
/// new ones go to the end.
const ACTIVITIES: [&str; 25] = [
    "appointment",
    "away",
    "breakfast",
    "busy",
    "dinner",
    "holiday",
    "in-transit",
    "looking-for-work",
    "lunch",
    "meal",
    "meeting",
    "on-the-phone",
    "performance",
    "permanent-absence",
    "playing",
    "presentation",
    "shopping",
    "sleeping",
    "spectator",
    "steering",
    "travel",
    "tv",
    "vacation",
    "working",
    "worship",
];

impl Activities {
    /// Every bit that means something.
    const ALL: u32 = ((1 << ACTIVITIES.len()) - 1) | Self::UNKNOWN.0;
    const UNKNOWN: Self = Self(1 << 31);
    const ON_THE_PHONE: Self = Self(1 << 11);
    const AWAY: Self = Self(1 << 1);
    const BUSY: Self = Self(1 << 3);
    const PERMANENT_ABSENCE: Self = Self(1 << 13);
    /// holiday, permanent-absence, sleeping, travel, vacation
    const LONG: Self = Self(1 << 5 | 1 << 13 | 1 << 17 | 1 << 20 | 1 << 22);
    /// appointment, away, breakfast, dinner, in-transit, lunch, meal, meeting, performance, playing, presentation,
    /// shopping, spectator, steering, tv, worship
    const SHORT: Self = Self(
        1 | 1 << 1
            | 1 << 2
            | 1 << 4
            | 1 << 6
            | 1 << 8
            | 1 << 9
            | 1 << 10
            | 1 << 12
            | 1 << 14
            | 1 << 15
            | 1 << 16
            | 1 << 18
            | 1 << 19
            | 1 << 21
            | 1 << 24,
    );

    fn named(name: &str) -> Option<Self> {
        if name == "unknown" {
            return Some(Self::UNKNOWN);
        }
        ACTIVITIES.iter().position(|known| *known == name).map(|index| Self(1 << index))
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        let known = ACTIVITIES.iter().enumerate().filter(move |&(index, _)| self.0 & 1 << index != 0);
        known.map(|(_, name)| *name).chain(self.any(Self::UNKNOWN).then_some("unknown"))
    }

    fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    fn add(&mut self, more: Self) {
        self.0 |= more.0;
    }
}

/// What a person does (RFC 4480 section 3.2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Doing {
    activities: Activities,
    /// A foreign activity asks not to be disturbed.
    dnd: bool,
    notes: Vec<Note>,
    /// `other` and activities of other namespaces.
    extra: Box<[u8]>,
}

/// Another element of a person, such as RPID's `mood`.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Extra {
    /// Namespace and name, which are what one replaces the other by.
    ns: Box<str>,
    name: Box<str>,
    xml: Box<[u8]>,
}

/// The human being (RFC 4479 section 3.2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Person {
    id: Box<str>,
    doing: Option<Doing>,
    extras: Vec<Extra>,
    notes: Vec<Note>,
    timestamp: Option<Box<str>>,
}

impl Person {
    fn looks_like(&self, other: &Self) -> bool {
        self.id == other.id && self.doing == other.doing && self.extras == other.extras && self.notes == other.notes
    }
}

/// A device (RFC 4479 section 3.3), carried through.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Device {
    id: Box<str>,
    xml: Box<[u8]>,
}

/// Something of the publisher's own, such as how busy a machine is.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Value {
    name: Box<str>,
    /// Compact JSON.
    json: Box<str>,
}

/// What one publication says, or what a call says of a person.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Presence {
    /// It comes from the presentity's calls: on the phone, and nothing else.
    derived: bool,
    since: Time,
    tuples: Vec<Arc<Tuple>>,
    persons: Vec<Arc<Person>>,
    devices: Vec<Arc<Device>>,
    notes: Vec<Note>,
    extra: Box<[u8]>,
    /// In the order of their names.
    values: Vec<Value>,
}

/// A tuple in a composed state.
#[derive(Clone, Debug)]
struct ShownTuple {
    tuple: Arc<Tuple>,
    /// In place of the tuple's own id, where two publications use the same.
    id: Option<Box<str>>,
}

impl ShownTuple {
    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.tuple.id)
    }
}

/// All that is known of a presentity.
#[derive(Clone, Debug, Default)]
pub struct State {
    tuples: Vec<ShownTuple>,
    person: Option<Person>,
    devices: Vec<Arc<Device>>,
    notes: Vec<Note>,
    extra: Box<[u8]>,
    values: Vec<Value>,
    since: Option<Time>,
}

impl State {
    /// Whether any tuple is open; `None` when no tuple says.
    pub fn open(&self) -> Option<bool> {
        self.tuples.iter().filter_map(|shown| shown.tuple.open).reduce(|one, other| one || other)
    }

    /// See the table above.
    pub fn show(&self) -> Option<Show> {
        if self.open() == Some(false) {
            return None;
        }
        if let Some(show) = self.tuples.iter().find_map(|shown| shown.tuple.show) {
            return Some(show);
        }
        let doing = self.person.as_ref()?.doing.as_ref()?;
        if doing.dnd || doing.activities.any(Activities::BUSY) {
            Some(Show::Dnd)
        } else if doing.activities.any(Activities::LONG) {
            Some(Show::Xa)
        } else if doing.activities.any(Activities::SHORT) {
            Some(Show::Away)
        } else if doing.activities.any(Activities::ON_THE_PHONE) {
            Some(Show::OnThePhone)
        } else {
            None
        }
    }

    /// What people are told: the person's notes, else the activities', else the presentity's, else a tuple's.
    fn notes(&self) -> &[Note] {
        let person = self.person.as_ref();
        let doing = person.and_then(|person| person.doing.as_ref());
        let all = [person.map(|person| &person.notes), doing.map(|doing| &doing.notes), Some(&self.notes)];
        let tuples = self.tuples.iter().map(|shown| &shown.tuple.notes);
        all.into_iter().flatten().chain(tuples).find(|notes| !notes.is_empty()).map_or(&[], |notes| notes)
    }
}

impl lamplighter_model::package::Package for Package {
    type Fact = Presence;
    type State = State;

    fn name(&self) -> &str {
        "presence"
    }

    fn kind(&self) -> &str {
        "presence"
    }

    fn formats(&self) -> &[Format] {
        &self.formats
    }

    fn expires(&self) -> Expires {
        crate::EXPIRES // RFC 3856 section 6.4: an hour
    }

    fn read(&self, _: u8, body: &[u8], reading: Reading<'_>) -> Result<Presence, BadBody> {
        read::read(body, reading.now)
    }

    fn read_json(&self, json: &[u8], reading: Reading<'_>) -> Result<Presence, BadBody> {
        read_json::read(json, reading.now)
    }

    fn pack(&self, fact: &Presence, out: &mut Vec<u8>) {
        pack::pack(fact, out);
    }

    fn unpack(&self, packed: &[u8]) -> Option<Presence> {
        pack::unpack(packed)
    }

    fn merge(&self, old: &Presence, mut new: Presence) -> Presence {
        let since = std::mem::replace(&mut new.since, old.since);
        if new != *old {
            new.since = since;
        }
        new
    }

    fn compose(&self, _: Time, _: &str, sources: &[Sourced<'_, Presence>]) -> Composed<State> {
        Composed { state: compose::compose(sources), again: None }
    }

    fn is_change(&self, old: &State, new: &State) -> bool {
        compose::is_change(old, new)
    }

    fn write(&self, presentity: &str, state: &State, how: Rendering, _: &Profile, out: &mut Vec<u8>) -> Cuts {
        write::pidf(presentity, state, how.view, out)
    }

    /// `{"basic","show","activities":[..],"note","lang","notes":[..],"since","devices":[..],"extra":{..}}`, what is unknown absent.
    /// [`View::Masked`] leaves `basic`, `show`, `activities`, `since` and, of devices, what tells them apart;
    /// [`View::Busy`] leaves `basic`, `show` and `since`.
    fn json(&self, state: &State, view: View, out: &mut Vec<u8>) {
        write::json(state, view, out);
    }

    fn schema(&self) -> &'static str {
        include_str!("../schema/presence.json")
    }

    fn describe(&self, state: &State) -> String {
        let basic = match state.open() {
            Some(true) => "open",
            Some(false) => "closed",
            None => "unknown",
        };
        match state.show() {
            Some(show) => format!("{basic}, {}", show.name()),
            None => basic.to_owned(),
        }
    }

    fn rule(&self) -> &'static str {
        "all tuples are shown, open if any is; of the person each part from the newest publication; calls add on-the-phone"
    }

    fn derives(&self) -> &[&'static str] {
        if self.config.from_dialogs { &["dialog"] } else { &[] }
    }

    fn derive(&self, from: &str, state: &AnyState, now: Time) -> Option<Presence> {
        let dialogs = state.downcast_ref::<crate::dialog::State>().filter(|_| from == "dialog")?;
        dialogs.talking().then(|| Presence { derived: true, since: now, ..Presence::default() })
    }

    fn same_fact(&self, a: &Presence, b: &Presence) -> bool {
        a.derived && b.derived
    }
}
