//! The feed's protocol, version 1, whole: rows WS-01 and WS-02.

use super::*;
use crate::{Grant, Key, mint, new_key};
use lamplighter_model::OwnedContent;
use std::collections::BTreeSet;

/// A gateway where one has to sign in; tokens are signed by the secret of the tests.
async fn guarded(change: impl FnOnce(&mut Config)) -> Rig {
    Rig::new(|config, _| {
        config.auth.jwt.secret_file = concat!(env!("CARGO_MANIFEST_DIR"), "/auth/testdata/secret").into();
        change(config);
    })
    .await
}

fn token(name: &str, presence: Value, life: u64) -> String {
    let mut config = Config::default();
    config.auth.jwt.secret_file = concat!(env!("CARGO_MANIFEST_DIR"), "/auth/testdata/secret").into();
    mint(&config.auth, name, &presence, Duration::from_secs(life)).unwrap()
}

fn reads(r: &str, view: &str) -> Value {
    json!({ "read": [{ "r": r, "view": view }] })
}

async fn signed(rig: &Rig, name: &str, presence: Value) -> Client {
    let mut client = Client::connect(rig.address, Some("presence.v1")).await;
    client.hello(json!({ "token": token(name, presence, 3600) })).await;
    client
}

fn seqs(items: &Value) -> Vec<u64> {
    items.as_array().unwrap().iter().map(|item| item["seq"].as_u64().unwrap()).collect()
}

/// WS-02: nothing is skipped, for those who want it so; others on the same address are conflated.
#[tokio::test]
async fn every_state_comes_if_it_is_wanted() {
    let mut rig = Rig::new(|config, _| config.flush_every = Duration::from_millis(200)).await;
    rig.change("1", DIALOG, Some(0)).await;
    let (mut all, mut latest) = (rig.client().await, rig.client().await);
    all.sub(json!({ "mode": "all", "kinds": ["dialog"] })).await;
    latest.sub(json!({})).await;
    for state in 1..=50 {
        rig.change("1", DIALOG, Some(state)).await;
    }
    rig.change("1", DIALOG, None).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&52) {
        seen.extend(seqs(&all.until("upd").await["items"]));
    }
    assert_eq!(seen, (2..=52).collect::<Vec<_>>());
    let mut seen = Vec::new();
    while seen.last() != Some(&52) {
        seen.extend(seqs(&latest.until("upd").await["items"]));
    }
    assert!(seen.len() < 51, "{seen:?}");
    assert!(rig.metric("feed_conflated_total").await > 0);
}

/// WS-02: a queue that overflows is a reset of those subscriptions that want every state, and of no others.
#[tokio::test]
async fn too_many_waiting_states_are_a_reset_and_never_silence() {
    let mut rig = Rig::new(|config, _| config.flush_every = Duration::from_millis(300)).await;
    rig.change("1", DIALOG, Some(0)).await;
    let mut client = rig.client().await;
    client.sub(json!({ "sub": "log", "mode": "all", "r": ["1"] })).await;
    client.sub(json!({ "sub": "panel", "r": ["2"] })).await;
    // The first goes out at once, and the rest has to wait.
    rig.change("2", DIALOG, Some(1)).await;
    assert_eq!(briefs(&client.next().await["items"]), ["2/dialog=1"]);
    for state in 1..=1500 {
        rig.push("1", DIALOG, Some(state));
    }
    rig.change("2", DIALOG, Some(2)).await;
    let _ = rig.port.head().wait_for(|head| *head == 1503).await;
    let (mut panel, mut log) = (Vec::new(), Vec::new());
    let mut frames = Vec::new();
    while log.last() != Some(&"1/dialog=1500".to_owned()) || panel.last() != Some(&"2/dialog=2".to_owned()) {
        let frame = client.next().await;
        frames.push(format!("{} {}", frame["t"].as_str().unwrap(), frame["sub"].as_str().unwrap_or("-")));
        if frame["t"] == "reset" {
            assert_eq!((&frame["sub"], &frame["reason"]), (&json!("log"), &json!("overflow")));
            log.clear();
            continue;
        }
        for brief in briefs(&frame["items"]) {
            if brief.starts_with('1') { log.push(brief) } else { panel.push(brief) }
        }
    }
    assert!(frames.contains(&"reset log".to_owned()) && frames.contains(&"snap log".to_owned()), "{frames:?}");
    assert!(!frames.contains(&"reset panel".to_owned()), "{frames:?}");
    assert_eq!(panel, ["2/dialog=2"]);
    // And every state comes again from there.
    for state in 1501..=1510 {
        rig.change("1", DIALOG, Some(state)).await;
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&1511) {
        seen.extend(seqs(&client.until("upd").await["items"]));
    }
    assert_eq!(seen, (1502..=1511).collect::<Vec<_>>());
    assert!(rig.metric("feed_reset_total").await >= 1);
}

