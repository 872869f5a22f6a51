//! Reading the XML of peers within bounds, and writing XML that any reader takes.
//!
//! Names are told apart by namespace, never by prefix. Document types, and with them entities, are refused; depth,
//! names in scope, attributes and the length of one value are bounded; everything else is linear in the body.

use lamplighter_model::package::BadBody;
use quick_xml::events::Event;
use smallvec::SmallVec;
use std::borrow::Cow;

/// How deep elements may nest.
const DEPTH: usize = 32;
/// How many namespace prefixes may be in scope.
const BINDINGS: usize = 64;
/// How many attributes one element may have.
const ATTRIBUTES: usize = 32;
/// The longest value or text, bytes.
const VALUE: usize = 16 * 1024;

const TRUNCATED: &str = "the document ends too early";
const MALFORMED: &str = "not well-formed XML";

/// A pull reader over one document.
pub(crate) struct Reader<'a> {
    text: &'a str,
    inner: quick_xml::Reader<&'a [u8]>,
    bindings: SmallVec<[Binding<'a>; 8]>,
    depth: usize,
    /// The element just begun was written `<a/>`.
    empty: bool,
}

#[derive(Clone, Copy)]
struct Binding<'a> {
    prefix: &'a str,
    uri: &'a str,
    depth: usize,
}

/// The beginning of an element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    /// The namespace as written, empty when there is none.
    pub(crate) ns: &'a str,
    /// The name without its prefix.
    pub(crate) name: &'a str,
    qualified: &'a str,
    attributes: &'a str,
}

