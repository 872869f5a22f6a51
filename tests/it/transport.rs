//! How NOTIFYs travel, and what their answers mean.

use crate::gateway::Gateway;
use crate::phone::Phone;
use std::time::{Duration, Instant};

const LINE: &str = "sip:1001@example.com";

#[test]
fn over_tcp_everything_stays_on_the_connection() {
    // TR-01
    let gateway = Gateway::start("");
    let mut watcher = Phone::tcp(&gateway, "2000");
    let (mut dialog, first) = watcher.subscribe(LINE, "dialog", 600);
    assert!(first.header("Via").starts_with("SIP/2.0/TCP "), "{first:#?}");
    let mut publisher = Phone::tcp(&gateway, "1001");
    let tag = publisher.publish_call(LINE, None, "c1", "early");
    assert!(watcher.notify().body.contains("early</state>"));
    publisher.publish_call(LINE, Some(&tag), "c1", "confirmed");
    assert!(watcher.notify().body.contains("confirmed</state>"));
    watcher.refresh(&mut dialog, 0).expect(200);
    assert!(watcher.notify().header("Subscription-State").starts_with("terminated"));
}

#[test]
fn a_connection_that_dies_takes_only_its_watcher() {
    // TR-01
    let gateway = Gateway::start("");
    let mut stays = Phone::tcp(&gateway, "2000");
    stays.subscribe(LINE, "dialog", 600);
    let mut leaves = Phone::tcp(&gateway, "2001");
    leaves.subscribe(LINE, "dialog", 600);
    drop(leaves);
    let mut publisher = Phone::udp(&gateway, "1001");
    let tag = publisher.publish_call(LINE, None, "c1", "early");
    assert!(stays.notify().body.contains("early</state>"));
    publisher.publish_call(LINE, Some(&tag), "c1", "confirmed");
    assert!(stays.notify().body.contains("confirmed</state>"));
}

#[test]
fn messages_may_come_in_pieces_and_together() {
    let gateway = Gateway::start("");
    let mut watcher = Phone::tcp(&gateway, "2000");
    let contact = format!("Contact: {}", watcher.contact());
    let mut dialogs = [watcher.dialog(LINE, "dialog"), watcher.dialog("sip:1002@example.com", "dialog")];
    let texts =
        dialogs.each_mut().map(|dialog| watcher.request("SUBSCRIBE", dialog, &[&contact, "Expires: 600"], "").0);
    let both = texts.concat().replace("Content-Length: 0", "l : 0");
    let (start, end) = both.as_bytes().split_at(both.len() - 150);
    for byte in start.chunks(7) {
        watcher.send(byte);
    }
    watcher.send(end);
    let mut seen = [0, 0];
    while seen != [2, 2] {
        let message = watcher.receive();
        let index = dialogs.iter().position(|dialog| dialog.call_id == message.header("Call-ID")).unwrap();
        if message.status() == 0 {
            watcher.answer(&message, "200 OK", &[]);
        } else {
            assert_eq!(message.status(), 200);
        }
        seen[index] += 1;
    }
}

#[test]
fn a_481_ends_the_subscription() {
    // TR-02
    let mut gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    let (mut dialog, _) = watcher.subscribe(LINE, "dialog", 600);
    let mut publisher = Phone::udp(&gateway, "1001");
    publisher.publish_call(LINE, None, "c1", "early");
    watcher.notify_answered("481 Subscription Does Not Exist", &[]);
    gateway.until("dropped the watcher", |gateway| gateway.metric("sip_subscriptions") == 0.0);
    watcher.refresh(&mut dialog, 600).expect(481);
}

#[test]
fn one_408_does_not() {
    // TR-02
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    let (mut dialog, _) = watcher.subscribe(LINE, "dialog", 600);
    let mut publisher = Phone::udp(&gateway, "1001");
    let tag = publisher.publish_call(LINE, None, "c1", "early");
    watcher.notify_answered("408 Request Timeout", &[]);
    publisher.publish_call(LINE, Some(&tag), "c1", "confirmed");
    watcher.refresh(&mut dialog, 600).expect(200);
    let told = watcher.notify();
    assert!(told.body.contains("confirmed</state>"), "{told:#?}");
}

#[test]
fn retry_after_is_honoured() {
    // TR-02
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    watcher.subscribe(LINE, "dialog", 600);
    Phone::udp(&gateway, "1001").publish_call(LINE, None, "c1", "early");
    watcher.notify_answered("503 Service Unavailable", &["Retry-After: 1"]);
    let begin = Instant::now();
    let again = watcher.notify();
    assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
    assert!(again.body.contains("early</state>"), "{again:#?}");
}

#[test]
fn a_lost_answer_has_no_second_effect() {
    // RFC 3261 section 17.2.2: the same answer again, and no second subscription or NOTIFY.
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    let mut dialog = watcher.dialog(LINE, "dialog");
    let contact = format!("Contact: {}", watcher.contact());
    let (text, branch) = watcher.request("SUBSCRIBE", &mut dialog, &[&contact, "Expires: 600"], "");
    let first = watcher.exchange(&text, &branch).expect(200);
    watcher.notify();
    let again = watcher.exchange(&text, &branch).expect(200);
    assert_eq!(first.header("To"), again.header("To"));
    assert_eq!(gateway.metric("sip_subscriptions"), 1.0);
    assert!(gateway.metric("sip_retransmissions_absorbed_total") >= 1.0);
    Phone::udp(&gateway, "1001").publish_call(LINE, None, "c1", "early");
    assert_eq!(watcher.notify().xml("version"), "1");
}

#[test]
fn a_notify_that_nobody_answers_is_sent_again() {
    // RFC 3261 section 17.1.2: the very same request after T1.
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    watcher.subscribe(LINE, "dialog", 600);
    Phone::udp(&gateway, "1001").publish_call(LINE, None, "c1", "early");
    let (first, second) = (watcher.receive(), watcher.receive());
    assert_eq!((first.header("Via"), first.cseq()), (second.header("Via"), second.cseq()));
    assert_eq!(first.body, second.body);
    watcher.answer(&second, "200 OK", &[]);
}

#[test]
fn a_new_contact_is_where_the_next_notify_goes() {
    // RFC 6665 section 4.4.1: a refresh may bring a new target.
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    let (mut dialog, _) = watcher.subscribe(LINE, "dialog", 600);
    let moved = format!("Contact: <sip:other@{}>", watcher.local);
    watcher.ask("SUBSCRIBE", &mut dialog, &[&moved, "Expires: 600"], "").expect(200);
    assert!(watcher.notify().start.starts_with(&format!("NOTIFY sip:other@{} ", watcher.local)));
}
