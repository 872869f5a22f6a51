//! Reading the XML of peers within bounds, and writing XML that any reader takes.
//!
//! Names are told apart by namespace, never by prefix. Document types, and with them entities, are refused; depth,
//! names in scope, attributes and the length of one value are bounded; everything else is linear in the body.

use lamplighter_model::package::BadBody;
use smallvec::SmallVec;
use std::borrow::Cow;

/// How deep elements may nest.
const DEPTH: usize = 32;
/// How many namespace prefixes may be in scope.
const BINDINGS: usize = 24;
/// How many attributes one element may have.
const ATTRIBUTES: usize = 24;
/// The longest value of an attribute and the longest text, bytes.
const VALUE: usize = 4 * 1024;
const TEXT: usize = 16 * 1024;

const TRUNCATED: &str = "the document ends too early";
const MALFORMED: &str = "not well-formed XML";

/// A pull reader over one document.
///
/// Our own, because a PUBLISH costs little else: it reads a typical body in a quarter of the time that quick-xml needs.
/// Tests hold it and what is written here against quick-xml.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    bindings: SmallVec<[Binding<'a>; 8]>,
    /// Names of the elements that have begun, as written.
    open: SmallVec<[&'a str; 8]>,
    /// Attributes of the element that was begun last, as written.
    attributes: SmallVec<[(&'a str, &'a str); 8]>,
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
}

