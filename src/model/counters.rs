//! Counters that one shard writes and the metrics page reads. Each has a single writer, so that counting costs no
//! locked instruction.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($(#[doc = $doc:literal] $variant:ident = $name:literal,)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Counter { $(#[doc = $doc] $variant,)* }

        impl Counter {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name on the metrics page, with labels.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One line of help for the metrics page.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

counters! {
    /// Messages taken in.
    Received = "sip_messages_received_total",
    /// Messages that were no SIP, or could not be answered, and were dropped.
    Dropped = "sip_messages_dropped_total",
    /// Retransmitted requests that were absorbed.
    Absorbed = "sip_retransmissions_absorbed_total",
    /// Requests answered 4xx, 5xx or 6xx.
    Refused = "sip_requests_refused_total",
    /// Requests answered 503 because the shard was behind.
    Overload = "sip_requests_refused_overload_total",
    /// SUBSCRIBE requests accepted.
    Subscribed = "sip_subscribe_accepted_total",
    /// PUBLISH requests accepted.
    Published = "sip_publish_accepted_total",
    /// NOTIFY requests sent for the first time.
    Notified = "sip_notify_sent_total",
    /// NOTIFY requests sent again.
    NotifyRetransmitted = "sip_notify_retransmitted_total",
    /// NOTIFY requests that nobody answered in time.
    NotifyTimeout = "sip_notify_timeout_total",
    /// NOTIFY requests answered with an error.
    NotifyFailed = "sip_notify_failed_total",
    /// State changes merged into a newer one because a NOTIFY was in flight.
    NotifyCoalesced = "sip_notify_coalesced_total",
    /// NOTIFY requests over UDP above 1300 bytes.
    NotifyFragmented = "sip_notify_fragmented_total",
    /// Subscriptions replaced by a new one of the same device.
    SubscriptionReplaced = "sip_subscription_replaced_total",
    /// Subscriptions that ended because their watcher was gone.
    SubscriptionLost = "sip_subscription_lost_total",
    /// State changes.
    Changed = "bus_changes_total",
    /// Publications that changed nothing.
    Unchanged = "bus_unchanged_total",
    /// Publications that ended because their lease ran out.
    Expired = "bus_publications_expired_total",
    /// Responses that fit no transaction of ours.
    StrayResponse = "sip_responses_stray_total",
    /// Datagrams handed on to the shard that they belong to.
    Forwarded = "sip_forwarded_total",
    /// Datagrams dropped because the ring of the shard that they belong to was full.
    ForwardDropped = "sip_forward_dropped_total",
    /// Datagrams that the kernel refused to send.
    SendFailed = "sip_send_failed_total",
    /// Times that a send buffer was full.
    SendFull = "sip_send_full_total",
    /// Requests answered 503 because the store failed or took too long.
    Unsaved = "sip_requests_refused_store_total",
    /// Subscriptions taken back from the store at the start.
    SubscriptionRestored = "sip_subscription_restored_total",
    /// Publications taken back from the store at the start.
    PublicationRestored = "bus_publications_restored_total",
    /// Host names that could not be looked up because too many were.
    ResolverFull = "sip_resolver_full_total",
}

/// Gauges that a shard sets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gauge {
    /// Live subscriptions.
    Subscriptions,
    /// Live publications.
    Publications,
    /// Presentities with a publication or a watcher.
    Resources,
    /// Server transactions remembered.
    Transactions,
}

impl Gauge {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Subscriptions, Self::Publications, Self::Resources, Self::Transactions];

    /// Its name on the metrics page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscriptions => "sip_subscriptions",
            Self::Publications => "bus_publications",
            Self::Resources => "bus_resources",
            Self::Transactions => "sip_server_transactions",
        }
    }

    /// One line of help for the metrics page.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Subscriptions => "Live subscriptions.",
            Self::Publications => "Live publications.",
            Self::Resources => "Presentities with a publication or a watcher.",
            Self::Transactions => "Server transactions remembered.",
        }
    }
}

/// The counters and gauges of one shard.
#[derive(Debug)]
pub struct Counters {
    counts: [AtomicU64; Counter::ALL.len()],
    gauges: [AtomicU64; Gauge::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; _], gauges: [const { AtomicU64::new(0) }; _] }
    }
}

impl Counters {
    /// Counts one. Only the shard that owns the counters may call it.
    pub fn count(&self, what: Counter) {
        self.add(what, 1);
    }

    /// Counts several. Only the shard that owns the counters may call it.
    pub fn add(&self, what: Counter, n: u64) {
        let cell = &self.counts[what as usize];
        cell.store(cell.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// What has been counted.
    pub fn get(&self, what: Counter) -> u64 {
        self.counts[what as usize].load(Ordering::Relaxed)
    }

    /// Sets a gauge. Only the shard that owns the counters may call it.
    pub fn set(&self, what: Gauge, value: usize) {
        self.gauges[what as usize].store(value as u64, Ordering::Relaxed);
    }

    /// What a gauge says.
    pub fn gauge(&self, what: Gauge) -> u64 {
        self.gauges[what as usize].load(Ordering::Relaxed)
    }
}
