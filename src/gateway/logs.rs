//! Logs: text or JSON lines to standard error, people's addresses shortened unless somebody debugs.

use crate::config::{Log, LogFormat};
use std::fmt;
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
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
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
    Ok(directives.into_iter().fold(EnvFilter::default(), EnvFilter::add_directive))
}

/// An address as logs show it: the user part loses all but its first character, unless the level is debug.
#[derive(Clone, Copy)]
pub struct Redacted<'a>(pub &'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, WHOLE.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write(f: &mut impl fmt::Write, address: &str, whole: bool) -> fmt::Result {
    if whole {
        return f.write_str(address);
    }
    let (scheme, rest) = match address.split_once(':') {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => (Some(scheme), rest),
        _ => (None, address),
    };
    if let Some(scheme) = scheme {
        write!(f, "{scheme}:")?;
    }
    let (user, domain) = match rest.rsplit_once('@') {
        Some((user, domain)) => (user, Some(domain)),
        None => (rest, None),
    };
    f.write_str(user.chars().next().map_or("", |first| &user[..first.len_utf8()]))?;
    f.write_str("***")?;
    domain.map_or(Ok(()), |domain| write!(f, "@{domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expected: &str) {
        let mut out = String::new();
        write(&mut out, address, false).unwrap();
        assert_eq!(out, expected);
        out.clear();
        write(&mut out, address, true).unwrap();
        assert_eq!(out, address);
    }

    #[test]
    fn user_parts_are_shortened() {
        check("sip:1001@example.com", "sip:1***@example.com");
        check("1001@example.com", "1***@example.com");
        check("tel:+441234", "tel:+***");
        check("ärger", "ä***");
        check("", "***");
    }

    #[test]
    fn levels_are_read_whole() {
        assert!(filter("info").is_ok());
        assert!(filter("warn,lamplighter_sip=debug").is_ok());
        assert!(filter("lowd=x=y").is_err());
    }
}
