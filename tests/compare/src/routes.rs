//! `cargo compare routes`: how fast routes get into the kernel.
//!
//! Two cases. In the first the subject knows all routes and writes them: caracal's kernel thread, `ip -batch` with a file, BIRD's
//! kernel protocol with a table of static routes. In the second a peer announces them by BGP, all at once, then one after the
//! other, which shows how long an UPDATE takes to the kernel: caracal-bgpd and BIRD.
//!
//! It is the kernel that says when a route is there, in its events, to a listener on the generator's CPU: what a subject
//! believes of itself counts for nothing, and all pay alike for being listened to.

mod hands;
mod idle;
mod installer;
mod updates;
mod watch;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::cpus::Cpus;
use crate::folder::Folder;
use crate::place;
use crate::report::{Figure, Report, words};
use crate::subject;
use crate::{Routes, bgp};
use hands::Hands;
pub(crate) use idle::run as idle;
pub(crate) use installer::install;
use watch::{Event, Watch};

/// Next hops on the subject's subnet, which nobody has: the first of all routes, and the one they change to.
const GATEWAYS: [std::net::Ipv4Addr; 2] =
    [std::net::Ipv4Addr::new(10, 66, 0, 1), std::net::Ipv4Addr::new(10, 66, 0, 2)];

/// Measures what was asked for and prints it.
pub(crate) fn run(asked: &Routes) -> anyhow::Result<()> {
    ensure!(asked.routes > 0, "no routes are no load");
    let known = ["caracal", "ip", "bird"];
    for name in &asked.subjects {
        ensure!(
            known.contains(&name.as_str()),
            "there is no subject `{name}`: {} are there",
            known.join(", ")
        );
    }
    let cpus = Cpus::divide()?;
    place::enter()?;
    let folder = Folder::make()?;
    println!("{}", bgp::machine(&cpus)?);
    let (direct, by_bgp) = (
        format!("{} routes written", asked.routes),
        format!("{} prefixes announced, then {} one by one", asked.routes, updates::SINGLE),
    );
    let mut report = Report::default();
    for round in 1..=asked.rounds {
        for (place, name) in asked.subjects.iter().enumerate() {
            // `ip` speaks no BGP.
            let cases =
                [(0, &direct), (1, &by_bgp)].into_iter().filter(|(case, _)| *case == 0 || name != "ip");
            for (case, title) in cases {
                let outcome = match case {
                    0 => written(name, asked, &cpus, folder.path()),
                    _ => announced(name, asked, &cpus, folder.path()),
                };
                match outcome {
                    Ok(figures) => {
                        println!("round {round}, {title}, {name}: {}", words(&figures));
                        report.add((case, place), title, name, &figures);
                    }
                    Err(error) => {
                        println!("round {round}, {title}, {name}: {error:#}");
                        report.fail(title, name, &error);
                    }
                }
                sweep()?;
            }
        }
    }
    println!("{}", report.text());
    if let Some(path) = &asked.json {
        let text = serde_json::to_string_pretty(&report.summaries()).context("writing JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Runs this on the generator's CPU, with a runtime.
fn on_the_generator<F: Future<Output = anyhow::Result<Vec<Figure>>>>(
    cpus: &Cpus,
    work: impl FnOnce() -> F + Send,
) -> anyhow::Result<Vec<Figure>> {
    std::thread::scope(|scope| {
        let driver = scope.spawn(|| {
            cpus.keep_to_the_generators()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio::task::LocalSet::new().block_on(&runtime, work())
        });
        driver.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the generator has panicked")))
    })
}

/// The subject writes what it knows: in, changed, out.
fn written(name: &str, asked: &Routes, cpus: &Cpus, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let mut hands = Hands::start(name, asked.routes, &cpus.subjects(), folder)?;
    let limit = Duration::from_secs(asked.limit);
    on_the_generator(cpus, || async move {
        hands.is_up(limit).await?;
        let mut watch = Watch::open()?;
        let mut figures = Vec::new();
        for (metric, metric_of_cpu, event) in [
            ("install", "install, CPU", Event::New),
            ("change", "change, CPU", Event::New),
            ("remove", "remove, CPU", Event::Gone),
        ] {
            hands.prepare(metric)?;
            watch.forget()?;
            let (begin, used) = (Instant::now(), hands.cpu()?);
            hands.act(metric)?;
            let end = tokio::time::timeout(limit, watch.all(event, asked.routes)).await;
            let end = end.with_context(|| format!("{metric}: not within {} s", asked.limit))??;
            let cpu = Figure { metric: metric_of_cpu, unit: "ms", value: (hands.cpu()? - used) * 1000.0 };
            figures.extend([milliseconds(metric, end - begin), cpu]);
        }
        hands.stop()?;
        Ok(figures)
    })
}

/// A peer announces them.
fn announced(name: &str, asked: &Routes, cpus: &Cpus, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let subject = subject::named(name, asked.daemon.as_deref())?;
    let limit = Duration::from_secs(asked.limit);
    let (subjects, routes) = (cpus.subjects(), asked.routes);
    on_the_generator(
        cpus,
        || async move { updates::measure(&subject, &subjects, folder, routes, limit).await },
    )
}

/// What a subject has left goes before the next one comes.
fn sweep() -> anyhow::Result<()> {
    let flush = ["-4", "route", "flush", "root", "20.0.0.0/6"];
    let output = Command::new("ip").args(flush).output().context("starting ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", flush.join(" "), said.trim());
    Ok(())
}

fn milliseconds(metric: &'static str, took: Duration) -> Figure {
    Figure { metric, unit: "ms", value: took.as_secs_f64() * 1000.0 }
}
