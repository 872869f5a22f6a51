//! Stories in simulated time, against a server and a shard that are the test.

use super::*;
use lamplighter_model::remote::{RemoteRow, RemoteWish};
use lamplighter_model::{
    Access, Addresses, EntityTag, Heard, OwnState, OwnedAction, OwnedContent, Packages, Profiles, PublishError,
    PublishedLease, Renewal, Slot, Transport, config as model,
};
use lamplighter_sip::client::Local;

mod lists;
mod programs;

pub(crate) const START: Time = Time::from_micros(1_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const THEM: &str = "192.0.2.9:5060";
pub(crate) const OURS: &str = "sip:1001@example.com";

struct Bench {
    remote: Remote,
    now: Time,
    /// Requests to the server, oldest first.
    sent: VecDeque<String>,
    /// Questions to shards.
    asks: VecDeque<(u64, Command)>,
    saved: BTreeMap<u32, Record>,
}

pub(crate) fn packages() -> Packages {
    Packages::new(lamplighter_packages::packages(&lamplighter_packages::Config::default()), |_, expires| expires)
}

pub(crate) fn config() -> Config {
    Config {
        revision: 1,
        shards: 1,
        server: "Test".into(),
        addresses: Addresses::new(["example.com"], [], []),
        listeners: Vec::new(),
        access: Access::default(),
        packages: packages(),
        profiles: Profiles::default(),
        timers: model::Timers::default(),
        notify: model::Notify::default(),
        limits: model::Limits::default(),
        overload: model::Overload::default(),
        store: None,
    }
}

pub(crate) fn settings() -> Settings {
    let agent = client::Settings {
        address: "sip:lamplighter@example.com".into(),
        locals: vec![Local {
            transport: Transport::Udp,
            listener: 0,
            sent_by: "192.0.2.1:5070".into(),
            contact: "sip:lamplighter@192.0.2.1:5070".into(),
        }],
        store: true,
        ..client::Settings::default()
    };
    Settings { elsewhere: true, agent, ..Settings::default() }
}

fn wish(subscriber: Option<&str>) -> RemoteWish {
    RemoteWish {
        resource: OURS.into(),
        subscriber: subscriber.map(Into::into),
        package: packages().find(b"dialog").unwrap(),
        event_id: None,
        target: None,
        contact: None,
        outbound_proxy: Some(format!("sip:{THEM}").into()),
        headers: vec![("X-Why".into(), "because".into())],
        expires: None,
        accept: Vec::new(),
        list: false,
        owner: "test".into(),
    }
}

pub(crate) fn document(version: u32, kind: &str, calls: &[(&str, &str)]) -> String {
    let calls = calls.iter().map(|(id, state)| format!("<dialog id=\"{id}\"><state>{state}</state></dialog>"));
    format!(
        "<?xml version=\"1.0\"?><dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" \
         state=\"{kind}\" entity=\"{OURS}\">{}</dialog-info>",
        calls.collect::<String>()
    )
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_else(|| panic!("{message}"))
}

impl Bench {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { most: 8, linger: SECOND * 30, ..settings() };
        change(&mut settings);
        let remote = Remote::new(Arc::new(config()), settings, Seed(1, 2), START);
        Self { remote, now: START, sent: VecDeque::new(), asks: VecDeque::new(), saved: BTreeMap::new() }
    }

    fn handle(&mut self, input: Input<'_>) -> Option<RemoteAnswer> {
        let mut out = Outbox::default();
        self.remote.handle(self.now, input, &mut out);
        let mut said = None;
        for output in &out.outputs {
            match output {
                Output::Send { at, .. } => {
                    let text = String::from_utf8(out.slice(at).to_vec()).unwrap();
                    if !text.starts_with("SIP/2.0") {
                        self.sent.push_back(text);
                    }
                }
                Output::Ask { number, command, .. } => self.asks.push_back((*number, (**command).clone())),
                Output::Answer { answer: Answer::Remote(answer), .. } => said = Some(answer.clone()),
                Output::Save { record, .. } => match record {
                    Record::Standing { key, .. } => _ = self.saved.insert(*key, record.clone()),
                    Record::StandingGone { key } => _ = self.saved.remove(key),
                    other => panic!("{other:?}"),
                },
                Output::News(_) => {}
                other => panic!("{other:?}"),
            }
        }
        said
    }

    fn command(&mut self, command: RemoteCommand) -> RemoteAnswer {
        self.handle(Input::Command { ticket: 1, command: Command::Remote(command) }).unwrap()
    }

    fn subscribe(&mut self, wish: RemoteWish) -> u64 {
        match self.command(RemoteCommand::Subscribe(Box::new(wish))) {
            RemoteAnswer::Subscription(row) => row.id,
            other => panic!("{other:?}"),
        }
    }

    fn row(&mut self, id: u64) -> RemoteRow {
        match self.command(RemoteCommand::Get(id)) {
            RemoteAnswer::Subscription(row) => *row,
            other => panic!("{other:?}"),
        }
    }

    fn receive(&mut self, text: &str) {
        let flow = Flow::udp(0, THEM.parse().unwrap());
        self.handle(Input::Datagram { flow, bytes: text.as_bytes(), age: Duration::ZERO });
    }

    /// Answers the oldest request.
    fn answer(&mut self, status: &str, more: &str) -> String {
        let request = self.sent.pop_front().expect("a request");
        let copy = |name: &str| format!("{name}: {}\r\n", header(&request, name));
        let to = match header(&request, "To") {
            to if to.contains("tag=") => format!("To: {to}\r\n"),
            to => format!("To: {to};tag=them\r\n"),
        };
        let text = format!(
            "SIP/2.0 {status}\r\n{}{}{to}{}{}{more}Contact: <sip:{THEM}>\r\nContent-Length: 0\r\n\r\n",
            copy("Via"),
            copy("From"),
            copy("Call-ID"),
            copy("CSeq")
        );
        self.receive(&text);
        request
    }

    /// A NOTIFY in the dialog of this SUBSCRIBE.
    fn notify(&mut self, subscribe: &str, cseq: u32, state: &str, body: &str) {
        let (from, call_id) = (header(subscribe, "From"), header(subscribe, "Call-ID"));
        self.receive(&format!(
            "NOTIFY sip:lamplighter@192.0.2.1:5070 SIP/2.0\r\nVia: SIP/2.0/UDP {THEM};branch=z9hG4bKn{cseq}\r\n\
             From: <{OURS}>;tag=them\r\nTo: {from}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} NOTIFY\r\nEvent: dialog\r\n\
             Subscription-State: {state}\r\nContact: <sip:{THEM}>\r\nContent-Type: application/dialog-info+xml\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.remote.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.handle(Input::Tick);
        }
        self.now = end;
        self.handle(Input::Tick);
    }

    /// The next thing that a shard is asked to publish or to renew: source, body and lease.
    fn published(&mut self, result: Result<u64, PublishError>) -> String {
        let (number, command) = self.asks.pop_front().expect("a question");
        let command = match command {
            Command::Publish(command) => command,
            Command::Renew(all) => {
                let said: Vec<_> = all.iter().map(|one| format!("refresh {}", one.expires.as_secs())).collect();
                let one = |one: &Renewal| {
                    let lease = |tag| PublishedLease { tag: EntityTag(tag), created: false, expires: one.expires };
                    result.clone().map(lease)
                };
                let answer = Some(Answer::Renewed(all.iter().map(one).collect()));
                self.handle(Input::Asked { number, answer });
                return said.join(", ");
            }
            other => panic!("{other:?}"),
        };
        let expires = command.expires.unwrap_or_default();
        let said = match &command.action {
            OwnedAction::Put(source, OwnedContent::Document { body, .. }) => {
                format!("put {source} {} {}", expires.as_secs(), String::from_utf8_lossy(body))
            }
            OwnedAction::Withdraw(_) => "withdraw".into(),
            other => panic!("{other:?}"),
        };
        let lease = result.map(|tag| PublishedLease { tag: EntityTag(tag), created: true, expires });
        self.handle(Input::Asked { number, answer: Some(Answer::Published(lease)) });
        said
    }

    /// A subscription that is active and has said one thing.
    fn active(&mut self, wish: RemoteWish) -> (u64, String) {
        let id = self.subscribe(wish);
        let request = self.answer("200 OK", "Expires: 600\r\n");
        self.notify(&request, 1, "active;expires=600", &document(1, "full", &[("a", "early")]));
        (id, request)
    }
}

/// Leases that have moved in the same moment are told to each shard together; whoever has something new to say
/// meanwhile, or has left, does that instead.
#[test]
fn leases_are_renewed_together() {
    const COUNT: u64 = 150;
    let mut bench = Bench::new(|settings| settings.most = 200);
    bench.handle(Input::Config(Arc::new(Config { shards: 2, ..config() })));
    let request = |bench: &mut Bench, number: u64| {
        let resource = format!("sip:{}@example.com", 3000 + number);
        bench.subscribe(RemoteWish { resource: resource.into(), ..wish(None) });
        let request = bench.answer("200 OK", "Expires: 600\r\n");
        bench.notify(&request, 1, "active;expires=600", &document(1, "full", &[("a", "early")]));
        assert!(bench.published(Ok(number)).starts_with("put "));
        request
    };
    let requests: Vec<_> = (0..COUNT).map(|number| request(&mut bench, number)).collect();
    bench.pass(SECOND * 540);
    while !bench.sent.is_empty() {
        bench.answer("200 OK", "Expires: 600\r\n");
    }
    bench.notify(&requests[0], 2, "active;expires=600", &document(2, "full", &[("a", "confirmed")]));
    bench.notify(&requests[1], 2, "terminated;reason=noresource", "");
    assert!(bench.published(Ok(1000)).contains("confirmed"));
    assert_eq!(bench.published(Ok(0)), "withdraw");
    assert!(bench.asks.is_empty(), "the others can wait");
    bench.pass(TOGETHER);

    let questions: Vec<_> = bench.asks.drain(..).collect();
    assert!((3..=4).contains(&questions.len()), "{}", questions.len());
    let mut tags = Vec::new();
    for (number, command) in questions {
        let Command::Renew(all) = command else { panic!("{command:?}") };
        let shards: BTreeSet<_> = all.iter().map(|one| Slot::of(&one.resource).shard(2)).collect();
        assert_eq!((shards.len(), all.len() <= 64), (1, true));
        let result = |one: &Renewal| match one.tag.0 {
            7 => Err(PublishError::NoSuchTag),
            tag => Ok(PublishedLease { tag: EntityTag(tag), created: false, expires: one.expires }),
        };
        let answer = if tags.is_empty() { None } else { Some(Answer::Renewed(all.iter().map(result).collect())) };
        bench.handle(Input::Asked { number, answer });
        tags.push(all.iter().map(|one| one.tag.0).collect::<BTreeSet<_>>());
    }
    assert_eq!(tags.iter().flatten().copied().collect::<Vec<_>>().len() as u64, COUNT - 2);
    // What a shard does not know, and what it was too busy for, is said in full.
    bench.pass(SECOND);
    let anew = tags[0].len() + usize::from(!tags[0].contains(&7));
    assert_eq!(bench.asks.len(), anew.min(64));
    for _ in 0..anew {
        assert!(bench.published(Ok(2000)).starts_with("put "));
    }
    assert!(bench.asks.is_empty());
}

/// A shard that has forgotten what it is asked to renew is told anew, even if the lease has moved once more meanwhile.
#[test]
fn what_a_shard_has_forgotten_is_said_again() {
    let mut bench = Bench::new(|_| {});
    bench.active(wish(None));
    assert!(bench.published(Ok(1)).starts_with("put "));
    for _ in 0..2 {
        bench.pass(SECOND * 540);
        while !bench.sent.is_empty() {
            bench.answer("200 OK", "Expires: 600\r\n");
        }
        bench.pass(TOGETHER);
    }
    assert_eq!(bench.asks.len(), 1, "the first question is still under way");
    assert!(bench.published(Err(PublishError::NoSuchTag)).starts_with("refresh "));
    bench.pass(SECOND);
    assert!(bench.published(Ok(2)).starts_with("put "));
    assert!(bench.asks.is_empty());
}

/// QS-01, QS-03, QS-10: equal wishes share a dialog, which lingers a little and then ends.
#[test]
fn equal_wishes_share_one_dialog() {
    let mut bench = Bench::new(|_| {});
    let (first, request) = bench.active(wish(Some("sip:crm@example.com")));
    assert!(request.starts_with("SUBSCRIBE sip:1001@example.com SIP/2.0\r\n"), "{request}");
    assert!(header(&request, "From").starts_with("<sip:crm@example.com>"));
    assert_eq!(header(&request, "X-Why"), "because");
    let second = bench.subscribe(wish(Some("sip:crm@example.com")));
    assert!(bench.sent.is_empty());
    assert_eq!((bench.row(second).shared, bench.row(second).state), (2, "active"));
    let row = bench.row(first);
    let said = String::from_utf8(row.documents[0].state.clone().unwrap().to_vec()).unwrap();
    assert!(said.contains("early"), "{said}");
    // Another subscriber is another matter.
    bench.subscribe(wish(Some("sip:other@example.com")));
    assert!(header(&bench.answer("200 OK", "Expires: 600\r\n"), "From").contains("sip:other@"));

    bench.command(RemoteCommand::Remove(first));
    bench.command(RemoteCommand::Remove(second));
    bench.pass(SECOND * 20);
    let third = bench.subscribe(wish(Some("sip:crm@example.com")));
    bench.pass(SECOND);
    assert!(bench.sent.iter().all(|one| !one.contains("sip:crm@")), "it was still there");
    bench.command(RemoteCommand::Remove(third));
    bench.pass(SECOND * 31);
    let last = bench.sent.iter().find(|one| one.contains("sip:crm@")).expect("an end");
    assert_eq!(header(last, "Expires"), "0");
    assert!(bench.asks.is_empty(), "what was released to one is not for everyone");
}

/// QS-04, QS-12: a refusal for good reaches whoever asked, and is tried again only by hand.
#[test]
fn a_refusal_is_told() {
    let mut bench = Bench::new(|_| {});
    let id = bench.subscribe(wish(Some("sip:crm@example.com")));
    assert_eq!(bench.row(id).state, "pending");
    bench.answer("403 Forbidden", "");
    let row = bench.row(id);
    assert_eq!((row.state, row.status, row.reason.as_deref()), ("rejected", 403, Some("403 Forbidden")));
    bench.pass(SECOND * 3600);
    assert!(bench.sent.is_empty());
    bench.command(RemoteCommand::Retry(id));
    bench.answer("404 Not Found", "");
    let row = bench.row(id);
    assert_eq!((row.state, row.status), ("retrying", 404));
    assert!(row.next.is_some_and(|next| next > bench.now));
}

/// What is learned under our own name is on the bus, in its newest state, as long as the subscription holds.
#[test]
fn the_bus_is_told() {
    let mut bench = Bench::new(|settings| {
        settings.watches = vec![Watched { wish: wish(None), local: Some("sip:200@example.com".into()), domain: None }];
    });
    bench.remote.resume(START);
    bench.handle(Input::Tick);
    let request = bench.answer("200 OK", "Expires: 600\r\n");
    bench.notify(&request, 1, "active;expires=600", &document(1, "full", &[("a", "early"), ("b", "confirmed")]));
    // Two more come while the shard is thinking: the first of them is skipped, and nothing of the second is lost.
    bench.notify(&request, 2, "active;expires=600", &document(2, "partial", &[("a", "confirmed")]));
    bench.notify(&request, 3, "active;expires=600", &document(3, "partial", &[("c", "early")]));
    let first = bench.published(Ok(1));
    assert!(first.starts_with("put remote:1001@example.com by 192.0.2.9:5060 600 "), "{first}");
    assert!(first.contains("early") && first.contains("entity=\"sip:200@example.com\""), "{first}");
    let second = bench.published(Ok(2));
    for call in ["\"c\"", "early", "confirmed"] {
        assert!(second.contains(call), "{second}");
    }
    assert_eq!(second.matches("<dialog ").count(), 3, "{second}");
    assert!(bench.asks.is_empty());

    // The same again, as a renewal brings it, is nothing new.
    let all = [("a", "confirmed"), ("b", "confirmed"), ("c", "early")];
    bench.notify(&request, 4, "active;expires=600", &document(4, "full", &all));
    bench.pass(TOGETHER);
    assert!(bench.asks.is_empty());
    bench.notify(&request, 5, "active;expires=600", &document(5, "full", &all[1..]));
    assert_eq!(bench.published(Ok(2)).matches("<dialog ").count(), 2);

    // The lease follows that of the subscription.
    bench.pass(SECOND * 540);
    bench.answer("200 OK", "Expires: 600\r\n");
    bench.pass(TOGETHER);
    assert_eq!(bench.published(Err(PublishError::NotStored)), "refresh 599");
    bench.pass(SECOND * 2);
    assert!(bench.published(Ok(3)).starts_with("put remote:"), "the whole state after a refusal");

    // A body that makes no sense changes nothing, and is told.
    bench.notify(&request, 6, "active;expires=600", "<dialog-info");
    assert!(bench.asks.is_empty());
    let RemoteAnswer::Subscriptions(rows, None) = bench.command(RemoteCommand::List { from: 0, most: 9 }) else {
        panic!("a list");
    };
    let row = bench.row(rows[0].id);
    assert!(row.documents[0].problem.is_some() && row.documents[0].state.is_some(), "{row:?}");

    // Its end is the end of what it said.
    bench.notify(&request, 7, "terminated;reason=noresource", "");
    assert_eq!(bench.published(Ok(4)), "withdraw");
    assert_eq!(bench.row(rows[0].id).state, "terminated");
    assert_eq!(bench.command(RemoteCommand::Remove(rows[0].id)), RemoteAnswer::Configured);
}

/// PU-01, PU-02, PU-08: what our own sources say is published, newest state next, and withdrawn when they say nothing.
#[test]
fn our_own_state_is_published() {
    let mut bench = Bench::new(|settings| {
        let rule = Rule { server: format!("sip:{THEM}").into(), ..Rule::default() };
        settings.rules = vec![rule];
    });
    let packages = packages();
    let dialog = packages.find(b"dialog").unwrap();
    let state = |call: &str| {
        let package = packages.get(dialog);
        let body = document(1, "full", &[("a", call)]);
        let content = lamplighter_model::Content::Document { format: 0, body: body.as_bytes() };
        let reading = lamplighter_model::Reading { presentity: OURS, now: START, modifies: false };
        wish::together(package, START, OURS, &[(START, &package.read(content, reading).unwrap())])
    };
    let heard = [Heard { rules: 1, resource: OURS.into(), package: dialog }];
    bench.handle(Input::Heard(&heard));
    bench.handle(Input::Heard(&heard));
    let answer = |bench: &mut Bench, state| {
        let (number, command) = bench.asks.pop_front().expect("a question");
        assert!(matches!(command, Command::Own { .. }), "{command:?}");
        bench.handle(Input::Asked { number, answer: Some(Answer::Own(OwnState(state))) });
    };
    bench.handle(Input::Heard(&heard));
    answer(&mut bench, Some(state("early")));
    // It changed while it was asked for: so it is asked for again, and the newest goes next.
    answer(&mut bench, Some(state("confirmed")));
    assert!(bench.asks.is_empty());
    let first = bench.answer("200 OK", "SIP-ETag: one\r\nExpires: 600\r\n");
    assert!(first.starts_with("PUBLISH sip:1001@example.com SIP/2.0\r\n") && first.contains("early"), "{first}");
    let second = bench.answer("200 OK", "SIP-ETag: two\r\nExpires: 600\r\n");
    assert_eq!(header(&second, "SIP-If-Match"), "one");
    assert!(second.contains("confirmed") && second.contains("version=\"2\""), "{second}");
    assert!(first.contains("version=\"1\""), "{first}");
    assert!(bench.asks.is_empty() && bench.sent.is_empty());
    // When the lease has been renewed it is asked for once more: sources may have left that others agreed with.
    while bench.sent.is_empty() {
        bench.pass(SECOND);
    }
    bench.sent.truncate(1); // what follows is the same, sent again
    let third = bench.answer("200 OK", "SIP-ETag: two\r\nExpires: 600\r\n");
    assert_eq!((header(&third, "SIP-If-Match"), header(&third, "Content-Length")), ("two", "0"));
    bench.pass(SECOND);
    answer(&mut bench, Some(state("confirmed")));
    assert!(bench.asks.is_empty() && bench.sent.is_empty(), "the same again is no change");
    let RemoteAnswer::Publications(rows, None) = bench.command(RemoteCommand::Publications { from: 0, most: 9 }) else {
        panic!("a list");
    };
    assert_eq!((rows.len(), rows[0].state, rows[0].status), (1, "active", 200));
    assert_eq!(bench.saved.len(), 1);

    // Where our own sources are the only ones, each change has been heard, and there is nothing to ask for again; where
    // others may say the same, there is.
    let renewed = |bench: &mut Bench, asks: usize| {
        while bench.sent.is_empty() {
            bench.pass(SECOND);
        }
        bench.sent.truncate(1);
        bench.answer("200 OK", "SIP-ETag: two\r\nExpires: 600\r\n");
        bench.pass(SECOND);
        assert_eq!(bench.asks.len(), asks);
        while !bench.asks.is_empty() {
            answer(bench, Some(state("confirmed")));
        }
    };
    renewed(&mut bench, 0);
    let learned = lamplighter_model::record::PublicationRecord {
        resource: OURS.into(),
        package: "dialog".into(),
        source: "remote:1001@example.com".into(),
        entity_tag: EntityTag(1),
        stamp: lamplighter_model::package::Stamp { at: bench.now, counter: 1, node: 0 },
        until: bench.now + SECOND * 1000,
        fact: Default::default(),
        from: ([0, 0, 0, 0], 0).into(),
    };
    bench.remote.found(&Record::Publication(Box::new(learned)));
    renewed(&mut bench, 1);
    renewed(&mut bench, 1);
    renewed(&mut bench, 0);
    bench.remote.settings.rules[0].except = Arc::new(["192.0.2.0/24".parse().unwrap()]);
    renewed(&mut bench, 1);

    bench.handle(Input::Heard(&heard));
    answer(&mut bench, None);
    let last = bench.answer("200 OK", "SIP-ETag: three\r\nExpires: 0\r\n");
    assert_eq!((header(&last, "Expires"), header(&last, "SIP-If-Match")), ("0", "two"));
    assert_eq!(bench.saved.len(), 0);
}

/// A shard that is too busy is asked again; there are never more questions under way than the bound.
#[test]
fn questions_are_bounded() {
    let mut bench = Bench::new(|settings| {
        settings.rules = vec![Rule { server: format!("sip:{THEM}").into(), ..Rule::default() }];
    });
    let dialog = packages().find(b"dialog").unwrap();
    let heard: Vec<_> = (0..500)
        .map(|number| Heard { rules: 1, resource: format!("sip:{number}@example.com").into(), package: dialog })
        .collect();
    bench.handle(Input::Heard(&heard));
    assert_eq!(bench.asks.len(), ASKED);
    let (number, _) = bench.asks.pop_front().unwrap();
    bench.handle(Input::Asked { number, answer: None });
    assert_eq!(bench.asks.len(), ASKED);
    for _ in 0..500 {
        let Some((number, _)) = bench.asks.pop_front() else { break };
        bench.handle(Input::Asked { number, answer: Some(Answer::Own(OwnState(None))) });
    }
    assert!(bench.asks.is_empty());
    bench.pass(SECOND * 2);
    assert_eq!(bench.asks.len(), 1, "the one that was too busy");
    assert_eq!(bench.remote.exports.len(), 1, "what nobody publishes is forgotten");
}

/// QS-13, and what makes no sense.
#[test]
fn wishes_are_looked_at() {
    let mut bench = Bench::new(|settings| settings.most = 1);
    type Change = fn(&mut RemoteWish);
    let bad = |change: Change| {
        let mut bad = wish(Some("sip:crm@example.com"));
        change(&mut bad);
        bad
    };
    let cases: [(Change, &str); 5] = [
        (|one| one.resource = "mailto:x@y".into(), "resource"),
        (|one| one.subscriber = Some("sip:example.com".into()), "subscriber"),
        (|one| one.event_id = Some("a b".into()), "event_id"),
        (|one| one.target = Some("sip:a@b\r\nX: y".into()), "target"),
        (|one| one.headers = vec![("Route".into(), "<sip:x>".into())], "headers"),
    ];
    for (change, what) in cases {
        let command = RemoteCommand::Subscribe(Box::new(bad(change)));
        assert_eq!(bench.command(command), RemoteAnswer::Invalid(what));
    }
    let local = bench.subscribe(bad(|one| one.outbound_proxy = None));
    let row = bench.row(local);
    assert!(row.internal && row.state == "active" && bench.sent.is_empty(), "{row:?}");
    let command = RemoteCommand::Subscribe(Box::new(wish(None)));
    assert_eq!(bench.command(command), RemoteAnswer::Full);
}

/// DI-03: what the configuration asks for goes out by the proxy of everything; what programs ask for of ours does not.
#[test]
fn ours_goes_out_where_the_configuration_says_so() {
    let ours = || RemoteWish { outbound_proxy: None, ..wish(None) };
    let started = |change: &dyn Fn(&mut Settings)| {
        let mut bench = Bench::new(|settings| {
            settings.watches = vec![Watched { wish: ours(), local: None, domain: None }];
            change(settings);
        });
        bench.remote.resume(START);
        bench.handle(Input::Tick);
        bench
    };
    let them = || format!("sip:{THEM};lr");
    let ways: [&dyn Fn(&mut Settings); 3] = [
        &|settings| settings.agent.proxy = Some(them().into()),
        &|settings| _ = settings.agent.proxies.insert("dialog".into(), them().into()),
        &|settings| settings.routes = vec![format!("<{}>", them()).into()],
    ];
    for way in ways {
        let mut bench = started(way);
        let request = bench.answer("200 OK", "Expires: 600\r\n");
        bench.notify(&request, 1, "active;expires=600", &document(1, "full", &[("a", "early")]));
        let row = bench.row(1);
        assert_eq!((row.internal, row.state, row.local.as_deref()), (false, "active", Some(OURS)));
        assert!(bench.published(Ok(1)).contains("early"));
        let program = bench.subscribe(RemoteWish { subscriber: Some("sip:crm@example.com".into()), ..ours() });
        assert!(bench.row(program).internal && bench.sent.is_empty());
    }
    let mut bench = started(&|_| {});
    assert!(bench.row(1).internal && bench.sent.is_empty());
}

/// QS-12: what makes no sense is counted.
#[test]
fn bodies_that_make_no_sense_are_counted() {
    let mut bench = Bench::new(|_| {});
    let (id, request) = bench.active(wish(None));
    let total = |bench: &mut Bench, name: &str| match bench.command(RemoteCommand::Totals) {
        RemoteAnswer::Totals(all) => all.iter().find(|one| one.name == name).unwrap().value,
        other => panic!("{other:?}"),
    };
    bench.notify(&request, 2, "active;expires=600", "garbage");
    bench.receive("garbage");
    assert!(bench.row(id).documents[0].problem.is_some());
    assert_eq!(total(&mut bench, "remote_bad_bodies_total"), 1);
    assert_eq!(total(&mut bench, "remote_messages_dropped_total"), 1);
    assert_eq!(total(&mut bench, "remote_dialogs"), 1);
    bench.notify(&request, 3, "terminated;reason=giveup", "");
    assert_eq!((bench.row(id).state, total(&mut bench, "remote_dialogs")), ("retrying", 0));
}

/// PU-04: what a restart has found goes on, and is asked for everything; without a store everybody is told goodbye.
#[test]
fn a_restart_goes_on_in_the_same_dialog() {
    let watch = || vec![Watched { wish: wish(None), local: None, domain: None }];
    let mut bench = Bench::new(|settings| settings.watches = watch());
    bench.remote.resume(START);
    bench.handle(Input::Tick);
    let request = bench.answer("200 OK", "Expires: 600\r\n");
    bench.notify(&request, 1, "active;expires=600", &document(1, "full", &[]));
    assert_eq!(bench.saved.len(), 1);
    let mut again = Bench::new(|settings| settings.watches = watch());
    again.now = START + SECOND * 100;
    for record in bench.saved.into_values() {
        assert!(again.remote.restore(again.now, record));
    }
    assert!(!again.remote.restore(again.now, Record::StandingGone { key: 7 }));
    again.remote.resume(again.now);
    again.pass(PACE * 2);
    assert_eq!(again.sent.len(), 1);
    let refresh = again.answer("200 OK", "Expires: 600\r\n");
    assert_eq!(header(&refresh, "Call-ID"), header(&request, "Call-ID"));

    let mut bench = Bench::new(|settings| {
        settings.watches = watch();
        settings.agent.store = false;
    });
    bench.remote.resume(START);
    bench.handle(Input::Tick);
    let request = bench.answer("200 OK", "Expires: 600\r\n");
    bench.notify(&request, 1, "active;expires=600", &document(1, "full", &[]));
    bench.handle(Input::Stop);
    assert!(!bench.remote.is_through());
    assert_eq!(header(&bench.answer("200 OK", "Expires: 0\r\n"), "Expires"), "0");
    bench.notify(&request, 2, "terminated;reason=timeout", "");
    assert!(bench.remote.is_through());
}
