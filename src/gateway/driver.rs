//! The loop of one shard: the only place where sockets, the clock and [`Shard::handle`] meet.
//!
//! A turn takes at most 64 datagrams from each socket, 64 messages of others, and what is due; then everything that
//! the shard wants done is done at once. When there was nothing, it sleeps until a socket, its bell or its deadline.
//! A machine that nobody waits for naps first, a millisecond and then longer while there is always something: under load
//! it wakes two hundred times a second whatever comes, nobody need wake it, and the first message after quiet is
//! handled at once.

mod inbox;

pub(crate) use inbox::{Inbox, Message, Notice};

use bytes::Bytes;
use lamplighter_adapter_sip::{Buffer, Outgoing, Udp, Writer};
use lamplighter_adapter_store::{Progress, StorePort};
use lamplighter_model::{Command, Counter, Counters, Durabilities, Flow, Input, Outbox, Output, Time, Transport};
use lamplighter_port::ShardPort;
use lamplighter_remote::Remote;
use lamplighter_shard::Shard;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{self, error::TrySendError};

/// How much of one kind a turn takes before others get theirs.
const TURN: usize = 64;
/// Outputs are carried out when they hold this many bytes, or at the end of the turn.
const FULL: usize = 128 * 1024;
/// The longest sleep, for want of a deadline.
const REST: Duration = Duration::from_secs(3600);
/// How often a stopping shard looks whether it is through.
const GLANCE: Duration = Duration::from_millis(20);
/// How long a machine naps after a turn with something, and at most.
const NAP: Duration = Duration::from_millis(1);
const LONG_NAP: Duration = Duration::from_millis(5);

/// The gateway's time: wall time at its start, or the store's if that is later, and the monotonic clock from there.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall: Duration,
}

#[expect(clippy::disallowed_methods, reason = "this is the clock of the drivers")]
impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self::start_at(Time::default() + wall())
    }

    /// A clock that goes on from `time`: not before anything that the store has seen, whatever the wall clock says.
    pub fn start_at(time: Time) -> Self {
        Self { start: Instant::now(), wall: time.since(Time::default()) }
    }

    /// The time.
    pub fn now(&self) -> Time {
        Time::default() + self.wall + self.start.elapsed()
    }
}

#[expect(clippy::disallowed_methods, reason = "the kernel stamps datagrams with it")]
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What a driver drives. Tests put something simpler in the shard's place.
pub(crate) trait Machine {
    /// Whether what it does can wait for some milliseconds, so that more gathers.
    const NAPS: bool = false;

    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outbox);
    fn deadline(&self) -> Option<Time>;
    /// Whether somebody owes it an answer, which is likely to come soon.
    fn expects(&self) -> bool {
        false
    }
    /// Whether a stopping machine has nothing more to say.
    fn is_through(&self) -> bool;
}

impl Machine for Shard {
    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outbox) {
        Self::handle(self, now, input, out);
    }

    fn deadline(&self) -> Option<Time> {
        Self::deadline(self)
    }

    fn is_through(&self) -> bool {
        Self::is_through(self)
    }
}

impl Machine for Remote {
    const NAPS: bool = true;

    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outbox) {
        Self::handle(self, now, input, out);
    }

    fn deadline(&self) -> Option<Time> {
        Self::deadline(self)
    }

    fn expects(&self) -> bool {
        Self::expects(self)
    }

    fn is_through(&self) -> bool {
        Self::is_through(self)
    }
}

/// A question to the shard that owns an address.
#[derive(Debug)]
pub(crate) struct Asking {
    pub number: u64,
    pub resource: Arc<str>,
    pub command: Command,
}

/// A host to look up for a shard.
#[derive(Debug)]
pub(crate) struct Question {
    pub shard: u8,
    pub query: u64,
    pub host: Box<str>,
    pub port: Option<u16>,
    pub transport: Option<Transport>,
}

/// What a driver is made of.
pub(crate) struct Parts<M> {
    pub machine: M,
    pub shard: u8,
    /// The place of each socket's listener in the configuration, and the socket.
    pub sockets: Vec<(u8, Udp)>,
    /// The inboxes of all shards, ours among them.
    pub inboxes: Vec<Arc<Inbox>>,
    pub port: ShardPort,
    pub writer: Writer,
    pub resolver: mpsc::Sender<Question>,
    /// Who asks shards for it; shards themselves ask nobody.
    pub asker: Option<mpsc::Sender<Vec<Asking>>>,
    /// Where records go, if they are kept.
    pub store: Option<(StorePort, Durabilities)>,
    pub clock: Clock,
    pub counters: Arc<Counters>,
    /// How long a stopping shard may take to tell its watchers.
    pub patience: Duration,
}

