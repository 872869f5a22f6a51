//! A principal and its grants.

use super::config;
use lamplighter_model::{Addresses, View};
use lamplighter_port::Selector;
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Who need not sign in. Nobody who does is called that.
pub(super) const ANYBODY: &str = "anonymous";
/// Grants in one token; more are refused.
const MOST_GRANTS: usize = 1000;

/// The members of a group by its name, canonical addresses in rising order; `None`: there is no such group.
pub(crate) type Groups = Arc<dyn Fn(&str) -> Option<Arc<[String]>> + Send + Sync>;

/// Who asks, and what it may do. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Principal(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    name: String,
    expires: Option<u64>,
    reads: Reads,
    writes: Reads,
    admin: bool,
    /// Turns true when its key is no longer known.
    over: Option<Arc<AtomicBool>>,
    /// The session that it came with.
    session: Option<InUse>,
}

/// Which states may be read, and in which view; or written. Equal ones give the same answers; cheap to clone.
#[derive(Clone)]
pub(crate) struct Reads {
    /// Those of a single address come first, in order.
    grants: Arc<[Grant]>,
    /// How many these are.
    exact: usize,
    print: u64,
    uniform: Option<View>,
    groups: Groups,
}

/// One grant.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Grant {
    target: Target,
    /// Kinds by name; `None`: all.
    kinds: Option<Box<[Box<str>]>>,
    view: View,
}

/// What a grant is about.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Target {
    Exact(Box<str>),
    All,
    /// The scheme with its colon (`None`: any), and the domain.
    Domain(Option<Box<str>>, Box<str>),
    Group(Box<str>),
}

impl Principal {
    /// Who may do everything, since nobody has to sign in.
    pub(crate) fn anybody() -> Self {
        let grant = Grant { target: Target::All, kinds: None, view: View::Full };
        let all = Reads::of(vec![grant], Arc::new(|_| None));
        Self::new(ANYBODY.into(), None, all.clone(), all, true)
    }

    pub(crate) fn new(name: String, expires: Option<u64>, reads: Reads, writes: Reads, admin: bool) -> Self {
        Self(Arc::new(Inner { name, expires, reads, writes, admin, over: None, session: None }))
    }

    fn with(&self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = (*self.0).clone();
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// The same, until this turns true.
    pub(super) fn unless(&self, over: &Arc<AtomicBool>) -> Self {
        self.with(|inner| inner.over = Some(Arc::clone(over)))
    }

    /// The same, until then, and by itself.
    pub(super) fn for_session(&self, expires: u64) -> Self {
        self.with(|inner| {
            inner.expires = Some(expires);
            inner.session = None;
        })
    }

    /// The same, which keeps a session in use as long as it is held.
    pub(super) fn used_by(&self, using: &Arc<Use>) -> Self {
        self.with(|inner| inner.session = Some(InUse::new(using)))
    }

    /// Whether it came with the cookie of a session.
    pub(super) fn has_session(&self) -> bool {
        self.0.session.is_some()
    }

    /// Whether it has ended before its time: its API key was taken away, or its session was ended.
    pub(crate) fn is_over(&self) -> bool {
        let ended = |over: &AtomicBool| over.load(Ordering::Relaxed);
        let Inner { over, session, .. } = &*self.0;
        over.as_deref().is_some_and(ended) || session.as_ref().is_some_and(|InUse(using)| ended(&using.over))
    }

    /// What it is called; `anonymous` where nobody has to sign in.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// When it ends, milliseconds since the epoch; `None`: never.
    pub(crate) fn expires(&self) -> Option<u64> {
        self.0.expires
    }

    /// The widest view that it has of this kind of this canonical address; `None`: it may not read it.
    pub(crate) fn view(&self, resource: &str, kind: &str) -> Option<View> {
        self.0.reads.view(resource, kind)
    }

    /// All that it may read.
    pub(crate) fn grants(&self) -> &Reads {
        &self.0.reads
    }

    /// The view in which it reads everything, if there is one.
    pub(crate) fn uniform_view(&self) -> Option<View> {
        self.0.reads.uniform
    }

    /// Whether it may publish this kind of this canonical address.
    pub(crate) fn may_write(&self, resource: &str, kind: &str) -> bool {
        self.0.writes.view(resource, kind).is_some()
    }

    /// Whether it may see connections, watchers, traces, explanations and metrics, and change the directory.
    pub(crate) fn is_admin(&self) -> bool {
        self.0.admin
    }
}

impl Reads {
    /// Order and repetition do not matter. What is no selector grants nothing.
    pub(crate) fn new(grants: &[config::Grant], addresses: &Addresses, groups: Groups) -> Self {
        let compile = |grant: &config::Grant| {
            let mut kinds: Option<Vec<Box<str>>> =
                grant.kinds.as_ref().map(|kinds| kinds.iter().map(|kind| kind.as_str().into()).collect());
            kinds.iter_mut().for_each(|kinds| kinds.sort_unstable());
            let view = match grant.view {
                config::View::Full => View::Full,
                config::View::Masked => View::Masked,
                config::View::Busy => View::Busy,
            };
            Some(Grant { target: Target::parse(&grant.r, addresses)?, kinds: kinds.map(Into::into), view })
        };
        Self::of(grants.iter().filter_map(compile).collect(), groups)
    }

