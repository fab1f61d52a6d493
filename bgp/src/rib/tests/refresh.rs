//! What a peer does not repeat between the marks of a refresh is gone (RFC 7313).

use super::*;

fn third(third: u8) -> String {
    format!("10.1.{third}.0/24")
}

fn known(world: &World, of: std::ops::Range<u8>) -> Vec<u8> {
    of.filter(|one| world.best(&third(*one)).is_some()).collect()
}

fn full() -> World {
    let mut world = World::with_external(2);
    (0..10).for_each(|one| world.announce(1, &third(one), &path(&[1])));
    world.announce(2, "10.2.0.0/24", &path(&[2]));
    world
}

const ONE: PeerSlot = PeerSlot(1);

#[test]
fn what_is_not_repeated_goes_at_the_end_and_not_before() {
    let mut world = full();
    world.apply(Change::RefreshBegins(ONE));
    (0..10).filter(|one| one % 3 == 0).for_each(|one| world.announce(1, &third(one), &path(&[1])));
    world.announce(1, &third(20), &path(&[1]));
    world.settle();
    assert_eq!(known(&world, 0..30).len(), 11);
    world.apply(Change::RefreshEnds(ONE));
    world.settle();
    assert_eq!(known(&world, 0..30), [0, 3, 6, 9, 20]);
    assert_eq!(world.best("10.2.0.0/24"), Some(2), "the other peer has not been asked");
    assert_eq!(world.rib.counts(ONE).received, 5);
}

#[test]
fn a_refresh_that_repeats_everything_changes_nothing_for_anybody() {
    let mut world = full();
    let group = world.rib.open_group(profile(None));
    world.rib.join(group, PeerSlot(200));
    world.pull(group);
    for _ in 0..3 {
        world.apply(Change::RefreshBegins(ONE));
        (0..10).for_each(|one| world.announce(1, &third(one), &path(&[1])));
        world.apply(Change::RefreshEnds(ONE));
        world.settle();
    }
    assert_eq!(known(&world, 0..10).len(), 10);
    assert!(world.pull(group).is_empty());
}

#[test]
fn another_beginning_starts_the_round_anew() {
    let mut world = full();
    world.apply(Change::RefreshBegins(ONE));
    world.announce(1, &third(0), &path(&[1]));
    world.apply(Change::RefreshBegins(ONE));
    world.announce(1, &third(5), &path(&[1]));
    world.apply(Change::RefreshEnds(ONE));
    world.settle();
    assert_eq!(known(&world, 0..10), [5]);

    // Also while what the last one did not repeat is still being taken out.
    (0..10).for_each(|one| world.announce(1, &third(one), &path(&[1])));
    world.apply(Change::RefreshBegins(ONE));
    world.announce(1, &third(0), &path(&[1]));
    world.apply(Change::RefreshEnds(ONE));
    world.rib.work(3);
    world.apply(Change::RefreshBegins(ONE));
    (1..4).for_each(|one| world.announce(1, &third(one), &path(&[1])));
    world.apply(Change::RefreshEnds(ONE));
    world.settle();
    assert_eq!(known(&world, 0..10), [1, 2, 3]);
}

#[test]
fn an_end_without_a_beginning_means_nothing() {
    let mut world = full();
    world.apply(Change::RefreshEnds(ONE));
    world.settle();
    assert_eq!(known(&world, 0..10).len(), 10);
}

#[test]
fn several_paths_of_a_prefix_are_told_apart() {
    let mut world = World::with_external(1);
    (0..4).for_each(|id| world.announce_path(1, "10.1.0.0/24", id, &path(&[1])));
    world.apply(Change::RefreshBegins(ONE));
    world.announce_path(1, "10.1.0.0/24", 2, &path(&[1]));
    world.apply(Change::RefreshEnds(ONE));
    world.settle();
    let left: Vec<u32> = world.explain("10.1.0.0/24").paths.iter().map(|path| path.path_id).collect();
    assert_eq!(left, [2]);
}
