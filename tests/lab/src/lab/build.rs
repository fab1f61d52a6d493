//! Namespaces, cables, files: everything of a lab that stands still.

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};

use super::{AT_ONCE, Lab, plural, step};
use crate::cluster::Cluster;
use crate::control::Control;
use crate::encapsulation::{self, Kernel};
use crate::machine::Machine;
use crate::node::Node;
use crate::router::Router;
use crate::sandbox::Sandbox;
use crate::segment;
use crate::show::Progress;
use crate::topology::{MachinePlan, Topology};
use crate::witness;

/// Every machine, cabled.
struct Machines {
    control: Machine,
    outside: Machine,
    routers: Vec<Machine>,
    nodes: Vec<Machine>,
}

impl Lab {
    pub(super) async fn build(
        sandbox: Sandbox,
        topology: Topology,
        progress: &dyn Progress,
    ) -> anyhow::Result<Self> {
        let (nodes, racks) = (topology.nodes.len(), topology.racks.len());
        let what = format!(
            "network namespaces: {nodes} node{} in {racks} rack{}, router{}, control plane, outside",
            plural(nodes),
            plural(racks),
            plural(racks)
        );
        let lab = step(progress, &what, Vec::new(), async {
            let tunnels = encapsulation::decide(&topology, Kernel::probe().await?)?;
            segment::make(&topology).await?;
            let machines = Machines::make(&topology, &sandbox).await?;
            let control = Control::install(machines.control, &sandbox)?;
            let routers = machines.routers.into_iter().zip(&topology.racks);
            let routers = routers.map(|(machine, rack)| Router::install(machine, &topology, rack, &sandbox));
            let routers = routers.collect::<anyhow::Result<_>>()?;
            let nodes = machines.nodes.into_iter();
            let nodes = nodes.map(|machine| Node::install(machine, &sandbox, control.agents_kubeconfig()));
            let nodes = nodes.collect::<anyhow::Result<_>>()?;
            let cluster = Cluster::at(control.server())?;
            let outside = machines.outside;
            witness::start(outside.netns()).await?;
            Ok(Self {
                sandbox,
                topology,
                tunnels,
                control,
                routers,
                outside,
                nodes,
                pods: Vec::new(),
                cluster,
            })
        })
        .await?;
        lab.write_index()?;
        if let Some(notice) = &lab.tunnels.notice {
            progress.notice(notice);
        }
        if lab.topology.writes_neighbours_down() {
            progress.notice(
                "neighbours in racks are written down, not discovered: the kernel's table is shared by all namespaces",
            );
        }
        Ok(lab)
    }
}

impl Machines {
    async fn make(topology: &Topology, sandbox: &Sandbox) -> anyhow::Result<Self> {
        let state = sandbox.state();
        // The first one alone: `ip netns add` prepares the folder of names when it first runs.
        let control = topology.control().context("there is no rack for the control plane")?;
        let control = Machine::make(control, state).await?;
        let nodes = topology.nodes.iter().map(|node| topology.machine(node).context("a node is in no rack"));
        let nodes = nodes.collect::<anyhow::Result<Vec<MachinePlan>>>()?;
        let routers = topology.racks.iter().map(|rack| topology.router(rack));
        let plans: Vec<MachinePlan> = [topology.outside()].into_iter().chain(routers).chain(nodes).collect();
        let made = stream::iter(plans).map(|plan| Machine::make(plan, state)).buffered(AT_ONCE);
        let mut made: Vec<Machine> = made.try_collect().await?;
        let nodes = made.split_off(1 + topology.racks.len());
        let routers = made.split_off(1);
        let outside = made.pop().context("the outside host was not made")?;
        Ok(Self { control, outside, routers, nodes })
    }
}
