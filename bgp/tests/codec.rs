//! The codec as a whole: what is written is read again as it was, and no bytes make a decoder panic.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Bytes, BytesMut};
use caracal_bgp::wire::attribute::{
    Aggregator, AsPath, AttributeSet, Community, ExtendedCommunity, LargeCommunity, NextHop, Opaque, Origin,
    Segment, SegmentKind,
};
use caracal_bgp::wire::capability::Capability;
use caracal_bgp::wire::header::{self, Header};
use caracal_bgp::wire::message::Message;
use caracal_bgp::wire::nlri::{Ipv4Prefix, Ipv6Prefix, Nlri, Prefix};
use caracal_bgp::wire::notification::{Cause, Notification};
use caracal_bgp::wire::open::Open;
use caracal_bgp::wire::update::{self, Unannounceable, Update};
use caracal_bgp::wire::{Context, route_refresh::RouteRefresh};
use caracal_bgp::{Asn, Families, Family, HoldTime, RouterId};
use proptest::prelude::*;

fn context(four_octet: bool, external_peer: Option<Asn>) -> Context {
    Context { four_octet, ..Context::new(external_peer, Families::dual()) }
}

fn asn(four_octet: bool) -> impl Strategy<Value = Asn> {
    if four_octet { (1..=u32::MAX).boxed() } else { (1..=65_535_u32).boxed() }.prop_map(Asn)
}

fn as_path() -> impl Strategy<Value = AsPath> {
    let segment = (any::<bool>(), prop::collection::vec(asn(true), 1..6)).prop_map(|(set, asns)| Segment {
        kind: if set { SegmentKind::Set } else { SegmentKind::Sequence },
        asns: asns.into(),
    });
    prop::collection::vec(segment, 0..4).prop_map(|segments| AsPath { segments: segments.into() })
}

fn sorted<T: Ord + Clone + std::fmt::Debug>(item: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::btree_set(item, 0..70).prop_map(|set| set.into_iter().collect())
}

fn attributes() -> impl Strategy<Value = AttributeSet> {
    let aggregator = (asn(true), any::<Ipv4Addr>()).prop_map(|(asn, router)| Aggregator { asn, router });
    let opaque = prop::collection::btree_map(100..=254_u8, prop::collection::vec(any::<u8>(), 0..300), 0..3);
    let large =
        any::<(u32, u32, u32)>().prop_map(|(global, first, second)| LargeCommunity { global, first, second });
    let simple = (
        prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        as_path(),
        any::<Option<u32>>(),
        any::<Option<u32>>(),
        any::<bool>(),
        prop::option::of(aggregator),
    );
    let lists = (
        sorted(any::<u32>().prop_map(Community)),
        sorted(any::<[u8; 8]>().prop_map(ExtendedCommunity)),
        sorted(large),
        any::<Option<Ipv4Addr>>(),
        prop::collection::vec(any::<Ipv4Addr>(), 0..6),
        opaque,
    );
    (simple, lists).prop_map(|((origin, as_path, med, local_pref, atomic_aggregate, aggregator), lists)| {
        let (communities, extended_communities, large_communities, originator_id, clusters, unknown) = lists;
        AttributeSet {
            origin,
            as_path,
            med,
            local_pref,
            atomic_aggregate,
            aggregator,
            communities,
            extended_communities,
            large_communities,
            originator_id,
            cluster_list: clusters.into(),
            unknown: unknown
                .into_iter()
                .map(|(code, value)| Opaque { code, value: Bytes::from(value) })
                .collect(),
        }
    })
}

fn v4() -> impl Strategy<Value = Ipv4Prefix> {
    (any::<Ipv4Addr>(), 0..=32_u8).prop_map(|(address, length)| Ipv4Prefix::new(address, length).unwrap())
}

fn v6() -> impl Strategy<Value = Ipv6Prefix> {
    (any::<Ipv6Addr>(), 0..=128_u8).prop_map(|(address, length)| Ipv6Prefix::new(address, length).unwrap())
}

/// Prefixes with path identifiers.
fn paths<P: Prefix>(prefix: impl Strategy<Value = P>, most: usize) -> impl Strategy<Value = Vec<Nlri<P>>> {
    let path = (prefix, any::<u32>()).prop_map(|(prefix, path_id)| Nlri { prefix, path_id });
    prop::collection::vec(path, 1..most)
}

/// Terms that differ in all that matters for writing.
fn terms() -> impl Strategy<Value = Context> {
    (any::<bool>(), any::<bool>()).prop_map(|(add_path, extended)| {
        let add_path = if add_path { Families::dual() } else { Families::NONE };
        let max_message = if extended { header::MAX_EXTENDED } else { header::MAX_MESSAGE };
        Context {
            add_path_send: add_path,
            add_path_receive: add_path,
            max_message,
            extended_next_hop: Families::dual(),
            ..context(true, None)
        }
    })
}

