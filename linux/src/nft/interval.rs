//! Ranges of addresses as the kernel's sets hold them.
//!
//! A set of ranges has two elements for each: where it begins, and, marked as an end, the first address after it. A range up
//! to the last address has no end.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::nft::ruleset::Set;

/// One range.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interval {
    first: Vec<u8>,
    after: Option<Vec<u8>>,
}

impl Interval {
    /// Its elements: key, and whether it is an end.
    pub(super) fn elements(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let end = self.after.iter().map(|key| (key.as_slice(), true));
        std::iter::once((self.first.as_slice(), false)).chain(end)
    }
}

/// What a set is to hold. Networks that overlap are one range. Those that only touch are not, so that a range does not
/// change when its neighbour comes or goes: it would be taken out and put in again, and the kernel's lookups inside of a
/// range can fail at that moment.
pub(super) fn of(set: &Set) -> BTreeSet<Interval> {
    let ours = set.elements.iter().filter(|network| network.is_ipv4() == set.v4);
    let mut ranges: Vec<(u128, u128)> =
        ours.map(|network| (number(network.network()), number(network.broadcast()))).collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    let highest = if set.v4 { u128::from(u32::MAX) } else { u128::MAX };
    let key = |number: u128| {
        let bytes = number.to_be_bytes();
        if set.v4 { bytes[12..].to_vec() } else { bytes.to_vec() }
    };
    let interval = |(first, last): (u128, u128)| Interval {
        first: key(first),
        after: (last < highest).then(|| key(last + 1)),
    };
    merged.into_iter().map(interval).collect()
}

/// The ranges of these elements, whatever their order; none if they are no ranges.
pub(super) fn paired(mut elements: Vec<(Vec<u8>, bool)>) -> Option<BTreeSet<Interval>> {
    // Where one range ends and the next begins, the end comes first.
    elements.sort_by(|(a, a_ends), (b, b_ends)| a.cmp(b).then(b_ends.cmp(a_ends)));
    let mut ranges = BTreeSet::new();
    let mut open: Option<Vec<u8>> = None;
    for (key, ends) in elements {
        match (open.take(), ends) {
            (Some(first), true) => _ = ranges.insert(Interval { first, after: Some(key) }),
            (None, false) => open = Some(key),
            (Some(_), false) => return None,
            // `nft` begins a set with an end of nothing.
            (None, true) => {}
        }
    }
    ranges.extend(open.map(|first| Interval { first, after: None }));
    Some(ranges)
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

    fn elements(ranges: &BTreeSet<Interval>) -> Vec<(Vec<u8>, bool)> {
        let all = ranges.iter().flat_map(Interval::elements);
        all.map(|(key, end)| (key.to_vec(), end)).collect()
    }

    #[test]
    fn what_overlaps_is_one_range_and_one_to_the_end_has_no_end() {
        let found = set(true, &["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "fd00::/8", "192.0.2.1/32"]);
        let expected = [
            ([10, 0, 0, 0], false),
            ([10, 128, 0, 0], true),
            ([10, 128, 0, 0], false),
            ([11, 0, 0, 0], true),
            ([192, 0, 2, 1], false),
            ([192, 0, 2, 2], true),
        ];
        assert_eq!(elements(&of(&found)), expected.map(|(key, end)| (key.to_vec(), end)));
        assert_eq!(elements(&of(&set(true, &["0.0.0.0/0"]))), [(vec![0; 4], false)]);
        assert_eq!(elements(&of(&set(false, &["::/0"]))), [(vec![0; 16], false)]);
        assert_eq!(elements(&of(&set(false, &["10.0.0.0/8"]))), []);
    }

    #[test]
    fn a_range_stays_as_it_is_when_its_neighbours_come() {
        let alone = of(&set(true, &["192.0.2.2/32"]));
        let among = of(&set(true, &["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"]));
        assert!(alone.is_subset(&among), "{alone:?} in {among:?}");
    }

    #[test]
    fn what_is_written_is_read_as_the_same_ranges_in_any_order() {
        for networks in [
            &["10.0.0.1/32", "10.0.0.3/32", "10.0.0.4/31", "255.255.255.255/32"][..],
            &["0.0.0.0/0"],
            &["0.0.0.0/8", "128.0.0.0/1"],
            &[],
        ] {
            let ranges = of(&set(true, networks));
            let mut shuffled = elements(&ranges);
            shuffled.reverse();
            assert_eq!(paired(shuffled), Some(ranges), "{networks:?}");
        }
        let touching = vec![(vec![2], false), (vec![1], false), (vec![2], true), (vec![3], true)];
        assert_eq!(paired(touching).map(|ranges| ranges.len()), Some(2));
        assert_eq!(paired(vec![(vec![0], true)]), Some(BTreeSet::new()), "an end of nothing");
        assert_eq!(paired(vec![(vec![1], false), (vec![2], false)]), None, "two beginnings");
    }
}
