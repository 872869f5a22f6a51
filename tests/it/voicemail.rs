//! Voicemail lamps: the `message-summary` package.

use crate::gateway::Gateway;
use crate::phone::Phone;

const BOX: &str = "sip:1001@example.com";
const SUMMARY: &str = "Content-Type: application/simple-message-summary";

#[test]
fn a_message_waits() {
    // MW-01, MW-03: the first NOTIFY says "no" rather than nothing; counts follow.
    let gateway = Gateway::start("");
    let mut phone = Phone::udp(&gateway, "1001");
    let (_, first) = phone.subscribe(BOX, "message-summary", 600);
    assert_eq!(first.header("Content-Type"), "application/simple-message-summary");
    assert!(first.body.starts_with("Messages-Waiting: no\r\n"), "{first:#?}");

    let mut voicemail = Phone::udp(&gateway, "voicemail");
    let body = "Messages-Waiting: yes\r\nVoice-Message: 2/8 (1/2)\r\nFax-Message: 0/1\r\n";
    let answer = voicemail.publish(BOX, "message-summary", &["Expires: 600", SUMMARY], body).expect(200);
    let told = phone.notify();
    for line in body.lines().filter(|line| !line.starts_with("Fax")) {
        assert!(told.body.lines().any(|told| told == line), "{line} in {told:#?}");
    }

    // Sloppy, as mail systems write: no space, odd case, a bare line end.
    let headers = [&format!("SIP-If-Match: {}", answer.header("SIP-ETag")), "Expires: 600", SUMMARY];
    voicemail.publish(BOX, "message-summary", &headers, "messages-waiting:NO\nvoice-message:0/10\n").expect(200);
    let told = phone.notify();
    assert!(
        told.body.starts_with("Messages-Waiting: no\r\n") && told.body.contains("Voice-Message: 0/10"),
        "{told:#?}"
    );
}
