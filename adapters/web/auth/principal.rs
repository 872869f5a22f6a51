//! A principal and its grants.

use lamplighter_model::{Addresses, View};
use lamplighter_port::Selector;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The members of a group by its name, canonical addresses in rising order; `None`: there is no such group.
pub(crate) type Groups = Arc<dyn Fn(&str) -> Option<Arc<[String]>> + Send + Sync>;

/// Who asks, and what it may do. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Principal(Arc<Inner>);

struct Inner {
    name: String,
    expires: Option<u64>,
    reads: Reads,
    writes: Reads,
    admin: bool,
}

/// Which states may be read, and in which view; or written. Equal ones give the same answers; cheap to clone.
#[derive(Clone)]
pub(crate) struct Reads {
    grants: Arc<[Grant]>,
    print: u64,
    uniform: Option<View>,
    groups: Groups,
}

/// One grant.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Grant {
    target: Target,
    /// Kinds by name; `None`: all.
    kinds: Option<Box<[Box<str>]>>,
    view: View,
}

/// What a grant is about.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Target {
    All,
    /// The scheme with its colon (`None`: any), and the domain.
    Domain(Option<Box<str>>, Box<str>),
    Exact(Box<str>),
    Group(Box<str>),
}

impl Principal {
    /// Who may do everything, since nobody has to sign in.
    pub(crate) fn anybody() -> Self {
        let all = || {
            let grant = Grant { target: Target::All, kinds: None, view: View::Full };
            Reads::new(vec![grant], Arc::new(|_| None))
        };
        Self::new("anonymous".into(), None, all(), all(), true)
    }

    pub(crate) fn new(name: String, expires: Option<u64>, reads: Reads, writes: Reads, admin: bool) -> Self {
        Self(Arc::new(Inner { name, expires, reads, writes, admin }))
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

    /// Equal for those that may read the same.
    pub(crate) fn print(&self) -> u64 {
        self.0.reads.print
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
    /// Order and repetition do not matter.
    pub(crate) fn new(mut grants: Vec<Grant>, groups: Groups) -> Self {
        grants.sort_unstable();
        grants.dedup();
        let mut hasher = DefaultHasher::new();
        grants.hash(&mut hasher);
        let widest = grants.iter().map(|grant| grant.view).min();
        let whole = |grant: &Grant| grant.target == Target::All && grant.kinds.is_none();
        let uniform = widest.filter(|view| grants.iter().any(|grant| whole(grant) && grant.view == *view));
        Self { print: hasher.finish(), uniform, grants: grants.into(), groups }
    }

    /// The widest view of this kind of this canonical address; `None`: it may not be read.
    pub(crate) fn view(&self, resource: &str, kind: &str) -> Option<View> {
        if self.uniform.is_some() {
            return self.uniform;
        }
        let fits = |grant: &&Grant| grant.has_kind(kind) && grant.target.has(resource, &self.groups);
        self.grants.iter().filter(fits).map(|grant| grant.view).min()
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
