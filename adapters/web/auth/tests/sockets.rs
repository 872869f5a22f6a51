//! Signing in as clients do.

use super::*;
use crate::{Admin, Audience, Config, serve};
use futures_util::{SinkExt, StreamExt};
use lamplighter_model::Addresses;
use lamplighter_model::package::Packages;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway without shards' work: nothing is known about anybody.
struct Rig {
    address: SocketAddr,
    /// Of `crm`, which reads; and of `root`, which administers.
    key: String,
    root: String,
    port: lamplighter_port::Port,
    reload: watch::Sender<u64>,
    _stop: watch::Sender<bool>,
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn problem(&self) -> (u16, String) {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        (self.status, body["type"].as_str().unwrap_or_default().trim_start_matches("/problems/").to_owned())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The cookie that it sets, as a browser gives it back.
    fn cookie(&self) -> String {
        format!("Cookie: {}\r\n", self.headers["set-cookie"].split(';').next().unwrap())
    }
}

impl Rig {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let ((key, hash), (root, root_hash)) = (new_key().unwrap(), new_key().unwrap());
        let read = vec![Grant { r: "*".into(), kinds: None, view: View::Full }];
        let crm = Key { name: "crm".into(), hash, read, ..Default::default() };
        let admin = Key { name: "root".into(), hash: root_hash, admin: true, ..Default::default() };
        let mut config = Config::default();
        config.auth.keys = vec![crm, admin];
        config.auth.jwt = settings(|jwt| jwt.secret_file = testdata("secret"));
        change(&mut config);
        let packages = Packages::new(vec![], |_, expires| expires);
        let addresses = Arc::new(Addresses::new(["example.com"], [], []));
        let (hub, _, port) =
            lamplighter_port::hub(packages, addresses, Default::default(), "e1", vec![Arc::new(|| {})]);
        std::thread::spawn(|| hub.run());
        let (reload, reloaded) = watch::channel(0);
        let admin = Admin { metrics: Arc::new(|_| {}), ready: Arc::new(|| Ok(())), reload: reloaded };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(serve(config, port.clone(), admin, listener, stopping));
        Self { address, key, root, port, reload, _stop: stop }
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n", self.address);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        Answer {
            status: head[9..12].parse().unwrap(),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask("GET", path, headers).await
    }

    fn bearer(key: &str) -> String {
        format!("Authorization: Bearer {key}\r\n")
    }

    fn origin(&self) -> String {
        format!("Origin: http://{}\r\n", self.address)
    }

    async fn ticket(&self) -> String {
        let answer = self.ask("POST", "/v1/tickets", &Self::bearer(&self.key)).await;
        assert_eq!((answer.status, &answer.json()["expires_s"]), (201, &json!(30)));
        assert_eq!(answer.headers["cache-control"], "no-store");
        answer.json()["ticket"].as_str().unwrap().to_owned()
    }

