//! Blocks that more than one node takes addresses from.
//!
//! `shared` is a field of the block. Only its owner sets it, in a write that shows everything it has granted so far; from
//! the moment that write may have happened the owner too takes an address only by writing it into the object first:
//! compare-and-swap on the resource version decides between all of them. Clearing it is a write as well, and once it was
//! seen to be clear nobody but the owner can add anything: any write that still could was made for an older version.
//!
//! A record in a block says which node it is of. Whoever writes the block keeps the records of the others as they are.
//! A released address is left as *held* by whoever releases it: the owner lets it rest, and then takes the record away.
//! Until then the borrower keeps the block in mind. An owner that was down or cut off meanwhile may have the loan in its
//! journal, and writes it once more if it has to create the block anew: only the borrower knows that nobody has it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use caracal_api::ipam_block::AllocationKind;
use caracal_api::{AllocationRecord, BlockOwner, Borrower, IpamBlock};

use crate::block::{Block, Standing, Used, borrower};
use crate::machine::Ipam;
use crate::refusal::Dispute;
use crate::request::{Lost, Now};
use crate::verify::is_newer;
use crate::want::{Attributes, Handle, Purpose};

/// How long a block that was deleted is looked for, in which something was given back.
const AWAITED: Duration = Duration::from_secs(3600);
/// How often that is: as after so many failures.
const AWAITING_PAUSES: u32 = 10;
/// Who has an address that this node borrowed before its Node was made anew.
pub(crate) const FORMER_NODE: &str = "the Node that had this name before";

/// What a record in a block's object is to a node.
pub(crate) enum Shown {
    /// Of a holder on this node.
    Ours(Used),
    /// Held by nobody, or damaged.
    Held,
    /// Of another node.
    Theirs,
}

/// Who reads a block: its owner, or another node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reader<'a> {
    Owner,
    Borrower(&'a Borrower),
}

/// Reads one record.
pub(crate) fn shown(reader: Reader<'_>, uid: &str, text: &str) -> Shown {
    let Ok(record) = text.parse::<AllocationRecord>() else { return Shown::Held };
    let kind = match record.kind {
        AllocationKind::Workload => Purpose::Workload,
        AllocationKind::Tunnel => Purpose::Tunnel,
        AllocationKind::Held => return Shown::Held,
    };
    match (reader, &record.borrower) {
        (Reader::Owner, None) => {}
        (Reader::Borrower(me), Some(borrower)) if borrower == me => {}
        (Reader::Owner, Some(_)) | (Reader::Borrower(_), _) => return Shown::Theirs,
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

fn record(used: &Used, borrower: Option<&Borrower>) -> String {
    if let Some(theirs) = &used.record {
        return theirs.clone();
    }
    let record = AllocationRecord {
        kind: used.attributes.kind.kind(),
        sequence: used.sequence,
        handle: used.handle.0.clone(),
        namespace: used.attributes.namespace.clone(),
        pod: used.attributes.pod.clone(),
        borrower: borrower.cloned(),
    };
    record.to_string()
}

impl Used {
    /// Whether nobody holds it, as far as its record tells.
    fn is_held(&self) -> bool {
        self.record.as_ref().is_some_and(|record| *record == held_record())
    }

    /// Who borrowed it, by the record that another node wrote.
    pub(crate) fn borrower(&self) -> Option<Borrower> {
        self.record.as_ref()?.parse::<AllocationRecord>().ok()?.borrower
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
                record.borrower.map_or(holder.clone(), |by| format!("{holder} on node {}", by.node))
            }
            Err(error) => error.to_string(),
        }
    }
}

impl Block {
    /// Whether an address may be granted only by writing it into the object first.
    pub(crate) fn needs_writing(&self) -> bool {
        self.standing == Standing::Borrowed || self.may_be_shared()
    }

    /// Whether others may take addresses, as far as this node can know.
    pub(crate) fn may_be_shared(&self) -> bool {
        self.object.as_ref().is_some_and(|o| o.spec.shared) || self.sharing_at.is_some()
    }

    /// Whether another node may take addresses here now.
    pub(crate) fn lends(&self) -> bool {
        self.standing == Standing::Borrowed
            && self.awaited_since.is_none()
            && self.object.as_ref().is_some_and(|o| o.spec.shared)
    }

