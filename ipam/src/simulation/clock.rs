//! Simulated time: milliseconds since the run began.

use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::request::Now;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    pub(super) millis: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), millis: 0 }
    }

    pub(super) fn now(self) -> Now {
        Now {
            monotonic: self.start + Duration::from_millis(self.millis),
            wall: UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_millis(self.millis),
        }
    }

    /// A point in time as milliseconds, rounded up so that what is due then is due.
    pub(super) fn millis_of(self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}
