//! The thread of BFD: an OS thread with sockets and timers of its own, so that neither a busy RIB nor a busy machine makes
//! a path look broken.
//!
//! It asks to be run before ordinary threads and says what it got. Before it looks at its timers it reads what has come:
//! a thread that was kept waiting takes no peer for silent whose packets lie there. It is started with the first session.
//! Sessions learn by a `watch` what it has to say, and it waits for nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};

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
    Stop { words: bool, reply: oneshot::Sender<()> },
}

/// The way to the thread, which is started when it is needed.
#[derive(Debug, Default)]
pub(super) struct Bfd {
    running: Option<Running>,
    /// The sessions there are, as they were asked for.
    open: BTreeMap<PeerKey, (BfdPath, IpAddr, Timers)>,
}

#[derive(Debug)]
struct Running {
    commands: mpsc::Sender<Command>,
    wake: UnixStream,
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
    /// Sees to it that the path to a peer is watched as configured, or not.
    pub(super) async fn configure(
        &mut self,
        config: &Config,
        key: PeerKey,
        peer: Option<&PeerConfig>,
    ) -> Follow {
        let wanted = peer.and_then(|peer| {
            let path = BfdPath {
                remote: peer.remote.ip(),
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
            match start() {
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

/// Where packets of a peer are heard: where its connections would be.
fn heard_at(config: &Config, remote: IpAddr) -> IpAddr {
    let any: IpAddr =
        if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
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
        tracing::warn!(from = %arrival.from, times, "dropped {discard}");
    } else {
        tracing::debug!(from = %arrival.from, times, "dropped {discard}");
    }
}

fn wake(stream: &UnixStream) {
    // A full buffer will wake it, too.
    if let Err(error) = (&*stream).write(&[1]) {
        tracing::trace!(%error, "waking the BFD thread");
    }
}

fn start() -> std::io::Result<Running> {
    let (commands, to_do) = mpsc::channel(QUEUE);
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
        outputs: Vec::new(),
    };
    std::thread::Builder::new().name("bfd".to_owned()).spawn(move || thread.run())?;
    Ok(Running { commands, wake })
}

/// One peer, as the thread sees it.
struct Peer {
    path: BfdPath,
    hear: IpAddr,
    sender: Option<BfdSender>,
    /// Nobody follows a session that is about to go.
    reports: Option<watch::Sender<BfdReport>>,
    trouble: Option<String>,
}

type Place = (IpAddr, Hops);

struct Thread {
    to_do: mpsc::Receiver<Command>,
    woken: UnixStream,
    sessions: Sessions,
    peers: BTreeMap<PeerKey, Peer>,
    receivers: BTreeMap<Place, BfdReceiver>,
    /// When sockets are tried again.
    retry: Option<Instant>,
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
        }
    }

    fn sleep(&self) {
        let now = Instant::now();
        let deadline = self.sessions.deadline().into_iter().chain(self.retry).min();
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
                    let hops = path.hops;
                    let peer = Peer { path, hear, sender: None, reports: Some(reports), trouble: None };
                    self.peers.insert(key, peer);
                    self.open_sockets(now);
                    self.sessions.open(now, key, hops, timers, &mut self.outputs);
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
        let needed: BTreeSet<Place> = self.peers.values().map(|peer| (peer.hear, peer.path.hops)).collect();
        self.receivers.retain(|place, _| needed.contains(place));
        let mut troubles = BTreeMap::new();
        for place in needed {
            if self.receivers.contains_key(&place) {
                continue;
            }
            match BfdReceiver::bind(place.0, place.1) {
                Ok(receiver) => drop(self.receivers.insert(place, receiver)),
                Err(error) => drop(troubles.insert(place, error.to_string())),
            }
        }
        self.retry = None;
        for (key, peer) in &mut self.peers {
            let mut trouble = troubles.get(&(peer.hear, peer.path.hops)).cloned();
            if peer.sender.is_none() {
                match BfdSender::bind(&peer.path) {
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
