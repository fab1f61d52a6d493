//! The machine: its state, and what each input does first.
//!
//! An input changes the state; then one round follows, the same for every input: rested addresses become free,
//! waiting asks are served, claims move on, blocks that are empty and not needed are given back, and each block asks
//! the API server for what it needs. Nothing is lost by a missed wake-up, since every round looks at everything, and
//! that is little: a node has a handful of blocks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use caracal_api::{BlockOwner, IpamBlock};

use crate::block::{Block, Work, pause};
use crate::claim::Claim;
use crate::loan::Loan;
use crate::pool::Pools;
use crate::recover::JournalTrust;
use crate::refusal::{Closed, Fence, Refusal};
use crate::request::{Action, AskId, Input, Lost, NodeView, Now, Reply, Request, RequestId, StoreError};
use crate::reserve::Reservation;
use crate::settings::Settings;
use crate::want::{Allocation, Family, Handle, Want};

/// What stands for the version of a block that the journal keeps as one not to be granted from.
const DOUBTED: &str = "doubted";

/// An ask that waits for a claim.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) id: AskId,
    pub(crate) want: Want,
    pub(crate) since: Instant,
    pub(crate) until: Instant,
}

/// What a request in flight is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Reading the own Node.
    Node,
    /// Looking for a block to borrow from.
    Loan(Family),
    Claim(Family),
    Block(String),
}

/// The allocator of one node.
#[derive(Clone, Debug)]
pub struct Ipam {
    pub(crate) settings: Settings,
    pub(crate) owner: BlockOwner,
    pub(crate) trust: crate::recover::JournalTrust,
    pub(crate) rebooted: bool,
    pub(crate) node: Option<NodeView>,
    pub(crate) pools: Option<Arc<Pools>>,
    pub(crate) blocks: BTreeMap<String, Block>,
    /// Blocks of this node's name that are not its own, as far as it knows who it is, or that a claim of its own is
    /// trying: looked at again when that changes.
    pub(crate) strangers: BTreeMap<String, Arc<IpamBlock>>,
    pub(crate) holders: BTreeMap<Handle, Vec<(String, u32)>>,
    pub(crate) waiting: VecDeque<Waiting>,
    pub(crate) claims: BTreeMap<Family, Claim>,
    /// Addresses that holders on this node have lost, until that is told.
    pub(crate) lost: Vec<Lost>,
    /// Asks whose addresses are being written.
    pub(crate) reserved: BTreeMap<AskId, Reservation>,
    pub(crate) loans: BTreeMap<Family, Loan>,
    pub(crate) no_loan_before: BTreeMap<Family, Instant>,
    pub(crate) closed: BTreeMap<String, (Closed, Instant)>,
    pub(crate) elsewhere: BTreeMap<String, (String, Instant)>,
    pub(crate) spare_not_before: BTreeMap<Family, Instant>,
    pub(crate) in_flight: BTreeMap<RequestId, Cause>,
    pub(crate) next_request: u64,
    pub(crate) fence: Option<Fence>,
    pub(crate) started: Instant,
    /// When the API server last confirmed anything about the own blocks, in this process.
    pub(crate) blocks_live: Option<Instant>,
    /// When it last confirmed the own Node.
    pub(crate) node_live: Option<Instant>,
    /// When ownership is read if nothing live was heard by then.
    pub(crate) verify_at: Instant,
    /// Time without a live reading before this process started.
    pub(crate) unseen_before: Duration,
    pub(crate) rng: SmallRng,
}

impl Ipam {
    pub(crate) fn empty(now: Now, settings: Settings, owner: BlockOwner) -> Self {
        let rng = SmallRng::seed_from_u64(settings.seed);
        let settings_verify = settings.verify_every;
        Self {
            settings,
            owner,
            trust: JournalTrust::Whole,
            rebooted: false,
            node: None,
            pools: None,
            blocks: BTreeMap::new(),
            strangers: BTreeMap::new(),
            holders: BTreeMap::new(),
            waiting: VecDeque::new(),
            claims: BTreeMap::new(),
            lost: Vec::new(),
            reserved: BTreeMap::new(),
            loans: BTreeMap::new(),
            no_loan_before: BTreeMap::new(),
            closed: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            spare_not_before: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_request: 0,
            fence: None,
            started: now.monotonic,
            blocks_live: None,
            node_live: None,
            verify_at: now.monotonic + settings_verify,
            unseen_before: Duration::ZERO,
            rng,
        }
    }

