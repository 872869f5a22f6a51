//! What a restart needs to take up a subscription or publication where it was left, as values and as bytes.
//!
//! The bytes are a version and a list of fields, each with its length: whoever reads them needs to know nothing that
//! is not in them. Times are absolute.

use super::fields::{In, Out};
use super::settings::{Record, Watch};
use lamplighter_model::Time;

/// The first byte of what [`Standing::encode`] writes.
const VERSION: u8 = 1;

/// Something that outlives the process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// A subscription with its dialog.
    Subscription(DialogStanding),
    /// A publication that a server holds.
    Publication(PublicationStanding),
}

/// A subscription with its dialog (RFC 3261 section 12).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DialogStanding {
    /// What was subscribed to.
    pub watch: Watch,
    /// Call-ID.
    pub call_id: Box<str>,
    /// Our tag, which names the place in the agent's table.
    pub local_tag: Box<str>,
    /// Their tag.
    pub remote_tag: Box<[u8]>,
    /// The Request-URI: their newest Contact.
    pub target: Box<[u8]>,
    /// The route set.
    pub routes: Vec<Box<[u8]>>,
    /// CSeq numbers up to this one may have been used.
    pub reserved: u32,
    /// When the lease ends.
    pub until: Time,
}

/// A publication that a server holds. What was published is not in it: its owner knows better.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PublicationStanding {
    /// What was published, with an empty body.
    pub record: Record,
    /// The entity-tag.
    pub entity_tag: Box<[u8]>,
    /// The Request-URI, where a redirection has changed it.
    pub target: Option<Box<[u8]>>,
    /// When the lease ends.
    pub until: Time,
    /// Versions up to this one may have been used.
    pub version: u32,
    /// A fingerprint of the body, without a key: tells whether it has changed since.
    pub print: u128,
    /// Call-ID.
    pub call_id: Box<str>,
    /// Our tag.
    pub local_tag: Box<str>,
    /// CSeq numbers up to this one may have been used.
    pub reserved: u32,
}

impl Standing {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out;
        match self {
            Self::Subscription(it) => {
                out = Out::new(VERSION, b's');
                let Watch {
                    resource,
                    subscriber,
                    event,
                    accept,
                    expires,
                    target,
                    contact,
                    proxy,
                    routes,
                    headers,
                    forks,
                } = &it.watch;
                out.text(resource);
                out.optional(subscriber);
                out.text(event);
                out.text(accept);
                out.duration(*expires);
                out.optional(target);
                out.optional(contact);
                out.optional(proxy);
                out.list(routes, |out, route| out.text(route));
                out.headers(headers);
                out.number(u64::from(*forks));
                out.text(&it.call_id);
                out.text(&it.local_tag);
                out.bytes(&it.remote_tag);
                out.bytes(&it.target);
                out.list(&it.routes, |out, route| out.bytes(route));
                out.number(u64::from(it.reserved));
                out.number(it.until.as_micros());
            }
            Self::Publication(it) => {
                out = Out::new(VERSION, b'p');
                let Record { key, resource, publisher, target, event, content_type, expires, proxy, headers, body: _ } =
                    &it.record;
                out.text(key);
                out.text(resource);
                out.optional(publisher);
                out.optional(target);
                out.text(event);
                out.text(content_type);
                out.duration(*expires);
                out.optional(proxy);
                out.headers(headers);
                out.bytes(&it.entity_tag);
                out.number(u64::from(it.target.is_some()));
                out.bytes(it.target.as_deref().unwrap_or_default());
                out.number(it.until.as_micros());
                out.number(u64::from(it.version));
                out.bytes(&it.print.to_be_bytes());
                out.text(&it.call_id);
                out.text(&it.local_tag);
                out.number(u64::from(it.reserved));
            }
        }
        out.into_bytes()
    }

    /// From bytes; `None` if they are not what [`Self::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [VERSION, kind, rest @ ..] = bytes else { return None };
        let mut from = In::new(rest);
        let it = match kind {
            b's' => Self::Subscription(DialogStanding {
                watch: Watch {
                    resource: from.text()?,
                    subscriber: from.optional()?,
                    event: from.text()?,
                    accept: from.text()?,
                    expires: from.duration()?,
                    target: from.optional()?,
                    contact: from.optional()?,
                    proxy: from.optional()?,
                    routes: from.list(In::text)?,
                    headers: from.headers()?,
                    forks: from.number()? != 0,
                },
                call_id: from.text()?,
                local_tag: from.text()?,
                remote_tag: from.bytes()?.into(),
                target: from.bytes()?.into(),
                routes: from.list(|from| from.bytes().map(Into::into))?,
                reserved: from.small()?,
                until: Time::from_micros(from.number()?),
            }),
            b'p' => Self::Publication(PublicationStanding {
                record: Record {
                    key: from.text()?,
                    resource: from.text()?,
                    publisher: from.optional()?,
                    target: from.optional()?,
                    event: from.text()?,
                    content_type: from.text()?,
                    expires: from.duration()?,
                    proxy: from.optional()?,
                    headers: from.headers()?,
                    body: super::Body::default(),
                },
                entity_tag: from.bytes()?.into(),
                target: {
                    let there = from.number()? != 0;
                    Some(from.bytes()?.into()).filter(|_| there)
                },
                until: Time::from_micros(from.number()?),
                version: from.small()?,
                print: u128::from_be_bytes(from.bytes()?.try_into().ok()?),
                call_id: from.text()?,
                local_tag: from.text()?,
                reserved: from.small()?,
            }),
            _ => return None,
        };
        from.is_empty().then_some(it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn examples() -> [Standing; 2] {
        let watch = Watch {
            resource: "sip:102@office.example".into(),
            subscriber: Some("sip:101@office.example".into()),
            event: "dialog;id=7".into(),
            accept: "application/dialog-info+xml".into(),
            expires: Some(Duration::from_secs(600)),
            routes: vec!["<sip:edge;lr>".into(), "<sip:core;lr>".into()],
            headers: vec![("X-Tenant".into(), "7".into())],
            forks: true,
            ..Watch::default()
        };
        let subscription = DialogStanding {
            watch,
            call_id: "call".into(),
            local_tag: "c00000001".into(),
            remote_tag: (*b"\xff\0").into(),
            target: (*b"sip:there").into(),
            routes: vec![(*b"<sip:p1;lr>").into()],
            reserved: 1 << 30,
            until: Time::from_micros(1 << 50),
        };
        let publication = PublicationStanding {
            record: Record { key: "k".into(), expires: None, proxy: Some("sip:p".into()), ..Record::default() },
            entity_tag: (*b"tag").into(),
            target: Some((*b"sip:elsewhere").into()),
            until: Time::from_micros(7),
            version: 3,
            print: u128::MAX - 5,
            ..PublicationStanding::default()
        };
        [Standing::Subscription(subscription), Standing::Publication(publication)]
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is_read() {
        for one in examples() {
            let bytes = one.encode();
            assert_eq!(Standing::decode(&bytes), Some(one));
            for end in 0..bytes.len() {
                assert_eq!(Standing::decode(&bytes[..end]), None, "{end}");
            }
            // A damaged byte may make another value, never a panic or a huge allocation.
            for at in 0..bytes.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[at] = value;
                    let _ = Standing::decode(&damaged);
                }
            }
        }
    }
}
