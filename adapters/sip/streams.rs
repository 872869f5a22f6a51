//! Streams: connections are read on the tokio runtime and written by shards.
//!
//! A connection is one task. It cuts what comes in into messages and hands them to the [`Sink`]; shards are woken
//! once for all that the runtime found readable together. What a shard wants to send is collected for each connection
//! and written at the end of its turn with one system call, on its own thread; only what the kernel does not take at
//! once is left to the task. So a NOTIFY wakes nobody but its receiver.

use crate::bind::{self, BindError};
use crate::udp::canonical;
use bytes::Bytes;
use lamplighter_model::{Flow, Transport};
use lamplighter_sip::wire::Limits;
use lamplighter_sip::wire::frame::{Frame, StreamFramer};
use nix::sys::socket::{setsockopt, sockopt};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Where whole messages go. Called on the runtime; must not block.
pub trait Sink: Send + Sync + 'static {
    /// Takes a message for the shard that it belongs to. Gives it back when there is no room; then the connection is
    /// not read until there is.
    fn message(&self, flow: Flow, bytes: Bytes) -> Result<(), Bytes>;

    /// A stream has ended, or could not be connected (then `flow` is the one that was to be sent to). To be told to
    /// all shards, and never lost.
    fn closed(&self, flow: Flow);

    /// Wakes the shards that have been handed something.
    fn ring(&self);

    /// Whether connections of this address are not limited in number.
    fn trusted(&self, address: IpAddr) -> bool;
}

/// Bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Of a message.
    pub limits: Limits,
    /// Connections at once; beyond, new ones are closed.
    pub connections: usize,
    /// Connections at once from one address that is not trusted; beyond, new ones are closed.
    pub connections_per_source: usize,
    /// Bytes that wait to be written to one connection; beyond, it is closed: its peer does not read.
    pub queue: usize,
    /// Bytes that wait to be written to all connections together; beyond, a connection that has to wait is closed.
    pub queues: usize,
    /// How long a connection to a peer may take to be made; then its messages have failed.
    pub connect: Duration,
    /// How long the first message of a connection may take, and each message from its first byte to its last.
    pub message: Duration,
    /// How long a connection may say nothing.
    pub idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let limits = lamplighter_model::config::Limits::default();
        Self {
            limits: Limits::from(&limits),
            connections: 10_000,
            connections_per_source: 256,
            queue: 4 << 20,
            queues: 256 << 20,
            connect: Duration::from_secs(1),
            message: Duration::from_secs(30),
            idle: Duration::from_secs(2 * 3600),
        }
    }
}

/// How many connections may be in the making; beyond, their messages have failed.
const CONNECTING: usize = 256;
/// How much is read at once.
const READ: usize = 32 * 1024;
/// Memory that an idle connection keeps for writing.
const KEEP: usize = 4 * 1024;
/// How long a connection that is about to be closed may take to write its last answer.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long to wait for room in a shard's inbox, and after an accept that failed.
const BREATH: Duration = Duration::from_millis(1);

/// What has happened to connections, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that peers have made.
    pub accepted: AtomicU64,
    /// Connections refused because there are too many.
    pub refused: AtomicU64,
    /// Connections that we have made.
    pub connected: AtomicU64,
    /// Connections that could not be made.
    pub unreachable: AtomicU64,
    /// Connections closed because a message did not come to its end in time, or nothing came at all.
    pub late: AtomicU64,
    /// Connections closed because their peer does not read.
    pub stuck: AtomicU64,
    /// Connections closed because what came was no SIP.
    pub unframeable: AtomicU64,
    /// Times that a connection was not read on because a shard's inbox was full.
    pub held: AtomicU64,
}

impl Counts {
    /// Name, help and value of each.
    pub fn rows(&self) -> [(&'static str, &'static str, u64); 8] {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        [
            ("sip_streams_accepted_total", "Connections that peers have made.", get(&self.accepted)),
            ("sip_streams_refused_total", "Connections refused because there are too many.", get(&self.refused)),
            ("sip_streams_connected_total", "Connections made to peers.", get(&self.connected)),
            ("sip_streams_unreachable_total", "Connections that could not be made.", get(&self.unreachable)),
            ("sip_streams_late_total", "Connections closed because a message took too long.", get(&self.late)),
            ("sip_streams_stuck_total", "Connections closed because their peer does not read.", get(&self.stuck)),
            (
                "sip_streams_unframeable_total",
                "Connections closed because what came was no SIP.",
                get(&self.unframeable),
            ),
            ("sip_streams_held_total", "Pauses in reading because an inbox was full.", get(&self.held)),
        ]
    }
}

