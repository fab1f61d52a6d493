//! What one seed is: how many nodes, how long, with which settings, and what may go wrong.
//!
//! A plan follows from its seed alone; a shrunk one differs by what the environment says, so that a failure is repeated
//! with fewer nodes, a shorter time, and without what does not matter to it.

use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::settings::Settings;

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// Agents die and start again.
    Crash,
    /// Machines boot anew.
    Reboot,
    /// A machine dies and another one takes its name.
    Replace,
    /// A Node is removed while its machine runs on; sometimes another one takes the name.
    Remove,
    /// The API server goes away.
    Outage,
    /// Single nodes are cut off from the API server, shorter or longer than every limit.
    Partition,
    /// Requests and replies are lost, or arrive after their sender gave up on them.
    Loss,
    /// Answers and news come late.
    Lag,
    /// News come again, long after what they tell.
    Duplicate,
    /// The API server comes back with the blocks of an earlier time.
    Backup,
    /// Blocks are deleted by hand.
    HandDelete,
    /// Pools change.
    PoolEdit,
    /// `strictAffinity` changes.
    Sharing,
}

impl Fault {
    pub(super) const ALL: [Self; 13] = [
        Self::Crash,
        Self::Reboot,
        Self::Replace,
        Self::Remove,
        Self::Outage,
        Self::Partition,
        Self::Loss,
        Self::Lag,
        Self::Duplicate,
        Self::Backup,
        Self::HandDelete,
        Self::PoolEdit,
        Self::Sharing,
    ];

    /// How many plans of a hundred have it.
    fn share(self) -> u32 {
        match self {
            Self::Crash | Self::Loss | Self::Lag => 80,
            Self::Outage | Self::Duplicate => 50,
            Self::Reboot | Self::Replace | Self::Remove | Self::Partition | Self::PoolEdit => 40,
            Self::Sharing => 50,
            Self::Backup | Self::HandDelete => 15,
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    /// How long chance rules, in milliseconds.
    pub(super) chaos: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) settings: Settings,
    pub(super) cooldown: u32,
    /// Prefix lengths of the IPv4 pool and of its blocks; IPv6 is made alike.
    pub(super) pool_prefix: u8,
    pub(super) block_prefix: u8,
    pub(super) max_blocks: u32,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rng = &mut rng;
        let millis =
            |rng: &mut SmallRng, low: u64, high: u64| Duration::from_millis(rng.random_range(low..high));
        // Now and then many nodes for a short time; else few for longer.
        let (nodes, chaos) = match seed % 100 {
            99 => (rng.random_range(50..=200), rng.random_range(1_000..4_000)),
            90..99 => (rng.random_range(6..=20), rng.random_range(5_000..15_000)),
            _ => (rng.random_range(2..=5), rng.random_range(8_000..32_000)),
        };
        let faults: Vec<Fault> =
            Fault::ALL.into_iter().filter(|f| rng.random_range(0..100) < f.share()).collect();
        let settings = Settings {
            publish_after: millis(rng, 50, 5_000),
            patience: millis(rng, 2_000, 10_000),
            closed_for: millis(rng, 500, 8_000),
            blind_tries: rng.random_range(1..6),
            give_back_after: millis(rng, 300, 20_000),
            claim_ahead: rng.random_range(0..4) > 0,
            verify_every: millis(rng, 3_000, 30_000),
            outage_limit: millis(rng, 12_000, 60_000),
            ..Settings::default()
        };
        // Pools that are just too small, and pools with room.
        let block_prefix = rng.random_range(28..=31);
        let blocks = (nodes as u64 * rng.random_range(1..=6)).next_power_of_two().min(1 << 11);
        let pool_prefix = block_prefix - u8::try_from(blocks.ilog2()).unwrap();
        Self {
            seed,
            nodes,
            chaos,
            faults,
            settings,
            cooldown: [0, 1, 3, 10][rng.random_range(0..4)],
            pool_prefix,
            block_prefix,
            max_blocks: [0, 0, 2, 4][rng.random_range(0..4)],
        }
    }

    /// The plan of a seed as the environment limits it.
    pub(super) fn of_environment(seed: u64) -> Self {
        let mut plan = Self::of(seed);
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        plan.chaos = number("CARACAL_CHAOS").unwrap_or(plan.chaos);
        plan.nodes = number("CARACAL_NODES").map_or(plan.nodes, |n| usize::try_from(n).unwrap());
        if let Ok(without) = std::env::var("CARACAL_WITHOUT") {
            plan.faults.retain(|f| !without.split(',').any(|w| w == format!("{f:?}")));
        }
        plan
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// How long after a Node was found gone its blocks are freed: longer than any owner goes on alone.
    pub(super) fn quarantine(&self) -> Duration {
        self.settings.outage_limit.mul_f64(1.5)
    }

    /// Plans that are a little less than this one.
    fn lesser(&self) -> Vec<Self> {
        let mut lesser: Vec<Self> = self
            .faults
            .iter()
            .map(|without| {
                let mut plan = self.clone();
                plan.faults.retain(|f| f != without);
                plan
            })
            .collect();
        let nodes = [self.nodes / 2, self.nodes.saturating_sub(1)]
            .into_iter()
            .filter(|n| (1..self.nodes).contains(n));
        lesser.extend(nodes.map(|nodes| Self { nodes, ..self.clone() }));
        let shorter =
            [self.chaos / 2, self.chaos * 3 / 4, self.chaos * 9 / 10].into_iter().filter(|c| *c > 500);
        lesser.extend(shorter.map(|chaos| Self { chaos, ..self.clone() }));
        lesser
    }

    /// The least plan found that still fails.
    pub(super) fn shrunk(self, fails: impl Fn(&Self) -> bool, mut tries: u32) -> Self {
        let mut least = self;
        'again: loop {
            for plan in least.lesser() {
                if tries == 0 {
                    return least;
                }
                tries -= 1;
                if fails(&plan) {
                    least = plan;
                    continue 'again;
                }
            }
            return least;
        }
    }
}

impl fmt::Display for Plan {
    /// The environment that repeats it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CARACAL_SEED={} CARACAL_NODES={} CARACAL_CHAOS={}", self.seed, self.nodes, self.chaos)?;
        let original = Self::of(self.seed).faults;
        let without: Vec<String> =
            original.iter().filter(|o| !self.has(**o)).map(|o| format!("{o:?}")).collect();
        if !without.is_empty() {
            write!(f, " CARACAL_WITHOUT={}", without.join(","))?;
        }
        Ok(())
    }
}
