//! Frames of changes, encoded once for all connections that watch the same and may see the same.

use crate::app::wall;
use crate::auth::Reads;
use crate::metrics::{DELAYS, Metrics, SIZES};
use crate::ws::Text;
use lamplighter_model::{Packages, Time};
use lamplighter_port::{Item, Port, Scope, Tap};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A frame ends soon after this many bytes. Small, for a connection keeps a buffer of the largest it has sent.
pub(crate) const FRAME: usize = 16 * 1024;
/// Items looked at for one frame.
const ITEMS: usize = 250;
/// Frames remembered.
const KEPT: usize = 4;
/// How long a frame is handed to others with the same cursor; and the longest that those who share it trail behind.
const FRESH: Duration = Duration::from_millis(10);
/// Where every state is wanted: so many may wait for a client, and so many bytes of them.
const QUEUE: usize = 1000;
const QUEUE_BYTES: usize = 1 << 20;

/// Which members of a state are wanted: a tree of names. A name without names below it is wanted whole.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Fields(BTreeMap<Box<str>, Fields>);

impl Fields {
    /// Reads paths like `calls.remote`; else says which of them is none.
    pub(crate) fn new(paths: &[&str]) -> Result<Self, usize> {
        let mut all = Self::default();
        for (index, path) in paths.iter().enumerate() {
            if path.len() > 128 || path.split('.').count() > 8 || path.split('.').any(str::is_empty) {
                return Err(index);
            }
            let mut at = &mut all;
            let mut names = path.split('.').peekable();
            while let Some(name) = names.next() {
                let known = at.0.contains_key(name);
                at = at.0.entry(name.into()).or_default();
                if known && at.0.is_empty() {
                    break; // wanted whole already
                }
                if names.peek().is_none() {
                    at.0.clear();
                }
            }
        }
        Ok(all)
    }

    /// What either wants.
    fn with(mut self, other: &Self) -> Self {
        for (name, theirs) in &other.0 {
            match self.0.remove(name) {
                Some(mine) if mine.0.is_empty() || theirs.0.is_empty() => self.0.insert(name.clone(), Self::default()),
                Some(mine) => self.0.insert(name.clone(), mine.with(theirs)),
                None => self.0.insert(name.clone(), theirs.clone()),
            };
        }
        self
    }

    /// Takes out what is not wanted; in a list, of each of its members.
    fn project(&self, value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(|one| self.project(one)),
            Value::Object(members) => members.retain(|name, value| match self.0.get(&**name) {
                None => false,
                Some(below) if below.0.is_empty() => true,
                Some(below) => {
                    below.project(value);
                    value.is_object() || value.is_array()
                }
            }),
            _ => {}
        }
    }
}

/// How a reader sees items: what it may see of them, and what it wants to see.
#[derive(Clone, Copy)]
pub(crate) struct Lens<'a> {
    pub packages: &'a Packages,
    pub reads: &'a Reads,
    pub parts: &'a [(Scope, Option<Fields>)],
}

impl Lens<'_> {
    /// The item as the reader sees it; `None`: it may not.
    pub(crate) fn json<'i>(&self, item: &'i Item) -> Option<Cow<'i, str>> {
        let view = self.reads.view(&item.resource, self.packages.get(item.package).kind())?;
        let whole = item.json(self.packages, view);
        if self.parts.is_empty() || item.state.is_none() {
            return Some(Cow::Borrowed(whole));
        }
        let mut wanted = Fields::default();
        for (_, fields) in self.parts.iter().filter(|(scope, _)| scope.has(item)) {
            match fields {
                Some(fields) => wanted = wanted.with(fields),
                None => return Some(Cow::Borrowed(whole)),
            }
        }
        let Ok(mut value) = serde_json::from_str::<Value>(whole) else { return Some(Cow::Borrowed(whole)) };
        if let Some(state) = value.get_mut("state") {
            wanted.project(state);
        }
        Some(Cow::Owned(value.to_string()))
    }

    /// Whether the reader may see it at all.
    pub(crate) fn sees(&self, item: &Item) -> bool {
        self.reads.view(&item.resource, self.packages.get(item.package).kind()).is_some()
    }
}

