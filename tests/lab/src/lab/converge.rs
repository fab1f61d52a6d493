//! Waiting until a lab has settled: sessions up, blocks learned.

use std::time::Duration;

use futures::future::try_join_all;
use ipnetwork::IpNetwork;

use super::{Lab, START, plural, step};
use crate::report;
use crate::show::Progress;
use crate::wait::{self, NotYet};

/// For the sessions to come up: several connect-retry times.
const MESH: Duration = Duration::from_secs(90);

impl Lab {
    pub(super) async fn converge(&self, progress: &dyn Progress) -> anyhow::Result<()> {
        let logs = self.agent_logs();
        let expected = self.topology.nodes.iter().map(|node| self.topology.sessions_of(node));
        let ends: usize = expected.sum();
        // A session between nodes has two ends on nodes, one with a router has one.
        let count = if self.topology.design.tells_routers() { ends } else { ends / 2 };
        let what = format!("BGP: {count} session{} Established", plural(count));
        step(progress, &what, logs.clone(), self.sessions_established(MESH)).await?;
        step(progress, "routes: every node has learned every block", logs, self.blocks_learned(START)).await
    }

    /// Waits until every node's sessions are Established.
    pub async fn sessions_established(&self, deadline: Duration) -> anyhow::Result<()> {
        let waits = self.nodes.iter().zip(&self.topology.nodes).map(|(node, plan)| async move {
            let expected = self.topology.sessions_of(plan);
            let what = format!("{} has {expected} Established peer{}", node.name(), plural(expected));
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
        });
        try_join_all(waits).await.map(drop)
    }

    /// Waits until every node's kernel has a route to every block of every other node, through its owner, and, where
    /// nodes tell routers about pods, every router's kernel has one too.
    pub async fn blocks_learned(&self, deadline: Duration) -> anyhow::Result<()> {
        let nodes = self.nodes.iter().map(|node| async move {
            let what = format!("{} has a route to every block", node.name());
            wait::until(deadline, &what, || async {
                node.agent().must_live().await?;
                let blocks = report::blocks(&self.cluster).await?;
                let routes = node.netns().routes().await?;
                let lack = blocks.iter().find_map(|block| report::lack_of_route(self, node, block, &routes));
                lack.map_or(Ok(()), |lack| Err(NotYet::Again(lack)))
            })
            .await
        });
        try_join_all(nodes).await?;
        if self.topology.design.tells_routers() {
            let blocks = report::blocks(&self.cluster).await?;
            let blocks: Vec<IpNetwork> = blocks.iter().map(|block| block.cidr).collect();
            try_join_all(self.routers.iter().map(|router| router.has_routes(&blocks, deadline))).await?;
        }
        Ok(())
    }
}
