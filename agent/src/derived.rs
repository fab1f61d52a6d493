//! Values that several owners need, each computed in one place from snapshots and handed out as a watch.
//!
//! A derived value is sent on only when it differs, so that an event which changes nothing wakes nobody.

use std::sync::Arc;
use std::time::Instant;

use caracal_api::{IpPool, NetworkNode};
use caracal_linux::features::Features;
use caracal_linux::kernel::{Kernel, Underlay};
use tokio::sync::watch;
use tracing::error;

use crate::cluster::services::ServiceAddressesReceiver;
use crate::cluster::{Cluster, SnapshotReceiver};
use crate::desired::handover::{self, Ends, Opening, TunnelEnds};
use crate::desired::mtu;
use crate::desired::speaker::{SpeakerSettings, settings};
use crate::desired::surroundings::Surroundings;
use crate::node::detection::Detection;
use crate::node::{self, FactsReceiver};

/// MTU of Ethernet, for as long as the uplink is not known.
const ETHERNET_MTU: u32 = 1500;

/// This node's facts, from its Node object, the links and the other nodes.
pub fn facts(name: &str, cluster: &Cluster, kernel: &Kernel, detection: Detection) -> FactsReceiver {
    let (mut own, mut underlay, mut nodes) =
        (cluster.node.clone(), kernel.underlay(), cluster.network_nodes.clone());
    let name = name.to_owned();
    let compute = move |own: &mut SnapshotReceiver<_>,
                        links: &mut watch::Receiver<Arc<Underlay>>,
                        nodes: &mut SnapshotReceiver<NetworkNode>| {
        let (own, links) = (own.borrow_and_update(), links.borrow_and_update());
        let node = own.get(&name).cloned();
        node::facts(&name, node.as_deref(), &links, &nodes.borrow_and_update(), &detection)
    };
    let start = compute(&mut own, &mut underlay, &mut nodes);
    start.taken.iter().for_each(|taken| error!("{taken}"));
    let (sender, receiver) = watch::channel(Arc::new(start));
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = own.changed() => changed,
                changed = underlay.changed() => changed,
                changed = nodes.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let now = compute(&mut own, &mut underlay, &mut nodes);
            let before = Arc::clone(&sender.borrow());
            let new = now.taken.iter().filter(|taken| !before.taken.contains(taken));
            new.for_each(|taken| error!("{taken}"));
            send(&sender, now);
        }
    });
    receiver
}

/// The tunnels by which this node takes packets and by which it sends, as the others should know. `used` are those that
/// its routes lead through.
pub fn tunnel_ends(
    surroundings: &watch::Receiver<Arc<Surroundings>>,
    used: &watch::Receiver<Ends>,
    kernel: &Kernel,
) -> watch::Receiver<Arc<TunnelEnds>> {
    let (mut around, mut used, mut links) = (surroundings.clone(), used.clone(), kernel.underlay());
    let mut opening = Opening::default();
    let mut compute = move |around: &mut watch::Receiver<Arc<Surroundings>>,
                            used: &mut watch::Receiver<Ends>,
                            links: &mut watch::Receiver<Arc<Underlay>>| {
        let (around, used) = (around.borrow_and_update(), used.borrow_and_update());
        let standing = handover::standing(&around, &used, &links.borrow_and_update());
        let (receives_v4, next) = opening.update(Instant::now(), &standing);
        let receives_v6 = handover::receives_v6(&standing);
        (TunnelEnds { receives_v4, receives_v6, sends: handover::sends(&around, &used) }, next)
    };
    let (start, mut next) = compute(&mut around, &mut used, &mut links);
    let (sender, receiver) = watch::channel(Arc::new(start));
    tokio::spawn(async move {
        loop {
            let waited = tokio::time::sleep_until(next.unwrap_or_else(Instant::now).into());
            let changed = tokio::select! {
                () = waited, if next.is_some() => Ok(()),
                changed = around.changed() => changed,
                changed = used.changed() => changed,
                changed = links.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let ends;
            (ends, next) = compute(&mut around, &mut used, &mut links);
            send(&sender, ends);
        }
    });
    receiver
}

/// What the `BGPConfiguration`s say for this node.
pub fn speaker_settings(name: &str, cluster: &Cluster) -> watch::Receiver<Arc<SpeakerSettings>> {
    let mut configurations = cluster.bgp_configurations.clone();
    let name = name.to_owned();
    let start = settings(&name, &configurations.borrow_and_update());
    let (sender, receiver) = watch::channel(Arc::new(start));
    tokio::spawn(async move {
        while configurations.changed().await.is_ok() {
            let now = settings(&name, &configurations.borrow_and_update());
            send(&sender, now);
        }
    });
    receiver
}

/// What routes depend on besides BGP.
pub fn surroundings(
    cluster: &Cluster,
    facts: &FactsReceiver,
    features: &Arc<Features>,
    uplink_mtu: &watch::Receiver<u32>,
    services: &ServiceAddressesReceiver,
) -> watch::Receiver<Arc<Surroundings>> {
    let (mut facts, mut nodes, mut pools, mut mtu) =
        (facts.clone(), cluster.network_nodes.clone(), cluster.ip_pools.clone(), uplink_mtu.clone());
    let mut services = services.clone();
    let features = Arc::clone(features);
    let compute = move |facts: &mut FactsReceiver,
                        nodes: &mut SnapshotReceiver<NetworkNode>,
                        pools: &mut SnapshotReceiver<IpPool>,
                        mtu: &mut watch::Receiver<u32>,
                        services: &mut ServiceAddressesReceiver| {
        let (facts, mtu) = (facts.borrow_and_update(), *mtu.borrow_and_update());
        let (nodes, pools) = (nodes.borrow_and_update(), pools.borrow_and_update());
        let ranges = services.borrow_and_update().ranges.clone();
        Surroundings::of(&facts, &nodes, &pools, &features, mtu, ranges)
    };
    let start = compute(&mut facts, &mut nodes, &mut pools, &mut mtu, &mut services);
    let (sender, receiver) = watch::channel(Arc::new(start));
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = facts.changed() => changed,
                changed = nodes.changed() => changed,
                changed = pools.changed() => changed,
                changed = mtu.changed() => changed,
                changed = services.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let now = compute(&mut facts, &mut nodes, &mut pools, &mut mtu, &mut services);
            send(&sender, now);
        }
    });
    receiver
}

