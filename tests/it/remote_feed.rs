//! The feed at work with other servers: subscriptions and publications that end with its connection, and what clients
//! are told of them.

use crate::api::ask;
use crate::feed::Feed;
use crate::gateway::{Gateway, PATIENCE, lamplighter};
use crate::phone::Phone;
use crate::remote::{LINE, row, talking};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

/// The documented schemas, as a gateway serves them.
struct Judge {
    schemas: boon::Schemas,
    known: BTreeMap<String, boon::SchemaIndex>,
}

impl Judge {
    fn of(gateway: &Gateway) -> Self {
        let names = ["ok", "error", "ping", "remote_sub", "remote_pub"].map(|name| format!("server-{name}"));
        let orders = ["sub", "unsub", "pub", "unpub"].map(|name| format!("client-remote_{name}"));
        let url = |name: &str| format!("http://gateway.example/v1/schemas/{name}.json");
        let mut compiler = boon::Compiler::new();
        compiler.set_default_draft(boon::Draft::V2020_12);
        // What they refer to is fetched as well.
        let mut wanted: VecDeque<_> = names.iter().chain(&orders).cloned().collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = wanted.pop_front() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let schema = ask(gateway, "GET", &format!("/v1/schemas/{name}.json"), &[], "").expect(200).json();
            let text = schema.to_string();
            let others = text.split("\"$ref\":\"").skip(1).filter_map(|rest| rest.split(".json\"").next());
            wanted.extend(others.map(str::to_owned));
            compiler.add_resource(&url(&name), schema).unwrap();
        }
        let mut schemas = boon::Schemas::new();
        let index = |name: &String| (name.clone(), compiler.compile(&url(name), &mut schemas).unwrap());
        let known = names.iter().chain(&orders).map(index).collect();
        Self { schemas, known }
    }

    fn check(&self, side: &str, frame: &Value) {
        let name = format!("{side}-{}", frame["t"].as_str().unwrap());
        let index = *self.known.get(&name).unwrap_or_else(|| panic!("unexpected {frame}"));
        if let Err(bad) = self.schemas.validate(frame, index) {
            panic!("{name}: {bad:#}\n{frame:#}");
        }
    }
}

/// A feed client; each of its frames, and each that it gets, keeps to the schemas.
struct Client {
    feed: Feed,
    judge: Judge,
    id: u64,
    told: VecDeque<Value>,
}

impl Client {
    fn of(gateway: &Gateway) -> Self {
        Self::signed(gateway, None)
    }

    fn signed(gateway: &Gateway, key: Option<&str>) -> Self {
        let (feed, hello) = Feed::signed(gateway, key);
        assert!(hello["features"].as_array().unwrap().contains(&json!("remote")), "{hello}");
        // Schemas are for everybody where nobody has to sign in.
        let open;
        let speaker = match key {
            None => gateway,
            Some(_) => {
                open = Gateway::start("");
                &open
            }
        };
        Self { feed, judge: Judge::of(speaker), id: 1, told: VecDeque::new() }
    }

    /// The answer to an order.
    fn order(&mut self, mut frame: Value) -> Value {
        self.id += 1;
        frame["id"] = self.id.into();
        self.judge.check("client", &frame);
        self.feed.send(&frame);
        loop {
            let answer = self.feed.receive();
            self.judge.check("server", &answer);
            if answer["id"] == frame["id"] {
                return answer;
            }
            self.told.push_back(answer);
        }
    }

