//! How settings reach the shards: as one immutable [`m::Config`].

use super::{Action, ConfigError, Idle, Net, Problem, Profile, Settings};
use crate::run::RunSettings;
use lamplighter_model as m;
use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};

impl Settings {
    /// How many shards this machine gets.
    pub fn shard_count(&self) -> u8 {
        if self.shards > 0 {
            return self.shards;
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        u8::try_from(cores).unwrap_or(u8::MAX).min(64)
    }

    /// What shards are told. `revision` counts reloads, `shards` is how many there are.
    ///
    /// Fails with everything that is wrong when these settings did not come from [`Settings::load`], which has
    /// checked them.
    pub fn to_model(&self, revision: u64, shards: u8) -> Result<m::Config, ConfigError> {
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let interfaces = interfaces();
        Ok(m::Config {
            revision,
            shards,
            server: concat!("Lamplighter/", env!("CARGO_PKG_VERSION")).into(),
            addresses: self.addresses_with(&interfaces),
            listeners: self.seen(&self.sip.listen, &interfaces),
            access: self.access(),
            packages: self.packages(),
            profiles: self.profiles()?,
            timers: m::config::Timers { t1: self.sip.timers.t1, t2: self.sip.timers.t2 },
            notify: self.notify(),
            limits: self.limits(),
            overload: m::config::Overload {
                age: self.overload.age,
                backlog: self.overload.backlog,
                retry_after: self.overload.retry_after,
            },
            store: None,
        })
    }

    /// Listeners with what we tell others about them.
    pub(super) fn as_others_see(&self, listen: &[super::Listen]) -> Vec<m::config::Listener> {
        self.seen(listen, &interfaces())
    }

    fn seen(&self, listen: &[super::Listen], interfaces: &[IpAddr]) -> Vec<m::config::Listener> {
        let listener = |listen: &super::Listen| m::config::Listener {
            transport: listen.transport,
            address: listen.address,
            advertise: advertise(listen.address, &self.sip.advertise, interfaces).into(),
        };
        listen.iter().map(listener).collect()
    }

    /// Hosts that stand for the default domain: our addresses, and what we advertise.
    /// Which addresses are ours.
    pub(super) fn addresses(&self) -> m::Addresses {
        self.addresses_with(&interfaces())
    }

    fn addresses_with(&self, interfaces: &[IpAddr]) -> m::Addresses {
        let own_hosts = self.own_hosts(interfaces);
        let text = String::as_str;
        let aliases = self.aliases.iter().map(|(from, to)| (text(from), text(to)));
        m::Addresses::new(self.domains.iter().map(text), own_hosts.iter().map(text), aliases)
    }

    fn own_hosts(&self, interfaces: &[IpAddr]) -> BTreeSet<String> {
        let mut hosts = BTreeSet::new();
        for address in self.sip.listen.iter().map(|listen| listen.address.ip()) {
            if address.is_unspecified() {
                hosts.extend(interfaces.iter().filter(|one| reaches(address, **one)).map(|one| host(*one)));
            } else {
                hosts.insert(host(address));
            }
        }
        hosts.extend(host_and_port(&self.sip.advertise).map(|(host, _)| host.to_owned()));
        hosts
    }

    fn access(&self) -> m::Access {
        let action = |action| match action {
            Action::Allow => m::access::Action::Allow,
            Action::Confirm => m::access::Action::Confirm,
            Action::Deny => m::access::Action::Deny,
        };
        let nets = |nets: &[Net]| nets.iter().map(|Net(net)| *net).collect();
        let rule = |rule: &super::Rule| m::access::Rule {
            addresses: nets(&rule.addresses),
            domains: rule.domains.iter().map(|domain| domain.to_ascii_lowercase().into()).collect(),
            action: action(rule.action),
        };
        m::Access {
            rules: self.access.rules.iter().map(rule).collect(),
            otherwise: action(self.access.otherwise),
            trusted: nets(&self.access.trusted),
        }
    }

    fn profiles(&self) -> Result<m::Profiles, ConfigError> {
        let profile = |profile: &Profile| m::Profile {
            name: profile.name.as_str().into(),
            single_dialog: profile.single_dialog || self.packages.dialog.force_single_dialog,
            idle: match profile.idle {
                Idle::Empty => m::Idle::Empty,
                Idle::Terminated => m::Idle::Terminated,
            },
            idle_id: profile.idle_id.as_str().into(),
            entity_as_subscribed: profile.entity_as_subscribed,
            first_body: profile.first_body,
            final_notify: profile.final_notify,
            stale_is_481: profile.stale_is_481,
            ignore_accept: profile.ignore_accept,
        };
        let (others, chosen): (Vec<_>, Vec<_>) =
            self.profiles.iter().partition(|profile| profile.user_agent.is_empty());
        let rfc = Profile { name: "rfc".into(), ..Profile::default() };
        let default = profile(others.first().copied().unwrap_or(&rfc));
        let chosen = chosen.into_iter().map(|one| (one.user_agent.clone(), profile(one))).collect();
        m::Profiles::new(default, chosen)
            .map_err(|error| ConfigError(vec![Problem::new("profiles", error.to_string(), "")]))
    }

    fn notify(&self) -> m::config::Notify {
        let super::Notify { failures, probe, min_interval, max_udp, burst, stop_rate, restart_rate, stop_within: _ } =
            self.sip.notify;
        m::config::Notify { failures, probe, min_interval, max_udp, burst, stop_rate, restart_rate }
    }

    fn limits(&self) -> m::config::Limits {
        let super::Limits {
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
        } = self.limits;
        m::config::Limits {
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

    pub(super) fn packages(&self) -> m::Packages {
        let super::Packages { opaque, dialog, presence, message_summary, reg } = &self.packages;
        let lifetimes = |name: &str, own: m::Expires| match name {
            "dialog" => dialog.expires(),
            "presence" => presence.expires(),
            "message-summary" => message_summary.expires(),
            "reg" => reg.expires(),
            _ => own,
        };
        let opaque = opaque.iter().map(|one| lamplighter_packages::opaque::Config {
            name: one.name.as_str().into(),
            kind: one.kind().into(),
            content_types: one.content_types.iter().map(|one| one.as_str().into()).collect(),
            expires: one.expires(),
        });
        let config = lamplighter_packages::Config {
            dialog: lamplighter_packages::dialog::Config { linger: dialog.linger, dialogs: dialog.dialogs },
            presence: lamplighter_packages::presence::Config { from_dialogs: presence.from_dialogs },
            opaque: opaque.collect(),
        };
        m::Packages::new(lamplighter_packages::packages(&config), lifetimes)
    }
}

impl RunSettings {
    /// From settings and what was made from them for the shards. Fails when the system gives no random bytes.
    pub fn new(settings: &Settings, config: m::Config) -> io::Result<Self> {
        /// Streams and the web need little; SIP datagrams have threads of their own.
        const MOST_WORKERS: usize = 4;
        let (mut secret, mut epoch) = ([0; 32], [0; 4]);
        let mut random = std::fs::File::open("/dev/urandom")?;
        random.read_exact(&mut secret)?;
        random.read_exact(&mut epoch)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            remote: settings.remote_plan(&config).map_err(io::Error::other)?,
            config,
            name_servers: settings.dns.servers.iter().map(|server| server.0).collect(),
            web: settings.web.clone(),
            store: settings.store.located(nix::unistd::geteuid().is_root(), |name| std::env::var_os(name)),
            workers: cores.min(MOST_WORKERS),
            secret,
            epoch: format!("{:08x}", u32::from_be_bytes(epoch)),
            patience: settings.sip.notify.stop_within,
        })
    }
}

/// Whether `pattern` can choose a profile.
pub(super) fn user_agent(pattern: &str) -> Result<m::Profiles, impl std::error::Error + use<>> {
    m::Profiles::new(m::Profile::default(), vec![(pattern.to_owned(), m::Profile::default())])
}

/// `192.0.2.7`, `sip.office.example:5060`, `[2001:db8::7]:5060`: the host, IPv6 with its brackets, and the port.
pub(super) fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port.parse().ok().filter(|port| *port != 0)?)),
        _ => (text, None),
    };
    super::check::is_host(host).then_some((host, port))
}

