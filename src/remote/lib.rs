//! The machine beside the shards that talks to other servers: it subscribes there for whoever inside wants to know,
//! and publishes there what our own sources say.
//!
//! - `wish` keeps internal subscriptions. Equal ones share one SIP dialog (RFC 6665), which is kept a little after the
//!   last has left.
//! - `feed` puts what was learned under the gateway's own identity on the bus, as a source `remote:...` whose lease is
//!   that of the subscription. What a server has released to one subscriber stays with that subscription.
//! - `members` reads lists (RFC 4662), whose members enter the bus one by one.
//! - `export` publishes (RFC 3903) what our own sources compose. What came from another server is never among it.
//! - `publish` publishes documents that programs hand in.
//! - `keep` brings what programs wanted over a restart.
//! - `news` tells whoever listens what becomes of what they want.
//!
//! Like a shard it is a plain value, driven by the same driver: no socket, no clock, no chance. It asks shards by
//! [`lamplighter_model::Output::Ask`], a bounded number of questions at a time, and never waits for one.

mod export;
mod feed;
mod keep;
mod members;
mod news;
mod publish;
mod settings;
mod totals;
mod wish;

pub use settings::{MOST_RULES, Rule, Settings, Watched};
pub use wish::is_uri;

use export::{Export, ExportKey};
use feed::{Feed, Flies, Leftover, Part};
use keep::Kept;
use lamplighter_model::hash::Map;
use lamplighter_model::{
    Answer, Command, Config, Flow, Input, Outbox, Output, Record, RemoteAnswer, RemoteCommand, Seed, Time,
};
use lamplighter_sip::client::{self, Agent, Event, PublicationId, State, SubscriptionId, Target, Usage};
use news::News;
use publish::{Own, OwnKey};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use wish::{Line, Sub};

/// Questions to shards that are under way at once; more wait their turn.
const ASKED: usize = 64;
/// When a shard that was too busy is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// A subscription that has ended and is being begun again keeps its state on the bus so long.
const GRACE: Duration = Duration::from_secs(10);
/// Subscriptions that a restart has found are refreshed one by one, so long apart,
const PACE: Duration = Duration::from_millis(10);
/// or closer, so that all have had their turn by then,
const CATCH_UP: Duration = Duration::from_secs(120);
/// but never closer than this.
const HURRY: Duration = Duration::from_millis(1);
/// What is not urgent is done at multiples of this.
const TOGETHER: Duration = Duration::from_millis(250);

/// Memory is not held for more outputs than this.
const MOST_SPARE: usize = 1024;

/// Something to do at a time.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Due {
    /// Nobody has come back for this dialog.
    Linger(SubscriptionId),
    /// This dialog's subscription has not come back.
    Grace(SubscriptionId),
    /// Nobody has asked how the removal of this publication went.
    Forget(u64),
    /// This dialog, which is from before a restart, is to be refreshed.
    Renew(SubscriptionId),
    /// Everything that this dialog's notifier knows may be asked for again.
    Anew(SubscriptionId),
    /// What this dialog's notifiers said before a restart, and have not said again since.
    Unconfirmed(SubscriptionId),
    /// Whoever wanted something before a restart has had time to say so again.
    Claimed,
    /// Leases of subscriptions have moved, and the bus is to know it.
    Prolong,
    /// The shard may be asked again.
    Ask(Task),
    /// Whether this is still what our own sources say is to be asked for.
    Look(ExportKey),
}

/// A question to a shard that is worth asking.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Task {
    /// To take what a dialog has learned.
    Feed(SubscriptionId, Part),
    /// To keep what these have learned for longer. All of one shard.
    Renew(Vec<(SubscriptionId, Part)>),
    /// For the state to publish elsewhere.
    Export(ExportKey),
    /// To let go of what somebody said before a restart.
    Discard(Leftover),
}

/// The machine.
#[derive(Debug)]
pub struct Remote {
    config: Arc<Config>,
    settings: Settings,
    agent: Agent,
    told: Vec<client::Output>,
    spare: Vec<client::Output>,
    subs: BTreeMap<u64, Sub>,
    next_sub: u64,
    lines: Map<SubscriptionId, Box<Line>>,
    /// Publications on the bus that have nobody behind them any more and are being withdrawn.
    orphans: BTreeMap<(SubscriptionId, Part), Feed>,
    /// What is on the bus from before a restart, and nobody has said again since.
    leftovers: BTreeMap<Leftover, Flies>,
    /// Addresses about which the bus has heard from other servers, through us, and until when that holds at most.
    hearsay: Map<Arc<str>, Time>,
    exports: BTreeMap<ExportKey, Export>,
    published: BTreeMap<PublicationId, ExportKey>,
    own: BTreeMap<u64, Own>,
    own_by_key: BTreeMap<OwnKey, u64>,
    published_own: BTreeMap<PublicationId, u64>,
    own_bytes: usize,
    next_own: u64,
    news: News,
    kept: Kept,
    /// Records on their way to the store.
    keeping: Vec<Record>,
    due: BTreeSet<(Time, Due)>,
    /// What is to be prolonged on the bus.
    prolonging: Vec<(SubscriptionId, Part)>,
    /// Questions under way, and those that wait.
    asked: BTreeMap<u64, Task>,
    waiting: VecDeque<Task>,
    next_ask: u64,
    saves: u64,
    /// Bodies that made no sense.
    bad_bodies: u64,
    /// Dialogs from before a restart that nobody has wanted since, and when their leases end.
    restored: BTreeMap<SubscriptionId, Time>,
    /// When the next of those that are wanted is refreshed.
    renewal: Time,
    resumed: bool,
    stopping: bool,
}

