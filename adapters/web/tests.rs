//! The feed and the HTTP side over real sockets.

use crate::{Admin, Config, Limits, serve};
use futures_util::{SinkExt, StreamExt};
use lamplighter_model::config::Profile;
use lamplighter_model::explain::{Explanation, PackageExplanation};
use lamplighter_model::package::{
    BadBody, Composed, Cuts, Expires, Format, Package, PackageId, Packages, Reading, Rendering, Sourced, View,
};
use lamplighter_model::{
    Addresses, Answer, Change, Command, EntityTag, OwnedAction, PublishCommand, PublishError, PublishedLease, Time,
};
use lamplighter_port::{Port, Settings, ShardPort};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

mod feed;

/// The publication that there is.
const TAG: EntityTag = EntityTag(0xabc_0001);

fn publish(command: &PublishCommand) -> Result<PublishedLease, PublishError> {
    let expires = command.expires.unwrap_or(Duration::from_secs(3600));
    match &command.action {
        OwnedAction::Initial(_) | OwnedAction::Put(..) => Ok(PublishedLease { tag: TAG, created: true, expires }),
        OwnedAction::Modify(TAG, _) | OwnedAction::Refresh(TAG) => {
            Ok(PublishedLease { tag: TAG.next(), created: false, expires })
        }
        OwnedAction::Withdraw(TAG) => Ok(PublishedLease { tag: TAG, created: false, expires: Duration::ZERO }),
        _ => Err(PublishError::NoSuchTag),
    }
}

/// A package whose state is a number.
struct Number(&'static str);

impl Package for Number {
    type Fact = u64;
    type State = u64;

    fn name(&self) -> &str {
        self.0
    }
    fn kind(&self) -> &str {
        self.0
    }
    fn formats(&self) -> &[Format] {
        &[]
    }
    fn expires(&self) -> Expires {
        Expires { default: Duration::ZERO, least: Duration::ZERO, most: Duration::ZERO }
    }
    fn read(&self, _: u8, _: &[u8], _: Reading<'_>) -> Result<u64, BadBody> {
        Ok(0)
    }
    fn pack(&self, fact: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&fact.to_be_bytes());
    }
    fn unpack(&self, packed: &[u8]) -> Option<u64> {
        packed.try_into().ok().map(u64::from_be_bytes)
    }
    fn compose(&self, _: Time, _: &str, _: &[Sourced<'_, u64>]) -> Composed<u64> {
        Composed { state: 0, again: None }
    }
    fn is_change(&self, old: &u64, new: &u64) -> bool {
        old != new
    }
    fn write(&self, _: &str, _: &u64, _: Rendering, _: &Profile, _: &mut Vec<u8>) -> Cuts {
        Cuts::default()
    }
    fn json(&self, state: &u64, view: View, out: &mut Vec<u8>) {
        if view != View::Full {
            out.extend_from_slice(format!("{{\"n\":{state},\"view\":\"{view:?}\"}}").as_bytes());
            return;
        }
        out.extend_from_slice(format!("{{\"n\":{state},\"pad\":\"{}\"}}", "x".repeat(self.0.len() * 20)).as_bytes());
    }
    fn schema(&self) -> &'static str {
        r#"{"type":"object"}"#
    }
    fn rule(&self) -> &'static str {
        "the newest"
    }
    fn describe(&self, state: &u64) -> String {
        state.to_string()
    }
}

const DIALOG: PackageId = PackageId(0);
const MWI: PackageId = PackageId(1);

struct Rig {
    port: Port,
    address: SocketAddr,
    shard: Arc<Mutex<ShardPort>>,
    seqs: HashMap<(String, PackageId), u64>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<Result<(), crate::Error>>,
    done: Arc<AtomicBool>,
    hub: Option<std::thread::JoinHandle<()>>,
    well: Arc<AtomicBool>,
    /// What clients have published, in order.
    published: Arc<Mutex<Vec<PublishCommand>>>,
}

