//! What becomes of routes when the peer is away for longer than it asked for (RFC 9494).

use super::restart::graceful;
use super::*;
use crate::wire::capability::LongLived;

const V4: (Family, u64) = (Family::Ipv4Unicast, 600);
const V6: (Family, u64) = (Family::Ipv6Unicast, 5000);
/// The longest that this end keeps anything.
const LONGEST: u64 = 1000;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn only(family: Family) -> Families {
    [family].into_iter().collect()
}

/// The capability of a peer that asks for these times.
pub(super) fn asked(theirs: &[(Family, u64)]) -> Capability {
    let one = |(family, time): &(Family, u64)| LongLived {
        family: family.code(),
        forwarding: true,
        time: seconds(*time),
    };
    Capability::LongLivedRestart(theirs.iter().map(one).collect())
}

/// A machine with a session over which routes may be kept for long: in the peer's families and for its times.
fn long(theirs: &[(Family, u64)]) -> Bench {
    let mut bench = Bench::with("10.0.0.1", |config| {
        let options = RestartOptions { long_lived: Some(seconds(LONGEST)), ..RestartOptions::default() };
        config.session.graceful_restart = Some(options);
    });
    establish(&mut bench, theirs);
    bench
}

/// Dials until it gets through, and has a session.
fn establish(bench: &mut Bench, theirs: &[(Family, u64)]) {
    while !bench.tick().contains(&Action::Dial) {}
    bench.on(Event::Opened(Side::Active, ends()));
    let mut open = restarting_open();
    open.capabilities.push(asked(theirs));
    bench.on(Event::Received(Side::Active, Message::Open(open)));
    let up = bench.on(Event::Received(Side::Active, Message::Keepalive));
    assert!(matches!(up, [Action::Up(Side::Active, _)]), "{up:?}");
}

/// What becomes of what is kept, with the seconds since the session was lost, while every dial fails.
fn until_forgotten(bench: &mut Bench) -> Vec<(u64, Action)> {
    let (start, mut told) = (bench.now, Vec::new());
    for _ in 0..10_000 {
        let actions = bench.tick().to_vec();
        if actions.contains(&Action::Dial) {
            bench.on(Event::Closed(Side::Active, Loss::Closed));
        }
        let after = (bench.now - start).as_secs();
        told.extend(actions.iter().filter(|one| is_about_kept(one)).map(|one| (after, one.clone())));
        if actions.contains(&Action::Forget) {
            return told;
        }
    }
    panic!("nothing was forgotten: {told:?}");
}

fn is_about_kept(action: &Action) -> bool {
    matches!(action, Action::LongLived(_) | Action::Forget)
}

