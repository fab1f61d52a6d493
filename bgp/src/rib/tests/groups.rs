//! What peers are told.

use super::*;
use crate::policy::{Condition, NextHopChange, Operation, PrefixMatch, Rule, Verdict};
use crate::wire::attribute::Community;

const P: &str = "10.1.0.0/24";

/// What a peer outside the world is told of `P` under a profile.
fn told(world: &mut World, profile: EgressProfile) -> Option<(Arc<AttributeSet>, IpAddr)> {
    let group = world.rib.open_group(profile);
    world.rib.join(group, PeerSlot(200));
    let mut listener = Listener::new(200);
    listener.hear(&world.pull(group));
    listener.routes.remove(&prefix(P))
}

#[test]
fn an_external_peer_is_told_with_our_as_in_front_and_without_local_matters() {
    let mut world = World::new();
    world.up(1, Source::Ibgp);
    let set = AttributeSet { local_pref: Some(200), med: Some(7), ..path(&[7]) };
    world.announce(1, P, &set);
    let (out, next_hop) = told(&mut world, profile(Some(Asn(65001)))).unwrap();
    assert_eq!(out.as_path.to_string(), "64512 7");
    assert_eq!((out.local_pref, out.med), (None, None));
    assert_eq!(next_hop, address("192.0.2.99"));
}

#[test]
fn med_of_an_own_route_goes_to_an_external_peer() {
    let mut world = World::new();
    let set = AttributeSet { med: Some(7), ..path(&[]) };
    let nlri = [Nlri { prefix: prefix(P), path_id: 0 }];
    world.apply(Change::Announce(PeerSlot::LOCAL, Attrs { set: &set, next_hop: None }, &nlri));
    assert_eq!(told(&mut world, profile(Some(Asn(65001)))).unwrap().0.med, Some(7));
}

#[test]
fn an_internal_peer_is_told_with_local_pref_and_the_next_hop_as_it_is() {
    let mut world = World::with_external(1);
    world.announce(1, P, &path(&[1]));
    let (out, next_hop) = told(&mut world, profile(None)).unwrap();
    assert_eq!(out.local_pref, Some(100));
    assert_eq!(out.as_path.to_string(), "1");
    assert_eq!(next_hop, address("192.0.2.1"));
}

#[test]
fn the_next_hop_follows_the_mode() {
    let (learned, own) = (address("192.0.2.1"), address("192.0.2.99"));
    for (mode, external_peer, wanted) in [
        (NextHopMode::Auto, None, learned),
        (NextHopMode::Auto, Some(Asn(65001)), own),
        (NextHopMode::SelfAlways, None, own),
        (NextHopMode::Keep, Some(Asn(65001)), learned),
    ] {
        let mut world = World::with_external(1);
        world.announce(1, P, &path(&[1]));
        let profile = EgressProfile { next_hop: mode, ..profile(external_peer) };
        assert_eq!(told(&mut world, profile).map(|(_, hop)| hop), Some(wanted), "{mode:?} {external_peer:?}");
    }
}

#[test]
fn without_a_next_hop_of_the_family_an_own_route_is_not_told() {
    let mut world = World::new();
    world.originate(P);
    assert!(told(&mut world, EgressProfile { own_next_hop: None, ..profile(None) }).is_none());
}

#[test]
fn internal_routes_go_to_internal_peers_only_by_reflection() {
    for (from_client, to_client, reflected) in
        [(false, false, false), (true, false, true), (false, true, true), (true, true, true)]
    {
        let mut world = World::new();
        world.up_as(1, PeerFacts { client: from_client, ..peer(1, Source::Ibgp) });
        world.announce(1, P, &path(&[]));
        let out = told(&mut world, EgressProfile { client: to_client, ..profile(None) });
        assert_eq!(out.is_some(), reflected, "from client {from_client}, to client {to_client}");
        if let Some((out, next_hop)) = out {
            assert_eq!(out.originator_id, Some(Ipv4Addr::new(10, 0, 0, 1)));
            assert_eq!(out.cluster_list.as_slice(), [identity().cluster_id]);
            assert_eq!(next_hop, address("192.0.2.1"), "a reflector leaves the next hop alone");
        }
    }
}

#[test]
fn a_reflected_route_keeps_its_originator_and_gets_our_cluster_in_front() {
    let mut world = World::new();
    world.up_as(1, PeerFacts { client: true, ..peer(1, Source::Ibgp) });
    let before = Ipv4Addr::new(10, 9, 9, 9);
    let set = AttributeSet {
        originator_id: Some(before),
        cluster_list: [before].into_iter().collect(),
        ..path(&[])
    };
    world.announce(1, P, &set);
    let (out, _) = told(&mut world, profile(None)).unwrap();
    assert_eq!(out.originator_id, Some(before));
    assert_eq!(out.cluster_list.as_slice(), [identity().cluster_id, before]);
}

