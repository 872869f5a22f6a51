//! One publication that is kept alive until withdrawn (RFC 3903 section 4).
//!
//! One PUBLISH is in flight at a time: newer states wait, and only the newest of them is sent. The entity-tag belongs
//! to the record and nobody else sees it. A server that no longer knows the tag (412) gets exactly one fresh PUBLISH
//! with the newest state; should that fail too, it is a failure like others.

use super::agent::Turn;
use super::compose::{self, Body, Origin, Request};
use super::dialog::BLOCK;
use super::event::{Cause, Event, PublicationId, Row, State as Public, Usage};
use super::hop::{Hop, redirection};
use super::settings::{Record, Settings};
use super::standing::PublicationStanding;
use super::subscriber::{HOPS, LONGEST, RAISES};
use crate::auth::Session;
use crate::wire::{self, Message, Name, write};
use bytes::Bytes;
use lamplighter_model::{Seed, Time};
use rsip::Method;
use std::time::Duration;

/// How often the removal of a publication is tried, while the server holds it.
const REMOVALS: u8 = 3;

/// What a PUBLISH asks for (RFC 3903 section 4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Initial,
    Refresh,
    Modify,
    Remove,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// A PUBLISH is out.
    Asking(Asked),
    /// The server holds what `tag` names; at `refresh_at` the lease is renewed.
    Held { refresh_at: Time },
    /// Something failed; the next attempt is at `until`.
    Paused { until: Time },
    /// Nothing is left to do.
    Over,
}

/// One publication, as its user wants it.
#[derive(Debug)]
pub struct Publication {
    id: PublicationId,
    record: Record,
    wanted: bool,
    /// Found at a restart, with a fingerprint of what was published; removed if nobody wants it by then.
    found: Option<(Time, u128)>,
    phase: Phase,
    cause: Option<Cause>,
    last_status: u16,
    /// What the server called the state that it holds.
    tag: Option<Box<[u8]>>,
    /// When the server lets go of it.
    until: Time,
    /// The record has changed since it was sent.
    dirty: bool,
    /// The version of the newest document sent.
    version: u32,
    call_id: Box<str>,
    local_tag: Box<str>,
    cseq: u32,
    /// CSeq numbers and versions up to this one are known to the store as used.
    reserved: u32,
    auth: Session,
    lease: Duration,
    redirected: Option<Box<[u8]>>,
    redirections: u8,
    failures: u32,
    raises: u8,
    removals: u8,
    sent: u64,
    /// The body that the PUBLISH in flight carries.
    body: Bytes,
}

/// Tells bodies apart, the same in every process: nobody gains from making two that look the same.
fn print(record: &Record) -> u128 {
    Seed(0, 0).fingerprint(&[record.content_type.as_bytes(), &record.body.bytes])
}

impl Publication {
    /// Publishes.
    pub fn new(id: PublicationId, record: Record, turn: &mut Turn<'_>) -> Self {
        let mut new = Self::blank(id, record, turn);
        new.send(Asked::Initial, turn);
        new
    }

    fn blank(id: PublicationId, record: Record, turn: &mut Turn<'_>) -> Self {
        Self {
            id,
            lease: turn.settings.pace.lease(record.expires),
            record,
            wanted: true,
            found: None,
            phase: Phase::Over,
            cause: None,
            last_status: 0,
            tag: None,
            until: turn.now,
            dirty: false,
            version: 0,
            call_id: format!("{:016x}{:016x}", turn.number(), turn.number()).into(),
            local_tag: format!("{:016x}", turn.number()).into(),
            cseq: 0,
            reserved: BLOCK,
            auth: Session::default(),
            redirected: None,
            redirections: 0,
            failures: 0,
            raises: 0,
            removals: 0,
            sent: 0,
            body: Bytes::new(),
        }
    }

    /// Takes up what an earlier process left: it is refreshed, changed or removed by its tag, never published twice.
    pub fn restore(id: PublicationId, standing: PublicationStanding, turn: &mut Turn<'_>) -> Self {
        let PublicationStanding { record, entity_tag, target, until, version, print, call_id, local_tag, reserved } =
            standing;
        let mut new = Self::blank(id, record, turn);
        new.found = Some((turn.now + turn.settings.pace.claim, print));
        (new.tag, new.until, new.version, new.redirected) = (Some(entity_tag), until, version, target);
        (new.call_id, new.local_tag, new.cseq, new.reserved) = (call_id, local_tag, reserved, reserved);
        let left = until.since(turn.now);
        let pause = turn.part_of(left - left / 8);
        new.phase = Phase::Held { refresh_at: turn.soon_after(pause).min(until) };
        new
    }

