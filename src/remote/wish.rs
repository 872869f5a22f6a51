//! Internal subscriptions, and the dialogs that they share.

use super::feed::{Feed, Part};
use super::members::List;
use super::{Due, GRACE, PACE, Remote, Task};
use bytes::Bytes;
use lamplighter_model::package::{AnyFact, AnyPackage, Reading, Sourced, Stamp};
use lamplighter_model::remote::{RemoteDocument, RemoteList, RemoteRow};
use lamplighter_model::{Content, RemoteAnswer, RemoteThing, RemoteWish, Time, View};
use lamplighter_sip::client::{Notification, Order, Standing, State, SubscriptionId, Usage, Watch};
use lamplighter_sip::wire::{Scheme, Uri};
use litemap::LiteMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The longest URI, event id and header, bytes.
pub(crate) const LONGEST: usize = 512;
/// The most headers of the user's own.
const MOST_HEADERS: usize = 16;
/// Headers that are ours to write.
const OURS: [&str; 25] = [
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "contact",
    "m",
    "event",
    "o",
    "expires",
    "content-length",
    "l",
    "content-type",
    "c",
    "content-encoding",
    "e",
    "sip-if-match",
    "accept",
    "max-forwards",
    "route",
    "record-route",
];

/// What NOTIFYs have said: documents, and a list.
pub(crate) type Said = (Vec<RemoteDocument>, Option<RemoteList>);

/// One internal subscription.
#[derive(Debug)]
pub(crate) struct Sub {
    wish: RemoteWish,
    configured: bool,
    /// It is in the store.
    kept: bool,
    /// Its dialog; `None`: it is served from here.
    line: Option<SubscriptionId>,
}

/// One subscription at another server, with everybody who uses it. The agent counts it once.
#[derive(Debug)]
pub(crate) struct Line {
    pub wish: RemoteWish,
    users: BTreeSet<u64>,
    /// The canonical address under which it enters the bus.
    pub local: Option<Arc<str>>,
    pub documents: LiteMap<u32, Document>,
    /// What it says of the members of a list.
    pub list: Option<List>,
    pub feeds: LiteMap<Part, Feed>,
    /// It is the gateway's own, so that what it says is for everyone.
    pub own: bool,
    /// The domain that members of a list have here, where it is another than there.
    pub domain: Option<Box<str>>,
    /// Not before then is everything asked for anew.
    pub anew: Time,
    linger: Option<Time>,
    /// Until when what it said before its subscription was lost counts.
    grace: Option<Time>,
    /// Its dialog is from before a restart, and nothing has been heard in it since; when its lease ended then.
    pub restored: Option<Time>,
}

/// The newest document of one notifier.
#[derive(Debug)]
pub(crate) struct Document {
    pub at: Time,
    pub content_type: Box<str>,
    pub body: Bytes,
    /// What is true by all documents so far, for packages whose documents may be partial; and its format.
    pub fact: Option<(u8, AnyFact)>,
    pub problem: Option<String>,
}

impl Document {
    /// What is true after `body`, which came after `old`.
    pub(crate) fn read(
        package: &dyn AnyPackage,
        presentity: &str,
        now: Time,
        content_type: Box<str>,
        body: Bytes,
        old: Option<Self>,
    ) -> Self {
        let old = old.and_then(|old| old.fact);
        let format = package.formats().iter().position(|format| format.content_type == content_type);
        let content = |format: usize| Content::Document { format: format as u8, body: &body };
        let reading = Reading { presentity, now, modifies: old.is_some() };
        let read = match (format, &old) {
            (None, _) => Err("a type that was not asked for".to_owned()),
            (Some(format), None) => package.read(content(format), reading).map_err(|bad| bad.to_string()),
            (Some(format), Some((_, old))) => {
                package.read_over(content(format), old, reading).map_err(|bad| bad.to_string())
            }
        };
        let (fact, problem) = match (read, format) {
            (Ok(fact), Some(format)) => (Some((format as u8, fact)), None),
            // A document that cannot be read changes nothing.
            (Err(problem), _) => (old, Some(problem)),
            (Ok(_), None) => (old, None),
        };
        Self { at: now, content_type, body, fact, problem }
    }

    /// Whether it is this one, and makes sense.
    fn is(&self, content_type: &str, body: &Bytes) -> bool {
        self.problem.is_none() && self.fact.is_some() && *self.content_type == *content_type && self.body == *body
    }

