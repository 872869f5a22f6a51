//! RFC 6665, and what keeps lamps true.

use crate::*;

/// A gateway with one watcher whose first NOTIFY has been answered, and the tag of its dialog.
fn watched() -> (Gateway, String) {
    let mut gateway = Gateway::new();
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", ""));
    let tag = to_tag(answer(&sent)).to_owned();
    let first = notify(&sent).clone();
    assert!(gateway.reply(&first, "200 OK").is_empty());
    (gateway, tag)
}

fn ring(gateway: &mut Gateway, cseq: u32, id: &str, state: &str) -> Vec<Sent> {
    gateway.udp(OTHER, &publish(cseq, "", &dialog(id, state)))
}

fn state(sent: &Sent) -> &str {
    header(&sent.text, "Subscription-State").unwrap()
}

/// DI-01
#[test]
fn a_subscription_is_answered_and_told_the_whole_state() {
    let mut gateway = Gateway::new();
    ring(&mut gateway, 1, "a", "early");
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", ""));
    assert!(sent[0].text.starts_with("SIP/2.0 200 OK\r\n"), "the answer comes first");
    assert_eq!(header(&sent[0].text, "Expires"), Some("600"));
    assert_eq!(header(&sent[0].text, "Contact"), Some("<sip:192.0.2.1:5060>"));
    let first = notify(&sent);
    assert!(first.text.starts_with("NOTIFY sip:2@192.0.2.10:5060 SIP/2.0\r\n"));
    assert_eq!(state(first), "active;expires=600");
    assert_eq!(header(&first.text, "Content-Type"), Some("application/dialog-info+xml"));
    assert_eq!(header(&first.text, "Event"), Some("dialog"));
    assert!(header(&first.text, "From").unwrap().ends_with(to_tag(&sent[0])));
    assert!(body(first).contains("version=\"0\"") && body(first).contains("state=\"full\""));
    assert!(body(first).contains("early"));
}

/// DI-08, DI-09
#[test]
fn versions_and_cseq_rise_by_one_and_only_for_changes() {
    let (mut gateway, tag) = watched();
    let sent = ring(&mut gateway, 1, "a", "early");
    let etag = header(&answer(&sent).text, "SIP-ETag").unwrap().to_owned();
    let second = notify(&sent).clone();
    assert!(body(&second).contains("version=\"1\""));
    assert_eq!(header(&second.text, "CSeq"), Some("2 NOTIFY"));
    gateway.reply(&second, "200 OK");
    let same = gateway.udp(OTHER, &publish(2, &format!("SIP-If-Match: {etag}\n"), &dialog("a", "early")));
    assert_eq!(notifies(&same), 0, "equal state is no news");
    let again = ring(&mut gateway, 3, "a", "early");
    assert_eq!(notifies(&again), 0, "nor is the same call from a publisher that lost our answer");
    let refreshed = gateway.udp(PHONE, &subscribe("w", 2, &tag, ""));
    let third = notify(&refreshed);
    assert!(body(third).contains("version=\"2\""), "but a refresh is answered with the state");
    assert_eq!(header(&third.text, "CSeq"), Some("3 NOTIFY"));
}

/// DI-10
#[test]
fn fetching_and_unsubscribing_end_with_the_whole_state() {
    let mut gateway = Gateway::new();
    ring(&mut gateway, 1, "a", "early");
    let sent = gateway.udp(PHONE, &subscribe("f", 1, "", "Expires: 0\n"));
    let only = notify(&sent).clone();
    assert_eq!(state(&only), "terminated;reason=timeout");
    assert!(body(&only).contains("early"));
    gateway.reply(&only, "200 OK");
    assert_eq!(gateway.load().0, 0);

    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", ""));
    let tag = to_tag(answer(&sent)).to_owned();
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let left = gateway.udp(PHONE, &subscribe("w", 2, &tag, "Expires: 0\n"));
    assert_eq!(state(notify(&left)), "terminated;reason=timeout");
    gateway.reply(&notify(&left).clone(), "200 OK");
    assert_eq!(gateway.load().0, 0);
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("w", 3, &tag, ""))), 481);
}

#[test]
fn an_end_that_nobody_acknowledges_is_forgotten_in_time() {
    let mut gateway = Gateway::new();
    gateway.udp(PHONE, &subscribe("f", 1, "", "Expires: 0\n"));
    gateway.wait(Duration::from_secs(33));
    assert_eq!(gateway.load().0, 0);
}

#[test]
fn a_subscription_that_is_not_refreshed_ends_with_a_word() {
    let (mut gateway, _) = watched();
    assert_eq!(notifies(&gateway.wait(Duration::from_secs(599))), 0);
    let ended = gateway.wait(Duration::from_millis(1100));
    assert_eq!(state(notify(&ended)), "terminated;reason=timeout");
}

/// TR-03
#[test]
fn subscriptions_that_cannot_be_are_refused_exactly() {
    let mut gateway = Gateway::new();
    let mut check = |more: &str, expected: u16, name: &str, value: Option<&str>| {
        let sent = gateway.udp(PHONE, &subscribe(&format!("c{expected}{}", more.len()), 1, "", more));
        assert_eq!(status(&sent), expected, "{more}");
        assert_eq!(header(&answer(&sent).text, name), value, "{more}");
        assert_eq!(notifies(&sent), usize::from(expected == 200));
    };
    check("Expires: 5\n", 423, "Min-Expires", Some("30"));
    check("Accept: text/html\n", 406, "Accept", Some("application/dialog-info+xml"));
    check("Accept: */*\n", 200, "Expires", Some("600"));
    check("Accept: text/html, application/*;q=0.5\n", 200, "Expires", Some("600"));
    check("Event: dialog;sla\n", 489, "Expires", None);
    check("Expires: 999999999\n", 200, "Expires", Some("86400"));
    assert_eq!(status(&gateway.udp("192.0.2.66:5060", &subscribe("x", 1, "", ""))), 403);
}

