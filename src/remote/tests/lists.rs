//! Lists (RFC 4662): members in the bus, at the API, and gone again.

use super::*;
use crate::members::MOST_MEMBERS;
use bytes::Bytes;
use lamplighter_model::remote::RemoteList;

const EVERYONE: &str = "sip:everyone@pbx.example";
const NAME: &str = "remote:everyone@pbx.example by 192.0.2.9:5060";

fn list(subscriber: Option<&str>) -> RemoteWish {
    RemoteWish { resource: EVERYONE.into(), list: true, ..wish(subscriber) }
}

fn call(state: &str) -> String {
    document(0, "full", &[("a", state)])
}

/// A resource with instances: id, state and perhaps a Content-ID.
fn named(uri: &str, instances: &[(&str, &str, &str)]) -> String {
    let instance = |(id, state, cid): &(&str, &str, &str)| {
        let cid = if cid.is_empty() { String::new() } else { format!(" cid='{cid}'") };
        format!("<instance id='{id}' {state}{cid}/>")
    };
    format!("<resource uri='{uri}'>{}</resource>", instances.iter().map(instance).collect::<String>())
}

const ACTIVE: &str = "state='active'";

fn rlmi(version: u32, full: bool, resources: &[String]) -> String {
    format!(
        "<list xmlns='urn:ietf:params:xml:ns:rlmi' uri='{EVERYONE}' version='{version}' fullState='{full}'>{}</list>",
        resources.concat()
    )
}

/// A body of several parts: the list, then documents by Content-ID.
fn parts(boundary: &str, list: &str, documents: &[(&str, &str, String)]) -> String {
    let mut out = format!(
        "--{boundary}\r\nContent-ID: <list@pbx>\r\nContent-Type: application/rlmi+xml;charset=\"UTF-8\"\r\n\r\n{list}\r\n"
    );
    for (cid, kind, body) in documents {
        let part = format!("--{boundary}\r\nContent-ID: <{cid}>\r\nContent-Type: {kind}\r\n\r\n{body}\r\n");
        out.push_str(&part);
    }
    out.push_str(&format!("--{boundary}--\r\n"));
    out
}

const DIALOGS: &str = "application/dialog-info+xml";