#[tokio::test]
async fn only_the_wanted_fields_come() {
    let mut rig = Rig::plain().await;
    rig.change("1", DIALOG, Some(1)).await;
    let mut client = rig.client().await;
    let (_, items) = client.sub(json!({ "sub": "a", "r": ["1"], "fields": ["n"] })).await;
    assert_eq!(items[0]["state"], json!({ "n": 1 }));
    rig.change("1", DIALOG, Some(2)).await;
    let upd = client.next().await;
    assert_eq!((&upd["items"][0]["state"], &upd["items"][0]["src"]), (&json!({ "n": 2 }), &json!("pub:1")));
    // Somebody wants the rest as well.
    client.sub(json!({ "sub": "b", "r": ["1"], "fields": ["pad"] })).await;
    rig.change("1", DIALOG, Some(3)).await;
    assert_eq!(client.next().await["items"][0]["state"].as_object().unwrap().len(), 2);
    client.ask(json!({ "t": "unsub", "sub": "b" })).await;
    client.until("ok").await;
    rig.change("1", DIALOG, Some(4)).await;
    assert_eq!(client.next().await["items"][0]["state"], json!({ "n": 4 }));
    rig.change("1", DIALOG, None).await;
    assert_eq!(client.next().await["items"][0]["gone"], true);
}

#[tokio::test]
async fn selectors_are_added_and_taken_away() {
    let mut rig = Rig::plain().await;
    for user in ["1", "2", "3"] {
        rig.change(user, DIALOG, Some(1)).await;
    }
    let mut client = rig.client().await;
    client.sub(json!({ "r": ["1"] })).await;
    client.ask(json!({ "t": "sub_add", "sub": "main", "r": ["2", "1"] })).await;
    let ok = client.next().await;
    assert_eq!((&ok["t"], &ok["matched"]), (&json!("ok"), &json!(2)), "{ok}");
    assert_eq!(client.snapshot(&ok).await.iter().map(brief).collect::<Vec<_>>(), ["1/dialog=1", "2/dialog=1"]);
    rig.change("2", DIALOG, Some(2)).await;
    assert_eq!(briefs(&client.next().await["items"]), ["2/dialog=2"]);
    client.ask(json!({ "t": "sub_del", "sub": "main", "r": ["1"] })).await;
    assert_eq!(client.next().await["matched"], 1);
    rig.change("1", DIALOG, Some(3)).await;
    rig.change("2", DIALOG, Some(3)).await;
    assert_eq!(briefs(&client.next().await["items"]), ["2/dialog=3"]);
    assert_eq!(client.refused(json!({ "t": "sub_del", "sub": "main", "r": ["1"] })).await, "not-found");
    assert_eq!(client.refused(json!({ "t": "sub_add", "sub": "other", "r": ["1"] })).await, "not-found");
    assert_eq!(client.refused(json!({ "t": "sub", "sub": "g", "r": ["group:nobody"] })).await, "not-found");
}

