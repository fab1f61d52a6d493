//! Peers of ranges, with real connections on the loopback device: who is let in, on what terms, and what is left of them.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use caracal_bgp::config::RestartOptions;
use caracal_bgp::policy::Policy;
use caracal_bgp::speaker::{
    Beginning, Farewell, Handle, Origination, PeerStatus, RangeStatus, RouteQuery, RouteStatus, SpeakerEvent,
};
use caracal_bgp::wire::notification::Cease;
use caracal_bgp::{
    Asn, Config, Families, Family, HoldTime, LocalNextHops, Password, PeerConfig, PeerKey, PeerOrigin,
    PeerRange, RemoteAs, RouterId,
};
use ipnetwork::IpNetwork;

/// Nothing here may take longer.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

const OURS: Asn = Asn(64601);
const THEIRS: Asn = Asn(64602);

/// The addresses of one test: 127.73.`round`.x, of which x = 1 is the router with the range.
struct Place {
    round: u8,
}

fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

impl Place {
    fn at(&self, last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, 73, self.round, last))
    }

    fn key(&self, last: u8) -> PeerKey {
        PeerKey::from(self.at(last))
    }

    fn port(&self) -> u16 {
        21_000 + u16::from(self.round)
    }

    fn range(&self) -> IpNetwork {
        IpNetwork::new(self.at(0), 24).unwrap()
    }

    fn terms(&self) -> PeerConfig {
        PeerConfig {
            name: "racks".to_owned(),
            local_next_hops: LocalNextHops { v4: Some(Ipv4Addr::new(192, 0, 2, 1)), v6: None },
            ..PeerConfig::new(SocketAddr::new(self.at(0), self.port()), OURS, RemoteAs::External)
        }
    }

    /// The router's configuration with these ranges.
    fn router(&self, ranges: impl IntoIterator<Item = (IpNetwork, PeerRange)>) -> Config {
        Config {
            listen: vec![SocketAddr::new(self.at(1), self.port())],
            ranges: ranges.into_iter().collect(),
            ..Config::new(OURS, RouterId::try_from(Ipv4Addr::new(10, 0, 0, 1)).unwrap())
        }
    }

    fn one_range(&self, edit: impl FnOnce(&mut PeerRange)) -> Config {
        let mut range = PeerRange::new(self.terms());
        edit(&mut range);
        self.router([(self.range(), range)])
    }

    /// The configuration of one that dials the router.
    fn dialler(&self, last: u8, edit: impl FnOnce(&mut PeerConfig)) -> Config {
        let next_hop = Ipv4Addr::new(192, 0, 2, last);
        let mut peer = PeerConfig {
            local_address: Some(self.at(last)),
            connect_retry: Duration::from_millis(200),
            hold_time: HoldTime::try_from(30).unwrap(),
            local_next_hops: LocalNextHops { v4: Some(next_hop), v6: None },
            ..PeerConfig::new(SocketAddr::new(self.at(1), self.port()), THEIRS, OURS)
        };
        edit(&mut peer);
        Config {
            peers: BTreeMap::from([(self.key(1), peer)]),
            ..Config::new(THEIRS, RouterId::try_from(Ipv4Addr::new(10, 0, 0, last)).unwrap())
        }
    }

    /// One that dials and announces 10.`last`.0.0/16.
    async fn dial(&self, last: u8, edit: impl FnOnce(&mut PeerConfig)) -> Handle {
        let speaker = Handle::start(self.dialler(last, edit)).unwrap();
        let prefix = net(&format!("10.{last}.0.0/16"));
        speaker.originate(vec![Origination::Announce { prefix, communities: Vec::new() }]).await.unwrap();
        speaker
    }
}

/// Looks until something is found.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(instead) => assert!(tokio::time::Instant::now() < deadline, "{what}: there is {instead}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn peers_when(of: &Handle, what: &str, wanted: impl Fn(&[PeerStatus]) -> bool) -> Vec<PeerStatus> {
    until(what, async || {
        let peers = of.peers().await.unwrap();
        if wanted(&peers) { Ok(peers) } else { Err(format!("{peers:#?}")) }
    })
    .await
}

