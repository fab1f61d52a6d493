//! From plain routes to VXLAN and back, with flows in both families all the time.

use std::time::Duration;

use caracal_lab::show::Silent;
use caracal_lab::topology::Families;
use caracal_lab::{Lab, Sandbox, Topology};
use caracal_suites::ways::{Devices, blocks_are_behind, change_pools, device_is_gone};
use serde_json::json;

use crate::flow::Flow;

const SOON: Duration = Duration::from_secs(60);

pub(crate) async fn a_change_of_encapsulation_loses_no_packet(sandbox: Sandbox) -> anyhow::Result<()> {
    through_the_modes(sandbox, Topology::one_rack(3, 1), Devices::VXLAN).await
}

/// The tunnels themselves go over IPv6 here.
pub(crate) async fn a_change_of_encapsulation_loses_no_packet_without_ipv4(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let topology = Topology::one_rack(3, 1).with_families(Families::V6);
    through_the_modes(sandbox, topology, Devices::VXLAN_OVER_V6).await
}

async fn through_the_modes(sandbox: Sandbox, topology: Topology, tunnel: Devices) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    let flows = Flow::between_all(&lab)?;
    for (mode, devices) in [
        ("Always", tunnel),
        ("CrossSubnet", Devices::UPLINK),
        ("Always", tunnel),
        // Back to plain routes: the other ends go only when nobody sends to them any more.
        ("Never", Devices::UPLINK),
    ] {
        let spec = json!({"vxlanMode": mode});
        change_pools(&lab, spec.clone(), spec).await?;
        blocks_are_behind(&lab, devices, devices, SOON).await?;
    }
    device_is_gone(&lab, tunnel.v6).await?;
    for flow in flows {
        flow.lost_none().await?;
    }
    lab.down(&Silent).await
}