    /// Takes an input and adds what follows from it to `out`.
    pub fn on(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Allocate(id, want) => self.allocate(now, id, want, out),
            Input::Forget(id) => {
                self.waiting.retain(|w| w.id != id);
                self.give_up_reservation(now, id);
            }
            Input::Release(handle, allocations) => self.release(now, &handle, &allocations),
            Input::Blocks(delta) => self.heard(now, delta),
            Input::Pools(pools) => {
                self.pools = Some(pools);
                // Whether blocks are shared may have changed.
                self.blocks.values_mut().for_each(|block| block.touched = true);
            }
            Input::Node(node) => self.node_is(now, node),
            Input::Replied(id, result) => self.replied(now, id, result),
            Input::Publish => self.publish_now(now),
            Input::Tick => {}
        }
        self.round(now, out);
    }

    /// When the machine wants an [`Input::Tick`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let asks = self.waiting.iter().map(|w| w.until);
        let claims = self.claims.values().filter_map(Claim::deadline);
        let loans = self.loans.values().filter_map(Loan::deadline);
        let reserved = self.reserved.values().map(|r| self.answer_due(r));
        let blocks = self.blocks.values().filter_map(|b| self.block_deadline(b));
        let spares = self.spare_not_before.values().copied();
        let verify = Some(self.verify_at);
        asks.chain(claims).chain(loans).chain(reserved).chain(blocks).chain(spares).chain(verify).min()
    }

    /// Name and resource version of the blocks that this node owns for certain, or borrows from: those that the journal
    /// should keep.
    pub fn owned_versions(&self) -> impl Iterator<Item = (&str, &str)> {
        let kept = self.blocks.values().filter(|b| b.is_kept());
        kept.map(|b| (b.name.as_str(), if b.is_kept_as_doubted() { DOUBTED } else { b.resource_version() }))
    }

    /// A block as the journal should keep it. One that is not certainly this node's has no version: a restart knows what was
    /// lent of it, and grants nothing.
    pub fn owned_object(&self, name: &str) -> Option<IpamBlock> {
        let block = self.blocks.get(name).filter(|b| b.is_kept())?;
        let mut object = block.to_publish(&self.owner, self.shares())?;
        if block.is_kept_as_doubted() {
            object.metadata.resource_version = None;
        }
        block.keep_open(&mut object);
        Some(object)
    }

    /// The owner as it is written into blocks; its Node UID is empty until the Node was seen once.
    pub fn owner(&self) -> &BlockOwner {
        &self.owner
    }

    /// When the API server last confirmed both the own Node and the own blocks, if it did in this process.
    pub fn last_live(&self) -> Option<Instant> {
        self.live()
    }

    fn round(&mut self, now: Now, out: &mut Vec<Action>) {
        self.follow_pools();
        out.extend(self.lost.drain(..).map(Action::Lost));
        for block in self.blocks.values_mut() {
            block.thaw(now.monotonic);
            block.silent_until = block.silent_until.filter(|until| *until > now.monotonic);
        }
        self.closed.retain(|_, (_, until)| *until > now.monotonic);
        self.elsewhere.retain(|_, (_, until)| *until > now.monotonic);
        self.spare_not_before.retain(|_, until| *until > now.monotonic);
        self.no_loan_before.retain(|_, until| *until > now.monotonic);
        self.settle_reservations(now, out);
        self.serve_waiting(now, out);
        self.claim_ahead(now);
        self.drive_claims(now, out);
        self.drive_loans(now, out);
        self.look_again(now);
        self.give_back(now);
        self.verify_if_silent(now, out);
        self.lend(now);
        self.look_for_answers(now);
        self.drive_blocks(now, out);
    }

    pub(crate) fn release(&mut self, now: Now, handle: &Handle, allocations: &[Allocation]) {
        let until = now.monotonic + self.cooldown();
        for allocation in allocations {
            let Some(block) = self.blocks.get_mut(&allocation.block) else { continue };
            if block.release(handle, allocation, until) {
                let ordinal = block.cidr.ordinal(allocation.address);
                if let Some(held) = self.holders.get_mut(handle) {
                    held.retain(|(name, o)| *name != allocation.block || Some(*o) != ordinal);
                }
            }
        }
        if self.holders.get(handle).is_some_and(Vec::is_empty) {
            self.holders.remove(handle);
        }
    }

    /// The own Node as it is now. A Node of another UID is another node: what the former one owned is not ours.
    fn node_is(&mut self, now: Now, node: Option<NodeView>) {
        let Some(node) = node else {
            self.fence = Some(Fence::NodeGone);
            self.claims.clear();
            return;
        };
        self.node_live = Some(now.monotonic);
        if self.fence == Some(Fence::NodeGone) {
            self.fence = None;
        }
        if self.owner.node_uid != node.uid {
            self.owner.node_uid.clone_from(&node.uid);
            let names: Vec<String> = self.blocks.keys().cloned().collect();
            for name in names {
                self.suspect(&name);
            }
            for object in std::mem::take(&mut self.strangers).into_values() {
                self.saw(now, object);
            }
        }
        self.node = Some(node);
    }

    fn node_replied(&mut self, now: Now, result: Result<Reply, StoreError>) {
        match result {
            Ok(Reply::Node(view)) => self.node_is(now, Some(view)),
            Err(StoreError::Gone) => self.node_is(now, None),
            Ok(Reply::Block(_) | Reply::Deleted | Reply::Names(_)) | Err(_) => {}
        }
    }

    /// Notes an answer; whoever waits for it is served in the round that follows.
    fn replied(&mut self, now: Now, id: RequestId, result: Result<Reply, StoreError>) {
        let Some(cause) = self.in_flight.remove(&id) else { return };
        match &result {
            Err(StoreError::Unauthorized(why)) => self.fence = Some(Fence::Unauthorized(why.clone())),
            Err(StoreError::Unreachable(_)) => {}
            Ok(_)
            | Err(
                StoreError::Exists
                | StoreError::Announced(_)
                | StoreError::Conflict
                | StoreError::Gone
                | StoreError::Forbidden(_)
                | StoreError::Invalid(_),
            ) => {
                if matches!(self.fence, Some(Fence::Unauthorized(_))) {
                    self.fence = None;
                }
            }
        }
        match cause {
            Cause::Node => self.node_replied(now, result),
            Cause::Loan(family) => self.loan_replied(now, family, id, result),
            Cause::Claim(family) => self.claim_replied(now, family, id, result),
            Cause::Block(name) => self.block_replied(now, &name, id, result),
        }
    }

    /// Sends a request.
    pub(crate) fn ask(&mut self, cause: Cause, request: Request, out: &mut Vec<Action>) -> RequestId {
        let id = self.next_id(cause);
        out.push(Action::Ask(id, request));
        id
    }

    /// Sends a request once the journal has the block as it will be.
    pub(crate) fn keep_and_ask(
        &mut self,
        cause: Cause,
        block: IpamBlock,
        request: Request,
        out: &mut Vec<Action>,
    ) -> RequestId {
        let id = self.next_id(cause);
        out.push(Action::KeepAndAsk(Box::new(block), id, request));
        id
    }

    fn next_id(&mut self, cause: Cause) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.in_flight.insert(id, cause);
        id
    }

    /// The jittered pause after a number of failures.
    pub(crate) fn pause(&mut self, failures: u32) -> Duration {
        let pause = pause(self.settings.first_pause, self.settings.longest_pause, failures);
        self.jittered(pause)
    }

    /// A duration, a quarter more or less.
    pub(crate) fn jittered(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(self.rng.random_range(0.75..1.25))
    }

    pub(crate) fn cooldown(&self) -> Duration {
        let seconds = self.pools.as_ref().map_or_else(
            || caracal_api::IpamConfigSpec::default().ip_cooldown_seconds,
            |p| p.config().ip_cooldown_seconds,
        );
        Duration::from_secs(u64::from(seconds))
    }

    /// Time since the API server last confirmed anything, counted over restarts.
    pub(crate) fn unseen(&self, now: Now) -> Duration {
        match self.live() {
            Some(last) => now.monotonic.saturating_duration_since(last),
            None => now.monotonic.saturating_duration_since(self.started) + self.unseen_before,
        }
    }

    /// When the API server last confirmed both the own Node and the own blocks, if it did in this process.
    fn live(&self) -> Option<Instant> {
        if self.blocks.is_empty() {
            return self.node_live;
        }
        Some(self.node_live?.min(self.blocks_live?))
    }

    /// Something live was heard about this node's blocks.
    pub(crate) fn heard_live(&mut self, now: Now) {
        self.blocks_live = Some(now.monotonic);
    }

    /// What keeps the whole node from allocating.
    pub(crate) fn barred(&self, now: Now) -> Option<Refusal> {
        let node = || self.owner.name.clone();
        if let Some(fence) = &self.fence {
            return Some(Refusal::Fenced { node: node(), fence: fence.clone() });
        }
        let (unseen, limit) = (self.unseen(now), self.settings.outage_limit);
        (unseen > limit).then(|| Refusal::OutageTooLong { node: node(), unseen, limit })
    }

    fn block_deadline(&self, block: &Block) -> Option<Instant> {
        let work = if block.work.is_some() { None } else { self.next_work_at(block) };
        let give_back = block.empty_since.map(|since| since + self.settings.give_back_after);
        let leaves = block.borrower.is_some() && block.work.is_none();
        let give_back = give_back.filter(|_| self.pools.is_some() && (block.may_go() || leaves));
        [work, block.next_thaw(), give_back, block.poll.0, block.silent_until].into_iter().flatten().min()
    }

    pub(crate) fn work_done(&mut self, name: &str, id: RequestId) -> Option<Work> {
        let block = self.blocks.get_mut(name)?;
        match block.work {
            Some((known, work)) if known == id => {
                block.work = None;
                Some(work)
            }
            Some(_) | None => None,
        }
    }
}
