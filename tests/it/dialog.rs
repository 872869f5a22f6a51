//! Lamps: the `dialog` package from a publisher to its watchers.

use crate::gateway::Gateway;
use crate::phone::{Phone, dialog_info, parameter};
use std::time::{Duration, Instant};

const LINE: &str = "sip:1001@example.com";

#[test]
fn a_third_party_lights_the_lamp() {
    // DI-01, DI-02, DI-08
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    let mut dialog = watcher.dialog(LINE, "dialog");
    let contact = format!("Contact: {}", watcher.contact());
    let answer = watcher.ask("SUBSCRIBE", &mut dialog, &[&contact, "Expires: 600"], "").expect(200);
    assert_eq!(answer.header("Expires"), "600");
    assert!(parameter(answer.header("To"), "tag").is_some_and(|tag| tag.len() >= 8), "{answer:#?}");
    assert!(answer.header("Contact").contains(&gateway.sip.to_string()));

    let first = watcher.notify();
    assert_eq!(
        first.start,
        format!("NOTIFY {} SIP/2.0", contact.trim_start_matches("Contact: <").trim_end_matches('>'))
    );
    assert_eq!(first.header("Event"), "dialog");
    assert_eq!(first.header("Content-Type"), "application/dialog-info+xml");
    assert!(matches!(first.subscription_state(), ("active", Some(595..=600))), "{first:#?}");
    assert_eq!(first.header("Call-ID"), dialog.call_id);
    assert_eq!(first.header("To"), dialog.from);
    assert_eq!(first.header("From"), answer.header("To"));
    assert_eq!((first.xml("version"), first.xml("entity")), ("0", LINE));
    assert_eq!(first.elements("dialog"), 0);

    // Somebody else, at another address, whom no call of ours ever crossed.
    let mut publisher = Phone::tcp(&gateway, "pbx");
    let tag = publisher.publish_call(LINE, None, "c1", "early");
    let ringing = watcher.notify();
    assert_eq!((ringing.xml("version"), ringing.elements("dialog")), ("1", 1));
    assert_eq!(ringing.xml_all("state"), ["full", "early"], "{ringing:#?}");
    assert!(ringing.body.contains("Ann Lee") && ringing.body.contains("sip:ann@example.org"), "{ringing:#?}");
    assert!(ringing.cseq() > first.cseq());

    publisher.publish_call(LINE, Some(&tag), "c1", "terminated");
    let over = watcher.notify();
    assert_eq!(over.xml("version"), "2");
    assert!(over.body.contains("terminated</state>"), "{over:#?}");
}

#[test]
fn the_first_notify_comes_within_100_ms() {
    // DI-01: the best of several, since a test machine may be busy with other things.
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    let mut quickest = Duration::MAX;
    for number in 0..8 {
        let begin = Instant::now();
        watcher.subscribe(&format!("sip:{number}@example.com"), "dialog", 600);
        quickest = quickest.min(begin.elapsed());
    }
    assert!(quickest < Duration::from_millis(100), "{quickest:?}");
}

#[test]
fn two_calls_of_two_sources_are_one_document() {
    // DI-04, DI-05: the second source never comes back; its call leaves when its lease ends, and nobody had to ask.
    let gateway = Gateway::start("packages.dialog.least_expires = \"1s\"");
    let mut watcher = Phone::udp(&gateway, "2000");
    watcher.subscribe(LINE, "dialog", 600);
    let mut first = Phone::udp(&gateway, "1001");
    first.publish_call(LINE, None, "one", "confirmed");
    assert_eq!(watcher.notify().elements("dialog"), 1);

    let begin = Instant::now();
    let mut second = Phone::udp(&gateway, "1001");
    let headers = ["Expires: 2", "Content-Type: application/dialog-info+xml"];
    let answer = second.publish(LINE, "dialog", &headers, &dialog_info(LINE, "two", "early")).expect(200);
    assert_eq!(answer.header("Expires"), "2");
    assert_eq!(watcher.notify().elements("dialog"), 2);

    let left = watcher.notify();
    let elapsed = begin.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&elapsed), "{elapsed:?}");
    assert!(!left.body.contains("early</state>"), "{left:#?}");
    assert!(left.body.contains("confirmed</state>"), "{left:#?}");
}

