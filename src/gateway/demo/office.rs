//! The phones of the office on real sockets: one user agent and one UDP socket each, all in one thread.
//!
//! What the day brings, each phone publishes of itself; the voicemail system publishes for everybody. Phones watch
//! each other, and every few seconds what they show is compared with what is true: that is the proof of the demo.

use super::day::{Changed, Day};
use super::documents::Place;
use super::lamp::{self, Known};
use super::people::{Interest, Kind, PEOPLE, interests};
use lamplighter_model::{Flow, Seed, Time, Transport};
use lamplighter_sip::client::{
    Agent, Body, Cause, Event, Input, Local, Notification, Order, Output, Pace, PublicationId, Record, Settings,
    Standing, SubscriptionId, Watch,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long a change may take to reach a lamp before the lamp counts as wrong. On loopback it takes milliseconds;
/// this leaves room for a busy machine and one lost datagram.
pub const GRACE: Duration = Duration::from_secs(3);
/// How often lamps are looked at.
const LOOK: Duration = Duration::from_secs(3);
/// People come in one after another.
const ARRIVAL: Duration = Duration::from_millis(15);
/// A phone that comes up subscribes to this many at a time, so that the answers fit its socket's buffer.
const AT_A_TIME: usize = 4;
/// The lease of everything.
const LEASE: Duration = Duration::from_secs(600);
/// A phone that has failed tries again soon: somebody is looking.
const RETRY: Duration = Duration::from_secs(4);
/// The most datagrams of one socket that are read before the others get their turn.
const BURST: usize = 32;

/// A lamp on somebody's phone.
#[derive(Debug)]
struct Lamp {
    interest: Interest,
    shows: Known,
    since: Time,
    /// Whether it has been found wrong and not yet right again.
    wrong: bool,
}

#[derive(Debug)]
struct Phone {
    socket: UdpSocket,
    agent: Agent,
    starts: Time,
    /// What it has yet to subscribe to.
    todo: VecDeque<Interest>,
    /// What it has yet to unsubscribe from.
    undo: VecDeque<SubscriptionId>,
    lamps: BTreeMap<SubscriptionId, Lamp>,
    /// What it publishes, and the version of its newest document.
    published: BTreeMap<(usize, Kind), (PublicationId, u32)>,
}

/// What went on, in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Lamps on all phones.
    pub lamps: usize,
    /// Changes that were published.
    pub changes: u64,
    /// NOTIFYs that phones accepted.
    pub notifications: u64,
    /// Comparisons of a lamp with the truth.
    pub comparisons: u64,
    /// Lamps that were found wrong.
    pub wrong: u64,
    /// Documents out of order, NOTIFYs refused, requests refused or unanswered.
    pub faults: u64,
}

/// Something that should not have happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Complaint {
    /// The address that it is about.
    pub resource: String,
    /// What, in one sentence.
    pub what: String,
}

/// The office.
#[derive(Debug)]
pub struct Office {
    day: Day,
    place: Place,
    /// The desks in the order of [`PEOPLE`], then the voicemail system.
    phones: Vec<Phone>,
    on_the_phone: bool,
    tally: Tally,
    complaints: Vec<Complaint>,
    next_look: Time,
    /// When the day's script stops and everybody stands still.
    still: bool,
    leaving: bool,
    buffer: Vec<u8>,
}

impl Office {
    /// How long the last PUBLISHes and SUBSCRIBEs may take.
    pub const PARTING: Duration = Duration::from_secs(5);

