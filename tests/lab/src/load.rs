//! Load: pods come and go at a rate, on all nodes in turn, so that what pods cost can be watched while it happens.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use crate::lab::Lab;
use crate::pod::Pod;
use crate::report::Spread;

/// Pods that live at a time, on each node: from then on the oldest goes for each that comes.
const ON_A_NODE: usize = 8;
/// ADDs and DELs under way at a time; a lab that is slower than the rate falls behind it, and the summary says so.
const AT_ONCE: usize = 16;
/// ADDs whose times make the summary.
const REMEMBERED: usize = 10_000;

/// What has happened so far.
#[derive(Debug, Default)]
struct Tally {
    added: u64,
    deleted: u64,
    failed: u64,
    /// Microseconds of the last ADDs.
    adds: VecDeque<u64>,
    last_failure: Option<String>,
}

/// A summary, for one line.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// ADDs that succeeded.
    pub added: u64,
    /// DELs that succeeded.
    pub deleted: u64,
    /// Either that failed.
    pub failed: u64,
    /// Pods alive.
    pub live: usize,
    /// What the plugin's ADDs took, in microseconds.
    pub add: Spread,
    /// The last failure in words.
    pub last_failure: Option<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |micros: u64| micros as f64 / 1000.0;
        write!(
            f,
            "{} added, {} deleted, {} failed, {} alive; ADD {:.1} ms median, {:.1} ms p99",
            self.added,
            self.deleted,
            self.failed,
            self.live,
            ms(self.add.median),
            ms(self.add.p99)
        )?;
        self.last_failure.as_ref().map_or(Ok(()), |why| write!(f, "; last failure: {why}"))
    }
}

/// Pods that come and go.
#[derive(Debug)]
pub struct Load {
    lab: Arc<Lab>,
    /// Kept from one run to the next, or each would begin with a pod of its own.
    ticks: Interval,
    next: u64,
    live: Arc<Mutex<VecDeque<Pod>>>,
    tally: Arc<Mutex<Tally>>,
    work: JoinSet<()>,
}

impl Load {
    /// Load of so many pods a second. Needs a runtime.
    pub fn new(lab: Arc<Lab>, rate: f64) -> Self {
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate.max(0.01)));
        // What could not be done in time is not made up for by a burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (live, tally) = (Arc::default(), Arc::default());
        Self { lab, ticks, next: 0, live, tally, work: JoinSet::new() }
    }

    /// Lets pods come and go until `end`.
    pub async fn run_until(&mut self, end: Instant) {
        loop {
            tokio::select! {
                _ = self.ticks.tick() => self.tick(),
                Some(_) = self.work.join_next() => {}
                () = tokio::time::sleep_until(end.into()) => return,
            }
        }
    }

    /// One pod comes, and one goes where there are enough.
    fn tick(&mut self) {
        if self.work.len() >= AT_ONCE {
            return;
        }
        let nodes = self.lab.nodes();
        let index = usize::try_from(self.next).unwrap_or_default() % nodes.len().max(1);
        let Some(node) = nodes.get(index) else { return };
        let (node, name) = (node.name().to_owned(), format!("load-{}", self.next));
        self.next += 1;
        let (lab, live, tally) = (self.lab.clone(), self.live.clone(), self.tally.clone());
        self.work.spawn(async move {
            let outcome = lab.add_pod(&node, &name).await;
            note(&tally, |tally| match &outcome {
                Ok(pod) => {
                    tally.added += 1;
                    tally.adds.truncate(REMEMBERED - 1);
                    tally.adds.push_front(u64::try_from(pod.add_took().as_micros()).unwrap_or(u64::MAX));
                }
                Err(error) => tally.fail(error),
            });
            if let (Ok(pod), Ok(mut live)) = (outcome, live.lock()) {
                live.push_back(pod);
            }
        });
        let enough = ON_A_NODE * nodes.len();
        let oldest =
            self.live.lock().ok().filter(|live| live.len() > enough).and_then(|mut live| live.pop_front());
        if let Some(oldest) = oldest {
            self.delete(oldest);
        }
    }

    fn delete(&mut self, pod: Pod) {
        let (lab, tally) = (self.lab.clone(), self.tally.clone());
        self.work.spawn(async move {
            let outcome = lab.delete_pod(&pod).await;
            note(&tally, |tally| match &outcome {
                Ok(()) => tally.deleted += 1,
                Err(error) => tally.fail(error),
            });
        });
    }

    /// How it stands.
    pub fn summary(&self) -> Summary {
        let live = self.live.lock().map(|live| live.len()).unwrap_or_default();
        let Ok(tally) = self.tally.lock() else {
            return Summary {
                added: 0,
                deleted: 0,
                failed: 0,
                live,
                add: Spread::default(),
                last_failure: None,
            };
        };
        Summary {
            added: tally.added,
            deleted: tally.deleted,
            failed: tally.failed,
            live,
            add: Spread::of(tally.adds.iter().copied()),
            last_failure: tally.last_failure.clone(),
        }
    }

    /// Waits for what is under way, and lets every pod go.
    pub async fn end(&mut self) {
        while self.work.join_next().await.is_some() {}
        loop {
            let oldest = self.live.lock().ok().and_then(|mut live| live.pop_front());
            let Some(oldest) = oldest else { break };
            self.delete(oldest);
            if self.work.len() >= AT_ONCE {
                self.work.join_next().await;
            }
        }
        while self.work.join_next().await.is_some() {}
    }
}

impl Tally {
    fn fail(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.last_failure = Some(format!("{error:#}"));
    }
}

fn note(tally: &Mutex<Tally>, change: impl FnOnce(&mut Tally)) {
    if let Ok(mut tally) = tally.lock() {
        change(&mut tally);
    }
}
