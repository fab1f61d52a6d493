//! What ends, ends wholly.

use super::*;

#[test]
fn no_route_survives_its_session_and_the_slot_is_free_afterwards() {
    let mut world = World::with_external(2);
    for third in 0..10 {
        world.announce(1, &format!("10.1.{third}.0/24"), &path(&[1]));
        world.announce(2, &format!("10.1.{third}.0/24"), &path(&[2, 2]));
    }
    world.down(1);
    assert!(world.rib.take_swept().is_empty());
    world.settle();
    assert_eq!(world.rib.take_swept(), [PeerSlot(1)]);
    for third in 0..10 {
        let text = format!("10.1.{third}.0/24");
        assert_eq!(world.best(&text), Some(2));
        assert_eq!(world.standing(1, &text), None);
    }
    world.down(2);
    world.settle();
    assert!(world.rib.is_empty());
    assert_eq!(world.rib.attribute_sets(), 0, "a set goes with its last path");
}

#[test]
fn a_session_that_is_over_can_say_nothing_more() {
    let mut world = World::with_external(1);
    world.down(1);
    world.announce(1, "10.1.0.0/24", &path(&[1]));
    world.settle();
    assert!(world.rib.is_empty());
}

#[test]
fn withdrawing_what_is_unknown_changes_nothing() {
    let mut world = World::with_external(2);
    world.announce(1, "10.1.0.0/24", &path(&[1]));
    world.withdraw(2, "10.1.0.0/24");
    world.withdraw(1, "10.9.0.0/24");
    assert_eq!(world.best("10.1.0.0/24"), Some(1));
}

#[test]
fn a_destination_keeps_its_place_until_every_consumer_has_heard_that_it_is_gone() {
    let mut world = World::with_external(1);
    let feed = world.rib.open_best();
    world.announce(1, "10.1.0.0/24", &path(&[1]));
    let mut batch = BestBatch::default();
    world.rib.pull_best(feed, 9, &mut batch);
    world.withdraw(1, "10.1.0.0/24");
    assert_eq!(world.rib.len(), 1, "the feed has still to hear of it");

    let mut batch = BestBatch::default();
    world.rib.pull_best(feed, 9, &mut batch);
    assert_eq!(batch.changes.len(), 1);
    assert!(batch.changes[0].1.is_empty());
    assert!(world.rib.is_empty());
}

#[test]
fn a_consumer_that_ends_lets_go_of_everything() {
    let mut world = World::with_external(1);
    let feed = world.rib.open_best();
    let group = world.rib.open_group(profile(None));
    world.rib.join(group, PeerSlot(1));
    for third in 0..10 {
        world.announce(1, &format!("10.1.{third}.0/24"), &path(&[1]));
    }
    world.pull(group);
    let mut batch = BestBatch::default();
    world.rib.pull_best(feed, 4, &mut batch);
    world.down(1);
    world.rib.close_consumer(feed);
    world.rib.close_consumer(group);
    world.settle();
    assert!(world.rib.is_empty());
    assert_eq!(world.rib.attribute_sets(), 0);
}
