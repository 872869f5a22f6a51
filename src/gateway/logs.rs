//! Logs: text or JSON lines to standard error, people's addresses shortened unless somebody debugs.

use crate::config::{Log, LogFormat};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

/// Whether addresses are shown whole.
static WHOLE: AtomicBool = AtomicBool::new(false);

/// Lets the level be changed while the gateway runs.
#[derive(Clone, Debug)]
pub struct Logs(reload::Handle<EnvFilter, Registry>);

/// Starts logging to standard error. Fails when logging has been started before, or the level cannot be read.
pub fn start(log: &Log) -> Result<Logs, String> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let colours =
        std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && io::IsTerminal::is_terminal(&io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Lines);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())?;
    let logs = Logs(handle);
    logs.set_level(&log.level)?;
    Ok(logs)
}

impl Logs {
    /// Changes the level.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        let filter = filter(level)?;
        let is_debug = filter.max_level_hint().is_none_or(|level| level >= LevelFilter::DEBUG);
        WHOLE.store(is_debug, Ordering::Relaxed);
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// A level, or a list of them by target. Fails with what is wrong.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, String> {
    let directives: Result<Vec<tracing_subscriber::filter::Directive>, _> =
        level.split(',').map(|directive| directive.trim().parse()).collect();
    let directives = directives.map_err(|error| format!("`{level}` is no log level: {error}"))?;
    // The store's engine tells of its inner life; whoever wants to hear it says so.
    let quiet = ["fjall=warn", "lsm_tree=warn"].into_iter().filter_map(|directive| directive.parse().ok());
    Ok(quiet.chain(directives).fold(EnvFilter::default(), EnvFilter::add_directive))
}

/// Standard error, where the addresses of people are shortened unless somebody debugs. Done here, so that no line that
/// is logged anywhere can forget it.
#[derive(Clone, Copy, Debug)]
struct Lines;

impl Write for Lines {
    /// `line` is whole: the layer writes each event at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = match std::str::from_utf8(line) {
            Ok(text) if !WHOLE.load(Ordering::Relaxed) => redacted(text),
            _ => None,
        };
        io::stderr().lock().write_all(text.as_ref().map_or(line, String::as_bytes))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The line with all that stands before an `@`, and the numbers of `tel:` URIs, cut to their first character; `None` if
/// there is nothing to cut.
fn redacted(line: &str) -> Option<String> {
    const SCHEMES: [&str; 7] = ["sip", "sips", "pres", "im", "xmpp", "mailto", "tel"];
    if !line.contains('@') && !line.contains("tel:") {
        return None;
    }
    let is_edge = |c: char| c.is_whitespace() || "\"'`<>()[]{}/=,".contains(c);
    let mut out = String::with_capacity(line.len());
    for word in line.split_inclusive(is_edge) {
        let (scheme, rest) = match word.split_once(':') {
            Some((scheme, _)) if SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) => {
                word.split_at(scheme.len() + 1)
            }
            _ => ("", word),
        };
        let end = match rest.rfind('@') {
            None if scheme.eq_ignore_ascii_case("tel:") => rest.find(is_edge).unwrap_or(rest.len()),
            None => 0,
            Some(at) => at,
        };
        let (user, rest) = rest.split_at(end);
        out.push_str(scheme);
        if let Some(first) = user.chars().next() {
            out.push(first);
            out.push_str("***");
        }
        out.push_str(rest);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        assert_eq!(redacted(line).as_deref().unwrap_or(line), expected);
    }

    #[test]
    fn user_parts_are_shortened_wherever_they_stand() {
        check(
            "from sip:1001@example.com to <SIP:ann.lee@example.com>",
            "from sip:1***@example.com to <SIP:a***@example.com>",
        );
        check("`1001@elsewhere.example` is no address", "`1***@elsewhere.example` is no address");
        check(r#"{"who":"xmpp:ärger@b","n":1}"#, r#"{"who":"xmpp:ä***@b","n":1}"#);
        check("who=user:secret@b tel:+441234 tel:", "who=u***@b tel:+*** tel:");
        check("listening address=127.0.0.1:5060\n", "listening address=127.0.0.1:5060\n");
        check("at 12:00:03: a@b, @c\n", "at 12:00:03: a***@b, @c\n");
    }

    #[test]
    fn levels_are_read_whole() {
        assert!(filter("info").is_ok());
        assert!(filter("warn,lamplighter_sip=debug").is_ok());
        assert!(filter("lowd=x=y").is_err());
    }
}
