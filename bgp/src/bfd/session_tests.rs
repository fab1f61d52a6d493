//! The machine of RFC 5880 §6.8, a statement a test.

use std::num::NonZeroU8;

use super::*;

const LOCAL: NonZeroU32 = NonZeroU32::new(7).unwrap();
const REMOTE: NonZeroU32 = NonZeroU32::new(9).unwrap();

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A session, the time, and what it sent last.
struct Bench {
    session: Session,
    now: Instant,
    sent: Vec<Packet>,
}

impl Bench {
    fn new(timers: Timers) -> Bench {
        let now = Instant::now();
        Bench { session: Session::new(now, timers, LOCAL, 1), now, sent: Vec::new() }
    }

    /// A session that is Up, its first poll being answered.
    fn up(timers: Timers) -> Bench {
        let mut bench = Bench::new(timers);
        bench.hear(State::Down);
        bench.hear(State::Init);
        bench.hear_final();
        assert_eq!(bench.session.state(), State::Up);
        bench
    }

    fn packet(state: State) -> Packet {
        Packet {
            desired_min_tx: millis(200),
            required_min_rx: millis(100),
            ..Packet::plain(state, REMOTE, LOCAL.get())
        }
    }

    fn receive(&mut self, packet: Packet) {
        self.sent.clear();
        self.session.received(self.now, &packet, &mut self.sent);
    }

    fn hear(&mut self, state: State) {
        self.receive(Bench::packet(state));
    }

