//! Stories in simulated time: what the agent sends and learns, one line each, against answers written by hand.

use super::*;
use crate::auth::{Credential, Credentials, Secret};
use crate::client::{Local, Notification};
use expect_test::{Expect, expect};
use lamplighter_model::Transport;
use std::collections::BTreeMap;

const SECOND: Duration = Duration::from_secs(1);
const START: Time = Time::from_micros(1_000_000_000_000);

/// An agent whose server is the test.
struct Bench {
    agent: Agent,
    now: Time,
    /// Every request that the agent has sent, whole.
    requests: Vec<Bytes>,
    /// Call-IDs in the order of their appearance: A, B, C.
    calls: Vec<String>,
    log: String,
    /// What a store would hold.
    saved: BTreeMap<u32, Standing>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// With other settings than the usual.
    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            address: "sip:101@office.example".into(),
            display: "Ann Lee".into(),
            user_agent: "Test".into(),
            locals: vec![Local {
                transport: Transport::Udp,
                listener: 0,
                sent_by: "127.0.0.1:40001".into(),
                contact: "sip:101@127.0.0.1:40001".into(),
            }],
            proxy: Some("sip:127.0.0.1:5060".into()),
            ..Settings::default()
        };
        change(&mut settings);
        let agent = Agent::new(START, settings, Seed(1, 2));
        Self { agent, now: START, requests: Vec::new(), calls: Vec::new(), log: String::new(), saved: BTreeMap::new() }
    }

    fn watch(&mut self) -> SubscriptionId {
        self.watch_this(usual())
    }

    fn watch_this(&mut self, watch: Watch) -> SubscriptionId {
        let mut out = Vec::new();
        let id = self.agent.subscribe(self.now, watch, &mut out);
        self.take(out);
        id.expect("there is room")
    }

    fn publish(&mut self, body: &'static str) -> PublicationId {
        self.publish_this(record(body))
    }

    fn publish_this(&mut self, record: Record) -> PublicationId {
        let mut out = Vec::new();
        let id = self.agent.publish(self.now, record, &mut out);
        self.take(out);
        id.expect("there is room")
    }

    fn update(&mut self, id: PublicationId, body: &'static str) {
        self.tell(|agent, now, out| agent.update(now, id, plain(body), out));
    }

    fn tell(&mut self, what: impl FnOnce(&mut Agent, Time, &mut Vec<Output>)) {
        let mut out = Vec::new();
        what(&mut self.agent, self.now, &mut out);
        self.take(out);
    }

    fn receive(&mut self, message: &str) {
        self.receive_bytes(message.replace('\n', "\r\n").as_bytes());
    }

    fn receive_bytes(&mut self, bytes: &[u8]) {
        self.tell(|agent, now, out| agent.handle(now, Input::Message { flow: flow(), bytes }, out));
    }

    /// Answers the newest request. `more` holds header lines.
    fn answer(&mut self, status: u16, more: &str) {
        self.answer_to(self.requests.len() - 1, status, more);
    }

    fn answer_to(&mut self, request: usize, status: u16, more: &str) {
        let request = self.requests[request].clone();
        let mut to = header(&request, "To");
        if !to.contains(";tag=") {
            to.push_str(";tag=srv");
        }
        let echoed = ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\n", header(&request, name)));
        self.receive(&format!("SIP/2.0 {status} X\n{}To: {to}\n{more}Content-Length: 0\n\n", echoed.concat()));
    }

    /// A NOTIFY in the dialog of the newest SUBSCRIBE.
    fn notify(&mut self, cseq: u32, state: &str, body: &str) {
        let notify = self.notify_text(cseq, state, body);
        self.receive(&notify);
    }

    fn notify_text(&self, cseq: u32, state: &str, body: &str) -> String {
        let request = self.requests.last().unwrap();
        let (call_id, to) = (header(request, "Call-ID"), header(request, "From"));
        let from = header(request, "To").replace(";tag=srv", "");
        format!(
            "NOTIFY sip:101@127.0.0.1:40001 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKn{cseq}\n\
             From: {from};tag=srv\nTo: {to}\nCall-ID: {call_id}\nCSeq: {cseq} NOTIFY\nMax-Forwards: 70\n\
             Contact: <sip:srv@127.0.0.1:5060>\nEvent: dialog\nSubscription-State: {state}\n\
             Content-Type: Application/Dialog-Info+XML;charset=utf-8\nContent-Length: {}\n\n{body}",
            body.len()
        )
    }

    /// Lets time pass, waking the agent when it wants to be.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.agent.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.tell(|agent, now, out| agent.handle(now, Input::Tick, out));
        }
        self.now = end;
    }

    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            let line = match output {
                Output::Send { flow: to, bytes } if to == flow() => self.line(bytes),
                Output::Send { flow, bytes } => {
                    format!("[{} {}] {}", flow.transport.via(), flow.remote, self.line(bytes))
                }
                Output::Resolve { query, host, .. } => format!("? {query} {host}"),
                Output::Save { key, standing } => {
                    match standing {
                        Some(standing) => self.saved.insert(key, *standing),
                        None => self.saved.remove(&key),
                    };
                    continue;
                }
                // Each request's end is told; most stories are about what follows from it.
                Output::Event(Event::Answered { .. }) => continue,
                Output::Event(event) => describe(event),
            };
            let at = self.now.since(START).as_secs_f64();
            self.log.push_str(&format!("{at:.1} {line}\n"));
        }
    }

    /// A sent message in one line.
    fn line(&mut self, bytes: Bytes) -> String {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let word = text.split(' ').next().unwrap_or_default();
        if word == "SIP/2.0" {
            return format!("> {} to CSeq {}", &text[8..11], header(&bytes, "CSeq"));
        }
        let again = self.requests.contains(&bytes);
        let call_id = header(&bytes, "Call-ID");
        let call = self.calls.iter().position(|one| *one == call_id).unwrap_or_else(|| {
            self.calls.push(call_id);
            self.calls.len() - 1
        });
        let mut line = format!("> {word} {}", char::from(b'A' + (call % 26) as u8));
        line.push_str(header(&bytes, "CSeq").split(' ').next().unwrap_or_default());
        for (name, short) in [("Expires", "expires"), ("SIP-If-Match", "if-match"), ("Route", "route")] {
            if text.contains(&format!("\r\n{name}: ")) {
                line.push_str(&format!(" {short}={}", header(&bytes, name)));
            }
        }
        if header(&bytes, "To").contains(";tag=") {
            line.push_str(&format!(" in dialog to {}", text.split(' ').nth(1).unwrap_or_default()));
        }
        if let Some((_, body)) = text.split_once("\r\n\r\n").filter(|(_, body)| !body.is_empty()) {
            line.push_str(&format!(" body={body}"));
        }
        if again {
            line.push_str(" (again)");
        } else {
            self.requests.push(bytes);
        }
        line
    }

    fn check(&mut self, expected: Expect) {
        expected.assert_eq(&std::mem::take(&mut self.log));
    }
}

