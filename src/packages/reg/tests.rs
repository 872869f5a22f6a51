use super::*;
use crate::testing::{
    Chance, ME, PIECES, at, damaged, hex, in_any_order, json, mutate, outcome, packed, reading, residue, sourced,
    well_formed, xml,
};
use expect_test::{Expect, expect, expect_file};
use lamplighter_model::package::Package as _;

const WHOLE: &str = include_str!("../testdata/publication_registrations.xml");

fn package() -> Package {
    Package::new()
}

fn body(contacts: &str) -> String {
    format!(
        "<reginfo xmlns='{NAMESPACE}' version='0' state='full'><registration aor='{ME}' id='a' state='active'>{contacts}\
         </registration></reginfo>"
    )
}

fn contact(id: &str, uri: &str, state: &str, event: &str, more: &str) -> String {
    format!("<contact id='{id}' state='{state}' event='{event}' {more}><uri>{uri}</uri></contact>")
}

fn read_at(seconds: u64, contacts: &str) -> Bindings {
    package().read(0, body(contacts).as_bytes(), reading(seconds)).unwrap()
}

fn partial_at(seconds: u64, contacts: &str) -> Bindings {
    let body = body(contacts).replace("'full'", "'partial'");
    package().read(0, body.as_bytes(), Reading { modifies: true, ..reading(seconds) }).unwrap()
}

