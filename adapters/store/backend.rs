//! What an engine of the store must do. It knows keys and values; what they mean is the business of others.

use crate::error::{Fault, OpenError};
use bytes::Bytes;

/// Takes one pair; what it answers ends the reading.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), OpenError>;

/// One change: a key with its new value, or without: it is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Put {
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
}

/// An engine. `tests::contract` holds each of them to what is written here.
pub(crate) trait Backend: Send {
    /// Hands over each key once, with its newest value, in no order. Not after the first `write`.
    fn load(&mut self, each: Each<'_>) -> Result<(), OpenError>;

    /// The pairs whose key begins with [`crate::codec::kind::ERA`].
    fn eras(&mut self) -> Result<Vec<(Bytes, Bytes)>, OpenError>;

    /// Applies all changes or none; no two have one key, and none an empty one. On return they survive the end of the process.
    fn write(&mut self, puts: &[Put]) -> Result<(), Fault>;

    /// Begins to make everything written so far survive the end of the machine. More may be written while the disk works.
    fn begin_sync(&mut self) -> Result<Syncing, Fault>;

    /// Its `flush` has succeeded; nothing but `write` was called meanwhile.
    fn end_sync(&mut self, upto: u64) -> Result<(), Fault>;

    /// On return everything written survives the end of the machine.
    fn sync(&mut self) -> Result<(), Fault> {
        let Syncing { upto, flush } = self.begin_sync()?;
        flush()?;
        self.end_sync(upto)
    }

    /// Whether there is something to be tidied up.
    fn is_untidy(&self) -> bool {
        false
    }

    /// Tidies up, which may take a while, in a moment when everything is safe and nobody waits. What cannot be done now is
    /// left for later.
    fn tidy(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// After a fault: goes back to the last successful sync, and works again. Everything written since that began is
    /// forgotten and must be written once more.
    fn recover(&mut self) -> Result<(), Fault>;

    /// Notes whether everything was written: the last thing before the end, or (false) the first of a new life.
    fn mark(&mut self, clean: bool) -> Result<(), Fault>;

    /// What it holds.
    fn usage(&self) -> Usage;
}

/// Waits for the disk, on whatever thread.
pub(crate) type Flush = Box<dyn FnOnce() -> Result<(), Fault> + Send>;

/// A sync that has begun.
pub(crate) struct Syncing {
    /// How the engine calls what was written until then.
    pub(crate) upto: u64,
    pub(crate) flush: Flush,
}

/// What an engine holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Usage {
    /// Keys; about, older versions may count.
    pub(crate) keys: u64,
    /// Bytes of these, about.
    pub(crate) live_bytes: u64,
    /// Bytes on the disk.
    pub(crate) disk_bytes: u64,
}
