//! Where requests go, and what happens when nobody is there (RFC 3263, RFC 3261 section 8.1.3.1).

use super::*;

fn target(transport: Transport, address: &str) -> Target {
    Target { transport, address: address.parse().unwrap() }
}

fn named() -> Bench {
    Bench::with(|settings| {
        settings.proxy = Some("sip:edge.example;lr".into());
        let tcp = Local { transport: Transport::Tcp, listener: 1, ..settings.locals[0].clone() };
        settings.locals.push(tcp);
    })
}

fn resolve(bench: &mut Bench, query: u64, targets: &[Target]) {
    bench.tell(|agent, now, out| agent.handle(now, Input::Resolved { query, targets, ttl: SECOND * 300 }, out));
}

fn three() -> [Target; 3] {
    [
        target(Transport::Tcp, "127.0.0.2:5060"),
        target(Transport::Udp, "[::1]:5060"),
        target(Transport::Udp, "127.0.0.3:5060"),
    ]
}

#[test]
fn a_name_is_asked_for_once_and_remembered() {
    let mut bench = named();
    bench.watch();
    bench.publish("one");
    resolve(&mut bench, 1, &[target(Transport::Udp, "127.0.0.3:5060")]);
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.answer_to(0, 200, "Expires: 600\n");
    bench.notify(1, "active", "");
    bench.watch_this(Watch { resource: "sip:103@office.example".into(), ..usual() });
    // After its time it is asked for again.
    bench.wait(SECOND * 301);
    bench.watch_this(Watch { resource: "sip:104@office.example".into(), ..usual() });
    assert_eq!(bench.log.matches("? ").count(), 2, "{}", bench.log);
    // A resolver that never answers is one that knows nothing.
    bench.log.clear();
    bench.wait(SECOND * 33);
    bench.check(expect![[r#"
        304.0 [UDP 127.0.0.3:5060] > SUBSCRIBE F1 expires=600 (again)
        308.0 [UDP 127.0.0.3:5060] > SUBSCRIBE F1 expires=600 (again)
        312.0 [UDP 127.0.0.3:5060] > SUBSCRIBE F1 expires=600 (again)
        316.0 [UDP 127.0.0.3:5060] > SUBSCRIBE F1 expires=600 (again)
        320.0 [UDP 127.0.0.3:5060] > SUBSCRIBE F1 expires=600 (again)
        320.5 ! subscription lost: retrying, no answer, again at 429
        333.0 ! subscription lost: retrying, unreachable, again at 456
        333.0 ! subscription lost: retrying, unreachable, again at 456
    "#]]);
}

#[test]
fn a_name_that_does_not_resolve_is_an_exact_state() {
    let mut bench = named();
    let id = bench.watch();
    resolve(&mut bench, 1, &[]);
    let row = bench.agent.subscription(id).unwrap();
    assert_eq!((row.state.name(), row.cause, row.last_status), ("retrying", Some(Cause::Unreachable), 503));
    // Only targets that none of our doors reaches are no targets.
    let id = bench.watch_this(Watch { proxy: Some("sip:six.example".into()), event: "presence".into(), ..usual() });
    resolve(&mut bench, 2, &[target(Transport::Udp, "[::1]:5060")]);
    assert_eq!(bench.agent.subscription(id).unwrap().cause, Some(Cause::Unreachable));
    // So are URIs that we cannot follow.
    let id = bench.watch_this(Watch { proxy: Some("sips:six.example".into()), event: "reg".into(), ..usual() });
    assert_eq!(bench.agent.subscription(id).unwrap().cause, Some(Cause::Unreachable));
}

#[test]
fn a_refused_connection_and_then_silence_lead_to_the_next_server() {
    let mut bench = named();
    let id = bench.watch();
    resolve(&mut bench, 1, &three());
    let refused = Flow { transport: Transport::Tcp, ..Flow::udp(1, "127.0.0.2:5060".parse().unwrap()) };
    bench.tell(|agent, now, out| agent.handle(now, Input::Closed(refused), out));
    // The request is the same, in a transaction of its own.
    let [first, second] = [0, 1].map(|at| bench.requests[at].clone());
    assert_eq!(header(&first, "CSeq"), header(&second, "CSeq"));
    assert!(header(&first, "Via").starts_with("SIP/2.0/TCP") && header(&second, "Via").starts_with("SIP/2.0/UDP"));
    bench.wait(SECOND * 33);
    let totals = bench.agent.totals(bench.now);
    assert_eq!((totals.failed_over, totals.shunned.len()), (1, 2));
    let row = bench.agent.subscription(id).unwrap();
    assert_eq!((row.state.name(), row.cause), ("retrying", Some(Cause::Timeout)));
    // Others are not sent while nobody can be expected to answer, and say so.
    let other = bench.watch_this(Watch { resource: "sip:103@office.example".into(), ..usual() });
    assert_eq!(bench.agent.subscription(other).unwrap().cause, Some(Cause::Shunned(408)));
    bench.check(expect![[r#"
        0.0 ? 1 edge.example
        0.0 [TCP 127.0.0.2:5060] > SUBSCRIBE A1 expires=600
        0.0 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600
        0.5 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600 (again)
        1.5 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600 (again)
        3.5 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600 (again)
        7.5 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600 (again)
        11.5 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600 (again)
        15.5 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600 (again)
        19.5 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600 (again)
        23.5 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600 (again)
        27.5 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600 (again)
        31.5 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600 (again)
        32.0 ! subscription lost: retrying, no answer, again at 149
        33.0 ! subscription lost: retrying, the server is silent, again at 142
    "#]]);
    // After a minute they are worth another try.
    bench.wait(SECOND * 61);
    bench.watch_this(Watch { resource: "sip:104@office.example".into(), ..usual() });
    assert!(bench.log.contains("[TCP 127.0.0.2:5060] > SUBSCRIBE"), "{}", bench.log);
}

#[test]
fn a_server_that_asks_for_patience_gets_it_and_the_next_one_the_request() {
    let mut bench = named();
    bench.publish("one");
    resolve(&mut bench, 1, &three());
    bench.answer(503, "Retry-After: 100\n");
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.publish_this(Record { key: "2".into(), ..record("two") });
    bench.answer(503, "");
    bench.check(expect![[r#"
        0.0 ? 1 edge.example
        0.0 [TCP 127.0.0.2:5060] > PUBLISH A1 expires=600 body=one
        0.0 [UDP 127.0.0.3:5060] > PUBLISH A1 expires=600 body=one
        0.0 ! published for 600s
        0.0 [UDP 127.0.0.3:5060] > PUBLISH B1 expires=600 body=two
        0.0 ! publication lost: 503 Service Unavailable, again at 4
    "#]]);
    // Without Retry-After it is one request's failure, and no reason to leave the server alone.
    bench.publish_this(Record { key: "3".into(), ..record("three") });
    assert!(bench.log.contains("[UDP 127.0.0.3:5060] > PUBLISH"), "{}", bench.log);
}

/// Datagrams that go in vain (RFC 3263 section 4.3): whoever has another server goes there, the others wait for this one.
#[test]
fn a_refused_datagram_leads_to_the_next_server_if_there_is_one() {
    let mut bench = named();
    bench.watch();
    resolve(&mut bench, 1, &[target(Transport::Udp, "127.0.0.2:5060"), target(Transport::Udp, "127.0.0.3:5060")]);
    let alone = bench.watch_this(Watch { proxy: Some("sip:127.0.0.2".into()), event: "presence".into(), ..usual() });
    let refused = Flow::udp(0, "127.0.0.2:5060".parse().unwrap());
    for _ in 0..2 {
        bench.tell(|agent, now, out| agent.handle(now, Input::Closed(refused), out));
    }
    assert_eq!(bench.agent.totals(bench.now).failed_over, 1);
    bench.wait(SECOND);
    assert_eq!(bench.agent.subscription(alone).unwrap().state.name(), "pending");
    // What comes later does not try there first while it is known to be dead.
    bench.watch_this(Watch { resource: "sip:103@office.example".into(), ..usual() });
    bench.check(expect![[r#"
        0.0 ? 1 edge.example
        0.0 [UDP 127.0.0.2:5060] > SUBSCRIBE A1 expires=600
        0.0 [UDP 127.0.0.2:5060] > SUBSCRIBE B1 expires=600
        0.0 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600
        0.5 [UDP 127.0.0.2:5060] > SUBSCRIBE B1 expires=600 (again)
        0.5 [UDP 127.0.0.3:5060] > SUBSCRIBE A1 expires=600 (again)
        1.0 [UDP 127.0.0.3:5060] > SUBSCRIBE C1 expires=600
    "#]]);
    // A word from there, and it is one like the others again.
    bench.answer_to(1, 200, "Expires: 600\n");
    bench.watch_this(Watch { resource: "sip:104@office.example".into(), ..usual() });
    assert!(bench.log.contains("[UDP 127.0.0.2:5060] > SUBSCRIBE"), "{}", bench.log);
}

/// A server that ignores one request and answers others is not silent.
#[test]
fn who_answers_others_is_not_left_alone() {
    let mut bench = Bench::new();
    bench.watch();
    bench.wait(SECOND * 20);
    bench.publish("one");
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.wait(SECOND * 13);
    assert_eq!(bench.agent.totals(bench.now).shunned, []);
    bench.publish_this(Record { key: "2".into(), ..record("two") });
    assert!(bench.log.ends_with("> PUBLISH C1 expires=600 body=two\n"), "{}", bench.log);
}

#[test]
fn a_stream_that_ends_under_a_request_is_replaced_once() {
    let mut bench = named();
    bench.publish("one");
    resolve(&mut bench, 1, &[target(Transport::Tcp, "127.0.0.2:5060")]);
    let flow = Flow { transport: Transport::Tcp, connection: 7, ..Flow::udp(1, "127.0.0.2:5060".parse().unwrap()) };
    bench.tell(|agent, now, out| agent.handle(now, Input::Closed(flow), out));
    bench.tell(|agent, now, out| agent.handle(now, Input::Closed(flow), out));
    bench.check(expect![[r#"
        0.0 ? 1 edge.example
        0.0 [TCP 127.0.0.2:5060] > PUBLISH A1 expires=600 body=one
        0.0 [TCP 127.0.0.2:5060] > PUBLISH A1 expires=600 body=one
        0.0 ! publication lost: unreachable, again at 4
    "#]]);
}

/// PU-07, QS-10
#[test]
fn routes_proxies_and_headers_of_the_user_are_on_the_wire() {
    let mut bench = Bench::with(|settings| {
        settings.proxies.insert("presence".into(), "sip:127.0.0.20".into());
    });
    let watch = Watch {
        target: Some("sip:list@127.0.0.1".into()),
        contact: Some("sip:us@192.0.2.1".into()),
        routes: vec!["<sip:127.0.0.30;lr>".into()],
        headers: vec![("X-Tenant".into(), "7".into())],
        ..usual()
    };
    bench.watch_this(watch.clone());
    let first = bench.requests[0].clone();
    assert!(first.starts_with(b"SUBSCRIBE sip:list@127.0.0.1 SIP/2.0\r\n"), "{first:?}");
    assert_eq!(header(&first, "Route"), "<sip:127.0.0.30;lr>");
    assert_eq!((&*header(&first, "Contact"), &*header(&first, "X-Tenant")), ("<sip:us@192.0.2.1>", "7"));
    bench.watch_this(Watch { event: "presence".into(), ..watch.clone() });
    bench.watch_this(Watch { event: "presence;id=2".into(), proxy: Some("sip:127.0.0.10".into()), ..watch });
    bench.publish_this(Record { proxy: Some("sip:127.0.0.10;transport=udp".into()), ..record("x") });
    bench.publish_this(Record { key: "k".into(), ..record("x") });
    bench.publish_this(Record { event: "dialog".into(), ..record("x") });
    bench.check(expect![[r#"
        0.0 > SUBSCRIBE A1 expires=600 route=<sip:127.0.0.30;lr>
        0.0 [UDP 127.0.0.20:5060] > SUBSCRIBE B1 expires=600 route=<sip:127.0.0.30;lr>
        0.0 [UDP 127.0.0.10:5060] > SUBSCRIBE C1 expires=600 route=<sip:127.0.0.30;lr>
        0.0 [UDP 127.0.0.10:5060] > PUBLISH D1 expires=600 body=x
        0.0 [UDP 127.0.0.20:5060] > PUBLISH E1 expires=600 body=x
        0.0 > PUBLISH F1 expires=600 body=x
    "#]]);
    // Without a proxy the route that the user gave leads the way, and then the dialog's own.
    let mut bench = Bench::with(|settings| settings.proxy = None);
    bench.watch_this(Watch { routes: vec!["<sip:127.0.0.30;lr>".into()], ..usual() });
    bench.answer(200, "Expires: 600\nContact: <sip:srv@127.0.0.40>\nRecord-Route: <sip:127.0.0.50;lr>\n");
    bench.notify(1, "active", "");
    bench.wait(SECOND * 536 + SECOND / 10);
    bench.check(expect![[r#"
        0.0 [UDP 127.0.0.30:5060] > SUBSCRIBE A1 expires=600 route=<sip:127.0.0.30;lr>
        0.0 ! subscribed for 600s
        0.0 > 200 to CSeq 1 NOTIFY
        0.0 ! Active application/dialog-info+xml Unversioned 
        536.0 [UDP 127.0.0.50:5060] > SUBSCRIBE A2 expires=600 route=<sip:127.0.0.50;lr> in dialog to sip:srv@127.0.0.1:5060
    "#]]);
}

/// A slow server is owed patience, not memory: so many requests are out, the others wait their turn.
#[test]
fn requests_wait_for_a_server_that_owes_too_many_answers() {
    let mut bench = Bench::with(|settings| settings.pace.in_flight = 10);
    for number in 0..1000 {
        bench.publish_this(Record { key: number.to_string().into(), ..record("x") });
    }
    assert_eq!(bench.requests.len(), 10);
    let totals = bench.agent.totals(bench.now);
    assert_eq!((totals.in_flight, totals.waiting), (10, 990));
    for request in 0..1000 {
        bench.answer_to(request, 200, "SIP-ETag: t\nExpires: 600\n");
        let expected = (11 + request).min(1000);
        assert_eq!(bench.requests.len(), expected);
    }
    assert_eq!(bench.log.matches("! published").count(), 1000);
    let totals = bench.agent.totals(bench.now);
    assert_eq!((totals.in_flight, totals.waiting), (0, 0));
}

/// A dead server: every record says so in the end, and all come back by themselves when it does.
#[test]
fn a_dead_server_is_noticed_once_and_all_recover_without_help() {
    let mut bench = Bench::with(|settings| settings.pace.in_flight = 10);
    let ids: Vec<_> = (0..1000)
        .map(|number| bench.watch_this(Watch { resource: format!("sip:{number}@office.example").into(), ..usual() }))
        .collect();
    bench.wait(SECOND * 40);
    for id in &ids {
        let row = bench.agent.subscription(*id).unwrap();
        assert!(matches!(row.cause, Some(Cause::Timeout | Cause::Shunned(408))) && row.last_status == 408, "{row:?}");
    }
    assert_eq!(bench.agent.totals(bench.now).sent, 10);
    // It is back. Within a few minutes everything is granted.
    bench.log.clear();
    let mut done = bench.requests.len();
    for _ in 0..600 {
        bench.wait(SECOND);
        while done < bench.requests.len() {
            done += 1;
            bench.answer_to(done - 1, 200, "Expires: 3600\nContact: <sip:srv@127.0.0.1:5060>\n");
            let request = bench.requests[done - 1].clone();
            bench.requests.push(request);
            bench.notify(1, "active", "");
            bench.requests.pop();
        }
    }
    for id in &ids {
        assert_eq!(bench.agent.subscription(*id).unwrap().state.name(), "active");
    }
}

#[test]
fn what_has_not_been_sent_ends_without_a_word() {
    let mut bench = named();
    let (watch, publication) = (bench.watch(), bench.publish("one"));
    bench.tell(|agent, now, out| agent.unsubscribe(now, watch, out));
    bench.tell(|agent, now, out| agent.withdraw(now, publication, out));
    resolve(&mut bench, 1, &three());
    assert!(bench.agent.is_idle());
    bench.check(expect![[r#"
        0.0 ? 1 edge.example
        0.0 ! unsubscribed
        0.0 ! withdrawn
    "#]]);
}

/// Whoever asks by hand knows more than the silence of before; what a server has asked for holds.
#[test]
fn silence_is_forgiven_and_retry_after_is_not() {
    let mut bench = Bench::new();
    let id = bench.watch();
    bench.wait(SECOND * 33);
    assert_eq!(bench.agent.subscription(id).unwrap().cause, Some(Cause::Timeout));
    let by_hand = |bench: &mut Bench| {
        bench.tell(|agent, now, out| {
            agent.forgive(now, Usage::Subscription(id));
            agent.retry(now, id, out);
        });
    };
    bench.tell(|agent, now, out| agent.retry(now, id, out));
    assert_eq!(bench.agent.subscription(id).unwrap().cause, Some(Cause::Shunned(408)));
    by_hand(&mut bench);
    assert_eq!(bench.requests.len(), 2);
    bench.answer(503, "Retry-After: 50\n");
    by_hand(&mut bench);
    assert_eq!(bench.agent.subscription(id).unwrap().cause, Some(Cause::Shunned(503)));
    assert_eq!(bench.requests.len(), 2);
    // Publications are no other.
    let mut bench = Bench::new();
    let publication = bench.publish("one");
    bench.wait(SECOND * 33);
    bench.tell(|agent, now, out| agent.refresh(now, publication, out));
    assert_eq!(bench.agent.publication(publication).unwrap().cause, Some(Cause::Shunned(408)));
    bench.tell(|agent, now, out| {
        agent.forgive(now, Usage::Publication(publication));
        agent.refresh(now, publication, out);
    });
    assert_eq!(bench.requests.len(), 2);
    // A name is looked up again if it is not known any more.
    let mut bench = named();
    let id = bench.watch();
    resolve(&mut bench, 1, &[target(Transport::Udp, "127.0.0.3:5060")]);
    bench.wait(SECOND * 33);
    bench.tell(|agent, now, out| {
        agent.forgive(now, Usage::Subscription(id));
        agent.retry(now, id, out);
    });
    assert_eq!(bench.requests.len(), 2);
}
