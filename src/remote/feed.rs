//! What a dialog has learned, on its way to the bus: one publication a notifier, newest state next.

use super::members::OF;
use super::wish::together;
use super::{AGAIN, Due, Remote, Task, soon};
use bytes::Bytes;
use lamplighter_model::{
    Answer, Command, EntityTag, OwnedAction, OwnedContent, PackageId, PublishCommand, PublishError, PublishedLease,
    Record, Rendering, Renewal, Slot, Time, View,
};
use lamplighter_sip::client::SubscriptionId;
use lamplighter_sip::wire::Uri;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How the names of our sources on the bus begin.
const SOURCE: &str = "remote:";
/// A NOTIFY may come before the answer that says how long it holds: until then, so long.
const UNTOLD: Duration = Duration::from_secs(64);
/// A publication of the bus is renewed when the subscription's lease has moved by more than this.
const SLACK: Duration = Duration::from_secs(2);

/// So many leases are renewed by one question.
const RENEWED: usize = 64;
/// What other servers have said counts for so long after its end, since what has ended lingers.
const PAST: Duration = Duration::from_secs(120);

/// The publication of one notifier.
#[derive(Debug)]
pub(crate) struct Feed {
    resource: Arc<str>,
    package: PackageId,
    source: Arc<str>,
    wants: Wants,
    /// A question is waiting or under way.
    busy: bool,
    /// One is under way.
    flies: bool,
    tag: Option<EntityTag>,
    /// Until when the bus keeps it.
    until: Time,
    /// Why the bus does not take it.
    problem: Option<PublishError>,
}

/// Whose word it is, among all that a subscription brings.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Part {
    /// That of a notifier: zero, or the number of the fork.
    Notifier(u32),
    /// What a list says of one of its members.
    Member(Arc<str>),
}

/// What the bus should be told next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wants {
    Nothing,
    /// The newest state.
    Put,
    /// That it still holds.
    Refresh,
    /// That it holds no more.
    Withdraw,
}

/// A publication of ours that the bus has kept over a restart: whose state, which, and its source.
pub(crate) type Leftover = (Arc<str>, PackageId, Arc<str>);
/// Whether its withdrawal is under way.
pub(crate) type Flies = bool;

impl Remote {
    /// The bus has kept this over a restart. What is ours of it is withdrawn unless it is said again; comes after all
    /// [`Self::restore`], before [`Self::resume`].
    pub fn found(&mut self, record: &Record) {
        if let Record::Publication(one) = record
            && one.source.starts_with(SOURCE)
            && let Some(package) = self.config.packages.find(one.package.as_bytes())
        {
            self.leftovers.insert((one.resource.clone(), package, one.source.clone()), false);
            if self.exports_anything() {
                let until = self.hearsay.entry(one.resource.clone()).or_default();
                *until = one.until.max(*until);
            }
        }
    }

    /// Whether it is of interest who has a say about an address.
    fn exports_anything(&self) -> bool {
        !self.settings.rules.is_empty()
    }

    /// The bus is told something about an address, which holds until then.
    fn say(&mut self, now: Time, resource: &Arc<str>, until: Time) {
        if !self.exports_anything() {
            return;
        }
        if let Some(known) = self.hearsay.get_mut(resource) {
            *known = until.max(*known);
            return;
        }
        if self.hearsay.len() == self.hearsay.capacity() {
            self.hearsay.retain(|_, until| now <= *until + PAST);
        }
        self.hearsay.insert(resource.clone(), until);
    }

    /// Whether others than our own sources may have a say about this address, or had until a moment ago.
    pub(crate) fn is_hearsay(&self, now: Time, resource: &Arc<str>) -> bool {
        self.hearsay.get(resource).is_some_and(|until| now <= *until + PAST)
    }