/// Ids and events in order, terminated ones in brackets.
fn brief(state: &State) -> String {
    let one = |shown: &Shown| match shown.contact.ended {
        None => format!("{}={}", shown.id(), shown.contact.event),
        Some(_) => format!("({}={})", shown.id(), shown.contact.event),
    };
    state.shown.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// RG-01: the registration of the address, of a document with several, whole and hidden.
#[test]
fn whole_documents() {
    let fact = package().read(0, WHOLE.as_bytes(), reading(0)).unwrap();
    let state = package().compose(at(0), ME, &[sourced("a", 0, &fact)]).state;
    let document = |seen| xml(&package(), &state, seen, &Profile::default());
    expect_file!["../testdata/shown_registrations.xml"].assert_eq(&document(View::Full));
    expect_file!["../testdata/shown_registrations_masked.xml"].assert_eq(&document(View::Masked));
    expect_file!["../testdata/shown_registrations_busy.xml"].assert_eq(&document(View::Busy));
    expect_file!["../testdata/feed_registrations.json"].assert_eq(&(json(&package(), &state, View::Full) + "\n"));
    assert_eq!(json(&package(), &state, View::Busy), r#"{"registered":true}"#);
    assert_eq!(package().describe(&state), "registered");
    // What is written reads the same, but for what is not written.
    let again = package().read(0, document(View::Full).as_bytes(), reading(0)).unwrap();
    let again = package().compose(at(0), ME, &[sourced("a", 0, &again)]).state;
    assert_eq!(brief(&again), "76=registered (77=expired)");
    assert_eq!(again.shown[0].contact.params, state.shown[0].contact.params);
}

/// RG-01: nobody says, nothing is bound, all has ended.
#[test]
fn states_of_the_registration() {
    let check = |sources: &[Sourced<'_, Bindings>], seconds, expected: Expect| {
        let state = in_any_order(&package(), at(seconds), sources).state;
        let document = xml(&package(), &state, View::Busy, &Profile::default());
        let line = document.lines().nth(2).unwrap().replace(ME, "me");
        expected.assert_eq(&format!("{line} {}", package().describe(&state)));
    };
    check(&[], 0, expect![[r#"<registration aor="me" id="r" state="init"> unknown"#]]);
    let nothing = read_at(0, "");
    check(&[sourced("a", 0, &nothing)], 0, expect![[r#"<registration aor="me" id="r" state="init"> not registered"#]]);
    let one = read_at(0, &contact("1", "sip:a@b", "active", "created", "expires='60'"));
    check(&[sourced("a", 0, &one)], 59, expect![[r#"<registration aor="me" id="r" state="active"> registered"#]]);
    // Its time is over, though nobody says so.
    check(
        &[sourced("a", 0, &one)],
        60,
        expect![[r#"<registration aor="me" id="r" state="terminated"> not registered"#]],
    );
    check(&[sourced("a", 0, &one)], 124, expect![[r#"<registration aor="me" id="r" state="init"> not registered"#]]);
    check(&[residue("a", 0, &one)], 1, expect![[r#"<registration aor="me" id="r" state="init"> unknown"#]]);
}

/// RG-01: a contact whose time is over is told of, then leaves without a word.
#[test]
fn contacts_expire_and_leave() {
    let one = read_at(0, &contact("1", "sip:a@b", "active", "registered", "expires='60'"));
    let compose = |seconds| package().compose(at(seconds), ME, &[sourced("a", 0, &one)]);
    let (alive, over, gone) = (compose(1), compose(60), compose(124));
    assert_eq!((brief(&alive.state).as_str(), alive.again), ("1=registered", Some(at(60))));
    assert_eq!((brief(&over.state).as_str(), over.again), ("(1=expired)", Some(at(124))));
    assert_eq!((brief(&gone.state).as_str(), gone.again), ("", None));
    assert!(package().is_change(&alive.state, &over.state) && !package().is_change(&over.state, &gone.state));
    assert!(package().is_change(&gone.state, &alive.state));
}

/// RG-01: partial documents, refreshes that are no change, and contacts that come back.
#[test]
fn partial_documents_are_merged() {
    let first = read_at(
        0,
        &(contact("1", "sip:a@b", "active", "registered", "") + &contact("2", "sip:c@d", "active", "created", "")),
    );
    let state = |fact: &Bindings, seconds| package().compose(at(seconds), ME, &[sourced("a", seconds, fact)]).state;
    let refreshed =
        package().merge(&first, partial_at(5, &contact("1", "sip:a@b", "active", "refreshed", "expires='99'")));
    assert_eq!(brief(&state(&refreshed, 5)), "1=refreshed 2=created");
    assert_eq!(refreshed.all[1].since, at(0));
    assert!(!package().is_change(&state(&first, 5), &state(&refreshed, 5)));
    let ended = package().merge(&refreshed, partial_at(9, &contact("1", "sip:a@b", "terminated", "unregistered", "")));
    assert_eq!(brief(&state(&ended, 9)), "(1=unregistered) 2=created");
    assert!(package().is_change(&state(&refreshed, 9), &state(&ended, 9)));
    // Said again, it leaves no later.
    let again = package().merge(&ended, partial_at(30, &contact("1", "sip:a@b", "terminated", "unregistered", "")));
    assert_eq!(brief(&state(&again, 72)), "(1=unregistered) 2=created");
    assert_eq!(brief(&state(&again, 73)), "2=created");
    let back = package().merge(&again, partial_at(40, &contact("1", "sip:a@b", "active", "registered", "")));
    assert_eq!(brief(&state(&back, 40)), "2=created 1=registered");
    // A full document is all there is.
    let full = package().merge(&back, read_at(50, &contact("3", "sip:e@f", "active", "registered", "")));
    assert_eq!(brief(&state(&full, 50)), "3=registered");
    let many: String =
        (0..64).map(|n| contact(&format!("n{n}"), &format!("sip:n{n}@b"), "active", "created", "")).collect();
    assert_eq!(package().merge(&ended, partial_at(60, &many)).all.len(), 64);
}

/// Two registrars tell of the same contact, and of different ones under one id.
#[test]
fn contacts_of_several_registrars() {
    let one = read_at(0, &contact("1", "sip:a@b", "active", "registered", ""));
    let two = read_at(
        1,
        &(contact("7", "sip:a@b", "terminated", "rejected", "") + &contact("1", "sip:c@d", "active", "created", "")),
    );
    let state = in_any_order(&package(), at(1), &[sourced("a", 0, &one), sourced("b", 1, &two)]).state;
    assert_eq!(brief(&state), "1=created (7=rejected)");
    let state = in_any_order(&package(), at(2), &[sourced("a", 2, &one), sourced("b", 1, &two)]).state;
    assert_eq!(brief(&state), "1=registered 1-c40258d5=created");
}

#[test]
fn what_readers_refuse_and_tolerate() {
    let check = |body: &str, expected: Expect| {
        let read = package().read(0, body.as_bytes(), reading(0));
        expected.assert_eq(&outcome(
            read.map(|fact| fact.all.iter().map(|one| format!("{} {}", one.id, one.event)).collect::<Vec<_>>()),
        ));
    };
    check("<presence/>", expect!["error: byte 11: expected reginfo"]);
    check("<reginfo/>", expect!["[]"]);
    check(
        "<reginfo><registration><contact/></registration></reginfo>",
        expect!["error: byte 33: expected the state active or terminated"],
    );
    check(
        "<reginfo><registration><contact state='active'/></registration></reginfo>",
        expect!["error: byte 48: a contact has no uri"],
    );
    // No id, an event that nobody knows, numbers that are none.
    check(
        "<reginfo><registration><contact state='active' event='x' q='7' expires='-1'><uri> sip:a@b </uri></contact></registration></reginfo>",
        expect![[r#"["sip:a@b registered"]"#]],
    );
    check(&body(&contact("1", "sip:a@b", "terminated", "x", "")), expect![[r#"["1 unregistered"]"#]]);
    let many: String = (0..65).map(|n| contact(&n.to_string(), "sip:a@b", "active", "created", "")).collect();
    check(&body(&many), expect!["error: byte 5131: too many contacts"]);
}

/// HA-02: what the store keeps reads the same, and no body makes the reader panic or the writer write nonsense.
#[test]
fn packed_and_mutated_registrations() {
    let whole = package().read(0, WHOLE.as_bytes(), reading(3)).unwrap();
    let bytes = packed(&package(), &whole);
    damaged(&package(), &bytes);
    // What this version wrote must be readable for ever: if this changes, fields have changed their meaning.
    expect_file!["../testdata/packed_registrations.hex"].assert_eq(&hex(&bytes));
    let mut chance = Chance(41);
    let mut read = 0;
    for round in 0..4_000 {
        let body = mutate(&mut chance, WHOLE.as_bytes(), &PIECES);
        let reading = Reading { modifies: round % 3 == 0, ..reading(1) };
        let Ok(fact) = package().read(0, &body, reading) else { continue };
        read += 1;
        packed(&package(), &fact);
        let merged = package().merge(&whole, fact.clone());
        let state = package().compose(at(1), ME, &[sourced("a", 0, &merged), sourced("b", 0, &fact)]).state;
        for seen in [View::Full, View::Masked, View::Busy] {
            let mut out = Vec::new();
            package().write(ME, &state, crate::testing::view(seen), &Profile::default(), &mut out);
            well_formed(std::str::from_utf8(&out).unwrap());
            json(&package(), &state, seen);
        }
    }
    assert!(read > 200, "only {read} were readable");
}
