//! What is wanted of nftables, as a value.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;

use crate::nft::expression::{Match, Verdict};

/// Everything in one table of the family `inet`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The table's name.
    pub table: String,
    /// Its sets, which rules name.
    pub sets: Vec<Set>,
    /// Its chains.
    pub chains: Vec<Chain>,
}

/// Addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// IPv4, else IPv6.
    pub v4: bool,
    /// What is in it. Networks may overlap; those of the other family are left out.
    pub elements: BTreeSet<IpNetwork>,
}

/// A chain that packets are led through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: ChainKind,
    /// Where packets enter it.
    pub hook: Hook,
    /// When, against other chains there: the lowest first.
    pub priority: i32,
    /// Its rules, in order. What fulfils none is accepted.
    pub rules: Vec<Rule>,
}

/// What a chain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// Dropping and accepting.
    Filter,
    /// Rewriting addresses: sees the first packet of each connection.
    Nat,
}

/// A place on a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// As it comes in.
    Prerouting,
    /// On its way to this host.
    Input,
    /// On its way through.
    Forward,
    /// From this host itself, before it is known by which device it leaves.
    Output,
    /// As it goes out.
    Postrouting,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Why it is there, shown by `nft list`; at most 128 bytes are kept.
    pub comment: String,
    /// All of these must hold.
    pub matches: Vec<Match>,
    /// Then this is done.
    pub verdict: Verdict,
}

impl Hook {
    pub(super) const FORWARD: u32 = 2;

    pub(super) fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => Self::FORWARD,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

impl ChainKind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

impl Set {
    /// The kernel's number for the type of its keys, as `nft` knows them, and how many bytes each has.
    pub(super) fn key(&self) -> (u32, u32) {
        const IPV4: (u32, u32) = (7, 4);
        const IPV6: (u32, u32) = (8, 16);
        if self.v4 { IPV4 } else { IPV6 }
    }
}