    /// Whether it can be forgotten.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether its user still wants it.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether a request is due or out.
    pub fn wants_to_send(&self) -> bool {
        matches!(self.phase, Phase::Asking(_))
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        let due = match self.phase {
            Phase::Held { refresh_at: at } | Phase::Paused { until: at } => Some(at),
            Phase::Asking(_) | Phase::Over => None,
        };
        [due, self.found.map(|(by, _)| by)].into_iter().flatten().min()
    }

    /// The record is now this one. The same content again is no change. One that is on its way out stays: its removal
    /// and a PUBLISH beside it could arrive in any order.
    pub fn update(&mut self, record: Record, turn: &mut Turn<'_>) {
        let same = match self.found.take() {
            Some((_, held)) => held == print(&record),
            None => self.record.content_type == record.content_type && self.record.body == record.body,
        };
        if record.expires != self.record.expires {
            self.lease = turn.settings.pace.lease(record.expires);
        }
        self.record = record;
        if !std::mem::replace(&mut self.wanted, true) {
            self.removals = 0;
            self.dirty = true;
            if let Phase::Held { .. } | Phase::Paused { .. } = self.phase {
                self.act(turn);
            }
        } else if !same {
            self.changed(turn);
        }
    }

    /// The state is now `body`.
    pub fn update_body(&mut self, body: Body, turn: &mut Turn<'_>) {
        if self.wanted && (self.record.body != body || self.found.is_some()) {
            self.found = None;
            self.record.body = body;
            self.changed(turn);
        }
    }

    fn changed(&mut self, turn: &mut Turn<'_>) {
        self.dirty = true;
        if let Phase::Held { .. } = self.phase {
            self.act(turn);
        }
    }

    /// Renews the lease now, without a body. Nothing happens while a PUBLISH is out or there is nothing to renew.
    pub fn refresh(&mut self, turn: &mut Turn<'_>) {
        if let Phase::Held { .. } | Phase::Paused { .. } = self.phase {
            self.act(turn);
        }
    }

