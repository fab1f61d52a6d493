//! Every message octet by octet, written down here from the drawings of RFC 7854 §4.

use super::*;
use crate::wire::notification::{Cause, Cease};

fn header(view: View, address: &str) -> PeerHeader {
    PeerHeader {
        view,
        address: address.parse().unwrap(),
        asn: Asn(65_551),
        id: RouterId::try_from(std::net::Ipv4Addr::new(192, 0, 2, 9)).unwrap(),
        at: UNIX_EPOCH + Duration::new(0x0102_0304, 5_000),
    }
}

/// The octets of that header: type, flags, distinguisher, address, AS, identifier, seconds, microseconds.
fn header_octets(flags: u8, address: &[u8]) -> Vec<u8> {
    let mut all = vec![0, flags, 0, 0, 0, 0, 0, 0, 0, 0];
    all.extend(vec![0; 16 - address.len()]);
    all.extend(address);
    all.extend([0, 1, 0, 15, 192, 0, 2, 9, 1, 2, 3, 4, 0, 0, 0, 5]);
    assert_eq!(all.len(), 42);
    all
}

/// A message of this type with this body.
fn octets(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 6).unwrap();
    [&[3], length.to_be_bytes().as_slice(), &[kind], body].concat()
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

const V4: [u8; 4] = [192, 0, 2, 9];

#[test]
fn an_initiation_says_who_speaks() {
    let body = [&[0, 1, 0, 4], b"desc".as_slice(), &[0, 2, 0, 2], b"me"].concat();
    assert_eq!(written(|out| initiation("me", "desc", out)), octets(4, &body));
}

#[test]
fn long_words_are_cut_between_characters() {
    let name = "\u{e9}".repeat(200);
    let said = written(|out| initiation(&name, "", out));
    let length = usize::from(u16::from_be_bytes([said[12], said[13]]));
    assert_eq!((length, said.len()), (254, 14 + 254));
    assert!(std::str::from_utf8(&said[14..]).is_ok());
}

#[test]
fn a_termination_has_words_and_a_reason() {
    let body = [&[0, 1, 0, 2, 0, 2, 0, 0, 0, 3], b"bye".as_slice()].concat();
    assert_eq!(written(|out| termination(Goodbye::OutOfResources, "bye", out)), octets(5, &body));
}

#[test]
fn peer_up_has_the_connection_and_both_opens() {
    let opens = Opens { sent: b"sent open".as_slice().into(), received: b"received open".as_slice().into() };
    let (local, remote) = ("192.0.2.1:179".parse().unwrap(), "192.0.2.9:40000".parse().unwrap());
    let header = header(View::PrePolicy, "192.0.2.9");
    let mut body = header_octets(0, &V4);
    body.extend([0; 12]);
    body.extend([192, 0, 2, 1, 0, 179, 0x9c, 0x40]);
    body.extend(b"sent openreceived open");
    body.extend([0, 0, 0, 3]);
    body.extend(b"tor");
    assert_eq!(written(|out| peer_up(&header, local, remote, &opens, "tor", out)), octets(3, &body));
}

#[test]
fn flags_tell_ipv6_and_what_was_seen_after_the_policy() {
    let v6: [u8; 16] = std::array::from_fn(|place| if place == 15 { 9 } else { 0x20 });
    let address = std::net::Ipv6Addr::from(v6).to_string();
    for (view, address, flags, wanted) in [
        (View::PrePolicy, "192.0.2.9", 0x00, V4.as_slice()),
        (View::PostPolicy, "192.0.2.9", 0x40, &V4),
        (View::PrePolicy, &address, 0x80, &v6),
        (View::PostPolicy, &address, 0xc0, &v6),
    ] {
        let said = written(|out| route_monitoring(&header(view, address), b"an update", out));
        let body = [header_octets(flags, wanted), b"an update".to_vec()].concat();
        assert_eq!(said, octets(0, &body), "{view:?} {address}");
    }
}

#[test]
fn every_reason_of_a_peer_down_has_its_number_and_its_data() {
    let header = header(View::PrePolicy, "192.0.2.9");
    let words = Notification { cause: Cause::Cease(Cease::Shutdown), data: [7].as_slice().into() };
    let mut notification = vec![0xff; 16];
    notification.extend([0, 22, 3, 6, 2, 7]);
    for (ending, wanted) in [
        (Ending::Said(words.clone()), [[1].as_slice(), &notification].concat()),
        (Ending::Silent, vec![2, 0, 0]),
        (Ending::Heard(words), [[3].as_slice(), &notification].concat()),
        (Ending::Lost, vec![4]),
        (Ending::Deconfigured, vec![5]),
    ] {
        let body = [header_octets(0, &V4), wanted].concat();
        assert_eq!(written(|out| peer_down(&header, &ending, out)), octets(2, &body), "{ending:?}");
    }
}

#[test]
fn statistics_are_gauges_of_all_and_by_family() {
    let gauges = |received, announced| Gauges { received, announced };
    let families = [(Family::Ipv4Unicast, gauges(3, 4)), (Family::Ipv6Unicast, gauges(0x100, 6))];
    let mut body = header_octets(0, &V4);
    body.extend([0, 0, 0, 6]);
    body.extend([0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 1, 3]);
    body.extend([0, 9, 0, 11, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 3]);
    body.extend([0, 9, 0, 11, 0, 2, 1, 0, 0, 0, 0, 0, 0, 1, 0]);
    body.extend([0, 15, 0, 8, 0, 0, 0, 0, 0, 0, 0, 10]);
    body.extend([0, 17, 0, 11, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 4]);
    body.extend([0, 17, 0, 11, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 6]);
    let header = header(View::PrePolicy, "192.0.2.9");
    assert_eq!(written(|out| statistics(&header, &families, out)), octets(1, &body));
}
