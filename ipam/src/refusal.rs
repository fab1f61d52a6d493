//! Why no address is given.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::pool::PoolUnfit;
use crate::request::StoreError;
use crate::want::Family;

/// Why an ask is refused. The message names node, pool, block, holder and cause, as far as there are any, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Pools were never heard of.
    #[error(
        "node {node} does not know any pools yet: the API server was not reached since the agent started, and no \
         earlier snapshot is stored. See the agent's log for what keeps it away"
    )]
    PoolsUnknown {
        /// Node name.
        node: String,
    },
    /// No pool serves this ask.
    #[error(
        "no {family} pool on node {node} serves this request: {}. Change the pool, or name another one by the annotation \
         caracal.dev/{}",
        list(.pools, "there are no IPPools of this family"),
        family.annotation()
    )]
    NoPool {
        /// Node name.
        node: String,
        /// Family that cannot be served.
        family: Family,
        /// Each pool of the family with what is against it.
        pools: Vec<(String, PoolUnfit)>,
    },
    /// A pool was named that does not exist.
    #[error(
        "pool '{pool}' was asked for on node {node}, but no IPPool has this name or CIDR. Correct the annotation of the pod or \
         its namespace, or the network's configuration; `kubectl get ippools` lists those that there are"
    )]
    PoolNotFound {
        /// Node name.
        node: String,
        /// As named.
        pool: String,
    },
    /// The want contradicts itself.
    #[error("the request cannot be served: {what}")]
    BadRequest {
        /// What is wrong.
        what: &'static str,
    },
    /// The requested address lies in no pool that may serve it.
    #[error(
        "address {address} was asked for on node {node}, but {cause}. Ask for another address, or for none"
    )]
    AddressNotServed {
        /// Node name.
        node: String,
        /// The address.
        address: IpAddr,
        /// Why not.
        cause: String,
    },
    /// The requested address is held by someone else.
    #[error(
        "address {address} of pool {pool} was asked for on node {node}, but is held by {holder} (block {block}). Free it \
         there first, or ask for another address"
    )]
    AddressTaken {
        /// Node name.
        node: String,
        /// Its pool.
        pool: String,
        /// The address.
        address: IpAddr,
        /// Block that holds it.
        block: String,
        /// The pod with its handle, or what else holds it.
        holder: String,
    },
    /// The requested address lies in a block of another owner.
    #[error(
        "address {address} of pool {pool} was asked for on node {node}, but its block {block} belongs to {owner}; with strict \
         affinity only the owner gives out its addresses. Run the pod there, or ask for another address"
    )]
    AddressElsewhere {
        /// Its pool.
        pool: String,
        /// Node name.
        node: String,
        /// The address.
        address: IpAddr,
        /// The block.
        block: String,
        /// Its owner.
        owner: String,
    },
    /// The node owns as many blocks as it may.
    #[error(
        "node {node} has no free {family} address and owns {owned} blocks, the most that IPAMConfig maxBlocksPerHost \
         ({limit}) allows. Raise it (`caracalctl ipam configure --max-blocks-per-host`), or delete pods here"
    )]
    BlockLimit {
        /// Node name.
        node: String,
        /// Family.
        family: Family,
        /// Blocks owned.
        owned: usize,
        /// The limit.
        limit: u32,
    },
    /// Blocks are not claimed by themselves.
    #[error(
        "node {node} has no free {family} address and IPAMConfig autoAllocateBlocks is off. Turn it on (`caracalctl ipam \
         configure --auto-allocate-blocks=true`)"
    )]
    AutoAllocateOff {
        /// Node name.
        node: String,
        /// Family.
        family: Family,
    },
    /// Nothing can be claimed in any of the pools.
    #[error(
        "node {node} has no free {family} address and can claim no block: {}. Add an IPPool, or free blocks (`caracalctl ipam \
         show --blocks` lists them)",
        list(.pools, "no pool is left")
    )]
    PoolsClosed {
        /// Node name.
        node: String,
        /// Family.
        family: Family,
        /// Each pool with its reason.
        pools: Vec<(String, String)>,
    },
    /// A claim was not answered in time.
    #[error(
        "node {node} has no free {family} address and could not claim a block in pool {pool} within {waited:?}: {cause}. \
         The next attempt may succeed; if none does, see the agent's log"
    )]
    ClaimTimedOut {
        /// Node name.
        node: String,
        /// Family.
        family: Family,
        /// Pool that was being claimed from.
        pool: String,
        /// How long the ask waited.
        waited: Duration,
        /// Last failure of the claim.
        cause: String,
    },
    /// Too many wait already.
    #[error("{waiting} requests already wait for a block on node {node}; try again later")]
    TooManyWaiting {
        /// Node name.
        node: String,
        /// How many wait.
        waiting: usize,
    },
    /// The node may not allocate at all.
    #[error("node {node} gives out no addresses: {fence}")]
    Fenced {
        /// Node name.
        node: String,
        /// Why.
        fence: Fence,
    },
    /// Ownership was not confirmed for too long.
    #[error(
        "node {node} has not read its own Node and blocks from the API server for {unseen:?}; new addresses are given \
         out only within {limit:?} (running pods keep theirs). See why the API server does not answer"
    )]
    OutageTooLong {
        /// Node name.
        node: String,
        /// Time since the last live reading.
        unseen: Duration,
        /// The limit.
        limit: Duration,
    },
    /// The allocator has stopped.
    #[error("the allocator of node {node} has stopped")]
    Stopped {
        /// Node name.
        node: String,
    },
}

