//! Runs one long command with its output in a file: says now and then that it is alive, ends it when its time is
//! over.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Longest silence.
const BEAT: Duration = Duration::from_secs(20);
/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// How a command ended.
pub(crate) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Ended by us: its budget was used up.
    OutOfTime,
}

/// Runs `command` for at most `budget`, output and errors going to `log`.
pub(crate) fn run(name: &str, mut command: Command, log: &Path, budget: Duration) -> anyhow::Result<End> {
    let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let errors = file.try_clone().with_context(|| format!("opening {} twice", log.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    let pid = child.id();
    let (tell, ended) = sync_channel(1);
    std::thread::spawn(move || tell.send(child.wait()));

    let begin = Instant::now();
    let mut killed: Option<Instant> = None;
    loop {
        let over = budget.saturating_sub(begin.elapsed());
        let rest = if killed.is_some() { GRACE } else { over };
        match ended.recv_timeout(BEAT.min(rest)) {
            Ok(Ok(_)) if killed.is_some() => return Ok(End::OutOfTime),
            Ok(status) => return Ok(End::Exited(status.with_context(|| format!("waiting for {name}"))?)),
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the thread that waits for {name} has died"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        match killed {
            None if begin.elapsed() >= budget => {
                end_all(pid, "TERM");
                killed = Some(Instant::now());
            }
            Some(since) if since.elapsed() >= GRACE => end_all(pid, "KILL"),
            _ => say(&format!("  … {name}: {} s, {}", begin.elapsed().as_secs(), last_line(log))),
        }
    }
}

/// Signals a process and all that came from it. A group of its own would do too, but then Ctrl-C on the terminal
/// would not reach it.
fn end_all(root: u32, signal: &str) {
    let parents = parents();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(child, _)| *child));
        next += 1;
    }
    let family: Vec<String> = family.iter().map(u32::to_string).collect();
    // The shell's own `kill`; some may be gone already, which is as good as ended.
    let line = format!("kill -{signal} {} 2>/dev/null", family.join(" "));
    Command::new("sh").args(["-c", &line]).status().ok();
}

/// Every process with its parent, as /proc tells.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent_in(&stat)?))
        })
        .collect()
}

/// The parent's number in a line of /proc/PID/stat. The name before it may hold spaces and parentheses.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(1)?.parse().ok()
}

/// The last `count` lines of a log.
pub(crate) fn tail(log: &Path, count: usize) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn last_line(log: &Path) -> String {
    let line = tail(log, 1);
    let line = line.trim();
    if line.is_empty() { "no output yet".into() } else { line.chars().take(80).collect() }
}

/// One line to the terminal or CI log, at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that went away must not stop the checks.
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_a_name_with_parentheses() {
        assert_eq!(parent_in("42 (a (b) c) S 7 42 42 0"), Some(7));
    }

    #[test]
    fn a_command_that_outlives_its_budget_is_ended_with_its_children() {
        let folder = std::env::temp_dir().join(format!("caracal-run-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let log = folder.join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 61.5 & echo $!; wait"]);
        // Long enough for any machine to start the two.
        let end = run("sleeper", command, &log, Duration::from_secs(3)).unwrap();
        assert!(matches!(end, End::OutOfTime));
        let child: u32 = tail(&log, 1).trim().parse().expect("the sleeper's child was started and told");
        // Its parent may be gone a moment before it.
        let lives = || {
            let line = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
            line.contains("61.5")
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while lives() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!lives(), "the sleeper's child {child} is still there");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
