//! Subscriptions that come back from the store, and what their watchers are told then.
//!
//! Their dialogs go on: the same tags, route set and Contact, CSeq and version above everything that was ever sent. Each
//! watcher gets one NOTIFY with the whole state, paced: first those whose state has ended meanwhile, then those about
//! whom somebody says something. Streams did not outlive us: a subscription over one is dormant until the phone comes
//! back.

use super::deliver::RESERVE;
use super::target::again;
use super::{Restart, towards};
use crate::engine::Engine;
use crate::identifier::{Branch, Tag};
use crate::subscription::{Delivery, Head, Parts, State, Subscription};
use crate::wire::NameAddr;
use lamplighter_model::package::{PackageId, Rendering, View};
use lamplighter_model::record::SubscriptionRecord;
use lamplighter_model::{Flow, ResourceId, Time};
use rand_chacha::rand_core::RngCore;
use std::time::Duration;

/// The largest number of a NOTIFY that is believed; far more than ever come to be, and half of what a CSeq may be (RFC
/// 3261 section 8.1.1.5).
const MOST_RESERVED: u32 = 1 << 30;

/// A record that makes no sense; it stays in the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is no subscription that can go on")]
pub struct Unusable;

impl Engine {
    /// Takes a subscription back. The caller has pinned the resource.
    pub fn restore(
        &mut self,
        resource: ResourceId,
        package: PackageId,
        record: &SubscriptionRecord,
    ) -> Result<(), Unusable> {
        let config = self.config.clone();
        let tag = Tag::read(record.local_tag.as_bytes()).ok_or(Unusable)?;
        let markup = |entity: &str| entity.contains(['<', '>', '"']);
        if record.reserved > MOST_RESERVED
            || !are_routes(&record.routes)
            || record.entity.as_deref().is_some_and(markup)
        {
            return Err(Unusable);
        }
        let remote_tag = NameAddr::read(&record.watcher).and_then(|watcher| watcher.tag()).ok_or(Unusable)?;
        let dialog = self.seed.fingerprint(&[&record.call_id, remote_tag]);
        let formats = config.packages.get(package).formats();
        let format = formats.iter().position(|format| format.content_type == record.content_type).unwrap_or(0) as u8;
        let profile = config.profiles.find(&record.profile).unwrap_or_default();
        // The listener may have another number now, or be gone.
        let flow = Flow {
            transport: record.transport,
            listener: 0,
            connection: 0,
            remote: record.remote,
            local: record.local_ip,
        };
        let same = |one: &lamplighter_model::config::Listener| {
            one.transport == record.transport && one.address == record.listener
        };
        let flow = match config.listeners.iter().position(same) {
            Some(listener) => Flow { listener: listener as u8, ..flow },
            None => towards(&config.listeners, flow, record.transport, record.remote).ok_or(Unusable)?,
        };
        // While the store failed, and for a last NOTIFY, more may have been sent than it was told.
        let beyond = record.reserved + RESERVE;
        let notifier = &mut self.notifier;
        let room = config.limits.subscriptions.saturating_mul(2);
        let taken = |index: u32| matches!(notifier.subscriptions.get(index as usize), Some(Some(_)));
        let moves = taken(tag.index) || tag.index as usize >= room;
        let index = if moves { notifier.subscriptions.len() as u32 } else { tag.index };
        let key = notifier.random.next_u32();
        let branch = Branch { slot: tag.slot, index, cseq: 0, key };
        let parts = Parts {
            target: &record.target,
            routes: &record.routes,
            local: &record.local,
            watcher: &record.watcher,
            call_id: &record.call_id,
            event: &record.event,
        };
        let head = Head::write(&config, flow, branch, &parts).map_err(|_| Unusable)?;
        let delivery = match flow.transport.is_stream() {
            true => Delivery::Dormant(again(&record.target, record.source, flow, &config.listeners)),
            false => Delivery::Idle,
        };
        if moves {
            notifier.moved.insert(tag, index);
        }
        *notifier.sources.entry(record.source).or_default() += 1;
        let active = record.active;
        notifier.add(
            index,
            Subscription {
                tag,
                key,
                dialog,
                device: record.device,
                contact: record.contact,
                resource,
                position: 0,
                package,
                how: Rendering { format, view: View::Full, profile: profile.0 },
                entity: record.entity.clone(),
                head,
                cseq: beyond,
                reserved: beyond,
                safe: beyond,
                held: false,
                // The answer may be lost, and the request come again.
                remote_cseq: record.remote_cseq.saturating_sub(1),
                version: beyond,
                until: record.until,
                stored: record.until,
                flow,
                berth: 0,
                source: record.source,
                state: if active { State::Active } else { State::Pending },
                told: active,
                delivery,
                dirty: flow.transport.is_stream(),
                owed: false,
                queued: false,
                failures: 0,
                answer: 0,
                notified: Time::default(),
                timer: None,
            },
        );
        notifier.arm(index);
        Ok(())
    }

    /// Everything is back: watchers are told what is true from now on. `urgency` says how soon, the least first.
    pub fn resume(&mut self, now: Time, urgency: impl Fn(ResourceId) -> u8) {
        let notifier = &mut self.notifier;
        notifier.resumed = now + self.config.timers.t1 * 64;
        let all = notifier.subscriptions.iter().enumerate().rev();
        notifier.free = all.clone().filter(|(_, one)| one.is_none()).map(|(index, _)| index as u32).collect();
        let live = all.filter_map(|(index, one)| {
            let one = one.as_deref().filter(|one| !matches!(one.delivery, Delivery::Dormant(None)))?;
            Some((urgency(one.resource), index as u32))
        });
        let mut waiting: Vec<(u8, u32)> = live.collect();
        waiting.sort_by_key(|&(urgency, _)| std::cmp::Reverse(urgency));
        let waiting: Vec<u32> = waiting.into_iter().map(|(_, index)| index).collect();
        notifier.restart = (!waiting.is_empty()).then_some(Restart { waiting, at: now });
    }

    /// Tells the next of those who came back.
    pub(super) fn advance_restart(&mut self, now: Time) {
        let Some(restart) = &mut self.notifier.restart else { return };
        if restart.at > now {
            return;
        }
        restart.at = now + Duration::from_millis(10);
        let batch = (self.config.notify.restart_rate / 100).max(1) as usize;
        let next = restart.waiting.split_off(restart.waiting.len().saturating_sub(batch));
        if restart.waiting.is_empty() {
            self.notifier.restart = None;
        }
        for index in next.into_iter().rev() {
            let Some(one) = self.notifier.subscriptions[index as usize].as_deref_mut() else { continue };
            // Whoever has been told something since knows everything.
            if one.is_live() && one.notified == Time::default() {
                one.owed = matches!(one.delivery, Delivery::Idle);
                one.dirty = true;
                self.notifier.queue(index);
            }
        }
    }
}

/// Whether these are Route header lines and nothing else.
fn are_routes(lines: &[u8]) -> bool {
    let is_route = |line: &[u8]| {
        let route = line.strip_prefix(b"Route: ").and_then(NameAddr::read);
        route.is_some() && !line.iter().any(u8::is_ascii_control)
    };
    match lines.strip_suffix(b"\r\n") {
        Some(lines) => {
            lines.split(|byte| *byte == b'\n').all(|line| is_route(line.strip_suffix(b"\r").unwrap_or(line)))
        }
        None => lines.is_empty(),
    }
}
