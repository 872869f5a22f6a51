//! Publications (RFC 3903).

use super::*;
use crate::client::State;

/// PU-01, PU-10: the headers of all four.
#[test]
fn initial_refresh_modify_and_remove_have_the_headers_that_they_need() {
    let mut bench = Bench::new();
    let record = Record {
        publisher: Some("sip:pbx@office.example".into()),
        target: Some("sip:101@127.0.0.1;x=y".into()),
        headers: vec![("X-Tenant".into(), "7".into())],
        ..record("one")
    };
    let id = bench.publish_this(record);
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.tell(|agent, now, out| agent.refresh(now, id, out));
    bench.answer(200, "SIP-ETag: t2\nExpires: 600\n");
    bench.update(id, "two");
    bench.answer(200, "SIP-ETag: t3\nExpires: 600\n");
    bench.tell(|agent, now, out| agent.withdraw(now, id, out));
    let all: Vec<String> =
        bench.requests.iter().map(|one| String::from_utf8_lossy(one).replace("\r\n", "\n")).collect();
    for one in &all {
        assert!(one.starts_with("PUBLISH sip:101@127.0.0.1;x=y SIP/2.0\n"), "{one}");
        for line in
            ["Max-Forwards: 70", "Event: presence", "X-Tenant: 7", "To: <sip:101@office.example>", "User-Agent: Test"]
        {
            assert_eq!(one.lines().filter(|it| *it == line).count(), 1, "{line} in {one}");
        }
        assert!(one.contains("\nFrom: <sip:pbx@office.example>;tag="), "{one}");
        // Even an empty body has a length, or a stream could not be read on.
        assert!(one.contains("\nContent-Length: "), "{one}");
        assert_eq!(
            one.contains("\nContent-Type: application/pidf+xml\n"),
            one.ends_with("one") || one.ends_with("two")
        );
    }
    bench.check(expect![[r#"
        0.0 > PUBLISH A1 expires=600 body=one
        0.0 ! published for 600s
        0.0 > PUBLISH A2 expires=600 if-match=t1
        0.0 ! published for 600s
        0.0 > PUBLISH A3 expires=600 if-match=t2 body=two
        0.0 ! published for 600s
        0.0 > PUBLISH A4 expires=0 if-match=t3
    "#]]);
}

/// PU-02: whatever is updated while a PUBLISH is out, one is in flight, the last state wins, and what the server holds
/// in the end is exactly one publication.
#[test]
fn many_updates_leave_one_publication_with_the_last_state() {
    for forgets in [0, 3, 5] {
        let mut bench = Bench::new();
        let id = bench.publish("one");
        let bodies = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "last"];
        // A server that knows entity-tags: which it holds, and with what.
        let (mut held, mut counter, mut seen) = (BTreeMap::<String, String>::new(), 0, 0);
        for step in 0..bodies.len() + 5 {
            if let Some(body) = bodies.get(step) {
                bench.update(id, body);
                bench.update(id, body);
            }
            assert!(bench.requests.len() - seen <= 1, "two are in flight");
            if step % 2 == 1 || step >= bodies.len() {
                while seen < bench.requests.len() {
                    let text = String::from_utf8_lossy(&bench.requests[seen]).into_owned();
                    let body = text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
                    let names = text.contains("SIP-If-Match").then(|| header(text.as_bytes(), "SIP-If-Match"));
                    seen += 1;
                    if seen == forgets {
                        held.clear();
                    }
                    counter += 1;
                    let status = match names.map(|tag| held.remove(&tag)) {
                        Some(None) => 412,
                        Some(Some(old)) => {
                            held.insert(counter.to_string(), if body.is_empty() { old } else { body });
                            200
                        }
                        None => {
                            held.insert(counter.to_string(), body);
                            200
                        }
                    };
                    bench.answer_to(seen - 1, status, &format!("SIP-ETag: {counter}\nExpires: 600\n"));
                    if status == 412 {
                        break;
                    }
                }
            }
        }
        assert_eq!(held.into_values().collect::<Vec<_>>(), ["last"], "{forgets}");
    }
}

/// PU-08
#[test]
fn versions_rise_with_each_document() {
    let mut bench = Bench::new();
    let versioned = |text: &'static str| Body { bytes: Bytes::from_static(text.as_bytes()), version_at: Some(12) };
    let record = Record { body: versioned("<d version=\"\" a=\"1\"/>"), ..record("") };
    let id = bench.publish_this(record);
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.tell(|agent, now, out| agent.update(now, id, versioned("<d version=\"\" a=\"2\"/>"), out));
    bench.answer(412, "");
    bench.answer(401, "");
    bench.wait(SECOND * 6);
    bench.check(expect![[r#"
        0.0 > PUBLISH A1 expires=600 body=<d version="1" a="1"/>
        0.0 ! published for 600s
        0.0 > PUBLISH A2 expires=600 if-match=t1 body=<d version="2" a="2"/>
        0.0 > PUBLISH A3 expires=600 body=<d version="3" a="2"/>
        0.0 ! publication lost: 401 Unauthorized, again at 4
        4.5 > PUBLISH A4 expires=600 body=<d version="4" a="2"/>
        5.0 > PUBLISH A4 expires=600 body=<d version="4" a="2"/> (again)
        6.0 > PUBLISH A4 expires=600 body=<d version="4" a="2"/> (again)
    "#]]);
}

/// PU-02
#[test]
fn a_fresh_publish_that_is_refused_as_well_is_a_failure_like_others() {
    let mut bench = Bench::new();
    let id = bench.publish("one");
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.update(id, "two");
    bench.answer(412, "");
    bench.answer(412, "");
    let row = bench.agent.publication(id).unwrap();
    assert_eq!((row.state, row.cause, row.entity_tag), (State::Retrying, Some(Cause::Status(412)), None));
    bench.wait(SECOND * 4);
    bench.check(expect![[r#"
        0.0 > PUBLISH A1 expires=600 body=one
        0.0 ! published for 600s
        0.0 > PUBLISH A2 expires=600 if-match=t1 body=two
        0.0 > PUBLISH A3 expires=600 body=two
        0.0 ! publication lost: 412 Conditional Request Failed, again at 4
    "#]]);
}

#[test]
fn redirections_are_followed_for_the_whole_life_of_a_publication() {
    let mut bench = Bench::with(|settings| settings.proxy = None);
    let id = bench.publish_this(Record { resource: "sip:101@127.0.0.1".into(), ..record("one") });
    bench.answer(301, "Contact: <sip:101@127.0.0.9:5070>\n");
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.update(id, "two");
    bench.answer(200, "SIP-ETag: t2\nExpires: 600\n");
    bench.update(id, "three");
    for _ in 0..5 {
        bench.answer(302, "Contact: <sip:101@127.0.0.9:5070>\n");
    }
    bench.answer(302, "Contact: <sip:101@127.0.0.9:5070>\n");
    assert_eq!(bench.agent.publication(id).unwrap().cause, Some(Cause::Status(302)));
    bench.log.truncate(bench.log.find("A4").map_or(0, |at| at - 10));
    bench.check(expect![[r#"
        0.0 > PUBLISH A1 expires=600 body=one
        0.0 [UDP 127.0.0.9:5070] > PUBLISH A2 expires=600 body=one
        0.0 ! published for 600s
        0.0 [UDP 127.0.0.9:5070] > PUBLISH A3 expires=600 if-match=t1 body=two
        0.0 ! published for 600s
        0.0 [UDP 127.0.0.9:5070] "#]]);
}

#[test]
fn a_removal_that_fails_is_tried_again_while_the_server_holds_it() {
    let mut bench = Bench::new();
    let id = bench.publish("one");
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.tell(|agent, now, out| agent.withdraw(now, id, out));
    bench.answer(500, "");
    bench.wait(SECOND * 12);
    bench.answer(200, "Expires: 0\n");
    bench.check(expect![[r#"
        0.0 > PUBLISH A1 expires=600 body=one
        0.0 ! published for 600s
        0.0 > PUBLISH A2 expires=0 if-match=t1
        8.9 > PUBLISH A3 expires=0 if-match=t1
        9.4 > PUBLISH A3 expires=0 if-match=t1 (again)
        10.4 > PUBLISH A3 expires=0 if-match=t1 (again)
        12.0 ! withdrawn
    "#]]);
    assert!(bench.agent.is_idle());
    let id = bench.publish("two");
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.tell(|agent, now, out| agent.withdraw(now, id, out));
    bench.wait(SECOND * 600);
    assert!(bench.agent.is_idle(), "{}", bench.log);
}

/// PU-01: publishing the same record again is an update of it, whoever says so.
#[test]
fn a_record_is_published_once() {
    let mut bench = Bench::new();
    let id = bench.publish("one");
    assert_eq!(bench.publish("one"), id);
    assert_eq!(bench.publish("two"), id);
    bench.answer(200, "SIP-ETag: t1\nExpires: 600\n");
    bench.answer(200, "SIP-ETag: t2\nExpires: 600\n");
    assert_ne!(bench.publish_this(Record { key: "other".into(), ..record("two") }), id);
    bench.check(expect![[r#"
        0.0 > PUBLISH A1 expires=600 body=one
        0.0 ! published for 600s
        0.0 > PUBLISH A2 expires=600 if-match=t1 body=two
        0.0 ! published for 600s
        0.0 > PUBLISH B1 expires=600 body=two
    "#]]);
}
