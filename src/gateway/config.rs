//! Settings: what a configuration file may say, with defaults that a small office wants.
//!
//! `config/example.toml` shows every setting at its default. Each section says here what it holds, `check.rs` what
//! is refused, `model.rs` how it reaches the shards.

mod check;
mod model;
mod reload;
mod remote;
mod source;

pub use reload::{Live, NEEDS_RESTART, Reloaded};
pub use remote::Remote;
pub use source::Problem;

use ipnet::IpNet;
pub use lamplighter_adapter_store::Config as Store;
pub use lamplighter_adapter_web::Config as Web;
use lamplighter_model as m;
use serde::{Deserialize, Serialize};
use source::{Document, Texts};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// Environment variables with this prefix are settings: `LAMPLIGHTER_SIP__OPEN=true` is `sip.open`.
const ENVIRONMENT: &str = "LAMPLIGHTER_";
/// These are not; the command line reads them.
const NOT_SETTINGS: [&str; 2] = ["LAMPLIGHTER_CONFIG", "LAMPLIGHTER_URL"];
/// No configuration file is longer, bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Everything that is wrong with a configuration, at least one thing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Problem>);

/// A whole configuration.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Domains served; the first one is the default.
    pub domains: Vec<String>,
    /// How many shards; 0: one a core.
    pub shards: u8,
    /// Addresses that stand for others: `reception = "1001"`.
    pub aliases: BTreeMap<String, String>,
    /// The SIP side.
    pub sip: Sip,
    /// Who may do what.
    pub access: Access,
    /// Event packages.
    pub packages: Packages,
    /// What devices need, the first that matches; one without `user_agent` is for all others.
    pub profiles: Vec<Profile>,
    /// Bounds of each shard.
    pub limits: Limits,
    /// When new requests are refused.
    pub overload: Overload,
    /// Panel, HTTP API and feed.
    pub web: Web,
    /// How names are looked up.
    pub dns: Dns,
    /// Other servers: what is fetched from them and published to them.
    pub remote: Remote,
    /// Where state is kept over restarts.
    pub store: Store,
    /// Logs.
    pub log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domains: vec!["localhost".into()],
            shards: 0,
            aliases: BTreeMap::new(),
            sip: Sip::default(),
            access: Access::default(),
            packages: Packages::default(),
            profiles: Profile::shipped(),
            limits: Limits::default(),
            overload: Overload::default(),
            web: Web::default(),
            dns: Dns::default(),
            remote: Remote::default(),
            store: Store::default(),
            log: Log::default(),
        }
    }
}

/// The `[dns]` section.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// The name servers to ask; empty: those of the system.
    pub servers: Vec<NameServer>,
}

/// The `[sip]` section.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// The host (or `host:port`) that peers reach us at; empty: each listener's own address.
    pub advertise: String,
    /// Whether a listener beyond loopback may do without an access rule.
    pub open: bool,
    /// Timers of RFC 3261 section 17.
    pub timers: Timers,
    /// How NOTIFYs are sent.
    pub notify: Notify,
}

impl Default for Sip {
    fn default() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 5060));
        let listen = [m::Transport::Udp, m::Transport::Tcp].map(|transport| Listen { transport, address: loopback });
        Self {
            listen: listen.into(),
            advertise: String::new(),
            open: false,
            timers: Timers::default(),
            notify: Notify::default(),
        }
    }
}

/// A socket to listen on: `udp:127.0.0.1:5060`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listen {
    /// How bytes travel.
    pub transport: m::Transport,
    /// The address to bind.
    pub address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.via().to_ascii_lowercase(), self.address)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a listener such as \"udp:192.0.2.1:5060\" or \"tcp:[::1]:5060\"");
        let (transport, address) = text.split_once(':').ok_or_else(bad)?;
        let transport = match transport {
            "udp" => m::Transport::Udp,
            "tcp" => m::Transport::Tcp,
            _ => return Err(bad()),
        };
        Ok(Self { transport, address: address.parse().map_err(|_| bad())? })
    }
}

/// An address or network: `192.0.2.7` or `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Net(pub IpNet);

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        let net = text.parse().or_else(|_| address());
        net.map(Self).map_err(|_| format!("`{text}` is not an address or network such as \"192.0.2.0/24\""))
    }
}