    /// What the notifiers of a dialog said before a restart, and have not said again, leaves the bus.
    pub(crate) fn discard(&mut self, id: SubscriptionId) {
        let Some(line) = self.lines.get(&id).filter(|_| !self.leftovers.is_empty()) else { return };
        let (package, name) = (line.wish.package, source(&line.wish, &Part::Notifier(0)));
        if line.wish.list {
            let member = |source: &str| source.strip_prefix(&*name).is_some_and(|rest| rest.starts_with(OF));
            let all = self.leftovers.keys().filter(|(_, one, source)| *one == package && member(source));
            let all: Vec<_> = all.cloned().collect();
            all.into_iter().for_each(|leftover| self.wait(Task::Discard(leftover)));
        }
        let Some(local) = self.lines.get(&id).and_then(|line| line.local.as_ref()) else { return };
        let fork = |source: &str| source.strip_prefix(&*name).is_some_and(|rest| rest.is_empty() || is_fork(rest));
        let all = self.leftovers.range((local.clone(), package, name.clone())..);
        let all = all
            .map(|(leftover, _)| leftover)
            .take_while(|(resource, one, source)| resource == local && *one == package && source.starts_with(&*name));
        let all: Vec<_> = all.filter(|(_, _, source)| fork(source)).cloned().collect();
        all.into_iter().for_each(|leftover| self.wait(Task::Discard(leftover)));
    }

    /// The same for what nobody has wanted since: of dialogs that go on, their notifiers will say it again.
    pub(crate) fn discard_unclaimed(&mut self) {
        self.restored.clear();
        let (mut claimed, mut lists) = (BTreeSet::new(), BTreeSet::new());
        for line in self.lines.values().filter(|line| line.restored.is_some()) {
            let name = source(&line.wish, &Part::Notifier(0));
            if line.wish.list && line.own {
                lists.insert((line.wish.package, name.to_string()));
            }
            if let Some(local) = &line.local {
                claimed.insert((local.clone(), line.wish.package, name));
            }
        }
        let plain = |source: &Arc<str>| match source.rfind(" #") {
            Some(at) if is_fork(&source[at..]) => source[..at].into(),
            _ => source.clone(),
        };
        let is_claimed = |(resource, package, source): &Leftover| match source.split_once(OF) {
            Some((list, _)) => lists.contains(&(*package, list.to_owned())),
            None => claimed.contains(&(resource.clone(), *package, plain(source))),
        };
        let all: Vec<_> = self.leftovers.keys().filter(|one| !is_claimed(one)).cloned().collect();
        all.into_iter().for_each(|leftover| self.wait(Task::Discard(leftover)));
    }

    pub(crate) fn discard_question(&mut self, leftover: &Leftover) -> Option<(Arc<str>, Command)> {
        // It may have been said again, or be on its way out already.
        let flies = self.leftovers.get_mut(leftover).filter(|flies| !**flies)?;
        *flies = true;
        let (resource, package, source) = leftover;
        let command = PublishCommand {
            resource: resource.clone(),
            package: *package,
            action: OwnedAction::Put(source.clone(), OwnedContent::Document { format: 0, body: Bytes::new() }),
            expires: Some(Duration::ZERO),
            from: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        Some((resource.clone(), Command::Publish(Box::new(command))))
    }

    /// When to ask again; `None`: not at all.
    pub(crate) fn discarded(&mut self, leftover: &Leftover, answer: Option<Answer>) -> Option<Duration> {
        match answer {
            Some(Answer::Published(Err(PublishError::NotStored | PublishError::TooMany(_)))) | None => {
                self.leftovers.insert(leftover.clone(), false);
                Some(AGAIN)
            }
            // Refused, because it is not there any more.
            Some(_) => {
                self.leftovers.remove(leftover);
                None
            }
        }
    }

    /// There is a new state for the bus, if it may be there.
    pub(crate) fn put(&mut self, id: SubscriptionId, part: Part) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let local = match &part {
            Part::Notifier(_) => line.local.as_ref(),
            Part::Member(key) => line.list.as_ref().and_then(|list| list.facts(key)).map(|(local, _)| local),
        };
        let Some(local) = local.cloned() else { return };
        // Which address a member has here follows the configuration.
        if line.feeds.get(&part).is_some_and(|feed| feed.resource != local) {
            self.withdraw(id, part.clone());
        }
        let Some(line) = self.lines.get_mut(&id) else { return };
        let feed = line.feeds.entry(part.clone()).or_insert_with(|| Feed {
            resource: local,
            package: line.wish.package,
            source: source(&line.wish, &part),
            wants: Wants::Nothing,
            busy: false,
            flies: false,
            tag: None,
            until: Time::default(),
            problem: None,
        });
        feed.wants = Wants::Put;
        if !std::mem::replace(&mut feed.busy, true) {
            self.wait(Task::Feed(id, part));
        }
    }

