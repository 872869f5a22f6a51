//! Calls: the `dialog` event package.
//!
//! - RFC 4235 defines the package; section 4 the document, section 3.7.2 its order of urgency.
//! - A dialog is told apart by its publication and its id, and across publications by Call-ID and both tags, in
//!   either order. Ids alone are not unique in the field: some servers write one constant id per extension, phones
//!   write `1`, others the Call-ID for every fork.
//! - Terminated is final for a call (Call-ID and both tags): what another publication still says of it is not shown,
//!   as long as the publication that ended it lives and [`Config::linger`] beyond. Within one publication its own
//!   order rules, so that a reused id is a new call.
//! - A terminated dialog is shown for [`Config::linger`] and then leaves without anyone being told.
//! - Versions in publications are ignored. A partial document is merged into the publication that it modifies and
//!   is full when there is none.

mod compose;
mod pack;
mod read;
mod read_json;
#[cfg(test)]
mod tests;
mod write;

use lamplighter_model::config::Profile;
use lamplighter_model::package::{BadBody, Composed, Cuts, Expires, Format, Reading, Rendering, Sourced, Stamp, View};
use lamplighter_model::time::Time;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const NAMESPACE: &str = "urn:ietf:params:xml:ns:dialog-info";

/// The `[packages.dialog]` options.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    /// How long a terminated dialog is shown, and how long the residue of an ended publication wins over others.
    pub linger: Duration,
    /// The most dialogs of one publication; a document with more is refused.
    pub dialogs: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { linger: Duration::from_secs(64), dialogs: 64 }
    }
}

/// The package itself.
#[derive(Clone, Debug)]
pub struct Package {
    config: Config,
    line: bool,
    formats: [Format; 1],
}

impl Package {
    /// As configured.
    pub fn new(config: Config) -> Self {
        Self { config, line: false, formats: [Format::new("application/dialog-info+xml")] }
    }

    /// The calls of a shared line, event `dialog;sla`: the same documents, of which each call may name its appearance.
    /// It is read at other servers only.
    pub fn line(config: Config) -> Self {
        Self { line: true, ..Self::new(config) }
    }
}

/// How far a call is (RFC 4235 section 3.7.1), the least urgent first: this is the order in which one dialog is
/// chosen for devices that can show one only.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Progress {
    /// Over.
    Terminated,
    /// The INVITE is sent.
    Trying,
    /// Something answered, without a tag.
    Proceeding,
    /// Talking.
    Confirmed,
    /// Ringing, with a tag.
    Early,
}

impl Progress {
    /// As RFC 4235 writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminated => "terminated",
            Self::Trying => "trying",
            Self::Proceeding => "proceeding",
            Self::Confirmed => "confirmed",
            Self::Early => "early",
        }
    }
}

/// Who began the call, as seen by the presentity.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// The presentity.
    Initiator,
    /// Someone else.
    Recipient,
}

/// One end of a call. Absent is unknown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Party {
    /// The address.
    pub identity: Option<Box<str>>,
    /// The name.
    pub display: Option<Box<str>>,
    /// Where it can be reached now.
    pub target: Option<Box<str>>,
    /// Parameters of the target, such as `+sip.rendering`.
    pub params: Vec<(Box<str>, Box<str>)>,
    /// Elements of other namespaces, each standing for itself.
    pub extra: Box<[u8]>,
}

/// The call that this one takes the place of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Replaces {
    /// Its Call-ID.
    pub call_id: Box<str>,
    /// Its local tag.
    pub local_tag: Box<str>,
    /// Its remote tag.
    pub remote_tag: Box<str>,
}

/// One call leg. Absent is unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialog {
    /// As published, or made from Call-ID and tags.
    pub id: Box<str>,
    /// The Call-ID.
    pub call_id: Option<Box<str>>,
    /// The presentity's tag.
    pub local_tag: Option<Box<str>>,
    /// The other's tag.
    pub remote_tag: Option<Box<str>>,
    /// Who began.
    pub direction: Option<Direction>,
    /// How far it is.
    pub progress: Progress,
    /// What brought it there: one of the seven of RFC 4235 section 4.1.
    pub event: Option<&'static str>,
    /// The status code that brought it there.
    pub code: Option<u16>,
    /// What it replaces.
    pub replaces: Option<Replaces>,
    /// Who referred: an address, perhaps a name.
    pub referred_by: Option<Box<Party>>,
    /// The presentity's end.
    pub local: Party,
    /// The other end.
    pub remote: Party,
    /// Elements of other namespaces, each standing for itself.
    pub extra: Box<[u8]>,
    /// When it began.
    pub since: Time,
    /// When it was first known as confirmed.
    pub answered: Option<Time>,
    /// When it was first known as terminated.
    pub ended: Option<Time>,
}

