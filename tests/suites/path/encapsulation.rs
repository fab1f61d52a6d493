//! From plain routes to VXLAN, to IPIP where the kernel has it, and back, with flows in both families all the time.

use std::time::Duration;

use anyhow::Context;
use caracal_api::IpPool;
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Sandbox, Topology, report};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::flow::Flow;

const SOON: Duration = Duration::from_secs(30);

/// Writes into the specification of every pool; `v4` only into those of IPv4.
async fn change_pools(lab: &Lab, all: Value, v4: Value) -> anyhow::Result<()> {
    let api: Api<IpPool> = Api::all(lab.cluster().client());
    for pool in &lab.topology().pools {
        for spec in [&all].into_iter().chain(pool.cidr.is_ipv4().then_some(&v4)) {
            let patch = Patch::Merge(json!({"spec": spec}));
            let done = api.patch(&pool.name, &PatchParams::default(), &patch).await;
            done.with_context(|| format!("changing pool {}", pool.name))?;
        }
    }
    Ok(())
}

/// Waits until every route to another node's block leads through this device.
async fn blocks_are_behind(lab: &Lab, v4: &str, v6: &str) -> anyhow::Result<()> {
    wait::until(SOON, &format!("the blocks of others are behind {v4} and {v6}"), || async {
        for node in lab.nodes() {
            for block in report::blocks(lab.cluster()).await? {
                if block.owner == node.name() {
                    continue;
                }
                let device = if block.cidr.is_ipv4() { v4 } else { v6 };
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

/// Waits until no node has this device, or (`tunl0`, which is the kernel's) none has it up.
async fn device_is_gone(lab: &Lab, device: &str) -> anyhow::Result<()> {
    wait::until(SOON, &format!("{device} is gone"), || async {
        for node in lab.nodes() {
            let links = node.netns().links().await?;
            if links.iter().any(|link| link.ifname == device && link.operstate != "DOWN") {
                return Err(NotYet::because(format!("{device} is still on {}", node.name())));
            }
        }
        Ok(())
    })
    .await
}

/// Between pods of different nodes, both ways, both families.
fn flows(lab: &Lab) -> anyhow::Result<Vec<Flow>> {
    let mut flows = Vec::new();
    for from in lab.pods() {
        for to in lab.pods().iter().filter(|to| to.node() != from.node()) {
            for v6 in [false, true] {
                flows.push(Flow::start(from, to.address(v6)?)?);
            }
        }
    }
    Ok(flows)
}

pub(crate) async fn a_change_of_encapsulation_loses_no_packet(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(3, 1), &Silent).await?;
    let has_ipip = std::path::Path::new("/proc/sys/net/ipv4/conf/tunl0").exists();
    let flows = flows(&lab)?;
    let nothing = || json!({});

    change_pools(&lab, json!({"vxlanMode": "Always"}), nothing()).await?;
    blocks_are_behind(&lab, "vxlan.caracal", "vxlan.caracal").await?;
    if has_ipip {
        // For IPv4 in one step from one tunnel to the other.
        change_pools(&lab, nothing(), json!({"vxlanMode": "Never", "ipipMode": "Always"})).await?;
        blocks_are_behind(&lab, "tunl0", "vxlan.caracal").await?;
        change_pools(&lab, nothing(), json!({"vxlanMode": "Always", "ipipMode": "Never"})).await?;
        blocks_are_behind(&lab, "vxlan.caracal", "vxlan.caracal").await?;
        device_is_gone(&lab, "tunl0").await?;
    }
    change_pools(&lab, json!({"vxlanMode": "CrossSubnet"}), nothing()).await?;
    blocks_are_behind(&lab, "eth0", "eth0").await?;
    change_pools(&lab, json!({"vxlanMode": "Always"}), nothing()).await?;
    blocks_are_behind(&lab, "vxlan.caracal", "vxlan.caracal").await?;
    // Back to plain routes: the other ends go only when nobody sends to them any more.
    change_pools(&lab, json!({"vxlanMode": "Never"}), nothing()).await?;
    blocks_are_behind(&lab, "eth0", "eth0").await?;
    device_is_gone(&lab, "vxlan.caracal").await?;

    for flow in flows {
        flow.lost_none().await?;
    }
    lab.down(&Silent).await
}
