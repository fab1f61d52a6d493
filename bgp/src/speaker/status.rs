//! What a speaker says of its peers and routes.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ipnetwork::IpNetwork;

use super::bfd_thread::BfdStatus;
use crate::config::{Asn, Families, Family, HoldTime, PeerConfig, PeerKey, PeerOrigin, RouterId};
use crate::net::{FaultRecord, SessionHandle};
use crate::peer::{Negotiated, SessionState};
use crate::rib::Source;

/// How many routes of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyCounts {
    /// The peer sent and did not withdraw.
    pub received: u64,
    /// Of these take part in the decision.
    pub accepted: u64,
    /// The peer was told.
    pub announced: u64,
}

/// What the RIB knows of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// IPv4 unicast.
    pub ipv4: FamilyCounts,
    /// IPv6 unicast.
    pub ipv6: FamilyCounts,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which.
    pub key: PeerKey,
    /// What people call it.
    pub name: String,
    /// Why it exists.
    pub origin: PeerOrigin,
    /// Its AS; `None`: it may be in one of many, and there is no session.
    pub remote_as: Option<Asn>,
    /// The AS shown to it.
    pub local_as: Asn,
    /// The state of the session in the words of RFC 4271 §8.2.2: `Idle` … `Established`.
    pub state: &'static str,
    /// Since when it is in this state.
    pub since: SystemTime,
    /// Its router id; known only while the session is established.
    pub router_id: Option<RouterId>,
    /// The families both sides offered; none while the session is not established.
    pub families: Families,
    /// Routes of IPv4 unicast.
    pub ipv4: FamilyCounts,
    /// Routes of IPv6 unicast.
    pub ipv6: FamilyCounts,
    /// The hold time agreed on, or the one offered while the session is not established.
    pub hold_time: HoldTime,
    /// What was agreed on beyond the base protocol; none while the session is not established.
    pub features: Vec<String>,
    /// It is kept down by an operator or by a limit.
    pub halted: bool,
    /// What was wrong with what the peer sent, by kind, the latest first.
    pub faults: Vec<FaultRecord>,
    /// Why the last session ended or could not be made.
    pub last_error: Option<String>,
    /// When and why the last session that was established ended, whatever happened since.
    pub last_down: Option<(SystemTime, String)>,
    /// How often the session has come up or gone down.
    pub transitions: u64,
    /// What BFD says of the path; `None`: it is not watched.
    pub bfd: Option<BfdStatus>,
    /// Messages read.
    pub messages_in: u64,
    /// Messages written.
    pub messages_out: u64,
}

impl PeerStatus {
    pub(super) fn new(
        key: PeerKey,
        config: &PeerConfig,
        session: &SessionHandle,
        counts: PeerCounts,
    ) -> Self {
        let status = session.status();
        let terms = status.negotiated.as_deref();
        let messages = session.statistics();
        PeerStatus {
            key,
            name: config.name.clone(),
            origin: config.origin,
            remote_as: terms.map(|terms| terms.peer_as).or(config.remote_as.known(config.local_as)),
            local_as: config.local_as,
            state: state_name(status.state),
            since: status.since,
            router_id: terms.map(|terms| terms.peer_id),
            families: terms.map_or(Families::NONE, |terms| terms.families),
            ipv4: counts.ipv4,
            ipv6: counts.ipv6,
            hold_time: terms.map_or(config.hold_time, |terms| terms.hold_time),
            features: terms.map(Negotiated::features).unwrap_or_default(),
            halted: status.halted,
            faults: messages.faults.records(),
            last_error: status.last_error.as_ref().map(ToString::to_string),
            last_down: status.last_down.as_ref().map(|(when, reason)| (*when, reason.to_string())),
            transitions: status.transitions,
            bfd: None,
            messages_in: messages.received.read().total(),
            messages_out: messages.sent.read().total(),
        }
    }

    /// The counts of a family.
    pub fn counts(&self, family: Family) -> FamilyCounts {
        match family {
            Family::Ipv4Unicast => self.ipv4,
            Family::Ipv6Unicast => self.ipv6,
        }
    }

    /// Whether the session is up.
    pub fn is_established(&self) -> bool {
        self.state == "Established"
    }
}

fn state_name(state: SessionState) -> &'static str {
    match state {
        SessionState::Idle => "Idle",
        SessionState::Connect => "Connect",
        SessionState::Active => "Active",
        SessionState::OpenSent => "OpenSent",
        SessionState::OpenConfirm => "OpenConfirm",
        SessionState::Established => "Established",
    }
}

/// Which routes to tell of; an empty query asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteQuery {
    /// This prefix only.
    pub prefix: Option<IpNetwork>,
    /// This family only.
    pub family: Option<Family>,
    /// Paths of this peer only.
    pub peer: Option<PeerKey>,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    /// The prefix.
    pub prefix: IpNetwork,
    /// The next hop; `None`: originated here.
    pub next_hop: Option<IpAddr>,
    /// Whose path; `None`: originated here.
    pub peer: Option<PeerKey>,
    /// Of what kind.
    pub source: Source,
    /// AS_PATH as text.
    pub as_path: String,
    /// ORIGIN: `IGP`, `EGP` or `INCOMPLETE`.
    pub origin: &'static str,
    /// LOCAL_PREF as used in the decision; absent counts as 100.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities of all kinds as text, well-known ones by name.
    pub communities: Vec<String>,
    /// Whether it is in use: the best, or used beside it.
    pub best: bool,
    /// Where it stands, as a CamelCase code: `Best`, `Multipath`, or why it is not used.
    pub standing: &'static str,
    /// Why it is not the best, as a sentence.
    pub why_not: Option<String>,
    /// How long it has been as it is.
    pub age: Duration,
    /// Its peer is away, and it is kept for the peer's return (RFC 4724 §4.2).
    pub stale: bool,
}
