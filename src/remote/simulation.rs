//! The machine in simulated time, between a server that lies, sleeps, forgets and shouts, shards that are slow or
//! refuse, and a kill at any moment. Afterwards the server behaves, and then everything must be right without help.
//!
//! A failing seed is printed; `SIMULATION_SEED=n cargo test -p lamplighter-remote simulation` replays it alone,
//! `SIMULATION_RUNS=n` runs more of them.

mod server;
mod world;

use std::time::Duration;
use world::{Faults, World};

fn run(seed: u64, faults: Faults) {
    let mut world = World::new(seed, faults);
    world.run_for(Duration::from_secs(3600));
    world.calm();
    // A server may have asked for an hour of patience, and a quarter more is ours.
    world.run_for(Duration::from_secs(5400));
    world.hush();
    // What was forgotten there runs out, what is retried late comes back.
    world.run_for(Duration::from_secs(1800));
    world.check_truth();
    world.go_home();
    world.run_for(Duration::from_secs(7200));
    world.check_nothing_is_left();
}

fn runs(name: &str, default: u64, faults: Faults) {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SIMULATION_RUNS").unwrap_or(default)).collect(),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed, faults)) {
            println!("{name}: SIMULATION_SEED={seed} fails");
            std::panic::resume_unwind(panic);
        }
    }
}

/// PU-01, QS-11: a network that loses, doubles and reorders, and a server that behaves.
#[test]
fn everything_is_right_after_loss() {
    runs("loss", 2, Faults { loss: 15, duplicates: 10, delay: Duration::from_millis(700), ..Faults::default() });
}

/// QS-05, QS-12, PU-02, PU-03: a server that does whatever it likes.
#[test]
fn everything_is_right_after_a_server_that_lies_and_flaps() {
    runs("liar", 4, Faults { moods: true, ..Faults::default() });
}

/// PU-04, HA-01: killed and stopped at any moment.
#[test]
fn everything_is_right_after_kills() {
    runs("kills", 4, Faults { restarts: 30, ..Faults::default() });
}

/// All of it at once, with shards that are busy or refuse.
#[test]
fn everything_is_right_after_everything_at_once() {
    let faults =
        Faults { loss: 8, duplicates: 8, delay: Duration::from_millis(300), moods: true, restarts: 30, refusals: 10 };
    runs("everything", 6, faults);
}
