//! One entry of the mirror, with its JSON.

use lamplighter_model::package::AnyState;
use lamplighter_model::{Change, PackageId, Packages, Time, View};
use std::fmt::Write;
use std::sync::{Arc, OnceLock};

/// The latest state of one (resource, package), or the word that there is none any more.
pub struct Item {
    /// The canonical address.
    pub resource: Arc<str>,
    /// The package.
    pub package: PackageId,
    /// Counts the changes of this (resource, package), from 1. A jump: states between were skipped.
    pub seq: u64,
    /// The node's revision: no two changes share one.
    pub rev: u64,
    /// When it changed.
    pub at: Time,
    /// The source whose word changed it.
    pub source: Arc<str>,
    /// Why, in a word.
    pub reason: &'static str,
    /// The state; `None`: gone.
    pub state: Option<AnyState>,
    /// The revision that it took the place of; 0: none.
    pub before: u64,
    /// States between the one before and this one never got here: there was no room for them in a shard's ring.
    pub skipped: bool,
    /// One encoding a view, made by the first reader.
    json: [OnceLock<Box<str>>; 3],
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resource, package, seq, rev, state, .. } = self;
        write!(f, "{resource} {package:?} #{seq} @{rev}{}", if state.is_some() { "" } else { " gone" })
    }
}

impl Item {
    /// `old`: what it takes the place of.
    pub(crate) fn new(change: Change, rev: u64, old: Option<&Self>) -> Self {
        let Change { resource, package, seq, at, source, reason, state } = change;
        let json = [const { OnceLock::new() }; 3];
        // A presentity that was forgotten meanwhile counts from 1 again.
        let skipped = seq != 1 && seq != old.map_or(0, |old| old.seq) + 1;
        let before = old.map_or(0, |old| old.rev);
        Self { resource, package, seq, rev, at, source, reason, state, before, skipped, json }
    }

    /// The entry as the feed sends it: `{"r":..,"k":..,"seq":..,"rev":..,"ts":..,"src":..,"state":{..}}`, or with
    /// `"gone":true,"reason":..` in place of the state. Who said so (`src`) is in the full view only. Encoded once a
    /// view, by whoever asks first.
    pub fn json(&self, packages: &Packages, view: View) -> &str {
        self.json[view as usize].get_or_init(|| self.encode(packages, view).into_boxed_str())
    }

    fn encode(&self, packages: &Packages, view: View) -> String {
        let package = packages.get(self.package);
        let mut out = String::with_capacity(256);
        out.push_str("{\"r\":");
        push_json_string(&mut out, &self.resource);
        out.push_str(",\"k\":");
        push_json_string(&mut out, package.kind());
        let _ = write!(out, ",\"seq\":{},\"rev\":{},\"ts\":{}", self.seq, self.rev, self.at.as_millis());
        match &self.state {
            Some(state) => {
                if view == View::Full {
                    out.push_str(",\"src\":");
                    push_json_string(&mut out, &self.source);
                }
                out.push_str(",\"state\":");
                let mut bytes = out.into_bytes();
                package.json(state, view, &mut bytes);
                bytes.push(b'}');
                String::from_utf8(bytes).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned())
            }
            None => {
                out.push_str(",\"gone\":true,\"reason\":");
                push_json_string(&mut out, self.reason);
                out.push('}');
                out
            }
        }
    }
}

/// Appends `text` as a JSON string, quotes included (RFC 8259 section 7).
pub fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        let mut out = String::new();
        push_json_string(&mut out, "a\"b\\c\nd\u{1}é");
        assert_eq!(out, r#""a\"b\\c\nd\u0001é""#);
    }
}
