//! A ruleset as the messages of a transaction, of which every packet sees either nothing or all.
//!
//! All but its lookups in sets: a packet that is half way through a chain when the transaction takes effect goes on by the
//! old rules, and finds in a set what is in it from then on. So if a set were deleted with the table and made anew, that
//! packet would find nothing in it, and a rule that drops who is *not* in a set would drop it. Therefore [`changed`] keeps
//! the sets, and adds and takes out only the elements that differ. [`anew`] is for when there is nothing to keep.

use std::collections::BTreeSet;

use crate::nft::attributes::Attributes;
use crate::nft::expression::{Expression, Match};
use crate::nft::interval::{self, Interval};
use crate::nft::present::Present;
use crate::nft::ruleset::{Chain, Rule, Ruleset, Set};

/// Messages of nf_tables.h.
pub(super) mod kind {
    pub(in crate::nft) const NEW_TABLE: u16 = 0;
    pub(in crate::nft) const DELETE_TABLE: u16 = 2;
    pub(in crate::nft) const NEW_CHAIN: u16 = 3;
    pub(in crate::nft) const GET_CHAIN: u16 = 4;
    pub(in crate::nft) const DELETE_CHAIN: u16 = 5;
    pub(in crate::nft) const NEW_RULE: u16 = 6;
    pub(in crate::nft) const DELETE_RULE: u16 = 8;
    pub(in crate::nft) const NEW_SET: u16 = 9;
    pub(in crate::nft) const GET_SET: u16 = 10;
    pub(in crate::nft) const NEW_ELEMENTS: u16 = 12;
    pub(in crate::nft) const GET_ELEMENTS: u16 = 13;
    pub(in crate::nft) const DELETE_ELEMENTS: u16 = 14;
    pub(in crate::nft) const NEW_GENERATION: u16 = 15;
}

/// Of a comment this much is kept, in bytes.
const COMMENT: usize = 128;
/// Ranges in one message: an attribute holds at most 64 KiB.
const RANGES: usize = 400;
/// NFT_SET_INTERVAL.
pub(super) const INTERVALS: u32 = 4;
/// NFT_SET_ELEM_INTERVAL_END.
pub(super) const INTERVAL_END: u32 = 1;

/// A message: its kind and its attributes.
pub(super) type Message = (u16, Vec<u8>);

/// Puts the ruleset in place of a table of which nothing is kept, or of none.
pub(super) fn anew(ruleset: &Ruleset) -> Vec<Message> {
    let table = || table(ruleset).into_bytes();
    // Deleting what is not there is an error, so it is made first.
    let mut all = vec![(kind::NEW_TABLE, table()), (kind::DELETE_TABLE, table())];
    if !ruleset.sets.is_empty() || !ruleset.chains.is_empty() {
        all.push((kind::NEW_TABLE, table()));
        all.extend(sets(ruleset, &Present::default()));
        all.extend(chains(ruleset, &Present::default()));
    }
    all
}

/// Makes the ruleset of the table that is there; none if there are sets or chains in it that cannot be kept.
pub(super) fn changed(ruleset: &Ruleset, present: &Present) -> Option<Vec<Message>> {
    let fits = !ruleset.sets.is_empty() && present.can_become(ruleset);
    fits.then(|| {
        let mut all = vec![(kind::DELETE_RULE, table(ruleset).into_bytes())];
        let beside = present.chains_beside(ruleset);
        all.extend(beside.map(|chain| (kind::DELETE_CHAIN, table(ruleset).text(3, chain).into_bytes())));
        all.extend(sets(ruleset, present));
        all.extend(chains(ruleset, present));
        all
    })
}

fn table(ruleset: &Ruleset) -> Attributes {
    Attributes::default().text(1, &ruleset.table)
}

fn sets(ruleset: &Ruleset, present: &Present) -> Vec<Message> {
    let mut all = Vec::new();
    for (id, set) in (1_u32..).zip(&ruleset.sets) {
        let (wanted, none) = (interval::of(set), BTreeSet::new());
        let there = present.ranges(&set.name);
        if there.is_none() {
            all.push((kind::NEW_SET, new_set(ruleset, set, id).into_bytes()));
        }
        let there = there.unwrap_or(&none);
        let mut put = |kind, ranges: Vec<&Interval>| {
            for ranges in ranges.chunks(RANGES) {
                let elements = ranges.iter().flat_map(|range| range.elements()).map(element);
                let list = elements.fold(Attributes::default(), |list, element| list.nest(1, element));
                all.push((kind, table(ruleset).text(2, &set.name).number(4, id).nest(3, list).into_bytes()));
            }
        };
        put(kind::DELETE_ELEMENTS, there.difference(&wanted).collect());
        put(kind::NEW_ELEMENTS, wanted.difference(there).collect());
    }
    all
}

fn new_set(ruleset: &Ruleset, set: &Set, id: u32) -> Attributes {
    let (key, length) = set.key();
    let named = table(ruleset).text(2, &set.name).number(3, INTERVALS);
    named.number(4, key).number(5, length).number(10, id)
}

