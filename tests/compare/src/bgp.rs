//! `cargo compare bgp`: every load on every subject, in turns.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::Bgp;
use crate::cpus::Cpus;
use crate::folder::Folder;
use crate::load::Load;
use crate::place;
use crate::process::Process;
use crate::report::{Figure, Report, words};
use crate::subject::{self, Subject};

/// Measures what was asked for and prints it.
pub(crate) fn run(asked: &Bgp) -> anyhow::Result<()> {
    let loads: Vec<Load> =
        asked.loads.iter().map(|letter| Load::of(letter, asked.scale)).collect::<Result<_, _>>()?;
    let subjects: Vec<Subject> = asked
        .subjects
        .iter()
        .map(|name| subject::named(name, asked.daemon.as_deref()))
        .collect::<Result<_, _>>()?;
    ensure!(!loads.is_empty() && !subjects.is_empty(), "nothing is asked for");
    let cpus = Cpus::divide()?;
    place::enter()?;
    many_files()?;
    let folder = Folder::make()?;
    println!("{}", header(&cpus, &subjects)?);
    let mut report = Report::default();
    for round in 1..=asked.rounds {
        for (case, load) in loads.iter().enumerate() {
            for (place, subject) in subjects.iter().enumerate() {
                let outcome = measure(load, subject, &cpus, folder.path(), Duration::from_secs(asked.limit));
                match outcome {
                    Ok(figures) => {
                        println!("round {round}, {}, {}: {}", load.name, subject.name, words(&figures));
                        report.add((case, place), &load.name, subject.name, &figures);
                    }
                    Err(error) => {
                        println!("round {round}, {}, {}: {error:#}", load.name, subject.name);
                        report.fail(&load.name, subject.name, &error);
                    }
                }
            }
        }
    }
    report.finish(asked.json.as_deref())
}

fn measure(
    load: &Load,
    subject: &Subject,
    cpus: &Cpus,
    folder: &Path,
    limit: Duration,
) -> anyhow::Result<Vec<Figure>> {
    let words = (subject.prepare)(subject, folder, &load.clients())?;
    let log = folder.join(format!("{}.log", subject.name));
    let mut process = Process::start(subject.name, &words, &cpus.subjects(), &log)?;
    // A thread of its own keeps to its CPU, and takes nothing of it with it.
    let outcome = std::thread::scope(|scope| {
        let driver = scope.spawn(|| {
            cpus.keep_to_the_generators()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio::task::LocalSet::new().block_on(&runtime, load.measure(&mut process, limit))
        });
        driver.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the generator has panicked")))
    });
    outcome.with_context(|| {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        format!("it said last: {}", last.into_iter().rev().collect::<Vec<_>>().join(" | "))
    })
}

/// What was compared, on what.
fn header(cpus: &Cpus, subjects: &[Subject]) -> anyhow::Result<String> {
    let mut versions = Vec::new();
    for subject in subjects {
        versions.push(format!("{} {}", subject.name, (subject.version)(subject)?));
    }
    Ok(format!("{}; {}", machine(cpus)?, versions.join(", ")))
}

/// On what is compared.
pub(crate) fn machine(cpus: &Cpus) -> anyhow::Result<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("asking for the kernel")?;
    let (kernel, subject) = (kernel.trim(), cpus.of_the_subject());
    Ok(format!("Linux {kernel}, 1 CPU for the generator, {subject} for the subject"))
}

/// A thousand peers are a thousand sockets, here and there: as many files may be open as this process may ask for.
pub(crate) fn many_files() -> anyhow::Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits").context("reading this process's limits")?;
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most =
        files.and_then(|rest| rest.split_whitespace().nth(1)).context("no limit of open files is told")?;
    let pid = std::process::id().to_string();
    let limit = format!("--nofile={most}:{most}");
    let status =
        Command::new("prlimit").args(["--pid", &pid, &limit]).status().context("starting prlimit")?;
    ensure!(status.success(), "prlimit {limit}: {status}");
    Ok(())
}
