//! The thread of BFD: an OS thread with sockets and timers of its own, so that neither a busy RIB nor a busy machine makes
//! a path look broken.
//!
//! It asks to be run before ordinary threads and says what it got. Before it looks at its timers it reads what has come:
//! a thread that was kept waiting takes no peer for silent whose packets lie there. It is started with the first session.
//! Sessions learn by a `watch` what it has to say, and it waits for nobody.
//!
//! Sessions outlive the process where there is a file for them (`speaker/bfd_memory.rs`): a process that is about to end asks
//! the peers for patience, and the next one goes on under the same names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};

use super::bfd_memory::{self, Memories, Remembered};
use super::memory_file::Keeper;
use crate::bfd::{Arrival, Discard, Hops, Output, PathState, SessionStatus, Sessions, Timers};
use crate::config::{Config, PeerConfig, PeerKey};
use crate::net::BfdReport;
use crate::net::bfd_socket::{BfdBuffer, BfdPath, BfdReceiver, BfdSender};
use crate::net::sys::{Precedence, take_precedence};

/// How many commands wait.
const QUEUE: usize = 256;
/// What is read of one socket before timers and the other sockets have their turn.
const AT_ONCE: usize = 512;
/// How often a socket is tried that could not be had.
const RETRY: Duration = Duration::from_secs(3);
/// How long peers may take to say that they have understood that this end falls silent.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// The longest sleep; nothing depends on it.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How the session of a peer stands, and what is wrong on this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdStatus {
    /// The session.
    pub session: SessionStatus,
    /// A socket it needs cannot be had.
    pub trouble: Option<String>,
}

#[derive(Debug)]
enum Command {
    Open { key: PeerKey, path: BfdPath, hear: IpAddr, timers: Timers, reports: watch::Sender<BfdReport> },
    Close(PeerKey),
    Status(oneshot::Sender<BTreeMap<PeerKey, BfdStatus>>),
    Leave { times: BTreeMap<PeerKey, Duration>, reply: oneshot::Sender<()> },
    Stop { words: bool, reply: oneshot::Sender<()> },
}

/// The way to the thread, which is started when it is needed.
#[derive(Debug, Default)]
pub(super) struct Bfd {
    running: Option<Running>,
    /// The sessions there are, as they were asked for.
    open: BTreeMap<PeerKey, (BfdPath, IpAddr, Timers)>,
    /// The file in which they outlive the process.
    file: Option<PathBuf>,
}

#[derive(Debug)]
struct Running {
    commands: mpsc::Sender<Command>,
    wake: UnixStream,
    keeper: Option<Keeper>,
}

/// What a session has to do.
#[derive(Debug)]
pub(super) enum Follow {
    /// Go on as before.
    Same,
    /// Follow these from now on, or with `None` none any more.
    Now(Option<watch::Receiver<BfdReport>>),
}

impl Bfd {
    /// Sessions that outlive the process in this file, if there is one.
    pub(super) fn new(file: Option<PathBuf>) -> Bfd {
        Bfd { file, ..Bfd::default() }
    }

    /// Sees to it that the path to a peer is watched as configured, or not.
    pub(super) async fn configure(
        &mut self,
        config: &Config,
        key: PeerKey,
        peer: Option<&PeerConfig>,
    ) -> Follow {
        // Of a peer that waits for its device it is not known where it is.
        let wanted = peer.filter(|peer| peer.waits.is_none()).and_then(|peer| {
            let path = BfdPath {
                remote: peer.remote.into(),
                local: peer.local_address,
                device: peer.device.clone(),
                hops: peer.bfd_hops(),
            };
            Some((path, heard_at(config, peer.remote.ip()), peer.bfd?.timers))
        });
        if self.open.get(&key) == wanted.as_ref() {
            return Follow::Same;
        }
        let Some((path, hear, timers)) = wanted else {
            self.open.remove(&key);
            self.tell(Command::Close(key)).await;
            return Follow::Now(None);
        };
        let (reports, follow) = watch::channel(BfdReport { path: PathState::Unknown, downs: 0 });
        self.open.insert(key, (path.clone(), hear, timers));
        self.tell(Command::Open { key, path, hear, timers, reports }).await;
        Follow::Now(Some(follow))
    }

