//! A hashed timer wheel: arming, moving and cancelling cost a few nanoseconds, nothing is ever searched.

use crate::time::Time;

const LEVELS: usize = 5;
const BITS: u32 = 8;
const SLOTS: usize = 1 << BITS;
/// One tick, as a power of two of microseconds: 4.096 ms.
const TICK_BITS: u32 = 12;
const NONE: u32 = u32::MAX;

/// An armed entry. Its owner forgets it when the entry fires; a forgotten one must not be cancelled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timer(u32);

/// Holds `T`s until they are due, accurate to a tick (4 ms), never early.
#[derive(Debug)]
pub struct Wheel<T> {
    /// The next tick to be looked at.
    tick: u64,
    levels: [Level; LEVELS],
    nodes: Vec<Node<T>>,
    free: u32,
    len: usize,
}

/// An entry in one of the circular lists, or (with `level == FREE`) in the list of free places.
#[derive(Debug)]
struct Node<T> {
    due: u64,
    next: u32,
    previous: u32,
    level: u8,
    slot: u8,
    entry: T,
}

const FREE: u8 = u8::MAX;

#[derive(Debug)]
struct Level {
    /// The first entry of each slot's circular list.
    heads: Box<[u32; SLOTS]>,
    occupied: [u64; SLOTS / 64],
}

impl Level {
    /// How many slots from `from` (inclusive) to the next occupied one, going round.
    fn distance(&self, from: usize) -> Option<usize> {
        for step in 0..=SLOTS / 64 {
            let word = (from / 64 + step) % (SLOTS / 64);
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= !0 << (from % 64);
            } else if step == SLOTS / 64 {
                bits &= !(!0 << (from % 64));
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                return Some((slot + SLOTS - from) % SLOTS);
            }
        }
        None
    }
}

