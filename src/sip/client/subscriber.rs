//! One subscription that is kept alive until told otherwise.
//!
//! - RFC 6665 section 4.1.2: subscribing, refreshing, unsubscribing; what ends a subscription, and what then.
//! - RFC 6665 section 4.1.3: which NOTIFYs are accepted. Section 4.4.1: NOTIFYs of forks make dialogs of their own.
//! - RFC 3261 section 12.2: requests inside a dialog.
//!
//! ```text
//!             2xx                        renewal due                    leave
//!   Asking ----------> Active -------------------------> Refreshing   Active ---> Leaving ---> Over
//!     ^ |  ^ 401 407     ^ |  <------------------------- |                  last NOTIFY, or its patience ends
//!     | |  | 423 3xx     | |   2xx, or an error while the lease runs
//!     | '--'             | | NOTIFY terminated, lease over, no NOTIFY at all, 481, NOTIFYs that make no sense
//!     |                  | v
//!     '------------- Waiting <--- any other error; Retry-After is heeded
//!        time has come   |
//!                        '------> Stopped: 403 603 607 (rejected); NOTIFY terminated with rejected, noresource,
//!                                 invariant. Only the user can begin again.
//! ```
//!
//! What a NOTIFY's `terminated` means for us (RFC 6665 section 4.1.3): `deactivated`, `timeout`, an unknown reason or
//! none: a fresh dialog at once, unless that keeps happening or `retry-after` asks for patience. `probation`,
//! `giveup`: later. `rejected`: refused for good. `noresource`, `invariant`: over for good.

use super::agent::Turn;
use super::compose::{self, Origin, Request, uri_of};
use super::dialog::{Dialog, Remote};
use super::event::{Cause, Event, Row, State, SubscriptionId, Usage};
use super::hop::{Hop, redirection};
use super::notification::{Notification, Order, Standing, document_version};
use super::settings::{Settings, Watch};
use super::standing::DialogStanding;
use crate::auth::Session;
use crate::wire::{self, Essentials, Message, Name};
use bytes::Bytes;
use lamplighter_model::Time;
use rsip::Method;
use std::time::Duration;

/// A subscription that has lived this long is not a failure when it ends.
const PROVEN: Duration = Duration::from_secs(60);
/// The longest lease that a notifier can make us ask for.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often in a row a 423 may raise the lease.
pub const RAISES: u8 = 3;
/// How many redirections in a row are followed.
pub const HOPS: u8 = 5;
/// After so many refused NOTIFYs in a row a fresh dialog is worth more than the old one.
const REFUSALS: u8 = 8;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// There is no subscription; the next attempt is at `until`.
    Waiting { until: Time },
    /// The first SUBSCRIBE of a dialog is out. A NOTIFY may have come before its answer, with a lease.
    Asking { lease: Option<Time> },
    /// The lease runs until `until`. At `act_at` it is refreshed, or found to be void.
    Active { until: Time, act_at: Time },
    /// A refresh is out.
    Refreshing { until: Time },
    /// The end has been asked for; the last NOTIFY is waited for until `until`.
    Leaving { until: Time },
    /// It has ended, and only the user can begin it again.
    Stopped,
    /// Nothing is left to do.
    Over,
}

/// What to do with a NOTIFY.
#[derive(Debug)]
pub enum Verdict {
    /// 200, and this is what it said.
    Accept(Notification),
    /// 200 once more: it has been answered before.
    Again,
    /// It opens a dialog beside ours, which is allowed.
    Fork,
    /// Refuse it with this status.
    Refuse(u16),
}

