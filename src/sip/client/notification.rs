//! What a NOTIFY says, and how the version of its document follows the one before it.

use crate::wire;
use bytes::Bytes;

/// The most parts of a document in several parts, lists inside of lists included.
pub const MOST_PARTS: usize = 2048;

/// What the notifier says about a subscription (RFC 6665 section 4.1.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It was granted.
    Active,
    /// Somebody has yet to decide.
    Pending,
    /// It has ended.
    Terminated,
}

/// How the version of a document follows the one before it in the same subscription (RFC 4235 section 4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// The document has no version, or there is none.
    Unversioned,
    /// The first document of the subscription.
    First,
    /// One more than before.
    Next,
    /// More than one more than before.
    Gap,
    /// Not more than before.
    Stale,
}

impl Order {
    /// Of a version after the last one that was found.
    pub fn of(before: Option<u32>, found: Option<u32>) -> Self {
        match (before, found) {
            (_, None) => Self::Unversioned,
            (None, Some(_)) => Self::First,
            (Some(old), Some(new)) if new <= old => Self::Stale,
            (Some(old), Some(new)) if new - old == 1 => Self::Next,
            (Some(_), Some(_)) => Self::Gap,
        }
    }
}

/// What a NOTIFY said. Nobody has looked into the body yet: it may be of any type, and damaged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notification {
    /// Whether the subscription stands.
    pub standing: Standing,
    /// Why it ended, if it did and the notifier said why.
    pub reason: Option<Box<str>>,
    /// The type of the body in lower case, without parameters; empty without a body.
    pub content_type: Box<str>,
    /// The value of Content-Type as it came, for multipart bodies (RFC 4662) need its parameters.
    pub content_type_raw: Box<[u8]>,
    /// The body as it came.
    pub body: Bytes,
    /// How its version follows.
    pub order: Order,
}

/// The version of a document; of several parts that of the one which says what the others are.
pub fn document_version(content_type: &[u8], body: &[u8]) -> Option<u32> {
    const MULTIPART: &[u8] = b"multipart/";
    let kind = wire::media_type(content_type);
    let several = kind.get(..MULTIPART.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(MULTIPART));
    let parts = if several { wire::multipart::parts(content_type, body, MOST_PARTS).ok()? } else { Vec::new() };
    let body = if several { wire::multipart::root(content_type, &parts)?.body } else { body };
    std::str::from_utf8(root_attribute(body, b"version")?).ok()?.trim().parse().ok()
}

/// An attribute of an XML document's root element, as it is written.
pub fn root_attribute<'a>(body: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut rest = body;
    // Declaration, comments and document type come before the root element, whose name starts with a letter.
    let root = loop {
        let at = memchr::memchr(b'<', rest)?;
        rest = &rest[at + 1..];
        if rest.first()?.is_ascii_alphabetic() {
            break rest;
        }
        if rest.starts_with(b"!--") {
            rest = &rest[memchr::memmem::find(rest, b"-->")?..];
        }
    };
    let mut at = root.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'>')?;
    loop {
        at += root[at..].iter().position(|byte| !byte.is_ascii_whitespace())?;
        let name_end = at + root[at..].iter().position(|byte| matches!(byte, b'=' | b'>'))?;
        if root[name_end] == b'>' {
            return None;
        }
        let quote = name_end + root[name_end..].iter().position(|byte| matches!(byte, b'"' | b'\''))?;
        let end = quote + 1 + memchr::memchr(root[quote], &root[quote + 1..])?;
        if root[at..name_end].trim_ascii() == wanted {
            return Some(&root[quote + 1..end]);
        }
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<u32>) {
        assert_eq!(document_version(b"application/x+xml", body.as_bytes()), expected, "{body}");
    }

    /// QS-14: the version of a list is that of the document which names its members.
    #[test]
    fn versions_of_lists_are_found_in_the_root_part() {
        let body = "--b\r\nContent-ID: <a@b>\r\n\r\n<presence version='9'/>\r\n--b\r\nContent-ID: <l>\r\n\r\n\
                    <list version='4'/>\r\n--b--";
        let version = |kind: &str| document_version(kind.as_bytes(), body.as_bytes());
        assert_eq!(version("Multipart/Related; start=\"<l>\"; boundary=b"), Some(4));
        assert_eq!(version("multipart/related;boundary=b"), Some(9));
        assert_eq!(version("multipart/related;boundary=c"), None);
    }

    #[test]
    fn versions_are_found_at_the_root_only() {
        check(r#"<?xml version="1.0"?><dialog-info xmlns="urn:x" version="7" state="full"/>"#, Some(7));
        check("<!-- version='3' --><dialog-info\r\n  version = '0'>", Some(0));
        check(r#"<?xml version="1.0"?><presence entity="a"><x version="1"/></presence>"#, None);
        check(r#"<reginfo version="4294967296">"#, None);
        for cut in ["", "<", "<a", "<a ", "<a version", "<a version=", "<a version=\"", "<!--", "<?xml", "Voice: 1"] {
            check(cut, None);
        }
    }
}
