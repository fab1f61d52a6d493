//! The run: a queue of events in simulated time, and what each does.

mod chance;
mod cluster;
mod disk;
mod event;
mod network;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use caracal_api::IpamBlock;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use event::{Change, Event};

use super::check::{self, Holders};
use super::clock::Clock;
use super::node::{Node, attributes};
use super::plan::Plan;
use super::pools::PoolObjects;
use super::store::Store;
use crate::borrow::FORMER_NODE;
use crate::collect::Collector;
use crate::pool::Pools;
use crate::recover::JournalTrust;
use crate::refusal::Refusal;
use crate::request::{Action, AskId, Input, Lost, Request};
use crate::settings::Settings;
use crate::want::{Allocation, Family, Handle, Want, WantFamilies};

/// How long everything has to come to rest afterwards.
const REST: u64 = 9 * 60_000;
/// Steps of one node without time passing that are no endless loop yet.
const MOST_STEPS_AT_ONCE: usize = 250;
/// How long the client waits for an answer.
const CLIENT_PATIENCE: u64 = 5_000;

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) grants: u64,
    pub(super) claims: u64,
    pub(super) crashes: u64,
    pub(super) steps: u64,
    /// Grants from blocks of others.
    pub(super) borrowed: u64,
    /// Blocks of removed nodes that the controller freed.
    pub(super) collected: u64,
    /// Claims refused since another node announces the block.
    pub(super) kept_off: u64,
    /// Asks refused since the node must not allocate.
    pub(super) fenced: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.grants += other.grants;
        self.claims += other.claims;
        self.crashes += other.crashes;
        self.steps += other.steps;
        self.borrowed += other.borrowed;
        self.collected += other.collected;
        self.kept_off += other.kept_off;
        self.fenced += other.fenced;
    }
}

pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) nodes: Vec<Node>,
    pub(super) counts: Counts,
    /// How many addresses each ask wants.
    pub(super) wanted: BTreeMap<Handle, usize>,
    pub(super) answers: BTreeMap<Handle, Result<Vec<Allocation>, Refusal>>,
    /// Who was told that its address is another's.
    pub(super) lost: Vec<(usize, Lost)>,
    pub(super) trust: JournalTrust,
    pub(super) outage: bool,
    pub(super) holders: Holders,
    plan: Plan,
    /// The UID of the Node of each name, while there is one.
    registered: BTreeMap<String, String>,
    collector: Collector,
    pool_objects: PoolObjects,
    backup: BTreeMap<String, Arc<IpamBlock>>,
    /// Until when the API server is being restored.
    restored_at: u64,
    /// Blocks whose objects were changed by hand or by a restore: only the network tells whose they are.
    pub(super) tampered: BTreeSet<String>,
    /// What a step broke, if anything.
    broken: Result<(), String>,
    pools: Arc<Pools>,
    settings: Settings,
    rng: SmallRng,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    next_handle: u64,
    next_uid: u64,
    chaos: bool,
    steps_at_once: usize,
    /// How many of the last steps are kept to be printed.
    pub(super) traced: usize,
    trace: VecDeque<String>,
}

impl World {
    /// A world that chance rules.
    pub(super) fn new(plan: &Plan) -> Self {
        let objects = PoolObjects::of(plan);
        let mut world = Self::quiet(0, objects.read());
        world.pool_objects = objects;
        world.rng = SmallRng::seed_from_u64(!plan.seed);
        world.chaos = true;
        world.settings = plan.settings.clone();
        world.collector = Collector::new(plan.quarantine());
        world.plan = plan.clone();
        world.add_nodes(plan.nodes);
        world.plan_faults();
        world
    }

