//! Where a SIP server or phone is: from the host of a URI to transports, addresses and ports (RFC 3263).
//!
//! [`Resolver`] asks name servers, through hickory-resolver; what it asks and how it picks is in [`locate`] and
//! [`order`], which know neither network nor chance. Answers are kept as long as they say, but at least [`LEAST`] and at
//! most [`MOST`], and at most [`CACHED`] of them. Nothing here waits for longer than a few seconds a question; whoever
//! asks sets the limit for the whole, and bounds how many questions are under way.

pub mod locate;
pub mod order;

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use lamplighter_model::Seed;
use locate::{Answer, Failed, Naptr, Records, Told};
pub use locate::{LEAST, Located, MOST, Question, TARGETS};
use order::Srv;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The most answers that are remembered; beyond, those least used are forgotten.
pub const CACHED: u64 = 4096;
/// How long one name server has to answer; it is asked twice.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether the system's settings have changed, while there are questions.
const LOOK: Duration = Duration::from_secs(5);
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// Looks names up.
pub struct Resolver {
    servers: Vec<SocketAddr>,
    seed: Seed,
    drawn: AtomicU64,
    at_work: Mutex<AtWork>,
}

/// What questions are put to, made from the system's files as they were.
struct AtWork {
    looked: Instant,
    files: [Option<SystemTime>; 2],
    dns: Arc<Dns>,
}

struct Dns {
    resolver: TokioResolver,
    hosts: Hosts,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Asks these servers, or those of the system if there are none. The system's own table of hosts counts in either
    /// case. `seed` decides among servers of equal priority. Fails where hickory refuses its configuration.
    pub fn new(servers: Vec<SocketAddr>, seed: Seed) -> io::Result<Self> {
        let at_work = AtWork { looked: now(), files: files(), dns: Arc::new(Dns::new(&servers)?) };
        Ok(Self { servers, seed, drawn: AtomicU64::new(0), at_work: Mutex::new(at_work) })
    }

    /// Where the host of a URI leads. Runs on a tokio runtime.
    pub async fn locate(&self, question: &Question) -> Located {
        let dns = self.dns();
        let mut chance = |most: u32| {
            let drawn = self.seed.check(self.drawn.fetch_add(1, Ordering::Relaxed), 0, 0);
            ((u128::from(drawn) * (u128::from(most) + 1)) >> 64) as u32
        };
        locate::locate(&*dns, question, &mut chance).await
    }

    /// What to ask now: made anew when the system's files have changed, so that nobody has to restart for that.
    fn dns(&self) -> Arc<Dns> {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        if now.saturating_duration_since(at_work.looked) >= LOOK {
            at_work.looked = now;
            let files = files();
            if at_work.files != files {
                match Dns::new(&self.servers) {
                    Ok(dns) => (at_work.files, at_work.dns) = (files, Arc::new(dns)),
                    Err(error) => tracing::warn!(%error, "the system's name servers cannot be taken over"),
                }
            }
        }
        Arc::clone(&at_work.dns)
    }
}

fn now() -> Instant {
    Instant::now()
}

/// When the system's files were changed last.
fn files() -> [Option<SystemTime>; 2] {
    [RESOLV_CONF, HOSTS].map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
}

fn server(address: IpAddr, port: u16) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut one| {
        one.port = port;
        one
    });
    NameServerConfig::new(address, true, connections.into())
}

impl Dns {
    fn new(servers: &[SocketAddr]) -> io::Result<Self> {
        let system = system_conf::read_system_conf();
        let (mut config, mut options) = system.unwrap_or_else(|error| {
            if servers.is_empty() {
                tracing::debug!(%error, "the system names no name server");
            }
            // As resolv.conf(5) has it.
            let here = vec![server(Ipv4Addr::LOCALHOST.into(), 53)];
            (ResolverConfig::from_parts(None, Vec::new(), here), ResolverOpts::default())
        });
        if !servers.is_empty() {
            let servers = servers.iter().map(|one| server(one.ip(), one.port())).collect();
            config = ResolverConfig::from_parts(None, config.search().to_vec(), servers);
        }
        options.timeout = PATIENCE.min(options.timeout);
        options.attempts = 1;
        options.cache_size = CACHED;
        options.max_active_requests = 1024;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        (options.positive_min_ttl, options.positive_max_ttl) = (Some(LEAST), Some(MOST));
        (options.negative_min_ttl, options.negative_max_ttl) = (Some(LEAST), Some(Duration::from_secs(30)));
        // Asked here, before anything else.
        options.use_hosts_file = ResolveHosts::Never;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = builder.with_options(options).build().map_err(io::Error::other)?;
        Ok(Self { resolver, hosts: Hosts::from_system().unwrap_or_default() })
    }

    /// The records of a kind that `read` knows, and how long they hold.
    async fn ask<T>(&self, name: &str, kind: RecordType, read: impl Fn(&RData) -> Option<T>) -> Told<T> {
        let none = Answer { records: Vec::new(), ttl: LEAST };
        // What is no name has no records; names with a dot are whole, others are searched for as the system says.
        let Ok(mut parsed) = Name::from_ascii(name) else { return Ok(none) };
        if name.trim_end_matches('.').contains('.') {
            parsed.set_fqdn(true);
        }
        match self.resolver.lookup(parsed, kind).await {
            Ok(found) => {
                let ttl = found.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
                let records = found.answers().iter().filter_map(|record| read(&record.data)).collect();
                Ok(Answer { records, ttl: Duration::from_secs(u64::from(ttl)) })
            }
            Err(error) if error.is_no_records_found() => Ok(none),
            Err(error) => {
                tracing::debug!(%name, %kind, %error, "a name cannot be looked up");
                Err(Failed)
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A name as it is asked for; empty for the root.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

impl Records for Dns {
    fn own(&self, name: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_ascii(name.to_ascii_lowercase()) else { return Vec::new() };
        let found = [RecordType::A, RecordType::AAAA]
            .map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)));
        let records = found.iter().flatten().flat_map(|found| found.answers());
        records.filter_map(|record| record.data.ip_addr()).collect()
    }

    async fn naptr(&self, name: &str) -> Told<Naptr> {
        let read = |data: &RData| match data {
            RData::NAPTR(it) => Some(Naptr {
                order: it.order,
                preference: it.preference,
                flags: text(&it.flags),
                services: text(&it.services),
                regexp: text(&it.regexp),
                replacement: plain(&it.replacement),
            }),
            _ => None,
        };
        self.ask(name, RecordType::NAPTR, read).await
    }

    async fn srv(&self, name: &str) -> Told<Srv> {
        let read = |data: &RData| match data {
            RData::SRV(it) => {
                Some(Srv { priority: it.priority, weight: it.weight, port: it.port, target: plain(&it.target) })
            }
            _ => None,
        };
        self.ask(name, RecordType::SRV, read).await
    }

    async fn v4(&self, name: &str) -> Told<IpAddr> {
        self.ask(name, RecordType::A, RData::ip_addr).await
    }

    async fn v6(&self, name: &str) -> Told<IpAddr> {
        self.ask(name, RecordType::AAAA, RData::ip_addr).await
    }
}
