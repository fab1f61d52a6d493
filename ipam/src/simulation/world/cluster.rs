//! What people, the controller and the network do: nodes come and go, pools change, objects are deleted and restored.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;

use super::event::{Change, Event};
use super::{CLIENT_PATIENCE, World};
use crate::block::Block;
use crate::machine::Ipam;
use crate::request::{Input, NodeView, Reply, Request, StoreError};
use crate::simulation::check;
use crate::simulation::node::Node;
use crate::simulation::plan::Fault;
use crate::want::{Allocation, Handle};

impl World {
    /// The first of everything that goes wrong for the whole cluster.
    pub(super) fn plan_faults(&mut self) {
        let chaos = self.plan.chaos;
        for (fault, event) in [
            (Fault::Outage, Event::Outage(true)),
            (Fault::Backup, Event::Backup),
            (Fault::HandDelete, Event::HandDelete),
            (Fault::PoolEdit, Event::PoolEdit),
            (Fault::Sharing, Event::Share),
        ] {
            if self.plan.has(fault) {
                let first = self.rng.random_range(chaos / 20..chaos);
                self.at(first, event);
            }
        }
        for n in 0..self.nodes.len() {
            if self.plan.has(Fault::Partition) && self.rng.random_range(0..3) == 0 {
                let first = self.rng.random_range(0..chaos);
                self.at(first, Event::Cut(n, true));
            }
            if self.plan.has(Fault::Remove) && self.rng.random_range(0..4) == 0 {
                let first = self.rng.random_range(0..chaos);
                self.at(first, Event::Remove(n));
            }
        }
        self.at(1_000, Event::Collect);
    }

    /// Whether the API server answers nobody.
    pub(super) fn is_down(&self) -> bool {
        self.outage || self.clock.millis < self.restored_at
    }

    /// The Node of a machine's name, as the API server has it.
    pub(super) fn view(&self, n: usize) -> Option<NodeView> {
        let rack = if n.is_multiple_of(2) { "a" } else { "b" };
        let labels = BTreeMap::from([("rack".to_owned(), rack.to_owned())]);
        let uid = self.registered.get(&self.nodes[n].name)?;
        Some(NodeView { uid: uid.clone(), labels })
    }

    /// What the agent keeps of who it is.
    pub(super) fn keep_identity(&mut self, n: usize) {
        let Some(agent) = &self.nodes[n].agent else { return };
        let uid = agent.owner().node_uid.clone();
        if !uid.is_empty() && uid != self.nodes[n].disk.node_uid {
            self.write(n, Change::NodeUid(uid));
        }
    }

    /// A grant was answered: it is lawful, and nobody else holds it.
    pub(super) fn judge(&mut self, n: usize, handle: &Handle, allocations: &[Allocation]) {
        if self.wanted.get(handle).is_some_and(|wanted| *wanted != allocations.len()) && self.broken.is_ok() {
            self.broken =
                Err(format!("{handle} was given {} addresses: not all that it wants", allocations.len()));
        }
        for allocation in allocations {
            let lawful = check::lawful(&self.nodes[n], &self.store, handle, allocation);
            if lawful.is_err() && !self.tampered.contains(&allocation.block) && self.broken.is_ok() {
                self.broken = lawful;
            }
            let own = self.store.blocks.get(&allocation.block);
            if own.is_some_and(|object| !check::is_owner(&self.nodes[n], object)) {
                self.counts.borrowed += 1;
            }
        }
        let taken = self.holders.take(n, handle, allocations);
        if self.broken.is_ok() {
            self.broken = taken;
        }
    }

    /// A block changed: whoever holds addresses of it still does so lawfully.
    pub(super) fn look_under(&mut self, name: &str) {
        if self.tampered.contains(name) || self.broken.is_err() {
            return;
        }
        let Some(cidr) = self.store.cidrs.get(name).copied() else { return };
        let object = self.store.blocks.get(name);
        for (address, n, handle) in self.holders.inside(cidr) {
            let node = &self.nodes[n];
            let lawful =
                object.is_some_and(|o| check::is_owner(node, o) || check::records(o, address, handle));
            if !lawful {
                let what = if object.is_some() { "given to another" } else { "deleted" };
                self.broken =
                    Err(format!("{name} was {what} while {handle} on {} holds {address}", node.name));
            }
        }
    }