    fn hear_final(&mut self) {
        self.receive(Packet { r#final: true, ..Bench::packet(State::Up) });
    }

    /// Lets time pass, deadline by deadline, and collects what is sent.
    fn wait(&mut self, time: Duration) -> Vec<(Duration, Packet)> {
        let (start, end) = (self.now, self.now + time);
        let mut sent = Vec::new();
        while let Some(next) = self.session.deadline().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.sent.clear();
            self.session.tick(self.now, &mut self.sent);
            sent.extend(self.sent.iter().map(|packet| (self.now - start, *packet)));
        }
        self.now = end;
        sent
    }
}

#[test]
fn every_pair_of_states_leads_where_rfc_5880_6_8_6_says() {
    use State::{AdminDown, Down, Init, Up};
    let table = [
        (Down, AdminDown, Down),
        (Down, Down, Init),
        (Down, Init, Up),
        (Down, Up, Down),
        (Init, AdminDown, Down),
        (Init, Down, Init),
        (Init, Init, Up),
        (Init, Up, Up),
        (Up, AdminDown, Down),
        (Up, Down, Down),
        (Up, Init, Up),
        (Up, Up, Up),
        (AdminDown, AdminDown, AdminDown),
        (AdminDown, Down, AdminDown),
        (AdminDown, Init, AdminDown),
        (AdminDown, Up, AdminDown),
    ];
    for (own, heard, then) in table {
        let mut bench = match own {
            Down => Bench::new(Timers::DEFAULT),
            Init => {
                let mut bench = Bench::new(Timers::DEFAULT);
                bench.hear(Down);
                bench
            }
            Up => Bench::up(Timers::DEFAULT),
            AdminDown => {
                let mut bench = Bench::up(Timers::DEFAULT);
                bench.session.disable(bench.now, &mut Vec::new());
                bench
            }
        };
        assert_eq!(bench.session.state(), own);
        bench.hear(heard);
        assert_eq!(bench.session.state(), then, "{own} hears {heard}");
        let changed = own != then;
        assert_eq!(bench.sent.iter().any(|packet| packet.state == then), changed, "a change is told at once");
        if own == Up && changed {
            assert_eq!(bench.session.diagnostic(), Diagnostic::NeighborSignaledDown);
        }
    }
}

#[test]
fn the_path_is_down_only_if_it_was_up_and_nobody_turned_the_session_off() {
    let mut bench = Bench::new(Timers::DEFAULT);
    assert_eq!(bench.session.path(), PathState::Unknown);
    bench.hear(State::Down);
    bench.wait(millis(60_000));
    assert_eq!((bench.session.state(), bench.session.path()), (State::Down, PathState::Unknown), "never up");

    let mut bench = Bench::up(Timers::DEFAULT);
    bench.hear(State::AdminDown);
    assert_eq!(bench.session.path(), PathState::AdminDown);
    bench.wait(millis(60_000));
    assert_eq!(bench.session.path(), PathState::AdminDown, "silence after it says nothing");
    bench.hear(State::Down);
    assert_eq!(bench.session.path(), PathState::Unknown);
    bench.hear(State::Init);
    assert_eq!(bench.session.path(), PathState::Up);
    bench.hear(State::Down);
    assert_eq!(bench.session.path(), PathState::Down);

    let mut bench = Bench::up(Timers::DEFAULT);
    bench.session.disable(bench.now, &mut bench.sent);
    assert_eq!(bench.session.path(), PathState::AdminDown);
    let last = bench.sent.last().unwrap();
    assert_eq!((last.state, last.diagnostic), (State::AdminDown, Diagnostic::AdministrativelyDown));
}

#[test]
fn the_detection_time_is_the_peers_multiplier_times_the_slower_of_its_sending_and_our_receiving() {
    // §6.8.4: 3 × max(300 ms here, 200 ms there).
    let mut bench = Bench::up(Timers::DEFAULT);
    assert_eq!(bench.session.detection_time(), Some(millis(900)));
    bench.receive(Packet {
        desired_min_tx: millis(500),
        multiplier: NonZeroU8::new(5).unwrap(),
        ..Bench::packet(State::Up)
    });
    assert_eq!(bench.session.detection_time(), Some(millis(2500)));
    bench.wait(millis(2499));
    assert_eq!(bench.session.state(), State::Up);
    bench.wait(millis(1));
    assert_eq!(bench.session.state(), State::Down);
    assert_eq!(bench.session.diagnostic(), Diagnostic::DetectionTimeExpired);
    assert_eq!(bench.session.remote().0, 0, "its name for the session means nothing any more");
    assert_eq!(bench.sent.last().unwrap().your_discriminator, 0);
}

#[test]
fn it_sends_once_a_second_until_it_is_up_then_as_agreed_with_jitter() {
    let mut bench = Bench::new(Timers::DEFAULT);
    let sent = bench.wait(millis(100_000));
    assert!((100..=134).contains(&sent.len()), "{}", sent.len());
    assert!(sent.iter().all(|(_, packet)| packet.desired_min_tx == millis(1000) && !packet.poll));
    assert!(sent.windows(2).all(|two| (750..=1000).contains(&(two[1].0 - two[0].0).as_millis())));

    // The peer takes a packet each 400 ms at most.
    let mut bench = Bench::up(Timers::DEFAULT);
    let patient =
        Packet { required_min_rx: millis(400), desired_min_tx: millis(60_000), ..Bench::packet(State::Up) };
    bench.receive(patient);
    let sent = bench.wait(millis(100_000));
    assert!(sent.windows(2).all(|two| (300..=400).contains(&(two[1].0 - two[0].0).as_millis())));
    assert!(sent.iter().all(|(_, packet)| packet.desired_min_tx == millis(300)));

    bench.receive(Packet { required_min_rx: Duration::ZERO, ..patient });
    assert_eq!(bench.wait(millis(100_000)), [], "the peer wants nothing periodic");
    bench.receive(Packet { required_min_rx: Duration::ZERO, poll: true, ..patient });
    assert!(bench.sent.len() == 1 && bench.sent[0].r#final, "a poll is answered all the same");
}

#[test]
fn a_peer_in_demand_mode_is_sent_nothing_periodic_while_both_are_up() {
    let mut bench = Bench::up(Timers::DEFAULT);
    let demand = Packet { demand: true, desired_min_tx: millis(60_000), ..Bench::packet(State::Up) };
    bench.receive(demand);
    assert_eq!(bench.wait(millis(10_000)), []);
    bench.receive(Packet { demand: false, ..demand });
    assert!(!bench.wait(millis(10_000)).is_empty());
}

#[test]
fn a_poll_is_answered_at_once_and_never_with_a_poll() {
    let mut bench = Bench::new(Timers::DEFAULT);
    bench.hear(State::Down);
    bench.receive(Packet { poll: true, ..Bench::packet(State::Init) });
    let answers: Vec<_> = bench.sent.iter().filter(|packet| packet.r#final).collect();
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].state, answers[0].poll), (State::Up, false));
    assert!(bench.session.is_polling(), "coming up is a poll of our own");
}

