//! Every attribute of the table in every way it can be wrong, from inside and outside the AS.
//!
//! A [`Subject`] says what a good value is and what malformed ones cost; the ways to be wrong are the same for all:
//! cut short, too long, wrong flags, twice; and each has wrong values of its own.

use super::*;

/// What it costs from outside and from inside the AS.
type Costs = (Cost, Cost);

struct Subject {
    code: u8,
    flags: u8,
    good: &'static [u8],
    /// One octet less; `None` if that is good as well, or nothing is less.
    cut: Option<Costs>,
    /// With this added at the end.
    over: (&'static [u8], Costs),
    /// Malformed values are judged by this section.
    rfc: &'static str,
    /// Values of a good length that mean nothing, each with the section that says so.
    wrong: &'static [(&'static str, &'static [u8], Costs, &'static str)],
    /// The session has AS numbers of two octets.
    narrow: bool,
}

const BOTH_WITHDRAW: Costs = (Withdraw, Withdraw);
const BOTH_DISCARD: Costs = (Discard, Discard);
const BOTH_RESET: Costs = (Reset(3, 9), Reset(3, 9));
const NOT_FROM_OUTSIDE: Costs = (Nothing, Withdraw);

const MP_NEXT_HOP: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

const SUBJECTS: &[Subject] = &[
    Subject {
        code: code::ORIGIN,
        flags: 0x40,
        good: &[0],
        cut: Some(BOTH_WITHDRAW),
        over: (&[0], BOTH_WITHDRAW),
        rfc: "RFC 7606 §7.1",
        wrong: &[
            ("undefined", &[3], BOTH_WITHDRAW, "RFC 7606 §7.1"),
            ("far from defined", &[255], BOTH_WITHDRAW, "RFC 7606 §7.1"),
        ],
        narrow: false,
    },
    Subject {
        code: code::AS_PATH,
        flags: 0x40,
        good: &[2, 1, 0, 0, 0xfd, 0xe9],
        cut: Some(BOTH_WITHDRAW),
        over: (&[2], BOTH_WITHDRAW),
        rfc: "RFC 7606 §7.2",
        wrong: &[
            ("empty", &[], (Withdraw, Nothing), "RFC 4271 §6.3"),
            ("segment of no AS", &[2, 0], BOTH_WITHDRAW, "RFC 7606 §7.2"),
            ("segment overrun", &[2, 2, 0, 0, 0xfd, 0xe9], BOTH_WITHDRAW, "RFC 7606 §7.2"),
            ("segment of type 0", &[0, 1, 0, 0, 0xfd, 0xe9], BOTH_WITHDRAW, "RFC 7606 §7.2"),
            ("segment of type 5", &[5, 1, 0, 0, 0xfd, 0xe9], BOTH_WITHDRAW, "RFC 7606 §7.2"),
            ("confederation sequence", &[3, 1, 0, 0, 0xfd, 0xe9], BOTH_WITHDRAW, "RFC 7606 §7.2"),
            ("confederation set", &[4, 1, 0, 0, 0xfd, 0xe9], BOTH_WITHDRAW, "RFC 7606 §7.2"),
            ("AS 0", &[2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 0], BOTH_WITHDRAW, "RFC 7607 §2"),
            ("another first AS", &[2, 1, 0, 0, 0xfd, 0xea], (Withdraw, Nothing), "RFC 4271 §6.3"),
            ("a set first", &[1, 1, 0, 0, 0xfd, 0xe9], (Withdraw, Nothing), "RFC 4271 §6.3"),
        ],
        narrow: false,
    },
    Subject {
        code: code::NEXT_HOP,
        flags: 0x40,
        good: &[192, 0, 2, 1],
        cut: Some(BOTH_WITHDRAW),
        over: (&[0], BOTH_WITHDRAW),
        rfc: "RFC 7606 §7.3",
        wrong: &[
            ("multicast", &[224, 0, 0, 1], BOTH_WITHDRAW, "RFC 7606 §7.3"),
            ("zero", &[0, 0, 0, 0], BOTH_WITHDRAW, "RFC 7606 §7.3"),
            ("loopback", &[127, 0, 0, 1], BOTH_WITHDRAW, "RFC 7606 §7.3"),
            ("class E", &[240, 0, 0, 1], BOTH_WITHDRAW, "RFC 7606 §7.3"),
        ],
        narrow: false,
    },
    Subject {
        code: code::MED,
        flags: 0x80,
        good: &[0, 0, 0, 1],
        cut: Some(BOTH_WITHDRAW),
        over: (&[0], BOTH_WITHDRAW),
        rfc: "RFC 7606 §7.4",
        wrong: &[],
        narrow: false,
    },
    Subject {
        code: code::LOCAL_PREF,
        flags: 0x40,
        good: &[0, 0, 0, 1],
        cut: Some(NOT_FROM_OUTSIDE),
        over: (&[0], NOT_FROM_OUTSIDE),
        rfc: "RFC 7606 §7.5",
        wrong: &[],
        narrow: false,
    },
    Subject {
        code: code::ATOMIC_AGGREGATE,
        flags: 0x40,
        good: &[],
        cut: None,
        over: (&[0], BOTH_DISCARD),
        rfc: "RFC 7606 §7.6",
        wrong: &[],
        narrow: false,
    },
    Subject {
        code: code::AGGREGATOR,
        flags: 0xc0,
        good: &[0, 0, 0, 1, 1, 1, 1, 1],
        cut: Some(BOTH_DISCARD),
        over: (&[0], BOTH_DISCARD),
        rfc: "RFC 7606 §7.7",
        wrong: &[
            ("of two-octet form", &[0, 1, 1, 1, 1, 1], BOTH_DISCARD, "RFC 7606 §7.7"),
            ("AS 0", &[0, 0, 0, 0, 1, 1, 1, 1], BOTH_DISCARD, "RFC 7607 §2"),
        ],
        narrow: false,
    },
    Subject {
        code: code::AGGREGATOR,
        flags: 0xc0,
        good: &[0, 1, 1, 1, 1, 1],
        cut: Some(BOTH_DISCARD),
        over: (&[0], BOTH_DISCARD),
        rfc: "RFC 7606 §7.7",
        wrong: &[("of four-octet form", &[0, 0, 0, 1, 1, 1, 1, 1], BOTH_DISCARD, "RFC 7606 §7.7")],
        narrow: true,
    },
    Subject {
        code: code::COMMUNITIES,
        flags: 0xc0,
        good: &[0, 1, 0, 2],
        cut: Some(BOTH_WITHDRAW),
        over: (&[0], BOTH_WITHDRAW),
        rfc: "RFC 7606 §7.8",
        wrong: &[("empty", &[], BOTH_WITHDRAW, "RFC 7606 §7.8")],
        narrow: false,
    },
    Subject {
        code: code::ORIGINATOR_ID,
        flags: 0x80,
        good: &[1, 1, 1, 1],
        cut: Some(NOT_FROM_OUTSIDE),
        over: (&[0], NOT_FROM_OUTSIDE),
        rfc: "RFC 7606 §7.9",
        wrong: &[],
        narrow: false,
    },
    Subject {
        code: code::CLUSTER_LIST,
        flags: 0x80,
        good: &[1, 1, 1, 1, 2, 2, 2, 2],
        cut: Some(NOT_FROM_OUTSIDE),
        over: (&[0], NOT_FROM_OUTSIDE),
        rfc: "RFC 7606 §7.10",
        wrong: &[("empty", &[], NOT_FROM_OUTSIDE, "RFC 7606 §7.10")],
        narrow: false,
    },
    Subject {
        code: code::MP_REACH,
        flags: 0x80,
        good: &[0, 2, 1, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 16, 0xfd, 1],
        cut: Some(BOTH_RESET),
        over: (&[64], BOTH_RESET),
        rfc: "RFC 7606 §7.11",
        wrong: &[
            ("of nothing", &[], BOTH_RESET, "RFC 7606 §7.11"),
            ("without a next hop", &[0, 2, 1, 0, 0, 16, 0xfd, 1], BOTH_RESET, "RFC 7606 §7.11"),
            (
                "with a next hop of 24",
                &[
                    0, 2, 1, 24, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                    22, 23, 24, 0,
                ],
                BOTH_RESET,
                "RFC 7606 §7.11",
            ),
            ("with a next hop beyond its end", &[0, 2, 1, 16, 0xfd, 0], BOTH_RESET, "RFC 7606 §7.11"),
            (
                "of IPv4 by IPv6, not agreed",
                &[0, 1, 1, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 8, 10],
                BOTH_RESET,
                "RFC 7606 §7.11",
            ),
            (
                "with a prefix of 129 bits",
                &[0, 2, 1, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 129],
                BOTH_RESET,
                "RFC 7606 §7.11",
            ),
            (
                "with a multicast next hop",
                &[0, 2, 1, 16, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 16, 0xfd, 1],
                BOTH_WITHDRAW,
                "RFC 7606 §7.11",
            ),
            ("of a family nobody speaks", &[0x40, 4, 70, 0, 0], (Nothing, Nothing), ""),
        ],
        narrow: false,
    },
    Subject {
        code: code::MP_UNREACH,
        flags: 0x80,
        good: &[0, 2, 1, 16, 0xfd, 1],
        cut: Some(BOTH_RESET),
        over: (&[64], BOTH_RESET),
        rfc: "RFC 7606 §7.12",
        wrong: &[
            ("of nothing", &[], BOTH_RESET, "RFC 7606 §7.12"),
            ("of half a family", &[0, 2], BOTH_RESET, "RFC 7606 §7.12"),
            ("with a prefix of 129 bits", &[0, 2, 1, 129], BOTH_RESET, "RFC 7606 §7.12"),
            ("of a family nobody speaks", &[0x40, 4, 70], (Nothing, Nothing), ""),
        ],
        narrow: false,
    },
    Subject {
        code: code::EXTENDED_COMMUNITIES,
        flags: 0xc0,
        good: &[0, 2, 0xfd, 0xe9, 0, 0, 0, 1],
        cut: Some(BOTH_WITHDRAW),
        over: (&[0], BOTH_WITHDRAW),
        rfc: "RFC 7606 §7.14",
        wrong: &[("empty", &[], BOTH_WITHDRAW, "RFC 7606 §7.14")],
        narrow: false,
    },
    Subject {
        code: code::AS4_PATH,
        flags: 0xc0,
        good: &[2, 1, 0, 1, 0, 0],
        cut: Some(BOTH_DISCARD),
        over: (&[2], BOTH_DISCARD),
        rfc: "RFC 6793 §6",
        wrong: &[
            ("segment of no AS", &[2, 0], BOTH_DISCARD, "RFC 6793 §6"),
            ("segment of type 5", &[5, 1, 0, 1, 0, 0], BOTH_DISCARD, "RFC 6793 §6"),
            ("AS 0", &[2, 1, 0, 0, 0, 0], BOTH_DISCARD, "RFC 7607 §2"),
            ("confederation, left out", &[3, 1, 0, 1, 0, 0, 2, 1, 0, 1, 0, 0], (Nothing, Nothing), ""),
        ],
        narrow: true,
    },
    Subject {
        code: code::AS4_PATH,
        flags: 0xc0,
        good: &[2, 1, 0, 1, 0, 0],
        cut: Some((Nothing, Nothing)),
        over: (&[2], (Nothing, Nothing)),
        rfc: "RFC 6793 §6",
        wrong: &[],
        narrow: false,
    },
    Subject {
        code: code::AS4_AGGREGATOR,
        flags: 0xc0,
        good: &[0, 1, 0, 0, 1, 1, 1, 1],
        cut: Some(BOTH_DISCARD),
        over: (&[0], BOTH_DISCARD),
        rfc: "RFC 6793 §6",
        wrong: &[("AS 0", &[0, 0, 0, 0, 1, 1, 1, 1], BOTH_DISCARD, "RFC 7607 §2")],
        narrow: true,
    },
    Subject {
        code: code::AS4_AGGREGATOR,
        flags: 0xc0,
        good: &[0, 1, 0, 0, 1, 1, 1, 1],
        cut: Some((Nothing, Nothing)),
        over: (&[0], (Nothing, Nothing)),
        rfc: "RFC 6793 §6",
        wrong: &[],
        narrow: false,
    },
    Subject {
        code: code::LARGE_COMMUNITIES,
        flags: 0xc0,
        good: &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1],
        cut: Some(BOTH_WITHDRAW),
        over: (&[0], BOTH_WITHDRAW),
        rfc: "RFC 8092 §6",
        wrong: &[("empty", &[], BOTH_WITHDRAW, "RFC 8092 §6")],
        narrow: false,
    },
];

