//! Single situations, each with its own statement.

mod choosing;
mod deleting;
mod lending;
mod upgrading;

use std::collections::BTreeSet;
use std::net::IpAddr;

use caracal_api::IpamConfigSpec;
use ipnetwork::IpNetwork;

use super::check;
use super::node::attributes;
use super::pools;
use super::world::World;
use crate::recover::JournalTrust;
use crate::refusal::Refusal;
use crate::request::{Action, AskId, Input, NodeView, Request};
use crate::want::{Allocation, Family, Handle, Purpose, Want, WantFamilies};

const SECOND: u64 = 1000;

impl World {
    fn run_for(&mut self, millis: u64) {
        self.run_until(self.clock.millis + millis).unwrap();
    }

    /// Asks and waits for the answer.
    fn get(&mut self, n: usize, families: WantFamilies) -> Result<Vec<Allocation>, Refusal> {
        let handle = self.ask(n, families, Vec::new());
        self.answer(&handle)
    }

    fn get_address(&mut self, n: usize, address: &str) -> Result<Vec<Allocation>, Refusal> {
        let none = WantFamilies { v4: false, v6: false };
        let handle = self.ask(n, none, vec![address.parse().unwrap()]);
        self.answer(&handle)
    }

    fn answer(&mut self, handle: &Handle) -> Result<Vec<Allocation>, Refusal> {
        for _ in 0..300 {
            if let Some(answer) = self.answers.get(handle) {
                let answer = answer.clone();
                self.run_for(100);
                return answer;
            }
            self.run_for(100);
        }
        panic!("{handle} was not answered within 30 s");
    }

    /// Lets time pass, a millisecond at a time, until something holds.
    fn wait_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..100 * SECOND {
            if holds(self) {
                return;
            }
            self.run_for(1);
        }
        panic!("not within 100 s: {what}");
    }

    fn crash_and_start(&mut self, n: usize) {
        self.kill(n);
        self.start(n);
        self.run_for(SECOND);
    }
}

fn world(nodes: usize) -> World {
    let mut world = World::quiet(nodes, pools::small(20));
    world.run_for(2 * SECOND);
    world
}

#[test]
fn each_node_claims_blocks_of_its_own_before_anyone_asks() {
    let mut world = world(5);
    for n in 0..5 {
        let name = world.nodes[n].name.clone();
        assert_eq!(world.store.owned_by(&name).count(), 2, "one block a family");
    }
    let before = world.counts.claims;
    let granted = world.get(0, WantFamilies::DUAL).unwrap();
    assert_eq!(granted.len(), 2);
    assert!(granted[0].address.is_ipv4() && granted[1].address.is_ipv6());
    assert_eq!(world.counts.claims, before, "the first pod waited for nothing");
}

#[test]
fn an_outage_stops_nothing_while_owned_blocks_have_room_even_through_a_restart() {
    let mut world = world(2);
    let before = world.get(0, WantFamilies::DUAL).unwrap();
    world.outage(true);
    world.crash_and_start(0);
    let mut seen: BTreeSet<IpAddr> = before.iter().map(|a| a.address).collect();
    for _ in 0..7 {
        for allocation in world.get(0, WantFamilies::DUAL).unwrap() {
            assert!(seen.insert(allocation.address), "{} twice", allocation.address);
        }
    }
    let refused = world.get(0, WantFamilies::DUAL).unwrap_err();
    assert!(matches!(&refused, Refusal::ClaimTimedOut { .. }), "{refused}");
    assert!(refused.to_string().contains("node-0") && refused.to_string().contains("pool v4"), "{refused}");
    world.outage(false);
    world.run_for(60 * SECOND);
    assert!(world.get(0, WantFamilies::DUAL).is_ok(), "it goes on when the API server is back");
}

#[test]
fn without_a_live_reading_for_too_long_nothing_new_is_given() {
    let mut world = world(1);
    world.outage(true);
    world.run_for(3601 * SECOND);
    let refused = world.get(0, WantFamilies::V4).unwrap_err();
    assert_eq!(refused.code(), "OutageTooLong");
    world.outage(false);
    world.run_for(5 * SECOND);
    assert!(world.get(0, WantFamilies::V4).is_ok());
}