    /// Whether the bus has been told the newest state, or is being told.
    pub(crate) fn is_told(&self, id: SubscriptionId, part: &Part) -> bool {
        let feed = self.lines.get(&id).and_then(|line| line.feeds.get(part));
        feed.is_some_and(|feed| feed.problem.is_none() && (feed.tag.is_some() || feed.busy))
    }

    /// The lease of a subscription may have moved. There is no hurry to say so, and the NOTIFY that follows a renewal may
    /// say it along with a new state: those of a while are told together.
    pub(crate) fn prolong(&mut self, now: Time, id: SubscriptionId) {
        let until = self.lease(now, id);
        let Some(line) = self.lines.get_mut(&id) else { return };
        for (part, feed) in &mut line.feeds {
            if feed.tag.is_some() && feed.wants == Wants::Nothing && until > feed.until + SLACK {
                feed.wants = Wants::Refresh;
                if !feed.busy {
                    self.prolonging.push((id, part.clone()));
                }
            }
        }
        if !self.prolonging.is_empty() {
            self.due.insert((soon(now), Due::Prolong));
        }
    }

    /// The bus is told of leases, where it has not been told by now: each shard of many at a time.
    pub(crate) fn prolong_all(&mut self) {
        let mut shards = vec![Vec::new(); usize::from(self.config.shards)];
        for (id, part) in std::mem::take(&mut self.prolonging) {
            let feed = self.lines.get_mut(&id).and_then(|line| line.feeds.get_mut(&part));
            if let Some(feed) = feed.filter(|feed| feed.wants == Wants::Refresh && !feed.busy)
                && let Some(parts) = shards.get_mut(usize::from(Slot::of(&feed.resource).shard(self.config.shards)))
            {
                feed.busy = true;
                parts.push((id, part));
                if parts.len() == RENEWED {
                    self.waiting.push_back(Task::Renew(std::mem::take(parts)));
                }
            }
        }
        self.waiting.extend(shards.into_iter().filter(|parts| !parts.is_empty()).map(Task::Renew));
    }

    /// `parts` are those that are asked for in the end; about the others something else is to be said by now.
    pub(crate) fn renew_question(
        &mut self,
        now: Time,
        parts: &mut Vec<(SubscriptionId, Part)>,
    ) -> Option<(Arc<str>, Command)> {
        let mut renewals = Vec::with_capacity(parts.len());
        for (id, part) in std::mem::take(parts) {
            match self.renewal(now, id, &part) {
                Some(renewal) => {
                    renewals.push(renewal);
                    parts.push((id, part));
                }
                None => self.wait(Task::Feed(id, part)),
            }
        }
        let resource = renewals.first()?.resource.clone();
        Some((resource, Command::Renew(renewals)))
    }

    fn renewal(&mut self, now: Time, id: SubscriptionId, part: &Part) -> Option<Renewal> {
        let expires = self.expires(now, id);
        let feed = self.feed(id, part).filter(|feed| feed.wants == Wants::Refresh)?;
        let tag = feed.tag?;
        (feed.wants, feed.flies, feed.until) = (Wants::Nothing, true, now + expires);
        let renewal = Renewal { resource: feed.resource.clone(), package: feed.package, tag, expires };
        self.say(now, &renewal.resource, now + expires);
        Some(renewal)
    }

    /// What has been said of each, or to none of them.
    pub(crate) fn renewed(&mut self, now: Time, parts: &[(SubscriptionId, Part)], answer: Option<Answer>) {
        let results = match answer {
            Some(Answer::Renewed(results)) => results,
            _ => Vec::new(),
        };
        let mut results = results.into_iter();
        for (id, part) in parts {
            let again = self.feed_answered(now, *id, part, results.next().map(Answer::Published));
            self.again(now, again, Task::Feed(*id, part.clone()));
        }
    }

