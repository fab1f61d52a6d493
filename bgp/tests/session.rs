//! Sessions over real TCP on loopback: both ends dial, and meet.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use caracal_bgp::net::session::spawn;
use caracal_bgp::net::{Directory, Keys, Listeners, Report, ReportEvent, SessionHandle};
use caracal_bgp::peer::{SessionState, Stop};
use caracal_bgp::wire::attribute::{AsPath, AttributeSet, NextHop};
use caracal_bgp::wire::nlri::Ipv4Prefix;
use caracal_bgp::wire::notification::Cease;
use caracal_bgp::wire::update;
use caracal_bgp::{Asn, Families, HoldTime, PeerConfig, PeerKey, RouterId};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing here may take longer, on a machine with much other work.
const LIMIT: Duration = Duration::from_secs(60);

struct End {
    address: Ipv4Addr,
    port: u16,
    directory: Arc<Directory>,
    _listeners: Listeners,
}

impl End {
    fn new(address: Ipv4Addr) -> End {
        let directory = Arc::new(Directory::default());
        let listeners =
            Listeners::bind(&[SocketAddr::from((address, 0))], &directory, &Keys::default()).unwrap();
        let port = listeners.addresses()[0].port();
        End { address, port, directory, _listeners: listeners }
    }

    fn config(&self, other: &End) -> PeerConfig {
        PeerConfig {
            name: other.address.to_string(),
            local_address: Some(IpAddr::from(self.address)),
            hold_time: HoldTime::try_from(9).unwrap(),
            connect_retry: Duration::from_millis(200),
            ..PeerConfig::new(SocketAddr::from((other.address, other.port)), Asn(64512), Asn(64512))
        }
    }

    fn open(&self, config: PeerConfig) -> Speaker {
        let key = PeerKey::Address(config.remote.ip());
        let (to_rib, reports) = mpsc::channel::<Report>(4);
        let id = RouterId::try_from(self.address).unwrap();
        let session = spawn(key, Arc::new(config), id, to_rib);
        self.directory.insert(key.address(), session.incoming());
        Speaker { session, reports }
    }
}

struct Speaker {
    session: SessionHandle,
    reports: mpsc::Receiver<Report>,
}

impl Speaker {
    async fn report(&mut self) -> ReportEvent {
        timeout(LIMIT, self.reports.recv()).await.expect("a report in time").expect("a session").event
    }

    /// Waits until the session is up and stays so; what came up may have been the loser of a collision.
    async fn established(&mut self) -> mpsc::Sender<bytes::Bytes> {
        loop {
            if let ReportEvent::Up { writer, .. } = self.report().await {
                return writer;
            }
        }
    }

    async fn state(&self, wanted: SessionState) {
        let mut watch = self.session.watch();
        let reached = watch.wait_for(|status| status.state == wanted);
        timeout(LIMIT, reached).await.expect("the state in time").unwrap();
    }
}

fn ends(round: u8) -> (End, End) {
    (End::new(Ipv4Addr::new(127, 71, round, 1)), End::new(Ipv4Addr::new(127, 71, round, 2)))
}

fn message(third: u8, next_hop: Ipv4Addr) -> bytes::Bytes {
    let mut out = BytesMut::new();
    let set = AttributeSet { as_path: AsPath::default(), local_pref: Some(100), ..AttributeSet::default() };
    let context = caracal_bgp::wire::Context::new(None, Families::dual());
    let prefix = Ipv4Prefix::new(Ipv4Addr::new(10, 1, third, 0), 24).unwrap();
    update::announce(&set, &NextHop::from(IpAddr::from(next_hop)), &[prefix.into()], &context, &mut out)
        .unwrap();
    out.freeze()
}

