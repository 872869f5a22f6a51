//! What a running gateway takes over from a changed file, and what waits for a restart.

use super::{ConfigError, Settings};
use lamplighter_model as m;
use std::path::PathBuf;

/// Settings that sockets and threads were made from: a change is reported and waits for a restart.
pub const NEEDS_RESTART: [&str; 10] = [
    "shards",
    "sip.listen",
    "sip.advertise",
    "sip.notify.stop_within",
    "packages.opaque",
    "web",
    "dns",
    "remote",
    "store",
    "log.format",
];

/// The settings that a gateway runs with, and where to read them again.
#[derive(Clone, Debug)]
pub struct Live {
    path: Option<PathBuf>,
    sets: Vec<String>,
    settings: Settings,
    model: m::Config,
}

/// What a reload has brought.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// For the shards.
    pub model: m::Config,
    /// Keys whose change waits for a restart.
    pub kept: Vec<&'static str>,
}

impl Live {
    /// Reads the file at `path` (none: defaults), the environment and `sets`.
    pub fn load(path: Option<PathBuf>, sets: Vec<String>) -> Result<Self, ConfigError> {
        let settings = Settings::load(path.as_deref(), &sets)?;
        let model = settings.to_model(1, settings.shard_count())?;
        Ok(Self { path, sets, settings, model })
    }

    /// What the gateway runs with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The same for the shards.
    pub fn model(&self) -> &m::Config {
        &self.model
    }

    /// Reads everything again. Nothing changes when that fails; else the revision rises by one.
    pub fn reload(&mut self) -> Result<Reloaded, ConfigError> {
        let (settings, kept) = Settings::load(self.path.as_deref(), &self.sets)?.reloaded(&self.settings);
        let mut model = settings.to_model(self.model.revision + 1, self.model.shards)?;
        // Interfaces may have come and gone; the sockets are still those of the start.
        model.listeners.clone_from(&self.model.listeners);
        (self.settings, self.model) = (settings, model.clone());
        Ok(Reloaded { model, kept })
    }
}

impl Settings {
    /// These settings as far as a gateway that runs with `running` can take them over, and the keys of those that
    /// it cannot.
    fn reloaded(mut self, running: &Self) -> (Self, Vec<&'static str>) {
        let mut kept = Vec::new();
        let [shards, listen, advertise, stop_within, opaque, web, dns, remote, store, format] = NEEDS_RESTART;
        keep(&mut self.shards, &running.shards, shards, &mut kept);
        keep(&mut self.sip.listen, &running.sip.listen, listen, &mut kept);
        keep(&mut self.sip.advertise, &running.sip.advertise, advertise, &mut kept);
        keep(&mut self.sip.notify.stop_within, &running.sip.notify.stop_within, stop_within, &mut kept);
        keep(&mut self.packages.opaque, &running.packages.opaque, opaque, &mut kept);
        keep(&mut self.web, &running.web, web, &mut kept);
        keep(&mut self.dns, &running.dns, dns, &mut kept);
        keep(&mut self.remote, &running.remote, remote, &mut kept);
        keep(&mut self.store, &running.store, store, &mut kept);
        keep(&mut self.log.format, &running.log.format, format, &mut kept);
        (self, kept)
    }
}

fn keep<T: Clone + PartialEq>(new: &mut T, running: &T, key: &'static str, kept: &mut Vec<&'static str>) {
    if new != running {
        new.clone_from(running);
        kept.push(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of this test.
    struct File(PathBuf);

    impl File {
        fn write(&self, text: &str) {
            std::fs::write(&self.0, text).unwrap();
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_reload_takes_over_what_it_can_and_names_the_rest() {
        let file = File(std::env::temp_dir().join(format!("lamplighter-reload-{}.toml", std::process::id())));
        file.write("domains = [\"a.example\"]\n[sip]\nlisten = [\"udp:127.0.0.1:5070\"]\n");
        let mut live = Live::load(Some(file.0.clone()), vec!["shards=2".into()]).unwrap();
        assert_eq!((live.model().revision, live.model().shards), (1, 2));

        file.write("domains = [\"b.example\"]\n[sip]\nlisten = [\"udp:127.0.0.1:5080\"]\nadvertise = \"192.0.2.7\"\n");
        let Reloaded { model, kept } = live.reload().unwrap();
        assert_eq!(kept, ["sip.listen", "sip.advertise"]);
        assert_eq!((model.revision, model.shards), (2, 2));
        assert_eq!(&*model.addresses.domains()[0], "b.example");
        assert_eq!(&*model.listeners[0].advertise, "127.0.0.1:5070");

        file.write("domains = [");
        assert!(live.reload().is_err());
        assert_eq!(live.model().revision, 2);
        assert_eq!(live.settings().domains, ["b.example"]);
    }

    #[test]
    fn everything_that_waits_is_named() {
        let running = Settings::default();
        let mut changed = running.clone();
        changed.shards = 3;
        changed.sip.listen.clear();
        changed.sip.advertise = "192.0.2.7".into();
        changed.sip.notify.stop_within *= 2;
        changed.packages.opaque.push(super::super::Opaque::default());
        changed.web.open = true;
        changed.dns.servers.push("192.0.2.53".parse().unwrap());
        changed.remote.enabled = true;
        changed.store.path = None;
        changed.log.format = super::super::LogFormat::Json;
        let (settings, kept) = changed.reloaded(&running);
        assert_eq!(kept, NEEDS_RESTART);
        assert_eq!(settings, running);
    }
}