impl Subject {
    fn attribute(&self, flags: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        let mut bytes = vec![flags, self.code];
        if flags & attribute::EXTENDED_LENGTH != 0 {
            bytes.push(0);
        }
        bytes.push(length);
        bytes.extend(value);
        bytes
    }

    /// The message with these in the attribute's place, beside the mandatory ones.
    fn message(&self, these: &[Vec<u8>]) -> Bytes {
        let as_path: &[u8] = if self.narrow { &[0x40, 2, 6, 2, 2, 0xfd, 0xe9, 0x5b, 0xa0] } else { AS_PATH };
        let mandatory = [ORIGIN, as_path, NEXT_HOP];
        let others = mandatory.into_iter().filter(|other| other[1] != self.code);
        let all: Vec<&[u8]> = others.chain(these.iter().map(Vec::as_slice)).collect();
        body(&all, &PREFIX)
    }

    fn expect(&self, what: &str, these: &[Vec<u8>], (outside, inside): Costs, rfc: &str) {
        let message = self.message(these);
        for (external, expected) in [(true, outside), (false, inside)] {
            let context = Context { four_octet: !self.narrow, ..context(external) };
            let whence = if external { "outside" } else { "inside" };
            let case = format!("{} {what}, from {whence}", attribute::name(self.code));
            assert_eq!(cost(&message, &context), expected, "{case}");
            let told: Vec<&str> = match decode(&message, &context) {
                Ok(update) => update.faults.iter().map(Error::rfc).collect(),
                Err(error) => vec![error.rfc()],
            };
            if expected == Nothing {
                assert!(told.is_empty(), "{case}: {told:?}");
            } else {
                assert!(told.contains(&rfc), "{case}: {rfc} is not among {told:?}");
            }
        }
    }
}

