//! `IPAMConfig` `default`: how nodes claim and share blocks.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// How nodes claim and share blocks; the one object is named `default`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[kube(
    group = "caracal.dev",
    version = "v1",
    kind = "IPAMConfig",
    root = "IpamConfig",
    plural = "ipamconfigs",
    singular = "ipamconfig",
    category = "caracal",
    derive = "PartialEq",
    doc = "How nodes claim and share blocks; the one object is named default.",
    validation = Rule::new("self.metadata.name == 'default'").message("the only IPAMConfig is the one named default"),
    printcolumn(name = "Strict", type_ = "boolean", json_path = ".spec.strictAffinity"),
    printcolumn(name = "MaxBlocks", type_ = "integer", json_path = ".spec.maxBlocksPerHost")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.strictAffinity || self.autoAllocateBlocks").message("with strictAffinity off, autoAllocateBlocks must be on: otherwise a node could neither claim nor own")
)]
pub struct IpamConfigSpec {
    /// Only a block's owner gives out its addresses (here the default, unlike Calico): no API call is then needed to
    /// start a pod, and no /32 routes arise.
    #[serde(default = "yes")]
    pub strict_affinity: bool,
    /// Most blocks a node may own in one family; 0: no limit.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10000))]
    pub max_blocks_per_host: u32,
    /// Whether nodes claim blocks by themselves.
    #[serde(default = "yes")]
    pub auto_allocate_blocks: bool,
    /// How long a freed address rests before it is given out again, in seconds.
    #[serde(default = "cooldown")]
    #[schemars(range(min = 0, max = 1200))]
    pub ip_cooldown_seconds: u32,
}

fn yes() -> bool {
    true
}

fn cooldown() -> u32 {
    180
}

impl Default for IpamConfigSpec {
    fn default() -> Self {
        Self {
            strict_affinity: true,
            max_blocks_per_host: 0,
            auto_allocate_blocks: true,
            ip_cooldown_seconds: cooldown(),
        }
    }
}
