//! This node's `NetworkNode`: what the others need to reach it. Written when it differs from what is stored.

use std::sync::Arc;
use std::time::Duration;

use caracal_api::network_node::TunnelAddresses as Told;
use caracal_api::{NetworkNode, NetworkNodeSpec};
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;
use rand::Rng;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{FactsReceiver, NodeFacts};
use crate::cluster::SnapshotReceiver;
use crate::desired::handover::TunnelEnds;
use crate::desired::speaker::SpeakerSettings;
use crate::desired::tunnels::{TunnelAddress, TunnelAddresses};

/// Pauses between attempts to write, before jitter.
const RETRY: Duration = Duration::from_secs(2);

/// The most addresses that are told.
const MOST_ADDRESSES: usize = 64;
/// The largest packet there is, in bytes.
const MOST_MTU: u32 = 65535;

/// What the object follows from.
pub struct NetworkNodeSources {
    /// This node.
    pub facts: FactsReceiver,
    /// Its speaker.
    pub settings: watch::Receiver<Arc<SpeakerSettings>>,
    /// The addresses of its tunnel devices.
    pub tunnels: watch::Receiver<Arc<TunnelAddresses>>,
    /// By which tunnels it takes packets and sends.
    pub ends: watch::Receiver<Arc<TunnelEnds>>,
    /// The smallest MTU of the uplinks, in bytes.
    pub uplink_mtu: watch::Receiver<u32>,
    /// The object as the API server has it.
    pub stored: SnapshotReceiver<NetworkNode>,
}

impl NetworkNodeSources {
    fn wanted(&mut self) -> Option<(String, NetworkNodeSpec)> {
        let facts = self.facts.borrow_and_update();
        let (settings, tunnels) = (self.settings.borrow_and_update(), self.tunnels.borrow_and_update());
        let (ends, mtu) = (self.ends.borrow_and_update(), *self.uplink_mtu.borrow_and_update());
        let spec = wanted(&facts, &settings, &tunnels, &ends, mtu);
        facts.uid.is_some().then(|| (facts.name.clone(), spec))
    }
}

/// What the others should be told.
pub fn wanted(
    facts: &NodeFacts,
    settings: &SpeakerSettings,
    tunnels: &TunnelAddresses,
    ends: &TunnelEnds,
    uplink_mtu: u32,
) -> NetworkNodeSpec {
    let text = |a: super::NodeAddress| a.network.to_string();
    let mut underlay: Vec<String> = Vec::new();
    for address in facts.addresses.iter().chain(facts.underlay.iter().copied()).map(text) {
        if !underlay.contains(&address) && underlay.len() < MOST_ADDRESSES {
            underlay.push(address);
        }
    }
    NetworkNodeSpec {
        ipv4: facts.addresses.v4.map(text),
        ipv6: facts.addresses.v6.map(text),
        underlay,
        // A loopback device's, where an address is there, is more than there may be; nobody sends that much.
        mtu: Some(uplink_mtu.min(MOST_MTU)),
        as_number: settings.local_as.0,
        bgp_port: Some(settings.listen_port).filter(|p| *p != caracal_api::bgp_configuration::DEFAULT_PORT),
        route_reflector_cluster_id: facts.cluster_id.map(|id| id.to_string()),
        tunnels: Told {
            ipip: tunnels.get(&TunnelAddress::Ipip).map(ToString::to_string),
            vxlan_v4: tunnels.get(&TunnelAddress::VxlanV4).map(ToString::to_string),
            vxlan_v6: tunnels.get(&TunnelAddress::VxlanV6).map(ToString::to_string),
        },
        receives_v4: ends.receives_v4.iter().copied().collect(),
        receives_v6: ends.receives_v6.iter().copied().collect(),
        sends: ends.sends.iter().copied().collect(),
        labels: facts.labels.clone(),
        node_uid: facts.uid.clone().unwrap_or_default(),
    }
}

/// Keeps the object as it should be: after every change of what it says, and after somebody else changed or deleted it.
/// Runs until the agent ends; without the API server it tries again.
pub async fn keep(api: Api<NetworkNode>, mut sources: NetworkNodeSources) {
    loop {
        let wanted = sources.wanted();
        let as_wanted = {
            let stored = sources.stored.borrow_and_update();
            wanted.as_ref().is_none_or(|(name, spec)| {
                stored.synced && stored.get(name).is_some_and(|node| node.spec == *spec)
            })
        };
        let mut failed = false;
        if let Some((name, spec)) = wanted.filter(|_| !as_wanted)
            && let Err(error) = write(&api, &name, spec).await
        {
            warn!(%error, "this node's NetworkNode cannot be written; trying again");
            failed = true;
        }
        let pause = RETRY.mul_f64(rand::rng().random_range(0.5..1.5));
        let changed = tokio::select! {
            changed = sources.facts.changed() => changed,
            changed = sources.settings.changed() => changed,
            changed = sources.tunnels.changed() => changed,
            changed = sources.ends.changed() => changed,
            changed = sources.uplink_mtu.changed() => changed,
            changed = sources.stored.changed() => changed,
            () = tokio::time::sleep(pause), if failed => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn write(api: &Api<NetworkNode>, name: &str, spec: NetworkNodeSpec) -> Result<(), kube::Error> {
    let parameters = PostParams::default();
    let Some(stored) = api.get_opt(name).await? else {
        let object = NetworkNode {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            spec,
        };
        api.create(&parameters, &object).await?;
        info!(name, "told the others of this node");
        return Ok(());
    };
    if stored.spec != spec {
        api.replace(name, &parameters, &NetworkNode { spec, ..stored }).await?;
        info!(name, "told the others what changed of this node");
    }
    Ok(())
}
