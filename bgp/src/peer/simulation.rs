//! Two machines, a link between them, virtual time: whatever the link does, when it stops doing it the two must hold
//! exactly one connection between them, soon.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{Endpoints, Event, Loss, Side};
use super::machine::Peer;
use super::negotiation::tests::{config, ends};
use super::{Action, Actions, Farewell, SessionState};
use crate::config::{HoldTime, PeerConfig, RouterId};
use crate::wire::message::Message;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Something on its way to one of the speakers.
#[derive(Clone, Debug)]
enum Parcel {
    /// A connection of this number was accepted.
    Accepted(usize),
    /// Dialling succeeded.
    Connected(usize),
    /// Dialling failed.
    Unreachable(usize),
    Message(usize, Message),
    /// The connection was closed or reset by the other end, or lost.
    Gone(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    Whole,
    /// What is written disappears.
    Dead,
}

struct World {
    now: Instant,
    start: Instant,
    random: Random,
    peers: [Peer; 2],
    /// By speaker and side: the number of the connection the shell holds there.
    held: [HashMap<Side, usize>; 2],
    /// The dial in progress, by speaker.
    dialing: [Option<usize>; 2],
    /// By connection: who dialled it, how it is, and when the last parcel to each end arrives (TCP keeps order).
    connections: Vec<(usize, Health, [Instant; 2])>,
    parcels: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    waiting: HashMap<u64, Parcel>,
    count: u64,
    delay: u64,
    /// Connections are lost by chance until then.
    trouble_until: Instant,
    up: [Option<Side>; 2],
    ups: usize,
    /// With a hold time of zero nobody would ever notice a connection that died without a word.
    silent_losses_last: bool,
}

fn speaker(seed: u64, hold: u16, id: &str, local: u32, remote: u32) -> Peer {
    let mut config: PeerConfig = config(local, remote);
    config.hold_time = HoldTime::try_from(hold).unwrap();
    let id = RouterId::try_from(id.parse::<std::net::Ipv4Addr>().unwrap()).unwrap();
    Peer::new(Arc::new(config), id, seed)
}

impl World {
    fn new(seed: u64, trouble: Duration) -> World {
        let mut random = Random(seed);
        let now = Instant::now();
        let hold = [0, 3, 9, 30][usize::try_from(random.below(4)).unwrap()];
        let internal = random.below(2) == 0;
        let (left, right) = if internal { (1, 1) } else { (1, 2) };
        let equal = !internal && random.below(3) == 0;
        let ids = if equal { ("10.0.0.1", "10.0.0.1") } else { ("10.0.0.1", "10.0.0.2") };
        World {
            now,
            start: now,
            peers: [
                speaker(random.next(), hold, ids.0, left, right),
                speaker(random.next(), hold, ids.1, right, left),
            ],
            held: [HashMap::new(), HashMap::new()],
            dialing: [None, None],
            connections: Vec::new(),
            parcels: BinaryHeap::new(),
            waiting: HashMap::new(),
            count: 0,
            delay: 1 + random.below(300),
            trouble_until: now + trouble,
            up: [None, None],
            ups: 0,
            silent_losses_last: hold == 0,
            random,
        }
    }

    fn post(&mut self, to: usize, connection: usize, parcel: Parcel) {
        let delay = Duration::from_millis(1 + self.random.below(self.delay));
        let last = &mut self.connections[connection].2[to];
        let at = (self.now + delay).max(*last);
        *last = at;
        self.count += 1;
        self.waiting.insert(self.count, parcel);
        self.parcels.push(Reverse((at, self.count, to)));
    }

    fn on(&mut self, who: usize, event: Event) {
        let mut actions = Actions::new();
        self.peers[who].on(self.now, event, &mut actions);
        self.carry_out(who, actions, None);
    }

    /// A connection came: the shell holds it aside until the machine says what becomes of it.
    fn open(&mut self, who: usize, side: Side, connection: usize) {
        let Endpoints { local, remote } = ends();
        let mut actions = Actions::new();
        self.peers[who].on(self.now, Event::Opened(side, Endpoints { local, remote }), &mut actions);
        self.carry_out(who, actions, Some(connection));
    }

