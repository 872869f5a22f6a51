//! Who may watch and publish what: one pure function, asked by every protocol.

use ipnet::IpNet;
use std::net::IpAddr;

/// What policy says about a watcher.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Decision {
    /// Yes.
    #[default]
    Allow,
    /// Not before somebody says so: the subscription is pending and learns no state.
    Confirm,
    /// No.
    Deny,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Lets the request through.
    Allow,
    /// SUBSCRIBE is accepted as pending; PUBLISH is refused.
    Confirm,
    /// Refuses with 403.
    Deny,
}

/// One rule: applies when the source address is in one of `addresses` (none given: any) and the sender's domain is
/// one of `domains` (none given: any).
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Networks.
    pub addresses: Vec<IpNet>,
    /// Domains of the From URI, in lower case.
    pub domains: Vec<Box<str>>,
    /// What to do.
    pub action: Action,
}

/// The rules of a gateway; the first that applies decides, none: `otherwise`.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// In order.
    pub rules: Vec<Rule>,
    /// When no rule applies.
    pub otherwise: Action,
    /// Who may publish for any presentity and is not subject to per-source caps.
    pub trusted: Vec<IpNet>,
}

impl Default for Access {
    /// Everybody may watch, everybody may publish for themselves, and this machine is trusted.
    fn default() -> Self {
        let trusted = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().expect("a constant network"));
        Self { rules: Vec::new(), otherwise: Action::Allow, trusted: trusted.into() }
    }
}

impl Access {
    /// Whether an address is trusted.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|net| net.contains(&address))
    }

    fn action(&self, address: IpAddr, domain: &[u8]) -> Action {
        let address = address.to_canonical();
        let applies = |rule: &&Rule| {
            (rule.addresses.is_empty() || rule.addresses.iter().any(|net| net.contains(&address)))
                && (rule.domains.is_empty()
                    || rule.domains.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(domain)))
        };
        self.rules.iter().find(applies).map_or(self.otherwise, |rule| rule.action)
    }

    /// May the sender at `address`, whose From has this domain, watch?
    pub fn watch(&self, address: IpAddr, domain: &[u8]) -> Decision {
        match self.action(address, domain) {
            Action::Allow => Decision::Allow,
            Action::Confirm => Decision::Confirm,
            Action::Deny => Decision::Deny,
        }
    }

    /// May the sender at `address` publish? `own`: for the very address that its From names.
    pub fn publish(&self, address: IpAddr, domain: &[u8], own: bool) -> bool {
        self.action(address, domain) == Action::Allow && (own || self.is_trusted(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_applies_decides() {
        let access = Access {
            rules: vec![
                Rule { addresses: vec!["10.1.0.0/16".parse().unwrap()], domains: vec![], action: Action::Allow },
                Rule {
                    addresses: vec!["10.0.0.0/8".parse().unwrap()],
                    domains: vec!["guests.example.com".into()],
                    action: Action::Confirm,
                },
            ],
            otherwise: Action::Deny,
            trusted: vec!["10.1.1.1/32".parse().unwrap()],
        };
        let address = |text: &str| text.parse().unwrap();
        assert_eq!(access.watch(address("10.1.2.3"), b"example.com"), Decision::Allow);
        assert_eq!(access.watch(address("::ffff:10.1.2.3"), b"example.com"), Decision::Allow);
        assert_eq!(access.watch(address("10.2.2.3"), b"Guests.example.com"), Decision::Confirm);
        assert_eq!(access.watch(address("10.2.2.3"), b"example.com"), Decision::Deny);
        assert!(access.publish(address("10.1.2.3"), b"example.com", true));
        assert!(!access.publish(address("10.1.2.3"), b"example.com", false));
        assert!(access.publish(address("10.1.1.1"), b"example.com", false));
        assert!(!access.publish(address("10.2.2.3"), b"guests.example.com", true));
    }
}
