//! Two sessions and a link that loses and delays, under virtual time.
//!
//! Each seed is a configuration of both ends, a link and a story: quiet times, new times on one end or the other, a cut of
//! one or both directions, its mending, an end turned off. At every step what must hold is checked:
//!
//! * while fewer packets in a row are lost than the multiplier allows, no session that is Up goes down;
//! * when the link is cut, both ends are down within the detection time (one way: and the time to hear of it);
//! * when it is whole again, both come up;
//! * a Poll Sequence is one: until its answer came every packet carries P and the same times, and none carries P and F;
//! * nobody sends more often than it says, nor more than once a second while it is not Up;
//! * no deadline stays in the past.
//!
//! `CARACAL_SEED=…` runs one seed, `CARACAL_SEEDS=…` so many.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::{Duration, Instant};

use super::packet::Packet;
use super::session::{PathState, Session, State};
use super::timers::Timers;
use crate::random::Random;

mod link;
mod watch;

use link::Link;
use watch::Watch;

/// How many seeds are tried.
const SEEDS: u64 = 3000;
/// The least interval configured, ms.
const LEAST: u64 = 50;
/// The greatest interval configured, ms.
const GREATEST: u64 = 1500;
/// An answer may take so long when the link loses as many in a row as it may, and a session may be held down before.
const PATIENCE: Duration = Duration::from_secs(90);

struct World {
    now: Instant,
    ends: [Session; 2],
    watches: [Watch; 2],
    link: Link,
    random: Random,
    /// What happened, told when something does not hold.
    log: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let now = Instant::now();
        let multipliers = [0, 1].map(|_| 1 + random.below(5) as u8);
        let timers = multipliers.map(|multiplier| timers(&mut random, multiplier));
        let name = |n: u32| NonZeroU32::new(n).unwrap();
        let ends =
            [0, 1].map(|end: usize| Session::new(now, timers[end], name(end as u32 + 1), random.next()));
        let link = Link::new(multipliers, Duration::from_millis(LEAST), &mut random);
        World { now, ends, watches: [Watch::new(now), Watch::new(now)], link, random, log: Vec::new() }
    }

    /// Lets time pass until `end`, or until `enough` holds.
    fn run(&mut self, end: Instant, enough: impl Fn(&World) -> bool) -> bool {
        loop {
            if enough(self) {
                return true;
            }
            let deadlines = self.ends.iter().filter_map(Session::deadline);
            let next = deadlines.chain(self.link.next()).min().unwrap_or(end);
            assert!(next + Duration::from_nanos(1) > self.now, "a deadline stays in the past");
            if next > end {
                self.now = end;
                return false;
            }
            self.now = next.max(self.now);
            while let Some((to, packet)) = self.link.arrived(self.now) {
                self.watches[to].received(&packet);
                self.act(to, |session, now, out| session.received(now, &packet, out));
            }
            for end in [0, 1] {
                self.act(end, Session::tick);
            }
        }
    }

    fn act(&mut self, end: usize, act: impl FnOnce(&mut Session, Instant, &mut Vec<Packet>)) {
        let mut out = Vec::new();
        let before = self.ends[end].state();
        act(&mut self.ends[end], self.now, &mut out);
        let after = self.ends[end].state();
        if before != after {
            self.log.push(format!("{:?}: end {end} {before} -> {after}", self.now));
        }
        for packet in out {
            self.watches[end].sent(self.now, &packet);
            self.link.send(self.now, 1 - end, packet, &mut self.random);
        }
        self.watches[end].is_now(after);
    }

    fn configure(&mut self, end: usize) {
        let multiplier = self.link.multipliers[end];
        let timers = timers(&mut self.random, multiplier);
        self.log.push(format!("{:?}: end {end} configured {timers:?}", self.now));
        self.act(end, |session, now, out| session.configure(now, timers, out));
    }

    fn are(&self, state: State) -> bool {
        self.ends.iter().all(|end| end.state() == state)
    }

    fn come_up(&mut self) {
        let up = self.run(self.now + PATIENCE, |world| world.are(State::Up));
        assert!(up, "the link is whole and the sessions do not come up");
    }

    /// Goes on for a while, with changes now and then; nothing may go down.
    fn stand(&mut self) {
        for _ in 0..self.random.below(8) {
            let time = Duration::from_millis(self.random.below(4000));
            let fell = self.run(self.now + time, |world| !world.are(State::Up));
            assert!(!fell, "a session went down though the multiplier was not reached");
            let end = self.random.below(2) as usize;
            self.configure(end);
        }
        let fell = self.run(self.now + Duration::from_secs(5), |world| !world.are(State::Up));
        assert!(!fell, "a session went down though the multiplier was not reached");
    }

    fn cut(&mut self) {
        let ways = [[true, true], [true, false], [false, true]][self.random.below(3) as usize];
        self.log.push(format!("{:?}: cut {ways:?}", self.now));
        // What is on its way arrives; from then on it is silent.
        let silent = self.now + self.link.longest_delay();
        let detection = self.ends.iter().filter_map(Session::detection_time).max().unwrap();
        // Times that wait for an answer are no longer than what they go over to.
        let detection = detection.max(Duration::from_millis(GREATEST) * 5);
        self.link.cut = ways;
        let told = Duration::from_secs(6) + self.link.longest_delay();
        let bound = silent + detection + if ways == [true, true] { Duration::ZERO } else { told };
        let down = self.run(bound, |world| world.ends.iter().all(|end| end.state() != State::Up));
        assert!(down, "a session is Up beyond its detection time");
        assert!(self.ends.iter().all(|end| end.path() == PathState::Down));
        let quiet = Duration::from_millis(self.random.below(8000));
        self.run(self.now + quiet, |_| false);
        assert!(self.ends.iter().all(|end| end.state() != State::Up));
        self.link.cut = [false, false];
    }

    fn turn_off(&mut self) {
        let end = self.random.below(2) as usize;
        self.act(end, Session::disable);
        let other = 1 - end;
        let down = self.run(self.now + PATIENCE, |world| world.ends[other].state() == State::Down);
        assert!(down && self.ends[other].path() == PathState::AdminDown, "an operator is no path failure");
    }
}

fn timers(random: &mut Random, multiplier: u8) -> Timers {
    let mut time = || Duration::from_millis(LEAST + random.below(GREATEST - LEAST));
    Timers { min_tx: time(), min_rx: time(), multiplier: NonZeroU8::new(multiplier).unwrap() }
}

fn story(world: &mut World) {
    world.come_up();
    for _ in 0..world.random.below(4) {
        world.stand();
        if world.random.below(2) == 0 {
            world.cut();
            world.come_up();
        }
    }
    world.stand();
    world.turn_off();
}

#[test]
fn two_sessions_over_a_link_that_loses_and_delays() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("CARACAL_SEED") {
        Some(only) => only..only + 1,
        None => 0..number("CARACAL_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let mut world = World::new(seed);
        let start = world.now;
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| story(&mut world)));
        if let Err(failure) = told {
            eprintln!("CARACAL_SEED={seed}: {:?} after the start", world.now - start);
            world.log.iter().for_each(|line| eprintln!("{line}"));
            std::panic::resume_unwind(failure);
        }
    }
}
