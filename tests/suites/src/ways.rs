//! Pools that are changed on a running lab, and by which devices packets for other nodes' pods leave then.

use std::time::Duration;

use anyhow::Context;
use caracal_api::IpPool;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, report};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// For what follows a change of pools: no promise, but a bound that a busy machine keeps.
const SOON: Duration = Duration::from_secs(60);

/// The devices by which IPv4 and IPv6 packets leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Devices {
    /// IPv4.
    pub v4: &'static str,
    /// IPv6.
    pub v6: &'static str,
}

impl Devices {
    /// Plain, by the uplink.
    pub const UPLINK: Self = Self { v4: "eth0", v6: "eth0" };
    /// Both families through VXLAN.
    pub const VXLAN: Self = Self { v4: "vxlan.caracal", v6: "vxlan.caracal" };
    /// Both families through VXLAN between nodes without IPv4.
    pub const VXLAN_OVER_V6: Self = Self { v4: "vxlan6.caracal", v6: "vxlan6.caracal" };
    /// IPv4 through IPIP, IPv6 through VXLAN.
    pub const IPIP: Self = Self { v4: "tunl0", v6: "vxlan.caracal" };
}

/// Writes into the specification of every pool: `v4` into those of IPv4, `v6` into the others.
///
/// # Errors
/// When the API server refuses it.
pub async fn change_pools(lab: &Lab, v4: Value, v6: Value) -> anyhow::Result<()> {
    let api: Api<IpPool> = Api::all(lab.cluster().client());
    for pool in &lab.topology().pools {
        let spec = if pool.cidr.is_ipv4() { &v4 } else { &v6 };
        let patch = Patch::Merge(json!({"spec": spec}));
        let done = api.patch(&pool.name, &PatchParams::default(), &patch).await;
        done.with_context(|| format!("changing pool {}", pool.name))?;
    }
    Ok(())
}

/// Waits until every route to another node's block leads through these devices: the first ones to nodes of the same rack,
/// the second to those of others.
///
/// # Errors
/// When that is not so in time, with a route that leads elsewhere.
pub async fn blocks_are_behind(
    lab: &Lab,
    within: Devices,
    across: Devices,
    patience: Duration,
) -> anyhow::Result<()> {
    let what = format!("others' blocks are behind {within:?} in the rack, {across:?} elsewhere");
    wait::until(patience, &what, || async {
        for node in lab.nodes() {
            for block in report::blocks(lab.cluster()).await? {
                if block.owner == node.name() {
                    continue;
                }
                let devices = if same_rack(node, lab.node(&block.owner)?) { within } else { across };
                let device = if block.cidr.is_ipv4() { devices.v4 } else { devices.v6 };
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
///
/// # Errors
/// When one has it still after that time.
pub async fn device_is_gone(lab: &Lab, device: &str) -> anyhow::Result<()> {
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

/// Whether two nodes are on one subnet.
pub fn same_rack(one: &Node, other: &Node) -> bool {
    let networks = one.machine().addresses();
    other.machine().addresses().iter().any(|address| networks.iter().any(|net| net.contains(address.ip())))
}
