//! The programs of a lab, in the order in which they start: routers, then the cluster.

use futures::future::try_join_all;
use ipnetwork::IpNetwork;

use super::{Lab, START, plural, step};
use crate::show::Progress;
use crate::wait::{self, NotYet};

impl Lab {
    /// The routers, until each has a route to every other's rack.
    pub(super) async fn start_routers(&self, progress: &dyn Progress) -> anyhow::Result<()> {
        let routers = &self.routers;
        let logs = routers.iter().flat_map(|router| router.processes()).map(|one| one.log().to_path_buf());
        let what = format!("router{}: every rack reaches every other", plural(routers.len()));
        step(progress, &what, logs.collect(), async {
            try_join_all(routers.iter().map(|router| router.start(START))).await?;
            let subnets = self.topology.racks.iter().flat_map(|rack| self.topology.subnets(rack));
            let subnets: Vec<IpNetwork> = subnets.collect();
            try_join_all(routers.iter().map(|router| router.has_routes(&subnets, START))).await.map(drop)
        })
        .await
    }

    /// The programs, in the order in which a cluster starts.
    pub(super) async fn start_cluster(&self, progress: &dyn Progress) -> anyhow::Result<()> {
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
            let names = cluster.apply_definitions(&self.sandbox.deploy().join("crds")).await?;
            try_join_all(names.iter().map(|name| cluster.established(name, START))).await?;
            cluster.make_namespaces().await?;
            cluster.apply(&self.sandbox.deploy().join("access.yaml")).await?;
            // What nodes read of the network comes before the nodes.
            cluster.make_network(topology, &self.tunnels).await?;
            let plans = nodes.iter().zip(&topology.nodes);
            let made = plans.map(|(node, plan)| cluster.make_node(node.machine(), plan, topology));
            try_join_all(made).await.map(drop)
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
}
