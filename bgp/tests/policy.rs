//! What passes between speakers, over real sessions on loopback addresses: communities that mean something by
//! themselves, required policies, limits, several paths of a prefix. Every change is made on running sessions, which
//! stand through it.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod town;

use std::num::NonZeroU8;
use std::sync::Arc;

use caracal_bgp::config::diff::Step;
use caracal_bgp::policy::{AnyCommunity, Condition, Operation, Policy, PrefixMatch, Rule, Then, Verdict};
use caracal_bgp::rib::{UnderlayRoute, Way};
use caracal_bgp::speaker::{Origination, RouteQuery, SpeakerEvent};
use caracal_bgp::wire::attribute::Community;
use caracal_bgp::{Asn, Config, Families, Family, LimitAction, PathsSent, PrefixLimit, PrefixLimits};

use town::{Town, network};

const P: &str = "10.1.0.0/24";

/// Speaker `n` of AS 65000 + `n` among speakers of such ASes.
fn own_as(n: u8, town: &Town, size: u8) -> impl Fn(&mut Config) + use<> {
    let of = |n: u8| Asn(65_000 + u32::from(n));
    let keys: Vec<_> = (1..=size).map(|other| (town.key(other), of(other))).collect();
    move |config| {
        config.local_as = of(n);
        for (key, peer) in &mut config.peers {
            peer.local_as = of(n);
            peer.remote_as = keys.iter().find(|(of, _)| of == key).unwrap().1.into();
            // All are on one host.
            peer.multihop = Some(8);
        }
    }
}

/// Speakers of an AS each, in a mesh.
fn ases(number: u8, size: u8) -> Town {
    let mut town = Town::new(number, size);
    for n in 1..=size {
        let edit = own_as(n, &town, size);
        town.start(n, edit);
    }
    town
}

fn keep_only(config: &mut Config, keys: &[caracal_bgp::PeerKey]) {
    config.peers.retain(|key, _| keys.contains(key));
}

async fn announce(town: &Town, n: u8, prefix: &str, communities: &[Community]) {
    let announce = Origination::Announce { prefix: network(prefix), communities: communities.to_vec() };
    town.speaker(n).originate(vec![announce]).await.unwrap();
}

fn policy(rules: impl IntoIterator<Item = Rule>, default: Verdict) -> Arc<Policy> {
    Arc::new(Policy::new(rules.into_iter().collect(), default))
}

fn within(prefix: &str) -> [PrefixMatch; 1] {
    [PrefixMatch::within(network(prefix))]
}

