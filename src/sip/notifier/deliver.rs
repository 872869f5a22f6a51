//! NOTIFYs on their way (RFC 6665 section 4.2.2): written, sent again, answered, given up.

use crate::engine::Engine;
use crate::host::Host;
use crate::identifier::Branch;
use crate::subscription::{Delivery, InFlight, Reason, State};
use crate::wire::{NameAddr, Uri};
use lamplighter_model::{Config, Counter, Decision, Durability, Outbox, Record, Time, Transport};
use std::time::Duration;

/// How many CSeq numbers one record for the store covers; the next one is saved when half of them are used.
pub(super) const RESERVE: u32 = 1000;

impl Engine {
    /// Writes the NOTIFY that is due, unless something forbids it now.
    pub(crate) fn deliver<H: Host>(&mut self, now: Time, index: u32, host: &mut H, out: &mut Outbox) {
        out.outputs.append(&mut self.lookups);
        let config = self.config.clone();
        let Some(subscription) = self.notifier.subscriptions[index as usize].as_deref_mut() else { return };
        match &subscription.delivery {
            Delivery::Idle => {}
            Delivery::InFlight(_) | Delivery::Waiting(_) if subscription.owed => {}
            Delivery::Dormant(Some(again)) if subscription.is_live() => {
                let again = *again;
                self.notifier.redirect(index, again);
            }
            Delivery::Dormant(_) if !subscription.is_live() => return self.forget(now, index, host),
            _ => return,
        }
        let subscription = self.notifier.at(index);
        if !(subscription.owed || subscription.dirty) || subscription.held {
            return;
        }
        if subscription.reserved > 0
            && subscription.is_live()
            && subscription.cseq + RESERVE / 2 > subscription.reserved
        {
            subscription.reserved = subscription.cseq + 2 * RESERVE;
            let (tag, reserved) = (subscription.tag, subscription.reserved);
            let record = subscription.record(&config, host);
            host.save(record);
            match self.durability() {
                Durability::Memory => self.notifier.at(index).safe = reserved,
                durability => self.reserve_later(now, durability, index, tag, reserved),
            }
        }
        let failing = self.held.failing;
        let subscription = self.notifier.at(index);
        if subscription.reserved > 0 && subscription.cseq >= subscription.safe && subscription.is_live() && !failing {
            return; // the store will say when
        }
        (subscription.owed, subscription.dirty) = (false, false);
        let body = subscription.told.then(|| host.body(now, subscription.resource, subscription.how));
        if let Some(body) = &body
            && !body.bytes.is_empty()
        {
            subscription.version = subscription.version.wrapping_add(1);
        }
        subscription.cseq += 1;
        subscription.notified = now;
        subscription.answer = 0;
        let flight = InFlight { body, sent: now, next: now, tries: 0 };
        self.counters.count(Counter::Notified);
        if host.tracing() {
            let address = host.address(subscription.resource);
            let detail = subscription.trace(&format!("CSeq {} to", subscription.cseq));
            host.trace(now, &address, "notify", detail);
        }
        self.transmit(now, index, flight, &config, out);
    }

    /// Sends a NOTIFY for the first time or again, and arms Timer E or F (RFC 3261 section 17.1.2.2).
    pub(super) fn transmit(&mut self, now: Time, index: u32, mut flight: InFlight, config: &Config, out: &mut Outbox) {
        let notifier = &mut self.notifier;
        let subscription = notifier.subscriptions[index as usize].as_deref_mut().expect("the caller has just used it");
        let (from, mut flow) = (out.bytes.len(), subscription.flow);
        subscription.write(config, &flight, flow.transport, &mut out.bytes);
        if flow.transport == Transport::Udp && out.bytes.len() - from > config.notify.max_udp {
            match notifier.open.get(&subscription.contact) {
                // Once: if the stream is dead without our knowing, the next attempt goes where it always went.
                Some(stream) if flight.tries == 0 => {
                    flow = *stream;
                    out.bytes.truncate(from);
                    subscription.write(config, &flight, flow.transport, &mut out.bytes);
                }
                _ => self.counters.count(Counter::NotifyFragmented),
            }
        }
        out.send(flow, from);
        let last = flight.sent + config.timers.t1 * 64;
        flight.next = if subscription.flow.transport.is_stream() {
            last
        } else if flow.transport.is_stream() {
            (now + config.timers.t1 * 2).min(last)
        } else {
            let pause = config.timers.t1 * 2_u32.pow(u32::from(flight.tries.min(16)));
            (now + pause.min(config.timers.t2)).min(last)
        };
        flight.tries = flight.tries.saturating_add(1);
        subscription.delivery = Delivery::InFlight(flight);
        notifier.arm(index);
    }

