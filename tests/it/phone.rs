//! A phone of a few lines that speaks SIP as text, over UDP or TCP, and believes nothing that it has not read.

use crate::gateway::{Gateway, PATIENCE};
use std::collections::{HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A request or response.
#[derive(Clone, Debug)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Names as written, and values.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: String,
}

impl Message {
    /// Reads a datagram.
    pub fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no empty line in {text:?}"));
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
            (name.to_owned(), value.trim().to_owned())
        };
        let message = Self { start, headers: lines.map(header).collect(), body: body.to_owned() };
        assert_eq!(message.header("Content-Length"), body.len().to_string(), "{text}");
        message
    }

    /// The values of a header, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a header that must be there once.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        match self.all(name)[..] {
            [value] => value,
            ref values => panic!("{} times {name} in {self:#?}", values.len()),
        }
    }

    /// The status of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        self.start.strip_prefix("SIP/2.0 ").map_or(0, |rest| rest[..3].parse().unwrap())
    }

    /// Itself, if it is a response with this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status(), status, "{self:#?}");
        self
    }

    /// The number in CSeq.
    pub fn cseq(&self) -> u32 {
        self.header("CSeq").split(' ').next().unwrap().parse().unwrap()
    }

    /// The state of the subscription without its parameters, and seconds left.
    pub fn subscription_state(&self) -> (&str, Option<u32>) {
        let value = self.header("Subscription-State");
        let expires = parameter(value, "expires").map(|text| text.parse().unwrap());
        (value.split(';').next().unwrap(), expires)
    }

    /// The value of an attribute or element that must be in the XML body once, such as `version` or `state`.
    #[track_caller]
    pub fn xml(&self, name: &str) -> &str {
        match self.xml_all(name)[..] {
            [value] => value,
            ref values => panic!("{} times {name} in {self:#?}", values.len()),
        }
    }

    /// The values of all attributes and elements with this name, without regard to a namespace prefix.
    pub fn xml_all(&self, name: &str) -> Vec<&str> {
        let mut found = Vec::new();
        for tag in self.body.split('<').skip(1).filter(|tag| !tag.starts_with(['?', '/', '!'])) {
            let (inside, text) = tag.split_once('>').unwrap();
            let local = inside.split([' ', '/', '\n', '\r', '\t']).next().unwrap().rsplit(':').next().unwrap();
            if local == name && !inside.ends_with('/') {
                found.push(text);
            }
            let attribute = |quote: char| {
                let (before, after) = inside.split_once(&format!("{name}={quote}"))?;
                before.ends_with([' ', '\n', '\r', '\t', ':']).then(|| after.split(quote).next().unwrap())
            };
            found.extend(attribute('"').or_else(|| attribute('\'')));
        }
        found
    }

    /// How many elements with this name there are.
    pub fn elements(&self, name: &str) -> usize {
        let named =
            |tag: &&str| tag.split([' ', '/', '>', '\n', '\r']).next().unwrap().rsplit(':').next() == Some(name);
        self.body.split('<').skip(1).filter(named).count()
    }
}

/// A parameter of a header value.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|one| one.trim().strip_prefix(name)?.strip_prefix('='))
}

/// A value that no other has.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{:x}t{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

impl Link {
    /// The next message, if one comes before `end`.
    fn receive(&mut self, end: Instant) -> Option<Message> {
        let mut buffer = vec![0; 65536];
        loop {
            let wait = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let got = match self {
                Self::Udp(socket) => {
                    socket.set_read_timeout(Some(wait)).unwrap();
                    socket.recv(&mut buffer)
                }
                Self::Tcp(stream, pending) => {
                    if let Some(length) = framed(pending) {
                        let message: Vec<u8> = pending.drain(..length).collect();
                        return Some(Message::read(std::str::from_utf8(&message).unwrap()));
                    }
                    stream.set_read_timeout(Some(wait)).unwrap();
                    stream.read(&mut buffer)
                }
            };
            match (got, &mut *self) {
                (Ok(0), Self::Tcp(..)) => return None,
                (Ok(length), Self::Udp(_)) => {
                    return Some(Message::read(std::str::from_utf8(&buffer[..length]).unwrap()));
                }
                (Ok(length), Self::Tcp(_, pending)) => pending.extend_from_slice(&buffer[..length]),
                (Err(error), _) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= end {
                        return None;
                    }
                }
                (Err(error), _) => panic!("{error}"),
            }
        }
    }
}

/// The length of the whole message that `bytes` begins with, if all of it is there.
fn framed(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap();
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length:")).expect("a Content-Length");
    let whole = head + length.trim().parse::<usize>().unwrap();
    (bytes.len() >= whole).then_some(whole)
}

