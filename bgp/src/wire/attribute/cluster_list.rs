//! CLUSTER_LIST (type 10, RFC 4456 §8): the reflectors a route went through, the last first.

use std::net::Ipv4Addr;

use smallvec::SmallVec;

/// The clusters; empty is the same as absent.
pub type ClusterList = SmallVec<[Ipv4Addr; 4]>;
