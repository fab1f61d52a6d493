//! Keeps the speaker as the resources say: its peers and policies, and what it announces.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use caracal_api::block_cidr::masked;
use caracal_bgp::bmp::Stations;
use caracal_bgp::speaker::{Handle, Origination, Stopped};
use caracal_bgp::{Config, Interface, PeerKey};
use caracal_bgp_underlay::neighbours::{Neighbours, Sightings, interfaces, placed};
use caracal_bgp_underlay::next_hops::{filled_near, near};
use caracal_linux::kernel::Underlay;
use caracal_linux::object::link::IfName;
use ipnetwork::IpNetwork;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::cluster::Cluster;
use crate::cluster::secrets::SecretsReceiver;
use crate::cluster::services::ServiceAddressesReceiver;
use crate::desired::announcements::announcements;
use crate::desired::grants::{GrantsReceiver, floating};
use crate::desired::outgoing::{Told, told};
use crate::desired::peers::{Inputs, Problem, config};
use crate::desired::policies::{Ground, Policies};
use crate::desired::restart::Comeback;
use crate::desired::speaker::SpeakerSettings;
use crate::ipam::OwnBlocks;
use crate::node::{FactsReceiver, NodeAddress, NodeFacts};

/// Everything the speaker depends on.
pub struct Peering {
    /// The speaker.
    pub speaker: Handle,
    /// The API server's objects.
    pub cluster: Cluster,
    /// This node.
    pub facts: FactsReceiver,
    /// What the `BGPConfiguration`s say.
    pub settings: watch::Receiver<Arc<SpeakerSettings>>,
    /// Blocks to announce.
    pub blocks: OwnBlocks,
    /// Service addresses to announce.
    pub services: ServiceAddressesReceiver,
    /// Floating addresses to announce.
    pub grants: GrantsReceiver,
    /// Where passwords are.
    pub secrets: SecretsReceiver,
    /// What the run before left.
    pub comeback: Comeback,
    /// This machine's links and addresses.
    pub links: watch::Receiver<Arc<Underlay>>,
    /// Where problems are told.
    pub problems: watch::Sender<Arc<Vec<Problem>>>,
    /// Where it is told by which devices routers are told this node's address.
    pub told: watch::Sender<Told>,
}

/// Time until a refused configuration is offered again: an address may not be there yet, or a port busy for a moment.
const RETRY: Duration = Duration::from_secs(5);

/// For so long at most the first End-of-RIB waits for what is to be announced: peers keep routes for 120 s by default.
const COMPLETE_BY: Duration = Duration::from_secs(100);

/// Peers that are on the link of a device, or known to be on one of this machine's subnets.
struct OnLinks {
    neighbours: Neighbours,
    sightings: watch::Receiver<Arc<Sightings>>,
    /// There are some.
    some: bool,
}

impl OnLinks {
    fn new(links: watch::Receiver<Arc<Underlay>>) -> Self {
        let neighbours = Neighbours::new(links);
        let sightings = neighbours.sightings();
        Self { neighbours, sightings, some: false }
    }

    /// The configuration with what is known of where such peers are. Nodes listen on their own addresses, which are of no use to
    /// a peer that knows the link alone: on its device they listen on the link-local one.
    fn placed(&mut self, wanted: Config, links: &Underlay, port: u16) -> Config {
        self.neighbours.look(&interfaces(&wanted));
        let sightings = self.sightings.borrow_and_update().clone();
        let devices: BTreeSet<Interface> = wanted.peers.keys().filter_map(PeerKey::interface).collect();
        self.some = !devices.is_empty();
        let mut config = filled_near(&placed(&wanted, links, &sightings), links);
        config.listen.extend(devices.iter().filter_map(|device| link_local(*device, links, port)));
        // Who is told an address of an uplink may dial it as well.
        let near = config.peers.iter().filter_map(|(key, peer)| near(*key, peer, links));
        let near: BTreeSet<SocketAddr> = near.map(|own| (own.network.ip(), port).into()).collect();
        self.some |= !near.is_empty();
        let new: Vec<SocketAddr> = near.into_iter().filter(|own| !config.listen.contains(own)).collect();
        config.listen.extend(new);
        config
    }
}

