//! Why a path stands where it stands.
//!
//! Nothing is dropped silently: a path that may not be used stays in the table with its reason, so that a changed
//! filter needs no help from the peer and every "no" can be told. Each reason has a `code()` (CamelCase, for
//! conditions, JSON and metric labels) and a sentence (`Display`).

use std::fmt;

/// Where one path stands, as far as the path alone decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It takes part in the decision.
    Eligible,
    /// It is kept, but takes no part.
    Rejected(WhyRejected),
}

impl Standing {
    /// Whether the path takes part in the decision.
    pub fn is_eligible(self) -> bool {
        self == Standing::Eligible
    }
}

/// Why a path takes no part in the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhyRejected {
    /// The local AS is in the AS_PATH (RFC 4271 §9.1.2).
    AsLoop,
    /// ORIGINATOR_ID is our own router id (RFC 4456 §8).
    OriginatorLoop,
    /// CLUSTER_LIST holds our own cluster id (RFC 4456 §8).
    ClusterLoop,
    /// The next hop is one of our own addresses (RFC 4271 §5.1.3).
    OwnNextHop,
    /// The import policy of the peer refuses it.
    ImportPolicy,
    /// The peer is external and has no import policy, which it must have (RFC 8212).
    NoPolicy,
    /// The next hop cannot be reached (RFC 4271 §9.1.2).
    NextHopUnreachable,
    /// The session it came by is over, and its sweep has not come to this path yet.
    SessionEnded,
    /// Its peer is away for long, and it carries NO_LLGR (RFC 9494 §4.2).
    NotKeptLong,
    /// This speaker has restarted and waits for its peers to say all they have (RFC 4724 §4.1).
    SelectionDeferred,
}

impl WhyRejected {
    /// The reason as a CamelCase code.
    pub fn code(self) -> &'static str {
        match self {
            WhyRejected::AsLoop => "AsLoop",
            WhyRejected::OriginatorLoop => "OriginatorLoop",
            WhyRejected::ClusterLoop => "ClusterLoop",
            WhyRejected::OwnNextHop => "OwnNextHop",
            WhyRejected::ImportPolicy => "ImportPolicy",
            WhyRejected::NoPolicy => "NoPolicy",
            WhyRejected::NextHopUnreachable => "NextHopUnreachable",
            WhyRejected::SessionEnded => "SessionEnded",
            WhyRejected::NotKeptLong => "NotKeptLong",
            WhyRejected::SelectionDeferred => "SelectionDeferred",
        }
    }
}

impl fmt::Display for WhyRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WhyRejected::AsLoop => "the local AS is already in its AS_PATH",
            WhyRejected::OriginatorLoop => "this speaker originated it: ORIGINATOR_ID is the local router id",
            WhyRejected::ClusterLoop => {
                "it passed this cluster before: CLUSTER_LIST holds the local cluster id"
            }
            WhyRejected::OwnNextHop => "its next hop is an address of this speaker",
            WhyRejected::ImportPolicy => "the import policy of the peer refuses it",
            WhyRejected::NoPolicy => {
                "the peer is external and has no import policy, which it must have (RFC 8212)"
            }
            WhyRejected::NextHopUnreachable => "its next hop cannot be reached",
            WhyRejected::SessionEnded => "the session it came by is over",
            WhyRejected::NotKeptLong => {
                "its peer is away for long, and its NO_LLGR says not to keep it so long"
            }
            WhyRejected::SelectionDeferred => {
                "this speaker has restarted and waits until its peers have said all they have"
            }
        })
    }
}

/// At which step of the decision an eligible path lost. The order of the variants is the order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhyNot {
    /// It carries LLGR_STALE, and another path does not (RFC 9494 §4.3).
    LongLivedStale,
    /// Its peer is away, and another path is fresh (RFC 4724 §4.2).
    Stale,
    /// A path originated here exists.
    LocalOrigination,
    /// Another path has a higher LOCAL_PREF (RFC 4271 §9.1.1).
    LocalPref,
    /// Another path has a shorter AS_PATH (RFC 4271 §9.1.2.2 a).
    AsPathLength,
    /// Another path has a lower ORIGIN (b).
    Origin,
    /// Another path from the same neighbour AS has a lower MED (c).
    Med,
    /// Another path was learned by eBGP (d).
    InternalPeer,
    /// Another next hop is nearer (e).
    IgpMetric,
    /// Another path comes from a lower router id or originator id (f; RFC 4456 §9).
    RouterId,
    /// Another path has a shorter CLUSTER_LIST (RFC 4456 §9).
    ClusterListLength,
    /// Another peer has a lower address (g).
    PeerAddress,
    /// The same peer sent another path with a lower path identifier.
    PathId,
}

