//! Path attributes (RFC 4271 §4.3, §5): one file an attribute, one table of them.

pub mod aggregator;
pub mod as_path;
pub mod cluster_list;
pub mod communities;
pub mod extended_communities;
pub mod large_communities;
pub mod next_hop;
pub mod opaque;
pub mod origin;

pub use aggregator::Aggregator;
pub use as_path::{AsPath, Segment, SegmentKind};
pub use cluster_list::ClusterList;
pub use communities::Community;
pub use extended_communities::ExtendedCommunity;
pub use large_communities::LargeCommunity;
pub use next_hop::NextHop;
pub use opaque::Opaque;
pub use origin::Origin;

use std::net::Ipv4Addr;

/// The attributes of a path, without its next hop: next hops differ by peer and by encoding, all else is shared by
/// many paths. Owned, comparable and hashable, so that equal sets are stored once.
///
/// Lists whose order says nothing (communities, unknown attributes) are sorted and without repetition, so that
/// equal meaning is equal value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AttributeSet {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH, four octets an AS.
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES (RFC 1997).
    pub communities: Vec<Community>,
    /// EXTENDED COMMUNITIES (RFC 4360).
    pub extended_communities: Vec<ExtendedCommunity>,
    /// LARGE_COMMUNITY (RFC 8092).
    pub large_communities: Vec<LargeCommunity>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456).
    pub cluster_list: ClusterList,
    /// Optional transitive attributes this speaker does not know, to be passed on (RFC 4271 §5).
    pub unknown: Vec<Opaque>,
}
