//! Parameters: `;name=value;flag`.

use super::lex::{trim, until};

/// The parameters behind a header value or inside a URI, read when asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Params<'a>(pub(super) &'a [u8]);

impl<'a> Params<'a> {
    /// Parameters that stand for themselves, with or without a `;` before the first.
    pub const fn of(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// The value of the first parameter of this name, compared without case: as it is written, with its quotes;
    /// empty for a parameter without a value.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All of them, in order, as (name, value). Empty ones are skipped.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = until(rest, b';');
                let one = trim(&rest[..end]);
                rest = rest.get(end + 1..).unwrap_or_default();
                if !one.is_empty() {
                    return Some(match memchr::memchr(b'=', one) {
                        Some(at) => (trim(&one[..at]), trim(&one[at + 1..])),
                        None => (one, &one[one.len()..]),
                    });
                }
            }
            None
        })
    }

    /// As written, from the first `;` on or the first name.
    pub fn raw(&self) -> &'a [u8] {
        self.0
    }
}
