//! Whom a speaker that has restarted waits for, and until when, before it chooses among what it hears (RFC 4724 §4.1).
//!
//! It waits for every peer that has not said all it had: one that has a name, also while it is away; one of a range once it is
//! there, and while it is away if it was there before the restart, as the process before has written down
//! (`speaker/peer_memory.rs`). Where nothing was written down nobody knows who is still to come from a range, and the whole time
//! is waited. Peers that have restarted, too, and those that know nothing of restarts are never waited for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::config::{Config, Families, Family, PeerConfig, PeerKey, PeerOrigin, longest};

/// What a peer that has a session has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It has still to say what it has in the family, or to end it with a word.
    Part,
    /// All, or it is not waited for.
    All,
}

/// What is put off, and for how long.
#[derive(Debug)]
pub(super) struct Deferral {
    /// The families in which the choice is still put off.
    families: Families,
    longest: Duration,
    /// The time runs since there have been peers.
    until: Option<Instant>,
    /// The peers of ranges that were there before the restart; `None`: nobody has written them down.
    remembered: Option<BTreeSet<PeerKey>>,
}

impl Deferral {
    /// Puts off for so long at most; `None`: nothing.
    pub(super) fn new(longest: Option<Duration>, remembered: Option<BTreeSet<PeerKey>>) -> Deferral {
        let families = if longest.is_some() { Families::dual() } else { Families::NONE };
        Deferral { families, longest: longest.unwrap_or_default(), until: None, remembered }
    }

    /// The families in which the choice is put off.
    pub(super) fn families(&self) -> Families {
        self.families
    }

