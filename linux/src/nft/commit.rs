//! One transaction: all of a ruleset, or nothing.
//!
//! It changes the table that is there, or, where that cannot be, puts another in its place. The whole transaction is one
//! datagram, which the kernel takes or refuses before `send` returns. Only the last message asks to be acknowledged (the one
//! that ends the transaction is acknowledged by new kernels only); each that fails is answered by itself, all of them before
//! that.

use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::debug;

use crate::nft::messages::{Message, anew, changed, kind};
use crate::nft::present;
use crate::nft::ruleset::Ruleset;
use crate::nft::socket::{FLAG_ACK, FLAG_CREATE, FLAG_REQUEST, INET, Socket, bracket, message};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a table that changes meanwhile is listed again.
const TRIES: usize = 4;

/// Why a ruleset is not in place.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotCommitted {
    /// The kernel refused it.
    #[error("the kernel refused {what}: {words}")]
    Refused {
        /// Which part of it.
        what: String,
        /// Why.
        words: String,
    },
    /// The kernel gave no answer.
    #[error("the kernel gave no answer within {} s", PATIENCE.as_secs())]
    NoAnswer,
    /// The socket failed.
    #[error("the netlink socket failed: {0}")]
    Socket(#[from] io::Error),
}

/// Puts a ruleset in place of what is in its table.
pub(super) fn commit(socket: &mut Socket, sequence: &mut u32, ruleset: &Ruleset) -> Result<(), NotCommitted> {
    let mut before = None;
    // Another hand may be at the table just now: what it did since it was listed makes a change of it fail.
    for _ in 0..TRIES {
        let present = present::read(socket, sequence, &ruleset.table).unwrap_or_else(|error| {
            debug!(%error, table = ruleset.table, "what is in the nftables table cannot be listed");
            None
        });
        let changes =
            present.as_ref().filter(|_| before != present).and_then(|there| changed(ruleset, there));
        let Some(changes) = changes else { break };
        match transact(socket, sequence, &changes) {
            Err(refused @ NotCommitted::Refused { .. }) => {
                debug!(%refused, table = ruleset.table, "the nftables table cannot be changed in place");
            }
            done => return done,
        }
        before = present;
    }
    transact(socket, sequence, &anew(ruleset))
}

fn transact(socket: &mut Socket, sequence: &mut u32, messages: &[Message]) -> Result<(), NotCommitted> {
    let first = *sequence;
    let mut datagram = Vec::new();
    bracket(&mut datagram, true, first);
    let last = first.wrapping_add(u32::try_from(messages.len()).unwrap_or(u32::MAX));
    for (at, (kind, attributes)) in (1_u32..).zip(messages) {
        let number = first.wrapping_add(at);
        let acknowledge = if number == last { FLAG_ACK } else { 0 };
        message(
            &mut datagram,
            *kind,
            INET,
            FLAG_REQUEST | FLAG_CREATE | APPEND | acknowledge,
            number,
            attributes,
        );
    }
    bracket(&mut datagram, false, last.wrapping_add(1));
    *sequence = last.wrapping_add(2);
    socket.send(&datagram)?;
    let deadline = Instant::now() + PATIENCE;
    let (mut refused, mut answered) = (None, false);
    while !answered {
        let came = socket.receive(deadline, |message| {
            let Some((errno, words)) = message.answer() else { return };
            let at = message.sequence.wrapping_sub(first);
            if usize::try_from(at).map_or(true, |at| at > messages.len()) {
                // It answers a transaction that was given up.
                return;
            }
            if errno != 0 && refused.is_none() {
                let errno = Errno::from_raw(errno).to_string();
                let words = words.map_or(errno.clone(), |words| format!("{words} ({errno})"));
                refused = Some(NotCommitted::Refused { what: part(messages, at), words });
            }
            // What is wrong with the beginning ends it all.
            answered |= message.sequence == last || (at == 0 && errno != 0);
        })?;
        if !came {
            return Err(refused.unwrap_or(NotCommitted::NoAnswer));
        }
    }
    refused.map_or(Ok(()), Err)
}

/// NLM_F_APPEND: rules go behind those before them.
const APPEND: u16 = 0x800;

fn part(messages: &[Message], at: u32) -> String {
    let message = usize::try_from(at).ok().and_then(|at| messages.get(at.checked_sub(1)?));
    match message.map(|(kind, _)| *kind) {
        None => "the transaction".to_owned(),
        Some(kind::NEW_TABLE | kind::DELETE_TABLE) => "the table".to_owned(),
        Some(kind::NEW_CHAIN) => format!("a chain (message {at})"),
        Some(kind::DELETE_RULE) => "to remove the old rules".to_owned(),
        Some(kind::DELETE_CHAIN) => "to remove a chain".to_owned(),
        Some(kind::NEW_RULE) => format!("a rule (message {at})"),
        Some(kind::NEW_SET) => format!("a set (message {at})"),
        Some(kind::NEW_ELEMENTS | kind::DELETE_ELEMENTS) => format!("elements of a set (message {at})"),
        Some(other) => format!("message {at} of kind {other}"),
    }
}
