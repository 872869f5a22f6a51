//! The user agent side: requests that we start ourselves, and what comes back.
//!
//! - `compose` writes requests, `transaction` repeats and gives up (RFC 3261 section 17.1.2), `hop` knows where they
//!   go and which servers work (RFC 3263).
//! - `subscriber` keeps one subscription alive (RFC 6665), with its `dialog` and what a `notification` says;
//!   `publisher` keeps one publication (RFC 3903).
//! - `standing` is what a restart needs of them, `fields` how it is written.
//! - [`Agent`] is a user agent made of these, as a pure machine: it is told the time and what arrived, and says what
//!   to send and what it has learned.

mod agent;
mod compose;
mod dialog;
mod event;
pub mod fields;
mod hop;
mod notification;
mod publisher;
mod settings;
mod standing;
mod subscriber;
mod table;
mod transaction;

pub use agent::{Agent, is_ours};
pub use compose::{Body, Extra};
pub use event::{Cause, Event, Input, Output, PublicationId, Row, State, SubscriptionId, Totals, Usage};
pub use notification::{MOST_PARTS, Notification, Order, Standing, root_attribute};
pub use settings::{Local, Pace, Record, Settings, Target, Watch};
pub use standing::{DialogStanding, PublicationStanding, Standing as Saved};