    /// How the sessions stand.
    pub(super) async fn status(&mut self) -> BTreeMap<PeerKey, BfdStatus> {
        if self.running.is_none() {
            return BTreeMap::new();
        }
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Status(reply)).await;
        answer.await.unwrap_or_default()
    }

    /// This process is about to end and another to take its place. The peers are asked to wait for it as long as these
    /// sessions of BGP may be away (RFC 5882 §4.3.2.2); returns when they have heard it, or after a while.
    pub(super) async fn leave(&mut self, times: BTreeMap<PeerKey, Duration>) {
        if self.file.is_none() || self.running.is_none() {
            return;
        }
        let (reply, done) = oneshot::channel();
        self.tell(Command::Leave { times, reply }).await;
        if done.await.is_err() {
            tracing::debug!("the BFD thread has ended before its peers were asked for patience");
        }
        if let Some(keeper) = self.running.as_ref().and_then(|running| running.keeper.as_ref()) {
            keeper.flush().await;
        }
    }

    /// Ends the thread; with words the peers are told that it is no failure of the path.
    pub(super) async fn stop(&mut self, words: bool) {
        if self.running.is_some() {
            let (reply, done) = oneshot::channel();
            self.tell(Command::Stop { words, reply }).await;
            if done.await.is_err() {
                tracing::debug!("the BFD thread had already ended");
            }
            self.running = None;
        }
    }

    async fn tell(&mut self, command: Command) {
        if self.running.is_none() {
            match start(self.file.as_ref()) {
                Ok(running) => self.running = Some(running),
                Err(error) => {
                    tracing::error!(%error, "starting the BFD thread failed: no path is watched");
                    return;
                }
            }
        }
        let Some(running) = &mut self.running else { return };
        if running.commands.send(command).await.is_err() {
            tracing::error!("the BFD thread has ended: no path is watched");
        }
        wake(&running.wake);
    }
}

/// Where packets of a peer are heard: where its connections would be. Those of peers with link-local addresses come to one of
/// these, and one socket cannot hear at one address what another hears at all: all of the family are heard there then.
fn heard_at(config: &Config, remote: IpAddr) -> IpAddr {
    let any: IpAddr =
        if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    if any.is_ipv6() && config.peers.keys().any(|key| key.interface().is_some()) {
        return any;
    }
    let mut same =
        config.listen.iter().map(|address| address.ip()).filter(|ip| ip.is_ipv4() == any.is_ipv4());
    match (same.next(), same.next()) {
        (Some(only), None) => only,
        (None, _) | (Some(_), Some(_)) => any,
    }
}

/// A packet was dropped. The first of its kind is told loudly, and then ever more rarely: with hops or addresses that do not
/// match there is one for each that the peer sends, and anybody can send some.
fn tell_of(discard: Discard, arrival: &Arrival, discards: &BTreeMap<&'static str, u64>) {
    let times = discards.get(discard.code()).copied().unwrap_or_default();
    if times.is_power_of_two() {
        tracing::warn!(from = %arrival.from.address, times, "dropped {discard}");
    } else {
        tracing::debug!(from = %arrival.from.address, times, "dropped {discard}");
    }
}

fn wake(stream: &UnixStream) {
    // A full buffer will wake it, too.
    if let Err(error) = (&*stream).write(&[1]) {
        tracing::trace!(%error, "waking the BFD thread");
    }
}

fn start(file: Option<&PathBuf>) -> std::io::Result<Running> {
    let (commands, to_do) = mpsc::channel(QUEUE);
    let unclaimed = file.map(|file| bfd_memory::read(file)).unwrap_or_default();
    if !unclaimed.is_empty() {
        tracing::info!(sessions = unclaimed.len(), "BFD goes on where an earlier process left it");
    }
    let memories = watch::Sender::new(Arc::new(unclaimed.clone()));
    let keeper = file.map(|file| Keeper::start(file.clone(), bfd_memory::FORMAT, memories.subscribe()));
    let (wake, woken) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    let thread = Thread {
        to_do,
        woken,
        sessions: Sessions::new(rand::random()),
        peers: BTreeMap::new(),
        receivers: BTreeMap::new(),
        retry: None,
        leaving: None,
        unclaimed,
        memories,
        told: 0,
        outputs: Vec::new(),
    };
    std::thread::Builder::new().name("bfd".to_owned()).spawn(move || thread.run())?;
    Ok(Running { commands, wake, keeper })
}

/// One peer, as the thread sees it.
struct Peer {
    path: BfdPath,
    hear: IpAddr,
    /// The source port of an earlier process.
    port: Option<u16>,
    sender: Option<BfdSender>,
    /// Nobody follows a session that is about to go.
    reports: Option<watch::Sender<BfdReport>>,
    trouble: Option<String>,
}