/// What is read of these on such a session: identifiers come only where they were negotiated.
fn as_read<P: Prefix>(paths: &[Nlri<P>], context: &Context) -> Vec<Nlri<P>> {
    let shown = |nlri: &Nlri<P>| {
        if context.add_path_receive.is_empty() { Nlri::from(nlri.prefix) } else { *nlri }
    };
    paths.iter().map(shown).collect()
}

/// Takes a stream apart as a session does.
fn updates(stream: &[u8], context: &Context) -> Vec<Update> {
    let mut stream = BytesMut::from(stream);
    let mut found = Vec::new();
    while let Some((header, message)) = Message::take(&mut stream, context.max_message).unwrap() {
        assert!(header.length <= context.max_message);
        let Message::Update(body) = message else { panic!("{message:?}") };
        found.push(update::decode(&body, context).unwrap());
    }
    assert!(stream.is_empty());
    found
}

proptest! {
    #[test]
    fn announced_ipv4_is_read_as_it_was_written(
        set in attributes(),
        prefixes in paths(v4(), 3000),
        by_ipv6 in any::<bool>(),
        context in terms(),
    ) {
        let address: IpAddr = if by_ipv6 { "fd00::1".parse().unwrap() } else { "192.0.2.1".parse().unwrap() };
        let next_hop = NextHop::from(address);
        let mut out = BytesMut::new();
        update::announce(&set, &next_hop, &prefixes, &context, &mut out).unwrap();
        let mut found = Vec::new();
        for update in updates(&out, &context) {
            prop_assert_eq!(&update.faults[..], &[]);
            prop_assert_eq!(update.attributes.as_ref(), Some(&set));
            prop_assert_eq!(update.ipv4.announced[0].next_hop, next_hop);
            found.extend(update.ipv4.announced[0].prefixes.iter());
        }
        prop_assert_eq!(found, as_read(&prefixes, &context));
    }

    #[test]
    fn announced_ipv6_is_read_as_it_was_written(
        set in attributes(),
        prefixes in paths(v6(), 800),
        link_local in any::<bool>(),
        context in terms(),
    ) {
        let link_local = link_local.then(|| "fe80::1".parse().unwrap());
        let next_hop = NextHop { address: "fd00::1".parse().unwrap(), link_local };
        let mut out = BytesMut::new();
        update::announce(&set, &next_hop, &prefixes, &context, &mut out).unwrap();
        let mut found = Vec::new();
        for update in updates(&out, &context) {
            prop_assert_eq!(&update.faults[..], &[]);
            prop_assert_eq!(update.attributes.as_ref(), Some(&set));
            prop_assert_eq!(update.ipv6.announced[0].next_hop, next_hop);
            found.extend(update.ipv6.announced[0].prefixes.iter());
        }
        prop_assert_eq!(found, as_read(&prefixes, &context));
    }

    #[test]
    fn withdrawals_are_read_as_they_were_written(
        four in paths(v4(), 3000),
        six in paths(v6(), 800),
        context in terms(),
    ) {
        let mut out = BytesMut::new();
        update::withdraw(&four, &context, &mut out);
        update::withdraw(&six, &context, &mut out);
        let found = updates(&out, &context);
        let found_four: Vec<_> = found.iter().flat_map(|update| update.ipv4.withdrawn.iter()).collect();
        let found_six: Vec<_> = found.iter().flat_map(|update| update.ipv6.withdrawn.iter()).collect();
        prop_assert_eq!(found_four, as_read(&four, &context));
        prop_assert_eq!(found_six, as_read(&six, &context));
    }

    /// A sequence of sequences would be cut elsewhere by RFC 6793's rules, so that only the numbers are compared.
    #[test]
    fn great_as_numbers_survive_a_session_of_two_octets(asns in prop::collection::vec(asn(true), 1..40)) {
        let context = context(false, None);
        let set = AttributeSet { as_path: AsPath::sequence(asns), ..AttributeSet::default() };
        let prefixes = [Ipv4Prefix::new([10, 0, 0, 0].into(), 8).unwrap().into()];
        let mut out = BytesMut::new();
        update::announce(&set, &NextHop::from(IpAddr::from([192, 0, 2, 1])), &prefixes, &context, &mut out).unwrap();
        let found = updates(&out, &context);
        prop_assert_eq!(found[0].attributes.as_ref(), Some(&set));
    }

    #[test]
    fn open_is_read_as_it_was_written(
        my_as in any::<u16>(),
        hold in prop_oneof![Just(0), 3..=u16::MAX],
        id in 1..=u32::MAX,
        four in any::<Option<u32>>(),
        others in prop::collection::btree_map(72..=255_u8, prop::collection::vec(any::<u8>(), 0..200), 0..6),
    ) {
        let mut capabilities = vec![
            Capability::Multiprotocol(1, 1),
            Capability::RouteRefresh,
            Capability::EnhancedRefresh,
            Capability::ExtendedMessage,
        ];
        capabilities.extend(four.map(|asn| Capability::FourOctetAs(Asn(asn))));
        capabilities.extend(others.into_iter().map(|(code, value)| Capability::Other(code, Bytes::from(value))));
        let open = Open {
            my_as,
            hold_time: HoldTime::try_from(hold).unwrap(),
            identifier: RouterId::try_from(Ipv4Addr::from_bits(id)).unwrap(),
            capabilities,
        };
        let message = Message::Open(open);
        let mut out = BytesMut::new();
        message.encode(&mut out);
        let header = Header::peek(&out, header::MAX_MESSAGE).unwrap().unwrap();
        prop_assert_eq!(header.length, out.len());
        prop_assert_eq!(Message::decode(header, &out.clone().freeze().slice(header::LENGTH..)).unwrap(), message);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), four in any::<bool>()) {
        for external in [None, Some(Asn(65001))] {
            for kind in 0..=6 {
                let header = Header { length: bytes.len() + header::LENGTH, kind };
                if let Ok(Message::Update(body)) = Message::decode(header, &Bytes::from(bytes.clone())) {
                    check(&body, &context(four, external));
                }
            }
        }
        let mut framed = vec![0xff; 16];
        framed.extend(&bytes);
        if let Err(error) = Header::peek(&framed, header::MAX_EXTENDED) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    /// Noise alone hardly gets beyond the first field, so good messages are damaged.
    #[test]
    fn damaged_updates_make_no_decoder_panic(
        set in attributes(),
        prefixes in paths(v6(), 20),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let context = context(true, Some(Asn(65001)));
        let next_hop = NextHop::from(IpAddr::from(Ipv6Addr::LOCALHOST));
        let mut out = BytesMut::new();
        update::announce(&set, &next_hop, &prefixes, &context, &mut out).unwrap();
        let mut body = out[header::LENGTH..].to_vec();
        for (place, value) in damage {
            let place = place.index(body.len());
            body[place] = value;
        }
        let body = Bytes::from(body);
        check(&body, &context);
        check(&body.slice(..cut.index(body.len())), &context);
    }
}

