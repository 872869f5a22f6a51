//! `lamplighter exports`: what is published to other servers.

use super::Failure;
use super::client::{Gateway, headers};
use super::output::{Output, clean, moment, standing};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

/// No document is longer, bytes.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Publish a document at another server, and keep it published
    Add(Add),
    /// Show what is published to other servers, or one publication
    Show(Show),
    /// Say something new; without anything new renew the lease now
    Set(Set),
    /// Remove a publication
    Rm(Rm),
}

/// What is said.
#[derive(Args, Debug)]
struct Saying {
    /// The state as JSON, such as '{"basic":"open"}'
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    state: Option<String>,
    /// A document; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The document's type; left out: that of the package
    #[arg(long, value_name = "TYPE", requires = "file")]
    content_type: Option<String>,
    /// The lease to ask for, seconds
    #[arg(long)]
    expires: Option<u32>,
}

#[derive(Args, Debug)]
pub(super) struct Add {
    /// Whose state, such as sip:200@pbx.example
    resource: String,
    /// The kind of state
    package: String,
    #[command(flatten)]
    saying: Saying,
    /// The address of ours that publishes, where it is not the resource
    #[arg(long)]
    publisher: Option<String>,
    /// A name for it: the same again is the same publication
    #[arg(long)]
    id: Option<String>,
    /// The Request-URI, where it is not the resource
    #[arg(long)]
    target: Option<String>,
    /// Where requests go first, such as sip:pbx.example
    #[arg(long)]
    proxy: Option<String>,
    /// A header of every PUBLISH, such as 'X-Tenant: 7'
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
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
pub(super) struct Set {
    /// Which
    number: u64,
    #[command(flatten)]
    saying: Saying,
    /// The answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Args, Debug)]
pub(super) struct Rm {
    /// Which
    number: u64,
    /// The answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(command: &Command, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Add(options) => {
            let row = add(options)?;
            tell(&row, options.json, out)
        }
        Command::Show(options) => show(options, out),
        Command::Set(options) => {
            let path = format!("/v1/exports/{}", options.number);
            let said = said(&options.saying)?;
            let row = match said.is_empty() {
                true => options.gateway.order("POST", &format!("{path}/refresh"), None)?,
                false => options.gateway.order("PATCH", &path, Some(&said.into()))?,
            };
            tell(&row, options.json, out)
        }
        Command::Rm(options) => {
            let row = options.gateway.order("DELETE", &format!("/v1/exports/{}", options.number), None)?;
            tell(&row, options.json, out)
        }
    }
}

fn said(saying: &Saying) -> Result<Map<String, Value>, Failure> {
    let Saying { state, file, content_type, expires } = saying;
    let mut said = Map::new();
    if let Some(state) = state {
        let state = serde_json::from_str(state).map_err(|bad| Failure::Usage(format!("--state: {bad}")))?;
        said.insert("state".into(), state);
    }
    if let Some(file) = file {
        let mut body = String::new();
        let read = match file.as_os_str() == "-" {
            true => std::io::stdin().take(MOST_BYTES).read_to_string(&mut body),
            false => std::fs::File::open(file).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut body)),
        };
        read.map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
        said.insert("body".into(), body.into());
    }
    said.extend(content_type.as_ref().map(|it| ("content_type".to_owned(), json!(it))));
    said.extend(expires.map(|it| ("expires".to_owned(), json!(it))));
    Ok(said)
}

fn add(options: &Add) -> Result<Value, Failure> {
    let Add { resource, package, saying, publisher, id, target, proxy, header, json: _, gateway } = options;
    let mut wish = said(saying)?;
    if !wish.contains_key("state") && !wish.contains_key("body") {
        return Err(Failure::Usage("what to publish? say --state or --file".into()));
    }
    let given = json!({
        "resource": resource, "package": package, "publisher": publisher, "id": id, "target": target,
        "outbound_proxy": proxy, "headers": headers(header)?,
    });
    if let Value::Object(given) = given {
        wish.extend(given);
    }
    gateway.order("POST", "/v1/exports", Some(&wish.into()))
}

fn show(options: &Show, out: &mut Output) -> Result<(), Failure> {
    if let Some(number) = options.number {
        let row = options.gateway.json(&format!("/v1/exports/{number}"))?;
        return tell(&row, options.json, out);
    }
    options.gateway.rows("/v1/exports", "exports", |row| tell(row, options.json, out))
}

fn tell(row: &Value, json: bool, out: &mut Output) -> Result<(), Failure> {
    let line = if json { row.to_string() } else { line(out, row) };
    writeln!(out, "{line}")?;
    Ok(())
}

/// What is published where, and how it stands.
fn line(out: &Output, row: &Value) -> String {
    let text = |name: &str| clean(row[name].as_str().unwrap_or("-"));
    format!(
        "{:>5}  {:32}  {:8}  to {}  {}  {} {}, until {}, next {}, {} requests",
        row["number"].as_u64().map_or_else(|| "rule".into(), |number| number.to_string()),
        text("r"),
        text("kind"),
        text("server"),
        standing(out, row),
        row["status"],
        text("reason"),
        moment(row, "until"),
        moment(row, "next"),
        row["requests"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_one_line() {
        let row = json!({"number": 3, "r": "sip:1@b", "kind": "dialog", "server": "sip:pbx", "state": "retrying",
            "status": 489, "reason": "489\u{1b}Bad Event", "until": null, "next": 1_795_263_600_000_u64, "requests": 4});
        let words: Vec<_> = line(&Output::plain(), &row).split_whitespace().map(str::to_owned).collect();
        let expected =
            "3 sip:1@b dialog to sip:pbx retrying 489 489 Bad Event, until --:--:--Z, next 12:20:00Z, 4 requests";
        assert_eq!(words.join(" "), expected);
        let rule = json!({"r": "sip:1@b", "kind": "dialog", "state": "active", "status": 200, "requests": 1});
        assert!(line(&Output::plain(), &rule).trim_start().starts_with("rule  sip:1@b"));
    }
}
