//! Two thousand ADDs and DELs at random on four nodes, while everything happens that may.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use caracal_api::{DEFAULT_NAME, IpamConfig, IpamConfigSpec};
use caracal_lab::probe::{self, Source, Target};
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Pod, Sandbox, Topology, Unwired};
use futures::future::try_join_all;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::watch;

use crate::books::{self, Books};
use crate::trouble::{self, Random};

/// ADDs and DELs that succeed, on each of the four nodes …
const EACH: u64 = 500;
/// … or what a slow machine gets done within this time …
const LONG_ENOUGH: Duration = Duration::from_secs(75);
/// … if it is not too little to say anything.
const LEAST: u64 = 50;
/// Most pods of a node at a time.
const MOST: usize = 24;
/// For everything together.
const LONG: Duration = Duration::from_secs(150);
/// For the cluster to be whole again; an agent publishes what it has given some ten seconds later, or up to half a
/// minute after a failure.
const SOON: Duration = Duration::from_secs(110);
/// Between a refusal and the next attempt, as runtimes wait, though shorter.
const RETRY: Duration = Duration::from_millis(50);
/// The seed of all that is random here.
const SEED: u64 = 20_261;

/// A DEL that did not succeed yet, and that a runtime would try again.
enum Owed {
    Leaving(Pod),
    Failed(Unwired),
}

/// What became of the attempts of all nodes.
#[derive(Debug, Default)]
struct Tally {
    added: AtomicU64,
    deleted: AtomicU64,
    refused: AtomicU64,
}

/// One node's pods, and what is owed.
struct Churn<'a> {
    node: &'a Node,
    books: &'a Books,
    tally: &'a Tally,
    pods: Vec<Pod>,
    owed: Vec<Owed>,
    made: u64,
}

impl Churn<'_> {
    async fn run(&mut self, mut random: Random) -> anyhow::Result<()> {
        let (mut done, begin) = (0, Instant::now());
        while done < EACH && begin.elapsed() < LONG_ENOUGH {
            let few = self.pods.is_empty() || (self.pods.len() < MOST && random.below(2) == 0);
            let good = if few {
                self.add().await?
            } else {
                let pod = self.pods.swap_remove(random.below(self.pods.len()));
                self.settle(Owed::Leaving(pod)).await?
            };
            if good {
                done += 1;
            } else {
                self.tally.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(RETRY).await;
            }
            if let Some(owed) = self.owed.pop() {
                done += u64::from(self.settle(owed).await?);
            }
        }
        ensure!(done >= LEAST, "only {done} ADDs and DELs succeeded on {}", self.node.name());
        Ok(())
    }

    /// One ADD; whether it succeeded.
    async fn add(&mut self) -> anyhow::Result<bool> {
        self.made += 1;
        let name = format!("{}-{}", self.node.name(), self.made);
        let uid = format!("00000000-0000-4000-8000-{:012}", self.made);
        let unwired = self.node.prepare("default", &name, &uid).await?;
        match self.node.wire(&unwired).await {
            Ok(pod) => {
                self.books.take(&pod)?;
                self.pods.push(pod);
                self.tally.added.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Err(_) => {
                self.owed.push(Owed::Failed(unwired));
                Ok(false)
            }
        }
    }

    /// One DEL; whether it succeeded. Of a pod that had come up, it counts.
    async fn settle(&mut self, owed: Owed) -> anyhow::Result<bool> {
        let outcome = match &owed {
            Owed::Leaving(pod) => self.node.detach(pod).await,
            Owed::Failed(unwired) => self.node.unwire(unwired).await,
        };
        match (outcome, owed) {
            (Ok(()), Owed::Leaving(pod)) => {
                self.books.leave(&pod)?;
                self.tally.deleted.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            (Ok(()), Owed::Failed(_)) => Ok(false),
            (Err(_), owed) => {
                self.owed.push(owed);
                Ok(false)
            }
        }
    }

    /// Every DEL that is owed, now that nothing stands in the way.
    async fn settle_all(&mut self) -> anyhow::Result<()> {
        for owed in std::mem::take(&mut self.owed) {
            self.settle(owed).await?;
        }
        let left = self.owed.len();
        ensure!(left == 0, "{left} DELs on {} fail although everything is whole", self.node.name());
        Ok(())
    }
}

pub(crate) async fn pods_come_and_go_through_crashes_and_outages_and_no_address_is_given_twice_or_lost(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::racks_of_nodes(2, 4, 0), &Silent).await?;
    // A short rest, so that addresses are given out again and again.
    let spec = IpamConfigSpec { ip_cooldown_seconds: 1, ..IpamConfigSpec::default() };
    let configs: Api<IpamConfig> = Api::all(lab.cluster().client());
    configs.create(&PostParams::default(), &IpamConfig::new(DEFAULT_NAME, spec)).await?;

    let (books, tally) = (Books::default(), Tally::default());
    let churn =
        |node| Churn { node, books: &books, tally: &tally, pods: Vec::new(), owed: Vec::new(), made: 0 };
    let mut nodes: Vec<Churn<'_>> = lab.nodes().iter().map(churn).collect();
    let (end, over) = watch::channel(false);
    let work = async {
        let runs = nodes.iter_mut().zip(SEED..).map(|(churn, seed)| churn.run(Random(seed)));
        let outcome = tokio::time::timeout(LONG, try_join_all(runs)).await;
        end.send(true).context("the trouble has ended without a word")?;
        outcome.with_context(|| format!("so far: {tally:?}"))?.map(drop)
    };
    let (work, trouble) = tokio::join!(work, trouble::make(&lab, SEED, over));
    work?;
    let (rounds, killed) = trouble?;
    println!("{tally:?}, {rounds} rounds of trouble, {killed} agents killed");
    ensure!(rounds >= 6 && killed >= 3, "too little trouble: {rounds} rounds, {killed} agents killed");

    for node in lab.nodes() {
        node.ready(SOON).await?;
    }
    for churn in &mut nodes {
        churn.settle_all().await?;
    }
    accounts_agree(&lab, &books).await?;
    reach_all(&lab, &nodes).await?;

    for churn in &mut nodes {
        let pods = std::mem::take(&mut churn.pods);
        churn.owed.extend(pods.into_iter().map(Owed::Leaving));
        churn.settle_all().await?;
    }
    ensure!(books.held()?.is_empty(), "the books are not empty: {:?}", books.held()?);
    accounts_agree(&lab, &books).await?;
    lab.down(&Silent).await
}