/// One shard with its sockets.
pub(crate) struct Driver<M> {
    machine: M,
    desk: Desk,
    sockets: Vec<(u8, Udp)>,
    /// Sockets that may have something.
    ready: Vec<bool>,
    inbox: Arc<Inbox>,
    notices: Vec<Notice>,
    /// What the machine knows of the store.
    progress: Progress,
    buffer: Buffer,
    out: Outbox,
    clock: Clock,
    patience: Duration,
    /// When a stopping shard stops waiting.
    until: Option<Time>,
    /// Nobody else has been let run since the last sleep.
    fresh: bool,
    /// The turns since the last rest had something to handle.
    busy: bool,
    naps: Naps,
}

/// When a machine that may nap does: where it expects an answer, and where what came last came together.
struct Naps {
    next: Duration,
    /// Something came during the last nap without being expected, or soon after it.
    gathers: bool,
    /// The nap that is over was for something that was not expected.
    hoped: bool,
}

impl Default for Naps {
    fn default() -> Self {
        Self { next: NAP, gathers: true, hoped: false }
    }
}

impl Naps {
    /// How long after a turn: not at all if there was nothing to do. `expects`: somebody owes an answer.
    fn after(&mut self, busy: bool, expects: bool) -> Option<Duration> {
        if std::mem::take(&mut self.hoped) {
            self.gathers = busy;
        }
        if !busy || !expects && !self.gathers {
            return None;
        }
        self.hoped = !expects;
        let nap = self.next;
        self.next = (nap * 2).min(LONG_NAP);
        Some(nap)
    }

    /// There was nothing to do for so long.
    fn slept(&mut self, time: Duration) {
        self.gathers |= time < LONG_NAP;
        self.next = NAP;
    }
}

/// Where outputs go, apart from our own sockets.
struct Desk {
    shard: u8,
    inboxes: Vec<Arc<Inbox>>,
    /// Shards whose rings we have put something into.
    rung: Vec<bool>,
    port: ShardPort,
    writer: Writer,
    resolver: mpsc::Sender<Question>,
    asker: Option<mpsc::Sender<Vec<Asking>>>,
    /// What it is to ask at the end of the turn.
    questions: Vec<Asking>,
    store: Option<(StorePort, Durabilities)>,
    counters: Arc<Counters>,
    batch: Vec<Outgoing>,
}

impl<M: Machine> Driver<M> {
    /// Ready to run.
    pub fn new(parts: Parts<M>) -> Self {
        let Parts { machine, shard, sockets, inboxes, port, writer, resolver, asker, store, clock, counters, patience } =
            parts;
        Self {
            machine,
            ready: vec![true; sockets.len()],
            sockets,
            inbox: Arc::clone(&inboxes[usize::from(shard)]),
            desk: Desk {
                shard,
                rung: vec![false; inboxes.len()],
                inboxes,
                port,
                writer,
                resolver,
                asker,
                questions: Vec::new(),
                store,
                counters,
                batch: Vec::new(),
            },
            progress: Progress::default(),
            notices: Vec::new(),
            buffer: Buffer::default(),
            out: Outbox::default(),
            clock,
            patience,
            until: None,
            fresh: true,
            busy: false,
            naps: Naps::default(),
        }
    }

    /// Works until it is told to stop, and then until its watchers have been told.
    pub fn run(mut self) {
        loop {
            let more = self.turn();
            // Even if peers go on sending: what they are told now is only to come again later.
            if let Some(until) = self.until
                && (self.machine.is_through() || self.clock.now() >= until)
            {
                return;
            }
            if more {
                self.ready.fill(true);
            } else if let Some(nap) = self.next_nap() {
                self.nap(nap);
            } else if std::mem::take(&mut self.fresh) {
                // Whoever shares this core may have more for us: one look costs less than falling asleep and waking.
                std::thread::yield_now();
                self.ready.fill(true);
            } else {
                self.sleep();
                self.fresh = true;
            }
        }
    }

    /// Takes what is there; says whether there may be more.
    fn turn(&mut self) -> bool {
        let now = self.clock.now();
        let mut more = self.datagrams(now);
        self.read_notices(now);
        self.read_progress(now);
        more |= self.messages(now);
        while let Some((ticket, command)) = self.desk.port.command() {
            self.handle(now, Input::Command { ticket, command });
        }
        if self.machine.deadline().is_some_and(|deadline| deadline <= now) {
            self.handle(now, Input::Tick);
        }
        self.carry_out();
        self.desk.end_turn();
        more || self.machine.deadline().is_some_and(|deadline| deadline <= now)
    }

