//! One subscription that is kept alive until told otherwise.
//!
//! - RFC 6665 section 4.1.2: subscribing, refreshing, unsubscribing; what ends a subscription, and what then.
//! - RFC 6665 section 4.1.3: which NOTIFYs are accepted.
//! - RFC 3261 section 12.2: requests inside a dialog. Routers are taken to be loose ones.

use super::agent::{Cause, Event, Owner, SubscriptionId, Turn, Usage};
use super::compose::{Request, name_and_address};
use crate::wire::{self, Essentials, Message, Name, NameAddr};
use bytes::Bytes;
use lamplighter_model::Time;
use rsip::headers::{typed, untyped};
use rsip::prelude::UntypedHeader;
use rsip::{Header, Headers, Method};
use std::time::Duration;

/// A subscription that has lived this long is not a failure when it ends.
const PROVEN: Duration = Duration::from_secs(60);
/// The longest lease that a notifier can make us ask for.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often in a row a 423 may raise the lease.
const RAISES: u8 = 3;

/// What to subscribe to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Watch {
    /// Whose state: the Request-URI and To.
    pub resource: Box<str>,
    /// The value of Event, such as `dialog` or `dialog;id=7`.
    pub event: Box<str>,
    /// The value of Accept.
    pub accept: Box<str>,
    /// The lease to ask for.
    pub expires: Duration,
}

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

/// What a NOTIFY said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notification {
    /// Whether the subscription stands.
    pub standing: Standing,
    /// Why it ended, if it did and the notifier said why.
    pub reason: Option<Box<str>>,
    /// The type of the body in lower case, without parameters; empty without a body.
    pub content_type: Box<str>,
    /// The body as it came.
    pub body: Bytes,
    /// How its version follows.
    pub order: Order,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// There is no subscription; the next attempt is at `until`.
    Paused { until: Time },
    /// The first SUBSCRIBE of a dialog is out. A NOTIFY may have come before its answer, with a lease.
    Asking { lease: Option<Time> },
    /// The lease runs until `until`. At `act_at` it is refreshed, or found to be void.
    Active { until: Time, act_at: Time },
    /// A refresh is out.
    Refreshing { until: Time },
    /// The end has been asked for; the last NOTIFY is waited for until `until`.
    Leaving { until: Time },
    /// Nothing is left to do.
    Over,
}

/// The other side of the dialog.
#[derive(Debug)]
struct Remote {
    tag: Box<[u8]>,
    target: Bytes,
    routes: Vec<Box<[u8]>>,
}

/// The dialog of one attempt.
#[derive(Debug)]
struct Dialog {
    call_id: Box<str>,
    tag: Box<str>,
    cseq: u32,
    since: Time,
    remote: Option<Remote>,
    /// The CSeq of the newest NOTIFY.
    notified: Option<u32>,
    /// The version of its document.
    version: Option<u32>,
}

/// One subscription, as its user wants it.
#[derive(Debug)]
pub struct Subscription {
    id: SubscriptionId,
    watch: Watch,
    wanted: bool,
    state: State,
    dialog: Dialog,
    /// Counts requests, so that the answer to an abandoned one is told apart.
    request: u32,
    /// Failures in a row, since the last proof that it works.
    failures: u32,
    raises: u8,
}

impl Subscription {
    /// Subscribes.
    pub fn new(id: SubscriptionId, watch: Watch, turn: &mut Turn<'_>) -> Self {
        let mut new = Self {
            id,
            watch,
            wanted: true,
            state: State::Over,
            dialog: Dialog::new(id, turn),
            request: 0,
            failures: 0,
            raises: 0,
        };
        new.ask(turn);
        new
    }