#[test]
fn coming_up_polls_until_it_is_answered() {
    let mut bench = Bench::new(Timers::DEFAULT);
    bench.hear(State::Down);
    bench.hear(State::Init);
    assert!(bench.sent.len() == 1 && bench.sent[0].poll && bench.sent[0].desired_min_tx == millis(300));
    let sent = bench.wait(millis(600));
    assert!(sent.len() >= 2 && sent.iter().all(|(_, packet)| packet.poll));
    bench.hear_final();
    assert!(bench.wait(millis(500)).iter().all(|(_, packet)| !packet.poll));
}

#[test]
fn slower_sending_and_quicker_detection_wait_for_the_answer_and_the_rest_does_not() {
    let mut bench = Bench::up(Timers::DEFAULT);
    let slower = Timers { min_tx: millis(2000), min_rx: millis(250), ..Timers::DEFAULT };
    bench.session.configure(bench.now, slower, &mut bench.sent);
    let told = bench.sent.last().unwrap();
    assert_eq!((told.poll, told.desired_min_tx, told.required_min_rx), (true, millis(2000), millis(250)));
    assert_eq!(bench.session.transmit_interval(), Some(millis(300)));
    assert_eq!(bench.session.detection_time(), Some(millis(900)));
    bench.hear_final();
    assert_eq!(bench.session.transmit_interval(), Some(millis(2000)));
    assert_eq!(bench.session.detection_time(), Some(millis(750)));

    let quicker = Timers { min_tx: millis(150), min_rx: millis(1000), ..Timers::DEFAULT };
    bench.session.configure(bench.now, quicker, &mut bench.sent);
    assert_eq!(bench.session.transmit_interval(), Some(millis(150)), "at once");
    assert_eq!(bench.session.detection_time(), Some(millis(3000)), "at once");
}

#[test]
fn a_change_while_a_poll_runs_becomes_a_poll_of_its_own() {
    let mut bench = Bench::up(Timers::DEFAULT);
    let first = Timers { min_tx: millis(500), ..Timers::DEFAULT };
    let second = Timers { min_tx: millis(800), ..Timers::DEFAULT };
    bench.session.configure(bench.now, first, &mut bench.sent);
    bench.session.configure(bench.now, second, &mut bench.sent);
    assert!(bench.sent.iter().all(|packet| packet.desired_min_tx != millis(800)));
    bench.hear_final();
    assert_eq!(bench.session.transmit_interval(), Some(millis(500)));
    let next = bench.sent.last().unwrap();
    assert_eq!((next.poll, next.desired_min_tx), (true, millis(800)));
    bench.hear_final();
    assert_eq!(bench.session.transmit_interval(), Some(millis(800)));
}

