//! Packages that configuration declares: bodies are passed through untouched, the newest publication wins (PU-13).

mod base64;
mod pack;
mod read_json;

use crate::json::Object;
use bytes::Bytes;
use lamplighter_model::config::Profile;
use lamplighter_model::package::{BadBody, Composed, Cuts, Expires, Format, Reading, Rendering, Sourced, View};
use lamplighter_model::time::Time;
use pack::PackedBody;
use prost::Message;

/// One package of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The event type, such as `as-feature-event`.
    pub name: Box<str>,
    /// Its name in the feed; not that of a built-in package.
    pub kind: Box<str>,
    /// MIME types taken and given, the default first; `application/octet-stream` when there is none.
    pub content_types: Vec<Box<str>>,
    /// Lifetimes.
    pub expires: Expires,
}

/// A package that does not look into its bodies.
#[derive(Clone, Debug)]
pub struct Package {
    name: Box<str>,
    kind: Box<str>,
    formats: Vec<Format>,
    expires: Expires,
}

impl Package {
    /// As configured.
    pub fn new(config: &Config) -> Self {
        let mut formats: Vec<Format> = config.content_types.iter().map(|one| Format::new(one)).collect();
        if formats.is_empty() {
            formats.push(Format::new("application/octet-stream"));
        }
        Self { name: config.name.clone(), kind: config.kind.clone(), formats, expires: config.expires }
    }
}

/// A body as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Body {
    format: u8,
    bytes: Bytes,
}

impl lamplighter_model::package::Package for Package {
    type Fact = Body;
    type State = Option<Body>;

    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &str {
        &self.kind
    }

    fn formats(&self) -> &[Format] {
        &self.formats
    }

    fn expires(&self) -> Expires {
        self.expires
    }

    fn read(&self, format: u8, body: &[u8], _: Reading<'_>) -> Result<Body, BadBody> {
        Ok(Body { format, bytes: Bytes::copy_from_slice(body) })
    }

    fn read_json(&self, json: &[u8], _: Reading<'_>) -> Result<Body, BadBody> {
        read_json::read(json, &self.formats)
    }

    fn pack(&self, body: &Body, out: &mut Vec<u8>) {
        let format = self.formats.get(usize::from(body.format));
        let content_type = format.map(|format| format.content_type.to_string()).unwrap_or_default();
        let packed = PackedBody { content_type, bytes: body.bytes.clone() };
        packed.encode(out).expect("a vector takes every byte");
    }

    /// `None`, too, when the content type is configured no more.
    fn unpack(&self, packed: &[u8]) -> Option<Body> {
        let PackedBody { content_type, bytes } = PackedBody::decode(packed).ok()?;
        let format = self.formats.iter().position(|format| *format.content_type == *content_type)?;
        Some(Body { format: u8::try_from(format).ok()?, bytes })
    }

    fn compose(&self, _: Time, _: &str, sources: &[Sourced<'_, Body>]) -> Composed<Option<Body>> {
        let newest = sources.iter().filter(|one| one.live).max_by_key(|one| (one.stamp, one.source));
        Composed { state: newest.map(|one| one.fact.clone()), again: None }
    }

    fn is_change(&self, old: &Option<Body>, new: &Option<Body>) -> bool {
        old != new
    }

    fn write(&self, _: &str, state: &Option<Body>, how: Rendering, _: &Profile, out: &mut Vec<u8>) -> Cuts {
        // What may be hidden in a body that nobody understands cannot be hidden but as a whole.
        if let Some(body) = state
            && body.format == how.format
            && how.view == View::Full
        {
            out.extend_from_slice(&body.bytes);
        }
        Cuts::default()
    }

    /// `{"content_type":"text/plain","body":"..."}`; a body that is not UTF-8 comes in base64 as `body_base64`.
    fn json(&self, state: &Option<Body>, view: View, out: &mut Vec<u8>) {
        let mut object = Object::new(out);
        if let Some(body) = state
            && view == View::Full
        {
            if let Some(format) = self.formats.get(usize::from(body.format)) {
                object.string("content_type", &format.content_type);
            }
            match std::str::from_utf8(&body.bytes) {
                Ok(text) => object.string("body", text),
                Err(_) => {
                    let out = object.member("body_base64");
                    out.push(b'"');
                    base64::write(&body.bytes, out);
                    out.push(b'"');
                }
            }
        }
        object.end();
    }

    fn schema(&self) -> &'static str {
        include_str!("../schema/opaque.json")
    }

