//! What is not used is kept with its reason.

use super::*;
use crate::policy::{AnyCommunity, NextHopChange, Operation, PrefixMatch, Rule, Then, Verdict};
use crate::wire::attribute::Community;

const P: &str = "10.1.0.0/24";

fn refusing(text: &str) -> Arc<Policy> {
    let rule = Rule::reject("Refused", [PrefixMatch::within(text.parse().unwrap())]);
    Arc::new(Policy::new(vec![rule], Verdict::Accept))
}

#[test]
fn a_looped_path_withdraws_the_one_before_and_tells_why() {
    let loops = [
        (path(&[7, LOCAL_AS.0]), WhyRejected::AsLoop),
        (
            AttributeSet { originator_id: Some(identity().router_id), ..path(&[]) },
            WhyRejected::OriginatorLoop,
        ),
        (
            AttributeSet { cluster_list: [identity().cluster_id].into_iter().collect(), ..path(&[]) },
            WhyRejected::ClusterLoop,
        ),
    ];
    for (looped, why) in loops {
        let mut world = World::new();
        world.up(1, Source::Ibgp);
        world.announce(1, P, &path(&[]));
        assert_eq!(world.best(P), Some(1));
        world.announce(1, P, &looped);
        assert_eq!(world.best(P), None, "{why:?}");
        assert_eq!(world.standing(1, P), Some(PathStanding::Rejected(why)));
        assert_eq!(world.rib.counts(PeerSlot(1)), PathCounts { received: 1, accepted: 0 });
    }
}

#[test]
fn an_own_address_is_no_next_hop() {
    let mut world = World::with_external(1);
    world.announce_by(1, P, &path(&[1]), address("192.0.2.99"));
    assert_eq!(world.standing(1, P), Some(PathStanding::Rejected(WhyRejected::OwnNextHop)));

    world.apply(Change::Identity(Identity { own: HashSet::new(), ..identity() }));
    world.settle();
    assert_eq!(world.best(P), Some(1), "the address is no longer ours");
}

#[test]
fn a_link_local_next_hop_is_ours_only_on_the_link_where_we_have_it() {
    let mut world = World::new();
    for (n, name, own) in [(1, "eth0", "fe80::1"), (2, "eth1", "fe80::2")] {
        let link = Some(Link {
            interface: Interface::new(name).unwrap(),
            own: own.parse().unwrap(),
            peer: "fe80::9".parse().unwrap(),
        });
        world.up_as(n, PeerFacts { link, ..peer(n, Source::Ebgp) });
        world.announce_by(n, P, &path(&[1]), address("fe80::1"));
    }
    assert_eq!(world.standing(1, P), Some(PathStanding::Rejected(WhyRejected::OwnNextHop)));
    assert_eq!(world.best(P), Some(2), "on the other link it is the neighbour's");
}

#[test]
fn a_changed_policy_judges_kept_paths_again_without_the_peer() {
    let mut world = World::with_external(1);
    for third in 0..20 {
        world.announce(1, &format!("10.1.{third}.0/24"), &path(&[1]));
        world.announce(1, &format!("10.2.{third}.0/24"), &path(&[1]));
    }
    world.filter(1, refusing("10.1.0.0/16"));
    world.settle();
    assert_eq!(world.rib.counts(PeerSlot(1)), PathCounts { received: 40, accepted: 20 });
    assert_eq!(world.best("10.1.7.0/24"), None);
    let explained = world.explain("10.1.7.0/24");
    assert_eq!(explained.paths[0].rule.as_deref(), Some("Refused"));

    world.filter(1, Arc::new(Policy::accept_all()));
    world.settle();
    assert_eq!(world.rib.counts(PeerSlot(1)), PathCounts { received: 40, accepted: 40 });
    assert_eq!(world.best("10.1.7.0/24"), Some(1));
}

#[test]
fn paths_taken_out_while_a_policy_is_applied_do_not_hide_others_from_it() {
    let mut world = World::with_external(1);
    for third in 0..30 {
        world.announce(1, &format!("10.1.{third}.0/24"), &path(&[1]));
    }
    world.filter(1, refusing("10.1.0.0/16"));
    for third in [0, 29, 15, 3, 4] {
        world.rib.work(3);
        world.withdraw(1, &format!("10.1.{third}.0/24"));
    }
    world.settle();
    assert_eq!(world.rib.counts(PeerSlot(1)), PathCounts { received: 25, accepted: 0 });
}

#[test]
fn what_a_filter_makes_of_a_path_decides_and_is_made_again_when_the_filter_changes() {
    let mut world = World::with_external(2);
    world.announce(1, P, &path(&[7, 8, 9]));
    world.announce(2, P, &path(&[7]));
    assert_eq!(world.best(P), Some(2));
    let group = world.rib.open_group(profile(None));
    world.rib.join(group, PeerSlot(200));
    let mut listener = Listener::new(200);
    listener.hear(&world.pull(group));

    let prefer = |local_pref| {
        let rule = Rule::new("Prefer", [], Then::Continue).with(Operation::LocalPref(local_pref));
        Arc::new(Policy::new(vec![rule], Verdict::Accept))
    };
    for local_pref in [200, 300] {
        world.filter(1, prefer(local_pref));
        world.settle();
        assert_eq!(world.best(P), Some(1));
        listener.hear(&world.pull(group));
        assert_eq!(listener.routes[&prefix(P)].0.local_pref, Some(local_pref));
    }
    world.filter(1, Arc::new(Policy::accept_all()));
    world.settle();
    assert_eq!(world.best(P), Some(2));
    listener.hear(&world.pull(group));
    assert_eq!(listener.routes[&prefix(P)].0.local_pref, Some(100));
}

