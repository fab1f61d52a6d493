use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

impl Value for u8 {
    fn maker(&self) -> String {
        format!("maker of {self}")
    }
}

type Keys = Table<u8, u8>;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn plan(table: &mut Keys, now: Instant) -> Vec<Op<u8, u8>> {
    let mut ops = Vec::new();
    table.plan(now, usize::MAX / 2, &mut ops);
    ops
}

#[test]
fn what_is_wanted_and_missing_is_created_and_then_settled() {
    let now = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    table.want(1, Some(10));
    assert_eq!(table.standing(&1), Standing::Pending);
    assert_eq!(plan(&mut table, now), [Op::Create(1, 10)]);
    assert_eq!(table.standing(&1), Standing::Pending);
    table.done(now, &1, Ok(()));
    assert_eq!(plan(&mut table, now), []);
    assert_eq!(table.standing(&1), Standing::Settled);
}

#[test]
fn what_differs_is_replaced_and_what_is_unwanted_deleted() {
    let now = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    table.saw(now, 1, Some(9), Owner::Ours);
    table.saw(now, 2, Some(9), Owner::Ours);
    table.want(1, Some(10));
    assert_eq!(plan(&mut table, now), [Op::Replace(1, 10), Op::Delete(2)]);
}

#[test]
fn the_plan_keeps_to_its_budget_and_goes_on_where_it_stopped() {
    let now = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    for key in 0..5 {
        table.want(key, Some(1));
    }
    let mut ops = Vec::new();
    table.plan(now, 2, &mut ops);
    assert_eq!(ops, [Op::Create(0, 1), Op::Create(1, 1)]);
    ops.clear();
    table.plan_key(now, &4, &mut ops);
    assert_eq!(ops, [Op::Create(4, 1)]);
    ops.clear();
    table.plan(now, 9, &mut ops);
    assert_eq!(ops, [Op::Create(2, 1), Op::Create(3, 1)]);
}

#[test]
fn what_was_found_at_the_start_stays_until_the_sweep_is_released_or_it_is_withdrawn() {
    let now = Instant::now();
    let mut table = Keys::new(Sweep::Held);
    table.resync(|_, _| true, [(1, 9, Owner::Ours), (2, 9, Owner::Ours), (3, 9, Owner::Ours)]);
    table.want(3, Some(9));
    assert_eq!(plan(&mut table, now), []);
    table.want(1, None);
    assert_eq!(plan(&mut table, now), [Op::Delete(1)]);
    table.done(now, &1, Ok(()));
    table.release_sweep();
    assert_eq!(plan(&mut table, now), [Op::Delete(2)]);
}

#[test]
fn a_foreign_object_is_reported_and_taken_up_once_it_is_gone() {
    let now = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    table.want(1, Some(10));
    table.saw(now, 1, Some(77), Owner::Foreign);
    assert_eq!(plan(&mut table, now), []);
    assert_eq!(table.standing(&1), Standing::Refused(&Refusal::Conflict { with: "maker of 77".into() }));
    table.saw(now, 1, None, Owner::Foreign);
    assert_eq!(plan(&mut table, now), [Op::Create(1, 10)]);
    table.done(now, &1, Ok(()));
    assert_eq!(plan(&mut table, now), []);
    assert_eq!(table.refused(), 0);
}

#[test]
fn the_end_of_a_foreign_object_says_nothing_of_ours() {
    let now = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    table.want(1, Some(10));
    table.saw(now, 1, Some(10), Owner::Ours);
    table.saw(now, 1, None, Owner::Foreign);
    assert_eq!(plan(&mut table, now), []);
}

#[test]
fn foreign_objects_that_nobody_wants_are_not_remembered() {
    let now = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    table.saw(now, 1, Some(1), Owner::Foreign);
    table.resync(|_, _| true, [(2, 2, Owner::Foreign)]);
    assert!(table.entries.is_empty());
    table.want(3, Some(1));
    table.saw(now, 3, Some(1), Owner::Foreign);
    table.want(3, None);
    assert_eq!(plan(&mut table, now), []);
    assert!(table.entries.is_empty());
}

