//! A path that keeps packets in order, delays them, and loses some, in each direction.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bfd::packet::Packet;
use crate::random::Random;

pub(super) struct Link {
    pub(super) multipliers: [u8; 2],
    /// Nothing that an end sends arrives.
    pub(super) cut: [bool; 2],
    delay: Duration,
    /// By how much more a packet may be late.
    variation: Duration,
    /// One in so many is lost, unless too many in a row were.
    loss: u64,
    /// Lost in a row, by who sent them.
    lost: [u8; 2],
    on_the_way: [VecDeque<(Instant, Packet)>; 2],
}

impl Link {
    pub(super) fn new(multipliers: [u8; 2], least: Duration, random: &mut Random) -> Link {
        // A multiplier of 1 leaves a tenth of an interval for everything.
        let exact = multipliers.contains(&1);
        Link {
            multipliers,
            cut: [false, false],
            delay: Duration::from_micros(random.below(200_000)),
            variation: if exact { Duration::ZERO } else { least / 2 },
            loss: 2 + random.below(8),
            lost: [0, 0],
            on_the_way: [VecDeque::new(), VecDeque::new()],
        }
    }

    pub(super) fn longest_delay(&self) -> Duration {
        self.delay + self.variation
    }

    pub(super) fn send(&mut self, now: Instant, to: usize, packet: Packet, random: &mut Random) {
        let from = 1 - to;
        if self.cut[from] {
            return;
        }
        // With one packet less than the multiplier lost in a row the wait for the next may be the whole detection time.
        let may_lose = self.multipliers[from].saturating_sub(2);
        if self.lost[from] < may_lose && random.below(self.loss) == 0 {
            self.lost[from] += 1;
            return;
        }
        self.lost[from] = 0;
        let late = Duration::from_micros(random.below(self.variation.as_micros() as u64 + 1));
        let last = self.on_the_way[to].back().map(|(arrives, _)| *arrives);
        let arrives = (now + self.delay + late).max(last.unwrap_or(now));
        self.on_the_way[to].push_back((arrives, packet));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.on_the_way.iter().filter_map(|way| way.front().map(|(arrives, _)| *arrives)).min()
    }

    pub(super) fn arrived(&mut self, now: Instant) -> Option<(usize, Packet)> {
        let due = |way: &VecDeque<(Instant, Packet)>| way.front().is_some_and(|(arrives, _)| *arrives <= now);
        let to = [0, 1].into_iter().find(|to| due(&self.on_the_way[*to]))?;
        self.on_the_way[to].pop_front().map(|(_, packet)| (to, packet))
    }
}
