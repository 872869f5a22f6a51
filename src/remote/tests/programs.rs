//! What programs have published elsewhere, and what is counted.

use super::*;
use bytes::Bytes;
use lamplighter_model::remote::RemotePublication;
use lamplighter_model::{RemoteContent, RemoteRecord};

fn text(body: &'static str) -> RemoteContent {
    RemoteContent::Document { content_type: "text/x-shop".into(), body: Bytes::from_static(body.as_bytes()) }
}

fn record(id: Option<&str>, content: RemoteContent) -> RemoteRecord {
    RemoteRecord {
        resource: OURS.into(),
        publisher: Some("sip:crm@example.com".into()),
        package: packages().find(b"dialog").unwrap(),
        id: id.map(Into::into),
        content,
        target: Some("sip:desk@example.net".into()),
        outbound_proxy: Some(format!("sip:{THEM}").into()),
        headers: vec![("X-Why".into(), "because".into())],
        expires: Some(SECOND * 900),
        owner: "crm".into(),
    }
}

fn row(answer: RemoteAnswer) -> RemotePublication {
    match answer {
        RemoteAnswer::Publication(row, _) => *row,
        other => panic!("{other:?}"),
    }
}

impl Bench {
    fn export(&mut self, record: RemoteRecord) -> RemotePublication {
        row(self.command(RemoteCommand::Publish(Box::new(record))))
    }

    fn exported(&mut self, number: u64) -> RemotePublication {
        row(self.command(RemoteCommand::Publication(number)))
    }
}

/// PU-10, PU-12: publish, modify, refresh and remove, each with its final answer to be read.
#[test]
fn a_document_of_a_program_is_published() {
    let mut bench = Bench::new(|_| {});
    let number = bench.export(record(None, text("one"))).number.unwrap();
    let first = bench.answer("200 OK", "SIP-ETag: a\r\nExpires: 900\r\n");
    assert!(first.starts_with("PUBLISH sip:desk@example.net SIP/2.0\r\n") && first.ends_with("\r\n\r\none"), "{first}");
    for (name, value) in
        [("Event", "dialog"), ("Content-Type", "text/x-shop"), ("X-Why", "because"), ("Expires", "900")]
    {
        assert_eq!(header(&first, name), value);
    }
    assert!(header(&first, "From").starts_with("<sip:crm@example.com>") && header(&first, "To").contains(OURS));
    let active = bench.exported(number);
    assert_eq!((active.state, active.status, active.entity_tag.as_deref()), ("active", 200, Some(&b"a"[..])));

    // Without anything new it is a refresh, with something a modification.
    let modify = |content, expires| RemoteCommand::Modify { number, content, expires };
    bench.command(modify(None, None));
    let refresh = bench.answer("200 OK", "SIP-ETag: b\r\nExpires: 900\r\n");
    assert_eq!((header(&refresh, "SIP-If-Match"), header(&refresh, "Content-Length")), ("a", "0"));
    bench.command(modify(Some(text("two")), Some(SECOND * 300)));
    let changed = bench.answer("489 Bad Event", "");
    assert!(changed.ends_with("\r\n\r\ntwo"), "{changed}");
    assert_eq!((header(&changed, "SIP-If-Match"), header(&changed, "Expires")), ("b", "300"));
    let failed = bench.exported(number);
    assert_eq!((failed.state, failed.status, failed.reason.as_deref()), ("retrying", 489, Some("489 Bad Event")));
    assert!(failed.next.is_some());
    bench.command(modify(None, None));
    assert!(
        bench.answer("200 OK", "SIP-ETag: c\r\nExpires: 300\r\n").ends_with("two"),
        "what was not taken is said again"
    );

    bench.command(RemoteCommand::Withdraw(number));
    let last = bench.answer("200 OK", "Expires: 0\r\n");
    assert_eq!((header(&last, "SIP-If-Match"), header(&last, "Expires")), ("c", "0"));
    let gone = bench.exported(number);
    assert_eq!((gone.state, gone.status, gone.sent), ("terminated", 200, 5));
    bench.pass(SECOND * 61);
    assert_eq!(bench.command(RemoteCommand::Publication(number)), RemoteAnswer::Unknown);
    assert_eq!(bench.remote.own_bytes, 0);
}

