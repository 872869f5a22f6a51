//! The latest item of each (resource, package), ordered by revision.
//!
//! A change replaces its predecessor, so walking from a cursor upward meets every key at most once and only in its
//! newest state. The newest revisions lie in a ring that is indexed directly; what has not changed for that long
//! moves to a sorted map. What is gone stays as a tombstone for a while, so that a reader who comes back is told.
//! While somebody wants every state, not only the newest, the latest ones are kept in a log beside.

use crate::item::Item;
use crate::scope::Scope;
use lamplighter_model::{Change, PackageId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// How many revisions are indexed directly.
const RECENT: usize = 16 * 1024;
/// How many places one call of [`Mirror::since`] looks at, so that nobody holds the mirror for long.
const LOOK: usize = 8 * 1024;
/// How many revisions the log of every state reaches back.
const LOG: usize = 8 * 1024;

/// How far a reader has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cursor {
    /// Everything in scope up to here has been handed out.
    pub rev: u64,
    /// There may be more: ask again from `rev`.
    pub more: bool,
}

/// How long and how many tombstones are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Keep {
    pub age: Duration,
    pub most: usize,
}

#[derive(Default)]
pub(crate) struct Mirror {
    head: u64,
    horizon: u64,
    entries: HashMap<Arc<str>, Vec<Arc<Item>>>,
    settled: BTreeMap<u64, Arc<Item>>,
    recent: VecDeque<Option<Arc<Item>>>,
    /// When it went (since some start) and the revision; those whose key has come back are skipped when due.
    graves: VecDeque<(Duration, u64)>,
    live: usize,
    /// Every state of late, superseded ones included, without a hole and up to `head`; empty while nobody taps.
    log: VecDeque<Arc<Item>>,
    taps: usize,
}

impl Mirror {
    /// The newest revision.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Tombstones up to this revision are forgotten: a cursor below cannot be resumed.
    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Entries with a state.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Tombstones, those whose key has come back included.
    pub(crate) fn graves(&self) -> usize {
        self.graves.len()
    }

    /// Takes a change in as the next revision.
    pub(crate) fn apply(&mut self, change: Change, now: Duration) {
        self.head += 1;
        let old = self.get(&change.resource, change.package);
        let item = Arc::new(Item::new(change, self.head, old.map(|old| &**old)));
        if self.taps > 0 {
            if self.log.len() == LOG {
                self.log.pop_front();
            }
            self.log.push_back(Arc::clone(&item));
        }
        if item.state.is_some() {
            self.live += 1;
        } else {
            self.graves.push_back((now, item.rev));
        }
        self.recent.push_back(Some(Arc::clone(&item)));
        let old = match self.entries.get_mut(&item.resource) {
            Some(packages) => match packages.iter_mut().find(|one| one.package == item.package) {
                Some(place) => Some(std::mem::replace(place, item)),
                None => {
                    packages.push(item);
                    None
                }
            },
            None => {
                self.entries.insert(Arc::clone(&item.resource), vec![item]);
                None
            }
        };
        if let Some(old) = old {
            self.live -= usize::from(old.state.is_some());
            self.unlist(old.rev);
        }
        if self.recent.len() > RECENT
            && let Some(Some(item)) = self.recent.pop_front()
        {
            self.settled.insert(item.rev, item);
        }
    }

    /// Somebody wants every state from now on.
    pub(crate) fn tap(&mut self) {
        self.taps += 1;
    }

    /// And does not any more.
    pub(crate) fn untap(&mut self) {
        self.taps -= 1;
        if self.taps == 0 {
            self.log = VecDeque::new();
        }
    }

    /// Appends every state in `scope` with `from < rev <= upto`, superseded ones included, oldest first, at most `max`
    /// of them. `None`: one is missing.
    pub(crate) fn every(
        &self,
        from: u64,
        upto: u64,
        scope: &Scope,
        max: usize,
        out: &mut Vec<Arc<Item>>,
    ) -> Option<Cursor> {
        let (upto, base) = (upto.min(self.head), self.head + 1 - self.log.len() as u64);
        if from >= upto {
            return Some(Cursor { rev: from, more: false });
        }
        let first = usize::try_from((from + 1).checked_sub(base)?).ok()?;
        let mut taken = 0;
        for item in self.log.range(first..).take_while(|item| item.rev <= upto) {
            if !scope.has(item) {
                continue;
            }
            if item.skipped {
                return None;
            }
            if taken == max {
                return Some(Cursor { rev: item.rev - 1, more: true });
            }
            taken += 1;
            out.push(Arc::clone(item));
        }
        Some(Cursor { rev: upto, more: false })
    }

