//! A virtual phone: watches others, publishes its calls, keeps one voicemail box, and is written without any code of
//! the engine.

use crate::world::Random;
use lamplighter_model::{Flow, Time, Transport};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const T1: Duration = Duration::from_millis(500);

pub struct Wire {
    pub flow: Flow,
    pub text: String,
}

pub enum Action {
    Send(Wire),
    WakeAt(Time),
    /// The end of this call has been acknowledged.
    Ended(String),
}

/// A request that has not been answered.
struct Transaction {
    branch: String,
    text: String,
    started: Time,
    next: Time,
    tries: u32,
}

#[derive(Clone)]
struct Call {
    id: String,
    state: &'static str,
}

/// What the phone publishes for one package.
struct Publisher {
    package: &'static str,
    tag: Option<String>,
    cseq: u32,
    call_id: String,
    dirty: bool,
    refresh: Time,
    retry: Time,
    /// Since when what it says has been acknowledged and has not changed.
    settled: Option<Time>,
    pending: Option<Transaction>,
    /// Calls whose end the pending request tells.
    ending: Vec<String>,
    removed: bool,
    /// Until when the gateway holds what it has acknowledged, at least.
    promised: Time,
}

/// A subscription of the phone.
pub struct Watch {
    pub target: usize,
    pub package: &'static str,
    /// What the lamp shows.
    pub shown: Option<BTreeMap<String, String>>,
    call_id: String,
    local_tag: String,
    remote_tag: Option<String>,
    remote_target: String,
    cseq: u32,
    notified: u32,
    expires: u64,
    refresh: Time,
    /// Since when the gateway has known it.
    known: Option<Time>,
    pending: Option<Transaction>,
    gone: bool,
    /// Until when the gateway holds what it has acknowledged, at least.
    promised: Time,
}

pub struct Phone {
    pub number: usize,
    pub watches: Vec<Watch>,
    silent_until: Time,
    /// When the first silence of several in a row began.
    silent_from: Time,
    was_silent: bool,
    /// When it last rebooted, and when it last lost its connection.
    disturbed: (Time, Time),
    pub quiet: bool,
    pub leaving: bool,
    calls: Vec<Call>,
    messages: u32,
    publishers: Vec<Publisher>,
    life: u32,
    made: u64,
    connection: Option<u64>,
    next_event: Time,
    /// How long its publications hold, seconds.
    lease: u64,
}

/// The address of phone `number`.
pub fn uri(number: usize) -> String {
    format!("sip:{number}@example.com")
}

/// The value of the first header of that name.
pub fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let head = text.split("\r\n\r\n").next()?;
    let line = head
        .split("\r\n")
        .find(|line| line.split_once(':').is_some_and(|(found, _)| found.trim().eq_ignore_ascii_case(name)))?;
    Some(line.split_once(':')?.1.trim())
}

/// The tag parameter behind a name-addr.
pub fn tag(value: &str) -> Option<&str> {
    value.split(";tag=").nth(1).map(|tag| tag.split(';').next().unwrap_or(tag))
}

/// The first attribute of that name.
pub fn attribute<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let at = text.find(&format!(" {name}=\""))? + name.len() + 3;
    text[at..].split('"').next()
}

/// All dialogs of a document: Call-ID and state.
pub fn dialogs(body: &str) -> Vec<(String, String)> {
    body.split("<dialog ")
        .skip(1)
        .filter_map(|part| {
            let call = attribute(&format!(" {part}"), "call-id")?.to_owned();
            let state = part.split("<state").nth(1)?.split('>').nth(1)?.split('<').next()?.to_owned();
            Some((call, state))
        })
        .collect()
}

