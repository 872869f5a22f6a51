//! WebSocket, the server's half (RFC 6455).
//!
//! A frame with text is made once, header and all, and the same bytes go to every client: servers do not mask. A client
//! that says nothing costs no buffer: what it sends is read into one on the stack, and kept only while half a frame is
//! there. There are no extensions, so no compression.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// The last frame of a message.
const FIN: u8 = 0x80;
/// The longest header of a frame that is not masked.
const HEAD: usize = 10;
/// The most that a control frame carries (RFC 6455 section 5.5).
const CONTROL: usize = 125;
/// Bytes read at once.
const READ: usize = 4096;

/// What the client says to be sure that it talks to a WebSocket server (RFC 6455 section 4.2.2).
pub(crate) fn accept(key: &[u8]) -> String {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finish())
}

/// A text message on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    wire: Bytes,
    /// Bytes of the header.
    head: usize,
}

impl Text {
    /// Room for the header; the text is to be written behind it.
    pub(crate) fn begin(text: &str) -> String {
        let mut draft = String::with_capacity(512);
        draft.push_str("\0\0\0\0\0\0\0\0\0\0");
        draft.push_str(text);
        draft
    }

    /// The text behind the room that `begin` has made.
    pub(crate) fn seal(draft: String) -> Self {
        let mut bytes = draft.into_bytes();
        let (header, head) = header(TEXT, bytes.len() - HEAD);
        bytes[HEAD - head..HEAD].copy_from_slice(&header[..head]);
        let mut wire = Bytes::from(bytes);
        wire.advance(HEAD - head);
        Self { wire, head }
    }

    pub(crate) fn len(&self) -> usize {
        self.wire.len() - self.head
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.wire[self.head..]
    }

    /// The frame.
    pub(crate) fn wire(&self) -> &Bytes {
        &self.wire
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::seal(Self::begin(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(&*text)
    }
}

/// The header of a whole message, and its length.
fn header(code: u8, length: usize) -> ([u8; HEAD], usize) {
    let mut out = [0; HEAD];
    out[0] = FIN | code;
    let head = match length {
        0..=125 => {
            out[1] = length as u8;
            2
        }
        126..=0xffff => {
            out[1] = 126;
            out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            out[1] = 127;
            out[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    (out, head)
}

/// A control frame; what is beyond its bound is cut off.
fn control(code: u8, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(CONTROL)];
    let (header, head) = header(code, payload.len());
    [&header[..head], payload].concat().into()
}

pub(crate) fn ping() -> Bytes {
    Bytes::from_static(&[FIN | PING, 0])
}

pub(crate) fn pong(payload: &[u8]) -> Bytes {
    control(PONG, payload)
}

pub(crate) fn close(code: u16, reason: &str) -> Bytes {
    control(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// What a client has said.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Message {
    Text(String),
    Binary,
    Ping(Vec<u8>),
    Pong,
    /// With its code, if it names one.
    Close(Option<u16>),
}

/// Why nothing more can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bad {
    /// The connection has ended.
    Gone,
    /// A message is longer than it may be.
    TooLong,
    /// A text is no UTF-8.
    NotUtf8,
    /// What came is no WebSocket.
    Protocol,
}

/// Messages out of bytes. Holds what is there of the message under way, at most `most` bytes of it, and what was read
/// beyond.
#[derive(Debug)]
pub(crate) struct Reader {
    rest: Vec<u8>,
    /// So many bytes of `rest` have been read.
    at: usize,
    /// What has come of a text in several frames.
    parts: Option<Vec<u8>>,
    most: usize,
}

impl Reader {
    pub(crate) fn new(most: usize) -> Self {
        Self { rest: Vec::new(), at: 0, parts: None, most }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.rest.drain(..self.at);
        self.at = 0;
        self.rest.extend_from_slice(bytes);
    }

    /// The next message, if it is whole. Of a binary one the first frame is enough: there is nothing that it could say.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, Bad> {
        loop {
            let Some((code, fin, from, to)) = self.frame()? else { return Ok(None) };
            if self.rest.len() < to {
                return Ok(None);
            }
            let mask = [4, 3, 2, 1].map(|back| self.rest[from - back]);
            let payload = &mut self.rest[from..to];
            payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            let message = match code {
                CLOSE => Some(Message::Close(closing(payload)?)),
                PING => Some(Message::Ping(payload.to_vec())),
                PONG => Some(Message::Pong),
                BINARY => Some(Message::Binary),
                _ => {
                    let mut text = self.parts.take().unwrap_or_default();
                    text.extend_from_slice(payload);
                    match fin {
                        true => Some(Message::Text(String::from_utf8(text).map_err(|_| Bad::NotUtf8)?)),
                        false => {
                            self.parts = Some(text);
                            None
                        }
                    }
                }
            };
            self.at = to;
            // Who is silent afterwards holds no buffer.
            if to == self.rest.len() {
                (self.rest, self.at) = (Vec::new(), 0);
            }
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Whether a frame is there that ends a message.
    fn has_message(&self) -> bool {
        matches!(self.frame(), Ok(Some((_, true, _, to))) if to <= self.rest.len())
    }

    /// The next frame, if its header is whole: its code, whether it is the last of its message, and where its payload
    /// begins and ends (RFC 6455 section 5.2).
    fn frame(&self) -> Result<Option<(u8, bool, usize, usize)>, Bad> {
        let rest = &self.rest[self.at..];
        let &[first, second, ..] = rest else { return Ok(None) };
        let (code, fin) = (first & 0xf, first & FIN != 0);
        let is_control = code & 0x8 != 0;
        let begun = self.parts.is_some();
        let fits = match code {
            0 => begun,
            TEXT | BINARY => !begun,
            CLOSE | PING | PONG => fin && second & 0x7f <= CONTROL as u8,
            _ => false,
        };
        // Bits of extensions that we do not have, and a client that does not mask.
        if !fits || first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Bad::Protocol);
        }
        let (length, wide) = match second & 0x7f {
            126 => match rest.get(2..4) {
                Some(bytes) => (bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)), 2),
                None => return Ok(None),
            },
            127 => match rest.get(2..10) {
                Some(bytes) => (bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)), 8),
                None => return Ok(None),
            },
            short => (u64::from(short), 0),
        };
        let there = self.parts.as_ref().map_or(0, Vec::len);
        if !is_control && length > (self.most - there) as u64 {
            return Err(Bad::TooLong);
        }
        let head = 2 + wide + 4;
        let from = self.at + head;
        Ok((rest.len() >= head).then_some((code, fin, from, from + length as usize)))
    }
}

