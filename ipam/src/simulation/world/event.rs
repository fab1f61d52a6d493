//! What can happen, and in which words it is traced.

use caracal_api::IpamBlock;

use std::sync::Arc;

use crate::pool::Pools;
use crate::request::{Delta, Reply, Request, RequestId, StoreError};
use crate::want::Handle;

#[derive(Debug)]
pub(super) enum Change {
    Keep(Box<IpamBlock>),
    Forget(String),
    NodeUid(String),
}

#[derive(Debug)]
pub(super) enum Event {
    Arrive(usize, u64, RequestId, Request, bool),
    Reply(usize, u64, RequestId, Result<Reply, StoreError>),
    Watch(usize, u64, Delta),
    Relist(usize, u64),
    NodeSeen(usize, u64),
    Tick(usize, u64),
    Disk(usize, u64, Change),
    Send(usize, u64, RequestId, Request),
    Kept(usize, u64, Handle),
    PodEnds(usize, Handle),
    Removed(usize, u64, Handle),
    WantPod(usize),
    Crash(usize),
    Start(usize),
    Outage(bool),
    Cut(usize, bool),
    Remove(usize),
    Register(usize),
    Collect,
    Backup,
    Restored,
    HandDelete,
    PoolEdit,
    Share,
    PoolsSeen(usize, u64, Arc<Pools>),
}

impl Event {
    /// The node whose agent takes the step.
    pub(super) fn node(&self) -> Option<usize> {
        match self {
            Self::Reply(n, ..)
            | Self::Watch(n, ..)
            | Self::Relist(n, _)
            | Self::NodeSeen(n, _)
            | Self::Tick(n, _)
            | Self::Removed(n, ..)
            | Self::WantPod(n)
            | Self::PoolsSeen(n, ..)
            | Self::Start(n) => Some(*n),
            Self::Arrive(..)
            | Self::Disk(..)
            | Self::Send(..)
            | Self::Kept(..)
            | Self::PodEnds(..)
            | Self::Crash(_)
            | Self::Outage(_)
            | Self::Cut(..)
            | Self::Remove(_)
            | Self::Register(_)
            | Self::Collect
            | Self::Backup
            | Self::Restored
            | Self::HandDelete
            | Self::PoolEdit
            | Self::Share => None,
        }
    }
}

impl Event {
    /// The step in a few words; ticks are not worth any.
    pub(super) fn brief(&self) -> Option<String> {
        Some(match self {
            Event::Tick(..) | Event::Collect => return None,
            Event::PoolsSeen(n, ..) => format!("node-{n} pools"),
            Event::Arrive(n, _, id, request, _) => format!("node-{n} {id:?} arrives: {}", brief(request)),
            Event::Reply(n, _, id, result) => format!("node-{n} {id:?} answered: {}", brief_reply(result)),
            Event::Watch(n, _, delta) => format!("node-{n} watch: {}", brief_delta(delta)),
            Event::Disk(n, _, change) => format!("node-{n} disk: {}", brief_change(change)),
            other => format!("{other:?}"),
        })
    }
}

fn brief(request: &Request) -> String {
    match request {
        Request::Create(b) => format!("create {} for {}", b.spec.cidr, b.spec.owner.name),
        Request::Replace(b) => {
            format!(
                "replace {} at {:?} with {:?}",
                b.spec.cidr,
                b.metadata.resource_version,
                b.spec.allocations.keys()
            )
        }
        Request::Read(name) => format!("read {name}"),
        Request::Delete { name, resource_version, .. } => format!("delete {name} at {resource_version}"),
        Request::ListNames => "list names".to_owned(),
        Request::ReadNode => "read the Node".to_owned(),
    }
}

fn brief_block(b: &IpamBlock) -> String {
    let version = b.metadata.resource_version.as_deref().unwrap_or_default();
    format!("{} at {version} of {} {}", b.spec.cidr, b.spec.owner.name, b.spec.owner.node_uid)
}

fn brief_reply(result: &Result<Reply, StoreError>) -> String {
    match result {
        Ok(Reply::Block(b)) => brief_block(b),
        other => format!("{other:?}"),
    }
}

fn brief_delta(delta: &Delta) -> String {
    match delta {
        Delta::Saw(b) => format!("saw {}", brief_block(b)),
        other => format!("{other:?}"),
    }
}

fn brief_change(change: &Change) -> String {
    match change {
        Change::Keep(b) => format!("keep {}", brief_block(b)),
        other => format!("{other:?}"),
    }
}