impl Phone {
    pub fn new(number: usize, watched: Vec<usize>, lease: u64) -> Self {
        let watch = |(place, target): (usize, usize)| Watch {
            target,
            package: if place == 3 { "message-summary" } else { "dialog" },
            shown: None,
            call_id: String::new(),
            local_tag: String::new(),
            remote_tag: None,
            remote_target: String::new(),
            cseq: 0,
            notified: 0,
            // Some refresh often, others so seldom that no refresh can hide a NOTIFY that was lost.
            expires: if place.is_multiple_of(2) { 120 } else { 3600 },
            refresh: Time::default(),
            known: None,
            pending: None,
            gone: false,
            promised: Time::default(),
        };
        let publisher = |package| Publisher {
            package,
            tag: None,
            cseq: 0,
            call_id: String::new(),
            dirty: true,
            refresh: Time::NEVER,
            retry: Time::default(),
            settled: None,
            pending: None,
            ending: Vec::new(),
            removed: false,
            promised: Time::default(),
        };
        let mut watched = watched;
        watched.dedup();
        let mut phone = Self {
            number,
            watches: watched.into_iter().enumerate().map(watch).collect(),
            silent_until: Time::default(),
            silent_from: Time::default(),
            was_silent: false,
            disturbed: (Time::default(), Time::default()),
            quiet: false,
            leaving: false,
            calls: Vec::new(),
            messages: 0,
            publishers: vec![publisher("dialog"), publisher("message-summary")],
            life: 0,
            made: 0,
            connection: number.is_multiple_of(5).then_some(number as u64 * 1_000_000 + 1),
            next_event: Time::default(),
            lease,
        };
        phone.reboot(Time::default());
        phone
    }

    /// Its mailbox belongs to a presentity of its own; nobody else publishes there.
    pub fn presentity(&self) -> usize {
        self.number
    }

    /// Hears and says nothing for a while.
    pub fn silence(&mut self, now: Time, time: Duration) {
        // What the gateway tried in one and again in the next counts together, unless it got through in between.
        if now > self.silent_until + Duration::from_secs(70) {
            self.silent_from = now;
        }
        self.silent_until = now + time;
    }

    /// Goes home: gives up what it holds, or is unplugged without a word.
    pub fn leave(&mut self, unplugged: bool) {
        self.leaving = true;
        if unplugged {
            self.silent_until = Time::NEVER;
        }
    }

    /// Forgets everything; what it said before stays with the gateway until the lease ends.
    pub fn reboot(&mut self, now: Time) {
        self.life += 1;
        self.disturbed.0 = now;
        for (place, watch) in self.watches.iter_mut().enumerate() {
            watch.call_id = format!("w{}-{place}-{}", self.number, self.life);
            watch.local_tag = format!("t{}x{place}x{}", self.number, self.life);
            (watch.remote_tag, watch.cseq, watch.notified, watch.pending) = (None, 0, 0, None);
            watch.refresh = Time::default();
            (watch.shown, watch.known, watch.promised) = (None, None, Time::default());
        }
        for publisher in &mut self.publishers {
            publisher.call_id = format!("p{}-{}-{}", self.number, publisher.package, self.life);
            (publisher.tag, publisher.cseq, publisher.pending, publisher.dirty) = (None, 0, None, true);
            (publisher.settled, publisher.promised) = (None, Time::default());
            publisher.ending.clear();
        }
        // A phone that boots has no calls; what it had ended with it, unsaid.
        self.calls.clear();
    }

    /// Forgets the names of its publications, as a publisher does that never got our answer, and says all again.
    pub fn forget_tags(&mut self) {
        for publisher in &mut self.publishers {
            if publisher.pending.is_none() {
                (publisher.tag, publisher.dirty, publisher.promised) = (None, true, Time::default());
            }
        }
    }

    /// Whether what it says has held so long that all watchers must show it.
    pub fn is_settled(&self, now: Time, package: &str) -> bool {
        let publisher = self.publishers.iter().find(|one| one.package == package).expect("one of each");
        let calm =
            now > self.silent_until + Duration::from_secs(100) && now > self.disturbed.0 + Duration::from_secs(100);
        calm && !publisher.dirty && publisher.settled.is_some_and(|since| now > since + Duration::from_secs(35))
    }

    /// Whether it has listened so long that its lamps must be right.
    pub fn is_attentive(&self, now: Time, watch: &Watch) -> bool {
        let (booted, disconnected) = self.disturbed;
        // A watcher that did not answer is probed after 30 s, then after 60.
        let calm = now > self.silent_until.max(booted).max(disconnected) + Duration::from_secs(150);
        calm && watch.pending.is_none() && watch.known.is_some_and(|since| now > since + Duration::from_secs(35))
    }

    /// Its stream breaks; the flow that is no more.
    pub fn disconnect(&mut self, now: Time) -> Option<Flow> {
        let flow = self.flow();
        self.connection = Some(self.connection? + 1);
        self.disturbed.1 = now;
        // Some come back at once, by the new connection; the others wait to be called, as their Contact allows.
        for watch in self.watches.iter_mut().filter(|watch| watch.expires < 3600) {
            watch.refresh = Time::default();
        }
        Some(flow)
    }

