//! What is acknowledged is not lost: answers wait for the store, and everything comes back after a restart.

use crate::*;
use lamplighter_model::publish::{
    EntityTag, OwnedAction, OwnedContent, PublishCommand, PublishError, PublishedLease, Renewal,
};
use lamplighter_model::record::SubscriptionRecord;
use std::collections::{BTreeMap, BTreeSet};

/// The store: the newest record of each key.
#[derive(Clone, Debug, Default)]
pub struct Disk(BTreeMap<String, Record>);

impl Disk {
    fn put(&mut self, record: Record) {
        let (key, gone) = match &record {
            Record::Publication(one) => (format!("p {} {} {}", one.resource, one.package, one.source), false),
            Record::PublicationGone { resource, package, source } => (format!("p {resource} {package} {source}"), true),
            Record::Resource(one) => (format!("r {} {}", one.resource, one.package), false),
            Record::ResourceGone { resource, package } => (format!("r {resource} {package}"), true),
            Record::Subscription(one) => (format!("s {}", one.local_tag), false),
            Record::SubscriptionGone { local_tag } => (format!("s {local_tag}"), true),
            Record::Standing { .. } | Record::StandingGone { .. } => panic!("shards have nothing at other servers"),
        };
        match gone {
            true => drop(self.0.remove(&key)),
            false => drop(self.0.insert(key, record)),
        }
    }

    pub fn subscriptions(&self) -> Vec<&SubscriptionRecord> {
        let mut subscriptions = Vec::new();
        for record in self.0.values() {
            if let Record::Subscription(one) = record {
                subscriptions.push(&**one);
            }
        }
        subscriptions
    }

    fn publications(&self) -> usize {
        self.0.values().filter(|record| matches!(record, Record::Publication(_))).count()
    }

