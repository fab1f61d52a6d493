//! What two OPEN messages agree on.

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::event::Endpoints;
use super::restart::{self, Retention};
use crate::config::{Asn, AttributeCodes, Families, Family, HoldTime, PeerConfig, RouterId};
use crate::wire::capability::{AddPath, Capability, GracefulRestart, NextHopFamily};
use crate::wire::error::{Error, Fault, Section};
use crate::wire::open::Open;
use crate::wire::{Context, header};

/// The terms of an established session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The AS shown to the peer.
    pub local_as: Asn,
    /// The peer's AS.
    pub peer_as: Asn,
    /// The own BGP identifier.
    pub local_id: RouterId,
    /// The peer's BGP identifier.
    pub peer_id: RouterId,
    /// The smaller of both hold times.
    pub hold_time: HoldTime,
    /// How often KEEPALIVE is sent; `None` with a hold time of zero.
    pub keepalive: Option<Duration>,
    /// The families both sides offered.
    pub families: Families,
    /// AS numbers are four octets wide on this session (RFC 6793).
    pub four_octet: bool,
    /// The peer answers ROUTE-REFRESH (RFC 2918).
    pub route_refresh: bool,
    /// Refreshes are marked by a beginning and an end in both directions (RFC 7313).
    pub enhanced_refresh: bool,
    /// Families in which the peer sends path identifiers (RFC 7911).
    pub add_path_receive: Families,
    /// Families in which the peer is sent path identifiers (RFC 7911).
    pub add_path_send: Families,
    /// Families whose next hops may be of the other family (RFC 8950).
    pub extended_next_hop: Families,
    /// The octets of the longest message the peer may send (RFC 8654).
    pub longest_received: usize,
    /// The octets of the longest message the peer may be sent (RFC 8654).
    pub longest_sent: usize,
    /// The paths of an external peer must begin with its AS.
    pub enforce_first_as: bool,
    /// Attribute types that are passed over.
    pub refused_attributes: AttributeCodes,
    /// What the peer said of its restarts (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// The peer knows of routes that are kept for long, and may be told of them (RFC 9494 §4.3).
    pub long_lived: bool,
    /// What becomes of the peer's routes when the session ends; `None`: they go.
    pub retention: Option<Retention>,
    /// The own end of the connection.
    pub local: SocketAddr,
    /// The peer's end of the connection.
    pub remote: SocketAddr,
}

impl Negotiated {
    /// Whether this is iBGP.
    pub fn is_internal(&self) -> bool {
        self.local_as == self.peer_as
    }

    /// What was agreed on beyond the base protocol, as stable words for status and JSON: `route-refresh`,
    /// `add-path-send:ipv4` and so on.
    pub fn features(&self) -> Vec<String> {
        let plain = [
            (self.four_octet, "four-octet-as"),
            (self.route_refresh, "route-refresh"),
            (self.enhanced_refresh, "enhanced-route-refresh"),
            (self.longest_sent > header::MAX_MESSAGE, "extended-messages"),
            (self.graceful_restart.is_some(), "peer-graceful-restart"),
        ];
        let by_family = [
            (self.add_path_receive, "add-path-receive"),
            (self.add_path_send, "add-path-send"),
            (self.extended_next_hop, "extended-next-hop"),
            (self.retention.map_or(Families::NONE, |kept| kept.families), "graceful-restart"),
            (
                self.retention.map_or(Families::NONE, |kept| kept.long.families()),
                "long-lived-graceful-restart",
            ),
        ];
        let plain = plain.into_iter().filter(|(agreed, _)| *agreed).map(|(_, word)| word.to_owned());
        let named = |(families, word): (Families, &'static str)| {
            families.iter().map(move |family| format!("{word}:{family}"))
        };
        plain.chain(by_family.into_iter().flat_map(named)).collect()
    }

    /// What the codec must know of this session.
    pub fn context(&self) -> Context {
        Context {
            external_peer: (!self.is_internal()).then_some(self.peer_as),
            enforce_first_as: self.enforce_first_as,
            four_octet: self.four_octet,
            families: self.families,
            add_path_receive: self.add_path_receive,
            add_path_send: self.add_path_send,
            extended_next_hop: self.extended_next_hop,
            refused_attributes: self.refused_attributes,
            max_message: self.longest_sent,
        }
    }
}

/// What an OPEN of ours has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// All capabilities.
    Full,
    /// None, for speakers from before there were any: IPv4 unicast and AS numbers of two octets.
    Bare,
}

impl Offer {
    /// Whether a session without capabilities would be of use.
    pub(super) fn bare_is_possible(config: &PeerConfig) -> bool {
        config.families.contains(Family::Ipv4Unicast)
    }
}

