//! `[[peer]]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use caracal_bgp::bfd::Timers;
use caracal_bgp::config::{
    AttributeCodes, BfdOptions, LimitAction, PathsSent, PrefixLimit, PrefixLimits, RestartOptions,
};
use caracal_bgp::policy::{Policy, PrefixMatch, Rule, Verdict};
use caracal_bgp::{
    Families, Family, HoldTime, Interface, LocalNextHops, NextHopMode, PeerConfig, PeerKey, PeerRange,
    SessionOptions,
};
use ipnetwork::IpNetwork;
use toml::Spanned;

use super::BGP_PORT;
use super::graceful_shutdown;
use super::policies::{Policies, named};
use crate::file::{self, LimitKind, Mistake, Text};

/// Whom a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// The peer of this name.
    At(PeerKey),
    /// Whoever comes from this network.
    Within(IpNetwork),
}

/// Whom a table is about: it has one of two keys, and none that makes no sense with it.
pub(super) fn whom(table: &Spanned<file::Peer>) -> Result<Whom, Mistake> {
    let keys = table.get_ref();
    if let Some(interface) = &keys.interface {
        return by_interface(keys, interface);
    }
    match (&keys.address, &keys.range) {
        (Some(address), None) => match &keys.max_peers {
            Some(limit) => {
                Err(Mistake::new(limit.span(), "`max-peers` goes with `range` alone: take it out"))
            }
            None => {
                let device = keys.device.as_ref().map(|device| device.get_ref().as_str());
                at(address, device).map(Whom::At)
            }
        },
        (None, Some(range)) => {
            let of_dialling = [
                ("port", keys.port.as_ref().map(Spanned::span)),
                ("local-address", keys.local_address.as_ref().map(Spanned::span)),
                ("device", keys.device.as_ref().map(Spanned::span)),
                ("connect-retry", keys.connect_retry.as_ref().map(Spanned::span)),
            ];
            let given = of_dialling.into_iter().find_map(|(name, span)| Some((name, span?)));
            match given {
                Some((name, span)) => {
                    let what = format!(
                        "peers of a range are never dialled, which is what `{name}` is for: take it out"
                    );
                    Err(Mistake::new(span, what))
                }
                None => Ok(Whom::Within(range.get_ref().0)),
            }
        }
        (Some(_), Some(range)) => {
            let what = "a peer has an `address`, or it is whoever comes from a `range`: keep one of the two";
            Err(Mistake::new(range.span(), what))
        }
        (None, None) => {
            let what = "who is it? Give the peer's `address`, the `interface` on whose link it is the only other router, or a \
                 `range` of addresses from which peers may come";
            Err(Mistake::new(table.span(), what))
        }
    }
}

/// A peer that is known by its device has no key that says where it is.
fn by_interface(keys: &file::Peer, interface: &Spanned<Text<Interface>>) -> Result<Whom, Mistake> {
    let elsewhere = [
        ("address", keys.address.as_ref().map(Spanned::span)),
        ("range", keys.range.as_ref().map(Spanned::span)),
        ("max-peers", keys.max_peers.as_ref().map(Spanned::span)),
        ("device", keys.device.as_ref().map(Spanned::span)),
    ];
    match elsewhere.into_iter().find_map(|(name, span)| Some((name, span?))) {
        Some((name, span)) => {
            let what =
                format!("`interface` says where the peer is, and `{name}` says something else: keep one");
            Err(Mistake::new(span, what))
        }
        None => Ok(Whom::At(PeerKey::Interface(interface.get_ref().0))),
    }
}

/// What names the peer at an address. Of a link-local address the device is a part.
fn at(address: &Spanned<Text<PeerKey>>, device: Option<&str>) -> Result<PeerKey, Mistake> {
    let key = address.get_ref().0;
    let mistaken = |what: String| Err(Mistake::new(address.span(), what));
    match (key, device) {
        (PeerKey::Address(IpAddr::V6(address)), None) if address.is_unicast_link_local() => {
            mistaken(format!("`{address}` says nothing without its device: write for example {address}%eth0"))
        }
        (PeerKey::Address(IpAddr::V6(address)), Some(device)) if address.is_unicast_link_local() => {
            let device = Interface::new(device);
            device
                .map(|device| PeerKey::LinkLocal(address, device))
                .or_else(|error| mistaken(error.to_string()))
        }
        (PeerKey::LinkLocal(_, interface), Some(device)) if interface.as_str() != device => {
            mistaken(format!("the address is on {interface}, and `device` says {device}: take `device` away"))
        }
        (PeerKey::Address(_) | PeerKey::LinkLocal(..) | PeerKey::Interface(_), _) => Ok(key),
    }
}

