//! What is told of ranges of peers: who is there, and who was turned away.
//!
//! Whoever is turned away may come again at once and for ever: each kind of refusal is logged once a range and then at most
//! once a minute, and all are counted.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;

/// For so long a kind of refusal is not told again.
const QUIET: Duration = Duration::from_secs(60);

/// A range of peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeStatus {
    /// The addresses.
    pub prefix: IpNetwork,
    /// What people call it.
    pub name: String,
    /// How many peers are there.
    pub peers: u32,
    /// How many may be.
    pub max_peers: u32,
    /// How often somebody was turned away.
    pub refused: u64,
    /// Who was last, and why; or why nobody is let in.
    pub last_refusal: Option<String>,
}

/// Why somebody is turned away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Refusal {
    /// There are as many as may be.
    #[error("there are {0} peers of the range, as many as may be: raise `max-peers` or see who they are")]
    Full(u16),
    /// Its password cannot be asked for.
    #[error("the range has a password that cannot be asked for: {0}")]
    NoPassword(String),
    /// There was no session.
    #[error("no session came of its connection: {0}")]
    NoSession(String),
}

impl Refusal {
    /// A stable word.
    fn code(&self) -> &'static str {
        match self {
            Refusal::Full(_) => "RangeFull",
            Refusal::NoPassword(_) => "NoMd5Key",
            Refusal::NoSession(_) => "NoSession",
        }
    }
}

/// Who was turned away.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    told: BTreeMap<(IpNetwork, &'static str), Told>,
    ranges: BTreeMap<IpNetwork, (u64, String)>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// How often it has happened since.
    untold: u64,
}

impl Refusals {
    /// Notes one; how many of its kind have not been told, if it is to be told now.
    pub(super) fn note(&mut self, now: Instant, range: IpNetwork, who: IpAddr, why: &Refusal) -> Option<u64> {
        let (count, last) = self.ranges.entry(range).or_default();
        *count += 1;
        *last = format!("{who}: {why}");
        match self.told.entry((range, why.code())) {
            Entry::Vacant(place) => {
                place.insert(Told { at: now, untold: 0 });
                Some(0)
            }
            Entry::Occupied(mut told) if now < told.get().at + QUIET => {
                told.get_mut().untold += 1;
                None
            }
            Entry::Occupied(mut told) => {
                told.get_mut().at = now;
                Some(std::mem::take(&mut told.get_mut().untold))
            }
        }
    }

    /// What is told of a range: how often, and the last.
    pub(super) fn of(&self, range: &IpNetwork) -> (u64, Option<String>) {
        self.ranges.get(range).map_or((0, None), |(count, last)| (*count, Some(last.clone())))
    }

    /// Only these ranges are there.
    pub(super) fn retain(&mut self, is_there: impl Fn(&IpNetwork) -> bool) {
        self.told.retain(|(range, _), _| is_there(range));
        self.ranges.retain(|range, _| is_there(range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_refusal_is_told_once_a_minute_and_all_are_counted() {
        let range = |text: &str| text.parse::<IpNetwork>().unwrap();
        let (racks, edge) = (range("10.0.0.0/8"), range("2001:db8::/32"));
        let who = |last: u8| IpAddr::from([10, 0, 0, last]);
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let full = Refusal::Full(2);
        assert_eq!(refusals.note(start, racks, who(1), &full), Some(0));
        assert_eq!(refusals.note(start, racks, who(2), &full), None);
        assert_eq!(refusals.note(start + QUIET / 2, racks, who(3), &full), None);
        let other = Refusal::NoSession("the peer said so".to_owned());
        assert_eq!(refusals.note(start + QUIET / 2, racks, who(3), &other), Some(0), "another kind");
        assert_eq!(refusals.note(start, edge, who(3), &full), Some(0), "another range");
        assert_eq!(refusals.note(start + QUIET, racks, who(4), &full), Some(2));
        let (count, last) = refusals.of(&racks);
        assert_eq!(count, 5);
        assert!(last.is_some_and(|last| last.starts_with("10.0.0.4: there are 2 peers of the range")));
        refusals.retain(|range| *range == edge);
        assert_eq!((refusals.of(&racks).0, refusals.of(&edge).0), (0, 1));
    }
}