/// DI-11: pending subscribers learn nothing, until policy changes.
#[test]
fn pending_subscriptions_wait_for_permission() {
    let mut gateway = Gateway::new();
    ring(&mut gateway, 1, "a", "early");
    let guest = "192.0.2.77:5060";
    let sent = gateway.udp(guest, &subscribe("g", 1, "", ""));
    assert_eq!(status(&sent), 200);
    let pending = notify(&sent).clone();
    assert_eq!((state(&pending), body(&pending)), ("pending;expires=600", ""));
    gateway.reply(&pending, "200 OK");
    assert_eq!(notifies(&ring(&mut gateway, 2, "b", "early")), 0);
    let mut allowed = gateway.config.clone();
    allowed.access.rules.clear();
    let sent = gateway.reload(allowed);
    let active = notify(&sent).clone();
    assert!(state(&active).starts_with("active") && body(&active).contains("early"));
    gateway.reply(&active, "200 OK");
    let mut denied = gateway.config.clone();
    denied.access.otherwise = Action::Deny;
    denied.access.rules.clear();
    let sent = gateway.reload(denied);
    assert_eq!((state(notify(&sent)), body(notify(&sent))), ("terminated;reason=rejected", ""));
}

/// After a restart no CSeq may be used again: what the store holds is always ahead of what was sent.
#[test]
fn records_are_ahead_of_the_cseq() {
    let mut config = config();
    config.store = Some(Durabilities { publications: Durability::Memory, subscriptions: Durability::Memory });
    let mut gateway = Gateway::with(config);
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", "Expires: 86400\n"));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let report = |cseq, tag: &str| {
        let state = if cseq % 2 == 0 { "early" } else { "confirmed" };
        publish(cseq, &format!("Expires: 86400\n{tag}"), &dialog("a", state))
    };
    let mut tag = String::new();
    let mut saved = 0;
    for cseq in 1..=2100 {
        let sent = gateway.udp(OTHER, &report(cseq, &tag));
        tag = format!("SIP-If-Match: {}\n", header(&answer(&sent).text, "SIP-ETag").unwrap());
        let sent = notify(&sent).clone();
        gateway.reply(&sent, "200 OK");
        for record in gateway.records.drain(..) {
            if let Record::Subscription(one) = record {
                saved = one.reserved;
            }
        }
        let number: u32 = header(&sent.text, "CSeq").unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(number <= saved, "{number} was sent, {saved} is saved");
    }
    assert!(saved > 2100 && saved < 4200);
}

/// A permission survives a restart: it is in the record of the subscription.
#[test]
fn a_permission_is_recorded() {
    let mut config = config();
    config.store = Some(Durabilities { publications: Durability::Memory, subscriptions: Durability::Memory });
    let mut gateway = Gateway::with(config);
    let sent = gateway.udp("192.0.2.77:5060", &subscribe("g", 1, "", ""));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let mut allowed = gateway.config.clone();
    allowed.access.rules.clear();
    gateway.reload(allowed);
    let active = gateway.records.iter().filter_map(|record| match record {
        Record::Subscription(one) => Some(one.active),
        _ => None,
    });
    assert_eq!(active.collect::<Vec<_>>(), [false, true]);
}

/// The first change goes out at once, what follows within the interval goes out together at its end.
#[test]
fn changes_within_the_least_interval_go_together() {
    let mut config = config();
    config.notify.min_interval = Duration::from_secs(5);
    let mut gateway = Gateway::with(config);
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", ""));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    gateway.wait(Duration::from_secs(6));
    let first = ring(&mut gateway, 1, "a", "early");
    gateway.reply(&notify(&first).clone(), "200 OK");
    for number in 2..=4 {
        gateway.wait(Duration::from_secs(1));
        assert_eq!(notifies(&ring(&mut gateway, number, &format!("b{number}"), "early")), 0);
    }
    assert_eq!(notifies(&gateway.wait(Duration::from_millis(1900))), 0);
    let together = gateway.wait(Duration::from_millis(200));
    assert_eq!(body(notify(&together)).matches("<dialog ").count(), 4);
    gateway.reply(&notify(&together).clone(), "200 OK");
    assert_eq!(notifies(&gateway.wait(Duration::from_secs(20))), 0);
}

/// DI-11: however a pending subscription ends, its last NOTIFY tells nothing.
#[test]
fn pending_subscriptions_learn_nothing_from_their_end() {
    let guest = "192.0.2.77:5060";
    let pending = || {
        let mut gateway = Gateway::new();
        ring(&mut gateway, 1, "a", "early");
        let sent = gateway.udp(guest, &subscribe("g", 1, "", ""));
        gateway.reply(&notify(&sent).clone(), "200 OK");
        (gateway, to_tag(answer(&sent)).to_owned())
    };
    let (mut gateway, _) = pending();
    let sent = gateway.wait(Duration::from_millis(600_100));
    assert_eq!((state(notify(&sent)), body(notify(&sent))), ("terminated;reason=giveup", ""));
    let (mut gateway, _) = pending();
    let sent = gateway.stop();
    assert_eq!((state(notify(&sent)), body(notify(&sent))), ("terminated;reason=deactivated", ""));
    let (mut gateway, tag) = pending();
    let sent = gateway.udp(guest, &subscribe("g", 2, &tag, "Expires: 0\n"));
    assert_eq!((state(notify(&sent)), body(notify(&sent))), ("terminated;reason=giveup", ""));
    let sent = gateway.udp(guest, &subscribe("fetch", 1, "", "Expires: 0\n"));
    assert_eq!((state(notify(&sent)), body(notify(&sent))), ("terminated;reason=giveup", ""));
}

/// TR-02
#[test]
fn an_unanswered_notify_is_sent_again_and_one_silence_ends_nothing() {
    let (mut gateway, _) = watched();
    let first = notify(&ring(&mut gateway, 1, "a", "early")).clone();
    let again = gateway.wait(Duration::from_secs(31));
    assert!(again.len() > 5 && again.iter().all(|one| one.text == first.text), "the same bytes each time");
    let merged = ring(&mut gateway, 2, "b", "early");
    assert_eq!(notifies(&merged), 0, "one in flight");
    gateway.wait(Duration::from_secs(2)); // Timer F
    assert_eq!(gateway.load().0, 1, "suspect, not gone");
    let probe = gateway.wait(Duration::from_secs(31));
    assert!(body(&probe[0]).contains("\"b\""), "the probe carries the newest state");
    gateway.reply(&probe[0].clone(), "200 OK");
    assert_eq!(notifies(&ring(&mut gateway, 3, "c", "early")), 1, "trusted again");
}