    /// A feed, after the answer to its first frame; or the status of a refused upgrade.
    async fn open(&self, query: &str, headers: &[(&'static str, &str)], hello: Value) -> Result<(Feed, Value), u16> {
        let mut request = format!("ws://{}/v1/feed{query}", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut socket = match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => socket,
            Err(Error::Http(response)) => return Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        };
        socket.send(Message::text(hello.to_string())).await.unwrap();
        let answer = said(&mut socket).await;
        Ok((socket, answer))
    }

    /// The answer to the first frame, or the status of a refused upgrade.
    async fn feed(&self, query: &str, headers: &[(&'static str, &str)], hello: Value) -> Value {
        self.open(query, headers, hello).await.map_or_else(Value::from, |(_, answer)| answer)
    }
}

type Feed = WebSocketStream<TcpStream>;

/// The next frame, or the code that the feed is closed with.
async fn said(feed: &mut Feed) -> Value {
    loop {
        match timeout(PATIENCE, feed.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Close(frame) => return u16::from(frame.unwrap().code).into(),
            _ => {}
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.port.stop();
    }
}

/// WS-02
#[tokio::test]
async fn everything_but_what_is_public_needs_credentials() {
    let rig = Rig::new(|_| {}).await;
    for path in ["/panel/", "/panel/feed.js", "/healthz", "/version", "/problems/unauthenticated"] {
        assert_eq!(rig.get(path, "").await.status, 200, "{path}");
    }
    for path in ["/v1/state", "/v1/state/1001", "/v1/explain/1001", "/v1/session", "/v1/nothing", "/metrics", "/x"] {
        let answer = rig.get(path, "").await;
        assert_eq!(answer.problem(), (401, "unauthenticated".into()), "{path}");
        assert!(answer.headers["www-authenticate"].starts_with("Bearer"));
        assert_eq!(answer.headers["cache-control"], "private, no-cache");
    }
    assert_eq!(rig.ask("POST", "/v1/tickets", "").await.status, 401);
    assert_eq!(rig.get("/v1/state", &Rig::bearer(&rig.key)).await.status, 200);
    let whose = rig.get("/v1/session", &Rig::bearer(&rig.key)).await.json();
    assert_eq!(whose, json!({"principal": "crm", "expires": null, "admin": false}));
}

#[tokio::test]
async fn without_an_authority_everybody_is_anonymous() {
    let rig = Rig::new(|config| config.auth = Auth::default()).await;
    let whose = rig.get("/v1/session", "Authorization: Bearer nonsense\r\n").await.json();
    assert_eq!(whose, json!({"principal": "anonymous", "expires": null, "admin": true}));
    assert_eq!(rig.ask("POST", "/v1/tickets", "").await.status, 201);
    let answer = rig.ask("POST", "/v1/session", "").await;
    assert!(answer.status == 200 && !answer.headers.contains_key("set-cookie"));
    assert_eq!(rig.get("/metrics", "").await.status, 200);
}

/// OP-05
#[tokio::test]
async fn wrong_credentials_are_refused_and_counted_and_not_repeated() {
    let rig = Rig::new(|_| {}).await;
    let jwt = |header: Value, changes: Value| {
        let mut all = claims();
        all["exp"] = (crate::app::wall().as_secs() + 60).into();
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        token(&Signer::hmac(), &header, &all)
    };
    let hs = || json!({"alg": "HS256"});
    let whose = rig.get("/v1/session", &Rig::bearer(&jwt(hs(), json!({})))).await;
    assert_eq!((whose.status, &whose.json()["principal"]), (200, &json!("ann")));
    assert!(whose.json()["expires"].as_u64().is_some());
    for (token, problem, check) in [
        (jwt(json!({"alg": "none"}), json!({})), "token-invalid", "alg: "),
        (jwt(hs(), json!({"exp": "9999999999"})), "token-invalid", "exp: "),
        (jwt(hs(), json!({"exp": 1})), "token-expired", "exp: "),
        (jwt(hs(), json!({"aud": "other"})), "token-invalid", "aud: "),
        (jwt(hs(), json!({"presence": {"read": "*"}})), "token-invalid", "presence: "),
        ("lk_nonsense".into(), "token-invalid", "key: "),
        ("a.b.c".into(), "token-invalid", "malformed: "),
    ] {
        let answer = rig.get("/v1/state", &Rig::bearer(&token)).await;
        assert_eq!(answer.problem(), (401, problem.into()), "{}", answer.body);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(check), "{detail}");
        assert!(!answer.body.contains(&token));
        // The same in the feed.
        let error = rig.feed("", &[], json!({"t": "hello", "id": 1, "token": token})).await;
        assert_eq!((&error["type"], &error["status"]), (&json!(format!("/problems/{problem}")), &json!(401)));
    }
    assert_eq!(rig.get("/v1/state", "Authorization: Basic YTpi\r\n").await.status, 401);
    let metrics = rig.get("/metrics", &Rig::bearer(&rig.root)).await.body;
    for line in ["{reason=\"alg\"} 2", "{reason=\"exp\"} 4", "{reason=\"key\"} 2", "{reason=\"malformed\"} 3"] {
        assert!(metrics.contains(&format!("auth_failures_total{line}\n")), "{line}");
    }
}

#[tokio::test]
async fn whoever_fails_too_often_waits() {
    let rig = Rig::new(|config| config.auth.failures_per_minute = 3).await;
    for _ in 0..3 {
        assert_eq!(rig.get("/v1/state", &Rig::bearer("lk_guess")).await.status, 401);
    }
    let answer = rig.get("/v1/state", &Rig::bearer("lk_guess")).await;
    assert_eq!(answer.problem(), (429, "rate-limited".into()));
    assert!(answer.json()["retry_ms"].as_u64().is_some_and(|wait| (1..=20_001).contains(&wait)));
    assert_eq!(rig.get("/v1/state", &Rig::bearer(&rig.key)).await.status, 429);
    assert_eq!(rig.get("/v1/session?ticket=guess", "").await.status, 429);
    let rig = Rig::new(|config| config.auth.failures_per_minute = 1).await;
    let expired = token(&Signer::hmac(), &json!({"alg": "HS256"}), &json!({"sub": "ann", "exp": 1}));
    for _ in 0..3 {
        let answer = rig.get("/v1/state", &Rig::bearer(&expired)).await;
        assert_eq!(answer.problem(), (401, "token-expired".into()));
    }
    // Whoever asks without credentials is told that they are needed.
    assert_eq!(rig.get("/v1/state", "").await.status, 401);
}

#[tokio::test]
async fn behind_a_proxy_each_client_is_counted_by_itself() {
    let rig = Rig::new(|config| {
        config.auth.failures_per_minute = 1;
        config.auth.proxies = vec![IpAddr::from([127, 0, 0, 1])];
    })
    .await;
    let from = |address: &str, key: &str| format!("X-Forwarded-For: 192.0.2.7, {address}\r\n{}", Rig::bearer(key));
    assert_eq!(rig.get("/v1/state", &from("192.0.2.1", "lk_guess")).await.status, 401);
    assert_eq!(rig.get("/v1/state", &from("192.0.2.1", &rig.key)).await.status, 429);
    assert_eq!(rig.get("/v1/state", &from("192.0.2.2", &rig.key)).await.status, 200);
}

#[tokio::test]
async fn a_ticket_signs_in_once() {
    let rig = Rig::new(|_| {}).await;
    let ticket = rig.ticket().await;
    // Nowhere but where it is needed.
    assert_eq!(rig.get(&format!("/v1/state/1001?ticket={ticket}"), "").await.status, 401);
    let whose = rig.get(&format!("/v1/session?ticket={ticket}"), "").await;
    assert_eq!((whose.status, &whose.json()["principal"]), (200, &json!("crm")));
    assert_eq!(rig.get(&format!("/v1/session?ticket={ticket}"), "").await.problem(), (401, "token-invalid".into()));
    let ticket = format!("?ticket={}", rig.ticket().await);
    let hello = json!({"t": "hello", "id": 1});
    assert_eq!(rig.feed(&ticket, &[], hello.clone()).await["principal"], "crm");
    assert_eq!(rig.feed(&ticket, &[], hello.clone()).await, 401);
    // Without credentials a feed may be opened, but hello must bring a token.
    assert_ne!(rig.feed("", &[], hello.clone()).await["t"], "ok");
    let hello = json!({"t": "hello", "id": 1, "token": rig.key});
    assert_eq!(rig.feed("", &[], hello).await["principal"], "crm");
}

/// OP-05
#[tokio::test]
async fn tokens_of_any_length_harm_nobody() {
    let rig = Rig::new(|_| {}).await;
    for length in [8192, 8193, 12_000] {
        let answer = rig.get("/v1/state", &Rig::bearer(&".".repeat(length))).await;
        assert_eq!(answer.problem(), (401, "token-invalid".into()), "{length}");
    }
    // The connection is closed while this is still being sent, perhaps before the answer could be read.
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let head = format!("GET /v1/state HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}", "a".repeat(1 << 20));
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "));
    assert_eq!(rig.get("/v1/state", &Rig::bearer(&rig.key)).await.status, 200);
}

/// OP-05
#[tokio::test]
async fn a_session_is_of_no_use_to_pages_of_others() {
    let rig = Rig::new(|config| config.origins = vec!["https://crm.example.com".into()]).await;
    let answer = rig.ask("POST", "/v1/session", &Rig::bearer(&rig.key)).await;
    let set = &answer.headers["set-cookie"];
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=2592000"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(answer.status == 201 && !set.contains("Secure"));
    let cookie = answer.cookie();
    let with = |more: &str| format!("{cookie}{more}");
    assert_eq!(rig.get("/v1/state", &cookie).await.status, 200);
    assert_eq!(rig.get("/v1/state", &with("Sec-Fetch-Site: same-origin\r\n")).await.status, 200);
    assert_eq!(rig.get("/v1/state", &with("Sec-Fetch-Site: cross-site\r\n")).await.status, 401);
    assert_eq!(rig.get("/v1/state", &with("Origin: https://evil.example.org\r\n")).await.status, 403);
    assert_eq!(rig.ask("POST", "/v1/tickets", &cookie).await.status, 401);
    assert_eq!(rig.ask("POST", "/v1/tickets", &with("Origin: null\r\n")).await.status, 403);
    assert_eq!(rig.ask("POST", "/v1/tickets", &with(&rig.origin())).await.status, 201);
    assert_eq!(rig.ask("POST", "/v1/tickets", &with("Origin: https://crm.example.com\r\n")).await.status, 201);
    let value = cookie.trim().strip_prefix("Cookie: ").unwrap();
    let own = format!("http://{}", rig.address);
    let hello = json!({"t": "hello", "id": 1});
    assert_eq!(rig.feed("", &[("cookie", value), ("origin", &own)], hello.clone()).await["principal"], "crm");
    assert_ne!(rig.feed("", &[("cookie", value)], hello.clone()).await["t"], "ok");
    let evil = [("cookie", value), ("origin", "https://evil.example.org")];
    assert_eq!(rig.feed("", &evil, hello).await, 403);
}

/// A wallboard's key is taken away.
#[tokio::test]
async fn a_key_taken_out_of_the_file_signs_out_what_was_made_from_it() {
    let file = std::env::temp_dir().join(format!("lamplighter-wallboard-{}.toml", std::process::id()));
    let (key, hash) = new_key().unwrap();
    std::fs::write(&file, format!("[[keys]]\nname = \"lobby\"\nhash = \"{hash}\"\n")).unwrap();
    let rig = Rig::new(|config| config.auth.keys_file = file.clone()).await;
    let cookie = rig.ask("POST", "/v1/session", &Rig::bearer(&key)).await.cookie();
    assert_eq!(rig.get("/v1/session", &cookie).await.json()["principal"], "lobby");
    let hello = |token: &str| json!({"t": "hello", "id": 1, "token": token});
    let (mut feed, _) = rig.open("", &[], hello(&key)).await.unwrap();
    let (mut other, _) = rig.open("", &[], hello(&rig.key)).await.unwrap();
    std::fs::write(&file, "").unwrap();
    rig.reload.send(1).unwrap();
    assert_eq!(said(&mut feed).await, 4401);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(rig.get("/v1/session", &cookie).await.status, 401);
    other.send(Message::text(json!({"t": "ping", "id": 2}).to_string())).await.unwrap();
    assert_eq!(said(&mut other).await["t"], "pong");
    assert_eq!(rig.get("/v1/state", &Rig::bearer(&key)).await.status, 401);
    assert_eq!(rig.get("/v1/state", &Rig::bearer(&rig.key)).await.status, 200);
}

/// The key that tokens are checked with is replaced.
#[tokio::test]
async fn a_new_secret_signs_out_who_came_with_a_token_of_the_old_one() {
    let file = std::env::temp_dir().join(format!("lamplighter-secret-{}", std::process::id()));
    std::fs::write(&file, "o".repeat(32)).unwrap();
    let rig = Rig::new(|config| config.auth.jwt.secret_file = file.clone()).await;
    let auth = Auth { jwt: settings(|jwt| jwt.secret_file = file.clone()), ..Default::default() };
    let mint = || mint(&auth, "ann", &json!({"read": [{"r": "*"}]}), Duration::from_secs(60)).unwrap();
    let old = mint();
    let hello = |token: &str| json!({"t": "hello", "id": 1, "token": token});
    let (mut feed, _) = rig.open("", &[], hello(&old)).await.unwrap();
    let (mut other, _) = rig.open("", &[], hello(&rig.key)).await.unwrap();
    // What cannot be used is not taken over, nor does it matter that the file was written anew.
    for (round, text) in ["short".to_owned(), format!("{}\n", "o".repeat(32))].iter().enumerate() {
        std::fs::write(&file, text).unwrap();
        rig.reload.send(round as u64 + 1).unwrap();
        feed.send(Message::text(json!({"t": "ping", "id": 2}).to_string())).await.unwrap();
        assert_eq!(said(&mut feed).await["t"], "pong");
        assert_eq!(rig.get("/v1/state", &Rig::bearer(&old)).await.status, 200);
    }
    std::fs::write(&file, "n".repeat(32)).unwrap();
    rig.reload.send(3).unwrap();
    assert_eq!(said(&mut feed).await, 4401);
    assert_eq!(rig.get("/v1/state", &Rig::bearer(&old)).await.problem(), (401, "token-invalid".into()));
    assert_eq!(rig.get("/v1/state", &Rig::bearer(&mint())).await.status, 200);
    std::fs::remove_file(&file).unwrap();
    other.send(Message::text(json!({"t": "ping", "id": 2}).to_string())).await.unwrap();
    assert_eq!(said(&mut other).await["t"], "pong");
}

#[tokio::test]
async fn signing_out_ends_a_session() {
    let rig = Rig::new(|config| config.auth.session.secure = true).await;
    let answer = rig.ask("POST", "/v1/session", &Rig::bearer(&rig.key)).await;
    assert!(answer.headers["set-cookie"].ends_with("; Secure"));
    let cookie = answer.cookie();
    let with_origin = format!("{cookie}{}", rig.origin());
    // Who has a session keeps it.
    let again = rig.ask("POST", "/v1/session", &with_origin).await;
    assert!(again.status == 200 && !again.headers.contains_key("set-cookie"));
    let ticket = rig.ask("POST", "/v1/tickets", &with_origin).await.json()["ticket"].as_str().unwrap().to_owned();
    let (value, own) = (cookie.trim().strip_prefix("Cookie: ").unwrap(), format!("http://{}", rig.address));
    let hello = json!({"t": "hello", "id": 1});
    let (mut feed, _) = rig.open("", &[("cookie", value), ("origin", &own)], hello).await.unwrap();
    let gone = rig.ask("DELETE", "/v1/session", &with_origin).await;
    assert_eq!(said(&mut feed).await, 4401);
    assert!(gone.status == 204 && gone.headers["set-cookie"].contains("Max-Age=0"));
    assert_eq!(rig.get("/v1/state", &cookie).await.problem(), (401, "unauthenticated".into()));
    assert_eq!(rig.get(&format!("/v1/session?ticket={ticket}"), "").await.status, 401);
    assert_eq!(rig.get("/v1/state", "Cookie: lamplighter_session=guess; a=b\r\n").await.status, 401);
}

#[tokio::test]
async fn the_panel_turns_a_ticket_into_a_session() {
    let rig = Rig::new(|_| {}).await;
    let ticket = rig.ticket().await;
    let answer = rig.get(&format!("/panel/?view=wallboard&ticket={ticket}&theme=dark"), "").await;
    assert_eq!((answer.status, &*answer.headers["location"]), (303, "/panel/?view=wallboard&theme=dark"));
    assert_eq!(rig.get("/v1/session", &answer.cookie()).await.json()["principal"], "crm");
    // Used up: the page opens, and is not signed in.
    let answer = rig.get(&format!("/panel/?ticket={ticket}"), "").await;
    assert_eq!((answer.status, &*answer.headers["location"]), (303, "/panel/"));
    assert!(!answer.headers.contains_key("set-cookie"));
    // What only looks at addresses does not use tickets up.
    let path = format!("/panel/?ticket={}", rig.ticket().await);
    assert_ne!(rig.ask("HEAD", &path, "").await.status, 303);
    assert!(rig.get(&path, "").await.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn metrics_are_for_those_who_may() {
    let rig = Rig::new(|_| {}).await;
    assert_eq!(rig.get("/metrics", "").await.status, 401);
    assert_eq!(rig.get("/metrics", &Rig::bearer(&rig.key)).await.problem(), (403, "forbidden".into()));
    assert_eq!(rig.get("/metrics", &Rig::bearer(&rig.root)).await.status, 200);
    for audience in [Audience::Loopback, Audience::Open] {
        let rig = Rig::new(|config| config.auth.metrics = audience).await;
        assert_eq!(rig.get("/metrics", "").await.status, 200);
    }
}

#[tokio::test]
async fn allowed_pages_of_other_origins_may_send_tokens() {
    let rig = Rig::new(|config| config.origins = vec!["https://crm.example.com".into()]).await;
    let ask = |origin: &str| format!("Origin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n");
    let answer = rig.ask("OPTIONS", "/v1/state/1001", &ask("https://crm.example.com")).await;
    assert_eq!((answer.status, &*answer.headers["access-control-allow-origin"]), (204, "https://crm.example.com"));
    assert!(answer.headers["access-control-allow-headers"].contains("Authorization"));
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    assert_eq!(rig.ask("OPTIONS", "/v1/state/1001", &ask("https://evil.example.org")).await.status, 403);
}

#[tokio::test]
async fn a_listener_beyond_loopback_needs_an_authority_or_leave() {
    let at = |auth: Auth| {
        let config = Config { listen: "192.0.2.1:8088".parse().unwrap(), auth, ..Config::default() };
        crate::check(&config, &Addresses::default())
    };
    assert!(at(Auth::default()).is_err_and(|what| what.contains("[web.auth]")));
    let key = Key { name: "crm".into(), hash: new_key().unwrap().1, ..Default::default() };
    assert_eq!(at(Auth { keys: vec![key], ..Default::default() }), Ok(()));
    let jwt = settings(|jwt| jwt.secret_file = testdata("nothing"));
    assert!(at(Auth { jwt, ..Default::default() }).is_err_and(|what| what.starts_with("auth.jwt.secret")));
}
