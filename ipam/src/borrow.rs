//! The borrower's side of sharing: asking for addresses in another node's block, waiting for the loan, giving back.
//!
//! An address is asked for by writing a record into the object, and granted when the object shows that it was lent: for this
//! very ask, since its handle and number are in the record. What was asked for or lent and is not wanted any more is *owed*:
//! a record gives it back, and is written again until the owner was seen to have taken note. That is so once it has
//! written since, and shows the loan no longer: then the block can be forgotten.
//!
//! An object whose revision is not higher than what was seen may be of an earlier time. What it lacks of this node's is asked for
//! again; only the owner's later word takes an address away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use caracal_api::{AllocationRecord, BlockOwner, Borrower, IpamBlock};

use crate::block::{Block, Standing, Used, borrower, pause};
use crate::closing::is_of_before;
use crate::machine::Ipam;
use crate::refusal::Dispute;
use crate::request::{Lost, Now};
use crate::sharing::holding;
use crate::want::Handle;

/// How long a block that was deleted is looked for, in which something was given back.
const AWAITED: Duration = Duration::from_secs(3600);
/// How often that is: as after so many failures.
const AWAITING_PAUSES: u32 = 10;
/// Longest time between two looks for an answer.
const LONGEST_LOOK: Duration = Duration::from_secs(1);
/// Who has an address that this node borrowed before its Node was made anew.
pub(crate) const FORMER_NODE: &str = "the Node that had this name before";

/// The record at an ordinal, if it can be read.
fn at(object: &IpamBlock, ordinal: u32) -> Option<AllocationRecord> {
    object.spec.allocations.get(&ordinal.to_string())?.parse().ok()
}

/// Whether two records are of the same loan, whatever became of it.
fn same_loan(a: &AllocationRecord, b: &AllocationRecord) -> bool {
    a.clone().returned() == b.clone().returned()
}

impl Block {
    /// Whether this node may ask for addresses here now.
    pub(crate) fn lends(&self) -> bool {
        self.standing == Standing::Borrowed
            && self.awaited_since.is_none()
            && self.mistaken.is_none()
            && self.silent_until.is_none()
            && self.is_shared()
    }

    /// Whether the object shows that an ordinal was lent to this node's holder.
    pub(crate) fn is_lent_here(&self, ordinal: u32) -> bool {
        let Some((object, used)) = self.object.as_ref().zip(self.used.get(&ordinal)) else { return false };
        used.record.is_none()
            && at(object, ordinal).is_some_and(|is| is == holding(used, self.borrower.as_ref()))
    }

    /// Gives an ordinal back that was lent or asked for. What the owner was never asked for is free at once.
    pub(crate) fn give_back(&mut self, ordinal: u32) {
        if self.unsent.remove(&ordinal) {
            self.used.remove(&ordinal);
            self.set_free(ordinal);
        } else if let Some(used) = self.used.remove(&ordinal) {
            let returned = holding(&used, self.borrower.as_ref()).returned();
            self.used.insert(ordinal, Used::of_another(returned.to_string()));
            self.owed.insert(ordinal);
            self.touched = true;
        }
    }

    /// A write that asked for addresses was answered: if it certainly did not happen, they were not asked for.
    pub(crate) fn note_asked(&mut self, failed: bool) {
        let sending = std::mem::take(&mut self.sending);
        if failed {
            let own = |o: &u32| self.used.get(o).is_some_and(|used| used.record.is_none());
            self.unsent.extend(sending.into_iter().filter(own));
        }
    }

    /// Whether the owner of the block has not taken note, as far as is known, of something that was given back here.
    pub(crate) fn owes(&self, borrower: &BlockOwner) -> bool {
        !self.owed.is_empty() || self.is_unpublished(borrower, true)
    }

