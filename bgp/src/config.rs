//! What a speaker is told to be: values only, checked at the door and then trusted.
//!
//! [`diff::diff`] compares two of them and says what each peer needs, so that an edit never resets a session
//! whose own parameters did not change.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::policy::Policy;

mod bfd;
pub mod diff;
mod family;
mod interface;
mod multipath;
mod number;
mod password;
mod paths_sent;
mod peer_key;
mod peer_range;
mod remote_as;
mod session;
mod validate;

pub use bfd::BfdOptions;
pub use family::{Families, Family};
pub use interface::{IllegalInterface, Interface};
pub use multipath::Multipath;
pub use number::{Asn, HoldTime, IllegalHoldTime, RouterId, ZeroRouterId};
pub use password::{IllegalPassword, Password};
pub use paths_sent::PathsSent;
pub use peer_key::{IllegalPeerKey, PeerKey};
pub use peer_range::{PeerRange, longest};
pub use remote_as::RemoteAs;
pub use session::{AttributeCodes, LimitAction, PrefixLimit, PrefixLimits, RestartOptions, SessionOptions};
pub use validate::{ConfigError, Subject};

/// A whole speaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The autonomous system of this speaker; a peer may be shown another one by [`PeerConfig::local_as`].
    pub local_as: Asn,
    /// The BGP identifier sent in every OPEN (RFC 4271 §4.2, RFC 6286).
    pub router_id: RouterId,
    /// The cluster a route reflector prepends (RFC 4456 §8); the router id where it is not set.
    pub cluster_id: Option<RouterId>,
    /// The addresses to listen on. An IPv6 socket takes IPv6 only, so that each family has its own.
    pub listen: Vec<SocketAddr>,
    /// The peers.
    pub peers: BTreeMap<PeerKey, PeerConfig>,
    /// Where peers may come from that are not named.
    pub ranges: BTreeMap<IpNetwork, PeerRange>,
    /// Which equal paths are used side by side.
    pub multipath: Multipath,
    /// An external peer without an import policy gives nothing and one without an export policy gets nothing
    /// (RFC 8212).
    pub require_policies: bool,
}

impl Config {
    /// A speaker without peers that listens nowhere.
    pub fn new(local_as: Asn, router_id: RouterId) -> Self {
        Config {
            local_as,
            router_id,
            cluster_id: None,
            listen: Vec::new(),
            peers: BTreeMap::new(),
            ranges: BTreeMap::new(),
            multipath: Multipath::default(),
            require_policies: false,
        }
    }

    /// The cluster id in force: the configured one, else the router id (RFC 4456 §7).
    pub fn cluster_id(&self) -> RouterId {
        self.cluster_id.unwrap_or(self.router_id)
    }
}

/// One peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerConfig {
    /// What people call it: the name of the BGPPeer, or of the node.
    pub name: String,
    /// Why this peer exists.
    pub origin: PeerOrigin,
    /// Where to dial; its address is also where incoming connections must come from. A link-local address has the index
    /// of its device as scope (RFC 4007 §6), or zero while there is none.
    pub remote: SocketAddr,
    /// Why the peer cannot be reached for now, such as that its device is not there: until that is over it is neither
    /// dialled nor let in, and its session ends.
    pub waits: Option<Arc<str>>,
    /// The autonomous systems that the peer may show in its OPEN.
    pub remote_as: RemoteAs,
    /// The autonomous system shown to the peer.
    pub local_as: Asn,
    /// The address dialled from; the kernel's choice where it is not set.
    pub local_address: Option<IpAddr>,
    /// Wait for the peer to dial instead of dialling.
    pub passive: bool,
    /// The hold time offered; the smaller of the two offers is used (RFC 4271 §4.2).
    pub hold_time: HoldTime,
    /// How often to say KEEPALIVE; a third of the negotiated hold time where it is not set, and never less often.
    pub keepalive: Option<Duration>,
    /// The longest wait between two dials while nothing but the path is wrong.
    pub connect_retry: Duration,
    /// The address families offered.
    pub families: Families,
    /// The peer is a client of this reflector (RFC 4456).
    pub reflector_client: bool,
    /// What is announced as next hop.
    pub next_hop: NextHopMode,
    /// The own addresses announced as next hop, by family.
    pub local_next_hops: LocalNextHops,
    /// The TTL of packets to the peer; where it is not set 1 for external peers and the kernel's default otherwise.
    pub multihop: Option<u8>,
    /// The peer is at most so many hops away, sends with a TTL of 255, and nothing from farther is taken (GTSM,
    /// RFC 5082); not together with [`PeerConfig::multihop`].
    pub ttl_security: Option<NonZeroU8>,
    /// The device dialled through, whatever the routes say.
    pub device: Option<Arc<str>>,
    /// What all segments are signed with (TCP-MD5, RFC 2385). To another password a session goes over without a reset;
    /// both ends must do so before the hold time is over.
    pub password: Option<Password>,
    /// The path to the peer is watched by BFD.
    pub bfd: Option<BfdOptions>,
    /// What the session may use beyond the base protocol.
    pub session: SessionOptions,
    /// Which paths of a prefix the peer is told in the families of [`SessionOptions::add_path_send`].
    pub paths_sent: PathsSent,
    /// How often our own AS may be in an AS_PATH from the peer, which is a loop otherwise. For sites that share an AS
    /// and reach each other through another.
    pub allow_own_as: u8,
    /// Towards this external peer, its own AS in an AS_PATH is replaced by ours, so that it does not take the path for
    /// a loop. For a router between sites that share an AS.
    pub as_override: bool,
    /// Towards this external peer, private AS numbers (RFC 6996) are taken out of AS_PATH.
    pub remove_private_as: bool,
    /// Which routes of the peer are used.
    pub import: Arc<Policy>,
    /// Which routes the peer is told.
    pub export: Arc<Policy>,
}