/// What a connection watches, all its subscriptions together. Equal ones get the same frames.
#[derive(Clone)]
pub(crate) struct Watched {
    pub scope: Scope,
    /// The fields that each subscription wants; empty when all want everything.
    pub parts: Vec<(Scope, Option<Fields>)>,
    pub reads: Reads,
    /// Every state, not only the newest.
    pub every: bool,
}

impl Watched {
    /// Equal for equal ones, as long as `hash` is the same.
    pub(crate) fn fingerprint(&self, hash: &impl BuildHasher) -> u64 {
        let parts = self.parts.iter().map(|(scope, fields)| (scope.fingerprint(hash), fields));
        let print = parts.fold(self.scope.fingerprint(hash), |print, part| hash.hash_one((print, part)));
        hash.hash_one((print, &self.reads, self.every))
    }
}

/// All connections that watch the same and may see the same.
pub(crate) struct Lane {
    pub scope: Scope,
    parts: Vec<(Scope, Option<Fields>)>,
    reads: Reads,
    /// Where every state is to be had, if every state is wanted.
    tap: Option<Arc<Tap>>,
    frames: Mutex<VecDeque<(Instant, Frame)>>,
}

/// What has changed in scope since a cursor.
#[derive(Clone)]
pub(crate) struct Frame {
    from: u64,
    /// The cursor after it.
    pub to: u64,
    /// There was more than fits.
    pub more: bool,
    pub items: usize,
    /// Items that stand for several changes since the cursor.
    pub conflated: usize,
    /// When the oldest of the changes was made.
    pub oldest: Time,
    /// An `upd` frame, if there are items.
    pub text: Option<Text>,
}

/// Why what has changed since a cursor cannot be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Behind {
    /// Something that is gone since then has been forgotten.
    Forgotten,
    /// Every state is wanted, and more of them wait than may, or some are not to be had any more.
    Overflow,
}

impl Lane {
    pub(crate) fn new(watched: Watched, tap: Option<Arc<Tap>>) -> Self {
        let Watched { scope, parts, reads, every } = watched;
        Self { scope, parts, reads, tap: tap.filter(|_| every), frames: Mutex::default() }
    }

    /// Whether it is for those who watch this.
    pub(crate) fn is_of(&self, watched: &Watched) -> bool {
        let Watched { scope, parts, reads, every } = watched;
        self.scope == *scope && self.parts == *parts && self.reads == *reads && self.tap.is_some() == *every
    }

    /// What has changed since `from`.
    pub(crate) fn since(
        self: &Arc<Self>,
        port: &Port,
        from: u64,
        now: Instant,
        metrics: &Metrics,
    ) -> Result<Frame, Behind> {
        // A connection holds two references, one of them for those who ask who watches what.
        if Arc::strong_count(self) <= 2 {
            metrics.encoded.fetch_add(1, Relaxed);
            return self.encode(port, from, u64::MAX);
        }
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        while frames.front().is_some_and(|(made, _)| now.saturating_duration_since(*made) > FRESH) {
            frames.pop_front();
        }
        if let Some((_, frame)) = frames.iter().find(|(_, frame)| frame.from == from && frame.to > from) {
            metrics.shared.fetch_add(1, Relaxed);
            return Ok(frame.clone());
        }
        // Whoever comes from elsewhere goes where the others are, and shares the next.
        let upto = frames.back().map(|(_, frame)| frame.to).filter(|to| *to > from).unwrap_or(u64::MAX);
        let frame = self.encode(port, from, upto)?;
        metrics.encoded.fetch_add(1, Relaxed);
        if frames.len() == KEPT {
            frames.pop_front();
        }
        frames.push_back((now, frame.clone()));
        Ok(frame)
    }

