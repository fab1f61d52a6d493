//! Pings: one, all with all, and a flow that runs while something is done to the lab.

pub mod echo;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::task::JoinHandle;

use crate::command;
use crate::netns::Netns;
use echo::Fate;

/// Sources at a time.
const AT_ONCE: usize = 8;

/// Packets sent and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Echo requests sent.
    pub sent: u64,
    /// Echo replies received.
    pub received: u64,
}

impl Count {
    /// Packets without an answer.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// One echo request, at most a second.
pub async fn ping(from: &Netns, to: IpAddr) -> anyhow::Result<()> {
    let mut command = from.command("ping");
    command.env("LC_ALL", "C").args(["-n", "-c", "1", "-W", "1", &to.to_string()]);
    let output = command::run(&mut command).await?;
    if output.status.success() {
        return Ok(());
    }
    let lines = || output.stdout.lines().chain(output.stderr.lines());
    let found =
        lines().find(|line| line.contains("From ") || line.contains("ping:") || line.contains("connect:"));
    bail!("{}", found.unwrap_or("no answer within 1 s").trim());
}

/// Where a ping starts.
#[derive(Debug, Clone)]
pub struct Source {
    /// For the table.
    pub label: String,
    /// Its namespace.
    pub netns: Netns,
}

/// What is pinged.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// For the table.
    pub label: String,
    /// The address.
    pub address: IpAddr,
}

/// One ping of the matrix.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// From where.
    pub from: String,
    /// To whom.
    pub to: Target,
    /// How long the answer took, in microseconds.
    pub micros: Option<u64>,
    /// Nothing, or why there was no answer.
    pub failure: Option<String>,
}

/// Sends one packet from every source to every target. Nothing is tried twice: what is lost is told.
pub async fn matrix(sources: &[Source], targets: &[Target]) -> anyhow::Result<Vec<Cell>> {
    let addresses: Vec<IpAddr> = targets.iter().map(|target| target.address).collect();
    let rows = sources.iter().map(|source| {
        let addresses = addresses.clone();
        async move {
            let fates = echo::burst(&source.netns, addresses).await;
            let fates = fates.with_context(|| format!("pinging from {}", source.label))?;
            let cells = fates.into_iter().zip(targets).map(|(fate, target)| {
                let (micros, failure) = match fate {
                    Fate::Answered(after) => (u64::try_from(after.as_micros()).ok(), None),
                    Fate::Lost(why) => (None, Some(why)),
                };
                Cell { from: source.label.clone(), to: target.clone(), micros, failure }
            });
            anyhow::Ok(cells.collect::<Vec<_>>())
        }
    });
    let rows: Vec<Vec<Cell>> = stream::iter(rows).buffered(AT_ONCE).try_collect().await?;
    Ok(rows.into_iter().flatten().collect())
}

/// A ping that goes on until it is stopped.
#[derive(Debug)]
pub struct Flow {
    child: Child,
    /// What it prints, read all the time: a ping whose words nobody takes stops after some hundred packets.
    output: JoinHandle<std::io::Result<(String, String)>>,
    what: String,
}

impl Flow {
    /// Starts it: one packet every `every`, which must be at least 2 ms.
    pub fn start(from: &Netns, to: IpAddr, every: Duration) -> anyhow::Result<Self> {
        let what = format!("ping {to} in {}", from.name());
        let interval = format!("{:.3}", every.as_secs_f32());
        let mut child = from
            .command("ping")
            .env("LC_ALL", "C")
            .args(["-n", "-i", &interval, &to.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {what}"))?;
        let ends = child.stdout.take().zip(child.stderr.take());
        let (mut stdout, mut stderr) = ends.with_context(|| format!("no output of {what}"))?;
        let output = tokio::spawn(async move {
            let (mut text, mut errors) = (String::new(), String::new());
            tokio::try_join!(stdout.read_to_string(&mut text), stderr.read_to_string(&mut errors))?;
            Ok((text, errors))
        });
        Ok(Self { child, output, what })
    }

    /// Stops it and counts. The very last packet may still be under way and is not held against the path.
    pub async fn stop(mut self) -> anyhow::Result<Count> {
        let pid = self.child.id().with_context(|| format!("{} ended too early", self.what))?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT)
            .with_context(|| format!("stopping {}", self.what))?;
        tokio::time::timeout(command::PATIENCE, self.child.wait())
            .await
            .with_context(|| format!("{} does not stop", self.what))??;
        let (text, errors) = self.output.await??;
        count(&text).with_context(|| format!("{}: {}", self.what, errors.trim()))
    }
}

/// Counts the replies that ping printed against the packets its summary says were sent.
fn count(text: &str) -> anyhow::Result<Count> {
    let summary = text.lines().find(|line| line.contains("packets transmitted"));
    let summary = summary.with_context(|| format!("ping gave no summary: {text}"))?;
    let mut sent: u64 = summary
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no number of packets in `{summary}`"))?;
    let replies = text.lines().filter(|line| line.contains(" bytes from "));
    let numbers = replies.filter_map(|line| {
        let (_, after) = line.split_once("icmp_seq=")?;
        after.split_whitespace().next()?.parse::<u64>().ok()
    });
    let answered: BTreeSet<u64> = numbers.collect();
    let received = u64::try_from(answered.len()).unwrap_or(u64::MAX);
    if sent > 0 && !answered.contains(&sent) {
        sent -= 1;
    }
    Ok(Count { sent, received })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answered: &[u64], sent: u64) -> String {
        let mut text = String::from("PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.\n");
        for number in answered {
            text += &format!("64 bytes from 10.0.0.1: icmp_seq={number} ttl=62 time=0.1 ms\n");
        }
        text + &format!(
            "\n--- 10.0.0.1 ping statistics ---\n{sent} packets transmitted, 9 received, 0% packet loss\n"
        )
    }

    #[test]
    fn a_lost_packet_is_counted() {
        assert_eq!(count(&said(&[1, 2, 4], 4)).unwrap().lost(), 1);
    }

    #[test]
    fn the_last_packet_may_be_under_way() {
        assert_eq!(count(&said(&[1, 2, 3], 4)).unwrap(), Count { sent: 3, received: 3 });
    }

    #[test]
    fn an_outage_at_the_end_is_counted() {
        assert_eq!(count(&said(&[1, 2], 5)).unwrap().lost(), 2);
    }

    #[test]
    fn no_summary_is_an_error() {
        assert!(count("connect: Network is unreachable").is_err());
    }
}