/// This node's addresses that are on no subnet with others: only it can tell where they are.
fn single(facts: &NodeFacts) -> impl Iterator<Item = IpNetwork> {
    facts.addresses.iter().filter(NodeAddress::is_single).map(|address| address.network)
}

/// Where connections by a link are accepted.
fn link_local(device: Interface, links: &Underlay, port: u16) -> Option<SocketAddr> {
    let device = IfName::new(device.as_str()).ok()?;
    let index = links.link(&device)?.index;
    let sound = links.addresses_of(&device).filter(|address| !address.tentative);
    let own = sound.filter_map(|address| match address.network.ip() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    own.min().map(|ip| SocketAddrV6::new(ip, port, 0, index).into())
}

/// What the speaker made of a configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    Taken,
    Refused,
}

impl Peering {
    /// Keeps the speaker until it stops.
    pub async fn run(mut self) {
        let mut configured: Option<Config> = None;
        let mut announced = BTreeSet::new();
        let latest = Instant::now() + COMPLETE_BY;
        let mut complete = false;
        let mut stations = Stations::new(self.speaker.clone());
        let mut on_links = OnLinks::new(self.links.clone());
        loop {
            let refused = self.configure(&mut configured, &mut on_links).await == Offer::Refused;
            let collectors = self.settings.borrow().collectors.clone();
            stations.follow(&collectors).await;
            if self.announce(&mut announced).await.is_err() {
                return;
            }
            if !complete && (self.knows_all() || Instant::now() >= latest) {
                if self.speaker.announced().await.is_err() {
                    return;
                }
                complete = true;
            }
            let cluster = &mut self.cluster;
            let changed = tokio::select! {
                () = tokio::time::sleep(RETRY), if refused => Ok(()),
                () = tokio::time::sleep_until(latest), if !complete => Ok(()),
                changed = cluster.own_blocks.changed(), if !complete => changed,
                changed = cluster.ip_pools.changed() => changed,
                changed = cluster.bgp_peers.changed() => changed,
                changed = cluster.bgp_filters.changed() => changed,
                changed = cluster.network_nodes.changed() => changed,
                changed = self.secrets.changed() => changed,
                changed = self.facts.changed() => changed,
                changed = self.settings.changed() => changed,
                changed = self.blocks.changed() => changed,
                changed = self.services.changed() => changed,
                changed = self.grants.changed() => changed,
                changed = self.links.changed(), if on_links.some => changed,
                changed = on_links.sightings.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Whether all is there that this node announces after a start. Peers forget at the End-of-RIB what they were told before
    /// a restart, so that it must not be said earlier.
    fn knows_all(&self) -> bool {
        let blocks = !self.blocks.borrow().is_empty() || self.cluster.own_blocks.borrow().synced;
        blocks && self.services.borrow().complete
    }

    /// Marks what it reads as seen; what is read again later in a round is not, so that a change in between makes
    /// another round.
    fn policies(&mut self) -> Policies {
        let mut ranges = Vec::new();
        let mut announced = Vec::new();
        for pool in self.cluster.ip_pools.borrow_and_update().values() {
            let Some(range) = pool.spec.network().map(masked) else { continue };
            ranges.push(range);
            if !pool.spec.disable_bgp_export {
                announced.push(range);
            }
        }
        let blocks = self.blocks.borrow_and_update().clone();
        let host = |address: &std::net::IpAddr| IpNetwork::from(*address);
        let whole = blocks.iter().filter(|block| block.whole).map(|block| block.cidr);
        let own: Vec<IpNetwork> =
            whole.chain(blocks.iter().flat_map(|b| b.single.iter().map(host))).collect();
        let lent: Vec<IpNetwork> = blocks.iter().flat_map(|block| block.lent.iter().map(host)).collect();
        let services: Vec<IpNetwork> = self.services.borrow_and_update().ranges.iter().copied().collect();
        announced.extend(&services);
        let facts = self.facts.borrow().clone();
        let subnets: Vec<IpNetwork> = facts.addresses.iter().map(|a| a.network).collect();
        let own_links: Vec<IpNetwork> = facts.underlay.iter().map(|a| a.network).collect();
        let told: Vec<IpNetwork> = single(&facts).collect();
        Policies::new(&Ground {
            pools: &ranges,
            announced_pools: &announced,
            own_blocks: &own,
            lent: &lent,
            own_subnets: &subnets,
            own_links: &own_links,
            told_addresses: &told,
            services: &services,
            reflects: facts.cluster_id.is_some(),
            advertisements: &self.settings.borrow().advertisements,
        })
    }

    async fn configure(&mut self, configured: &mut Option<Config>, on_links: &mut OnLinks) -> Offer {
        let policies = self.policies();
        let (wanted, problems) = config(&Inputs {
            facts: &self.facts.borrow_and_update().clone(),
            settings: &self.settings.borrow_and_update().clone(),
            nodes: &self.cluster.network_nodes.borrow_and_update().clone(),
            peers: &self.cluster.bgp_peers.borrow_and_update().clone(),
            filters: &self.cluster.bgp_filters.borrow_and_update().clone(),
            secrets: &self.secrets.borrow_and_update().clone(),
            comeback: self.comeback,
            policies: &policies,
        });
        self.problems.send_if_modified(|told| {
            let news = **told != problems;
            if news {
                problems.iter().for_each(|problem| warn!("{problem}"));
                *told = Arc::new(problems);
            }
            news
        });
        let links = self.links.borrow_and_update().clone();
        let port = self.settings.borrow().listen_port;
        let wanted = wanted.map(|wanted| on_links.placed(wanted, &links, port));
        let addresses = self.facts.borrow().addresses;
        let told_now = wanted.as_ref().map(|config| told(config, &addresses, &links)).unwrap_or_default();
        self.told.send_if_modified(|told| {
            let news = told.as_deref() != Some(&told_now);
            if news {
                *told = Some(Arc::new(told_now));
            }
            news
        });
        let Some(wanted) = wanted.filter(|w| configured.as_ref() != Some(w)) else { return Offer::Taken };
        match self.speaker.configure(wanted.clone()).await {
            Ok(steps) => {
                for (peer, step) in steps {
                    let waits = wanted.peers.get(&peer).and_then(|peer| peer.waits.as_deref());
                    info!(%peer, ?step, waits, "peer configuration changed");
                }
                *configured = Some(wanted);
                Offer::Taken
            }
            Err(error) => {
                error!(%error, "the speaker refuses its configuration; the last good one goes on");
                Offer::Refused
            }
        }
    }

    async fn announce(&mut self, announced: &mut BTreeSet<IpNetwork>) -> Result<(), Stopped> {
        let mut wanted = announcements(&self.blocks.borrow(), &self.cluster.ip_pools.borrow());
        wanted.extend(&self.services.borrow().announced);
        wanted.extend(floating(&self.grants.borrow_and_update()));
        wanted.extend(single(&self.facts.borrow()));
        let gone = announced.difference(&wanted).map(|prefix| Origination::Withdraw { prefix: *prefix });
        let new = wanted
            .difference(announced)
            .map(|prefix| Origination::Announce { prefix: *prefix, communities: Vec::new() });
        let changes: Vec<Origination> = gone.chain(new).collect();
        if !changes.is_empty() {
            info!(prefixes = ?wanted, "announcing");
            self.speaker.originate(changes).await?;
        }
        *announced = wanted;
        Ok(())
    }
}
