//! Every step between `Never`, `CrossSubnet` and `Always` on a running cluster, with flows in the rack and from rack to rack.

use std::time::Duration;

use anyhow::Context;
use caracal_lab::show::Silent;
use caracal_lab::topology::{Encapsulation, Topology};
use caracal_lab::{Lab, Sandbox, report};
use caracal_suites::flow::Flow;
use caracal_suites::ways::{Devices, blocks_are_behind, change_pools, device_is_gone};
use serde_json::json;

/// Between two packets of a flow: there are half a dozen, and the machine is a small one, maybe an emulated one.
const EVERY: Duration = Duration::from_millis(50);
/// For the routes that follow a mode, on a machine of its own that is not a fast one.
const SOON: Duration = Duration::from_secs(60);

pub(crate) async fn a_change_between_ipip_modes_loses_no_packet(sandbox: Sandbox) -> anyhow::Result<()> {
    let mut topology = Topology::racks_of_nodes(2, 3, 1);
    topology.encapsulation = Encapsulation::Ipip;
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    routers_know_the_blocks(&lab).await?;
    let mut flows = Vec::new();
    for (at, from) in lab.pods().iter().enumerate() {
        // What is answered shows the way back, too.
        for to in &lab.pods()[..at] {
            for v6 in [false, true] {
                flows.push(Flow::every(EVERY, from, to.address(v6)?)?);
            }
        }
    }
    let (plain, tunnel) = (Devices::UPLINK, Devices::IPIP);
    let modes = [
        ("CrossSubnet", plain, tunnel),
        ("Always", tunnel, tunnel),
        ("CrossSubnet", plain, tunnel),
        ("Never", plain, plain),
        ("CrossSubnet", plain, tunnel),
        ("Never", plain, plain),
        ("Always", tunnel, tunnel),
    ];
    for (mode, within, across) in modes {
        change_pools(&lab, json!({"ipipMode": mode}), json!({"vxlanMode": mode})).await?;
        blocks_are_behind(&lab, within, across, SOON).await.with_context(|| format!("at {mode}"))?;
    }
    // For IPv4 in one step from one tunnel to the other, and back.
    change_pools(&lab, json!({"ipipMode": "Never", "vxlanMode": "Always"}), json!({})).await?;
    blocks_are_behind(&lab, Devices::VXLAN, Devices::VXLAN, SOON).await?;
    device_is_gone(&lab, "tunl0").await?;
    change_pools(&lab, json!({"ipipMode": "Always", "vxlanMode": "Never"}), json!({})).await?;
    blocks_are_behind(&lab, tunnel, tunnel, SOON).await?;
    change_pools(&lab, json!({"ipipMode": "Never"}), json!({"vxlanMode": "Never"})).await?;
    blocks_are_behind(&lab, plain, plain, SOON).await?;
    device_is_gone(&lab, "tunl0").await?;
    device_is_gone(&lab, "vxlan.caracal").await?;
    for flow in flows {
        flow.lost_none().await?;
    }
    lab.down(&Silent).await
}

/// Plain packets cross from rack to rack only where the routers know the pods: here they do, by static routes.
async fn routers_know_the_blocks(lab: &Lab) -> anyhow::Result<()> {
    for block in report::blocks(lab.cluster()).await? {
        let owner = lab.topology().nodes.iter().find(|node| node.name == block.owner);
        let rack = owner.with_context(|| format!("{} has no owner", block.cidr))?.rack;
        let v6 = !block.cidr.is_ipv4();
        for (number, router) in lab.routers().iter().enumerate() {
            let via = if number == rack {
                lab.node(&block.owner)?.machine().address(v6)
            } else {
                // The other router, on the segment that they share.
                let spine = |one: usize| {
                    let cables = &lab.routers()[one].machine().plan().cables;
                    cables.iter().flat_map(|cable| cable.addresses.iter().copied())
                };
                let mut shared = spine(rack).filter(|there| {
                    there.is_ipv6() == v6 && spine(number).any(|here| here.contains(there.ip()))
                });
                shared.next().map(|network| network.ip())
            };
            let via = via.context("no way to the block's rack")?.to_string();
            let words = ["ip", "route", "add", &block.cidr.to_string(), "via", &via];
            router.machine().netns().exec(&words).await?.success()?;
        }
    }
    Ok(())
}
