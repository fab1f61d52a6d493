//! Two speakers, what is on its way between them, and the shells around them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::link::{Connection, Mishap};
use crate::config::{Families, HoldTime, PeerConfig, RestartOptions, RouterId};
use crate::peer::negotiation::tests::{config, ends};
use crate::peer::{Action, Actions, Event, Farewell, Keep, Loss, Peer, SessionState, Side, Stop};
use crate::random::Random;
use crate::wire::message::Message;

/// How many routes each speaker announces when a session comes up.
const ROUTES: u8 = 3;
/// What an UPDATE has in it instead of a route: there are no more.
const END_OF_RIB: u8 = 255;
/// How long each may be away, if it can restart gracefully.
pub(super) const RESTART_TIME: Duration = Duration::from_secs(100);
/// How long each keeps stale routes at most, once the other is back.
const STALE_TIME: Duration = Duration::from_secs(110);

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
    /// Nothing could be written since then.
    Blocked(usize, Instant),
    Writable(usize),
}

/// What a seed decides besides chance on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nature {
    hold: u16,
    ases: [u32; 2],
    ids: [&'static str; 2],
    passive: [bool; 2],
    delay_open: [Option<Duration>; 2],
    /// Both announce that they can restart gracefully.
    restarts: bool,
}

impl Nature {
    fn of(random: &mut Random) -> Nature {
        let internal = random.one_in(2);
        let equal = !internal && random.one_in(3);
        let passive = random.below(6);
        let mut delay = || random.one_in(4).then(|| Duration::from_millis(random.below(3000)));
        Nature {
            delay_open: [delay(), delay()],
            hold: [0, 3, 9, 30][usize::try_from(random.below(4)).unwrap()],
            ases: if internal { [1, 1] } else { [1, 2] },
            ids: if equal { ["10.0.0.1"; 2] } else { ["10.0.0.1", "10.0.0.2"] },
            passive: [passive == 0, passive == 1],
            restarts: random.one_in(3),
        }
    }

    fn speaker(&self, who: usize, seed: u64) -> Peer {
        let mut config: PeerConfig = config(self.ases[who], self.ases[1 - who]);
        config.hold_time = HoldTime::try_from(self.hold).unwrap();
        config.passive = self.passive[who];
        config.session.delay_open = self.delay_open[who];
        config.session.graceful_restart = self.restarts.then(|| RestartOptions {
            time: RESTART_TIME,
            stale_time: STALE_TIME,
            long_lived: None,
            restarted: true,
            forwarding: Families::dual(),
        });
        let id = RouterId::try_from(self.ids[who].parse::<std::net::Ipv4Addr>().unwrap()).unwrap();
        Peer::new(Arc::new(config), id, seed)
    }
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) start: Instant,
    nature: Nature,
    random: Random,
    pub(super) peers: [Peer; 2],
    /// By speaker and side: the number of the connection the shell holds there.
    held: [HashMap<Side, usize>; 2],
    /// The dial in progress, by speaker.
    dialing: [Option<usize>; 2],
    connections: Vec<Connection>,
    parcels: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    waiting: HashMap<u64, Parcel>,
    count: u64,
    delay: u64,
    /// Mishaps happen by chance until then.
    pub(super) trouble_until: Instant,
    up: [Option<Side>; 2],
    pub(super) ups: usize,
    /// What each RIB has learnt, and on which connection.
    routes: [BTreeMap<u8, usize>; 2],
    /// What each RIB has kept of a session that ended, and until when it may at most.
    stale: [BTreeSet<u8>; 2],
    kept_until: [Instant; 2],
}

impl World {
    pub(super) fn new(seed: u64, trouble: Duration) -> World {
        let mut random = Random::new(seed);
        let now = Instant::now();
        let nature = Nature::of(&mut random);
        World {
            now,
            start: now,
            peers: [nature.speaker(0, random.next()), nature.speaker(1, random.next())],
            nature,
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
            routes: [BTreeMap::new(), BTreeMap::new()],
            stale: [BTreeSet::new(), BTreeSet::new()],
            kept_until: [now, now],
            random,
        }
    }

    /// Whether anybody can notice that this speaker starts anew: without a hold time the other end never looks, and one
    /// that is passive never knocks.
    pub(super) fn can_come_back(&self, who: usize) -> bool {
        self.nature.hold != 0 || !self.nature.passive[who]
    }

    /// Both begin to dial and to accept.
    pub(super) fn begin(&mut self) {
        for who in 0..2 {
            self.on(who, Event::Start);
        }
    }

