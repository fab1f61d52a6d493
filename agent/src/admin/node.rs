//! `NodeService`: the node and its agent at a glance.

use caracal_proto::prost_types::Timestamp;
use caracal_proto::v1::node_service_server::NodeService;
use caracal_proto::v1::{self, CheckSystemRequest, CheckSystemResponse, GetStatusRequest, GetStatusResponse};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tonic::{Request, Response, Status};

use super::{AdminContext, system};
use crate::attachments::Phase;
use crate::cluster::SnapshotReceiver;

/// The service.
pub(super) struct Node {
    context: AdminContext,
}

impl Node {
    /// A service over these owners.
    pub(super) fn new(context: AdminContext) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl NodeService for Node {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let context = &self.context;
        let cluster = &context.cluster;
        let attachments =
            context.journal.all().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let pods = attachments.iter().filter(|a| matches!(a.phase, Phase::Ready)).count();
        let own = cluster.network_nodes.borrow().get(&context.node).cloned();
        let spec = own.as_ref().map(|node| &node.spec);
        let mut blocks: Vec<_> = context.ipam.own_blocks().borrow().iter().map(|block| block.cidr).collect();
        blocks.sort_unstable();
        let mut conditions: Vec<v1::Condition> =
            context.readings.borrow().conditions.iter().map(condition).collect();
        conditions.sort_by(|a, b| a.r#type.cmp(&b.r#type));
        Ok(Response::new(GetStatusResponse {
            node: context.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: Some(Timestamp::from(context.started)),
            ipv4: spec.and_then(|s| s.ipv4.clone()),
            ipv6: spec.and_then(|s| s.ipv6.clone()),
            as_number: spec.map(|s| s.as_number),
            conditions,
            attachments: pods as u64,
            blocks: blocks.iter().map(ToString::to_string).collect(),
            watches: vec![
                watch("bgpconfigurations", &cluster.bgp_configurations),
                watch("bgpfilters", &cluster.bgp_filters),
                watch("bgppeers", &cluster.bgp_peers),
                watch("ipamblocks", &cluster.own_blocks),
                watch("ipamconfigs", &cluster.ipam_configs),
                watch("ippools", &cluster.ip_pools),
                watch("networknodes", &cluster.network_nodes),
                watch("nodes", &cluster.node),
            ],
        }))
    }

    async fn check_system(
        &self,
        _: Request<CheckSystemRequest>,
    ) -> Result<Response<CheckSystemResponse>, Status> {
        let context = &self.context;
        Ok(Response::new(CheckSystemResponse {
            node: context.node.clone(),
            kernel: system::kernel_release(),
            features: system::features(&context.features, &context.surroundings.borrow()),
        }))
    }
}

fn watch<T>(kind: &str, snapshot: &SnapshotReceiver<T>) -> v1::Watch {
    let snapshot = snapshot.borrow();
    v1::Watch { kind: kind.to_owned(), objects: snapshot.items.len() as u64, synced: snapshot.synced }
}

fn condition(condition: &Condition) -> v1::Condition {
    let since = condition.last_transition_time.0;
    v1::Condition {
        r#type: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition: Some(Timestamp { seconds: since.as_second(), nanos: since.subsec_nanosecond() }),
    }
}
