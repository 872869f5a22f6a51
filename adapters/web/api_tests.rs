//! The HTTP API over real sockets, with a real shard behind it.

use crate::{Admin, Config, serve};
use lamplighter_model::{
    Access, Addresses, Counters, Input, Outbox, Output, Packages, Profiles, Seed, Time, config as model,
};
use lamplighter_port::{Port, Settings};
use lamplighter_shard::Shard;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
const BEGIN: u64 = 1_795_263_600_000_000;

/// A gateway without phones, whose clock stands still unless the test moves it.
struct Rig {
    port: Port,
    address: SocketAddr,
    time: Arc<AtomicU64>,
    bell: SyncSender<()>,
    done: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    reload: watch::Sender<u64>,
    _stop: watch::Sender<bool>,
}

impl Rig {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let packages = lamplighter_packages::packages(&lamplighter_packages::Config::default());
        let packages = Packages::new(packages, |_, expires| expires);
        let addresses = || Addresses::new(["example.com", "sales.example.com"], [], [("boss", "1")]);
        let shard = Arc::new(model::Config {
            revision: 1,
            shards: 1,
            server: "test".into(),
            addresses: addresses(),
            listeners: Vec::new(),
            access: Access::default(),
            packages: packages.clone(),
            profiles: Profiles::default(),
            timers: model::Timers::default(),
            notify: model::Notify::default(),
            limits: model::Limits { publications: 4, ..model::Limits::default() },
            overload: model::Overload::default(),
            store: None,
        });
        let (bell, rung) = std::sync::mpsc::sync_channel::<()>(1);
        let wake = {
            let bell = bell.clone();
            Arc::new(move || _ = bell.try_send(()))
        };
        let (hub, mut ports, port) =
            lamplighter_port::hub(packages, Arc::new(addresses()), Settings::default(), "e1", vec![wake]);
        let time = Arc::new(AtomicU64::new(BEGIN));
        let done = Arc::new(AtomicBool::new(false));
        let mut desk = ports.remove(0);
        let driver = {
            let (time, done) = (Arc::clone(&time), Arc::clone(&done));
            move || {
                let now = || Time::from_micros(time.load(Ordering::SeqCst));
                let mut machine = Shard::new(shard, 0, Seed::default(), [7; 32], now(), Arc::new(Counters::default()));
                let mut out = Outbox::default();
                while !done.load(Ordering::SeqCst) {
                    let _ = rung.recv_timeout(Duration::from_millis(100));
                    while let Some((ticket, command)) = desk.command() {
                        machine.handle(now(), Input::Command { ticket, command }, &mut out);
                    }
                    machine.handle(now(), Input::Tick, &mut out);
                    for output in out.outputs.drain(..) {
                        match output {
                            Output::Change(change) => desk.change(change),
                            Output::Answer { ticket, answer } => desk.answer(ticket, answer),
                            Output::Trace(trace) => desk.trace(trace),
                            _ => {}
                        }
                    }
                    out.clear();
                    desk.flush();
                }
            }
        };
        let threads = vec![std::thread::spawn(|| hub.run()), std::thread::spawn(driver)];
        let (reload, reloading) = watch::channel(0);
        let admin = Admin {
            metrics: Arc::new(|out| out.push_str("bus_publications 3\n")),
            ready: Arc::new(|| Ok(())),
            reload: reloading,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(serve(config, port.clone(), admin, listener, stopping));
        Self { port, address, time, bell, done, threads, reload, _stop: stop }
    }

    async fn plain() -> Self {
        Self::new(|_| {}).await
    }