    /// Whether the owner of the block has not taken note, as far as is known, of something that was given back here.
    pub(crate) fn owes(&self, borrower: &BlockOwner) -> bool {
        !self.owed.is_empty() || self.is_unpublished(borrower, true)
    }

    /// Whether an object tells more than the one known. What the journal kept at its version may never have been written.
    pub(crate) fn is_news(&self, object: &IpamBlock) -> bool {
        let same = object.metadata.resource_version.as_deref() == Some(self.resource_version());
        (self.from_journal && same) || is_newer(object, self.object.as_deref())
    }

    /// The object as the API server has it. A write that would share the block and was made for another version can no
    /// longer happen.
    pub(crate) fn set_object(&mut self, object: Arc<IpamBlock>) {
        if self.sharing_at.is_some() && self.sharing_at != object.metadata.resource_version {
            self.sharing_at = None;
        }
        self.from_journal = false;
        self.awaited_since = None;
        // Of its own block a node knows better which pool it has come into.
        if self.object.is_none() || self.standing == Standing::Borrowed {
            self.pool.clone_from(&object.spec.pool);
            self.pool_uid.clone_from(&object.spec.pool_uid);
        }
        self.object = Some(object);
    }

    /// Brings what other nodes have here up to the object. What this node has stays, unless the object has it as
    /// another's: such ordinals are returned. `until` is how long an address rests that a borrower gave back.
    ///
    /// From an object that is older than the one known (a store came back with an old backup) records are only added:
    /// that it lacks one says nothing.
    pub(crate) fn absorb(
        &mut self,
        reader: Reader<'_>,
        known: Option<&IpamBlock>,
        until: Instant,
    ) -> Vec<(u32, Used)> {
        let Some(object) = self.object.clone() else { return Vec::new() };
        let uid = self.uid().to_owned();
        let mut lost = Vec::new();
        let rests = |reader: Reader<'_>| matches!(reader, Reader::Owner);
        for (key, text) in &object.spec.allocations {
            let Ok(ordinal) = key.parse::<u32>() else { continue };
            if ordinal >= self.cidr.size() {
                continue;
            }
            let own = self.used.get(&ordinal).is_some_and(|used| used.record.is_none());
            let theirs = match shown(reader, &uid, text) {
                Shown::Ours(_) if own => continue,
                // An owner's memory decides about its own; a borrower has ended an attachment that it no longer knows.
                Shown::Ours(_) if rests(reader) => continue,
                Shown::Ours(_) => {
                    self.touched = true;
                    self.occupy(ordinal, held_record());
                    self.owed.insert(ordinal);
                    continue;
                }
                Shown::Held if own => continue,
                Shown::Held if rests(reader) => {
                    if self.used.remove(&ordinal).is_some() {
                        self.rest(ordinal, until);
                    } else {
                        self.hold(ordinal, until);
                    }
                    continue;
                }
                Shown::Held | Shown::Theirs => text.clone(),
            };
            if self.from_journal && theirs == held_record() {
                // Which of them this node gave back, the journal does not tell.
                self.owed.insert(ordinal);
            }
            if own && let Some(used) = self.used.remove(&ordinal) {
                lost.push((ordinal, used));
            }
            self.occupy(ordinal, theirs);
        }
        if is_newer(&object, known) {
            let held = |ordinal: &u32| self.used.get(ordinal).is_some_and(Used::is_held);
            let shown = |ordinal: &u32| object.spec.allocations.contains_key(&ordinal.to_string());
            self.owed.retain(|ordinal| held(ordinal) && shown(ordinal));
            let gone = self.used.iter().filter(|(ordinal, used)| {
                used.record.is_some() && !object.spec.allocations.contains_key(&ordinal.to_string())
            });
            let gone: Vec<u32> = gone.map(|(ordinal, _)| *ordinal).collect();
            for ordinal in gone {
                self.used.remove(&ordinal);
                match reader {
                    Reader::Owner => self.rest(ordinal, until),
                    Reader::Borrower(_) => self.set_free(ordinal),
                }
            }
        }
        lost
    }

    /// The allocations as the object should show them.
    pub(crate) fn rendered(&self, borrower: Option<&Borrower>) -> std::collections::BTreeMap<String, String> {
        let used = self.used.iter().map(|(ordinal, used)| (ordinal.to_string(), record(used, borrower)));
        used.chain(self.resting().map(|ordinal| (ordinal.to_string(), held_record()))).collect()
    }

