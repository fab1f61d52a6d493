//! The lab: a cluster on one Linux machine, of the real programs, in namespaces that vanish with their process.
//!
//! [`sandbox::enter`] puts the calling program inside; [`Lab::up`] builds what a [`Topology`] says and waits until it
//! works; its handles ([`Node`], [`Pod`], [`Process`]) are for tests and for `caracal-lab` alike.
//!
//! Links, addresses and routes of the lab are made and read with `ip`, not with our own netlink code: what checks the
//! product must not share its mistakes.

pub mod cluster;
pub mod command;
pub mod control;
pub mod encapsulation;
pub mod enter;
pub mod fault;
pub mod lab;
pub mod load;
pub mod logs;
pub mod machine;
pub mod netns;
pub mod node;
pub mod pod;
pub mod probe;
pub mod process;
pub mod remote;
pub mod report;
pub mod route;
pub mod router;
pub mod runtime;
pub mod sandbox;
pub mod segment;
pub mod show;
pub mod status;
pub mod supervisor;
pub mod topology;
pub mod wait;
pub mod witness;

pub use lab::Lab;
pub use node::{Node, Unwired};
pub use pod::Pod;
pub use process::Process;
pub use router::Router;
pub use sandbox::{Product, Sandbox, Side};
pub use topology::Topology;
