//! Many nodes against a model of the API server, with everything that can go wrong injected by chance.
//!
//! Each run is decided by its seed ([`plan`]): requests arrive late, twice out of order, or after the client gave up on
//! them; replies are lost; the watch lags and repeats itself; agents crash between any two steps and recover from what
//! their disk kept; machines reboot; nodes are removed and replaced under their name, also while the old machine runs on;
//! nodes are cut off for shorter and longer than every limit; the API server goes away, and may come back with an old
//! backup; blocks are deleted by hand, pools and settings change. After every step the invariants of [`check`] hold. At
//! the end everything heals, all pods stop, and nothing may be lost.
//!
//! ```text
//! cargo test -p caracal-ipam simulation                        ten thousand seeds
//! CARACAL_SEEDS=20000 cargo test -p caracal-ipam whatever      more
//! CARACAL_SEED=7 cargo test -p caracal-ipam whatever           one, with its last steps (CARACAL_TRACE: how many)
//! ```
//!
//! A failure is shrunk: the message ends with the environment that repeats it with fewer nodes, a shorter time and fewer
//! kinds of fault. `CARACAL_SHRINK` says how many runs that may cost.

mod check;
mod clock;
mod directed;
mod node;
mod plan;
mod pools;
mod store;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use plan::Plan;
use world::{Counts, World};

const SEEDS: u64 = 10_000;
const THREADS: u64 = 2;
/// Runs that shrinking may cost.
const MOST_SHRINKING: u32 = 300;
/// Steps of a single run that are printed, from its end.
const TRACED: u64 = 400;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs one plan, and prints so many of its last steps; the failure, if there is one.
fn run(plan: &Plan, traced: usize) -> Result<Counts, String> {
    let mut world = World::new(plan);
    world.traced = traced;
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    world.print_trace();
    match outcome {
        Ok(Ok(())) => Ok(world.counts),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err("it panicked".to_owned()),
    }
}

#[test]
fn no_address_is_given_twice_or_lost_whatever_fails() {
    if let Some(seed) = env("CARACAL_SEED") {
        let plan = Plan::of_environment(seed);
        let traced = usize::try_from(env("CARACAL_TRACE").unwrap_or(TRACED)).unwrap();
        eprintln!("{plan:?}");
        run(&plan, traced).unwrap_or_else(|failure| panic!("{plan}: {failure}"));
        return;
    }
    let first = env("CARACAL_FIRST").unwrap_or(0);
    let seeds = env("CARACAL_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let part = || -> Result<Counts, (u64, String)> {
        let mut all = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds || failed.load(Ordering::Relaxed) {
                return Ok(all);
            }
            all.add(&run(&Plan::of(seed), 0).map_err(|failure| {
                failed.store(true, Ordering::Relaxed);
                (seed, failure)
            })?);
        }
    };
    let parts: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..THREADS).map(|_| scope.spawn(part)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all = Counts::default();
    for part in parts {
        match part {
            Ok(counts) => all.add(&counts),
            Err((seed, failure)) => {
                let tries =
                    env("CARACAL_SHRINK").and_then(|n| u32::try_from(n).ok()).unwrap_or(MOST_SHRINKING);
                let least = Plan::of(seed).shrunk(|plan| run(plan, 0).is_err(), tries);
                let least_failure = run(&least, 0).err().unwrap_or_default();
                panic!("seed {seed}: {failure}\nshrunk to {least}: {least_failure}");
            }
        }
    }
    eprintln!("{seeds} seeds: {all:?}");
    assert!(
        all.grants > 20 * seeds && all.claims > 5 * seeds && all.crashes > seeds / 2,
        "too little happened"
    );
    assert!(
        seeds < 200 || (all.borrowed > 0 && all.collected > 0 && all.kept_off > 0 && all.fenced > 0),
        "something never happened: {all:?}"
    );
}