    fn describe(&self, state: &Option<Body>) -> String {
        match state {
            Some(body) => format!("{} bytes", body.bytes.len()),
            None => "nothing".to_owned(),
        }
    }

    fn rule(&self) -> &'static str {
        "the newest publication wins"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ME, at, damaged, hex, in_any_order, json, packed, reading, residue, sourced, view};
    use expect_test::expect;
    use lamplighter_model::package::Package as _;

    fn package() -> Package {
        Package::new(&Config {
            name: "as-feature-event".into(),
            kind: "features".into(),
            content_types: vec!["application/x-as-feature-event+XML".into(), "text/plain".into()],
            expires: crate::EXPIRES,
        })
    }

    /// PU-13: the newest body is given untouched, in its own format only.
    #[test]
    fn newest_body_untouched() {
        let package = package();
        assert_eq!((package.name(), package.kind()), ("as-feature-event", "features"));
        assert_eq!(&*package.formats()[0].content_type, "application/x-as-feature-event+xml");
        let bytes = b"\0not \xff XML <at all";
        let old = package.read(0, b"<old/>", reading(0)).unwrap();
        let new = package.read(1, bytes, reading(1)).unwrap();
        let gone = package.read(1, b"gone", reading(2)).unwrap();
        let sources = [sourced("b", 0, &old), sourced("a", 1, &new), residue("c", 2, &gone)];
        let state = in_any_order(&package, at(2), &sources).state;
        for (format, seen, expected) in [(1, View::Full, &bytes[..]), (0, View::Full, b""), (1, View::Masked, b"")] {
            let mut out = Vec::new();
            package.write(ME, &state, Rendering { format, ..view(seen) }, &Profile::default(), &mut out);
            assert_eq!(out, expected);
        }
        assert_eq!(
            json(&package, &state, View::Full),
            r#"{"content_type":"text/plain","body_base64":"AG5vdCD/IFhNTCA8YXQgYWxs"}"#
        );
        let older = package.compose(at(2), ME, &sources[..1]).state;
        assert_eq!(
            json(&package, &older, View::Full),
            r#"{"content_type":"application/x-as-feature-event+xml","body":"<old/>"}"#
        );
        assert_eq!(json(&package, &older, View::Masked), "{}");
        assert!(package.is_change(&older, &state) && !package.is_change(&state, &state));
        assert_eq!(package.describe(&state), "18 bytes");
    }

    /// HA-02: what the store keeps reads the same, even when formats have changed places, or have gone.
    #[test]
    fn packed_bodies_read_the_same() {
        let package = package();
        let bytes = packed(&package, &package.read(1, b"\0not \xff XML <at all", reading(0)).unwrap());
        damaged(&package, &bytes);
        expect![[r#"
            0a0a746578742f706c61696e1212006e6f7420ff20584d4c203c617420616c6c
        "#]]
        .assert_eq(&hex(&bytes));
        packed(&package, &package.read(0, b"", reading(0)).unwrap());
        let Package { mut formats, .. } = package.clone();
        formats.reverse();
        let other = Package { formats, ..package };
        assert_eq!(other.unpack(&bytes).unwrap().format, 0);
        assert_eq!(Package { formats: vec![Format::new("a/b")], ..other }.unpack(&bytes), None);
    }
}
