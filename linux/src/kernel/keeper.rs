//! The thread: takes in what is wanted and what is seen, in turns, and lets the tables plan.
//!
//! One turn: hear events, list what has to be listed, take in urgent batches and perform them, take in a bulk batch, perform
//! one slice of what is due, answer who waits. A turn with bulk work is as long as one slice, so that an urgent batch waits
//! no longer than that.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::kernel::others::Others;
use crate::kernel::reach::{Gateways, Reach};
use crate::kernel::resync::Due;
use crate::kernel::tables::Tables;
use crate::kernel::underlay::{Links, Underlay};
use crate::kernel::waiting::{self, Waiter};
use crate::kernel::{Batch, ObjectKey, Question, Refusals, Refused, Settings, Status, Wanted};
use crate::netlink::Error;
use crate::netlink::batch::Writer;
use crate::netlink::events::Events;
use crate::object::link::IfName;
use crate::object::route::{Route, RouteKey, RouteKind, TABLE_MAIN};
use crate::table::Refusal;

/// The most changes performed in one turn.
pub(super) const SLICE: usize = 256;

/// Where batches and questions come from.
pub(super) struct Queues {
    pub(super) urgent: mpsc::Receiver<Batch>,
    pub(super) bulk: mpsc::Receiver<Batch>,
    pub(super) questions: mpsc::Receiver<Question>,
    pub(super) wake: UnixStream,
}

/// Everything the thread knows.
pub(super) struct Keeper {
    pub(super) settings: Settings,
    pub(super) writer: Writer,
    pub(super) events: Events,
    pub(super) links: Links,
    pub(super) tables: Tables,
    /// The routes of others in the main table.
    pub(super) others: Others,
    pub(super) due: Due,
    /// Devices that events were about.
    pub(super) touched: BTreeSet<IfName>,
    /// By which routes of others the next hops lie that callers asked about.
    pub(super) reach: Reach,
    /// Routes that the kernel says exist though we did not see them: whose they are has to be looked up.
    pub(super) unexplained: BTreeSet<RouteKey>,
    pub(super) counts: Status,
    /// What urgent batches want, to be performed before all else.
    pub(super) hurried: Vec<ObjectKey>,
    queues: Queues,
    urgent: Vec<Waiter>,
    bulk: Vec<Waiter>,
    underlay: watch::Sender<Arc<Underlay>>,
    refusals: watch::Sender<Arc<Refusals>>,
    /// The generation of the tables that `refusals` shows.
    told: u64,
    /// The underlay may differ from what was last told.
    pub(super) underlay_changed: bool,
}

impl Keeper {
    /// Opens the sockets in the namespace of the calling thread, and lists what is there. The events are heard first, so that
    /// nothing between them and the listing is missed.
    pub(super) fn open(settings: Settings, queues: Queues) -> Result<Self, Error> {
        let failed =
            |source| Error::Socket { doing: "opening the kernel thread's sockets".to_owned(), source };
        let backstop = settings.backstop;
        let writer = Writer::open().map_err(failed)?;
        let mut keeper = Self {
            events: Events::open(settings.event_buffer, writer.port()).map_err(failed)?,
            writer,
            settings,
            links: Links::default(),
            tables: Tables::new(),
            others: Others::default(),
            due: Due::new(backstop),
            touched: BTreeSet::new(),
            reach: Reach::default(),
            unexplained: BTreeSet::new(),
            counts: Status { sweep_held: true, ..Status::default() },
            hurried: Vec::new(),
            queues,
            urgent: Vec::new(),
            bulk: Vec::new(),
            underlay: watch::Sender::new(Arc::default()),
            refusals: watch::Sender::new(Arc::default()),
            told: 0,
            underlay_changed: true,
        };
        keeper.resync_all(Instant::now())?;
        keeper.publish();
        let adopted = keeper.tables.routes.own().count();
        info!(
            adopted,
            protocol = keeper.settings.protocol,
            "keeping routes; those of an earlier run are adopted"
        );
        Ok(keeper)
    }

    pub(super) fn underlay(&self) -> watch::Receiver<Arc<Underlay>> {
        self.underlay.subscribe()
    }

    pub(super) fn gateways(&self) -> watch::Receiver<Arc<Gateways>> {
        self.reach.told()
    }

    pub(super) fn routes_of_others(&self) -> watch::Receiver<Arc<BTreeMap<RouteKey, Route>>> {
        self.others.watch()
    }

    pub(super) fn refusals(&self) -> watch::Receiver<Arc<Refusals>> {
        self.refusals.subscribe()
    }

    /// Works until every handle is gone.
    pub(super) fn run(mut self) -> Result<(), Error> {
        loop {
            self.listen()?;
            if self.resync_due(Instant::now())? {
                // What the listing overtook must not be planned upon.
                self.listen()?;
            }
            self.answer_questions();
            self.look_for_gateways()?;
            if self.take_urgent() {
                // What a batch relies on, a device that its sender has brought up, is told by events older than the batch.
                self.listen()?;
            }
            self.perform_urgent()?;
            self.publish();
            self.answer();
            self.take_bulk();
            self.perform_slice()?;
            self.publish();
            self.answer();
            if self.queues.urgent.is_closed() && self.queues.urgent.is_empty() {
                return Ok(());
            }
            // Two bulk batches may have woken us once: the second is taken when the first is done.
            let more = self.bulk.is_empty() && !self.queues.bulk.is_empty();
            if !self.tables.is_dirty() && !more {
                self.sleep()?;
            }
        }
    }

