//! The user agent side: requests that we start ourselves, and what comes back.
//!
//! - `compose` writes requests; rsip is named there and nowhere else but where headers are put together.
//! - `transaction` repeats and gives up (RFC 3261 section 17.1.2).
//! - `subscriber` keeps one subscription alive (RFC 6665), `publisher` one publication (RFC 3903).
//! - [`Agent`] is a user agent made of these, as a pure machine: it is told the time and what arrived, and says what
//!   to send and what it has learned.

mod agent;
mod answered;
mod compose;
mod publisher;
mod subscriber;
mod transaction;

pub use agent::{Agent, Cause, Event, Input, Output, PublicationId, Settings, SubscriptionId};
pub use publisher::Record;
pub use subscriber::{Notification, Order, Standing, Watch};