#[test]
fn a_restart_does_not_begin_the_time_without_a_live_reading_anew() {
    let mut world = world(1);
    world.outage(true);
    world.run_for(2000 * SECOND);
    world.crash_and_start(0);
    assert!(world.get(0, WantFamilies::V4).is_ok());
    world.run_for(1700 * SECOND);
    assert_eq!(world.get(0, WantFamilies::V4).unwrap_err().code(), "OutageTooLong");
}

#[test]
fn a_dual_stack_ask_gets_both_families_or_neither() {
    let config = IpamConfigSpec::default();
    let mut world =
        World::quiet(1, pools::pools(&[("v4", "10.0.0.0/29", 29), ("v6", "fd00::/128", 128)], config));
    world.run_for(2 * SECOND);
    assert!(world.get(0, WantFamilies::DUAL).is_ok());
    let refused = world.get(0, WantFamilies::DUAL).unwrap_err();
    assert_eq!(refused.code(), "PoolsClosed", "{refused}");
    let agent = world.nodes[0].agent.as_ref().unwrap();
    let used: usize = agent.blocks.values().map(|b| b.used.len()).sum();
    assert_eq!(used, 2, "the IPv4 address that could have been given was not kept");
    check::partition(agent).unwrap();
}

#[test]
fn allocations_are_published_together_after_the_debounce() {
    let mut world = world(1);
    for _ in 0..3 {
        world.get(0, WantFamilies::V4).unwrap();
    }
    let published =
        |world: &World| -> usize { world.store.owned_by("node-0").map(|b| b.spec.allocations.len()).sum() };
    assert_eq!(published(&world), 0);
    world.run_for(4 * SECOND);
    assert_eq!(published(&world), 3);
}

#[test]
fn what_no_life_lasted_long_enough_to_publish_is_published_by_the_last_one() {
    let mut world = world(1);
    world.get(0, WantFamilies::DUAL).unwrap();
    // The second life keeps the block anew, with the pod in it; the third one finds that, and no other change.
    world.crash_and_start(0);
    world.crash_and_start(0);
    let published =
        |world: &World| -> usize { world.store.owned_by("node-0").map(|b| b.spec.allocations.len()).sum() };
    assert_eq!(published(&world), 0);
    world.run_for(8 * SECOND);
    assert_eq!(published(&world), 2);
}

#[test]
fn a_repeated_ask_of_one_handle_gets_the_same_addresses() {
    let mut world = world(1);
    let handle = Handle("net.c.eth0".into());
    let want = |families| Want {
        handle: handle.clone(),
        families,
        requested: Vec::new(),
        pools: None,
        attributes: attributes(&handle),
    };
    world.ask_for(0, want(WantFamilies::DUAL));
    let first = world.answer(&handle).unwrap();
    world.answers.clear();
    world.ask_for(0, want(WantFamilies::DUAL));
    assert_eq!(world.answer(&handle).unwrap(), first);
    world.answers.clear();
    world.ask_for(0, want(WantFamilies::V4));
    assert_eq!(world.answer(&handle).unwrap_err().code(), "BadRequest");
}

#[test]
fn a_requested_address_is_claimed_granted_and_refused_with_its_reason() {
    let mut world = world(2);
    let base = (0..16).map(|n| n * 8).find(|n| !world.store.blocks.contains_key(&format!("10-244-0-{n}-29")));
    let (one, two) = (format!("10.244.0.{}", base.unwrap() + 5), format!("10.244.0.{}", base.unwrap() + 6));
    let granted = world.get_address(0, &one).unwrap();
    assert_eq!(granted[0].address.to_string(), one);
    let taken = world.get_address(0, &one).unwrap_err();
    assert_eq!(taken.code(), "AddressTaken");
    let elsewhere = world.get_address(1, &two).unwrap_err();
    assert_eq!(elsewhere.code(), "AddressElsewhere");
    assert!(elsewhere.to_string().contains("node-0"), "{elsewhere}");
    let outside = world.get_address(0, "192.0.2.1").unwrap_err();
    assert_eq!(outside.code(), "AddressNotServed");
}