impl Dialog {
    /// What names the call whoever tells of it: Call-ID and both tags in a fixed order.
    fn call(&self) -> Option<(&str, &str, &str)> {
        let call_id = self.call_id.as_deref()?;
        let (local, remote) = (self.local_tag.as_deref()?, self.remote_tag.as_deref()?);
        Some((call_id, local.min(remote), local.max(remote)))
    }

    /// Whether `other`, of the same publication, may be the same dialog: forks share an id but not the tags.
    fn same(&self, other: &Self) -> bool {
        self.id == other.id
            && match (self.call(), other.call()) {
                (Some(one), Some(two)) => one == two,
                _ => match (&self.call_id, &other.call_id) {
                    (Some(one), Some(two)) => one == two,
                    _ => true,
                },
            }
    }

    /// Whether the presentity holds the call (RFC 4235 section 4.1.6: its end renders no media).
    pub fn held(&self) -> bool {
        let silent = |(name, value): &(Box<str>, Box<str>)| {
            name.trim_start_matches('+').eq_ignore_ascii_case("sip.rendering") && value.eq_ignore_ascii_case("no")
        };
        self.progress == Progress::Confirmed && self.local.params.iter().any(silent)
    }

    /// Which appearance of a shared line it is on, counted from 1, as phones show it. `x-line-id` counts from 0.
    pub fn appearance(&self) -> Option<u32> {
        let number = |(name, value): &(Box<str>, Box<str>)| match &*name.to_ascii_lowercase() {
            "x-line-id" => value.trim().parse::<u32>().ok()?.checked_add(1),
            "appearance" => value.trim().parse().ok().filter(|number| *number > 0),
            _ => None,
        };
        self.local.params.iter().find_map(number)
    }

    /// Whether it has a Call-ID, but not both tags.
    fn is_vague(&self) -> bool {
        self.call_id.is_some() && self.call().is_none()
    }

    /// What tells calls apart where tags are missing.
    fn vague_key(&self) -> (Option<&str>, &str, Option<Direction>) {
        (self.call_id.as_deref(), &self.id, self.direction)
    }

    /// Whether watchers see the same; when it began does not count.
    fn looks_like(&self, other: &Self) -> bool {
        self.id == other.id
            && self.progress == other.progress
            && self.call_id == other.call_id
            && self.local_tag == other.local_tag
            && self.remote_tag == other.remote_tag
            && self.direction == other.direction
            && self.event == other.event
            && self.code == other.code
            && self.local == other.local
            && self.remote == other.remote
            && self.replaces == other.replaces
            && self.referred_by == other.referred_by
            && self.extra == other.extra
    }
}

/// What one publication says.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialogs {
    /// False for a partial document that has yet to be merged.
    full: bool,
    /// When it was read.
    at: Time,
    all: Vec<Arc<Dialog>>,
}

/// A dialog in a composed state.
#[derive(Clone, Debug)]
pub struct Shown {
    dialog: Arc<Dialog>,
    /// In place of the dialog's own id, where two publications use the same.
    id: Option<Box<str>>,
    /// When the call began, of all that know of it the earliest.
    since: Time,
    stamp: Stamp,
}

impl Shown {
    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.dialog.id)
    }
}

/// All calls of a presentity, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct State {
    shown: Vec<Shown>,
}

/// What a lamp shows, the most urgent last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Lamp {
    /// No call.
    Idle,
    /// Every confirmed call is held.
    Hold,
    /// A call, in no more urgent state.
    Busy,
    /// Calling someone.
    Dialing,
    /// Being called.
    Ringing,
}