impl Bench {
    fn notify_parts(&mut self, subscribe: &str, cseq: u32, body: &str) {
        let (from, call_id) = (header(subscribe, "From"), header(subscribe, "Call-ID"));
        self.receive(&format!(
            "NOTIFY sip:lamplighter@192.0.2.1:5070 SIP/2.0\r\nVia: SIP/2.0/UDP {THEM};branch=z9hG4bKl{cseq}\r\n\
             From: <{EVERYONE}>;tag=them\r\nTo: {from}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} NOTIFY\r\nEvent: dialog\r\n\
             Require: eventlist\r\nSubscription-State: active;expires=600\r\nContact: <sip:{THEM}>\r\n\
             Content-Type: multipart/related;type=\"application/rlmi+xml\";start=\"<list@pbx>\";boundary=\"b\"\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    /// One that names these members, each with a call in this state.
    fn notify_list(&mut self, subscribe: &str, cseq: u32, version: u32, full: bool, members: &[(&str, &str)]) {
        let cids: Vec<_> = (0..members.len()).map(|index| format!("{index}@pbx")).collect();
        let resource = |((uri, _), cid): (&(&str, &str), &String)| named(uri, &[("i", ACTIVE, cid)]);
        let resources: Vec<_> = members.iter().zip(&cids).map(resource).collect();
        let documents = members.iter().zip(&cids).map(|((_, state), cid)| (&**cid, DIALOGS, call(state)));
        let documents: Vec<_> = documents.collect();
        self.notify_parts(subscribe, cseq, &parts("b", &rlmi(version, full, &resources), &documents));
    }

    /// Everything that shards are asked to publish, as `200 put early`.
    fn all_published(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while !self.asks.is_empty() {
            let said = self.published(Ok(all.len() as u64 + 1));
            let Some(rest) = said.strip_prefix("put ") else {
                all.push(said);
                continue;
            };
            let source = rest.strip_prefix(NAME).and_then(|rest| rest.strip_prefix(" / ")).expect(rest);
            let (source, body) = source.split_once(" 600 ").expect(source);
            let state = ["early", "confirmed"].into_iter().filter(|state| body.contains(&format!(">{state}<")));
            let user = source.split('@').next().unwrap();
            assert!(body.contains("entity=\"sip:") && body.contains("@example.com\""), "{body}");
            all.push(format!("{user} put {}", state.collect::<Vec<_>>().join(" ")));
        }
        all
    }

    fn list(&mut self, id: u64) -> RemoteList {
        self.row(id).list.expect("a list")
    }

    /// Members with their instances, as `sip:200@pbx.example active early`.
    fn members(&mut self, id: u64) -> Vec<String> {
        let list = self.list(id);
        let state = |json: &Bytes| {
            let text = String::from_utf8_lossy(json).into_owned();
            ["early", "confirmed"].into_iter().find(|state| text.contains(state)).unwrap_or("idle")
        };
        let mut all = Vec::new();
        for member in &list.members {
            for one in &member.instances {
                let mut text = format!("{} {}", member.uri, one.standing);
                for more in [one.reason.as_deref(), one.state.as_ref().map(state), one.problem.as_deref()] {
                    text.extend(more.map(|more| format!(" {more}")));
                }
                all.push(text);
            }
        }
        all
    }
}

/// A subscription to a list of the configuration, whose members have our domain here.
fn listening() -> (Bench, u64, String) {
    let mut bench = Bench::new(|settings| {
        settings.watches = vec![Watched { wish: list(None), local: None, domain: Some("example.com".into()) }];
    });
    bench.remote.resume(START);
    bench.handle(Input::Tick);
    let request = bench.answer("200 OK", "Expires: 600\r\nRequire: eventlist\r\n");
    (bench, 1, request)
}

/// QS-14: a list is asked for as such; its members enter the bus one by one, and leave one by one.
#[test]
fn members_enter_the_bus() {
    let (mut bench, id, request) = listening();
    assert_eq!(header(&request, "Supported"), "eventlist");
    assert_eq!(header(&request, "Accept"), "multipart/related, application/rlmi+xml, application/dialog-info+xml");
    let resources = [
        named("sip:200@pbx.example", &[("x", ACTIVE, "0@pbx")]),
        named("sip:201@pbx.example", &[("y", ACTIVE, "1@pbx")]),
        named("sip:202@pbx.example", &[("z", "state='pending'", "")]),
        named("sip:203@pbx.example", &[("r", "state='terminated' reason='rejected'", "")]),
        named("sip:204@pbx.example", &[]),
    ];
    let documents = [("0@pbx", DIALOGS, call("early")), ("1@pbx", DIALOGS, call("confirmed"))];
    bench.notify_parts(&request, 1, &parts("b", &rlmi(0, true, &resources), &documents));
    assert_eq!(bench.all_published(), ["200 put early", "201 put confirmed"]);
    assert_eq!(
        bench.members(id),
        [
            "sip:200@pbx.example active early",
            "sip:201@pbx.example active confirmed",
            "sip:202@pbx.example pending",
            "sip:203@pbx.example terminated rejected",
        ]
    );
    let known = bench.list(id);
    assert_eq!((known.members.len(), known.version, &*known.uri), (5, Some(0), EVERYONE));
    assert_eq!(known.members[0].local.as_deref(), Some("sip:200@example.com"));

    // A partial list changes the members that it names, and those only.
    bench.notify_list(&request, 2, 1, false, &[("sip:200@pbx.example", "confirmed")]);
    assert_eq!(bench.all_published(), ["200 put confirmed"]);
    assert_eq!(bench.list(id).members.len(), 5);
    let over = [named("sip:201@pbx.example", &[("y", "state='terminated' reason='noresource'", "")])];
    bench.notify_parts(&request, 3, &parts("b", &rlmi(2, false, &over), &[]));
    assert_eq!(bench.all_published(), ["withdraw"]);
    assert_eq!(bench.members(id)[1], "sip:201@pbx.example terminated noresource");
    assert!(bench.sent.is_empty(), "nothing was missed");

    // A full one is all there is.
    bench.notify_list(&request, 4, 3, true, &[("sip:201@pbx.example", "early")]);
    assert_eq!(bench.all_published(), ["withdraw", "201 put early"]);
    assert_eq!(bench.members(id), ["sip:201@pbx.example active early"]);

    // The lease of the members is that of the subscription, and its end is theirs.
    bench.pass(SECOND * 540);
    bench.answer("200 OK", "Expires: 600\r\n");
    bench.pass(TOGETHER);
    assert_eq!(bench.all_published(), ["refresh 599"]);
    bench.notify(&request, 5, "terminated;reason=noresource", "");
    assert_eq!(bench.all_published(), ["withdraw"]);
    assert!(bench.row(id).list.is_none());
}

/// QS-14: what a list's server released to one subscriber is shown to it, and is on no bus.
#[test]
fn a_list_for_one_stays_with_it() {
    let mut bench = Bench::new(|_| {});
    let id = bench.subscribe(list(Some("sip:crm@example.com")));
    let request = bench.answer("200 OK", "Expires: 600\r\n");
    bench.notify_list(&request, 1, 0, true, &[("sip:200@example.com", "early")]);
    assert_eq!(bench.members(id), ["sip:200@example.com active early"]);
    assert!(bench.asks.is_empty() && bench.list(id).members[0].local.is_none());
    // A plain subscription is another one, and knows nothing of lists.
    let plain = bench.subscribe(RemoteWish { list: false, ..list(Some("sip:crm@example.com")) });
    let request = bench.answer("200 OK", "Expires: 600\r\n");
    assert!(!request.contains("eventlist") && !request.contains("multipart"), "{request}");
    bench.notify_list(&request, 1, 0, true, &[("sip:200@example.com", "early")]);
    let row = bench.row(plain);
    assert!(row.list.is_none() && row.documents[0].problem.is_some(), "{row:?}");
}

/// QS-16: whoever asks chooses the content types, of those that the package has.
#[test]
fn content_types_are_chosen() {
    let mut bench = Bench::new(|_| {});
    let accept = |one: &str| RemoteWish { accept: vec![one.into()], ..list(None) };
    let command = RemoteCommand::Subscribe(Box::new(accept("application/pidf+xml")));
    assert_eq!(bench.command(command), RemoteAnswer::Invalid("accept"));
    bench.subscribe(RemoteWish { list: false, ..accept(DIALOGS) });
    assert_eq!(header(&bench.answer("200 OK", "Expires: 600\r\n"), "Accept"), DIALOGS);
}

/// RFC 4662 section 5.6: what a version leaves out is asked for; what goes back is not taken.
#[test]
fn versions_of_partial_lists_count() {
    let (mut bench, id, request) = listening();
    bench.notify_list(&request, 1, 4, true, &[("sip:200@pbx.example", "early"), ("sip:201@pbx.example", "early")]);
    bench.all_published();
    bench.notify_list(&request, 2, 6, false, &[("sip:200@pbx.example", "confirmed")]);
    assert_eq!(bench.all_published(), ["200 put confirmed"]);
    bench.answer("200 OK", "Expires: 600\r\n");
    assert!(bench.sent.is_empty());
    bench.notify_list(&request, 3, 3, false, &[("sip:200@pbx.example", "early")]);
    assert!(bench.asks.is_empty(), "what is older is not taken");
    assert!(bench.list(id).problem.is_some());
    assert_eq!(bench.members(id)[0], "sip:200@pbx.example active confirmed");
    // It has been asked a moment ago; so it is asked again when it may be.
    assert!(bench.sent.is_empty());
    bench.pass(SECOND * 31);
    bench.answer("200 OK", "Expires: 600\r\n");
    bench.notify_list(&request, 4, 0, true, &[("sip:200@pbx.example", "early")]);
    assert!(bench.list(id).problem.is_none());
    assert!(bench.all_published().contains(&"200 put early".to_owned()));
}

/// A member that several instances speak for; ids that the server makes up anew each time.
#[test]
fn instances_compose_into_one_member() {
    let (mut bench, id, request) = listening();
    let uri = "sip:200@pbx.example";
    let two = [named(uri, &[("a", ACTIVE, "a@pbx"), ("b", ACTIVE, "b@pbx")])];
    let second = document(0, "full", &[("other", "confirmed")]);
    let documents = [("a@pbx", DIALOGS, call("early")), ("b@pbx", DIALOGS, second)];
    bench.notify_parts(&request, 1, &parts("b", &rlmi(0, true, &two), &documents));
    assert_eq!(bench.all_published(), ["200 put early confirmed"]);
    // One that is known is named: the other one goes on.
    let one = [named(uri, &[("a", "state='terminated' reason='timeout'", "")])];
    bench.notify_parts(&request, 2, &parts("b", &rlmi(1, false, &one), &[]));
    assert_eq!(bench.all_published(), ["200 put confirmed"]);
    // Without a document there is nothing new.
    let same = [named(uri, &[("b", ACTIVE, "")])];
    bench.notify_parts(&request, 3, &parts("b", &rlmi(2, false, &same), &[]));
    assert_eq!(bench.all_published(), ["200 put confirmed"]);
    // None is known: what was there is replaced.
    let new = [named(uri, &[("c", ACTIVE, "c@pbx")])];
    bench.notify_parts(&request, 4, &parts("b", &rlmi(3, false, &new), &[("c@pbx", DIALOGS, call("early"))]));
    assert_eq!(bench.all_published(), ["200 put early"]);
    assert_eq!(bench.members(id), ["sip:200@pbx.example active early"]);
    // Documents that are missing or damaged change nothing, and are told.
    let lost = [named(uri, &[("c", ACTIVE, "nowhere@pbx")])];
    bench.notify_parts(&request, 5, &parts("b", &rlmi(4, false, &lost), &[]));
    assert_eq!(bench.members(id), ["sip:200@pbx.example active early its document is missing"]);
    let bad = [named(uri, &[("c", ACTIVE, "c@pbx")])];
    bench.notify_parts(&request, 6, &parts("b", &rlmi(5, false, &bad), &[("c@pbx", DIALOGS, "<dialog-info".into())]));
    assert!(bench.members(id)[0].starts_with("sip:200@pbx.example active early "), "{:?}", bench.members(id));
    assert!(bench.all_published().iter().all(|one| one == "200 put early"));
}

/// Lists in lists: their members have their name before their own, and go with them.
#[test]
fn a_list_may_have_lists() {
    let (mut bench, id, request) = listening();
    let inner = parts(
        "in",
        &rlmi(0, true, &[named("sip:300@pbx.example", &[("i", ACTIVE, "1@in")])]),
        &[("1@in", DIALOGS, call("early"))],
    );
    let sales = |cid| named("sip:sales@pbx.example", &[("s", ACTIVE, cid)]);
    let kind = "multipart/related;boundary=in";
    let body = parts("b", &rlmi(0, true, &[sales("in@pbx")]), &[("in@pbx", kind, inner)]);
    bench.notify_parts(&request, 1, &body);
    assert_eq!(bench.members(id), ["sip:sales@pbx.example active", "sip:300@pbx.example active early"]);
    let said = bench.published(Ok(1));
    assert!(said.starts_with(&format!("put {NAME} / sales@pbx.example / 300@pbx.example 600 ")), "{said}");
    // It says something about itself only: its members stay.
    bench.notify_parts(&request, 2, &parts("b", &rlmi(1, false, &[sales("")]), &[]));
    assert_eq!(bench.members(id).len(), 2);
    let ended = [named("sip:sales@pbx.example", &[("s", "state='terminated' reason='noresource'", "")])];
    bench.notify_parts(&request, 3, &parts("b", &rlmi(2, false, &ended), &[]));
    assert_eq!(bench.all_published(), ["withdraw"]);
    assert_eq!(bench.members(id), ["sip:sales@pbx.example terminated noresource"]);

    // Too deep is too much.
    let mut body = rlmi(0, true, &[]);
    for depth in 0..6 {
        let boundary = format!("d{depth}");
        let kind = format!("multipart/related;boundary=d{}", depth - 1);
        let documents = [("in", if depth == 0 { DIALOGS } else { &kind }, body)];
        body = parts(&boundary, &rlmi(3, true, &[named("sip:l@pbx.example", &[("i", ACTIVE, "in")])]), &documents);
    }
    let body = body.replace("--d5", "--b");
    bench.notify_parts(&request, 4, &body);
    assert_eq!(bench.list(id).problem.as_deref(), Some("there are too many lists in lists"));
}

/// However much a server says, and however often it says something else: memory has a bound.
#[test]
fn lists_are_bounded() {
    let (mut bench, id, request) = listening();
    let many = |from: usize, count: usize| -> String {
        let one = |number: usize| named(&format!("sip:{number}@pbx.example"), &[("i", ACTIVE, "")]);
        let all: Vec<_> = (from..from + count).map(one).collect();
        rlmi(0, false, &all)
    };
    bench.notify_parts(&request, 1, &parts("b", &many(0, 700), &[]));
    bench.notify_parts(&request, 2, &parts("b", &many(700, 324).replace("version='0'", "version='1'"), &[]));
    assert_eq!(bench.list(id).members.len(), MOST_MEMBERS);
    bench.notify_parts(&request, 3, &parts("b", &many(1024, 1).replace("version='0'", "version='2'"), &[]));
    assert_eq!((bench.list(id).members.len(), bench.list(id).problem.is_some()), (MOST_MEMBERS, true));

    // Shards that do not answer hold up what leaves, and then what comes.
    let (mut bench, id, request) = listening();
    let mut most = 0;
    for cseq in 1..40 {
        let uris: Vec<_> = (0..80).map(|number| format!("sip:{}@pbx.example", 1000 + cseq * 80 + number)).collect();
        let members: Vec<_> = uris.iter().map(|uri| (&**uri, "early")).collect();
        bench.notify_list(&request, cseq, cseq, true, &members);
        most = most.max(bench.remote.orphans.len());
    }
    assert!(most > 800 && most <= MOST_MEMBERS, "{most}");
    assert_eq!(bench.list(id).problem.as_deref(), Some("members change faster than they can leave"));
    // What never reached the bus need not leave it: only what was under way does.
    for _ in 0..10 {
        bench.all_published();
    }
    assert_eq!(bench.remote.orphans.len(), 0);
    bench.pass(SECOND * 31);
    bench.notify_list(&request, 50, 50, true, &[("sip:200@pbx.example", "early")]);
    assert_eq!(bench.members(id), ["sip:200@pbx.example active early"]);
}

/// HA-01: of what members said before a restart leaves what is not said again; the rest goes on under the same name.
#[test]
fn members_outlive_a_restart() {
    let (mut bench, _, request) = listening();
    bench.notify_list(&request, 1, 0, true, &[("sip:200@pbx.example", "early"), ("sip:201@pbx.example", "early")]);
    let mut again = Bench::new(|settings| {
        settings.watches = vec![Watched { wish: list(None), local: None, domain: Some("example.com".into()) }];
    });
    again.now = START + SECOND * 100;
    for record in bench.saved.into_values() {
        assert!(again.remote.restore(again.now, record));
    }
    let dialog = packages().find(b"dialog").unwrap();
    let left = |number: u32, list: &str| -> Leftover {
        let source = format!("remote:{list}@pbx.example by 192.0.2.9:5060 / {number}@pbx.example");
        (format!("sip:{number}@example.com").into(), dialog, source.into())
    };
    for one in [left(200, "everyone"), left(201, "everyone"), left(202, "nobody")] {
        again.remote.leftovers.insert(one, false);
    }
    again.remote.resume(again.now);
    again.pass(SECOND);
    let refresh = again.answer("200 OK", "Expires: 600\r\n");
    again.notify_list(&refresh, 9, 7, true, &[("sip:200@pbx.example", "early")]);
    assert_eq!(again.all_published(), ["200 put early"]);
    assert_eq!(again.remote.leftovers.len(), 2);
    again.pass(SECOND * 100);
    let mut gone = Vec::new();
    while let Some((number, command)) = again.asks.pop_front() {
        let Command::Publish(command) = command else { panic!("{command:?}") };
        let OwnedAction::Put(source, _) = &command.action else { panic!("{command:?}") };
        assert_eq!(command.expires, Some(Duration::ZERO));
        gone.push(format!("{} {source}", command.resource));
        again.handle(Input::Asked { number, answer: Some(Answer::Published(Err(PublishError::NoSuchTag))) });
    }
    gone.sort();
    let [_, everyone, nobody] = [left(200, "everyone"), left(201, "everyone"), left(202, "nobody")];
    assert_eq!(gone, [everyone, nobody].map(|(resource, _, source)| format!("{resource} {source}")));
}

/// Whatever comes is read or refused, and the machine goes on.
#[test]
fn mutated_lists_do_no_harm() {
    let (mut bench, id, request) = listening();
    let inner = parts(
        "in",
        &rlmi(0, true, &[named("sip:300@pbx.example", &[("i", ACTIVE, "1@in")])]),
        &[("1@in", DIALOGS, call("early"))],
    );
    let resources = [
        named("sip:200@pbx.example", &[("x", ACTIVE, "0@pbx"), ("y", "state='terminated'", "")]),
        named("sip:sales@pbx.example", &[("s", ACTIVE, "in@pbx")]),
    ];
    let documents = [("0@pbx", DIALOGS, call("early")), ("in@pbx", "multipart/related;boundary=in", inner)];
    let good = parts("b", &rlmi(0, false, &resources), &documents).into_bytes();
    let mut chance = 7u64;
    let mut next = |most: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) as usize % most
    };
    let mut taken = 0;
    for cseq in 1..1500 {
        let mut body = good.clone();
        for _ in 0..next(4) {
            let (at, from) = (next(body.len()), next(good.len()));
            let piece = good[from..(from + next(40)).min(good.len())].to_vec();
            let end = (at + next(12)).min(body.len());
            body.splice(at..end, piece);
        }
        let (version, full) = (format!("version='{cseq}'"), format!("fullState='{}'", cseq % 2 == 0));
        let body = String::from_utf8_lossy(&body).replacen("version='0'", &version, 1);
        bench.notify_parts(&request, cseq, &body.replacen("fullState='false'", &full, 1));
        taken += usize::from(bench.list(id).problem.is_none());
        bench.sent.clear();
        while let Some((number, command)) = bench.asks.pop_front() {
            let Command::Publish(command) = command else { panic!("{command:?}") };
            let expires = command.expires.unwrap_or_default();
            let lease = PublishedLease { tag: EntityTag(1), created: true, expires };
            bench.handle(Input::Asked { number, answer: Some(Answer::Published(Ok(lease))) });
        }
        let known = bench.list(id).members.len();
        assert!(known <= MOST_MEMBERS);
    }
    assert!(taken > 300, "{taken}");
}
