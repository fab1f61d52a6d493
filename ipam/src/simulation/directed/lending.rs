//! Situations in which one node has addresses of another one's block.

use std::sync::Arc;

use caracal_api::IpamConfigSpec;

use super::SECOND;
use crate::request::{Input, Request};
use crate::simulation::world::World;
use crate::simulation::{check, pools};
use crate::want::{Handle, WantFamilies};

/// Two nodes and one block, from which one of them borrows: the owner, and the borrower.
fn lent() -> (World, usize, usize) {
    let config = IpamConfigSpec { strict_affinity: false, ..IpamConfigSpec::default() };
    let mut world = World::quiet(2, pools::pools(&[("v4", "10.0.0.0/29", 29)], config));
    world.run_for(15 * SECOND);
    let owner = usize::from(world.store.owned_by("node-1").next().is_some());
    let borrower = 1 - owner;
    world.get(borrower, WantFamilies::V4).unwrap();
    world.run_for(10 * SECOND);
    (world, owner, borrower)
}

#[test]
fn nothing_is_taken_from_a_block_any_more_once_its_owner_stopped_sharing_it() {
    let (mut world, owner, borrower) = lent();
    let name = world.store.blocks.keys().next().cloned().unwrap();
    // The owner is told that affinity is strict again; the borrower is not, and does not watch the block.
    let strict = IpamConfigSpec { strict_affinity: true, ..IpamConfigSpec::default() };
    let life = world.nodes[owner].life;
    let strict = pools::pools(&[("v4", "10.0.0.0/29", 29)], strict);
    world.feed(owner, life, Input::Pools(Arc::new(strict)));
    for _ in 0..100 {
        if world.store.blocks[&name].spec.shared {
            world.run_for(100);
        }
    }
    assert!(!world.store.blocks[&name].spec.shared);
    let shown = world.store.blocks[&name].spec.allocations.clone();
    let refused = world.get(borrower, WantFamilies::V4).unwrap_err();
    assert_eq!(refused.code(), "PoolsClosed", "{refused}");
    assert_eq!(world.store.blocks[&name].spec.allocations, shown);
    let agent = world.nodes[borrower].agent.as_ref().unwrap();
    check::partition(agent).unwrap();
}

#[test]
fn who_lost_its_address_to_another_since_an_old_backup_came_back_is_told() {
    let (mut world, owner, borrower) = lent();
    let (name, then) = world.store.blocks.iter().next().map(|(n, b)| (n.clone(), b.clone())).unwrap();
    let lost = world.get(borrower, WantFamilies::V4).unwrap()[0].clone();
    world.nodes[owner].cut = true;
    world.tampered.insert(name.clone());
    // Before the owner has mended it, a third one takes the same address of the block as it was.
    let mut other = caracal_api::IpamBlock::clone(&then);
    let ordinal = world.store.cidrs[&name].ordinal(lost.address).unwrap().to_string();
    other.spec.allocations.insert(ordinal, "w/9/net.other.eth0/default/web/node-9/uid-9/j".into());
    world.store.restore([(name.clone(), then)].into());
    world.store.apply(&Request::Replace(Box::new(other))).unwrap();
    world.store.changed.clear();
    world.run_for(200 * SECOND);
    let (n, told) = world.lost.first().unwrap();
    assert_eq!((*n, told.address), (borrower, lost.address));
    let words = told.to_string();
    assert!(words.contains("pod default/web (net.other.eth0) on node node-9"), "{words}");
    assert!(words.contains("Delete the pod"), "{words}");
    assert_eq!(world.lost.len(), 1, "once");
}

/// Two nodes and one block: the owner, which has a pod in it if asked for, the borrower, and its pod in that block.
fn lodging(own_pod: bool) -> (World, usize, usize, Handle, String) {
    let config =
        IpamConfigSpec { strict_affinity: false, ip_cooldown_seconds: 1, ..IpamConfigSpec::default() };
    let mut world = World::quiet(2, pools::pools(&[("v4", "10.0.0.0/29", 29)], config));
    world.run_for(15 * SECOND);
    let owner = usize::from(world.store.owned_by("node-1").next().is_some());
    let borrower = 1 - owner;
    if own_pod {
        world.get(owner, WantFamilies::V4).unwrap();
    }
    let lodger = world.ask(borrower, WantFamilies::V4, Vec::new());
    let name = world.answer(&lodger).unwrap()[0].block.clone();
    assert!(world.store.owned_by(&world.nodes[owner].name).any(|b| b.metadata.name.as_ref() == Some(&name)));
    world.run_for(10 * SECOND);
    (world, owner, borrower, lodger, name)
}