    /// Who announces addresses of a block that a machine wants to create, or the whole of one that it writes.
    pub(super) fn kept_off(&self, n: usize, request: &Request) -> Option<String> {
        let (block, whole) = match request {
            Request::Create(block) => (block, false),
            Request::Replace(block) if block.spec.owner.name == self.nodes[n].name => (block, true),
            // The owner of a borrowed address announces its block, as it should.
            Request::Replace(_)
            | Request::Read(_)
            | Request::Delete { .. }
            | Request::ListNames
            | Request::ReadNode => return None,
        };
        let name = block.metadata.name.as_deref()?;
        if !self.tampered.contains(name) {
            return None;
        }
        let cidr = self.store.cidrs.get(name).copied()?;
        let other = |m: &usize| *m != n && self.nodes[*m].runs;
        // Who borrowed an address announces it, as it should; an owner that creates its block anew may know of the loan.
        let strangers =
            self.holders.inside(cidr).filter(|(address, _, handle)| !check::records(block, *address, handle));
        let holder = strangers.map(|(_, m, _)| m).find(other).filter(|_| !whole);
        let announcer = (0..self.nodes.len()).filter(other).find(|m| {
            let node = &self.nodes[*m];
            match &node.agent {
                Some(agent) => agent.blocks.get(name).is_some_and(Block::is_announced),
                // Its neighbours keep its routes until it is back.
                None => node.disk.blocks.get(name).is_some_and(|block| check::is_owner(node, block)),
            }
        });
        holder.or(announcer).map(|m| self.nodes[m].name.clone())
    }

    pub(super) fn cut(&mut self, n: usize, begins: bool) {
        self.nodes[n].cut = begins;
        if begins {
            let limit = u64::try_from(self.settings.outage_limit.as_millis()).unwrap();
            let after = self.rng.random_range(500..2 * limit);
            self.at(after, Event::Cut(n, false));
        } else {
            self.greet(n);
            if self.chaos {
                let after = self.rng.random_range(5_000..60_000);
                self.at(after, Event::Cut(n, true));
            }
        }
    }

    /// A Node is removed; its machine runs on, may be cut off just then, and may come back as a new Node.
    pub(super) fn remove(&mut self, n: usize) {
        let name = self.nodes[n].name.clone();
        if !self.chaos || !self.nodes[n].runs || !self.registered.contains_key(&name) {
            return;
        }
        self.registered.remove(&name);
        if self.rng.random() {
            self.cut(n, true);
        }
        match self.rng.random_range(0..3) {
            // Another machine takes the name while this one runs on.
            0 => {
                let machine = self.nodes.len();
                let mut node = Node::new(name, String::new(), format!("machine-{machine}"));
                node.disk.token = format!("token-{machine}");
                self.nodes.push(node);
                let after = self.rng.random_range(10..20_000);
                self.at(after, Event::Register(machine));
                self.at(after + 10, Event::Start(machine));
                self.at(after + 20, Event::WantPod(machine));
            }
            // The same machine comes back.
            1 => {
                let after = self.rng.random_range(10..20_000);
                self.at(after, Event::Register(n));
            }
            _ => {}
        }
        self.tell_node(&self.nodes[n].name.clone());
    }

    /// The kubelet of a machine makes its Node; the pods of the former one end.
    pub(super) fn register(&mut self, n: usize) {
        let name = self.nodes[n].name.clone();
        if self.registered.contains_key(&name) {
            return;
        }
        let uid = self.fresh_uid();
        self.registered.insert(name.clone(), uid.clone());
        self.nodes[n].uid = uid;
        for handle in self.nodes[n].pods.keys().cloned().collect::<Vec<_>>() {
            let after = self.rng.random_range(1..5_000);
            self.at(after, Event::PodEnds(n, handle));
        }
        self.tell_node(&name);
    }

    /// The watches of a Node tell everyone of its name.
    fn tell_node(&mut self, name: &str) {
        for n in 0..self.nodes.len() {
            if self.nodes[n].name == name && !self.nodes[n].cut {
                let (life, after) = (self.nodes[n].life, self.latency());
                self.at(after, Event::NodeSeen(n, life));
            }
        }
    }

    /// The controller looks at all blocks. Now and then another one leads.
    pub(super) fn collect(&mut self) {
        let after = self.rng.random_range(500..4_000);
        self.at(after, Event::Collect);
        if self.is_down() {
            return;
        }
        if self.chaos && self.rng.random_range(0..20) == 0 {
            self.collector = crate::collect::Collector::new(self.plan.quarantine());
        }
        let now = self.clock.now().monotonic;
        let registered = &self.registered;
        let blocks = || self.store.blocks.values().map(Arc::as_ref);
        let suspects = self.collector.look(blocks(), |node| registered.get(&node.name) == Some(&node.uid));
        for node in suspects {
            let found = registered.get(&node.name).cloned().ok_or(StoreError::Gone);
            self.collector.answered(now, &node, found);
        }
        for (_, request) in self.collector.due(now, blocks()) {
            self.counts.collected += 1;
            // Whoever removed the Node said that its machine is off. Whoever borrowed from it goes on.
            match &request {
                Request::Delete { name, .. } => {
                    let (block, nodes) = (Arc::clone(&self.store.blocks[name]), &self.nodes);
                    let is_off = |address, n: usize| {
                        let gone = |b: caracal_api::Borrower| registered.get(&b.node) != Some(&b.node_uid);
                        check::is_owner(&nodes[n], &block)
                            || check::borrower_of(&block, address).is_some_and(gone)
                    };
                    self.holders.forget(self.store.cidrs[name], is_off);
                }
                Request::Replace(block) => {
                    let name = block.metadata.name.as_ref().unwrap();
                    let before = &self.store.blocks[name].spec.allocations;
                    let cidr = self.store.cidrs[name];
                    for (ordinal, text) in &block.spec.allocations {
                        if before.get(ordinal) != Some(text) {
                            self.holders.forget_one(cidr.address(ordinal.parse().unwrap()).unwrap());
                        }
                    }
                }
                Request::Create(_) | Request::Read(_) | Request::ListNames | Request::ReadNode => continue,
            }
            self.store.apply(&request).unwrap();
        }
        self.tell_watches();
    }

