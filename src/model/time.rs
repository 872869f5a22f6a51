//! Time as a number that a test can write down, a store can save and a log can print.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// Microseconds that never go back: wall time at start plus monotonic time since (`Time::default()` is the epoch).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time(u64);

impl Time {
    /// A moment later than all others; what is due then is never due.
    pub const NEVER: Self = Self(u64::MAX);

    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, the unit of the JSON feed.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds from `now` until this moment, rounded to the nearest: what an `expires` parameter says.
    pub const fn seconds_from(self, now: Self) -> u32 {
        let seconds = self.0.saturating_sub(now.0).saturating_add(500_000) / 1_000_000;
        if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 }
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(later.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, later: Duration) {
        *self = *self + later;
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(earlier.as_micros()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_to_the_nearest() {
        let now = Time::from_micros(10);
        assert_eq!((now + Duration::from_millis(1499)).seconds_from(now), 1);
        assert_eq!((now + Duration::from_millis(1500)).seconds_from(now), 2);
        assert_eq!(Time::default().seconds_from(now), 0);
        assert_eq!(Time::NEVER.seconds_from(now), u32::MAX);
    }
}