/// The OPEN sent to the peer.
pub(super) fn offer(config: &PeerConfig, router_id: RouterId, offer: Offer) -> Open {
    Open {
        my_as: config.local_as.two_octets(),
        hold_time: config.hold_time,
        identifier: router_id,
        capabilities: match offer {
            Offer::Full => capabilities(config),
            Offer::Bare => Vec::new(),
        },
    }
}

fn capabilities(config: &PeerConfig) -> Vec<Capability> {
    let options = &config.session;
    let mut all: Vec<Capability> = config
        .families
        .iter()
        .map(|family| {
            let (afi, safi) = family.code();
            Capability::Multiprotocol(afi, safi)
        })
        .collect();
    all.extend([Capability::RouteRefresh, Capability::FourOctetAs(config.local_as)]);
    let next_hops = |family: Family| NextHopFamily {
        family: family.code(),
        next_hop_afi: match family {
            Family::Ipv4Unicast => Family::Ipv6Unicast.code().0,
            Family::Ipv6Unicast => Family::Ipv4Unicast.code().0,
        },
    };
    let extended = options.extended_next_hop.intersection(config.families);
    if !extended.is_empty() {
        all.push(Capability::ExtendedNextHop(extended.iter().map(next_hops).collect()));
    }
    if options.extended_messages {
        all.push(Capability::ExtendedMessage);
    }
    let paths: SmallVec<[AddPath; 2]> = config
        .families
        .iter()
        .map(|family| AddPath {
            family: family.code(),
            receive: options.add_path_receive.contains(family),
            send: options.add_path_send.contains(family),
        })
        .filter(|one| one.receive || one.send)
        .collect();
    if !paths.is_empty() {
        all.push(Capability::AddPath(paths));
    }
    if options.enhanced_refresh {
        all.push(Capability::EnhancedRefresh);
    }
    all
}

/// The terms, or what is wrong with the peer's OPEN (RFC 4271 §6.2, RFC 6286 §2.2, RFC 5492 §5).
pub(super) fn negotiate(
    config: &PeerConfig,
    router_id: RouterId,
    offer: Offer,
    open: &Open,
    ends: Endpoints,
) -> Result<Negotiated, Error> {
    let bare = matches!(offer, Offer::Bare).then(|| without_capabilities(config));
    let config = bare.as_ref().unwrap_or(config);
    let error = |offset, fault| Error { section: Section::Open, offset, fault };
    let peer_as = open.asn();
    if !config.remote_as.admits(config.local_as, peer_as) {
        return Err(error(1, Fault::PeerAs { found: peer_as.0, expected: config.remote_as.clone() }));
    }
    if config.is_internal() && open.identifier == router_id {
        return Err(error(5, Fault::Identifier(open.identifier.address())));
    }
    let families = config.families.intersection(open.families());
    if families.is_empty() {
        return Err(error(9, Fault::NoCommonFamily(config.families)));
    }
    let hold_time = config.hold_time.min(open.hold_time);
    let keepalive = hold_time.duration().map(|hold| {
        let third = hold / 3;
        config.keepalive.map_or(third, |configured| configured.min(third))
    });
    let options = &config.session;
    let (their_receive, their_send) = open.add_path();
    let extended = |agreed: bool| if agreed { header::MAX_EXTENDED } else { header::MAX_MESSAGE };
    Ok(Negotiated {
        local_as: config.local_as,
        peer_as,
        local_id: router_id,
        peer_id: open.identifier,
        hold_time,
        keepalive,
        families,
        four_octet: offer == Offer::Full && open.four_octet_as().is_some(),
        route_refresh: open.route_refresh(),
        enhanced_refresh: options.enhanced_refresh && open.enhanced_refresh() && open.route_refresh(),
        add_path_receive: options.add_path_receive.intersection(their_send).intersection(families),
        add_path_send: options.add_path_send.intersection(their_receive).intersection(families),
        extended_next_hop: options
            .extended_next_hop
            .intersection(open.extended_next_hop())
            .intersection(families),
        // What we offered may be used by the peer whether or not it offers the same (RFC 8654 §4).
        longest_received: extended(options.extended_messages),
        longest_sent: extended(options.extended_messages && open.extended_messages()),
        enforce_first_as: options.enforce_first_as,
        refused_attributes: if config.is_internal() {
            AttributeCodes::NONE
        } else {
            options.refused_attributes
        },
        graceful_restart: open.graceful_restart().cloned(),
        long_lived: open.long_lived_restart().is_some(),
        retention: restart::retention(options, open, families),
        local: ends.local,
        remote: ends.remote,
    })
}

