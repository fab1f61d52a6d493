//! The loads: what a runtime asks for, and what is taken of it.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::host::Host;
use super::plugin::Subject;
use crate::process;
use crate::report::{Figure, OURS};

/// How many pods come one by one.
const ONE_BY_ONE: usize = 60;
/// How many come at once.
const AT_ONCE: usize = 50;
/// How many ask for addresses at once.
const HUNDRED: usize = 100;
/// A full node.
const FULL: usize = 110;
/// In the mixed load: who asks at the same time, how often each, and how many pods stand meanwhile.
const WORKERS: usize = 8;
const TURNS: usize = 12;
const STANDING: usize = 40;

/// The steps of ADD that the agent tells at level debug, with their names in tables.
const STEPS: [(&str, &str); 5] = [
    (" entered=", "ADD: pod's netns"),
    (" addresses=", "ADD: addresses"),
    (" record=", "ADD: record, fsync"),
    (" devices=", "ADD: devices"),
    (" routes=", "ADD: host's routes"),
];

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    OneByOne,
    AtOnce,
    Mixed,
    Full,
    Hundred,
}

/// Containers are never named twice.
static CONTAINERS: AtomicU64 = AtomicU64::new(0);

/// A container in the namespace of a pod.
struct Container {
    name: String,
    netns: String,
}

impl Container {
    fn new(host: &Host, number: usize) -> anyhow::Result<Self> {
        let name = format!("c{}", CONTAINERS.fetch_add(1, Ordering::Relaxed));
        Ok(Self { name, netns: host.pod(number)? })
    }

    fn operate(&self, subject: &Subject, command: &str) -> anyhow::Result<Duration> {
        subject.operate(command, &self.name, &self.netns)
    }
}

impl Load {
    /// The load of a letter.
    pub(crate) fn of(letter: &str) -> anyhow::Result<Self> {
        match letter {
            "a" => Ok(Self::OneByOne),
            "b" => Ok(Self::AtOnce),
            "c" => Ok(Self::Mixed),
            "d" => Ok(Self::Full),
            "e" => Ok(Self::Hundred),
            other => bail!("there is no load `{other}`: a to e are there"),
        }
    }

    /// Its name in tables.
    pub(crate) fn name(self: &Load) -> &'static str {
        match self {
            Self::OneByOne => "(a) one pod after the other",
            Self::AtOnce => "(b) 50 pods at once",
            Self::Mixed => "(c) 8 at a time come and go beside 40 pods",
            Self::Full => "(d) 110 pods at once",
            Self::Hundred => "(e) 100 at once",
        }
    }

    /// How many pods it takes.
    pub(crate) fn pods(self: &Load) -> usize {
        match self {
            Self::OneByOne => ONE_BY_ONE,
            Self::AtOnce => AT_ONCE,
            Self::Mixed => STANDING + WORKERS,
            Self::Full => FULL,
            Self::Hundred => HUNDRED,
        }
    }

    /// Measures it.
    pub(crate) fn measure(self, host: &Host, subject: &Subject) -> anyhow::Result<Vec<Figure>> {
        let containers: Vec<Container> =
            (0..self.pods()).map(|number| Container::new(host, number)).collect::<Result<_, _>>()?;
        let outcome = self.run(host, subject, &containers);
        if outcome.is_err() {
            // What an ADD has left must not be in the way of the next subject.
            for container in &containers {
                if let Err(error) = container.operate(subject, "DEL") {
                    eprintln!("cleaning up: {error:#}");
                }
            }
        }
        outcome
    }

    fn run(self, host: &Host, subject: &Subject, containers: &[Container]) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::OneByOne => one_by_one(host, subject, containers),
            Self::AtOnce | Self::Full | Self::Hundred => at_once(host, subject, containers),
            Self::Mixed => mixed(subject, containers),
        }
    }
}

fn one_by_one(host: &Host, subject: &Subject, containers: &[Container]) -> anyhow::Result<Vec<Figure>> {
    let each =
        |command| containers.iter().map(|one| one.operate(subject, command)).collect::<Result<Vec<_>, _>>();
    let said = host.said_since(0).len();
    let before = cpu(host)?;
    let adds = each("ADD")?;
    let used = cpu(host)? - before;
    let said = host.said_since(said);
    let dels = each("DEL")?;
    let starts = each("VERSION")?;
    let mut figures = of_both(&adds, &dels);
    #[allow(clippy::cast_precision_loss, reason = "there are few pods")]
    let each_ms = used * 1e3 / containers.len() as f64;
    figures.push(Figure { metric: "CPU for an ADD", unit: "ms", value: each_ms });
    figures.push(milliseconds("start: VERSION p50", quantile(&starts, 50)));
    if subject.name == OURS {
        let asked: Vec<Duration> = containers.iter().map(|_| subject.status()).collect::<Result<_, _>>()?;
        figures.push(milliseconds("STATUS p99", quantile(&asked, 99)));
        figures.extend(STEPS.iter().filter_map(|(key, metric)| step(&said, key, metric)));
    }
    Ok(figures)
}