impl Rig {
    async fn new(change: impl FnOnce(&mut Config, &mut Settings)) -> Self {
        let (mut config, mut settings) = (Config::default(), Settings::default());
        change(&mut config, &mut settings);
        let packages = Packages::new(vec![Box::new(Number("dialog")), Box::new(Number("mwi"))], |_, expires| expires);
        let addresses = Arc::new(Addresses::new(["example.com", "sales.example.com"], [], []));
        // The shard's driver: woken for questions and for room.
        let (bell, rung) = std::sync::mpsc::sync_channel::<()>(1);
        let wake = Arc::new(move || _ = bell.try_send(()));
        let (hub, mut shards, port) = lamplighter_port::hub(packages, addresses, settings, "e1", vec![wake]);
        let hub = std::thread::spawn(|| hub.run());
        let shard = Arc::new(Mutex::new(shards.remove(0)));
        let done = Arc::new(AtomicBool::new(false));
        let published = Arc::new(Mutex::new(Vec::new()));
        std::thread::spawn({
            let (shard, done, published) = (Arc::downgrade(&shard), Arc::clone(&done), Arc::clone(&published));
            move || {
                while rung.recv_timeout(Duration::from_secs(1)).is_ok() || !done.load(Ordering::SeqCst) {
                    let Some(shard) = shard.upgrade() else { return };
                    let mut shard = shard.lock().unwrap();
                    while let Some((ticket, command)) = shard.command() {
                        match command {
                            Command::Explain { resource } => {
                                let package = PackageExplanation { kind: "dialog".into(), ..Default::default() };
                                let explanation =
                                    Explanation { resource: resource.to_string(), packages: vec![package] };
                                shard.answer(ticket, Answer::Explain(Box::new(explanation)));
                            }
                            Command::Publish(command) => {
                                let answer = publish(&command);
                                published.lock().unwrap().push(*command);
                                shard.answer(ticket, Answer::Published(answer));
                            }
                            _ => panic!("nobody asks this"),
                        }
                    }
                    shard.flush();
                }
            }
        });
        let well = Arc::new(AtomicBool::new(true));
        let (_, reload) = watch::channel(0);
        let admin = Admin {
            reload,
            metrics: Arc::new(|out| out.push_str("other_total 1\n")),
            ready: Arc::new({
                let well = Arc::clone(&well);
                move || if well.load(Ordering::SeqCst) { Ok(()) } else { Err(vec!["no shard".into()]) }
            }),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let serving = tokio::spawn(serve(config, port.clone(), admin, listener, stopping));
        Self { port, address, shard, seqs: HashMap::new(), stop, serving, done, hub: Some(hub), well, published }
    }

    async fn plain() -> Self {
        Self::new(|_, _| {}).await
    }

    /// Something has changed; returns its revision, which the mirror has.
    async fn change(&mut self, user: &str, package: PackageId, state: Option<u64>) -> u64 {
        let mut head = self.port.head();
        let before = *head.borrow_and_update();
        self.push(user, package, state);
        *head.wait_for(|head| *head > before).await.unwrap()
    }

    fn push(&mut self, user: &str, package: PackageId, state: Option<u64>) {
        let resource = format!("sip:{user}@example.com");
        let seq = self.seqs.entry((resource.clone(), package)).or_default();
        *seq += 1;
        let mut shard = self.shard.lock().unwrap();
        shard.change(Change {
            resource: resource.into(),
            package,
            seq: *seq,
            at: Time::from_micros(1_795_263_600_000_000),
            source: "pub:1".into(),
            reason: if state.is_some() { "published" } else { "expired" },
            state: state.map(|state| Arc::new(state) as _),
        });
        shard.flush();
    }

    async fn client(&self) -> Client {
        let mut client = Client::connect(self.address, Some("presence.v1")).await;
        client.hello(json!({})).await;
        client
    }

    async fn http(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    async fn metric(&self, name: &str) -> u64 {
        let (_, _, text) = self.http("/metrics", "").await;
        let line = text.lines().find(|line| line.split(' ').next() == Some(name)).expect(name);
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        self.port.stop();
        let ended = self.hub.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    id: u64,
    rev: u64,
    cursor: String,
}

impl Client {
    async fn connect(address: SocketAddr, protocol: Option<&str>) -> Self {
        let mut request = format!("ws://{address}/v1/feed").into_client_request().unwrap();
        if let Some(protocol) = protocol {
            request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
        }
        let stream = MaybeTlsStream::Plain(TcpStream::connect(address).await.unwrap());
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        Self { socket, id: 0, rev: 0, cursor: String::new() }
    }

    async fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.unwrap();
    }

    async fn ask(&mut self, mut frame: Value) {
        self.id += 1;
        frame["id"] = self.id.into();
        self.send(frame.to_string()).await;
    }

    async fn hello(&mut self, mut frame: Value) {
        frame["t"] = "hello".into();
        self.ask(frame).await;
        let ok = self.next().await;
        assert_eq!((&ok["t"], &ok["proto"], &ok["epoch"]), (&json!("ok"), &json!(1), &json!("e1")), "{ok}");
    }

    async fn message(&mut self) -> Message {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("a frame in time").unwrap().unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next frame.
    async fn next(&mut self) -> Value {
        let message = self.message().await;
        let Message::Text(text) = &message else { panic!("{message:?}") };
        let frame: Value = serde_json::from_str(text).unwrap();
        if let Some(cursor) = frame["cursor"].as_str() {
            self.cursor = cursor.to_owned();
        }
        if frame["t"] == "upd" {
            for item in frame["items"].as_array().unwrap() {
                let rev = item["rev"].as_u64().unwrap();
                assert!(rev > self.rev, "revisions rise: {frame}");
                self.rev = rev;
            }
        }
        frame
    }

    /// The next frames until one of this type, which is returned.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["t"] == kind {
                return frame;
            }
        }
    }

    /// The close code, after whatever else comes.
    async fn closed(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.message().await {
                return frame.unwrap().code.into();
            }
        }
    }

    /// Subscribes; returns `ok` and all items of the snapshot.
    async fn sub(&mut self, mut frame: Value) -> (Value, Vec<Value>) {
        frame["t"] = "sub".into();
        if frame.get("sub").is_none() {
            frame["sub"] = "main".into();
        }
        if frame.get("r").is_none() {
            frame["r"] = json!(["*"]);
        }
        self.ask(frame).await;
        let ok = self.until("ok").await;
        let items = self.snapshot(&ok).await;
        (ok, items)
    }

    /// The items of the snapshot that follows.
    async fn snapshot(&mut self, ok: &Value) -> Vec<Value> {
        let mut items = Vec::new();
        loop {
            let snap = self.next().await;
            if snap["t"] == "reset" && items.is_empty() {
                continue;
            }
            assert_eq!((&snap["t"], &snap["sub"]), (&json!("snap"), &ok["sub"]), "{snap}");
            items.extend(snap["items"].as_array().unwrap().iter().cloned());
            if snap["more"] == false {
                return items;
            }
            assert!(snap.get("cursor").is_none());
        }
    }

    async fn refused(&mut self, frame: Value) -> String {
        self.ask(frame).await;
        let error = self.until("error").await;
        assert_eq!(error["id"], self.id, "{error}");
        error["type"].as_str().unwrap().strip_prefix("/problems/").unwrap().to_owned()
    }
}

