//! Nodes whose address is a single one (/32, /128) on their uplink: on no subnet with anybody, with a router on the link by a
//! route of the host's own, as machines of some clouds and fabrics have it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::command::ip_batch;
use caracal_lab::show::Silent;
use caracal_lab::topology::{Design, Encapsulation};
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Sandbox, Topology, report};
use caracal_suites::condition;
use caracal_suites::ways::{Devices, blocks_are_behind, change_pools};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

/// One rack whose pools ask for VXLAN across subnets.
fn across_subnets(design: Design) -> Topology {
    let topology = Topology::one_rack(3, 1).with_design(design);
    Topology { encapsulation: Encapsulation::Vxlan, ..topology }
}

/// Takes the node from its subnet.
async fn leave_the_subnet(lab: &Lab, node: &Node) -> anyhow::Result<()> {
    let mut lines = String::new();
    for address in node.machine().addresses() {
        let (ip, v6) = (address.ip(), address.is_ipv6());
        let router = router(lab, v6)?;
        let (length, default) = if v6 { ("128 nodad", "::/0") } else { ("32", "0.0.0.0/0") };
        lines += &format!(
            "route replace {router} dev eth0\naddress del {address} dev eth0\naddress add {ip}/{length} dev eth0\n\
             route replace {router} dev eth0\nroute replace {default} via {router} dev eth0\n"
        );
    }
    ip_batch(Some(node.netns().name()), &lines).await
}

fn router(lab: &Lab, v6: bool) -> anyhow::Result<IpAddr> {
    lab.router("tor0")?.machine().address(v6).context("the router has no such address")
}

/// Waits until every block of another node is behind the router, on the link.
async fn blocks_are_behind_the_router(lab: &Lab) -> anyhow::Result<()> {
    wait::until(SOON, "every other node's block is behind the router", || async {
        for block in report::blocks(lab.cluster()).await? {
            for node in lab.nodes().iter().filter(|node| node.name() != block.owner) {
                let route = node.netns().route_to(block.cidr).await?;
                let route =
                    route.with_context(|| format!("{} has no route to {}", node.name(), block.cidr))?;
                let by = (route.gateway, route.dev.as_deref());
                if by != (Some(router(lab, block.cidr.is_ipv6())?), Some("eth0")) {
                    return Err(NotYet::because(format!("{}: {}", node.name(), route.words())));
                }
            }
        }
        Ok(())
    })
    .await
}

/// Every pod answers every pod and every node, in time.
async fn all_answer(lab: &Lab) -> anyhow::Result<()> {
    wait::until(SOON, "every pod is reached from everywhere", || async {
        let cells = report::ping_all(lab).await?;
        match cells.iter().find_map(|cell| Some((cell, cell.failure.as_ref()?))) {
            None => Ok(()),
            Some((cell, why)) => Err(NotYet::because(format!("{} to {}: {why}", cell.from, cell.to.address))),
        }
    })
    .await
}

pub(crate) async fn nodes_on_no_subnet_reach_each_other_as_the_mode_says(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, across_subnets(Design::Mesh), &Silent).await?;
    blocks_are_behind(&lab, Devices::UPLINK, Devices::UPLINK, SOON).await?;
    for node in lab.nodes() {
        leave_the_subnet(&lab, node).await?;
    }
    // Everybody is across the subnet now.
    blocks_are_behind(&lab, Devices::VXLAN, Devices::VXLAN, SOON).await?;
    all_answer(&lab).await?;

    // As they are, by the host's own route to the next hop; whoever owns the router tells it where pods are.
    let router = lab.router("tor0")?.machine().netns();
    for block in report::blocks(lab.cluster()).await? {
        let owner = lab.node(&block.owner)?.machine().address(block.cidr.is_ipv6());
        let owner = owner.with_context(|| format!("{} has no such address", block.owner))?;
        ip_batch(Some(router.name()), &format!("route add {} via {owner}\n", block.cidr)).await?;
    }
    let never = json!({"vxlanMode": "Never"});
    change_pools(&lab, never.clone(), never).await?;
    blocks_are_behind_the_router(&lab).await?;
    all_answer(&lab).await?;
    lab.down(&Silent).await
}

pub(crate) async fn nodes_on_no_subnet_hand_packets_to_the_router_they_peer_with(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, across_subnets(Design::Tor), &Silent).await?;
    for node in lab.nodes() {
        leave_the_subnet(&lab, node).await?;
    }
    // The pools ask for a tunnel across subnets, and none leads to a router.
    blocks_are_behind_the_router(&lab).await?;
    all_answer(&lab).await?;
    for node in lab.nodes() {
        condition::becomes(node, "RoutesProgrammed", "OK", SOON).await?;
        let peers = report::peers(node).await?;
        ensure!(peers.iter().all(report::Peer::is_established), "{}: {peers:?}", node.name());
    }
    let never = json!({"vxlanMode": "Never"});
    change_pools(&lab, never.clone(), never).await?;
    blocks_are_behind_the_router(&lab).await?;
    all_answer(&lab).await?;
    lab.down(&Silent).await
}
