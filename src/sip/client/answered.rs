//! Requests that were answered a moment ago, so that a retransmission meets the same answer and has no second effect
//! (RFC 3261 section 17.2.2).

use bytes::Bytes;
use lamplighter_model::{Flow, Time};
use std::collections::VecDeque;

/// At most this many; beyond, the oldest is forgotten, and its retransmission would be refused by its CSeq.
const MOST: usize = 256;

/// Fingerprints of requests, with their answers.
#[derive(Debug, Default)]
pub struct Answered {
    /// In the order of `until`.
    all: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    until: Time,
    request: u128,
    flow: Flow,
    answer: Bytes,
}

impl Answered {
    /// The answer that this request was given.
    pub fn find(&mut self, now: Time, request: u128) -> Option<(Flow, Bytes)> {
        while self.all.front().is_some_and(|oldest| oldest.until <= now) {
            self.all.pop_front();
        }
        let entry = self.all.iter().rev().find(|entry| entry.request == request)?;
        Some((entry.flow, entry.answer.clone()))
    }

    /// The request has been answered; the answer is kept for Timer J. `until` never goes back from call to call.
    pub fn keep(&mut self, until: Time, request: u128, flow: Flow, answer: Bytes) {
        if self.all.len() == MOST {
            self.all.pop_front();
        }
        self.all.push_back(Entry { until, request, flow, answer });
    }
}
