//! The thread that owns the RIB.
//!
//! It takes commands from one bounded queue and awaits nobody: answers go into channels that have room by
//! construction. Between commands it does slices of long work, then answers whoever waits for news. Sessions find the
//! queue full when the RIB is behind and stop reading their sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ipnetwork::IpNetwork;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::command::Command;
use super::error::StartError;
use super::event::SpeakerEvent;
use super::feed::FeedId;
use super::limits::Limits;
use super::monitor::Monitors;
use super::origination::{self, Origination};
use super::query;
use super::status::{PeerCounts, RouteStatus};
use super::tables::Tables;
use super::terms::{facts, identity, profile};
use crate::config::{Config, Families, Family, PeerKey};
use crate::net::{Ending, Report, ReportEvent, Signal};
use crate::peer::{Keep, Negotiated};
use crate::rib::{Af, Change, DestId, PeerSlot, Progress, Rib, V4, V6};
use crate::wire::nlri::{Ipv4Prefix, Ipv6Prefix, Prefix};
use crate::wire::update::Update;

mod feeds;
mod monitoring;
mod restarts;

use feeds::Parked;
pub use restarts::Beginning;
use restarts::Begun;

/// How many destinations a slice of long work is about.
const SLICE: usize = 1024;
/// How many commands are taken before followers are served again.
const BURST: usize = 256;

/// What the thread starts with.
#[derive(Debug)]
pub struct Start {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Whether it is a beginning after a restart.
    pub beginning: Beginning,
    /// The other end of the queue, for the update groups. Weak: they do not keep the speaker alive.
    pub own: mpsc::WeakSender<Command>,
    /// Who listens.
    pub events: broadcast::Sender<SpeakerEvent>,
    /// Where update groups run.
    pub runtime: tokio::runtime::Handle,
}

/// Starts the thread. It ends with [`Command::Stop`] or when the last sender is gone.
pub fn spawn(start: Start, commands: mpsc::Receiver<Command>) -> Result<(), StartError> {
    let mut thread = RibThread::new(start);
    thread.begin();
    std::thread::Builder::new()
        .name("bgp-rib".into())
        .spawn(move || thread.run(commands))
        .map(drop)
        .map_err(StartError::Thread)
}

/// An established session.
#[derive(Debug)]
struct Session {
    slot: PeerSlot,
    negotiated: Arc<Negotiated>,
    limits: Limits,
    /// The families of which the peer has said all it has.
    ended: Families,
}

/// What is kept of a session that is over.
#[derive(Debug)]
struct Stale {
    slot: PeerSlot,
    families: Families,
    /// Those in which the peer is away for longer than it asked for.
    long: Families,
}

struct RibThread {
    config: Arc<Config>,
    v4: Tables<V4>,
    v6: Tables<V6>,
    sessions: BTreeMap<PeerKey, Session>,
    stale: BTreeMap<PeerKey, Stale>,
    /// Who has which slot, also while its paths are being swept.
    keys: BTreeMap<PeerSlot, Seat>,
    free: Vec<PeerSlot>,
    last_slot: u16,
    feeds: BTreeMap<FeedId, Option<Parked>>,
    next_feed: u64,
    begun: Begun,
    own: mpsc::WeakSender<Command>,
    monitors: Monitors,
    events: broadcast::Sender<SpeakerEvent>,
    runtime: tokio::runtime::Handle,
}

/// A slot in use.
#[derive(Debug)]
struct Seat {
    key: PeerKey,
    /// How many families have still to sweep before the slot is free.
    sweeps: u8,
}

impl RibThread {
    fn new(start: Start) -> Self {
        let Start { config, beginning, own, events, runtime } = start;
        let now = Instant::now();
        let identity = identity(&config, []);
        RibThread {
            v4: Tables::new(now, identity.clone(), config.local_as, own.clone(), runtime.clone()),
            v6: Tables::new(now, identity, config.local_as, own.clone(), runtime.clone()),
            config,
            sessions: BTreeMap::new(),
            stale: BTreeMap::new(),
            keys: BTreeMap::new(),
            free: Vec::new(),
            last_slot: PeerSlot::LOCAL.0,
            feeds: BTreeMap::new(),
            next_feed: 0,
            begun: Begun::new(beginning),
            own,
            monitors: Monitors::default(),
            events,
            runtime,
        }
    }