impl Remote {
    /// A machine that keeps nothing yet. Its tags and branches follow from `seed`, which must be a secret and its own.
    pub fn new(config: Arc<Config>, settings: Settings, seed: Seed, now: Time) -> Self {
        Self {
            agent: Agent::new(now, settings.agent.clone(), seed),
            config,
            settings,
            told: Vec::new(),
            spare: Vec::new(),
            subs: BTreeMap::new(),
            next_sub: 1,
            lines: Map::with_hasher(seed),
            orphans: BTreeMap::new(),
            leftovers: BTreeMap::new(),
            hearsay: Map::with_hasher(seed),
            exports: BTreeMap::new(),
            published: BTreeMap::new(),
            own: BTreeMap::new(),
            own_by_key: BTreeMap::new(),
            published_own: BTreeMap::new(),
            own_bytes: 0,
            next_own: 1,
            news: News::default(),
            kept: Kept::default(),
            keeping: Vec::new(),
            due: BTreeSet::new(),
            prolonging: Vec::new(),
            asked: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_ask: 1,
            saves: 0,
            bad_bodies: 0,
            restored: BTreeMap::new(),
            renewal: now,
            resumed: false,
            stopping: false,
        }
    }

    /// Takes a record back from the store, before anything else is handled; then comes [`Self::resume`]. False: it
    /// makes no sense, or its lease is over.
    pub fn restore(&mut self, now: Time, record: Record) -> bool {
        let Record::Standing { key, until, bytes } = record else { return false };
        if let Some(known) = self.restore_kept(key, &bytes) {
            return known;
        }
        if !self.settings.elsewhere {
            return false;
        }
        let Some(mut standing) = client::Saved::decode(&bytes) else { return false };
        match &mut standing {
            client::Saved::Subscription(it) => it.until = until,
            client::Saved::Publication(it) => it.until = until,
        }
        let usage = self.agent.restore(now, key, standing, &mut self.told);
        if let Some(Usage::Subscription(id)) = usage {
            self.restored.insert(id, until);
        }
        usage.is_some()
    }

    /// Everything is back: the subscriptions of the configuration begin, or go on.
    pub fn resume(&mut self, now: Time) {
        self.resume_kept(now);
        let mut number = 1;
        for Watched { wish, local, domain } in self.settings.watches.clone() {
            while self.has(number) {
                number += 1;
            }
            // What the configuration cannot have was refused when it was read; without room it is told by its absence.
            let _ = self.subscribe_as(now, number, wish, local, domain, true);
            number += 1;
        }
        self.next_sub = self.next_sub.max(number);
        // Those whose leases end first are the first.
        let mut due: Vec<_> = self.lines.iter().filter_map(|(id, line)| Some((line.restored?, *id))).collect();
        due.sort_unstable();
        let pace = (CATCH_UP / u32::try_from(due.len()).unwrap_or(u32::MAX).max(1)).clamp(HURRY, PACE);
        for (_, id) in due {
            self.plan_renewal(now, id, pace);
        }
        // Nobody will claim what came from other servers if there are none any more.
        let claim = if self.settings.elsewhere { self.settings.agent.pace.claim } else { Duration::ZERO };
        self.due.insert((now + claim, Due::Claimed));
        self.resumed = true;
    }

    fn plan_renewal(&mut self, now: Time, id: SubscriptionId, pace: Duration) {
        self.renewal = self.renewal.max(now) + pace;
        self.due.insert((self.renewal, Due::Renew(id)));
    }