    /// Removes it; [`Event::Withdrawn`] follows. `unsent`: the request that is due has not been sent yet.
    pub fn withdraw(&mut self, unsent: bool, turn: &mut Turn<'_>) {
        self.wanted = false;
        self.found = None;
        match self.phase {
            Phase::Held { .. } | Phase::Paused { .. } => self.act(turn),
            Phase::Asking(_) if unsent => self.act(turn),
            // The answer comes first: it brings the entity-tag that the removal must name.
            Phase::Asking(_) | Phase::Over => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        if self.found.is_some_and(|(by, _)| turn.now >= by) {
            return self.withdraw(false, turn);
        }
        match self.phase {
            Phase::Held { refresh_at: at } | Phase::Paused { until: at } if turn.now >= at => self.act(turn),
            _ => {}
        }
    }

    /// Where its next request goes first.
    pub fn hop(&self, settings: &Settings) -> Option<Hop> {
        match settings.proxy_for(self.record.proxy.as_deref(), &self.record.event) {
            Some(proxy) => Hop::read(proxy.as_bytes()),
            None => Hop::read(self.target()),
        }
    }

    fn target(&self) -> &[u8] {
        match (&self.redirected, &self.record.target) {
            (Some(redirected), _) => redirected,
            (None, Some(target)) => target.as_bytes(),
            (None, None) => self.record.resource.as_bytes(),
        }
    }

    /// Appends the request that is due.
    pub fn compose(&mut self, origin: Origin<'_>, out: &mut Vec<u8>) {
        let Phase::Asking(asked) = self.phase else { return };
        let mut auth = std::mem::take(&mut self.auth);
        let request = Request {
            method: Method::Publish,
            target: self.target(),
            routes: &[],
            from: self.record.publisher.as_deref().unwrap_or(&origin.settings.address),
            tag: &self.local_tag,
            to: &self.record.resource,
            to_tag: None,
            call_id: &self.call_id,
            cseq: self.cseq,
            event: &self.record.event,
            expires: if asked == Asked::Remove { Duration::ZERO } else { self.lease },
            extra: &self.record.headers,
        };
        request.begin(origin, &mut auth, &self.body, out);
        if let Some(tag) = self.tag.as_ref().filter(|_| asked != Asked::Initial) {
            write::header(out, "SIP-If-Match", tag);
        }
        if let Asked::Initial | Asked::Modify = asked {
            write::header(out, "Content-Type", self.record.content_type.as_bytes());
        }
        compose::end(&self.body, out);
        self.auth = auth;
    }

    /// The final answer to the request that is out has come.
    pub fn answered(&mut self, status: u16, answer: Message<'_>, turn: &mut Turn<'_>) {
        let Phase::Asking(asked) = self.phase else { return };
        self.last_status = status;
        turn.report(Event::Answered { usage: Usage::Publication(self.id), status });
        if let 401 | 407 = status {
            let cnonce = turn.number();
            if self.auth.challenged(answer, &turn.settings.credentials, cnonce).is_ok() {
                return self.send_again(asked, turn);
            }
        }
        self.auth.settled();
        let duration = |name| answer.first(name).and_then(wire::seconds).map(|it| Duration::from_secs(u64::from(it)));
        match (asked, status) {
            (_, 300..400) if self.redirections < HOPS && redirection(answer).is_some() => {
                self.redirections += 1;
                self.redirected = redirection(answer);
                self.send_again(asked, turn);
            }
            (_, 423) if self.raise(duration(Name::MinExpires).unwrap_or_default()) => self.send_again(asked, turn),
            (Asked::Remove, 200..300 | 412 | 404) if self.wanted => {
                self.tag = None;
                turn.save();
                self.send(Asked::Initial, turn);
            }
            (Asked::Remove, 200..300 | 412 | 404) => self.end(turn),
            (Asked::Remove, _) if self.wanted => self.fail(Cause::Status(status), duration(Name::RetryAfter), turn),
            (Asked::Remove, _) => self.remove_later(duration(Name::RetryAfter), turn),
            (_, 200..300) => {
                let lease = duration(Name::Expires).unwrap_or(self.lease).min(self.lease);
                let Some(tag) = answer.first(Name::SipETag).filter(|tag| !tag.is_empty()) else {
                    // Without a tag it can be neither kept nor changed; it is left to expire.
                    self.tag = None;
                    return self.fail(Cause::NoEntityTag, None, turn);
                };
                self.tag = Some(tag.into());
                (self.failures, self.raises, self.redirections, self.cause) = (0, 0, 0, None);
                self.until = turn.now + lease;
                self.phase = Phase::Held { refresh_at: turn.renewal(lease) };
                turn.save();
                turn.report(Event::Published { id: self.id, lease, refreshed: asked == Asked::Refresh });
                if self.dirty || !self.wanted {
                    self.act(turn);
                }
            }
            (_, _) if !self.wanted => {
                // What may still be there is removed by its tag, or expires.
                self.phase = Phase::Paused { until: turn.now };
                self.tag = self.tag.take().filter(|_| status != 412);
                self.act(turn);
            }
            (Asked::Refresh | Asked::Modify, 412) => {
                self.tag = None;
                // What a 423 has asked for once need not hold for ever.
                self.lease = turn.settings.pace.lease(self.record.expires);
                turn.save();
                if self.found.is_some() {
                    // What it said is gone with the process that knew; whoever wants it will say it again.
                    return self.end(turn);
                }
                self.send(Asked::Initial, turn);
            }
            (_, _) => self.fail(Cause::Status(status), duration(Name::RetryAfter), turn),
        }
    }

    fn raise(&mut self, least: Duration) -> bool {
        let good = least > self.lease && least <= LONGEST && self.raises < RAISES;
        if good {
            self.raises += 1;
            self.lease = least;
        }
        good
    }

    /// The request that is out was not answered, or could not be sent. Not before `not_before`, if there is one.
    pub fn unanswered(&mut self, cause: Cause, not_before: Option<Time>, turn: &mut Turn<'_>) {
        let Phase::Asking(asked) = self.phase else { return };
        self.last_status = cause.status();
        turn.report(Event::Answered { usage: Usage::Publication(self.id), status: self.last_status });
        let pause = not_before.map(|at| at.since(turn.now));
        match (asked, self.wanted) {
            (Asked::Remove, false) => self.remove_later(pause, turn),
            (_, false) if self.tag.is_some() => self.remove_later(pause, turn),
            // Whether it got there is not known; without a tag it can only expire.
            (_, false) => self.end(turn),
            (_, true) => self.fail(cause, pause, turn),
        }
    }

    /// Sends what is to be said next.
    fn act(&mut self, turn: &mut Turn<'_>) {
        if self.tag.is_some() && turn.now >= self.until {
            (self.tag, self.redirected) = (None, None);
            turn.save();
        }
        match (self.tag.is_some(), self.wanted) {
            (false, false) => self.end(turn),
            // What it said is gone with the process that knew.
            (false, true) if self.found.is_some() => self.end(turn),
            (false, true) => self.send(Asked::Initial, turn),
            (true, false) => self.send(Asked::Remove, turn),
            (true, true) if self.dirty => self.send(Asked::Modify, turn),
            (true, true) => self.send(Asked::Refresh, turn),
        }
    }

    fn fail(&mut self, cause: Cause, pause: Option<Duration>, turn: &mut Turn<'_>) {
        // Whether the server has taken the last body in is not known: it is said again.
        self.dirty |= self.found.is_none();
        if self.tag.is_none() {
            (self.redirected, self.redirections) = (None, 0);
        }
        turn.save();
        let until = turn.back_off_until(self.failures, pause);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Paused { until };
        self.cause = Some(cause.clone());
        turn.report(Event::PublicationLost { id: self.id, cause, again: until });
    }

    /// The removal failed: once more while the server holds it, but not for ever.
    fn remove_later(&mut self, pause: Option<Duration>, turn: &mut Turn<'_>) {
        self.removals += 1;
        let until = turn.back_off_until(u32::from(self.removals), pause);
        if self.removals >= REMOVALS || until >= self.until {
            return self.end(turn);
        }
        self.phase = Phase::Paused { until };
    }

    fn end(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Over;
        turn.save();
        turn.report(Event::Withdrawn { id: self.id });
    }

    fn send(&mut self, asked: Asked, turn: &mut Turn<'_>) {
        self.body = Bytes::new();
        if let Asked::Initial | Asked::Modify = asked {
            self.version = self.version.wrapping_add(1);
            self.body = self.record.body.with(self.version);
            self.dirty = false;
        }
        self.send_again(asked, turn);
    }

    /// The same once more, in a new transaction with the next CSeq.
    fn send_again(&mut self, asked: Asked, turn: &mut Turn<'_>) {
        self.cseq += 1;
        if self.cseq > self.reserved {
            self.reserved = self.cseq + BLOCK;
            turn.save();
        }
        self.sent += 1;
        self.phase = Phase::Asking(asked);
        turn.ask();
    }

    /// What a restart needs, while the server may hold something.
    pub fn standing(&self) -> Option<PublicationStanding> {
        let entity_tag = self.tag.clone().filter(|_| self.phase != Phase::Over)?;
        Some(PublicationStanding {
            record: Record { body: Body::default(), ..self.record.clone() },
            entity_tag,
            target: self.redirected.clone(),
            until: self.until,
            // Each version costs a CSeq number, so that this is never too low.
            version: self.version + BLOCK,
            print: self.accepted(),
            call_id: self.call_id.clone(),
            local_tag: self.local_tag.clone(),
            reserved: self.reserved,
        })
    }

    /// A fingerprint of what the server has accepted; zero, which matches nothing, where that is not certain.
    fn accepted(&self) -> u128 {
        let settled = matches!(self.phase, Phase::Held { .. } | Phase::Paused { .. } | Phase::Asking(Asked::Refresh));
        match self.found {
            Some((_, print)) => print,
            None if settled && self.wanted && !self.dirty => print(&self.record),
            None => 0,
        }
    }

    /// How it stands.
    pub fn state(&self) -> Public {
        match (&self.tag, &self.cause) {
            (_, Some(_)) => Public::Retrying,
            (Some(_), None) => Public::Active,
            (None, None) => Public::Pending,
        }
    }

    /// As the API lists it.
    pub fn row(&self, settings: &Settings, users: u32) -> Row {
        let held = self.tag.is_some();
        Row {
            usage: Usage::Publication(self.id),
            resource: self.record.resource.clone(),
            from: self.record.publisher.clone().unwrap_or_else(|| settings.address.clone()),
            event: self.record.event.clone(),
            state: self.state(),
            cause: self.cause.clone(),
            last_status: self.last_status,
            until: held.then_some(self.until),
            next: self.deadline(),
            target: self.target().into(),
            call_id: self.call_id.clone(),
            local_tag: self.local_tag.clone(),
            remote_tag: None,
            cseq: self.cseq,
            entity_tag: self.tag.clone(),
            users,
            sent: self.sent,
            notified: 0,
        }
    }
}
