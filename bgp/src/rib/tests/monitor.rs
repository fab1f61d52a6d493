//! A monitor knows every path of every peer, as it came and as import left it.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::policy::{PrefixMatch, Rule, Verdict};
use crate::rib::monitor::MOST_WAITING;

/// A path by its peer, its prefix and what the peer calls it; the local preference is what tells states apart here.
type Key = (u16, String, u32);

/// What a collector knows that was told each batch in its order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Collector {
    received: BTreeMap<Key, Vec<Asn>>,
    used: BTreeMap<Key, Vec<Asn>>,
    complete: Vec<u16>,
}

fn asns(set: &AttributeSet) -> Vec<Asn> {
    set.as_path.to_string().split(' ').filter_map(|word| word.parse().ok().map(Asn)).collect()
}

impl Collector {
    fn hear(&mut self, batch: MonitorBatch<Ipv4Prefix>) {
        assert!(!batch.overrun);
        for Monitored { peer, nlri, received, used } in batch.paths {
            let key = (peer.0, nlri.prefix.to_string(), nlri.path_id);
            for (table, state) in [(&mut self.received, received), (&mut self.used, used)] {
                match state {
                    Some((set, _)) => drop(table.insert(key.clone(), asns(&set))),
                    None => drop(table.remove(&key)),
                }
            }
        }
        self.complete.extend(batch.complete.iter().map(|slot| slot.0));
    }

    /// A session is over: a collector forgets its paths.
    fn forget(&mut self, n: u8) {
        self.received.retain(|(slot, ..), _| *slot != u16::from(n));
        self.used.retain(|(slot, ..), _| *slot != u16::from(n));
    }

    /// What is true.
    fn of(world: &World) -> Collector {
        let mut truth = Collector::default();
        let (prefixes, _) = world.rib.prefixes_from(DestId::FIRST, 10_000);
        for prefix in prefixes {
            for path in world.rib.explain(world.now, prefix).paths {
                let key = (path.peer.0, prefix.to_string(), path.path_id);
                let eligible = !matches!(path.standing, PathStanding::Rejected(WhyRejected::ImportPolicy));
                if path.peer == PeerSlot::LOCAL {
                    continue;
                }
                truth.received.insert(key.clone(), asns(&path.attributes));
                if eligible {
                    truth.used.insert(key, asns(&path.used));
                }
            }
        }
        truth
    }
}

fn pull_all(world: &mut World, who: MonitorId, collector: &mut Collector) {
    while world.rib.monitor_has_news(who) {
        collector.hear(world.rib.pull_monitor(who, 3));
    }
}

#[test]
fn rejected_paths_are_told_as_they_came_and_not_as_used() {
    let mut world = World::with_external(1);
    let unwanted = Rule::reject("unwanted", vec![PrefixMatch::exact("10.1.0.0/24".parse().unwrap())]);
    world.filter(1, Arc::new(Policy::new(vec![unwanted], Verdict::Accept)));
    world.settle();
    world.announce(1, "10.1.0.0/24", &path(&[1]));
    world.announce(1, "10.1.1.0/24", &path(&[1, 2]));
    world.originate("10.9.0.0/24");
    let who = world.rib.open_monitor();
    let mut collector = Collector::default();
    pull_all(&mut world, who, &mut collector);
    let prefixes =
        |table: &BTreeMap<Key, Vec<Asn>>| table.keys().map(|key| key.1.clone()).collect::<Vec<_>>();
    assert_eq!(prefixes(&collector.received), ["10.1.0.0/24", "10.1.1.0/24"]);
    assert_eq!(prefixes(&collector.used), ["10.1.1.0/24"]);
    assert_eq!(collector.complete, [1], "and the end of the table is told");

    // Another policy: the peer is asked for nothing, and nothing is told twice.
    world.filter(1, Arc::new(Policy::accept_all()));
    world.settle();
    let batch = world.rib.pull_monitor(who, 100);
    assert_eq!(batch.paths.len(), 1);
    assert!(batch.paths[0].used.is_some());
}