impl WhyNot {
    /// The step as a CamelCase code.
    pub fn code(self) -> &'static str {
        match self {
            WhyNot::LongLivedStale => "LongLivedStale",
            WhyNot::Stale => "Stale",
            WhyNot::LocalOrigination => "LocalOrigination",
            WhyNot::LocalPref => "LocalPref",
            WhyNot::AsPathLength => "AsPathLength",
            WhyNot::Origin => "Origin",
            WhyNot::Med => "Med",
            WhyNot::InternalPeer => "InternalPeer",
            WhyNot::IgpMetric => "IgpMetric",
            WhyNot::RouterId => "RouterId",
            WhyNot::ClusterListLength => "ClusterListLength",
            WhyNot::PeerAddress => "PeerAddress",
            WhyNot::PathId => "PathId",
        }
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WhyNot::LongLivedStale => {
                "it is kept for a speaker that has been away for long, and another path is not"
            }
            WhyNot::Stale => "its peer is away, and another path is fresh",
            WhyNot::LocalOrigination => "a path originated by this speaker exists",
            WhyNot::LocalPref => "another path has a higher LOCAL_PREF",
            WhyNot::AsPathLength => "another path has a shorter AS_PATH",
            WhyNot::Origin => "another path has a lower ORIGIN",
            WhyNot::Med => "another path from the same neighbour AS has a lower MULTI_EXIT_DISC",
            WhyNot::InternalPeer => "another path was learned from an external peer",
            WhyNot::IgpMetric => "the next hop of another path is nearer",
            WhyNot::RouterId => "another path comes from a lower router id",
            WhyNot::ClusterListLength => "another path has a shorter CLUSTER_LIST",
            WhyNot::PeerAddress => "another path comes from a lower peer address",
            WhyNot::PathId => "the same peer sent another path with a lower path identifier",
        })
    }
}

/// Why a best path is not announced to the peers of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhyNotSent {
    /// It carries NO_ADVERTISE (RFC 1997).
    NoAdvertise,
    /// It carries NO_EXPORT or NO_EXPORT_SUBCONFED and the peer is external (RFC 1997).
    NoExport,
    /// Learned from an internal peer, and neither end is a client (RFC 4271 §9.2, RFC 4456 §6).
    InternalToInternal,
    /// The export policy refuses it.
    ExportPolicy,
    /// The peer is external and has no export policy, which it must have (RFC 8212).
    NoPolicy,
    /// It carries LLGR_STALE, and the peer does not say that it knows what that means (RFC 9494 §4.3).
    NotLongLived,
    /// There is no next hop of this family to announce.
    NoLocalNextHop,
}

impl WhyNotSent {
    /// The reason as a CamelCase code.
    pub fn code(self) -> &'static str {
        match self {
            WhyNotSent::NoAdvertise => "NoAdvertise",
            WhyNotSent::NoExport => "NoExport",
            WhyNotSent::InternalToInternal => "InternalToInternal",
            WhyNotSent::ExportPolicy => "ExportPolicy",
            WhyNotSent::NoPolicy => "NoPolicy",
            WhyNotSent::NotLongLived => "NotLongLived",
            WhyNotSent::NoLocalNextHop => "NoLocalNextHop",
        }
    }
}

impl fmt::Display for WhyNotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WhyNotSent::NoAdvertise => "it carries the community NO_ADVERTISE",
            WhyNotSent::NoExport => "it carries the community NO_EXPORT and the peer is external",
            WhyNotSent::InternalToInternal => {
                "it comes from an internal peer and neither peer is a reflector client"
            }
            WhyNotSent::ExportPolicy => "the export policy of the peer refuses it",
            WhyNotSent::NoPolicy => {
                "the peer is external and has no export policy, which it must have (RFC 8212)"
            }
            WhyNotSent::NotLongLived => {
                "it is kept for a speaker that has been away for long, and the peer does not know of such paths"
            }
            WhyNotSent::NoLocalNextHop => {
                "no local next hop of its family is known: set a local next hop for the peer"
            }
        })
    }
}
