//! Serving an ask from memory, or saying what it lacks.
//!
//! All families of an ask are granted together or none is. Among the blocks that serve it the fullest goes first, so
//! that blocks become empty and can be given back.

use std::net::IpAddr;

use caracal_api::BlockCidr;
use ipnetwork::IpNetwork;

use crate::block::{Block, Standing};
use crate::machine::{Ipam, Waiting};
use crate::pool::{Pool, PoolUnfit, Pools};
use crate::refusal::{Dispute, Refusal};
use crate::request::{Action, AskId, Now};
use crate::reserve::Reservation;
use crate::want::{Allocation, Family, Want};

/// Longest handle: the compact form of an allocation is bounded in the block's schema.
const LONGEST_HANDLE: usize = 253;

/// What an ask lacks in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) family: Family,
    /// Pools from which a block would serve, in order of preference. None: a read that is under way decides.
    pub(crate) pools: Vec<String>,
    /// The one block that would serve, where an address was requested.
    pub(crate) only: Option<BlockCidr>,
    /// Whether a block is to be borrowed from, since none can be claimed.
    pub(crate) borrow: bool,
}

enum Outcome {
    Granted(Vec<Allocation>),
    /// Taken in memory; the owners of the blocks have to lend it first.
    Reserved(Vec<Allocation>),
    Refused(Refusal),
    Lacking(Vec<Need>),
}

/// How one family of an ask is served.
enum Choice {
    Here(String, u32),
    Claim(Need),
}

impl Ipam {
    /// Serves a new ask, or lets it wait for a claim.
    pub(crate) fn allocate(&mut self, now: Now, id: AskId, want: Want, out: &mut Vec<Action>) {
        match self.consider(now, &want) {
            Outcome::Granted(allocations) => out.push(Action::Granted(id, allocations)),
            Outcome::Reserved(allocations) => {
                let (since, until) = (now.monotonic, now.monotonic + self.settings.patience);
                self.reserve(now, id, Reservation { want, since, asked: since, until, allocations });
            }
            Outcome::Refused(refusal) => out.push(Action::Refused(id, refusal)),
            Outcome::Lacking(_) if self.waiting.len() >= self.settings.most_waiting => {
                let refusal =
                    Refusal::TooManyWaiting { node: self.owner.name.clone(), waiting: self.waiting.len() };
                out.push(Action::Refused(id, refusal));
            }
            Outcome::Lacking(_) => {
                let until = now.monotonic + self.settings.patience;
                self.waiting.push_back(Waiting { id, want, since: now.monotonic, until });
            }
        }
    }

    /// Serves those that wait, first come first served, and starts the claims that they need.
    pub(crate) fn serve_waiting(&mut self, now: Now, out: &mut Vec<Action>) {
        for waiting in std::mem::take(&mut self.waiting) {
            match self.consider(now, &waiting.want) {
                Outcome::Granted(allocations) => out.push(Action::Granted(waiting.id, allocations)),
                Outcome::Reserved(allocations) => {
                    let Waiting { id, want, since, until } = waiting;
                    let asked = now.monotonic;
                    self.reserve(now, id, Reservation { want, since, asked, until, allocations });
                }
                Outcome::Refused(refusal) => out.push(Action::Refused(waiting.id, refusal)),
                Outcome::Lacking(needs) if waiting.until <= now.monotonic => {
                    out.push(Action::Refused(waiting.id, self.timed_out(now, &waiting, &needs)));
                }
                Outcome::Lacking(needs) => {
                    for need in needs.into_iter().filter(|n| !n.pools.is_empty()) {
                        if need.borrow { self.borrow_for(need) } else { self.claim_for(need) }
                    }
                    self.waiting.push_back(waiting);
                }
            }
        }
    }

    pub(crate) fn timed_out(&self, now: Now, waiting: &Waiting, needs: &[Need]) -> Refusal {
        if self.pools.is_none() {
            return Refusal::PoolsUnknown { node: self.owner.name.clone() };
        }
        let claim = needs.iter().find_map(|n| self.claims.get(&n.family));
        let family = needs.first().map_or(Family::V4, |n| n.family);
        let cause = claim.and_then(|c| c.last_error.as_ref()).map(ToString::to_string);
        Refusal::ClaimTimedOut {
            node: self.owner.name.clone(),
            family: claim.map_or(family, |c| c.family),
            pool: claim.map(|c| c.pool().to_owned()).unwrap_or_default(),
            waited: now.monotonic.saturating_duration_since(waiting.since),
            cause: cause.unwrap_or_else(|| {
                let unknown = self.owner.node_uid.is_empty();
                if unknown {
                    "its own Node object was not seen yet"
                } else {
                    "the API server has not answered"
                }
                .to_owned()
            }),
        }
    }

