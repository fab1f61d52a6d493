//! What is not used is kept with its reason.

use super::*;
use crate::policy::{PrefixMatch, Rule, Verdict};

const P: &str = "10.1.0.0/24";

fn refusing(text: &str) -> Arc<Policy> {
    let rule = Rule {
        name: "Refused".into(),
        prefixes: vec![PrefixMatch::within(text.parse().unwrap())],
        verdict: Verdict::Reject,
    };
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
fn a_changed_policy_judges_kept_paths_again_without_the_peer() {
    let mut world = World::with_external(1);
    for third in 0..20 {
        world.announce(1, &format!("10.1.{third}.0/24"), &path(&[1]));
        world.announce(1, &format!("10.2.{third}.0/24"), &path(&[1]));
    }
    world.apply(Change::Policy(PeerSlot(1), refusing("10.1.0.0/16"), false));
    world.settle();
    assert_eq!(world.rib.counts(PeerSlot(1)), PathCounts { received: 40, accepted: 20 });
    assert_eq!(world.best("10.1.7.0/24"), None);
    let explained = world.explain("10.1.7.0/24");
    assert_eq!(explained.paths[0].rule.as_deref(), Some("Refused"));

    world.apply(Change::Policy(PeerSlot(1), Arc::new(Policy::accept_all()), false));
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
    world.apply(Change::Policy(PeerSlot(1), refusing("10.1.0.0/16"), false));
    for third in [0, 29, 15, 3, 4] {
        world.rib.work(3);
        world.withdraw(1, &format!("10.1.{third}.0/24"));
    }
    world.settle();
    assert_eq!(world.rib.counts(PeerSlot(1)), PathCounts { received: 25, accepted: 0 });
}
