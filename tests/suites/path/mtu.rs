//! Uplinks that carry more, or less, than they did: tunnels, routes and new pods follow, and pods that were started with too
//! large an MTU are named. Between nodes that carry 9000 and 1500 octets no large packet is lost in silence.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Pod, Sandbox, Topology, report};
use caracal_suites::condition;
use caracal_suites::ways::{Devices, blocks_are_behind, change_pools};
use serde_json::json;
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(60);

/// Both ends of a node's cable. The segment behind it carries 1500 octets, whatever its ports do.
async fn set_uplink(node: &Node, mtu: u32) -> anyhow::Result<()> {
    let (port, mtu) = (&node.machine().plan().cables[0].port, mtu.to_string());
    let done = Command::new("ip").args(["link", "set", port, "mtu", &mtu]).status().await?;
    ensure!(done.success(), "ip link set {port} mtu {mtu}: {done}");
    node.netns().exec(&["ip", "link", "set", "eth0", "mtu", &mtu]).await?.success()?;
    Ok(())
}

/// Waits until every route from one node to the other's blocks says so, or nothing of an MTU.
async fn routes_say(lab: &Lab, from: &Node, to: &str, mtu: Option<u32>) -> anyhow::Result<()> {
    let blocks = report::blocks(lab.cluster()).await?;
    for block in blocks.iter().filter(|block| block.owner == to) {
        let family = if block.cidr.is_ipv4() { "-4" } else { "-6" };
        let cidr = block.cidr.to_string();
        wait::until(SOON, &format!("the route to {cidr} says MTU {mtu:?}"), || async {
            let text = from.netns().exec(&["ip", family, "route", "show", &cidr]).await?.success()?;
            let said = text.split_whitespace().skip_while(|word| *word != "mtu").nth(1);
            if said == mtu.map(|mtu| mtu.to_string()).as_deref() && !text.is_empty() {
                return Ok(());
            }
            Err(NotYet::because(text))
        })
        .await?;
    }
    Ok(())
}

async fn device_has(netns: &caracal_lab::netns::Netns, device: &str, mtu: u32) -> anyhow::Result<()> {
    wait::until(SOON, &format!("{device} carries {mtu}"), || async {
        let links = netns.links().await?;
        let found = links.iter().find(|link| link.ifname == device).map(|link| link.mtu);
        if found == Some(mtu) { Ok(()) } else { Err(NotYet::because(format!("{found:?}"))) }
    })
    .await
}

/// Waits until the node's condition `PodMTU` has this reason: its message.
async fn pod_mtu_is(node: &Node, reason: &str) -> anyhow::Result<String> {
    condition::becomes(node, "PodMTU", reason, SOON).await
}

/// What a pod hears of a packet of 3000 octets that may not be cut: with the MTU that its node knows of.
async fn is_told(pod: &Pod, to: IpAddr, mtu: u32) -> anyhow::Result<()> {
    wait::until(SOON, &format!("{} is told of {mtu} on the way to {to}", pod.name()), || async {
        let to = to.to_string();
        let words = ["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "3000", &to];
        let said = pod.netns().exec(&words).await?;
        let all = format!("{}{}", said.stdout, said.stderr);
        if [format!("mtu = {mtu}"), format!("mtu={mtu}"), format!("mtu: {mtu}")]
            .iter()
            .any(|one| all.contains(one))
        {
            return Ok(());
        }
        Err(NotYet::because(all))
    })
    .await
}

/// Large packets arrive, cut by whoever may cut them.
async fn large_packets_arrive(pod: &Pod, to: IpAddr) -> anyhow::Result<()> {
    wait::until(SOON, &format!("3000 octets get from {} to {to}", pod.name()), || async {
        let to = to.to_string();
        let words = ["ping", "-n", "-c", "1", "-W", "1", "-M", "want", "-s", "3000", &to];
        let said = pod.netns().exec(&words).await?;
        if said.status.success() { Ok(()) } else { Err(NotYet::because(said.stdout)) }
    })
    .await
}

pub(crate) async fn what_links_carry_is_followed_and_told_to_pods_and_to_other_nodes(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 1), &Silent).await?;
    let node = lab.node("n1")?;
    let there = lab.pods().iter().find(|pod| pod.node() == "n2").context("there is no pod on n2")?;
    routes_say(&lab, node, "n2", None).await?;

    set_uplink(node, 9000).await?;
    routes_say(&lab, node, "n2", Some(1500)).await?;
    routes_say(&lab, lab.node("n2")?, "n1", None).await?;
    let large = lab.add_pod("n1", "large").await?;
    device_has(large.netns(), "eth0", 9000).await?;
    for to in there.addresses() {
        is_told(&large, *to, 1500).await?;
        large_packets_arrive(&large, *to).await?;
    }
    pod_mtu_is(node, "OK").await?;

    // The tunnel follows the uplink, and its routes what the other end carries.
    let always = json!({"vxlanMode": "Always"});
    change_pools(&lab, always.clone(), always).await?;
    blocks_are_behind(&lab, Devices::VXLAN, Devices::VXLAN, SOON).await?;
    device_has(node.netns(), "vxlan.caracal", 8950).await?;
    routes_say(&lab, node, "n2", Some(1450)).await?;
    let other = lab.add_pod("n1", "other").await?;
    device_has(other.netns(), "eth0", 8950).await?;
    for to in there.addresses() {
        is_told(&other, *to, 1450).await?;
        large_packets_arrive(&other, *to).await?;
    }
    let said = pod_mtu_is(node, "TooLarge").await?;
    ensure!(said.contains("pod default/large with 9000"), "it says: {said}");
    lab.delete_pod(&large).await?;
    pod_mtu_is(node, "OK").await?;

    // The uplink carries less: so does everything on it, and what runs already is told.
    set_uplink(node, 1500).await?;
    device_has(node.netns(), "vxlan.caracal", 1450).await?;
    routes_say(&lab, node, "n2", None).await?;
    let said = pod_mtu_is(node, "TooLarge").await?;
    ensure!(said.contains("pod default/other with 8950"), "it says: {said}");
    lab.delete_pod(&other).await?;
    let last = lab.add_pod("n1", "last").await?;
    device_has(last.netns(), "eth0", 1450).await?;
    lab.delete_pod(&last).await?;
    lab.down(&Silent).await
}
