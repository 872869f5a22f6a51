//! Reading the XML of peers within bounds, and writing XML that any reader takes.
//!
//! Tokens and attributes are taken apart by quick-xml. Names are told apart by namespace, never by prefix. Document
//! types, and with them entities, are refused; depth, names in scope, attributes and the length of one value are
//! bounded; everything else is linear in the body.

use lamplighter_model::package::BadBody;
use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::attributes::{Attribute, Attributes};
use quick_xml::events::{BytesCData, BytesRef, BytesStart, BytesText, Event};
use quick_xml::name::PrefixDeclaration;
use quick_xml::{Error, XmlVersion};
use smallvec::SmallVec;
use std::borrow::Cow;

/// How deep elements may nest.
const DEPTH: usize = 32;
/// How many namespace prefixes may be in scope.
const BINDINGS: usize = 24;
/// How many attributes one element may have.
const ATTRIBUTES: usize = 24;
/// The longest value of an attribute and the longest text, bytes.
pub(crate) const VALUE: usize = 4 * 1024;
pub(crate) const TEXT: usize = 16 * 1024;

const TRUNCATED: &str = "the document ends too early";
const MALFORMED: &str = "not well-formed XML";
const ENTITY: &str = "an unknown entity";

/// A pull reader over one document.
pub(crate) struct Reader<'a> {
    text: &'a str,
    inner: quick_xml::Reader<&'a [u8]>,
    bindings: SmallVec<[Binding<'a>; 8]>,
    /// How many elements are open.
    depth: usize,
    /// Attributes of the element that was begun last, as written.
    attributes: SmallVec<[Attribute<'a>; 8]>,
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
    Text(BytesText<'a>),
    CData(BytesCData<'a>),
    /// What was written as a reference.
    Character(char),
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
            inner: quick_xml::Reader::from_str(text),
            bindings: SmallVec::new(),
            depth: 0,
            attributes: SmallVec::new(),
            empty: false,
        }
    }

    /// What is wrong with what was read last.
    pub(crate) fn bad(&self, problem: &'static str) -> BadBody {
        BadBody { place: format!("byte {}", self.inner.buffer_position()), problem }
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
                Token::Text(_) | Token::CData(_) | Token::Character(_) => {}
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
                Token::Text(part) => part.xml10_content(),
                Token::CData(part) => part.xml10_content(),
                Token::Character(one) => Cow::Owned(one.to_string()),
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
            let from = self.inner.buffer_position() as usize;
            return match self.inner.read_event() {
                Ok(Event::Start(tag)) => self.enter(from, &tag).map(Token::Start),
                Ok(Event::Empty(tag)) => {
                    self.empty = true;
                    self.enter(from, &tag).map(Token::Start)
                }
                Ok(Event::End(_)) => {
                    self.leave();
                    Ok(Token::End)
                }
                Ok(Event::Text(part)) => Ok(Token::Text(part)),
                Ok(Event::CData(part)) => Ok(Token::CData(part)),
                Ok(Event::GeneralRef(name)) => character(&name).map(Token::Character).ok_or_else(|| self.bad(ENTITY)),
                Ok(Event::DocType(_)) => Err(self.bad("a document type is refused")),
                Ok(Event::Eof) | Err(Error::Syntax(_)) => Err(self.bad(TRUNCATED)),
                Ok(Event::Comment(_) | Event::PI(_) | Event::Decl(_)) => continue,
                Err(_) => Err(self.bad(MALFORMED)),
            };
        }
    }

    /// Begins the element whose tag was written at `from`.
    fn enter(&mut self, from: usize, tag: &BytesStart<'_>) -> Result<Element<'a>, BadBody> {
        // The same text as the event's, which lends it for as long as the event lives only.
        let content = self.text.get(from + 1..).and_then(|rest| rest.get(..tag.len()));
        let content = content.ok_or_else(|| self.bad(MALFORMED))?;
        let qualified = &content[..tag.name().into_inner().len()];
        if qualified.is_empty() {
            return Err(self.bad(MALFORMED));
        }
        if self.depth == DEPTH {
            return Err(self.bad("elements nest too deep"));
        }
        self.depth += 1;
        self.attributes.clear();
        for attribute in Attributes::new(content, qualified.len()).with_checks(false) {
            let attribute = attribute.map_err(|_| self.bad(MALFORMED))?;
            if attribute.value.len() > VALUE {
                return Err(self.bad("a value is too long"));
            }
            if self.attributes.len() == ATTRIBUTES {
                return Err(self.bad("an element has too many attributes"));
            }
            if let (Some(declared), Cow::Borrowed(uri)) = (attribute.key.as_namespace_binding(), &attribute.value) {
                if self.bindings.len() == BINDINGS {
                    return Err(self.bad("too many namespaces"));
                }
                let prefix = match declared {
                    PrefixDeclaration::Default => "",
                    PrefixDeclaration::Named(prefix) => prefix,
                };
                self.bindings.push(Binding { prefix, uri: uri.trim_ascii(), depth: self.depth });
            }
            self.attributes.push(attribute);
        }
        let (prefix, name) = split(qualified);
        let ns = self.binding(prefix).map_or("", |index| self.bindings[index].uri);
        Ok(Element { ns, name, qualified })
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

    fn value(&self, attribute: &Attribute<'a>) -> Result<Cow<'a, str>, BadBody> {
        attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| self.bad(ENTITY))
    }

    /// The attributes of the element that was begun last: names as written, values unescaped.
    pub(crate) fn attributes(&self, mut each: impl FnMut(&'a str, Cow<'a, str>)) -> Result<(), BadBody> {
        for attribute in &self.attributes {
            each(attribute.key.into_inner(), self.value(attribute)?);
        }
        Ok(())
    }

    /// One attribute of the element that was begun last, by its name as written.
    pub(crate) fn attribute(&self, name: &str) -> Result<Option<Cow<'a, str>>, BadBody> {
        let found = self.attributes.iter().find(|attribute| attribute.key.into_inner() == name);
        found.map(|attribute| self.value(attribute)).transpose()
    }

    /// Appends the element that was begun last to `out`, so that it stands for itself: every namespace in use is
    /// declared on it, comments are gone, and it is well-formed. It is left out when it would not be, or when
    /// `out` would become longer than `room`; then the answer is false.
    pub(crate) fn copy(&mut self, element: Element<'a>, out: &mut Vec<u8>, room: usize) -> Result<bool, BadBody> {
        let start = out.len();
        let outside = self.depth - 1;
        let outer = self.bindings.iter().take_while(|binding| binding.depth < self.depth).count();
        let mut copy = Copy { used: 0, no_default: false, sound: true, begun: 0, open: SmallVec::new() };
        let declarations = start + 1 + element.qualified.len();
        copy.begin(self, element, outer, out);
        while self.depth > outside {
            let token = self.next()?;
            if !copy.sound || out.len() > room {
                continue;
            }
            match token {
                Token::Start(element) => copy.begin(self, element, outer, out),
                Token::Text(part) => text(out, &part.xml10_content()),
                Token::CData(part) => text(out, &part.xml10_content()),
                Token::Character(one) => text(out, one.encode_utf8(&mut [0; 4])),
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
                    value(&mut declared, &unescape(binding.uri).map_err(|_| self.bad(ENTITY))?);
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
        for attribute in &reader.attributes {
            let name = attribute.key.into_inner();
            let (prefix, local) = split(name);
            let declares = prefix == "xmlns" || name == "xmlns";
            let ns = if declares {
                // Prefixes may neither be undeclared nor be the reserved ones.
                self.sound &=
                    name == "xmlns" || (!attribute.value.trim().is_empty() && local != "xml" && local != "xmlns");
                self.sound &= is_name(local);
                "xmlns"
            } else {
                self.resolve(reader, name, false, outer).unwrap_or_default()
            };
            self.sound &= !seen.contains(&(ns, local));
            seen.push((ns, local));
            let Ok(unescaped) = reader.value(attribute) else {
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

/// The character that a reference stands for; there are no entities but those that XML has itself.
fn character(name: &BytesRef<'_>) -> Option<char> {
    match name.resolve_char_ref() {
        Ok(None) => resolve_predefined_entity(name)?.chars().next(),
        numbered => numbered.ok()?,
    }
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
    use expect_test::{Expect, expect};

    /// What a document says: names with their namespaces, attributes and texts.
    fn said(text: &str) -> Result<String, BadBody> {
        fn inside(reader: &mut Reader<'_>, element: Element<'_>, said: &mut String) -> Result<(), BadBody> {
            *said += &format!("<{}|{}", element.ns, element.name);
            reader.attributes(|name, value| *said += &format!(" {name}={value:?}"))?;
            *said += ">";
            loop {
                match reader.next()? {
                    Token::Start(child) => inside(reader, child, said)?,
                    Token::Text(part) => *said += &part.xml10_content(),
                    Token::CData(part) => *said += &format!("[{}]", part.xml10_content()),
                    Token::Character(one) => *said += &format!("({one})"),
                    Token::End => break *said += "</>",
                }
            }
            Ok(())
        }
        let mut reader = Reader::new(text);
        let root = reader.root()?;
        let mut said = String::new();
        inside(&mut reader, root, &mut said)?;
        Ok(said)
    }

    fn check(text: &str, expected: Expect) {
        expected.assert_eq(&said(text).unwrap_or_else(|error| format!("error: {error}")));
    }

    #[test]
    fn whatever_way_it_is_written() {
        check(
            "<?xml version='1.0'?>\n<!-- > --><a b = '1'\tc=\"'>\"\n><?a ?><b/>x<b\t></b ></a\r\n>",
            expect![[r#"<|a b="1" c="'>"><|b></>x<|b></></>"#]],
        );
        check("<a>&lt;&#65;&#x1F600;&amp;<![CDATA[<&]]]>&gt;]]></a>", expect!["<|a>(<)(A)(😀)(&)[<&]](>)]]></>"]);
        check("<a b='&lt;&#65;&quot;&apos;&#10;'/>", expect![[r#"<|a b="<A\"'\n"></>"#]]);
        check(
            "<a b='1\r\n2\n3\r4\t5'>1\r\n2\n3\r4\t5<![CDATA[\r\n]]></a>",
            expect![[r#"
            <|a b="1 2 3 4 5">1
            2
            3
            4	5[
            ]</>"#]],
        );
        check("<a>one</a><b>two", expect!["<|a>one</>"]);
    }

    #[test]
    fn namespaces() {
        check(
            "<a><b xmlns=' urn:1 '><c/></b><d/></a>",
            expect![[r#"<|a><urn:1|b xmlns=" urn:1 "><urn:1|c></></><|d></></>"#]],
        );
        check(
            "<p:a xmlns:p='urn:1' xmlns='urn:2'><b xmlns:p='urn:3'><p:c/></b><p:d xmlns=''><e/></p:d></p:a>",
            expect![[
                r#"<urn:1|a xmlns:p="urn:1" xmlns="urn:2"><urn:2|b xmlns:p="urn:3"><urn:3|c></></><urn:1|d xmlns=""><|e></></></>"#
            ]],
        );
        check("<p:a/>", expect!["<|a></>"]);
    }

    #[test]
    fn what_is_malformed() {
        for text in
            ["", "text", "<", "<a", "<a b='>", "<a>", "<a><b></b>", "<a><!-- ", "<a><![CDATA[</a>", "<?a ", "<a></a"]
        {
            assert_eq!(said(text).unwrap_err().problem, TRUNCATED, "{text}");
        }
        for text in [
            "</a>",
            "<a></b>",
            "<a><b></a></b>",
            "< a/>",
            "<>",
            "<a b/>",
            "<a b=c/>",
            "<a 'b'/>",
            "<a>&b</a>",
            "<a>&</a>",
        ] {
            assert_eq!(said(text).unwrap_err().problem, MALFORMED, "{text}");
        }
        let unknown = ["", "nbsp", "#", "#x", "#0", "#xD800", "#x110000", "#+65", "#-1", "#99999999999"];
        for name in unknown {
            assert_eq!(said(&format!("<a>&{name};</a>")).unwrap_err().problem, ENTITY, "{name}");
            assert_eq!(said(&format!("<a b='&{name};'/>")).unwrap_err().problem, ENTITY, "{name}");
        }
    }

    /// Places are bytes of the document, after what is wrong.
    #[test]
    fn places() {
        check("<a>\u{e4}</b>", expect!["error: byte 9: not well-formed XML"]);
        check("<a><b c='1' d></a>", expect!["error: byte 14: not well-formed XML"]);
        check("<a>12&nbsp;</a>", expect!["error: byte 11: an unknown entity"]);
        check("<!DOCTYPE a [<!ENTITY b '&c;&c;'>]><a>&b;</a>", expect!["error: byte 35: a document type is refused"]);
    }

    #[test]
    fn bounds() {
        let nested = |depth| said(&("<a>".repeat(depth) + &"</a>".repeat(depth))).map(drop);
        assert_eq!(nested(DEPTH), Ok(()));
        assert_eq!(nested(DEPTH + 1).unwrap_err().problem, "elements nest too deep");
        let tag = |what: &str, count| {
            let attributes: String = (0..count).map(|n| format!(" {what}{n}=''")).collect();
            said(&format!("<a{attributes}/>")).map(drop)
        };
        assert_eq!(tag("b", ATTRIBUTES), Ok(()));
        assert_eq!(tag("b", ATTRIBUTES + 1).unwrap_err().problem, "an element has too many attributes");
        let scoped = |count| {
            let inner: String = (0..count).map(|n| format!("<a xmlns:p{n}='u'/>")).collect();
            let outer: String = (1..BINDINGS).map(|n| format!(" xmlns:q{n}='u'")).collect();
            said(&format!("<a{outer}>{inner}</a>")).map(drop)
        };
        assert_eq!(scoped(100), Ok(()));
        let twice =
            format!("<a{0}><a{0}/></a>", (0..BINDINGS / 2 + 1).map(|n| format!(" xmlns:p{n}='u'")).collect::<String>());
        assert_eq!(said(&twice).unwrap_err().problem, "too many namespaces");
        let value = |length| said(&format!("<a b='{}'/>", "x".repeat(length))).map(drop);
        assert_eq!(value(VALUE), Ok(()));
        assert_eq!(value(VALUE + 1).unwrap_err().problem, "a value is too long");
        let text = |inside: String| {
            let document = format!("<a>{inside}</a>");
            let mut reader = Reader::new(&document);
            reader.root().and_then(|_| Ok(reader.text()?.len()))
        };
        assert_eq!(text("x".repeat(TEXT)), Ok(TEXT));
        for inside in ["x".repeat(TEXT + 1), "&amp;".repeat(TEXT + 1), "<![CDATA[x]]>".repeat(TEXT + 1)] {
            assert_eq!(text(inside).unwrap_err().problem, "a text is too long");
        }
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
}