async fn established(of: &Handle, keys: &[PeerKey]) -> Vec<PeerStatus> {
    peers_when(of, "the peers are there", |peers| {
        peers.iter().map(|peer| peer.key).eq(keys.iter().copied())
            && peers.iter().all(PeerStatus::is_established)
    })
    .await
}

async fn range_when(of: &Handle, what: &str, wanted: impl Fn(&RangeStatus) -> bool) -> RangeStatus {
    until(what, async || {
        let range = of.ranges().await.unwrap().into_iter().next().unwrap();
        if wanted(&range) { Ok(range) } else { Err(format!("{range:?}")) }
    })
    .await
}

async fn route_when(of: &Handle, prefix: &str, wanted: impl Fn(Option<&RouteStatus>) -> bool) {
    let query = RouteQuery { prefix: Some(net(prefix)), ..RouteQuery::default() };
    until(prefix, async || {
        let routes = of.routes(query.clone()).await.unwrap();
        if wanted(routes.first()) { Ok(()) } else { Err(format!("{routes:?}")) }
    })
    .await;
}

fn password(text: &str) -> Option<Password> {
    Some(Password::try_from(text).unwrap())
}

#[tokio::test]
async fn a_peer_of_a_range_comes_with_its_connection_and_goes_with_all_it_has_said() {
    let place = Place { round: 1 };
    let router = Handle::start(place.one_range(|_| {})).unwrap();
    assert_eq!(router.peers().await.unwrap(), []);
    let first = place.dial(2, |_| {}).await;
    let second = place.dial(3, |_| {}).await;
    let there = established(&router, &[place.key(2), place.key(3)]).await;
    let PeerStatus { origin, name, remote_as, .. } = &there[0];
    assert_eq!(
        (*origin, name.as_str(), *remote_as),
        (PeerOrigin::Range(place.range()), "racks", Some(THEIRS))
    );
    route_when(&router, "10.2.0.0/16", |route| route.is_some_and(|route| route.best)).await;
    route_when(&first, "10.3.0.0/16", |route| route.is_some_and(|route| route.as_path == "64601 64602"))
        .await;
    // Said, and without a word: both are an end.
    first.stop(Farewell::Cease(Cease::Shutdown)).await;
    second.stop(Farewell::Silent).await;
    peers_when(&router, "nobody is there any more", <[PeerStatus]>::is_empty).await;
    route_when(&router, "10.2.0.0/16", |route| route.is_none()).await;
    let range = range_when(&router, "nobody is there any more", |range| range.peers == 0).await;
    assert_eq!((range.refused, range.max_peers), (0, 100));
    // And anybody may come again.
    let _again = place.dial(2, |_| {}).await;
    established(&router, &[place.key(2)]).await;
}

#[tokio::test]
async fn a_named_peer_goes_before_any_range_and_the_longest_range_before_others() {
    let place = Place { round: 2 };
    let named = |name: &str| PeerRange::new(PeerConfig { name: name.to_owned(), ..place.terms() });
    let half = IpNetwork::new(place.at(128), 25).unwrap();
    let mut config = place.router([(place.range(), named("all")), (half, named("half"))]);
    let peer = PeerConfig {
        name: "named".to_owned(),
        passive: true,
        ..PeerConfig::new(SocketAddr::new(place.at(3), place.port()), OURS, THEIRS)
    };
    config.peers.insert(place.key(3), peer);
    let router = Handle::start(config).unwrap();
    let mut _diallers = Vec::new();
    for last in [2, 3, 129] {
        _diallers.push(place.dial(last, |_| {}).await);
    }
    let there = established(&router, &[place.key(2), place.key(3), place.key(129)]).await;
    let names: Vec<&str> = there.iter().map(|peer| peer.name.as_str()).collect();
    assert_eq!(names, ["all", "named", "half"]);
    assert_eq!(there[1].origin, PeerOrigin::Configured);
}

