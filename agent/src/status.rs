//! How this node fares: one reading of all owners, told alike by conditions, metrics, health and `caracalctl`.

mod data_path;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use caracal_api::IpPool;
use caracal_api::conditions::{self, Verdict};
use caracal_bgp::bfd::State as BfdState;
use caracal_bgp::speaker::Handle;
use caracal_linux::features::Features;
use caracal_linux::kernel::Kernel;
use caracal_linux::nft::Standing;
use ipnetwork::IpNetwork;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::attachments::Journal;
use crate::cluster::Cluster;
use crate::controller::pool_status::LOW;
use crate::desired::peers::Problem;
use crate::desired::routes::NotInstalled;
use crate::desired::surroundings::Surroundings;
use crate::ipam::Ipam;
use crate::kernel::routes::NotInstalledRoutes;
use crate::node::FactsReceiver;

/// Everyone who is asked.
#[derive(Clone)]
pub struct StatusSources {
    /// Sessions.
    pub speaker: Handle,
    /// Blocks.
    pub ipam: Ipam,
    /// Attachments.
    pub journal: Journal,
    /// Routes.
    pub kernel: Kernel,
    /// The API server's objects.
    pub cluster: Cluster,
    /// This node.
    pub facts: FactsReceiver,
    /// What the speaker's configuration had to leave out.
    pub problems: watch::Receiver<Arc<Vec<Problem>>>,
    /// Best routes that are not in the kernel.
    pub not_installed: NotInstalledRoutes,
    /// What the kernel can do.
    pub features: Arc<Features>,
    /// What is asked of it.
    pub surroundings: watch::Receiver<Arc<Surroundings>>,
    /// The MTU of new pods, in bytes.
    pub pod_mtu: watch::Receiver<u32>,
    /// How the nftables table stands; none without nftables.
    pub nftables: Option<watch::Receiver<Arc<Standing>>>,
}

/// One reading.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// `Ready` and the others, sorted by type.
    pub conditions: Vec<Verdict>,
    /// Every peer.
    pub peers: Vec<PeerSummary>,
    /// Pods wired.
    pub attachments: usize,
    /// Blocks owned.
    pub blocks: usize,
    /// Best routes that are not in the kernel.
    pub not_installed: BTreeMap<IpNetwork, NotInstalled>,
    /// How many of the objects that are not in the kernel as wanted have which reason; of many the first hundred count.
    pub refused: BTreeMap<String, usize>,
    /// Every pool, as the controller last counted it.
    pub pools: Vec<PoolSummary>,
}

/// A pool, as far as the controller has counted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSummary {
    /// Its name.
    pub name: String,
    /// Blocks claimed inside it, in the whole cluster.
    pub blocks: i64,
    /// Addresses of it in use, in the whole cluster.
    pub used: i64,
    /// Whether few of its blocks are left (condition `Low`).
    pub low: bool,
}

impl PoolSummary {
    /// What a pool's status says; `None` before the controller has looked at it.
    fn of(pool: &IpPool) -> Option<Self> {
        let status = pool.status.as_ref()?;
        let low = status.conditions.iter().any(|c| c.type_ == LOW && c.status == "True");
        Some(Self { name: pool.metadata.name.clone()?, blocks: status.blocks?, used: status.used?, low })
    }
}

/// A peer, as far as status goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSummary {
    /// Its address.
    pub address: String,
    /// Its name.
    pub name: String,
    /// Whether the session stands.
    pub established: bool,
    /// How BFD sees the path, where it watches it.
    pub bfd: Option<BfdSummary>,
}

/// A path that BFD watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdSummary {
    /// Packets pass both ways.
    pub up: bool,
    /// How often it went down.
    pub downs: u64,
}

/// The newest reading, and its conditions with the times of their last change.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The reading.
    pub status: Status,
    /// Its conditions.
    pub conditions: Arc<Vec<Condition>>,
}

/// Mean time between readings while nothing happens.
const PERIOD: Duration = Duration::from_secs(10);
/// Events closer together than this make one reading.
const SETTLE: Duration = Duration::from_millis(200);

/// Reads again and again: after each change of a session, of the node or of its configuration, and now and then.
/// Runs until the agent ends.
pub async fn keep(sources: StatusSources, told: watch::Sender<Reading>) {
    let mut events = sources.speaker.events();
    let (mut facts, mut problems) = (sources.facts.clone(), sources.problems.clone());
    let mut refusals = sources.kernel.refusals();
    let mut conditions = Vec::new();
    loop {
        let status = sources.read().await;
        for verdict in &status.conditions {
            conditions::set(&mut conditions, verdict, None, Timestamp::now());
        }
        told.send_replace(Reading { status, conditions: Arc::new(conditions.clone()) });
        tokio::select! {
            event = events.recv() => if matches!(event, Err(RecvError::Closed)) { return },
            changed = facts.changed() => if changed.is_err() { return },
            changed = problems.changed() => if changed.is_err() { return },
            changed = refusals.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(PERIOD) => {}
        }
        tokio::time::sleep(SETTLE).await;
        while events.try_recv().is_ok() {}
    }
}