/// A name server: `192.0.2.53`, or with a port `[2001:db8::53]:5353`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NameServer(pub SocketAddr);

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for NameServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
        let server = text.parse().or_else(|_| address());
        server
            .map(Self)
            .map_err(|_| format!("`{text}` is not an address such as \"192.0.2.53\" or \"192.0.2.53:5353\""))
    }
}

/// Reads and writes a type as a string.
macro_rules! as_string {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // By a visitor, so that the error knows its place in a list.
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

as_string!(Listen, Net, NameServer);

/// The `[sip.timers]` section.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timers {
    /// The round trip estimate.
    #[serde(with = "humantime_serde")]
    pub t1: Duration,
    /// The longest time between retransmissions.
    #[serde(with = "humantime_serde")]
    pub t2: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        let m::config::Timers { t1, t2 } = m::config::Timers::default();
        Self { t1, t2 }
    }
}

/// The `[sip.notify]` section; most fields are those of [`m::config::Notify`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the others are documented in the model")]
pub struct Notify {
    pub failures: u8,
    #[serde(with = "humantime_serde")]
    pub probe: Duration,
    #[serde(with = "humantime_serde")]
    pub min_interval: Duration,
    pub max_udp: usize,
    pub burst: usize,
    pub stop_rate: u32,
    /// How many NOTIFYs a second, a shard, the watchers that came back from the store are told with after a restart.
    pub restart_rate: u32,
    /// How long a stopping gateway takes to tell its watchers, at the most.
    #[serde(with = "humantime_serde")]
    pub stop_within: Duration,
}

impl Default for Notify {
    fn default() -> Self {
        let m::config::Notify { failures, probe, min_interval, max_udp, burst, stop_rate, restart_rate } =
            Default::default();
        let stop_within = Duration::from_secs(8);
        Self { failures, probe, min_interval, max_udp, burst, stop_rate, restart_rate, stop_within }
    }
}

/// The `[access]` section.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// In order; the first that applies decides.
    pub rules: Vec<Rule>,
    /// When no rule applies.
    pub otherwise: Action,
    /// Who may publish for any presentity and is not subject to per-source caps.
    pub trusted: Vec<Net>,
}

impl Default for Access {
    fn default() -> Self {
        let trusted = m::Access::default().trusted.into_iter().map(Net).collect();
        Self { rules: Vec::new(), otherwise: Action::Allow, trusted }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Lets the request through.
    Allow,
    /// SUBSCRIBE is accepted as pending; PUBLISH is refused.
    Confirm,
    /// Refuses with 403.
    Deny,
}

/// One rule: applies when the source address is in one of `addresses` (none: any) and the sender's domain is one of
/// `domains` (none: any).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Networks.
    #[serde(default)]
    pub addresses: Vec<Net>,
    /// Domains of the From URI.
    #[serde(default)]
    pub domains: Vec<String>,
    /// What to do.
    pub action: Action,
}

/// The `[packages]` section.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Packages {
    /// Packages that are passed through untouched.
    pub opaque: Vec<Opaque>,
    /// RFC 4235.
    pub dialog: Dialog,
    /// RFC 3856.
    pub presence: Presence,
    /// RFC 3842.
    pub message_summary: MessageSummary,
    /// RFC 3680.
    pub reg: Registrations,
}

/// Lifetimes of subscriptions and publications.
const EXPIRES: m::Expires = m::Expires {
    default: Duration::from_secs(3600),
    least: Duration::from_secs(30),
    most: Duration::from_secs(24 * 3600),
};

/// A section that holds the lifetimes of a package, and a few settings of its own.
macro_rules! package {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            /// What a request without Expires gets.
            #[serde(with = "humantime_serde")]
            pub default_expires: Duration,
            /// Anything shorter (but zero) is refused with 423.
            #[serde(with = "humantime_serde")]
            pub least_expires: Duration,
            /// Anything longer is shortened.
            #[serde(with = "humantime_serde")]
            pub most_expires: Duration,
        }

        impl Default for $name {
            fn default() -> Self {
                let m::Expires { default, least, most } = EXPIRES;
                Self { $($field: $default,)* default_expires: default, least_expires: least, most_expires: most }
            }
        }

        impl $name {
            fn expires(&self) -> m::Expires {
                m::Expires { default: self.default_expires, least: self.least_expires, most: self.most_expires }
            }
        }
    };
}

