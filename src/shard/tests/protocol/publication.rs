//! RFC 3903.

use crate::*;

fn etag(sent: &[Sent]) -> String {
    header(&answer(sent).text, "SIP-ETag").expect("an entity-tag").to_owned()
}

#[test]
fn a_publication_is_made_refreshed_modified_and_removed() {
    let mut gateway = Gateway::new();
    let made = gateway.udp(OTHER, &publish(1, "", &dialog("a", "early")));
    assert_eq!((status(&made), header(&answer(&made).text, "Expires")), (200, Some("600")));
    let first = etag(&made);
    let refreshed = gateway.udp(OTHER, &publish(2, &format!("SIP-If-Match: {first}\n"), ""));
    let second = etag(&refreshed);
    assert_ne!(first, second, "a new entity-tag each time");
    assert_eq!(status(&gateway.udp(OTHER, &publish(3, &format!("SIP-If-Match: {first}\n"), ""))), 412);
    let modified = gateway.udp(OTHER, &publish(4, &format!("SIP-If-Match: {second}\n"), &dialog("a", "confirmed")));
    let third = etag(&modified);
    assert_eq!(gateway.load(), (0, 1));
    let removed = gateway.udp(OTHER, &publish(5, &format!("SIP-If-Match: {third}\nExpires: 0\n"), ""));
    assert_eq!((status(&removed), header(&answer(&removed).text, "Expires")), (200, Some("0")));
    assert_eq!(gateway.load(), (0, 0));
    let reasons: Vec<_> = gateway.changes.iter().filter(|one| one.package.0 == 0).map(|one| one.reason).collect();
    assert_eq!(reasons, ["published", "published", "withdrawn"], "a refresh changes nothing");
}

/// A phone without calls and a phone that says nothing are one document to watchers, but two states in the mirror.
#[test]
fn the_mirror_learns_who_says_something_although_watchers_see_no_change() {
    let mut gateway = Gateway::new();
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", "Expires: 3600\n"));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let idle = "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" state=\"full\" \
                entity=\"sip:1@example.com\"/>";
    let dialogs = |gateway: &Gateway| -> Vec<(u64, bool)> {
        let changes = gateway.changes.iter().filter(|one| one.package.0 == 0);
        changes.map(|one| (one.seq, one.state.is_some())).collect()
    };
    let made = gateway.udp(OTHER, &publish(1, "", idle));
    assert_eq!((status(&made), notifies(&made)), (200, 0));
    assert_eq!(dialogs(&gateway), [(1, true)]);
    let removed = gateway.udp(OTHER, &publish(2, &format!("SIP-If-Match: {}\nExpires: 0\n", etag(&made)), ""));
    assert_eq!((status(&removed), notifies(&removed)), (200, 0));
    assert_eq!(dialogs(&gateway), [(1, true), (2, false)]);
}

#[test]
fn a_retransmission_gets_the_same_answer_and_makes_nothing() {
    let mut gateway = Gateway::new();
    let text = publish(1, "", &dialog("a", "early"));
    let first = gateway.udp(OTHER, &text);
    let again = gateway.udp(OTHER, &text);
    assert_eq!(first[0].text, again[0].text);
    assert_eq!(gateway.load(), (0, 1));
    gateway.wait(Duration::from_secs(40));
    assert_ne!(gateway.udp(OTHER, &text)[0].text, first[0].text, "after Timer J it is a new request");
}

/// TR-03
#[test]
fn what_cannot_be_published_gets_the_exact_refusal() {
    let mut gateway = Gateway::new();
    let early = dialog("a", "early");
    let mut check = |text: String, expected: u16, name: &str, value: Option<&str>| {
        let sent = gateway.udp(OTHER, &text);
        assert_eq!(status(&sent), expected, "{text}");
        assert_eq!(header(&answer(&sent).text, name), value, "{text}");
    };
    check(
        publish(1, "Event: conference\n", &early),
        489,
        "Allow-Events",
        Some("dialog, message-summary, presence, reg, weather"),
    );
    check(publish(2, "SIP-If-Match: nosuch\n", &early), 412, "SIP-ETag", None);
    check(publish(3, "Expires: 1\n", &early), 423, "Min-Expires", Some("30"));
    check(publish(4, "Content-Type: text/html\n", &early), 415, "Accept", Some("application/dialog-info+xml"));
    check(publish(5, "Content-Encoding: gzip\n", &early), 415, "Accept-Encoding", Some("identity"));
    check(publish(6, "", ""), 400, "SIP-ETag", None);
    check(publish(7, "", "<dialog-info"), 400, "SIP-ETag", None);
    check(publish(8, "Event: dialog;sla\n", &early), 489, "SIP-ETag", None);
    check(publish(9, "Event: dialog;id=7\n", &early), 200, "Expires", Some("600"));
}

/// DI-02, DI-11
#[test]
fn only_trusted_addresses_publish_for_others() {
    let mut gateway = Gateway::new();
    let foreign = publish(1, "", &dialog("a", "early")).replace("From: <sip:1@", "From: <sip:99@");
    assert_eq!(status(&gateway.udp(PHONE, &foreign)), 403);
    assert_eq!(
        status(&gateway.udp(OTHER, &foreign.replace("z9hG4bKp1", "z9hG4bKq").replace("Call-ID: p", "Call-ID: q"))),
        200
    );
    let own = publish(2, "", &dialog("b", "early"));
    assert_eq!(status(&gateway.udp(PHONE, &own)), 200);
    assert_eq!(status(&gateway.udp("192.0.2.66:5060", &publish(3, "", &dialog("c", "early")))), 403);
}

