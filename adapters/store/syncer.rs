//! The thread that waits for the disk, so that the store's own thread can go on writing meanwhile.

use crate::backend::Flush;
use crate::error::Fault;
use crate::keeper::clock;
use crate::shared::Shared;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How a sync has ended, and what time it took.
type Ended = (Result<(), Fault>, Duration);

/// The way to the thread. It ends with this.
pub(crate) struct Syncer {
    flushes: SyncSender<Flush>,
    ended: Receiver<Ended>,
}

impl Syncer {
    /// Starts the thread, which wakes that of the store at the end of each sync.
    pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (flushes, due) = sync_channel::<Flush>(1);
        let (end, ended) = sync_channel(1);
        thread::Builder::new().name("store sync".into()).spawn(move || {
            for flush in due {
                let began = clock();
                let result = flush();
                if end.send((result, began.elapsed())).is_err() {
                    return;
                }
                shared.wake();
            }
        })?;
        Ok(Self { flushes, ended })
    }

    /// One at a time: the last one has ended.
    pub(crate) fn begin(&self, flush: Flush) {
        self.flushes.send(flush).expect("the thread that syncs goes on until this is dropped");
    }

    /// Whether it has ended by now.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended.try_recv().ok()
    }

    /// Waits for its end.
    pub(crate) fn end(&self) -> Ended {
        self.ended.recv().expect("the thread that syncs goes on until this is dropped")
    }
}