impl Lamp {
    /// As the feed has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Hold => "hold",
            Self::Busy => "busy",
            Self::Dialing => "dialing",
            Self::Ringing => "ringing",
        }
    }

    /// Ringing: early, and not known to be the caller. Dialing: the caller, before an answer; also trying and
    /// proceeding of unknown direction. A callee that does not ring yet is busy.
    fn of(dialog: &Dialog) -> Self {
        match (dialog.progress, dialog.direction) {
            (Progress::Terminated, _) => Self::Idle,
            (Progress::Early, Some(Direction::Initiator)) => Self::Dialing,
            (Progress::Early, _) => Self::Ringing,
            (Progress::Trying | Progress::Proceeding, Some(Direction::Recipient)) => Self::Busy,
            (Progress::Trying | Progress::Proceeding, _) => Self::Dialing,
            (Progress::Confirmed, _) if dialog.held() => Self::Hold,
            (Progress::Confirmed, _) => Self::Busy,
        }
    }
}

impl State {
    /// The dialogs shown, the oldest first; terminated ones linger among them.
    pub fn dialogs(&self) -> impl Iterator<Item = &Dialog> {
        self.shown.iter().map(|shown| &*shown.dialog)
    }

    /// The most urgent of the lamps of all dialogs: ringing, dialing, busy, hold, idle.
    pub fn lamp(&self) -> Lamp {
        self.dialogs().map(Lamp::of).max().unwrap_or(Lamp::Idle)
    }

    /// Whether a call is up, held or not.
    pub fn talking(&self) -> bool {
        self.dialogs().any(|dialog| dialog.progress == Progress::Confirmed)
    }
}

impl lamplighter_model::package::Package for Package {
    type Fact = Dialogs;
    type State = State;

    fn name(&self) -> &str {
        if self.line { "dialog;sla" } else { "dialog" }
    }

    fn kind(&self) -> &str {
        if self.line { "line" } else { "dialog" }
    }

    fn formats(&self) -> &[Format] {
        &self.formats
    }

    fn served(&self) -> bool {
        !self.line
    }

    fn expires(&self) -> Expires {
        crate::EXPIRES // RFC 4235 section 3.4: an hour
    }

    fn linger(&self) -> Duration {
        self.config.linger
    }

    fn read(&self, _: u8, body: &[u8], reading: Reading<'_>) -> Result<Dialogs, BadBody> {
        read::read(body, reading, self.config.dialogs)
    }

    fn read_json(&self, json: &[u8], reading: Reading<'_>) -> Result<Dialogs, BadBody> {
        read_json::read(json, reading, self.config.dialogs)
    }

    fn pack(&self, fact: &Dialogs, out: &mut Vec<u8>) {
        pack::pack(fact, out);
    }

    fn unpack(&self, packed: &[u8]) -> Option<Dialogs> {
        pack::unpack(packed)
    }

    fn merge(&self, old: &Dialogs, new: Dialogs) -> Dialogs {
        compose::merge(self.config, old, new)
    }

    fn residue(&self, old: &Dialogs, new: Option<&Dialogs>) -> Option<Dialogs> {
        compose::residue(old, new)
    }

    fn contradicts(&self, residue: &Dialogs, live: &Dialogs) -> bool {
        compose::contradicts(residue, live)
    }

    fn compose(&self, now: Time, _: &str, sources: &[Sourced<'_, Dialogs>]) -> Composed<State> {
        compose::compose(self.config, now, sources)
    }

    fn is_change(&self, old: &State, new: &State) -> bool {
        compose::is_change(old, new)
    }

    fn write(&self, presentity: &str, state: &State, how: Rendering, profile: &Profile, out: &mut Vec<u8>) -> Cuts {
        write::xml(presentity, state, how.view, profile, out)
    }

    /// `{"lamp","n","calls":[..],"ended":[..]}`; only `lamp` and `n` in the view [`View::Busy`].
    fn json(&self, state: &State, view: View, out: &mut Vec<u8>) {
        write::json(state, view, out);
    }

    fn schema(&self) -> &'static str {
        include_str!("../schema/dialog.json")
    }

    fn describe(&self, state: &State) -> String {
        let calls = state.dialogs().filter(|dialog| dialog.progress != Progress::Terminated).count();
        match calls {
            0 | 1 => state.lamp().name().to_owned(),
            _ => format!("{}, {calls} calls", state.lamp().name()),
        }
    }

    fn rule(&self) -> &'static str {
        "a call is shown once, the newest publication wins, and what is over anywhere is over everywhere"
    }
}