    fn carry_out(&mut self, who: usize, actions: Actions, mut newcomer: Option<usize>) {
        for action in actions {
            match action {
                Action::Dial => self.dial(who),
                Action::Send(side, message) => {
                    if let Message::Open(_) = message
                        && let Some(connection) = newcomer.take()
                    {
                        assert!(
                            self.held[who].insert(side, connection).is_none(),
                            "the old one was not closed"
                        );
                    }
                    let connection = self.held[who][&side];
                    self.write(who, connection, message);
                }
                Action::Close(side, farewell) => match self.held[who].remove(&side) {
                    Some(connection) => self.close(who, connection, farewell),
                    None => {
                        assert_eq!(side, Side::Active, "there was nothing to close");
                        let dial = self.dialing[who].take().expect("there was a dial to give up");
                        self.close(who, dial, Farewell::Silent);
                    }
                },
                Action::Refuse(_, farewell) => {
                    let connection = newcomer.take().expect("there was something to refuse");
                    self.close(who, connection, farewell);
                }
                Action::Up(side, _) => {
                    assert!(self.up[who].is_none(), "up twice");
                    assert!(self.held[who].contains_key(&side));
                    self.up[who] = Some(side);
                    self.ups += 1;
                }
                Action::Down(..) => assert!(self.up[who].take().is_some(), "down without up"),
            }
        }
        assert!(newcomer.is_none(), "a connection was neither taken nor refused");
        let established = self.peers[who].state(self.now) == SessionState::Established;
        assert_eq!(established, self.up[who].is_some());
    }

    fn dial(&mut self, who: usize) {
        assert!(self.dialing[who].is_none() && !self.held[who].contains_key(&Side::Active));
        let connection = self.connections.len();
        self.connections.push((who, Health::Whole, [self.now; 2]));
        self.dialing[who] = Some(connection);
        if self.trouble() && self.random.below(3) == 0 {
            self.post(who, connection, Parcel::Unreachable(connection));
        } else {
            self.post(1 - who, connection, Parcel::Accepted(connection));
            self.post(who, connection, Parcel::Connected(connection));
        }
    }

    fn trouble(&self) -> bool {
        self.now < self.trouble_until
    }

    fn write(&mut self, who: usize, connection: usize, message: Message) {
        if self.connections[connection].1 == Health::Dead {
            // The system at the other end knows nothing of it and says so.
            self.post(who, connection, Parcel::Gone(connection));
            return;
        }
        self.post(1 - who, connection, Parcel::Message(connection, message));
        if self.trouble() && self.random.below(12) == 0 {
            // One end hears of it; the other only when it writes, or when its timers end.
            self.connections[connection].1 = Health::Dead;
            let hears = usize::try_from(self.random.below(2)).unwrap();
            self.post(hears, connection, Parcel::Gone(connection));
            if self.silent_losses_last {
                self.post(1 - hears, connection, Parcel::Gone(connection));
            }
        }
    }

    fn close(&mut self, who: usize, connection: usize, farewell: Farewell) {
        if self.connections[connection].1 == Health::Dead {
            return;
        }
        if let Farewell::Notification(words) = farewell {
            self.post(1 - who, connection, Parcel::Message(connection, Message::Notification(words)));
        }
        self.post(1 - who, connection, Parcel::Gone(connection));
        self.connections[connection].1 = Health::Dead;
    }

    fn side_of(&self, who: usize, connection: usize) -> Option<Side> {
        self.held[who].iter().find(|(_, held)| **held == connection).map(|(side, _)| *side)
    }

    fn deliver(&mut self, who: usize, parcel: Parcel) {
        match parcel {
            Parcel::Accepted(connection) => self.open(who, Side::Passive, connection),
            Parcel::Connected(connection) => {
                if self.dialing[who] == Some(connection) {
                    self.dialing[who] = None;
                    self.open(who, Side::Active, connection);
                }
            }
            Parcel::Unreachable(connection) => {
                if self.dialing[who] == Some(connection) {
                    self.dialing[who] = None;
                    self.on(who, Event::Closed(Side::Active, Loss::Closed));
                }
            }
            Parcel::Message(connection, message) => {
                if let Some(side) = self.side_of(who, connection) {
                    self.on(who, Event::Received(side, message));
                }
            }
            Parcel::Gone(connection) => {
                if let Some(side) = self.side_of(who, connection) {
                    self.held[who].remove(&side);
                    self.on(who, Event::Closed(side, Loss::Closed));
                } else if self.dialing[who] == Some(connection) {
                    self.dialing[who] = None;
                    self.on(who, Event::Closed(Side::Active, Loss::Closed));
                }
            }
        }
    }

