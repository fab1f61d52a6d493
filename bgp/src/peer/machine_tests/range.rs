//! A peer that nobody has named: when nothing is left of it.

use super::*;
use crate::config::{Asn, PeerConfig, PeerOrigin, RestartOptions};

fn stranger(change: impl FnOnce(&mut PeerConfig)) -> Bench {
    Bench::with("10.0.0.1", |config| {
        config.passive = true;
        config.origin = PeerOrigin::Range("192.0.2.0/24".parse().unwrap());
        change(config);
    })
}

fn limit(config: &mut PeerConfig, action: LimitAction) {
    config.session.limits.ipv6 = Some(PrefixLimit { prefixes: 10, action });
}

#[test]
fn nothing_is_left_of_a_stranger_whose_connection_is_gone_however_far_it_came() {
    for messages in [0, 1, 2] {
        let mut bench = stranger(|_| ());
        bench.open(Side::Passive);
        let said = [Message::Open(their_open("10.0.0.2")), Message::Keepalive];
        for message in said.into_iter().take(messages) {
            bench.on(Event::Received(Side::Passive, message));
        }
        assert!(!bench.peer.is_vacant());
        bench.on(Event::Closed(Side::Passive, Loss::Closed));
        assert!(bench.peer.is_vacant(), "after {messages} messages");
    }
    let mut named = Bench::with("10.0.0.1", |config| config.passive = true);
    named.establish(Side::Passive);
    named.on(Event::Closed(Side::Passive, Loss::Closed));
    assert!(!named.peer.is_vacant(), "somebody has named it");
}

#[test]
fn a_stranger_that_says_nothing_does_not_keep_its_place_for_long() {
    let mut bench = stranger(|_| ());
    bench.open(Side::Passive);
    let start = bench.now;
    let closed = bench.tick().to_vec();
    assert_eq!((words(&closed[0]), bench.now - start), (Some((4, 0)), Duration::from_secs(30)));
    assert!(bench.peer.is_vacant());
}

#[test]
fn what_is_held_against_a_stranger_is_remembered_for_its_time() {
    let mut bench = stranger(|config| config.remote_as = Asn(7).into());
    bench.open(Side::Passive);
    let closed = bench.on(Event::Received(Side::Passive, Message::Open(their_open("10.0.0.2")))).to_vec();
    assert_eq!(words(&closed[0]), Some((2, 2)));
    assert!(!bench.peer.is_vacant());
    assert!(matches!(bench.on(Event::Opened(Side::Passive, ends()))[..], [Action::Refuse(..)]));
    bench.tick();
    assert!(bench.peer.is_vacant());

    let mut bench = stranger(|config| limit(config, LimitAction::Restart(Duration::from_secs(600))));
    bench.establish(Side::Passive);
    bench.on(Event::TooManyPrefixes(Family::Ipv6Unicast, 11));
    assert!(!bench.peer.is_vacant());
    let start = bench.now;
    while !bench.peer.is_vacant() {
        bench.tick();
    }
    assert_eq!(bench.now - start, Duration::from_secs(600));

    let mut bench = stranger(|config| limit(config, LimitAction::Stop));
    bench.establish(Side::Passive);
    bench.on(Event::TooManyPrefixes(Family::Ipv6Unicast, 11));
    assert_eq!((bench.peer.is_vacant(), bench.peer.deadline()), (false, None), "until an operator lets it");
    bench.on(Event::Start);
    assert!(bench.peer.is_vacant());
}

#[test]
fn a_stranger_that_restarts_is_waited_for_as_long_as_its_routes_are_kept() {
    let mut bench = stranger(|config| config.session.graceful_restart = Some(RestartOptions::default()));
    bench.open(Side::Passive);
    bench.on(Event::Received(Side::Passive, Message::Open(restarting_open())));
    bench.on(Event::Received(Side::Passive, Message::Keepalive));
    bench.on(Event::Closed(Side::Passive, Loss::Closed));
    assert!(!bench.peer.is_vacant());
    while !bench.tick().contains(&Action::Forget) {
        assert!(!bench.peer.is_vacant());
    }
    assert!(bench.peer.is_vacant());
}
