//! Situations in which agents of before loans were at work, or still are on other nodes.

use caracal_api::{IpamBlock, IpamBlockSpec, IpamConfigSpec};

use super::SECOND;
use crate::block::{Standing, Work};
use crate::request::Request;
use crate::simulation::pools;
use crate::simulation::world::World;
use crate::want::WantFamilies;

/// Somebody writes a block's object.
fn write(world: &mut World, name: &str, change: impl FnOnce(&mut IpamBlockSpec)) {
    let mut block = IpamBlock::clone(&world.store.blocks[name]);
    change(&mut block.spec);
    world.store.apply(&Request::Replace(Box::new(block))).unwrap();
    world.tell_watches();
}

/// The record by which an agent of before takes an ordinal on another node.
fn taken(ordinal: u32) -> String {
    format!("w/{ordinal}/net.old{ordinal}.eth0/default/old{ordinal}/node-9/uid-9/j")
}

fn take(world: &mut World, name: &str, ordinal: u32) {
    write(world, name, |spec| drop(spec.allocations.insert(ordinal.to_string(), taken(ordinal))));
}

/// Two nodes and one block of eight addresses, whose owner is off: journal and object are as an agent of before left them.
/// The owner, and the block.
fn upgrading(own_pod: bool) -> (World, usize, String) {
    let config =
        IpamConfigSpec { strict_affinity: false, ip_cooldown_seconds: 1, ..IpamConfigSpec::default() };
    let mut world = World::quiet(2, pools::pools(&[("v4", "10.0.0.0/29", 29)], config));
    world.run_for(15 * SECOND);
    let owner = usize::from(world.store.owned_by("node-1").next().is_some());
    let name = world.store.blocks.keys().next().cloned().unwrap();
    if own_pod {
        world.get(owner, WantFamilies::V4).unwrap();
        world.run_for(10 * SECOND);
    }
    world.kill(owner);
    write(&mut world, &name, |spec| (spec.revision, spec.lends, spec.shared) = (0, false, true));
    let block = IpamBlock::clone(&world.store.blocks[&name]);
    world.nodes[owner].disk.blocks.insert(name.clone(), block);
    (world, owner, name)
}

/// Lets time pass until the owner's request of this kind about the block is under way; nothing was granted from it so far.
fn until_asked(world: &mut World, owner: usize, name: &str, work: Work) {
    for _ in 0..5 * SECOND {
        world.run_for(1);
        let block = world.nodes[owner].agent.as_ref().unwrap().blocks.get(name);
        assert!(block.is_none_or(|block| !block.is_owned()), "others may take addresses of it");
        if block.and_then(|block| block.work).is_some_and(|(_, under_way)| under_way == work) {
            return;
        }
    }
    panic!("{work:?} was not asked for");
}

/// Both nodes take all that there is: so many addresses, none of which is one of these.
fn all_but(world: &mut World, name: &str, lent: &[u32], count: usize) {
    world.run_for(20 * SECOND);
    let spec = &world.store.blocks[name].spec;
    assert!(spec.lends && !spec.shared && spec.revision > 0, "it is closed: {spec:?}");
    let mut given = 0;
    for n in [0, 1] {
        while let Ok(allocations) = world.get(n, WantFamilies::V4) {
            let ordinal = world.store.cidrs[name].ordinal(allocations[0].address).unwrap();
            assert!(!lent.contains(&ordinal), "ordinal {ordinal} is given twice");
            given += 1;
        }
    }
    assert_eq!(given, count);
    world.run_for(10 * SECOND);
    for ordinal in lent {
        let shown = world.store.blocks[name].spec.allocations.get(&ordinal.to_string());
        assert_eq!(shown, Some(&taken(*ordinal)), "it stays with who took it");
    }
}

#[test]
fn what_others_took_without_asking_is_given_to_nobody_once_the_owner_is_upgraded() {
    let (mut world, owner, name) = upgrading(true);
    take(&mut world, &name, 5);
    world.start(owner);
    // Somebody takes one more just before the write that closes the block.
    until_asked(&mut world, owner, &name, Work::Publish);
    take(&mut world, &name, 6);
    all_but(&mut world, &name, &[5, 6], 5);
    // Their node is upgraded, too, and the pod ends.
    write(&mut world, &name, |spec| {
        drop(spec.allocations.insert("5".into(), taken(5).replacen('w', "h", 1)))
    });
    world.run_for(10 * SECOND);
    assert!(world.get(owner, WantFamilies::V4).is_ok());
}

