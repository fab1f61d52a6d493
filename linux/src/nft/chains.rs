//! Chains of others that drop what is forwarded unless a rule of theirs accepts it.

use std::fmt;
use std::io;

use crate::nft::attributes::{find, number, text};
use crate::nft::messages::kind;
use crate::nft::ruleset::Hook;
use crate::nft::socket::{ANY, Socket};

/// A base chain whose policy is to drop what is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardDrop {
    /// The family of its table: `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
}

impl fmt::Display for ForwardDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {} of table {} {}", self.chain, self.family, self.table)
    }
}

/// Whether a message about a chain is about one that packets enter by themselves.
pub(super) fn is_base(attributes: &[u8]) -> bool {
    find(attributes, 4).is_some()
}

/// Lists them.
pub(super) fn forward_drops(socket: &mut Socket, sequence: &mut u32) -> io::Result<Vec<ForwardDrop>> {
    let mut found = Vec::new();
    socket.list(sequence, (ANY, kind::GET_CHAIN, &[]), |family, kind, chain| {
        if kind == kind::NEW_CHAIN {
            found.extend(dropping(family, chain));
        }
    })?;
    found.sort();
    Ok(found)
}

fn dropping(family: u8, attributes: &[u8]) -> Option<ForwardDrop> {
    const DROP: u32 = 0;
    let family = match family {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    let hook = find(attributes, 4)?;
    let forwards = find(hook, 1).and_then(number) == Some(Hook::FORWARD);
    let drops = find(attributes, 5).and_then(number) == Some(DROP);
    let (table, chain) = (find(attributes, 1).map(text)?, find(attributes, 3).map(text)?);
    (forwards && drops).then_some(ForwardDrop { family, table, chain })
}
