//! The API server is away.

use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Sandbox, Topology, fault, probe, report};

const SOON: Duration = Duration::from_secs(30);

pub(crate) async fn without_api_server_pods_come_and_go_and_agents_restart(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 1), &Silent).await?;
    let [near, far] = lab.pods() else { anyhow::bail!("two pods expected") };
    let blocks = report::blocks(lab.cluster()).await?;
    let node = lab.node(near.node())?;

    fault::partition(lab.control()).await?;
    let new = node.attach("default", "made-in-the-outage", "00000000-0000-4000-8000-000000000001").await;
    let new = new.context("ADD from an owned block without the API server")?;
    probe::ping(new.netns(), far.address(false)?).await.context("from the new pod, IPv4")?;
    probe::ping(new.netns(), far.address(true)?).await.context("from the new pod, IPv6")?;

    node.agent().kill().await?;
    node.agent().start().await?;
    node.ready(SOON).await.context("after a restart without the API server")?;
    let routes = node.netns().routes().await?;
    for block in &blocks {
        if let Some(lack) = report::lack_of_route(&lab, node, block, &routes) {
            anyhow::bail!("after a restart without the API server: {lack}");
        }
    }
    // Sessions come back, and what the other node kept meanwhile stands, all without the API server.
    lab.sessions_established(SOON).await.context("sessions without the API server")?;
    let other = lab.node(far.node())?;
    wait::until(SOON, "the other node has learned the blocks again", || async {
        let routes = other.netns().routes().await?;
        let lack = blocks.iter().find_map(|block| report::lack_of_route(&lab, other, block, &routes));
        lack.map_or(Ok(()), |lack| Err(NotYet::Again(lack)))
    })
    .await?;
    probe::ping(near.netns(), far.address(false)?).await.context("after the restart, IPv4")?;
    probe::ping(near.netns(), far.address(true)?).await.context("after the restart, IPv6")?;
    node.detach(&new).await.context("DEL without the API server")?;
    let another = node.attach("default", "after-the-restart", "00000000-0000-4000-8000-000000000002").await;
    let another = another.context("ADD after a restart without the API server")?;
    ensure!(another.addresses() != new.addresses(), "a freed address was given out again at once");
    node.detach(&another).await?;

    fault::restore(lab.control()).await?;
    lab.sessions_established(Duration::from_secs(90)).await?;
    lab.blocks_learned(SOON).await?;
    lab.down(&Silent).await
}
