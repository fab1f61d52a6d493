//! A configuration is refused whole, before anything of it is applied.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;

use super::{Config, IllegalInterface, Interface, Password, PeerConfig, PeerKey};

/// Why a configuration was refused; the last good one goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// AS 0 stands for nothing (RFC 7607).
    #[error("configuring peer {peer}: AS 0 is reserved (RFC 7607): give the real AS number")]
    ZeroAs {
        /// The peer.
        peer: PeerKey,
    },
    /// The same of the speaker itself.
    #[error("configuring this speaker: AS 0 is reserved (RFC 7607): give the real AS number")]
    OwnZeroAs,
    /// Too much depends on whether a session is internal.
    #[error(
        "configuring peer {peer}: our own AS {local} is listed with others: sessions are internal or external: list one kind"
    )]
    BothSides {
        /// The peer.
        peer: PeerKey,
        /// The AS shown to it.
        local: super::Asn,
    },
    /// A range says something that no peer could have.
    #[error("configuring the range {range} of peers: {source}")]
    Range {
        /// The range.
        range: IpNetwork,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// The kernel asks everybody in the range for its password.
    #[error(
        "configuring {inner}, which has no password: it lies in the range {range} of peers, which has one, so that the \
         kernel would ask it for that: give it a password, too"
    )]
    RangePassword {
        /// The peer, or a range inside.
        inner: String,
        /// The range.
        range: IpNetwork,
    },
    /// The session would carry nothing.
    #[error("configuring peer {peer}: no address family is enabled: enable ipv4, ipv6 or both")]
    NoFamily {
        /// The peer.
        peer: PeerKey,
    },
    /// A peer is known by one address and dialled at another.
    #[error("configuring peer {peer}: its remote address is {remote}, another one: make them equal")]
    KeyMismatch {
        /// The peer.
        peer: PeerKey,
        /// Its remote address.
        remote: IpAddr,
    },
    /// Nothing can be dialled from an IPv4 to an IPv6 address.
    #[error(
        "configuring peer {peer}: local address {local} is of the other family: name one of the peer's family"
    )]
    LocalAddressFamily {
        /// The peer.
        peer: PeerKey,
        /// The local address.
        local: IpAddr,
    },
    /// The address cannot be a peer's.
    #[error("configuring peer {peer}: a peer needs a unicast address of its own")]
    NotUnicast {
        /// The peer.
        peer: PeerKey,
    },
    /// Dialling without a pause would keep a processor busy.
    #[error("configuring peer {peer}: connect retry is {found:?}: use at least {least:?}", least = LEAST_RETRY)]
    ConnectRetry {
        /// The peer.
        peer: PeerKey,
        /// What was asked for.
        found: Duration,
    },
    /// A keepalive interval of zero would be an endless stream of them.
    #[error("configuring peer {peer}: keepalive interval is {found:?}: use at least {least:?}", least = LEAST_KEEPALIVE)]
    Keepalive {
        /// The peer.
        peer: PeerKey,
        /// What was asked for.
        found: Duration,
    },
    /// There are twelve bits for it.
    #[error("configuring peer {peer}: graceful restart within {found:?}: use 1 to 4095 s")]
    RestartTime {
        /// The peer.
        peer: PeerKey,
        /// What was asked for.
        found: Duration,
    },
    /// There are twenty-four bits for it.
    #[error(
        "configuring peer {peer}: routes of a peer long away are kept for {found:?}: use 1 to 16777215 s"
    )]
    LongLivedTime {
        /// The peer.
        peer: PeerKey,
        /// What was asked for.
        found: Duration,
    },
    /// One says how far the peer may be, the other that it is near.
    #[error(
        "configuring peer {peer}: TTL security and a TTL for many hops exclude each other: keep one of them"
    )]
    TtlTwice {
        /// The peer.
        peer: PeerKey,
    },
    /// The name cannot be a device's.
    #[error("configuring peer {peer}: {source}")]
    Device {
        /// The peer.
        peer: PeerKey,
        /// What is wrong with the name.
        source: IllegalInterface,
    },
    /// The kernel keeps keys by address alone.
    #[error(
        "configuring peer {peer}: {other} has the same address and another password, or none: the kernel keeps one a \
         link-local address, whatever the device: give both the same"
    )]
    OnePasswordAnAddress {
        /// The peer.
        peer: PeerKey,
        /// The peer on the other link.
        other: PeerKey,
    },
    /// A link-local address is on the link.
    #[error(
        "configuring peer {peer}: it is on this link, and its BFD is told to go over many hops (RFC 5883): let it go over one"
    )]
    BfdOffLink {
        /// The peer.
        peer: PeerKey,
    },
    /// Faster is a load, and slower is no detection.
    #[error("configuring peer {peer}: a BFD interval of {found:?}: use 10 ms to 60 s")]
    BfdInterval {
        /// The peer.
        peer: PeerKey,
        /// What was asked for.
        found: Duration,
    },
    /// A TTL of zero never leaves the host.
    #[error("configuring peer {peer}: a TTL of 0 never leaves the host: use 1 to 255")]
    ZeroTtl {
        /// The peer.
        peer: PeerKey,
    },
}