#[test]
fn well_known_communities_are_obeyed() {
    for (community, internal, external) in [
        (0xffff_ff01, true, false),
        (0xffff_ff02, false, false),
        (0xffff_ff03, true, false),
        (0x0001_0001, true, true),
    ] {
        let mut world = World::with_external(1);
        world.announce(1, P, &AttributeSet { communities: vec![Community(community)], ..path(&[1]) });
        assert_eq!(told(&mut world, profile(None)).is_some(), internal, "{community:x} inside");
        assert_eq!(told(&mut world, profile(Some(Asn(65001)))).is_some(), external, "{community:x} outside");
    }
}

#[test]
fn a_peer_is_not_told_its_own_route_and_hears_of_a_better_one() {
    let mut world = World::with_external(2);
    let group = world.rib.open_group(profile(Some(Asn(65001))));
    let (mut one, mut two) = (Listener::new(1), Listener::new(2));
    world.rib.join(group, PeerSlot(1));
    world.rib.join(group, PeerSlot(2));
    let mut step = |world: &mut World| {
        let bundles = world.pull(group);
        one.hear(&bundles);
        two.hear(&bundles);
        (one.knows().len(), two.knows().len())
    };
    world.announce(1, P, &path(&[1, 9]));
    assert_eq!(step(&mut world), (0, 1));
    world.announce(2, P, &path(&[2]));
    assert_eq!(step(&mut world), (1, 0), "what peer 2 was told of peer 1's path is taken back");
    assert_eq!(world.rib.announced(group, PeerSlot(2)), 0);
    assert_eq!(world.rib.announced(group, PeerSlot(1)), 1);
    world.withdraw(2, P);
    assert_eq!(step(&mut world), (0, 1));
    world.withdraw(1, P);
    assert_eq!(step(&mut world), (0, 0));
}

#[test]
fn prefixes_of_one_attribute_set_are_told_together() {
    let mut world = World::with_external(1);
    let group = world.rib.open_group(profile(None));
    world.rib.join(group, PeerSlot(200));
    for third in 0..50 {
        world.announce(1, &format!("10.1.{third}.0/24"), &path(&[1]));
    }
    let mut batch = GroupBatch::default();
    world.rib.pull_group(group, 100, &mut batch);
    assert_eq!(batch.bundles.len(), 1);
    assert_eq!(batch.bundles[0].prefixes.len(), 50);
}

#[test]
fn another_export_policy_sends_only_differences() {
    let mut world = World::new();
    for third in 0..10 {
        world.originate(&format!("10.1.{third}.0/24"));
    }
    world.originate("10.2.0.0/24");
    let group = world.rib.open_group(profile(None));
    world.rib.join(group, PeerSlot(200));
    let mut listener = Listener::new(200);
    listener.hear(&world.pull(group));
    assert_eq!(listener.knows().len(), 11);

    let rule = Rule::reject("Pool", [PrefixMatch::within("10.2.0.0/16".parse().unwrap())]);
    let export = Arc::new(Policy::new(vec![rule], Verdict::Accept));
    let forked = world.rib.fork_group(group, EgressProfile { export, ..profile(None) });
    assert!(world.rib.differences(group, forked, PeerSlot(200)).is_empty());
    world.rib.join(forked, PeerSlot(200));
    world.rib.close_consumer(group);
    let bundles = world.pull(forked);
    assert_eq!(bundles.iter().map(|bundle| bundle.prefixes.len()).sum::<usize>(), 1);
    listener.hear(&bundles);
    assert_eq!(listener.knows().len(), 10);
}

#[test]
fn a_group_that_ends_leaves_its_name_to_nobody() {
    let mut world = World::with_external(1);
    let first = world.rib.open_group(profile(None));
    world.rib.close_consumer(first);
    let second = world.rib.open_group(profile(None));
    assert_eq!(second.index(), first.index(), "its place is taken");
    assert_ne!(second, first);
}

#[test]
fn a_late_member_catches_up_with_what_the_group_was_told() {
    let mut world = World::with_external(1);
    let group = world.rib.open_group(profile(None));
    assert!(world.rib.join(group, PeerSlot(200)), "nothing was told yet");
    for third in 0..10 {
        world.announce(1, &format!("10.1.{third}.0/24"), &path(&[1]));
    }
    let mut first = Listener::new(200);
    first.hear(&world.pull(group));
    assert!(!world.rib.join(group, PeerSlot(201)));
    let mut late = Listener::new(201);
    let mut cursor = Some(DestId::FIRST);
    while let Some(from) = cursor {
        let (batch, next) = world.rib.catch_up_from(group, PeerSlot(201), from, 3);
        late.hear(&batch.bundles);
        cursor = next;
    }
    assert_eq!(late.routes, first.routes);
}

