//! `lamplighter explain`: why a lamp is lit.

use super::Failure;
use super::client::{Gateway, segment};
use super::output::{Colour, Output, clean, clock, span};
use clap::Args;
use serde_json::Value;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The address: sip:1001@office.example, 1001@office.example or 1001
    resource: String,
    /// The answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(options: &Options, out: &mut Output) -> Result<(), Failure> {
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
    if packages.is_empty() {
        lines.push("  Nobody publishes for it, and nobody watches it.".into());
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
            let (name, from, says) = (text(source, "source"), text(source, "from"), text(source, "says"));
            format!("{name} from {from}: {says}  ({age}, {until})")
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