    fn datagrams(&mut self, now: Time) -> bool {
        let mut more = false;
        for index in 0..self.sockets.len() {
            if !std::mem::take(&mut self.ready[index]) {
                continue;
            }
            let mut age = Duration::ZERO;
            let mut taken = 0;
            while taken < TURN {
                let (listener, socket) = &self.sockets[index];
                // The first has waited longest; the others are taken to be as old.
                let Some(datagram) = socket.receive(&mut self.buffer, taken == 0) else { break };
                if let Some(taken_in) = datagram.taken_in {
                    age = wall().saturating_sub(taken_in);
                }
                let local = datagram.local;
                let flow = Flow { local, ..Flow::udp(*listener, datagram.remote) };
                let from = self.out.outputs.len();
                self.busy = true;
                self.machine.handle(now, Input::Datagram { flow, bytes: datagram.bytes, age }, &mut self.out);
                if self.desk.inboxes.len() > 1 {
                    let message =
                        || Message { flow, bytes: Bytes::copy_from_slice(datagram.bytes), taken_in: now - age };
                    self.desk.forward(&self.out.outputs[from..], message);
                }
                taken += 1;
                if self.out.bytes.len() >= FULL {
                    self.carry_out();
                }
            }
            more |= taken == TURN;
            let (listener, socket) = &self.sockets[index];
            let mut last = None;
            for _ in 0..TURN {
                let Some(remote) = socket.refused(&mut self.buffer) else { break };
                if last.replace(remote) != Some(remote) {
                    self.machine.handle(now, Input::Closed(Flow::udp(*listener, remote)), &mut self.out);
                }
            }
        }
        more
    }

    fn read_notices(&mut self, now: Time) {
        let mut notices = std::mem::take(&mut self.notices);
        self.inbox.notices(&mut notices);
        for notice in notices.drain(..) {
            match notice {
                Notice::Closed(flow) => self.handle(now, Input::Closed(flow)),
                Notice::Resolved { query, targets, ttl } => {
                    self.handle(now, Input::Resolved { query, targets: &targets, ttl });
                }
                Notice::Asked(all) => {
                    for (number, answer) in all {
                        self.handle(now, Input::Asked { number, answer });
                    }
                }
                // Dropping `_more` asks for more.
                Notice::Heard { all, more: _more } => self.handle(now, Input::Heard(&all)),
                Notice::Config(config) => self.handle(now, Input::Config(config)),
                Notice::Stop => {
                    self.until = Some(now + self.patience);
                    self.handle(now, Input::Stop);
                }
            }
        }
        self.notices = notices;
    }

    /// Tells the machine what the store has done.
    fn read_progress(&mut self, now: Time) {
        let Some((store, _)) = &self.desk.store else { return };
        let (was, progress) = (self.progress, store.progress());
        self.progress = progress;
        let Progress { written, committed, failing } = progress;
        if (written, committed) != (was.written, was.committed) {
            self.handle(now, Input::Saved { written, committed });
        }
        if failing != was.failing {
            self.handle(now, Input::StoreFailing(failing));
        }
    }

    fn messages(&mut self, now: Time) -> bool {
        for _ in 0..TURN {
            let rings = [&self.inbox.in_dialog, &self.inbox.frames, &self.inbox.fresh];
            let Some(message) = rings.into_iter().find_map(|ring| ring.pop()) else { return false };
            let Message { flow, bytes, taken_in } = message;
            let age = now.since(taken_in);
            // Should it be nobody's here either, it goes no further: no two shards can send one to and fro.
            self.handle(now, Input::Datagram { flow, bytes: &bytes, age });
        }
        true
    }

    fn handle(&mut self, now: Time, input: Input<'_>) {
        self.busy = true;
        self.machine.handle(now, input, &mut self.out);
        if self.out.bytes.len() >= FULL {
            self.carry_out();
        }
    }

    /// Does what the machine wants done.
    fn carry_out(&mut self) {
        let Self { desk, sockets, out: Outbox { bytes, outputs }, .. } = self;
        let mut batched = 0;
        for output in outputs.drain(..) {
            match output {
                Output::Send { flow, at } if flow.transport == Transport::Udp => {
                    if flow.listener != batched && !desk.batch.is_empty() {
                        desk.send(sockets, batched, bytes);
                    }
                    batched = flow.listener;
                    desk.batch.push(Outgoing { remote: flow.remote, local: flow.local, at });
                }
                Output::Send { flow, at } => desk.writer.send(flow, &bytes[at.start as usize..at.end as usize]),
                other => desk.carry_out(other),
            }
        }
        if !desk.batch.is_empty() {
            desk.send(sockets, batched, bytes);
        }
        bytes.clear();
    }

    fn next_nap(&mut self) -> Option<Duration> {
        let busy = std::mem::take(&mut self.busy);
        if M::NAPS { self.naps.after(busy, self.machine.expects()) } else { None }
    }