    fn of(mut grants: Vec<Grant>, groups: Groups) -> Self {
        grants.sort_unstable();
        grants.dedup();
        let mut hasher = DefaultHasher::new();
        grants.hash(&mut hasher);
        let widest = grants.iter().map(|grant| grant.view).min();
        let whole = |grant: &Grant| grant.target == Target::All && grant.kinds.is_none();
        let uniform = widest.filter(|view| grants.iter().any(|grant| whole(grant) && grant.view == *view));
        let exact = grants.partition_point(|grant| matches!(grant.target, Target::Exact(_)));
        Self { print: hasher.finish(), uniform, exact, grants: grants.into(), groups }
    }

    /// The widest view of this kind of this canonical address; `None`: it may not be read.
    pub(crate) fn view(&self, resource: &str, kind: &str) -> Option<View> {
        if self.uniform.is_some() {
            return self.uniform;
        }
        let (exact, others) = self.grants.split_at(self.exact);
        let name = |grant: &Grant| match &grant.target {
            Target::Exact(name) => name.as_ref().cmp(resource),
            _ => std::cmp::Ordering::Greater,
        };
        let exact = &exact[exact.partition_point(|grant| name(grant).is_lt())..];
        let exact = exact.iter().take_while(|grant| name(grant).is_eq());
        let others = others.iter().filter(|grant| grant.target.has(resource, &self.groups));
        exact.chain(others).filter(|grant| grant.has_kind(kind)).map(|grant| grant.view).min()
    }

    /// Whether anything that this selector may match could be read: a subscription for what never can be is refused.
    pub(crate) fn reaches(&self, selector: &Selector, kind: &str) -> bool {
        let of = |grant: &Grant| grant.has_kind(kind) && grant.target.meets(selector, &self.groups);
        self.grants.iter().any(of)
    }
}

impl PartialEq for Reads {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print && self.grants == other.grants
    }
}

impl Eq for Reads {}

impl Hash for Reads {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print.hash(state);
    }
}

impl Grant {
    fn has_kind(&self, kind: &str) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|one| **one == *kind))
    }
}