fn at_once(host: &Host, subject: &Subject, containers: &[Container]) -> anyhow::Result<Vec<Figure>> {
    let all = |command: &str| -> anyhow::Result<(Duration, Vec<Duration>)> {
        let barrier = Barrier::new(containers.len() + 1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = containers
                .iter()
                .map(|one| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        one.operate(subject, command)
                    })
                })
                .collect();
            barrier.wait();
            let begin = Instant::now();
            let took: Vec<Duration> = threads.into_iter().map(joined).collect::<Result<_, _>>()?;
            Ok((begin.elapsed(), took))
        })
    };
    let before = cpu(host)?;
    let (all_added, adds) = all("ADD")?;
    let used = cpu(host)? - before;
    let (all_deleted, dels) = all("DEL")?;
    let asked = if subject.name == OURS { status_beside(subject, || all("ADD"))? } else { Vec::new() };
    if !asked.is_empty() {
        all("DEL")?;
    }
    let mut figures = of_both(&adds, &dels);
    figures.push(milliseconds("all added", all_added));
    figures.push(milliseconds("all deleted", all_deleted));
    #[allow(clippy::cast_precision_loss, reason = "there are few pods")]
    let each_ms = used * 1e3 / containers.len() as f64;
    figures.push(Figure { metric: "CPU for an ADD", unit: "ms", value: each_ms });
    if !asked.is_empty() {
        figures.push(milliseconds("STATUS p99 meanwhile", quantile(&asked, 99)));
    }
    Ok(figures)
}

/// How long each STATUS took that was asked, one after the other, while something was done.
fn status_beside<T: Send>(
    subject: &Subject,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<Vec<Duration>> {
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        let mut asked = Vec::new();
        while !working.is_finished() {
            asked.push(subject.status()?);
        }
        joined(working)?;
        Ok(asked)
    })
}

fn mixed(subject: &Subject, containers: &[Container]) -> anyhow::Result<Vec<Figure>> {
    let (busy, standing) = containers.split_at_checked(WORKERS).context("too few pods")?;
    for one in standing {
        one.operate(subject, "ADD")?;
    }
    let turns = |one: &Container| -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
        let (mut adds, mut dels) = (Vec::new(), Vec::new());
        for turn in 0..TURNS {
            let container = Container { name: format!("{}-{turn}", one.name), netns: one.netns.clone() };
            adds.push(container.operate(subject, "ADD")?);
            dels.push(container.operate(subject, "DEL")?);
        }
        Ok((adds, dels))
    };
    let outcome: anyhow::Result<Vec<_>> = std::thread::scope(|scope| {
        let threads: Vec<_> = busy.iter().map(|one| scope.spawn(|| turns(one))).collect();
        threads.into_iter().map(joined).collect()
    });
    let outcome = outcome?;
    for one in standing {
        one.operate(subject, "DEL")?;
    }
    let adds: Vec<Duration> = outcome.iter().flat_map(|(adds, _)| adds.iter().copied()).collect();
    let dels: Vec<Duration> = outcome.iter().flat_map(|(_, dels)| dels.iter().copied()).collect();
    Ok(of_both(&adds, &dels))
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a thread of the generator has panicked"))
}

/// CPU seconds of all plugins that have ended, and of the agent.
fn cpu(host: &Host) -> anyhow::Result<f64> {
    Ok(process::used_by_children()? + host.agent_usage()?.cpu)
}

fn of_both(adds: &[Duration], dels: &[Duration]) -> Vec<Figure> {
    vec![
        milliseconds("ADD p50", quantile(adds, 50)),
        milliseconds("ADD p99", quantile(adds, 99)),
        milliseconds("DEL p50", quantile(dels, 50)),
        milliseconds("DEL p99", quantile(dels, 99)),
    ]
}

fn milliseconds(metric: &'static str, value: Duration) -> Figure {
    Figure { metric, unit: "ms", value: value.as_secs_f64() * 1e3 }
}

/// The smallest value that so many per cent of all do not exceed.
fn quantile(values: &[Duration], per_cent: usize) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort();
    let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// The median of one step, as the agent told it.
fn step(said: &str, key: &str, metric: &'static str) -> Option<Figure> {
    let values = said.lines().filter_map(|line| {
        let (_, rest) = line.split_once(key)?;
        rest.split_whitespace().next()?.parse().ok().map(Duration::from_micros)
    });
    let values: Vec<Duration> = values.collect();
    (!values.is_empty()).then(|| milliseconds(metric, quantile(&values, 50)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<Duration> = (1..=60).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&values, 50), Duration::from_millis(30));
        assert_eq!(quantile(&values, 99), Duration::from_millis(60));
        assert_eq!(quantile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn steps_are_read_from_what_the_agent_says() {
        let said = "DEBUG steps of ADD in us: addresses=40 record=900\nother\nDEBUG steps of ADD in us: addresses=60 record=1000 key=c\n";
        assert_eq!(step(said, " addresses=", "m"), Some(Figure { metric: "m", unit: "ms", value: 0.04 }));
        assert_eq!(step(said, " routes=", "m"), None);
    }
}
