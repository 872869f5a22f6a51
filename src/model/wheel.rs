//! A hashed timer wheel: arming costs a few nanoseconds, nothing is ever searched.
//!
//! Entries are not cancelled: an owner that has changed its mind looks at its own deadline when the entry fires and
//! arms again. Entries carry a generation for that purpose if their owner's place may be reused.

use crate::time::Time;

const LEVELS: usize = 5;
const BITS: u32 = 8;
const SLOTS: usize = 1 << BITS;
/// One tick, as a power of two of microseconds: 4.096 ms.
const TICK_BITS: u32 = 12;

/// Holds `T`s until they are due, accurate to a tick (4 ms), never early.
#[derive(Debug)]
pub struct Wheel<T> {
    /// The next tick to be looked at.
    tick: u64,
    levels: [Level<T>; LEVELS],
    len: usize,
}

#[derive(Debug)]
struct Level<T> {
    slots: Vec<Vec<(u64, T)>>,
    occupied: [u64; SLOTS / 64],
}

impl<T> Level<T> {
    fn push(&mut self, slot: usize, entry: (u64, T)) {
        self.slots[slot].push(entry);
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    fn take(&mut self, slot: usize) -> Vec<(u64, T)> {
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        std::mem::take(&mut self.slots[slot])
    }

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

impl<T> Wheel<T> {
    /// An empty wheel that starts at `now`.
    pub fn new(now: Time) -> Self {
        let level = || Level { slots: (0..SLOTS).map(|_| Vec::new()).collect(), occupied: [0; SLOTS / 64] };
        Self { tick: now.as_micros() >> TICK_BITS, levels: std::array::from_fn(|_| level()), len: 0 }
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hands `entry` back at the first [`Self::advance`] at or after `at`. [`Time::NEVER`] is not kept.
    pub fn arm(&mut self, at: Time, entry: T) {
        if at == Time::NEVER {
            return;
        }
        self.len += 1;
        let due = ((at.as_micros() + (1 << TICK_BITS) - 1) >> TICK_BITS).max(self.tick);
        self.place(due, entry);
    }

    fn place(&mut self, due: u64, entry: T) {
        let mut level = 0;
        // The level at whose granularity `due` is less than a turn away.
        while level + 1 < LEVELS && (due >> (BITS * level as u32)) - (self.tick >> (BITS * level as u32)) >= SLOTS as u64
        {
            level += 1;
        }
        let shift = BITS * level as u32;
        let horizon = (self.tick >> shift) + SLOTS as u64 - 1;
        let slot = (due >> shift).min(horizon) as usize % SLOTS;
        self.levels[level].push(slot, (due, entry));
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
                    for (due, entry) in self.levels[level].take(slot) {
                        self.place(due.max(self.tick), entry);
                    }
                }
            }
            let slot = self.tick as usize % SLOTS;
            let mut entries = self.levels[0].take(slot);
            self.len -= entries.len();
            self.tick += 1;
            for (_, entry) in entries.drain(..) {
                fire(entry);
            }
            if self.levels[0].slots[slot].is_empty() && entries.capacity() <= 1024 {
                self.levels[0].slots[slot] = entries; // keep the memory
            }
            // Skip what is empty, up to the next turn-over.
            let turn = (self.tick | (SLOTS as u64 - 1)) + 1;
            let here = self.tick as usize % SLOTS;
            if here != 0 {
                let next = match self.levels[0].distance(here) {
                    Some(distance) => (self.tick + distance as u64).min(turn),
                    None => turn,
                };
                self.tick = next.min(end + 1);
            }
        }
    }

    /// When [`Self::advance`] has something to do next. May be early (at most once a second), never late.
    pub fn deadline(&self) -> Option<Time> {
        if self.len == 0 {
            return None;
        }
        let here = self.tick as usize % SLOTS;
        let turn = if here == 0 { self.tick } else { (self.tick | (SLOTS as u64 - 1)) + 1 };
        let tick = match self.levels[0].distance(here) {
            Some(distance) => (self.tick + distance as u64).min(turn.max(self.tick)),
            None => turn,
        };
        let tick = if here == 0 && self.levels[0].occupied == [0; SLOTS / 64] { turn } else { tick };
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
                let micros = (number >> 20) % [1_000_000, 100_000_000, 40_000_000_000, 90_000_000_000][index as usize % 4];
                let at = start + Duration::from_micros(micros);
                wheel.arm(at, at);
                due.push(at);
            }
            due.sort_unstable();
            let (mut now, mut fired) = (start, Vec::new());
            while !wheel.is_empty() {
                now = if step > Duration::from_secs(1) { now + step } else { wheel.deadline().unwrap().max(now + step) };
                wheel.advance(now, |at| {
                    assert!(at <= now, "early");
                    assert!(now.since(at) <= step + Duration::from_millis(9), "late by {:?}", now.since(at));
                    fired.push(at);
                });
            }
            assert_eq!(fired.len(), due.len());
            assert!(fired.windows(2).all(|pair| pair[1].since(pair[0]) > Duration::ZERO
                || pair[0].since(pair[1]) < Duration::from_millis(5)));
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
}
