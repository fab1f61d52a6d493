//! Long-running programs of the lab, each with a log file that survives its restarts.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::Mutex;

use crate::netns::Netns;
use crate::wait::NotYet;

/// The product's programs that a lab runs.
pub const PROGRAMS: &[&str] = &[
    "caracal-agent",
    "caracal-controller",
    "caracal-apiserver",
    "caracal-bgpd",
    "caracal-cni",
    "caracalctl",
];

/// A program in a namespace, running or not.
#[derive(Debug)]
pub struct Process {
    name: String,
    netns: Netns,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    starts: AtomicU32,
}

impl Process {
    /// A program that is not started yet; its log will be `<name>.log` in `logs`.
    pub fn new(name: &str, netns: &Netns, program: PathBuf, arguments: Vec<String>, logs: &Path) -> Self {
        Self {
            name: name.to_owned(),
            netns: netns.clone(),
            program,
            arguments,
            log: logs.join(format!("{name}.log")),
            child: Mutex::new(None),
            starts: AtomicU32::new(0),
        }
    }

    /// Its name, such as `n1-agent`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace it runs in.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it.
    pub async fn start(&self) -> anyhow::Result<()> {
        let mut child = self.child.lock().await;
        if child.is_some() {
            bail!("{} was started already", self.name);
        }
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        let line = format!("--- {} {}\n", self.program.display(), self.arguments.join(" "));
        log.write_all(line.as_bytes()).with_context(|| format!("writing {}", self.log.display()))?;
        let errors = log.try_clone().with_context(|| format!("opening {} twice", self.log.display()))?;
        let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
        let started = self
            .netns
            .command(&self.program.display().to_string())
            .args(&self.arguments)
            .env("RUST_LOG", level)
            .env("RUST_BACKTRACE", "1")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        *child = Some(started);
        self.starts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&self) -> anyhow::Result<()> {
        let mut child = self.take().await?;
        child.kill().await.with_context(|| format!("killing {}", self.name))
    }

    /// SIGTERM, and waits until it is gone.
    pub async fn terminate(&self, within: Duration) -> anyhow::Result<ExitStatus> {
        self.end(Signal::SIGTERM, within).await
    }

    /// Ends it by a signal, and waits until it is gone.
    pub async fn end(&self, signal: Signal, within: Duration) -> anyhow::Result<ExitStatus> {
        let mut child = self.take().await?;
        let pid = child.id().with_context(|| format!("{} has ended already", self.name))?;
        kill(Pid::from_raw(pid.cast_signed()), signal)
            .with_context(|| format!("sending {signal} to {}", self.name))?;
        tokio::time::timeout(within, child.wait())
            .await
            .with_context(|| format!("{} did not end within {} s of {signal}", self.name, within.as_secs()))?
            .with_context(|| format!("waiting for {}", self.name))
    }

    /// Sends a signal to it, such as SIGSTOP.
    pub async fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().await.with_context(|| format!("{} is not running", self.name))?;
        kill(Pid::from_raw(pid.cast_signed()), signal).with_context(|| format!("signalling {}", self.name))
    }

    /// How often it was started after the first time.
    pub fn restarts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Its process number inside the sandbox, while it runs.
    pub async fn pid(&self) -> Option<u32> {
        self.child.lock().await.as_ref().and_then(Child::id)
    }

    /// Its resident memory in KiB, while it runs.
    pub async fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().await?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Starts it again if it has ended by itself; tells how it had ended. One that was stopped stays so.
    pub async fn revive(&self) -> anyhow::Result<Option<ExitStatus>> {
        let mut child = self.child.lock().await;
        let Some(running) = child.as_mut() else { return Ok(None) };
        let status = running.try_wait().with_context(|| format!("looking after {}", self.name))?;
        if let Some(status) = status {
            *child = None;
            drop(child);
            self.start().await?;
            return Ok(Some(status));
        }
        Ok(None)
    }

    /// Whether it was started and has not ended.
    pub async fn is_running(&self) -> bool {
        self.must_live().await.is_ok() && self.pid().await.is_some()
    }

    /// For waits: fails for good when the program has ended by itself.
    pub async fn must_live(&self) -> Result<(), NotYet> {
        let mut child = self.child.lock().await;
        let Some(running) = child.as_mut() else { return Ok(()) };
        match running.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                Err(NotYet::Never(anyhow::anyhow!("{} has ended by itself: {status}", self.name)))
            }
            Err(error) => Err(NotYet::Never(anyhow::anyhow!("looking after {}: {error}", self.name))),
        }
    }

    async fn take(&self) -> anyhow::Result<Child> {
        self.child.lock().await.take().with_context(|| format!("{} is not running", self.name))
    }
}

/// The last lines of a log.
pub fn tail(log: &Path, lines: usize) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
