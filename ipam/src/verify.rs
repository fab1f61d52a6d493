//! Whose a block is, and reading it when that is in doubt.
//!
//! The watch only raises suspicion: its news may be older than what was just created or deleted here. What decides is
//! a read from the API server itself, made after the suspicion arose. Until it has answered nothing is granted from a
//! block whose loss was heard of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caracal_api::{AllocationRecord, BlockOwner, IpamBlock, OwnerKind};

use crate::block::{Block, Standing, Work};
use crate::machine::{Cause, Ipam};
use crate::recover::{JournalTrust, journal_of};
use crate::refusal::{Dispute, Fence};
use crate::request::{Action, Delta, Now, Reply, Request, RequestId, StoreError};

/// Pause after an answer that a repeat will hardly change (403, 422).
const HOPELESS_PAUSE: Duration = Duration::from_secs(30);

/// Whose a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// This node's.
    Ours,
    /// A former node's of this name.
    Former,
    /// Somebody else's.
    Other,
}

impl Ipam {
    /// Whose a block is, by the owner in it. A journal that lost its token knows its blocks by node UID and machine.
    pub(crate) fn judge(&self, owner: &BlockOwner) -> Ownership {
        let us = &self.owner;
        if owner.kind != OwnerKind::Node || owner.name != us.name {
            return Ownership::Other;
        }
        if owner.node_uid != us.node_uid {
            return Ownership::Former;
        }
        let same_journal = journal_of(owner) == journal_of(us) || self.trust == JournalTrust::Lost;
        if owner.machine_id == us.machine_id && same_journal { Ownership::Ours } else { Ownership::Other }
    }

    /// Takes news of the watch.
    pub(crate) fn heard(&mut self, now: Now, delta: Delta) {
        self.heard_live(now);
        match delta {
            Delta::Saw(object) => self.saw(now, object),
            Delta::Gone(name) => {
                self.strangers.remove(&name);
                self.suspect(&name);
            }
            Delta::Listed(names) => {
                self.strangers.retain(|name, _| names.contains(name));
                self.compare(&names);
            }
        }
    }

    pub(crate) fn saw(&mut self, now: Now, object: Arc<IpamBlock>) {
        let name = object.metadata.name.clone().unwrap_or_default();
        let whose = self.judge(&object.spec.owner);
        let Some(block) = self.blocks.get_mut(&name) else {
            let leaving = object.metadata.deletion_timestamp.is_some();
            if whose != Ownership::Ours || self.is_being_claimed(&name) {
                self.strangers.insert(name, object);
            } else if !leaving {
                self.take_up_again(now, object);
            }
            return;
        };
        if block.borrower.is_some() {
            // It was another node's: only a reading can tell what became of it.
            block.read_wanted = true;
            return;
        }
        let same = object.metadata.uid.as_deref() == Some(block.uid());
        if same && whose == Ownership::Ours {
            // One that is being given back is deleted as it was: if somebody borrows from it since, that fails.
            let stays = block.work.is_none() && block.standing != Standing::Returning;
            if stays && block.is_news(&object) {
                self.refresh(now, &name, object);
            }
        } else if block.standing == Standing::Returning {
            // The answer to the delete tells; what a late create made after it is looked at then.
            if !same {
                self.strangers.insert(name, object);
            }
        } else if same || whose == Ownership::Ours {
            block.read_wanted = true;
        } else {
            self.suspect(&name);
        }
    }

    /// A later version of an own block came by itself.
    fn refresh(&mut self, now: Now, name: &str, object: Arc<IpamBlock>) {
        let Some(mut block) = self.blocks.remove(name) else { return };
        block.set_object(object);
        block.touched = true;
        block.take_over(now.monotonic + self.cooldown());
        block.take_note(now.monotonic + self.cooldown());
        self.blocks.insert(name.to_owned(), block);
    }

    /// Whether an object is another node's in which this node has addresses, or asks for some. What a block of its own
    /// shows as borrowed is of another time.
    fn borrows(&self, block: &Block, object: &IpamBlock) -> bool {
        let is_own = |object: &IpamBlock| object.spec.owner.name == self.owner.name;
        if is_own(object) {
            return false;
        }
        let me = Some(self.as_borrower());
        let ours = |text: &String| text.parse::<AllocationRecord>().is_ok_and(|record| record.borrower == me);
        let was_own = block.object.as_deref().is_some_and(is_own);
        block.borrower.is_some() || (!was_own && object.spec.allocations.values().any(ours))
    }

