//! Headers of event notification (RFC 6665), and small values that go with them.

use super::lex::{blank, cut, token, trim, until};
use super::params::Params;

/// The value of Event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event<'a> {
    /// The package, with its template: `presence.winfo`.
    pub package: &'a [u8],
    /// `id`, `sla`, `shared` and others.
    pub params: Params<'a>,
}

impl<'a> Event<'a> {
    /// Reads the value of an Event header.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let (package, params) = head(value);
        token(package).then_some(Self { package, params })
    }

    /// The id, as it is written.
    pub fn id(&self) -> Option<&'a [u8]> {
        self.params.get(b"id")
    }
}

/// One element of Accept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MediaRange<'a> {
    /// `type/subtype`, `type/*` or `*/*`, without parameters.
    pub kind: &'a [u8],
    /// How much it is wanted, thousandths; 1000 if it does not say, or not readably.
    pub q: u16,
}

impl<'a> MediaRange<'a> {
    /// Reads one element of an Accept list.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let (kind, params) = head(value);
        let good = match cut(kind, b'/') {
            Some((kind, subtype)) => token(kind) && token(subtype),
            None => kind == b"*",
        };
        good.then(|| Self { kind, q: params.get(b"q").and_then(thousandths).unwrap_or(1000) })
    }

    /// Whether a body of this `type/subtype` is in the range.
    pub fn matches(&self, content_type: &str) -> bool {
        let Some((kind, subtype)) = cut(self.kind, b'/') else { return true };
        let Some((of, sub)) = cut(content_type.as_bytes(), b'/') else { return false };
        (kind == b"*" || kind.eq_ignore_ascii_case(of)) && (subtype == b"*" || subtype.eq_ignore_ascii_case(sub))
    }
}

/// `0`, `0.5`, `1.000` in thousandths.
fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, fraction) = match memchr::memchr(b'.', value) {
        Some(at) => (&value[..at], &value[at + 1..]),
        None => (value, &b""[..]),
    };
    if whole.is_empty() && fraction.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    if whole.iter().any(|&digit| digit != b'0') {
        return Some(1000);
    }
    let digit = |at: usize| fraction.get(at).map_or(0, |digit| u16::from(digit - b'0'));
    Some(digit(0) * 100 + digit(1) * 10 + digit(2))
}

/// The value of Subscription-State.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SubscriptionState<'a> {
    /// `active`, `pending`, `terminated` or an extension, as it is written.
    pub state: &'a [u8],
    /// How long it goes on, seconds.
    pub expires: Option<u32>,
    /// Why it ended.
    pub reason: Option<&'a [u8]>,
    /// When to try again, seconds.
    pub retry_after: Option<u32>,
}

/// Reads the value of a Subscription-State header.
pub fn subscription_state(value: &[u8]) -> Option<SubscriptionState<'_>> {
    let (state, params) = head(value);
    token(state).then(|| SubscriptionState {
        state,
        expires: params.get(b"expires").and_then(seconds),
        reason: params.get(b"reason").filter(|reason| !reason.is_empty()),
        retry_after: params.get(b"retry-after").and_then(seconds),
    })
}

/// `type/subtype` of a Content-Type, as it is written.
pub fn media_type(value: &[u8]) -> &[u8] {
    head(value).0
}

/// Delta-seconds as in Expires, Min-Expires and Retry-After, saturating. A comment or parameters may follow; `None` if
/// it does not start with digits, or they run into something else.
pub fn seconds(value: &[u8]) -> Option<u32> {
    let value = trim(value);
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    let stopped = value.get(end).is_none_or(|&byte| blank(byte) || matches!(byte, b';' | b'('));
    let number = super::lex::number(&value[..end])?;
    stopped.then(|| u32::try_from(number).unwrap_or(u32::MAX))
}

/// A value and its parameters.
fn head(value: &[u8]) -> (&[u8], Params<'_>) {
    let end = until(value, b';');
    (trim(&value[..end]), Params(&value[end..]))
}
