//! Whom a packet is for, and what becomes of sessions.

use super::*;

fn key(last: u8) -> PeerKey {
    PeerKey::from(IpAddr::from([192, 0, 2, last]))
}

fn arrival(last: u8) -> Arrival {
    Arrival { from: place(last), hops: Hops::One, ttl: Some(TTL) }
}

fn place(last: u8) -> Place {
    Place { address: key(last).address(), scope: 0 }
}

fn packet(state: State, your_discriminator: u32) -> Packet {
    Packet::plain(state, NonZeroU32::new(5).unwrap(), your_discriminator)
}

fn two() -> (Sessions, Instant) {
    let (mut sessions, now) = (Sessions::new(7), Instant::now());
    for last in [1, 2] {
        sessions.open(now, key(last), (place(last), Hops::One), (Timers::DEFAULT, None), &mut Vec::new());
    }
    (sessions, now)
}

fn name(sessions: &Sessions, now: Instant, last: u8) -> u32 {
    sessions.status(now)[&key(last)].discriminator.get()
}

#[test]
fn a_packet_reaches_the_session_it_names_from_its_own_peer_only() {
    let (mut sessions, now) = two();
    let first = name(&sessions, now, 1);
    assert_ne!(first, name(&sessions, now, 2));
    let mut take =
        |arrival, packet: Packet| sessions.received(now, arrival, &packet.encode(), &mut Vec::new());
    assert_eq!(take(arrival(1), packet(State::Down, 0)), Ok(()), "by its address");
    assert_eq!(take(arrival(1), packet(State::Init, first)), Ok(()), "by its name");
    assert_eq!(take(arrival(2), packet(State::Down, first)), Err(Discard::NoSession), "another's name");
    assert_eq!(take(arrival(3), packet(State::Down, 0)), Err(Discard::NoSession), "a stranger");
    assert_eq!(take(arrival(1), packet(State::Down, first ^ 1)), Err(Discard::NoSession), "no name here");
    assert_eq!(sessions.discards()["NoSession"], 3);
    assert_eq!(sessions.status(now)[&key(1)].state, State::Up);
    assert_eq!(sessions.status(now)[&key(2)].state, State::Down);
}

#[test]
fn over_one_hop_only_a_ttl_of_255_is_taken_and_over_many_any() {
    let (mut sessions, now) = two();
    sessions.open(now, key(9), (place(9), Hops::Many), (Timers::DEFAULT, None), &mut Vec::new());
    let octets = packet(State::Down, 0).encode();
    let mut take = |arrival| sessions.received(now, arrival, &octets, &mut Vec::new());
    for ttl in [None, Some(254), Some(1)] {
        assert_eq!(take(Arrival { ttl, ..arrival(1) }), Err(Discard::Ttl(ttl)));
    }
    let far = Arrival { hops: Hops::Many, ttl: Some(3), ..arrival(9) };
    assert_eq!(take(Arrival { from: place(1), ..far }), Err(Discard::NoSession), "by the other port");
    assert_eq!(take(far), Ok(()));
    assert_eq!(take(arrival(9)), Err(Discard::NoSession));
}

#[test]
fn what_is_no_packet_is_counted_by_its_reason() {
    let (mut sessions, now) = two();
    assert!(sessions.received(now, arrival(1), &[0x20], &mut Vec::new()).is_err());
    let mut multipoint = packet(State::Down, 0).encode();
    multipoint[1] |= 1;
    assert!(sessions.received(now, arrival(1), &multipoint, &mut Vec::new()).is_err());
    assert_eq!(*sessions.discards(), BTreeMap::from([("Short", 1), ("Multipoint", 1)]));
}

#[test]
fn a_session_that_is_closed_says_so_for_a_while_and_goes() {
    let (mut sessions, mut now) = two();
    let mut out = Vec::new();
    sessions.close(now, key(1), &mut out);
    assert!(!sessions.status(now).contains_key(&key(1)));
    while let Some(next) = sessions.deadline().filter(|_| !out.contains(&Output::Gone(key(1)))) {
        now = next;
        sessions.tick(now, &mut out);
    }
    let farewells = out.iter().filter(
        |output| matches!(output, Output::Send(whose, packet) if *whose == key(1) && packet.state == State::AdminDown),
    );
    assert!(farewells.count() >= 3);
    assert!(sessions.path(key(1)).is_none() && sessions.path(key(2)).is_some());
}

