//! What peers announce: prefixes by their number, and attributes as a table of the Internet has them.
//!
//! Ten neighbouring prefixes share one set of attributes: AS paths of two to six hops and up to six communities, made
//! from the peer and the place alone, so that every run has the same.

use std::ops::Range;

use super::message::{self, Attributes};
use crate::load::Client;

/// So many prefixes share a set of attributes.
pub(crate) const GROUP: u32 = 10;

/// The attributes of a group of prefixes, as a peer announces them; `round` tells one announcement from the next.
pub(crate) fn attributes(client: &Client, group: u32, round: u32) -> Attributes {
    let mut dice = Dice(u64::from(client.router_id.to_bits()) << 32 | u64::from(group));
    let mut path = if client.internal { Vec::new() } else { vec![client.asn] };
    path.extend((0..1 + dice.below(5)).map(|_| 100_000 + dice.below(80_000)));
    let mut communities: Vec<u32> =
        (0..dice.below(7)).map(|_| (1000 + dice.below(60_000)) << 16 | dice.below(1000)).collect();
    // Passed on by everyone, so that what comes back after it was away is never what it was before: a speaker that has
    // not got round to telling of either would otherwise rightly say nothing.
    communities.extend((round > 0).then_some(round));
    Attributes { path, next_hop: client.address, internal: client.internal, communities }
}

/// The messages by which a peer announces prefixes.
pub(crate) fn announcements(client: &Client, numbers: Range<u32>, round: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let mut next = numbers.start;
    while next < numbers.end {
        let end = (next / GROUP + 1).saturating_mul(GROUP).min(numbers.end);
        message::announce(&mut out, &attributes(client, next / GROUP, round), next..end);
        next = end;
    }
    out
}

/// Numbers that look random and are always the same (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let value = u32::try_from((value ^ (value >> 31)) >> 32).unwrap_or(0);
        value % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_vary_and_are_the_same_every_time() {
        let client = Client::external([10, 65, 0, 1].into(), 65001);
        let paths = |round| (0..100).map(|group| attributes(&client, group, round).path).collect::<Vec<_>>();
        assert_eq!(paths(0), paths(0));
        assert!(paths(0).windows(2).any(|two| two[0] != two[1]));
        assert!(paths(0).iter().all(|path| (2..=6).contains(&path.len()) && path[0] == 65001));
    }
}