#[test]
fn an_owner_that_dies_while_it_closes_a_block_sees_what_others_took_meanwhile() {
    for first in [None, Some(5)] {
        let (mut world, owner, name) = upgrading(true);
        first.into_iter().for_each(|ordinal| take(&mut world, &name, ordinal));
        world.start(owner);
        until_asked(&mut world, owner, &name, Work::Publish);
        world.wait_until("the journal has what is known to be lent", |world| {
            first.is_none() || world.nodes[owner].disk.blocks.contains_key(&name)
        });
        assert_eq!(
            world.store.blocks[&name].spec.revision, 0,
            "the journal has it, and the write has not come"
        );
        world.kill(owner);
        take(&mut world, &name, 6);
        world.start(owner);
        let lent: Vec<u32> = first.into_iter().chain([6]).collect();
        all_but(&mut world, &name, &lent, 7 - lent.len());
    }
}

#[test]
fn a_block_that_an_agent_of_before_left_behind_does_not_go_while_others_have_addresses_of_it() {
    let (mut world, owner, name) = upgrading(false);
    world.nodes[owner].disk.blocks.remove(&name);
    take(&mut world, &name, 5);
    world.start(owner);
    all_but(&mut world, &name, &[5], 7);
}

#[test]
fn a_block_that_an_agent_of_before_left_behind_does_not_go_from_under_who_takes_an_address_meanwhile() {
    let (mut world, owner, name) = upgrading(false);
    world.nodes[owner].disk.blocks.remove(&name);
    world.start(owner);
    until_asked(&mut world, owner, &name, Work::Return);
    // The delete does not arrive, and before it is sent again the watch tells of the address.
    world.nodes[owner].cut = true;
    let sent = world.store.blocks[&name].metadata.resource_version.clone();
    world.wait_until("the delete is given up", |world| {
        world.nodes[owner].agent.as_ref().unwrap().blocks[&name].work.is_none()
    });
    assert_eq!(world.store.blocks[&name].metadata.resource_version, sent);
    assert_eq!(world.nodes[owner].agent.as_ref().unwrap().blocks[&name].standing, Standing::Returning);
    world.nodes[owner].cut = false;
    take(&mut world, &name, 5);
    all_but(&mut world, &name, &[5], 7);
}

#[test]
fn what_was_given_back_to_an_owner_of_before_is_left_to_it() {
    let (mut world, owner, name) = upgrading(true);
    world.start(owner);
    world.run_for(15 * SECOND);
    let lodger = world.ask(1 - owner, WantFamilies::V4, Vec::new());
    let address = world.answer(&lodger).unwrap()[0].address;
    let ordinal = world.store.cidrs[&name].ordinal(address).unwrap().to_string();
    // The owner goes back to an agent of before, which is played here.
    world.kill(owner);
    write(&mut world, &name, |spec| (spec.revision, spec.lends, spec.shared) = (0, false, true));
    world.run_for(100 * SECOND);
    world.pod_ends(1 - owner, lodger);
    world.wait_until("it is given back", |world| {
        !world.store.blocks[&name].spec.allocations[&ordinal].starts_with('w')
    });
    for record in ["h/0///", "w/99/net.x.eth0/default/x"] {
        write(&mut world, &name, |spec| drop(spec.allocations.insert(ordinal.clone(), record.into())));
        world.run_for(100 * SECOND);
        assert_eq!(world.store.blocks[&name].spec.allocations[&ordinal], record, "it is the owner's");
    }
    assert!(
        world.get(1 - owner, WantFamilies::V4).is_err(),
        "nothing is asked of an agent that does not answer"
    );
    world.run_for(100 * SECOND);
    assert!(!world.nodes[1 - owner].agent.as_ref().unwrap().blocks.contains_key(&name));
}
