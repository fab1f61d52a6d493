//! One block in memory: who holds which ordinal, which are free, which still rest.
//!
//! Free ordinals form a queue: grants take from its head, and what was released rests for the cool-down and then joins
//! the tail. So an address returns as late as possible. Grants are numbered per block; the numbers begin at the wall
//! clock in microseconds, so that a restart never repeats one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use caracal_api::{BlockCidr, BlockOwner, Borrower, IpamBlock, IpamBlockSpec};

use crate::recover::journal_of;
use crate::refusal::Dispute;
use crate::request::{Now, RequestId};
use crate::want::{Allocation, Attributes, Family, Handle};

/// The revision of a block that was just claimed.
const FIRST_REVISION: u64 = 1;

/// One ordinal in use.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) handle: Handle,
    pub(crate) sequence: u64,
    /// UID of the block object when it was granted: the object may have been created anew since.
    pub(crate) uid: String,
    pub(crate) attributes: Attributes,
    /// Its record, if it is another node's, or was given back to the owner; `None`: a holder on this node has the ordinal.
    pub(crate) record: Option<String>,
}

impl Used {
    /// An ordinal that is not this node's.
    pub(crate) fn of_another(record: String) -> Self {
        let (handle, uid) = (Handle(String::new()), String::new());
        Self { handle, sequence: 0, uid, attributes: Attributes::default(), record: Some(record) }
    }
}

/// One released ordinal that rests.
#[derive(Clone, Copy, Debug)]
struct Cooling {
    ordinal: u32,
    until: Instant,
}

/// What a block is to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its own: addresses are granted from it.
    Owned,
    /// Not certainly its own.
    Disputed(Dispute),
    /// Another node's: addresses of it are granted once its owner has lent them.
    Borrowed,
    /// Empty and being deleted; nothing is granted until the API server has answered.
    Returning,
}

/// What is being asked of the API server about a block: at most one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Read,
    Publish,
    Restore,
    Return,
}

/// Pauses after failures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retry {
    pub(crate) failures: u32,
    pub(crate) not_before: Option<Instant>,
    pub(crate) last_error: Option<String>,
}

/// One block in memory.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) name: String,
    pub(crate) cidr: BlockCidr,
    pub(crate) pool: String,
    /// The pool's UID; empty while the block is known from an attachment only.
    pub(crate) pool_uid: String,
    pub(crate) standing: Standing,
    /// The object as the API server had it last; `None` while it is known from the journal only.
    pub(crate) object: Option<Arc<IpamBlock>>,
    pub(crate) used: BTreeMap<u32, Used>,
    pub(crate) free: VecDeque<u32>,
    cooling: Vec<Cooling>,
    pub(crate) next_sequence: u64,
    /// Whether something changed that the object may not show.
    pub(crate) touched: bool,
    /// When what is unpublished is to be written.
    pub(crate) publish_at: Option<Instant>,
    /// Whether the object is to be read before anything else happens.
    pub(crate) read_wanted: bool,
    pub(crate) last_read: Instant,
    pub(crate) work: Option<(RequestId, Work)>,
    pub(crate) retry: Retry,
    pub(crate) empty_since: Option<Instant>,
    /// As whom this node has addresses here, if the block is another's.
    pub(crate) borrower: Option<Borrower>,
    /// The highest revision seen: an object with a higher one is what the owner says after all that is known.
    pub(crate) revision: u64,
    /// Ordinals that were never asked for in a write that may have happened; and those that the write under way asks for.
    pub(crate) unsent: BTreeSet<u32>,
    pub(crate) sending: BTreeSet<u32>,
    /// Whether others ask for addresses in it, and were not answered yet.
    pub(crate) asked: bool,
    /// Whether the object is older than a write of this node that was seen to have happened.
    pub(crate) is_outdated: bool,
    /// When the object is read for an answer, and how often it was.
    pub(crate) poll: (Option<Instant>, u32),
    /// Until when its owner is not asked, since it did not answer.
    pub(crate) silent_until: Option<Instant>,
    /// What the API server has instead of another node's block: this node's own of an earlier time, from a backup.
    pub(crate) mistaken: Option<Arc<IpamBlock>>,
    /// An earlier life left it behind: whatever becomes of it, nothing is granted from it.
    pub(crate) left_behind: bool,
    /// The object is the journal's, which has what was about to be written: the API server may show less at that version.
    pub(crate) from_journal: bool,
    /// Since when the object is missing in which this node borrowed and gave back: its owner may create it anew.
    pub(crate) awaited_since: Option<Instant>,
    /// Ordinals of another node's block that were given back here, until its owner was seen to have taken note.
    pub(crate) owed: BTreeSet<u32>,
}

