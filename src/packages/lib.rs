//! The event packages: what a body means, how what several sources say composes, and how the result is written.
//!
//! A package is one file or folder here and one line in [`packages`]; subscriptions, publications, the feed and
//! metrics follow from [`lamplighter_model::package::Package`]. Nothing here knows a socket, a session or a clock.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail by panic"))]

pub mod dialog;
mod ids;
mod json;
pub mod message_summary;
mod node;
pub mod opaque;
pub mod presence;
#[cfg(test)]
mod published;
pub mod reg;
pub mod rlmi;
#[cfg(test)]
mod schemas;
#[cfg(test)]
mod testing;
mod thousandths;
#[cfg(test)]
mod views;
pub mod winfo;
mod xml;

use lamplighter_model::package::{AnyPackage, Expires};
use std::time::Duration;

/// Lifetimes of the built-in packages, unless configured: an hour, as their RFCs ask for.
const EXPIRES: Expires =
    Expires { default: Duration::from_secs(3600), least: Duration::from_secs(30), most: Duration::from_secs(86_400) };

/// What configuration says about packages.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// Event `dialog`.
    pub dialog: dialog::Config,
    /// Event `presence`.
    pub presence: presence::Config,
    /// Packages that pass bodies through untouched (PU-13). One that is named like a built-in package is never found.
    pub opaque: Vec<opaque::Config>,
}

/// All packages, the built-in ones first.
pub fn packages(config: &Config) -> Vec<Box<dyn AnyPackage>> {
    let mut all: Vec<Box<dyn AnyPackage>> = vec![
        Box::new(dialog::Package::new(config.dialog)),
        Box::new(message_summary::Package::new()),
        Box::new(presence::Package::new(config.presence)),
        Box::new(reg::Package::new()),
        Box::new(dialog::Package::line(config.dialog)),
        Box::new(winfo::Package::of_presence()),
        Box::new(winfo::Package::of_dialogs()),
    ];
    all.extend(config.opaque.iter().map(|one| Box::new(opaque::Package::new(one)) as Box<dyn AnyPackage>));
    all
}

/// What `turn` makes of all of them, in no more room than that needs: collecting from a vector may keep the vector's room.
fn each<T, U>(all: Vec<T>, turn: impl FnMut(T) -> U) -> Vec<U> {
    let mut turned = Vec::with_capacity(all.len());
    turned.extend(all.into_iter().map(turn));
    turned
}