#[test]
fn publications_are_bounded() {
    let mut gateway = Gateway::new();
    for number in 1..=8 {
        assert_eq!(status(&gateway.udp(PHONE, &publish(number, "", &dialog(&number.to_string(), "early")))), 200);
    }
    let refused = gateway.udp(PHONE, &publish(9, "", &dialog("9", "early")));
    assert_eq!((status(&refused), header(&answer(&refused).text, "Retry-After")), (503, Some("5")));
    for number in 10..66 {
        assert_eq!(status(&gateway.udp(OTHER, &publish(number, "", &dialog(&number.to_string(), "early")))), 200);
    }
    assert_eq!(status(&gateway.udp(OTHER, &publish(99, "", &dialog("99", "early")))), 503);
    assert_eq!(gateway.load(), (0, 64));
}

/// DI-05
#[test]
fn a_publication_that_is_not_refreshed_ends_at_its_time() {
    let mut gateway = Gateway::new();
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", "Expires: 3600\n"));
    let first = notify(&sent).clone();
    gateway.reply(&first, "200 OK");
    let lit = gateway.udp(OTHER, &publish(1, "Expires: 60\n", &dialog("a", "early")));
    let second = notify(&lit).clone();
    gateway.reply(&second, "200 OK");
    assert_eq!(notifies(&gateway.wait(Duration::from_millis(59_900))), 0);
    let ended = gateway.wait(Duration::from_millis(200));
    assert!(!body(notify(&ended)).contains("early"));
}

/// MW-01
#[test]
fn voicemail_systems_may_notify_without_being_asked() {
    let mut gateway = Gateway::new();
    let text = "NOTIFY sip:1@example.com SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKn;rport\n\
                From: <sip:vm@example.com>;tag=v\nTo: <sip:1@example.com>\nCall-ID: n\nCSeq: 1 NOTIFY\n\
                Event: message-summary\nSubscription-State: active\nContent-Type: application/simple-message-summary\n\n\
                Messages-Waiting: yes\nVoice-Message: 2/8\n";
    assert_eq!(status(&gateway.udp(PHONE, text)), 481, "not from everybody");
    assert_eq!(status(&gateway.udp(OTHER, &text.replace("Call-ID: n", "Call-ID: o"))), 200);
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", "Event: message-summary\n"));
    assert!(body(notify(&sent)).contains("Voice-Message: 2/8"));
    let newer = text.replace("2/8", "3/8").replace("bKn", "bKm").replace("CSeq: 1", "CSeq: 2");
    gateway.udp(OTHER, &newer);
    assert_eq!(gateway.load().1, 1, "the newer word replaces the older");
}

/// PU-13
#[test]
fn an_opaque_package_passes_bodies_untouched() {
    let mut gateway = Gateway::new();
    let report = |cseq, text| publish(cseq, "Event: weather\nContent-Type: text/plain\n", text);
    assert_eq!(status(&gateway.udp(OTHER, &report(1, "rain"))), 200);
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", "Event: weather\n"));
    assert_eq!(body(notify(&sent)), "rain");
    gateway.reply(notify(&sent), "200 OK");
    let newer = gateway.udp(OTHER, &report(2, "sun"));
    assert_eq!(body(notify(&newer)), "sun");
}

/// What other servers said, and whom the caller leaves out, is not ours to pass on; nor is what follows from it.
#[test]
fn our_own_sources_are_told_apart() {
    use lamplighter_model::{OwnState, OwnedAction, OwnedContent, PublishCommand};
    let mut gateway = Gateway::new();
    let packages = gateway.config.packages.clone();
    let resource: Arc<str> = "sip:1@example.com".into();
    let own = |gateway: &mut Gateway, package: &str, except: &[&str]| {
        let package = packages.find(package.as_bytes()).unwrap();
        let except = except.iter().map(|net| net.parse().unwrap()).collect();
        match gateway.command(Command::Own { resource: resource.clone(), package, except }) {
            Some(Answer::Own(OwnState(state))) => state.map(|state| packages.get(package).describe(&state)),
            other => panic!("{other:?}"),
        }
    };
    let put = |gateway: &mut Gateway, source: &str, from: &str, body: &str| {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        let command = PublishCommand {
            resource: resource.clone(),
            package: packages.find(b"dialog").unwrap(),
            action: OwnedAction::Put(source.into(), OwnedContent::Document { format: 0, body }),
            expires: None,
            from: from.parse().unwrap(),
        };
        gateway.command(Command::Publish(Box::new(command)));
    };
    put(&mut gateway, "remote:1@pbx.example", "0.0.0.0:0", &dialog("far", "confirmed"));
    assert_eq!(own(&mut gateway, "dialog", &[]), None);
    assert_eq!(own(&mut gateway, "presence", &[]), None, "on the phone, but only they say so");
    put(&mut gateway, "api:near", "192.0.2.7:5060", &dialog("near", "early"));
    let ringing = own(&mut gateway, "dialog", &[]).expect("something");
    let all = gateway.explain(&resource).packages.into_iter().find(|one| one.kind == "dialog").unwrap();
    assert_ne!(ringing, all.state, "the call at the other server is not in it");
    assert_eq!(own(&mut gateway, "dialog", &["198.51.100.0/24"]), Some(ringing));
    assert_eq!(own(&mut gateway, "dialog", &["192.0.2.0/24"]), None);
}