/// All connections; cheap to clone.
#[derive(Clone)]
pub struct Streams(Arc<Shared>);

struct Shared {
    sink: Arc<dyn Sink>,
    settings: Settings,
    runtime: Handle,
    table: Mutex<Table>,
    /// Bytes that wait in all connections.
    queued: AtomicUsize,
    connecting: AtomicUsize,
    /// Somebody is about to ring.
    ringing: AtomicBool,
    counts: Counts,
}

#[derive(Default)]
struct Table {
    latest: u64,
    connections: HashMap<u64, Arc<Connection>>,
    remotes: HashMap<SocketAddr, u64>,
    sources: HashMap<IpAddr, usize>,
}

struct Connection {
    flow: Flow,
    /// The flow that asked for this connection to be made.
    asked: Option<Flow>,
    /// Set once connected.
    half: OnceLock<OwnedWriteHalf>,
    waiting: Mutex<Waiting>,
    /// The task has something to write, or to close.
    wake: Notify,
}

/// What waits to be written.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// How much of it has been written.
    written: usize,
    /// A shard is going to flush it at the end of its turn.
    noted: bool,
    end: End,
}

#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum End {
    #[default]
    Open,
    /// To be closed when everything is written.
    Closing,
    /// To be closed now.
    Broken,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Flushed {
    All,
    Some,
    Broken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bound listener, not yet accepting.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds it.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let socket = std::net::TcpListener::from(bind::open(Transport::Tcp, address, false)?);
        let address = socket.local_addr().unwrap_or(address);
        Ok(Self { socket, address })
    }

    /// The address it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Streams {
    /// No connections yet. Their tasks run on `runtime`.
    pub fn new(sink: Arc<dyn Sink>, settings: Settings, runtime: Handle) -> Self {
        Self(Arc::new(Shared {
            sink,
            settings,
            runtime,
            table: Mutex::default(),
            queued: AtomicUsize::new(0),
            connecting: AtomicUsize::new(0),
            ringing: AtomicBool::new(false),
            counts: Counts::default(),
        }))
    }

    /// Accepts connections until the returned handle is aborted. `index` is the listener's place in the configuration.
    pub fn listen(&self, listener: Listener, index: u8) -> io::Result<tokio::task::JoinHandle<()>> {
        let _inside = self.0.runtime.enter();
        let wildcard = listener.address.ip().is_unspecified();
        let socket = TcpListener::from_std(listener.socket)?;
        Ok(self.0.runtime.spawn(accept(Arc::clone(&self.0), socket, index, wildcard)))
    }

    /// A shard's way to write.
    pub fn writer(&self) -> Writer {
        Writer { shared: Arc::clone(&self.0), noted: Vec::new() }
    }

    /// What has happened.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        lock(&self.0.table).connections.len()
    }

    /// Closes all connections as soon as what waits is written.
    pub fn close_all(&self) {
        let all: Vec<_> = lock(&self.0.table).connections.values().cloned().collect();
        for connection in all {
            connection.end(End::Closing);
        }
    }
}

/// A shard's way to write to connections.
pub struct Writer {
    shared: Arc<Shared>,
    noted: Vec<Arc<Connection>>,
}

