//! What all connections share.

use crate::config::Config;
use crate::lane::Lane;
use crate::metrics::Metrics;
use lamplighter_port::{Port, Scope};
use std::collections::{BTreeMap, HashMap};
use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::Instant;

/// What the gateway tells the web adapter about itself.
#[derive(Clone)]
pub struct Admin {
    /// Appends everybody else's metrics in the text format of Prometheus.
    pub metrics: Arc<dyn Fn(&mut String) + Send + Sync>,
    /// Whether all is well, apart from shards and hub, which are asked; else what is not.
    pub ready: Arc<dyn Fn() -> Result<(), Vec<String>> + Send + Sync>,
}

/// What all connections share.
pub(crate) struct App {
    pub config: Config,
    pub port: Port,
    pub admin: Admin,
    pub metrics: Metrics,
    /// Turns true when the gateway stops.
    pub stop: watch::Receiver<bool>,
    /// Flushes of all connections fall on the same ticks from here, so that they share frames.
    pub start: Instant,
    hash: RandomState,
    lanes: Mutex<HashMap<u64, Vec<Weak<Lane>>>>,
    readers: Mutex<BTreeMap<u64, Arc<Reader>>>,
    next: AtomicU64,
}

/// A feed connection as `explain` and metrics see it.
pub(crate) struct Reader {
    pub number: u64,
    pub peer: SocketAddr,
    /// What it called itself.
    pub client: Mutex<String>,
    /// Since when, milliseconds since the epoch.
    pub since: u64,
    /// How far it has come.
    pub rev: AtomicU64,
    /// What it watches.
    pub lane: Mutex<Option<Arc<Lane>>>,
}

impl App {
    pub(crate) fn new(config: Config, port: Port, admin: Admin, stop: watch::Receiver<bool>) -> Self {
        Self {
            config,
            port,
            admin,
            metrics: Metrics::default(),
            stop,
            start: Instant::now(),
            hash: RandomState::new(),
            lanes: Mutex::default(),
            readers: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// The lane of this scope, shared with others who watch the same.
    pub(crate) fn lane(&self, scope: Scope) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let print = scope.fingerprint(&self.hash);
        if let Some(lane) =
            lanes.get(&print).into_iter().flatten().filter_map(Weak::upgrade).find(|it| it.scope == scope)
        {
            return lane;
        }
        // Forget those that nobody watches any more, when it may pay.
        if lanes.len() == lanes.capacity() {
            lanes.retain(|_, same| {
                same.retain(|lane| lane.strong_count() > 0);
                !same.is_empty()
            });
        }
        let lane = Arc::new(Lane::new(scope));
        lanes.entry(print).or_default().push(Arc::downgrade(&lane));
        lane
    }

    /// Lists a new connection until the guard is dropped.
    pub(crate) fn enlist(self: &Arc<Self>, peer: SocketAddr) -> Enlisted {
        let reader = Arc::new(Reader {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            peer,
            client: Mutex::default(),
            since: wall().as_millis() as u64,
            rev: AtomicU64::new(0),
            lane: Mutex::default(),
        });
        self.metrics.connected.fetch_add(1, Ordering::Relaxed);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.insert(reader.number, Arc::clone(&reader));
        Enlisted { app: Arc::clone(self), reader }
    }

    /// All connections, oldest first.
    pub(crate) fn readers(&self) -> Vec<Arc<Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How many revisions the slowest connection that watches something is behind.
    pub(crate) fn lag(&self) -> u64 {
        let head = *self.port.head().borrow();
        let watches = |reader: &&Arc<Reader>| reader.lane.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let behind = |reader: &Arc<Reader>| head.saturating_sub(reader.rev.load(Ordering::Relaxed));
        self.readers().iter().filter(watches).map(behind).max().unwrap_or(0)
    }
}

/// Takes the connection off the list when dropped.
pub(crate) struct Enlisted {
    pub app: Arc<App>,
    pub reader: Arc<Reader>,
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        self.app.metrics.connected.fetch_sub(1, Ordering::Relaxed);
        self.app.readers.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.reader.number);
    }
}

/// Returns once `stop` is true, or its sender gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The time of day since the epoch.
#[expect(clippy::disallowed_methods, reason = "the adapter is a driver: people's clocks are set by this")]
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