impl Target {
    /// Reads a selector of a grant. A domain or group that does not exist here matches nothing, which is no mistake:
    /// one token may be for several gateways. `None`: it is no selector at all.
    fn parse(text: &str, addresses: &Addresses) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.len() > 512 {
            return None;
        }
        if text == "*" {
            return Some(Self::All);
        }
        if let Some(name) = text.strip_prefix("group:") {
            return (!name.is_empty()).then(|| Self::Group(name.into()));
        }
        if let Some((user, domain)) = text.split_once('@') {
            let scheme = match user {
                "*" => Some(None),
                "sip:*" | "sips:*" => Some(Some("sip:".into())),
                "xmpp:*" => Some(Some("xmpp:".into())),
                _ => None,
            };
            if let Some(scheme) = scheme {
                let domain = domain.trim_end_matches('.').to_ascii_lowercase();
                return (!domain.is_empty()).then(|| Self::Domain(scheme, domain.into()));
            }
        }
        let canonical = addresses.parse(text).unwrap_or_else(|_| text.to_owned());
        Some(Self::Exact(canonical.into()))
    }

    fn has(&self, resource: &str, groups: &Groups) -> bool {
        match self {
            Self::All => true,
            Self::Domain(scheme, domain) => {
                let of = resource.rsplit_once('@').map_or("", |(_, domain)| domain);
                *of == **domain && scheme.as_ref().is_none_or(|scheme| resource.starts_with(&**scheme))
            }
            Self::Exact(one) => **one == *resource,
            Self::Group(name) => {
                groups(name).is_some_and(|all| all.binary_search_by(|one| one.as_str().cmp(resource)).is_ok())
            }
        }
    }

    fn meets(&self, selector: &Selector, groups: &Groups) -> bool {
        match (self, selector) {
            (_, Selector::Exact(resource)) => self.has(resource, groups),
            (Self::All, _) | (_, Selector::All) => true,
            (Self::Domain(mine, one), Selector::Domain { scheme, domain }) => {
                one == domain && (mine.is_none() || scheme.is_none() || mine == scheme)
            }
            (Self::Exact(resource), Selector::Domain { scheme, domain }) => {
                Self::Domain(scheme.clone(), domain.clone()).has(resource, groups)
            }
            (Self::Group(name), Selector::Domain { scheme, domain }) => {
                let domain = Self::Domain(scheme.clone(), domain.clone());
                groups(name).is_some_and(|all| all.iter().any(|one| domain.has(one, groups)))
            }
        }
    }
}

/// Whether a grant may be about this.
pub(super) fn is_selector(text: &str) -> bool {
    Target::parse(text, &Addresses::default()).is_some()
}

/// What the claim `presence` of a token grants.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Claim {
    pub read: Vec<config::Grant>,
    pub write: Vec<config::Grant>,
    pub admin: bool,
}

impl Claim {
    /// Reads it. Members that are not known do not matter; a view that is not known grants nothing, for it may hide
    /// more than those that are. Anything of the wrong type makes the whole claim, and so the token, invalid.
    pub(super) fn read(claim: &Value) -> Result<Self, &'static str> {
        if claim.is_null() {
            return Ok(Self::default());
        }
        let claim = claim.as_object().ok_or("it is no object")?;
        let admin = match claim.get("admin") {
            None => false,
            Some(admin) => admin.as_bool().ok_or("admin is neither true nor false")?,
        };
        let grants = |name: &str| match claim.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) if list.len() > MOST_GRANTS => Err("it has more than 1000 grants"),
            Some(Value::Array(list)) => list.iter().filter_map(|grant| grant_of(grant).transpose()).collect(),
            Some(_) => Err("read and write are lists"),
        };
        Ok(Self { read: grants("read")?, write: grants("write")?, admin })
    }
}

/// `None`: it grants nothing.
fn grant_of(grant: &Value) -> Result<Option<config::Grant>, &'static str> {
    let r = grant.get("r").and_then(Value::as_str).ok_or("a grant has no string `r`")?;
    let kinds = match grant.get("kinds") {
        None => None,
        Some(Value::Array(kinds)) => {
            let kinds = kinds.iter().map(|kind| kind.as_str().map(str::to_owned)).collect::<Option<_>>();
            Some(kinds.ok_or("a kind is no string")?)
        }
        Some(_) => return Err("kinds is no list"),
    };
    let view = match grant.get("view") {
        None => config::View::Full,
        Some(Value::String(view)) => match view.as_str() {
            "full" => config::View::Full,
            "masked" => config::View::Masked,
            "busy" => config::View::Busy,
            _ => return Ok(None),
        },
        Some(_) => return Err("a view is no string"),
    };
    Ok(Some(config::Grant { r: r.to_owned(), kinds, view }))
}

