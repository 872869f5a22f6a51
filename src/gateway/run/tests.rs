use super::*;
use crate::config;
use lamplighter_model::Counter;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};

pub(super) fn settings(shards: u8, listen: &[&str]) -> RunSettings {
    let listen = listen.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(",");
    let sets = ["domains=[\"example.com\"]".to_owned(), format!("sip.listen=[{listen}]")];
    let loaded = config::Settings::load(None, &sets).unwrap();
    let mut config = loaded.to_model(0, shards).unwrap();
    for listener in &mut config.listeners {
        // Settings want a port; tests take any.
        listener.address.set_port(0);
        listener.advertise = format!("{}:0", listener.address.ip()).into();
    }
    RunSettings {
        remote: remote::Plan::default(),
        name_servers: Vec::new(),
        config,
        web: web::Config { listen: "127.0.0.1:0".parse().unwrap(), ..web::Config::default() },
        store: lamplighter_adapter_store::Config { path: None, ..Default::default() },
        workers: 1,
        secret: [7; 32],
        epoch: "test".into(),
        patience: Duration::from_secs(2),
    }
}

pub(super) const BOTH: [&str; 2] = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"];

pub(super) struct Phone(pub(super) UdpSocket);

impl Phone {
    pub(super) fn new(gateway: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(gateway).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self(socket)
    }

    fn hear(&self) -> String {
        let mut buffer = [0; 65536];
        let length = self.0.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    pub(super) fn ask(&self, request: &str) -> String {
        self.0.send(request.as_bytes()).unwrap();
        self.hear()
    }

    pub(super) fn answer(&self, request: &str) {
        self.0.send(ok(request).as_bytes()).unwrap();
    }
}

pub(super) fn ok(request: &str) -> String {
    let keep = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = request.lines().filter(|line| keep.iter().any(|name| line.starts_with(name)));
    let lines: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("SIP/2.0 200 OK\r\n{lines}Content-Length: 0\r\n\r\n")
}

pub(super) fn request(method: &str, user: &str, from: SocketAddr, transport: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} sip:{user}@example.com SIP/2.0\r\nVia: SIP/2.0/{transport} {from};branch=z9hG4bK{method}{user};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{user}@example.com>;tag=a\r\nTo: <sip:{user}@example.com>\r\n\
         Call-ID: {method}-{user}@{from}\r\nCSeq: 1 {method}\r\nContact: <sip:{user}@{from};transport={transport}>\r\n\
         {more}Content-Length: {length}\r\n\r\n{body}"
    )
}

pub(super) fn subscribe(user: &str, from: SocketAddr, transport: &str) -> String {
    request("SUBSCRIBE", user, from, transport, "Event: presence\r\nExpires: 600\r\n", "")
}

pub(super) fn publish(user: &str, from: SocketAddr) -> String {
    let pidf = format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:{user}@example.com\"><tuple id=\"t\"><status>\
         <basic>open</basic></status></tuple></presence>"
    );
    let more = "Event: presence\r\nExpires: 600\r\nContent-Type: application/pidf+xml\r\n";
    request("PUBLISH", user, from, "UDP", more, &pidf)
}

#[test]
fn one_port_for_datagrams_streams_and_answers() {
    let gateway = start(settings(1, &BOTH)).unwrap();
    assert_eq!(gateway.sip[0].1, gateway.sip[1].1);
    let phone = Phone::new(gateway.sip[0].1);
    let own = phone.0.local_addr().unwrap();
    let answer = phone.ask(&request("OPTIONS", "100", own, "UDP", "", ""));
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    gateway.stop();
}

#[test]
fn as_many_files_as_may_be_can_be_open() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft - 1, hard).unwrap();
    start(settings(1, &BOTH)).unwrap().stop();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
}

#[test]
fn a_port_in_use_is_named() {
    let gateway = start(settings(2, &BOTH)).unwrap();
    let mut second = settings(2, &BOTH);
    for listener in &mut second.config.listeners {
        listener.address = gateway.sip[0].1;
    }
    let error = start(second).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "sip.listen udp:{}: address in use: another program, or another Lamplighter, has this port",
            gateway.sip[0].1
        )
    );
    let mut third = settings(1, &BOTH);
    third.web.listen = gateway.web;
    assert!(start(third).err().unwrap().to_string().starts_with("web.listen 127.0.0.1:"));
    gateway.stop();
}