package! {
    /// The `[packages.dialog]` section.
    Dialog {
        /// Every watcher is shown one dialog only, the most urgent.
        force_single_dialog: bool = false,
        /// How long a call that has ended is kept, so that an older word does not revive it.
        #[serde(with = "humantime_serde")]
        linger: Duration = lamplighter_packages::dialog::Config::default().linger,
        /// The most calls in one publication.
        dialogs: usize = lamplighter_packages::dialog::Config::default().dialogs,
    }
}
package! {
    /// The `[packages.presence]` section.
    Presence {
        /// Whether a call shows as being on the phone.
        from_dialogs: bool = lamplighter_packages::presence::Config::default().from_dialogs,
    }
}
package! {
    /// The `[packages.message-summary]` section.
    MessageSummary {}
}
package! {
    /// The `[packages.reg]` section.
    Registrations {}
}
package! {
    /// An entry of `[[packages.opaque]]`: bodies are passed through untouched, the newest publication wins.
    Opaque {
        /// The event type, as in the Event header.
        name: String = String::new(),
        /// Its name in the feed; empty: the event type.
        kind: String = String::new(),
        /// What it may carry, the default first.
        content_types: Vec<String> = Vec::new(),
    }
}

impl Opaque {
    fn kind(&self) -> &str {
        if self.kind.is_empty() { &self.name } else { &self.kind }
    }
}

/// An entry of `[[profiles]]`: what a kind of device needs; each field is the one of [`m::Profile`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the others are documented in the model")]
pub struct Profile {
    pub name: String,
    /// A regular expression for the User-Agent header; empty: for everybody whom no other profile names.
    pub user_agent: String,
    pub single_dialog: bool,
    pub idle: Idle,
    pub idle_id: String,
    pub entity_as_subscribed: bool,
    pub first_body: bool,
    pub final_notify: bool,
    pub stale_is_481: bool,
    pub ignore_accept: bool,
}

/// What an idle dialog document looks like.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// An empty `<dialog-info>`.
    Empty,
    /// One terminated `<dialog>` with an id.
    Terminated,
}

impl Default for Profile {
    fn default() -> Self {
        let rfc = m::Profile::default();
        Self {
            name: String::new(),
            user_agent: String::new(),
            single_dialog: rfc.single_dialog,
            idle: match rfc.idle {
                m::Idle::Empty => Idle::Empty,
                m::Idle::Terminated => Idle::Terminated,
            },
            idle_id: rfc.idle_id.into(),
            entity_as_subscribed: rfc.entity_as_subscribed,
            first_body: rfc.first_body,
            final_notify: rfc.final_notify,
            stale_is_481: rfc.stale_is_481,
            ignore_accept: rfc.ignore_accept,
        }
    }
}

impl Profile {
    /// The profiles that come with the gateway.
    fn shipped() -> Vec<Self> {
        let profile =
            |name: &str, user_agent: &str| Self { name: name.into(), user_agent: user_agent.into(), ..Self::default() };
        vec![
            // Several dialogs in one document restart these phones.
            Self { single_dialog: true, ..profile("linksys", "(?i)^(linksys|cisco)/spa") },
            // Their lamps go out only when the document names a dialog that has ended, and has an id.
            Self { idle: Idle::Terminated, idle_id: "0000".into(), ..profile("yealink", "(?i)^yealink") },
            Self { idle: Idle::Terminated, ..profile("grandstream", "(?i)^grandstream") },
            Self { idle: Idle::Terminated, ..profile("mitel", "(?i)^(aastra|mitel)") },
            Self { idle: Idle::Terminated, ..profile("bria", "(?i)^(bria|x-lite)") },
            // Subscribes again when it is told that it has unsubscribed, without end.
            Self { final_notify: false, ..profile("zoiper", "^(Z |Zoiper)") },
            profile("rfc", ""),
        ]
    }
}

/// The `[limits]` section; each field is the one of [`m::config::Limits`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented in the model")]
pub struct Limits {
    pub head: usize,
    pub headers: usize,
    pub body: usize,
    pub publications: usize,
    pub publications_per_source: usize,
    pub resources: usize,
    pub subscriptions: usize,
    pub subscriptions_per_source: usize,
    pub transactions: usize,
    pub held: usize,
    pub history: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let m::config::Limits {
            head,
            headers,
            body,
            publications,
            publications_per_source,
            resources,
            subscriptions,
            subscriptions_per_source,
            transactions,
            held,
            history,
        } = Default::default();
        Self {
            head,
            headers,
            body,
            publications,
            publications_per_source,
            resources,
            subscriptions,
            subscriptions_per_source,
            transactions,
            held,
            history,
        }
    }
}

