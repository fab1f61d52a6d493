//! Keeps the programs of a lab running, as a cluster does: an agent, controller or routing daemon that ends by itself
//! or is killed is started again, sooner the first time than the tenth. What is stopped on purpose stays stopped. The
//! API server keeps everything in memory, so its end is the lab's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::lab::{Lab, StepFailed};
use crate::process::Process;
use crate::wait::NotYet;

/// Between an end and the first start after it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST: Duration = Duration::from_secs(30);
/// A program that has lived so long is forgiven its past.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Looks after the programs of one lab.
#[derive(Debug, Default)]
pub struct Supervisor {
    lives: BTreeMap<String, Life>,
}

#[derive(Debug, Default)]
struct Life {
    started: Option<Instant>,
    /// Ends in a row.
    ends: u32,
    /// When it is to be started again.
    due: Option<Instant>,
}

impl Life {
    /// Its program was seen to have ended: when is it to be started again?
    fn ended(&mut self, now: Instant) -> Instant {
        *self.due.get_or_insert_with(|| {
            if self.started.is_some_and(|started| now.duration_since(started) > FORGIVEN) {
                self.ends = 0;
            }
            let pause = FIRST * 2u32.saturating_pow(self.ends.min(10));
            self.ends += 1;
            now + pause.min(LONGEST)
        })
    }
}

impl Supervisor {
    /// Starts what has ended and is due; tells in words what it did.
    ///
    /// # Errors
    /// When the API server has ended, or a program cannot be started.
    pub async fn look(&mut self, lab: &Lab) -> anyhow::Result<Vec<String>> {
        let mut told = Vec::new();
        for process in lab.processes() {
            let Err(NotYet::Never(error)) = process.must_live().await else { continue };
            if process.name() == lab.control().api().name() {
                let logs = vec![process.log().to_path_buf()];
                return Err(error.context(StepFailed { step: "keeping the lab up".into(), logs }));
            }
            told.extend(self.revive(process).await?);
        }
        Ok(told)
    }

    async fn revive(&mut self, process: &Process) -> anyhow::Result<Option<String>> {
        let life = self.lives.entry(process.name().to_owned()).or_default();
        let now = Instant::now();
        if life.ended(now) > now {
            return Ok(None);
        }
        (life.due, life.started) = (None, Some(now));
        let ended = process.revive().await?;
        Ok(ended.map(|status| format!("{} had ended ({status}) and was started again", process.name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_again_and_again_waits_longer() {
        let mut life = Life::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let due = life.ended(now);
            assert_eq!(life.ended(now + FIRST / 2), due, "the same end gives the same time");
            pauses.push(due.duration_since(now).as_secs());
            now = due;
            (life.due, life.started) = (None, Some(now));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        let due = life.ended(now + FORGIVEN * 2);
        assert_eq!(due.duration_since(now + FORGIVEN * 2), FIRST, "it had lived long enough");
    }
}