    /// A world in which nothing happens by chance.
    pub(super) fn quiet(nodes: usize, pools: Pools) -> Self {
        let settings = Settings {
            publish_after: Duration::from_secs(3),
            give_back_after: Duration::from_secs(60),
            verify_every: Duration::from_secs(60),
            ..Settings::default()
        };
        let plan = Plan { faults: Vec::new(), ..Plan::of(0) };
        let mut world = Self {
            holders: Holders::default(),
            registered: BTreeMap::new(),
            collector: Collector::new(Duration::from_secs(5400)),
            pool_objects: PoolObjects::of(&plan),
            plan,
            backup: BTreeMap::new(),
            restored_at: 0,
            tampered: BTreeSet::new(),
            broken: Ok(()),
            clock: Clock::new(),
            store: Store::default(),
            nodes: Vec::new(),
            counts: Counts::default(),
            wanted: BTreeMap::new(),
            answers: BTreeMap::new(),
            lost: Vec::new(),
            trust: JournalTrust::Whole,
            outage: false,
            pools: Arc::new(pools),
            settings,
            rng: SmallRng::seed_from_u64(0),
            events: BTreeMap::new(),
            sequence: 0,
            next_handle: 0,
            next_uid: 0,
            chaos: false,
            steps_at_once: 0,
            traced: 0,
            trace: VecDeque::new(),
        };
        world.add_nodes(nodes);
        world
    }

    fn add_nodes(&mut self, count: usize) {
        for n in 0..count {
            let uid = self.fresh_uid();
            self.registered.insert(format!("node-{n}"), uid.clone());
            self.nodes.push(Node::new(format!("node-{n}"), uid, format!("machine-{n}")));
            self.at(0, Event::Start(n));
            if self.chaos {
                self.at(10, Event::WantPod(n));
                self.plan_crash(n);
            }
        }
    }

    fn fresh_uid(&mut self) -> String {
        self.next_uid += 1;
        format!("node-uid-{}", self.next_uid)
    }

    /// The whole run: chance, then rest while pods run on, then rest without pods, then the last look.
    pub(super) fn run(&mut self) -> Result<(), String> {
        self.run_until(self.plan.chaos)?;
        self.heal();
        self.settle(|world| check::published(&world.nodes, &world.store, &world.pools))?;
        self.end_pods();
        self.settle(|world| check::at_the_end(&world.nodes, &world.store, &world.tampered))
    }

    /// Lets time pass until something holds. What rests, and what waits for a quarantine, may take its time; what comes
    /// to rest sooner ends it.
    fn settle(&mut self, holds: impl Fn(&Self) -> Result<(), String>) -> Result<(), String> {
        let last = self.clock.millis + REST;
        loop {
            self.run_until(last.min(self.clock.millis + REST / 12))?;
            let outcome = holds(self);
            if outcome.is_ok() || self.clock.millis >= last {
                return outcome;
            }
        }
    }

