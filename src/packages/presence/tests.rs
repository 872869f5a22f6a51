use super::*;
use crate::testing::{
    Chance, ME, PIECES, at, damaged, hex, in_any_order, json, mutate, outcome, packed, reading, residue, sourced,
    well_formed, xml,
};
use expect_test::{Expect, expect, expect_file};
use lamplighter_model::package::Package as _;

fn package() -> Package {
    Package::new(Config::default())
}

const PHONE: &str = include_str!("../testdata/publication_phone_with_note.xml");
const RICH: &str = include_str!("../testdata/publication_rich_presence.xml");

fn read_at(seconds: u64, body: &str) -> Presence {
    package().read(0, body.as_bytes(), reading(seconds)).unwrap()
}

fn body(inside: &str) -> String {
    format!("<presence xmlns='{PIDF}' xmlns:dm='{DATA_MODEL}' xmlns:r='{RPID}' entity='{ME}'>{inside}</presence>")
}

fn tuple(id: &str, basic: &str, contact: &str) -> String {
    let contact = if contact.is_empty() { String::new() } else { format!("<contact>{contact}</contact>") };
    format!("<tuple id='{id}'><status><basic>{basic}</basic></status>{contact}</tuple>")
}

fn person(activities: &str, more: &str) -> String {
    format!("<dm:person id='p'><r:activities>{activities}</r:activities>{more}</dm:person>")
}

fn full(state: &State) -> String {
    xml(&package(), state, View::Full, &Profile::default())
}

/// The state in one line: basic, show, activities, tuples.
fn brief(state: &State) -> String {
    let doing = state.person.as_ref().and_then(|person| person.doing.as_ref());
    let activities: Vec<&str> = doing.map(|doing| doing.activities.names().collect()).unwrap_or_default();
    let tuples: Vec<String> =
        state.tuples.iter().map(|one| format!("{}={:?}", one.id(), one.tuple.open.unwrap_or_default())).collect();
    format!("{} [{}] {}", package().describe(state), activities.join(" "), tuples.join(" ")).trim().to_owned()
}

fn on_the_phone(seconds: u64) -> Presence {
    let dialogs = crate::dialog::Package::new(crate::dialog::Config::default());
    let body = "<dialog-info><dialog id='1'><state>confirmed</state></dialog></dialog-info>";
    let fact = dialogs.read(0, body.as_bytes(), reading(seconds)).unwrap();
    let state: AnyState = Arc::new(dialogs.compose(at(seconds), ME, &[sourced("a", seconds, &fact)]).state);
    package().derive("dialog", &state, at(seconds)).unwrap()
}

