//! Where one message ends and the next begins on a stream (RFC 3261 section 18.3, RFC 5626 section 3.5.1).

use super::Limits;
use super::lex::{number, token_char, trim};
use super::name::Name;
use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr_iter};

/// Something whole that came in on a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// One message, from its start line to the end of its body.
    Message(Bytes),
    /// CRLF CRLF: the other side wants a CRLF back.
    Ping,
    /// CRLF: the answer to a ping.
    Pong,
}

/// Why a stream cannot be read on. It must be closed, after an answer where one can be made of `head`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FrameError {
    /// 400, 413 or 513.
    pub status: u16,
    /// What is wrong, in a few words.
    pub problem: &'static str,
    /// The head of the message so far, no longer than the limit; [`super::Index::read`] may find who asked.
    pub head: Bytes,
}

/// Cuts a stream into messages. Bytes come in any portions, and each is looked at once.
#[derive(Debug)]
pub struct StreamFramer {
    limits: Limits,
    buffer: BytesMut,
    /// No head ends before this.
    seen: usize,
    /// The length of a message whose head is there.
    whole: Option<usize>,
    /// The last frame was a pong, and a CRLF makes it a ping.
    half: bool,
    failed: Option<FrameError>,
}

impl StreamFramer {
    /// A stream from its first byte on.
    pub fn new(limits: Limits) -> Self {
        Self { limits, buffer: BytesMut::new(), seen: 0, whole: None, half: false, failed: None }
    }

    /// Takes what came in. To be followed by [`Self::next`] until that has no more; then at most one message of the
    /// largest permitted size is held. After an error nothing is taken.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// How many bytes are held that make no frame yet.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The next frame, or `None` until more bytes come. An error stays.
    ///
    /// A CRLF is reported at once as a pong; should another one follow, as a ping too, so that a ping that comes in
    /// two portions gets its answer.
    #[allow(clippy::should_implement_trait, reason = "it goes on after `None`")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        self.cut().map_err(|(status, problem)| {
            self.buffer.truncate(self.limits.head);
            let failed = FrameError { status, problem, head: self.buffer.split().freeze() };
            self.failed = Some(failed.clone());
            failed
        })
    }

    fn cut(&mut self) -> Result<Option<Frame>, (u16, &'static str)> {
        let whole = match self.whole {
            Some(whole) => whole,
            None => {
                if let Some(frame) = self.line_ends() {
                    return Ok(Some(frame));
                }
                let Some(first) = self.buffer.first() else { return Ok(None) };
                if *first == b'\r' {
                    return Ok(None);
                }
                if !token_char(*first) {
                    return Err((400, "not SIP"));
                }
                let Some(head) = self.head_end() else {
                    let room = self.buffer.len() <= self.limits.head;
                    return if room { Ok(None) } else { Err((513, "head too long")) };
                };
                if head > self.limits.head {
                    return Err((513, "head too long"));
                }
                let length = content_length(&self.buffer[..head])?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > self.limits.body {
                    return Err((413, "body too long"));
                }
                self.half = false;
                *self.whole.insert(head + length)
            }
        };
        if self.buffer.len() < whole {
            return Ok(None);
        }
        (self.whole, self.seen) = (None, 0);
        Ok(Some(Frame::Message(self.buffer.split_to(whole).freeze())))
    }

    /// Takes line ends, and NULs that some send, from before a message.
    fn line_ends(&mut self) -> Option<Frame> {
        loop {
            match self.buffer[..] {
                [b'\r', b'\n', ..] => self.buffer.advance(2),
                [0 | b'\n', ..] => {
                    self.buffer.advance(1);
                    continue;
                }
                [b'\r', other, ..] if other != b'\n' => {
                    self.buffer.advance(1);
                    continue;
                }
                _ => return None,
            }
            if self.half {
                self.half = false;
                return Some(Frame::Ping);
            }
            if let [b'\r', b'\n', ..] = self.buffer[..] {
                self.buffer.advance(2);
                return Some(Frame::Ping);
            }
            self.half = true;
            return Some(Frame::Pong);
        }
    }

    /// Where the body starts.
    fn head_end(&mut self) -> Option<usize> {
        super::lex::looked::at(self.buffer.len() - self.seen);
        for at in memchr_iter(b'\n', &self.buffer[self.seen..]) {
            let at = self.seen + at;
            match self.buffer[at + 1..] {
                [b'\n', ..] => return Some(at + 2),
                [b'\r', b'\n', ..] => return Some(at + 3),
                // The rest is yet to come: look at this line end again.
                [] | [b'\r'] => {
                    self.seen = at;
                    return None;
                }
                _ => {}
            }
        }
        self.seen = self.buffer.len();
        None
    }
}

/// The length that the header lines of a whole head agree on.
fn content_length(head: &[u8]) -> Result<u64, (u16, &'static str)> {
    let mut agreed = None;
    let mut at = memchr(b'\n', head).map_or(head.len(), |end| end + 1);
    while at < head.len() {
        let mut end = at;
        loop {
            end += memchr(b'\n', &head[end..]).map_or(head.len() - end, |end| end + 1);
            if !matches!(head.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let line = &head[at..end];
        super::lex::looked::at(line.len());
        if let Some(colon) = memchr(b':', line)
            && Name::read(trim(&line[..colon])) == Name::ContentLength
        {
            let length = number(trim(&line[colon + 1..])).ok_or((400, "unreadable Content-Length"))?;
            if agreed.is_some_and(|it| it != length) {
                return Err((400, "conflicting Content-Lengths"));
            }
            agreed = Some(length);
        }
        at = end;
    }
    agreed.ok_or((400, "no Content-Length on a stream"))
}