#[test]
fn the_newest_state_follows_the_answer() {
    let (mut gateway, _) = watched();
    let first = notify(&ring(&mut gateway, 1, "a", "early")).clone();
    for (cseq, id) in [(2, "b"), (3, "c")] {
        assert_eq!(notifies(&ring(&mut gateway, cseq, id, "early")), 0, "one in flight");
    }
    let sent = gateway.reply(&first, "200 OK");
    assert_eq!(body(notify(&sent)).matches("<dialog ").count(), 3);
    assert!(body(notify(&sent)).contains("version=\"2\""));
    assert!(gateway.reply(&notify(&sent).clone(), "200 OK").is_empty());
}

/// DI-03: what one publisher has seen end, no other brings back, nor the end of its publication.
#[test]
fn what_has_ended_stays_ended() {
    let (mut gateway, _) = watched();
    let told = |gateway: &mut Gateway, cseq, more: &str, text: &str| {
        let sent = gateway.udp(OTHER, &publish(cseq, more, text));
        for one in sent.iter().filter(|one| one.text.starts_with("NOTIFY")) {
            gateway.reply(one, "200 OK");
            assert!(cseq < 3 || !one.text.contains("confirmed"), "it has come back: {}", one.text);
        }
        header(&answer(&sent).text, "SIP-ETag").unwrap().to_owned()
    };
    let first = told(&mut gateway, 1, "", &dialog("a", "early"));
    told(&mut gateway, 2, "", &dialog("a", "confirmed"));
    let first = told(&mut gateway, 3, &format!("SIP-If-Match: {first}\n"), &dialog("a", "terminated"));
    told(&mut gateway, 4, &format!("SIP-If-Match: {first}\nExpires: 0\n"), "");
    let sent = gateway.udp("192.0.2.11:5060", &subscribe("late", 1, "", ""));
    assert!(!body(notify(&sent)).contains("confirmed"), "nor for those who come later");
}

/// The state that nobody has acknowledged is told again, although nothing has changed since.
#[test]
fn a_probe_needs_no_change() {
    let (mut gateway, _) = watched();
    ring(&mut gateway, 1, "a", "early");
    gateway.wait(Duration::from_millis(32_100));
    let probe = gateway.wait(Duration::from_millis(30_100));
    assert_eq!(header(&notify(&probe).text, "CSeq"), Some("3 NOTIFY"));
    assert!(body(notify(&probe)).contains("early"));
    gateway.reply(&notify(&probe).clone(), "200 OK");
    assert_eq!(notifies(&gateway.wait(Duration::from_secs(300))), 0);
}

/// However much happens meanwhile, a watcher that does not answer gets one transaction for each probe.
#[test]
fn a_suspect_watcher_gets_one_probe_with_back_off() {
    let (mut gateway, _) = watched();
    ring(&mut gateway, 1, "a0", "early");
    gateway.wait(Duration::from_millis(32_100)); // Timer F: the first failure
    let mut cseqs = Vec::new();
    for number in 1..=40 {
        ring(&mut gateway, number + 1, &format!("a{number}"), "early");
        for sent in gateway.wait(Duration::from_secs(3)) {
            let cseq = header(&sent.text, "CSeq").unwrap().to_owned();
            if sent.text.starts_with("NOTIFY") && !cseqs.contains(&cseq) {
                cseqs.push(cseq);
            }
        }
    }
    // 30 s after the first failure, and 60 s after the second, which is 32 s later: at 30 s and at 122 s.
    assert_eq!(cseqs, ["3 NOTIFY"]);
    assert_eq!(gateway.load().0, 1);
    let probe = gateway.wait(Duration::from_secs(4));
    assert_eq!(header(&notify(&probe[..1]).text, "CSeq"), Some("4 NOTIFY"));
    assert!(probe[0].text.contains("a40"), "the newest state");
}

#[test]
fn a_watcher_that_stays_silent_is_given_up() {
    let mut config = config();
    config.notify.failures = 1;
    let mut gateway = Gateway::with(config);
    gateway.udp(PHONE, &subscribe("w", 1, "", ""));
    gateway.wait(Duration::from_secs(33));
    assert_eq!(gateway.load().0, 0, "RFC 6665 section 4.2.2 to the letter, if asked for");
}

/// TR-02
#[test]
fn answers_to_notify_are_heeded() {
    let check = |status: &str, kept: usize| {
        let (mut gateway, _) = watched();
        let sent = notify(&ring(&mut gateway, 1, "a", "early")).clone();
        gateway.reply(&sent, status);
        assert_eq!(gateway.load().0, kept, "{status}");
        gateway
    };
    check("481 Gone", 0);
    check("481 Gone\nRetry-After: 10", 0); // RFC 6665 section 4.2.2: whatever else it says
    check("480 Busy\nRetry-After: 10", 1);
    check("404 Not Found", 0);
    check("489 Bad Event", 0);
    check("408 Timeout", 1);
    check("500 Oops", 1);
    check("401 Unauthorized", 1);
    let mut gateway = check("503 Busy\nRetry-After: 10\n", 1);
    assert_eq!(notifies(&ring(&mut gateway, 2, "b", "early")), 0);
    assert_eq!(notifies(&gateway.wait(Duration::from_secs(9))), 0);
    assert_eq!(notifies(&gateway.wait(Duration::from_millis(1100))), 1);
}

#[test]
fn a_refresh_supersedes_what_is_in_flight() {
    let (mut gateway, tag) = watched();
    let stuck = notify(&ring(&mut gateway, 1, "a", "early")).clone();
    let sent = gateway.udp(PHONE, &subscribe("w", 2, &tag, ""));
    let next = notify(&sent).clone();
    assert_eq!(header(&next.text, "CSeq"), Some("3 NOTIFY"));
    gateway.reply(&stuck, "481 Gone");
    assert_eq!(gateway.load().0, 1, "a late answer to the old one means nothing");
    gateway.reply(&next, "200 OK");
    assert_eq!(notifies(&gateway.wait(Duration::from_secs(10))), 0);
}

