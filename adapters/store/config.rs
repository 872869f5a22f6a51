//! The `[store]` section.

use lamplighter_model as m;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The `[store]` section: where state is kept for a restart, and how safe it is before a request is answered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The directory of the store; nothing: state is kept in memory only, and a restart begins with nothing.
    #[serde(with = "path")]
    pub path: Option<PathBuf>,
    /// How safe a publication is before it is answered.
    pub publications: Durability,
    /// How safe a subscription is before it is answered.
    pub subscriptions: Durability,
    /// How long what is written may wait for the disk; a failure of the machine loses no more than that of what was
    /// `written` only.
    #[serde(with = "humantime_serde")]
    pub sync_within: Duration,
    /// While the store fails, what it cannot write is kept in memory up to this many bytes. Of what comes beyond, only
    /// the key is kept: the store will say that there is no such state, so that a restart shows nothing outdated.
    pub kept_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: None,
            publications: Durability::Written,
            subscriptions: Durability::Commit,
            sync_within: Duration::from_millis(50),
            kept_bytes: 256 << 20,
        }
    }
}

impl Config {
    /// Whether there is a store.
    pub fn is_used(&self) -> bool {
        self.path.is_some()
    }

    /// The promises, in the words of the model.
    pub fn durabilities(&self) -> m::Durabilities {
        m::Durabilities { publications: self.publications.into(), subscriptions: self.subscriptions.into() }
    }
}

/// In a configuration, no path is an empty one, so that the example can show it.
mod path {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::path::PathBuf;

    pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        path.clone().unwrap_or_default().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(from)?;
        Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
    }
}

/// How safe something is before its request is answered.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// On the disk: survives the end of the machine.
    Commit,
    /// With the operating system: survives the end of the process, and soon that of the machine.
    Written,
    /// Not at all; it is stored soon.
    Memory,
}

impl From<Durability> for m::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Commit => Self::Commit,
            Durability::Written => Self::Written,
            Durability::Memory => Self::Memory,
        }
    }
}
