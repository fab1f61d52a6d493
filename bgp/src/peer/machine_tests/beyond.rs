//! What goes beyond two good speakers that dial at once: delayed greetings, restarts, ancient peers, limits, words.

use super::*;

#[test]
fn a_passive_peer_that_nobody_dials_is_told_of_once() {
    let mut bench = Bench::with("10.0.0.1", |config| config.passive = true);
    assert_eq!(bench.tick(), []);
    assert_eq!((bench.peer.last_error(), bench.peer.deadline()), (Some(&Reason::NobodyDials), None));
    bench.establish(Side::Passive);
    assert_eq!(bench.peer.last_error(), None);
}

#[test]
fn why_a_session_ended_is_not_hidden_by_what_was_tried_since() {
    let mut bench = Bench::new("10.0.0.1");
    bench.establish(Side::Active);
    assert_eq!(bench.peer.last_down(), None);
    let farewell = Notification::with_text(Cease::Shutdown, "back at noon");
    bench.on(Event::Received(Side::Active, Message::Notification(farewell)));
    let why = bench.peer.last_down().cloned();
    assert!(why.as_ref().is_some_and(|why| why.to_string().contains("back at noon")), "{why:?}");
    assert_eq!(bench.peer.last_error(), why.as_ref());

    bench.after(Duration::from_secs(600), Event::Tick);
    bench.on(Event::Closed(Side::Active, Loss::Failed(std::io::ErrorKind::ConnectionRefused)));
    assert_ne!(bench.peer.last_error(), why.as_ref());
    assert_eq!(bench.peer.last_down(), why.as_ref());
    bench.establish(Side::Passive);
    assert_eq!((bench.peer.last_error(), bench.peer.last_down()), (None, why.as_ref()));
}

#[test]
fn with_delay_open_the_own_open_waits_for_the_peers() {
    for side in Side::BOTH {
        let mut bench =
            Bench::with("10.0.0.1", |config| config.session.delay_open = Some(Duration::from_secs(10)));
        if side == Side::Active {
            bench.tick();
        }
        assert_eq!(bench.on(Event::Opened(side, ends())), [Action::Accept(side)]);
        let state = if side == Side::Active { SessionState::Connect } else { SessionState::Active };
        assert_eq!(bench.state(), state, "RFC 4271 waits where it was");
        let answer = bench.on(Event::Received(side, Message::Open(their_open("10.0.0.2")))).to_vec();
        assert!(matches!(&answer[0], Action::Send(_, Message::Open(_))));
        assert_eq!(answer[1], Action::Send(side, Message::Keepalive));
        assert_eq!(bench.state(), SessionState::OpenConfirm);
    }
}

#[test]
fn with_delay_open_a_silent_peer_is_greeted_when_the_time_is_over() {
    let mut bench = Bench::with("10.0.0.1", |config| {
        config.passive = true;
        config.session.delay_open = Some(Duration::from_secs(10));
    });
    bench.on(Event::Opened(Side::Passive, ends()));
    assert_eq!(bench.after(Duration::from_secs(9), Event::Tick), []);
    let greeting = bench.after(Duration::from_secs(1), Event::Tick);
    assert!(matches!(greeting, [Action::Send(Side::Passive, Message::Open(_))]));
    assert_eq!(bench.state(), SessionState::OpenSent);
}

#[test]
fn a_message_before_any_open_is_out_of_turn_also_while_the_own_open_waits() {
    let mut bench =
        Bench::with("10.0.0.1", |config| config.session.delay_open = Some(Duration::from_secs(10)));
    bench.on(Event::Opened(Side::Passive, ends()));
    let closed = bench.on(Event::Received(Side::Passive, Message::Keepalive)).to_vec();
    assert_eq!(words(&closed[0]), Some((5, 0)));
}

#[test]
fn a_peer_that_restarts_gracefully_takes_its_old_connections_place() {
    for side in Side::BOTH {
        let mut bench = Bench::new("10.0.0.3");
        bench.open(side);
        bench.on(Event::Received(side, Message::Open(restarting_open())));
        bench.on(Event::Received(side, Message::Keepalive));
        let answer = bench.after(Duration::from_secs(5), Event::Opened(Side::Passive, ends())).to_vec();
        assert_eq!(answer[0], Action::Close(side, Farewell::Silent), "no NOTIFICATION (RFC 4724 §5)");
        assert_eq!(answer[1], Action::Down(Reason::Restarted, Keep::Nothing));
        assert_eq!(answer[2], Action::Accept(Side::Passive));
        assert!(matches!(answer[3], Action::Send(Side::Passive, Message::Open(_))));
    }
}

#[test]
fn a_connection_right_after_a_session_came_up_is_a_late_collision_and_no_restart() {
    let mut bench = Bench::new("10.0.0.3");
    bench.open(Side::Active);
    bench.on(Event::Received(Side::Active, Message::Open(restarting_open())));
    bench.on(Event::Received(Side::Active, Message::Keepalive));
    let answer = bench.after(Duration::from_secs(4), Event::Opened(Side::Passive, ends())).to_vec();
    assert_eq!(words(&answer[1]), Some((6, 7)));
    assert_eq!(bench.state(), SessionState::Established);
}