#[test]
fn a_lower_cseq_gets_500_and_a_gap_is_fine() {
    let (mut gateway, tag) = watched();
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("w", 9, &tag, ""))), 200);
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("w", 5, &tag, ""))), 500);
    let equal = subscribe("w", 9, &tag, "").replace("z9hG4bKw9", "z9hG4bKother");
    assert_eq!(status(&gateway.udp(PHONE, &equal)), 500, "no retransmission, and not newer either");
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("other", 10, &tag, ""))), 481, "another dialog");
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("w", 11, "00000000000aaaaaaaaaaaaaaaa", ""))), 481);
}

#[test]
fn a_rebooted_phone_replaces_its_subscription_and_nobody_elses() {
    let (mut gateway, _) = watched();
    gateway.udp(PHONE, &subscribe("new", 1, "", ""));
    assert_eq!(gateway.load().0, 1, "same device, same resource, new Call-ID");
    gateway.udp(PHONE, &subscribe("id", 1, "", "Event: dialog;id=2\n"));
    assert_eq!(gateway.load().0, 2, "another Event id");
    gateway.udp("192.0.2.11:5060", &subscribe("twin", 1, "", "Contact: <sip:2@192.0.2.11:5060>\n"));
    assert_eq!(gateway.load().0, 3, "another phone of the same user");
    let instance = "Contact: <sip:2@192.0.2.12:5060>;+sip.instance=\"<urn:uuid:1>\"\n";
    gateway.udp("192.0.2.12:5060", &subscribe("i1", 1, "", instance));
    gateway.udp("192.0.2.12:7777", &subscribe("i2", 1, "", &instance.replace(":5060", ":7777")));
    assert_eq!(gateway.load().0, 4, "an instance is a device wherever it is");
    let history = gateway.explain("sip:1@example.com").packages[0].history.clone();
    assert!(history.iter().any(|entry| entry.what.contains("replaced")));
}

/// RFC 6665 section 4.5.2: package and Event id name a subscription within its dialog.
#[test]
fn a_refresh_of_another_event_finds_nothing() {
    let mut gateway = Gateway::new();
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", "Event: dialog;id=7\n"));
    let tag = to_tag(answer(&sent)).to_owned();
    gateway.reply(&notify(&sent).clone(), "200 OK");
    assert_eq!(header(&notify(&sent).text, "Event"), Some("dialog;id=7"));
    for (cseq, event, expected) in
        [(2, "dialog;id=7", 200), (3, "dialog", 481), (4, "dialog;id=8", 481), (5, "presence;id=7", 481)]
    {
        let text = subscribe("w", cseq, &tag, &format!("Event: {event}\n"));
        assert_eq!(status(&gateway.udp(PHONE, &text)), expected, "{event}");
    }
    assert_eq!(gateway.load().0, 1);
}

/// Refreshes without a Contact keep the one that is known.
#[test]
fn a_refresh_needs_no_contact() {
    let (mut gateway, tag) = watched();
    let text = subscribe("w", 2, &tag, "").replace("Contact: <sip:2@192.0.2.10:5060>\n", "");
    let sent = gateway.udp(PHONE, &text);
    assert_eq!(status(&sent), 200);
    assert!(notify(&sent).text.starts_with("NOTIFY sip:2@192.0.2.10:5060 SIP/2.0\r\n"));
}

/// Names that peers choose do not fill the history.
#[test]
fn the_history_keeps_names_short() {
    let mut gateway = Gateway::new();
    let long = |call: &str| {
        let from = format!("From: <sip:2@example.com;x={}>", "y".repeat(3000));
        subscribe(call, 1, "", "").replace("From: <sip:2@example.com>", &from)
    };
    assert_eq!(status(&gateway.udp(PHONE, &long("a"))), 200);
    assert_eq!(status(&gateway.udp(PHONE, &long("b"))), 200);
    let explanation = gateway.explain("sip:1@example.com");
    let replaced = explanation.packages[0].history.iter().find(|one| one.what.contains("replaced")).unwrap();
    assert_eq!(replaced.who.len(), 256);
}

#[test]
fn a_fetch_takes_nobodys_place() {
    let (mut gateway, tag) = watched();
    let sent = gateway.udp(PHONE, &subscribe("f", 1, "", "Expires: 0\n"));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    assert_eq!(gateway.load().0, 1, "the phone still watches");
    assert_eq!(notifies(&ring(&mut gateway, 1, "a", "early")), 1);
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("w", 2, &tag, ""))), 200);
    gateway.udp(PHONE, &subscribe("new", 1, "", ""));
    assert_eq!(gateway.load().0, 1, "and can still be replaced");
}

#[test]
fn a_device_that_has_moved_is_replaced_where_it_is_now() {
    let mut config = config();
    config.limits.subscriptions_per_source = 1;
    let mut gateway = Gateway::with(config);
    let tag = to_tag(answer(&gateway.udp(PHONE, &subscribe("w", 1, "", "")))).to_owned();
    let (place, contact) = ("192.0.2.11:6000", "Contact: <sip:2@192.0.2.11:6000>\n");
    assert_eq!(status(&gateway.udp(place, &subscribe("w", 2, &tag, contact))), 200);
    assert_eq!(status(&gateway.udp(place, &subscribe("n", 1, "", contact))), 200, "it takes its own place");
    assert_eq!(gateway.load().0, 1);
    assert_eq!(status(&gateway.udp(place, &subscribe("o", 1, "", "Event: presence\n"))), 503, "but gets no other");
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("p", 1, "", ""))), 200, "where it was there is room");
}

#[test]
fn a_subscription_without_a_notify_leaves_no_record() {
    let mut config = config();
    config.store = Some(Durabilities { publications: Durability::Memory, subscriptions: Durability::Memory });
    let mut gateway = Gateway::with(config);
    let tag = to_tag(answer(&gateway.udp(PHONE, &by_name("w", 1, "", "a.example.net", "")))).to_owned();
    gateway.udp(PHONE, &by_name("w", 2, &tag, "b.example.net", ""));
    gateway.wait(Duration::from_secs(700));
    gateway.save();
    assert_eq!((gateway.load().0, gateway.disk.subscriptions().len()), (0, 0));
}

