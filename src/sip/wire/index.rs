//! One pass over the head of a message: where each header line is, and where the body.

use super::Limits;
use super::lex::{Elements, blank, number, token};
use super::name::Name;
use super::uri::clean;
use super::via::Via;
use memchr::memchr;

/// Scratch memory for reading; keeps what it has grown to, so that reading allocates nothing once warm.
#[derive(Debug, Default)]
pub struct Index {
    start: StartLine,
    lines: Vec<Line>,
    table: Table,
    body: Span,
}

/// Offsets into the message.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    from: u32,
    to: u32,
}

impl Span {
    const fn new(from: usize, to: usize) -> Self {
        Self { from: from as u32, to: to as u32 }
    }

    fn of(self, raw: &[u8]) -> &[u8] {
        &raw[self.from as usize..self.to as usize]
    }
}

/// A readable status means a response, else a method means a request, else there is no readable start line.
#[derive(Clone, Copy, Debug, Default)]
struct StartLine {
    status: u16,
    method: Span,
    uri: Span,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    value: Span,
    /// The next line of the same name, counted from 1; 0: none.
    next: u16,
}

/// Lines of one name, counted from 1.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    first: u16,
    last: u16,
    count: u16,
}

#[derive(Debug)]
struct Table([Chain; Name::COUNT]);

impl Default for Table {
    fn default() -> Self {
        Self([Chain::default(); Name::COUNT])
    }
}

