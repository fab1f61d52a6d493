//! Runs the cases, one process each, and prints as libtest does.

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{CASE, Case};

/// Longest time for one case, on a machine that is slow and has other things to do.
const BUDGET: Duration = Duration::from_secs(420);
/// Lines of each log that are shown for a failed case.
const TAIL: usize = 40;

/// What the command line asks for: libtest's words, as far as they make sense here.
struct Asked {
    list: bool,
    exact: bool,
    filters: Vec<String>,
    skipped: Vec<String>,
    threads: Option<usize>,
}

pub(crate) fn run(cases: &[Case], at_once: usize) -> ExitCode {
    let asked = read(std::env::args().skip(1));
    let wanted: Vec<&Case> = cases.iter().filter(|case| asked.wants(case.name)).collect();
    if asked.list {
        for case in &wanted {
            say(&format!("{}: test\n", case.name));
        }
        return ExitCode::SUCCESS;
    }
    say(&format!("\nrunning {} tests\n", wanted.len()));
    let begin = Instant::now();
    let failed = run_all(&wanted, asked.threads.unwrap_or(at_once));
    if !failed.is_empty() {
        say("\nfailures:\n");
        for (name, output) in &failed {
            say(&format!("\n---- {name} stdout ----\n{output}\n"));
        }
    }
    say(&format!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        wanted.len() - failed.len(),
        failed.len(),
        cases.len() - wanted.len(),
        begin.elapsed().as_secs_f32()
    ));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// Runs the cases, so many at a time; those that failed, with their output.
fn run_all<'a>(cases: &[&'a Case], at_once: usize) -> Vec<(&'a str, String)> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = run_one(case);
            let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
            say(&format!("test {} ... {verdict}\n", case.name));
            if let Err(output) = outcome {
                failed.lock().unwrap_or_else(PoisonError::into_inner).push((case.name, output));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(work);
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn read(arguments: impl Iterator<Item = String>) -> Asked {
    let mut asked =
        Asked { list: false, exact: false, filters: Vec::new(), skipped: Vec::new(), threads: None };
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => asked.list = true,
            "--exact" => asked.exact = true,
            "--skip" => asked.skipped.extend(arguments.next()),
            "--test-threads" => {
                let threads = arguments.next().and_then(|number| number.parse().ok());
                asked.threads = threads.map(|threads: usize| threads.max(1));
            }
            "--format" | "--color" => drop(arguments.next()),
            flag if flag.starts_with('-') => {} // --nocapture and the like: nothing to do
            filter => asked.filters.push(filter.to_owned()),
        }
    }
    asked
}

impl Asked {
    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skipped.iter().any(fits)
    }
}

/// One case in a process of its own; its output when it failed.
fn run_one(case: &Case) -> Result<(), String> {
    let own =
        std::env::current_exe().map_err(|error| format!("asking for this program's own path: {error}"))?;
    let child = Command::new(own)
        .env(CASE, case.name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("starting a process for the case: {error}"))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let (tell, ended) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    let (output, late) = match ended.recv_timeout(BUDGET) {
        Ok(output) => (output, false),
        Err(_) => {
            // The sandbox dies with the process, so its pipes close and the thread answers.
            if let Err(errno) = kill(pid, Signal::SIGKILL) {
                return Err(format!(
                    "it did not end within {} s and cannot be killed: {errno}",
                    BUDGET.as_secs()
                ));
            }
            let output = ended.recv().map_err(|error| format!("waiting for the case: {error}"))?;
            (output, true)
        }
    };
    let output = output.map_err(|error| format!("waiting for the case: {error}"))?;
    if output.status.success() && !late {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    if late {
        text.push_str(&format!("\nended by the runner: it did not end within {} s", BUDGET.as_secs()));
    }
    Err(text)
}

/// The ends of all logs, for a case that failed.
pub(crate) fn show_logs(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().display();
        eprintln!("\n--- the end of {name} ---\n{}", caracal_lab::process::tail(&path, TAIL));
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that went away must not end the tests.
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Asked {
        read(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn without_words_every_case_is_wanted() {
        assert!(asked(&["--nocapture"]).wants("pings_pass"));
    }

    #[test]
    fn filters_and_skips_narrow() {
        let asked = asked(&["ping", "--skip", "v6", "--test-threads", "1"]);
        assert!(asked.wants("pings_pass") && !asked.wants("pings_pass_v6") && !asked.wants("routes"));
        assert_eq!(asked.threads, Some(1));
    }

    #[test]
    fn exact_means_the_whole_name() {
        assert!(!asked(&["--exact", "ping"]).wants("pings"));
    }
}