    /// Whether it says nothing new to whoever knows `old`.
    fn is_old(&self, package: &dyn AnyPackage, presentity: &str, old: &AnyFact) -> bool {
        let state = |fact| together(package, self.at, presentity, &[(self.at, fact)]);
        self.fact.as_ref().is_some_and(|(_, fact)| !package.is_change(&state(old), &state(fact)))
    }

    /// One that cannot be had, after `old`.
    pub(crate) fn damaged(old: Option<Self>, now: Time, problem: &str) -> Self {
        let fact = old.and_then(|old| old.fact);
        let (content_type, body) = (Box::default(), Bytes::new());
        Self { at: now, content_type, body, fact, problem: Some(problem.to_owned()) }
    }
}

impl Line {
    /// Whose it is.
    pub(crate) fn users(&self) -> impl Iterator<Item = u64> {
        self.users.iter().copied()
    }
}

impl Remote {
    /// Begins a subscription; gives its number.
    pub(crate) fn subscribe(&mut self, now: Time, wish: RemoteWish) -> Result<u64, RemoteAnswer> {
        let number = self.next_sub;
        self.subscribe_as(now, number, wish, None, None, false)?;
        self.next_sub += 1;
        Ok(number)
    }

    /// Begins a subscription with a number that no other has.
    pub(crate) fn subscribe_as(
        &mut self,
        now: Time,
        id: u64,
        mut wish: RemoteWish,
        local: Option<Arc<str>>,
        domain: Option<Box<str>>,
        configured: bool,
    ) -> Result<(), RemoteAnswer> {
        if let Some(what) = invalid(&wish) {
            return Err(RemoteAnswer::Invalid(what));
        }
        let formats = self.config.packages.get(wish.package).formats();
        let unknown = |one: &str| formats.iter().all(|format| *format.content_type != *one);
        if wish.accept.len() > formats.len() || wish.accept.iter().any(|one| unknown(one)) {
            return Err(RemoteAnswer::Invalid("accept"));
        }
        if self.subs.len() >= self.settings.most || self.stopping {
            return Err(RemoteAnswer::Full);
        }
        let ours = self.config.addresses.parse(&wish.resource).ok();
        // What the configuration asks for is never what is here already: any way out counts.
        let event = self.config.packages.get(wish.package).name();
        let leads_out = self.settings.agent.proxy_for(None, event).is_some() || !self.settings.routes.is_empty();
        let elsewhere =
            local.is_some() || wish.target.is_some() || wish.outbound_proxy.is_some() || configured && leads_out;
        let line = match ours {
            Some(ours) if !elsewhere => {
                wish.resource = ours.into();
                None
            }
            _ if !self.settings.elsewhere => return Err(RemoteAnswer::Off),
            ours => {
                let own = wish.subscriber.is_none();
                Some(self.line(now, &wish, local.or(ours.map(Into::into)).filter(|_| own), domain)?)
            }
        };
        if let Some(line) = line.and_then(|line| self.lines.get_mut(&line)) {
            line.users.insert(id);
            line.linger = None;
        }
        self.subs.insert(id, Sub { wish, configured, kept: false, line });
        Ok(())
    }

    /// The dialog of a wish: one that is there, or a new one.
    fn line(
        &mut self,
        now: Time,
        wish: &RemoteWish,
        local: Option<Arc<str>>,
        domain: Option<Box<str>>,
    ) -> Result<SubscriptionId, RemoteAnswer> {
        let watch = self.watch(wish);
        let id = self.agent.subscribe(now, watch, &mut self.told).ok_or(RemoteAnswer::Full)?;
        if let Some(line) = self.lines.get_mut(&id) {
            // The agent has counted one more; a line is one user, however many use it.
            self.agent.unsubscribe(now, id, &mut self.told);
            if line.local.is_none() && local.is_some() {
                line.local = local;
                let forks: Vec<_> = line.documents.keys().copied().collect();
                forks.into_iter().for_each(|fork| self.put(id, Part::Notifier(fork)));
            }
            if let Some(line) = self.lines.get_mut(&id).filter(|line| !line.own && wish.subscriber.is_none()) {
                (line.own, line.domain) = (true, domain);
                self.place_all(id);
            }
            let refused = |state| matches!(state, State::Rejected | State::Terminated);
            if self.agent.subscription(id).is_some_and(|row| refused(row.state)) {
                self.agent.retry(now, id, &mut self.told);
            }
            return Ok(id);
        }
        let line = Line {
            wish: wish.clone(),
            users: BTreeSet::new(),
            local,
            documents: LiteMap::new(),
            list: None,
            feeds: LiteMap::new(),
            own: wish.subscriber.is_none(),
            domain,
            anew: now,
            linger: None,
            grace: None,
            restored: self.restored.remove(&id),
        };
        // What its server said before the restart is known to nobody here.
        if line.restored.is_some() && self.resumed {
            self.plan_renewal(now, id, PACE);
        }
        self.lines.insert(id, Box::new(line));
        Ok(id)
    }

