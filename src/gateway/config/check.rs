//! What is wrong with settings that read well one by one.

use super::{Action, Listen, Net, Problem, Settings};
use ipnet::IpNet;
use lamplighter_model::{Addresses, Expires};
use std::collections::HashSet;
use std::fmt::Display;
use std::time::Duration;

/// What to do about a listener that everybody can reach.
const OPEN_HINT: &str = "say who may in [access], such as rules = [{ addresses = [\"192.0.2.0/24\"], action = \
                         \"allow\" }] with otherwise = \"deny\"; or let everybody in by sip.open = true";

impl Settings {
    /// Everything that is wrong, with the keys but not the places.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Problems(Vec::new());
        self.check_addresses(&mut problems);
        self.check_listeners(&mut problems);
        self.check_access(&mut problems);
        self.check_packages(&mut problems);
        self.check_profiles(&mut problems);
        self.check_numbers(&mut problems);
        self.check_remote(&mut problems);
        if let Err(error) = lamplighter_adapter_web::check(&self.web, &self.addresses()) {
            // It begins with the key below the section.
            let (key, what) = error.split_once(": ").unwrap_or(("", &error));
            let key = if key.is_empty() { "web".to_owned() } else { format!("web.{key}") };
            problems.add(key, what, "");
        }
        if let Err(error) = crate::logs::filter(&self.log.level) {
            problems.add("log.level", error, "write \"info\", or more finely \"info,lamplighter_sip=debug\"");
        }
        problems.0
    }

    fn check_addresses(&self, problems: &mut Problems) {
        if self.domains.is_empty() {
            problems.add("domains", "no domain is served", "domains = [\"office.example\"]");
        }
        for (index, domain) in self.domains.iter().enumerate() {
            let key = format!("domains[{index}]");
            if !is_host(domain) {
                problems.add(key, format!("`{domain}` is no domain"), "write a name alone, such as \"office.example\"");
            } else if self.domains[..index].iter().any(|other| other.eq_ignore_ascii_case(domain)) {
                problems.add(key, format!("`{domain}` is named twice"), "");
            }
        }
        let addresses = Addresses::new(self.domains.iter().map(String::as_str), [], []);
        let parse = |text: &str| addresses.parse(text);
        let froms: HashSet<String> = self.aliases.keys().filter_map(|from| parse(from).ok()).collect();
        for (from, to) in &self.aliases {
            // A name with dots would not be found again as a path; its table is near enough.
            let key = if from.contains(['.', '@']) { "aliases".into() } else { format!("aliases.{from}") };
            for text in [from, to] {
                if let Err(error) = parse(text) {
                    problems.add(key.clone(), format!("`{text}` is no address of ours: {error}"), "");
                }
            }
            if parse(to).is_ok_and(|to| froms.contains(&to)) {
                problems.add(key, format!("`{to}` is an alias itself"), "name the address that it stands for");
            }
        }
    }

    fn check_listeners(&self, problems: &mut Problems) {
        let listen = &self.sip.listen;
        if listen.is_empty() || listen.len() > 255 {
            problems.add("sip.listen", "between 1 and 255 listeners are needed", "listen = [\"udp:127.0.0.1:5060\"]");
        }
        for (index, listener) in listen.iter().enumerate() {
            let key = format!("sip.listen[{index}]");
            if listener.address.port() != 0 && listen[..index].contains(listener) {
                problems.add(key.clone(), format!("`{listener}` is named twice"), "");
            }
            let has_rule = !self.access.rules.is_empty() || self.access.otherwise != Action::Allow;
            if !is_loopback(listener) && !self.sip.open && !has_rule {
                problems.add(key, format!("`{listener}` lets everybody in who can reach it"), OPEN_HINT);
            }
        }
        let advertise = &self.sip.advertise;
        if !advertise.is_empty() && super::model::host_and_port(advertise).is_none() {
            let what = format!("`{advertise}` is neither a host nor host:port");
            problems.add(
                "sip.advertise",
                what,
                "write \"192.0.2.7\", \"sip.office.example:5060\" or \"[2001:db8::7]\"",
            );
        }
    }

    fn check_access(&self, problems: &mut Problems) {
        for (index, rule) in self.access.rules.iter().enumerate() {
            for domain in rule.domains.iter().filter(|domain| !is_host(domain)) {
                let key = format!("access.rules[{index}]");
                problems.add(key, format!("`{domain}` is no domain"), "write a name alone, such as \"office.example\"");
            }
            let everybody = rule.addresses.is_empty() && rule.domains.is_empty();
            if everybody && index + 1 < self.access.rules.len() {
                let hint = "put it last, or write it as `otherwise`";
                let what = "applies to everybody, so that those behind it never do";
                problems.add(format!("access.rules[{index}]"), what, hint);
            }
        }
        for (index, Net(net)) in self.access.trusted.iter().enumerate() {
            if net.prefix_len() == 0 && !self.sip.open {
                let hint = "name the servers that publish for others; or let everybody by sip.open = true";
                let what = format!("`{net}` lets everybody publish for everybody");
                problems.add(format!("access.trusted[{index}]"), what, hint);
            }
        }
    }

    fn check_packages(&self, problems: &mut Problems) {
        let packages = &self.packages;
        problems.expires("packages.dialog", packages.dialog.expires());
        problems.expires("packages.presence", packages.presence.expires());
        problems.expires("packages.message-summary", packages.message_summary.expires());
        problems.expires("packages.reg", packages.reg.expires());
        let mut names = HashSet::from([
            "dialog",
            "dialog;sla",
            "presence",
            "message-summary",
            "reg",
            "presence.winfo",
            "dialog.winfo",
        ]);
        let mut kinds = HashSet::from(["dialog", "line", "presence", "mwi", "reg", "winfo", "dialog-winfo"]);
        for (index, opaque) in packages.opaque.iter().enumerate() {
            let key = format!("packages.opaque[{index}]");
            problems.expires(&key, opaque.expires());
            if !is_token(&opaque.name) {
                let what = format!("`{}` is no event type", opaque.name);
                problems.add(key.clone(), what, "name = \"as-feature-event\"");
            } else if !names.insert(&opaque.name) {
                problems.add(key.clone(), format!("there is a package `{}` already", opaque.name), "");
            }
            let kind = opaque.kind();
            if !is_token(kind) || !kinds.insert(kind) {
                let what = format!("`{kind}` is no kind, or that of another package");
                problems.add(key.clone(), what, "kind = \"features\"");
            }
            let is_type =
                |text: &String| text.split_once('/').is_some_and(|(major, minor)| is_token(major) && is_token(minor));
            if opaque.content_types.is_empty() || !opaque.content_types.iter().all(is_type) {
                let hint = "content_types = [\"application/x-as-feature-event+xml\"]";
                problems.add(key, "it needs content types, without parameters", hint);
            }
        }
        if packages.opaque.len() > 200 {
            problems.add("packages.opaque", "more than 200 packages", "");
        }
    }

    fn check_profiles(&self, problems: &mut Problems) {
        let mut names = HashSet::new();
        let mut for_all_others = None;
        for (index, profile) in self.profiles.iter().enumerate() {
            let key = format!("profiles[{index}]");
            if profile.name.is_empty() || !names.insert(&profile.name) {
                problems.add(key.clone(), "a profile needs a name of its own", "name = \"snom\"");
            }
            if profile.user_agent.is_empty() {
                if let Some(other) = for_all_others.replace(&profile.name) {
                    let what = format!("both `{other}` and `{}` are for everybody", profile.name);
                    problems.add(key.clone(), what, "user_agent = \"(?i)^snom\"");
                }
            } else if let Err(error) = super::model::user_agent(&profile.user_agent) {
                let what = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
                problems.add(key.clone(), format!("user_agent is no regular expression: {what}"), "");
            }
            if profile.idle_id.is_empty() || profile.idle_id.chars().any(char::is_control) {
                problems.add(key, "idle_id must not be empty", "idle_id = \"0\"");
            }
        }
        if self.profiles.len() > 1000 {
            problems.add("profiles", "more than 1000 profiles", "");
        }
    }

    fn check_numbers(&self, problems: &mut Problems) {
        let seconds = Duration::from_secs;
        problems.within("shards", self.shards, 0..=64);
        let timers = self.sip.timers;
        problems.within("sip.timers.t1", Time(timers.t1), Time(Duration::from_millis(10))..=Time(seconds(10)));
        problems.within("sip.timers.t2", Time(timers.t2), Time(timers.t1)..=Time(seconds(60)));
        let notify = self.sip.notify;
        problems.within("sip.notify.failures", notify.failures, 1..=100);
        problems.within("sip.notify.probe", Time(notify.probe), Time(seconds(1))..=Time(seconds(86400)));
        problems.within(
            "sip.notify.min_interval",
            Time(notify.min_interval),
            Time(Duration::ZERO)..=Time(seconds(3600)),
        );
        problems.within("sip.notify.max_udp", notify.max_udp, 500..=65_000);
        problems.within("sip.notify.burst", notify.burst, 1..=100_000);
        problems.within("sip.notify.stop_rate", notify.stop_rate, 1..=1_000_000);
        problems.within("sip.notify.restart_rate", notify.restart_rate, 1..=1_000_000);
        let stop_within = notify.stop_within;
        problems.within("sip.notify.stop_within", Time(stop_within), Time(Duration::ZERO)..=Time(seconds(3600)));
        let dialog = &self.packages.dialog;
        problems.within("packages.dialog.linger", Time(dialog.linger), Time(seconds(1))..=Time(seconds(3600)));
        problems.within("packages.dialog.dialogs", dialog.dialogs, 1..=10_000);
        let limits = self.limits;
        problems.within("limits.head", limits.head, 1024..=65_535);
        problems.within("limits.headers", limits.headers, 16..=10_000);
        problems.within("limits.body", limits.body, 1024..=16 << 20);
        problems.within("limits.publications", limits.publications, 1..=100_000);
        problems.within("limits.publications_per_source", limits.publications_per_source, 1..=100_000);
        problems.within("limits.resources", limits.resources, 1..=100_000_000);
        problems.within("limits.subscriptions", limits.subscriptions, 1..=100_000_000);
        problems.within("limits.subscriptions_per_source", limits.subscriptions_per_source, 1..=100_000_000);
        problems.within("limits.transactions", limits.transactions, 1000..=100_000_000);
        problems.within("limits.held", limits.held, 1..=10_000_000);
        problems.within("limits.history", limits.history, 1..=10_000);
        let overload = self.overload;
        problems.within("overload.age", Time(overload.age), Time(Duration::from_millis(1))..=Time(seconds(60)));
        problems.within("overload.backlog", overload.backlog, 1..=100_000_000);
        problems.within("overload.retry_after", Time(overload.retry_after), Time(seconds(1))..=Time(seconds(3600)));
    }
}

pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, key: impl Into<String>, what: impl Into<String>, hint: &str) {
        self.0.push(Problem::new(key, what, hint));
    }

    pub(super) fn times(&mut self, key: &str, value: Duration, bounds: std::ops::RangeInclusive<Duration>) {
        self.within(key, Time(value), Time(*bounds.start())..=Time(*bounds.end()));
    }

    pub(super) fn within<T: Display + PartialOrd>(&mut self, key: &str, value: T, bounds: std::ops::RangeInclusive<T>) {
        if !bounds.contains(&value) {
            let what = format!("{value} is not between {} and {}", bounds.start(), bounds.end());
            self.add(key, what, "");
        }
    }

    fn expires(&mut self, key: &str, Expires { default, least, most }: Expires) {
        let in_order = Duration::ZERO < least && least <= default && default <= most;
        if !in_order || most > Duration::from_secs(u64::from(u32::MAX)) {
            let what = "least_expires, default_expires and most_expires are not in this order, or zero, or too long";
            self.add(key, what, "");
        }
    }
}

/// A duration that people can read.
#[derive(PartialEq, PartialOrd)]
struct Time(Duration);

impl Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

fn is_loopback(listener: &Listen) -> bool {
    listener.address.ip().to_canonical().is_loopback()
}

/// A domain name or IP literal, IPv6 with brackets, without port.
pub(super) fn is_host(text: &str) -> bool {
    if let Some(literal) = text.strip_prefix('[') {
        return literal.strip_suffix(']').is_some_and(|literal| literal.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    text.len() <= 253 && text.split('.').all(is_label) && text.parse::<IpNet>().is_err()
}

fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(allowed)
}
