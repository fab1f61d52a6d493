//! The command line.

use std::path::PathBuf;

use anyhow::Context;
use caracal_lab::Topology;
use caracal_lab::topology::{self, Design, Encapsulation, Families, MOST_NODES, MOST_RACKS, RouterKind};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// The lab's name when nothing is said.
const LAB: &str = "lab";
/// Racks when nothing is said.
const RACKS: u8 = 2;
/// Nodes when nothing is said.
const NODES: u8 = 4;

/// A caracal cluster on this machine, in namespaces of its own that leave nothing behind.
#[derive(Debug, Parser)]
#[command(name = "cargo lab", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) up: Up,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command inside a running lab: on a node, a router, in a pod, on `control`, `outside` or in the `fabric`
    ///
    /// KUBECONFIG is set, so that `exec control kubectl get nodes` works; so is what caracalctl needs on a router.
    Exec {
        /// The lab
        #[arg(long, default_value = LAB)]
        name: String,
        /// A node (n1), a router (tor0), a pod (n1-p1), control, outside, or fabric
        target: String,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// kubectl against the API server of a running lab
    Kubectl {
        /// The lab
        #[arg(long, default_value = LAB)]
        name: String,
        /// What kubectl is to do: get nodes,ippools
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// A shell inside a running lab
    Shell {
        /// The lab
        #[arg(long, default_value = LAB)]
        name: String,
        /// As for exec
        target: String,
    },
    /// How a running lab stands: machines, programs, sessions, pods
    Status {
        /// The lab
        #[arg(long, default_value = LAB)]
        name: String,
        /// As a JSON document
        #[arg(long)]
        json: bool,
    },
    /// The log of a program of a running lab; without a name, which logs there are
    Logs {
        /// The lab
        #[arg(long, default_value = LAB)]
        name: String,
        /// Go on with what is added, until the lab ends
        #[arg(short, long)]
        follow: bool,
        /// Begin with so many last lines instead of all
        #[arg(short = 'n', long, value_name = "N")]
        lines: Option<usize>,
        /// A program (n1-agent), or a machine that has only one (n1)
        process: Option<String>,
    },
    /// Do something bad to a machine of a running lab, or undo it
    #[command(after_help = caracal_lab::fault::help())]
    Fault {
        /// The lab
        #[arg(long, default_value = LAB)]
        name: String,
        /// A node (n1), a router (tor0), control or outside
        machine: String,
        /// What to do to it
        fault: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Tear down after the checks; exit 0 only if everything worked
    #[arg(long)]
    pub(crate) once: bool,
    /// Racks, each behind its own router [default: 2, or 1 for a single node]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_RACKS)))]
    racks: Option<u8>,
    /// Nodes, spread over the racks
    #[arg(long, default_value_t = NODES, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_NODES)))]
    nodes: u8,
    /// Pods on each node
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=50))]
    pods: u8,
    /// Every node peers by eBGP with its rack's router, and there is no mesh
    #[arg(long, conflicts_with = "reflectors")]
    tor: bool,
    /// Every node has two uplinks and peers by eBGP with the routers of both racks, and there is no mesh
    #[arg(long, conflicts_with_all = ["reflectors", "tor"])]
    dual_tor: bool,
    /// So many nodes reflect routes, the others are their clients, and there is no mesh
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_NODES)))]
    reflectors: Option<u8>,
    /// How packets for pods get from rack to rack
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    encap: Encapsulation,
    /// What the routers run
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    router: RouterKind,
    /// One IP version only
    #[arg(long, value_enum, value_name = "VERSION")]
    single_stack: Option<Version>,
    /// Read all this from a file instead (docs/lab.md tells what it holds)
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["racks", "nodes", "pods", "tor", "dual_tor", "reflectors", "encap", "router", "single_stack"]
    )]
    topology: Option<PathBuf>,
    /// Name of the lab; labs of different names run side by side
    #[arg(long, default_value = LAB)]
    pub(crate) name: String,
    /// Let so many pods a second come and go while the lab is up (for ten seconds with --once)
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) load: Option<f64>,
    /// Print one JSON document instead of steps and tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Copy the programs' logs to this folder at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) keep_logs: Option<PathBuf>,
}

/// Pods a second.
fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("`{text}` is no number of pods a second"))?;
    if (0.01..=1000.0).contains(&rate) { Ok(rate) } else { Err("0.01 to 1000 pods a second".into()) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Version {
    V4,
    V6,
}

impl Up {
    /// The topology that is asked for, checked.
    pub(crate) fn topology(&self) -> anyhow::Result<Topology> {
        if let Some(path) = &self.topology {
            let reading = || format!("reading the topology {}", path.display());
            let text = std::fs::read_to_string(path).with_context(reading)?;
            return topology::from_toml(&text).with_context(reading);
        }
        let racks = self.racks.unwrap_or(RACKS.min(self.nodes));
        anyhow::ensure!(
            racks <= self.nodes,
            "--racks {racks} with --nodes {}: every rack needs a node",
            self.nodes
        );
        let design = match self.reflectors {
            Some(count) => Design::Reflectors(count),
            None if self.tor => Design::Tor,
            None if self.dual_tor => Design::DualTor,
            None => Design::Mesh,
        };
        let families = match self.single_stack {
            None => Families::Dual,
            Some(Version::V4) => Families::V4,
            Some(Version::V6) => Families::V6,
        };
        let mut topology = Topology::racks_of_nodes(racks, self.nodes, self.pods)
            .with_design(design)
            .with_families(families)
            .with_routers(self.router);
        topology.encapsulation = self.encap;
        topology.check().map_err(|unfit| {
            // The words of a file, in those of the command line.
            let place = match unfit.field.as_str() {
                "encapsulation" => "--encap",
                "reflectors" => "--reflectors",
                "pods-per-node" => "--pods",
                other => other,
            };
            anyhow::anyhow!("{place}: {}", unfit.why)
        })?;
        Ok(topology)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &str) -> anyhow::Result<Topology> {
        let line = Line::try_parse_from(std::iter::once("lab").chain(words.split_whitespace()))?;
        line.up.topology()
    }

    #[test]
    fn without_words_it_is_the_usual_lab() {
        assert_eq!(asked("").unwrap(), Topology::racks_of_nodes(RACKS, NODES, 2));
    }

    #[test]
    fn the_old_lab_is_one_rack_of_two() {
        assert_eq!(asked("--racks 1 --nodes 2").unwrap(), Topology::one_rack(2, 2));
        assert_eq!(asked("--nodes 1").unwrap().racks.len(), 1);
    }

    #[test]
    fn choices_reach_the_topology() {
        let topology = asked("--reflectors 2 --encap vxlan --single-stack v4 --router frr").unwrap();
        assert_eq!(topology.design, Design::Reflectors(2));
        assert_eq!(topology.encapsulation, Encapsulation::Vxlan);
        assert_eq!(topology.families, Families::V4);
        assert!(topology.racks.iter().all(|rack| rack.router == RouterKind::Frr));
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_built() {
        assert!(asked("--racks 2 --encap never").unwrap_err().to_string().contains("--tor"));
        assert!(asked("--racks 3 --nodes 2").unwrap_err().to_string().contains("every rack needs a node"));
        assert!(asked("--tor --reflectors 1").is_err());
        assert!(asked("--topology x.toml --nodes 3").is_err());
        let missing = format!("{:#}", asked("--topology /nowhere.toml").unwrap_err());
        assert!(missing.starts_with("reading the topology /nowhere.toml"), "{missing}");
    }
}
