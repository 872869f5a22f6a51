//! `lamplighter check`: is this configuration right, and what would it do?

use super::{Configuration, Failure};
use crate::cli::output::Output;
use crate::config::{NEEDS_RESTART, Settings};
use std::io::Write as _;

pub(super) fn run(options: &Configuration, out: &mut Output) -> Result<(), Failure> {
    let settings = Settings::load(options.config.as_deref(), &options.set)?;
    let shards = settings.shard_count();
    let model = settings.to_model(0, shards)?;
    let name = options.config.as_ref().map_or("The default configuration".into(), |path| path.display().to_string());
    writeln!(out, "{name} is right.")?;
    for (listen, listener) in settings.sip.listen.iter().zip(&model.listeners) {
        let advertise = if listener.advertise_is_wildcard() { "the address asked" } else { &listener.advertise };
        writeln!(out, "  sip       {listen}, known to phones as {advertise}")?;
    }
    writeln!(out, "  web       {}", settings.web.listen)?;
    writeln!(out, "  domains   {}", settings.domains.join(", "))?;
    let names: Vec<&str> = model.packages.ids().map(|id| model.packages.get(id).name()).collect();
    writeln!(out, "  packages  {}", names.join(", "))?;
    writeln!(out, "  shards    {shards}")?;
    writeln!(
        out,
        "A change of {} needs a restart; everything else is taken over at SIGHUP.",
        NEEDS_RESTART.join(", ")
    )?;
    Ok(())
}
