//! Pods that go, agents that are killed.

use std::time::Duration;

use anyhow::{bail, ensure};
use caracal_lab::probe::Flow;
use caracal_lab::route::Route;
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Sandbox, Topology, report};
use ipnetwork::IpNetwork;

const SOON: Duration = Duration::from_secs(30);

pub(crate) async fn a_deleted_pod_leaves_nothing(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(1, 0), &Silent).await?;
    let node = lab.node("n1")?;
    let pod = lab.add_pod("n1", "short-lived").await?;
    let device = pod.host_device()?.to_owned();
    lab.delete_pod(&pod).await?;

    let links = node.netns().links().await?;
    ensure!(links.iter().all(|link| link.ifname != device), "{device} is still there");
    for address in pod.addresses() {
        let route = node.netns().route_to(IpNetwork::from(*address)).await?;
        ensure!(route.is_none(), "a route to {address} is still there: {route:?}");
    }
    // DEL again, as runtimes do: what is gone is gone, and that is success.
    caracal_lab::runtime::del(node.machine(), pod.attachment(), Some(pod.result())).await?;

    // The addresses cool down: the next pod gets others.
    let next = lab.add_pod("n1", "next").await?;
    for address in next.addresses() {
        ensure!(!pod.addresses().contains(address), "{address} was given out again at once");
    }
    lab.delete_pod(&next).await?;
    lab.down(&Silent).await
}

/// All routes of ours on a node, sorted, in words.
async fn own_routes(node: &Node) -> anyhow::Result<Vec<String>> {
    let routes = node.netns().routes().await?;
    let ours = routes.iter().filter(|route| route.protocol.as_deref() == Some("67"));
    let mut words: Vec<String> = ours.map(Route::words).collect();
    words.sort();
    Ok(words)
}

pub(crate) async fn a_killed_agent_costs_its_node_no_packet_and_no_route(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 2), &Silent).await?;
    let node = lab.node("n1")?;
    let mut here = lab.pods().iter().filter(|pod| pod.node() == "n1");
    let (Some(one), Some(other)) = (here.next(), here.next()) else { bail!("two pods on n1 expected") };
    let before = own_routes(node).await?;
    // Between pods of this node; what other nodes see of it is counted by the suite `path`.
    let flows = [
        Flow::start(one.netns(), other.address(false)?, Duration::from_millis(5))?,
        Flow::start(one.netns(), other.address(true)?, Duration::from_millis(5))?,
    ];

    node.agent().kill().await?;
    let without = own_routes(node).await?;
    ensure!(without == before, "the kill changed routes: {before:?} became {without:?}");
    node.agent().start().await?;
    node.ready(SOON).await?;
    lab.sessions_established(Duration::from_secs(90)).await?;
    wait::until(SOON, "the routes are as they were", || async {
        let after = own_routes(node).await?;
        if after == before {
            Ok(())
        } else {
            Err(NotYet::because(format!("{after:?} instead of {before:?}")))
        }
    })
    .await?;

    for flow in flows {
        let count = flow.stop().await?;
        ensure!(
            count.received > 0 && count.lost() == 0,
            "{} of {} packets were lost",
            count.lost(),
            count.sent
        );
    }
    lab.blocks_learned(SOON).await?;
    let failed: Vec<_> =
        report::ping_all(&lab).await?.into_iter().filter(|cell| cell.failure.is_some()).collect();
    ensure!(failed.is_empty(), "after the restart: {failed:#?}");
    lab.down(&Silent).await
}
