//! `NetworkNodeStatus`: conditions and counts of one node. Agents never watch it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Conditions and counts of one node, written by its agent.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[kube(
    group = "caracal.dev",
    version = "v1",
    kind = "NetworkNodeStatus",
    root = "NetworkNodeStatus",
    plural = "networknodestatuses",
    singular = "networknodestatus",
    shortname = "nns",
    category = "caracal",
    status = "NetworkNodeStatusStatus",
    derive = "PartialEq",
    doc = "Conditions and counts of one node, written by its agent.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Peers", type_ = "integer", json_path = ".status.peersEstablished"),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.attachments")
)]
#[serde(rename_all = "camelCase")]
pub struct NetworkNodeStatusSpec {}

/// What the agent reports.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkNodeStatusStatus {
    /// `Ready`, `BGPEstablished`, `RoutesProgrammed` and others, each with its reason.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub conditions: Vec<Condition>,
    /// The agent's version.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub version: String,
    /// Peers configured.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub peers_configured: i64,
    /// Peers in state Established.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub peers_established: i64,
    /// Pods wired on the node.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub attachments: i64,
    /// Blocks owned.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub blocks: i64,
}
