//! Where settings are written down, and how a mistake in them is told: with file, line, column, key and a hint.
//!
//! A configuration is put together from several texts (the file, the environment, `--set`). Each has a range of one
//! number line to itself, so that a span says at once which text it is in.

use super::ConfigError;
use serde::de::DeserializeOwned;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// No more mistakes than this are told at once.
const MOST_PROBLEMS: usize = 32;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where it is written: a file, `--set ...`, or an environment variable. Empty: nowhere, it is a default.
    pub source: String,
    /// Line and column, from 1, when the source is a file.
    pub place: Option<(usize, usize)>,
    /// The key, such as `sip.listen`; empty: the whole text.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl Problem {
    /// A problem with the setting `key`, wherever that is written.
    pub fn new(key: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { source: String::new(), place: None, key: key.into(), what: what.into(), hint: hint.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::with_capacity(3);
        match self.place {
            Some((line, column)) => parts.push(format!("{}:{line}:{column}", self.source)),
            None if !self.source.is_empty() => parts.push(self.source.clone()),
            None => {}
        }
        if !self.key.is_empty() {
            parts.push(self.key.clone());
        }
        parts.push(self.what.clone());
        f.write_str(&parts.join(": "))?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n    hint: {}", self.hint) }
    }
}

/// A text with settings.
#[derive(Debug)]
struct Text {
    name: String,
    is_file: bool,
    /// Begins with as many blanks as all texts before it are long.
    padded: String,
    start: usize,
}

/// All texts, the weakest first.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<Text>);

impl Texts {
    /// Adds a file.
    pub(super) fn file(&mut self, name: &str, text: &str) {
        self.push(name.to_owned(), text, true);
    }

    /// Adds one setting. A value that is no TOML is taken as a string, so that quotes may be left out.
    pub(super) fn setting(&mut self, name: String, key: &str, value: &str) -> Result<(), Problem> {
        let value = value.trim();
        let is_toml = DeValue::parse(value).is_ok() && !value.contains('\n');
        let text = if is_toml { format!("{key} = {value}") } else { format!("{key} = {}", quoted(value)) };
        if let Err(error) = DeTable::parse(&text) {
            let what = format!("`{key}` is no key: {}", error.message());
            return Err(Problem { source: name, ..Problem::new("", what, "write `--set sip.open=true`") });
        }
        self.push(name, &text, false);
        Ok(())
    }

    fn push(&mut self, name: String, text: &str, is_file: bool) {
        let start = self.0.last().map_or(0, |last| last.padded.len());
        let mut padded = " ".repeat(start);
        padded.push_str(text);
        padded.push('\n');
        self.0.push(Text { name, is_file, padded, start });
    }

