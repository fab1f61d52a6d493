//! What is really on the cable: IP protocol 4 from rack to rack, the pods' own packets within a rack.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, ensure};
use caracal_lab::show::Silent;
use caracal_lab::topology::{Encapsulation, Topology};
use caracal_lab::{Lab, Node, Pod, Sandbox, probe};

use crate::capture::{Capture, ICMP, IPIP, Packet};

pub(crate) async fn packets_are_tunnelled_between_racks_and_plain_within(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let mut topology = Topology::racks_of_nodes(2, 3, 1);
    topology.encapsulation = Encapsulation::Ipip;
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    let [n1, n2, n3] = lab.nodes() else { anyhow::bail!("three nodes were asked for") };
    ensure!(n1.machine().address(false).is_some_and(|one| same_rack(one, n2)), "n1 and n2 share a rack");

    let across = exchanged(&lab, n1, n3).await?;
    let (here, there) = (v4(n1)?, v4(n3)?);
    for packet in &across {
        let outer = (packet.protocol, packet.source, packet.destination);
        ensure!(
            outer == (IPIP, here, there) || outer == (IPIP, there, here),
            "between racks, not from node to node in IPIP: {packet:?}"
        );
        ensure!(
            packet.inner.as_ref().is_some_and(|inner| inner.protocol == ICMP),
            "between racks, not the pods' packet inside: {packet:?}"
        );
    }
    let within = exchanged(&lab, n1, n2).await?;
    for packet in &within {
        ensure!(packet.protocol == ICMP, "within a rack, not plain: {packet:?}");
    }
    lab.down(&Silent).await
}

/// A ping from a pod of one node to one of another, as seen on the first node's uplink: there and back.
async fn exchanged(lab: &Lab, from: &Node, to: &Node) -> anyhow::Result<Vec<Packet>> {
    let pod = |node: &Node| -> anyhow::Result<&Pod> {
        lab.pods().iter().find(|pod| pod.node() == node.name()).context("a pod on each node")
    };
    let (source, target) = (pod(from)?, pod(to)?.address(false)?);
    let own = source.address(false)?;
    let capture = Capture::start(from.netns(), "eth0").await?;
    probe::ping(source.netns(), target).await?;
    // Both packets may still be in the capture's buffer: it is asked to end, and hands over all.
    let packets = capture.stop().await?;
    let about = |packet: &Packet| {
        let pair = packet.inner.as_deref().unwrap_or(packet);
        let ends = [IpAddr::V4(pair.source), IpAddr::V4(pair.destination)];
        ends == [own, target] || ends == [target, own]
    };
    let found: Vec<Packet> = packets.iter().filter(|packet| about(packet)).cloned().collect();
    ensure!(found.len() == 2, "request and answer on the cable expected, seen: {packets:#?}");
    Ok(found)
}

fn v4(node: &Node) -> anyhow::Result<Ipv4Addr> {
    match node.machine().address(false) {
        Some(IpAddr::V4(address)) => Ok(address),
        found => anyhow::bail!("{} has the IPv4 address {found:?}", node.name()),
    }
}

fn same_rack(address: IpAddr, node: &Node) -> bool {
    node.machine().addresses().iter().any(|network| network.contains(address))
}
