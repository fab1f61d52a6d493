//! Packets that go one way and are answered another, as happens while a cluster changes from one encapsulation to another: each
//! tunnel's end has to take what comes from where its own routes do not lead.

use std::net::IpAddr;

use anyhow::{Context, ensure};
use caracal_lab::command::ip_batch;
use caracal_lab::{Lab, Node, Pod};

use crate::flow::Flow;

/// Has the second node answer the first one's pod past the tunnel that its packets come by, and checks that answers arrive. The
/// route for it is a foreign one, which agents leave alone.
///
/// # Errors
/// When packets do not come by that device, or are not answered.
pub async fn answers_pass_by_the_uplink(lab: &Lab, tunnel: &str) -> anyhow::Result<()> {
    let [one, other, ..] = lab.nodes() else { anyhow::bail!("there are not two nodes") };
    let (from, to) = (pod(lab, one)?, pod(lab, other)?);
    let checked = other.netns().sysctl("net/ipv4/conf/default/rp_filter").await?;
    ensure!(checked == "1", "the host itself is not strict: rp_filter is {checked}");
    let back = one.machine().address(false).context("the first node has no IPv4 address")?;
    let past = format!("route add {} via {back} dev eth0\n", from.address(false)?);
    ip_batch(Some(other.netns().name()), &past).await?;
    let before = received(other, tunnel).await?;
    let flow = Flow::start(from, to.address(false)?)?;
    flow.goes_on().await.with_context(|| format!("answers past {tunnel}"))?;
    ensure!(received(other, tunnel).await? > before + 50, "packets did not come by {tunnel}");
    flow.lost_none().await
}

/// The pod of a node.
fn pod<'a>(lab: &'a Lab, node: &Node) -> anyhow::Result<&'a Pod> {
    let found = lab.pods().iter().find(|pod| pod.node() == node.name());
    found.with_context(|| format!("{} has no pod", node.name()))
}

/// How many packets have come to a node by a device.
///
/// # Errors
/// When there is no such device.
pub async fn received(node: &Node, device: &str) -> anyhow::Result<u64> {
    let path = format!("/sys/class/net/{device}/statistics/rx_packets");
    let text = node.netns().exec(&["cat", &path]).await?.success()?;
    text.trim().parse().with_context(|| format!("reading {path}"))
}

/// Has a node's tunnels to another come from this address, which is put on its uplink; a host's own route may say so.
///
/// # Errors
/// When the kernel refuses it.
pub async fn tunnels_come_from(node: &Node, address: IpAddr, to: IpAddr) -> anyhow::Result<()> {
    let lines =
        format!("address add {address}/24 dev eth0\nroute add {to} dev eth0 scope link src {address}\n");
    ip_batch(Some(node.netns().name()), &lines).await
}