    /// What a notifier said leaves the bus.
    pub(crate) fn withdraw(&mut self, id: SubscriptionId, part: Part) {
        let Some(mut feed) = self.lines.get_mut(&id).and_then(|line| line.feeds.remove(&part)) else { return };
        feed.wants = Wants::Withdraw;
        let busy = std::mem::replace(&mut feed.busy, true);
        self.orphans.insert((id, part.clone()), feed);
        if !busy {
            self.wait(Task::Feed(id, part));
        }
    }

    fn lease(&self, now: Time, id: SubscriptionId) -> Time {
        self.agent.lease_end(id).unwrap_or(now + UNTOLD)
    }

    /// How long the bus is to keep it from now on: no shorter than it takes.
    fn expires(&self, now: Time, id: SubscriptionId) -> Duration {
        let least = self.lines.get(&id).map(|line| self.config.packages.expires(line.wish.package).least);
        self.lease(now, id).since(now).max(least.unwrap_or_default())
    }

    /// Those on their way out come first: the same source must not be withdrawn after it has said something new.
    fn feed(&mut self, id: SubscriptionId, part: &Part) -> Option<&mut Feed> {
        match self.orphans.get_mut(&(id, part.clone())) {
            Some(feed) => Some(feed),
            None => self.lines.get_mut(&id)?.feeds.get_mut(part),
        }
    }

