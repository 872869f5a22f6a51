//! The `[remote]` section: other servers, what is fetched from them and published to them.

use super::check::{Problems, is_host};
use super::{ConfigError, Listen, Net, Problem, Settings};
use crate::remote::Plan;
use lamplighter_model as m;
use lamplighter_port::{Kinds, Scope, Selector};
use lamplighter_remote::{MOST_RULES, Rule, Watched, is_uri};
use lamplighter_sip::auth::{Credential, Credentials, Secret};
use lamplighter_sip::client;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest password, bytes.
const LONGEST_SECRET: u64 = 1024;

/// The `[remote]` section.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Remote {
    /// Whether there is anything of it.
    pub enabled: bool,
    /// Where other servers reach us; empty: ports that the system chooses, on the first address of `sip.listen`.
    pub listen: Vec<Listen>,
    /// Our own address: From of what is nobody else's; empty: `sip:lamplighter@` and the first domain.
    pub address: String,
    /// Where all requests go first; empty: where their URI says.
    pub outbound_proxy: String,
    /// The same for single packages: `dialog = "sip:pbx.example"`.
    pub outbound_proxies: BTreeMap<String, String>,
    /// Route headers of each first SUBSCRIBE.
    pub routes: Vec<String>,
    /// Headers of each SUBSCRIBE.
    pub headers: BTreeMap<String, String>,
    /// The lease to ask for.
    #[serde(with = "humantime_serde")]
    pub default_expires: Duration,
    /// The shortest lease to ask for.
    #[serde(with = "humantime_serde")]
    pub min_expires: Duration,
    /// How long before its end a lease is renewed.
    #[serde(with = "humantime_serde")]
    pub renew_ahead: Duration,
    /// Leases are not renewed sooner than after so long, unless they would end.
    #[serde(with = "humantime_serde")]
    pub renew_least: Duration,
    /// A subscription that failed is tried again after so long, an eighth more or less.
    #[serde(with = "humantime_serde")]
    pub retry: Duration,
    /// A server that is silent, or cannot be connected to, is left alone for so long.
    #[serde(with = "humantime_serde")]
    pub shun: Duration,
    /// How long the last NOTIFY is waited for.
    #[serde(with = "humantime_serde")]
    pub farewell: Duration,
    /// First SUBSCRIBEs are spread evenly over so long.
    #[serde(with = "humantime_serde")]
    pub spread: Duration,
    /// How long a dialog is kept after its last user has left.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// The most subscriptions, and the most dialogs and publications.
    pub most: usize,
    /// Who we are to those who ask.
    pub credentials: Vec<Login>,
    /// Subscriptions that always stand.
    pub subscribe: Vec<Subscribe>,
    /// What is published to whom.
    pub publish: Vec<Publish>,
}

impl Default for Remote {
    fn default() -> Self {
        let pace = client::Pace::default();
        Self {
            enabled: false,
            listen: Vec::new(),
            address: String::new(),
            outbound_proxy: String::new(),
            outbound_proxies: BTreeMap::new(),
            routes: Vec::new(),
            headers: BTreeMap::new(),
            default_expires: pace.default_expires,
            min_expires: pace.min_expires,
            renew_ahead: pace.ahead,
            renew_least: pace.least,
            retry: pace.retry,
            shun: pace.shun,
            farewell: pace.farewell,
            spread: pace.spread,
            linger: Duration::from_secs(30),
            most: 200_000,
            credentials: Vec::new(),
            subscribe: Vec::new(),
            publish: Vec::new(),
        }
    }
}

impl Remote {
    /// Whether every request has somewhere to go first.
    fn leads_out(&self) -> bool {
        !self.outbound_proxy.is_empty() || !self.routes.is_empty()
    }
}

/// An entry of `[[remote.credentials]]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The realm, as the server writes it.
    pub realm: String,
    /// The user name.
    pub username: String,
    /// A file that holds the password and nothing else.
    pub password_file: PathBuf,
}

