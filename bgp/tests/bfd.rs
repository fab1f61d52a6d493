//! Paths that are watched by BFD, in network namespaces of their own: the sockets, the thread, and what sessions make of it.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use caracal_bgp::bfd::{Hops, State, Timers};
use caracal_bgp::config::RestartOptions;
use caracal_bgp::speaker::{Beginning, Farewell, Handle, Origination, PeerStatus, RouteQuery};
use caracal_bgp::{Asn, BfdOptions, Config, LocalNextHops, PeerConfig, PeerKey, RouterId};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

/// Nothing here may take longer; hold times and restart times are longer than this.
const LIMIT: Duration = Duration::from_secs(60);
const PORT: u16 = 1179;
/// Patient, for the machine may be busy.
const TIMERS: Timers = Timers {
    min_tx: Duration::from_millis(200),
    min_rx: Duration::from_millis(200),
    multiplier: NonZeroU8::new(10).unwrap(),
};

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

/// Runs a story in a network namespace of its own, to which the threads that it starts belong, too.
fn apart<F: Future<Output = ()>>(story: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        ip("address add fd00::1/128 dev lo nodad");
        ip("address add fd00::2/128 dev lo nodad");
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(story());
    });
    if let Err(failure) = thread.join() {
        std::panic::resume_unwind(failure);
    }
}

struct Speaker {
    handle: Handle,
    config: Config,
    peer: PeerKey,
}

impl Speaker {
    fn start(ends: [IpAddr; 2], ases: [u32; 2], bfd: BfdOptions) -> Speaker {
        Speaker::begin(ends, ases, bfd, None)
    }

    /// One whose BFD outlives it in this file.
    fn begin(
        [here, there]: [IpAddr; 2],
        [local, remote]: [u32; 2],
        bfd: BfdOptions,
        bfd_memory: Option<&Path>,
    ) -> Speaker {
        let mut peer = PeerConfig {
            local_address: Some(here),
            // One of them dials: no collision ends what has come up.
            passive: here < there,
            local_next_hops: LocalNextHops { v4: Some(Ipv4Addr::new(192, 0, 2, local as u8)), v6: None },
            connect_retry: Duration::from_millis(300),
            bfd: Some(bfd),
            ..PeerConfig::new(SocketAddr::new(there, PORT), Asn(local), Asn(remote))
        };
        peer.session.graceful_restart = Some(RestartOptions::default());
        let key = PeerKey::from(there);
        let last = match here {
            IpAddr::V4(here) => here.octets()[3],
            IpAddr::V6(here) => here.octets()[15],
        };
        let id = RouterId::try_from(Ipv4Addr::new(10, 0, 0, last)).unwrap();
        let config = Config {
            listen: vec![SocketAddr::new(here, PORT)],
            peers: [(key, peer)].into(),
            ..Config::new(Asn(local), id)
        };
        let beginning = Beginning { bfd_memory: bfd_memory.map(Into::into), ..Beginning::default() };
        Speaker { handle: Handle::begin(config.clone(), beginning).unwrap(), config, peer: key }
    }

