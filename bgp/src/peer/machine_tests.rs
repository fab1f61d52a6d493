//! The machine's behaviour, one statement a test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::negotiation::Offer;
use super::negotiation::tests::{config, ends};
use super::{Action, Actions, Event, Farewell, Keep, Loss, Peer, Reason, SessionState, Side, Stop};
use crate::config::{Families, Family, HoldTime, LimitAction, PrefixLimit, RestartOptions, RouterId};
use crate::wire::capability::{Capability, GracefulRestart, RestartFamily};
use crate::wire::error::{Error, Fault, Section};
use crate::wire::message::Message;
use crate::wire::notification::{Cause, Cease, Notification, OpenError};
use crate::wire::open::Open;

mod beyond;
mod bfd;
mod long_lived;
mod properties;
mod range;
mod restart;

fn id(text: &str) -> RouterId {
    RouterId::try_from(text.parse::<std::net::Ipv4Addr>().unwrap()).unwrap()
}

/// A machine, its time, and what it last wanted.
struct Bench {
    peer: Peer,
    now: Instant,
    out: Actions,
}

impl Bench {
    fn new(local_id: &str) -> Bench {
        Bench::with(local_id, |_| ())
    }

    fn with(local_id: &str, change: impl FnOnce(&mut crate::config::PeerConfig)) -> Bench {
        let mut config = config(1, 1);
        change(&mut config);
        let peer = Peer::new(Arc::new(config), id(local_id), 1);
        let mut bench = Bench { peer, now: Instant::now(), out: Actions::new() };
        bench.on(Event::Start);
        bench
    }

    fn on(&mut self, event: Event) -> &[Action] {
        self.out.clear();
        self.peer.on(self.now, event, &mut self.out);
        &self.out
    }

    fn after(&mut self, time: Duration, event: Event) -> &[Action] {
        self.now += time;
        self.on(event)
    }

    /// Goes to the next deadline.
    fn tick(&mut self) -> &[Action] {
        self.now = self.peer.deadline().expect("a deadline").max(self.now);
        self.on(Event::Tick)
    }

    fn open(&mut self, side: Side) {
        if side == Side::Active {
            assert_eq!(self.tick(), [Action::Dial]);
        }
        self.on(Event::Opened(side, ends()));
        assert!(
            matches!(&self.out[..], [Action::Accept(_), Action::Send(at, Message::Open(_))] if *at == side),
            "{:?}",
            self.out
        );
    }

    fn establish(&mut self, side: Side) {
        self.open(side);
        self.on(Event::Received(side, Message::Open(their_open("10.0.0.2"))));
        self.on(Event::Received(side, Message::Keepalive));
        assert!(matches!(&self.out[..], [Action::Up(at, _)] if *at == side), "{:?}", self.out);
    }

    /// The configuration of [`limited`] benches.
    fn peer_config(&self) -> crate::config::PeerConfig {
        let mut config = config(1, 1);
        let limit = PrefixLimit { prefixes: 10, action: LimitAction::Stop };
        config.session.limits.ipv6 = Some(limit);
        config
    }

    fn state(&self) -> SessionState {
        self.peer.state(self.now)
    }
}

fn their_open(identifier: &str) -> Open {
    super::negotiation::offer(&config(1, 1), id(identifier), Offer::Full)
}

fn restarting_open() -> Open {
    let mut open = their_open("10.0.0.2");
    open.capabilities.push(Capability::GracefulRestart(GracefulRestart {
        restarted: false,
        notification: false,
        time: Duration::from_secs(120),
        families: Families::dual()
            .iter()
            .map(|family| RestartFamily { family: family.code(), forwarding: true })
            .collect(),
    }));
    open
}

fn words(action: &Action) -> Option<(u8, u8)> {
    match action {
        Action::Close(_, Farewell::Notification(words))
        | Action::Refuse(_, Farewell::Notification(words)) => Some(words.cause.codes()),
        Action::Dial
        | Action::Accept(_)
        | Action::Send(..)
        | Action::Close(_, Farewell::Silent)
        | Action::Refuse(_, Farewell::Silent)
        | Action::Up(..)
        | Action::Down(..)
        | Action::LongLived(_)
        | Action::Forget => None,
    }
}

