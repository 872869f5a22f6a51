//! What publishers may say as JSON: the examples of the documentation, and hostile ones.

use crate::testing::{Chance, ME, at, everything, mutate, reading, view, well_formed};
use lamplighter_model::config::Profile;
use lamplighter_model::package::{AnyFact, AnyPackage, AnyState, Reading, Sourced, Stamp, View};
use lamplighter_model::publish::Content;
use serde_json::{Value, json};

pub(crate) const DOCUMENT: &str = include_str!("../../docs/json-states.md");

/// Fenced blocks: what is said of them, and what is in them.
pub(crate) fn blocks(text: &str) -> Vec<(&str, &str)> {
    let mut parts = text.split("```");
    parts.next();
    let mut blocks = Vec::new();
    while let (Some(block), Some(_)) = (parts.next(), parts.next()) {
        blocks.push(block.split_once('\n').unwrap());
    }
    blocks
}

fn composed(package: &dyn AnyPackage, fact: &AnyFact) -> AnyState {
    let source = Sourced { source: "api", stamp: Stamp { at: at(0), ..Stamp::default() }, live: true, fact };
    package.compose(at(0), ME, &[source]).state
}

fn written(package: &dyn AnyPackage, state: &AnyState, seen: View) -> String {
    let mut out = Vec::new();
    package.write(ME, state, view(seen), &Profile::default(), &mut out);
    String::from_utf8_lossy(&out).replace("\r\n", "\n")
}

fn feed(package: &dyn AnyPackage, state: &AnyState, seen: View) -> String {
    let mut out = Vec::new();
    package.json(state, seen, &mut out);
    String::from_utf8(out).unwrap()
}

/// MI-04, MI-05: every example of the documentation does what is said there, and what the feed then shows can be
/// published again and shows the same.
#[test]
fn examples_of_the_documentation() {
    let packages = everything();
    let mut blocks = blocks(DOCUMENT).into_iter().peekable();
    let mut examples = 0;
    while let Some((said, text)) = blocks.next() {
        let kind = said.strip_prefix("json ").unwrap_or_else(|| panic!("nothing comes before {said}"));
        let package = &**packages.iter().find(|package| package.kind() == kind).unwrap();
        examples += 1;
        let read = package.read(Content::Json(text.as_bytes()), reading(0));
        let expected = blocks.next_if(|(said, _)| !said.starts_with("json "));
        if let Some(("error", problem)) = expected {
            assert_eq!(read.unwrap_err().to_string(), problem.trim(), "{text}");
            continue;
        }
        let fact = read.unwrap_or_else(|error| panic!("{error} in {text}"));
        let state = composed(package, &fact);
        let (body, shown) = (written(package, &state, View::Full), feed(package, &state, View::Full));
        match expected {
            None => {}
            Some(("json", expected)) => {
                let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
                assert_eq!(parse(&shown), parse(expected), "{text}");
            }
            Some(("text", expected)) => assert_eq!(body.trim(), expected.trim(), "{text}"),
            Some(("xml", expected)) => {
                well_formed(&body);
                assert!(body.contains(expected), "{body} is not {expected}");
                let inside = body.lines().count() - expected.lines().count();
                assert!(inside <= 4, "the example leaves out something of {body}");
            }
            Some((said, _)) => panic!("what is {said}?"),
        }
        let again = package.read(Content::Json(shown.as_bytes()), reading(0));
        let again = composed(package, &again.unwrap_or_else(|error| panic!("{error} in {shown}")));
        assert_eq!(feed(package, &again, View::Full), shown);
        let mut packed = Vec::new();
        package.pack(&fact, &mut packed);
        assert_eq!(feed(package, &composed(package, &package.unpack(&packed).unwrap()), View::Full), shown);
    }
    assert!(examples >= 18, "only {examples} examples");
}