#[test]
fn a_kernel_refusal_is_tried_again_after_a_pause_that_grows() {
    let start = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    table.want(1, Some(10));
    let no = || Refusal::Kernel { errno: 22, message: "no".into() };
    assert_eq!(plan(&mut table, start).len(), 1);
    table.done(start, &1, Err(no()));
    assert_eq!(table.standing(&1), Standing::Refused(&no()));
    assert_eq!(table.deadline(), Some(start + seconds(1)));
    assert_eq!(plan(&mut table, start + Duration::from_millis(900)), []);
    assert_eq!(plan(&mut table, start + seconds(1)), [Op::Create(1, 10)]);
    table.done(start + seconds(1), &1, Err(no()));
    assert_eq!(plan(&mut table, start + seconds(2)), []);
    assert_eq!(plan(&mut table, start + seconds(3)), [Op::Create(1, 10)]);
}

#[test]
fn what_is_in_the_way_unseen_is_told_only_when_a_look_has_not_explained_it() {
    let start = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    for key in [1, 2] {
        table.want(key, Some(10));
    }
    assert_eq!(plan(&mut table, start).len(), 2);
    for key in [1, 2] {
        table.done(start, &key, Err(Refusal::Exists));
        assert_eq!(table.standing(&key), Standing::Pending);
    }
    assert_eq!((table.refused(), table.generation()), (0, 0));
    // It was made in our name, as the kernel makes the address of a device.
    table.saw(start, 1, Some(10), Owner::Ours);
    assert_eq!(plan(&mut table, start), []);
    assert_eq!(table.standing(&1), Standing::Settled);
    // Nobody saw the other, and it is still there.
    assert_eq!(plan(&mut table, start + seconds(1)), [Op::Create(2, 10)]);
    table.done(start + seconds(1), &2, Err(Refusal::Exists));
    assert_eq!(table.standing(&2), Standing::Refused(&Refusal::Exists));
    assert_eq!((table.refused(), table.generation()), (1, 1));
    table.saw(start + seconds(2), 2, Some(10), Owner::Ours);
    assert_eq!(plan(&mut table, start + seconds(2)), []);
    assert_eq!((table.refused(), table.generation()), (0, 2));
}

#[test]
fn what_waits_for_a_link_is_tried_when_the_link_is_there() {
    let now = Instant::now();
    let link = crate::object::link::IfName::LOOPBACK;
    let mut table = Keys::new(Sweep::Released);
    table.want(1, Some(10));
    plan(&mut table, now);
    table.done(now, &1, Err(Refusal::LinkMissing(link)));
    assert_eq!(plan(&mut table, now + seconds(3600)), []);
    table.retry(|_, want, refusal| want == Some(&10) && *refusal == Refusal::LinkMissing(link));
    assert_eq!(plan(&mut table, now + seconds(3600)), [Op::Create(1, 10)]);
}

#[test]
fn a_key_that_another_hand_changes_five_times_is_left_alone_and_taken_up_later() {
    let mut start = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    table.want(1, Some(10));
    table.saw(start, 1, Some(10), Owner::Ours);
    for round in 1..=5 {
        start += hold::BURST;
        assert_eq!(plan(&mut table, start), [], "round {round}");
        table.saw(start, 1, None, Owner::Ours);
        if round < 5 {
            assert_eq!(plan(&mut table, start), [Op::Create(1, 10)]);
            table.done(start, &1, Ok(()));
        }
    }
    assert_eq!(plan(&mut table, start), []);
    assert!(matches!(table.standing(&1), Standing::Refused(Refusal::Contended { times: 5, pause_s: 10 })));
    // More of the same does not wake it, the end of the pause does.
    table.saw(start + seconds(5), 1, Some(11), Owner::Ours);
    assert_eq!(plan(&mut table, start + seconds(9)), []);
    assert_eq!(plan(&mut table, start + seconds(10)), [Op::Replace(1, 10)]);
}

