//! Wiring the machine that talks to other servers: a thread, sockets and streams of its own, and the tasks that ask
//! shards for it and tell it what has changed. Shards and their sockets know nothing of it.

use crate::driver::{Asking, Clock, Driver, Inbox, Message, Notice, Parts};
use crate::names::{Names, Questions};
use crate::run::{StartError, loudly};
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use lamplighter_adapter_sip::{Listener, Settings, Sink, Streams, Udp, Writer};
use lamplighter_adapter_store::StorePort;
use lamplighter_model::config::Listener as Seen;
use lamplighter_model::{Answer, Command, Config, Counters, Durabilities, Flow, Heard, Seed, Transport};
use lamplighter_port::{Busy, Port, Scope, ShardPort};
use lamplighter_remote::Remote;
use lamplighter_sip::client::Local;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// Batches of questions to shards that wait; the machine has fewer questions under way.
const ASKED: usize = 128;
/// How many changes are told at once.
const HEARD: usize = 256;

/// What the machine is made from.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Where other servers reach us; ports may be zero.
    pub listeners: Vec<Seen>,
    /// What it is told; its `locals` and whether there is a store are filled in at the start.
    pub settings: lamplighter_remote::Settings,
    /// What each of its rules selects.
    pub scopes: Vec<Scope>,
}

/// Its sockets.
pub(crate) struct Sockets {
    udp: Vec<(u8, Udp)>,
    tcp: Vec<(u8, Listener)>,
}

impl Plan {
    /// Opens the sockets and says where others reach them.
    pub(crate) fn bind(&mut self, stored: bool) -> Result<Sockets, StartError> {
        let mut sockets = Sockets { udp: Vec::new(), tcp: Vec::new() };
        self.settings.agent.store = stored;
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            let index = index as u8;
            let bound = match listener.transport {
                Transport::Udp => {
                    let mut group = Udp::bind(listener.address, 1).map_err(StartError::Remote)?;
                    let Some(mut socket) = group.pop() else { continue };
                    if let Err(error) = socket.watch_refusals() {
                        tracing::warn!(%error, "servers that are not there will only be noticed by their silence");
                    }
                    let bound = socket.address();
                    sockets.udp.push((index, socket));
                    bound
                }
                Transport::Tcp => {
                    let socket = Listener::bind(listener.address).map_err(StartError::Remote)?;
                    let bound = socket.address();
                    sockets.tcp.push((index, socket));
                    bound
                }
            };
            listener.address = bound;
            if let Some(host) = listener.advertise.strip_suffix(":0") {
                listener.advertise = format!("{host}:{}", bound.port()).into();
            }
            if listener.advertise_is_wildcard() {
                tracing::warn!(listen = %bound, "other servers cannot reach a wildcard address: name one in remote.listen");
            }
            let advertise = &listener.advertise;
            let tcp = if listener.transport == Transport::Tcp { ";transport=tcp" } else { "" };
            self.settings.agent.locals.push(Local {
                transport: listener.transport,
                listener: index,
                sent_by: advertise.clone(),
                contact: format!("sip:lamplighter@{advertise}{tcp}").into(),
            });
        }
        Ok(sockets)
    }
}

/// Its part of everything that is started.
pub(crate) struct Start<'a> {
    pub plan: Plan,
    pub sockets: Sockets,
    pub machine: Remote,
    pub inbox: Arc<Inbox>,
    pub port: Port,
    pub own: ShardPort,
    pub store: Option<(StorePort, Durabilities)>,
    pub config: &'a Arc<Config>,
    pub clock: Clock,
    pub runtime: &'a Handle,
    pub patience: Duration,
    pub names: &'a Names,
}