/// Where packets are heard.
type Ear = (IpAddr, Hops);

struct Thread {
    to_do: mpsc::Receiver<Command>,
    woken: UnixStream,
    sessions: Sessions,
    peers: BTreeMap<PeerKey, Peer>,
    receivers: BTreeMap<Ear, BfdReceiver>,
    /// When sockets are tried again.
    retry: Option<Instant>,
    /// Who waits for the peers to have heard that this process ends, and how long at most.
    leaving: Option<(oneshot::Sender<()>, Instant)>,
    /// What an earlier process has left of sessions that were not asked for yet.
    unclaimed: Memories,
    /// What the next process is to know, and as of which change.
    memories: watch::Sender<Arc<Memories>>,
    told: u64,
    outputs: Vec<Output>,
}

impl Thread {
    fn run(mut self) {
        match take_precedence() {
            Precedence::RealTime => tracing::info!("BFD runs before ordinary threads (SCHED_FIFO)"),
            Precedence::Favoured => tracing::info!("BFD is favoured (nice): SCHED_FIFO is not allowed here"),
            Precedence::Ordinary => tracing::warn!(
                "BFD has to queue for a processor with everybody: on a busy machine paths may look broken; \
                 allow CAP_SYS_NICE"
            ),
        }
        let mut buffer = BfdBuffer::default();
        loop {
            self.sleep();
            if self.obey().is_err() {
                return;
            }
            self.read(&mut buffer);
            let now = Instant::now();
            self.sessions.tick(now, &mut self.outputs);
            if self.retry.is_some_and(|retry| retry <= now) {
                self.open_sockets(now);
            }
            self.carry_out();
            self.remember();
            self.have_left(now);
        }
    }

    /// Tells what the next process is to know, whenever that has changed.
    fn remember(&mut self) {
        let (changes, sessions) = self.sessions.memories();
        if std::mem::replace(&mut self.told, changes) == changes {
            return;
        }
        let mut all = self.unclaimed.clone();
        all.extend(sessions.map(|(key, hops, memory)| {
            let sender = self.peers.get(&key).and_then(|peer| peer.sender.as_ref());
            let port = sender.and_then(BfdSender::port).unwrap_or_default();
            (key, Remembered { hops, port, memory })
        }));
        self.memories.send_replace(Arc::new(all));
    }

    /// Says that this process may end, once the peers know it, or it has taken too long.
    fn have_left(&mut self, now: Instant) {
        let known = |until: &Instant| *until <= now || self.sessions.are_known(self.peers.keys());
        if self.leaving.as_ref().is_some_and(|(_, until)| known(until))
            && let Some((reply, _)) = self.leaving.take()
            && reply.send(()).is_err()
        {
            tracing::trace!("nobody waits for the peers' patience any more");
        }
    }

