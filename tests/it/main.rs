//! Whole-gateway stories: the built `lamplighter` on real loopback sockets, told through a phone, a browser's feed and
//! the command line.
//!
//! The phone here is written by hand and shares nothing with `src/sip`, so that the two check each other. Each story
//! names the rows of the feature list that it shows, like DI-01.
#![allow(clippy::disallowed_methods, reason = "these tests drive real sockets and processes in real time")]
#![allow(clippy::print_stderr, reason = "what a gateway logged is shown when its story fails")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod crash;
mod dialog;
mod feed;
mod gateway;
mod hostile;
mod operation;
mod phone;
mod presence;
mod publish;
mod remote;
mod remote_feed;
mod robust;
mod server;
mod store;
mod tidy;
mod transport;
mod voicemail;