/// One side of a dialog, or of a request that may make one.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Request-URI of what we send.
    pub target: String,
    /// Our From, with its tag.
    pub from: String,
    /// Our To, with its tag once it is known.
    pub to: String,
    /// Call-ID.
    pub call_id: String,
    /// The number of our latest request.
    pub cseq: u32,
    /// Route headers of what we send.
    pub route: Vec<String>,
    /// The Event header.
    pub event: String,
}

/// A user agent on a socket of its own.
pub struct Phone {
    link: Link,
    gateway: SocketAddr,
    /// Its own address.
    pub local: SocketAddr,
    /// `sip:user@domain`.
    pub uri: String,
    /// The value of User-Agent.
    pub user_agent: String,
    waiting: VecDeque<Message>,
    seen: HashSet<(String, u32)>,
}

impl Phone {
    /// A phone on UDP.
    pub fn udp(gateway: &Gateway, user: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(gateway.sip).unwrap();
        let local = socket.local_addr().unwrap();
        Self::new(gateway, Link::Udp(socket), local, user)
    }

    /// A phone on a TCP connection.
    pub fn tcp(gateway: &Gateway, user: &str) -> Self {
        let stream = TcpStream::connect(gateway.sip).unwrap();
        stream.set_nodelay(true).unwrap();
        let local = stream.local_addr().unwrap();
        Self::new(gateway, Link::Tcp(stream, Vec::new()), local, user)
    }

    fn new(gateway: &Gateway, link: Link, local: SocketAddr, user: &str) -> Self {
        Self {
            link,
            gateway: gateway.sip,
            local,
            uri: format!("sip:{user}@example.com"),
            user_agent: "Story/1".into(),
            waiting: VecDeque::new(),
            seen: HashSet::new(),
        }
    }