/// 1 is known to 2, and 2 to 3; each is an AS of its own.
fn chain(number: u8) -> Town {
    let mut town = Town::new(number, 3);
    for (n, neighbours) in [(1, vec![2]), (2, vec![1, 3]), (3, vec![2])] {
        let edit = own_as(n, &town, 3);
        let keys: Vec<_> = neighbours.into_iter().map(|other| town.key(other)).collect();
        town.start(n, |config| {
            edit(config);
            keep_only(config, &keys);
        });
    }
    town
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_export_and_no_advertise_stop_where_they_say() {
    let mut town = chain(30);
    announce(&town, 1, "10.1.0.0/24", &[]).await;
    town.until_learned(3, "10.1.0.0/24", town.v4(2)).await;
    // What is marked goes no further: nothing to 3, and from 1 itself not even to 2.
    let export = Rule::new("Mark", within("10.2.0.0/16"), Then::Continue)
        .with(Operation::AddCommunity(AnyCommunity::Standard(Community::NO_EXPORT)));
    let mut marking = town.config(2).clone();
    let one = town.key(1);
    marking.peers.get_mut(&one).unwrap().import = policy([export], Verdict::Accept);
    town.configure(2, marking).await;
    announce(&town, 1, "10.3.0.0/24", &[Community::NO_ADVERTISE]).await;
    announce(&town, 1, "10.4.0.0/24", &[Community::NO_EXPORT]).await;
    announce(&town, 1, "10.2.0.0/24", &[]).await;
    // One that comes after them all has come.
    announce(&town, 1, "10.9.0.0/24", &[]).await;
    town.until_learned(3, "10.9.0.0/24", town.v4(2)).await;
    assert!(town.has_now(2, "10.2.0.0/24").await && !town.has(3, "10.2.0.0/24"));
    for kept in ["10.3.0.0/24", "10.4.0.0/24"] {
        assert!(!town.has_now(2, kept).await, "{kept} must not leave its origin");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_about_to_go_is_the_last_to_be_used() {
    let mut town = ases(31, 3);
    announce(&town, 2, P, &[Community::GRACEFUL_SHUTDOWN]).await;
    town.until_learned(1, P, town.v4(2)).await;
    announce(&town, 3, P, &[]).await;
    let (two, three) = (town.v4(2), town.v4(3));
    town.until_hops(1, P, &[three]).await;
    // Turned off again it is as good as the other: both are used.
    announce(&town, 2, P, &[]).await;
    town.until_hops(1, P, &[two, three]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_policies_are_required_an_external_peer_without_one_gives_and_gets_nothing() {
    let mut town = ases(32, 2);
    announce(&town, 2, P, &[]).await;
    announce(&town, 1, "10.7.0.0/24", &[]).await;
    town.until_learned(1, P, town.v4(2)).await;
    town.until_learned(2, "10.7.0.0/24", town.v4(1)).await;
    let transitions = town.peer(1, 2).await.transitions;

    let mut strict = town.config(1).clone();
    strict.require_policies = true;
    let two = town.key(2);
    assert_eq!(town.configure(1, strict.clone()).await, [(two, Step::Refresh), (two, Step::Reexport)]);
    town.until_gone(1, P).await;
    town.until_gone(2, "10.7.0.0/24").await;
    let routes =
        town.speaker(1).routes(RouteQuery { peer: Some(two), ..RouteQuery::default() }).await.unwrap();
    assert_eq!(routes[0].standing, "NoPolicy");
    assert!(routes[0].why_not.as_ref().unwrap().contains("RFC 8212"));

    let peer = strict.peers.get_mut(&two).unwrap();
    (peer.import, peer.export) = (policy([], Verdict::Accept), policy([], Verdict::Accept));
    town.configure(1, strict).await;
    town.until_learned(1, P, town.v4(2)).await;
    town.until_learned(2, "10.7.0.0/24", town.v4(1)).await;
    assert_eq!(town.peer(1, 2).await.transitions, transitions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_family_and_each_direction_has_its_own_rules() {
    let mut town = ases(33, 2);
    let mut config = town.config(1).clone();
    let peer = config.peers.get_mut(&town.key(2)).unwrap();
    peer.import = policy([Rule::accept("V4", within("0.0.0.0/0"))], Verdict::Reject);
    peer.export = policy(
        [
            Rule::accept("V6", within("::/0"))
                .with(Operation::Prepend(vec![Asn(7)]))
                .when(Condition::OriginAs(vec![Asn(1)])),
            Rule::accept("OwnV6", within("::/0")).with(Operation::Med(Some(5))),
        ],
        Verdict::Reject,
    );
    town.configure(1, config).await;
    for n in [1u8, 2] {
        town.originate(n, &[&format!("10.{n}.0.0/24"), &format!("fd00:{n}::/64")]).await;
    }
    town.until_learned(1, "10.2.0.0/24", town.v4(2)).await;
    town.until_learned(2, "fd00:1::/64", town.v6(1)).await;
    assert!(!town.has(1, "fd00:2::/64") && !town.has(2, "10.1.0.0/24"));
    let query = RouteQuery { prefix: Some(network("fd00:1::/64")), ..RouteQuery::default() };
    let route = &town.speaker(2).routes(query).await.unwrap()[0];
    assert_eq!((route.as_path.as_str(), route.med), ("65001", Some(5)));
}

/// 1 reflects between 2 and 3, which both announce `P`, and 4.
async fn reflecting(number: u8, sent: PathsSent) -> Town {
    let mut town = Town::new(number, 4);
    let reflector = town.key(1);
    town.start(1, |config| {
        for peer in config.peers.values_mut() {
            peer.reflector_client = true;
            peer.session.add_path_send = Families::dual();
            peer.paths_sent = sent;
        }
    });
    for n in 2..=4 {
        town.start(n, |config| {
            keep_only(config, &[reflector]);
            if n == 4 {
                config.peers.values_mut().for_each(|peer| peer.session.add_path_receive = Families::dual());
            }
        });
    }
    for n in [2, 3] {
        town.originate(n, &[P, "fd00:1::/64"]).await;
    }
    town
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_paths_are_told_where_both_ends_want_them_and_taken_back_one_by_one() {
    let mut town = reflecting(34, PathsSent::All).await;
    let (two, three) = (town.v4(2), town.v4(3));
    let (two_v6, three_v6) = (town.v6(2), town.v6(3));
    town.until_hops(4, P, &[two, three]).await;
    town.until_hops(4, "fd00:1::/64", &[two_v6, three_v6]).await;
    assert_eq!(town.peer(1, 4).await.counts(Family::Ipv4Unicast).announced, 2);
    town.withdraw(2, &[P]).await;
    town.until_hops(4, P, &[three]).await;
    town.originate(2, &[P]).await;
    town.until_hops(4, P, &[two, three]).await;
    town.withdraw(2, &[P]).await;
    town.withdraw(3, &[P]).await;
    town.until_gone(4, P).await;
    assert!(town.has(4, "fd00:1::/64"), "the other family is told of by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_many_paths_are_told_changes_on_a_running_session() {
    let mut town = reflecting(35, PathsSent::First(NonZeroU8::MIN)).await;
    let (two, three) = (town.v4(2), town.v4(3));
    town.until_hops(4, P, &[two]).await;
    let mut more = town.config(1).clone();
    let four = town.key(4);
    more.peers.get_mut(&four).unwrap().paths_sent = PathsSent::All;
    assert_eq!(town.configure(1, more).await, [(four, Step::Reexport)]);
    town.until_hops(4, P, &[two, three]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_announces_too_much_loses_its_session_or_is_only_told_of() {
    let mut town = Town::mesh(36, 3).await;
    let mut limited = town.config(1).clone();
    let (two, three) = (town.key(2), town.key(3));
    let limit = |action| PrefixLimits { ipv4: Some(PrefixLimit { prefixes: 3, action }), ipv6: None };
    limited.peers.get_mut(&two).unwrap().session.limits = limit(LimitAction::Stop);
    limited.peers.get_mut(&three).unwrap().session.limits = limit(LimitAction::Warn);
    town.configure(1, limited).await;
    let mut events = town.speaker(1).events();
    for n in [3, 2] {
        let prefixes: Vec<String> = (0..4).map(|i| format!("10.{n}.{i}.0/24")).collect();
        town.originate(n, &prefixes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let down = town::event(&mut events, |event| matches!(event, SpeakerEvent::PeerDown { .. })).await;
    assert!(matches!(&down, SpeakerEvent::PeerDown { key, .. } if *key == two), "{down:?}");
    town.until_gone(1, "10.2.0.0/24").await;
    town.until_learned(1, "10.3.3.0/24", town.v4(3)).await;
    assert!(town.peer(1, 3).await.is_established(), "the other is told of and stands");
    let why = town.peer(1, 2).await.last_error.unwrap();
    assert!(why.contains('3') && why.contains("prefixes"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_whose_next_hop_cannot_be_reached_is_not_used_until_it_can() {
    let mut town = Town::mesh(37, 3).await;
    for n in [2, 3] {
        town.originate(n, &[P]).await;
    }
    let (two, three) = (town.v4(2), town.v4(3));
    town.until_hops(1, P, &[two, three]).await;
    let to = |host: std::net::IpAddr, metric| UnderlayRoute {
        prefix: ipnetwork::IpNetwork::from(host),
        metric,
        way: Way::Link("eth0".into()),
    };
    let tell = async |town: &Town, routes: Vec<UnderlayRoute>| {
        town.speaker(1).underlay(Arc::new(routes.into_iter().collect())).await.unwrap();
    };
    tell(&town, vec![to(two, 10), to(three, 20)]).await;
    town.until_hops(1, P, &[two]).await;
    tell(&town, vec![to(three, 20)]).await;
    town.until_hops(1, P, &[three]).await;
    tell(&town, vec![]).await;
    town.until_gone(1, P).await;
    let routes = town.speaker(1).routes(RouteQuery::default()).await.unwrap();
    assert!(routes.iter().all(|route| route.standing == "NextHopUnreachable"), "{routes:?}");
    tell(&town, vec![to(two, 7), to(three, 7)]).await;
    town.until_hops(1, P, &[two, three]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_listed_in_pages_in_the_order_of_its_prefixes() {
    let mut town = Town::new(38, 1);
    town.start(1, |_| {});
    let v4: Vec<String> = (0..5000).map(|n| format!("10.{}.{}.0/24", n % 200, n / 200)).collect();
    let v6: Vec<String> = (0..700).map(|n| format!("fd00:{n:x}::/64")).collect();
    town.originate(1, &v4.iter().chain(&v6).map(String::as_str).collect::<Vec<_>>()).await;
    let mut listing = town.speaker(1).list_routes(RouteQuery::default());
    let mut listed = Vec::new();
    while let Some(page) = listing.next().await.unwrap() {
        assert!((1..=1000).contains(&page.len()));
        if listed.is_empty() {
            // The table goes on changing: what is gone before its page is made is left out.
            town.withdraw(1, &["fd00:5::/64"]).await;
        }
        listed.extend(page.into_iter().map(|route| route.prefix));
    }
    assert_eq!(listed.len(), 5699);
    assert!(listed.is_sorted_by(|a, b| (a.is_ipv6(), a) < (b.is_ipv6(), b)));
    let v6_only = RouteQuery { family: Some(Family::Ipv6Unicast), ..RouteQuery::default() };
    assert_eq!(town.speaker(1).routes(v6_only).await.unwrap().len(), 699);
    let contradiction = RouteQuery {
        family: Some(Family::Ipv6Unicast),
        prefix: Some(network(&v4[0])),
        ..RouteQuery::default()
    };
    assert!(town.speaker(1).routes(contradiction).await.unwrap().is_empty());
}