fn brief(item: &Value) -> String {
    let user = item["r"].as_str().unwrap().strip_prefix("sip:").unwrap().split('@').next().unwrap();
    let what = match &item["state"]["n"] {
        Value::Null => item["reason"].as_str().unwrap_or("absent").to_owned(),
        n => n.to_string(),
    };
    format!("{user}/{}={what}", item["k"].as_str().unwrap())
}

fn briefs(items: &Value) -> Vec<String> {
    items.as_array().unwrap().iter().map(brief).collect()
}

#[tokio::test]
async fn snapshot_then_changes() {
    let mut rig = Rig::plain().await;
    rig.change("1", DIALOG, Some(10)).await;
    rig.change("2", MWI, Some(20)).await;
    rig.change("1", DIALOG, Some(11)).await;
    let mut client = rig.client().await;
    let (ok, items) = client.sub(json!({})).await;
    assert_eq!((&ok["matched"], &ok["resumed"]), (&json!(2), &json!(false)));
    assert_eq!(items.iter().map(brief).collect::<Vec<_>>(), ["2/mwi=20", "1/dialog=11"]);
    assert_eq!(client.cursor, "e1.3");
    let mut whole = items[1].clone();
    whole["state"]["pad"] = "".into();
    let expected = json!({
        "r": "sip:1@example.com", "k": "dialog", "seq": 2, "rev": 3, "ts": 1_795_263_600_000_u64, "src": "pub:1",
        "state": { "n": 11, "pad": "" },
    });
    assert_eq!(whole, expected);

    rig.change("3", DIALOG, Some(30)).await;
    let upd = client.next().await;
    assert_eq!((briefs(&upd["items"]), &upd["cursor"]), (vec!["3/dialog=30".into()], &json!("e1.4")));
    rig.change("1", DIALOG, None).await;
    let upd = client.next().await;
    let gone = json!({
        "r": "sip:1@example.com", "k": "dialog", "seq": 3, "rev": 5, "ts": 1_795_263_600_000_u64, "gone": true,
        "reason": "expired",
    });
    assert_eq!(upd["items"], json!([gone]));
}

#[tokio::test]
async fn kinds_domains_and_addresses_narrow_the_scope() {
    let mut rig = Rig::plain().await;
    for user in ["1", "2", "3"] {
        rig.change(user, DIALOG, Some(1)).await;
        rig.change(user, MWI, Some(2)).await;
    }
    let mut client = rig.client().await;
    let (ok, items) = client.sub(json!({ "sub": "a", "r": ["1", "sip:3@example.com"], "kinds": ["mwi", "tea"] })).await;
    assert_eq!(items.iter().map(brief).collect::<Vec<_>>(), ["1/mwi=2", "3/mwi=2"]);
    assert_eq!(ok["unknown_kinds"], json!(["tea"]));
    let (ok, _) = client.sub(json!({ "sub": "b", "r": ["*@sales.example.com"] })).await;
    assert_eq!(ok["matched"], 0);
    rig.change("2", MWI, Some(3)).await;
    rig.change("1", DIALOG, Some(4)).await;
    rig.change("1", MWI, Some(5)).await;
    assert_eq!(briefs(&client.next().await["items"]), ["1/mwi=5"]);
}

#[tokio::test]
async fn overlapping_subscriptions_send_a_change_once_and_one_cursor_is_true_for_all() {
    let mut rig = Rig::plain().await;
    rig.change("1", DIALOG, Some(1)).await;
    let mut client = rig.client().await;
    client.sub(json!({ "sub": "a", "r": ["1"] })).await;
    let (_, items) = client.sub(json!({ "sub": "b", "r": ["*"] })).await;
    assert_eq!(items.len(), 1);
    rig.change("1", DIALOG, Some(2)).await;
    assert_eq!(briefs(&client.next().await["items"]), ["1/dialog=2"]);
    client.ask(json!({ "t": "unsub", "sub": "b" })).await;
    assert_eq!(client.next().await, json!({ "t": "ok", "id": 4, "sub": "b" }));
    rig.change("2", DIALOG, Some(3)).await;
    rig.change("1", DIALOG, Some(4)).await;
    assert_eq!(briefs(&client.next().await["items"]), ["1/dialog=4"]);
    assert_eq!(client.refused(json!({ "t": "unsub", "sub": "b" })).await, "not-found");
    assert_eq!(client.refused(json!({ "t": "sub", "sub": "a", "r": ["*"] })).await, "conflict");
}

