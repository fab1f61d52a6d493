//! Finding a shared block of another node, when this one has no free address and may claim no block.
//!
//! One list of names, then the blocks of the fitting pools one by one, in an order of this node's own so that not all
//! nodes press on the same owner. The first that is shared and has room is asked for addresses, by this ask and the next ones.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use caracal_api::{BlockCidr, IpamBlock};

use crate::block::{Block, Standing};
use crate::grant::Need;
use crate::machine::{Cause, Ipam};
use crate::pool::Pool;
use crate::request::{Action, Now, Reply, Request, RequestId, StoreError};
use crate::walk::order_of;
use crate::want::Family;

/// Blocks that are read in one search.
const MOST_READS: usize = 24;

/// One search under way.
#[derive(Clone, Debug)]
pub(crate) struct Loan {
    need: Need,
    /// Blocks that are still to be read; `None` while the names are not known.
    names: Option<VecDeque<String>>,
    step: Step,
    failures: u32,
    pub(crate) last_error: Option<StoreError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The next request is to be sent, not before the time.
    Ask(Option<Instant>),
    Asked(RequestId),
}

impl Loan {
    /// When the search goes on by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Ask(at) => at,
            Step::Asked(_) => None,
        }
    }
}

impl Ipam {
    /// Starts a search, unless one of the family is under way.
    pub(crate) fn borrow_for(&mut self, need: Need) {
        let names = need.only.map(|only| VecDeque::from([only.object_name()]));
        let loan = Loan { names, step: Step::Ask(None), failures: 0, last_error: None, need };
        self.loans.entry(loan.need.family).or_insert(loan);
    }

    /// Sends what the searches are due to send.
    pub(crate) fn drive_loans(&mut self, now: Now, out: &mut Vec<Action>) {
        for family in [Family::V4, Family::V6] {
            let Some(mut loan) = self.loans.remove(&family) else { continue };
            let due = matches!(loan.step, Step::Ask(at) if at.is_none_or(|at| at <= now.monotonic));
            if !due {
                self.loans.insert(family, loan);
                continue;
            }
            let request = match &loan.names {
                None => Some(Request::ListNames),
                Some(names) => names.front().cloned().map(Request::Read),
            };
            let Some(request) = request else {
                self.no_loan_before.insert(family, now.monotonic + self.settings.closed_for);
                // Whoever waited for it is refused.
                self.serve_waiting(now, out);
                continue;
            };
            loan.step = Step::Asked(self.ask(Cause::Loan(family), request, out));
            self.loans.insert(family, loan);
        }
    }

    /// An answer to a search's request. A search that found a block has ended.
    pub(crate) fn loan_replied(
        &mut self,
        now: Now,
        family: Family,
        id: RequestId,
        result: Result<Reply, StoreError>,
    ) {
        let Some(mut loan) = self.loans.remove(&family) else { return };
        if loan.step != Step::Asked(id) {
            self.loans.insert(family, loan);
            return;
        }
        loan.step = Step::Ask(None);
        match result {
            Ok(Reply::Names(names)) => {
                let mut fitting: Vec<String> =
                    names.into_iter().filter(|name| self.may_lend(&loan.need, name)).collect();
                fitting.sort_by_key(|name| order_of(&self.owner.name, name));
                fitting.truncate(MOST_READS);
                loan.names = Some(fitting.into());
            }
            Ok(Reply::Block(object)) => {
                if self.take_loan(now, object, loan.need.only.is_some()) {
                    return;
                }
                loan.names.iter_mut().for_each(|names| drop(names.pop_front()));
            }
            Ok(Reply::Deleted | Reply::Node(_))
            | Err(StoreError::Gone | StoreError::Forbidden(_) | StoreError::Invalid(_)) => {
                let rest = loan.names.get_or_insert_default();
                rest.pop_front();
            }
            Err(error) => {
                loan.failures += 1;
                loan.step = Step::Ask(Some(now.monotonic + self.pause(loan.failures)));
                loan.last_error = Some(error);
            }
        }
        self.loans.insert(family, loan);
    }

    /// Whether a block of this name may be one of another node in a pool that serves the need.
    fn may_lend(&self, need: &Need, name: &str) -> bool {
        let Some(cidr) = BlockCidr::from_object_name(name) else { return false };
        let Some(pools) = &self.pools else { return false };
        let inside = |pool: &Pool| {
            pool.network.contains(cidr.network().network()) && pool.block_prefix == cidr.network().prefix()
        };
        !self.blocks.contains_key(name) && need.pools.iter().filter_map(|p| pools.get(p)).any(inside)
    }

    /// Borrows from a block from now on, if it is shared and has room. For a particular address room does not matter.
    fn take_loan(&mut self, now: Now, object: Arc<IpamBlock>, particular: bool) -> bool {
        let lendable = object.spec.lends
            && object.spec.owner.name != self.owner.name
            && object.metadata.deletion_timestamp.is_none();
        let Some(mut block) = Block::of_object(now, object, Standing::Borrowed).filter(|_| lendable) else {
            return false;
        };
        if self.blocks.contains_key(&block.name) {
            return false;
        }
        block.borrower = Some(self.as_borrower());
        self.follow(&mut block);
        let pools = self.pools.clone();
        let room = block.next_free(|a| pools.as_ref().is_none_or(|p| !p.is_reserved(a))).is_some();
        if room || particular {
            self.blocks.insert(block.name.clone(), block);
        }
        room || particular
    }
}