#[test]
fn a_filter_may_set_the_next_hop_but_not_to_our_own_address() {
    let by = |address: &str| {
        let change = NextHopChange::Address(address.parse().unwrap());
        let rule = Rule::accept("By", []).with(Operation::NextHop(change));
        Arc::new(Policy::new(vec![rule], Verdict::Reject))
    };
    let mut world = World::with_external(1);
    world.announce(1, P, &path(&[7]));
    world.filter(1, by("198.51.100.1"));
    world.settle();
    assert_eq!(world.explain(P).paths[0].next_hop, Some(address("198.51.100.1")));
    world.filter(1, by("192.0.2.99"));
    world.settle();
    assert_eq!(world.standing(1, P), Some(PathStanding::Rejected(WhyRejected::OwnNextHop)));
    world.filter(1, by("fd00::1"));
    world.settle();
    assert_eq!(world.explain(P).paths[0].next_hop, Some(address("192.0.2.1")), "of another family");
}

#[test]
fn a_path_that_is_about_to_go_is_the_last_to_be_used_and_says_so_to_others() {
    let mut world = World::with_external(2);
    let leaving = AttributeSet { communities: vec![Community::GRACEFUL_SHUTDOWN], ..path(&[7]) };
    world.announce(1, P, &leaving);
    assert_eq!(world.best(P), Some(1), "better than nothing");
    world.announce(2, P, &path(&[7, 8, 9]));
    assert_eq!(world.best(P), Some(2));
    assert_eq!(world.standing(1, P), Some(PathStanding::NotBest(WhyNot::LocalPref)));
    world.withdraw(2, P);
    let group = world.rib.open_group(profile(None));
    world.rib.join(group, PeerSlot(200));
    let bundles = world.pull(group);
    assert_eq!(bundles[0].attributes.as_ref().unwrap().0.local_pref, Some(0));
}

#[test]
fn an_as_loop_is_allowed_as_often_as_configured() {
    let mut world = World::new();
    world.up_as(1, PeerFacts { allow_own_as: 1, ..peer(1, Source::Ebgp) });
    world.announce(1, P, &path(&[7, LOCAL_AS.0]));
    assert_eq!(world.best(P), Some(1));
    world.announce(1, P, &path(&[7, LOCAL_AS.0, LOCAL_AS.0]));
    assert_eq!(world.standing(1, P), Some(PathStanding::Rejected(WhyRejected::AsLoop)));
}

#[test]
fn an_external_peer_without_a_policy_gives_nothing_where_one_is_required() {
    let mut world = World::new();
    world.up_as(1, PeerFacts { import: Arc::new(Policy::required()), ..peer(1, Source::Ebgp) });
    world.announce(1, P, &path(&[7]));
    assert_eq!(world.standing(1, P), Some(PathStanding::Rejected(WhyRejected::NoPolicy)));
}

#[test]
fn a_rule_that_asks_for_the_interface_looks_again_when_it_is_told() {
    let rule = Rule::reject("Spare", []).when(crate::policy::Condition::Interface("spare*".into()));
    let import = Arc::new(Policy::new(vec![rule], Verdict::Accept));
    let mut world = World::new();
    world.up_as(1, PeerFacts { import, ..peer(1, Source::Ebgp) });
    world.announce(1, P, &path(&[7]));
    assert_eq!(world.best(P), Some(1));
    let hop = world.rib.next_hop(address("192.0.2.1")).unwrap();
    world.apply(Change::NextHop(hop, Reach::At(0), Some("spare0".into())));
    world.settle();
    assert_eq!(world.standing(1, P), Some(PathStanding::Rejected(WhyRejected::ImportPolicy)));
    assert_eq!(world.explain(P).paths[0].rule.as_deref(), Some("Spare"));
    world.apply(Change::NextHop(hop, Reach::At(0), Some("main0".into())));
    world.settle();
    assert_eq!(world.best(P), Some(1));
}

#[test]
fn communities_added_on_the_way_in_are_obeyed_on_the_way_out() {
    let no_export: AnyCommunity = "no-export".parse().unwrap();
    let rule = Rule::new("Mark", [], Then::Continue).with(Operation::AddCommunity(no_export));
    let mut world = World::with_external(1);
    world.filter(1, Arc::new(Policy::new(vec![rule], Verdict::Accept)));
    world.announce(1, P, &path(&[7]));
    let outside = world.rib.open_group(profile(Some(Asn(65001))));
    let inside = world.rib.open_group(profile(None));
    for group in [outside, inside] {
        world.rib.join(group, PeerSlot(200));
    }
    assert!(world.pull(outside).is_empty());
    assert_eq!(world.pull(inside).len(), 1);
}