#[test]
fn an_active_session_goes_through_the_states_of_rfc_4271() {
    let mut bench = Bench::new("10.0.0.1");
    assert_eq!(bench.state(), SessionState::Active);
    assert_eq!(bench.tick(), [Action::Dial]);
    assert_eq!(bench.state(), SessionState::Connect);
    bench.on(Event::Opened(Side::Active, ends()));
    assert_eq!(bench.state(), SessionState::OpenSent);
    let answer = bench.on(Event::Received(Side::Active, Message::Open(their_open("10.0.0.2"))));
    assert_eq!(answer, [Action::Send(Side::Active, Message::Keepalive)]);
    assert_eq!(bench.state(), SessionState::OpenConfirm);
    bench.on(Event::Received(Side::Active, Message::Keepalive));
    assert_eq!(bench.state(), SessionState::Established);
    assert_eq!(bench.peer.negotiated().unwrap().peer_id, id("10.0.0.2"));
}

#[test]
fn a_passive_peer_is_never_dialled() {
    let mut bench = Bench::with("10.0.0.1", |config| config.passive = true);
    assert_eq!(bench.on(Event::Tick), []);
    bench.establish(Side::Passive);
}

#[test]
fn hold_time_runs_in_open_sent_for_four_minutes() {
    let mut bench = Bench::with("10.0.0.1", |config| config.passive = true);
    bench.open(Side::Passive);
    assert_eq!(bench.peer.deadline(), Some(bench.now + Duration::from_secs(240)));
    assert_eq!(words(&bench.tick()[0]), Some((4, 0)));
    assert_eq!(bench.state(), SessionState::Active);
}

#[test]
fn hold_time_runs_in_open_confirm() {
    let mut bench = Bench::with("10.0.0.1", |config| config.passive = true);
    bench.open(Side::Passive);
    bench.on(Event::Received(Side::Passive, Message::Open(their_open("10.0.0.2"))));
    let closed = bench.after(Duration::from_secs(90), Event::Tick);
    assert_eq!(words(&closed[0]), Some((4, 0)));
}

#[test]
fn silence_for_the_hold_time_ends_an_established_session_and_signs_of_life_prolong_it() {
    let mut bench = Bench::with("10.0.0.1", |config| config.passive = true);
    bench.establish(Side::Passive);
    for message in [Message::Keepalive, Message::Update(Bytes::from_static(&[0, 0, 0, 0]))] {
        bench.after(Duration::from_secs(89), Event::Received(Side::Passive, message));
    }
    assert!(bench.after(Duration::from_secs(89), Event::Tick).iter().all(|action| words(action).is_none()));
    let closed = bench.after(Duration::from_secs(1), Event::Tick).to_vec();
    assert_eq!(words(&closed[0]), Some((4, 0)));
    assert_eq!(closed[1], Action::Down(Reason::HoldTimer, Keep::Nothing));
}

#[test]
fn a_hold_time_of_zero_means_no_timers_at_all() {
    let mut bench = Bench::with("10.0.0.1", |config| {
        config.passive = true;
        config.hold_time = HoldTime::NEVER;
    });
    bench.establish(Side::Passive);
    assert_eq!(bench.peer.deadline(), None);
    let now = bench.now;
    bench.on(Event::Unwritable(Side::Passive, now));
    assert_eq!(bench.peer.deadline(), None, "no send hold time either (RFC 9687)");
}

