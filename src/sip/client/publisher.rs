//! One publication that is kept alive until withdrawn (RFC 3903 section 4).
//!
//! One PUBLISH is in flight at a time: newer states wait, and only the newest of them is sent. The entity-tag belongs
//! to the record and nobody else sees it.

use super::agent::{Cause, Event, Owner, PublicationId, Turn, Usage};
use super::compose::{Request, name_and_address};
use crate::wire::{self, Message, Name};
use bytes::Bytes;
use lamplighter_model::Time;
use rsip::headers::{typed, untyped};
use rsip::prelude::UntypedHeader;
use rsip::{Header, Headers, Method};
use std::time::Duration;

/// The longest lease that a server can make us ask for.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often in a row a 423 may raise the lease.
const RAISES: u8 = 3;

/// What to publish.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Whose state: the Request-URI and To.
    pub resource: Box<str>,
    /// The value of Event.
    pub event: Box<str>,
    /// The value of Content-Type.
    pub content_type: Box<str>,
    /// The lease to ask for.
    pub expires: Duration,
    /// The state.
    pub body: Bytes,
}

/// What a PUBLISH asks for (RFC 3903 section 4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Initial,
    Refresh,
    Modify,
    Remove,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
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
    state: State,
    /// What the server called the state that it holds.
    tag: Option<Box<[u8]>>,
    /// When the server lets go of it.
    until: Time,
    /// The record has changed since it was sent.
    dirty: bool,
    call_id: Box<str>,
    local_tag: Box<str>,
    cseq: u32,
    failures: u32,
    raises: u8,
}

impl Publication {
    /// Publishes.
    pub fn new(id: PublicationId, record: Record, turn: &mut Turn<'_>) -> Self {
        let mut new = Self {
            id,
            record,
            wanted: true,
            state: State::Over,
            tag: None,
            until: turn.now,
            dirty: false,
            call_id: format!("{:016x}{:016x}", turn.number(), turn.number()).into(),
            local_tag: format!("{:016x}", turn.number()).into(),
            cseq: 0,
            failures: 0,
            raises: 0,
        };
        new.send(Asked::Initial, turn);
        new
    }