/// Where a NOTIFY goes: route set, flow, Contact.
#[test]
fn notifies_go_by_route_set_then_flow_then_contact() {
    let check = |source: &str, text: String, to: &str| {
        let mut gateway = Gateway::new();
        let sent = gateway.udp(source, &text);
        assert_eq!(notify(&sent).flow.remote.to_string(), to, "{text}");
        notify(&sent).clone()
    };
    let plain = |more: &str| subscribe("w", 1, "", more).replace(";rport", "");
    check("203.0.113.9:4000", subscribe("w", 1, "", ""), "203.0.113.9:4000"); // rport: the flow
    check("203.0.113.9:4000", plain(""), "192.0.2.10:5060"); // the Contact
    check("203.0.113.9:4000", plain("Contact: <sip:2@10.0.0.5>\n"), "203.0.113.9:4000"); // private
    check("203.0.113.9:4000", plain("Contact: <sip:2@abc.invalid>\n"), "203.0.113.9:4000");
    check("203.0.113.9:4000", plain("Contact: <sip:2@192.0.2.9;ob>\n"), "203.0.113.9:4000");
    // DI-12
    let routed = plain("Record-Route: <sip:192.0.2.50;lr>, <sip:192.0.2.51:5070;lr>\n");
    let sent = check("192.0.2.50:5060", routed, "192.0.2.50:5060");
    assert!(sent.text.contains("Route: <sip:192.0.2.50;lr>\r\nRoute: <sip:192.0.2.51:5070;lr>\r\n"));
    assert!(sent.text.starts_with("NOTIFY sip:2@192.0.2.10:5060 "));
    let strict = check("192.0.2.50:5060", plain("Record-Route: <sip:192.0.2.50>\n"), "192.0.2.50:5060");
    assert!(
        strict.text.starts_with("NOTIFY sip:192.0.2.50 ") && strict.text.contains("Route: <sip:2@192.0.2.10:5060>")
    );
}

#[test]
fn a_contact_with_a_name_is_looked_up() {
    let mut gateway = Gateway::new();
    let text = subscribe("w", 1, "", "Contact: <sip:2@phone.example.net>\n").replace(";rport", "");
    let sent = gateway.udp(PHONE, &text);
    assert_eq!((status(&sent), notifies(&sent)), (200, 0));
    let (query, host) = gateway.resolving[0].clone();
    assert_eq!(host, "phone.example.net");
    let sent = gateway.resolved(query, &[(Transport::Udp, "198.51.100.4:5062".parse().unwrap())]);
    assert_eq!(notify(&sent).flow.remote.to_string(), "198.51.100.4:5062");
}

fn by_name(call: &str, cseq: u32, tag: &str, host: &str, more: &str) -> String {
    let contact = format!("Contact: <sip:2@{host}>\n{more}");
    subscribe(call, cseq, tag, &contact).replace(";rport", "")
}

const FOUND: &str = "198.51.100.4:5062";

#[test]
fn an_answer_about_another_subscription_or_an_older_contact_moves_nobody() {
    let found = [(Transport::Udp, FOUND.parse().unwrap())];
    let mut gateway = Gateway::new();
    gateway.udp(PHONE, &by_name("old", 1, "", "a.example.net", ""));
    gateway.udp(PHONE, &by_name("gone", 1, "", "a.example.net", "")); // the same device: takes the place
    let (first, second) = (gateway.resolving[0].0, gateway.resolving[1].0);
    gateway.udp("192.0.2.11:5060", &by_name("x", 1, "", "b.example.net", ""));
    assert_eq!(notifies(&gateway.resolved(first, &found)), 0, "its subscription was replaced");
    assert_eq!(notifies(&gateway.resolved(second, &found)), 1);

    let mut gateway = Gateway::new();
    let tag = to_tag(answer(&gateway.udp(PHONE, &by_name("w", 1, "", "a.example.net", "")))).to_owned();
    gateway.udp(PHONE, &by_name("w", 2, &tag, "b.example.net", ""));
    let (first, second) = (gateway.resolving[0].0, gateway.resolving[1].0);
    assert_eq!(notifies(&gateway.resolved(first, &found)), 0, "its Contact has changed");
    assert_eq!(notifies(&gateway.resolved(second, &found)), 1);
}

#[test]
fn a_watcher_whose_name_is_not_found_is_looked_up_again_and_given_up_at_last() {
    let mut gateway = Gateway::new();
    gateway.udp(PHONE, &by_name("w", 1, "", "a.example.net", ""));
    let query = gateway.resolving[0].0;
    assert_eq!(notifies(&gateway.resolved(query, &[])), 0);
    assert_eq!(notifies(&gateway.wait(Duration::from_secs(31))), 0, "nothing goes where nobody asked for it");
    assert_eq!(gateway.resolving.len(), 2, "asked again");
    let query = gateway.resolving[1].0;
    let sent = gateway.resolved(query, &[(Transport::Udp, FOUND.parse().unwrap())]);
    assert_eq!(notify(&sent).flow.remote.to_string(), FOUND);
    let mut gateway = Gateway::new();
    gateway.udp(PHONE, &by_name("w", 1, "", "a.example.net", ""));
    gateway.wait(Duration::from_secs(200)); // a resolver that never answers
    assert_eq!((gateway.resolving.len(), gateway.load().0), (3, 0));
}

/// The stream of a SUBSCRIBE that named another way for its NOTIFYs may end.
#[test]
fn a_look_up_outlives_the_stream_that_asked_for_it() {
    let mut gateway = Gateway::new();
    let flow = tcp("192.0.2.50:40000", 3);
    let text = subscribe("w", 1, "", "Record-Route: <sip:proxy.example.net;lr>\n").replace("/UDP", "/TCP");
    assert_eq!(notifies(&gateway.flow(flow, &text)), 0);
    gateway.closed(flow);
    let query = gateway.resolving[0].0;
    let sent = gateway.resolved(query, &[(Transport::Udp, FOUND.parse().unwrap())]);
    assert_eq!(notify(&sent).flow.remote.to_string(), FOUND);
    assert!(header(&notify(&sent).text, "Via").unwrap().starts_with("SIP/2.0/UDP "));
}