/// The blocks in the API, the kernels and the runtimes agree on who holds what.
async fn accounts_agree(lab: &Lab, books: &Books) -> anyhow::Result<()> {
    for node in lab.nodes() {
        wait::until(SOON, "the kernel has the routes of all pods and no other", || async {
            books::check_kernel(node, &books.held()?)
                .await
                .map_err(|error| NotYet::because(error.to_string()))
        })
        .await?;
    }
    let agreed = wait::until(SOON, "the blocks record who holds what", || async {
        books::compare(lab, books).await?.map_or(Ok(()), |words| Err(NotYet::because(words)))
    })
    .await;
    if agreed.is_err() {
        for node in lab.nodes() {
            println!("{}: {:#}", node.name(), node.ctl(&["ipam", "show"]).await?);
        }
    }
    agreed
}

/// Every node reaches every pod of every node.
async fn reach_all(lab: &Lab, nodes: &[Churn<'_>]) -> anyhow::Result<()> {
    lab.sessions_established(SOON).await?;
    lab.blocks_learned(SOON).await?;
    let sources: Vec<Source> = lab
        .nodes()
        .iter()
        .map(|node| Source { label: node.name().to_owned(), netns: node.netns().clone() })
        .collect();
    let pods = nodes.iter().flat_map(|churn| &churn.pods);
    let targets: Vec<Target> = pods
        .flat_map(|pod| pod.addresses().iter().map(|address| (pod.name(), *address)))
        .map(|(name, address)| Target { label: name.to_owned(), address })
        .collect();
    ensure!(!targets.is_empty(), "no pod is left to be pinged");
    let cells = probe::matrix(&sources, &targets).await?;
    let failed: Vec<_> = cells.iter().filter(|cell| cell.failure.is_some()).collect();
    ensure!(failed.is_empty(), "not reached: {failed:#?}");
    Ok(())
}