#[test]
fn a_peer_that_does_not_read_is_given_up_after_the_send_hold_time() {
    let mut bench = Bench::with("10.0.0.1", |config| config.passive = true);
    bench.establish(Side::Passive);
    let blocked = bench.now;
    bench.on(Event::Unwritable(Side::Passive, blocked));
    let alive = |bench: &mut Bench, until: Duration| {
        while bench.now + Duration::from_secs(60) < blocked + until {
            bench.after(Duration::from_secs(60), Event::Received(Side::Passive, Message::Keepalive));
            bench.on(Event::Tick);
            assert_eq!(bench.state(), SessionState::Established);
        }
    };
    alive(&mut bench, Duration::from_secs(480));
    bench.now = blocked + Duration::from_secs(480);
    let closed = bench.on(Event::Tick).to_vec();
    assert_eq!(words(&closed[0]), Some((8, 0)));
    assert_eq!(closed[1], Action::Down(Reason::SendHoldTimer, Keep::Nothing));
}

#[test]
fn bytes_that_we_did_not_read_do_not_count_against_the_peer() {
    let mut bench = Bench::with("10.0.0.1", |config| config.passive = true);
    bench.establish(Side::Passive);
    bench.after(Duration::from_secs(89), Event::Backlogged(Side::Passive));
    bench.after(Duration::from_secs(89), Event::Tick);
    assert_eq!(bench.state(), SessionState::Established);
}

#[test]
fn the_loser_of_a_collision_is_kept_until_the_winner_is_past_open_sent() {
    // The peer's identifier is greater: what it dialled wins.
    let mut bench = Bench::new("10.0.0.1");
    bench.open(Side::Active);
    bench.open(Side::Passive);
    bench.on(Event::Received(Side::Active, Message::Open(their_open("10.0.0.2"))));
    assert_eq!(bench.out[..], [Action::Send(Side::Active, Message::Keepalive)], "nobody is closed yet");
    let decided = bench.on(Event::Received(Side::Passive, Message::Open(their_open("10.0.0.2")))).to_vec();
    assert_eq!(decided[0], Action::Send(Side::Passive, Message::Keepalive));
    assert!(matches!(decided[1], Action::Close(Side::Active, _)));
    assert_eq!(words(&decided[1]), Some((6, 7)));
    bench.on(Event::Received(Side::Passive, Message::Keepalive));
    assert_eq!(bench.state(), SessionState::Established);
}

#[test]
fn the_greater_identifier_keeps_its_own_connection() {
    let mut bench = Bench::new("10.0.0.3");
    bench.open(Side::Active);
    bench.open(Side::Passive);
    bench.on(Event::Received(Side::Passive, Message::Open(their_open("10.0.0.2"))));
    let decided = bench.on(Event::Received(Side::Active, Message::Open(their_open("10.0.0.2")))).to_vec();
    assert!(matches!(decided[1], Action::Close(Side::Passive, _)));
}

#[test]
fn a_parked_connection_does_not_keep_the_other_from_being_used() {
    let mut bench = Bench::new("10.0.0.1");
    bench.open(Side::Passive); // it never says anything
    bench.establish(Side::Active);
    bench.after(Duration::from_secs(60), Event::Received(Side::Active, Message::Keepalive));
    assert_eq!(bench.state(), SessionState::Established);
}

#[test]
fn a_newcomer_probes_an_established_connection_that_may_be_dead() {
    let mut bench = Bench::new("10.0.0.3");
    bench.establish(Side::Active);
    let answer = bench.on(Event::Opened(Side::Passive, ends())).to_vec();
    assert_eq!(answer[0], Action::Send(Side::Active, Message::Keepalive));
    assert!(matches!(answer[1], Action::Refuse(Side::Passive, _)));
    assert_eq!(bench.state(), SessionState::Established);
    let down = bench.on(Event::Closed(Side::Active, Loss::Closed)).to_vec();
    assert!(matches!(down[..], [Action::Down(Reason::Lost(Loss::Closed), Keep::Nothing)]));
    bench.establish(Side::Passive);
}