impl Writer {
    /// Takes bytes to be sent; they go out at [`Self::flush`]. A flow without a connection uses one that is open to
    /// its remote address, else one is made. If that is impossible the sink learns that the flow is closed.
    pub fn send(&mut self, flow: Flow, bytes: &[u8]) {
        let Some(connection) = self.shared.find(flow).or_else(|| self.shared.connect(flow)) else {
            self.shared.sink.closed(flow);
            return;
        };
        let Shared { settings, queued, counts, .. } = &*self.shared;
        let mut waiting = lock(&connection.waiting);
        if waiting.end == End::Broken {
            return; // Its end is told when the task is through.
        }
        let length = waiting.bytes.len() - waiting.written;
        let all = queued.fetch_add(bytes.len(), Ordering::Relaxed);
        if length + bytes.len() > settings.queue || length > 0 && all > settings.queues {
            queued.fetch_sub(bytes.len(), Ordering::Relaxed);
            counts.stuck.fetch_add(1, Ordering::Relaxed);
            waiting.end = End::Broken;
            connection.wake.notify_one();
            return;
        }
        waiting.bytes.extend_from_slice(bytes);
        if !std::mem::replace(&mut waiting.noted, true) {
            drop(waiting);
            self.noted.push(connection);
        }
    }

    /// Closes a connection when everything has been written.
    pub fn close(&mut self, flow: Flow) {
        if let Some(connection) = self.shared.find(flow) {
            connection.end(End::Closing);
        }
    }

    /// Writes what was sent since the last time, a system call for each connection.
    pub fn flush(&mut self) {
        for connection in self.noted.drain(..) {
            let mut waiting = lock(&connection.waiting);
            waiting.noted = false;
            let flushed = connection.flush(&mut waiting, &self.shared.queued);
            drop(waiting);
            if flushed != Flushed::All {
                connection.wake.notify_one();
            }
        }
    }
}

