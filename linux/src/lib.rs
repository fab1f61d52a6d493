//! What caracal asks of the Linux kernel: links, addresses, neighbours, routes, namespaces and sysctls, and the one
//! reconciler that keeps the kernel at what is wanted.
//!
//! Three ways lead to the kernel. [`netlink::client::Client`] answers single questions and makes links, in any namespace.
//! [`netlink::hand::Hand`] makes a pod's devices with all that belongs to them, quickly.
//! [`kernel::Kernel`] owns what must stay as wanted on the host side: it is told what is wanted, watches what is there, and
//! repairs the difference. All speak in the values of [`object`]; netlink's own types never leave this package.

pub mod features;
pub mod kernel;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod object;
pub mod root_socket;
pub mod sysctl;
pub mod table;
