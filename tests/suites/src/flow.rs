//! A flow of echo requests that tells which were lost, and when.
//!
//! Those sent within the last moments before the end may still be under way, on a busy machine several: they are held
//! against nobody.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use caracal_lab::netns::Netns;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Pod};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::task::JoinHandle;

/// Between two packets.
const EVERY: Duration = Duration::from_millis(4);
/// How many are answered before a flow is one.
const LEAST: usize = 100;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many at the end may be under way.
const UNDER_WAY: u64 = 25;

/// Where a flow may start.
pub trait Place {
    /// Its name, for messages.
    fn label(&self) -> &str;
    /// The namespace.
    fn inside(&self) -> &Netns;
}

impl Place for Pod {
    fn label(&self) -> &str {
        self.name()
    }

    fn inside(&self) -> &Netns {
        self.netns()
    }
}

impl Place for Netns {
    fn label(&self) -> &str {
        self.name()
    }

    fn inside(&self) -> &Netns {
        self
    }
}

/// What a flow has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Losses {
    /// How many packets were sent, but for those that may be under way.
    pub sent: u64,
    /// How many of them were not answered.
    pub lost: u64,
    /// The most of them in a row.
    pub in_a_row: u64,
    /// When the last packet before the first lost one was answered, as ping prints it.
    pub first_after: String,
}

impl Losses {
    /// For how long nothing was answered at most.
    pub fn longest(&self) -> Duration {
        EVERY.saturating_mul(u32::try_from(self.in_a_row).unwrap_or(u32::MAX))
    }
}

/// A flow that runs.
pub struct Flow {
    child: Child,
    /// What it prints, read all the time: a ping whose words nobody takes stops after some hundred packets.
    reading: JoinHandle<io::Result<()>>,
    text: Arc<Mutex<Vec<u8>>>,
    what: String,
}

impl Flow {
    /// Between all pods of different nodes, both ways, in the families they have.
    ///
    /// # Errors
    /// When ping cannot be started.
    pub fn between_all(lab: &Lab) -> anyhow::Result<Vec<Self>> {
        let mut flows = Vec::new();
        for from in lab.pods() {
            for to in lab.pods().iter().filter(|to| to.node() != from.node()) {
                for address in to.addresses() {
                    flows.push(Self::start(from, *address)?);
                }
            }
        }
        Ok(flows)
    }

    /// From a pod or a host to an address.
    ///
    /// # Errors
    /// When ping cannot be started.
    pub fn start(from: &impl Place, to: IpAddr) -> anyhow::Result<Self> {
        Self::every(EVERY, from, to)
    }

    /// The same, with a packet so often.
    ///
    /// # Errors
    /// When ping cannot be started.
    pub fn every(every: Duration, from: &impl Place, to: IpAddr) -> anyhow::Result<Self> {
        let what = format!("{} to {to}", from.label());
        let interval = format!("{:.3}", every.as_secs_f32());
        let mut child = from
            .inside()
            .command("ping")
            .env("LC_ALL", "C")
            .args(["-n", "-D", "-i", &interval, &to.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting to ping from {what}"))?;
        let mut stdout = child.stdout.take().context("no output of ping")?;
        let text: Arc<Mutex<Vec<u8>>> = Arc::default();
        let into = Arc::clone(&text);
        let reading = tokio::spawn(async move {
            let mut piece = [0; 4096];
            loop {
                match stdout.read(&mut piece).await? {
                    0 => return Ok(()),
                    length => lock(&into).extend_from_slice(&piece[..length]),
                }
            }
        });
        Ok(Self { child, reading, text, what })
    }

    /// Waits until so many more packets as make a flow are answered.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn goes_on(&self) -> anyhow::Result<()> {
        self.answers(self.answered().len() + LEAST).await
    }

    async fn answers(&self, wanted: usize) -> anyhow::Result<()> {
        wait::until(PATIENCE, &format!("{}: packets are answered", self.what), || async {
            let count = self.answered().len();
            if count > wanted { Ok(()) } else { Err(NotYet::because(format!("{count} of {wanted} are"))) }
        })
        .await
    }

    /// Ends it; not before there was a flow to speak of.
    ///
    /// # Errors
    /// When a packet was lost.
    pub async fn lost_none(self) -> anyhow::Result<()> {
        let what = self.what.clone();
        let Losses { sent, lost, first_after, .. } = self.losses().await?;
        if lost > 0 {
            bail!("{what}: {lost} of {sent} packets were lost, the first after {first_after}");
        }
        Ok(())
    }

    /// Ends it, not before there was a flow to speak of, and counts what was lost.
    ///
    /// # Errors
    /// When it never was a flow, or cannot be ended.
    pub async fn losses(mut self) -> anyhow::Result<Losses> {
        self.answers(LEAST).await?;
        let pid = self.child.id().with_context(|| format!("the ping from {} ended too early", self.what))?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).context("stopping a ping")?;
        self.child.wait().await?;
        (&mut self.reading).await??;
        let answered = self.answered();
        Ok(count(&answered))
    }

    fn answered(&self) -> BTreeMap<u64, String> {
        answered(&String::from_utf8_lossy(&lock(&self.text)))
    }
}

fn lock(text: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was lost, but for what may be under way.
fn count(answered: &BTreeMap<u64, String>) -> Losses {
    let sent = answered.keys().next_back().copied().unwrap_or_default().saturating_sub(UNDER_WAY);
    let (mut lost, mut in_a_row, mut row, mut first_after) = (0, 0, 0, None);
    for number in 1..=sent {
        if answered.contains_key(&number) {
            row = 0;
            continue;
        }
        let before = || answered.range(..number).next_back().map_or("-", |(_, at)| at.as_str()).to_owned();
        first_after.get_or_insert_with(before);
        (lost, row) = (lost + 1, row + 1);
        in_a_row = in_a_row.max(row);
    }
    Losses { sent, lost, in_a_row, first_after: first_after.unwrap_or_default() }
}

/// The number of each answer, and when it came, as ping prints it.
fn answered(text: &str) -> BTreeMap<u64, String> {
    text.lines()
        .filter_map(|line| {
            let (at, rest) = line.strip_prefix('[')?.split_once(']')?;
            let (_, number) = rest.split_once("icmp_seq=")?;
            Some((number.split_whitespace().next()?.parse().ok()?, at.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_packets_are_counted_and_those_under_way_are_not() {
        let numbers = (1..=200).filter(|number| ![10, 50, 51, 52, 190].contains(number));
        let answered = numbers.map(|number| (number, format!("at {number}"))).collect();
        let expected = Losses { sent: 175, lost: 4, in_a_row: 3, first_after: "at 9".to_owned() };
        assert_eq!(count(&answered), expected);
        assert_eq!(expected.longest(), EVERY * 3);
        assert_eq!(count(&(1..=200).map(|number| (number, String::new())).collect()).lost, 0);
    }
}
