//! Event packages: what one must say so that SUBSCRIBE, PUBLISH, NOTIFY, the feed and metrics follow by themselves.

use crate::config::Profile;
use crate::publish::Content;
use crate::time::Time;
use bytes::Bytes;
use smallvec::SmallVec;
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A package's place in [`Packages`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PackageId(pub u8);

/// What one source says, parsed; its type is known to its package only.
pub type AnyFact = Arc<dyn Any + Send + Sync>;

/// What is true of a presentity, composed; its type is known to its package only.
pub type AnyState = Arc<dyn Any + Send + Sync>;

/// A body format: a MIME type without parameters, in lower case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Format {
    /// Such as `application/pidf+xml`.
    pub content_type: Box<str>,
}

impl Format {
    /// From a MIME type.
    pub fn new(content_type: &str) -> Self {
        Self { content_type: content_type.to_ascii_lowercase().into_boxed_str() }
    }
}

/// Lifetimes of subscriptions and publications of a package.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expires {
    /// What a request without `Expires` gets.
    pub default: Duration,
    /// Anything shorter (but zero) is refused with 423.
    pub least: Duration,
    /// Anything longer is shortened.
    pub most: Duration,
}

/// Orders publications: by time, then by the owner's counter, then by node. Two are never equal.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Stamp {
    /// When the owner accepted it.
    pub at: Time,
    /// Counts what the owner accepted.
    pub counter: u64,
    /// The owner.
    pub node: u16,
}

/// Which fields a watcher may see.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum View {
    /// Everything.
    #[default]
    Full,
    /// Remote numbers shortened to three digits, no names, contacts, ids, notes or extensions.
    Masked,
    /// The state only (how far each call is, open or closed), no parties, numbers or notes.
    Busy,
}

/// Which of the bodies of one state is meant. Watchers with equal renderings share the bytes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rendering {
    /// An index into [`Package::formats`].
    pub format: u8,
    /// What is hidden.
    pub view: View,
    /// The device profile, an index into `Config::profiles`.
    pub profile: u16,
}

/// Places in a body that differ from watcher to watcher of the same rendering.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cuts {
    /// Where the digits of the version stand (in the body: a lone `0`), one byte wide.
    pub version: Option<u32>,
    /// Where the value of the `entity` attribute stands (in the body: the canonical address, escaped). Always
    /// behind `version` if both are there.
    pub entity: Option<Range<u32>>,
}

/// A body, rendered once and shared by all watchers of the same [`Rendering`].
#[derive(Debug, Default)]
pub struct Rendered {
    /// The body; empty when there is nothing to say.
    pub bytes: Bytes,
    /// What to replace per watcher.
    pub cuts: Cuts,
}

/// A body that cannot be read. PUBLISH answers 400 with this text, HTTP 422.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct BadBody {
    /// Where, such as `line 3` or `byte 120`.
    pub place: String,
    /// What was expected or what is wrong; never a copy of the peer's bytes.
    pub problem: &'static str,
}

/// What a reader may use beside the body.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The canonical address that the body was published for.
    pub presentity: &'a str,
    /// When it arrived.
    pub now: Time,
    /// Whether a publication exists already that this body modifies (RFC 4235 partial documents merge only then).
    pub modifies: bool,
}

/// One of the facts that compose a state.
#[derive(Debug)]
pub struct Sourced<'a, F: ?Sized> {
    /// Who vouches for it, such as `pub:7f3a` or `derived:dialog`.
    pub source: &'a str,
    /// When it was accepted.
    pub stamp: Stamp,
    /// False for the residue of a publication that was replaced or has ended (see [`Package::residue`]).
    pub live: bool,
    /// What it says.
    pub fact: &'a F,
}

impl<F: ?Sized> Clone for Sourced<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: ?Sized> Copy for Sourced<'_, F> {}

/// A composed state, and when it must be composed again although nothing has arrived.
#[derive(Debug)]
pub struct Composed<S> {
    /// What is true now.
    pub state: S,
    /// When a lingering part leaves.
    pub again: Option<Time>,
}