/// Understands a table about whoever comes from a network.
pub(super) fn range(
    table: &file::Peer,
    range: IpNetwork,
    speaker: &file::Speaker,
    policies: &Policies,
) -> Result<PeerRange, Mistake> {
    let terms = peer(table, PeerKey::from(range.network()), speaker, policies)?;
    let name = table.name.clone().unwrap_or_else(|| range.to_string());
    let max_peers = table.max_peers.as_ref().map_or(PeerRange::MAX_PEERS, |limit| *limit.get_ref());
    Ok(PeerRange { max_peers, ..PeerRange::new(PeerConfig { name, ..terms }) })
}

/// Understands a table about the peer at an address.
pub(super) fn peer(
    table: &file::Peer,
    key: PeerKey,
    speaker: &file::Speaker,
    policies: &Policies,
) -> Result<PeerConfig, Mistake> {
    if let Some(keys) = &table.tcp_ao {
        let what = "TCP-AO (RFC 5925) is not offered: the kernels this runs on do not have it; `password` signs segments \
                    with TCP-MD5 (RFC 2385), which peers with TCP-AO can do as well";
        return Err(Mistake::new(keys.span(), what));
    }
    let local_as = table.local_as.map_or(speaker.local_as.0, |number| number.0);
    let remote_as = table.remote_as.0.clone();
    let external = !remote_as.is_internal(local_as);
    let import = match &table.import {
        Some(name) => named(policies, name)?,
        None => Arc::new(usual_import(external, speaker.require_policy)),
    };
    let export = match &table.export {
        Some(name) => named(policies, name)?,
        None => Arc::new(Policy::absent()),
    };
    // Where a policy is required and nobody gave one, nothing passes anyway.
    let passes = |policy: &Policy| policy.is_given() || !speaker.require_policy || !external;
    let leaving = |policy: Arc<Policy>, changed: fn(&Policy) -> Policy| {
        if table.graceful_shutdown && passes(&policy) { Arc::new(changed(&policy)) } else { policy }
    };
    let import = leaving(import, graceful_shutdown::import);
    let export = leaving(export, graceful_shutdown::export);
    let device = table.device.as_ref().map(|device| device.get_ref().as_str());
    let port = table.port.as_ref().map_or(BGP_PORT, |port| *port.get_ref());
    Ok(PeerConfig {
        name: table.name.clone().unwrap_or_else(|| key.to_string()),
        local_address: table.local_address.as_ref().map(|address| address.get_ref().0),
        passive: table.passive,
        hold_time: table.hold_time.map_or(HoldTime::DEFAULT, |hold| hold.0),
        keepalive: table.keepalive.map(|time| time.0),
        connect_retry: table
            .connect_retry
            .as_ref()
            .map_or(PeerConfig::CONNECT_RETRY, |time| time.get_ref().0),
        families: table.families.as_ref().map_or_else(Families::dual, |list| families(list)),
        reflector_client: table.reflector_client,
        next_hop: table.next_hop.map_or(NextHopMode::Auto, |mode| mode.0),
        local_next_hops: LocalNextHops {
            v4: table.next_hop_v4.map(|address| address.0),
            v6: table.next_hop_v6.map(|address| address.0),
        },
        multihop: table.multihop,
        ttl_security: table.ttl_security,
        // The scope of a link-local address says it already.
        device: device.filter(|_| key.interface().is_none()).map(Arc::from),
        password: table.password.as_ref().map(|password| password.0.clone()),
        bfd: table.bfd.as_ref().map(bfd),
        session: session(table, key)?,
        paths_sent: table.paths_sent.map_or(PathsSent::All, PathsSent::First),
        allow_own_as: table.allow_own_as,
        as_override: table.as_override,
        remove_private_as: table.remove_private_as,
        import,
        export,
        ..PeerConfig::new(SocketAddr::new(key.address(), port), local_as, remote_as)
    })
}

