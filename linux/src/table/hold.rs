//! What keeps a key from being tried: pauses after refusals, and contention.

use std::time::{Duration, Instant};

use crate::table::Refusal;

/// This many changes by another hand …
pub(super) const CONTENDED_AFTER: usize = 5;
/// … within this time are a contest.
pub(super) const CONTENDED_WITHIN: Duration = Duration::from_secs(10);
/// How long a contended key is left alone at first; doubled each time.
pub(super) const CONTENDED_PAUSE: Duration = Duration::from_secs(10);
const CONTENDED_PAUSE_MOST: Duration = Duration::from_secs(300);
/// How long after a refusal the key is tried again at first; doubled each time.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(60);

/// Whether a key may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Hold {
    /// Yes.
    #[default]
    Free,
    /// Not before this time, or before something about it changes.
    Until(Instant),
    /// Not before something about it changes.
    Change,
}

/// What went wrong with a key so far.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) refusal: Option<Refusal>,
    pub(super) hold: Hold,
    refusals: u32,
    disturbances: Vec<Instant>,
    contests: u32,
    last_contest: Option<Instant>,
}

impl Trouble {
    /// Whether the key is being left to another hand.
    pub(super) fn contended(&self) -> bool {
        matches!(self.refusal, Some(Refusal::Contended { .. })) && self.hold != Hold::Free
    }

    /// Another hand spoilt the key. If that makes a contest, says until when to leave it alone.
    pub(super) fn disturbed(&mut self, now: Instant) -> Option<Instant> {
        self.disturbances.retain(|at| now.saturating_duration_since(*at) < CONTENDED_WITHIN);
        self.disturbances.push(now);
        if self.disturbances.len() < CONTENDED_AFTER {
            return None;
        }
        let calm = self.last_contest.is_none_or(|at| {
            now.saturating_duration_since(at)
                > pause(CONTENDED_PAUSE, self.contests, CONTENDED_PAUSE_MOST) * 2
        });
        self.contests = if calm { 0 } else { self.contests.saturating_add(1) };
        let length = pause(CONTENDED_PAUSE, self.contests, CONTENDED_PAUSE_MOST);
        self.refusal = Some(Refusal::Contended { times: self.disturbances.len(), pause_s: length.as_secs() });
        self.disturbances.clear();
        self.last_contest = Some(now);
        self.hold = Hold::Until(now + length);
        Some(now + length)
    }

    /// How long to wait before the next try.
    pub(super) fn next_pause(&mut self) -> Duration {
        let length = pause(PAUSE, self.refusals, PAUSE_MOST);
        self.refusals = self.refusals.saturating_add(1);
        length
    }

    /// The key is as wanted. Disturbances are still remembered: the next may make it a contest.
    pub(super) fn cleared(&mut self) {
        self.refusal = None;
        self.hold = Hold::Free;
        self.refusals = 0;
    }
}

fn pause(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut trouble = Trouble::default();
        let pauses: Vec<u64> = (0..9).map(|_| trouble.next_pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        trouble.cleared();
        assert_eq!(trouble.next_pause().as_secs(), 1);
    }

    #[test]
    fn four_disturbances_or_five_far_apart_are_no_contest() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        for second in 0..4 {
            assert_eq!(trouble.disturbed(start + Duration::from_secs(second)), None);
        }
        assert_eq!(trouble.disturbed(start + Duration::from_secs(11)), None);
    }

    #[test]
    fn contests_that_follow_each_other_pause_for_longer() {
        let mut now = Instant::now();
        let mut trouble = Trouble::default();
        let mut pauses = Vec::new();
        for _ in 0..3 {
            let until = (0..CONTENDED_AFTER).filter_map(|_| trouble.disturbed(now)).last().unwrap();
            pauses.push(until.duration_since(now).as_secs());
            now = until;
        }
        assert_eq!(pauses, [10, 20, 40]);
    }
}