    fn problem(&self, at: Option<usize>, problem: Problem) -> Problem {
        let Some(at) = at else { return problem };
        let Some(text) = self.0.iter().rfind(|text| text.start <= at) else { return problem };
        let before = text.padded.get(text.start..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Problem { source: text.name.clone(), place: text.is_file.then_some((line, column)), ..problem }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// All texts as one tree, which remembers what is written where.
#[derive(Debug)]
pub(super) struct Document<'i> {
    texts: &'i Texts,
    root: DeTable<'i>,
}

impl<'i> Document<'i> {
    /// Reads and merges `texts`: later ones win, tables are merged key by key.
    pub(super) fn parse(texts: &'i Texts) -> Result<Self, ConfigError> {
        let (mut root, mut problems) = (DeTable::new(), Vec::new());
        for text in &texts.0 {
            let (table, errors) = DeTable::parse_recoverable(&text.padded);
            for error in errors.iter().take(MOST_PROBLEMS) {
                let at = error.span().map(|span| span.start);
                problems.push(texts.problem(at, Problem::new("", error.message(), "")));
            }
            merge(&mut root, table.into_inner());
        }
        if problems.is_empty() { Ok(Self { texts, root }) } else { Err(ConfigError(problems)) }
    }

    /// The settings. `defaults` are all of them as a tree; hints are made from it. After a mistake the key is left
    /// out and the rest is read, so that all mistakes are told at once.
    pub(super) fn read<T: DeserializeOwned>(&self, defaults: &toml::Table) -> Result<T, ConfigError> {
        let (mut root, mut problems) = (self.root.clone(), Vec::new());
        loop {
            let whole = toml::Spanned::new(0..0, DeValue::Table(root.clone()));
            let error = match T::deserialize(toml::de::ValueDeserializer::from(whole)) {
                Ok(settings) if problems.is_empty() => return Ok(settings),
                Ok(_) => return Err(in_order(problems)),
                Err(error) => error,
            };
            let path = error.span().map(|span| path_of(&root, &span)).unwrap_or_default();
            let at = error.span().map(|span| span.start);
            problems.push((at, self.explain(&error, &path, defaults)));
            if problems.len() == MOST_PROBLEMS || !remove(&mut root, &path) {
                return Err(in_order(problems));
            }
        }
    }

    fn explain(&self, error: &toml::de::Error, path: &[Step], defaults: &toml::Table) -> Problem {
        let message = error.message().trim();
        let (what, hint) = if let Some(rest) = message.strip_prefix("unknown field ") {
            let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
            let (wrong, known) = known.split_first().map_or(("", [].as_slice()), |(wrong, known)| (*wrong, known));
            ("unknown key".to_owned(), hint_for_key(wrong, known, defaults))
        } else if let Some(rest) = message.strip_prefix("unknown variant ") {
            let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
            (message.to_owned(), nearest(known[0], &known[1..]).map_or(String::new(), did_you_mean))
        } else {
            (message.to_owned(), hint_for_value(path, message, defaults))
        };
        self.texts.problem(error.span().map(|span| span.start), Problem::new(spell(path), what, hint))
    }

    /// Says where the settings that `problems` name are written.
    pub(super) fn locate(&self, problems: Vec<Problem>) -> ConfigError {
        let located = problems.into_iter().map(|problem| {
            let at = self.find(&problem.key);
            (at, self.texts.problem(at, problem))
        });
        in_order(located.collect())
    }

    /// Where `key` is written, or the nearest table around it that is.
    fn find(&self, key: &str) -> Option<usize> {
        let (mut at, mut table) = (None, &self.root);
        let mut steps = key.split('.').peekable();
        while let Some(step) = steps.next() {
            let (name, index) = match step.split_once('[') {
                Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
                None => (step, None),
            };
            let Some((key, value)) = table.get_key_value(name) else { break };
            at = Some(key.span().start);
            let mut value = value;
            if let (Some(index), DeValue::Array(items)) = (index, value.get_ref())
                && let Some(item) = items.get(index)
            {
                (at, value) = (Some(item.span().start), item);
            }
            match value.get_ref() {
                DeValue::Table(inner) if steps.peek().is_some() => table = inner,
                _ => break,
            }
        }
        at
    }
}

/// As they are written.
fn in_order(mut problems: Vec<(Option<usize>, Problem)>) -> ConfigError {
    problems.sort_by_key(|(at, _)| *at);
    ConfigError(problems.into_iter().map(|(_, problem)| problem).collect())
}

/// One step of a path through a tree.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

fn spell(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(key) if out.is_empty() => out.push_str(key),
            Step::Key(key) => out.extend([".", key]),
            Step::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}

fn merge<'i>(into: &mut DeTable<'i>, from: DeTable<'i>) {
    for (key, value) in from {
        let span = value.span();
        match (into.get_mut(key.get_ref().as_ref()).map(|old| old.get_mut()), value.into_inner()) {
            (Some(DeValue::Table(old)), DeValue::Table(new)) => merge(old, new),
            (_, new) => {
                // Out first, because a map keeps the old key, and with it the old place.
                into.remove(key.get_ref().as_ref());
                into.insert(key, toml::Spanned::new(span, new));
            }
        }
    }
}

/// The path to what is written at `span`: the entry that fits closest around it.
fn path_of(root: &DeTable<'_>, span: &Range<usize>) -> Vec<Step> {
    struct Search<'a> {
        span: &'a Range<usize>,
        path: Vec<Step>,
        best: Option<(usize, Vec<Step>)>,
    }
    impl Search<'_> {
        fn offer(&mut self, around: &Range<usize>) {
            let fits = around.start <= self.span.start && self.span.end <= around.end;
            if fits && self.best.as_ref().is_none_or(|(length, _)| around.len() <= *length) {
                self.best = Some((around.len(), self.path.clone()));
            }
        }
        fn value(&mut self, value: &toml::Spanned<DeValue<'_>>) {
            self.offer(&value.span());
            match value.get_ref() {
                DeValue::Table(table) => self.table(table),
                DeValue::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.path.push(Step::Index(index));
                        self.value(item);
                        self.path.pop();
                    }
                }
                _ => {}
            }
        }
        fn table(&mut self, table: &DeTable<'_>) {
            for (key, value) in table {
                self.path.push(Step::Key(key.get_ref().to_string()));
                self.offer(&key.span());
                self.value(value);
                self.path.pop();
            }
        }
    }
    let mut search = Search { span, path: Vec::new(), best: None };
    search.table(root);
    search.best.map(|(_, path)| path).unwrap_or_default()
}