#[test]
fn named_pools_are_used_and_an_unknown_name_is_told() {
    let config = IpamConfigSpec::default();
    let mut world =
        World::quiet(1, pools::pools(&[("a", "10.0.0.0/28", 29), ("b", "10.1.0.0/28", 29)], config));
    world.run_for(2 * SECOND);
    for (pool, inside) in [("b", "10.1.0.0/28"), ("10.0.0.0/28", "10.0.0.0/28")] {
        let handle = Handle(format!("net.{inside}.eth0").replace('/', "-"));
        world.ask_for(
            0,
            Want {
                handle: handle.clone(),
                families: WantFamilies::V4,
                requested: Vec::new(),
                pools: Some(vec![pool.to_owned()]),
                attributes: attributes(&handle),
            },
        );
        let granted = world.answer(&handle).unwrap();
        assert!(inside.parse::<IpNetwork>().unwrap().contains(granted[0].address), "{pool}");
    }
    let handle = Handle("net.c.eth0".into());
    world.ask_for(
        0,
        Want {
            handle: handle.clone(),
            families: WantFamilies::V4,
            requested: Vec::new(),
            pools: Some(vec!["nowhere".to_owned()]),
            attributes: attributes(&handle),
        },
    );
    assert_eq!(world.answer(&handle).unwrap_err().code(), "PoolNotFound");
}

#[test]
fn a_node_never_owns_more_blocks_than_it_may() {
    let config = IpamConfigSpec { max_blocks_per_host: 2, ..IpamConfigSpec::default() };
    let mut world = World::quiet(1, pools::pools(&[("v4", "10.0.0.0/24", 30)], config));
    world.run_for(2 * SECOND);
    for _ in 0..8 {
        world.get(0, WantFamilies::V4).unwrap();
    }
    let refused = world.get(0, WantFamilies::V4).unwrap_err();
    assert_eq!(refused.code(), "BlockLimit", "{refused}");
    assert_eq!(world.store.blocks.len(), 2);
}

#[test]
fn a_crowded_pool_is_filled_to_its_last_block_and_then_told_to_be_full() {
    let config = IpamConfigSpec::default();
    let mut world = World::quiet(4, pools::pools(&[("v4", "10.0.0.0/27", 32)], config));
    world.run_for(2 * SECOND);
    let mut granted = BTreeSet::new();
    let mut refused = 0;
    for round in 0..60 {
        match world.get(round % 4, WantFamilies::V4) {
            Ok(allocations) => assert!(granted.insert(allocations[0].address)),
            Err(refusal) => {
                assert!(refusal.to_string().contains("every block of it is taken"), "{refusal}");
                refused += 1;
            }
        }
    }
    assert_eq!(granted.len(), 32);
    assert!(refused > 0);
}

#[test]
fn a_block_that_became_someone_elses_is_never_allocated_from() {
    let mut world = world(1);
    let granted = world.get(0, WantFamilies::V4).unwrap();
    let name = granted[0].block.clone();
    let mut foreign = caracal_api::IpamBlock::clone(&world.store.blocks[&name]);
    foreign.spec.owner.name = "intruder".into();
    world.store.remove(&name);
    world.store.apply(&Request::Create(Box::new(foreign))).unwrap();
    world.tell_watches();
    for _ in 0..50 {
        // The invariant "every address in a block of its node" is what is broken here on purpose.
        let _broken = world.run_until(world.clock.millis + 100).is_err();
    }
    let report = world.nodes[0].agent.as_ref().unwrap().report(world.clock.now());
    let block = report.blocks.iter().find(|b| b.name == name).unwrap();
    assert_eq!(block.dispute.as_ref().unwrap().0, "Foreign");
    assert_eq!(block.allocations.len(), 1, "the running pod keeps its address");
    let handle = world.ask(0, WantFamilies::V4, Vec::new());
    for _ in 0..50 {
        let _broken = world.run_until(world.clock.millis + 100).is_err();
    }
    let other = world.answers[&handle].as_ref().unwrap();
    assert_ne!(other[0].block, name);
}

