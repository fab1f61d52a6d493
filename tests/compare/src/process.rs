//! A running subject: one process or several, their CPU time and memory.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// The subject's processes, which are killed with this value.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
}

/// What processes have used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// CPU seconds, of user and system.
    pub(crate) cpu: f64,
    /// Resident memory now, in octets; what processes share counts for each.
    pub(crate) memory: u64,
    /// The same, with what processes share divided among them.
    pub(crate) share: u64,
}

/// A process as `/proc/PID/stat` tells it.
struct Stat {
    parent: i32,
    ticks: u64,
    /// Of those that it started, and that have ended.
    of_children: u64,
}

impl Process {
    /// Starts it on its CPUs, in a process group of its own; what it says goes into `log`.
    pub(crate) fn start(
        name: &'static str,
        words: &[String],
        cpus: &str,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let said = fs::File::create(log).with_context(|| format!("making {}", log.display()))?;
        let also = said.try_clone().context("sharing a log")?;
        let child = Command::new("taskset")
            .args(["-c", cpus])
            .args(words)
            .stdin(Stdio::null())
            .stdout(said)
            .stderr(also)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}: {}", words.join(" ")))?;
        Ok(Self { name, child })
    }

    /// Stops it where it stands, with those it started, as a machine that hangs.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let group = Pid::from_raw(self.child.id().cast_signed());
        killpg(group, signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Fails when it has ended by itself.
    pub(crate) fn must_live(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().with_context(|| format!("looking after {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} has ended by itself: {status}", self.name),
        }
    }

    /// What it and those it started have used.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let all = processes()?;
        let root = self.child.id().cast_signed();
        let ticks_a_second = sysconf(SysconfVar::CLK_TCK).context("asking for the clock")?.unwrap_or(100);
        let mut usage = Usage::default();
        for (pid, stat) in &all {
            if is_below(*pid, root, &all) {
                #[allow(clippy::cast_precision_loss, reason = "ticks are few")]
                let seconds = stat.ticks as f64 / ticks_a_second as f64;
                usage.cpu += seconds;
                usage.memory += told(*pid, "status", "VmRSS:");
                usage.share += told(*pid, "smaps_rollup", "Pss:");
            }
        }
        Ok(usage)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id().cast_signed());
        // Those that have left the group end with the one that started them.
        if let Err(errno) = killpg(group, Signal::SIGTERM) {
            eprintln!("ending {}: {errno}", self.name);
        }
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let killed = killpg(group, Signal::SIGKILL);
        if let Err(error) = self.child.wait() {
            eprintln!("waiting for {}: {error} ({killed:?})", self.name);
        }
    }
}

/// CPU seconds of all processes that this one started and that have ended, with those they started.
pub(crate) fn used_by_children() -> anyhow::Result<f64> {
    seconds(stat_of("self")?.of_children)
}

/// CPU seconds that a process has used.
pub(crate) fn used_by(pid: u32) -> anyhow::Result<f64> {
    seconds(stat_of(&pid.to_string())?.ticks)
}

fn stat_of(pid: &str) -> anyhow::Result<Stat> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    stat(&text).with_context(|| format!("reading {path}"))
}

fn seconds(ticks: u64) -> anyhow::Result<f64> {
    let ticks_a_second = sysconf(SysconfVar::CLK_TCK).context("asking for the clock")?.unwrap_or(100);
    #[allow(clippy::cast_precision_loss, reason = "ticks are few")]
    let seconds = ticks as f64 / ticks_a_second as f64;
    Ok(seconds)
}

fn is_below(mut pid: i32, root: i32, all: &HashMap<i32, Stat>) -> bool {
    while pid != root {
        match all.get(&pid) {
            Some(stat) if stat.parent > 1 => pid = stat.parent,
            Some(_) | None => return false,
        }
    }
    true
}

/// Every process there is. One that ends in the meantime is left out.
fn processes() -> anyhow::Result<HashMap<i32, Stat>> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let entry = entry.context("reading /proc")?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        all.extend(stat(&text).map(|stat| (pid, stat)));
    }
    Ok(all)
}

/// Fields are counted from behind the name, which may have spaces: the third is the state (proc_pid_stat(5)).
fn stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: i32::try_from(number(4)?).ok()?,
        ticks: number(14)? + number(15)?,
        of_children: number(16)? + number(17)?,
    })
}

/// Memory of a process in octets, from a line of one of its files that gives KiB; 0 for one that has ended.
fn told(pid: i32, file: &str, begin: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(begin));
    let kib =
        line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let text = "77 (a) b) S 12 77 77 0 -1 4194304 1 2 3 4 150 50 7 8 20 0 1 0 5 6 7";
        let stat = stat(text).unwrap();
        assert_eq!((stat.parent, stat.ticks, stat.of_children), (12, 200, 15));
    }

    #[test]
    fn what_a_process_uses_is_counted_with_those_it_started() {
        let folder = std::env::temp_dir().join(format!("caracal-compare-{}", std::process::id()));
        let words = ["sh", "-c", "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done & wait; exec sleep 60"];
        let process = Process::start("sh", &words.map(str::to_owned), "0", &folder).unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        let used = |usage: Usage| usage.cpu > 0.0 && usage.memory > 0 && usage.share > 0;
        while !used(process.usage().unwrap()) {
            assert!(Instant::now() < end, "no CPU time was seen: {:?}", process.usage());
            std::thread::yield_now();
        }
        drop(process);
        fs::remove_file(folder).unwrap();
    }
}