impl Connection {
    fn end(&self, end: End) {
        let mut waiting = lock(&self.waiting);
        if waiting.end != End::Broken {
            waiting.end = end;
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Writes what the kernel takes.
    fn flush(&self, waiting: &mut Waiting, queued: &AtomicUsize) -> Flushed {
        if waiting.end == End::Broken {
            return Flushed::Broken;
        }
        let Some(half) = self.half.get() else { return Flushed::Some };
        while waiting.written < waiting.bytes.len() {
            match half.try_write(&waiting.bytes[waiting.written..]) {
                Ok(0) => return self.broken(waiting),
                Ok(count) => {
                    waiting.written += count;
                    queued.fetch_sub(count, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let written = std::mem::take(&mut waiting.written);
                    waiting.bytes.drain(..written);
                    return Flushed::Some;
                }
                Err(_) => return self.broken(waiting),
            }
        }
        waiting.written = 0;
        waiting.bytes.clear();
        waiting.bytes.shrink_to(KEEP);
        Flushed::All
    }

    fn broken(&self, waiting: &mut Waiting) -> Flushed {
        waiting.end = End::Broken;
        Flushed::Broken
    }

    /// The task's part of writing; returns when the connection is to be closed.
    async fn write(&self, queued: &AtomicUsize) {
        loop {
            self.wake.notified().await;
            loop {
                let (flushed, end) = {
                    let mut waiting = lock(&self.waiting);
                    (self.flush(&mut waiting, queued), waiting.end)
                };
                match flushed {
                    Flushed::All if end == End::Closing => return,
                    Flushed::All => break,
                    Flushed::Broken => return,
                    Flushed::Some => {
                        let Some(half) = self.half.get() else { return };
                        tokio::select! {
                            ready = half.writable() => if ready.is_err() { return },
                            // It may have been given up: who does not read is never writable again.
                            () = self.wake.notified() => {}
                        }
                    }
                }
            }
        }
    }
}

impl Shared {
    fn find(&self, flow: Flow) -> Option<Arc<Connection>> {
        let table = lock(&self.table);
        let id = if flow.connection > 0 { flow.connection } else { *table.remotes.get(&flow.remote)? };
        table.connections.get(&id).cloned()
    }

    /// Starts to make a connection for a flow that has none.
    fn connect(self: &Arc<Self>, asked: Flow) -> Option<Arc<Connection>> {
        if asked.connection > 0 {
            return None;
        }
        if self.connecting.fetch_add(1, Ordering::Relaxed) >= CONNECTING {
            self.connecting.fetch_sub(1, Ordering::Relaxed);
            self.counts.unreachable.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let connection = {
            let mut table = lock(&self.table);
            let room = table.connections.len() < self.settings.connections;
            room.then(|| table.enter(|connection| Flow { connection, ..asked }, Some(asked)))
        };
        let Some(connection) = connection else {
            self.connecting.fetch_sub(1, Ordering::Relaxed);
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.runtime.spawn(make(Arc::clone(self), Arc::clone(&connection)));
        Some(connection)
    }

    /// Forgets a connection and tells the shards.
    fn ended(&self, connection: &Connection) {
        lock(&self.table).leave(connection);
        let left = {
            let mut waiting = lock(&connection.waiting);
            waiting.end = End::Broken;
            let left = waiting.bytes.len() - waiting.written;
            waiting.bytes = Vec::new();
            waiting.written = 0;
            left
        };
        self.queued.fetch_sub(left, Ordering::Relaxed);
        self.sink.closed(connection.flow);
        if let Some(asked) = connection.asked
            && (left > 0 || connection.half.get().is_none())
        {
            self.sink.closed(asked);
        }
        self.sink.ring();
    }

    /// Wakes the shards after everything else that is readable now has been read.
    async fn ring(&self) {
        if !self.ringing.swap(true, Ordering::AcqRel) {
            tokio::task::yield_now().await;
            self.ringing.swap(false, Ordering::AcqRel);
            self.sink.ring();
        }
    }
}

impl Table {
    fn enter(&mut self, flow: impl FnOnce(u64) -> Flow, asked: Option<Flow>) -> Arc<Connection> {
        self.latest += 1;
        let flow = flow(self.latest);
        let connection =
            Arc::new(Connection { flow, asked, half: OnceLock::new(), waiting: Mutex::default(), wake: Notify::new() });
        self.connections.insert(self.latest, Arc::clone(&connection));
        self.remotes.insert(flow.remote, self.latest);
        if asked.is_none() {
            *self.sources.entry(flow.remote.ip()).or_default() += 1;
        }
        connection
    }

    fn leave(&mut self, connection: &Connection) {
        let Flow { remote, connection: id, .. } = connection.flow;
        self.connections.remove(&id);
        if self.remotes.get(&remote) == Some(&id) {
            self.remotes.remove(&remote);
        }
        if connection.asked.is_none()
            && let Some(count) = self.sources.get_mut(&remote.ip())
        {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&remote.ip());
            }
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, index: u8, wildcard: bool) {
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok((stream, remote)) => (stream, canonical(remote)),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(100 * BREATH).await;
                continue;
            }
        };
        let local = stream.local_addr().ok().map(|local| local.ip().to_canonical()).filter(|_| wildcard);
        let trusted = shared.sink.trusted(remote.ip());
        let connection = {
            let mut table = lock(&shared.table);
            let from_there = table.sources.get(&remote.ip()).copied().unwrap_or(0);
            let full = table.connections.len() >= shared.settings.connections
                || !trusted && from_there >= shared.settings.connections_per_source;
            let flow = |connection| Flow { transport: Transport::Tcp, listener: index, connection, remote, local };
            if full { None } else { Some(table.enter(flow, None)) }
        };
        let Some(connection) = connection else {
            shared.counts.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        shared.counts.accepted.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            serve(&shared, &connection, stream).await;
            shared.ended(&connection);
        });
    }
}

/// Makes a connection, then serves it.
async fn make(shared: Arc<Shared>, connection: Arc<Connection>) {
    let remote = connection.flow.remote;
    let socket = if remote.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let attempt = async { socket?.connect(remote).await };
    let result = timeout(shared.settings.connect, attempt).await;
    shared.connecting.fetch_sub(1, Ordering::Relaxed);
    match result {
        Ok(Ok(stream)) => {
            shared.counts.connected.fetch_add(1, Ordering::Relaxed);
            serve(&shared, &connection, stream).await;
        }
        failed => {
            shared.counts.unreachable.fetch_add(1, Ordering::Relaxed);
            let error =
                failed.map_or_else(io::Error::from, |result| result.err().unwrap_or(io::ErrorKind::Other.into()));
            tracing::debug!(%remote, %error, "cannot connect");
        }
    }
    shared.ended(&connection);
}

/// Settings of the kernel: small messages go at once, and a peer that is gone is noticed.
fn tune(stream: &TcpStream, patience: Duration) {
    let result = setsockopt(stream, sockopt::TcpNoDelay, &true)
        .and_then(|()| setsockopt(stream, sockopt::KeepAlive, &true))
        .and_then(|()| setsockopt(stream, sockopt::TcpKeepIdle, &120))
        .and_then(|()| setsockopt(stream, sockopt::TcpKeepInterval, &15))
        .and_then(|()| setsockopt(stream, sockopt::TcpUserTimeout, &(patience.as_millis() as u32)));
    if let Err(error) = result {
        tracing::debug!(%error, "cannot set up a connection");
    }
}

/// Reads and writes until either side ends.
async fn serve(shared: &Shared, connection: &Connection, stream: TcpStream) {
    let Settings { limits, message, idle, .. } = shared.settings;
    tune(&stream, message);
    let (mut incoming, half) = stream.into_split();
    let _ = connection.half.set(half);
    connection.wake.notify_one(); // for what has come to wait while it was being made
    let mut framer = StreamFramer::new(limits);
    let mut writing = pin!(connection.write(&shared.queued));
    // The alarm is set late on purpose: when it goes off, it is set again to what is due by then.
    let mut due = Instant::now() + if connection.asked.is_some() { idle } else { message };
    let mut partial = false;
    let mut alarm = pin!(sleep_until(due));
    loop {
        tokio::select! {
            biased;
            () = &mut writing => return,
            result = read(&mut incoming, &mut framer) => match result {
                Ok(0) | Err(_) => return,
                Ok(_) => match deliver(shared, connection, &mut framer).await {
                    Ok(whole) => {
                        let held = framer.pending() > 0;
                        if whole || held && !partial {
                            due = Instant::now() + if held { message } else { idle };
                        }
                        partial = held;
                        if due < alarm.deadline() {
                            alarm.as_mut().reset(due);
                        }
                    }
                    Err(head) => {
                        shared.counts.unframeable.fetch_add(1, Ordering::Relaxed);
                        // A shard finds out whom to answer, if anyone.
                        let _ = shared.sink.message(connection.flow, head);
                        shared.sink.ring();
                        let _ = timeout(LAST_WORDS, writing).await;
                        return;
                    }
                },
            },
            () = &mut alarm => {
                if due <= Instant::now() {
                    shared.counts.late.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                alarm.as_mut().reset(due);
            }
        }
    }
}

/// Reads what is there into the framer, by way of memory that all connections of this thread share.
async fn read(incoming: &mut OwnedReadHalf, framer: &mut StreamFramer) -> io::Result<usize> {
    thread_local! {
        static MEMORY: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
    }
    poll_fn(|context| {
        MEMORY.with_borrow_mut(|memory| {
            let mut buffer = ReadBuf::new(memory);
            let result = std::task::ready!(Pin::new(&mut *incoming).poll_read(context, &mut buffer));
            framer.push(buffer.filled());
            result.map(|()| buffer.filled().len()).into()
        })
    })
    .await
}

/// Hands on what is whole. Says whether anything was; the head of what cannot be framed is an error.
async fn deliver(shared: &Shared, connection: &Connection, framer: &mut StreamFramer) -> Result<bool, Bytes> {
    let (mut any, mut messages) = (false, false);
    let result = loop {
        match framer.next() {
            Ok(Some(Frame::Message(mut bytes))) => {
                while let Err(back) = shared.sink.message(connection.flow, bytes) {
                    bytes = back;
                    shared.counts.held.fetch_add(1, Ordering::Relaxed);
                    shared.sink.ring();
                    sleep(BREATH).await;
                }
                messages = true;
            }
            Ok(Some(Frame::Ping)) => {
                let mut waiting = lock(&connection.waiting);
                // One pong is as good as many, so that pings alone never fill the queue.
                if waiting.bytes.is_empty() {
                    waiting.bytes.extend_from_slice(b"\r\n");
                    shared.queued.fetch_add(2, Ordering::Relaxed);
                    drop(waiting);
                    connection.wake.notify_one();
                }
            }
            Ok(Some(Frame::Pong)) => {}
            Ok(None) => break Ok(any),
            Err(error) => break Err(error.head),
        }
        any = true;
    };
    if messages {
        shared.ring().await;
    }
    result
}

#[cfg(test)]
mod tests;