    /// Opens for business: all sockets are bound, nothing is sent yet. `server` is the gateway; `on_the_phone` says
    /// whether its presence shows calls.
    pub fn open(now: Time, server: SocketAddr, domain: &str, seed: u64, on_the_phone: bool) -> io::Result<Self> {
        let sockets = (0..=PEOPLE.len()).map(|_| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        });
        let sockets: Vec<(SocketAddr, UdpSocket)> = sockets.collect::<io::Result<_>>()?;
        let hosts: Vec<Box<str>> = sockets.iter().map(|(address, _)| address.to_string().into()).collect();
        let place = Place { domain: domain.into(), phones: hosts[..PEOPLE.len()].to_vec() };
        let phone = |(at, (address, socket)): (usize, (SocketAddr, UdpSocket))| {
            let (user, display) = PEOPLE.get(at).map_or(("voicemail", "Voicemail"), |one| (one.extension, one.name));
            let settings = Settings {
                address: format!("sip:{user}@{domain}").into(),
                display: display.into(),
                user_agent: if at < PEOPLE.len() { "Desk phone/1.0" } else { "Voicemail/1.0" }.into(),
                locals: vec![Local {
                    transport: Transport::Udp,
                    listener: 0,
                    sent_by: address.to_string().into(),
                    contact: format!("sip:{user}@{address}").into(),
                }],
                proxy: Some(format!("sip:{server}").into()),
                pace: Pace { retry: RETRY, shun: RETRY, ..Pace::default() },
                ..Settings::default()
            };
            Phone {
                socket,
                agent: Agent::new(now, settings, Seed(seed, at as u64)),
                starts: now + ARRIVAL * at as u32,
                todo: if at < PEOPLE.len() { interests(at).into() } else { VecDeque::new() },
                undo: VecDeque::new(),
                lamps: BTreeMap::new(),
                published: BTreeMap::new(),
            }
        };
        Ok(Self {
            day: Day::new(now, seed),
            place,
            phones: sockets.into_iter().enumerate().map(phone).collect(),
            on_the_phone,
            tally: Tally::default(),
            complaints: Vec::new(),
            next_look: now + LOOK,
            still: false,
            leaving: false,
            buffer: vec![0; 65_536],
        })
    }

    /// Numbers so far.
    pub fn tally(&self) -> Tally {
        Tally { lamps: self.phones.iter().map(|phone| phone.lamps.len()).sum(), ..self.tally }
    }

    /// How many desks have a call.
    pub fn busy(&self) -> usize {
        self.day.busy()
    }

    /// Takes what should not have happened since the last time.
    pub fn complaints(&mut self) -> Vec<Complaint> {
        std::mem::take(&mut self.complaints)
    }

    /// Nothing happens any more; phones still answer and lamps can be compared one last time.
    pub fn stand_still(&mut self) {
        self.still = true;
    }

    /// Everybody goes home, one after another: publications are removed, subscriptions ended.
    pub fn leave(&mut self, now: Time) {
        self.stand_still();
        self.leaving = true;
        for (at, phone) in self.phones.iter_mut().enumerate() {
            phone.todo.clear();
            phone.undo = phone.lamps.keys().copied().collect();
            phone.starts = now + ARRIVAL * at as u32;
        }
    }

    /// Whether everybody has gone home.
    pub fn is_empty(&self) -> bool {
        self.leaving && self.phones.iter().all(|phone| phone.agent.is_idle())
    }

    /// Waits until something is due, something has arrived, `signal` is readable, or `until`; and does what is due.
    pub fn step(&mut self, clock: &impl Fn() -> Time, until: Time, signal: &impl AsFd) -> io::Result<()> {
        let wait = self.deadline().min(until).since(clock());
        let timeout = PollTimeout::try_from(wait.as_micros().div_ceil(1000).min(60_000)).unwrap_or(PollTimeout::MAX);
        let mut fds: Vec<PollFd<'_>> =
            self.phones.iter().map(|phone| PollFd::new(phone.socket.as_fd(), PollFlags::POLLIN)).collect();
        fds.push(PollFd::new(signal.as_fd(), PollFlags::POLLIN));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<usize> = (0..self.phones.len()).filter(|at| fds[*at].any().unwrap_or_default()).collect();
        for at in ready {
            self.receive(clock, at);
        }
        self.handle_timeout(clock());
        Ok(())
    }

    fn deadline(&self) -> Time {
        let phones = self.phones.iter().map(|phone| {
            let agent = phone.agent.deadline().unwrap_or(Time::NEVER);
            let busy = !phone.todo.is_empty() || !phone.undo.is_empty() || self.leaving != phone.published.is_empty();
            if busy { agent.min(phone.starts) } else { agent }
        });
        let day = if self.still { Time::NEVER } else { self.day.deadline() };
        phones.fold(self.next_look.min(day), Time::min)
    }

    fn receive(&mut self, clock: &impl Fn() -> Time, at: usize) {
        for _ in 0..BURST {
            // An error is an ICMP message about something sent earlier, which will be sent again.
            let Ok((length, from)) = self.phones[at].socket.recv_from(&mut self.buffer) else { return };
            let (now, mut out) = (clock(), Vec::new());
            let input = Input::Message { flow: Flow::udp(0, from), bytes: &self.buffer[..length] };
            self.phones[at].agent.handle(now, input, &mut out);
            self.take(now, at, out);
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        let mut changed = Vec::new();
        if !self.still {
            self.day.handle_timeout(now, &mut changed);
        }
        for Changed { desk, kind } in changed {
            self.publish(now, desk, kind);
        }
        for at in 0..self.phones.len() {
            if self.phones[at].agent.deadline().is_some_and(|due| due <= now) {
                let mut out = Vec::new();
                self.phones[at].agent.handle(now, Input::Tick, &mut out);
                self.take(now, at, out);
            }
            if self.phones[at].starts <= now {
                self.phones[at].starts = now + ARRIVAL;
                if self.leaving { self.go_down(now, at) } else { self.come_up(now, at) }
            }
        }
        if self.next_look <= now {
            self.next_look = now + LOOK;
            self.compare(now);
        }
    }

    /// A phone comes up: it publishes itself, then subscribes bit by bit.
    fn come_up(&mut self, now: Time, at: usize) {
        if self.phones[at].published.is_empty() {
            if at < PEOPLE.len() {
                self.start_publishing(now, at, at, Kind::Dialog);
                self.start_publishing(now, at, at, Kind::Presence);
            } else {
                (0..PEOPLE.len()).for_each(|desk| self.start_publishing(now, at, desk, Kind::Voicemail));
            }
        }
        let (mut out, phone) = (Vec::new(), &mut self.phones[at]);
        for interest in phone.todo.drain(..AT_A_TIME.min(phone.todo.len())) {
            let watch = Watch {
                resource: self.place.address(interest.person).into(),
                event: interest.kind.event().into(),
                accept: interest.kind.content_type().into(),
                expires: Some(LEASE),
                ..Watch::default()
            };
            let Some(id) = phone.agent.subscribe(now, watch, &mut out) else { continue };
            phone.lamps.insert(id, Lamp { interest, shows: Known::Nothing, since: now, wrong: false });
        }
        self.take(now, at, out);
    }

    /// A phone goes down: it removes what it published, then unsubscribes bit by bit.
    fn go_down(&mut self, now: Time, at: usize) {
        let (mut out, phone) = (Vec::new(), &mut self.phones[at]);
        for (id, _) in std::mem::take(&mut phone.published).into_values() {
            phone.agent.withdraw(now, id, &mut out);
        }
        for id in phone.undo.drain(..AT_A_TIME.min(phone.undo.len())) {
            phone.agent.unsubscribe(now, id, &mut out);
        }
        self.take(now, at, out);
    }

    fn start_publishing(&mut self, now: Time, at: usize, desk: usize, kind: Kind) {
        let (mut out, phone) = (Vec::new(), &mut self.phones[at]);
        let record = Record {
            resource: self.place.address(desk).into(),
            event: kind.event().into(),
            content_type: kind.content_type().into(),
            expires: Some(LEASE),
            body: Body::plain(self.place.document(&self.day, desk, kind, 0)),
            ..Record::default()
        };
        if let Some(id) = phone.agent.publish(now, record, &mut out) {
            phone.published.insert((desk, kind), (id, 0));
        }
        self.take(now, at, out);
    }

    /// Something has changed: whoever vouches for it says so.
    fn publish(&mut self, now: Time, desk: usize, kind: Kind) {
        let at = if kind == Kind::Voicemail { PEOPLE.len() } else { desk };
        let Some((id, version)) = self.phones[at].published.get_mut(&(desk, kind)) else { return };
        *version += 1;
        let (id, version) = (*id, *version);
        let body = Body::plain(self.place.document(&self.day, desk, kind, version));
        let mut out = Vec::new();
        self.phones[at].agent.update(now, id, body, &mut out);
        self.tally.changes += 1;
        self.take(now, at, out);
    }

    fn take(&mut self, now: Time, at: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { flow, bytes } => {
                    // What cannot be sent now is as good as lost, and will be sent again.
                    let _ = self.phones[at].socket.send_to(&bytes, flow.remote);
                }
                Output::Event(event) => self.learn(now, at, event),
                // The server is an address, and nothing outlives the demo.
                Output::Resolve { .. } | Output::Save { .. } => {}
            }
        }
    }

    fn learn(&mut self, now: Time, at: usize, event: Event) {
        let who = self.place.party(match at < PEOPLE.len() {
            true => super::day::Party::Desk(at),
            false => super::day::Party::Voicemail,
        });
        let phone = &mut self.phones[at];
        match event {
            Event::Notified { id, notification, .. } => {
                self.tally.notifications += 1;
                let Some(lamp) = phone.lamps.get_mut(&id) else { return };
                let resource = self.place.address(lamp.interest.person);
                if let Err(what) = lamp.show(now, &resource, notification) {
                    self.tally.faults += 1;
                    self.complaints.push(Complaint { what: format!("{} was told {what}", who.0), resource });
                }
            }
            Event::SubscriptionLost { id, cause, .. } => {
                if let Some(lamp) = phone.lamps.get_mut(&id) {
                    let resource = self.place.address(lamp.interest.person);
                    let what = format!("{}'s subscription to {}", who.0, lamp_name(lamp.interest));
                    // Until there is a subscription again, the lamp knows nothing.
                    (lamp.shows, lamp.since) = (Known::Nothing, now);
                    self.complain(resource, what, cause);
                }
            }
            Event::RefreshFailed { id, cause, .. } => {
                if let Some(lamp) = phone.lamps.get(&id) {
                    let resource = self.place.address(lamp.interest.person);
                    let what = format!("{}'s renewed subscription to {}", who.0, lamp_name(lamp.interest));
                    self.complain(resource, what, cause);
                }
            }
            Event::PublicationLost { id, cause, .. } => {
                let what = phone.published.iter().find(|(_, (publication, _))| *publication == id);
                if let Some((&(desk, kind), _)) = what {
                    let resource = self.place.address(desk);
                    self.complain(resource, format!("{}'s publication of its {}", who.0, kind.event()), cause);
                }
            }
            Event::Refused { status } => {
                self.tally.faults += 1;
                let what = format!("{} answered a NOTIFY with {status}", who.0);
                self.complaints.push(Complaint { resource: who.0, what });
            }
            Event::Unsubscribed { id } => {
                phone.lamps.remove(&id);
            }
            Event::Withdrawn { .. }
            | Event::Subscribed { .. }
            | Event::Published { .. }
            | Event::Answered { .. }
            | Event::ForkEnded { .. } => {}
        }
    }

    fn complain(&mut self, resource: String, what: String, cause: Cause) {
        self.tally.faults += 1;
        let why = match cause {
            Cause::Status(status) => format!("was answered with {status}"),
            Cause::Timeout => "was not answered".into(),
            Cause::Unreachable => "could not be sent".into(),
            Cause::Shunned(_) => "was not sent, since the server answers nobody".into(),
            Cause::Confused => "got NOTIFYs that make no sense".into(),
            Cause::NoNotify => "was accepted, but no NOTIFY came".into(),
            Cause::NoEntityTag => "was accepted without an entity-tag".into(),
            Cause::Expired => "ran out".into(),
            Cause::Terminated(reason) => format!("was terminated ({reason})"),
        };
        self.complaints.push(Complaint { resource, what: format!("{what} {why}") });
    }

    /// Compares every lamp with the truth, if both have stood for the grace.
    pub fn compare(&mut self, now: Time) {
        if self.leaving {
            return;
        }
        for (at, phone) in self.phones.iter_mut().enumerate() {
            for lamp in phone.lamps.values_mut() {
                let Interest { person, kind } = lamp.interest;
                let publisher_up = self.day.changed(person, kind);
                // A lamp that shows nothing is given the time since it was subscribed.
                let settled = publisher_up.max(if lamp.shows == Known::Nothing { lamp.since } else { publisher_up });
                if now.since(settled) < GRACE {
                    continue;
                }
                self.tally.comparisons += 1;
                let truth = lamp::truth(&self.day, &self.place, person, kind, self.on_the_phone);
                let wrong = lamp.shows != truth;
                if wrong && !lamp.wrong {
                    self.tally.wrong += 1;
                    let what = format!(
                        "{}'s lamp for {} shows {}, but for {:.1} s the truth is {truth}",
                        PEOPLE[at].extension,
                        PEOPLE[person].extension,
                        lamp.shows,
                        now.since(publisher_up).as_secs_f64()
                    );
                    self.complaints.push(Complaint { resource: self.place.address(person), what });
                }
                lamp.wrong = wrong;
            }
        }
    }
}

