//! Claiming a block: `create` decides who gets a CIDR.
//!
//! At most one claim of a family is under way; it serves everyone who waits. Candidates come in the node's own order
//! ([`Walk`]). One that exists already is somebody's, so the next is tried; after a few of those the names of all
//! blocks are listed once instead of trying on blindly. An attempt without an answer may have succeeded: the same
//! CIDR is tried again, and if it then exists, it is read, and its claim token tells whose it is.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use caracal_api::{BlockCidr, IpamBlock};

use crate::block::{Standing, new_object};
use crate::grant::Need;
use crate::machine::{Cause, Ipam};
use crate::pool::{Pool, Pools};
use crate::refusal::Closed;
use crate::request::{Action, Now, Reply, Request, RequestId, StoreError};
use crate::verify::Ownership;
use crate::walk::Walk;
use crate::want::Family;

/// A spare block that could not be claimed is not needed yet: the next attempt can wait.
const SPARE_PAUSE: Duration = Duration::from_secs(60);
/// Lists of names in one claim, before a pool counts as exhausted: others may claim as fast as we list.
const MOST_LISTS: u32 = 3;

/// One claim under way.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) family: Family,
    pools: VecDeque<String>,
    only: Option<BlockCidr>,
    spare: bool,
    walk: Option<Walk>,
    /// Names known to be taken, by list or by trying.
    taken: BTreeSet<String>,
    tries: u32,
    lists: u32,
    /// The CIDR being tried.
    candidate: Option<BlockCidr>,
    /// Whether an attempt at the candidate had no answer.
    uncertain: bool,
    step: Step,
    failures: u32,
    pub(crate) last_error: Option<StoreError>,
}

/// Where a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The next candidate is to be found.
    Choose,
    /// The candidate is to be created, not before the time.
    Create(Option<Instant>),
    Creating(RequestId),
    /// The candidate exists: it is to be read whose it is.
    Read(Option<Instant>),
    Reading(RequestId),
    /// The names are to be listed.
    List(Option<Instant>),
    Listing(RequestId),
}

impl Claim {
    fn new(need: Need, spare: bool) -> Self {
        Self {
            family: need.family,
            pools: need.pools.into(),
            only: need.only,
            spare,
            walk: None,
            taken: BTreeSet::new(),
            tries: 0,
            lists: 0,
            candidate: None,
            uncertain: false,
            step: Step::Choose,
            failures: 0,
            last_error: None,
        }
    }

    /// The pool being claimed from.
    pub(crate) fn pool(&self) -> &str {
        self.pools.front().map_or("", String::as_str)
    }

    pub(crate) fn candidate(&self) -> Option<BlockCidr> {
        self.candidate
    }

    /// When the claim goes on by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Create(at) | Step::Read(at) | Step::List(at) => at,
            Step::Choose | Step::Creating(_) | Step::Reading(_) | Step::Listing(_) => None,
        }
    }

    /// Goes on to the next pool with a fresh walk.
    fn next_pool(&mut self) {
        self.pools.pop_front();
        self.walk = None;
        self.tries = 0;
        self.lists = 0;
        self.drop_candidate();
    }

    fn drop_candidate(&mut self) {
        self.candidate = None;
        self.uncertain = false;
        self.step = Step::Choose;
    }
}

impl Ipam {
    /// Starts a claim for an ask, unless one of that family is under way: when that ends, the ask is looked at again.
    pub(crate) fn claim_for(&mut self, need: Need) {
        if self.owner.node_uid.is_empty() {
            // The Node's UID is part of the owner: until it was seen once, there is nothing to claim for.
            return;
        }
        match self.claims.get_mut(&need.family) {
            Some(claim) => claim.spare = false,
            None => {
                self.claims.insert(need.family, Claim::new(need, false));
            }
        }
    }

