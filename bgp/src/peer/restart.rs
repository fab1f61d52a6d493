//! Graceful restart (RFC 4724) and its notifications (RFC 8538): what becomes of the routes of a session that ended.
//!
//! Both roles. As the one that restarts a speaker says how long it may be away, that it has been away (R), and for each
//! family whether its forwarding went on meanwhile (F, said only where it is true). As the one that helps it keeps the
//! routes of a peer that went away, for the time the peer asked for and no longer than it is willing itself. The machine
//! holds the deadlines; which routes are stale is the RIB's knowledge:
//!
//! * [`Keep::Stale`]: the routes of these families stay, those of the others go;
//! * on the next session ([`super::Action::Up`]) those of families whose forwarding did not survive go
//!   ([`Retention::forwarding`]), the others one by one as they are announced anew, and what is left at the End-of-RIB;
//! * [`super::Action::LongLived`]: the peer is away for longer than it asked for. What it said of these families stays for
//!   the time that was agreed on for that (RFC 9494 §4.2), as the last resort of everybody; the rest goes;
//! * [`super::Action::Forget`]: what is still stale goes.

use std::time::{Duration, Instant};

use super::action::{Keep, Reason};
use super::negotiation::Negotiated;
use crate::config::{Families, Family, PeerConfig, RestartOptions, SessionOptions};
use crate::wire::capability::{Capability, GracefulRestart, LongLived, RestartFamily};
use crate::wire::notification::{Cause, Cease};
use crate::wire::open::Open;

/// What was agreed on for the time after the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The families whose routes outlive it.
    pub families: Families,
    /// Those in which the peer went on forwarding since the last session.
    pub forwarding: Families,
    /// How long the peer may be away.
    pub time: Duration,
    /// A NOTIFICATION is no reason to forget routes, unless it says Hard Reset (RFC 8538).
    pub notification: bool,
    /// How much longer they are kept.
    pub long: LongLivedTimes,
    /// The families in which the peer went on forwarding while it was away for long.
    pub long_forwarding: Families,
}

/// How long routes are kept of a peer that is away for longer than it asked for (RFC 9494); zero: not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongLivedTimes {
    /// Those of IPv4 unicast.
    pub ipv4: Duration,
    /// Those of IPv6 unicast.
    pub ipv6: Duration,
}

impl LongLivedTimes {
    /// The time of a family.
    pub fn of(&self, family: Family) -> Duration {
        match family {
            Family::Ipv4Unicast => self.ipv4,
            Family::Ipv6Unicast => self.ipv6,
        }
    }

    /// The families that have any.
    pub fn families(&self) -> Families {
        Family::ALL.into_iter().filter(|family| !self.of(*family).is_zero()).collect()
    }
}

/// What is kept of the last session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    /// The peer is away, for no longer than it said.
    Graceful {
        until: Instant,
        long: LongLivedTimes,
    },
    /// It is away for longer, or is back from that and has not ended its table: its routes have until then.
    LongLived {
        ipv4: Option<Instant>,
        ipv6: Option<Instant>,
    },
    /// It is back, and has until then to announce again what it announced before.
    Returned {
        until: Instant,
    },
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Only these families are kept, for long.
    LongLived(Families),
    Forget,
}

impl Kept {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Kept::Nothing => None,
            Kept::Graceful { until, .. } | Kept::Returned { until } => Some(*until),
            Kept::LongLived { ipv4, ipv6 } => ipv4.iter().chain(ipv6).min().copied(),
        }
    }

    /// A session is over.
    pub(super) fn after(keep: Keep, terms: &Negotiated) -> Kept {
        match (keep, &terms.retention) {
            (Keep::Stale { until, .. }, Some(retention)) => Kept::Graceful { until, long: retention.long },
            (Keep::Nothing, _) | (Keep::Stale { .. }, None) => Kept::Nothing,
        }
    }

    /// The peer is back. What had been kept for long has the rest of its time (RFC 9494 §4.2).
    pub(super) fn returned(&mut self, until: Instant) {
        match self {
            Kept::Graceful { .. } | Kept::Returned { .. } => *self = Kept::Returned { until },
            Kept::Nothing | Kept::LongLived { .. } => (),
        }
    }

    /// What is due, which is then done.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return Due::Nothing;
        }
        *self = match *self {
            Kept::Nothing | Kept::Returned { .. } => Kept::Nothing,
            Kept::Graceful { long, .. } => {
                let until = |time: Duration| (!time.is_zero()).then(|| now + time);
                Kept::LongLived { ipv4: until(long.ipv4), ipv6: until(long.ipv6) }
            }
            Kept::LongLived { ipv4, ipv6 } => {
                let left = |until: Option<Instant>| until.filter(|until| *until > now);
                Kept::LongLived { ipv4: left(ipv4), ipv6: left(ipv6) }
            }
        };
        let families = match *self {
            Kept::Nothing | Kept::Graceful { .. } | Kept::Returned { .. } => Families::NONE,
            Kept::LongLived { ipv4, ipv6 } => {
                let times = [(Family::Ipv4Unicast, ipv4), (Family::Ipv6Unicast, ipv6)];
                times.into_iter().filter_map(|(family, until)| until.map(|_| family)).collect()
            }
        };
        if families.is_empty() {
            *self = Kept::Nothing;
            return Due::Forget;
        }
        Due::LongLived(families)
    }
}

