//! Whether the schemas say what the packages write.

use crate::published::{DOCUMENT, blocks};
use crate::testing::{ME, everything, reading};
use lamplighter_model::package::{AnyPackage, Sourced, Stamp, View};
use lamplighter_model::publish::Content;
use serde_json::Value;
use std::collections::BTreeSet;

/// What is wrong with `value` by the keywords of JSON Schema that the schemas use. Stricter than readers are to be: a
/// member that the schema does not name is wrong, and so is a value that is not among the examples.
fn check(schema: &Value, value: &Value, place: &str, met: &mut BTreeSet<String>) -> Result<(), String> {
    let keywords = schema.as_object().unwrap();
    met.insert(place.to_owned());
    for (keyword, expected) in keywords {
        let right = match (&**keyword, value) {
            ("$schema" | "title" | "description", _) => expected.is_string(),
            ("type", _) => match expected {
                Value::Array(types) => types.iter().any(|one| is(value, one.as_str().unwrap())),
                one => is(value, one.as_str().unwrap()),
            },
            ("required", Value::Object(members)) => {
                expected.as_array().unwrap().iter().all(|name| members.contains_key(name.as_str().unwrap()))
            }
            ("properties" | "additionalProperties", Value::Object(_)) => true,
            ("items", Value::Array(items)) => {
                for item in items {
                    check(expected, item, &format!("{place}/*"), met)?;
                }
                true
            }
            ("minimum", Value::Number(number)) => number.as_f64().unwrap() >= expected.as_f64().unwrap(),
            ("maximum", Value::Number(number)) => number.as_f64().unwrap() <= expected.as_f64().unwrap(),
            ("examples", Value::String(_)) => expected.as_array().unwrap().contains(value),
            ("required" | "properties" | "additionalProperties" | "items" | "minimum" | "maximum" | "examples", _) => {
                true
            }
            _ => return Err(format!("{place}: the schema has {keyword}")),
        };
        if !right {
            return Err(format!("{place}: {value} is against {keyword} {expected}"));
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(name);
        match known.or(schema.get("additionalProperties")) {
            Some(Value::Bool(true)) => {}
            Some(schema @ Value::Object(_)) => {
                let name = if known.is_some() { name } else { "+" };
                check(schema, member, &format!("{place}/{name}"), met)?;
            }
            _ => return Err(format!("{place}: {name} is not in the schema")),
        }
    }
    Ok(())
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => panic!("no type is called {name}"),
    }
}

/// All places that a schema names.
fn places(schema: &Value, place: &str, out: &mut BTreeSet<String>) {
    out.insert(place.to_owned());
    if let Some(items) = schema.get("items") {
        places(items, &format!("{place}/*"), out);
    }
    if let Some(inner @ Value::Object(_)) = schema.get("additionalProperties") {
        places(inner, &format!("{place}/+"), out);
    }
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        places(inner, &format!("{place}/{name}"), out);
    }
}

const NAMED: &str = "<presence><tuple id='a'><status><basic>open</basic></status>\
    <c:display-name xmlns:c='urn:ietf:params:xml:ns:pidf:cipid'>Ann</c:display-name></tuple></presence>";

const WATCHERS: &str = include_str!("testdata/publication_watchers.xml");
const DIALOG: &str = include_str!("testdata/publication_every_field.xml");

