//! `cargo compare cni`: pods attached and detached by caracal and by the stock plugins `ptp` and `bridge` with `host-local`, in
//! turns.
//!
//! The generator plays the container runtime: it executes plugins as libcni does and takes the time from their start to their
//! end. All run in one network namespace, with all CPUs; pods' namespaces are made before and used again, since making and
//! removing them costs the same for everybody. IPv4 only: `ptp` waits seconds for IPv6 addresses to be found unique.

mod host;
mod inside;
mod load;
mod plugin;

use anyhow::{Context, ensure};

use crate::Cni;
use crate::folder::Folder;
use crate::report::{Report, words};
use host::Host;
use load::Load;
use plugin::Subject;

/// Measures what was asked for and prints it.
pub(crate) fn run(asked: &Cni) -> anyhow::Result<()> {
    let loads: Vec<Load> = asked.loads.iter().map(|letter| Load::of(letter)).collect::<Result<_, _>>()?;
    let folder = Folder::make()?;
    let subjects: Vec<Subject> =
        asked.subjects.iter().map(|name| Subject::named(name, folder.path())).collect::<Result<_, _>>()?;
    ensure!(!loads.is_empty() && !subjects.is_empty(), "nothing is asked for");
    let host = Host::make(folder.path(), loads.iter().map(Load::pods).max().unwrap_or(0))?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("asking for the kernel")?;
    let cpus = std::thread::available_parallelism().context("counting CPUs")?;
    println!("Linux {}, {cpus} CPUs for generator and subject; {}", kernel.trim(), plugin::versions()?);
    let mut report = Report::default();
    for round in 0..=asked.rounds {
        for (case, load) in loads.iter().enumerate() {
            for (place, subject) in subjects.iter().enumerate() {
                let outcome = host.with(subject, |host| load.measure(host, subject));
                // The first round makes what later ones find: bridges, blocks, caches.
                let name = if round == 0 { "to warm up".to_owned() } else { format!("round {round}") };
                match outcome {
                    Ok(figures) => {
                        println!("{name}, {}, {}: {}", load.name(), subject.name, words(&figures));
                        if round > 0 {
                            report.add((case, place), load.name(), subject.name, &figures);
                        }
                    }
                    Err(error) => {
                        println!("{name}, {}, {}: {error:#}", load.name(), subject.name);
                        report.fail(load.name(), subject.name, &error);
                    }
                }
            }
        }
    }
    if asked.in_process {
        inside::measure(folder.path(), asked.rounds, loads.len(), &mut report)?;
    }
    report.finish(asked.json.as_deref())
}