/// Until the peers hold one and the same connection: a route written by one arrives at the other.
async fn exchange(from: &mut Speaker, writer: mpsc::Sender<bytes::Bytes>, to: &mut Speaker, third: u8) {
    let mut writer = writer;
    let words = message(third, Ipv4Addr::new(192, 0, 2, 1));
    // A failure means that a collision took this connection: the next one is reported.
    let mut sent = writer.send(words.clone()).await.is_ok();
    loop {
        tokio::select! {
            report = to.report() => if let ReportEvent::Update(update) = report {
                let prefix = update.ipv4.announced[0].prefixes.prefixes().next().unwrap();
                assert!(sent);
                assert_eq!(prefix, Ipv4Prefix::new(Ipv4Addr::new(10, 1, third, 0), 24).unwrap());
                return;
            },
            // A collision took the connection that was up first.
            report = from.report() => if let ReportEvent::Up { writer: next, .. } = report {
                writer = next;
                sent |= writer.send(words.clone()).await.is_ok();
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_speakers_that_dial_at_once_meet_in_every_round() {
    for round in 0..60 {
        let (a, b) = ends(round);
        let (mut left, mut right) = (a.open(a.config(&b)), b.open(b.config(&a)));
        let to_right = left.established().await;
        let to_left = right.established().await;
        exchange(&mut left, to_right, &mut right, 1).await;
        drop(to_left);
        left.state(SessionState::Established).await;
        right.state(SessionState::Established).await;
        tokio::join!(
            left.session.stop(Stop::Cease(Cease::Shutdown)),
            right.session.stop(Stop::Cease(Cease::Shutdown))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_connection_is_torn_comes_back() {
    let (a, b) = ends(200);
    let (mut left, mut right) = (a.open(a.config(&b)), b.open(b.config(&a)));
    left.established().await;
    right.established().await;
    left.state(SessionState::Established).await;
    // The other end dies without a word and is started again.
    right.session.stop(Stop::Silent).await;
    loop {
        if let ReportEvent::Down(..) = left.report().await {
            break;
        }
    }
    let Speaker { session, reports } = b.open(b.config(&a));
    right = Speaker { session, reports };
    let to_right = left.established().await;
    right.established().await;
    exchange(&mut left, to_right, &mut right, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passive_peer_is_reached_by_the_one_that_dials() {
    let (a, b) = ends(201);
    let mut passive = a.config(&b);
    passive.passive = true;
    let mut left = a.open(passive);
    let mut right = b.open(b.config(&a));
    let to_right = left.established().await;
    right.established().await;
    exchange(&mut left, to_right, &mut right, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_rib_queue_stops_reading_and_the_session_stands() {
    let (a, b) = ends(202);
    // One of them dials: there is no collision.
    let hurried = |config: PeerConfig, passive| PeerConfig {
        hold_time: HoldTime::try_from(3).unwrap(),
        passive,
        ..config
    };
    let (mut left, mut right) = (a.open(hurried(a.config(&b), false)), b.open(hurried(b.config(&a), true)));
    let to_right = left.established().await;
    right.established().await;
    // The right end's queue holds four reports and nobody takes them: far more must wait in TCP and with the writer.
    let flood = tokio::spawn(async move {
        let mut sent = 0_u32;
        let batch: bytes::Bytes =
            (0..=255).flat_map(|third| message(third, Ipv4Addr::new(192, 0, 2, 1))).collect();
        while sent < 1000 {
            if to_right.send(batch.clone()).await.is_err() {
                break;
            }
            sent += 1;
        }
        sent
    });
    tokio::time::sleep(Duration::from_secs(5)).await; // longer than the hold time: that is the point
    assert!(!flood.is_finished(), "the queue is bounded");
    assert_eq!(right.session.status().state, SessionState::Established);
    assert_eq!(left.session.status().state, SessionState::Established);
    let mut updates = 0;
    while updates < 256_000 {
        match right.report().await {
            ReportEvent::Update(_) => updates += 1,
            other => panic!("{other:?} after {updates} updates"),
        }
    }
    assert_eq!(flood.await.unwrap(), 1000);
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len() as u16).to_be_bytes();
    [&[0xff; 16][..], &length, &[kind], body].concat()
}

/// A peer that says that it lives a few times a second until the session is over; what it has read.
fn talk(listener: &std::net::TcpListener) -> Vec<u8> {
    use std::io::{Read as _, Write as _};
    let (mut stream, _) = listener.accept().unwrap();
    let open = [&[4, 0xfc, 0, 0, 3][..], &[192, 0, 2, 7, 0]].concat();
    stream.write_all(&framed(1, &open)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    // Of a session that is over nothing more can be written.
    while stream.write_all(&framed(4, &[])).is_ok() {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(_) => (),
        }
    }
    all
}

/// How a session stands whose runtime stood still for longer than the hold time.
async fn stand_still(end: &End, listener: &std::net::TcpListener) -> caracal_bgp::net::SessionStatus {
    let mut left = end.open(PeerConfig {
        hold_time: HoldTime::try_from(3).unwrap(),
        connect_retry: Duration::from_millis(200),
        ..PeerConfig::new(listener.local_addr().unwrap(), Asn(64512), Asn(64512))
    });
    left.established().await;
    let statistics = Arc::clone(left.session.statistics());
    let before = statistics.received.read().keepalive;
    std::thread::sleep(Duration::from_secs(4)); // that is the point
    let mut watch = left.session.watch();
    let over = watch.wait_for(|status| status.state != SessionState::Established);
    let goes_on = async {
        while statistics.received.read().keepalive <= before + 13 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        status = over => drop(status),
        () = goes_on => (),
    }
    let status = left.session.status();
    left.session.stop(Stop::Silent).await;
    status
}

/// A machine that wakes after the hold time finds keepalives, and the time is over: what was sent counts. Which of both is
/// noticed first is chance: so several try.
#[test]
fn a_peer_that_kept_talking_while_we_stood_still_is_not_taken_for_dead() {
    let attempt = |round: u8| {
        let listener = std::net::TcpListener::bind((Ipv4Addr::new(127, 71, 207, round), 0)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::scope(|scope| {
            let peer = scope.spawn(|| talk(&listener));
            let status = runtime.block_on(async {
                let end = End::new(Ipv4Addr::new(127, 71, 208, round));
                timeout(LIMIT, stand_still(&end, &listener)).await.expect("the session goes on or ends")
            });
            assert!(!peer.join().unwrap().is_empty());
            (status.state, status.transitions)
        })
    };
    std::thread::scope(|scope| {
        let attempts: Vec<_> = (0..6).map(|round| scope.spawn(move || attempt(round))).collect();
        for attempt in attempts {
            assert_eq!(attempt.join().unwrap(), (SessionState::Established, 1));
        }
    });
}

#[tokio::test]
async fn a_stranger_is_refused_with_cease() {
    use tokio::io::AsyncReadExt;
    let (a, _) = ends(203);
    let mut stream = tokio::net::TcpStream::connect((a.address, a.port)).await.unwrap();
    let mut words = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut words)).await.unwrap().unwrap();
    assert_eq!(words[18..], [3, 6, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_another_as_is_told_and_not_dialled_in_a_loop() {
    let (a, b) = ends(204);
    let mut wrong = a.config(&b);
    wrong.remote_as = Asn(65000).into();
    let left = a.open(wrong);
    let right = b.open(b.config(&a));
    let mut watch = right.session.watch();
    let told =
        watch.wait_for(|status| status.last_error.as_ref().is_some_and(|e| e.to_string().contains("2/2")));
    timeout(LIMIT, told).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await; // a loop would go round thousands of times
    let opens = left.session.statistics().received.read().open;
    assert!(opens < 10, "{opens} OPENs in two seconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_a_peer_are_shown_in_its_status() {
    use caracal_bgp::wire::error::{Disposition, Section};
    let (a, b) = ends(205);
    let mut passive = a.config(&b);
    passive.passive = true;
    let mut left = a.open(passive);
    let mut right = b.open(b.config(&a));
    left.established().await;
    let to_left = right.established().await;
    // COMMUNITIES of three octets beside a good route: it becomes a withdrawal, the session stands.
    let good = message(9, Ipv4Addr::new(192, 0, 2, 1));
    let mut bad = BytesMut::from(&good[..]);
    let nlri = bad.split_off(bad.len() - 4);
    bad.extend_from_slice(&[0xc0, 8, 3, 1, 2, 3]);
    let list = u16::from_be_bytes([bad[21], bad[22]]) + 6;
    bad[21..23].copy_from_slice(&list.to_be_bytes());
    bad.unsplit(nlri);
    let total = u16::try_from(bad.len()).unwrap();
    bad[16..18].copy_from_slice(&total.to_be_bytes());
    for words in [bad.clone().freeze(), bad.freeze(), good] {
        to_left.send(words).await.unwrap();
    }
    let mut withdrawn = 0;
    loop {
        match left.report().await {
            ReportEvent::Update(update) if update.attributes.is_some() => break,
            ReportEvent::Update(update) => withdrawn += update.ipv4.withdrawn.len(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(withdrawn, 2);
    let faults = left.session.statistics().faults.records();
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    assert_eq!((fault.count, fault.section), (2, Section::Attribute(8)));
    assert_eq!((fault.disposition, fault.rfc), (Disposition::TreatAsWithdraw, "RFC 7606 §7.8"));
    assert_eq!(left.session.status().state, SessionState::Established);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_peer_stays_down_until_it_is_started_and_its_operator_reads_why() {
    let (a, b) = ends(206);
    // One of them dials: no collision ends the session before the operator does.
    let (mut left, mut right) = (a.open(PeerConfig { passive: true, ..a.config(&b) }), b.open(b.config(&a)));
    left.established().await;
    right.established().await;
    left.session.halt(Some("back at noon".into())).await;
    let mut watch = right.session.watch();
    // Its own attempts since then, each refused, do not hide the words.
    let refused = watch.wait_for(|status| {
        let tried =
            status.last_error.as_ref().is_some_and(|error| !error.to_string().contains("back at noon"));
        let down = status.last_down.as_ref();
        tried && down.is_some_and(|(_, reason)| reason.to_string().contains("back at noon"))
    });
    timeout(LIMIT, refused).await.unwrap().unwrap();
    assert!(left.session.status().halted);
    left.session.start().await;
    left.state(SessionState::Established).await;
    right.state(SessionState::Established).await;
    assert!(!left.session.status().halted);
}