impl<T: Copy> Wheel<T> {
    /// An empty wheel that starts at `now`.
    pub fn new(now: Time) -> Self {
        let level = || Level { heads: Box::new([NONE; SLOTS]), occupied: [0; SLOTS / 64] };
        Self {
            tick: now.as_micros() >> TICK_BITS,
            levels: std::array::from_fn(|_| level()),
            nodes: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hands `entry` back at the first [`Self::advance`] at or after `at`.
    pub fn arm(&mut self, at: Time, entry: T) -> Timer {
        self.len += 1;
        let due = (at.as_micros().saturating_add((1 << TICK_BITS) - 1) >> TICK_BITS).max(self.tick);
        let node = Node { due, next: NONE, previous: NONE, level: FREE, slot: 0, entry };
        let index = if self.free == NONE {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        } else {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            self.nodes[index as usize] = node;
            index
        };
        self.link(index);
        Timer(index)
    }

    /// Forgets an entry that has not fired yet.
    pub fn cancel(&mut self, timer: Timer) {
        debug_assert_ne!(self.nodes[timer.0 as usize].level, FREE, "the timer has fired");
        self.unlink(timer.0);
        self.release(timer.0);
    }

    fn release(&mut self, index: u32) -> T {
        let node = &mut self.nodes[index as usize];
        node.level = FREE;
        node.next = self.free;
        self.free = index;
        self.len -= 1;
        node.entry
    }

    fn link(&mut self, index: u32) {
        let due = self.nodes[index as usize].due;
        let mut level = 0;
        // The level at whose granularity `due` is less than a turn away.
        let turns = |level: usize| (due >> (BITS * level as u32)) - (self.tick >> (BITS * level as u32));
        while level + 1 < LEVELS && turns(level) >= SLOTS as u64 {
            level += 1;
        }
        let shift = BITS * level as u32;
        let horizon = (self.tick >> shift) + SLOTS as u64 - 1;
        let slot = (due >> shift).min(horizon) as usize % SLOTS;
        let head = self.levels[level].heads[slot];
        let previous = if head == NONE {
            self.levels[level].heads[slot] = index;
            self.levels[level].occupied[slot / 64] |= 1 << (slot % 64);
            index
        } else {
            let last = self.nodes[head as usize].previous;
            self.nodes[last as usize].next = index;
            self.nodes[head as usize].previous = index;
            last
        };
        let node = &mut self.nodes[index as usize];
        (node.level, node.slot) = (level as u8, slot as u8);
        (node.previous, node.next) = (previous, if head == NONE { index } else { head });
    }

    fn unlink(&mut self, index: u32) {
        let Node { next, previous, level, slot, .. } = self.nodes[index as usize];
        let level = &mut self.levels[usize::from(level)];
        let slot = usize::from(slot);
        if next == index {
            level.heads[slot] = NONE;
            level.occupied[slot / 64] &= !(1 << (slot % 64));
            return;
        }
        if level.heads[slot] == index {
            level.heads[slot] = next;
        }
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
    }

    /// Calls `fire` with everything that is due at `now`, in the order of time (and of arming within a tick).
    pub fn advance(&mut self, now: Time, mut fire: impl FnMut(T)) {
        let end = now.as_micros() >> TICK_BITS;
        while self.tick <= end {
            if self.len == 0 {
                self.tick = end + 1;
                return;
            }
            // Where the ticks of a level turn over, the next slot of the level above is spread out again.
            for level in (1..LEVELS).rev() {
                let shift = BITS * level as u32;
                if self.tick & ((1 << shift) - 1) == 0 {
                    let slot = (self.tick >> shift) as usize % SLOTS;
                    let first = self.levels[level].heads[slot];
                    let mut left = if first == NONE { 0 } else { self.count(first) };
                    while left > 0 {
                        let index = self.levels[level].heads[slot];
                        self.unlink(index);
                        self.link(index);
                        left -= 1;
                    }
                }
            }
            let slot = self.tick as usize % SLOTS;
            while self.levels[0].heads[slot] != NONE {
                let index = self.levels[0].heads[slot];
                self.unlink(index);
                fire(self.release(index));
            }
            self.tick += 1;
            // Skip what is empty, up to the next turn-over.
            let here = self.tick as usize % SLOTS;
            if here != 0 {
                let turn = (self.tick | (SLOTS as u64 - 1)) + 1;
                let next = match self.levels[0].distance(here) {
                    Some(distance) => (self.tick + distance as u64).min(turn),
                    None => turn,
                };
                self.tick = next.min(end + 1);
            }
        }
    }

    fn count(&self, first: u32) -> usize {
        let (mut count, mut index) = (1, self.nodes[first as usize].next);
        while index != first {
            (count, index) = (count + 1, self.nodes[index as usize].next);
        }
        count
    }

    /// When [`Self::advance`] has something to do next. May be early (at most once a second), never late.
    pub fn deadline(&self) -> Option<Time> {
        if self.len == 0 {
            return None;
        }
        let here = self.tick as usize % SLOTS;
        let turn = if here == 0 { self.tick } else { (self.tick | (SLOTS as u64 - 1)) + 1 };
        // At a turn-over itself the levels above must be spread out first.
        let tick = match self.levels[0].distance(here) {
            Some(distance) if here != 0 => (self.tick + distance as u64).min(turn),
            _ => turn,
        };
        Some(Time::from_micros(tick << TICK_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn everything_fires_once_at_its_time_in_order() {
        let start = Time::from_micros(1_700_000_000_123_456);
        for step in [Duration::from_millis(1), Duration::from_millis(777), Duration::from_secs(3600)] {
            let mut wheel = Wheel::new(start);
            let mut number = 1_u64;
            let mut due = Vec::new();
            for index in 0..2000_u64 {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let micros =
                    (number >> 20) % [1_000_000, 100_000_000, 40_000_000_000, 90_000_000_000][index as usize % 4];
                let at = start + Duration::from_micros(micros);
                wheel.arm(at, at);
                due.push(at);
            }
            due.sort_unstable();
            let (mut now, mut fired) = (start, Vec::new());
            while !wheel.is_empty() {
                now =
                    if step > Duration::from_secs(1) { now + step } else { wheel.deadline().unwrap().max(now + step) };
                wheel.advance(now, |at| {
                    assert!(at <= now, "early");
                    assert!(now.since(at) <= step + Duration::from_millis(9), "late by {:?}", now.since(at));
                    fired.push(at);
                });
            }
            assert_eq!(fired.len(), due.len());
            assert!(fired.windows(2).all(
                |pair| pair[1].since(pair[0]) > Duration::ZERO || pair[0].since(pair[1]) < Duration::from_millis(5)
            ));
        }
    }

    #[test]
    fn deadline_wakes_seldom_for_what_is_far() {
        let mut now = Time::from_micros(5);
        let mut wheel = Wheel::new(now);
        wheel.arm(now + Duration::from_secs(60), ());
        let (mut wakes, mut fired) = (0, 0);
        while fired == 0 {
            now = wheel.deadline().expect("something waits");
            wheel.advance(now, |()| fired += 1);
            wakes += 1;
        }
        assert!(wakes < 70, "{wakes}");
        assert!(now.since(Time::from_micros(5)) < Duration::from_millis(60_010));
    }

    #[test]
    fn what_is_overdue_fires_next() {
        let mut wheel = Wheel::new(Time::from_micros(1_000_000_000));
        wheel.arm(Time::from_micros(5), 1);
        let mut fired = Vec::new();
        wheel.advance(Time::from_micros(1_000_010_000), |entry| fired.push(entry));
        assert_eq!(fired, [1]);
        assert_eq!(wheel.deadline(), None);
    }

    #[test]
    fn a_cancelled_entry_never_fires_and_its_place_is_used_again() {
        let start = Time::from_micros(77_000_000);
        let mut wheel = Wheel::new(start);
        for round in 0..1000_u64 {
            let gone = wheel.arm(start + Duration::from_secs(3600 - round), u64::MAX);
            wheel.arm(start + Duration::from_millis(10), round);
            wheel.cancel(gone);
        }
        assert_eq!((wheel.len(), wheel.nodes.len()), (1000, 1001));
        let mut fired = Vec::new();
        wheel.advance(start + Duration::from_secs(7200), |entry| fired.push(entry));
        assert_eq!(fired, (0..1000).collect::<Vec<_>>());
    }
}
