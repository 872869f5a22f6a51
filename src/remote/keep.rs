//! What programs have asked for over HTTP outlives a restart: it is in the store until they take it back. What belongs
//! to somebody who listens ends with them, and is not kept.
//!
//! In their records packages are named, for their numbers change with the configuration.

use super::Remote;
use super::publish::Own;
use bytes::Bytes;
use lamplighter_model::{Record, RemoteContent, RemoteRecord, RemoteWish, Time};
use lamplighter_sip::client::Body;
use lamplighter_sip::client::fields::{In, Out};

/// Subscriptions have the records from here on, by their numbers; the agent's are below.
const SUBSCRIPTIONS: u32 = 1 << 31;
/// And publications those from here on.
const PUBLICATIONS: u32 = SUBSCRIPTIONS | 1 << 30;
/// Numbers that are so far apart share a record. There are never so many at once, nor does one live so long.
const APART: u64 = 1 << 30;
/// The first byte.
const VERSION: u8 = 2;

/// What the store has kept, before all of it is there.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    wishes: Vec<(u64, RemoteWish)>,
    own: Vec<(u64, RemoteRecord, Box<str>, Body)>,
}

fn key(first: u32, number: u64) -> u32 {
    first | (number % APART) as u32
}

impl Remote {
    fn keep_record(&mut self, record: Record) {
        if self.settings.agent.store {
            self.keeping.push(record);
        }
    }

    /// A program wants this subscription until it says otherwise; or it has changed it.
    pub(crate) fn keep_subscription(&mut self, number: u64) {
        let Some(wish) = self.kept_wish(number) else { return };
        let RemoteWish { resource, subscriber, package, event_id, target, contact, .. } = wish;
        let RemoteWish { outbound_proxy, headers, expires, accept, list, owner, .. } = wish;
        let mut out = Out::new(VERSION, b's');
        out.number(number);
        out.text(owner);
        out.text(resource);
        out.text(self.config.packages.get(*package).name());
        for field in [subscriber, event_id, target, contact, outbound_proxy] {
            out.optional(field);
        }
        out.duration(*expires);
        out.headers(headers);
        out.list(accept, |out, one| out.text(one));
        out.number(u64::from(*list));
        let key = key(SUBSCRIPTIONS, number);
        self.keep_record(Record::Standing { key, until: Time::NEVER, bytes: out.into_bytes().into() });
    }

    pub(crate) fn forget_subscription(&mut self, number: u64) {
        self.keep_record(Record::StandingGone { key: key(SUBSCRIPTIONS, number) });
    }

    /// The same for a publication.
    pub(crate) fn keep_publication(&mut self, number: u64) {
        let Some(Own { record, content_type, body, .. }) = self.own.get(&number).filter(|own| own.kept) else { return };
        let RemoteRecord { resource, publisher, package, id, target, outbound_proxy, .. } = record;
        let RemoteRecord { headers, expires, owner, .. } = record;
        let mut out = Out::new(VERSION, b'p');
        out.number(number);
        out.text(owner);
        out.text(resource);
        out.text(self.config.packages.get(*package).name());
        for field in [publisher, id, target, outbound_proxy] {
            out.optional(field);
        }
        out.duration(*expires);
        out.text(content_type);
        out.bytes(&body.bytes);
        out.number(body.version_at.map_or(u64::MAX, u64::from));
        out.headers(headers);
        let key = key(PUBLICATIONS, number);
        self.keep_record(Record::Standing { key, until: Time::NEVER, bytes: out.into_bytes().into() });
    }

    pub(crate) fn forget_publication(&mut self, number: u64) {
        self.keep_record(Record::StandingGone { key: key(PUBLICATIONS, number) });
    }

    /// Whether the record is one of these, and makes sense. It counts when everything is back.
    pub(crate) fn restore_kept(&mut self, record: u32, bytes: &Bytes) -> Option<bool> {
        if record < SUBSCRIPTIONS {
            return None;
        }
        let known = self.read_kept(record, bytes).is_some();
        if !known {
            // Its package is gone from the configuration, or it is not what was written here.
            self.keep_record(Record::StandingGone { key: record });
        }
        Some(known)
    }

    fn read_kept(&mut self, record: u32, bytes: &Bytes) -> Option<()> {
        let [VERSION, kind, rest @ ..] = &bytes[..] else { return None };
        let mut from = In::new(rest);
        let number = from.number()?;
        let owner = from.text()?;
        let resource = from.text()?;
        let package = self.config.packages.find(from.bytes()?)?;
        match kind {
            b's' if record == key(SUBSCRIPTIONS, number) => {
                let subscriber = from.optional()?;
                let event_id = from.optional()?;
                let target = from.optional()?;
                let contact = from.optional()?;
                let outbound_proxy = from.optional()?;
                let expires = from.duration()?;
                let headers = from.headers()?;
                let accept = from.list(In::text)?;
                let list = from.number()? != 0;
                let wish = RemoteWish {
                    resource,
                    subscriber,
                    package,
                    event_id,
                    target,
                    contact,
                    outbound_proxy,
                    headers,
                    expires,
                    accept,
                    list,
                    owner,
                };
                self.kept.wishes.push((number, wish));
            }
            b'p' if record == key(PUBLICATIONS, number) => {
                let publisher = from.optional()?;
                let id = from.optional()?;
                let target = from.optional()?;
                let outbound_proxy = from.optional()?;
                let expires = from.duration()?;
                let content_type = from.text()?;
                let bytes = Bytes::copy_from_slice(from.bytes()?);
                let version_at = Some(from.number()?).filter(|at| *at != u64::MAX);
                let version_at = version_at.map(u32::try_from).transpose().ok()?;
                let body = Body { bytes, version_at };
                let headers = from.headers()?;
                let content = RemoteContent::State(Bytes::new());
                let record = RemoteRecord {
                    resource,
                    publisher,
                    package,
                    id,
                    content,
                    target,
                    outbound_proxy,
                    headers,
                    expires,
                    owner,
                };
                self.kept.own.push((number, record, content_type, body));
            }
            _ => return None,
        }
        Some(())
    }

    /// Everything is back: what programs wanted begins again under its number, in the dialogs that are still there.
    pub(crate) fn resume_kept(&mut self, now: Time) {
        let Kept { mut wishes, mut own } = std::mem::take(&mut self.kept);
        // Numbers are not given twice, even those of what cannot be served today.
        wishes.sort_unstable_by_key(|(number, _)| *number);
        own.sort_unstable_by_key(|(number, ..)| *number);
        for (number, wish) in wishes {
            self.next_sub = self.next_sub.max(number + 1);
            if self.subscribe_as(now, number, wish, None, None, false).is_ok() {
                self.mark_kept(number);
            }
        }
        for (number, record, content_type, body) in own {
            self.next_own = self.next_own.max(number + 1);
            if self.settings.elsewhere {
                self.publish_as(now, number, record, content_type, body);
                self.mark_own_kept(number);
            }
        }
    }
}
