//! `lamplighter demo`: the gateway on this machine with its defaults, and an office full of phones to look at.
//!
//! - `people` is who works there, `day` what happens, decided by dice.
//! - `documents` is what phones say about it, `lamp` how phones read what they are told.
//! - `office` is the phones themselves: real SIP over real sockets, nothing shared with the gateway but the network.
//! - `signals` is how it is told to end.

mod day;
mod documents;
mod lamp;
mod office;
mod people;
mod signals;

use crate::config::{ConfigError, Settings};
use crate::run::{self, RunSettings};
use clap::Args;
use lamplighter_model::{Time, Transport};
use office::{GRACE, Office, Tally};
use signals::Signals;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

/// The domain, unless `--set domains=...` says another.
const DOMAIN: &str = "office.example";
/// How often the state of the proof is told.
const WORD: Duration = Duration::from_secs(60);
/// The most complaints that are printed; beyond, they are only counted.
const MOST_COMPLAINTS: u64 = 50;

/// What to play.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// End after this many seconds; fail if a lamp was ever wrong
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// Which day at the office; the same number gives the same day
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// A setting that wins over the defaults, such as web.listen=127.0.0.1:9000
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Why there was no demo.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The gateway does not start.
    #[error(transparent)]
    Start(#[from] run::StartError),
    /// The phones have no network, or nobody reads the output any more.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// How long it took.
    pub took: Duration,
    tally: Tally,
    /// Whether every publication and subscription was ended in good order, if there was the time for it.
    parted: bool,
}

impl Summary {
    /// Whether every lamp was true whenever it was looked at, and nothing else went wrong.
    pub const fn is_true(&self) -> bool {
        self.tally.wrong == 0 && self.tally.faults == 0 && self.parted
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { took, tally, parted } = self;
        write!(f, "{} s, {tally}", took.as_secs())?;
        if *parted { Ok(()) } else { f.write_str("; not everything was withdrawn in time") }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lamps, changes, notifications, comparisons, wrong, faults } = self;
        write!(f, "{lamps} lamps, {changes} changes, {notifications} NOTIFYs; lamps compared with the truth ")?;
        write!(f, "{comparisons} times, {wrong} wrong; {faults} faults")
    }
}

/// Plays until Ctrl-C, SIGTERM, or the seconds are over. What there is to see and whatever goes wrong is printed.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<Summary, Error> {
    // Before any thread is started, so that all of them leave these signals to us.
    let signals = Signals::take_over()?;
    let settings = settings(options, out)?;
    let on_the_phone = settings.packages.presence.from_dialogs;
    let domain = settings.domains.first().map_or(DOMAIN, String::as_str);
    let gateway = run::start(RunSettings::new(&settings, settings.to_model(1, settings.shard_count())?)?)?;
    let summary = match gateway.sip.iter().find(|(transport, _)| *transport == Transport::Udp) {
        Some(&(_, sip)) => {
            let places = Places { sip, web: gateway.web, domain };
            play(options, &places, on_the_phone, &signals, out)
        }
        None => Err(io::Error::other("the phones of the demo need UDP in sip.listen").into()),
    };
    gateway.stop();
    let summary = summary?;
    writeln!(out, "{summary}")?;
    Ok(summary)
}

/// Where to find what.
struct Places<'a> {
    sip: SocketAddr,
    web: SocketAddr,
    domain: &'a str,
}

fn play(
    options: &Options,
    places: &Places<'_>,
    on_the_phone: bool,
    signals: &Signals,
    out: &mut dyn Write,
) -> Result<Summary, Error> {
    let clock = clock();
    let office = Office::open(clock(), places.sip, places.domain, options.seed, on_the_phone)?;
    welcome(places, out)?;
    Play { office, clock: &clock, signals, web: places.web, printed: 0, out }.play(options.seconds)
}

/// The defaults, and what the user has set; where the usual ports are taken, any other.
fn settings(options: &Options, out: &mut dyn Write) -> Result<Settings, Error> {
    // The office forgets what it played.
    let mut set = vec![format!("domains=[\"{DOMAIN}\"]"), "store.path=\"\"".into()];
    set.extend(options.set.iter().cloned());
    let mut settings = Settings::load(None, &set)?;
    let usual = Settings::default();
    // What was asked for is used, or fails; what was not may give way.
    let sip_port = usual.sip.listen.first().map_or(5060, |usual| usual.address.port());
    if settings.sip.listen == usual.sip.listen && !sip_is_free(sip_port) {
        writeln!(out, "Port {sip_port} is in use; SIP is elsewhere.")?;
        for listen in &mut settings.sip.listen {
            listen.address.set_port(0);
        }
    }
    let web_port = usual.web.listen.port();
    if settings.web.listen == usual.web.listen && !web_is_free(web_port) {
        writeln!(out, "Port {web_port} is in use; the panel is elsewhere.")?;
        settings.web.listen.set_port(0);
    }
    Ok(settings)
}

fn sip_is_free(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && web_is_free(port)
}

fn web_is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Wall time at the start, and what has gone by since.
fn clock() -> impl Fn() -> Time {
    #[expect(clippy::disallowed_methods, reason = "the demo drives its phones itself")]
    let (wall, start) = (std::time::SystemTime::now(), std::time::Instant::now());
    let wall = wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    move || Time::from_micros((wall + start.elapsed()).as_micros() as u64)
}

