//! What is configured of a session's times, and what follows from it (RFC 5880 §6.8.2–6.8.4, §6.8.7).

use std::num::NonZeroU8;
use std::time::Duration;

use crate::random::Random;

/// How often a session sends that is not Up, at most (RFC 5880 §6.8.3).
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// The times of a session, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// How often to send at most; the peer may ask for less. Whole microseconds.
    pub min_tx: Duration,
    /// How often the peer may send at most. Whole microseconds, not zero.
    pub min_rx: Duration,
    /// The peer takes the path for down when so many packets in a row have not come.
    pub multiplier: NonZeroU8,
}

impl Timers {
    /// Every 300 ms, three packets.
    pub const DEFAULT: Timers = Timers {
        min_tx: Duration::from_millis(300),
        min_rx: Duration::from_millis(300),
        multiplier: match NonZeroU8::new(3) {
            Some(three) => three,
            None => NonZeroU8::MIN,
        },
    };
}

impl Default for Timers {
    fn default() -> Self {
        Timers::DEFAULT
    }
}

/// One wait between two packets: up to a quarter shorter than the interval, so that systems do not send in step; with a
/// multiplier of 1 at least a tenth shorter, for the peer waits no longer than the interval (§6.8.7).
pub(super) fn jittered(interval: Duration, multiplier: NonZeroU8, random: &mut Random) -> Duration {
    let (least, most) = if multiplier.get() == 1 { (750_u32, 900) } else { (750, 1000) };
    let share: u32 = least + random.below(u64::from(most - least) + 1) as u32;
    interval * share / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(multiplier: u8) -> (u128, u128) {
        let mut random = Random::new(7);
        let multiplier = NonZeroU8::new(multiplier).unwrap();
        let waits =
            (0..20_000).map(|_| jittered(Duration::from_millis(1000), multiplier, &mut random).as_millis());
        waits.fold((u128::MAX, 0), |(least, most), wait| (wait.min(least), wait.max(most)))
    }

    #[test]
    fn jitter_takes_up_to_a_quarter_and_with_a_multiplier_of_one_at_least_a_tenth() {
        assert_eq!(shares(3), (750, 1000));
        assert_eq!(shares(2), (750, 1000));
        assert_eq!(shares(1), (750, 900));
    }

    #[test]
    fn the_longest_interval_does_not_overflow() {
        let mut random = Random::new(1);
        let longest = Duration::from_micros(u32::MAX.into());
        assert!(jittered(longest, NonZeroU8::MIN, &mut random) < longest);
    }
}