    fn consider(&mut self, now: Now, want: &Want) -> Outcome {
        if let Some(refusal) = self.barred(now) {
            return Outcome::Refused(refusal);
        }
        let families = match families(want) {
            Ok(families) => families,
            Err(what) => return Outcome::Refused(Refusal::BadRequest { what }),
        };
        if self.is_reserved(&want.handle) {
            // An earlier ask of this handle is answered first.
            return Outcome::Lacking(Vec::new());
        }
        match self.already_held(want, &families) {
            Ok(Some(allocations)) => return Outcome::Granted(allocations),
            Ok(None) => {}
            Err(refusal) => return Outcome::Refused(refusal),
        }
        let Some(pools) = self.pools.clone() else {
            // An agent that just started hears of them in a moment, from disk or live.
            return Outcome::Lacking(Vec::new());
        };
        let (mut here, mut needs) = (Vec::new(), Vec::new());
        for (family, requested) in families {
            let choice = match requested {
                Some(address) => self.choose_address(&pools, want, address),
                None => self.choose(&pools, want, family),
            };
            match choice {
                Ok(Choice::Here(block, ordinal)) => here.push((block, ordinal)),
                Ok(Choice::Claim(need)) => needs.push(need),
                Err(refusal) => return Outcome::Refused(refusal),
            }
        }
        if !needs.is_empty() {
            return Outcome::Lacking(needs);
        }
        let mut granted = Vec::new();
        let mut to_be_written = false;
        for (name, ordinal) in here {
            let Some(block) = self.blocks.get_mut(&name) else { continue };
            to_be_written |= block.standing == Standing::Borrowed;
            if let Some(allocation) = block.grant(ordinal, &want.handle, &want.attributes) {
                self.holders.entry(want.handle.clone()).or_default().push((name, ordinal));
                granted.push(allocation);
            }
        }
        if to_be_written { Outcome::Reserved(granted) } else { Outcome::Granted(granted) }
    }

    /// What a handle holds already: an ADD repeated after a lost answer gets the same addresses again.
    fn already_held(
        &self,
        want: &Want,
        families: &[(Family, Option<IpAddr>)],
    ) -> Result<Option<Vec<Allocation>>, Refusal> {
        let Some(held) = self.holders.get(&want.handle) else { return Ok(None) };
        let allocation = |(name, ordinal): &(String, u32)| self.blocks.get(name)?.allocation(*ordinal);
        let mut held: Vec<Allocation> = held.iter().filter_map(allocation).collect();
        held.sort_by_key(|a| Family::of(a.address));
        let fits = held.len() == families.len()
            && held.iter().zip(families).all(|(have, (family, requested))| {
                Family::of(have.address) == *family && requested.is_none_or(|r| r == have.address)
            });
        if fits {
            Ok(Some(held))
        } else {
            Err(Refusal::BadRequest {
                what: "this handle already holds other addresses: release them (DEL) before asking anew",
            })
        }
    }

    /// An address of any block that serves the ask.
    fn choose(&self, pools: &Pools, want: &Want, family: Family) -> Result<Choice, Refusal> {
        let fitting = self.fitting_pools(pools, want, family)?;
        let of_family = || self.blocks.values().filter(|b| b.family() == family);
        if let Some(here) = best_of(of_family().filter(|b| b.is_owned()), pools, &fitting) {
            return Ok(here);
        }
        let unclaimable = match self.choose_claim(pools, &fitting, family) {
            Ok(need) => return Ok(Choice::Claim(need)),
            Err(refusal) => refusal,
        };
        if !self.shares() {
            return Err(unclaimable);
        }
        if let Some(here) = best_of(of_family().filter(|b| b.lends()), pools, &fitting) {
            return Ok(here);
        }
        if self.no_loan_before.contains_key(&family) {
            return Err(unclaimable);
        }
        let named = fitting.iter().map(|p| p.name.clone()).collect();
        Ok(Choice::Claim(Need { family, pools: named, only: None, borrow: true }))
    }