    async fn until(&self, what: &str, fits: impl Fn(&PeerStatus) -> bool) -> PeerStatus {
        let start = Instant::now();
        loop {
            let peer = self.handle.peers().await.unwrap().remove(0);
            if fits(&peer) {
                return peer;
            }
            assert!(start.elapsed() < LIMIT, "not {what}: {peer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn watched(&self) -> PeerStatus {
        let Timers { min_tx, min_rx, multiplier } = self.config.peers[&self.peer].bfd.unwrap().timers;
        let up = |peer: &PeerStatus| {
            peer.is_established()
                && peer.bfd.as_ref().is_some_and(|bfd| {
                    bfd.session.state == State::Up
                        && bfd.session.transmit_interval == Some(min_tx)
                        && bfd.session.detection_time == Some(min_rx * u32::from(multiplier.get()))
                })
        };
        self.until("up and watched with the times that both polled for", up).await
    }

    async fn has_routes(&self, wanted: bool) {
        let start = Instant::now();
        loop {
            let query = RouteQuery { peer: Some(self.peer), ..RouteQuery::default() };
            let routes = self.handle.routes(query).await.unwrap();
            if routes.is_empty() != wanted {
                return;
            }
            assert!(start.elapsed() < LIMIT, "{wanted}: {routes:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn both(ends: [IpAddr; 2], [one, two]: [u32; 2]) -> [Speaker; 2] {
    let [left, right] = ends;
    let bfd = BfdOptions { timers: TIMERS, ..BfdOptions::default() };
    [Speaker::start([left, right], [one, two], bfd), Speaker::start([right, left], [two, one], bfd)]
}

fn v4() -> [IpAddr; 2] {
    [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from)
}

#[test]
fn a_path_that_fails_ends_the_session_at_once_in_spite_of_graceful_restart_and_it_comes_back() {
    apart(|| async {
        let [left, right] = both(v4(), [65001, 65002]);
        let prefix = "198.51.100.0/24".parse().unwrap();
        right.handle.originate(vec![Origination::Announce { prefix, communities: vec![] }]).await.unwrap();
        let peer = left.watched().await;
        right.watched().await;
        assert_eq!(peer.bfd.unwrap().session.hops, Hops::One);
        left.has_routes(true).await;

        ip("link set lo down");
        let down = left.until("down", |peer| !peer.is_established()).await;
        assert_eq!(down.bfd.as_ref().map(|bfd| bfd.session.downs), Some(1), "{down:?}");
        left.has_routes(false).await;

        ip("link set lo up");
        left.watched().await;
        left.has_routes(true).await;
    });
}

#[test]
fn an_end_that_is_turned_off_costs_no_session_and_neither_do_other_times() {
    apart(|| async {
        let [mut left, right] = both(v4(), [65001, 65001]);
        let peer = left.watched().await;
        assert_eq!(peer.bfd.unwrap().session.hops, Hops::Many, "an internal peer may be anywhere");
        right.watched().await;

        let slower = Timers { min_tx: Duration::from_millis(700), ..TIMERS };
        for bfd in [Some(BfdOptions { timers: slower, ..BfdOptions::default() }), None] {
            left.config.peers.get_mut(&left.peer).unwrap().bfd = bfd;
            left.handle.configure(left.config.clone()).await.unwrap();
            let wanted = bfd.map(|bfd| bfd.timers.min_tx * 10);
            let told = |peer: &PeerStatus| {
                let session = &peer.bfd.as_ref().unwrap().session;
                session.detection_time == wanted && (wanted.is_some() || session.state == State::Down)
            };
            let peer = right.until("told of it", told).await;
            assert_eq!((peer.is_established(), peer.transitions), (true, 1), "{peer:?}");
        }
        assert!(left.until("unwatched", |peer| peer.bfd.is_none()).await.is_established());
    });
}

#[test]
fn ipv6_is_watched_too() {
    apart(|| async {
        let ends = ["fd00::1", "fd00::2"].map(|text| text.parse::<IpAddr>().unwrap());
        let [left, right] = both(ends, [65001, 65002]);
        left.watched().await;
        right.watched().await;
    });
}

#[test]
fn a_speaker_that_is_stopped_is_no_failure_of_the_path() {
    apart(|| async {
        let [left, right] = both(v4(), [65001, 65002]);
        left.watched().await;
        right.watched().await;
        right.handle.stop(Farewell::Silent).await;
        // The connection is gone first: a restart, during which BFD falls silent.
        let silent = |peer: &PeerStatus| peer.bfd.as_ref().is_some_and(|bfd| bfd.session.downs == 1);
        let peer = left.until("silent", silent).await;
        assert_eq!(peer.transitions, 2);
        let error = peer.last_error.unwrap_or_default();
        assert!(!error.contains("BFD"), "{error}");
    });
}

#[test]
fn a_path_is_watched_on_over_a_restart_planned_or_not_and_the_other_end_sees_none() {
    // Half a minute of silence, for the machine may be slow to start anything.
    let timers = Timers {
        min_tx: Duration::from_millis(500),
        min_rx: Duration::from_millis(500),
        multiplier: NonZeroU8::new(60).unwrap(),
    };
    let folder = std::env::temp_dir().join(format!("caracal-bfd-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("bfd");
    let memory = file.clone();
    apart(move || async move {
        let bfd = BfdOptions { timers, ..BfdOptions::default() };
        let [here, there] = v4();
        let left = Speaker::start([here, there], [65001, 65002], bfd);
        let begin = || Speaker::begin([there, here], [65002, 65001], bfd, Some(&memory));
        let mut right = begin();
        for planned in [false, true] {
            let before = left.watched().await.bfd.unwrap().session;
            let own = right.watched().await.bfd.unwrap().session;
            if planned {
                right.handle.restarting().await;
                let asked = Some(RestartOptions::default().time);
                left.until("patient for as long as a restart may take", |peer| {
                    peer.bfd.as_ref().unwrap().session.detection_time == asked
                })
                .await;
            } else {
                let names = format!(" {} {} 500000 500000 ", own.discriminator, own.remote_discriminator);
                let start = Instant::now();
                while !std::fs::read_to_string(&memory).is_ok_and(|text| text.contains(&names)) {
                    assert!(start.elapsed() < LIMIT, "not written down");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            right.handle.stop(Farewell::Silent).await;
            left.until("without a session", |peer| !peer.is_established()).await;
            right = begin();
            let after = left.watched().await.bfd.unwrap().session;
            assert_eq!((after.ups, after.downs), (1, 0), "planned: {planned}");
            assert_eq!(after.remote_discriminator, before.remote_discriminator);
            right.watched().await;
            // It is Up from its start on, and says so of the path when the other end does.
            let heard = |peer: &PeerStatus| peer.bfd.as_ref().is_some_and(|bfd| bfd.session.ups == 1);
            let next = right.until("sure of the path", heard).await.bfd.unwrap().session;
            assert_eq!((next.discriminator, next.downs), (own.discriminator, 0));
        }
    });
    std::fs::remove_dir_all(folder).unwrap();
}

/// Whether every thread of BFD in this process goes before ordinary ones: its policy is SCHED_FIFO, or its nice value negative.
fn bfd_goes_first() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    // A thread may end between two looks.
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    stats.filter(|stat| stat.contains(" (bfd) ")).all(|stat| {
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // The 19th and the 41st of all, of which these are from the third on.
        fields[38] == "1" || fields[16].starts_with('-')
    })
}

/// Threads that keep every processor busy, and go before others where that is allowed (nice -20).
struct Spinners {
    /// Whether it is.
    favoured: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Lets the calling thread go before others (nice -20); whether that is allowed.
fn favour() -> bool {
    let favour = ["-n", "-20", "-p", &gettid().to_string()].map(str::to_owned);
    let output = Command::new("renice").args(favour).output().unwrap();
    if !output.status.success() {
        println!("running like any other: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

impl Spinners {
    fn start(count: usize) -> Spinners {
        let (end, favoured) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
        let spin = |end: Arc<AtomicBool>, favoured: Arc<AtomicBool>| {
            if !favour() {
                favoured.store(false, Ordering::Relaxed);
            }
            while !end.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        let thread = |_| {
            let (end, favoured) = (Arc::clone(&end), Arc::clone(&favoured));
            std::thread::spawn(move || spin(end, favoured))
        };
        let threads = (0..count).map(thread).collect();
        Spinners { threads, end, favoured }
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a thread that spins cannot fail"));
    }
}

/// Whether the machine goes on: a virtual one is stopped at times, with all that is on it. Asks nothing but to be woken often,
/// and goes before others like the spinners.
struct Witness {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Witness {
    fn start() -> Witness {
        const NAP: Duration = Duration::from_millis(20);
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let watch = move || {
            favour();
            let mut longest = Duration::ZERO;
            while !ended.load(Ordering::Relaxed) {
                let asleep = Instant::now();
                std::thread::sleep(NAP);
                longest = longest.max(asleep.elapsed() - NAP);
            }
            longest
        };
        Witness { end, thread: std::thread::spawn(watch) }
    }

    /// For how long it was not woken at most.
    fn longest(self) -> Duration {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().expect("a thread that naps cannot fail")
    }
}

/// What became of one thing.
fn check(holds: bool, what: impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what:?}")) }
}

/// Two speakers on a busy machine: what became of them, and for how long the machine stood still at most.
async fn stand_on_a_busy_machine(bfd: BfdOptions, detection: Duration) -> (Result<(), String>, Duration) {
    const BLOCKED: Duration = Duration::from_secs(8);
    let [here, there] = v4();
    let witness = Witness::start();
    let left = Speaker::start([here, there], [65001, 65002], bfd);
    let right = Speaker::start([there, here], [65002, 65001], bfd);
    let before = [left.watched().await, right.watched().await];
    let queues = {
        let busy = Spinners::start(8);
        // Both speakers are on this runtime, and this is its only thread.
        std::thread::sleep(BLOCKED);
        // Who may favour a thread may favour that of BFD.
        busy.favoured.load(Ordering::Relaxed) && !bfd_goes_first()
    };
    assert!(!queues, "BFD queues for a processor with everybody");
    let stood_still = witness.longest();
    let mut outcome = Ok(());
    for (speaker, before) in [&left, &right].into_iter().zip(before) {
        let after = speaker.handle.peers().await.unwrap().remove(0);
        outcome = outcome.and(check(after.is_established() && after.transitions == 1, &after));
        let [before, after] = [before, after].map(|peer| peer.bfd.unwrap().session);
        outcome = outcome.and(check((after.state, after.ups, after.downs) == (State::Up, 1, 0), &after));
        // Packets passed both ways meanwhile: at least one in each detection time.
        let passed = [after.sent - before.sent, after.received - before.received];
        let least = (BLOCKED.as_millis() / detection.as_millis()) as u64;
        outcome = outcome.and(check(passed.iter().all(|count| *count >= least), ("sent, received", passed)));
    }
    left.handle.stop(Farewell::Silent).await;
    right.handle.stop(Farewell::Silent).await;
    (outcome, stood_still)
}

#[test]
fn neither_a_busy_machine_nor_a_blocked_runtime_makes_a_path_look_broken() {
    apart(|| async {
        let bfd = BfdOptions::default();
        let detection = bfd.timers.min_rx * u32::from(bfd.timers.multiplier.get());
        assert_eq!(detection, Duration::from_millis(900), "BFD as it is by default");
        for _ in 0..5 {
            let (outcome, stood_still) = stand_on_a_busy_machine(bfd, detection).await;
            let Err(failure) = outcome else { return };
            // Where nothing ran for so long BFD cannot have, and a path that then looks broken is no fault of it.
            assert!(stood_still >= detection / 3, "{failure} (nobody was woken for {stood_still:?})");
            println!("nobody was woken for {stood_still:?}: {failure}");
        }
        panic!("the machine stands still again and again: nothing can be said of BFD on it");
    });
}