    /// Time passes; what is due is done, and seen.
    async fn pass(&self, time: Duration) {
        let mut head = self.port.head();
        let before = *head.borrow_and_update();
        self.time.fetch_add(time.as_micros() as u64, Ordering::SeqCst);
        let _ = self.bell.try_send(());
        timeout(PATIENCE, head.wait_for(|head| *head > before)).await.unwrap().unwrap();
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method != "GET" {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).await.unwrap();
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap()[9..12].parse().unwrap();
        let headers =
            lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.to_owned(), value.to_owned()));
        Answer { status, headers: headers.collect(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// Publishes JSON.
    async fn say(&self, method: &str, path: &str, headers: &[(&str, &str)], state: &Value) -> Answer {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend(headers);
        self.ask(method, path, &all, &state.to_string()).await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        let _ = self.bell.try_send(());
        self.port.stop();
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// It is refused with this status, as this problem.
    fn refused(self, status: u16, slug: &str) -> Value {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["type"], format!("/problems/{slug}"), "{problem}");
        problem
    }

    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(one, _)| one == name);
        &found.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers)).1
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|bad| panic!("{bad}: {}", self.body))
    }
}

const OPEN: &str = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:1@example.com'><tuple id='t'>\
                    <status><basic>open</basic></status></tuple></presence>";

/// MI-01: whoever publishes is answered with the entity-tag and the lease, and the state is there.
#[tokio::test]
async fn a_publication_has_a_life_of_its_own() {
    let rig = Rig::plain().await;
    let pidf = ("Content-Type", "application/pidf+xml; charset=utf-8");
    let path = "/v1/state/1/presence/publications?expires=600";
    let created = rig.ask("POST", path, &[pidf], OPEN).await.expect(201);
    let published = created.json();
    assert_eq!(created.header("etag"), format!("\"{}\"", published["entity_tag"].as_str().unwrap()));
    let place = created.header("location").to_owned();
    assert_eq!(place, format!("/v1/publications/{}", published["id"].as_str().unwrap()));
    assert_eq!((&published["expires"], &published["created"]), (&json!(600), &json!(true)));
    assert!(place.ends_with(":presence:sip:1@example.com"), "{place}");
    // The answer comes behind the change.
    assert_eq!(rig.get("/v1/state/1/presence").await.expect(200).json()["state"]["basic"], "open");

    let tag = created.header("etag").to_owned();
    let closed = OPEN.replace("open", "closed");
    let modified = rig.ask("PUT", &place, &[pidf, ("If-Match", &tag)], &closed).await.expect(200);
    assert_eq!(modified.json()["id"], published["id"], "it is the same publication");
    assert_eq!(rig.get("/v1/state/1/presence").await.json()["state"]["basic"], "closed");
    rig.ask("PUT", &place, &[pidf, ("If-Match", &tag)], OPEN).await.refused(412, "precondition-failed");
    rig.ask("PUT", &place, &[pidf], OPEN).await.refused(428, "precondition-required");

    // MI-02: without a body it is refreshed.
    let tag = modified.header("etag").to_owned();
    let refreshed =
        rig.ask("POST", &format!("{place}/refresh?expires=3600"), &[("If-Match", &tag)], "").await.expect(200);
    rig.time.fetch_add(601_000_000, Ordering::SeqCst);
    let tag = refreshed.header("etag").to_owned();
    let again = rig.ask("PUT", &place, &[("If-Match", &tag)], "").await.expect(200);
    assert_eq!(rig.get("/v1/state/1/presence").await.json()["state"]["basic"], "closed", "it lives on");
    rig.ask("DELETE", &place, &[], "").await.refused(428, "precondition-required");
    let tag = again.header("etag").to_owned();
    assert_eq!(rig.ask("DELETE", &place, &[("If-Match", &tag)], "").await.expect(204).body, "");
    rig.get("/v1/state/1/presence").await.refused(404, "not-found");
    rig.ask("DELETE", &place, &[("If-Match", &tag)], "").await.refused(412, "precondition-failed");
    rig.ask("DELETE", "/v1/publications/nonsense", &[("If-Match", &tag)], "").await.refused(404, "not-found");
}