enum Token<'a> {
    Start(Element<'a>),
    Text(Cow<'a, str>),
    End,
}

/// Everything in `body` as text: UTF-8, or Latin-1 if the document declares it.
pub(crate) fn decode(body: &[u8]) -> Result<Cow<'_, str>, BadBody> {
    match std::str::from_utf8(body) {
        Ok(text) => Ok(Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text))),
        Err(error) => {
            let head = body[..body.len().min(100)].to_ascii_lowercase();
            if head.windows(10).any(|part| part == b"iso-8859-1") {
                return Ok(Cow::Owned(body.iter().map(|&byte| char::from(byte)).collect()));
            }
            Err(BadBody { place: format!("byte {}", error.valid_up_to()), problem: "not UTF-8" })
        }
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut inner = quick_xml::Reader::from_str(text);
        inner.config_mut().check_end_names = true;
        Self { text, inner, bindings: SmallVec::new(), depth: 0, empty: false }
    }

    /// What is wrong here.
    pub(crate) fn bad(&self, problem: &'static str) -> BadBody {
        BadBody { place: format!("byte {}", self.at()), problem }
    }

    fn at(&self) -> usize {
        self.inner.buffer_position() as usize
    }

    /// The root element.
    pub(crate) fn root(&mut self) -> Result<Element<'a>, BadBody> {
        loop {
            match self.next()? {
                Token::Start(element) => return Ok(element),
                Token::Text(_) => {}
                Token::End => return Err(self.bad(MALFORMED)),
            }
        }
    }

    /// The next child of the element that was begun last, or `None` at its end. The child must be consumed by
    /// `child` until `None`, [`Self::text`], [`Self::skip`] or [`Self::copy`].
    pub(crate) fn child(&mut self) -> Result<Option<Element<'a>>, BadBody> {
        loop {
            match self.next()? {
                Token::Start(element) => return Ok(Some(element)),
                Token::Text(_) => {}
                Token::End => return Ok(None),
            }
        }
    }

    /// The text of the element that was begun last, up to its end; elements inside are skipped.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>, BadBody> {
        let mut all = Cow::Borrowed("");
        loop {
            match self.next()? {
                Token::Start(_) => self.skip()?,
                Token::Text(part) if all.is_empty() => all = part,
                Token::Text(part) => all.to_mut().push_str(&part),
                Token::End => break,
            }
            if all.len() > VALUE {
                return Err(self.bad("a text is too long"));
            }
        }
        Ok(all)
    }

    /// Passes over the element that was begun last.
    pub(crate) fn skip(&mut self) -> Result<(), BadBody> {
        let outside = self.depth - 1;
        while self.depth > outside {
            self.next()?;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Token<'a>, BadBody> {
        if std::mem::take(&mut self.empty) {
            self.leave();
            return Ok(Token::End);
        }
        loop {
            let from = self.at();
            let event = self.inner.read_event().map_err(|_| self.bad(MALFORMED))?;
            let source = &self.text[from..self.at()];
            match event {
                Event::Start(_) => {
                    let inside = source.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
                    return self.enter(inside.unwrap_or_default());
                }
                Event::Empty(_) => {
                    let inside = source.strip_prefix('<').and_then(|rest| rest.strip_suffix("/>"));
                    let token = self.enter(inside.unwrap_or_default())?;
                    self.empty = true;
                    return Ok(token);
                }
                Event::End(_) => {
                    if self.depth == 0 {
                        return Err(self.bad(MALFORMED));
                    }
                    self.leave();
                    return Ok(Token::End);
                }
                Event::Text(_) => return Ok(Token::Text(Cow::Borrowed(source))),
                Event::CData(_) => {
                    let inside = source.strip_prefix("<![CDATA[").and_then(|rest| rest.strip_suffix("]]>"));
                    return Ok(Token::Text(Cow::Borrowed(inside.unwrap_or_default())));
                }
                Event::GeneralRef(_) => return self.unescape(source).map(Token::Text),
                Event::DocType(_) => return Err(self.bad("a document type is refused")),
                Event::Eof => return Err(self.bad(TRUNCATED)),
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            }
        }
    }

    fn enter(&mut self, inside: &'a str) -> Result<Token<'a>, BadBody> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.bad("elements nest too deep"));
        }
        let end = inside.bytes().position(is_space).unwrap_or(inside.len());
        let (qualified, attributes) = inside.split_at(end);
        let mut element = Element { ns: "", name: qualified, qualified, attributes };
        let mut scan = Scan { rest: attributes };
        let mut count = 0;
        while let Some(attribute) = scan.next() {
            let (name, value) = attribute.map_err(|()| self.bad(MALFORMED))?;
            count += 1;
            if count > ATTRIBUTES {
                return Err(self.bad("an element has too many attributes"));
            }
            if value.len() > VALUE {
                return Err(self.bad("a value is too long"));
            }
            if let Some(rest) = name.strip_prefix("xmlns") {
                let prefix = match rest.strip_prefix(':') {
                    Some(prefix) => prefix,
                    None if rest.is_empty() => "",
                    None => continue,
                };
                if self.bindings.len() == BINDINGS {
                    return Err(self.bad("too many namespaces"));
                }
                self.bindings.push(Binding { prefix, uri: value.trim(), depth: self.depth });
            }
        }
        let (prefix, name) = split(qualified);
        element.name = name;
        element.ns = match self.binding(prefix) {
            Some(index) => self.bindings[index].uri,
            None => "",
        };
        Ok(Token::Start(element))
    }

    fn leave(&mut self) {
        while self.bindings.last().is_some_and(|binding| binding.depth >= self.depth) {
            self.bindings.pop();
        }
        self.depth -= 1;
    }

    fn binding(&self, prefix: &str) -> Option<usize> {
        self.bindings.iter().rposition(|binding| binding.prefix == prefix)
    }

    fn unescape(&self, raw: &'a str) -> Result<Cow<'a, str>, BadBody> {
        if memchr(raw) {
            quick_xml::escape::unescape(raw).map_err(|_| self.bad("an unknown entity"))
        } else {
            Ok(Cow::Borrowed(raw))
        }
    }

    /// The attributes of `element`: names as written, values unescaped.
    pub(crate) fn attributes(
        &self,
        element: Element<'a>,
        mut each: impl FnMut(&'a str, Cow<'a, str>),
    ) -> Result<(), BadBody> {
        let mut scan = Scan { rest: element.attributes };
        while let Some(Ok((name, value))) = scan.next() {
            each(name, self.unescape(value)?);
        }
        Ok(())
    }

    /// One attribute of `element` by its name as written.
    pub(crate) fn attribute(&self, element: Element<'a>, name: &str) -> Result<Option<Cow<'a, str>>, BadBody> {
        let mut scan = Scan { rest: element.attributes };
        while let Some(Ok((candidate, value))) = scan.next() {
            if candidate == name {
                return self.unescape(value).map(Some);
            }
        }
        Ok(None)
    }

    /// Appends the element that was begun last to `out`, so that it stands for itself: every namespace in use is
    /// declared on it, comments are gone, and it is well-formed. It is left out when it would not be, or when
    /// `out` would become longer than `room`.
    pub(crate) fn copy(&mut self, element: Element<'a>, out: &mut Vec<u8>, room: usize) -> Result<(), BadBody> {
        let start = out.len();
        let outside = self.depth - 1;
        let outer = self.bindings.iter().take_while(|binding| binding.depth < self.depth).count();
        let mut copy = Copy { used: 0, no_default: false, sound: true, begun: 0, open: SmallVec::new() };
        let declarations = start + 1 + element.qualified.len();
        copy.begin(self, element, outer, out);
        while self.depth > outside {
            let token = self.next()?;
            if out.len() > room {
                copy.sound = false;
            }
            if !copy.sound {
                continue;
            }
            match token {
                Token::Start(element) => copy.begin(self, element, outer, out),
                Token::Text(part) => text(out, &part),
                Token::End => copy.end(out),
            }
        }
        if copy.sound {
            let mut declared = Vec::new();
            for (index, binding) in self.bindings[..outer].iter().enumerate() {
                if copy.used & 1 << index != 0 {
                    declared.extend_from_slice(b" xmlns");
                    if !binding.prefix.is_empty() {
                        declared.push(b':');
                        declared.extend_from_slice(binding.prefix.as_bytes());
                    }
                    declared.extend_from_slice(b"=\"");
                    value(&mut declared, &self.unescape(binding.uri)?);
                    declared.push(b'"');
                }
            }
            if copy.no_default {
                declared.extend_from_slice(b" xmlns=\"\"");
            }
            out.splice(declarations..declarations, declared);
        }
        if !copy.sound || out.len() > room {
            out.truncate(start);
        }
        Ok(())
    }
}

/// What [`Reader::copy`] knows on its way.
struct Copy<'a> {
    /// Bindings from outside that are used, by index.
    used: u64,
    /// Something inside is in no namespace, by the absence of any default.
    no_default: bool,
    sound: bool,
    /// The end of the last start tag.
    begun: usize,
    open: SmallVec<[&'a str; 8]>,
}

impl<'a> Copy<'a> {
    fn begin(&mut self, reader: &Reader<'a>, element: Element<'a>, outer: usize, out: &mut Vec<u8>) {
        out.push(b'<');
        out.extend_from_slice(element.qualified.as_bytes());
        self.open.push(element.qualified);
        self.resolve(reader, element.qualified, true, outer);
        let mut seen: SmallVec<[(&str, &str); 8]> = SmallVec::new();
        let mut scan = Scan { rest: element.attributes };
        while let Some(Ok((name, raw))) = scan.next() {
            let (prefix, local) = split(name);
            let declares = prefix == "xmlns" || name == "xmlns";
            let ns = if declares {
                // Prefixes may neither be undeclared nor be the reserved ones.
                self.sound &= name == "xmlns" || (!raw.trim().is_empty() && local != "xml" && local != "xmlns");
                self.sound &= is_name(local);
                "xmlns"
            } else {
                self.resolve(reader, name, false, outer).unwrap_or_default()
            };
            self.sound &= !seen.contains(&(ns, local));
            seen.push((ns, local));
            let Ok(unescaped) = reader.unescape(raw) else {
                self.sound = false;
                return;
            };
            out.push(b' ');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"=\"");
            value(out, &unescaped);
            out.push(b'"');
        }
        out.push(b'>');
        self.begun = out.len();
    }

    /// The namespace of a name; a bad or unbound one makes the copy unsound.
    fn resolve(&mut self, reader: &Reader<'a>, name: &'a str, element: bool, outer: usize) -> Option<&'a str> {
        let (prefix, local) = split(name);
        self.sound &=
            is_name(local) && (prefix.is_empty() != name.contains(':')) && (prefix.is_empty() || is_name(prefix));
        if prefix == "xml" || (prefix.is_empty() && !element) {
            return Some(prefix);
        }
        match reader.binding(prefix) {
            Some(index) => {
                if index < outer {
                    self.used |= 1 << index;
                }
                Some(reader.bindings[index].uri)
            }
            None => {
                self.no_default |= prefix.is_empty();
                self.sound &= prefix.is_empty();
                None
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let Some(name) = self.open.pop() else { return };
        if out.len() == self.begun {
            out.pop();
            out.extend_from_slice(b"/>");
        } else {
            out.extend_from_slice(b"</");
            out.extend_from_slice(name.as_bytes());
            out.push(b'>');
        }
    }
}

/// Attributes of a start tag, as written.
struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    fn next(&mut self) -> Option<Result<(&'a str, &'a str), ()>> {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii() && is_space(c as u8));
        self.rest = "";
        if rest.is_empty() {
            return None;
        }
        Some(self.one(rest).ok_or(()))
    }

    fn one(&mut self, rest: &'a str) -> Option<(&'a str, &'a str)> {
        let (name, rest) = rest.split_once('=')?;
        let name = name.trim_ascii_end();
        let rest = rest.trim_ascii_start();
        let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let (value, rest) = rest[1..].split_once(quote)?;
        self.rest = rest;
        Some((name, value))
    }
}

