//! Situations in which one node has addresses of another one's block.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use caracal_api::{AllocationRecord, IpamBlock, IpamConfigSpec};

use super::SECOND;
use crate::request::{Delta, Input, Request};
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
        if world.store.blocks[&name].spec.lends {
            world.run_for(100);
        }
    }
    assert!(!world.store.blocks[&name].spec.lends);
    let shown = world.store.blocks[&name].spec.allocations.clone();
    let refused = world.get(borrower, WantFamilies::V4).unwrap_err();
    assert_eq!(refused.code(), "PoolsClosed", "{refused}");
    assert_eq!(world.store.blocks[&name].spec.allocations, shown);
    let agent = world.nodes[borrower].agent.as_ref().unwrap();
    check::partition(agent).unwrap();
}

#[test]
fn whose_address_its_owner_has_given_to_another_is_told_once() {
    let (mut world, owner, borrower, _, name) = lodging(false);
    let (ordinal, loan) = world.store.blocks[&name].spec.allocations.iter().next().unwrap();
    let (ordinal, loan): (String, AllocationRecord) = (ordinal.clone(), loan.parse().unwrap());
    let address = world.store.cidrs[&name].address(ordinal.parse().unwrap()).unwrap();
    // Somebody takes it back in the borrower's name, as if its machine were off.
    let mut taken = IpamBlock::clone(&world.store.blocks[&name]);
    taken.spec.allocations.insert(ordinal, loan.returned().to_string());
    world.store.apply(&Request::Replace(Box::new(taken))).unwrap();
    world.holders.forget_one(address);
    world.tampered.insert(name);
    world.tell_watches();
    world.run_for(5 * SECOND);
    let given: Vec<IpAddr> = (0..8).map(|_| world.get(owner, WantFamilies::V4).unwrap()[0].address).collect();
    assert!(given.contains(&address), "it is free for the owner");
    world.run_for(200 * SECOND);
    let (n, told) = world.lost.first().unwrap();
    assert_eq!((*n, told.address), (borrower, address));
    let words = told.to_string();
    assert!(words.contains("pod default/net.c") && words.contains("Delete the pod"), "{words}");
    assert_eq!(world.lost.len(), 1, "once");
}

/// Three nodes and one block of eight addresses, of which one is lent: the owner, the borrower, the third node, the block, and
/// what is given.
fn three() -> (World, [usize; 3], String, BTreeSet<IpAddr>) {
    let config =
        IpamConfigSpec { strict_affinity: false, ip_cooldown_seconds: 1, ..IpamConfigSpec::default() };
    let mut world = World::quiet(3, pools::pools(&[("v4", "10.0.0.0/29", 29)], config));
    world.run_for(15 * SECOND);
    let owner = (0..3).find(|n| world.store.owned_by(&format!("node-{n}")).next().is_some()).unwrap();
    let (borrower, third) = ((owner + 1) % 3, (owner + 2) % 3);
    let given = world.get(borrower, WantFamilies::V4).unwrap()[0].clone();
    world.run_for(10 * SECOND);
    (world, [owner, borrower, third], given.block, [given.address].into())
}

/// The API server comes back with blocks of an earlier time; no watch tells it.
fn restore(world: &mut World, backup: BTreeMap<String, Arc<IpamBlock>>) {
    world.tampered.extend(backup.keys().cloned());
    world.tampered.extend(world.store.blocks.keys().cloned());
    world.store.restore(backup);
    world.store.changed.clear();
}

/// A node takes every address that it gets.
fn take_all(world: &mut World, n: usize, given: &mut BTreeSet<IpAddr>) {
    while let Ok(allocations) = world.get(n, WantFamilies::V4) {
        assert!(given.insert(allocations[0].address), "{} is given twice", allocations[0].address);
    }
}

#[test]
fn what_was_given_since_a_backup_is_given_to_nobody_else_when_that_backup_is_back() {
    for (crashes, blind) in [(false, false), (true, false), (false, true), (true, true)] {
        let (mut world, [owner, borrower, third], _, mut given) = three();
        let backup = if blind { BTreeMap::new() } else { world.store.blocks.clone() };
        for n in [borrower, owner, borrower] {
            assert!(given.insert(world.get(n, WantFamilies::V4).unwrap()[0].address));
        }
        // The borrower can tell nobody what it has.
        world.nodes[borrower].cut = true;
        restore(&mut world, backup);
        if crashes {
            world.crash_and_start(owner);
        }
        world.greet_all();
        world.run_for(if blind { 100 * SECOND } else { 0 });
        take_all(&mut world, third, &mut given);
        assert_eq!(given.len(), 8, "the rest is lent: {crashes} {blind}");
        world.nodes[borrower].cut = false;
        world.greet_all();
        world.run_for(200 * SECOND);
        assert_eq!(world.lost, [], "nobody has lost anything");
        assert_eq!(world.store.blocks.values().next().unwrap().spec.allocations.len(), 8);
    }
}

