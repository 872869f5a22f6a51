//! `lamplighter get`: the state of one address.

use super::Failure;
use super::client::{Gateway, segment};
use super::output::{Output, clean, clock};
use clap::Args;
use serde_json::Value;
use std::io::Write as _;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The address: sip:1001@office.example, 1001@office.example or 1001
    resource: String,
    /// One kind only, such as dialog, presence or mwi
    #[arg(long)]
    kind: Option<String>,
    /// One JSON object a line, as the feed has it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(options: &Options, out: &mut Output) -> Result<(), Failure> {
    let mut path = format!("/v1/state/{}", segment(&options.resource));
    if let Some(kind) = &options.kind {
        path.extend(["/", &segment(kind)]);
    }
    let answer = options.gateway.json(&path)?;
    let items = items(&answer);
    for item in items {
        if options.json {
            writeln!(out, "{item}")?;
        } else {
            let line = line(out, item);
            writeln!(out, "{line}")?;
        }
    }
    if items.is_empty() && !options.json {
        writeln!(out, "nothing is known about {}", options.resource)?;
    }
    Ok(())
}

/// The items of an answer: a list of them, or one alone.
fn items(answer: &Value) -> &[Value] {
    match &answer["items"] {
        Value::Array(items) => items,
        _ => std::slice::from_ref(answer),
    }
}

/// An item of the feed for people: when, who, what kind, and the state in words.
pub(super) fn line(out: &Output, item: &Value) -> String {
    use super::output::Colour;
    let text = |name: &str| clean(item[name].as_str().unwrap_or("?"));
    let at = item["ts"].as_u64().map_or_else(|| "--:--:--Z".into(), clock);
    let (colour, state) = match item["state"] {
        Value::Object(_) => describe(&text("k"), &item["state"]),
        _ => (Colour::Dim, format!("gone ({})", text("reason"))),
    };
    let kind = format!("{:8}", text("k"));
    format!("{}  {:32}  {}  {}", out.paint(Colour::Dim, &at), text("r"), kind, out.paint(colour, &state))
}

/// The state of a kind in words; kinds that are not known here as JSON.
fn describe(kind: &str, state: &Value) -> (super::output::Colour, String) {
    use super::output::Colour;
    let text = |value: &Value| value.as_str().map(clean);
    match kind {
        "dialog" => {
            let lamp = text(&state["lamp"]).unwrap_or_else(|| "?".into());
            let colour = match lamp.as_str() {
                "ringing" | "dialing" => Colour::Yellow,
                "busy" | "hold" => Colour::Red,
                "idle" => Colour::Green,
                _ => Colour::Plain,
            };
            let calls = state["calls"].as_array().map_or([].as_slice(), Vec::as_slice);
            let remotes: Vec<String> = calls.iter().filter_map(|call| remote(&call["remote"])).collect();
            let with = if remotes.is_empty() { String::new() } else { format!(" with {}", remotes.join(", ")) };
            (colour, format!("{lamp}{with}"))
        }
        "presence" => {
            let basic = text(&state["basic"]).unwrap_or_else(|| "unknown".into());
            let colour = match basic.as_str() {
                "open" => Colour::Green,
                "closed" => Colour::Red,
                _ => Colour::Plain,
            };
            let mut words = vec![basic];
            words.extend(text(&state["show"]));
            words.extend(state["activities"].as_array().into_iter().flatten().filter_map(text));
            words.extend(text(&state["note"]).map(|note| format!("\"{note}\"")));
            (colour, words.join(", "))
        }
        "mwi" => {
            let waiting = state["waiting"].as_bool().unwrap_or(false);
            let counts: Vec<String> = ["voice", "fax", "pager", "multimedia", "text"]
                .iter()
                .filter_map(|class| Some((class, state.get(class)?)))
                .map(|(class, n)| format!("{class} {} new, {} old", number(&n["new"]), number(&n["old"])))
                .collect();
            let counts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join("; ")) };
            let (colour, word) = if waiting { (Colour::Yellow, "waiting") } else { (Colour::Green, "none waiting") };
            (colour, format!("{word}{counts}"))
        }
        _ => (Colour::Plain, state.to_string()),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn remote(value: &Value) -> Option<String> {
    let (name, uri) = (value["name"].as_str().map(clean), value["uri"].as_str().map(clean));
    match (name, uri) {
        (Some(name), Some(uri)) => Some(format!("{name} <{uri}>")),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(kind: &str, state: &Value, expected: &str) {
        assert_eq!(describe(kind, state).1, expected);
    }

    #[test]
    fn states_in_words() {
        check("dialog", &json!({"lamp": "idle", "calls": []}), "idle");
        check(
            "dialog",
            &json!({"lamp": "ringing", "calls": [{"remote": {"uri": "sip:7@b", "name": "Ann\u{1b}"}}, {}]}),
            "ringing with Ann  <sip:7@b>",
        );
        check(
            "presence",
            &json!({"basic": "open", "show": "dnd", "activities": ["meeting"], "note": "Back at 3"}),
            "open, dnd, meeting, \"Back at 3\"",
        );
        check("mwi", &json!({"waiting": true, "voice": {"new": 2, "old": 8}}), "waiting: voice 2 new, 8 old");
        check("features", &json!({"a": 1}), "{\"a\":1}");
    }

    #[test]
    fn lines_say_when_who_and_what() {
        let out = Output::plain();
        let gone =
            json!({"r": "sip:1@b", "k": "dialog", "ts": 1_795_263_600_123_u64, "gone": true, "reason": "expired"});
        let words: Vec<String> = line(&out, &gone).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["12:20:00Z", "sip:1@b", "dialog", "gone", "(expired)"]);
    }

    #[test]
    fn one_item_or_many() {
        assert_eq!(items(&json!({"items": [1, 2]})).len(), 2);
        assert_eq!(items(&json!({"r": "sip:1@b"})).len(), 1);
        assert_eq!(items(&json!({"items": []})).len(), 0);
    }
}
