//! A presence server of a few lines that does what the story says, however wrong that is.

use crate::gateway::{PATIENCE, own_address};
use crate::phone::{Message, dialog_info};
use std::collections::{HashSet, VecDeque};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// A server on UDP. It answers nothing by itself.
pub struct Server {
    socket: UdpSocket,
    /// Where it is.
    pub address: SocketAddr,
    waiting: VecDeque<Request>,
    seen: HashSet<String>,
    branches: u32,
}

/// A request of the gateway's.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it says.
    pub message: Message,
    from: SocketAddr,
}

/// A subscription that it has granted, or claims to have.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The newest request.
    pub subscribe: Request,
    /// The CSeq of the last NOTIFY.
    pub cseq: u32,
    /// The server's tag.
    pub tag: String,
    /// The value of Subscription-State; empty: none is sent.
    pub state: String,
}

impl Server {
    /// A server on an address of its own.
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from((own_address(), 5060)))
    }

    /// A server where another one has been, or will be.
    pub fn start_at(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        Self { socket, address, waiting: VecDeque::new(), seen: HashSet::new(), branches: 0 }
    }

    /// The URI of an outbound proxy that brings requests here.
    pub fn uri(&self) -> String {
        format!("sip:{}", self.address)
    }

    fn read(&mut self, end: Instant) -> Option<Request> {
        let mut buffer = vec![0; 65536];
        loop {
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let message = Message::read(&String::from_utf8_lossy(&buffer[..length]));
                    return Some(Request { message, from });
                }
                // The gateway may have been stopped meanwhile: an ICMP message says so.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next request, retransmissions included.
    pub fn any_within(&mut self, wait: Duration) -> Option<Request> {
        let end = Instant::now() + wait;
        loop {
            let request = self.waiting.pop_front().or_else(|| self.read(end))?;
            if request.message.status() == 0 {
                return Some(request);
            }
        }
    }

    /// The next request that is not there for another time, if one comes in time.
    pub fn request_within(&mut self, wait: Duration) -> Option<Request> {
        let end = Instant::now() + wait;
        loop {
            let request = self.any_within(end.saturating_duration_since(Instant::now()))?;
            if self.seen.insert(request.message.header("Via").to_owned()) {
                return Some(request);
            }
        }
    }

    /// The next new request, which must have this method.
    #[track_caller]
    pub fn request(&mut self, method: &str) -> Request {
        let request = self.request_within(PATIENCE * 2).unwrap_or_else(|| panic!("no {method}"));
        assert!(request.message.start.starts_with(&format!("{method} ")), "no {method}: {:#?}", request.message);
        request
    }

    /// An answer in good order, to be spoiled or sent.
    pub fn answer_text(&self, request: &Request, status: &str, headers: &[&str]) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            let value = request.message.header(name);
            let tag = if name == "To" && !value.contains(";tag=") { ";tag=there" } else { "" };
            text += &format!("{name}: {value}{tag}\r\n");
        }
        headers.iter().for_each(|line| text += &format!("{line}\r\n"));
        text + "Content-Length: 0\r\n\r\n"
    }

    /// Answers a request.
    pub fn answer(&self, request: &Request, status: &str, headers: &[&str]) {
        self.send_to(self.answer_text(request, status, headers).as_bytes(), request);
    }

    /// Sends bytes to where a request came from.
    pub fn send_to(&self, bytes: &[u8], request: &Request) {
        self.socket.send_to(bytes, request.from).unwrap();
    }

    /// What follows from a 200 to this request.
    pub fn granted(&self, subscribe: Request) -> Granted {
        Granted { subscribe, cseq: 0, tag: "there".into(), state: "active;expires=600".into() }
    }

    /// Grants the next SUBSCRIBE for so many seconds.
    #[track_caller]
    pub fn grant(&mut self, expires: u32) -> Granted {
        let subscribe = self.request("SUBSCRIBE");
        self.answer(&subscribe, "200 OK", &[&format!("Expires: {expires}"), &self.contact()]);
        Granted { state: format!("active;expires={expires}"), ..self.granted(subscribe) }
    }

    /// Grants what comes in a dialog that stands: a refresh, or the wish to leave it.
    #[track_caller]
    pub fn refresh(&mut self, granted: &mut Granted, expires: u32) {
        let subscribe = self.request("SUBSCRIBE");
        assert_eq!(subscribe.message.header("Call-ID"), granted.subscribe.message.header("Call-ID"));
        self.answer(&subscribe, "200 OK", &[&format!("Expires: {expires}"), &self.contact()]);
        (granted.subscribe, granted.state) = (subscribe, format!("active;expires={expires}"));
    }

    /// Contact of this server.
    pub fn contact(&self) -> String {
        format!("Contact: <{}>", self.uri())
    }

    /// The next NOTIFY of a subscription, to be spoiled or sent.
    pub fn notify_text(&mut self, granted: &mut Granted, content_type: &str, body: &str) -> String {
        granted.cseq += 1;
        self.branches += 1;
        let Granted { subscribe: Request { message: call, .. }, cseq, tag, state } = &*granted;
        let state = if state.is_empty() { String::new() } else { format!("Subscription-State: {state}\r\n") };
        let kind = if body.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
        let from = call.header("To").split(";tag=").next().unwrap();
        format!(
            "NOTIFY {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{}x{}\r\nMax-Forwards: 70\r\nFrom: {from};tag={tag}\r\n\
             To: {}\r\nCall-ID: {}\r\nCSeq: {cseq} NOTIFY\r\nEvent: {}\r\n{state}{}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            call.header("Contact").trim_matches(['<', '>']),
            self.address,
            self.branches,
            call.header("Call-ID"),
            call.header("From"),
            call.header("Call-ID"),
            call.header("Event"),
            self.contact(),
            body.len()
        )
    }

    /// Sends a request until its answer comes; gives the status. Requests that come meanwhile wait.
    #[track_caller]
    pub fn exchange(&mut self, text: &str, granted: &Granted) -> u16 {
        let branch = |text: &str| Some(text.split_once("branch=")?.1.split([';', '\r']).next()?.to_owned());
        let (wanted, end) = (branch(text), Instant::now() + PATIENCE);
        while Instant::now() < end {
            self.send_to(text.as_bytes(), &granted.subscribe);
            let again = Instant::now() + Duration::from_millis(500);
            while let Some(got) = self.read(again) {
                match got.message.status() {
                    0 => self.waiting.push_back(got),
                    status if got.message.all("Via").first().and_then(|via| branch(via)) == wanted => return status,
                    _ => {}
                }
            }
        }
        panic!("no answer to {text}");
    }

    /// Says this body; gives the status of the answer.
    #[track_caller]
    pub fn notify(&mut self, granted: &mut Granted, content_type: &str, body: &str) -> u16 {
        let text = self.notify_text(granted, content_type, body);
        self.exchange(&text, granted)
    }

    /// Says that there is a call in this state.
    #[track_caller]
    pub fn say(&mut self, granted: &mut Granted, call: &str) {
        let (body, version) = (dialog_info("sip:1001@example.com", "c1", call), granted.cseq);
        let body = body.replace("version=\"0\"", &format!("version=\"{version}\""));
        assert_eq!(self.notify(granted, "application/dialog-info+xml", &body), 200);
    }
}
