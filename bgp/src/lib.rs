//! A BGP speaker as a library: it knows nothing of Kubernetes and nothing of the kernel's routing table.
//!
//! Each part is a pure core that decides and a thin shell that does:
//!
//! * [`wire`] turns bytes into messages and back, without state;
//! * [`peer`] is the machine of one peer with both its connections, time being an argument;
//! * [`rib`] and [`policy`] decide which path of a prefix is best and who is told;
//! * [`bfd`] says within less than a second whether packets pass between here and a peer;
//! * [`net`] holds the sockets: it listens, dials, reads, writes and drives the machines;
//! * [`speaker`] puts them together behind one [`speaker::Handle`];
//! * [`grpc`] answers administrators over that handle;
//! * [`bmp`] tells collectors what the peers say.
//!
//! # Using it alone
//!
//! A [`Config`] says everything: the AS, where to listen, the [`PeerConfig`]s with their policies. [`speaker::Handle::start`]
//! checks it, listens and dials; [`speaker::Handle::configure`] goes over to another by the difference, without touching
//! sessions whose own parameters stay the same. Own routes are announced by [`speaker::Handle::originate`]. What is best
//! is *pulled* from a [`speaker::Feed`], at the speed of whoever pulls: a batch holds the present state of what changed,
//! so that nobody is ever behind. Which next hops can be reached the speaker is told by [`speaker::Handle::underlay`];
//! whoever does not tell it has every next hop reachable.
//!
//! Two speakers of an AS each, in one process:
//!
//! ```
//! use std::net::{IpAddr, Ipv4Addr, SocketAddr};
//!
//! use caracal_bgp::speaker::{Handle, Origination};
//! use caracal_bgp::{Asn, Config, LocalNextHops, PeerConfig, PeerKey, RouterId};
//!
//! const PORT: u16 = 21_179;
//!
//! fn speaker(here: Ipv4Addr, there: Ipv4Addr, asn: Asn, peer: Asn) -> Result<Handle, Box<dyn std::error::Error>> {
//!     let peer = PeerConfig {
//!         local_address: Some(here.into()),
//!         // A loopback address is no next hop that a peer accepts.
//!         local_next_hops: LocalNextHops { v4: Some(Ipv4Addr::new(192, 0, 2, here.octets()[3])), v6: None },
//!         ..PeerConfig::new(SocketAddr::from((there, PORT)), asn, peer)
//!     };
//!     let config = Config {
//!         listen: vec![SocketAddr::from((here, PORT))],
//!         peers: [(PeerKey::from(IpAddr::from(there)), peer)].into(),
//!         ..Config::new(asn, RouterId::try_from(here)?)
//!     };
//!     Ok(Handle::start(config)?)
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let [one, two] = [1, 2].map(|n| Ipv4Addr::new(127, 21, 79, n));
//! let left = speaker(one, two, Asn(65001), Asn(65002))?;
//! let right = speaker(two, one, Asn(65002), Asn(65001))?;
//!
//! let prefix = "198.51.100.0/24".parse()?;
//! left.originate(vec![Origination::Announce { prefix, communities: vec![] }]).await?;
//!
//! let mut feed = right.feed().await?;
//! let batch = feed.pull(100).await?;
//! assert_eq!(batch.changes[0].prefix, prefix);
//! let best = batch.changes[0].best.as_ref().ok_or("it was withdrawn")?;
//! assert_eq!(best.paths[0].next_hop, Some(IpAddr::from([192, 0, 2, 1])));
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! The RIB and the policies can be used without a speaker, sockets or a runtime: [`rib::Rib`] takes changes with the time
//! as an argument and is pulled from, and [`policy::Policy`] is a value. `examples/route_collector.rs` is a whole program:
//! it listens for whoever is named on its command line and prints what they announce.

pub mod bfd;
pub mod bmp;
pub mod config;
pub mod grpc;
pub mod net;
pub mod peer;
pub mod policy;
mod random;
pub mod rib;
pub mod speaker;
pub mod wire;

pub use config::{
    Asn, AttributeCodes, BfdOptions, Config, Families, Family, HoldTime, Interface, LimitAction,
    LocalNextHops, Multipath, NextHopMode, Password, PathsSent, PeerConfig, PeerKey, PeerOrigin, PeerRange,
    PrefixLimit, PrefixLimits, RemoteAs, RouterId, SessionOptions,
};
