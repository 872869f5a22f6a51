//! What a reader wants to see: selectors, compiled.

use crate::item::Item;
use lamplighter_model::{Addresses, NotLocal, PackageId};
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;

/// A set of packages.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Kinds([u64; 4]);

impl Kinds {
    /// Every package there is.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// These packages.
    pub fn of(ids: impl IntoIterator<Item = PackageId>) -> Self {
        let mut kinds = Self([0; 4]);
        for PackageId(id) in ids {
            kinds.0[usize::from(id >> 6)] |= 1 << (id & 63);
        }
        kinds
    }

    /// Whether it holds this one.
    pub const fn has(self, PackageId(id): PackageId) -> bool {
        self.0[(id >> 6) as usize] & (1 << (id & 63)) != 0
    }
}

/// One selector, in canonical form.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Selector {
    /// Everything: `*`.
    All,
    /// A domain: `*@example.com` (any scheme) or `sip:*@example.com`.
    Domain {
        /// The scheme with its colon; `None`: any.
        scheme: Option<Box<str>>,
        /// In lower case.
        domain: Box<str>,
    },
    /// One canonical address.
    Exact(Arc<str>),
}

/// Why a selector means nothing here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadSelector {
    /// It is longer than an address can be.
    #[error("longer than 512 bytes")]
    TooLong,
    /// It is an address that is not ours.
    #[error(transparent)]
    NotLocal(#[from] NotLocal),
}

impl Selector {
    /// Reads `*`, `*@domain`, `sip:*@domain` or an address in any spelling that [`Addresses::parse`] takes.
    pub fn parse(text: &str, addresses: &Addresses) -> Result<Self, BadSelector> {
        if text.len() > 512 {
            return Err(BadSelector::TooLong);
        }
        let text = text.trim();
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some((user, domain)) = text.split_once('@') {
            let scheme = match user {
                "*" => Some(None),
                "sip:*" | "sips:*" => Some(Some("sip:".into())),
                _ => None,
            };
            if let Some(scheme) = scheme {
                let domain = domain.to_ascii_lowercase().into_boxed_str();
                return match addresses.domains().contains(&domain) {
                    true => Ok(Self::Domain { scheme, domain }),
                    false => Err(BadSelector::NotLocal(NotLocal::Foreign)),
                };
            }
        }
        Ok(Self::Exact(addresses.parse(text)?.into()))
    }
}

/// Selectors and packages, compiled for asking about one item quickly. Equal scopes see the same items.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scope {
    /// An item is in scope when it is in one of them.
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Part {
    all: bool,
    domains: Vec<(Option<Box<str>>, Box<str>)>,
    exact: HashSet<Arc<str>>,
    kinds: Kinds,
}

impl Scope {
    /// Compiles; order and repetition of selectors do not matter.
    pub fn new(selectors: impl IntoIterator<Item = Selector>, kinds: Kinds) -> Self {
        let mut part = Part { all: false, domains: Vec::new(), exact: HashSet::new(), kinds };
        for selector in selectors {
            match selector {
                Selector::All => part.all = true,
                Selector::Domain { scheme, domain } => part.domains.push((scheme, domain)),
                Selector::Exact(resource) => _ = part.exact.insert(resource),
            }
        }
        part.domains.sort_unstable();
        part.domains.dedup();
        Self { parts: vec![part] }
    }

    /// Everything.
    pub fn everything() -> Self {
        Self::new([Selector::All], Kinds::ALL)
    }

    /// What is in any of these.
    pub fn union<'a>(scopes: impl IntoIterator<Item = &'a Self>) -> Self {
        Self { parts: scopes.into_iter().flat_map(|scope| scope.parts.iter().cloned()).collect() }
    }

    /// Whether it includes this item.
    pub fn has(&self, item: &Item) -> bool {
        self.includes(&item.resource, item.package)
    }

    /// Whether it includes this package of this canonical address.
    pub fn includes(&self, resource: &str, package: PackageId) -> bool {
        self.parts.iter().any(|part| part.kinds.has(package) && part.has(resource))
    }

    /// The addresses when it names nothing but addresses, those of several subscriptions perhaps twice.
    pub(crate) fn names(&self) -> Option<impl Iterator<Item = &Arc<str>>> {
        let named = self.parts.iter().all(|part| !part.all && part.domains.is_empty());
        named.then(|| self.parts.iter().flat_map(|part| part.exact.iter()))
    }

    /// How many addresses it names.
    pub fn named(&self) -> usize {
        self.parts.iter().map(|part| part.exact.len()).sum()
    }

    /// Equal for equal scopes, as long as `hash` is the same.
    pub fn fingerprint(&self, hash: &impl BuildHasher) -> u64 {
        let mut print = 0_u64;
        for part in &self.parts {
            let names = part.exact.iter().fold(0_u64, |sum, name| sum.wrapping_add(hash.hash_one(name)));
            print = hash.hash_one((print, part.all, &part.domains, names, part.kinds));
        }
        print
    }
}

