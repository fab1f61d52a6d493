//! What must hold whatever happens, in whatever order.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::rib::decision::{Rank, eliminate};

/// A path of one peer, few values of each kind so that ties are common.
#[derive(Clone, Debug)]
struct Offer {
    peer: u8,
    local_pref: Option<u32>,
    asns: Vec<u32>,
    med: Option<u32>,
    hop: u8,
}

fn offer() -> impl Strategy<Value = Offer> {
    let local_pref = prop::option::of(99u32..102);
    let asns = prop::collection::vec(1u32..4, 0..3);
    (1u8..7, local_pref, asns, prop::option::of(0u32..3), 1u8..4)
        .prop_map(|(peer, local_pref, asns, med, hop)| Offer { peer, local_pref, asns, med, hop })
}

fn source(peer: u8) -> Source {
    if peer.is_multiple_of(2) { Source::Ibgp } else { Source::Ebgp }
}

impl World {
    fn offer(&mut self, text: &str, offer: &Offer) {
        let set = AttributeSet { local_pref: offer.local_pref, med: offer.med, ..path(&offer.asns) };
        self.announce_by(offer.peer, text, &set, IpAddr::from([192, 0, 3, offer.hop]));
    }
}

/// What happens in a random life of a RIB.
#[derive(Clone, Debug)]
enum Happening {
    Offer(u8, Offer),
    Withdraw(u8, u8),
    Down(u8),
    Up(u8),
    Work,
    Pull,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0u8..6, offer()).prop_map(|(third, offer)| Happening::Offer(third, offer)),
        3 => (0u8..6, 1u8..7).prop_map(|(third, peer)| Happening::Withdraw(third, peer)),
        1 => (1u8..7).prop_map(Happening::Down),
        1 => (1u8..7).prop_map(Happening::Up),
        2 => Just(Happening::Work),
        2 => Just(Happening::Pull),
    ]
}

fn rank(med: u32, router_id: u32, metric: u32, key: &PeerKey) -> Rank<'_> {
    Rank {
        stale: false,
        long_lived_stale: false,
        local: false,
        local_pref: 100,
        as_path_length: 1,
        origin: 0,
        neighbour_as: Some(7),
        med,
        external: true,
        metric,
        router_id,
        cluster_list_length: 0,
        peer: Some(key),
        path_id: 0,
    }
}

static KEYS: LazyLock<[PeerKey; 3]> =
    LazyLock::new(|| [1, 2, 3].map(|last| PeerKey::from(IpAddr::from([192, 0, 2, last]))));

/// A path in which everything may differ, with few values of each so that ties are common.
fn any_rank() -> impl Strategy<Value = Rank<'static>> {
    let flags =
        (prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.2), any::<bool>());
    // The extremes are where one number could run into the next.
    let number = || prop_oneof![Just(0u32), Just(1), Just(u32::MAX)];
    let numbers =
        (number(), number(), 0u8..3, prop::option::of(1u32..3), number(), number(), number(), number());
    (flags, numbers, prop::option::of(0usize..3), 0u32..2).prop_map(|(flags, numbers, peer, path_id)| Rank {
        stale: flags.0,
        long_lived_stale: flags.1,
        local: flags.2,
        external: flags.3,
        local_pref: numbers.0,
        as_path_length: numbers.1,
        origin: numbers.2,
        neighbour_as: numbers.3,
        med: numbers.4,
        metric: numbers.5,
        router_id: numbers.6,
        cluster_list_length: numbers.7,
        peer: peer.map(|place| &KEYS[place]),
        path_id,
    })
}