/// How a session is used: by whom at the moment, and when last.
pub(super) struct Use {
    born: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
    holders: AtomicUsize,
    over: AtomicBool,
}

impl Use {
    pub(super) fn new(now: Instant) -> Self {
        Self { born: now, last: AtomicU64::new(0), holders: AtomicUsize::new(0), over: AtomicBool::new(false) }
    }

    /// When it was last used: now, if it is.
    pub(super) fn last(&self, now: Instant) -> Instant {
        if self.holders.load(Ordering::Acquire) > 0 {
            return now;
        }
        self.born + Duration::from_millis(self.last.load(Ordering::Acquire))
    }

    /// The session has ended.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

struct InUse(Arc<Use>);

impl InUse {
    fn new(using: &Arc<Use>) -> Self {
        using.holders.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(using))
    }
}

impl Clone for InUse {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let Self(using) = self;
        using.last.fetch_max(using.born.elapsed().as_millis() as u64, Ordering::AcqRel);
        using.holders.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn groups() -> Groups {
        Arc::new(|name| {
            let members = ["sip:7@example.com", "sip:8@example.com"].map(str::to_owned);
            (name == "night").then(|| Arc::from(members))
        })
    }

    fn reads(grants: Value) -> Reads {
        let addresses = Addresses::new(["example.com", "sales.example.com"], [], [("boss", "1001")]);
        let claim = Claim::read(&json!({ "read": grants })).unwrap();
        Reads::new(&claim.read, &addresses, groups())
    }

    /// What grants give for each of these.
    fn check(grants: Value, expected: [&str; 5]) {
        let reads = reads(grants.clone());
        let asked = [
            ("sip:1001@example.com", "dialog"),
            ("sip:1001@example.com", "presence"),
            ("sip:7@example.com", "dialog"),
            ("sip:1001@sales.example.com", "dialog"),
            ("xmpp:1001@example.com", "dialog"),
        ];
        let got = asked.map(|(resource, kind)| match reads.view(resource, kind) {
            None => "-",
            Some(View::Full) => "full",
            Some(View::Masked) => "masked",
            Some(View::Busy) => "busy",
        });
        assert_eq!(got, expected, "{grants}");
    }

    /// WS-02
    #[test]
    fn grants_give_the_widest_view_of_those_that_match() {
        let (none, full) = (["-"; 5], ["full"; 5]);
        check(json!([]), none);
        check(json!([{"r": "*"}]), full);
        check(json!([{"r": "*", "view": "busy"}]), ["busy"; 5]);
        check(json!([{"r": "*", "view": "busy"}, {"r": "*", "view": "masked"}]), ["masked"; 5]);
        check(json!([{"r": "*", "kinds": ["dialog"]}]), ["full", "-", "full", "full", "full"]);
        check(json!([{"r": "*", "kinds": []}]), none);
        check(json!([{"r": "*", "kinds": ["telepathy"]}]), none);
        check(json!([{"r": "sip:*@Example.com", "view": "masked"}]), ["masked", "masked", "masked", "-", "-"]);
        check(json!([{"r": "*@example.com"}]), ["full", "full", "full", "-", "full"]);
        check(json!([{"r": "xmpp:*@example.com"}]), ["-", "-", "-", "-", "full"]);
        check(json!([{"r": "1001"}]), ["full", "full", "-", "-", "-"]);
        check(json!([{"r": "boss", "view": "busy"}]), ["busy", "busy", "-", "-", "-"]);
        check(json!([{"r": "group:night"}]), ["-", "-", "full", "-", "-"]);
        check(json!([{"r": "group:day"}, {"r": "*@elsewhere.example.org"}, {"r": ""}, {"r": "group:"}]), none);
        check(
            json!([{"r": "*", "view": "busy"}, {"r": "sip:1001@example.com", "kinds": ["dialog"], "view": "full"},
                   {"r": "sip:1001@example.com", "view": "masked"}, {"r": "sip:1000@example.com"}]),
            ["full", "masked", "busy", "busy", "busy"],
        );
    }

