//! Several speakers in one process, speaking to each other over loopback addresses.
//!
//! Every test has loopback addresses and a port of its own, so that they run side by side. Nothing sleeps: conditions
//! are waited for, with a deadline.

mod town;

use std::collections::BTreeSet;
use std::sync::Arc;

use caracal_bgp::config::diff::Step;
use caracal_bgp::policy::{Policy, PrefixMatch, Rule, Verdict};
use caracal_bgp::speaker::{Farewell, RouteQuery, SpeakerEvent};
use caracal_bgp::wire::notification::Cease;
use caracal_bgp::{Asn, Family};

use town::{Town, network};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_of_four_learns_routes_of_both_families_and_forgets_what_is_withdrawn() {
    let mut town = Town::mesh(10, 4).await;
    for n in 1..=4u8 {
        town.originate(n, &[&format!("10.244.{n}.0/26"), &format!("fd00:244::{n}:0/122")]).await;
    }
    for n in 1..=4u8 {
        for other in (1..=4).filter(|other| *other != n) {
            town.until_learned(n, &format!("10.244.{other}.0/26"), town.v4(other)).await;
            town.until_learned(n, &format!("fd00:244::{other}:0/122"), town.v6(other)).await;
        }
    }
    town.withdraw(2, &["10.244.2.0/26"]).await;
    for n in [1, 3, 4] {
        town.until_gone(n, "10.244.2.0/26").await;
        assert!(town.has(n, "fd00:244::2:0/122"), "the other family stays");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_routes_of_a_speaker_that_stops_go_and_no_others() {
    let mut town = Town::mesh(11, 3).await;
    for n in 1..=3u8 {
        town.originate(n, &[&format!("10.244.{n}.0/26")]).await;
    }
    for (n, other) in [(1, 2), (1, 3), (3, 2)] {
        town.until_learned(n, &format!("10.244.{other}.0/26"), town.v4(other)).await;
    }
    let mut events = town.speaker(1).events();
    town.speaker(2).stop(Farewell::Cease(Cease::Shutdown)).await;
    town.until_gone(1, "10.244.2.0/26").await;
    town.until_gone(3, "10.244.2.0/26").await;
    assert!(town.has(1, "10.244.3.0/26"));
    let down = town::event(&mut events, |event| matches!(event, SpeakerEvent::PeerDown { .. })).await;
    assert!(matches!(down, SpeakerEvent::PeerDown { key, .. } if key == town.key(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_of_rib_comes_after_a_thousand_routes() {
    let mut town = Town::new(12, 2);
    let routes: Vec<String> = (0..1000).map(|n| format!("10.{}.{}.0/24", 10 + n / 250, n % 250)).collect();
    town.start(1, |_| {});
    town.originate(1, &routes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    town.start(2, |_| {});
    let mut feed = town.speaker(2).feed().await.unwrap();
    let mut seen = BTreeSet::new();
    let mut ended = BTreeSet::new();
    town::within(async {
        while ended.len() < 2 {
            let batch = feed.pull(100).await.unwrap();
            assert!(batch.changes.len() <= 100, "a feed comes in slices");
            seen.extend(batch.changes.iter().filter(|one| one.best.is_some()).map(|one| one.prefix));
            for (key, family) in batch.end_of_rib {
                assert_eq!(key, town.key(1));
                if family == Family::Ipv4Unicast {
                    assert_eq!(seen.len(), 1000, "every route before the end of the table was pulled");
                }
                assert!(ended.insert(family), "told once");
            }
        }
    })
    .await;
    let status = town.peer(2, 1).await;
    assert_eq!((status.ipv4.received, status.ipv4.accepted, status.ipv4.announced), (1000, 1000, 0));
    assert_eq!(town.peer(1, 2).await.ipv4.announced, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_peer_sees_our_as_in_the_path() {
    let mut town = Town::new(13, 2);
    town.start(1, |config| town::set_as(config, 65001, 65002));
    town.start(2, |config| town::set_as(config, 65002, 65001));
    town.originate(1, &["10.244.1.0/26"]).await;
    town.until_learned(2, "10.244.1.0/26", town.v4(1)).await;
    let routes = town.speaker(2).routes(RouteQuery::default()).await.unwrap();
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0].as_path, "65001");
    assert_eq!(routes[0].local_pref, None);
    assert_eq!((routes[0].standing, routes[0].best), ("Best", true));
    assert_eq!(town.peer(2, 1).await.remote_as, Some(Asn(65001)));
}

/// 1 reflects between its clients 2 and 3, which do not know each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reflector_passes_routes_between_clients_and_leaves_the_next_hop_alone() {
    let mut town = Town::new(14, 3);
    town.start(1, |config| config.peers.values_mut().for_each(|peer| peer.reflector_client = true));
    let reflector = town.key(1);
    for n in [2, 3] {
        town.start(n, |config| config.peers.retain(|key, _| *key == reflector));
    }
    town.originate(2, &["10.244.2.0/26", "fd00:244::2:0/122"]).await;
    town.until_learned(3, "10.244.2.0/26", town.v4(2)).await;
    town.until_learned(3, "fd00:244::2:0/122", town.v6(2)).await;
    town.withdraw(2, &["10.244.2.0/26"]).await;
    town.until_gone(3, "10.244.2.0/26").await;
    let own = town.speaker(2).routes(RouteQuery::default()).await.unwrap();
    assert!(own.iter().all(|route| route.peer.is_none()), "nothing comes back to its originator");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn internal_routes_are_not_passed_on_without_reflection() {
    let mut town = Town::new(15, 3);
    town.start(1, |_| {});
    let middle = town.key(1);
    for n in [2, 3] {
        town.start(n, |config| config.peers.retain(|key, _| *key == middle));
    }
    town.originate(2, &["10.244.2.0/26"]).await;
    town.originate(1, &["10.244.1.0/26"]).await;
    town.until_learned(1, "10.244.2.0/26", town.v4(2)).await;
    town.until_learned(3, "10.244.1.0/26", town.v4(1)).await;
    assert!(!town.has(3, "10.244.2.0/26"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_touches_only_the_peer_it_is_about() {
    let mut town = Town::mesh(16, 4).await;
    for n in 2..=4u8 {
        town.originate(n, &[&format!("10.244.{n}.0/26"), &format!("10.99.{n}.0/24")]).await;
        town.until_learned(1, &format!("10.99.{n}.0/24"), town.v4(n)).await;
    }
    let (two, three, four) = (town.key(2), town.key(3), town.key(4));
    let mut events = town.speaker(1).events();

    // Another import policy for one peer, and one peer less.
    let pools = Rule::accept("Pools", vec![PrefixMatch::within(network("10.244.0.0/16"))]);
    let narrow = Arc::new(Policy::new(vec![pools], Verdict::Reject));
    let mut edited = town.config(1).clone();
    edited.peers.get_mut(&two).unwrap().import = Arc::clone(&narrow);
    let removed = edited.peers.remove(&four).unwrap();
    let steps = town.configure(1, edited.clone()).await;
    assert_eq!(steps, [(four, Step::Close), (two, Step::Refresh)]);
    town.until_gone(1, "10.99.2.0/24").await;
    town.until_gone(1, "10.244.4.0/26").await;
    for kept in ["10.244.2.0/26", "10.244.3.0/26", "10.99.3.0/24"] {
        assert!(town.has(1, kept), "{kept}");
    }
    let refused = RouteQuery { prefix: Some(network("10.99.2.0/24")), ..RouteQuery::default() };
    let refused = town.speaker(1).routes(refused).await.unwrap();
    assert_eq!((refused[0].standing, refused[0].best), ("ImportPolicy", false));

    // Back again: what was kept needs no help from the peer.
    edited.peers.get_mut(&two).unwrap().import = Arc::new(Policy::accept_all());
    edited.peers.insert(four, removed);
    let steps = town.configure(1, edited.clone()).await;
    assert_eq!(steps, [(two, Step::Refresh), (four, Step::Open)]);
    town.until_learned(1, "10.99.2.0/24", town.v4(2)).await;
    town.until_learned(1, "10.244.4.0/26", town.v4(4)).await;

    // Another export policy for one peer: it is told the difference, the others nothing.
    town.originate(1, &["10.244.1.0/26", "10.99.1.0/24"]).await;
    for n in 2..=4 {
        town.until_learned(n, "10.99.1.0/24", town.v4(1)).await;
    }
    edited.peers.get_mut(&two).unwrap().export = narrow;
    assert_eq!(town.configure(1, edited.clone()).await, [(two, Step::Reexport)]);
    town.until_gone(2, "10.99.1.0/24").await;
    assert!(town.has(2, "10.244.1.0/26"));
    assert!(town.has(3, "10.99.1.0/24"));
    edited.peers.get_mut(&two).unwrap().export = Arc::new(Policy::accept_all());
    town.configure(1, edited).await;
    town.until_learned(2, "10.99.1.0/24", town.v4(1)).await;

    let flapped: BTreeSet<_> = std::iter::from_fn(|| events.try_recv().ok())
        .filter_map(|event| match event {
            SpeakerEvent::PeerDown { key, .. } => Some(key),
            SpeakerEvent::PeerUp { .. } | SpeakerEvent::EndOfRib { .. } => None,
        })
        .collect();
    assert_eq!(flapped, BTreeSet::from([four]), "neither {two} nor {three} went down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_configuration_is_refused_whole_and_the_present_one_goes_on() {
    let mut town = Town::mesh(17, 2).await;
    let mut wrong = town.config(1).clone();
    let key = town.key(2);
    wrong.peers.get_mut(&key).unwrap().remote_as = Asn(0).into();
    let error = town.speaker(1).configure(wrong).await.unwrap_err();
    assert!(error.to_string().contains("AS 0"), "{error}");
    town.originate(2, &["10.244.2.0/26"]).await;
    town.until_learned(1, "10.244.2.0/26", town.v4(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_session_comes_back_with_its_routes_and_a_refresh_keeps_it() {
    let mut town = Town::mesh(18, 2).await;
    town.originate(2, &["10.244.2.0/26"]).await;
    town.until_learned(1, "10.244.2.0/26", town.v4(2)).await;
    let before = town.peer(1, 2).await.transitions;
    town.speaker(1).refresh(&town.key(2)).await.unwrap();
    assert_eq!(town.peer(1, 2).await.transitions, before);

    let mut events = town.speaker(1).events();
    town.speaker(1).reset(&town.key(2), None).await.unwrap();
    town::event(&mut events, |event| matches!(event, SpeakerEvent::PeerDown { .. })).await;
    town::event(&mut events, |event| matches!(event, SpeakerEvent::PeerUp { .. })).await;
    town.until_learned(1, "10.244.2.0/26", town.v4(2)).await;
}
