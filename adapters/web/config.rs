//! The `[web]` section.

use crate::auth::Auth;
use crate::directory::Directory;
use lamplighter_model::Addresses;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The `[web]` section: panel, HTTP API and the JSON feed over WebSocket.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Listen beyond loopback although nobody has to sign in.
    pub open: bool,
    /// Who may use the feed and the HTTP API.
    pub auth: Auth,
    /// Where people and groups are kept, `.json` or `.toml`; empty: nowhere.
    pub directory: PathBuf,
    /// Pages of other origins that may use the feed and the API, such as `https://crm.example.com`.
    pub origins: Vec<String>,
    /// Names of this server in URLs, besides `localhost` and addresses. A page that made its own name point here
    /// (DNS rebinding) is refused.
    pub hosts: Vec<String>,
    /// Connections at once, feed and HTTP; beyond, new ones wait to be accepted.
    pub connections: usize,
    /// How often a feed client is pinged; two pings without an answer close it.
    #[serde(with = "humantime_serde")]
    pub ping_every: Duration,
    /// How long a client may take until `hello`, or until a request is complete.
    #[serde(with = "humantime_serde")]
    pub hello_timeout: Duration,
    /// The first change after quiet is sent at once, further ones at most this often.
    /// Where changes go on without a pause, less than 40 ms counts double, up to 40 ms.
    #[serde(with = "humantime_serde")]
    pub flush_every: Duration,
    /// A feed client that takes nothing for this long though something waits for it is closed (4408); it can resume.
    #[serde(with = "humantime_serde")]
    pub stall: Duration,
    /// What the kernel may hold for a connection that does not read, bytes, all that it needs for it included.
    pub send_buffer: usize,
    /// When the gateway stops, feed clients are told to come back after half a second and up to so much more, each at
    /// another time.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// What one feed client may ask for.
    pub limits: Limits,
}

/// What one feed client may ask for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Subscriptions.
    pub subscriptions: usize,
    /// Selectors in one frame.
    pub list: usize,
    /// States that its subscriptions match when they are made.
    pub resources: usize,
    /// Bytes in a frame; beyond, close 4413.
    pub frame: usize,
    /// Commands a second; beyond, they are refused, and if that does not help, close 4429.
    pub commands_per_second: u32,
    /// Commands at once after quiet.
    pub command_burst: u32,
    /// Feed connections of one principal; beyond, the oldest is closed (4409).
    pub connections_per_principal: usize,
    /// Feed connections that one address may open a second; beyond, 429.
    pub handshakes_per_second: u32,
    /// The same at once after quiet.
    pub handshake_burst: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8088)),
            open: false,
            auth: Auth::default(),
            directory: PathBuf::new(),
            origins: Vec::new(),
            hosts: Vec::new(),
            connections: 10_000,
            ping_every: Duration::from_secs(25),
            hello_timeout: Duration::from_secs(5),
            flush_every: Duration::from_millis(20),
            stall: Duration::from_secs(30),
            send_buffer: 48 * 1024,
            drain: Duration::from_secs(2),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            subscriptions: 64,
            list: 1000,
            resources: 20_000,
            frame: 64 * 1024,
            commands_per_second: 50,
            command_burst: 100,
            connections_per_principal: 20,
            handshakes_per_second: 100,
            handshake_burst: 1000,
        }
    }
}

/// Whether this configuration can be served, files included, by a gateway that has these addresses; else what to change,
/// naming the key below `[web]`.
pub fn check(config: &Config, addresses: &Addresses) -> Result<(), String> {
    if !config.open && !config.auth.is_configured() && !config.listen.ip().to_canonical().is_loopback() {
        return Err(format!(
            "listen: {} is reachable from outside and nobody has to sign in; say who may in [web.auth], listen on 127.0.0.1, or set \
             open = true",
            config.listen
        ));
    }
    crate::auth::check(&config.auth)?;
    if !config.directory.as_os_str().is_empty() {
        Directory::load(&config.directory, addresses).map_err(|bad| format!("directory: {bad}"))?;
    }
    let least = [
        ("connections", config.connections),
        ("send_buffer", config.send_buffer / 4096),
        ("limits.subscriptions", config.limits.subscriptions),
        ("limits.list", config.limits.list),
        ("limits.frame", config.limits.frame / 1024),
        ("limits.commands_per_second", config.limits.commands_per_second as usize),
        ("limits.command_burst", config.limits.command_burst as usize),
        ("limits.connections_per_principal", config.limits.connections_per_principal),
        ("limits.handshakes_per_second", config.limits.handshakes_per_second as usize),
        ("limits.handshake_burst", config.limits.handshake_burst as usize),
        ("ping_every", config.ping_every.as_millis() as usize),
        ("hello_timeout", config.hello_timeout.as_millis() as usize),
        ("stall", config.stall.as_millis() as usize),
    ];
    if let Some((key, _)) = least.iter().find(|(_, value)| *value == 0) {
        return Err(format!("{key}: too small"));
    }
    let bad = |origin: &&String| origin.split_once("://").is_none_or(|(_, host)| host.is_empty() || host.contains('/'));
    if let Some(origin) = config.origins.iter().find(bad) {
        return Err(format!("origins: {origin} is no origin; write scheme://host or scheme://host:port"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &Config) -> Result<(), String> {
        super::check(config, &Addresses::new(["example.com"], [], []))
    }

    #[test]
    fn beyond_loopback_only_on_purpose() {
        let config = |listen: &str, open| Config { listen: listen.parse().unwrap(), open, ..Config::default() };
        assert_eq!(check(&config("127.0.0.1:1", false)), Ok(()));
        assert_eq!(check(&config("[::1]:1", false)), Ok(()));
        assert!(check(&config("0.0.0.0:1", false)).unwrap_err().starts_with("listen: "));
        assert!(check(&config("192.0.2.1:1", false)).unwrap_err().contains("open = true"));
        assert_eq!(check(&config("0.0.0.0:1", true)), Ok(()));
    }

    #[test]
    fn nonsense_is_named() {
        let config = Config { origins: vec!["crm.example.com".into()], ..Config::default() };
        assert!(check(&config).unwrap_err().starts_with("origins: crm.example.com"));
        let config = Config { stall: Duration::ZERO, ..Config::default() };
        assert_eq!(check(&config), Err("stall: too small".into()));
    }
}