fn welcome(places: &Places<'_>, out: &mut dyn Write) -> io::Result<()> {
    let Places { sip, web, domain } = places;
    let phones = people::PEOPLE.len();
    let (first, last) = (people::PEOPLE[0].extension, people::PEOPLE[phones - 1].extension);
    let url = if web.port() == 8088 { String::new() } else { format!(" --url http://{web}") };
    writeln!(
        out,
        "Lamplighter with an office of {phones} phones, {first} to {last}, which call each other all day.\n\n\
         \x20 panel   http://{web}/panel/\n\
         \x20 SIP     {sip} (UDP and TCP), domain {domain}\n\n\
         Try:\n\
         \x20 lamplighter watch '*@{domain}' --kind dialog{url}\n\
         \x20 lamplighter explain {first}@{domain}{url}\n\
         \x20 curl http://{web}/v1/state/{first}@{domain}\n\
         \x20 a phone of your own: any number, domain {domain}, outbound proxy {sip}, no password;\n\
         \x20   give it a busy lamp key (BLF) for {last}, or let it publish, and see it in the panel\n\n\
         Every few seconds all lamps of all phones are compared with what is true. Ctrl-C ends the day.\n"
    )?;
    out.flush()
}

/// A day that is being played.
struct Play<'a, C> {
    office: Office,
    clock: &'a C,
    signals: &'a Signals,
    web: SocketAddr,
    printed: u64,
    out: &'a mut dyn Write,
}

impl<C: Fn() -> Time> Play<'_, C> {
    /// Plays for so many seconds, or until told to end.
    fn play(mut self, seconds: Option<u64>) -> Result<Summary, Error> {
        let start = (self.clock)();
        let end = seconds.map_or(Time::NEVER, |seconds| start + Duration::from_secs(seconds));
        let mut next_word = start + WORD;
        while (self.clock)() < end && !self.signals.came()? {
            self.step(end.min(next_word))?;
            if (self.clock)() >= next_word {
                next_word += WORD;
                writeln!(self.out, "{}, {} phones busy", self.office.tally(), self.office.busy())?;
                self.out.flush()?;
            }
        }
        // One last look, when all that is under way has arrived.
        self.office.stand_still();
        let grace = (self.clock)() + GRACE;
        while seconds.is_some() && (self.clock)() < grace && !self.signals.came()? {
            self.step(grace)?;
        }
        self.office.compare((self.clock)());
        let lamps = self.office.tally().lamps;
        self.office.leave((self.clock)());
        let patience = (self.clock)() + Office::PARTING;
        while !self.office.is_empty() && (self.clock)() < patience {
            // Who signals once more does not want to wait.
            if self.signals.came()? {
                break;
            }
            self.step(patience)?;
        }
        self.complain()?;
        let parted = self.office.is_empty() || (self.clock)() < patience;
        let tally = Tally { lamps, ..self.office.tally() };
        Ok(Summary { took: (self.clock)().since(start), tally, parted })
    }

    fn step(&mut self, until: Time) -> Result<(), Error> {
        self.office.step(self.clock, until, self.signals)?;
        self.complain()
    }

    fn complain(&mut self) -> Result<(), Error> {
        for complaint in self.office.complaints() {
            self.printed += 1;
            match self.printed.cmp(&MOST_COMPLAINTS) {
                std::cmp::Ordering::Less => {
                    let address = complaint.resource.trim_start_matches("sip:");
                    let why = format!("lamplighter explain {address} --url http://{}", self.web);
                    writeln!(self.out, "warning: {}; why: {why}", complaint.what)?;
                }
                std::cmp::Ordering::Equal => writeln!(self.out, "warning: further ones are only counted")?,
                std::cmp::Ordering::Greater => {}
            }
            self.out.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_day_ends_with_every_lamp_true() {
        let set = ["sip.listen=[\"udp:127.0.0.1:0\"]", "web.listen=127.0.0.1:0", "shards=2"];
        let options = Options { seconds: Some(6), seed: 3, set: set.map(str::to_owned).into() };
        let mut out = Vec::new();
        let summary = run(&options, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        assert!(summary.is_true(), "{said}");
        assert!(said.contains("panel   http://127.0.0.1:"), "{said}");
        let Tally { lamps, changes, notifications, comparisons, .. } = summary.tally;
        assert!(lamps > 300 && changes > 2, "{summary}");
        // Everything was said to every lamp, and looked at at least once, at the end.
        assert!(notifications >= lamps as u64 && comparisons >= lamps as u64, "{summary}");
    }

    #[test]
    fn what_the_user_sets_is_kept_or_refused() {
        let options = Options { set: vec!["web.lisn=127.0.0.1:0".into()], ..Options::default() };
        assert!(matches!(settings(&options, &mut Vec::new()), Err(Error::Config(_))));
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let listen = taken.local_addr().unwrap();
        let options = Options { set: vec![format!("web.listen={listen}")], ..Options::default() };
        assert_eq!(settings(&options, &mut Vec::new()).unwrap().web.listen, listen);
    }
}
