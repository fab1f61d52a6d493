//! The thread that keeps the table: writes what is wanted, and writes it again when another hand touched it.

use std::io;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::namespace::{self, Namespace};
use crate::nft::attributes::{find, text};
use crate::nft::chains::{self, ForwardDrop};
use crate::nft::commit::commit;
use crate::nft::messages::kind;
use crate::nft::ruleset::Ruleset;
use crate::nft::socket::Socket;

/// How many rulesets may wait; each takes the place of the one before.
const QUEUE: usize = 4;
/// This many repairs …
const CONTENDED_AFTER: usize = 5;
/// … within this time are a contest.
const CONTENDED_WITHIN: Duration = Duration::from_secs(10);
/// How long the table is left alone at first; doubled each time, up to [`PAUSE_MOST`].
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_MOST: Duration = Duration::from_secs(300);
/// How long after a refusal it is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The longest sleep: a bound, not a rhythm.
const LONGEST: Duration = Duration::from_secs(3600);

/// A ruleset that is not in place, and why. It stays wanted, and is tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the nftables table is not as wanted: {why}")]
pub struct Refused {
    /// Why, in words for people.
    pub why: String,
}

/// How the table stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why it is not as wanted; none when it is, or when nothing is wanted.
    pub refused: Option<Refused>,
    /// How often it was written.
    pub commits: u64,
    /// How often that was because another hand had touched it.
    pub repairs: u64,
    /// Chains of others that drop what is forwarded.
    pub forward_drops: Vec<ForwardDrop>,
}

struct Job {
    ruleset: Ruleset,
    outcome: oneshot::Sender<Result<(), Refused>>,
}

/// The handle of the thread. Clones share it; the thread ends with the last, and leaves the table as it is.
#[derive(Clone, Debug)]
pub struct Nftables {
    shared: Arc<Shared>,
}

/// The sender goes before the waker (fields are dropped in this order), so that the thread finds it closed when it wakes.
#[derive(Debug)]
struct Shared {
    jobs: mpsc::Sender<Job>,
    standing: watch::Receiver<Arc<Standing>>,
    waker: UnixStream,
}

/// Why the thread could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket or thread could not be had.
    #[error("starting to keep nftables: {0}")]
    Io(#[from] io::Error),
    /// The namespace could not be used.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
}

impl Nftables {
    /// Starts the thread, in this namespace or in that of the calling thread. Nothing is written before something is wanted.
    ///
    /// # Errors
    /// When the sockets cannot be opened: netfilter's netlink needs CAP_NET_ADMIN and a kernel with nftables.
    pub fn start(namespace: Option<Namespace>) -> Result<Self, StartError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (waker, wake) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let open = || Ok::<_, io::Error>((Socket::open(true)?, Socket::open(false)?));
        let (events, writer) = match namespace {
            Some(namespace) => namespace.run(open)??,
            None => open()?,
        };
        let (told, standing) = watch::channel(Arc::default());
        let mut keeper = Keeper {
            events,
            writer,
            sequence: 1,
            queue,
            wake,
            told,
            standing: Standing::default(),
            wanted: None,
            waiting: Vec::new(),
            due: None,
            repairs: Vec::new(),
            contests: 0,
            culprit: None,
            nameless: false,
            drops_due: true,
        };
        thread::Builder::new().name("nftables".to_owned()).spawn(move || {
            if let Err(error) = keeper.run() {
                error!(%error, "the nftables thread ends: the table is not kept any more");
            }
        })?;
        Ok(Self { shared: Arc::new(Shared { jobs, standing, waker }) })
    }

    /// Wants this ruleset in place of the one before, and waits until it is there.
    ///
    /// # Errors
    /// When the kernel refuses it: it stays wanted, and is tried again.
    pub async fn want(&self, ruleset: Ruleset) -> Result<(), Refused> {
        let stopped = || Refused { why: "the thread that keeps it has ended; the log says why".to_owned() };
        let (outcome, answer) = oneshot::channel();
        self.shared.jobs.send(Job { ruleset, outcome }).await.map_err(|_| stopped())?;
        // A full pipe wakes as well as one more byte.
        (&self.shared.waker).write_all(&[0]).ok();
        answer.await.map_err(|_| stopped())?
    }

    /// How the table stands, whenever that changes.
    pub fn standing(&self) -> watch::Receiver<Arc<Standing>> {
        self.shared.standing.clone()
    }
}

struct Keeper {
    events: Socket,
    writer: Socket,
    sequence: u32,
    queue: mpsc::Receiver<Job>,
    wake: UnixStream,
    told: watch::Sender<Arc<Standing>>,
    standing: Standing,
    wanted: Option<Ruleset>,
    waiting: Vec<oneshot::Sender<Result<(), Refused>>>,
    /// When to write the table.
    due: Option<Instant>,
    /// When it was repaired.
    repairs: Vec<Instant>,
    contests: u32,
    /// Who touched the table last.
    culprit: Option<String>,
    /// The table was touched, and who did it is not told yet.
    nameless: bool,
    /// Base chains of others may have changed.
    drops_due: bool,
}