/// An event package (RFC 6665 section 5.4): typed, one file each, listed in `src/packages/lib.rs`.
///
/// All methods are pure. `Fact` is what one source says, `State` what is true given all of them.
pub trait Package: Send + Sync + 'static {
    /// What one publication says.
    type Fact: Send + Sync + 'static;
    /// What is true of the presentity.
    type State: Send + Sync + 'static;

    /// The event type as the Event header has it, parameters that choose the package included: `dialog`.
    fn name(&self) -> &str;
    /// Its name in the feed and the HTTP API: `presence`, `dialog`, `mwi`.
    fn kind(&self) -> &str;
    /// Formats read and written, the default first.
    fn formats(&self) -> &[Format];
    /// Whether phones and servers may subscribe here and publish; no: it is only read at other servers, and asking us
    /// for it is answered with 489.
    fn served(&self) -> bool {
        true
    }
    /// Lifetimes, unless configured.
    fn expires(&self) -> Expires;
    /// How long the residue of ended facts is kept.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }

    /// Reads a body. `format` is an index into [`Self::formats`].
    fn read(&self, format: u8, body: &[u8], reading: Reading<'_>) -> Result<Self::Fact, BadBody>;

    /// Reads a state as JSON: what [`Self::json`] writes, as far as it can be published, and simpler forms of it.
    fn read_json(&self, json: &[u8], reading: Reading<'_>) -> Result<Self::Fact, BadBody> {
        let _ = (json, reading);
        Err(BadBody { place: "document".into(), problem: "this kind of state cannot be published as JSON" })
    }

    /// Appends the fact as the store keeps it: a form that later versions read as well.
    fn pack(&self, fact: &Self::Fact, out: &mut Vec<u8>);

    /// Reads what [`Self::pack`] wrote, in this version or an older one; `None`: it is damaged.
    fn unpack(&self, packed: &[u8]) -> Option<Self::Fact>;

    /// The fact of a publication whose body `old` was replaced by `new`: a partial document is merged, and what is
    /// known from `old` only (since when) is carried over.
    fn merge(&self, old: &Self::Fact, new: Self::Fact) -> Self::Fact {
        let _ = old;
        new
    }

    /// What must outlive `old` when `new` (or nothing) takes its place: for dialogs, those that have terminated.
    /// It is kept for [`Self::linger`] and handed to [`Self::compose`] with `live: false`.
    fn residue(&self, old: &Self::Fact, new: Option<&Self::Fact>) -> Option<Self::Fact> {
        let _ = (old, new);
        None
    }

    /// Whether a publication that is older than `residue` would, without that, show again what has ended. As long as
    /// there is such a publication the residue is kept, beyond [`Self::linger`].
    fn contradicts(&self, residue: &Self::Fact, live: &Self::Fact) -> bool {
        let _ = (residue, live);
        false
    }

    /// What is true, given `sources`. The same set gives the same result in any order: ties go by stamp.
    fn compose(&self, now: Time, presentity: &str, sources: &[Sourced<'_, Self::Fact>]) -> Composed<Self::State>;

    /// Whether watchers must be told that `old` has become `new`.
    fn is_change(&self, old: &Self::State, new: &Self::State) -> bool;

    /// Appends the body in format `how.format` to `out` (always the whole state). Nothing appended: no body.
    fn write(
        &self,
        presentity: &str,
        state: &Self::State,
        how: Rendering,
        profile: &Profile,
        out: &mut Vec<u8>,
    ) -> Cuts;

    /// Appends the state as a JSON object (`feed.md` 8).
    fn json(&self, state: &Self::State, view: View, out: &mut Vec<u8>);

    /// The JSON Schema (2020-12) of what [`Self::json`] writes in any view, as JSON text. `examples` list the values of
    /// open enumerations; no `$ref`, so that it can be put into another document.
    fn schema(&self) -> &'static str;

    /// A short human reading of the state for `explain`, such as `ringing`.
    fn describe(&self, state: &Self::State) -> String;

    /// The rule of composition in one sentence, for `explain`.
    fn rule(&self) -> &'static str;

    /// Names of packages of the same presentity whose state says something in this one.
    fn derives(&self) -> &[&'static str] {
        &[]
    }

    /// What the state of package `from` says in this one; `None`: nothing.
    fn derive(&self, from: &str, state: &AnyState, now: Time) -> Option<Self::Fact> {
        let _ = (from, state, now);
        None
    }

    /// Whether two derived facts say the same.
    fn same_fact(&self, a: &Self::Fact, b: &Self::Fact) -> bool {
        let _ = (a, b);
        false
    }
}

/// [`Package`] with its types erased; the only downcasts are here.
#[expect(missing_docs, reason = "each method is the one of `Package`")]
pub trait AnyPackage: Send + Sync {
    fn name(&self) -> &str;
    fn kind(&self) -> &str;
    fn formats(&self) -> &[Format];
    fn served(&self) -> bool;
    fn expires(&self) -> Expires;
    fn linger(&self) -> Duration;
    fn read(&self, content: Content<'_>, reading: Reading<'_>) -> Result<AnyFact, BadBody>;
    /// Reads a body that replaces `old`, merged.
    fn read_over(&self, content: Content<'_>, old: &AnyFact, reading: Reading<'_>) -> Result<AnyFact, BadBody>;
    fn pack(&self, fact: &AnyFact, out: &mut Vec<u8>);
    fn unpack(&self, packed: &[u8]) -> Option<AnyFact>;
    fn residue(&self, old: &AnyFact, new: Option<&AnyFact>) -> Option<AnyFact>;
    fn contradicts(&self, residue: &AnyFact, live: &AnyFact) -> bool;
    fn compose(&self, now: Time, presentity: &str, sources: &[Sourced<'_, AnyFact>]) -> Composed<AnyState>;
    fn is_change(&self, old: &AnyState, new: &AnyState) -> bool;
    fn write(&self, presentity: &str, state: &AnyState, how: Rendering, profile: &Profile, out: &mut Vec<u8>) -> Cuts;
    fn json(&self, state: &AnyState, view: View, out: &mut Vec<u8>);
    fn schema(&self) -> &'static str;
    fn describe(&self, state: &AnyState) -> String;
    fn rule(&self) -> &'static str;
    fn derives(&self) -> &[&'static str];
    fn derive(&self, from: &str, state: &AnyState, now: Time) -> Option<AnyFact>;
    fn same_fact(&self, a: &AnyFact, b: &AnyFact) -> bool;
}

fn known<T: 'static>(any: &(dyn Any + Send + Sync)) -> &T {
    any.downcast_ref().expect("a package is handed only what it made itself")
}

fn unread<P: Package>(package: &P, content: Content<'_>, reading: Reading<'_>) -> Result<P::Fact, BadBody> {
    match content {
        Content::Document { format, body } => package.read(format, body, reading),
        Content::Json(json) => package.read_json(json, reading),
    }
}

impl<P: Package> AnyPackage for P {
    fn name(&self) -> &str {
        Package::name(self)
    }

    fn kind(&self) -> &str {
        Package::kind(self)
    }

    fn formats(&self) -> &[Format] {
        Package::formats(self)
    }

    fn served(&self) -> bool {
        Package::served(self)
    }

    fn expires(&self) -> Expires {
        Package::expires(self)
    }

    fn linger(&self) -> Duration {
        Package::linger(self)
    }

    fn read(&self, content: Content<'_>, reading: Reading<'_>) -> Result<AnyFact, BadBody> {
        Ok(Arc::new(unread(self, content, reading)?))
    }

    fn read_over(&self, content: Content<'_>, old: &AnyFact, reading: Reading<'_>) -> Result<AnyFact, BadBody> {
        let new = unread(self, content, reading)?;
        Ok(Arc::new(Package::merge(self, known(&**old), new)))
    }

    fn pack(&self, fact: &AnyFact, out: &mut Vec<u8>) {
        Package::pack(self, known(&**fact), out);
    }

    fn unpack(&self, packed: &[u8]) -> Option<AnyFact> {
        Some(Arc::new(Package::unpack(self, packed)?))
    }

    fn residue(&self, old: &AnyFact, new: Option<&AnyFact>) -> Option<AnyFact> {
        let residue = Package::residue(self, known(&**old), new.map(|new| known(&**new)))?;
        Some(Arc::new(residue))
    }

    fn contradicts(&self, residue: &AnyFact, live: &AnyFact) -> bool {
        Package::contradicts(self, known(&**residue), known(&**live))
    }

    fn compose(&self, now: Time, presentity: &str, sources: &[Sourced<'_, AnyFact>]) -> Composed<AnyState> {
        let typed: SmallVec<[Sourced<'_, P::Fact>; 4]> = sources
            .iter()
            .map(|&Sourced { source, stamp, live, fact }| Sourced { source, stamp, live, fact: known(&**fact) })
            .collect();
        let Composed { state, again } = Package::compose(self, now, presentity, &typed);
        Composed { state: Arc::new(state), again }
    }

    fn is_change(&self, old: &AnyState, new: &AnyState) -> bool {
        Package::is_change(self, known(&**old), known(&**new))
    }

    fn write(&self, presentity: &str, state: &AnyState, how: Rendering, profile: &Profile, out: &mut Vec<u8>) -> Cuts {
        Package::write(self, presentity, known(&**state), how, profile, out)
    }

    fn json(&self, state: &AnyState, view: View, out: &mut Vec<u8>) {
        Package::json(self, known(&**state), view, out);
    }

    fn schema(&self) -> &'static str {
        Package::schema(self)
    }

    fn describe(&self, state: &AnyState) -> String {
        Package::describe(self, known(&**state))
    }

    fn rule(&self) -> &'static str {
        Package::rule(self)
    }

    fn derives(&self) -> &[&'static str] {
        Package::derives(self)
    }

    fn derive(&self, from: &str, state: &AnyState, now: Time) -> Option<AnyFact> {
        Some(Arc::new(Package::derive(self, from, state, now)?))
    }

    fn same_fact(&self, a: &AnyFact, b: &AnyFact) -> bool {
        Package::same_fact(self, known(&**a), known(&**b))
    }
}

/// All packages of a gateway; cheap to clone.
#[derive(Clone)]
pub struct Packages(Arc<Inner>);

struct Inner {
    all: Vec<Registered>,
    allow_events: String,
}

struct Registered {
    package: Box<dyn AnyPackage>,
    expires: Expires,
    derived: Vec<PackageId>,
}

impl std::fmt::Debug for Packages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.all.iter().map(|one| one.package.name())).finish()
    }
}

impl Packages {
    /// `expires` may change a package's lifetimes, given its name and its own.
    pub fn new(all: Vec<Box<dyn AnyPackage>>, expires: impl Fn(&str, Expires) -> Expires) -> Self {
        assert!(all.len() <= usize::from(u8::MAX), "at most 255 packages");
        let derived = |name: &str| {
            let targets = all.iter().enumerate().filter(|(_, package)| package.derives().contains(&name));
            targets.map(|(index, _)| PackageId(index as u8)).collect()
        };
        let derived: Vec<Vec<PackageId>> = all.iter().map(|package| derived(package.name())).collect();
        let served = all.iter().filter(|package| package.served());
        let mut names: Vec<&str> = served.map(|package| package.name().split(';').next().unwrap_or("")).collect();
        names.sort_unstable();
        names.dedup();
        let allow_events = names.join(", ");
        let all = all.into_iter().zip(derived).map(|(package, derived)| Registered {
            expires: expires(package.name(), package.expires()),
            package,
            derived,
        });
        Self(Arc::new(Inner { all: all.collect(), allow_events }))
    }

    /// The package of an event type with the parameters that choose it, such as `dialog` or `dialog;sla`.
    pub fn find(&self, name: &[u8]) -> Option<PackageId> {
        let index = self.0.all.iter().position(|one| one.package.name().as_bytes() == name)?;
        Some(PackageId(index as u8))
    }

    /// The package of a feed kind, such as `mwi`.
    pub fn find_kind(&self, kind: &str) -> Option<PackageId> {
        let index = self.0.all.iter().position(|one| one.package.kind() == kind)?;
        Some(PackageId(index as u8))
    }

    /// The package itself.
    pub fn get(&self, id: PackageId) -> &dyn AnyPackage {
        &*self.0.all[usize::from(id.0)].package
    }

    /// Its lifetimes as configured.
    pub fn expires(&self, id: PackageId) -> Expires {
        self.0.all[usize::from(id.0)].expires
    }

    /// Packages that say something derived from the state of package `id`.
    pub fn derived_from(&self, id: PackageId) -> &[PackageId] {
        &self.0.all[usize::from(id.0)].derived
    }

    /// The value of the Allow-Events header.
    pub fn allow_events(&self) -> &str {
        &self.0.allow_events
    }

    /// All ids in order.
    pub fn ids(&self) -> impl Iterator<Item = PackageId> + use<> {
        (0..self.0.all.len()).map(|index| PackageId(index as u8))
    }
}