#[test]
fn the_end_of_a_table_is_told_after_what_came_before_it() {
    let mut world = World::with_external(2);
    let who = world.rib.open_monitor();
    pull_all(&mut world, who, &mut Collector::default());
    (0..9).for_each(|third| world.announce(2, &format!("10.2.{third}.0/24"), &path(&[2])));
    world.apply(Change::EndOfRib(PeerSlot(2)));
    let mut told = 0;
    loop {
        let batch = world.rib.pull_monitor(who, 2);
        told += batch.paths.len();
        if !batch.complete.is_empty() {
            break;
        }
    }
    assert_eq!(told, 9);
}

#[test]
fn whatever_happens_the_collector_ends_with_what_is_true() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::with_external(3);
        let mut up = [true; 4];
        let who = world.rib.open_monitor();
        let mut collector = Collector::default();
        for _ in 0..random.random_range(1..200) {
            let n = random.random_range(1..=3_u8);
            let text = format!("10.{}.0.0/16", random.random_range(0..12));
            match random.random_range(0..12) {
                0..=4 if up[usize::from(n)] => {
                    let set = path(&[n.into(), random.random_range(1..4)]);
                    world.announce_path(n, &text, random.random_range(0..2), &set);
                }
                5 | 6 => world.withdraw(n, &text),
                7 if up[usize::from(n)] => {
                    let rule = Rule::reject("r", vec![PrefixMatch::exact(text.parse().unwrap())]);
                    world.filter(n, Arc::new(Policy::new(vec![rule], Verdict::Accept)));
                }
                8 if up[usize::from(n)] => world.apply(Change::RefreshBegins(PeerSlot(n.into()))),
                9 if up[usize::from(n)] => world.apply(Change::RefreshEnds(PeerSlot(n.into()))),
                10 if up[usize::from(n)] && random.random_range(0..4) == 0 => {
                    world.down(n);
                    collector.forget(n);
                    up[usize::from(n)] = false;
                }
                11 => collector.hear(world.rib.pull_monitor(who, random.random_range(1..5))),
                _ => drop(world.rib.work(random.random_range(1..5))),
            }
        }
        world.settle();
        pull_all(&mut world, who, &mut collector);
        collector.complete.clear();
        assert_eq!(collector, Collector::of(&world), "seed {seed}");
    }
}

#[test]
fn a_monitor_that_lets_too_much_wait_is_told_so_and_keeps_nothing() {
    let mut world = World::with_external(1);
    let who = world.rib.open_monitor();
    pull_all(&mut world, who, &mut Collector::default());
    let set = path(&[1]);
    let next_hop = Some(IpAddr::from([192, 0, 2, 1]));
    let all: Vec<Nlri<Ipv4Prefix>> = (0..=MOST_WAITING as u32)
        .map(|n| Ipv4Prefix::new(Ipv4Addr::from_bits(0x0b00_0000 + n), 32).unwrap().into())
        .collect();
    let (most, rest) = all.split_at(MOST_WAITING);
    world.apply(Change::Announce(PeerSlot(1), Attrs { set: &set, next_hop }, most));
    let told = world.rib.pull_monitor(who, 1);
    assert!(!told.overrun && told.paths.len() == 1);
    world.apply(Change::Announce(PeerSlot(1), Attrs { set: &set, next_hop }, &most[..1]));
    world.apply(Change::Withdraw(PeerSlot(1), &most[..1]));
    world.apply(Change::Announce(PeerSlot(1), Attrs { set: &set, next_hop }, rest));
    let told = world.rib.pull_monitor(who, 1);
    assert!(told.overrun && told.paths.is_empty());

    // One that comes anew walks the table, and what changes ahead of its walk waits for nobody.
    world.rib.close_monitor(who);
    let who = world.rib.open_monitor();
    let again = path(&[1, 2]);
    world.apply(Change::Announce(PeerSlot(1), Attrs { set: &again, next_hop }, &all));
    let told = world.rib.pull_monitor(who, 1);
    assert!(!told.overrun && told.paths.len() == 1);
}
