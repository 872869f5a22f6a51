//! The gate that every request passes.

use crate::*;
use lamplighter_model::counters::Gauge;

fn check(request: &str, expected: u16) -> Sent {
    let mut gateway = Gateway::new();
    let sent = gateway.udp(PHONE, request);
    assert_eq!(status(&sent), expected, "{request}");
    answer(&sent).clone()
}

fn request(method: &str, uri: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1;rport\nFrom: <sip:2@example.com>;tag=f\n\
         To: <sip:1@example.com>\nCall-ID: c\nCSeq: 1 {method}\n{more}"
    )
}

/// TR-03
#[test]
fn what_we_do_not_serve_is_refused_with_what_we_do() {
    for method in ["INVITE", "MESSAGE", "REGISTER", "BENOTIFY"] {
        let refusal = check(&request(method, "sip:1@example.com", ""), 405);
        assert_eq!(header(&refusal.text, "Allow"), Some("SUBSCRIBE, PUBLISH, NOTIFY, OPTIONS"));
    }
    let refusal =
        check(&request("SUBSCRIBE", "sip:1@example.com", "Event: conference\nContact: <sip:2@192.0.2.10>\n"), 489);
    assert_eq!(header(&refusal.text, "Allow-Events"), Some("dialog, message-summary, presence, reg, weather"));
    let refusal = check(&request("SUBSCRIBE", "sip:1@example.com", "Require: eventlist, foo\nEvent: dialog\n"), 420);
    assert_eq!(header(&refusal.text, "Unsupported"), Some("eventlist"));
}

#[test]
fn an_ack_is_dropped_and_a_cancel_is_harmless() {
    let mut gateway = Gateway::new();
    assert!(gateway.udp(PHONE, &request("ACK", "sip:1@example.com", "")).is_empty());
    assert_eq!(status(&gateway.udp(PHONE, &request("CANCEL", "sip:1@example.com", ""))), 481);
    assert!(gateway.udp(PHONE, "\n\n").is_empty());
    assert!(gateway.udp(PHONE, "no SIP at all").is_empty());
}

#[test]
fn addresses_that_are_not_ours_are_refused() {
    check(&request("SUBSCRIBE", "sip:1@elsewhere.example", "Event: dialog\n"), 404);
    check(&request("SUBSCRIBE", "sip:1@elsewhere.example", "Event: dialog\nMax-Forwards: 0\n"), 483);
    check(&request("SUBSCRIBE", "sip:example.com", "Event: dialog\n"), 404);
    check(&request("SUBSCRIBE", "http://example.com/", "Event: dialog\n"), 416);
    check(&request("OPTIONS", "sip:1@elsewhere.example", ""), 200);
    check(&request("OPTIONS", "sip:192.0.2.1", ""), 200);
}

#[test]
fn options_says_what_we_can() {
    let answer = check(&request("OPTIONS", "sip:192.0.2.1", ""), 200);
    assert_eq!(header(&answer.text, "Allow-Events"), Some("dialog, message-summary, presence, reg, weather"));
    assert!(header(&answer.text, "Accept").unwrap().contains("application/dialog-info+xml"));
}

/// RFC 3581
#[test]
fn rport_and_received_are_filled_in() {
    let mut gateway = Gateway::new();
    let sent = gateway.udp("198.51.100.7:1024", &request("OPTIONS", "sip:192.0.2.1", ""));
    let via = header(&answer(&sent).text, "Via").unwrap();
    assert_eq!(via, "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1;rport=1024;received=198.51.100.7");
    assert_eq!(sent[0].flow.remote.to_string(), "198.51.100.7:1024");
}

#[test]
fn without_rport_the_answer_goes_to_the_port_in_via() {
    let mut gateway = Gateway::new();
    let text = request("OPTIONS", "sip:192.0.2.1", "").replace(";rport", "");
    let sent = gateway.udp("198.51.100.7:1024", &text);
    let via = header(&answer(&sent).text, "Via").unwrap();
    assert_eq!(via, "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1;received=198.51.100.7");
    assert_eq!(sent[0].flow.remote.to_string(), "198.51.100.7:5060");
}

#[test]
fn a_request_by_two_ways_is_loop_detected() {
    let mut gateway = Gateway::new();
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("a", 1, "", ""))), 200);
    let other_way = subscribe("a", 1, "", "").replace("z9hG4bKa1", "z9hG4bKother");
    assert_eq!(status(&gateway.udp(PHONE, &other_way)), 482);
    assert_eq!(gateway.load(), (1, 0));
}

