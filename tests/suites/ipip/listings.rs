//! `ip route`, `ip address` and `ip link` on nodes and in pods are those of the usual IPIP cluster.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, ensure};
use caracal_lab::show::Silent;
use caracal_lab::topology::{Encapsulation, Topology};
use caracal_lab::{Lab, Node, Pod, Sandbox, report};
use ipnetwork::Ipv4Network;

/// Two blocks of /26, one for each node: 172.25.0.128/26 and 172.25.0.192/26.
const POOL: &str = "172.25.0.128/25";
/// Tunnels of IPv4 in IPv4 take 20 bytes of the uplink's 1500.
const TUNNEL_MTU: u32 = 1480;

pub(crate) async fn nodes_and_pods_list_what_operators_know(sandbox: Sandbox) -> anyhow::Result<()> {
    let mut topology = Topology::racks_of_nodes(2, 2, 3);
    topology.encapsulation = Encapsulation::Ipip;
    for pool in topology.pools.iter_mut().filter(|pool| pool.cidr.is_ipv4()) {
        pool.cidr = POOL.parse().context("reading the pool's range")?;
    }
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    let mut blocks = BTreeSet::new();
    for node in lab.nodes() {
        blocks.insert(own_block(&lab, node).await?.to_string());
        node_routes(&lab, node).await.with_context(|| format!("on {}", node.name()))?;
        tunnel(&lab, node).await.with_context(|| format!("on {}", node.name()))?;
    }
    ensure!(blocks == BTreeSet::from(["172.25.0.128/26".into(), "172.25.0.192/26".into()]), "{blocks:?}");
    for pod in lab.pods() {
        pod_listings(pod).await.with_context(|| format!("in {}", pod.name()))?;
    }
    lab.down(&Silent).await
}

/// The node's IPv4 routes, each as one line, and no other.
async fn node_routes(lab: &Lab, node: &Node) -> anyhow::Result<()> {
    let own = own_block(lab, node).await?;
    let address = v4(node)?;
    let rack = Ipv4Network::new(address, 24).context("the node's rack")?.network();
    let [a, b, c, _] = rack.octets();
    let mut expected = BTreeSet::from([
        format!("default via {a}.{b}.{c}.1 dev eth0"),
        format!("{rack}/24 dev eth0 proto kernel scope link src {address}"),
        format!("blackhole {own} proto bird"),
    ]);
    for pod in lab.pods().iter().filter(|pod| pod.node() == node.name()) {
        expected.insert(format!("{} dev {} scope link", pod.address(false)?, pod.host_device()?));
    }
    for other in lab.nodes().iter().filter(|other| other.name() != node.name()) {
        let block = own_block(lab, other).await?;
        expected.insert(format!("{block} via {} dev tunl0 proto bird onlink", v4(other)?));
    }
    let found = lines(node.netns().exec(&["ip", "-4", "route"]).await?.success()?);
    ensure!(expected == found, "expected {expected:#?}, found {found:#?}");
    Ok(())
}

/// `tunl0` is up, with one address of the node's block.
async fn tunnel(lab: &Lab, node: &Node) -> anyhow::Result<()> {
    let link = node.netns().exec(&["ip", "link", "show", "tunl0"]).await?.success()?;
    let wanted = format!("tunl0@NONE: <NOARP,UP,LOWER_UP> mtu {TUNNEL_MTU} ");
    ensure!(link.contains(&wanted), "no `{wanted}` in {link}");
    let addresses = node.netns().addresses("tunl0").await?;
    let addresses: Vec<_> = addresses.iter().filter(|address| address.is_ipv4()).collect();
    let own = own_block(lab, node).await?;
    let inside = |address: &IpAddr| matches!(address, IpAddr::V4(v4) if own.contains(*v4));
    ensure!(
        matches!(addresses.as_slice(), [one] if one.prefix() == 32 && inside(&one.ip())),
        "tunl0 has {addresses:?}, and the node's block is {own}"
    );
    Ok(())
}

/// The pod's routes, address and devices; `tunl0` is there and idle, as in every namespace of a kernel with ipip.
async fn pod_listings(pod: &Pod) -> anyhow::Result<()> {
    let routes = lines(pod.netns().exec(&["ip", "-4", "route"]).await?.success()?);
    let expected =
        BTreeSet::from(["default via 169.254.1.1 dev eth0".into(), "169.254.1.1 dev eth0 scope link".into()]);
    ensure!(routes == expected, "routes: {routes:#?}");
    let address = pod.netns().exec(&["ip", "-4", "address", "show", "dev", "eth0"]).await?.success()?;
    let wanted = format!("inet {}/32 scope global eth0", pod.address(false)?);
    ensure!(address.contains(&wanted), "no `{wanted}` in {address}");
    let links = pod.netns().exec(&["ip", "link"]).await?.success()?;
    // Newer kernels print `state UNKNOWN` or other words after the queueing discipline; what comes before is fixed.
    let idle = format!("tunl0@NONE: <NOARP> mtu {TUNNEL_MTU} qdisc noop state DOWN");
    ensure!(links.contains(&idle), "no `{idle}` in {links}");
    let uplink = links.lines().find(|line| line.contains(": eth0@if")).context("no eth0@if… in its links")?;
    ensure!(uplink.contains("<BROADCAST,MULTICAST,UP,LOWER_UP>"), "{uplink}");
    let devices = pod.netns().links().await?;
    let mtu = devices.iter().find(|link| link.ifname == "eth0").context("no eth0")?.mtu;
    ensure!(mtu <= TUNNEL_MTU, "the pod's MTU is {mtu}, more than fits the tunnel");
    // What operators do to find a pod's device on its node.
    // A mount of /sys shows the devices of the namespace that mounted it.
    let look = "mount -t sysfs sysfs /sys && cat /sys/class/net/eth0/iflink";
    let peer = pod.netns().exec(&["unshare", "--mount", "sh", "-c", look]).await?.success()?;
    ensure!(uplink.contains(&format!("eth0@if{}:", peer.trim())), "iflink is {peer}, but {uplink}");
    Ok(())
}

async fn own_block(lab: &Lab, node: &Node) -> anyhow::Result<Ipv4Network> {
    let blocks = report::blocks(lab.cluster()).await?;
    let own: Vec<_> = blocks
        .iter()
        .filter(|block| block.owner == node.name())
        .filter_map(|block| match block.cidr {
            ipnetwork::IpNetwork::V4(block) => Some(block),
            ipnetwork::IpNetwork::V6(_) => None,
        })
        .collect();
    ensure!(own.len() == 1, "{} owns {own:?} instead of one block", node.name());
    Ok(own[0])
}

fn v4(node: &Node) -> anyhow::Result<std::net::Ipv4Addr> {
    match node.machine().address(false) {
        Some(IpAddr::V4(address)) => Ok(address),
        found => anyhow::bail!("{} has the IPv4 address {found:?}", node.name()),
    }
}

/// Lines as a set: kernels sort them differently, and `ip` leaves blanks at their ends.
fn lines(text: String) -> BTreeSet<String> {
    text.lines().map(|line| line.trim().to_owned()).collect()
}