    /// The record of an ordinal in use.
    pub(crate) fn record_of(&self, ordinal: u32, borrower: Option<&Borrower>) -> Option<String> {
        self.used.get(&ordinal).map(|used| record(used, borrower))
    }

    /// Addresses that other nodes hold here, each with the node.
    pub(crate) fn lent(&self) -> impl Iterator<Item = (std::net::IpAddr, Borrower)> {
        self.used.iter().filter_map(|(ordinal, used)| {
            let record: AllocationRecord = used.record.as_ref()?.parse().ok()?;
            Some((self.cidr.address(*ordinal)?, record.borrower?))
        })
    }
}

impl Ipam {
    /// This node as a borrower is named.
    pub(crate) fn as_borrower(&self) -> Borrower {
        borrower(&self.owner)
    }

    /// Whether the blocks of this node are to be shared.
    pub(crate) fn shares(&self) -> bool {
        self.pools.as_ref().is_some_and(|pools| !pools.config().strict_affinity)
    }

    /// What an object shows of other nodes is taken over; what it took from this one is looked at.
    pub(crate) fn absorb(&mut self, now: Now, block: &mut Block, known: Option<&IpamBlock>) {
        let until = now.monotonic + self.cooldown();
        let me = self.as_borrower();
        let borrowed = block.standing == Standing::Borrowed;
        let lost = block.absorb(if borrowed { Reader::Borrower(&me) } else { Reader::Owner }, known, until);
        for (ordinal, used) in lost {
            self.forget_holder(&used.handle, &block.name, ordinal);
            let (Some(address), false) = (block.cidr.address(ordinal), self.is_reserved(&used.handle)) else {
                continue;
            };
            let holder = match block.used.get(&ordinal) {
                Some(other) if other.borrower().is_some_and(|by| by.node == me.node) => {
                    FORMER_NODE.to_owned()
                }
                Some(other) => other.holder(),
                None => String::new(),
            };
            let Used { handle, attributes, .. } = used;
            self.lost.push(Lost { handle, attributes, address, block: block.name.clone(), holder });
        }
    }

    pub(crate) fn forget_holder(&mut self, handle: &Handle, block: &str, ordinal: u32) {
        if let Some(held) = self.holders.get_mut(handle) {
            held.retain(|(name, o)| name != block || *o != ordinal);
            if held.is_empty() {
                self.holders.remove(handle);
            }
        }
    }

    /// A block of another node is missing in which nobody here holds an address any more. Its owner creates it anew from what it
    /// knows, which may show what was given back here. So it is looked for, for a while, unless the owner was seen to have
    /// taken note of all that was given back.
    pub(crate) fn await_again(&mut self, now: Now, name: &str) {
        let pause = self.pause(AWAITING_PAUSES);
        let owner = self.owner.clone();
        let Some(block) = self.blocks.get_mut(name) else { return };
        let since = *block.awaited_since.get_or_insert(now.monotonic);
        if block.owes(&owner) && now.monotonic.saturating_duration_since(since) < AWAITED {
            // So the journal keeps it, and a restart goes on looking.
            block.standing = Standing::Borrowed;
            block.read_wanted = true;
            block.retry.not_before = Some(now.monotonic + pause);
        } else {
            self.blocks.remove(name);
        }
    }

    /// What another node's block is to this one: borrowed from while it shows what this node has of it.
    pub(crate) fn standing_in(&self, block: &Block, owner: &str) -> Standing {
        let me = self.as_borrower();
        let object = block.object.as_ref();
        let shows = |ordinal: u32, used: &Used| {
            let text = object.and_then(|o| o.spec.allocations.get(&ordinal.to_string()));
            text.is_some_and(|text| match shown(Reader::Borrower(&me), block.uid(), text) {
                Shown::Ours(there) => there.handle == used.handle && there.sequence == used.sequence,
                Shown::Held | Shown::Theirs => false,
            })
        };
        let shared = object.is_some_and(|o| o.spec.shared);
        let confirmed = |used: &Used| !self.is_reserved(&used.handle);
        let missing = block.own_used().any(|(ordinal, used)| confirmed(used) && !shows(ordinal, used));
        // While it is shared, what is missing can be written again.
        if missing && !shared {
            Standing::Disputed(Dispute::Foreign(format!("node {owner}")))
        } else {
            Standing::Borrowed
        }
    }
}