#[test]
fn equal_state_is_no_news() {
    // DI-09: whatever would have been sent for equal state would come, with its version, before the true change.
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    let (mut dialog, _) = watcher.subscribe(LINE, "dialog", 600);
    let mut publisher = Phone::udp(&gateway, "1001");
    let tag = publisher.publish_call(LINE, None, "c1", "early");
    assert_eq!(watcher.notify().xml("version"), "1");

    let again = publisher.publish_call(LINE, Some(&tag), "c1", "early");
    assert_ne!(again, tag, "each answer has an entity-tag of its own");
    let headers = [format!("SIP-If-Match: {again}"), "Expires: 600".into()];
    let answer = publisher.publish(LINE, "dialog", &headers.each_ref().map(String::as_str), "").expect(200);
    publisher.publish_call(LINE, Some(answer.header("SIP-ETag")), "c1", "confirmed");
    let news = watcher.notify();
    assert!(news.body.contains("confirmed</state>"), "{news:#?}");
    assert_eq!(news.xml("version"), "2");

    // A refresh is owed a NOTIFY even so.
    watcher.refresh(&mut dialog, 300).expect(200);
    let same = watcher.notify();
    assert!(same.body.contains("confirmed</state>"), "{same:#?}");
    assert!(matches!(same.subscription_state(), ("active", Some(295..=300))), "{same:#?}");
}

#[test]
fn a_fetch_leaves_nothing_behind() {
    // DI-10
    let mut gateway = Gateway::start("");
    let mut publisher = Phone::udp(&gateway, "1001");
    publisher.publish_call(LINE, None, "c1", "confirmed");
    let mut watcher = Phone::udp(&gateway, "2000");
    let (_, only) = watcher.subscribe(LINE, "dialog", 0);
    assert!(only.header("Subscription-State").starts_with("terminated;reason=timeout"), "{only:#?}");
    assert!(only.body.contains("confirmed</state>"), "{only:#?}");
    gateway.until("forgot the fetch", |gateway| gateway.metric("sip_subscriptions") == 0.0);
    let explained = gateway.ask(&["explain", LINE]);
    assert!(explained.status.success());
    assert!(!String::from_utf8_lossy(&explained.stdout).contains("2000"), "{explained:?}");
}

#[test]
fn unsubscribing_ends_with_the_state() {
    // DI-10
    let mut gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    let (mut dialog, _) = watcher.subscribe(LINE, "dialog", 600);
    watcher.refresh(&mut dialog, 0).expect(200);
    let last = watcher.notify();
    assert!(last.header("Subscription-State").starts_with("terminated;reason=timeout"), "{last:#?}");
    assert_eq!(last.header("Content-Type"), "application/dialog-info+xml");
    gateway.until("forgot the subscription", |gateway| gateway.metric("sip_subscriptions") == 0.0);
    watcher.refresh(&mut dialog, 600).expect(481);
}