    /// The pools from which a block can be claimed.
    fn choose_claim(&self, pools: &Pools, fitting: &[&Pool], family: Family) -> Result<Need, Refusal> {
        self.may_claim(pools, family)?;
        let mut open = Vec::new();
        let mut against = Vec::new();
        for pool in fitting {
            match (pool.unclaimable(), self.closed.get(&pool.name)) {
                (Some(why), _) => against.push((pool.name.clone(), why.to_string())),
                (None, Some((why, _))) => against.push((pool.name.clone(), why.to_string())),
                (None, None) => open.push(pool.name.clone()),
            }
        }
        if open.is_empty() {
            return Err(Refusal::PoolsClosed { node: self.owner.name.clone(), family, pools: against });
        }
        Ok(Need { family, pools: open, only: None, borrow: false })
    }

    /// One particular address. It may rest: whoever asks for this very address wants it back at once.
    fn choose_address(&self, pools: &Pools, want: &Want, address: IpAddr) -> Result<Choice, Refusal> {
        let node = || self.owner.name.clone();
        let not_served = |cause: String| Refusal::AddressNotServed { node: node(), address, cause };
        let pool = pools.containing(address).ok_or_else(|| not_served("no IPPool contains it".to_owned()))?;
        let named = want.pools.as_ref();
        if named.is_some_and(|names| !names.iter().any(|n| pool.is_called(n))) {
            let cause = format!("its pool {} is not among those that were named", pool.name);
            return Err(not_served(cause));
        }
        if pools.is_reserved(address) {
            return Err(not_served("an IPReservation keeps it from being given out".to_owned()));
        }
        let labels = self.node.as_ref().map(|n| &n.labels).filter(|_| named.is_none());
        let unfit = pool
            .closed()
            .cloned()
            .or_else(|| pool.rejects_use(want.attributes.kind))
            .or_else(|| labels.and_then(|labels| pool.rejects_node(Some(labels))));
        if let Some(why) = unfit {
            return Err(not_served(format!("of its pool {}: {why}", pool.name)));
        }
        let cidr = block_of(address, pool)
            .ok_or_else(|| not_served(format!("its pool {} has no such block", pool.name)))?;
        let name = cidr.object_name();
        let Some(block) = self.blocks.get(&name) else {
            if let Some((owner, _)) = self.elsewhere.get(&name) {
                let family = Family::of(address);
                if self.shares() && !self.no_loan_before.contains_key(&family) {
                    let pools = vec![pool.name.clone()];
                    return Ok(Choice::Claim(Need { family, pools, only: Some(cidr), borrow: true }));
                }
                return Err(self.elsewhere(pool, address, name, owner.clone()));
            }
            self.may_claim(pools, Family::of(address))?;
            if let Some(why) = pool.unclaimable() {
                return Err(not_served(format!("of its pool {}: {why}", pool.name)));
            }
            if let Some((why, _)) = self.closed.get(&pool.name) {
                return Err(not_served(format!("of its pool {}: {why}", pool.name)));
            }
            let need = Need {
                family: Family::of(address),
                pools: vec![pool.name.clone()],
                only: Some(cidr),
                borrow: false,
            };
            return Ok(Choice::Claim(need));
        };
        match &block.standing {
            Standing::Owned => {}
            Standing::Borrowed if block.lends() => {}
            Standing::Borrowed => {
                let owner = block.object.as_ref().map(|o| o.spec.owner.name.clone()).unwrap_or_default();
                let owner = format!("node {owner}, which does not lend of it now");
                return Err(self.elsewhere(pool, address, name, owner));
            }
            Standing::Disputed(Dispute::Unconfirmed | Dispute::Suspected | Dispute::Open) => {
                return Ok(Choice::Claim(Need {
                    family: Family::of(address),
                    pools: Vec::new(),
                    only: None,
                    borrow: false,
                }));
            }
            Standing::Disputed(why) => return Err(not_served(format!("of its block {name}: {why}"))),
            Standing::Returning => {
                let holder = "nobody: the block is just being given back".to_owned();
                return Err(self.taken(pool, address, name, holder));
            }
        }
        let ordinal = cidr.ordinal(address).ok_or_else(|| not_served("it lies in no block".to_owned()))?;
        match block.used.get(&ordinal) {
            Some(used) => Err(self.taken(pool, address, name, used.holder())),
            None => Ok(Choice::Here(name, ordinal)),
        }
    }

    fn elsewhere(&self, pool: &Pool, address: IpAddr, block: String, owner: String) -> Refusal {
        let (pool, node) = (pool.name.clone(), self.owner.name.clone());
        Refusal::AddressElsewhere { pool, node, address, block, owner }
    }

    fn taken(&self, pool: &Pool, address: IpAddr, block: String, holder: String) -> Refusal {
        let (pool, node) = (pool.name.clone(), self.owner.name.clone());
        Refusal::AddressTaken { node, pool, address, block, holder }
    }