    #[expect(clippy::disallowed_methods, reason = "a nap that something could end would not gather anything")]
    fn nap(&mut self, nap: Duration) {
        std::thread::sleep(nap);
        self.fresh = false;
        self.ready.fill(true);
    }

    fn sleep(&mut self) {
        // An earlier call has emptied the sockets; they are asked again when poll says so.
        if !self.inbox.may_sleep() {
            self.ready.fill(true);
            return;
        }
        let (asleep, mut rest) = (self.clock.now(), REST);
        if let Some(deadline) = self.machine.deadline() {
            rest = rest.min(deadline.since(asleep));
        }
        if self.until.is_some() {
            rest = rest.min(GLANCE);
        }
        let mut fds = Vec::with_capacity(self.sockets.len() + 1);
        fds.push(PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN));
        fds.extend(self.sockets.iter().map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        let result = ppoll(&mut fds, Some(TimeSpec::from(rest)), None);
        self.inbox.awake();
        // The deadline does not count: what is done then is what was planned.
        let came = result.is_ok_and(|ready| ready > 0);
        self.naps.slept(if came { self.clock.now().since(asleep) } else { Duration::MAX });
        match result {
            Ok(0) => {}
            Ok(_) => {
                if fds[0].any().unwrap_or(true) {
                    self.inbox.silence();
                }
                for (ready, fd) in self.ready.iter_mut().zip(&fds[1..]) {
                    *ready = fd.any().unwrap_or(true);
                }
            }
            Err(_) => self.ready.fill(true),
        }
    }
}

impl Desk {
    /// Hands a datagram on to its owner if `outputs`, which it has caused, say so.
    fn forward(&mut self, outputs: &[Output], message: impl Fn() -> Message) {
        for output in outputs {
            let Output::Forward { shard, in_dialog } = *output else { continue };
            let Some(inbox) = self.inboxes.get(usize::from(shard)) else { continue };
            let ring = if in_dialog { &inbox.in_dialog } else { &inbox.fresh };
            self.counters.count(Counter::Forwarded);
            if ring.push(message()).is_err() {
                self.counters.count(Counter::ForwardDropped);
            }
            self.rung[usize::from(shard)] = true;
        }
    }

    fn send(&mut self, sockets: &[(u8, Udp)], listener: u8, bytes: &[u8]) {
        if let Some((_, socket)) = sockets.iter().find(|(index, _)| *index == listener) {
            let sent = socket.send(bytes, &self.batch);
            if sent.failed > 0 || sent.full > 0 {
                self.counters.add(Counter::SendFailed, sent.failed);
                self.counters.add(Counter::SendFull, sent.full);
            }
        } else {
            self.counters.add(Counter::SendFailed, self.batch.len() as u64);
        }
        self.batch.clear();
    }

    fn ask(&mut self) {
        let questions = std::mem::take(&mut self.questions);
        let unasked = match &self.asker {
            Some(asker) => asker.try_send(questions).err().map(TrySendError::into_inner),
            None => Some(questions),
        };
        if let Some(questions) = unasked {
            let answers = questions.into_iter().map(|asking| (asking.number, None)).collect();
            self.inboxes[usize::from(self.shard)].notice(Notice::Asked(answers));
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Change(change) => self.port.change(change),
            Output::Answer { ticket, answer } => self.port.answer(ticket, answer),
            Output::Close(flow) => self.writer.close(flow),
            Output::Resolve { query, host, port, transport } => {
                let question = Question { shard: self.shard, query, host, port, transport };
                if self.resolver.try_send(question).is_err() {
                    self.counters.count(Counter::ResolverFull);
                    self.inboxes[usize::from(self.shard)].notice(Notice::unknown(query));
                }
            }
            Output::Ask { number, resource, command } => {
                self.questions.push(Asking { number, resource, command: *command });
            }
            Output::Save { number, record } => {
                if let Some((store, durabilities)) = &mut self.store {
                    let durability = durabilities.of(&record);
                    store.save(number, record, durability);
                }
            }
            Output::Trace(trace) => self.port.trace(trace),
            Output::News(news) => self.port.news(*news),
            // Forwarded while the datagram was at hand; sent by the driver.
            Output::Forward { .. } | Output::Send { .. } => {}
        }
    }

    fn end_turn(&mut self) {
        if !self.questions.is_empty() {
            self.ask();
        }
        if let Some((store, _)) = &mut self.store {
            store.flush();
        }
        self.writer.flush();
        self.port.flush();
        for (rung, inbox) in self.rung.iter_mut().zip(&self.inboxes) {
            if std::mem::take(rung) {
                inbox.ring();
            }
        }
    }
}

#[cfg(test)]
mod tests;