/// The capability of long-lived graceful restart in the own OPEN, beside the other.
pub(super) fn long_lived_capability(config: &PeerConfig, lived: bool) -> Option<Capability> {
    let options = config.session.graceful_restart?;
    let time = options.long_lived?;
    let family = |family: Family| LongLived {
        family: family.code(),
        forwarding: lived || options.forwarding.contains(family),
        time,
    };
    Some(Capability::LongLivedRestart(config.families.iter().map(family).collect()))
}

/// What follows from both OPENs: of a family that graceful restart does not list nothing is kept.
fn long_lived(options: &RestartOptions, open: &Open, families: Families) -> (LongLivedTimes, Families) {
    let (mut times, mut forwarding) = (LongLivedTimes::default(), Families::NONE);
    let (Some(longest), Some(theirs)) = (options.long_lived, open.long_lived_restart()) else {
        return (times, forwarding);
    };
    for one in theirs {
        let Some(family) = Family::from_code(one.family.0, one.family.1) else { continue };
        if !families.contains(family) {
            continue;
        }
        match family {
            Family::Ipv4Unicast => times.ipv4 = one.time.min(longest),
            Family::Ipv6Unicast => times.ipv6 = one.time.min(longest),
        }
        if one.forwarding {
            forwarding.insert(family);
        }
    }
    (times, forwarding)
}

/// The capability of the own OPEN. After the first session (`lived`) this speaker has not restarted any more, and lost
/// nothing of its forwarding with a connection.
pub(super) fn capability(config: &PeerConfig, lived: bool) -> Option<Capability> {
    let options = config.session.graceful_restart?;
    let family = |family: Family| RestartFamily {
        family: family.code(),
        forwarding: lived || options.forwarding.contains(family),
    };
    Some(Capability::GracefulRestart(GracefulRestart {
        restarted: options.restarted && !lived,
        notification: true,
        time: options.time,
        families: config.families.iter().map(family).collect(),
    }))
}

/// What follows from both OPENs. A peer that lists no family of the session can only help others (RFC 4724 §3).
pub(super) fn retention(options: &SessionOptions, open: &Open, families: Families) -> Option<Retention> {
    let own = options.graceful_restart?;
    let theirs = open.graceful_restart()?;
    let listed = |wanted: fn(&RestartFamily) -> bool| -> Families {
        let known = theirs.families.iter().filter(|family| wanted(family));
        let known =
            known.filter_map(|RestartFamily { family: (afi, safi), .. }| Family::from_code(*afi, *safi));
        known.collect::<Families>().intersection(families)
    };
    let (long, long_forwarding) = long_lived(&own, open, listed(|_| true));
    let retention = Retention {
        long,
        long_forwarding,
        families: listed(|_| true),
        forwarding: listed(|family| family.forwarding),
        time: theirs.time.min(own.stale_time),
        notification: theirs.notification,
    };
    let kept = !retention.time.is_zero() || !retention.long.families().is_empty();
    (!retention.families.is_empty() && kept).then_some(retention)
}

/// What becomes of the routes of an established session that ended for this reason.
pub(super) fn keep(now: Instant, terms: &Negotiated, reason: &Reason) -> Keep {
    let Some(retention) = &terms.retention else { return Keep::Nothing };
    let kept = match reason {
        Reason::Lost(_) | Reason::Restarted => true,
        // A peer that says that the path is down means the routes, too (RFC 9384).
        Reason::Received(words) => {
            let dead = [Cause::Cease(Cease::HardReset), Cause::Cease(Cease::BfdDown)];
            retention.notification && !dead.contains(&words.cause)
        }
        // RFC 8538 §3: who says NOTIFICATION keeps the routes as well.
        Reason::HoldTimer | Reason::SendHoldTimer | Reason::Malformed(_) | Reason::Unexpected(_) => {
            retention.notification
        }
        // RFC 5882 §4.3.2: no restart, for the connection stood.
        Reason::PathDown
        | Reason::DialTimedOut
        | Reason::Collision
        | Reason::Replaced
        | Reason::NobodyDials
        | Reason::TooManyPrefixes { .. }
        | Reason::Stopped
        | Reason::Reconfigured(_) => false,
    };
    if kept {
        Keep::Stale { until: now + retention.time, families: retention.families }
    } else {
        Keep::Nothing
    }
}

/// Whether the peer must be told in so many words that its routes are not kept (RFC 8538 §3.1).
pub(super) fn needs_hard_reset(terms: &Negotiated, reason: &Reason) -> bool {
    let decided = match reason {
        Reason::PathDown | Reason::TooManyPrefixes { .. } | Reason::Stopped | Reason::Reconfigured(_) => true,
        Reason::Lost(_)
        | Reason::DialTimedOut
        | Reason::HoldTimer
        | Reason::SendHoldTimer
        | Reason::Received(_)
        | Reason::Malformed(_)
        | Reason::Unexpected(_)
        | Reason::Collision
        | Reason::Replaced
        | Reason::Restarted
        | Reason::NobodyDials => false,
    };
    decided && terms.retention.is_some_and(|retention| retention.notification)
}