    fn answer(&mut self) {
        self.urgent = waiting::answer(std::mem::take(&mut self.urgent), &self.tables);
        self.bulk = waiting::answer(std::mem::take(&mut self.bulk), &self.tables);
    }

    /// Whether there was a batch.
    fn take_urgent(&mut self) -> bool {
        let mut some = false;
        while let Ok(batch) = self.queues.urgent.try_recv() {
            let waiter = self.accept(batch, true);
            self.urgent.push(waiter);
            some = true;
        }
        some
    }

    /// One bulk batch at a time: the next is taken when it is done, and its sender waits until then.
    fn take_bulk(&mut self) {
        if self.bulk.is_empty()
            && let Ok(batch) = self.queues.bulk.try_recv()
        {
            let waiter = self.accept(batch, false);
            self.bulk.push(waiter);
        }
    }

    fn accept(&mut self, batch: Batch, urgent: bool) -> Waiter {
        let mut keys = Vec::with_capacity(batch.changes.len());
        let mut refused = Vec::new();
        for change in batch.changes {
            match self.take_in(change) {
                Ok(key) => keys.push(key),
                Err(unfit) => refused.push(unfit),
            }
        }
        if urgent {
            self.hurry(&keys);
        }
        Waiter::new(keys, refused, batch.outcome)
    }

    fn take_in(&mut self, change: Wanted) -> Result<ObjectKey, Refused> {
        let key = change.key();
        match change {
            Wanted::Tunnel(key, tunnel) => {
                self.tables.tunnels.want(key, tunnel);
                self.look_at_tunnel(&key);
            }
            Wanted::Setting(key, setting) => {
                self.tables.settings.want(key, setting);
                self.look_at_setting(&key);
            }
            Wanted::Address(key, assigned) => {
                self.tables.addresses.want(key, assigned);
                self.look_at_address(&key);
            }
            Wanted::Forwarding(key, entry) => self.tables.forwarding.want(key, entry),
            Wanted::Neighbour(key, neighbour) => self.tables.neighbours.want(key, neighbour),
            Wanted::Route(key, route) => {
                let key = key.normalised();
                let route = route.map(|route| {
                    let route = route.normalised(&key);
                    Route { protocol: self.protocol_of(&route), ..route }
                });
                if let Some(why) = unfit(&key, route.as_ref()) {
                    return Err(Refused { object: ObjectKey::Route(key), why });
                }
                self.tables.routes.want(key, route);
                return Ok(ObjectKey::Route(key));
            }
        }
        Ok(key)
    }

    fn answer_questions(&mut self) {
        while let Ok(question) = self.queues.questions.try_recv() {
            // Who asked may have gone meanwhile, which is their affair.
            match question {
                Question::ReleaseSweep(reply) => {
                    self.counts.sweep_held = false;
                    self.tables.release_sweep();
                    reply.send(()).ok();
                }
                Question::Gateways(next_hops, reply) => {
                    self.reach.want(next_hops);
                    reply.send(()).ok();
                }
                Question::Status(reply) => {
                    let status = Status {
                        routes_wanted: self.tables.routes.wanted(),
                        routes_seen: self.tables.routes.own().count(),
                        neighbours_wanted: self.tables.neighbours.wanted(),
                        refused: self.tables.refused(),
                        ..self.counts.clone()
                    };
                    reply.send(status).ok();
                }
                Question::Routes(reply) => {
                    let own = self.tables.routes.own();
                    reply.send(own.map(|(key, route)| (*key, route.clone())).collect()).ok();
                }
            }
        }
    }

    /// Tells those who watch.
    fn publish(&mut self) {
        if std::mem::take(&mut self.underlay_changed) {
            self.reach.look_again();
            let underlay = self.links.underlay(&self.settings.workload_prefix);
            self.underlay.send_if_modified(|told| {
                let differs = **told != underlay;
                if differs {
                    *told = Arc::new(underlay);
                }
                differs
            });
        }
        self.others.publish();
        let now = self.tables.generation();
        if self.told != now {
            self.told = now;
            let first = self.tables.refusals().take(Refusals::MOST).collect();
            let refusals = Refusals { total: self.tables.refused(), first };
            let told = self.refusals.send_replace(Arc::new(refusals));
            let now = self.refusals.borrow();
            for refused in now.contests().filter(|one| !told.first.contains(one)) {
                warn!("{refused}");
            }
        }
    }

    /// Waits for events, for batches, or until something is due.
    fn sleep(&mut self) -> Result<(), Error> {
        let listing = self.due.deadline();
        let deadlines = [self.tables.deadline(), self.reach.deadline(), Some(listing)];
        let until = deadlines.into_iter().flatten().min().unwrap_or(listing);
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, so as not to spin through the last millisecond.
        let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut ready = [
            PollFd::new(self.events.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.queues.wake.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, left) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(Error::Socket { doing: "waiting for events".to_owned(), source: errno.into() });
            }
        }
        // How often we were woken does not matter, and the queues say whether anyone is left.
        let mut bytes = [0; 256];
        while (&self.queues.wake).read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
        Ok(())
    }
}

/// Why we would not keep such a route at all.
fn unfit(key: &RouteKey, route: Option<&Route>) -> Option<Refusal> {
    let refuse = |why: &str| Some(Refusal::Unsupported(why.to_owned()));
    if key.table != TABLE_MAIN {
        return refuse("only routes of the main table (254) are kept");
    }
    match route.map(|route| &route.kind) {
        Some(RouteKind::Unicast(hops)) if hops.is_empty() => refuse("a unicast route needs at least one hop"),
        Some(_) | None => None,
    }
}