/// Decision: PUT without If-Match is the caller's own publication, one for each source.
#[tokio::test]
async fn put_replaces_the_callers_own() {
    let rig = Rig::plain().await;
    let path = "/v1/state/sip:1@example.com/presence";
    let first = rig.say("PUT", path, &[], &json!({"basic": "open"})).await.expect(201);
    let second = rig.say("PUT", path, &[], &json!({"basic": "closed"})).await.expect(200);
    assert_eq!(first.header("location"), second.header("location"));
    assert_eq!(rig.get(path).await.json()["state"]["basic"], "closed");
    let other = rig.say("PUT", &format!("{path}?source=desk"), &[], &json!({"basic": "open"})).await.expect(201);
    assert_ne!(first.header("location"), other.header("location"));
    let source = rig.get("/v1/explain/1").await.json();
    let sources = source["packages"].as_array().unwrap().iter().flat_map(|one| one["sources"].as_array().unwrap());
    let mut names: Vec<_> = sources.map(|one| one["source"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["api:anonymous/default", "api:anonymous/desk"]);

    // MI-02 by the address: If-Match without a body refreshes, a wrong one is 412.
    let tag = other.header("etag");
    let refreshed = rig.ask("PUT", path, &[("If-Match", tag)], "").await.expect(200);
    rig.ask("PUT", path, &[("If-Match", "\"0123456789ab0000\"")], "").await.refused(412, "precondition-failed");
    let tag = refreshed.header("etag");
    let ended = rig.ask("PUT", &format!("{path}?expires=0"), &[("If-Match", tag)], "").await.expect(200);
    assert_eq!(ended.json()["expires"], 0);

    // Leases end.
    rig.pass(Duration::from_secs(3601)).await;
    rig.get(path).await.refused(404, "not-found");
}

#[tokio::test]
async fn what_is_wrong_with_a_publication_is_said() {
    let rig = Rig::plain().await;
    let path = "/v1/state/1/presence";
    let problem =
        rig.ask("PUT", path, &[("Content-Type", "text/plain")], "x").await.refused(415, "unsupported-media-type");
    assert!(problem["detail"].as_str().unwrap().contains("application/pidf+xml"), "{problem}");
    rig.ask("PUT", path, &[], "x").await.refused(415, "unsupported-media-type");
    let gzip = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    rig.ask("PUT", path, &gzip, "x").await.refused(415, "unsupported-media-type");
    let problem = rig.say("PUT", path, &[], &json!({"basic": 7})).await.refused(422, "bad-body");
    assert_eq!(problem["errors"][0]["pointer"], "/basic", "{problem}");
    rig.ask("PUT", path, &[("Content-Type", "application/pidf+xml")], "<a").await.refused(422, "bad-body");
    rig.ask("PUT", path, &[], "").await.refused(422, "bad-body");
    let problem = rig.say("PUT", &format!("{path}?expires=1"), &[], &json!({"basic": "open"})).await;
    assert!(problem.refused(422, "interval-too-brief")["detail"].as_str().unwrap().contains(" seconds"));
    rig.say("PUT", &format!("{path}?expires=soon"), &[], &json!({})).await.refused(422, "invalid-field");
    rig.say("PUT", &format!("{path}?source=a/b"), &[], &json!({})).await.refused(422, "invalid-field");
    rig.say("PUT", &format!("{path}?sauce=a"), &[], &json!({})).await.refused(422, "invalid-field");
    rig.say("PUT", "/v1/state/1/tea", &[], &json!({})).await.refused(404, "not-found");
    rig.say("PUT", "/v1/state/1@elsewhere.org/presence", &[], &json!({})).await.refused(404, "not-found");
    rig.say("PUT", path, &[("If-Match", "*")], &json!({})).await.refused(428, "precondition-required");
    let long = json!({"note": "x".repeat(300_000)});
    rig.say("PUT", path, &[], &long).await.refused(413, "payload-too-large");
    for source in 0..4 {
        rig.say("PUT", &format!("{path}?source={source}"), &[], &json!({"basic": "open"})).await.expect(201);
    }
    let full = rig.say("PUT", &format!("{path}?source=5"), &[], &json!({"basic": "open"})).await.expect(429);
    assert_eq!(full.header("retry-after"), "5");
    full.refused(429, "too-many-publications");
    let wrong = rig.ask("PATCH", path, &[], "").await.expect(405);
    assert!(wrong.header("allow").contains("GET") && wrong.header("allow").contains("PUT"), "{wrong:?}");
    wrong.refused(405, "method-not-allowed");
    rig.get("/v1/state/%ff").await.refused(400, "bad-request");
}

#[tokio::test]
async fn a_request_that_comes_twice_is_done_once() {
    let rig = Rig::plain().await;
    let path = "/v1/state/1/presence/publications";
    let key = [("Idempotency-Key", "order-66")];
    let first = rig.say("POST", path, &key, &json!({"basic": "open"})).await.expect(201);
    let again = rig.say("POST", path, &key, &json!({"basic": "open"})).await.expect(201);
    assert_eq!((again.header("etag"), again.header("idempotency-replayed")), (first.header("etag"), "true"));
    assert_eq!(first.body, again.body);
    rig.say("POST", path, &key, &json!({"basic": "closed"})).await.refused(422, "invalid-field");
    let other = rig.say("POST", path, &[("Idempotency-Key", "order-67")], &json!({"basic": "open"})).await.expect(201);
    assert_ne!(first.header("etag"), other.header("etag"));
}

/// MI-01, PU-10: event, content type, body, entity-tag, expires, all in one list.
#[tokio::test]
async fn many_publications_in_one_request() {
    let rig = Rig::plain().await;
    let many = json!([
        {"r": "1", "kind": "presence", "state": {"basic": "open"}, "expires": 600},
        {"r": "2", "event": "message-summary", "content_type": "application/simple-message-summary",
         "body": "Messages-Waiting: yes\r\nVoice-Message: 2/8\r\n"},
        {"r": "3", "kind": "presence", "state": {"basic": []}},
        {"r": "4@elsewhere.org", "kind": "presence", "state": {}},
        {"r": "1", "kind": "presence", "state": {"basic": "closed"}},
        {"r": "5", "kind": "tea"}, {"nonsense": 1}, 7,
    ]);
    let answer = rig.say("POST", "/v1/publish", &[], &many).await.expect(200).json();
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|one| one["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 201, 422, 404, 200, 404, 422, 422], "{answer}");
    assert_eq!(results[2]["problem"]["type"], "/problems/bad-body");
    assert_eq!(rig.get("/v1/state/1/presence").await.json()["state"]["basic"], "closed", "in order");
    assert_eq!(rig.get("/v1/state/2/mwi").await.json()["state"]["voice"]["new"], 2);
    let tag = results[1]["published"]["entity_tag"].as_str().unwrap();
    let lines = format!(
        "{}\n{}\n",
        json!({"r": "2", "kind": "mwi", "entity_tag": tag, "expires": 0}),
        json!({"r": "2", "kind": "mwi", "entity_tag": tag, "expires": 0})
    );
    let answer = rig.ask("POST", "/v1/publish", &[("Content-Type", "application/x-ndjson")], &lines).await.expect(200);
    assert_eq!(answer.json()["results"][0]["published"]["expires"], 0);
    assert_eq!(answer.json()["results"][1]["status"], 412);
    rig.get("/v1/state/2/mwi").await.refused(404, "not-found");
    rig.say("POST", "/v1/publish", &[], &json!({})).await.refused(400, "bad-json");
    let most: Vec<_> =
        (0..1000).map(|n| json!({"r": n.to_string(), "kind": "presence", "state": {"basic": "open"}})).collect();
    let answer = rig.say("POST", "/v1/publish", &[], &json!(most)).await.expect(200).json();
    assert!(answer["results"].as_array().unwrap().iter().all(|one| one["published"].is_object()), "{answer}");
    let list = rig.get("/v1/state?limit=10000&kind=presence").await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1000);
}

#[tokio::test]
async fn lists_come_in_pages_and_the_feed_goes_on_without_a_hole() {
    let rig = Rig::plain().await;
    for (user, basic) in [("1", "open"), ("2", "open"), ("3", "closed"), ("4@sales.example.com", "open")] {
        rig.say("PUT", &format!("/v1/state/{user}/presence"), &[], &json!({"basic": basic})).await.expect(201);
    }
    let page = rig.get("/v1/state?limit=2&kind=presence").await.expect(200);
    let first = page.json();
    assert_eq!(page.header("presence-cursor"), first["cursor"].as_str().unwrap());
    assert_eq!((first["more"].as_bool(), &first["cursor"]), (Some(true), &json!("e1.4")));
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["r"].as_str().unwrap().trim_start_matches("sip:").to_owned()).collect()
    };
    assert_eq!(names(&first), ["1@example.com", "2@example.com"]);
    // What changes meanwhile is not missed: it comes later in the list, and after the cursor as well.
    rig.say("PUT", "/v1/state/1/presence", &[], &json!({"basic": "closed"})).await.expect(200);
    let page = first["page"].as_str().unwrap();
    let second = rig.get(&format!("/v1/state?limit=10&kind=presence&page={page}")).await.expect(200).json();
    assert_eq!(names(&second), ["3@example.com", "4@sales.example.com", "1@example.com"]);
    assert_eq!((second["more"].as_bool(), &second["cursor"], second.get("page")), (Some(false), &json!("e1.4"), None));
    rig.get("/v1/state?page=e0.1.1").await.refused(410, "gone");
    rig.get("/v1/state?page=x").await.refused(422, "invalid-field");
    for path in ["/v1/state?limit=0", "/v1/state?limit=10001", "/v1/state?limit=x"] {
        rig.get(path).await.refused(422, "invalid-field");
    }

    assert_eq!(names(&rig.get("/v1/state?domain=sales.example.com").await.json()), ["4@sales.example.com"]);
    assert_eq!(
        names(&rig.get("/v1/state?r=2&r=4@sales.example.com&domain=example.com").await.json()),
        ["2@example.com"]
    );
    let query = json!({"r": ["boss", "3"], "kinds": ["presence"], "q": "1@EX"});
    assert_eq!(names(&rig.say("POST", "/v1/state:query", &[], &query).await.expect(200).json()), ["1@example.com"]);
    rig.say("POST", "/v1/state:query", &[], &json!({"tea": 1})).await.refused(422, "invalid-field");
    rig.say("POST", "/v1/state:query", &[], &json!([["1"]])).await.refused(422, "invalid-field");
    rig.ask("POST", "/v1/state:query", &[], "{").await.refused(400, "bad-json");
    let problem = rig.say("POST", "/v1/state:query", &[], &json!({"r": ["1", "1@elsewhere.org"]})).await;
    assert_eq!(problem.refused(404, "not-found")["errors"][0]["pointer"], "/r/1");
}

