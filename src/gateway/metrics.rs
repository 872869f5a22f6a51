//! The metrics page: Prometheus text of what all shards count, and of the process.

use lamplighter_model::counters::{Counter, Counters, Gauge};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the metrics page is written from.
#[derive(Clone, Debug)]
pub struct Metrics {
    shards: Arc<[Arc<Counters>]>,
    started: Duration,
}

impl Metrics {
    /// `shards` are the counters of each shard, `started` is when the process began.
    pub fn new(shards: impl IntoIterator<Item = Arc<Counters>>, started: SystemTime) -> Self {
        let started = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { shards: shards.into_iter().collect(), started }
    }

    /// Appends everything, in the text format 0.0.4.
    pub fn write(&self, out: &mut String) {
        let mut page = Page { text: out, last: "" };
        for counter in Counter::ALL {
            let sum: u64 = self.shards.iter().map(|shard| shard.get(*counter)).sum();
            page.add("counter", counter.name(), counter.help(), sum);
        }
        for gauge in Gauge::ALL {
            let sum: u64 = self.shards.iter().map(|shard| shard.gauge(*gauge)).sum();
            page.add("gauge", gauge.name(), gauge.help(), sum);
        }
        page.add("gauge", "shards", "Shards that share the work.", self.shards.len());
        let info = concat!("lamplighter_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
        page.add("gauge", info, "The version that runs.", 1);
        let started = format!("{:.3}", self.started.as_secs_f64());
        page.add("gauge", "process_start_time_seconds", "When the process began, since the epoch.", started);
        if let Some(process) = Process::read() {
            let cpu = format!("{:.2}", process.cpu.as_secs_f64());
            page.add("counter", "process_cpu_seconds_total", "Processor time used.", cpu);
            page.add("gauge", "process_resident_memory_bytes", "Memory in use.", process.resident_bytes);
        }
    }
}

/// A page in the making.
struct Page<'a> {
    text: &'a mut String,
    last: &'a str,
}

impl<'a> Page<'a> {
    /// One sample. `name` may have labels; samples of one name stand together under one heading.
    fn add(&mut self, kind: &str, name: &'a str, help: &str, value: impl std::fmt::Display) {
        let family = name.split('{').next().unwrap_or(name);
        if family != self.last {
            self.last = family;
            let _ = writeln!(self.text, "# HELP {family} {}\n# TYPE {family} {kind}", help.trim());
        }
        let _ = writeln!(self.text, "{name} {value}");
    }
}

/// What the kernel says about this process.
struct Process {
    cpu: Duration,
    resident_bytes: u64,
}

impl Process {
    fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// From `/proc/self/stat`, whose second field may hold anything up to the last bracket.
    fn parse(stat: &str) -> Option<Self> {
        let ticks_a_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
        let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
        let (_, rest) = stat.rsplit_once(')')?;
        // The third field comes first here; `utime` is the 14th, `stime` the 15th, `rss` the 24th.
        let field = |number: usize| rest.split_whitespace().nth(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)? + field(15)?;
        Some(Self {
            cpu: Duration::from_secs_f64(ticks as f64 / ticks_a_second as f64),
            resident_bytes: field(24)? * u64::try_from(page_bytes).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn page(metrics: &Metrics) -> String {
        let mut text = String::new();
        metrics.write(&mut text);
        text
    }

    #[test]
    fn shards_are_summed() {
        let shards = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        shards[0].add(Counter::Notified, 2);
        shards[1].add(Counter::Notified, 3);
        shards[1].set(Gauge::Subscriptions, 7);
        let text = page(&Metrics::new(shards, UNIX_EPOCH + Duration::from_millis(1500)));
        assert!(text.contains(
            "# HELP sip_notify_sent_total NOTIFY requests sent for the first time.\n\
             # TYPE sip_notify_sent_total counter\nsip_notify_sent_total 5\n"
        ));
        assert!(text.contains("# TYPE sip_subscriptions gauge\nsip_subscriptions 7\n"), "{text}");
        assert!(text.contains("\nshards 2\n"));
        assert!(text.contains("\nprocess_start_time_seconds 1.500\n"));
    }

    #[test]
    fn the_page_is_well_formed() {
        let text = page(&Metrics::new([Arc::new(Counters::default())], UNIX_EPOCH));
        let mut names = HashSet::new();
        let mut families = HashSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(rest.split(' ').next().unwrap()), "{line}");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(families.contains(name.split('{').next().unwrap()), "{line}");
                assert!(names.insert(name), "{line}");
            }
        }
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn processor_time_and_memory_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 100 1000000 25 18446744073709551615";
        let process = Process::parse(stat).unwrap();
        assert_eq!(process.cpu, Duration::from_secs(2));
        assert!(process.resident_bytes >= 25 * 4096 && process.resident_bytes.is_multiple_of(25));
        assert!(Process::parse("").is_none());
        assert!(Process::read().unwrap().resident_bytes > 0);
    }
}
