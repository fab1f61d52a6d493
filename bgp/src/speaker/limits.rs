//! How many prefixes a peer may announce: the RIB counts, the session acts (RFC 4271 §6.7).

use tokio::sync::mpsc;

use crate::config::{Family, PrefixLimit};
use crate::net::Signal;

/// What one session has been told of its limits.
#[derive(Debug)]
pub(super) struct Limits {
    signals: mpsc::Sender<Signal>,
    /// Whether it was told that there are too many, by family.
    told: [bool; Family::ALL.len()],
}

impl Limits {
    pub(super) fn new(signals: mpsc::Sender<Signal>) -> Self {
        Limits { signals, told: [false; Family::ALL.len()] }
    }

    /// Tells the session once each time the count passes the limit.
    pub(super) fn check(&mut self, family: Family, limit: Option<PrefixLimit>, found: impl Fn() -> u32) {
        let told = match family {
            Family::Ipv4Unicast => &mut self.told[0],
            Family::Ipv6Unicast => &mut self.told[1],
        };
        let Some(limit) = limit else {
            *told = false;
            return;
        };
        let found = found();
        let exceeded = found > limit.prefixes;
        if exceeded && !*told {
            // One that does not fit is told with the next update.
            *told = self.signals.try_send(Signal::TooManyPrefixes { family, found }).is_ok();
        } else if !exceeded {
            *told = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LimitAction;

    #[test]
    fn a_session_is_told_once_each_time_the_limit_is_passed() {
        let (signals, mut told) = mpsc::channel(1);
        let mut limits = Limits::new(signals);
        let limit = Some(PrefixLimit { prefixes: 2, action: LimitAction::Warn });
        let mut check = |found: u32, limit| {
            limits.check(Family::Ipv6Unicast, limit, || found);
            told.try_recv().ok().map(|Signal::TooManyPrefixes { found, .. }| found)
        };
        assert_eq!([check(2, limit), check(3, limit), check(4, limit)], [None, Some(3), None]);
        assert_eq!([check(2, limit), check(5, limit)], [None, Some(5)]);
        assert_eq!([check(9, None), check(9, limit)], [None, Some(9)], "a limit that is given anew");
    }

    #[test]
    fn what_does_not_fit_is_told_again() {
        let (signals, mut told) = mpsc::channel(1);
        let mut limits = Limits::new(signals);
        let limit = Some(PrefixLimit { prefixes: 0, action: LimitAction::Warn });
        for family in Family::ALL {
            limits.check(family, limit, || 1);
        }
        assert!(told.try_recv().is_ok());
        for family in Family::ALL {
            limits.check(family, limit, || 2);
        }
        let of_v6 = Signal::TooManyPrefixes { family: Family::Ipv6Unicast, found: 2 };
        assert_eq!(told.try_recv(), Ok(of_v6));
    }
}
