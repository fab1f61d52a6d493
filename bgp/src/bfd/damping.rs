//! Sessions that come up and go down again and again are held down for a while (RFC 5880 §6.8.18, RFC 5882 §3.2).
//!
//! A path that fails once is up again as soon as packets pass. One that does not stay up is kept Down for 2 s, then twice
//! as long each time up to a minute, so that whoever follows the session is not made to follow every flap.

use std::time::Duration;

/// A session that stood for as long is not held to have flapped.
const STABLE: Duration = Duration::from_secs(10);
/// The first hold.
const FIRST: Duration = Duration::from_secs(2);
/// The longest hold.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Damping {
    /// How many times in a row the session went down before it was stable.
    flaps: u32,
}

impl Damping {
    /// The session is down after it `stood` for so long. How long it is to be held there.
    pub(super) fn hold(&mut self, stood: Duration) -> Option<Duration> {
        if stood >= STABLE {
            self.flaps = 0;
            return None;
        }
        let hold = FIRST.saturating_mul(1_u32.checked_shl(self.flaps).unwrap_or(u32::MAX)).min(LONGEST);
        self.flaps = self.flaps.saturating_add(1);
        Some(hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flapping_session_is_held_down_ever_longer_and_a_stable_one_is_not() {
        let mut damping = Damping::default();
        assert_eq!(damping.hold(STABLE), None);
        let holds: Vec<_> =
            (0..7).filter_map(|_| damping.hold(Duration::ZERO)).map(|hold| hold.as_secs()).collect();
        assert_eq!(holds, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(damping.hold(STABLE), None);
        assert_eq!(damping.hold(Duration::from_secs(9)), Some(FIRST));
    }
}
