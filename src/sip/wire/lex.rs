//! Characters, and where things end: shared by all readers.

use std::borrow::Cow;

/// Tests count how often octets are looked at; all else does not.
pub(super) mod looked {
    #[cfg(test)]
    thread_local!(pub(in crate::wire) static COUNT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

    /// So many octets once more.
    #[inline]
    pub(in crate::wire) fn at(_octets: usize) {
        #[cfg(test)]
        COUNT.set(COUNT.get() + _octets);
    }
}

/// SP, HT, or part of a fold. Inside a header value a CR or LF can be nothing else.
pub(super) const fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

const TOKEN: u8 = 1;
const HOST: u8 = 2;

/// What each octet may stand in.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let it = byte as u8;
        if it.is_ascii_alphanumeric()
            || matches!(it, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
        {
            classes[byte] |= TOKEN;
        }
        if it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.' | b'_') {
            classes[byte] |= HOST;
        }
        byte += 1;
    }
    classes
};

/// What may stand in a `token` of RFC 3261 section 25.1.
pub(super) const fn token_char(byte: u8) -> bool {
    CLASSES[byte as usize] & TOKEN != 0
}

/// What may stand in the name of a host; underscores are seen in the field.
pub(super) const fn host_char(byte: u8) -> bool {
    CLASSES[byte as usize] & HOST != 0
}

/// Whether this is a `token`.
pub(super) fn token(value: &[u8]) -> bool {
    looked::at(value.len());
    !value.is_empty() && value.iter().all(|&byte| token_char(byte))
}

/// Without blanks and folds at both ends.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    let whole = value.len();
    while let [first, rest @ ..] = value
        && blank(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && blank(*last)
    {
        value = rest;
    }
    looked::at(whole - value.len());
    value
}

/// The value before and after its first `byte`, quotes not looked at; both trimmed.
pub(super) fn cut(value: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    looked::at(value.len());
    let at = memchr::memchr(byte, value)?;
    Some((trim(&value[..at]), trim(&value[at + 1..])))
}

/// Decimal digits and nothing else, saturating.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    looked::at(value.len());
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

/// A port: decimal digits from 1 to 65535.
pub(super) fn port(value: &[u8]) -> Option<u16> {
    number(value).and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0)
}

/// Where the quoted string that starts at the first byte of `value` ends (behind its closing quote).
pub(super) fn quoted_end(value: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', value.get(at..)?)?;
        if value[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Where the first `stop` outside of quoted strings and angle brackets is, else the end. A quote or bracket that
/// never closes hides everything behind it.
pub(super) fn until(value: &[u8], stop: u8) -> usize {
    let mut at = 0;
    let end = loop {
        let rest = value.get(at..).unwrap_or_default();
        let Some(found) = memchr::memchr3(stop, b'"', b'<', rest) else { break value.len() };
        let rest = &rest[found..];
        at += found;
        at += match rest[0] {
            byte if byte == stop => break at,
            b'"' => quoted_end(rest).unwrap_or(rest.len()),
            _ => memchr::memchr(b'>', rest).map_or(rest.len(), |end| end + 1),
        };
    };
    looked::at(end);
    end
}

/// The elements of a comma list, trimmed, empty ones skipped.
#[derive(Clone, Copy)]
pub(super) struct Elements<'a>(pub &'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.0.is_empty() {
            let end = until(self.0, b',');
            let element = trim(&self.0[..end]);
            self.0 = self.0.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// What people read: a display name or parameter value without its quotes and escapes, folds as one blank, octets
/// that are not UTF-8 replaced.
pub fn text(value: &[u8]) -> Cow<'_, str> {
    let value = trim(value);
    let inner = match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    };
    let quoted = inner.len() != value.len();
    if memchr::memchr3(b'\\', b'\r', b'\n', inner).is_none() {
        return String::from_utf8_lossy(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match (byte, behind) {
            (b'\\', [escaped, behind @ ..]) if quoted => {
                out.push(*escaped);
                rest = behind;
            }
            (b'\r' | b'\n', _) => {
                while let [first, behind @ ..] = rest
                    && blank(*first)
                {
                    rest = behind;
                }
                out.push(b' ');
            }
            _ => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}
