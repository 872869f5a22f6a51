//! Publication: RFC 3903, and packages that only the configuration knows.

use crate::gateway::Gateway;
use crate::phone::{Phone, dialog_info};

const LINE: &str = "sip:1001@example.com";
const XML: &str = "Content-Type: application/dialog-info+xml";

#[test]
fn the_life_of_a_publication() {
    // RFC 3903 section 6: initial, modify, refresh, remove; then the entity-tag is worth nothing.
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    watcher.subscribe(LINE, "dialog", 600);
    let mut phone = Phone::udp(&gateway, "1001");
    let first = phone.publish_call(LINE, None, "c1", "early");
    assert!(watcher.notify().body.contains("early</state>"));
    let second = phone.publish_call(LINE, Some(&first), "c1", "confirmed");
    assert!(watcher.notify().body.contains("confirmed</state>"));
    phone.publish(LINE, "dialog", &[&format!("SIP-If-Match: {first}"), "Expires: 600"], "").expect(412);

    let refreshed =
        phone.publish(LINE, "dialog", &[&format!("SIP-If-Match: {second}"), "Expires: 600"], "").expect(200);
    assert_eq!(refreshed.header("Expires"), "600");
    let third = refreshed.header("SIP-ETag").to_owned();
    assert_ne!(third, second);
    let removed = phone.publish(LINE, "dialog", &[&format!("SIP-If-Match: {third}"), "Expires: 0"], "").expect(200);
    assert_eq!(removed.header("Expires"), "0");
    let gone = watcher.notify();
    assert!(!gone.body.contains("confirmed</state>"), "{gone:#?}");
    phone.publish(LINE, "dialog", &[&format!("SIP-If-Match: {third}"), "Expires: 600"], "").expect(412);
}

#[test]
fn what_is_refused_and_how() {
    // TR-03, and RFC 3903 section 6 step by step.
    let gateway = Gateway::start("");
    let mut phone = Phone::udp(&gateway, "1001");
    let body = dialog_info(LINE, "c1", "early");

    let unknown = phone.publish(LINE, "weather", &["Expires: 600", XML], &body).expect(489);
    let allowed = unknown.header("Allow-Events");
    assert!(["dialog", "presence", "message-summary"].iter().all(|name| allowed.contains(name)), "{allowed}");
    phone.publish(LINE, "dialog;sla", &["Expires: 600", XML], &body).expect(489);

    let brief = phone.publish(LINE, "dialog", &["Expires: 5", XML], &body).expect(423);
    assert_eq!(brief.header("Min-Expires"), "30");
    let other = phone.publish(LINE, "dialog", &["Expires: 600", "Content-Type: text/plain"], "hello").expect(415);
    assert!(other.header("Accept").contains("application/dialog-info+xml"), "{other:#?}");
    phone.publish(LINE, "dialog", &["Expires: 600", XML], "<dialog-info>").expect(400);
    phone.publish(LINE, "dialog", &["Expires: 600"], "").expect(400);
    phone.publish("sip:1001@elsewhere.example.org", "dialog", &["Expires: 600", XML], &body).expect(404);
    phone.publish(LINE, "dialog", &["Expires: 600", XML, "Require: outer-space"], &body).expect(420);

    let mut dialog = phone.dialog(LINE, "weather");
    phone.refresh(&mut dialog, 600).expect(489).header("Allow-Events");
    let mut dialog = phone.dialog(LINE, "dialog");
    let brief = phone.refresh(&mut dialog, 5).expect(423);
    assert_eq!(brief.header("Min-Expires"), "30");
    let mut dialog = phone.dialog(LINE, "dialog");
    dialog.to += ";tag=nobody";
    phone.refresh(&mut dialog, 600).expect(481);
}

#[test]
fn a_stranger_publishes_for_himself_only() {
    // DI-11: without trusted addresses, the From decides.
    let gateway = Gateway::start("access.trusted = []");
    let mut own = Phone::udp(&gateway, "1001");
    own.publish_call(LINE, None, "c1", "early");
    let mut stranger = Phone::udp(&gateway, "1002");
    stranger.publish(LINE, "dialog", &["Expires: 600", XML], &dialog_info(LINE, "c2", "early")).expect(403);
}

#[test]
fn rules_refuse_and_put_off() {
    // DI-11: what is pending is accepted and learns nothing.
    let gateway = Gateway::start(
        "[[access.rules]]\ndomains = [\"evil.example.org\"]\naction = \"deny\"\n\
         [[access.rules]]\ndomains = [\"guests.example.com\"]\naction = \"confirm\"\n",
    );
    Phone::udp(&gateway, "1001").publish_call(LINE, None, "c1", "early");
    let mut evil = Phone::udp(&gateway, "eve");
    evil.uri = "sip:eve@evil.example.org".into();
    let mut dialog = evil.dialog(LINE, "dialog");
    evil.refresh(&mut dialog, 600).expect(403);

    let mut guest = Phone::udp(&gateway, "guest");
    guest.uri = "sip:guest@guests.example.com".into();
    let (_, pending) = guest.subscribe(LINE, "dialog", 600);
    assert_eq!(pending.subscription_state().0, "pending");
    assert!(!pending.body.contains("early"), "{pending:#?}");
}

#[test]
fn a_package_of_the_configuration() {
    // PU-13: never read, passed through byte for byte, the newest word wins.
    let gateway = Gateway::start(
        "[[packages.opaque]]\nname = \"x-door\"\nkind = \"door\"\ncontent_types = [\"application/x-door\"]\n",
    );
    let door = "sip:front-door@example.com";
    let mut guard = Phone::udp(&gateway, "2000");
    guard.subscribe(door, "x-door", 600);
    let (mut one, mut two) = (Phone::udp(&gateway, "lock1"), Phone::udp(&gateway, "lock2"));
    let headers = ["Expires: 600", "Content-Type: application/x-door"];
    for (phone, body) in [(&mut one, "open \u{e9}\r\n\r\n<>&"), (&mut two, "shut")] {
        phone.publish(door, "x-door", &headers, body).expect(200);
        let told = guard.notify();
        assert_eq!((told.header("Content-Type"), told.body.as_str()), ("application/x-door", body));
        assert_eq!(told.header("Event"), "x-door");
    }
    one.publish(door, "x-door", &["Expires: 600", "Content-Type: text/plain"], "open").expect(415);
}
