//! Putting the gateway together: sockets, shards, hub, and the runtime of everything else.
//!
//! Each shard has a thread and UDP sockets of its own. Streams, the web and name look-ups share one tokio runtime.
//! A shard that panics takes the process down: half a gateway would show lamps that nobody changes any more.

use crate::driver::{Clock, Driver, Inbox, Message, Notice, Parts, wall};
use crate::metrics::Metrics;
use crate::names::{Names, Questions};
use crate::remote;
use crate::steering::steer;
use bytes::Bytes;
use lamplighter_adapter_sip::{BUFFER, BindError, Listener, Settings, Sink, Streams, Udp};
use lamplighter_adapter_store as store;
use lamplighter_adapter_web as web;
use lamplighter_model::{Config, Counters, Flow, Record, Seed, Slot, Time, Transport};
use lamplighter_port::{Port, Wake, hub};
use lamplighter_remote::Remote;
use lamplighter_shard::{NotRestored, Shard, owner};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

/// What a gateway is started with.
pub struct RunSettings {
    /// What shards are told. Ports of listeners may be zero: the system chooses.
    pub config: Config,
    /// The web side; its port may be zero.
    pub web: web::Config,
    /// What is fetched from other servers and published to them, if anything.
    pub remote: remote::Plan,
    /// The name servers to ask; none: those of the system.
    pub name_servers: Vec<SocketAddr>,
    /// Where state is kept over restarts.
    pub store: store::Config,
    /// Threads of the runtime for streams and the web.
    pub workers: usize,
    /// Makes tags and branches unguessable. Not to be shown to anyone.
    pub secret: [u8; 32],
    /// Names this life of the gateway to readers of the feed.
    pub epoch: String,
    /// How long shards may take to tell their watchers when the gateway stops.
    pub patience: Duration,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A SIP socket could not be opened.
    #[error("sip.listen {0}")]
    Sip(#[from] BindError),
    /// A socket for other servers could not be opened.
    #[error("remote.listen {0}")]
    Remote(BindError),
    /// The web's socket could not be opened.
    #[error("web.listen {address}: {}", web_advice(.error))]
    Web {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The configuration has no place where SIP comes in, or too many.
    #[error("sip.listen: between 1 and 255 addresses are possible, not {0}")]
    Listeners(usize),
    /// The store cannot be used as it is.
    #[error("store.path {0}")]
    Store(#[from] store::OpenError),
    /// Threads or event sources are missing.
    #[error("the system does not give what is needed: {0}")]
    System(#[from] io::Error),
}

impl From<Errno> for StartError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

fn web_advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use: another program, or another Lamplighter, has this port".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this is no address of this machine".to_owned(),
        _ => error.to_string(),
    }
}

/// A gateway at work.
pub struct Running {
    /// Where SIP comes in, with the ports that were chosen.
    pub sip: Vec<(Transport, SocketAddr)>,
    /// Where the web side is.
    pub web: SocketAddr,
    /// Where other servers reach us, if we talk to any.
    pub remote: Vec<(Transport, SocketAddr)>,
    at_servers: Option<remote::AtWork>,
    config: Arc<Config>,
    desk: Arc<Desk>,
    counters: Vec<Arc<Counters>>,
    port: Port,
    streams: Streams,
    shards: Vec<JoinHandle<()>>,
    hub: JoinHandle<()>,
    listening: Vec<tokio::task::JoinHandle<()>>,
    serving: tokio::task::JoinHandle<()>,
    web_stop: watch::Sender<bool>,
    web_reload: watch::Sender<u64>,
    keeper: Option<store::Keeper>,
    runtime: Runtime,
}

/// Takes everything back from the store, opens all sockets, then starts all threads. Nothing runs yet when it fails.
pub fn start(settings: RunSettings) -> Result<Running, StartError> {
    let RunSettings {
        mut config,
        web: web_config,
        remote: mut plan,
        name_servers,
        store: store_config,
        workers,
        secret,
        epoch,
        patience,
    } = settings;
    let shards = usize::from(config.shards.max(1));
    config.shards = shards as u8;
    if config.listeners.is_empty() || config.listeners.len() > usize::from(u8::MAX) {
        return Err(StartError::Listeners(config.listeners.len()));
    }
    more_files();
    let mut opened = store_config.is_used().then(|| store::open(&store_config, wall())).transpose()?;
    config.store = opened.as_ref().map(|_| store_config.durabilities());
    // What comes back is told where we listen. Unless the system chooses ports, nothing is open before it is back.
    let chosen = config.listeners.iter().any(|listener| listener.address.port() == 0);
    let early = if chosen { Some(bind(&mut config, shards)?) } else { None };
    let clock = opened.as_ref().map_or_else(Clock::start, |store| Clock::start_at(store.start_time()));
    let counters: Vec<_> = (0..shards).map(|_| Arc::new(Counters::default())).collect();
    let beyond = plan.bind(opened.is_some())?;
    let seed = remote::seed(secret);
    let mut beside = Remote::new(Arc::new(config.clone()), plan.settings.clone(), seed, clock.now());
    let machines = restore(&Arc::new(config.clone()), opened.as_mut(), &mut beside, secret, clock, &counters)?;
    let Sockets { udp, tcp } = match early {
        Some(sockets) => sockets,
        None => bind(&mut config, shards)?,
    };
    let web_socket = std::net::TcpListener::bind(web_config.listen)
        .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
        .map_err(|error| StartError::Web { address: web_config.listen, error })?;
    let web_address = web_socket.local_addr()?;
    let config = Arc::new(config);

    let runtime = Builder::new_multi_thread().worker_threads(workers.max(1)).thread_name("io").enable_all().build()?;
    let inboxes = (0..shards).map(|_| Inbox::new(shards).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let remote_inbox = Inbox::new(1).map(Arc::new)?;
    let all_inboxes: Vec<_> = inboxes.iter().chain([&remote_inbox]).cloned().collect();
    let desk = Arc::new(Desk {
        inboxes: inboxes.clone(),
        config: RwLock::new(Arc::clone(&config)),
        clock,
        next: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
    });
    let limits = (&config.limits).into();
    let streams = Streams::new(desk.clone(), Settings { limits, ..Settings::default() }, runtime.handle().clone());
    let wake = |inbox: &Arc<Inbox>| -> Wake {
        let inbox = Arc::clone(inbox);
        Arc::new(move || inbox.ring_bell())
    };
    let (hub, ports, port) = hub(
        config.packages.clone(),
        Arc::new(config.addresses.clone()),
        lamplighter_port::Settings { beside: 1, ..lamplighter_port::Settings::default() },
        &epoch,
        all_inboxes.iter().map(wake).collect(),
    );
    let names = Names::new(name_servers, remote::seed(secret))?;
    let Questions { ask: asking, serve } = names.questions(inboxes.clone());
    runtime.spawn(serve);
    let (keeper, stores) = match opened {
        None => (None, Vec::new()),
        Some(opened) => {
            let wakes = all_inboxes.iter().map(wake).collect();
            let (keeper, ports) =
                opened.start(all_inboxes.len(), Arc::new(move || clock.now()), Arc::new(wall), wakes)?;
            (Some(keeper), ports)
        }
    };
    let durabilities = store_config.durabilities();
    let mut stores = stores.into_iter();

    let hub = thread::Builder::new().name("hub".into()).spawn(|| loudly(|| hub.run()))?;
    let mut threads = Vec::new();
    let mut ports = ports.into_iter();
    for (shard, ((machine, sockets), port)) in machines.into_iter().zip(udp).zip(ports.by_ref()).enumerate() {
        let (counters, writer) = (Arc::clone(&counters[shard]), streams.writer());
        let (inboxes, resolver) = (inboxes.clone(), asking.clone());
        let store = stores.next().map(|port| (port, durabilities));
        let parts = Parts {
            machine,
            shard: shard as u8,
            sockets,
            inboxes,
            port,
            writer,
            resolver,
            asker: None,
            store,
            clock,
            counters,
            patience,
        };
        let work = move || Driver::new(parts).run();
        threads.push(thread::Builder::new().name(format!("shard-{shard}")).spawn(|| loudly(work))?);
    }

    let remote = plan.listeners.iter().map(|one| (one.transport, one.address)).collect();
    let at_servers = match ports.next() {
        Some(own) => {
            let (sockets, machine, inbox) = (beyond, beside, remote_inbox);
            let store = stores.next().map(|port| (port, durabilities));
            let (port, config, runtime) = (port.clone(), &config, runtime.handle());
            let start = remote::Start {
                plan,
                sockets,
                machine,
                inbox,
                port,
                own,
                store,
                config,
                clock,
                runtime,
                patience,
                names: &names,
            };
            Some(remote::start(start)?)
        }
        None => None,
    };
    let sip = config.listeners.iter().map(|listener| (listener.transport, listener.address)).collect();
    let listening =
        tcp.into_iter().map(|(index, listener)| streams.listen(listener, index)).collect::<Result<Vec<_>, _>>()?;
    let (web_stop, stopping) = watch::channel(false);
    let (web_reload, reload) = watch::channel(config.revision);
    let admin = admin(&counters, &streams, Arc::clone(&desk), keeper.as_ref().map(store::Keeper::monitor), reload);
    let web_port = port.clone();
    let serving = runtime.spawn(async move {
        // Until then clients wait for their connection to be accepted.
        while web_port.restored().await == Ok(false) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let result = match tokio::net::TcpListener::from_std(web_socket) {
            Ok(socket) => web::serve(web_config, web_port, admin, socket, stopping).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = result {
            tracing::error!(%error, "the web side has ended");
        }
    });
    Ok(Running {
        sip,
        web: web_address,
        remote,
        at_servers,
        config,
        desk,
        counters,
        port,
        streams,
        shards: threads,
        hub,
        listening,
        serving,
        web_stop,
        web_reload,
        keeper,
        runtime,
    })
}

/// Records travel to the shards that they belong to in batches of this many.
const BATCH: usize = 512;

/// Records that were not taken back.
#[derive(Default)]
struct Missed {
    lapsed: u64,
    unknown: u64,
    unreadable: u64,
}

/// Gives a shard its records back.
fn take_back(machine: &mut Shard, now: Time, records: impl Iterator<Item = Record>) -> Missed {
    let mut missed = Missed::default();
    for record in records {
        match machine.restore(now, record) {
            Ok(()) => {}
            Err(NotRestored::Lapsed) => missed.lapsed += 1,
            Err(NotRestored::NoSuchPackage) => missed.unknown += 1,
            Err(NotRestored::Unreadable) => missed.unreadable += 1,
        }
    }
    machine.resume(now);
    missed
}

/// The shards, with everything that the store has kept for them.
fn restore(
    config: &Arc<Config>,
    store: Option<&mut store::Store>,
    remote: &mut Remote,
    secret: [u8; 32],
    clock: Clock,
    counters: &[Arc<Counters>],
) -> Result<Vec<Shard>, StartError> {
    let now = clock.now();
    let half = |from: usize| u64::from_le_bytes(std::array::from_fn(|at| secret[from + at]));
    let (first, second) = store.as_ref().map_or((half(0), half(8)), |store| store.seed());
    let shard = |number: usize| {
        let counters = Arc::clone(&counters[number]);
        Shard::new(Arc::clone(config), number as u8, Seed(first, second), secret, now, counters)
    };
    let mut machines: Vec<_> = (0..counters.len()).map(shard).collect();
    let Some(store) = store else {
        remote.resume(now);
        return Ok(machines);
    };
    let mut unwanted = 0;
    let (loaded, missed) = thread::scope(|scope| -> Result<_, StartError> {
        let (mut batches, mut desks, mut at_work) = (Vec::new(), Vec::new(), Vec::new());
        for machine in &mut machines {
            let (desk, records) = std::sync::mpsc::sync_channel::<Vec<Record>>(4);
            let work = move || take_back(machine, now, records.into_iter().flatten());
            at_work.push(thread::Builder::new().name("restore".into()).spawn_scoped(scope, work)?);
            desks.push(desk);
            batches.push(Vec::with_capacity(BATCH));
        }
        let loaded = store.load(|record| {
            if matches!(record, Record::Standing { .. }) {
                unwanted += u64::from(!remote.restore(now, record));
                return;
            }
            remote.found(&record);
            let owner = usize::from(Slot::of(record.resource()).shard(config.shards));
            batches[owner].push(record);
            if batches[owner].len() == BATCH {
                // Nobody listens only after a panic, which is passed on below.
                let _ = desks[owner].send(std::mem::replace(&mut batches[owner], Vec::with_capacity(BATCH)));
            }
        })?;
        for (desk, batch) in desks.into_iter().zip(batches) {
            let _ = desk.send(batch);
        }
        let mut missed = Missed::default();
        for at_work in at_work {
            let one = at_work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            missed.lapsed += one.lapsed;
            missed.unknown += one.unknown;
            missed.unreadable += one.unreadable;
        }
        Ok((loaded, missed))
    })?;
    let Missed { lapsed, unknown, unreadable } = missed;
    let lapsed = lapsed + unwanted;
    remote.resume(now);
    let (subscriptions, publications) =
        machines.iter().map(Shard::load).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    tracing::info!(
        subscriptions,
        publications,
        lapsed,
        unknown,
        unreadable,
        records = loaded.records,
        took_ms = clock.now().since(now).as_millis() as u64,
        clean = store.was_clean(),
        "state is back from the store"
    );
    if unreadable > 0 {
        tracing::error!(unreadable, "records of the store make no sense; `lamplighter store check` says more");
    }
    Ok(machines)
}

impl Running {
    /// Gives everyone a new configuration. Listeners and the number of shards stay as they are.
    pub fn reload(&self, config: Config) {
        let (listeners, shards, store) = (self.config.listeners.clone(), self.config.shards, self.config.store);
        let config = Arc::new(Config { listeners, shards, store, ..config });
        *self.desk.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&config);
        self.port.set_addresses(Arc::new(config.addresses.clone()));
        self.web_reload.send_replace(config.revision);
        for inbox in &self.desk.inboxes {
            inbox.notice(Notice::Config(Arc::clone(&config)));
        }
        if let Some(remote) = &self.at_servers {
            remote.configure(&config);
        }
    }

    /// The configuration it was started with, ports filled in.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What adapters are handed.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// What each shard has counted.
    pub fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// The runtime that streams and the web use.
    pub fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Whether all threads are at work.
    pub fn is_alive(&self) -> bool {
        !self.hub.is_finished()
            && !self.serving.is_finished()
            && self.shards.iter().all(|shard| !shard.is_finished())
            && self.at_servers.as_ref().is_none_or(|remote| !remote.thread.is_finished())
    }

    /// Takes nothing new, tells all watchers, says goodbye to all readers, and returns when all threads have ended.
    pub fn stop(self) {
        self.desk.stopping.store(true, Ordering::Relaxed);
        for listening in &self.listening {
            listening.abort();
        }
        for inbox in &self.desk.inboxes {
            inbox.notice(Notice::Stop);
        }
        if let Some(remote) = &self.at_servers {
            remote.inbox.notice(Notice::Stop);
        }
        for shard in self.shards {
            let _ = shard.join(); // a panic has ended the process
        }
        if let Some(remote) = self.at_servers {
            remote.stop();
        }
        self.streams.close_all();
        self.web_stop.send_replace(true);
        let _ = self.runtime.block_on(self.serving);
        self.port.stop();
        let _ = self.hub.join();
        if let Some(keeper) = self.keeper {
            keeper.stop();
        }
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

/// Everything that SIP comes in by.
struct Sockets {
    /// For each shard, its socket of each UDP listener.
    udp: Vec<Vec<(u8, Udp)>>,
    tcp: Vec<(u8, Listener)>,
}

/// Opens the listeners of the configuration and writes the ports that were chosen into it. The port that the system
/// chooses for datagrams may be another's for streams: then it chooses again.
fn bind(config: &mut Config, shards: usize) -> Result<Sockets, BindError> {
    let mut again = if config.listeners.iter().any(|listener| listener.address.port() == 0) { 8 } else { 0 };
    loop {
        let mut chosen = config.clone();
        match bind_once(&mut chosen, shards) {
            Err(error) if error.errno == Errno::EADDRINUSE && again > 0 => again -= 1,
            result => {
                *config = chosen;
                return result;
            }
        }
    }
}

fn bind_once(config: &mut Config, shards: usize) -> Result<Sockets, BindError> {
    let mut sockets = Sockets { udp: (0..shards).map(|_| Vec::new()).collect(), tcp: Vec::new() };
    let mut chosen: Option<(SocketAddr, u16)> = None;
    for (index, listener) in config.listeners.iter_mut().enumerate() {
        let index = index as u8;
        let mut address = listener.address;
        // Datagrams and streams of one address share the port that the first of them got.
        if let Some((asked, port)) = chosen
            && asked == address
        {
            address.set_port(port);
        }
        let bound = match listener.transport {
            Transport::Udp => {
                let group = Udp::bind(address, shards)?;
                let bound = group[0].address();
                listener.ports(bound);
                prepare(&group, &listener.advertise, shards as u8);
                for (shard, socket) in sockets.udp.iter_mut().zip(group) {
                    shard.push((index, socket));
                }
                bound
            }
            Transport::Tcp => {
                let socket = Listener::bind(address)?;
                let bound = socket.address();
                listener.ports(bound);
                sockets.tcp.push((index, socket));
                bound
            }
        };
        if address.port() == 0 {
            chosen = Some((address, bound.port()));
        }
    }
    Ok(sockets)
}

/// Every connection takes a file descriptor, and the limit that a process begins with is often 1024: with all of them
/// held by one kind of client, no other could connect.
fn more_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

/// What can be had with less, but is better said.
fn prepare(group: &[Udp], advertise: &str, shards: u8) {
    let (receive, send) = group[0].granted();
    if receive < BUFFER || send < BUFFER {
        let listen = group[0].address();
        tracing::warn!(
            %listen, receive, send, wanted = BUFFER,
            "small socket buffers: datagrams may be lost in bursts; raise net.core.rmem_max and net.core.wmem_max"
        );
    }
    if group.len() > 1 {
        match steer(&group[0], advertise, shards) {
            Ok(true) => {}
            Ok(false) => tracing::info!(advertise, "the advertised address is too long to steer answers by"),
            Err(error) => tracing::info!(%error, "answers cannot be steered to their shards; they are handed on"),
        }
    }
}

trait Ports {
    /// The port that was chosen stands for a zero.
    fn ports(&mut self, bound: SocketAddr);
}

impl Ports for lamplighter_model::config::Listener {
    fn ports(&mut self, bound: SocketAddr) {
        self.address = bound;
        if let Some(host) = self.advertise.strip_suffix(":0") {
            self.advertise = format!("{host}:{}", bound.port()).into();
        }
    }
}

/// Where streams deliver: the inboxes of all shards.
struct Desk {
    inboxes: Vec<Arc<Inbox>>,
    config: RwLock<Arc<Config>>,
    clock: Clock,
    /// Whose turn it is to take what is nobody's in particular.
    next: AtomicUsize,
    stopping: AtomicBool,
}

impl Desk {
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink for Desk {
    fn message(&self, flow: Flow, bytes: Bytes) -> Result<(), Bytes> {
        let inbox = match &self.inboxes[..] {
            [only] => only,
            all => {
                let shard = owner(&bytes, true, &self.config()).map(usize::from);
                let anyone = || self.next.fetch_add(1, Ordering::Relaxed) % all.len();
                &all[shard.filter(|shard| *shard < all.len()).unwrap_or_else(anyone)]
            }
        };
        let taken_in: Time = self.clock.now();
        inbox.frames.push(Message { flow, bytes, taken_in }).map_err(|message| message.bytes)
    }

    fn closed(&self, flow: Flow) {
        for inbox in &self.inboxes {
            inbox.notice(Notice::Closed(flow));
        }
    }

    fn ring(&self) {
        for inbox in self.inboxes.iter().filter(|inbox| !inbox.is_empty()) {
            inbox.ring();
        }
    }

    fn trusted(&self, address: IpAddr) -> bool {
        self.config().access.is_trusted(address)
    }
}

#[expect(clippy::disallowed_methods, reason = "the metrics page says when the process began")]
fn admin(
    counters: &[Arc<Counters>],
    streams: &Streams,
    desk: Arc<Desk>,
    store: Option<store::Monitor>,
    reload: watch::Receiver<u64>,
) -> web::Admin {
    let (metrics, streams) = (Metrics::new(counters.iter().cloned(), SystemTime::now()), streams.clone());
    let kept = store.clone();
    let metrics = move |out: &mut String| {
        metrics.write(out);
        let mut row = |kind: &str, name: &str, help: &str, value: u64| {
            out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        };
        for (name, help, value) in streams.counts().rows() {
            row("counter", name, help, value);
        }
        row("gauge", "sip_streams", "Connections that are open.", streams.connections() as u64);
        if let Some(store) = &kept {
            store.metrics(out);
        }
    };
    let ready = move || {
        let mut reasons = Vec::new();
        if desk.stopping.load(Ordering::Relaxed) {
            reasons.push("the gateway is stopping".to_owned());
        }
        reasons.extend(store.as_ref().and_then(|store| store.status().err()));
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    };
    web::Admin { metrics: Arc::new(metrics), ready: Arc::new(ready), reload }
}

/// Does its work; a panic ends the process.
pub(crate) fn loudly(work: impl FnOnce()) {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            if thread::panicking() {
                let thread = thread::current();
                tracing::error!(thread = thread.name(), "a thread has panicked; the gateway ends");
                std::process::abort();
            }
        }
    }
    let _guard = Guard;
    work();
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
