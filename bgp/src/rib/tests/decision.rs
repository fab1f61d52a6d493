//! The steps of the decision, each by a table.

use super::*;

const P: &str = "10.1.0.0/24";

/// Peer 1 loses to peer 2 by exactly this step.
fn loses_by(world: &World, why: WhyNot) {
    assert_eq!(world.best(P), Some(2), "{:?}", world.explain(P));
    assert_eq!(world.standing(1, P), Some(PathStanding::NotBest(why)));
}

#[test]
fn a_path_originated_here_wins_before_all_else() {
    let mut world = World::with_external(1);
    world.announce(1, P, &path(&[1]));
    world.originate(P);
    assert_eq!(world.best(P), Some(0));
    assert_eq!(world.standing(1, P), Some(PathStanding::NotBest(WhyNot::LocalOrigination)));
}

#[test]
fn the_higher_local_pref_wins() {
    let mut world = World::new();
    world.up(1, Source::Ibgp);
    world.up(2, Source::Ibgp);
    world.announce(1, P, &AttributeSet { local_pref: Some(100), ..path(&[1]) });
    world.announce(2, P, &AttributeSet { local_pref: Some(200), ..path(&[1, 2, 3]) });
    loses_by(&world, WhyNot::LocalPref);
}

#[test]
fn local_pref_of_an_external_peer_means_nothing() {
    let mut world = World::with_external(2);
    world.announce(1, P, &AttributeSet { local_pref: Some(900), ..path(&[1, 3]) });
    world.announce(2, P, &path(&[2]));
    loses_by(&world, WhyNot::AsPathLength);
}

#[test]
fn the_lower_origin_wins() {
    let mut world = World::with_external(2);
    let origin = crate::wire::attribute::Origin::Incomplete;
    world.announce(1, P, &AttributeSet { origin, ..path(&[1]) });
    world.announce(2, P, &path(&[2]));
    loses_by(&world, WhyNot::Origin);
}

#[test]
fn med_compares_only_within_one_neighbour_as() {
    let mut world = World::with_external(2);
    world.announce(1, P, &AttributeSet { med: Some(50), ..path(&[7]) });
    world.announce(2, P, &AttributeSet { med: Some(10), ..path(&[7]) });
    loses_by(&world, WhyNot::Med);

    world.announce(2, P, &AttributeSet { med: Some(10), ..path(&[8]) });
    assert_eq!(world.best(P), Some(1), "another AS: the lower router id decides");
}

#[test]
fn an_external_path_beats_an_internal_one() {
    let mut world = World::new();
    world.up(1, Source::Ibgp);
    world.up(2, Source::Ebgp);
    world.announce(1, P, &path(&[7]));
    world.announce(2, P, &path(&[8]));
    loses_by(&world, WhyNot::InternalPeer);
}

#[test]
fn the_nearer_next_hop_wins() {
    let mut world = World::with_external(2);
    world.announce(1, P, &path(&[1]));
    world.announce(2, P, &path(&[2]));
    let hop = world.rib.next_hop(address("192.0.2.1")).unwrap();
    world.apply(Change::NextHop(hop, Reach::At(20), None));
    world.settle();
    loses_by(&world, WhyNot::IgpMetric);
}

#[test]
fn an_unreachable_next_hop_takes_no_part_and_says_so() {
    let mut world = World::with_external(2);
    world.announce(1, P, &path(&[1]));
    world.announce(2, P, &path(&[2, 2]));
    let hop = world.rib.next_hop(address("192.0.2.1")).unwrap();
    world.apply(Change::NextHop(hop, Reach::Unreachable, None));
    world.settle();
    assert_eq!(world.best(P), Some(2));
    let standing = PathStanding::Rejected(WhyRejected::NextHopUnreachable);
    assert_eq!(world.standing(1, P), Some(standing));
}

#[test]
fn the_originator_id_stands_in_for_the_router_id() {
    let mut world = World::new();
    world.up(1, Source::Ibgp);
    world.up(2, Source::Ibgp);
    let from = |last| Some(Ipv4Addr::new(10, 0, 0, last));
    world.announce_by(1, P, &AttributeSet { originator_id: from(9), ..path(&[]) }, address("192.0.2.50"));
    world.announce_by(2, P, &AttributeSet { originator_id: from(3), ..path(&[]) }, address("192.0.2.50"));
    loses_by(&world, WhyNot::RouterId);
}

#[test]
fn the_shorter_cluster_list_wins_a_tie_of_originators() {
    let mut world = World::new();
    world.up(1, Source::Ibgp);
    world.up(2, Source::Ibgp);
    let originator_id = Some(Ipv4Addr::new(10, 0, 0, 50));
    let cluster = |n| Ipv4Addr::new(10, 9, 0, n);
    let long = AttributeSet {
        originator_id,
        cluster_list: [cluster(1), cluster(2)].into_iter().collect(),
        ..path(&[])
    };
    let short = AttributeSet { originator_id, cluster_list: [cluster(3)].into_iter().collect(), ..path(&[]) };
    world.announce_by(1, P, &long, address("192.0.2.50"));
    world.announce_by(2, P, &short, address("192.0.2.50"));
    loses_by(&world, WhyNot::ClusterListLength);
}

#[test]
fn the_lower_peer_address_is_the_last_word() {
    let mut world = World::new();
    world.up_as(1, PeerFacts { key: Some(PeerKey::from(address("192.0.2.200"))), ..peer(7, Source::Ebgp) });
    world.up_as(2, PeerFacts { key: Some(PeerKey::from(address("192.0.2.100"))), ..peer(7, Source::Ebgp) });
    world.announce_by(1, P, &path(&[1]), address("192.0.2.50"));
    world.announce_by(2, P, &path(&[2]), address("192.0.2.50"));
    loses_by(&world, WhyNot::PeerAddress);
}

#[test]
fn paths_that_lose_only_tie_breaks_are_used_side_by_side() {
    let mut world = World::with_external(4);
    world.announce(1, P, &path(&[1]));
    world.announce(2, P, &path(&[2]));
    world.announce(3, P, &path(&[3, 3]));
    world.announce_by(4, P, &path(&[4]), address("192.0.2.1"));
    assert_eq!(world.standing(1, P), Some(PathStanding::Best));
    assert_eq!(world.standing(2, P), Some(PathStanding::Multipath(WhyNot::RouterId)));
    assert_eq!(world.standing(3, P), Some(PathStanding::NotBest(WhyNot::AsPathLength)));
    assert_eq!(
        world.standing(4, P),
        Some(PathStanding::NotBest(WhyNot::RouterId)),
        "its next hop is in use already"
    );
}