#[tokio::test]
async fn a_full_range_turns_away_in_words_until_somebody_goes() {
    let place = Place { round: 3 };
    let router = Handle::start(place.one_range(|range| range.max_peers = NonZeroU16::MIN)).unwrap();
    let first = place.dial(2, |_| {}).await;
    established(&router, &[place.key(2)]).await;
    let second = place.dial(3, |_| {}).await;
    let range = range_when(&router, "somebody was turned away", |range| range.refused >= 3).await;
    let why = range.last_refusal.unwrap();
    assert!(why.starts_with("127.73.3.3: there are 1 peers of the range"), "{why}");
    let told = |peers: &[PeerStatus]| {
        let why = peers[0].last_error.as_deref().unwrap_or_default();
        why.contains("connection rejected")
    };
    peers_when(&second, "it knows why", told).await;
    established(&router, &[place.key(2)]).await;
    first.stop(Farewell::Silent).await;
    established(&router, &[place.key(3)]).await;
}

#[tokio::test]
async fn who_is_in_an_as_that_is_not_listed_is_told_so_and_leaves_nothing() {
    let place = Place { round: 4 };
    let only = RemoteAs::AnyOf([Asn(64700), Asn(64701)].into());
    let router = Handle::start(place.one_range(|range| range.terms.remote_as = only)).unwrap();
    let stranger = place.dial(2, |_| {}).await;
    let range = range_when(&router, "it was turned away", |range| range.refused > 0).await;
    let why = range.last_refusal.unwrap();
    assert!(why.contains("it is in AS 64602, configured is AS 64700 or 64701"), "{why}");
    let told =
        |peers: &[PeerStatus]| peers[0].last_error.as_deref().is_some_and(|why| why.contains("bad peer AS"));
    peers_when(&stranger, "it knows why", told).await;
    let _friend = place.dial(3, |peer| peer.local_as = Asn(64701)).await;
    peers_when(&router, "the other is let in", |peers| {
        peers.iter().any(|peer| peer.is_established() && peer.remote_as == Some(Asn(64701)))
    })
    .await;
    stranger.stop(Farewell::Silent).await;
    established(&router, &[place.key(3)]).await;
}

#[tokio::test]
async fn a_range_asks_everybody_for_its_password() {
    let place = Place { round: 5 };
    let secret = |range: &mut PeerRange| range.terms.password = password("correct horse");
    let router = Handle::start(place.one_range(secret)).unwrap();
    let _right = place.dial(2, |peer| peer.password = password("correct horse")).await;
    established(&router, &[place.key(2)]).await;
    let wrong = place.dial(3, |peer| peer.password = password("battery staple")).await;
    let missing = place.dial(4, |_| {}).await;
    for shut_out in [&wrong, &missing] {
        let unanswered = |peers: &[PeerStatus]| {
            peers[0].last_error.as_deref().is_some_and(|why| why.contains("nobody answered in time"))
        };
        let peers = peers_when(shut_out, "nobody answers", unanswered).await;
        assert_eq!(peers[0].messages_in, 0);
    }
    established(&router, &[place.key(2)]).await;
    // Another password holds for those who come, and for who is there.
    router
        .configure(place.one_range(|range| range.terms.password = password("battery staple")))
        .await
        .unwrap();
    peers_when(&router, "the one that had the wrong one is in", |peers| {
        peers.iter().any(|peer| peer.key == place.key(3) && peer.is_established())
    })
    .await;
}

#[tokio::test]
async fn a_range_that_has_no_password_any_more_asks_for_none() {
    let place = Place { round: 11 };
    let secret = |range: &mut PeerRange| range.terms.password = password("correct horse");
    let router = Handle::start(place.one_range(secret)).unwrap();
    let without = place.dial(2, |_| {}).await;
    let unanswered = |peers: &[PeerStatus]| {
        peers[0].last_error.as_deref().is_some_and(|why| why.contains("nobody answered in time"))
    };
    peers_when(&without, "nobody answers", unanswered).await;
    router.configure(place.one_range(|_| {})).await.unwrap();
    established(&router, &[place.key(2)]).await;
}