#[tokio::test]
async fn a_group_is_its_members_of_the_moment() {
    let file = std::env::temp_dir().join(format!("lamplighter-groups-{}.json", std::process::id()));
    std::fs::write(&file, r#"{ "groups": { "reception": ["1", "2"] } }"#).unwrap();
    let mut rig = Rig::new(|config, _| {
        (config.directory, config.ping_every) = (file.clone(), Duration::from_millis(300));
    })
    .await;
    for user in ["1", "2", "3"] {
        rig.change(user, DIALOG, Some(1)).await;
    }
    let mut client = rig.client().await;
    let (_, items) = client.sub(json!({ "r": ["group:reception"] })).await;
    assert_eq!(items.iter().map(brief).collect::<Vec<_>>(), ["1/dialog=1", "2/dialog=1"]);
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let body = r#"["2","3"]"#;
    let request = format!(
        "PUT /v1/groups/reception HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        rig.address,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let reset = client.until("reset").await;
    assert_eq!(reset["reason"], "group_changed");
    let items = client.snapshot(&json!({ "sub": "main" })).await;
    assert_eq!(items.iter().map(brief).collect::<Vec<_>>(), ["2/dialog=1", "3/dialog=1"]);
    std::fs::remove_file(file).unwrap();
}

/// WS-02, PU-10: a client publishes in its order, and is told what became of each.
#[tokio::test]
async fn clients_publish() {
    let mut rig = Rig::plain().await;
    rig.change("1", DIALOG, Some(1)).await;
    let mut client = rig.client().await;
    let place = |mut frame: Value| {
        (frame["r"], frame["kind"]) = ("1".into(), "dialog".into());
        frame
    };
    client.ask(place(json!({ "t": "pub", "state": { "n": 5 }, "expires": 60, "source": "crm" }))).await;
    let ok = client.next().await;
    let expected = json!({
        "t": "ok", "id": 2, "r": "sip:1@example.com", "kind": "dialog", "etag": TAG.to_string(), "expires": 60,
        "created": true,
    });
    assert_eq!(ok, expected);
    client.ask(place(json!({ "t": "pub", "etag": TAG.to_string() }))).await;
    client.ask(place(json!({ "t": "pub", "etag": TAG.to_string(), "state": { "n": 6 } }))).await;
    client.ask(place(json!({ "t": "unpub", "etag": TAG.to_string() }))).await;
    let answers = [client.next().await, client.next().await, client.next().await];
    assert_eq!(answers.each_ref().map(|ok| ok["expires"].as_u64()), [Some(3600), Some(3600), Some(0)]);
    assert_eq!(answers.map(|ok| ok["id"].as_u64()), [Some(3), Some(4), Some(5)]);
    assert_eq!(client.refused(place(json!({ "t": "pub", "etag": "0000000000000001" }))).await, "precondition-failed");
    assert_eq!(client.refused(place(json!({ "t": "pub", "etag": "tea" }))).await, "precondition-failed");
    assert_eq!(client.refused(place(json!({ "t": "unpub" }))).await, "precondition-required");
    assert_eq!(client.refused(place(json!({ "t": "pub" }))).await, "invalid-field");
    assert_eq!(client.refused(place(json!({ "t": "pub", "state": 5 }))).await, "invalid-field");
    let body = place(json!({ "t": "pub", "body": "<a/>", "content_type": "text/tea" }));
    assert_eq!(client.refused(body).await, "unsupported-media-type");
    let published = std::mem::take(&mut *rig.published.lock().unwrap());
    let actions = published.iter().map(|command| match &command.action {
        OwnedAction::Put(source, OwnedContent::Json(json)) => format!("put {source} {}", String::from_utf8_lossy(json)),
        OwnedAction::Modify(_, OwnedContent::Json(json)) => format!("modify {}", String::from_utf8_lossy(json)),
        OwnedAction::Refresh(_) => "refresh".into(),
        OwnedAction::Withdraw(_) => "withdraw".into(),
        other => format!("{other:?}"),
    });
    let expected = ["put api:anonymous/crm {\"n\":5}", "refresh", "modify {\"n\":6}", "withdraw", "refresh"];
    assert_eq!(actions.collect::<Vec<_>>(), expected);
    assert!(published.iter().all(|command| &*command.resource == "sip:1@example.com" && command.package == DIALOG));
}

#[tokio::test]
async fn what_a_client_may_see_is_what_it_is_sent() {
    let mut rig = guarded(|_| {}).await;
    for user in ["1", "2"] {
        rig.change(user, DIALOG, Some(1)).await;
    }
    let mut full = signed(&rig, "a", reads("*", "full")).await;
    let mut busy = signed(&rig, "b", reads("*", "busy")).await;
    let presence = json!({ "read": [
        { "r": "1@example.com", "kinds": ["dialog"], "view": "masked" },
        { "r": "2@example.com", "kinds": ["mwi"], "view": "full" },
    ], "write": [{ "r": "2@example.com", "kinds": ["mwi"] }] });
    let mut part = signed(&rig, "c", presence).await;
    let (_, items) = full.sub(json!({})).await;
    assert!(items.len() == 2 && items[0]["state"]["pad"].is_string() && items[0]["src"] == "pub:1");
    let (_, items) = busy.sub(json!({})).await;
    assert_eq!((items.len(), &items[0]["state"]), (2, &json!({ "n": 1, "view": "Busy" })));
    assert!(items[0].get("src").is_none());
    let (ok, items) = part.sub(json!({})).await;
    assert_eq!((&ok["matched"], &items[0]["state"]), (&json!(1), &json!({ "n": 1, "view": "Masked" })));
    rig.change("2", DIALOG, Some(2)).await;
    rig.change("1", DIALOG, Some(2)).await;
    rig.change("2", MWI, Some(2)).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(briefs(&part.until("upd").await["items"]));
    }
    assert_eq!(seen, ["1/dialog=2", "2/mwi=2"]);
    part.ask(json!({ "t": "get", "r": ["1", "2"] })).await;
    assert_eq!(briefs(&part.next().await["items"]), ["1/dialog=2", "2/mwi=2"]);
}

#[tokio::test]
async fn what_is_not_granted_is_forbidden_by_name() {
    let rig = guarded(|_| {}).await;
    let presence = json!({ "read": [{ "r": "*@sales.example.com", "kinds": ["mwi"] }], "write": [] });
    let mut client = signed(&rig, "crm", presence).await;
    client.ask(json!({ "t": "sub", "sub": "a", "r": ["*@sales.example.com"], "kinds": ["dialog"] })).await;
    let error = client.next().await;
    assert_eq!(
        (&error["type"], &error["status"], &error["sub"]),
        (&json!("/problems/forbidden"), &json!(403), &json!("a"))
    );
    assert!(
        error["detail"].as_str().unwrap().contains("`dialog`") && error["errors"][0]["pointer"] == "/r/0",
        "{error}"
    );
    assert_eq!(client.refused(json!({ "t": "sub", "sub": "a", "r": ["1"] })).await, "forbidden");
    assert_eq!(client.refused(json!({ "t": "get", "r": ["1"] })).await, "forbidden");
    let publish = json!({ "t": "pub", "r": "1", "kind": "mwi", "state": {} });
    assert_eq!(client.refused(publish).await, "forbidden");
    client.sub(json!({ "r": ["*@sales.example.com"] })).await;
}

#[tokio::test]
async fn a_new_token_changes_what_is_seen() {
    let mut rig = guarded(|_| {}).await;
    rig.change("1", DIALOG, Some(1)).await;
    rig.change("1", MWI, Some(1)).await;
    let mut client = signed(&rig, "crm", reads("*", "full")).await;
    client.sub(json!({ "sub": "calls", "r": ["1"], "kinds": ["dialog"] })).await;
    client.sub(json!({ "sub": "mail", "r": ["1"], "kinds": ["mwi"] })).await;
    // The same rights again: nothing is to be told.
    client.ask(json!({ "t": "auth", "token": token("crm", reads("*", "full"), 7200) })).await;
    assert!(client.next().await["expires"].as_u64().unwrap() > 1_700_000_000_000);
    let fewer = json!({ "read": [{ "r": "1@example.com", "kinds": ["dialog"], "view": "busy" }] });
    client.ask(json!({ "t": "auth", "token": token("crm", fewer, 3600) })).await;
    assert_eq!(client.next().await["t"], "ok");
    let mut resets = BTreeSet::new();
    let items = loop {
        let frame = client.next().await;
        match frame["t"].as_str().unwrap() {
            "reset" => _ = resets.insert((frame["sub"].to_string(), frame["reason"].to_string())),
            _ => break frame["items"].clone(),
        }
    };
    let forbidden = client.until("reset").await;
    resets.insert((forbidden["sub"].to_string(), forbidden["reason"].to_string()));
    let expected = [("\"calls\"", "\"rights_changed\""), ("\"mail\"", "\"forbidden\"")];
    assert_eq!(resets, expected.map(|(sub, reason)| (sub.to_owned(), reason.to_owned())).into());
    assert_eq!(items[0]["state"], json!({ "n": 1, "view": "Busy" }));
    rig.change("1", MWI, Some(2)).await;
    rig.change("1", DIALOG, Some(2)).await;
    assert_eq!(client.next().await["items"][0]["state"], json!({ "n": 2, "view": "Busy" }));
    assert_eq!(client.refused(json!({ "t": "unsub", "sub": "mail" })).await, "not-found");
    let other = token("other", reads("*", "full"), 3600);
    assert_eq!(client.refused(json!({ "t": "auth", "token": other })).await, "forbidden");
    assert_eq!(client.refused(json!({ "t": "auth", "token": "tea" })).await, "token-invalid");
    // The rights of before still hold.
    rig.change("1", DIALOG, Some(3)).await;
    assert_eq!(briefs(&client.next().await["items"]), ["1/dialog=3"]);
}

#[tokio::test]
async fn a_token_ends_with_a_warning_unless_it_is_replaced() {
    let rig = guarded(|config| config.auth.jwt.leeway = Duration::ZERO).await;
    let hello = |life| json!({ "token": token("crm", reads("*", "full"), life) });
    let (mut ends, mut goes_on) = (Client::connect(rig.address, None).await, Client::connect(rig.address, None).await);
    ends.hello(hello(2)).await;
    goes_on.hello(hello(2)).await;
    for client in [&mut ends, &mut goes_on] {
        let note = client.next().await;
        assert_eq!((&note["t"], &note["code"]), (&json!("note"), &json!("token_expiring")));
        assert!(note["in_s"].as_u64().unwrap() <= 2);
    }
    goes_on.ask(json!({ "t": "auth", "token": token("crm", reads("*", "full"), 3600) })).await;
    assert_eq!(goes_on.next().await["t"], "ok");
    assert_eq!(ends.next().await["type"], "/problems/token-expired");
    assert_eq!(ends.closed().await, 4401);
    goes_on.sub(json!({})).await;
    let mut none = Client::connect(rig.address, None).await;
    assert_eq!(none.refused(json!({ "t": "hello" })).await, "unauthenticated");
    assert_eq!(none.closed().await, 4401);
    let mut bad = Client::connect(rig.address, None).await;
    assert_eq!(bad.refused(json!({ "t": "hello", "token": "tea" })).await, "token-invalid");
    assert_eq!(bad.closed().await, 4401);
}

#[tokio::test]
async fn the_oldest_connection_of_a_principal_makes_room() {
    let rig = guarded(|config| config.limits.connections_per_principal = 2).await;
    let mut first = signed(&rig, "crm", reads("*", "full")).await;
    let mut other = signed(&rig, "pbx", reads("*", "full")).await;
    let mut second = signed(&rig, "crm", reads("*", "full")).await;
    let mut third = signed(&rig, "crm", reads("*", "full")).await;
    assert_eq!(first.closed().await, 4409);
    for client in [&mut other, &mut second, &mut third] {
        client.sub(json!({})).await;
    }
}

#[tokio::test]
async fn too_many_handshakes_are_answered_429() {
    let rig = Rig::new(|config, _| {
        (config.limits.handshakes_per_second, config.limits.handshake_burst) = (1, 2);
    })
    .await;
    let mut client = rig.client().await;
    rig.client().await;
    let (status, head, body) = rig.http("/v1/events", "").await;
    assert!(status == 429 && head.contains("retry-after: 1") && body.contains("rate-limited"), "{head} {body}");
    client.sub(json!({})).await;
    assert_eq!(rig.metric("ws_connect_total{result=\"limited\"}").await, 1);
}

#[tokio::test]
async fn hello_resumes_the_first_subscription_only() {
    let mut rig = Rig::plain().await;
    rig.change("1", DIALOG, Some(1)).await;
    rig.change("2", DIALOG, Some(1)).await;
    let mut client = Client::connect(rig.address, None).await;
    client.hello(json!({ "resume": "e1.1" })).await;
    let (ok, items) = client.sub(json!({ "sub": "a" })).await;
    assert_eq!((&ok["resumed"], items.len()), (&json!(true), 1));
    let (ok, items) = client.sub(json!({ "sub": "b" })).await;
    assert_eq!((&ok["resumed"], items.len()), (&json!(false), 2));
    let mut client = Client::connect(rig.address, None).await;
    client.hello(json!({ "resume": "e0.1" })).await;
    client.ask(json!({ "t": "sub", "sub": "a", "r": ["*"] })).await;
    assert_eq!(client.next().await["resumed"], false);
    assert_eq!(client.next().await, json!({ "t": "reset", "sub": "a", "reason": "epoch_changed" }));
    assert_eq!(client.next().await["items"].as_array().unwrap().len(), 2);
}

struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    async fn open(address: SocketAddr, query: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /v1/events{query} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut events = Self { stream, text: String::new() };
        let head = events.block("\r\n\r\n").await;
        assert!(head.contains("text/event-stream"), "{head}");
        assert!(events.block("\n\n").await.contains("retry: "));
        events
    }

    async fn block(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.text.find(end) {
                return self.text.drain(..at + end.len()).collect();
            }
            let mut bytes = Vec::new();
            assert!(timeout(PATIENCE, self.stream.read_buf(&mut bytes)).await.unwrap().unwrap() > 0);
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Event, id, data. Lines of chunk sizes, which no data begins like, are passed over.
    async fn next(&mut self) -> (String, String, Value) {
        let block = self.block("\n\n").await;
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        (field("event:"), field("id:"), serde_json::from_str(&field("data:")).unwrap_or_default())
    }
}

/// WS-02: server-sent events carry the same, and resume by the id of the last.
#[tokio::test]
async fn server_sent_events_resume() {
    let mut rig = Rig::plain().await;
    rig.change("1", DIALOG, Some(1)).await;
    rig.change("2", MWI, Some(1)).await;
    let mut events = Events::open(rig.address, "?r=*&kind=dialog", "").await;
    let (event, id, data) = events.next().await;
    assert_eq!((&*event, &*id, briefs(&data["items"])), ("snap", "e1.2", vec!["1/dialog=1".into()]));
    rig.change("2", MWI, Some(2)).await;
    rig.change("1", DIALOG, Some(2)).await;
    let (event, id, data) = events.next().await;
    assert_eq!((&*event, &*id, briefs(&data["items"])), ("upd", "e1.4", vec!["1/dialog=2".into()]));
    assert_eq!(rig.metric("sse_connections").await, 1);
    drop(events);
    rig.change("1", DIALOG, None).await;
    let mut events = Events::open(rig.address, "?r=1&kind=dialog&cursor=e1.1", "Last-Event-ID: e1.4\r\n").await;
    let (event, id, data) = events.next().await;
    assert_eq!((&*event, &*id, briefs(&data["items"])), ("snap", "e1.5", vec!["1/dialog=expired".into()]));
    let mut events = Events::open(rig.address, "", "Last-Event-ID: e0.4\r\n").await;
    assert_eq!(events.next().await.2["reason"], "epoch_changed");
    assert_eq!(briefs(&events.next().await.2["items"]), ["2/mwi=2"]);
    for (query, status) in [("?r=1@elsewhere.org", 404), ("?tea=1", 422), ("?r=group:x", 404)] {
        assert_eq!(rig.http(&format!("/v1/events{query}"), "").await.0, status, "{query}");
    }
    let (key, hash) = new_key().unwrap();
    let read = vec![Grant { r: "2@example.com".into(), kinds: None, view: crate::View::Busy }];
    let mut rig =
        guarded(|config| config.auth.keys = vec![Key { name: "wall".into(), hash, read, ..Default::default() }]).await;
    rig.change("1", DIALOG, Some(1)).await;
    rig.change("2", DIALOG, Some(1)).await;
    assert_eq!(rig.http("/v1/events", "").await.0, 401);
    let mut events = Events::open(rig.address, "", &format!("Authorization: Bearer {key}\r\n")).await;
    assert_eq!(briefs(&events.next().await.2["items"]), ["2/dialog=1"]);
}

/// WS-02: whatever comes, nothing panics, it is counted, and nobody else notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_disturb_nobody() {
    let mut rig = Rig::new(|config, _| config.limits.handshake_burst = 10_000).await;
    let mut witness = rig.client().await;
    witness.sub(json!({})).await;
    let mut random = 11_u64;
    let mut next = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let words = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"t\"",
        "\"sub\"",
        "\"id\"",
        "1",
        "-1",
        "1e999",
        "null",
        "\"r\"",
        "\"*\"",
        "\"\\ud800\"",
        "\"cursor\"",
        "\"e1.18446744073709551615\"",
        "\"fields\"",
        "\"a.b\"",
        "\"pub\"",
        "\"etag\"",
        "\"group:\"",
        "true",
        "\u{0}",
        " ",
    ];
    let frames = [
        r#"{"t":"sub","id":2,"sub":"\u0000","r":["*"],"cursor":"e1.18446744073709551615","limit":18446744073709551615}"#,
        r#"{"t":"sub","id":2,"sub":"a","r":["sip:%00@example.com","*@","@",""],"kinds":["",null]}"#,
        r#"{"t":"pub","id":3,"r":"1","kind":"dialog","expires":18446744073709551615,"state":{"n":{}}}"#,
        r#"{"t":"hello","id":4,"token":"a.b.c"}"#,
        r#"{"t":"sub","id":5,"sub":"b","r":["*"],"mode":"all","fields":["..",".","a."],"flush_ms":-1}"#,
        r#"{"t":"get","id":6,"r":["1","1","1"],"kinds":["dialog","dialog"]}"#,
        r#"{"t":{},"id":{}}"#,
    ];
    for round in 0..120 {
        let mut client = Client::connect(rig.address, None).await;
        if round % 3 > 0 {
            client.hello(json!({})).await;
        }
        let message = match round % 6 {
            0 => Message::binary((0..next(3000)).map(|_| next(256) as u8).collect::<Vec<_>>()),
            1 => Message::text((0..next(60)).map(|_| words[next(words.len() as u64) as usize]).collect::<String>()),
            2 => Message::text(frames[next(frames.len() as u64) as usize]),
            3 => Message::text("x".repeat(65_000 + next(300_000) as usize)),
            4 => Message::text(format!("{{\"t\":\"sub\",\"id\":1,\"r\":{}", "[".repeat(60_000))),
            _ => {
                Message::text((0..next(200)).map(|_| char::from_u32(next(0xd7ff) as u32).unwrap()).collect::<String>())
            }
        };
        if client.socket.send(message).await.is_err() {
            continue;
        }
        // It is answered, or closed with a code of ours.
        match timeout(PATIENCE, client.socket.next()).await.expect("neither an answer nor an end") {
            Some(Ok(Message::Close(Some(frame)))) => {
                assert!([4400, 4401, 4413].contains(&u16::from(frame.code)), "{frame:?}");
            }
            Some(Ok(Message::Text(text))) => assert!(text.contains("\"t\":"), "{text}"),
            Some(Ok(_) | Err(_)) | None => {}
        }
        if round % 10 == 0 {
            rig.change("1", DIALOG, Some(round)).await;
            assert_eq!(briefs(&witness.until("upd").await["items"]), [format!("1/dialog={round}")]);
        }
    }
    assert!(rig.metric("ws_connect_total{result=\"refused\"}").await >= 30);
    drop(witness);
    while rig.metric("ws_connections").await > 0 {}
    assert_eq!(rig.metric("ws_subscriptions").await, 0);
}

