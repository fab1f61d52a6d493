//! Building a lab, step by step, each step with a deadline and with the logs that explain its failure.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::try_join_all;

use crate::cluster::Cluster;
use crate::control::Control;
use crate::machine::Machine;
use crate::node::Node;
use crate::pod::Pod;
use crate::rack::Rack;
use crate::report;
use crate::sandbox::{STATE, Sandbox};
use crate::show::Progress;
use crate::topology::{CONTROL, Topology};
use crate::wait::{self, NotYet};

/// For a program to come up on a busy machine.
const START: Duration = Duration::from_secs(30);
/// For the mesh to come up: several connect-retry times.
const MESH: Duration = Duration::from_secs(90);
/// From SIGTERM to the end of a program.
const STOP: Duration = Duration::from_secs(10);

/// A running lab. Dropping it kills its programs; the namespaces go with process 1.
#[derive(Debug)]
pub struct Lab {
    sandbox: Sandbox,
    topology: Topology,
    racks: Vec<Rack>,
    control: Control,
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
        let mut lab = Self::build(sandbox, topology, progress).await?;
        lab.start(progress).await?;
        lab.make_pods(progress).await?;
        lab.converge(progress).await?;
        Ok(lab)
    }

    /// Namespaces, cables, files: everything that stands still.
    async fn build(sandbox: Sandbox, topology: Topology, progress: &dyn Progress) -> anyhow::Result<Self> {
        let what = format!(
            "network namespaces: {} node{} and the control plane in {} rack{}",
            topology.nodes.len(),
            plural(topology.nodes.len()),
            topology.racks.len(),
            plural(topology.racks.len())
        );
        let build = async {
            let mut racks = Vec::new();
            for plan in &topology.racks {
                racks.push(Rack::make(plan).await?);
            }
            let rack =
                |index: usize| racks.get(index).with_context(|| format!("the topology has no rack {index}"));
            let machine = Machine::make("control", rack(0)?, CONTROL, sandbox.state()).await?;
            let control = Control::install(machine, &sandbox)?;
            let mut nodes = Vec::new();
            for plan in &topology.nodes {
                let machine = Machine::make(&plan.name, rack(plan.rack)?, plan.host, sandbox.state()).await?;
                nodes.push(Node::install(machine, &sandbox, control.kubeconfig())?);
            }
            let cluster = Cluster::at(control.server())?;
            Ok((racks, control, nodes, cluster))
        };
        let (racks, control, nodes, cluster) = step(progress, &what, Vec::new(), build).await?;
        let lab = Self { sandbox, topology, racks, control, nodes, pods: Vec::new(), cluster };
        lab.write_index()?;
        Ok(lab)
    }

    /// The programs, in the order in which a cluster starts.
    async fn start(&self, progress: &dyn Progress) -> anyhow::Result<()> {
        let Self { control, cluster, nodes, topology, .. } = self;
        let api_log = vec![control.api().log().to_path_buf()];
        let what = format!("API server on {}", control.server());
        step(progress, &what, api_log.clone(), async {
            control.api().start().await?;
            wait::until(START, "the API server answers", || async {
                control.api().must_live().await?;
                cluster.answers().await.map_err(NotYet::from)
            })
            .await
        })
        .await?;

        let what = "definitions, Nodes, pools: what an administrator and the kubelets write";
        step(progress, what, api_log.clone(), async {
            let names = cluster.apply_definitions(self.sandbox.crds()).await?;
            try_join_all(names.iter().map(|name| cluster.established(name, START))).await?;
            cluster.make_namespaces().await?;
            for (node, plan) in nodes.iter().zip(&topology.nodes) {
                let rack = self.racks.get(plan.rack).with_context(|| format!("no rack {}", plan.rack))?;
                cluster.make_node(node.machine(), rack.plan()).await?;
            }
            cluster.make_network(&topology.pools).await
        })
        .await?;

        let controller = control.controller();
        let logs = vec![controller.log().to_path_buf(), control.api().log().to_path_buf()];
        step(progress, "controller: elected, pools found allocatable", logs, async {
            controller.start().await?;
            wait::until(START, "the controller is elected", || async {
                controller.must_live().await?;
                let holder = cluster.lease_holder().await?;
                holder.map(drop).ok_or_else(|| NotYet::because("no Lease has a holder"))
            })
            .await?;
            wait::until(START, "every pool is Allocatable", || async {
                controller.must_live().await?;
                let pools = cluster.pools().await?;
                match pools.iter().find(|pool| !pool.is_allocatable()) {
                    None => Ok(()),
                    Some(pool) => Err(NotYet::because(format!(
                        "{} is not: {:?}",
                        pool.metadata.name.as_deref().unwrap_or_default(),
                        pool.status
                    ))),
                }
            })
            .await
        })
        .await?;

        let what = format!("agents: {} started, ready for pods", nodes.len());
        step(progress, &what, self.agent_logs(), async {
            try_join_all(nodes.iter().map(|node| node.agent().start())).await?;
            try_join_all(nodes.iter().map(|node| node.ready(START))).await?;
            Ok(())
        })
        .await
    }

    async fn make_pods(&mut self, progress: &dyn Progress) -> anyhow::Result<()> {
        let each = self.topology.pods_per_node;
        let what = format!("pods: {each} per node, wired by the plugin");
        let pods = step(progress, &what, self.agent_logs(), async {
            let mut pods = Vec::new();
            for node in &self.nodes {
                for number in 1..=each {
                    pods.push(self.add_pod(node.name(), &format!("{}-p{number}", node.name())).await?);
                }
            }
            Ok(pods)
        })
        .await?;
        self.pods = pods;
        Ok(())
    }

    async fn converge(&self, progress: &dyn Progress) -> anyhow::Result<()> {
        let (nodes, logs) = (&self.nodes, self.agent_logs());
        let count = nodes.len() * nodes.len().saturating_sub(1) / 2;
        let what = format!("BGP: {count} session{} Established", plural(count));
        step(progress, &what, logs.clone(), self.sessions_established(MESH)).await?;
        step(progress, "routes: every node has learned every block", logs, self.blocks_learned(START)).await
    }

    /// Waits until every node's sessions with all others are Established.
    pub async fn sessions_established(&self, deadline: Duration) -> anyhow::Result<()> {
        let expected = self.nodes.len().saturating_sub(1);
        let waits = self.nodes.iter().map(|node| {
            let what = format!("{} has {expected} Established peers", node.name());
            async move {
                wait::until(deadline, &what, || async {
                    node.agent().must_live().await?;
                    let peers = report::peers(node).await?;
                    let up = peers.iter().filter(|peer| peer.is_established()).count();
                    if up == expected && peers.len() == expected {
                        return Ok(());
                    }
                    let states: Vec<String> = peers.iter().map(report::Peer::in_short).collect();
                    Err(NotYet::because(format!("{up} of {} peers: {}", peers.len(), states.join("; "))))
                })
                .await
            }
        });
        try_join_all(waits).await.map(drop)
    }

    /// Waits until every node's kernel has a route to every block of every other node, through its owner.
    pub async fn blocks_learned(&self, deadline: Duration) -> anyhow::Result<()> {
        wait::until(deadline, "every node has a route to every block", || async {
            for node in &self.nodes {
                node.agent().must_live().await?;
            }
            let blocks = report::blocks(&self.cluster).await?;
            for node in &self.nodes {
                let routes = node.netns().routes().await?;
                for block in &blocks {
                    if let Some(lack) = report::lack_of_route(self, node, block, &routes) {
                        return Err(NotYet::Again(lack));
                    }
                }
            }
            Ok(())
        })
        .await
    }

    /// Fails, with its log, when one of the programs has ended by itself.
    pub async fn all_live(&self) -> anyhow::Result<()> {
        let agents = self.nodes.iter().map(Node::agent);
        for process in agents.chain([self.control.controller(), self.control.api()]) {
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
    pub async fn down(self, progress: &dyn Progress) -> anyhow::Result<()> {
        step(progress, "teardown: pods unwired", self.agent_logs(), async {
            for pod in &self.pods {
                self.delete_pod(pod).await?;
            }
            for node in &self.nodes {
                let left = node.netns().links().await?;
                if let Some(link) = left.iter().find(|link| link.ifname.starts_with("cali")) {
                    bail!("{} is still on {} after every pod was removed", link.ifname, node.name());
                }
            }
            Ok(())
        })
        .await?;
        step(progress, "teardown: programs ended", self.all_logs(), async {
            let agents = self.nodes.iter().map(Node::agent);
            for process in agents.chain([self.control.controller(), self.control.api()]) {
                process.terminate(STOP).await?;
            }
            Ok(())
        })
        .await
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> anyhow::Result<&Node> {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.with_context(|| format!("the lab has no node {name}"))
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

    /// The racks.
    pub fn racks(&self) -> &[Rack] {
        &self.racks
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
        let mut logs = self.agent_logs();
        logs.extend(
            [self.control.controller(), self.control.api()].map(|process| process.log().to_path_buf()),
        );
        logs
    }

    /// Leaves a note for `caracal-lab exec`: how to enter each machine.
    fn write_index(&self) -> anyhow::Result<()> {
        let machines = self.nodes.iter().map(Node::machine).chain([self.control.machine()]);
        let index: std::collections::BTreeMap<&str, Vec<String>> =
            machines.map(|machine| (machine.name(), machine.netns().way_in())).collect();
        let path = format!("{STATE}/{}", crate::enter::INDEX);
        let text = serde_json::to_string(&index).context("writing the index of machines")?;
        std::fs::write(&path, text).with_context(|| format!("writing {path}"))
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
