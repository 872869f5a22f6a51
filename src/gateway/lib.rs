//! The gateway: command line, configuration, and the wiring of shards and adapters.

pub mod cli;
pub mod config;
pub mod demo;
pub mod driver;
pub mod logs;
pub mod metrics;
pub mod names;
pub mod remote;
pub mod run;
pub mod steering;