    fn watch(&self, wish: &RemoteWish) -> Watch {
        let package = self.config.packages.get(wish.package);
        let mut event = package.name().to_owned();
        if let Some(id) = &wish.event_id {
            event.push_str(";id=");
            event.push_str(id);
        }
        let mut accept: Vec<_> = package.formats().iter().map(|format| &*format.content_type).collect();
        if !wish.accept.is_empty() {
            accept = wish.accept.iter().map(|one| &**one).collect();
        }
        if wish.list {
            accept.splice(0..0, ["multipart/related", "application/rlmi+xml"]);
        }
        Watch {
            resource: wish.resource.clone(),
            subscriber: wish.subscriber.clone(),
            event: event.into(),
            accept: accept.join(", ").into(),
            expires: wish.expires,
            target: wish.target.clone(),
            contact: wish.contact.clone(),
            proxy: wish.outbound_proxy.clone(),
            routes: self.settings.routes.clone(),
            headers: self.settings.headers.iter().chain(&wish.headers).cloned().collect(),
            forks: !wish.list && matches!(package.name(), "dialog" | "message-summary"),
        }
    }

    /// It is in the store from now on, or is to be.
    pub(crate) fn mark_kept(&mut self, id: u64) {
        self.subs.get_mut(&id).into_iter().for_each(|sub| sub.kept = true);
    }

    /// What is in the store of it.
    pub(crate) fn kept_wish(&self, id: u64) -> Option<&RemoteWish> {
        self.subs.get(&id).filter(|sub| sub.kept).map(|sub| &sub.wish)
    }

    /// Whether there is one with this number.
    pub(crate) fn has(&self, id: u64) -> bool {
        self.subs.contains_key(&id)
    }

    pub(crate) fn get(&self, id: u64) -> RemoteAnswer {
        match self.subs.get(&id) {
            Some(sub) => {
                let line = sub.line.and_then(|line| self.lines.get(&line));
                let said = line.map(|line| self.said(line)).unwrap_or_default();
                RemoteAnswer::Subscription(Box::new(self.row(id, sub, said)))
            }
            None => RemoteAnswer::Unknown,
        }
    }

    pub(crate) fn list(&self, from: u64, most: usize) -> RemoteAnswer {
        let mut all = self.subs.range(from..);
        let rows = all.by_ref().take(most).map(|(id, sub)| self.row(*id, sub, Said::default())).collect();
        RemoteAnswer::Subscriptions(rows, all.next().map(|(id, _)| *id))
    }

    pub(crate) fn retry(&mut self, now: Time, id: u64) -> RemoteAnswer {
        if let Some(line) = self.subs.get(&id).and_then(|sub| sub.line) {
            self.agent.forgive(now, Usage::Subscription(line));
            self.agent.retry(now, line, &mut self.told);
        }
        self.get(id)
    }

    pub(crate) fn renew(&mut self, now: Time, id: u64, expires: Duration) -> RemoteAnswer {
        let Some(sub) = self.subs.get_mut(&id) else { return RemoteAnswer::Unknown };
        sub.wish.expires = Some(expires);
        if let Some(line) = sub.line {
            self.agent.renew(now, line, expires, &mut self.told);
        }
        self.keep_subscription(id);
        self.get(id)
    }

    pub(crate) fn remove(&mut self, now: Time, id: u64) -> RemoteAnswer {
        match self.subs.get(&id) {
            None => return RemoteAnswer::Unknown,
            Some(sub) if sub.configured => return RemoteAnswer::Configured,
            Some(_) => {}
        }
        self.news.ended(RemoteThing::Subscription(id));
        let sub = self.subs.remove(&id);
        if sub.as_ref().is_some_and(|sub| sub.kept) {
            self.forget_subscription(id);
        }
        if let Some(key) = sub.and_then(|sub| sub.line)
            && let Some(line) = self.lines.get_mut(&key)
        {
            line.users.remove(&id);
            if line.users.is_empty() {
                let until = now + self.settings.linger;
                line.linger = Some(until);
                self.due.insert((until, Due::Linger(key)));
            }
        }
        RemoteAnswer::Removed
    }