    /// The revision of the first place in `recent`.
    fn base(&self) -> u64 {
        self.head + 1 - self.recent.len() as u64
    }

    /// Takes a superseded item out of the order.
    fn unlist(&mut self, rev: u64) {
        match rev.checked_sub(self.base()) {
            Some(index) => self.recent[index as usize] = None,
            None => _ = self.settled.remove(&rev),
        }
    }

    fn at(&self, rev: u64) -> Option<&Arc<Item>> {
        match rev.checked_sub(self.base()) {
            Some(index) => self.recent.get(index as usize)?.as_ref(),
            None => self.settled.get(&rev),
        }
    }

    /// Forgets tombstones that are too old or too many.
    pub(crate) fn expire(&mut self, now: Duration, keep: Keep) {
        while let Some(&(buried, rev)) = self.graves.front() {
            if self.graves.len() <= keep.most && now.saturating_sub(buried) < keep.age {
                return;
            }
            self.graves.pop_front();
            let Some(item) = self.at(rev).filter(|item| item.state.is_none()).cloned() else { continue };
            self.horizon = self.horizon.max(rev);
            self.unlist(rev);
            if let Some(packages) = self.entries.get_mut(&item.resource) {
                packages.retain(|one| one.rev != rev);
                if packages.is_empty() {
                    self.entries.remove(&item.resource);
                }
            }
        }
    }

    /// The latest item, tombstones included.
    pub(crate) fn get(&self, resource: &str, package: PackageId) -> Option<&Arc<Item>> {
        self.entries.get(resource)?.iter().find(|item| item.package == package)
    }

    /// All items of a resource, tombstones included, in no promised order.
    pub(crate) fn of(&self, resource: &str) -> &[Arc<Item>] {
        self.entries.get(resource).map_or(&[], |packages| packages)
    }

    /// Appends the items in `scope` with `from < rev <= upto`, oldest first, at most `max` of them.
    pub(crate) fn since(&self, from: u64, upto: u64, scope: &Scope, max: usize, out: &mut Vec<Arc<Item>>) -> Cursor {
        let upto = upto.min(self.head);
        if from >= upto {
            return Cursor { rev: from, more: false };
        }
        if scope.named() as u64 <= upto - from
            && scope.named() <= LOOK
            && let Some(names) = scope.names()
        {
            return self.named(names, from, upto, scope, max, out);
        }
        let (mut looked, mut taken) = (0, 0);
        let base = self.base();
        if from + 1 < base {
            let range = (Bound::Excluded(from), Bound::Included(upto));
            for (&rev, item) in self.settled.range(range) {
                if looked == LOOK || taken == max {
                    return Cursor { rev: rev - 1, more: true };
                }
                looked += 1;
                if scope.has(item) {
                    taken += 1;
                    out.push(Arc::clone(item));
                }
            }
        }
        let first = base.max(from + 1);
        for rev in first..=upto {
            if looked == LOOK || taken == max {
                return Cursor { rev: rev - 1, more: true };
            }
            looked += 1;
            if let Some(item) = &self.recent[(rev - base) as usize]
                && scope.has(item)
            {
                taken += 1;
                out.push(Arc::clone(item));
            }
        }
        Cursor { rev: upto, more: false }
    }