#[test]
fn every_attribute_costs_what_its_rfc_says_in_every_way_it_can_be_wrong() {
    for subject in SUBJECTS {
        let fine = (Nothing, Nothing);
        let of = |flags, value: &[u8]| vec![subject.attribute(flags, value)];
        subject.expect("as it should be", &of(subject.flags, subject.good), fine, "");
        let extended = subject.flags | attribute::EXTENDED_LENGTH;
        subject.expect("of extended length", &of(extended, subject.good), fine, "");
        if subject.flags == attribute::OPTIONAL | attribute::TRANSITIVE {
            let partial = subject.flags | attribute::PARTIAL;
            subject.expect("partial", &of(partial, subject.good), fine, "");
        }
        if let Some(costs) = subject.cut {
            let cut = &subject.good[..subject.good.len() - 1];
            subject.expect("cut short", &of(subject.flags, cut), costs, subject.rfc);
        }
        let (more, costs) = subject.over;
        let over = [subject.good, more].concat();
        subject.expect("too long", &of(subject.flags, &over), costs, subject.rfc);
        for flag in [attribute::OPTIONAL, attribute::TRANSITIVE] {
            let wrong = of(subject.flags ^ flag, subject.good);
            subject.expect("of wrong flags", &wrong, BOTH_WITHDRAW, "RFC 7606 §3 c");
        }
        let good = subject.attribute(subject.flags, subject.good);
        let again = subject.attribute(subject.flags, &over);
        let twice = match subject.code {
            code::MP_REACH | code::MP_UNREACH => (Reset(3, 1), Reset(3, 1)),
            _ => BOTH_DISCARD,
        };
        subject.expect("twice", &[good, again], twice, "RFC 7606 §3 g");
        for (what, value, costs, rfc) in subject.wrong {
            subject.expect(what, &of(subject.flags, value), *costs, rfc);
        }
    }
}