/// What is wrong: a status and a few words.
type Problem = (u16, &'static str);

const CUT: Problem = (400, "head does not end");

impl Index {
    /// Reads the head of one message and finds its body.
    ///
    /// With `stream`, `raw` is exactly one framed message. Else it is a datagram, where Content-Length cuts off what
    /// follows the body, and all that follows the head is the body if there is none (RFC 3261 section 18.3). Line ends
    /// before the message are skipped. What the headers say is checked by [`Message::essentials`].
    pub fn read<'a>(&'a mut self, raw: &'a [u8], stream: bool, limits: &Limits) -> Result<Message<'a>, Reject<'a>> {
        let verdict = self.index(raw, stream, limits);
        let message = Message { raw, index: self };
        match verdict {
            Ok(()) => Ok(message),
            Err((status, problem)) => Err(message.reject(status, problem)),
        }
    }

    fn index(&mut self, raw: &[u8], stream: bool, limits: &Limits) -> Result<(), Problem> {
        self.start = StartLine::default();
        self.lines.clear();
        self.table = Table::default();
        self.body = Span::default();
        if raw.len() > u32::MAX as usize {
            return Err((513, "message beyond all measure"));
        }
        let from = raw.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(raw.len());
        let window = &raw[..raw.len().min(from.saturating_add(limits.head))];
        let end = from + memchr(b'\n', &window[from..]).ok_or((400, "start line does not end"))?;
        // What is wrong with the start line is told only when the headers that an answer needs are known.
        let start = self.start_line(raw, from, end);
        let head = self.headers(window, end + 1, limits.headers.min(usize::from(u16::MAX) - 1));
        start?;
        let body = match head {
            Err(CUT) if window.len() < raw.len() => return Err((513, "head too long")),
            head => head?,
        };
        let there = raw.len() - body;
        let length = match self.content_length(raw)? {
            None if stream => return Err((400, "no Content-Length on a stream")),
            None => there,
            Some(length) => match usize::try_from(length) {
                Ok(length) if length == there || length < there && !stream => length,
                _ => return Err((400, "Content-Length does not fit the message")),
            },
        };
        if length > limits.body {
            return Err((413, "body too long"));
        }
        self.body = Span::new(body, body + length);
        Ok(())
    }

    /// Blanks too many between and behind the parts are forgiven, as RFC 4475 sections 3.1.2.9 and 3.1.2.10 permit;
    /// inside the Request-URI they are not.
    fn start_line(&mut self, raw: &[u8], from: usize, end: usize) -> Result<(), Problem> {
        let (_, end) = trimmed(raw, from, end);
        let line = &raw[from..end];
        let gap = line.iter().position(|&byte| blank(byte)).ok_or((400, "start line of one word"))?;
        let (rest, _) = trimmed(raw, from + gap, end);
        if line.get(..4).is_some_and(|it| it.eq_ignore_ascii_case(b"SIP/")) {
            let code = &raw[rest..end];
            let code = &code[..code.iter().position(|&byte| blank(byte)).unwrap_or(code.len())];
            return match (version(&line[..gap]), number(code)) {
                (Some(true), Some(status @ 100..=699)) if code.len() == 3 => {
                    self.start.status = status as u16;
                    Ok(())
                }
                _ => Err((400, "unreadable status line")),
            };
        }
        if !token(&line[..gap]) {
            return Err((400, "unreadable start line"));
        }
        self.start.method = Span::new(from, from + gap);
        let last = rest + raw[rest..end].iter().rposition(|&byte| blank(byte)).map_or(0, |at| at + 1);
        let (_, uri) = trimmed(raw, rest, last);
        self.start.uri = Span::new(rest, uri);
        let clean = rest < uri && clean(&raw[rest..uri]);
        match version(&raw[last..end]) {
            Some(false) => Err((505, "version of SIP not 2.0")),
            Some(true) if clean => Ok(()),
            Some(true) => Err((400, "unreadable Request-URI")),
            None => Err((400, "start line without a version")),
        }
    }

    /// Where the body starts.
    fn headers(&mut self, window: &[u8], mut at: usize, most: usize) -> Result<usize, Problem> {
        if window.get(at).is_some_and(|&byte| matches!(byte, b' ' | b'\t')) {
            return Err((400, "folded start line"));
        }
        loop {
            match &window[at..] {
                [b'\r', b'\n', ..] => return Ok(at + 2),
                [b'\n', ..] => return Ok(at + 1),
                _ => {}
            }
            let name_end = at + window[at..].iter().position(|byte| matches!(byte, b':' | b'\n')).ok_or(CUT)?;
            let mut end = name_end + memchr(b'\n', &window[name_end..]).ok_or(CUT)?;
            while window.get(end + 1).is_some_and(|&byte| matches!(byte, b' ' | b'\t')) {
                end += 1 + memchr(b'\n', &window[end + 1..]).ok_or(CUT)?;
            }
            if self.lines.len() >= most {
                return Err((400, "too many header lines"));
            }
            // A line that is no header is not needed either, so it is ignored (RFC 3261 section 8.2.2).
            let (name, value) = match window[name_end] {
                b':' => {
                    let mut name = &window[at..name_end];
                    while let [rest @ .., b' ' | b'\t'] = name {
                        name = rest;
                    }
                    (Name::read(name), name_end + 1)
                }
                _ => (Name::Other, at),
            };
            let (from, to) = trimmed(window, value, end);
            self.push(name, Span::new(from, to));
            super::lex::looked::at(end + 1 - at);
            at = end + 1;
        }
    }

    #[cfg(test)]
    pub(super) fn stored_lines(&self) -> usize {
        self.lines.capacity()
    }

    fn push(&mut self, name: Name, value: Span) {
        self.lines.push(Line { value, next: 0 });
        let number = self.lines.len() as u16;
        let chain = &mut self.table.0[name as usize];
        match chain.last {
            0 => chain.first = number,
            last => self.lines[usize::from(last) - 1].next = number,
        }
        chain.last = number;
        chain.count += 1;
    }

    fn content_length(&self, raw: &[u8]) -> Result<Option<u64>, Problem> {
        let mut agreed = None;
        for value in self.values(raw, Name::ContentLength) {
            let length = number(value).ok_or((400, "unreadable Content-Length"))?;
            if agreed.is_some_and(|it| it != length) {
                return Err((400, "conflicting Content-Lengths"));
            }
            agreed = Some(length);
        }
        Ok(agreed)
    }

    fn values<'a>(&'a self, raw: &'a [u8], name: Name) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut next = self.table.0[name as usize].first;
        std::iter::from_fn(move || {
            let line = self.lines[usize::from(next.checked_sub(1)?)];
            next = line.next;
            Some(line.value.of(raw))
        })
    }
}