/// Type of the condition that says whether the node can take pods.
pub const READY: &str = "Ready";

impl Status {
    /// Why the node cannot take pods; `None` when it can.
    pub fn not_ready(&self) -> Option<&str> {
        let ready = self.conditions.iter().find(|c| c.type_ == READY);
        ready.filter(|c| c.status != Some(true)).map(|c| c.message.as_str())
    }
}

impl StatusSources {
    /// Asks everyone. An owner that has stopped counts as having nothing: the process is ending then.
    pub async fn read(&self) -> Status {
        let peers: Vec<PeerSummary> = self
            .speaker
            .peers()
            .await
            .unwrap_or_default()
            .into_iter()
            .map(|p| PeerSummary {
                address: p.key.to_string(),
                established: p.is_established(),
                bfd: p.bfd.as_ref().map(|path| BfdSummary {
                    up: path.session.state == BfdState::Up,
                    downs: path.session.downs,
                }),
                name: p.name,
            })
            .collect();
        let attachments = self.journal.all().await.unwrap_or_default();
        let refusals = self.kernel.refusals();
        let mut status = Status {
            conditions: Vec::new(),
            attachments: attachments.len(),
            refused: data_path::refused_by_reason(&refusals.borrow()),
            blocks: self.ipam.own_blocks().borrow().len(),
            not_installed: self.not_installed.all(),
            pools: self.cluster.ip_pools.borrow().values().filter_map(|pool| PoolSummary::of(pool)).collect(),
            peers,
        };
        let mut conditions = vec![
            self.accepted(),
            established(&status.peers),
            self.programmed(&status.not_installed),
            self.ready(),
            self.synced(),
            data_path::kernel_features(&self.features, &self.surroundings.borrow()),
            data_path::pod_mtu(&attachments, *self.pod_mtu.borrow()),
            data_path::filter(self.nftables.as_ref().map(|told| told.borrow().clone()).as_deref()),
            data_path::forwarding(self.nftables.as_ref().map(|told| told.borrow().clone()).as_deref()),
        ];
        conditions.sort_by_key(|c| c.type_);
        status.conditions = conditions;
        status
    }

    fn ready(&self) -> Verdict {
        if let Some(taken) = self.facts.borrow().taken.first() {
            return no(READY, "AddressTaken", taken.to_string());
        }
        if self.facts.borrow().addresses.iter().next().is_none() {
            return no(READY, "NoAddress", Problem::NoAddress.to_string());
        }
        yes(READY, "OK")
    }

    fn accepted(&self) -> Verdict {
        let problems = self.problems.borrow();
        let Some(first) = problems.first() else { return yes("ConfigurationAccepted", "OK") };
        let more = problems.len() - 1;
        let others = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        no("ConfigurationAccepted", "LeftOut", format!("{first}{others}"))
    }

    fn synced(&self) -> Verdict {
        let synced = self.cluster.watches().iter().all(|w| w.synced);
        if synced {
            return yes("Synced", "OK");
        }
        let message = "the API server has not been heard since start: going on with the last good state";
        no("Synced", "LastGood", message.to_owned())
    }

    fn programmed(&self, not_installed: &BTreeMap<IpNetwork, NotInstalled>) -> Verdict {
        if let Some((prefix, why)) = not_installed.iter().next() {
            let message =
                format!("{} of the best routes not installed, such as {prefix}: {why}", not_installed.len());
            return no("RoutesProgrammed", why.code(), message);
        }
        let refusals = self.kernel.refusals();
        let refused = refusals.borrow();
        match refused.first.first() {
            Some(first) => {
                no("RoutesProgrammed", &first.code(), format!("{} refused, such as: {first}", refused.total))
            }
            None => yes("RoutesProgrammed", "OK"),
        }
    }
}

fn established(peers: &[PeerSummary]) -> Verdict {
    let down: Vec<&str> = peers.iter().filter(|p| !p.established).map(|p| p.name.as_str()).collect();
    if down.is_empty() {
        return yes("BGPEstablished", if peers.is_empty() { "NoPeers" } else { "OK" });
    }
    let some = down.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    let message = format!("{} of {} sessions are not Established: {some}", down.len(), peers.len());
    no("BGPEstablished", "PeersDown", message)
}

fn yes(type_: &'static str, reason: &str) -> Verdict {
    Verdict { type_, status: Some(true), reason: reason.to_owned(), message: String::new() }
}

fn no(type_: &'static str, reason: &str, message: String) -> Verdict {
    Verdict { type_, status: Some(false), reason: reason.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_that_are_down_are_named() {
        let peer = |name: &str, established| PeerSummary {
            address: String::new(),
            name: name.into(),
            established,
            bfd: None,
        };
        assert_eq!(established(&[]).reason, "NoPeers");
        assert_eq!(established(&[peer("n2", true)]).status, Some(true));
        let verdict = established(&[peer("n2", true), peer("n3", false)]);
        assert_eq!(verdict.message, "1 of 2 sessions are not Established: n3");
    }
}