    /// The pools that serve an ask in one family, in order of preference.
    fn fitting_pools<'a>(
        &self,
        pools: &'a Pools,
        want: &Want,
        family: Family,
    ) -> Result<Vec<&'a Pool>, Refusal> {
        let labels = self.node.as_ref().map(|n| &n.labels);
        let kind = want.attributes.kind;
        let mut against: Vec<(String, PoolUnfit)> = Vec::new();
        let mut fitting = Vec::new();
        let mut weigh = |pool: &'a Pool, unfit: Option<PoolUnfit>| match unfit {
            Some(why) => against.push((pool.name.clone(), why)),
            None => fitting.push(pool),
        };
        match &want.pools {
            Some(names) => {
                for name in names {
                    let mut called = pools.iter().filter(|p| p.is_called(name)).peekable();
                    if called.peek().is_none() {
                        return Err(Refusal::PoolNotFound {
                            node: self.owner.name.clone(),
                            pool: name.clone(),
                        });
                    }
                    for pool in called.filter(|p| p.family() == family) {
                        weigh(pool, pool.closed().cloned().or_else(|| pool.rejects_use(kind)));
                    }
                }
            }
            None => {
                for pool in pools.iter().filter(|p| p.family() == family) {
                    let unfit = pool
                        .closed()
                        .cloned()
                        .or_else(|| pool.rejects_use(kind))
                        .or_else(|| pool.rejects_node(labels))
                        .or_else(|| pool.rejects_unnamed(&want.attributes));
                    weigh(pool, unfit);
                }
            }
        }
        if fitting.is_empty() {
            return Err(Refusal::NoPool { node: self.owner.name.clone(), family, pools: against });
        }
        Ok(fitting)
    }

    /// Whether this node may claim one more block of a family.
    pub(crate) fn may_claim(&self, pools: &Pools, family: Family) -> Result<(), Refusal> {
        let node = || self.owner.name.clone();
        if !pools.config().auto_allocate_blocks {
            return Err(Refusal::AutoAllocateOff { node: node(), family });
        }
        let own = |b: &&Block| b.family() == family && b.standing != Standing::Borrowed;
        let owned = self.blocks.values().filter(own).count();
        match pools.config().max_blocks_per_host {
            limit if limit > 0 && owned >= limit as usize => {
                Err(Refusal::BlockLimit { node: node(), family, owned, limit })
            }
            _ => Ok(()),
        }
    }
}

/// The address to be given next: of the pool preferred most, then of the fullest block.
fn best_of<'a>(blocks: impl Iterator<Item = &'a Block>, pools: &Pools, fitting: &[&Pool]) -> Option<Choice> {
    let candidate = |block: &'a Block| {
        let rank = fitting.iter().position(|p| p.name == block.pool && p.uid == block.pool_uid)?;
        let ordinal = block.next_free(|a| !pools.is_reserved(a))?;
        Some((rank, block.free(), block.name.as_str(), ordinal))
    };
    let (_, _, name, ordinal) = blocks.filter_map(candidate).min()?;
    Some(Choice::Here(name.to_owned(), ordinal))
}

/// The families of an ask, IPv4 first, each with the address requested in it.
fn families(want: &Want) -> Result<Vec<(Family, Option<IpAddr>)>, &'static str> {
    let texts = [&want.handle.0, &want.attributes.namespace, &want.attributes.pod];
    if want.handle.0.is_empty()
        || want.handle.0.len() > LONGEST_HANDLE
        || texts.iter().any(|t| t.contains('/'))
    {
        return Err(
            "handle, namespace and pod must be names without '/', and the handle at most 253 bytes long",
        );
    }
    let mut families = Vec::new();
    for family in [Family::V4, Family::V6] {
        let mut requested = want.requested.iter().copied().filter(|a| Family::of(*a) == family);
        let first = requested.next();
        if requested.next().is_some() {
            return Err("more than one address of one family was requested");
        }
        if first.is_some() || want.families.iter().any(|f| f == family) {
            families.push((family, first));
        }
    }
    if families.is_empty() {
        return Err("no address family is wanted");
    }
    Ok(families)
}

/// The block of a pool that contains an address.
fn block_of(address: IpAddr, pool: &Pool) -> Option<BlockCidr> {
    let network = IpNetwork::new(address, pool.block_prefix).ok()?;
    BlockCidr::new(caracal_api::block_cidr::masked(network)).ok()
}
