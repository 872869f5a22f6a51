use super::*;
use crate::testing::{
    Chance, ME, PIECES, at, damaged, hex, in_any_order, json, mutate, outcome, packed, reading, residue, sourced,
    well_formed, xml,
};
use expect_test::{expect, expect_file};
use lamplighter_model::config::Idle;
use lamplighter_model::package::Package as _;

fn package() -> Package {
    Package::new(Config::default())
}

fn body(dialogs: &str) -> String {
    format!("<dialog-info xmlns=\"{NAMESPACE}\" version=\"7\" state=\"full\" entity=\"{ME}\">{dialogs}</dialog-info>")
}

fn read_at(seconds: u64, dialogs: &str) -> Dialogs {
    package().read(0, body(dialogs).as_bytes(), reading(seconds)).unwrap()
}

/// A dialog with an id, a Call-ID, both tags and a state.
fn dialog(id: &str, call: &str, tags: (&str, &str), state: &str) -> String {
    format!(
        "<dialog id=\"{id}\" call-id=\"{call}\" local-tag=\"{}\" remote-tag=\"{}\" direction=\"recipient\">\
         <state>{state}</state></dialog>",
        tags.0, tags.1
    )
}

/// Ids and states of a composed state, in order.
fn shown(state: &State) -> String {
    let one = |shown: &Shown| format!("{}={}", shown.id(), shown.dialog.progress.name());
    state.shown.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn full(state: &State) -> String {
    xml(&package(), state, View::Full, &Profile::default())
}

const ASTERISK: &str = include_str!("../testdata/publication_constant_id_per_extension.xml");
const PHONE: &str = include_str!("../testdata/publication_id_one_with_foreign_elements.xml");
const FORKS: &str = include_str!("../testdata/publication_call_id_as_id_of_forks.xml");

fn read_file(seconds: u64, body: &str) -> Dialogs {
    package().read(0, body.as_bytes(), reading(seconds)).unwrap()
}

/// Habit one: a server that writes the extension as the id of whatever call there is.
#[test]
fn constant_id_per_extension() {
    let ringing = read_file(0, ASTERISK);
    let state = in_any_order(&package(), at(0), &[sourced("a", 0, &ringing)]).state;
    expect_file!["../testdata/shown_constant_id_ringing.xml"].assert_eq(&full(&state));
    // The call ends, and the next one rings under the same id within the linger: it is a new call.
    let ended = package().merge(&ringing, read_file(5, &ASTERISK.replace("early", "terminated")));
    let next = ASTERISK.replace("f1e2d3@pbx", "f1e2d4@pbx");
    let again = package().merge(&ended, read_file(10, &next));
    let tombstone = package().residue(&ended, Some(&again)).unwrap();
    let sources = [sourced("a", 10, &again), residue("a", 5, &tombstone)];
    let state = in_any_order(&package(), at(10), &sources).state;
    assert_eq!(shown(&state), "1001=early");
    assert_eq!(state.shown[0].since, at(10));
}

/// Habit two: phones that count from `1`, so that two phones of one presentity use the same ids.
#[test]
fn id_one_of_two_phones() {
    let desk = read_file(0, PHONE);
    let soft = read_at(4, &dialog("1", "other@soft", ("st", "rt"), "early"));
    let state = in_any_order(&package(), at(9), &[sourced("desk", 0, &desk), sourced("soft", 4, &soft)]).state;
    expect_file!["../testdata/shown_id_one_of_two_phones.xml"].assert_eq(&full(&state));
}

/// Habit three: a proxy that writes the Call-ID as the id of every fork (PD-06).
#[test]
fn call_id_as_id_of_forks() {
    let ringing = read_file(0, FORKS);
    let state = in_any_order(&package(), at(0), &[sourced("a", 0, &ringing)]).state;
    expect_file!["../testdata/shown_call_id_as_id_of_forks.xml"].assert_eq(&full(&state));
    // One fork answers, the other is cancelled: its end does not touch the winner's lamp.
    let answered = FORKS.replacen("early", "confirmed", 1).replacen("early", "terminated", 1);
    let answered = package().merge(&ringing, read_file(3, &answered));
    let state = in_any_order(&package(), at(3), &[sourced("a", 3, &answered)]).state;
    assert_eq!(state.lamp(), Lamp::Busy);
    let state = in_any_order(&package(), at(67), &[sourced("a", 3, &answered)]).state;
    assert_eq!(shown(&state), "a84b4c76e66710@proxy.example.com=confirmed");
}

/// DI-04: two publications make one document; when one expires, the next document has one dialog.
#[test]
fn publications_are_aggregated() {
    let one = read_at(0, &dialog("d1", "c1", ("a", "b"), "confirmed"));
    let two = read_at(1, &dialog("d2", "c2", ("a", "b"), "early"));
    let both = in_any_order(&package(), at(1), &[sourced("one", 0, &one), sourced("two", 1, &two)]).state;
    assert_eq!(shown(&both), "d1=confirmed d2=early");
    assert_eq!(full(&both).matches("<dialog ").count(), 2);
    let left = in_any_order(&package(), at(1), &[sourced("two", 1, &two)]).state;
    assert_eq!(shown(&left), "d2=early");
    assert!(package().is_change(&both, &left));
}

/// DI-06: with one dialog allowed, of all subsets of states the most urgent is shown.
#[test]
fn single_dialog_of_all_31_subsets() {
    let profile = Profile { single_dialog: true, ..Profile::default() };
    let order = ["early", "confirmed", "proceeding", "trying", "terminated"];
    for subset in 1_u32..32 {
        let chosen = || order.iter().enumerate().filter(|(index, _)| subset & 1 << index != 0).map(|(_, state)| state);
        // The least urgent first and last: neither place in the document may matter.
        for reversed in [false, true] {
            let mut dialogs: Vec<String> = chosen().map(|state| dialog(state, state, ("a", "b"), state)).collect();
            if reversed {
                dialogs.reverse();
            }
            let fact = read_at(0, &dialogs.concat());
            let state = package().compose(at(0), ME, &[sourced("a", 0, &fact)]).state;
            let document = xml(&package(), &state, View::Full, &profile);
            let expected = chosen().next().unwrap();
            assert_eq!(document.matches("<dialog ").count(), 1, "{document}");
            assert!(document.contains(&format!("<state>{expected}</state>")), "{subset:05b}: {document}");
        }
    }
}

/// DI-06: of two equally urgent dialogs the newest.
#[test]
fn single_dialog_newest_of_equals() {
    let profile = Profile { single_dialog: true, ..Profile::default() };
    let old = read_at(0, &dialog("old", "c1", ("a", "b"), "early"));
    let new = read_at(1, &dialog("new", "c2", ("a", "b"), "early"));
    let state = in_any_order(&package(), at(1), &[sourced("z", 0, &old), sourced("a", 1, &new)]).state;
    assert!(xml(&package(), &state, View::Full, &profile).contains("id=\"new\""));
}

/// DI-08: the digit that the notifier replaces stands where the cut says (also checked in every `xml`).
#[test]
fn version_and_entity_can_be_cut() {
    let mut out = Vec::new();
    let cuts = package().write(ME, &State::default(), crate::testing::view(View::Full), &Profile::default(), &mut out);
    assert_eq!(out[cuts.version.unwrap() as usize], b'0');
    let entity = cuts.entity.unwrap();
    assert_eq!(&out[entity.start as usize..entity.end as usize], ME.as_bytes());
}

/// DI-09: the same body again is no change, nor is a moment that has passed.
#[test]
fn equal_state_is_no_change() {
    let first = read_file(0, PHONE);
    let again = package().merge(&first, read_file(30, &PHONE.replace("version=\"3\"", "version=\"4\"")));
    let before = package().compose(at(0), ME, &[sourced("a", 0, &first)]).state;
    let after = package().compose(at(30), ME, &[sourced("a", 30, &again)]).state;
    assert!(!package().is_change(&before, &after));
    assert_eq!(after.shown[0].since, before.shown[0].since, "carried over");
    let held = package().merge(&again, read_file(31, &PHONE.replace("pval=\"yes\"", "pvalue=\"no\"")));
    let held = package().compose(at(31), ME, &[sourced("a", 31, &held)]).state;
    assert!(package().is_change(&after, &held));
    assert_eq!(held.lamp(), Lamp::Hold);
}

/// DI-13: the idle document is the profile's choice.
#[test]
fn idle_documents() {
    let idle = State::default();
    expect_file!["../testdata/idle_empty.xml"].assert_eq(&full(&idle));
    let profile = Profile { idle: Idle::Terminated, idle_id: "0000".into(), ..Profile::default() };
    expect_file!["../testdata/idle_one_terminated.xml"].assert_eq(&xml(&package(), &idle, View::Full, &profile));
}

/// PD-02: every field of a publication is in the document, in the order of the schema.
#[test]
fn nothing_is_lost_on_the_way() {
    let body = include_str!("../testdata/publication_every_field.xml");
    let fact = read_file(0, body);
    let state = package().compose(at(0), ME, &[sourced("a", 0, &fact)]).state;
    let document = full(&state);
    expect_file!["../testdata/shown_every_field.xml"].assert_eq(&document);
    // Reading what was written gives the same.
    let again = read_file(0, &document);
    assert!(again.all[0].looks_like(&fact.all[0]), "{again:#?}");
}

/// PD-15: hostile and foreign characters survive, what XML cannot say is left out.
#[test]
fn every_character_is_escaped() {
    let odd = "a\"&<>'\u{e4}\u{1f4de}\u{fffe}\u{1}\r\n\tb";
    let mut one = read_at(0, &dialog("x", "c", ("a", "b"), "early"));
    let dialog = Arc::make_mut(&mut one.all[0]);
    for field in [&mut dialog.call_id, &mut dialog.local_tag, &mut dialog.remote.display, &mut dialog.remote.identity] {
        *field = Some(odd.into());
    }
    dialog.id = odd.into();
    dialog.remote.params = vec![(odd.into(), odd.into())];
    let state = package().compose(at(0), ME, &[sourced("a", 0, &one)]).state;
    let document = full(&state);
    expect_file!["../testdata/shown_every_character_escaped.xml"].assert_eq(&document);
    let again = read_file(0, &document);
    let clean = odd.replace(['\u{fffe}', '\u{1}'], "");
    assert_eq!(again.all[0].call_id.as_deref(), Some(&*clean));
    assert_eq!(again.all[0].remote.params, [(Box::from(&*clean), Box::from(&*clean))]);
    assert_eq!(again.all[0].remote.identity.as_deref(), Some(&*clean));
    for seen in [View::Full, View::Masked, View::Busy] {
        json(&package(), &state, seen);
        xml(&package(), &state, seen, &Profile::default());
    }
}

/// PD-15: what a publisher escaped is shown escaped once, not twice.
#[test]
fn escapes_of_publishers_are_undone() {
    let fact = read_at(
        0,
        "<dialog id='&quot;1&quot;' call-id='a&amp;b&#60;'><state>early</state><remote><identity display='A &apos;B&#x27;'>\
         &lt;sip:x@example.com?a=b&amp;c=d&gt;</identity></remote></dialog>",
    );
    let dialog = &fact.all[0];
    assert_eq!((&*dialog.id, dialog.call_id.as_deref()), ("\"1\"", Some("a&b<")));
    assert_eq!(dialog.remote.display.as_deref(), Some("A 'B'"));
    assert_eq!(dialog.remote.identity.as_deref(), Some("sip:x@example.com?a=b&c=d"));
}

/// The same call told by a phone and by its proxy, from either side, is shown once: the newest.
#[test]
fn one_call_of_two_publishers_is_shown_once() {
    let phone = read_at(0, &dialog("1", "c", ("lt", "rt"), "early"));
    let proxy = read_at(2, &dialog("c", "c", ("rt", "lt"), "confirmed"));
    let sources = [sourced("phone", 0, &phone), sourced("proxy", 2, &proxy)];
    let state = in_any_order(&package(), at(2), &sources).state;
    assert_eq!((&*shown(&state), state.shown[0].since), ("c=confirmed", at(0)), "since the first knew of it");
    // Without both tags nothing says that it is one call.
    let early = read_at(2, "<dialog id='c' call-id='c' local-tag='lt'><state>early</state></dialog>");
    let sources = [sourced("phone", 0, &phone), sourced("proxy", 2, &early)];
    assert_eq!(shown(&in_any_order(&package(), at(2), &sources).state), "1=early c=early");
}

/// DI-03: a proxy that publishes faster than it learns its entity-tags has publications that it knows nothing of any
/// more, and it leaves out tags before an answer and at the end. Its calls are shown once and end nevertheless.
#[test]
fn a_call_told_without_tags_is_shown_once() {
    let vague =
        |state: &str| format!("<dialog id='p' call-id='c' direction='initiator'><state>{state}</state></dialog>");
    let tagged = |id: &str, direction: &str| {
        format!(
            "<dialog id='{id}' call-id='c' local-tag='l' remote-tag='r' direction='{direction}'><state>early</state></dialog>"
        )
    };
    let lost = read_at(0, &vague("trying"));
    let shown_with = |seconds: u64, newer: &str| {
        let newer = read_at(seconds, newer);
        let sources = [sourced("lost", 0, &lost), sourced("kept", seconds, &newer)];
        let state = in_any_order(&package(), at(seconds), &sources).state;
        assert!(state.shown.iter().all(|shown| shown.since == at(0)) || state.shown.len() > 1);
        shown(&state)
    };
    assert_eq!(shown_with(1, &tagged("p", "initiator")), "p=early");
    assert_eq!(shown_with(2, &vague("confirmed")), "p=confirmed");
    assert_eq!(shown_with(3, &vague("terminated")), "p=terminated");
    assert_eq!(shown_with(1, &tagged("q", "initiator")), "p=trying q=early", "another id");
    assert_eq!(shown_with(1, &tagged("p", "recipient")).matches('p').count(), 2, "its other side");
    // Forks with tags of one source are not one call, whatever another says without.
    let forks = tagged("p", "initiator") + &tagged("p", "initiator").replace("'r'", "'s'");
    assert_eq!(shown_with(1, &forks).matches("early").count(), 2);
    // What has ended stays so as long as the lost one lives.
    let (over, early) = (read_at(3, &vague("terminated")), read_at(1, &tagged("p", "initiator")));
    let sources = [sourced("lost", 0, &lost), sourced("other", 1, &early), residue("kept", 3, &over)];
    assert_eq!(shown(&in_any_order(&package(), at(500), &sources).state), "");
    assert!(package().contradicts(&over, &lost) && package().contradicts(&over, &early));
    assert!(!package().contradicts(&over, &over) && !package().contradicts(&lost, &early));
    assert!(!package().contradicts(&over, &read_at(1, &tagged("q", "initiator"))));
}

/// Terminated is final for a call: a late early of another publisher does not light the lamp again.
#[test]
fn terminated_beats_what_others_still_say() {
    let over = read_at(0, &dialog("c", "c", ("a", "b"), "terminated"));
    let late = read_at(1, &dialog("1", "c", ("b", "a"), "early"));
    let other = read_at(1, &dialog("2", "c", ("b", "x"), "early"));
    for tombstone in [sourced("proxy", 0, &over), residue("proxy", 0, &over)] {
        let sources = [tombstone, sourced("phone", 1, &late), sourced("soft", 1, &other)];
        let composed = in_any_order(&package(), at(1), &sources);
        assert_eq!(shown(&composed.state), "c=terminated 2=early", "a fork with another tag rings on");
        assert_eq!(composed.again, Some(at(64)));
    }
    // It lasted since the first knew of it.
    let ringing = read_at(0, &dialog("1", "c", ("b", "a"), "early"));
    let ended = read_at(9, &dialog("c", "c", ("a", "b"), "terminated"));
    let state = in_any_order(&package(), at(9), &[sourced("phone", 0, &ringing), sourced("proxy", 9, &ended)]).state;
    assert!(json(&package(), &state, View::Full).contains("\"duration_ms\":9000"));
    // What is over may have been another call.
    let state = in_any_order(
        &package(),
        at(9),
        &[residue("phone", 0, &over), sourced("phone", 9, &read_at(9, &dialog("c", "c", ("a", "b"), "early")))],
    )
    .state;
    assert_eq!((&*shown(&state), state.shown[0].since), ("c=early", at(9)));
    // As long as the publication lives it wins, although its dialog is not shown any more.
    let sources = [sourced("proxy", 0, &over), sourced("phone", 1, &late)];
    assert_eq!(shown(&in_any_order(&package(), at(100), &sources).state), "");
    // A residue wins for the linger.
    let sources = [residue("proxy", 0, &over), sourced("phone", 1, &late)];
    assert_eq!(shown(&in_any_order(&package(), at(63), &sources).state), "c=terminated");
    assert_eq!(shown(&in_any_order(&package(), at(64), &sources).state), "1=early");
}

/// The order of one publication rules: terminated, then early under the same id and tags, is what it says.
#[test]
fn one_publication_may_begin_anew() {
    let over = read_at(0, &dialog("1", "c", ("a", "b"), "terminated"));
    let anew = package().merge(&over, read_at(5, &dialog("1", "c", ("a", "b"), "early")));
    let tombstone = package().residue(&over, Some(&anew)).unwrap();
    let sources = [residue("a", 0, &tombstone), sourced("a", 5, &anew)];
    assert_eq!(shown(&in_any_order(&package(), at(5), &sources).state), "1=early");
    // Another publisher's early of that call stays beaten.
    let other = read_at(6, &dialog("x", "c", ("a", "b"), "early"));
    let sources = [residue("a", 0, &tombstone), sourced("a", 5, &anew), sourced("b", 6, &other)];
    assert_eq!(shown(&in_any_order(&package(), at(6), &sources).state), "1=early");
}

/// A terminated dialog is shown for 64 s and leaves without a word; a refresh does not keep it.
#[test]
fn terminated_leaves_silently() {
    let talking = read_at(0, &dialog("1", "c", ("a", "b"), "confirmed"));
    let over = package().merge(&talking, read_at(10, &dialog("1", "c", ("a", "b"), "terminated")));
    let before = in_any_order(&package(), at(0), &[sourced("a", 0, &talking)]);
    assert_eq!(before.again, None);
    let ended = in_any_order(&package(), at(10), &[sourced("a", 10, &over)]);
    assert_eq!((shown(&ended.state), ended.again), ("1=terminated".to_owned(), Some(at(74))));
    assert!(package().is_change(&before.state, &ended.state));
    let refreshed = package().merge(&over, read_at(60, &dialog("1", "c", ("a", "b"), "terminated")));
    let refreshed = in_any_order(&package(), at(60), &[sourced("a", 60, &refreshed)]);
    assert_eq!(refreshed.again, Some(at(74)));
    assert!(!package().is_change(&ended.state, &refreshed.state));
    let gone = in_any_order(&package(), at(74), &[sourced("a", 60, &over)]);
    assert_eq!((shown(&gone.state), gone.again), (String::new(), None));
    assert!(!package().is_change(&ended.state, &gone.state));
}

#[test]
fn residue_is_what_ended_and_is_not_said_any_more() {
    let old = read_at(0, &(dialog("1", "c1", ("a", "b"), "terminated") + &dialog("2", "c2", ("a", "b"), "early")));
    let ids = |residue: Option<Dialogs>| {
        residue.map(|residue| residue.all.iter().map(|dialog| dialog.id.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(ids(package().residue(&old, None)), Some(vec!["1".to_owned()]));
    assert_eq!(ids(package().residue(&old, Some(&old))), None);
    let reused = read_at(1, &dialog("1", "c3", ("a", "b"), "early"));
    assert_eq!(ids(package().residue(&old, Some(&reused))), Some(vec!["1".to_owned()]));
    assert_eq!(ids(package().residue(&reused, None)), None);
}

/// A partial document changes the dialogs it names; where there is nothing to change, it is all there is.
#[test]
fn partial_documents_merge() {
    let old = read_at(0, &(dialog("1", "c1", ("a", "b"), "confirmed") + &dialog("2", "c2", ("a", "b"), "early")));
    let partial = body(&dialog("2", "c2", ("a", "b"), "confirmed")).replace("\"full\"", "\"partial\"");
    let modifies = Reading { modifies: true, ..reading(5) };
    let read = |partial: &str, reading| package().read(0, partial.as_bytes(), reading).unwrap();
    let merged = package().merge(&old, read(&partial, modifies));
    let state = package().compose(at(5), ME, &[sourced("a", 5, &merged)]).state;
    assert_eq!(shown(&state), "1=confirmed 2=confirmed");
    assert_eq!(state.shown[1].since, at(0));
    assert_eq!(state.shown[1].dialog.answered, Some(at(5)));
    let initial = read(&partial, reading(5));
    let state = package().compose(at(5), ME, &[sourced("a", 5, &initial)]).state;
    assert_eq!(shown(&state), "2=confirmed");
    // However long it goes on, a publication does not grow beyond its bound: what is over goes first.
    let mut grown = merged;
    for number in 0..200 {
        let state = if number % 2 == 0 { "terminated" } else { "early" };
        let more = body(&dialog(&format!("n{number}"), &format!("n{number}"), ("a", "b"), state));
        grown = package().merge(&grown, read(&more.replace("\"full\"", "\"partial\""), modifies));
    }
    assert_eq!(grown.all.len(), 64);
    assert!(grown.all.iter().all(|dialog| dialog.progress == Progress::Early));
}

#[test]
fn what_readers_refuse() {
    let check = |text: &str, expected: expect_test::Expect| {
        expected.assert_eq(&outcome(package().read(0, text.as_bytes(), reading(0)).map(|fact| fact.all.len())));
    };
    check("", expect!["error: byte 0: the document ends too early"]);
    check("<presence/>", expect!["error: byte 11: expected dialog-info"]);
    check("<dialog-info xmlns='urn:other'/>", expect!["error: byte 32: expected dialog-info"]);
    check(&body("<dialog id='1'/>"), expect!["error: byte 127: a dialog has no state"]);
    check(
        &body("<dialog id='1'><state>ringing</state></dialog>"),
        expect!["error: byte 148: expected trying, proceeding, early, confirmed or terminated"],
    );
    check(
        &body("<dialog><state>early</state></dialog>"),
        expect!["error: byte 119: a dialog has neither id nor call-id"],
    );
    check(&body("<dialog id='1'><state>early</state>"), expect!["error: byte 160: not well-formed XML"]);
    check("<!DOCTYPE a><dialog-info/>", expect!["error: byte 12: a document type is refused"]);
    check(&body("<dialog id='&nobody;'/>"), expect!["error: byte 134: an unknown entity"]);
    check(&"<a>".repeat(10_000), expect!["error: byte 3: expected dialog-info"]);
    check(&body(&"<a>".repeat(10_000)), expect!["error: byte 207: elements nest too deep"]);
    let many: String = (0..65).map(|n| dialog(&n.to_string(), &n.to_string(), ("a", "b"), "early")).collect();
    check(&body(&many), expect!["error: byte 7176: too many dialogs"]);
    let attributes: String = (0..40).map(|n| format!(" a{n}=''")).collect();
    check(&body(&format!("<dialog{attributes}/>")), expect!["error: byte 390: an element has too many attributes"]);
}

#[test]
fn what_readers_tolerate() {
    let check = |text: &str, expected: expect_test::Expect| {
        let fact = package().read(0, text.as_bytes(), reading(0)).unwrap();
        let one =
            |dialog: &Arc<Dialog>| format!("{} {:?} {:?} {:?}", dialog.id, dialog.progress, dialog.event, dialog.code);
        expected.assert_eq(&fact.all.iter().map(one).collect::<Vec<_>>().join("; "));
    };
    let prefixed = body("<dialog id='1'><state event='LOCAL-BYE' code='200'> Terminated\n</state></dialog>")
        .replace("xmlns=", "xmlns:di=")
        .replace("<d", "<di:d")
        .replace("</d", "</di:d")
        .replace("state>", "di:state>")
        .replace("<state ", "<di:state ");
    check(&prefixed, expect![[r#"1 Terminated Some("local-bye") Some(200)"#]]);
    check("<dialog-info><dialog id='1'><state>early</state></dialog></dialog-info>\0\0", expect!["1 Early None None"]);
    check(
        "\u{feff}<?xml version='1.0'?><dialog-info><!-- a --><dialog call-id='c' remote-tag='r'><state code='9' \
         event='new'><![CDATA[trying]]></state></dialog></dialog-info>",
        expect!["c;;r Trying None None"],
    );
    check("<dialog-info/>", expect![""]);
    check(
        &body(&(dialog("1", "c", ("a", "b"), "early") + &dialog("1", "c", ("a", "b"), "confirmed"))),
        expect!["1 Confirmed None None"],
    );
    let latin = b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><dialog-info><dialog id=\"1\"><state>early</state>\
                  <remote><identity display=\"J\xf6rg\">sip:a@b</identity></remote></dialog></dialog-info>";
    let fact = package().read(0, latin, reading(0)).unwrap();
    assert_eq!(fact.all[0].remote.display.as_deref(), Some("J\u{f6}rg"));
    assert!(package().read(0, &latin[44..], reading(0)).is_err());
}

/// Elements of other namespaces are for the full view only, and each stands for itself.
#[test]
fn foreign_elements_are_carried_through() {
    let fact = read_file(0, PHONE);
    let state = package().compose(at(0), ME, &[sourced("a", 0, &fact)]).state;
    let document = full(&state);
    assert!(document.contains("xmlns:sa=\"urn:ietf:params:xml:ns:sa-dialog-info\""), "{document}");
    for seen in [View::Masked, View::Busy] {
        assert!(!xml(&package(), &state, seen, &Profile::default()).contains("sa-dialog-info"));
    }
    let large = body(&format!(
        "<dialog id='1'><state>early</state>{}</dialog>",
        "<x xmlns='urn:x'>0123456789012345678901234567890123456789</x>".repeat(2000)
    ));
    let fact = read_file(0, &large);
    assert!((8_000..=8 * 1024).contains(&fact.all[0].extra.len()));
}

#[test]
fn views_hide() {
    let fact = read_file(0, include_str!("../testdata/publication_every_field.xml"));
    let state = package().compose(at(0), ME, &[sourced("a", 0, &fact)]).state;
    let profile = Profile::default();
    expect_file!["../testdata/shown_every_field_masked.xml"].assert_eq(&xml(
        &package(),
        &state,
        View::Masked,
        &profile,
    ));
    expect_file!["../testdata/shown_every_field_busy.xml"].assert_eq(&xml(&package(), &state, View::Busy, &profile));
    expect_file!["../testdata/feed_every_field.json"].assert_eq(&(json(&package(), &state, View::Full) + "\n"));
    expect_file!["../testdata/feed_every_field_masked.json"]
        .assert_eq(&(json(&package(), &state, View::Masked) + "\n"));
    expect![[r#"{"lamp":"hold","n":1}"#]].assert_eq(&json(&package(), &state, View::Busy));
}

#[test]
fn feed_of_an_ended_call() {
    let event = |state: &str| dialog("1", "c", ("a", "b"), state).replace("<state>", "<state event='remote-bye'>");
    let talking = read_at(0, &dialog("1", "c", ("a", "b"), "confirmed"));
    let over = package().merge(&talking, read_at(7, &event("terminated")));
    let state = package().compose(at(7), ME, &[sourced("a", 7, &over)]).state;
    expect![[r#"{"lamp":"idle","n":0,"calls":[],"ended":[{"id":"1","dir":"in","event":"remote-bye","since":1800000000000,"answered":1800000000000,"duration_ms":7000}]}"#]]
        .assert_eq(&json(&package(), &state, View::Full));
}

/// What a lamp shows: ringing, dialing, busy, hold, idle, the first that holds.
#[test]
fn lamps() {
    let check = |dialogs: &[(&str, &str)], expected: &str| {
        let one = |(index, (state, direction)): (usize, &(&str, &str))| {
            let held = if *state == "held" { "<param pname='+sip.rendering' pval='no'/>" } else { "" };
            let state = if *state == "held" { "confirmed" } else { state };
            format!(
                "<dialog id='{index}' direction='{direction}'><state>{state}</state>\
                 <local><target uri='sip:a@b'>{held}</target></local></dialog>"
            )
        };
        let fact = read_at(0, &dialogs.iter().enumerate().map(one).collect::<String>());
        let state = package().compose(at(0), ME, &[sourced("a", 0, &fact)]).state;
        assert_eq!(package().describe(&state), expected, "{dialogs:?}");
    };
    check(&[], "idle");
    check(&[("terminated", "recipient")], "idle");
    check(&[("early", "recipient")], "ringing");
    check(&[("early", "initiator")], "dialing");
    check(&[("early", "")], "ringing");
    check(&[("trying", "initiator")], "dialing");
    check(&[("proceeding", "")], "dialing");
    check(&[("trying", "recipient")], "busy");
    check(&[("confirmed", "initiator")], "busy");
    check(&[("held", "recipient")], "hold");
    check(&[("held", "recipient"), ("confirmed", "recipient")], "busy, 2 calls");
    check(&[("confirmed", "recipient"), ("early", "initiator")], "dialing, 2 calls");
    check(&[("early", "initiator"), ("early", "recipient"), ("terminated", "")], "ringing, 2 calls");
}

/// Any order of sources gives the same, whatever they say.
#[test]
fn composition_in_any_order() {
    let mut chance = Chance(42);
    for _ in 0..300 {
        let mut facts = Vec::new();
        for seconds in 0..4_u64 {
            let mut all = String::new();
            for _ in 0..chance.below(3) {
                let id = ["1", "2", "c1"][chance.below(3)];
                let call = ["c1", "c2"][chance.below(2)];
                let tags = [("a", "b"), ("b", "a"), ("a", "c"), ("a", "")][chance.below(4)];
                let state = ["early", "confirmed", "terminated", "trying"][chance.below(4)];
                all += &dialog(id, call, tags, state);
            }
            facts.push((["x", "y", "z"][chance.below(3)], chance.below(4) > 0, read_at(seconds, &all)));
        }
        let mut lives: Vec<&str> = Vec::new();
        let mut sources = Vec::new();
        for (seconds, (source, live, fact)) in facts.iter().enumerate() {
            // A source has one live publication; the rest of it is residue, that is: what has ended.
            if *live && !lives.contains(source) {
                lives.push(source);
                sources.push((sourced(source, seconds as u64, fact), None));
            } else if let Some(over) = package().residue(fact, None) {
                sources.push((residue(source, seconds as u64, fact), Some(over)));
            }
        }
        let sources: Vec<Sourced<'_, Dialogs>> = sources
            .iter()
            .map(|(sourced, over)| Sourced { fact: over.as_ref().unwrap_or(sourced.fact), ..*sourced })
            .collect();
        let state = in_any_order(&package(), at(10), &sources).state;
        let mut ids: Vec<&str> = state.shown.iter().map(Shown::id).collect();
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all, "ids are unique");
    }
}

/// No body makes the reader panic or the writer write what is not well-formed.
#[test]
fn mutated_bodies_are_read_or_refused() {
    let mut chance = Chance(7);
    let seeds = [ASTERISK, PHONE, FORKS, include_str!("../testdata/publication_every_field.xml")];
    let mut read = 0;
    for round in 0..5_000 {
        let body = mutate(&mut chance, seeds[round % seeds.len()].as_bytes(), &PIECES);
        let Ok(fact) = package().read(0, &body, Reading { modifies: round % 3 == 0, ..reading(1) }) else { continue };
        read += 1;
        let merged = package().merge(&fact, fact.clone());
        let state = package().compose(at(1), ME, &[sourced("a", 0, &merged), sourced("b", 0, &fact)]).state;
        for seen in [View::Full, View::Masked, View::Busy] {
            let mut out = Vec::new();
            package().write(ME, &state, crate::testing::view(seen), &Profile::default(), &mut out);
            well_formed(std::str::from_utf8(&out).unwrap());
            json(&package(), &state, seen);
        }
    }
    assert!(read > 300, "only {read} were readable");
}

/// HA-02: what the store keeps reads the same: every golden body, merged and ended, and what survives mutation.
#[test]
fn packed_dialogs_read_the_same() {
    let mut chance = Chance(9);
    let golden = [ASTERISK, PHONE, FORKS, include_str!("../testdata/publication_every_field.xml")];
    for body in golden {
        let fact = read_file(3, body);
        damaged(&package(), &packed(&package(), &fact));
        for (from, to) in [("early", "confirmed"), ("early", "terminated"), ("confirmed", "terminated")] {
            let later = package().merge(&fact, read_file(70, &body.replace(from, to)));
            packed(&package(), &later);
            if let Some(residue) = package().residue(&later, None) {
                packed(&package(), &residue);
            }
        }
    }
    let mut read = 0;
    for round in 0..2_000 {
        let body = mutate(&mut chance, golden[round % golden.len()].as_bytes(), &PIECES);
        let Ok(fact) = package().read(0, &body, Reading { modifies: round % 3 == 0, ..reading(1) }) else { continue };
        packed(&package(), &fact);
        read += 1;
    }
    assert!(read > 100, "only {read} were readable");
    packed(&package(), &read_at(0, ""));
}

/// What this version wrote must be readable for ever: if this changes, fields have changed their meaning.
#[test]
fn packed_dialogs_as_they_are_today() {
    let bytes = packed(&package(), &read_file(3, include_str!("../testdata/publication_every_field.xml")));
    expect_file!["../testdata/packed_every_field.hex"].assert_eq(&hex(&bytes));
    // Nobody says how far the call is.
    assert_eq!(package().unpack(b"\x1a\x03\x0a\x011"), None);
    assert_eq!(package().unpack(b"\x1a\x05\x0a\x011\x30\x06"), None);
    assert!(package().unpack(b"\x1a\x05\x0a\x011\x30\x05").is_some());
}

fn of_json(seconds: u64, json: &str, modifies: bool) -> Dialogs {
    package().read_json(json.as_bytes(), Reading { modifies, ..reading(seconds) }).unwrap()
}

/// MI-05: one call event after another, each as it comes.
#[test]
fn partial_json_adds_to_what_was_said() {
    let first =
        of_json(0, r#"{"calls":[{"id":"a","state":"early","dir":"in"},{"id":"b","state":"confirmed"}]}"#, false);
    let event = of_json(5, r#"{"partial":true,"calls":[{"id":"a","state":"confirmed","dir":"in"}]}"#, true);
    let second = package().merge(&first, event);
    let state = package().compose(at(5), ME, &[sourced("api", 5, &second)]).state;
    assert_eq!(shown(&state), "a=confirmed b=confirmed");
    assert_eq!((second.all[1].since, second.all[1].answered), (at(0), Some(at(5))));
    // Without it the body is all there is.
    let third = package().merge(&second, of_json(9, r#"{"calls":[{"id":"a","state":"terminated"}]}"#, true));
    let state = package().compose(at(9), ME, &[sourced("api", 9, &third)]).state;
    assert_eq!((shown(&state).as_str(), package().describe(&state).as_str()), ("a=terminated", "idle"));
    // What is partial but modifies nothing is whole.
    assert!(of_json(0, r#"{"partial":true,"calls":[]}"#, false).full);
}

/// A call that a phone and a program tell of is one call.
#[test]
fn a_call_of_json_is_the_call_of_the_phone() {
    let phone = read_at(0, &dialog("1", "c1", ("a", "b"), "confirmed"));
    let call = r#"{"calls":[{"id":"x","state":"terminated","call_id":"c1","local_tag":"a","remote_tag":"b"}]}"#;
    let program = of_json(1, call, false);
    let state = in_any_order(&package(), at(1), &[sourced("phone", 0, &phone), sourced("api", 1, &program)]).state;
    assert_eq!(shown(&state), "x=terminated");
    let held = of_json(1, r#"{"lamp":"hold"}"#, false);
    let state = package().compose(at(1), ME, &[sourced("api", 1, &held)]).state;
    assert_eq!(package().describe(&state), "hold");
    assert!(
        full(&state).contains(r#"<local><target uri="sip:1001@example.com"><param pname="+sip.rendering" pval="no"/>"#)
    );
    for lamp in ["idle", "ringing", "dialing", "busy", "hold"] {
        let fact = of_json(1, &format!("{{\"lamp\":\"{lamp}\"}}"), false);
        let state = package().compose(at(1), ME, &[sourced("api", 1, &fact)]).state;
        assert_eq!(package().describe(&state), lamp);
    }
}
