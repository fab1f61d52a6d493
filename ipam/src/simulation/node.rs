//! One node: what is on its disk, what runs on it, and its agent while that lives.

use std::collections::{BTreeMap, BTreeSet};

use caracal_api::{BlockOwner, IpamBlock, OwnerKind};

use crate::machine::Ipam;
use crate::recover::{Held, JournalTrust, Recovery};
use crate::request::{AskId, Now};
use crate::settings::Settings;
use crate::want::{Allocation, Attributes, Handle};

/// What survives a crash.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) attachments: BTreeMap<Handle, Vec<Allocation>>,
    pub(super) blocks: BTreeMap<String, IpamBlock>,
    pub(super) node_uid: String,
    pub(super) token: String,
    /// When the API server last confirmed the blocks, in simulated milliseconds.
    pub(super) live: u64,
}

pub(super) struct Node {
    pub(super) name: String,
    /// UID of the Node object.
    pub(super) uid: String,
    pub(super) machine_id: String,
    pub(super) disk: Disk,
    /// Pods that run, with their addresses.
    pub(super) pods: BTreeMap<Handle, Vec<Allocation>>,
    /// Grants that were answered and are not on disk yet.
    pub(super) granted: BTreeMap<Handle, Vec<Allocation>>,
    /// Pods that ended and are still on disk.
    pub(super) ending: BTreeSet<Handle>,
    pub(super) agent: Option<Ipam>,
    /// Counts restarts: what was sent to an earlier agent never arrives.
    pub(super) life: u64,
    pub(super) asks: BTreeMap<AskId, Handle>,
    /// What the keeper was last asked to keep.
    pub(super) kept: BTreeMap<String, String>,
    /// When the last event of the watch, and the last write of the keeper, arrives: both keep their order.
    pub(super) watch_until: u64,
    pub(super) disk_until: u64,
    pub(super) rebooted: bool,
    /// Whether its way to the API server is cut.
    pub(super) cut: bool,
    /// Whether the machine is on; one that is off is so for ever.
    pub(super) runs: bool,
    /// The life and time of the earliest tick that is on its way.
    pub(super) tick: (u64, u64),
}

impl Node {
    pub(super) fn new(name: String, uid: String, machine_id: String) -> Self {
        let disk = Disk { token: format!("token-{uid}"), ..Disk::default() };
        Self {
            name,
            uid,
            machine_id,
            disk,
            pods: BTreeMap::new(),
            granted: BTreeMap::new(),
            ending: BTreeSet::new(),
            agent: None,
            life: 0,
            asks: BTreeMap::new(),
            kept: BTreeMap::new(),
            watch_until: 0,
            disk_until: 0,
            rebooted: false,
            cut: false,
            runs: true,
            tick: (0, u64::MAX),
        }
    }

    /// Starts the agent from its disk.
    pub(super) fn start(&mut self, now: Now, millis: u64, settings: Settings, trust: JournalTrust) {
        let held = self.disk.attachments.iter().flat_map(|(handle, allocations)| {
            allocations.iter().map(|allocation| Held {
                handle: handle.clone(),
                allocation: allocation.clone(),
                attributes: attributes(handle),
            })
        });
        let recovery = Recovery {
            owner: BlockOwner {
                kind: OwnerKind::Node,
                name: self.name.clone(),
                node_uid: self.disk.node_uid.clone(),
                machine_id: self.machine_id.clone(),
                claim_token: self.disk.token.clone(),
            },
            blocks: self.disk.blocks.values().cloned().collect(),
            held: held.collect(),
            trust,
            rebooted: std::mem::take(&mut self.rebooted),
            unseen_for: std::time::Duration::from_millis(millis.saturating_sub(self.disk.live)),
        };
        self.life += 1;
        self.kept = self.disk.blocks.keys().map(|name| (name.clone(), String::new())).collect();
        self.agent = Some(Ipam::recover(now, settings, recovery));
    }

    /// Kills the agent. Pods whose address was never on disk do not start: they are returned.
    pub(super) fn crash(&mut self) -> BTreeMap<Handle, Vec<Allocation>> {
        self.agent = None;
        self.life += 1;
        self.asks.clear();
        std::mem::take(&mut self.granted)
    }

    /// Ends every pod with its machine, and returns them.
    pub(super) fn reboot(&mut self) -> BTreeMap<Handle, Vec<Allocation>> {
        let mut ended = self.crash();
        ended.append(&mut self.pods);
        self.ending.clear();
        self.disk.attachments.clear();
        self.rebooted = true;
        ended
    }
}

pub(super) fn attributes(handle: &Handle) -> Attributes {
    Attributes { namespace: "default".to_owned(), pod: handle.0.clone(), ..Attributes::default() }
}
