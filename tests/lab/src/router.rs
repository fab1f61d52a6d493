//! A router: a machine with one leg in its rack and one on the spine, and a BGP daemon that tells the other routers
//! about the rack, puts what it learns into its kernel, and, where the design says so, peers with the rack's nodes.
//!
//! Three daemons can do this: `caracal-bgpd`, BIRD and FRR. What they are to do is one value, [`speaker::Speaker`];
//! each kind has a file that writes it in the daemon's own words.

mod bird;
mod caracal;
mod frr;
mod speaker;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::machine::Machine;
use crate::process::Process;
use crate::sandbox::Sandbox;
use crate::topology::{RackPlan, RouterKind, Topology};
use crate::wait::{self, NotYet};

pub use speaker::{Neighbour, PrefixRange, Speaker};

/// The control socket of `caracal-bgpd` on its router.
pub const SOCKET: &str = "/run/caracal/bgpd.sock";

/// A machine between a rack and the spine.
#[derive(Debug)]
pub struct Router {
    machine: Machine,
    kind: RouterKind,
    speaker: Speaker,
    /// In the order in which they start; each may need the one before.
    daemons: Vec<Daemon>,
    ctl: PathBuf,
}

#[derive(Debug)]
struct Daemon {
    process: Process,
    /// A file by which it shows that it serves; the next one waits for it.
    sign: Option<PathBuf>,
}

/// A file to be written on the router, and the daemon's command line.
struct Recipe {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    file: (&'static str, String),
    sign: Option<&'static str>,
}

impl Router {
    /// Writes the daemon's configuration and readies it; starts nothing.
    pub(crate) fn install(
        machine: Machine,
        topology: &Topology,
        rack: &RackPlan,
        sandbox: &Sandbox,
    ) -> anyhow::Result<Self> {
        let speaker = Speaker::of(topology, rack);
        let recipes = match rack.router {
            // Alone in the world: its kernel knows all there is.
            _ if speaker.neighbours.is_empty() => Vec::new(),
            RouterKind::Caracal => caracal::recipes(&speaker, sandbox.programs()),
            RouterKind::Bird => bird::recipes(&speaker),
            RouterKind::Frr => frr::recipes(&speaker),
        };
        let mut daemons = Vec::new();
        for recipe in recipes {
            if !recipe.program.exists() {
                bail!(
                    "{} is not installed, and {} is to run it: `apt-get install {}`",
                    recipe.program.display(),
                    machine.name(),
                    if rack.router == RouterKind::Frr { "frr" } else { "bird2" }
                );
            }
            let (path, text) = recipe.file;
            let file = machine.file(path);
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            let name = format!("{}-{}", machine.name(), recipe.name);
            let process =
                Process::new(&name, machine.netns(), recipe.program, recipe.arguments, &sandbox.logs());
            daemons.push(Daemon { process, sign: recipe.sign.map(|sign| machine.file(sign)) });
        }
        if rack.router == RouterKind::Frr && !daemons.is_empty() {
            frr::give_folder(&machine)?;
        }
        let ctl = sandbox.programs().join("caracalctl");
        Ok(Self { machine, kind: rack.router, speaker, daemons, ctl })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.machine.name()
    }

    /// Its machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What it runs.
    pub fn kind(&self) -> RouterKind {
        self.kind
    }

    /// What its daemon was told.
    pub fn speaker(&self) -> &Speaker {
        &self.speaker
    }

    /// Its programs.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.daemons.iter().map(|daemon| &daemon.process)
    }

    /// Runs `caracalctl` against this router's `caracal-bgpd` and reads its JSON.
    pub async fn ctl(&self, words: &[&str]) -> anyhow::Result<Value> {
        self.machine.ctl(&self.ctl, SOCKET, words).await
    }

    /// Starts its programs.
    pub async fn start(&self, deadline: Duration) -> anyhow::Result<()> {
        for daemon in &self.daemons {
            // What a killed one left would be taken for the sign of the next.
            if let Some(sign) = &daemon.sign
                && let Err(error) = std::fs::remove_file(sign)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(error).with_context(|| format!("removing {}", sign.display()));
            }
            daemon.process.start().await?;
            let Some(sign) = &daemon.sign else { continue };
            wait::until(
                deadline,
                &format!("{} has made {}", daemon.process.name(), sign.display()),
                || async {
                    daemon.process.must_live().await?;
                    if sign.exists() { Ok(()) } else { Err(NotYet::because("it is not there")) }
                },
            )
            .await?;
        }
        Ok(())
    }

    /// Kills its programs and starts them again, as after a crash.
    pub async fn restart(&self, deadline: Duration) -> anyhow::Result<()> {
        self.stop().await?;
        self.start(deadline).await
    }

    /// Kills its programs, the last one first; they stay away.
    pub async fn stop(&self) -> anyhow::Result<()> {
        for daemon in self.daemons.iter().rev() {
            daemon.process.kill().await?;
        }
        Ok(())
    }

    /// Asks its programs to end, the last one first.
    pub async fn terminate(&self, within: Duration) -> anyhow::Result<()> {
        for daemon in self.daemons.iter().rev() {
            daemon.process.terminate(within).await?;
        }
        Ok(())
    }

    /// Waits until its kernel has a route to every one of these networks.
    pub async fn has_routes(&self, to: &[ipnetwork::IpNetwork], deadline: Duration) -> anyhow::Result<()> {
        wait::until(deadline, &format!("{} has learned {} networks", self.name(), to.len()), || async {
            for process in self.processes() {
                process.must_live().await?;
            }
            let routes = self.machine.netns().routes().await?;
            let missing: Vec<String> = to
                .iter()
                .filter(|network| !routes.iter().any(|route| route.destination() == Some(**network)))
                .map(ToString::to_string)
                .collect();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(NotYet::because(format!("no route to {}", missing.join(", "))))
            }
        })
        .await
    }
}
