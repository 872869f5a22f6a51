//! When a connection is told what has changed: the first change after quiet at once, later ones at most once each
//! interval, on ticks that all connections with the same interval share, so that they share frames. Where changes go on
//! and on, a short interval counts double: a frame costs as much as ten states, and nobody sees so many a second.

use std::time::Duration;
use tokio::time::Instant;

/// No interval is made longer than this.
const STEADY: Duration = Duration::from_millis(40);

pub(crate) struct Pace {
    /// Ticks are whole intervals from here.
    start: Instant,
    every: Duration,
    /// A change that comes before this waits for it.
    not_before: Instant,
    /// There is a tick to wait for; until then changes wake nobody.
    holding: bool,
}

impl Pace {
    pub(crate) fn new(start: Instant, every: Duration) -> Self {
        Self { start, every: every.max(Duration::from_millis(1)), not_before: start, holding: false }
    }

    /// Whether changes wait for the tick that was named last.
    pub(crate) fn is_holding(&self) -> bool {
        self.holding
    }

    /// Something has changed. `None`: it is told now, and nothing has to be waited for, since most often nothing
    /// follows soon. Else it waits for this tick.
    pub(crate) fn changed(&mut self, now: Instant) -> Option<Instant> {
        self.holding = now < self.not_before;
        if self.holding {
            return Some(self.not_before);
        }
        self.not_before = self.after(now, self.every);
        None
    }

    /// The tick has come. With something to tell it is told now, and the next tick is this: where much changes, more
    /// will follow.
    pub(crate) fn ticked(&mut self, now: Instant, is_behind: bool) -> Option<Instant> {
        self.holding = is_behind;
        if is_behind {
            self.not_before = self.after(now, self.every.max(STEADY.min(self.every * 2)));
        }
        is_behind.then_some(self.not_before)
    }

    /// There is more to tell than was told now: it waits for this tick.
    pub(crate) fn hold(&mut self) -> Instant {
        self.holding = true;
        self.not_before
    }

    /// What has changed is to be told at once, at this tick.
    pub(crate) fn hurry(&mut self, now: Instant) -> Instant {
        self.holding = true;
        now
    }

    /// The tick that is nearest to one interval from now.
    fn after(&self, now: Instant, interval: Duration) -> Instant {
        let passed = now.saturating_duration_since(self.start) + interval / 2;
        let ticks = passed.as_micros() / interval.as_micros() + 1;
        self.start + interval * u32::try_from(ticks).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes at these milliseconds with this interval: when they are told, and how often the connection wakes.
    fn check(every: u64, changes: &[u64], told: &[u64], wakes: usize) {
        let start = Instant::now();
        let mut pace = Pace::new(start, Duration::from_millis(every));
        let at = |instant: Instant| (instant - start).as_millis() as u64;
        let mut changes = changes.iter().copied().peekable();
        let (mut due, mut waiting, mut seen, mut woken) = (None::<Instant>, false, Vec::new(), 0);
        loop {
            match (changes.peek(), due.filter(|_| pace.is_holding())) {
                (Some(change), Some(tick)) if *change < at(tick) => {
                    changes.next();
                    waiting = true;
                }
                (_, Some(tick)) => {
                    woken += 1;
                    due = pace.ticked(tick, waiting);
                    if std::mem::take(&mut waiting) {
                        seen.push(at(tick));
                    }
                }
                (Some(change), None) => {
                    let now = start + Duration::from_millis(*change);
                    woken += 1;
                    due = pace.changed(now);
                    match due {
                        None => seen.push(*change),
                        Some(_) => waiting = true,
                    }
                    changes.next();
                }
                (None, None) => break,
            }
        }
        assert_eq!((&*seen, woken), (told, wakes));
    }

    #[tokio::test(start_paused = true)]
    async fn single_changes_wake_once() {
        check(50, &[10], &[10], 1);
        check(50, &[10, 110, 300, 1000], &[10, 110, 300, 1000], 4);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_close_together_wait_for_the_tick() {
        check(50, &[10, 20, 30, 40], &[10, 50], 4);
        // The tick is the nearest to one interval on, so that two flushes are never closer than half of it.
        check(50, &[40, 60], &[40, 100], 4);
    }

    #[tokio::test(start_paused = true)]
    async fn where_much_changes_only_ticks_wake() {
        let changes: Vec<_> = (0..100).map(|step| 1000 + step * 10).collect();
        let told: Vec<_> = (20..=40).map(|tick| tick * 50).collect();
        check(50, &changes, &told, told.len() + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_interval_counts_double_where_changes_go_on() {
        check(20, &[10, 40, 70, 100], &[10, 40, 70, 100], 4);
        let changes: Vec<_> = (0..50).map(|step| 1000 + step * 4).collect();
        check(20, &changes, &[1000, 1020, 1080, 1120, 1160, 1200], 8);
        check(5, &changes[..10], &[1000, 1005, 1020, 1030, 1040], 7);
    }
}