    /// Takes a backup, or brings it back.
    pub(super) fn back_up(&mut self) {
        if !self.chaos {
            return;
        }
        if self.backup.is_empty() {
            self.backup = self.store.blocks.clone();
        } else {
            let backup = std::mem::take(&mut self.backup);
            let now = self.store.blocks.keys().cloned();
            self.tampered.extend(now.chain(backup.keys().cloned()));
            self.store.restore(backup);
            // It takes its time: every connection of before has ended, and with it every answer that was on its way.
            let restored = self.rng.random_range(CLIENT_PATIENCE..3 * CLIENT_PATIENCE);
            self.restored_at = self.clock.millis + restored;
            self.store.changed.clear();
            let late = |event: &Event| matches!(event, Event::Reply(..) | Event::Watch(..));
            let cut_off: Vec<Event> =
                self.events.extract_if(.., |_, event| late(event)).map(|(_, e)| e).collect();
            for event in cut_off {
                if let Event::Reply(n, life, id, _) = event {
                    let lost = Err(StoreError::Unreachable("disconnected".to_owned()));
                    self.at(CLIENT_PATIENCE, Event::Reply(n, life, id, lost));
                }
            }
            self.at(restored, Event::Restored);
        }
        let after = self.rng.random_range(500..20_000);
        self.at(after, Event::Backup);
    }

    pub(super) fn delete_by_hand(&mut self) {
        if !self.chaos {
            return;
        }
        let names: Vec<&String> = self.store.blocks.keys().filter(|name| !self.is_being_told(name)).collect();
        if !names.is_empty() {
            let name = names[self.rng.random_range(0..names.len())].clone();
            self.tampered.insert(name.clone());
            self.store.remove(&name);
            self.tell_watches();
        }
        let after = self.rng.random_range(500..20_000);
        self.at(after, Event::HandDelete);
    }

    /// Whether a node is about to hear that a block is its own: it does not announce it yet, so nothing would keep others from
    /// claiming what is deleted now.
    fn is_being_told(&self, name: &str) -> bool {
        self.events.values().any(|event| {
            let Event::Reply(n, _, _, Ok(Reply::Block(block))) = event else { return false };
            let node = &self.nodes[*n];
            let knows = |agent: &Ipam| agent.blocks.get(name).is_some_and(Block::is_owned);
            block.metadata.name.as_deref() == Some(name)
                && check::is_owner(node, block)
                && !node.agent.as_ref().is_some_and(knows)
        })
    }

    pub(super) fn edit_pools(&mut self) {
        if !self.chaos {
            return;
        }
        // In some runs pools are split instead of more being added.
        let choice = match self.rng.random_range(0..8) {
            2 if self.plan.seed % 10 == 7 => 7,
            choice => choice,
        };
        let store = &self.store;
        self.pool_objects.edit(choice, |pool| store.blocks.values().any(|b| b.spec.pool == pool));
        self.tell_pools();
        let after = self.rng.random_range(500..15_000);
        self.at(after, Event::PoolEdit);
    }

    /// `strictAffinity` changes.
    pub(super) fn share(&mut self) {
        if !self.chaos {
            return;
        }
        self.pool_objects.config.strict_affinity ^= true;
        self.tell_pools();
        let after = self.rng.random_range(2_000..30_000);
        self.at(after, Event::Share);
    }

    pub(super) fn tell_pools(&mut self) {
        self.pools = Arc::new(self.pool_objects.read());
        for n in 0..self.nodes.len() {
            if self.nodes[n].agent.is_some() && !self.nodes[n].cut && !self.is_down() {
                let (life, after) = (self.nodes[n].life, self.latency());
                self.at(after, Event::PoolsSeen(n, life, Arc::clone(&self.pools)));
            }
        }
    }

    /// Everything that people did is put right.
    pub(super) fn settle_cluster(&mut self) {
        self.pool_objects.settle();
        self.tell_pools();
        for n in 0..self.nodes.len() {
            let name = self.nodes[n].name.clone();
            if !self.registered.contains_key(&name) {
                self.register(n);
            }
            self.nodes[n].cut = false;
        }
        for name in self.registered.keys().cloned().collect::<Vec<_>>() {
            self.tell_node(&name);
        }
        // Another controller that has seen nothing yet.
        self.collector = crate::collect::Collector::new(self.plan.quarantine());
    }

    /// Feeds what the sanity of the run needs at the start of a healed world.
    pub(super) fn wake(&mut self, n: usize) {
        let life = self.nodes[n].life;
        let pools = Arc::clone(&self.pools);
        self.feed(n, life, Input::Pools(pools));
        self.greet(n);
    }
}