#[tokio::test]
async fn a_client_resumes_where_it_was() {
    let mut rig = Rig::new(|_, settings| settings.tombstones = 3).await;
    for user in ["1", "2", "3"] {
        rig.change(user, DIALOG, Some(1)).await;
    }
    let mut client = rig.client().await;
    client.sub(json!({})).await;
    let cursor = client.cursor.clone();
    drop(client);
    rig.change("2", DIALOG, None).await;
    rig.change("3", DIALOG, Some(2)).await;
    let mut client = rig.client().await;
    let (ok, items) = client.sub(json!({ "cursor": cursor })).await;
    assert_eq!((&ok["resumed"], &ok["matched"]), (&json!(true), &json!(2)));
    assert_eq!(items.iter().map(brief).collect::<Vec<_>>(), ["2/dialog=expired", "3/dialog=2"]);

    for cursor in ["e0.3", "e1.99", "e1", "", "e1.-1", "e1.18446744073709551616", "."] {
        let mut client = rig.client().await;
        let (ok, items) = client.sub(json!({ "cursor": cursor })).await;
        assert_eq!((&ok["resumed"], items.len()), (&json!(false), 2), "{cursor}");
    }
    // More have gone than are remembered: what the cursor has not seen go cannot be told.
    for user in ["5", "6", "7", "8"] {
        rig.change(user, DIALOG, None).await;
    }
    let mut client = rig.client().await;
    let (ok, _) = client.sub(json!({ "cursor": cursor })).await;
    assert_eq!(ok["resumed"], false);
    assert_eq!(rig.metric("resume_total{result=\"resumed\"}").await, 1);
    assert_eq!(rig.metric("resume_total{result=\"afresh\"}").await, 8);
}

#[tokio::test]
async fn whoever_falls_behind_the_tombstones_is_reset() {
    let mut rig = Rig::new(|_, settings| settings.tombstones = 2).await;
    rig.change("1", DIALOG, Some(1)).await;
    rig.change("2", DIALOG, Some(1)).await;
    let mut client = Client::connect(rig.address, None).await;
    client.hello(json!({ "flush_ms": 1000 })).await;
    client.sub(json!({})).await;
    rig.change("2", DIALOG, Some(2)).await;
    assert_eq!(client.next().await["t"], "upd");
    // While it holds, its address goes and so do others.
    for user in ["1", "4", "5", "6"] {
        rig.change(user, DIALOG, None).await;
    }
    assert_eq!(client.next().await, json!({ "t": "reset", "sub": "main", "reason": "behind" }));
    let snap = client.next().await;
    assert_eq!((briefs(&snap["items"]), &snap["cursor"]), (vec!["2/dialog=2".into()], &json!("e1.7")));
    rig.change("9", MWI, Some(9)).await;
    assert_eq!(briefs(&client.until("upd").await["items"]), ["9/mwi=9"]);
}

#[tokio::test]
async fn get_absent_and_no_snapshot() {
    let mut rig = Rig::plain().await;
    rig.change("1", DIALOG, Some(1)).await;
    let mut client = rig.client().await;
    client.ask(json!({ "t": "get", "r": ["1", "2"] })).await;
    assert_eq!(briefs(&client.next().await["items"]), ["1/dialog=1"]);
    assert_eq!(client.refused(json!({ "t": "get", "r": ["*"] })).await, "invalid-field");
    let (_, items) = client.sub(json!({ "sub": "a", "r": ["1", "2"], "absent": true })).await;
    assert_eq!(
        items.iter().map(brief).collect::<Vec<_>>(),
        ["1/dialog=1", "1/mwi=absent", "2/dialog=absent", "2/mwi=absent"]
    );
    client.ask(json!({ "t": "sub", "sub": "b", "r": ["*"], "snapshot": false })).await;
    assert_eq!(client.next().await["cursor"], "e1.1");
    client.ask(json!({ "t": "ping" })).await;
    let pong = client.next().await;
    assert!(pong["t"] == "pong" && pong["time"].as_u64().unwrap() > 1_600_000_000_000, "{pong}");
    rig.change("7", DIALOG, Some(1)).await;
    assert_eq!(briefs(&client.next().await["items"]), ["7/dialog=1"]);
}

#[tokio::test]
async fn a_large_snapshot_comes_in_small_frames() {
    let mut rig = Rig::plain().await;
    for user in 0..2000 {
        rig.push(&user.to_string(), DIALOG, Some(user));
    }
    rig.change("last", DIALOG, Some(0)).await;
    let _ = rig.port.head().wait_for(|head| *head == 2001).await;
    let mut client = rig.client().await;
    client.ask(json!({ "t": "sub", "sub": "main", "r": ["*"] })).await;
    assert_eq!(client.next().await["matched"], 2001);
    let (mut frames, mut users) = (0, BTreeMap::new());
    loop {
        let message = client.message().await;
        assert!(message.len() <= 64 * 1024);
        let snap: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        frames += 1;
        for item in snap["items"].as_array().unwrap() {
            users.insert(item["r"].as_str().unwrap().to_owned(), item["rev"].as_u64().unwrap());
        }
        if snap["more"] == false {
            break;
        }
    }
    assert!(frames > 10 && users.len() == 2001, "{frames} frames, {} users", users.len());
}

