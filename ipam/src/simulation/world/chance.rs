//! What happens by chance, and how it ends.

use std::collections::BTreeMap;

use rand::Rng;

use super::World;
use super::event::Event;
use crate::request::Input;
use crate::simulation::node::Node;
use crate::simulation::plan::Fault;
use crate::want::{Allocation, Handle, WantFamilies};

impl World {
    pub(super) fn want_pod(&mut self, n: usize) {
        if !self.chaos || !self.nodes[n].runs {
            return;
        }
        // Bursts with pauses between them, so that blocks are claimed and given back.
        let after = if self.rng.random_range(0..12) == 0 {
            self.rng.random_range(3_000..20_000)
        } else {
            self.rng.random_range(10..1_500)
        };
        self.at(after, Event::WantPod(n));
        let families = match self.rng.random_range(0..10) {
            0 => WantFamilies::V4,
            1 => WantFamilies::V6,
            _ => WantFamilies::DUAL,
        };
        let requested = match self.rng.random_range(0..20) {
            0 => vec![format!("10.244.0.{}", self.rng.random_range(0..128)).parse().unwrap()],
            _ => Vec::new(),
        };
        self.ask(n, families, requested);
    }

    pub(super) fn plan_crash(&mut self, n: usize) {
        let after = self.rng.random_range(1_000..30_000);
        self.at(after, Event::Crash(n));
    }

    pub(super) fn crash(&mut self, n: usize) {
        if !self.chaos || !self.nodes[n].runs {
            return;
        }
        self.plan_crash(n);
        let kind = match self.rng.random_range(0..10) {
            0 => Fault::Reboot,
            1 => Fault::Replace,
            _ => Fault::Crash,
        };
        if !self.plan.has(kind) {
            return;
        }
        self.counts.crashes += 1;
        let life = self.nodes[n].life;
        // Some crashes come while much is under way.
        if self.rng.random_range(0..3) == 0 {
            self.feed(n, life, Input::Publish);
            self.ask(n, WantFamilies::DUAL, Vec::new());
        }
        match kind {
            Fault::Reboot => {
                let ended = self.nodes[n].reboot();
                self.ended(n, ended);
            }
            Fault::Replace => self.replace(n),
            _ => self.kill(n),
        }
        let after = self.rng.random_range(10..10_000);
        self.at(after, Event::Start(n));
    }

    /// Kills the agent.
    pub(in super::super) fn kill(&mut self, n: usize) {
        let never_started = self.nodes[n].crash();
        self.ended(n, never_started);
    }

    fn ended(&mut self, n: usize, ended: BTreeMap<Handle, Vec<Allocation>>) {
        for (handle, allocations) in ended {
            self.holders.leave(n, &handle, &allocations);
        }
    }

    /// Another machine takes the name; everything of the old one is gone but its blocks.
    pub(super) fn replace(&mut self, n: usize) {
        let ended = self.nodes[n].reboot();
        self.ended(n, ended);
        let uid = self.fresh_uid();
        let life = self.nodes[n].life + 1;
        let name = self.nodes[n].name.clone();
        self.registered.insert(name.clone(), uid.clone());
        let mut node = Node::new(name, uid.clone(), format!("machine-{uid}"));
        node.life = life;
        self.nodes[n] = node;
    }

    pub(in super::super) fn outage(&mut self, begins: bool) {
        self.outage = begins;
        if self.chaos && self.plan.has(Fault::Outage) {
            let after = if begins {
                self.rng.random_range(500..30_000)
            } else {
                self.rng.random_range(5_000..60_000)
            };
            self.at(after, Event::Outage(!begins));
        }
        if !begins {
            self.greet_all();
        }
    }

    /// Ends all that goes wrong, and all pods. What former nodes left behind is removed as the controller does.
    pub(super) fn heal(&mut self) {
        self.chaos = false;
        self.events.retain(|_, event| {
            !matches!(event, Event::Outage(_) | Event::Crash(_) | Event::WantPod(_) | Event::Cut(..))
        });
        self.restored_at = 0;
        self.settle_cluster();
        self.outage(false);
        for n in 0..self.nodes.len() {
            self.start(n);
            self.wake(n);
        }
    }

    /// Ends every pod, in any order.
    pub(super) fn end_pods(&mut self) {
        for n in 0..self.nodes.len() {
            let pods: Vec<Handle> = self.nodes[n].pods.keys().cloned().collect();
            for handle in pods {
                let after = self.rng.random_range(1..5_000);
                self.at(after, Event::PodEnds(n, handle));
            }
            // Pods whose record is still being written end once it is.
            for handle in self.nodes[n].granted.keys().cloned().collect::<Vec<_>>() {
                self.at(10_000, Event::PodEnds(n, handle));
            }
        }
        // Asks that still wait may be granted later; those pods end too.
        let late: Vec<(usize, Handle)> = (0..self.nodes.len())
            .flat_map(|n| self.nodes[n].asks.values().map(move |h| (n, h.clone())).collect::<Vec<_>>())
            .collect();
        for (n, handle) in late {
            self.at(60_000, Event::PodEnds(n, handle));
        }
    }
}