#[test]
fn no_attribute_is_left_out_of_the_table_of_wrong_ones() {
    for code in 0..=u8::MAX {
        let known = !attribute::name(code).starts_with("of type");
        assert_eq!(SUBJECTS.iter().any(|subject| subject.code == code), known, "{}", attribute::name(code));
    }
}

#[test]
fn of_several_faults_the_worst_counts() {
    // RFC 7606 §3 h.
    let discard: &[u8] = &[0x40, 6, 1, 0];
    let withdraw: &[u8] = &[0xc0, 8, 3, 0, 0, 0];
    let reset: &[u8] = &[0x80, 14, 0];
    let rest = [ORIGIN, AS_PATH, NEXT_HOP];
    for (extra, expected) in [
        (&[discard][..], Discard),
        (&[discard, withdraw], Withdraw),
        (&[withdraw, discard], Withdraw),
        (&[discard, withdraw, reset], Reset(3, 9)),
    ] {
        let all: Vec<&[u8]> = rest.into_iter().chain(extra.iter().copied()).collect();
        assert_eq!(cost(&body(&all, &PREFIX), &context(true)), expected);
    }
}

#[test]
fn ipv4_by_an_ipv6_next_hop_is_read_where_it_was_agreed() {
    let agreed = Context { extended_next_hop: Families::dual(), ..context(false) };
    let reach = |next_hop: &[u8]| {
        let mut value = vec![0, 1, 1, u8::try_from(next_hop.len()).unwrap()];
        value.extend(next_hop);
        value.extend([0, 24, 10, 1, 2]);
        let mut attribute = vec![0x80, 14, u8::try_from(value.len()).unwrap()];
        attribute.extend(value);
        decode(&body(&[ORIGIN, AS_PATH, &attribute], &[]), &agreed)
    };
    let local: [u8; 16] = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let one = reach(&MP_NEXT_HOP).unwrap();
    assert_eq!(one.ipv4.announced[0].next_hop, NextHop::from(std::net::IpAddr::from(MP_NEXT_HOP)));
    let both = reach(&[MP_NEXT_HOP, local].concat()).unwrap();
    assert_eq!(both.ipv4.announced[0].next_hop.link_local, Some(local.into()));
    assert_eq!(reach(&[192, 0, 2, 1]).unwrap().ipv4.announced[0].next_hop.address.to_string(), "192.0.2.1");
    assert!(reach(&[0; 24]).is_err());
}