    /// The changes in scope with `from < rev <= upto`, as many as fit.
    pub(crate) fn encode(&self, port: &Port, from: u64, upto: u64) -> Result<Frame, Behind> {
        let lens = Lens { packages: port.packages(), reads: &self.reads, parts: &self.parts };
        let mut items = Vec::new();
        let mut cursor = match &self.tap {
            None => port.between(from, upto, &self.scope, ITEMS, &mut items),
            Some(tap) => {
                let cursor = tap.every(from, upto, &self.scope, QUEUE + 1, &mut items).ok_or(Behind::Overflow)?;
                let bytes: usize = items.iter().filter_map(|item| lens.json(item)).map(|json| json.len()).sum();
                if items.len() > QUEUE || bytes > QUEUE_BYTES {
                    return Err(Behind::Overflow);
                }
                cursor
            }
        };
        if self.tap.is_none() && !port.can_resume(port.epoch(), from) {
            return Err(Behind::Forgotten);
        }
        let mut frame =
            Frame { from, to: cursor.rev, more: cursor.more, items: 0, conflated: 0, oldest: Time::NEVER, text: None };
        if items.is_empty() {
            return Ok(frame);
        }
        let mut text = Text::begin("{\"t\":\"upd\",\"items\":[");
        let (taken, pushed) = push_items(&mut text, lens, &items);
        if taken < items.len() {
            cursor.rev = items[taken - 1].rev;
            cursor.more = true;
        }
        (frame.to, frame.more, frame.items) = (cursor.rev, cursor.more, pushed);
        if pushed == 0 {
            return Ok(frame);
        }
        let _ = write!(text, "],\"cursor\":\"{}.{}\"}}", port.epoch(), cursor.rev);
        frame.text = Some(Text::seal(text));
        for item in &items[..taken] {
            frame.oldest = frame.oldest.min(item.at);
            frame.conflated += usize::from(self.tap.is_none() && item.before > from);
        }
        Ok(frame)
    }
}

/// Appends those of the items that the reader may see, separated by commas, until the frame is full. Says how many it
/// has come by, at least one, and how many of them it has appended.
pub(crate) fn push_items(text: &mut String, lens: Lens<'_>, items: &[Arc<Item>]) -> (usize, usize) {
    let mut pushed = 0;
    for (index, item) in items.iter().enumerate() {
        let Some(json) = lens.json(item) else { continue };
        if pushed > 0 {
            if text.len() + json.len() > FRAME {
                return (index, pushed);
            }
            text.push(',');
        }
        text.push_str(&json);
        pushed += 1;
    }
    (items.len(), pushed)
}

/// Counts a frame that has been sent, and how long the oldest change of it took to the socket.
pub(crate) fn observe(items: usize, conflated: usize, oldest: Time, metrics: &Metrics) {
    metrics.items.fetch_add(items as u64, Relaxed);
    metrics.conflated.fetch_add(conflated as u64, Relaxed);
    metrics.bus_to_socket.observe((wall().as_micros() as u64).saturating_sub(oldest.as_micros()), &DELAYS);
    metrics.items_per_frame.observe(items as u64, &SIZES);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_take_out_what_is_not_wanted() {
        let check = |paths: &[&str], expected: Value| {
            let mut state = json!({
                "lamp": "busy", "n": 2,
                "calls": [{ "dir": "in", "remote": { "uri": "sip:2@b", "name": "Ann" } }, { "dir": "out" }],
            });
            Fields::new(paths).unwrap().project(&mut state);
            assert_eq!(state, expected, "{paths:?}");
        };
        check(&["lamp"], json!({ "lamp": "busy" }));
        check(&["calls.dir", "n"], json!({ "n": 2, "calls": [{ "dir": "in" }, { "dir": "out" }] }));
        check(&["calls.remote.name"], json!({ "calls": [{ "remote": { "name": "Ann" } }, {}] }));
        check(&["lamp.colour", "tea"], json!({}));
        check(
            &["calls.dir", "calls", "calls.dir"],
            json!({ "calls": [
            { "dir": "in", "remote": { "uri": "sip:2@b", "name": "Ann" } }, { "dir": "out" }
        ] }),
        );
        check(&[], json!({}));
        assert_eq!(Fields::new(&["a", ""]), Err(1));
        assert_eq!(Fields::new(&["a.b.c.d.e.f.g.h.i"]), Err(0));
    }

    #[test]
    fn what_two_want_is_what_either_wants() {
        let fields = |paths: &[&str]| Fields::new(paths).unwrap();
        assert_eq!(fields(&["a.b", "c"]).with(&fields(&["a.d", "e"])), fields(&["a.b", "a.d", "c", "e"]));
        assert_eq!(fields(&["a.b"]).with(&fields(&["a"])), fields(&["a"]));
        assert_eq!(fields(&["a"]).with(&fields(&["a.b"])), fields(&["a"]));
    }
}
