//! Whatever happens, some things hold.

use super::*;
use crate::bfd::PathState;

#[derive(Clone, Debug)]
enum Stir {
    Open(Side),
    Closed(Side),
    TheirOpen(Side, u8),
    RestartingOpen(Side),
    Keepalive(Side),
    Update(Side),
    Notification(Side, u8),
    Malformed(Side),
    Backlogged(Side),
    Blocked(Side),
    Writable(Side),
    TooManyPrefixes(u32),
    Start,
    Stop,
    Configure(u16),
    Bfd(PathState),
    Wait(u64),
    Tick,
}

fn stir() -> impl Strategy<Value = Stir> {
    let side = prop_oneof![Just(Side::Active), Just(Side::Passive)];
    prop_oneof![
        3 => side.clone().prop_map(Stir::Open),
        1 => side.clone().prop_map(Stir::Closed),
        4 => (side.clone(), 1..4_u8).prop_map(|(side, id)| Stir::TheirOpen(side, id)),
        1 => side.clone().prop_map(Stir::RestartingOpen),
        1 => (5..15_u32).prop_map(Stir::TooManyPrefixes),
        4 => side.clone().prop_map(Stir::Keepalive),
        1 => side.clone().prop_map(Stir::Update),
        1 => (side.clone(), 0..10_u8).prop_map(|(side, code)| Stir::Notification(side, code)),
        1 => side.clone().prop_map(Stir::Malformed),
        1 => side.clone().prop_map(Stir::Backlogged),
        1 => side.clone().prop_map(Stir::Blocked),
        1 => side.prop_map(Stir::Writable),
        1 => Just(Stir::Start),
        1 => Just(Stir::Stop),
        1 => (3..9_u16).prop_map(Stir::Configure),
        2 => (0..400_u64).prop_map(Stir::Wait),
        1 => prop_oneof![Just(PathState::Up), Just(PathState::Down), Just(PathState::AdminDown)].prop_map(Stir::Bfd),
        6 => Just(Stir::Tick),
    ]
}

proptest! {
    /// Whatever happens: at most one session is up, up and down alternate, nothing is written to or closed that is
    /// not there, and no deadline stays in the past.
    #[test]
    fn invariants_hold_under_any_sequence_of_events(
        stirs in prop::collection::vec(stir(), 1..120),
        passive in any::<bool>(),
        delay in prop::option::of(1..20_u64),
        restarts in any::<bool>(),
        action in prop_oneof![
            Just(LimitAction::Warn),
            Just(LimitAction::Stop),
            Just(LimitAction::Restart(Duration::from_secs(30))),
        ],
    ) {
        let mut bench = Bench::with("10.0.0.2", |config| {
            config.passive = passive;
            config.session.delay_open = delay.map(Duration::from_secs);
            config.session.graceful_restart = restarts
                .then(|| RestartOptions { long_lived: Some(Duration::from_secs(400)), ..RestartOptions::default() });
            config.session.limits.ipv6 = Some(PrefixLimit { prefixes: 10, action });
        });
        let (mut there, mut dialing, mut up) = (std::collections::HashSet::new(), false, None);
        let mut stale = false;
        for stir in stirs {
            let mut newcomer = None;
            let now = bench.now;
            let actions = match stir {
                Stir::Open(Side::Active) if !dialing => continue,
                Stir::Open(side) => {
                    dialing &= side != Side::Active;
                    newcomer = Some(side);
                    bench.on(Event::Opened(side, ends()))
                }
                Stir::Closed(side) => {
                    if !there.remove(&side) {
                        if side == Side::Passive || !dialing { continue; }
                        dialing = false;
                    }
                    bench.on(Event::Closed(side, Loss::Closed))
                }
                Stir::TheirOpen(side, last) => {
                    let open = their_open(&format!("10.0.0.{last}"));
                    bench.on(Event::Received(side, Message::Open(open)))
                }
                Stir::RestartingOpen(side) => {
                    let mut open = restarting_open();
                    open.capabilities.push(super::long_lived::asked(&[(Family::Ipv6Unicast, 60)]));
                    bench.on(Event::Received(side, Message::Open(open)))
                }
                Stir::TooManyPrefixes(found) => bench.on(Event::TooManyPrefixes(Family::Ipv6Unicast, found)),
                Stir::Keepalive(side) => bench.on(Event::Received(side, Message::Keepalive)),
                Stir::Update(side) => bench.on(Event::Received(side, Message::Update(Bytes::new()))),
                Stir::Notification(side, code) => {
                    let words = Notification::from(Cause::from_codes(6, code));
                    bench.on(Event::Received(side, Message::Notification(words)))
                }
                Stir::Malformed(side) => {
                    let error = Error { section: Section::Header, offset: 0, fault: Fault::Marker };
                    bench.on(Event::Malformed(side, error))
                }
                Stir::Backlogged(side) => bench.on(Event::Backlogged(side)),
                Stir::Blocked(side) => bench.on(Event::Unwritable(side, now)),
                Stir::Writable(side) => bench.on(Event::Writable(side)),
                Stir::Bfd(path) => bench.on(Event::Bfd(path)),
                Stir::Start => bench.on(Event::Start),
                Stir::Stop => bench.on(Event::Stop(Stop::Silent)),
                Stir::Configure(hold) => {
                    let mut config = config(1, 1);
                    config.hold_time = HoldTime::try_from(hold).unwrap();
                    bench.on(Event::Configure(Arc::new(config), id("10.0.0.2")))
                }
                Stir::Wait(seconds) => bench.after(Duration::from_secs(seconds), Event::Tick),
                Stir::Tick => {
                    if bench.peer.deadline().is_none() { continue; }
                    bench.tick()
                }
            };
            for action in actions.iter().cloned() {
                match action {
                    Action::Dial => {
                        prop_assert!(!dialing && !there.contains(&Side::Active));
                        dialing = true;
                    }
                    Action::Accept(side) => {
                        prop_assert_eq!(newcomer.take(), Some(side));
                        prop_assert!(there.insert(side), "the old connection was not closed");
                    }
                    Action::Send(side, message) => {
                        prop_assert!(there.contains(&side), "{message:?} to nobody");
                    }
                    Action::Close(side, _) => {
                        let dial = side == Side::Active && std::mem::take(&mut dialing);
                        prop_assert!(there.remove(&side) || dial, "nothing to close");
                        if up == Some(side) { up = None; }
                    }
                    Action::Refuse(side, _) => prop_assert_eq!(newcomer.take(), Some(side)),
                    Action::Up(side, _) => {
                        prop_assert!(up.is_none() && there.contains(&side));
                        up = Some(side);
                    }
                    Action::Down(_, keep) => {
                        up = None;
                        stale = keep != Keep::Nothing;
                    }
                    Action::LongLived(families) => {
                        prop_assert!(stale && !families.is_empty(), "nothing was kept");
                    }
                    Action::Forget => {
                        prop_assert!(stale, "nothing was kept");
                        stale = false;
                    }
                }
            }
            prop_assert!(newcomer.is_none(), "neither taken nor refused");
            prop_assert!(!stale || bench.peer.deadline().is_some(), "stale routes that nothing ends");
            prop_assert_eq!(bench.state() == SessionState::Established, bench.peer.negotiated().is_some());
            prop_assert_eq!(bench.state() == SessionState::Established, up.is_some());
            // One tick later nothing is due any more.
            if bench.peer.deadline().is_some_and(|deadline| deadline <= bench.now) { continue; }
        }
    }
}
