//! Listening to the machine that talks to other servers: what becomes of one's own subscriptions and publications
//! there. Adapters of ours and the feed use the same.

use crate::port::{Busy, Port};
use lamplighter_model::{RemoteAnswer, RemoteCommand, RemoteNews, RemoteThing, RemoteTold};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Everybody who listens.
#[derive(Default)]
pub(crate) struct Ears {
    boxes: Mutex<HashMap<u64, Arc<Mailbox>>>,
    last: AtomicU64,
}

impl Ears {
    /// Hands news to its listener, who may have just left.
    pub fn tell(&self, news: RemoteNews) {
        let mailbox = self.boxes.lock().unwrap_or_else(PoisonError::into_inner).get(&news.listener).cloned();
        if let Some(mailbox) = mailbox {
            mailbox.put(news.thing, news.told);
        }
    }
}

/// The newest news of each thing, in the order in which they first came. Bounded by the things that its listener has.
#[derive(Default)]
struct Mailbox {
    mail: Mutex<Mail>,
    bell: Notify,
}

#[derive(Default)]
struct Mail {
    order: VecDeque<RemoteThing>,
    newest: HashMap<RemoteThing, RemoteTold>,
}

impl Mailbox {
    fn put(&self, thing: RemoteThing, told: RemoteTold) {
        let mut mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        let told = match mail.newest.get(&thing) {
            Some(older) => told.after(older),
            None => {
                mail.order.push_back(thing);
                told
            }
        };
        mail.newest.insert(thing, told);
        drop(mail);
        self.bell.notify_one();
    }

    fn take(&self) -> Option<(RemoteThing, RemoteTold)> {
        let mut mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        let thing = mail.order.pop_front()?;
        let told = mail.newest.remove(&thing)?;
        Some((thing, told))
    }
}

/// Somebody inside who wants things of other servers: subscriptions and publications that are begun through it end
/// with it, and it is told what becomes of them.
pub struct Listening {
    port: Port,
    number: u64,
    mailbox: Arc<Mailbox>,
    runtime: Handle,
}

impl Port {
    /// Somebody who wants things of other servers. To be called within a runtime. `None`: the gateway talks to no others.
    pub fn listen(&self) -> Option<Listening> {
        if !self.has_remote() {
            return None;
        }
        let ears = &self.shared().ears;
        let number = ears.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mailbox = Arc::<Mailbox>::default();
        ears.boxes.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&mailbox));
        Some(Listening { port: self.clone(), number, mailbox, runtime: Handle::current() })
    }
}

impl Listening {
    /// Asks the machine. What [`RemoteCommand::Subscribe`] and [`RemoteCommand::Publish`] begin ends with `self`;
    /// [`RemoteCommand::Get`] and [`RemoteCommand::Publication`] follow what others have begun.
    pub async fn ask(&self, command: RemoteCommand) -> Result<RemoteAnswer, Busy> {
        let command = RemoteCommand::For { listener: self.number, command: Box::new(command) };
        self.port.remote(command).await.unwrap_or(Err(Busy::Gone))
    }

    /// One thing does not matter any more: what was begun through `self` ends.
    pub async fn leave(&self, thing: RemoteThing) -> Result<RemoteAnswer, Busy> {
        let command = RemoteCommand::Leave { listener: self.number, only: Some(thing) };
        self.port.remote(command).await.unwrap_or(Err(Busy::Gone))
    }

    /// What is new, oldest first. Of several about one thing only the newest comes; documents among them are not
    /// forgotten. Loses nothing when it is dropped before it is ready.
    pub async fn next(&self) -> (RemoteThing, RemoteTold) {
        loop {
            if let Some(news) = self.mailbox.take() {
                return news;
            }
            self.mailbox.bell.notified().await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let ears = &self.port.shared().ears;
        ears.boxes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        let (port, listener) = (self.port.clone(), self.number);
        self.runtime.spawn(async move {
            loop {
                match port.remote(RemoteCommand::Leave { listener, only: None }).await {
                    // Its turn comes; nothing of it is forgotten meanwhile.
                    Some(Err(Busy::Full)) => port.remote_has_room().await,
                    // It has arrived, answered or not.
                    _ => return,
                }
            }
        });
    }
}
