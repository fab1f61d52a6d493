//! The kernel's owner on the host side: one thread that keeps routes, neighbours and tunnels at what is wanted.
//!
//! Callers say what they want ([`Kernel::settle`] for what a pod waits for, [`Kernel::want`] for the many routes learned from
//! peers) and are answered when it is so, or told why not. The thread listens to the kernel's events and repairs what another
//! hand or a link going down has undone, within milliseconds; a slow listing backs that up. What is ours is told by the
//! protocol number routes, neighbours and addresses carry, and by the devices' names, and only that is ever changed: a route
//! is created with CREATE and EXCL, replaced only where ours was seen, and deleted by its protocol.
//!
//! At the start, routes of ours that an earlier run left are adopted: they stay until someone wants something else under their
//! key, or [`Kernel::release_sweep`] says that everyone who would has spoken.
//!
//! ```text
//! settle -> urgent queue -\                         /-> a table a kind   ---> one datagram, <= 256 changes
//! want   -> bulk queue   ---> one thread, in turns -|                      <- what came of each
//! netlink events, listings -/                       \-> underlay (watch)
//! ```

mod apply;
mod keeper;
mod kind;
mod listen;
mod others;
mod reach;
mod resync;
mod tables;
mod tunnels;
mod underlay;
mod waiting;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

use crate::namespace::Namespace;
use crate::netlink::Error;
use crate::object::route::{Route, RouteKey};
use keeper::Keeper;
pub use reach::Gateways;
pub use underlay::Underlay;
pub use wanted::{ObjectKey, Refusals, Refused, Wanted};

/// The protocol number routes carry if nothing else is set.
pub const DEFAULT_PROTOCOL: u8 = 67;

/// How many batches may wait in the urgent queue.
const URGENT_QUEUE: usize = 64;
/// How many batches may wait in the bulk queue.
const BULK_QUEUE: usize = 4;
/// How many questions may wait.
const QUESTION_QUEUE: usize = 16;

/// How the kernel thread works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The number that tells our routes, neighbours and addresses from those of others.
    pub protocol: u8,
    /// The number of routes to pods, if it is to be another. It may be one that others use: only routes on the host's ends
    /// of pods count as ours by it.
    pub workload_protocol: Option<u8>,
    /// How the names of the host's ends of pods begin. Such devices are ours: they are left out of [`Underlay`], and permanent
    /// neighbours on them may be changed whoever made them.
    pub workload_prefix: String,
    /// How the names of the VXLAN devices end that are ours: one that nobody wants is removed once the sweep is released.
    pub tunnel_suffix: String,
    /// How often everything is listed, in case an event was missed.
    pub backstop: Duration,
    /// How many bytes of events may wait to be heard. Past that they are lost, and everything is listed instead.
    pub event_buffer: usize,
    /// Where to work; in the namespace of the calling thread if none is given.
    pub namespace: Option<Namespace>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            protocol: DEFAULT_PROTOCOL,
            workload_protocol: None,
            workload_prefix: "cali".to_owned(),
            tunnel_suffix: ".caracal".to_owned(),
            backstop: Duration::from_secs(300),
            event_buffer: 8 << 20,
            namespace: None,
        }
    }
}

/// Why nothing came of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsettled {
    /// An object was refused; the first of them, if several were. It stays wanted and is done once that becomes possible:
    /// who gives up on it must say so by wanting none.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The kernel thread has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The kernel thread has ended: its last error is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread that keeps the kernel's routes has ended; the log says why")]
pub struct Stopped;

/// How the kernel thread is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Routes that are wanted.
    pub routes_wanted: usize,
    /// Routes of ours that are there.
    pub routes_seen: usize,
    /// Neighbours that are wanted.
    pub neighbours_wanted: usize,
    /// Objects that are not as wanted.
    pub refused: usize,
    /// Whether unwanted routes of ours are still kept.
    pub sweep_held: bool,
    /// Changes made to the kernel since the start.
    pub changes: u64,
    /// Times that events were lost, and everything was listed instead.
    pub overruns: u64,
    /// Times that everything was listed.
    pub resyncs: u64,
}

/// A batch for the thread, and where its outcome goes.
struct Batch {
    changes: Vec<Wanted>,
    outcome: oneshot::Sender<Vec<Refused>>,
}

enum Question {
    ReleaseSweep(oneshot::Sender<()>),
    Gateways(BTreeSet<IpAddr>, oneshot::Sender<()>),
    Status(oneshot::Sender<Status>),
    Routes(oneshot::Sender<Vec<(RouteKey, Route)>>),
}

/// The handle of the kernel thread. Clones share it; the thread ends with the last.
#[derive(Clone)]
pub struct Kernel {
    shared: Arc<Shared>,
}

/// The senders go before the waker (fields are dropped in this order), so that the thread finds them closed when it wakes.
struct Shared {
    urgent: mpsc::Sender<Batch>,
    bulk: mpsc::Sender<Batch>,
    questions: mpsc::Sender<Question>,
    underlay: watch::Receiver<Arc<Underlay>>,
    gateways: watch::Receiver<Arc<Gateways>>,
    others: watch::Receiver<Arc<BTreeMap<RouteKey, Route>>>,
    refusals: watch::Receiver<Arc<Refusals>>,
    waker: UnixStream,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kernel")
    }
}