fn element((key, ends): (&[u8], bool)) -> Attributes {
    let element = Attributes::default().nest(1, Attributes::default().bytes(1, key));
    if ends { element.number(3, INTERVAL_END) } else { element }
}

fn chains(ruleset: &Ruleset, present: &Present) -> Vec<Message> {
    let mut all = Vec::new();
    for chain in &ruleset.chains {
        if !present.has_chain(&chain.name) {
            all.push((kind::NEW_CHAIN, new_chain(ruleset, chain).into_bytes()));
        }
        let rules =
            chain.rules.iter().map(|rule| (kind::NEW_RULE, new_rule(ruleset, chain, rule).into_bytes()));
        all.extend(rules);
    }
    all
}

fn new_chain(ruleset: &Ruleset, chain: &Chain) -> Attributes {
    let priority = chain.priority.to_be_bytes();
    let hook = Attributes::default().number(1, chain.hook.number()).bytes(2, &priority);
    table(ruleset).text(3, &chain.name).nest(4, hook).text(7, chain.kind.word())
}

fn new_rule(ruleset: &Ruleset, chain: &Chain, rule: &Rule) -> Attributes {
    let matched = rule.matches.iter().flat_map(Match::expressions);
    let expressions: Vec<Expression> = matched.chain(rule.verdict.expressions()).collect();
    let list = expressions.iter().fold(Attributes::default(), |list, one| list.nest(1, one.encode()));
    let mut comment = rule.comment.clone();
    comment.truncate(comment.floor_char_boundary(COMMENT));
    // As `nft` keeps comments: kind 0, length, text with its closing zero.
    let mut data = vec![0, u8::try_from(comment.len() + 1).unwrap_or(u8::MAX)];
    data.extend(comment.as_bytes());
    data.push(0);
    table(ruleset).text(2, &chain.name).nest(4, list).bytes(7, &data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::ruleset::{ChainKind, Hook};

    fn ruleset(elements: &[&str]) -> Ruleset {
        let elements = elements.iter().map(|one| one.parse().unwrap()).collect();
        let chain = Chain {
            name: "c".to_owned(),
            kind: ChainKind::Filter,
            hook: Hook::Input,
            priority: 0,
            rules: Vec::new(),
        };
        let set = Set { name: "s".to_owned(), v4: true, elements };
        Ruleset { table: "caracal".to_owned(), sets: vec![set], chains: vec![chain] }
    }

    fn kinds(messages: &[Message]) -> Vec<u16> {
        messages.iter().map(|(kind, _)| *kind).collect()
    }

    #[test]
    fn an_empty_ruleset_only_removes_the_table() {
        let empty = Ruleset { table: "caracal".to_owned(), ..Ruleset::default() };
        assert_eq!(kinds(&anew(&empty)), [kind::NEW_TABLE, kind::DELETE_TABLE]);
        assert_eq!(changed(&empty, &Present::default()), None);
    }

    #[test]
    fn what_is_there_is_kept_and_only_what_differs_is_added_and_taken_out() {
        let before = ruleset(&["192.0.2.1/32", "192.0.2.5/32"]);
        let there = Present::of(&before);
        let changes = |after: &Ruleset| changed(after, &there).map(|messages| kinds(&messages));
        assert_eq!(changes(&before), Some(vec![kind::DELETE_RULE]));
        let more = ruleset(&["192.0.2.1/32", "192.0.2.5/32", "192.0.2.9/32"]);
        assert_eq!(changes(&more), Some(vec![kind::DELETE_RULE, kind::NEW_ELEMENTS]));
        let less = ruleset(&["192.0.2.1/32"]);
        assert_eq!(changes(&less), Some(vec![kind::DELETE_RULE, kind::DELETE_ELEMENTS]));
        let mut another = ruleset(&["192.0.2.1/32", "192.0.2.5/32"]);
        another.sets.push(Set { name: "t".to_owned(), ..another.sets[0].clone() });
        another.chains.push(Chain { name: "d".to_owned(), ..another.chains[0].clone() });
        let new = vec![kind::DELETE_RULE, kind::NEW_SET, kind::NEW_ELEMENTS, kind::NEW_CHAIN];
        assert_eq!(changes(&another), Some(new));
        let mut without = ruleset(&["192.0.2.1/32", "192.0.2.5/32"]);
        without.chains.clear();
        assert_eq!(changes(&without), Some(vec![kind::DELETE_RULE, kind::DELETE_CHAIN]));
    }

    #[test]
    fn a_table_with_sets_or_chains_of_another_make_is_not_kept() {
        let plain = ruleset(&[]);
        let mut hooked = ruleset(&[]);
        hooked.chains[0].hook = Hook::Forward;
        let mut sixth = ruleset(&[]);
        sixth.sets[0].v4 = false;
        let mut more = ruleset(&[]);
        more.sets.push(Set { name: "foreign".to_owned(), ..more.sets[0].clone() });
        for there in [hooked, sixth, more] {
            assert_eq!(changed(&plain, &Present::of(&there)), None, "{there:?}");
        }
    }
}