    /// Looks again at blocks that were left to a claim or to a delete: it may have ended without them.
    pub(crate) fn look_again(&mut self, now: Now) {
        let left = |(name, object): &(&String, &Arc<IpamBlock>)| {
            self.judge(&object.spec.owner) == Ownership::Ours
                && !self.is_being_claimed(name)
                && !self.blocks.contains_key(*name)
        };
        let names: Vec<String> = self.strangers.iter().filter(left).map(|(name, _)| name.clone()).collect();
        for name in names {
            if let Some(object) = self.strangers.remove(&name) {
                self.saw(now, object);
            }
        }
    }

    /// Stops granting from a block until it was read. One that is being given back stays so: a delete without an answer
    /// may still be on its way, so the block must not become ours again before the API server has answered one.
    pub(crate) fn suspect(&mut self, name: &str) {
        if let Some(block) = self.blocks.get_mut(name).filter(|b| b.standing != Standing::Returning) {
            block.read_wanted = true;
            block.retry.not_before = None;
            if block.is_owned() {
                block.standing = Standing::Disputed(Dispute::Suspected);
            }
        }
    }

    fn compare(&mut self, names: &BTreeSet<String>) {
        let absent: Vec<String> = self
            .blocks
            .values()
            .filter(|b| !names.contains(&b.name) && b.borrower.is_none())
            .map(|b| b.name.clone())
            .collect();
        for name in absent {
            self.suspect(&name);
        }
    }

    /// A read, a create or a replace has shown the block as it is.
    pub(crate) fn found(&mut self, now: Now, name: &str, object: Arc<IpamBlock>) {
        let whose = self.judge(&object.spec.owner);
        let owner = &object.spec.owner;
        let (owner_name, owner_uid) = (owner.name.clone(), owner.node_uid.clone());
        let Some(mut block) = self.blocks.remove(name) else { return };
        block.last_read = now.monotonic;
        block.read_wanted = false;
        if block.borrower.is_some() && whose == Ownership::Ours {
            // It was this node's once, as an old backup has it. Whoever it was borrowed from knows better.
            block.mistaken = Some(object);
            self.blocks.insert(name.to_owned(), block);
            return;
        }
        if self.borrows(&block, &object) {
            block.set_object(object);
            block.touched = true;
            block.standing = Standing::Borrowed;
            self.follow(&mut block);
            if block.own_used().any(|(ordinal, _)| !block.is_lent_here(ordinal)) {
                block.publish_at = Some(now.monotonic);
            }
            block.standing = self.standing_in(&block, &owner_name);
            self.blocks.insert(name.to_owned(), block);
            return;
        }
        let first_seen = block.object.is_none();
        // A block known from the own journal is ours whatever token its object shows: it was adopted, not published yet.
        let ours = whose == Ownership::Ours
            || (!first_seen && whose == Ownership::Other && self.same_machine(&object.spec.owner));
        if ours {
            let written_by_us = self.is_of_this_life(&object);
            block.set_object(object);
            block.touched = true;
            // One that a lost journal does not know is taken over by a write; see `take_up_again`.
            let to_be_written = matches!(
                block.standing,
                Standing::Disputed(Dispute::Unconfirmed | Dispute::Announced(_) | Dispute::Open)
            );
            let is_open = block.is_open() && !written_by_us;
            block.take_over(now.monotonic + self.cooldown());
            if is_open {
                block.left_behind = false;
                block.standing = Standing::Disputed(Dispute::Open);
            } else if block.left_behind {
                block.standing = Standing::Returning;
            } else if !to_be_written || written_by_us {
                block.standing = Standing::Owned;
            }
            if first_seen {
                self.settle_unaccounted(now, &mut block);
            }
            block.take_note(now.monotonic + self.cooldown());
        } else if block.own_used().next().is_none() && (whose == Ownership::Former || !block.has_loans()) {
            // Not ours, and nobody has an address of it from us: nothing to do with it any more.
            return;
        } else {
            block.standing = Standing::Disputed(match whose {
                Ownership::Former => Dispute::FormerNode(owner_uid),
                Ownership::Ours | Ownership::Other => Dispute::Foreign(format!("node {owner_name}")),
            });
        }
        self.blocks.insert(name.to_owned(), block);
    }

    /// Whether the object was written in this life: then no request of an earlier one can hit it any more.
    pub(crate) fn is_of_this_life(&self, object: &IpamBlock) -> bool {
        object.spec.owner == self.owner
    }

    fn same_machine(&self, owner: &BlockOwner) -> bool {
        let us = &self.owner;
        owner.name == us.name && owner.node_uid == us.node_uid && owner.machine_id == us.machine_id
    }

