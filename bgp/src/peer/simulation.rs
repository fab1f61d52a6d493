//! Two machines, a link between them that loses, delays, half-closes and stalls, and virtual time: whatever the link
//! does, when it stops doing it the two must soon hold exactly one connection between them and know each other's
//! routes, and no route may outlive the session it was learnt on.
//!
//! A seed decides everything. A failure names its seed, and `CARACAL_SEED=…` runs that one alone; `CARACAL_SEEDS=…` sets
//! how many are tried.

use std::time::Duration;

mod link;
mod world;

use world::{RESTART_TIME, World};

/// Runs `story` with every seed; the worlds' own assertions are told with theirs.
fn for_every_seed(count: u64, story: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number as CARACAL_SEED or CARACAL_SEEDS"))
    };
    let seeds = match number("CARACAL_SEED") {
        Some(only) => only..only + 1,
        None => 0..number("CARACAL_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        if let Err(failure) = std::panic::catch_unwind(|| story(seed)) {
            eprintln!("this was CARACAL_SEED={seed}");
            std::panic::resume_unwind(failure);
        }
    }
}

#[test]
fn two_speakers_that_dial_at_once_settle_on_one_connection() {
    for_every_seed(1500, |seed| {
        let mut world = World::new(seed, Duration::ZERO);
        world.begin();
        let limit = world.start + Duration::from_secs(20);
        assert!(world.run_until_settled(limit), "seed {seed}: {}", world.show());
        // It stays so: nothing is left that could end it.
        let until = world.now + Duration::from_secs(600);
        let ups = world.ups;
        while world.now < until {
            world.step();
            // A dial that was given up may still be accepted at the far end, and end there: the session stands.
            assert!(world.meet(), "seed {seed}: it did not last");
        }
        assert!(world.settled(), "seed {seed}: something was left over");
        assert_eq!(world.ups, ups);
    });
}

#[test]
fn speakers_meet_again_after_any_trouble_on_the_link() {
    for_every_seed(3000, |seed| {
        let mut world = World::new(seed, Duration::from_secs(120));
        world.begin();
        // The longest that may remain then: an opening connection that died without a word, in its 4 minutes, does not
        // keep the other from being used; a hold time of 30 s, the longest dial, the longest retry.
        let limit = world.trouble_until + Duration::from_secs(60 + 240);
        assert!(world.run_until_settled(limit), "seed {seed}: {}", world.show());
    });
}

#[test]
fn the_routes_of_a_speaker_that_does_not_come_back_are_kept_for_its_restart_time_and_no_longer() {
    for_every_seed(1000, |seed| {
        let mut world = World::new(seed, Duration::ZERO);
        world.begin();
        let limit = world.start + Duration::from_secs(20);
        assert!(world.run_until_settled(limit), "seed {seed}: {}", world.show());
        if !world.keeps() {
            return;
        }
        let who = usize::from(seed % 2 == 0);
        world.leave(who);
        // The other notices by its hold time, or at once when it writes.
        let limit = world.now + Duration::from_secs(30);
        while world.now < limit && world.stale(1 - who) == 0 {
            world.step();
        }
        assert!(world.stale(1 - who) > 0, "seed {seed}: nothing was kept: {}", world.show());
        let limit = world.now + RESTART_TIME;
        while world.now <= limit && world.stale(1 - who) > 0 {
            world.step();
        }
        assert!(world.now >= limit && world.stale(1 - who) == 0, "seed {seed}: {}", world.show());
    });
}

#[test]
fn a_speaker_that_starts_anew_is_welcome_at_once() {
    for_every_seed(1000, |seed| {
        let mut world = World::new(seed, Duration::ZERO);
        world.begin();
        let limit = world.start + Duration::from_secs(20);
        assert!(world.run_until_settled(limit), "seed {seed}: {}", world.show());
        let who = usize::from(seed % 2 == 0);
        if !world.can_come_back(who) {
            return;
        }
        world.lose_power(who);
        let limit = world.now + Duration::from_secs(40);
        assert!(world.run_until_settled(limit), "seed {seed}: {}", world.show());
    });
}
