//! What all connections share.

use crate::auth::{Authority, Groups, Principal};
use crate::bucket::Bucket;
use crate::config::{Config, Limits};
use crate::directory::{Directory, Shelf};
use crate::lane::{Lane, Watched};
use crate::metrics::Metrics;
use crate::rates::Rates;
use crate::replies::Replies;
use futures_util::task::AtomicWaker;
use lamplighter_model::{RemoteAnswer, RemoteCommand};
use lamplighter_port::{Port, Tap};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::hash::RandomState;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What the gateway tells the web adapter about itself.
#[derive(Clone)]
pub struct Admin {
    /// Appends everybody else's metrics in the text format of Prometheus.
    pub metrics: Arc<dyn Fn(&mut String) + Send + Sync>,
    /// Whether all is well, apart from shards and hub, which are asked; else what is not.
    pub ready: Arc<dyn Fn() -> Result<(), Vec<String>> + Send + Sync>,
    /// Changes when files that the web side reads are to be read again.
    pub reload: watch::Receiver<u64>,
}

/// The name of those who need not sign in.
const ANYBODY: &str = "anonymous";
/// Addresses whose handshakes are counted at once; beyond, others share what is left.
const ADDRESSES: usize = 10_000;

/// What all connections share.
pub(crate) struct App {
    pub config: Config,
    pub port: Port,
    pub admin: Admin,
    /// Who may do what.
    pub auth: Authority,
    pub metrics: Metrics,
    /// The last hour.
    pub rates: Rates,
    /// Answers to requests that may come twice.
    pub replies: Replies,
    /// The directory.
    pub shelf: Arc<Shelf>,
    /// Turns true when the gateway stops.
    pub stop: watch::Receiver<bool>,
    /// Rings when something has changed.
    pub changed: Notify,
    /// Flushes of all connections fall on the same ticks from here, so that they share frames.
    pub start: Instant,
    hash: RandomState,
    lanes: Mutex<HashMap<u64, Vec<Weak<Lane>>>>,
    readers: Mutex<BTreeMap<u64, Arc<Reader>>>,
    next: AtomicU64,
    /// The groups of the directory.
    pub groups: OnceLock<Groups>,
    /// The connections of each principal, oldest first.
    sessions: Mutex<HashMap<String, VecDeque<Weak<Reader>>>>,
    /// Handshakes of each address.
    pub handshakes: Mutex<Handshakes>,
}

/// A feed connection as `explain` and metrics see it.
pub(crate) struct Reader {
    pub number: u64,
    pub peer: SocketAddr,
    /// What it called itself.
    pub client: Mutex<String>,
    principal: Mutex<Option<Principal>>,
    /// Since when, milliseconds since the epoch.
    pub since: u64,
    /// How far it has come.
    pub rev: AtomicU64,
    /// How many subscriptions it has.
    pub subscriptions: AtomicU64,
    /// States it was sent that stand for several changes.
    pub conflated: AtomicU64,
    /// What it watches.
    pub lane: Mutex<Option<Arc<Lane>>>,
    end: OnceLock<(u16, &'static str)>,
    /// Of whoever waits for the end.
    waker: AtomicWaker,
}

impl Reader {
    /// Ends the connection with this close code, if nobody else has done so.
    pub(crate) fn end(&self, code: u16, reason: &'static str) {
        if self.end.set((code, reason)).is_ok() {
            self.waker.wake();
        }
    }

    /// What its principal is called; empty before there is one.
    pub(crate) fn principal(&self) -> String {
        let principal = self.principal.lock().unwrap_or_else(PoisonError::into_inner);
        principal.as_ref().map_or("", Principal::name).to_owned()
    }

    /// From here on it is used by this one.
    pub(crate) fn belongs_to(&self, principal: &Principal) {
        *self.principal.lock().unwrap_or_else(PoisonError::into_inner) = Some(principal.clone());
    }

    /// Ready once somebody has ended it. Woken, too, when the gateway stops.
    pub(crate) fn poll_ended(&self, context: &Context<'_>) -> Poll<(u16, &'static str)> {
        self.waker.register(context.waker());
        self.end.get().map_or(Poll::Pending, |end| Poll::Ready(*end))
    }

    /// Returns once somebody has ended it.
    pub(crate) async fn ended(&self) -> (u16, &'static str) {
        poll_fn(|context| self.poll_ended(context)).await
    }
}

impl App {
    pub(crate) fn new(
        config: Config,
        auth: Authority,
        shelf: Shelf,
        port: Port,
        admin: Admin,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let shelf = Arc::new(shelf);
        let groups: Groups = {
            let shelf = Arc::clone(&shelf);
            Arc::new(move |name| shelf.now().group(name))
        };
        Self {
            config,
            port,
            admin,
            auth,
            metrics: Metrics::default(),
            rates: Rates::default(),
            replies: Replies::default(),
            shelf,
            stop,
            changed: Notify::new(),
            start: Instant::now(),
            hash: RandomState::new(),
            lanes: Mutex::default(),
            readers: Mutex::default(),
            next: AtomicU64::new(1),
            groups: OnceLock::from(groups),
            sessions: Mutex::default(),
            handshakes: Mutex::default(),
        }
    }

    /// The directory as it is now.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.shelf.now()
    }

