//! Speakers in one process: speaker `n` of town `t` lives at 127.`t`.0.`n`, all of a town on one port.

#![allow(clippy::unwrap_used, reason = "a helper of tests: what it unwraps fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use caracal_bgp::config::diff::Step;
use caracal_bgp::speaker::{Feed, FeedBatch, Handle, Origination, PeerStatus, RouteQuery, SpeakerEvent};
use caracal_bgp::{Asn, Config, LocalNextHops, PeerConfig, PeerKey, PeerOrigin, RouterId};
use ipnetwork::IpNetwork;
use tokio::sync::broadcast;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a follower of one speaker has installed: prefix to next hops.
type Installed = BTreeMap<IpNetwork, Vec<Option<IpAddr>>>;

pub(crate) struct Town {
    number: u8,
    size: u8,
    speakers: BTreeMap<u8, Resident>,
}

struct Resident {
    handle: Handle,
    config: Config,
    feed: Feed,
    installed: Installed,
}

pub(crate) fn network(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn own_next_hops(n: u8) -> (Ipv4Addr, Ipv6Addr) {
    (Ipv4Addr::new(192, 0, 2, n), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()))
}

/// Waits, but not for ever.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("the deadline has passed")
}

/// Waits for an event.
pub(crate) async fn event(
    events: &mut broadcast::Receiver<SpeakerEvent>,
    wanted: impl Fn(&SpeakerEvent) -> bool,
) -> SpeakerEvent {
    within(async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

#[allow(dead_code, reason = "compiled once for each test file, of which each uses a part")]
pub(crate) fn set_as(config: &mut Config, local: u32, remote: u32) {
    config.local_as = Asn(local);
    for peer in config.peers.values_mut() {
        peer.local_as = Asn(local);
        peer.remote_as = Asn(remote).into();
    }
}

impl Town {
    /// Room for `size` speakers, none of them started.
    pub(crate) fn new(number: u8, size: u8) -> Self {
        Town { number, size, speakers: BTreeMap::new() }
    }

    /// A full mesh with every session up.
    pub(crate) async fn mesh(number: u8, size: u8) -> Self {
        let mut town = Town::new(number, size);
        for n in 1..=size {
            town.start(n, |_| {});
        }
        for n in 1..=size {
            for other in (1..=size).filter(|other| *other != n) {
                town.until_established(n, other).await;
            }
        }
        town
    }

    fn address(&self, n: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number, 0, n)
    }

    fn port(&self) -> u16 {
        20_000 + u16::from(self.number)
    }

    pub(crate) fn key(&self, n: u8) -> PeerKey {
        PeerKey::from(IpAddr::V4(self.address(n)))
    }

    /// The next hop of IPv4 routes of speaker `n`. A loopback address would be no valid one.
    pub(crate) fn v4(&self, n: u8) -> IpAddr {
        IpAddr::V4(own_next_hops(n).0)
    }

    /// The next hop of IPv6 routes of speaker `n`.
    pub(crate) fn v6(&self, n: u8) -> IpAddr {
        IpAddr::V6(own_next_hops(n).1)
    }

    /// Of two speakers the one with the greater number dials. Where both do, a session that is up may end again when their
    /// connections turn out to collide, and there would be no telling that from what a test is about.
    fn peer_config(&self, n: u8, other: u8) -> PeerConfig {
        let (v4, v6) = own_next_hops(n);
        PeerConfig {
            name: format!("node-{other}"),
            origin: PeerOrigin::Mesh,
            passive: n < other,
            local_address: Some(IpAddr::V4(self.address(n))),
            connect_retry: Duration::from_secs(1),
            local_next_hops: LocalNextHops { v4: Some(v4), v6: Some(v6) },
            ..PeerConfig::new(SocketAddr::from((self.address(other), self.port())), Asn(64512), Asn(64512))
        }
    }

    /// Starts speaker `n`, which knows all others unless `edit` says otherwise.
    pub(crate) fn start(&mut self, n: u8, edit: impl FnOnce(&mut Config)) {
        let others = (1..=self.size).filter(|other| *other != n);
        let mut config = Config {
            listen: vec![SocketAddr::from((self.address(n), self.port()))],
            peers: others.map(|other| (self.key(other), self.peer_config(n, other))).collect(),
            ..Config::new(Asn(64512), RouterId::try_from(self.address(n)).unwrap())
        };
        edit(&mut config);
        let handle = Handle::start(config.clone()).unwrap();
        let feed = futures::executor::block_on(handle.feed()).unwrap();
        self.speakers.insert(n, Resident { handle, config, feed, installed: Installed::new() });
    }

    fn resident(&self, n: u8) -> &Resident {
        &self.speakers[&n]
    }

    pub(crate) fn speaker(&self, n: u8) -> &Handle {
        &self.resident(n).handle
    }

    pub(crate) fn config(&self, n: u8) -> &Config {
        &self.resident(n).config
    }

    pub(crate) async fn configure(&mut self, n: u8, config: Config) -> Vec<(PeerKey, Step)> {
        let resident = self.speakers.get_mut(&n).unwrap();
        let steps = resident.handle.configure(config.clone()).await.unwrap();
        resident.config = config;
        steps
    }

    pub(crate) async fn originate(&self, n: u8, prefixes: &[&str]) {
        let announce = |text: &&str| Origination::Announce { prefix: network(text), communities: Vec::new() };
        self.speaker(n).originate(prefixes.iter().map(announce).collect()).await.unwrap();
    }

    pub(crate) async fn withdraw(&self, n: u8, prefixes: &[&str]) {
        let withdraw = |text: &&str| Origination::Withdraw { prefix: network(text) };
        self.speaker(n).originate(prefixes.iter().map(withdraw).collect()).await.unwrap();
    }

    /// How speaker `n` sees speaker `other`.
    pub(crate) async fn peer(&self, n: u8, other: u8) -> PeerStatus {
        let peers = self.speaker(n).peers().await.unwrap();
        peers.into_iter().find(|peer| peer.key == self.key(other)).unwrap()
    }

    async fn until_established(&self, n: u8, other: u8) {
        let mut events = self.speaker(n).events();
        if self.peer(n, other).await.is_established() {
            return;
        }
        let key = self.key(other);
        event(&mut events, |event| *event == SpeakerEvent::PeerUp { key }).await;
    }

    /// Whether speaker `n` has a path to a prefix, as far as its follower has pulled.
    pub(crate) fn has(&self, n: u8, prefix: &str) -> bool {
        self.resident(n).installed.contains_key(&network(prefix))
    }

    pub(crate) async fn until_learned(&mut self, n: u8, prefix: &str, next_hop: IpAddr) {
        let prefix = network(prefix);
        let wanted = Some(next_hop);
        self.until(n, |installed| installed.get(&prefix).is_some_and(|hops| hops.contains(&wanted))).await;
    }

    pub(crate) async fn until_gone(&mut self, n: u8, prefix: &str) {
        let prefix = network(prefix);
        self.until(n, |installed| !installed.contains_key(&prefix)).await;
    }

    /// Whether speaker `n` has a path to a prefix in use now.
    #[allow(dead_code, reason = "compiled once for each test file, of which each uses a part")]
    pub(crate) async fn has_now(&self, n: u8, prefix: &str) -> bool {
        let query = RouteQuery { prefix: Some(network(prefix)), ..RouteQuery::default() };
        self.speaker(n).routes(query).await.unwrap().iter().any(|route| route.best)
    }

    /// Waits until speaker `n` uses these next hops for a prefix and no others.
    #[allow(dead_code, reason = "compiled once for each test file, of which each uses a part")]
    pub(crate) async fn until_hops(&mut self, n: u8, prefix: &str, hops: &[IpAddr]) {
        let prefix = network(prefix);
        let wanted: BTreeSet<IpAddr> = hops.iter().copied().collect();
        self.until(n, |installed| {
            installed
                .get(&prefix)
                .is_some_and(|hops| hops.iter().flatten().copied().collect::<BTreeSet<_>>() == wanted)
        })
        .await;
    }

    async fn until(&mut self, n: u8, wanted: impl Fn(&Installed) -> bool) {
        let resident = self.speakers.get_mut(&n).unwrap();
        let waiting = async {
            while !wanted(&resident.installed) {
                let batch = resident.feed.pull(64).await.unwrap();
                install(&mut resident.installed, batch);
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            let mut peers = Vec::new();
            for (number, resident) in &self.speakers {
                peers.push((number, resident.handle.peers().await));
            }
            let installed = &self.resident(n).installed;
            panic!("speaker {n} did not come to it; it has {installed:?}; sessions: {peers:#?}");
        }
    }
}

fn install(installed: &mut Installed, batch: FeedBatch) {
    for change in batch.changes {
        match change.best {
            Some(best) => {
                let hops = best.paths.iter().map(|path| path.next_hop).collect();
                installed.insert(change.prefix, hops);
            }
            None => {
                installed.remove(&change.prefix);
            }
        }
    }
}
