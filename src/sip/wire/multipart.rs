//! Bodies of several parts: `multipart/related` (RFC 2387) with the framing of RFC 2046 section 5.1.
//!
//! Lines may end with LF alone. A line is a delimiter only if nothing but blanks follows the boundary, so that a boundary
//! may begin another one. A body whose last delimiter is missing was cut off, and is refused as a whole.

use super::event::media_type;
use super::lex::{text, trim, until};
use super::params::Params;
use memchr::memmem::Finder;

/// The longest boundary: RFC 2046 section 5.1.1 has 70 characters.
const BOUNDARY: usize = 70;
/// The longest head of a part, bytes.
const HEAD: usize = 4096;

/// One part.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Part<'a> {
    /// The value of Content-Type; empty: none.
    pub content_type: &'a [u8],
    /// The value of Content-ID without its angle brackets; empty: none.
    pub content_id: &'a [u8],
    /// Whether its Content-Transfer-Encoding changes the bytes: then they are not the document.
    pub encoded: bool,
    /// The document.
    pub body: &'a [u8],
}

/// Why a body of several parts cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadMultipart {
    /// There is no boundary, or a longer one than there can be.
    #[error("a multipart body without a boundary")]
    NoBoundary,
    /// The last delimiter is missing.
    #[error("the multipart body ends too early")]
    Truncated,
    /// There are more parts than allowed.
    #[error("too many parts")]
    TooMany,
    /// A part's headers are longer than 4 KiB.
    #[error("the headers of a part are too long")]
    Head,
}

/// All parts in order; at most `most`.
pub fn parts<'a>(content_type: &[u8], body: &'a [u8], most: usize) -> Result<Vec<Part<'a>>, BadMultipart> {
    let boundary = parameter(content_type, b"boundary").ok_or(BadMultipart::NoBoundary)?;
    if boundary.is_empty() || boundary.len() > BOUNDARY {
        return Err(BadMultipart::NoBoundary);
    }
    let delimiter = [b"--", &*boundary].concat();
    let (mut parts, mut begun) = (Vec::new(), None);
    for at in Finder::new(&delimiter).find_iter(body) {
        if at > 0 && body[at - 1] != b'\n' {
            continue;
        }
        let rest = &body[at + delimiter.len()..];
        let line = memchr::memchr(b'\n', rest).map_or(rest, |end| &rest[..=end]);
        let last = line.starts_with(b"--");
        let behind = if last { &line[2..] } else { line };
        if !trim(behind).is_empty() || (!last && line.last() != Some(&b'\n')) {
            continue;
        }
        if let Some(from) = begun {
            if parts.len() == most {
                return Err(BadMultipart::TooMany);
            }
            // The end of the line before a delimiter belongs to it.
            let inside = body.get(from..at).unwrap_or_default();
            let inside = inside.strip_suffix(b"\n").unwrap_or(inside);
            parts.push(part(inside.strip_suffix(b"\r").unwrap_or(inside))?);
        }
        if last {
            return Ok(parts);
        }
        begun = Some(at + delimiter.len() + line.len());
    }
    Err(BadMultipart::Truncated)
}

/// The part that says what the others are (RFC 2387 section 3.2): the one that `start` names, else the first.
pub fn root<'a>(content_type: &[u8], parts: &[Part<'a>]) -> Option<Part<'a>> {
    match parameter(content_type, b"start") {
        Some(start) => {
            let start = plain(&start);
            parts.iter().find(|part| part.content_id == start).copied()
        }
        None => parts.first().copied(),
    }
}

fn parameter(content_type: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let params = Params::of(&content_type[until(content_type, b';')..]);
    params.get(name).map(|value| text(value).into_owned().into_bytes())
}

/// Without angle brackets.
fn plain(id: &[u8]) -> &[u8] {
    let id = trim(id);
    id.strip_prefix(b"<").and_then(|id| id.strip_suffix(b">")).unwrap_or(id)
}

fn part(mut rest: &[u8]) -> Result<Part<'_>, BadMultipart> {
    let (mut part, whole) = (Part::default(), rest.len());
    loop {
        if whole - rest.len() > HEAD {
            return Err(BadMultipart::Head);
        }
        // A header goes on in lines that begin with a blank.
        let mut end = 0;
        loop {
            end += memchr::memchr(b'\n', &rest[end..]).map_or(rest.len() - end, |at| at + 1);
            if !matches!(rest.get(end), Some(b' ' | b'\t')) || trim(&rest[..end]).is_empty() {
                break;
            }
        }
        let (line, after) = rest.split_at(end);
        rest = after;
        if trim(line).is_empty() {
            part.body = rest;
            return Ok(part);
        }
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (trim(&line[..colon]), trim(&line[colon + 1..]));
        if name.eq_ignore_ascii_case(b"content-type") {
            part.content_type = value;
        } else if name.eq_ignore_ascii_case(b"content-id") {
            part.content_id = plain(value);
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            let plain = [&b"binary"[..], b"8bit", b"7bit", b"identity"];
            part.encoded = !plain.iter().any(|known| media_type(value).eq_ignore_ascii_case(known));
        }
    }
}
