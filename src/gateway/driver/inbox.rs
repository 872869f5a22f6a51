//! What others hand to a shard: rings with a bound, and a bell for when it sleeps.

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use lamplighter_model::{Answer, Config, Flow, Heard, Time, Transport};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Messages of streams that wait for one shard; beyond, connections are not read.
const FRAMES: usize = 2048;
/// Datagrams outside dialogs that other shards have handed on; beyond, they are dropped.
const FRESH: usize = 3072;
/// Datagrams of dialogs and transactions of ours, which have room of their own; beyond, they are dropped.
const IN_DIALOG: usize = 1024;

/// A message that somebody else has read.
#[derive(Debug)]
pub(crate) struct Message {
    pub flow: Flow,
    pub bytes: Bytes,
    /// When the kernel took it in.
    pub taken_in: Time,
}

/// What must never be lost. There is at most one of each connection's end, of each question that the machine has asked,
/// and one [`Self::Heard`], so that the bounds of those are bounds of these.
#[derive(Debug)]
pub(crate) enum Notice {
    Closed(Flow),
    Resolved {
        query: u64,
        targets: Vec<(Transport, SocketAddr)>,
        ttl: Duration,
    },
    /// Questions of the machine, by number, with what shards say.
    Asked(Vec<(u64, Option<Answer>)>),
    /// What has changed; there is no other until `more` is dropped.
    Heard {
        all: Vec<Heard>,
        more: oneshot::Sender<()>,
    },
    Config(Arc<Config>),
    Stop,
}

/// A shard's inbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub frames: ArrayQueue<Message>,
    pub fresh: ArrayQueue<Message>,
    pub in_dialog: ArrayQueue<Message>,
    notices: Mutex<Vec<Notice>>,
    noticed: AtomicBool,
    asleep: AtomicBool,
    bell: EventFd,
}

impl Inbox {
    /// For one of `shards` shards.
    pub fn new(shards: usize) -> Result<Self, Errno> {
        let room = |size| if shards > 1 { size } else { 1 };
        Ok(Self {
            frames: ArrayQueue::new(FRAMES),
            fresh: ArrayQueue::new(room(FRESH)),
            in_dialog: ArrayQueue::new(room(IN_DIALOG)),
            notices: Mutex::default(),
            noticed: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            bell: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
        })
    }

    /// Leaves a notice and wakes the shard.
    pub fn notice(&self, notice: Notice) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
        self.noticed.store(true, Ordering::Release);
        self.ring();
    }

    /// Takes all notices, oldest first, into `into`.
    pub fn notices(&self, into: &mut Vec<Notice>) {
        if self.noticed.load(Ordering::Acquire) {
            self.noticed.store(false, Ordering::Release);
            into.append(&mut self.notices.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Wakes the shard if it sleeps. Called after something was put into a ring.
    pub fn ring(&self) {
        // Pairs with the fence in `may_sleep`: either we see that it sleeps, or it sees what we put in.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            // It fails only when the counter is full, and then it is loud enough.
            let _ = self.bell.write(1);
        }
    }

    /// Wakes the shard if it sleeps, for something that is not in this inbox: a question, or room elsewhere.
    pub fn ring_bell(&self) {
        self.noticed.store(true, Ordering::Release);
        self.ring();
    }

    /// Announces that the shard is about to sleep; `false`: something is there, it must not.
    pub fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.is_empty() {
            return true;
        }
        self.awake();
        false
    }

    /// The shard is awake.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Silences the bell.
    pub fn silence(&self) {
        let _ = self.bell.read();
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
            && self.fresh.is_empty()
            && self.in_dialog.is_empty()
            && !self.noticed.load(Ordering::Acquire)
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
