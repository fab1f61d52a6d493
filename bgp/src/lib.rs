//! A BGP speaker as a library: it knows nothing of Kubernetes and nothing of the kernel's routing table.
//!
//! Each part is a pure core that decides and a thin shell that does:
//!
//! * [`wire`] turns bytes into messages and back, without state;
//! * [`peer`] is the machine of one peer with both its connections, time being an argument;
//! * [`rib`] and [`policy`] decide which path of a prefix is best and who is told;
//! * [`net`] holds the sockets: it listens, dials, reads, writes and drives the machines;
//! * [`speaker`] puts them together behind one [`speaker::Handle`];
//! * [`grpc`] answers administrators over that handle.

pub mod config;
pub mod grpc;
pub mod net;
pub mod peer;
pub mod policy;
pub mod rib;
pub mod speaker;
pub mod wire;

pub use config::{
    Asn, AttributeCodes, Config, Families, Family, HoldTime, LimitAction, LocalNextHops, Multipath,
    NextHopMode, Password, PathsSent, PeerConfig, PeerKey, PeerOrigin, PrefixLimit, PrefixLimits, RouterId,
    SessionOptions,
};
