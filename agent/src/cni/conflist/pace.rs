//! How soon to look again: at once when something happens, unless that leads to nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tracing::warn;

/// How long after a first failure the next attempt is made; each further one waits twice as long.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(8);
/// Another hand that undoes this many changes within [`WHILE`] is not answered at once any more.
const CONTENDED: usize = 5;
const WHILE: Duration = Duration::from_secs(10);
/// How long it has its way then.
const YIELD: Duration = Duration::from_secs(2);

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    /// Then what stands is looked at.
    pub(super) at_most: Duration,
    /// Whatever is heard meanwhile.
    pub(super) deaf: bool,
}

/// When something had to be changed, of late.
#[derive(Debug, Default)]
pub(super) struct Pace {
    changes: VecDeque<Instant>,
}

impl Pace {
    /// After a look that changed something or not, the last of so many failures in a row.
    pub(super) fn after(&mut self, now: Instant, changed: bool, failures: u32) -> Rest {
        if let Some(before) = failures.checked_sub(1) {
            let at_most = FIRST_RETRY.saturating_mul(1 << before.min(10)).min(LAST_RETRY);
            return Rest { at_most, deaf: false };
        }
        while self.changes.front().is_some_and(|then| now.duration_since(*then) >= WHILE) {
            self.changes.pop_front();
        }
        if !changed {
            return Rest { at_most: Duration::MAX, deaf: false };
        }
        self.changes.push_back(now);
        if self.changes.len() < CONTENDED {
            return Rest { at_most: Duration::MAX, deaf: false };
        }
        if self.changes.len() == CONTENDED {
            warn!(
                "another program keeps changing the folder of network configurations: ours comes back with delay"
            );
        }
        Rest { at_most: YIELD, deaf: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_longer_each_time_and_a_success_begins_anew() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let mut failed = |failures| pace.after(now, false, failures).at_most.as_millis();
        let waits: Vec<u128> = (1..8).map(&mut failed).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(failed(u32::MAX), 8000);
        assert_eq!(failed(0), Duration::MAX.as_millis());
    }

    #[test]
    fn a_hand_that_undoes_everything_is_answered_at_once_four_times_and_then_with_delay() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let mut after = |seconds, changed| pace.after(begin + Duration::from_secs(seconds), changed, 0);
        let at_once = Rest { at_most: Duration::MAX, deaf: false };
        for second in 0..4 {
            assert_eq!(after(second, true), at_once);
        }
        assert_eq!(after(4, true), Rest { at_most: YIELD, deaf: true });
        assert_eq!(after(5, false), at_once, "it has stopped");
        assert_eq!(after(20, true), at_once, "and that was long ago");
    }
}
