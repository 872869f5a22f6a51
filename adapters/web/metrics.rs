//! What the feed and the HTTP API count, in the text format of Prometheus.

use lamplighter_model::remote::RemoteTotal;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Appends what the machine that talks to other servers counts.
pub(crate) fn write_totals(totals: &[RemoteTotal], out: &mut String) {
    let mut last = "";
    for RemoteTotal { name, help, counter, value } in totals {
        let family = name.split('{').next().unwrap_or(name);
        if family != last {
            last = family;
            let kind = if *counter { "counter" } else { "gauge" };
            let _ = write!(out, "# HELP {family} {help}\n# TYPE {family} {kind}\n");
        }
        let _ = writeln!(out, "{name} {value}");
    }
}

#[derive(Default)]
pub(crate) struct Metrics {
    pub auth: crate::auth::Reasons,
    pub connected: AtomicU64,
    pub subscriptions: AtomicU64,
    pub items: AtomicU64,
    pub frames: AtomicU64,
    pub bytes: AtomicU64,
    pub slow: AtomicU64,
    pub connect_ok: AtomicU64,
    pub connect_refused: AtomicU64,
    pub resumed: AtomicU64,
    pub resume_refused: AtomicU64,
    pub resets: AtomicU64,
    pub conflated: AtomicU64,
    pub limited: AtomicU64,
    pub events: AtomicU64,
    pub encoded: AtomicU64,
    pub shared: AtomicU64,
    pub items_per_frame: Histogram<8>,
    pub bus_to_socket: Histogram<10>,
    pub flush: Histogram<10>,
    pub http_seconds: Histogram<10>,
    requests: Mutex<BTreeMap<(String, u16), u64>>,
}

/// Counts in buckets; bounds are whole numbers of the unit.
pub(crate) struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    sum: AtomicU64,
    count: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; N], sum: AtomicU64::new(0), count: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts a value against upper bounds that `bounds` lists in rising order.
    pub(crate) fn observe(&self, value: u64, bounds: &[u64; N]) {
        if let Some(at) = bounds.iter().position(|bound| value <= *bound) {
            self.buckets[at].fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, help: &str, bounds: &[u64; N], unit: f64) {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} histogram\n");
        let mut below = 0;
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            below += bucket.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", *bound as f64 * unit);
        }
        let (sum, count) = (self.sum.load(Relaxed) as f64 * unit, self.count.load(Relaxed));
        let _ = write!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}\n");
    }
}

/// Items in a frame.
pub(crate) const SIZES: [u64; 8] = [1, 2, 5, 10, 20, 50, 100, 250];
/// Microseconds.
pub(crate) const DELAYS: [u64; 10] = [500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 1_000_000, 10_000_000];

impl Metrics {
    pub(crate) fn request(&self, route: &str, status: u16, took: Duration) {
        self.http_seconds.observe(took.as_micros() as u64, &DELAYS);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route.into(), status)).or_default() += 1;
    }

    /// Appends everything; `lag` is how many revisions the slowest feed client is behind.
    pub(crate) fn write(&self, out: &mut String, lag: u64) {
        let mut one = |name: &str, kind: &str, help: &str, values: &[(&str, &AtomicU64)]| {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for (labels, value) in values {
                let _ = writeln!(out, "{name}{labels} {}", value.load(Relaxed));
            }
        };
        one("ws_connections", "gauge", "Feed connections.", &[("", &self.connected)]);
        one("ws_subscriptions", "gauge", "Subscriptions of feed connections.", &[("", &self.subscriptions)]);
        one("sse_connections", "gauge", "Streams of server-sent events.", &[("", &self.events)]);
        let results = [
            ("{result=\"ok\"}", &self.connect_ok),
            ("{result=\"refused\"}", &self.connect_refused),
            ("{result=\"limited\"}", &self.limited),
        ];
        one("ws_connect_total", "counter", "Feed connections, by what became of hello.", &results);
        one("feed_items_sent_total", "counter", "States sent.", &[("", &self.items)]);
        one("feed_frames_sent_total", "counter", "Frames sent.", &[("", &self.frames)]);
        one("feed_bytes_total", "counter", "Bytes of frames sent.", &[("", &self.bytes)]);
        one("feed_frames_encoded_total", "counter", "Frames with changes that were encoded.", &[("", &self.encoded)]);
        one(
            "feed_frames_shared_total",
            "counter",
            "Frames with changes that another had encoded.",
            &[("", &self.shared)],
        );
        let help = "States sent that stand for several changes since the client's cursor.";
        one("feed_conflated_total", "counter", help, &[("", &self.conflated)]);
        one("feed_slow_closed_total", "counter", "Connections closed because they took nothing.", &[("", &self.slow)]);
        one("feed_reset_total", "counter", "Subscriptions that fell behind and began afresh.", &[("", &self.resets)]);
        let results = [("{result=\"resumed\"}", &self.resumed), ("{result=\"afresh\"}", &self.resume_refused)];
        one("resume_total", "counter", "Subscriptions with a cursor, by whether it could be used.", &results);
        let lag = AtomicU64::new(lag);
        one("feed_cursor_lag_revs", "gauge", "Revisions that the slowest feed client is behind.", &[("", &lag)]);
        self.items_per_frame.write(out, "feed_items_per_frame", "Changed states in a frame.", &SIZES, 1.0);
        let help = "From a change in the bus to the socket, for the oldest change of a frame.";
        self.bus_to_socket.write(out, "bus_to_socket_seconds", help, &DELAYS, 1e-6);
        self.flush.write(out, "feed_flush_seconds", "Time to hand one flush to the socket.", &DELAYS, 1e-6);
        self.http_seconds.write(out, "http_request_seconds", "Time to answer a request.", &DELAYS, 1e-6);
        self.auth.write(out);
        let _ = write!(out, "# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n");
        for ((route, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "http_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
    }
}
