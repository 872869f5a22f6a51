//! What browsers have instead of a token: tickets, which may stand in a URL since they work once and not for long,
//! and sessions, whose cookie no script can read. Both are kept in memory by their hash, and end with the gateway.

use super::config;
use super::keys::{Hash, hash_of, random};
use super::principal::{Principal, Use};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Tickets that wait at once, and those of one name.
const MOST_TICKETS: usize = 10_000;
const MOST_OF_ONE: usize = 200;

/// Why there is none to be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// There are as many as there may be; how long until one of them ends.
    Full(Duration),
    /// The system has no random numbers.
    NoChance,
}

/// Tickets that wait to be used.
pub(super) struct Tickets {
    life: Duration,
    waiting: Mutex<HashMap<Hash, (Instant, Principal)>>,
}

impl Tickets {
    pub(super) fn new(life: Duration) -> Self {
        Self { life, waiting: Mutex::default() }
    }

    pub(super) fn life(&self) -> Duration {
        self.life
    }

    /// A ticket that does once what `principal` may.
    pub(super) fn issue(&self, principal: &Principal) -> Result<String, Refused> {
        let ticket = format!("lt_{}", random().ok_or(Refused::NoChance)?);
        let now = Instant::now();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (until, _)| *until > now);
        let same = waiting.values().filter(|(_, other)| other.name() == principal.name()).count();
        if waiting.len() >= MOST_TICKETS || same >= MOST_OF_ONE {
            let first = waiting.values().map(|(until, _)| *until).min().unwrap_or(now);
            return Err(Refused::Full(first - now));
        }
        waiting.insert(hash_of(&ticket), (now + self.life, principal.clone()));
        Ok(ticket)
    }

    /// Uses a ticket up. `None`: there is no such one, or it has been used, or it is too old.
    pub(super) fn redeem(&self, ticket: &str) -> Option<Principal> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, principal) = waiting.remove(&hash_of(ticket))?;
        (until > Instant::now()).then_some(principal)
    }
}

/// Sessions of browsers.
pub(super) struct Sessions {
    config: config::Session,
    all: Mutex<HashMap<Hash, Session>>,
}

struct Session {
    principal: Principal,
    until: Instant,
    using: Arc<Use>,
}

impl Session {
    fn lives(&self, now: Instant, idle: Duration) -> bool {
        now < self.until && !self.principal.is_over() && self.using.last(now) + idle > now
    }
}

impl Sessions {
    pub(super) fn new(config: config::Session) -> Self {
        Self { config, all: Mutex::default() }
    }

    /// Begins a session of `principal`, which must not be one of a session itself; returns the cookie's value.
    /// `wall` is the time of day, milliseconds since the epoch.
    pub(super) fn begin(&self, principal: &Principal, wall: u64) -> Result<(String, Principal), Refused> {
        let id = random().ok_or(Refused::NoChance)?;
        let now = Instant::now();
        let rest = principal.expires().map(|expires| Duration::from_millis(expires.saturating_sub(wall)));
        let life = rest.map_or(self.config.life, |rest| rest.min(self.config.life));
        let using = Arc::new(Use::new(now));
        let principal = principal.for_session(wall.saturating_add(life.as_millis() as u64));
        let given = principal.used_by(&using);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= self.config.most {
            all.retain(|_, session| session.lives(now, self.config.idle));
        }
        if all.len() >= self.config.most {
            let oldest = all.iter().min_by_key(|(_, session)| session.using.last(now)).map(|(hash, _)| *hash);
            if let Some(session) = oldest.and_then(|hash| all.remove(&hash)) {
                session.using.end();
            }
        }
        all.insert(hash_of(&id), Session { principal, until: now + life, using });
        Ok((id, given))
    }

    /// Whose session it is; that counts as use of it, for as long as the principal is held.
    pub(super) fn find(&self, id: &str) -> Option<Principal> {
        let (now, hash) = (Instant::now(), hash_of(id));
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let session = all.get(&hash)?;
        if session.lives(now, self.config.idle) {
            return Some(session.principal.used_by(&session.using));
        }
        all.remove(&hash);
        None
    }

