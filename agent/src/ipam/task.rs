//! The task that owns the machine.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use caracal_ipam::{
    Action, Allocation, AskId, Handle, Input, Lost, Now, Presence, Recovery, Refusal, Reply, Request,
    RequestId, Settings, StoreError,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant as TokioInstant, sleep_until};
use tracing::{error, info, warn};

use super::inputs::{self, BlockNews};
use super::keeper::{Keeper, Kept};
use super::{Command, Start};
use crate::cluster::Cluster;
use crate::cluster::blocks::Blocks;
use crate::cluster::events::{self, Events};

/// How often the time of the last live reading is kept at most: its precision over a restart.
const KEEP_LIVE_EVERY: Duration = Duration::from_secs(60);
/// The longest sleep: a bound, not a rhythm.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Reason of the Event on a pod whose address is another's.
const ADDRESS_LOST: &str = "AddressLost";

type Answer = oneshot::Sender<Result<Vec<Allocation>, Refusal>>;

/// What a finished request brings.
enum Done {
    Replied(RequestId, Result<Reply, StoreError>),
    NodeGone(bool),
}

/// The machine and everything it is driven by.
pub(super) struct Task {
    node: String,
    machine: caracal_ipam::Ipam,
    cluster: Cluster,
    blocks: Blocks,
    keeper: Keeper,
    told: watch::Sender<Arc<Vec<Presence>>>,
    asks: BTreeMap<AskId, (Handle, Answer)>,
    next_ask: u64,
    requests: JoinSet<Done>,
    news: BlockNews,
    kept: BTreeMap<String, String>,
    kept_live: Instant,
    kept_node_uid: String,
    events: Option<Events>,
}

fn now() -> Now {
    Now { monotonic: Instant::now(), wall: SystemTime::now() }
}

impl Task {
    pub(super) fn new(start: Start<'_>, settings: Settings, told: watch::Sender<Arc<Vec<Presence>>>) -> Self {
        let recovered = start.recovered;
        let recovery = Recovery {
            owner: recovered.owner(&start.node),
            blocks: recovered.blocks.clone(),
            held: recovered.held(),
            trust: recovered.trust,
            rebooted: recovered.rebooted,
            unseen_for: recovered.unseen_for(SystemTime::now()),
        };
        info!(
            node = start.node,
            blocks = recovery.blocks.len(),
            addresses = recovery.held.len(),
            trust = ?recovery.trust,
            rebooted = recovery.rebooted,
            "the allocator starts from the journal"
        );
        let machine = caracal_ipam::Ipam::recover(now(), settings, recovery);
        Self {
            blocks: Blocks::new(&start.client, &start.node, start.speaker),
            node: start.node,
            machine,
            cluster: start.cluster,
            keeper: Keeper::start(start.journal),
            told,
            asks: BTreeMap::new(),
            next_ask: 0,
            requests: JoinSet::new(),
            news: BlockNews::default(),
            kept: recovered
                .blocks
                .iter()
                .filter_map(|b| Some((b.metadata.name.clone()?, String::new())))
                .collect(),
            kept_live: Instant::now(),
            kept_node_uid: recovered.node_uid.clone(),
            events: start.events,
        }
    }