/// Whatever shard gets a datagram, the right one answers and every watcher learns the state.
#[test]
fn watchers_learn_from_any_shard() {
    for shards in [1, 2, 3] {
        // Nobody is there any more to be told about the stop.
        let patience = Duration::from_millis(1);
        let gateway = start(RunSettings { patience, ..settings(shards, &BOTH) }).unwrap();
        let address = gateway.sip[0].1;
        for number in 100..140 {
            let (watcher, publisher) = (Phone::new(address), Phone::new(address));
            let user = number.to_string();
            let answer = watcher.ask(&subscribe(&user, watcher.0.local_addr().unwrap(), "UDP"));
            assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
            let first = watcher.hear();
            assert!(first.starts_with("NOTIFY "), "{first}");
            watcher.answer(&first);
            let answer = publisher.ask(&publish(&user, publisher.0.local_addr().unwrap()));
            assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
            let second = watcher.hear();
            assert!(second.contains("<basic>open</basic>"), "{second}");
            watcher.answer(&second);
        }
        let total = |what| gateway.counters().iter().map(|one| one.get(what)).sum::<u64>();
        assert_eq!(total(Counter::Published), 40);
        assert_eq!(total(Counter::ForwardDropped), 0);
        assert_eq!(total(Counter::Forwarded) > 0, shards > 1);
        gateway.stop();
    }
}

struct Stream(TcpStream, Vec<u8>);

impl Stream {
    fn hear(&mut self) -> String {
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8(self.1.clone()).unwrap();
            if let Some(head) = text.find("\r\n\r\n").map(|at| at + 4) {
                let length = text[..head].lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
                let whole = head + length.trim().parse::<usize>().unwrap();
                if text.len() >= whole {
                    self.1.drain(..whole);
                    return text[..whole].to_owned();
                }
            }
            let count = self.0.read(&mut buffer).unwrap();
            assert!(count > 0, "closed after {text:?}");
            self.1.extend_from_slice(&buffer[..count]);
        }
    }
}

#[test]
fn streams_are_served_by_all_shards() {
    let gateway = start(settings(2, &BOTH)).unwrap();
    let stream = TcpStream::connect(gateway.sip[1].1).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let own = stream.local_addr().unwrap();
    let mut stream = Stream(stream, Vec::new());
    // All at once, and the last one byte by byte.
    let users: Vec<String> = (100..120).map(|number| number.to_string()).collect();
    let texts: Vec<String> = users.iter().map(|user| subscribe(user, own, "TCP")).collect();
    let (last, others) = texts.split_last().unwrap();
    stream.0.write_all(others.concat().as_bytes()).unwrap();
    for byte in last.as_bytes() {
        stream.0.write_all(&[*byte]).unwrap();
    }
    let (mut answers, mut notifies) = (0, 0);
    while answers < users.len() || notifies < users.len() {
        let text = stream.hear();
        if text.starts_with("NOTIFY ") {
            notifies += 1;
            stream.0.write_all(ok(&text).as_bytes()).unwrap();
        } else {
            assert!(text.starts_with("SIP/2.0 200 "), "{text}");
            answers += 1;
        }
    }
    // A change comes down the stream.
    let publisher = Phone::new(gateway.sip[0].1);
    publisher.ask(&publish("110", publisher.0.local_addr().unwrap()));
    let text = stream.hear();
    assert!(text.starts_with("NOTIFY ") && text.contains("<basic>open</basic>"), "{text}");
    gateway.stop();
}

#[test]
fn what_is_no_sip_is_answered_and_closed() {
    let gateway = start(settings(1, &BOTH)).unwrap();
    let stream = TcpStream::connect(gateway.sip[1].1).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let own = stream.local_addr().unwrap();
    let mut stream = Stream(stream, Vec::new());
    let text = request("OPTIONS", "1", own, "TCP", "Content-Length: 5\r\n", "");
    stream.0.write_all(text.as_bytes()).unwrap();
    let answer = stream.hear();
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    assert_eq!(stream.0.read(&mut [0; 16]).unwrap(), 0);
    gateway.stop();
}

