//! `lamplighter explain`: why a lamp is lit.

use super::Failure;
use super::client::{About, segment};
use super::output::{Colour, Output, clean, clock, span};
use serde_json::Value;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn run(options: &About, out: &mut Output) -> Result<(), Failure> {
    let answer = options.gateway.json(&format!("/v1/explain/{}", segment(&options.resource)))?;
    if options.json {
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "ages are told to people by the clock on their wall")]
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = u64::try_from(wall).unwrap_or(u64::MAX);
    let text = tell(&answer, now, out);
    out.write_all(text.as_bytes())?;
    Ok(())
}

/// The answer for people. `now` is in milliseconds since the epoch, as all times of the answer are.
fn tell(answer: &Value, now: u64, out: &Output) -> String {
    let mut lines = vec![out.paint(Colour::Bold, &text(answer, "resource"))];
    let packages = list(answer, "packages");
    for late in list(answer, "unanswered").iter().filter_map(Value::as_str) {
        lines.push(out.paint(Colour::Red, &format!("  no answer from {}", clean(late))));
    }
    if packages.is_empty() && list(answer, "unanswered").is_empty() {
        lines.push("  No phone publishes for it, and none watches it.".into());
    }
    for package in packages {
        lines.push(String::new());
        let (kind, state) = (text(package, "kind"), text(package, "state"));
        lines.push(format!("{} is {}", out.paint(Colour::Bold, &kind), out.paint(Colour::Bold, &state)));
        lines.push(format!("  rule: {}", text(package, "rule")));
        section(&mut lines, "said by", list(package, "sources"), |source| {
            let until = match moment(source, "until") {
                Some(until) => format!("for another {}", span(until.saturating_sub(now))),
                None => "as long as its origin says so".into(),
            };
            let age = ago(source, "at", now);
            let (name, says) = (text(source, "source"), text(source, "says"));
            let from = source["from"].as_str().filter(|from| !from.is_empty());
            let from = from.map_or(String::new(), |from| format!(" from {}", clean(from)));
            format!("{name}{from}: {says}  ({age}, {until})")
        });
        section(&mut lines, "told to", list(package, "watchers"), |watcher| {
            let told = match moment(watcher, "notified") {
                Some(_) => {
                    let version = watcher["version"].as_u64().map_or(String::new(), |n| format!(" version {n}"));
                    format!("NOTIFY{version} {}, answer {}", ago(watcher, "notified", now), text(watcher, "answer"))
                }
                None => "no NOTIFY yet".into(),
            };
            let until = moment(watcher, "until")
                .map_or(String::new(), |until| format!("; subscribed for another {}", span(until.saturating_sub(now))));
            let (name, state, flow) = (text(watcher, "watcher"), text(watcher, "state"), text(watcher, "flow"));
            format!("{name} ({state}) at {flow}: {told}{until}")
        });
        section(&mut lines, "history", list(package, "history"), |entry| {
            let at = moment(entry, "at").map_or_else(|| "?".into(), clock);
            format!("{at}  {}  {}", text(entry, "what"), text(entry, "who"))
        });
    }
    lines.push(String::new());
    section(&mut lines, "shown in the feed to", list(answer, "feed"), |reader| {
        let kinds: Vec<String> = list(reader, "kinds").iter().filter_map(Value::as_str).map(clean).collect();
        let (session, client, from) = (text(reader, "session"), text(reader, "client"), text(reader, "from"));
        let waiting = match reader["waiting"].as_u64() {
            Some(0) | None => "has the newest".to_owned(),
            Some(n) => format!("{n} newer waiting"),
        };
        format!("{session} {client} from {from}, since {}: {}; {waiting}", ago(reader, "since", now), kinds.join(", "))
    });
    lines.push(String::new());
    lines.join("\n")
}

fn section(lines: &mut Vec<String>, title: &str, entries: &[Value], tell: impl Fn(&Value) -> String) {
    if entries.is_empty() {
        lines.push(format!("  {title}: nobody").replace("history: nobody", "history: none"));
        return;
    }
    lines.push(format!("  {title}:"));
    lines.extend(entries.iter().map(|entry| format!("    {}", tell(entry))));
}

fn text(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::String(text) => clean(text),
        Value::Null => "?".into(),
        other => other.to_string(),
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn moment(value: &Value, name: &str) -> Option<u64> {
    value[name].as_u64()
}

fn ago(value: &Value, name: &str, now: u64) -> String {
    moment(value, name).map_or_else(|| "?".into(), |at| format!("{} ago", span(now.saturating_sub(at))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_795_263_600_000;

    #[test]
    fn an_answer_is_told_whole() {
        let answer = json!({
            "resource": "sip:1001@example.com",
            "packages": [{
                "kind": "dialog", "state": "ringing", "rule": "The most urgent call decides.",
                "sources": [
                    {"source": "pub:7f3a", "from": "192.0.2.7:5060", "at": NOW - 3000, "until": NOW + 600_000,
                     "says": "1 call"},
                    {"source": "derived:line", "from": "", "at": NOW, "until": null, "says": "nothing"},
                ],
                "watchers": [
                    {"watcher": "sip:2000@example.com", "state": "active", "flow": "udp:192.0.2.8:5060",
                     "until": NOW + 60_000, "notified": NOW - 1000, "version": 4, "answer": "200"},
                    {"watcher": "sip:2001@example.com", "state": "pending", "flow": "udp:192.0.2.9:5060",
                     "until": NOW + 60_000, "notified": null, "version": null, "answer": "waiting"},
                ],
                "history": [{"at": NOW - 3000, "what": "published", "who": "pub:7f3a"}],
            }],
            "unanswered": [],
            "feed": [{"session": "s-1", "client": "panel/1.0", "from": "127.0.0.1:4000", "since": NOW - 60_000,
                      "kinds": ["dialog"], "rev": 9, "waiting": 0}],
        });
        let expected = "\
sip:1001@example.com

dialog is ringing
  rule: The most urgent call decides.
  said by:
    pub:7f3a from 192.0.2.7:5060: 1 call  (3s ago, for another 10m 0s)
    derived:line: nothing  (0s ago, as long as its origin says so)
  told to:
    sip:2000@example.com (active) at udp:192.0.2.8:5060: NOTIFY version 4 1s ago, answer 200; subscribed for another 1m 0s
    sip:2001@example.com (pending) at udp:192.0.2.9:5060: no NOTIFY yet; subscribed for another 1m 0s
  history:
    12:19:57Z  published  pub:7f3a

  shown in the feed to:
    s-1 panel/1.0 from 127.0.0.1:4000, since 1m 0s ago: dialog; has the newest
";
        assert_eq!(tell(&answer, NOW, &Output::plain()), expected);
    }

    #[test]
    fn silence_is_told_apart_from_nothing() {
        let tell = |answer: Value| tell(&answer, NOW, &Output::plain());
        let late = json!({"resource": "sip:1@b", "packages": [], "unanswered": ["shard 1: late"], "feed": []});
        assert!(tell(late).contains("no answer from shard 1: late"));
        let nothing = json!({"resource": "sip:1@b", "packages": [], "unanswered": [], "feed": []});
        assert!(tell(nothing).contains("No phone publishes for it"));
    }
}