impl PeerConfig {
    /// How long to wait between two dials by default.
    pub const CONNECT_RETRY: Duration = Duration::from_secs(5);

    /// A configured peer of both families with defaults for all else; it is named by its address.
    pub fn new(remote: SocketAddr, local_as: Asn, remote_as: impl Into<RemoteAs>) -> Self {
        PeerConfig {
            name: remote.ip().to_string(),
            origin: PeerOrigin::Configured,
            remote,
            waits: None,
            remote_as: remote_as.into(),
            local_as,
            local_address: None,
            passive: false,
            hold_time: HoldTime::DEFAULT,
            keepalive: None,
            connect_retry: Self::CONNECT_RETRY,
            families: Families::dual(),
            reflector_client: false,
            next_hop: NextHopMode::Auto,
            local_next_hops: LocalNextHops::default(),
            multihop: None,
            ttl_security: None,
            device: None,
            password: None,
            bfd: None,
            session: SessionOptions::default(),
            paths_sent: PathsSent::default(),
            allow_own_as: 0,
            as_override: false,
            remove_private_as: false,
            import: Arc::new(Policy::absent()),
            export: Arc::new(Policy::absent()),
        }
    }

    /// Whether this is iBGP.
    pub fn is_internal(&self) -> bool {
        self.remote_as.is_internal(self.local_as)
    }

    /// The first difference to `new` that only a new session can bring about, as a word for the reason.
    ///
    /// Everything else is applied to the running session.
    pub fn needs_reset(&self, new: &PeerConfig) -> Option<&'static str> {
        let differences = [
            (self.waits.is_some() != new.waits.is_some(), "reachability"),
            (self.remote != new.remote, "remote address"),
            (self.remote_as != new.remote_as, "remote AS"),
            (self.local_as != new.local_as, "local AS"),
            (self.local_address != new.local_address, "local address"),
            (self.hold_time != new.hold_time, "hold time"),
            (self.keepalive != new.keepalive, "keepalive interval"),
            (self.families != new.families, "address families"),
            (self.multihop != new.multihop, "TTL"),
            (self.ttl_security != new.ttl_security, "TTL security"),
            (self.device != new.device, "device"),
            (self.password.is_some() != new.password.is_some(), "password"),
        ];
        let own = differences.into_iter().find_map(|(differs, what)| differs.then_some(what));
        own.or_else(|| self.session.needs_reset(&new.session))
    }
}

/// Why a peer exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerOrigin {
    /// It is a node of the full mesh.
    Mesh,
    /// Somebody configured it.
    Configured,
    /// It came from this range of addresses, and is there as long as it has a session.
    Range(IpNetwork),
}

/// What is announced as next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NextHopMode {
    /// As RFC 4271 §5.1.3 and RFC 4456 §10 have it: self towards external peers and for own routes, else unchanged.
    Auto,
    /// Always an own address, also for reflected routes.
    SelfAlways,
    /// Unchanged, except for own routes.
    Keep,
}

/// The own addresses announced as next hop to one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LocalNextHops {
    /// For IPv4 prefixes; without it they are announced only if the session itself runs over IPv4.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6 prefixes; without it they are announced only if the session itself runs over IPv6.
    pub v6: Option<Ipv6Addr>,
}