    /// When the choice is no longer put off, whoever is missing.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until.filter(|_| !self.families.is_empty())
    }

    /// The peers of ranges that were there before the restart, while the choice is put off; `None`: who they are is not known.
    pub(super) fn remembered(&self) -> Option<&BTreeSet<PeerKey>> {
        const NOBODY: &BTreeSet<PeerKey> = &BTreeSet::new();
        if self.families.is_empty() { Some(NOBODY) } else { self.remembered.as_ref() }
    }

    /// The families in which nobody is waited for any more, or for which the time is over: from now on they are not put off.
    /// `heard` tells what a peer with a session has said in a family.
    pub(super) fn ended(
        &mut self,
        now: Instant,
        config: &Config,
        heard: impl Fn(&PeerKey, Family) -> Option<Heard>,
    ) -> Families {
        if self.families.is_empty() || (config.peers.is_empty() && config.ranges.is_empty()) {
            return Families::NONE;
        }
        let until = *self.until.get_or_insert(now + self.longest);
        let over = |family: &Family| now >= until || !self.is_awaited(config, *family, &heard);
        let ended: Families = self.families.iter().filter(over).collect();
        self.families = self.families.difference(ended);
        ended
    }

    /// Whether somebody is waited for in a family.
    fn is_awaited(
        &self,
        config: &Config,
        family: Family,
        heard: &impl Fn(&PeerKey, Family) -> Option<Heard>,
    ) -> bool {
        let was_there = |key: &PeerKey| self.remembered.as_ref().is_some_and(|all| all.contains(key));
        let present = |(key, peer): (&PeerKey, &PeerConfig)| {
            peer.families.contains(family)
                && match heard(key, family) {
                    Some(heard) => heard == Heard::Part,
                    None => !matches!(peer.origin, PeerOrigin::Range(_)) || was_there(key),
                }
        };
        let mut ranges = config.ranges.values().filter(|range| range.terms.families.contains(family));
        let may_come = |key: &PeerKey| {
            let range = longest(&config.ranges, key.address());
            !config.peers.contains_key(key)
                && range.is_some_and(|(_, range)| range.terms.families.contains(family))
        };
        config.peers.iter().any(present)
            || match &self.remembered {
                Some(all) => all.iter().any(may_come),
                None => ranges.next().is_some(),
            }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::config::{Asn, PeerRange, RouterId};

    const LONG: Duration = Duration::from_secs(30);
    const V4: Family = Family::Ipv4Unicast;
    const V6: Family = Family::Ipv6Unicast;

    fn key(text: &str) -> PeerKey {
        text.parse().unwrap()
    }

    fn terms(address: &str) -> PeerConfig {
        PeerConfig::new(SocketAddr::new(key(address).address(), 179), Asn(1), Asn(2))
    }

    /// A world at its beginning: one with this named peer and this range, if any.
    struct World {
        start: Instant,
        config: Config,
        sessions: BTreeMap<(PeerKey, Family), Heard>,
        deferral: Deferral,
    }

    impl World {
        fn new(named: Option<&str>, range: Option<&str>, remembered: Option<&[&str]>) -> World {
            let mut config = Config::new(Asn(1), RouterId::try_from(Ipv4Addr::new(10, 0, 0, 1)).unwrap());
            config.peers.extend(named.map(|name| (key(name), terms(name))));
            let range = range.map(|range| (range.parse().unwrap(), PeerRange::new(terms("10.0.0.0"))));
            config.ranges.extend(range);
            let remembered = remembered.map(|all| all.iter().map(|name| key(name)).collect());
            let deferral = Deferral::new(Some(LONG), remembered);
            World { start: Instant::now(), config, sessions: BTreeMap::new(), deferral }
        }

        /// The families that end so many seconds after the start.
        fn at(&mut self, seconds: u64) -> Families {
            let sessions = &self.sessions;
            let heard = |key: &PeerKey, family| sessions.get(&(*key, family)).copied();
            self.deferral.ended(self.start + Duration::from_secs(seconds), &self.config, heard)
        }

        /// Somebody connects from the range.
        fn comes(&mut self, name: &str) {
            let (prefix, range) = longest(&self.config.ranges, key(name).address()).unwrap();
            let peer = range.peer(prefix, key(name).address());
            self.config.peers.insert(key(name), peer);
        }

        fn says(&mut self, name: &str, families: &[Family], heard: Heard) {
            self.sessions.extend(families.iter().map(|family| ((key(name), *family), heard)));
        }
    }

    fn both() -> [Family; 2] {
        [V4, V6]
    }

    #[test]
    fn nothing_is_put_off_where_nothing_was_left() {
        let mut world = World::new(Some("192.0.2.1"), None, None);
        world.deferral = Deferral::new(None, None);
        assert_eq!((world.at(0), world.at(3600)), (Families::NONE, Families::NONE));
        assert_eq!((world.deferral.deadline(), world.deferral.families()), (None, Families::NONE));
    }

    #[test]
    fn a_named_peer_is_waited_for_family_by_family_and_no_longer_than_the_time() {
        let mut world = World::new(Some("192.0.2.1"), None, None);
        assert_eq!(world.at(0), Families::NONE);
        world.says("192.0.2.1", &both(), Heard::Part);
        assert_eq!(world.at(1), Families::NONE);
        world.says("192.0.2.1", &[V4], Heard::All);
        assert_eq!(world.at(2), [V4].into_iter().collect());
        assert_eq!(world.at(29), Families::NONE);
        assert_eq!(world.at(30), [V6].into_iter().collect(), "the time is over");
        assert_eq!(world.deferral.deadline(), None);
    }

    #[test]
    fn the_time_runs_from_when_there_are_peers() {
        let mut world = World::new(None, None, None);
        assert_eq!(world.at(100), Families::NONE);
        world.config.peers.insert(key("192.0.2.1"), terms("192.0.2.1"));
        assert_eq!(world.at(110), Families::NONE);
        assert_eq!(world.deferral.deadline(), Some(world.start + Duration::from_secs(110) + LONG));
        assert_eq!((world.at(139), world.at(140)), (Families::NONE, Families::dual()));
    }

    #[test]
    fn of_a_range_those_are_waited_for_who_were_there_and_nobody_else() {
        let mut world = World::new(Some("192.0.2.1"), Some("10.0.0.0/8"), Some(&["10.0.0.1", "10.0.0.2"]));
        world.says("192.0.2.1", &both(), Heard::All);
        assert_eq!(world.at(1), Families::NONE);
        world.comes("10.0.0.1");
        world.says("10.0.0.1", &both(), Heard::All);
        assert_eq!(world.at(2), Families::NONE, "the other is away");
        world.comes("10.0.0.2");
        assert_eq!(world.at(3), Families::NONE, "it is there, without a session");
        // Somebody who was not there before has connected, and says nothing.
        world.comes("10.0.0.3");
        world.says("10.0.0.2", &both(), Heard::Part);
        assert_eq!(world.at(4), Families::NONE, "it has not said all");
        world.says("10.0.0.2", &both(), Heard::All);
        assert_eq!(world.at(5), Families::dual());
    }

    #[test]
    fn who_comes_from_a_range_for_the_first_time_is_heard_out_once_it_has_a_session() {
        let mut world = World::new(None, Some("10.0.0.0/8"), Some(&["10.0.0.1"]));
        assert_eq!(world.at(0), Families::NONE);
        world.comes("10.0.0.1");
        world.comes("10.0.0.2");
        world.says("10.0.0.1", &both(), Heard::All);
        world.says("10.0.0.2", &both(), Heard::Part);
        assert_eq!(world.at(1), Families::NONE);
        world.says("10.0.0.2", &both(), Heard::All);
        assert_eq!(world.at(2), Families::dual());
    }

    #[test]
    fn where_nobody_was_there_nobody_of_the_range_is_waited_for() {
        let mut world = World::new(Some("192.0.2.1"), Some("10.0.0.0/8"), Some(&[]));
        assert_eq!(world.at(0), Families::NONE, "the named one is");
        world.says("192.0.2.1", &both(), Heard::All);
        assert_eq!(world.at(1), Families::dual());
        assert_eq!(World::new(None, Some("10.0.0.0/8"), Some(&[])).at(0), Families::dual());
    }

    #[test]
    fn who_does_not_come_back_is_not_waited_for_longer_than_the_time_or_than_its_range_is_there() {
        let remembered: &[&str] = &["10.0.0.1", "172.16.0.1"];
        let mut world = World::new(None, Some("10.0.0.0/8"), Some(remembered));
        assert_eq!(
            (world.at(0), world.at(29), world.at(30)),
            (Families::NONE, Families::NONE, Families::dual())
        );
        // The other's range is no more, and nor is the first's after a reload.
        let mut world = World::new(Some("192.0.2.1"), Some("10.0.0.0/8"), Some(remembered));
        world.says("192.0.2.1", &both(), Heard::All);
        assert_eq!(world.at(0), Families::NONE);
        world.config.ranges.clear();
        assert_eq!(world.at(1), Families::dual());
    }

    #[test]
    fn a_range_of_one_family_holds_up_no_other() {
        for remembered in [None, Some(["10.0.0.1"].as_slice())] {
            let mut world = World::new(None, Some("10.0.0.0/8"), remembered);
            let only_v4 = [V4].into_iter().collect();
            world.config.ranges.values_mut().for_each(|range| range.terms.families = only_v4);
            assert_eq!(world.at(0), [V6].into_iter().collect());
            assert_eq!((world.at(29), world.at(30)), (Families::NONE, only_v4));
        }
    }

    #[test]
    fn where_nobody_was_written_down_the_whole_time_is_waited() {
        let mut world = World::new(None, Some("10.0.0.0/8"), None);
        world.comes("10.0.0.1");
        world.says("10.0.0.1", &both(), Heard::All);
        assert_eq!(
            (world.at(0), world.at(29), world.at(30)),
            (Families::NONE, Families::NONE, Families::dual())
        );
    }

    #[test]
    fn what_is_remembered_is_so_until_the_choice() {
        let mut world = World::new(None, Some("10.0.0.0/8"), Some(&["10.0.0.1"]));
        assert_eq!(world.deferral.remembered(), Some(&BTreeSet::from([key("10.0.0.1")])));
        world.at(0);
        world.at(30);
        assert_eq!(world.deferral.remembered(), Some(&BTreeSet::new()));
        // What is not known is not known before that.
        let mut world = World::new(None, Some("10.0.0.0/8"), None);
        world.at(0);
        assert_eq!(world.deferral.remembered(), None);
        world.at(30);
        assert_eq!(world.deferral.remembered(), Some(&BTreeSet::new()));
    }
}