impl Block {
    /// A block with every ordinal free. `first` is where the queue begins.
    pub(crate) fn new(now: Now, cidr: BlockCidr, pool: String, standing: Standing) -> Self {
        let micros = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        Self {
            name: cidr.object_name(),
            cidr,
            pool,
            pool_uid: String::new(),
            standing,
            object: None,
            used: BTreeMap::new(),
            free: (0..cidr.size()).collect(),
            cooling: Vec::new(),
            next_sequence: u64::try_from(micros).unwrap_or_default().max(1),
            touched: false,
            publish_at: None,
            read_wanted: false,
            last_read: now.monotonic,
            work: None,
            retry: Retry::default(),
            empty_since: Some(now.monotonic),
            borrower: None,
            revision: 0,
            unsent: BTreeSet::new(),
            sending: BTreeSet::new(),
            asked: false,
            is_outdated: false,
            poll: (None, 0),
            silent_until: None,
            mistaken: None,
            left_behind: false,
            from_journal: false,
            awaited_since: None,
            owed: BTreeSet::new(),
        }
    }

    /// A block made from its object, without any allocation; `None` if the object's CIDR and name do not fit.
    pub(crate) fn of_object(now: Now, object: Arc<IpamBlock>, standing: Standing) -> Option<Self> {
        let cidr: BlockCidr = object.spec.cidr.parse().ok()?;
        if object.metadata.name.as_deref() != Some(cidr.object_name().as_str()) {
            return None;
        }
        let mut block = Self::new(now, cidr, object.spec.pool.clone(), standing);
        block.pool_uid.clone_from(&object.spec.pool_uid);
        block.next_sequence = block.next_sequence.max(object.spec.revision.saturating_add(1));
        block.object = Some(object);
        Some(block)
    }

    pub(crate) fn family(&self) -> Family {
        Family::of_network(self.cidr.network())
    }

    pub(crate) fn uid(&self) -> &str {
        self.object.as_ref().and_then(|o| o.metadata.uid.as_deref()).unwrap_or_default()
    }

    pub(crate) fn resource_version(&self) -> &str {
        self.object.as_ref().and_then(|o| o.metadata.resource_version.as_deref()).unwrap_or_default()
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.standing == Standing::Owned
    }

    /// Whether the journal keeps it: one that is this node's, and one that is not certainly so and was lent from.
    pub(crate) fn is_kept(&self) -> bool {
        let kept = match &self.standing {
            Standing::Owned | Standing::Borrowed => true,
            Standing::Disputed(_) => self.borrower.is_some() || self.has_loans(),
            Standing::Returning => false,
        };
        kept && self.object.is_some()
    }

    /// Whether the journal keeps it as one that is not to be granted from.
    pub(crate) fn is_kept_as_doubted(&self) -> bool {
        self.borrower.is_none() && !self.is_owned()
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn cooling(&self) -> usize {
        self.cooling.len()
    }

    /// Whether nothing holds an address of it, nor rests in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.used.is_empty() && self.cooling.is_empty()
    }

    /// Whether the block can be given back, as far as it itself goes: no request about it is under way.
    pub(crate) fn may_go(&self) -> bool {
        self.is_owned() && self.is_empty() && self.work.is_none() && self.object.is_some()
    }

    /// The ordinal at the head of the queue whose address passes.
    pub(crate) fn next_free(&self, passes: impl Fn(IpAddr) -> bool) -> Option<u32> {
        self.free.iter().copied().find(|o| self.cidr.address(*o).is_some_and(&passes))
    }