impl Kernel {
    /// Lists what is there, adopts what is ours, and starts the thread.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        let failed = |source| Error::Socket { doing: "starting the kernel thread".to_owned(), source };
        let (urgent, urgent_taken) = mpsc::channel(URGENT_QUEUE);
        let (bulk, bulk_taken) = mpsc::channel(BULK_QUEUE);
        let (questions, questions_taken) = mpsc::channel(QUESTION_QUEUE);
        let (waker, wake) = UnixStream::pair().map_err(failed)?;
        waker.set_nonblocking(true).and_then(|()| wake.set_nonblocking(true)).map_err(failed)?;
        let (namespace, entered) = (settings.namespace.clone(), settings.namespace.clone());
        let queues =
            keeper::Queues { urgent: urgent_taken, bulk: bulk_taken, questions: questions_taken, wake };
        let keeper = match namespace {
            Some(namespace) => namespace.run(|| Keeper::open(settings, queues))??,
            None => Keeper::open(settings, queues)?,
        };
        let (underlay, refusals, gateways) = (keeper.underlay(), keeper.refusals(), keeper.gateways());
        let others = keeper.routes_of_others();
        thread::Builder::new()
            .name("kernel".to_owned())
            .spawn(move || {
                // Its sockets are where they were opened, but settings under /proc are those of the thread's namespace.
                let entered = entered.map_or(Ok(()), |namespace| namespace.enter().map_err(Error::from));
                if let Err(error) = entered.and_then(|()| keeper.run()) {
                    error!(%error, "the kernel thread ends: routes are not kept any more");
                }
            })
            .map_err(failed)?;
        let shared = Shared { urgent, bulk, questions, underlay, gateways, others, refusals, waker };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Wants this at once, before any bulk work, and waits until it is so. For what a pod's start or end waits for.
    pub async fn settle(&self, changes: Vec<Wanted>) -> Result<(), Unsettled> {
        let refused = self.submit(&self.shared.urgent, changes).await?;
        refused.into_iter().next().map_or(Ok(()), |refused| Err(refused.into()))
    }

    /// Wants this, and waits until each change is made or refused. What is refused stays wanted, and is tried again when that
    /// may help; it is returned here and shown by [`Kernel::refusals`].
    pub async fn want(&self, changes: Vec<Wanted>) -> Result<Vec<Refused>, Stopped> {
        self.submit(&self.shared.bulk, changes).await
    }

    async fn submit(
        &self,
        queue: &mpsc::Sender<Batch>,
        changes: Vec<Wanted>,
    ) -> Result<Vec<Refused>, Stopped> {
        let (outcome, answer) = oneshot::channel();
        queue.send(Batch { changes, outcome }).await.map_err(|_| Stopped)?;
        self.wake();
        answer.await.map_err(|_| Stopped)
    }

    /// Everyone who would want routes that an earlier run left has spoken: those that nobody wants may go.
    pub async fn release_sweep(&self) -> Result<(), Stopped> {
        self.ask(Question::ReleaseSweep).await
    }

    /// How the thread is doing.
    pub async fn status(&self) -> Result<Status, Stopped> {
        self.ask(Question::Status).await
    }

    /// The routes of ours that are in the kernel, adopted ones included.
    pub async fn routes(&self) -> Result<Vec<(RouteKey, Route)>, Stopped> {
        self.ask(Question::Routes).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.shared.questions.send(question(reply)).await.map_err(|_| Stopped)?;
        self.wake();
        answer.await.map_err(|_| Stopped)
    }

    fn wake(&self) {
        // A full pipe wakes as well as one more byte, and a closed one means a thread that has ended, which the caller learns
        // from its own channel.
        (&self.shared.waker).write_all(&[0]).ok();
    }

    /// What is not as wanted, whenever that changes.
    pub fn refusals(&self) -> watch::Receiver<Arc<Refusals>> {
        self.shared.refusals.clone()
    }

    /// The objects that another hand holds or keeps changing.
    pub fn conflicts(&self) -> Vec<Refused> {
        self.shared.refusals.borrow().contests().cloned().collect()
    }

    /// The host's links and addresses, without the host's ends of pods, whenever they change.
    pub fn underlay(&self) -> watch::Receiver<Arc<Underlay>> {
        self.shared.underlay.clone()
    }

    /// Asks by which routes of others these next hops lie, in place of those asked about before.
    pub async fn follow_gateways(&self, next_hops: BTreeSet<IpAddr>) -> Result<(), Stopped> {
        self.ask(|reply| Question::Gateways(next_hops, reply)).await
    }

    /// By which routes of others the next hops lie that were asked about, whenever that changes.
    pub fn gateways(&self) -> watch::Receiver<Arc<Gateways>> {
        self.shared.gateways.clone()
    }

    /// The routes of others in the main table, whenever they change.
    pub fn routes_of_others(&self) -> watch::Receiver<Arc<BTreeMap<RouteKey, Route>>> {
        self.shared.others.clone()
    }

    /// Waits until the thread has ended, which it does by itself only after an error.
    pub async fn stopped(&self) {
        self.shared.urgent.closed().await;
    }
}