impl Refusal {
    /// A word for conditions, JSON and metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PoolsUnknown { .. } => "PoolsUnknown",
            Self::NoPool { .. } => "NoPool",
            Self::PoolNotFound { .. } => "PoolNotFound",
            Self::BadRequest { .. } => "BadRequest",
            Self::AddressNotServed { .. } => "AddressNotServed",
            Self::AddressTaken { .. } => "AddressTaken",
            Self::AddressElsewhere { .. } => "AddressElsewhere",
            Self::BlockLimit { .. } => "BlockLimit",
            Self::AutoAllocateOff { .. } => "AutoAllocateOff",
            Self::PoolsClosed { .. } => "PoolsClosed",
            Self::ClaimTimedOut { .. } => "ClaimTimedOut",
            Self::TooManyWaiting { .. } => "TooManyWaiting",
            Self::Fenced { .. } => "Fenced",
            Self::OutageTooLong { .. } => "OutageTooLong",
            Self::Stopped { .. } => "Stopped",
        }
    }

    /// Whether the same request may succeed later without anyone changing anything.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::PoolsUnknown { .. }
            | Self::PoolsClosed { .. }
            | Self::ClaimTimedOut { .. }
            | Self::TooManyWaiting { .. }
            | Self::OutageTooLong { .. }
            | Self::AddressTaken { .. }
            | Self::Stopped { .. } => true,
            Self::NoPool { .. }
            | Self::PoolNotFound { .. }
            | Self::BadRequest { .. }
            | Self::AddressNotServed { .. }
            | Self::AddressElsewhere { .. }
            | Self::BlockLimit { .. }
            | Self::AutoAllocateOff { .. }
            | Self::Fenced { .. } => false,
        }
    }
}

/// Why a node may not allocate at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fence {
    /// The Node object is gone.
    NodeGone,
    /// The API server does not accept our credentials.
    Unauthorized(String),
}

impl Fence {
    /// A word for conditions, JSON and metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NodeGone => "NodeGone",
            Self::Unauthorized(_) => "Unauthorized",
        }
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeGone => {
                f.write_str(
                    "its Node object is gone, so its blocks may be freed by the controller. If the machine is to stay, \
                     restart its kubelet, which makes the Node anew",
                )
            }
            Self::Unauthorized(why) => write!(
                f,
                "the API server does not accept its credentials ({why}). Check the service account of the agent"
            ),
        }
    }
}

/// Why nothing is allocated from a block that this node holds addresses in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dispute {
    /// Not read since start: known from the journal only.
    Unconfirmed,
    /// The watch lost it; it is being read.
    Suspected,
    /// It was deleted by another hand; it is created anew while addresses in it are in use.
    Missing,
    /// It belongs to someone else.
    Foreign(String),
    /// The node was replaced under its name; the block is the former node's.
    FormerNode(String),
    /// Another node announces it to the network.
    Announced(String),
    /// Agents of before loans may take addresses of it without asking; it is being closed to them.
    Open,
}

impl Dispute {
    /// A word for conditions, JSON and metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unconfirmed => "Unconfirmed",
            Self::Suspected => "Suspected",
            Self::Missing => "Missing",
            Self::Foreign(_) => "Foreign",
            Self::FormerNode(_) => "FormerNode",
            Self::Announced(_) => "Announced",
            Self::Open => "Open",
        }
    }
}

impl fmt::Display for Dispute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unconfirmed => f.write_str("it was not read from the API server yet"),
            Self::Suspected => f.write_str("the API server no longer lists it; it is being read"),
            Self::Missing => f.write_str("it was deleted by another hand"),
            Self::Foreign(owner) => write!(f, "it belongs to {owner}"),
            Self::Announced(by) => {
                write!(f, "{by} announces addresses of it to the network, so they are in use there")
            }
            Self::Open => f.write_str(
                "agents of an earlier version may take addresses of it without asking; it is being closed to them",
            ),
            Self::FormerNode(uid) => write!(f, "it belongs to a former node of this name (UID {uid})"),
        }
    }
}

/// What is held against a pool after a failed claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Every block is taken.
    Exhausted,
    /// The API server refused the claim.
    Refused(StoreError),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => f.write_str("every block of it is taken"),
            Self::Refused(error) => write!(f, "claiming a block failed: {error}"),
        }
    }
}

fn list<T: fmt::Display>(pools: &[(String, T)], none: &str) -> String {
    if pools.is_empty() {
        return none.to_owned();
    }
    let each: Vec<String> = pools.iter().map(|(name, why)| format!("pool {name}: {why}")).collect();
    each.join("; ")
}
