//! The HTTP API: what a service publishes over HTTP reaches phones and browsers, and the command line can ask and say
//! the same.

use crate::feed::Feed;
use crate::gateway::{Gateway, PATIENCE, lamplighter};
use crate::phone::{Phone, dialog_info};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const ANN: &str = "sip:ann@example.com";

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    body: String,
}

impl Answer {
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    fn header(&self, name: &str) -> &str {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(one, _)| one.eq_ignore_ascii_case(name))
            .unwrap_or_else(|| panic!("no {name} in {}", self.head))
            .1
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub fn ask(gateway: &Gateway, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let mut stream = TcpStream::connect(gateway.web).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", gateway.web);
    headers.iter().for_each(|header| request.push_str(&format!("{header}\r\n")));
    write!(stream, "{request}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

/// A page in a browser that listens to server-sent events.
struct Browser(BufReader<TcpStream>);

impl Browser {
    fn listens(gateway: &Gateway, query: &str) -> Self {
        let mut stream = TcpStream::connect(gateway.web).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {query} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.web).unwrap();
        let (mut browser, mut line) = (Self(BufReader::new(stream)), String::new());
        browser.0.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        while line != "\r\n" {
            line.clear();
            browser.0.read_line(&mut line).unwrap();
        }
        browser
    }

    /// Reads until a line of data is as wanted.
    fn until(&mut self, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended");
            let Some(data) = line.strip_prefix("data:") else { continue };
            let frame: Value = serde_json::from_str(data.trim()).unwrap();
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Reads until an item is as wanted.
    fn item(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let items = |frame: &Value| frame["items"].as_array().cloned().unwrap_or_default();
        let frame = self.until(|frame| items(frame).iter().any(&wanted));
        items(&frame).into_iter().find(wanted).unwrap()
    }
}

/// MI-01, MI-02, PU-10: HTTP publishes what phones see; a refresh has no body; SIP and HTTP know the same entity-tags.
#[test]
fn a_service_publishes_for_phones() {
    let gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "bob");
    watcher.subscribe(ANN, "presence", 600);
    let mut browser = Browser::listens(&gateway, "/v1/events?r=ann&kind=presence");

    let open = json!({"basic": "open", "note": "Back at 3"}).to_string();
    let place = "/v1/state/ann/presence/publications?expires=300";
    let created = ask(&gateway, "POST", place, &["Content-Type: application/json"], &open).expect(201);
    let told = watcher.notify();
    assert!(told.xml("basic") == "open" && told.body.contains("Back at 3"), "{told:#?}");
    browser.item(|item| item["state"]["note"] == "Back at 3");

    let place = created.header("Location").to_owned();
    let tag = created.header("ETag").to_owned();
    let refreshed = ask(&gateway, "PUT", &place, &[&format!("If-Match: {tag}")], "").expect(200);
    let gone = ask(&gateway, "POST", &format!("{place}/refresh"), &["If-Match: \"00000000000a0001\""], "").expect(412);
    assert_eq!(gone.json()["type"], "/problems/precondition-failed");

    // The HTTP entity-tag is the SIP entity-tag: a SIP publisher can go on with it.
    let tag = refreshed.json()["entity_tag"].as_str().unwrap().to_owned();
    let mut phone = Phone::udp(&gateway, "ann");
    let answer = phone.publish(ANN, "presence", &[&format!("SIP-If-Match: {tag}"), "Expires: 600"], "").expect(200);
    let tag = format!("If-Match: \"{}\"", answer.header("SIP-ETag"));
    ask(&gateway, "DELETE", &place, &[&tag], "").expect(204);
    assert_eq!(watcher.notify().elements("tuple"), 0);
    browser.item(|item| item["gone"] == true);
}

/// MI-04: the state of a machine, published as presence of a dummy account, reaches phones and browsers as it was said.
#[test]
fn any_state_of_a_system_is_presence() {
    let gateway = Gateway::start("");
    let system = "sip:system@example.com";
    let mut watcher = Phone::udp(&gateway, "bob");
    watcher.subscribe(system, "presence", 600);
    let mut browser = Browser::listens(&gateway, "/v1/events?r=system");
    let body = format!(
        "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         xmlns:sys=\"http://example.com/system\" entity=\"{system}\"><tuple id=\"host\"><status><basic>open</basic></status>\
         <sys:load>0.42</sys:load><note>CPU 16 MEM 476</note></tuple><dm:person id=\"p\"><rpid:activities><rpid:busy/>\
         </rpid:activities><dm:note>CPU 16 MEM 476</dm:note></dm:person></presence>"
    );
    let headers = ["Content-Type: application/pidf+xml"];
    ask(&gateway, "PUT", "/v1/state/system/presence?source=load&expires=60", &headers, &body).expect(201);
    let told = watcher.notify();
    assert!(told.body.contains("http://example.com/system") && told.body.contains("0.42"), "{told:#?}");
    assert!(told.body.contains("CPU 16 MEM 476") && told.elements("busy") == 1, "{told:#?}");
    browser.item(|item| item["state"].to_string().contains("CPU 16 MEM 476"));
    ask(&gateway, "PUT", "/v1/state/system/presence?source=load", &headers, &body.replace("16", "97")).expect(200);
    assert!(watcher.notify().body.contains("CPU 97 MEM 476"));
}

/// MI-05: one call event in JSON becomes a dialog document, presence, and the feed's state.
#[test]
fn a_call_event_in_json_lights_lamps() {
    let gateway = Gateway::start("");
    let (mut lamp, mut friend) = (Phone::udp(&gateway, "bob"), Phone::udp(&gateway, "carol"));
    lamp.subscribe(ANN, "dialog", 600);
    friend.subscribe(ANN, "presence", 600);
    let mut browser = Browser::listens(&gateway, "/v1/events?r=ann");
    let say = |state: &str| {
        let call = json!({"id": "c1", "state": state, "dir": "in", "remote": {"uri": "sip:+44123@example.org", "name": "Zoe"}});
        ask(&gateway, "PUT", "/v1/state/ann/dialog", &["Content-Type: application/json"], &call.to_string())
    };
    say("early").expect(201);
    let told = lamp.notify();
    assert!(told.body.contains("early</state>") && told.body.contains("sip:+44123@example.org"), "{told:#?}");
    browser.item(|item| item["state"]["lamp"] == "ringing");
    say("confirmed").expect(200);
    assert!(lamp.notify().body.contains("confirmed</state>"));
    let busy = browser.item(|item| item["k"] == "dialog" && item["state"]["lamp"] == "busy");
    assert_eq!(busy["state"]["calls"][0]["remote"]["name"], "Zoe");
    assert_eq!(friend.notify().elements("on-the-phone"), 1);
    say("terminated").expect(200);
    assert!(lamp.notify().body.contains("terminated</state>"));
    browser.item(|item| item["state"]["lamp"] == "idle");
    let all = json!([{"r": "ann", "event": "message-summary", "content_type": "application/simple-message-summary",
                      "body": "Messages-Waiting: yes\r\nVoice-Message: 2/8\r\n"}]);
    let many = ask(&gateway, "POST", "/v1/publish", &["Content-Type: application/json"], &all.to_string()).expect(200);
    assert_eq!(many.json()["results"][0]["status"], 201);
    browser.item(|item| item["k"] == "mwi" && item["state"]["voice"]["new"] == 2);
}

/// OP-01: the command line publishes, shows, lists and refreshes as a client of the API.
#[test]
fn the_command_line_asks_and_says() {
    let gateway = Gateway::start("");
    let run = |arguments: &[&str]| {
        let output = gateway.ask(arguments);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, told, _) =
        run(&["publish", "ann", "presence", "--state", "{\"basic\":\"open\"}", "--expires", "600", "--json"]);
    assert_eq!(code, 0, "{told}");
    let published: Value = serde_json::from_str(&told).unwrap();
    let tag = published["entity_tag"].as_str().unwrap();
    let (code, told, _) = run(&["get", "ann", "--kind", "presence"]);
    assert!(code == 0 && told.contains("open"), "{told}");
    let (code, told, _) = run(&["publish", "ann", "presence", "--if-match", tag]);
    assert!(code == 0 && told.contains("entity-tag"), "{told}");
    let tag = told.trim().rsplit(' ').next().unwrap().to_owned();

    let mut watcher = Phone::udp(&gateway, "bob");
    watcher.subscribe(ANN, "presence", 600);
    let (code, told, _) = run(&["subs", "list", "ann"]);
    assert!(code == 0 && told.contains("sip:bob@example.com") && told.contains("active"), "{told}");
    let (_, told, _) = run(&["subs", "list", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(told.trim()).unwrap()["r"], ANN);
    let (code, told, _) = run(&["subs", "refresh", "ann"]);
    assert!(code == 0 && told.contains("1 watchers"), "{told}");
    assert_eq!(watcher.notify().elements("tuple"), 1);

    let (code, told, _) = run(&["publish", "ann", "presence", "--if-match", &tag, "--withdraw"]);
    assert!(code == 0 && told.starts_with("withdrawn"), "{told}");
    assert_eq!(watcher.notify().elements("tuple"), 0);
    let (code, _, error) = run(&["publish", "ann", "presence", "--if-match", &tag, "--withdraw"]);
    assert!(code == 1 && error.contains("No such version"), "{error}");
    assert_eq!(run(&["publish", "ann", "presence"]).0, 2, "nothing to say");
    assert_eq!(run(&["get", "ann", "--url", "http://127.0.0.1:9"]).0, 69);
}

/// OP-02: the directory is read again at SIGHUP, and a file with mistakes changes nothing.
#[test]
fn groups_come_from_a_file() {
    let file = crate::gateway::file("directory.toml", "[groups]\ndesk = [\"ann\"]\n");
    let mut gateway = Gateway::start(&format!("web.directory = {:?}\n", file.display().to_string()));
    ask(&gateway, "PUT", "/v1/state/ann/presence", &["Content-Type: application/json"], "{\"basic\":\"open\"}")
        .expect(201);
    let list = ask(&gateway, "GET", "/v1/state?r=group:desk", &[], "").expect(200).json();
    assert_eq!(list["items"][0]["r"], ANN);
    std::fs::write(&file, "[groups]\ndesk = 7\n").unwrap();
    gateway.signal("HUP");
    gateway.until("refuses the file", |gateway| gateway.log().contains("was not taken over"));
    std::fs::write(&file, "[groups]\nfront = [\"ann\", \"bob\"]\n").unwrap();
    gateway.signal("HUP");
    gateway.until("has read the file", |gateway| gateway.get("/v1/groups/front").0 == 200);
    assert_eq!(gateway.get("/v1/groups/desk").0, 404);
    std::fs::remove_file(file).unwrap();
}

/// A command that runs on, and the lines that it writes; ended when dropped.
struct Follower(Child, mpsc::Receiver<String>);

impl Follower {
    fn start(gateway: &Gateway, arguments: &[&str]) -> Self {
        let mut command = lamplighter();
        command.args(arguments).env("LAMPLIGHTER_URL", format!("http://{}", gateway.web)).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (lines, written) = mpsc::channel();
        let from = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || from.lines().map_while(Result::ok).all(|line| lines.send(line).is_ok()));
        Self(child, written)
    }

    fn line(&self, within: Duration) -> Option<String> {
        self.1.recv_timeout(within).ok()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// PD-17, PU-12: an address is traced live, over HTTP and on the command line: a PUBLISH, what came of it, the NOTIFY
/// that followed, and its answer.
#[test]
fn an_address_is_traced_live() {
    let gateway = Gateway::start("");
    let (mut phone, mut watcher) = (Phone::udp(&gateway, "ann"), Phone::udp(&gateway, "bob"));
    watcher.subscribe(ANN, "dialog", 600);
    let mut browser = Browser::listens(&gateway, "/v1/trace?r=ann");
    let tag = phone.publish_call(ANN, None, "c1", "early");
    watcher.notify();
    let mut told = Vec::new();
    browser.until(|event| {
        assert_eq!(event["resource"], ANN);
        assert!(event["at"].as_u64() > Some(1_700_000_000_000), "{event}");
        told.push(format!("{}: {}", event["what"].as_str().unwrap(), event["detail"].as_str().unwrap()));
        event["what"] == "notify answered"
    });
    let place = |begin: &str, part: &str| {
        let found = told.iter().position(|line| line.starts_with(begin) && line.contains(part));
        found.unwrap_or_else(|| panic!("no `{begin}` with `{part}` in {told:#?}"))
    };
    let published = place("published: ", "dialog by ");
    place("request: ", &format!("PUBLISH (dialog) from UDP {}: 200", phone.local));
    let notify = place("notify: ", "sip:bob@example.com");
    let answered = place("notify answered: ", "200 from");
    assert!(published < notify && notify < answered, "{told:#?}");

    // The command says nothing until something happens, so something happens until it does.
    let follower = Follower::start(&gateway, &["trace", "ann"]);
    let (end, mut tag, mut line) = (Instant::now() + PATIENCE, tag, None);
    while line.is_none() {
        assert!(Instant::now() < end, "nothing is told");
        for state in ["confirmed", "early"] {
            tag = phone.publish_call(ANN, Some(&tag), "c1", state);
            watcher.notify();
        }
        line = follower.line(Duration::from_millis(200));
    }
    let mut told = vec![line.unwrap()];
    while !["PUBLISH (dialog)", "  notify  CSeq ", "  notify answered  200 from"]
        .iter()
        .all(|part| told.iter().any(|line| line.contains(part)))
    {
        told.push(follower.line(PATIENCE).unwrap_or_else(|| panic!("only {told:#?}")));
    }
}

/// OP-01: who runs the gateway sees who is connected to the feed, and closes a connection.
#[test]
fn a_connection_is_listed_and_closed() {
    let mut gateway = Gateway::start("");
    let connections = |gateway: &Gateway| ask(gateway, "GET", "/v1/connections", &[], "").expect(200).json();
    assert_eq!(connections(&gateway), json!({"connections": []}));
    let (mut feed, _) = Feed::open(&gateway);
    feed.ask(&json!({"t": "sub", "id": 2, "sub": "main", "r": ["ann"]}));
    feed.snapshot();
    Phone::udp(&gateway, "ann").publish_call(ANN, None, "c1", "early");
    feed.until(|item| item["state"]["lamp"] == "ringing");
    gateway.until("sees that the client has everything", |gateway| {
        let row = &connections(gateway)["connections"][0];
        row["client"] == "story/1" && row["subscriptions"] == 1 && row["rev"].as_u64() > Some(0) && row["lag"] == 0
    });
    let id = connections(&gateway)["connections"][0]["id"].to_string();
    let unknown = ask(&gateway, "DELETE", "/v1/connections/999", &[], "").expect(404).json();
    assert_eq!(unknown["type"], "/problems/not-found");
    assert!(unknown["instance"].as_str().unwrap().starts_with("/problems/not-found#"), "{unknown}");
    ask(&gateway, "DELETE", &format!("/v1/connections/{id}"), &[], "").expect(204);
    assert_eq!(feed.closed(), 4403);
    drop(feed);
    gateway.until("has forgotten the connection", |gateway| connections(gateway) == json!({"connections": []}));
}

/// WS-02: with an API key one sees what it grants, in the view that it grants, over HTTP, in the feed and on the command
/// line; without one, nothing.
#[test]
fn an_api_key_opens_what_it_grants() {
    let arguments = ["token", "key", "--name=lobby", "--read=sip:*@example.com", "--kinds=dialog", "--view=masked"];
    let output = lamplighter().args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (key, entry) = text.split_once("This belongs into the configuration:").unwrap();
    let key = key.lines().map(str::trim).find(|line| line.starts_with("lk_")).unwrap();
    let mut gateway = Gateway::start(entry);
    let bearer = format!("Authorization: Bearer {key}");

    let document = dialog_info(ANN, "c1", "early").replace("sip:ann@example.org", "sip:+441632960567@example.org");
    let headers = ["Expires: 600", "Content-Type: application/dialog-info+xml"];
    let mut phone = Phone::udp(&gateway, "ann");
    phone.publish(ANN, "dialog", &headers, &document).expect(200);
    let state = "/v1/state/ann/dialog";
    let ask = |method: &str, path: &str, headers: &[&str], body: &str| ask(&gateway, method, path, headers, body);
    let refused = ask("GET", state, &[], "").expect(401);
    assert!(refused.header("WWW-Authenticate").starts_with("Bearer") && !refused.body.contains("ringing"));
    assert_eq!(refused.json()["type"], "/problems/unauthenticated");
    let wrong = format!("Authorization: Bearer lk_{}", "a".repeat(key.len() - 3));
    assert_eq!(ask("GET", state, &[&wrong], "").expect(401).json()["type"], "/problems/token-invalid");

    let (mut feed, hello) = Feed::signed(&gateway, Some(key));
    assert_eq!(hello["principal"], "lobby");
    feed.ask(&json!({"t": "sub", "id": 2, "sub": "main", "r": ["ann"]}));
    let (items, _) = feed.snapshot();
    let masked = |item: &Value| {
        let text = item.to_string();
        assert_eq!(item["state"]["lamp"], "ringing", "{text}");
        assert!(text.contains("567") && !text.contains("960567") && !text.contains("Ann Lee"), "{text}");
    };
    // The phone may be ahead of the readers.
    match items.first() {
        Some(item) => masked(item),
        None => masked(&feed.until(|item| item["k"] == "dialog").0),
    }
    masked(&ask("GET", state, &[&bearer], "").expect(200).json());
    ask("GET", "/v1/state/ann/presence", &[&bearer], "").expect(404);
    let publish = ask("PUT", "/v1/state/ann/dialog", &[&bearer, "Content-Type: application/json"], "{}").expect(403);
    assert_eq!(publish.json()["type"], "/problems/forbidden");
    ask("GET", "/v1/connections", &[&bearer], "").expect(403);

    let get = |token: Option<&str>| {
        let mut command = lamplighter();
        command.args(["get", "ann", "--json"]).env("LAMPLIGHTER_URL", format!("http://{}", gateway.web));
        command.envs(token.map(|token| ("LAMPLIGHTER_TOKEN", token))).output().unwrap()
    };
    assert!(String::from_utf8(get(Some(key)).stdout).unwrap().contains("ringing"));
    assert_eq!(get(None).status.code(), Some(1));
    assert!(!gateway.log().contains(key), "keys are not logged");
    gateway.signal("TERM");
    assert_eq!(feed.closed(), 1001);
    assert!(gateway.wait().success());
}

/// OP-01: an address of another domain in the directory is found before the gateway is started.
#[test]
fn check_reads_the_directory() {
    let directory = crate::gateway::file("foreign.toml", "[groups]\ndesk = [\"ann\", \"ann@elsewhere.org\"]\n");
    let text = format!(
        "domains = [\"example.com\"]\nstore.path = \"\"\nweb.directory = {:?}\n",
        directory.display().to_string()
    );
    let file = crate::gateway::file("check-directory.toml", &text);
    let check = || lamplighter().arg("check").arg("--config").arg(&file).output().unwrap();
    let output = check();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("web.directory") && text.contains("/groups/desk/1"), "{text}");
    std::fs::write(&directory, "[groups]\ndesk = [\"ann\"]\n").unwrap();
    assert!(check().status.success());
    std::fs::remove_file(file).unwrap();
    std::fs::remove_file(directory).unwrap();
}
