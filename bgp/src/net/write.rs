//! The writer of one connection: a task of its own, since a peer that does not read must neither keep us from
//! reading it nor from noticing that it is gone.
//!
//! Two queues, both bounded, end here: the machine's messages, which go first, and the RIB's UPDATEs. What waits
//! (`Outbox`) is handed to the kernel in one call. Last words have a second to get through.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::outbox::Outbox;
use super::statistics::Statistics;
use crate::wire::header::{self, Header};

/// The machine's messages waiting to be written.
const URGENT: usize = 32;
/// Batches of UPDATEs waiting to be written, and as many again that are being written.
const UPDATES: usize = 32;
/// Pieces for one call of the kernel's.
const PIECES: usize = 64;
/// After so long without progress the writer says that it is blocked.
const GRACE: Duration = Duration::from_secs(1);
/// The time for the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How writing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Fine,
    /// Nothing could be written since then.
    Blocked(Instant),
    Failed(io::ErrorKind),
}

/// What the session tells its writer.
#[derive(Debug)]
enum Order {
    Write(Bytes),
    /// The last words, maybe none, and the other half of the connection: what the peer still sends is read away, for
    /// unread bytes would make the system reset the connection and the words be lost.
    Finish(Bytes, OwnedReadHalf),
}

/// The session's end.
#[derive(Debug)]
pub(super) struct Writer {
    orders: mpsc::Sender<Order>,
    updates: mpsc::Sender<Bytes>,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<()>,
}

impl Writer {
    pub(super) fn spawn(half: OwnedWriteHalf, statistics: Arc<Statistics>) -> Writer {
        let (orders, to_do) = mpsc::channel(URGENT);
        let (updates, batches) = mpsc::channel(UPDATES);
        let (report, progress) = watch::channel(Progress::Fine);
        let queue = Queue { half, outbox: Outbox::default(), statistics, report, stuck: None };
        Writer { orders, updates, progress, task: tokio::spawn(queue.run(to_do, batches)) }
    }

    /// Where the RIB's UPDATEs go.
    pub(super) fn updates(&self) -> mpsc::Sender<Bytes> {
        self.updates.clone()
    }

    /// Takes a message of the machine's; `false` if far too many wait already.
    pub(super) fn write(&self, message: Bytes) -> bool {
        self.orders.try_send(Order::Write(message)).is_ok()
    }

    /// Ends the connection after these words; the task that sees to it.
    pub(super) fn finish(self, words: Bytes, half: OwnedReadHalf) -> JoinHandle<()> {
        if self.orders.try_send(Order::Finish(words, half)).is_err() {
            self.task.abort();
        }
        self.task
    }

    /// Waits for news of how writing goes.
    pub(super) async fn progress(&mut self) -> Progress {
        match self.progress.changed().await {
            Ok(()) => *self.progress.borrow_and_update(),
            // The task is gone; what it said last may have been read already.
            Err(_) => Progress::Failed(io::ErrorKind::BrokenPipe),
        }
    }
}

/// Hands as many pieces to the kernel as one call takes; how many octets of them it took.
async fn write<'a>(half: &OwnedWriteHalf, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
    let pieces: SmallVec<[IoSlice<'_>; PIECES]> = pieces.take(PIECES).map(IoSlice::new).collect();
    loop {
        half.writable().await?;
        match half.try_write_vectored(&pieces) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => return written,
        }
    }
}

/// Counts the messages of a piece.
fn count(statistics: &Statistics, piece: &[u8]) {
    let mut rest = piece;
    while let Ok(Some(Header { length, kind })) = Header::peek(rest, header::MAX_EXTENDED) {
        statistics.sent.count(kind, length);
        rest = rest.get(length..).unwrap_or_default();
    }
    debug_assert!(rest.len() < header::LENGTH, "whole messages only");
}

struct Queue {
    half: OwnedWriteHalf,
    outbox: Outbox,
    statistics: Arc<Statistics>,
    report: watch::Sender<Progress>,
    /// Since when nothing could be written.
    stuck: Option<Instant>,
}

impl Queue {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut updates: mpsc::Receiver<Bytes>) {
        let mut more = Vec::with_capacity(UPDATES);
        loop {
            let idle = self.outbox.is_empty();
            tokio::select! {
                biased;
                order = orders.recv(), if self.outbox.urgent() < URGENT => match order {
                    Some(Order::Write(message)) => self.outbox.put_urgent(message),
                    Some(Order::Finish(words, half)) => return self.finish(words, half).await,
                    None => return,
                },
                written = write(&self.half, self.outbox.pieces()), if !idle => match written {
                    Ok(0) => return self.fail(io::ErrorKind::WriteZero),
                    Ok(count) => self.wrote(count),
                    Err(error) => return self.fail(error.kind()),
                },
                1.. = updates.recv_many(&mut more, UPDATES), if idle => self.outbox.put_updates(more.drain(..)),
                () = sleep(GRACE), if !idle && self.stuck.is_none() => self.blocked(),
            }
        }
    }

    fn wrote(&mut self, octets: usize) {
        let statistics = &self.statistics;
        self.outbox.wrote(octets, |piece| count(statistics, piece));
        if self.stuck.take().is_some() {
            self.report.send_replace(Progress::Fine);
        }
    }

    fn blocked(&mut self) {
        let since = Instant::now().checked_sub(GRACE).unwrap_or_else(Instant::now);
        self.stuck = Some(since);
        self.report.send_replace(Progress::Blocked(since));
    }

    fn fail(&mut self, kind: io::ErrorKind) {
        self.report.send_replace(Progress::Failed(kind));
    }

    async fn finish(mut self, words: Bytes, mut reader: OwnedReadHalf) {
        let deadline = sleep_until(tokio::time::Instant::now() + LAST_WORDS);
        let last = async {
            // Messages of the machine's that still wait come before the last one; UPDATEs that wait are dropped.
            let (begun, mut urgent) = self.outbox.into_last();
            self.half.write_all(&begun).await?;
            urgent.push_back(words);
            for message in urgent {
                count(&self.statistics, &message);
                self.half.write_all(&message).await?;
            }
            self.half.shutdown().await?;
            // On the heap: every writer would carry it all its life, for an end that comes once.
            let mut ignored = vec![0; 4096];
            while reader.read(&mut ignored).await? > 0 {}
            io::Result::Ok(())
        };
        tokio::select! {
            result = last => if let Err(error) = result {
                tracing::debug!(%error, "the last words did not reach the peer");
            },
            () = deadline => (),
        }
    }
}