/// The elimination as RFC 4271 §9.1.2.2 writes it: one step after the other, each with what the last has left.
fn step_by_step(ranks: &[Rank<'_>]) -> Vec<Option<WhyNot>> {
    use std::cmp::{Ordering, Reverse};
    type Step = fn(&Rank<'_>, &Rank<'_>) -> Ordering;
    let steps: [(WhyNot, Step); 13] = [
        (WhyNot::LongLivedStale, |a, b| a.long_lived_stale.cmp(&b.long_lived_stale)),
        (WhyNot::Stale, |a, b| a.stale.cmp(&b.stale)),
        (WhyNot::LocalOrigination, |a, b| b.local.cmp(&a.local)),
        (WhyNot::LocalPref, |a, b| Reverse(a.local_pref).cmp(&Reverse(b.local_pref))),
        (WhyNot::AsPathLength, |a, b| a.as_path_length.cmp(&b.as_path_length)),
        (WhyNot::Origin, |a, b| a.origin.cmp(&b.origin)),
        (WhyNot::Med, |a, b| match a.neighbour_as == b.neighbour_as {
            true => a.med.cmp(&b.med),
            false => Ordering::Equal,
        }),
        (WhyNot::InternalPeer, |a, b| b.external.cmp(&a.external)),
        (WhyNot::IgpMetric, |a, b| a.metric.cmp(&b.metric)),
        (WhyNot::RouterId, |a, b| a.router_id.cmp(&b.router_id)),
        (WhyNot::ClusterListLength, |a, b| a.cluster_list_length.cmp(&b.cluster_list_length)),
        (WhyNot::PeerAddress, |a, b| a.peer.cmp(&b.peer)),
        (WhyNot::PathId, |a, b| a.path_id.cmp(&b.path_id)),
    ];
    let mut verdicts = vec![None; ranks.len()];
    for (why, compare) in steps {
        let left: Vec<usize> = (0..ranks.len()).filter(|&i| verdicts[i].is_none()).collect();
        for &i in &left {
            if left.iter().any(|&j| compare(&ranks[j], &ranks[i]).is_lt()) {
                verdicts[i] = Some(why);
            }
        }
    }
    verdicts
}

proptest! {
    #[test]
    fn all_steps_at_once_come_to_what_one_after_the_other_does(
        ranks in prop::collection::vec(any_rank(), 0..12),
    ) {
        prop_assert_eq!(eliminate(&ranks).to_vec(), step_by_step(&ranks));
    }

    #[test]
    fn the_best_path_does_not_depend_on_the_order_of_arrival(
        offers in prop::collection::vec(offer(), 1..8),
        seed in any::<prop::sample::Index>(),
    ) {
        const P: &str = "10.1.0.0/24";
        // One offer a peer, so that the set of paths is the same in every order.
        let by_peer: BTreeMap<u8, Offer> = offers.into_iter().map(|offer| (offer.peer, offer)).collect();
        let mut offers: Vec<Offer> = by_peer.into_values().collect();
        let selected = |offers: &[Offer]| {
            let mut world = World::new();
            (1..7).for_each(|n| world.up(n, source(n)));
            offers.iter().for_each(|offer| world.offer(P, offer));
            world.explain(P).paths.iter().map(|path| (path.peer, path.standing)).filter(|(_, standing)| {
                matches!(standing, PathStanding::Best | PathStanding::Multipath(_))
            }).collect::<Vec<_>>()
        };
        let forward = selected(&offers);
        let turn = seed.index(offers.len());
        offers.rotate_left(turn);
        prop_assert_eq!(&selected(&offers), &forward);
        offers.reverse();
        prop_assert_eq!(&selected(&offers), &forward);
    }

    #[test]
    fn within_one_neighbour_as_the_order_is_total_and_its_least_is_chosen(
        values in prop::collection::vec((0u32..3, 0u32..4, 0u32..3, 0u8..8), 1..7),
    ) {
        let keys: Vec<PeerKey> = values.iter().map(|v| PeerKey::from(IpAddr::from([192, 0, 2, v.3]))).collect();
        let ranks: Vec<Rank<'_>> =
            values.iter().zip(&keys).map(|(v, key)| rank(v.0, v.1, v.2, key)).collect();
        for a in &ranks {
            for b in &ranks {
                prop_assert_eq!(a.compare(b), b.compare(a).reverse());
                for c in &ranks {
                    if a.compare(b).is_le() && b.compare(c).is_le() {
                        prop_assert!(a.compare(c).is_le());
                    }
                }
            }
        }
        let verdicts = eliminate(&ranks);
        let chosen = ranks.iter().zip(&verdicts).find(|(_, verdict)| verdict.is_none()).map(|(rank, _)| rank);
        let least = ranks.iter().min_by(|a, b| a.compare(b));
        prop_assert_eq!(chosen.map(|rank| rank.compare(least.unwrap())), Some(std::cmp::Ordering::Equal));
    }

    /// The strongest statement: a listener that hears every bundle, and a follower of best paths, believe exactly what
    /// the table says, and when every session is over nothing is left at all.
    #[test]
    fn who_follows_believes_what_the_table_says_and_nothing_survives_its_session(
        happenings in prop::collection::vec(happening(), 1..60),
    ) {
        let mut world = World::new();
        let mut up = [false; 7];
        let group = world.rib.open_group(profile(Some(Asn(65001))));
        let feed = world.rib.open_best();
        let wide = world.rib.open_group(EgressProfile {
            paths: Some(crate::config::PathsSent::All),
            ..profile(Some(Asn(65001)))
        });
        world.rib.join(wide, PeerSlot(1));
        let mut heard: BTreeMap<Nlri<Ipv4Prefix>, (Arc<AttributeSet>, IpAddr)> = BTreeMap::new();
        let mut listeners: Vec<Listener> = [1, 2, 200].map(Listener::new).into();
        for slot in [1, 2, 200] {
            world.rib.join(group, PeerSlot(slot));
        }
        let mut installed: BTreeMap<Ipv4Prefix, Vec<PeerSlot>> = BTreeMap::new();
        let text = |third: u8| format!("10.1.{third}.0/24");
        let finale = [Happening::Work, Happening::Pull];
        for happening in happenings.into_iter().chain(finale) {
            match happening {
                Happening::Offer(third, offer) => world.offer(&text(third), &offer),
                Happening::Withdraw(third, peer) => world.withdraw(peer, &text(third)),
                Happening::Down(n) => {
                    world.down(n);
                    up[usize::from(n)] = false;
                    world.settle();
                }
                Happening::Up(n) if !up[usize::from(n)] => {
                    world.up(n, source(n));
                    up[usize::from(n)] = true;
                }
                Happening::Up(_) => {}
                Happening::Work => world.settle(),
                Happening::Pull => {
                    let bundles = world.pull(group);
                    listeners.iter_mut().for_each(|listener| listener.hear(&bundles));
                    for bundle in world.pull(wide).iter().filter(|one| one.audience.includes(PeerSlot(1))) {
                        for nlri in &bundle.prefixes {
                            match &bundle.attributes {
                                Some(made) => heard.insert(*nlri, made.clone()),
                                None => heard.remove(nlri),
                            };
                        }
                    }
                    while world.rib.has_news(feed) {
                        let mut batch = BestBatch::default();
                        world.rib.pull_best(feed, 2, &mut batch);
                        for (prefix, paths) in batch.changes {
                            if paths.is_empty() {
                                prop_assert!(installed.remove(&prefix).is_some(), "told gone without being told");
                            } else {
                                installed.insert(prefix, paths.iter().map(|path| path.peer).collect());
                            }
                        }
                    }
                }
            }
        }
        let mut best: BTreeMap<Ipv4Prefix, Vec<PeerSlot>> = BTreeMap::new();
        for third in 0..6 {
            let used: Vec<PeerSlot> = world.explain(&text(third)).paths.iter().filter(|path| {
                matches!(path.standing, PathStanding::Best | PathStanding::Multipath(_))
            }).map(|path| path.peer).collect();
            if !used.is_empty() {
                best.insert(prefix(&text(third)), used);
            }
        }
        prop_assert_eq!(&installed, &best);
        for listener in &listeners {
            let due: Vec<String> = best.iter().filter(|(_, used)| used[0] != PeerSlot(listener.slot))
                .map(|(prefix, _)| prefix.to_string()).collect();
            prop_assert_eq!(listener.knows(), due, "listener {}", listener.slot);
            prop_assert_eq!(world.rib.announced(group, PeerSlot(listener.slot)) as usize, listener.routes.len());
        }
        // Who is told of every path knows as many as could be used and are not its own, by the same AS paths.
        let mut due: Vec<(Ipv4Prefix, String)> = Vec::new();
        for third in 0..6 {
            let could_be_used = |path: &&ExplainedPath| !matches!(path.standing, PathStanding::Rejected(_));
            let explained = world.explain(&text(third));
            let others = explained.paths.iter().filter(could_be_used).filter(|path| path.peer != PeerSlot(1));
            due.extend(others.map(|path| {
                let mut out = path.used.as_path.clone();
                out.prepend(LOCAL_AS);
                (prefix(&text(third)), out.to_string())
            }));
        }
        let mut known: Vec<(Ipv4Prefix, String)> =
            heard.iter().map(|(nlri, (set, _))| (nlri.prefix, set.as_path.to_string())).collect();
        due.sort();
        known.sort();
        prop_assert_eq!(known, due);

        (1..7).for_each(|n| world.down(n));
        world.settle();
        world.pull(group);
        world.pull(wide);
        let mut batch = BestBatch::default();
        world.rib.pull_best(feed, 99, &mut batch);
        prop_assert!(world.rib.is_empty());
        prop_assert_eq!(world.rib.attribute_sets(), 0);
        prop_assert!(world.rib.next_hops.is_empty());
    }
}