fn usual() -> Watch {
    Watch {
        resource: "sip:102@office.example".into(),
        event: "dialog".into(),
        accept: "application/dialog-info+xml".into(),
        expires: Some(SECOND * 600),
        ..Watch::default()
    }
}

fn record(body: &'static str) -> Record {
    Record {
        resource: "sip:101@office.example".into(),
        event: "presence".into(),
        content_type: "application/pidf+xml".into(),
        expires: Some(SECOND * 600),
        body: plain(body),
        ..Record::default()
    }
}

fn plain(body: &'static str) -> Body {
    Body::plain(Bytes::from_static(body.as_bytes()))
}

fn flow() -> Flow {
    Flow::udp(0, "127.0.0.1:5060".parse().unwrap())
}

fn header(message: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(message);
    let line = text.split("\r\n").find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

fn describe(event: Event) -> String {
    let again = |again: Time| format!("again at {:.0}", again.since(START).as_secs_f64().floor());
    match event {
        Event::Subscribed { lease, .. } => format!("! subscribed for {lease:?}"),
        Event::Notified { fork, notification, .. } => {
            let Notification { standing, reason, content_type, body, order, .. } = notification;
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let fork = if fork == 0 { String::new() } else { format!(" fork {fork}") };
            format!("! {standing:?}{reason}{fork} {content_type} {order:?} {}", String::from_utf8_lossy(&body))
        }
        Event::ForkEnded { fork, .. } => format!("! fork {fork} ended"),
        Event::SubscriptionLost { state, cause, again: at, .. } => {
            let at = at.map_or("not again".to_owned(), again);
            format!("! subscription lost: {}, {cause}, {at}", state.name())
        }
        Event::RefreshFailed { cause, again: at, .. } => format!("! refresh failed: {cause}, {}", again(at)),
        Event::Published { lease, .. } => format!("! published for {lease:?}"),
        Event::PublicationLost { cause, again: at, .. } => format!("! publication lost: {cause}, {}", again(at)),
        Event::Unsubscribed { .. } => "! unsubscribed".to_owned(),
        Event::Withdrawn { .. } => "! withdrawn".to_owned(),
        Event::Answered { status, .. } => format!("! answered {status}"),
        Event::Refused { status } => format!("! refused with {status}"),
    }
}

fn document(version: u32) -> String {
    format!("<dialog-info version=\"{version}\"/>")
}

#[test]
fn a_subscription_is_refreshed_in_its_dialog_and_left_in_good_order() {
    let mut bench = Bench::new();
    let id = bench.watch();
    bench.answer(
        200,
        "Expires: 300\nContact: <sip:srv@127.0.0.1:5060>\nRecord-Route: <sip:127.0.0.1;p=2;lr>\nRecord-Route: <sip:127.0.0.1;p=1;lr>\n",
    );
    bench.notify(1, "active;expires=300", &document(0));
    bench.wait(SECOND * 300);
    bench.answer(200, "Expires: 600\nContact: <sip:moved@127.0.0.1:5060>\n");
    bench.notify(2, "active;expires=600", &document(1));
    bench.tell(|agent, now, out| agent.unsubscribe(now, id, out));
    bench.answer(200, "Expires: 0\n");
    assert!(!bench.agent.is_idle());
    bench.notify(3, "terminated;reason=timeout", "");
    assert!(bench.agent.is_idle());
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 ! subscribed for 300s
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml First <dialog-info version="0"/>
        236.0 > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060
        236.5 > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060 (again)
        237.5 > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060 (again)
        239.5 > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060 (again)
        243.5 > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060 (again)
        247.5 > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060 (again)
        251.5 > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060 (again)
        255.5 > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060 (again)
        259.5 > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060 (again)
        263.5 > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060 (again)
        267.5 > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060 (again)
        268.0 ! refresh failed: no answer, again at 284
        284.0 ! refresh failed: the server is silent, again at 300
        300.0 > 200 to CSeq 2 NOTIFY
        300.0 ! Active application/dialog-info+xml Next <dialog-info version="1"/>
        300.0 > SUBSCRIBE A4 expires=0 route=<sip:127.0.0.1;p=1;lr> in dialog to sip:srv@127.0.0.1:5060
        300.0 > 200 to CSeq 3 NOTIFY
        300.0 ! unsubscribed
    "#]]);
    bench.wait(SECOND * 3600);
    bench.check(expect![[r#""#]]);
    assert_eq!(bench.agent.deadline(), None);
}

#[test]
fn a_lost_subscribe_is_repeated_and_then_tried_anew() {
    let mut bench = Bench::new();
    bench.watch();
    bench.wait(SECOND * 8);
    bench.wait(SECOND * 34);
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.5 > SUBSCRIBE A1 expires=600 (again)
        1.5 > SUBSCRIBE A1 expires=600 (again)
        3.5 > SUBSCRIBE A1 expires=600 (again)
        7.5 > SUBSCRIBE A1 expires=600 (again)
        11.5 > SUBSCRIBE A1 expires=600 (again)
        15.5 > SUBSCRIBE A1 expires=600 (again)
        19.5 > SUBSCRIBE A1 expires=600 (again)
        23.5 > SUBSCRIBE A1 expires=600 (again)
        27.5 > SUBSCRIBE A1 expires=600 (again)
        31.5 > SUBSCRIBE A1 expires=600 (again)
        32.0 ! subscription lost: retrying, no answer, again at 150
    "#]]);
}

#[test]
fn a_notify_may_come_before_the_answer_or_without_it() {
    let mut bench = Bench::new();
    bench.watch();
    bench.notify(1, "active;expires=500", &document(0));
    bench.answer(200, "Expires: 500\n");
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml First <dialog-info version="0"/>
        0.0 ! subscribed for 500s
    "#]]);
    let mut bench = Bench::new();
    bench.watch();
    bench.notify(1, "active;expires=500", &document(0));
    bench.wait(SECOND * 440);
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml First <dialog-info version="0"/>
        0.5 > SUBSCRIBE A1 expires=600 (again)
        1.5 > SUBSCRIBE A1 expires=600 (again)
        3.5 > SUBSCRIBE A1 expires=600 (again)
        7.5 > SUBSCRIBE A1 expires=600 (again)
        11.5 > SUBSCRIBE A1 expires=600 (again)
        15.5 > SUBSCRIBE A1 expires=600 (again)
        19.5 > SUBSCRIBE A1 expires=600 (again)
        23.5 > SUBSCRIBE A1 expires=600 (again)
        27.5 > SUBSCRIBE A1 expires=600 (again)
        31.5 > SUBSCRIBE A1 expires=600 (again)
        436.0 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060
        436.5 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        437.5 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        439.5 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
    "#]]);
}

#[test]
fn an_answer_without_a_notify_is_no_subscription() {
    let mut bench = Bench::new();
    bench.watch();
    bench.answer(200, "Expires: 600\n");
    bench.wait(SECOND * 38);
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 ! subscribed for 600s
        32.0 ! subscription lost: retrying, no NOTIFY, again at 150
    "#]]);
}

#[test]
fn too_brief_is_asked_again_with_the_least() {
    let mut bench = Bench::new();
    bench.watch();
    bench.answer(423, "Min-Expires: 900\n");
    bench.answer(423, "Min-Expires: 900\n");
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 > SUBSCRIBE A2 expires=900
        0.0 ! subscription lost: retrying, 423 Interval Too Brief, again at 117
    "#]]);
}

#[test]
fn an_unknown_dialog_is_replaced_by_a_fresh_one() {
    let mut bench = Bench::new();
    bench.watch();
    bench.answer(200, "Expires: 600\n");
    bench.notify(7, "active", &document(5));
    bench.wait(SECOND * 540);
    bench.answer(481, "");
    // The new dialog counts from the beginning, and the old one is dead.
    bench.answer(200, "Expires: 600\n");
    bench.notify(1, "active", &document(0));
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 ! subscribed for 600s
        0.0 > 200 to CSeq 7 NOTIFY
        0.0 ! Active application/dialog-info+xml First <dialog-info version="5"/>
        536.0 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060
        536.5 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        537.5 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        539.5 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        540.0 ! subscription lost: retrying, 481 Call/Transaction Does Not Exist, again at 540
        540.0 > SUBSCRIBE B1 expires=600
        540.0 ! subscribed for 600s
        540.0 > 200 to CSeq 1 NOTIFY
        540.0 ! Active application/dialog-info+xml First <dialog-info version="0"/>
    "#]]);
}

#[test]
fn a_failed_refresh_is_repeated_while_the_lease_runs_then_begun_anew() {
    let mut bench = Bench::new();
    bench.watch();
    bench.answer(200, "Expires: 600\n");
    bench.notify(1, "active", "");
    bench.wait(SECOND * 537);
    bench.answer(503, "Retry-After: 10\n");
    bench.wait(SECOND * 14);
    bench.answer(500, "");
    bench.wait(SECOND * 50);
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 ! subscribed for 600s
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml Unversioned 
        536.0 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060
        536.5 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        537.0 ! refresh failed: 503 Service Unavailable, again at 547
        547.0 > SUBSCRIBE A3 expires=600 in dialog to sip:srv@127.0.0.1:5060
        547.5 > SUBSCRIBE A3 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        548.5 > SUBSCRIBE A3 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        550.5 > SUBSCRIBE A3 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        551.0 ! refresh failed: 500 Server Internal Error, again at 575
        575.5 > SUBSCRIBE A4 expires=600 in dialog to sip:srv@127.0.0.1:5060
        576.0 > SUBSCRIBE A4 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        577.0 > SUBSCRIBE A4 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        579.0 > SUBSCRIBE A4 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        583.0 > SUBSCRIBE A4 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        587.0 > SUBSCRIBE A4 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        591.0 > SUBSCRIBE A4 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        595.0 > SUBSCRIBE A4 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        599.0 > SUBSCRIBE A4 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        600.0 ! subscription lost: retrying, expired, again at 600
        600.0 > SUBSCRIBE B1 expires=600
        600.5 > SUBSCRIBE B1 expires=600 (again)
    "#]]);
}

#[test]
fn the_end_says_when_to_come_back() {
    let mut bench = Bench::new();
    bench.watch();
    bench.answer(200, "Expires: 600\n");
    bench.notify(1, "active", "");
    bench.notify(2, "terminated;reason=deactivated", "");
    bench.answer(200, "Expires: 600\n");
    bench.notify(1, "active", "");
    // Ending again at once is a failure.
    bench.notify(2, "terminated;reason=deactivated", "");
    bench.wait(SECOND * 110);
    bench.answer(200, "Expires: 600\n");
    bench.notify(1, "terminated;reason=probation;retry-after=200", "");
    bench.wait(SECOND * 199);
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 ! subscribed for 600s
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml Unversioned 
        0.0 > 200 to CSeq 2 NOTIFY
        0.0 ! Terminated (deactivated) application/dialog-info+xml Unversioned 
        0.0 ! subscription lost: retrying, terminated: deactivated, again at 0
        0.0 > SUBSCRIBE B1 expires=600
        0.0 ! subscribed for 600s
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml Unversioned 
        0.0 > 200 to CSeq 2 NOTIFY
        0.0 ! Terminated (deactivated) application/dialog-info+xml Unversioned 
        0.0 ! subscription lost: retrying, terminated: deactivated, again at 108
        108.7 > SUBSCRIBE C1 expires=600
        109.2 > SUBSCRIBE C1 expires=600 (again)
        110.0 ! subscribed for 600s
        110.0 > 200 to CSeq 1 NOTIFY
        110.0 ! Terminated (probation) application/dialog-info+xml Unversioned 
        110.0 ! subscription lost: retrying, terminated: probation, again at 322
    "#]]);
    bench.wait(SECOND * 60);
    bench.check(expect![[r#"
        322.6 > SUBSCRIBE D1 expires=600
        323.1 > SUBSCRIBE D1 expires=600 (again)
        324.1 > SUBSCRIBE D1 expires=600 (again)
        326.1 > SUBSCRIBE D1 expires=600 (again)
        330.1 > SUBSCRIBE D1 expires=600 (again)
        334.1 > SUBSCRIBE D1 expires=600 (again)
        338.1 > SUBSCRIBE D1 expires=600 (again)
        342.1 > SUBSCRIBE D1 expires=600 (again)
        346.1 > SUBSCRIBE D1 expires=600 (again)
        350.1 > SUBSCRIBE D1 expires=600 (again)
        354.1 > SUBSCRIBE D1 expires=600 (again)
        354.6 ! subscription lost: retrying, no answer, again at 466
    "#]]);
}

#[test]
fn notifys_are_taken_in_order_once_and_from_the_dialog_only() {
    let mut bench = Bench::new();
    bench.watch();
    bench.answer(200, "Expires: 600\n");
    bench.notify(4, "active", &document(0));
    bench.notify(4, "active", &document(0)); // a retransmission
    bench.notify(3, "active", &document(1));
    bench.notify(9, "active", &document(2));
    bench.notify(10, "active", &document(2));
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 ! subscribed for 600s
        0.0 > 200 to CSeq 4 NOTIFY
        0.0 ! Active application/dialog-info+xml First <dialog-info version="0"/>
        0.0 > 200 to CSeq 4 NOTIFY
        0.0 > 500 to CSeq 3 NOTIFY
        0.0 ! refused with 500
        0.0 > 200 to CSeq 9 NOTIFY
        0.0 ! Active application/dialog-info+xml Gap <dialog-info version="2"/>
        0.0 > 200 to CSeq 10 NOTIFY
        0.0 ! Active application/dialog-info+xml Stale <dialog-info version="2"/>
    "#]]);
    for (from, to) in [(";tag=srv", ";tag=other"), ("Event: dialog", "Event: presence"), ("Call-ID: ", "Call-ID: x")] {
        let notify = bench.notify_text(11, "active", "").replace(from, to).replace("z9hG4bKn", "z9hG4bKm");
        bench.receive(&notify);
    }
    let no_state = bench.notify_text(11, "active", "").replace("Subscription-State: active\n", "");
    bench.receive(&no_state);
    let no_event = bench.notify_text(11, "active", "").replace("Event: dialog\n", "").replace("z9hG4bKn", "z9hG4bKk");
    bench.receive(&no_event);
    bench.check(expect![[r#"
        0.0 > 481 to CSeq 11 NOTIFY
        0.0 ! refused with 481
        0.0 > 481 to CSeq 11 NOTIFY
        0.0 ! refused with 481
        0.0 > 481 to CSeq 11 NOTIFY
        0.0 ! refused with 481
        0.0 > 400 to CSeq 11 NOTIFY
        0.0 ! refused with 400
        0.0 > 489 to CSeq 11 NOTIFY
        0.0 ! refused with 489
    "#]]);
}

#[test]
fn other_requests_are_answered_and_noise_is_not() {
    let mut bench = Bench::new();
    bench.watch();
    bench.log.clear();
    let notify = bench.notify_text(1, "active", "");
    for method in ["OPTIONS", "INVITE", "MESSAGE", "ACK"] {
        bench.receive(&notify.replace("NOTIFY", method));
    }
    bench.receive(&notify.replace("CSeq: 1", "CSeq: x"));
    for noise in [&b"\r\n\r\n"[..], b"", b"SIP/2.0", b"\xff\xff\0", b"SIP/2.0 200 OK\r\n\r\n"] {
        bench.receive_bytes(noise);
    }
    bench.check(expect![[r#"
        0.0 > 200 to CSeq 1 OPTIONS
        0.0 > 405 to CSeq 1 INVITE
        0.0 > 405 to CSeq 1 MESSAGE
        0.0 > 400 to CSeq x NOTIFY
    "#]]);
}

#[test]
fn a_publication_is_refreshed_changed_and_removed_by_its_newest_tag() {
    let mut bench = Bench::new();
    let id = bench.publish("one");
    bench.answer(200, "SIP-ETag: t1\nExpires: 300\n");
    bench.wait(SECOND * 237);
    bench.answer(200, "SIP-ETag: t2\nExpires: 300\n");
    bench.update(id, "two");
    bench.answer(200, "SIP-ETag: t3\nExpires: 300\n");
    bench.update(id, "two");
    bench.tell(|agent, now, out| agent.withdraw(now, id, out));
    bench.answer(200, "SIP-ETag: t4\nExpires: 0\n");
    bench.check(expect![[r#"
        0.0 > PUBLISH A1 expires=600 body=one
        0.0 ! published for 300s
        236.0 > PUBLISH A2 expires=600 if-match=t1
        236.5 > PUBLISH A2 expires=600 if-match=t1 (again)
        237.0 ! published for 300s
        237.0 > PUBLISH A3 expires=600 if-match=t2 body=two
        237.0 ! published for 300s
        237.0 > PUBLISH A4 expires=0 if-match=t3
        237.0 ! withdrawn
    "#]]);
    assert!(bench.agent.is_idle());
}

#[test]
fn one_publish_is_in_flight_and_the_newest_state_follows() {
    let mut bench = Bench::new();
    let id = bench.publish("one");
    for body in ["two", "three", "four"] {
        bench.update(id, body);
    }
    bench.wait(SECOND);
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.update(id, "five");
    bench.tell(|agent, now, out| agent.withdraw(now, id, out));
    bench.answer(200, "SIP-ETag: t2\nExpires: 600\n");
    bench.check(expect![[r#"
        0.0 > PUBLISH A1 expires=600 body=one
        0.5 > PUBLISH A1 expires=600 body=one (again)
        1.0 ! published for 600s
        1.0 > PUBLISH A2 expires=600 if-match=t1 body=four
        1.0 ! published for 600s
        1.0 > PUBLISH A3 expires=0 if-match=t2
    "#]]);
}

#[test]
fn a_forgotten_publication_is_published_once_more_with_the_newest_state() {
    let mut bench = Bench::new();
    let id = bench.publish("one");
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.update(id, "two");
    bench.update(id, "three");
    bench.answer(412, "");
    // The same answer again has no second effect.
    bench.answer_to(1, 412, "");
    bench.answer(200, "SIP-ETag: t2\nExpires: 600\n");
    bench.check(expect![[r#"
        0.0 > PUBLISH A1 expires=600 body=one
        0.0 ! published for 600s
        0.0 > PUBLISH A2 expires=600 if-match=t1 body=two
        0.0 > PUBLISH A3 expires=600 body=three
        0.0 ! published for 600s
    "#]]);
    bench.wait(SECOND * 540);
    bench.answer(412, "");
    bench.check(expect![[r#"
        536.0 > PUBLISH A4 expires=600 if-match=t2
        536.5 > PUBLISH A4 expires=600 if-match=t2 (again)
        537.5 > PUBLISH A4 expires=600 if-match=t2 (again)
        539.5 > PUBLISH A4 expires=600 if-match=t2 (again)
        540.0 > PUBLISH A5 expires=600 body=three
    "#]]);
}

#[test]
fn a_publication_that_fails_is_tried_again_later_with_the_newest_state() {
    let mut bench = Bench::new();
    let id = bench.publish("one");
    bench.answer(423, "Min-Expires: 1200\n");
    bench.answer(503, "Retry-After: 30\n");
    bench.update(id, "two");
    bench.wait(SECOND * 40);
    bench.answer(200, "SIP-ETag: t1\nExpires: 1200\n");
    bench.update(id, "three");
    bench.check(expect![[r#"
        0.0 > PUBLISH A1 expires=600 body=one
        0.0 > PUBLISH A2 expires=1200 body=one
        0.0 ! publication lost: 503 Service Unavailable, again at 33
        33.3 > PUBLISH A3 expires=1200 body=two
        33.8 > PUBLISH A3 expires=1200 body=two (again)
        34.8 > PUBLISH A3 expires=1200 body=two (again)
        36.8 > PUBLISH A3 expires=1200 body=two (again)
        40.0 ! published for 1200s
        40.0 > PUBLISH A4 expires=1200 if-match=t1 body=three
    "#]]);
}

#[test]
fn withdrawing_while_asking_removes_what_the_answer_names() {
    let mut bench = Bench::new();
    let id = bench.publish("one");
    bench.tell(|agent, now, out| agent.withdraw(now, id, out));
    bench.answer(403, "");
    let id = bench.publish("two");
    bench.answer(200, "Expires: 600\n");
    bench.tell(|agent, now, out| agent.withdraw(now, id, out));
    bench.check(expect![[r#"
        0.0 > PUBLISH A1 expires=600 body=one
        0.0 ! withdrawn
        0.0 > PUBLISH B1 expires=600 body=two
        0.0 ! publication lost: no entity-tag, again at 4
        0.0 ! withdrawn
    "#]]);
    assert!(bench.agent.is_idle());
}

/// A server that is as bad as the network: every answer, NOTIFY and accident is drawn by lot. Whatever happens, the
/// agent stays bounded: it never floods, and what is withdrawn in the end is gone, from the store too.
#[test]
fn no_server_makes_the_agent_flood_or_leak() {
    for seed in 0..200 {
        let lot = Random { seed: Seed(seed, 77), count: 0 };
        let mut bench = Bench::with(|settings| {
            let one = |realm: &str| Credential { realm: realm.into(), user: "u".into(), secret: Secret::new("p") };
            settings.credentials = Credentials::new(vec![one("office")]);
            settings.store = true;
            settings.pace.in_flight = 1 + (seed % 2) as usize;
            if seed % 3 == 0 {
                settings.proxy = Some("sip:edge.example".into());
            }
            if seed % 5 == 0 {
                settings.proxy = None;
            }
        });
        bench.agent = Agent::new(START, bench.agent.settings.clone(), Seed(seed, 1));
        run_badly(&mut bench, lot);
    }
}

fn run_badly(bench: &mut Bench, mut lot: Random) {
    let mut draw = |most: u64| {
        lot.count += 1;
        lot.seed.check(lot.count, 3, 3) % most
    };
    let mut watch = bench.watch_this(Watch { forks: true, resource: "sip:102@127.0.0.1".into(), ..usual() });
    let mut publication = bench.publish_this(Record { resource: "sip:101@127.0.0.1".into(), ..record("zero") });
    let bodies = ["one", "two", "three"];
    for _ in 0..300 {
        let status = [200, 200, 200, 202, 100, 302, 401, 412, 423, 481, 403, 500, 503, 603][draw(14) as usize];
        let more = [
            "Expires: 600\n",
            "SIP-ETag: x\n",
            "SIP-ETag: x\nExpires: 1\n",
            "Min-Expires: 700\n",
            "Expires: 0\n",
            "Contact: <sip:127.0.0.9>\nExpires: 9\nSIP-ETag: y\n",
            "WWW-Authenticate: Digest realm=\"office\",nonce=\"n\",stale=true\n",
            "Retry-After: 100\n",
        ][draw(8) as usize];
        match draw(9) {
            0 => bench.wait(SECOND * draw(200) as u32),
            1 => bench.update(publication, bodies[draw(3) as usize]),
            2 => {
                let state = ["active", "pending;expires=0", "terminated", "terminated;reason=probation;retry-after=0"]
                    [draw(4) as usize];
                let tag = [";tag=srv", ";tag=other", ";tag=third"][draw(3) as usize];
                let last = bench.requests.last().cloned();
                if last.is_some_and(|last| header(&last, "CSeq").ends_with("SUBSCRIBE")) {
                    let notify = bench.notify_text(draw(20) as u32, state, "").replace(";tag=srv", tag);
                    bench.receive(&notify);
                }
            }
            3 => {
                let flow = Flow { connection: draw(2), ..flow() };
                bench.tell(|agent, now, out| agent.handle(now, Input::Closed(flow), out));
            }
            4 => {
                let target = Target { transport: Transport::Udp, address: flow().remote };
                let (query, targets) = (draw(9), &[target, target][..draw(3) as usize]);
                let ttl = SECOND * draw(100) as u32;
                bench.tell(|agent, now, out| agent.handle(now, Input::Resolved { query, targets, ttl }, out));
            }
            5 if draw(10) == 0 => {
                // The process ends and another one begins.
                let next = Agent::new(bench.now, bench.agent.settings.clone(), Seed(draw(u64::MAX), 1));
                bench.agent = next;
                for (key, standing) in std::mem::take(&mut bench.saved) {
                    bench.saved.insert(key, standing.clone());
                    bench.tell(|agent, now, out| {
                        agent.restore(now, key, standing, out);
                    });
                }
                watch = bench.watch_this(Watch { forks: true, resource: "sip:102@127.0.0.1".into(), ..usual() });
                publication = bench.publish_this(Record { resource: "sip:101@127.0.0.1".into(), ..record("zero") });
            }
            _ if bench.requests.is_empty() => {}
            _ => bench.answer(status, more),
        }
        let totals = bench.agent.totals(bench.now);
        assert_eq!(totals.in_flight, bench.agent.sent.len());
        assert!(totals.in_flight <= bench.agent.kept.len() && bench.agent.kept.len() <= 12);
    }
    // Each input costs at most a few requests, whatever it says; retransmissions are not among them.
    assert!(bench.requests.len() < 1200, "{} requests", bench.requests.len());
    bench.tell(|agent, now, out| agent.withdraw(now, publication, out));
    bench.tell(|agent, now, out| agent.unsubscribe(now, watch, out));
    bench.wait(SECOND * 2000);
    assert!(bench.agent.is_idle(), "{}", bench.log);
    assert_eq!(bench.agent.deadline(), None);
    assert!(bench.agent.wheel.is_empty() && bench.saved.is_empty());
    assert_eq!((bench.agent.sent.len(), bench.agent.by_identity.len()), (0, 0));
}

mod publishing;
mod restart;
mod routes;
mod subscribing;
