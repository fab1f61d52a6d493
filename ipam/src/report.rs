//! What the machine tells about itself.

use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde::Serialize;

use caracal_api::BlockCidr;

use crate::block::{Block, Standing, Used};
use crate::claim::Claim;
use crate::machine::Ipam;
use crate::refusal::Dispute;
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
    /// Name of the owner, as the object has it.
    pub owner: String,
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
    /// Addresses that other nodes hold here, in order.
    pub lent: Vec<LentReport>,
    /// Whether other nodes may ask for addresses here.
    pub shared: bool,
}

/// One address that another node holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LentReport {
    /// The address.
    pub address: IpAddr,
    /// Name of the node.
    pub node: String,
}

/// What a block is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum BlockState {
    /// Its own: it allocates from it and announces it.
    Owned,
    /// Not certainly its own: nothing is allocated; running pods keep their addresses.
    Disputed,
    /// Another node's: this node was lent single addresses of it and announces those.
    Borrowed,
    /// Being given back: empty, no longer announced.
    Returning,
}

/// What the network is told of a block, and what of it lies elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
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
    /// Whether this node announces the whole of it, and drops what nobody holds.
    pub whole: bool,
    /// Addresses that it announces one by one: those its pods have in a block that is not its own for certain.
    pub single: Vec<IpAddr>,
    /// Addresses that other nodes hold, and announce one by one.
    pub lent: Vec<IpAddr>,
}

/// How much of a block is announced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    Single,
    Nothing,
}

/// A block that is only being looked at again stays announced, or every hiccup of a watch would be a flap.
fn extent(block: &Block) -> Extent {
    match &block.standing {
        Standing::Owned | Standing::Disputed(Dispute::Suspected | Dispute::Missing | Dispute::Open) => {
            Extent::Whole
        }
        Standing::Borrowed
        | Standing::Disputed(
            Dispute::Unconfirmed | Dispute::Foreign(_) | Dispute::FormerNode(_) | Dispute::Announced(_),
        ) => Extent::Single,
        Standing::Returning => Extent::Nothing,
    }
}

impl Block {
    /// Whether this node announces the whole of it.
    #[cfg(test)]
    pub(crate) fn is_announced(&self) -> bool {
        extent(self) == Extent::Whole
    }
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

    /// Each block for those who announce and route it.
    pub fn presences(&self) -> impl Iterator<Item = Presence> {
        self.blocks.values().map(|block| {
            let extent = extent(block);
            let own = || block.own_used().filter_map(|(ordinal, _)| block.cidr.address(ordinal)).collect();
            Presence {
                name: block.name.clone(),
                cidr: block.cidr.network(),
                uid: block.uid().to_owned(),
                pool: block.pool.clone(),
                state: state(block),
                single: if extent == Extent::Single { own() } else { Vec::new() },
                whole: extent == Extent::Whole,
                lent: block.lent().map(|(address, _)| address).collect(),
            }
        })
    }

    fn block_report(&self, block: &Block) -> BlockReport {
        let dispute = match &block.standing {
            Standing::Disputed(why) => Some((why.code().to_owned(), why.to_string())),
            Standing::Owned | Standing::Borrowed | Standing::Returning => None,
        };
        let allocation = |(ordinal, used): (u32, &Used)| {
            Some(AllocationReport {
                address: block.cidr.address(ordinal)?,
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
            owner: block
                .object
                .as_ref()
                .map_or_else(|| self.owner.name.clone(), |o| o.spec.owner.name.clone()),
            state: state(block),
            dispute,
            size: block.cidr.size(),
            free: count(block.free()),
            cooling: count(block.cooling()),
            unpublished: block.is_unpublished(&self.owner, self.shares()),
            last_error: block.retry.last_error.clone(),
            allocations: block.own_used().filter_map(allocation).collect(),
            lent: block.lent().map(|(address, to)| LentReport { address, node: to.node }).collect(),
            shared: block.is_shared(),
        }
    }
}

fn state(block: &Block) -> BlockState {
    match &block.standing {
        Standing::Owned => BlockState::Owned,
        Standing::Disputed(_) => BlockState::Disputed,
        Standing::Borrowed => BlockState::Borrowed,
        Standing::Returning => BlockState::Returning,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