    /// An answer to a request about a block.
    pub(crate) fn block_replied(
        &mut self,
        now: Now,
        name: &str,
        id: RequestId,
        result: Result<Reply, StoreError>,
    ) {
        let Some(work) = self.work_done(name, id) else { return };
        self.note_outcome(now, name, work, &result);
        if let Some(block) = self.blocks.get_mut(name) {
            block.note_asked(!matches!(&result, Ok(_) | Err(StoreError::Unreachable(_))));
        }
        match (work, result) {
            (Work::Read | Work::Publish | Work::Restore, Ok(Reply::Block(object))) => {
                self.heard_live(now);
                self.found(now, name, object);
            }
            (Work::Return, Ok(_)) | (Work::Return, Err(StoreError::Gone)) => self.forget(name),
            (Work::Read, Err(StoreError::Gone)) => self.is_missing(now, name),
            // It changed: no delete that is still on its way can hit it any more. See how it is now.
            (Work::Return, Err(StoreError::Conflict)) => {
                if let Some(block) = self.blocks.get_mut(name) {
                    block.standing = Standing::Disputed(Dispute::Suspected);
                    block.read_wanted = true;
                }
            }
            (Work::Publish, Err(StoreError::Announced(by))) => {
                if let Some(block) = self.blocks.get_mut(name) {
                    block.publish_at = Some(now.monotonic);
                    // What is borrowed is announced by its owner, as it should be.
                    if block.standing != Standing::Borrowed {
                        block.standing = Standing::Disputed(Dispute::Announced(by));
                    }
                }
            }
            (Work::Publish, Err(error)) => {
                if let Some(block) = self.blocks.get_mut(name) {
                    block.publish_at = Some(now.monotonic);
                    block.read_wanted |= error == StoreError::Conflict || block.mistaken.is_some();
                }
                if error == StoreError::Gone {
                    self.suspect(name);
                }
            }
            (Work::Restore, Err(StoreError::Exists)) => self.suspect(name),
            (
                Work::Read | Work::Publish | Work::Restore,
                Ok(Reply::Deleted | Reply::Names(_) | Reply::Node(_)),
            )
            | (Work::Read | Work::Restore | Work::Return, Err(_)) => {}
        }
    }

    /// Keeps the error and sets the pause, or clears both.
    fn note_outcome(&mut self, now: Now, name: &str, work: Work, result: &Result<Reply, StoreError>) {
        let failures = self.blocks.get(name).map_or(0, |b| b.retry.failures) + 1;
        let pause = match result {
            Ok(_) | Err(StoreError::Conflict | StoreError::Gone | StoreError::Exists) => None,
            Err(StoreError::Unreachable(_) | StoreError::Unauthorized(_) | StoreError::Announced(_)) => {
                Some(self.pause(failures))
            }
            Err(StoreError::Forbidden(_) | StoreError::Invalid(_)) => Some(self.jittered(HOPELESS_PAUSE)),
        };
        let Some(block) = self.blocks.get_mut(name) else { return };
        match (pause, result) {
            (Some(pause), Err(error)) => {
                block.retry.failures = failures;
                block.retry.not_before = Some(now.monotonic + pause);
                block.retry.last_error = Some(format!("{} block {name}: {error}", doing(work)));
            }
            (Some(_) | None, _) => block.retry = crate::block::Retry::default(),
        }
    }

    /// The API server has no such block.
    fn is_missing(&mut self, now: Now, name: &str) {
        let me = self.owner.name.clone();
        let Some(block) = self.blocks.get_mut(name) else { return };
        block.last_read = now.monotonic;
        block.read_wanted = false;
        let of_another = block.object.as_ref().is_some_and(|object| object.spec.owner.name != me);
        if block.borrower.is_some() || of_another {
            // Another node's, whatever became of the loan: only its owner creates it anew.
            block.mistaken = None;
            self.give_up_asks(name);
            let Some(block) = self.blocks.get_mut(name) else { return };
            if block.own_used().next().is_none() {
                self.await_again(now, name);
            } else {
                block.standing = Standing::Disputed(Dispute::Foreign("nobody: it was deleted".to_owned()));
            }
        } else if block.used.is_empty() {
            self.forget(name);
        } else {
            block.standing = Standing::Disputed(Dispute::Missing);
        }
    }

    fn forget(&mut self, name: &str) {
        self.blocks.remove(name);
    }

    /// Reads what was not heard of for long: the own Node, and the block that was not read for longest. A block that is
    /// somebody else's while pods here hold addresses of it is read each time: the watch does not tell of it.
    pub(crate) fn verify_if_silent(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.verify_at > now.monotonic {
            return;
        }
        let every = self.settings.verify_every;
        self.verify_at = now.monotonic + self.jittered(every);
        let silent = |live: Option<Instant>| {
            live.is_none_or(|live| now.monotonic.saturating_duration_since(live) >= every / 2)
        };
        if silent(self.node_live) && !self.in_flight.values().any(|cause| *cause == Cause::Node) {
            self.ask(Cause::Node, Request::ReadNode, out);
        }
        if silent(self.blocks_live)
            && let Some(block) = self.blocks.values_mut().min_by_key(|b| b.last_read)
        {
            block.read_wanted = true;
        }
        for block in self.blocks.values_mut() {
            match block.standing {
                Standing::Disputed(Dispute::Foreign(_) | Dispute::FormerNode(_)) => block.read_wanted = true,
                Standing::Disputed(
                    Dispute::Unconfirmed
                    | Dispute::Suspected
                    | Dispute::Missing
                    | Dispute::Announced(_)
                    | Dispute::Open,
                )
                | Standing::Owned
                | Standing::Returning => {}
                Standing::Borrowed => block.read_wanted = true,
            }
        }
    }

