//! Which pool serves whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use caracal_api::{AllowedUse, AssignmentMode, IpPool, IpamConfigSpec};
use ipnetwork::IpNetwork;

use super::SECOND;
use crate::pool::Pools;
use crate::refusal::Refusal;
use crate::request::{Input, NodeView};
use crate::simulation::node::attributes;
use crate::simulation::pools;
use crate::simulation::world::World;
use crate::want::{Allocation, Attributes, Family, Handle, Purpose, Want, WantFamilies};

/// A pool for IPv4 with something particular about it.
fn pool(name: &str, cidr: &str, edit: impl FnOnce(&mut IpPool)) -> IpPool {
    let mut pool = pools::object(name, cidr, 28);
    edit(&mut pool);
    pool
}

fn ask(
    world: &mut World,
    n: usize,
    number: usize,
    about: Attributes,
    named: &[&str],
) -> Result<Vec<Allocation>, Refusal> {
    let handle = Handle(format!("net.chosen{number}.eth0"));
    let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
    let want = Want {
        handle: handle.clone(),
        families: WantFamilies::V4,
        requested: Vec::new(),
        pools: (!named.is_empty()).then_some(named),
        attributes: Attributes { pod: format!("pod-{number}"), ..about },
    };
    world.ask_for(n, want);
    world.answer(&handle)
}

#[test]
fn the_first_pool_serves_that_fits_node_namespace_and_use_and_is_neither_disabled_nor_manual() {
    let objects = [
        pool("a-rack", "10.1.0.0/24", |pool| pool.spec.node_selector = "rack == 'b'".to_owned()),
        pool("b-team", "10.2.0.0/24", |pool| {
            pool.spec.namespace_selector =
                "team == 'red' || kubernetes.io/metadata.name == 'infra'".to_owned();
            pool.spec.allowed_uses = vec![AllowedUse::Workload];
        }),
        pool("c-tunnels", "10.3.0.0/24", |pool| pool.spec.allowed_uses = vec![AllowedUse::Tunnel]),
        pool("d-off", "10.4.0.0/24", |pool| pool.spec.disabled = true),
        pool("e-manual", "10.5.0.0/24", |pool| pool.spec.assignment_mode = AssignmentMode::Manual),
        pool("f-others", "10.6.0.0/24", |pool| {
            let others = "team != 'red' && kubernetes.io/metadata.name != 'infra'";
            pool.spec.namespace_selector = others.to_owned();
            pool.spec.allowed_uses = vec![AllowedUse::Workload];
        }),
    ];
    let pools = Pools::read(&objects, IpamConfigSpec::default(), Vec::new()).all_allocatable();
    // The first node is in rack a, the second one in rack b.
    let mut world = World::quiet(2, pools);
    world.run_for(2 * SECOND);
    let plain = || attributes(&Handle("pod".to_owned()));
    let red = || Attributes {
        namespace_labels: BTreeMap::from([("team".to_owned(), "red".to_owned())]),
        ..plain()
    };
    let infra = || Attributes { namespace: "infra".to_owned(), ..plain() };
    let tunnel = || Attributes { kind: Purpose::Tunnel, ..plain() };
    let table = [
        (0, plain(), &[][..], "f-others"),
        (1, plain(), &[], "a-rack"),
        (0, red(), &[], "b-team"),
        (0, infra(), &[], "b-team"),
        (0, tunnel(), &[], "c-tunnels"),
        (0, plain(), &["e-manual"], "e-manual"),
        // Who names a pool is not asked for node or namespace.
        (0, plain(), &["b-team"], "b-team"),
        (0, plain(), &["a-rack"], "a-rack"),
    ];
    for (number, (n, about, named, pool)) in table.into_iter().enumerate() {
        let granted = ask(&mut world, n, number, about, named).unwrap();
        assert_eq!(granted[0].pool, pool, "case {number}");
    }
    for (number, (named, why)) in
        [("d-off", "it is disabled"), ("c-tunnels", "its allowedUses do not include Workload")]
            .into_iter()
            .enumerate()
    {
        let refused = ask(&mut world, 0, 100 + number, plain(), &[named]).unwrap_err();
        assert_eq!(refused.code(), "NoPool");
        assert!(refused.to_string().contains(&format!("pool {named}: {why}")), "{refused}");
    }
}

#[test]
fn blocks_have_every_size_that_a_pool_may_ask_for() {
    for (cidr, size) in [
        ("10.0.0.0/22", 24),
        ("10.0.0.0/28", 32),
        ("fd00::/112", 120),
        ("fd00::/124", 128),
        ("fd00::/64", 122),
    ] {
        let range: IpNetwork = cidr.parse().unwrap();
        let mut world = World::quiet(2, pools::pools(&[("p", cidr, size)], IpamConfigSpec::default()));
        world.run_for(2 * SECOND);
        let family = match Family::of_network(range) {
            Family::V4 => WantFamilies::V4,
            Family::V6 => WantFamilies::V6,
        };
        for n in 0..2 {
            let granted = world.get(n, family).unwrap();
            assert_eq!(granted[0].block_cidr.prefix(), size, "{cidr}");
            assert!(range.contains(granted[0].address) && granted[0].block_cidr.contains(granted[0].address));
        }
    }
}

#[test]
fn a_claim_under_way_goes_on_in_the_ranges_of_the_pools_as_they_are_now() {
    let before = [("a", "10.1.0.0/24", 28), ("b", "10.2.0.0/24", 28)];
    let gone = [("b", "10.2.0.0/24", 28)];
    let made_anew = [("a", "10.3.0.0/24", 28)];
    for (now, range) in [(&gone[..], "10.2.0.0/24"), (&made_anew[..], "10.3.0.0/24")] {
        let mut world = World::quiet(1, pools::pools(&before, IpamConfigSpec::default()));
        world.outage(true);
        world.run_for(2 * SECOND);
        let handle = world.ask(0, WantFamilies::V4, Vec::new());
        let (life, uid) = (world.nodes[0].life, world.nodes[0].uid.clone());
        world.feed(0, life, Input::Node(Some(NodeView { uid, ..NodeView::default() })));
        world.run_for(2 * SECOND);
        let claimed = world.nodes[0].agent.as_ref().unwrap().report(world.clock.now()).claims;
        assert_eq!(claimed[0].pool, "a", "a claim in the first pool is under way");
        let pools = pools::pools(now, IpamConfigSpec::default());
        world.feed(0, life, Input::Pools(Arc::new(pools)));
        world.outage(false);
        let granted = world.answer(&handle).unwrap();
        let range: IpNetwork = range.parse().unwrap();
        assert!(range.contains(granted[0].address), "{granted:?} lies outside {range}");
        for block in world.store.blocks.values() {
            assert!(range.contains(block.spec.cidr.parse::<IpNetwork>().unwrap().ip()), "{:?}", block.spec);
        }
    }
}
