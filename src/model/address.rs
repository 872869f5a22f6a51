//! Canonical addresses of presentities, and the slot that each of them lives in.
//!
//! One immutable map decides what a URI that a phone wrote means here:
//! local domains compared without case, our own IP addresses read as the default domain, aliases, percent
//! escapes. Everything behind the reader speaks canonical addresses only: `sip:user@domain`.

use std::collections::{HashMap, HashSet};

/// How many slots there are; a shard owns a contiguous range of them.
pub const SLOTS: u16 = 4096;

/// The longest user part of a canonical address, bytes. Addresses are kept as long as somebody watches or publishes.
const MOST_USER: usize = 255;

/// Where a presentity lives: 12 bits of a fixed hash of its canonical address.
///
/// To-tags and branches that we make carry it, so that everything later finds its way home even after the number
/// of shards has changed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a canonical address (FNV-1a, folded).
    pub fn of(address: &str) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in address.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let folded = hash ^ (hash >> 32);
        Self(((folded ^ (folded >> 16)) % u64::from(SLOTS)) as u16)
    }

    /// From a number below [`SLOTS`].
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOTS { Some(Self(number)) } else { None }
    }

    /// The number, below [`SLOTS`].
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Which of `shards` shards owns it.
    pub const fn shard(self, shards: u8) -> u8 {
        (self.0 as u32 * shards as u32 / SLOTS as u32) as u8
    }
}

/// Why an address is not one of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotLocal {
    /// The domain is not served here.
    #[error("the domain is not served here")]
    Foreign,
    /// There is no user part.
    #[error("the address names no user")]
    NoUser,
    /// The user part cannot be represented (control characters, bad escapes, more than 255 bytes).
    #[error("the user part cannot be represented")]
    BadUser,
}

/// The immutable map from what peers write to canonical addresses.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    domains: Vec<Box<str>>,
    domain_set: HashSet<Box<str>>,
    own_hosts: HashSet<Box<str>>,
    aliases: HashMap<Box<str>, Box<str>>,
}

impl Addresses {
    /// `domains` are served (the first is the default), `own_hosts` are IP literals that stand for the default
    /// domain, `aliases` lead from one address to another (both in any spelling; one step, not chains).
    pub fn new<'a>(
        domains: impl IntoIterator<Item = &'a str>,
        own_hosts: impl IntoIterator<Item = &'a str>,
        aliases: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let domains: Vec<Box<str>> =
            domains.into_iter().map(|domain| domain.to_ascii_lowercase().into_boxed_str()).collect();
        let mut addresses = Self {
            domain_set: domains.iter().cloned().collect(),
            own_hosts: own_hosts.into_iter().map(|host| host.to_ascii_lowercase().into_boxed_str()).collect(),
            domains,
            aliases: HashMap::new(),
        };
        let pairs: Vec<_> = aliases
            .into_iter()
            .filter_map(|(from, to)| {
                Some((addresses.parse(from).ok()?.into_boxed_str(), addresses.parse(to).ok()?.into_boxed_str()))
            })
            .collect();
        addresses.aliases = pairs.into_iter().collect();
        addresses
    }

    /// The domains served, the default one first.
    pub fn domains(&self) -> &[Box<str>] {
        &self.domains
    }

    /// Writes the canonical form of a URI's parts into `out` (cleared first).
    ///
    /// `user` is what stands before the `@` without a password, percent escapes included; `host` is a name or IP
    /// literal without port, IPv6 with its brackets. A `tel:` number comes as user with the default domain as host.
    pub fn canonical(&self, user: &[u8], host: &[u8], out: &mut String) -> Result<(), NotLocal> {
        out.clear();
        if user.is_empty() {
            return Err(NotLocal::NoUser);
        }
        out.push_str("sip:");
        push_user(user, out)?;
        if out.len() > "sip:".len() + MOST_USER {
            return Err(NotLocal::BadUser);
        }
        out.push('@');
        let at = out.len();
        let host = std::str::from_utf8(host).map_err(|_| NotLocal::Foreign)?;
        out.push_str(host.strip_suffix('.').unwrap_or(host));
        out[at..].make_ascii_lowercase();
        if !self.domain_set.contains(&out[at..]) {
            if !self.own_hosts.contains(&out[at..]) {
                return Err(NotLocal::Foreign);
            }
            let default = self.domains.first().ok_or(NotLocal::Foreign)?;
            out.truncate(at);
            out.push_str(default);
        }
        if !self.aliases.is_empty()
            && let Some(target) = self.aliases.get(out.as_str())
        {
            out.clear();
            out.push_str(target);
        }
        Ok(())
    }

    /// The canonical form of an address as people write it: `sip:1001@example.com`, `1001@example.com` or `1001`.
    pub fn parse(&self, text: &str) -> Result<String, NotLocal> {
        let text = text.trim();
        let rest = match text.split_once(':') {
            Some((scheme, rest)) if matches!(scheme.to_ascii_lowercase().as_str(), "sip" | "sips" | "pres" | "im") => {
                rest
            }
            _ => text,
        };
        let rest = rest.split([';', '?']).next().unwrap_or(rest);
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (user, host),
            None => (rest, self.domains.first().map_or("", |domain| domain)),
        };
        let host = match host.rsplit_once(':') {
            Some((name, port)) if !host.ends_with(']') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let mut out = String::new();
        self.canonical(user.as_bytes(), host.as_bytes(), &mut out)?;
        Ok(out)
    }
}

