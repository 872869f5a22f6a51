//! Servers that are dead, slow, lying or flapping: what the API says of them is exact, a lamp here never shows what is
//! not so, everything is bounded, and the gateway recovers without help.

use crate::api::ask;
use crate::gateway::{Gateway, PATIENCE, own_address};
use crate::phone::{Message, Phone, dialog_info};
use crate::remote::{LINE, roll, row};
use crate::server::{Granted, Server};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const XML: &str = "application/dialog-info+xml";
const FIRST: &str = "/v1/subscriptions/1";
/// What a server may do to the gateway's memory, bytes.
const MOST: u64 = 24 << 20;

/// A gateway that has one subscription at `server`, and is quick to try again. `more` stands before its sections.
fn asking(server: &Server, more: &str) -> Gateway {
    let watch = format!("{{ resource = \"{LINE}\", package = \"dialog\", outbound_proxy = \"{}\" }}", server.uri());
    quick(&format!("subscribe = [{watch}]"), more)
}

/// Has a gateway watch an address at `server`; gives where the API shows it.
fn watch(gateway: &Gateway, server: &Server, resource: &str, package: &str) -> String {
    let wish = json!({ "resource": resource, "package": package, "outbound_proxy": server.uri(), "expires": 600 });
    let created = ask(gateway, "POST", "/v1/subscriptions", &[], &wish.to_string()).expect(201).json();
    format!("/v1/subscriptions/{}", created["id"])
}

fn quick(section: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "{more}\n[remote]\nenabled = true\nlinger = \"0s\"\nretry = \"1s\"\nshun = \"1s\"\nrenew_least = \"1s\"\n{section}\n"
    ))
}

/// A phone in a thread of its own, that answers each NOTIFY at once and remembers what its lamp has shown.
struct Lamp {
    shown: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lamp {
    fn at(gateway: &Gateway) -> Self {
        let mut phone = Phone::udp(gateway, "2000");
        let (_, first) = phone.subscribe(LINE, "dialog", 600);
        let shown = Arc::new(Mutex::new(vec![Self::reads(&first)]));
        let over = Arc::new(AtomicBool::new(false));
        let (seen, until) = (Arc::clone(&shown), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let Some(message) = phone.receive_within(Duration::from_millis(50)) else { continue };
                if message.status() == 0 {
                    phone.answer(&message, "200 OK", &[]);
                    let (state, mut seen) = (Self::reads(&message), seen.lock().unwrap());
                    if seen.last() != Some(&state) {
                        seen.push(state);
                    }
                }
            }
        });
        Self { shown, over, thread: Some(thread) }
    }

    /// The states of all calls that a NOTIFY tells of.
    fn reads(notify: &Message) -> String {
        let states = notify.xml_all("state");
        let calls: Vec<_> = states.into_iter().filter(|state| !matches!(*state, "full" | "partial")).collect();
        calls.join(" ")
    }

    /// Waits until it has shown these, in this order, and nothing else.
    #[track_caller]
    fn has_shown(&self, expected: &[&str]) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let shown = self.shown.lock().unwrap().clone();
            if shown == expected {
                return;
            }
            let so_far = shown.len() <= expected.len() && expected[..shown.len()] == shown;
            assert!(so_far && Instant::now() < end, "the lamp has shown {shown:?}, not {expected:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Lamp {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "the phone has met something odd");
    }
}

/// Waits until a subscription stands so: state, last final status, and why.
#[track_caller]
fn stands(gateway: &Gateway, path: &str, state: &str, status: u16, reason: Option<&str>) -> Value {
    row(gateway, path, &format!("is {state}: {status} {reason:?}"), |row| {
        row["state"] == state && row["status"] == status && row["reason"].as_str() == reason
    })
}