#[tokio::test]
async fn a_long_poll_waits_for_what_is_newer() {
    let rig = Arc::new(Rig::plain().await);
    let path = "/v1/state/1/presence";
    let wait = |query: &'static str| {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move { rig.get(&format!("{path}?{query}")).await })
    };
    // For a first state.
    let waiting = wait("wait=30");
    rig.say("PUT", path, &[], &json!({"basic": "open"})).await.expect(201);
    let seen = waiting.await.unwrap().expect(200);
    assert_eq!(seen.header("etag"), "\"e1.1\"");
    // For what is newer than a cursor; changes elsewhere do not count.
    let waiting = wait("wait=30&cursor=e1.1");
    rig.say("PUT", "/v1/state/2/presence", &[], &json!({"basic": "open"})).await.expect(201);
    rig.say("PUT", path, &[], &json!({"basic": "closed"})).await.expect(200);
    let seen = waiting.await.unwrap().expect(200);
    assert_eq!((seen.header("etag"), &seen.json()["state"]["basic"]), ("\"e1.3\"", &json!("closed")));
    // A cursor of another life says nothing; an old one is answered at once.
    assert_eq!(wait("wait=60&cursor=e0.7").await.unwrap().status, 200);
    assert_eq!(wait("wait=60&cursor=e1.1").await.unwrap().status, 200);
    assert_eq!(wait("wait=0&cursor=e1.3").await.unwrap().expect(304).body, "");
    assert_eq!(wait("wait=1&cursor=e1.3").await.unwrap().expect(304).header("etag"), "\"e1.3\"");
    rig.get(&format!("{path}?wait=61")).await.refused(422, "invalid-field");
    rig.get(&format!("{path}?cursor=x")).await.refused(422, "invalid-field");
}

