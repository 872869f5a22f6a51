//! Two gateways: what one knows, the other learns, whether it is told or asks.

use crate::api::ask;
use crate::gateway::{Gateway, PATIENCE, directory};
use crate::phone::{Message, Phone};
use crate::server::Server;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub const LINE: &str = "sip:1001@example.com";

/// A gateway that talks to `server`; `more` belongs to the section.
pub fn talking(to: &Gateway, more: &str) -> Gateway {
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
pub fn row(gateway: &Gateway, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
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

/// DI-03, QS-13: a gateway asks the one behind the proxy of everything, and its own phones see it; nothing goes back to
/// where it came from.
#[test]
fn what_is_known_there_is_seen_here() {
    let there = Gateway::start("");
    let here = talking(
        &there,
        "outbound_proxy = \"SERVER\"\nsubscribe = [{ resource = \"sip:1001@example.com\", package = \"dialog\" }]\n\
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

/// QS-13: without the setting nobody else is asked; what is ours is served from here all the same.
#[test]
fn a_gateway_that_talks_to_nobody_says_so() {
    let here = Gateway::start("");
    let wish = json!({ "resource": "sip:200@pbx.example", "package": "presence" });
    ask(&here, "POST", "/v1/subscriptions", &[], &wish.to_string()).expect(501);
    let publishing = json!({ "resource": LINE, "package": "presence", "state": { "basic": "open" } });
    ask(&here, "POST", "/v1/exports", &[], &publishing.to_string()).expect(501);
    let wish = json!({ "resource": "1001", "package": "dialog", "subscriber": "crm" });
    ask(&here, "POST", "/v1/subscriptions", &[], &wish.to_string()).expect(201);
    Phone::udp(&here, "pbx").publish_call(LINE, None, "c1", "early");
    row(&here, "/v1/subscriptions/1", "knows", |row| row["item"].to_string().contains("early"));
    ask(&here, "PATCH", "/v1/subscriptions/1", &[], "{\"expires\":900}").expect(200);
    assert_eq!(ask(&here, "GET", "/v1/subscriptions", &[], "").json()["subscriptions"][0]["requests"], 0);
    ask(&here, "DELETE", "/v1/subscriptions/1", &[], "").expect(204);
}

/// Where a restart has switched other servers off, what they said leaves: nobody would say that it holds no more.
#[test]
fn what_nobody_can_take_back_leaves() {
    let there = Gateway::start("");
    let store = directory("remote-off");
    let more = format!(
        "[store]\npath = \"{}\"\n[remote]\nenabled = true\n\
         subscribe = [{{ resource = \"{LINE}\", package = \"dialog\", outbound_proxy = \"sip:{}\" }}]\n",
        store.display(),
        there.sip
    );
    let mut here = Gateway::start(&format!("# store.path\n{more}"));
    Phone::udp(&there, "pbx").publish_call(LINE, None, "c1", "early");
    row(&here, "/v1/state/1001/dialog", "was told", |row| row.to_string().contains("early"));
    // This is answered when it is in the store, and what came before it is there as well.
    Phone::udp(&here, "pbx").publish_call("sip:1003@example.com", None, "c3", "confirmed");
    here.kill();
    let text = std::fs::read_to_string(&here.file).unwrap();
    std::fs::write(&here.file, text.replace("enabled = true", "enabled = false")).unwrap();
    here.start_again();
    row(&here, "/v1/state/1001/dialog", "knows nothing of it", |row| row["status"] == 404);
    row(&here, "/v1/state/1003/dialog", "knows its own", |row| row.to_string().contains("confirmed"));
    let _ = std::fs::remove_dir_all(store);
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

/// Calls of two members in one body of three parts.
pub fn roll(version: u32, full: bool, members: &[(&str, &str)]) -> String {
    let mut resources = String::new();
    let mut parts = String::new();
    for (user, state) in members {
        resources.push_str(&format!(
            "<resource uri=\"sip:{user}@pbx.example\"><instance id=\"{user}i\" state=\"active\" cid=\"{user}@x\"/></resource>"
        ));
        parts.push_str(&format!(
            "--b\r\nContent-ID: <{user}@x>\r\nContent-Type: application/dialog-info+xml\r\n\r\n\
             <dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" state=\"full\" \
             entity=\"sip:{user}@pbx.example\"><dialog id=\"d\"><state>{state}</state></dialog></dialog-info>\r\n"
        ));
    }
    format!(
        "--b\r\nContent-ID: <roll@x>\r\nContent-Type: application/rlmi+xml\r\n\r\n\
         <list xmlns=\"urn:ietf:params:xml:ns:rlmi\" uri=\"sip:all@pbx.example\" version=\"{version}\" fullState=\"{full}\">\
         {resources}</list>\r\n{parts}--b--\r\n"
    )
}

/// QS-14: a list of another server lights the lamps of phones here, member by member, and the API tells it so.
#[test]
fn a_list_there_is_lamps_here() {
    let mut there = Server::start();
    let here = Gateway::start(&format!(
        "[remote]\nenabled = true\nsubscribe = [{{ resource = \"sip:all@pbx.example\", package = \"dialog\", list = true, \
         as = \"*@example.com\", outbound_proxy = \"{}\" }}]\n",
        there.uri()
    ));
    let mut granted = there.grant(600);
    assert!(granted.subscribe.message.header("Accept").contains("application/rlmi+xml"));
    assert_eq!(granted.subscribe.message.header("Supported"), "eventlist");
    let kind = "multipart/related;type=\"application/rlmi+xml\";start=\"<roll@x>\";boundary=b";
    let mut phone = Phone::udp(&here, "2000");
    phone.subscribe(LINE, "dialog", 600);
    assert_eq!(there.notify(&mut granted, kind, &roll(0, true, &[("1001", "early"), ("1002", "confirmed")])), 200);
    until(&mut phone, "ringing", says("early"));
    assert_eq!(there.notify(&mut granted, kind, &roll(1, false, &[("1001", "confirmed")])), 200);
    until(&mut phone, "confirmed", says("confirmed"));
    let told = row(&here, "/v1/subscriptions/1", "knows both", |row| row["list"]["version"] == 1);
    assert_eq!(told["list"]["members"].as_array().map(Vec::len), Some(2), "{told}");
    let second = &told["list"]["members"][1];
    assert_eq!(
        (second["local"].as_str(), second["uri"].as_str()),
        (Some("sip:1002@example.com"), Some("sip:1002@pbx.example"))
    );
    assert_eq!(second["instances"][0]["state"], "active");
    assert!(second["instances"][0]["document"]["state"].to_string().contains("confirmed"), "{second}");
    let shown = String::from_utf8(here.ask(&["subs", "show", "1"]).stdout).unwrap();
    assert_eq!(
        shown.lines().filter(|line| line.contains("@pbx.example") && line.contains("active")).count(),
        3,
        "{shown}"
    );
    let sources = ask(&here, "GET", "/v1/explain/1002", &[], "").json().to_string();
    assert!(sources.contains("remote:all@pbx.example by"), "{sources}");

    assert_eq!(there.notify(&mut granted, kind, &roll(2, true, &[("1002", "confirmed")])), 200);
    until(&mut phone, "that it is over", |notify| !notify.body.contains("confirmed</state>"));
    row(&here, "/v1/subscriptions/1", "knows one", |row| row["list"]["members"].as_array().map(Vec::len) == Some(1));
}

/// QS-14: who watches there, shared lines and registrations of other servers are read, and shown under their kinds.
#[test]
fn other_kinds_of_state_are_read_there() {
    let mut there = Server::start();
    let here = Gateway::start("[remote]\nenabled = true\n");
    let documents = [
        (
            "presence.winfo",
            "winfo",
            "application/watcherinfo+xml",
            "<watcherinfo xmlns=\"urn:ietf:params:xml:ns:watcherinfo\" version=\"0\" state=\"full\"><watcher-list \
             resource=\"sip:1001@example.com\" package=\"presence\"><watcher id=\"w\" status=\"pending\" \
             event=\"subscribe\">sip:wilhelmina@example.net</watcher></watcher-list></watcherinfo>",
            "wilhelmina",
        ),
        (
            "dialog;sla",
            "line",
            "application/dialog-info+xml",
            "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" state=\"full\" \
             entity=\"sip:1001@example.com\"><dialog id=\"d\"><state>confirmed</state><local><target \
             uri=\"sip:l@192.0.2.7\"><param pname=\"x-line-id\" pval=\"3\"/></target></local></dialog></dialog-info>",
            "\"appearance\":4",
        ),
        (
            "reg",
            "reg",
            "application/reginfo+xml",
            "<reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"0\" state=\"full\"><registration \
             aor=\"sip:1001@example.com\" id=\"a\" state=\"active\"><contact id=\"c\" state=\"active\" \
             event=\"registered\"><uri>sip:1001@192.0.2.7</uri></contact></registration></reginfo>",
            "192.0.2.7",
        ),
    ];
    for (index, (event, kind, content_type, body, expected)) in documents.into_iter().enumerate() {
        let wish = json!({ "resource": LINE, "package": event, "outbound_proxy": there.uri() });
        let created = ask(&here, "POST", "/v1/subscriptions", &[], &wish.to_string()).expect(201).json();
        assert_eq!((created["package"].as_str(), created["local"].as_str()), (Some(kind), Some(LINE)));
        let mut granted = there.grant(600);
        assert_eq!(granted.subscribe.message.header("Accept"), content_type);
        assert_eq!(there.notify(&mut granted, content_type, body), 200);
        let path = format!("/v1/subscriptions/{}", index + 1);
        let told = row(&here, &path, "knows", |row| row["documents"][0]["state"].to_string().contains(expected));
        assert_eq!(told["documents"][0]["problem"], Value::Null, "{told}");
        let known = row(&here, &format!("/v1/state/1001/{kind}"), "shows", |row| row.to_string().contains(expected));
        assert!(known["src"].as_str().is_some_and(|source| source.starts_with("remote:")), "{known}");
    }
    let other = json!({ "resource": LINE, "package": "reg", "outbound_proxy": there.uri(), "accept": ["text/plain"] });
    let refused = ask(&here, "POST", "/v1/subscriptions", &[], &other.to_string()).expect(422).json();
    assert_eq!(refused["errors"][0]["pointer"], "/accept", "{refused}");
    // They are for programs: a phone that asks us for them is told that we have none.
    let mut phone = Phone::udp(&here, "2000");
    let mut dialog = phone.dialog(LINE, "presence.winfo");
    phone.refresh(&mut dialog, 600).expect(489);
}

/// QS-01, PU-04, PU-10, HA-01: what programs watch and publish at other servers is there again after a kill, under its
/// number, and nothing of it is doubled.
#[test]
fn what_programs_want_outlives_a_kill() {
    let there = Gateway::start("");
    let store = directory("remote-programs");
    let more = format!(
        "[store]\npath = \"{}\"\n[remote]\nenabled = true\nlinger = \"0s\"\nlisten = [\"udp:127.0.0.1:0\"]\n",
        store.display()
    );
    let mut here = Gateway::start(&format!("# store.path\n{more}"));
    let proxy = format!("sip:{}", there.sip);
    let wish = json!({
        "resource": LINE, "package": "dialog", "subscriber": "sip:crm@example.com", "outbound_proxy": proxy,
    });
    ask(&here, "POST", "/v1/subscriptions", &[], &wish.to_string()).expect(201);
    let publishing = json!({
        "resource": "sip:1002@example.com", "package": "presence", "outbound_proxy": proxy,
        "state": { "basic": "open", "note": "Back at 3" },
    });
    ask(&here, "POST", "/v1/exports", &[], &publishing.to_string()).expect(201);
    let before = row(&here, "/v1/subscriptions/1", "is active", |row| row["state"] == "active");
    row(&here, "/v1/exports/1", "has published", |row| row["state"] == "active");
    // This is answered when it is in the store, and what came before it is there as well.
    Phone::udp(&here, "pbx").publish_call("sip:1003@example.com", None, "c3", "confirmed");
    here.kill();
    Phone::udp(&there, "pbx").publish_call(LINE, None, "c2", "early");
    here.start_again();
    let after = row(&here, "/v1/subscriptions/1", "knows again", |row| {
        row["documents"][0]["state"].to_string().contains("early")
    });
    assert_eq!(before["call_id"], after["call_id"], "the same dialog");
    row(&here, "/v1/exports/1", "publishes again", |row| row["state"] == "active");
    let watchers = ask(&there, "GET", "/v1/watchers", &[], "").json();
    assert_eq!(watchers["watchers"].as_array().map(Vec::len), Some(1), "{watchers}");
    let sources = ask(&there, "GET", "/v1/explain/1002", &[], "").json();
    let presence = sources["packages"].as_array().unwrap().iter().find(|one| one["kind"] == "presence").unwrap();
    assert_eq!(presence["sources"].as_array().map(Vec::len), Some(1), "{presence}");
    ask(&here, "DELETE", "/v1/subscriptions/1", &[], "").expect(204);
    ask(&here, "DELETE", "/v1/exports/1", &[], "").expect(202);
    row(&there, "/v1/watchers", "has none", |row| row["watchers"] == json!([]));
    let _ = std::fs::remove_dir_all(store);
}