/// Takes the entry at `path` out, or the array that it is in.
fn remove(root: &mut DeTable<'_>, path: &[Step]) -> bool {
    let keys: Vec<&str> = path
        .iter()
        .map_while(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    let Some((last, tables)) = keys.split_last() else { return false };
    let mut table = root;
    for key in tables {
        match table.get_mut(*key).map(|value| value.get_mut()) {
            Some(DeValue::Table(inner)) => table = inner,
            _ => return false,
        }
    }
    table.remove(*last).is_some()
}

fn did_you_mean(known: &str) -> String {
    format!("did you mean `{known}`?")
}

fn hint_for_key(wrong: &str, known: &[&str], defaults: &toml::Table) -> String {
    if let Some(nearest) = nearest(wrong, known) {
        return did_you_mean(nearest);
    }
    if let Some(elsewhere) = elsewhere(wrong, defaults, "") {
        return format!("`{wrong}` belongs elsewhere: `{elsewhere}`");
    }
    if known.is_empty() { "no keys are known here".into() } else { format!("known keys: {}", known.join(", ")) }
}

fn hint_for_value(path: &[Step], message: &str, defaults: &toml::Table) -> String {
    if message.contains("duration") {
        return "write durations with a unit, such as \"500ms\", \"30s\" or \"1h\"".into();
    }
    let keys = path.iter().filter_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Index(_) => None,
    });
    let (mut value, mut last): (Option<&toml::Value>, _) = (None, "");
    for key in keys {
        value = match value {
            None => defaults.get(key),
            Some(toml::Value::Table(table)) => table.get(key),
            Some(toml::Value::Array(items)) => items.iter().find_map(|item| item.get(key)),
            Some(_) => None,
        };
        last = key;
        if value.is_none() {
            return String::new();
        }
    }
    match value {
        Some(toml::Value::Table(_)) => format!("`{last}` is a section: write `[{}]` and its keys below", spell(path)),
        Some(value) => format!("the default is `{last} = {value}`"),
        None => String::new(),
    }
}

fn elsewhere(wrong: &str, table: &toml::Table, prefix: &str) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            _ if key == wrong => Some(path),
            toml::Value::Table(inner) => elsewhere(wrong, inner, &path),
            _ => None,
        }
    })
}

/// The word of `known` that `wrong` is most likely a slip of.
fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    if wrong.len() > 64 {
        return None;
    }
    let most = 1 + wrong.len() / 4;
    let distances = known.iter().map(|known| (distance(wrong, known), *known));
    distances.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// How many letters must be changed, added, left out or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let known = ["listen", "advertise", "open"];
        assert_eq!(nearest("opne", &known), Some("open"));
        assert_eq!(nearest("lisen", &known), Some("listen"));
        assert_eq!(nearest("advertize", &known), Some("advertise"));
        assert_eq!(nearest("colour", &known), None);
    }

    #[test]
    fn distances_count_swaps_once() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("opne", "open"), 1);
        assert_eq!(distance("same", "same"), 0);
    }
}