#[test]
fn a_member_that_missed_changes_is_told_the_present_state_of_them() {
    let mut world = World::with_external(1);
    let group = world.rib.open_group(profile(None));
    world.rib.join(group, PeerSlot(200));
    world.announce(1, "10.1.0.0/24", &path(&[1]));
    world.announce(1, "10.2.0.0/24", &path(&[1]));
    let mut slow = Listener::new(200);
    slow.hear(&world.pull(group));
    world.withdraw(1, "10.1.0.0/24");
    world.announce(1, "10.3.0.0/24", &path(&[1]));
    world.pull(group);
    let missed = ["10.1.0.0/24", "10.3.0.0/24"].map(|text| Nlri::from(prefix(text)));
    slow.hear(&world.rib.catch_up(group, PeerSlot(200), &missed).bundles);
    assert_eq!(slow.knows(), ["10.2.0.0/24", "10.3.0.0/24"]);
}

/// What one path becomes on its way to a peer.
fn sent(profile: EgressProfile, set: &AttributeSet, own: bool) -> Option<(AttributeSet, IpAddr)> {
    let mut world = World::with_external(1);
    if own {
        let nlri = [Nlri { prefix: prefix("10.1.0.0/24"), path_id: 0 }];
        world.apply(Change::Announce(PeerSlot::LOCAL, Attrs { set, next_hop: None }, &nlri));
    } else {
        world.announce(1, "10.1.0.0/24", set);
    }
    let group = world.rib.open_group(profile);
    world.rib.join(group, PeerSlot(200));
    let bundles = world.pull(group);
    bundles.first().and_then(|bundle| bundle.attributes.clone()).map(|(set, hop)| ((*set).clone(), hop))
}

#[test]
fn a_link_local_next_hop_is_told_to_nobody_else() {
    for mode in [NextHopMode::Auto, NextHopMode::Keep] {
        let mut world = World::new();
        world.up_as(1, PeerFacts { client: true, ..peer(1, Source::Ibgp) });
        let group = world.rib.open_group(EgressProfile { next_hop: mode, ..profile(None) });
        world.rib.join(group, PeerSlot(200));
        world.announce_by(1, "10.1.0.0/24", &path(&[]), address("fe80::1"));
        let told = world.pull(group);
        let hops: Vec<_> = told.iter().map(|bundle| bundle.attributes.as_ref().unwrap().1).collect();
        assert_eq!(hops, [address("192.0.2.99")], "{mode:?}");
    }
}

fn exporting(rule: Rule, external_peer: Option<Asn>) -> EgressProfile {
    let export = Arc::new(Policy::new(vec![rule], Verdict::Accept));
    EgressProfile { export, ..profile(external_peer) }
}

#[test]
fn an_export_policy_changes_what_is_sent_and_our_as_comes_first_all_the_same() {
    let external = Some(Asn(65001));
    let rule = Rule::accept("Worse", [])
        .with(Operation::Prepend(vec![Asn(1), Asn(2)]))
        .with(Operation::Med(Some(50)))
        .with(Operation::LocalPref(7));
    let (set, _) = sent(exporting(rule.clone(), external), &path(&[9]), false).unwrap();
    assert_eq!(set.as_path.to_string(), format!("{} 1 2 9", LOCAL_AS.0));
    assert_eq!((set.med, set.local_pref), (Some(50), None));
    let (set, hop) = sent(exporting(rule, None), &path(&[9]), false).unwrap();
    assert_eq!((set.as_path.to_string(), set.local_pref), ("1 2 9".to_owned(), Some(7)));
    assert_eq!(hop, address("192.0.2.1"), "internal peers are told the next hop as it came");
    let own_side = Rule::accept("Self", []).with(Operation::NextHop(NextHopChange::OwnSide));
    assert_eq!(sent(exporting(own_side, None), &path(&[9]), false).unwrap().1, address("192.0.2.99"));
}

#[test]
fn an_export_policy_tells_learned_from_own() {
    let learned = Rule::reject("Learned", []).when(Condition::Learned);
    assert_eq!(sent(exporting(learned.clone(), None), &path(&[9]), false), None);
    assert!(sent(exporting(learned, None), &path(&[]), true).is_some());
}

#[test]
fn a_shared_as_is_overridden_and_private_ones_are_taken_out() {
    let site = EgressProfile { as_override: Some(Asn(65001)), ..profile(Some(Asn(65001))) };
    let (set, _) = sent(site, &path(&[65001, 7, 65001]), false).unwrap();
    assert_eq!(set.as_path.to_string(), format!("{0} {0} 7 {0}", LOCAL_AS.0));
    let public = EgressProfile { remove_private_as: true, ..profile(Some(Asn(7))) };
    let (set, _) = sent(public, &path(&[64999, 8, 4_200_000_001]), false).unwrap();
    assert_eq!(set.as_path.to_string(), format!("{} 8", LOCAL_AS.0));
}

#[test]
fn an_external_peer_without_a_policy_gets_nothing_where_one_is_required() {
    let required = EgressProfile { export: Arc::new(Policy::required()), ..profile(Some(Asn(65001))) };
    assert_eq!(sent(required, &path(&[9]), false), None);
}
