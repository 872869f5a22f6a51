//! The answer to "why is this lamp lit?" (OP-03): sources with their ages, the rule, and what each watcher was told.

use crate::time::Time;
use std::borrow::Cow;
use std::sync::Arc;

/// Everything that a shard knows about one presentity.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// The canonical address.
    pub resource: String,
    /// One entry a package that somebody publishes or watches.
    pub packages: Vec<PackageExplanation>,
}

/// One package of the presentity.
#[derive(Clone, Debug, Default)]
pub struct PackageExplanation {
    /// Its kind: `dialog`, `presence`, `mwi`.
    pub kind: String,
    /// The composed state in words.
    pub state: String,
    /// The rule that composed it, in one sentence.
    pub rule: &'static str,
    /// Who vouches for what.
    pub sources: Vec<SourceExplanation>,
    /// Who is told.
    pub watchers: Vec<WatcherExplanation>,
    /// The latest happenings, oldest first.
    pub history: Vec<HistoryEntry>,
}

/// One publication.
#[derive(Clone, Debug, Default)]
pub struct SourceExplanation {
    /// Its name, such as `pub:7f3a`.
    pub source: String,
    /// Where it came from: a network address.
    pub from: String,
    /// When it was accepted last.
    pub at: Time,
    /// When its lease ends; [`Time::NEVER`] for what lives as long as its origin.
    pub until: Time,
    /// What it says alone, in words.
    pub says: String,
}

/// One subscription.
#[derive(Clone, Debug, Default)]
pub struct WatcherExplanation {
    /// The watcher's address.
    pub watcher: String,
    /// `active`, `pending` or `dormant`.
    pub state: &'static str,
    /// Where NOTIFYs go.
    pub flow: String,
    /// When the subscription ends.
    pub until: Time,
    /// When the last NOTIFY was sent.
    pub notified: Option<Time>,
    /// The version in it, for packages that count.
    pub version: Option<u32>,
    /// The answer to it: a status, `timeout`, or `waiting`.
    pub answer: String,
}

/// Something that happened to a presentity.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// When.
    pub at: Time,
    /// What, in a word or two: `published`, `expired`, `refused: interval too brief`, `replaced subscription`.
    pub what: Cow<'static, str>,
    /// Whose doing, such as `pub:7f3a`.
    pub who: Arc<str>,
}

/// One subscription in a list of all.
#[derive(Clone, Debug, Default)]
pub struct WatcherRow {
    /// The canonical address watched.
    pub resource: Arc<str>,
    /// The kind watched.
    pub kind: String,
    /// The subscription.
    pub watcher: WatcherExplanation,
}

/// Something that happened to a presentity that is being traced: what came in, what was decided, what went out.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The canonical address.
    pub resource: Arc<str>,
    /// When.
    pub at: Time,
    /// What, in a word or two: `request`, `answer`, `published`, `notify`, `notify answered`.
    pub what: Cow<'static, str>,
    /// Whose doing, where to, and with what result.
    pub detail: String,
}
