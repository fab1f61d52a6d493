//! Blocks that somebody deletes by hand.

use super::{SECOND, world};
use crate::want::WantFamilies;

#[test]
fn a_used_block_deleted_by_hand_is_created_anew_by_its_owner() {
    let mut world = world(1);
    let granted = world.get(0, WantFamilies::V4).unwrap();
    let name = granted[0].block.clone();
    world.store.remove(&name);
    world.tell_watches();
    // The invariants do not hold while the object is missing, so the time in between is not looked at.
    while world.run_until(world.clock.millis + 100).is_err() {}
    world.run_for(10 * SECOND);
    let block = &world.store.blocks[&name];
    assert_ne!(block.metadata.uid.as_deref(), Some(granted[0].block_uid.as_str()));
    assert_eq!(block.spec.allocations.len(), 1, "it shows what is in use from its first moment");
    assert!(world.get(0, WantFamilies::V4).is_ok());
}