fn directory(text: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static HERE: OnceLock<PathBuf> = OnceLock::new();
    let here = HERE.get_or_init(std::env::temp_dir);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let file = here.join(format!("lamplighter-api-{}-{number}.json", std::process::id()));
    std::fs::write(&file, text).unwrap();
    file
}

#[tokio::test]
async fn the_directory_is_read_written_and_read_again() {
    let file =
        directory(r#"{"people":[{"resource":"1","name":"Ann Lee","department":"Sales"}],"groups":{"desk":["2","1"]}}"#);
    let rig = Rig::new(|config| config.directory.clone_from(&file)).await;
    let whole = rig.get("/v1/directory").await.expect(200);
    assert_eq!(whole.json()["people"][0]["resource"], "sip:1@example.com");
    let tag = whole.header("etag").to_owned();
    assert_eq!(rig.ask("GET", "/v1/directory", &[("If-None-Match", &tag)], "").await.status, 304);
    assert_eq!(
        rig.get("/v1/groups/desk").await.expect(200).json(),
        json!({"name": "desk", "members": ["sip:1@example.com", "sip:2@example.com"]})
    );
    assert_eq!(rig.get("/v1/groups").await.json(), json!({"groups": ["desk"]}));
    // Groups and people can be asked for.
    for user in ["1", "2", "3"] {
        rig.say("PUT", &format!("/v1/state/{user}/presence"), &[], &json!({"basic": "open"})).await.expect(201);
    }
    let count = async |path: &str| rig.get(path).await.expect(200).json()["items"].as_array().unwrap().len();
    assert_eq!(count("/v1/state?r=group:desk").await, 2);
    assert_eq!(count("/v1/state?q=ann%20LEE").await, 1);
    rig.get("/v1/state?r=group:none").await.refused(404, "not-found");

    let written = rig.say("PUT", "/v1/groups/desk", &[("If-Match", &tag)], &json!(["3"])).await.expect(204);
    assert_ne!(written.header("etag"), tag);
    rig.say("PUT", "/v1/groups/desk", &[("If-Match", &tag)], &json!([])).await.refused(412, "precondition-failed");
    let problem = rig.say("PUT", "/v1/groups/x", &[], &json!(["3", "4@elsewhere.org"])).await;
    assert_eq!(problem.refused(422, "invalid-field")["errors"][0]["pointer"], "/groups/x/1");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(
        (&kept["groups"]["desk"], &kept["people"][0]["name"]),
        (&json!(["sip:3@example.com"]), &json!("Ann Lee"))
    );
    rig.ask("DELETE", "/v1/groups/desk", &[], "").await.expect(204);
    rig.ask("DELETE", "/v1/groups/desk", &[], "").await.refused(404, "not-found");
    rig.say("PUT", "/v1/directory", &[], &json!({"people": [{"resource": "7"}]})).await.expect(204);
    rig.say("PUT", "/v1/directory", &[], &json!({"people": 7})).await.refused(422, "invalid-field");

    // Somebody edits the file, and tells the gateway.
    std::fs::write(&file, r#"{"groups":{"new":["1"]}}"#).unwrap();
    rig.reload.send_replace(1);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while rig.get("/v1/groups/new").await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the file is read again");
    }
    std::fs::remove_file(&file).unwrap();
    let plain = Rig::plain().await;
    plain.say("PUT", "/v1/directory", &[], &json!({})).await.refused(409, "conflict");
}

/// OP-01: connections and watchers are listed, watchers are refreshed, and nothing of it is a page for others.
#[tokio::test]
async fn the_gateway_can_be_looked_into() {
    let rig = Rig::plain().await;
    assert_eq!(rig.get("/v1/connections").await.expect(200).json(), json!({"connections": []}));
    rig.ask("DELETE", "/v1/connections/1", &[], "").await.refused(404, "not-found");
    assert_eq!(rig.get("/v1/watchers").await.expect(200).json(), json!({"watchers": []}));
    assert_eq!(rig.get("/v1/watchers?r=1").await.expect(200).json(), json!({"watchers": []}));
    rig.get("/v1/watchers?page=9.0").await.refused(422, "invalid-field");
    let refreshed = rig.ask("POST", "/v1/watchers:refresh?r=boss", &[], "").await.expect(200);
    assert_eq!(refreshed.json(), json!({"r": "sip:1@example.com", "watchers": 0}));
    rig.ask("POST", "/v1/watchers:refresh", &[], "").await.refused(422, "invalid-field");
    rig.get("/v1/trace").await.refused(422, "invalid-field");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let rates = rig.get("/v1/rates").await.expect(200).json();
        if rates["series"]["bus_publications"] == json!([3.0]) {
            assert!(rates["at"].as_u64().unwrap() > 1_700_000_000_000 && rates["every_s"] == 10);
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{rates}");
    }
    let problem = rig.ask("GET", "/problems/interval-too-brief", &[("Accept", "text/html,*/*")], "").await.expect(200);
    assert!(problem.body.contains("<h1>The lease is too short</h1>") && problem.body.contains("What to do: "));
    rig.get("/problems/tea").await.refused(404, "not-found");
    assert_eq!(rig.get("/v1/openapi.json").await.expect(200).json()["openapi"], "3.1.0");
    let metrics = rig.get("/metrics").await.body;
    assert!(metrics.contains("http_requests_total{route=\"/v1/watchers:refresh\",status=\"422\"} 1"), "{metrics}");
    assert!(metrics.contains("http_request_seconds_count "), "{metrics}");
}

/// Who may read little sees little, in lists as by name; who may not publish does not; and what is for administrators
/// is for nobody else.
#[tokio::test]
async fn everybody_sees_what_is_theirs_to_see() {
    let file = directory(
        r#"{"people":[{"resource":"1","name":"Ann"},{"resource":"2"}],"groups":{"desk":["1"],"back":["2"]}}"#,
    );
    let ((crm, crm_hash), (root, root_hash)) = (crate::new_key().unwrap(), crate::new_key().unwrap());
    let rig = Rig::new(|config| {
        let grant = |r: &str, kinds: Option<Vec<String>>, view| crate::Grant { r: r.into(), kinds, view };
        let calls = || Some(vec!["dialog".to_owned()]);
        let crm = crate::Key {
            name: "crm".into(),
            hash: crm_hash,
            read: vec![grant("group:desk", calls(), crate::View::Masked)],
            write: vec![grant("1", Some(vec!["presence".into()]), crate::View::Full)],
            ..Default::default()
        };
        let all = || vec![grant("*", None, crate::View::Full)];
        let root = crate::Key { name: "root".into(), hash: root_hash, read: all(), write: all(), admin: true };
        config.auth.keys = vec![crm, root];
        config.directory.clone_from(&file);
    })
    .await;
    let (crm, root) = (format!("Bearer {crm}"), format!("Bearer {root}"));
    let (crm, root) = (("Authorization", &*crm), ("Authorization", &*root));
    rig.get("/v1/state").await.refused(401, "unauthenticated");
    let call = json!({"state": "confirmed", "remote": {"uri": "sip:+4412345@example.org", "name": "Zoe"}});
    for user in ["1", "2"] {
        rig.say("PUT", &format!("/v1/state/{user}/dialog"), &[root], &call).await.expect(201);
    }
    let list = rig.ask("GET", "/v1/state", &[crm], "").await.expect(200).json();
    let items = list["items"].as_array().unwrap();
    assert_eq!(
        (items.len(), &items[0]["r"], &items[0]["state"]["lamp"]),
        (1, &json!("sip:1@example.com"), &json!("busy"))
    );
    assert!(!list.to_string().contains("Zoe") && !list.to_string().contains("+4412345"), "{list}");
    let one = rig.ask("GET", "/v1/state/1", &[crm], "").await.expect(200);
    assert!(!one.body.contains("Zoe") && !one.body.contains("presence"), "{}", one.body);
    assert!(rig.ask("GET", "/v1/state/1", &[root], "").await.body.contains("Zoe"));
    rig.ask("GET", "/v1/state/2/dialog", &[crm], "").await.refused(404, "not-found");

    rig.say("PUT", "/v1/state/1/dialog", &[crm], &call).await.refused(403, "forbidden");
    rig.say("PUT", "/v1/state/1/presence", &[crm], &json!({"basic": "open"})).await.expect(201);
    let other = rig.say("PUT", "/v1/state/1/presence", &[root], &json!({"basic": "open"})).await.expect(201);
    let tag = rig.say("PUT", "/v1/state/2/presence", &[root], &json!({"basic": "open"})).await.expect(201);
    let (tag, place) = (("If-Match", tag.header("etag").to_owned()), tag.header("location").to_owned());
    rig.ask("DELETE", &place, &[crm, (tag.0, &tag.1)], "").await.refused(403, "forbidden");
    assert_eq!(other.json()["created"], true, "each caller has publications of its own");
    let two = json!([{"r": "1", "kind": "presence", "state": {"basic": "open"}}, {"r": "2", "kind": "presence", "state": {}}]);
    let many = rig.say("POST", "/v1/publish", &[crm], &two).await.expect(200).json();
    assert_eq!((&many["results"][0]["status"], &many["results"][1]["status"]), (&json!(200), &json!(403)));

    let seen = rig.ask("GET", "/v1/directory", &[crm], "").await.expect(200).json();
    assert_eq!(
        seen,
        json!({"people": [{"resource": "sip:1@example.com", "name": "Ann"}], "groups": {"desk": ["sip:1@example.com"]}})
    );
    rig.ask("GET", "/v1/groups/back", &[crm], "").await.refused(404, "not-found");
    for (method, path) in [
        ("GET", "/v1/explain/1"),
        ("GET", "/v1/watchers"),
        ("POST", "/v1/watchers:refresh?r=1"),
        ("GET", "/v1/connections"),
        ("DELETE", "/v1/connections/1"),
        ("GET", "/v1/trace?r=1"),
        ("GET", "/v1/rates"),
        ("DELETE", "/v1/groups/desk"),
    ] {
        rig.ask(method, path, &[crm], "").await.refused(403, "forbidden");
    }
    rig.say("PUT", "/v1/directory", &[crm], &json!({})).await.refused(403, "forbidden");
    rig.ask("GET", "/v1/rates", &[root], "").await.expect(200);
    std::fs::remove_file(&file).unwrap();
}