/// Whatever is read: what is announced has attributes, and what has faults worth a withdrawal announces nothing.
fn check(body: &Bytes, context: &Context) {
    use caracal_bgp::wire::error::Disposition;
    match update::decode(body, context) {
        Ok(update) => {
            let announces = !update.ipv4.announced.is_empty() || !update.ipv6.announced.is_empty();
            assert_eq!(announces, update.attributes.is_some());
            let worst = update.faults.iter().map(|fault| fault.disposition()).max();
            assert!(worst < Some(Disposition::SessionReset));
            assert!(!announces || worst < Some(Disposition::TreatAsWithdraw));
        }
        Err(error) => {
            assert_eq!(error.disposition(), Disposition::SessionReset, "{error}");
            assert_eq!(error.notification().cause.codes().0, 3, "{error}");
        }
    }
}

#[test]
fn many_prefixes_are_packed_into_few_messages() {
    let prefixes: Vec<_> = (0..10_000_u32)
        .map(|n| Ipv4Prefix::new(Ipv4Addr::from_bits(0x0a00_0000 + (n << 8)), 24).unwrap().into())
        .collect();
    let context = context(true, None);
    let mut out = BytesMut::new();
    let set = AttributeSet::default();
    update::announce(&set, &NextHop::from(IpAddr::from([192, 0, 2, 1])), &prefixes, &context, &mut out)
        .unwrap();
    // Each prefix takes four octets, and some forty are spent on each message.
    assert_eq!(updates(&out, &context).len(), 10);
}

#[test]
fn attributes_that_leave_no_room_for_a_prefix_are_told_and_nothing_is_written() {
    let set = AttributeSet { communities: (0..1020).map(Community).collect(), ..AttributeSet::default() };
    let prefixes = [Ipv4Prefix::new([10, 0, 0, 0].into(), 8).unwrap().into()];
    let mut out = BytesMut::new();
    let next_hop = NextHop::from(IpAddr::from([192, 0, 2, 1]));
    let result = update::announce(&set, &next_hop, &prefixes, &context(true, None), &mut out);
    assert!(matches!(result, Err(Unannounceable::TooBig { limit: 4096, .. })), "{result:?}");
    assert!(out.is_empty());
}