/// PU-08, PU-10: a state in JSON goes out in the package's format, with a version that rises.
#[test]
fn a_state_is_rendered() {
    let mut bench = Bench::new(|_| {});
    let state = |call: &str| {
        let json = format!("{{\"calls\":[{{\"id\":\"a\",\"state\":\"{call}\"}}]}}");
        RemoteContent::State(json.into_bytes().into())
    };
    let number = bench.export(record(None, state("early"))).number.unwrap();
    let first = bench.answer("200 OK", "SIP-ETag: a\r\nExpires: 900\r\n");
    assert_eq!(header(&first, "Content-Type"), "application/dialog-info+xml");
    assert!(first.contains("version=\"1\"") && first.contains("early"), "{first}");
    bench.command(RemoteCommand::Modify { number, content: Some(state("confirmed")), expires: None });
    let second = bench.answer("200 OK", "SIP-ETag: b\r\nExpires: 900\r\n");
    assert!(second.contains("version=\"2\"") && second.contains("confirmed"), "{second}");
    let bad = RemoteContent::State(Bytes::from_static(b"{\"calls\":7}"));
    let answer = bench.command(RemoteCommand::Modify { number, content: Some(bad), expires: None });
    assert!(matches!(answer, RemoteAnswer::BadBody(_)), "{answer:?}");
}

/// PU-04, PU-10: the same id is the same publication, in this life of the gateway and the next.
#[test]
fn an_id_names_a_publication() {
    let mut bench = Bench::new(|_| {});
    let first = bench.export(record(Some("desk"), text("one")));
    bench.answer("200 OK", "SIP-ETag: a\r\nExpires: 900\r\n");
    let again = bench.command(RemoteCommand::Publish(Box::new(record(Some("desk"), text("two")))));
    let RemoteAnswer::Publication(again, false) = again else { panic!("{again:?}") };
    assert_eq!(again.number, first.number);
    assert_eq!(header(&bench.answer("200 OK", "SIP-ETag: b\r\nExpires: 900\r\n"), "SIP-If-Match"), "a");
    let other = RemoteRecord { owner: "other".into(), ..record(Some("desk"), text("three")) };
    assert_ne!(bench.export(other).number, first.number, "another owner's is another one");

    let mut next = Bench::new(|_| {});
    next.now = START + SECOND * 10;
    for saved in bench.saved.into_values() {
        assert!(next.remote.restore(next.now, saved));
    }
    next.remote.resume(next.now);
    next.export(record(Some("desk"), text("four")));
    // The other owner's, which nobody had answered, is said again as well.
    next.sent.retain(|sent| sent.contains("SIP-If-Match"));
    assert_eq!(header(&next.answer("200 OK", "SIP-ETag: c\r\nExpires: 900\r\n"), "SIP-If-Match"), "b");
}

#[test]
fn documents_are_looked_at_and_bounded() {
    let mut bench = Bench::new(|settings| settings.most = 2);
    type Change = fn(&mut RemoteRecord);
    let cases: [(Change, &str); 7] = [
        (|one| one.resource = "sip:example.com".into(), "resource"),
        (|one| one.publisher = Some("tel:7".into()), "publisher"),
        (|one| one.id = Some("a b".into()), "id"),
        (|one| one.headers = vec![("SIP-If-Match".into(), "x".into())], "headers"),
        (|one| one.outbound_proxy = Some("example".into()), "outbound_proxy"),
        (|one| one.content = text(""), "body"),
        (
            |one| {
                one.content = RemoteContent::Document { content_type: "a/b\r\nX: y".into(), body: "x".into() };
            },
            "content_type",
        ),
    ];
    for (change, what) in cases {
        let mut bad = record(None, text("x"));
        change(&mut bad);
        assert_eq!(bench.command(RemoteCommand::Publish(Box::new(bad))), RemoteAnswer::Invalid(what));
    }
    bench.export(record(None, text("x")));
    bench.export(record(None, text("x")));
    let more = RemoteCommand::Publish(Box::new(record(None, text("x"))));
    assert_eq!(bench.command(more), RemoteAnswer::Full);
    let RemoteAnswer::Publications(rows, Some(next)) = bench.command(RemoteCommand::Publications { from: 0, most: 1 })
    else {
        panic!("a page");
    };
    let RemoteAnswer::Publications(rest, None) = bench.command(RemoteCommand::Publications { from: next, most: 9 })
    else {
        panic!("the last page");
    };
    assert_eq!((rows[0].number, rest[0].number, rest.len()), (Some(1), Some(2), 1));
}

