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
//! * [`super::Action::Forget`]: what is still stale goes.

use std::time::{Duration, Instant};

use super::action::{Keep, Reason};
use super::negotiation::Negotiated;
use crate::config::{Families, Family, PeerConfig, SessionOptions};
use crate::wire::capability::{Capability, GracefulRestart, RestartFamily};
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
    let retention = Retention {
        families: listed(|_| true),
        forwarding: listed(|family| family.forwarding),
        time: theirs.time.min(own.stale_time),
        notification: theirs.notification,
    };
    (!retention.families.is_empty() && !retention.time.is_zero()).then_some(retention)
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