    /// The time in which somebody could have come back is over.
    pub(crate) fn leave(&mut self, now: Time, id: SubscriptionId) {
        let line = self.lines.get(&id).filter(|line| line.users.is_empty());
        if line.is_some_and(|line| line.linger.is_some_and(|until| until <= now)) {
            self.agent.unsubscribe(now, id, &mut self.told);
            self.forget_all(id);
            self.lines.remove(&id);
        }
    }

    pub(crate) fn row(&self, id: u64, sub: &Sub, (documents, list): Said) -> RemoteRow {
        let line = sub.line.and_then(|id| self.lines.get(&id));
        let agent = sub.line.and_then(|id| self.agent.subscription(id));
        let internal = sub.line.is_none();
        let gone = if internal { State::Active } else { State::Terminated };
        RemoteRow {
            id,
            configured: sub.configured,
            local: if internal {
                Some(sub.wish.resource.as_ref().into())
            } else {
                line.and_then(|it| it.local.clone())
            },
            internal,
            state: agent.as_ref().map_or(gone, |row| row.state).name(),
            reason: agent.as_ref().and_then(|row| row.cause.as_ref()).map(ToString::to_string),
            status: agent.as_ref().map_or(0, |row| row.last_status),
            until: agent.as_ref().and_then(|row| row.until),
            next: agent.as_ref().and_then(|row| row.next),
            notified: agent.as_ref().map_or(0, |row| row.notified),
            sent: agent.as_ref().map_or(0, |row| row.sent),
            shared: line.map_or(1, |line| line.users.len()),
            call_id: agent.map_or_else(Box::default, |row| row.call_id),
            documents,
            list,
            wish: sub.wish.clone(),
        }
    }

    pub(crate) fn said(&self, line: &Line) -> Said {
        let documents = line.documents.iter().map(|(fork, one)| self.document(&line.wish, *fork, one)).collect();
        let list = line.list.as_ref().map(|list| list.row(&self.config.packages, line.wish.package));
        (documents, list)
    }

    fn document(&self, wish: &RemoteWish, fork: u32, document: &Document) -> RemoteDocument {
        let Document { at, content_type, body, fact, problem } = document;
        let package = self.config.packages.get(wish.package);
        let state = fact.as_ref().map(|(_, fact)| {
            let mut out = Vec::new();
            package.json(&together(package, *at, &wish.resource, &[(*at, fact)]), View::Full, &mut out);
            out.into()
        });
        let (content_type, body, problem) = (content_type.clone(), body.clone(), problem.clone());
        RemoteDocument { fork, at: *at, content_type, body, state, problem }
    }

    /// A NOTIFY was accepted.
    pub(crate) fn notified(&mut self, now: Time, id: SubscriptionId, fork: u32, notification: Notification) {
        let standing = notification.standing;
        let Some(line) = self.lines.get_mut(&id) else { return };
        if fork == 0 && standing != Standing::Terminated && line.restored.take().is_some() {
            self.due.insert((now + self.settings.agent.timers.t1 * 64, Due::Unconfirmed(id)));
        }
        if notification.body.is_empty() || standing == Standing::Terminated {
            self.news.line(id, false);
            return self.prolong(now, id);
        }
        line.grace = None;
        self.news.line(id, true);
        if line.wish.list && matches!(&*notification.content_type, "multipart/related" | "application/rlmi+xml") {
            return self.listed(now, id, &notification);
        }
        let Notification { content_type, body, order, .. } = notification;
        let package = self.config.packages.get(line.wish.package);
        let mut damaged = false;
        // A renewal brings what is known, often letter by letter.
        let same = match line.documents.get_mut(&fork) {
            Some(old) if old.is(&content_type, &body) => {
                old.at = now;
                true
            }
            _ => {
                let old = line.documents.remove(&fork);
                let known = old.as_ref().and_then(|old| old.fact.clone());
                let document = Document::read(package, &line.wish.resource, now, content_type, body, old);
                let same = known.is_some_and(|(_, known)| document.is_old(package, &line.wish.resource, &known));
                damaged = document.problem.is_some();
                line.documents.insert(fork, document);
                same
            }
        };
        // Its notifier does not call it a list any more.
        if line.list.take_if(|_| !damaged).is_some() {
            let members = line.feeds.keys().filter(|part| matches!(part, Part::Member(_)));
            let members: Vec<_> = members.cloned().collect();
            members.into_iter().for_each(|part| self.withdraw(id, part));
        }
        // A partial document may be missing something that was lost on the way: RFC 4235 section 4.3 asks for all of it.
        // One whose version is no higher comes later all the same, by its CSeq: its notifier counts anew.
        if matches!(order, Order::Gap | Order::Stale) {
            self.ask_anew(now, id);
        }
        if damaged {
            self.bad_bodies += 1;
            self.prolong(now, id);
        } else if same && self.is_told(id, &Part::Notifier(fork)) {
            self.prolong(now, id);
        } else {
            self.put(id, Part::Notifier(fork));
        }
    }

