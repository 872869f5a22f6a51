//! The publication service (RFC 3903 section 6), and voicemail systems that send NOTIFY without being asked.

use crate::engine::{Engine, Request};
use crate::held::Promise;
use crate::host::Host;
use crate::reply::{Detail, Reply};
use crate::route::canonical;
use crate::server::Key;
use crate::wire::{Event, Name, Uri, media_type, seconds};
use lamplighter_model::package::Expires;
use lamplighter_model::{
    Content, Durability, EntityTag, Outbox, PackageId, Publish, PublishAction, PublishError, Published,
};
use std::time::Duration;

/// How long an unsolicited NOTIFY holds: voicemail systems send one when something changes, and perhaps each day.
const UNSOLICITED: Duration = Duration::from_secs(24 * 3600);

/// RFC 3261 section 10.2.8 and RFC 6665 section 4.2.1.1: intervals of an hour and more are never too brief.
const NEVER_TOO_BRIEF: Duration = Duration::from_secs(3600);

/// The answer to a request that was granted, and what the store may have to keep before it is given.
type Accepted = (Reply, Option<(PackageId, Published)>);

impl Engine {
    pub(crate) fn publish<H: Host>(
        &mut self,
        request: &Request<'_>,
        key: Key,
        address: &str,
        host: &mut H,
        out: &mut Outbox,
    ) {
        let before = host.unsaved();
        let tried = self.try_publish(request, address, host);
        self.settle(request, key, address, tried, host.unsaved() > before, out);
    }

    /// What a try has come to is said at once, or, if something of it is to be kept, when the store has it.
    fn settle(
        &mut self,
        request: &Request<'_>,
        key: Key,
        address: &str,
        tried: Result<Accepted, Reply>,
        unsaved: bool,
        out: &mut Outbox,
    ) {
        let (reply, published) = tried.unwrap_or_else(|refusal| (refusal, None));
        let durability = self.config.store.map_or(Durability::Memory, |store| store.publications);
        match published.filter(|_| unsaved && durability != Durability::Memory) {
            None => self.conclude(request, key, reply, out),
            Some((package, Published { tag, created })) => {
                let promise = Promise::Published { address: address.into(), package, tag, created };
                self.conclude_later(request, key, reply, durability, promise);
            }
        }
    }

    fn try_publish<H: Host>(&mut self, request: &Request<'_>, address: &str, host: &mut H) -> Result<Accepted, Reply> {
        let message = request.message;
        let package = self.package(request)?;
        let trusted = self.may_publish(request, address)?;
        let mut matches = message.all(Name::SipIfMatch);
        let tag = match (matches.next(), matches.next()) {
            (None, _) => None,
            (Some(tag), None) => Some(EntityTag::read(tag).ok_or(Reply::status(412))?),
            (Some(_), Some(_)) => return Err(Reply::status(400)),
        };
        let body = message.body();
        let news = tag.is_some() && !body.is_empty();
        let expires = if news { self.brief_expires(request, package) } else { self.expires(request, package) }?;
        let action = match tag {
            Some(tag) if body.is_empty() => PublishAction::Refresh { tag },
            Some(tag) => PublishAction::Modify { tag, content: self.content(request, package)? },
            None if body.is_empty() => return Err(Reply::status(400)),
            None => PublishAction::Initial { content: self.content(request, package)? },
        };
        let publish = Publish { resource: address, package, action, expires, from: request.flow.remote, trusted };
        let published = host.publish(request.now, publish).map_err(|error| self.refusal(&error))?;
        self.counters.count(lamplighter_model::Counter::Published);
        let detail = Detail::Published { tag: published.tag, expires: expires.as_secs() as u32 };
        Ok((Reply::with(200, detail), Some((package, published))))
    }

    fn refusal(&self, error: &PublishError) -> Reply {
        match error {
            PublishError::NoSuchTag => Reply::status(412),
            PublishError::BadBody(_) => Reply::status(400),
            PublishError::TooMany(_) | PublishError::NotStored => self.busy(),
            PublishError::IntervalTooBrief { least } => Reply::with(423, Detail::MinExpires(least.as_secs() as u32)),
        }
    }

    /// 503: a bound was met.
    pub(crate) fn busy(&self) -> Reply {
        Reply::with(503, Detail::RetryAfter(self.config.overload.retry_after.as_secs() as u32))
    }

