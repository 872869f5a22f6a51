//! What is published to other servers.

use super::{AGAIN, Remote, Task};
use lamplighter_model::remote::{Heard, RemotePublication};
use lamplighter_model::{Answer, AnyState, Command, PackageId, Profile, RemoteAnswer, Rendering, Time};
use lamplighter_sip::client::{self, PublicationId, State};
use std::sync::Arc;
use std::time::Duration;

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
}

impl Remote {
    /// A state of ours has changed that rules want.
    pub(crate) fn heard(&mut self, heard: &Heard) {
        for rule in 0..self.settings.rules.len().min(super::MOST_RULES) {
            if heard.rules >> rule & 1 == 0 {
                continue;
            }
            let key = (rule as u8, heard.resource.clone(), heard.package);
            if !self.exports.contains_key(&key) && self.exports.len() >= self.settings.agent.most {
                continue;
            }
            let export = self.exports.entry(key.clone()).or_default();
            export.dirty = true;
            if !std::mem::replace(&mut export.busy, true) {
                self.wait(Task::Export(key));
            }
        }
    }

    /// The server holds it for another while. Meanwhile our own sources may have fallen silent without a change that
    /// anybody could hear, because others say the same.
    pub(crate) fn published(&mut self, id: PublicationId) {
        let Some(key) = self.published.get(&id) else { return };
        if let Some(export) = self.exports.get_mut(key).filter(|export| export.publication == Some(id)) {
            export.dirty = true;
            if !std::mem::replace(&mut export.busy, true) {
                self.waiting.push_back(Task::Export(key.clone()));
            }
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
        let mut body = Vec::new();
        let cuts = package.write(&there, state, Rendering::default(), &Profile::default(), &mut body);
        // The version is one digit wide in what packages write; the agent writes it anew each time.
        if let Some(at) = cuts.version {
            body.remove(at as usize);
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
            body: client::Body { bytes: body.into(), version_at: cuts.version },
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

    pub(crate) fn publications(&self, from: u64, most: usize) -> RemoteAnswer {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let published = |(key, export): (&ExportKey, &Export)| Some((key.clone(), export.publication?));
        let mut all = self.exports.iter().filter_map(published).skip(from);
        let rows: Vec<_> = all.by_ref().take(most).map(|(key, id)| self.publication_row(key, id)).collect();
        let next = all.next().map(|_| (from + rows.len()) as u64);
        RemoteAnswer::Publications(rows, next)
    }

    fn publication_row(&self, (rule, resource, package): ExportKey, id: PublicationId) -> RemotePublication {
        let row = self.agent.publication(id);
        let server = self.settings.rules.get(usize::from(rule)).map_or_else(Box::default, |rule| rule.server.clone());
        RemotePublication {
            resource,
            package,
            server,
            state: row.as_ref().map_or(State::Pending, |row| row.state).name(),
            reason: row.as_ref().and_then(|row| row.cause.as_ref()).map(ToString::to_string),
            status: row.as_ref().map_or(0, |row| row.last_status),
            until: row.as_ref().and_then(|row| row.until),
            next: row.as_ref().and_then(|row| row.next),
            sent: row.map_or(0, |row| row.sent),
        }
    }
}