impl Part {
    fn has(&self, resource: &str) -> bool {
        if self.all || self.exact.contains(resource) {
            return true;
        }
        if self.domains.is_empty() {
            return false;
        }
        let domain = resource.rsplit_once('@').map_or("", |(_, domain)| domain);
        let fits = |(scheme, wanted): &(Option<Box<str>>, Box<str>)| {
            **wanted == *domain && scheme.as_ref().is_none_or(|scheme| resource.starts_with(&**scheme))
        };
        self.domains.iter().any(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(selectors: &[&str]) -> Scope {
        let addresses = Addresses::new(["example.com", "sales.example.com"], [], [("boss", "1001")]);
        let parse = |text: &&str| Selector::parse(text, &addresses).unwrap();
        Scope::new(selectors.iter().map(parse), Kinds::ALL)
    }

    #[test]
    fn selectors_select() {
        let check = |selectors: &[&str], resource: &str, expected: bool| {
            assert_eq!(scope(selectors).includes(resource, PackageId(0)), expected, "{selectors:?} {resource}");
        };
        check(&["*"], "sip:1@sales.example.com", true);
        check(&["sip:*@Example.com"], "sip:1@example.com", true);
        check(&["*@example.com"], "xmpp:1@example.com", true);
        check(&["sip:*@example.com"], "xmpp:1@example.com", false);
        check(&["*@example.com"], "sip:1@sales.example.com", false);
        check(&["1001"], "sip:1001@example.com", true);
        check(&["boss"], "sip:1001@example.com", true);
        check(&["sip:*97@example.com"], "sip:*97@example.com", true);
        check(&["sip:*97@example.com"], "sip:197@example.com", false);
    }

    #[test]
    fn equal_scopes_are_equal_in_any_order() {
        let a = scope(&["1", "2", "*@example.com", "*@sales.example.com"]);
        assert_eq!(a, scope(&["*@sales.example.com", "2", "*@example.com", "1", "1", "*@example.com"]));
        let hash = std::hash::RandomState::new();
        let same = scope(&["*@sales.example.com", "2", "*@example.com", "1"]);
        assert_eq!(a.fingerprint(&hash), same.fingerprint(&hash));
        assert_ne!(a.fingerprint(&hash), scope(&["1", "*@example.com"]).fingerprint(&hash));
        assert!(a.names().is_none());
        assert_eq!(scope(&["1"]).names().unwrap().count(), 1);
    }

    #[test]
    fn a_union_includes_what_any_of_them_does() {
        let one = |name: &str, id| Scope::new([Selector::Exact(name.into())], Kinds::of([PackageId(id)]));
        let union = Scope::union([&one("sip:1@example.com", 0), &one("sip:2@example.com", 1)]);
        assert!(union.includes("sip:1@example.com", PackageId(0)) && union.includes("sip:2@example.com", PackageId(1)));
        assert!(!union.includes("sip:1@example.com", PackageId(1)));
        assert_eq!(union.named(), 2);
        assert!(!Scope::default().includes("sip:1@example.com", PackageId(0)));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let addresses = Addresses::new(["example.com"], [], []);
        let check = |text: &str, expected| assert_eq!(Selector::parse(text, &addresses), Err(expected), "{text:.20}");
        check("*@elsewhere.example.org", NotLocal::Foreign.into());
        check("sip:1@elsewhere.example.org", NotLocal::Foreign.into());
        check("", NotLocal::NoUser.into());
        check(&"1".repeat(513), BadSelector::TooLong);
    }

    #[test]
    fn kinds_are_a_set() {
        let kinds = Kinds::of([PackageId(0), PackageId(200)]);
        assert!(kinds.has(PackageId(0)) && kinds.has(PackageId(200)));
        assert!(!kinds.has(PackageId(1)) && !kinds.has(PackageId(136)));
    }
}