/// An address as a host in a URI.
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Whether a socket bound to the wildcard address `any` is reached at `address`.
fn reaches(any: IpAddr, address: IpAddr) -> bool {
    any.is_ipv6() || address.is_ipv4()
}

/// `host:port` for Via and Contact of a listener. A wildcard listener shows the one address of the machine that others
/// can reach; if there are several, it stays a wildcard and each flow shows its own local address.
fn advertise(address: SocketAddr, configured: &str, interfaces: &[IpAddr]) -> String {
    if let Some((host, port)) = host_and_port(configured) {
        return format!("{host}:{}", port.unwrap_or(address.port()));
    }
    let mut reachable = interfaces.iter().filter(|one| reaches(address.ip(), **one) && !one.is_loopback());
    match (address.ip().is_unspecified(), reachable.next(), reachable.next()) {
        (true, Some(only), None) => SocketAddr::new(*only, address.port()).to_string(),
        _ => address.to_string(),
    }
}

/// The addresses of this machine, without those that hold on one link only.
fn interfaces() -> Vec<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let address = |one: nix::ifaddrs::InterfaceAddress| {
        let address = one.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        let v6 = || address.as_sockaddr_in6().map(|v6| v6.ip()).filter(|ip| !ip.is_unicast_link_local());
        v4.or_else(|| v6().map(IpAddr::from))
    };
    all.filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        assert_eq!(host_and_port("192.0.2.7"), Some(("192.0.2.7", None)));
        assert_eq!(host_and_port("sip.office.example:5070"), Some(("sip.office.example", Some(5070))));
        assert_eq!(host_and_port("[2001:db8::7]"), Some(("[2001:db8::7]", None)));
        assert_eq!(host_and_port("[2001:db8::7]:5060"), Some(("[2001:db8::7]", Some(5060))));
        for bad in ["2001:db8::7", "a b", "host:", "host:0", "host:99999", "[::1", "192.0.2.0/24"] {
            assert_eq!(host_and_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn wildcard_listeners_show_an_address_that_others_reach() {
        let interfaces = ["127.0.0.1", "::1", "2001:db8::7", "192.0.2.7"].map(|ip| ip.parse().unwrap());
        let check = |listen: &str, configured: &str, expected: &str| {
            assert_eq!(advertise(listen.parse().unwrap(), configured, &interfaces), expected, "{listen} {configured}");
        };
        check("127.0.0.1:5060", "", "127.0.0.1:5060");
        check("0.0.0.0:5060", "", "192.0.2.7:5060");
        check("[::]:5060", "", "[::]:5060");
        check("0.0.0.0:5060", "203.0.113.5", "203.0.113.5:5060");
        check("0.0.0.0:5060", "203.0.113.5:6000", "203.0.113.5:6000");
    }
}