#[test]
fn after_an_error_of_the_peer_it_is_neither_dialled_nor_let_in_for_a_while_ever_longer() {
    let mut bench = Bench::new("10.0.0.1");
    let mut rests = Vec::new();
    for _ in 0..8 {
        bench.open(Side::Active);
        let closed = bench.on(Event::Received(Side::Active, Message::Open(their_open("10.0.0.1")))).to_vec();
        assert_eq!(words(&closed[0]), Some((2, 3)), "an equal identifier inside the AS");
        assert_eq!(bench.state(), SessionState::Idle);
        let refused = bench.on(Event::Opened(Side::Passive, ends())).to_vec();
        assert_eq!(words(&refused[0]), Some((6, 5)));
        rests.push(bench.peer.deadline().unwrap() - bench.now);
    }
    assert!(rests[0] < Duration::from_secs(3) && rests[7] > Duration::from_secs(40), "{rests:?}");
    assert!(rests.iter().all(|rest| *rest <= Duration::from_secs(60)));
}

#[test]
fn a_refusal_is_no_reason_to_refuse_back() {
    let mut bench = Bench::new("10.0.0.1");
    bench.open(Side::Active);
    let rejected = Notification::from(Cause::Cease(Cease::Rejected));
    bench.on(Event::Received(Side::Active, Message::Notification(rejected)));
    bench.open(Side::Passive);
}

#[test]
fn a_faulty_message_ends_the_session_with_its_notification() {
    let mut bench = Bench::new("10.0.0.1");
    bench.establish(Side::Active);
    let error = Error { section: Section::Header, offset: 0, fault: Fault::Marker };
    let closed = bench.on(Event::Malformed(Side::Active, error)).to_vec();
    assert_eq!(words(&closed[0]), Some((1, 1)));
    assert!(matches!(closed[1], Action::Down(Reason::Malformed(_), Keep::Nothing)));
}

#[test]
fn messages_out_of_turn_are_told_with_the_state() {
    let mut bench = Bench::new("10.0.0.1");
    bench.open(Side::Active);
    let closed = bench.on(Event::Received(Side::Active, Message::Keepalive)).to_vec();
    assert_eq!(words(&closed[0]), Some((5, 1)));
    let mut bench = Bench::new("10.0.0.1");
    bench.open(Side::Active);
    bench.on(Event::Received(Side::Active, Message::Open(their_open("10.0.0.2"))));
    let closed = bench.on(Event::Received(Side::Active, Message::Update(Bytes::new()))).to_vec();
    assert_eq!(words(&closed[0]), Some((5, 2)));
    let mut bench = Bench::new("10.0.0.1");
    bench.establish(Side::Active);
    let closed = bench.on(Event::Received(Side::Active, Message::Open(their_open("10.0.0.2")))).to_vec();
    assert_eq!(words(&closed[0]), Some((5, 3)));
}

#[test]
fn a_stop_says_why_and_leaves_nothing_behind() {
    let mut bench = Bench::new("10.0.0.1");
    bench.establish(Side::Active);
    let closed = bench.on(Event::Stop(Stop::Cease(Cease::Shutdown))).to_vec();
    assert_eq!(words(&closed[0]), Some((6, 2)));
    assert!(matches!(closed[1], Action::Down(Reason::Stopped, Keep::Nothing)));
    assert_eq!((bench.state(), bench.peer.deadline()), (SessionState::Idle, None));
    assert!(matches!(bench.on(Event::Opened(Side::Passive, ends()))[..], [Action::Refuse(..)]));
}

#[test]
fn only_a_change_of_the_sessions_own_parameters_resets_it() {
    let mut bench = Bench::new("10.0.0.1");
    bench.establish(Side::Active);
    let mut renamed = config(1, 1);
    renamed.name = "another".to_owned();
    assert_eq!(bench.on(Event::Configure(Arc::new(renamed), id("10.0.0.1"))), []);
    let mut changed = config(1, 1);
    changed.hold_time = HoldTime::try_from(30).unwrap();
    let closed = bench.on(Event::Configure(Arc::new(changed), id("10.0.0.1"))).to_vec();
    assert_eq!(words(&closed[0]), Some((6, 6)));
    assert_eq!(bench.on(Event::Tick), [Action::Dial], "at once");
}