    /// Claims what nobody waits for yet: the first block of a family, and a spare one below a quarter free.
    pub(crate) fn claim_ahead(&mut self, now: Now) {
        if self.barred(now).is_some() || self.node.is_none() {
            return;
        }
        let Some(pools) = self.pools.clone() else { return };
        for family in [Family::V4, Family::V6] {
            if self.claims.contains_key(&family)
                || self.spare_not_before.contains_key(&family)
                || self.may_claim(&pools, family).is_err()
            {
                continue;
            }
            if let Some(pool) = self.pool_to_claim_ahead(&pools, family) {
                let need = Need { family, pools: vec![pool], only: None, borrow: false };
                self.claims.insert(family, Claim::new(need, true));
            }
        }
    }

    fn pool_to_claim_ahead(&self, pools: &Pools, family: Family) -> Option<String> {
        let labels = self.node.as_ref().map(|n| &n.labels);
        let open = |p: &&Pool| {
            p.family() == family
                && p.unclaimable().is_none()
                && p.rejects_node(labels).is_none()
                && !self.closed.contains_key(&p.name)
        };
        let has_any = self.blocks.values().any(|b| b.family() == family && b.is_owned());
        if !has_any {
            let first = pools.iter().filter(open).find(|p| p.is_general());
            return first.filter(|_| self.settings.claim_ahead).map(|p| p.name.clone());
        }
        let is_short = |pool: &&Pool| {
            let of_pool = self.blocks.values().filter(|b| b.is_owned() && b.pool == pool.name);
            let (free, size) =
                of_pool.fold((0, 0), |(f, s), b| (f + b.free() as u64, s + u64::from(b.cidr.size())));
            size > 0 && free * 4 < size && fill_below(pool, 80)
        };
        pools.iter().filter(open).find(is_short).map(|p| p.name.clone())
    }

    /// Sends what the claims are due to send.
    pub(crate) fn drive_claims(&mut self, now: Now, out: &mut Vec<Action>) {
        for family in [Family::V4, Family::V6] {
            while let Some(mut claim) = self.claims.remove(&family) {
                let due = |at: Option<Instant>| at.is_none_or(|at| at <= now.monotonic);
                match claim.step {
                    Step::Choose => {
                        if self.choose_candidate(now, &mut claim) {
                            self.claims.insert(family, claim);
                            continue;
                        }
                        self.end_claim(now, &claim);
                        // Whoever waited for it is refused, or starts another one.
                        self.serve_waiting(now, out);
                        continue;
                    }
                    Step::Create(at) if due(at) && self.is_known(&claim) => {
                        // Being given back, as something that an earlier life left behind.
                        if claim.only.is_some() {
                            claim.step = Step::Create(Some(self.after_failure(now, &mut claim)));
                        } else {
                            claim.drop_candidate();
                        }
                    }
                    Step::Create(at) if due(at) => {
                        claim.step = match self.creation(&claim) {
                            Some(request) => Step::Creating(self.ask(Cause::Claim(family), request, out)),
                            None => Step::Choose,
                        };
                    }
                    Step::Read(at) if due(at) => {
                        let name = claim.candidate.map(BlockCidr::object_name).unwrap_or_default();
                        claim.step = Step::Reading(self.ask(Cause::Claim(family), Request::Read(name), out));
                    }
                    Step::List(at) if due(at) => {
                        claim.step = Step::Listing(self.ask(Cause::Claim(family), Request::ListNames, out));
                    }
                    Step::Create(_)
                    | Step::Read(_)
                    | Step::List(_)
                    | Step::Creating(_)
                    | Step::Reading(_)
                    | Step::Listing(_) => {}
                }
                let again = claim.step == Step::Choose;
                self.claims.insert(family, claim);
                if !again {
                    break;
                }
            }
        }
    }

