//! The allocator of this node: a task that drives the pure machine of `caracal_ipam`.
//!
//! The task owns the machine. It feeds it asks, releases, snapshots and answers of the API server, and carries out
//! what comes back: answers to askers, and requests, which `cluster::blocks` performs one attempt at a time.

mod inputs;
mod keeper;
mod task;

use std::sync::Arc;

use caracal_ipam::{Allocation, Handle, IpamReport, Presence, Refusal, Settings, Want};
use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};

use crate::attachments::{Journal, Recovered};
use crate::cluster::Cluster;
use crate::cluster::events::Events;

/// Asks, releases and questions that may wait; more make their askers wait in turn.
const QUEUE: usize = 1024;

/// The blocks that this node owns or holds addresses in, newest state.
pub type OwnBlocks = watch::Receiver<Arc<Vec<Presence>>>;

enum Command {
    Allocate(Want, oneshot::Sender<Result<Vec<Allocation>, Refusal>>),
    Release(Handle, Vec<Allocation>, oneshot::Sender<()>),
    Show(oneshot::Sender<IpamReport>),
    Publish,
}

/// The allocator of this node. Clones speak to the same task.
#[derive(Clone, Debug)]
pub struct Ipam {
    node: Arc<str>,
    commands: mpsc::Sender<Command>,
    blocks: OwnBlocks,
}

/// What the allocator is made of.
pub struct Start<'a> {
    /// Node name.
    pub node: String,
    /// The way to the API server.
    pub client: Client,
    /// Snapshots of pools, `IPAMConfig`, own blocks and the own Node.
    pub cluster: Cluster,
    /// The journal, for the blocks that allocation goes on from after a restart.
    pub journal: Journal,
    /// The speaker, which knows what others announce.
    pub speaker: Option<caracal_bgp::speaker::Handle>,
    /// What the journal held at this start.
    pub recovered: &'a Recovered,
    /// Where pods are told that they have lost their address.
    pub events: Option<Events>,
}

impl Ipam {
    /// Starts the allocator's task on the current runtime. It ends when every clone of the handle is gone.
    pub fn start(start: Start<'_>) -> Self {
        Self::start_with(start, Settings { seed: rand::random(), ..Settings::default() })
    }

    /// Starts the allocator with other times and bounds.
    pub fn start_with(start: Start<'_>, settings: Settings) -> Self {
        let node: Arc<str> = start.node.as_str().into();
        let (commands, queue) = mpsc::channel(QUEUE);
        let (told, blocks) = watch::channel(Arc::default());
        let task = task::Task::new(start, settings, told);
        // What the journal knows is known from the first moment.
        task.tell();
        tokio::spawn(task.run(queue));
        Self { node, commands, blocks }
    }

    /// Resolves when the allocator's task has ended.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }

    /// Grants one address in each wanted family, or none. Waits for a block to be claimed where that is needed. The
    /// addresses are the caller's from now on: it keeps them in the journal, or gives them back.
    ///
    /// # Errors
    /// [`Refusal`] says why not, with node, pool and cause.
    pub async fn allocate(&self, want: Want) -> Result<Vec<Allocation>, Refusal> {
        let stopped = || Refusal::Stopped { node: self.node.to_string() };
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Allocate(want, answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Gives addresses back. They rest for the cool-down, then are granted again. What is not held by this handle under
    /// the same block UID and sequence number is left alone. Call it after the journal has forgotten the attachment.
    pub async fn release(&self, handle: Handle, allocations: Vec<Allocation>) {
        let (done, released) = oneshot::channel();
        let sent = self.commands.send(Command::Release(handle, allocations, done)).await;
        if sent.is_err() || released.await.is_err() {
            // The task has ended, and with it its memory: the journal alone decides what is in use at the next start.
            tracing::debug!("the allocator has stopped before a release");
        }
    }

    /// The blocks of this node as they change.
    pub fn own_blocks(&self) -> OwnBlocks {
        self.blocks.clone()
    }

    /// Everything the allocator knows. Empty once it has stopped.
    pub async fn show(&self) -> IpamReport {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Show(answer)).await.is_err() {
            return IpamReport { node: self.node.to_string(), ..IpamReport::default() };
        }
        answered.await.unwrap_or_default()
    }

    /// Writes unpublished allocations to their blocks now instead of at the end of the debounce.
    pub async fn publish(&self) {
        if self.commands.send(Command::Publish).await.is_err() {
            tracing::debug!("the allocator has stopped: nothing is published");
        }
    }
}
