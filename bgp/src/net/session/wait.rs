//! Everything a session waits for, in one place.

use std::future::{Future, pending};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::{Connection, Order, Session};
use crate::bfd::PathState;
use crate::net::dial::DialError;
use crate::net::report::{BfdReport, Report, Signal};
use crate::net::sys;
use crate::net::write::Progress;
use crate::peer::{Event, Loss, Side, Stop};
use crate::wire::notification::Cease;

/// A session waits for room for so many portions of the RIB's queue at most, one after the other.
const PORTIONS: usize = 4;

/// An attempt to connect.
pub(super) type Dialing = Pin<Box<dyn Future<Output = Result<TcpStream, DialError>> + Send>>;

/// What happened.
pub(super) enum Happening {
    Ordered(Order),
    /// All handles are gone, or the RIB is.
    Abandoned,
    Accepted(TcpStream),
    Dialled(Result<TcpStream, DialError>),
    Read(Side, io::Result<usize>),
    Progress(Side, Progress),
    Signalled(Signal),
    /// BFD has something to say.
    Bfd(BfdReport),
    /// There was room in the RIB's queue, and some of the reports that waited are in it.
    Room,
    Deadline,
}

impl<C: From<Report>> Session<C> {
    pub(super) async fn wait(
        &mut self,
        orders: &mut mpsc::Receiver<Order>,
        accepted: &mut mpsc::Receiver<TcpStream>,
    ) -> Happening {
        let deadline = self.peer.deadline();
        let backlog = !self.outbox.is_empty();
        // For one report at a time the RIB's thread and this task would wake each other with every message.
        let portion = self.outbox.len().min(self.to_rib.max_capacity().div_ceil(PORTIONS));
        let happening = tokio::select! {
            order = orders.recv() => order.map_or(Happening::Abandoned, Happening::Ordered),
            Some(stream) = accepted.recv() => Happening::Accepted(stream),
            result = dialled(&mut self.dialing) => Happening::Dialled(result),
            (read, progress) = next(&mut self.active, backlog) => happening(Side::Active, read, progress),
            (read, progress) = next(&mut self.passive, backlog) => happening(Side::Passive, read, progress),
            report = bfd(&mut self.bfd) => Happening::Bfd(report),
            signal = signalled(&mut self.signals) => Happening::Signalled(signal),
            room = self.to_rib.reserve_many(portion), if backlog => match room {
                Ok(room) => {
                    for (permit, report) in room.zip(self.outbox.drain(..portion)) {
                        permit.send(C::from(report));
                    }
                    Happening::Room
                }
                Err(_) => Happening::Abandoned,
            },
            () = until(deadline) => Happening::Deadline,
        };
        match happening {
            Happening::Deadline if !self.read_before_time => {
                self.read_before_time = true;
                self.unread(backlog).unwrap_or(Happening::Deadline)
            }
            other => other,
        }
    }

    /// What a connection has that nobody has read yet. Where this task, or the whole machine, stood still for longer than the
    /// hold time, signs of life lie there: the peer that sent them is not the one to blame. Time is not held up by it for
    /// longer than one look.
    fn unread(&mut self, backlog: bool) -> Option<Happening> {
        let ends = [(Side::Active, &mut self.active), (Side::Passive, &mut self.passive)];
        ends.into_iter().find_map(|(side, connection)| {
            let (read, progress) = next(connection, backlog).now_or_never()?;
            Some(happening(side, read, progress))
        })
    }

    pub(super) fn handle(&mut self, happening: Happening) -> ControlFlow<()> {
        match happening {
            Happening::Ordered(order) => return self.obey(order),
            Happening::Abandoned => {
                self.on(Event::Stop(Stop::Silent));
                return ControlFlow::Break(());
            }
            Happening::Accepted(stream) => self.accepted(stream),
            Happening::Dialled(Ok(stream)) => {
                self.dialing = None;
                self.opened(Side::Active, stream);
            }
            Happening::Dialled(Err(error)) => {
                self.dialing = None;
                tracing::debug!(peer = %self.key, %error, "dialling failed");
                self.on(Event::Closed(Side::Active, error.loss()));
            }
            Happening::Read(side, Ok(0)) => self.lost(side, Loss::Closed),
            Happening::Read(side, Ok(_)) => self.parse(side),
            Happening::Read(side, Err(error)) => self.lost(side, Loss::Failed(error.kind())),
            Happening::Progress(side, Progress::Fine) => self.on(Event::Writable(side)),
            Happening::Progress(side, Progress::Blocked(since)) => self.on(Event::Unwritable(side, since)),
            Happening::Progress(side, Progress::Failed(kind)) => self.lost(side, Loss::Failed(kind)),
            Happening::Signalled(Signal::TooManyPrefixes { family, found }) => {
                self.on(Event::TooManyPrefixes(family, found));
            }
            Happening::Bfd(report) => self.path(report),
            Happening::Room => self.excuse(),
            Happening::Deadline => {
                self.read_before_time = false;
                if !self.outbox.is_empty() {
                    self.excuse();
                }
                self.on(Event::Tick);
            }
        }
        ControlFlow::Continue(())
    }