impl Keeper {
    fn run(&mut self) -> io::Result<()> {
        loop {
            self.listen()?;
            self.take();
            // The table may be another's by now: what it does there is no meddling, and is not undone.
            if self.queue.is_closed() && self.queue.is_empty() && self.waiting.is_empty() {
                return Ok(());
            }
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.write()?;
            }
            if std::mem::take(&mut self.drops_due) {
                self.look_at_drops();
            }
            self.tell();
            self.sleep()?;
        }
    }

    fn take(&mut self) {
        while let Ok(job) = self.queue.try_recv() {
            if self.wanted.as_ref() == Some(&job.ruleset) && self.due.is_none() {
                // Nobody may wait any more, which is their affair.
                job.outcome.send(self.standing.refused.clone().map_or(Ok(()), Err)).ok();
                continue;
            }
            self.wanted = Some(job.ruleset);
            self.waiting.push(job.outcome);
            self.due = Some(Instant::now());
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.due = None;
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let done = commit(&mut self.writer, &mut self.sequence, wanted);
        let outcome = done.map_err(|why| Refused { why: why.to_string() });
        match &outcome {
            Ok(()) => self.standing.commits += 1,
            Err(refused) => {
                if self.standing.refused.as_ref() != Some(refused) {
                    warn!(%refused, "trying again");
                }
                self.due = Some(Instant::now() + RETRY);
            }
        }
        self.standing.refused = outcome.clone().err();
        self.tell();
        for waiting in self.waiting.drain(..) {
            waiting.send(outcome.clone()).ok();
        }
        Ok(())
    }

    /// Hears what has happened. Our own changes are told with our own port.
    fn listen(&mut self) -> io::Result<()> {
        let own = self.writer.port();
        let table = self.wanted.as_ref().map(|wanted| wanted.table.clone());
        let (mut touched, mut lost) = (false, false);
        loop {
            let (mut here, mut culprit, mut drops) = (false, None, false);
            let heard = self.events.receive(Instant::now(), |message| {
                let Some((kind, attributes)) = message.of_nftables() else { return };
                if kind == kind::NEW_GENERATION {
                    culprit = find(attributes, 3).map(text);
                    return;
                }
                if message.port == own {
                    return;
                }
                // Every other message names its table first.
                here |= table.is_some() && find(attributes, 1).map(text) == table;
                drops |= matches!(kind, kind::NEW_CHAIN | kind::DELETE_CHAIN) && chains::is_base(attributes);
                drops |= kind == kind::DELETE_TABLE;
            });
            self.drops_due |= drops;
            touched |= here;
            // The name comes last of what a change says, maybe only when this is called again.
            self.nameless |= here;
            if self.nameless && culprit.is_some() {
                self.culprit = culprit;
                self.nameless = false;
            }
            match heard {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => lost = true,
                Err(error) => return Err(error),
            }
        }
        if lost {
            self.drops_due = true;
            self.due = self.wanted.as_ref().map(|_| Instant::now());
        }
        if touched {
            self.repair(Instant::now());
        }
        Ok(())
    }

    /// Another hand has touched the table: it is due, at once or, in a contest, later.
    fn repair(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due > now) {
            // It is being left alone.
            return;
        }
        self.repairs.retain(|at| now.saturating_duration_since(*at) < CONTENDED_WITHIN);
        self.repairs.push(now);
        self.standing.repairs += 1;
        let who = self.culprit.clone().unwrap_or_else(|| "another program".to_owned());
        if self.repairs.len() < CONTENDED_AFTER {
            info!(who, "another program changed our nftables table: writing it again");
            self.due = Some(now);
            return;
        }
        let pause = PAUSE.saturating_mul(1 << self.contests.min(16)).min(PAUSE_MOST);
        self.contests = self.contests.saturating_add(1);
        self.repairs.clear();
        let why = format!(
            "{who} changed it {CONTENDED_AFTER} times within {} s; left alone for {} s; stop that program from changing table {}",
            CONTENDED_WITHIN.as_secs(),
            pause.as_secs(),
            self.wanted.as_ref().map(|wanted| wanted.table.as_str()).unwrap_or_default()
        );
        warn!("our nftables table: {why}");
        self.standing.refused = Some(Refused { why });
        self.due = Some(now + pause);
    }

    fn look_at_drops(&mut self) {
        match chains::forward_drops(&mut self.writer, &mut self.sequence) {
            Ok(drops) => self.standing.forward_drops = drops,
            Err(error) => warn!(%error, "listing the chains of nftables"),
        }
    }

    fn tell(&self) {
        self.told.send_if_modified(|told| {
            let news = **told != self.standing;
            if news {
                *told = Arc::new(self.standing.clone());
            }
            news
        });
    }

    fn sleep(&mut self) -> io::Result<()> {
        let left = self.due.map_or(LONGEST, |due| due.saturating_duration_since(Instant::now()));
        let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut ready = [
            PollFd::new(self.events.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, left) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut bytes = [0; 64];
        while (&self.wake).read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
        Ok(())
    }
}
