//! The JSON feed: a service watches over a WebSocket what phones do over SIP.

use crate::gateway::{Gateway, PATIENCE};
use crate::phone::{Phone, pidf};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

const LINE: &str = "sip:1001@example.com";

/// A WebSocket client of RFC 6455 that masks with zeros and takes no fragments.
pub struct Feed(TcpStream);

impl Feed {
    /// Opens the feed and says hello.
    pub fn open(gateway: &Gateway) -> (Self, Value) {
        Self::signed(gateway, None)
    }

    /// Opens the feed and says hello, with a token if there is one.
    pub fn signed(gateway: &Gateway, token: Option<&str>) -> (Self, Value) {
        let mut stream = TcpStream::connect(gateway.web).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET /v1/feed HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: presence.v1\r\n\r\n",
            gateway.web
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101") && head.contains("sec-websocket-protocol: presence.v1"), "{head}");
        assert!(head.contains(&"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_ascii_lowercase()), "RFC 6455 section 1.3: {head}");
        let mut feed = Self(stream);
        let mut hello = json!({"t": "hello", "id": 1, "client": "story/1", "flush_ms": 20});
        if let Some(token) = token {
            hello["token"] = token.into();
        }
        let answer = feed.ask(&hello);
        (feed, answer)
    }

    /// Sends a frame.
    pub fn send(&mut self, value: &Value) {
        let text = value.to_string();
        let mut frame = vec![0x81];
        match u8::try_from(text.len()) {
            Ok(short @ ..126) => frame.push(0x80 | short),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text.bytes());
        self.0.write_all(&frame).unwrap();
    }

    /// The next text frame; pings are answered.
    pub fn receive(&mut self) -> Value {
        self.next().unwrap_or_else(|code| panic!("closed with {code}"))
    }

    /// The code that the feed is closed with, after whatever else comes.
    pub fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next() {
                return code;
            }
        }
    }

    /// The next text frame, or the code that the feed is closed with.
    fn next(&mut self) -> Result<Value, u16> {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).unwrap();
            let length = match head[1] {
                126 => {
                    let mut long = [0; 2];
                    self.0.read_exact(&mut long).unwrap();
                    usize::from(u16::from_be_bytes(long))
                }
                127 => panic!("a frame above 64 KB"),
                short => usize::from(short),
            };
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).unwrap();
            match head[0] {
                0x81 => return Ok(serde_json::from_slice(&body).unwrap()),
                0x88 => return Err(u16::from_be_bytes([body[0], body[1]])),
                0x89 => {
                    let mut pong = vec![0x8a, 0x80 | head[1], 0, 0, 0, 0];
                    pong.extend(body);
                    self.0.write_all(&pong).unwrap();
                }
                other => panic!("frame {other:#x}: {}", String::from_utf8_lossy(&body)),
            }
        }
    }

    /// Sends a command and waits for its `ok`.
    pub fn ask(&mut self, value: &Value) -> Value {
        self.send(value);
        let answer = self.receive();
        assert_eq!((&answer["t"], &answer["id"]), (&json!("ok"), &value["id"]), "{answer}");
        answer
    }

    /// Reads `snap` frames to the last one.
    pub fn snapshot(&mut self) -> (Vec<Value>, Value) {
        let mut items = Vec::new();
        loop {
            let snap = self.receive();
            assert_eq!(snap["t"], "snap", "{snap}");
            items.extend(snap["items"].as_array().unwrap().iter().cloned());
            if snap["more"] == false {
                return (items, snap["cursor"].clone());
            }
        }
    }

    /// Reads updates until an item is as wanted.
    pub fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> (Value, Value) {
        loop {
            let update = self.receive();
            if update["t"] != "upd" {
                assert_eq!(update["t"], "ping", "{update}");
                continue;
            }
            if let Some(item) = update["items"].as_array().unwrap().iter().find(|item| wanted(item)) {
                return (item.clone(), update["cursor"].clone());
            }
        }
    }
}