    /// The allocations of another node's block as this one would have them: with what its holders have or ask for, and
    /// what it gives back.
    pub(crate) fn rendered_in(&self, object: &IpamBlock, me: &Borrower) -> BTreeMap<String, String> {
        let mut all = object.spec.allocations.clone();
        for (ordinal, used) in &self.used {
            let text = match &used.record {
                Some(text) if self.owed.contains(ordinal) => text.clone(),
                Some(_) => continue,
                None if self.is_lent_here(*ordinal) => continue,
                None if object.spec.lends => holding(used, Some(me)).asked().to_string(),
                None => continue,
            };
            all.insert(ordinal.to_string(), text);
        }
        all
    }

    /// The object that is to be there again instead of an own one of an earlier time: as its owner had it last.
    pub(crate) fn to_hand_back(&self, mistaken: &IpamBlock) -> Option<IpamBlock> {
        let (known, me) = (self.object.as_ref()?, self.borrower.as_ref()?);
        let mut object = IpamBlock::clone(mistaken);
        object.spec = known.spec.clone();
        object.spec.allocations = self.rendered_in(known, me);
        Some(object)
    }

    /// Follows what the object of another node's block shows. Returned are ordinals that were asked for in vain, and those
    /// that the owner has given to others.
    fn follow(&mut self, is_asking: impl Fn(&Handle) -> bool) -> Vec<(u32, Used)> {
        let (Some(object), Some(me)) = (self.object.clone(), self.borrower.clone()) else {
            return Vec::new();
        };
        let is_word = object.spec.revision > self.revision;
        self.revision = self.revision.max(object.spec.revision);
        let of_others = |(o, used): &(&u32, &Used)| used.record.is_some() && !self.owed.contains(o);
        let others: Vec<u32> = self.used.iter().filter(of_others).map(|(o, _)| *o).collect();
        for ordinal in others {
            self.used.remove(&ordinal);
            self.set_free(ordinal);
        }
        let mut ended = Vec::new();
        let own: Vec<u32> = self.own_used().map(|(ordinal, _)| ordinal).collect();
        for ordinal in own {
            let Some(used) = self.used.get(&ordinal) else { continue };
            let is = at(&object, ordinal);
            let mine = holding(used, Some(&me));
            if is.as_ref().is_some_and(|is| *is == mine || *is == mine.clone().asked()) {
                continue;
            }
            let (asking, used) = (is_asking(&used.handle), used.clone());
            match is {
                None if !asking || object.spec.lends => {}
                Some(_) if !asking && !is_word => {}
                None | Some(_) => {
                    // Where the owner did not say so it may still be lending it.
                    self.give_back(ordinal);
                    if is_word && self.owed.remove(&ordinal) {
                        self.used.remove(&ordinal);
                        self.set_free(ordinal);
                    }
                    ended.push((ordinal, used));
                }
            }
        }
        for (key, text) in &object.spec.allocations {
            let Ok(ordinal) = key.parse::<u32>() else { continue };
            if ordinal >= self.cidr.size() || self.used.contains_key(&ordinal) {
                continue;
            }
            let shown = text.parse::<AllocationRecord>().ok();
            match shown.filter(|shown| shown.borrower.as_ref() == Some(&me)) {
                // Of an earlier life, or of another time: nobody here has it.
                Some(mine) => {
                    self.occupy(ordinal, mine.returned().to_string());
                    self.owed.insert(ordinal);
                    self.touched = true;
                }
                None => self.occupy(ordinal, text.clone()),
            }
        }
        if is_word || is_of_before(&object) {
            self.settle_owed(&object);
        }
        ended
    }

    /// The owner has written since: what it shows no more as lent, it has taken note of. One of before loans lets an address
    /// rest as soon as anybody gave it back, and gives it to others then: nothing may be written there again.
    fn settle_owed(&mut self, object: &IpamBlock) {
        for ordinal in std::mem::take(&mut self.owed) {
            let owed = self.used.get(&ordinal).and_then(Used::loan);
            let is = at(object, ordinal);
            if owed.zip(is.as_ref()).is_some_and(|(owed, is)| same_loan(&owed, is)) {
                self.owed.insert(ordinal);
                continue;
            }
            self.used.remove(&ordinal);
            self.set_free(ordinal);
            if let Some(text) = object.spec.allocations.get(&ordinal.to_string()) {
                self.occupy(ordinal, text.clone());
            }
        }
    }
}