    /// Applies one input; what must be done about it lands in `out`.
    pub fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Datagram { flow, bytes, .. } => self.agent(now, client::Input::Message { flow, bytes }),
            Input::Closed(flow) => self.agent(now, client::Input::Closed(flow)),
            Input::Resolved { query, targets, ttl } => {
                let targets: Vec<_> =
                    targets.iter().map(|&(transport, address)| Target { transport, address }).collect();
                self.agent(now, client::Input::Resolved { query, targets: &targets, ttl });
            }
            Input::Command { ticket, command } => {
                let answer = match command {
                    Command::Remote(command) => self.command(now, command),
                    _ => RemoteAnswer::Unknown,
                };
                out.outputs.push(Output::Answer { ticket, answer: Answer::Remote(answer) });
            }
            Input::Asked { number, answer } => self.answered(now, number, answer),
            Input::Heard(all) if !self.stopping => all.iter().for_each(|one| self.heard(now, one)),
            Input::Stop => self.stop(now),
            // Servers and rules change with a restart; packages and addresses at once.
            Input::Config(config) => self.config = config,
            Input::Heard(_) | Input::Saved { .. } | Input::StoreFailing(_) | Input::Tick => {}
        }
        self.fire(now);
        if self.agent.deadline().is_some_and(|deadline| deadline <= now) {
            self.agent(now, client::Input::Tick);
        }
        self.learn(now, out);
        self.ask(now, out);
        self.tell(out);
    }

    /// When [`Self::handle`] wants an [`Input::Tick`] although nothing has happened.
    pub fn deadline(&self) -> Option<Time> {
        let first = self.due.first().map(|(time, _)| *time);
        [self.agent.deadline(), first].into_iter().flatten().min()
    }

    /// Whether a server or a shard owes us an answer.
    pub fn expects(&self) -> bool {
        self.agent.expects() || !self.asked.is_empty()
    }

    /// Whether nothing is left to be done after [`Input::Stop`].
    pub fn is_through(&self) -> bool {
        self.stopping && if self.settings.agent.store { !self.agent.expects() } else { self.agent.is_idle() }
    }

    /// With a store, everything waits at the servers for the next start, which must know their last answers. Without one,
    /// they are told.
    fn stop(&mut self, now: Time) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        if self.settings.agent.store {
            return self.agent.hold();
        }
        for &id in self.lines.keys() {
            self.agent.unsubscribe(now, id, &mut self.told);
        }
        let exported = self.exports.values_mut().filter_map(|export| export.publication.take());
        for id in exported.chain(self.own.values().filter_map(|own| own.publication)) {
            self.agent.withdraw(now, id, &mut self.told);
        }
    }

    fn agent(&mut self, now: Time, input: client::Input<'_>) {
        self.agent.handle(now, input, &mut self.told);
    }

    /// Does what the agent wants, and hears what it has learned, which may make it want more.
    fn learn(&mut self, now: Time, out: &mut Outbox) {
        while !self.told.is_empty() {
            // What these make the agent say meanwhile lands in the other one; both are used again.
            let mut all = std::mem::replace(&mut self.told, std::mem::take(&mut self.spare));
            for told in all.drain(..) {
                match told {
                    client::Output::Send { flow, bytes } => send(out, flow, &bytes),
                    client::Output::Resolve { query, host, port, transport } => {
                        out.outputs.push(Output::Resolve { query, host, port, transport });
                    }
                    client::Output::Save { key, standing } => {
                        let record = match standing {
                            Some(standing) => {
                                let until = match &*standing {
                                    client::Saved::Subscription(it) => it.until,
                                    client::Saved::Publication(it) => it.until,
                                };
                                Record::Standing { key, until, bytes: standing.encode().into() }
                            }
                            None => Record::StandingGone { key },
                        };
                        self.saves += 1;
                        out.outputs.push(Output::Save { number: self.saves, record });
                    }
                    client::Output::Event(event) => self.event(now, event),
                }
            }
            if all.capacity() <= MOST_SPARE {
                self.spare = all;
            }
        }
        for record in std::mem::take(&mut self.keeping) {
            self.saves += 1;
            out.outputs.push(Output::Save { number: self.saves, record });
        }
    }

    fn event(&mut self, now: Time, event: Event) {
        match event {
            Event::Subscribed { id, .. } => {
                self.news.line(id, false);
                self.prolong(now, id);
            }
            Event::Notified { id, fork, notification } => self.notified(now, id, fork, notification),
            Event::ForkEnded { id, fork } => {
                self.news.line(id, true);
                self.forget(id, fork);
            }
            Event::SubscriptionLost { id, state: State::Retrying, .. } => {
                self.news.line(id, false);
                self.lost(now, id);
            }
            Event::SubscriptionLost { id, .. } => {
                self.news.line(id, true);
                self.forget_all(id);
            }
            Event::Unsubscribed { id } => {
                self.restored.remove(&id);
                self.ended(id);
            }
            Event::Published { id, refreshed: true, .. } => self.refreshed(now, id),
            Event::Answered { usage: Usage::Publication(id), status } => self.own_was_answered(id, status),
            Event::Withdrawn { id } => {
                self.published.remove(&id);
                self.own_has_ended(now, id);
            }
            Event::RefreshFailed { id, .. } | Event::Answered { usage: Usage::Subscription(id), .. } => {
                self.news.line(id, false);
            }
            // Its answer has been told; what else there is to know is read from the agent.
            Event::Published { .. } | Event::PublicationLost { .. } | Event::Refused { .. } => {}
        }
    }

    fn command(&mut self, now: Time, command: RemoteCommand) -> RemoteAnswer {
        match command {
            RemoteCommand::Subscribe(wish) => match self.subscribe(now, *wish) {
                Ok(id) => {
                    self.mark_kept(id);
                    self.keep_subscription(id);
                    self.get(id)
                }
                Err(answer) => answer,
            },
            RemoteCommand::Get(id) => self.get(id),
            RemoteCommand::List { from, most } => self.list(from, most),
            RemoteCommand::Retry(id) => self.retry(now, id),
            RemoteCommand::Renew { id, expires } => self.renew(now, id, expires),
            RemoteCommand::Remove(id) => self.remove(now, id),
            RemoteCommand::Publish(record) => {
                let answer = self.publish_own(now, *record);
                if let RemoteAnswer::Publication(row, _) = &answer
                    && let Some(number) = row.number
                {
                    self.mark_own_kept(number);
                    self.keep_publication(number);
                }
                answer
            }
            RemoteCommand::Modify { number, content, expires } => self.modify_own(now, number, content, expires),
            RemoteCommand::Withdraw(number) => self.withdraw_own(now, number),
            RemoteCommand::Publication(number) => self.own_answer(number, false),
            RemoteCommand::Totals => self.totals(now),
            RemoteCommand::For { listener, command } => self.command_for(now, listener, *command),
            RemoteCommand::Leave { listener, only } => self.leave_listener(now, listener, only),
            RemoteCommand::Publications { from, most } => self.publications(from, most),
        }
    }

    fn fire(&mut self, now: Time) {
        while let Some((time, _)) = self.due.first()
            && *time <= now
        {
            let Some((_, due)) = self.due.pop_first() else { return };
            match due {
                Due::Linger(id) => self.leave(now, id),
                Due::Grace(id) => self.give_up(now, id),
                // It may have had its turn for another reason.
                Due::Renew(id) if self.lines.get(&id).is_some_and(|line| line.restored.is_some()) => {
                    self.agent.retry(now, id, &mut self.told);
                }
                Due::Renew(_) => {}
                Due::Anew(id) => self.ask_anew(now, id),
                Due::Forget(number) => self.forget_own(number),
                Due::Unconfirmed(id) => self.discard(id),
                Due::Claimed => self.discard_unclaimed(),
                Due::Prolong => self.prolong_all(),
                Due::Ask(task) => self.waiting.push_back(task),
                Due::Look(key) => self.look(key),
            }
        }
    }

    /// Asks shards what is worth asking, as far as there is room.
    fn ask(&mut self, now: Time, out: &mut Outbox) {
        while self.asked.len() < ASKED
            && let Some(mut task) = self.waiting.pop_front()
        {
            let question = match &mut task {
                Task::Feed(id, part) => self.feed_question(now, *id, part),
                Task::Renew(parts) => self.renew_question(now, parts),
                Task::Export(key) => self.export_question(key),
                Task::Discard(leftover) => self.discard_question(leftover),
            };
            let Some((resource, command)) = question else { continue };
            let number = self.next_ask;
            self.next_ask += 1;
            self.asked.insert(number, task);
            out.outputs.push(Output::Ask { number, resource, command: Box::new(command) });
        }
    }

    fn answered(&mut self, now: Time, number: u64, answer: Option<Answer>) {
        let Some(task) = self.asked.remove(&number) else { return };
        let again = match &task {
            Task::Feed(id, part) => self.feed_answered(now, *id, part, answer),
            Task::Renew(parts) => {
                self.renewed(now, parts, answer);
                None
            }
            Task::Export(key) => self.export_answered(now, key, answer),
            Task::Discard(leftover) => self.discarded(leftover, answer),
        };
        self.again(now, again, task);
    }

    /// Asks again after so long, if at all.
    fn again(&mut self, now: Time, pause: Option<Duration>, task: Task) {
        match pause {
            Some(Duration::ZERO) => self.waiting.push_back(task),
            Some(pause) => _ = self.due.insert((now + pause, Due::Ask(task))),
            None => {}
        }
    }
}

/// The next time at which what is not urgent is done.
fn soon(now: Time) -> Time {
    let unit = TOGETHER.as_micros() as u64;
    Time::from_micros((now.as_micros() / unit).saturating_add(1).saturating_mul(unit))
}

fn send(out: &mut Outbox, flow: Flow, bytes: &[u8]) {
    let from = out.bytes.len();
    out.bytes.extend_from_slice(bytes);
    out.send(flow, from);
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