/// Times in the file are in milliseconds.
fn bfd(table: &file::Bfd) -> BfdOptions {
    let millis = |given: Option<u32>, usual| given.map_or(usual, |time| Duration::from_millis(time.into()));
    let usual = Timers::DEFAULT;
    BfdOptions {
        timers: Timers {
            min_tx: millis(table.min_tx, usual.min_tx),
            min_rx: millis(table.min_rx, usual.min_rx),
            multiplier: table.multiplier.unwrap_or(usual.multiplier),
        },
        multihop: table.multihop,
    }
}

fn families(list: &[Text<Family>]) -> Families {
    list.iter().map(|family| family.0).collect()
}

/// What the session may use beyond the base protocol.
fn session(table: &file::Peer, key: PeerKey) -> Result<SessionOptions, Mistake> {
    let usual = SessionOptions::default();
    let refused = table.refused_attributes.as_ref();
    let extended = match (&table.extended_next_hop, key) {
        (Some(list), _) => families(list),
        // There need be no IPv4 address on such a link.
        (None, PeerKey::Interface(_)) => [Family::Ipv4Unicast].into_iter().collect(),
        (None, PeerKey::Address(_) | PeerKey::LinkLocal(..)) => Families::NONE,
    };
    Ok(SessionOptions {
        add_path_receive: families(&table.add_path_receive),
        add_path_send: families(&table.add_path_send),
        extended_next_hop: extended,
        extended_messages: table.extended_messages.unwrap_or(usual.extended_messages),
        enhanced_refresh: table.enhanced_refresh.unwrap_or(usual.enhanced_refresh),
        delay_open: table.delay_open.map(|time| time.0),
        enforce_first_as: table.enforce_first_as.unwrap_or(usual.enforce_first_as),
        refused_attributes: refused
            .map_or(usual.refused_attributes, |codes| codes.iter().copied().collect::<AttributeCodes>()),
        graceful_restart: restart(table)?,
        limits: table.max_prefixes.as_ref().map_or(Ok(usual.limits), limits)?,
    })
}

/// Long-lived graceful restart is what follows on the other.
fn restart(table: &file::Peer) -> Result<Option<RestartOptions>, Mistake> {
    let long_lived = table.long_lived_stale_time.as_ref();
    match (table.graceful_restart, long_lived) {
        (None, Some(time)) => {
            let what =
                "`long-lived-stale-time` begins when the time of `graceful-restart` is over: give both";
            Err(Mistake::new(time.span(), what))
        }
        (None, None) => Ok(None),
        (Some(time), long_lived) => Ok(Some(RestartOptions {
            time: time.0,
            long_lived: long_lived.map(|time| time.get_ref().0),
            ..RestartOptions::default()
        })),
    }
}

fn limits(table: &file::MaxPrefixes) -> Result<PrefixLimits, Mistake> {
    let action = match (table.action.get_ref().0, table.after) {
        (LimitKind::Warn, None) => LimitAction::Warn,
        (LimitKind::Stop, None) => LimitAction::Stop,
        (LimitKind::Restart, Some(after)) => LimitAction::Restart(after.0),
        (LimitKind::Restart, None) => {
            let what = "`restart` needs `after`: the seconds until the session may come back";
            return Err(Mistake::new(table.action.span(), what));
        }
        (LimitKind::Warn | LimitKind::Stop, Some(_)) => {
            let what = "`after` goes with the action `restart` alone: take it out, or write `restart`";
            return Err(Mistake::new(table.action.span(), what));
        }
    };
    let limit = |prefixes: Option<u32>| prefixes.map(|prefixes| PrefixLimit { prefixes, action });
    Ok(PrefixLimits { ipv4: limit(table.ipv4_unicast), ipv6: limit(table.ipv6_unicast) })
}

/// Without a policy everything is accepted, except that nobody of another AS becomes the way to everywhere by
/// accident. With `require-policy` nothing is accepted from other ASes (RFC 8212).
fn usual_import(external: bool, require_policy: bool) -> Policy {
    if !external || require_policy {
        return Policy::absent();
    }
    let everywhere: Vec<_> = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
        .into_iter()
        .filter_map(|address| IpNetwork::new(address, 0).ok())
        .map(PrefixMatch::exact)
        .collect();
    Policy::new(vec![Rule::reject("DefaultRoute", everywhere)], Verdict::Accept)
}