    pub(super) fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(((millis, _), event)) = self.events.pop_first() {
            if millis > end {
                self.at_millis(millis, event);
                break;
            }
            self.steps_at_once = if millis > self.clock.millis { 0 } else { self.steps_at_once + 1 };
            if self.steps_at_once > MOST_STEPS_AT_ONCE * (self.nodes.len() + 2) {
                if let Event::Tick(n, _) = &event {
                    self.trace.push_back(format!("{:#?}", self.nodes[*n].agent));
                }
                return Err(format!("an endless loop at {millis} ms: {event:?}"));
            }
            self.clock.millis = self.clock.millis.max(millis);
            self.note(&event);
            self.counts.steps += 1;
            let who = event.node();
            self.happen(event);
            if let Some(agent) = who.and_then(|n| self.nodes[n].agent.as_ref()) {
                check::partition(agent)?;
            }
            std::mem::replace(&mut self.broken, Ok(()))?;
        }
        self.clock.millis = self.clock.millis.max(end);
        Ok(())
    }

    fn note(&mut self, event: &Event) {
        if self.traced == 0 {
            return;
        }
        if self.trace.len() == self.traced {
            self.trace.pop_front();
        }
        let Some(text) = event.brief() else { return };
        self.trace.push_back(format!("{:>8} {text}", self.clock.millis));
    }

    pub(super) fn print_trace(&self) {
        for line in &self.trace {
            eprintln!("{line}");
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(n, life, id, request, heard) => self.arrive(n, life, id, &request, heard),
            Event::Reply(n, life, id, result) => self.feed(n, life, Input::Replied(id, result)),
            Event::Watch(n, life, delta) => self.feed(n, life, Input::Blocks(delta)),
            Event::Relist(n, life) => self.relist(n, life),
            Event::NodeSeen(n, life) => {
                let view = self.view(n);
                self.feed(n, life, Input::Node(view));
                self.keep_identity(n);
            }
            Event::Tick(n, life) => {
                if self.nodes[n].tick == (life, self.clock.millis) {
                    self.nodes[n].tick = (life, u64::MAX);
                }
                self.feed(n, life, Input::Tick);
            }
            Event::Disk(n, life, change) => self.written(n, life, change),
            Event::Send(n, life, id, request) => {
                if self.lives(n, life) {
                    self.send(n, life, id, request);
                }
            }
            Event::Kept(n, life, handle) => self.kept(n, life, handle),
            Event::PodEnds(n, handle) => self.pod_ends(n, handle),
            Event::Removed(n, life, handle) => self.removed(n, life, handle),
            Event::WantPod(n) => self.want_pod(n),
            Event::Crash(n) => self.crash(n),
            Event::Start(n) => self.start(n),
            Event::Outage(begins) => self.outage(begins),
            Event::Cut(n, begins) => self.cut(n, begins),
            Event::Remove(n) => self.remove(n),
            Event::Register(n) => self.register(n),
            Event::Collect => self.collect(),
            Event::Backup => self.back_up(),
            Event::Restored => self.greet_all(),
            Event::HandDelete => self.delete_by_hand(),
            Event::PoolEdit => self.edit_pools(),
            Event::Share => self.share(),
            Event::PoolsSeen(n, life, pools) => self.feed(n, life, Input::Pools(pools)),
        }
    }

    fn lives(&self, n: usize, life: u64) -> bool {
        self.nodes[n].life == life && self.nodes[n].agent.is_some()
    }

    fn at(&mut self, after: u64, event: Event) {
        self.at_millis(self.clock.millis + after, event);
    }

    fn at_millis(&mut self, millis: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((millis, self.sequence), event);
    }

    /// Gives an input to an agent, if it is still the one that was meant.
    pub(super) fn feed(&mut self, n: usize, life: u64, input: Input) {
        if !self.lives(n, life) {
            return;
        }
        let now = self.clock.now();
        let mut out = Vec::new();
        let Some(agent) = self.nodes[n].agent.as_mut() else { return };
        agent.on(now, input, &mut out);
        if let Some(live) = agent.last_live() {
            self.nodes[n].disk.live = self.clock.millis_of(live);
        }
        self.sync_kept(n);
        for action in out {
            self.act(n, life, action);
        }
        let deadline = self.nodes[n].agent.as_ref().and_then(|a| a.deadline());
        if let Some(deadline) = deadline {
            let millis = self.clock.millis_of(deadline).max(self.clock.millis);
            let (tick_life, tick_at) = self.nodes[n].tick;
            if tick_life != life || millis < tick_at {
                self.nodes[n].tick = (life, millis);
                self.at_millis(millis, Event::Tick(n, life));
            }
        }
    }

    fn act(&mut self, n: usize, life: u64, action: Action) {
        match action {
            Action::Granted(id, allocations) => {
                let Some(handle) = self.nodes[n].asks.remove(&id) else { return };
                self.counts.grants += 1;
                self.answers.insert(handle.clone(), Ok(allocations.clone()));
                self.judge(n, &handle, &allocations);
                self.nodes[n].granted.insert(handle.clone(), allocations);
                let after = self.rng.random_range(1..20);
                self.at(after, Event::Kept(n, life, handle));
            }
            Action::Refused(id, refusal) => {
                let Some(handle) = self.nodes[n].asks.remove(&id) else { return };
                self.counts.fenced += u64::from(matches!(refusal.code(), "Fenced" | "OutageTooLong"));
                self.answers.insert(handle, Err(refusal));
            }
            Action::Lost(lost) => {
                let explained = self.tampered.contains(&lost.block) || lost.holder == FORMER_NODE;
                if !explained && self.broken.is_ok() {
                    self.broken = Err(format!("{} on {}: {lost}", lost.handle, self.nodes[n].name));
                }
                self.lost.push((n, lost));
            }
            Action::KeepAndAsk(block, id, request) => {
                self.write(n, Change::Keep(block));
                let when = self.nodes[n].disk_until;
                self.at_millis(when, Event::Send(n, life, id, request));
            }
            Action::Ask(id, request) => match &request {
                Request::Delete { name, .. } => {
                    let name = name.clone();
                    self.write(n, Change::Forget(name));
                    let when = self.nodes[n].disk_until;
                    self.at_millis(when, Event::Send(n, life, id, request));
                }
                Request::Create(_)
                | Request::Replace(_)
                | Request::Read(_)
                | Request::ListNames
                | Request::ReadNode => {
                    self.send(n, life, id, request);
                }
            },
        }
    }

    /// Asks an agent for addresses; the answer is kept under the handle.
    pub(super) fn ask(
        &mut self,
        n: usize,
        families: WantFamilies,
        requested: Vec<std::net::IpAddr>,
    ) -> Handle {
        self.next_handle += 1;
        let handle = Handle(format!("net.c{}.eth0", self.next_handle));
        let want = Want {
            handle: handle.clone(),
            families,
            requested,
            pools: None,
            attributes: attributes(&handle),
        };
        self.ask_for(n, want);
        handle
    }

    pub(super) fn ask_for(&mut self, n: usize, want: Want) {
        let (id, life) = (AskId(self.sequence), self.nodes[n].life);
        self.sequence += 1;
        self.nodes[n].asks.insert(id, want.handle.clone());
        let families = [Family::V4, Family::V6].into_iter().filter(|family| {
            want.families.iter().any(|f| f == *family)
                || want.requested.iter().any(|a| Family::of(*a) == *family)
        });
        self.wanted.insert(want.handle.clone(), families.count());
        self.feed(n, life, Input::Allocate(id, want));
    }

    pub(super) fn start(&mut self, n: usize) {
        if self.nodes[n].agent.is_some() || !self.nodes[n].runs {
            return;
        }
        let (now, trust) = (self.clock.now(), self.trust);
        let settings = Settings { seed: self.rng.random(), ..self.settings.clone() };
        self.nodes[n].watch_until = 0;
        self.nodes[n].disk_until = 0;
        self.nodes[n].start(now, self.clock.millis, settings, trust);
        let life = self.nodes[n].life;
        let pools = Arc::clone(&self.pools);
        self.feed(n, life, Input::Pools(pools));
        self.greet(n);
        // The runtime repeats what was not answered.
        let disk = &self.nodes[n].disk.attachments;
        let over: Vec<Handle> =
            disk.keys().filter(|h| !self.nodes[n].pods.contains_key(*h)).cloned().collect();
        for handle in over {
            let after = self.rng.random_range(1..2_000);
            self.at(after, Event::Removed(n, life, handle));
        }
    }

    pub(super) fn greet_all(&mut self) {
        for n in 0..self.nodes.len() {
            self.greet(n);
        }
    }

    /// The API server answers the watches of an agent.
    fn greet(&mut self, n: usize) {
        if self.nodes[n].cut || self.is_down() || self.nodes[n].agent.is_none() {
            return;
        }
        let life = self.nodes[n].life;
        let (node, list) = (self.latency(), self.latency());
        self.at(node, Event::NodeSeen(n, life));
        self.at(list, Event::Relist(n, life));
        if self.chaos {
            self.at(list, Event::PoolsSeen(n, life, Arc::clone(&self.pools)));
        }
    }
}
