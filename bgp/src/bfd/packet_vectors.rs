//! Packets as other daemons send them, and every rule of RFC 5880 §6.8.6 that needs no session.

use proptest::prelude::*;

use super::*;

/// Init, asking for 1 s both ways, three packets: written out by RFC 5880 §4.1.
const INIT: [u8; 24] = [
    0x20, 0x80, 0x03, 0x18, // version 1, no diagnostic; Init; multiplier 3; 24 octets
    0x12, 0x34, 0x56, 0x78, // my discriminator
    0x9a, 0xbc, 0xde, 0xf0, // your discriminator
    0x00, 0x0f, 0x42, 0x40, // desired min TX 1 s
    0x00, 0x04, 0x93, 0xe0, // required min RX 300 ms
    0x00, 0x00, 0xc3, 0x50, // required min echo RX 50 ms
];

fn changed(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut octets = INIT.to_vec();
    changes.iter().for_each(|(place, octet)| octets[*place] = *octet);
    octets
}

#[test]
fn a_packet_is_read_field_by_field_and_written_again() {
    let packet = Packet::decode(&INIT).unwrap();
    let expected = Packet {
        diagnostic: Diagnostic::None,
        state: State::Init,
        poll: false,
        r#final: false,
        control_plane_independent: false,
        demand: false,
        multiplier: NonZeroU8::new(3).unwrap(),
        my_discriminator: NonZeroU32::new(0x1234_5678).unwrap(),
        your_discriminator: 0x9abc_def0,
        desired_min_tx: Duration::from_secs(1),
        required_min_rx: Duration::from_millis(300),
        required_min_echo_rx: Duration::from_millis(50),
    };
    assert_eq!(packet, expected);
    assert_eq!(packet.encode(), INIT);
}

#[test]
fn every_bit_of_the_head_has_its_meaning() {
    let read = |first: u8, flags: u8| Packet::decode(&changed(&[(0, first), (1, flags)])).unwrap();
    let states = [State::AdminDown, State::Down, State::Init, State::Up];
    assert_eq!([0x00, 0x40, 0x80, 0xc0].map(|flags| read(0x20, flags).state), states);
    assert!(read(0x20, 0xe0).poll && !read(0x20, 0xe0).r#final);
    assert!(read(0x20, 0xd0).r#final && !read(0x20, 0xd0).poll);
    assert!(read(0x20, 0xc8).control_plane_independent);
    assert!(read(0x20, 0xc2).demand);
    assert_eq!(read(0x21, 0x40).diagnostic, Diagnostic::DetectionTimeExpired);
    assert_eq!(read(0x23, 0x40).diagnostic, Diagnostic::NeighborSignaledDown);
    assert_eq!(read(0x27, 0x40).diagnostic, Diagnostic::AdministrativelyDown);
    assert_eq!(read(0x3f, 0x40).diagnostic, Diagnostic::Other(31));
}

#[test]
fn each_broken_rule_of_rfc_5880_6_8_6_is_named() {
    let rules: [(&str, Vec<u8>, PacketError); 12] = [
        ("shorter than the mandatory section", INIT[..23].to_vec(), PacketError::Short(23)),
        ("nothing at all", Vec::new(), PacketError::Short(0)),
        ("version 0", changed(&[(0, 0x00)]), PacketError::Version(0)),
        ("version 2", changed(&[(0, 0x40)]), PacketError::Version(2)),
        ("length 23 without authentication", changed(&[(3, 23)]), PacketError::LengthTooSmall(23)),
        ("length 25 with authentication", changed(&[(1, 0x84), (3, 25)]), PacketError::LengthTooSmall(25)),
        (
            "length beyond the datagram",
            changed(&[(3, 25)]),
            PacketError::LengthTooGreat { stated: 25, found: 24 },
        ),
        ("multiplier 0", changed(&[(2, 0)]), PacketError::ZeroMultiplier),
        ("the multipoint bit", changed(&[(1, 0x81)]), PacketError::Multipoint),
        ("my discriminator 0", changed(&[(4, 0), (5, 0), (6, 0), (7, 0)]), PacketError::ZeroDiscriminator),
        (
            "your discriminator 0 in Init",
            changed(&[(8, 0), (9, 0), (10, 0), (11, 0)]),
            PacketError::Unaddressed(State::Init),
        ),
        (
            "your discriminator 0 in Up",
            changed(&[(1, 0xc0), (8, 0), (9, 0), (10, 0), (11, 0)]),
            PacketError::Unaddressed(State::Up),
        ),
    ];
    for (rule, octets, error) in rules {
        assert_eq!(Packet::decode(&octets), Err(error), "{rule}");
        assert!(!error.to_string().is_empty() && !error.code().is_empty());
    }
    let mut authenticated = changed(&[(1, 0x84), (3, 28)]);
    authenticated.extend([1, 4, 1, b'x']);
    assert_eq!(Packet::decode(&authenticated), Err(PacketError::Authenticated));
}

#[test]
fn who_does_not_know_us_yet_may_be_down_or_administratively_down() {
    for flags in [0x00, 0x40] {
        let octets = changed(&[(1, flags), (8, 0), (9, 0), (10, 0), (11, 0)]);
        assert_eq!(Packet::decode(&octets).map(|packet| packet.your_discriminator), Ok(0));
    }
}

#[test]
fn what_follows_the_packet_is_not_looked_at() {
    let mut octets = INIT.to_vec();
    octets.extend([0xff; 8]);
    assert_eq!(Packet::decode(&octets), Packet::decode(&INIT));
}

proptest! {
    #[test]
    fn whatever_is_accepted_survives_being_written(octets in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(packet) = Packet::decode(&octets) {
            prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
        }
    }

    #[test]
    fn any_head_that_is_right_in_form_is_accepted(first in 0x20_u8..0x40, flags: u8, multiplier in 1_u8..) {
        let octets = changed(&[(0, first), (1, flags & 0xfa), (2, multiplier)]);
        let packet = Packet::decode(&octets).unwrap();
        prop_assert_eq!(packet.encode().to_vec(), octets);
    }
}