    /// A notifier has no say any more.
    pub(crate) fn forget(&mut self, id: SubscriptionId, fork: u32) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.documents.remove(&fork);
        self.withdraw(id, Part::Notifier(fork));
    }

    /// Nor have all notifiers of a subscription.
    pub(crate) fn forget_all(&mut self, id: SubscriptionId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.documents.clear();
        (line.list, line.grace) = (None, None);
        let parts: Vec<_> = line.feeds.keys().cloned().collect();
        parts.into_iter().for_each(|part| self.withdraw(id, part));
        self.discard(id);
    }

    /// A subscription was lost, and may come back.
    pub(crate) fn lost(&mut self, now: Time, id: SubscriptionId) {
        if let Some(line) = self.lines.get_mut(&id)
            && line.grace.is_none()
        {
            line.grace = Some(now + GRACE);
            self.due.insert((now + GRACE, Due::Grace(id)));
        }
    }

    /// The time in which a subscription that was lost could have come back is over.
    pub(crate) fn give_up(&mut self, now: Time, id: SubscriptionId) {
        if self.lines.get(&id).is_some_and(|line| line.grace.is_some_and(|grace| grace <= now)) {
            self.news.line(id, true);
            self.forget_all(id);
        }
    }

    /// The agent knows nothing of it any more.
    pub(crate) fn ended(&mut self, id: SubscriptionId) {
        self.forget_all(id);
        // Somebody may use it still, if it ended by itself: then its row says so.
        if self.lines.get(&id).is_some_and(|line| line.users.is_empty()) {
            self.lines.remove(&id);
        }
    }

    pub(crate) fn wait(&mut self, task: Task) {
        self.waiting.push_back(task);
    }
}

/// What facts say together.
pub(crate) fn together(
    package: &dyn AnyPackage,
    now: Time,
    presentity: &str,
    facts: &[(Time, &AnyFact)],
) -> lamplighter_model::AnyState {
    let names: Vec<_> = (0..facts.len()).map(|index| format!("remote {index}")).collect();
    let sourced = |(index, source)| {
        let (at, fact) = facts.get(index)?;
        let stamp = Stamp { at: *at, counter: index as u64, node: 0 };
        Some(Sourced { source, stamp, live: true, fact: *fact })
    };
    let sources: Vec<_> = names.iter().map(String::as_str).enumerate().filter_map(sourced).collect();
    package.compose(now, presentity, &sources).state
}

/// Whether a text is a SIP URI that a request can carry.
pub fn is_uri(text: &str) -> bool {
    let sip = |uri: &Uri<'_>| matches!(uri.scheme, Scheme::Sip | Scheme::Sips) && uri.headers.is_empty();
    text.len() <= LONGEST && Uri::read(text.as_bytes()).as_ref().is_some_and(sip)
}

/// Whether a text is a token (RFC 3261 section 25.1) of bearable length.
pub(crate) fn is_token(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(plain)
}

/// Whether these are headers that a user may have in our requests.
pub(crate) fn good_headers(headers: &[(Box<str>, Box<str>)]) -> bool {
    let good = |(name, value): &(Box<str>, Box<str>)| {
        let ours = OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours));
        is_token(name) && !ours && value.len() <= LONGEST && !value.chars().any(char::is_control)
    };
    headers.len() <= MOST_HEADERS && headers.iter().all(good)
}

/// What of a wish makes no sense.
fn invalid(wish: &RemoteWish) -> Option<&'static str> {
    let RemoteWish { resource, subscriber, event_id, target, contact, outbound_proxy, headers, .. } = wish;
    let good = |uri: &Option<Box<str>>| uri.as_deref().is_none_or(is_uri);
    let user = |uri: &str| Uri::read(uri.as_bytes()).is_some_and(|uri| !uri.user.is_empty());
    match () {
        () if !is_uri(resource) || !user(resource) => Some("resource"),
        () if !good(subscriber) || !subscriber.as_deref().is_none_or(user) => Some("subscriber"),
        () if !event_id.as_deref().is_none_or(is_token) => Some("event_id"),
        () if !good(target) => Some("target"),
        () if !good(contact) => Some("contact"),
        () if !good(outbound_proxy) => Some("outbound_proxy"),
        () if !good_headers(headers) => Some("headers"),
        () => None,
    }
}