/// PR-01: one row of the table of composition each.
#[test]
fn rows_of_the_table() {
    let check = |sources: &[(&str, u64, String)], call: bool, expected: Expect| {
        let facts: Vec<Presence> =
            sources.iter().map(|(_, seconds, inside)| read_at(*seconds, &body(inside))).collect();
        let mut all: Vec<Sourced<'_, Presence>> =
            sources.iter().zip(&facts).map(|((source, seconds, _), fact)| sourced(source, *seconds, fact)).collect();
        let derived = on_the_phone(3);
        if call {
            all.push(sourced("derived:dialog", 3, &derived));
        }
        expected.assert_eq(&brief(&in_any_order(&package(), at(9), &all).state));
    };
    let open = |id: &str| tuple(id, "open", id);
    let closed = |id: &str| tuple(id, "closed", id);
    // nothing
    check(&[], false, expect!["unknown []"]);
    // several publications with tuples: open ones first, then by priority, then by id
    check(
        &[
            ("x", 0, closed("a")),
            ("y", 1, open("c") + &open("b").replace("<contact>", "<contact priority='0.5'>")),
            ("z", 2, open("d").replace("<contact>", "<contact priority='1'>")),
        ],
        false,
        expect!["open [] d=true b=true c=true a=false"],
    );
    // the same tuple id with the same contact twice: the newest once
    check(
        &[("x", 0, tuple("a", "open", "c")), ("y", 1, tuple("a", "closed", "c"))],
        false,
        expect!["closed [] a=false"],
    );
    // tuple ids of two publishers collide
    check(
        &[("x", 0, tuple("a", "open", "c")), ("y", 1, tuple("a", "closed", "d"))],
        false,
        expect!["open [] a=true a-53b87ec5=false"],
    );
    check(
        &[("x", 5, tuple("a", "closed", "c")), ("y", 1, tuple("a", "open", "d"))],
        false,
        expect!["open [] a-53b87ec5=true a=false"],
    );
    // one tuple open, others closed
    check(&[("x", 0, closed("a")), ("y", 1, open("b"))], false, expect!["open [] b=true a=false"]);
    // persons in several publications
    check(
        &[("x", 0, person("<r:away/>", "")), ("y", 1, person("<r:busy/><r:meeting/>", ""))],
        false,
        expect!["unknown, dnd [busy meeting]"],
    );
    check(
        &[("x", 0, person("<r:away/>", "")), ("y", 1, "<dm:person id='q'><dm:note>n</dm:note></dm:person>".to_owned())],
        false,
        expect!["unknown, away [away]"],
    );
    // a confirmed call
    check(&[], true, expect!["unknown, on-the-phone [on-the-phone]"]);
    check(&[("x", 0, open("a"))], true, expect!["open, on-the-phone [on-the-phone] a=true"]);
    check(&[("x", 0, person("<r:away/>", ""))], true, expect!["unknown, away [away on-the-phone]"]);
    check(&[("x", 9, person("<r:busy/>", ""))], true, expect!["unknown, dnd [busy on-the-phone]"]);
    // such a call, and the publication wins
    check(&[("x", 0, person("<r:unknown/>", ""))], true, expect!["unknown [unknown]"]);
    check(&[("x", 0, person("<r:permanent-absence/>", ""))], true, expect!["unknown, xa [permanent-absence]"]);
    // such a call, and every tuple closed
    check(&[("x", 0, closed("a"))], true, expect!["closed [on-the-phone] a=false"]);
}