#[test]
fn a_loop_that_removes_what_comes_back_is_given_a_moment_to_end() {
    let start = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    table.want(1, Some(10));
    plan(&mut table, start);
    table.done(start, &1, Ok(()));
    table.saw(start, 1, None, Owner::Ours);
    assert_eq!(plan(&mut table, start), [Op::Create(1, 10)], "the first time it is repaired at once");
    table.done(start, &1, Ok(()));
    table.saw(start, 1, None, Owner::Ours);
    assert_eq!(plan(&mut table, start), []);
    assert_eq!(table.standing(&1), Standing::Pending);
    assert_eq!(table.refused(), 0);
    assert_eq!(plan(&mut table, start + Duration::from_millis(50)), [Op::Create(1, 10)]);
}

#[test]
fn withdrawing_ends_a_contest() {
    let mut start = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    table.want(1, Some(10));
    for _ in 0..5 {
        start += hold::BURST;
        table.saw(start, 1, Some(10), Owner::Ours);
        table.saw(start, 1, Some(11), Owner::Ours);
    }
    assert_eq!(plan(&mut table, start), []);
    table.want(1, None);
    assert_eq!(plan(&mut table, start), [Op::Delete(1)]);
}

#[test]
fn losses_that_are_nobodys_doing_are_no_contest() {
    let now = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    table.want(1, Some(10));
    for _ in 0..20 {
        assert_eq!(plan(&mut table, now), [Op::Create(1, 10)]);
        table.done(now, &1, Ok(()));
        assert_eq!(plan(&mut table, now), []);
        table.lost(&1);
    }
}

#[test]
fn an_event_during_an_operation_counts_for_more_than_its_success() {
    let now = Instant::now();
    let mut table = Keys::new(Sweep::Released);
    table.want(1, Some(10));
    plan(&mut table, now);
    table.saw(now, 1, Some(77), Owner::Foreign);
    table.done(now, &1, Ok(()));
    assert_eq!(plan(&mut table, now), []);
    assert!(matches!(table.standing(&1), Standing::Refused(Refusal::Conflict { .. })));
}

/// A kernel in small: what is there, and whose. It loses events on demand, and then says so, as netlink does.
struct Kernel {
    there: BTreeMap<u8, (u8, Owner)>,
    overflown: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Want(u8, Option<u8>),
    /// Another hand sets or removes a key, under our mark or under another. The last says whether the event gets lost.
    Meddle(u8, Option<u8>, bool, bool),
    /// Events are read and up to this many operations performed; the kernel refuses every n-th.
    Work(usize, usize),
    Pass(u64),
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..6_u8;
    prop_oneof![
        4 => (key.clone(), proptest::option::of(0..4_u8)).prop_map(|(k, v)| Step::Want(k, v)),
        4 => (key, proptest::option::of(0..4_u8), any::<bool>(), any::<bool>())
            .prop_map(|(k, v, ours, lost)| Step::Meddle(k, v, ours, lost)),
        4 => (0..8_usize, 2..9_usize).prop_map(|(budget, refuse)| Step::Work(budget, refuse)),
        1 => (0..30_u64).prop_map(Step::Pass),
        1 => Just(Step::Release),
    ]
}

struct World {
    kernel: Kernel,
    table: Keys,
    now: Instant,
    wants: BTreeMap<u8, Option<u8>>,
    released: bool,
    performed: usize,
}

impl World {
    fn new(found: &[(u8, u8, bool)]) -> Self {
        let whose = |ours: bool| if ours { Owner::Ours } else { Owner::Foreign };
        let there: BTreeMap<_, _> = found.iter().map(|&(k, v, ours)| (k, (v, whose(ours)))).collect();
        let mut world = Self {
            kernel: Kernel { there, overflown: false },
            table: Keys::new(Sweep::Held),
            now: Instant::now(),
            wants: BTreeMap::new(),
            released: false,
            performed: 0,
        };
        world.resync();
        world
    }

    fn resync(&mut self) {
        let dump: Vec<_> = self.kernel.there.iter().map(|(&k, &(v, owner))| (k, v, owner)).collect();
        self.table.resync(|_, _| true, dump);
        self.kernel.overflown = false;
    }

    fn event(&mut self, key: u8, value: Option<u8>, owner: Owner, lost: bool) {
        if lost {
            self.kernel.overflown = true;
        } else {
            self.table.saw(self.now, key, value, owner);
        }
    }

