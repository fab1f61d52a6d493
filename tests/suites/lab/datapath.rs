//! What packets do, and what the kernels were told.

use std::net::IpAddr;

use anyhow::{Context, ensure};
use caracal_lab::route::Route;
use caracal_lab::show::Silent;
use caracal_lab::{Lab, Node, Pod, Sandbox, Topology, report};
use ipnetwork::IpNetwork;

/// The route protocol number of caracal.
const OURS: Option<&str> = Some("67");
const GATEWAY_V4: &str = "169.254.1.1";
const GATEWAY_V6: &str = "fe80::ecee:eeff:feee:eeee";
const HOST_MAC: &str = "ee:ee:ee:ee:ee:ee";

pub(crate) async fn every_pod_and_node_reaches_every_pod(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 2), &Silent).await?;
    let cells = report::ping_all(&lab).await?;
    ensure!(cells.len() == 6 * 4 * 2, "{} pings instead of 48", cells.len());
    let failed: Vec<_> = cells.iter().filter(|cell| cell.failure.is_some()).collect();
    ensure!(failed.is_empty(), "failed: {failed:#?}");
    lab.down(&Silent).await
}

pub(crate) async fn node_pod_and_veth_are_wired_as_designed(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 1), &Silent).await?;
    for node in lab.nodes() {
        check_blocks(&lab, node).await?;
    }
    for pod in lab.pods() {
        let node = lab.node(pod.node())?;
        check_pod(pod).await.with_context(|| format!("in pod {}", pod.name()))?;
        check_host_side(node, pod).await.with_context(|| format!("on {} for {}", node.name(), pod.name()))?;
    }
    lab.down(&Silent).await
}

/// Own blocks are blackholes, those of others go through their owners on the uplink.
async fn check_blocks(lab: &Lab, node: &Node) -> anyhow::Result<()> {
    let blocks = report::blocks(lab.cluster()).await?;
    ensure!(blocks.len() == 4, "4 blocks (2 nodes, 2 families) expected, there are {blocks:?}");
    for block in &blocks {
        let route = node.netns().route_to(block.cidr).await?;
        let route = route.with_context(|| format!("{} has no route to {}", node.name(), block.cidr))?;
        ensure!(route.protocol.as_deref() == OURS, "protocol is not 67: {}", route.words());
        if block.owner == node.name() {
            ensure!(route.kind == "blackhole", "own block is no blackhole: {}", route.words());
            continue;
        }
        let owner = lab.node(&block.owner)?.machine().addresses();
        let via = owner.iter().map(IpNetwork::ip).find(|address| address.is_ipv6() == block.cidr.is_ipv6());
        ensure!(route.gateway == via, "{} is not via {via:?}", route.words());
        ensure!(route.dev.as_deref() == Some("eth0"), "{} is not on the uplink", route.words());
    }
    Ok(())
}

/// Inside: /32 and /128, default routes through the two gateways, and neighbours for them.
async fn check_pod(pod: &Pod) -> anyhow::Result<()> {
    let addresses = pod.netns().addresses("eth0").await?;
    for address in pod.addresses() {
        let whole = IpNetwork::from(*address);
        ensure!(addresses.contains(&whole), "eth0 has no {whole}: {addresses:?}");
    }
    let routes = pod.netns().routes().await?;
    for gateway in [GATEWAY_V4, GATEWAY_V6] {
        let gateway: IpAddr = gateway.parse()?;
        let default = routes.iter().find(|route| route.dst == "default" && route.gateway == Some(gateway));
        let default = default.with_context(|| format!("no default via {gateway}: {}", words(&routes)))?;
        ensure!(default.dev.as_deref() == Some("eth0"), "{}", default.words());
    }
    let neighbours = pod.netns().neighbours().await?;
    for gateway in [GATEWAY_V4, GATEWAY_V6] {
        let gateway: IpAddr = gateway.parse()?;
        let entry = neighbours.iter().find(|one| one.dst == gateway);
        let entry = entry.with_context(|| format!("no neighbour {gateway}: {neighbours:?}"))?;
        ensure!(entry.lladdr.as_deref() == Some(HOST_MAC), "{entry:?}");
        ensure!(entry.state.iter().any(|state| state == "PERMANENT"), "{entry:?}");
    }
    Ok(())
}

/// Outside: the device's name, MAC, alias, settings, routes and neighbours.
async fn check_host_side(node: &Node, pod: &Pod) -> anyhow::Result<()> {
    let device = pod.host_device()?;
    let links = node.netns().links().await?;
    let link = links.iter().find(|link| link.ifname == device);
    let link = link.with_context(|| format!("no device {device}"))?;
    ensure!(device.len() == 15 && device.starts_with("cali"), "{device} is not cali + 11 digits");
    ensure!(link.address == HOST_MAC, "its MAC is {}", link.address);
    ensure!(link.operstate == "UP", "it is {}", link.operstate);
    let alias = link.ifalias.as_deref().unwrap_or_default();
    ensure!(alias.contains(&pod.attachment().container), "its alias does not tell the attachment: `{alias}`");

    for (setting, value) in [
        (format!("net/ipv4/conf/{device}/proxy_arp"), "1"),
        (format!("net/ipv4/conf/{device}/forwarding"), "1"),
        (format!("net/ipv4/conf/{device}/route_localnet"), "0"),
        (format!("net/ipv4/neigh/{device}/proxy_delay"), "0"),
        (format!("net/ipv6/conf/{device}/proxy_ndp"), "1"),
        (format!("net/ipv6/conf/{device}/forwarding"), "1"),
        (format!("net/ipv6/conf/{device}/accept_ra"), "0"),
        ("net/ipv4/ip_forward".to_owned(), "1"),
        ("net/ipv6/conf/all/forwarding".to_owned(), "1"),
    ] {
        let found = node.netns().sysctl(&setting).await?;
        ensure!(found == value, "{setting} is {found} instead of {value}");
    }
    let addresses = node.netns().addresses(device).await?;
    let gateway: IpAddr = GATEWAY_V6.parse()?;
    ensure!(addresses.iter().any(|one| one.ip() == gateway), "{device} has no {gateway}: {addresses:?}");

    let neighbours = node.netns().neighbours().await?;
    for address in pod.addresses() {
        let route = node.netns().route_to(IpNetwork::from(*address)).await?;
        let route = route.with_context(|| format!("no route to {address}"))?;
        ensure!(route.dev.as_deref() == Some(device), "{}", route.words());
        ensure!(route.protocol.as_deref() == OURS, "{}", route.words());
        if address.is_ipv4() {
            ensure!(
                route.scope.as_deref() == Some("link") || route.scope.as_deref() == Some("253"),
                "{}",
                route.words()
            );
        }
        let entry = neighbours.iter().find(|one| one.dst == *address && one.dev == device);
        let entry = entry.with_context(|| format!("no neighbour {address} on {device}: {neighbours:?}"))?;
        ensure!(entry.state.iter().any(|state| state == "PERMANENT"), "{entry:?}");
    }
    Ok(())
}

fn words(routes: &[Route]) -> String {
    routes.iter().map(Route::words).collect::<Vec<_>>().join("; ")
}