#[test]
fn path_identifiers_are_read_in_both_encodings_where_they_were_agreed() {
    let agreed = Context { add_path_receive: Families::dual(), ..context(false) };
    let unreach: &[u8] = &[0x80, 15, 9, 0, 2, 1, 0, 0, 0, 7, 8, 0xfd];
    let nlri = [0, 0, 0, 0, 24, 10, 1, 2, 0, 0, 0, 9, 24, 10, 1, 2];
    let update = decode(&body(&[ORIGIN, AS_PATH, NEXT_HOP, unreach], &nlri), &agreed).unwrap();
    let ids: Vec<u32> = update.ipv4.announced[0].prefixes.iter().map(|nlri| nlri.path_id).collect();
    assert_eq!(ids, [0, 9], "0 is an identifier like any other");
    assert_eq!(update.ipv6.withdrawn.iter().next().unwrap().path_id, 7);
    // Cut inside an identifier.
    let error = decode(&body(&[ORIGIN, AS_PATH, NEXT_HOP], &nlri[..10]), &agreed).unwrap_err();
    assert_eq!((error.section, error.fault), (Section::Nlri, Fault::Truncated));
}

#[test]
fn a_fault_beside_prefixes_of_a_family_that_was_not_negotiated_costs_no_session() {
    // They were found, so that RFC 7606 §5.2 does not apply, and there is nothing to withdraw.
    let foreign: &[u8] = &[0x80, 14, 5, 0x40, 4, 70, 0, 0];
    let update = decode(&body(&[&[0x40, 1, 1, 9], AS_PATH, foreign], &[]), &context(false)).unwrap();
    assert_eq!(update.faults.len(), 1);
    assert!(update.ipv4.is_empty() && update.ipv6.is_empty() && update.attributes.is_none());
}

