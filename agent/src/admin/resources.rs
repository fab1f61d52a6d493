//! `ResourceService`: resources as the agent last saw them, as JSON documents.

use std::sync::Arc;

use caracal_proto::v1::resource_service_server::ResourceService;
use caracal_proto::v1::{GetRequest, GetResponse, ListRequest, ListResponse};
use serde::Serialize;
use serde_json::Value;
use tonic::{Request, Response, Status};

use crate::cluster::{Cluster, Snapshot, SnapshotReceiver};

/// The kinds that are served, for errors.
const KINDS: &str =
    "bgpconfigurations, bgpfilters, bgppeers, ipamblocks, ipamconfigs, ippools, ipreservations, networknodes";

/// The service.
pub(super) struct Resources {
    cluster: Cluster,
}

impl Resources {
    /// A service over these snapshots.
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    fn select(&self, kind: &str, names: &[String]) -> Result<ListResponse, Status> {
        match kind {
            "bgpconfigurations" => documents(kind, names, &self.cluster.bgp_configurations),
            "bgpfilters" => documents(kind, names, &self.cluster.bgp_filters),
            "bgppeers" => documents(kind, names, &self.cluster.bgp_peers),
            "ipamblocks" => documents(kind, names, &self.cluster.own_blocks),
            "ipamconfigs" => documents(kind, names, &self.cluster.ipam_configs),
            "ipreservations" => documents(kind, names, &self.cluster.ip_reservations),
            "ippools" => documents(kind, names, &self.cluster.ip_pools),
            "networknodes" => documents(kind, names, &self.cluster.network_nodes),
            _ => {
                Err(Status::invalid_argument(format!("this agent knows no kind '{kind}'; it knows {KINDS}")))
            }
        }
    }
}

#[tonic::async_trait]
impl ResourceService for Resources {
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let request = request.into_inner();
        self.select(&request.kind, &request.names).map(Response::new)
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let request = request.into_inner();
        let mut found = self.select(&request.kind, &[request.name])?;
        let document = found.documents.pop().unwrap_or_default();
        Ok(Response::new(GetResponse { document, synced: found.synced }))
    }
}

fn documents<T: Serialize>(
    kind: &str,
    names: &[String],
    snapshot: &SnapshotReceiver<T>,
) -> Result<ListResponse, Status> {
    // Copied out, so that no watch waits while documents are written.
    let snapshot: Arc<Snapshot<T>> = Arc::clone(&snapshot.borrow());
    let documents: Result<Vec<String>, Status> = if names.is_empty() {
        snapshot.values().map(|object| document(kind, object.as_ref())).collect()
    } else {
        let mut names: Vec<&String> = names.iter().collect();
        names.sort_unstable();
        names.dedup();
        let find = |name: &&String| snapshot.get(name).ok_or_else(|| missing(kind, name, snapshot.synced));
        names.iter().map(|name| find(name).and_then(|object| document(kind, object.as_ref()))).collect()
    };
    Ok(ListResponse { documents: documents?, synced: snapshot.synced })
}

fn missing(kind: &str, name: &str, synced: bool) -> Status {
    let doubt = if synced { "" } else { " in the last good snapshot; the API server was not reached yet" };
    let own = if kind == "ipamblocks" { " of this node" } else { "" };
    Status::not_found(format!("there is no {name} among the {kind}{own}{doubt}"))
}

fn document(kind: &str, object: &impl Serialize) -> Result<String, Status> {
    let failed = |error: serde_json::Error| Status::internal(format!("writing {kind} as JSON: {error}"));
    let mut value = serde_json::to_value(object).map_err(failed)?;
    // Who wrote which field when is bookkeeping of the API server; `kubectl` hides it too.
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    serde_json::to_string(&value).map_err(failed)
}
