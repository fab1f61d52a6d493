//! Building a lab, step by step, each step with a deadline and with the logs that explain its failure.

mod build;
mod converge;
mod start;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};

use crate::cluster::Cluster;
use crate::control::Control;
use crate::encapsulation::Tunnels;
use crate::machine::Machine;
use crate::node::Node;
use crate::pod::Pod;
use crate::process::Process;
use crate::router::Router;
use crate::sandbox::{STATE, Sandbox};
use crate::show::Progress;
use crate::topology::Topology;
use crate::wait::NotYet;

/// For a program to come up on a machine that is busy with much else.
const START: Duration = Duration::from_secs(120);
/// From SIGTERM to the end of a program.
const STOP: Duration = Duration::from_secs(10);
/// Machines or pods that are made at a time: enough to fill two processors with what mostly waits for the kernel.
const AT_ONCE: usize = 8;

/// A running lab. Dropping it kills its programs; the namespaces go with process 1.
#[derive(Debug)]
pub struct Lab {
    sandbox: Sandbox,
    topology: Topology,
    tunnels: Tunnels,
    control: Control,
    routers: Vec<Router>,
    outside: Machine,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    cluster: Cluster,
}

/// A step that failed, and the logs of the parts concerned.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the step `{step}` failed")]
pub struct StepFailed {
    /// What was being done.
    pub step: String,
    /// Where to look.
    pub logs: Vec<PathBuf>,
}

/// Runs one step, telling `progress` and naming the logs on failure.
async fn step<T>(
    progress: &dyn Progress,
    what: &str,
    logs: Vec<PathBuf>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    progress.begin(what);
    match work.await {
        Ok(value) => {
            progress.done();
            Ok(value)
        }
        Err(error) => {
            progress.failed();
            Err(error.context(StepFailed { step: what.to_owned(), logs }))
        }
    }
}

impl Lab {
    /// Builds all that the topology says, and returns when every pod has its addresses, every session is Established
    /// and every node has a route to every block.
    pub async fn up(sandbox: Sandbox, topology: Topology, progress: &dyn Progress) -> anyhow::Result<Self> {
        topology.check().context("this topology cannot work")?;
        let mut lab = Self::build(sandbox, topology, progress).await?;
        lab.start_routers(progress).await?;
        lab.start_cluster(progress).await?;
        lab.make_pods(progress).await?;
        lab.converge(progress).await?;
        Ok(lab)
    }

    async fn make_pods(&mut self, progress: &dyn Progress) -> anyhow::Result<()> {
        let each = self.topology.pods_per_node;
        let what = format!("pods: {each} per node, wired by the plugin");
        let pods = step(progress, &what, self.agent_logs(), async {
            // One after the other on a node, as a kubelet starts them; the nodes side by side.
            let lab = &*self;
            let nodes = lab.nodes.iter().map(|node| async move {
                let mut pods = Vec::new();
                for number in 1..=each {
                    pods.push(lab.add_pod(node.name(), &format!("{}-p{number}", node.name())).await?);
                }
                anyhow::Ok(pods)
            });
            stream::iter(nodes).buffered(AT_ONCE).try_collect::<Vec<_>>().await
        })
        .await?;
        self.pods = pods.into_iter().flatten().collect();
        Ok(())
    }

    /// Fails, with its log, when one of the programs has ended by itself.
    pub async fn all_live(&self) -> anyhow::Result<()> {
        for process in self.processes() {
            if let Err(NotYet::Never(error)) = process.must_live().await {
                let logs = vec![process.log().to_path_buf()];
                return Err(error.context(StepFailed { step: "keeping the lab up".into(), logs }));
            }
        }
        Ok(())
    }

    /// Makes a pod: its object in the API, its namespace and wiring on the node, its status.
    pub async fn add_pod(&self, node: &str, name: &str) -> anyhow::Result<Pod> {
        let uid = self.cluster.make_pod("default", name, node).await?;
        let pod = self.node(node)?.attach("default", name, &uid).await?;
        self.cluster.pod_is_running(&pod).await?;
        Ok(pod)
    }

