//! `BgpService` over two real speakers that speak to each other over loopback addresses.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use caracal_bgp::grpc::Bgp;
use caracal_bgp::speaker::{Handle, Origination, SpeakerEvent};
use caracal_bgp::{Asn, Config, LocalNextHops, PeerConfig, PeerKey, PeerOrigin, RouterId};
use caracal_proto::v1::bgp_service_server::BgpService;
use caracal_proto::v1::{
    Family, ListPeersRequest, ListRoutesRequest, RefreshPeerRequest, ResetPeerRequest, Route, RouteSource,
    SessionState,
};
use futures::{StreamExt, TryStreamExt};
use tonic::{Code, Request, Status};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);
const PORT: u16 = 20_077;

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, 0, n)
}

fn speaker(n: u8, other: u8) -> Handle {
    let peer = PeerConfig {
        name: format!("node-{other}"),
        origin: PeerOrigin::Mesh,
        // One of them dials: no collision ends what has come up.
        passive: n < other,
        local_address: Some(IpAddr::V4(address(n))),
        connect_retry: Duration::from_secs(1),
        local_next_hops: LocalNextHops { v4: Some(Ipv4Addr::new(192, 0, 2, n)), v6: None },
        ..PeerConfig::new(SocketAddr::from((address(other), PORT)), Asn(64512), Asn(64512))
    };
    Handle::start(Config {
        listen: vec![SocketAddr::from((address(n), PORT))],
        peers: [(PeerKey::from(IpAddr::V4(address(other))), peer)].into(),
        ..Config::new(Asn(64512), RouterId::try_from(address(n)).unwrap())
    })
    .unwrap()
}

async fn announce(speaker: &Handle, prefixes: impl IntoIterator<Item = String>) {
    let changes = prefixes
        .into_iter()
        .map(|prefix| Origination::Announce { prefix: prefix.parse().unwrap(), communities: Vec::new() });
    speaker.originate(changes.collect()).await.unwrap();
}

async fn routes(bgp: &Bgp, request: ListRoutesRequest) -> Result<Vec<Route>, Status> {
    let pieces = bgp.list_routes(Request::new(request)).await?.into_inner();
    pieces.map_ok(|piece| futures::stream::iter(piece.routes).map(Ok)).try_flatten().try_collect().await
}

/// Follows the best paths until there are so many.
async fn until_learned(speaker: &Handle, wanted: usize) {
    let mut feed = speaker.feed().await.unwrap();
    let mut known = std::collections::BTreeSet::new();
    let learning = async {
        while known.len() < wanted {
            let changes = feed.pull(256).await.unwrap().changes;
            known.extend(
                changes.into_iter().filter(|change| change.best.is_some()).map(|change| change.prefix),
            );
        }
    };
    tokio::time::timeout(DEADLINE, learning).await.expect("the routes have not come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_routes_and_commands_are_those_of_the_speaker() {
    let (one, two) = (speaker(1, 2), speaker(2, 1));
    // More than one piece of an answer.
    announce(&two, (0..1500).map(|n| format!("10.{}.{}.0/26", n / 250, n % 250))).await;
    announce(&one, ["10.244.1.0/26".to_owned()]).await;
    until_learned(&one, 1501).await;
    let bgp = Bgp::new(one.clone());

    let peers = bgp.list_peers(Request::new(ListPeersRequest {})).await.unwrap().into_inner().peers;
    let [peer] = peers.as_slice() else { panic!("one peer is configured, not {peers:?}") };
    assert_eq!((peer.key.as_str(), peer.name.as_str()), ("127.77.0.2", "node-2"));
    assert_eq!(peer.state(), SessionState::Established);
    assert_eq!(peer.router_id.as_deref(), Some("127.77.0.2"));
    assert_eq!((peer.counts[0].family(), peer.counts[0].accepted), (Family::Ipv4Unicast, 1500));

    assert_eq!(routes(&bgp, ListRoutesRequest::default()).await.unwrap().len(), 1501);
    let by_name = ListRoutesRequest { peer: Some("node-2".to_owned()), ..Default::default() };
    assert_eq!(routes(&bgp, by_name).await.unwrap().len(), 1500);
    let v6 = ListRoutesRequest { family: Family::Ipv6Unicast.into(), ..Default::default() };
    assert_eq!(routes(&bgp, v6).await.unwrap(), []);
    let own = ListRoutesRequest { prefix: Some("10.244.1.0/26".to_owned()), ..Default::default() };
    let own = routes(&bgp, own).await.unwrap();
    assert!(own.len() == 1 && own[0].source() == RouteSource::Local && own[0].best, "{own:?}");

    let unknown = ResetPeerRequest { peer: "node-9".to_owned(), message: None };
    let error = bgp.reset_peer(Request::new(unknown)).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("127.77.0.2 (node-2)"), "{}", error.message());
    let wanted = RefreshPeerRequest { peer: "127.77.0.2".to_owned() };
    assert_eq!(bgp.refresh_peer(Request::new(wanted)).await.unwrap().into_inner().key, "127.77.0.2");

    let mut events = one.events();
    bgp.reset_peer(Request::new(ResetPeerRequest { peer: "node-2".to_owned(), message: None }))
        .await
        .unwrap();
    let down = async { while !matches!(events.recv().await.unwrap(), SpeakerEvent::PeerDown { .. }) {} };
    tokio::time::timeout(DEADLINE, down).await.expect("the session was not ended");
}
