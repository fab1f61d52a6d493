//! Situations in which one node has addresses of another one's block.

use std::sync::Arc;

use caracal_api::IpamConfigSpec;

use super::SECOND;
use crate::request::{Input, Request};
use crate::simulation::world::World;
use crate::simulation::{check, pools};
use crate::want::WantFamilies;

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

#[test]
fn what_was_given_back_while_a_lent_block_was_missing_is_free_when_its_owner_creates_it_anew() {
    let config =
        IpamConfigSpec { strict_affinity: false, ip_cooldown_seconds: 1, ..IpamConfigSpec::default() };
    let mut world = World::quiet(2, pools::pools(&[("v4", "10.0.0.0/29", 29)], config));
    world.run_for(15 * SECOND);
    let owner = usize::from(world.store.owned_by("node-1").next().is_some());
    let borrower = 1 - owner;
    let own = world.get(owner, WantFamilies::V4).unwrap();
    let lodger = world.ask(borrower, WantFamilies::V4, Vec::new());
    let name = world.answer(&lodger).unwrap()[0].block.clone();
    assert_eq!(own[0].block, name, "there is one block only");
    world.run_for(10 * SECOND);
    // The owner does not see that it is gone before the borrower has.
    world.nodes[owner].cut = true;
    world.tampered.insert(name.clone());
    world.store.remove(&name);
    world.tell_watches();
    world.pod_ends(borrower, lodger);
    world.run_for(30 * SECOND);
    world.crash_and_start(borrower);
    world.nodes[owner].cut = false;
    world.greet_all();
    world.run_for(180 * SECOND);
    let shown = &world.store.blocks[&name].spec.allocations;
    assert_eq!(shown.len(), 1, "the owner's pod alone: {shown:?}");
}
