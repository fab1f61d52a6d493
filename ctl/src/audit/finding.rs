//! One thing that does not fit: what was found, what it means, and what can be done.

use std::net::IpAddr;

use caracal_api::IpamBlock;
use serde::{Deserialize, Serialize};

/// Kinds of problems. The codes are stable: reports and scripts hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Problem {
    /// An address is held twice.
    DoubledAddress,
    /// Two blocks share addresses.
    OverlappingBlocks,
    /// A block has no pool.
    OutsidePools,
    /// A block's pool was made anew.
    PoolReplaced,
    /// A block has no Node.
    AbsentNode,
    /// A borrowed address has no Node.
    AbsentBorrower,
    /// An address is recorded for a pod that does not have it.
    LeakedAddress,
    /// An address is recorded for a tunnel that does not have it.
    StaleHandle,
    /// A pod's address is recorded nowhere.
    MissingRecord,
    /// The agent holds an address that its block does not record.
    Unpublished,
    /// A block records an address that its agent does not hold.
    UnknownToAgent,
    /// The agent gives nothing from a block.
    Disputed,
    /// A block or a record cannot be read.
    Unreadable,
}

impl Problem {
    /// What it means, for people.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::DoubledAddress => {
                "two holders have one address: packets reach one of them, or either by chance"
            }
            Self::OverlappingBlocks => {
                "two nodes may give the same address; a pool over blocks of another size made this"
            }
            Self::OutsidePools => {
                "nothing new is given from the block, and its addresses count as outside the cluster (no NAT, no tunnel)"
            }
            Self::PoolReplaced => {
                "the pool's name and range are the old ones, and the block is used on; it goes when it is empty"
            }
            Self::AbsentNode => {
                "nobody uses the block; the controller frees it once the Node has been gone for its quarantine"
            }
            Self::AbsentBorrower => {
                "nobody uses the address; the controller frees it once the borrower's Node has been gone for its quarantine"
            }
            Self::LeakedAddress => "the address is lost to other pods until its agent frees it",
            Self::StaleHandle => "the address is kept for a tunnel device that has another one or none",
            Self::MissingRecord => {
                "the pod runs, and the cluster's account does not know of its address: it could be given again"
            }
            Self::Unpublished => {
                "the agent has not written what it gave; it does so some ten seconds later, or when the API server answers again"
            }
            Self::UnknownToAgent => {
                "the address was freed and its block still records it; the agent writes that some ten seconds later"
            }
            Self::Disputed => "the agent does not know the block for its own: no pod gets an address from it",
            Self::Unreadable => "this was not written by an agent: who uses the addresses is not known",
        }
    }

    /// What a person can do about it where no fix is at hand.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::DoubledAddress => "delete one of the pods; its successor gets another address",
            Self::OverlappingBlocks => "disable one of the pools, and let its pods be made anew elsewhere",
            Self::OutsidePools => {
                "make a pool that holds the range with that block size, or delete the pods in it"
            }
            Self::PoolReplaced => "nothing has to be done",
            Self::AbsentNode | Self::AbsentBorrower => {
                "delete the pods that are left, or wait until they are gone"
            }
            Self::LeakedAddress | Self::StaleHandle => {
                "run `caracalctl ipam check --fix` on the node that holds it"
            }
            Self::MissingRecord => {
                "see the log of the agent on the pod's node; delete the pod if the agent does not know it"
            }
            Self::Unpublished | Self::UnknownToAgent => {
                "see `caracalctl ipam show --blocks -o wide` on that node"
            }
            Self::Disputed => "see the column STATE of `caracalctl ipam show --blocks` and docs/ipam.md",
            Self::Unreadable => "see `kubectl get ipamblock NAME -o yaml`, and who wrote it",
        }
    }

    /// Whether a second look some seconds later may show that nothing is wrong.
    pub(crate) fn settles(self) -> bool {
        match self {
            Self::LeakedAddress
            | Self::StaleHandle
            | Self::MissingRecord
            | Self::Unpublished
            | Self::UnknownToAgent
            | Self::DoubledAddress
            | Self::Disputed => true,
            Self::OverlappingBlocks
            | Self::OutsidePools
            | Self::PoolReplaced
            | Self::AbsentNode
            | Self::AbsentBorrower
            | Self::Unreadable => false,
        }
    }
}