/// The `[overload]` section; each field is the one of [`m::config::Overload`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented in the model")]
pub struct Overload {
    #[serde(with = "humantime_serde")]
    pub age: Duration,
    pub backlog: usize,
    #[serde(with = "humantime_serde")]
    pub retry_after: Duration,
}

impl Default for Overload {
    fn default() -> Self {
        let m::config::Overload { age, backlog, retry_after } = Default::default();
        Self { age, backlog, retry_after }
    }
}

/// The `[log]` section.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged: `info`, or more finely `info,lamplighter_sip=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

impl Settings {
    /// Reads the file at `path` (none: defaults), then settings of the environment (`LAMPLIGHTER_SIP__OPEN=true`),
    /// then `sets` (`sip.open=true`), and checks the result as a whole. Later ones win.
    pub fn load(path: Option<&Path>, sets: &[String]) -> Result<Self, ConfigError> {
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let is_setting = name.starts_with(ENVIRONMENT) && !NOT_SETTINGS.contains(&name.as_str());
            is_setting.then(|| (name, value.to_string_lossy().into_owned()))
        });
        let file = path.map(read_file).transpose()?;
        let file = path.zip(file.as_deref()).map(|(path, text)| (path.display().to_string(), text));
        Self::from_texts(file.as_ref().map(|(name, text)| (name.as_str(), *text)), environment, sets)
    }

    /// The same without files and environment: `file` is its name and text.
    fn from_texts(
        file: Option<(&str, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        let defaults = Self::defaults();
        let (mut texts, mut problems) = (Texts::default(), Vec::new());
        if let Some((name, text)) = file {
            texts.file(name, text);
        }
        let mut environment: Vec<_> = environment.into_iter().collect();
        environment.sort();
        for (name, value) in environment {
            let key = key_of_variable(&name, &defaults);
            problems.extend(texts.setting(name, &key, &value).err());
        }
        for set in sets {
            let name = format!("--set {set}");
            problems.extend(match set.split_once('=') {
                Some((key, value)) => texts.setting(name, key.trim(), value).err(),
                None => {
                    let problem = Problem::new("", "a setting needs a value", "write `--set sip.open=true`");
                    Some(Problem { source: name, ..problem })
                }
            });
        }
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let document = Document::parse(&texts)?;
        let settings: Self = document.read(&defaults)?;
        let problems = settings.problems();
        if problems.is_empty() { Ok(settings) } else { Err(document.locate(problems)) }
    }

    /// All settings at their defaults, as a tree.
    fn defaults() -> toml::Table {
        let defaults = toml::Table::try_from(Self::default());
        defaults.expect("every default can be written as TOML")
    }
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let name = path.display().to_string();
    let error =
        |what: String, hint: &str| ConfigError(vec![Problem { source: name.clone(), ..Problem::new("", what, hint) }]);
    let metadata = std::fs::metadata(path).map_err(|problem| {
        error(format!("cannot be read: {problem}"), "`--config` names the file; config/example.toml is a start")
    })?;
    if metadata.len() > MOST_BYTES {
        return Err(error(format!("is longer than {MOST_BYTES} bytes"), ""));
    }
    std::fs::read_to_string(path).map_err(|problem| error(format!("cannot be read: {problem}"), ""))
}

/// `LAMPLIGHTER_PACKAGES__MESSAGE_SUMMARY__LEAST_EXPIRES` is `packages.message-summary.least_expires`.
fn key_of_variable(name: &str, defaults: &toml::Table) -> String {
    let mut table = Some(defaults);
    let steps = name.strip_prefix(ENVIRONMENT).unwrap_or(name).split("__").map(|part| {
        let part = part.to_ascii_lowercase();
        let known = table.and_then(|table| table.iter().find(|(key, _)| key.replace('-', "_") == part));
        table = known.and_then(|(_, value)| value.as_table());
        known.map_or(part, |(key, _)| key.clone())
    });
    steps.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests;
