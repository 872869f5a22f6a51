//! Clocks across restarts.
//!
//! The gateway's [`Time`] is wall time at its start plus what has passed since; it knows nothing of later steps of the
//! wall clock. Each start is an era. The store notes with every batch what both clocks of the era say, so that the next
//! start knows how long nobody was there, whatever was done to the wall clock while somebody was. Every record
//! names its era; a moment of an older era is moved into the new one by one sum.

use crate::backend::Put;
use crate::codec::{self, Unreadable, kind, v1};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use lamplighter_model::Time;
use prost::Message;
use std::collections::BTreeMap;
use std::time::Duration;

/// All eras of which the store has records, and the one that begins.
#[derive(Debug)]
pub(crate) struct Eras {
    /// By how many microseconds moments of each older era are moved.
    ahead: BTreeMap<u64, i128>,
    /// The one that begins.
    pub(crate) current: u64,
    /// Its first moment.
    pub(crate) start: Time,
    /// How many records each older era still has.
    in_use: BTreeMap<u64, u64>,
}

impl Eras {
    /// What follows from the pairs that the store has kept, at `wall` since the epoch.
    pub(crate) fn read(pairs: &[(Bytes, Bytes)], wall: Duration) -> Result<Self, Unreadable> {
        let wall = micros(wall);
        let mut ahead = BTreeMap::new();
        let mut last: Option<(u64, v1::Era)> = None;
        for (key, value) in pairs {
            let number = key.get(1..).and_then(|rest| <[u8; 8]>::try_from(rest).ok());
            let number = u64::from_be_bytes(number.ok_or(Unreadable::Bad("an era has no number"))?);
            let mut value = value.clone();
            codec::message(&mut value)?;
            if value.remaining() > 64 {
                return Err(Unreadable::Bad("an era is too long"));
            }
            let era = v1::Era::decode(value)?;
            ahead.insert(number, i128::from(era.ahead));
            if last.is_none_or(|(newest, _)| newest < number) {
                last = Some((number, era));
            }
        }
        let Some((number, era)) = last else {
            let start = Time::from_micros(wall);
            return Ok(Self { ahead, current: 1, start, in_use: BTreeMap::new() });
        };
        // A clock that was set back says nothing about how long nobody was there.
        let passed = wall.saturating_sub(era.wall);
        let start = wall.max(era.wall);
        let step = i128::from(start) - i128::from(era.time) - i128::from(passed);
        for ahead in ahead.values_mut() {
            *ahead += step;
        }
        Ok(Self { ahead, current: number + 1, start: Time::from_micros(start), in_use: BTreeMap::new() })
    }

    /// By how much moments of `era` are moved; what was never noted is damage.
    pub(crate) fn ahead(&mut self, era: u64) -> Result<i128, Unreadable> {
        let ahead = *self.ahead.get(&era).ok_or(Unreadable::Bad("a record is of an unknown era"))?;
        *self.in_use.entry(era).or_default() += 1;
        Ok(ahead)
    }

    /// Begins the new era: what must be written. After all records were read, eras without any are dropped.
    pub(crate) fn begin(&self, all_read: bool, now: Time, wall: Duration) -> Vec<Put> {
        let mut puts = vec![note(self.current, now, wall, 0)];
        for (&number, &ahead) in &self.ahead {
            let put = if all_read && !self.in_use.contains_key(&number) {
                Put { key: key(number), value: None }
            } else {
                // Only what it is ahead matters of it from now on.
                note(number, Time::default(), Duration::ZERO, ahead as i64)
            };
            puts.push(put);
        }
        puts
    }
}

/// What the clocks say in `era`.
pub(crate) fn note(era: u64, now: Time, wall: Duration, ahead: i64) -> Put {
    let mut value = BytesMut::with_capacity(32);
    codec::put(&v1::Era { time: now.as_micros(), wall: micros(wall), ahead }, &mut value);
    Put { key: key(era), value: Some(value.freeze()) }
}

fn key(era: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(kind::ERA);
    key.put_u64(era);
    key.freeze()
}

fn micros(wall: Duration) -> u64 {
    u64::try_from(wall.as_micros()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * SECOND)
    }

    fn wall(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What a store holds of eras.
    #[derive(Default)]
    struct Held(BTreeMap<Bytes, Bytes>);

    impl Held {
        fn put(&mut self, puts: Vec<Put>) {
            for Put { key, value } in puts {
                match value {
                    Some(value) => self.0.insert(key, value),
                    None => self.0.remove(&key),
                };
            }
        }

        fn start(&mut self, wall_now: u64) -> Eras {
            let pairs: Vec<_> = self.0.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            let eras = Eras::read(&pairs, wall(wall_now)).unwrap();
            self.put(eras.begin(false, eras.start, wall(wall_now)));
            eras
        }
    }

    /// How long a lease of `era` that was to end at `until` still has.
    fn left(eras: &mut Eras, era: u64, until: u64) -> i128 {
        i128::from(until * SECOND) + eras.ahead(era).unwrap() - i128::from(eras.start.as_micros())
    }

    #[test]
    fn a_lease_goes_on_counting_while_nobody_is_there() {
        let mut held = Held::default();
        let first = held.start(1000);
        assert_eq!((first.start, first.current), (at(1000), 1));
        held.put(vec![note(1, at(1010), wall(1010), 0)]);
        let mut second = held.start(1030);
        assert_eq!(second.start, at(1030));
        assert_eq!(left(&mut second, 1, 1100), 70 * i128::from(SECOND));
    }

    #[test]
    fn a_step_while_running_changes_no_lease() {
        for stepped in [5_000, 1_010, 10] {
            let mut held = Held::default();
            held.start(1000);
            // Ten seconds later the wall clock says something else; the lease has ninety left.
            held.put(vec![note(1, at(1010), wall(stepped), 0)]);
            let mut second = held.start(stepped + 20);
            assert_eq!(second.start, at(stepped + 20));
            assert_eq!(left(&mut second, 1, 1100), 70 * i128::from(SECOND), "stepped to {stepped}");
        }
    }

    #[test]
    fn a_clock_set_back_between_lives_ends_no_lease_and_makes_none_longer() {
        let mut held = Held::default();
        held.start(1000);
        held.put(vec![note(1, at(1010), wall(1010), 0)]);
        let mut second = held.start(500);
        assert_eq!(second.start, at(1010), "no earlier than the newest wall time in the store");
        assert_eq!(left(&mut second, 1, 1100), 90 * i128::from(SECOND));
        held.put(vec![note(2, at(1020), wall(510), 0)]);
        let mut third = held.start(512);
        assert_eq!(third.start, at(512), "the clock of the last life is believed");
        assert_eq!(left(&mut third, 1, 1100), 78 * i128::from(SECOND));
        assert_eq!(left(&mut third, 2, 1100), 78 * i128::from(SECOND));
    }

    #[test]
    fn eras_without_records_are_dropped() {
        let mut held = Held::default();
        held.start(1000);
        held.start(1001);
        let mut third = held.start(1002);
        third.ahead(2).unwrap();
        held.put(third.begin(true, third.start, wall(1002)));
        assert_eq!(held.0.keys().map(|key| key[8]).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(third.ahead(7), Err(Unreadable::Bad("a record is of an unknown era")));
    }

    #[test]
    fn clocks_at_their_ends_do_not_overflow() {
        let mut held = Held::default();
        held.put(vec![note(1, Time::NEVER, Duration::MAX, i64::MAX)]);
        let eras = held.start(0);
        assert_eq!(eras.start.as_micros(), u64::MAX - 1);
        held.start(u64::MAX);
    }
}