#[test]
fn an_answer_to_the_poll_before_is_not_taken_for_one_to_the_next() {
    let mut bench = Bench::up(Timers::DEFAULT);
    bench.session.configure(bench.now, Timers { min_tx: millis(500), ..Timers::DEFAULT }, &mut bench.sent);
    assert!(!bench.wait(millis(400)).is_empty(), "a second packet of the same poll");
    bench.hear_final();
    bench.session.configure(bench.now, Timers { min_tx: millis(800), ..Timers::DEFAULT }, &mut bench.sent);
    bench.hear_final();
    assert_eq!(bench.session.transmit_interval(), Some(millis(500)));
    for _ in 0..10 {
        bench.wait(millis(200));
        bench.hear(State::Up);
    }
    assert!(bench.session.is_polling());
    bench.hear_final();
    assert_eq!(bench.session.transmit_interval(), Some(millis(800)));
}

#[test]
fn a_session_that_does_not_stay_up_is_held_down_and_comes_back() {
    let mut bench = Bench::up(Timers::DEFAULT);
    bench.wait(millis(1000));
    assert_eq!(bench.session.path(), PathState::Down);
    bench.hear(State::Down);
    bench.hear(State::Init);
    assert_eq!(bench.session.state(), State::Down, "held");
    for _ in 0..20 {
        bench.wait(millis(100));
        bench.hear(State::Init);
    }
    assert_eq!(bench.session.state(), State::Up);
}

#[test]
fn a_peer_that_starts_anew_under_another_name_is_followed() {
    let mut bench = Bench::up(Timers::DEFAULT);
    let anew = Packet {
        my_discriminator: NonZeroU32::new(77).unwrap(),
        your_discriminator: 0,
        ..Bench::packet(State::Down)
    };
    bench.receive(anew);
    assert_eq!((bench.session.state(), bench.session.remote().0), (State::Down, 77));
    assert_eq!(bench.sent.last().unwrap().your_discriminator, 77);
}

#[test]
fn who_was_turned_off_does_not_answer_and_says_so_once_a_second() {
    let mut bench = Bench::up(Timers::DEFAULT);
    bench.session.disable(bench.now, &mut bench.sent);
    bench.receive(Packet { poll: true, ..Bench::packet(State::Up) });
    assert_eq!(bench.sent, []);
    let sent = bench.wait(millis(10_000));
    assert!((10..=14).contains(&sent.len()), "{}", sent.len());
    assert!(sent.iter().all(|(_, packet)| packet.state == State::AdminDown));
}

/// Another process goes on with what there is to know of a session.
fn resumed(memory: &Memory) -> Bench {
    let now = Instant::now();
    Bench { session: Session::resume(now, Timers::DEFAULT, memory, 2), now, sent: Vec::new() }
}

#[test]
fn a_session_that_goes_on_is_up_by_the_same_names_and_says_nothing_of_the_path_until_it_is_heard() {
    let memory = Bench::up(Timers::DEFAULT).session.memory().unwrap();
    let mut next = resumed(&memory);
    assert_eq!((next.session.state(), next.session.path()), (State::Up, PathState::Unknown));
    assert_eq!(next.session.memory(), Some(memory), "it can be left again before anything is heard");
    let (when, first) = next.wait(millis(1))[0];
    assert_eq!((when, first.state, first.poll), (Duration::ZERO, State::Up, false));
    assert_eq!((first.my_discriminator, first.your_discriminator), (LOCAL, REMOTE.get()));
    next.hear(State::Up);
    assert_eq!((next.session.state(), next.session.path()), (State::Up, PathState::Up));
    next.hear(State::Down);
    assert_eq!((next.session.state(), next.session.path()), (State::Down, PathState::Down));
}

#[test]
fn a_peer_that_has_given_up_meanwhile_costs_a_session_that_goes_on_nothing_but_a_new_beginning() {
    let memory = Bench::up(Timers::DEFAULT).session.memory().unwrap();
    let mut next = resumed(&memory);
    next.hear(State::Down);
    assert_eq!((next.session.state(), next.session.path()), (State::Down, PathState::Unknown));
    next.hear(State::Down);
    next.hear(State::Init);
    assert_eq!(next.session.path(), PathState::Up, "it is not held down, as if it had flapped");

    let mut next = resumed(&memory);
    next.wait(next.session.detection_time().unwrap());
    assert_eq!((next.session.state(), next.session.path()), (State::Down, PathState::Unknown));
    assert_eq!(next.session.memory(), None);
}