/// One subscription, as its user wants it.
#[derive(Debug)]
pub struct Subscription {
    id: SubscriptionId,
    /// Whose fork it is, and the how manieth.
    fork: Option<(SubscriptionId, u32)>,
    watch: Watch,
    wanted: bool,
    /// Found at a restart; given up if nobody wants it by then.
    claim_by: Option<Time>,
    phase: Phase,
    state: State,
    cause: Option<Cause>,
    last_status: u16,
    dialog: Dialog,
    /// Rises with each new dialog.
    serial: u32,
    auth: Session,
    /// The lease to ask for.
    lease: Duration,
    /// The Request-URI of the first SUBSCRIBE, where a redirection has changed it.
    redirected: Option<Box<[u8]>>,
    redirections: u8,
    /// Failures in a row, since the last proof that it works.
    failures: u32,
    raises: u8,
    refusals: u8,
    /// The lease has been renewed in this process.
    renewed: bool,
    /// Another refresh is wanted as soon as the request that is out has been answered.
    once_more: bool,
    sent: u64,
    /// NOTIFYs accepted in this dialog.
    heard: u64,
    /// NOTIFYs accepted in all its life.
    notifies: u64,
}

impl Subscription {
    /// Subscribes, after a moment if first SUBSCRIBEs are to be spread.
    pub fn new(id: SubscriptionId, watch: Watch, turn: &mut Turn<'_>) -> Self {
        let spread = turn.settings.pace.spread;
        let mut new = Self::blank(id, watch, turn);
        if spread.is_zero() {
            new.ask(turn);
        } else {
            let pause = turn.part_of(spread);
            new.phase = Phase::Waiting { until: turn.soon_after(pause) };
        }
        new
    }

    fn blank(id: SubscriptionId, watch: Watch, turn: &mut Turn<'_>) -> Self {
        Self {
            id,
            fork: None,
            lease: turn.settings.pace.lease(watch.expires),
            watch,
            wanted: true,
            claim_by: None,
            phase: Phase::Over,
            state: State::Pending,
            cause: None,
            last_status: 0,
            dialog: Dialog::new(id, turn),
            serial: 0,
            auth: Session::default(),
            redirected: None,
            redirections: 0,
            failures: 0,
            raises: 0,
            refusals: 0,
            renewed: false,
            once_more: false,
            sent: 0,
            heard: 0,
            notifies: 0,
        }
    }

    /// Takes up what an earlier process left. Its lease is renewed when due, or before it ends if that is past.
    pub fn restore(id: SubscriptionId, standing: DialogStanding, turn: &mut Turn<'_>) -> Self {
        let DialogStanding { watch, call_id, local_tag, remote_tag, target, routes, reserved, until } = standing;
        let mut new = Self::blank(id, watch, turn);
        new.claim_by = Some(turn.now + turn.settings.pace.claim);
        new.dialog.call_id = call_id;
        new.dialog.tag = local_tag;
        (new.dialog.cseq, new.dialog.reserved) = (reserved, reserved);
        new.dialog.remote = Some(Remote { tag: remote_tag, target, routes });
        let left = until.since(turn.now);
        let pause = turn.part_of(left - left / 8);
        new.phase = Phase::Active { until, act_at: turn.soon_after(pause).min(until) };
        new
    }

    /// A dialog beside that of `self`, made by a NOTIFY that is yet to be given to it.
    pub fn forked(&self, id: SubscriptionId, number: u32, turn: &mut Turn<'_>) -> Self {
        let mut new = Self::blank(id, self.watch.clone(), turn);
        new.fork = Some((self.id, number));
        new.lease = self.lease;
        new.dialog = Dialog { remote: None, notified: None, version: None, since: turn.now, ..self.dialog.clone() };
        let until = turn.now + new.lease;
        new.phase = Phase::Active { until, act_at: turn.renewal(new.lease) };
        new
    }

    /// Whether it can be forgotten.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// How it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether there is another side.
    pub fn has_dialog(&self) -> bool {
        let ended = matches!(self.phase, Phase::Waiting { .. } | Phase::Stopped | Phase::Over);
        self.dialog.remote.is_some() && !ended
    }

    /// Whether its user still wants it.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether a request is due or out.
    pub fn wants_to_send(&self) -> bool {
        matches!(self.phase, Phase::Asking { .. } | Phase::Refreshing { .. } | Phase::Leaving { .. })
    }

    /// The subscription that this is a fork of.
    pub fn parent(&self) -> Option<SubscriptionId> {
        self.fork.map(|(id, _)| id)
    }

    /// The user has left the subscription that this is a fork of.
    pub fn leave_fork(&mut self, turn: &mut Turn<'_>) {
        self.leave(false, turn);
    }