/// `from..end` without blanks and folds at both ends.
fn trimmed(raw: &[u8], from: usize, end: usize) -> (usize, usize) {
    let mut value = &raw[from..end];
    while let [first, rest @ ..] = value
        && blank(*first)
    {
        value = rest;
    }
    let from = end - value.len();
    while let [rest @ .., last] = value
        && blank(*last)
    {
        value = rest;
    }
    (from, from + value.len())
}

/// Whether this is the version that we speak; `None` if it is no version of SIP at all.
fn version(word: &[u8]) -> Option<bool> {
    if word.eq_ignore_ascii_case(b"SIP/2.0") {
        return Some(true);
    }
    let (name, number) = word.split_at_checked(4)?;
    let at = memchr(b'.', number)?;
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let good = name.eq_ignore_ascii_case(b"SIP/") && digits(&number[..at]) && digits(&number[at + 1..]);
    good.then_some(false)
}

/// A message that is not accepted.
///
/// Where there is both a status and a message, a stateless answer can be composed from it; else it is dropped.
#[derive(Clone, Copy, Debug)]
pub struct Reject<'a> {
    /// What the sender is due; `None` for what never gets an answer: responses, ACK, and what is no SIP.
    pub status: Option<u16>,
    /// What is wrong, in a few words that hold nothing from the message.
    pub problem: &'static str,
    /// What has been read, if it is a request with From, To, Call-ID, CSeq and a readable topmost Via.
    pub message: Option<Message<'a>>,
}

/// How a message starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start<'a> {
    /// A request.
    Request {
        /// As it is written; methods are told apart by case.
        method: &'a [u8],
        /// The Request-URI.
        uri: &'a [u8],
    },
    /// A response.
    Response {
        /// From 100 to 699.
        status: u16,
    },
}

/// A message that has been indexed.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    raw: &'a [u8],
    index: &'a Index,
}

impl<'a> Message<'a> {
    /// The start line.
    pub fn start(&self) -> Start<'a> {
        let StartLine { status, method, uri } = self.index.start;
        match status {
            0 => Start::Request { method: method.of(self.raw), uri: uri.of(self.raw) },
            _ => Start::Response { status },
        }
    }

    /// The value of the first line of this name, without blanks around it. It may contain folds (CR LF and a blank).
    pub fn first(&self, name: Name) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The value of each line of this name, in order.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.index.values(self.raw, name)
    }

    /// The elements of a comma list over all lines of this name, trimmed, empty ones skipped. Commas within quotes and
    /// angle brackets do not count.
    pub fn list(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.all(name).flat_map(Elements)
    }

    /// How many lines of this name there are.
    pub fn count(&self, name: Name) -> usize {
        usize::from(self.index.table.0[name as usize].count)
    }

    /// The body, empty if there is none.
    pub fn body(&self) -> &'a [u8] {
        self.index.body.of(self.raw)
    }

    /// Turns the message away.
    pub(super) fn reject(self, status: u16, problem: &'static str) -> Reject<'a> {
        let asks = matches!(self.start(), Start::Request { method, .. } if !method.is_empty() && method != b"ACK");
        let answerable = asks
            && [Name::From, Name::To, Name::CallId, Name::CSeq].iter().all(|&name| self.count(name) > 0)
            && self.list(Name::Via).next().and_then(Via::read).is_some();
        Reject { status: asks.then_some(status), problem, message: answerable.then_some(self) }
    }
}

impl std::fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({:?}, {} headers, {} bytes)", self.start(), self.index.lines.len(), self.body().len())
    }
}