    fn obey(&mut self, order: Order) -> ControlFlow<()> {
        match order {
            Order::Configure(config, router_id) => {
                if let Some(password) = config.password.as_ref().filter(|_| self.config.password.is_some())
                    && self.config.password != config.password
                {
                    self.rekey(password);
                }
                self.config = Arc::clone(&config);
                self.router_id = router_id;
                self.on(Event::Configure(config, router_id));
            }
            Order::Reset(words) => {
                self.on(Event::Stop(stop(Cease::Reset, words)));
                self.on(Event::Start);
            }
            Order::Halt(words) => self.on(Event::Stop(stop(Cease::Shutdown, words))),
            Order::Start => self.on(Event::Start),
            Order::Refresh(reply) => {
                if reply.send(self.refresh()).is_err() {
                    tracing::debug!(peer = %self.key, "nobody waits for the refresh any more");
                }
            }
            Order::Bfd(reports) => {
                (self.path_downs, self.held_path) = (None, None);
                self.bfd = reports;
                if self.bfd.is_none() {
                    self.on(Event::Bfd(PathState::Unknown));
                }
            }
            // Looked at where what was accepted is.
            Order::Retire(_) => (),
            Order::Stop(stop) => {
                self.on(Event::Stop(stop));
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// The thread of BFD is quicker than this task: a peer whose process has ended may have closed the connection before its
    /// BFD fell silent or said that it is down. The order in which it happened counts (RFC 5882 §4.3), not that in which
    /// it is noticed here, so that what BFD says waits until the end of the connection has been read.
    fn path(&mut self, report: BfdReport) {
        let fell = self.path_downs.is_some_and(|seen| report.downs > seen);
        if (fell || report.path == PathState::Down) && self.is_closed_there() {
            tracing::debug!(peer = %self.key, "BFD says that the path is down, after the peer has closed the connection");
            self.held_path = Some(report);
        } else {
            self.held_path = None;
            self.take_path(report);
        }
    }

    /// What BFD said is taken once the connection is gone.
    pub(super) fn held_path(&mut self) {
        if let Some(report) = self.held_path.filter(|_| !self.is_closed_there()) {
            self.held_path = None;
            self.take_path(report);
        }
    }

    /// Whether the peer has closed the connection of the established session, and that has not been read yet.
    fn is_closed_there(&self) -> bool {
        let connections = [&self.active, &self.passive].into_iter().flatten();
        let mut established = connections.filter(|connection| connection.context.is_some());
        established.any(|connection| {
            let stream: &TcpStream = connection.reader.as_ref();
            sys::is_closed_there(stream.as_fd()).unwrap_or_else(|error| {
                tracing::debug!(peer = %self.key, %error, "asking for the state of a connection");
                false
            })
        })
    }

    /// A path that went down and is up again was down all the same.
    fn take_path(&mut self, report: BfdReport) {
        let seen = self.path_downs.replace(report.downs);
        if seen.is_some_and(|seen| report.downs > seen) {
            self.on(Event::Bfd(PathState::Up));
            self.on(Event::Bfd(PathState::Down));
        }
        self.on(Event::Bfd(report.path));
    }

    /// The peer is not to blame for bytes that we did not read.
    fn excuse(&mut self) {
        for side in Side::BOTH {
            if self.slot(side).as_ref().is_some_and(|connection| connection.context.is_some()) {
                self.on(Event::Backlogged(side));
            }
        }
    }

    fn lost(&mut self, side: Side, loss: Loss) {
        *self.slot(side) = None;
        self.on(Event::Closed(side, loss));
    }
}

fn stop(cease: Cease, words: Option<Arc<str>>) -> Stop {
    match words {
        Some(words) => Stop::Saying(cease, words),
        None => Stop::Cease(cease),
    }
}

fn happening(side: Side, read: Option<io::Result<usize>>, progress: Option<Progress>) -> Happening {
    match (read, progress) {
        (Some(read), _) => Happening::Read(side, read),
        (None, Some(progress)) => Happening::Progress(side, progress),
        (None, None) => Happening::Deadline,
    }
}

/// The next thing on a connection: bytes, unless they could not be dealt with, or news of the writer.
async fn next(
    connection: &mut Option<Connection>,
    backlog: bool,
) -> (Option<io::Result<usize>>, Option<Progress>) {
    let Some(connection) = connection else { return pending().await };
    let Connection { reader, buffer, room, writer, context, longest: _, opens: _ } = connection;
    let may_read = !(backlog && context.is_some());
    tokio::select! {
        read = super::connection::read(reader, buffer, room), if may_read => (Some(read), None),
        progress = writer.progress() => (None, Some(progress)),
    }
}

async fn signalled(signals: &mut Option<mpsc::Receiver<Signal>>) -> Signal {
    if let Some(open) = signals {
        if let Some(signal) = open.recv().await {
            return signal;
        }
        // The RIB has nothing more to say.
        *signals = None;
    }
    pending().await
}

async fn bfd(reports: &mut Option<watch::Receiver<BfdReport>>) -> BfdReport {
    if let Some(open) = reports {
        if open.changed().await.is_ok() {
            return *open.borrow_and_update();
        }
        // Its thread is gone, and says nothing more.
        *reports = None;
    }
    pending().await
}

async fn dialled(dialing: &mut Option<Dialing>) -> Result<TcpStream, DialError> {
    match dialing {
        Some(dialing) => dialing.await,
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