    /// Gives an ordinal to a holder, whether it is free or rests; `None` if it is in use or outside.
    pub(crate) fn grant(
        &mut self,
        ordinal: u32,
        handle: &Handle,
        attributes: &Attributes,
    ) -> Option<Allocation> {
        if self.used.contains_key(&ordinal) {
            return None;
        }
        let address = self.cidr.address(ordinal)?;
        self.free.retain(|o| *o != ordinal);
        self.cooling.retain(|c| c.ordinal != ordinal);
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let uid = self.uid().to_owned();
        self.empty_since = None;
        self.touched = true;
        let used = Used {
            handle: handle.clone(),
            sequence,
            uid: uid.clone(),
            attributes: attributes.clone(),
            record: None,
        };
        self.used.insert(ordinal, used);
        Some(Allocation {
            address,
            block: self.name.clone(),
            block_cidr: self.cidr.network(),
            block_uid: uid,
            sequence,
            pool: self.pool.clone(),
        })
    }

    /// The grant of an ordinal as it was answered.
    pub(crate) fn allocation(&self, ordinal: u32) -> Option<Allocation> {
        let used = self.used.get(&ordinal).filter(|used| used.record.is_none())?;
        Some(Allocation {
            address: self.cidr.address(ordinal)?,
            block: self.name.clone(),
            block_cidr: self.cidr.network(),
            block_uid: used.uid.clone(),
            sequence: used.sequence,
            pool: self.pool.clone(),
        })
    }

    /// Takes up a grant of an earlier life.
    pub(crate) fn restore(&mut self, ordinal: u32, used: Used) {
        self.free.retain(|o| *o != ordinal);
        self.cooling.retain(|c| c.ordinal != ordinal);
        self.next_sequence = self.next_sequence.max(used.sequence.saturating_add(1));
        self.empty_since = None;
        self.touched = true;
        self.used.insert(ordinal, used);
    }

    /// Frees an ordinal if it is held as the release says; it rests until `until`.
    pub(crate) fn release(&mut self, handle: &Handle, allocation: &Allocation, until: Instant) -> bool {
        let Some(ordinal) = self.cidr.ordinal(allocation.address) else { return false };
        let held = self.used.get(&ordinal).is_some_and(|u| {
            u.record.is_none()
                && u.handle == *handle
                && u.sequence == allocation.sequence
                && u.uid == allocation.block_uid
        });
        if held {
            self.touched = true;
            if self.borrower.is_some() {
                // The owner lets it rest.
                self.give_back(ordinal);
            } else {
                self.used.remove(&ordinal);
                self.cooling.push(Cooling { ordinal, until });
            }
        }
        held
    }

    /// Lets a free ordinal rest, as one that may have been in use.
    pub(crate) fn hold(&mut self, ordinal: u32, until: Instant) {
        if self.free.contains(&ordinal) {
            self.touched = true;
            self.free.retain(|o| *o != ordinal);
            self.cooling.push(Cooling { ordinal, until });
        }
    }

    /// Lets every free ordinal rest.
    pub(crate) fn hold_all(&mut self, until: Instant) {
        let free = std::mem::take(&mut self.free);
        self.touched = true;
        self.cooling.extend(free.into_iter().map(|ordinal| Cooling { ordinal, until }));
    }

    /// Moves ordinals that rested long enough to the tail of the queue. Returns whether there were any.
    pub(crate) fn thaw(&mut self, now: Instant) -> bool {
        if self.cooling.iter().all(|c| c.until > now) {
            return false;
        }
        let (due, still): (Vec<_>, Vec<_>) = self.cooling.drain(..).partition(|c| c.until <= now);
        self.cooling = still;
        self.touched = true;
        self.free.extend(due.iter().map(|c| c.ordinal));
        true
    }

    /// When the next ordinal has rested long enough.
    pub(crate) fn next_thaw(&self) -> Option<Instant> {
        self.cooling.iter().map(|c| c.until).min()
    }

    /// Begins the queue after the highest ordinal in use: what a restart no longer remembers to rest comes last.
    pub(crate) fn rotate_queue(&mut self) {
        if let Some(highest) = self.used.keys().next_back().copied() {
            let ahead = self.free.iter().take_while(|o| **o < highest).count();
            self.free.rotate_left(ahead);
        }
    }

    /// What holders on this node have.
    pub(crate) fn own_used(&self) -> impl Iterator<Item = (u32, &Used)> {
        self.used.iter().filter(|(_, used)| used.record.is_none()).map(|(ordinal, used)| (*ordinal, used))
    }

    /// Every ordinal, as often as it is kept.
    #[cfg(test)]
    pub(crate) fn ordinals(&self) -> impl Iterator<Item = u32> {
        let resting = self.cooling.iter().map(|c| c.ordinal);
        self.used.keys().copied().chain(self.free.iter().copied()).chain(resting)
    }