#[tokio::test]
async fn a_reload_acts_on_those_who_are_there() {
    let place = Place { round: 6 };
    let router = Handle::start(place.one_range(|_| {})).unwrap();
    let _first = place.dial(2, |_| {}).await;
    let _second = place.dial(3, |_| {}).await;
    established(&router, &[place.key(2), place.key(3)]).await;
    route_when(&router, "10.2.0.0/16", |route| route.is_some_and(|route| route.best)).await;

    // Another policy: on the sessions that stand.
    let nothing = |range: &mut PeerRange| range.terms.import = Arc::new(Policy::reject_all());
    router.configure(place.one_range(nothing)).await.unwrap();
    route_when(&router, "10.2.0.0/16", |route| route.is_some_and(|route| !route.best)).await;
    let there = established(&router, &[place.key(2), place.key(3)]).await;
    assert!(there.iter().all(|peer| peer.transitions == 1), "{there:?}");

    // One of them gets a name, and keeps its session.
    let mut config = place.one_range(|_| {});
    let terms = place.terms();
    let peer = PeerConfig {
        passive: true,
        ..PeerConfig::new(SocketAddr::new(place.at(2), place.port()), OURS, RemoteAs::External)
    };
    config.peers.insert(place.key(2), PeerConfig { local_next_hops: terms.local_next_hops, ..peer });
    router.configure(config.clone()).await.unwrap();
    route_when(&router, "10.2.0.0/16", |route| route.is_some_and(|route| route.best)).await;
    let there = established(&router, &[place.key(2), place.key(3)]).await;
    assert!(there.iter().all(|peer| peer.transitions == 1), "{there:?}");
    let origins: Vec<PeerOrigin> = there.iter().map(|peer| peer.origin).collect();
    assert_eq!(origins, [PeerOrigin::Configured, PeerOrigin::Range(place.range())]);

    // What needs another session makes one.
    let hold = HoldTime::try_from(9).unwrap();
    config.ranges.values_mut().for_each(|range| range.terms.hold_time = hold);
    router.configure(config.clone()).await.unwrap();
    peers_when(&router, "the session is another", |peers| {
        peers.iter().any(|peer| peer.key == place.key(3) && peer.hold_time == hold && peer.is_established())
    })
    .await;

    // Without the range nobody of it is left, and nobody comes.
    config.ranges.clear();
    router.configure(config).await.unwrap();
    let left = router.peers().await.unwrap();
    assert_eq!(left.iter().map(|peer| peer.key).collect::<Vec<_>>(), [place.key(2)]);
    assert!(left[0].is_established());
    route_when(&router, "10.3.0.0/16", |route| route.is_none()).await;
}

#[tokio::test]
async fn who_restarts_gracefully_is_kept_with_its_routes_until_its_time_is_over() {
    let place = Place { round: 7 };
    let router =
        Handle::start(place.one_range(|range| range.terms.session.graceful_restart = restarts(60, None)))
            .unwrap();
    // Long enough for a slow machine to look while it is away.
    let dialler = place.dial(2, |peer| peer.session.graceful_restart = restarts(10, None)).await;
    established(&router, &[place.key(2)]).await;
    route_when(&router, "10.2.0.0/16", |route| route.is_some_and(|route| route.best)).await;
    dialler.stop(Farewell::Silent).await;
    route_when(&router, "10.2.0.0/16", |route| route.is_some_and(|route| route.best && route.stale)).await;
    assert_eq!(router.ranges().await.unwrap()[0].peers, 1, "it is waited for");
    peers_when(&router, "it did not come back", <[PeerStatus]>::is_empty).await;
    route_when(&router, "10.2.0.0/16", |route| route.is_none()).await;
}

