//! `lamplighter subs`: who watches over SIP.

use super::Failure;
use super::client::{Gateway, Sent, segment};
use super::output::{Colour, Output, clean, clock};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::io::Write as _;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the subscriptions to an address, or all
    List(List),
    /// Send every watcher of an address a NOTIFY with the whole state
    Refresh(Refresh),
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// The address; left out: all
    resource: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Args, Debug)]
pub(super) struct Refresh {
    /// The address
    resource: String,
    /// The answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(command: &Command, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::List(options) => list(options, out),
        Command::Refresh(options) => refresh(options, out),
    }
}

fn list(options: &List, out: &mut Output) -> Result<(), Failure> {
    let mut page: Option<String> = None;
    let mut none = true;
    loop {
        let resource = options.resource.as_ref().map(|resource| format!("r={}", segment(resource)));
        let queries: Vec<_> = resource.into_iter().chain(page.map(|page| format!("page={}", segment(&page)))).collect();
        let answer = options.gateway.json(&format!("/v1/watchers?{}", queries.join("&")))?;
        for watcher in answer["watchers"].as_array().into_iter().flatten() {
            none = false;
            if options.json {
                writeln!(out, "{watcher}")?;
            } else {
                let line = line(out, watcher);
                writeln!(out, "{line}")?;
            }
        }
        page = answer["page"].as_str().map(str::to_owned);
        if page.is_none() {
            break;
        }
    }
    if none && !options.json {
        writeln!(out, "nobody watches")?;
    }
    Ok(())
}

/// What is watched, by whom, and how the last NOTIFY fared.
fn line(out: &Output, watcher: &Value) -> String {
    let text = |name: &str| clean(watcher[name].as_str().unwrap_or("?"));
    let colour = match watcher["state"].as_str() {
        Some("active") => Colour::Green,
        Some("pending") => Colour::Yellow,
        _ => Colour::Dim,
    };
    let time = |name: &str| watcher[name].as_u64().map_or_else(|| "--:--:--Z".into(), clock);
    format!(
        "{:32}  {:8}  {}  {}  {}  until {}, last NOTIFY {} {}",
        text("r"),
        text("kind"),
        text("watcher"),
        out.paint(colour, &text("state")),
        text("flow"),
        time("until"),
        time("notified"),
        text("answer"),
    )
}

fn refresh(options: &Refresh, out: &mut Output) -> Result<(), Failure> {
    let path = format!("/v1/watchers:refresh?r={}", segment(&options.resource));
    let answer = options.gateway.ask(Sent { method: "POST", path: &path, headers: vec![], body: vec![] })?;
    if options.json {
        writeln!(out, "{answer}")?;
    } else {
        let resource = clean(answer["r"].as_str().unwrap_or("?"));
        writeln!(out, "{resource}: {} watchers are told", answer["watchers"].as_u64().unwrap_or(0))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_subscription_is_one_line() {
        let watcher = json!({"r": "sip:1@b", "kind": "dialog", "watcher": "sip:2@b", "state": "active",
            "flow": "udp:192.0.2.8:5060", "until": 1_795_263_600_000_u64, "notified": null, "answer": "waiting\u{1b}"});
        let words: Vec<_> = line(&Output::plain(), &watcher).split_whitespace().map(str::to_owned).collect();
        let expected =
            "sip:1@b dialog sip:2@b active udp:192.0.2.8:5060 until 12:20:00Z, last NOTIFY --:--:--Z waiting";
        assert_eq!(words.join(" "), expected);
    }
}