    /// The number of what an order has begun.
    fn begin(&mut self, frame: Value) -> u64 {
        let answer = self.order(frame);
        answer["number"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// The first frame about this that is as wanted.
    fn told(&mut self, kind: &str, number: u64, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let frame = self.told.pop_front().unwrap_or_else(|| {
                let frame = self.feed.receive();
                self.judge.check("server", &frame);
                frame
            });
            if frame["t"] == kind && frame["number"] == number && wanted(&frame) {
                return frame;
            }
            assert!(Instant::now() < end, "in {PATIENCE:?} nobody said that {what}");
        }
    }
}

/// A presence server of a few lines: it answers by the user of the Request-URI, and says that `gone` does not exist.
fn server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.42.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let request = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if !request.starts_with("SUBSCRIBE ") {
                continue;
            }
            let header = |name: &str| {
                let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
                line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value).to_owned()
            };
            let (via, from, to, call) = (header("via:"), header("from:"), header("to:"), header("call-id:"));
            let contact = header("contact:");
            let answer = |status: &str, more: &str| {
                format!(
                    "SIP/2.0 {status}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to};tag=there\r\nCall-ID: {call}\r\n\
                     CSeq: {}\r\n{more}Content-Length: 0\r\n\r\n",
                    header("cseq:")
                )
            };
            if request.starts_with("SUBSCRIBE sip:secret@") {
                socket.send_to(answer("403 Forbidden", "").as_bytes(), peer).unwrap();
                continue;
            }
            let more = format!("Contact: <sip:{address}>\r\nExpires: 600\r\n");
            socket.send_to(answer("200 OK", &more).as_bytes(), peer).unwrap();
            let target = contact.trim_start_matches('<').split('>').next().unwrap();
            let state =
                if request.starts_with("SUBSCRIBE sip:gone@") { "terminated;reason=noresource" } else { "pending" };
            let notify = format!(
                "NOTIFY {target} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{call}\r\nFrom: {to};tag=there\r\n\
                 To: {from}\r\nCall-ID: {call}\r\nCSeq: 1 NOTIFY\r\nMax-Forwards: 70\r\nEvent: {}\r\n\
                 Contact: <sip:{address}>\r\nSubscription-State: {state}\r\nContent-Length: 0\r\n\r\n",
                header("event:")
            );
            socket.send_to(notify.as_bytes(), peer).unwrap();
        }
    });
    address
}

/// QS-01, QS-02, QS-03, MI-03: a feed client subscribes elsewhere, is told what that says, and its wish ends with it.
#[test]
fn a_feed_client_watches_elsewhere() {
    let there = Gateway::start("");
    let here = talking(&there, "");
    let wish = json!({
        "t": "remote_sub", "resource": LINE, "package": "dialog", "subscriber": "sip:crm@example.com",
        "outbound_proxy": format!("sip:{}", there.sip), "headers": { "X-Why": "because" }, "expires": 600,
    });
    let (mut first, mut second) = (Client::of(&here), Client::of(&here));
    let one = first.begin(wish.clone());
    let active = first.told("remote_sub", one, "it is active", |frame| frame["state"] == "active");
    assert_eq!((&active["r"], &active["kind"]), (&json!(LINE), &json!("dialog")));
    let watchers = row(&there, "/v1/watchers", "has a watcher", |row| row["watchers"][0]["state"] == "active");
    assert_eq!(watchers["watchers"][0]["watcher"], "sip:crm@example.com");
    let other = second.begin(wish);
    let shared = second.told("remote_sub", other, "it is shared", |frame| frame["shared"] == 2);
    assert!(shared["documents"].is_array(), "what is known already comes at once: {shared}");

    let tag = Phone::udp(&there, "pbx").publish_call(LINE, None, "c1", "early");
    for (client, number) in [(&mut first, one), (&mut second, other)] {
        let ringing = client.told("remote_sub", number, "it rings", |frame| frame.to_string().contains("\"early\""));
        assert_eq!(ringing["documents"][0]["content_type"], "application/dialog-info+xml");
    }
    // Somebody else's may be followed, and renewed; that does not make it one's own.
    assert_eq!(second.begin(json!({ "t": "remote_sub", "number": one, "expires": 900 })), one);
    second.told("remote_sub", one, "it is followed", |frame| frame["state"] == "active");
    assert_eq!(second.order(json!({ "t": "remote_unsub", "number": one }))["t"], "ok");
    assert_eq!(ask(&here, "GET", &format!("/v1/subscriptions/{one}"), &[], "").status, 200);
    let unknown = second.order(json!({ "t": "remote_unsub", "number": one }));
    assert_eq!((&unknown["t"], &unknown["type"]), (&json!("error"), &json!("/problems/not-found")), "{unknown}");

    // Each ends what it has begun: one by saying so, one by leaving.
    assert_eq!(second.order(json!({ "t": "remote_unsub", "number": other }))["t"], "ok");
    assert_eq!(ask(&here, "GET", &format!("/v1/subscriptions/{other}"), &[], "").status, 404);
    Phone::udp(&there, "pbx").publish_call(LINE, Some(&tag), "c1", "confirmed");
    first.told("remote_sub", one, "somebody has answered", |frame| frame.to_string().contains("\"confirmed\""));
    drop(first);
    row(&here, "/v1/subscriptions", "has no subscription", |row| row["subscriptions"] == json!([]));
    row(&there, "/v1/watchers", "has no watcher", |row| row["watchers"] == json!([]));
}