    fn run(&mut self, mut commands: mpsc::Receiver<Command>) {
        let mut busy = false;
        loop {
            let first = match busy {
                true => commands.try_recv(),
                false => commands.blocking_recv().ok_or(TryRecvError::Disconnected),
            };
            let mut next = first;
            for _ in 0..BURST {
                match next {
                    Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return,
                    Ok(command) => self.take(command),
                    Err(TryRecvError::Empty) => break,
                }
                next = commands.try_recv();
            }
            match next {
                Ok(Command::Stop) => return,
                Ok(command) => self.take(command),
                Err(_) => {}
            }
            busy = self.slice();
        }
    }

    /// A slice of long work, then whoever waits is served; true when there is more work.
    fn slice(&mut self) -> bool {
        let worked = [self.v4.work(SLICE), self.v6.work(SLICE)];
        for slot in self.v4.rib.take_swept().into_iter().chain(self.v6.rib.take_swept()) {
            if let Some(seat) = self.keys.get_mut(&slot) {
                seat.sweeps -= 1;
                if seat.sweeps == 0 {
                    self.keys.remove(&slot);
                    self.free.push(slot);
                }
            }
        }
        let (v4, v6) = self.may_end();
        let served = [self.v4.serve(v4), self.v6.serve(v6)];
        self.serve_feeds();
        let monitored = self.monitors.serve(&mut self.v4, &mut self.v6);
        monitored || worked.contains(&Progress::More) || served.contains(&Progress::More)
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Report(report) => self.report(report),
            Command::Configure { config, reply } => {
                self.configure(config);
                answer(reply, ());
            }
            Command::Peers { config, reply } => {
                self.config = config;
                self.know_own_addresses(Instant::now());
                self.look_at_beginning();
                answer(reply, ());
            }
            Command::Originate { changes, reply } => {
                self.originate(&changes);
                answer(reply, ());
            }
            Command::OpenFeed { reply } => answer(reply, self.open_feed()),
            Command::PullFeed { feed, budget, reply } => self.park(feed, Parked { budget, reply }),
            Command::CloseFeed(feed) => self.close_feed(feed),
            Command::Underlay { underlay, reply } => {
                let now = Instant::now();
                self.v4.rib.apply(now, Change::Underlay(Arc::clone(&underlay)));
                self.v6.rib.apply(now, Change::Underlay(underlay));
                answer(reply, ());
            }
            Command::Prefixes { family, cursor, budget, reply } => {
                answer(
                    reply,
                    match family {
                        Family::Ipv4Unicast => prefixes(&self.v4.rib, cursor, budget),
                        Family::Ipv6Unicast => prefixes(&self.v6.rib, cursor, budget),
                    },
                );
            }
            Command::Routes { prefixes, peer, reply } => answer(reply, self.routes(&prefixes, peer)),
            Command::Counts { reply } => {
                let counts = |slot| PeerCounts { ipv4: self.v4.counts(slot), ipv6: self.v6.counts(slot) };
                let all = self.sessions.iter().map(|(key, session)| (*key, counts(session.slot))).collect();
                answer(reply, all);
            }
            Command::Announced { reply } => {
                self.announced();
                answer(reply, ());
            }
            Command::DeferralOver => self.deferral_over(),
            Command::Monitor(request) => self.monitors.request(request, &mut self.v4, &mut self.v6),
            Command::Ipv4(request) => self.v4.request(request),
            Command::Ipv6(request) => self.v6.request(request),
            // Handled where the queue is read.
            Command::Stop => {}
        }
    }

    fn routes(&self, prefixes: &[IpNetwork], peer: Option<PeerKey>) -> Vec<RouteStatus> {
        let keys = |slot| self.keys.get(&slot).map(|seat| seat.key);
        let now = Instant::now();
        let mut routes = Vec::new();
        for network in prefixes {
            if let Some(prefix) = Ipv4Prefix::from_network(network) {
                routes.extend(query::routes(&self.v4.rib, now, prefix, peer, keys));
            }
            if let Some(prefix) = Ipv6Prefix::from_network(network) {
                routes.extend(query::routes(&self.v6.rib, now, prefix, peer, keys));
            }
        }
        routes
    }

    fn report(&mut self, report: Report) {
        let Report { key, event } = report;
        match event {
            ReportEvent::Up { negotiated, opens, writer, signals } => {
                self.up(key, &negotiated, &writer, signals);
                self.monitor_up(key, negotiated, opens);
            }
            ReportEvent::Update(update) => self.update(key, &update),
            ReportEvent::Refresh(family) => {
                if let Some(session) = self.sessions.get(&key) {
                    let (slot, marked) = (session.slot, session.negotiated.enhanced_refresh);
                    match family {
                        Family::Ipv4Unicast => self.v4.refresh(slot, marked),
                        Family::Ipv6Unicast => self.v6.refresh(slot, marked),
                    }
                }
            }
            ReportEvent::RefreshBegins(family) => {
                self.refreshing(key, family, Change::RefreshBegins, Change::RefreshBegins)
            }
            ReportEvent::RefreshEnds(family) => {
                self.refreshing(key, family, Change::RefreshEnds, Change::RefreshEnds)
            }
            ReportEvent::Down(keep, ending) => {
                self.monitor_down(key, ending);
                self.down(key, keep);
            }
            ReportEvent::LongLived(families) => self.long_lived(key, families),
            ReportEvent::Forget => self.forget(key, Families::dual()),
        }
    }

    /// A peer begins or ends to announce everything of a family again.
    fn refreshing(
        &mut self,
        key: PeerKey,
        family: Family,
        v4: fn(PeerSlot) -> Change<'static, V4>,
        v6: fn(PeerSlot) -> Change<'static, V6>,
    ) {
        let Some(slot) = self.sessions.get(&key).map(|session| session.slot) else { return };
        match family {
            Family::Ipv4Unicast => self.v4.rib.apply(Instant::now(), v4(slot)),
            Family::Ipv6Unicast => self.v6.rib.apply(Instant::now(), v6(slot)),
        }
    }

    fn up(
        &mut self,
        key: PeerKey,
        negotiated: &Arc<Negotiated>,
        writer: &mpsc::Sender<Bytes>,
        signals: mpsc::Sender<Signal>,
    ) {
        if self.sessions.contains_key(&key) {
            self.monitor_down(key, Ending::Silent);
            self.down(key, Keep::Nothing);
        }
        // Only where the peer went on forwarding is what it said before of any use (RFC 4724 §4.2).
        self.forget(key, Families::dual().difference(self.survived(key, negotiated)));
        let Some(peer) = self.config.peers.get(&key).cloned() else {
            self.forget(key, Families::dual());
            tracing::info!(peer = %key, "a session came up with a peer that is no longer configured");
            return;
        };
        let Some(slot) = self.free_slot() else {
            tracing::error!(peer = %key, "no slot is free for another session: its routes are not used");
            return;
        };
        let now = Instant::now();
        self.keys.insert(slot, Seat { key, sweeps: 2 });
        let limits = Limits::new(signals);
        self.sessions
            .insert(key, Session { slot, negotiated: Arc::clone(negotiated), limits, ended: Families::NONE });
        self.know_own_addresses(now);
        if let Some(stale) = self.stale.get(&key).map(|stale| stale.slot) {
            self.v4.rib.apply(now, Change::Returned(stale, slot));
            self.v6.rib.apply(now, Change::Returned(stale, slot));
        }
        let facts = facts(&self.config, key, &peer, negotiated);
        let told = |family| profile(&self.config, &peer, negotiated, family);
        self.v4.up(now, slot, facts.clone(), told(Family::Ipv4Unicast), writer);
        self.v6.up(now, slot, facts, told(Family::Ipv6Unicast), writer);
        self.meet(key, negotiated);
        self.look_at_beginning();
    }

    fn update(&mut self, key: PeerKey, update: &Update) {
        let Some(session) = self.sessions.get(&key) else { return };
        let (slot, now) = (session.slot, Instant::now());
        let (set, on_link) = (update.attributes.as_ref(), key.interface().is_some());
        if self.v4.update(now, slot, set, &update.ipv4, on_link) {
            self.end_of_rib(key, Family::Ipv4Unicast);
        }
        if self.v6.update(now, slot, set, &update.ipv6, on_link) {
            self.end_of_rib(key, Family::Ipv6Unicast);
        }
        self.count(key);
    }

    /// Holds what a peer has announced against its limits.
    fn count(&mut self, key: PeerKey) {
        let (Some(session), Some(peer)) = (self.sessions.get_mut(&key), self.config.peers.get(&key)) else {
            return;
        };
        for family in Family::ALL {
            let found = || match family {
                Family::Ipv4Unicast => self.v4.rib.counts(session.slot).received,
                Family::Ipv6Unicast => self.v6.rib.counts(session.slot).received,
            };
            session.limits.check(family, peer.session.limits.of(family), found);
        }
    }

    /// A slot nobody has; slot 0 is this speaker.
    fn free_slot(&mut self) -> Option<PeerSlot> {
        self.free.pop().or_else(|| {
            self.last_slot = self.last_slot.checked_add(1)?;
            Some(PeerSlot(self.last_slot))
        })
    }

    /// Another configuration: only what it changes of a session is touched.
    fn configure(&mut self, config: Arc<Config>) {
        let old = std::mem::replace(&mut self.config, config);
        let now = Instant::now();
        self.know_own_addresses(now);
        for (key, session) in &self.sessions {
            // A peer that is gone or reset closes its session by itself.
            let (Some(before), Some(after)) = (old.peers.get(key), self.config.peers.get(key)) else {
                continue;
            };
            let negotiated = &session.negotiated;
            if old.require_policies != self.config.require_policies
                || before.import != after.import
                || before.reflector_client != after.reflector_client
                || before.allow_own_as != after.allow_own_as
            {
                let facts = facts(&self.config, *key, after, negotiated);
                self.v4.rib.apply(now, Change::Facts(session.slot, facts.clone()));
                self.v6.rib.apply(now, Change::Facts(session.slot, facts));
            }
            if let Some(profile) = profile(&self.config, after, negotiated, Family::Ipv4Unicast) {
                self.v4.regroup(session.slot, profile);
            }
            if let Some(profile) = profile(&self.config, after, negotiated, Family::Ipv6Unicast) {
                self.v6.regroup(session.slot, profile);
            }
        }
        // A limit may be another one.
        let keys: Vec<PeerKey> = self.sessions.keys().copied().collect();
        keys.into_iter().for_each(|key| self.count(key));
        self.look_at_beginning();
    }

    fn know_own_addresses(&mut self, now: Instant) {
        let identity = identity(&self.config, self.sessions.values().map(|one| one.negotiated.local.ip()));
        self.v4.rib.apply(now, Change::Identity(identity.clone()));
        self.v6.rib.apply(now, Change::Identity(identity));
    }

    fn originate(&mut self, changes: &[Origination]) {
        let now = Instant::now();
        for change in changes {
            let set = match change {
                Origination::Announce { communities, .. } => Some(origination::attributes(communities)),
                Origination::Withdraw { .. } => None,
            };
            let network = change.prefix();
            if let Some(prefix) = Ipv4Prefix::from_network(&network) {
                self.v4.originate(now, prefix, set.as_ref());
            }
            if let Some(prefix) = Ipv6Prefix::from_network(&network) {
                self.v6.originate(now, prefix, set.as_ref());
            }
        }
    }
}

fn prefixes<A: Af>(rib: &Rib<A>, cursor: DestId, budget: usize) -> (Vec<IpNetwork>, Option<DestId>) {
    let (found, next) = rib.prefixes_from(cursor, budget);
    (found.into_iter().map(Prefix::to_network).collect(), next)
}

/// Answers a question; that the asker has gone in the meantime is its own affair.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("a question to the RIB was given up before its answer");
    }
}
