//! The tables of the file and their keys. What a key means is told in `docs/bgpd.md`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16};
use std::path::PathBuf;

use caracal_bgp::bmp::HostPort;
use caracal_bgp::bmp::message::View;
use caracal_bgp::policy::{AnyCommunity, NextHopChange, PeerType, PrefixMatch, Then, Verdict};
use caracal_bgp::rib::Source;
use caracal_bgp::wire::attribute::Community;
use caracal_bgp::{Family, Interface, NextHopMode, Password, PeerKey, RouterId};
use ipnetwork::IpNetwork;
use serde::Deserialize;
use toml::Spanned;

use super::value::{AsNumber, AsOfPeer, HoldSeconds, LimitKind, Seconds, Text};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    pub(crate) speaker: Spanned<Speaker>,
    pub(crate) fib: Option<Fib>,
    #[serde(default)]
    pub(crate) originate: Vec<Originate>,
    #[serde(default)]
    pub(crate) peer: Vec<Spanned<Peer>>,
    #[serde(default)]
    pub(crate) policy: Vec<Policy>,
    #[serde(default)]
    pub(crate) bmp: Vec<Bmp>,
}

/// `[speaker]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Speaker {
    #[serde(rename = "as")]
    pub(crate) local_as: AsNumber,
    pub(crate) router_id: Text<RouterId>,
    pub(crate) cluster_id: Option<Text<RouterId>>,
    pub(crate) listen: Option<Vec<Text<SocketAddr>>>,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) run_directory: Option<PathBuf>,
    #[serde(default)]
    pub(crate) require_policy: bool,
    pub(crate) multipath: Option<NonZeroU16>,
    pub(crate) multipath_relax: Option<bool>,
}

/// `[fib]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Fib {
    pub(crate) protocol: Option<Spanned<u8>>,
}

/// `[[originate]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Originate {
    pub(crate) prefix: Spanned<Text<IpNetwork>>,
    #[serde(default)]
    pub(crate) communities: Vec<Text<Community>>,
}

/// `[[peer]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Peer {
    pub(crate) name: Option<String>,
    pub(crate) address: Option<Spanned<Text<PeerKey>>>,
    pub(crate) interface: Option<Spanned<Text<Interface>>>,
    pub(crate) range: Option<Spanned<Text<IpNetwork>>>,
    pub(crate) max_peers: Option<Spanned<NonZeroU16>>,
    #[serde(rename = "as")]
    pub(crate) remote_as: AsOfPeer,
    pub(crate) port: Option<Spanned<u16>>,
    pub(crate) local_address: Option<Spanned<Text<IpAddr>>>,
    pub(crate) local_as: Option<AsNumber>,
    #[serde(default)]
    pub(crate) passive: bool,
    pub(crate) hold_time: Option<HoldSeconds>,
    pub(crate) keepalive: Option<Seconds>,
    pub(crate) connect_retry: Option<Spanned<Seconds>>,
    pub(crate) multihop: Option<u8>,
    pub(crate) ttl_security: Option<NonZeroU8>,
    pub(crate) device: Option<Spanned<String>>,
    pub(crate) password: Option<Text<Password>>,
    /// Refused in words.
    pub(crate) tcp_ao: Option<Spanned<toml::Value>>,
    pub(crate) graceful_restart: Option<Seconds>,
    pub(crate) long_lived_stale_time: Option<Spanned<Seconds>>,
    pub(crate) bfd: Option<Bfd>,
    pub(crate) families: Option<Vec<Text<Family>>>,
    #[serde(default)]
    pub(crate) reflector_client: bool,
    #[serde(default)]
    pub(crate) add_path_receive: Vec<Text<Family>>,
    #[serde(default)]
    pub(crate) add_path_send: Vec<Text<Family>>,
    pub(crate) extended_next_hop: Option<Vec<Text<Family>>>,
    pub(crate) extended_messages: Option<bool>,
    pub(crate) enhanced_refresh: Option<bool>,
    pub(crate) delay_open: Option<Seconds>,
    pub(crate) enforce_first_as: Option<bool>,
    pub(crate) refused_attributes: Option<Vec<u8>>,
    pub(crate) max_prefixes: Option<MaxPrefixes>,
    pub(crate) paths_sent: Option<NonZeroU8>,
    #[serde(default)]
    pub(crate) allow_own_as: u8,
    #[serde(default)]
    pub(crate) as_override: bool,
    #[serde(default)]
    pub(crate) remove_private_as: bool,
    #[serde(default)]
    pub(crate) graceful_shutdown: bool,
    pub(crate) next_hop: Option<Text<NextHopMode>>,
    pub(crate) next_hop_v4: Option<Text<Ipv4Addr>>,
    pub(crate) next_hop_v6: Option<Text<Ipv6Addr>>,
    pub(crate) import: Option<Spanned<String>>,
    pub(crate) export: Option<Spanned<String>>,
}

/// `bfd` of a peer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Bfd {
    pub(crate) min_tx: Option<u32>,
    pub(crate) min_rx: Option<u32>,
    pub(crate) multiplier: Option<NonZeroU8>,
    pub(crate) multihop: Option<bool>,
}

/// `max-prefixes` of a peer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct MaxPrefixes {
    pub(crate) ipv4_unicast: Option<u32>,
    pub(crate) ipv6_unicast: Option<u32>,
    pub(crate) action: Spanned<Text<LimitKind>>,
    pub(crate) after: Option<Seconds>,
}

/// `[[bmp]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Bmp {
    pub(crate) name: Spanned<String>,
    pub(crate) address: Text<HostPort>,
    pub(crate) monitoring: Option<Spanned<Vec<Text<View>>>>,
    pub(crate) statistics_interval: Option<Spanned<Seconds>>,
}

/// `[[policy]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Policy {
    pub(crate) name: Spanned<String>,
    pub(crate) default: Text<Verdict>,
    #[serde(default)]
    pub(crate) rule: Vec<Rule>,
}

/// `[[policy.rule]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Rule {
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) prefixes: Vec<Text<PrefixMatch>>,
    pub(crate) outside: Option<Vec<Text<PrefixMatch>>>,
    pub(crate) communities: Option<Vec<Text<AnyCommunity>>>,
    pub(crate) as_path_begins: Option<Vec<AsNumber>>,
    pub(crate) as_path_contains: Option<Vec<AsNumber>>,
    pub(crate) as_path_at_most: Option<u32>,
    pub(crate) origin_as: Option<Vec<AsNumber>>,
    pub(crate) next_hop_in: Option<Vec<Text<IpNetwork>>>,
    pub(crate) source: Option<Text<Source>>,
    pub(crate) peer_type: Option<Text<PeerType>>,
    pub(crate) local_pref: Option<u32>,
    pub(crate) set_local_pref: Option<u32>,
    pub(crate) set_med: Option<u32>,
    pub(crate) set_communities: Option<Vec<Text<AnyCommunity>>>,
    #[serde(default)]
    pub(crate) remove_communities: Vec<Text<AnyCommunity>>,
    #[serde(default)]
    pub(crate) add_communities: Vec<Text<AnyCommunity>>,
    #[serde(default)]
    pub(crate) prepend: Vec<AsNumber>,
    pub(crate) set_next_hop: Option<Text<NextHopChange>>,
    pub(crate) action: Text<Then>,
}
