//! What the agents ask of the kernel beforehand, where nothing but that keeps packets from being lost: each case fails where
//! the setting is left as a host has it.

use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::command::ip_batch;
use caracal_lab::show::Silent;
use caracal_lab::topology::{Design, Encapsulation};
use caracal_lab::{Lab, Sandbox, Topology, fault};
use caracal_suites::asymmetry::{answers_pass_by_the_uplink, received};
use caracal_suites::ways::{Devices, blocks_are_behind, change_pools};
use serde_json::json;

use crate::flow::Flow;
use crate::uplinks::{all_go_on, carried, told};

const SOON: Duration = Duration::from_secs(60);
/// An address that is reached by the default route alone.
const FAR: &str = "203.0.113.1";

/// `ignore_routes_with_linkdown`: nobody is there to take a hop out of a route.
pub(crate) async fn without_an_agent_a_dead_uplink_is_left_out(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology::racks_of_nodes(2, 3, 1).with_design(Design::DualTor);
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    let node = lab.node("n1")?;
    let before = carried(node, "eth0").await?;
    let flows = Flow::between_all(&lab)?;
    all_go_on(&flows).await?;
    ensure!(carried(node, "eth0").await? > before + 100, "hardly a packet passes by the uplink to be cut");
    node.agent().terminate(SOON).await?;
    fault::cut_uplink(node, 0).await?;
    all_go_on(&flows).await?;
    told(&lab, flows, "when the uplink was cut").await?;
    fault::restore_uplink(node, 0).await?;
    node.agent().start().await?;
    lab.down(&Silent).await
}

/// `rp_filter`: what is sent by one uplink is answered by the other.
pub(crate) async fn answers_may_come_by_the_other_uplink(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology::racks_of_nodes(2, 2, 1).with_design(Design::DualTor);
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    let (node, outside) = (lab.node("n1")?, lab.outside());
    let checked = node.netns().sysctl("net/ipv4/conf/default/rp_filter").await?;
    ensure!(checked == "1", "the host itself is not strict: rp_filter is {checked}");
    let plan = lab.topology();
    let number = plan.nodes.iter().find(|one| one.name == "n1").context("n1 is not planned")?;
    let first = |rack: usize| {
        let ends = plan.router_on_uplink(number, plan.racks.get(rack)?);
        ends.first().map(|end| end.ip())
    };
    let out = first(0).context("the first uplink has no address")?;
    ip_batch(Some(node.netns().name()), &format!("route replace 0.0.0.0/0 via {out} dev eth0\n")).await?;
    let near = outside.address(false).context("the outside host has no IPv4 address")?;
    ip_batch(Some(outside.netns().name()), &format!("address add {FAR}/32 dev lo\n")).await?;
    for router in lab.routers() {
        ip_batch(Some(router.machine().netns().name()), &format!("route add {FAR} via {near}\n")).await?;
    }
    let own = node.machine().address(false).context("n1 has no IPv4 address")?;
    let back = spine(&lab, "tor1").await?;
    ip_batch(Some(outside.netns().name()), &format!("route replace {own} via {back}\n")).await?;

    let pod = lab.pods().iter().find(|pod| pod.node() == "n1").context("n1 has no pod")?;
    let before = received(node, "eth1").await?;
    let flow = Flow::start(pod, FAR.parse()?)?;
    flow.goes_on().await?;
    ensure!(received(node, "eth1").await? > before + 50, "answers did not come by the other uplink");
    flow.lost_none().await?;
    lab.down(&Silent).await
}

/// Rules of nftables: what a tunnel carries is tracked, and the tunnel is not.
pub(crate) async fn connections_by_a_tunnel_are_tracked_once(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology { encapsulation: Encapsulation::Vxlan, ..Topology::racks_of_nodes(2, 2, 1) };
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    let flows = Flow::between_all(&lab)?;
    all_go_on(&flows).await?;
    for node in lab.nodes() {
        let tracked = node.netns().exec(&["cat", "/proc/net/nf_conntrack"]).await?.success()?;
        for pod in lab.pods() {
            let own = format!("src={} ", pod.address(false)?);
            ensure!(tracked.contains(&own), "{}: no connection of {own} in {tracked}", node.name());
        }
        ensure!(!tracked.contains("dport=4789 "), "{}: a tunnel is tracked: {tracked}", node.name());
    }
    for flow in flows {
        flow.lost_none().await?;
    }
    lab.down(&Silent).await
}

/// A router's address towards the other routers.
async fn spine(lab: &Lab, router: &str) -> anyhow::Result<std::net::IpAddr> {
    let machine = lab.router(router)?.machine();
    let outside = lab.outside().addresses().first().context("the outside host has no address")?;
    let cables = machine.plan().cables.iter().flat_map(|cable| &cable.addresses);
    let found = cables.map(ipnetwork::IpNetwork::ip).find(|ip| outside.contains(*ip));
    found.with_context(|| format!("{router} has no address on the spine"))
}

/// `rp_filter` of the tunnel's end, and of the uplink.
pub(crate) async fn a_tunnel_takes_what_is_answered_past_it(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology { encapsulation: Encapsulation::Vxlan, ..Topology::one_rack(2, 1) };
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    let always = json!({"vxlanMode": "Always"});
    change_pools(&lab, always.clone(), always).await?;
    blocks_are_behind(&lab, Devices::VXLAN, Devices::VXLAN, SOON).await?;
    answers_pass_by_the_uplink(&lab, "vxlan.caracal").await?;
    lab.down(&Silent).await
}
