//! What happened in the last hour: samples of chosen metrics, in a ring.

use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The time between two samples.
pub(crate) const EVERY: Duration = Duration::from_secs(10);
/// Samples kept: an hour.
const KEPT: usize = 360;

/// What is sampled: counters and gauges of the metrics page, all labels together. One that the page does not have (of
/// an adapter that is not there) has no values.
const NAMES: [&str; 24] = [
    "sip_messages_received_total",
    "sip_requests_refused_total",
    "sip_requests_refused_overload_total",
    "sip_subscribe_accepted_total",
    "sip_publish_accepted_total",
    "sip_notify_sent_total",
    "sip_notify_retransmitted_total",
    "sip_notify_timeout_total",
    "sip_subscriptions",
    "bus_publications",
    "bus_resources",
    "bus_changes_total",
    "remote_subscriptions",
    "remote_publications",
    "remote_requests_sent_total",
    "remote_timeouts_total",
    "ws_connections",
    "ws_subscriptions",
    "feed_items_sent_total",
    "feed_conflated_total",
    "feed_cursor_lag_revs",
    "http_requests_total",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
];

/// The ring.
#[derive(Default)]
pub(crate) struct Rates(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    /// When the newest was taken, milliseconds since the epoch.
    at: u64,
    samples: VecDeque<[Option<f64>; NAMES.len()]>,
}

impl Rates {
    /// Takes a sample from the metrics page.
    pub(crate) fn take(&self, page: &str, at: u64) {
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let bare = name.split('{').next().unwrap_or(name);
            if NAMES.contains(&bare)
                && let Ok(value) = value.parse::<f64>()
            {
                *sums.entry(bare).or_default() += value;
            }
        }
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.at = at;
        if ring.samples.len() == KEPT {
            ring.samples.pop_front();
        }
        ring.samples.push_back(NAMES.map(|name| sums.get(name).copied()));
    }

    /// All of it, oldest first.
    pub(crate) fn json(&self) -> Value {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let series = NAMES.iter().enumerate().map(|(index, name)| {
            let values: Vec<_> = ring.samples.iter().map(|sample| sample[index]).collect();
            ((*name).to_owned(), json!(values))
        });
        let series: serde_json::Map<_, _> = series.collect();
        json!({ "every_s": EVERY.as_secs(), "at": ring.at, "series": series })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_summed_and_an_hour_is_kept() {
        let rates = Rates::default();
        for sample in 0..=KEPT {
            let page = format!(
                "# TYPE x counter\nhttp_requests_total{{route=\"/a b\",status=\"200\"}} {sample}\n\
                 http_requests_total{{route=\"/c\",status=\"404\"}} 1\nws_connections 2\nother 7\n"
            );
            rates.take(&page, 1000 * sample as u64);
        }
        let all = rates.json();
        assert_eq!((&all["every_s"], &all["at"]), (&json!(10), &json!(360_000)));
        let requests = all["series"]["http_requests_total"].as_array().unwrap();
        assert_eq!((requests.len(), &requests[0], &requests[359]), (360, &json!(2.0), &json!(361.0)));
        assert_eq!(all["series"]["ws_connections"][0], json!(2.0));
        assert_eq!(all["series"]["bus_resources"][0], Value::Null);
        assert!(all["series"].get("other").is_none());
    }
}