    /// The answer to a NOTIFY.
    pub(crate) fn answered<H: Host>(
        &mut self,
        now: Time,
        status: u16,
        retry_after: Option<u32>,
        branch: Branch,
        host: &mut H,
    ) {
        let config = self.config.clone();
        let Some(index) = self.notifier.find_branch(branch) else {
            return self.counters.count(Counter::StrayResponse);
        };
        let subscription = self.notifier.at(index);
        if subscription.cseq != branch.cseq || !matches!(subscription.delivery, Delivery::InFlight(_)) {
            return; // to a NOTIFY that a newer one has superseded
        }
        if status < 200 {
            // RFC 3261 section 17.1.2.2: from now on retransmissions come every T2.
            if let Delivery::InFlight(flight) = &mut subscription.delivery {
                flight.tries = flight.tries.max(4);
            }
            return;
        }
        subscription.answer = status;
        if host.tracing() {
            let address = host.address(subscription.resource);
            let detail = subscription.trace(&format!("{status} from"));
            host.trace(now, &address, "notify answered", detail);
        }
        match status {
            200..300 => {
                subscription.failures = 0;
                if !subscription.is_live() {
                    return self.forget(now, index, host);
                }
                let min_interval = config.notify.min_interval;
                subscription.delivery = if min_interval.is_zero() {
                    Delivery::Idle
                } else {
                    Delivery::Waiting(subscription.notified + min_interval)
                };
                if subscription.dirty {
                    self.notifier.queue(index);
                }
                if !min_interval.is_zero() {
                    self.notifier.arm(index);
                }
            }
            408 => self.failed(now, index, host),
            // RFC 5057 section 5.1: these end the usage.
            481 => {
                self.counters.count(Counter::NotifyFailed);
                self.lose(now, index, "watcher refused a NOTIFY", host);
            }
            404 | 405 | 410 | 416 | 480 | 482..=485 | 489 | 501 | 502 | 604 if retry_after.is_none() => {
                self.counters.count(Counter::NotifyFailed);
                self.lose(now, index, "watcher refused a NOTIFY", host);
            }
            _ => match retry_after {
                Some(pause) => {
                    self.counters.count(Counter::NotifyFailed);
                    if !subscription.is_live() {
                        return self.forget(now, index, host);
                    }
                    let pause = Duration::from_secs(u64::from(pause.clamp(1, 3600)));
                    subscription.delivery = Delivery::Waiting(now + pause);
                    subscription.dirty = true;
                    self.notifier.arm(index);
                }
                None => {
                    self.counters.count(Counter::NotifyFailed);
                    self.failed(now, index, host);
                }
            },
        }
    }

    /// Nobody has answered a NOTIFY, or not in earnest: the watcher is suspect, and lost after some such.
    pub(super) fn failed<H: Host>(&mut self, now: Time, index: u32, host: &mut H) {
        let notify = self.config.notify;
        let subscription = self.notifier.at(index);
        subscription.failures = subscription.failures.saturating_add(1);
        if !subscription.is_live() {
            return self.forget(now, index, host);
        }
        if subscription.failures >= notify.failures {
            return self.lose(now, index, "watcher does not answer", host);
        }
        let pause = notify.probe * 2_u32.pow(u32::from(subscription.failures - 1).min(10));
        subscription.delivery = Delivery::Waiting(now + pause);
        subscription.dirty = true;
        self.notifier.arm(index);
    }

    /// Ends a subscription whose watcher is gone.
    pub(super) fn lose<H: Host>(&mut self, now: Time, index: u32, why: &'static str, host: &mut H) {
        self.counters.count(Counter::SubscriptionLost);
        let (resource, who) = (self.notifier.at(index).resource, self.who(index));
        host.note(now, resource, why, &who);
        self.forget(now, index, host);
    }

    pub(crate) fn forget<H: Host>(&mut self, now: Time, index: u32, host: &mut H) {
        self.unrecord(index, host);
        let gone = self.notifier.remove(index);
        host.unpin(now, gone.resource);
    }

    /// The store need not keep a subscription any more: it has ended, whatever becomes of its last NOTIFY.
    pub(super) fn unrecord<H: Host>(&mut self, index: u32, host: &mut H) {
        let one = self.notifier.at(index);
        if std::mem::take(&mut one.reserved) > 0 {
            let mut tag = Vec::new();
            one.tag.write(&mut tag);
            host.save(Record::SubscriptionGone { local_tag: String::from_utf8_lossy(&tag).into() });
        }
    }

    /// Fires the timers that are due.
    pub(crate) fn advance<H: Host>(&mut self, now: Time, host: &mut H, out: &mut Outbox) {
        let mut due = std::mem::take(&mut self.due);
        self.notifier.wheel.advance(now, |index| due.push(index));
        for &index in &due {
            if let Some(one) = self.notifier.subscriptions[index as usize].as_deref_mut() {
                one.timer = None;
            }
        }
        for index in due.drain(..) {
            self.fire(now, index, host, out);
        }
        self.due = due;
        self.advance_stop(now);
        self.advance_restart(now);
    }