/// The memory of a gateway, bytes.
fn memory(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

fn counted(gateway: &Gateway, sample: &str) -> u64 {
    let (_, page) = gateway.get("/metrics");
    let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {sample}")).parse().unwrap()
}

/// QS-05, QS-12: a server that is silent, and falls silent again when it has been there.
#[test]
fn a_dead_server() {
    let mut server = Server::start();
    let here = asking(&server, "sip.timers.t1 = \"40ms\"");
    let lamp = Lamp::at(&here);
    let never = stands(&here, FIRST, "pending", 0, None);
    assert_eq!((never["notified"].as_u64(), &never["until"]), (Some(0), &Value::Null), "{never}");
    // 64 times T1, in which it has been sent again and again.
    let lost = stands(&here, FIRST, "retrying", 408, Some("no answer"));
    assert!(lost["next"].as_u64().is_some() && lost["until"].is_null(), "{lost}");
    assert!(counted(&here, "remote_timeouts_total") >= 1 && here.metric("remote_requests_resent_total") > 2.0);

    // It wakes up: what it did not answer has been given up, the next attempt is another dialog.
    let first = server.request("SUBSCRIBE").message;
    let mut granted = loop {
        let granted = server.grant(4);
        if granted.subscribe.message.header("Call-ID") != first.header("Call-ID") {
            break granted;
        }
    };
    server.say(&mut granted, "early");
    stands(&here, FIRST, "active", 200, None);
    lamp.has_shown(&["", "early"]);

    // It falls silent for good. Its lease runs out; what it said holds no longer than ten seconds after that.
    let lost = stands(&here, FIRST, "retrying", 408, Some("no answer"));
    assert_eq!(lost["notified"], 1);
    lamp.has_shown(&["", "early", ""]);
    let mut granted = loop {
        let request = server.request("SUBSCRIBE");
        server.answer(&request, "200 OK", &["Expires: 600"]);
        let mut granted = server.granted(request);
        let body = dialog_info(LINE, "c2", "confirmed");
        if server.notify(&mut granted, XML, &body) == 200 {
            break granted;
        }
    };
    stands(&here, FIRST, "active", 200, None);
    server.say(&mut granted, "early");
    lamp.has_shown(&["", "early", "", "confirmed", "early"]);
    assert_eq!(counted(&here, "remote_dialogs"), 1);
}

/// QS-12: nobody listens at the server's port, and the system says so. A server that restarts is found all the same.
#[test]
fn a_closed_port() {
    let server = Server::start();
    let address = server.address;
    let mut here = asking(&server, "");
    drop(server);
    // It may have asked already: then nobody has seen it.
    let lamp = Lamp::at(&here);
    here.until("sends again", |here| here.metric("remote_requests_resent_total") > 0.0);
    stands(&here, FIRST, "pending", 0, None);
    let mut server = Server::start_at(address);
    let mut granted = server.grant(600);
    server.say(&mut granted, "early");
    stands(&here, FIRST, "active", 200, None);
    lamp.has_shown(&["", "early"]);
    assert_eq!(counted(&here, "remote_timeouts_total"), 0);
    assert_eq!(counted(&here, "remote_requests_sent_total{method=\"SUBSCRIBE\"}"), 1);
}

/// Reads for so long, and gives how often the request has been sent again.
fn dawdle(server: &mut Server, request: &crate::server::Request, wait: Duration) -> usize {
    let end = Instant::now() + wait;
    let mut again = 0;
    while let Some(one) = server.any_within(end.saturating_duration_since(Instant::now())) {
        assert_eq!(one.message.header("Via"), request.message.header("Via"), "only the same again");
        again += 1;
    }
    again
}

/// A server so slow that everything is sent again, and that then answers everything.
#[test]
fn a_slow_server() {
    let mut server = Server::start();
    let here = asking(&server, "");
    let lamp = Lamp::at(&here);
    let late = Duration::from_millis(1200);
    let request = server.request("SUBSCRIBE");
    let again = dawdle(&mut server, &request, late);
    assert!(again > 0);
    stands(&here, FIRST, "pending", 0, None);
    // The NOTIFY overtakes the answer (RFC 6665 section 4.1.2.4).
    let mut granted = server.granted(request.clone());
    server.say(&mut granted, "early");
    stands(&here, FIRST, "active", 0, None);
    lamp.has_shown(&["", "early"]);
    for _ in 0..=again {
        server.answer(&request, "200 OK", &["Expires: 600", &server.contact()]);
    }
    let active = stands(&here, FIRST, "active", 200, None);
    assert_eq!((active["notified"].as_u64(), active["requests"].as_u64()), (Some(1), Some(1)), "{active}");

    // While a refresh waits for its answer nothing changes, and NOTIFYs count.
    ask(&here, "POST", "/v1/subscriptions/1/retry", &[], "").expect(200);
    let request = server.request("SUBSCRIBE");
    assert_eq!(request.message.header("Call-ID"), granted.subscribe.message.header("Call-ID"));
    server.say(&mut granted, "confirmed");
    lamp.has_shown(&["", "early", "confirmed"]);
    assert!(dawdle(&mut server, &request, late) > 0);
    stands(&here, FIRST, "active", 200, None);
    server.answer(&request, "200 OK", &["Expires: 600", &server.contact()]);
    here.metric("remote_answers_total");
    server.say(&mut granted, "early");
    lamp.has_shown(&["", "early", "confirmed", "early"]);
    assert_eq!(counted(&here, "remote_subscriptions_begun_total"), 1);
    assert_eq!(counted(&here, "remote_dialogs"), 1);
    assert_eq!(counted(&here, "remote_requests_in_flight"), 0);
}

/// Answers that are none: each is dropped, the request is sent again, and the right answer counts.
#[test]
fn answers_that_lie() {
    let mut server = Server::start();
    let here = asking(&server, "");
    let lamp = Lamp::at(&here);
    let request = server.request("SUBSCRIBE");
    let good = server.answer_text(&request, "200 OK", &["Expires: 600", &server.contact()]);
    let via = request.message.header("Via");
    let branch = via.split_once("branch=").unwrap().1.split(';').next().unwrap();
    let before = counted(&here, "remote_messages_dropped_total");
    let lies = [
        good.replace(branch, "z9hG4bKc000000000000000000000000"),
        good.replace(branch, "z9hG4bKc00ffffff0000000000000000"),
        good.replace(branch, &branch.to_ascii_uppercase()),
        good.replace(branch, "1"),
        good.replace("1 SUBSCRIBE", "1 PUBLISH"),
        good.replace("1 SUBSCRIBE", "SUBSCRIBE"),
        good.replace("1 SUBSCRIBE", "99999999999 SUBSCRIBE"),
        good.replace("SIP/2.0 200 OK", "SIP/2.0 2000 OK"),
        good.replace("SIP/2.0 200 OK", "SIP/2.0 099 OK"),
        good.replace("Content-Length: 0", "Content-Length: 5"),
        good.replace("Call-ID:", "X-Call-ID:"),
        good.replace("\r\n\r\n", ""),
        good[..good.len() / 2].to_owned(),
    ];
    for lie in &lies {
        server.send_to(lie.as_bytes(), &request);
    }
    let mut here = here;
    here.until("has dropped them", |here| counted(here, "remote_messages_dropped_total") - before == lies.len() as u64);
    stands(&here, FIRST, "pending", 0, None);
    // Retransmitted, for nothing has been answered.
    assert_eq!(server.any_within(PATIENCE).unwrap().message.header("Via"), via);
    server.send_to(good.as_bytes(), &request);
    stands(&here, FIRST, "pending", 200, None);
    let mut granted = server.granted(request);
    server.say(&mut granted, "early");
    stands(&here, FIRST, "active", 200, None);
    lamp.has_shown(&["", "early"]);
}

/// Leases that make no sense: none that is said, none at all, and one for longer than the world will last.
#[test]
fn leases_that_lie() {
    let mut server = Server::start();
    let here = quick("", "");
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let paths = ["a", "b", "c", "d"].map(|user| watch(&here, &server, &format!("sip:{user}@pbx.example"), "dialog"));
    for (path, lines) in paths.iter().zip([
        &[][..],
        &["Expires: 4294967295"],
        &["Expires: 18446744073709551616000"],
        &["Expires: soon", "Contact: nobody"],
    ]) {
        let request = server.request("SUBSCRIBE");
        server.answer(&request, "200 OK", lines);
        let mut granted = server.granted(request);
        granted.state = "active;expires=99999999999999999999".to_owned();
        server.say(&mut granted, "early");
        let active = stands(&here, path, "active", 200, None);
        let until = active["until"].as_u64().unwrap();
        assert!((now() + 300_000..=now() + 600_000).contains(&until), "{lines:?}: {active}");
    }
    // A lease of nothing: tried again at once, and then with patience.
    let path = watch(&here, &server, "sip:z@pbx.example", "dialog");
    for _ in 0..2 {
        let request = server.request("SUBSCRIBE");
        server.answer(&request, "200 OK", &["Expires: 0", &server.contact()]);
    }
    stands(&here, &path, "retrying", 200, Some("expired"));
    let mut granted = server.grant(600);
    server.say(&mut granted, "early");
    stands(&here, &path, "active", 200, None);
    assert_eq!(counted(&here, "remote_dialogs"), 5);
}

/// NOTIFYs that lie are refused with the right status, counted, and change nothing.
#[test]
fn notifies_that_lie() {
    let mut server = Server::start();
    let here = asking(&server, "");
    let lamp = Lamp::at(&here);
    let mut granted = server.grant(600);
    granted.cseq = 100;
    server.say(&mut granted, "early");
    lamp.has_shown(&["", "early"]);
    let lie = dialog_info(LINE, "c1", "confirmed");
    let tag = granted.subscribe.message.header("From").split_once(";tag=").unwrap().1.to_owned();
    let call = granted.subscribe.message.header("Call-ID").to_owned();
    let mut check = |status: u16, change: &dyn Fn(&str) -> String| {
        let text = change(&server.notify_text(&mut granted.clone(), XML, &lie));
        assert_eq!(server.exchange(&text, &granted), status, "{text}");
    };
    let refused = |status: u16| counted(&here, &format!("remote_notify_refused_total{{status=\"{status}\"}}"));
    check(481, &|text| text.replace(&tag, "c000000010000000000000000"));
    check(481, &|text| text.replace(&tag, "cffffffff0000000000000000"));
    check(481, &|text| text.replace(&tag, &tag.to_ascii_uppercase()));
    check(481, &|text| text.replace(&format!(";tag={tag}"), ""));
    check(481, &|text| text.replace(&format!("Call-ID: {call}"), "Call-ID: another"));
    check(481, &|text| text.replace("Event: dialog", "Event: presence"));
    check(481, &|text| text.replace("Event: dialog", "Event: dialog;id=7"));
    check(481, &|text| text.replace(";tag=there", ""));
    assert_eq!(refused(481), 8);
    check(489, &|text| text.replace("Event: dialog\r\n", ""));
    assert_eq!(refused(489), 1);
    check(400, &|text| text.replace("Subscription-State: active;expires=600\r\n", ""));
    check(400, &|text| text.replace("Subscription-State: active;expires=600\r\n", "Subscription-State: ;;\r\n"));
    assert_eq!(refused(400), 2);
    check(415, &|text| text.replace("Content-Type", "Content-Encoding: gzip\r\nContent-Type"));
    assert_eq!(refused(415), 1);
    check(500, &|text| text.replace("CSeq: 102", "CSeq: 101"));
    check(500, &|text| text.replace("CSeq: 102", "CSeq: 7"));
    check(500, &|text| text.replace("CSeq: 102", "CSeq: 0"));
    assert_eq!(refused(500), 3);
    check(400, &|text| text.replace(&tag, ""));
    check(405, &|text| text.replace("NOTIFY", "INVITE"));
    check(400, &|text| text.replace("CSeq: 102 NOTIFY", "CSeq: 102 SUBSCRIBE"));
    check(400, &|text| text.replace("CSeq: 102", "CSeq: 4294967296"));
    let row = stands(&here, FIRST, "active", 200, None);
    assert_eq!((row["notified"].as_u64(), row["requests"].as_u64()), (Some(1), Some(1)), "{row}");
    lamp.has_shown(&["", "early"]);

    // One that keeps lying, eight times in a row, has its dialog begun afresh.
    for cseq in 1..=5 {
        let old = Granted { cseq, ..granted.clone() };
        let text = server.notify_text(&mut old.clone(), XML, &lie);
        assert_eq!(server.exchange(&text, &granted), 500);
    }
    let mut fresh = server.grant(600);
    assert_ne!(fresh.subscribe.message.header("Call-ID"), call);
    let text = server.notify_text(&mut granted, XML, &lie);
    assert_eq!(server.exchange(&text, &fresh), 481, "the old dialog is no more");
    server.say(&mut fresh, "confirmed");
    lamp.has_shown(&["", "early", "confirmed"]);
    stands(&here, FIRST, "active", 200, None);
    assert_eq!(counted(&here, "remote_dialogs"), 1);
}

/// A server with many tags: RFC 4235 section 3.9 lets it fork, within bounds, and each fork ends with its NOTIFY.
#[test]
fn a_server_of_many_tongues() {
    let mut server = Server::start();
    let here = asking(&server, "");
    let lamp = Lamp::at(&here);
    let mut granted = server.grant(600);
    server.say(&mut granted, "early");
    lamp.has_shown(&["", "early"]);
    let mut forks: Vec<_> =
        (0..20).map(|number| Granted { tag: format!("other{number}"), cseq: 0, ..granted.clone() }).collect();
    let statuses: Vec<_> = forks.iter_mut().map(|fork| server.notify(fork, XML, "")).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 8, "{statuses:?}");
    assert!(statuses[8..].iter().all(|status| *status == 481), "{statuses:?}");
    assert_eq!(counted(&here, "remote_dialogs"), 9);
    for fork in &mut forks[..8] {
        fork.state = "terminated;reason=timeout".to_owned();
        assert_eq!(server.notify(fork, XML, ""), 200);
    }
    assert_eq!(counted(&here, "remote_dialogs"), 1);
    server.say(&mut granted, "confirmed");
    lamp.has_shown(&["", "early", "confirmed"]);
    let row = stands(&here, FIRST, "active", 200, None);
    assert_eq!(row["requests"], 1, "{row}");

    // Presence has one notifier (RFC 3856 section 6.9).
    watch(&here, &server, LINE, "presence");
    let mut granted = server.grant(600);
    assert_eq!(server.notify(&mut granted, "", ""), 200);
    granted.tag = "other".into();
    assert_eq!(server.notify(&mut granted, "", ""), 481);
}