#[test]
fn other_times_are_polled_for_and_other_hops_begin_anew() {
    let (mut sessions, now) = two();
    let first = name(&sessions, now, 1);
    let slower = Timers { min_tx: Duration::from_secs(5), ..Timers::DEFAULT };
    sessions.open(now, key(1), (place(1), Hops::One), (slower, None), &mut Vec::new());
    assert_eq!(name(&sessions, now, 1), first);
    sessions.open(now, key(1), (place(1), Hops::Many), (slower, None), &mut Vec::new());
    assert_ne!(name(&sessions, now, 1), first);
    sessions.close(now, key(1), &mut Vec::new());
    sessions.open(now, key(1), (place(1), Hops::Many), (slower, None), &mut Vec::new());
    assert_eq!(sessions.status(now)[&key(1)].state, State::Down, "opened again before it was gone");
}

#[test]
fn every_time_the_path_goes_down_is_counted() {
    let (mut sessions, now) = two();
    let (first, mut out) = (name(&sessions, now, 1), Vec::new());
    for round in 1..=2 {
        // Beyond the time it is held down.
        let now = now + Duration::from_secs(60 * round);
        for state in [State::Down, State::Init, State::Up] {
            sessions.received(now, arrival(1), &packet(state, first).encode(), &mut out).unwrap();
        }
        sessions.tick(now + Duration::from_secs(3), &mut out);
        assert_eq!(sessions.path(key(1)), Some((PathState::Down, round)));
    }
    assert_eq!(sessions.status(now)[&key(1)].ups, 2);
    assert!(out.contains(&Output::Changed(key(1))) && !out.contains(&Output::Changed(key(2))));
}

#[test]
fn the_same_link_local_address_on_two_links_is_two_peers() {
    let mut sessions = Sessions::new(7);
    let now = Instant::now();
    let [eth0, eth1]: [PeerKey; 2] = ["fe80::1%eth0", "fe80::1%eth1"].map(|key| key.parse().unwrap());
    let place = |scope| Place { address: eth0.address(), scope };
    for (key, scope) in [(eth0, 3), (eth1, 4)] {
        sessions.open(now, key, (place(scope), Hops::One), (Timers::DEFAULT, None), &mut Vec::new());
    }
    let mut hear = |scope, your| {
        let arrival = Arrival { from: place(scope), hops: Hops::One, ttl: Some(TTL) };
        sessions.received(now, arrival, &packet(State::Down, your).encode(), &mut Vec::new())
    };
    assert_eq!(hear(4, 0), Ok(()));
    assert_eq!(hear(5, 0), Err(Discard::NoSession), "a link without a peer");
    let states = sessions.status(now);
    assert_eq!((states[&eth0].state, states[&eth1].state), (State::Down, State::Init));
    let named = states[&eth1].discriminator.get();
    let arrival = Arrival { from: place(3), hops: Hops::One, ttl: Some(TTL) };
    let from_the_other_link =
        sessions.received(now, arrival, &packet(State::Init, named).encode(), &mut Vec::new());
    assert_eq!(from_the_other_link, Err(Discard::NoSession));

    // The device goes, and another of its name comes: it has another index.
    sessions.open(now, eth1, (place(9), Hops::One), (Timers::DEFAULT, None), &mut Vec::new());
    assert_eq!(sessions.status(now)[&eth1].state, State::Down, "it begins anew");
    let arrival = |scope| Arrival { from: place(scope), hops: Hops::One, ttl: Some(TTL) };
    let mut hear =
        |scope| sessions.received(now, arrival(scope), &packet(State::Down, 0).encode(), &mut Vec::new());
    assert_eq!((hear(4), hear(9)), (Err(Discard::NoSession), Ok(())));
}