/// What the configuration means where no capability was offered.
fn without_capabilities(config: &PeerConfig) -> PeerConfig {
    let mut bare = config.clone();
    bare.families = [Family::Ipv4Unicast].into_iter().collect();
    bare.session.add_path_receive = Families::NONE;
    bare.session.add_path_send = Families::NONE;
    bare.session.extended_next_hop = Families::NONE;
    bare.session.extended_messages = false;
    bare.session.enhanced_refresh = false;
    bare.session.graceful_restart = None;
    bare
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::config::{Family, RemoteAs};
    use crate::policy::Policy;

    fn id(text: &str) -> RouterId {
        RouterId::try_from(text.parse::<Ipv4Addr>().unwrap()).unwrap()
    }

    pub(in crate::peer) fn ends() -> Endpoints {
        Endpoints { local: "192.0.2.1:179".parse().unwrap(), remote: "192.0.2.2:179".parse().unwrap() }
    }

    pub(crate) fn config(local_as: u32, remote_as: u32) -> PeerConfig {
        PeerConfig {
            name: "test".to_owned(),
            import: Arc::new(Policy::accept_all()),
            export: Arc::new(Policy::accept_all()),
            ..PeerConfig::new(ends().remote, Asn(local_as), Asn(remote_as))
        }
    }

    /// Some terms, for those who care for a few of them.
    pub(crate) fn sample() -> Negotiated {
        terms((1, "10.0.0.1"), (1, "10.0.0.2"))
    }

    /// The terms between (AS, identifier) here and there.
    pub(in crate::peer) fn terms(here: (u32, &str), there: (u32, &str)) -> Negotiated {
        let open = offer(&config(there.0, here.0), id(there.1), Offer::Full);
        let local_id = id(here.1);
        // Equal identifiers inside an AS are refused elsewhere.
        let mut terms =
            negotiate(&config(here.0, there.0), id("255.0.0.1"), Offer::Full, &open, ends()).unwrap();
        terms.local_id = local_id;
        terms
    }

    #[test]
    fn the_smaller_hold_time_counts_and_zero_is_the_smallest() {
        let mut here = config(1, 1);
        let mut open = offer(&config(1, 1), id("10.0.0.2"), Offer::Full);
        open.hold_time = HoldTime::try_from(9).unwrap();
        let terms = negotiate(&here, id("10.0.0.1"), Offer::Full, &open, ends()).unwrap();
        assert_eq!((terms.hold_time.seconds(), terms.keepalive), (9, Some(Duration::from_secs(3))));
        here.keepalive = Some(Duration::from_secs(30));
        let terms = negotiate(&here, id("10.0.0.1"), Offer::Full, &open, ends()).unwrap();
        assert_eq!(terms.keepalive, Some(Duration::from_secs(3)), "a third of the hold time at most");
        open.hold_time = HoldTime::NEVER;
        let terms = negotiate(&here, id("10.0.0.1"), Offer::Full, &open, ends()).unwrap();
        assert_eq!((terms.hold_time, terms.keepalive), (HoldTime::NEVER, None));
    }

    #[test]
    fn a_peer_of_another_as_is_told_2_2() {
        let open = offer(&config(3, 1), id("10.0.0.2"), Offer::Full);
        let error = negotiate(&config(1, 2), id("10.0.0.1"), Offer::Full, &open, ends()).unwrap_err();
        assert_eq!(error.notification().cause.codes(), (2, 2));
    }

    #[test]
    fn the_as_of_a_peer_that_may_have_many_is_learnt_from_its_open() {
        let from = |remote_as: RemoteAs, asn: u32| {
            let here = PeerConfig { remote_as, ..config(1, 2) };
            let open = offer(&config(asn, 1), id("10.0.0.2"), Offer::Full);
            negotiate(&here, id("10.0.0.1"), Offer::Full, &open, ends()).map(|terms| terms.peer_as.0)
        };
        assert_eq!(from(RemoteAs::External, 4_200_000_000), Ok(4_200_000_000));
        assert_eq!(from(RemoteAs::Internal, 1), Ok(1));
        assert_eq!(from(RemoteAs::AnyOf([Asn(2), Asn(3)].into()), 3), Ok(3));
        for (remote_as, asn) in
            [(RemoteAs::External, 1), (RemoteAs::Internal, 2), (RemoteAs::AnyOf([Asn(2), Asn(3)].into()), 4)]
        {
            let error = from(remote_as, asn).unwrap_err();
            assert_eq!(error.notification().cause.codes(), (2, 2), "{error}");
        }
    }

    #[test]
    fn a_great_as_is_compared_by_its_capability_and_not_by_as_trans() {
        let open = offer(&config(4_200_000_000, 1), id("10.0.0.2"), Offer::Full);
        assert_eq!(open.my_as, 23456);
        let terms = negotiate(&config(1, 4_200_000_000), id("10.0.0.1"), Offer::Full, &open, ends()).unwrap();
        assert!(terms.four_octet && !terms.is_internal());
        assert!(negotiate(&config(1, 23456), id("10.0.0.1"), Offer::Full, &open, ends()).is_err());
    }

    #[test]
    fn an_equal_identifier_is_refused_inside_the_as_and_allowed_outside() {
        let open = offer(&config(1, 1), id("10.0.0.1"), Offer::Full);
        let error = negotiate(&config(1, 1), id("10.0.0.1"), Offer::Full, &open, ends()).unwrap_err();
        assert_eq!(error.notification().cause.codes(), (2, 3));
        let open = offer(&config(2, 1), id("10.0.0.1"), Offer::Full);
        assert!(negotiate(&config(1, 2), id("10.0.0.1"), Offer::Full, &open, ends()).is_ok());
    }

    #[test]
    fn without_a_common_family_the_missing_capabilities_are_listed() {
        let mut here = config(1, 1);
        here.families = [Family::Ipv6Unicast].into_iter().collect();
        let mut open = offer(&config(1, 1), id("10.0.0.2"), Offer::Full);
        open.capabilities.clear();
        let error = negotiate(&here, id("10.0.0.1"), Offer::Full, &open, ends()).unwrap_err();
        assert_eq!(error.notification().cause.codes(), (2, 7));
        assert_eq!(&error.notification().data[..], [1, 4, 0, 2, 0, 1]);
        // No multiprotocol capability at all means IPv4 unicast, and nothing of four octets was said.
        let terms = negotiate(&config(1, 1), id("10.0.0.1"), Offer::Full, &open, ends()).unwrap();
        assert_eq!(terms.families, [Family::Ipv4Unicast].into_iter().collect());
        assert!(!terms.four_octet && !terms.route_refresh);
    }

    /// The terms of two configurations, as each end sees them.
    fn between(here: &PeerConfig, there: &PeerConfig) -> (Negotiated, Negotiated) {
        let (left, right) = (id("10.0.0.1"), id("10.0.0.2"));
        let opens = (offer(here, left, Offer::Full), offer(there, right, Offer::Full));
        (
            negotiate(here, left, Offer::Full, &opens.1, ends()).unwrap(),
            negotiate(there, right, Offer::Full, &opens.0, ends()).unwrap(),
        )
    }

    #[test]
    fn add_path_is_agreed_by_family_and_direction() {
        let (mut here, mut there) = (config(1, 1), config(1, 1));
        let (v4, v6): (Families, Families) =
            ([Family::Ipv4Unicast].into_iter().collect(), [Family::Ipv6Unicast].into_iter().collect());
        here.session.add_path_send = Families::dual();
        here.session.add_path_receive = v6;
        there.session.add_path_receive = v4;
        let (left, right) = between(&here, &there);
        assert_eq!((left.add_path_send, left.add_path_receive), (v4, Families::NONE));
        assert_eq!((right.add_path_send, right.add_path_receive), (Families::NONE, v4));
        there.session.add_path_send = Families::dual();
        there.families = v4;
        let (left, _) = between(&here, &there);
        assert_eq!(left.add_path_receive, Families::NONE, "a family that is not in use has no paths at all");
    }

    #[test]
    fn extended_messages_are_sent_only_to_who_offered_them() {
        let (here, mut there) = (config(1, 1), config(1, 1));
        let (left, _) = between(&here, &there);
        assert_eq!((left.longest_received, left.longest_sent), (header::MAX_EXTENDED, header::MAX_EXTENDED));
        there.session.extended_messages = false;
        let (left, right) = between(&here, &there);
        assert_eq!((left.longest_received, left.longest_sent), (header::MAX_EXTENDED, header::MAX_MESSAGE));
        assert_eq!((right.longest_received, right.longest_sent), (header::MAX_MESSAGE, header::MAX_MESSAGE));
    }

    #[test]
    fn extended_next_hops_need_both_ends() {
        let (mut here, mut there) = (config(1, 1), config(1, 1));
        here.session.extended_next_hop = Families::dual();
        assert!(between(&here, &there).0.extended_next_hop.is_empty());
        there.session.extended_next_hop = [Family::Ipv4Unicast].into_iter().collect();
        let (left, right) = between(&here, &there);
        assert_eq!(left.extended_next_hop, there.session.extended_next_hop);
        assert_eq!(right.extended_next_hop, there.session.extended_next_hop);
        assert!(left.features().contains(&"extended-next-hop:ipv4".to_owned()));
    }
}