#[test]
fn a_peer_that_knows_no_capabilities_is_greeted_without_them_once() {
    let mut bench = Bench::with("10.0.0.1", |config| config.remote_as = crate::config::Asn(2).into());
    let refusal = || Message::Notification(Cause::Open(OpenError::Parameter).into());
    let offered = |out: &[Action]| {
        let Action::Send(_, Message::Open(open)) = &out[1] else { panic!("an OPEN: {out:?}") };
        !open.capabilities.is_empty()
    };
    for wanted in [true, false, true, false] {
        assert_eq!(bench.tick(), [Action::Dial]);
        assert_eq!(offered(bench.on(Event::Opened(Side::Active, ends()))), wanted);
        bench.on(Event::Received(Side::Active, refusal()));
    }
    // Greeted with bare words it answers alike.
    bench.tick();
    bench.on(Event::Opened(Side::Active, ends()));
    bench.on(Event::Received(Side::Active, refusal()));
    bench.tick();
    bench.on(Event::Opened(Side::Active, ends()));
    let mut ancient = their_open("10.0.0.2");
    ancient.my_as = 2;
    ancient.capabilities.clear();
    bench.on(Event::Received(Side::Active, Message::Open(ancient)));
    bench.on(Event::Received(Side::Active, Message::Keepalive));
    let terms = bench.peer.negotiated().unwrap();
    assert!(!terms.four_octet && !terms.route_refresh);
    assert_eq!(terms.families, [Family::Ipv4Unicast].into_iter().collect());
}

fn limited(action: LimitAction) -> Bench {
    let mut bench = Bench::with("10.0.0.1", |config| {
        config.session.limits.ipv6 = Some(PrefixLimit { prefixes: 10, action });
    });
    bench.establish(Side::Active);
    assert_eq!(bench.on(Event::TooManyPrefixes(Family::Ipv4Unicast, 1000)), [], "that family has no limit");
    bench
}

#[test]
fn too_many_prefixes_may_be_told_only() {
    let mut bench = limited(LimitAction::Warn);
    assert_eq!(bench.on(Event::TooManyPrefixes(Family::Ipv6Unicast, 11)), []);
    assert_eq!(bench.peer.last_error().unwrap().code(), "TooManyPrefixes");
    assert_eq!(bench.state(), SessionState::Established);
}

#[test]
fn too_many_prefixes_may_stop_a_peer_until_an_operator_starts_it_or_changes_its_configuration() {
    for start in [true, false] {
        let mut bench = limited(LimitAction::Stop);
        let closed = bench.on(Event::TooManyPrefixes(Family::Ipv6Unicast, 11)).to_vec();
        let Action::Close(Side::Active, Farewell::Notification(told)) = &closed[0] else {
            panic!("{closed:?}")
        };
        assert_eq!(told.cause.codes(), (6, 1));
        assert_eq!(&told.data[..], [0, 2, 1, 0, 0, 0, 10], "family and limit (RFC 4486 §4)");
        assert_eq!((bench.state(), bench.peer.deadline()), (SessionState::Idle, None));
        assert!(bench.peer.is_stopped());
        assert!(matches!(bench.on(Event::Opened(Side::Passive, ends()))[..], [Action::Refuse(..)]));
        // The same configuration again says nothing new.
        let same = Arc::new(bench.peer_config());
        bench.on(Event::Configure(same, id("10.0.0.1")));
        assert!(bench.peer.is_stopped());
        if start {
            bench.on(Event::Start);
        } else {
            bench.on(Event::Configure(Arc::new(config(1, 1)), id("10.0.0.1")));
        }
        bench.establish(Side::Active);
    }
}

#[test]
fn too_many_prefixes_may_cost_a_pause() {
    let mut bench = limited(LimitAction::Restart(Duration::from_secs(600)));
    let closed = bench.on(Event::TooManyPrefixes(Family::Ipv6Unicast, 11)).to_vec();
    assert_eq!(words(&closed[0]), Some((6, 1)));
    assert!(matches!(bench.on(Event::Opened(Side::Passive, ends()))[..], [Action::Refuse(..)]));
    assert_eq!(bench.peer.deadline(), Some(bench.now + Duration::from_secs(600)));
    bench.establish(Side::Active);
}

#[test]
fn a_stop_may_have_words_for_the_peers_operator() {
    let mut bench = Bench::new("10.0.0.1");
    bench.establish(Side::Active);
    let closed = bench.on(Event::Stop(Stop::Saying(Cease::Shutdown, "back at noon".into()))).to_vec();
    let Action::Close(_, Farewell::Notification(told)) = &closed[0] else { panic!("{closed:?}") };
    assert_eq!((told.cause.codes(), told.shutdown_text()), ((6, 2), Some("back at noon")));
}
