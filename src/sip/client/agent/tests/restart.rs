//! What outlives the process.

use super::*;

fn stored() -> Bench {
    Bench::with(|settings| settings.store = true)
}

/// The same gateway, started anew after `down`, with what its store holds.
fn restart(old: Bench, down: Duration) -> Bench {
    let mut new = stored();
    new.agent = Agent::new(old.now + down, new.agent.settings.clone(), Seed(77, 78));
    (new.now, new.calls, new.saved) = (old.now + down, old.calls, old.saved.clone());
    for (key, standing) in old.saved {
        // What is stored is bytes.
        let standing = Standing::decode(&standing.encode()).expect("it was encoded");
        new.tell(|agent, now, out| {
            agent.restore(now, key, standing, out);
        });
    }
    new
}

/// PU-01: the old publication is refreshed, changed or removed by its tag, never published beside itself.
#[test]
fn a_publication_goes_on_by_its_tag() {
    let held = || {
        let mut bench = stored();
        bench.publish("one");
        bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
        bench
    };
    // Unchanged: nothing but the usual refresh.
    let mut bench = restart(held(), SECOND * 5);
    let id = bench.publish("one");
    assert!(bench.requests.is_empty());
    while bench.requests.is_empty() {
        bench.wait(SECOND);
    }
    assert!(bench.now.since(START) < SECOND * 600);
    bench.answer(200, "SIP-ETag: t2\nExpires: 600\n");
    bench.update(id, "two");
    let line = |bench: &Bench, at: usize| {
        let line = bench.log.lines().filter(|line| line.contains("> PUBLISH") && !line.ends_with("(again)")).nth(at);
        let line = line.unwrap_or_else(|| panic!("{}", bench.log));
        line.split_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(line(&bench, 0), "> PUBLISH A33 expires=600 if-match=t1");
    assert_eq!(line(&bench, 1), "> PUBLISH A34 expires=600 if-match=t2 body=two");
    // Changed meanwhile.
    let mut bench = restart(held(), SECOND * 5);
    bench.publish("two");
    assert_eq!(line(&bench, 0), "> PUBLISH A33 expires=600 if-match=t1 body=two");
    bench.answer(412, "");
    assert_eq!(line(&bench, 1), "> PUBLISH A34 expires=600 body=two");
    // Wanted by nobody.
    let mut bench = restart(held(), SECOND * 5);
    bench.wait(SECOND * 61);
    if line(&bench, 0).contains("expires=600") {
        bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
        assert!(line(&bench, 1).ends_with("expires=0 if-match=t1"), "{}", bench.log);
    } else {
        assert_eq!(line(&bench, 0), "> PUBLISH A33 expires=0 if-match=t1");
    }
    bench.answer(200, "Expires: 0\n");
    assert!(bench.agent.is_idle() && bench.saved.is_empty(), "{}", bench.log);
    // Over before anybody came back.
    let mut bench = restart(held(), SECOND * 601);
    assert!(bench.agent.is_idle() && bench.saved.is_empty());
    bench.publish("one");
    assert_eq!(line(&bench, 0), "> PUBLISH B1 expires=600 body=one");
}

#[test]
fn a_subscription_goes_on_in_its_dialog() {
    let held = || {
        let mut bench = stored();
        bench.watch();
        bench.answer(200, "Expires: 600\nContact: <sip:srv@127.0.0.1:5060>\nRecord-Route: <sip:127.0.0.1;lr>\n");
        bench.notify(40, "active;expires=600", &document(7));
        bench
    };
    let old = held();
    let subscribe = old.requests[0].clone();
    let mut bench = restart(old, SECOND * 5);
    // A NOTIFY finds its dialog, whoever has asked for it by then.
    bench.requests.push(subscribe);
    bench.notify(41, "active;expires=590", &document(8));
    let id = bench.watch();
    assert_eq!(bench.agent.subscription(id).unwrap().users, 1);
    bench.wait(SECOND * 590);
    let refresh = bench.requests.last().unwrap().clone();
    assert_eq!(header(&refresh, "CSeq"), "33 SUBSCRIBE");
    assert_eq!(header(&refresh, "Route"), "<sip:127.0.0.1;lr>");
    assert!(header(&refresh, "To").ends_with(";tag=srv"));
    assert!(bench.log.starts_with("5.0 > 200 to CSeq 41 NOTIFY\n5.0 ! Active"), "{}", bench.log);
    // Wanted by nobody.
    let mut bench = restart(held(), SECOND * 5);
    bench.wait(SECOND * 61);
    if header(bench.requests.last().unwrap(), "Expires") != "0" {
        bench.answer(200, "Expires: 600\n");
    }
    let last = bench.requests.last().unwrap().clone();
    assert_eq!((&*header(&last, "Expires"), header(&last, "To").ends_with(";tag=srv")), ("0", true));
    bench.wait(SECOND * 61);
    assert!(bench.agent.is_idle() && bench.saved.is_empty());
}

/// PU-04
#[test]
fn a_hundred_thousand_records_come_back_and_their_refreshes_are_spread() {
    const COUNT: u32 = 100_000;
    let mut bench = stored();
    bench.agent.settings.pace.in_flight = COUNT as usize;
    let mut out = Vec::new();
    for key in 0..COUNT {
        let standing = crate::client::PublicationStanding {
            record: Record { key: key.to_string().into(), ..record("") },
            entity_tag: (*b"tag").into(),
            until: START + SECOND * 600,
            ..crate::client::PublicationStanding::default()
        };
        assert!(bench.agent.restore(START, key, Standing::Publication(standing), &mut out).is_some());
    }
    assert_eq!(out, []);
    bench.agent.settings.pace.claim = SECOND * 9999;
    let mut buckets = [0_u32; 30];
    for bucket in &mut buckets {
        let end = bench.now + SECOND;
        while let Some(at) = bench.agent.deadline().filter(|at| *at <= end) {
            bench.now = at.max(bench.now);
            bench.agent.handle(bench.now, Input::Tick, &mut out);
        }
        *bucket = bench.agent.totals.sent as u32;
        bench.agent.totals.sent = 0;
        bench.now = end;
    }
    // 525 s are there for it, so that each second has its 190.
    assert!(buckets.iter().all(|count| (110..280).contains(count)), "{buckets:?}");
}

#[test]
fn what_makes_no_sense_is_forgotten() {
    let mut bench = stored();
    bench.watch();
    bench.answer(200, "Expires: 600\n");
    let (key, standing) = bench.saved.first_key_value().map(|(key, one)| (*key, one.clone())).unwrap();
    let mut out = Vec::new();
    // Taken; another key than its tag says; out of bounds.
    for (agent, key) in [(None, key), (Some(()), key + 1), (Some(()), u32::MAX)] {
        let mut fresh = Agent::new(START, bench.agent.settings.clone(), Seed(1, 1));
        let agent = if agent.is_some() { &mut fresh } else { &mut bench.agent };
        assert_eq!(agent.restore(START, key, standing.clone(), &mut out), None);
        assert_eq!(out.pop(), Some(Output::Save { key, standing: None }));
        assert_eq!(out, []);
    }
}

/// A record leaves the store when there is nothing to come back to.
#[test]
fn the_store_holds_what_stands_and_nothing_else() {
    let mut bench = stored();
    let (watch, publication) = (bench.watch(), bench.publish("one"));
    assert_eq!(bench.saved.len(), 0);
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.answer_to(0, 200, "Expires: 600\n");
    assert_eq!(bench.saved.len(), 2);
    bench.requests.pop();
    bench.notify(1, "terminated;reason=probation", "");
    bench.tell(|agent, now, out| agent.withdraw(now, publication, out));
    bench.answer(200, "");
    assert_eq!(bench.saved.len(), 0);
    bench.tell(|agent, now, out| agent.unsubscribe(now, watch, out));
    assert!(bench.agent.is_idle());
}
