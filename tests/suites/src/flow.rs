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
const LEAST: u64 = 100;
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

    /// Ends it; not before there was a flow to speak of.
    ///
    /// # Errors
    /// When a packet was lost.
    pub async fn lost_none(mut self) -> anyhow::Result<()> {
        wait::until(PATIENCE, &format!("{}: packets are answered", self.what), || async {
            let last = self.answered().keys().next_back().copied().unwrap_or_default();
            if last > LEAST { Ok(()) } else { Err(NotYet::because(format!("the last is {last}"))) }
        })
        .await?;
        let pid = self.child.id().with_context(|| format!("the ping from {} ended too early", self.what))?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).context("stopping a ping")?;
        self.child.wait().await?;
        (&mut self.reading).await??;
        let answered = self.answered();
        let last = answered.keys().next_back().copied().unwrap_or_default();
        let lost: Vec<u64> =
            (1..last.saturating_sub(UNDER_WAY)).filter(|number| !answered.contains_key(number)).collect();
        let when = |number: u64| answered.range(..number).next_back().map_or("-", |(_, at)| at.as_str());
        if let Some(first) = lost.first() {
            bail!(
                "{}: {} of {last} packets were lost, the first after {}",
                self.what,
                lost.len(),
                when(*first)
            );
        }
        Ok(())
    }

    fn answered(&self) -> BTreeMap<u64, String> {
        answered(&String::from_utf8_lossy(&lock(&self.text)))
    }
}

fn lock(text: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
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