/// How a peer restarts: it is away for so long, and what it said is kept for so much longer.
fn restarts(time: u64, long_lived: Option<u64>) -> Option<RestartOptions> {
    let long_lived = long_lived.map(Duration::from_secs);
    Some(RestartOptions { time: Duration::from_secs(time), long_lived, ..RestartOptions::default() })
}

#[tokio::test]
async fn who_is_back_is_not_told_what_was_kept_of_it() {
    let place = Place { round: 9 };
    let graceful = |range: &mut PeerRange| range.terms.session.graceful_restart = restarts(60, None);
    let router = Handle::start(place.one_range(graceful)).unwrap();
    let away = place.dial(2, |peer| peer.session.graceful_restart = restarts(60, None)).await;
    let _other = place.dial(3, |_| {}).await;
    route_when(&router, "10.2.0.0/16", |route| route.is_some_and(|route| route.best)).await;
    route_when(&router, "10.3.0.0/16", |route| route.is_some_and(|route| route.best)).await;
    away.stop(Farewell::Silent).await;
    route_when(&router, "10.2.0.0/16", |route| route.is_some_and(|route| route.stale)).await;
    // It went on forwarding, and has not said yet that it has nothing more to say: all is kept.
    let config = place.dialler(2, |peer| {
        let options = restarts(60, None).unwrap();
        let forwarding = Families::dual();
        peer.session.graceful_restart = Some(RestartOptions { restarted: true, forwarding, ..options });
    });
    let beginning = Beginning { announces_later: true, ..Beginning::default() };
    let back = Handle::begin(config, beginning).unwrap();
    let mut events = back.events();
    let family = Family::Ipv4Unicast;
    let told = SpeakerEvent::EndOfRib { key: place.key(1), family };
    let all_told = async { while events.recv().await.unwrap() != told {} };
    tokio::time::timeout(LIMIT, all_told).await.expect("the router ends its table");
    route_when(&router, "10.2.0.0/16", |route| route.is_some_and(|route| route.stale)).await;
    route_when(&back, "10.3.0.0/16", |route| route.is_some()).await;
    let query = RouteQuery { prefix: Some(net("10.2.0.0/16")), ..RouteQuery::default() };
    assert_eq!(back.routes(query).await.unwrap(), [], "it is told of its own route");
}

#[tokio::test]
async fn what_is_kept_of_who_is_long_away_is_marked_and_told_to_those_who_know_of_it() {
    let place = Place { round: 10 };
    let long = |range: &mut PeerRange| range.terms.session.graceful_restart = restarts(60, Some(60));
    let router = Handle::start(place.one_range(long)).unwrap();
    let away = place.dial(2, |peer| peer.session.graceful_restart = restarts(1, Some(60))).await;
    let knows = place.dial(3, |peer| peer.session.graceful_restart = restarts(60, Some(60))).await;
    let knows_not = place.dial(4, |peer| peer.session.graceful_restart = restarts(60, None)).await;
    for listener in [&router, &knows, &knows_not] {
        route_when(listener, "10.2.0.0/16", |route| route.is_some_and(|route| route.communities.is_empty()))
            .await;
    }
    away.stop(Farewell::Silent).await;
    let marked = |route: Option<&RouteStatus>| route.is_some_and(|route| route.communities == ["llgr-stale"]);
    route_when(&router, "10.2.0.0/16", |route| {
        marked(route) && route.is_some_and(|route| route.best && route.stale)
    })
    .await;
    route_when(&knows, "10.2.0.0/16", marked).await;
    route_when(&knows_not, "10.2.0.0/16", |route| route.is_none()).await;
    // It is back, and says all it has: nothing is special about it any more.
    let _back = place.dial(2, |peer| peer.session.graceful_restart = restarts(1, Some(60))).await;
    for listener in [&router, &knows, &knows_not] {
        route_when(listener, "10.2.0.0/16", |route| {
            route.is_some_and(|route| route.communities.is_empty() && !route.stale)
        })
        .await;
    }
}

