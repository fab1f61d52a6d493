//! The run: a queue of events in simulated time, and what each does.

mod chance;
mod disk;
mod event;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use caracal_api::IpamBlock;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use event::{Change, Event};

use super::clock::Clock;
use super::node::{Node, attributes};
use super::store::Store;
use super::{check, pools};
use crate::pool::Pools;
use crate::recover::JournalTrust;
use crate::refusal::Refusal;
use crate::request::{Action, AskId, Delta, Input, NodeView, Request, RequestId, StoreError};
use crate::settings::Settings;
use crate::want::{Allocation, Handle, Want, WantFamilies};

/// How long chance rules, in milliseconds.
const CHAOS: u64 = 2 * 60_000;
/// How long everything has to come to rest afterwards.
const REST: u64 = 9 * 60_000;
/// Steps without time passing that are no endless loop yet.
const MOST_STEPS_AT_ONCE: u32 = 500;
/// How long the client waits for an answer.
const CLIENT_PATIENCE: u64 = 5_000;

#[derive(Default)]
pub(super) struct Counts {
    pub(super) grants: u64,
    pub(super) claims: u64,
    pub(super) crashes: u64,
    pub(super) steps: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.grants += other.grants;
        self.claims += other.claims;
        self.crashes += other.crashes;
        self.steps += other.steps;
    }
}

pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) nodes: Vec<Node>,
    pub(super) counts: Counts,
    pub(super) answers: BTreeMap<Handle, Result<Vec<Allocation>, Refusal>>,
    pub(super) trust: JournalTrust,
    pub(super) outage: bool,
    pools: Arc<Pools>,
    settings: Settings,
    rng: SmallRng,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    next_handle: u64,
    next_uid: u64,
    chaos: bool,
    /// Whether an address or a block changed hands since the last look.
    moved: bool,
    steps_at_once: u32,
    /// Whether the last steps are kept to be printed.
    pub(super) traced: bool,
    trace: VecDeque<String>,
}