/// Bodies that make no sense are told at the API and counted; the lamp shows what was true before.
#[test]
fn bodies_of_garbage() {
    let mut server = Server::start();
    let here = asking(&server, "");
    let lamp = Lamp::at(&here);
    let mut granted = server.grant(600);
    server.say(&mut granted, "early");
    lamp.has_shown(&["", "early"]);
    let before = memory(&here);
    let good = dialog_info(LINE, "c1", "confirmed");
    let bomb = format!(
        "<!DOCTYPE x [<!ENTITY a \"{}\"><!ENTITY b \"{}\">]>{}",
        "a".repeat(1000),
        "&a;".repeat(1000),
        good.replace("Ann Lee", "&b;")
    );
    let deep = format!(
        "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"1\" state=\"full\" entity=\"{LINE}\">{}",
        "<a>".repeat(15_000)
    );
    let multipart = "multipart/related;type=\"application/rlmi+xml\";boundary=b";
    let garbage = [
        (XML, "x".repeat(60_000)),
        (XML, "<".repeat(60_000)),
        (XML, deep),
        (XML, bomb),
        (XML, good[..good.len() / 2].to_owned()),
        (XML, good.replace("confirmed</state>", "levitating</state>")),
        (XML, "\0".repeat(5000)),
        (XML, "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\"/>".to_owned()),
        ("text/plain", good.clone()),
        ("application/pidf+xml", good.clone()),
        ("", good.clone()),
        (multipart, "--b".repeat(20_000)),
        (multipart, format!("--b\r\nContent-Type: {XML}\r\n\r\n{good}\r\n--b--\r\n")),
        ("multipart/related", good.clone()),
    ];
    for (index, (kind, body)) in garbage.iter().enumerate() {
        let told = 2 + index as u64;
        assert_eq!(server.notify(&mut granted, kind, body), 200, "{kind}");
        let row = row(&here, FIRST, "was told", |row| row["notified"] == told);
        assert!(row["documents"][0]["problem"].is_string(), "{kind} {:.80}: {row}", body);
        assert_eq!(row["state"], "active");
        assert!(row["documents"][0]["state"].to_string().contains("early"), "{row}");
        assert_eq!(counted(&here, "remote_bad_bodies_total"), index as u64 + 1, "{kind} {:.80}", body);
    }
    let grown = memory(&here).saturating_sub(before);
    assert!(grown < MOST, "{grown} bytes more");
    // No body at all: nothing new.
    assert_eq!(server.notify(&mut granted, "", ""), 200);
    // A thousand calls in one document are as many as they are, and then one again.
    let calls: String = (0..600).map(|n| format!("<dialog id=\"d{n}\"><state>early</state></dialog>")).collect();
    let many = format!(
        "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"9\" state=\"full\" entity=\"{LINE}\">{calls}</dialog-info>"
    );
    assert_eq!(server.notify(&mut granted, XML, &many), 200);
    server.say(&mut granted, "confirmed");
    row(&here, FIRST, "is well again", |row| {
        row["documents"][0]["problem"].is_null() && row["documents"][0]["state"].to_string().contains("confirmed")
    });
    let end = Instant::now() + Duration::from_secs(10);
    while lamp.shown.lock().unwrap().last().is_none_or(|last| last != "confirmed") {
        assert!(Instant::now() < end, "{:?}", lamp.shown.lock().unwrap());
        thread::sleep(Duration::from_millis(10));
    }
    let shown = lamp.shown.lock().unwrap().clone();
    assert!(shown.iter().all(|state| !state.contains("levitating")), "{shown:?}");
}