#[test]
fn a_stop_tells_the_watchers() {
    let gateway = start(settings(2, &BOTH)).unwrap();
    let phone = Phone::new(gateway.sip[0].1);
    phone.ask(&subscribe("100", phone.0.local_addr().unwrap(), "UDP"));
    phone.answer(&phone.hear());
    let watching = thread::spawn(move || {
        let last = phone.hear();
        phone.answer(&last);
        last
    });
    gateway.stop();
    let last = watching.join().unwrap();
    assert!(last.contains("Subscription-State: terminated;reason=deactivated"), "{last}");
}

#[test]
fn a_reload_reaches_all_shards() {
    let gateway = start(settings(2, &BOTH)).unwrap();
    let phone = Phone::new(gateway.sip[0].1);
    let own = phone.0.local_addr().unwrap();
    let deny = settings(2, &BOTH).config;
    let access =
        lamplighter_model::Access { otherwise: lamplighter_model::access::Action::Deny, ..deny.access.clone() };
    gateway.reload(Config { access, revision: 1, ..deny });
    // Who answers has taken it over.
    for shard in 0..2 {
        let question = lamplighter_model::Command::Explain { resource: "".into() };
        gateway.runtime().block_on(gateway.port().ask(shard, question)).unwrap();
    }
    for user in ["100", "101", "102", "103", "104", "105"] {
        let answer = phone.ask(&subscribe(user, own, "UDP"));
        assert!(answer.starts_with("SIP/2.0 403 "), "{answer}");
    }
    gateway.stop();
}

/// Someone who watches everything and is polite, one who is not, and the health page meanwhile.
#[test]
fn a_stop_with_feed_clients_is_quick_and_not_ready() {
    let gateway = start(settings(2, &BOTH)).unwrap();
    assert!(get(gateway.web, "/readyz").starts_with("HTTP/1.1 200 "));
    let mut feeds: Vec<_> = (0..2).map(|_| feed(gateway.web)).collect();
    let (polite, mut rude) = (feeds.pop().unwrap(), feeds.pop().unwrap());
    let polite = thread::spawn(move || {
        let mut polite = polite;
        let mut said = String::new();
        while let Ok(message) = polite.read() {
            said.push_str(&message.to_string());
        }
        said
    });
    // A watcher that does not answer keeps the gateway waiting, so that it can be asked.
    let phone = Phone::new(gateway.sip[0].1);
    phone.ask(&subscribe("100", phone.0.local_addr().unwrap(), "UDP"));
    phone.answer(&phone.hear());
    let web = gateway.web;
    let stopping = thread::spawn(move || gateway.stop());
    let last = phone.hear();
    assert!(last.contains("terminated;reason=deactivated"), "{last}");
    let health = get(web, "/readyz");
    assert!(health.starts_with("HTTP/1.1 503 ") && health.contains("the gateway is stopping"), "{health}");
    let answered = Clock::start();
    let before = answered.now();
    phone.answer(&last);
    stopping.join().unwrap();
    let took = answered.now().since(before);
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert!(polite.join().unwrap().contains("server_shutdown"));
    assert!(rude.read().unwrap().to_string().contains("server_shutdown"));
}

pub(super) fn get(web: SocketAddr, path: &str) -> String {
    raw(web, format!("GET {path} HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n").as_bytes())
}

/// What the web side answers to these bytes until it closes; empty if it resets.
pub(super) fn raw(web: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(web).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // It may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut text = Vec::new();
    let result = stream.read_to_end(&mut text);
    assert!(result.is_ok() || result.unwrap_err().kind() != io::ErrorKind::WouldBlock, "the server hangs");
    String::from_utf8_lossy(&text).into_owned()
}

pub(super) type Feed = tokio_tungstenite::tungstenite::WebSocket<TcpStream>;

/// A feed client that watches everything.
pub(super) fn feed(web: SocketAddr) -> Feed {
    let stream = TcpStream::connect(web).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut feed, _) = tokio_tungstenite::tungstenite::client(format!("ws://{web}/v1/feed"), stream).unwrap();
    for frame in [r#"{"t":"hello","id":1}"#, r#"{"t":"sub","id":2,"sub":"all","r":["*"]}"#] {
        feed.send(frame.into()).unwrap();
        assert!(feed.read().unwrap().to_string().contains("\"ok\""));
    }
    assert!(feed.read().unwrap().to_string().contains("\"snap\""));
    feed
}