/// What of a configuration a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// This peer.
    Peer(PeerKey),
    /// This range of peers.
    Range(IpNetwork),
}

impl ConfigError {
    /// What it is about; `None`: the speaker itself. Without that the rest may be good.
    pub fn subject(&self) -> Option<Subject> {
        match self {
            ConfigError::Range { range, .. } | ConfigError::RangePassword { range, .. } => {
                Some(Subject::Range(*range))
            }
            ConfigError::OwnZeroAs => None,
            ConfigError::ZeroAs { peer }
            | ConfigError::NoFamily { peer }
            | ConfigError::KeyMismatch { peer, .. }
            | ConfigError::BothSides { peer, .. }
            | ConfigError::LocalAddressFamily { peer, .. }
            | ConfigError::NotUnicast { peer }
            | ConfigError::ConnectRetry { peer, .. }
            | ConfigError::Keepalive { peer, .. }
            | ConfigError::RestartTime { peer, .. }
            | ConfigError::LongLivedTime { peer, .. }
            | ConfigError::TtlTwice { peer }
            | ConfigError::Device { peer, .. }
            | ConfigError::BfdInterval { peer, .. }
            | ConfigError::BfdOffLink { peer }
            | ConfigError::OnePasswordAnAddress { peer, .. }
            | ConfigError::ZeroTtl { peer } => Some(Subject::Peer(*peer)),
        }
    }
}

/// RFC 4724 §3, in seconds.
const LONGEST_RESTART: u64 = 4095;
/// RFC 9494 §3.1, in seconds.
const LONGEST_LONG_LIVED: u64 = (1 << 24) - 1;
const LEAST_RETRY: Duration = Duration::from_millis(100);
/// RFC 4271 §4.4: not more often than once a second.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);

impl Config {
    /// Checks what types cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.local_as.0 == 0 {
            return Err(ConfigError::OwnZeroAs);
        }
        self.peers.iter().try_for_each(|(key, peer)| peer.validate(*key))?;
        for (range, of) in &self.ranges {
            let key = PeerKey::from(range.network());
            of.terms
                .validate_terms(key)
                .map_err(|source| ConfigError::Range { range: *range, source: Box::new(source) })?;
        }
        self.validate_passwords()?;
        self.passwords_of_link_local_addresses()
    }

    fn passwords_of_link_local_addresses(&self) -> Result<(), ConfigError> {
        let mut seen: BTreeMap<IpAddr, (PeerKey, Option<&Password>)> = BTreeMap::new();
        // One that is known by its device alone has no address before its neighbour is found.
        let is_there = |peer: &PeerConfig| peer.waits.is_none() && !peer.remote.ip().is_unspecified();
        for (key, peer) in self.peers.iter().filter(|(key, peer)| key.interface().is_some() && is_there(peer))
        {
            let (other, password) = *seen.entry(peer.remote.ip()).or_insert((*key, peer.password.as_ref()));
            if password != peer.password.as_ref() {
                return Err(ConfigError::OnePasswordAnAddress { peer: *key, other });
            }
        }
        Ok(())
    }

    /// Who has no password must not lie in a range that has one.
    fn validate_passwords(&self) -> Result<(), ConfigError> {
        let signed: BTreeMap<IpNetwork, ()> = self
            .ranges
            .iter()
            .filter(|(_, of)| of.terms.password.is_some())
            .map(|(at, _)| (*at, ()))
            .collect();
        let peers = self.peers.iter().filter(|(_, peer)| peer.password.is_none());
        let peers = peers.map(|(key, _)| (format!("peer {key}"), key.address(), None));
        let ranges = self.ranges.iter().filter(|(_, of)| of.terms.password.is_none());
        let ranges =
            ranges.map(|(at, _)| (format!("the range {at} of peers"), at.network(), Some(at.prefix())));
        for (inner, address, length) in peers.chain(ranges) {
            let around = signed.keys().filter(|at| at.contains(address));
            let mut wider = around.filter(|at| length.is_none_or(|length| at.prefix() < length));
            if let Some(range) = wider.next() {
                return Err(ConfigError::RangePassword { inner, range: *range });
            }
        }
        Ok(())
    }
}

