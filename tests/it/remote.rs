//! Two gateways: what one knows, the other learns, whether it is told or asks.

use crate::api::ask;
use crate::gateway::{Gateway, PATIENCE, directory};
use crate::phone::{Message, Phone};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const LINE: &str = "sip:1001@example.com";

/// A gateway that talks to `server`; `more` belongs to the section.
fn talking(to: &Gateway, more: &str) -> Gateway {
    let more = more.replace("SERVER", &format!("sip:{}", to.sip));
    Gateway::start(&format!("[remote]\nenabled = true\nlinger = \"0s\"\n{more}\n"))
}

/// The NOTIFY that says so, and how many came before it.
fn until(phone: &mut Phone, what: &str, says: impl Fn(&Message) -> bool) -> Message {
    for _ in 0..10 {
        let notify = phone.notify();
        if says(&notify) {
            return notify;
        }
    }
    panic!("no NOTIFY says {what}");
}

fn says(state: &str) -> impl Fn(&Message) -> bool {
    let text = format!("{state}</state>");
    move |notify| notify.body.contains(&text)
}

/// A row of the API once it is as wanted.
fn row(gateway: &Gateway, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let row = ask(gateway, "GET", path, &[], "").json();
        if wanted(&row) {
            return row;
        }
        assert!(Instant::now() < end, "in {PATIENCE:?} it did not come about that the gateway {what}: {row:#}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// DI-03, PU-01, PU-08: the publisher is at one gateway, the watcher at another, and sees what it would see here.
#[test]
fn what_is_published_here_is_seen_there() {
    let there = Gateway::start("");
    let here = talking(&there, "publish = [{ server = \"SERVER\", resources = [\"*\"], packages = [\"dialog\"] }]");
    let (mut near, mut far) = (Phone::udp(&here, "2000"), Phone::udp(&there, "2001"));
    near.subscribe(LINE, "dialog", 600);
    far.subscribe(LINE, "dialog", 600);
    let mut publisher = Phone::udp(&here, "pbx");
    let tag = publisher.publish_call(LINE, None, "c1", "early");
    let (seen_here, seen_there) = (near.notify(), far.notify());
    assert_eq!(seen_here.xml_all("state"), seen_there.xml_all("state"));
    assert_eq!(seen_here.elements("dialog"), seen_there.elements("dialog"));
    for name in ["direction", "call-id", "local-tag", "remote-tag", "entity", "display"] {
        assert_eq!(seen_here.xml_all(name), seen_there.xml_all(name), "{name}");
    }
    let tag = publisher.publish_call(LINE, Some(&tag), "c1", "confirmed");
    until(&mut far, "confirmed", says("confirmed"));
    let exports = row(&here, "/v1/exports", "has published", |row| row["exports"][0]["status"] == 200);
    assert_eq!(exports["exports"][0]["state"], "active");
    assert_eq!(exports["exports"][0]["r"], LINE);

    // Whoever falls silent here is withdrawn there.
    publisher.publish(LINE, "dialog", &[&format!("SIP-If-Match: {tag}"), "Expires: 0"], "").expect(200);
    until(&mut far, "that it is over", |notify| !notify.body.contains("confirmed</state>"));
}

/// DI-03, QS-13: a gateway asks another, and its own phones see it; nothing goes back to where it came from.
#[test]
fn what_is_known_there_is_seen_here() {
    let there = Gateway::start("");
    let here = talking(
        &there,
        "subscribe = [{ resource = \"sip:1001@example.com\", package = \"dialog\", outbound_proxy = \"SERVER\" }]\n\
         publish = [{ server = \"SERVER\", resources = [\"*\"], packages = [\"dialog\"] }]",
    );
    let mut watcher = Phone::udp(&here, "2000");
    watcher.subscribe(LINE, "dialog", 600);
    let path = "/v1/subscriptions/1";
    let active = row(&here, path, "is subscribed", |row| row["state"] == "active" && row["notified"] == 1);
    assert_eq!((active["configured"].as_bool(), active["local"].as_str()), (Some(true), Some(LINE)));

    let mut publisher = Phone::udp(&there, "pbx");
    let tag = publisher.publish_call(LINE, None, "c1", "early");
    let ringing = until(&mut watcher, "ringing", says("early"));
    assert!(ringing.body.contains("Ann Lee"), "{ringing:#?}");
    publisher.publish_call(LINE, Some(&tag), "c1", "confirmed");
    until(&mut watcher, "confirmed", says("confirmed"));
    let told = row(&here, path, "has been told", |row| row["documents"][0]["state"].to_string().contains("confirmed"));
    assert_eq!(told["item"]["src"].as_str().map(|source| source.starts_with("remote:")), Some(true), "{told}");
    let exports = ask(&here, "GET", "/v1/exports", &[], "").expect(200).json();
    assert_eq!(exports["exports"], json!([]), "what came from there is not sent there");
    assert_eq!(ask(&here, "DELETE", path, &[], "").status, 409);
}

/// QS-01, QS-02, QS-03, QS-04, QS-15, MI-03: services subscribe over HTTP; equal wishes share a dialog.
#[test]
fn services_share_a_dialog() {
    let there = Gateway::start("");
    let here = talking(&there, "");
    let wish = json!({
        "resource": LINE, "package": "dialog", "subscriber": "sip:crm@example.com",
        "outbound_proxy": format!("sip:{}", there.sip),
    });
    let created = ask(&here, "POST", "/v1/subscriptions", &[], &wish.to_string()).expect(201).json();
    assert_eq!((created["id"].as_u64(), created["internal"].as_bool()), (Some(1), Some(false)), "{created}");
    ask(&here, "POST", "/v1/subscriptions", &[], &wish.to_string()).expect(201);
    let both = row(&here, "/v1/subscriptions/2", "is active", |row| row["state"] == "active");
    assert_eq!(both["shared"], 2);
    let watchers = row(&there, "/v1/watchers", "has a watcher", |row| row["watchers"][0]["state"] == "active");
    assert_eq!(watchers["watchers"].as_array().map(Vec::len), Some(1), "{watchers}");
    assert_eq!(watchers["watchers"][0]["watcher"], "sip:crm@example.com");

    Phone::udp(&there, "pbx").publish_call(LINE, None, "c1", "early");
    row(&here, "/v1/subscriptions/1", "knows", |row| row["documents"][0]["state"].to_string().contains("early"));
    let (status, _) = here.get("/v1/state/1001/dialog");
    assert_eq!(status, 404, "what was released to one is not for everyone");

    ask(&here, "DELETE", "/v1/subscriptions/1", &[], "").expect(204);
    assert_eq!(ask(&here, "GET", "/v1/subscriptions/1", &[], "").status, 404);
    assert_eq!(ask(&there, "GET", "/v1/watchers", &[], "").json()["watchers"].as_array().map(Vec::len), Some(1));
    let added =
        here.ask(&["subs", "add", LINE, "dialog", "--subscriber", "crm", "--proxy", &format!("sip:{}", there.sip)]);
    assert!(added.status.success(), "{added:?}");
    let shown = String::from_utf8(here.ask(&["subs", "show", "3"]).stdout).unwrap();
    assert!(shown.contains("active") && shown.contains("shared by 2"), "{shown}");
    let renewed = here.ask(&["subs", "renew", "3", "--expires", "900", "--json"]);
    assert!(renewed.status.success(), "{renewed:?}");
    let far = || Duration::from_secs(800);
    row(&here, "/v1/subscriptions/3", "has another lease", |row| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        row["until"]
            .as_u64()
            .is_some_and(|until| until > (now + far()).as_millis() as u64 && row["notified"].as_u64() > Some(1))
    });
    assert!(here.ask(&["subs", "rm", "3"]).status.success());
    ask(&here, "DELETE", "/v1/subscriptions/2", &[], "").expect(204);
    row(&there, "/v1/watchers", "has none", |row| row["watchers"] == json!([]));
}

/// PU-10, PU-11, PU-12: a program publishes at another server, and reads what that answered.
#[test]
fn programs_publish_elsewhere() {
    let there = Gateway::start("");
    let here = talking(&there, "");
    let proxy = format!("sip:{}", there.sip);
    let mut watcher = Phone::udp(&there, "2001");
    watcher.subscribe(LINE, "presence", 600);
    let publishing = json!({
        "resource": LINE, "package": "presence", "publisher": "sip:crm@example.com", "id": "desk",
        "outbound_proxy": proxy, "expires": 600, "headers": { "X-Why": "because" },
        "state": { "basic": "open", "note": "Back at 3" },
    });
    let created = ask(&here, "POST", "/v1/exports", &[], &publishing.to_string()).expect(201).json();
    assert_eq!((created["number"].as_u64(), created["id"].as_str()), (Some(1), Some("desk")), "{created}");
    until(&mut watcher, "that it is open", |notify| notify.body.contains("Back at 3"));
    let path = "/v1/exports/1";
    let active = row(&here, path, "has published", |row| row["state"] == "active");
    assert_eq!((active["status"].as_u64(), active["requests"].as_u64()), (Some(200), Some(1)), "{active}");
    assert!(active["entity_tag"].is_string() && active["until"].as_u64() > Some(0), "{active}");

    // The same id again changes it; so does PATCH; without anything new it is refreshed.
    let mut again = publishing.clone();
    again["state"]["note"] = "Back at 4".into();
    ask(&here, "POST", "/v1/exports", &[], &again.to_string()).expect(200);
    until(&mut watcher, "four", |notify| notify.body.contains("Back at 4"));
    let body = "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:1001@example.com\">\
                <tuple id=\"a\"><status><basic>open</basic></status><note>Back at 5</note></tuple></presence>";
    let change = json!({ "content_type": "application/pidf+xml", "body": body });
    ask(&here, "PATCH", path, &[], &change.to_string()).expect(200);
    until(&mut watcher, "five", |notify| notify.body.contains("Back at 5"));
    ask(&here, "POST", "/v1/exports/1/refresh", &[], "").expect(200);
    row(&here, path, "has refreshed", |row| row["requests"] == 4 && row["status"] == 200);

    // What the other server does not take is told with its reason.
    let bad = json!({ "content_type": "application/pidf+xml", "body": "<presence" });
    ask(&here, "PATCH", path, &[], &bad.to_string()).expect(200);
    let failed = row(&here, path, "was refused", |row| row["state"] == "retrying");
    assert_eq!(
        (failed["status"].as_u64(), failed["reason"].as_str()),
        (Some(400), Some("400 Bad Request")),
        "{failed}"
    );
    let nonsense = json!({ "state": { "basic": "ajar" } });
    ask(&here, "PATCH", path, &[], &nonsense.to_string()).expect(422);

    let gone = here.ask(&["exports", "rm", "1", "--json"]);
    assert!(gone.status.success(), "{gone:?}");
    until(&mut watcher, "that nobody says anything", |notify| !notify.body.contains("Back at"));
    let last = row(&here, path, "has removed it", |row| row["state"] == "terminated");
    assert_eq!(last["status"], 200, "{last}");
    let added = here.ask(&["exports", "add", LINE, "presence", "--state", "{\"basic\":\"open\"}", "--proxy", &proxy]);
    assert!(added.status.success(), "{added:?}");
    let shown = String::from_utf8(here.ask(&["exports", "show"]).stdout).unwrap();
    assert_eq!(shown.lines().count(), 2, "{shown}");
    let metrics = here.get("/metrics").1;
    assert!(
        metrics.contains("remote_documents 2\n") && metrics.contains("remote_requests_sent_total{method"),
        "{metrics}"
    );
}

/// QS-13: what is ours is served from here.
#[test]
fn what_is_ours_needs_no_sip() {
    let here = Gateway::start("[remote]\nenabled = true\n");
    let wish = json!({ "resource": "1001", "package": "dialog", "subscriber": "crm" });
    let created = ask(&here, "POST", "/v1/subscriptions", &[], &wish.to_string()).expect(201).json();
    assert_eq!((created["internal"].as_bool(), created["state"].as_str()), (Some(true), Some("active")), "{created}");
    Phone::udp(&here, "pbx").publish_call(LINE, None, "c1", "early");
    let known = row(&here, "/v1/subscriptions/1", "knows", |row| row["item"].to_string().contains("early"));
    assert_eq!(known["requests"], 0);
}

/// QS-05, QS-12, PU-12: a server that is not there is tried again, and the API says when and why.
#[test]
fn a_server_that_is_not_there_is_tried_again() {
    let here = Gateway::start("[remote]\nenabled = true\n");
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let wish = json!({ "resource": format!("sip:200@{nowhere};transport=tcp"), "package": "presence" });
    ask(&here, "POST", "/v1/subscriptions", &[], &wish.to_string()).expect(201);
    let row = row(&here, "/v1/subscriptions/1", "retries", |row| row["state"] == "retrying");
    assert_eq!(row["status"], 503, "{row}");
    assert!(row["next"].as_u64() > Some(0) && row["reason"].is_string(), "{row}");
    let bad = json!({ "resource": "sip:200@pbx.example", "package": "presence", "headers": { "Via": "x" } });
    let refused = ask(&here, "POST", "/v1/subscriptions", &[], &bad.to_string()).expect(422).json();
    assert_eq!(refused["errors"][0]["pointer"], "/headers");
}

/// Without the setting there is nothing of it.
#[test]
fn a_gateway_that_talks_to_nobody_says_so() {
    let here = Gateway::start("");
    let wish = json!({ "resource": "sip:200@pbx.example", "package": "presence" });
    ask(&here, "POST", "/v1/subscriptions", &[], &wish.to_string()).expect(501);
}

/// PU-04, HA-01: after a restart the dialog and the publication that were there go on; nothing is doubled.
#[test]
fn a_restart_goes_on() {
    let there = Gateway::start("");
    let store = directory("remote-store");
    let more = format!(
        "[store]\npath = \"{}\"\n[remote]\nenabled = true\nlisten = [\"udp:127.0.0.1:0\"]\n\
         subscribe = [{{ resource = \"{LINE}\", package = \"dialog\", outbound_proxy = \"sip:{}\" }}]\n\
         publish = [{{ server = \"sip:{}\", resources = [\"1002\"], packages = [\"dialog\"] }}]\n",
        store.display(),
        there.sip,
        there.sip
    );
    let mut here = Gateway::start(&format!("# store.path\n{more}"));
    let before = row(&here, "/v1/subscriptions/1", "is active", |row| row["state"] == "active");
    Phone::udp(&here, "pbx").publish_call("sip:1002@example.com", None, "c1", "confirmed");
    row(&there, "/v1/state/1002/dialog", "was told", |row| row.to_string().contains("confirmed"));
    row(&here, "/v1/exports", "has its answer", |row| row["exports"][0]["status"] == 200);
    // This is answered when it is in the store, and what came before it is there as well.
    Phone::udp(&here, "pbx").publish_call("sip:1003@example.com", None, "c3", "confirmed");
    here.kill();
    Phone::udp(&there, "pbx").publish_call(LINE, None, "c2", "early");
    here.start_again();
    let after = row(&here, "/v1/subscriptions/1", "knows again", |row| {
        row["documents"][0]["state"].to_string().contains("early")
    });
    assert_eq!(before["call_id"], after["call_id"], "the same dialog");
    row(&here, "/v1/exports", "publishes again", |row| row["exports"][0]["state"] == "active");
    let watchers = ask(&there, "GET", "/v1/watchers", &[], "").json();
    assert_eq!(watchers["watchers"].as_array().map(Vec::len), Some(1), "{watchers}");
    let sources = ask(&there, "GET", "/v1/explain/1002", &[], "").json();
    let dialog = sources["packages"].as_array().unwrap().iter().find(|one| one["kind"] == "dialog").unwrap();
    assert_eq!(dialog["sources"].as_array().map(Vec::len), Some(1), "{dialog}");
    let _ = std::fs::remove_dir_all(store);
    row(&there, "/readyz", "is well", |_| true);
}
