//! What tests of several packages share.

use crate::{Config, opaque, packages};
use lamplighter_model::config::Profile;
use lamplighter_model::package::{AnyPackage, BadBody, Composed, Package, Reading, Rendering, Sourced, Stamp, View};
use lamplighter_model::time::Time;
use std::time::Duration;

/// All packages, and one of the configuration.
pub(crate) fn everything() -> Vec<Box<dyn AnyPackage>> {
    let door = opaque::Config {
        name: "x-door".into(),
        kind: "door".into(),
        content_types: vec!["application/x-door".into()],
        expires: crate::EXPIRES,
    };
    packages(&Config { opaque: vec![door], ..Config::default() })
}

pub(crate) const ME: &str = "sip:1001@example.com";

/// A moment in a test: seconds after the start.
pub(crate) fn at(seconds: u64) -> Time {
    Time::from_micros(1_800_000_000_000_000) + Duration::from_secs(seconds)
}

pub(crate) fn reading(seconds: u64) -> Reading<'static> {
    Reading { presentity: ME, now: at(seconds), modifies: false }
}

pub(crate) fn stamp(seconds: u64) -> Stamp {
    Stamp { at: at(seconds), counter: seconds, node: 1 }
}

pub(crate) fn sourced<'a, F>(source: &'a str, seconds: u64, fact: &'a F) -> Sourced<'a, F> {
    Sourced { source, stamp: stamp(seconds), live: true, fact }
}

pub(crate) fn residue<'a, F>(source: &'a str, seconds: u64, fact: &'a F) -> Sourced<'a, F> {
    Sourced { live: false, ..sourced(source, seconds, fact) }
}

pub(crate) fn view(view: View) -> Rendering {
    Rendering { view, ..Rendering::default() }
}

/// The document, after a look at its cuts and whether it is well-formed.
pub(crate) fn xml<P: Package>(package: &P, state: &P::State, seen: View, profile: &Profile) -> String {
    let mut out = b"before".to_vec();
    let cuts = package.write(ME, state, view(seen), profile, &mut out);
    let text = String::from_utf8(out.split_off(6)).unwrap();
    assert_eq!(out, b"before");
    if let Some(version) = cuts.version {
        assert_eq!(&text[version as usize - 1..version as usize + 2], "\"0\"");
        assert!(cuts.entity.as_ref().unwrap().start > version);
    }
    if let Some(entity) = cuts.entity {
        assert_eq!(&text[entity.start as usize..entity.end as usize], ME);
    }
    well_formed(&text);
    text
}

pub(crate) fn json<P: Package>(package: &P, state: &P::State, view: View) -> String {
    let mut out = Vec::new();
    package.json(state, view, &mut out);
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
    text
}

/// Panics unless every prefix is bound, every name closed, every attribute unique and every character legal.
pub(crate) fn well_formed(text: &str) {
    use quick_xml::events::Event;
    use quick_xml::name::ResolveResult;
    let mut reader = quick_xml::NsReader::from_str(text);
    reader.config_mut().check_end_names = true;
    let mut depth = 0_i32;
    loop {
        let (ns, event) = reader.read_resolved_event().unwrap_or_else(|error| panic!("{error} in {text}"));
        assert!(!matches!(ns, ResolveResult::Unknown(_)), "an unbound prefix in {text}");
        match event {
            Event::Start(start) | Event::Empty(start) => {
                for attribute in start.attributes() {
                    let attribute = attribute.unwrap_or_else(|error| panic!("{error} in {text}"));
                    let (ns, _) = reader.resolver().resolve_attribute(attribute.key);
                    assert!(!matches!(ns, ResolveResult::Unknown(_)), "an unbound prefix in {text}");
                    quick_xml::escape::unescape(&attribute.value).unwrap();
                    assert!(!attribute.value.contains('<'));
                }
                depth += 1;
            }
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            Event::Text(part) => assert!(!part.contains("]]>") && (depth > 0 || part.trim().is_empty())),
            Event::DocType(_) => panic!("a document type in {text}"),
            _ => {}
        }
    }
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    assert!(text.chars().all(legal), "an illegal character in {text:?}");
}