    /// Sends what each block is due to ask.
    pub(crate) fn drive_blocks(&mut self, now: Now, out: &mut Vec<Action>) {
        let names: Vec<String> = self.blocks.keys().cloned().collect();
        for name in names {
            self.schedule_publish(now, &name);
            let Some((work, request)) = self.due(now, &name) else { continue };
            let shares = self.shares();
            let is_write = matches!(work, Work::Publish | Work::Restore);
            let promises = self.blocks.get(&name).is_some_and(|block| is_write && block.is_dealt_in(shares));
            let kept = if promises { self.owned_object(&name) } else { None };
            let cause = Cause::Block(name.clone());
            let id = match kept {
                Some(kept) => self.keep_and_ask(cause, kept, request, out),
                None => self.ask(cause, request, out),
            };
            if let Some(block) = self.blocks.get_mut(&name) {
                block.work = Some((id, work));
                if is_write {
                    block.count_write();
                    block.sending = std::mem::take(&mut block.unsent);
                }
            }
        }
    }

    /// What a block is to ask now.
    fn due(&mut self, now: Now, name: &str) -> Option<(Work, Request)> {
        let block = self.blocks.get(name)?;
        let resting = block.retry.not_before.is_some_and(|at| at > now.monotonic);
        if block.work.is_some() || resting {
            return None;
        }
        if block.read_wanted && block.standing != Standing::Returning && !self.owner.node_uid.is_empty() {
            return Some((Work::Read, Request::Read(name.to_owned())));
        }
        if let Some(mistaken) = &block.mistaken {
            let object = block.to_hand_back(mistaken)?;
            return Some((Work::Publish, Request::Replace(Box::new(object))));
        }
        match &block.standing {
            Standing::Returning => {
                let (uid, resource_version) = (block.uid().to_owned(), block.resource_version().to_owned());
                Some((Work::Return, Request::Delete { name: name.to_owned(), uid, resource_version }))
            }
            Standing::Disputed(Dispute::Missing) if self.fence != Some(Fence::NodeGone) => {
                let object = block.to_create(&self.owner);
                Some((Work::Restore, Request::Create(Box::new(object))))
            }
            Standing::Disputed(Dispute::Unconfirmed | Dispute::Announced(_) | Dispute::Open) => block
                .to_publish(&self.owner, block.is_shared())
                .filter(|object| object.metadata.resource_version.is_some())
                .map(|o| (Work::Publish, Request::Replace(Box::new(o)))),
            Standing::Disputed(_) => None,
            Standing::Owned | Standing::Borrowed => {
                let object = self.publication(now, name)?;
                Some((Work::Publish, Request::Replace(Box::new(object))))
            }
        }
    }

    /// When a block that waits has something to ask.
    pub(crate) fn next_work_at(&self, block: &Block) -> Option<Instant> {
        let pausing = block.retry.not_before;
        if block.read_wanted && block.standing != Standing::Returning {
            return if self.owner.node_uid.is_empty() { None } else { pausing };
        }
        if block.mistaken.is_some() {
            return pausing;
        }
        match &block.standing {
            Standing::Returning => pausing,
            Standing::Disputed(Dispute::Missing) if self.fence != Some(Fence::NodeGone) => pausing,
            Standing::Disputed(Dispute::Unconfirmed | Dispute::Announced(_) | Dispute::Open) => pausing,
            Standing::Disputed(_) => None,
            Standing::Owned | Standing::Borrowed => {
                block.publish_at.map(|at| pausing.map_or(at, |p| p.max(at)))
            }
        }
    }
}

fn doing(work: Work) -> &'static str {
    match work {
        Work::Read => "reading",
        Work::Publish => "publishing to",
        Work::Restore => "creating anew",
        Work::Return => "giving back",
    }
}

/// Whether an object is a later version, where both versions are numbers; otherwise it is taken for one.
pub(crate) fn is_newer(new: &IpamBlock, old: Option<&IpamBlock>) -> bool {
    let version = |o: &IpamBlock| o.metadata.resource_version.as_deref().and_then(|v| v.parse::<u64>().ok());
    match (version(new), old.and_then(version)) {
        (Some(new), Some(old)) => new > old,
        (Some(_) | None, _) => true,
    }
}
