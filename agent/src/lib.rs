//! The agent of one node, and the controller of the cluster.
//!
//! Owners learn from each other through snapshots and bounded queues; what should be is computed by the pure
//! functions of [`desired`]; the kernel and the BGP speaker are then made to match. See `docs/ARCHITECTURE.md`.

pub mod admin;
pub mod agent;
pub mod attachments;
pub mod cluster;
pub mod cni;
pub mod controller;
pub mod derived;
pub mod desired;
pub mod ipam;
pub mod kernel;
pub mod node;
pub mod peering;
pub mod settings;
pub mod status;
pub mod telemetry;