/// Hands the sources over in every order (of up to 5) and returns what they all give, as JSON and as `format`.
pub(crate) fn in_any_order<P: Package>(package: &P, now: Time, sources: &[Sourced<'_, P::Fact>]) -> Composed<P::State> {
    let text = |composed: &Composed<P::State>| {
        let profile = Profile::default();
        let mut out = Vec::new();
        let cuts = package.write(ME, &composed.state, view(View::Full), &profile, &mut out);
        (String::from_utf8_lossy(&out).into_owned(), cuts, json(package, &composed.state, View::Full), composed.again)
    };
    let first = package.compose(now, ME, sources);
    let mut order: Vec<usize> = (0..sources.len()).collect();
    assert!(order.len() <= 5, "too many orders");
    permute(&mut order, 0, &mut |order| {
        let sources: Vec<Sourced<'_, P::Fact>> = order.iter().map(|&index| sources[index]).collect();
        let other = package.compose(now, ME, &sources);
        assert_eq!(text(&first), text(&other), "in the order {order:?}");
        assert!(!package.is_change(&first.state, &other.state));
    });
    first
}

fn permute(order: &mut Vec<usize>, from: usize, each: &mut impl FnMut(&[usize])) {
    if from == order.len() {
        return each(order);
    }
    for index in from..order.len() {
        order.swap(from, index);
        permute(order, from + 1, each);
        order.swap(from, index);
    }
}

/// What the store would keep of a fact, after a look at whether it reads the same, and harms nobody when damaged.
pub(crate) fn packed<P: Package>(package: &P, fact: &P::Fact) -> Vec<u8>
where
    P::Fact: PartialEq + std::fmt::Debug,
{
    let mut packed = b"before".to_vec();
    package.pack(fact, &mut packed);
    let packed = packed.split_off(6);
    assert_eq!(package.unpack(&packed).as_ref(), Some(fact));
    // A later version may have added fields: field 900, a varint; field 901, bytes.
    let later = [&packed[..], b"\xa0\x38\x07", b"\xaa\x38\x02ab"].concat();
    assert_eq!(package.unpack(&later).as_ref(), Some(fact));
    packed
}

/// Every truncation and every change of one byte is refused, or read as something that can be shown.
pub(crate) fn damaged<P: Package>(package: &P, packed: &[u8]) {
    let show = |bytes: &[u8]| {
        let Some(fact) = package.unpack(bytes) else { return };
        let state = package.compose(at(9), ME, &[sourced("a", 9, &fact), residue("b", 5, &fact)]).state;
        for seen in [View::Full, View::Masked, View::Busy] {
            package.write(ME, &state, view(seen), &Profile::default(), &mut Vec::new());
            json(package, &state, seen);
        }
    };
    (0..packed.len()).for_each(|end| show(&packed[..end]));
    let mut bytes = packed.to_vec();
    for place in 0..packed.len() {
        for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            bytes[place] ^= flip;
            show(&bytes);
            bytes[place] = packed[place];
        }
    }
}

/// Bytes as a golden file has them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(50).map(line).collect()
}

/// The text of a result, either way.
pub(crate) fn outcome<T: std::fmt::Debug>(result: Result<T, BadBody>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("error: {error}"),
    }
}

/// A small generator of our own: equal seeds give equal runs.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// Changes a body in a few places: bytes, cuts, doubled and moved parts, and pieces that readers may stumble over.
pub(crate) fn mutate(chance: &mut Chance, body: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
    let mut body = body.to_vec();
    for _ in 0..=chance.below(4) {
        let from = chance.below(body.len() + 1);
        let to = from + chance.below((body.len() - from).min(40) + 1);
        match chance.below(6) {
            0 if from < body.len() => body[from] = chance.below(256) as u8,
            1 => body.truncate(from),
            2 => drop(body.drain(from..to)),
            3 => {
                let part = body[from..to].to_vec();
                let place = chance.below(body.len() + 1);
                body.splice(place..place, part);
            }
            4 => {
                let part = body[from..to].repeat(chance.below(20));
                body.splice(from..to, part);
            }
            _ => {
                let piece = pieces[chance.below(pieces.len())];
                body.splice(from..to, piece.iter().copied());
            }
        }
    }
    body
}

/// What is put into XML bodies to break them.
pub(crate) const PIECES: [&[u8]; 26] = [
    b"<",
    b">",
    b"/>",
    b"</",
    b"&",
    b"&amp;",
    b"&#0;",
    b"&#x1F;",
    b"&#xFFFE;",
    b"&nobody;",
    b"\"",
    b"'",
    b"\0",
    b"\xff",
    b"\xef\xbf\xbf",
    b"<!-- -- -->",
    b"<![CDATA[ ]]&gt; ]]>",
    b"]]>",
    b"<?pi ?>",
    b"<!DOCTYPE a [<!ENTITY b \"c\">]>",
    b" xmlns=\"\"",
    b" xmlns:a=\"urn:a\"",
    b"<a:b a:c=\"1\" a:c=\"2\"/>",
    b"<x xmlns=\"urn:x\"><y z='\"'/></x>",
    b"=",
    b":",
];