/// Every golden state and every example of the documentation is as its schema says, in every view, and everything in
/// the schema is met by one of them.
#[test]
fn states_are_as_their_schemas_say() {
    let packages = everything();
    let ended = DIALOG.replace("confirmed", "terminated");
    let dialog_watchers = WATCHERS.replace("\"dialog\"", "\"x\"").replace("\"presence\"", "\"dialog\"");
    let mut states: Vec<(&str, Option<&str>, &[u8])> = [
        ("dialog", "<dialog-info/>"),
        ("dialog", DIALOG),
        ("dialog", &ended),
        ("dialog", include_str!("testdata/publication_constant_id_per_extension.xml")),
        ("dialog", include_str!("testdata/publication_id_one_with_foreign_elements.xml")),
        ("dialog", include_str!("testdata/publication_call_id_as_id_of_forks.xml")),
        ("presence", "<presence/>"),
        ("presence", NAMED),
        ("presence", include_str!("testdata/publication_phone_with_note.xml")),
        ("presence", include_str!("testdata/publication_rich_presence.xml")),
        ("mwi", "Messages-Waiting: no\r\n"),
        (
            "mwi",
            "Message-Account: sip:a@b\r\nVoice-Message: 2/8 (0/2)\r\nFax-Message: 1/1\r\nText-Message: 1/1\r\n\
                 Pager-Message: 1/1\r\nMultimedia-Message: 1/1\r\nNone: 1/1\r\nx-y: 99999999999/1\r\n",
        ),
        ("reg", "<reginfo/>"),
        ("reg", include_str!("testdata/publication_registrations.xml")),
        ("winfo", "<watcherinfo/>"),
        ("winfo", WATCHERS),
        ("dialog-winfo", &dialog_watchers),
        ("dialog", include_str!("testdata/publication_shared_line.xml")),
        ("line", "<dialog-info/>"),
        ("line", DIALOG),
        ("line", &ended),
        ("line", include_str!("testdata/publication_shared_line.xml")),
        ("door", "closed"),
    ]
    .map(|(kind, body)| (kind, None, body.as_bytes()))
    .into();
    states.push(("door", None, b"\xff"));
    states.extend(
        blocks(DOCUMENT)
            .into_iter()
            .filter_map(|(said, text)| Some((said.strip_prefix("json ")?, Some(text), &b""[..]))),
    );
    states.push((
        "presence",
        Some(r#"{"notes":[{"note":"a","lang":"en"},"b"],"lang":"en","devices":[{"basic":"open","show":"xa"}]}"#),
        b"",
    ));
    let mut met: Vec<BTreeSet<String>> = vec![BTreeSet::new(); packages.len()];
    for (kind, json, body) in states {
        let index = packages.iter().position(|package| package.kind() == kind).unwrap();
        let content = json.map_or(Content::Document { format: 0, body }, |json| Content::Json(json.as_bytes()));
        let Ok(fact) = packages[index].read(content, reading(0)) else {
            assert!(json.is_some(), "only the documentation shows what is refused");
            continue;
        };
        let source =
            Sourced { source: "a", stamp: Stamp { at: reading(0).now, ..Stamp::default() }, live: true, fact: &fact };
        for sources in [&[source][..], &[]] {
            let state = packages[index].compose(reading(0).now, ME, sources).state;
            for view in [View::Full, View::Masked, View::Busy] {
                let mut out = Vec::new();
                packages[index].json(&state, view, &mut out);
                let value: Value = serde_json::from_slice(&out).unwrap();
                let checked = check(&schema(&*packages[index]), &value, "", &mut met[index]);
                checked.unwrap_or_else(|problem| panic!("{kind}, {view:?}: {problem} in {value}"));
            }
        }
    }
    for (package, met) in packages.iter().zip(met) {
        let mut all = BTreeSet::new();
        places(&schema(&**package), "", &mut all);
        assert_eq!(all, met, "the schema of {}", package.kind());
    }
}

fn schema(package: &dyn AnyPackage) -> Value {
    serde_json::from_str(package.schema()).unwrap()
}

/// The check above finds what is wrong.
#[test]
fn what_is_not_in_a_schema_is_found() {
    let packages = everything();
    let dialog = schema(&*packages[0]);
    for (state, problem) in [
        (r#"{"lamp":"idle"}"#, ": {\"lamp\":\"idle\"} is against required [\"lamp\",\"n\"]"),
        (r#"{"lamp":"idle","n":-1}"#, "/n: -1 is against minimum 0"),
        (r#"{"lamp":"idle","n":"1"}"#, "/n: \"1\" is against type \"integer\""),
        (
            r#"{"lamp":"red","n":1}"#,
            "/lamp: \"red\" is against examples [\"idle\",\"hold\",\"busy\",\"dialing\",\"ringing\"]",
        ),
        (r#"{"lamp":"idle","n":1,"x":1}"#, ": x is not in the schema"),
        (
            r#"{"lamp":"idle","n":1,"ended":[{"id":"1","event":null,"since":1,"answered":"1"}]}"#,
            "/ended/*/answered: \"1\" is against type [\"integer\",\"null\"]",
        ),
    ] {
        let state = serde_json::from_str(state).unwrap();
        assert_eq!(check(&dialog, &state, "", &mut BTreeSet::new()), Err(problem.to_owned()));
    }
}
