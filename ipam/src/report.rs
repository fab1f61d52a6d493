//! What the machine tells about itself.

use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde::Serialize;

use crate::want::{Attributes, Family, Handle};

/// Everything this node's allocator knows, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IpamReport {
    /// Node name.
    pub node: String,
    /// UID of the Node; empty until it was seen.
    pub node_uid: String,
    /// Why nothing is allocated at all: code and sentence.
    pub fence: Option<(String, String)>,
    /// Own blocks in order of name.
    pub blocks: Vec<BlockReport>,
    /// Claims under way.
    pub claims: Vec<ClaimReport>,
    /// Asks that wait for a claim.
    pub waiting: usize,
    /// Pools from which nothing can be claimed for now, with the reason.
    pub closed_pools: Vec<(String, String)>,
    /// Time since the API server last confirmed anything of this.
    pub unseen_for: Duration,
}

/// One block of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockReport {
    /// Object name.
    pub name: String,
    /// CIDR.
    pub cidr: IpNetwork,
    /// Object UID; empty while unknown.
    pub uid: String,
    /// Pool name.
    pub pool: String,
    /// What the block is to this node.
    pub state: BlockState,
    /// Why it is disputed: code and sentence.
    pub dispute: Option<(String, String)>,
    /// Addresses in all.
    pub size: u32,
    /// Addresses that can be granted now.
    pub free: u32,
    /// Addresses that rest after a release.
    pub cooling: u32,
    /// Whether the object lags behind.
    pub unpublished: bool,
    /// Last failure of a request about this block.
    pub last_error: Option<String>,
    /// Addresses in use, in order.
    pub allocations: Vec<AllocationReport>,
}

/// What a block is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum BlockState {
    /// Its own: it allocates from it and announces it.
    Owned,
    /// Not certainly its own: nothing is allocated; running pods keep their addresses.
    Disputed,
    /// Being given back: empty, no longer announced.
    Returning,
}

/// One address in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AllocationReport {
    /// The address.
    pub address: IpAddr,
    /// Who holds it.
    pub handle: Handle,
    /// Number of the grant.
    pub sequence: u64,
    /// Who it is for.
    pub attributes: Attributes,
}

/// One claim under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimReport {
    /// Family.
    pub family: Family,
    /// Pool being claimed from.
    pub pool: String,
    /// Candidate CIDR, once chosen.
    pub candidate: Option<IpNetwork>,
    /// Last failure.
    pub last_error: Option<String>,
}
