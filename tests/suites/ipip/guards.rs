//! What agents see to for `tunl0`, without which packets are lost: it takes no address to send from, and is the kernel's own.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::show::Silent;
use caracal_lab::topology::{Encapsulation, Topology};
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Sandbox, probe};
use caracal_suites::asymmetry::{answers_pass_by_the_uplink, received, tunnels_come_from};
use caracal_suites::ways::{Devices, blocks_are_behind, change_pools};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
/// An address of n1 beside its own.
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

pub(crate) async fn tunl0_takes_packets_of_any_of_a_nodes_addresses_and_what_is_answered_past_it(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let topology = Topology { encapsulation: Encapsulation::Ipip, ..Topology::one_rack(2, 1) };
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    change_pools(&lab, json!({"ipipMode": "Always"}), json!({"vxlanMode": "Always"})).await?;
    blocks_are_behind(&lab, Devices::IPIP, Devices::IPIP, SOON).await?;

    let [one, other] = lab.nodes() else { anyhow::bail!("two nodes were asked for") };
    let to = other.machine().address(false).context("n2 has no IPv4 address")?;
    tunnels_come_from(one, OTHER, to).await?;
    let source = one.netns().exec(&["ip", "route", "get", &to.to_string()]).await?.success()?;
    ensure!(
        source.contains(&format!("src {OTHER}")),
        "packets of the tunnel would come from elsewhere: {source}"
    );
    let pod = |node: &str| lab.pods().iter().find(|pod| pod.node() == node).context("each node has a pod");
    let (from, target) = (pod(one.name())?, pod(other.name())?.address(false)?);
    let before = received(other, "tunl0").await?;
    // The address is told to the other node first.
    wait::until(SOON, "packets from another address of the node come through the tunnel", || async {
        probe::ping(from.netns(), target).await.map_err(NotYet::from)
    })
    .await?;
    ensure!(received(other, "tunl0").await? > before, "packets did not come by tunl0");
    answers_pass_by_the_uplink(&lab, "tunl0").await?;
    lab.down(&Silent).await
}