/// PU-11: another lease is asked for at once, by everybody who shares the dialog.
#[test]
fn a_lease_is_changed() {
    let mut bench = Bench::new(|_| {});
    let (id, _) = bench.active(wish(Some("sip:crm@example.com")));
    bench.command(RemoteCommand::Renew { id, expires: SECOND * 120 });
    let renewed = bench.answer("200 OK", "Expires: 120\r\n");
    assert_eq!(header(&renewed, "Expires"), "120");
    assert!(header(&renewed, "To").contains("tag=them"), "in the same dialog: {renewed}");
    assert_eq!(bench.row(id).until, Some(bench.now + SECOND * 120));
    assert_eq!(bench.command(RemoteCommand::Renew { id: 99, expires: SECOND }), RemoteAnswer::Unknown);
}

/// QS-15
#[test]
fn everything_is_counted() {
    let mut bench = Bench::new(|_| {});
    let (id, request) = bench.active(wish(Some("sip:crm@example.com")));
    bench.export(record(None, text("one")));
    bench.answer("403 Forbidden", "");
    // A NOTIFY of a dialog that is none of ours.
    bench.notify(&request.replace("Call-ID: ", "Call-ID: x"), 9, "active", "");
    bench.export(record(None, text("two")));
    bench.pass(SECOND * 33);
    let RemoteAnswer::Totals(totals) = bench.command(RemoteCommand::Totals) else { panic!("numbers") };
    let of = |name: &str| totals.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{name}")).value;
    for (name, value) in [
        ("remote_wishes", 1),
        ("remote_documents", 2),
        ("remote_subscriptions{state=\"active\"}", 1),
        ("remote_dialogs", 1),
        ("remote_publications{state=\"retrying\"}", 2),
        ("remote_subscriptions_begun_total", 1),
        ("remote_publications_begun_total", 2),
        ("remote_requests_sent_total{method=\"SUBSCRIBE\"}", 1),
        ("remote_answers_total{class=\"2xx\"}", 1),
        ("remote_timeouts_total", 1),
        ("remote_notify_accepted_total", 1),
        ("remote_notify_refused_total{status=\"481\"}", 1),
    ] {
        assert_eq!(of(name), value, "{name}: {totals:#?}");
    }
    assert!(of("remote_requests_resent_total") >= 5 && of("remote_answers_total{class=\"4xx\"}") >= 1);
    bench.command(RemoteCommand::Remove(id));
    bench.pass(SECOND * 3600);
    let RemoteAnswer::Totals(totals) = bench.command(RemoteCommand::Totals) else { panic!("numbers") };
    let ended = totals.iter().find(|one| one.name == "remote_subscriptions_ended_total").unwrap();
    assert_eq!(ended.value, 1);
}

/// PU-04, PU-10: what a program publishes goes on after a restart by itself, under its number, by the tag that the other
/// server has given; and what it has removed does not come back.
#[test]
fn what_programs_publish_outlives_a_restart() {
    let mut bench = Bench::new(|_| {});
    let number = bench.export(record(None, text("one"))).number.unwrap();
    bench.answer("200 OK", "SIP-ETag: a\r\nExpires: 900\r\n");
    let gone = bench.export(record(None, text("two"))).number.unwrap();
    bench.answer("200 OK", "SIP-ETag: b\r\nExpires: 900\r\n");
    bench.command(RemoteCommand::Withdraw(gone));
    bench.answer("200 OK", "SIP-ETag: c\r\nExpires: 0\r\n");
    bench.command(RemoteCommand::Modify { number, content: Some(text("three")), expires: Some(SECOND * 600) });
    bench.answer("200 OK", "SIP-ETag: d\r\nExpires: 600\r\n");

    let mut next = Bench::new(|_| {});
    next.now = START + SECOND * 10;
    for (key, saved) in bench.saved {
        next.saved.insert(key, saved.clone());
        assert!(next.remote.restore(next.now, saved));
    }
    next.remote.resume(next.now);
    let there = next.exported(number);
    assert_eq!((there.state, there.entity_tag.as_deref()), ("active", Some(&b"d"[..])));
    assert_eq!(next.command(RemoteCommand::Publication(gone)), RemoteAnswer::Unknown);
    assert_ne!(next.export(record(None, text("four"))).number, Some(number));
    next.sent.clear();
    next.command(RemoteCommand::Modify { number, content: Some(text("five")), expires: None });
    let changed = next.answer("200 OK", "SIP-ETag: e\r\nExpires: 600\r\n");
    assert!(changed.contains("five"), "{changed}");
    assert_eq!((header(&changed, "SIP-If-Match"), header(&changed, "Expires")), ("d", "600"));
}