#[test]
fn a_node_replaced_under_its_name_claims_fresh_blocks() {
    let mut world = world(1);
    let old = world.get(0, WantFamilies::V4).unwrap();
    world.nodes[0].uid = "another".into();
    let life = world.nodes[0].life;
    let view = NodeView { uid: "another".into(), ..NodeView::default() };
    world.feed(0, life, Input::Node(Some(view)));
    for _ in 0..50 {
        let _broken = world.run_until(world.clock.millis + 100).is_err();
    }
    let handle = world.ask(0, WantFamilies::V4, Vec::new());
    for _ in 0..50 {
        let _broken = world.run_until(world.clock.millis + 100).is_err();
    }
    let new = world.answers[&handle].as_ref().unwrap();
    assert_ne!(new[0].block, old[0].block);
    let report = world.nodes[0].agent.as_ref().unwrap().report(world.clock.now());
    let former = report.blocks.iter().find(|b| b.name == old[0].block).unwrap();
    assert_eq!(former.dispute.as_ref().unwrap().0, "FormerNode");
}

#[test]
fn a_node_whose_node_object_is_gone_gives_out_nothing() {
    let mut world = world(1);
    let life = world.nodes[0].life;
    world.feed(0, life, Input::Node(None));
    let refused = world.get(0, WantFamilies::V4).unwrap_err();
    assert_eq!(refused.code(), "Fenced");
    assert!(refused.to_string().contains("Node object is gone"), "{refused}");
}

#[test]
fn a_lost_journal_is_rebuilt_from_the_blocks_and_nothing_is_given_twice() {
    let mut world = world(1);
    let held = world.get(0, WantFamilies::V4).unwrap();
    world.run_for(10 * SECOND);
    world.kill(0);
    world.nodes[0].disk = super::node::Disk { token: "new".into(), ..Default::default() };
    world.trust = JournalTrust::Lost;
    world.start(0);
    world.run_for(5 * SECOND);
    let report = world.nodes[0].agent.as_ref().unwrap().report(world.clock.now());
    let block = report.blocks.iter().find(|b| b.name == held[0].block).unwrap();
    assert_eq!(block.allocations.len(), 1, "what the object shows is in use");
    assert_eq!(block.free, 0, "what it does not show may be in use, and rests");
    world.run_for(30 * SECOND);
    for _ in 0..7 {
        assert_ne!(world.get(0, WantFamilies::V4).unwrap()[0].address, held[0].address);
    }
}

#[test]
fn blocks_go_back_when_they_are_empty_but_the_last_one_stays() {
    let mut world = world(1);
    let handles: Vec<Handle> = (0..30).map(|_| world.ask(0, WantFamilies::V4, Vec::new())).collect();
    world.run_for(5 * SECOND);
    assert!(world.store.blocks.values().filter(|b| b.spec.cidr.contains('.')).count() >= 4);
    for handle in handles {
        world.pod_ends(0, handle);
    }
    world.run_for(300 * SECOND);
    assert_eq!(world.store.blocks.values().filter(|b| b.spec.cidr.contains('.')).count(), 1);
}

#[test]
fn tunnel_addresses_are_ordinary_allocations_with_their_own_handle() {
    let mut world = world(1);
    let handle = Handle("tunnel-ipip-node-0".into());
    let mut attributes = attributes(&handle);
    attributes.kind = Purpose::Tunnel;
    let want = Want {
        handle: handle.clone(),
        families: WantFamilies::V4,
        requested: Vec::new(),
        pools: None,
        attributes,
    };
    world.ask_for(0, want);
    let granted = world.answer(&handle).unwrap();
    world.run_for(10 * SECOND);
    let block = &world.store.blocks[&granted[0].block];
    let record = block.spec.allocations.values().next().unwrap();
    assert!(record.starts_with("t/") && record.contains("tunnel-ipip-node-0"), "{record}");
    assert_eq!(Family::of(granted[0].address), Family::V4);
}

