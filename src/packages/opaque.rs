//! Packages that configuration declares: bodies are passed through untouched, the newest publication wins (PU-13).

use crate::json::Object;
use bytes::Bytes;
use lamplighter_model::config::Profile;
use lamplighter_model::package::{BadBody, Composed, Cuts, Expires, Format, Reading, Rendering, Sourced, View};
use lamplighter_model::time::Time;

/// One package of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The event type, such as `as-feature-event`.
    pub name: Box<str>,
    /// Its name in the feed; not that of a built-in package.
    pub kind: Box<str>,
    /// MIME types taken and given, the default first.
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
        Self {
            name: config.name.clone(),
            kind: config.kind.clone(),
            formats: config.content_types.iter().map(|content_type| Format::new(content_type)).collect(),
            expires: config.expires,
        }
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
                    base64(&body.bytes, out);
                    out.push(b'"');
                }
            }
        }
        object.end();
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

/// RFC 4648 section 4.
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            if place <= chunk.len() {
                out.push(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]);
            } else {
                out.push(b'=');
            }
        }
    }
}