    fn sleep(&self) {
        let now = Instant::now();
        let leaving = self.leaving.as_ref().map(|(_, until)| *until);
        let deadline = self.sessions.deadline().into_iter().chain(self.retry).chain(leaving).min();
        let time = deadline.map_or(LONGEST_SLEEP, |deadline| deadline.saturating_duration_since(now));
        // To the millisecond, and never before the deadline.
        let millis = time.min(LONGEST_SLEEP).as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::ZERO);
        let sockets = self.receivers.values().map(AsFd::as_fd);
        let mut watched: Vec<PollFd<'_>> = std::iter::once(self.woken.as_fd())
            .chain(sockets)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut watched, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => (),
            Err(error) => {
                tracing::error!(%error, "waiting for BFD packets");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Carries out what it is told; an error is the end.
    fn obey(&mut self) -> Result<(), ()> {
        let mut octets = [0; QUEUE];
        while self.woken.read(&mut octets).is_ok_and(|read| read == octets.len()) {}
        loop {
            let now = Instant::now();
            match self.to_do.try_recv() {
                Ok(Command::Open { key, path, hear, timers, reports }) => {
                    let whence = (path.remote, path.hops);
                    let remembered = self.unclaimed.remove(&key).filter(|one| one.hops == path.hops);
                    let port = remembered.map(|one| one.port);
                    let peer = Peer { path, hear, port, sender: None, reports: Some(reports), trouble: None };
                    self.peers.insert(key, peer);
                    self.open_sockets(now);
                    let how = (timers, remembered.as_ref().map(|one| &one.memory));
                    self.sessions.open(now, key, whence, how, &mut self.outputs);
                    self.carry_out();
                    self.report(key);
                }
                Ok(Command::Close(key)) => {
                    self.sessions.close(now, key, &mut self.outputs);
                    if let Some(peer) = self.peers.get_mut(&key) {
                        peer.reports = None;
                    }
                    self.carry_out();
                }
                Ok(Command::Status(reply)) => {
                    if reply.send(self.status(now)).is_err() {
                        tracing::trace!("nobody waits for the status any more");
                    }
                }
                Ok(Command::Leave { times, reply }) => {
                    for (key, time) in times {
                        self.sessions.stretch(now, key, time, &mut self.outputs);
                    }
                    self.carry_out();
                    self.leaving = Some((reply, now + LEAVE_WITHIN));
                }
                Ok(Command::Stop { words, reply }) => {
                    if words {
                        for key in self.peers.keys() {
                            self.sessions.close(now, *key, &mut self.outputs);
                        }
                        self.carry_out();
                    }
                    if reply.send(()).is_err() {
                        tracing::trace!("nobody waits for the end of BFD");
                    }
                    return Err(());
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(()),
            }
        }
    }

    fn status(&self, now: Instant) -> BTreeMap<PeerKey, BfdStatus> {
        let trouble = |key: &PeerKey| self.peers.get(key).and_then(|peer| peer.trouble.clone());
        let sessions = self.sessions.status(now).into_iter();
        sessions.map(|(key, session)| (key, BfdStatus { session, trouble: trouble(&key) })).collect()
    }

    fn read(&mut self, buffer: &mut BfdBuffer) {
        for receiver in self.receivers.values() {
            for _ in 0..AT_ONCE {
                match receiver.receive(buffer) {
                    Ok(Some((arrival, octets))) => {
                        let now = Instant::now();
                        if let Err(discard) = self.sessions.received(now, arrival, octets, &mut self.outputs)
                        {
                            tell_of(discard, &arrival, self.sessions.discards());
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "reading BFD packets");
                        break;
                    }
                }
            }
        }
    }

    fn carry_out(&mut self) {
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Send(key, packet) => {
                    let sender = self.peers.get(&key).and_then(|peer| peer.sender.as_ref());
                    if let Some(Err(error)) = sender.map(|sender| sender.send(&packet)) {
                        // As it is while a link is down: the peer notices.
                        tracing::debug!(peer = %key, %error, "a BFD packet could not be sent");
                    }
                }
                Output::Changed(key) => self.report(key),
                Output::Gone(key) => {
                    self.peers.remove(&key);
                    self.open_sockets(Instant::now());
                }
            }
        }
    }

    /// Tells the follower of a session what it says now.
    fn report(&self, key: PeerKey) {
        let Some((path, downs)) = self.sessions.path(key) else { return };
        let report = BfdReport { path, downs };
        let Some(reports) = self.peers.get(&key).and_then(|peer| peer.reports.as_ref()) else { return };
        let changed = reports.send_if_modified(|last| std::mem::replace(last, report) != report);
        if changed {
            tracing::info!(peer = %key, "BFD: path {path:?}");
        }
    }

    /// Has the sockets that are needed, closes the others, and tries again later what could not be had.
    fn open_sockets(&mut self, now: Instant) {
        let needed: BTreeSet<Ear> = self.peers.values().map(|peer| (peer.hear, peer.path.hops)).collect();
        self.receivers.retain(|ear, _| needed.contains(ear));
        let mut troubles = BTreeMap::new();
        for ear in needed {
            if self.receivers.contains_key(&ear) {
                continue;
            }
            match BfdReceiver::bind(ear.0, ear.1) {
                Ok(receiver) => drop(self.receivers.insert(ear, receiver)),
                Err(error) => drop(troubles.insert(ear, error.to_string())),
            }
        }
        self.retry = None;
        for (key, peer) in &mut self.peers {
            let mut trouble = troubles.get(&(peer.hear, peer.path.hops)).cloned();
            if peer.sender.is_none() {
                match BfdSender::bind(&peer.path, peer.port) {
                    Ok(sender) => peer.sender = Some(sender),
                    Err(error) => trouble = Some(error.to_string()),
                }
            }
            if let Some(trouble) = trouble.as_ref().filter(|_| peer.trouble != trouble) {
                tracing::error!(peer = %key, "{trouble}");
            }
            if trouble.is_some() {
                self.retry = Some(now + RETRY);
            }
            peer.trouble = trouble;
        }
    }
}