/// QS-04, QS-05: pending, rejected, terminated and retrying reach the client with their reasons.
#[test]
fn a_feed_client_is_told_why_not() {
    let there = Gateway::start("");
    let here = talking(&there, "");
    let server = server();
    let mut client = Client::of(&here);
    let wish = |user: &str, at: SocketAddr, more: &str| {
        let resource = format!("sip:{user}@{at}{more}");
        json!({ "t": "remote_sub", "resource": resource, "package": "presence", "subscriber": "sip:crm@example.com" })
    };
    let secret = client.begin(wish("secret", server, ""));
    let rejected = client.told("remote_sub", secret, "it is refused", |frame| frame["state"] == "rejected");
    assert_eq!((&rejected["status"], &rejected["reason"]), (&json!(403), &json!("403 Forbidden")));
    let waiting = client.begin(wish("ann", server, ""));
    client.told("remote_sub", waiting, "it is pending", |frame| {
        frame["state"] == "pending" && frame["notified"] == 1 && frame["status"] == 200
    });
    let gone = client.begin(wish("gone", server, ""));
    let ended = client.told("remote_sub", gone, "there is nobody", |frame| frame["state"] == "terminated");
    assert!(ended["reason"].as_str().is_some_and(|reason| reason.contains("noresource")), "{ended}");
    let nowhere = std::net::TcpListener::bind("127.0.42.2:0").unwrap().local_addr().unwrap();
    let lost = client.begin(wish("ann", nowhere, ";transport=tcp"));
    let retrying = client.told("remote_sub", lost, "it is tried again", |frame| frame["state"] == "retrying");
    assert!(retrying["next"].as_u64() > Some(0) && retrying["reason"].is_string(), "{retrying}");
    // Whoever ends it over HTTP ends it for the client as well.
    ask(&here, "DELETE", &format!("/v1/subscriptions/{waiting}"), &[], "").expect(204);
    client.told("remote_sub", waiting, "somebody has ended it", |frame| frame["state"] == "terminated");
    let bad = client.order(json!({ "t": "remote_sub", "resource": "sip:a@b.example", "package": "tea" }));
    assert_eq!((&bad["t"], &bad["status"]), (&json!("error"), &json!(404)), "{bad}");
}