/// What can be done about a finding; each is looked into again right before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all_fields = "camelCase")]
pub(crate) enum Fix {
    /// Delete a block: if it is empty, or (with `node`) if that Node is gone.
    DeleteBlock {
        /// Object name.
        name: String,
        /// Object UID.
        uid: String,
        /// Name and UID of the Node that must be gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<(String, String)>,
    },
    /// Take the record of a borrower whose Node is gone out of a block.
    TakeOut {
        /// Object name of the block.
        block: String,
        /// Its UID.
        uid: String,
        /// Which of its addresses.
        ordinal: String,
        /// The record, as it must still be.
        record: String,
    },
    /// Have the agent of a node free an address, if nothing on the node uses it.
    Release {
        /// The node.
        node: String,
        /// The address.
        address: IpAddr,
        /// Who holds it, as recorded.
        handle: String,
    },
    /// Have the agent of a node write what it knows.
    Publish {
        /// The node.
        node: String,
    },
}

impl Fix {
    pub(crate) fn delete_empty(block: &IpamBlock) -> Self {
        let (name, uid) = named(block);
        Self::DeleteBlock { name, uid, node: None }
    }

    pub(crate) fn delete_of_node(block: &IpamBlock) -> Self {
        let owner = &block.spec.owner;
        let (name, uid) = named(block);
        Self::DeleteBlock { name, uid, node: Some((owner.name.clone(), owner.node_uid.clone())) }
    }

    /// What `--fix` would do, for people.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::DeleteBlock { node: None, .. } => "delete the block if it is still empty".to_owned(),
            Self::DeleteBlock { node: Some((node, _)), .. } => {
                format!("delete the block now, if Node {node} is still gone and no pod has an address of it")
            }
            Self::TakeOut { .. } => "free the address now, if the borrower's Node is still gone".to_owned(),
            Self::Release { node, .. } => {
                format!("have the agent of {node} free the address, if no device on the node uses it")
            }
            Self::Publish { node } => format!("have the agent of {node} write its blocks at once"),
        }
    }
}

fn named(block: &IpamBlock) -> (String, String) {
    (block.metadata.name.clone().unwrap_or_default(), block.metadata.uid.clone().unwrap_or_default())
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// Its kind.
    pub(crate) problem: Problem,
    /// CIDR of the block.
    pub(crate) block: Option<String>,
    /// The address.
    pub(crate) address: Option<IpAddr>,
    /// The node that it is about.
    pub(crate) node: Option<String>,
    /// Who holds it: a pod as `namespace/name`, or a handle.
    pub(crate) holder: Option<String>,
    /// What was found.
    pub(crate) found: String,
    /// What `--fix` would do.
    pub(crate) fix: Option<Fix>,
}

impl Finding {
    /// A finding about a block.
    pub(crate) fn of_block(problem: Problem, block: &IpamBlock, found: String) -> Self {
        Self {
            problem,
            block: Some(block.spec.cidr.clone()),
            address: None,
            node: Some(block.spec.owner.name.clone()),
            holder: None,
            found,
            fix: None,
        }
    }

    /// A finding about an address.
    pub(crate) fn of_address(problem: Problem, address: IpAddr, holder: &str, found: String) -> Self {
        Self {
            problem,
            block: None,
            address: Some(address),
            node: None,
            holder: Some(holder.to_owned()),
            found,
            fix: None,
        }
    }

    /// What tells it from others, and orders them. What was found may be worded otherwise at a second look.
    pub(crate) fn place(&self) -> (Problem, Option<IpAddr>, Option<&str>, Option<&str>) {
        (self.problem, self.address, self.block.as_deref(), self.holder.as_deref())
    }

    /// The address, or else the block.
    pub(crate) fn subject(&self) -> String {
        match (self.address, &self.block) {
            (Some(address), _) => address.to_string(),
            (None, Some(block)) => block.clone(),
            (None, None) => String::new(),
        }
    }

    /// What can be done: what `--fix` does, or advice.
    pub(crate) fn remedy(&self) -> String {
        match &self.fix {
            Some(fix) => format!("--fix: {}", fix.words()),
            None => self.problem.advice().to_owned(),
        }
    }
}
