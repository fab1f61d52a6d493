//! The node's disk: what the agent's keeper and journal do, in order and a little later.

use std::collections::BTreeMap;

use caracal_api::IpamBlock;
use rand::Rng;

use super::World;
use super::event::{Change, Event};
use crate::request::Input;
use crate::want::Handle;

impl World {
    /// Does what the keeper of the agent does: the journal follows what the machine owns, in order and a little later.
    pub(super) fn sync_kept(&mut self, n: usize) {
        let Some(agent) = self.nodes[n].agent.as_ref() else { return };
        if agent.owned_versions().eq(self.nodes[n].kept.iter().map(|(a, b)| (a.as_str(), b.as_str()))) {
            return;
        }
        let owned: BTreeMap<String, String> =
            agent.owned_versions().map(|(name, version)| (name.to_owned(), version.to_owned())).collect();
        let changed = owned.iter().filter(|(name, version)| self.nodes[n].kept.get(*name) != Some(version));
        let keep: Vec<IpamBlock> = changed.filter_map(|(name, _)| agent.owned_object(name)).collect();
        let forget: Vec<String> =
            self.nodes[n].kept.keys().filter(|name| !owned.contains_key(*name)).cloned().collect();
        self.nodes[n].kept = owned;
        for block in keep {
            self.write(n, Change::Keep(Box::new(block)));
        }
        for name in forget {
            self.write(n, Change::Forget(name));
        }
    }

    pub(super) fn write(&mut self, n: usize, change: Change) {
        let lag = self.rng.random_range(1..40);
        let (life, when) = (self.nodes[n].life, (self.clock.millis + lag).max(self.nodes[n].disk_until));
        self.nodes[n].disk_until = when;
        self.at_millis(when, Event::Disk(n, life, change));
    }

    pub(super) fn written(&mut self, n: usize, life: u64, change: Change) {
        if !self.lives(n, life) {
            return;
        }
        let disk = &mut self.nodes[n].disk;
        match change {
            Change::Keep(block) => {
                disk.blocks.insert(block.metadata.name.clone().unwrap(), *block);
            }
            Change::Forget(name) => {
                disk.blocks.remove(&name);
            }
            Change::NodeUid(uid) => disk.node_uid = uid,
        }
    }

    /// The journal has the attachment: the pod starts.
    pub(super) fn kept(&mut self, n: usize, life: u64, handle: Handle) {
        if !self.lives(n, life) {
            return;
        }
        let Some(allocations) = self.nodes[n].granted.remove(&handle) else { return };
        self.nodes[n].disk.attachments.insert(handle.clone(), allocations.clone());
        self.nodes[n].pods.insert(handle.clone(), allocations);
        if self.chaos {
            let lifetime = self.rng.random_range(200..20_000);
            self.at(lifetime, Event::PodEnds(n, handle));
        }
    }

    pub(in super::super) fn pod_ends(&mut self, n: usize, handle: Handle) {
        let Some(allocations) = self.nodes[n].pods.remove(&handle) else { return };
        self.holders.leave(n, &handle, &allocations);
        self.nodes[n].ending.insert(handle.clone());
        let (life, after) = (self.nodes[n].life, self.rng.random_range(1..50));
        self.at(after, Event::Removed(n, life, handle));
    }

    /// The journal has forgotten the attachment: its addresses go back.
    pub(super) fn removed(&mut self, n: usize, life: u64, handle: Handle) {
        if !self.lives(n, life) {
            return;
        }
        self.nodes[n].ending.remove(&handle);
        if let Some(allocations) = self.nodes[n].disk.attachments.remove(&handle) {
            self.feed(n, life, Input::Release(handle, allocations));
        }
    }
}