    /// Reads the files of API keys, of keys for tokens, and of the directory again. Of a file that is wrong nothing is taken over.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let (keys, directory) = (self.auth.reload(), self.shelf.reload(&self.port.addresses()));
        self.expel();
        keys.map_err(|what| format!("web.{what}")).and(directory)
    }

    /// Ends the connections of those whose key, or their token's, was taken away, or who have signed out.
    pub(crate) fn expel(&self) {
        let is_over = |principal: &Option<Principal>| principal.as_ref().is_some_and(Principal::is_over);
        for reader in self.readers() {
            if is_over(&reader.principal.lock().unwrap_or_else(PoisonError::into_inner)) {
                reader.end(4401, "signed out");
            }
        }
    }

    /// Tells connections of changes, until the hub ends. One task that wakes them all costs them less than being woken
    /// from the hub's thread.
    pub(crate) async fn ring(self: Arc<Self>) {
        let mut head = self.port.head();
        while head.changed().await.is_ok() {
            self.changed.notify_waiters();
        }
    }

    /// Whether the gateway stops.
    pub(crate) fn is_stopping(&self) -> bool {
        // Most often nothing was ever said, which is seen without a lock.
        !matches!(self.stop.has_changed(), Ok(false)) && (*self.stop.borrow() || self.stop.has_changed().is_err())
    }

    /// Wakes all connections, so that they see that the gateway stops.
    pub(crate) fn rouse(&self) {
        self.readers().iter().for_each(|reader| reader.waker.wake());
    }

    /// The metrics page.
    pub(crate) async fn metrics_text(&self) -> String {
        let mut text = String::new();
        (self.admin.metrics)(&mut text);
        self.port.metrics(&mut text);
        // A machine that is too busy to answer is missing from this page.
        if let Some(Ok(RemoteAnswer::Totals(totals))) = self.port.remote(RemoteCommand::Totals).await {
            crate::metrics::write_totals(&totals, &mut text);
        }
        self.metrics.write(&mut text, self.lag());
        text
    }

    /// The members of a group of the directory, canonical addresses; `None`: there is none of that name.
    pub(crate) fn group(&self, name: &str) -> Option<Arc<[String]>> {
        self.groups.get()?(name)
    }

    /// Gives a connection to its principal. Where that has too many, the oldest makes room.
    pub(crate) fn admit(&self, principal: &Principal, reader: &Arc<Reader>) {
        reader.belongs_to(principal);
        // It may have ended between the upgrade and the first frame.
        if principal.is_over() {
            reader.end(4401, "signed out");
        }
        // Without an authority all are one.
        if principal.name() == ANYBODY {
            return;
        }
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let own = sessions.entry(principal.name().to_owned()).or_default();
        own.retain(|one| one.strong_count() > 0);
        own.push_back(Arc::downgrade(reader));
        while own.len() > self.config.limits.connections_per_principal.max(1) {
            if let Some(oldest) = own.pop_front().and_then(|one| one.upgrade()) {
                oldest.end(4409, "replaced by a newer connection");
            }
        }
    }

    /// The lane of what is watched, shared with others who watch the same.
    pub(crate) fn lane(&self, watched: Watched, tap: Option<Arc<Tap>>) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let print = watched.fingerprint(&self.hash);
        let mut same = lanes.get(&print).into_iter().flatten().filter_map(Weak::upgrade);
        if let Some(lane) = same.find(|lane| lane.is_of(&watched)) {
            return lane;
        }
        // Forget those that nobody watches any more, when it may pay.
        if lanes.len() == lanes.capacity() {
            lanes.retain(|_, same| {
                same.retain(|lane| lane.strong_count() > 0);
                !same.is_empty()
            });
        }
        let lane = Arc::new(Lane::new(watched, tap));
        lanes.entry(print).or_default().push(Arc::downgrade(&lane));
        lane
    }

    /// Lists a new connection until the guard is dropped.
    pub(crate) fn enlist(self: &Arc<Self>, peer: SocketAddr) -> Enlisted {
        let reader = Arc::new(Reader {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            peer,
            client: Mutex::default(),
            principal: Mutex::default(),
            since: wall().as_millis() as u64,
            rev: AtomicU64::new(0),
            subscriptions: AtomicU64::new(0),
            conflated: AtomicU64::new(0),
            lane: Mutex::default(),
            end: OnceLock::new(),
            waker: AtomicWaker::new(),
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

/// How many handshakes each address has made of late.
#[derive(Default)]
pub(crate) struct Handshakes(HashMap<IpAddr, Bucket>);

impl Handshakes {
    /// Whether this address may connect to the feed now; else how long it has to wait. Half an IPv6 address is what one
    /// customer has.
    pub(crate) fn take(&mut self, from: IpAddr, limits: &Limits, now: Instant) -> Option<Duration> {
        let from = match from.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            v4 => v4,
        };
        if self.0.len() >= ADDRESSES && !self.0.contains_key(&from) {
            self.0.retain(|_, bucket| !bucket.is_idle(now));
        }
        let key = if self.0.len() >= ADDRESSES && !self.0.contains_key(&from) {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            from
        };
        let bucket = || Bucket::new(limits.handshakes_per_second, limits.handshake_burst);
        self.0.entry(key).or_insert_with(bucket).take(now)
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
        let name = self.reader.principal();
        let mut sessions = self.app.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = sessions.get_mut(&name) {
            own.retain(|one| !std::ptr::eq(one.as_ptr(), Arc::as_ptr(&self.reader)));
            if own.is_empty() {
                sessions.remove(&name);
            }
        }
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
