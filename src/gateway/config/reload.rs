//! What a running gateway takes over from a changed file, and what waits for a restart.

use super::Settings;

/// Settings that sockets and threads were made from: a change is reported and waits for a restart.
pub const NEEDS_RESTART: [&str; 5] = ["shards", "sip.listen", "packages.opaque", "log.format", "web"];

impl Settings {
    /// These settings as far as a gateway that runs with `running` can take them over, and the keys of those that
    /// it cannot.
    pub fn reloaded(mut self, running: &Self) -> (Self, Vec<&'static str>) {
        let mut kept = Vec::new();
        let [shards, listen, opaque, format, web] = NEEDS_RESTART;
        keep(&mut self.shards, &running.shards, shards, &mut kept);
        keep(&mut self.sip.listen, &running.sip.listen, listen, &mut kept);
        keep(&mut self.packages.opaque, &running.packages.opaque, opaque, &mut kept);
        keep(&mut self.log.format, &running.log.format, format, &mut kept);
        keep(&mut self.web, &running.web, web, &mut kept);
        (self, kept)
    }
}

fn keep<T: Clone + PartialEq>(new: &mut T, running: &T, key: &'static str, kept: &mut Vec<&'static str>) {
    if new != running {
        new.clone_from(running);
        kept.push(key);
    }
}