    /// Whether it can be forgotten.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Paused { until } | State::Leaving { until } | State::Active { act_at: until, .. } => Some(until),
            State::Asking { .. } | State::Refreshing { .. } | State::Over => None,
        }
    }

    /// Which subscription a To-tag of ours belongs to; its dialog may be another one by now.
    pub fn id_in_tag(tag: &[u8]) -> Option<SubscriptionId> {
        let digits = std::str::from_utf8(tag).ok()?.split('-').next()?;
        u32::from_str_radix(digits, 16).ok().map(SubscriptionId)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::Paused { until } if turn.now >= until => self.ask(turn),
            State::Leaving { until } if turn.now >= until => self.end(turn),
            State::Active { until, .. } if turn.now >= until => self.ask_again(Cause::Expired, None, turn),
            State::Active { act_at, .. } if turn.now >= act_at && self.dialog.notified.is_none() => {
                // RFC 6665 section 4.1.2.4: without a NOTIFY there is no subscription.
                self.fail(Cause::NoNotify, None, turn);
            }
            State::Active { until, act_at } if turn.now >= act_at => {
                self.state = State::Refreshing { until };
                self.send(self.watch.expires, turn);
            }
            _ => {}
        }
    }

    /// Ends it in good order; [`Event::Unsubscribed`] follows.
    pub fn leave(&mut self, turn: &mut Turn<'_>) {
        self.wanted = false;
        match self.state {
            State::Paused { .. } => self.end(turn),
            State::Active { .. } => self.take_leave(turn),
            // The answer comes first: two requests in flight could arrive in the wrong order.
            State::Asking { .. } | State::Refreshing { .. } | State::Leaving { .. } | State::Over => {}
        }
    }

    /// The final answer to request number `request` has come.
    pub fn answered(&mut self, request: u32, status: u16, answer: Message<'_>, turn: &mut Turn<'_>) {
        if request != self.request {
            return;
        }
        let seconds = |name| answer.first(name).and_then(wire::seconds);
        let retry_after = seconds(Name::RetryAfter).map(|pause| Duration::from_secs(u64::from(pause)));
        match (self.state, status) {
            (State::Asking { .. } | State::Refreshing { .. }, 200..300) => {
                self.learn(answer, answer.first(Name::To), true);
                let granted = seconds(Name::Expires).map(|granted| Duration::from_secs(u64::from(granted)));
                let lease = granted.unwrap_or(self.watch.expires).min(self.watch.expires);
                if matches!(self.state, State::Refreshing { .. }) {
                    self.failures = 0;
                }
                self.raises = 0;
                if lease.is_zero() {
                    return self.ask_again(Cause::Expired, retry_after, turn);
                }
                self.run(turn.now + lease, turn);
                turn.report(Event::Subscribed { id: self.id, lease });
                if !self.wanted {
                    self.take_leave(turn);
                }
            }
            (State::Asking { .. } | State::Refreshing { .. }, _) if !self.wanted => self.end(turn),
            (State::Asking { .. } | State::Refreshing { .. }, 423) => {
                let least = seconds(Name::MinExpires).map_or(Duration::ZERO, |s| Duration::from_secs(u64::from(s)));
                if least > self.watch.expires && least <= LONGEST && self.raises < RAISES {
                    self.raises += 1;
                    self.watch.expires = least;
                    self.send(least, turn);
                } else {
                    self.fail(Cause::Status(423), retry_after, turn);
                }
            }
            (State::Refreshing { .. }, 481) => self.ask_again(Cause::Status(481), None, turn),
            (State::Refreshing { until }, _) => self.refresh_later(until, Cause::Status(status), retry_after, turn),
            (State::Asking { .. }, _) => self.fail(Cause::Status(status), retry_after, turn),
            // RFC 6665 section 4.1.2.3: the last NOTIFY is still to come.
            (State::Leaving { .. }, 200..300) => {}
            (State::Leaving { .. }, _) => self.end(turn),
            (State::Paused { .. } | State::Active { .. } | State::Over, _) => {}
        }
    }

    /// No answer came to request number `request`.
    pub fn timed_out(&mut self, request: u32, turn: &mut Turn<'_>) {
        if request != self.request {
            return;
        }
        match self.state {
            State::Asking { .. } | State::Refreshing { .. } | State::Leaving { .. } if !self.wanted => self.end(turn),
            // The NOTIFY says that the SUBSCRIBE was accepted, though its answer was lost.
            State::Asking { lease: Some(until) } => self.run(until, turn),
            State::Asking { lease: None } => self.fail(Cause::Timeout, None, turn),
            State::Refreshing { until } => self.refresh_later(until, Cause::Timeout, None, turn),
            State::Paused { .. } | State::Active { .. } | State::Leaving { .. } | State::Over => {}
        }
    }

    /// A NOTIFY whose To-tag names this subscription. Gives the status of the answer; what it means for the future
    /// is done by [`Self::heard`], which is for after the answer.
    pub fn notify(&mut self, message: Message<'_>, known: &Essentials<'_>) -> Result<Notification, u16> {
        let Dialog { call_id, tag, remote, notified, version, .. } = &self.dialog;
        let ours = known.call_id == call_id.as_bytes() && known.to.tag() == Some(tag.as_bytes());
        let theirs = known.from.tag().filter(|from| remote.as_ref().is_none_or(|remote| *remote.tag == **from));
        if !ours || theirs.is_none() || matches!(self.state, State::Paused { .. } | State::Over) {
            return Err(481);
        }
        let event = message.first(Name::Event).and_then(wire::Event::read).ok_or(489_u16)?;
        let asked = wire::Event::read(self.watch.event.as_bytes()).ok_or(489_u16)?;
        if event.package != asked.package || event.id() != asked.id() {
            return Err(481);
        }
        let state = message.first(Name::SubscriptionState).and_then(wire::subscription_state).ok_or(400_u16)?;
        if notified.is_some_and(|newest| known.cseq <= newest) {
            return Err(500); // RFC 3261 section 12.2.2
        }
        let standing = match state.state.to_ascii_lowercase().as_slice() {
            b"terminated" => Standing::Terminated,
            b"pending" => Standing::Pending,
            _ => Standing::Active,
        };
        let body = Bytes::copy_from_slice(message.body());
        let found = document_version(&body);
        let order = match (*version, found) {
            (_, None) => Order::Unversioned,
            (None, Some(_)) => Order::First,
            (Some(old), Some(new)) if new <= old => Order::Stale,
            (Some(old), Some(new)) if new == old + 1 => Order::Next,
            (Some(_), Some(_)) => Order::Gap,
        };
        self.dialog.version = found.max(*version);
        self.dialog.notified = Some(known.cseq);
        self.learn(message, message.first(Name::From), false);
        let text = |value: &[u8]| String::from_utf8_lossy(value).to_ascii_lowercase().into_boxed_str();
        Ok(Notification {
            standing,
            reason: state.reason.filter(|_| standing == Standing::Terminated).map(text),
            content_type: message.first(Name::ContentType).map(wire::media_type).map(text).unwrap_or_default(),
            body,
            order,
        })
    }

    /// A NOTIFY has been accepted and answered: the lease that it names counts, its end too.
    pub fn heard(&mut self, notification: Notification, message: Message<'_>, turn: &mut Turn<'_>) {
        let state = message.first(Name::SubscriptionState).and_then(wire::subscription_state);
        let lease = state.and_then(|state| state.expires).map(|seconds| Duration::from_secs(u64::from(seconds)));
        let pause = state.and_then(|state| state.retry_after).map(|seconds| Duration::from_secs(u64::from(seconds)));
        let (standing, reason) = (notification.standing, notification.reason.clone());
        turn.report(Event::Notified { id: self.id, notification });
        if standing == Standing::Terminated {
            if !self.wanted {
                return self.end(turn);
            }
            // RFC 6665 section 4.1.3 says which reasons mean "at once", "later" and "never mind".
            let reason = reason.unwrap_or_default();
            let cause = Cause::Terminated(reason.clone());
            return match &*reason {
                "probation" | "giveup" | "rejected" | "noresource" | "invariant" => self.fail(cause, pause, turn),
                _ => self.ask_again(cause, pause, turn),
            };
        }
        let until = lease.map(|lease| turn.now + lease.min(self.watch.expires));
        match self.state {
            State::Asking { lease: known } => {
                self.state = State::Asking { lease: until.or(known).or(Some(turn.now + self.watch.expires)) };
            }
            State::Active { until: known, .. } => self.run(until.unwrap_or(known), turn),
            State::Refreshing { until: known } => self.state = State::Refreshing { until: until.unwrap_or(known) },
            State::Paused { .. } | State::Leaving { .. } | State::Over => {}
        }
    }

    /// Takes tag, target and route set from a message of the other side. An answer has its routes in reverse.
    fn learn(&mut self, message: Message<'_>, theirs: Option<&[u8]>, reversed: bool) {
        let contact = message.list(Name::Contact).next().and_then(NameAddr::read);
        let contact = contact.map(|contact| Bytes::copy_from_slice(contact.uri));
        if let Some(remote) = &mut self.dialog.remote {
            // Target refresh; the route set stays (RFC 3261 section 12.2.1.2).
            remote.target = contact.unwrap_or_else(|| std::mem::take(&mut remote.target));
            return;
        }
        let Some(tag) = theirs.and_then(NameAddr::read).and_then(|theirs| theirs.tag()) else { return };
        let mut routes: Vec<Box<[u8]>> = message.list(Name::RecordRoute).map(Box::from).collect();
        if reversed {
            routes.reverse();
        }
        let target = contact.unwrap_or_else(|| Bytes::copy_from_slice(self.watch.resource.as_bytes()));
        self.dialog.remote = Some(Remote { tag: tag.into(), target, routes });
    }

    /// The lease runs until `until`.
    fn run(&mut self, until: Time, turn: &Turn<'_>) {
        let refresh_at = turn.refresh_at(until);
        let act_at = match self.dialog.notified {
            Some(_) => refresh_at,
            None => refresh_at.min(turn.now + turn.patience()),
        };
        self.state = State::Active { until, act_at };
    }

    /// Begins a new dialog.
    fn ask(&mut self, turn: &mut Turn<'_>) {
        self.dialog = Dialog::new(self.id, turn);
        self.raises = 0;
        self.state = State::Asking { lease: None };
        self.send(self.watch.expires, turn);
    }

    /// What worked has ended: begins anew at once, unless it keeps ending.
    fn ask_again(&mut self, cause: Cause, pause: Option<Duration>, turn: &mut Turn<'_>) {
        if turn.now.since(self.dialog.since) >= PROVEN {
            self.failures = 0;
        }
        if !self.wanted {
            self.end(turn);
        } else if self.failures == 0 && pause.is_none() {
            self.failures = 1;
            turn.report(Event::SubscriptionLost { id: self.id, cause, again: turn.now });
            self.ask(turn);
        } else {
            self.fail(cause, pause, turn);
        }
    }

    /// It does not work: tries again later.
    fn fail(&mut self, cause: Cause, pause: Option<Duration>, turn: &mut Turn<'_>) {
        if !self.wanted {
            return self.end(turn);
        }
        let until = turn.try_again_at(self.failures, pause);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Paused { until };
        turn.report(Event::SubscriptionLost { id: self.id, cause, again: until });
    }

    /// A refresh failed, but the lease still runs (RFC 6665 section 4.1.2.2).
    fn refresh_later(&mut self, until: Time, cause: Cause, pause: Option<Duration>, turn: &mut Turn<'_>) {
        if !self.wanted {
            return self.end(turn);
        }
        let again = turn.try_again_at(self.failures, pause).min(until);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Active { until, act_at: again };
        turn.report(Event::SubscriptionLost { id: self.id, cause, again });
    }

    fn take_leave(&mut self, turn: &mut Turn<'_>) {
        self.state = State::Leaving { until: turn.now + turn.patience() };
        self.send(Duration::ZERO, turn);
    }

    fn end(&mut self, turn: &mut Turn<'_>) {
        self.state = State::Over;
        turn.report(Event::Unsubscribed { id: self.id });
    }

    fn send(&mut self, expires: Duration, turn: &mut Turn<'_>) {
        let dialog = &mut self.dialog;
        dialog.cseq += 1;
        self.request += 1;
        let settings = turn.settings;
        let mut echoed = Vec::new();
        let mut to = name_and_address("", &self.watch.resource, "").into_bytes();
        let mut target = Bytes::copy_from_slice(self.watch.resource.as_bytes());
        if let Some(remote) = &dialog.remote {
            to.extend_from_slice(b";tag=");
            to.extend_from_slice(&remote.tag);
            target = remote.target.clone();
            echoed.extend(remote.routes.iter().map(|route| ("Route", route.to_vec())));
        }
        echoed.push(("To", to));
        let headers: Vec<Header> = vec![
            untyped::From::new(name_and_address(&settings.display, &settings.address, &dialog.tag)).into(),
            untyped::CallId::new(&*dialog.call_id).into(),
            typed::CSeq::from((dialog.cseq, Method::Subscribe)).into(),
            untyped::MaxForwards::from(70).into(),
            untyped::Contact::new(name_and_address("", &settings.contact, "")).into(),
            untyped::Event::new(&*self.watch.event).into(),
            untyped::Accept::new(&*self.watch.accept).into(),
            untyped::Expires::from(expires.as_secs() as u32).into(),
            untyped::UserAgent::new(&*settings.user_agent).into(),
        ];
        let headers = Headers::from(headers);
        let request = Request { method: Method::Subscribe, target, echoed, headers, body: Bytes::new() };
        turn.send(Owner { usage: Usage::Subscription(self.id), request: self.request }, &request);
    }
}

impl Dialog {
    fn new(id: SubscriptionId, turn: &mut Turn<'_>) -> Self {
        Self {
            call_id: format!("{:016x}{:016x}", turn.number(), turn.number()).into(),
            tag: format!("{:x}-{:016x}", id.0, turn.number()).into(),
            cseq: 0,
            since: turn.now,
            remote: None,
            notified: None,
            version: None,
        }
    }
}

/// The `version` attribute of a document's root element.
fn document_version(body: &[u8]) -> Option<u32> {
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
        if root[at..name_end].trim_ascii() == b"version" {
            return std::str::from_utf8(&root[quote + 1..end]).ok()?.trim().parse().ok();
        }
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<u32>) {
        assert_eq!(document_version(body.as_bytes()), expected, "{body}");
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
