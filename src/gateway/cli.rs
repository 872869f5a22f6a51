//! The command line: what it accepts, and how it ends.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
//! 65 the store is damaged, 69 the gateway cannot be reached, 74 the disk fails, 75 the store is in use, 78 the
//! configuration is wrong.

mod check;
mod client;
mod explain;
mod exports;
mod get;
mod output;
mod publish;
mod run;
mod store;
mod subs;
mod token;
mod trace;
mod watch;

use crate::config::ConfigError;
use crate::run::StartError;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use lamplighter_adapter_store::OpenError;
use output::Output;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// A presence gateway: one truth for phones, Jabber and browsers.
#[derive(Debug, Parser)]
#[command(name = "lamplighter", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C; SIGHUP reads the configuration again
    Run(Configuration),
    /// Play an office of phones against a gateway with default settings, to look at
    Demo(crate::demo::Options),
    /// Check a configuration; tells all mistakes, and exits with 78 if there are any
    Check(Configuration),
    /// Show the state of an address
    Get(get::Options),
    /// Show states as they change
    Watch(watch::Options),
    /// Say why a lamp is lit: who vouches for what, and what each watcher was told
    Explain(client::About),
    /// Publish a state, or refresh or withdraw what was published
    Publish(publish::Options),
    /// Show who watches over SIP, or tell them anew; watch addresses at other servers
    #[command(subcommand)]
    Subs(subs::Command),
    /// Show what is published to other servers, and publish there
    #[command(subcommand)]
    Exports(exports::Command),
    /// Show what happens to an address as it happens: requests, decisions, NOTIFYs and their answers
    Trace(client::About),
    /// Make tokens and API keys for the web side
    #[command(subcommand)]
    Token(token::Command),
    /// Look through a store, take it out, put it in; not while a gateway uses it
    #[command(subcommand)]
    Store(store::Command),
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Which configuration.
#[derive(Args, Debug)]
struct Configuration {
    /// The configuration file; without one, every setting has its default
    #[arg(long, value_name = "FILE", env = "LAMPLIGHTER_CONFIG")]
    config: Option<PathBuf>,
    /// A setting that wins over the file, such as sip.open=true
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The command makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The gateway cannot be reached, or does not answer as one.
    #[error("{0}")]
    Unavailable(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The gateway does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store cannot be used as it is.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// What was asked for does not exist, or may not be seen, or cannot be done.
    #[error("{0}")]
    Failed(String),
    /// The system does not do what is asked, or nobody reads the output any more.
    #[error(transparent)]
    Output(#[from] std::io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unavailable(_) => 69,
            Self::Config(_) => 78,
            // A reader that has seen enough, such as `head`, is not a failure.
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::Start(StartError::Store(error)) | Self::Store(error) => store_code(error),
            Self::Start(_) | Self::Failed(_) | Self::Output(_) => 1,
        }
    }
}

/// What supervisors can tell apart about a store that cannot be used.
fn store_code(error: &OpenError) -> u8 {
    match error {
        OpenError::Damaged(_) | OpenError::Newer { .. } | OpenError::Line { .. } => 65,
        OpenError::Io { .. } | OpenError::Stream(_) => 74,
        OpenError::Busy { .. } => 75,
        OpenError::NotAStore { .. } | OpenError::Missing { .. } | OpenError::Exists { .. } => 78,
    }
}

/// Does what the command line `args` (the program's name first) says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, with code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let mut out = Output::standard();
    let result = match cli.command {
        Command::Run(options) => run::run(&options),
        Command::Demo(options) => demo(&options, &mut out),
        Command::Check(options) => check::run(&options, &mut out),
        Command::Get(options) => get::run(&options, &mut out),
        Command::Watch(options) => watch::run(&options, &mut out),
        Command::Explain(options) => explain::run(&options, &mut out),
        Command::Publish(options) => publish::run(&options, &mut out),
        Command::Subs(command) => subs::run(&command, &mut out),
        Command::Exports(command) => exports::run(&command, &mut out),
        Command::Trace(options) => trace::run(&options, &mut out),
        Command::Token(command) => token::run(&command, &mut out),
        Command::Store(command) => store::run(&command, &mut out),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "lamplighter", &mut out);
            Ok(())
        }
    };
    match result.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = match &failure {
                failure if failure.code() == 0 => Ok(()),
                // Each line begins with the file, as editors like it.
                Failure::Config(_) => writeln!(std::io::stderr(), "{failure}"),
                _ => writeln!(std::io::stderr(), "lamplighter: {failure}"),
            };
            ExitCode::from(failure.code())
        }
    }
}

/// Plays the demo; a lamp that was ever wrong is a failure.
fn demo(options: &crate::demo::Options, out: &mut Output) -> Result<(), Failure> {
    use crate::demo::Error;
    let summary = crate::demo::run(options, out).map_err(|error| match error {
        Error::Config(error) => Failure::Config(error),
        Error::Start(error) => Failure::Start(error),
        Error::Io(error) => Failure::Output(error),
    })?;
    if summary.is_true() { Ok(()) } else { Err(Failure::Failed(format!("not all was true: {summary}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn failures_have_their_codes() {
        let pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::Output(pipe).code(), 0);
        assert_eq!(Failure::Config(ConfigError(Vec::new())).code(), 78);
        assert_eq!(Failure::Unavailable(String::new()).code(), 69);
        assert_eq!(Failure::Usage(String::new()).code(), 2);
        assert_eq!(Failure::Failed(String::new()).code(), 1);
    }
}