#[test]
fn who_is_about_to_fall_silent_asks_for_patience_and_the_next_one_takes_that_back() {
    let mut bench = Bench::up(Timers::DEFAULT);
    let mut sent = Vec::new();
    bench.session.stretch(bench.now, Duration::from_secs(30), &mut sent);
    let asked = sent.last().unwrap();
    assert!(asked.poll && asked.state == State::Up);
    assert_eq!(asked.desired_min_tx * u32::from(asked.multiplier.get()), Duration::from_secs(30));
    assert!(!bench.session.is_known());
    bench.hear(State::Up);
    assert!(!bench.session.is_known(), "that was no answer");
    let waiting = bench.wait(millis(700));
    assert!(waiting.len() >= 2, "until the answer it sends as before: {waiting:?}");
    bench.hear_final();
    assert!(bench.session.is_known());

    let mut next = resumed(&bench.session.memory().unwrap());
    let (_, first) = next.wait(millis(1))[0];
    assert!(first.poll && first.state == State::Up, "{first:?}");
    assert_eq!(first.desired_min_tx, Timers::DEFAULT.min_tx);
    next.hear_final();
    assert!(next.session.is_known());
    assert_eq!(next.session.path(), PathState::Up);
}

#[test]
fn who_has_asked_for_patience_is_quiet_when_it_would_have_been_down_and_down_when_that_is_over() {
    let mut bench = Bench::up(Timers::DEFAULT);
    bench.hear(State::Up);
    let usual = bench.session.detection_time().unwrap();
    let patient = Packet { desired_min_tx: Duration::from_secs(10), ..Bench::packet(State::Up) };
    bench.receive(Packet { poll: true, ..patient });
    let asked = bench.session.detection_time().unwrap();
    assert!(asked > usual * 10);
    bench.wait(usual - millis(1));
    assert_eq!(bench.session.path(), PathState::Up);
    bench.wait(millis(1));
    assert_eq!((bench.session.state(), bench.session.path()), (State::Up, PathState::Quiet));
    bench.receive(patient);
    assert_eq!(bench.session.path(), PathState::Up);
    bench.wait(asked - millis(1));
    assert_eq!(bench.session.path(), PathState::Up, "it sends as seldom as it says, and that is no silence");
    bench.wait(millis(1));
    assert_eq!((bench.session.state(), bench.session.path()), (State::Down, PathState::Down));
}

#[test]
fn who_is_not_up_has_nobody_to_ask_for_patience() {
    let mut bench = Bench::new(Timers::DEFAULT);
    bench.session.stretch(bench.now, Duration::from_secs(30), &mut Vec::new());
    assert!(bench.session.is_known() && bench.session.memory().is_none());
}

/// The thread of BFD is part of the process that routes: its end is the end of both (RFC 5880 §4.1, RFC 5882 §4.3.2).
#[test]
fn it_never_says_that_it_outlives_the_control_plane() {
    let mut bench = Bench::up(Timers::DEFAULT);
    let memory = bench.session.memory().unwrap();
    let mut sent = bench.wait(Duration::from_secs(2));
    bench.session.stretch(bench.now, Duration::from_secs(30), &mut bench.sent);
    sent.extend(bench.sent.iter().map(|packet| (Duration::ZERO, *packet)));
    sent.extend(resumed(&memory).wait(Duration::from_secs(5)));
    sent.extend(Bench::new(Timers::DEFAULT).wait(Duration::from_secs(5)));
    assert!(sent.len() > 12, "{sent:?}");
    assert!(sent.iter().all(|(_, packet)| !packet.control_plane_independent));
    assert!(sent.iter().all(|(_, packet)| packet.encode()[1] & 0x08 == 0), "as it is on the wire");
}