#[test]
fn what_a_backup_shows_as_asked_for_is_lent_to_nobody_since_nobody_waits_for_it_any_more() {
    let (mut world, [owner, borrower, _], name, _) = three();
    let lodger = world.ask(borrower, WantFamilies::V4, Vec::new());
    let asked =
        |world: &World| world.store.blocks[&name].spec.allocations.values().any(|r| r.starts_with("aw"));
    world.wait_until("the ask is written", asked);
    let backup = world.store.blocks.clone();
    world.answer(&lodger).unwrap();
    world.pod_ends(borrower, lodger);
    world.run_for(200 * SECOND);
    assert_eq!(shown(&world, &name), 1, "what was lent before is all that there is");
    restore(&mut world, backup);
    // The borrower has forgotten it, and the owner sees what is there when it writes.
    world.kill(borrower);
    world.greet_all();
    world.get(owner, WantFamilies::V4).unwrap();
    world.run_for(100 * SECOND);
    assert!(!asked(&world));
    assert_eq!(shown(&world, &name), 2, "{:?}", world.store.blocks[&name].spec);
    assert_eq!(world.nodes[owner].agent.as_ref().unwrap().blocks[&name].free(), 6);
}

#[test]
fn what_a_backup_shows_as_given_back_is_not_taken_from_who_has_it_since() {
    let (mut world, [owner, borrower, third], name, mut given) = three();
    let own = world.ask(owner, WantFamilies::V4, Vec::new());
    let kept = world.answer(&own).unwrap()[0].address;
    let lodger = world.ask(borrower, WantFamilies::V4, Vec::new());
    let address = world.answer(&lodger).unwrap()[0].address;
    world.run_for(5 * SECOND);
    world.pod_ends(borrower, lodger);
    let returned = |text: &String| text.starts_with("h/") && text.contains("/node-");
    world.wait_until("it is given back", |world| {
        world.store.blocks[&name].spec.allocations.values().any(returned)
    });
    let backup = world.store.blocks.clone();
    world.run_for(10 * SECOND);
    take_all(&mut world, third, &mut given);
    assert!(given.contains(&address), "it is lent anew");
    // The one that has it now can tell nobody; the owner sees what is there when it writes.
    world.nodes[third].cut = true;
    restore(&mut world, backup);
    world.greet_all();
    world.pod_ends(owner, own);
    world.run_for(20 * SECOND);
    assert_eq!(world.get(owner, WantFamilies::V4).unwrap()[0].address, kept);
    assert!(world.get(owner, WantFamilies::V4).is_err(), "there is no other");
}

#[test]
fn nothing_is_lent_while_the_owner_does_not_answer() {
    let (mut world, [owner, borrower, third], name, mut given) = three();
    let backup = world.store.blocks.clone();
    given.insert(world.get(borrower, WantFamilies::V4).unwrap()[0].address);
    world.nodes[owner].cut = true;
    restore(&mut world, backup);
    for n in [borrower, third] {
        let refused = world.get(n, WantFamilies::V4).unwrap_err();
        assert!(["PoolsClosed", "ClaimTimedOut"].contains(&refused.code()), "{refused}");
    }
    world.nodes[owner].cut = false;
    world.greet_all();
    world.run_for(20 * SECOND);
    take_all(&mut world, third, &mut given);
    assert_eq!(given.len(), 8);
    world.run_for(100 * SECOND);
    assert_eq!(shown(&world, &name), 8, "what was asked for in vain is nobody's");
}

#[test]
fn a_block_that_is_anothers_by_now_is_handed_back_when_an_old_backup_names_this_node() {
    let (mut world, [owner, borrower, third], name, mut given) = three();
    let mut then = IpamBlock::clone(&world.store.blocks[&name]);
    then.spec.owner.name = format!("node-{borrower}");
    then.spec.owner.node_uid = world.nodes[borrower].uid.clone();
    then.spec.owner.machine_id = world.nodes[borrower].machine_id.clone();
    then.spec.owner.claim_token = world.nodes[borrower].disk.token.clone();
    then.spec.allocations.clear();
    then.spec.revision = 1;
    restore(&mut world, [(name.clone(), Arc::new(then))].into());
    world.greet_all();
    world.run_for(100 * SECOND);
    assert_eq!(world.store.blocks[&name].spec.owner.name, format!("node-{owner}"));
    take_all(&mut world, third, &mut given);
    assert_eq!(given.len(), 8);
}