/// The smallest MTU of the devices that carry this node's addresses, in bytes; of all uplinks where an address is on the
/// loopback device, as behind routers that know it by a routing protocol.
pub fn uplink_mtu(facts: &FactsReceiver, kernel: &Kernel) -> watch::Receiver<u32> {
    let (mut facts, mut links) = (facts.clone(), kernel.underlay());
    let compute = |facts: &mut FactsReceiver, links: &mut watch::Receiver<Arc<Underlay>>| {
        let (facts, links) = (facts.borrow_and_update().clone(), links.borrow_and_update().clone());
        let own = facts.addresses.iter().filter_map(|a| links.link(&a.device));
        let own: Vec<_> = own.filter(|link| !link.loopback).map(|link| link.mtu).collect();
        let all = facts.underlay.iter().filter_map(|a| links.link(&a.device)).map(|link| link.mtu);
        own.into_iter().min().or_else(|| all.min()).unwrap_or(ETHERNET_MTU)
    };
    let (sender, receiver) = watch::channel(compute(&mut facts, &mut links));
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = facts.changed() => changed,
                changed = links.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let now = compute(&mut facts, &mut links);
            sender.send_if_modified(|held| std::mem::replace(held, now) != now);
        }
    });
    receiver
}

/// The MTU of new pods, in bytes.
pub fn pod_mtu(
    cluster: &Cluster,
    surroundings: &watch::Receiver<Arc<Surroundings>>,
    uplink: &watch::Receiver<u32>,
) -> watch::Receiver<u32> {
    let (mut around, mut pools, mut uplink) =
        (surroundings.clone(), cluster.ip_pools.clone(), uplink.clone());
    let compute = |around: &mut watch::Receiver<Arc<Surroundings>>,
                   pools: &mut SnapshotReceiver<IpPool>,
                   uplink: &mut watch::Receiver<u32>| {
        let around = around.borrow_and_update().clone();
        let over_v4 = around.ability.vxlan_v4.is_ok() && around.remotes().all(|node| node.v4.is_some());
        mtu::pod_mtu(*uplink.borrow_and_update(), over_v4, &pools.borrow_and_update())
    };
    let (sender, receiver) = watch::channel(compute(&mut around, &mut pools, &mut uplink));
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = around.changed() => changed,
                changed = pools.changed() => changed,
                changed = uplink.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let now = compute(&mut around, &mut pools, &mut uplink);
            sender.send_if_modified(|held| std::mem::replace(held, now) != now);
        }
    });
    receiver
}

fn send<T: PartialEq>(sender: &watch::Sender<Arc<T>>, value: T) {
    sender.send_if_modified(|held| {
        let news = **held != value;
        if news {
            *held = Arc::new(value);
        }
        news
    });
}
