//! What every decoder must hold to whatever bytes a peer sends: it returns, it allocates in proportion to its input,
//! and what it accepts survives being written and read again.
//!
//! The first octets of an input choose the terms of the session. Shared by the fuzz targets beside this file and by the
//! test of caracal-bgp that replays their corpus.

#![allow(dead_code, reason = "each fuzz target uses one of these")]

use std::net::IpAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use caracal_bgp::bfd::{Arrival, Hops, Packet, Place, Sessions, Timers};
use caracal_bgp::wire::Context;
use caracal_bgp::wire::attribute::NextHop;
use caracal_bgp::wire::code_points::message as kind;
use caracal_bgp::wire::error::{Disposition, Error};
use caracal_bgp::wire::header::{self, Header};
use caracal_bgp::wire::message::Message;
use caracal_bgp::wire::nlri::{Nlri, NlriList, Prefix};
use caracal_bgp::wire::update::{self, Update};
use caracal_bgp::{Asn, AttributeCodes, Families};

/// Takes any octets, and panics if something does not hold.
pub(crate) type Target = fn(&[u8]);

/// The name and the function of every target.
pub(crate) const TARGETS: [(&str, Target); 9] = [
    ("stream", stream),
    ("message", message),
    ("open", open),
    ("capabilities", capabilities),
    ("notification", notification),
    ("route_refresh", route_refresh),
    ("update", update),
    ("attribute", attribute),
    ("bfd", bfd),
];

/// A BFD packet, and a session that it comes to: what is accepted is written and read again, whatever it says.
pub(crate) fn bfd(bytes: &[u8]) {
    let from = Place { address: IpAddr::from([192, 0, 2, 1]), scope: 0 };
    let (mut sessions, now, mut out) = (Sessions::new(1), Instant::now(), Vec::new());
    sessions.open(now, from.address.into(), (from, Hops::One), (Timers::DEFAULT, None), &mut out);
    if let Ok(packet) = Packet::decode(bytes) {
        assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }
    let arrival = Arrival { from, hops: Hops::One, ttl: Some(255) };
    for _ in 0..3 {
        if let Err(error) = sessions.received(now, arrival, bytes, &mut out) {
            assert!(!error.to_string().is_empty() && !error.code().is_empty());
        }
        if let Some(next) = sessions.deadline() {
            sessions.tick(next.max(now), &mut out);
        }
    }
    assert!(out.len() < 32, "an answer for each packet, and no flood");
}

/// The terms that an octet stands for.
pub(crate) fn terms(octet: u8) -> Context {
    let bit = |place: u8| octet >> place & 1 == 1;
    let families = |place| if bit(place) { Families::dual() } else { Families::NONE };
    let external = bit(0);
    Context {
        enforce_first_as: bit(1),
        four_octet: bit(2),
        add_path_receive: families(3),
        add_path_send: families(3),
        extended_next_hop: families(4),
        refused_attributes: if external { AttributeCodes::HARMFUL } else { AttributeCodes::NONE },
        max_message: if bit(5) { header::MAX_EXTENDED } else { header::MAX_MESSAGE },
        ..Context::new(external.then_some(Asn(65001)), Families::dual())
    }
}

/// A whole stream, as a session's reader takes it apart.
pub(crate) fn stream(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let context = terms(*first);
    let mut stream = BytesMut::from(rest);
    loop {
        let before = stream.len();
        match Message::take(&mut stream, context.max_message) {
            Ok(Some((header, read))) => {
                assert_eq!(before - stream.len(), header.length, "a message is taken whole");
                assert!(header.length <= context.max_message);
                match read {
                    Message::Update(body) => check_update(&body, &context),
                    other => again(&other),
                }
            }
            Ok(None) => return,
            Err(error) => return told(&error),
        }
    }
}

/// One body as a message of each type.
pub(crate) fn message(bytes: &[u8]) {
    for kind in 0..=6 {
        decode(kind, bytes);
    }
}

/// The body of an OPEN.
pub(crate) fn open(bytes: &[u8]) {
    decode(kind::OPEN, bytes);
}

/// The capabilities in an OPEN, in parameters of both forms.
pub(crate) fn capabilities(bytes: &[u8]) {
    let head = [4, 0, 1, 0, 90, 10, 0, 0, 1];
    if let Ok(length) = u8::try_from(bytes.len())
        && let Some(total) = length.checked_add(2)
    {
        decode(kind::OPEN, &[&head, &[total, 2, length][..], bytes].concat());
    }
    if let (Ok(length), Ok(total)) = (u16::try_from(bytes.len()), u16::try_from(bytes.len() + 3)) {
        let ([t1, t2], [l1, l2]) = (total.to_be_bytes(), length.to_be_bytes());
        decode(kind::OPEN, &[&head, &[255, 255, t1, t2, 2, l1, l2][..], bytes].concat());
    }
}

/// The body of a NOTIFICATION.
pub(crate) fn notification(bytes: &[u8]) {
    decode(kind::NOTIFICATION, bytes);
}

/// The body of a ROUTE-REFRESH.
pub(crate) fn route_refresh(bytes: &[u8]) {
    decode(kind::ROUTE_REFRESH, bytes);
}

/// The body of an UPDATE.
pub(crate) fn update(bytes: &[u8]) {
    if let Some((first, body)) = bytes.split_first() {
        check_update(&Bytes::copy_from_slice(body), &terms(*first));
    }
}