#[tokio::test]
async fn who_has_no_password_must_not_lie_in_a_range_that_has_one() {
    let place = Place { round: 8 };
    let secret = |range: &mut PeerRange| range.terms.password = password("correct horse");
    let mut config = place.one_range(secret);
    let peer = PeerConfig::new(SocketAddr::new(place.at(2), place.port()), OURS, THEIRS);
    config.peers.insert(place.key(2), peer);
    let said = config.validate().unwrap_err().to_string();
    assert!(said.starts_with("configuring peer 127.73.8.2, which has no password"), "{said}");
    config.peers.get_mut(&place.key(2)).unwrap().password = password("its own");
    config.validate().unwrap();
    let half = IpNetwork::new(place.at(128), 25).unwrap();
    config.ranges.insert(half, PeerRange::new(place.terms()));
    let said = config.validate().unwrap_err().to_string();
    assert!(
        said.starts_with("configuring the range 127.73.8.128/25 of peers, which has no password"),
        "{said}"
    );
}

#[tokio::test]
async fn after_a_restart_those_who_were_there_are_waited_for_and_nobody_else() {
    let place = Place { round: 12 };
    let folder = std::env::temp_dir().join(format!("caracal-peers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("peers");
    let begin = |deferral: Option<Duration>| {
        let graceful = |range: &mut PeerRange| range.terms.session.graceful_restart = restarts(60, None);
        let beginning = Beginning { deferral, peer_memory: Some(file.clone()), ..Beginning::default() };
        Handle::begin(place.one_range(graceful), beginning).unwrap()
    };
    let written = async |wanted: &[u8]| {
        let lines: Vec<String> = wanted.iter().map(|last| place.at(*last).to_string()).collect();
        let inside = |text: &str| text.lines().skip(1).filter(|line| *line != "end").eq(&lines);
        until("who is there is written down", async || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if !text.is_empty() && inside(&text) { Ok(()) } else { Err(text) }
        })
        .await;
    };
    let graceful = |peer: &mut PeerConfig| peer.session.graceful_restart = restarts(60, None);
    let router = begin(None);
    written(&[]).await;
    let _first = place.dial(2, graceful).await;
    let away = place.dial(3, graceful).await;
    // One that need not end its table with a word is not waited for.
    let _without = place.dial(4, |_| {}).await;
    established(&router, &[place.key(2), place.key(3), place.key(4)]).await;
    written(&[2, 3]).await;

    router.stop(Farewell::Silent).await;
    away.stop(Farewell::Silent).await;
    // Nobody here lives to see the end of this.
    let router = begin(Some(Duration::from_secs(3600)));
    let mut events = router.events();
    let told = SpeakerEvent::EndOfRib { key: place.key(2), family: Family::Ipv4Unicast };
    let all_told = async { while events.recv().await.unwrap() != told {} };
    tokio::time::timeout(LIMIT, all_told).await.expect("the first is back and ends its table");
    established(&router, &[place.key(2), place.key(4)]).await;
    route_when(&router, "10.4.0.0/16", |route| route.is_some()).await;
    for prefix in ["10.2.0.0/16", "10.4.0.0/16"] {
        let query = RouteQuery { prefix: Some(net(prefix)), ..RouteQuery::default() };
        let routes = router.routes(query).await.unwrap();
        assert_eq!(routes[0].standing, "SelectionDeferred", "one is missing");
    }
    // Killed now, the next process would wait for it again.
    written(&[2, 3]).await;

    let back = place.dial(3, graceful).await;
    for prefix in ["10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16"] {
        route_when(&router, prefix, |route| route.is_some_and(|route| route.best)).await;
    }
    back.stop(Farewell::Cease(Cease::Shutdown)).await;
    written(&[2]).await;
    std::fs::remove_dir_all(folder).unwrap();
}
