//! BFD and the session: the order of the signals decides (RFC 5882 §4.3).

use super::restart::{come_up, graceful, kept};
use super::*;
use crate::bfd::PathState;

#[test]
fn a_path_that_goes_down_while_the_connection_stands_ends_the_session_and_keeps_nothing() {
    for notification in [false, true] {
        let mut bench = graceful(notification);
        assert_eq!(bench.on(Event::Bfd(PathState::Up)), []);
        let ended = bench.on(Event::Bfd(PathState::Down)).to_vec();
        let Action::Close(_, Farewell::Notification(words)) = &ended[0] else { panic!("{ended:?}") };
        // With RFC 8538 a plain NOTIFICATION would make the peer keep our routes.
        assert_eq!(words.cause.codes(), if notification { (6, 9) } else { (6, 10) });
        assert_eq!(ended[1], Action::Down(Reason::PathDown, Keep::Nothing));
        assert_eq!(bench.on(Event::Bfd(PathState::Down)).len(), 0, "once");
    }
}

#[test]
fn a_connection_that_is_lost_first_is_a_restart_and_bfd_falling_silent_is_part_of_it() {
    let mut bench = graceful(true);
    bench.on(Event::Bfd(PathState::Up));
    let lost = bench.on(Event::Closed(Side::Active, Loss::Closed)).to_vec();
    assert!(kept(&lost).is_some(), "{lost:?}");
    assert_eq!(bench.on(Event::Bfd(PathState::Down)), []);
    come_up(&mut bench, true);
}

#[test]
fn what_is_kept_goes_when_the_peers_system_does_not_even_refuse() {
    let dial_fails = |path: PathState, kind: std::io::ErrorKind| {
        let mut bench = graceful(true);
        bench.on(Event::Bfd(PathState::Up));
        bench.on(Event::Closed(Side::Active, Loss::Closed));
        bench.on(Event::Bfd(path));
        loop {
            if bench.tick().contains(&Action::Dial) {
                break;
            }
        }
        bench.on(Event::Closed(Side::Active, Loss::Failed(kind))).contains(&Action::Forget)
    };
    assert!(dial_fails(PathState::Down, std::io::ErrorKind::TimedOut));
    assert!(dial_fails(PathState::Down, std::io::ErrorKind::HostUnreachable));
    assert!(
        dial_fails(PathState::Quiet, std::io::ErrorKind::TimedOut),
        "patience was asked for by a process"
    );
    assert!(!dial_fails(PathState::Up, std::io::ErrorKind::TimedOut), "packets pass");
    assert!(!dial_fails(PathState::Down, std::io::ErrorKind::ConnectionRefused), "it answers");
    assert!(!dial_fails(PathState::AdminDown, std::io::ErrorKind::TimedOut), "BFD says nothing");
}

#[test]
fn a_path_that_was_never_up_or_is_turned_off_ends_no_session() {
    let mut bench = graceful(true);
    for path in
        [PathState::AdminDown, PathState::Unknown, PathState::Up, PathState::Quiet, PathState::AdminDown]
    {
        assert_eq!(bench.on(Event::Bfd(path)), [], "{path:?}");
    }
}

#[test]
fn a_peer_that_says_that_the_path_is_down_means_its_routes_too() {
    let mut bench = graceful(true);
    let words = Notification::from(Cause::Cease(Cease::BfdDown));
    let ended = bench.on(Event::Received(Side::Active, Message::Notification(words))).to_vec();
    assert!(ended.iter().any(|action| matches!(action, Action::Down(_, Keep::Nothing))), "{ended:?}");
}