/// A fetch ends at once, but its only NOTIFY waits for the resolver: without work meanwhile.
#[test]
fn a_fetch_by_name_sleeps_until_its_name_is_known() {
    let mut gateway = Gateway::new();
    let sent = gateway.udp(PHONE, &by_name("f", 1, "", "a.example.net", "Expires: 0\n"));
    assert_eq!((status(&sent), notifies(&sent)), (200, 0));
    gateway.wait(Duration::from_secs(1));
    let (until, mut wakes) = (gateway.now + Duration::from_secs(5), 0);
    while let Some(due) = gateway.deadline().filter(|due| *due < until)
        && wakes < 10
    {
        gateway.wait(Duration::from_micros(due.as_micros() - gateway.now.as_micros()));
        wakes += 1;
    }
    assert!(wakes < 10, "woken {wakes} times for nothing");
    let query = gateway.resolving[0].0;
    let sent = gateway.resolved(query, &[(Transport::Udp, FOUND.parse().unwrap())]);
    assert_eq!(state(notify(&sent)), "terminated;reason=timeout");
    let mut gateway = Gateway::new();
    gateway.udp(PHONE, &by_name("f", 1, "", "a.example.net", "Expires: 0\n"));
    let query = gateway.resolving[0].0;
    gateway.resolved(query, &[]);
    assert_eq!(gateway.load().0, 0, "nobody to tell it to");
}

#[test]
fn a_refresh_from_a_new_place_moves_the_target() {
    let (mut gateway, tag) = watched();
    let moved = subscribe("w", 2, &tag, "Contact: <sip:2@192.0.2.99:5080>\n");
    let sent = gateway.udp("192.0.2.99:5080", &moved);
    let next = notify(&sent);
    assert_eq!(next.flow.remote.to_string(), "192.0.2.99:5080");
    assert!(next.text.starts_with("NOTIFY sip:2@192.0.2.99:5080 SIP/2.0"));
}

/// TR-01: a stream that ends makes its subscriptions dormant; the phone that comes back rebinds them.
#[test]
fn a_dead_stream_makes_dormant_and_a_refresh_wakes() {
    let stream = |connection| Flow {
        transport: Transport::Tcp,
        listener: 1,
        connection,
        remote: "192.0.2.10:40000".parse().unwrap(),
        local: None,
    };
    let mut gateway = Gateway::new();
    let tcp = |text: String| text.replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let sent = gateway.flow(stream(1), &tcp(subscribe("w", 1, "", "Contact: <sip:2@192.0.2.10:40000>\n")));
    let tag = to_tag(answer(&sent)).to_owned();
    assert_eq!(notify(&sent).flow, stream(1));
    assert!(header(&notify(&sent).text, "Via").unwrap().starts_with("SIP/2.0/TCP"));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    assert_eq!(notifies(&gateway.wait(Duration::from_secs(5))), 0, "nothing is sent again over a stream");
    gateway.closed(stream(1));
    assert_eq!(notifies(&ring(&mut gateway, 1, "a", "early")), 0);
    assert_eq!(gateway.explain("sip:1@example.com").packages[0].watchers[0].state, "dormant");
    let sent = gateway.flow(stream(2), &tcp(subscribe("w", 2, &tag, "Contact: <sip:2@192.0.2.10:40000>\n")));
    assert_eq!(notify(&sent).flow, stream(2));
    assert!(body(notify(&sent)).contains("early"));
}

#[test]
fn a_dead_stream_with_a_reachable_contact_gets_one_attempt() {
    let flow = Flow {
        transport: Transport::Tcp,
        listener: 1,
        connection: 5,
        remote: "192.0.2.10:40000".parse().unwrap(),
        local: None,
    };
    let mut gateway = Gateway::new();
    let text = subscribe("w", 1, "", "Contact: <sip:2@192.0.2.10:5060;transport=tcp>\n").replace("/UDP", "/TCP");
    let sent = gateway.flow(flow, &text);
    gateway.reply(&notify(&sent).clone(), "200 OK");
    gateway.closed(flow);
    let sent = ring(&mut gateway, 1, "a", "early");
    let attempt = notify(&sent).flow;
    assert_eq!((attempt.connection, attempt.remote.to_string()), (0, "192.0.2.10:5060".into()));

    // What was on its way when the stream ended is told at once.
    let mut gateway = Gateway::new();
    let sent = gateway.flow(flow, &text);
    gateway.reply(&notify(&sent).clone(), "200 OK");
    assert_eq!(notify(&ring(&mut gateway, 1, "a", "early")).flow, flow);
    let sent = gateway.closed(flow);
    assert_eq!((notify(&sent).flow.connection, header(&notify(&sent).text, "CSeq")), (0, Some("3 NOTIFY")));
    assert!(body(notify(&sent)).contains("early"));
}

fn tcp(remote: &str, connection: u64) -> Flow {
    Flow { transport: Transport::Tcp, listener: 1, connection, remote: remote.parse().unwrap(), local: None }
}

