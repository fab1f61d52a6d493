//! Several paths of one prefix, taken and told (RFC 7911).

use std::num::NonZeroU8;

use super::*;
use crate::config::PathsSent;

const P: &str = "10.1.0.0/24";

/// What a member of an add-path group believes: AS_PATH by path identifier.
#[derive(Debug, Default)]
struct Hearer {
    slot: u16,
    paths: BTreeMap<u32, String>,
    messages: usize,
}

impl Hearer {
    fn hear(&mut self, bundles: &[Bundle<Ipv4Prefix>]) {
        for bundle in bundles.iter().filter(|bundle| bundle.audience.includes(PeerSlot(self.slot))) {
            for one in &bundle.prefixes {
                self.messages += 1;
                match &bundle.attributes {
                    Some((set, _)) => self.paths.insert(one.path_id, set.as_path.to_string()),
                    None => self.paths.remove(&one.path_id),
                };
            }
        }
    }

    fn knows(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = self.paths.values().map(String::as_str).collect();
        paths.sort_unstable();
        paths
    }
}

fn telling(paths: PathsSent) -> EgressProfile {
    EgressProfile { paths: Some(paths), ..profile(None) }
}

fn first(count: u8) -> PathsSent {
    PathsSent::First(NonZeroU8::new(count).unwrap())
}

fn hearing(world: &mut World, slot: u16, paths: PathsSent) -> (Consumer, Hearer) {
    let group = world.rib.open_group(telling(paths));
    world.rib.join(group, PeerSlot(slot));
    (group, Hearer { slot, ..Hearer::default() })
}

#[test]
fn a_peer_may_send_several_paths_of_a_prefix_and_takes_them_back_one_by_one() {
    let mut world = World::with_external(1);
    world.announce_path(1, P, 0, &path(&[1, 1]));
    world.announce_path(1, P, 7, &path(&[1]));
    let explained = world.explain(P).paths;
    assert_eq!(explained.iter().map(|path| path.path_id).collect::<Vec<_>>(), [7, 0]);
    assert_eq!(world.rib.counts(PeerSlot(1)).received, 2);
    let nlri = [Nlri { prefix: prefix(P), path_id: 7 }];
    world.apply(Change::Withdraw(PeerSlot(1), &nlri));
    assert_eq!(world.explain(P).paths[0].path_id, 0);
    world.withdraw(1, P);
    assert!(world.rib.is_empty());
}

#[test]
fn every_path_that_could_be_used_is_told_and_no_other() {
    let mut world = World::with_external(4);
    let (group, mut hearer) = hearing(&mut world, 200, PathsSent::All);
    world.announce(1, P, &path(&[1]));
    world.announce(2, P, &path(&[2, 2]));
    world.announce(3, P, &path(&[3, 3, 3]));
    world.announce(4, P, &path(&[4, LOCAL_AS.0]));
    hearer.hear(&world.pull(group));
    assert_eq!(hearer.knows(), ["1", "2 2", "3 3 3"]);
    assert_eq!(world.rib.announced(group, PeerSlot(200)), 3);

    // One that never was the best changes, and another goes: only they are told of.
    hearer.messages = 0;
    world.announce(3, P, &path(&[3, 9, 9]));
    world.withdraw(2, P);
    hearer.hear(&world.pull(group));
    assert_eq!(hearer.knows(), ["1", "3 9 9"]);
    assert_eq!(hearer.messages, 2);

    world.down(1);
    world.settle();
    hearer.hear(&world.pull(group));
    assert_eq!(hearer.knows(), ["3 9 9"]);
}

#[test]
fn an_identifier_is_the_same_as_long_as_the_path_is_there_whatever_its_place() {
    let mut world = World::with_external(2);
    let (group, mut hearer) = hearing(&mut world, 200, PathsSent::All);
    world.announce(1, P, &path(&[1, 1]));
    hearer.hear(&world.pull(group));
    let of_first = *hearer.paths.first_key_value().unwrap().0;
    hearer.messages = 0;
    world.announce(2, P, &path(&[2]));
    hearer.hear(&world.pull(group));
    assert_eq!(
        (hearer.messages, hearer.paths[&of_first].as_str()),
        (1, "1 1"),
        "losing is nothing to tell of"
    );
}