    #[test]
    fn views_that_are_not_known_grant_nothing() {
        check(json!([{"r": "*", "view": "half"}]), ["-"; 5]);
        check(json!([{"r": "*", "view": "half"}, {"r": "*", "view": "busy"}]), ["busy"; 5]);
    }

    #[test]
    fn claims_of_the_wrong_type_are_refused() {
        let check = |claim: Value, good: bool| assert_eq!(Claim::read(&claim).is_ok(), good, "{claim}");
        check(json!(null), true);
        check(json!({"act": ["dial"], "read": [{"r": "*", "later": 1}], "write": [], "admin": true}), true);
        for claim in [
            json!("all"),
            json!([]),
            json!({"admin": "yes"}),
            json!({"admin": 1}),
            json!({"read": "*"}),
            json!({"read": {"r": "*"}}),
            json!({"read": ["*"]}),
            json!({"read": [{}]}),
            json!({"read": [{"r": 1}]}),
            json!({"read": [{"r": "*", "kinds": "dialog"}]}),
            json!({"read": [{"r": "*", "kinds": null}]}),
            json!({"write": [{"r": "*", "kinds": [1]}]}),
            json!({"read": [{"r": "*", "view": null}]}),
            json!({"read": vec![json!({"r": "*"}); 1001]}),
        ] {
            check(claim, false);
        }
    }

    #[test]
    fn equal_grants_are_equal_in_any_order() {
        let a = reads(json!([{"r": "1", "kinds": ["dialog", "mwi"]}, {"r": "*", "view": "busy"}, {"r": "1001"}]));
        let b = reads(json!([{"r": "boss"}, {"r": "*", "view": "busy"}, {"r": "1", "kinds": ["mwi", "dialog"]}]));
        let c = reads(json!([{"r": "boss"}, {"r": "*", "view": "masked"}, {"r": "1", "kinds": ["mwi", "dialog"]}]));
        assert!(a == b && a.print == b.print && a != c && a.print != c.print);
        assert_eq!((a.uniform, reads(json!([{"r": "*"}, {"r": "1"}])).uniform), (None, Some(View::Full)));
        assert_eq!(reads(json!([{"r": "*", "kinds": ["dialog"]}])).uniform, None);
    }

    #[test]
    fn what_can_never_be_read_is_known_before_it_exists() {
        let addresses = Addresses::new(["example.com", "sales.example.com"], [], []);
        let check = |grant: &str, asked: &str, expected: bool| {
            let selector = Selector::parse(asked, &addresses).unwrap();
            let reads = reads(json!([{"r": grant, "kinds": ["dialog"]}]));
            assert_eq!(reads.reaches(&selector, "dialog"), expected, "{grant} {asked}");
            assert!(!reads.reaches(&selector, "presence"));
        };
        check("*", "*", true);
        check("1001", "*", true);
        check("1001", "1001", true);
        check("1001", "1002", false);
        check("1001", "sip:*@example.com", true);
        check("1001", "*@sales.example.com", false);
        check("*@example.com", "sip:*@example.com", true);
        check("xmpp:*@example.com", "sip:*@example.com", false);
        check("xmpp:*@example.com", "*@example.com", true);
        check("sip:*@example.com", "*@sales.example.com", false);
        check("group:night", "sip:*@example.com", true);
        check("group:night", "*@sales.example.com", false);
        check("group:night", "8", true);
        check("group:day", "*", true);
    }
}