/// An entry of `[[remote.subscribe]]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Subscribe {
    /// Whose state: a SIP URI.
    pub resource: String,
    /// The event type.
    pub package: String,
    /// The address of ours that it stands for; empty: the resource itself, if that is ours.
    #[serde(rename = "as")]
    pub local: String,
    /// The Request-URI; empty: the resource.
    pub target: String,
    /// Where requests go first.
    pub outbound_proxy: String,
    /// The `id` of Event.
    pub event_id: String,
    /// The lease to ask for; 0: `default_expires`.
    #[serde(with = "humantime_serde")]
    pub expires: Duration,
    /// Headers of each SUBSCRIBE.
    pub headers: BTreeMap<String, String>,
    /// The types to ask for, of those that the package has; empty: all of them.
    pub accept: Vec<String>,
    /// Whether the resource is a list; then `as` says which domain its members have here: `*@office.example`.
    pub list: bool,
}

/// An entry of `[[remote.publish]]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Publish {
    /// The server: a SIP URI.
    pub server: String,
    /// Whose state: addresses, `sip:*@domain` or `*`.
    pub resources: Vec<String>,
    /// The event types.
    pub packages: Vec<String>,
    /// The domain that resources have there; empty: the same.
    pub domain: String,
    /// From; empty: the presentity itself.
    pub publisher: String,
    /// The lease to ask for; 0: `default_expires`.
    #[serde(with = "humantime_serde")]
    pub expires: Duration,
    /// Headers of each PUBLISH.
    pub headers: BTreeMap<String, String>,
    /// What these networks publish is not sent there.
    pub except: Vec<Net>,
}