    /// Ends a session; principals of it are told.
    pub(super) fn end(&self, id: &str) {
        let session = self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash_of(id));
        if let Some(session) = session {
            session.using.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::wall;
    use crate::auth::principal::Reads;
    use lamplighter_model::Addresses;
    use tokio::time::advance;

    fn principal(name: &str, expires: Option<u64>) -> Principal {
        let none = Reads::new(&[], &Addresses::default(), Arc::new(|_| None));
        Principal::new(name.into(), expires, none.clone(), none, false)
    }

    fn now() -> u64 {
        wall().as_millis() as u64
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_works_once_and_not_for_long() {
        let tickets = Tickets::new(Duration::from_secs(30));
        let ann = principal("ann", None);
        let ticket = tickets.issue(&ann).unwrap();
        assert_eq!(tickets.redeem(&ticket).map(|one| one.name().to_owned()).as_deref(), Some("ann"));
        assert!(tickets.redeem(&ticket).is_none());
        let ticket = tickets.issue(&ann).unwrap();
        advance(Duration::from_millis(29_999)).await;
        assert!(tickets.redeem(&ticket).is_some());
        let ticket = tickets.issue(&ann).unwrap();
        advance(Duration::from_secs(30)).await;
        assert!(tickets.redeem(&ticket).is_none());
        assert!(tickets.redeem("").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_takes_all_tickets() {
        let tickets = Tickets::new(Duration::from_secs(30));
        for _ in 0..MOST_OF_ONE {
            tickets.issue(&principal("ann", None)).unwrap();
        }
        advance(Duration::from_secs(10)).await;
        assert_eq!(tickets.issue(&principal("ann", None)), Err(Refused::Full(Duration::from_secs(20))));
        assert!(tickets.issue(&principal("bob", None)).is_ok());
        advance(Duration::from_secs(20)).await;
        assert!(tickets.issue(&principal("ann", None)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_renews_with_use_up_to_its_life() {
        let hour = Duration::from_secs(3600);
        let sessions = Sessions::new(config::Session { idle: hour, life: 10 * hour, most: 10, secure: false });
        let (id, given) = sessions.begin(&principal("ann", None), now()).unwrap();
        assert!(given.expires().unwrap().abs_diff(now() + 36_000_000) < 10_000);
        drop(given);
        for _ in 0..9 {
            advance(hour - Duration::from_secs(1)).await;
            assert!(sessions.find(&id).is_some());
        }
        advance(hour).await;
        assert!(sessions.find(&id).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_feed_keeps_its_session() {
        let hour = Duration::from_secs(3600);
        let sessions = Sessions::new(config::Session { idle: hour, life: 100 * hour, most: 10, secure: false });
        let (id, given) = sessions.begin(&principal("ann", None), now()).unwrap();
        drop(given);
        let held = sessions.find(&id).unwrap();
        advance(50 * hour).await;
        drop(held);
        advance(hour / 2).await;
        assert!(sessions.find(&id).is_some());
        advance(hour).await;
        assert!(sessions.find(&id).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_does_not_outlive_its_token_and_can_be_ended() {
        let hour = Duration::from_secs(3600);
        let sessions = Sessions::new(config::Session { idle: hour, life: 100 * hour, most: 10, secure: false });
        let (id, given) = sessions.begin(&principal("ann", Some(now() + 60_000)), now()).unwrap();
        assert!(given.expires().unwrap() <= now() + 60_000);
        advance(Duration::from_secs(61)).await;
        assert!(sessions.find(&id).is_none());
        let (id, given) = sessions.begin(&principal("ann", None), now()).unwrap();
        assert!(!given.is_over());
        sessions.end(&id);
        assert!(given.is_over() && sessions.find(&id).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_session_used_longest_ago_makes_room() {
        let hour = Duration::from_secs(3600);
        let sessions = Sessions::new(config::Session { idle: hour, life: hour, most: 2, secure: false });
        let begin = || sessions.begin(&principal("ann", None), now()).unwrap().0;
        let one = begin();
        advance(Duration::from_secs(1)).await;
        let two = begin();
        advance(Duration::from_secs(1)).await;
        assert!(sessions.find(&one).is_some());
        let three = begin();
        assert!(sessions.find(&two).is_none());
        assert!(sessions.find(&one).is_some() && sessions.find(&three).is_some());
    }
}
