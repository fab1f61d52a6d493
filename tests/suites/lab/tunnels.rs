//! Tunnels between nodes: asked for on a running cluster, used by pods and by nodes themselves, and given up again.

use std::time::Duration;

use anyhow::ensure;
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Sandbox, Topology, report};
use caracal_suites::ways::{Devices, blocks_are_behind, change_pools};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
const DEVICE: &str = "vxlan.caracal";

async fn all_reach_all(lab: &Lab) -> anyhow::Result<()> {
    let failed: Vec<_> =
        report::ping_all(lab).await?.into_iter().filter(|cell| cell.failure.is_some()).collect();
    ensure!(failed.is_empty(), "failed: {failed:#?}");
    Ok(())
}

pub(crate) async fn a_cluster_changes_to_vxlan_and_back(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 1), &Silent).await?;
    let always = json!({"vxlanMode": "Always"});
    change_pools(&lab, always.clone(), always).await?;
    blocks_are_behind(&lab, Devices::VXLAN, Devices::VXLAN, SOON).await?;
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

    let never = json!({"vxlanMode": "Never"});
    change_pools(&lab, never.clone(), never).await?;
    blocks_are_behind(&lab, Devices::UPLINK, Devices::UPLINK, SOON).await?;
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