    /// Ordinals that rest.
    pub(crate) fn resting(&self) -> impl Iterator<Item = u32> {
        self.cooling.iter().map(|c| c.ordinal)
    }

    /// Notes that an ordinal is not this node's to give, with its record.
    pub(crate) fn occupy(&mut self, ordinal: u32, record: String) {
        if self.used.get(&ordinal).is_some_and(|used| used.record.as_ref() == Some(&record)) {
            return;
        }
        self.free.retain(|o| *o != ordinal);
        self.cooling.retain(|c| c.ordinal != ordinal);
        self.used.insert(ordinal, Used::of_another(record));
    }

    /// Lets an ordinal rest that is neither free nor in use.
    pub(crate) fn rest(&mut self, ordinal: u32, until: Instant) {
        self.touched = true;
        self.cooling.push(Cooling { ordinal, until });
    }

    /// Makes an ordinal free that is neither resting nor in use.
    pub(crate) fn set_free(&mut self, ordinal: u32) {
        self.free.push_back(ordinal);
    }
}

/// A node as the borrower of an address.
pub(crate) fn borrower(owner: &BlockOwner) -> Borrower {
    Borrower {
        node: owner.name.clone(),
        node_uid: owner.node_uid.clone(),
        journal: journal_of(owner).to_owned(),
    }
}

/// The object of a block that is to be claimed.
pub(crate) fn new_object(cidr: BlockCidr, owner: &BlockOwner, pool: &str, pool_uid: &str) -> IpamBlock {
    let spec = IpamBlockSpec {
        cidr: cidr.to_string(),
        owner: owner.clone(),
        pool: pool.to_owned(),
        pool_uid: pool_uid.to_owned(),
        lends: false,
        shared: false,
        revision: FIRST_REVISION,
        allocations: BTreeMap::new(),
    };
    IpamBlock::new(&cidr.object_name(), spec)
}

/// How long until the next attempt after a number of failures: doubled each time, at most `longest`.
pub(crate) fn pause(first: Duration, longest: Duration, failures: u32) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(longest)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn now() -> Now {
        Now { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    fn block() -> Block {
        Block::new(now(), "10.0.0.0/30".parse().unwrap(), "p".into(), Standing::Owned)
    }

    fn grant(block: &mut Block, holder: &str) -> Allocation {
        let ordinal = block.next_free(|_| true).unwrap();
        block.grant(ordinal, &Handle(holder.into()), &Attributes::default()).unwrap()
    }

    #[test]
    fn released_addresses_rest_and_then_come_last() {
        let mut block = block();
        let start = Instant::now();
        let first = grant(&mut block, "a");
        assert!(block.release(&Handle("a".into()), &first, start + Duration::from_secs(180)));
        assert!(!block.thaw(start + Duration::from_secs(179)));
        let others: Vec<IpAddr> = (0..3).map(|n| grant(&mut block, &format!("b{n}")).address).collect();
        assert!(!others.contains(&first.address));
        assert_eq!(block.next_free(|_| true), None);
        assert!(block.thaw(start + Duration::from_secs(180)));
        assert_eq!(grant(&mut block, "c").address, first.address);
    }

    #[test]
    fn a_late_release_does_not_free_a_reused_address() {
        let mut block = block();
        let start = Instant::now();
        let a = Handle("a".into());
        let old = grant(&mut block, "a");
        assert!(block.release(&a, &old, start));
        assert!(block.thaw(start));
        let ordinal = block.cidr.ordinal(old.address).unwrap();
        let new = block.grant(ordinal, &a, &Attributes::default()).unwrap();
        assert_eq!(new.address, old.address);
        assert!(!block.release(&a, &old, start), "an older number frees nothing");
        assert!(!block.release(&Handle("b".into()), &new, start), "another holder frees nothing");
        let elsewhere = Allocation { block_uid: "other".into(), ..new.clone() };
        assert!(!block.release(&a, &elsewhere, start), "another block object frees nothing");
        assert!(block.release(&a, &new, start));
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (first, longest) = (Duration::from_millis(200), Duration::from_secs(30));
        assert_eq!(pause(first, longest, 1), first);
        assert_eq!(pause(first, longest, 3), Duration::from_millis(800));
        assert_eq!(pause(first, longest, 90), longest);
    }
}