/// At work.
pub(crate) struct AtWork {
    pub inbox: Arc<Inbox>,
    pub thread: JoinHandle<()>,
    desk: Arc<Desk>,
    streams: Streams,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// The machine's own seed.
pub(crate) fn seed(secret: [u8; 32]) -> Seed {
    let half = |from: usize| u64::from_le_bytes(std::array::from_fn(|at| secret[from + at]));
    Seed(half(16), half(24))
}

/// Starts its thread and tasks.
pub(crate) fn start(start: Start<'_>) -> Result<AtWork, StartError> {
    let Start { plan, sockets, machine, inbox, port, own, store, config, clock, runtime, patience, names } = start;
    let desk = Arc::new(Desk { inbox: Arc::clone(&inbox), config: RwLock::new(Arc::clone(config)), clock });
    let settings = Settings { limits: (&config.limits).into(), ..Settings::default() };
    let streams = Streams::new(desk.clone(), settings, runtime.clone());
    let Questions { ask, serve } = names.questions(vec![Arc::clone(&inbox)]);
    let (asker, asking) = mpsc::channel(ASKED);
    let mut tasks = vec![
        runtime.spawn(serve),
        runtime.spawn(ask_shards(asking, port.clone(), Arc::clone(&inbox))),
        runtime.spawn(hear(plan.scopes, port, Arc::clone(&inbox))),
    ];
    for (index, listener) in sockets.tcp {
        tasks.push(streams.listen(listener, index)?);
    }
    let writer: Writer = streams.writer();
    let parts = Parts {
        machine,
        shard: 0,
        sockets: sockets.udp,
        inboxes: vec![Arc::clone(&inbox)],
        port: own,
        writer,
        resolver: ask,
        asker: Some(asker),
        store,
        clock,
        counters: Arc::new(Counters::default()),
        patience,
    };
    let work = move || Driver::new(parts).run();
    let thread = thread::Builder::new().name("remote".into()).spawn(|| loudly(work))?;
    Ok(AtWork { inbox, thread, desk, streams, tasks })
}

impl AtWork {
    /// Everyone gets a new configuration.
    pub fn configure(&self, config: &Arc<Config>) {
        *self.desk.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(config);
        self.inbox.notice(Notice::Config(Arc::clone(config)));
    }

    /// Returns when it has taken leave. It must have been told to stop.
    pub fn stop(self) {
        let _ = self.thread.join(); // a panic has ended the process
        self.streams.close_all();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Where its streams deliver.
struct Desk {
    inbox: Arc<Inbox>,
    config: RwLock<Arc<Config>>,
    clock: Clock,
}

impl Sink for Desk {
    fn message(&self, flow: Flow, bytes: Bytes) -> Result<(), Bytes> {
        let message = Message { flow, bytes, taken_in: self.clock.now() };
        self.inbox.frames.push(message).map_err(|message| message.bytes)
    }

    fn closed(&self, flow: Flow) {
        self.inbox.notice(Notice::Closed(flow));
    }

    fn ring(&self) {
        if !self.inbox.is_empty() {
            self.inbox.ring();
        }
    }

    fn trusted(&self, address: IpAddr) -> bool {
        self.config.read().unwrap_or_else(PoisonError::into_inner).access.is_trusted(address)
    }
}

/// Asks shards for the machine. It has one question at a time about one thing, so that order is no matter here. What is
/// answered at the same time is told at once.
async fn ask_shards(mut asking: mpsc::Receiver<Vec<Asking>>, port: Port, inbox: Arc<Inbox>) {
    let ask = |asking: Asking| {
        let port = &port;
        async move {
            let Asking { number, resource, command } = asking;
            let answer: Result<Answer, Busy> = match command {
                Command::Publish(command) => port.publish(*command).await.map(Answer::Published),
                command => port.ask(port.owner(&resource), command).await,
            };
            (number, answer.ok())
        }
    };
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            questions = asking.recv() => match questions {
                Some(questions) => under_way.extend(questions.into_iter().map(ask)),
                None => return,
            },
            Some(first) = under_way.next() => {
                let mut answers = vec![first];
                while let Some(Some(answer)) = under_way.next().now_or_never() {
                    answers.push(answer);
                }
                inbox.notice(Notice::Asked(answers));
            }
        }
    }
}

/// Tells the machine what has changed that its rules select, a batch at a time.
async fn hear(scopes: Vec<Scope>, port: Port, inbox: Arc<Inbox>) {
    if scopes.is_empty() {
        return;
    }
    let union = Scope::union(&scopes);
    let (mut head, mut rev, mut items) = (port.head(), 0, Vec::new());
    loop {
        let cursor = port.since(rev, &union, HEARD, &mut items);
        rev = cursor.rev;
        let heard = |item: &Arc<lamplighter_port::Item>| {
            let rules = scopes.iter().enumerate().filter(|(_, scope)| scope.has(item));
            let rules = rules.fold(0, |rules, (index, _)| rules | 1 << index);
            Heard { rules, resource: Arc::clone(&item.resource), package: item.package }
        };
        let all: Vec<Heard> = items.iter().map(heard).collect();
        items.clear();
        if !all.is_empty() {
            let (more, taken) = oneshot::channel();
            inbox.notice(Notice::Heard { all, more });
            // It is dropped when it has been taken, and that is what counts.
            let _ = taken.await;
        }
        if !cursor.more && head.changed().await.is_err() {
            return;
        }
    }
}
