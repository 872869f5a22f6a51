//! Subscriptions: what starts, shares, ends and breaks them.

use super::*;
use crate::client::State;

fn state(bench: &Bench, id: SubscriptionId) -> String {
    let row = bench.agent.subscription(id).expect("it is there");
    let cause = row.cause.map(|cause| format!(", {cause}")).unwrap_or_default();
    format!("{}{cause}, last {}", row.state.name(), row.last_status)
}

fn established(bench: &mut Bench) -> SubscriptionId {
    let id = bench.watch();
    bench.answer(200, "Expires: 600\nContact: <sip:srv@127.0.0.1:5060>\n");
    bench.notify(1, "active;expires=600", "");
    bench.log.clear();
    id
}

/// QS-02, QS-04
#[test]
fn a_refusal_is_told_and_not_tried_again_by_itself() {
    let mut bench = Bench::new();
    let watch = Watch { subscriber: Some("sip:kim@office.example".into()), ..usual() };
    let id = bench.watch_this(watch);
    assert_eq!(state(&bench, id), "pending, last 0");
    let first = bench.requests[0].clone();
    assert!(header(&first, "From").starts_with("<sip:kim@office.example>;tag="), "{first:?}");
    bench.answer(403, "");
    bench.wait(SECOND * 86_400);
    assert_eq!(state(&bench, id), "rejected, 403 Forbidden, last 403");
    bench.tell(|agent, now, out| agent.retry(now, id, out));
    bench.answer(200, "Expires: 600\n");
    bench.notify(1, "pending;expires=600", "");
    assert_eq!(state(&bench, id), "pending, last 200");
    bench.notify(2, "active;expires=600", "");
    assert_eq!(state(&bench, id), "active, last 200");
    bench.notify(3, "terminated;reason=rejected", "");
    assert_eq!(state(&bench, id), "rejected, terminated: rejected, last 200");
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 ! subscription lost: rejected, 403 Forbidden, not again
        86400.0 > SUBSCRIBE B1 expires=600
        86400.0 ! subscribed for 600s
        86400.0 > 200 to CSeq 1 NOTIFY
        86400.0 ! Pending application/dialog-info+xml Unversioned 
        86400.0 > 200 to CSeq 2 NOTIFY
        86400.0 ! Active application/dialog-info+xml Unversioned 
        86400.0 > 200 to CSeq 3 NOTIFY
        86400.0 ! Terminated (rejected) application/dialog-info+xml Unversioned 
        86400.0 ! subscription lost: rejected, terminated: rejected, not again
    "#]]);
}

/// QS-04: every reason of RFC 6665 section 4.1.3 has its own consequence.
#[test]
fn each_reason_of_an_end_has_its_own_consequence() {
    for (end, expected) in [
        ("terminated;reason=deactivated", "again at once"),
        ("terminated;reason=timeout", "again at once"),
        ("terminated", "again at once"),
        ("terminated;reason=moonphase", "again at once"),
        ("terminated;reason=deactivated;retry-after=500", "later 500"),
        ("terminated;reason=probation", "later 105"),
        ("terminated;reason=probation;retry-after=1000", "later 1000"),
        ("terminated;reason=giveup", "later 105"),
        ("terminated;reason=GiveUp;retry-after=1000", "later 1000"),
        ("terminated;reason=rejected;retry-after=5", "rejected"),
        ("terminated;reason=noresource", "terminated"),
        ("Terminated;reason=invariant", "terminated"),
    ] {
        let mut bench = Bench::new();
        let id = established(&mut bench);
        bench.wait(SECOND * 100);
        bench.notify(2, end, "");
        let (row, sent) = (bench.agent.subscription(id).unwrap(), bench.requests.len());
        let found = match row.state {
            State::Retrying if sent == 2 => "again at once".to_owned(),
            State::Retrying => {
                let pause = row.next.expect("it will be tried again").since(bench.now).as_secs();
                let least = expected.strip_prefix("later ").unwrap_or("0").parse().unwrap();
                assert!((least..=least * 5 / 4 + 30).contains(&pause), "{end}: {pause}");
                format!("later {least}")
            }
            other => other.name().to_owned(),
        };
        assert_eq!(found, expected, "{end}");
    }
}

