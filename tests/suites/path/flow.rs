//! A flow of echo requests that tells which were lost, and when.
//!
//! Those sent within the last moments before the end may still be under way, on a busy machine several: they are held
//! against nobody.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use caracal_lab::Pod;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

/// Between two packets.
const EVERY: Duration = Duration::from_millis(4);
/// How many at the end may be under way.
const UNDER_WAY: u64 = 25;

/// A flow that runs.
pub(crate) struct Flow {
    child: Child,
    what: String,
}

impl Flow {
    /// From a pod to an address.
    pub(crate) fn start(from: &Pod, to: IpAddr) -> anyhow::Result<Self> {
        let what = format!("{} to {to}", from.name());
        let interval = format!("{:.3}", EVERY.as_secs_f32());
        let child = from
            .netns()
            .command("ping")
            .env("LC_ALL", "C")
            .args(["-n", "-D", "-i", &interval, &to.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting to ping from {what}"))?;
        Ok(Self { child, what })
    }

    /// Ends it; fails if a packet was lost.
    pub(crate) async fn lost_none(self) -> anyhow::Result<()> {
        let pid = self.child.id().with_context(|| format!("the ping from {} ended too early", self.what))?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).context("stopping a ping")?;
        let output = self.child.wait_with_output().await?;
        let answered = answered(&String::from_utf8_lossy(&output.stdout));
        let last = answered.keys().next_back().copied().unwrap_or_default();
        ensure!(last > 100, "{}: only {last} packets were answered", self.what);
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