    /// The same for few addresses: looks at them instead of at all that changed.
    fn named<'a>(
        &self,
        names: impl Iterator<Item = &'a Arc<str>>,
        from: u64,
        upto: u64,
        scope: &Scope,
        max: usize,
        out: &mut Vec<Arc<Item>>,
    ) -> Cursor {
        let start = out.len();
        for name in names {
            let fits = |item: &&Arc<Item>| item.rev > from && item.rev <= upto && scope.has(item);
            out.extend(self.of(name).iter().filter(fits).cloned());
        }
        out[start..].sort_unstable_by_key(|item| item.rev);
        out.dedup_by_key(|item| item.rev);
        if out.len() - start > max {
            out.truncate(start + max);
            return Cursor { rev: out.last().map_or(from, |last| last.rev), more: true };
        }
        Cursor { rev: upto, more: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{Kinds, Selector};
    use lamplighter_model::Time;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    /// How far it has come, and (seq, state) of what it has seen.
    type Reader = (u64, HashMap<Arc<str>, (u64, Option<u64>)>);

    const KEEP: Keep = Keep { age: Duration::from_secs(600), most: 100 };

    fn change(key: u64, seq: u64, state: Option<u64>) -> Change {
        Change {
            resource: format!("sip:{key}@example.com").into(),
            package: PackageId((key % 3) as u8),
            seq,
            at: Time::default(),
            source: "pub:1".into(),
            reason: "published",
            state: state.map(|state| Arc::new(state) as _),
        }
    }

    fn all(mirror: &Mirror, from: u64) -> Vec<u64> {
        let (mut out, mut rev) = (Vec::new(), from);
        loop {
            let cursor = mirror.since(rev, u64::MAX, &Scope::everything(), 7, &mut out);
            assert!(cursor.rev >= rev);
            rev = cursor.rev;
            if !cursor.more {
                assert_eq!(rev, mirror.head().max(from));
                return out.iter().map(|item| item.rev).collect();
            }
        }
    }

    #[test]
    fn a_walk_meets_each_key_once_in_order_of_its_newest_change() {
        let mut mirror = Mirror::default();
        for (key, seq) in [(1, 1), (2, 1), (1, 2), (3, 1), (2, 2)] {
            mirror.apply(change(key, seq, Some(0)), Duration::ZERO);
        }
        assert_eq!(all(&mirror, 0), [3, 4, 5]);
        assert_eq!(all(&mirror, 3), [4, 5]);
        assert_eq!(all(&mirror, 5), []);
        let mut out = Vec::new();
        let cursor = mirror.since(0, 4, &Scope::everything(), 9, &mut out);
        assert_eq!((cursor, out.len()), (Cursor { rev: 4, more: false }, 2));
    }

    #[test]
    fn tombstones_last_for_their_time_and_move_the_horizon() {
        let mut mirror = Mirror::default();
        mirror.apply(change(1, 1, Some(0)), Duration::ZERO);
        mirror.apply(change(2, 1, Some(0)), Duration::ZERO);
        mirror.apply(change(1, 2, None), Duration::from_secs(1));
        mirror.expire(Duration::from_secs(600), KEEP);
        assert_eq!((all(&mirror, 0), mirror.horizon(), mirror.live()), (vec![2, 3], 0, 1));
        mirror.expire(Duration::from_secs(601), KEEP);
        assert_eq!((all(&mirror, 0), mirror.horizon(), mirror.graves()), (vec![2], 3, 0));
        assert!(mirror.of("sip:1@example.com").is_empty());
    }

    #[test]
    fn too_many_tombstones_push_the_oldest_out_and_one_that_came_back_counts_for_nothing() {
        let mut mirror = Mirror::default();
        for key in 0..150 {
            mirror.apply(change(key, 1, None), Duration::ZERO);
        }
        mirror.apply(change(0, 2, Some(1)), Duration::ZERO);
        mirror.expire(Duration::ZERO, KEEP);
        assert_eq!((mirror.horizon(), mirror.graves()), (50, 100));
        assert!(mirror.get("sip:0@example.com", PackageId(0)).is_some_and(|item| item.state.is_some()));
        assert_eq!(all(&mirror, 50).len(), 101);
    }

    #[test]
    fn a_tap_meets_every_state_and_is_told_when_one_is_missing() {
        let mut mirror = Mirror::default();
        mirror.apply(change(1, 1, Some(0)), Duration::ZERO);
        mirror.tap();
        for (key, seq) in [(1, 2), (2, 1), (1, 3), (4, 1), (1, 4)] {
            mirror.apply(change(key, seq, Some(0)), Duration::ZERO);
        }
        let scope =
            Scope::new(["sip:1@example.com", "sip:2@example.com"].map(|it| Selector::Exact(it.into())), Kinds::ALL);
        let every = |mirror: &Mirror, from, max| {
            let mut out = Vec::new();
            let cursor = mirror.every(from, u64::MAX, &scope, max, &mut out)?;
            Some((cursor.rev, cursor.more, out.iter().map(|item| item.rev).collect::<Vec<_>>()))
        };
        assert_eq!(every(&mirror, 1, 9), Some((6, false, vec![2, 3, 4, 6])));
        assert_eq!(every(&mirror, 2, 2), Some((5, true, vec![3, 4])));
        assert_eq!(every(&mirror, 6, 2), Some((6, false, vec![])));
        assert_eq!(every(&mirror, 0, 9), None, "what was before it tapped");
        // A shard's ring was full, and skipped one of address 4, which is not in scope, and then one of address 2.
        mirror.apply(change(4, 3, Some(0)), Duration::ZERO);
        assert_eq!(every(&mirror, 6, 9), Some((7, false, vec![])));
        mirror.apply(change(2, 3, Some(0)), Duration::ZERO);
        assert_eq!(every(&mirror, 6, 9), None);
        assert_eq!(every(&mirror, 8, 9), Some((8, false, vec![])));
        for seq in 5..5 + LOG as u64 {
            mirror.apply(change(1, seq, Some(0)), Duration::ZERO);
        }
        assert_eq!(every(&mirror, 7, 1), None);
        assert_eq!(every(&mirror, 8, 1), Some((9, true, vec![9])));
        mirror.untap();
        assert!(mirror.log.is_empty());
    }

    #[test]
    fn few_addresses_are_looked_up_and_give_what_a_walk_gives() {
        let mut mirror = Mirror::default();
        for round in 1..4 {
            for key in 0..50 {
                mirror.apply(change(key, round, Some(key)), Duration::ZERO);
            }
        }
        let names = ["sip:9@example.com", "sip:4@example.com", "sip:77@example.com"];
        let scope = Scope::new(names.map(|name| Selector::Exact(name.into())), Kinds::ALL);
        let mut out = Vec::new();
        let cursor = mirror.since(0, u64::MAX, &scope, 1, &mut out);
        assert_eq!(cursor, Cursor { rev: 105, more: true });
        let cursor = mirror.since(cursor.rev, u64::MAX, &scope, 1, &mut out);
        assert_eq!(cursor, Cursor { rev: 150, more: false });
        assert_eq!(out.iter().map(|item| item.rev).collect::<Vec<_>>(), [105, 110]);
    }

    /// Random changes against a plain list, with readers that come and go; enough of them that the ring overflows
    /// into the sorted map.
    #[test]
    fn every_reader_ends_with_the_newest_state_of_all() {
        for seed in 0..4 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut mirror = Mirror::default();
            let mut truth: HashMap<u64, (u64, Option<u64>)> = HashMap::new();
            let mut readers: Vec<Reader> = vec![Default::default(); 5];
            let keep = Keep { age: Duration::from_secs(40), most: 400 };
            for step in 0..40_000_u64 {
                let key = match random.next_u32() % 4 {
                    0 => u64::from(random.next_u32() % 2000),
                    _ => u64::from(random.next_u32() % 20),
                };
                let (seq, _) = truth.get(&key).copied().unwrap_or_default();
                let state = (random.next_u32() % 5 != 0).then_some(step);
                truth.insert(key, (seq + 1, state));
                let now = Duration::from_millis(step * 5);
                mirror.apply(change(key, seq + 1, state), now);
                mirror.expire(now, keep);
                let reader = random.next_u32() as usize % (readers.len() * 40);
                if step == 39_999 {
                    readers.iter_mut().for_each(|reader| read(&mirror, reader, &mut random));
                } else if let Some(reader) = readers.get_mut(reader) {
                    read(&mirror, reader, &mut random);
                }
            }
            let live = truth.iter().filter(|(_, (_, state))| state.is_some());
            let expected: HashMap<Arc<str>, (u64, Option<u64>)> =
                live.map(|(key, &value)| (format!("sip:{key}@example.com").into(), value)).collect();
            assert_eq!(mirror.live(), expected.len(), "seed {seed}");
            for (_, seen) in &mut readers {
                seen.retain(|_, (_, state)| state.is_some());
                assert!(*seen == expected, "seed {seed}");
            }
        }
    }

    fn read(mirror: &Mirror, (rev, seen): &mut Reader, random: &mut ChaCha8Rng) {
        if *rev < mirror.horizon() {
            (*rev, *seen) = Default::default();
        }
        loop {
            let mut out = Vec::new();
            let cursor =
                mirror.since(*rev, u64::MAX, &Scope::everything(), 1 + random.next_u32() as usize % 900, &mut out);
            let mut last = *rev;
            for item in out {
                assert!(item.rev > last && item.rev <= cursor.rev, "revisions rise");
                last = item.rev;
                let state = item.state.as_ref().map(|state| *state.downcast_ref::<u64>().unwrap());
                let old = seen.insert(Arc::clone(&item.resource), (item.seq, state));
                assert!(old.is_none_or(|(seq, _)| seq < item.seq), "a state came twice");
            }
            *rev = cursor.rev;
            if !cursor.more {
                return;
            }
        }
    }
}
