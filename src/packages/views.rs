//! What watchers who may not see everything see.

use crate::testing::{Chance, ME, everything, reading, view};
use lamplighter_model::config::Profile;
use lamplighter_model::package::{AnyFact, AnyPackage, AnyState, Sourced, Stamp, View};
use lamplighter_model::publish::Content;
use quick_xml::events::Event;
use serde_json::Value;
use std::collections::BTreeSet;

/// Words that say how somebody is, not who or why; in the masked view, in the other one as well.
const STATE: &[&str] = &[
    "trying",
    "proceeding",
    "early",
    "confirmed",
    "terminated",
    "active",
    "initiator",
    "recipient",
    "idle",
    "ringing",
    "dialing",
    "busy",
    "hold",
    "open",
    "closed",
    "chat",
    "away",
    "xa",
    "dnd",
    "on",
    "the",
    "phone",
    "in",
    "out",
    "person",
    "yes",
    "Messages",
    "Waiting",
    "no",
    "full",
    "presence",
];
/// What the masked view says in addition.
const MASKED: &[&str] = &[
    "appointment",
    "vacation",
    "meeting",
    "cancelled",
    "timeout",
    "local",
    "bye",
    "sip",
    "rendering",
    "registered",
    "expired",
    "200",
    "anonymous",
    "invalid",
    "approved",
    "pending",
    "subscribe",
    "Message",
    "Voice",
    "Fax",
];

/// Words and numbers of everything that a document says in attributes and texts, or a JSON object in strings.
fn words(text: &str) -> BTreeSet<String> {
    let mut said = Vec::new();
    if text.starts_with('<') {
        let mut reader = quick_xml::Reader::from_str(text);
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) | Event::Empty(tag) => {
                    for attribute in tag.attributes().map(Result::unwrap) {
                        if !attribute.key.into_inner().starts_with("xmlns") {
                            said.push(attribute.value.to_string());
                        }
                    }
                }
                Event::Text(text) => said.push(text.xml10_content().into_owned()),
                Event::Eof => break,
                _ => {}
            }
        }
    } else if let Ok(value) = serde_json::from_str(text) {
        strings(&value, &mut said);
    } else {
        said.push(text.to_owned());
    }
    let words = said.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    words.filter(|word| word.len() > 1).map(str::to_owned).collect()
}

fn strings(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(array) => array.iter().for_each(|value| strings(value, out)),
        Value::Object(object) => object.iter().for_each(|(_, value)| strings(value, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The body for phones and the JSON for the feed.
fn seen(package: &dyn AnyPackage, state: &AnyState, seen: View) -> [String; 2] {
    let (mut body, mut feed) = (Vec::new(), Vec::new());
    package.write(ME, state, view(seen), &Profile::default(), &mut body);
    package.json(state, seen, &mut feed);
    [body, feed].map(|bytes| String::from_utf8(bytes).unwrap())
}

/// Nothing but words of state survives of what the full view says, and of numbers the last three digits at most.
/// Returns how many words there were.
fn check(package: &dyn AnyPackage, content: Content<'_>) -> usize {
    let reading = reading(0);
    let fact = package.read(content, reading).unwrap_or_else(|error| panic!("{error}"));
    let stamp = Stamp { at: reading.now, ..Stamp::default() };
    let source = |source, fact| Sourced::<AnyFact> { source, stamp, live: true, fact };
    let state = package.compose(reading.now, ME, &[source("a", &fact), source("b", &fact)]).state;
    let me = words(ME);
    let mut secrets = BTreeSet::new();
    for text in seen(package, &state, View::Full) {
        secrets.extend(words(&text));
    }
    secrets.retain(|word| !me.contains(word));
    for view in [View::Masked, View::Busy] {
        for text in seen(package, &state, view) {
            // Whatever was understood of the body, its words are not there, nor parts of its numbers.
            let text = text.replace(ME, "");
            let said = words(&text);
            for word in &secrets {
                let known = STATE.contains(&&**word) || (view == View::Masked && MASKED.contains(&&**word));
                assert!(known || !said.contains(word), "{view:?} gives away {word}: {text}");
                if word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_digit()) {
                    let part = &word[word.len() - 4..];
                    assert!(!said.iter().any(|said| said.ends_with(part)), "{view:?} gives away {part}: {text}");
                }
                if view == View::Busy && word.len() > 3 && word.is_ascii() {
                    let last = format!("***{}", &word[word.len() - 3..]);
                    assert!(!text.contains(&last), "{view:?} gives away {last}: {text}");
                }
            }
        }
    }
    secrets.len()
}

const DIALOG: &str = include_str!("testdata/publication_every_field.xml");
const RICH: &str = include_str!("testdata/publication_rich_presence.xml");

fn find<'a>(packages: &'a [Box<dyn AnyPackage>], kind: &str) -> &'a dyn AnyPackage {
    &**packages.iter().find(|package| package.kind() == kind).unwrap()
}

