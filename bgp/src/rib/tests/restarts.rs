//! Paths of peers that are away (RFC 4724 §4.2).

use super::*;
use crate::wire::attribute::Community;

const P: &str = "10.1.0.0/24";
const Q: &str = "10.2.0.0/24";
const R: &str = "10.3.0.0/24";

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

/// What a follower of best paths is told: prefixes with the peer of their first path, and whose tables are complete.
fn pull_best(world: &mut World, feed: Consumer) -> (Vec<(String, Option<u16>)>, Vec<u16>) {
    let (mut changes, mut ended) = (Vec::new(), Vec::new());
    loop {
        let mut batch = BestBatch::default();
        let state = world.rib.pull_best(feed, 2, &mut batch);
        let told =
            batch.changes.iter().map(|(prefix, paths)| (prefix.to_string(), paths.first().map(|p| p.peer.0)));
        changes.extend(told);
        ended.extend(batch.end_of_rib.iter().map(|slot| slot.0));
        if state == MoreOrLess::Drained {
            // What changes beside a first walk is told twice.
            changes.dedup();
            return (changes, ended);
        }
    }
}

#[test]
fn after_a_restart_only_own_routes_are_chosen_until_all_is_heard() {
    let mut world = World::new();
    world.rib.defer_selection();
    let feed = world.rib.open_best();
    let group = world.rib.open_group(profile(Some(Asn(9))));
    world.rib.join(group, PeerSlot(9));
    let mut listener = Listener::new(9);
    world.up(1, Source::Ebgp);
    world.up(2, Source::Ebgp);
    world.originate(Q);
    world.announce(1, P, &path(&[1, 2, 3]));
    world.apply(Change::EndOfRib(PeerSlot(1)));
    world.settle();
    listener.hear(&world.pull(group));
    assert_eq!(listener.knows(), [Q], "what is its own goes out at once");
    assert_eq!(pull_best(&mut world, feed), (vec![(Q.to_owned(), Some(0))], vec![]));
    assert!(!world.rib.has_news(feed), "an end that may not be told is no news");
    let waits = PathStanding::Rejected(WhyRejected::SelectionDeferred);
    assert_eq!(world.standing(1, P), Some(waits));

    // The better path comes last: the one before it is never told of.
    world.announce(2, P, &path(&[2]));
    world.rib.select();
    assert!(!world.rib.has_selected());
    world.settle();
    assert!(world.rib.has_selected());
    assert_eq!(pull_best(&mut world, feed), (vec![(P.to_owned(), Some(2))], vec![1]));
    listener.hear(&world.pull(group));
    assert_eq!(listener.knows(), [P, Q]);
    world.rib.select();
    assert!(world.rib.has_selected(), "that is done once");
}

#[test]
fn several_that_are_away_together_are_kept_together_and_each_gives_way_to_the_first_that_is_back() {
    let mut world = World::with_external(3);
    for n in 1..=3 {
        world.announce(n, P, &path(&[n.into()]));
    }
    for n in 1..=3 {
        world.apply(Change::Stale(PeerSlot(n)));
    }
    world.settle();
    assert_eq!(world.explain(P).paths.iter().filter(|path| path.standing.is_used()).count(), 3);
    // The second is back, with a longer path than any.
    world.up(4, Source::Ebgp);
    world.announce(4, P, &path(&[2, 2, 2, 2]));
    assert_eq!(world.best(P), Some(4));
    assert!((1..=3).all(|n| world.standing(n, P) == Some(PathStanding::NotBest(WhyNot::Stale))));
    // It goes for good: what is left of the others serves again.
    world.down(4);
    world.settle();
    assert_eq!(world.best(P), Some(1));
}

#[test]
fn a_path_that_somebody_has_kept_for_long_is_the_least_preferred_of_all() {
    let mut world = World::with_external(3);
    let kept = AttributeSet { communities: vec![Community::LLGR_STALE], local_pref: Some(900), ..path(&[1]) };
    world.announce(1, P, &kept);
    assert_eq!(world.best(P), Some(1), "it is better than none");
    world.announce(2, P, &path(&[2, 3, 4, 5]));
    world.apply(Change::Stale(PeerSlot(2)));
    world.settle();
    assert_eq!(world.best(P), Some(2), "also one whose peer has just gone is better");
    assert_eq!(world.standing(1, P), Some(PathStanding::NotBest(WhyNot::LongLivedStale)));
}