/// QS-01, PU-04: so does what a program watches, in its dialog; what belongs to a listener does not.
#[test]
fn what_programs_watch_outlives_a_restart() {
    let mut bench = Bench::new(|_| {});
    let kept = RemoteWish {
        headers: vec![("X-Why".into(), "because".into())],
        expires: Some(SECOND * 900),
        ..wish(Some("sip:crm@office.example"))
    };
    let number = bench.subscribe(kept.clone());
    let subscribe = bench.answer("200 OK", "Expires: 900\r\n");
    let heard = RemoteCommand::Subscribe(Box::new(wish(Some("sip:other@office.example"))));
    bench.command(RemoteCommand::For { listener: 7, command: Box::new(heard) });
    bench.answer("200 OK", "Expires: 900\r\n");
    let ended = bench.subscribe(kept.clone());
    bench.command(RemoteCommand::Remove(ended));

    let mut next = Bench::new(|_| {});
    next.now = START + SECOND * 10;
    for saved in bench.saved.into_values() {
        assert!(next.remote.restore(next.now, saved));
    }
    next.remote.resume(next.now);
    let row = next.row(number);
    assert_eq!((&row.wish, &*row.call_id, row.shared), (&kept, header(&subscribe, "Call-ID"), 1));
    let RemoteAnswer::Subscriptions(all, None) = next.command(RemoteCommand::List { from: 0, most: 9 }) else {
        panic!("there are few")
    };
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(next.subscribe(kept) > number, "numbers are not given twice");
    // Nonsense in the store is dropped, whatever it says.
    for length in 0..40 {
        let bytes = vec![1; length].into();
        let nonsense = Record::Standing { key: u32::MAX, until: Time::NEVER, bytes };
        assert!(!Bench::new(|_| {}).remote.restore(START, nonsense));
    }
}

/// PU-04: a stop waits for the answers to what is out, so that the next start knows the newest entity-tag. What is not
/// out stays for then.
#[test]
fn a_stop_waits_for_answers() {
    let mut bench = Bench::new(|_| {});
    let number = bench.export(record(None, text("one"))).number.unwrap();
    bench.answer("200 OK", "SIP-ETag: first\r\nExpires: 900\r\n");
    for content in [text("two"), text("three")] {
        bench.command(RemoteCommand::Modify { number, content: Some(content), expires: None });
    }
    let modified = bench.sent.pop_front().expect("a request");
    assert!(modified.ends_with("two") && bench.sent.is_empty(), "{modified}");
    bench.handle(Input::Stop);
    assert!(!bench.remote.is_through());
    bench.sent.push_back(modified);
    bench.answer("200 OK", "SIP-ETag: second\r\nExpires: 900\r\n");
    assert!(bench.remote.is_through() && bench.sent.is_empty());

    let mut again = Bench::new(|_| {});
    for record in bench.saved.into_values() {
        assert!(again.remote.restore(again.now, record));
    }
    again.remote.resume(again.now);
    again.handle(Input::Tick);
    let modified = again.answer("200 OK", "SIP-ETag: third\r\nExpires: 900\r\n");
    assert_eq!((header(&modified, "SIP-If-Match"), modified.ends_with("three")), ("second", true), "{modified}");
}