impl Settings {
    pub(super) fn check_remote(&self, problems: &mut Problems) {
        let remote = &self.remote;
        if !remote.enabled {
            return;
        }
        let seconds = Duration::from_secs;
        let uri = |problems: &mut Problems, key: &str, text: &str, needed: bool| {
            if (needed || !text.is_empty()) && !is_uri(text) {
                problems.add(
                    key,
                    format!("`{text}` is no SIP URI"),
                    "write \"sip:pbx.example\" or \"sip:192.0.2.7:5060\"",
                );
            }
        };
        uri(problems, "remote.address", &remote.address, false);
        uri(problems, "remote.outbound_proxy", &remote.outbound_proxy, false);
        for proxy in remote.outbound_proxies.values() {
            uri(problems, "remote.outbound_proxies", proxy, true);
        }
        problems.within("remote.most", remote.most, 1..=10_000_000);
        for (key, time) in [
            ("remote.default_expires", remote.default_expires),
            ("remote.retry", remote.retry),
            ("remote.shun", remote.shun),
            ("remote.farewell", remote.farewell),
        ] {
            problems.times(key, time, seconds(1)..=seconds(7 * 24 * 3600));
        }
        for (key, time) in [
            ("remote.min_expires", remote.min_expires),
            ("remote.renew_ahead", remote.renew_ahead),
            ("remote.renew_least", remote.renew_least),
            ("remote.spread", remote.spread),
            ("remote.linger", remote.linger),
        ] {
            problems.times(key, time, Duration::ZERO..=seconds(7 * 24 * 3600));
        }
        for (index, login) in remote.credentials.iter().enumerate() {
            if let Err(what) = secret(&login.password_file) {
                let hint = "the file holds the password alone, and only the gateway may read it";
                problems.add(format!("remote.credentials[{index}]"), what, hint);
            }
        }
        let packages = self.packages();
        for (index, one) in remote.subscribe.iter().enumerate() {
            let key = format!("remote.subscribe[{index}]");
            uri(problems, &key, &one.resource, true);
            uri(problems, &key, &one.target, false);
            uri(problems, &key, &one.outbound_proxy, false);
            if find(&packages, &one.package).is_none() {
                problems.add(&key, format!("there is no package `{}`", one.package), "package = \"dialog\"");
            }
            let addresses = self.addresses();
            let mut has_way_out = !one.target.is_empty() || !one.outbound_proxy.is_empty() || remote.leads_out();
            if let Some(package) = find(&packages, &one.package) {
                let event = packages.get(package).name().split(';').next().unwrap_or_default();
                has_way_out |= remote.outbound_proxies.contains_key(event);
                let formats = packages.get(package).formats();
                let unknown =
                    |name: &&String| formats.iter().all(|format| !format.content_type.eq_ignore_ascii_case(name));
                for name in one.accept.iter().filter(unknown) {
                    problems.add(
                        &key,
                        format!("`{name}` is no type of the package `{}`", one.package),
                        "leave accept out",
                    );
                }
            }
            if one.list {
                let ours =
                    one.local.strip_prefix("*@").map(|domain| addresses.parse(&format!("sip:a@{domain}")).is_ok());
                if !one.local.is_empty() && ours != Some(true) {
                    let hint = "say which of our domains its members have: as = \"*@office.example\"";
                    problems.add(&key, format!("`{}` is no domain of ours", one.local), hint);
                }
                if !has_way_out && addresses.parse(&one.resource).is_ok() {
                    let hint = "say where: outbound_proxy = \"sip:pbx.example\"";
                    problems.add(&key, format!("`{}` is ours, and there is nobody else to ask", one.resource), hint);
                }
                continue;
            }
            let local = if one.local.is_empty() { &one.resource } else { &one.local };
            if addresses.parse(local).is_err() {
                let what = format!("`{local}` is no address of ours, so that nobody could see it");
                problems.add(&key, what, "say which of ours it stands for: as = \"200@office.example\"");
            } else if one.local.is_empty() && !has_way_out {
                let hint = "say where: outbound_proxy = \"sip:pbx.example\"";
                problems.add(&key, format!("`{local}` is ours, and there is nobody else to ask"), hint);
            }
        }
        if remote.publish.len() > MOST_RULES {
            problems.add("remote.publish", format!("there are more than {MOST_RULES}"), "");
        }
        for (index, one) in remote.publish.iter().enumerate() {
            let key = format!("remote.publish[{index}]");
            uri(problems, &key, &one.server, true);
            uri(problems, &key, &one.publisher, false);
            if !one.domain.is_empty() && !is_host(&one.domain) {
                problems.add(&key, format!("`{}` is no domain", one.domain), "domain = \"office.example\"");
            }
            if one.packages.is_empty() || one.resources.is_empty() {
                problems.add(
                    &key,
                    "it names no packages, or no resources",
                    "resources = [\"*\"], packages = [\"dialog\"]",
                );
            }
            for name in one.packages.iter().filter(|name| find(&packages, name).is_none()) {
                problems.add(&key, format!("there is no package `{name}`"), "packages = [\"dialog\", \"presence\"]");
            }
            let addresses = self.addresses();
            for text in &one.resources {
                if let Err(bad) = Selector::parse(text, &addresses) {
                    problems.add(&key, format!("`{text}` selects nothing: {bad}"), "resources = [\"*\"]");
                }
            }
        }
    }