/// Puts another value in the place of one somewhere in the tree.
fn graft(chance: &mut Chance, tree: &mut Value) {
    let inside = match tree {
        Value::Array(array) if !array.is_empty() && chance.below(8) > 0 => {
            let index = chance.below(array.len());
            array.get_mut(index)
        }
        Value::Object(object) if !object.is_empty() && chance.below(8) > 0 => {
            let index = chance.below(object.len());
            object.values_mut().nth(index)
        }
        _ => None,
    };
    if let Some(inside) = inside {
        return graft(chance, inside);
    }
    let kinds = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(0.5),
        json!(1e300),
        json!(""),
        json!("\u{0}\r\n]]><a b='c'>&\u{ffff}\"\\"),
        json!("sip:a@b"),
        json!("terminated"),
        json!([]),
        json!({}),
        json!([{}]),
        json!({"a": [1, "\u{1}"]}),
        json!("x".repeat(200)),
    ];
    *tree = kinds[chance.below(kinds.len())].clone();
}

/// No JSON makes a reader panic or a writer write what is not well-formed.
#[test]
fn mutated_json_is_read_or_refused() {
    let pieces: [&[u8]; 16] = [
        b"null",
        b"{}",
        b"[]",
        b"\"\"",
        b"-1",
        b"1e400",
        b"18446744073709551615",
        b"18446744073709551616",
        b"1.5",
        b"\"\\u0000\"",
        b"\"\\ud800\"",
        b"\"\\uffff<&\\\"\"",
        b",",
        b"\"a\":",
        b"true",
        b"\xff",
    ];
    let packages = everything();
    let examples: Vec<(&dyn AnyPackage, &str)> = blocks(DOCUMENT)
        .into_iter()
        .filter_map(|(said, text)| Some((said.strip_prefix("json ")?, text)))
        .map(|(kind, text)| (&**packages.iter().find(|package| package.kind() == kind).unwrap(), text))
        .collect();
    let mut chance = Chance(23);
    let mut read = 0;
    for round in 0..6_000 {
        let (package, text) = examples[round % examples.len()];
        let body = match serde_json::from_str(text) {
            Ok(mut tree) if round % 4 > 0 => {
                for _ in 0..=chance.below(2) {
                    graft(&mut chance, &mut tree);
                }
                serde_json::to_vec(&tree).unwrap()
            }
            _ => mutate(&mut chance, text.as_bytes(), &pieces),
        };
        let reading = Reading { modifies: round % 3 == 0, ..reading(1) };
        let Ok(fact) = package.read(Content::Json(&body), reading) else { continue };
        read += 1;
        let state = composed(package, &fact);
        for seen in [View::Full, View::Masked, View::Busy] {
            let shown = feed(package, &state, seen);
            serde_json::from_str::<Value>(&shown).unwrap_or_else(|error| panic!("{error} in {shown}"));
            let body = written(package, &state, seen);
            if body.starts_with('<') {
                well_formed(&body);
            }
        }
        let mut packed = Vec::new();
        package.pack(&fact, &mut packed);
        assert!(package.unpack(&packed).is_some());
    }
    assert!(read > 300, "only {read} were readable");
}