/// RFC 3261 section 18.1.1, without opening streams on speculation.
#[test]
fn a_large_body_leaves_udp_by_an_open_stream_of_the_same_device_only() {
    let mut gateway = Gateway::new();
    let via = |sent: &Sent| header(&sent.text, "Via").unwrap()[..11].to_owned();
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", ""));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let large = |state: &str| dialog(&"x".repeat(1000), state);
    let sent = gateway.udp(OTHER, &publish(1, "", &large("early")));
    let etag = header(&answer(&sent).text, "SIP-ETag").unwrap().to_owned();
    assert!(notify(&sent).text.len() > 1300);
    assert_eq!((notify(&sent).flow.transport, via(notify(&sent))), (Transport::Udp, "SIP/2.0/UDP".into()));
    gateway.reply(&notify(&sent).clone(), "200 OK");

    // Somebody else says that the phone is here.
    let stream = subscribe("s", 1, "", "Event: message-summary\n").replace("/UDP", "/TCP");
    gateway.flow(tcp("192.0.2.99:40000", 7), &stream);
    let sent = gateway.udp(OTHER, &publish(2, &format!("SIP-If-Match: {etag}\n"), &large("confirmed")));
    assert_eq!(notify(&sent).flow.transport, Transport::Udp);
    let etag = header(&answer(&sent).text, "SIP-ETag").unwrap().to_owned();
    gateway.reply(&notify(&sent).clone(), "200 OK");

    // The phone itself has a stream.
    let own = tcp("192.0.2.10:40000", 8);
    let sent = gateway.flow(own, &stream.replace("Call-ID: s", "Call-ID: o").replace("bKs1", "bKo1"));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let sent = gateway.udp(OTHER, &publish(3, &format!("SIP-If-Match: {etag}\n"), &large("early")));
    let etag = header(&answer(&sent).text, "SIP-ETag").unwrap().to_owned();
    assert_eq!((notify(&sent).flow, via(notify(&sent))), (own, "SIP/2.0/TCP".into()));
    let second = gateway.wait(Duration::from_millis(1100));
    assert_eq!((notify(&second).flow.transport, via(notify(&second))), (Transport::Udp, "SIP/2.0/UDP".into()));
    gateway.reply(&notify(&second).clone(), "200 OK");

    gateway.closed(own);
    let sent = gateway.udp(OTHER, &publish(4, &format!("SIP-If-Match: {etag}\n"), &large("confirmed")));
    assert_eq!(notify(&sent).flow.transport, Transport::Udp, "the stream has ended");
}

/// Who waits for a stream that cannot be opened is told by UDP, with a Via that says so; nobody else is touched.
#[test]
fn a_connect_that_fails_falls_back_to_udp() {
    let mut gateway = Gateway::new();
    let text = |call: &str, ip: &str| {
        let contact = format!("Contact: <sip:2@{ip}:5060;transport=tcp>\n");
        subscribe(call, 1, "", &contact).replace(";rport", "")
    };
    let sent = gateway.udp("192.0.2.11:5060", &text("a", "192.0.2.11"));
    let attempt = notify(&sent).flow;
    assert_eq!((attempt.transport, attempt.connection), (Transport::Tcp, 0));
    gateway.udp("192.0.2.12:5060", &text("b", "192.0.2.12"));
    let sent = gateway.closed(attempt);
    let again = notify(&sent);
    assert_eq!((again.flow.transport, again.flow.remote), (Transport::Udp, attempt.remote));
    assert!(header(&again.text, "Via").unwrap().starts_with("SIP/2.0/UDP "));
    assert_eq!(header(&again.text, "CSeq"), Some("2 NOTIFY"));
    assert_eq!(notifies(&gateway.closed(attempt)), 0);
}

/// Many subscriptions of one stream come and go in any order.
#[test]
fn a_stream_that_ends_takes_exactly_its_own_subscriptions() {
    let mut gateway = Gateway::new();
    let flow = |number: u32| tcp("192.0.2.10:40000", u64::from(number % 2 + 1));
    let mut tags = Vec::new();
    for number in 0..8 {
        let text = subscribe(&format!("s{number}"), 1, "", &format!("Event: dialog;id={number}\n"));
        let sent = gateway.flow(flow(number), &text.replace("/UDP", "/TCP"));
        tags.push(to_tag(answer(&sent)).to_owned());
        gateway.reply(&notify(&sent).clone(), "200 OK");
    }
    for number in [0, 6, 3] {
        let more = format!("Event: dialog;id={number}\nExpires: 0\n");
        let text = subscribe(&format!("s{number}"), 2, &tags[number as usize], &more).replace("/UDP", "/TCP");
        let sent = gateway.flow(flow(number), &text);
        gateway.reply(&notify(&sent).clone(), "200 OK");
    }
    let moved = subscribe("s2", 2, &tags[2], "Event: dialog;id=2\n").replace("/UDP", "/TCP");
    let sent = gateway.flow(flow(1), &moved); // from the first stream to the second
    gateway.reply(&notify(&sent).clone(), "200 OK");
    for number in [9, 11, 13] {
        // Places are used again, by the second stream.
        let text = subscribe(&format!("s{number}"), 1, "", &format!("Event: dialog;id={number}\n"));
        let sent = gateway.flow(flow(number), &text.replace("/UDP", "/TCP"));
        gateway.reply(&notify(&sent).clone(), "200 OK");
    }
    gateway.closed(flow(0));
    let states = |gateway: &mut Gateway, state: &str| {
        let explanation = gateway.explain("sip:1@example.com");
        explanation.packages[0].watchers.iter().filter(|one| one.state == state).count()
    };
    assert_eq!((states(&mut gateway, "dormant"), states(&mut gateway, "active")), (1, 7));
    assert_eq!(notifies(&ring(&mut gateway, 1, "a", "early")), 7);
}

/// DI-04
#[test]
fn publications_of_one_presentity_make_one_document() {
    let (mut gateway, _) = watched();
    let one = notify(&ring(&mut gateway, 1, "a", "early")).clone();
    gateway.reply(&one, "200 OK");
    let two = notify(&ring(&mut gateway, 2, "b", "confirmed")).clone();
    assert_eq!(body(&two).matches("<dialog ").count(), 2);
}

/// DI-07: what a device needs is its profile's, at the same instant.
#[test]
fn devices_see_the_same_state_in_their_own_way() {
    let mut gateway = Gateway::new();
    ring(&mut gateway, 1, "a", "early");
    ring(&mut gateway, 2, "b", "confirmed");
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", "User-Agent: Single 1.0\n"));
    assert_eq!(body(notify(&sent)).matches("<dialog ").count(), 1);
    let sent = gateway.udp("192.0.2.11:5060", &subscribe("x", 1, "", "User-Agent: Many 1.0\n"));
    assert_eq!(body(notify(&sent)).matches("<dialog ").count(), 2);
}