/// The owner answers 503 when requests wait too long, and go on doing so; what belongs to a dialog goes on.
#[test]
fn overload_refuses_only_what_is_new() {
    let mut gateway = Gateway::new();
    let phone = Flow::udp(0, PHONE.parse().unwrap());
    let sent = gateway.udp(PHONE, &subscribe("a", 1, "", ""));
    let tag = to_tag(answer(&sent)).to_owned();
    let late = Duration::from_millis(201);
    let other = Flow::udp(0, OTHER.parse().unwrap());
    assert_eq!(status(&gateway.aged(other, &publish(1, "", &dialog("x", "early")), late)), 200, "the first");
    gateway.wait(Duration::from_millis(150));
    assert_eq!(status(&gateway.aged(other, &publish(2, "", &dialog("y", "early")), late)), 200, "not for long yet");
    gateway.wait(Duration::from_millis(51));
    let refused = gateway.aged(phone, &subscribe("b", 1, "", ""), late);
    assert_eq!(status(&refused), 503);
    assert_eq!(header(&answer(&refused).text, "Retry-After"), Some("5"));
    assert_eq!(status(&gateway.aged(phone, &subscribe("a", 2, &tag, ""), late)), 200);
    assert_eq!(status(&gateway.flow(phone, &subscribe("b", 1, "", ""))), 200, "the same request later");
}

/// A machine that stalls now and then, and catches up each time, refuses nothing.
#[test]
fn a_machine_that_stalls_is_not_overloaded() {
    let mut gateway = Gateway::new();
    let phone = Flow::udp(0, PHONE.parse().unwrap());
    for stall in 0..20 {
        for number in 0..10 {
            let request = subscribe(&format!("{stall}-{number}"), 1, "", "");
            assert_eq!(status(&gateway.aged(phone, &request, Duration::from_secs(2))), 200);
        }
        gateway.wait(Duration::from_millis(201));
    }
}

/// Overload shows in watchers that wait to be told, too.
#[test]
fn a_long_queue_of_notifies_refuses_what_is_new() {
    let mut config = config();
    config.overload.backlog = 3;
    config.notify.burst = 1;
    config.store = Some(Durabilities { publications: Durability::Memory, subscriptions: Durability::Memory });
    let mut gateway = Gateway::with(config);
    let mut tag = String::new();
    for number in 0..8 {
        let contact = format!("Contact: <sip:{number}@192.0.2.10:5060>\n");
        let sent = gateway.udp(PHONE, &subscribe(&format!("w{number}"), 1, "", &contact));
        tag = to_tag(answer(&sent)).to_owned();
        gateway.reply(&notify(&sent).clone(), "200 OK");
    }
    let told = gateway.turn(OTHER, &publish(1, "", &dialog("a", "early")));
    assert_eq!((status(&told), notifies(&told)), (200, 1), "one burst a turn");
    let refused = gateway.turn(OTHER, &publish(2, "", &dialog("b", "early")));
    assert_eq!(status(&refused), 503);
    assert!(header(&answer(&refused).text, "Retry-After").is_some());
    let refresh = gateway.turn(PHONE, &subscribe("w7", 2, &tag, "Contact: <sip:7@192.0.2.10:5060>\n"));
    assert_eq!(status(&refresh), 200, "what belongs to a dialog goes on");
    gateway.wait(Duration::from_millis(1));
    assert_eq!(status(&gateway.turn(OTHER, &publish(2, "", &dialog("b", "early")))), 200, "the same request later");
}

/// Neither made-up dialogs nor a flood within one fill the memory.
#[test]
fn server_transactions_are_bounded() {
    let transactions = |gateway: &Gateway| gateway.counters.gauge(Gauge::Transactions);
    let mut config = config();
    config.limits.transactions = 4;
    let mut gateway = Gateway::with(config);
    let tag = to_tag(answer(&gateway.udp(PHONE, &subscribe("w", 1, "", "")))).to_owned();
    for cseq in 2..20 {
        let made_up = subscribe("x", cseq, "00000000000aaaaaaaaaaaaaaaa", "");
        assert_eq!(status(&gateway.udp(PHONE, &made_up)), 481);
    }
    assert_eq!(transactions(&gateway), 1);
    for cseq in 2..20 {
        let expected = if cseq < 9 { 200 } else { 503 };
        assert_eq!(status(&gateway.udp(PHONE, &subscribe("w", cseq, &tag, ""))), expected, "{cseq}");
    }
    assert_eq!(transactions(&gateway), 8);
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("y", 1, "", ""))), 503);
    gateway.wait(Duration::from_secs(40));
    assert_eq!(transactions(&gateway), 0);
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("y", 1, "", ""))), 200);
}

#[test]
fn bad_requests_get_400() {
    check(&request("SUBSCRIBE", "sip:1@example.com", "Event: dialog\n"), 400); // no Contact
    check(&request("SUBSCRIBE", "sip:1@example.com", "Event: dialog\nContact: <tel:1>\n"), 400);
    check(&request("SUBSCRIBE", "sip:1@example.com", "Event: dialog\nContact: <sip:a@b>\nExpires: soon\n"), 400);
    check(&request("OPTIONS", "sip:1@example.com", "").replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"), 400);
    check(&request("SUBSCRIBE", "sip:1@example.com", "Event: dialog\nContact: <sip:a@b>\n").replace(";tag=f", ""), 400);
}
