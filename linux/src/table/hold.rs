//! What keeps a key from being tried: pauses after refusals, and contention.

use std::time::{Duration, Instant};

use crate::table::Refusal;

/// This many changes by another hand …
pub(super) const CONTENDED_AFTER: usize = 5;
/// … within this time are a contest.
pub(super) const CONTENDED_WITHIN: Duration = Duration::from_secs(10);
/// Changes this close to each other count as one: `ip route flush` deletes what comes back until nothing does, which is no
/// contest.
pub(super) const BURST: Duration = Duration::from_millis(250);
/// How long a key rests when it is spoilt again within a burst, at first; doubled each time. It lets such a loop end.
const REST: Duration = Duration::from_millis(50);
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
    /// When each burst of changes by another hand began.
    disturbances: Vec<Instant>,
    /// How many more there were in the last burst.
    repeats: u32,
    contests: u32,
    last_contest: Option<Instant>,
}

impl Trouble {
    /// Whether the key is being left to another hand, for a moment or for longer: only time ends that.
    pub(super) fn resting(&self) -> bool {
        matches!(self.refusal, None | Some(Refusal::Contended { .. })) && matches!(self.hold, Hold::Until(_))
    }

    /// Whether something unknown is in the way, and nobody has looked yet whose it is: that is no refusal so far.
    pub(super) fn unexplained(&self) -> bool {
        self.refusal == Some(Refusal::Exists) && self.refusals <= 1
    }

    /// Another hand spoilt the key. Says until when to leave it alone, and puts a contest on record.
    pub(super) fn disturbed(&mut self, now: Instant) -> Option<Instant> {
        self.disturbances.retain(|at| now.saturating_duration_since(*at) < CONTENDED_WITHIN);
        if self.disturbances.last().is_some_and(|at| now.saturating_duration_since(*at) < BURST) {
            let until = now + pause(REST, self.repeats, BURST);
            self.repeats = self.repeats.saturating_add(1);
            self.hold = Hold::Until(until);
            return Some(until);
        }
        self.repeats = 0;
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
    fn a_burst_counts_once_and_rests_for_longer_each_time() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        assert_eq!(trouble.disturbed(start), None);
        let rests: Vec<u128> =
            (0..4).map(|_| trouble.disturbed(start).unwrap().duration_since(start).as_millis()).collect();
        assert_eq!(rests, [50, 100, 200, 250]);
        assert!(trouble.resting() && trouble.refusal.is_none());
        assert_eq!(trouble.disturbances.len(), 1);
    }

    #[test]
    fn contests_that_follow_each_other_pause_for_longer() {
        let mut now = Instant::now();
        let mut trouble = Trouble::default();
        let mut pauses = Vec::new();
        for _ in 0..3 {
            let mut until = None;
            for _ in 0..CONTENDED_AFTER {
                now += BURST;
                until = trouble.disturbed(now);
            }
            pauses.push(until.unwrap().duration_since(now).as_secs());
            now = until.unwrap();
        }
        assert_eq!(pauses, [10, 20, 40]);
    }
}