impl World {
    /// A world that chance rules.
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self::quiet(0, pools::small(3));
        world.rng = SmallRng::seed_from_u64(seed);
        world.chaos = true;
        // Blocks come and go all the time.
        world.settings.give_back_after = Duration::from_secs(2);
        let count = world.rng.random_range(2..=5);
        world.add_nodes(count);
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
        let mut world = Self {
            clock: Clock::new(),
            store: Store::default(),
            nodes: Vec::new(),
            counts: Counts::default(),
            answers: BTreeMap::new(),
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
            moved: false,
            steps_at_once: 0,
            traced: false,
            trace: VecDeque::new(),
        };
        world.add_nodes(nodes);
        world
    }

    fn add_nodes(&mut self, count: usize) {
        for n in 0..count {
            let uid = self.fresh_uid();
            self.nodes.push(Node::new(format!("node-{n}"), uid, format!("machine-{n}")));
            self.at(0, Event::Start(n));
            if self.chaos {
                self.at(10, Event::WantPod(n));
                self.plan_crash(n);
            }
        }
        if self.chaos {
            let first = self.rng.random_range(5_000..60_000);
            self.at(first, Event::Outage(true));
        }
    }

    fn fresh_uid(&mut self) -> String {
        self.next_uid += 1;
        format!("node-uid-{}", self.next_uid)
    }

    /// The whole run: chance, then rest, then the last look.
    pub(super) fn run(&mut self) -> Result<(), String> {
        self.run_until(CHAOS)?;
        self.heal();
        self.run_until(CHAOS + REST)?;
        check::at_the_end(&self.nodes, &self.store)
    }

    pub(super) fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(((millis, _), event)) = self.events.pop_first() {
            if millis > end {
                self.at_millis(millis, event);
                break;
            }
            self.steps_at_once = if millis > self.clock.millis { 0 } else { self.steps_at_once + 1 };
            if self.steps_at_once > MOST_STEPS_AT_ONCE {
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
            self.check(who)?;
        }
        self.clock.millis = self.clock.millis.max(end);
        Ok(())
    }

    /// Looks at what the step may have changed: the agent that took it, and, if any address or block moved, everything.
    fn check(&mut self, who: Option<usize>) -> Result<(), String> {
        if let Some(agent) = who.and_then(|n| self.nodes[n].agent.as_ref()) {
            check::partition(agent)?;
        }
        if std::mem::take(&mut self.moved) { check::always(&self.nodes, &self.store) } else { Ok(()) }
    }

    fn note(&mut self, event: &Event) {
        if !self.traced {
            return;
        }
        if self.trace.len() == 400 {
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
                let view = NodeView { uid: self.nodes[n].uid.clone(), ..NodeView::default() };
                self.feed(n, life, Input::Node(Some(view)));
                let uid = self.nodes[n].uid.clone();
                self.write(n, Change::NodeUid(uid));
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
                self.moved = true;
                self.nodes[n].granted.insert(handle.clone(), allocations);
                let after = self.rng.random_range(1..20);
                self.at(after, Event::Kept(n, life, handle));
            }
            Action::Refused(id, refusal) => {
                let Some(handle) = self.nodes[n].asks.remove(&id) else { return };
                self.answers.insert(handle, Err(refusal));
            }
            Action::Ask(id, request) => match &request {
                Request::Delete { name, .. } => {
                    let name = name.clone();
                    self.write(n, Change::Forget(name));
                    let when = self.nodes[n].disk_until;
                    self.at_millis(when, Event::Send(n, life, id, request));
                }
                Request::Create(_) | Request::Replace(_) | Request::Read(_) | Request::ListNames => {
                    self.send(n, life, id, request);
                }
            },
        }
    }

    fn send(&mut self, n: usize, life: u64, id: RequestId, request: Request) {
        let lost = || Err(StoreError::Unreachable("lost".to_owned()));
        let luck = if self.chaos { self.rng.random_range(0..100) } else { 99 };
        match luck {
            0..=2 => self.at(CLIENT_PATIENCE, Event::Reply(n, life, id, lost())),
            3..=5 => {
                let late = CLIENT_PATIENCE + self.rng.random_range(0..20_000);
                self.at(CLIENT_PATIENCE, Event::Reply(n, life, id, lost()));
                self.at(late, Event::Arrive(n, life, id, request, false));
            }
            6..=8 => {
                let delay = self.latency();
                self.at(CLIENT_PATIENCE, Event::Reply(n, life, id, lost()));
                self.at(delay, Event::Arrive(n, life, id, request, false));
            }
            _ => {
                let delay = self.latency();
                self.at(delay, Event::Arrive(n, life, id, request, true));
            }
        }
    }

    fn latency(&mut self) -> u64 {
        if self.chaos && self.rng.random_range(0..20) == 0 {
            return self.rng.random_range(50..2_400);
        }
        self.rng.random_range(1..30)
    }

    /// A request reaches the API server, whatever became of who sent it.
    fn arrive(&mut self, n: usize, life: u64, id: RequestId, request: &Request, heard: bool) {
        let result = if self.outage {
            Err(StoreError::Unreachable("refused".to_owned()))
        } else {
            self.store.apply(request)
        };
        if matches!((request, &result), (Request::Create(_), Ok(_))) {
            self.counts.claims += 1;
        }
        self.tell_watches();
        if heard {
            let delay = self.latency();
            self.at(delay, Event::Reply(n, life, id, result));
        }
    }

    pub(super) fn tell_watches(&mut self) {
        self.moved |= !self.store.changed.is_empty();
        for (name, owner) in std::mem::take(&mut self.store.changed) {
            let Some(n) = self.nodes.iter().position(|node| node.name == owner) else { continue };
            let delta = match self.store.blocks.get(&name) {
                Some(block) => Delta::Saw(Arc::clone(block)),
                None => Delta::Gone(name),
            };
            self.watch_event(n, delta);
        }
    }

    fn watch_event(&mut self, n: usize, delta: Delta) {
        let lag = if self.chaos { self.rng.random_range(1..4_000) } else { 5 };
        let (life, when) = (self.nodes[n].life, (self.clock.millis + lag).max(self.nodes[n].watch_until));
        self.nodes[n].watch_until = when;
        self.at_millis(when, Event::Watch(n, life, delta));
    }

    fn relist(&mut self, n: usize, life: u64) {
        if !self.lives(n, life) || self.outage {
            return;
        }
        let name = self.nodes[n].name.clone();
        let own: Vec<Arc<IpamBlock>> = self.store.owned_by(&name).cloned().collect();
        let names: BTreeSet<String> = own.iter().filter_map(|b| b.metadata.name.clone()).collect();
        for block in own {
            self.watch_event(n, Delta::Saw(block));
        }
        self.watch_event(n, Delta::Listed(names));
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
        self.feed(n, life, Input::Allocate(id, want));
    }

    pub(super) fn start(&mut self, n: usize) {
        if self.nodes[n].agent.is_some() {
            return;
        }
        let (now, trust) = (self.clock.now(), self.trust);
        let settings = Settings { seed: self.rng.random(), ..self.settings.clone() };
        self.nodes[n].watch_until = 0;
        self.nodes[n].disk_until = 0;
        self.nodes[n].start(now, settings, trust);
        let life = self.nodes[n].life;
        let pools = Arc::clone(&self.pools);
        self.feed(n, life, Input::Pools(pools));
        if !self.outage {
            self.greet(n);
        }
        // The runtime repeats what was not answered.
        let disk = &self.nodes[n].disk.attachments;
        let over: Vec<Handle> =
            disk.keys().filter(|h| !self.nodes[n].pods.contains_key(*h)).cloned().collect();
        for handle in over {
            let after = self.rng.random_range(1..2_000);
            self.at(after, Event::Removed(n, life, handle));
        }
    }

    /// The API server answers the watches of an agent.
    fn greet(&mut self, n: usize) {
        let life = self.nodes[n].life;
        let (node, list) = (self.latency(), self.latency());
        self.at(node, Event::NodeSeen(n, life));
        self.at(list, Event::Relist(n, life));
    }
}
