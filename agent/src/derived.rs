//! Values that several owners need, each computed in one place from snapshots and handed out as a watch.
//!
//! A derived value is sent on only when it differs, so that an event which changes nothing wakes nobody.

use std::sync::Arc;

use caracal_api::IpPool;
use caracal_linux::kernel::{Kernel, Underlay};
use tokio::sync::watch;

use crate::cluster::{Cluster, SnapshotReceiver};
use crate::desired::mtu;
use crate::desired::speaker::{SpeakerSettings, settings};
use crate::desired::surroundings::Surroundings;
use crate::node::{self, FactsReceiver, NodeFacts};

/// MTU of Ethernet, for as long as the uplink is not known.
const ETHERNET_MTU: u32 = 1500;

/// This node's facts, from its Node object and the links.
pub fn facts(name: &str, cluster: &Cluster, kernel: &Kernel) -> FactsReceiver {
    let (mut nodes, mut underlay) = (cluster.node.clone(), kernel.underlay());
    let name = name.to_owned();
    let compute = move |nodes: &mut SnapshotReceiver<_>, links: &mut watch::Receiver<Arc<Underlay>>| {
        let node = nodes.borrow_and_update().get(&name).cloned();
        node::facts(&name, node.as_deref(), &links.borrow_and_update().addresses)
    };
    let (sender, receiver) = watch::channel(Arc::new(compute(&mut nodes, &mut underlay)));
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = nodes.changed() => changed,
                changed = underlay.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            send(&sender, compute(&mut nodes, &mut underlay));
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
pub fn surroundings(cluster: &Cluster, facts: &FactsReceiver) -> watch::Receiver<Arc<Surroundings>> {
    let (mut facts, mut nodes, mut pools) =
        (facts.clone(), cluster.network_nodes.clone(), cluster.ip_pools.clone());
    let start =
        Surroundings::of(&facts.borrow_and_update(), &nodes.borrow_and_update(), &pools.borrow_and_update());
    let (sender, receiver) = watch::channel(Arc::new(start));
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = facts.changed() => changed,
                changed = nodes.changed() => changed,
                changed = pools.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let now: Arc<NodeFacts> = facts.borrow_and_update().clone();
            let now = Surroundings::of(&now, &nodes.borrow_and_update(), &pools.borrow_and_update());
            send(&sender, now);
        }
    });
    receiver
}

/// The MTU of new pods, in bytes.
pub fn pod_mtu(cluster: &Cluster, facts: &FactsReceiver, kernel: &Kernel) -> watch::Receiver<u32> {
    let (mut facts, mut pools, mut links) = (facts.clone(), cluster.ip_pools.clone(), kernel.underlay());
    let compute = |facts: &mut FactsReceiver,
                   pools: &mut SnapshotReceiver<IpPool>,
                   links: &mut watch::Receiver<Arc<Underlay>>| {
        let (facts, links) = (facts.borrow_and_update().clone(), links.borrow_and_update().clone());
        let mtus = facts.addresses.iter().filter_map(|a| links.link(&a.device)).map(|link| link.mtu);
        mtu::pod_mtu(
            mtus.min().unwrap_or(ETHERNET_MTU),
            facts.addresses.v4.is_some(),
            &pools.borrow_and_update(),
        )
    };
    let (sender, receiver) = watch::channel(compute(&mut facts, &mut pools, &mut links));
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = facts.changed() => changed,
                changed = pools.changed() => changed,
                changed = links.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let now = compute(&mut facts, &mut pools, &mut links);
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
