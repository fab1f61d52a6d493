//! What lies between agents and API server: requests and answers that are late or lost, and watches that lag and repeat
//! themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use caracal_api::IpamBlock;
use rand::Rng;

use super::event::Event;
use super::{CLIENT_PATIENCE, World};
use crate::request::{Delta, Reply, Request, RequestId, StoreError};
use crate::simulation::plan::Fault;

impl World {
    pub(super) fn send(&mut self, n: usize, life: u64, id: RequestId, request: Request) {
        let lost = || Err(StoreError::Unreachable("lost".to_owned()));
        if self.nodes[n].cut {
            self.at(CLIENT_PATIENCE, Event::Reply(n, life, id, lost()));
            return;
        }
        let luck = if self.chaos && self.plan.has(Fault::Loss) { self.rng.random_range(0..100) } else { 99 };
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

    pub(super) fn latency(&mut self) -> u64 {
        if self.chaos && self.plan.has(Fault::Lag) && self.rng.random_range(0..20) == 0 {
            return self.rng.random_range(50..2_400);
        }
        self.rng.random_range(1..30)
    }

    /// A request reaches the API server, whatever became of who sent it.
    pub(super) fn arrive(&mut self, n: usize, life: u64, id: RequestId, request: &Request, heard: bool) {
        let result = if self.is_down() {
            Err(StoreError::Unreachable("refused".to_owned()))
        } else if let Request::ReadNode = request {
            self.view(n).map(Reply::Node).ok_or(StoreError::Gone)
        } else if let Some(by) = self.kept_off(n, request) {
            self.counts.kept_off += 1;
            Err(StoreError::Announced(by))
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

    /// Tells everyone whose blocks changed, and looks whether one was taken from under its pods.
    pub(in super::super) fn tell_watches(&mut self) {
        for (name, before, after) in std::mem::take(&mut self.store.changed) {
            self.look_under(&name);
            for n in 0..self.nodes.len() {
                if self.nodes[n].agent.is_none() || self.nodes[n].cut {
                    continue;
                }
                let is = |owner: &Option<String>| owner.as_deref() == Some(self.nodes[n].name.as_str());
                let delta = match (is(&before), is(&after), self.store.blocks.get(&name)) {
                    (_, true, Some(block)) => Delta::Saw(Arc::clone(block)),
                    (true, false, _) | (_, true, None) => Delta::Gone(name.clone()),
                    (false, false, _) => continue,
                };
                self.watch_event(n, delta);
            }
        }
    }

    fn watch_event(&mut self, n: usize, delta: Delta) {
        let slow = self.chaos && self.plan.has(Fault::Lag);
        let lag = if slow { self.rng.random_range(1..4_000) } else { 5 };
        let (life, when) = (self.nodes[n].life, (self.clock.millis + lag).max(self.nodes[n].watch_until));
        self.nodes[n].watch_until = when;
        if self.chaos && self.plan.has(Fault::Duplicate) && self.rng.random_range(0..15) == 0 {
            // Another API server that lags behind is asked after a disconnect.
            let again = when + self.rng.random_range(0..5_000);
            self.at_millis(again, Event::Watch(n, life, delta.clone()));
        }
        self.at_millis(when, Event::Watch(n, life, delta));
    }

    pub(super) fn relist(&mut self, n: usize, life: u64) {
        if !self.lives(n, life) || self.is_down() || self.nodes[n].cut {
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
}