#[test]
fn narrower_views_of_whole_documents() {
    let packages = everything();
    let named = RICH.replace(
        "<note xml:lang=\"de\">",
        "<c:display-name xmlns:c='urn:ietf:params:xml:ns:pidf:cipid'>Wilhelmina</c:display-name><note xml:lang=\"de\">",
    );
    let voicemail = "Messages-Waiting: yes\r\nMessage-Account: sip:wilhelmina@vm.example\r\nVoice-Message: 2/8\r\n\
                     x-lawyer-message: 1/1\r\n";
    for (kind, body, least) in [
        ("dialog", DIALOG, 30),
        ("dialog", &DIALOG.replace("confirmed", "terminated"), 30),
        ("dialog", &DIALOG.replace("confirmed", "early"), 30),
        ("dialog", include_str!("testdata/publication_id_one_with_foreign_elements.xml"), 10),
        ("dialog", include_str!("testdata/publication_constant_id_per_extension.xml"), 8),
        ("dialog", include_str!("testdata/publication_call_id_as_id_of_forks.xml"), 8),
        ("presence", &named, 30),
        ("presence", include_str!("testdata/publication_phone_with_note.xml"), 8),
        ("mwi", voicemail, 6),
        ("reg", include_str!("testdata/publication_registrations.xml"), 15),
        ("line", include_str!("testdata/publication_shared_line.xml"), 6),
        ("winfo", include_str!("testdata/publication_watchers.xml"), 6),
        ("door", "Wilhelmina closed it", 4),
    ] {
        let secrets = check(find(&packages, kind), Content::Document { format: 0, body: body.as_bytes() });
        assert!(secrets >= least, "only {secrets} words in {body}");
    }
}

/// Whatever is in whatever place, it is hidden.
#[test]
fn narrower_views_of_whatever_is_said() {
    let packages = everything();
    let mut chance = Chance(31);
    let secret = |chance: &mut Chance| {
        let letters: String = (0..6).map(|_| char::from(b'g' + chance.below(19) as u8)).collect();
        // No digits that times and counts have.
        let number: String =
            (0..5 + chance.below(8)).map(|_| ["2", "3", "4", "5", "6", "7", "9"][chance.below(7)]).collect();
        (letters, number)
    };
    for _ in 0..300 {
        let (word, number) = secret(&mut chance);
        let (other, local) = secret(&mut chance);
        let state = ["trying", "proceeding", "early", "confirmed", "terminated"][chance.below(5)];
        let dir = ["in", "out"][chance.below(2)];
        let remote = [
            format!("sip:+{number}@{word}.invalid"),
            format!("tel:{number}"),
            format!("sip:{word}@{other}.net;{word}={number}"),
        ];
        let call = serde_json::json!({"calls": [{
            "id": word, "state": state, "dir": dir, "hold": chance.below(2) == 0, "call_id": format!("{other}@{number}"),
            "local_tag": local, "remote_tag": number, "remote": {"uri": remote[chance.below(3)], "name": word},
            "local": {"uri": format!("sip:{local}@{other}"), "name": other},
        }]});
        check(find(&packages, "dialog"), Content::Json(call.to_string().as_bytes()));
        let presence = serde_json::json!({
            "basic": "open", "note": format!("{word} {number}"), "name": other, "activities": ["meeting"],
            "lang": "de", "notes": [word, {"note": number, "lang": "en"}], "extra": {other.clone(): {"x": [number]}},
            "devices": [{"id": format!("{word}-{number}"), "contact": remote[0], "note": other, "basic": "open"}, {"id": local, "basic": "closed"}],
        });
        check(find(&packages, "presence"), Content::Json(presence.to_string().as_bytes()));
        let voicemail = serde_json::json!({"waiting": true, "account": format!("sip:{word}@{number}"), "voice": 1, "other": {other.clone(): 1}});
        check(find(&packages, "mwi"), Content::Json(voicemail.to_string().as_bytes()));
        let bound = serde_json::json!({"contacts": [
            {"id": word, "uri": remote[chance.below(3)], "name": other, "ua": format!("{word} {number}"), "received": format!("sip:{number}")},
            format!("sip:{local}@{number}"),
        ]});
        check(find(&packages, "reg"), Content::Json(bound.to_string().as_bytes()));
        let body = serde_json::json!({"body": format!("{word} {number}")});
        check(find(&packages, "door"), Content::Json(body.to_string().as_bytes()));
    }
}