#[tokio::test]
async fn limits_are_kept_and_said() {
    let limits = Limits { subscriptions: 2, list: 3, resources: 4, ..Limits::default() };
    let mut rig = Rig::new(|config, _| config.limits = limits).await;
    for user in ["1", "2", "3"] {
        rig.change(user, DIALOG, Some(1)).await;
    }
    let mut client = rig.client().await;
    let sub = |name: &str, r: Value| json!({ "t": "sub", "sub": name, "r": r });
    assert_eq!(client.refused(sub("a", json!(["1", "2", "3", "4"]))).await, "too-many-resources");
    assert_eq!(client.refused(json!({ "t": "sub", "sub": "a", "r": ["*"], "limit": 2 })).await, "too-many-resources");
    client.sub(sub("a", json!(["*"]))).await;
    assert_eq!(client.refused(sub("b", json!(["1", "2"]))).await, "too-many-resources");
    client.sub(sub("b", json!(["1"]))).await;
    assert_eq!(client.refused(sub("c", json!(["*@sales.example.com"]))).await, "too-many-subscriptions");
    assert_eq!(client.refused(sub("c", json!(["1@elsewhere.example.org"]))).await, "not-found");
    assert_eq!(client.refused(json!({ "t": "act" })).await, "not-supported");
    assert_eq!(client.refused(json!({ "t": "what" })).await, "unknown-type");
    assert_eq!(client.refused(json!({ "t": "hello" })).await, "invalid-field");
    // And it still works.
    rig.change("1", DIALOG, Some(5)).await;
    assert_eq!(briefs(&client.until("upd").await["items"]), ["1/dialog=5"]);
}

#[tokio::test]
async fn bad_frames_close_with_their_code() {
    let rig = Rig::new(|config, _| config.hello_timeout = Duration::from_secs(1)).await;
    let address = rig.address;
    let mut client = rig.client().await;
    client.send("{").await;
    assert_eq!(client.next().await["type"], "/problems/bad-json");
    assert_eq!(client.closed().await, 4400);
    let mut client = rig.client().await;
    client.socket.send(Message::binary(vec![0])).await.unwrap();
    assert_eq!(client.closed().await, 4400);
    let mut client = rig.client().await;
    client.send("x".repeat(70_000)).await;
    assert_eq!(client.closed().await, 4413);
    let mut client = rig.client().await;
    client.send("[".repeat(60_000)).await;
    assert_eq!(client.closed().await, 4400);

    let mut client = Client::connect(address, None).await;
    assert_eq!(client.refused(json!({ "t": "sub", "sub": "a", "r": ["*"] })).await, "unauthenticated");
    assert_eq!(client.closed().await, 4401);
    let mut client = Client::connect(address, None).await;
    assert_eq!(client.closed().await, 4401);
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A client library refuses a server that selects none of its protocols, so this one reads bytes.
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upgrade = format!(
        "GET /v1/feed HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Protocol: presence.v9\r\n{key}\r\n"
    );
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let (mut bytes, close) = (Vec::new(), [0x11, 0x34]); // 4404
    while !bytes.windows(2).any(|two| two == close) {
        let read = timeout(PATIENCE, stream.read_buf(&mut bytes)).await.unwrap().unwrap();
        assert!(read > 0, "{:?}", String::from_utf8_lossy(&bytes));
    }
    assert!(String::from_utf8_lossy(&bytes).contains("/problems/unsupported-version"));
    assert_eq!(rig.metric("ws_connect_total{result=\"ok\"}").await, 4);
    assert_eq!(rig.metric("ws_connect_total{result=\"refused\"}").await, 3);
}

