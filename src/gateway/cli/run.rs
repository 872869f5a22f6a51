//! `lamplighter run`: the gateway, until a signal ends it.

use super::{Configuration, Failure};
use crate::config::Live;
use crate::logs::Logs;
use crate::run::{self, RunSettings};
use nix::sys::signal::{SigSet, Signal};
use std::io;

pub(super) fn run(options: &Configuration) -> Result<(), Failure> {
    let mut live = Live::load(options.config.clone(), options.set.clone())?;
    let logs = crate::logs::start(&live.settings().log).map_err(Failure::Failed)?;
    // Before there are other threads, so that all of them leave these signals to this one.
    let signals = SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().map_err(io::Error::from)?;
    let settings = RunSettings::new(live.settings(), live.model().clone())?;
    let gateway = run::start(settings)?;
    for (transport, address) in &gateway.sip {
        tracing::info!(%address, transport = transport.via(), "listening for SIP");
    }
    for (transport, address) in &gateway.remote {
        tracing::info!(%address, transport = transport.via(), "listening for other servers");
    }
    tracing::info!(
        panel = %format_args!("http://{}/panel/", gateway.web), shards = live.model().shards,
        version = env!("CARGO_PKG_VERSION"), "the gateway is running"
    );
    loop {
        let signal = signals.wait().map_err(io::Error::from)?;
        if signal != Signal::SIGHUP {
            tracing::info!(signal = signal.as_str(), "stopping: watchers are told, and nothing new is taken");
            break;
        }
        reload(&mut live, &gateway, &logs);
    }
    // Whoever signals once more does not want to wait.
    signals.thread_unblock().map_err(io::Error::from)?;
    gateway.stop();
    tracing::info!("stopped");
    Ok(())
}

/// Takes over what the file says now; a file with mistakes changes nothing.
fn reload(live: &mut Live, gateway: &run::Running, logs: &Logs) {
    let reloaded = match live.reload() {
        Ok(reloaded) => reloaded,
        Err(error) => {
            for problem in &error.0 {
                let problem = problem.to_string().replace("\n    ", "; ");
                tracing::error!(problem, "the configuration is wrong and was not taken over");
            }
            return;
        }
    };
    if let Err(error) = logs.set_level(&live.settings().log.level) {
        tracing::error!(error, "the log level cannot be changed");
    }
    for key in &reloaded.kept {
        tracing::warn!(key, "a change of this setting waits for a restart");
    }
    tracing::info!(revision = reloaded.model.revision, "the configuration has been taken over");
    gateway.reload(reloaded.model);
}