#[test]
fn a_service_sees_what_phones_do() {
    let mut gateway = Gateway::start("");
    let mut phone = Phone::udp(&gateway, "1001");
    let tag = phone.publish_call(LINE, None, "c1", "early");
    let mut watcher = Phone::udp(&gateway, "2000");
    watcher.subscribe(LINE, "dialog", 600);
    // Readers are told a moment later than phones.
    gateway.until("has told its readers", |gateway| gateway.get(&format!("/v1/state/{LINE}")).0 == 200);

    let (mut feed, hello) = Feed::open(&gateway);
    assert_eq!(hello["proto"], 1);
    feed.ask(&json!({"t": "sub", "id": 2, "sub": "main", "r": ["sip:*@example.com"], "kinds": ["dialog", "presence", "mwi"]}));
    let (items, _) = feed.snapshot();
    assert_eq!(items.len(), 1, "{items:?}");
    assert_eq!(
        (&items[0]["r"], &items[0]["k"], &items[0]["state"]["lamp"]),
        (&json!(LINE), &json!("dialog"), &json!("ringing"))
    );
    assert_eq!(items[0]["state"]["calls"][0]["remote"]["name"], "Ann Lee");

    phone.publish_call(LINE, Some(&tag), "c1", "confirmed");
    let (busy, cursor) = feed.until(|item| item["state"]["lamp"] == "busy");
    assert!(busy["rev"].as_u64() > items[0]["rev"].as_u64());
    assert!(watcher.notify().body.contains("confirmed</state>"), "both were told");

    phone
        .publish(
            LINE,
            "presence",
            &["Expires: 600", "Content-Type: application/pidf+xml"],
            &pidf(LINE, "t", "open", "In"),
        )
        .expect(200);
    let (presence, _) = feed.until(|item| item["k"] == "presence");
    assert_eq!((&presence["state"]["basic"], &presence["state"]["devices"][0]["note"]), (&json!("open"), &json!("In")));
    let body = "Messages-Waiting: yes\r\nVoice-Message: 2/8\r\n";
    let headers = ["Expires: 600", "Content-Type: application/simple-message-summary"];
    phone.publish(LINE, "message-summary", &headers, body).expect(200);
    let (mwi, _) = feed.until(|item| item["k"] == "mwi");
    assert_eq!((&mwi["state"]["waiting"], &mwi["state"]["voice"]["new"]), (&json!(true), &json!(2)));

    // Somebody who was away since `cursor` is told only what came after.
    let (mut back, _) = Feed::open(&gateway);
    let answer = back.ask(&json!({"t": "sub", "id": 2, "sub": "main", "r": ["*"], "cursor": cursor}));
    assert_eq!(answer["resumed"], true);
    let (items, _) = back.snapshot();
    let mut kinds: Vec<_> = items.iter().map(|item| item["k"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["mwi", "presence"]);
}

#[test]
fn a_resource_that_falls_silent_is_gone() {
    let gateway = Gateway::start("");
    let (mut feed, _) = Feed::open(&gateway);
    feed.ask(&json!({"t": "sub", "id": 2, "sub": "main", "r": [LINE], "kinds": ["presence"]}));
    assert_eq!(feed.snapshot().0.len(), 0);
    let mut phone = Phone::udp(&gateway, "1001");
    let headers = ["Expires: 600", "Content-Type: application/pidf+xml"];
    let answer = phone.publish(LINE, "presence", &headers, &pidf(LINE, "t", "open", "In")).expect(200);
    feed.until(|item| item["state"]["basic"] == "open");
    let tag = format!("SIP-If-Match: {}", answer.header("SIP-ETag"));
    phone.publish(LINE, "presence", &[&tag, "Expires: 0"], "").expect(200);
    let (gone, _) = feed.until(|item| item["gone"] == true);
    assert_eq!(gone["r"], LINE);
}

#[test]
fn mistakes_are_told_by_number() {
    let gateway = Gateway::start("");
    let (mut feed, _) = Feed::open(&gateway);
    feed.send(&json!({"t": "dance", "id": 7}));
    let error = feed.receive();
    assert_eq!(
        (&error["t"], &error["id"], &error["type"]),
        (&json!("error"), &json!(7), &json!("/problems/unknown-type"))
    );
    feed.send(&json!({"t": "ping", "id": 8}));
    assert_eq!(feed.receive()["t"], "pong");
}
