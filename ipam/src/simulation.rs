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
use std::thread;

use world::{Counts, World};

const SEEDS: u64 = 200;
const THREADS: u64 = 4;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs one seed; the failure, if there is one.
fn run(seed: u64, traced: bool) -> Result<Counts, String> {
    let mut world = World::new(seed);
    world.traced = traced;
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    if traced {
        world.print_trace();
    }
    match outcome {
        Ok(Ok(())) => Ok(world.counts),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err("it panicked".to_owned()),
    }
}

#[test]
fn no_address_is_given_twice_or_lost_whatever_fails() {
    if let Some(seed) = env("CARACAL_SEED") {
        run(seed, true).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        return;
    }
    let seeds = env("CARACAL_SEEDS").unwrap_or(SEEDS);
    let part = |first: u64| -> Result<Counts, (u64, String)> {
        let mut all = Counts::default();
        for seed in (first..seeds).step_by(usize::try_from(THREADS).unwrap()) {
            all.add(&run(seed, false).map_err(|failure| (seed, failure))?);
        }
        Ok(all)
    };
    let parts: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..THREADS).map(|first| scope.spawn(move || part(first))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all = Counts::default();
    for part in parts {
        match part {
            Ok(counts) => all.add(&counts),
            Err((seed, failure)) => {
                drop(run(seed, true));
                panic!(
                    "seed {seed}: {failure}\nits last steps are above; repeat it with CARACAL_SEED={seed}"
                );
            }
        }
    }
    eprintln!("{} steps, {} grants, {} claims, {} crashes", all.steps, all.grants, all.claims, all.crashes);
    assert!(
        all.grants > 50 * seeds && all.claims > 5 * seeds && all.crashes > 2 * seeds,
        "too little happened"
    );
}
