//! Paths of peers that are away (RFC 4724 §4.2).

use super::*;

const P: &str = "10.1.0.0/24";
const Q: &str = "10.2.0.0/24";

#[test]
fn a_stale_path_loses_to_any_fresh_one_and_serves_while_it_is_alone() {
    let mut world = World::with_external(2);
    world.announce(1, P, &path(&[1]));
    world.announce(2, P, &path(&[2, 3, 4]));
    world.announce(1, Q, &path(&[1]));
    assert_eq!(world.best(P), Some(1));
    world.apply(Change::Stale(PeerSlot(1)));
    world.settle();
    assert_eq!(world.best(P), Some(2));
    assert_eq!(world.standing(1, P), Some(PathStanding::NotBest(WhyNot::Stale)));
    assert_eq!(world.best(Q), Some(1), "it is the only one");
    world.apply(Change::Down(PeerSlot(1)));
    world.settle();
    assert_eq!((world.best(P), world.best(Q)), (Some(2), None));
}
