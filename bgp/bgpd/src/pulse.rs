//! How late timers are.
//!
//! Peers give up a speaker whose KEEPALIVEs do not come. Where the cause is that this process was not run (an overcommitted or
//! suspended machine, a limit of CPU time), nothing in what the peers say tells so: a timer of its own does, by coming late.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// From one beat to the next.
const BEAT: Duration = Duration::from_millis(100);
/// A beat that is so late is told at once: hold times are a few seconds at the least (RFC 4271 §4.2).
const LONG: Duration = Duration::from_secs(1);
/// What is later than so many milliseconds counts as so late.
const MOST: usize = 10_000;

/// The task that beats.
#[derive(Debug)]
pub(crate) struct Pulse {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Lateness>,
}

impl Pulse {
    pub(crate) fn start() -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(beat(stopped)) }
    }

    /// How late the beats were; `None` if the task has failed.
    pub(crate) async fn end(self) -> Option<Lateness> {
        // A task that has ended needs no word.
        self.stop.send(()).ok();
        self.task.await.ok()
    }
}

async fn beat(mut stopped: oneshot::Receiver<()>) -> Lateness {
    let mut lateness = Lateness::default();
    loop {
        let due = Instant::now() + BEAT;
        tokio::select! {
            _ = &mut stopped => return lateness,
            () = sleep_until(due) => {}
        }
        let late = due.elapsed();
        lateness.count(late);
        if late >= LONG {
            warn!(
                late_ms = late.as_millis(),
                "this process was not run in time: peers may have given its sessions up. Has the machine too few CPUs for its \
                 work, was it suspended, or is a limit set on this process's CPU time?"
            );
        }
    }
}

/// How often a beat was how late, by milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    beats: Vec<u64>,
}

impl Lateness {
    fn count(&mut self, late: Duration) {
        let place = usize::try_from(late.as_millis()).unwrap_or(MOST).min(MOST);
        if self.beats.len() <= place {
            self.beats.resize(place + 1, 0);
        }
        self.beats[place] += 1;
    }

    /// How many there were.
    pub(crate) fn beats(&self) -> u64 {
        self.beats.iter().sum()
    }

    /// The lateness that so many of a hundred beats did not exceed, in whole milliseconds.
    pub(crate) fn percentile(&self, of_hundred: u64) -> usize {
        let wanted = (self.beats() * of_hundred).div_ceil(100);
        let mut seen = 0;
        let found = self.beats.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_what_was_counted() {
        let mut lateness = Lateness::default();
        assert_eq!((lateness.beats(), lateness.percentile(99)), (0, 0));
        (0..99).for_each(|_| lateness.count(Duration::from_micros(1_900)));
        lateness.count(Duration::from_millis(70));
        assert_eq!((lateness.beats(), lateness.percentile(99), lateness.percentile(100)), (100, 1, 70));
        lateness.count(Duration::from_secs(86_400));
        assert_eq!(lateness.percentile(100), MOST);
    }

    #[tokio::test]
    async fn a_runtime_that_is_held_up_is_seen() {
        let pulse = Pulse::start();
        // The task takes its first look at the clock, and then the only thread there is has other work.
        tokio::task::yield_now().await;
        std::thread::sleep(BEAT * 3);
        sleep_until(Instant::now() + BEAT * 2).await;
        let lateness = pulse.end().await.unwrap();
        assert!(lateness.percentile(100) >= 190, "{lateness:?}");
    }
}
