//! Telling whoever listens what becomes of what they want of other servers.

use super::Remote;
use super::wish::Said;
use lamplighter_model::{Outbox, Output, RemoteAnswer, RemoteCommand, RemoteNews, RemoteThing, RemoteTold, Time};
use lamplighter_sip::client::SubscriptionId;
use std::collections::{BTreeMap, BTreeSet};

/// Who listens to what, and what is to be told at the end of a turn.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// What each listener hears of; true: it has begun it, and ends it by leaving.
    listeners: BTreeMap<u64, BTreeMap<RemoteThing, bool>>,
    /// Who hears of each thing.
    heard_by: BTreeMap<RemoteThing, BTreeSet<u64>>,
    /// Dialogs of which something is to be told; true: there are new documents.
    lines: BTreeMap<SubscriptionId, bool>,
    publications: BTreeSet<u64>,
    ended: BTreeSet<RemoteThing>,
}

impl News {
    fn listen(&mut self, listener: u64, thing: RemoteThing, begun: bool) {
        *self.listeners.entry(listener).or_default().entry(thing).or_default() |= begun;
        self.heard_by.entry(thing).or_default().insert(listener);
    }

    fn deafen(&mut self, listener: u64, thing: RemoteThing) {
        if let Some(things) = self.listeners.get_mut(&listener) {
            things.remove(&thing);
            if things.is_empty() {
                self.listeners.remove(&listener);
            }
        }
        if let Some(listeners) = self.heard_by.get_mut(&thing) {
            listeners.remove(&listener);
            if listeners.is_empty() {
                self.heard_by.remove(&thing);
            }
        }
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.listeners.len()
    }

    /// A dialog has changed; `fresh`: it has said something.
    pub(crate) fn line(&mut self, id: SubscriptionId, fresh: bool) {
        if !self.heard_by.is_empty() {
            *self.lines.entry(id).or_default() |= fresh;
        }
    }

    /// A publication has changed.
    pub(crate) fn publication(&mut self, number: u64) {
        if self.heard_by.contains_key(&RemoteThing::Publication(number)) {
            self.publications.insert(number);
        }
    }

    /// Something is there no more.
    pub(crate) fn ended(&mut self, thing: RemoteThing) {
        if self.heard_by.contains_key(&thing) {
            self.ended.insert(thing);
        }
    }
}

impl Remote {
    /// Does what a listener wants, and has them told of it from now on.
    pub(crate) fn command_for(&mut self, now: Time, listener: u64, command: RemoteCommand) -> RemoteAnswer {
        let begins = matches!(command, RemoteCommand::Subscribe(_) | RemoteCommand::Publish(_));
        let follows = matches!(command, RemoteCommand::Get(_) | RemoteCommand::Publication(_));
        // What begins here ends with the listener: it is not kept.
        let answer = match command {
            RemoteCommand::Subscribe(wish) => match self.subscribe(now, *wish) {
                Ok(id) => self.get(id),
                Err(answer) => answer,
            },
            RemoteCommand::Publish(record) => self.publish_own(now, *record),
            other => self.command(now, other),
        };
        if begins || follows {
            match &answer {
                RemoteAnswer::Subscription(row) => {
                    self.news.listen(listener, RemoteThing::Subscription(row.id), begins);
                }
                // What somebody has begun before, and changes now, stays theirs.
                RemoteAnswer::Publication(row, new) => {
                    if let Some(number) = row.number {
                        self.news.listen(listener, RemoteThing::Publication(number), *new);
                    }
                }
                _ => {}
            }
        }
        answer
    }

    /// A listener leaves, or wants to hear no more of one thing: what they have begun ends. The removal of a single
    /// publication is told to the end.
    pub(crate) fn leave_listener(&mut self, now: Time, listener: u64, only: Option<RemoteThing>) -> RemoteAnswer {
        let things: Vec<_> = match (self.news.listeners.get(&listener), only) {
            (None, _) => return RemoteAnswer::Unknown,
            (Some(things), None) => things.iter().map(|(thing, begun)| (*thing, *begun)).collect(),
            (Some(things), Some(one)) => match things.get(&one) {
                Some(begun) => vec![(one, *begun)],
                None => return RemoteAnswer::Unknown,
            },
        };
        let mut answer = RemoteAnswer::Removed;
        for (thing, begun) in things {
            match thing {
                RemoteThing::Subscription(id) => {
                    self.news.deafen(listener, thing);
                    if begun {
                        self.remove(now, id);
                    }
                }
                RemoteThing::Publication(number) => {
                    // Whoever is still there hears how the removal went.
                    if only.is_none() || !begun {
                        self.news.deafen(listener, thing);
                    }
                    if begun {
                        answer = self.withdraw_own(now, number);
                    }
                }
            }
        }
        if only.is_some() { answer } else { RemoteAnswer::Removed }
    }

    /// Everybody is told what this turn has changed.
    pub(crate) fn tell(&mut self, out: &mut Outbox) {
        for (id, fresh) in std::mem::take(&mut self.news.lines) {
            let Some(line) = self.lines.get(&id) else { continue };
            let mut said: Option<Said> = None;
            for number in line.users() {
                let thing = RemoteThing::Subscription(number);
                let Some(listeners) = self.news.heard_by.get(&thing) else { continue };
                let Some(sub) = self.subs.get(&number) else { continue };
                // They are the same for all, and written once.
                let said = said.get_or_insert_with(|| self.said(line)).clone();
                let row = Box::new(self.row(number, sub, said));
                for &listener in listeners {
                    let told = RemoteTold::Subscription { row: row.clone(), fresh };
                    out.outputs.push(Output::News(Box::new(RemoteNews { listener, thing, told })));
                }
            }
        }
        for number in std::mem::take(&mut self.news.publications) {
            let thing = RemoteThing::Publication(number);
            let (Some(listeners), Some(own)) = (self.news.heard_by.get(&thing), self.own.get(&number)) else {
                continue;
            };
            let row = Box::new(self.own_row(number, own));
            for &listener in listeners {
                let told = RemoteTold::Publication(row.clone());
                out.outputs.push(Output::News(Box::new(RemoteNews { listener, thing, told })));
            }
        }
        for thing in std::mem::take(&mut self.news.ended) {
            for listener in self.news.heard_by.get(&thing).cloned().unwrap_or_default() {
                self.news.deafen(listener, thing);
                out.outputs.push(Output::News(Box::new(RemoteNews { listener, thing, told: RemoteTold::Ended })));
            }
        }
    }
}