    /// What the machine that talks to other servers is started with.
    pub(crate) fn remote_plan(&self, config: &m::Config) -> Result<Plan, ConfigError> {
        let remote = &self.remote;
        if !remote.enabled {
            let settings = lamplighter_remote::Settings { most: remote.most, ..Default::default() };
            return Ok(Plan { settings, ..Plan::default() });
        }
        let listen = match &remote.listen[..] {
            [] => {
                let ip = self.sip.listen.first().map_or([127, 0, 0, 1].into(), |first| first.address.ip());
                let any = SocketAddr::new(ip, 0);
                [m::Transport::Udp, m::Transport::Tcp].map(|transport| Listen { transport, address: any }).to_vec()
            }
            some => some.to_vec(),
        };
        let mut credentials = Vec::new();
        for (index, Login { realm, username, password_file }) in remote.credentials.iter().enumerate() {
            let secret = secret(password_file)
                .map_err(|what| ConfigError(vec![Problem::new(format!("remote.credentials[{index}]"), what, "")]))?;
            credentials.push(Credential { realm: realm.as_str().into(), user: username.as_str().into(), secret });
        }
        let domain = config.addresses.domains().first().map_or("localhost", |domain| domain);
        let own = format!("sip:lamplighter@{domain}");
        let agent = client::Settings {
            address: if remote.address.is_empty() { own } else { remote.address.clone() }.into(),
            display: Box::default(),
            user_agent: config.server.clone(),
            locals: Vec::new(),
            proxy: some(&remote.outbound_proxy),
            proxies: remote
                .outbound_proxies
                .iter()
                .map(|(name, uri)| (name.as_str().into(), uri.as_str().into()))
                .collect(),
            credentials: Credentials::new(credentials),
            most: remote.most,
            store: false,
            timers: config.timers,
            pace: client::Pace {
                default_expires: remote.default_expires,
                min_expires: remote.min_expires,
                retry: remote.retry,
                ahead: remote.renew_ahead,
                least: remote.renew_least,
                shun: remote.shun,
                farewell: remote.farewell,
                spread: remote.spread,
                ..client::Pace::default()
            },
        };
        let rules = remote.publish.iter().map(|one| Rule {
            server: one.server.as_str().into(),
            domain: some(&one.domain),
            publisher: some(&one.publisher),
            expires: time(one.expires),
            headers: pairs(&one.headers),
            except: one.except.iter().map(|Net(net)| *net).collect(),
        });
        let scope = |one: &Publish| {
            let selectors = one.resources.iter().filter_map(|text| Selector::parse(text, &config.addresses).ok());
            Scope::new(selectors, Kinds::of(one.packages.iter().filter_map(|name| find(&config.packages, name))))
        };
        let watch = |one: &Subscribe| {
            let package = find(&config.packages, &one.package)?;
            let local = some(&one.local).filter(|_| !one.list).and_then(|local| config.addresses.parse(&local).ok());
            let wish = m::RemoteWish {
                resource: one.resource.as_str().into(),
                subscriber: None,
                package,
                event_id: some(&one.event_id),
                target: some(&one.target),
                contact: None,
                outbound_proxy: some(&one.outbound_proxy),
                headers: pairs(&one.headers),
                expires: time(one.expires),
                accept: one.accept.iter().map(|one| one.to_ascii_lowercase().into()).collect(),
                list: one.list,
                owner: "configuration".into(),
            };
            let domain = one.local.strip_prefix("*@").filter(|_| one.list);
            Some(Watched { wish, local: local.map(Into::into), domain: domain.map(Into::into) })
        };
        Ok(Plan {
            listeners: self.as_others_see(&listen),
            scopes: remote.publish.iter().map(scope).collect(),
            settings: lamplighter_remote::Settings {
                elsewhere: true,
                agent,
                most: remote.most,
                linger: remote.linger,
                routes: remote.routes.iter().map(|route| route.as_str().into()).collect(),
                headers: pairs(&remote.headers),
                watches: remote.subscribe.iter().filter_map(watch).collect(),
                rules: rules.collect(),
            },
        })
    }
}

fn some(text: &str) -> Option<Box<str>> {
    (!text.is_empty()).then(|| text.into())
}

fn time(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

fn pairs(headers: &BTreeMap<String, String>) -> Vec<client::Extra> {
    headers.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
}

/// A package by its event type, or by its name in the feed.
fn find(packages: &m::Packages, name: &str) -> Option<m::PackageId> {
    packages.find(name.as_bytes()).or_else(|| packages.find_kind(name))
}

/// The password in a file, without the end of its line.
fn secret(path: &Path) -> Result<Secret, String> {
    let name = path.display();
    let length = std::fs::metadata(path).map_err(|error| format!("`{name}` cannot be read: {error}"))?.len();
    if length > LONGEST_SECRET {
        return Err(format!("`{name}` is longer than {LONGEST_SECRET} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("`{name}` cannot be read: {error}"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("`{name}` is empty")),
        secret => Ok(Secret::new(secret)),
    }
}