#[test]
fn no_more_paths_are_told_than_asked_for_and_they_are_the_best() {
    let mut world = World::with_external(4);
    let (group, mut hearer) = hearing(&mut world, 200, first(2));
    for (n, asns) in [(1, &[1, 1, 1, 1][..]), (2, &[2, 2]), (3, &[3, 3, 3]), (4, &[4])] {
        world.announce(n, P, &path(asns));
    }
    hearer.hear(&world.pull(group));
    assert_eq!(hearer.knows(), ["2 2", "4"]);
    world.withdraw(4, P);
    hearer.hear(&world.pull(group));
    assert_eq!(hearer.knows(), ["2 2", "3 3 3"]);
}

#[test]
fn a_member_is_not_told_its_own_paths() {
    let mut world = World::with_external(2);
    let group = world.rib.open_group(telling(PathsSent::All));
    let mut hearers = [1, 2].map(|slot| Hearer { slot, ..Hearer::default() });
    for slot in [1, 2] {
        world.rib.join(group, PeerSlot(slot));
    }
    world.announce(1, P, &path(&[1]));
    world.announce(2, P, &path(&[2]));
    let bundles = world.pull(group);
    hearers.iter_mut().for_each(|hearer| hearer.hear(&bundles));
    assert_eq!((hearers[0].knows(), hearers[1].knows()), (vec!["2"], vec!["1"]));
    // The identifier of a path that went is given to another of another peer.
    world.withdraw(1, P);
    let bundles = world.pull(group);
    hearers.iter_mut().for_each(|hearer| hearer.hear(&bundles));
    world.announce_path(2, P, 5, &path(&[2, 5]));
    let bundles = world.pull(group);
    hearers.iter_mut().for_each(|hearer| hearer.hear(&bundles));
    assert_eq!((hearers[0].knows(), hearers[1].knows()), (vec!["2", "2 5"], vec![]));
}

#[test]
fn a_late_member_and_one_that_missed_changes_hear_of_every_path() {
    let mut world = World::with_external(3);
    let (group, mut slow) = hearing(&mut world, 200, PathsSent::All);
    (1..=3).for_each(|n| world.announce(n, P, &path(&[n.into()])));
    let told = world.pull(group);
    slow.hear(&told);
    world.rib.join(group, PeerSlot(201));
    let mut late = Hearer { slot: 201, ..Hearer::default() };
    late.hear(&world.rib.catch_up_from(group, PeerSlot(201), DestId::FIRST, 99).0.bundles);
    assert_eq!(late.paths, slow.paths);

    world.withdraw(2, P);
    let missed: Vec<_> = world.pull(group).into_iter().flat_map(|bundle| bundle.prefixes).collect();
    slow.hear(&world.rib.catch_up(group, PeerSlot(200), &missed).bundles);
    assert_eq!(slow.knows(), ["1", "3"]);
}

#[test]
fn fewer_paths_from_now_on_are_told_by_their_difference() {
    let mut world = World::with_external(3);
    let (group, mut hearer) = hearing(&mut world, 200, PathsSent::All);
    (1..=3).for_each(|n| world.announce(n, P, &path(&vec![n.into(); usize::from(n)])));
    hearer.hear(&world.pull(group));
    let forked = world.rib.fork_group(group, telling(first(1)));
    assert!(world.rib.differences(group, forked, PeerSlot(200)).is_empty());
    world.rib.join(forked, PeerSlot(200));
    world.rib.close_consumer(group);
    hearer.messages = 0;
    hearer.hear(&world.pull(forked));
    assert_eq!((hearer.knows(), hearer.messages), (vec!["1"], 2));
    world.settle();
    (1..=3).for_each(|n| world.down(n));
    world.settle();
    world.pull(forked);
    assert!(world.rib.is_empty() && world.rib.attribute_sets() == 0);
}