fn lamp_name(interest: Interest) -> String {
    format!("{}'s {}", PEOPLE[interest.person].extension, interest.kind.event())
}

impl Lamp {
    /// Shows what a NOTIFY said.
    fn show(&mut self, now: Time, resource: &str, notification: Notification) -> Result<(), String> {
        let Notification { standing, content_type, body, order, .. } = notification;
        if standing != Standing::Active || body.is_empty() {
            return Ok(());
        }
        let Interest { kind, .. } = self.interest;
        if *content_type != *kind.content_type() {
            return Err(format!("of {} in {content_type}", lamp_name(self.interest)));
        }
        match order {
            // RFC 4235 section 4.3: what is not newer is not shown.
            Order::Stale => return Err(format!("an old version of {}", lamp_name(self.interest))),
            Order::Unversioned | Order::First | Order::Next | Order::Gap => {}
        }
        let known = lamp::read(kind, &body, resource)
            .map_err(|problem| format!("of {} what it cannot read: {problem}", lamp_name(self.interest)))?;
        (self.shows, self.since) = (known, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A gateway that accepts everything and tells each watcher once: that nobody is in a call, nor anywhere else.
    struct Liar(UdpSocket);

    impl Liar {
        fn answer(&self) {
            let mut buffer = [0; 8192];
            while let Ok((length, from)) = self.0.recv_from(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let field =
                    |name: &str| text.split("\r\n").find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                let (via, caller, callee) = (field("Via: "), field("From: "), field("To: "));
                let (call_id, cseq) = (field("Call-ID: "), field("CSeq: "));
                if text.starts_with("SIP/2.0") {
                    continue;
                }
                let callee = if callee.contains(";tag=") { callee.to_owned() } else { format!("{callee};tag=x") };
                let echoed =
                    format!("Via: {via}\r\nFrom: {caller}\r\nTo: {callee}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}");
                let expires = field("Expires: ");
                let answer = format!(
                    "SIP/2.0 200 OK\r\n{echoed}\r\nSIP-ETag: e\r\nExpires: {expires}\r\nContent-Length: 0\r\n\r\n"
                );
                self.0.send_to(answer.as_bytes(), from).unwrap();
                if !text.starts_with("SUBSCRIBE") {
                    continue;
                }
                let resource = text.split(' ').nth(1).unwrap();
                let state = if expires == "0" { "terminated" } else { "active" };
                let (accept, event) = (field("Accept: "), field("Event: "));
                let body = match event {
                    "dialog" => format!(
                        "<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info' version='0' state='full' \
                         entity='{resource}'/>"
                    ),
                    "presence" => format!("<presence entity='{resource}'/>"),
                    _ => "Messages-Waiting: no\r\n".to_owned(),
                };
                let notify = format!(
                    "NOTIFY sip:x SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{call_id}{expires}\r\nFrom: {callee}\r\n\
                     To: {caller}\r\nCall-ID: {call_id}\r\nCSeq: {} NOTIFY\r\nMax-Forwards: 70\r\nEvent: {event}\r\n\
                     Subscription-State: {state}\r\nContent-Type: {accept}\r\nContent-Length: {}\r\n\r\n{body}",
                    cseq.split(' ').next().unwrap(),
                    body.len()
                );
                self.0.send_to(notify.as_bytes(), from).unwrap();
            }
        }
    }

    #[test]
    fn lamps_that_are_told_something_false_are_found() {
        let liar = Liar(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        liar.0.set_nonblocking(true).unwrap();
        let now = Cell::new(Time::from_micros(1_800_000_000_000_000));
        let clock = || now.get();
        let server = liar.0.local_addr().unwrap();
        let mut office = Office::open(clock(), server, "office.example", 1, true).unwrap();
        // Simulated time: 20 s in steps of 10 ms, which poll never waits for.
        let play = |office: &mut Office, steps: u32| {
            for _ in 0..steps {
                now.set(now.get() + Duration::from_millis(10));
                liar.answer();
                office.step(&clock, clock(), &liar.0).unwrap();
            }
        };
        play(&mut office, 2000);
        let tally = office.tally();
        assert_eq!(tally.lamps, (0..PEOPLE.len()).map(|at| interests(at).len()).sum::<usize>());
        assert_eq!(tally.faults, 0, "{:?}", office.complaints());
        assert!(tally.wrong > 10 && tally.comparisons > tally.wrong, "{tally:?}");
        let complaints = office.complaints();
        assert_eq!(complaints.len() as u64, tally.wrong);
        let says = |what: &str| complaints.iter().any(|complaint| complaint.what.contains(what));
        assert!(says("shows no call, but for"), "{complaints:?}");
        assert!(says("shows closed {} {}, but for"), "{complaints:?}");
        office.leave(clock());
        play(&mut office, 200);
        assert!(office.is_empty());
    }
}
