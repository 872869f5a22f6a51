//! Values as bytes, for a store: a version, a kind, and a list of fields, each with its length. Whoever reads them needs
//! to know nothing that is not in them; what is damaged is a wrong value or none, never more than came.

use super::compose::Extra;
use std::time::Duration;

/// Bytes in the making.
#[derive(Debug)]
pub struct Out(Vec<u8>);

impl Out {
    /// Begins with two bytes that say what follows.
    pub fn new(version: u8, kind: u8) -> Self {
        Self(vec![version, kind])
    }

    /// Everything that was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A number, in as many bytes as it needs.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Any bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A text, or none.
    pub fn optional(&mut self, text: &Option<Box<str>>) {
        self.number(u64::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    /// A duration in milliseconds, or none.
    pub fn duration(&mut self, duration: Option<Duration>) {
        self.number(duration.map_or(0, |it| 1 + u64::try_from(it.as_millis()).unwrap_or(u64::MAX - 1)));
    }

    /// As many as there are.
    pub fn list<T>(&mut self, all: &[T], mut one: impl FnMut(&mut Self, &T)) {
        self.number(all.len() as u64);
        all.iter().for_each(|it| one(self, it));
    }

    /// Headers of the user's own.
    pub fn headers(&mut self, headers: &[Extra]) {
        self.list(headers, |out, (name, value)| {
            out.text(name);
            out.text(value);
        });
    }
}

/// Bytes that are left to be read; `None` where they are not what [`Out`] writes.
#[derive(Debug)]
pub struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    /// What follows the first two bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What [`Out::number`] wrote.
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for place in 0..10 {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// The same of a small number.
    pub fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    /// What [`Out::bytes`] wrote.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// What [`Out::text`] wrote.
    pub fn text(&mut self) -> Option<Box<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Into::into)
    }

    /// What [`Out::optional`] wrote.
    pub fn optional(&mut self) -> Option<Option<Box<str>>> {
        if self.number()? == 0 { Some(None) } else { self.text().map(Some) }
    }

    /// What [`Out::duration`] wrote.
    pub fn duration(&mut self) -> Option<Option<Duration>> {
        Some(self.number()?.checked_sub(1).map(Duration::from_millis))
    }

    /// What [`Out::list`] wrote.
    pub fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok().filter(|count| *count <= self.0.len())?;
        (0..count).map(|_| one(self)).collect()
    }

    /// What [`Out::headers`] wrote.
    pub fn headers(&mut self) -> Option<Vec<Extra>> {
        self.list(|from| Some((from.text()?, from.text()?)))
    }
}