    pub(crate) fn feed_question(&mut self, now: Time, id: SubscriptionId, part: &Part) -> Option<(Arc<str>, Command)> {
        let lease = self.expires(now, id);
        let wants = self.feed(id, part).filter(|feed| !feed.flies)?.wants;
        let body = if wants == Wants::Put { self.body(id, part) } else { None };
        let feed = self.feed(id, part)?;
        let leftover = (feed.resource.clone(), feed.package, feed.source.clone());
        let left = self.leftovers.get(&leftover).copied();
        let feed = self.feed(id, part)?;
        let action = match (feed.wants, feed.tag, body) {
            // What was said before a restart is being withdrawn: that comes first.
            (Wants::Put, _, Some(_)) if left == Some(true) => {
                self.due.insert((now + AGAIN, Due::Ask(Task::Feed(id, part.clone()))));
                return None;
            }
            (Wants::Put, _, Some((format, body))) => {
                OwnedAction::Put(feed.source.clone(), OwnedContent::Document { format, body })
            }
            (Wants::Withdraw, Some(tag), _) => OwnedAction::Withdraw(tag),
            _ => {
                (feed.busy, feed.wants) = (false, Wants::Nothing);
                if wants == Wants::Withdraw {
                    self.gone(id, part);
                }
                return None;
            }
        };
        (feed.wants, feed.flies) = (Wants::Nothing, true);
        let said = matches!(action, OwnedAction::Put(..));
        let withdraws = matches!(action, OwnedAction::Withdraw(_));
        feed.until = now + lease;
        let command = PublishCommand {
            resource: feed.resource.clone(),
            package: feed.package,
            action,
            expires: (!withdraws).then_some(lease),
            from: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let resource = feed.resource.clone();
        if !withdraws {
            self.say(now, &resource, now + lease);
        }
        if said {
            self.leftovers.remove(&leftover);
        }
        Some((resource, Command::Publish(Box::new(command))))
    }

    /// The newest state of a notifier as a whole document: partial ones could not be skipped.
    fn body(&self, id: SubscriptionId, part: &Part) -> Option<(u8, Bytes)> {
        let line = self.lines.get(&id)?;
        let feed = line.feeds.get(part)?;
        let facts = match part {
            Part::Notifier(fork) => {
                let document = line.documents.get(fork)?;
                let (format, fact) = document.fact.as_ref()?;
                vec![(document.at, *format, fact)]
            }
            Part::Member(key) => line.list.as_ref()?.facts(key)?.1,
        };
        let (at, format, _) = *facts.iter().max_by_key(|(at, ..)| *at)?;
        let facts: Vec<_> = facts.into_iter().map(|(at, _, fact)| (at, fact)).collect();
        let package = self.config.packages.get(line.wish.package);
        let how = Rendering { format, view: View::Full, profile: 0 };
        let mut out = Vec::new();
        let state = together(package, at, &feed.resource, &facts);
        package.write(&feed.resource, &state, how, &lamplighter_model::Profile::default(), &mut out);
        Some((format, out.into()))
    }

    /// When to ask again; `None`: not at all.
    pub(crate) fn feed_answered(
        &mut self,
        now: Time,
        id: SubscriptionId,
        part: &Part,
        answer: Option<Answer>,
    ) -> Option<Duration> {
        let leaving = self.orphans.contains_key(&(id, part.clone()));
        let feed = self.feed(id, part)?;
        feed.flies = false;
        let mut again = None;
        match answer {
            Some(Answer::Published(Ok(PublishedLease { tag, expires, .. }))) => {
                feed.tag = (!expires.is_zero()).then_some(tag);
                feed.until = now + expires;
                feed.problem = None;
            }
            Some(Answer::Published(Err(PublishError::NoSuchTag))) => {
                feed.tag = None;
                if !leaving {
                    feed.wants = Wants::Put;
                }
            }
            Some(Answer::Published(Err(error @ (PublishError::NotStored | PublishError::TooMany(_))))) => {
                feed.problem = Some(error);
                again = Some(AGAIN);
            }
            Some(Answer::Published(Err(error))) => feed.problem = Some(error),
            _ => again = Some(AGAIN),
        }
        if again.is_some() && matches!(feed.wants, Wants::Nothing | Wants::Refresh) {
            feed.wants = if leaving { Wants::Withdraw } else { Wants::Put };
        }
        let renews = again.is_none() && feed.wants == Wants::Refresh;
        if again.is_none() && !renews && feed.wants != Wants::Nothing {
            again = Some(Duration::ZERO);
        }
        feed.busy = again.is_some();
        if renews {
            self.prolonging.push((id, part.clone()));
            self.due.insert((soon(now), Due::Prolong));
        }
        if leaving && again.is_none() {
            self.gone(id, part);
        }
        again
    }

    /// One has left the bus. Something new may have been said while it was on its way out.
    fn gone(&mut self, id: SubscriptionId, part: &Part) {
        self.orphans.remove(&(id, part.clone()));
        let line = self.lines.get(&id);
        if line.and_then(|line| line.feeds.get(part)).is_some_and(|feed| feed.busy) {
            self.wait(Task::Feed(id, part.clone()));
        }
    }
}

/// Whether this is how the name of a source goes on that is not the first notifier of its dialog.
fn is_fork(rest: &str) -> bool {
    rest.strip_prefix(" #").is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The name of the source on the bus: the same after a restart.
fn source(wish: &lamplighter_model::RemoteWish, part: &Part) -> Arc<str> {
    let mut name = format!("{SOURCE}{}", plain(wish.target.as_deref().unwrap_or(&wish.resource)).unwrap_or_default());
    if let Some(proxy) = wish.outbound_proxy.as_deref().and_then(plain) {
        name.push_str(" by ");
        name.push_str(&proxy);
    }
    if let Some(id) = &wish.event_id {
        name.push_str(";id=");
        name.push_str(id);
    }
    match part {
        Part::Notifier(0) => {}
        Part::Notifier(fork) => name.push_str(&format!(" #{fork}")),
        Part::Member(key) => {
            name.push_str(OF);
            name.push_str(key);
        }
    }
    name.into()
}

/// User, host and port of a SIP URI.
pub(crate) fn plain(uri: &str) -> Option<String> {
    let uri = Uri::read(uri.as_bytes())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let host = text(uri.host).to_ascii_lowercase();
    let host = uri.port.map_or(host.clone(), |port| format!("{host}:{port}"));
    Some(if uri.user.is_empty() { host } else { format!("{}@{host}", text(uri.user)) })
}