    /// Runs until every handle is gone.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut pools = self.cluster.ip_pools.clone();
        let mut configs = self.cluster.ipam_configs.clone();
        let mut reservations = self.cluster.ip_reservations.clone();
        let mut own_blocks = self.cluster.own_blocks.clone();
        let mut node = self.cluster.node.clone();
        // Each snapshot is looked at once at the start, whether or not it changes.
        pools.mark_changed();
        own_blocks.mark_changed();
        node.mark_changed();
        let mut out = Vec::new();
        loop {
            let wake = self.machine.deadline().unwrap_or_else(|| Instant::now() + LONGEST_SLEEP);
            let mut sleep = pin!(sleep_until(TokioInstant::from_std(wake)));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command, &mut out),
                    None => return,
                },
                Ok(()) = pools.changed() => self.pools_changed(&mut out),
                Ok(()) = configs.changed() => self.pools_changed(&mut out),
                Ok(()) = reservations.changed() => self.pools_changed(&mut out),
                Ok(()) = own_blocks.changed() => {
                    let news = self.news.of(&own_blocks.borrow_and_update().clone());
                    for input in news {
                        self.machine.on(now(), input, &mut out);
                    }
                }
                Ok(()) = node.changed() => self.node_changed(&mut out),
                Some(done) = self.requests.join_next() => self.done(done, &mut out),
                () = &mut sleep => self.machine.on(now(), Input::Tick, &mut out),
            }
            // A block that was claimed is announced before it is read once more.
            self.tell();
            self.act(&mut out).await;
            self.keep().await;
            self.tell();
        }
    }

    fn command(&mut self, command: Command, out: &mut Vec<Action>) {
        match command {
            Command::Allocate(want, answer) => {
                self.next_ask += 1;
                let id = AskId(self.next_ask);
                self.asks.insert(id, (want.handle.clone(), answer));
                self.machine.on(now(), Input::Allocate(id, want), out);
            }
            Command::Release(handle, allocations, done) => {
                self.machine.on(now(), Input::Release(handle, allocations), out);
                if done.send(()).is_err() {
                    tracing::trace!("nobody waited for a release");
                }
            }
            Command::Show(answer) => {
                if answer.send(self.machine.report(now())).is_err() {
                    tracing::trace!("nobody waited for a report");
                }
            }
            Command::Publish => self.machine.on(now(), Input::Publish, out),
        }
    }

    fn pools_changed(&mut self, out: &mut Vec<Action>) {
        let input = inputs::pools(
            &self.cluster.ip_pools.borrow(),
            &self.cluster.ipam_configs.borrow(),
            &self.cluster.ip_reservations.borrow(),
        );
        let Some(input) = input else { return };
        self.machine.on(now(), input, out);
    }

    fn node_changed(&mut self, out: &mut Vec<Action>) {
        let input = inputs::node(&self.cluster.node.borrow(), &self.node);
        match input {
            Some(input) => self.machine.on(now(), input, out),
            None => {
                // The watch doubts what it heard, or has heard nothing yet: ask for this one Node.
                let (blocks, node) = (self.blocks.clone(), self.node.clone());
                self.requests.spawn(async move { Done::NodeGone(blocks.node_is_gone(&node).await) });
            }
        }
    }

    fn done(&mut self, done: Result<Done, tokio::task::JoinError>, out: &mut Vec<Action>) {
        match done {
            Ok(Done::Replied(id, result)) => self.machine.on(now(), Input::Replied(id, result), out),
            Ok(Done::NodeGone(true)) => {
                warn!(node = self.node, "the Node object is gone: no new addresses until it is back");
                self.machine.on(now(), Input::Node(None), out);
            }
            Ok(Done::NodeGone(false)) => {}
            Err(error) => warn!(%error, "a request to the API server ended without an answer"),
        }
    }

    /// Carries out what the machine wants. An asker that has gone gives its addresses back at once.
    async fn act(&mut self, out: &mut Vec<Action>) {
        while !out.is_empty() {
            for action in std::mem::take(out) {
                match action {
                    Action::Granted(id, allocations) => {
                        let Some((handle, answer)) = self.asks.remove(&id) else { continue };
                        if let Err(Ok(unwanted)) = answer.send(Ok(allocations)) {
                            self.machine.on(now(), Input::Release(handle, unwanted), out);
                        }
                    }
                    Action::Refused(id, refusal) => {
                        let Some((handle, answer)) = self.asks.remove(&id) else { continue };
                        warn!(%handle, code = refusal.code(), %refusal, "no address given");
                        if answer.send(Err(refusal)).is_err() {
                            tracing::trace!("nobody waited for a refusal");
                        }
                    }
                    Action::Ask(id, request) => self.perform(id, request, None),
                    Action::KeepAndAsk(block, id, request) => {
                        let kept = self.keeper.keep_first(block).await;
                        self.perform(id, request, Some(kept));
                    }
                    Action::Lost(lost) => self.tell_lost(&lost),
                }
            }
        }
    }

    /// Tells people, and the pod, of an address that is another's now.
    fn tell_lost(&self, lost: &Lost) {
        error!(handle = %lost.handle, pod = lost.attributes.pod, "{lost}");
        if let Some(events) = &self.events
            && !lost.attributes.pod.is_empty()
        {
            let pod = events::pod(&lost.attributes.namespace, &lost.attributes.pod, None);
            events.warn(pod, ADDRESS_LOST, lost.to_string());
        }
    }

    fn perform(&mut self, id: RequestId, request: Request, kept: Option<Kept>) {
        let (blocks, keeper) = (self.blocks.clone(), self.keeper.clone());
        self.requests.spawn(async move {
            if let Request::Delete { name, .. } = &request
                && let Err(error) = keeper.forget(name.clone()).await
            {
                return Done::Replied(id, Err(StoreError::Unreachable(format!("not deleted: {error}"))));
            }
            // What is promised to other nodes outlives a crash.
            if let Some(kept) = kept
                && let Err(error) = kept.wait().await
            {
                return Done::Replied(id, Err(StoreError::Unreachable(format!("not written: {error}"))));
            }
            Done::Replied(id, blocks.perform(request).await)
        });
    }

    /// Brings the journal up to what the machine owns.
    async fn keep(&mut self) {
        let owned: BTreeMap<String, String> = self
            .machine
            .owned_versions()
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect();
        if owned != self.kept {
            for (name, version) in &owned {
                if self.kept.get(name) != Some(version)
                    && let Some(object) = self.machine.owned_object(name)
                {
                    self.keeper.keep(object).await;
                }
            }
            for name in self.kept.keys().filter(|name| !owned.contains_key(*name)) {
                self.keeper.drop_block(name.clone()).await;
            }
            self.kept = owned;
        }
        if let Some(live) = self.machine.last_live()
            && live.saturating_duration_since(self.kept_live) >= KEEP_LIVE_EVERY
        {
            self.kept_live = live;
            self.keeper.live(SystemTime::now()).await;
        }
        if self.machine.owner().node_uid != self.kept_node_uid {
            self.kept_node_uid.clone_from(&self.machine.owner().node_uid);
            self.keeper.node_uid(self.kept_node_uid.clone()).await;
        }
    }

    /// Tells the blocks to those who announce and route them, if they changed.
    pub(super) fn tell(&self) {
        let blocks: Vec<Presence> = self.machine.presences().collect();
        self.told.send_if_modified(|known| {
            let changed = **known != blocks;
            if changed {
                *known = Arc::new(blocks);
            }
            changed
        });
    }
}