/// A feed connection of which the test sees the bytes.
async fn raw(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let upgrade = format!(
        "GET /v1/feed HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    stream
}

/// A short frame as a client sends it.
fn masked(text: &str) -> Vec<u8> {
    let head = [0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    [&head, text.as_bytes()].concat()
}

#[tokio::test]
async fn commands_that_come_together_are_answered_though_half_a_frame_follows() {
    let rig = Rig::plain().await;
    let mut stream = raw(rig.address).await;
    let commands = [r#"{"t":"hello","id":1}"#, r#"{"t":"sub","id":2,"sub":"a","r":["*"]}"#, r#"{"t":"ping","id":3}"#];
    let last = masked(r#"{"t":"ping","id":4}"#);
    let mut bytes: Vec<u8> = commands.iter().flat_map(|text| masked(text)).collect();
    bytes.extend(&last[..9]);
    stream.write_all(&bytes).await.unwrap();
    let mut answers = Vec::new();
    for (rest, pong) in [(&b""[..], "\"t\":\"pong\",\"time\""), (&last[9..], "\"id\":4")] {
        stream.write_all(rest).await.unwrap();
        while !String::from_utf8_lossy(&answers).contains(pong) {
            assert!(timeout(PATIENCE, stream.read_buf(&mut answers)).await.unwrap().unwrap() > 0);
        }
    }
    let text = String::from_utf8_lossy(&answers);
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in {text}"));
    assert!(at("\"session\"") < at("\"matched\"") && at("\"matched\"") < at("\"snap\""), "{text}");
    assert!(at("\"snap\"") < at("\"pong\""), "{text}");
}

#[tokio::test]
async fn too_many_commands_are_refused_and_then_too_much() {
    let limits = Limits { commands_per_second: 1, command_burst: 5, ..Limits::default() };
    let rig = Rig::new(|config, _| config.limits = limits).await;
    let mut client = rig.client().await;
    for _ in 0..5 {
        client.ask(json!({ "t": "ping" })).await;
        assert_eq!(client.next().await["t"], "pong");
    }
    client.ask(json!({ "t": "ping" })).await;
    let error = client.next().await;
    assert_eq!((&error["type"], &error["id"]), (&json!("/problems/rate-limited"), &json!(7)));
    assert!((1..=1000).contains(&error["retry_ms"].as_u64().unwrap()), "{error}");
    for _ in 0..120 {
        client.ask(json!({ "t": "ping" })).await;
    }
    assert_eq!(client.closed().await, 4429);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed_and_resumes_to_the_newest() {
    let mut rig = Rig::new(|config, _| {
        (config.stall, config.send_buffer) = (Duration::from_millis(300), 4096);
    })
    .await;
    let mut client = rig.client().await;
    client.sub(json!({})).await;
    let mut other = rig.client().await;
    other.sub(json!({})).await;
    // It does not read from here on, while more is sent than any buffer between takes.
    let mut round = 0;
    while rig.metric("feed_slow_closed_total").await == 0 {
        round += 1;
        for user in 0..3000 {
            rig.push(&user.to_string(), DIALOG, Some(round));
        }
        while briefs(&other.until("upd").await["items"]).last() != Some(&format!("2999/dialog={round}")) {}
        assert!(round < 500);
    }
    assert_eq!(client.closed().await, 4408);
    let cursor = client.cursor.clone();
    let mut client = rig.client().await;
    let (ok, items) = client.sub(json!({ "cursor": cursor })).await;
    assert_eq!(ok["resumed"], true);
    assert!(items.iter().all(|item| item["state"]["n"] == round) && !items.is_empty());
}

#[tokio::test]
async fn the_first_change_comes_at_once_and_then_at_most_one_flush_an_interval() {
    let mut rig = Rig::new(|config, _| config.flush_every = Duration::from_secs(4)).await;
    let mut client = rig.client().await;
    client.sub(json!({})).await;
    let start = tokio::time::Instant::now();
    rig.change("1", DIALOG, Some(1)).await;
    client.next().await;
    let first = start.elapsed();
    for state in 2..50 {
        rig.change("1", DIALOG, Some(state)).await;
    }
    assert_eq!(briefs(&client.next().await["items"]), ["1/dialog=49"]);
    let second = start.elapsed();
    assert!(first < Duration::from_secs(2) && second >= Duration::from_secs(2), "{first:?} {second:?}");
}

#[tokio::test]
async fn heartbeats_keep_the_cursor_young_and_find_the_dead() {
    let mut rig = Rig::new(|config, _| config.ping_every = Duration::from_millis(300)).await;
    let mut client = rig.client().await;
    client.sub(json!({ "kinds": ["mwi"] })).await;
    rig.change("1", DIALOG, Some(1)).await;
    assert_eq!(client.until("upd").await, json!({ "t": "upd", "items": [], "cursor": "e1.1" }));
    assert_eq!(client.next().await, json!({ "t": "ping" }));
    // A peer that answers no pings, though its kernel takes everything.
    let mut stream = raw(rig.address).await;
    stream.write_all(&masked(r#"{"t":"hello","id":1}"#)).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.windows(2).any(|two| two == [0x11, 0x38]) {
        // 4408
        assert!(timeout(PATIENCE, stream.read_buf(&mut bytes)).await.unwrap().unwrap() > 0);
    }
}

#[tokio::test]
async fn a_stop_says_goodbye() {
    let rig = Rig::plain().await;
    let (mut client, _idle) = (rig.client().await, TcpStream::connect(rig.address).await.unwrap());
    rig.stop.send_replace(true);
    let bye = client.next().await;
    assert_eq!((&bye["t"], &bye["code"]), (&json!("bye"), &json!("server_shutdown")));
    assert!((500..2500).contains(&bye["retry_ms"].as_u64().unwrap()));
    assert_eq!(client.closed().await, 1001);
    drop(client);
    while !rig.serving.is_finished() {
        tokio::task::yield_now().await;
    }
    assert!(TcpStream::connect(rig.address).await.is_err());
}

/// Neither who answers nothing, nor who reads nothing, nor who never gets to the point.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_nobody_for_long() {
    let mut rig = Rig::new(|config, _| config.send_buffer = 4096).await;
    let mut silent = rig.client().await;
    silent.sub(json!({})).await;
    let upgrade = format!("ws://{}/v1/feed", rig.address).into_client_request().unwrap();
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let _speechless = tokio_tungstenite::client_async(upgrade, stream).await.unwrap();
    let mut half = TcpStream::connect(rig.address).await.unwrap();
    half.write_all(b"GET /v1/state HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut other = rig.client().await;
    other.sub(json!({})).await;
    // More than the buffers between us take: it falls behind by rounds.
    let mut round = 0;
    while rig.metric("feed_cursor_lag_revs").await < 6000 {
        round += 1;
        for user in 0..3000 {
            rig.push(&user.to_string(), DIALOG, Some(round));
        }
        while briefs(&other.until("upd").await["items"]).last() != Some(&format!("2999/dialog={round}")) {}
        assert!(round < 500);
    }
    rig.stop.send_replace(true);
    let Rig { serving, .. } = &mut rig;
    timeout(Duration::from_millis(1800), serving).await.expect("it waits for somebody").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_end_with_the_newest_of_all_and_share_frames() {
    let mut rig = Rig::new(|config, _| config.flush_every = Duration::from_millis(5)).await;
    let address = rig.address;
    let watch = |number: u64| async move {
        let mut seen: HashMap<String, (u64, u64)> = HashMap::new();
        let mut cursor = Value::Null;
        let mut frames = 0_u64;
        loop {
            let mut client = Client::connect(address, Some("presence.v1")).await;
            client.hello(json!({ "flush_ms": if number % 4 == 3 { 40 } else { 0 } })).await;
            let (ok, items) = client.sub(json!({ "cursor": cursor })).await;
            if ok["resumed"] == false {
                seen.clear();
            }
            let take = |seen: &mut HashMap<String, (u64, u64)>, items: &[Value]| {
                for item in items {
                    let (seq, n) = (item["seq"].as_u64().unwrap(), item["state"]["n"].as_u64().unwrap_or(0));
                    let old = seen.insert(item["r"].as_str().unwrap().to_owned(), (seq, n));
                    assert!(old.is_none_or(|(old, _)| old < seq), "twice or back: {item}");
                }
                seen.contains_key("sip:end@example.com")
            };
            let mut done = take(&mut seen, &items);
            while !done {
                let upd = client.until("upd").await;
                frames += 1;
                done = take(&mut seen, upd["items"].as_array().unwrap());
                // Some leave now and then, and come back with their cursor.
                if number.is_multiple_of(3) && frames % 7 == number % 7 {
                    break;
                }
            }
            if done {
                return seen;
            }
            cursor = client.cursor.into();
        }
    };
    let clients: Vec<_> = (0..24).map(|number| tokio::spawn(watch(number))).collect();
    let mut truth: HashMap<String, u64> = HashMap::new();
    let mut random = 7_u64;
    for state in 1..=20_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let user = (random >> 33) % 97;
        let gone = random >> 60 == 0;
        truth.insert(format!("sip:{user}@example.com"), if gone { 0 } else { state });
        rig.push(&user.to_string(), DIALOG, (!gone).then_some(state));
        if state % 40 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    rig.push("end", DIALOG, Some(1));
    truth.insert("sip:end@example.com".into(), 1);
    for client in clients {
        let mut seen = timeout(PATIENCE, client).await.unwrap().unwrap();
        seen.retain(|_, (_, n)| *n > 0);
        let newest: HashMap<String, u64> = seen.into_iter().map(|(user, (_, n))| (user, n)).collect();
        assert_eq!(newest, truth.iter().filter(|(_, n)| **n > 0).map(|(user, n)| (user.clone(), *n)).collect());
    }
    let (encoded, shared) =
        (rig.metric("feed_frames_encoded_total").await, rig.metric("feed_frames_shared_total").await);
    assert!(shared > encoded, "{encoded} encoded, {shared} shared");
}

/// WS-01: whoever subscribes while changes go on ends with the newest of all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_subscribes_amid_changes_misses_no_final_state() {
    const USERS: u64 = 37;
    let mut rig = Rig::plain().await;
    let mut clients = Vec::new();
    for state in 1..=2000 {
        rig.push(&(state % USERS).to_string(), DIALOG, Some(state));
        if state % 25 == 0 {
            let mut client = Client::connect(rig.address, None).await;
            client.hello(json!({})).await;
            // Its snapshot is taken, and told, while the changes that follow are made.
            client.ask(json!({ "t": "sub", "sub": "main", "r": ["*"] })).await;
            clients.push(client);
        }
    }
    let address = |state: u64| format!("sip:{}@example.com", state % USERS);
    let truth: HashMap<String, u64> = (2001 - USERS..=2000).map(|state| (address(state), state)).collect();
    for mut client in clients {
        let mut seen: HashMap<String, u64> = HashMap::new();
        while seen != truth {
            let frame = client.next().await;
            for item in frame["items"].as_array().into_iter().flatten() {
                let (name, state) = (item["r"].as_str().unwrap(), item["state"]["n"].as_u64().unwrap());
                let old = seen.insert(name.to_owned(), state);
                assert!(old.is_none_or(|old| old < state), "twice or back: {item}");
            }
        }
    }
}

#[tokio::test]
async fn states_over_http() {
    let mut rig = Rig::plain().await;
    rig.change("1", DIALOG, Some(1)).await;
    rig.change("1", MWI, Some(2)).await;
    rig.change("2", DIALOG, Some(3)).await;
    let (status, head, body) = rig.http("/v1/state/sip:1@example.com/dialog", "").await;
    assert!(status == 200 && head.contains("etag: \"e1.1\"") && head.contains("application/json"), "{head}");
    assert_eq!(brief(&serde_json::from_str(&body).unwrap()), "1/dialog=1");
    let (status, head, body) = rig.http("/v1/state/1/dialog", "If-None-Match: W/\"x\", \"e1.1\"\r\n").await;
    assert!(status == 304 && head.contains("etag: \"e1.1\"") && body.is_empty(), "{head}");
    rig.change("1", DIALOG, Some(4)).await;
    assert_eq!(rig.http("/v1/state/1/dialog", "If-None-Match: \"e1.1\"\r\n").await.0, 200);
    let (_, head, body) = rig.http("/v1/state/1", "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!(head.contains("etag: \"e1.4\""), "{head}");
    assert_eq!(
        (&body["r"], briefs(&body["items"])),
        (&json!("sip:1@example.com"), vec!["1/dialog=4".into(), "1/mwi=2".into()])
    );
    let (status, head, body) = rig.http("/v1/state?r=1&r=2&kind=dialog", "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!(status == 200 && head.contains("presence-cursor: e1.4"), "{head}");
    assert_eq!(
        (briefs(&body["items"]), &body["more"]),
        (vec!["2/dialog=3".into(), "1/dialog=4".into()], &json!(false))
    );
    let (_, head, body) = rig.http("/v1/state?limit=1", "").await;
    assert!(body.contains("\"more\":true") && head.contains("presence-cursor: e1.4"), "{head}");

    rig.change("2", DIALOG, None).await;
    for path in
        ["/v1/state/2", "/v1/state/2/dialog", "/v1/state/3", "/v1/state/1/tea", "/v1/state/1@elsewhere.org", "/x"]
    {
        let (status, head, body) = rig.http(path, "").await;
        assert!(status == 404 && head.contains("application/problem+json"), "{path} {head}");
        assert!(body.contains("/problems/not-found"));
    }
    for path in ["/v1/state?tea=1", "/v1/state?limit=x", "/v1/state?r=", "/v1/state/%00"] {
        assert_eq!(rig.http(path, "").await.0, 422, "{path}");
    }
}

#[tokio::test]
async fn explain_names_who_reads_along() {
    let mut rig = Rig::plain().await;
    rig.change("1", DIALOG, Some(1)).await;
    let mut client = Client::connect(rig.address, None).await;
    client.hello(json!({ "client": "panel/1" })).await;
    client.sub(json!({ "r": ["1"], "kinds": ["dialog"] })).await;
    let (status, _, body) = rig.http("/v1/explain/1", "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["resource"], &body["unanswered"]), (200, &json!("sip:1@example.com"), &json!([])));
    assert_eq!(body["packages"][0]["kind"], "dialog");
    let line = &body["feed"][0];
    assert_eq!((&line["client"], &line["kinds"], &line["rev"]), (&json!("panel/1"), &json!(["dialog"]), &json!(1)));
    let (_, _, body) = rig.http("/v1/explain/2", "").await;
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["feed"], json!([]));
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "a shard that hangs is a part of it")]
async fn panel_health_and_metrics() {
    let rig = Rig::plain().await;
    let (status, head, _) = rig.http("/", "").await;
    assert!(status == 307 && head.contains("location: /panel/"), "{head}");
    let (status, head, body) = rig.http("/panel/", "").await;
    assert!(status == 200 && body.contains("<html") && head.contains("content-security-policy: default-src 'self'"));
    assert!(head.contains("text/html") && head.contains("x-content-type-options: nosniff"), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    assert_eq!(rig.http("/panel/index.html", &format!("If-None-Match: {tag}\r\n")).await.0, 304);
    let (status, head, _) = rig.http("/panel/feed.js", "").await;
    assert!(status == 200 && head.contains("text/javascript"), "{head}");
    assert_eq!(rig.http("/panel/..%2FCargo.toml", "").await.0, 404);
    assert_eq!(rig.http("/healthz", "").await.0, 200);
    assert_eq!(rig.http("/readyz", "").await.0, 200);
    rig.well.store(false, Ordering::SeqCst);
    let (status, _, body) = rig.http("/readyz", "").await;
    assert_eq!((status, &*body), (503, "{\"ready\":false,\"reasons\":[\"no shard\"]}"));
    rig.well.store(true, Ordering::SeqCst);
    // A shard that hangs.
    let shard = Arc::clone(&rig.shard);
    let stuck = shard.lock().unwrap();
    let (status, _, body) = rig.http("/readyz", "").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("shard 0: the shard did not answer in time"), "{body}");
    drop(stuck);
    // A hub that has ended.
    assert_eq!(rig.http("/readyz", "").await.0, 200);
    rig.port.stop();
    // It ends at its next look: ask until it has.
    let mut answer = rig.http("/readyz", "").await;
    for _ in 0..1000 {
        if answer.0 == 503 {
            break;
        }
        answer = rig.http("/readyz", "").await;
    }
    assert!(answer.0 == 503 && answer.2.contains("shard 0: "), "{}", answer.2);
    assert!(rig.http("/version", "").await.2.contains("\"name\":\"Lamplighter\""));
    assert_eq!(rig.metric("other_total").await, 1);
    assert_eq!(rig.metric("http_requests_total{route=\"/readyz\",status=\"503\"}").await, 3);
    assert_eq!(rig.http("/healthz", "Origin: http://evil.example.org\r\n").await.0, 403);
    assert!(rig.http("/problems/bad-json", "").await.2.contains("JSON"));
    let mut request = format!("ws://{}/v1/feed", rig.address).into_client_request().unwrap();
    request.headers_mut().insert("Origin", "http://evil.example.org".parse().unwrap());
    let stream = TcpStream::connect(rig.address).await.unwrap();
    assert!(tokio_tungstenite::client_async(request, stream).await.is_err());
}