fn memchr(raw: &str) -> bool {
    raw.as_bytes().contains(&b'&')
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Prefix and local name.
fn split(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("", name))
}

/// Whether this is a name that every reader takes.
fn is_name(name: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let other = |byte: u8| first(byte) || byte.is_ascii_digit() || byte == b'.' || byte == b'-';
    name.bytes().next().is_some_and(first) && name.bytes().all(other)
}

/// Appends the value of an attribute, escaped for double quotes.
pub(crate) fn value(out: &mut Vec<u8>, text: &str) {
    escape(out, text, true);
}

/// Appends text between tags, escaped.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    escape(out, text, false);
}

/// Bytes that cannot stand for themselves; 0xef begins the two characters above 0x1f that XML 1.0 has not.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'&' as usize] = true;
    table[b'<' as usize] = true;
    table[b'>' as usize] = true;
    table[b'"' as usize] = true;
    table[0xef] = true;
    table
};

fn escape(out: &mut Vec<u8>, text: &str, attribute: bool) {
    let bytes = text.as_bytes();
    let mut from = 0;
    let mut at = 0;
    while let Some(step) = bytes[at..].iter().position(|&byte| SPECIAL[usize::from(byte)]) {
        at += step;
        let mut width = 1;
        let instead: &[u8] = match bytes[at] {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'"' if attribute => b"&quot;",
            b'\r' => b"&#13;",
            b'\n' if attribute => b"&#10;",
            b'\t' if attribute => b"&#9;",
            b'"' | b'\n' | b'\t' => {
                at += 1;
                continue;
            }
            0xef if bytes[at..].starts_with(b"\xef\xbf\xbe") || bytes[at..].starts_with(b"\xef\xbf\xbf") => {
                width = 3;
                b""
            }
            0xef => {
                at += 3;
                continue;
            }
            _ => b"",
        };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(instead);
        at += width;
        from = at;
    }
    out.extend_from_slice(&bytes[from..]);
}
