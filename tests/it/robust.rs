//! Hostile and odd input: each is refused with the right status or dropped, counted, and costs nobody else anything.

use crate::gateway::Gateway;
use crate::phone::{Phone, dialog_info};

const LINE: &str = "sip:1001@example.com";
const XML: &str = "Content-Type: application/dialog-info+xml";

#[test]
fn what_does_not_parse_is_refused_and_counted() {
    // OP-05
    let gateway = Gateway::start("");
    let mut phone = Phone::udp(&gateway, "1001");
    let refused = gateway.metric("sip_requests_refused_total");
    let many: String = (0..64).map(|n| format!("<dialog id=\"{n}\"><state>")).collect();
    let bodies = [
        "not xml at all".to_owned(),
        "<dialog-info".to_owned(),
        format!("<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" state=\"full\">{many}"),
        "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;\">]>\
         <dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" state=\"full\" entity=\"&c;\"/>"
            .to_owned(),
        dialog_info(LINE, "c1", "levitating"),
    ];
    for body in &bodies {
        phone.publish(LINE, "dialog", &["Expires: 600", XML], body).expect(400);
    }
    assert_eq!(gateway.metric("sip_requests_refused_total") - refused, bodies.len() as f64);
    assert_eq!(gateway.metric("bus_publications"), 0.0);
}

#[test]
fn the_exact_status_for_each_mistake() {
    // OP-05, TR-03
    let gateway = Gateway::start("");
    let mut phone = Phone::udp(&gateway, "2000");
    let contact = format!("Contact: {}", phone.contact());
    let mut check = |status: u16, change: &dyn Fn(&str) -> String| {
        let mut dialog = phone.dialog(LINE, "dialog");
        let (text, branch) = phone.request("SUBSCRIBE", &mut dialog, &[&contact, "Expires: 600"], "");
        let text = change(&text);
        let answer = phone.exchange(&text, &branch);
        assert_eq!(answer.status(), status, "{text}{answer:#?}");
        answer
    };
    check(400, &|text| text.replace("CSeq: 1 SUBSCRIBE", "CSeq: one SUBSCRIBE"));
    check(400, &|text| text.replace("CSeq: 1 SUBSCRIBE", "CSeq: 1 PUBLISH"));
    check(400, &|text| text.replace("Content-Length: 0", "Content-Length: 99"));
    check(505, &|text| text.replacen(" SIP/2.0", " SIP/3.0", 1));
    check(483, &|text| text.replacen(LINE, "sip:1001@example.net", 1).replace("Max-Forwards: 70", "Max-Forwards: 0"));
    check(416, &|text| text.replacen(LINE, "http://example.com/1001", 1));
    check(404, &|text| text.replacen(LINE, "sip:1001@example.net", 1));
    check(489, &|text| text.replace("Event: dialog", "Event: dialog;sla"));
    check(406, &|text| text.replace("Event: dialog", "Event: dialog\r\nAccept: text/plain"));
    let required = check(420, &|text| text.replace("Event: dialog", "Event: dialog\r\nRequire: time-travel"));
    assert_eq!(required.header("Unsupported"), "time-travel");
    let odd = check(405, &|text| text.replace("SUBSCRIBE", "FROBNICATE"));
    assert!(odd.header("Allow").contains("PUBLISH"), "{odd:#?}");
    check(405, &|text| text.replace("SUBSCRIBE", "INVITE"));
    let options = check(200, &|text| text.replace("SUBSCRIBE", "OPTIONS"));
    assert!(options.header("Allow").contains("SUBSCRIBE") && !options.all("Allow-Events").is_empty(), "{options:#?}");
}

#[test]
fn noise_is_dropped_and_the_rest_goes_on() {
    // OP-05
    let gateway = Gateway::start("");
    let mut phone = Phone::udp(&gateway, "2000");
    let before = gateway.metric("sip_messages_dropped_total");
    let long = vec![b'x'; 60_000];
    let noise: [&[u8]; 5] = [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\xfd\xfc\xfb", &long, b"SUBSCRIBE", b"SIP/2.0 200"];
    let harmless: [&[u8]; 4] = [b"\0\0\0\0", b"\r\n\r\n", b"", b"\r"];
    for bytes in noise.into_iter().chain(harmless) {
        phone.send(bytes);
    }
    let (mut ack, contact) = (phone.dialog(LINE, ""), format!("Contact: {}", phone.contact()));
    let (text, _) = phone.request("ACK", &mut ack, &[&contact], "");
    phone.send(text.as_bytes());
    phone.subscribe(LINE, "dialog", 600);
    assert_eq!(gateway.metric("sip_messages_dropped_total") - before, noise.len() as f64);
}

#[test]
fn compact_folded_and_odd_spelling_is_understood() {
    let gateway = Gateway::start("");
    let mut phone = Phone::udp(&gateway, "2000");
    let mut dialog = phone.dialog(LINE, "dialog");
    let contact = format!("m: {}", phone.contact());
    let (text, branch) = phone.request("SUBSCRIBE", &mut dialog, &[&contact, "ExPiReS :\r\n\t600"], "");
    let text = text
        .replace("From:", "f :")
        .replace("Via:", "v:")
        .replace("To:", "t:")
        .replace("Call-ID:", "i:")
        .replace("Event:", "o:")
        .replace("Content-Length:", "l:");
    let answer = phone.exchange(&text, &branch).expect(200);
    assert_eq!(answer.header("Expires"), "600");
    phone.notify();
}

#[test]
fn one_source_cannot_take_everything() {
    // OP-05: caps count for those who are not trusted.
    let gateway = Gateway::start(
        "access.trusted = []\nlimits.publications_per_source = 2\nlimits.subscriptions_per_source = 3\nshards = 1\n",
    );
    let mut phone = Phone::udp(&gateway, "1001");
    phone.publish_call(LINE, None, "c1", "early");
    phone.publish_call(LINE, None, "c2", "early");
    let full = phone.publish(LINE, "dialog", &["Expires: 600", XML], &dialog_info(LINE, "c3", "early")).expect(503);
    assert!(full.header("Retry-After").parse::<u32>().is_ok());
    for number in 0..3 {
        phone.subscribe(&format!("sip:{number}@example.com"), "dialog", 600);
    }
    let mut dialog = phone.dialog("sip:3@example.com", "dialog");
    phone.refresh(&mut dialog, 600).expect(503);
}

#[test]
fn a_stream_that_cannot_be_framed_ends() {
    let gateway = Gateway::start("");
    let mut phone = Phone::tcp(&gateway, "2000");
    let mut dialog = phone.dialog(LINE, "dialog");
    let (text, _) = phone.request("SUBSCRIBE", &mut dialog, &[], "");
    phone.send(text.replace("Content-Length: 0", "Content-Length: -1").as_bytes());
    while let Some(message) = phone.receive_within(crate::gateway::PATIENCE) {
        assert_eq!(message.status(), 400);
    }
    Phone::tcp(&gateway, "2000").subscribe(LINE, "dialog", 600);
}