/// What is too much is refused where it begins to be.
#[test]
fn bounds() {
    let check = |kind: &str, body: &str, expected: &str| {
        let packages = everything();
        let package = packages.iter().find(|package| package.kind() == kind).unwrap();
        let error = package.read(Content::Json(body.as_bytes()), reading(0)).err();
        assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(expected), "{}", &body[..body.len().min(80)]);
    };
    let many = |what: fn(usize) -> String, count| (0..count).map(what).collect::<Vec<_>>().join(",");
    let calls =
        |count| format!("{{\"calls\":[{}]}}", many(|n| format!("{{\"id\":\"{n}\",\"state\":\"early\"}}"), count));
    check("dialog", &calls(65), "/calls/64: too many dialogs");
    check("dialog", "{\"calls\":{}}", "/calls: expected an array");
    check("dialog", "{\"calls\":[7]}", "/calls/0: expected an object");
    check("dialog", "{\"calls\":[{\"id\":\"1\"}]}", "/calls/0: a call has no state");
    check("dialog", "{\"calls\":[{\"state\":\"early\"}]}", "/calls/0: a call has neither id nor call_id");
    check("dialog", "{\"state\":\"early\",\"remote\":7}", "/remote: expected an object or a URI");
    check("dialog", "{\"state\":\"early\",\"replaces\":7}", "/replaces: expected an object");
    check("dialog", "{\"state\":\"early\",\"dir\":\"up\"}", "/dir: expected in or out");
    check("dialog", "{\"state\":\"early\",\"code\":99}", "/code: expected a status code");
    check("dialog", "{\"state\":\"early\",\"event\":\"x\"}", "/event: not an event of RFC 4235 section 4.1.2");
    check("dialog", "{\"state\":\"early\",\"since\":\"now\"}", "/since: expected milliseconds since 1970");
    check("dialog", "{\"lamp\":\"off\"}", "/lamp: expected idle, ringing, dialing, busy or hold");
    check("dialog", "{}", "document: expected calls, state or lamp");
    let long = |length| "x".repeat(length);
    check("dialog", &format!("{{\"state\":\"early\",\"id\":\"{}\"}}", long(4097)), "/id: the string is too long");
    check("presence", &format!("{{\"note\":\"{}\"}}", long(16_385)), "/note: the string is too long");
    let devices = format!("{{\"devices\":[{}]}}", many(|n| format!("{{\"id\":\"{n}\"}}"), 33));
    check("presence", &devices, "/devices/32: too many devices");
    check("presence", &format!("{{\"notes\":[{}]}}", many(|n| format!("\"{n}\""), 9)), "/notes/8: too many notes");
    let activities = format!("{{\"activities\":[{}]}}", many(|_| "\"away\"".into(), 40));
    check("presence", &activities, "/activities/26: too many activities");
    let extra = |inside: &str| format!("{{\"extra\":{{{inside}}}}}");
    check("presence", &extra(&many(|n| format!("\"{n}\":{n}"), 33)), "/extra: too many values");
    check("presence", &extra(&format!("\"{}\":1", long(65))), "/extra: a name is empty or too long");
    check("presence", &extra(&format!("\"a\":\"{}\"", long(16_384))), "/extra: the values are too long");
    check("presence", "{\"devices\":[{\"priority\":5}]}", "/devices/0/priority: expected a number from 0 to 1");
    check("presence", "{\"show\":\"gone\"}", "/show: expected chat, away, xa, dnd or on-the-phone");
    let classes = |count| format!("{{\"other\":{{{}}}}}", many(|n| format!("\"x{n}\":1"), count));
    check("mwi", &classes(17), "/other: too many message classes");
    check("mwi", "{\"other\":{\"a b\":1}}", "/other: expected names of message classes");
    check("mwi", "{\"voice\":-1}", "/voice: expected counts such as {\"new\":2,\"old\":8}");
    check("mwi", "{\"voice\":{\"new\":\"2\"}}", "/voice/new: expected a whole number");
    check("mwi", "{}", "document: expected waiting or a message class such as voice");
    let contacts = format!("{{\"contacts\":[{}]}}", many(|n| format!("\"sip:{n}\""), 65));
    check("reg", &contacts, "/contacts/64: too many contacts");
    check("reg", "{\"contacts\":[{}]}", "/contacts/0: a contact has no uri");
    check("reg", "{\"contacts\":[7]}", "/contacts/0: expected an object or a URI");
    check(
        "reg",
        "{\"contacts\":[{\"uri\":\"sip:a\",\"state\":\"x\"}]}",
        "/contacts/0/state: expected active or terminated",
    );
    check(
        "reg",
        "{\"contacts\":[{\"uri\":\"sip:a\",\"event\":\"x\"}]}",
        "/contacts/0/event: not an event of RFC 3680 section 5.2.1",
    );
    check("reg", "{\"registered\":true}", "document: expected contacts, or registered to be false");
    check("door", "{}", "document: expected body or body_base64");
    check("door", "{\"body\":\"\",\"body_base64\":\"\"}", "document: expected either body or body_base64");
    check("door", "{\"body_base64\":\"?\"}", "/body_base64: not base64");
    check("door", "{\"body\":\"\",\"content_type\":\"a/b\"}", "/content_type: not a content type of this package");
}