/// The code of a close frame (RFC 6455 sections 5.5.1 and 7.4).
fn closing(payload: &[u8]) -> Result<Option<u16>, Bad> {
    match *payload {
        [] => Ok(None),
        [_] => Err(Bad::Protocol),
        [high, low, ..] => {
            let code = u16::from_be_bytes([high, low]);
            let fits = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            fits.then_some(Some(code)).ok_or(Bad::Protocol)
        }
    }
}

/// A connection that has been upgraded.
pub(crate) struct Socket {
    stream: TcpStream,
    reader: Reader,
    /// What is to be sent and the kernel has not taken yet.
    unsent: Bytes,
}

impl Socket {
    /// `early`: what came along with the request. `most`: bytes in a message.
    pub(crate) fn new(stream: TcpStream, early: &[u8], most: usize) -> Self {
        let mut reader = Reader::new(most);
        reader.push(early);
        Self { stream, reader, unsent: Bytes::new() }
    }

    /// The next message.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Bad>> {
        loop {
            if let Some(message) = self.reader.next()? {
                return Poll::Ready(Ok(message));
            }
            let mut bytes = [MaybeUninit::uninit(); READ];
            let mut bytes = ReadBuf::uninit(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut bytes)) {
                Ok(()) if !bytes.filled().is_empty() => self.reader.push(bytes.filled()),
                _ => return Poll::Ready(Err(Bad::Gone)),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Message, Bad> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Whether [`Self::next`] need not wait.
    pub(crate) fn has_message(&self) -> bool {
        self.reader.has_message()
    }

    /// Bytes that are to be sent and have not been taken by the kernel.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Puts a frame behind what is to be sent.
    pub(crate) fn push(&mut self, wire: &Bytes) {
        self.unsent = match self.unsent.is_empty() {
            true => wire.clone(),
            false => [&*self.unsent, &**wire].concat().into(),
        };
    }

    /// Hands to the kernel what is to be sent. Says whether that took all of it.
    pub(crate) fn flush(&mut self) -> Result<bool, Bad> {
        while !self.unsent.is_empty() {
            match self.stream.try_write(&self.unsent) {
                Ok(written) if written == self.unsent.len() => self.unsent = Bytes::new(),
                Ok(written) => self.unsent.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(Bad::Gone),
            }
        }
        Ok(true)
    }

    /// Returns when the kernel has taken all that is to be sent.
    pub(crate) async fn flushed(&mut self) -> Result<(), Bad> {
        while !self.flush()? {
            self.stream.writable().await.map_err(|_| Bad::Gone)?;
        }
        Ok(())
    }

    /// Closes, and returns when the client has agreed or is gone, whatever else it says until then.
    pub(crate) async fn close(&mut self, code: u16, reason: &str) {
        self.push(&close(code, reason));
        if self.flushed().await.is_err() {
            return;
        }
        loop {
            match self.next().await {
                Ok(Message::Close(_)) | Err(Bad::Gone) => return,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        // It goes on with what could not be read. If we hung up, it might never see why.
        let mut bytes = [0; 512];
        while self.stream.readable().await.is_ok() {
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of a client; the mask is the one of RFC 6455 section 5.7.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let (mut header, head) = header(0, payload.len());
        (header[0], header[1]) = (first, header[1] | 0x80);
        let mut out = [&header[..head], &mask[..]].concat();
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// What is read when the bytes come in pieces of this length.
    fn read(bytes: &[u8], pieces: usize) -> (Vec<Message>, Option<Bad>) {
        let (mut reader, mut out) = (Reader::new(70_000), Vec::new());
        for piece in bytes.chunks(pieces) {
            reader.push(piece);
            loop {
                let is_there = reader.has_message();
                match reader.next() {
                    Ok(Some(message)) => out.push(message),
                    Ok(None) if is_there => panic!("a message was promised"),
                    Ok(None) => break,
                    Err(bad) => return (out, Some(bad)),
                }
            }
        }
        (out, None)
    }

    fn check(frames: &[Vec<u8>], messages: &[Message], bad: Option<Bad>) {
        let bytes = frames.concat();
        for pieces in [1, 2, 3, 7, 100, bytes.len().max(1)] {
            let (found, end) = read(&bytes, pieces);
            assert_eq!((&*found, end), (messages, bad), "in pieces of {pieces}");
        }
    }

    #[test]
    fn the_key_is_answered_as_in_the_rfc() {
        // RFC 6455 section 1.3
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn messages_are_read_however_they_come() {
        // RFC 6455 section 5.7: "Hello", masked.
        let hello = vec![0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let text = |text: &str| Message::Text(text.into());
        check(std::slice::from_ref(&hello), &[text("Hello")], None);
        check(&[frame(0x81, b""), hello], &[text(""), text("Hello")], None);
        // A ping between the parts of a message, and a letter that is cut in two.
        let parts = [frame(0x01, b"Gr\xc3"), frame(0x89, b"?"), frame(0x00, b"\xbc"), frame(0x80, b"n")];
        check(&parts, &[Message::Ping(b"?".to_vec()), text("Grün")], None);
        for length in [125, 126, 65_535, 65_536] {
            let long = "x".repeat(length);
            check(&[frame(0x81, long.as_bytes())], &[text(&long)], None);
        }
        check(&[frame(0x02, b"\xff"), frame(0x8a, b"")], &[Message::Binary, Message::Pong], None);
        check(&[frame(0x88, b"")], &[Message::Close(None)], None);
        check(&[frame(0x88, b"\x03\xe8bye")], &[Message::Close(Some(1000))], None);
    }

    #[test]
    fn what_breaks_the_rules_ends_it() {
        let long = vec![b'x'; 65_000];
        for (frames, bad) in [
            (vec![frame(0x81, b"\xff\xfe")], Bad::NotUtf8),
            (vec![frame(0x01, b"\xc3"), frame(0x80, b"")], Bad::NotUtf8),
            // Extensions' bits, unknown codes, no mask, a continuation of nothing, a message within a message.
            (vec![frame(0xc1, b"x")], Bad::Protocol),
            (vec![frame(0x83, b"x")], Bad::Protocol),
            (vec![frame(0x8b, b"")], Bad::Protocol),
            (vec![vec![0x81, 0x01, b'x']], Bad::Protocol),
            (vec![frame(0x80, b"x")], Bad::Protocol),
            (vec![frame(0x01, b"x"), frame(0x81, b"y")], Bad::Protocol),
            // Control frames that are long, in parts, or end it in no way there is.
            (vec![frame(0x89, &[0; 126])], Bad::Protocol),
            (vec![frame(0x09, b"")], Bad::Protocol),
            (vec![frame(0x88, b"\x03")], Bad::Protocol),
            (vec![frame(0x88, b"\x03\xed")], Bad::Protocol),
            // Too long at once, in parts, and by far.
            (vec![frame(0x01, &long), frame(0x80, &long)], Bad::TooLong),
            (vec![frame(0x81, &[long.clone(), long.clone()].concat())], Bad::TooLong),
            (vec![vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]], Bad::TooLong),
        ] {
            check(&frames, &[], Some(bad));
        }
    }

    #[test]
    fn who_is_silent_holds_no_buffer() {
        let mut reader = Reader::new(1000);
        reader.push(&[frame(0x01, b"a"), frame(0x80, b"b")].concat());
        assert_eq!(reader.next(), Ok(Some(Message::Text("ab".into()))));
        assert_eq!((reader.rest.capacity(), reader.parts), (0, None));
    }

    #[test]
    fn texts_are_framed_once() {
        for (length, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let text = Text::from("x".repeat(length));
            assert_eq!((text.len(), text.as_bytes().len(), text.wire().len()), (length, length, length + head));
            let mut masked = frame(0x81, text.as_bytes());
            masked.drain(head..head + 4);
            assert_eq!(masked[0], text.wire()[0]);
            assert_eq!((masked[1] & 0x7f, &masked[2..head]), (text.wire()[1], &text.wire()[2..head]));
        }
        assert_eq!(*close(1000, "bye"), *b"\x88\x05\x03\xe8bye");
        assert_eq!((&*ping(), &*pong(b"?")), (&[0x89, 0][..], &[0x8a, 1, b'?'][..]));
        assert_eq!(pong(&[0; 200]).len(), 127);
    }
}
