//! What is wanted of nftables, as a value, and its messages.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::nft::attributes::Attributes;
use crate::nft::expression::{Expression, Match, Verdict};

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

/// Messages of nf_tables.h.
pub(super) mod kind {
    pub(in crate::nft) const NEW_TABLE: u16 = 0;
    pub(in crate::nft) const DELETE_TABLE: u16 = 2;
    pub(in crate::nft) const NEW_CHAIN: u16 = 3;
    pub(in crate::nft) const GET_CHAIN: u16 = 4;
    pub(in crate::nft) const DELETE_CHAIN: u16 = 5;
    pub(in crate::nft) const NEW_RULE: u16 = 6;
    pub(in crate::nft) const NEW_SET: u16 = 9;
    pub(in crate::nft) const NEW_ELEMENTS: u16 = 12;
    pub(in crate::nft) const NEW_GENERATION: u16 = 15;
}

/// Of a comment this much is kept, in bytes.
const COMMENT: usize = 128;
/// Elements in one message: an attribute holds at most 64 KiB.
const ELEMENTS: usize = 800;
const SET_INTERVAL: u32 = 4;
const INTERVAL_END: u32 = 1;
/// The numbers by which `nft` knows the types of keys.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;

impl Hook {
    pub(super) const FORWARD: u32 = 2;

    fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => Self::FORWARD,
            Self::Postrouting => 4,
        }
    }
}

impl Ruleset {
    /// The messages that put this in place of what is there: kind and attributes.
    pub(super) fn messages(&self) -> Vec<(u16, Vec<u8>)> {
        let table = || Attributes::default().text(1, &self.table);
        let mut all = vec![
            // Deleting what is not there is an error, so it is made first.
            (kind::NEW_TABLE, table().into_bytes()),
            (kind::DELETE_TABLE, table().into_bytes()),
        ];
        if self.sets.is_empty() && self.chains.is_empty() {
            return all;
        }
        all.push((kind::NEW_TABLE, table().into_bytes()));
        for (id, set) in (1_u32..).zip(&self.sets) {
            all.push((kind::NEW_SET, self.set(set, id).into_bytes()));
            for elements in set.intervals().chunks(ELEMENTS) {
                let mut list = Attributes::default();
                for (key, end) in elements {
                    let mut element = Attributes::default().nest(1, Attributes::default().bytes(1, key));
                    if *end {
                        element = element.number(3, INTERVAL_END);
                    }
                    list = list.nest(1, element);
                }
                let message = table().text(2, &set.name).number(4, id).nest(3, list);
                all.push((kind::NEW_ELEMENTS, message.into_bytes()));
            }
        }
        for chain in &self.chains {
            all.push((kind::NEW_CHAIN, self.chain(chain).into_bytes()));
            all.extend(chain.rules.iter().map(|rule| (kind::NEW_RULE, self.rule(chain, rule).into_bytes())));
        }
        all
    }

    fn set(&self, set: &Set, id: u32) -> Attributes {
        let (key, length) = if set.v4 { (TYPE_IPV4, 4) } else { (TYPE_IPV6, 16) };
        Attributes::default()
            .text(1, &self.table)
            .text(2, &set.name)
            .number(3, SET_INTERVAL)
            .number(4, key)
            .number(5, length)
            .number(10, id)
    }

    fn chain(&self, chain: &Chain) -> Attributes {
        let priority = chain.priority.to_be_bytes();
        let hook = Attributes::default().number(1, chain.hook.number()).bytes(2, &priority);
        let kind = match chain.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        };
        Attributes::default().text(1, &self.table).text(3, &chain.name).nest(4, hook).text(7, kind)
    }

    fn rule(&self, chain: &Chain, rule: &Rule) -> Attributes {
        let matched = rule.matches.iter().flat_map(Match::expressions);
        let expressions: Vec<Expression> = matched.chain(rule.verdict.expressions()).collect();
        let list = expressions.iter().fold(Attributes::default(), |list, one| list.nest(1, one.encode()));
        let mut comment = rule.comment.clone();
        comment.truncate(comment.floor_char_boundary(COMMENT));
        // As `nft` keeps comments: kind 0, length, text with its closing zero.
        let mut data = vec![0, u8::try_from(comment.len() + 1).unwrap_or(u8::MAX)];
        data.extend(comment.as_bytes());
        data.push(0);
        Attributes::default().text(1, &self.table).text(2, &chain.name).nest(4, list).bytes(7, &data)
    }
}

impl Set {
    /// The elements as the kernel takes them: where a range begins, and (`true`) the first address after it.
    fn intervals(&self) -> Vec<(Vec<u8>, bool)> {
        let mut ranges: Vec<(u128, u128)> = self
            .elements
            .iter()
            .filter(|network| network.is_ipv4() == self.v4)
            .map(|network| (number(network.network()), number(network.broadcast())))
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        let highest = if self.v4 { u128::from(u32::MAX) } else { u128::MAX };
        let mut all = Vec::with_capacity(merged.len() * 2);
        for (first, last) in merged {
            all.push((self.key(first), false));
            // A range up to the last address has no end.
            if last < highest {
                all.push((self.key(last + 1), true));
            }
        }
        all
    }

    fn key(&self, number: u128) -> Vec<u8> {
        let bytes = number.to_be_bytes();
        if self.v4 { bytes[12..].to_vec() } else { bytes.to_vec() }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(v4: bool, elements: &[&str]) -> Set {
        let elements = elements.iter().map(|one| one.parse().unwrap()).collect();
        Set { name: "s".to_owned(), v4, elements }
    }

    #[test]
    fn ranges_are_merged_and_one_to_the_end_has_none() {
        let found = set(true, &["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "fd00::/8", "192.0.2.1/32"]);
        let expected =
            [([10, 0, 0, 0], false), ([11, 0, 0, 0], true), ([192, 0, 2, 1], false), ([192, 0, 2, 2], true)];
        assert_eq!(found.intervals(), expected.map(|(key, end)| (key.to_vec(), end)));
        assert_eq!(set(true, &["0.0.0.0/0"]).intervals(), [(vec![0; 4], false)]);
        assert_eq!(set(false, &["::/0"]).intervals(), [(vec![0; 16], false)]);
        assert_eq!(set(false, &["10.0.0.0/8"]).intervals(), []);
    }

    #[test]
    fn an_empty_ruleset_only_removes_the_table() {
        let empty = Ruleset { table: "caracal".to_owned(), ..Ruleset::default() };
        let kinds: Vec<u16> = empty.messages().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [kind::NEW_TABLE, kind::DELETE_TABLE]);
    }
}