/// QS-14: a list that lies. What can be read of it counts, the rest is told; members are what the last good one says.
#[test]
fn a_list_that_lies() {
    let mut server = Server::start();
    let here = quick(
        &format!(
            "subscribe = [{{ resource = \"sip:all@pbx.example\", package = \"dialog\", list = true, as = \"*@example.com\", \
             outbound_proxy = \"{}\" }}]",
            server.uri()
        ),
        "",
    );
    let lamp = Lamp::at(&here);
    let mut granted = server.grant(600);
    let kind = "multipart/related;type=\"application/rlmi+xml\";start=\"<roll@x>\";boundary=b";
    let members = |count: usize| {
        let numbered: Vec<_> = (1001..1001 + count).map(|number| number.to_string()).collect();
        roll(1, true, &numbered.iter().map(|user| (&**user, "early")).collect::<Vec<_>>())
    };
    assert_eq!(server.notify(&mut granted, kind, &members(3)), 200);
    lamp.has_shown(&["", "early"]);
    let good = members(3).replace("early", "confirmed").replace("version=\"1\"", "version=\"2\"");
    let no_members = good.replace("Content-ID: <roll@x>", "Content-ID: <lost@x>").replace("start=", "x=");
    let names = (0..1100).map(|number| format!("<resource uri=\"sip:{number}@x\"/>")).collect::<String>();
    let crowd = good.replace("</list>", &format!("{names}</list>"));
    let garbage = [
        "--b".repeat(20_000),
        "--b\r\n\r\n".repeat(8_000),
        no_members,
        crowd,
        good.replace("fullState=\"true\"", ""),
        good.replace("<list", "<lost"),
        good[..good.len() / 8].to_owned(),
    ];
    let before = memory(&here);
    for (index, body) in garbage.iter().enumerate() {
        assert_eq!(server.notify(&mut granted, kind, body), 200);
        assert_eq!(counted(&here, "remote_bad_bodies_total"), index as u64 + 1, "{body:.300}");
        let told = row(&here, FIRST, "was told", |row| row["list"]["problem"].is_string());
        assert_eq!(
            (told["state"].as_str(), told["list"]["members"].as_array().map(Vec::len)),
            (Some("active"), Some(3))
        );
    }
    let grown = memory(&here).saturating_sub(before);
    assert!(grown < MOST, "{grown} bytes more");
    // A document that is not there, or of another, is the trouble of its member alone: that keeps what it had.
    let lost = good.replace("cid=\"1001@x\"", "cid=\"1009@x\"");
    assert_eq!(server.notify(&mut granted, kind, &lost), 200);
    let told = row(&here, FIRST, "was told", |row| row["list"]["problem"].is_null());
    let of = |index: usize| &told["list"]["members"][index]["instances"][0]["document"];
    assert!(of(0)["problem"].is_string() && of(0)["state"].to_string().contains("early"), "{told:#}");
    assert!(of(1)["problem"].is_null() && of(1)["state"].to_string().contains("confirmed"), "{told:#}");
    lamp.has_shown(&["", "early"]);
    assert_eq!(server.notify(&mut granted, kind, &good.replace("version=\"2\"", "version=\"3\"")), 200);
    lamp.has_shown(&["", "early", "confirmed"]);
    assert_eq!(server.notify(&mut granted, kind, &roll(4, true, &[])), 200);
    lamp.has_shown(&["", "early", "confirmed", ""]);
    row(&here, FIRST, "knows none", |row| row["list"]["members"].as_array().is_some_and(Vec::is_empty));
}

