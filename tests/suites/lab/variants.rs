//! The labs that `cargo lab` can be asked for: each comes up, and does what it is for.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::report::{self, Measured};
use caracal_lab::show::Silent;
use caracal_lab::topology::{Design, Encapsulation, Families, RouterKind, Tunnel};
use caracal_lab::{Lab, Sandbox, Topology, fault, probe, witness};

const SOON: Duration = Duration::from_secs(60);

/// Everything reaches everything, one packet each, and the outside sees what it should.
async fn works(lab: &Lab) -> anyhow::Result<Measured> {
    let pings = report::ping_all(lab).await?;
    ensure!(!pings.is_empty(), "nothing was pinged");
    let outside = witness::ask_from_all(lab).await?;
    let measured = Measured { pings, outside, ..Measured::default() };
    let failures = report::failures(&measured);
    ensure!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    Ok(measured)
}

/// Brings it up, checks it, takes it down.
async fn comes_up(sandbox: Sandbox, topology: Topology) -> anyhow::Result<Measured> {
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    let measured = works(&lab).await?;
    lab.down(&Silent).await?;
    Ok(measured)
}

pub(crate) async fn two_racks_are_plain_within_and_tunnelled_across(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::default(), &Silent).await?;
    let tunnels = lab.tunnels();
    ensure!(tunnels.v6 == Some(Tunnel::Vxlan), "IPv6 across racks: {tunnels:?}");
    ensure!(
        tunnels.v4 == Some(Tunnel::Ipip) || tunnels.notice.is_some(),
        "no word on why not IPIP: {tunnels:?}"
    );
    // `Lab::up` has waited until each route leads as it should: seen from the other side here.
    let blocks = report::blocks(lab.cluster()).await?;
    for node in lab.nodes() {
        for block in blocks.iter().filter(|block| block.owner != node.name()) {
            let route = node.netns().route_to(block.cidr).await?.context("a route is missing")?;
            let rack =
                |name: &str| lab.topology().nodes.iter().find(|node| node.name == name).map(|node| node.rack);
            let plain = rack(node.name()) == rack(&block.owner);
            let found = route.dev.as_deref() == Some("eth0");
            ensure!(plain == found, "on {}: {}", node.name(), route.words());
        }
    }
    let measured = works(&lab).await?;
    ensure!(measured.outside.len() == 16, "8 pods in 2 families, and not {} sights", measured.outside.len());
    lab.down(&Silent).await
}

pub(crate) async fn nodes_peer_with_their_routers_and_the_outside_reaches_pods(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::default().with_design(Design::Tor), &Silent).await?;
    for node in lab.nodes() {
        let peers = report::peers(node).await?;
        let [peer] = peers.as_slice() else { anyhow::bail!("{} has peers {peers:?}", node.name()) };
        ensure!(peer.remote_as >= 64601, "{} peers with {}", node.name(), peer.in_short());
        ensure!(
            node.netns().links().await?.iter().all(|link| link.ifname != "vxlan.caracal"),
            "a tunnel was made"
        );
    }
    let measured = works(&lab).await?;
    let from_outside = measured.pings.iter().filter(|cell| cell.from == "outside").count();
    ensure!(from_outside == 16, "{from_outside} pings from the outside instead of 16");

    // A router that starts anew is learned anew, and learns anew.
    lab.router("tor0")?.restart(SOON).await?;
    lab.sessions_established(SOON).await?;
    lab.blocks_learned(SOON).await?;
    works(&lab).await.context("after the restart of tor0")?;
    lab.down(&Silent).await
}

pub(crate) async fn routers_may_be_bird(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology::default().with_design(Design::Tor).with_routers(RouterKind::Bird);
    comes_up(sandbox, topology).await.map(drop)
}

pub(crate) async fn routers_may_be_frr(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology::default().with_design(Design::Tor).with_routers(RouterKind::Frr);
    comes_up(sandbox, topology).await.map(drop)
}

pub(crate) async fn nodes_may_reflect_for_the_others(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology::racks_of_nodes(2, 5, 1).with_design(Design::Reflectors(2));
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    for (node, plan) in lab.nodes().iter().zip(&lab.topology().nodes) {
        let count = report::peers(node).await?.len();
        let expected = if plan.reflects { 4 } else { 2 };
        ensure!(count == expected, "{} has {count} peers instead of {expected}", node.name());
    }
    works(&lab).await?;
    lab.down(&Silent).await
}

pub(crate) async fn a_lab_may_have_ipv4_only(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology { encapsulation: Encapsulation::Vxlan, ..Topology::racks_of_nodes(2, 2, 1) };
    let measured = comes_up(sandbox, topology.with_families(Families::V4)).await?;
    ensure!(measured.pings.iter().all(|cell| cell.to.address.is_ipv4()), "IPv6 was pinged");
    Ok(())
}

pub(crate) async fn a_lab_may_have_ipv6_only(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology::racks_of_nodes(2, 2, 1).with_families(Families::V6);
    let measured = comes_up(sandbox, topology).await?;
    ensure!(measured.pings.iter().all(|cell| cell.to.address.is_ipv6()), "IPv4 was pinged");
    Ok(())
}

pub(crate) async fn one_rack_needs_no_encapsulation(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology { encapsulation: Encapsulation::Never, ..Topology::one_rack(3, 1) };
    comes_up(sandbox, topology).await.map(drop)
}

pub(crate) async fn large_labs_know_their_neighbours(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology::racks_of_nodes(2, 24, 1);
    ensure!(topology.writes_neighbours_down(), "24 nodes in 2 racks are meant to be large");
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    works(&lab).await?;
    // Discovered entries of the rack would take room in the kernel's only table.
    for entry in lab.node("n1")?.netns().neighbours().await? {
        let permanent = entry.state.iter().any(|state| state == "PERMANENT");
        ensure!(permanent || entry.dev != "eth0" || is_link_local(entry.dst), "{entry:?}");
    }
    lab.down(&Silent).await
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

pub(crate) async fn the_matrix_tells_what_is_lost(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 1), &Silent).await?;
    fault::partition(lab.node("n2")?).await?;
    for cell in report::ping_all(&lab).await? {
        let (from, to) = (cell.from.starts_with("n1"), cell.to.label.starts_with("n1"));
        let lost = cell.failure.is_some();
        ensure!(lost == (from != to), "{} -> {}: {:?}", cell.from, cell.to.label, cell.failure);
    }
    fault::restore(lab.node("n2")?).await?;
    let pod = lab.pods().iter().find(|pod| pod.node() == "n2").context("n2 has no pod")?;
    let from = lab.node("n1")?.netns();
    caracal_lab::wait::until(SOON, "n2 is reached again", || async {
        Ok(probe::ping(from, pod.address(false)?).await?)
    })
    .await?;
    lab.down(&Silent).await
}
