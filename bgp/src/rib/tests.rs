//! The RIB as a whole, in a small world of peers.

mod add_path;
mod decision;
mod feeds;
mod groups;
mod imports;
mod lifetimes;
mod monitor;
mod properties;
mod refresh;
mod restarts;
mod underlay;

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::config::{Families, Interface, NextHopMode, PeerKey};
use crate::wire::Context;
use crate::wire::attribute::{AsPath, AttributeSet};
use crate::wire::nlri::{Ipv4Prefix, Prefix};

const LOCAL_AS: Asn = Asn(64512);

/// A RIB with the clock of its tests.
struct World {
    rib: Rib<V4>,
    now: Instant,
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Ipv4Prefix {
    Ipv4Prefix::from_network(&text.parse().unwrap()).unwrap()
}

fn path(asns: &[u32]) -> AttributeSet {
    AttributeSet { as_path: AsPath::sequence(asns.iter().copied().map(Asn)), ..AttributeSet::default() }
}

fn identity() -> Identity {
    Identity {
        router_id: Ipv4Addr::new(10, 0, 0, 99),
        cluster_id: Ipv4Addr::new(10, 0, 0, 98),
        own: HashSet::from([address("192.0.2.99")]),
        multipath: Multipath { max: NonZeroU16::new(4).unwrap(), relax: true },
    }
}

/// The facts of peer `n`, whose address is 192.0.2.`n` and whose router id is 10.0.0.`n`.
fn peer(n: u8, source: Source) -> PeerFacts {
    PeerFacts {
        key: Some(PeerKey::from(IpAddr::from([192, 0, 2, n]))),
        source,
        router_id: Ipv4Addr::new(10, 0, 0, n).to_bits(),
        client: false,
        local_as: LOCAL_AS,
        allow_own_as: 0,
        link: None,
        import: Arc::new(Policy::accept_all()),
    }
}

fn profile(external_peer: Option<Asn>) -> EgressProfile {
    EgressProfile {
        context: Context::new(external_peer, Families::dual()).for_writing(),
        external: external_peer.is_some(),
        local_as: LOCAL_AS,
        client: false,
        cluster_id: Ipv4Addr::new(10, 0, 0, 98),
        next_hop: NextHopMode::Auto,
        own_next_hop: Some(address("192.0.2.99")),
        own_link_local: None,
        paths: None,
        as_override: None,
        remove_private_as: false,
        long_lived: true,
        export: Arc::new(Policy::accept_all()),
    }
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        World { rib: Rib::new(now, identity(), LOCAL_AS), now }
    }

    /// A world with external peers 1 … n.
    fn with_external(n: u8) -> Self {
        let mut world = World::new();
        (1..=n).for_each(|n| world.up(n, Source::Ebgp));
        world
    }

    fn apply(&mut self, change: Change<'_, V4>) {
        self.rib.apply(self.now, change);
    }

    fn up(&mut self, n: u8, source: Source) {
        self.apply(Change::Up(PeerSlot(n.into()), peer(n, source)));
    }

    fn up_as(&mut self, n: u8, facts: PeerFacts) {
        self.apply(Change::Up(PeerSlot(n.into()), facts));
    }

    /// Peer `n`, which is external, has another import policy from now on.
    fn filter(&mut self, n: u8, import: Arc<Policy>) {
        self.apply(Change::Facts(PeerSlot(n.into()), PeerFacts { import, ..peer(n, Source::Ebgp) }));
    }

    /// Peer `n` announces by its own address as next hop.
    fn announce(&mut self, n: u8, text: &str, set: &AttributeSet) {
        self.announce_by(n, text, set, IpAddr::from([192, 0, 2, n]));
    }

    fn announce_by(&mut self, n: u8, text: &str, set: &AttributeSet, next_hop: IpAddr) {
        let nlri = [Nlri { prefix: prefix(text), path_id: 0 }];
        self.apply(Change::Announce(PeerSlot(n.into()), Attrs { set, next_hop: Some(next_hop) }, &nlri));
    }

    /// Peer `n` announces one of several paths.
    fn announce_path(&mut self, n: u8, text: &str, path_id: u32, set: &AttributeSet) {
        let nlri = [Nlri { prefix: prefix(text), path_id }];
        let next_hop = Some(IpAddr::from([192, 0, 2, n]));
        self.apply(Change::Announce(PeerSlot(n.into()), Attrs { set, next_hop }, &nlri));
    }

    fn originate(&mut self, text: &str) {
        let nlri = [Nlri { prefix: prefix(text), path_id: 0 }];
        let set = AttributeSet::default();
        self.apply(Change::Announce(PeerSlot::LOCAL, Attrs { set: &set, next_hop: None }, &nlri));
    }

    fn withdraw(&mut self, n: u8, text: &str) {
        let nlri = [Nlri { prefix: prefix(text), path_id: 0 }];
        self.apply(Change::Withdraw(PeerSlot(n.into()), &nlri));
    }

    fn down(&mut self, n: u8) {
        self.apply(Change::Down(PeerSlot(n.into())));
    }

    /// Does all pending work, a small slice at a time.
    fn settle(&mut self) {
        while self.rib.work(3) == Progress::More {}
    }

    fn explain(&self, text: &str) -> Explanation<Ipv4Prefix> {
        self.rib.explain(self.now + Duration::from_secs(1), prefix(text))
    }

    /// The peer of the best path.
    fn best(&self, text: &str) -> Option<u16> {
        self.standing_of(text, PathStanding::Best).first().copied()
    }

    fn standing_of(&self, text: &str, standing: PathStanding) -> Vec<u16> {
        let paths = self.explain(text).paths;
        paths.iter().filter(|path| path.standing == standing).map(|path| path.peer.0).collect()
    }

    fn standing(&self, n: u8, text: &str) -> Option<PathStanding> {
        self.explain(text).paths.iter().find(|path| path.peer == PeerSlot(n.into())).map(|path| path.standing)
    }

    /// Pulls everything for a group.
    fn pull(&mut self, group: Consumer) -> Vec<Bundle<Ipv4Prefix>> {
        let mut all = Vec::new();
        loop {
            let mut batch = GroupBatch::default();
            let state = self.rib.pull_group(group, 2, &mut batch);
            all.extend(batch.bundles);
            if state == MoreOrLess::Drained {
                return all;
            }
        }
    }
}

/// What one peer of a group believes, made from what it was sent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listener {
    slot: u16,
    routes: BTreeMap<Ipv4Prefix, (Arc<AttributeSet>, IpAddr)>,
}

impl Listener {
    fn new(slot: u16) -> Self {
        Listener { slot, ..Listener::default() }
    }

    fn hear(&mut self, bundles: &[Bundle<Ipv4Prefix>]) {
        for bundle in bundles.iter().filter(|bundle| bundle.audience.includes(PeerSlot(self.slot))) {
            for Nlri { prefix, path_id } in &bundle.prefixes {
                assert_eq!(*path_id, 0, "a listener of one path a prefix");
                match &bundle.attributes {
                    Some(made) => self.routes.insert(*prefix, made.clone()),
                    None => self.routes.remove(prefix),
                };
            }
        }
    }

    fn knows(&self) -> Vec<String> {
        self.routes.keys().map(ToString::to_string).collect()
    }
}