#[test]
fn the_entity_is_what_the_watcher_asked_for() {
    let mut gateway = Gateway::new();
    let text = subscribe("w", 1, "", "").replace("SUBSCRIBE sip:1@example.com", "SUBSCRIBE sip:boss@192.0.2.1:5060");
    let sent = gateway.udp(PHONE, &text);
    assert_eq!(status(&sent), 200);
    assert!(!body(notify(&sent)).contains("entity=\"sip:1@example.com\""));
    let text = subscribe("y", 1, "", "").replace("SUBSCRIBE sip:1@example.com", "SUBSCRIBE sip:boss@example.com");
    let sent = gateway.udp("192.0.2.11:5060", &text);
    assert!(body(notify(&sent)).contains("entity=\"sip:boss@example.com\""));
    let length: usize = header(&notify(&sent).text, "Content-Length").unwrap().parse().unwrap();
    assert_eq!(length, body(notify(&sent)).len());
}

/// OP-03
#[test]
fn explain_says_who_said_what_and_who_was_told() {
    let (mut gateway, _) = watched();
    let sent = notify(&ring(&mut gateway, 1, "a", "early")).clone();
    gateway.reply(&sent, "200 OK");
    let explanation = gateway.explain("sip:1@example.com");
    let dialog = &explanation.packages[0];
    assert_eq!((dialog.kind.as_str(), dialog.sources.len(), dialog.watchers.len()), ("dialog", 1, 1));
    assert_eq!(dialog.sources[0].from, OTHER);
    let watcher = &dialog.watchers[0];
    assert_eq!(
        (watcher.watcher.as_str(), watcher.answer.as_str(), watcher.version),
        ("sip:2@example.com", "200", Some(1))
    );
    assert!(dialog.history.iter().any(|entry| entry.what == "published"));
}

#[test]
fn a_gateway_that_stops_says_so_to_everybody() {
    let (mut gateway, _) = watched();
    let sent = gateway.stop();
    assert_eq!(state(notify(&sent)), "terminated;reason=deactivated");
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("late", 1, "", ""))), 503);
}

/// PR-02: a call shows in presence, and leaves it with its end.
#[test]
fn a_call_is_on_the_phone_in_presence() {
    let mut gateway = Gateway::new();
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", "Event: presence\n"));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let sent = ring(&mut gateway, 1, "a", "confirmed");
    assert!(body(notify(&sent)).contains("on-the-phone"));
    let etag = header(&answer(&sent).text, "SIP-ETag").unwrap().to_owned();
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let sent = gateway.udp(OTHER, &publish(2, &format!("SIP-If-Match: {etag}\n"), &dialog("a", "terminated")));
    assert!(!body(notify(&sent)).contains("on-the-phone"));
}

/// Profiles are told apart by name, not by their place in the configuration.
#[test]
fn a_reload_leaves_devices_their_profile() {
    let mut gateway = Gateway::new();
    let single = Profile { name: "single".into(), single_dialog: true, ..Profile::default() };
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", "User-Agent: Single 1.0\n"));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let other = ("^Other".to_owned(), Profile { name: "other".into(), ..Profile::default() });
    let mut config = gateway.config.clone();
    config.profiles = Profiles::new(Profile::default(), vec![other.clone(), ("^Single".into(), single)]).unwrap();
    gateway.reload(config.clone());
    let first = ring(&mut gateway, 1, "a", "early");
    gateway.reply(&notify(&first).clone(), "200 OK");
    let second = ring(&mut gateway, 2, "b", "early");
    assert_eq!(second.iter().filter(|one| one.text.matches("<dialog ").count() > 1).count(), 0);
    config.profiles = Profiles::new(Profile::default(), vec![other]).unwrap();
    for one in second.iter().filter(|one| one.text.starts_with("NOTIFY")) {
        gateway.reply(one, "200 OK");
    }
    gateway.reload(config);
    let third = ring(&mut gateway, 3, "c", "early");
    assert_eq!(body(notify(&third)).matches("<dialog ").count(), 3, "one that is no more: the default");
}

/// Devices that cannot bear the NOTIFY that ends an unsubscription do not get it.
#[test]
fn some_devices_leave_without_a_word() {
    let mut config = config();
    let quiet = Profile { name: "quiet".into(), final_notify: false, ..Profile::default() };
    config.profiles = Profiles::new(Profile::default(), vec![("^Quiet".into(), quiet)]).unwrap();
    let mut gateway = Gateway::with(config);
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", "User-Agent: Quiet 1.0\n"));
    let tag = to_tag(answer(&sent)).to_owned();
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let left = gateway.udp(PHONE, &subscribe("w", 2, &tag, "Expires: 0\n"));
    assert_eq!((status(&left), notifies(&left), gateway.load().0), (200, 0, 0));
    let fetched = gateway.udp(PHONE, &subscribe("f", 1, "", "User-Agent: Quiet 1.0\nExpires: 0\n"));
    assert_eq!(notifies(&fetched), 1, "a fetch is nothing without its NOTIFY");
}

/// What a package no longer derives is not said any more.
#[test]
fn a_reload_derives_anew() {
    let mut gateway = Gateway::new();
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", "Event: presence\n"));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let lit = ring(&mut gateway, 1, "a", "confirmed");
    gateway.reply(&notify(&lit).clone(), "200 OK");
    let configured = |gateway: &Gateway, from_dialogs| {
        let presence = lamplighter_packages::presence::Config { from_dialogs };
        let packages = lamplighter_packages::Config { presence, ..lamplighter_packages::Config::default() };
        let packages = Packages::new(lamplighter_packages::packages(&packages), |_, expires| expires);
        Config { packages, ..gateway.config.clone() }
    };
    let (off, on) = (configured(&gateway, false), configured(&gateway, true));
    let sent = gateway.reload(off);
    assert!(!body(notify(&sent)).contains("on-the-phone"));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let sent = gateway.reload(on);
    assert!(body(notify(&sent)).contains("on-the-phone"));
}

#[test]
fn per_source_caps_spare_the_trusted() {
    let mut config = config();
    config.limits.subscriptions_per_source = 2;
    let mut gateway = Gateway::with(config);
    for number in 0..3 {
        let contact = format!("Contact: <sip:{number}@192.0.2.10:5060>\n");
        let expected = if number < 2 { 200 } else { 503 };
        assert_eq!(status(&gateway.udp(PHONE, &subscribe(&format!("n{number}"), 1, "", &contact))), expected);
        assert_eq!(status(&gateway.udp(OTHER, &subscribe(&format!("t{number}"), 1, "", &contact))), 200);
    }
}
