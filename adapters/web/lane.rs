//! Frames of changes, encoded once for all connections with the same scope.

use crate::app::wall;
use crate::metrics::{DELAYS, Metrics};
use axum::extract::ws::Utf8Bytes;
use lamplighter_model::{Time, View};
use lamplighter_port::{Item, Port, Scope};
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A frame ends soon after this many bytes. Small, for a connection keeps a buffer of the largest it has sent.
const FRAME: usize = 16 * 1024;
/// Items looked at for one frame.
const ITEMS: usize = 250;
/// Frames remembered.
const KEPT: usize = 4;
/// How long a frame is handed to others with the same cursor; and the longest that those who share it trail behind.
const FRESH: Duration = Duration::from_millis(10);

/// All connections that watch the same.
pub(crate) struct Lane {
    pub scope: Scope,
    frames: Mutex<VecDeque<(Instant, Frame)>>,
}

/// What has changed in scope since a cursor.
#[derive(Clone)]
pub(crate) struct Frame {
    from: u64,
    /// The cursor after it.
    pub to: u64,
    /// There was more than fits.
    pub more: bool,
    pub items: usize,
    /// When the oldest of the changes was made.
    pub oldest: Time,
    /// An `upd` frame; empty without items.
    pub text: Utf8Bytes,
}

impl Lane {
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope, frames: Mutex::default() }
    }

    /// What has changed since `from`; `None`: something that is gone since then has been forgotten, begin afresh.
    pub(crate) fn since(&self, port: &Port, from: u64, metrics: &Metrics) -> Option<Frame> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while frames.front().is_some_and(|(made, _)| now - *made > FRESH) {
            frames.pop_front();
        }
        if let Some((_, frame)) = frames.iter().find(|(_, frame)| frame.from == from && frame.to > from) {
            metrics.shared.fetch_add(1, Ordering::Relaxed);
            return Some(frame.clone());
        }
        // Whoever comes from elsewhere goes where the others are, and shares the next.
        let upto = frames.back().map(|(_, frame)| frame.to).filter(|to| *to > from).unwrap_or(u64::MAX);
        let frame = encode(port, &self.scope, from, upto)?;
        metrics.encoded.fetch_add(1, Ordering::Relaxed);
        if frames.len() == KEPT {
            frames.pop_front();
        }
        frames.push_back((now, frame.clone()));
        Some(frame)
    }
}

/// The changes in `scope` with `from < rev <= upto`, as many as fit.
pub(crate) fn encode(port: &Port, scope: &Scope, from: u64, upto: u64) -> Option<Frame> {
    let mut items = Vec::new();
    let mut cursor = port.between(from, upto, scope, ITEMS, &mut items);
    if !port.can_resume(port.epoch(), from) {
        return None;
    }
    if items.is_empty() {
        let oldest = Time::default();
        return Some(Frame { from, to: cursor.rev, more: cursor.more, items: 0, oldest, text: Utf8Bytes::default() });
    }
    let mut text = String::from("{\"t\":\"upd\",\"items\":[");
    let taken = push_items(&mut text, port, &items);
    if taken < items.len() {
        cursor.rev = items[taken - 1].rev;
        cursor.more = true;
    }
    let _ = write!(text, "],\"cursor\":\"{}.{}\"}}", port.epoch(), cursor.rev);
    let oldest = items[..taken].iter().map(|item| item.at).min().unwrap_or_default();
    Some(Frame { from, to: cursor.rev, more: cursor.more, items: taken, oldest, text: text.into() })
}

/// Appends items, separated by commas, until the frame is full; says how many, at least one.
pub(crate) fn push_items(text: &mut String, port: &Port, items: &[Arc<Item>]) -> usize {
    for (index, item) in items.iter().enumerate() {
        let json = item.json(port.packages(), View::Full);
        if index > 0 {
            if text.len() + json.len() > FRAME {
                return index;
            }
            text.push(',');
        }
        text.push_str(json);
    }
    items.len()
}

/// Counts how long the oldest change of a frame took to the socket.
pub(crate) fn observe(frame: &Frame, metrics: &Metrics) {
    let took = wall().as_micros() as u64;
    metrics.bus_to_socket.observe(took.saturating_sub(frame.oldest.as_micros()), &DELAYS);
    metrics.items_per_frame.observe(frame.items as u64, &crate::metrics::SIZES);
}