    /// The machine of one speaker loses power and starts anew: no FIN, no RST until the other end writes.
    pub(super) fn lose_power(&mut self, who: usize) {
        for (_, connection) in self.held[who].drain() {
            self.connections[connection].cut();
        }
        self.dialing[who] = None;
        self.up[who] = None;
        self.routes[who].clear();
        self.stale[who].clear();
        self.peers[who] = self.nature.speaker(who, self.random.next());
        self.on(who, Event::Start);
    }

    /// The machine of one speaker loses power and comes back without it: its system refuses connections.
    pub(super) fn leave(&mut self, who: usize) {
        self.lose_power(who);
        self.on(who, Event::Stop(Stop::Silent));
    }

    /// What a speaker has kept of a session that ended.
    pub(super) fn stale(&self, who: usize) -> usize {
        self.stale[who].len()
    }

    /// Whether both keep routes over restarts, and notice that one is needed.
    pub(super) fn keeps(&self) -> bool {
        self.nature.restarts && self.nature.hold != 0
    }

    fn post(&mut self, to: usize, connection: usize, parcel: Parcel) {
        let delay = Duration::from_millis(1 + self.random.below(self.delay));
        let way = &mut self.connections[connection].ways[1 - to];
        let at = (self.now + delay).max(way.not_before);
        way.not_before = at;
        self.post_at(at, to, parcel);
    }

    fn post_at(&mut self, at: Instant, to: usize, parcel: Parcel) {
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
        let mut actions = Actions::new();
        self.peers[who].on(self.now, Event::Opened(side, ends()), &mut actions);
        self.carry_out(who, actions, Some(connection));
    }

    fn carry_out(&mut self, who: usize, actions: Actions, mut newcomer: Option<usize>) {
        for action in actions {
            match action {
                Action::Dial => self.dial(who),
                Action::Accept(side) => {
                    let connection = newcomer.take().expect("there was something to accept");
                    assert!(self.held[who].insert(side, connection).is_none(), "the old one was not closed");
                }
                Action::Send(side, message) => {
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
                    assert!(self.routes[who].is_empty(), "a route outlived its session");
                    let connection = self.held[who][&side];
                    self.up[who] = Some(side);
                    self.ups += 1;
                    self.kept_until[who] = self.now + STALE_TIME;
                    for route in (0..ROUTES).chain([END_OF_RIB]) {
                        self.write(who, connection, Message::Update(Bytes::copy_from_slice(&[route])));
                    }
                }
                Action::Down(_, keep) => {
                    assert!(self.up[who].take().is_some(), "down without up");
                    let learnt = std::mem::take(&mut self.routes[who]).into_keys();
                    self.stale[who].clear();
                    match keep {
                        Keep::Nothing => (),
                        Keep::Stale { until, .. } => {
                            assert!(self.nature.restarts && until <= self.now + RESTART_TIME);
                            self.stale[who].extend(learnt);
                            self.kept_until[who] = until;
                        }
                    }
                }
                Action::LongLived(_) => panic!("nobody offers to keep anything for long"),
                Action::Forget => self.stale[who].clear(),
            }
        }
        assert!(newcomer.is_none(), "a connection was neither taken nor refused");
        let established = self.peers[who].state(self.now) == SessionState::Established;
        assert_eq!(established, self.up[who].is_some());
        let on = self.up[who].map(|side| self.held[who][&side]);
        assert!(self.routes[who].values().all(|from| Some(*from) == on), "a route outlived its session");
        let kept = self.stale[who].is_empty() || self.now <= self.kept_until[who];
        assert!(kept, "stale routes outlived their time");
        let certain = self.stale[who].is_empty() || self.peers[who].deadline().is_some();
        assert!(certain, "stale routes that nothing ends");
    }

    fn dial(&mut self, who: usize) {
        assert!(self.dialing[who].is_none() && !self.held[who].contains_key(&Side::Active));
        assert!(!self.nature.passive[who], "a passive speaker dials");
        let connection = self.connections.len();
        self.connections.push(Connection::new(self.now));
        self.dialing[who] = Some(connection);
        match if self.trouble() { self.random.below(6) } else { 6 } {
            0 | 1 => self.post(who, connection, Parcel::Unreachable(connection)),
            // Nothing comes back at all.
            2 => self.connections[connection].cut(),
            // The answer is lost: the far end thinks it has a connection.
            3 => self.post(1 - who, connection, Parcel::Accepted(connection)),
            _ => {
                self.post(1 - who, connection, Parcel::Accepted(connection));
                self.post(who, connection, Parcel::Connected(connection));
            }
        }
    }

    pub(super) fn trouble(&self) -> bool {
        self.now < self.trouble_until
    }