    /// Whether it can be forgotten.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Held { refresh_at: at } | State::Paused { until: at } => Some(at),
            State::Asking(_) | State::Over => None,
        }
    }

    /// The state is now `body`.
    pub fn update(&mut self, body: Bytes, turn: &mut Turn<'_>) {
        if !self.wanted || self.record.body == body {
            return;
        }
        self.record.body = body;
        self.dirty = true;
        if let State::Held { .. } = self.state {
            self.act(turn);
        }
    }

    /// Removes it; [`Event::Withdrawn`] follows.
    pub fn withdraw(&mut self, turn: &mut Turn<'_>) {
        self.wanted = false;
        match self.state {
            State::Held { .. } | State::Paused { .. } => self.act(turn),
            // The answer comes first: it brings the entity-tag that the removal must name.
            State::Asking(_) | State::Over => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::Held { refresh_at: at } | State::Paused { until: at } if turn.now >= at => self.act(turn),
            _ => {}
        }
    }

    /// The final answer to request number `request` has come.
    pub fn answered(&mut self, request: u32, status: u16, answer: Message<'_>, turn: &mut Turn<'_>) {
        let State::Asking(asked) = self.state else { return };
        if request != self.cseq {
            return;
        }
        let seconds = |name| answer.first(name).and_then(wire::seconds);
        let duration = |name| seconds(name).map(|seconds| Duration::from_secs(u64::from(seconds)));
        match (asked, status) {
            (Asked::Remove, _) => self.end(turn),
            (_, 200..300) => {
                let Some(tag) = answer.first(Name::SipETag).filter(|tag| !tag.is_empty()) else {
                    // Without a tag it can be neither kept nor changed; it is left to expire.
                    self.tag = None;
                    return self.fail(Cause::NoEntityTag, None, turn);
                };
                self.tag = Some(tag.into());
                (self.failures, self.raises) = (0, 0);
                let lease = duration(Name::Expires).unwrap_or(self.record.expires).min(self.record.expires);
                self.until = turn.now + lease;
                self.state = State::Held { refresh_at: turn.refresh_at(self.until) };
                turn.report(Event::Published { id: self.id, lease });
                if self.dirty || !self.wanted {
                    self.act(turn);
                }
            }
            (_, _) if !self.wanted => {
                // What may still be there is removed by its tag, or expires.
                self.state = State::Paused { until: turn.now };
                self.tag = self.tag.take().filter(|_| status != 412);
                self.act(turn);
            }
            (Asked::Refresh | Asked::Modify, 412) => {
                self.tag = None;
                self.send(Asked::Initial, turn);
            }
            (_, 423) => {
                let least = duration(Name::MinExpires).unwrap_or_default();
                if least > self.record.expires && least <= LONGEST && self.raises < RAISES {
                    self.raises += 1;
                    self.record.expires = least;
                    self.send(asked, turn);
                } else {
                    self.fail(Cause::Status(423), None, turn);
                }
            }
            (_, _) => self.fail(Cause::Status(status), duration(Name::RetryAfter), turn),
        }
    }

    /// No answer came to request number `request`.
    pub fn timed_out(&mut self, request: u32, turn: &mut Turn<'_>) {
        let State::Asking(_) = self.state else { return };
        if request == self.cseq {
            if self.wanted { self.fail(Cause::Timeout, None, turn) } else { self.end(turn) }
        }
    }

    /// Sends what is to be said next.
    fn act(&mut self, turn: &mut Turn<'_>) {
        if self.tag.is_some() && turn.now >= self.until {
            self.tag = None;
        }
        match (self.tag.is_some(), self.wanted) {
            (false, false) => self.end(turn),
            (false, true) => self.send(Asked::Initial, turn),
            (true, false) => self.send(Asked::Remove, turn),
            (true, true) if self.dirty => self.send(Asked::Modify, turn),
            (true, true) => self.send(Asked::Refresh, turn),
        }
    }

    fn fail(&mut self, cause: Cause, pause: Option<Duration>, turn: &mut Turn<'_>) {
        // Whether the server has taken the last body in is not known: it is said again.
        self.dirty = true;
        let until = turn.try_again_at(self.failures, pause);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Paused { until };
        turn.report(Event::PublicationLost { id: self.id, cause, again: until });
    }

    fn end(&mut self, turn: &mut Turn<'_>) {
        self.state = State::Over;
        turn.report(Event::Withdrawn { id: self.id });
    }

    fn send(&mut self, asked: Asked, turn: &mut Turn<'_>) {
        self.cseq += 1;
        self.state = State::Asking(asked);
        let settings = turn.settings;
        let expires = if asked == Asked::Remove { 0 } else { self.record.expires.as_secs() as u32 };
        let headers: Vec<Header> = vec![
            untyped::From::new(name_and_address(&settings.display, &settings.address, &self.local_tag)).into(),
            untyped::To::new(name_and_address("", &self.record.resource, "")).into(),
            untyped::CallId::new(&*self.call_id).into(),
            typed::CSeq::from((self.cseq, Method::Publish)).into(),
            untyped::MaxForwards::from(70).into(),
            untyped::Event::new(&*self.record.event).into(),
            untyped::Expires::from(expires).into(),
            untyped::UserAgent::new(&*settings.user_agent).into(),
        ];
        let mut headers = Headers::from(headers);
        let echoed = self.tag.iter().map(|tag| ("SIP-If-Match", tag.to_vec())).collect();
        let mut body = Bytes::new();
        if matches!(asked, Asked::Initial | Asked::Modify) {
            headers.push(untyped::ContentType::new(&*self.record.content_type).into());
            body = self.record.body.clone();
            self.dirty = false;
        }
        let target = Bytes::copy_from_slice(self.record.resource.as_bytes());
        let request = Request { method: Method::Publish, target, echoed, headers, body };
        turn.send(Owner { usage: Usage::Publication(self.id), request: self.cseq }, &request);
    }
}