    fn meddle(&mut self, key: u8, value: Option<u8>, ours: bool, lost: bool) {
        let owner = if ours { Owner::Ours } else { Owner::Foreign };
        match value {
            Some(value) => {
                self.kernel.there.insert(key, (value, owner));
                self.event(key, Some(value), owner, lost);
            }
            None => {
                if let Some((_, owner)) = self.kernel.there.remove(&key) {
                    self.event(key, None, owner, lost);
                }
            }
        }
    }

    fn work(&mut self, budget: usize, refuse: Option<usize>) -> usize {
        if self.kernel.overflown {
            self.resync();
        }
        let mut ops = Vec::new();
        self.table.plan(self.now, budget, &mut ops);
        assert!(ops.len() <= budget);
        for op in &ops {
            self.performed += 1;
            let key = *op.key();
            let result = if refuse.is_some_and(|n| self.performed.is_multiple_of(n)) {
                Err(Refusal::Kernel { errno: 12, message: "out of memory".into() })
            } else {
                self.perform(op)
            };
            let exists = result == Err(Refusal::Exists);
            self.table.done(self.now, &key, result);
            if let Some((value, owner)) = self.kernel.there.get(&key).copied().filter(|_| exists) {
                self.table.saw(self.now, key, Some(value), owner);
            }
        }
        ops.len()
    }

    fn perform(&mut self, op: &Op<u8, u8>) -> Result<(), Refusal> {
        match op {
            Op::Create(key, value) => {
                assert_eq!(self.wants.get(key), Some(&Some(*value)), "created what nobody wants");
                if self.kernel.there.contains_key(key) {
                    return Err(Refusal::Exists);
                }
                self.kernel.there.insert(*key, (*value, Owner::Ours));
            }
            Op::Replace(key, value) => {
                assert_eq!(self.wants.get(key), Some(&Some(*value)), "replaced by what nobody wants");
                let old = self.kernel.there.insert(*key, (*value, Owner::Ours));
                assert!(matches!(old, Some((_, Owner::Ours))), "replaced {old:?}");
            }
            Op::Delete(key) => {
                assert!(self.released || self.wants.contains_key(key), "deleted while the sweep is held");
                assert!(matches!(self.wants.get(key), None | Some(None)), "deleted what is wanted");
                let old = self.kernel.there.remove(key);
                assert!(matches!(old, Some((_, Owner::Ours))), "deleted {old:?}");
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Want(key, value) => {
                self.wants.insert(key, value);
                self.table.want(key, value);
            }
            Step::Meddle(key, value, ours, lost) => self.meddle(key, value, ours, lost),
            Step::Work(budget, refuse) => {
                self.work(budget, Some(refuse));
            }
            Step::Pass(length) => self.now += seconds(length),
            Step::Release => {
                self.released = true;
                self.table.release_sweep();
            }
        }
    }

    /// No more meddling, and time enough: then everything has to be as wanted.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.now += seconds(301);
            while self.work(3, None) > 0 {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is wanted, done by other hands and lost on the way, the kernel ends as wanted, foreign objects are never
    /// touched, and nothing found at the start goes while the sweep is held.
    #[test]
    fn any_history_converges_to_what_is_wanted(
        found in proptest::collection::vec((0..6_u8, 0..4_u8, any::<bool>()), 0..6),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut world = World::new(&found);
        for step in &steps {
            world.step(step);
        }
        world.settle();
        world.step(&Step::Release);
        world.settle();
        for key in 0..6 {
            let there = world.kernel.there.get(&key).copied();
            match (world.wants.get(&key).copied().flatten(), there) {
                (Some(_), Some((_, Owner::Foreign))) => {
                    let conflict = matches!(world.table.standing(&key), Standing::Refused(Refusal::Conflict { .. }));
                    prop_assert!(conflict, "key {}: a conflict was not reported", key);
                }
                (Some(want), there) => {
                    prop_assert_eq!(there, Some((want, Owner::Ours)), "key {}", key);
                    prop_assert_eq!(world.table.standing(&key), Standing::Settled);
                }
                (None, Some((_, Owner::Ours))) => prop_assert!(false, "key {}: ours is left over", key),
                (None, None | Some((_, Owner::Foreign))) => {}
            }
        }
        // Settled means quiet.
        prop_assert_eq!(world.work(9, None), 0);
    }
}
