//! Which node owns which block of addresses, and which of its addresses are free: a pure machine.
//!
//! [`Ipam`] takes [`Input`]s and returns [`Action`]s. It has no I/O, no clock of its own and no async: time is an
//! argument, what it wants from the API server is a [`Request`] that a shell performs and answers. So a simulation of
//! many nodes with lost replies, conflicts and crashes can prove what matters: no address is given out twice, none is
//! lost for ever, none lies outside its pool, and every block has one owner.
//!
//! With strict affinity, the default, only the owner of a block gives out its addresses. Its memory and its journal
//! decide, and the `IPAMBlock` object follows later. Creating that object is the lock on its CIDR, since its name is the
//! CIDR. Without it, blocks are *shared*: a node that can claim no block asks the owners of others to lend it single
//! addresses. They still give out all of them, to their own pods and to borrowers.

mod adopt;
mod block;
mod borrow;
mod claim;
mod closing;
mod collect;
mod grant;
mod home;
mod lend;
mod loan;
mod machine;
mod pool;
mod publish;
mod reclaim;
mod recover;
mod refusal;
mod report;
mod request;
mod reserve;
mod settings;
mod sharing;
mod verify;
mod walk;
mod want;

pub use collect::{Collector, Departed, NodeId};
pub use machine::Ipam;
pub use pool::{Pool, PoolUnfit, Pools};
pub use recover::{Held, JournalTrust, Recovery};
pub use refusal::{Dispute, Fence, Refusal};
pub use report::{AllocationReport, BlockReport, BlockState, ClaimReport, IpamReport, LentReport, Presence};
pub use request::{Action, AskId, Delta, Input, Lost, NodeView, Now, Reply, Request, RequestId, StoreError};
pub use settings::Settings;
pub use want::{Allocation, Attributes, Family, Handle, Purpose, Want, WantFamilies};

#[cfg(test)]
mod simulation;
