//! A pool is split in a living cluster: pods run, come and go all the while, and nothing has to be made anew.

use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_api::IpPool;
use caracal_lab::report;
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Sandbox, Topology};
use futures::future::try_join_all;
use tokio::sync::watch;

use crate::books::{self, Books};

/// For what the agents write some ten seconds later, or up to half a minute after a failure.
const SOON: Duration = Duration::from_secs(110);
/// ADDs on each node after the split, before the churn ends.
const AFTER: u32 = 3;

pub(crate) async fn a_pool_is_split_while_pods_run_and_come_and_none_of_them_notices(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 2), &Silent).await?;
    let books = Books::default();
    for pod in lab.pods() {
        books.take(pod)?;
    }
    let whole = pools(&lab).await?.into_iter().next().context("the lab has no pool for IPv4")?;
    let (name, uid) = (whole.metadata.name.context("a pool without a name")?, whole.metadata.uid);
    let before = blocks(&lab).await?;

    let (end, over) = watch::channel(false);
    let split = async {
        let kubeconfig = lab.control().kubeconfig().display().to_string();
        let node = lab.nodes().first().context("the lab has no node")?;
        let told = node.ctl(&["ipam", "split", "2", "--name", &name, "--kubeconfig", &kubeconfig]).await;
        end.send(true).context("the churn has ended without a word")?;
        let told = told?;
        ensure!(told["blocks"] == before.len(), "{} blocks lay inside: {told}", before.len());
        anyhow::Ok(())
    };
    let churn = try_join_all(lab.nodes().iter().map(|node| churn(node, &books, over.clone())));
    let (split, added) = tokio::join!(split, churn);
    split?;
    println!("ADDs while the pool was split, by node: {:?}", added?);

    let parts = pools(&lab).await?;
    let names: Vec<&str> = parts.iter().filter_map(|pool| pool.metadata.name.as_deref()).collect();
    ensure!(names == [format!("split-{name}-0"), format!("split-{name}-1")], "the pools are {names:?}");
    ensure!(parts.iter().all(|part| part.metadata.uid != uid && part.is_allocatable()), "{parts:?}");

    // The blocks are the same, and say in which part they lie.
    wait::until(SOON, "every block names the pool that holds it", || async {
        let now = blocks(&lab).await?;
        let lost: Vec<_> =
            before.iter().filter(|(block, ..)| !now.iter().any(|(n, ..)| n == block)).collect();
        let strange = now.iter().find(|(_, cidr, pool)| {
            let holds = |part: &&IpPool| {
                part.metadata.name.as_ref() == Some(pool)
                    && part.spec.network().is_some_and(|range| range.contains(*cidr))
            };
            !parts.iter().any(|part| holds(&part))
        });
        match (lost.first(), strange) {
            (None, None) => Ok(()),
            (Some(lost), _) => Err(NotYet::Never(anyhow::anyhow!("{} was given up", lost.0))),
            (None, Some((block, _, pool))) => Err(NotYet::because(format!("{block} says pool {pool}"))),
        }
    })
    .await?;
    wait::until(SOON, "the blocks record who holds what", || async {
        books::compare(&lab, &books).await?.map_or(Ok(()), |words| Err(NotYet::because(words)))
    })
    .await?;

    // Pods of before are reached as before.
    lab.blocks_learned(SOON).await?;
    let cells = report::ping_all(&lab).await?;
    let failed: Vec<_> = cells.iter().filter(|cell| cell.failure.is_some()).collect();
    ensure!(failed.is_empty(), "not reached: {failed:#?}");
    lab.down(&Silent).await
}

/// Pods come and go one after the other until the pool has been split, and some more: every ADD and DEL succeeds.
async fn churn(node: &Node, books: &Books, over: watch::Receiver<bool>) -> anyhow::Result<u32> {
    let (mut made, mut after) = (0, 0);
    while after < AFTER {
        after += u32::from(*over.borrow());
        made += 1;
        let (name, uid) = (format!("{}-{made}", node.name()), format!("00000000-0000-4000-8000-{made:012}"));
        let pod = node.attach("default", &name, &uid).await.context("an ADD beside the split")?;
        books.take(&pod)?;
        node.detach(&pod).await.context("a DEL beside the split")?;
        books.leave(&pod)?;
    }
    Ok(made)
}

/// The pools for IPv4, in order of name.
async fn pools(lab: &Lab) -> anyhow::Result<Vec<IpPool>> {
    let all = lab.cluster().pools().await?;
    let mut of_v4: Vec<IpPool> =
        all.into_iter().filter(|pool| pool.spec.network().is_some_and(|range| range.is_ipv4())).collect();
    of_v4.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    Ok(of_v4)
}

/// The blocks for IPv4: name, first address, pool.
async fn blocks(lab: &Lab) -> anyhow::Result<Vec<(String, std::net::IpAddr, String)>> {
    let all = lab.cluster().blocks().await?;
    let told = |block: caracal_api::IpamBlock| {
        let cidr: ipnetwork::IpNetwork = block.spec.cidr.parse().ok()?;
        cidr.is_ipv4().then(|| (block.metadata.name.unwrap_or_default(), cidr.ip(), block.spec.pool))
    };
    Ok(all.into_iter().filter_map(told).collect())
}
