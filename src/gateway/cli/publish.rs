//! `lamplighter publish`: say a state, refresh or withdraw what was said.

use super::Failure;
use super::client::{Gateway, Sent, segment};
use super::output::{Output, clean, span};
use clap::Args;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

/// No document is longer, bytes.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The address: sip:1001@office.example, 1001@office.example or 1001
    resource: String,
    /// The kind, such as dialog, presence or mwi
    kind: String,
    /// The state as JSON, such as '{"basic":"open"}'; without it and --file, what --if-match names is refreshed
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    state: Option<String>,
    /// A document; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The document's type; left out: application/json
    #[arg(long, value_name = "TYPE", requires = "file", default_value = "application/json")]
    content_type: String,
    /// How long it shall hold, seconds
    #[arg(long, value_name = "SECONDS")]
    expires: Option<u32>,
    /// The entity-tag of the publication to change, refresh or withdraw
    #[arg(long, value_name = "TAG")]
    if_match: Option<String>,
    /// Tells publications of one caller apart
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Withdraw what --if-match names
    #[arg(long, requires = "if_match", conflicts_with_all = ["state", "file", "expires"])]
    withdraw: bool,
    /// The answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(options: &Options, out: &mut Output) -> Result<(), Failure> {
    let body = body(options)?;
    if body.is_none() && options.if_match.is_none() {
        return Err(Failure::Usage("what to publish? say --state or --file, or --if-match to refresh".into()));
    }
    let mut path = format!("/v1/state/{}/{}", segment(&options.resource), segment(&options.kind));
    let expires = if options.withdraw { Some(0) } else { options.expires };
    let queries = [("expires", expires.map(|seconds| seconds.to_string())), ("source", options.source.clone())];
    let mut mark = '?';
    for (name, value) in queries.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        path.push_str(&format!("{mark}{name}={}", segment(&value)));
        mark = '&';
    }
    let tag = options.if_match.as_ref().map(|tag| format!("\"{}\"", tag.trim_matches('"')));
    let mut sent = Sent { method: "PUT", path: &path, headers: Vec::new(), body: body.unwrap_or_default() };
    if !sent.body.is_empty() {
        sent.headers.push(("Content-Type", &options.content_type));
    }
    if let Some(tag) = &tag {
        sent.headers.push(("If-Match", tag));
    }
    let answer = options.gateway.ask(sent)?;
    if options.json {
        writeln!(out, "{answer}")?;
    } else {
        writeln!(out, "{}", tell(&answer))?;
    }
    Ok(())
}

fn body(options: &Options) -> Result<Option<Vec<u8>>, Failure> {
    if let Some(state) = &options.state {
        return Ok(Some(state.clone().into_bytes()));
    }
    let Some(file) = &options.file else { return Ok(None) };
    let mut body = Vec::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(MOST_BYTES).read_to_end(&mut body),
        false => std::fs::File::open(file).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut body)),
    };
    read.map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
    match body.is_empty() {
        true => Err(Failure::Failed(format!("{}: there is nothing in it", file.display()))),
        false => Ok(Some(body)),
    }
}

/// What was done, and the entity-tag by which it can be changed.
fn tell(answer: &Value) -> String {
    let text = |name: &str| clean(answer[name].as_str().unwrap_or("?"));
    match answer["expires"].as_u64() {
        Some(0) => format!("withdrawn: {} {}", text("r"), text("kind")),
        seconds => {
            let span = seconds.map_or_else(|| "?".into(), |seconds| span(seconds.saturating_mul(1000)));
            format!("published: {} {} for {span}; entity-tag {}", text("r"), text("kind"), text("entity_tag"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_done_is_told() {
        let answer = json!({"r": "sip:1@b", "kind": "mwi", "entity_tag": "00000000000a0001", "expires": 3600});
        assert_eq!(tell(&answer), "published: sip:1@b mwi for 1h 0m; entity-tag 00000000000a0001");
        assert_eq!(tell(&json!({"r": "sip:1@b", "kind": "mwi", "expires": 0})), "withdrawn: sip:1@b mwi");
    }
}
