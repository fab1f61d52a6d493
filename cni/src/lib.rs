//! The Container Network Interface as caracal speaks it: what a runtime hands to a plugin, what it must get back, and the
//! frame that carries both between the plugin and the agent.
//!
//! The plugin that a runtime executes is small and decides next to nothing. It reads environment and standard input, opens
//! the pod's network namespace, and passes all of it in one frame to the agent's socket, which answers with the bytes to
//! print and the exit code ([`plugin`]). The agent parses the same texts again with the same types, so both ends agree on
//! what is valid, and neither trusts the other. How the plugin and its configuration come onto a node is told by [`install`].
//!
//! Follows the CNI specification 1.1, and the shapes of 0.3.0 to 1.0.0 for runtimes that ask for those ([`version`]).

pub mod config;
pub mod detached;
pub mod environment;
pub mod error;
pub mod frame;
pub mod install;
pub mod name;
pub mod plugin;
pub mod request;
pub mod result;
pub mod version;

pub use error::{Code, Error};
pub use version::Version;
