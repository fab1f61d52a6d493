//! Blocks that more than one node has addresses of.
//!
//! The owner of a block alone decides who gets what of it, shared or not: its memory and its journal know every address that
//! was given, to a pod of its own or to another node. So whatever becomes of the object (an API server that comes back with
//! an old backup, a block deleted by hand), no address is given twice.
//!
//! Where the object says `lends`, others may *ask* in it: they write a record that asks for an address which the object shows
//! free (`aw/…`). The owner answers with its next write: the record of a loan (`w/…`, see [`lend`](crate::lend)), or what it has
//! there instead. The borrower gives the address to its pod when it sees the loan (see [`borrow`](crate::borrow)), and gives it
//! back by a record (`h/…`) that names the very loan.
//!
//! Handle, number and borrower tell one loan from every other, so what an old backup shows of another time is never taken
//! for an answer, nor for something given back. The `revision` that rises with each write of the owner tells whether what
//! is shown is later than what was known.

use std::sync::Arc;

use caracal_api::ipam_block::AllocationKind;
use caracal_api::{AllocationRecord, Borrower, IpamBlock};

use crate::block::{Block, Used};
use crate::machine::Ipam;
use crate::verify::is_newer;
use crate::want::{Attributes, Handle, Purpose};

/// What a record in a block's object is to the block's owner.
pub(crate) enum Shown {
    /// Of a holder on this node.
    Ours(Used),
    /// Held by nobody yet or any more, or damaged.
    Held,
    /// Lent to another node.
    Lent,
}

/// Reads one record of an own block.
pub(crate) fn shown(uid: &str, text: &str) -> Shown {
    let Ok(record) = text.parse::<AllocationRecord>() else { return Shown::Held };
    let kind = match record.kind {
        AllocationKind::Workload => Purpose::Workload,
        AllocationKind::Tunnel => Purpose::Tunnel,
        AllocationKind::Held | AllocationKind::AskedWorkload | AllocationKind::AskedTunnel => {
            return Shown::Held;
        }
    };
    if record.borrower.is_some() {
        return Shown::Lent;
    }
    let attributes =
        Attributes { kind, namespace: record.namespace, pod: record.pod, ..Attributes::default() };
    Shown::Ours(Used {
        handle: Handle(record.handle),
        sequence: record.sequence,
        uid: uid.to_owned(),
        attributes,
        record: None,
    })
}

/// The record of an address that nobody holds and that still rests.
pub(crate) fn held_record() -> String {
    AllocationRecord::held().to_string()
}

/// What one of this node's holders has: in a block of its own, or as a borrower.
pub(crate) fn holding(used: &Used, borrower: Option<&Borrower>) -> AllocationRecord {
    AllocationRecord {
        kind: used.attributes.kind.kind(),
        sequence: used.sequence,
        handle: used.handle.0.clone(),
        namespace: used.attributes.namespace.clone(),
        pod: used.attributes.pod.clone(),
        borrower: borrower.cloned(),
    }
}

/// The record of an ordinal in use.
pub(crate) fn record(used: &Used, borrower: Option<&Borrower>) -> String {
    used.record.clone().unwrap_or_else(|| holding(used, borrower).to_string())
}

impl Used {
    /// What another node's record says.
    pub(crate) fn loan(&self) -> Option<AllocationRecord> {
        self.record.as_ref()?.parse().ok()
    }

    /// Who has it, for people.
    pub(crate) fn holder(&self) -> String {
        let of = |namespace: &str, pod: &str, handle: &str| match pod {
            "" => handle.to_owned(),
            pod => format!("pod {namespace}/{pod} ({handle})"),
        };
        let Some(text) = &self.record else {
            return of(&self.attributes.namespace, &self.attributes.pod, &self.handle.0);
        };
        match text.parse::<AllocationRecord>() {
            Ok(record) if record.kind == AllocationKind::Held => "nobody: it was just given back".to_owned(),
            Ok(record) => {
                let holder = of(&record.namespace, &record.pod, &record.handle);
                let asks = if record.kind.is_taken() { "" } else { ", which asks for it" };
                record.borrower.map_or(holder.clone(), |by| format!("{holder} on node {}{asks}", by.node))
            }
            Err(error) => error.to_string(),
        }
    }
}

impl Block {
    /// Whether others may ask for addresses, as far as this node knows.
    pub(crate) fn is_shared(&self) -> bool {
        self.object.as_ref().is_some_and(|o| o.spec.lends)
    }

    /// Whether what is written here is a promise to or of another node: the journal has it before.
    pub(crate) fn is_dealt_in(&self, shares: bool) -> bool {
        let of_another =
            |text: &String| text.parse::<AllocationRecord>().is_ok_and(|record| record.borrower.is_some());
        self.borrower.is_some()
            || shares
            || self.is_shared()
            || self.has_loans()
            || self.object.as_ref().is_some_and(|o| o.spec.allocations.values().any(of_another))
    }

    /// Whether an object tells more than the one known. What the journal kept at its version may never have been written.
    pub(crate) fn is_news(&self, object: &IpamBlock) -> bool {
        let same = object.metadata.resource_version.as_deref() == Some(self.resource_version());
        (self.from_journal && same) || is_newer(object, self.object.as_deref())
    }

    /// The object as the API server has it.
    pub(crate) fn set_object(&mut self, object: Arc<IpamBlock>) {
        self.from_journal = false;
        self.awaited_since = None;
        self.mistaken = None;
        // Of its own block a node knows better which pool it has come into.
        if self.object.is_none() || self.borrower.is_some() {
            self.pool.clone_from(&object.spec.pool);
            self.pool_uid.clone_from(&object.spec.pool_uid);
        }
        if self.borrower.is_none() {
            self.count_on_from(object.spec.revision);
        }
        self.object = Some(object);
    }

    /// Addresses that other nodes hold here, each with the node.
    pub(crate) fn lent(&self) -> impl Iterator<Item = (std::net::IpAddr, Borrower)> {
        self.used.iter().filter_map(|(ordinal, used)| {
            let record = used.loan().filter(|record| record.kind.is_taken())?;
            Some((self.cidr.address(*ordinal)?, record.borrower?))
        })
    }
}

impl Ipam {
    /// Whether the blocks of this node are to be shared.
    pub(crate) fn shares(&self) -> bool {
        self.pools.as_ref().is_some_and(|pools| !pools.config().strict_affinity)
    }

    pub(crate) fn forget_holder(&mut self, handle: &Handle, block: &str, ordinal: u32) {
        if let Some(held) = self.holders.get_mut(handle) {
            held.retain(|(name, o)| name != block || *o != ordinal);
            if held.is_empty() {
                self.holders.remove(handle);
            }
        }
    }
}
