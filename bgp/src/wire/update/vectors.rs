//! Every attribute, right and wrong, from inside and outside the AS, with what it must cost (RFC 7606).
//!
//! The prefix 10.1.2.0/24 is announced beside the attribute: it is used, withdrawn, or the session ends.

use super::*;

mod attributes;
use crate::config::{Asn, AttributeCodes, Families};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cost {
    /// Nothing is wrong.
    Nothing,
    /// The attribute is dropped.
    Discard,
    /// The prefix is withdrawn.
    Withdraw,
    /// The session ends with this NOTIFICATION.
    Reset(u8, u8),
}
use Cost::{Discard, Nothing, Reset, Withdraw};

const PREFIX: [u8; 4] = [24, 10, 1, 2];
const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];

pub(super) fn context(external: bool) -> Context {
    let refused_attributes = if external { AttributeCodes::HARMFUL } else { AttributeCodes::NONE };
    Context { refused_attributes, ..Context::new(external.then_some(Asn(65001)), Families::dual()) }
}

fn body(attributes: &[&[u8]], nlri: &[u8]) -> Bytes {
    let list = attributes.concat();
    let mut body = vec![0, 0];
    body.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
    body.extend(list);
    body.extend(nlri);
    body.into()
}

fn cost(body: &Bytes, context: &Context) -> Cost {
    let prefix = Ipv4Prefix::new([10, 1, 2, 0].into(), 24).unwrap();
    match decode(body, context) {
        Err(error) => {
            assert_eq!(error.disposition(), Disposition::SessionReset);
            let (code, subcode) = error.notification().cause.codes();
            Reset(code, subcode)
        }
        Ok(update) if update.ipv4.announced.is_empty() => {
            assert!(
                update.ipv4.withdrawn.prefixes().any(|one| one == prefix),
                "treat-as-withdraw that forgot to withdraw"
            );
            assert!(update.attributes.is_none());
            Withdraw
        }
        Ok(update) => {
            assert!(update.ipv4.announced[0].prefixes.prefixes().eq([prefix]));
            assert!(update.ipv4.withdrawn.is_empty());
            if update.faults.is_empty() { Nothing } else { Discard }
        }
    }
}

/// What is wrong, the attributes, the cost from outside and from inside the AS.
type Row = (&'static str, &'static [&'static [u8]], Cost, Cost);

const TABLE: &[Row] = &[
    ("nothing", &[ORIGIN, AS_PATH, NEXT_HOP], Nothing, Nothing),
    ("ORIGIN missing", &[AS_PATH, NEXT_HOP], Withdraw, Withdraw),
    ("AS_PATH missing", &[ORIGIN, NEXT_HOP], Withdraw, Withdraw),
    ("NEXT_HOP missing", &[ORIGIN, AS_PATH], Withdraw, Withdraw),
    ("no attribute at all", &[], Withdraw, Withdraw),
    // Unknown ones
    ("unknown, optional, transitive", &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 99, 2, 1, 2]], Nothing, Nothing),
    (
        "unknown, optional, not transitive",
        &[ORIGIN, AS_PATH, NEXT_HOP, &[0x80, 99, 2, 1, 2]],
        Nothing,
        Nothing,
    ),
    (
        "unknown, twice",
        &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 99, 2, 1, 2], &[0xc0, 99, 1, 1]],
        Discard,
        Discard,
    ),
    ("unknown, well-known", &[ORIGIN, AS_PATH, NEXT_HOP, &[0x40, 99, 2, 1, 2]], Withdraw, Withdraw),
    ("entropy label of June 2023", &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 28, 1, 1]], Nothing, Nothing),
    ("prefix-SID of May 2025", &[ORIGIN, AS_PATH, NEXT_HOP, &[0xe0, 40, 4, 0, 0, 0, 0]], Nothing, Nothing),
    // §4: the list ends inside an attribute
    ("list ends in a value", &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 8, 8, 0, 1, 0, 2]], Withdraw, Withdraw),
    ("list ends in a head", &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 8]], Withdraw, Withdraw),
    ("list ends in an extended length", &[ORIGIN, AS_PATH, NEXT_HOP, &[0xd0, 8, 0]], Withdraw, Withdraw),
];

#[test]
fn every_fault_costs_what_rfc_7606_says() {
    for (what, attributes, outside, inside) in TABLE {
        let body = body(attributes, &PREFIX);
        assert_eq!(cost(&body, &context(true)), *outside, "{what}, from outside");
        assert_eq!(cost(&body, &context(false)), *inside, "{what}, from inside");
    }
}

#[test]
fn a_fault_beside_no_prefix_at_all_ends_the_session() {
    // RFC 7606 §5.2.
    let body = body(&[&[0x40, 1, 1, 3], AS_PATH], &[]);
    assert_eq!(decode(&body, &context(false)).unwrap_err().fault, Fault::NoPrefixes);
}