#[test]
fn each_family_is_kept_for_its_own_time_but_no_longer_than_this_end_is_willing_to() {
    let mut bench = long(&[V4, V6]);
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    let told = until_forgotten(&mut bench);
    let wanted = [
        (120, Action::LongLived(Families::dual())),
        (120 + 600, Action::LongLived(only(V6.0))),
        (120 + LONGEST, Action::Forget),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn a_family_that_is_not_listed_has_the_restart_time_alone() {
    let mut bench = long(&[V6]);
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    let told = until_forgotten(&mut bench);
    assert_eq!(told, [(120, Action::LongLived(only(V6.0))), (120 + LONGEST, Action::Forget)]);
}

#[test]
fn nothing_is_kept_for_long_that_both_ends_did_not_say() {
    // Not offered here.
    let mut bench = graceful(false);
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    establish(&mut bench, &[V4, V6]);
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    assert_eq!(until_forgotten(&mut bench), [(120, Action::Forget)]);
    // Not offered there.
    let mut bench = long(&[]);
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    assert_eq!(until_forgotten(&mut bench), [(120, Action::Forget)]);
}

#[test]
fn it_is_offered_for_every_family_with_the_time_this_end_would_be_kept_for() {
    let said = |actions: &[Action]| {
        actions.iter().find_map(|action| {
            let Action::Send(_, Message::Open(open)) = action else { return None };
            open.long_lived_restart().map(<[LongLived]>::to_vec)
        })
    };
    let mut bench = Bench::with("10.0.0.1", |config| {
        let options = RestartOptions { long_lived: Some(seconds(LONGEST)), ..RestartOptions::default() };
        config.session.graceful_restart = Some(options);
    });
    bench.tick();
    let offered = said(bench.on(Event::Opened(Side::Active, ends()))).expect("the capability");
    let wanted = Families::dual().iter().map(Family::code).collect::<Vec<_>>();
    assert_eq!(offered.iter().map(|one| one.family).collect::<Vec<_>>(), wanted);
    assert!(offered.iter().all(|one| one.time == seconds(LONGEST) && !one.forwarding));
    let mut plain = Bench::new("10.0.0.1");
    plain.tick();
    assert_eq!(said(plain.on(Event::Opened(Side::Active, ends()))), None);
}

#[test]
fn a_peer_that_is_back_after_long_has_the_rest_of_its_time_to_say_all_it_has() {
    let mut bench = long(&[V4]);
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    let lost = bench.now;
    while !bench.tick().iter().any(is_about_kept) {
        bench.on(Event::Closed(Side::Active, Loss::Closed));
    }
    establish(&mut bench, &[V4]);
    while !bench.tick().iter().any(is_about_kept) {
        bench.on(Event::Received(Side::Active, Message::Keepalive));
    }
    assert_eq!((bench.now - lost, bench.state()), (seconds(120 + 600), SessionState::Established));
    // One that is back before has the usual time.
    let mut bench = long(&[V4]);
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    establish(&mut bench, &[V4]);
    let back = bench.now;
    let mut told = Vec::new();
    while told.is_empty() {
        told.extend(bench.tick().iter().filter(|one| is_about_kept(one)).cloned());
        bench.on(Event::Received(Side::Active, Message::Keepalive));
    }
    assert_eq!((told, bench.now - back), (vec![Action::Forget], RestartOptions::default().stale_time));
}

#[test]
fn what_ends_for_good_is_not_kept_at_all() {
    let mut bench = long(&[V4]);
    let stopped = bench.on(Event::Stop(Stop::Cease(Cease::Shutdown))).to_vec();
    assert!(matches!(stopped[1], Action::Down(Reason::Stopped, Keep::Nothing)), "{stopped:?}");
    // Also what is kept of one that is away for long.
    let mut bench = long(&[V4]);
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    while !bench.tick().iter().any(is_about_kept) {
        bench.on(Event::Closed(Side::Active, Loss::Closed));
    }
    assert!(bench.on(Event::Stop(Stop::Silent)).contains(&Action::Forget));
    assert_eq!(bench.peer.deadline(), None);
}

#[test]
fn a_restart_time_of_zero_is_long_at_once() {
    let mut bench = Bench::with("10.0.0.1", |config| {
        let options = RestartOptions { long_lived: Some(seconds(LONGEST)), ..RestartOptions::default() };
        config.session.graceful_restart = Some(options);
    });
    while !bench.tick().contains(&Action::Dial) {}
    bench.on(Event::Opened(Side::Active, ends()));
    let mut open = restarting_open();
    for capability in &mut open.capabilities {
        if let Capability::GracefulRestart(restart) = capability {
            restart.time = Duration::ZERO;
        }
    }
    open.capabilities.push(asked(&[V4]));
    bench.on(Event::Received(Side::Active, Message::Open(open)));
    bench.on(Event::Received(Side::Active, Message::Keepalive));
    bench.on(Event::Closed(Side::Active, Loss::Closed));
    let told = until_forgotten(&mut bench);
    assert_eq!(told, [(0, Action::LongLived(only(V4.0))), (600, Action::Forget)]);
}