impl Ipam {
    /// This node as a borrower is named.
    pub(crate) fn as_borrower(&self) -> Borrower {
        borrower(&self.owner)
    }

    /// Follows what the object of a borrowed block shows. Whose address the owner has given to another is told.
    pub(crate) fn follow(&mut self, block: &mut Block) {
        block.borrower = Some(self.as_borrower());
        let ended = block.follow(|handle| self.is_reserved(handle));
        for (ordinal, used) in ended {
            self.forget_holder(&used.handle, &block.name, ordinal);
            let (Some(address), false) = (block.cidr.address(ordinal), self.is_reserved(&used.handle)) else {
                continue;
            };
            let holder = match block.used.get(&ordinal) {
                Some(other)
                    if other.loan().and_then(|l| l.borrower).is_some_and(|by| by.node == self.owner.name) =>
                {
                    FORMER_NODE.to_owned()
                }
                Some(other) => other.holder(),
                None => String::new(),
            };
            let Used { handle, attributes, .. } = used;
            self.lost.push(Lost { handle, attributes, address, block: block.name.clone(), holder });
        }
    }

    /// Reads the blocks in which an answer is waited for, again and again, since nothing tells of them.
    pub(crate) fn look_for_answers(&mut self, now: Now) {
        let first = self.settings.first_pause / 2;
        let mut waiting = std::collections::BTreeSet::new();
        for reservation in self.reserved.values() {
            waiting.extend(reservation.allocations.iter().map(|a| a.block.clone()));
        }
        for block in self.blocks.values_mut().filter(|block| block.standing == Standing::Borrowed) {
            if !waiting.contains(&block.name) {
                block.poll = (None, 0);
                continue;
            }
            let pause = pause(first, LONGEST_LOOK, block.poll.1 + 1);
            match block.poll.0 {
                None => block.poll.0 = Some(now.monotonic + pause),
                Some(at) if at <= now.monotonic => {
                    block.read_wanted |= block.work.is_none();
                    block.poll = (Some(now.monotonic + pause), block.poll.1 + 1);
                }
                Some(_) => {}
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
            let is = object.and_then(|object| at(object, ordinal));
            is.is_some_and(|is| same_loan(&is, &holding(used, Some(&me))))
        };
        let confirmed = |used: &Used| !self.is_reserved(&used.handle);
        let missing = block.own_used().any(|(ordinal, used)| confirmed(used) && !shows(ordinal, used));
        // While it is shared, what is missing can be asked for again.
        if missing && !block.is_shared() {
            Standing::Disputed(Dispute::Foreign(format!("node {owner}")))
        } else {
            Standing::Borrowed
        }
    }

    /// Gives up what was asked for in a block that is missing.
    pub(crate) fn give_up_asks(&mut self, name: &str) {
        let Some(block) = self.blocks.get(name) else { return };
        let asked = block.own_used().filter(|(_, used)| self.is_reserved(&used.handle));
        let asked: Vec<(u32, Handle)> = asked.map(|(ordinal, used)| (ordinal, used.handle.clone())).collect();
        for (ordinal, handle) in asked {
            if let Some(block) = self.blocks.get_mut(name) {
                block.give_back(ordinal);
            }
            self.forget_holder(&handle, name, ordinal);
        }
    }

    /// The owner of a block did not answer in time: another one is looked for, for a while.
    pub(crate) fn pass_over(&mut self, name: &str, until: Instant) {
        if let Some(block) = self.blocks.get_mut(name).filter(|block| block.borrower.is_some()) {
            block.silent_until = Some(until);
        }
    }
}