/// OP-05: streams that cannot be framed, never end a message, or end at once; then the server comes to its senses.
#[test]
fn streams_that_lie() {
    let listener = std::net::TcpListener::bind((own_address(), 5060)).unwrap();
    let address = listener.local_addr().unwrap();
    let here = quick(
        &format!(
            "subscribe = [{{ resource = \"{LINE}\", package = \"dialog\", outbound_proxy = \"sip:{address};transport=tcp\" }}]"
        ),
        "sip.timers.t1 = \"40ms\"",
    );
    let before = memory(&here);
    let mut buffer = vec![0; 65536];
    // A request on a stream that has ended is sent once more on another one, so that there are two of each.
    let junk = "x".repeat(1 << 16);
    for lie in [
        String::new(),
        "SIP/2.0 200 OK\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "SIP/2.0 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_owned(),
        junk.repeat(64),
        format!("SIP/2.0 200 OK\r\n{}", "X: y\r\n".repeat(200_000)),
    ] {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            assert!(stream.read(&mut buffer).unwrap() > 0, "a SUBSCRIBE");
            // The gateway may end the stream before it has all of it.
            let _ = stream.write_all(lie.as_bytes());
        }
    }
    let grown = memory(&here).saturating_sub(before);
    assert!(grown < MOST, "{grown} bytes more");
    stands(&here, FIRST, "retrying", 503, Some("unreachable"));
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = stream.read(&mut buffer).unwrap();
    let subscribe = Message::read(std::str::from_utf8(&buffer[..length]).unwrap());
    let copied = ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", subscribe.header(name)));
    let answer = format!(
        "SIP/2.0 200 OK\r\n{}To: {};tag=there\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n",
        copied.concat(),
        subscribe.header("To")
    );
    stream.write_all(answer.as_bytes()).unwrap();
    stands(&here, FIRST, "pending", 200, None);
}