    /// The subscription that this is a fork of has another dialog now.
    pub fn drop_fork(&mut self, turn: &mut Turn<'_>) {
        self.end(turn);
    }

    /// Rises with each new dialog.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        let due = match self.phase {
            Phase::Waiting { until } | Phase::Leaving { until } => Some(until),
            Phase::Active { until, act_at } => Some(act_at.min(until)),
            Phase::Refreshing { until } => Some(until),
            Phase::Asking { lease } => lease,
            Phase::Stopped | Phase::Over => None,
        };
        [due, self.claim_by].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        if self.claim_by.is_some_and(|by| turn.now >= by) {
            self.claim_by = None;
            return self.leave(false, turn);
        }
        match self.phase {
            Phase::Waiting { until } if turn.now >= until => self.ask(turn),
            Phase::Leaving { until } if turn.now >= until => self.end(turn),
            Phase::Active { until, .. } | Phase::Refreshing { until } | Phase::Asking { lease: Some(until) }
                if turn.now >= until =>
            {
                self.ask_again(Cause::Expired, None, turn);
            }
            Phase::Active { act_at, .. } if turn.now >= act_at && self.awaits_first() => {
                // RFC 6665 section 4.1.2.4: without a NOTIFY there is no subscription.
                self.fail(Cause::NoNotify, None, turn);
            }
            Phase::Active { until, act_at } if turn.now >= act_at => {
                self.phase = Phase::Refreshing { until };
                self.send(turn);
            }
            _ => {}
        }
    }

    /// Whether a NOTIFY should have come in this process: a dialog from an earlier one had its first there, and must
    /// have another when it is renewed.
    fn awaits_first(&self) -> bool {
        (self.serial > 0 || self.renewed) && self.dialog.notified.is_none()
    }

    /// Somebody wants what a restart has found.
    pub fn claim(&mut self, watch: Watch) {
        self.claim_by = None;
        self.watch = watch;
    }

    /// The user wants another lease from the next request on.
    pub fn ask_for(&mut self, lease: Duration, turn: &Turn<'_>) {
        self.watch.expires = Some(lease);
        self.lease = turn.settings.pace.lease(self.watch.expires);
    }

    /// The user wants another attempt now, whatever has been refused. One that stands is refreshed, for the whole state.
    /// `unsent`: the request that is due has not been sent yet.
    pub fn retry(&mut self, unsent: bool, turn: &mut Turn<'_>) {
        match self.phase {
            Phase::Stopped | Phase::Waiting { .. } => {
                if self.phase == Phase::Stopped {
                    (self.state, self.cause) = (State::Pending, None);
                }
                self.failures = 0;
                self.ask(turn);
            }
            Phase::Active { .. } | Phase::Asking { .. } | Phase::Refreshing { .. } => {
                self.once_more = !unsent;
                self.refresh_once_more(turn);
            }
            Phase::Leaving { .. } | Phase::Over => {}
        }
    }

    /// What was wanted while a request was out is due when that is answered: it may have been sent before.
    fn refresh_once_more(&mut self, turn: &mut Turn<'_>) {
        if let Phase::Active { until, .. } = self.phase
            && self.once_more
            && self.wanted
            && !self.awaits_first()
        {
            self.phase = Phase::Refreshing { until };
            self.send(turn);
        }
    }

    /// Ends it in good order; [`Event::Unsubscribed`] follows. `unsent`: the request that is due has not been sent yet.
    pub fn leave(&mut self, unsent: bool, turn: &mut Turn<'_>) {
        self.wanted = false;
        self.claim_by = None;
        match self.phase {
            Phase::Waiting { .. } | Phase::Stopped => self.end(turn),
            Phase::Active { .. } => self.take_leave(turn),
            Phase::Asking { lease: None } if unsent => self.end(turn),
            Phase::Refreshing { .. } if unsent => self.take_leave(turn),
            // The answer comes first: two requests in flight could arrive in the wrong order.
            Phase::Asking { .. } | Phase::Refreshing { .. } | Phase::Leaving { .. } | Phase::Over => {}
        }
    }

    /// Where its next request goes first: the route set; else the outbound proxy; else the routes that the user
    /// gave; else the Request-URI.
    pub fn hop(&self, settings: &Settings) -> Option<Hop> {
        let routes = self.dialog.remote.as_ref().map(|remote| remote.routes.as_slice()).unwrap_or_default();
        if let Some(first) = routes.first() {
            return uri_of(first).and_then(Hop::read);
        }
        if let Some(proxy) = settings.proxy_for(self.watch.proxy.as_deref(), &self.watch.event) {
            return Hop::read(proxy.as_bytes());
        }
        match self.watch.routes.first().filter(|_| self.dialog.remote.is_none()) {
            Some(first) => uri_of(first.as_bytes()).and_then(Hop::read),
            None => Hop::read(self.target()),
        }
    }

    fn target(&self) -> &[u8] {
        match (&self.dialog.remote, &self.redirected, &self.watch.target) {
            (Some(remote), _, _) => &remote.target,
            (None, Some(redirected), _) => redirected,
            (None, None, Some(target)) => target.as_bytes(),
            (None, None, None) => self.watch.resource.as_bytes(),
        }
    }

    /// Appends the request that is due.
    pub fn compose(&mut self, origin: Origin<'_>, out: &mut Vec<u8>) {
        let expires = if let Phase::Leaving { .. } = self.phase { Duration::ZERO } else { self.lease };
        let mut auth = std::mem::take(&mut self.auth);
        let given: Vec<Box<[u8]>>;
        let (routes, to_tag) = match &self.dialog.remote {
            Some(remote) => (remote.routes.as_slice(), Some(&*remote.tag)),
            None => {
                given = self.watch.routes.iter().map(|route| route.as_bytes().into()).collect();
                (given.as_slice(), None)
            }
        };
        let request = Request {
            method: Method::Subscribe,
            target: self.target(),
            routes,
            from: self.watch.subscriber.as_deref().unwrap_or(&origin.settings.address),
            tag: &self.dialog.tag,
            to: &self.watch.resource,
            to_tag,
            call_id: &self.dialog.call_id,
            cseq: self.dialog.cseq,
            event: &self.watch.event,
            expires,
            extra: &self.watch.headers,
        };
        request.begin(origin, &mut auth, b"", out);
        compose::contact(self.watch.contact.as_deref().unwrap_or(&origin.local.contact), out);
        wire::write::header(out, "Accept", self.watch.accept.as_bytes());
        // RFC 4662 section 4.1: whoever takes documents in several parts takes lists.
        if self.watch.accept.contains("multipart/related") {
            wire::write::header(out, "Supported", b"eventlist");
        }
        compose::end(b"", out);
        self.auth = auth;
    }

    /// The final answer to the request that is out has come.
    pub fn answered(&mut self, status: u16, answer: Message<'_>, turn: &mut Turn<'_>) {
        self.answer_noted(status, turn);
        let seconds = |name| answer.first(name).and_then(wire::seconds).map(|it| Duration::from_secs(u64::from(it)));
        let retry_after = seconds(Name::RetryAfter);
        if let 401 | 407 = status {
            let cnonce = turn.number();
            if self.auth.challenged(answer, &turn.settings.credentials, cnonce).is_ok() {
                return self.send(turn);
            }
        }
        self.auth.settled();
        match (self.phase, status) {
            (Phase::Asking { .. } | Phase::Refreshing { .. }, 200..300) => {
                self.learn(answer, answer.first(Name::To), true);
                let lease = seconds(Name::Expires).unwrap_or(self.lease).min(self.lease);
                if matches!(self.phase, Phase::Refreshing { .. }) {
                    (self.failures, self.renewed) = (0, true);
                }
                (self.raises, self.redirections) = (0, 0);
                if lease.is_zero() {
                    return self.ask_again(Cause::Expired, retry_after, turn);
                }
                self.run(turn.now + lease, turn);
                turn.save();
                self.cause = None;
                if self.state != State::Active {
                    self.state = State::Pending;
                }
                if self.fork.is_none() {
                    turn.report(Event::Subscribed { id: self.id, lease });
                }
                if !self.wanted {
                    self.take_leave(turn);
                }
                self.refresh_once_more(turn);
            }
            (Phase::Asking { .. } | Phase::Refreshing { .. }, _) if !self.wanted => self.end(turn),
            (Phase::Asking { .. } | Phase::Refreshing { .. }, 300..400) => {
                let to = redirection(answer).filter(|_| self.redirections < HOPS && self.fork.is_none());
                let Some(to) = to else { return self.give_way(Cause::Status(status), retry_after, turn) };
                self.redirections += 1;
                self.redirected = Some(to);
                if self.dialog.remote.is_some() {
                    // There was a subscription, and it is not here any more.
                    self.lose(State::Retrying, Cause::Status(status), Some(turn.now), turn);
                }
                self.begin(turn);
            }
            (Phase::Asking { .. } | Phase::Refreshing { .. }, 423) => {
                let least = seconds(Name::MinExpires).unwrap_or_default();
                if least > self.lease && least <= LONGEST && self.raises < RAISES {
                    self.raises += 1;
                    self.lease = least;
                    self.send(turn);
                } else {
                    self.give_way(Cause::Status(423), retry_after, turn);
                }
            }
            (Phase::Refreshing { .. }, 481) => self.ask_again(Cause::Status(481), None, turn),
            // RFC 6665 section 4.1.2.2: these end the subscription.
            (Phase::Refreshing { .. }, 404 | 405 | 410 | 416 | 480 | 482..=485 | 489 | 501 | 604) => {
                self.fail(Cause::Status(status), retry_after, turn);
            }
            (Phase::Refreshing { .. }, _) => self.give_way(Cause::Status(status), retry_after, turn),
            (Phase::Asking { .. }, 403 | 603 | 607) => self.stop(State::Rejected, Cause::Status(status), turn),
            (Phase::Asking { .. }, _) => self.fail(Cause::Status(status), retry_after, turn),
            // RFC 6665 section 4.1.2.3: the last NOTIFY is still to come.
            (Phase::Leaving { .. }, 200..300) => {}
            (Phase::Leaving { .. }, _) => self.end(turn),
            (Phase::Waiting { .. } | Phase::Active { .. } | Phase::Stopped | Phase::Over, _) => {}
        }
    }

    /// The request that is out was not answered, or could not be sent. Not before `not_before`, if there is one.
    pub fn unanswered(&mut self, cause: Cause, not_before: Option<Time>, turn: &mut Turn<'_>) {
        self.answer_noted(cause.status(), turn);
        let pause = not_before.map(|at| at.since(turn.now));
        match self.phase {
            Phase::Asking { .. } | Phase::Refreshing { .. } | Phase::Leaving { .. } if !self.wanted => self.end(turn),
            // The NOTIFY says that the SUBSCRIBE was accepted, though its answer was lost.
            Phase::Asking { lease: Some(until) } => self.run(until, turn),
            Phase::Asking { lease: None } => self.fail(cause, pause, turn),
            Phase::Refreshing { .. } => self.give_way(cause, pause, turn),
            Phase::Waiting { .. } | Phase::Active { .. } | Phase::Leaving { .. } | Phase::Stopped | Phase::Over => {}
        }
    }

    fn answer_noted(&mut self, status: u16, turn: &mut Turn<'_>) {
        self.last_status = status;
        if self.fork.is_none() {
            turn.report(Event::Answered { usage: Usage::Subscription(self.id), status });
        }
    }

    /// Whether a message is from the dialog's other side.
    pub fn is_from(&self, tag: &[u8]) -> bool {
        self.dialog.remote.as_ref().is_some_and(|remote| *remote.tag == *tag)
    }

    /// A NOTIFY whose To-tag names this subscription. Says how to answer; what it means for the future is done by
    /// [`Self::heard`], which is for after the answer. `print` tells its transaction from others.
    pub fn notify(&mut self, message: Message<'_>, known: &Essentials<'_>, print: u128) -> Verdict {
        let Dialog { call_id, tag, remote, notified, version, .. } = &self.dialog;
        let ours = known.call_id == call_id.as_bytes() && known.to.tag() == Some(tag.as_bytes());
        let Some(theirs) = known.from.tag().filter(|_| ours) else { return Verdict::Refuse(481) };
        if let Phase::Waiting { .. } | Phase::Stopped | Phase::Over = self.phase {
            return Verdict::Refuse(481);
        }
        let Some(event) = message.first(Name::Event).and_then(wire::Event::read) else { return Verdict::Refuse(489) };
        let Some(asked) = wire::Event::read(self.watch.event.as_bytes()) else { return Verdict::Refuse(489) };
        if event.package != asked.package || event.id() != asked.id() {
            return Verdict::Refuse(481);
        }
        let state = message.first(Name::SubscriptionState).and_then(wire::subscription_state);
        let Some(state) = state else { return Verdict::Refuse(400) };
        if remote.as_ref().is_some_and(|remote| *remote.tag != *theirs) {
            let may = self.watch.forks && self.wanted && self.fork.is_none();
            return if may { Verdict::Fork } else { Verdict::Refuse(481) };
        }
        match *notified {
            Some((newest, same)) if known.cseq == newest && print == same => return Verdict::Again,
            Some((newest, _)) if known.cseq <= newest => {
                self.refusals = self.refusals.saturating_add(1);
                return Verdict::Refuse(500); // RFC 3261 section 12.2.2
            }
            _ => {}
        }
        let encoded = message.first(Name::ContentEncoding).is_some_and(|it| !it.eq_ignore_ascii_case(b"identity"));
        if encoded && !message.body().is_empty() {
            return Verdict::Refuse(415);
        }
        let standing = match () {
            () if state.state.eq_ignore_ascii_case(b"terminated") => Standing::Terminated,
            () if state.state.eq_ignore_ascii_case(b"pending") => Standing::Pending,
            () => Standing::Active,
        };
        let body = Bytes::copy_from_slice(message.body());
        let kind = message.first(Name::ContentType).unwrap_or_default();
        let found = document_version(kind, &body);
        let order = Order::of(*version, found);
        // What comes later by its CSeq is newer, whatever its version is: the notifier may have begun to count anew.
        self.dialog.version = found.or(*version);
        self.dialog.notified = Some((known.cseq, print));
        (self.refusals, self.heard, self.notifies) = (0, self.heard + 1, self.notifies + 1);
        let text = |value: &[u8]| String::from_utf8_lossy(value).to_ascii_lowercase().into_boxed_str();
        Verdict::Accept(Notification {
            standing,
            reason: state.reason.filter(|_| standing == Standing::Terminated).map(text),
            content_type: text(wire::media_type(kind)),
            content_type_raw: kind.into(),
            body,
            order,
        })
    }

    /// A NOTIFY was refused because it makes no sense in this dialog. If that goes on, a fresh one is asked for.
    pub fn refused(&mut self, turn: &mut Turn<'_>) {
        if self.refusals >= REFUSALS && self.wanted {
            self.refusals = 0;
            self.ask_again(Cause::Confused, None, turn);
        }
    }

    /// A NOTIFY has been accepted and answered: the lease that it names counts, its end too.
    pub fn heard(&mut self, notification: Notification, message: Message<'_>, turn: &mut Turn<'_>) {
        if self.learn(message, message.first(Name::From), false) {
            turn.save();
        }
        let state = message.first(Name::SubscriptionState).and_then(wire::subscription_state);
        let seconds = |value: Option<u32>| value.map(|seconds| Duration::from_secs(u64::from(seconds)));
        let lease = seconds(state.and_then(|state| state.expires));
        let pause = seconds(state.and_then(|state| state.retry_after));
        let (standing, reason) = (notification.standing, notification.reason.clone());
        if self.wanted {
            let (id, fork) = self.fork.unwrap_or((self.id, 0));
            turn.report(Event::Notified { id, fork, notification });
        }
        if standing == Standing::Terminated {
            if !self.wanted {
                return self.end(turn);
            }
            let reason = reason.unwrap_or_default();
            let cause = Cause::Terminated(reason.clone());
            return match &*reason {
                "probation" | "giveup" => self.fail(cause, pause, turn),
                "rejected" => self.stop(State::Rejected, cause, turn),
                "noresource" | "invariant" => self.stop(State::Terminated, cause, turn),
                _ => self.ask_again(cause, pause, turn),
            };
        }
        self.state = if standing == Standing::Active { State::Active } else { State::Pending };
        self.cause = None;
        let until = lease.map(|lease| turn.now + lease.min(self.lease));
        match self.phase {
            Phase::Asking { lease: known } => {
                self.phase = Phase::Asking { lease: until.or(known).or(Some(turn.now + self.lease)) };
            }
            // Only a lease that is another one than we know moves the renewal.
            Phase::Active { until: known, act_at } => match until {
                Some(until) if until.since(known).max(known.since(until)) > Duration::from_secs(2) => {
                    self.run(until, turn);
                    turn.save();
                }
                _ => {
                    let first = self.heard == 1 && self.serial > 0;
                    let act_at = if first { self.renewal(known, turn) } else { act_at };
                    self.phase = Phase::Active { until: known, act_at };
                }
            },
            Phase::Refreshing { until: known } => self.phase = Phase::Refreshing { until: until.unwrap_or(known) },
            Phase::Waiting { .. } | Phase::Leaving { .. } | Phase::Stopped | Phase::Over => {}
        }
        self.refresh_once_more(turn);
    }

    fn learn(&mut self, message: Message<'_>, theirs: Option<&[u8]>, reversed: bool) -> bool {
        let target = self.dialog.remote.is_none().then(|| self.target().into());
        self.dialog.learn(message, theirs, reversed, target)
    }

    /// The lease runs until `until`.
    fn run(&mut self, until: Time, turn: &Turn<'_>) {
        let refresh_at = self.renewal(until, turn);
        let act_at = if self.awaits_first() { refresh_at.min(turn.now + turn.patience()) } else { refresh_at };
        self.phase = Phase::Active { until, act_at };
    }

    fn renewal(&self, until: Time, turn: &Turn<'_>) -> Time {
        turn.renewal(until.since(turn.now))
    }

    /// Begins anew where the user said.
    fn ask(&mut self, turn: &mut Turn<'_>) {
        (self.redirected, self.redirections) = (None, 0);
        // Another dialog, another lease: what a 423 has asked for once need not hold for ever.
        self.lease = turn.settings.pace.lease(self.watch.expires);
        self.begin(turn);
    }

    /// Begins a new dialog.
    fn begin(&mut self, turn: &mut Turn<'_>) {
        if self.dialog.remote.is_some() {
            turn.save();
        }
        self.dialog = Dialog::new(self.id, turn);
        self.serial += 1;
        (self.raises, self.heard, self.renewed) = (0, 0, false);
        self.phase = Phase::Asking { lease: None };
        self.send(turn);
    }

    /// What worked has ended: begins anew at once, unless it keeps ending.
    fn ask_again(&mut self, cause: Cause, pause: Option<Duration>, turn: &mut Turn<'_>) {
        if turn.now.since(self.dialog.since) >= PROVEN {
            self.failures = 0;
        }
        if !self.wanted || self.fork.is_some() {
            self.end(turn);
        } else if self.failures == 0 && pause.is_none() {
            self.failures = 1;
            self.lose(State::Retrying, cause, Some(turn.now), turn);
            self.ask(turn);
        } else {
            self.fail(cause, pause, turn);
        }
    }

    /// It does not work: tries again later.
    fn fail(&mut self, cause: Cause, pause: Option<Duration>, turn: &mut Turn<'_>) {
        if !self.wanted || self.fork.is_some() {
            return self.end(turn);
        }
        let until = turn.retry_at(pause);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { until };
        self.lose(State::Retrying, cause, Some(until), turn);
    }

    /// It will not work: the user must begin again.
    fn stop(&mut self, state: State, cause: Cause, turn: &mut Turn<'_>) {
        if !self.wanted || self.fork.is_some() {
            return self.end(turn);
        }
        self.phase = Phase::Stopped;
        self.lose(state, cause, None, turn);
    }

    fn lose(&mut self, state: State, cause: Cause, again: Option<Time>, turn: &mut Turn<'_>) {
        if self.dialog.remote.is_some() {
            turn.save();
        }
        (self.state, self.cause) = (state, Some(cause.clone()));
        turn.report(Event::SubscriptionLost { id: self.id, state, cause, again });
    }

    /// A request failed. A first one is tried again later; after a refresh the lease still runs (RFC 6665 section
    /// 4.1.2.2).
    fn give_way(&mut self, cause: Cause, pause: Option<Duration>, turn: &mut Turn<'_>) {
        let Phase::Refreshing { until } = self.phase else { return self.fail(cause, pause, turn) };
        if !self.wanted {
            return self.end(turn);
        }
        // Once more while it runs, if that is possible; for whoever asks for more patience the lease runs out.
        let left = until.since(turn.now);
        let again = (turn.now + pause.unwrap_or((left / 2).min(turn.settings.pace.retry)))
            .max(turn.now + Duration::from_secs(4))
            .min(until);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Active { until, act_at: again };
        self.cause = Some(cause.clone());
        if self.fork.is_none() {
            turn.report(Event::RefreshFailed { id: self.id, cause, again });
        }
    }

    fn take_leave(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Leaving { until: turn.now + turn.settings.pace.farewell };
        self.send(turn);
    }

    fn end(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Over;
        turn.save();
        match self.fork {
            Some((id, fork)) => turn.report(Event::ForkEnded { id, fork }),
            None => turn.report(Event::Unsubscribed { id: self.id }),
        }
    }

    fn send(&mut self, turn: &mut Turn<'_>) {
        self.once_more = false;
        if self.dialog.count() {
            turn.save();
        }
        self.sent += 1;
        turn.ask();
    }

    /// What a restart needs, while there is a dialog. Forks come again by themselves, with their next NOTIFY.
    pub fn standing(&self) -> Option<DialogStanding> {
        let until = match self.phase {
            Phase::Active { until, .. } | Phase::Refreshing { until } => until,
            // Whoever had asked for the end must ask again.
            Phase::Leaving { until } => until,
            Phase::Asking { lease } => lease?,
            Phase::Waiting { .. } | Phase::Stopped | Phase::Over => return None,
        };
        let remote = self.dialog.remote.as_ref().filter(|_| self.fork.is_none())?;
        Some(DialogStanding {
            watch: self.watch.clone(),
            call_id: self.dialog.call_id.clone(),
            local_tag: self.dialog.tag.clone(),
            remote_tag: remote.tag.clone(),
            target: remote.target.clone(),
            routes: remote.routes.clone(),
            reserved: self.dialog.reserved,
            until,
        })
    }

    /// Until when the lease runs, if it does.
    pub fn lease_end(&self) -> Option<Time> {
        match self.phase {
            Phase::Active { until, .. } | Phase::Refreshing { until } => Some(until),
            // A NOTIFY was faster than the answer.
            Phase::Asking { lease } => lease,
            Phase::Waiting { .. } | Phase::Leaving { .. } | Phase::Stopped | Phase::Over => None,
        }
    }

    /// As the API lists it.
    pub fn row(&self, settings: &Settings, users: u32) -> Row {
        Row {
            usage: Usage::Subscription(self.fork.map_or(self.id, |(id, _)| id)),
            resource: self.watch.resource.clone(),
            from: self.watch.subscriber.clone().unwrap_or_else(|| settings.address.clone()),
            event: self.watch.event.clone(),
            state: self.state,
            cause: self.cause.clone(),
            last_status: self.last_status,
            until: self.lease_end(),
            next: self.deadline(),
            target: self.target().into(),
            call_id: self.dialog.call_id.clone(),
            local_tag: self.dialog.tag.clone(),
            remote_tag: self.dialog.remote.as_ref().map(|remote| remote.tag.clone()),
            cseq: self.dialog.cseq,
            entity_tag: None,
            users,
            sent: self.sent,
            notified: self.notifies,
        }
    }
}
