//! `lamplighter subs`: who watches over SIP, and what the gateway itself watches at other servers.

use super::Failure;
use super::client::{Gateway, headers, segment};
use super::output::{Output, clean, moment, standing};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write as _;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the subscriptions to an address, or all
    List(List),
    /// Send every watcher of an address a NOTIFY with the whole state
    Refresh(Refresh),
    /// Watch an address at another server
    Add(Add),
    /// Show what is watched at other servers, or one subscription with what it has learned
    Show(Show),
    /// Renew a subscription at another server now, or try again now after a failure
    Renew(Renew),
    /// End a subscription at another server
    Rm(Rm),
}

#[derive(Args, Debug)]
pub(super) struct Add {
    /// Whose state, such as sip:200@pbx.example
    resource: String,
    /// The kind of state
    #[arg(default_value = "dialog")]
    package: String,
    /// The address of ours that watches; left out: the gateway, and everyone sees what it learns
    #[arg(long)]
    subscriber: Option<String>,
    /// The Request-URI, where it is not the resource
    #[arg(long)]
    target: Option<String>,
    /// Where requests go first, such as sip:pbx.example
    #[arg(long)]
    proxy: Option<String>,
    /// The lease to ask for, seconds
    #[arg(long)]
    expires: Option<u32>,
    /// The resource may be a list, whose members are shown one by one
    #[arg(long)]
    list: bool,
    /// A content type to ask for; left out: all that the package has
    #[arg(long, value_name = "TYPE")]
    accept: Vec<String>,
    /// A header of every SUBSCRIBE, such as 'X-Tenant: 7'
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Args, Debug)]
pub(super) struct Renew {
    /// Which
    number: u64,
    /// The lease to ask for from now on, seconds; left out: as before
    #[arg(long)]
    expires: Option<u32>,
    /// The answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Args, Debug)]
pub(super) struct Show {
    /// Which; left out: all
    number: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Args, Debug)]
pub(super) struct Rm {
    /// Which
    number: u64,
    #[command(flatten)]
    gateway: Gateway,
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
        Command::Add(options) => add(options, out),
        Command::Show(options) => show(options, out),
        Command::Renew(options) => renew(options, out),
        Command::Rm(options) => {
            let path = format!("/v1/subscriptions/{}", options.number);
            options.gateway.order("DELETE", &path, None).map(drop)
        }
    }
}

fn list(options: &List, out: &mut Output) -> Result<(), Failure> {
    let mut none = true;
    let query = options.resource.as_ref().map(|resource| format!("?r={}", segment(resource))).unwrap_or_default();
    options.gateway.rows(&format!("/v1/watchers{query}"), "watchers", |watcher| {
        none = false;
        let line = if options.json { watcher.to_string() } else { line(out, watcher) };
        Ok(writeln!(out, "{line}")?)
    })?;
    if none && !options.json {
        writeln!(out, "nobody watches")?;
    }
    Ok(())
}

/// What is watched, by whom, and how the last NOTIFY fared.
fn line(out: &Output, watcher: &Value) -> String {
    let text = |name: &str| clean(watcher[name].as_str().unwrap_or("?"));
    format!(
        "{:32}  {:8}  {}  {}  {}  until {}, last NOTIFY {} {}",
        text("r"),
        text("kind"),
        text("watcher"),
        standing(out, watcher),
        text("flow"),
        moment(watcher, "until"),
        moment(watcher, "notified"),
        text("answer"),
    )
}

fn refresh(options: &Refresh, out: &mut Output) -> Result<(), Failure> {
    let path = format!("/v1/watchers:refresh?r={}", segment(&options.resource));
    let answer = options.gateway.order("POST", &path, None)?;
    if options.json {
        writeln!(out, "{answer}")?;
    } else {
        let resource = clean(answer["r"].as_str().unwrap_or("?"));
        writeln!(out, "{resource}: {} watchers are told", answer["watchers"].as_u64().unwrap_or(0))?;
    }
    Ok(())
}

fn add(options: &Add, out: &mut Output) -> Result<(), Failure> {
    let Add { resource, package, subscriber, target, proxy, expires, list, accept, header, json: _, gateway } = options;
    let wish = json!({
        "resource": resource, "package": package, "subscriber": subscriber, "target": target,
        "outbound_proxy": proxy, "expires": expires, "headers": headers(header)?, "list": list, "accept": accept,
    });
    let row = gateway.order("POST", "/v1/subscriptions", Some(&wish))?;
    tell(&row, options.json, out)
}

fn renew(options: &Renew, out: &mut Output) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}", options.number);
    let row = match options.expires {
        Some(expires) => options.gateway.order("PATCH", &path, Some(&json!({ "expires": expires })))?,
        None => options.gateway.order("POST", &format!("{path}/retry"), None)?,
    };
    tell(&row, options.json, out)
}

fn tell(row: &Value, json: bool, out: &mut Output) -> Result<(), Failure> {
    let line = if json { row.to_string() } else { remote(out, row) };
    writeln!(out, "{line}")?;
    Ok(())
}

fn show(options: &Show, out: &mut Output) -> Result<(), Failure> {
    if let Some(number) = options.number {
        let row = options.gateway.json(&format!("/v1/subscriptions/{number}"))?;
        if options.json {
            writeln!(out, "{row}")?;
            return Ok(());
        }
        let line = remote(out, &row);
        writeln!(out, "{line}")?;
        for document in row["documents"].as_array().into_iter().flatten() {
            let kind = clean(document["content_type"].as_str().unwrap_or("?"));
            match document["problem"].as_str() {
                Some(problem) => writeln!(out, "  {kind}: {}", clean(problem))?,
                None => writeln!(out, "  {kind}: {}", clean(&document["state"].to_string()))?,
            }
        }
        members(&row["list"], out)?;
        return Ok(());
    }
    options.gateway.rows("/v1/subscriptions", "subscriptions", |row| tell(row, options.json, out))
}

/// The members of a list, an instance a line.
fn members(list: &Value, out: &mut Output) -> Result<(), Failure> {
    if let Some(problem) = list["problem"].as_str() {
        writeln!(out, "  the list: {}", clean(problem))?;
    }
    for member in list["members"].as_array().into_iter().flatten() {
        let uri = clean(member["uri"].as_str().unwrap_or("?"));
        let instances = member["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
        if instances.is_empty() {
            writeln!(out, "  {uri:32}  nothing is known")?;
        }
        for one in instances {
            let text = |value: &Value| clean(value.as_str().unwrap_or_default());
            let document = &one["document"];
            let said = match document["problem"].as_str() {
                Some(problem) => clean(problem),
                None if document["state"].is_object() => clean(&document["state"].to_string()),
                None => "-".into(),
            };
            writeln!(out, "  {uri:32}  {:10} {:12}  {said}", text(&one["state"]), text(&one["reason"]))?;
        }
    }
    Ok(())
}

/// What is watched at another server, for whom, and how it stands.
fn remote(out: &Output, row: &Value) -> String {
    let text = |name: &str| clean(row[name].as_str().unwrap_or("-"));
    format!(
        "{:>5}  {:32}  {:8}  for {}  {}  {} {}, until {}, next {}, {} NOTIFYs, shared by {}",
        row["id"],
        text("resource"),
        text("package"),
        text("subscriber"),
        standing(out, row),
        row["status"],
        text("reason"),
        moment(row, "until"),
        moment(row, "next"),
        row["notified"],
        row["shared"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