/// QS-05, QS-12: a server that comes and goes; each time the API says why, and each time the lamp is right again.
#[test]
fn a_server_that_flaps() {
    let mut server = Server::start();
    let here = asking(&server, "");
    let lamp = Lamp::at(&here);
    for round in 0..3 {
        let request = server.request("SUBSCRIBE");
        server.answer(&request, "503 Service Unavailable", &["Retry-After: 1"]);
        let lost = stands(&here, FIRST, "retrying", 503, Some("503 Service Unavailable"));
        assert!(lost["next"].as_u64().is_some() && lost["until"].is_null(), "{lost}");
        let mut granted = server.grant(600);
        server.say(&mut granted, if round == 1 { "confirmed" } else { "early" });
        stands(&here, FIRST, "active", 200, None);
        // Restarted, it has forgotten everything.
        let address = server.address;
        drop(server);
        ask(&here, "POST", "/v1/subscriptions/1/retry", &[], "").expect(200);
        server = Server::start_at(address);
        let request = server.request("SUBSCRIBE");
        assert_eq!(request.message.header("Call-ID"), granted.subscribe.message.header("Call-ID"));
        server.answer(&request, "481 Subscription Does Not Exist", &[]);
    }
    let mut granted = server.grant(600);
    server.say(&mut granted, "early");
    stands(&here, FIRST, "active", 200, None);
    lamp.has_shown(&["", "early", "confirmed", "early"]);
    assert_eq!(counted(&here, "remote_dialogs"), 1);
    assert_eq!(counted(&here, "remote_subscriptions{state=\"active\"}"), 1);
    // An error while the lease runs loses nothing.
    ask(&here, "POST", "/v1/subscriptions/1/retry", &[], "").expect(200);
    let request = server.request("SUBSCRIBE");
    server.answer(&request, "500 Server Internal Error", &[]);
    stands(&here, FIRST, "active", 500, Some("500 Server Internal Error"));
    server.refresh(&mut granted, 600);
    stands(&here, FIRST, "active", 200, None);
    lamp.has_shown(&["", "early", "confirmed", "early"]);
}

