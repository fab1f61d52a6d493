//! Followers of the best paths.

use super::*;

fn pull(world: &mut World, feed: Consumer, budget: usize) -> BestBatch<Ipv4Prefix> {
    let mut batch = BestBatch::default();
    world.rib.pull_best(feed, budget, &mut batch);
    batch
}

#[test]
fn a_feed_starts_with_everything_a_slice_at_a_time() {
    let mut world = World::with_external(1);
    for third in 0..10 {
        world.announce(1, &format!("10.1.{third}.0/24"), &path(&[1]));
    }
    let feed = world.rib.open_best();
    let mut seen = Vec::new();
    while world.rib.has_news(feed) {
        let batch = pull(&mut world, feed, 3);
        assert!(batch.changes.len() <= 3);
        seen.extend(batch.changes.into_iter().map(|(prefix, _)| prefix));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 10);
}

#[test]
fn of_many_changes_the_last_state_is_told_once() {
    let mut world = World::with_external(2);
    let feed = world.rib.open_best();
    pull(&mut world, feed, 9);
    for _ in 0..5 {
        world.announce(1, "10.1.0.0/24", &path(&[1]));
        world.withdraw(1, "10.1.0.0/24");
    }
    world.announce(2, "10.1.0.0/24", &path(&[2]));
    let batch = pull(&mut world, feed, 9);
    assert_eq!(batch.changes.len(), 1);
    assert_eq!(batch.changes[0].1[0].peer, PeerSlot(2));
}

#[test]
fn a_prefix_that_came_and_went_between_two_pulls_is_never_told() {
    let mut world = World::with_external(1);
    let feed = world.rib.open_best();
    pull(&mut world, feed, 9);
    world.announce(1, "10.1.0.0/24", &path(&[1]));
    world.withdraw(1, "10.1.0.0/24");
    assert!(pull(&mut world, feed, 9).changes.is_empty());
    assert!(world.rib.is_empty());
}

#[test]
fn what_does_not_touch_the_paths_in_use_is_no_news() {
    let mut world = World::with_external(2);
    let feed = world.rib.open_best();
    world.announce(1, "10.1.0.0/24", &path(&[1]));
    pull(&mut world, feed, 9);
    pull(&mut world, feed, 9);
    world.announce(2, "10.1.0.0/24", &path(&[2, 2, 2]));
    assert!(!world.rib.has_news(feed));
}

#[test]
fn end_of_rib_is_told_after_every_route_before_it() {
    let mut world = World::with_external(1);
    let feed = world.rib.open_best();
    pull(&mut world, feed, 9);
    for third in 0..5 {
        world.announce(1, &format!("10.1.{third}.0/24"), &path(&[1]));
    }
    world.apply(Change::EndOfRib(PeerSlot(1)));
    world.announce(1, "10.2.0.0/24", &path(&[1]));
    let (mut told, mut ended_after) = (0, None);
    while world.rib.has_news(feed) {
        let batch = pull(&mut world, feed, 2);
        told += batch.changes.len();
        if !batch.end_of_rib.is_empty() {
            assert_eq!(batch.end_of_rib, [PeerSlot(1)]);
            assert_eq!(ended_after.replace(told), None, "told once");
        }
    }
    assert!(ended_after.is_some_and(|told| told >= 5));
}

#[test]
fn a_feed_that_starts_later_hears_of_an_end_of_rib_that_came_before() {
    let mut world = World::with_external(1);
    world.announce(1, "10.1.0.0/24", &path(&[1]));
    world.apply(Change::EndOfRib(PeerSlot(1)));
    let feed = world.rib.open_best();
    let mut ended = Vec::new();
    while world.rib.has_news(feed) {
        ended.extend(pull(&mut world, feed, 9).end_of_rib);
    }
    assert_eq!(ended, [PeerSlot(1)]);
}
