//! What becomes of routes when a session ends (RFC 4724, RFC 8538).

use super::*;

const STALE_TIME: Duration = Duration::from_secs(30);

/// A machine with a session over which both can restart; the peer's word on NOTIFICATIONs.
pub(super) fn graceful(notification: bool) -> Bench {
    let mut bench = Bench::with("10.0.0.1", |config| {
        config.session.graceful_restart = Some(RestartOptions {
            stale_time: STALE_TIME * 10,
            restarted: true,
            ..RestartOptions::default()
        });
    });
    come_up(&mut bench, notification);
    bench
}

pub(super) fn come_up(bench: &mut Bench, notification: bool) {
    loop {
        if bench.tick().contains(&Action::Dial) {
            break;
        }
    }
    bench.on(Event::Opened(Side::Active, ends()));
    let mut open = restarting_open();
    for capability in &mut open.capabilities {
        if let Capability::GracefulRestart(restart) = capability {
            restart.notification = notification;
        }
    }
    bench.on(Event::Received(Side::Active, Message::Open(open)));
    let up = bench.on(Event::Received(Side::Active, Message::Keepalive));
    assert!(matches!(up, [Action::Up(Side::Active, _)]), "{up:?}");
}

pub(super) fn kept(actions: &[Action]) -> Option<Instant> {
    actions.iter().find_map(|action| {
        let Action::Down(_, Keep::Stale { until, families }) = action else { return None };
        assert_eq!(*families, Families::dual());
        Some(*until)
    })
}

/// Dials fail until what was kept goes.
fn until_forgotten(bench: &mut Bench) -> Instant {
    for _ in 0..1000 {
        let actions = bench.tick().to_vec();
        if actions.contains(&Action::Forget) {
            return bench.now;
        }
        if actions.contains(&Action::Dial) {
            bench.on(Event::Closed(Side::Active, Loss::Closed));
        }
    }
    panic!("nothing was forgotten");
}

#[test]
fn routes_of_a_lost_session_are_kept_for_the_time_the_peer_asked_for() {
    let mut bench = graceful(false);
    let until = kept(bench.on(Event::Closed(Side::Active, Loss::Closed))).expect("routes are kept");
    assert_eq!(until, bench.now + Duration::from_secs(120));
    assert_eq!(until_forgotten(&mut bench), until);
}

#[test]
fn nobodys_routes_are_kept_who_did_not_ask_for_it_or_was_not_offered_it() {
    let mut plain = Bench::new("10.0.0.1");
    come_up(&mut plain, true);
    assert_eq!(kept(plain.on(Event::Closed(Side::Active, Loss::Closed))), None);
    let mut other = Bench::with("10.0.0.1", |config| {
        config.session.graceful_restart = Some(RestartOptions::default());
    });
    other.establish(Side::Active);
    assert_eq!(kept(other.on(Event::Closed(Side::Active, Loss::Closed))), None);
}

#[test]
fn a_notification_costs_the_routes_unless_both_said_otherwise_and_a_hard_reset_always_does() {
    let cease = |cease| Message::Notification(Cause::Cease(cease).into());
    for (agreed, words, keeps) in [
        (false, Cease::Unspecific, false),
        (true, Cease::Unspecific, true),
        (true, Cease::Shutdown, true),
        (true, Cease::HardReset, false),
    ] {
        let mut bench = graceful(agreed);
        let down = bench.on(Event::Received(Side::Active, cease(words)));
        assert_eq!(kept(down).is_some(), keeps, "{words} agreed {agreed}");
    }
    // The end that says it does alike: here by the hold time.
    for agreed in [false, true] {
        let mut bench = graceful(agreed);
        let down = bench.after(Duration::from_secs(90), Event::Tick).to_vec();
        assert_eq!(words(&down[0]), Some((4, 0)));
        assert_eq!(kept(&down).is_some(), agreed);
    }
}

#[test]
fn a_peer_that_came_back_has_its_time_to_announce_again() {
    let mut bench = graceful(false);
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    come_up(&mut bench, false);
    let limit = bench.now + STALE_TIME * 10;
    while bench.now + Duration::from_secs(60) < limit {
        let out = bench.after(Duration::from_secs(60), Event::Received(Side::Active, Message::Keepalive));
        assert!(!out.contains(&Action::Forget));
        bench.on(Event::Tick);
    }
    let out = bench.after(limit - bench.now, Event::Tick).to_vec();
    assert!(out.contains(&Action::Forget), "{out:?}");
    assert_eq!(bench.state(), SessionState::Established);
}

#[test]
fn what_is_stopped_here_is_said_as_a_hard_reset_and_nothing_is_kept() {
    let mut bench = graceful(true);
    let closed = bench.on(Event::Stop(Stop::Saying(Cease::Shutdown, "back at noon".into()))).to_vec();
    let Action::Close(_, Farewell::Notification(told)) = &closed[0] else { panic!("{closed:?}") };
    assert_eq!((told.cause.codes(), told.shutdown_text()), ((6, 9), Some("back at noon")));
    assert!(matches!(closed[1], Action::Down(Reason::Stopped, Keep::Nothing)));
    // Also what was kept before.
    let mut bench = graceful(true);
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    let stopped = bench.on(Event::Stop(Stop::Silent));
    assert!(stopped.contains(&Action::Forget), "{stopped:?}");
    assert_eq!(bench.peer.deadline(), None);
}

#[test]
fn only_the_first_session_is_told_of_the_restart_and_forwarding_is_claimed_when_true() {
    let said = |actions: &[Action]| {
        let open = actions.iter().find_map(|action| {
            let Action::Send(_, Message::Open(open)) = action else { return None };
            open.graceful_restart().cloned()
        });
        let restart = open.expect("the capability");
        (restart.restarted, restart.families.iter().all(|family| family.forwarding))
    };
    let mut bench = Bench::with("10.0.0.1", |config| {
        config.session.graceful_restart =
            Some(RestartOptions { restarted: true, ..RestartOptions::default() });
    });
    bench.tick();
    assert_eq!(said(bench.on(Event::Opened(Side::Active, ends()))), (true, false));
    bench.on(Event::Received(Side::Active, Message::Open(restarting_open())));
    bench.on(Event::Received(Side::Active, Message::Keepalive));
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    bench.tick();
    assert_eq!(said(bench.on(Event::Opened(Side::Active, ends()))), (false, true));
}