/// PU-10, PU-12: a feed client publishes elsewhere and is told each final answer; what it says is withdrawn with it.
#[test]
fn a_feed_client_publishes_elsewhere() {
    let there = Gateway::start("");
    let here = talking(&there, "");
    let mut client = Client::of(&here);
    let publishing = json!({
        "t": "remote_pub", "resource": LINE, "package": "presence", "name": "desk", "expires": 600,
        "outbound_proxy": format!("sip:{}", there.sip), "state": { "basic": "open", "note": "Back at 3" },
    });
    let number = client.begin(publishing.clone());
    let active = client.told("remote_pub", number, "it is published", |frame| frame["state"] == "active");
    assert_eq!((&active["status"], &active["name"]), (&json!(200), &json!("desk")));
    row(&there, "/v1/state/1001/presence", "was told", |row| row.to_string().contains("Back at 3"));
    let change = json!({ "t": "remote_pub", "number": number, "state": { "basic": "open", "note": "Back at 4" } });
    assert_eq!(client.begin(change), number);
    row(&there, "/v1/state/1001/presence", "was told again", |row| row.to_string().contains("Back at 4"));
    assert_eq!(client.begin(json!({ "t": "remote_pub", "number": number, "refresh": true })), number);
    client.told("remote_pub", number, "three requests went well", |frame| {
        frame["requests"] == 3 && frame["status"] == 200
    });
    assert_eq!(client.order(json!({ "t": "remote_unpub", "number": number }))["t"], "ok");
    client
        .told("remote_pub", number, "it is removed", |frame| frame["state"] == "terminated" && frame["status"] == 200);
    row(&there, "/v1/state/1001/presence", "knows nothing", |row| row["status"] == 404);

    let again = client.begin(publishing);
    client.told("remote_pub", again, "it is published", |frame| frame["state"] == "active");
    drop(client);
    row(&there, "/v1/state/1001/presence", "knows nothing", |row| row["status"] == 404);
}

/// QS-01, QS-13: what is ours is told by the feed without SIP, even where the gateway talks to nobody.
#[test]
fn a_feed_client_watches_what_is_ours() {
    let here = Gateway::start("");
    let mut client = Client::of(&here);
    let wish = json!({ "t": "remote_sub", "resource": "1001", "package": "dialog", "subscriber": "crm" });
    let number = client.begin(wish);
    client.told("remote_sub", number, "it is active", |frame| frame["state"] == "active" && frame["requests"] == 0);
    let mut pbx = Phone::udp(&here, "pbx");
    let tag = pbx.publish_call(LINE, None, "c1", "early");
    client.told("remote_sub", number, "it rings", |frame| frame["item"]["state"]["lamp"] == "ringing");
    pbx.publish_call(LINE, Some(&tag), "c1", "confirmed");
    client.told("remote_sub", number, "it is busy", |frame| frame["item"]["state"]["lamp"] == "busy");
    let away = json!({ "t": "remote_sub", "resource": "sip:200@pbx.example", "package": "dialog" });
    assert_eq!(client.order(away)["status"], 501);
}

/// QS-02: a feed client speaks for nobody but whom its token may speak for, and hears of nobody else's.
#[test]
fn a_feed_client_speaks_for_itself() {
    let arguments = ["token", "key", "--name=crm", "--read=sip:*@example.com", "--write=sip:crm@example.com"];
    let text = String::from_utf8(lamplighter().args(arguments).output().unwrap().stdout).unwrap();
    let (key, entry) = text.split_once("This belongs into the configuration:").unwrap();
    let key = key.lines().map(str::trim).find(|line| line.starts_with("lk_")).unwrap();
    let here = Gateway::start(entry);
    let mut client = Client::signed(&here, Some(key));
    let wish = |who: &str| json!({ "t": "remote_sub", "resource": "1001", "package": "dialog", "subscriber": who });
    let own = client.begin(wish("crm"));
    let refused = client.order(wish("sip:boss@example.com"));
    assert_eq!((&refused["t"], &refused["type"]), (&json!("error"), &json!("/problems/forbidden")), "{refused}");
    assert_eq!(client.order(wish("sip:crm@other.example"))["status"], 404);
    let unnamed = json!({ "t": "remote_sub", "resource": "1001", "package": "dialog" });
    assert_eq!(client.order(unnamed)["type"], "/problems/forbidden", "the gateway itself asks for administrators only");
    assert_eq!(client.begin(json!({ "t": "remote_sub", "number": own })), own);
    assert_eq!(client.order(json!({ "t": "remote_sub", "number": own + 1 }))["type"], "/problems/not-found");
}