/// One attribute of any type, flags and value, beside mandatory ones and a prefix.
pub(crate) fn attribute(bytes: &[u8]) {
    let [first, flags, code, value @ ..] = bytes else { return };
    let context = terms(*first);
    let path: &[u8] = if context.four_octet {
        &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9]
    } else {
        &[0x40, 2, 4, 2, 1, 0xfd, 0xe9]
    };
    let beside = [&[0x40, 1, 1, 0][..], path, &[0x40, 3, 4, 192, 0, 2, 1]];
    let Ok(length) = u16::try_from(value.len()) else { return };
    let own = [&[flags | 0x10, *code][..], &length.to_be_bytes(), value].concat();
    let list: Vec<u8> = beside
        .into_iter()
        .filter(|one| one.get(1) != Some(code))
        .chain([&own[..]])
        .flatten()
        .copied()
        .collect();
    let Ok(length) = u16::try_from(list.len()) else { return };
    let prefix: &[u8] =
        if context.add_path_receive.is_empty() { &[24, 10, 1, 2] } else { &[0, 0, 0, 1, 24, 10, 1, 2] };
    let body = [&[0, 0][..], &length.to_be_bytes(), &list, prefix].concat();
    check_update(&Bytes::from(body), &context);
}

fn decode(kind: u8, bytes: &[u8]) {
    let header = Header { length: bytes.len() + header::LENGTH, kind };
    match Message::decode(header, &Bytes::copy_from_slice(bytes)) {
        Ok(Message::Update(body)) => (0..64).for_each(|octet| check_update(&body, &terms(octet))),
        Ok(other) => again(&other),
        Err(error) => told(&error),
    }
}

/// What was read is written, and read again as the same.
fn again(read: &Message) {
    let mut out = BytesMut::new();
    read.encode(&mut out);
    // Only words that fill a message of an extended session are cut off.
    if let Message::Notification(words) = read
        && words.data.len() > header::MAX_MESSAGE - header::LENGTH - 2
    {
        return;
    }
    // An OPEN outgrows 4096 octets only by capabilities that came in one that was longer than may be.
    if out.len() > header::MAX_MESSAGE {
        return;
    }
    let second = Message::take(&mut out, header::MAX_MESSAGE);
    assert!(matches!(&second, Ok(Some((_, second))) if second == read), "{read:?} became {second:?}");
    assert!(out.is_empty());
}

/// Every error has words for people and for the peer.
fn told(error: &Error) {
    assert!(!error.to_string().is_empty() && !error.rfc().is_empty());
    assert_eq!(error.disposition(), Disposition::SessionReset, "{error}");
    let mut out = BytesMut::new();
    Message::Notification(error.notification()).encode(&mut out);
    assert!(out.len() <= header::MAX_MESSAGE);
}

/// Whatever is read: what is announced has attributes, what has faults worth a withdrawal announces nothing, nothing
/// is larger than what it came from, and all of it can be written and read again.
fn check_update(body: &Bytes, context: &Context) {
    let read = match update::decode(body, context) {
        Ok(read) => read,
        Err(error) => return told(&error),
    };
    let announces = !read.ipv4.announced.is_empty() || !read.ipv6.announced.is_empty();
    assert_eq!(announces, read.attributes.is_some());
    let worst = read.faults.iter().map(Error::disposition).max();
    assert!(worst < Some(Disposition::SessionReset));
    assert!(!announces || worst < Some(Disposition::TreatAsWithdraw));
    let prefixes = |count: usize| assert!(count <= body.len(), "more prefixes than octets");
    prefixes(read.ipv4.withdrawn.len() + read.ipv6.withdrawn.len());
    assert_eq!(read.ipv4.withdrawn.iter().count(), read.ipv4.withdrawn.len());
    assert_eq!(read.ipv6.withdrawn.iter().count(), read.ipv6.withdrawn.len());
    for reach in &read.ipv4.announced {
        rewrite(&read, &reach.next_hop, &reach.prefixes, context, |update| {
            update.ipv4.announced.iter().flat_map(|reach| reach.prefixes.iter()).collect()
        });
    }
    for reach in &read.ipv6.announced {
        rewrite(&read, &reach.next_hop, &reach.prefixes, context, |update| {
            update.ipv6.announced.iter().flat_map(|reach| reach.prefixes.iter()).collect()
        });
    }
}

fn rewrite<P: Prefix>(
    read: &Update,
    next_hop: &NextHop,
    prefixes: &NlriList<P>,
    context: &Context,
    found: impl Fn(&Update) -> Vec<Nlri<P>>,
) {
    let Some(set) = &read.attributes else { return };
    let (mut out, list) = (BytesMut::new(), prefixes.iter().collect::<Vec<_>>());
    assert_eq!(list.len(), prefixes.len());
    // What may not be announced again (too long, or an unsuitable next hop) is told and not written.
    if update::announce(set, next_hop, &list, context, &mut out).is_err() {
        assert!(out.is_empty());
        return;
    }
    let mut again = Vec::new();
    while let Ok(Some((header, Message::Update(body)))) = Message::take(&mut out, context.max_message) {
        assert!(header.length <= context.max_message);
        let Ok(second) = update::decode(&body, context) else { panic!("what was written is unreadable") };
        assert!(second.faults.is_empty(), "{:?}", second.faults);
        assert_eq!(second.attributes.as_ref(), Some(set));
        again.extend(found(&second));
    }
    assert!(out.is_empty(), "what was written is no message");
    assert_eq!(again, list);
}
