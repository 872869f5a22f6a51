//! `lamplighter store`: look through a store, take it out, put it in. Not while a gateway uses it.

use super::Failure;
use crate::cli::output::Output;
use clap::Subcommand;
use lamplighter_adapter_store as store;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Verify everything in a store, and say which file is damaged and where
    Check {
        /// The directory of the store
        path: PathBuf,
        /// If it is damaged, keep the rest in its place, and say what is missing; the damaged one stays beside it
        #[arg(long)]
        salvage: bool,
    },
    /// Write all records as lines of JSON; they hold personal data
    Export {
        /// The directory of the store
        path: PathBuf,
    },
    /// Make a new store of what export wrote, from standard input
    Import {
        /// The directory of the new store
        path: PathBuf,
    },
}

pub(super) fn run(command: &Command, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Check { path, salvage } => check(path, *salvage, out),
        Command::Export { path } => store::export(path, wall(), out).map(drop).map_err(failure),
        Command::Import { path } => {
            let loaded = store::import(path, &mut std::io::stdin().lock()).map_err(failure)?;
            writeln!(out, "{}: {}.", path.display(), count(loaded))?;
            Ok(())
        }
    }
}

fn check(path: &std::path::Path, salvage: bool, out: &mut Output) -> Result<(), Failure> {
    let checked = store::check(path, wall()).map_err(failure)?;
    if let Some(tail) = &checked.tail {
        let offset = tail.offset.unwrap_or(0);
        writeln!(out, "{}: behind byte {offset} is what was never safe; a start cuts it off.", tail.file.display())?;
    }
    if checked.damages.is_empty() {
        writeln!(out, "{} is whole: {}.", path.display(), count(checked.loaded))?;
        return Ok(());
    }
    if salvage {
        let salvaged = store::salvage(path, wall()).map_err(failure)?;
        for missing in &salvaged.missing {
            writeln!(out, "{missing}")?;
        }
        writeln!(out, "{}: {} are kept.", path.display(), count(salvaged.loaded))?;
        writeln!(out, "The damaged store is in {}.", salvaged.old.display())?;
        return Ok(());
    }
    let (last, others) = checked.damages.split_last().expect("there is one at least");
    for damage in others {
        writeln!(out, "{damage}")?;
    }
    out.flush()?;
    Err(failure(last.clone().into()))
}

fn count(loaded: store::Loaded) -> String {
    let store::Loaded { publications, resources, subscriptions, .. } = loaded;
    format!("{subscriptions} subscriptions, {publications} publications, {resources} addresses with a history")
}

/// A reader that has seen enough is no failure of the store.
fn failure(error: store::OpenError) -> Failure {
    match error {
        store::OpenError::Stream(error) => Failure::Output(error),
        error => Failure::Store(error),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command line is a driver: what it shows depends on when it is asked"
)]
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