#[test]
fn what_cannot_be_located_ends_the_session() {
    for (body, expected) in [
        (Bytes::from_static(&[0, 5, 0, 0]), (3, 1)),
        (Bytes::from_static(&[0, 0, 0, 9, 1]), (3, 1)),
        (Bytes::from_static(&[0, 0, 0]), (3, 1)),
        (Bytes::from_static(&[0, 2, 33, 1, 0, 0]), (3, 10)),
        (Bytes::from_static(&[0, 2, 24, 1, 0, 0]), (3, 10)),
        (body(&[ORIGIN, AS_PATH, NEXT_HOP], &[33, 1, 2, 3, 4, 5]), (3, 10)),
        (body(&[ORIGIN, AS_PATH, NEXT_HOP], &[24, 1]), (3, 10)),
    ] {
        let error = decode(&body, &context(false)).unwrap_err();
        assert_eq!(error.notification().cause.codes(), expected, "{body:?}");
    }
}

#[test]
fn what_comes_from_outside_and_is_for_inside_is_dropped() {
    let list: &[&[u8]] = &[
        ORIGIN,
        AS_PATH,
        NEXT_HOP,
        &[0x40, 5, 4, 0, 0, 0, 1],
        &[0x80, 9, 4, 1, 1, 1, 1],
        &[0x80, 10, 4, 1, 1, 1, 1],
        &[0xc0, 28, 1, 1],
    ];
    let outside = decode(&body(list, &PREFIX), &context(true)).unwrap().attributes.unwrap();
    assert_eq!((outside.local_pref, outside.originator_id, outside.cluster_list.len()), (None, None, 0));
    assert!(outside.unknown.is_empty());
    let inside = decode(&body(list, &PREFIX), &context(false)).unwrap().attributes.unwrap();
    assert_eq!((inside.local_pref, inside.cluster_list.len(), inside.unknown.len()), (Some(1), 1, 1));
}

#[test]
fn the_end_of_rib_is_known_in_both_forms() {
    let v4 = decode(&Bytes::from_static(&[0, 0, 0, 0]), &context(false)).unwrap();
    assert!(v4.ipv4.end_of_rib && v4.ipv6.is_empty());
    let v6 = decode(&body(&[&[0x80, 15, 3, 0, 2, 1]], &[]), &context(false)).unwrap();
    assert!(v6.ipv6.end_of_rib && v6.ipv4.is_empty());
}

#[test]
fn ipv6_next_hops_of_both_lengths_are_read() {
    let reach = |next_hop: &[u8]| {
        let mut value = vec![0, 2, 1, u8::try_from(next_hop.len()).unwrap()];
        value.extend(next_hop);
        value.extend([0, 64, 0xfd, 0, 0, 1, 0, 0, 0, 0]);
        let mut attribute = vec![0x80, 14, u8::try_from(value.len()).unwrap()];
        attribute.extend(value);
        // A legacy next hop of zeros beside it says nothing.
        let list = body(&[ORIGIN, AS_PATH, &[0x40, 3, 4, 0, 0, 0, 0], &attribute], &[]);
        let update = decode(&list, &context(false)).unwrap();
        assert!(update.faults.is_empty(), "{:?}", update.faults);
        update.ipv6.announced[0].next_hop
    };
    let global: std::net::Ipv6Addr = "fd00::1".parse().unwrap();
    let local: std::net::Ipv6Addr = "fe80::1".parse().unwrap();
    assert_eq!(reach(&global.octets()), NextHop { address: global.into(), link_local: None });
    let both = [global.octets(), local.octets()].concat();
    assert_eq!(reach(&both), NextHop { address: global.into(), link_local: Some(local) });
    let twice = [local.octets(), local.octets()].concat();
    assert_eq!(reach(&twice), NextHop { address: local.into(), link_local: None });
    let only = [[0; 16], local.octets()].concat();
    assert_eq!(reach(&only), NextHop { address: local.into(), link_local: None });
}

#[test]
fn a_two_octet_peer_passes_great_numbers_in_as4_path() {
    let narrow = Context { four_octet: false, ..context(false) };
    // 65001 23456 {…}: the last two hops are known in full.
    let path: &[u8] = &[0x40, 2, 8, 2, 3, 0xfd, 0xe9, 0x5b, 0xa0, 0x5b, 0xa0];
    let as4: &[u8] = &[0xc0, 17, 10, 2, 2, 0, 1, 0, 0, 0, 2, 0, 0];
    let update = decode(&body(&[ORIGIN, path, NEXT_HOP, as4], &PREFIX), &narrow).unwrap();
    assert_eq!(update.attributes.unwrap().as_path.to_string(), "65001 65536 131072");
    // Longer than the path itself: not to be trusted.
    let long: &[u8] = &[0xc0, 17, 18, 2, 4, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0];
    let update = decode(&body(&[ORIGIN, path, NEXT_HOP, long], &PREFIX), &narrow).unwrap();
    assert_eq!(update.attributes.unwrap().as_path.to_string(), "65001 23456 23456");
}
