//! Following what happens to a presentity, live.

use crate::port::Port;
use lamplighter_model::explain::Trace;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// Presentities that may be followed at once.
const MOST: usize = 16;
/// Happenings that a slow follower may be behind; beyond, it misses the oldest and is told how many.
const QUEUE: usize = 256;

/// Who follows what.
#[derive(Default)]
pub(crate) struct Traces(Mutex<HashMap<Arc<str>, broadcast::Sender<Trace>>>);

impl Traces {
    /// A new follower, and whether it is the first of this presentity; `None`: too many are followed.
    pub fn follow(&self, resource: &str) -> Option<(broadcast::Receiver<Trace>, bool)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(events) = all.get(resource) {
            return Some((events.subscribe(), false));
        }
        if all.len() >= MOST {
            return None;
        }
        let (events, follower) = broadcast::channel(QUEUE);
        all.insert(resource.into(), events);
        Some((follower, true))
    }

    /// A follower has left; whether it was the last.
    pub fn leave(&self, resource: &str) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = all.get(resource).is_some_and(|events| events.receiver_count() <= 1);
        if last {
            all.remove(resource);
        }
        last
    }

    /// Tells the followers.
    pub fn tell(&self, trace: Trace) {
        if let Some(events) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&trace.resource) {
            let _ = events.send(trace); // somebody has just left
        }
    }
}

/// Follows one presentity until it is dropped.
pub struct Tracing {
    pub(crate) port: Port,
    pub(crate) resource: Arc<str>,
    pub(crate) events: broadcast::Receiver<Trace>,
}

/// The next thing that a follower is told.
#[derive(Debug)]
pub enum Traced {
    /// Something has happened.
    Event(Trace),
    /// So many happenings were missed.
    Missed(u64),
}

impl Tracing {
    /// What happens next; `None`: the gateway has stopped.
    pub async fn next(&mut self) -> Option<Traced> {
        match self.events.recv().await {
            Ok(event) => Some(Traced::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Traced::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        self.port.untrace(&self.resource);
    }
}
