//! nftables: one table of ours, kept as it is wanted, by netlink alone.
//!
//! What is wanted is a [`Ruleset`]: a value. It is put in place as a whole, in one transaction, so that no packet ever sees
//! half of it: rules are written anew, and sets, which packets look into on their way through them, are kept and changed. A
//! thread listens to what others do to nftables: when anyone
//! else touches the table (`nft flush ruleset` touches all), it is written again within milliseconds; who keeps touching it
//! is named and left alone for a while. No other table is ever changed. Base chains of others that drop what is forwarded
//! are looked for, since a drop anywhere is final and cannot be undone from here.
//!
//! Written by hand, since no library for this can be depended upon: `linux/netfilter/nf_tables.h` is the reference.

mod attributes;
mod chains;
mod commit;
mod expression;
mod interval;
mod keeper;
mod messages;
mod present;
mod ruleset;
mod socket;

pub use chains::ForwardDrop;
pub use expression::{Direction, Expression, Match, Verdict};
pub use keeper::{Nftables, Refused, Standing, StartError};
pub use ruleset::{Chain, ChainKind, Hook, Rule, Ruleset, Set};