/// QS-05
#[test]
fn a_failure_is_tried_again_after_the_configured_time_give_or_take() {
    let mut pauses = Vec::new();
    for seed in 0..64 {
        let mut bench = Bench::with(|settings| settings.pace.retry = SECOND * 600);
        bench.agent = Agent::new(START, bench.agent.settings.clone(), Seed(seed, 9));
        let id = bench.watch();
        bench.answer(404, "");
        let row = bench.agent.subscription(id).unwrap();
        assert_eq!((row.state, row.cause, row.last_status), (State::Retrying, Some(Cause::Status(404)), 404));
        pauses.push(row.next.unwrap().since(START).as_secs());
    }
    assert!(pauses.iter().all(|pause| (525..=675).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().max() > pauses.iter().min().map(|least| least + 50).as_ref(), "{pauses:?}");
}

/// QS-06
#[test]
fn the_last_notify_is_waited_for_but_not_for_ever() {
    let mut bench = Bench::new();
    let id = established(&mut bench);
    bench.tell(|agent, now, out| agent.unsubscribe(now, id, out));
    bench.answer(200, "Expires: 0\n");
    bench.wait(SECOND * 29);
    assert!(!bench.agent.is_idle());
    bench.wait(SECOND * 2);
    assert!(bench.agent.is_idle());
    bench.notify(2, "terminated;reason=timeout", "");
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A2 expires=0 in dialog to sip:srv@127.0.0.1:5060
        30.0 ! unsubscribed
        31.0 > 481 to CSeq 2 NOTIFY
        31.0 ! refused with 481
    "#]]);
}

#[test]
fn a_last_notify_that_comes_again_meets_the_same_answer() {
    let mut bench = Bench::new();
    let id = established(&mut bench);
    bench.tell(|agent, now, out| agent.unsubscribe(now, id, out));
    bench.notify(2, "terminated;reason=timeout", "");
    bench.notify(2, "terminated;reason=timeout", "");
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A2 expires=0 in dialog to sip:srv@127.0.0.1:5060
        0.0 > 200 to CSeq 2 NOTIFY
        0.0 ! unsubscribed
        0.0 > 200 to CSeq 2 NOTIFY
    "#]]);
}

/// QS-03
#[test]
fn equal_wishes_share_one_dialog_and_the_last_to_leave_ends_it() {
    let mut bench = Bench::new();
    let ids: Vec<_> = (0..100).map(|_| bench.watch()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(bench.requests.len(), 1);
    let other = bench.watch_this(Watch { subscriber: Some("sip:kim@office.example".into()), ..usual() });
    assert_ne!(other, ids[0]);
    assert_eq!(bench.requests.len(), 2);
    bench.requests.pop();
    bench.answer(200, "Expires: 600\n");
    bench.notify(1, "active", "");
    for id in &ids[1..] {
        bench.tell(|agent, now, out| agent.unsubscribe(now, *id, out));
    }
    assert_eq!((bench.requests.len(), bench.agent.subscription(ids[0]).unwrap().users), (1, 1));
    bench.tell(|agent, now, out| agent.unsubscribe(now, ids[0], out));
    assert_eq!(header(bench.requests.last().unwrap(), "Expires"), "0");
    // Whoever comes while it ends gets a new one.
    let late = bench.watch();
    assert_ne!(late, ids[0]);
}

/// QS-07
#[test]
fn a_short_lease_is_renewed_in_time_and_a_tiny_one_makes_no_storm() {
    for (granted, most) in [(40, 130), (20, 400), (1, 3700)] {
        let mut bench = Bench::new();
        bench.watch();
        let start = bench.now;
        while bench.now.since(start) < SECOND * 3600 {
            bench.answer(200, &format!("Expires: {granted}\nContact: <sip:srv@127.0.0.1:5060>\n"));
            if bench.requests.len() == 1 {
                bench.notify(1, "active", "");
            }
            let (sent, before) = (bench.requests.len(), bench.now);
            while bench.requests.len() == sent {
                bench.now = bench.agent.deadline().unwrap().max(bench.now);
                bench.tell(|agent, now, out| agent.handle(now, Input::Tick, out));
            }
            assert!(granted == 1 || bench.now.since(before) < SECOND * granted, "lapsed");
        }
        assert!(bench.requests.len() <= most, "{granted}: {}", bench.requests.len());
        // All of it in one dialog.
        assert!(granted == 1 || bench.calls.len() == 1, "{granted}: {:?}", bench.calls);
    }
}

/// QS-08
#[test]
fn the_default_lease_is_asked_for_and_the_servers_shorter_one_counts() {
    let mut bench = Bench::with(|settings| settings.pace.default_expires = SECOND * 7200);
    let id = bench.watch_this(Watch { expires: None, ..usual() });
    assert_eq!(header(&bench.requests[0], "Expires"), "7200");
    bench.answer(200, "Expires: 900\n");
    let until = |bench: &Bench| bench.agent.subscription(id).unwrap().until.unwrap().since(START).as_secs();
    assert_eq!(until(&bench), 900);
    bench.notify(1, "active;expires=300", "");
    assert_eq!(until(&bench), 300);
    // A longer one than asked for does not.
    bench.notify(2, "active;expires=99999", "");
    assert_eq!(until(&bench), 7200);
}

/// QS-09: chi-square over a hundred buckets, 99 degrees of freedom, at a level that no fair draw misses.
#[test]
fn first_subscribes_are_spread_evenly() {
    let mut bench = Bench::with(|settings| {
        settings.pace.spread = SECOND * 30;
        settings.pace.in_flight = 20_000;
    });
    for number in 0..10_000 {
        bench.watch_this(Watch { resource: format!("sip:{number}@office.example").into(), ..usual() });
    }
    assert_eq!(bench.requests.len(), 0);
    let (mut buckets, mut out) = ([0_u32; 100], Vec::new());
    for bucket in &mut buckets {
        let end = bench.now + SECOND * 3 / 10;
        while let Some(at) = bench.agent.deadline().filter(|at| *at <= end) {
            bench.now = at.max(bench.now);
            bench.agent.handle(bench.now, Input::Tick, &mut out);
            for output in out.drain(..) {
                // Each of them once, without the retransmissions.
                *bucket += u32::from(matches!(output, Output::Send { .. }));
            }
        }
        *bucket -= (bench.agent.totals(bench.now).resent as u32).min(*bucket);
        bench.agent.totals.resent = 0;
        bench.now = end;
    }
    let total: u32 = buckets.iter().sum();
    assert!((9_990..=10_000).contains(&total), "{total}");
    let expected = f64::from(total) / 100.0;
    let chi: f64 = buckets.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    assert!(chi < 160.0, "{chi} {buckets:?}");
}

/// QS-11, RFC 6665 section 4.4.1
#[test]
fn forks_have_states_of_their_own_where_the_package_allows_it() {
    let mut bench = Bench::new();
    let id = bench.watch_this(Watch { forks: true, ..usual() });
    let from = |bench: &Bench, cseq: u32, tag: &str, state: &str| {
        bench.notify_text(cseq, state, "").replace(";tag=srv", &format!(";tag={tag}")).replace("z9hG4bKn", tag)
    };
    let notify = from(&bench, 1, "one", "active;expires=600");
    bench.receive(&notify);
    let notify = from(&bench, 5, "two", "active;expires=300");
    bench.receive(&notify);
    let notify = from(&bench, 6, "two", "active;expires=300");
    bench.receive(&notify);
    bench.answer(200, "Expires: 600\n");
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml Unversioned 
        0.0 > 200 to CSeq 5 NOTIFY
        0.0 ! Active fork 1 application/dialog-info+xml Unversioned 
        0.0 > 200 to CSeq 6 NOTIFY
        0.0 ! Active fork 1 application/dialog-info+xml Unversioned 
        0.0 ! subscribed for 600s
    "#]]);
    // Each is renewed in its own dialog, when its own lease asks for it.
    bench.wait(SECOND * 237);
    let last = bench.requests.last().unwrap().clone();
    assert!(header(&last, "To").ends_with(";tag=two"), "{last:?}");
    bench.answer_to(bench.requests.len() - 1, 481, "");
    bench.check(expect![[r#"
        236.0 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060
        236.5 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060 (again)
        237.0 ! fork 1 ended
    "#]]);
    // No more than eight beside the first.
    let first = bench.requests[0].clone();
    bench.requests.push(first);
    for number in 0..20 {
        let notify = from(&bench, 1, &format!("more{number}"), "active;expires=300");
        bench.receive(&notify);
    }
    assert_eq!(bench.log.matches("> 200").count(), 8);
    assert_eq!(bench.log.matches("> 481").count(), 12);
    // They end with the subscription.
    bench.answer_to(0, 200, "");
    bench.tell(|agent, now, out| agent.unsubscribe(now, id, out));
    bench.wait(SECOND * 60);
    assert!(bench.agent.is_idle(), "{:?}", bench.agent.rows(0, 9));
}

#[test]
fn a_second_dialog_is_refused_where_the_package_knows_none() {
    let mut bench = Bench::new();
    established(&mut bench);
    let notify = bench.notify_text(9, "active", "").replace(";tag=srv", ";tag=other");
    bench.receive(&notify);
    bench.check(expect![[r#"
        0.0 > 481 to CSeq 9 NOTIFY
        0.0 ! refused with 481
    "#]]);
}

/// QS-12
#[test]
fn redirections_are_followed_but_not_in_circles() {
    let mut bench = Bench::with(|settings| settings.proxy = None);
    let id = bench.watch_this(Watch { resource: "sip:102@127.0.0.1".into(), ..usual() });
    let contacts = "Contact: <sips:no@127.0.0.1>, <sip:low@127.0.0.7>;q=0.1, <sip:high@127.0.0.8:5070>;q=0.9\n";
    bench.answer(302, contacts);
    bench.answer(200, "Expires: 600\nContact: <sip:srv@127.0.0.8:5070>\n");
    bench.notify(1, "active", "");
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 [UDP 127.0.0.8:5070] > SUBSCRIBE B1 expires=600
        0.0 ! subscribed for 600s
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml Unversioned 
    "#]]);
    bench.tell(|agent, now, out| agent.unsubscribe(now, id, out));
    let id = bench.watch_this(Watch { resource: "sip:103@127.0.0.1".into(), ..usual() });
    for _ in 0..6 {
        bench.answer(302, "Contact: <sip:a@127.0.0.1>\n");
    }
    assert_eq!(state(&bench, id), "retrying, 302 Moved Temporarily, last 302");
    let id = bench.watch_this(Watch { resource: "sip:104@127.0.0.1".into(), ..usual() });
    bench.answer(302, "");
    assert_eq!(state(&bench, id), "retrying, 302 Moved Temporarily, last 302");
}

/// QS-12, RFC 7616
#[test]
fn challenges_are_answered_and_remembered() {
    let mut bench = Bench::with(|settings| {
        let one = |realm: &str| Credential { realm: realm.into(), user: "gate".into(), secret: Secret::new("geheim") };
        settings.credentials = Credentials::new(vec![one("office"), one("edge")]);
    });
    let id = bench.watch();
    bench.answer(407, "Proxy-Authenticate: Digest realm=\"edge\",nonce=\"p\",qop=\"auth\"\n");
    bench.answer(401, "WWW-Authenticate: Digest realm=\"office\",nonce=\"w\",algorithm=SHA-256,qop=\"auth\"\n");
    let both = bench.requests.last().unwrap().clone();
    assert!(header(&both, "Proxy-Authorization").contains("nonce=\"p\"") && header(&both, "CSeq") == "3 SUBSCRIBE");
    assert!(header(&both, "Authorization").contains("algorithm=SHA-256"));
    assert!(header(&both, "Proxy-Authorization").contains("nc=00000002"));
    bench.answer(200, "Expires: 600\n");
    bench.notify(1, "active", "");
    bench.wait(SECOND * 537);
    assert!(header(bench.requests.last().unwrap(), "Authorization").contains("nc=00000002"));
    bench.answer(200, "Expires: 600\n");
    // What is wrong is not tried for ever.
    bench.wait(SECOND * 537);
    for nonce in 0..5 {
        bench.answer(401, &format!("WWW-Authenticate: Digest realm=\"office\",nonce=\"{nonce}\",qop=\"auth\"\n"));
    }
    assert_eq!(state(&bench, id), "active, 401 Unauthorized, last 401");
    assert_eq!(bench.requests.len(), 6);
}

/// QS-12: the CSeq numbers of requests that were refused are used up, and none comes twice.
#[test]
fn no_number_comes_twice_in_a_dialog() {
    let mut bench = Bench::new();
    bench.watch();
    bench.answer(423, "Min-Expires: 700\n");
    bench.answer(200, "Expires: 100\n");
    bench.notify(1, "active", "");
    for _ in 0..50 {
        bench.wait(SECOND * 40);
        bench.answer(200, "Expires: 100\n");
    }
    let numbers: Vec<u32> =
        bench.requests.iter().map(|one| header(one, "CSeq").split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]) && numbers.len() > 40, "{numbers:?}");
}

/// PU-09, RFC 3261 section 12.2.1.2
#[test]
fn a_new_contact_of_the_notifier_is_where_the_next_request_goes() {
    let mut bench = Bench::with(|settings| settings.proxy = None);
    bench.watch_this(Watch { resource: "sip:102@127.0.0.1".into(), ..usual() });
    bench.answer(200, "Expires: 600\nContact: <sip:srv@127.0.0.1:5060>\n");
    let moved = bench.notify_text(1, "active", "").replace("<sip:srv@127.0.0.1:5060>", "<sip:moved@127.0.0.9:5090>");
    bench.receive(&moved);
    bench.wait(SECOND * 536 + SECOND / 10);
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 ! subscribed for 600s
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml Unversioned 
        536.0 [UDP 127.0.0.9:5090] > SUBSCRIBE A2 expires=600 in dialog to sip:moved@127.0.0.9:5090
    "#]]);
}

/// A liar's NOTIFYs cost it the dialog, and the subscription recovers without help.
#[test]
fn a_notifier_that_counts_backwards_gets_a_fresh_dialog() {
    let mut bench = Bench::new();
    let id = established(&mut bench);
    bench.wait(SECOND * 100);
    bench.notify(2_000_000_000, "active", "");
    for cseq in 2..10 {
        bench.notify(cseq, "active", "");
    }
    bench.answer(200, "Expires: 600\n");
    bench.notify(1, "active", "");
    assert_eq!(state(&bench, id), "active, last 200");
    bench.check(expect![[r#"
        100.0 > 200 to CSeq 2000000000 NOTIFY
        100.0 ! Active application/dialog-info+xml Unversioned 
        100.0 > 500 to CSeq 2 NOTIFY
        100.0 ! refused with 500
        100.0 > 500 to CSeq 3 NOTIFY
        100.0 ! refused with 500
        100.0 > 500 to CSeq 4 NOTIFY
        100.0 ! refused with 500
        100.0 > 500 to CSeq 5 NOTIFY
        100.0 ! refused with 500
        100.0 > 500 to CSeq 6 NOTIFY
        100.0 ! refused with 500
        100.0 > 500 to CSeq 7 NOTIFY
        100.0 ! refused with 500
        100.0 > 500 to CSeq 8 NOTIFY
        100.0 ! refused with 500
        100.0 > 500 to CSeq 9 NOTIFY
        100.0 ! refused with 500
        100.0 ! subscription lost: retrying, NOTIFYs out of order, again at 100
        100.0 > SUBSCRIBE B1 expires=600
        100.0 ! subscribed for 600s
        100.0 > 200 to CSeq 1 NOTIFY
        100.0 ! Active application/dialog-info+xml Unversioned 
    "#]]);
}

#[test]
fn bodies_that_nobody_can_read_are_handed_on_and_encoded_ones_refused() {
    let mut bench = Bench::new();
    let id = established(&mut bench);
    for (cseq, body) in
        (2..).zip(["<dialog-info version=\"", "\0\0", "not xml", "<<<<>>>>", "<a version='99999999999'>"])
    {
        bench.notify(cseq, "active", body);
    }
    assert_eq!(bench.log.matches("! Active").count(), 5, "{}", bench.log);
    bench.log.clear();
    let encoded = bench.notify_text(20, "active", "x").replace("Content-Type", "Content-Encoding: gzip\nContent-Type");
    bench.receive(&encoded);
    bench.check(expect![[r#"
        0.0 > 415 to CSeq 20 NOTIFY
        0.0 ! refused with 415
    "#]]);
    assert_eq!(state(&bench, id), "active, last 200");
}

/// QS-15, MI-03, PU-12
#[test]
fn the_api_sees_dialogs_answers_and_numbers() {
    let mut bench = Bench::new();
    let id = established(&mut bench);
    let row = bench.agent.subscription(id).unwrap();
    assert_eq!(row.remote_tag.as_deref(), Some(&b"srv"[..]));
    assert_eq!(bench.agent.dialog(&row.call_id, &row.local_tag).as_ref(), Some(&row));
    assert_eq!(bench.agent.dialog("x", &row.local_tag), None);
    let mut out = Vec::new();
    let record = bench.agent.publish(bench.now, record("one"), &mut out).unwrap();
    bench.take(out);
    let (first, more) = bench.agent.rows(0, 1);
    let (second, end) = bench.agent.rows(more.unwrap(), 1);
    assert_eq!((first, end), (vec![row], None));
    assert_eq!(second[0].usage, Usage::Publication(record));
    let mut out = Vec::new();
    bench.now += SECOND * 33;
    bench.agent.handle(bench.now, Input::Tick, &mut out);
    let answered = |status| Output::Event(Event::Answered { usage: Usage::Publication(record), status });
    assert!(out.contains(&answered(408)), "{out:?}");
    let totals = bench.agent.totals(bench.now);
    assert_eq!((totals.subscriptions_begun, totals.publications_begun, totals.sent), (1, 1, 2));
    assert_eq!((totals.in_flight, totals.waiting), (0, 0));
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let mut bench = Bench::with(|settings| settings.most = 2);
    bench.watch();
    bench.publish("one");
    let mut out = Vec::new();
    let more = Watch { resource: "sip:103@office.example".into(), ..usual() };
    assert_eq!(bench.agent.subscribe(bench.now, more, &mut out), None);
    assert_eq!(bench.agent.publish(bench.now, Record { key: "2".into(), ..record("two") }, &mut out), None);
    assert_eq!(out, []);
}

/// QS-14: who takes documents of several parts takes lists, whose version is that of the part that names the members.
#[test]
fn lists_are_asked_for_and_their_versions_followed() {
    let mut bench = Bench::new();
    let accept = "multipart/related, application/rlmi+xml, application/dialog-info+xml";
    bench.watch_this(Watch { accept: accept.into(), ..usual() });
    assert_eq!(header(&bench.requests[0], "Supported"), "eventlist");
    assert_eq!(header(&bench.requests[0], "Accept"), accept);
    bench.answer(200, "Expires: 600\n");
    bench.log.clear();
    for (cseq, version) in [(1, 0), (2, 1), (3, 3), (4, 2)] {
        let body = format!(
            "--b\r\nContent-ID: <a@x>\r\n\r\n<dialog-info version=\"9\"/>\r\n\
             --b\r\nContent-ID: <l@x>\r\n\r\n<list version=\"{version}\"/>\r\n--b--"
        );
        let kind = "multipart/related;start=\"<l@x>\";boundary=b";
        let head = bench.notify_text(cseq, "active;expires=600", "");
        let head = head.replace("Application/Dialog-Info+XML;charset=utf-8", kind);
        let head = head.replace("Content-Length: 0", &format!("Content-Length: {}", body.len())).replace('\n', "\r\n");
        bench.receive_bytes((head + &body).as_bytes());
    }
    let orders: Vec<_> =
        bench.log.split("multipart/related ").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
    assert_eq!(orders, ["First", "Next", "Gap", "Stale"]);
}

/// QS-07, QS-14: the request that is out may have been sent before what is wanted now: another one follows its answer.
#[test]
fn a_wish_during_a_refresh_is_not_lost() {
    let mut bench = Bench::new();
    let id = established(&mut bench);
    for _ in 0..3 {
        bench.tell(|agent, now, out| agent.retry(now, id, out));
    }
    bench.answer(200, "Expires: 600\n");
    bench.tell(|agent, now, out| agent.renew(now, id, SECOND * 300, out));
    bench.answer(200, "Expires: 600\n");
    bench.answer(200, "Expires: 300\n");
    // So it is before there is anything: the first NOTIFY is waited for.
    let id = bench.watch_this(Watch { resource: "sip:103@office.example".into(), ..usual() });
    bench.tell(|agent, now, out| agent.renew(now, id, SECOND * 900, out));
    bench.answer(200, "Expires: 600\n");
    bench.notify(1, "active", "");
    bench.answer(200, "Expires: 900\n");
    bench.notify(2, "active", "");
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A2 expires=600 in dialog to sip:srv@127.0.0.1:5060
        0.0 ! subscribed for 600s
        0.0 > SUBSCRIBE A3 expires=600 in dialog to sip:srv@127.0.0.1:5060
        0.0 ! subscribed for 300s
        0.0 > SUBSCRIBE A4 expires=300 in dialog to sip:srv@127.0.0.1:5060
        0.0 ! subscribed for 300s
        0.0 > SUBSCRIBE B1 expires=600
        0.0 ! subscribed for 600s
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml Unversioned 
        0.0 > SUBSCRIBE B2 expires=900 in dialog to sip:srv@127.0.0.1:5060
        0.0 ! subscribed for 900s
        0.0 > 200 to CSeq 2 NOTIFY
        0.0 ! Active application/dialog-info+xml Unversioned 
    "#]]);
}

/// A NOTIFY has granted it, its answer is lost, and the lease is shorter than the wait for one.
#[test]
fn a_lease_ends_although_the_answer_is_waited_for() {
    let mut bench = Bench::new();
    let id = bench.watch();
    bench.notify(1, "active;expires=3", "");
    assert_eq!(state(&bench, id), "active, last 0");
    bench.wait(SECOND * 4);
    assert_eq!(state(&bench, id), "retrying, expired, last 0");
    bench.answer(200, "Expires: 600\n");
    bench.notify(1, "active;expires=600", "");
    assert_eq!(state(&bench, id), "active, last 200");
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml Unversioned 
        0.5 > SUBSCRIBE A1 expires=600 (again)
        1.5 > SUBSCRIBE A1 expires=600 (again)
        3.0 ! subscription lost: retrying, expired, again at 3
        3.0 > SUBSCRIBE B1 expires=600
        3.5 > SUBSCRIBE B1 expires=600 (again)
        4.0 ! subscribed for 600s
        4.0 > 200 to CSeq 1 NOTIFY
        4.0 ! Active application/dialog-info+xml Unversioned 
    "#]]);
}