/// Notes of the newest publication that has any, in all of its languages.
#[test]
fn notes_are_of_the_newest() {
    let old = read_at(0, &body("<note xml:lang='en'>old</note>"));
    let new = read_at(1, &body("<note xml:lang='de'>Zur\u{fc}ck um drei</note><note xml:lang='en'>Back at 3</note>"));
    let none = read_at(2, &body(&tuple("a", "open", "")));
    let sources = [sourced("x", 0, &old), sourced("y", 1, &new), sourced("z", 2, &none)];
    let state = in_any_order(&package(), at(2), &sources).state;
    expect![[r#"{"basic":"open","note":"Zurück um drei","lang":"de","notes":[{"note":"Zurück um drei","lang":"de"},{"note":"Back at 3","lang":"en"}],"since":1800000002000,"devices":[{"id":"a","basic":"open"}]}"#]]
        .assert_eq(&json(&package(), &state, View::Full));
}

/// PR-01: two devices and a person, with elements that we do not know.
#[test]
fn devices_and_a_person_in_one_document() {
    let (phone, rich) = (read_at(0, PHONE), read_at(1, RICH));
    let sources = [sourced("phone", 0, &phone), sourced("laptop", 1, &rich)];
    let state = in_any_order(&package(), at(1), &sources).state;
    let profile = Profile::default();
    let document = full(&state);
    expect_file!["../testdata/shown_phone_and_rich_presence.xml"].assert_eq(&document);
    expect_file!["../testdata/shown_rich_presence_masked.xml"].assert_eq(&xml(
        &package(),
        &state,
        View::Masked,
        &profile,
    ));
    expect_file!["../testdata/shown_rich_presence_busy.xml"].assert_eq(&xml(&package(), &state, View::Busy, &profile));
    expect_file!["../testdata/feed_rich_presence.json"].assert_eq(&(json(&package(), &state, View::Full) + "\n"));
    expect![[r#"{"basic":"open","show":"dnd","since":1800000001000}"#]].assert_eq(&json(
        &package(),
        &state,
        View::Busy,
    ));
    // Reading what was written gives the same document.
    let again = read_at(2, &document);
    let again = package().compose(at(2), ME, &[sourced("a", 2, &again)]).state;
    assert_eq!(full(&again), document);
    assert!(!package().is_change(&state, &again));
}

/// A PIDF without tuples says that nothing is known.
#[test]
fn nothing_known() {
    let state = package().compose(at(0), ME, &[]).state;
    expect_file!["../testdata/nothing_known.xml"].assert_eq(&full(&state));
    assert_eq!(json(&package(), &state, View::Full), r#"{"devices":[]}"#);
    let phone = read_at(0, PHONE);
    let gone = package().compose(at(0), ME, &[residue("a", 0, &phone)]).state;
    assert!(!package().is_change(&state, &gone));
}

/// PR-02: on a call, held or not, and only then; the document says so without any publication.
#[test]
fn calls_show_as_on_the_phone() {
    let dialogs = crate::dialog::Package::new(crate::dialog::Config::default());
    let says = |states: &str| {
        let one = |(index, state)| format!("<dialog id='{index}'><state>{state}</state></dialog>");
        let all: String = states.split_whitespace().enumerate().map(one).collect();
        let body = format!("<dialog-info>{all}</dialog-info>");
        let fact = dialogs.read(0, body.as_bytes(), reading(0)).unwrap();
        let state: AnyState = Arc::new(dialogs.compose(at(0), ME, &[sourced("a", 0, &fact)]).state);
        package().derive("dialog", &state, at(0)).is_some()
    };
    assert!(says("confirmed") && says("terminated early confirmed"));
    assert!(!says("") && !says("early") && !says("terminated trying proceeding early"));
    assert!(package().same_fact(&on_the_phone(0), &on_the_phone(5)));
    assert!(!package().same_fact(&on_the_phone(0), &read_at(0, PHONE)));
    let derived = on_the_phone(0);
    let state = package().compose(at(0), ME, &[sourced("derived:dialog", 0, &derived)]).state;
    expect_file!["../testdata/shown_on_the_phone.xml"].assert_eq(&full(&state));
    assert_eq!(package().derives(), ["dialog"]);
    assert!(Package::new(Config { from_dialogs: false }).derives().is_empty());
}

/// The table of `show`.
#[test]
fn show_of_activities() {
    let check = |inside: &str, expected: Option<Show>| {
        let fact = read_at(0, &body(inside));
        let state = package().compose(at(0), ME, &[sourced("a", 0, &fact)]).state;
        assert_eq!(state.show(), expected, "{inside}");
    };
    let rows = [
        (Show::Dnd, "busy"),
        (Show::Xa, "vacation holiday permanent-absence sleeping travel"),
        (
            Show::Away,
            "away appointment breakfast dinner in-transit lunch meal meeting performance playing presentation shopping \
             spectator steering tv worship",
        ),
        (Show::OnThePhone, "on-the-phone"),
    ];
    let mut known = 0;
    for (show, names) in rows {
        for name in names.split_whitespace() {
            check(&person(&format!("<r:{name}/>"), ""), Some(show));
            known += 1;
        }
    }
    for name in ["looking-for-work", "working", "unknown", "other"] {
        check(&person(&format!("<r:{name}/>"), ""), None);
    }
    assert_eq!(known + 2, ACTIVITIES.len(), "every activity has a row");
    check(&person("<r:away/><r:busy/><r:on-the-phone/>", ""), Some(Show::Dnd));
    check(&person("<r:away/><r:vacation/>", ""), Some(Show::Xa));
    check(&person("<x:DND xmlns:x='urn:x'/>", ""), Some(Show::Dnd));
    check(&(tuple("a", "closed", "") + &person("<r:busy/>", "")), None);
    let jabber = tuple("a", "open", "").replace("</basic>", "</basic><show xmlns='jabber:client'>xa</show>");
    check(&(jabber + &person("<r:busy/>", "")), Some(Show::Xa));
}

/// A new timestamp or the same body again is no change; since when it holds is carried over.
#[test]
fn equal_state_is_no_change() {
    let first = read_at(0, RICH);
    let again = package().merge(&first, read_at(9, RICH));
    assert_eq!(again, first);
    let stamped = package().merge(&first, read_at(9, &RICH.replace("2026-11-21T06:00:00Z", "2026-11-21T06:01:00Z")));
    assert_ne!(stamped, first);
    let state = |fact: &Presence| package().compose(at(9), ME, &[sourced("a", 9, fact)]).state;
    assert!(!package().is_change(&state(&first), &state(&stamped)));
    for (from, to) in [
        ("open", "closed"),
        ("0.5", "0.6"),
        ("<rpid:busy/>", "<rpid:away/>"),
        ("happy", "sad"),
        ("Deep work", "Deep sleep"),
        ("laptop.example.com", "other.example.com"),
        ("<c:audio>true", "<c:audio>false"),
        ("urn:device:0003ba4811e3", "urn:device:0003ba4811e4"),
    ] {
        assert!(RICH.contains(from));
        let changed = package().merge(&first, read_at(9, &RICH.replace(from, to)));
        assert!(package().is_change(&state(&first), &state(&changed)), "{from} to {to}");
        assert_eq!(changed.since, at(9));
    }
}

#[test]
fn what_readers_refuse() {
    let check = |text: &str, expected: Expect| {
        expected.assert_eq(&outcome(package().read(0, text.as_bytes(), reading(0)).map(|fact| fact.tuples.len())));
    };
    check("", expect!["error: byte 0: the document ends too early"]);
    check("<dialog-info/>", expect!["error: byte 14: expected presence"]);
    check(&body(&tuple("a", "perhaps", "")), expect!["error: byte 213: expected open or closed"]);
    check(
        "<!DOCTYPE presence SYSTEM 'http://example.com/'><presence/>",
        expect!["error: byte 48: a document type is refused"],
    );
    check("<presence><note>&#0;</note></presence>", expect!["error: byte 20: an unknown entity"]);
    check("<presence><tuple></presence>", expect!["error: byte 28: not well-formed XML"]);
    check(&body(&"<a>".repeat(1000)), expect!["error: byte 265: elements nest too deep"]);
    let many = |what: fn(usize) -> String| (0..40).map(what).collect::<String>();
    check(&body(&many(|n| tuple(&n.to_string(), "open", ""))), expect!["error: byte 2062: too many tuples"]);
    check(&body(&many(|_| person("", ""))), expect!["error: byte 659: too many persons"]);
    check(&body(&many(|n| format!("<dm:device id='d{n}'/>"))), expect!["error: byte 516: too many devices"]);
    check(&body(&format!("<note>{}</note>", "x".repeat(20_000))), expect!["error: byte 20175: a text is too long"]);
    let namespaces: String =
        (0..5).map(|n| format!("<a{}>", (0..20).map(|m| format!(" xmlns:p{n}q{m}='u'")).collect::<String>())).collect();
    check(&body(&namespaces), expect!["error: byte 795: too many namespaces"]);
}

#[test]
fn what_readers_tolerate() {
    let check = |text: &str, expected: Expect| {
        let fact = read_at(0, text);
        let state = package().compose(at(0), ME, &[sourced("a", 0, &fact)]).state;
        full(&state);
        expected.assert_eq(&brief(&state));
    };
    // No namespace, no id, other prefixes, priorities that are none.
    check(
        "<presence><tuple><status><basic> OPEN </basic></status><contact priority='7'> sip:a@b </contact></tuple></presence>",
        expect!["open [] t0=true"],
    );
    check(
        &body(&tuple("a", "open", ""))
            .replace("xmlns=", "xmlns:p=")
            .replace("presence", "p:presence")
            .replace("tuple", "p:tuple")
            .replace("status", "p:status")
            .replace("basic", "p:basic"),
        expect!["open [] a=true"],
    );
    // The drafts before RFC 4480.
    check(
        &body(
            "<x:person xmlns:x='urn:ietf:params:xml:ns:pidf:person' xmlns:e='urn:ietf:params:xml:ns:pidf:status:rpid-status'>\
               <e:activities><e:away/></e:activities></x:person>",
        ),
        expect!["unknown, away [away]"],
    );
    // An id that a person shares with a tuple.
    check(&body(&(tuple("p", "open", "") + &person("", ""))), expect!["open [] p=true"]);
}

/// PR-01: extensions travel with their namespaces, to the full view only, and only so much of them.
#[test]
fn foreign_elements_are_carried_through() {
    let check = |inside: &str, expected: Expect| {
        let fact = read_at(0, &body(&format!("<tuple id='a'><status/>{inside}</tuple>")));
        let state = package().compose(at(0), ME, &[sourced("a", 0, &fact)]).state;
        full(&state);
        expected.assert_eq(std::str::from_utf8(&state.tuples[0].tuple.extra).unwrap());
    };
    check(
        "<x:a xmlns:x='urn:x' b='1' x:b=\"'2'\"><x:c/>t&amp;<!-- c --><![CDATA[<d>]]></x:a>",
        expect![[r#"<x:a xmlns:x="urn:x" b="1" x:b="'2'"><x:c/>t&amp;&lt;d&gt;</x:a>"#]],
    );
    // Prefixes of outside are declared, those of inside are not touched, the default one is.
    check(
        "<dm:a><r:b/><c/></dm:a>",
        expect![[
            r#"<dm:a xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"><r:b/><c/></dm:a>"#
        ]],
    );
    check("<x xmlns='urn:x'><y xmlns=''/></x>", expect![[r#"<x xmlns="urn:x"><y xmlns=""/></x>"#]]);
    check("<x xmlns='urn:a&amp;b'/>", expect![[r#"<x xmlns="urn:a&amp;b"/>"#]]);
    // What would not be well-formed is left out, and only that.
    check("<x:a/><b xmlns='urn:b'/>", expect![[r#"<b xmlns="urn:b"/>"#]]);
    check("<x:a xmlns:x='urn:x' b='1' b='2'/>", expect![""]);
    check("<x:a xmlns:x='urn:x' xmlns:y='urn:x' x:b='1' y:b='2'/>", expect![""]);
    check("<x:a xmlns:x='urn:x'><x:\u{fc}/></x:a>", expect![""]);
    check("<x:a xmlns:x='urn:x'><x:b:c/></x:a>", expect![""]);
    check("<x:a xmlns:x='urn:x' xmlns:y=''/>", expect![""]);
    // What there is no room for is left out, and all that follows.
    let many = |inside: &str, times| format!("<x xmlns='urn:x'>{}</x><y xmlns='urn:y'/>", inside.repeat(times));
    check(&many("<a/>", 9000), expect![""]);
    let fact = read_at(0, &body(&format!("<tuple id='a'><status/>{}</tuple>", many("a", 16_000))));
    assert_eq!(fact.tuples[0].extra.len(), 16_000 + many("", 0).len());
    let fact = read_at(0, &body(&format!("<tuple id='a'><status/>{}</tuple>", many("<a/>", 4000))));
    assert_eq!(fact.tuples[0].extra.len(), 16_000 + many("", 0).len());
}

/// Any order of sources gives the same, whatever they say.
#[test]
fn composition_in_any_order() {
    let mut chance = Chance(11);
    for _ in 0..150 {
        let facts: Vec<Presence> = (0..4)
            .map(|seconds| {
                let mut inside = String::new();
                for _ in 0..chance.below(3) {
                    inside += &tuple(
                        ["a", "b"][chance.below(2)],
                        ["open", "closed"][chance.below(2)],
                        ["", "c", "d"][chance.below(3)],
                    );
                }
                if chance.below(2) == 0 {
                    let more = ["", "<r:mood><r:happy/></r:mood>", "<r:sphere>s</r:sphere><dm:note>n</dm:note>"];
                    inside += &person(["", "<r:away/>", "<r:unknown/>"][chance.below(3)], more[chance.below(3)]);
                }
                if chance.below(3) == 0 {
                    inside += &format!("<dm:device id='d{}'/><note>{seconds}</note>", chance.below(2));
                }
                read_at(seconds, &body(&inside))
            })
            .collect();
        let derived = on_the_phone(2);
        let mut sources: Vec<Sourced<'_, Presence>> = facts
            .iter()
            .zip(["w", "x", "y", "z"])
            .zip(0..)
            .map(|((fact, source), at)| sourced(source, at, fact))
            .collect();
        sources.push(sourced("derived:dialog", 2, &derived));
        in_any_order(&package(), at(10), &sources);
    }
}

/// No body makes the reader panic or the writer write what is not well-formed.
#[test]
fn mutated_bodies_are_read_or_refused() {
    let mut chance = Chance(5);
    let mut read = 0;
    for round in 0..5_000 {
        let body = mutate(&mut chance, [PHONE, RICH][round % 2].as_bytes(), &PIECES);
        let Ok(fact) = package().read(0, &body, reading(1)) else { continue };
        read += 1;
        let state = package().compose(at(1), ME, &[sourced("a", 0, &fact), sourced("b", 1, &fact)]).state;
        for seen in [View::Full, View::Masked, View::Busy] {
            let mut out = Vec::new();
            package().write(ME, &state, crate::testing::view(seen), &Profile::default(), &mut out);
            well_formed(std::str::from_utf8(&out).unwrap());
            json(&package(), &state, seen);
        }
    }
    assert!(read > 300, "only {read} were readable");
}

/// RFC 4482 section 3.1: who it is, for panels; only for those who may see everything.
#[test]
fn the_name_of_the_person_reaches_the_feed_and_watchers() {
    let named = "<tuple id='a'><status><basic>open</basic></status>\
                 <c:display-name xmlns:c='urn:ietf:params:xml:ns:pidf:cipid'>Ann &amp; Lee</c:display-name></tuple>";
    let fact = read_at(1, &body(named));
    let state = package().compose(at(1), ME, &[sourced("a", 1, &fact)]).state;
    let written = full(&state);
    well_formed(&written);
    assert!(written.contains(">Ann &amp; Lee</c:display-name>"));
    assert!(json(&package(), &state, View::Full).contains(r#""name":"Ann & Lee""#));
    assert!(!json(&package(), &state, View::Masked).contains("Ann"));
    let other = read_at(1, &body(&named.replace("Lee", "Li")));
    let changed = package().compose(at(1), ME, &[sourced("a", 1, &other)]).state;
    assert!(package().is_change(&state, &changed));
}

/// HA-02: what the store keeps reads the same: golden bodies, what is derived, and what survives mutation.
#[test]
fn packed_presence_reads_the_same() {
    let mut chance = Chance(13);
    for body in [PHONE, RICH] {
        damaged(&package(), &packed(&package(), &read_at(3, body)));
    }
    packed(&package(), &on_the_phone(2));
    packed(&package(), &Presence::default());
    for show in ["chat", "away", "xa", "dnd"] {
        let status = format!("<basic>open</basic><show xmlns='jabber:client'>{show}</show>");
        packed(&package(), &read_at(1, &body(&tuple("a", "open", "c").replace("<basic>open</basic>", &status))));
    }
    let all: String = ACTIVITIES.iter().map(|name| format!("<r:{name}/>")).collect();
    packed(&package(), &read_at(1, &body(&person(&all, ""))));
    packed(&package(), &read_at(1, &body(&person("<r:unknown/>", ""))));
    let mut read = 0;
    for round in 0..2_000 {
        let body = mutate(&mut chance, [PHONE, RICH][round % 2].as_bytes(), &PIECES);
        let Ok(fact) = package().read(0, &body, reading(1)) else { continue };
        packed(&package(), &fact);
        read += 1;
    }
    assert!(read > 100, "only {read} were readable");
}

/// What this version wrote must be readable for ever: if this changes, fields have changed their meaning.
#[test]
fn packed_presence_as_it_is_today() {
    expect_file!["../testdata/packed_rich_presence.hex"].assert_eq(&hex(&packed(&package(), &read_at(3, RICH))));
}

fn of_json(seconds: u64, json: &str) -> Presence {
    package().read_json(json.as_bytes(), reading(seconds)).unwrap()
}

/// MI-04: what several programs say of one machine adds up, the newest word on each name counts.
#[test]
fn values_of_several_publications() {
    let one = of_json(1, r#"{"extra":{"cpu":91,"memory":"6 GB"}}"#);
    let two = of_json(2, r#"{"extra":{"cpu":12}}"#);
    let state = in_any_order(&package(), at(3), &[sourced("a", 1, &one), sourced("b", 2, &two)]).state;
    let feed = json(&package(), &state, View::Full);
    assert!(feed.ends_with(r#""extra":{"cpu":12,"memory":"6 GB"}}"#), "{feed}");
    let older = package().compose(at(3), ME, &[sourced("a", 1, &one)]).state;
    assert!(package().is_change(&older, &state));
    damaged(&package(), &packed(&package(), &one));
    for seen in [View::Masked, View::Busy] {
        assert!(!json(&package(), &state, seen).contains("cpu"));
        assert!(!xml(&package(), &state, seen, &Profile::default()).contains("cpu"));
    }
    // Names and values cannot break out.
    let odd = of_json(1, r#"{"extra":{"\"<&\u0001":"]]>&<a>\u0000"}}"#);
    full(&package().compose(at(1), ME, &[sourced("a", 1, &odd)]).state);
}

/// Each `show` arrives as it was said, whatever else there is.
#[test]
fn show_of_json() {
    let check = |json: &str, expected: &str| {
        let fact = of_json(0, json);
        assert_eq!(brief(&package().compose(at(0), ME, &[sourced("a", 0, &fact)]).state), expected, "{json}");
    };
    check(r#"{"show":"dnd"}"#, "open, dnd [busy] main=true");
    check(r#"{"show":"away"}"#, "open, away [away] main=true");
    check(r#"{"show":"xa"}"#, "open, xa [away] main=true");
    check(r#"{"show":"chat"}"#, "open, chat [] main=true");
    check(r#"{"show":"on-the-phone"}"#, "open, on-the-phone [on-the-phone] main=true");
    check(r#"{"show":"dnd","basic":"closed"}"#, "closed [busy] main=false");
    check(r#"{"show":"xa","activities":["vacation"]}"#, "open, xa [vacation] main=true");
    check(r#"{"show":"chat","activities":["meeting"]}"#, "open, chat [meeting] main=true");
    check(r#"{"show":"away","devices":[{"id":"a","basic":"open"}]}"#, "open, away [away] a=true");
    check(r#"{"show":"dnd","devices":[{"basic":"open","show":"chat"}]}"#, "open, chat [busy] t0=true");
    check(r#"{"activities":["lunch"]}"#, "unknown, away [lunch]");
    check(r#"{"note":"x"}"#, "unknown []");
}