/// Somebody deletes a block by hand.
fn delete(world: &mut World, name: &str) {
    world.tampered.insert(name.to_owned());
    world.store.remove(name);
    world.tell_watches();
}

fn shown(world: &World, name: &str) -> usize {
    world.store.blocks[name].spec.allocations.len()
}

#[test]
fn what_was_given_back_while_a_lent_block_was_missing_is_free_when_its_owner_creates_it_anew() {
    let (mut world, owner, borrower, lodger, name) = lodging(true);
    // The owner does not see that it is gone before the borrower has.
    world.nodes[owner].cut = true;
    delete(&mut world, &name);
    world.pod_ends(borrower, lodger);
    world.run_for(30 * SECOND);
    world.crash_and_start(borrower);
    world.nodes[owner].cut = false;
    world.greet_all();
    world.run_for(180 * SECOND);
    assert_eq!(shown(&world, &name), 1, "the owner's pod alone: {:?}", world.store.blocks[&name].spec);
}

#[test]
fn what_was_given_back_after_a_lent_block_was_found_missing_is_free_when_its_owner_creates_it_anew() {
    let (mut world, owner, borrower, lodger, name) = lodging(false);
    world.nodes[owner].cut = true;
    delete(&mut world, &name);
    world.run_for(100 * SECOND);
    // It knows that the block is gone, and there is no other holder in it.
    world.pod_ends(borrower, lodger);
    world.run_for(100 * SECOND);
    world.nodes[owner].cut = false;
    world.greet_all();
    world.run_for(180 * SECOND);
    assert_eq!(shown(&world, &name), 0, "{:?}", world.store.blocks[&name].spec);
}

#[test]
fn what_was_given_back_while_its_owner_was_down_is_free_when_the_owner_creates_the_block_from_its_journal() {
    let (mut world, owner, borrower, lodger, name) = lodging(true);
    // The owner's journal has the loan. While it is down the loan ends, and long after that the block is deleted.
    world.kill(owner);
    world.pod_ends(borrower, lodger);
    world.run_for(300 * SECOND);
    delete(&mut world, &name);
    world.start(owner);
    world.run_for(180 * SECOND);
    assert_eq!(shown(&world, &name), 1, "the owner's pod alone: {:?}", world.store.blocks[&name].spec);
    world.run_for(300 * SECOND);
    let agent = world.nodes[borrower].agent.as_ref().unwrap();
    assert!(!agent.blocks.contains_key(&name), "the owner has taken note: there is nothing to keep it for");
}

#[test]
fn what_was_given_back_without_being_written_is_written_by_a_later_life_however_late_it_reads() {
    let (mut world, _, borrower, lodger, name) = lodging(true);
    // The journal has what was to be written; the write is lost, and the agent dies.
    world.nodes[borrower].cut = true;
    world.pod_ends(borrower, lodger);
    world.run_for(5 * SECOND);
    world.crash_and_start(borrower);
    world.run_for(300 * SECOND);
    assert_eq!(shown(&world, &name), 2, "nothing was written while it was cut off");
    world.nodes[borrower].cut = false;
    world.greet_all();
    world.run_for(180 * SECOND);
    assert_eq!(shown(&world, &name), 1, "the owner's pod alone: {:?}", world.store.blocks[&name].spec);
}

#[test]
fn a_block_that_was_to_be_given_back_and_was_borrowed_from_meanwhile_is_not_deleted_by_a_later_life() {
    let (mut world, owner, borrower, lodger, name) = lodging(false);
    // The delete was late, so it did not happen; the journal had forgotten the block before it was sent.
    world.kill(owner);
    world.nodes[owner].disk.blocks.remove(&name);
    world.start(owner);
    world.run_for(30 * SECOND);
    assert_eq!(shown(&world, &name), 1, "the borrower's pod goes on");
    let own = world.get(owner, WantFamilies::V4).unwrap();
    assert_eq!(own[0].block, name, "its owner has it back");
    world.pod_ends(borrower, lodger);
    world.run_for(100 * SECOND);
    assert_eq!(shown(&world, &name), 1, "the owner's pod alone: {:?}", world.store.blocks[&name].spec);
}