#[test]
fn the_end_of_rib_has_23_octets_for_ipv4() {
    let mut out = BytesMut::new();
    update::end_of_rib(Family::Ipv4Unicast, &mut out);
    assert_eq!(out.len(), 23);
    assert!(updates(&out, &context(true, None))[0].ipv4.end_of_rib);
    out.clear();
    update::end_of_rib(Family::Ipv6Unicast, &mut out);
    assert!(updates(&out, &context(true, None))[0].ipv6.end_of_rib);
}

#[test]
fn an_open_of_real_life_is_read() {
    // One capability a parameter, the way some speakers do it; one of them unknown, one repeated.
    let body = [
        4, 0x5b, 0xa0, 0, 180, 10, 0, 0, 1, 30, 2, 6, 1, 4, 0, 1, 0, 1, 2, 2, 2, 0, 2, 2, 2, 0, 2, 2, 128, 0,
        2, 6, 65, 4, 0, 1, 0, 0,
    ];
    let mut body = body.to_vec();
    body[9] = u8::try_from(body.len() - 10).unwrap();
    let open = Open::decode(&body).unwrap();
    assert_eq!((open.asn(), open.hold_time.seconds()), (Asn(65536), 180));
    assert_eq!(open.families(), [Family::Ipv4Unicast].into_iter().collect());
    assert_eq!(open.capabilities.len(), 4, "what is repeated counts once");
    assert!(open.route_refresh());
}

#[test]
fn only_the_type_of_the_first_parameter_makes_lengths_extended() {
    // RFC 9072: type 255 first, then a length of two octets, then parameters with lengths of two octets.
    let extended = [4, 0, 1, 0, 90, 10, 0, 0, 1, 255, 255, 0, 5, 2, 0, 2, 2, 0];
    assert!(Open::decode(&extended).unwrap().route_refresh());
    // The length before the type may be anything but zero.
    let mut other = extended;
    other[9] = 7;
    assert!(Open::decode(&other).unwrap().route_refresh());
    // 255 octets of ordinary parameters are ordinary.
    let mut ordinary = vec![4, 0, 1, 0, 90, 10, 0, 0, 1, 255, 2, 253, 2, 0, 200, 249];
    ordinary.extend([0; 249]);
    assert!(Open::decode(&ordinary).unwrap().route_refresh());
}

#[test]
fn opens_that_must_be_refused_are_refused_with_the_right_words() {
    let good = [4, 0, 1, 0, 90, 10, 0, 0, 1, 0];
    assert!(Open::decode(&good).is_ok());
    let with = |place: usize, value: u8| {
        let mut bytes = good;
        bytes[place] = value;
        Open::decode(&bytes).unwrap_err().notification()
    };
    assert_eq!(with(0, 3).cause.codes(), (2, 1));
    assert_eq!(&with(0, 3).data[..], [0, 4]);
    assert_eq!(with(4, 1).cause.codes(), (2, 6));
    assert_eq!(with(4, 2).cause.codes(), (2, 6));
    assert_eq!(with(9, 1).cause.codes(), (2, 0));
    let zero_id = [4, 0, 1, 0, 90, 0, 0, 0, 0, 0];
    assert_eq!(Open::decode(&zero_id).unwrap_err().notification().cause.codes(), (2, 3));
    let unknown_parameter = [4, 0, 1, 0, 90, 10, 0, 0, 1, 3, 1, 1, 0];
    assert_eq!(Open::decode(&unknown_parameter).unwrap_err().notification().cause.codes(), (2, 4));
}

#[test]
fn small_messages_are_read_as_they_were_written() {
    let notification = Notification { cause: Cause::from_codes(6, 2), data: Bytes::from_static(b"\x02hi") };
    for message in [
        Message::Keepalive,
        Message::Notification(notification),
        Message::RouteRefresh(RouteRefresh::of(Family::Ipv6Unicast)),
    ] {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        let header = Header::peek(&out, header::MAX_MESSAGE).unwrap().unwrap();
        assert_eq!(Message::decode(header, &out.clone().freeze().slice(header::LENGTH..)).unwrap(), message);
    }
}

#[test]
fn prefixes_are_masked_and_know_what_they_hold() {
    let prefix = Ipv4Prefix::new([10, 1, 2, 3].into(), 26).unwrap();
    assert_eq!(prefix.to_string(), "10.1.2.0/26");
    assert!(prefix.contains("10.1.2.63".parse().unwrap()) && !prefix.contains("10.1.2.64".parse().unwrap()));
    assert_eq!(Ipv4Prefix::new([0, 0, 0, 0].into(), 33), None);
    let network = "fd00:244::1:7/122".parse().unwrap();
    let six = Ipv6Prefix::from_network(&network).unwrap();
    assert_eq!(six.to_network().to_string(), "fd00:244::1:0/122");
    assert!(Ipv6Prefix::new(Ipv6Addr::UNSPECIFIED, 0).unwrap().contains("::1".parse().unwrap()));
    assert_eq!(Ipv4Prefix::from_network(&network), None);
}
