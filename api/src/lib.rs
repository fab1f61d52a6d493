//! caracal's custom resources (group `caracal.dev`, version `v1`) as Rust types.
//!
//! One file per kind: its fields, its schema with CEL rules, and what only code can check. The CRD manifests in
//! `deploy/crds` are generated from these types by the `crds` binary and committed.
//!
//! Fields and meanings of the user-facing kinds follow Calico's `projectcalico.org/v3`, so that what people know and
//! have written carries over; where a default differs, the field says so.

#![allow(unreachable_pub, reason = "the KubeSchema derive writes public items inside private scopes")]
#![allow(clippy::duplicated_attributes, reason = "several print columns of one kind have the same type")]

pub mod bgp_configuration;
pub mod bgp_filter;
pub mod bgp_peer;
pub mod block_cidr;
pub mod conditions;
pub mod crds;
pub mod ip_pool;
pub mod ip_reservation;
pub mod ipam_block;
pub mod ipam_config;
pub mod network_node;
pub mod network_node_status;
pub mod restart_time;
pub mod secret_key_ref;
pub mod selector;

pub use bgp_configuration::{BgpConfiguration, BgpConfigurationSpec};
pub use bgp_filter::{BgpFilter, BgpFilterSpec};
pub use bgp_peer::{BgpPeer, BgpPeerSpec, NextHopMode};
pub use block_cidr::{BlockCidr, BlockCidrError};
pub use ip_pool::{AllowedUse, AssignmentMode, EncapsulationMode, IpPool, IpPoolSpec, IpPoolStatus};
pub use ip_reservation::{IpReservation, IpReservationSpec};
pub use ipam_block::{AllocationRecord, BlockOwner, Borrower, IpamBlock, IpamBlockSpec, OwnerKind};
pub use ipam_config::{IpamConfig, IpamConfigSpec};
pub use network_node::{NetworkNode, NetworkNodeSpec};
pub use network_node_status::{NetworkNodeStatus, NetworkNodeStatusSpec, NetworkNodeStatusStatus};
pub use selector::Selector;

/// The API group of every kind here.
pub const GROUP: &str = "caracal.dev";
/// The API version of every kind here.
pub const VERSION: &str = "v1";
/// The name of the single `IPAMConfig` and of the cluster-wide `BGPConfiguration`.
pub const DEFAULT_NAME: &str = "default";
