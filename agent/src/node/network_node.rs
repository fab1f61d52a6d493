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
use crate::desired::speaker::SpeakerSettings;
use crate::desired::tunnels::{TunnelAddress, TunnelAddresses};

/// Pauses between attempts to write, before jitter.
const RETRY: Duration = Duration::from_secs(2);

/// What the others should be told.
pub fn wanted(facts: &NodeFacts, settings: &SpeakerSettings, tunnels: &TunnelAddresses) -> NetworkNodeSpec {
    let text = |a: super::NodeAddress| a.network.to_string();
    NetworkNodeSpec {
        ipv4: facts.addresses.v4.map(text),
        ipv6: facts.addresses.v6.map(text),
        underlay: facts.addresses.iter().map(text).collect(),
        as_number: settings.local_as.0,
        bgp_port: Some(settings.listen_port).filter(|p| *p != caracal_api::bgp_configuration::DEFAULT_PORT),
        route_reflector_cluster_id: facts.cluster_id.map(|id| id.to_string()),
        tunnels: Told {
            ipip: tunnels.get(&TunnelAddress::Ipip).map(ToString::to_string),
            vxlan_v4: tunnels.get(&TunnelAddress::VxlanV4).map(ToString::to_string),
            vxlan_v6: tunnels.get(&TunnelAddress::VxlanV6).map(ToString::to_string),
        },
        labels: facts.labels.clone(),
        node_uid: facts.uid.clone().unwrap_or_default(),
    }
}

/// Keeps the object as it should be: after every change of what it says, and after somebody else changed or deleted it.
/// Runs until the agent ends; without the API server it tries again.
pub async fn keep(
    api: Api<NetworkNode>,
    mut facts: FactsReceiver,
    mut settings: watch::Receiver<Arc<SpeakerSettings>>,
    mut tunnels: watch::Receiver<Arc<TunnelAddresses>>,
    mut stored: SnapshotReceiver<NetworkNode>,
) {
    loop {
        let wanted = {
            let (facts, settings) = (facts.borrow_and_update(), settings.borrow_and_update());
            let tunnels = tunnels.borrow_and_update();
            facts.uid.is_some().then(|| (facts.name.clone(), wanted(&facts, &settings, &tunnels)))
        };
        let as_wanted = {
            let stored = stored.borrow_and_update();
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
        tokio::select! {
            changed = facts.changed() => if changed.is_err() { return },
            changed = settings.changed() => if changed.is_err() { return },
            changed = tunnels.changed() => if changed.is_err() { return },
            changed = stored.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause), if failed => {}
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