    /// A NOTIFY outside any dialog, as voicemail systems send it. RFC 6665 section 4.2.2 knows none, so it is taken
    /// from trusted addresses only; others get what any NOTIFY without a subscription gets.
    pub(crate) fn unsolicited<H: Host>(
        &mut self,
        request: &Request<'_>,
        key: Key,
        address: &str,
        host: &mut H,
        out: &mut Outbox,
    ) {
        let before = host.unsaved();
        let tried = self.try_unsolicited(request, address, host);
        self.settle(request, key, address, tried, host.unsaved() > before, out);
    }

    fn try_unsolicited<H: Host>(
        &mut self,
        request: &Request<'_>,
        address: &str,
        host: &mut H,
    ) -> Result<Accepted, Reply> {
        let ip = request.flow.remote.ip();
        if !self.config.access.is_trusted(ip) {
            return Err(Reply::status(481));
        }
        let publish = |package| {
            if request.message.body().is_empty() {
                return Ok((Reply::status(200), None));
            }
            let source = format!("notify:{ip}");
            let action = PublishAction::Put { source: &source, content: self.content(request, package)? };
            let from = request.flow.remote;
            let publish = Publish { resource: address, package, action, expires: UNSOLICITED, from, trusted: true };
            let published = host.publish(request.now, publish).map_err(|error| self.refusal(&error))?;
            Ok((Reply::status(200), Some((package, published))))
        };
        self.package(request).and_then(publish)
    }

    /// The package that the Event header names (489 with Allow-Events when there is none such).
    pub(crate) fn package(&self, request: &Request<'_>) -> Result<PackageId, Reply> {
        let bad = Reply::with(489, Detail::AllowEvents);
        let event = request.message.first(Name::Event).and_then(Event::read).ok_or(bad)?;
        // A shared line is another package than the dialogs of a phone, although the event type is the same.
        let line = [&b"sla"[..], b"shared"].into_iter().find(|name| event.params.get(name).is_some());
        let found = match line {
            None => self.config.packages.find(event.package),
            Some(line) => self.config.packages.find(&[event.package, b";", line].concat()),
        };
        found.filter(|package| self.config.packages.get(*package).served()).ok_or(bad)
    }

    /// How long is asked for, within what the package allows (423 with Min-Expires when it is too brief).
    pub(crate) fn expires(&self, request: &Request<'_>, package: PackageId) -> Result<Duration, Reply> {
        let asked = self.brief_expires(request, package)?;
        let least = self.config.packages.expires(package).least;
        if !asked.is_zero() && asked < least && asked < NEVER_TOO_BRIEF {
            return Err(Reply::with(423, Detail::MinExpires(least.as_secs() as u32)));
        }
        Ok(asked)
    }

    /// How long is asked for, however brief. News of a publication are not refused for that, which RFC 3903 section 6
    /// leaves open: servers tell the end of a call with a few seconds (pua_dialoginfo: 11), and do not repeat it.
    fn brief_expires(&self, request: &Request<'_>, package: PackageId) -> Result<Duration, Reply> {
        let Expires { default, most, .. } = self.config.packages.expires(package);
        let Some(asked) = request.message.first(Name::Expires) else { return Ok(default) };
        let asked = Duration::from_secs(u64::from(seconds(asked).ok_or(Reply::status(400))?));
        Ok(asked.min(most))
    }

    /// The body, in one of the package's formats (415 when it is none of them).
    fn content<'a>(&self, request: &Request<'a>, package: PackageId) -> Result<Content<'a>, Reply> {
        let encoding = request.message.first(Name::ContentEncoding);
        if encoding.is_some_and(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity")) {
            return Err(Reply::with(415, Detail::AcceptEncoding));
        }
        let unknown = Reply::with(415, Detail::Accept(package));
        let kind = media_type(request.message.first(Name::ContentType).ok_or(unknown)?);
        let mut formats = self.config.packages.get(package).formats().iter();
        let format = formats.position(|format| format.content_type.as_bytes().eq_ignore_ascii_case(kind));
        let format = format.ok_or(unknown)? as u8;
        Ok(Content::Document { format, body: request.message.body() })
    }

    /// Whether the sender may publish for `address` (else 403); `true`: it is trusted.
    fn may_publish(&self, request: &Request<'_>, address: &str) -> Result<bool, Reply> {
        let ip = request.flow.remote.ip();
        let from = request.essentials.from.uri;
        let trusted = self.config.access.is_trusted(ip);
        let own = trusted || {
            let mut sender = String::new();
            canonical(from, &self.config.addresses, &mut sender).is_ok() && sender == address
        };
        let domain = Uri::read(from).map_or(&b""[..], |uri| uri.host);
        if self.config.access.publish(ip, domain, own) { Ok(trusted) } else { Err(Reply::status(403)) }
    }
}