    /// To the next thing that happens.
    fn step(&mut self) {
        let parcel = self.parcels.peek().map(|Reverse((at, _, _))| *at);
        let ticks = [self.peers[0].deadline(), self.peers[1].deadline()];
        let tick = ticks.into_iter().flatten().min();
        match (parcel, tick) {
            (Some(at), tick) if tick.is_none_or(|tick| at <= tick) => {
                let Some(Reverse((at, number, who))) = self.parcels.pop() else { return };
                self.now = self.now.max(at);
                let parcel = self.waiting.remove(&number).unwrap();
                self.deliver(who, parcel);
            }
            (_, Some(at)) => {
                self.now = self.now.max(at);
                for who in 0..2 {
                    if self.peers[who].deadline().is_some_and(|deadline| deadline <= self.now) {
                        self.on(who, Event::Tick);
                        let next = self.peers[who].deadline();
                        assert!(next.is_none_or(|next| next > self.now), "a deadline stayed in the past");
                    }
                }
            }
            (_, None) => self.now += Duration::from_secs(1),
        }
    }

    /// Both ends are up, on one and the same connection, and hold no other.
    fn settled(&self) -> bool {
        let alone = |who: usize| self.held[who].len() == 1 && self.dialing[who].is_none();
        self.meet() && alone(0) && alone(1)
    }

    /// Both ends are up on one and the same connection.
    fn meet(&self) -> bool {
        let on = |who: usize| self.up[who].and_then(|side| self.held[who].get(&side)).copied();
        on(0).is_some() && on(0) == on(1)
    }

    fn run_until_settled(&mut self, limit: Instant) -> bool {
        while self.now < limit {
            self.step();
            if self.settled() && !self.trouble() {
                return true;
            }
        }
        false
    }
}

#[test]
fn two_speakers_that_dial_at_once_settle_on_one_connection() {
    for seed in 0..800 {
        let mut world = World::new(seed, Duration::ZERO);
        for who in 0..2 {
            world.on(who, Event::Start);
        }
        let limit = world.start + Duration::from_secs(10);
        assert!(world.run_until_settled(limit), "seed {seed}: {:#?}", world.peers);
        // It stays so: nothing is left that could end it.
        let until = world.now + Duration::from_secs(600);
        let ups = world.ups;
        while world.now < until {
            world.step();
            // A dial that was given up may still be accepted at the far end, and end there: the session stands.
            assert!(world.meet(), "seed {seed}: it did not last");
        }
        assert!(world.settled(), "seed {seed}: something was left over");
        assert_eq!(world.ups, ups);
    }
}

#[test]
fn speakers_meet_again_after_any_trouble_on_the_link() {
    for seed in 0..800 {
        let mut world = World::new(seed, Duration::from_secs(120));
        for who in 0..2 {
            world.on(who, Event::Start);
        }
        // The longest that may remain then: an opening connection that died without a word, in its 4 minutes, does not
        // keep the other from being used; a hold time of 30 s, the longest dial, the longest retry.
        let limit = world.trouble_until + Duration::from_secs(60 + 240);
        assert!(world.run_until_settled(limit), "seed {seed}: {:#?} {:?}", world.peers, world.held);
    }
}

#[test]
fn a_speaker_that_starts_anew_is_welcome_at_once() {
    for seed in 0..400 {
        let mut world = World::new(seed, Duration::ZERO);
        for who in 0..2 {
            world.on(who, Event::Start);
        }
        let limit = world.start + Duration::from_secs(10);
        assert!(world.run_until_settled(limit));
        // Its machine loses power: no FIN, no RST until the other end writes.
        let connections: Vec<_> = world.held[1].drain().map(|(_, connection)| connection).collect();
        for connection in connections {
            world.connections[connection].1 = Health::Dead;
        }
        world.up[1] = None;
        let (hold, id) = ([0, 3, 9, 30][seed as usize % 4], "10.0.0.2");
        let (local, remote) = {
            let terms = world.peers[0].negotiated().unwrap();
            (terms.peer_as.0, terms.local_as.0)
        };
        world.peers[1] = speaker(seed, hold, id, local, remote);
        world.on(1, Event::Start);
        let limit = world.now + Duration::from_secs(15);
        assert!(world.run_until_settled(limit), "seed {seed}: {:#?}", world.peers);
    }
}
