//! How long to wait before the next dial.
//!
//! A lost connection is tried again soon, then ever later up to the configured retry time: the peer may be
//! restarting. A session that ended with a NOTIFICATION is damped much longer, for trying again will hardly help.
//! Every wait is shortened at random by up to a quarter (RFC 4271 §10), so that many speakers do not dial in step.

use std::time::{Duration, Instant};

use crate::random::Random;

/// The first wait after a loss.
const FIRST: Duration = Duration::from_millis(500);
/// The first wait after a NOTIFICATION.
const FIRST_DAMPED: Duration = Duration::from_secs(2);
/// The longest wait after NOTIFICATIONs.
const LONGEST_DAMPED: Duration = Duration::from_secs(60);
/// A session that stood for as long is not held to have failed.
const STABLE: Duration = Duration::from_secs(10);
/// A session that stood for as long clears old NOTIFICATIONs.
const FORGIVEN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Backoff {
    losses: u32,
    notifications: u32,
    random: Random,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Backoff { losses: 0, notifications: 0, random: Random::new(seed) }
    }

    /// The wait before the next dial after a loss; never longer than `retry`, but for the first few.
    pub(super) fn after_loss(&mut self, retry: Duration) -> Duration {
        let wait = doubled(FIRST, self.losses, retry);
        self.losses = self.losses.saturating_add(1);
        self.jitter(wait)
    }

    /// The wait after a NOTIFICATION.
    pub(super) fn after_notification(&mut self) -> Duration {
        let wait = doubled(FIRST_DAMPED, self.notifications, LONGEST_DAMPED);
        self.notifications = self.notifications.saturating_add(1);
        self.jitter(wait)
    }

    /// A session that was established since then has ended.
    pub(super) fn session_ended(&mut self, since: Instant, now: Instant) {
        let stood = now.saturating_duration_since(since);
        if stood >= STABLE {
            self.losses = 0;
        }
        if stood >= FORGIVEN {
            self.notifications = 0;
        }
    }

    /// The operator changed something: begin anew.
    pub(super) fn forget(&mut self) {
        self.losses = 0;
        self.notifications = 0;
    }

    /// Between three quarters of `interval` and all of it.
    pub(super) fn jitter(&mut self, interval: Duration) -> Duration {
        let part = u32::from((self.random.next() >> 56) as u8);
        interval - interval / 4 * part / 256
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_capped() {
        let mut backoff = Backoff::new(7);
        let waits: Vec<_> = (0..40).map(|_| backoff.after_loss(Duration::from_secs(5))).collect();
        assert!(waits[0] <= FIRST && waits[0] >= FIRST * 3 / 4);
        assert!(waits.iter().skip(5).all(|wait| (3.75..=5.0).contains(&wait.as_secs_f64())));
        let damped: Vec<_> = (0..40).map(|_| backoff.after_notification()).collect();
        assert!(damped.iter().skip(6).all(|wait| (45.0..=60.0).contains(&wait.as_secs_f64())));
        assert!(damped.iter().skip(6).any(|wait| *wait != damped[6]), "waits are not in step");
    }

    #[test]
    fn only_a_session_that_stood_clears_the_record() {
        let mut backoff = Backoff::new(7);
        let start = Instant::now();
        for _ in 0..4 {
            backoff.after_loss(Duration::from_secs(60));
        }
        backoff.session_ended(start, start + Duration::from_secs(1));
        assert!(backoff.after_loss(Duration::from_secs(60)) > Duration::from_secs(5));
        backoff.session_ended(start, start + Duration::from_secs(11));
        assert!(backoff.after_loss(Duration::from_secs(60)) <= FIRST);
    }
}
