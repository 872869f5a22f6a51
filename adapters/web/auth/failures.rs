//! Failed attempts to sign in: counted by reason, and limited by network address.

use super::jwt::Fault;
use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Addresses that are kept in mind. Beyond, all others are counted as one.
const MOST: usize = 10_000;

/// Lets so many attempts a minute fail.
pub(super) struct Failures {
    every: Duration,
    burst: u32,
    /// Until when each address would have to wait to begin anew.
    levels: Mutex<HashMap<IpAddr, Instant>>,
}

impl Failures {
    pub(super) fn new(per_minute: u32) -> Self {
        let per_minute = per_minute.max(1);
        Self { every: Duration::from_secs(60) / per_minute, burst: per_minute, levels: Mutex::default() }
    }

    /// How long this address has to wait; `None`: it may try.
    pub(super) fn wait(&self, peer: IpAddr) -> Option<Duration> {
        let now = Instant::now();
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let level = levels.get(&source(peer)).or_else(|| levels.get(&OTHERS).filter(|_| levels.len() >= MOST))?;
        let wait = (*level + self.every).saturating_duration_since(now).saturating_sub(self.every * self.burst);
        (!wait.is_zero()).then_some(wait)
    }

    /// An attempt from this address has failed.
    pub(super) fn count(&self, peer: IpAddr) {
        let now = Instant::now();
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut source = source(peer);
        if levels.len() >= MOST && !levels.contains_key(&source) {
            levels.retain(|_, level| *level > now);
            if levels.len() >= MOST {
                source = OTHERS;
            }
        }
        let level = levels.entry(source).or_insert(now);
        *level = (*level).max(now) + self.every;
    }
}

/// All that there was no room for.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A whole /64 of IPv6 is one source: a host has as many addresses as it likes.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

macro_rules! reasons {
    ($($name:ident $label:literal,)*) => {
        /// Failed attempts by reason.
        #[derive(Default)]
        pub(crate) struct Reasons {
            $($name: AtomicU64,)*
        }

        impl Reasons {
            fn of(&self, reason: &str) -> &AtomicU64 {
                match reason {
                    $($label => &self.$name,)*
                    _ => &self.other,
                }
            }

            /// Appends `auth_failures_total`.
            pub(crate) fn write(&self, out: &mut String) {
                let name = "auth_failures_total";
                let _ = write!(out, "# HELP {name} Attempts to sign in that failed.\n# TYPE {name} counter\n");
                $(let _ = writeln!(out, "{name}{{reason=\"{}\"}} {}", $label, self.$name.load(Relaxed));)*
            }
        }
    };
}

reasons! {
    alg "alg", aud "aud", exp "exp", iss "iss", key "key", keys "keys", kid "kid", malformed "malformed",
    missing "missing", nbf "nbf", origin "origin", other "other", presence "presence", rate "rate",
    session "session", signature "signature", sub "sub", ticket "ticket",
}

impl Reasons {
    pub(crate) fn count(&self, reason: &str) {
        self.of(reason).fetch_add(1, Relaxed);
    }

    pub(super) fn fault(&self, fault: &Fault) {
        self.count(fault.check());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_fails_too_often_waits_and_others_do_not() {
        let failures = Failures::new(6);
        let (bad, good) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..6 {
            assert_eq!(failures.wait(bad), None);
            failures.count(bad);
        }
        assert_eq!(failures.wait(bad), Some(Duration::from_secs(10)));
        assert_eq!(failures.wait(address("::ffff:192.0.2.1")), Some(Duration::from_secs(10)));
        assert_eq!(failures.wait(good), None);
        advance(Duration::from_secs(10)).await;
        assert_eq!(failures.wait(bad), None);
        failures.count(bad);
        assert!(failures.wait(bad).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_with_many_addresses_are_one_and_the_map_is_bounded() {
        let failures = Failures::new(2);
        failures.count(address("2001:db8::1"));
        failures.count(address("2001:db8::2"));
        assert!(failures.wait(address("2001:db8::3")).is_some());
        assert!(failures.wait(address("2001:db8:0:1::3")).is_none());
        for number in 0..20_000_u32 {
            failures.count(IpAddr::V4(number.into()));
        }
        assert!(failures.levels.lock().unwrap().len() <= MOST + 1);
        // There is no room for more: strangers are limited together.
        assert!(failures.wait(address("192.0.2.1")).is_some());
        advance(Duration::from_secs(7 * 24 * 3600)).await;
        assert!(failures.wait(address("192.0.2.1")).is_none());
        failures.count(address("192.0.2.1"));
        assert_eq!(failures.levels.lock().unwrap().len(), 1);
    }
}
