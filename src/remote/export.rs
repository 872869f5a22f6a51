//! What is published to other servers.

use super::publish::{progress, write};
use super::{AGAIN, Due, Remote, Task, soon};
use lamplighter_model::remote::{Heard, RemotePublication};
use lamplighter_model::{Answer, AnyState, Command, PackageId, RemoteAnswer, Time};
use lamplighter_sip::client::{self, PublicationId, State};
use std::sync::Arc;
use std::time::Duration;

/// Pages of what rules publish are named from here on.
const RULES: u64 = 1 << 62;

/// No answer of a shard is older.
const LATE: Duration = Duration::from_secs(1);

/// Which rule, whose state, which package.
pub(crate) type ExportKey = (u8, Arc<str>, PackageId);

/// A state that a rule publishes.
#[derive(Debug, Default)]
pub(crate) struct Export {
    pub publication: Option<PublicationId>,
    /// The state has changed since it was asked for.
    dirty: bool,
    /// A question is waiting or under way.
    busy: bool,
    /// What has ended leaves by then without anybody being told: it is to be looked at once more afterwards.
    lingers: Option<Time>,
}

impl Remote {
    /// A state of ours has changed that rules want.
    pub(crate) fn heard(&mut self, now: Time, heard: &Heard) {
        let lingers = now + self.config.packages.get(heard.package).linger() + LATE;
        for rule in 0..self.settings.rules.len().min(super::MOST_RULES) {
            if heard.rules >> rule & 1 == 0 {
                continue;
            }
            let key = (rule as u8, heard.resource.clone(), heard.package);
            if !self.exports.contains_key(&key) && self.exports.len() >= self.settings.agent.most {
                continue;
            }
            let export = self.exports.entry(key.clone()).or_default();
            (export.dirty, export.lingers) = (true, Some(lingers));
            if !std::mem::replace(&mut export.busy, true) {
                self.wait(Task::Export(key));
            }
        }
    }

    /// The server holds it for another while. Meanwhile our own sources may have fallen silent without a change that
    /// anybody could hear, because others say the same; and what had ended has left. There is no hurry, and leases are
    /// renewed at any time: those of a while are looked at together.
    pub(crate) fn refreshed(&mut self, now: Time, id: PublicationId) {
        let Some(key) = self.published.get(&id) else { return };
        let (rule, resource, _) = key;
        let excepts = self.settings.rules.get(usize::from(*rule)).is_some_and(|rule| !rule.except.is_empty());
        let lingers = || self.exports.get(key).is_some_and(|export| export.lingers.is_some());
        if excepts || lingers() || self.is_hearsay(now, resource) {
            self.due.insert((soon(now), Due::Look(key.clone())));
        }
    }

    pub(crate) fn look(&mut self, key: ExportKey) {
        if let Some(export) = self.exports.get_mut(&key).filter(|export| export.publication.is_some() && !export.busy) {
            (export.dirty, export.busy) = (true, true);
            self.waiting.push_back(Task::Export(key));
        }
    }

    pub(crate) fn export_question(&mut self, key: &ExportKey) -> Option<(Arc<str>, Command)> {
        let (rule, resource, package) = key;
        let except = self.settings.rules.get(usize::from(*rule))?.except.clone();
        self.exports.get_mut(key)?.dirty = false;
        let command = Command::Own { resource: resource.clone(), package: *package, except };
        Some((resource.clone(), command))
    }

    /// When to ask again; `None`: not before it has changed.
    pub(crate) fn export_answered(&mut self, now: Time, key: &ExportKey, answer: Option<Answer>) -> Option<Duration> {
        let Some(Answer::Own(state)) = answer else { return Some(AGAIN) };
        match state.0 {
            Some(state) => self.publish(now, key, &state),
            None => {
                let publication = self.exports.get_mut(key).and_then(|export| export.publication.take());
                if let Some(id) = publication {
                    self.agent.withdraw(now, id, &mut self.told);
                }
            }
        }
        let export = self.exports.get_mut(key)?;
        if export.dirty {
            return Some(Duration::ZERO);
        }
        export.busy = false;
        export.lingers = export.lingers.filter(|until| now <= *until);
        if export.publication.is_none() {
            self.exports.remove(key);
        }
        None
    }

    fn publish(&mut self, now: Time, key: &ExportKey, state: &AnyState) {
        let (rule, resource, id) = key;
        let Some(rule) = self.settings.rules.get(usize::from(*rule)).filter(|_| !self.stopping) else { return };
        let package = self.config.packages.get(*id);
        let there: Box<str> = match (&rule.domain, resource.rsplit_once('@')) {
            (Some(domain), Some((user, _))) => format!("{user}@{domain}").into(),
            _ => resource.as_ref().into(),
        };
        let body = write(package, &there, state);
        if let Some(id) = self.exports.get(key).and_then(|export| export.publication) {
            return self.agent.update(now, id, body, &mut self.told);
        }
        let record = client::Record {
            key: rule.server.clone(),
            publisher: rule.publisher.clone().or_else(|| Some(there.clone())),
            resource: there,
            target: None,
            event: package.name().into(),
            content_type: package.formats().first().map_or_else(Box::default, |format| format.content_type.clone()),
            expires: rule.expires,
            proxy: Some(rule.server.clone()),
            headers: rule.headers.clone(),
            body,
        };
        let publication = self.agent.publish(now, record, &mut self.told);
        if let Some(id) = publication {
            self.published.insert(id, key.clone());
        }
        if let Some(export) = self.exports.get_mut(key) {
            // Without room in the agent it is tried again with the next change.
            export.publication = publication;
        }
    }

    /// First what somebody inside has asked for, by number, then what rules publish, by place.
    pub(crate) fn publications(&self, from: u64, most: usize) -> RemoteAnswer {
        let own = self.own.range(from..).take_while(|(number, _)| **number < RULES);
        let own = own.map(|(number, own)| (*number, self.own_row(*number, own)));
        let passed = usize::try_from(from.saturating_sub(RULES)).unwrap_or(usize::MAX);
        let published = |(place, (key, export)): (usize, (&ExportKey, &Export))| {
            Some((RULES + place as u64, self.publication_row(key, export.publication?)))
        };
        let ruled = self.exports.iter().enumerate().skip(passed).filter_map(published);
        let mut all = own.chain(ruled);
        let rows = all.by_ref().take(most).map(|(_, row)| row).collect();
        RemoteAnswer::Publications(rows, all.next().map(|(place, _)| place))
    }

    fn publication_row(&self, (rule, resource, package): &ExportKey, id: PublicationId) -> RemotePublication {
        let rule = self.settings.rules.get(usize::from(*rule));
        let pending = || RemotePublication { state: State::Pending.name(), ..RemotePublication::default() };
        RemotePublication {
            resource: resource.clone(),
            publisher: rule.and_then(|rule| rule.publisher.clone()),
            package: *package,
            server: rule.map_or_else(Box::default, |rule| rule.server.clone()),
            ..self.agent.publication(id).map_or_else(pending, progress)
        }
    }
}
