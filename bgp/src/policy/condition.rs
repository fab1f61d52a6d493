//! What a rule may ask of a route besides its prefix.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::community::AnyCommunity;
use super::prefix_set::PrefixMatch;
use crate::config::Asn;
use crate::rib::Source;
use crate::rib::decision::DEFAULT_LOCAL_PREF;
use crate::wire::attribute::{AttributeSet, SegmentKind};
use crate::wire::nlri::Prefix;

/// The other end of a session, seen from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerType {
    /// Of another AS: eBGP.
    External,
    /// Of our own AS: iBGP.
    Internal,
}

/// A route as a policy sees it: as it came, before any operation.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its attributes.
    pub attributes: &'a AttributeSet,
    /// Its next hop; `None`: originated here.
    pub next_hop: Option<IpAddr>,
    /// The interface through which the next hop is reached, if somebody told.
    pub interface: Option<&'a str>,
    /// Where it comes from.
    pub source: Source,
    /// The peer it comes from (import) or would go to (export).
    pub peer: PeerType,
}

/// Something that holds for a route or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The prefix matches none of these.
    OutsideOf(Vec<PrefixMatch>),
    /// The prefix covers one of these addresses.
    Covers(Vec<IpAddr>),
    /// The prefix covers the route's own next hop, which would make it lead to itself.
    CoversOwnNextHop,
    /// It was learned from a peer, and is not this speaker's own.
    Learned,
    /// It comes from here.
    Source(Source),
    /// The session is of this type: the one it came by (import) or would go by (export).
    Peer(PeerType),
    /// The next hop is reached through an interface of such a name: `*` stands for any run of characters, `?` for one.
    Interface(String),
    /// It carries at least one of these communities.
    Community(Vec<AnyCommunity>),
    /// AS_PATH begins with these, the nearest first.
    AsPathPrefix(Vec<Asn>),
    /// One of these is in AS_PATH, anywhere.
    AsPathContains(Vec<Asn>),
    /// The last AS of AS_PATH, the one it comes from, is one of these.
    OriginAs(Vec<Asn>),
    /// AS_PATH has at most so many hops, as the decision counts them.
    AsPathAtMost(u32),
    /// The next hop lies in one of these networks; what is originated here has none.
    NextHopIn(Vec<IpNetwork>),
    /// LOCAL_PREF is this; 100 where it is absent.
    LocalPref(u32),
}

impl Condition {
    /// Whether it holds for a prefix with these attributes.
    pub(super) fn holds<P: Prefix>(&self, prefix: P, subject: &Subject<'_>) -> bool {
        let set = subject.attributes;
        match self {
            Condition::OutsideOf(matches) => {
                let network = prefix.to_network();
                !matches.iter().any(|one| one.matches(&network))
            }
            Condition::Covers(addresses) => addresses.iter().any(|address| prefix.contains(*address)),
            Condition::CoversOwnNextHop => subject.next_hop.is_some_and(|hop| prefix.contains(hop)),
            Condition::Learned => subject.source != Source::Local,
            Condition::Source(source) => subject.source == *source,
            Condition::Peer(kind) => subject.peer == *kind,
            Condition::Interface(pattern) => subject.interface.is_some_and(|name| glob(pattern, name)),
            Condition::Community(any) => any.iter().any(|community| community.is_in(set)),
            Condition::AsPathPrefix(wanted) => begins_with(set, wanted),
            Condition::AsPathContains(any) => any.iter().any(|asn| set.as_path.contains(*asn)),
            Condition::OriginAs(any) => origin_as(set).is_some_and(|asn| any.contains(&asn)),
            Condition::AsPathAtMost(most) => set.as_path.hops() <= *most as usize,
            Condition::NextHopIn(networks) => {
                subject.next_hop.is_some_and(|hop| networks.iter().any(|network| network.contains(hop)))
            }
            Condition::LocalPref(wanted) => set.local_pref.unwrap_or(DEFAULT_LOCAL_PREF) == *wanted,
        }
    }
}