/// All frames of one talk, checked against the schemas that the gateway serves.
struct Judge {
    schemas: boon::Schemas,
    compiler: boon::Compiler,
    known: HashMap<String, boon::SchemaIndex>,
}

impl Judge {
    async fn new(rig: &Rig, names: &[String], headers: &str) -> Self {
        let mut compiler = boon::Compiler::new();
        compiler.set_default_draft(boon::Draft::V2020_12);
        for name in names {
            let (status, head, body) = rig.http(&format!("/v1/schemas/{name}.json"), headers).await;
            assert!(status == 200 && head.contains("application/schema+json"), "{name} {head}");
            compiler.add_resource(&Self::url(name), serde_json::from_str(&body).unwrap()).unwrap();
        }
        Self { schemas: boon::Schemas::new(), compiler, known: HashMap::new() }
    }

    fn url(name: &str) -> String {
        format!("http://gateway.example/v1/schemas/{name}.json")
    }

    fn check(&mut self, name: &str, frame: &Value) -> Result<(), String> {
        let index = match self.known.get(name) {
            Some(index) => *index,
            None => {
                let index =
                    self.compiler.compile(&Self::url(name), &mut self.schemas).map_err(|bad| bad.to_string())?;
                self.known.insert(name.to_owned(), index);
                index
            }
        };
        self.schemas.validate(frame, index).map_err(|bad| format!("{name}: {bad:#}\n{frame}"))
    }
}