impl PeerConfig {
    fn validate(&self, peer: PeerKey) -> Result<(), ConfigError> {
        let remote = self.remote.ip();
        // Where a peer that is known by its device is, is found out later.
        if let PeerKey::Interface(_) = peer {
            return self.validate_terms(peer);
        }
        if peer.address() != remote {
            return Err(ConfigError::KeyMismatch { peer, remote });
        }
        if remote.is_multicast() || remote.is_unspecified() {
            return Err(ConfigError::NotUnicast { peer });
        }
        self.validate_terms(peer)
    }

    /// All but the address.
    fn validate_terms(&self, peer: PeerKey) -> Result<(), ConfigError> {
        let remote = self.remote.ip();
        let named = self.remote_as.named();
        if named.iter().any(|asn| asn.0 == 0) || self.local_as.0 == 0 {
            return Err(ConfigError::ZeroAs { peer });
        }
        let ours = named.iter().filter(|asn| **asn == self.local_as).count();
        if ours != 0 && ours != named.len() {
            return Err(ConfigError::BothSides { peer, local: self.local_as });
        }
        if self.families.is_empty() {
            return Err(ConfigError::NoFamily { peer });
        }
        if let Some(local) = self.local_address.filter(|local| local.is_ipv4() != remote.is_ipv4()) {
            return Err(ConfigError::LocalAddressFamily { peer, local });
        }
        if self.connect_retry < LEAST_RETRY {
            return Err(ConfigError::ConnectRetry { peer, found: self.connect_retry });
        }
        if let Some(found) = self.keepalive.filter(|keepalive| *keepalive < LEAST_KEEPALIVE) {
            return Err(ConfigError::Keepalive { peer, found });
        }
        let restart = self.session.graceful_restart.map(|restart| restart.time);
        if let Some(found) = restart.filter(|time| !(1..=LONGEST_RESTART).contains(&time.as_secs())) {
            return Err(ConfigError::RestartTime { peer, found });
        }
        let long_lived = self.session.graceful_restart.and_then(|restart| restart.long_lived);
        if let Some(found) = long_lived.filter(|time| !(1..=LONGEST_LONG_LIVED).contains(&time.as_secs())) {
            return Err(ConfigError::LongLivedTime { peer, found });
        }
        if self.multihop.is_some() && self.ttl_security.is_some() {
            return Err(ConfigError::TtlTwice { peer });
        }
        if let Some(Err(source)) = self.device.as_deref().map(Interface::new) {
            return Err(ConfigError::Device { peer, source });
        }
        if peer.interface().is_some() && self.bfd.is_some_and(|bfd| bfd.multihop == Some(true)) {
            return Err(ConfigError::BfdOffLink { peer });
        }
        if let Some(found) = self.bfd.and_then(|bfd| bfd.illegal()) {
            return Err(ConfigError::BfdInterval { peer, found });
        }
        if self.multihop == Some(0) {
            return Err(ConfigError::ZeroTtl { peer });
        }
        Ok(())
    }
}