/// Characters that RFC 3261 section 25.1 lets stand unescaped in a user part.
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/#[]".contains(&byte)
}

/// Percent escapes of characters that need none are undone, all others are spelled with capital digits.
fn push_user(user: &[u8], out: &mut String) -> Result<(), NotLocal> {
    let mut at = 0;
    while at < user.len() {
        let escaped = user[at] == b'%';
        let byte = if escaped {
            let digits = user.get(at + 1..at + 3).ok_or(NotLocal::BadUser)?;
            let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(NotLocal::BadUser);
            at += 2;
            (digit(digits[0])? * 16 + digit(digits[1])?) as u8
        } else {
            user[at]
        };
        at += 1;
        if byte < 0x20 || byte == 0x7f {
            return Err(NotLocal::BadUser);
        }
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses::new(
            ["Example.com", "sales.example.com"],
            ["192.0.2.1", "[2001:db8::1]"],
            [("reception@example.com", "100@example.com"), ("sip:boss@sales.example.com", "sip:1@example.com")],
        )
    }

    fn check(user: &str, host: &str, expected: Result<&str, NotLocal>) {
        let mut out = String::new();
        let got = addresses().canonical(user.as_bytes(), host.as_bytes(), &mut out).map(|()| out.as_str());
        assert_eq!(got, expected, "{user}@{host}");
    }

    #[test]
    fn one_spelling_for_each_address() {
        check("1001", "EXAMPLE.com", Ok("sip:1001@example.com"));
        check("1001", "example.com.", Ok("sip:1001@example.com"));
        check("%31001", "example.com", Ok("sip:1001@example.com"));
        check("john.doe", "sales.example.com", Ok("sip:john.doe@sales.example.com"));
        check("a%40b", "example.com", Ok("sip:a%40b@example.com"));
        check("a%c3%a9", "example.com", Ok("sip:a%C3%A9@example.com"));
        check("100", "192.0.2.1", Ok("sip:100@example.com"));
        check("100", "[2001:DB8::1]", Ok("sip:100@example.com"));
        check("Ann", "example.com", Ok("sip:Ann@example.com"));
    }

    #[test]
    fn aliases_lead_home() {
        check("reception", "example.com", Ok("sip:100@example.com"));
        check("boss", "sales.example.com", Ok("sip:1@example.com"));
    }

    #[test]
    fn what_is_not_ours_is_said() {
        check("1001", "elsewhere.example.org", Err(NotLocal::Foreign));
        check("", "example.com", Err(NotLocal::NoUser));
        check("a%00", "example.com", Err(NotLocal::BadUser));
        check("a%4", "example.com", Err(NotLocal::BadUser));
        check(&"a".repeat(256), "example.com", Err(NotLocal::BadUser));
        let longest = "a".repeat(255);
        check(&longest, "example.com", Ok(&format!("sip:{longest}@example.com")));
    }

    #[test]
    fn addresses_that_people_type() {
        let addresses = addresses();
        assert_eq!(addresses.parse("1001").as_deref(), Ok("sip:1001@example.com"));
        assert_eq!(addresses.parse("SIPS:1001@example.com:5061;user=phone").as_deref(), Ok("sip:1001@example.com"));
    }

    #[test]
    fn slots_spread_evenly_over_shards() {
        let mut count = [0_u32; 4];
        for number in 0..4000 {
            count[usize::from(Slot::of(&format!("sip:{number}@example.com")).shard(4))] += 1;
        }
        assert!(count.iter().all(|&n| (800..1200).contains(&n)), "{count:?}");
        assert_eq!(Slot::new(SLOTS), None);
    }
}
