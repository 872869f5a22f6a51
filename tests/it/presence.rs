//! Presence: several devices, one person.

use crate::gateway::Gateway;
use crate::phone::{Phone, pidf};

const ANN: &str = "sip:ann@example.com";
const PIDF: &str = "Content-Type: application/pidf+xml";

#[test]
fn two_devices_are_one_document() {
    // PR-01: both tuples, the person's activity, and what we do not understand carried through.
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "bob");
    let (_, unknown) = watcher.subscribe(ANN, "presence", 600);
    assert_eq!(unknown.header("Content-Type"), "application/pidf+xml");
    assert_eq!(unknown.elements("tuple"), 0);

    let mut desk = Phone::udp(&gateway, "ann");
    desk.publish(ANN, "presence", &["Expires: 600", PIDF], &pidf(ANN, "desk", "open", "At my desk")).expect(200);
    let told = watcher.notify();
    assert_eq!(told.elements("tuple"), 1);
    assert!(told.body.contains("At my desk") && told.xml("basic") == "open", "{told:#?}");

    let mut mobile = Phone::udp(&gateway, "ann");
    let body = format!(
        "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         xmlns:x=\"http://example.com/coffee\" entity=\"{ANN}\"><tuple id=\"mobile\"><status><basic>closed</basic></status>\
         <x:coffee>black</x:coffee></tuple><dm:person id=\"p\"><rpid:activities><rpid:meeting/></rpid:activities></dm:person>\
         </presence>"
    );
    let answer = mobile.publish(ANN, "presence", &["Expires: 600", PIDF], &body).expect(200);
    let told = watcher.notify();
    assert_eq!((told.elements("tuple"), told.elements("person"), told.elements("meeting")), (2, 1, 1), "{told:#?}");
    assert!(told.body.contains("http://example.com/coffee") && told.body.contains("black"), "{told:#?}");

    let tag = format!("SIP-If-Match: {}", answer.header("SIP-ETag"));
    mobile.publish(ANN, "presence", &[&tag, "Expires: 0"], "").expect(200);
    let told = watcher.notify();
    assert_eq!((told.elements("tuple"), told.elements("person")), (1, 0), "{told:#?}");
}

#[test]
fn a_call_makes_one_busy() {
    // PR-02: nobody publishes presence, and still the watcher learns that Ann is on the phone.
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "bob");
    watcher.subscribe(ANN, "presence", 600);
    let mut phone = Phone::udp(&gateway, "ann");
    let tag = phone.publish_call(ANN, None, "c1", "confirmed");
    let told = watcher.notify();
    assert_eq!(told.elements("on-the-phone"), 1, "{told:#?}");
    phone.publish_call(ANN, Some(&tag), "c1", "terminated");
    let told = watcher.notify();
    assert_eq!(told.elements("on-the-phone"), 0, "{told:#?}");
}