/// Whether the leading sequence begins with these.
fn begins_with(set: &AttributeSet, wanted: &[Asn]) -> bool {
    let sequences = set.as_path.segments.iter().take_while(|segment| segment.kind == SegmentKind::Sequence);
    let mut found = sequences.flat_map(|segment| segment.asns.iter());
    wanted.iter().all(|asn| found.next() == Some(asn))
}

/// The AS a route comes from; `None` for an empty path and for one that ends with a set.
fn origin_as(set: &AttributeSet) -> Option<Asn> {
    set.as_path.segments.last().filter(|last| last.kind == SegmentKind::Sequence)?.asns.last().copied()
}

/// Matches a name against a pattern of `*` and `?`. Linear: a star that has matched too little is the only place to
/// go back to.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == name[n] => {
                p += 1;
                n += 1;
            }
            Some(_) | None => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::attribute::AsPath;
    use crate::wire::nlri::Ipv4Prefix;

    fn path(asns: &[u32]) -> AttributeSet {
        AttributeSet { as_path: AsPath::sequence(asns.iter().copied().map(Asn)), ..AttributeSet::default() }
    }

    fn holds(condition: &Condition, prefix: &str, set: &AttributeSet) -> bool {
        let subject = Subject {
            attributes: set,
            next_hop: "192.0.2.1".parse().ok(),
            interface: Some("eth0"),
            source: Source::Ebgp,
            peer: PeerType::External,
        };
        let prefix = Ipv4Prefix::from_network(&prefix.parse().unwrap()).unwrap();
        condition.holds(prefix, &subject)
    }

    #[test]
    fn interfaces_match_by_pattern() {
        for (pattern, name, want) in [
            ("eth0", "eth0", true),
            ("eth*", "eth10", true),
            ("*", "", true),
            ("e*0*1", "eth0.1", true),
            ("e*0*1", "eth0.2", false),
            ("eth?", "eth", false),
            ("eth?", "eth1", true),
            ("cali*", "eth0", false),
            ("*aab", "aaab", true),
        ] {
            assert_eq!(glob(pattern, name), want, "{pattern} {name}");
        }
        assert!(holds(&Condition::Interface("eth*".into()), "10.0.0.0/8", &path(&[])));
    }

    #[test]
    fn as_paths_match_by_their_beginning_their_end_and_their_members() {
        let set = path(&[65001, 65002, 65003]);
        let on = |condition| holds(&condition, "10.0.0.0/8", &set);
        assert!(on(Condition::AsPathPrefix(vec![Asn(65001), Asn(65002)])));
        assert!(!on(Condition::AsPathPrefix(vec![Asn(65002)])));
        assert!(!on(Condition::AsPathPrefix([65001, 65002, 65003, 65004].map(Asn).to_vec())));
        assert!(on(Condition::AsPathContains(vec![Asn(1), Asn(65002)])));
        assert!(on(Condition::OriginAs(vec![Asn(65003)])));
        assert!(!on(Condition::OriginAs(vec![Asn(65001)])));
        assert!(on(Condition::AsPathAtMost(3)) && !on(Condition::AsPathAtMost(2)));
    }

    #[test]
    fn a_prefix_that_covers_its_own_next_hop_leads_to_itself() {
        let set = path(&[65001]);
        assert!(holds(&Condition::CoversOwnNextHop, "192.0.2.0/24", &set));
        assert!(!holds(&Condition::CoversOwnNextHop, "198.51.100.0/24", &set));
        assert!(holds(&Condition::Covers(vec!["10.1.2.3".parse().unwrap()]), "10.0.0.0/8", &set));
        assert!(!holds(&Condition::Covers(vec!["fd00::1".parse().unwrap()]), "10.0.0.0/8", &set));
    }

    #[test]
    fn an_absent_local_pref_is_the_default() {
        assert!(holds(&Condition::LocalPref(100), "10.0.0.0/8", &path(&[])));
        let set = AttributeSet { local_pref: Some(7), ..path(&[]) };
        assert!(holds(&Condition::LocalPref(7), "10.0.0.0/8", &set));
        assert!(!holds(&Condition::LocalPref(100), "10.0.0.0/8", &set));
    }
}
