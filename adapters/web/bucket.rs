//! How often somebody may do something.

use std::time::Duration;
use tokio::time::Instant;

/// Lets `rate` a second pass, `burst` at once.
pub(crate) struct Bucket {
    every: Duration,
    burst: u32,
    /// When all that was taken will have been given back.
    level: Option<Instant>,
    /// How many in a row were too many.
    pub refused: u32,
}

impl Bucket {
    pub(crate) fn new(rate: u32, burst: u32) -> Self {
        Self { every: Duration::from_secs(1) / rate.max(1), burst: burst.max(1), level: None, refused: 0 }
    }

    /// Takes one; else says how long to wait.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Duration> {
        let level = self.level.map_or(now, |level| level.max(now)) + self.every;
        let over = (level - now).saturating_sub(self.every * self.burst);
        if over.is_zero() {
            self.level = Some(level);
            self.refused = 0;
            return None;
        }
        self.refused += 1;
        Some(over)
    }

    /// Whether all that was taken has been given back.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.level.is_none_or(|level| level <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_lets_a_burst_through_and_then_the_rate() {
        let (mut bucket, start) = (Bucket::new(10, 3), Instant::now());
        for _ in 0..3 {
            assert_eq!(bucket.take(start), None);
        }
        assert_eq!(bucket.take(start), Some(Duration::from_millis(100)));
        assert_eq!(bucket.take(start + Duration::from_millis(99)), Some(Duration::from_millis(1)));
        assert_eq!(bucket.refused, 2);
        assert_eq!(bucket.take(start + Duration::from_millis(100)), None);
        assert_eq!(bucket.refused, 0);
        assert!(bucket.take(start + Duration::from_millis(100)).is_some());
        assert!(
            !bucket.is_idle(start + Duration::from_millis(399)) && bucket.is_idle(start + Duration::from_millis(400))
        );
    }
}