#[test]
fn what_is_kept_of_a_peer_long_away_is_marked_and_told_to_those_who_know_of_such_paths() {
    let mut world = World::with_external(2);
    let knows = world.rib.open_group(profile(Some(Asn(8))));
    let knows_not = world.rib.open_group(EgressProfile { long_lived: false, ..profile(Some(Asn(9))) });
    world.rib.join(knows, PeerSlot(8));
    world.rib.join(knows_not, PeerSlot(9));
    let (mut one, mut other) = (Listener::new(8), Listener::new(9));
    world.announce(1, P, &path(&[1]));
    world.announce(2, P, &path(&[2, 3, 4, 5]));
    world.announce(1, Q, &path(&[1]));
    let never = AttributeSet { communities: vec![Community::NO_LLGR], ..path(&[1]) };
    world.announce(1, R, &never);
    world.apply(Change::Stale(PeerSlot(1)));
    world.settle();
    for (listener, group) in [(&mut one, knows), (&mut other, knows_not)] {
        listener.hear(&world.pull(group));
        assert_eq!(listener.knows(), [P, Q, R], "stale paths are told like any other");
    }
    world.apply(Change::LongLived(PeerSlot(1)));
    world.settle();
    assert_eq!(world.best(P), Some(2));
    assert_eq!(world.standing(1, P), Some(PathStanding::NotBest(WhyNot::LongLivedStale)));
    assert_eq!(world.standing(1, R), Some(PathStanding::Rejected(WhyRejected::NotKeptLong)));
    assert_eq!((world.best(Q), world.best(R)), (Some(1), None));
    one.hear(&world.pull(knows));
    other.hear(&world.pull(knows_not));
    assert_eq!((one.knows(), other.knows()), (vec![P.to_owned(), Q.to_owned()], vec![P.to_owned()]));
    assert_eq!(one.routes[&prefix(Q)].0.communities, [Community::LLGR_STALE]);
    world.apply(Change::Down(PeerSlot(1)));
    world.settle();
    assert_eq!((world.best(P), world.best(Q)), (Some(2), None));
}

#[test]
fn a_peer_that_is_back_is_not_told_its_own_stale_paths_and_others_are() {
    let mut world = World::with_external(2);
    let group = world.rib.open_group(profile(Some(Asn(9))));
    world.rib.join(group, PeerSlot(1));
    world.rib.join(group, PeerSlot(2));
    let (mut back, mut other, mut late) = (Listener::new(3), Listener::new(2), Listener::new(4));
    world.announce(1, P, &path(&[1]));
    world.announce(1, Q, &path(&[1]));
    world.announce(2, R, &path(&[2]));
    other.hear(&world.pull(group));
    world.apply(Change::Stale(PeerSlot(1)));
    world.rib.leave(group, PeerSlot(1));
    world.settle();
    world.apply(Change::Returned(PeerSlot(1), PeerSlot(3)));
    for slot in [3, 4] {
        world.up(slot, Source::Ebgp);
        world.rib.join(group, PeerSlot(slot.into()));
    }
    for listener in [&mut back, &mut late] {
        let (batch, rest) = world.rib.catch_up_from(group, PeerSlot(listener.slot), DestId::FIRST, 99);
        assert!(rest.is_none());
        listener.hear(&batch.bundles);
    }
    assert_eq!(
        (back.knows(), late.knows()),
        (vec![R.to_owned()], vec![P.to_owned(), Q.to_owned(), R.to_owned()])
    );
    let missed = [P, Q, R].map(|text| Nlri { prefix: prefix(text), path_id: 0 });
    back.hear(&world.rib.catch_up(group, PeerSlot(3), &missed).bundles);
    assert_eq!(back.knows(), [R]);
    // What is marked meanwhile is told to the others alone, and so is what the peer says anew.
    world.apply(Change::LongLived(PeerSlot(1)));
    world.settle();
    world.announce(3, P, &path(&[1]));
    let news = world.pull(group);
    [&mut back, &mut other, &mut late].into_iter().for_each(|listener| listener.hear(&news));
    assert_eq!((back.knows(), other.knows()), (vec![R.to_owned()], vec![P.to_owned(), Q.to_owned()]));
    assert!(other.routes[&prefix(P)].0.communities.is_empty());
    assert_eq!(other.routes[&prefix(Q)].0.communities, [Community::LLGR_STALE]);
    world.apply(Change::Down(PeerSlot(1)));
    world.settle();
    let news = world.pull(group);
    [&mut back, &mut other].into_iter().for_each(|listener| listener.hear(&news));
    assert_eq!((back.knows(), other.knows()), (vec![R.to_owned()], vec![P.to_owned()]));
}
