//! Tunnels between nodes: asked for on a running cluster, used by pods and by nodes themselves, and given up again.

use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_api::IpPool;
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Sandbox, Topology, report};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const DEVICE: &str = "vxlan.caracal";

/// Writes into the specification of every pool.
pub(crate) async fn change_pools(lab: &Lab, spec: Value) -> anyhow::Result<()> {
    let api: Api<IpPool> = Api::all(lab.cluster().client());
    for pool in &lab.topology().pools {
        let patch = Patch::Merge(json!({"spec": spec}));
        let done = api.patch(&pool.name, &PatchParams::default(), &patch).await;
        done.with_context(|| format!("changing pool {}", pool.name))?;
    }
    Ok(())
}

/// Waits until every route to another node's block leads through this device.
pub(crate) async fn blocks_are_behind(lab: &Lab, device: &str) -> anyhow::Result<()> {
    wait::until(SOON, &format!("the blocks of others are behind {device}"), || async {
        for node in lab.nodes() {
            for block in report::blocks(lab.cluster()).await? {
                if block.owner == node.name() {
                    continue;
                }
                let route = node.netns().route_to(block.cidr).await?;
                let route =
                    route.with_context(|| format!("{} has no route to {}", node.name(), block.cidr))?;
                if route.dev.as_deref() != Some(device) {
                    return Err(NotYet::because(format!("{}: {}", node.name(), route.words())));
                }
            }
        }
        Ok(())
    })
    .await
}

async fn all_reach_all(lab: &Lab) -> anyhow::Result<()> {
    let failed: Vec<_> =
        report::ping_all(lab).await?.into_iter().filter(|cell| cell.failure.is_some()).collect();
    ensure!(failed.is_empty(), "failed: {failed:#?}");
    Ok(())
}

pub(crate) async fn a_cluster_changes_to_vxlan_and_back(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 1), &Silent).await?;
    change_pools(&lab, json!({"vxlanMode": "Always"})).await?;
    blocks_are_behind(&lab, DEVICE).await?;
    // Each node has an address of its own in the tunnel, of each family, and tells the others.
    for node in lab.nodes() {
        wait::until(SOON, "the tunnel has its addresses", || async {
            let addresses = node.netns().addresses(DEVICE).await?;
            let own = addresses.iter().filter(|one| matches!(one.prefix(), 32 | 128)).count();
            if own == 2 { Ok(()) } else { Err(NotYet::because(format!("{addresses:?}"))) }
        })
        .await?;
    }
    all_reach_all(&lab).await?;

    change_pools(&lab, json!({"vxlanMode": "Never"})).await?;
    blocks_are_behind(&lab, "eth0").await?;
    for node in lab.nodes() {
        wait::until(SOON, "the tunnel is gone", || async {
            let links = node.netns().links().await?;
            if links.iter().any(|link| link.ifname == DEVICE) {
                return Err(NotYet::because(format!("{DEVICE} is still on {}", node.name())));
            }
            Ok(())
        })
        .await?;
    }
    all_reach_all(&lab).await?;
    lab.down(&Silent).await
}
