//! What the machine tells about itself.

use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde::Serialize;

use caracal_api::BlockCidr;

use crate::block::{Block, Standing, Used};
use crate::claim::Claim;
use crate::machine::Ipam;
use crate::request::Now;
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

impl Ipam {
    /// Everything this machine knows, for people.
    pub fn report(&self, now: Now) -> IpamReport {
        let claim = |c: &Claim| ClaimReport {
            family: c.family,
            pool: c.pool().to_owned(),
            candidate: c.candidate().map(BlockCidr::network),
            last_error: c.last_error.as_ref().map(ToString::to_string),
        };
        IpamReport {
            node: self.owner.name.clone(),
            node_uid: self.owner.node_uid.clone(),
            fence: self.fence.as_ref().map(|f| (f.code().to_owned(), f.to_string())),
            blocks: self.blocks.values().map(|b| self.block_report(b)).collect(),
            claims: self.claims.values().map(claim).collect(),
            waiting: self.waiting.len(),
            closed_pools: self.closed.iter().map(|(p, (why, _))| (p.clone(), why.to_string())).collect(),
            unseen_for: self.unseen(now),
        }
    }

    /// The state of each block, for those who announce and route them.
    pub fn block_states(&self) -> impl Iterator<Item = (&str, IpNetwork, &str, &str, BlockState)> {
        self.blocks.values().map(|b| (b.name.as_str(), b.cidr.network(), b.uid(), b.pool.as_str(), state(b)))
    }

    fn block_report(&self, block: &Block) -> BlockReport {
        let dispute = match &block.standing {
            Standing::Disputed(why) => Some((why.code().to_owned(), why.to_string())),
            Standing::Owned | Standing::Returning => None,
        };
        let allocation = |(ordinal, used): (&u32, &Used)| {
            Some(AllocationReport {
                address: block.cidr.address(*ordinal)?,
                handle: used.handle.clone(),
                sequence: used.sequence,
                attributes: used.attributes.clone(),
            })
        };
        BlockReport {
            name: block.name.clone(),
            cidr: block.cidr.network(),
            uid: block.uid().to_owned(),
            pool: block.pool.clone(),
            state: state(block),
            dispute,
            size: block.cidr.size(),
            free: count(block.free()),
            cooling: count(block.cooling()),
            unpublished: block.is_unpublished(&self.owner),
            last_error: block.retry.last_error.clone(),
            allocations: block.used.iter().filter_map(allocation).collect(),
        }
    }
}

fn state(block: &Block) -> BlockState {
    match &block.standing {
        Standing::Owned => BlockState::Owned,
        Standing::Disputed(_) => BlockState::Disputed,
        Standing::Returning => BlockState::Returning,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