    /// Removes a pod: DEL by the plugin, then its object.
    pub async fn delete_pod(&self, pod: &Pod) -> anyhow::Result<()> {
        self.node(pod.node())?.detach(pod).await?;
        self.cluster.delete_pod(pod.namespace(), pod.name()).await
    }

    /// Removes the pods, asks every program to end, and tells what did not.
    pub async fn down(&self, progress: &dyn Progress) -> anyhow::Result<()> {
        step(progress, "teardown: pods unwired", self.agent_logs(), async {
            stream::iter(&self.pods)
                .map(|pod| self.delete_pod(pod))
                .buffer_unordered(AT_ONCE)
                .try_collect::<Vec<()>>()
                .await?;
            for node in &self.nodes {
                let left = node.netns().links().await?;
                if let Some(link) = left.iter().find(|link| link.ifname.starts_with("cali")) {
                    bail!("{} is still on {} after every pod was removed", link.ifname, node.name());
                }
            }
            Ok(())
        })
        .await?;
        let api_log = vec![self.control.api().log().to_path_buf()];
        let what = "teardown: nothing was asked of the API that deploy/ does not allow";
        step(progress, what, api_log, self.control.refused_nothing()).await?;
        step(progress, "teardown: programs ended", self.all_logs(), async {
            let agents = self.nodes.iter().map(Node::agent);
            let cluster = agents.chain([self.control.controller(), self.control.api()]);
            try_join_all(cluster.map(|process| process.terminate(STOP))).await?;
            try_join_all(self.routers.iter().map(|router| router.terminate(STOP))).await.map(drop)
        })
        .await
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        self.sandbox.name()
    }

    /// The folder of the product's programs, as seen inside.
    pub fn programs(&self) -> &Path {
        self.sandbox.programs()
    }

    /// The folder of the manifests, as seen inside.
    pub fn deploy(&self) -> &Path {
        self.sandbox.deploy()
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> anyhow::Result<&Node> {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.with_context(|| format!("the lab has no node {name}"))
    }

    /// A router by its name.
    pub fn router(&self, name: &str) -> anyhow::Result<&Router> {
        let found = self.routers.iter().find(|router| router.name() == name);
        found.with_context(|| format!("the lab has no router {name}"))
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The pods made by [`Lab::up`].
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// The control plane.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The API.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The routers, in the order of their racks.
    pub fn routers(&self) -> &[Router] {
        &self.routers
    }

    /// The host outside the cluster, on the routers' spine.
    pub fn outside(&self) -> &Machine {
        &self.outside
    }

    /// The tunnels between racks.
    pub fn tunnels(&self) -> &Tunnels {
        &self.tunnels
    }

    /// Every machine, whatever it is for.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        let nodes = self.nodes.iter().map(Node::machine);
        nodes.chain(self.routers.iter().map(Router::machine)).chain([self.control.machine(), &self.outside])
    }

    /// Every long-running program.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let cluster = [self.control.api(), self.control.controller()];
        let routers = self.routers.iter().flat_map(Router::processes);
        cluster.into_iter().chain(routers).chain(self.nodes.iter().map(Node::agent))
    }

    /// What it was built from.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The folder of all logs.
    pub fn logs(&self) -> PathBuf {
        self.sandbox.logs()
    }

    fn agent_logs(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| node.agent().log().to_path_buf()).collect()
    }

    fn all_logs(&self) -> Vec<PathBuf> {
        self.processes().map(|process| process.log().to_path_buf()).collect()
    }

    /// Leaves a note for `caracal-lab exec`: how to enter each machine.
    fn write_index(&self) -> anyhow::Result<()> {
        let index: std::collections::BTreeMap<&str, Vec<String>> =
            self.machines().map(|machine| (machine.name(), machine.netns().way_in())).collect();
        let path = format!("{STATE}/{}", crate::enter::INDEX);
        let text = serde_json::to_string(&index).context("writing the index of machines")?;
        std::fs::write(&path, text).with_context(|| format!("writing {path}"))
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