    /// Finds what to try next; false if there is nothing left.
    fn choose_candidate(&mut self, now: Now, claim: &mut Claim) -> bool {
        let Some(pools) = self.pools.clone() else { return false };
        loop {
            let Some(name) = claim.pools.front() else { return false };
            let Some(pool) = pools.get(name).filter(|pool| pool.unclaimable().is_none()) else {
                claim.next_pool();
                continue;
            };
            if let Some(only) = claim.only {
                if !pool.takes(only) {
                    claim.next_pool();
                    continue;
                }
                claim.candidate = Some(only);
                claim.step = Step::Create(None);
                return true;
            }
            let crowded = !fill_below(pool, 50) && claim.lists == 0;
            if (claim.tries >= self.settings.blind_tries || crowded) && claim.lists < MOST_LISTS {
                claim.step = Step::List(None);
                return true;
            }
            // A pool of this name may have been made anew with another range meanwhile.
            if claim.walk.as_ref().is_some_and(|walk| !walk.is_over(pool.network, pool.block_prefix)) {
                claim.walk = None;
            }
            let walk = claim
                .walk
                .get_or_insert_with(|| Walk::new(&self.owner.name, pool.network, pool.block_prefix));
            let free = walk.find(|cidr| {
                let name = cidr.object_name();
                !claim.taken.contains(&name) && !self.blocks.contains_key(&name)
            });
            if let (Some(cidr), true) = (free, claim.tries < self.settings.blind_tries) {
                claim.candidate = Some(cidr);
                claim.uncertain = false;
                claim.step = Step::Create(None);
                return true;
            }
            self.close(now, &pool.name, Closed::Exhausted);
            claim.next_pool();
        }
    }

    /// The create of the candidate; `None` if its pool has gone, or does not hold it any more.
    fn creation(&self, claim: &Claim) -> Option<Request> {
        let candidate = claim.candidate?;
        let pool = self.pools.as_ref()?.get(claim.pool()).filter(|pool| pool.takes(candidate))?;
        let object = new_object(candidate, &self.owner, &pool.name, &pool.uid);
        Some(Request::Create(Box::new(object)))
    }

    fn close(&mut self, now: Now, pool: &str, why: Closed) {
        self.closed.insert(pool.to_owned(), (why, now.monotonic + self.settings.closed_for));
    }

    fn end_claim(&mut self, now: Now, claim: &Claim) {
        if claim.spare {
            self.spare_not_before.insert(claim.family, now.monotonic + SPARE_PAUSE);
        }
    }

    /// An answer to a claim's request. A claim whose block came stays out of the table: it has ended.
    pub(crate) fn claim_replied(
        &mut self,
        now: Now,
        family: Family,
        id: RequestId,
        result: Result<Reply, StoreError>,
    ) {
        let Some(mut claim) = self.claims.remove(&family) else { return };
        if let Err(error) = &result {
            claim.last_error = Some(error.clone());
        } else {
            claim.failures = 0;
        }
        let goes_on = match claim.step {
            Step::Creating(known) if known == id => self.created(now, &mut claim, result),
            Step::Reading(known) if known == id => self.read_candidate(now, &mut claim, result),
            Step::Listing(known) if known == id => {
                self.listed(now, &mut claim, result);
                true
            }
            Step::Choose
            | Step::Create(_)
            | Step::Creating(_)
            | Step::Read(_)
            | Step::Reading(_)
            | Step::List(_)
            | Step::Listing(_) => true,
        };
        if goes_on {
            self.claims.insert(family, claim);
        }
    }

    fn created(&mut self, now: Now, claim: &mut Claim, result: Result<Reply, StoreError>) -> bool {
        match result {
            Ok(Reply::Block(object)) => {
                if self.take_up(now, object) {
                    return false;
                }
                self.not_ours(now, claim, "an object that is no block of this name");
            }
            Ok(Reply::Deleted | Reply::Names(_) | Reply::Node(_)) => claim.step = Step::Create(None),
            Err(StoreError::Exists) if claim.uncertain || claim.only.is_some() => {
                claim.step = Step::Read(None)
            }
            Err(StoreError::Exists) => {
                claim.tries += 1;
                self.not_ours(now, claim, "another node");
            }
            Err(StoreError::Announced(by)) => {
                claim.tries += 1;
                self.not_ours(now, claim, &by);
            }
            Err(StoreError::Unreachable(_)) => {
                claim.uncertain = true;
                claim.step = Step::Create(Some(self.after_failure(now, claim)));
            }
            Err(StoreError::Unauthorized(_)) => {
                claim.step = Step::Create(Some(self.after_failure(now, claim)));
            }
            Err(
                error @ (StoreError::Forbidden(_)
                | StoreError::Invalid(_)
                | StoreError::Gone
                | StoreError::Conflict),
            ) => {
                self.close(now, claim.pool(), Closed::Refused(error));
                claim.next_pool();
            }
        }
        true
    }