    pub(super) fn fire<H: Host>(&mut self, now: Time, index: u32, host: &mut H, out: &mut Outbox) {
        let config = self.config.clone();
        let Some(subscription) = self.notifier.subscriptions[index as usize].as_deref_mut() else { return };
        if subscription.is_live() && subscription.until <= now {
            let unreachable = matches!(
                subscription.delivery,
                Delivery::Dormant(_) | Delivery::Resolving { .. } | Delivery::Unresolved(_)
            );
            if unreachable {
                return self.forget(now, index, host);
            }
            let given_up = subscription.state == State::Pending;
            subscription.state = State::Ending(if given_up { Reason::GiveUp } else { Reason::Timeout });
            subscription.owed = true;
            self.unrecord(index, host);
            return self.deliver(now, index, host, out);
        }
        match &mut subscription.delivery {
            Delivery::InFlight(flight) if flight.next <= now => {
                if now >= flight.sent + config.timers.t1 * 64 {
                    subscription.answer = 1;
                    self.counters.count(Counter::NotifyTimeout);
                    self.failed(now, index, host);
                } else {
                    let InFlight { body, sent, next, tries } = flight;
                    let flight = InFlight { body: body.take(), sent: *sent, next: *next, tries: *tries };
                    self.counters.count(Counter::NotifyRetransmitted);
                    self.transmit(now, index, flight, &config, out);
                }
            }
            Delivery::Waiting(until) if *until <= now => {
                subscription.delivery = Delivery::Idle;
                self.deliver(now, index, host, out);
                if let Some(one) = &self.notifier.subscriptions[index as usize]
                    && one.timer.is_none()
                {
                    self.notifier.arm(index);
                }
            }
            Delivery::Resolving { until, query } if *until <= now => {
                let query = *query;
                self.notifier.resolving.remove(&query);
                self.unreachable(now, index, host);
            }
            Delivery::Unresolved(until) if *until <= now => {
                self.look_up_again(now, index);
                out.outputs.append(&mut self.lookups);
            }
            _ => self.notifier.arm(index),
        }
    }

    /// Tells the next of those who must be told that we stop.
    pub(super) fn advance_stop(&mut self, now: Time) {
        let Some(stop) = &mut self.notifier.stop else { return };
        if stop.at > now {
            return;
        }
        let (first, total) = (stop.next, self.notifier.subscriptions.len() as u32);
        let last = first.saturating_add((self.config.notify.stop_rate / 100).max(1)).min(total);
        (stop.next, stop.at) = (last, now + Duration::from_millis(10));
        if last == total {
            self.notifier.stop = None;
        }
        for index in first..last {
            if let Some(one) = self.notifier.subscriptions[index as usize].as_deref_mut()
                && one.is_live()
            {
                one.state = State::Ending(Reason::Deactivated);
                one.owed = true;
                self.notifier.queue(index);
            }
        }
    }

    /// Writes up to one burst of the NOTIFYs that wait.
    pub(crate) fn deliver_ready<H: Host>(&mut self, now: Time, host: &mut H, out: &mut Outbox) {
        for _ in 0..self.config.notify.burst {
            let Some(index) = self.notifier.ready.pop_front() else { break };
            if let Some(subscription) = self.notifier.subscriptions[index as usize].as_deref_mut() {
                subscription.queued = false;
                self.deliver(now, index, host, out);
            }
        }
    }

    /// Asks policy again about every subscription, after a change of the rules.
    pub(crate) fn authorize_again<H: Host>(&mut self, now: Time, host: &mut H) {
        let config = self.config.clone();
        for index in 0..self.notifier.subscriptions.len() as u32 {
            let Some(subscription) = self.notifier.subscriptions[index as usize].as_deref_mut() else { continue };
            let watcher = NameAddr::read(subscription.head.watcher()).and_then(|to| Uri::read(to.uri));
            let domain = watcher.map_or(&b""[..], |uri| uri.host);
            let state = match config.access.watch(subscription.source, domain) {
                Decision::Allow => State::Active,
                Decision::Confirm => State::Pending,
                Decision::Deny => State::Ending(Reason::Rejected),
            };
            if !subscription.is_live() || subscription.state == state {
                continue;
            }
            (subscription.state, subscription.told) = (state, state == State::Active);
            subscription.owed = true;
            let resource = subscription.resource;
            let record =
                (subscription.is_live() && subscription.reserved > 0).then(|| subscription.record(&config, host));
            match record {
                Some(record) => host.save(record),
                None => self.unrecord(index, host),
            }
            host.note(now, resource, "policy has changed for a watcher", "configuration");
            self.notifier.queue(index);
        }
    }
}