/// The watch of a node tells that a block is gone, and the node cannot read it; then its agent dies.
fn doubt_and_crash(world: &mut World, n: usize, name: &str) {
    world.nodes[n].cut = true;
    let life = world.nodes[n].life;
    world.feed(n, life, Input::Blocks(Delta::Gone(name.to_owned())));
    world.run_for(SECOND);
    let block = &world.nodes[n].agent.as_ref().unwrap().blocks[name];
    assert!(!block.is_owned(), "it is in doubt");
    world.crash_and_start(n);
}

#[test]
fn what_was_lent_of_a_block_that_is_in_doubt_outlives_a_crash() {
    let (mut world, [owner, borrower, third], name, mut given) = three();
    let backup = world.store.blocks.clone();
    given.insert(world.get(borrower, WantFamilies::V4).unwrap()[0].address);
    doubt_and_crash(&mut world, owner, &name);
    world.nodes[borrower].cut = true;
    restore(&mut world, backup);
    world.nodes[owner].cut = false;
    world.greet_all();
    world.run_for(20 * SECOND);
    take_all(&mut world, third, &mut given);
    assert_eq!(given.len(), 8);
}

#[test]
fn a_block_that_was_in_doubt_is_granted_from_after_a_crash_only_once_it_was_read() {
    let (mut world, [owner, ..], name, _) = three();
    doubt_and_crash(&mut world, owner, &name);
    let refused = world.get(owner, WantFamilies::V4).unwrap_err();
    assert_eq!(refused.code(), "ClaimTimedOut", "{refused}");
    world.nodes[owner].cut = false;
    world.greet_all();
    world.run_for(20 * SECOND);
    assert!(world.get(owner, WantFamilies::V4).is_ok());
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
fn what_an_earlier_life_left_behind_is_never_owned_again_though_others_write_into_it() {
    let (mut world, owner, _, lodger, name) = lodging(false);
    let borrower = 1 - owner;
    world.pod_ends(borrower, lodger);
    world.run_for(100 * SECOND);
    // The journal forgot the block, and the delete never came.
    world.kill(owner);
    world.nodes[owner].disk.blocks.remove(&name);
    world.start(owner);
    let mut written = 0;
    for _ in 0..2000 {
        world.run_for(1);
        let block = world.nodes[owner].agent.as_ref().unwrap().blocks.get(&name);
        assert!(block.is_none_or(|block| !block.is_owned()), "nobody knows whose addresses of it are");
        if block.is_some_and(|block| block.work.is_some())
            && written < 3
            && let Some(there) = world.store.blocks.get(&name)
        {
            // The delete under way is of an older version now.
            let mut asked = IpamBlock::clone(there);
            asked
                .spec
                .allocations
                .insert("3".into(), format!("aw/{written}/net.x.eth0/default/x/node-9/u/j"));
            world.store.apply(&Request::Replace(Box::new(asked))).unwrap();
            written += 1;
        }
        if !world.store.blocks.contains_key(&name) {
            break;
        }
    }
    assert_eq!(written, 3);
    assert!(!world.store.blocks.contains_key(&name), "it goes back all the same");
}

#[test]
fn what_was_given_back_stays_free_however_soon_its_owner_dies_and_though_nothing_rests() {
    for strict in [false, true] {
        let config =
            IpamConfigSpec { strict_affinity: false, ip_cooldown_seconds: 0, ..IpamConfigSpec::default() };
        let mut world = World::quiet(2, pools::pools(&[("v4", "10.0.0.0/29", 29)], config.clone()));
        world.run_for(15 * SECOND);
        let owner = usize::from(world.store.owned_by("node-1").next().is_some());
        world.get(owner, WantFamilies::V4).unwrap();
        let lodger = world.ask(1 - owner, WantFamilies::V4, Vec::new());
        let name = world.answer(&lodger).unwrap()[0].block.clone();
        world.run_for(10 * SECOND);
        if strict {
            let config = IpamConfigSpec { strict_affinity: true, ..config };
            let (life, of_now) =
                (world.nodes[owner].life, pools::pools(&[("v4", "10.0.0.0/29", 29)], config));
            world.feed(owner, life, Input::Pools(Arc::new(of_now)));
            world.run_for(10 * SECOND);
        }
        assert_eq!(shown(&world, &name), 2);
        world.pod_ends(1 - owner, lodger);
        // The owner's note is in the object, and the owner dies in that moment.
        world.wait_until("the owner has taken note", |world| shown(world, &name) == 1);
        world.kill(owner);
        world.run_for(300 * SECOND);
        delete(&mut world, &name);
        world.start(owner);
        world.run_for(180 * SECOND);
        assert_eq!(shown(&world, &name), 1, "the owner's pod alone: {:?}", world.store.blocks[&name].spec);
    }
}
