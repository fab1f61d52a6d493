//! What goes into the machine and what comes out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use caracal_api::IpamBlock;

use crate::pool::Pools;
use crate::refusal::Refusal;
use crate::want::{Allocation, Attributes, Handle, Want};

/// The time, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For everything that waits.
    pub monotonic: Instant,
    /// Only to start the numbering of grants.
    pub wall: SystemTime,
}

/// Names one wish, chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AskId(pub u64);

/// Names one request, chosen by the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// This node's own Node object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Its UID.
    pub uid: String,
    /// Its labels, for the pools' node selectors.
    pub labels: BTreeMap<String, String>,
}

/// News about blocks whose owner has this node's name.
#[derive(Clone, Debug)]
pub enum Delta {
    /// A block as the API server has it.
    Saw(Arc<IpamBlock>),
    /// A block is no longer among them. Only raises suspicion: the block is read before anything follows.
    Gone(String),
    /// A live list was seen, with these names. Blocks that are absent from it are read.
    Listed(BTreeSet<String>),
}

/// What happens to the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// Someone wants addresses.
    Allocate(AskId, Want),
    /// The asker has gone: a waiting ask is forgotten.
    Forget(AskId),
    /// A holder gives back these addresses. What does not match (block, UID, sequence, handle) is ignored.
    Release(Handle, Vec<Allocation>),
    /// News about own blocks.
    Blocks(Delta),
    /// Pools or `IPAMConfig` changed.
    Pools(Arc<Pools>),
    /// The own Node as it is now; `None`: it is gone for certain.
    Node(Option<NodeView>),
    /// What became of a request.
    Replied(RequestId, Result<Reply, StoreError>),
    /// Write what is unpublished now, not later.
    Publish,
    /// The deadline was reached.
    Tick,
}

/// What the machine wants done.
#[derive(Clone, Debug)]
pub enum Action {
    /// An ask is answered with one address a family.
    Granted(AskId, Vec<Allocation>),
    /// An ask is answered with a reason.
    Refused(AskId, Refusal),
    /// A request to the API server.
    Ask(RequestId, Request),
    /// The same, to be sent only once the journal has this block: what is promised to other nodes outlives a crash.
    KeepAndAsk(Box<IpamBlock>, RequestId, Request),
    /// Someone to whom an address was granted has lost it: people have to be told.
    Lost(Lost),
}

/// An address that its block's owner has given to somebody else, though it was lent to this node: the owner has lost its
/// journal and the API server its object, or somebody took back what the node had borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Who had it.
    pub handle: Handle,
    /// For whom.
    pub attributes: Attributes,
    /// The address.
    pub address: IpAddr,
    /// Its block.
    pub block: String,
    /// Who has it by the object.
    pub holder: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, block, holder, .. } = self;
        write!(
            f,
            "address {address} was this pod's, and the owner of its block {block} has it for {holder}: was the Node made anew, \
             or has the owner lost its journal? Delete the pod, so that it gets another address"
        )
    }
}

/// A request to the API server. The shell tries once, with a bounded wait: pauses and repeats are the machine's.
#[derive(Clone, Debug)]
pub enum Request {
    /// Create a block: the lock on its CIDR.
    Create(Box<IpamBlock>),
    /// Write a block; its resource version is a precondition.
    Replace(Box<IpamBlock>),
    /// Read a block, from the API server itself, not from a cache.
    Read(String),
    /// Delete a block, if it still is what it was.
    Delete {
        /// Object name.
        name: String,
        /// UID it must have.
        uid: String,
        /// Resource version it must have.
        resource_version: String,
    },
    /// The names of all blocks, by a metadata-only list.
    ListNames,
    /// Read the own Node, from the API server itself.
    ReadNode,
}

/// A successful answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The block as it is now (create, replace, read).
    Block(Arc<IpamBlock>),
    /// Deleted, or deletion has begun.
    Deleted,
    /// Names of blocks.
    Names(BTreeSet<String>),
    /// The own Node as it is now.
    Node(NodeView),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Created by someone already.
    Exists,
    /// It changed in the meantime: a precondition does not hold.
    Conflict,
    /// There is no such object.
    Gone,
    /// Not done: another node announces addresses of the block to the network, so they are in use there, whatever the
    /// API server's objects say (they may have been deleted by hand, or come from an old backup).
    Announced(String),
    /// No answer, or an answer that says nothing about the request (5xx, 429): it may or may not have happened.
    Unreachable(String),
    /// Our credentials are not accepted (401).
    Unauthorized(String),
    /// We may not do this (403).
    Forbidden(String),
    /// The API server refuses the object (400, 422) or the kind is not installed.
    Invalid(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("it exists already"),
            Self::Conflict => f.write_str("it changed in the meantime"),
            Self::Gone => f.write_str("it is not there"),
            Self::Announced(by) => write!(f, "{by} announces addresses of it to the network"),
            Self::Unreachable(why) => write!(f, "the API server gave no answer ({why})"),
            Self::Unauthorized(why) => write!(f, "the API server does not accept our credentials ({why})"),
            Self::Forbidden(why) => write!(f, "the API server forbids it ({why}): check the agent's role"),
            Self::Invalid(why) => write!(f, "the API server refuses it ({why})"),
        }
    }
}