    fn write(&mut self, who: usize, connection: usize, message: Message) {
        if !self.connections[connection].is_whole() {
            // The system at the other end knows nothing of it and says so.
            self.post(who, connection, Parcel::Gone(connection));
            return;
        }
        self.post(1 - who, connection, Parcel::Message(connection, message));
        if self.trouble() && self.random.one_in(16) {
            let mishap = Mishap::any(&mut self.random);
            self.befall(connection, mishap);
        }
    }

    fn befall(&mut self, connection: usize, mishap: Mishap) {
        match mishap {
            Mishap::Cut { hears } => {
                self.connections[connection].cut();
                self.post(hears, connection, Parcel::Gone(connection));
                // With a hold time of zero nobody would ever notice a connection that died without a word.
                if self.nature.hold == 0 {
                    self.post(1 - hears, connection, Parcel::Gone(connection));
                }
            }
            Mishap::HalfClosed { by } => {
                self.connections[connection].ways[by].whole = false;
                self.post(1 - by, connection, Parcel::Gone(connection));
                if self.nature.hold == 0 {
                    self.post(by, connection, Parcel::Gone(connection));
                }
            }
            Mishap::Stalled { by, time } => {
                let until = (self.now + time).min(self.trouble_until);
                let way = &mut self.connections[connection].ways[by];
                way.not_before = way.not_before.max(until);
                let noticed = self.now + Duration::from_secs(1);
                if noticed < until {
                    self.post_at(noticed, by, Parcel::Blocked(connection, self.now));
                    self.post_at(until, by, Parcel::Writable(connection));
                }
            }
        }
    }

    fn close(&mut self, who: usize, connection: usize, farewell: Farewell) {
        if !self.connections[connection].is_whole() {
            return;
        }
        if let Farewell::Notification(words) = farewell {
            self.post(1 - who, connection, Parcel::Message(connection, Message::Notification(words)));
        }
        self.post(1 - who, connection, Parcel::Gone(connection));
        self.connections[connection].cut();
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
                let Some(side) = self.side_of(who, connection) else { return };
                if let (Message::Update(body), true) = (&message, self.up[who] == Some(side)) {
                    match body[0] {
                        END_OF_RIB => self.stale[who].clear(),
                        route => {
                            self.stale[who].remove(&route);
                            self.routes[who].insert(route, connection);
                        }
                    }
                }
                self.on(who, Event::Received(side, message));
            }
            Parcel::Gone(connection) => {
                if let Some(side) = self.side_of(who, connection) {
                    // The system answers whatever still comes with a reset.
                    self.connections[connection].cut();
                    self.held[who].remove(&side);
                    self.lost(who, side);
                } else if self.dialing[who] == Some(connection) {
                    self.dialing[who] = None;
                    self.on(who, Event::Closed(Side::Active, Loss::Closed));
                }
            }
            Parcel::Blocked(connection, since) => {
                if let Some(side) = self.side_of(who, connection) {
                    self.on(who, Event::Unwritable(side, since));
                }
            }
            Parcel::Writable(connection) => {
                if let Some(side) = self.side_of(who, connection) {
                    self.on(who, Event::Writable(side));
                }
            }
        }
    }

    /// The shell has dropped the connection; what it learnt on it goes when the machine says so, at once.
    fn lost(&mut self, who: usize, side: Side) {
        let mut actions = Actions::new();
        self.peers[who].on(self.now, Event::Closed(side, Loss::Closed), &mut actions);
        self.carry_out(who, actions, None);
    }

    /// To the next thing that happens.
    pub(super) fn step(&mut self) {
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

    /// Both ends are up on one and the same connection, hold no other, and know each other's routes.
    pub(super) fn settled(&self) -> bool {
        let alone = |who: usize| self.held[who].len() == 1 && self.dialing[who].is_none();
        let told = |who: usize| self.routes[who].keys().copied().eq((0..ROUTES).collect::<BTreeSet<_>>());
        let fresh = self.stale.iter().all(BTreeSet::is_empty);
        self.meet() && alone(0) && alone(1) && told(0) && told(1) && fresh
    }

    /// Both ends are up on one and the same connection.
    pub(super) fn meet(&self) -> bool {
        let on = |who: usize| self.up[who].and_then(|side| self.held[who].get(&side)).copied();
        on(0).is_some() && on(0) == on(1)
    }

    pub(super) fn run_until_settled(&mut self, limit: Instant) -> bool {
        while self.now < limit {
            self.step();
            if self.settled() && !self.trouble() {
                return true;
            }
        }
        false
    }

    /// What a failed run is to be told with.
    pub(super) fn show(&self) -> String {
        format!("{:#?}\n{:#?}\nheld {:?} dialing {:?}", self.nature, self.peers, self.held, self.dialing)
    }
}
