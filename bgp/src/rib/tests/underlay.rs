//! Next hops are reached by the machine's routes.

use super::*;

const P: &str = "10.1.0.0/24";

fn link(prefix: &str, metric: u32, interface: &str) -> UnderlayRoute {
    UnderlayRoute { prefix: prefix.parse().unwrap(), metric, way: Way::Link(interface.into()) }
}

impl World {
    fn underlay(&mut self, routes: impl IntoIterator<Item = UnderlayRoute>) {
        self.apply(Change::Underlay(Arc::new(routes.into_iter().collect())));
        self.settle();
    }
}

#[test]
fn until_somebody_tells_of_routes_every_next_hop_is_reachable_and_then_only_those_that_are() {
    let mut world = World::with_external(2);
    world.announce(1, P, &path(&[1]));
    world.announce_by(2, P, &path(&[2, 2]), address("198.51.100.2"));
    assert_eq!(world.best(P), Some(1));
    world.underlay([link("198.51.100.0/24", 0, "eth1")]);
    assert_eq!(world.best(P), Some(2));
    assert_eq!(world.standing(1, P), Some(PathStanding::Rejected(WhyRejected::NextHopUnreachable)));
    world.underlay([]);
    assert_eq!(world.best(P), None);
    // Those that come later are judged at once.
    world.underlay([link("203.0.113.0/24", 0, "eth2")]);
    world.announce_by(1, P, &path(&[1]), address("203.0.113.9"));
    assert_eq!(world.best(P), Some(1));
    world.announce_by(1, P, &path(&[1]), address("192.0.2.1"));
    assert_eq!(world.best(P), None, "what is not reachable withdraws what was");
}

#[test]
fn the_metric_of_the_route_to_the_next_hop_decides() {
    let mut world = World::with_external(2);
    world.announce(1, P, &path(&[1]));
    world.announce(2, P, &path(&[2]));
    let (one, two) = ("192.0.2.1/32", "192.0.2.2/32");
    world.underlay([link(one, 10, "eth0"), link(two, 20, "eth1")]);
    assert_eq!(world.best(P), Some(1));
    assert_eq!(world.standing(2, P), Some(PathStanding::NotBest(WhyNot::IgpMetric)));
    world.underlay([link(one, 30, "eth0"), link(two, 20, "eth1")]);
    assert_eq!(world.best(P), Some(2));
    world.underlay([link(one, 20, "eth0"), link(two, 20, "eth1")]);
    assert_eq!(world.standing(2, P), Some(PathStanding::Multipath(WhyNot::RouterId)), "equally near");
}

#[test]
fn many_next_hops_that_change_at_once_are_looked_at_in_one_walk() {
    let mut world = World::with_external(1);
    for n in 0..50u8 {
        world.announce_by(1, &format!("10.1.{n}.0/24"), &path(&[1]), IpAddr::from([198, 51, 100, n]));
    }
    world.underlay([link("198.51.100.0/25", 0, "eth1")]);
    let used = |world: &World| (0..50u8).filter(|n| world.best(&format!("10.1.{n}.0/24")).is_some()).count();
    assert_eq!(used(&world), 50);
    world.underlay([link("198.51.100.0/28", 0, "eth1")]);
    assert_eq!(used(&world), 16);
    world.down(1);
    world.settle();
    assert!(world.rib.next_hops.is_empty(), "the walk holds nothing when it is over");
}

#[test]
fn side_by_side_are_used_paths_of_equal_length_or_only_of_equal_ases() {
    for (relax, beside) in [(true, true), (false, false)] {
        let mut world = World::with_external(3);
        let multipath = Multipath { relax, ..identity().multipath };
        world.apply(Change::Identity(Identity { multipath, ..identity() }));
        world.announce(1, P, &path(&[1, 9]));
        world.announce(2, P, &path(&[2, 9]));
        world.announce(3, P, &path(&[1, 9]));
        let standing = world.standing(2, P);
        assert_eq!(standing == Some(PathStanding::Multipath(WhyNot::RouterId)), beside, "{standing:?}");
        assert_eq!(world.standing(3, P), Some(PathStanding::Multipath(WhyNot::RouterId)));
    }
}

#[test]
fn no_more_paths_are_used_than_allowed() {
    let mut world = World::with_external(6);
    (1..=6).for_each(|n| world.announce(n, P, &path(&[n.into()])));
    let used = |world: &World| {
        world
            .explain(P)
            .paths
            .iter()
            .filter(|path| matches!(path.standing, PathStanding::Best | PathStanding::Multipath(_)))
            .count()
    };
    assert_eq!(used(&world), 4);
    world.apply(Change::Identity(Identity { multipath: Multipath::OFF, ..identity() }));
    world.settle();
    assert_eq!(used(&world), 1, "turned off on a running speaker");
}
