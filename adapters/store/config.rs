//! The `[store]` section.

use lamplighter_model as m;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The `[store]` section: where state is kept for a restart, and how safe it is before a request is answered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The directory of the store; nothing: state is kept in memory only, and a restart begins with nothing. `auto`:
    /// see [`Self::located`].
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

/// The usual place.
const AUTO: &str = "auto";

impl Default for Config {
    fn default() -> Self {
        Self {
            path: Some(AUTO.into()),
            publications: Durability::Written,
            subscriptions: Durability::Commit,
            sync_within: Duration::from_millis(50),
            kept_bytes: 256 << 20,
        }
    }
}

impl Config {
    /// With the usual place in place of `auto`: what systemd gives (`STATE_DIRECTORY`), else `/var/lib/lamplighter` for
    /// root, else `lamplighter` in `XDG_STATE_HOME` or `~/.local/state`.
    pub fn located(&self, root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let usual = || {
            let user = || given("XDG_STATE_HOME").or_else(|| Some(given("HOME")?.join(".local/state")));
            given("STATE_DIRECTORY")
                .or_else(|| root.then(|| "/var/lib/lamplighter".into()))
                .or_else(|| Some(user()?.join("lamplighter")))
                .unwrap_or_else(|| "lamplighter-state".into())
        };
        let path = self.path.as_ref().map(|path| if path.as_os_str() == AUTO { usual() } else { path.clone() });
        Self { path, ..self.clone() }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_place_depends_on_who_asks() {
        let check = |root: bool, set: &[(&str, &str)], expected: &str| {
            let variable = |name: &str| set.iter().find(|(one, _)| *one == name).map(|(_, value)| value.into());
            assert_eq!(Config::default().located(root, variable).path, Some(expected.into()));
        };
        check(true, &[("HOME", "/users/admin")], "/var/lib/lamplighter");
        check(true, &[("STATE_DIRECTORY", "/var/lib/lamps")], "/var/lib/lamps");
        check(false, &[("HOME", "/users/ann")], "/users/ann/.local/state/lamplighter");
        check(false, &[("HOME", "/users/ann"), ("XDG_STATE_HOME", "/state")], "/state/lamplighter");
        check(false, &[("HOME", "")], "lamplighter-state");
        let config = |path: Option<&str>| Config { path: path.map(Into::into), ..Config::default() };
        assert_eq!(config(Some("/data")).located(true, |_| None), config(Some("/data")));
        assert_eq!(config(None).located(true, |_| None), config(None));
    }
}