#[test]
fn a_notify_follows_the_route_set() {
    // DI-12: two proxies in the way, the nearer one first in Record-Route.
    let gateway = Gateway::start("");
    let watcher = Phone::udp(&gateway, "2000");
    let mut proxy = Phone::udp(&gateway, "proxy");
    let near = format!("<sip:{};lr>", proxy.local);
    let far = "<sip:edge.example.net;lr>";

    let mut dialog = watcher.dialog(LINE, "dialog");
    let contact = format!("Contact: {}", watcher.contact());
    let routes = [format!("Record-Route: {near}"), format!("Record-Route: {far}")];
    let headers = [contact.as_str(), "Expires: 600", &routes[0], &routes[1]];
    let (text, _) = watcher.request("SUBSCRIBE", &mut dialog, &headers, "");
    let relayed = text.replacen(
        "Via: ",
        &format!("Via: SIP/2.0/UDP {};branch=z9hG4bKproxied{};rport\r\nVia: ", proxy.local, dialog.call_id),
        1,
    );
    let answer = proxy.exchange(&relayed, &format!("z9hG4bKproxied{}", dialog.call_id)).expect(200);
    assert_eq!(answer.all("Via").len(), 2);
    assert_eq!(answer.all("Record-Route"), [&near, far]);

    let first = proxy.notify();
    assert_eq!(first.start, format!("NOTIFY {} SIP/2.0", watcher.contact().trim_matches(['<', '>'])));
    assert_eq!(first.all("Route"), [&near, far]);
    Phone::udp(&gateway, "1001").publish_call(LINE, None, "c1", "early");
    let second = proxy.notify();
    assert_eq!(second.all("Route"), [&near, far]);
    assert_eq!(second.xml("version"), "1", "the first was answered, so the second is news");
}

#[test]
fn what_idle_looks_like_is_the_devices_choice() {
    // DI-13
    let gateway = Gateway::start("");
    let mut plain = Phone::udp(&gateway, "2000");
    let (_, idle) = plain.subscribe(LINE, "dialog", 600);
    assert_eq!(idle.elements("dialog"), 0);
    assert!(!idle.body.is_empty());

    let mut yealink = Phone::udp(&gateway, "2001");
    yealink.user_agent = "Yealink SIP-T54W 96.86.0.100".into();
    let (_, idle) = yealink.subscribe(LINE, "dialog", 600);
    assert_eq!(idle.elements("dialog"), 1);
    assert_eq!(idle.xml("id"), "0000");
    assert!(idle.body.contains("terminated</state>"), "{idle:#?}");
}

#[test]
fn one_dialog_for_devices_that_bear_no_more() {
    // DI-06, DI-07: two watchers of one line at the same moment.
    let gateway = Gateway::start("");
    let mut publisher = Phone::udp(&gateway, "1001");
    publisher.publish_call(LINE, None, "talking", "confirmed");
    publisher.publish_call(LINE, None, "waiting", "early");

    let mut linksys = Phone::udp(&gateway, "2000");
    linksys.user_agent = "Linksys/SPA962-6.1.5".into();
    let (_, one) = linksys.subscribe(LINE, "dialog", 600);
    assert_eq!(one.elements("dialog"), 1);
    assert!(one.body.contains("early</state>"), "{one:#?}");

    let (_, both) = Phone::udp(&gateway, "2001").subscribe(LINE, "dialog", 600);
    assert_eq!(both.elements("dialog"), 2);
}

#[test]
fn a_rebooted_phone_replaces_its_old_subscription() {
    // semantics of RFC 6665 leave this open; a phone that lost its dialogs must not be told everything twice.
    let mut gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    let (old, _) = watcher.subscribe(LINE, "dialog", 600);
    let (new, _) = watcher.subscribe(LINE, "dialog", 600);
    gateway.until("replaced the old one", |gateway| gateway.metric("sip_subscriptions") == 1.0);
    Phone::udp(&gateway, "1001").publish_call(LINE, None, "c1", "early");
    let news = watcher.notify();
    assert_eq!(news.header("Call-ID"), new.call_id);
    let mut old = old;
    watcher.refresh(&mut old, 600).expect(481);
}

#[test]
fn a_phone_may_ask_by_our_address() {
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    let asked = watcher.gateway_uri("1001");
    watcher.subscribe(&asked, "dialog", 600);
    Phone::udp(&gateway, "1001").publish_call(LINE, None, "c1", "early");
    assert!(watcher.notify().body.contains("early</state>"));
}
