//! Many nodes against a model of the API server, with everything that can go wrong injected by chance.
//!
//! Each run is decided by its seed: requests arrive late, twice out of order, or after the client gave up on them;
//! replies are lost; the watch lags; agents crash between any two steps and recover from what their disk kept; machines
//! reboot; nodes are replaced under their name; the API server goes away. After every step the invariants of
//! [`check`] hold. At the end everything heals, all pods stop, and nothing may be lost.
//!
//! `CARACAL_SEED=n cargo test -p caracal-ipam simulation` runs one seed and prints its last steps;
//! `CARACAL_SEEDS=n` sets how many are run.

mod check;
mod clock;
mod directed;
mod node;
mod pools;
mod store;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

const SEEDS: u64 = 50;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn no_address_is_given_twice_or_lost_whatever_fails() {
    let only = env("CARACAL_SEED");
    let seeds = only.map_or(0..env("CARACAL_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let (mut grants, mut claims, mut crashes) = (0, 0, 0);
    for seed in seeds {
        let mut world = World::new(seed);
        let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_) => Some("it panicked".to_owned()),
        };
        if only.is_some() || failure.is_some() {
            world.print_trace();
        }
        if let Some(failure) = failure {
            panic!("seed {seed}: {failure}\nrepeat it with CARACAL_SEED={seed}");
        }
        grants += world.counts.grants;
        claims += world.counts.claims;
        crashes += world.counts.crashes;
    }
    if only.is_none() {
        assert!(
            grants > 1000 && claims > 100 && crashes > 100,
            "{grants} grants, {claims} claims, {crashes} crashes"
        );
    }
}