    fn transport(&self) -> &'static str {
        match self.link {
            Link::Udp(_) => "UDP",
            Link::Tcp(..) => "TCP",
        }
    }

    /// What we write into Contact.
    pub fn contact(&self) -> String {
        let user = self.uri.trim_start_matches("sip:").split('@').next().unwrap();
        match self.link {
            Link::Udp(_) => format!("<sip:{user}@{}>", self.local),
            Link::Tcp(..) => format!("<sip:{user}@{};transport=tcp>", self.local),
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        match &mut self.link {
            Link::Udp(socket) => assert_eq!(socket.send(bytes).unwrap(), bytes.len()),
            Link::Tcp(stream, _) => stream.write_all(bytes).unwrap(),
        }
    }

    /// A dialog that is about to begin with `resource`.
    pub fn dialog(&self, resource: &str, event: &str) -> Dialog {
        Dialog {
            target: resource.into(),
            from: format!("<{}>;tag={}", self.uri, unique()),
            to: format!("<{resource}>"),
            call_id: unique(),
            cseq: 0,
            route: Vec::new(),
            event: event.into(),
        }
    }

    /// The text of the next request in a dialog, and its branch.
    pub fn request(&self, method: &str, dialog: &mut Dialog, headers: &[&str], body: &str) -> (String, String) {
        let (branch, transport, local) = (format!("z9hG4bK{}", unique()), self.transport(), self.local);
        let Dialog { target, from, to, call_id, cseq, route, event } = dialog;
        *cseq += 1;
        let mut text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nUser-Agent: {}\r\n",
            self.user_agent
        );
        let event = if event.is_empty() { String::new() } else { format!("Event: {event}") };
        let route = route.iter().map(|one| format!("Route: {one}"));
        for line in route.chain([event]).filter(|line| !line.is_empty()) {
            text += &format!("{line}\r\n");
        }
        for line in headers {
            text += &format!("{line}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        (text, branch)
    }

    /// Sends a request and waits for its final answer; sends it again over UDP as a phone would.
    pub fn ask(&mut self, method: &str, dialog: &mut Dialog, headers: &[&str], body: &str) -> Message {
        let (text, branch) = self.request(method, dialog, headers, body);
        self.exchange(&text, &branch)
    }

    /// Sends the text of a request and waits for the final answer to this branch.
    #[track_caller]
    pub fn exchange(&mut self, text: &str, branch: &str) -> Message {
        let end = Instant::now() + PATIENCE;
        self.send(text.as_bytes());
        let mut again = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            match self.link.receive(again.min(end)) {
                Some(message) if message.status() == 0 => self.waiting.push_back(message),
                Some(message) if parameter(message.all("Via")[0], "branch") == Some(branch) => return message,
                Some(_) => {}
                None => {
                    if matches!(self.link, Link::Udp(_)) {
                        self.send(text.as_bytes());
                    }
                    again = Instant::now() + Duration::from_millis(500);
                }
            }
        }
        panic!("no answer to {text}");
    }

    /// The next message that is not an answer awaited elsewhere.
    #[track_caller]
    pub fn receive(&mut self) -> Message {
        self.receive_within(PATIENCE).expect("a message")
    }

    /// The next message, if one comes in time.
    pub fn receive_within(&mut self, wait: Duration) -> Option<Message> {
        self.waiting.pop_front().or_else(|| self.link.receive(Instant::now() + wait))
    }

    /// The next new request; one that was sent again is not new.
    #[track_caller]
    fn notified(&mut self, status: &str, headers: &[&str]) -> Message {
        loop {
            let message = self.receive();
            if message.status() != 0 {
                continue;
            }
            assert!(message.start.starts_with("NOTIFY "), "{message:#?}");
            self.answer(&message, status, headers);
            if self.seen.insert((message.header("Call-ID").to_owned(), message.cseq())) {
                return message;
            }
        }
    }

    /// Answers a request.
    pub fn answer(&mut self, request: &Message, status: &str, headers: &[&str]) {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            for value in request.all(name) {
                text += &format!("{name}: {value}\r\n");
            }
        }
        for line in headers {
            text += &format!("{line}\r\n");
        }
        text += "Content-Length: 0\r\n\r\n";
        self.send(text.as_bytes());
    }

    /// Waits for a NOTIFY and answers 200.
    #[track_caller]
    pub fn notify(&mut self) -> Message {
        self.notified("200 OK", &[])
    }

    /// Waits for a NOTIFY and answers this.
    #[track_caller]
    pub fn notify_answered(&mut self, status: &str, headers: &[&str]) -> Message {
        self.notified(status, headers)
    }

    /// Subscribes for some seconds and reads the first NOTIFY.
    #[track_caller]
    pub fn subscribe(&mut self, resource: &str, event: &str, expires: u32) -> (Dialog, Message) {
        let mut dialog = self.dialog(resource, event);
        self.refresh(&mut dialog, expires).expect(200);
        (dialog, self.notify())
    }

    /// Sends SUBSCRIBE in a dialog; the first one learns the tag of the other side.
    #[track_caller]
    pub fn refresh(&mut self, dialog: &mut Dialog, expires: u32) -> Message {
        let contact = format!("Contact: {}", self.contact());
        let answer = self.ask("SUBSCRIBE", dialog, &[&contact, &format!("Expires: {expires}")], "");
        if answer.status() == 200 {
            dialog.to = answer.header("To").to_owned();
            let contact = answer.header("Contact");
            dialog.target = contact.trim_start_matches('<').split('>').next().unwrap().to_owned();
        }
        answer
    }

    /// Publishes; `headers` say the rest.
    #[track_caller]
    pub fn publish(&mut self, resource: &str, event: &str, headers: &[&str], body: &str) -> Message {
        let mut dialog = self.dialog(resource, event);
        self.ask("PUBLISH", &mut dialog, headers, body)
    }

    /// Publishes the state of a call and returns the entity-tag; `tag` names an earlier publication to replace.
    #[track_caller]
    pub fn publish_call(&mut self, resource: &str, tag: Option<&str>, id: &str, state: &str) -> String {
        let condition = tag.map(|tag| format!("SIP-If-Match: {tag}"));
        let mut headers = vec!["Expires: 600", "Content-Type: application/dialog-info+xml"];
        headers.extend(condition.as_deref());
        let answer = self.publish(resource, "dialog", &headers, &dialog_info(resource, id, state));
        answer.expect(200).header("SIP-ETag").to_owned()
    }

    /// The gateway's address, as a URI that a phone may use instead of the domain.
    pub fn gateway_uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.gateway)
    }
}

/// A dialog document with one call.
pub fn dialog_info(entity: &str, id: &str, state: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\r\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" state=\"full\" \
         entity=\"{entity}\">\r\n<dialog id=\"{id}\" call-id=\"{id}@story\" local-tag=\"l{id}\" remote-tag=\"r{id}\" \
         direction=\"recipient\"><state>{state}</state><remote><identity display=\"Ann Lee\">sip:ann@example.org\
         </identity></remote></dialog>\r\n</dialog-info>\r\n"
    )
}

/// A presence document with one device.
pub fn pidf(entity: &str, tuple: &str, basic: &str, note: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"{entity}\">\r\n\
         <tuple id=\"{tuple}\"><status><basic>{basic}</basic></status><note xml:lang=\"en\">{note}</note></tuple>\r\n\
         </presence>\r\n"
    )
}
