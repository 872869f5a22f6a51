//! What can go wrong with files, in words that name the file and say what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a store was not opened. Nothing has been changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error(
        "{}: another Lamplighter is using it{}; stop that one first, or choose another store.path",
        path.display(), match pid { Some(pid) => format!(" (process {pid})"), None => String::new() }
    )]
    Busy {
        /// The store.
        path: PathBuf,
        /// Who, if that can be told.
        pid: Option<u32>,
    },
    /// The path leads to something that is no store.
    #[error("{}: {what}; choose a directory that is empty or does not exist yet", path.display())]
    NotAStore {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// There is no store where one is needed.
    #[error("{}: there is no store", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// There is a store where a new one was to be made.
    #[error("{}: there is something already; import makes a new store, so choose a path that does not exist yet", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// A newer Lamplighter wrote it.
    #[error(
        "{}: this is format {found}, and this Lamplighter knows formats up to {known}; nothing was changed: run the newer \
         Lamplighter again, or export with it and import here",
        file.display()
    )]
    Newer {
        /// The file that says so.
        file: PathBuf,
        /// Its format.
        found: u64,
        /// The newest that is known here.
        known: u64,
    },
    /// Something that was safe is not there any more, or not as it was written.
    #[error(
        "{0}; nothing was changed: restore the store from a copy, or run `lamplighter store check --salvage` to keep the rest"
    )]
    Damaged(#[from] Damage),
    /// The system does not do what is asked.
    #[error("{fault}{}", advice(.fault))]
    Io {
        /// What failed.
        fault: Fault,
    },
    /// Nobody takes what is exported, or gives what is imported.
    #[error(transparent)]
    Stream(io::Error),
    /// Lines to import are not what an export wrote.
    #[error("line {line}: {what}; nothing was imported")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        Self::Io { fault }
    }
}

/// A place in a file where it is not as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where, bytes from its start.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    pub(crate) fn new(file: &Path, offset: impl Into<Option<u64>>, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), offset: offset.into(), what: what.into() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: damaged", self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for Damage {}

/// An input or output that failed.
#[derive(Debug)]
pub struct Fault {
    /// The file or directory.
    pub file: PathBuf,
    /// What was attempted: `write`, `sync`, `create`.
    pub doing: &'static str,
    /// What the system said.
    pub error: io::Error,
}

impl Fault {
    /// Makes the error of `doing` something with `file`.
    pub(crate) fn of(file: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { file: file.to_owned(), doing, error }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cannot {}: {}", self.file.display(), self.doing, self.error)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(fault.error.kind(), fault)
    }
}

/// What a person can do about it.
fn advice(fault: &Fault) -> &'static str {
    match fault.error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on that disk",
        io::ErrorKind::ReadOnlyFilesystem => "; mount it for writing, or choose another store.path",
        io::ErrorKind::PermissionDenied => {
            "; give the user of the gateway this directory, or choose another store.path"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::NotFound => "; choose another store.path",
        _ => "; look into the system's log for what ails that disk",
    }
}