#[test]
fn a_pool_the_controller_has_not_checked_is_not_claimed_from_and_says_so() {
    let objects = [pools::object("unchecked", "10.0.0.0/24", 26)];
    let pools = crate::pool::Pools::read(&objects, IpamConfigSpec::default(), Vec::new());
    let mut world = World::quiet(1, pools);
    world.run_for(2 * SECOND);
    let refused = world.get(0, WantFamilies::V4).unwrap_err();
    assert!(refused.to_string().contains("has not marked it Allocatable"), "{refused}");
    assert!(world.store.blocks.is_empty());
    let no_v6 = world.get(0, WantFamilies::V6).unwrap_err();
    assert_eq!(no_v6.code(), "NoPool");
}

#[test]
fn an_ask_that_comes_before_the_pools_are_known_waits_for_them() {
    let mut ipam = crate::machine::Ipam::empty(
        world(0).clock.now(),
        Default::default(),
        caracal_api::BlockOwner {
            kind: caracal_api::OwnerKind::Node,
            name: "n1".into(),
            node_uid: "u".into(),
            machine_id: String::new(),
            claim_token: "t".into(),
        },
    );
    let clock = world(0).clock;
    let handle = Handle("net.c.eth0".into());
    let want = Want {
        handle: handle.clone(),
        families: WantFamilies::V4,
        requested: Vec::new(),
        pools: None,
        attributes: attributes(&handle),
    };
    let mut out = Vec::new();
    ipam.on(clock.now(), Input::Allocate(AskId(1), want), &mut out);
    assert!(out.is_empty(), "{out:?}");
    let until = ipam.deadline().unwrap();
    let late = crate::request::Now { monotonic: until, ..clock.now() };
    ipam.on(late, Input::Tick, &mut out);
    assert!(matches!(&out[..], [Action::Refused(AskId(1), Refusal::PoolsUnknown { .. })]), "{out:?}");
}

#[test]
fn a_late_delete_of_an_earlier_life_never_takes_a_block_from_under_its_pods() {
    let mut world = world(1);
    world.run_for(10 * SECOND);
    // The journal forgot the block and the delete was sent; then the agent died, and the delete is still on its way.
    let (name, block) = world.store.blocks.iter().next().map(|(n, b)| (n.clone(), b.clone())).unwrap();
    let old = (block.metadata.uid.clone().unwrap(), block.metadata.resource_version.clone().unwrap());
    world.nodes[0].disk.blocks.remove(&name);
    world.crash_and_start(0);
    world.run_for(30 * SECOND);
    if let Some(now) = world.store.blocks.get(&name) {
        let version = (now.metadata.uid.clone().unwrap(), now.metadata.resource_version.clone().unwrap());
        assert_ne!(version, old, "the late delete would hit it");
    }
}

#[test]
fn blocks_follow_their_range_into_the_parts_of_a_pool_that_was_split() {
    let mut world = world(2);
    let before = world.get(0, WantFamilies::DUAL).unwrap();
    let config = IpamConfigSpec { ip_cooldown_seconds: 20, ..IpamConfigSpec::default() };
    let halves =
        [("half-0", "10.244.0.0/26", 29), ("half-1", "10.244.0.64/26", 29), ("v6", "fd00:244::/121", 125)];
    let parts = std::sync::Arc::new(pools::pools(&halves, config));
    for n in 0..2 {
        let life = world.nodes[n].life;
        world.feed(n, life, Input::Pools(std::sync::Arc::clone(&parts)));
    }
    let claims = world.counts.claims;
    let after = world.get(0, WantFamilies::DUAL).unwrap();
    assert_eq!(after[0].block, before[0].block, "it goes on giving from the same block");
    assert!(after[0].pool.starts_with("half-") && after[1].pool == "v6", "{after:?}");
    assert_eq!(world.counts.claims, claims, "no other one is needed");
    world.run_for(10 * SECOND);
    for block in world.store.blocks.values().filter(|block| block.spec.cidr.contains('.')) {
        let pool = parts.get(&block.spec.pool).unwrap();
        assert_eq!(block.spec.pool_uid, pool.uid);
        assert!(pool.takes(block.spec.cidr.parse().unwrap()), "{:?}", block.spec);
    }
}