enum Token<'a> {
    Start(Element<'a>),
    /// Raw text, perhaps with escapes.
    Text(&'a str),
    /// Text that has no escapes.
    CData(&'a str),
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
        Self {
            text,
            at: 0,
            bindings: SmallVec::new(),
            open: SmallVec::new(),
            attributes: SmallVec::new(),
            empty: false,
        }
    }

    /// What is wrong here.
    pub(crate) fn bad(&self, problem: &'static str) -> BadBody {
        BadBody { place: format!("byte {}", self.at), problem }
    }

    /// The root element.
    pub(crate) fn root(&mut self) -> Result<Element<'a>, BadBody> {
        self.child()?.ok_or_else(|| self.bad(MALFORMED))
    }

    /// The next child of the element that was begun last, or `None` at its end. The child must be consumed by
    /// `child` until `None`, [`Self::text`], [`Self::skip`] or [`Self::copy`]; before that its attributes can be read.
    pub(crate) fn child(&mut self) -> Result<Option<Element<'a>>, BadBody> {
        loop {
            match self.next()? {
                Token::Start(element) => return Ok(Some(element)),
                Token::Text(_) | Token::CData(_) => {}
                Token::End => return Ok(None),
            }
        }
    }

    /// The text of the element that was begun last, up to its end; elements inside are skipped.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>, BadBody> {
        let mut all = Cow::Borrowed("");
        loop {
            let part = match self.next()? {
                Token::Start(_) => {
                    self.skip()?;
                    continue;
                }
                Token::Text(part) => self.unescape(part, false)?,
                Token::CData(part) => Cow::Borrowed(part),
                Token::End => return Ok(all),
            };
            if all.len() + part.len() > TEXT {
                return Err(self.bad("a text is too long"));
            }
            if all.is_empty() {
                all = part;
            } else {
                all.to_mut().push_str(&part);
            }
        }
    }

    /// Passes over the element that was begun last.
    pub(crate) fn skip(&mut self) -> Result<(), BadBody> {
        let outside = self.open.len() - 1;
        while self.open.len() > outside {
            self.next()?;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Token<'a>, BadBody> {
        if std::mem::take(&mut self.empty) {
            self.leave();
            return Ok(Token::End);
        }
        let bytes = self.text.as_bytes();
        loop {
            let from = self.at;
            match (bytes.get(from), bytes.get(from + 1)) {
                (None, _) => return Err(self.bad(TRUNCATED)),
                (Some(b'<'), Some(b'/')) => return self.end_tag(),
                (Some(b'<'), Some(b'?')) => drop(self.until("?>")?),
                (Some(b'<'), Some(b'!')) => {
                    let rest = &self.text[from..];
                    if rest.starts_with("<!--") {
                        self.at += 4;
                        self.until("-->")?;
                    } else if rest.starts_with("<![CDATA[") {
                        self.at += 9;
                        return self.until("]]>").map(Token::CData);
                    } else {
                        return Err(self.bad("a document type is refused"));
                    }
                }
                (Some(b'<'), _) => return self.start_tag(),
                (Some(_), _) => {
                    let rest = &bytes[from..];
                    self.at += rest.iter().position(|&byte| byte == b'<').unwrap_or(rest.len());
                    return Ok(Token::Text(&self.text[from..self.at]));
                }
            }
        }
    }

    /// What stands before `mark`, which is passed over too.
    fn until(&mut self, mark: &str) -> Result<&'a str, BadBody> {
        let text = self.text;
        let (before, _) = text[self.at..].split_once(mark).ok_or_else(|| self.bad(TRUNCATED))?;
        self.at += before.len() + mark.len();
        Ok(before)
    }

    fn end_tag(&mut self) -> Result<Token<'a>, BadBody> {
        let bytes = self.text.as_bytes();
        let from = self.at + 2;
        let length = bytes[from..].iter().position(|&byte| byte == b'>').ok_or_else(|| self.bad(TRUNCATED))?;
        let name = &self.text[from..from + length];
        if self.open.last().is_none_or(|open| *open != name && *open != name.trim_ascii_end()) {
            return Err(self.bad(MALFORMED));
        }
        self.at = from + length + 1;
        self.leave();
        Ok(Token::End)
    }

    fn start_tag(&mut self) -> Result<Token<'a>, BadBody> {
        self.at += 1;
        let qualified = self.name();
        if qualified.is_empty() {
            return Err(self.bad(MALFORMED));
        }
        if self.open.len() == DEPTH {
            return Err(self.bad("elements nest too deep"));
        }
        self.open.push(qualified);
        self.attributes.clear();
        loop {
            self.pass_space();
            match self.text.as_bytes().get(self.at) {
                None => return Err(self.bad(TRUNCATED)),
                Some(b'>') => {
                    self.at += 1;
                    break;
                }
                Some(b'/') if self.text.as_bytes().get(self.at + 1) == Some(&b'>') => {
                    self.at += 2;
                    self.empty = true;
                    break;
                }
                Some(_) => self.one_attribute()?,
            }
        }
        let (prefix, name) = split(qualified);
        let ns = self.binding(prefix).map_or("", |index| self.bindings[index].uri);
        Ok(Token::Start(Element { ns, name, qualified }))
    }

    fn one_attribute(&mut self) -> Result<(), BadBody> {
        let name = self.name();
        self.pass_space();
        let bytes = self.text.as_bytes();
        if name.is_empty() || bytes.get(self.at) != Some(&b'=') {
            return Err(self.bad(MALFORMED));
        }
        self.at += 1;
        self.pass_space();
        let quote =
            *bytes.get(self.at).filter(|byte| matches!(byte, b'"' | b'\'')).ok_or_else(|| self.bad(MALFORMED))?;
        let from = self.at + 1;
        let length = bytes[from..].iter().position(|&byte| byte == quote).ok_or_else(|| self.bad(TRUNCATED))?;
        let value = &self.text[from..from + length];
        self.at = from + length + 1;
        if value.len() > VALUE {
            return Err(self.bad("a value is too long"));
        }
        if self.attributes.len() == ATTRIBUTES {
            return Err(self.bad("an element has too many attributes"));
        }
        self.attributes.push((name, value));
        let prefix = match name.strip_prefix("xmlns") {
            Some("") => "",
            Some(rest) if rest.starts_with(':') => &rest[1..],
            _ => return Ok(()),
        };
        if self.bindings.len() == BINDINGS {
            return Err(self.bad("too many namespaces"));
        }
        self.bindings.push(Binding { prefix, uri: value.trim_ascii(), depth: self.open.len() });
        Ok(())
    }

    /// Everything up to what may follow a name.
    fn name(&mut self) -> &'a str {
        let from = self.at;
        let rest = &self.text.as_bytes()[from..];
        let ends = |byte: u8| is_space(byte) || matches!(byte, b'=' | b'/' | b'>' | b'<' | b'"' | b'\'');
        self.at += rest.iter().position(|&byte| ends(byte)).unwrap_or(rest.len());
        &self.text[from..self.at]
    }

    fn pass_space(&mut self) {
        while self.text.as_bytes().get(self.at).is_some_and(|&byte| is_space(byte)) {
            self.at += 1;
        }
    }

    fn leave(&mut self) {
        while self.bindings.last().is_some_and(|binding| binding.depth >= self.open.len()) {
            self.bindings.pop();
        }
        self.open.pop();
    }

    fn binding(&self, prefix: &str) -> Option<usize> {
        self.bindings.iter().rposition(|binding| binding.prefix == prefix)
    }

    /// Escapes and line ends as XML 1.0 sections 2.11 and 3.3.3 read them; characters that XML has not are refused.
    fn unescape(&self, raw: &'a str, attribute: bool) -> Result<Cow<'a, str>, BadBody> {
        let special = |byte: u8| byte == b'&' || byte == b'\r' || (attribute && matches!(byte, b'\n' | b'\t'));
        let mut rest = raw;
        let mut all = String::new();
        while let Some(at) = rest.bytes().position(special) {
            if all.is_empty() {
                all.reserve(raw.len());
            }
            all.push_str(&rest[..at]);
            let here = &rest[at..];
            if let Some(name) = here.strip_prefix('&') {
                let (name, after) = name.split_once(';').ok_or_else(|| self.bad("an unknown entity"))?;
                all.push(entity(name).ok_or_else(|| self.bad("an unknown entity"))?);
                rest = after;
            } else {
                all.push(if attribute { ' ' } else { '\n' });
                rest = here.strip_prefix("\r\n").unwrap_or(&here[1..]);
            }
        }
        if rest.len() == raw.len() {
            return Ok(Cow::Borrowed(raw));
        }
        all.push_str(rest);
        Ok(Cow::Owned(all))
    }

    /// The attributes of the element that was begun last: names as written, values unescaped.
    pub(crate) fn attributes(&self, mut each: impl FnMut(&'a str, Cow<'a, str>)) -> Result<(), BadBody> {
        for &(name, value) in &self.attributes {
            each(name, self.unescape(value, true)?);
        }
        Ok(())
    }

    /// One attribute of the element that was begun last, by its name as written.
    pub(crate) fn attribute(&self, name: &str) -> Result<Option<Cow<'a, str>>, BadBody> {
        let found = self.attributes.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| self.unescape(value, true)).transpose()
    }

    /// Appends the element that was begun last to `out`, so that it stands for itself: every namespace in use is
    /// declared on it, comments are gone, and it is well-formed. It is left out when it would not be, or when
    /// `out` would become longer than `room`; then the answer is false.
    pub(crate) fn copy(&mut self, element: Element<'a>, out: &mut Vec<u8>, room: usize) -> Result<bool, BadBody> {
        let start = out.len();
        let outside = self.open.len() - 1;
        let outer = self.bindings.iter().take_while(|binding| binding.depth < self.open.len()).count();
        let mut copy = Copy { used: 0, no_default: false, sound: true, begun: 0, open: SmallVec::new() };
        let declarations = start + 1 + element.qualified.len();
        copy.begin(self, element, outer, out);
        while self.open.len() > outside {
            let token = self.next()?;
            if !copy.sound || out.len() > room {
                continue;
            }
            match token {
                Token::Start(element) => copy.begin(self, element, outer, out),
                Token::Text(part) => match self.unescape(part, false) {
                    Ok(part) => text(out, &part),
                    Err(_) => copy.sound = false,
                },
                Token::CData(part) => text(out, part),
                Token::End => copy.end(out),
            }
        }
        if copy.sound && out.len() <= room {
            let mut declared = Vec::new();
            for (index, binding) in self.bindings[..outer].iter().enumerate() {
                if copy.used & 1 << index != 0 {
                    declared.extend_from_slice(b" xmlns");
                    if !binding.prefix.is_empty() {
                        declared.push(b':');
                        declared.extend_from_slice(binding.prefix.as_bytes());
                    }
                    declared.extend_from_slice(b"=\"");
                    value(&mut declared, &self.unescape(binding.uri, true)?);
                    declared.push(b'"');
                }
            }
            if copy.no_default {
                declared.extend_from_slice(b" xmlns=\"\"");
            }
            out.splice(declarations..declarations, declared);
        }
        let fits = out.len() <= room;
        if !copy.sound || !fits {
            out.truncate(start);
        }
        Ok(fits)
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
        for &(name, raw) in &reader.attributes {
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
            let Ok(unescaped) = reader.unescape(raw, true) else {
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

/// The character of an entity or character reference; only those that XML has.
fn entity(name: &str) -> Option<char> {
    let number = |digits: &str, radix| {
        let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let legal = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
        u32::from_str_radix(digits, radix).ok().and_then(char::from_u32).filter(legal)
    };
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => match name.strip_prefix("#x") {
            Some(digits) => number(digits, 16),
            None => number(name.strip_prefix('#')?, 10),
        },
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Chance, PIECES, mutate};
    use quick_xml::events::{BytesStart, Event};

    /// What a document says, as far as it is well-formed: names, attributes and texts.
    fn ours(text: &str) -> Option<String> {
        let mut reader = Reader::new(text);
        let mut said = String::new();
        let (mut depth, mut begun) = (0, false);
        loop {
            match reader.next().ok()? {
                Token::Start(element) => {
                    depth += 1;
                    begun = true;
                    said += &format!("<{}", element.qualified);
                    reader.attributes(|name, value| said += &format!(" {name}={value:?}")).ok()?;
                }
                Token::Text(part) => said += &reader.unescape(part, false).ok()?,
                Token::CData(part) => said += &part.replace("\r\n", "\n").replace('\r', "\n"),
                Token::End => {
                    depth -= 1;
                    said += ">";
                }
            }
            if depth == 0 && begun {
                return Some(said);
            }
        }
    }

    fn theirs(text: &str) -> Option<String> {
        let mut reader = quick_xml::Reader::from_str(text);
        let mut said = String::new();
        let (mut depth, mut begun) = (0, false);
        let begin = |start: &BytesStart<'_>, said: &mut String| {
            *said += &format!("<{}", start.name().into_inner());
            for attribute in start.attributes().with_checks(false) {
                let attribute = attribute.ok()?;
                let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).ok()?;
                *said += &format!(" {}={value:?}", attribute.key.into_inner());
            }
            Some(())
        };
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    depth += 1;
                    begun = true;
                    begin(&start, &mut said)?;
                }
                Event::Empty(start) => {
                    begun = true;
                    begin(&start, &mut said)?;
                    said += ">";
                }
                Event::End(_) => {
                    depth -= 1;
                    said += ">";
                }
                Event::Text(part) => said += &part.xml10_content(),
                Event::CData(part) => said += &part.xml10_content(),
                Event::GeneralRef(name) => said += &quick_xml::escape::unescape(&format!("&{};", &*name)).ok()?,
                Event::DocType(_) | Event::Eof => return None,
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            }
            if depth == 0 && begun {
                return Some(said);
            }
        }
    }

    /// Where both readers take a document, both take it for the same; and ours takes what is left whole.
    #[test]
    fn another_reader_agrees() {
        let seeds = [
            include_str!("testdata/publication_every_field.xml"),
            include_str!("testdata/publication_rich_presence.xml"),
            "<a b = '1'\tc=\"&#x41;&amp;\r\n\"\n><!-- > --><?a ?><b/>x&lt;y<![CDATA[<&]]>\r\n</a >",
        ];
        for seed in seeds {
            assert_eq!(ours(seed).unwrap(), theirs(seed).unwrap());
        }
        let mut chance = Chance(23);
        let mut both = 0;
        for round in 0..20_000 {
            let body = mutate(&mut chance, seeds[round % seeds.len()].as_bytes(), &PIECES);
            let Ok(text) = std::str::from_utf8(&body) else { continue };
            if let (Some(ours), Some(theirs)) = (ours(text), theirs(text)) {
                assert_eq!(ours, theirs, "in {text}");
                both += 1;
            }
        }
        assert!(both > 1000, "only {both} were well-formed");
    }

    #[test]
    fn escapes() {
        let check = |raw: &str, in_attributes: &str, in_text: &str| {
            let (mut one, mut two) = (Vec::new(), Vec::new());
            value(&mut one, raw);
            text(&mut two, raw);
            assert_eq!((std::str::from_utf8(&one), std::str::from_utf8(&two)), (Ok(in_attributes), Ok(in_text)));
        };
        check("plain \u{e4}\u{ffe5}\u{1f600}", "plain \u{e4}\u{ffe5}\u{1f600}", "plain \u{e4}\u{ffe5}\u{1f600}");
        check("<a b=\"c\">'&amp;'", "&lt;a b=&quot;c&quot;&gt;'&amp;amp;'", "&lt;a b=\"c\"&gt;'&amp;amp;'");
        check("\r\n\t", "&#13;&#10;&#9;", "&#13;\n\t");
        check("\0\u{1}\u{1f}\u{fffe}x\u{ffff}\u{fffd}", "x\u{fffd}", "x\u{fffd}");
    }

    #[test]
    fn references() {
        let known = ["amp", "lt", "gt", "quot", "apos", "#65", "#x1F600", "#x0041", "#10"].map(entity);
        assert_eq!(known, ['&', '<', '>', '"', '\'', 'A', '\u{1f600}', 'A', '\n'].map(Some));
        for unknown in
            ["", "nbsp", "#", "#x", "#0", "#x1F", "#xD800", "#xFFFF", "#x110000", "#+65", "#-1", "#99999999999"]
        {
            assert_eq!(entity(unknown), None, "{unknown}");
        }
    }
}
