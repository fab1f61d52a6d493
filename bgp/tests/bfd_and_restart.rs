//! A peer whose process ends closes its connection and falls silent in BFD: the order in which it did so counts, not that
//! in which it is noticed here (RFC 5882 §4.3).

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use caracal_bgp::bfd::PathState;
use caracal_bgp::config::RestartOptions;
use caracal_bgp::net::session::spawn;
use caracal_bgp::net::{BfdReport, Report, ReportEvent, SessionHandle};
use caracal_bgp::peer::{Keep, SessionState};
use caracal_bgp::wire::capability::{Capability, GracefulRestart, RestartFamily};
use caracal_bgp::wire::message::Message;
use caracal_bgp::wire::open::Open;
use caracal_bgp::{Asn, HoldTime, PeerConfig, PeerKey, RouterId};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Nothing here may take longer.
const LIMIT: Duration = Duration::from_secs(60);
const AS: u16 = 64512;

/// A peer that does what its test says, without tokio: what it does is done when the call returns.
struct Raw(TcpStream);

impl Raw {
    /// Takes one connection and opens a session with graceful restart on it.
    fn accept(listener: &TcpListener, id: RouterId) -> Raw {
        let (mut stream, _) = listener.accept().unwrap();
        let restart = GracefulRestart {
            restarted: false,
            notification: true,
            time: Duration::from_secs(120),
            families: vec![RestartFamily { family: (1, 1), forwarding: true }].into(),
        };
        let open = Open {
            my_as: AS,
            hold_time: HoldTime::DEFAULT,
            identifier: id,
            capabilities: vec![Capability::Multiprotocol(1, 1), Capability::GracefulRestart(restart)],
        };
        let mut words = BytesMut::new();
        Message::Open(open).encode(&mut words);
        Message::Keepalive.encode(&mut words);
        stream.write_all(&words).unwrap();
        let mut raw = Raw(stream);
        // OPEN and KEEPALIVE of the other end.
        let kinds = [raw.message(), raw.message()];
        assert_eq!(kinds, [1, 4]);
        raw
    }

    /// Reads one message and tells its type.
    fn message(&mut self) -> u8 {
        let mut head = [0; 19];
        self.0.read_exact(&mut head).unwrap();
        let mut body = vec![0; usize::from(u16::from_be_bytes([head[16], head[17]])) - head.len()];
        self.0.read_exact(&mut body).unwrap();
        head[18]
    }
}

/// One of our sessions, and the ways in and out of it.
struct Established {
    _session: SessionHandle,
    reports: mpsc::Receiver<Report>,
    /// What BFD says.
    bfd: watch::Sender<BfdReport>,
}

/// A session that is established with a raw peer.
async fn established(round: u8) -> (Established, Raw) {
    let address = Ipv4Addr::new(127, 73, round, 2);
    let listener = TcpListener::bind((address, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    let mut config = PeerConfig {
        local_address: Some(IpAddr::from(Ipv4Addr::new(127, 73, round, 1))),
        ..PeerConfig::new(SocketAddr::from((address, remote.port())), Asn(AS.into()), Asn(AS.into()))
    };
    config.session.graceful_restart = Some(RestartOptions::default());
    let (to_rib, mut reports) = mpsc::channel::<Report>(16);
    let id = |last| RouterId::try_from(Ipv4Addr::new(127, 73, round, last)).unwrap();
    let session = spawn(PeerKey::Address(address.into()), Arc::new(config), id(1), to_rib);
    let there = id(2);
    let raw = tokio::task::spawn_blocking(move || Raw::accept(&listener, there)).await.unwrap();
    let mut watch = session.watch();
    let up = watch.wait_for(|status| status.state == SessionState::Established);
    timeout(LIMIT, up).await.expect("a session in time").unwrap();
    let up = timeout(LIMIT, reports.recv()).await.unwrap().unwrap().event;
    assert!(matches!(up, ReportEvent::Up { .. }), "{up:?}");
    let (bfd, follow) = watch::channel(BfdReport { path: PathState::Unknown, downs: 0 });
    session.follow_bfd(Some(follow)).await;
    bfd.send(BfdReport { path: PathState::Up, downs: 0 }).unwrap();
    (Established { _session: session, reports, bfd }, raw)
}

/// What becomes of the routes when the session ends.
async fn kept(mut ours: Established) -> Keep {
    match timeout(LIMIT, ours.reports.recv()).await.expect("an end in time").unwrap().event {
        ReportEvent::Down(keep, _) => keep,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_before_bfd_fell_silent_was_closed_first_however_late_that_is_noticed() {
    for round in 0..8 {
        let (ours, raw) = established(round).await;
        // No task runs between these two.
        drop(raw);
        ours.bfd.send(BfdReport { path: PathState::Down, downs: 1 }).unwrap();
        let keep = kept(ours).await;
        assert!(matches!(keep, Keep::Stale { .. }), "round {round}: {keep:?}");
    }
}

#[tokio::test]
async fn a_path_that_goes_down_under_an_open_connection_has_failed() {
    let (ours, _raw) = established(100).await;
    ours.bfd.send(BfdReport { path: PathState::Down, downs: 1 }).unwrap();
    assert_eq!(kept(ours).await, Keep::Nothing);
}