    /// All records in some order.
    fn shuffled(&self, seed: u64) -> Vec<Record> {
        let mut all: Vec<_> = self.0.values().cloned().collect();
        let mut random = Random(seed);
        for at in (1..all.len()).rev() {
            all.swap(at, random.below(at as u64 + 1) as usize);
        }
        all
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

impl Gateway {
    /// With a store that answers when it is told to.
    fn stored() -> Self {
        Self::durable(Durabilities::default())
    }

    fn durable(store: Durabilities) -> Self {
        Self::with(Config { store: Some(store), ..config() })
    }

    /// The number of the newest record of the first shard.
    fn newest(&self) -> u64 {
        self.log.iter().filter(|(shard, ..)| *shard == 0).map(|(_, number, _)| *number).max().unwrap_or(0)
    }

    /// The store has these; what is written survives the end of the process.
    fn saved(&mut self, written: u64, committed: u64) -> Vec<Sent> {
        for (_, _, record) in self.log.iter().filter(|(_, number, _)| *number <= written) {
            self.disk.put(record.clone());
        }
        self.handle(Input::Saved { written, committed })
    }

    /// The store has everything.
    pub fn save(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        loop {
            let all = self.log.len();
            for (_, _, record) in &self.log {
                self.disk.put(record.clone());
            }
            for number in 0..self.shards.len() {
                let mine = self.log.iter().filter(|(shard, ..)| *shard == number);
                if let Some(newest) = mine.map(|(_, number, _)| *number).max() {
                    self.hand(number, Input::Saved { written: newest, committed: newest }, &mut sent);
                }
            }
            if self.log.len() == all {
                return sent;
            }
        }
    }

    fn fail(&mut self, failing: bool) -> Vec<Sent> {
        self.handle(Input::StoreFailing(failing))
    }

    /// Dies, and is started again with what the store has; what is sent at once.
    fn restart(&mut self, downtime: Duration) -> Vec<Sent> {
        self.log.clear();
        self.now += downtime;
        self.start();
        for record in self.disk.shuffled(u64::from(self.lives)) {
            let owner = match &record {
                Record::Publication(one) => Slot::of(&one.resource),
                Record::Resource(one) => Slot::of(&one.resource),
                Record::Subscription(one) => Slot::of(&one.resource),
                other => panic!("{other:?} is not kept"),
            };
            let owner = usize::from(owner.shard(self.config.shards));
            let _ = self.shards[owner].restore(self.now, record);
        }
        for shard in &mut self.shards {
            shard.resume(self.now);
        }
        self.handle(Input::Tick)
    }

    /// A subscription of the phone that is saved and has been told; its tag and its first NOTIFY.
    fn subscribed(&mut self, call: &str, more: &str) -> (String, Sent) {
        let mut sent = self.udp(PHONE, &subscribe(call, 1, "", more));
        sent.extend(self.save());
        let first = notify(&sent).clone();
        self.reply(&first, "200 OK");
        (to_tag(answer(&sent)).to_owned(), first)
    }

    /// A publication that is saved, and its entity-tag. NOTIFYs about it are answered.
    fn published(&mut self, cseq: u32, more: &str, body: &str) -> String {
        let mut sent = self.udp(OTHER, &publish(cseq, more, body));
        sent.extend(self.save());
        for one in sent.iter().filter(|one| one.text.starts_with("NOTIFY")) {
            self.reply(one, "200 OK");
        }
        assert_eq!(status(&sent), 200);
        etag(&sent)
    }
}

fn etag(sent: &[Sent]) -> String {
    header(&answer(sent).text, "SIP-ETag").expect("an entity-tag").to_owned()
}

fn if_match(tag: &str) -> String {
    format!("SIP-If-Match: {tag}\n")
}

fn cseq(sent: &Sent) -> u32 {
    header(&sent.text, "CSeq").unwrap().split(' ').next().unwrap().parse().unwrap()
}

fn version(sent: &Sent) -> u32 {
    let element = body(sent).split("<dialog-info").nth(1).unwrap();
    element.split(" version=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
}

fn state(sent: &Sent) -> &str {
    header(&sent.text, "Subscription-State").unwrap()
}

/// The same texts for another presentity.
fn of(user: &str, text: &str) -> String {
    text.replace("sip:1@", &format!("sip:{user}@"))
}

const SECOND: Duration = Duration::from_secs(1);

/// PU-04
#[test]
fn a_publish_is_answered_when_it_is_written_and_watchers_do_not_wait() {
    let mut gateway = Gateway::stored();
    gateway.subscribed("w", "");
    let text = publish(1, "", &dialog("a", "early"));
    let sent = gateway.udp(OTHER, &text);
    assert!(body(notify(&sent)).contains("early") && sent.len() == 1, "the lamp is lit at once: {sent:?}");
    gateway.reply(&sent[0], "200 OK");
    assert!(gateway.udp(OTHER, &text).is_empty(), "a retransmission waits too");
    let newest = gateway.newest();
    assert!(gateway.saved(newest - 1, newest - 1).is_empty(), "another record is not this one");
    let sent = gateway.saved(newest, newest - 1);
    assert_eq!(status(&sent), 200);
    assert_eq!(gateway.udp(OTHER, &text)[0].text, sent[0].text, "from now on retransmissions are answered");
    assert_eq!(gateway.load(), (1, 1));
}

/// DI-08: the promise of a subscription is on the disk before it is given.
#[test]
fn a_subscribe_is_answered_when_it_is_committed_and_the_first_notify_follows() {
    let mut gateway = Gateway::stored();
    let text = subscribe("w", 1, "", "");
    assert!(gateway.udp(PHONE, &text).is_empty());
    let newest = gateway.newest();
    assert!(gateway.saved(newest, newest - 1).is_empty(), "written is not enough");
    assert!(gateway.udp(PHONE, &text).is_empty(), "a retransmission waits too");
    // What changes meanwhile is in the first NOTIFY.
    assert!(gateway.udp(OTHER, &publish(1, "", &dialog("a", "early"))).is_empty());
    let sent = gateway.saved(newest, newest);
    assert_eq!(sent.len(), 2);
    assert!(sent[0].text.starts_with("SIP/2.0 200 OK\r\n") && body(notify(&sent)).contains("early"));
    assert_eq!(version(&sent[1]), 0);
    let again = gateway.udp(PHONE, &text);
    assert_eq!((again.len(), &again[0].text), (1, &sent[0].text));
}

#[test]
fn answers_leave_in_the_order_of_their_records() {
    let mut gateway = Gateway::stored();
    for (number, user) in [(1, "10"), (2, "11"), (3, "12")] {
        assert!(gateway.udp(OTHER, &of(user, &publish(number, "", &dialog("a", "early")))).is_empty());
    }
    let sent = gateway.saved(2, 0);
    assert_eq!(sent.iter().map(cseq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(gateway.saved(3, 0).iter().map(cseq).collect::<Vec<_>>(), [3]);
    assert!(gateway.saved(3, 3).is_empty());
}

#[test]
fn without_a_promise_to_keep_the_answer_leaves_at_once() {
    let mut gateway =
        Gateway::durable(Durabilities { publications: Durability::Memory, subscriptions: Durability::Memory });
    assert_eq!(status(&gateway.udp(OTHER, &publish(1, "", &dialog("a", "early")))), 200);
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", ""));
    assert_eq!((status(&sent), notifies(&sent)), (200, 1));
    assert!(gateway.newest() >= 2, "but it is stored");
}

#[test]
fn each_kind_of_record_has_its_own_durability() {
    let mut gateway =
        Gateway::durable(Durabilities { publications: Durability::Commit, subscriptions: Durability::Written });
    gateway.udp(OTHER, &publish(1, "", &dialog("a", "early")));
    gateway.udp(PHONE, &subscribe("w", 1, "", ""));
    let newest = gateway.newest();
    let sent = gateway.saved(newest, 0);
    assert!(header(&answer(&sent).text, "CSeq").unwrap().ends_with("SUBSCRIBE") && status(&sent) == 200);
    assert!(header(&answer(&gateway.saved(newest, newest)).text, "CSeq").unwrap().ends_with("PUBLISH"));
}

#[test]
fn a_publication_that_cannot_be_stored_is_refused_and_has_never_been() {
    let mut gateway = Gateway::stored();
    let (_, first) = gateway.subscribed("w", "");
    let text = publish(1, "", &dialog("a", "confirmed"));
    let lit = notify(&gateway.udp(OTHER, &text)).clone();
    assert!(body(&lit).contains("confirmed"));
    gateway.reply(&lit, "200 OK");
    let sent = gateway.fail(true);
    assert_eq!(status(&sent), 503);
    let refusal = answer(&sent).clone();
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        let asked = header(&lit.text, name).is_some().then(|| header(&refusal.text, name)).flatten();
        assert!(asked.is_some(), "{name} in {}", refusal.text);
    }
    assert!(header(&refusal.text, "Via").unwrap().contains("branch=z9hG4bKp1"));
    assert_eq!(header(&refusal.text, "CSeq"), Some("1 PUBLISH"));
    assert!(!to_tag(&refusal).is_empty());
    assert_eq!(header(&refusal.text, "Retry-After"), Some("5"));
    assert_eq!((header(&refusal.text, "SIP-ETag"), header(&refusal.text, "Expires")), (None, None));
    assert_eq!((header(&refusal.text, "Content-Length"), body(&refusal)), (Some("0"), ""));
    let out = notify(&sent);
    assert!(version(out) == 2 && !body(out).contains("confirmed<"), "its watchers are told: {}", body(out));
    assert_eq!(cseq(out), cseq(&first) + 2);
    assert_eq!(gateway.udp(OTHER, &text)[0].text, refusal.text, "a retransmission is refused in the same words");
    assert_eq!(gateway.load(), (1, 0));
    gateway.reply(&out.clone(), "200 OK");
    gateway.fail(false);
    gateway.save();
    assert_eq!(gateway.disk.publications(), 0);
}

#[test]
fn a_subscription_that_cannot_be_stored_is_refused_and_gone_without_a_notify() {
    let mut gateway = Gateway::stored();
    let text = subscribe("w", 1, "", "");
    gateway.udp(PHONE, &text);
    let sent = gateway.fail(true);
    assert_eq!((status(&sent), sent.len(), header(&sent[0].text, "Retry-After")), (503, 1, Some("5")));
    assert_eq!((header(&sent[0].text, "Contact"), header(&sent[0].text, "Expires")), (None, None));
    assert_eq!(gateway.udp(PHONE, &text)[0].text, sent[0].text, "a retransmission is refused in the same words");
    assert_eq!(gateway.load().0, 0);
    gateway.fail(false);
    assert!(gateway.save().is_empty());
    assert!(gateway.disk.subscriptions().is_empty());
}

#[test]
fn a_publisher_whose_modify_was_refused_goes_on_with_the_tag_it_has() {
    let mut gateway = Gateway::stored();
    let tag = gateway.published(1, "", &dialog("a", "early"));
    assert!(gateway.udp(OTHER, &publish(2, &if_match(&tag), &dialog("a", "confirmed"))).is_empty());
    assert_eq!(status(&gateway.fail(true)), 503);
    gateway.fail(false);
    let next = gateway.published(3, &if_match(&tag), &dialog("a", "confirmed"));
    assert_eq!(gateway.load(), (0, 1));
    assert_eq!(status(&gateway.udp(OTHER, &publish(4, &if_match(&tag), ""))), 412, "but once it was answered, no more");
    gateway.published(5, &if_match(&next), &dialog("a", "early"));
}

/// While the store fails nothing new is promised, what is there goes on, and service returns.
#[test]
fn while_the_store_fails_lamps_go_on_and_new_promises_are_refused() {
    let mut gateway = Gateway::stored();
    let tag = gateway.published(1, "", &dialog("a", "early"));
    let (dialog_tag, _) = gateway.subscribed("w", "");
    gateway.fail(true);
    for text in [
        publish(2, "", &dialog("b", "early")),
        publish(3, &if_match(&tag), &dialog("a", "confirmed")),
        subscribe("x", 1, "", ""),
    ] {
        let sent = gateway.udp(OTHER, &text);
        assert_eq!((status(&sent), header(&answer(&sent).text, "Retry-After")), (503, Some("5")), "{text}");
    }
    let sent = gateway.udp(PHONE, &subscribe("w", 2, &dialog_tag, ""));
    assert_eq!((status(&sent), notifies(&sent)), (200, 1));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    // Leases end as ever.
    let ended = gateway.wait(SECOND * 601);
    assert!(ended.iter().any(|one| one.text.starts_with("NOTIFY") && !body(one).contains("early<")));
    gateway.fail(false);
    let mut sent = gateway.udp(OTHER, &publish(2, "", &dialog("b", "early")));
    sent.extend(gateway.save());
    assert_eq!(status(&sent), 200, "the same request may succeed now");
}

#[test]
fn a_store_that_takes_too_long_is_not_waited_for() {
    let mut gateway = Gateway::stored();
    gateway.udp(OTHER, &publish(1, "", &dialog("a", "early")));
    gateway.udp(PHONE, &subscribe("w", 1, "", ""));
    assert!(gateway.wait(Duration::from_millis(3900)).is_empty());
    let sent = gateway.wait(SECOND);
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|one| one.text.starts_with("SIP/2.0 503 ")), "{sent:?}");
    assert_eq!(gateway.load(), (0, 0));
    assert!(gateway.save().is_empty(), "what was refused is not answered again");
    assert!(gateway.disk.subscriptions().is_empty() && gateway.disk.publications() == 0);
    gateway.udp(OTHER, &publish(2, "", &dialog("a", "early")));
    assert_eq!(status(&gateway.save()), 200, "a slow store is no broken one");
}

#[test]
fn only_so_many_answers_wait() {
    let limits = Limits { held: 2, ..Limits::default() };
    let mut gateway = Gateway::with(Config { store: Some(Durabilities::default()), limits, ..config() });
    for number in 1..=2 {
        assert!(gateway.udp(OTHER, &of(&format!("{number}0"), &publish(number, "", &dialog("a", "early")))).is_empty());
    }
    let third = of("30", &publish(3, "", &dialog("a", "early")));
    assert_eq!(status(&gateway.udp(OTHER, &third)), 503);
    assert_eq!(gateway.load().1, 2);
    assert_eq!(gateway.save().len(), 2);
    gateway.udp(OTHER, &third);
    assert_eq!(status(&gateway.save()), 200);
}

/// PU-04: what the store knows of a lease never ends before what was promised, and refreshes are seldom recorded.
#[test]
fn refreshes_are_recorded_seldom_and_never_too_short() {
    for seed in 1..=20 {
        let (mut gateway, mut random) = (Gateway::stored(), Random(seed));
        let mut tag = gateway.published(1, "", &dialog("a", "early"));
        let (dialog_tag, _) = gateway.subscribed("w", "");
        let mut records = [0; 2];
        for number in 2..=60 {
            gateway.wait(SECOND * (random.below(500) as u32 + 1) / 8);
            let expires = 90 + random.below(600);
            let more = format!("Expires: {expires}\n");
            for (kind, text) in
                [publish(number, &(if_match(&tag) + &more), ""), subscribe("w", number, &dialog_tag, &more)]
                    .into_iter()
                    .enumerate()
            {
                let before = gateway.log.len();
                let mut sent = gateway.udp(if kind == 0 { OTHER } else { PHONE }, &text);
                records[kind] += gateway.log.len() - before;
                if gateway.log.len() == before {
                    assert_eq!(status(&sent), 200, "nothing to wait for");
                }
                sent.extend(gateway.save());
                assert_eq!(status(&sent), 200);
                if kind == 0 {
                    tag = etag(&sent);
                } else {
                    gateway.reply(&notify(&sent).clone(), "200 OK");
                }
            }
            let promised = gateway.now + Duration::from_secs(expires);
            for record in gateway.disk.0.values() {
                match record {
                    Record::Publication(one) => assert!(one.until >= promised, "seed {seed}"),
                    Record::Subscription(one) => assert!(one.until >= promised, "seed {seed}"),
                    _ => {}
                }
            }
        }
        assert!(records.iter().all(|count| (1..30).contains(count)), "{records:?} of 59 refreshes recorded");
    }
}

/// PU-04: what nobody refreshes any more after a kill is believed little longer than was promised.
#[test]
fn after_a_kill_a_lease_ends_about_a_minute_late_at_most() {
    let mut gateway = Gateway::stored();
    let mut tag = gateway.published(1, "", &dialog("a", "early"));
    for number in 2..4 {
        gateway.wait(SECOND * 30);
        let mut sent = gateway.udp(OTHER, &publish(number, &if_match(&tag), ""));
        sent.extend(gateway.save());
        assert_eq!(status(&sent), 200);
        tag = etag(&sent);
    }
    let promised = gateway.now + SECOND * 600;
    gateway.restart(SECOND);
    gateway.wait(promised.since(gateway.now) - SECOND);
    assert_eq!(gateway.load().1, 1, "it is not short of its promise");
    gateway.wait(SECOND * 66);
    assert_eq!(gateway.load().1, 0);
}

/// PU-05: a lease ends when it ends, within a tick of the wheel, and not because something looks through all of them now
/// and then: until then the shard wakes once a second at most, for the wheel. After a restart just so.
#[test]
fn a_lease_ends_when_it_ends_and_nothing_is_looked_through_meanwhile() {
    for restarts in [false, true] {
        let mut gateway = Gateway::stored();
        let until = gateway.now + SECOND * 600;
        gateway.published(1, "", &dialog("a", "early"));
        // Transactions end, and the history is saved.
        gateway.wait(SECOND * 120);
        gateway.save();
        if restarts {
            gateway.restart(SECOND);
            gateway.wait(SECOND * 60);
            gateway.save();
        }
        let seconds = until.since(gateway.now).as_secs();
        let mut woken = 0;
        while let Some(due) = gateway.deadline().filter(|due| *due < until) {
            gateway.now = due;
            assert!(gateway.handle(Input::Tick).is_empty());
            woken += 1;
        }
        assert!(woken <= seconds, "woken {woken} times in {seconds} seconds");
        assert_eq!(gateway.load().1, 1);
        gateway.now = until + Duration::from_micros(4096);
        gateway.handle(Input::Tick);
        assert_eq!(gateway.load().1, 0);
    }
}

/// A dialog that is being ended waits for the store without keeping the shard busy.
#[test]
fn an_unsubscription_that_waits_for_the_store_costs_nothing_meanwhile() {
    let mut gateway = Gateway::stored();
    let (tag, _) = gateway.subscribed("w", "");
    gateway.wait(SECOND);
    let text = subscribe("w", 2, &tag, "Expires: 0\n");
    assert!(gateway.udp(PHONE, &text).is_empty());
    let (start, mut turns) = (gateway.now, 0);
    while let Some(due) = gateway.deadline()
        && due < start + SECOND * 3
    {
        turns += 1;
        gateway.now = due;
        assert!(gateway.handle(Input::Tick).is_empty());
    }
    assert!(turns < 10, "{turns} turns in three seconds");
    let sent = gateway.save();
    assert_eq!(status(&sent), 200);
    assert_eq!(state(notify(&sent)), "terminated;reason=timeout");
    gateway.reply(&notify(&sent).clone(), "200 OK");
    assert_eq!(gateway.load().0, 0);
}

/// HA-02, DI-08: the phone notices nothing but a NOTIFY with the whole state, in the dialog that it has.
#[test]
fn after_a_restart_the_dialog_goes_on() {
    let mut gateway = Gateway::stored();
    gateway.published(1, "Expires: 3600\n", &dialog("a", "confirmed"));
    let route = "Record-Route: <sip:192.0.2.10:5070;lr>, <sip:192.0.2.99;lr>\n";
    let (tag, first) = gateway.subscribed("w", route);
    gateway.restart(SECOND);
    let sent = gateway.save();
    let again = notify(&sent).clone();
    for name in ["From", "To", "Call-ID", "Contact", "Route", "Event", "Content-Type"] {
        assert_eq!(header(&again.text, name), header(&first.text, name), "{name}");
    }
    assert_eq!(again.text.lines().next(), first.text.lines().next());
    assert_eq!(again.flow, first.flow);
    assert!(cseq(&again) > cseq(&first) && version(&again) > version(&first));
    assert!(body(&again).contains("state=\"full\"") && body(&again).contains("confirmed"));
    assert_eq!(state(&again), "active;expires=599");
    gateway.reply(&again, "200 OK");
    assert_eq!(gateway.explain("sip:1@example.com").packages[0].watchers[0].answer, "200");
    assert!(gateway.wait(SECOND * 40).is_empty(), "once");
    // It is refreshed, and told of changes with the next version.
    let mut sent = gateway.udp(PHONE, &subscribe("w", 2, &tag, ""));
    sent.extend(gateway.save());
    assert_eq!((status(&sent), to_tag(answer(&sent))), (200, &*tag));
    assert_eq!((cseq(notify(&sent)), version(notify(&sent))), (cseq(&again) + 1, version(&again) + 1));
}

/// DI-08: whatever the store has of it when the gateway dies, no CSeq and no version is ever used again.
#[test]
fn no_cseq_is_used_again_however_often_it_restarts() {
    for seed in 1..=30 {
        let (mut gateway, mut random) = (Gateway::stored(), Random(seed));
        let (_, first) = gateway.subscribed("w", "Expires: 86400\n");
        let mut sent = vec![first];
        for number in 2..40 {
            let mut news = match random.below(4) {
                0 => gateway.restart(SECOND),
                1 => gateway.save(),
                2 => {
                    let upto = gateway.newest().saturating_sub(random.below(3));
                    gateway.saved(upto, upto)
                }
                _ => gateway.udp(OTHER, &publish(number, "", &dialog(&number.to_string(), "early"))),
            };
            news.retain(|one| one.text.starts_with("NOTIFY"));
            for one in news {
                let newest = sent.last().unwrap();
                assert!(cseq(&one) > cseq(newest) && version(&one) > version(newest), "seed {seed}: {}", one.text);
                if random.below(3) > 0 {
                    gateway.reply(&one, "200 OK");
                }
                sent.push(one);
            }
        }
        assert!(sent.len() > 3, "seed {seed}");
    }
}

/// PU-04
#[test]
fn a_publication_keeps_its_entity_tag_over_a_restart() {
    let mut gateway = Gateway::stored();
    let tag = gateway.published(1, "", &dialog("a", "confirmed"));
    gateway.restart(SECOND);
    let next = gateway.published(2, &if_match(&tag), "");
    assert_eq!(status(&gateway.udp(OTHER, &publish(3, &if_match(&tag), ""))), 412, "no longer");
    // The tag of a refresh that was not recorded.
    assert_ne!(next, tag);
    let mut tags = vec![next];
    for number in 4..6 {
        gateway.wait(SECOND);
        tags.push(gateway.published(number, &if_match(tags.last().unwrap()), ""));
    }
    let recorded = format!("{:?}", gateway.disk.0.values().find(|one| matches!(one, Record::Publication(_))));
    gateway.restart(SECOND);
    let newest = tags.last().unwrap();
    assert!(!recorded.contains(&format!("EntityTag({})", u64::from_str_radix(newest, 16).unwrap())), "{recorded}");
    let newest = gateway.published(7, &if_match(newest), "");
    // The one before a modify whose answer was lost.
    gateway.udp(OTHER, &publish(8, &if_match(&newest), &dialog("a", "confirmed")));
    let upto = gateway.newest();
    gateway.saved(upto, upto);
    gateway.restart(SECOND);
    gateway.published(9, &if_match(&newest), &dialog("a", "confirmed"));
    assert_eq!(gateway.load().1, 1);
    // Somebody else's tag stays somebody else's.
    gateway.restart(SECOND);
    let foreign = publish(10, &if_match("0123456789ab0000"), "");
    assert_eq!(status(&gateway.udp(OTHER, &foreign)), 412);
}

/// HA-02: first those whose lamp is wrong, then those about whom something is said, and not all at once.
#[test]
fn after_a_restart_watchers_are_told_in_the_order_of_urgency() {
    let mut config = config();
    config.notify.restart_rate = 100;
    let mut gateway = Gateway::with(Config { store: Some(Durabilities::default()), ..config });
    for (number, user) in (10..70).enumerate() {
        let user = user.to_string();
        let mut sent = gateway.udp(PHONE, &of(&user, &subscribe(&format!("w{user}"), 1, "", "Expires: 3600\n")));
        // Said for long; said for a minute; not said.
        if let Some(expires) = [Some(3600), Some(60), None][number % 3] {
            let text = publish(number as u32, &format!("Expires: {expires}\n"), &dialog("a", "confirmed"));
            sent.extend(gateway.udp(OTHER, &of(&user, &text)));
        }
        sent.extend(gateway.save());
        for one in sent.iter().filter(|one| one.text.starts_with("NOTIFY")) {
            gateway.reply(one, "200 OK");
        }
    }
    let mut sent = gateway.restart(SECOND * 90);
    sent.extend(gateway.save());
    assert_eq!(notifies(&sent), 1, "paced");
    while gateway.deadline().is_some_and(|due| due < gateway.now + SECOND) && notifies(&sent) < 60 {
        let more = gateway.wait(Duration::from_millis(10));
        assert!(notifies(&more) <= 1, "paced");
        sent.extend(more);
        sent.extend(gateway.save());
        for one in sent.iter().filter(|one| one.text.starts_with("NOTIFY")) {
            gateway.reply(one, "200 OK");
        }
    }
    let order: Vec<_> = sent
        .iter()
        .filter(|one| one.text.starts_with("NOTIFY"))
        .map(|one| header(&one.text, "Call-ID").unwrap()[1..].parse::<usize>().unwrap())
        .collect();
    assert_eq!(order.len(), 60);
    let kind = |user: &usize| [1, 0, 2][(user - 10) % 3];
    assert!(order.is_sorted_by_key(kind), "{order:?}");
    for one in sent.iter().filter(|one| one.text.starts_with("NOTIFY")) {
        let user = header(&one.text, "Call-ID").unwrap()[1..].parse::<usize>().unwrap();
        assert_eq!(body(one).contains(">confirmed<"), kind(&user) == 1, "{user}");
    }
    assert_eq!(gateway.load(), (60, 20));
    assert_eq!(gateway.disk.publications(), 20, "the store is told what has ended");
}

/// What ended stays ended: another source cannot bring a terminated call back after a restart.
#[test]
fn a_terminated_call_stays_terminated_over_a_restart() {
    let mut gateway = Gateway::stored();
    gateway.subscribed("w", "");
    let tag = gateway.published(1, "", &dialog("a", "confirmed"));
    gateway.published(2, &if_match(&tag), &dialog("a", "terminated"));
    gateway.restart(SECOND * 5);
    let sent = gateway.save();
    assert!(!body(notify(&sent)).contains(">confirmed<"));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let mut sent = gateway.udp("192.0.2.20:5099", &publish(3, "", &dialog("a", "confirmed")));
    sent.extend(gateway.save());
    assert_eq!(status(&sent), 200);
    assert!(sent.iter().all(|one| !body(one).contains(">confirmed<")), "{sent:?}");
}

/// OP-03
#[test]
fn the_history_survives_a_restart() {
    let mut gateway = Gateway::stored();
    gateway.published(1, "", &dialog("a", "early"));
    let happenings = |gateway: &mut Gateway| -> Vec<String> {
        let explanation = gateway.explain("sip:1@example.com");
        explanation.packages[0].history.iter().map(|one| format!("{} {}", one.what, one.who)).collect()
    };
    let before = happenings(&mut gateway);
    assert!(!before.is_empty());
    gateway.wait(SECOND * 31);
    gateway.save();
    gateway.restart(SECOND);
    assert_eq!(happenings(&mut gateway), before);
    // And a clean stop does not even lose the last half minute.
    gateway.udp(OTHER, &publish(2, "", &dialog("b", "early")));
    gateway.stop();
    gateway.save();
    assert!(gateway.shards[0].is_through());
    let before = happenings(&mut gateway);
    gateway.restart(SECOND);
    assert_eq!(happenings(&mut gateway), before);
}

/// DI-08: adapters learn of everything that came back, a part at a time; of what has changed meanwhile they learn that.
#[test]
fn adapters_are_told_of_a_large_store_bit_by_bit() {
    const LINES: u64 = 2000;
    let mut gateway = Gateway::stored();
    gateway.published(1, "", &dialog("a", "early"));
    let is_publication = |record: &Record| matches!(record, Record::Publication(_));
    let kept = std::mem::take(&mut gateway.disk).0.into_values().find(is_publication);
    let Some(Record::Publication(one)) = kept else { panic!("a publication is kept") };
    for number in 0..LINES {
        let (mut line, address) = (one.clone(), format!("sip:{number}@example.com"));
        (line.resource, line.entity_tag, line.stamp.counter) = (address.into(), EntityTag(number + 1), number + 1);
        gateway.disk.put(Record::Publication(line));
    }
    gateway.changes.clear();
    gateway.restart(SECOND);
    assert!(gateway.changes.len() < LINES as usize / 2, "not at once: {}", gateway.changes.len());
    let restored = |gateway: &mut Gateway| matches!(gateway.command(Command::Restored), Some(Answer::Restored(true)));
    assert!(!restored(&mut gateway), "the web side has to wait");
    let known: BTreeSet<_> = gateway.changes.iter().map(|change| change.resource.clone()).collect();
    let unknown = (0..LINES).find(|number| !known.contains(&*format!("sip:{number}@example.com"))).unwrap();
    gateway.udp(OTHER, &of(&unknown.to_string(), &publish(2, "", &dialog("b", "confirmed"))));
    gateway.wait(SECOND);
    assert!(restored(&mut gateway));
    let dialogs = gateway.config.packages.find(b"dialog").unwrap();
    let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for change in gateway.changes.iter().filter(|change| change.package == dialogs) {
        told.entry(change.resource.to_string()).or_default().push(change.reason);
    }
    assert_eq!(told.remove(&format!("sip:{unknown}@example.com")), Some(vec!["published"]));
    assert_eq!(told.len(), LINES as usize - 1);
    assert!(told.values().all(|reasons| *reasons == ["restored"]), "{told:?}");
}

#[test]
fn what_ended_before_a_restart_does_not_come_back() {
    let mut gateway = Gateway::stored();
    let (tag, _) = gateway.subscribed("gone", "");
    gateway.udp(PHONE, &subscribe("gone", 2, &tag, "Expires: 0\n"));
    let upto = gateway.newest();
    let sent = gateway.saved(upto, upto);
    assert_eq!((status(&sent), state(notify(&sent))), (200, "terminated;reason=timeout"));
    // Nobody has acknowledged the last NOTIFY yet.
    gateway.restart(SECOND);
    assert_eq!(gateway.load().0, 0);
    gateway.subscribed("old", "");
    let (tag, _) = gateway.subscribed("new", "");
    gateway.restart(SECOND);
    assert_eq!(gateway.load().0, 1, "replaced by one of the same device");
    assert_eq!(header(&notify(&gateway.save()).text, "Call-ID"), Some("new"));
    let published = gateway.published(1, "", &dialog("a", "early"));
    gateway.published(2, &(if_match(&published) + "Expires: 0\n"), "");
    gateway.restart(SECOND);
    assert_eq!(gateway.load(), (1, 0));
    assert!(gateway.disk.subscriptions().iter().all(|one| *one.local_tag == *tag));
}

fn stream(connection: u64, remote: &str) -> Flow {
    Flow { transport: Transport::Tcp, listener: 1, connection, remote: remote.parse().unwrap(), local: None }
}

/// DI-08: streams do not outlive us; phones that cannot be called are told when they come back.
#[test]
fn subscriptions_over_streams_are_dormant_until_the_phone_comes_back() {
    let mut gateway = Gateway::stored();
    let contact = "Contact: <sip:2@10.1.1.1:7000;transport=tcp>\n";
    for call in ["in", "out"] {
        let id = format!("{contact}Event: dialog;id={call}\n");
        let mut sent = gateway.flow(stream(5, "192.0.2.10:40000"), &subscribe(call, 1, "", &id));
        sent.extend(gateway.save());
        gateway.reply(&notify(&sent).clone(), "200 OK");
    }
    gateway.restart(SECOND);
    assert!(gateway.save().is_empty());
    let watchers = |gateway: &mut Gateway| -> Vec<&str> {
        gateway.explain("sip:1@example.com").packages[0].watchers.iter().map(|one| one.state).collect()
    };
    assert_eq!(watchers(&mut gateway), ["dormant", "dormant"]);
    gateway.published(1, "", &dialog("a", "early"));
    assert!(gateway.wait(SECOND * 60).is_empty());
    let tag = gateway.disk.subscriptions().iter().find(|one| one.call_id == "in").unwrap().local_tag.clone();
    let more = format!("{contact}Event: dialog;id=in\n");
    let mut sent = gateway.flow(stream(9, "192.0.2.10:41000"), &subscribe("in", 2, &tag, &more));
    sent.extend(gateway.save());
    assert_eq!((status(&sent), to_tag(answer(&sent))), (200, &*tag));
    assert_eq!(notify(&sent).flow, stream(9, "192.0.2.10:41000"));
    assert!(body(notify(&sent)).contains("early"));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    assert_eq!(gateway.load().0, 2);
    // The other has forgotten its dialog: a fresh one of the same device takes its place.
    let more = format!("{contact}Event: dialog;id=out\n");
    let mut sent = gateway.flow(stream(9, "192.0.2.10:41000"), &subscribe("fresh", 1, "", &more));
    sent.extend(gateway.save());
    assert_eq!((status(&sent), notifies(&sent)), (200, 1));
    assert_eq!((gateway.load().0, watchers(&mut gateway)), (2, vec!["active", "active"]));
    assert_eq!(gateway.disk.subscriptions().len(), 2);
}

/// DI-08: a Contact that can be reached is tried once, at the next change.
#[test]
fn a_stream_that_can_be_opened_again_is_tried_once() {
    let mut gateway = Gateway::stored();
    let contact = "Contact: <sip:2@192.0.2.10:7000;transport=tcp>\n";
    let mut sent = gateway.flow(stream(5, "192.0.2.10:40000"), &subscribe("w", 1, "", contact));
    sent.extend(gateway.save());
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let mut sent = gateway.restart(SECOND);
    sent.extend(gateway.save());
    assert_eq!(notify(&sent).flow, stream(0, "192.0.2.10:7000"));
}

/// DI-11
#[test]
fn pending_subscriptions_stay_pending_over_a_restart() {
    let mut gateway = Gateway::stored();
    gateway.published(1, "", &dialog("a", "early"));
    let mut sent = gateway.udp("192.0.2.77:5060", &subscribe("g", 1, "", ""));
    sent.extend(gateway.save());
    gateway.reply(&notify(&sent).clone(), "200 OK");
    gateway.restart(SECOND);
    let sent = gateway.save();
    assert!(state(notify(&sent)).starts_with("pending") && body(notify(&sent)).is_empty());
}

/// DI-11: whoever may not see the state any more is not told it, although it was active before.
#[test]
fn policy_that_changed_while_we_were_away_holds() {
    let mut gateway = Gateway::stored();
    gateway.published(1, "", &dialog("a", "early"));
    gateway.subscribed("w", "");
    let mut sent = gateway.udp("192.0.2.77:5060", &subscribe("g", 1, "", ""));
    sent.extend(gateway.save());
    gateway.reply(&notify(&sent).clone(), "200 OK");
    gateway.config.access.rules =
        vec![Rule { addresses: vec!["192.0.2.10/32".parse().unwrap()], domains: vec![], action: Action::Deny }];
    let mut sent = gateway.restart(SECOND);
    sent.extend(gateway.save());
    let told = |call: &str| sent.iter().find(|one| header(&one.text, "Call-ID") == Some(call)).unwrap();
    assert_eq!((state(told("w")), body(told("w"))), ("terminated;reason=rejected", ""));
    assert!(state(told("g")).starts_with("active") && body(told("g")).contains("early"));
}

/// What the configuration no longer knows stays in the store, and nothing breaks.
#[test]
fn packages_profiles_and_listeners_that_are_gone() {
    let mut gateway = Gateway::stored();
    let weather = "Event: weather\nContent-Type: text/plain\n";
    gateway.published(1, weather, "sun");
    gateway.subscribed("weather", "Event: weather\n");
    let (tag, _) = gateway.subscribed("w", "User-Agent: Single 1.0\n");
    let before = gateway.disk.0.len();
    let full = gateway.config.clone();
    let fewer = lamplighter_packages::packages(&lamplighter_packages::Config::default());
    gateway.config.packages = Packages::new(fewer, |_, expires| expires);
    gateway.config.profiles = Profiles::default();
    gateway.config.listeners = vec![Listener {
        transport: Transport::Udp,
        address: "192.0.2.1:5080".parse().unwrap(),
        advertise: "192.0.2.1:5080".into(),
    }];
    let mut sent = gateway.restart(SECOND);
    sent.extend(gateway.save());
    let one = notify(&sent).clone();
    assert_eq!(header(&one.text, "Call-ID"), Some("w"));
    assert_eq!(header(&one.text, "Contact"), Some("<sip:192.0.2.1:5080>"), "where it can be reached now");
    gateway.reply(&one, "200 OK");
    assert_eq!(gateway.load(), (1, 0));
    let mut sent = gateway.udp(PHONE, &subscribe("w", 2, &tag, ""));
    sent.extend(gateway.save());
    assert_eq!(status(&sent), 200);
    gateway.reply(&notify(&sent).clone(), "200 OK");
    assert_eq!(gateway.disk.0.len(), before, "what cannot be served is kept");
    // No socket that could reach it.
    gateway.config = full;
    gateway.config.listeners = vec![Listener {
        transport: Transport::Tcp,
        address: "192.0.2.1:5060".parse().unwrap(),
        advertise: "192.0.2.1:5060".into(),
    }];
    gateway.restart(SECOND);
    gateway.save();
    assert_eq!((gateway.load(), gateway.disk.0.len()), ((0, 1), before));
}

/// HA-02: the number of shards may change; tags name places in tables that are others now.
#[test]
fn dialogs_go_on_when_the_number_of_shards_changes() {
    let mut gateway = Gateway::stored();
    let mut tags = BTreeMap::new();
    let mut made = 0;
    let mut subscribe_new = |gateway: &mut Gateway, tags: &mut BTreeMap<String, (String, u32)>, count: usize| {
        for _ in 0..count {
            made += 1;
            let (user, call) = (format!("{}", 100 + made % 40), format!("w{made}"));
            // A device each.
            let contact = format!("Contact: <sip:{made}@192.0.2.10:5060>\nExpires: 86400\n");
            let mut sent = gateway.udp(PHONE, &of(&user, &subscribe(&call, 1, "", &contact)));
            sent.extend(gateway.save());
            gateway.reply(&notify(&sent).clone(), "200 OK");
            tags.insert(call, (user, 1));
            assert_eq!(status(&sent), 200);
        }
    };
    subscribe_new(&mut gateway, &mut tags, 60);
    for shards in [4, 1, 4, 2, 1, 4, 1] {
        gateway.config.shards = shards;
        gateway.restart(SECOND);
        let mut told = gateway.save();
        told.extend(gateway.wait(SECOND / 2));
        told.extend(gateway.save());
        let mut calls = BTreeSet::new();
        for one in told.iter().filter(|one| one.text.starts_with("NOTIFY")) {
            assert!(calls.insert(header(&one.text, "Call-ID").unwrap().to_owned()), "told once");
            assert!(gateway.reply(one, "200 OK").is_empty());
        }
        assert_eq!(calls.len(), tags.len());
        assert!(gateway.wait(SECOND * 40).is_empty(), "each answer has found its NOTIFY");
        assert_eq!(gateway.load().0, tags.len());
        // Each dialog is refreshed, some end, others come.
        let all: Vec<_> = tags.keys().cloned().collect();
        for (number, call) in all.into_iter().enumerate() {
            let (user, count) = tags.get_mut(&call).unwrap();
            let (user, next) = (user.clone(), *count + 1);
            *count = next;
            let ends = number % 5 == 0;
            let expires = if ends { "Expires: 0\n" } else { "Expires: 86400\n" };
            let records = gateway.disk.subscriptions();
            let tag = records.iter().find(|one| one.call_id == call).unwrap().local_tag.clone();
            let contact = format!("Contact: <sip:{}@192.0.2.10:5060>\n{expires}", &call[1..]);
            let mut sent = gateway.udp(PHONE, &of(&user, &subscribe(&call, next, &tag, &contact)));
            sent.extend(gateway.save());
            assert_eq!((status(&sent), to_tag(answer(&sent))), (200, &*tag), "{call}");
            gateway.reply(&notify(&sent).clone(), "200 OK");
            if ends {
                tags.remove(&call);
            }
        }
        subscribe_new(&mut gateway, &mut tags, 12);
        assert_eq!(gateway.load().0, tags.len());
        assert_eq!(gateway.disk.subscriptions().len(), tags.len());
    }
}

/// Two dialogs of one slot may have been given the same place by different shards, and find it taken by a third.
#[test]
fn tags_that_name_the_same_place_do_not_hide_each_other() {
    let mut gateway = Gateway::stored();
    let mut tags = Vec::new();
    for call in ["a", "b", "c"] {
        let contact = format!("Contact: <sip:{call}@192.0.2.10:5060>\n");
        tags.push(gateway.subscribed(call, &contact).0);
    }
    // All say place 0 of their slot, as shards that came and went may have it.
    let records: Vec<_> = gateway.disk.subscriptions().into_iter().cloned().collect();
    gateway.disk = Disk::default();
    for record in records {
        let tag = |old: &str| format!("{}{}{}", &old[..3], "00000000", &old[11..]);
        let new = tag(&record.local_tag);
        let local = String::from_utf8(record.local.to_vec()).unwrap().replace(&*record.local_tag, &new);
        let moved = SubscriptionRecord { local_tag: new.into(), local: local.into(), ..record };
        gateway.disk.put(Record::Subscription(Box::new(moved)));
    }
    gateway.restart(SECOND);
    let told = gateway.save();
    assert_eq!(notifies(&told), 3);
    for one in &told {
        gateway.reply(one, "200 OK");
    }
    assert!(gateway.wait(SECOND * 40).is_empty(), "each answer has found its NOTIFY");
    for round in 2..4 {
        for (call, tag) in ["a", "b", "c"].iter().zip(&tags) {
            let tag = format!("{}{}{}", &tag[..3], "00000000", &tag[11..]);
            let more = format!("Contact: <sip:{call}@192.0.2.10:5060>\n");
            let ends = if round == 3 { "Expires: 0\n" } else { "Expires: 600\n" };
            let mut sent = gateway.udp(PHONE, &subscribe(call, round, &tag, &(more + ends)));
            sent.extend(gateway.save());
            assert_eq!((status(&sent), to_tag(answer(&sent))), (200, &*tag), "{call}");
            gateway.reply(&notify(&sent).clone(), "200 OK");
        }
    }
    assert_eq!((gateway.load().0, gateway.disk.subscriptions().len()), (0, 0));
}

/// A SUBSCRIBE that is sent again across a restart is the same one: the phone gets one dialog, not two.
#[test]
fn a_subscribe_sent_again_across_a_restart_gets_its_dialog() {
    let mut gateway = Gateway::stored();
    let text = subscribe("w", 1, "", "");
    gateway.udp(PHONE, &text);
    let upto = gateway.newest();
    let lost = gateway.saved(upto, upto); // the 200 and the NOTIFY
    let tag = to_tag(answer(&lost)).to_owned();
    gateway.restart(SECOND);
    let mut sent = gateway.save();
    sent.extend(gateway.udp(PHONE, &text));
    sent.extend(gateway.save());
    assert_eq!((status(&sent), to_tag(answer(&sent))), (200, &*tag));
    assert_eq!((gateway.load().0, gateway.disk.subscriptions().len()), (1, 1));
    // The same for a refresh.
    let text = subscribe("w", 2, &tag, "Expires: 3600\n");
    gateway.udp(PHONE, &text);
    gateway.save();
    gateway.restart(SECOND);
    gateway.save();
    let mut sent = gateway.udp(PHONE, &text);
    sent.extend(gateway.save());
    assert_eq!(status(&sent), 200);
    gateway.reply(&notify(&sent).clone(), "200 OK");
    assert_eq!(status(&gateway.udp(PHONE, &subscribe("w", 1, &tag, ""))), 500, "but what is older is stale");
}

/// Records may come from an import: whatever they say, nothing breaks.
#[test]
fn records_that_make_no_sense_break_nothing() {
    let mut gateway = Gateway::stored();
    gateway.subscribed("w", "");
    gateway.published(1, "", &dialog("a", "early"));
    let good = gateway.disk.subscriptions()[0].clone();
    let bytes = |text: &str| bytes_of(text.as_bytes());
    let with = |change: &dyn Fn(&mut SubscriptionRecord)| {
        let mut record = good.clone();
        change(&mut record);
        record
    };
    let long = "x".repeat(5000);
    let tag = |index: &str| format!("{}{index}{}", &good.local_tag[..3], &good.local_tag[11..]);
    let mut hostile = vec![
        with(&|one| one.local_tag = "".into()),
        with(&|one| one.local_tag = "zzz".into()),
        with(&|one| one.local_tag = "ü".repeat(14).into()),
        with(&|one| one.local_tag = tag("ffffffff").into()),
        with(&|one| one.local_tag = tag("001e8480").into()),
        with(&|one| one.local_tag = tag("7fffffff").into()),
        with(&|one| one.resource = "".into()),
        with(&|one| one.resource = "\u{0}\r\n".into()),
        with(&|one| one.package = "nothing".into()),
        with(&|one| one.until = Time::NEVER),
        with(&|one| one.until = Time::default()),
        with(&|one| one.reserved = u32::MAX),
        with(&|one| one.reserved = 0),
        with(&|one| one.remote_cseq = u32::MAX),
        with(&|one| one.content_type = "text/html".into()),
        with(&|one| one.profile = "none".into()),
        with(&|one| one.entity = Some("\"><evil/>".into())),
        with(&|one| one.remote = "[::1]:0".parse().unwrap()),
        with(&|one| one.listener = "0.0.0.0:0".parse().unwrap()),
        with(&|one| one.transport = Transport::Tcp),
    ];
    for garbage in ["", "\r\n", "<", ";tag=", "\r\nEvil: 1", "<sip:", "\u{fffd}\u{0}", &long] {
        hostile.push(with(&|one| one.target = bytes(garbage)));
        hostile.push(with(&|one| one.routes = bytes(garbage)));
        hostile.push(with(&|one| one.local = bytes(garbage)));
        hostile.push(with(&|one| one.watcher = bytes(garbage)));
        hostile.push(with(&|one| one.call_id = bytes(garbage)));
        hostile.push(with(&|one| one.event = bytes(garbage)));
    }
    let mut others = Vec::new();
    for record in gateway.disk.0.values() {
        match record {
            Record::Publication(one) => {
                for fact in [&b""[..], b"\xff", b"\x0a\xff\xff\xff\xff\x0f", long.as_bytes()] {
                    let mut bad = one.clone();
                    (bad.fact, bad.until) = (bytes_of(fact), Time::NEVER);
                    others.push(Record::Publication(bad));
                }
                let mut bad = one.clone();
                (bad.stamp.counter, bad.stamp.at, bad.resource) = (u64::MAX, Time::NEVER, "".into());
                others.push(Record::Publication(bad));
            }
            Record::Resource(one) => {
                let mut bad = one.clone();
                (bad.seq, bad.resource) = (u64::MAX, "sip:8@example.com".into());
                others.push(Record::Resource(bad));
            }
            _ => {}
        }
    }
    assert!(others.len() > 4);
    let all = hostile.into_iter().map(|one| Record::Subscription(Box::new(one))).chain(others);
    for record in all {
        let text = format!("{record:?}");
        let result = std::panic::catch_unwind(|| {
            let mut gateway = Gateway::stored();
            gateway.disk.0.insert("hostile".into(), record);
            let mut sent = gateway.restart(SECOND);
            sent.extend(gateway.save());
            for number in 1..4 {
                sent.extend(gateway.udp(OTHER, &publish(number, "", &dialog(&number.to_string(), "early"))));
                sent.extend(gateway.wait(SECOND));
                sent.extend(gateway.save());
            }
            for one in sent.iter().filter(|one| one.text.starts_with("NOTIFY")) {
                gateway.reply(one, "200 OK");
                assert_eq!(one.text.matches("\r\nEvil: 1").count(), 0, "a header of somebody else's making");
                assert_eq!(one.text.matches("<evil/>").count(), 0, "an element of somebody else's making");
            }
            gateway.explain("sip:1@example.com");
            gateway.command(Command::Watchers { resource: None, from: 0, most: 10 });
            gateway.stop();
            gateway.save();
            gateway.wait(SECOND * 700);
        });
        assert!(result.is_ok(), "{text}");
    }
}

fn bytes_of(text: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text)
}

fn put(gateway: &Gateway, source: &str, body: &str) -> Command {
    let package = gateway.config.packages.find(b"dialog").unwrap();
    let content = OwnedContent::Document { format: 0, body: bytes_of(body.as_bytes()) };
    Command::Publish(Box::new(PublishCommand {
        resource: "sip:1@example.com".into(),
        package,
        action: OwnedAction::Put(source.into(), content),
        expires: None,
        from: "192.0.2.200:80".parse().unwrap(),
    }))
}

#[test]
fn what_adapters_publish_is_answered_when_it_is_safe_or_refused() {
    let mut gateway = Gateway::stored();
    gateway.subscribed("w", "");
    let command = put(&gateway, "api:a", &dialog("a", "early"));
    let sent = gateway.handle(Input::Command { ticket: 4, command });
    assert!(body(notify(&sent)).contains("early"), "the lamp is lit at once");
    gateway.reply(&sent[0], "200 OK");
    assert!(gateway.answers.is_empty(), "but the answer waits");
    let newest = gateway.newest();
    gateway.saved(newest, 0);
    assert!(
        matches!(&gateway.answers[..], [(4, Answer::Published(Ok(lease)))] if lease.created),
        "{:?}",
        gateway.answers
    );
    gateway.answers.clear();
    let command = put(&gateway, "api:b", &dialog("b", "confirmed"));
    let sent = gateway.handle(Input::Command { ticket: 5, command });
    gateway.reply(&sent[0], "200 OK");
    let refused = |gateway: &mut Gateway, expected: u64| {
        let answers = std::mem::take(&mut gateway.answers);
        assert!(
            matches!(&answers[..], [(ticket, Answer::Published(Err(PublishError::NotStored)))] if *ticket == expected),
            "{answers:?}"
        );
    };
    let sent = gateway.fail(true);
    refused(&mut gateway, 5);
    assert!(!body(notify(&sent)).contains(">confirmed<"), "undone");
    gateway.reply(&sent[0], "200 OK");
    let command = put(&gateway, "api:b", &dialog("b", "confirmed"));
    assert!(gateway.handle(Input::Command { ticket: 6, command }).is_empty());
    refused(&mut gateway, 6);
    gateway.fail(false);
    let command = put(&gateway, "api:b", &dialog("b", "confirmed"));
    gateway.handle(Input::Command { ticket: 7, command });
    gateway.wait(SECOND * 5);
    refused(&mut gateway, 7);
    assert_eq!(gateway.load(), (1, 1));
    assert!(!gateway.shards[0].is_through());
    let command = put(&gateway, "api:b", &dialog("b", "confirmed"));
    gateway.handle(Input::Command { ticket: 8, command });
    gateway.save();
    gateway.restart(SECOND);
    assert_eq!(gateway.load(), (1, 2));
}

/// Nobody has been promised a renewal that an adapter asks for by itself: it waits for no store, and works without one.
#[test]
fn renewals_of_adapters_are_answered_at_once() {
    let mut gateway = Gateway::stored();
    let command = put(&gateway, "remote:a", &dialog("a", "early"));
    gateway.handle(Input::Command { ticket: 1, command });
    gateway.save();
    let [(1, Answer::Published(Ok(lease)))] = gateway.answers[..] else { panic!("{:?}", gateway.answers) };
    gateway.answers.clear();
    let package = gateway.config.packages.find(b"dialog").unwrap();
    let renew = |gateway: &mut Gateway, tags: &[u64]| {
        let one = |tag: &u64| Renewal {
            resource: "sip:1@example.com".into(),
            package,
            tag: EntityTag(*tag),
            expires: SECOND * 100,
        };
        match gateway.command(Command::Renew(tags.iter().map(one).collect())) {
            Some(Answer::Renewed(results)) => results,
            other => panic!("{other:?}"),
        }
    };
    let tag = |results: &[Result<PublishedLease, PublishError>]| match results {
        [Err(PublishError::NoSuchTag), Ok(lease)] if lease.expires == SECOND * 100 && !lease.created => lease.tag.0,
        other => panic!("{other:?}"),
    };
    let newer = tag(&renew(&mut gateway, &[1, lease.tag.0]));
    gateway.fail(true);
    let newest = tag(&renew(&mut gateway, &[lease.tag.0, newer]));
    gateway.wait(SECOND * 90);
    tag(&renew(&mut gateway, &[newer, newest]));
    gateway.wait(SECOND * 90);
    assert_eq!(gateway.load(), (0, 1));
    gateway.fail(false);
    gateway.wait(SECOND * 20);
    assert_eq!(gateway.load(), (0, 0));
}

/// OP-03: what comes in, what is decided, what goes out, and what comes back.
#[test]
fn a_presentity_can_be_traced() {
    let mut gateway = Gateway::new();
    let trace = |on| Command::Trace { resource: "sip:1@example.com".into(), on };
    assert!(matches!(gateway.command(trace(true)), Some(Answer::Traced)));
    let sent = gateway.udp(PHONE, &subscribe("w", 1, "", ""));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    let sent = gateway.udp(OTHER, &publish(1, "", &dialog("a", "early")));
    gateway.reply(&notify(&sent).clone(), "200 OK");
    gateway.udp(OTHER, &of("8", &publish(2, "", &dialog("a", "early"))));
    let what: Vec<_> = gateway.traces.iter().map(|one| &*one.what).collect();
    assert_eq!(what, ["notify", "request", "notify answered", "published", "request", "notify", "notify answered"]);
    let details: Vec<_> = gateway.traces.iter().map(|one| &*one.detail).collect();
    assert!(
        details.iter().any(|one| one.contains("SUBSCRIBE (dialog) from UDP 192.0.2.10:5060: 200 OK")),
        "{details:?}"
    );
    assert!(
        details.iter().any(|one| one.contains("CSeq 2 to sip:2@example.com by UDP 192.0.2.10:5060")),
        "{details:?}"
    );
    gateway.command(trace(false));
    gateway.traces.clear();
    gateway.udp(OTHER, &publish(3, "", &dialog("b", "early")));
    assert!(gateway.traces.is_empty());
}

/// OP-04
#[test]
fn subscriptions_are_listed_in_pages_and_watchers_refreshed() {
    let mut gateway = Gateway::new();
    for user in 10..15 {
        let text = of(&user.to_string(), &subscribe(&format!("w{user}"), 1, "", ""));
        let sent = gateway.udp(PHONE, &text);
        gateway.reply(&notify(&sent).clone(), "200 OK");
    }
    let (mut from, mut seen, mut pages) = (0, Vec::new(), 0);
    loop {
        let command = Command::Watchers { resource: None, from, most: 2 };
        let Some(Answer::Watchers { rows, next }) = gateway.command(command) else { panic!("no list") };
        assert!(rows.len() <= 2);
        seen.extend(rows.into_iter().map(|row| row.resource.to_string()));
        pages += 1;
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    seen.sort();
    let expected: Vec<_> = (10..15).map(|user| format!("sip:{user}@example.com")).collect();
    assert_eq!((seen, pages), (expected, 3));
    let resource: Arc<str> = "sip:12@example.com".into();
    let command = Command::Watchers { resource: Some(resource.clone()), from: 0, most: 9 };
    let Some(Answer::Watchers { rows, next: None }) = gateway.command(command) else { panic!("no list") };
    assert_eq!((rows.len(), &*rows[0].kind, &*rows[0].watcher.watcher), (1, "dialog", "sip:2@example.com"));
    let sent = gateway.handle(Input::Command { ticket: 3, command: Command::Refresh { resource } });
    assert!(matches!(gateway.answers[..], [(3, Answer::Refreshed(1))]), "{:?}", gateway.answers);
    assert_eq!(header(&notify(&sent).text, "Call-ID"), Some("w12"));
    assert_eq!(version(notify(&sent)), 1);
}

/// DI-03: what pua_dialoginfo sends when a call is faster than the answers to its publications.
#[test]
fn a_call_ends_although_its_proxy_has_lost_a_publication() {
    let mut gateway = Gateway::stored();
    let call = |tags: &str, state: &str| {
        let known = "local-tag=\"l\" remote-tag=\"r\"";
        let document = dialog("p", state);
        assert!(document.contains(known));
        document.replace(known, tags)
    };
    let tell = |gateway: &mut Gateway, number: u32, more: &str, body: &str| {
        let mut sent = gateway.udp(OTHER, &publish(number, more, body));
        sent.extend(gateway.save());
        assert_eq!(status(&sent), 200, "{}", answer(&sent).text);
        (etag(&sent), header(&answer(&sent).text, "Expires").unwrap().to_owned())
    };
    let lit = |gateway: &mut Gateway| {
        let explained = gateway.explain("sip:1@example.com");
        explained.packages.into_iter().find(|one| one.kind == "dialog").map(|one| one.state)
    };
    let half_a_day = "Expires: 43201\n";
    tell(&mut gateway, 1, half_a_day, &call("", "trying"));
    let (tag, _) = tell(&mut gateway, 2, half_a_day, &call("local-tag=\"l\" remote-tag=\"r\"", "early"));
    let (tag, _) = tell(&mut gateway, 3, &format!("{half_a_day}SIP-If-Match: {tag}\n"), &call("", "confirmed"));
    assert_eq!(lit(&mut gateway).as_deref(), Some("busy"));
    let over = call("", "terminated");
    let (_, expires) = tell(&mut gateway, 4, &format!("Expires: 11\nSIP-If-Match: {tag}\n"), &over);
    assert_eq!(expires, "11", "too brief for anything else, but these are news");
    assert_eq!(lit(&mut gateway).as_deref(), Some("idle"));
    for restarts in [false, true] {
        gateway.wait(SECOND * 300);
        if restarts {
            gateway.save();
            gateway.restart(SECOND * 300);
            gateway.wait(SECOND * 300);
        }
        assert_eq!(gateway.load().1, 1, "the lost one has hours to live");
        assert_eq!(lit(&mut gateway).as_deref(), Some("idle"));
    }
    // Another call under the same names, with another tag, is not over.
    tell(&mut gateway, 5, "", &call("local-tag=\"l2\" remote-tag=\"r2\"", "early"));
    assert_ne!(lit(&mut gateway).as_deref(), Some("idle"));
}
