//! Times and bounds of the machine. What users set for the cluster is in `IPAMConfig` instead.

use std::time::Duration;

/// Times and bounds of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long allocations gather before they are written to their block; jittered by a quarter either way.
    pub publish_after: Duration,
    /// How long an ask waits for a claim before it is refused.
    pub patience: Duration,
    /// How long the owner of a block may take to lend an address before another block is looked for.
    pub lend_within: Duration,
    /// Most asks that wait at once.
    pub most_waiting: usize,
    /// First pause after the API server could not be reached; doubled up to `longest_pause`, jittered.
    pub first_pause: Duration,
    /// Longest pause between two attempts of one thing.
    pub longest_pause: Duration,
    /// How long a pool that had nothing to claim is not tried again.
    pub closed_for: Duration,
    /// Candidate CIDRs of one pool that are tried blindly before the taken names are listed.
    pub blind_tries: u32,
    /// How long a block must have been empty before it is given back.
    pub give_back_after: Duration,
    /// Whether the first block of a family is claimed before anyone asks, so that no pod waits for it.
    pub claim_ahead: bool,
    /// How often ownership is read live when nothing else was heard from the API server.
    pub verify_every: Duration,
    /// How long after the last live reading new allocations go on.
    pub outage_limit: Duration,
    /// Seed of jitter.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            publish_after: Duration::from_secs(10),
            patience: Duration::from_secs(10),
            lend_within: Duration::from_secs(3),
            most_waiting: 1024,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(30),
            closed_for: Duration::from_secs(10),
            blind_tries: 4,
            give_back_after: Duration::from_secs(600),
            claim_ahead: true,
            verify_every: Duration::from_secs(300),
            outage_limit: Duration::from_secs(3600),
            seed: 0,
        }
    }
}