fn schema_names() -> Vec<String> {
    let frames: Value = serde_json::from_str(include_str!("../schema/frames.json")).unwrap();
    let mut names: Vec<_> = frames.as_object().unwrap().keys().cloned().collect();
    names.extend(["state-dialog".to_owned(), "state-mwi".to_owned()]);
    names
}

/// WS-02: the documented schemas are those of the frames that really come, and of those that really are taken.
#[tokio::test]
async fn real_frames_keep_to_the_schemas() {
    let mut rig = guarded(|config| {
        (config.auth.jwt.leeway, config.ping_every) = (Duration::ZERO, Duration::from_millis(300));
    })
    .await;
    rig.change("1", DIALOG, Some(1)).await;
    rig.change("2", DIALOG, None).await;
    let mut grants = reads("*", "full");
    grants["write"] = json!([{ "r": "*" }]);
    let mut client = Client::connect(rig.address, None).await;
    let frames = [
        json!({ "t": "hello", "token": token("crm", grants.clone(), 5), "client": "test", "flush_ms": 10, "resume": "e0.1" }),
        json!({ "t": "sub", "sub": "main", "r": ["1", "3"], "absent": true, "kinds": ["dialog", "tea"], "limit": 100 }),
        json!({ "t": "sub", "sub": "log", "r": ["*"], "mode": "all", "fields": ["n"], "cursor": "e1.1" }),
        json!({ "t": "sub", "sub": "more", "r": ["2"], "snapshot": false }),
        json!({ "t": "sub_add", "sub": "main", "r": ["2"] }),
        json!({ "t": "sub_del", "sub": "main", "r": ["2"] }),
        json!({ "t": "get", "r": ["1"], "kinds": ["dialog"] }),
        json!({ "t": "pub", "r": "1", "kind": "mwi", "state": { "n": 1 }, "expires": 60, "source": "crm" }),
        json!({ "t": "pub", "r": "1", "kind": "mwi", "etag": TAG.to_string() }),
        json!({ "t": "unpub", "r": "1", "kind": "mwi", "etag": TAG.to_string() }),
        json!({ "t": "act", "action": "pickup", "r": "1" }),
        json!({ "t": "ping" }),
        json!({ "t": "unsub", "sub": "more" }),
        json!({ "t": "auth", "token": token("crm", grants, 3) }),
    ];
    let bearer = format!("Authorization: Bearer {}\r\n", token("crm", reads("*", "full"), 60));
    let mut judge = Judge::new(&rig, &schema_names(), &bearer).await;
    let mut met = BTreeSet::new();
    let mut verdicts = Vec::new();
    for mut frame in frames {
        let answer = client.id + 1;
        frame["id"] = answer.into();
        verdicts.push(judge.check(&format!("client-{}", frame["t"].as_str().unwrap()), &frame));
        met.insert(format!("client-{}", frame["t"].as_str().unwrap()));
        client.ask(frame).await;
        loop {
            let frame = client.next().await;
            let name = format!("server-{}", frame["t"].as_str().unwrap());
            verdicts.push(judge.check(&name, &frame));
            met.insert(name);
            if frame["id"] == answer {
                break;
            }
        }
    }
    rig.change("1", DIALOG, Some(2)).await;
    rig.change("1", DIALOG, None).await;
    // Until the token ends; and on another connection until the gateway does.
    loop {
        let frame = client.next().await;
        let name = format!("server-{}", frame["t"].as_str().unwrap());
        verdicts.push(judge.check(&name, &frame));
        met.insert(name);
        if frame["t"] == "error" {
            break;
        }
    }
    let mut other = Client::connect(rig.address, None).await;
    other.hello(json!({ "token": token("crm", reads("*", "busy"), 3600) })).await;
    rig.stop.send_replace(true);
    let bye = other.until("bye").await;
    verdicts.push(judge.check("server-bye", &bye));
    met.insert("server-bye".into());
    let wrong: Vec<_> = verdicts.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all = schema_names().into_iter().filter(|name| name.starts_with("client-") || name.starts_with("server-"));
    // Those about other servers are held against real ones.
    let all = all.filter(|name| !name.contains("remote_"));
    assert_eq!(all.filter(|name| !met.contains(name)).collect::<Vec<_>>(), Vec::<String>::new());
}