/// QS-12: how a subscription ends is what the API says, whether an answer or a NOTIFY said so.
#[test]
fn how_it_ends_is_told() {
    let mut server = Server::start();
    let here = quick("", "");
    let user = |number: u8| watch(&here, &server, &format!("sip:{number}@pbx.example"), "dialog");
    let paths: Vec<_> = (1..=12).map(user).collect();
    let mut paths = paths.iter();
    for (status, reason) in [(403, "403 Forbidden"), (603, "603 Decline"), (607, "607 Unwanted")] {
        let path = paths.next().unwrap();
        let request = server.request("SUBSCRIBE");
        server.answer(&request, reason, &[]);
        let end = stands(&here, path, "rejected", status, Some(reason));
        assert!(end["next"].is_null(), "{end}");
    }
    for (status, reason) in [(404, "404 Not Found"), (489, "489 Bad Event"), (500, "500 Server Internal Error")] {
        let path = paths.next().unwrap();
        let request = server.request("SUBSCRIBE");
        server.answer(&request, reason, &["Retry-After: 3000"]);
        let end = stands(&here, path, "retrying", status, Some(reason));
        assert!(end["next"].as_u64().is_some(), "{end}");
    }
    for (state, reason) in [("rejected", "rejected"), ("terminated", "noresource"), ("terminated", "invariant")] {
        let path = paths.next().unwrap();
        let mut granted = server.grant(600);
        granted.state = format!("terminated;reason={reason}");
        assert_eq!(server.notify(&mut granted, "", ""), 200);
        let end = stands(&here, path, state, 200, Some(&format!("terminated: {reason}")));
        assert!(end["next"].is_null() && end["until"].is_null(), "{end}");
        // Dialogs that have ended are no more, and the last NOTIFY may come again.
        let text = server.notify_text(&mut granted, "", "");
        assert_eq!(server.exchange(&text, &granted), 481);
    }
    for reason in ["probation", "giveup"] {
        let path = paths.next().unwrap();
        let mut granted = server.grant(600);
        granted.state = format!("terminated;reason={reason};retry-after=3000");
        assert_eq!(server.notify(&mut granted, "", ""), 200);
        let end = stands(&here, path, "retrying", 200, Some(&format!("terminated: {reason}")));
        assert!(end["next"].as_u64().is_some() && end["until"].is_null(), "{end}");
    }
    // A fresh dialog at once; not for ever at once.
    let path = paths.next().unwrap();
    for _ in 0..2 {
        let mut granted = server.grant(600);
        granted.state = "terminated;reason=deactivated".to_owned();
        assert_eq!(server.notify(&mut granted, "", ""), 200);
    }
    stands(&here, path, "retrying", 200, Some("terminated: deactivated"));
    // Granted, and then nothing: no subscription without a NOTIFY (RFC 6665 section 4.1.2.4), until somebody decides.
    let mut granted = server.grant(600);
    granted.state = "pending;expires=600".to_owned();
    assert_eq!(server.notify(&mut granted, "", ""), 200);
    stands(&here, path, "pending", 200, None);
    granted.state = "active;expires=600".to_owned();
    server.say(&mut granted, "early");
    stands(&here, path, "active", 200, None);
    // Whoever was refused for good may ask again by hand.
    ask(&here, "POST", "/v1/subscriptions/1/retry", &[], "").expect(200);
    let mut granted = server.grant(600);
    server.say(&mut granted, "early");
    stands(&here, "/v1/subscriptions/1", "active", 200, None);
    assert_eq!(counted(&here, "remote_dialogs"), 2);
}

