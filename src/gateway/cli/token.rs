//! `lamplighter token`: tokens and API keys for the web side.

use super::output::Output;
use super::{Configuration, Failure};
use crate::config::{Settings, Web};
use clap::{Args, Subcommand, ValueEnum};
use lamplighter_adapter_web::{Auth, Grant, Key, View, mint, new_key};
use lamplighter_model::Addresses;
use serde_json::json;
use std::io::Write as _;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a JSON Web Token with the secret of the configuration, for development
    Mint(Mint),
    /// Make an API key: prints it once, and what belongs into the configuration
    Key(NewKey),
}

#[derive(Args, Debug)]
pub(super) struct Mint {
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    rights: Rights,
    /// How long it lasts
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    expires: Duration,
}

#[derive(Args, Debug)]
pub(super) struct NewKey {
    #[command(flatten)]
    rights: Rights,
}

/// Who may do what with it.
#[derive(Args, Debug)]
struct Rights {
    /// What its bearer is called
    #[arg(long)]
    name: String,
    /// What it may read: an address, sip:*@domain, group:NAME or *; may be repeated
    #[arg(long, value_name = "SELECTOR")]
    read: Vec<String>,
    /// What it may publish, likewise
    #[arg(long, value_name = "SELECTOR")]
    write: Vec<String>,
    /// Of these kinds only, such as dialog,presence
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
    /// How much of them it may read
    #[arg(long, value_enum, default_value_t = Width::Full)]
    view: Width,
    /// May see connections, watchers and explanations, and change the directory
    #[arg(long)]
    admin: bool,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Width {
    /// Everything
    Full,
    /// No names, and three digits of numbers
    Masked,
    /// The state only
    Busy,
}

impl Rights {
    /// As an entry of the configuration, which has this hash.
    fn key(&self, hash: String) -> Result<Key, Failure> {
        let kinds = Some(&self.kinds).filter(|kinds| !kinds.is_empty());
        let grants = |list: &[String], view| -> Vec<Grant> {
            list.iter().map(|r| Grant { r: r.clone(), kinds: kinds.cloned(), view }).collect()
        };
        let view = match self.view {
            Width::Full => View::Full,
            Width::Masked => View::Masked,
            Width::Busy => View::Busy,
        };
        let (read, write) = (grants(&self.read, view), grants(&self.write, View::Full));
        let key = Key { name: self.name.clone(), hash, read, write, admin: self.admin };
        let web = Web { auth: Auth { keys: vec![key.clone()], ..Auth::default() }, ..Web::default() };
        lamplighter_adapter_web::check(&web, &Addresses::default()).map_err(|what| {
            // It begins with a place in a file that there is not.
            Failure::Usage(what.split_once(": ").map_or(&*what, |(_, what)| what).to_owned())
        })?;
        Ok(key)
    }
}

pub(super) fn run(command: &Command, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Mint(options) => token(options, out),
        Command::Key(NewKey { rights }) => key(rights, out),
    }
}

fn token(options: &Mint, out: &mut Output) -> Result<(), Failure> {
    let Mint { configuration, rights, expires } = options;
    let settings = Settings::load(configuration.config.as_deref(), &configuration.set)?;
    let Key { name, read, write, admin, .. } = rights.key(format!("sha256:{:064}", 0))?;
    let presence = json!({ "read": read, "write": write, "admin": admin });
    let token = mint(&settings.web.auth, &name, &presence, *expires).map_err(Failure::Failed)?;
    match rights.json {
        true => writeln!(out, "{}", json!({ "token": token, "name": name, "expires_s": expires.as_secs() }))?,
        false => writeln!(out, "{token}")?,
    }
    Ok(())
}

fn key(rights: &Rights, out: &mut Output) -> Result<(), Failure> {
    let (secret, hash) = new_key().ok_or_else(|| Failure::Failed("the system has no random numbers".into()))?;
    let key = rights.key(hash)?;
    if rights.json {
        writeln!(out, "{}", json!({ "key": secret, "entry": key }))?;
        return Ok(());
    }
    writeln!(out, "The key, which cannot be shown again:\n\n  {secret}\n")?;
    writeln!(out, "This belongs into the configuration:\n\n{}", entry(&key))?;
    Ok(())
}

/// An entry of the configuration.
fn entry(key: &Key) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    let Key { name, hash, read, write, admin } = key;
    let mut out = format!("[[web.auth.keys]]\nname = {}\nhash = {}\n", text(name), text(hash));
    for (name, grants) in [("read", read), ("write", write)] {
        let line = |grant: &Grant| {
            let kinds = grant.kinds.iter().flatten().map(|kind| text(kind)).collect::<Vec<_>>().join(", ");
            let kinds = if grant.kinds.is_some() { format!(", kinds = [{kinds}]") } else { String::new() };
            let view = match grant.view {
                View::Full => "",
                View::Masked => ", view = \"masked\"",
                View::Busy => ", view = \"busy\"",
            };
            format!("{{ r = {}{kinds}{view} }}", text(&grant.r))
        };
        if !grants.is_empty() {
            out.push_str(&format!("{name} = [{}]\n", grants.iter().map(line).collect::<Vec<_>>().join(", ")));
        }
    }
    if *admin {
        out.push_str("admin = true\n");
    }
    out
}

/// Reads `90s`, `1h` or `30days`.
fn duration(text: &str) -> Result<Duration, String> {
    let span = humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if span.is_zero() { Err("it would have expired already".into()) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn rights(line: &[&str]) -> Rights {
        let line = ["token", "key"].iter().chain(line);
        match Line::try_parse_from(line).unwrap().command {
            Command::Key(NewKey { rights }) => rights,
            Command::Mint(_) => panic!("key"),
        }
    }

    /// What is printed is what the configuration reads.
    #[test]
    fn an_entry_is_read_back() {
        let (_, hash) = new_key().unwrap();
        let line = [
            "--name=the \"lobby\"",
            "--read=sip:*@localhost",
            "--read=group:night",
            "--kinds=dialog,mwi",
            "--view=masked",
            "--write=1001",
            "--admin",
        ];
        let key = rights(&line).key(hash.clone()).unwrap();
        let file = std::env::temp_dir().join(format!("lamplighter-token-{}.toml", std::process::id()));
        std::fs::write(&file, entry(&key)).unwrap();
        let settings = Settings::load(Some(&file), &[]);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(settings.unwrap().web.auth.keys, std::slice::from_ref(&key));
        assert_eq!((key.read.len(), key.write.len(), key.admin, key.hash), (2, 1, true, hash));
        assert_eq!(key.read[1].kinds.as_deref().map(<[String]>::len), Some(2));
    }

    #[test]
    fn a_key_without_rights_has_none() {
        let key = rights(&["--name=x"]).key(new_key().unwrap().1).unwrap();
        assert_eq!(entry(&key).lines().count(), 3);
        assert!(key.read.is_empty() && key.write.is_empty() && !key.admin);
    }

    #[test]
    fn nonsense_is_wrong_usage() {
        for line in [["--name=anonymous", "--read=*"], ["--name=x", "--read=group:"]] {
            assert_eq!(rights(&line).key(new_key().unwrap().1).unwrap_err().code(), 2);
        }
        assert!(Line::try_parse_from(["token", "key"]).is_err());
        assert!(Line::try_parse_from(["token", "mint", "--name=x", "--expires=soon"]).is_err());
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert!(duration("0s").is_err());
    }
}