/// The examples of documentation and schemas are such frames, and a schema that takes anything would be noticed.
#[tokio::test]
async fn examples_keep_to_the_schemas_and_nonsense_does_not() {
    let rig = Rig::plain().await;
    let mut judge = Judge::new(&rig, &schema_names(), "").await;
    let frames: Value = serde_json::from_str(include_str!("../schema/frames.json")).unwrap();
    for (name, schema) in frames.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("client-")) {
        for example in schema["examples"].as_array().unwrap() {
            judge.check(name, example).unwrap();
            for required in schema["required"].as_array().unwrap() {
                let mut less = example.clone();
                less.as_object_mut().unwrap().remove(required.as_str().unwrap());
                assert!(judge.check(name, &less).is_err(), "{name} without {required}");
            }
        }
    }
    let mut documented = 0;
    for line in include_str!("../../../docs/feed.md").lines() {
        let (side, text) = match line.trim_start().split_once(' ') {
            Some(("→", text)) => ("client", text),
            Some(("←", text)) => ("server", text),
            _ => continue,
        };
        let frame: Value = serde_json::from_str(text).expect(text);
        judge.check(&format!("{side}-{}", frame["t"].as_str().unwrap()), &frame).unwrap();
        documented += 1;
    }
    assert!(documented > 15, "{documented}");
    let item = json!({ "r": "sip:1@b", "k": "dialog", "seq": 1, "rev": 2, "ts": 3 });
    assert!(judge.check("item", &item).is_err());
    assert!(judge.check("server-snap", &json!({ "t": "snap", "sub": "a", "items": [], "more": false })).is_err());
    let (status, _, body) = rig.http("/v1/asyncapi.json", "").await;
    assert!(status == 200 && body.contains("\"asyncapi\":\"3.0.0\""));
    assert_eq!(rig.http("/v1/schemas/tea.json", "").await.0, 404);
}