    /// The gateway's clock has jumped ahead, and ended leases that still ran: somebody notices soon.
    pub fn surprised(&mut self, now: Time, random: &mut Random) {
        self.disturbed.0 = now;
        for publisher in &mut self.publishers {
            publisher.promised = Time::default();
        }
        for watch in &mut self.watches {
            watch.refresh = watch.refresh.min(now + random.duration(Duration::from_secs(60)));
            watch.promised = Time::default();
            if watch.known.is_none() {
                (watch.remote_tag, watch.notified) = (None, 0); // it is told another tag when it asks again
            }
        }
    }

    /// The entity-tags of its publications that must be there, by package.
    pub fn acknowledged(&self, now: Time) -> impl Iterator<Item = (&'static str, &str)> {
        let sure = move |one: &&Publisher| !self.leaving && now < one.promised;
        self.publishers.iter().filter(sure).filter_map(|one| Some((one.package, one.tag.as_deref()?)))
    }

    /// Our tags of its subscriptions that must be there: it has heard and said everything for long.
    pub fn subscribed(&self, now: Time) -> impl Iterator<Item = &str> {
        let (booted, disconnected) = self.disturbed;
        let calm = now > self.silent_until.max(booted).max(disconnected) + Duration::from_secs(300);
        let sure = move |one: &&Watch| calm && !self.leaving && now < one.promised;
        self.watches.iter().filter(sure).filter_map(|one| one.remote_tag.as_deref())
    }

    fn flow(&self) -> Flow {
        let remote = SocketAddr::from(([10, 0, 0, 1], 10_000 + self.number as u16));
        match self.connection {
            None => Flow::udp(0, remote),
            Some(connection) => Flow { transport: Transport::Tcp, listener: 1, connection, remote, local: None },
        }
    }

    pub fn calls_now(&self) -> impl Iterator<Item = (String, String)> {
        self.calls.iter().map(|call| (call.id.clone(), call.state.to_owned()))
    }

    pub fn messages_now(&self) -> Option<String> {
        Some(self.messages.to_string())
    }

    /// Life goes on, timers fire.
    pub fn wake(&mut self, now: Time, random: &mut Random, out: &mut Vec<Action>) {
        let busy = self.publishers.iter().any(|one| one.pending.is_some())
            || self.watches.iter().any(|one| one.pending.is_some());
        let pause = if busy { 250 } else { 1500 };
        let done = self.publishers.iter().all(|one| one.removed) && self.watches.iter().all(|one| one.gone);
        if self.leaving && (done && !busy || self.silent_until == Time::NEVER) {
            return;
        }
        out.push(Action::WakeAt(now + Duration::from_millis(pause + random.below(pause))));
        if now < self.silent_until {
            self.was_silent = true;
            return;
        }
        if std::mem::take(&mut self.was_silent) {
            // Back in the network: asks whether the gateway still knows it. After a short silence some ask nothing,
            // so that only the gateway's own probe can set their lamps right.
            let short = now < self.silent_from + Duration::from_secs(90);
            for watch in self.watches.iter_mut().filter(|watch| !short || watch.expires < 3600) {
                watch.refresh = watch.refresh.min(now);
            }
        }
        if now >= self.next_event && !self.quiet {
            self.next_event = now + Duration::from_secs(1) + random.duration(Duration::from_secs(20));
            self.live(random);
        }
        for place in 0..self.publishers.len() {
            self.publish(place, now, out);
        }
        for place in 0..self.watches.len() {
            self.watch(place, now, out);
        }
    }

    /// Something happens in the office.
    fn live(&mut self, random: &mut Random) {
        let dirty = |publisher: &mut Publisher| (publisher.dirty, publisher.settled) = (true, None);
        match random.below(5) {
            0 if self.calls.len() < 3 => {
                self.made += 1;
                let id = format!("call-{}-{}-{}", self.number, self.life, self.made);
                self.calls.push(Call { id, state: "early" });
                dirty(&mut self.publishers[0]);
            }
            1 | 2 => {
                if let Some(call) = self.calls.iter_mut().find(|call| call.state == "early") {
                    call.state = "confirmed";
                    dirty(&mut self.publishers[0]);
                }
            }
            3 if !self.calls.is_empty() => {
                let place = random.below(self.calls.len() as u64) as usize;
                let call = self.calls.remove(place);
                self.publishers[0].ending.push(call.id);
                dirty(&mut self.publishers[0]);
            }
            _ => {
                self.messages = random.below(9) as u32;
                dirty(&mut self.publishers[1]);
            }
        }
    }