    fn read_candidate(&mut self, now: Now, claim: &mut Claim, result: Result<Reply, StoreError>) -> bool {
        match result {
            Ok(Reply::Block(object)) => {
                let whose = self.judge(&object.spec.owner);
                let owner = format!("node {}", object.spec.owner.name);
                if whose == Ownership::Ours && !self.is_of_this_life(&object) {
                    // An earlier life left it behind: it goes back first.
                    self.take_up_again(now, object);
                    claim.step = Step::Create(None);
                    return true;
                }
                if whose == Ownership::Ours && self.take_up(now, object) {
                    return false;
                }
                self.not_ours(now, claim, &owner);
            }
            Ok(Reply::Deleted | Reply::Names(_) | Reply::Node(_)) => claim.step = Step::Read(None),
            // Deleted since: it is free again.
            Err(StoreError::Gone) => claim.step = Step::Create(None),
            Err(_) => claim.step = Step::Read(Some(self.after_failure(now, claim))),
        }
        true
    }

    fn listed(&mut self, now: Now, claim: &mut Claim, result: Result<Reply, StoreError>) {
        match result {
            Ok(Reply::Names(names)) => {
                claim.taken = names;
                claim.lists += 1;
                claim.tries = 0;
                claim.walk = None;
                claim.drop_candidate();
            }
            Ok(Reply::Block(_) | Reply::Deleted | Reply::Node(_)) => claim.step = Step::List(None),
            Err(error @ (StoreError::Forbidden(_) | StoreError::Invalid(_))) => {
                self.close(now, claim.pool(), Closed::Refused(error));
                claim.next_pool();
            }
            Err(_) => claim.step = Step::List(Some(self.after_failure(now, claim))),
        }
    }

    /// Leaves a candidate that is somebody's. A requested address ends with it: no other block would serve.
    fn not_ours(&mut self, now: Now, claim: &mut Claim, owner: &str) {
        if let Some(only) = claim.only {
            let until = now.monotonic + self.settings.closed_for;
            self.elsewhere.insert(only.object_name(), (owner.to_owned(), until));
            claim.pools.clear();
        }
        claim.taken.extend(claim.candidate.map(BlockCidr::object_name));
        claim.drop_candidate();
    }

    fn after_failure(&mut self, now: Now, claim: &mut Claim) -> Instant {
        claim.failures += 1;
        now.monotonic + self.pause(claim.failures)
    }

    fn is_known(&self, claim: &Claim) -> bool {
        claim.candidate.is_some_and(|cidr| self.blocks.contains_key(&cidr.object_name()))
    }

    /// Whether a claim is trying to create the block: its answer tells what became of it.
    pub(crate) fn is_being_claimed(&self, name: &str) -> bool {
        self.claims.values().any(|claim| claim.candidate.is_some_and(|c| c.object_name() == name))
    }

    /// Owns a block that was just created, or found to be created by us. It may be known already, by the watch.
    fn take_up(&mut self, now: Now, object: Arc<IpamBlock>) -> bool {
        let name = object.metadata.name.clone().unwrap_or_default();
        if self.blocks.contains_key(&name) {
            self.found(now, &name, object);
            return true;
        }
        if self.judge(&object.spec.owner) != Ownership::Ours {
            // The Node was replaced while the request was under way: the block is the former one's.
            return false;
        }
        self.adopt(now, object, Standing::Owned)
    }
}

/// Whether less than this share of a pool's blocks is taken, as far as the controller counted them.
pub(crate) fn fill_below(pool: &Pool, percent: u128) -> bool {
    pool.blocks.is_none_or(|blocks| u128::from(blocks) * 100 < pool.block_count().saturating_mul(percent))
}