#[test]
fn a_path_from_before_an_old_aggregator_is_merged_unless_that_one_aggregated_last() {
    // RFC 6793 §4.2.3.
    let narrow = Context { four_octet: false, ..context(false) };
    let path: &[u8] = &[0x40, 2, 6, 2, 2, 0xfd, 0xe9, 0x5b, 0xa0];
    let as4: &[u8] = &[0xc0, 17, 6, 2, 1, 0, 1, 0, 0];
    let aggregator: &[u8] = &[0xc0, 7, 6, 0xfd, 0xe8, 1, 1, 1, 1];
    let trans: &[u8] = &[0xc0, 7, 6, 0x5b, 0xa0, 1, 1, 1, 1];
    let as4_aggregator: &[u8] = &[0xc0, 18, 8, 0, 2, 0, 0, 1, 1, 1, 1];
    let read = |extra: &[&[u8]]| {
        let all: Vec<&[u8]> =
            [ORIGIN, path, NEXT_HOP, as4].into_iter().chain(extra.iter().copied()).collect();
        let set = decode(&body(&all, &PREFIX), &narrow).unwrap().attributes.unwrap();
        (set.as_path.to_string(), set.aggregator.map(|aggregator| aggregator.asn.0))
    };
    let merged = "65001 65536".to_owned();
    assert_eq!(read(&[]), (merged.clone(), None));
    assert_eq!(
        read(&[aggregator]),
        (merged.clone(), Some(65000)),
        "nothing says that four octets were needed"
    );
    assert_eq!(read(&[trans, as4_aggregator]), (merged, Some(131_072)));
    assert_eq!(read(&[aggregator, as4_aggregator]), ("65001 23456".to_owned(), Some(65000)));
}

#[test]
fn unknown_optional_transitive_attributes_are_passed_on_as_partial() {
    let unknown: &[u8] = &[0xc0, 99, 2, 1, 2];
    let update = decode(&body(&[ORIGIN, AS_PATH, NEXT_HOP, unknown], &PREFIX), &context(false)).unwrap();
    let mut out = bytes::BytesMut::new();
    let next_hop = NextHop::from(std::net::IpAddr::from([192, 0, 2, 1]));
    let prefixes: Vec<_> = update.ipv4.announced[0].prefixes.iter().collect();
    announce(&update.attributes.unwrap(), &next_hop, &prefixes, &context(false), &mut out).unwrap();
    let written = [0xe0, 99, 2, 1, 2];
    assert!(out.windows(written.len()).any(|window| window == written), "{out:?}");
}