    fn publish(&mut self, place: usize, now: Time, out: &mut Vec<Action>) {
        let (flow, number) = (self.flow(), self.number);
        let (calls, messages, leaving, lease) = (self.calls.clone(), self.messages, self.leaving, self.lease);
        let publisher = &mut self.publishers[place];
        match publisher.pending.as_mut().map(|pending| pending.retransmit(now, flow, out)) {
            Some(true) => return,
            Some(false) => {
                // Nobody answered: whatever came of it, say everything again.
                (publisher.pending, publisher.tag, publisher.dirty) = (None, None, true);
                (publisher.settled, publisher.promised) = (None, Time::default());
            }
            None => {}
        }
        if now < publisher.retry {
            return;
        }
        let refresh = now >= publisher.refresh;
        if leaving && publisher.removed {
            return;
        }
        if !(publisher.dirty || refresh || leaving) {
            return;
        }
        let expires = if leaving && publisher.tag.is_some() { 0 } else { lease };
        if leaving && publisher.tag.is_none() {
            publisher.removed = true;
            return;
        }
        let body = if publisher.dirty || publisher.tag.is_none() {
            match publisher.package {
                "dialog" => dialog_info(number, &calls, &publisher.ending),
                _ => format!(
                    "Messages-Waiting: {}\r\nMessage-Account: {}\r\nVoice-Message: {messages}/0\r\n",
                    if messages > 0 { "yes" } else { "no" },
                    uri(number)
                ),
            }
        } else {
            String::new()
        };
        publisher.dirty = false;
        publisher.cseq += 1;
        let branch = format!("z9hG4bKp{number}x{place}x{}x{}", self.life, publisher.cseq);
        let kind = if publisher.package == "dialog" {
            "application/dialog-info+xml"
        } else {
            "application/simple-message-summary"
        };
        let mut text = format!(
            "PUBLISH {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {host};branch={branch};rport\r\nFrom: <{uri}>;tag=f{place}\r\n\
             To: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} PUBLISH\r\nMax-Forwards: 70\r\nEvent: {package}\r\n\
             Expires: {expires}\r\n",
            uri = uri(number),
            transport = flow.transport.via(),
            host = flow.remote,
            call_id = publisher.call_id,
            cseq = publisher.cseq,
            package = publisher.package,
        );
        if let Some(tag) = &publisher.tag {
            text += &format!("SIP-If-Match: {tag}\r\n");
        }
        if !body.is_empty() {
            text += &format!("Content-Type: {kind}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        publisher.pending = Some(Transaction::start(now, branch, text, flow, out));
    }

    fn watch(&mut self, place: usize, now: Time, out: &mut Vec<Action>) {
        let (flow, number, leaving, life) = (self.flow(), self.number, self.leaving, self.life);
        let watch = &mut self.watches[place];
        match watch.pending.as_mut().map(|pending| pending.retransmit(now, flow, out)) {
            Some(true) => return,
            Some(false) => {
                watch.pending = None;
                watch.anew(now);
            }
            None => {}
        }
        if watch.gone || (now < watch.refresh && !leaving) {
            return;
        }
        if leaving && watch.remote_tag.is_none() {
            watch.gone = true;
            return;
        }
        watch.cseq += 1;
        let branch = format!("z9hG4bKs{number}x{place}x{life}x{}x{}", watch.cseq, watch.call_id);
        let target = if watch.remote_tag.is_some() { watch.remote_target.clone() } else { uri(watch.target) };
        let to_tag = watch.remote_tag.as_ref().map_or_else(String::new, |tag| format!(";tag={tag}"));
        let stream = if flow.transport.is_stream() { ";transport=tcp" } else { "" };
        let text = format!(
            "SUBSCRIBE {target} SIP/2.0\r\nVia: SIP/2.0/{transport} {host};branch={branch};rport\r\n\
             From: <{own}>;tag={tag}\r\nTo: <{to}>{to_tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} SUBSCRIBE\r\n\
             Contact: <sip:{number}@{host}{stream}>\r\nMax-Forwards: 70\r\nEvent: {package};id={place}\r\n\
             Expires: {expires}\r\nContent-Length: 0\r\n\r\n",
            transport = flow.transport.via(),
            host = flow.remote,
            own = uri(number),
            to = uri(watch.target),
            tag = watch.local_tag,
            call_id = watch.call_id,
            cseq = watch.cseq,
            package = watch.package,
            expires = if leaving { 0 } else { watch.expires },
        );
        watch.refresh = Time::NEVER;
        if leaving {
            watch.gone = true;
        }
        watch.pending = Some(Transaction::start(now, branch, text, flow, out));
    }

    pub fn receive(&mut self, now: Time, connection: u64, text: &str, out: &mut Vec<Action>) {
        let gone = self.connection.is_some_and(|own| connection != 0 && connection != own);
        if now < self.silent_until || gone {
            return;
        }
        if text.starts_with("NOTIFY") { self.notify(now, connection, text, out) } else { self.response(now, text, out) }
    }

    fn response(&mut self, now: Time, text: &str, out: &mut Vec<Action>) {
        let status: u16 = text[8..11].parse().expect("a status");
        let branch = header(text, "Via").and_then(|via| via.split("branch=").nth(1)).expect("our branch comes back");
        let branch = branch.split(';').next().unwrap_or(branch);
        let matches = |pending: &Option<Transaction>| pending.as_ref().is_some_and(|one| one.branch == branch);
        if let Some(publisher) = self.publishers.iter_mut().find(|one| matches(&one.pending)) {
            let sent = publisher.pending.take().map_or(now, |one| one.started);
            match status {
                200 => {
                    publisher.promised = sent + Duration::from_secs(self.lease);
                    if header(text, "Expires") == Some("0") || self.leaving {
                        publisher.removed = self.leaving;
                    }
                    publisher.tag = header(text, "SIP-ETag").map(str::to_owned);
                    publisher.refresh = now + Duration::from_secs(self.lease / 2);
                    if !publisher.dirty {
                        publisher.settled.get_or_insert(now);
                        for call in publisher.ending.drain(..) {
                            out.push(Action::Ended(call));
                        }
                    }
                }
                412 => {
                    assert!(self.leaving || now >= publisher.promised, "an acknowledged publication is gone:\n{text}");
                    (publisher.tag, publisher.dirty, publisher.removed) = (None, true, self.leaving);
                    publisher.settled = None;
                }
                503 => {
                    (publisher.dirty, publisher.settled) = (true, None);
                    publisher.retry = now + Duration::from_secs(5);
                }
                other => panic!("PUBLISH was answered {other}:\n{text}"),
            }
            return;
        }
        if let Some(watch) = self.watches.iter_mut().find(|one| matches(&one.pending)) {
            let sent = watch.pending.take().map_or(now, |one| one.started);
            match status {
                200 => {
                    watch.promised = sent + Duration::from_secs(watch.expires);
                    let to = tag(header(text, "To").unwrap()).expect("a 200 to SUBSCRIBE has a tag").to_owned();
                    if let Some(known) = &watch.remote_tag {
                        assert_eq!(*known, to, "the To tag of the 200 is not the dialog's: {}", watch.call_id);
                    }
                    watch.remote_tag = Some(to);
                    let contact = header(text, "Contact").expect("a 200 to SUBSCRIBE has a Contact");
                    watch.remote_target = contact.trim_matches(['<', '>']).to_owned();
                    watch.refresh = now + Duration::from_secs(watch.expires * 5 / 12);
                    watch.known.get_or_insert(now);
                }
                // 482: the gateway took the request of the life before for this one.
                481 | 482 | 500 => watch.anew(now),
                503 => watch.refresh = now + Duration::from_secs(5),
                other => panic!("SUBSCRIBE was answered {other}:\n{text}"),
            }
        }
    }

    fn notify(&mut self, now: Time, connection: u64, text: &str, out: &mut Vec<Action>) {
        let call_id = header(text, "Call-ID").unwrap();
        let to_tag = tag(header(text, "To").unwrap()).expect("a NOTIFY has our tag");
        let from_tag = tag(header(text, "From").unwrap()).expect("a NOTIFY has its tag");
        let flow = self.flow();
        let known = self.watches.iter_mut().find(|one| {
            one.call_id == call_id
                && one.local_tag == to_tag
                && one.remote_tag.as_ref().is_none_or(|tag| tag == from_tag)
        });
        let mut status = "481 Subscription does not exist";
        if let Some(watch) = known {
            status = "200 OK";
            let cseq: u32 = header(text, "CSeq").unwrap().split(' ').next().unwrap().parse().unwrap();
            let id = header(text, "Event").unwrap();
            assert!(id.starts_with(watch.package), "a NOTIFY of another package");
            if connection == 0 && flow.transport.is_stream() {
                watch.refresh = watch.refresh.min(now); // called by a connection of the gateway: comes back by its own
            }
            if cseq > watch.notified {
                watch.notified = cseq;
                if watch.remote_tag.is_none() {
                    watch.remote_tag = Some(from_tag.to_owned());
                    let contact = header(text, "Contact").expect("a NOTIFY has a Contact");
                    watch.remote_target = contact.trim_matches(['<', '>']).to_owned();
                }
                let state = header(text, "Subscription-State").unwrap();
                let body = text.split_once("\r\n\r\n").unwrap().1;
                if watch.package == "dialog" {
                    assert_eq!(attribute(body, "entity"), Some(&*uri(watch.target)), "the entity is wrong:\n{text}");
                    watch.shown = Some(dialogs(body).into_iter().filter(|(_, state)| state != "terminated").collect());
                } else {
                    let count = body.split("Voice-Message: ").nth(1).and_then(|rest| rest.split('/').next());
                    watch.shown = Some(count.map(|count| ("voice".to_owned(), count.to_owned())).into_iter().collect());
                }
                if state.starts_with("terminated") && !watch.gone {
                    watch.remote_tag = None;
                    watch.shown = None;
                    watch.refresh = Time::default();
                    watch.restart();
                }
            }
        }
        let echo = |name| format!("{name}: {}\r\n", header(text, name).unwrap());
        let answer = format!(
            "SIP/2.0 {status}\r\n{}{}{}{}{}Content-Length: 0\r\n\r\n",
            echo("Via"),
            echo("From"),
            echo("To"),
            echo("Call-ID"),
            echo("CSeq")
        );
        out.push(Action::Send(Wire { flow, text: answer }));
    }
}

impl Watch {
    /// The dialog is no more: a fresh one.
    fn anew(&mut self, now: Time) {
        if self.gone {
            return;
        }
        self.restart();
        self.refresh = now;
    }

    fn restart(&mut self) {
        self.promised = Time::default();
        self.call_id.push('n');
        self.local_tag.push('n');
        (self.remote_tag, self.cseq, self.notified, self.known) = (None, 0, 0, None);
    }
}

impl Transaction {
    fn start(now: Time, branch: String, text: String, flow: Flow, out: &mut Vec<Action>) -> Self {
        out.push(Action::Send(Wire { flow, text: text.clone() }));
        Self { branch, text, started: now, next: now + T1, tries: 1 }
    }

    /// Sends again what is due; false: nobody will answer any more.
    fn retransmit(&mut self, now: Time, flow: Flow, out: &mut Vec<Action>) -> bool {
        if now >= self.started + 64 * T1 {
            return false;
        }
        if now >= self.next && !flow.transport.is_stream() {
            out.push(Action::Send(Wire { flow, text: self.text.clone() }));
            self.next = now + (T1 * 2_u32.pow(self.tries)).min(Duration::from_secs(4));
            self.tries = (self.tries + 1).min(8);
        }
        true
    }
}

fn dialog_info(number: usize, calls: &[Call], ended: &[String]) -> String {
    let own = uri(number);
    let mut body = format!(
        "<?xml version=\"1.0\"?>\r\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" \
         state=\"full\" entity=\"{own}\">\r\n"
    );
    let gone = ended.iter().map(|id| (id, "terminated"));
    for (id, state) in calls.iter().map(|call| (&call.id, call.state)).chain(gone) {
        body += &format!(
            "<dialog id=\"{id}\" call-id=\"{id}\" local-tag=\"l\" remote-tag=\"r\" direction=\"recipient\">\
             <state>{state}</state></dialog>\r\n"
        );
    }
    body + "</dialog-info>\r\n"
}