/// OP-05: a server that sends rubbish without end costs neither memory nor the truth.
#[test]
fn a_flood_of_rubbish() {
    let mut server = Server::start();
    let here = asking(&server, "");
    let lamp = Lamp::at(&here);
    let mut granted = server.grant(600);
    server.say(&mut granted, "early");
    lamp.has_shown(&["", "early"]);
    let notify = server.notify_text(&mut granted.clone(), XML, &dialog_info(LINE, "c1", "confirmed"));
    let answer = server.answer_text(&granted.subscribe, "200 OK", &["Expires: 600", &server.contact()]);
    let tag = granted.subscribe.message.header("From").split_once(";tag=").unwrap().1.to_owned();
    let before = memory(&here);
    let mut chance = 1_u64;
    let mut draw = || {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance
    };
    for round in 0..200 {
        for _ in 0..100 {
            let (kind, number) = (draw() % 8, draw());
            let mut bytes = match kind {
                0 => (0..draw() % 1400).map(|_| draw() as u8).collect(),
                1 => notify.replace(&tag, &format!("c{number:016x}00000000")).into_bytes(),
                2 => notify
                    .replace(";tag=there", &format!(";tag={number}"))
                    .replace("dialog\r\n", "reg\r\n")
                    .into_bytes(),
                3 => answer.replace("z9hG4bK", &format!("z9hG4bKc{number:x}")).into_bytes(),
                4 => notify.replace("NOTIFY", "SUBSCRIBE").into_bytes(),
                5 => notify.replace("Call-ID: ", &format!("Call-ID: {number}")).into_bytes(),
                _ => notify.as_bytes()[..(number as usize) % (notify.len() - 200)].to_vec(),
            };
            if kind == 6 && !bytes.is_empty() {
                let at = draw() as usize % bytes.len();
                bytes[at] = draw() as u8;
            }
            server.send_to(&bytes, &granted.subscribe);
        }
        // It is not faster than the gateway reads: what follows is answered.
        granted.state = format!("active;expires={}", 600 - round % 2);
        server.say(&mut granted, "early");
    }
    let grown = memory(&here).saturating_sub(before);
    assert!(grown < MOST, "{grown} bytes more");
    assert!(here.metric("remote_notify_refused_total") > 5000.0);
    assert!(here.metric("remote_messages_dropped_total") > 5000.0);
    for (name, most) in
        [("remote_dialogs", 1), ("remote_hosts", 0), ("remote_servers", 1), ("remote_requests_in_flight", 0)]
    {
        assert_eq!(counted(&here, name), most, "{name}");
    }
    assert_eq!(counted(&here, "remote_questions{state=\"waiting\"}"), 0);
    let active = stands(&here, FIRST, "active", 200, None);
    assert_eq!((active["notified"].as_u64(), active["requests"].as_u64()), (Some(201), Some(1)), "{active}");
    lamp.has_shown(&["", "early"]);
    server.say(&mut granted, "confirmed");
    lamp.has_shown(&["", "early", "confirmed"]);
}

/// PU-10, PU-12: a server that takes publications and lies about it.
#[test]
fn a_server_that_takes_publications_and_lies() {
    let mut server = Server::start();
    let here = quick("", "");
    let publishing = json!({
        "resource": LINE, "package": "presence", "outbound_proxy": server.uri(), "expires": 600,
        "state": { "basic": "open", "note": "Back at 3" },
    });
    ask(&here, "POST", "/v1/exports", &[], &publishing.to_string()).expect(201);
    let path = "/v1/exports/1";
    // Taken, without a name by which it could be changed.
    let request = server.request("PUBLISH");
    server.answer(&request, "200 OK", &["Expires: 600"]);
    stands(&here, path, "retrying", 200, Some("no entity-tag"));
    let request = server.request("PUBLISH");
    assert!(request.message.all("SIP-If-Match").is_empty());
    server.answer(&request, "200 OK", &["SIP-ETag: one", "Expires: 99999999999"]);
    let active = stands(&here, path, "active", 200, None);
    assert_eq!(active["entity_tag"], "one");
    // It has forgotten it: once more all of it.
    ask(&here, "POST", "/v1/exports/1/refresh", &[], "").expect(200);
    let request = server.request("PUBLISH");
    assert_eq!((request.message.header("SIP-If-Match"), request.message.body.len()), ("one", 0));
    server.answer(&request, "412 Conditional Request Failed", &[]);
    let request = server.request("PUBLISH");
    assert!(request.message.all("SIP-If-Match").is_empty() && request.message.body.contains("Back at 3"));
    server.answer(&request, "200 OK", &["SIP-ETag: two", "Expires: 600"]);
    row(&here, path, "has another tag", |row| row["state"] == "active" && row["entity_tag"] == "two");
    // It knows nothing at all any more, ever: not in a hurry.
    ask(&here, "POST", "/v1/exports/1/refresh", &[], "").expect(200);
    for _ in 0..2 {
        let request = server.request("PUBLISH");
        server.answer(&request, "412 Conditional Request Failed", &[]);
    }
    stands(&here, path, "retrying", 412, Some("412 Conditional Request Failed"));
    let request = server.request("PUBLISH");
    server.answer(&request, "200 OK", &["SIP-ETag: three", "Expires: 600"]);
    let active = row(&here, path, "is active again", |row| row["state"] == "active" && row["entity_tag"] == "three");
    assert_eq!((active["requests"].as_u64(), &active["reason"]), (Some(7), &Value::Null), "{active}");
    assert_eq!(counted(&here, "remote_requests_in_flight"), 0);
}
